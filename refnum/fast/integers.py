"""Fixed point and floats, by multiplications that are exact: equal to ``core.round`` of ``core.decode``.

- `values`: an integer that fits a float's significand becomes that float, and times a power of two it is another one.
  Neither rounds, whatever the rounding mode, and no number is subnormal.
- `rounded`: a float, cut to the ends, is scaled up to units and becomes an integer. What is scaled may be subnormal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formats import FixedPoint, Minifloat, Scalar, holds
from .chunks import elementwise
from .scans import flushes

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
    """Whether `rounded` can be used: on eager CPU tensors, for what saturates and is no coarser than integers."""
    plain = type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if not plain or x.dtype.itemsize < 4 or not isinstance(fmt, FixedPoint) or rounding not in INTEGERS:
        return False
    return fmt.overflow == "saturate" and fmt.fraction >= 0 and serves(fmt, row) and not flushes()


def rounded(x: Tensor, fmt: FixedPoint, rounding: str) -> Tensor:
    """Floats rounded to the format, in their dtype. There is no -0, and one NaN."""
    unit = math.ldexp(1.0, -fmt.fraction)

    def kernel(piece: Tensor) -> Tensor:
        result = piece.clamp(fmt.least * unit, fmt.largest * unit).mul_(1 / unit)
        INTEGERS[rounding](result).add_(0.0).mul_(unit)
        nan = result.isnan()
        return result.masked_fill_(nan, math.nan) if nan.any() else result

    return elementwise(kernel, x, dtype=x.dtype, chunk=CHUNK)
