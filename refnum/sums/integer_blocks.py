"""Products of blocks of integers under powers of two: the family ``int/v1``, as a circuit has them.

Element i of a block is an integer q_i times a unit, the block's scale is 2**e. For blocks j along K of two rows::

    d_j = sum over i of qa[j,i] qb[j,i]                       in an accumulator of acc bits, from 0, i ascending
    C   = bias + sum over j of d_j 2**(ea[j] + eb[j]) ua ub   exactly, then rounded once

1. Where the d_j of the largest integers fit the accumulator, all do, and C is the sum of contract ``exact/v1``.
2. Elsewhere acc is less than the bits of such a sum: of at most 2**20 products of at most 2**30, or 2**32 without a
   sign. So d_j has less than 53 bits, and float64 holds d_j times the powers of two, which are bounded: each is a term
   of an exact sum.
3. Integers have no -0: where C is 0, it is +0.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..core.decode import decode
from ..core.round import encode
from ..errors import ContractError, ShapeError
from ..fast.chunks import pieces
from ..formats import Block, Exponent, FixedPoint, Minifloat, float64, unit_scale
from ..mx.blocks import Blocks
from .dequantized import exact_blocks_mm
from .exact import exact_mm
from .integers import Integers, accumulated, check_room
from .operands import batch_shape

TILE = 1 << 18  #: d_j that are worked on at a time
REACH = 256  #: units of elements times scales are from 2**-REACH to 2**REACH, so that four of them are a float64


def int_blocks_mm(
    a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, dtype: torch.dtype, *, row: Integers
) -> Tensor:
    """The sums of the products of rows of a [.., M, K] with rows of b [.., N, K], and the bias, under a row of int/v1.

    Operands are what `check_blocks` lets pass; the bias is float32. A NaN scale gives NaN, the largest pattern.
    """
    assert isinstance(a, Blocks)
    assert isinstance(b, Blocks)
    if a.fmt.tile[1] != b.fmt.tile[1]:
        raise ShapeError(
            f"mx_mm under {row.name} needs blocks of one size along K, got {a.fmt.tile[1]} in a and {b.fmt.tile[1]} in "
            "b. Quantize one of them again."
        )
    largest, terms = _largest(a.fmt) * _largest(b.fmt), a.fmt.tile[1]
    if row.overflow == "refuse":
        check_room(row, [], terms, largest, "size")
    zero = torch.zeros((), dtype=torch.float32, device=a.scales.device)
    start = zero if bias is None else torch.where(bias.view(torch.int32) << 1 == 0, zero, bias)
    multiply = exact_blocks_mm if terms * largest <= row.largest else partial(by_definition, row=row)
    return multiply(a, b, start, dtype)


def by_definition(a: Blocks, b: Blocks, bias: Tensor, dtype: torch.dtype, row: Integers) -> Tensor:
    """The definition of `int_blocks_mm`, some rows at a time."""
    x, y = integers_of(a), integers_of(b)  # [.., M, blocks, size]
    u, v = _scales(a), _scales(b)  # [.., M, blocks]
    batch = batch_shape(x[..., 0], y[..., 0])
    shape = torch.Size((*batch, x.shape[-3], y.shape[-3]))
    x, y = (side.expand(*batch, *side.shape[-3:]) for side in (x, y))
    u, v = (side.expand(*batch, *side.shape[-2:]) for side in (u, v))
    result, z = torch.empty(shape, dtype=dtype, device=x.device), bias.expand(shape)
    ones = torch.ones(x.shape[-2], 1, dtype=torch.float64, device=x.device)
    for place in pieces(shape[:-1], max(1, TILE // max(1, shape[-1] * x.shape[-2]))) if result.numel() else ():
        matrix = place[: len(batch)]
        dots = _dots(x[place], y[matrix], row, _largest(a.fmt) * _largest(b.fmt))
        terms = dots.to(torch.float64) * (u[place][..., :, None, :] * v[matrix][..., None, :, :])
        result[place] = exact_mm(terms, ones, z[place][..., None], dtype)[..., 0]
    return result


def _dots(x: Tensor, y: Tensor, row: Integers, largest: int) -> Tensor:
    """d_j [.., M, N, blocks] of integers [.., M, blocks, size] and [.., N, blocks, size]."""
    left, right = x.movedim(-2, -3), y.movedim(-2, -3).mT
    start = torch.zeros((*left.shape[:-1], right.shape[-1]), dtype=torch.int64, device=x.device)
    return accumulated(start, left, right, row, largest).movedim(-3, -1)


# ---- blocks as integers ----------------------------------------------------------------------------


def integers_of(x: Blocks) -> Tensor:
    """The integers of blocks [.., M, K], as int64 [.., M, blocks, size], filled up with 0."""
    element, size = x.fmt.element, x.fmt.tile[1]
    assert isinstance(element, (FixedPoint, Minifloat))
    codes = x.codes.to(torch.int64)
    codes = torch.nn.functional.pad(codes, (0, -codes.shape[-1] % size))
    codes = codes.view(*codes.shape[:-1], codes.shape[-1] // size, size)
    if isinstance(element, FixedPoint) and element.signed:
        return codes << (64 - element.width) >> (64 - element.width)
    if isinstance(element, FixedPoint):
        return codes & element.largest
    sign = codes << (64 - element.width) >> 63
    return ((codes & element.largest) ^ sign) - sign


def _scales(x: Blocks) -> Tensor:
    """Scales times the unit of elements [.., M, blocks], in float64."""
    rows = x.fmt.tile[0]
    scales = encode(decode(x.scales, x.fmt.scale), float64).view(torch.float64) * 2.0 ** unit_scale(x.fmt.element)
    return scales.repeat_interleave(rows, -2)[..., : x.shape[-2], :] if rows > 1 else scales


def _largest(fmt: Block) -> int:
    """The largest magnitude of the integers that elements are."""
    element = fmt.element
    assert isinstance(element, (FixedPoint, Minifloat))
    return 1 << (element.width - 1) if isinstance(element, FixedPoint) and element.signed else element.largest


def _has_integers(fmt: Block) -> bool:
    """Whether elements are integers times a unit: minifloats are where the exponent field has one bit."""
    element = fmt.element
    if isinstance(element, Minifloat):
        return element.exponent == 1 and element.specials == "none"
    return isinstance(element, FixedPoint)


def _is_bounded(fmt: Block) -> bool:
    """Whether units of values are of powers within REACH."""
    scale, unit = fmt.scale, unit_scale(fmt.element)
    ends = (scale.least, scale.largest) if isinstance(scale, Exponent) else (scale.min_scale, scale.max_scale)
    return max(abs(unit + end) for end in ends) <= REACH


def check_blocks(function: str, name: str, x: Blocks, *, row: Integers) -> None:
    """The operand is blocks of integers of the row's width under powers of two."""
    fmt = x.fmt
    served = fmt.by_powers and _has_integers(fmt) and fmt.element.width == row.bits and _is_bounded(fmt)
    if not served or x.tensor_scale is not None:
        factor = "" if x.tensor_scale is None else " with a tensor_scale"
        raise ContractError(
            f"{function} under {row.name} cannot take {fmt}{factor} for {name}. Allowed are blocks of integers of "
            f"{row.bits} bits under powers of two, as formats.mxint and formats.bfp give them. Choose bits, or use "
            "exact/v1."
        )
