"""The cases of `cases` as hypothesis strategies: what a failing property shrinks to is as near to 0 as its kind allows.

What is drawn is a plain Python number, a pattern or code as ``cases`` has them, or a float that the dtype holds; blocks
and matrices are tensors.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..boundary import check_block, check_choice
from ..errors import MissingExtraError
from ..formats import Block, Exponent, Format, Minifloat, Posit, Scalar, Scale, float32, scalars
from ..mx.blocks import Blocks, stored_dtype, stored_shapes
from . import cases, hazards
from .codes import corners
from .dyadics import to_float, wrap

try:
    from hypothesis import strategies as st
except ImportError:
    raise MissingExtraError(
        "refnum.testing.strategies needs hypothesis, which is not installed. It comes with the extra conformance. "
        'Run: pip install "refnum[conformance]"'
    ) from None

COUNT = 500  #: cases of each kind to draw from
MADE = ("edges", "ties")  #: the kinds that no strategy of hypothesis finds by itself


def posits(max_n: int = 64) -> st.SearchStrategy[Posit]:
    """Posit formats.

    >>> from hypothesis import find
    >>> find(posits(), lambda fmt: fmt.max_scale > 100)
    Posit(n=9, es=4)
    """
    return st.builds(Posit, st.integers(2, max_n), st.integers(0, 4))


def formats() -> st.SearchStrategy[Format]:
    """Formats that have a name and can be written, and posits of any other width."""
    rows = [row for row in scalars().values() if not isinstance(row, Minifloat) or row.subnormals]
    return st.one_of(st.sampled_from(rows), posits())


def patterns(fmt: Scalar) -> st.SearchStrategy[int]:
    """Codes of a format: edges and ties of functions of one argument, or any."""
    first = min(0, wrap(1 << (fmt.width - 1), fmt))
    return st.one_of(st.sampled_from(_patterns(fmt)), st.integers(first, first + (1 << fmt.width) - 1))


def tuples(op: str | int, fmt: Posit) -> st.SearchStrategy[tuple[int, ...]]:
    """Operands of a function as `cases.tuples` has them, edges and ties, or any patterns."""
    rows = _tuples(op, fmt)
    return st.one_of(st.sampled_from(rows), st.tuples(*(patterns(fmt) for _ in rows[0])))


def floats(fmt: Scalar, dtype: torch.dtype) -> st.SearchStrategy[float]:
    """Floats that a dtype holds, as inputs of encode: edges, ties, and random ones."""
    return st.sampled_from(_floats(fmt, dtype, cases.KINDS))


def ties(fmt: Scalar, dtype: torch.dtype) -> st.SearchStrategy[float]:
    """Midpoints of a format and their neighbours in a dtype."""
    return st.sampled_from(_floats(fmt, dtype, ("ties",)))


def blocks(fmt: Block, most: int = 3) -> st.SearchStrategy[Blocks]:
    """Tensors in a block format of up to ``most`` by ``most`` blocks: any elements, hard scales.

    Of the scales, half are where something begins or ends: 0 or the least, the largest, NaN, 1, and their neighbours.

    >>> import refnum
    >>> from hypothesis import find, settings
    >>> find(blocks(refnum.mxfp4, most=1), lambda x: bool((x.scales == 255).any()), settings=settings(deadline=None))
    Blocks(mxfp4, shape=(1, 32), axis=-1, elements=uint8 [1, 16], scales=uint8 [1, 1])
    """
    check_block("strategies.blocks", fmt)
    rows, columns = fmt.tile
    return st.tuples(st.integers(1, most), st.integers(1, most)).flatmap(
        lambda grid: _blocks(fmt, torch.Size((grid[0] * rows, grid[1] * columns)))
    )


def matrices(
    dtype: torch.dtype, *, kinds: tuple[str, ...] = tuple(hazards.HAZARDS), most: int = 6
) -> st.SearchStrategy[tuple[Tensor, Tensor]]:
    """Two matrices whose product goes wrong in the wrong order, precision or mode, up to ``most`` rows and columns.

    Sums that cancel, sums that are ties, a term that swallows the others, subnormal factors and products, ends of the
    range: what `refnum.testing.hazards` makes.

    >>> import refnum
    >>> from hypothesis import find, settings
    >>> rounded_once = lambda x: torch.equal(refnum.gemm(*x), refnum.gemm(*x, contract="exact/v1"))
    >>> a, b = find(matrices(torch.float32), lambda x: not rounded_once(x), settings=settings(deadline=None))
    >>> a.shape[0], b.shape[1]
    (1, 1)
    """
    check_choice("strategies.matrices", "dtype", dtype, hazards.ROWS)
    for kind in kinds:
        check_choice("strategies.matrices", "kind", kind, hazards.HAZARDS)
    shapes = st.tuples(st.integers(1, most), st.integers(1, most), st.integers(1, 8 * most))
    return st.builds(hazards.matrices, st.sampled_from(kinds), st.just(dtype), shapes, st.integers(0, 999))


def _blocks(fmt: Block, shape: torch.Size) -> st.SearchStrategy[Blocks]:
    stored, scales = stored_shapes(shape, -1, fmt)
    stored_as = stored_dtype(fmt)
    whole = fmt.packed == 2 or fmt.element.width == 8 * stored_as.itemsize
    mask = -1 if whole else (1 << fmt.element.width) - 1
    dtype = torch.float32 if fmt.scale == float32 else torch.uint8

    def made(data: bytes, factors: list[float]) -> Blocks:
        elements = (torch.frombuffer(bytearray(data), dtype=stored_as) & mask).view(stored)
        return Blocks(elements, torch.tensor(factors, dtype=dtype, device="cpu").view(scales), fmt, shape)

    size, count = stored.numel() * stored_as.itemsize, scales.numel()
    return st.builds(
        made,
        st.binary(min_size=size, max_size=size),
        st.lists(_scales(fmt.scale), min_size=count, max_size=count),
    )


def _scales(row: Scale) -> st.SearchStrategy[float]:
    """Codes of scales without a sign, values where scales are float32."""
    if isinstance(row, Exponent):
        return st.integers(0, (1 << row.width) - 1)
    top = (1 << (row.exponent + row.mantissa)) - 1
    hard = [code for code in corners(row) if 0 <= code <= top]
    if row == float32:
        any_value = st.floats(0, width=32, allow_nan=False)
        return st.one_of(st.sampled_from([to_float(code, row) for code in hard]), any_value)
    return st.one_of(st.sampled_from(hard), st.integers(0, top))


@lru_cache(maxsize=64)
def _patterns(fmt: Scalar) -> list[int]:
    codes = {code for kind in MADE for code in cases.patterns(fmt, kind, count=COUNT).tolist()}
    return sorted(codes, key=lambda code: (abs(code), code < 0))


@lru_cache(maxsize=64)
def _tuples(op: str | int, fmt: Posit) -> list[tuple[int, ...]]:
    columns = (torch.stack(cases.tuples(op, fmt, kind, count=COUNT), 1) for kind in MADE)
    rows = {tuple(row) for column in columns for row in column.tolist()}
    return sorted(rows, key=lambda row: (sum(map(abs, row)), row))


@lru_cache(maxsize=64)
def _floats(fmt: Scalar, dtype: torch.dtype, kinds: tuple[str, ...]) -> list[float]:
    values = [x for kind in kinds for x in cases.floats(fmt, kind, dtype, count=COUNT).tolist()]
    return sorted(values, key=lambda x: (math.isnan(x), abs(x)))
