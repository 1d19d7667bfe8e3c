"""Fixed point and floats, by a multiplication that is exact: equal to ``core.round`` of ``core.decode``.

An integer that fits a float's significand becomes that float, and times a power of two it is another one. Neither
rounds, whatever the rounding mode, and no number is subnormal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formats import FixedPoint, Minifloat, holds


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
