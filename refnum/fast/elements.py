"""Elements of blocks, sooner: equal to ``mx.elements``.

- `element_codes`: int32 lanes, for three roundings. No branch looks at a value: it is what torch.compile fuses.
- `nearest_even`: eager float32 arithmetic, which must not flush subnormal numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formats import Element, FixedPoint, Minifloat, float32

MANTISSA = float32.mantissa
HIDDEN = 1 << MANTISSA
BIAS = 127
INFINITY = 0xFF << MANTISSA
FAR = 1 << 9  #: an exponent beyond all elements, under any scale
ROUNDINGS = ("nearest_even", "nearest_away", "toward_zero")


def serves(element: Element, rounding: str) -> bool:
    """Whether the codes can be computed here."""
    if rounding not in ROUNDINGS:
        return False
    if isinstance(element, FixedPoint):
        return element.symmetric and element.width <= 8 and abs(element.fraction) <= 8
    plain = element.overflow == "saturate" and element.subnormals and element.signed
    return plain and 1 <= element.mantissa <= 6 and element.min_scale >= -30 and element.max_scale <= 60


def element_codes(
    bits: Tensor,
    scale: Tensor,
    element: Element,
    rounding: str,
    *,
    underflow: int | None = None,
    infinities: bool = False,
) -> Tensor:
    """Codes, in int32, of float32 patterns divided by 2**(scale - 127), both int32; NaN must not be among them.

    ``underflow`` is log2 of the largest scaled value that counts as 0, without sign; None: signs are kept. Inf is among
    the values only with ``infinities``.
    """
    mantissa, least = _unit(element)
    magnitude = bits & 0x7FFFFFFF
    # 1. An integer significand and the exponent of its hidden bit. A subnormal number lacks that bit: it moves up, but
    #    no further than to exponents where elements are subnormal, too, even under the scale 2**-127.
    field = magnitude >> MANTISSA
    significand = (magnitude & (HIDDEN - 1)) | (field.clamp(max=1) << MANTISSA)
    exponent = field.clamp(min=1) - scale
    for step in _steps(1 - least):
        up = ((significand - (1 << (MANTISSA + 1 - step))) >> 31) & step
        significand, exponent = significand << up, exponent - up
    if infinities:
        exponent = exponent + ((INFINITY - 1 - magnitude) >> 31 & FAR)
    # 2. It is shifted right to where the element's last bit is, and rounded there; 26 places leave nothing of it. A
    #    carry may take it into the next binade, which is as it should be.
    shift = ((MANTISSA - mantissa + least) - exponent.clamp(max=least)).clamp(max=MANTISSA + 3)
    match rounding:
        case "nearest_even":
            significand = significand + ((significand >> shift) & 1) + (_half(shift) - 1)
        case "nearest_away":
            significand = significand + _half(shift)
    code = significand >> shift
    # 3. The field is added, not joined: the hidden bit counts 1 where the field is not 0.
    code = (code + ((exponent.clamp(min=least) - least) << mantissa)).clamp(max=element.largest)
    sign = bits >> 31
    if underflow is not None:
        sign = sign & ((_power(scale + (underflow - BIAS)) - magnitude) >> 31)
    return _signed(code, sign, element)


def _steps(count: int) -> list[int]:
    """Powers of two, falling, that add up to a shift of ``count`` or more, or to that of the last bit."""
    return [1 << k for k in reversed(range(min(max(count, 0), MANTISSA).bit_length()))]


def _half(shift: Tensor) -> Tensor:
    """Half a unit."""
    return torch.ones_like(shift) << (shift - 1)


def _power(exponent: Tensor) -> Tensor:
    """The float32 pattern of a power of two, or of the largest one next below that is a float32."""
    subnormal = HIDDEN >> (1 - BIAS - exponent).clamp(0, MANTISSA + 1)
    return torch.where(exponent > -BIAS, (exponent + BIAS) << MANTISSA, subnormal)


def _signed(code: Tensor, sign: Tensor, element: Element) -> Tensor:
    """Magnitude codes with a sign, given as 0 or -1."""
    if isinstance(element, FixedPoint):
        return ((code ^ sign) - sign) & ((1 << element.width) - 1)
    if element.specials == "fnuz":  # has no -0
        sign = sign & (-code >> 31)
    return code | (sign & (1 << (element.width - 1)))


def _unit(element: Element) -> tuple[int, int]:
    """Fraction bits, and the exponent up to which the unit stays: of fixed point it always does."""
    if isinstance(element, Minifloat):
        return element.mantissa, element.min_scale
    return element.width - 2, element.max_scale


# ---- by floating-point additions -----------------------------------------------------------------


def nearest_even(x: Tensor, element: Element, spare: Tensor, codes: Tensor) -> Tensor:
    """Codes, in int32 of which the low byte counts, of float32 values that are not NaN; all memory is overwritten.

    To add 2**(e + 23 - m) to a magnitude below 2**(e + 1) leaves a multiple of 2**(e - m), the unit of elements with m
    fraction bits near 2**e, and the multiple stands in the low bits of the sum.
    """
    bits = x.view(torch.int32)
    if isinstance(element, FixedPoint):
        x.clamp_(-element.max_value, element.max_value).add_(1.5 * 2.0 ** (MANTISSA - element.fraction))
        return torch.bitwise_and(bits, (1 << element.width) - 1, out=codes)
    mantissa, least = element.mantissa, element.min_scale
    sign = torch.bitwise_right_shift(bits, 31, out=spare)
    x.abs_().clamp_(max=element.max_value)
    # 1. The power of two 2**e, and the number that is added to the magnitude.
    torch.clamp(x, min=2.0**least, out=codes.view(torch.float32))
    codes.bitwise_and_(INFINITY).add_(((MANTISSA - mantissa) << MANTISSA) + _offset(element))
    x.add_(codes.view(torch.float32))
    # 2. The exponent of the sum is the element's, but for a constant that the offset takes away from the low byte. It
    #    is even, so that ties go where they should.
    torch.bitwise_right_shift(bits, MANTISSA - mantissa, out=codes).add_(bits)
    if element.specials == "fnuz":  # has no -0
        sign.bitwise_and_(-(codes & 0xFF) >> 31)
    return codes.add_(sign, alpha=-(1 << (element.width - 1)))


def _offset(element: Minifloat) -> int:
    return -((BIAS + MANTISSA - element.mantissa + element.min_scale) << element.mantissa) & 0xFF
