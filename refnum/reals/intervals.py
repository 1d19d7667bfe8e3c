"""Exact numbers and intervals on Python's integers: arithmetic on real numbers that never loses what is true.

Each operation on intervals contains every result of numbers in its operands. It keeps about ``bits`` significant bits,
rounding outwards; what fits in them is exact, so that a point stays a point.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple


class Dyadic(NamedTuple):
    """The number integer * 2**exponent."""

    integer: int
    exponent: int


class Interval(NamedTuple):
    """A real number that lies in [low, high] * 2**exponent."""

    low: int
    high: int
    exponent: int


def shifted(n: int, by: int) -> int:
    """The floor of n * 2**by."""
    return n << by if by >= 0 else n >> -by


# ---- exact numbers -------------------------------------------------------------------------------


def dyadic(n: int) -> Dyadic:
    """An integer."""
    return Dyadic(n, 0)


def normal(x: Dyadic) -> Dyadic:
    """The same number with an odd integer, or 0 * 2**0: equal numbers are equal tuples."""
    zeros = (x.integer & -x.integer).bit_length() - 1
    return Dyadic(x.integer >> zeros, x.exponent + zeros) if x.integer else Dyadic(0, 0)


def total(a: Dyadic, b: Dyadic) -> Dyadic:
    """a + b."""
    exponent = min(a.exponent, b.exponent)
    return Dyadic((a.integer << (a.exponent - exponent)) + (b.integer << (b.exponent - exponent)), exponent)


def difference(a: Dyadic, b: Dyadic) -> Dyadic:
    """a - b."""
    return total(a, Dyadic(-b.integer, b.exponent))


def product(a: Dyadic, b: Dyadic) -> Dyadic:
    """a * b."""
    return Dyadic(a.integer * b.integer, a.exponent + b.exponent)


# ---- intervals -----------------------------------------------------------------------------------


def point(x: Dyadic) -> Interval:
    """The interval of one number."""
    return Interval(x.integer, x.integer, x.exponent)


def whole(n: int) -> Interval:
    """The interval of one integer."""
    return Interval(n, n, 0)


def magnitude(x: Interval) -> int:
    """A bound: |x| <= 2**magnitude, and not much less."""
    return max(x.low.bit_length(), x.high.bit_length()) + x.exponent


def narrow(x: Interval, bits: int) -> bool:
    """Whether x does not reach 0 and is relatively no wider than 2**-bits."""
    return (x.high - x.low) << bits <= (x.low if x.low > 0 else -x.high)


def fixed(x: Interval, places: int) -> tuple[int, int]:
    """Integers of which x lies between, in units of 2**-places."""
    by = x.exponent + places
    return shifted(x.low, by), -shifted(-x.high, by)


def scaled(x: Interval, by: int) -> Interval:
    """x * 2**by, exactly."""
    return Interval(x.low, x.high, x.exponent + by)


def negated(x: Interval) -> Interval:
    """-x, exactly."""
    return Interval(-x.high, -x.low, x.exponent)


def add(a: Interval, b: Interval, bits: int) -> Interval:
    """a + b, to as many bits below the larger one's leading bit."""
    exponent = max(min(a.exponent, b.exponent), max(magnitude(a), magnitude(b)) - bits)
    (low_a, high_a), (low_b, high_b) = fixed(a, -exponent), fixed(b, -exponent)
    return Interval(low_a + low_b, high_a + high_b, exponent)


def subtract(a: Interval, b: Interval, bits: int) -> Interval:
    """a - b, to as many bits below the larger one's leading bit."""
    return add(a, negated(b), bits)


def multiply(a: Interval, b: Interval, bits: int) -> Interval:
    """a * b."""
    ends = (a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)
    return _cut(Interval(min(ends), max(ends), a.exponent + b.exponent), bits)


def divide(a: Interval, b: Interval, bits: int) -> Interval:
    """a / b, where b does not reach 0."""
    if b.high < 0:
        a, b = negated(a), negated(b)
    by = max(0, bits + b.high.bit_length() - max(a.low.bit_length(), a.high.bit_length()))
    low = (a.low << by) // (b.high if a.low > 0 else b.low)
    high = -((-a.high << by) // (b.low if a.high > 0 else b.high))
    return Interval(low, high, a.exponent - b.exponent - by)


def square_root(x: Interval, bits: int) -> Interval:
    """The square root of x >= 0."""
    x = _cut(x, 2 * bits)
    by = max(0, 2 * bits - x.high.bit_length())
    by += (x.exponent - by) & 1
    low, high = x.low << by, x.high << by
    return Interval(isqrt(low), isqrt(high - 1) + 1 if high else 0, (x.exponent - by) // 2)


def _cut(x: Interval, bits: int) -> Interval:
    by = max(x.low.bit_length(), x.high.bit_length()) - bits
    return x if by <= 0 else Interval(x.low >> by, -(-x.high >> by), x.exponent + by)
