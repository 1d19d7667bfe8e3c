"""Minifloats and DMF from float32 by additions, to nearest even: equal to ``core.round`` of ``core.decode``.

A1. To add 2**(e + 23 - m) to a magnitude below 2**(e + 1) leaves, rounded to nearest even, a multiple of 2**(e - m):
    the unit of numbers with m fraction bits near 2**e, and, where e is the format's least exponent, of those below.
A2. The multiple k stands in the low bits of the sum, and e above them. The code is k and, at bit m, what e exceeds its
    least value by: the leading one of k is the first that the exponent counts.
A3. What was added can be taken away again, and leaves the rounded number.

Subnormal float32 are less than half a unit: no bit depends on whether arithmetic takes them for 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formats import DMF, Minifloat, Scalar, float32
from .chunks import elementwise
from .scans import is_finite, rounds_to_nearest
from .significands import normalised

CHUNK = 1 << 15  #: elements of a piece
MANTISSA, LEAST = float32.mantissa, float32.min_scale
_SIGN = -(1 << 31)
Addable = Minifloat | DMF


def serves(x: Tensor, fmt: Scalar, rounding: str) -> bool:
    """Whether eager CPU values can be rounded to the format here."""
    plain = type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if not plain or x.dtype != torch.float32 or rounding != "nearest_even":
        return False
    return isinstance(fmt, (Minifloat, DMF)) and adds(fmt) and rounds_to_nearest()


def adds(fmt: Addable) -> bool:
    """Whether what is added to values, and half of the format's least unit, are normal float32."""
    if isinstance(fmt, Minifloat):
        known = fmt.overflow == "saturate" or (fmt.specials, fmt.overflow) == ("ieee", "inf")
        if not (known and fmt.signed and fmt.subnormals) or fmt.specials == "fnuz":  # which has no -0
            return False
    floating = normalised(fmt)
    mantissa = floating.mantissa
    ends = fmt.max_scale + 1 + MANTISSA - mantissa <= float32.max_scale and floating.min_scale - mantissa > LEAST
    return ends and 1 <= mantissa < MANTISSA // 2  # beyond which the multiple would reach into what is added to it


def codes(x: Tensor, fmt: Addable, dtype: torch.dtype) -> Tensor:
    """Codes of values, in an integer dtype that holds them."""
    return elementwise(lambda piece: _codes(piece, fmt), x, dtype=dtype, chunk=CHUNK)


def values(x: Tensor, fmt: Addable) -> Tensor:
    """Values rounded to the format."""
    return elementwise(lambda piece: _values(piece, fmt), x, dtype=x.dtype, chunk=CHUNK)


def _codes(x: Tensor, fmt: Addable) -> Tensor:
    floating = normalised(fmt)
    mantissa, least = floating.mantissa, floating.min_scale + MANTISSA - floating.mantissa - LEAST + 1
    total = _sum(x, fmt)[0].view(torch.int32)
    code = torch.bitwise_right_shift(total, MANTISSA - mantissa).add_(total).sub_(least << mantissa)
    code.bitwise_and_((1 << (MANTISSA - 1)) - 1)
    if isinstance(fmt, DMF):  # numbers with their leading bit begin at field 0
        code.add_((code >> mantissa).sub_(1).clamp_(min=0).bitwise_left_shift_(mantissa))
    sign = torch.bitwise_right_shift(x.view(torch.int32), 32 - fmt.width)
    code.bitwise_or_(sign.bitwise_and_(1 << (fmt.width - 1)))
    if is_finite(x):
        return code
    return code.masked_fill_(x.isnan(), (isinstance(fmt, Minifloat) and fmt.nan) or 0)


def _values(x: Tensor, fmt: Addable) -> Tensor:
    total, added = _sum(x, fmt)
    result = total.sub_(added)
    if isinstance(fmt, Minifloat) and fmt.overflow == "inf":
        result.masked_fill_(result > fmt.max_value, math.inf)
    result.view(torch.int32).bitwise_or_(x.view(torch.int32) & _SIGN)
    if is_finite(x):
        return result
    lost = isinstance(fmt, Minifloat) and fmt.nan is None
    return result.masked_fill_(x.isnan(), 0.0 if lost else math.nan)


def _sum(x: Tensor, fmt: Addable) -> tuple[Tensor, Tensor]:
    """Magnitudes, cut to the largest value or what rounds to Inf, and the powers of two added to them."""
    floating = normalised(fmt)
    saturates = isinstance(fmt, DMF) or fmt.overflow == "saturate"
    magnitude = x.abs().clamp_(max=fmt.max_value if saturates else 2.0 ** (fmt.max_scale + 1))
    power = magnitude.clamp(min=2.0**floating.min_scale)
    power.view(torch.int32).bitwise_and_(0xFF << MANTISSA).add_((MANTISSA - floating.mantissa) << MANTISSA)
    return magnitude.add_(power), power
