"""Layouts: the orders in which matrix units want weights and their scales, and the ways back.

A layout is an index map of [rows, columns], the same for every matrix of a batch. `LAYOUTS` has one row each:

1. Rows and columns are padded to whole multiples, where the layout pads.
2. Each of the two axes is split in factors.
3. The factors are put in another order: that in which they lie in memory.
4. The last of them are joined to one axis, or all of them to rows and columns again.

Nothing is computed: whatever the elements are, their bits are moved.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor

from .. import backend
from ..boundary import check_choice, check_tensor
from ..errors import ContractError, DTypeError, ShapeError
from .packing import as_words, in_memory_order

#: what bits move in, by bytes; nothing is computed with them, so complex128 serves as the widest that torch has
WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}
GROUP = 16  #: bytes of a weight that stay together: what a lane loads at once
SHORT = 4  #: longest inner axis that is walked instead of copied along

Factors = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """An index map of [rows, columns]."""

    rows: Factors  #: from the outermost to the innermost; -1 is whatever is left
    columns: Factors | Callable[[int], Factors]  #: likewise, or those of so many columns
    order: Factors  #: the factors of rows and of columns, numbered in turn, as they lie in memory
    apart: int | None = None  #: so many are axes of the result, the others one last axis; None keeps [rows, columns]
    seen: Factors = ()  #: the order in which the axes are seen, with the batch behind them; () is that in memory
    multiples: tuple[int, int] = (1, 1)  #: rows and columns are padded to multiples of these
    pad: int = 0  #: the byte that they are padded with, unless told otherwise


def _tiles(
    rows: int, columns: int, apart: int | None = None, multiples: tuple[int, int] = (1, 1), pad: int = 0
) -> Layout:
    """Tiles of so many rows and columns one after the other, each of them row by row."""
    return Layout((-1, rows), (-1, columns), (0, 2, 1, 3), apart, multiples=multiples, pad=pad)


def _weight(rows: int, columns: int, itemsize: int) -> Layout:
    """Tiles of so many rows and twice the columns, cut in groups of 16 bytes: group by group, each row by row."""
    group = GROUP // itemsize
    return Layout((-1, rows), (-1, 2 * columns // group, group), (0, 2, 3, 1, 4))


def _batched(columns: int) -> Factors:
    """Columns in tiles of the next power of 2 from 4 to 16; fewer than 4 are one tile."""
    return (-1, next((width for width in (1, 2, 3, 4, 8) if columns <= width), 16))


LANES = (0, 3, 5, 2, 4, 1)  #: rows (r, 2, 16) and columns (c, 2, 4): 4 x 16 lanes with 2 x 2 scales each
GATE_UP = (1, 3, 5, 2, 4, 0)  #: the same with rows (2, r, 16): half of them are gate's, and half are up's
BLOCKS = (0, 3, 2, 1, 4)  #: rows (r, 4, 32) and columns (c, w): blocks of 32 x 4 x w

LAYOUTS: dict[str, Layout] = {
    # AMD: weights in bytes, [N, K]. Behind each stands the function of aiter that makes it.
    "gfx950_weight": _weight(16, 16, itemsize=1),  # shuffle_weight
    "gfx1250_weight": Layout((-1, 16), (-1, 2, 16), (0, 2, 3, 1, 4), apart=1),  # shuffle_weight_gfx1250
    "f4_weight": _tiles(16, 16),  # shuffle_weight_f4, shuffle_mxfp8fp4_b
    "a16w4_weight": Layout((-1, 16), (-1, 4, 16), (0, 2, 3, 1, 4)),  # shuffle_weight_a16w4
    "a16w4_weight_gate_up": Layout((2, -1, 16), (-1, 4, 16), (1, 0, 3, 4, 2, 5)),  # the same, gate_up=True
    "mxfp8fp4_a": _tiles(2, 128),  # shuffle_mxfp8fp4_a
    # AMD: scales, [M, S].
    "gfx950_scale": Layout((-1, 2, 16), (-1, 2, 4), LANES, multiples=(256, 8)),  # shuffle_scale, e8m0_shuffle
    "gfx950_scale_stripes": Layout((-1, 2, 16), (-1, 2, 4), LANES, apart=1),  # shuffle_scale_gemm, arch="gfx950"
    "gfx1250_scale": _tiles(16, 4, apart=1),  # shuffle_scale_gemm, arch="gfx1250"
    "f4_scale_mx": _tiles(32, 4),  # shuffle_scale_f4 of MXFP4
    "f4_scale_nv": _tiles(32, 8),  # shuffle_scale_f4 of NVFP4
    "n32k4_scale": _tiles(32, 4, apart=1),  # shuffle_scale_n32k4
    "mxfp8fp4_scale": _tiles(32, 4, multiples=(32, 1), pad=0x7F),  # shuffle_mxfp8fp4_scale
    "guinterleave_scale": Layout((-1, 2, 16), (-1, 2, 4), LANES, multiples=(1, 8), pad=0x7F),  # shuffle_scale_a16w4
    "guinterleave_scale_gate_up": Layout((2, -1, 16), (-1, 2, 4), GATE_UP, multiples=(1, 8), pad=0x7F),
    "batched_scale": Layout((-1, 4, 32), _batched, BLOCKS, apart=1),  # shuffle_scale_batched
    # NVIDIA: scales, [M, S], in the order of cuBLAS and of torch's SWIZZLE_32_4_4; and the same memory as kernels in
    # CuTe see it, (32, 4, M / 128, 4, S / 4, batch).
    "nvidia_32_4_4": Layout((-1, 4, 32), (-1, 4), BLOCKS, apart=0, multiples=(128, 4)),
    "nvidia_32_4_4_axes": Layout((-1, 4, 32), (-1, 4), BLOCKS, apart=4, seen=(2, 3, 0, 4, 1), multiples=(128, 4)),
}


def shuffle_weight(x: Tensor, layout: tuple[int, int] = (16, 16)) -> Tensor:
    """A weight in the order in which AMD's matrix units load it, 16 bytes a lane.

    Rows are taken by ``layout[0]``, columns by twice ``layout[1]`` and in groups of 16 bytes. For bytes and (16, 16)
    the element (n, k) comes to place (n // 16) 16 K + (k // 32) 512 + (k % 32 // 16) 256 + (n % 16) 16 + k % 16.

    >>> x = torch.arange(16 * 32).to(torch.int16).view(16, 32)
    >>> shuffle_weight(x)[0, :16]
    tensor([ 0,  1,  2,  3,  4,  5,  6,  7, 32, 33, 34, 35, 36, 37, 38, 39],
           dtype=torch.int16)

    Parameters
    ----------
    x : Tensor
        Integers or floats of any width, [.., N, K]; of 4-bit codes, their bytes or ``float4_e2m1fn_x2``.
    layout : (int, int)
        N must be a multiple of the first, K of twice the second.

    Returns
    -------
    Tensor
        Of the same shape and dtype, contiguous.

    Raises
    ------
    ShapeError
        When N or K is no such multiple.
    ContractError
        When the layout is no pair of ints whose columns are groups of 16 bytes.
    DTypeError
        When x is no dense tensor of integers or floats.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved, without a gradient.
    Standard: ROCm/aiter (e4048607a5), shuffle_weight.
    Cost: O(numel) time, result.
    """
    _check_elements("mx.shuffle_weight", "x", x)
    row = _weight_of("mx.shuffle_weight", x, layout)
    return _forth(x, plan_of("mx.shuffle_weight", row, x.shape), row.pad)


def unshuffle_weight(x: Tensor, layout: tuple[int, int] = (16, 16)) -> Tensor:
    """The inverse of `shuffle_weight`.

    >>> x = torch.arange(16 * 32).to(torch.uint8).view(16, 32)
    >>> torch.equal(unshuffle_weight(shuffle_weight(x)), x)
    True

    Parameters
    ----------
    x : Tensor
        What `shuffle_weight` gave, [.., N, K].
    layout : (int, int)
        That of `shuffle_weight`.

    Raises
    ------
    ShapeError, ContractError, DTypeError
        As `shuffle_weight`.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved, without a gradient.
    Standard: ROCm/aiter (e4048607a5), shuffle_weight.
    Cost: O(numel) time, result.
    """
    _check_elements("mx.unshuffle_weight", "x", x)
    row = _weight_of("mx.unshuffle_weight", x, layout)
    return _back(x, plan_of("mx.unshuffle_weight", row, x.shape))


def shuffle_scale(x: Tensor, pad: int = 0) -> Tensor:
    """Scales of a weight in AMD's order, padded to 256 rows and 8 columns: `shuffle` to ``gfx950_scale``.

    With C columns after padding the scale (m, s) comes to place (m // 32) 32 C + (s // 8) 256 + (s % 4) 64 +
    (m % 16) 4 + (s % 8 // 4) 2 + m % 32 // 16.

    >>> shuffle_scale(torch.tensor([[127, 126]], dtype=torch.uint8), pad=1).view(-1)[:65:64]
    tensor([127, 126], dtype=torch.uint8)

    Parameters
    ----------
    x : Tensor
        Scales of one byte, [.., M, S].
    pad : int
        The byte in the rows and columns that are added. The peer leaves them uninitialised.

    Returns
    -------
    Tensor
        Of the padded shape.

    Raises
    ------
    DTypeError
        When x is no dense tensor of bytes.
    ShapeError
        When x has fewer than two axes.
    ContractError
        When the pad is no byte.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved.
    Standard: ROCm/aiter (e4048607a5), shuffle_scale and e8m0_shuffle.
    Cost: O(numel) time, the result twice.
    """
    return _shuffled("mx.shuffle_scale", x, "gfx950_scale", pad)


def unshuffle_scale(y: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `shuffle_scale`, for scales of the shape before padding.

    >>> x = torch.arange(500).to(torch.uint8).view(100, 5)
    >>> torch.equal(unshuffle_scale(shuffle_scale(x), (100, 5)), x)
    True

    Parameters
    ----------
    y : Tensor
        What `shuffle_scale` gave.
    shape : sequence of int
        [.., M, S], that of the scales.

    Raises
    ------
    ShapeError
        When scales of that shape don't come out of `shuffle_scale` in the shape of y.
    DTypeError
        When y is no dense tensor of bytes.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved.
    Standard: ROCm/aiter (e4048607a5), shuffle_scale and e8m0_shuffle.
    Cost: O(numel) time, the result twice.
    """
    return _unshuffled("mx.unshuffle_scale", y, "gfx950_scale", shape)


def to_blocked(x: Tensor) -> Tensor:
    """Scales in NVIDIA's order, zero-padded to 128 rows and 4 columns: `shuffle` to ``nvidia_32_4_4``.

    The scale (m, s) of [M, S] comes to place ((m // 128) ceil(S / 4) + s // 4) 512 + (m % 32) 16 + (m % 128 // 32) 4 +
    s % 4.

    >>> to_blocked(torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8))[:18]
    tensor([1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4],
           dtype=torch.uint8)

    Parameters
    ----------
    x : Tensor
        Scales of one byte, [.., M, S].

    Returns
    -------
    Tensor
        In one row, [.., 512 ceil(M / 128) ceil(S / 4)].

    Raises
    ------
    DTypeError
        When x is no dense tensor of bytes.
    ShapeError
        When x has fewer than two axes.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved.
    Standard: cuBLAS, layout of 1-D block scaling factors; torch's SWIZZLE_32_4_4; pytorch/ao (36027d82d), to_blocked.
    Cost: O(numel) time, the result twice.
    """
    return _shuffled("mx.to_blocked", x, "nvidia_32_4_4", None)


def from_blocked(y: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `to_blocked`, for scales of the shape before padding.

    >>> x = torch.arange(500).to(torch.uint8).view(100, 5)
    >>> torch.equal(from_blocked(to_blocked(x), (100, 5)), x)
    True

    Parameters
    ----------
    y : Tensor
        What `to_blocked` gave.
    shape : sequence of int
        [.., M, S], that of the scales.

    Raises
    ------
    ShapeError
        When scales of that shape don't come out of `to_blocked` in the shape of y.
    DTypeError
        When y is no dense tensor of bytes.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved.
    Standard: cuBLAS, layout of 1-D block scaling factors; torch's SWIZZLE_32_4_4; pytorch/ao (36027d82d), to_blocked.
    Cost: O(numel) time, the result twice.
    """
    return _unshuffled("mx.from_blocked", y, "nvidia_32_4_4", shape)


def shuffle(x: Tensor, name: str, *, pad: int | None = None) -> Tensor:
    """Bytes in one of the orders of `LAYOUTS`.

    >>> shuffle(torch.arange(256).to(torch.uint8).view(2, 128), "mxfp8fp4_a").shape
    torch.Size([2, 128])
    >>> shuffle(torch.zeros(8, 300, 20, dtype=torch.uint8), "nvidia_32_4_4_axes").shape
    torch.Size([32, 4, 3, 4, 5, 8])

    Parameters
    ----------
    x : Tensor
        Of one byte an element, [.., rows, columns]: a weight [.., N, K] or scales [.., M, S]. The matrices of a batch
        are shuffled one by one. Those of experts must be a batch: not [E N, S], but ``x.view(E, N, S)``.
    name : str
        A row of `LAYOUTS`: gfx950_weight, gfx950_scale, nvidia_32_4_4 ...
    pad : int, optional
        The byte in the rows and columns that the layout adds; the row's own if left out.

    Returns
    -------
    Tensor
        Of the dtype of x; its shape is the layout's.

    Raises
    ------
    ContractError
        When there is no layout of that name, or the pad is no byte, or the layout pads nothing.
    ShapeError
        When x is no matrix of whole tiles.
    DTypeError
        When x is no dense tensor of bytes.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved.
    Standard: by layout: ROCm/aiter (e4048607a5), cuBLAS.
    Cost: O(numel) time, result, or twice the result where the layout pads.
    """
    return _shuffled("mx.shuffle", x, name, pad)


def unshuffle(y: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    """The inverse of `shuffle`, for bytes of the shape before padding.

    >>> x = torch.arange(800).to(torch.uint8).view(2, 80, 5)
    >>> torch.equal(unshuffle(shuffle(x, "nvidia_32_4_4_axes"), "nvidia_32_4_4_axes", (2, 80, 5)), x)
    True

    Parameters
    ----------
    y : Tensor
        What `shuffle` gave.
    name : str
        A row of `LAYOUTS`.
    shape : sequence of int
        [.., rows, columns], that of what was shuffled.

    Raises
    ------
    ContractError
        When there is no layout of that name.
    ShapeError
        When bytes of that shape don't come out of `shuffle` in the shape of y.
    DTypeError
        When y is no dense tensor of bytes.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; bits are moved.
    Standard: by layout: ROCm/aiter (e4048607a5), cuBLAS.
    Cost: O(numel) time, result, or twice the result where the layout pads.
    """
    return _unshuffled("mx.unshuffle", y, name, shape)


def _shuffled(function: str, x: Tensor, name: str, pad: int | None) -> Tensor:
    check_choice(function, "name", name, LAYOUTS)
    _check_bytes(function, "x", x)
    row = LAYOUTS[name]
    return _forth(x, plan_of(function, row, x.shape), _checked_pad(function, name, pad))


def _unshuffled(function: str, y: Tensor, name: str, shape: Sequence[int]) -> Tensor:
    check_choice(function, "name", name, LAYOUTS)
    _check_bytes(function, "y", y)
    plan = plan_of(function, LAYOUTS[name], _checked_shape(function, shape))
    if y.shape != plan.result:
        raise ShapeError(
            f"{function} needs y as {name} makes it from {plan.shape}, got {tuple(y.shape)}. "
            f"Its shape is {plan.result}. Pass the shape that the bytes had before, without padding."
        )
    return _back(y, plan)


# ---- moving bits ----------------------------------------------------------------------------------


class Plan(NamedTuple):
    """A layout for one shape."""

    shape: Factors  #: of what is shuffled
    padded: Factors  #: the same with padding
    down: Factors  #: of the rows of one matrix
    across: Factors  #: of its columns
    order: Factors  #: that all of them take
    memory: Factors  #: shape of the result as it lies in memory
    seen: Factors  #: the order in which its axes are seen

    @property
    def factors(self) -> Factors:
        """Of the rows and columns of one matrix."""
        return *self.down, *self.across

    @property
    def result(self) -> Factors:
        """The shape of what is returned."""
        return tuple(self.memory[axis] for axis in self.seen)


def plan_of(function: str, row: Layout, shape: Sequence[int]) -> Plan:
    """A layout for a shape, which is checked."""
    if len(shape) < 2:
        raise ShapeError(
            f"{function} needs a matrix or a batch of them, got shape {tuple(shape)}. "
            "The last two axes are rows and columns. Reshape it."
        )
    *batch, rows, columns = shape
    split = row.rows, row.columns(columns) if callable(row.columns) else row.columns
    sizes = [-(-n // multiple) * multiple for n, multiple in zip((rows, columns), row.multiples, strict=True)]
    tile = [math.prod([n for n in axis if n > 0]) for axis in split]
    if any(size % step for size, step in zip(sizes, tile, strict=True)):
        raise ShapeError(
            f"{function} needs whole tiles, got {rows} rows and {columns} columns. "
            f"Rows must be a multiple of {tile[0]}, columns of {tile[1]}. Pad the matrix first."
        )
    down, across = (
        tuple(n if n > 0 else size // step for n in axis) for axis, size, step in zip(split, sizes, tile, strict=True)
    )
    laid = [(*down, *across)[i] for i in row.order]
    axes = sizes if row.apart is None else [*laid[: row.apart], math.prod(laid[row.apart :])]
    behind = range(len(batch))
    seen = (*(len(batch) + axis for axis in row.seen), *behind) if row.seen else range(len(batch) + len(axes))
    return Plan(tuple(shape), (*batch, *sizes), down, across, row.order, (*batch, *axes), tuple(seen))


def _forth(x: Tensor, plan: Plan, pad: int) -> Tensor:
    laid: Tensor = (backend.kernel("mx_shuffle", x) or laid_out)(_bits(x), plan, pad)
    return laid.permute(plan.seen).view(x.dtype)


def laid_out(bits: Tensor, plan: Plan, pad: int) -> Tensor:
    """Bits in the order of the plan, as it lies in memory."""
    if plan.padded != plan.shape:
        bottom, right = (new - old for new, old in zip(plan.padded[-2:], plan.shape[-2:], strict=True))
        bits = torch.nn.functional.pad(bits, (0, right, 0, bottom), value=pad)
    return _moved(bits, plan, back=False).view(plan.memory)


def _back(y: Tensor, plan: Plan) -> Tensor:
    places = sorted(range(len(plan.seen)), key=plan.seen.__getitem__)
    plain: Tensor = (backend.kernel("mx_unshuffle", y) or laid_back)(_bits(y).permute(places), plan)
    return plain.view(y.dtype)


def laid_back(bits: Tensor, plan: Plan) -> Tensor:
    """The inverse of `laid_out`."""
    padded = _moved(bits, plan, back=True).view(plan.padded)
    return padded[..., : plan.shape[-2], : plan.shape[-1]].contiguous()


def _bits(x: Tensor) -> Tensor:
    return x.detach().resolve_neg().view(WORDS[x.itemsize])


def _moved(bits: Tensor, plan: Plan, *, back: bool) -> Tensor:
    """The factors of rows and columns in the order of the plan, or out of it."""
    narrow, factors = bits.dtype, (*plan.down, *plan.across)
    if plan.order[-1] == len(factors) - 1 and in_memory_order(bits):  # what stays together moves in wider words
        width = math.gcd(factors[-1] * bits.itemsize, max(WORDS))
        factors = (*factors[:-1], factors[-1] * bits.itemsize // width)
        bits = as_words(bits, WORDS[width])
    count = math.prod(plan.padded[:-2])
    to = (0, *(1 + i for i in plan.order))
    laid = [factors[i] for i in plan.order]
    result = torch.empty(count, *(factors if back else laid), dtype=bits.dtype, device=bits.device)
    if back:
        _copy(bits.reshape(count, *laid), result.permute(to))
    else:
        _copy(bits.reshape(count, *factors).permute(to), result)
    return result.view(-1).view(narrow)


def _copy(source: Tensor, result: Tensor) -> None:
    """Copy, walking short axes at the end: copying along them is slow."""
    short = itertools.takewhile(lambda size: size <= SHORT, reversed(source.shape if in_memory_order(source) else ()))
    for index in itertools.product(*map(range, reversed(list(short)))):
        place: tuple[EllipsisType | int, ...] = (..., *index)
        result[place].copy_(source[place])


# ---- checks ---------------------------------------------------------------------------------------


def _check_elements(function: str, name: str, x: Tensor) -> None:
    check_tensor(function, name, x)
    if x.dtype.is_complex or x.dtype == torch.bool:
        raise DTypeError(
            f"{function} needs integers or floats for {name}, got {x.dtype}. "
            f"Complex numbers and bools are no codes. Pass {name}.view(torch.uint8) to move bytes."
        )


def _check_bytes(function: str, name: str, x: Tensor) -> None:
    check_tensor(function, name, x)
    if x.itemsize != 1 or x.dtype == torch.bool:
        raise DTypeError(
            f"{function} needs elements of one byte for {name}, got {x.dtype}. "
            "Allowed are uint8, int8, float4_e2m1fn_x2 and the float8 types. Pass codes, or their bytes."
        )


def _weight_of(function: str, x: Tensor, layout: tuple[int, int]) -> Layout:
    rows, columns = layout if isinstance(layout, Sequence) and len(layout) == 2 else (0, 0)
    ints = all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in (rows, columns))
    if not ints or 2 * columns * x.itemsize % GROUP:
        raise ContractError(
            f"{function} has no layout={layout!r} for {x.dtype}. It is a pair of positive ints, and twice the second "
            f"one, in columns of {x.itemsize} bytes, must fill groups of {GROUP} bytes. Choose (16, 16) or the like."
        )
    return _weight(rows, columns, x.itemsize)


def _checked_pad(function: str, name: str, pad: object) -> int:
    row = LAYOUTS[name]
    if pad is None:
        return row.pad
    if row.multiples == (1, 1):
        raise ContractError(
            f"{function} pads nothing in {name}, got pad={pad!r}. "
            "It takes matrices of whole tiles. Leave pad out, and pad the matrix first."
        )
    if isinstance(pad, bool) or not isinstance(pad, int) or not 0 <= pad <= 0xFF:
        raise ContractError(f"{function} has no pad={pad!r}. It is a byte, an int from 0 to 255. Choose one of them.")
    return pad


def _checked_shape(function: str, shape: object) -> Sequence[int]:
    if not isinstance(shape, Sequence) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ShapeError(
            f"{function} has no shape {shape!r}. It is a sequence of sizes, [.., rows, columns]. "
            "Pass the shape that the bytes had before, without padding."
        )
    return shape
