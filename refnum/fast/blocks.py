"""Values of blocks whose scales are powers of two, sooner: equal to ``mx.dequantizer.by_definition`` in float32.

int32 lanes, and no branch looks at a value: it is what torch.compile fuses. No floating-point number is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formats import Block, Exponent, FixedPoint, Logarithmic, Minifloat, Scale, float32, unit_scale

MANTISSA = float32.mantissa
HIDDEN = 1 << MANTISSA
BIAS = 127
TOP = 0xFF  #: the field of Inf
INFINITY = TOP << MANTISSA
NAN = INFINITY | HIDDEN >> 1
SIGN = -(1 << 31)
Powered = FixedPoint | Minifloat | Logarithmic  #: elements that are an integer times a power of two
Parts = tuple[Tensor, Tensor, Tensor | int]  #: sign as a mask, an integer magnitude, and the exponent of its unit


def serves(fmt: Block) -> bool:
    """Whether the values can be computed here."""
    return fmt.by_powers and isinstance(fmt.element, (FixedPoint, Minifloat, Logarithmic))


def patterns(codes: Tensor, scales: Tensor, fmt: Block) -> Tensor:
    """float32 patterns, in int32, of elements under scales, each of its own: integer codes, of which low bits count."""
    element, scale = fmt.element, fmt.scale
    assert isinstance(element, (FixedPoint, Minifloat, Logarithmic))
    codes = codes.to(torch.int32) & ((1 << element.width) - 1)
    scales = scales.to(torch.int32) & ((1 << scale.width) - 1)
    # 1. The integer becomes a significand of float32, and its exponent a field, which may lie beyond those there are.
    sign, integer, unit = _parts(codes, element)
    significand, up = _normalised(integer, element)
    field = _exponents(scales, scale) + unit - up + (BIAS + MANTISSA)
    # 2. Below field 1 the significand moves down, and is rounded there. The field is added, not joined: the hidden bit
    #    counts 1 where there is one. What is too large is Inf.
    if _least(fmt) < float32.min_scale:
        significand = _lowered(significand, (1 - field).clamp(0, MANTISSA + 2), _least(fmt))
    magnitude = ((field.clamp(1, TOP) - 1) << MANTISSA) + significand
    magnitude = torch.where(integer.eq(0), 0, magnitude.clamp(max=INFINITY))
    # 3. Codes that are no numbers; NaN wins.
    pattern = magnitude | (sign & SIGN)
    if isinstance(element, Minifloat):
        pattern = _with_specials(pattern, codes, element)
    if isinstance(scale, Minifloat) and scale.nan is not None:
        pattern = torch.where(scales.eq(scale.nan), NAN, pattern)
    return pattern


def _least(fmt: Block) -> int:
    """log2 of the unit of all values."""
    scale = fmt.scale
    return unit_scale(fmt.element) + (scale.least if isinstance(scale, Exponent) else unit_scale(scale))


def _parts(codes: Tensor, element: Powered) -> Parts:
    spare = 32 - element.width
    sign = codes << spare >> 31
    if isinstance(element, FixedPoint):
        if not element.signed:
            return torch.zeros_like(codes), codes & element.largest, -element.fraction
        integer = codes << spare >> spare
        return sign, (integer ^ sign) - sign, -element.fraction
    if isinstance(element, Logarithmic):
        assert element.bias is not None
        magnitude = codes & element.largest
        present = magnitude.clamp(max=1) if element.zero_code else torch.ones_like(codes)
        return sign, present, magnitude - element.bias
    magnitude = codes & ((1 << (element.width - 1)) - 1)
    field = magnitude >> element.mantissa
    hidden = field.clamp(max=1) << element.mantissa
    integer = (magnitude & ((1 << element.mantissa) - 1)) | hidden
    return sign, integer, field.clamp(min=1) + (unit_scale(element) - 1)


def _normalised(integer: Tensor, element: Powered) -> tuple[Tensor, Tensor | int]:
    """The integer with its leading one at the hidden bit, and by how much it moved up."""
    bits = element.width if isinstance(element, FixedPoint) else element.significand_bits
    up: Tensor | int = MANTISSA + 1 - bits
    significand = integer << up
    for step in [1 << k for k in reversed(range((bits - 1).bit_length()))]:
        further = ((significand - (1 << (MANTISSA + 1 - step))) >> 31) & step
        significand, up = significand << further, further + up
    return significand, up


def _exponents(scales: Tensor, scale: Scale) -> Tensor:
    """log2 of scales."""
    if isinstance(scale, Exponent):
        return scales << (32 - scale.width) >> (32 - scale.width)
    assert scale.bias is not None
    return scales - scale.bias


def _lowered(significand: Tensor, down: Tensor, least: int) -> Tensor:
    """The significand, some places further down; rounded to nearest even where float32 lacks the values' unit."""
    if least >= float32.min_scale - MANTISSA:
        return significand >> down
    doubled = significand << 1  # one place more, so that there always is one to round at
    odd = (significand >> down) & 1
    return (doubled + (odd - 1) + (torch.ones_like(down) << down)) >> (down + 1)


def _with_specials(pattern: Tensor, codes: Tensor, element: Minifloat) -> Tensor:
    """Patterns of numbers, but those of Inf and NaN where the codes say so."""
    magnitude = codes & ((1 << (element.width - 1)) - 1)
    if element.infinity is not None:
        pattern = torch.where(magnitude.eq(element.infinity), (pattern & SIGN) | INFINITY, pattern)
        return torch.where(magnitude.gt(element.infinity), NAN, pattern)
    if element.nan is not None:
        return torch.where((codes if element.specials == "fnuz" else magnitude).eq(element.nan), NAN, pattern)
    return pattern
