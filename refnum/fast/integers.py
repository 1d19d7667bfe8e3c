"""Fixed point and floats, by multiplications that are exact: equal to ``core.round`` of ``core.decode``.

- `values`: an integer that fits a float's significand becomes that float, and times a power of two it is another one.
  Neither rounds, whatever the rounding mode, and no number is subnormal.
- `codes`, `rounded`: a float, cut to the ends, is scaled up to units and becomes an integer. What is scaled may be
  subnormal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formats import FixedPoint, Minifloat, Scalar, holds
from .chunks import elementwise
from .scans import flushes, is_finite

#: how floats become integers
INTEGERS = {
    "nearest_even": torch.round_,
    "toward_zero": torch.trunc_,
    "toward_positive": torch.ceil_,
    "toward_negative": torch.floor_,
}
CHUNK = 1 << 15  #: elements of a piece


def serves(fmt: FixedPoint, row: Minifloat) -> bool:
    """Whether the row holds the format's unit and both its ends as normal numbers."""
    return holds(row, fmt) and -fmt.fraction >= row.min_scale and fmt.max_scale < row.max_scale


def values(codes: Tensor, fmt: FixedPoint, dtype: torch.dtype) -> Tensor:
    """What codes, of which only the low bits are read, are worth in the dtype of the row."""
    integers = codes.to(torch.int32 if fmt.width < 32 or fmt.signed else torch.int64)
    spare = 8 * integers.dtype.itemsize - fmt.width
    integers = integers << spare >> spare if fmt.signed else integers & fmt.largest
    # float16 and bfloat16 are scaled as float32: their unit may be the reciprocal of what they cannot hold.
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return (integers.to(wide) * math.ldexp(1.0, -fmt.fraction)).to(dtype)


def rounds(x: Tensor, fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether `codes` and `rounded` can be used: on eager CPU tensors, for what is no coarser than integers."""
    plain = type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if not plain or x.dtype.itemsize < 4 or not isinstance(fmt, FixedPoint) or rounding not in INTEGERS:
        return False
    return fmt.fraction >= 0 and serves(fmt, row) and not flushes()


def codes(x: Tensor, fmt: FixedPoint, rounding: str, dtype: torch.dtype) -> Tensor:
    """Codes of floats, in an integer dtype that holds them."""
    return elementwise(lambda piece: _codes(piece, fmt, rounding), x, dtype=dtype, chunk=CHUNK)


def rounded(x: Tensor, fmt: FixedPoint, rounding: str) -> Tensor:
    """Floats rounded to the format, in their dtype. There is no -0, and one NaN."""
    units = {"saturate": _units, "wrap": _codes}[fmt.overflow]

    def kernel(piece: Tensor) -> Tensor:
        result = units(piece, fmt, rounding).to(x.dtype).add_(0.0).mul_(math.ldexp(1.0, -fmt.fraction))
        return result if is_finite(piece) else result.masked_fill_(piece.isnan(), math.nan)

    return elementwise(kernel, x, dtype=x.dtype, chunk=CHUNK)


def _units(x: Tensor, fmt: FixedPoint, rounding: str) -> Tensor:
    """As floats, integers to which x rounds in units; within the ends, or where the format wraps, far beyond them."""
    ends: tuple[float, float] = fmt.least, fmt.largest
    if fmt.overflow == "wrap":  # there, and beyond, is nothing but multiples of the period, which wrap to 0
        far = math.ldexp(0.5, math.frexp(torch.finfo(x.dtype).max)[1])
        ends = -far, far
    low, high = (math.ldexp(end, -fmt.fraction) for end in ends)
    return INTEGERS[rounding](x.clamp(low, high).mul_(math.ldexp(1.0, fmt.fraction)))


def _codes(x: Tensor, fmt: FixedPoint, rounding: str) -> Tensor:
    """Codes in integers as wide as the floats."""
    units, period = _units(x, fmt, rounding), math.ldexp(1.0, fmt.width)
    integer = torch.int32 if x.dtype == torch.float32 else torch.int64
    if fmt.overflow == "saturate":
        result = units.to(integer)
    else:  # what is left of whole periods on the way to 0 is exact, and an integer that can be cut
        result = units.sub_(torch.mul(units, 1 / period).trunc_(), alpha=period).to(integer)
        spare = 8 * integer.itemsize - fmt.width
        result = result << spare >> spare if fmt.signed else result & fmt.largest
    if is_finite(x):
        return result
    result = torch.where(x.isinf(), torch.where(x > 0, fmt.largest, fmt.least), result)
    return result.masked_fill_(x.isnan(), 0)
