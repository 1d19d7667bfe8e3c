"""Intervals around functions' values, against MPFR with directed roundings: they contain them and are narrow."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product, starmap

import pytest
from function_operands import ONE, operands_of, size
from mpfr_bounds import KERNELS, NAMES, Bounds, Directed, check, fraction, number

from refnum.reals import enclosures, intervals, series
from refnum.reals.dyadics import EXACT
from refnum.reals.enclosures import ENCLOSURES
from refnum.reals.intervals import Dyadic, Interval

PRECISIONS = (32, 64, 130, 300)
Kernel = Callable[[int, int], tuple[int, int]]


def test_every_function_has_an_interval() -> None:
    assert sorted(ENCLOSURES) == sorted(EXACT) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_intervals_contain_the_value_and_are_narrow(name: str) -> None:
    every = operands_of(name)
    assert len(every) > 40
    for i, operands in enumerate(every):
        for precision in PRECISIONS if i % 4 == 0 else PRECISIONS[i % 4 : i % 4 + 1]:
            check(name, operands, precision, ENCLOSURES[name](*operands, precision))


@pytest.mark.parametrize("moved", [(1, 0), (0, -1), (-1, 1)])
def test_the_check_can_fail(moved: tuple[int, int]) -> None:
    """An end that moves to beyond the value, or away by as much as the interval is wide."""
    x = Dyadic(3, -2)
    low, high, exponent = ENCLOSURES["exp"](x, 64)
    step = (high - low) << (0 if moved != (-1, 1) else 18)
    with pytest.raises(AssertionError, match="exp"):
        check("exp", (x,), 64, Interval(low + moved[0] * step, high + moved[1] * step, exponent))


def test_intervals_are_computed_again_until_they_are_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard bits are a matter of speed alone."""
    monkeypatch.setattr(enclosures, "_GUARD", 4)
    for name in NAMES:
        for operands in operands_of(name)[::5]:
            check(name, operands, 40, ENCLOSURES[name](*operands, 40))


@pytest.mark.parametrize("name", NAMES)
def test_one_computation_is_enough(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guard bits spare formulas a second one, and series get arguments for which their errors are proved."""
    for kernel, (_, least, most) in KERNELS.items():
        monkeypatch.setattr(series, kernel, watched(getattr(series, kernel), least, most))
    calls = []

    def counted(*arguments: Dyadic | int) -> Interval:
        calls.append(arguments)
        return enclosures._FORMULAS[name](*arguments)

    once = enclosures._enclosure(counted, EXACT[name])
    for operands in operands_of(name):
        for precision in PRECISIONS:
            calls.clear()
            once(*operands, precision)
            assert len(calls) <= 1, f"{name}{operands} to {precision} bits"


def watched(kernel: Kernel, least: Fraction, most: Fraction) -> Kernel:
    def inside(t: int, p: int) -> tuple[int, int]:
        assert p >= 36
        assert least <= Fraction(t, 1 << p) <= most
        return kernel(t, p)

    return inside


def test_a_precision_below_32_is_served() -> None:
    assert intervals.narrow(ENCLOSURES["atan"](ONE, 1), 1)


# ---- values beyond MPFR's exponents --------------------------------------------------------------


def log_of(x: Interval, f: Directed) -> Bounds:
    """The logarithm of the size of an interval."""
    ends = sorted((abs(x.low), abs(x.high)))
    parts = [f.rising("log", number(end)) for end in ends]
    return f.add(Bounds(parts[0].low, parts[1].high), f.mul(number(x.exponent), f.log_2))


HUGE = (Dyadic(1, 33), Dyadic(2**59 + 12345, 200), Dyadic(3, 1000), Dyadic(1, 1100))


@pytest.mark.parametrize("precision", [32, 130])
@pytest.mark.parametrize("x", HUGE, ids=str)
def test_values_beyond_every_exponent(x: Dyadic, precision: int) -> None:
    """Of e**x the logarithm is x, whatever MPFR can hold; of sinh and cosh log 2 less, but for far less than a bit."""
    f = Directed(7000)
    minus = Dyadic(-x.integer, x.exponent)
    here, half = number(x), f.add(number(x), f.negate(f.log_2))
    square = f.div(f.mul(here, here), number(2))
    tail = f.add(square, f.rising("log", f.rising("sqrt", f.mul(number(2), f.pi))))  # but for 1 / x**2
    cases: list[tuple[str, tuple[Dyadic | int, ...], int, Bounds]] = [
        ("exp", (x,), 1, here),
        ("exp", (minus,), 1, f.negate(here)),
        ("expm1", (x,), 1, here),
        ("sinh", (x,), 1, half),
        ("sinh", (minus,), -1, half),
        ("cosh", (minus,), 1, half),
        ("exp10", (minus,), 1, f.negate(f.mul(here, f.log_10))),
        ("exp10m1", (x,), 1, f.mul(here, f.log_10)),
        ("exp2m1", (x,), 1, f.mul(here, f.log_2)),
        ("sigmoid", (minus,), 1, f.negate(here)),
        ("silu", (minus,), -1, f.add(f.rising("log", here), f.negate(here))),
        ("softmax_exp", (minus, Dyadic(0, 0)), 1, f.negate(here)),
        ("pow", (Dyadic(3, 0), x), 1, f.mul(here, f.rising("log", number(3)))),
        ("pow", (Dyadic(3, -5), x), 1, f.mul(here, f.rising("log", number(Fraction(3, 32))))),
        ("compoundn", (Dyadic(5, 0), 2**62), 1, f.mul(number(2**62), f.rising("log", number(6)))),
        ("compoundn", (Dyadic(-7, 0), -(2**63) + 1), -1, f.mul(number(-(2**63) + 1), f.rising("log", number(6)))),
    ]
    if size(x) > 100:
        cases.append(("gelu", (minus,), -1, f.negate(tail)))
    for name, operands, sign, value in cases:
        interval = ENCLOSURES[name](*operands, precision)
        got = log_of(interval, f)
        assert got.low <= value.low <= value.high <= got.high, f"{name}{operands}"
        assert interval.low * sign > 0, f"{name}{operands}"
        assert intervals.narrow(interval, precision), f"{name}{operands}"


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "expm1", "silu", "gelu", "gelu_tanh"])
def test_values_next_to_a_limit_do_not_pass_it(name: str) -> None:
    """The limit is an end, and the value not that end: it may be a tie in some format."""
    for x in HUGE:
        operand = Dyadic(-x.integer, x.exponent) if name == "expm1" else x
        low, high, exponent = ENCLOSURES[name](operand, 64)
        goal = {"sigmoid": Fraction(1), "tanh": Fraction(1), "expm1": Fraction(-1)}.get(name, fraction(x))
        assert low < high
        assert (low if name == "expm1" else high) * Fraction(2) ** exponent == goal


# ---- another witness -----------------------------------------------------------------------------


def test_gelu_against_mpmath() -> None:
    mpmath = pytest.importorskip("mpmath", reason="a second oracle for erfc: install refnum[exact]")
    with mpmath.workdps(900):
        for x in starmap(Dyadic, product((1, -1, 3, -3, 5, -5, 11, -11), (-200, -24, -21, -3, 0, 1))):
            value = mpmath.ldexp(x.integer, x.exponent)
            exact = value * mpmath.erfc(-value / mpmath.sqrt(2)) / 2
            for precision in PRECISIONS:
                low, high, exponent = ENCLOSURES["gelu"](x, precision)
                assert mpmath.ldexp(low, exponent) < exact < mpmath.ldexp(high, exponent), f"{x} to {precision} bits"
