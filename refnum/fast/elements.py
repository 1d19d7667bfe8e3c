"""Elements of blocks in int32 lanes: equal to ``mx.elements``, for three roundings.

Behind its bias the pattern of a float32 is a logarithm with a linear fraction, from which that of the scale is
subtracted. The significand, 24 bits, is then shifted to where the element's last bit is, further below its least
exponent, and rounded there. No branch looks at a value: it is what torch.compile fuses, too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formats import Element, FixedPoint, Minifloat, float32

MANTISSA = float32.mantissa
HIDDEN = 1 << MANTISSA
BIAS = 127
INFINITY = 0xFF << MANTISSA
LARGEST = 100 << MANTISSA  #: a logarithm beyond all elements
LEAST = 32  #: blocks whose scale code is smaller may hold subnormal values that are not 0 as elements
ROUNDINGS = ("nearest_even", "nearest_away", "toward_zero")


def serves(element: Element, rounding: str) -> bool:
    """Whether the codes can be computed here."""
    if rounding not in ROUNDINGS:
        return False
    if isinstance(element, FixedPoint):
        return element.symmetric and element.width <= 8 and abs(element.fraction) <= 8
    plain = element.specials != "fnuz" and element.overflow == "saturate" and element.subnormals and element.signed
    return plain and element.mantissa <= 7 and element.min_scale - element.mantissa >= 4 - LEAST


def element_codes(
    bits: Tensor,
    scale: Tensor,
    element: Element,
    rounding: str,
    *,
    normal: bool,
    signed_zeros: bool = True,
    infinities: bool = False,
) -> Tensor:
    """Codes, in int32, of float32 patterns divided by 2**(scale - 127), both int32.

    ``normal`` promises that no scale is below `LEAST`: 0 is then a number far below all elements. A sign is kept at 0
    with ``signed_zeros``; Inf is among the values only with ``infinities``.
    """
    mantissa, least = _unit(element)
    magnitude = bits & 0x7FFFFFFF
    logarithm = magnitude - (scale << MANTISSA)
    if not normal:
        logarithm = _with_subnormals(logarithm, magnitude, scale)
    if infinities:
        logarithm = logarithm | ((INFINITY - 1 - magnitude) >> 31 & LARGEST)
    sign = bits >> 31
    if not signed_zeros:  # a value of 2**-150 or less is 0 in float32
        sign = sign & (((-150 << MANTISSA) - logarithm) >> 31) & ((-magnitude) >> 31)
    # 1. What is below a quarter of the least element is as good as 0, what is above 4 times the largest one as good as
    #    infinite: so all shifts are short.
    logarithm = logarithm.clamp_((least - mantissa - 3) << MANTISSA, (element.max_scale + 2) << MANTISSA)
    exponent = logarithm >> MANTISSA
    # 2. The significand, shifted right; the carry may take it into the next binade, which is as it should be.
    shift = (MANTISSA - mantissa + least) - exponent.clamp(max=least)
    significand = logarithm.bitwise_and_(HIDDEN - 1).bitwise_or_(HIDDEN)
    match rounding:
        case "nearest_even":
            odd = (significand >> shift).bitwise_and_(1)
            significand = significand.add_(odd).add_(_half(shift)).sub_(1)
        case "nearest_away":
            significand = significand.add_(_half(shift))
    code = significand.bitwise_right_shift_(shift)
    # 3. The field is added, not joined: the hidden bit counts 1 where the field is not 0.
    code = code.add_(exponent.clamp_(min=least).sub_(least).bitwise_left_shift_(mantissa)).clamp_(max=element.largest)
    if isinstance(element, FixedPoint):
        return code.bitwise_xor_(sign).sub_(sign).bitwise_and_((1 << element.width) - 1)
    return code.bitwise_or_(sign & (1 << (element.width - 1)))


def _half(shift: Tensor) -> Tensor:
    """Half a unit: 1 << (shift - 1)."""
    return torch.ones_like(shift).bitwise_left_shift_(shift - 1)


def _unit(element: Element) -> tuple[int, int]:
    """Fraction bits, and the exponent up to which the unit stays: of fixed point it always does."""
    if isinstance(element, Minifloat):
        return element.mantissa, element.min_scale
    return element.width - 2, element.max_scale


def _with_subnormals(logarithm: Tensor, magnitude: Tensor, scale: Tensor) -> Tensor:
    """The logarithms, right for subnormal numbers, too; 0 gets one far below all elements."""
    significand, field = magnitude.clamp(max=HIDDEN - 1), torch.ones_like(magnitude)
    for step in (16, 8, 4, 2, 1):  # move the leading one to the hidden place
        short = ((significand - (1 << (MANTISSA + 1 - step))) >> 31) & step
        significand, field = significand << short, field - short
    # A subnormal number over a scale of 2**53 is 0 even in float32: larger scales need not be told apart.
    own = ((field - scale.clamp(max=BIAS + 53)) << MANTISSA) + (significand & (HIDDEN - 1))
    subnormal = (magnitude - HIDDEN) >> 31
    return logarithm ^ ((logarithm ^ own) & subnormal)
