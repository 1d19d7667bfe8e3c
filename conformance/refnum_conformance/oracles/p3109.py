"""IEEE P3109 on Fractions, as the working group's interim report 4.0 defines it; imports nothing of refnum.

Sections 4.7.2 to 4.7.6: a code is decoded; an extended real is rounded to a precision, saturated, and encoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

Extended = Fraction | float  #: floats are Inf, -Inf and NaN

SATURATIONS = ("finite", "propagate", "none")


class Row(NamedTuple):
    """A format: Binary{k}p{p}, and se, sf, ue or uf."""

    k: int  #: bits
    p: int  #: of the significand, the hidden one included
    signed: bool
    extended: bool

    @property
    def bias(self) -> int:
        """What is added to an exponent."""
        return 1 << (self.k - self.p - self.signed)

    @property
    def nan(self) -> int:
        """The code of NaN."""
        return 1 << (self.k - 1) if self.signed else (1 << self.k) - 1

    @property
    def largest(self) -> Fraction:
        """The largest finite value."""
        found = decode(self.nan - 1 - self.extended, self)
        assert isinstance(found, Fraction)
        return found


def decode(code: int, row: Row) -> Extended:
    """What a code means."""
    if code == row.nan:
        return math.nan
    if row.signed and code > row.nan:
        return -decode(code - row.nan, row)
    if row.extended and code == row.nan - 1:
        return math.inf
    exponent, fraction = divmod(code, 1 << (row.p - 1))
    significand = fraction + (1 << (row.p - 1) if exponent else 0)
    return significand * Fraction(2) ** (max(exponent, 1) - row.bias - row.p + 1)


class Between(NamedTuple):
    """A real between two numbers of a precision."""

    part: Fraction  #: of the way from the one nearer to 0
    even: bool  #: whether that one's code is
    negative: bool
    random: int  #: 16 bits


HALF, ALL = Fraction(1, 2), 1 << 16

#: whether to go away from 0; stochastic is StochasticA with N = 16, and R = 2**16 - 1 less the bits
ROUNDINGS: dict[str, Callable[[Between], bool]] = {
    "nearest_even": lambda x: x.part > HALF or (x.part == HALF and not x.even),
    "nearest_away": lambda x: x.part >= HALF,
    "toward_zero": lambda x: False,
    "toward_positive": lambda x: x.part > 0 and not x.negative,
    "toward_negative": lambda x: x.part > 0 and x.negative,
    "to_odd": lambda x: x.part > 0 and x.even,
    "stochastic": lambda x: math.floor(x.part * ALL) + (ALL - 1 - x.random) >= ALL,
}


def project(x: Extended, row: Row, rounding: str, saturation: str, random_bits: int = 0) -> int:
    """The code of an extended real.

    >>> binary8p3ue = Row(8, 3, False, True)
    >>> project(Fraction(-1), binary8p3ue, "nearest_even", "none") == binary8p3ue.nan
    True
    """
    return encode(saturate(rounded(x, row, rounding, random_bits), row, rounding, saturation), row)


def rounded(x: Extended, row: Row, rounding: str, random_bits: int = 0) -> Extended:
    """To the precision of a row, the exponent unbounded above."""
    if isinstance(x, float) or x == 0:
        return x
    unit = max(_floor_log2(abs(x)), 1 - row.bias) - row.p + 1
    size = abs(x) / Fraction(2) ** unit
    whole = math.floor(size)
    even = whole % 2 == 0 if row.p > 1 else whole == 0 or (unit + row.bias) % 2 == 0
    away = ROUNDINGS[rounding](Between(size - whole, even, x < 0, random_bits & ALL - 1))
    return (whole + away) * Fraction(2) ** unit * (-1 if x < 0 else 1)


def _floor_log2(x: Fraction) -> int:
    guess = x.numerator.bit_length() - x.denominator.bit_length()
    return guess if x >= Fraction(2) ** guess else guess - 1


def saturate(x: Extended, row: Row, rounding: str, saturation: str) -> Extended:
    """Into the range of a row, or to Inf, -Inf or NaN."""
    high = row.largest
    low = -high if row.signed else Fraction(0)
    if isinstance(x, float) and math.isnan(x):
        return x
    if low <= x <= high:
        return x
    if saturation == "finite":
        return low if x < low else high
    if x in (math.inf, -math.inf):
        return _infinity(x > 0, row, saturation)
    if saturation == "propagate":
        return low if x < low else high
    return _overflow(x < low, low, high, row, rounding)


def _infinity(positive: bool, row: Row, saturation: str) -> Extended:
    if positive:
        return math.inf if row.extended else row.largest
    if row.signed:
        return -math.inf if row.extended else -row.largest
    return math.nan if saturation == "none" else Fraction(0)


def _overflow(below: bool, low: Fraction, high: Fraction, row: Row, rounding: str) -> Extended:
    """Of what is finite, in the mode SatNone."""
    if below:
        if rounding in ("toward_zero", "toward_positive"):
            return low
        return math.nan if not row.signed else -math.inf if row.extended else low
    if rounding in ("toward_zero", "toward_negative") or not row.extended:
        return high
    return high if rounding == "to_odd" and not row.signed else math.inf


def encode(x: Extended, row: Row) -> int:
    """The code of what is a value of a row, or special."""
    if isinstance(x, float):
        return row.nan if math.isnan(x) else row.nan - 1 if x > 0 else 2 * row.nan - 1
    if x < 0:
        return row.nan + encode(-x, row)
    if x == 0:
        return 0
    exponent = max(_floor_log2(x), 1 - row.bias)
    significand = x / Fraction(2) ** (exponent - row.p + 1)
    assert significand.denominator == 1
    field = exponent + row.bias if significand >= 1 << (row.p - 1) else 0
    return int(significand) % (1 << (row.p - 1)) + (field << (row.p - 1))
