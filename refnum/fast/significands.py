"""Fixed point, minifloats and DMF by integers as wide as the float: equal to ``core.round`` of ``core.decode``.

No branch looks at a value, so that torch.compile fuses it, and all is integer arithmetic, so that no setting of the
processor matters. A float is ``significand * 2**(field - bias - mantissa)``; to round it is to drop the significand's
last bits:

S1. How many go, the *cut*, hangs on the field alone. Up to a scale the unit of the format stays, that of fixed point
    for ever, and the cut is a constant less the field; from there on it is how much longer the float's mantissa is.
S2. The significand gets bits below its last one, so that of a value within the format at least one goes.
S3. Two bits more than the significand has are the longest cut: what lies below half of the unit is all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..formats import DMF, FixedPoint, Minifloat, Scalar, bfloat16, float16, float32, float64, holds, unit_scale
from . import integers

Cuttable = FixedPoint | Minifloat | DMF

_FLOATS = {float16: torch.float16, bfloat16: torch.bfloat16, float32: torch.float32, float64: torch.float64}
_PATTERNS = {float16: torch.int16, bfloat16: torch.int16, float32: torch.int32, float64: torch.int64}


class Cut(NamedTuple):
    """A float's significand, the last bits of which go, and what goes with it."""

    sign: Tensor  #: mask
    field: Tensor  #: the exponent field; 1 for subnormal numbers, which have the same unit
    significand: Tensor
    cut: Tensor  #: how many bits go
    lift: Tensor | int  #: the bits that stay + lift are the magnitude code: what the exponent counts in it


def _nearest_even(c: Cut) -> Tensor:
    return (1 << (c.cut - 1)) - 1 + _odd(c)


def _nearest_away(c: Cut) -> Tensor:
    return 1 << (c.cut - 1)


def _toward_zero(c: Cut) -> Tensor:
    return torch.zeros_like(c.cut)


def _toward_positive(c: Cut) -> Tensor:
    return _all(c) & ~c.sign


def _toward_negative(c: Cut) -> Tensor:
    return _all(c) & c.sign


def _to_odd(c: Cut) -> Tensor:
    return _all(c) & (_odd(c) - 1)


def _all(c: Cut) -> Tensor:
    """What carries whenever a bit that goes is set."""
    return (1 << c.cut) - 1


def _odd(c: Cut) -> Tensor:
    """The last bit of the code."""
    return (c.significand >> c.cut) + c.lift & 1


#: what is added to the significand, to carry out of the bits that go where the number goes up
RULES: dict[str, Callable[[Cut], Tensor]] = {
    "nearest_even": _nearest_even,
    "nearest_away": _nearest_away,
    "toward_zero": _toward_zero,
    "toward_positive": _toward_positive,
    "toward_negative": _toward_negative,
    "to_odd": _to_odd,
}
NEAREST = ("nearest_even", "nearest_away")


def serves(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether values of the row can be rounded to the format here."""
    if rounding not in RULES or not isinstance(fmt, (FixedPoint, Minifloat, DMF)):
        return False
    # Subnormal numbers have no leading one: where their unit stays, the format's must stay, too, and be no less.
    if isinstance(fmt, FixedPoint):
        return _unit_field(fmt, row) >= 1 and _room(fmt, row) < 64
    floating = normalised(fmt)
    if isinstance(fmt, Minifloat):  # past the largest value only roundings to nearest count on
        plain = fmt.subnormals and (fmt.overflow == "saturate" or rounding in NEAREST)
    else:  # without a leading bit all codes of one bit are odd: which is even the head does not say
        plain = fmt.mantissa > 1
    return plain and floating.mantissa <= row.mantissa and floating.min_scale >= row.min_scale


def serves_values(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether the row has all rounded values, too, both ends included."""
    assert row.bias is not None
    if isinstance(fmt, FixedPoint) and fmt.overflow == "wrap":
        return serves(fmt, row, rounding) and integers.serves(fmt, row)
    ends = fmt.max_scale < row.bias or not isinstance(fmt, FixedPoint)  # one end of fixed point may be a power of two
    return serves(fmt, row, rounding) and holds(row, fmt) and ends


def codes(bits: Tensor, fmt: Cuttable, row: Minifloat, rounding: str) -> Tensor:
    """Codes, in 32 or 64 bits, of float patterns of the row."""
    c = _cut(bits, fmt, row)
    magnitude, (infinite, nan) = _head(c, rounding) + c.lift, _kinds(bits, row)
    if isinstance(fmt, FixedPoint):
        lower = fmt.largest + fmt.least  # how far the ends differ, as in `core.round`
        largest = fmt.largest - (c.sign & lower)
        wraps = fmt.overflow == "wrap"
        magnitude = _moved_up(c, magnitude, fmt, row) if wraps else torch.minimum(magnitude, largest)
        code = (torch.where(infinite, largest, magnitude) ^ c.sign) - c.sign
        code = _wrapped(code, fmt) if wraps else code
    elif isinstance(fmt, DMF):
        half = fmt.mantissa - 1
        rank = magnitude.clamp(max=((1 << fmt.exponent) + 1 << half) - 1)  # the code in `DMF.normalised`
        code = torch.where(infinite, fmt.largest, rank + (((rank >> half) - 1).clamp(min=0) << half))
        code = code | (c.sign & (1 << (fmt.width - 1)))
    else:
        over = infinite | (magnitude > fmt.largest)
        code = _signed(torch.where(over, _end(fmt), magnitude), c.sign & (1 << (fmt.width - 1)), fmt)
        if fmt.overflow == "nan":
            nan = nan | over
        return torch.where(nan, fmt.nan or 0, code)
    return torch.where(nan, 0, code)


def values(bits: Tensor, fmt: Cuttable, row: Minifloat, rounding: str) -> Tensor:
    """Patterns of the row, in 32 or 64 bits, of its values rounded to the format."""
    if isinstance(fmt, FixedPoint) and fmt.overflow == "wrap":
        return _wrapped_values(bits, fmt, row, rounding)
    c = _cut(bits, fmt, row)
    infinity = ((1 << row.exponent) - 1) << row.mantissa
    quiet = infinity | (1 << (row.mantissa - 1))
    # V1. The head, back in its place, counts the exponent up by its leading one, which may be that of the next binade.
    head = _head(c, rounding)
    magnitude = ((c.field - 1) << row.mantissa) + ((head << c.cut) >> _below(fmt, row))
    if rounding not in NEAREST:  # of what lies below half of the unit the place of the unit says nothing
        magnitude = torch.where(c.cut == _longest(fmt, row), pattern(1, unit_scale(fmt), row), magnitude)
    magnitude = torch.where(head == 0, 0, magnitude)
    # V2. The ends, the sign, and NaN.
    largest, sign, (_, nan) = pattern(*fmt.largest_exact, row), c.sign & -(1 << (row.width - 1)), _kinds(bits, row)
    if isinstance(fmt, FixedPoint):
        least = pattern(-fmt.least, unit_scale(fmt), row)
        magnitude = torch.minimum(magnitude, largest ^ (c.sign & (largest ^ least)))
        value = torch.where(magnitude == 0, 0, magnitude | sign)
    elif isinstance(fmt, DMF):
        value = magnitude.clamp(max=largest) | sign
    else:
        over = magnitude > largest
        value = _signed(torch.where(over, infinity if fmt.overflow == "inf" else largest, magnitude), sign, fmt)
        if fmt.overflow == "nan":
            nan = nan | over
        quiet = 0 if fmt.nan is None else quiet
    return torch.where(nan, quiet, value)


def _cut(bits: Tensor, fmt: Cuttable, row: Minifloat) -> Cut:
    assert row.bias is not None
    bits = bits.to(torch.int32 if _room(fmt, row) < 32 else torch.int64)
    magnitude = bits & ((1 << (row.width - 1)) - 1)
    field = (magnitude >> row.mantissa).clamp(min=1)
    significand = (magnitude - ((field - 1) << row.mantissa)) << _below(fmt, row)
    if isinstance(fmt, FixedPoint):
        least: int = 1
        lift: Tensor | int = 0
    else:
        floating = normalised(fmt)
        least = row.mantissa + _below(fmt, row) - floating.mantissa
        lift = (field - (floating.min_scale + row.bias)).clamp(min=0) << floating.mantissa
    cut = (_unit_field(fmt, row) + _below(fmt, row) - field).clamp(least, _longest(fmt, row))
    return Cut(bits >> (row.width - 1), field, significand, cut, lift)


def _head(c: Cut, rounding: str) -> Tensor:
    """The bits that stay, rounded."""
    return c.significand + RULES[rounding](c) >> c.cut


def _moved_up(c: Cut, magnitude: Tensor, fmt: FixedPoint, row: Minifloat) -> Tensor:
    """The magnitude where the head's last bit is worth more than a unit; what leaves the lane no code needs."""
    lane = 8 * magnitude.dtype.itemsize
    return magnitude << (c.field - (_unit_field(fmt, row) + _below(fmt, row) - 1)).clamp(0, lane - 1)


def _wrapped(code: Tensor, fmt: FixedPoint) -> Tensor:
    if not fmt.signed:
        return code & fmt.largest
    spare = 8 * code.dtype.itemsize - fmt.width
    return code << spare >> spare


def _wrapped_values(bits: Tensor, fmt: FixedPoint, row: Minifloat, rounding: str) -> Tensor:
    numbers = integers.values(codes(bits, fmt, row, rounding), fmt, _FLOATS[row]).view(_PATTERNS[row])
    _, nan = _kinds(bits, row)
    return torch.where(nan, ((2 << row.exponent) - 1) << (row.mantissa - 1), numbers)


def _signed(magnitude: Tensor, sign: Tensor, fmt: Minifloat) -> Tensor:
    if not fmt.signed:
        return magnitude
    signed = magnitude | sign
    return torch.where(magnitude == 0, 0, signed) if fmt.specials == "fnuz" else signed


def _end(fmt: Minifloat) -> int:
    """The magnitude code of what is too large; that of NaN comes later."""
    if fmt.overflow != "inf":
        return fmt.largest
    assert fmt.infinity is not None
    return fmt.infinity


def _kinds(bits: Tensor, row: Minifloat) -> tuple[Tensor, Tensor]:
    """Where Inf or NaN is, and where NaN."""
    magnitude, infinity = bits & ((1 << (row.width - 1)) - 1), ((1 << row.exponent) - 1) << row.mantissa
    return magnitude >= infinity, magnitude > infinity


def normalised(fmt: Minifloat | DMF) -> Minifloat:
    """The format, or one with a hidden bit that has its values."""
    return fmt.normalised if isinstance(fmt, DMF) else fmt


def _unit_field(fmt: Cuttable, row: Minifloat) -> int:
    """The field of floats whose last bit is the format's least unit."""
    assert row.bias is not None
    return unit_scale(fmt) + row.mantissa + row.bias


def _below(fmt: Cuttable, row: Minifloat) -> int:
    """S2: one bit, and one for each by which the format's integers are longer than the mantissa."""
    return 1 + (max(0, fmt.significand_bits - row.mantissa) if isinstance(fmt, FixedPoint) else 0)


def _longest(fmt: Cuttable, row: Minifloat) -> int:
    """S3: the longest cut."""
    return row.mantissa + _below(fmt, row) + 2


def _room(fmt: Cuttable, row: Minifloat) -> int:
    """Bits of the largest integer on the way: what goes and a carry, or the head of the next binade in its place."""
    return _longest(fmt, row) + 1


def pattern(integer: int, scale: int, row: Minifloat) -> int:
    """The pattern of integer * 2**scale, a value of the row; of 0 where that is below its last bit."""
    assert row.bias is not None
    length = integer.bit_length()
    field = length - 1 + scale + row.bias
    if field < 1 or not integer:
        up = scale - (row.min_scale - row.mantissa)
        return integer << up if up >= 0 else integer >> -up
    up = row.mantissa + 1 - length
    return ((field - 1) << row.mantissa) + (integer << up if up >= 0 else integer >> -up)
