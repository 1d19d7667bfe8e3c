"""Elements of blocks, sooner: equal to ``mx.elements``.

- `element_codes`: int32 lanes, for three roundings. No branch looks at a value: it is what torch.compile fuses.
- `logarithmic_codes`: the same for powers of two.
- `divided`: what tables of float32 patterns take.
- `nearest_even`: eager float32 arithmetic, which must not flush subnormal numbers. `nearest_power` for powers of two.

Scales are powers of two, given as exponents plus 127.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formats import Element, FixedPoint, Logarithmic, Minifloat, float32

MANTISSA = float32.mantissa
MAGNITUDE = 0x7FFFFFFF
HIDDEN = 1 << MANTISSA
BIAS = 127
INFINITY = 0xFF << MANTISSA
FAR = 1 << 9  #: an exponent beyond all elements, under any scale
ROUNDINGS = ("nearest_even", "nearest_away", "toward_zero")
SUM = 22  #: bits of the longest integer that a float32 sum has in its low bits


def serves(element: Element, rounding: str) -> bool:
    """Whether the codes can be computed here."""
    if rounding not in ROUNDINGS:
        return False
    if isinstance(element, FixedPoint):
        return element.signed and element.overflow == "saturate" and abs(element.fraction) <= 30
    if isinstance(element, Minifloat):
        plain = element.overflow == "saturate" and element.subnormals and element.signed
        return plain and element.mantissa >= 1 and element.min_scale >= -30 and element.max_scale <= 60
    return isinstance(element, Logarithmic)


def adds(element: Element) -> bool:
    """Whether `nearest_even` serves, too, or `nearest_power`."""
    if isinstance(element, FixedPoint):
        return element.width <= SUM
    if isinstance(element, Logarithmic):
        return True
    if not isinstance(element, Minifloat):
        return False
    # An offset and an integer of the elements stand below the bits of a sum that are moved to them.
    return _mask(element) + (2 << element.mantissa) < 1 << (MANTISSA - element.mantissa)


def element_codes(
    bits: Tensor,
    scale: Tensor,
    element: Element,
    rounding: str,
    *,
    underflow: int | None = None,
    infinities: bool = False,
    lowest: int = 0,
) -> Tensor:
    """Codes, in int32, of float32 patterns divided by 2**(scale - 127), both int32; NaN must not be among them.

    ``underflow`` is log2 of the largest scaled value that counts as 0, without sign; None: signs are kept. Inf is among
    the values only with ``infinities``. No scale is less than ``lowest``.
    """
    if isinstance(element, Logarithmic):
        assert underflow is None
        assert not infinities
        return logarithmic_codes(bits, scale, element, rounding)
    assert isinstance(element, (Minifloat, FixedPoint))
    mantissa, least = _unit(element)
    magnitude = bits & MAGNITUDE
    # 1. An integer significand and the exponent of its hidden bit. A subnormal number lacks that bit: it moves up, but
    #    no further than to exponents where elements are subnormal, too, even under the least scale.
    field = magnitude >> MANTISSA
    significand = (magnitude & (HIDDEN - 1)) | (field.clamp(max=1) << MANTISSA)
    exponent = field.clamp(min=1) - scale
    for step in _steps(1 - least - lowest):
        up = ((significand - (1 << (MANTISSA + 1 - step))) >> 31) & step
        significand, exponent = significand << up, exponent - up
    if lowest < 0:  # 0 has moved down, too, but under such scales not to where elements are subnormal
        exponent = torch.where(magnitude == 0, least, exponent)
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
    code = code + ((exponent.clamp(least, element.max_scale + 1) - least) << mantissa)
    sign = bits >> 31
    code = torch.minimum(code, _most(element, sign, scale, magnitude))
    if underflow is not None:
        sign = sign & ((_power(scale + (underflow - BIAS)) - magnitude) >> 31)
    return _signed(code, sign, element)


def _most(element: Minifloat | FixedPoint, sign: Tensor, scale: Tensor, magnitude: Tensor) -> Tensor:
    """The largest magnitude code: in two's complement one more of negative values, unless that is a finite -2**128."""
    if not isinstance(element, FixedPoint) or element.symmetric:
        return torch.full_like(scale, element.largest)
    beyond = (INFINITY - 1 - magnitude) >> 31
    return element.largest - (sign & (beyond | (scale - (2 * BIAS - element.max_scale)) >> 31))


def logarithmic_codes(bits: Tensor, scale: Tensor, element: Logarithmic, rounding: str) -> Tensor:
    """`element_codes` of powers of two: the exponent of a magnitude is its code, but for a constant."""
    assert element.bias is not None
    pattern = normalised(bits & MAGNITUDE)
    field = scale - element.bias
    code = ((pattern + LOGARITHM_CARRIES[rounding]) >> MANTISSA) - field
    if element.zero_code:  # 1 is the least number, and half of it the border
        number = ((pattern + ZERO_CARRIES[rounding]) >> MANTISSA) - field
        code = torch.where(number > 0, code.clamp(min=1), 0)
    code = torch.where(bits & MAGNITUDE == 0, 0, code.clamp(0, element.largest))
    return code | ((bits >> 31) & (1 << (element.width - 1)))


#: what takes a fraction, that of the square root of 2 being 0x3504F3 and a bit, to the next power of two
LOGARITHM_CARRIES = {
    "nearest_even": HIDDEN - 0x3504F4,
    "nearest_away": HIDDEN - 0x3504F4,
    "toward_zero": 0,
}
#: what takes to twice half of the least number what is no 0: more than half of it, half or more, or all of it
ZERO_CARRIES = {"nearest_even": HIDDEN - 1, "nearest_away": HIDDEN, "toward_zero": 0}


def nearest_power(bits: Tensor, magnitude: Tensor, scale: Tensor, element: Logarithmic, codes: Tensor) -> Tensor | None:
    """`logarithmic_codes` rounded to nearest even, in memory that is given; None where a subnormal number matters."""
    assert element.bias is not None
    field = scale - element.bias
    # Under larger scales all of them are less than half of the least number, as 0 is.
    least = _least if element.zero_code else torch.amin
    if int(field.amin()) < 1 and int(least(magnitude)) < HIDDEN - int(element.zero_code):
        return None
    torch.add(magnitude, LOGARITHM_CARRIES["nearest_even"], out=codes).bitwise_right_shift_(MANTISSA).sub_(field)
    codes.clamp_(int(element.zero_code), element.largest)
    if element.zero_code:
        codes.mul_(magnitude > (field.clamp(0, INFINITY >> MANTISSA) << MANTISSA))
    sign = magnitude.copy_(bits).bitwise_right_shift_(31).bitwise_and_(1 << (element.width - 1))
    return codes.bitwise_or_(sign)


def divided(bits: Tensor, scale: Tensor) -> Tensor:
    """float32 patterns over 2**(scale - 127), where that is no more than a float32: 0 for what is subnormal."""
    magnitude = bits & MAGNITUDE
    pattern = normalised(magnitude)
    field = (pattern >> MANTISSA) - (scale - BIAS)
    number = (field << MANTISSA) | (pattern & (HIDDEN - 1))
    return torch.where((field < 1) | (magnitude == 0), 0, number) | (bits & ~MAGNITUDE)


def _least(magnitude: Tensor) -> Tensor:
    """The least pattern that is not 0, less 1, which makes that of 0 the largest."""
    return ((magnitude - 1) & MAGNITUDE).amin()


def normalised(pattern: Tensor) -> Tensor:
    """float32 magnitudes, subnormal ones as if exponents went on below; 0 far below.

    The pattern of 2**e * (1 + f) is ``(e + 127 << 23) + f * 2**23`` for any e.
    """
    significand = (pattern & (HIDDEN - 1)) | ((pattern >> MANTISSA).clamp(max=1) << MANTISSA)
    field = (pattern >> MANTISSA).clamp(min=1)
    for step in _steps(MANTISSA):
        up = ((significand - (1 << (MANTISSA + 1 - step))) >> 31) & step
        significand, field = significand << up, field - up
    return torch.where(pattern == 0, -(1 << 30), (field << MANTISSA) + (significand - HIDDEN))


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


def _signed(code: Tensor, sign: Tensor, element: Minifloat | FixedPoint) -> Tensor:
    """Magnitude codes with a sign, given as 0 or -1."""
    if isinstance(element, FixedPoint):
        return ((code ^ sign) - sign) & ((1 << element.width) - 1)
    if element.specials == "fnuz":  # has no -0
        sign = sign & (-code >> 31)
    return code | (sign & (1 << (element.width - 1)))


def _unit(element: Minifloat | FixedPoint) -> tuple[int, int]:
    """Fraction bits, and the exponent up to which the unit stays: of fixed point it always does."""
    if isinstance(element, Minifloat):
        return element.mantissa, element.min_scale
    return element.width - 2, element.max_scale


# ---- by floating-point additions -----------------------------------------------------------------


def nearest_even(x: Tensor, element: Element, spare: Tensor, codes: Tensor) -> Tensor:
    """Codes, in int32, up to 8 bits in the low byte, of float32 values that are not NaN; all memory is overwritten.

    To add 2**(e + 23 - m) to a magnitude below 2**(e + 1) leaves a multiple of 2**(e - m), the unit of elements with m
    fraction bits near 2**e, and the multiple stands in the low bits of the sum.
    """
    bits = x.view(torch.int32)
    if isinstance(element, FixedPoint):
        unit = 2.0**-element.fraction
        x.clamp_(element.least * unit, element.max_value).add_(1.5 * 2.0**MANTISSA * unit)
        return torch.bitwise_and(bits, (1 << element.width) - 1, out=codes)
    assert isinstance(element, Minifloat)
    mantissa, least = element.mantissa, element.min_scale
    sign = torch.bitwise_right_shift(bits, 31, out=spare)
    x.abs_().clamp_(max=element.max_value)
    # 1. The power of two 2**e, and the number that is added to the magnitude.
    torch.clamp(x, min=2.0**least, out=codes.view(torch.float32))
    codes.bitwise_and_(INFINITY).add_(((MANTISSA - mantissa) << MANTISSA) + _offset(element))
    x.add_(codes.view(torch.float32))
    # 2. The exponent of the sum is the element's, but for a constant that the offset takes away from the low bits. It
    #    is even, so that ties go where they should.
    torch.bitwise_right_shift(bits, MANTISSA - mantissa, out=codes).add_(bits)
    if element.specials == "fnuz":  # has no -0
        sign.bitwise_and_(-(codes & _mask(element)) >> 31)
    codes.add_(sign, alpha=-(1 << (element.width - 1)))
    return codes if element.width <= 8 else codes.bitwise_and_(_mask(element))


def _offset(element: Minifloat) -> int:
    return -((BIAS + MANTISSA - element.mantissa + element.min_scale) << element.mantissa) & _mask(element)


def _mask(element: Minifloat) -> int:
    """The bits of a code; the low byte where all of it is stored."""
    return (1 << max(8, element.width)) - 1
