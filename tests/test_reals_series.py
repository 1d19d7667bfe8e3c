"""What functions' intervals are made of: series with their errors, constants, and arithmetic that loses nothing."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import product

import pytest
from mpfr_bounds import KERNELS, Bounds, Directed, gmpy2, number, scaled

from refnum.reals import constants, intervals, series
from refnum.reals.intervals import Dyadic, Interval


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("p", [36, 37, 52, 64, 116, 300, 1500])
def test_series_err_by_no_more_than_they_say(name: str, p: int) -> None:
    reference, least, most = KERNELS[name]
    rng, f = random.Random(p), Directed(2 * p + 100)
    low, high = int(least * 2**p), int(most * 2**p)
    edges = [low, high, 0, 1, -1, 2, -2, 1 << (p - 2), (1 << (p - 2)) - 1, -(1 << (p - 2)), 1 << (p // 2)]
    spaced = [rng.randint(low, high) >> (i % p) for i in range(150)]
    for t in (*edges, *spaced):
        value, error = getattr(series, name)(t, p)
        exact = f.mul(reference(number(Fraction(t, 2**p)), f), number(2**p))
        assert value - error <= exact.low <= exact.high <= value + error, f"{name}({t}, {p})"
        assert error <= 3 * p


@pytest.mark.parametrize("p", [36, 52, 84, 116, 400])
def test_the_normal_distributions_series_err_by_no_more_than_they_say(p: int) -> None:
    """Both give the share above x: far out and near 0, with x as far as the formula takes them."""
    f = Directed(6 * p + 400)
    root_2 = f("sqrt", gmpy2.mpfr(2))
    for square in (Fraction(2 * p), Fraction(2 * p + 1), Fraction(4 * p), Fraction(1000 * p), Fraction(2) ** 20):
        u = int(2**p / square)
        x = f.div(number(1), f.rising("sqrt", f.div(number(u), number(2**p))))  # that of the argument, floored
        share = f.div(f.falling("erfc", f.div(x, root_2)), number(2))
        integral = f.div(f.mul(x, share), density(x, f))
        value, error = series.mills(u, p)
        exact = f.mul(integral, number(2**p))
        assert value - error <= exact.low <= exact.high <= value + error, f"mills({u}, {p})"
    for v in (1, 1 << (p // 2), 3 << (p - 2), 1 << p, 7 << p, 40 << p, (p - 30) << p):
        x = f.rising("sqrt", f.div(number(v), number(2**p)))
        body = f.div(f.rising("erf", f.div(x, root_2)), f.mul(number(2), f.mul(x, density(x, f))))
        value, error = series.half_normal(v, p)
        exact = f.mul(body, number(2**p))
        assert value - error <= exact.low <= exact.high <= value + error, f"half_normal({v}, {p})"


def density(x: Bounds, f: Directed) -> Bounds:
    exponential = f.rising("exp", f.negate(f.div(f.mul(x, x), number(2))))
    return f.div(exponential, f.rising("sqrt", f.mul(number(2), f.pi)))


@pytest.mark.parametrize("places", [1, 8, 64, 511, 512, 513, 1024, 1025, 5000, 20000])
def test_constants(places: int) -> None:
    f = Directed(places + 200)
    for constant, exact in ((constants.pi, f.pi), (constants.log_2, f.log_2), (constants.log_10, f.log_10)):
        low, high, exponent = constant(places)
        assert exponent == -places
        assert high - low == 2
        assert scaled(low, exponent) <= exact.low <= exact.high <= scaled(high, exponent)


def test_arithmetic_on_intervals_contains_the_results() -> None:
    """Every sum, product, quotient and root of ends and of a point between lies inside; what fits is exact."""
    rng = random.Random(5)
    for i in range(500):
        a, b = random_interval(rng), random_interval(rng, positive=True)
        bits = rng.choice([5, 20, 64, 400])
        for x, y in product(inside(a, rng), inside(b, rng)):
            assert within(x + y, intervals.add(a, b, bits))
            assert within(x - y, intervals.subtract(a, b, bits))
            assert within(x * y, intervals.multiply(a, b, bits))
            assert within(x / y, intervals.divide(a, b, bits))
            assert within(x / -y, intervals.divide(a, intervals.negated(b), bits))
            low, high, exponent = intervals.square_root(b, bits)
            assert (low * Fraction(2) ** exponent) ** 2 <= y <= (high * Fraction(2) ** exponent) ** 2
        assert max(abs(x) for x in inside(a, rng)) <= Fraction(2) ** intervals.magnitude(a)
        low, high = intervals.fixed(a, i % 50)
        assert low <= min(inside(a, rng)) * 2 ** (i % 50)
        assert max(inside(a, rng)) * 2 ** (i % 50) <= high


def random_interval(rng: random.Random, *, positive: bool = False) -> Interval:
    low = rng.getrandbits(rng.choice([1, 8, 60, 200])) + positive
    low = low if positive or rng.getrandbits(1) else -low
    return Interval(low, low + rng.choice([0, 0, 1, rng.getrandbits(9)]), rng.choice([-300, -70, -3, 0, 4, 150]))


def inside(x: Interval, rng: random.Random) -> list[Fraction]:
    unit = Fraction(2) ** x.exponent
    return [x.low * unit, x.high * unit, (x.low + (x.high - x.low) * Fraction(rng.getrandbits(8), 256)) * unit]


def within(x: Fraction, interval: Interval) -> bool:
    low, high, exponent = interval
    return low * Fraction(2) ** exponent <= x <= high * Fraction(2) ** exponent


def test_what_fits_is_exact() -> None:
    three, fifth = intervals.point(Dyadic(3, -40)), intervals.point(Dyadic(5, 3))
    assert intervals.add(three, fifth, 60) == Interval(3 + (5 << 43), 3 + (5 << 43), -40)
    assert intervals.multiply(three, fifth, 4) == Interval(15, 15, -37)
    assert intervals.square_root(intervals.whole(9), 8) == Interval(3 << 6, 3 << 6, -6)
    low, high, _ = intervals.add(three, fifth, 20)
    assert high - low == 1


def test_numbers_are_normal_once() -> None:
    assert intervals.normal(Dyadic(-48, 5)) == Dyadic(-3, 9)
    assert intervals.normal(Dyadic(0, 77)) == Dyadic(0, 0)
    assert intervals.narrow(Interval(-(1 << 40) - 1, -(1 << 40), 3), 40)
    assert not intervals.narrow(Interval(-(1 << 40) - 2, -(1 << 40), 3), 40)
    assert not intervals.narrow(Interval(-1, 0, 3), 0)
    assert not intervals.narrow(Interval(0, 1, 3), 0)
