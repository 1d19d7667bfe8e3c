"""Exact real numbers.

A rounding asks them for one of two things: how they compare with a dyadic number (`compare`), or their leading bits
(`leading`). The two ways share no code, so that roundings built on one check those built on the other.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import isqrt
from typing import NamedTuple, Protocol


class OracleError(Exception):
    """Two separately written definitions disagree: one of them is wrong, and nothing may be concluded."""


class Real(Protocol):
    """A real number that can be rounded."""

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""

    def compare(self, other: Dyadic) -> int:
        """Negative, 0 or positive as the magnitude is less than, equal to or greater than ``other`` > 0."""

    def leading(self, count: int) -> tuple[int, int, bool]:
        """The magnitude, not 0, as (significand, exponent, more).

        It is significand * 2**exponent, plus less than one unit of that if more. The significand has at least ``count``
        bits unless it is the whole number.
        """


class Dyadic(NamedTuple):
    """m * 2**e."""

    m: int
    e: int

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""
        return (self.m > 0) - (self.m < 0)

    def compare(self, other: Dyadic) -> int:
        """Against the magnitude; see `Real`."""
        shift = self.e - other.e
        return (abs(self.m) << max(0, shift)) - (other.m << max(0, -shift))

    def leading(self, count: int) -> tuple[int, int, bool]:
        """Of the magnitude; see `Real`."""
        return abs(self.m), self.e, False

    def fraction(self) -> Fraction:
        """The number as a Fraction."""
        return Fraction(self.m << max(0, self.e), 1 << max(0, -self.e))


class Quotient(NamedTuple):
    """p / q * 2**e, q not 0."""

    p: int
    q: int
    e: int

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""
        return ((self.p > 0) - (self.p < 0)) * (1 if self.q > 0 else -1)

    def compare(self, other: Dyadic) -> int:
        """Against the magnitude; see `Real`."""
        shift = self.e - other.e
        return (abs(self.p) << max(0, shift)) - ((other.m * abs(self.q)) << max(0, -shift))

    def leading(self, count: int) -> tuple[int, int, bool]:
        """Of the magnitude; see `Real`."""
        shift = max(0, count + 1 + self.q.bit_length() - self.p.bit_length())
        significand, rest = divmod(abs(self.p) << shift, abs(self.q))
        return significand, self.e - shift, rest != 0


class Root(NamedTuple):
    """The square root of m * 2**e, m not negative."""

    m: int
    e: int

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""
        return self.m > 0

    def compare(self, other: Dyadic) -> int:
        """Against the magnitude; see `Real`."""
        return Dyadic(self.m, self.e).compare(Dyadic(other.m * other.m, 2 * other.e))

    def leading(self, count: int) -> tuple[int, int, bool]:
        """Of the magnitude; see `Real`."""
        shift = max(0, 2 * count - self.m.bit_length())
        shift += (self.e - shift) & 1  # the root of an even power of two is one
        square = self.m << shift
        root = isqrt(square)
        return root, (self.e - shift) // 2, root * root != square


def plus(x: Dyadic, y: Dyadic) -> Dyadic:
    """x + y."""
    e = min(x.e, y.e)
    return Dyadic((x.m << (x.e - e)) + (y.m << (y.e - e)), e)


def times(x: Dyadic, y: Dyadic) -> Dyadic:
    """x * y."""
    return Dyadic(x.m * y.m, x.e + y.e)


def opposite(x: Dyadic) -> Dyadic:
    """-x."""
    return Dyadic(-x.m, x.e)


def order(x: Dyadic, y: Dyadic) -> int:
    """Negative, 0 or positive as x is less than, equal to or greater than y, whatever the signs."""
    return plus(x, opposite(y)).m


def ratio(x: Fraction) -> Quotient:
    """A Fraction as a Real."""
    return Quotient(x.numerator, x.denominator, 0)


def integer(x: Dyadic, rounding: str = "nearest_even") -> int:
    """x as an integer: ``nearest_even``, ``floor`` or ``ceil``."""
    return _INTEGERS[rounding](x.fraction())


_INTEGERS: dict[str, Callable[[Fraction], int]] = {
    "nearest_even": round,
    "floor": lambda x: x.numerator // x.denominator,
    "ceil": lambda x: -(-x.numerator // x.denominator),
}
