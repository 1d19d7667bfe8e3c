"""Floats to wider and narrower floats: equal to ``core.round.encode`` of what ``core.decode`` reads.

Conversions of the machine are IEEE's as long as nothing is subnormal, which a setting may flush; the rest is done on
integers. What a NaN becomes is up to the caller.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..core.decode import decode
from ..core.round import encode
from ..formats import Minifloat, bfloat16, float16, float32, float64
from .chunks import elementwise
from .scans import has_subnormal, least_magnitude

INTEGER = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}
ROW: dict[torch.dtype, Minifloat] = {
    torch.float16: float16,
    torch.bfloat16: bfloat16,
    torch.float32: float32,
    torch.float64: float64,
}
_DROPPED = float64.mantissa - float32.mantissa  #: bits of a float64 that a float32 has no room for
_LOW = (1 << _DROPPED) - 1
_HALF = 1 << (float32.mantissa - bfloat16.mantissa - 1)  #: half a unit of a bfloat16, in units of a float32


def converted(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Floats, rounded to nearest even where the dtype does not hold them: from float32 or float64, or to float64."""
    return elementwise(partial(converted_piece, dtype=dtype), x, dtype=dtype)


def converted_piece(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`converted` of so few values that they stay in the cache."""
    if x.dtype == dtype:
        return x
    if dtype == torch.float64:
        subnormal = has_subnormal(x.view(INTEGER[x.dtype]), ROW[x.dtype])
        return _by_definition(x, dtype) if subnormal else x.to(dtype)
    if x.dtype == torch.float64:
        short = x.to(torch.float32) if dtype == torch.float32 else _odd(x)
        if dtype != torch.float16 and _may_flush(short) and 0 < least_magnitude(x.view(torch.int64), float64) < _NORMAL:
            return _by_definition(x, dtype)
        if dtype == torch.float32:
            return short
        x = short
    if dtype == torch.float16:
        return x.to(dtype)  # not even flushed can a subnormal float32 give anything but 0
    bits = x.view(torch.int32)
    return bits.add((bits >> 16) & 1).add_(_HALF - 1).bitwise_right_shift_(16).to(torch.int16).view(dtype)


_NORMAL = (float32.min_scale + 1023) << float64.mantissa  #: as the pattern of a float64


def _may_flush(x: Tensor) -> bool:
    """Whether some float32 is subnormal, or has been, or is 0 or NaN."""
    return x.numel() > 0 and not float(x.abs().amin()) >= 2.0**float32.min_scale


def _odd(x: Tensor) -> Tensor:
    """Float64 values rounded to odd in float32, whose further rounding is then one of the values themselves."""
    bits = x.view(torch.int64)
    sticky = bits.bitwise_and(_LOW).add_(_LOW).bitwise_or_(bits)  # in the last bit that stays
    return sticky.bitwise_and_(~_LOW).view(torch.float64).to(torch.float32)


def _by_definition(x: Tensor, dtype: torch.dtype) -> Tensor:
    codes = encode(decode(x.view(INTEGER[x.dtype]), ROW[x.dtype]), ROW[dtype])
    return codes.to(INTEGER[dtype]).view(dtype)
