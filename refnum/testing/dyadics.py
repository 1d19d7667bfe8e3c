"""Codes as exact numbers, on plain Python integers: what cases are made of, and what a mismatch prints.

Nothing here uses ``core``: a generator that asked the code under test where its ties lie would follow its errors.

A *magnitude* is a code without its sign: that of a posit or an integer is the code of a value that is not negative.
Codes of codebooks have no signs, and come in any order: they have values, and no magnitudes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from ..formats import DMF, Codebook, Exponent, FixedPoint, Format, Logarithmic, Minifloat, Posit

Ordered = Format | FixedPoint | DMF | Logarithmic | Exponent  #: formats whose codes have magnitudes
Coded = Ordered | Codebook

ROOT = math.isqrt(2 << 256)  #: the square root of 2 in units of 2**-128, rounded down: no float is between


@dataclass(frozen=True, slots=True)
class Dyadic:
    """The number m * 2**e.

    >>> (Dyadic(3, -1) - Dyadic(1, 0)) * Dyadic(1, 4)
    Dyadic(m=1, e=3)
    """

    m: int
    e: int

    @property
    def scale(self) -> int:
        """floor(log2 |x|); -1 + e for 0."""
        return self.m.bit_length() - 1 + self.e

    def __neg__(self) -> Dyadic:
        return Dyadic(-self.m, self.e)

    def __abs__(self) -> Dyadic:
        return Dyadic(abs(self.m), self.e)

    def __add__(self, other: Dyadic) -> Dyadic:
        e = min(self.e, other.e)
        return Dyadic((self.m << (self.e - e)) + (other.m << (other.e - e)), e)

    def __sub__(self, other: Dyadic) -> Dyadic:
        return self + -other

    def __mul__(self, other: Dyadic) -> Dyadic:
        return Dyadic(self.m * other.m, self.e + other.e)

    def __float__(self) -> float:
        return math.ldexp(self.m, self.e)


ZERO, ONE = Dyadic(0, 0), Dyadic(1, 0)


# ---- codes -----------------------------------------------------------------------------------------------------------


def wrap(code: int, fmt: Coded) -> int:
    """The code in the low bits, as tensors hold it: integers and posits sign-extended, so are 64 bits of any format."""
    code &= (1 << fmt.width) - 1
    return code - (code >> (fmt.width - 1) << fmt.width) if is_integer(fmt) or fmt.width == 64 else code


def is_integer(fmt: Coded) -> bool:
    """Whether codes are integers in two's complement."""
    return isinstance(fmt, (Posit, Exponent)) or (isinstance(fmt, FixedPoint) and fmt.signed)


def opposite(code: int, fmt: Ordered) -> int:
    """The code of the negative value; the code itself where the format has none."""
    match fmt:
        case Posit() | FixedPoint(signed=True):
            return wrap(-code, fmt)
        case Minifloat(signed=True) | DMF() | Logarithmic():
            return wrap(code ^ (1 << (fmt.width - 1)), fmt)
        case _:
            return wrap(code, fmt)


def split(code: int, fmt: Ordered) -> tuple[bool, int]:
    """Whether there is a sign, and the magnitude."""
    match fmt:
        case Posit() | FixedPoint():
            return wrap(code, fmt) < 0, abs(wrap(code, fmt))
        case Minifloat(signed=True) | DMF() | Logarithmic():
            size = fmt.width - 1
            return bool(code >> size & 1), code & ((1 << size) - 1)
        case _:
            return False, wrap(code, fmt)


def largest(fmt: Ordered) -> int:
    """The magnitude of the largest finite value."""
    return fmt.maxpos if isinstance(fmt, Posit) else fmt.largest


def special(code: int, fmt: Coded) -> float | None:
    """NaN for a NaR or NaN code, Inf or -Inf, None for numbers."""
    if isinstance(fmt, Codebook):
        names = {code: float(name) for name, code in fmt.specials}
        code = wrap(code, fmt)
        return None if code in _entries(fmt) else names.get(code, math.nan)
    negative, magnitude = split(code, fmt)
    match fmt:
        case Posit():
            return math.nan if wrap(code, fmt) == fmt.nar else None
        case Minifloat(specials="ieee") if magnitude == fmt.infinity:
            return -math.inf if negative else math.inf
        case Minifloat(specials="ieee" | "fn") if magnitude > fmt.largest:
            return math.nan
        case Minifloat(specials="fnuz") if negative and not magnitude:
            return math.nan
    return None


def beside(code: int, fmt: Coded, step: int) -> int | None:
    """The code of the next value above, for a step of 1, or below, for -1; None beyond the ends and of no number."""
    if special(code, fmt) is not None:
        return None
    if isinstance(fmt, Codebook):
        codes = list(_entries(fmt))  # in the order of values
        place = codes.index(wrap(code, fmt)) + step
        return codes[place] if 0 <= place < len(codes) else None
    negative, magnitude = split(code, fmt)
    signed = opposite(1, fmt) != 1
    # 1. From 0 a step leads away from it on either side; from a negative value one up leads towards 0.
    if not value(code, fmt).m:
        negative, magnitude, step = step < 0, 0, 1
    elif negative:
        step = -step
    # 2. Without 0 the least values of both signs are neighbours.
    if step < 0 and magnitude == (fmt.least if isinstance(fmt, Exponent) else 0):
        return opposite(code, fmt) if signed else None
    magnitude = _stepped(magnitude, fmt, step)
    last = -fmt.least if isinstance(fmt, FixedPoint) and negative else largest(fmt)
    if magnitude > last or (negative and not signed):
        return None
    return opposite(magnitude, fmt) if negative else magnitude


def _stepped(magnitude: int, fmt: Ordered, step: int) -> int:
    """The next magnitude; of a DMF from the code that is written, whose unit the value below may halve."""
    if not isinstance(fmt, DMF):
        return magnitude + step
    x = _magnitude_value(magnitude, fmt)
    unit = _dmf_unit(below(x, fmt), fmt)
    if step > 0 and below(x, fmt) == fmt.largest:
        return fmt.largest + 1
    return below(x + (Dyadic(1, unit) if step > 0 else Dyadic(-1, unit - 1)), fmt)


# ---- values ----------------------------------------------------------------------------------------------------------


def value(code: int, fmt: Coded) -> Dyadic:
    """The exact value of a code that stands for a number."""
    if isinstance(fmt, Codebook):
        return dyadic(_entries(fmt)[wrap(code, fmt)])
    negative, magnitude = split(code, fmt)
    x = _magnitude_value(magnitude, fmt)
    return -x if negative else x


def _magnitude_value(magnitude: int, fmt: Ordered) -> Dyadic:
    match fmt:
        case Posit():
            return _posit_value(magnitude, fmt.n, fmt.es)
        case Minifloat():
            return _minifloat_value(magnitude, fmt.mantissa, fmt)
        case FixedPoint():
            return Dyadic(magnitude, -fmt.fraction)
        case DMF():
            return Dyadic(magnitude & ((1 << fmt.mantissa) - 1), _dmf_unit(magnitude, fmt))
        case Logarithmic():
            assert fmt.bias is not None
            return Dyadic(int(magnitude > 0 or not fmt.zero_code), magnitude - fmt.bias)
        case Exponent():
            return Dyadic(1, magnitude)


def midpoint(magnitude: int, fmt: Ordered) -> Dyadic:
    """Where the rounding to nearest changes from a magnitude to the next: the odd code of the format with one more bit.

    For posits that is half way on the bit string, for powers of two between the logarithms, else on the number line.
    """
    match fmt:
        case Posit():
            return _posit_value(2 * magnitude + 1, fmt.n + 1, fmt.es)
        case Minifloat():
            return _minifloat_value(2 * magnitude + 1, fmt.mantissa + 1, fmt)
        case FixedPoint():
            return Dyadic(2 * magnitude + 1, -fmt.fraction - 1)
        case DMF():  # of the code that is written: the others of the value have larger units
            x = _magnitude_value(magnitude, fmt)
            return x + Dyadic(1, _dmf_unit(below(x, fmt), fmt) - 1)
        case Logarithmic() | Exponent():
            x = _magnitude_value(magnitude, fmt)
            return Dyadic(ROOT, x.e - 128) if x.m else Dyadic(1, x.e)


@lru_cache(maxsize=64)
def borders(fmt: Codebook) -> tuple[Dyadic, ...]:
    """Where the rounding to nearest changes from a value to the next, the values beyond the ends among them."""
    assert fmt.beyond is not None
    steps = [dyadic(x) for x in (fmt.beyond[0], *fmt.values, fmt.beyond[1])]
    return tuple((a + b) * Dyadic(1, -1) for a, b in pairwise(steps))


def top(fmt: Coded) -> Dyadic:
    """The largest magnitude of a finite value."""
    return dyadic(fmt.max_value) if isinstance(fmt, Codebook) else value(largest(fmt), fmt)


def to_float(code: int, fmt: Coded) -> float:
    """The value, special ones too, as a Python float; Inf where it lies beyond."""
    if (other := special(code, fmt)) is not None:
        return other
    x = value(code, fmt)
    negative = x.m < 0 if isinstance(fmt, Codebook) else split(code, fmt)[0]
    return math.copysign(float(x) if x.scale < 1024 else math.inf, -1 if negative else 1)


def dyadic(x: float) -> Dyadic:
    """A finite float."""
    numerator, denominator = x.as_integer_ratio()
    return Dyadic(numerator, 1 - denominator.bit_length())


@lru_cache(maxsize=64)
def _entries(fmt: Codebook) -> dict[int, float]:
    """Values by their codes."""
    assert fmt.codes is not None
    return dict(zip(fmt.codes, fmt.values, strict=True))


def _dmf_unit(magnitude: int, fmt: DMF) -> int:
    """log2 of the unit of a code's significand."""
    return (magnitude >> fmt.mantissa) + fmt.unit_scale


def _posit_value(magnitude: int, n: int, es: int) -> Dyadic:
    if not magnitude:
        return ZERO
    body = f"{magnitude:0{n - 1}b}"
    run = len(body) - len(body.lstrip(body[0]))
    k = run - 1 if body[0] == "1" else -run
    rest = body[run + 1 :]
    exponent, fraction = rest[:es].ljust(es, "0"), rest[es:]
    return Dyadic(int("1" + fraction, 2), (k << es) + int("0" + exponent, 2) - len(fraction))


def _minifloat_value(magnitude: int, mantissa: int, row: Minifloat) -> Dyadic:
    assert row.bias is not None
    field, fraction = magnitude >> mantissa, magnitude & ((1 << mantissa) - 1)
    hidden = int(field > 0 or not row.subnormals)
    return Dyadic((hidden << mantissa) + fraction, field + 1 - hidden - row.bias - mantissa)


# ---- back to codes ---------------------------------------------------------------------------------------------------


def below(x: Dyadic, fmt: Ordered) -> int:
    """The largest magnitude of a finite value that is not above x >= 0; the least where all are above."""
    if not x.m:
        return 0
    match fmt:
        case Posit():
            return _posit_below(x, fmt)
        case Minifloat():
            return _minifloat_below(x, fmt)
        case FixedPoint():
            return min(_floor(x, -fmt.fraction), fmt.largest)
        case DMF():
            return _dmf_below(x, fmt)
        case Logarithmic():
            assert fmt.bias is not None
            return max(0, min(x.scale + fmt.bias, fmt.largest))
        case Exponent():
            return max(fmt.least, min(x.scale, fmt.largest))


def _posit_below(x: Dyadic, fmt: Posit) -> int:
    k, exponent = divmod(x.scale, 1 << fmt.es)
    regime = "1" * (k + 1) + "0" if k >= 0 else "0" * -k + "1"
    body = regime + (f"{exponent:0{fmt.es}b}" if fmt.es else "") + f"{x.m:b}"[1:]
    return int(body[: fmt.n - 1].ljust(fmt.n - 1, "0"), 2)


def _minifloat_below(x: Dyadic, row: Minifloat) -> int:
    assert row.bias is not None
    scale = max(x.scale, row.min_scale)
    shift = x.e - (scale - row.mantissa)
    significand = x.m << shift if shift >= 0 else x.m >> -shift
    # Added, not joined: the hidden bit counts 1 in the field, so that a subnormal needs no case.
    field = scale + row.bias - int(row.subnormals)
    if not row.subnormals:
        significand -= 1 << row.mantissa
    return max(0, min((field << row.mantissa) + significand, row.largest))


def _dmf_below(x: Dyadic, fmt: DMF) -> int:
    """The written code is that of the least unit in which the significand has no bit too many."""
    field = max(x.scale + 1 - fmt.mantissa - fmt.unit_scale, 0)
    if field >> fmt.exponent:
        return fmt.largest
    return field << fmt.mantissa | _floor(x, field + fmt.unit_scale)


def _floor(x: Dyadic, unit: int) -> int:
    """How many whole units."""
    return x.m << (x.e - unit) if x.e >= unit else x.m >> (unit - x.e)


def exactly(x: Dyadic, fmt: Ordered) -> int | None:
    """The code of x, or None where the format does not hold it."""
    magnitude = below(abs(x), fmt)
    if (value(magnitude, fmt) - abs(x)).m:
        return None
    return opposite(magnitude, fmt) if x.m < 0 else magnitude
