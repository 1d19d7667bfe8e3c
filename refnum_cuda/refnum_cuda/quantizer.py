"""The host's side of csrc/quantizer.cu: mx.quantize."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from ctypes import c_float, c_int32, c_int64, c_uint32, c_void_p
from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

import refnum
from refnum.boundary import FLOAT_ROWS
from refnum.formats import Block, bfloat16, e8m0, float32
from refnum.mx.blocks import has_kernels, stored_shapes
from refnum.mx.profiles import find
from refnum.mx.quantizer import amax_of, stored
from refnum.mx.quotients import FORMULAS, Quotient
from refnum.mx.recipes import Recipe, recipe
from refnum.mx.scales import Powers, Rule

from . import blocks, launch
from .parameters import ROUNDINGS
from .serving import Operation

UNIT = 32  #: values that a thread has
WARP = 32  #: threads
MOST_ROWS = (1 << 16) - 1
SIDE = 32  #: of a tile: blocks side by side; it has THREADS values of each
STAGES = 2  #: of values in shared memory
MOST_AT_ONCE = 1 << 11  #: blocks of a grid, each of which makes part after part: a few times as many as a GPU runs
ALIGNMENT = 16  #: bytes: of what is read together, and of the scales behind the elements
SIGNED_ZERO = -(1 << 24)  #: an exponent far below that of a decoded 0
SMALLEST = -150  #: log2 of half the least float32: what is that or less is 0 in float32
LARGEST_POWER = 127  #: log2 of what float32 holds
LIMIT = 1 << 30  #: elements of a block are fewer


# ---- structs of csrc -----------------------------------------------------------------------------


class Values(ctypes.Structure):
    """rn::Values; it holds the tensor of four axes, which must live until the kernel has been launched."""

    _fields_ = (("data", c_void_p), ("dtype", c_int32), ("stride", blocks.Strides))

    def __init__(self, x: Tensor | None) -> None:
        number = blocks.DTYPES.index(x.dtype) if x is not None and x.is_floating_point() else 0
        super().__init__(*((None, 0) if x is None else (x.data_ptr(), number, blocks.Strides(*x.stride()))))
        self.tensor = x


class Rows(ctypes.Structure):
    """rn::Rows; it holds the tensor."""

    _fields_ = (("data", c_void_p), ("rows", c_int64), ("columns", c_int64), ("stride", c_int64))

    def __init__(self, x: Tensor, rows: int, columns: int, stride: int) -> None:
        super().__init__(x.data_ptr(), rows, columns, stride)
        self.tensor = x

    @classmethod
    def of(cls, x: Tensor) -> Rows:
        """The last axis of a tensor; copied where units cannot be read along it, or no stride leads to each row."""
        flat = x.view(-1, x.shape[-1]) if _uniform(x) else x.contiguous().view(-1, x.shape[-1])
        if not _aligned(flat) or (flat.shape[1] % UNIT and not flat.is_contiguous()):
            flat = flat.clone(memory_format=torch.contiguous_format)
        rows, columns = flat.shape
        return cls(flat, 1, flat.numel(), 0) if flat.is_contiguous() else cls(flat, rows, columns, flat.stride(0))


class Columns(ctypes.Structure):
    """rn::Columns; it holds the tensor."""

    _fields_ = (
        *(("data", c_void_p), ("matrices", c_int64), ("columns", c_int64), ("inner", c_int64)),
        *(("matrix_stride", c_int64), ("stride", c_int64)),
    )

    def __init__(self, x: Tensor) -> None:
        strides = x.stride(0), x.stride(2)
        super().__init__(x.data_ptr(), x.shape[0], x.shape[2], x.shape[1], *strides)
        self.tensor = x

    @classmethod
    def of(cls, x: Tensor) -> Columns | None:
        """The last axis of a tensor where vectors can be read along the one before it, and not along itself."""
        if x.dim() < 2 or x.stride(-2) != 1 or x.stride(-1) == 1 or not _uniform(x.mT[..., 0]):
            return None
        three = x.view(-1, *x.shape[-2:])
        starts = three.data_ptr(), *(step * x.itemsize for step in (three.stride(0), three.stride(2), three.shape[1]))
        whole = not any(start % ALIGNMENT for start in starts) and not x.shape[-1] % UNIT
        return cls(three) if whole else None


def _uniform(x: Tensor) -> bool:
    """Whether a view of x has rows at one distance from each other."""
    outer = [(size, stride) for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True) if size > 1]
    return all(a[1] == b[0] * b[1] for a, b in itertools.pairwise(outer))


def _aligned(x: Tensor) -> bool:
    """Whether vectors can be read along rows."""
    starts = x.data_ptr(), x.stride(0) * x.itemsize
    return x.stride(1) == 1 and not any(start % ALIGNMENT for start in starts)


class Scaling(ctypes.Structure):
    """rn::Scaling."""

    _fields_ = (
        *(("formula", c_int32), ("power", c_int32), ("carry", c_uint32), ("least", c_uint32)),
        *(("overflow", c_int32), ("infinite", c_int32), ("top", c_int32)),
        *(("largest", c_float), ("reciprocal", c_float), ("in_bfloat16", c_int32), ("divides", c_int32)),
    )


class Choices(ctypes.Structure):
    """rn::Recipe."""

    _fields_ = (
        *(("element", blocks.Element), ("scaling", Scaling)),
        *(("rounding", c_int32), ("underflow", c_int32), ("nan", c_uint32)),
    )


@lru_cache(maxsize=256)
def choices_of(made: Recipe) -> Choices:
    """A recipe."""
    element, by = made.fmt.element, made.scaling
    underflow = SIGNED_ZERO if made.underflow is None else made.underflow
    return Choices(blocks.element_of(element), _scaling(by, made), ROUNDINGS[made.rounding], underflow, made.nan)


def _scaling(by: Rule | Powers | Quotient, made: Recipe) -> Scaling:
    element = made.fmt.element
    if isinstance(by, Rule):
        overflow = min(255 - by.power, by.top) if by.overflow is None else by.overflow
        return Scaling(0, by.power, by.carry, by.least or 0, max(overflow, 0), by.infinite, by.top)
    rounds = made.row == bfloat16
    assert isinstance(by, Quotient)  # those of Powers are the reference's
    quotient = (element.max_value, 1 / element.max_value, rounds, FORMULAS[by.name].divides)
    return Scaling(1 + [*FORMULAS].index(by.name), element.max_scale, 0, 0, 0, 0, 0, *quotient)


# ---- quantize: launches --------------------------------------------------------------------------

_TO_STORE = (c_void_p, c_void_p, c_void_p, c_int32)
ANY = launch.Kernel(
    "quantizer", "rn_quantize_blocks", (Values, Values, blocks.Strides, blocks.Tile, Choices, *_TO_STORE)
)
#: by dtype and element
BY_ROWS = {
    (dtype, element): launch.Kernel(
        *("quantizer", f"rn_quantize_rows_{blocks.name_of(dtype)}_{name}"),
        (Rows, c_int32, Choices, c_float, *_TO_STORE),
    )
    for dtype in blocks.DTYPES[:3]
    for element, name in blocks.NAMED.items()
}

#: likewise, but of the elements that are common
BY_COLUMNS: dict[tuple[torch.dtype, refnum.formats.Element], launch.Kernel] = {
    (dtype, element): launch.Kernel(
        *("quantizer", f"rn_quantize_columns_{blocks.name_of(dtype)}_{blocks.NAMED[element]}"),
        (Columns, c_int32, Choices, c_float, *_TO_STORE),
    )
    for dtype in blocks.DTYPES[:3]
    for element in (refnum.e2m1, refnum.e4m3)
}


def quantize(
    x: Tensor,
    fmt: str,
    profile: str,
    scale: str | None,
    rounding: str,
    axis: int,
    tensor_scale: Tensor | None,
    random_bits: Tensor | None,
) -> Tensor:
    """Elements and scales of a tensor of whole blocks, in one tensor of bytes: see `parts`."""
    made = recipe_of(fmt, profile, scale, rounding, x.dtype)
    out = torch.empty(size_of(x.shape, axis, made.fmt), dtype=torch.uint8, device=x.device)
    if x.numel():
        level = None if tensor_scale is None else tensor_scale.detach().to(x.device)
        random = None if random_bits is None else random_bits.to(torch.int16).expand(x.shape)
        launch.launch(*prepared(x.detach().resolve_neg(), made, axis, level, random, out))
    return out


def prepared(
    x: Tensor, made: Recipe, axis: int, level: Tensor | None, random: Tensor | None, out: Tensor
) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that fills ``out``."""
    fmt, choices = made.fmt, choices_of(made)
    elements, scales = cut(out, x.shape, axis, fmt)
    if elements.numel() % ALIGNMENT:
        out[elements.numel() :][:ALIGNMENT].zero_()  # what lies between them
    to = level, elements, scales, fmt.scale == float32
    if by_rows(made) and x.numel() % UNIT == 0:
        along, log_eights = x.movedim(axis, -1), (fmt.tile[1] // blocks.EIGHT).bit_length() - 1
        how = log_eights, choices, -0.0 if made.underflow is None else 0.0, *to
        if fmt.tile[1] <= UNIT and (x.dtype, fmt.element) in BY_COLUMNS and (columns := Columns.of(along)):
            return *_tiles(columns, x.dtype, fmt), columns, *how
        rows = Rows.of(along)
        grid = min(-(-rows.columns // (UNIT * blocks.THREADS)), MOST_AT_ONCE), min(rows.rows, MOST_ROWS), 1
        shared = STAGES * blocks.THREADS * UNIT * x.itemsize
        return BY_ROWS[x.dtype, fmt.element], grid, (blocks.THREADS, 1, 1), shared, rows, *how
    values, tile = blocks.four_axes(x, axis, fmt), blocks.Tile(*fmt.tile, fmt.packed)
    bits = Values(None if random is None else blocks.four_axes(random, axis, fmt))
    lanes = blocks.threads(x.numel() // prod(fmt.tile) * WARP)
    return ANY, *lanes, 0, Values(values), bits, blocks.Strides(*values.shape), tile, choices, *to


def _tiles(x: Columns, dtype: torch.dtype, fmt: Block) -> tuple[Any, ...]:
    """Kernel, grid, block and shared memory: a tile's values, codes and scales."""
    grid = -(-x.inner // SIDE), min(-(-x.columns // blocks.THREADS), MOST_ROWS), min(x.matrices, MOST_ROWS)
    shared = SIDE * blocks.THREADS * dtype.itemsize + SIDE * blocks.THREADS // fmt.packed + SIDE * SIDE * 4
    return BY_COLUMNS[dtype, fmt.element], grid, (blocks.THREADS, 1, 1), shared


def by_rows(made: Recipe) -> bool:
    """Whether float32 arithmetic makes the elements, those of a block on some threads of a warp."""
    rows, columns = made.fmt.tile
    whole = rows == 1 and columns <= blocks.EIGHT * WARP and blocks.in_eights(columns)
    return (
        whole
        and made.rounding == "nearest_even"
        and made.fmt.element in blocks.NAMED
        and made.underflow in (None, SMALLEST)
    )


# ---- the largest magnitude -----------------------------------------------------------------------

#: by dtype
AMAX = {
    dtype: launch.Kernel("quantizer", f"rn_amax_{blocks.name_of(dtype)}", (c_void_p, c_int64, c_void_p))
    for dtype in blocks.DTYPES[:3]
}


def amax(x: Tensor) -> Tensor:
    """The largest magnitude as a float32 pattern."""
    out = torch.zeros((), dtype=torch.int32, device=x.device)
    dense, eights = x.contiguous(), x.numel() // blocks.EIGHT
    turns = min(-(-eights // blocks.THREADS), MOST_AT_ONCE)
    launch.launch(AMAX[x.dtype], (turns, 1, 1), (blocks.THREADS, 1, 1), 0, dense, eights, out)
    return out


def amax_covered(x: Tensor) -> bool:
    """Whether there is a kernel: it reads eight values at a time."""
    return x.dtype in AMAX and x.numel() % blocks.EIGHT == 0 and not (x.is_contiguous() and x.data_ptr() % ALIGNMENT)


def amax_examples() -> Iterator[tuple[Any, ...]]:
    """The largest one anywhere, of any kind."""
    x = torch.arange(-4096, 4096, dtype=torch.float32, device="cpu") * 0.37
    for place, value in ((0, 1e4), (8191, -65000.0), (4100, torch.inf), (513, torch.nan), (7, 0.0)):
        one = x.clone()
        one[place] = value
        for dtype in AMAX:
            yield (one.to(dtype),)


# ---- quantize: what comes out --------------------------------------------------------------------


def size_of(shape: Sequence[int], axis: int, fmt: Block) -> int:
    """Bytes of the elements, filled up to whole vectors, and of the scales behind them."""
    elements, scales = map(prod, stored_shapes(torch.Size(shape), axis, fmt))
    return -(-elements // ALIGNMENT) * ALIGNMENT + scales * (4 if fmt.scale == float32 else 1)


def cut(out: Tensor, shape: Sequence[int], axis: int, fmt: Block) -> tuple[Tensor, Tensor]:
    """Elements and scales, one behind the other."""
    count = prod(stored_shapes(torch.Size(shape), axis, fmt)[0])
    scales = out[-(-count // ALIGNMENT) * ALIGNMENT :]
    return out[:count], scales.view(torch.float32) if fmt.scale == float32 else scales


def parts(out: Tensor, shape: Sequence[int], axis: int, fmt: Block) -> tuple[Tensor, Tensor]:
    """Elements and scales of what `quantize` gives, as views in the shapes that `refnum.mx.Blocks` has."""
    elements, scales = (
        part.view(*(n for i, n in enumerate(size, -len(size)) if i != axis), size[axis]).movedim(-1, axis)
        for part, size in zip(cut(out, shape, axis, fmt), stored_shapes(torch.Size(shape), axis, fmt), strict=True)
    )
    return elements, scales


def reference(x: Tensor, fmt: str, *choices: Any) -> Tensor:
    """The definition of `quantize`."""
    axis, row = choices[3], blocks.block(fmt)
    made = stored(x, row, *choices)
    out = torch.zeros(size_of(x.shape, axis, row), dtype=torch.uint8, device=x.device)
    for part, piece in zip(made, cut(out, x.shape, axis, row), strict=True):
        piece.copy_(part.movedim(axis, -1).reshape(-1))
    return out


@lru_cache(maxsize=256)
def recipe_of(fmt: str, profile: str, scale: str | None, rounding: str, dtype: torch.dtype) -> Recipe:
    """The recipe that names make, which were checked."""
    row = blocks.block(fmt)
    return recipe("mx.quantize", row, find("mx.quantize", profile), scale, rounding, FLOAT_ROWS[dtype])


def covered(x: Tensor, fmt: str, profile: str, scale: str | None, rounding: str, *_: Any) -> bool:
    """Whether there is a kernel: not for logarithms, sums in the dtype, bytes that two blocks share, vast blocks.

    Nor where amax counts for elements of less than 1, or the rule is none of a library.
    """
    made = recipe_of(fmt, profile, scale, rounding, x.dtype)
    by = made.scaling
    if not has_kernels(made.fmt) or scale == "bound" or (isinstance(by, Rule) and by.power < 0):
        return False
    exact = made.profile.halves == made.profile.exponents == "exact"
    counted = made.fmt.tile[1] % made.fmt.packed == 0 and prod(made.fmt.tile) < LIMIT
    return exact and counted and abs(made.fmt.element.max_scale) < LARGEST_POWER


# ---- the operation -------------------------------------------------------------------------------


def _ends() -> Tensor:
    """[blocks, 32] of all magnitudes: short fractions, ties between codes and neighbours of these, zeros, Inf, NaN."""
    k = torch.arange(32, dtype=torch.float32, device="cpu")
    shapes = torch.stack([k / 4, 7.75 - k / 8, 2.0 ** -(k % 24), (k % 9 - 4) * 0.375, k % 2 * -0.0])
    exponents = 2.0 ** torch.tensor([-149, -130, -126, -64, -8, 0, 3, 90, 122], dtype=torch.float64, device="cpu")
    blocks = (exponents[:, None, None] * shapes.to(torch.float64)).to(torch.float32).reshape(-1, 32)
    near = torch.cat([blocks.view(torch.int32) + step for step in (-1, 0, 1)]).view(torch.float32)
    near[3, 5], near[4, 31], near[5] = torch.nan, torch.inf, -torch.inf
    return near


def examples() -> Iterator[tuple[Any, ...]]:
    """Every element and formula, and each way through a kernel."""
    x = _ends()
    bits = (torch.arange(x.numel(), dtype=torch.int64, device="cpu") * 40503).view(x.shape)
    level = torch.tensor(0.75, device="cpu")
    for fmt in (*blocks.MX, refnum.nvfp4):
        for dtype in blocks.DTYPES[:3]:
            for scale in ("floor", "ceil", "even", "rceil") if fmt.scale == e8m0 else (None,):
                yield x.to(dtype), fmt.name, "ocp/v1", scale, "nearest_even", -1, None, None
        yield x, fmt.name, "ocp/v1", None, "stochastic", -1, None, bits
        yield x[:128], fmt.name, "ocp/v1", None, "toward_zero", -2, None, None
        yield x[:128], fmt.name, "ocp/v1", None, "nearest_even", -2, None, None
    for profile in ("ocp/v1", "te/v1", "flashinfer/v1", "compressed_tensors/v1"):
        yield x, "nvfp4", profile, None, "nearest_even", -1, level, None
    for profile in ("aiter/v1", "flashinfer/v1", "compressed_tensors/v1"):
        yield x, "mxfp4", profile, None, "nearest_even", -1, None, None
    for fmt in (Block(refnum.e4m3, float32, 32), Block(refnum.e2m1, e8m0, (16, 16))):
        yield x[:128], fmt.name, "ocp/v1", None, "nearest_even", -1, None, None


OPERATIONS = (
    Operation(*("mx_quantize", reference, quantize, covered, (ANY, *BY_ROWS.values(), *BY_COLUMNS.values()), examples)),
    Operation("mx_amax", amax_of, amax, amax_covered, tuple(AMAX.values()), amax_examples),
)


def _like(x: Tensor, fmt: str, *choices: Any) -> Tensor:
    row = blocks.block(fmt)
    return torch.empty(size_of(x.shape, choices[3], row), dtype=torch.uint8, device=x.device)


def _call(x: Tensor, fmt: Block, *choices: Any) -> tuple[Tensor, Tensor]:
    return parts(torch.ops.refnum.mx_quantize(x, fmt.name, *choices), x.shape, choices[3], fmt)


def _pattern_like(x: Tensor) -> Tensor:
    return torch.empty((), dtype=torch.int32, device=x.device)


#: schema, fake, and how refnum calls it: rows of operations.OPAQUE
OPAQUE = {
    "mx_quantize": (
        "(Tensor x, str fmt, str profile, str? scale, str rounding, int axis, Tensor? tensor_scale, "
        "Tensor? random_bits) -> Tensor",
        _like,
        _call,
    ),
    "mx_amax": ("(Tensor x) -> Tensor", _pattern_like, lambda x: torch.ops.refnum.mx_amax(x)),
}
