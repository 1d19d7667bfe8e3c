"""Intervals around functions' values, against MPFR with directed roundings, which shares no code with them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import pytest

from refnum.functions import constants, enclosures, intervals, series
from refnum.functions.dyadics import EXACT
from refnum.functions.enclosures import ENCLOSURES
from refnum.functions.intervals import Dyadic, Interval

gmpy2 = pytest.importorskip("gmpy2", reason="MPFR is the oracle: install refnum[exact]")

NAMES = """
    sqrt rsqrt reciprocal exp expm1 exp2 exp2m1 exp10 exp10m1 log log1p log2 log2p1 log10 log10p1
    sin sinpi cos cospi tan tanpi asin asinpi acos acospi atan atanpi sinh cosh tanh asinh acosh atanh
    hypot pow atan2 atan2pi compoundn rootn sigmoid silu gelu gelu_tanh softmax_exp
""".split()
PRECISIONS = (32, 64, 130, 300)
Mpfr = Any


def test_every_function_has_an_interval() -> None:
    assert sorted(ENCLOSURES) == sorted(EXACT) == sorted(NAMES)


# ---- the oracle: MPFR, rounded down and up -------------------------------------------------------


class Bounds(NamedTuple):
    """A number between two of MPFR's."""

    low: Mpfr
    high: Mpfr


@cache
def contexts(bits: int) -> tuple[Any, Any]:
    """Rounding down and up, to so many bits and to any exponent."""
    limits = {"emin": gmpy2.get_emin_min(), "emax": gmpy2.get_emax_max()}
    return tuple(gmpy2.context(precision=bits, round=to, **limits) for to in (gmpy2.RoundDown, gmpy2.RoundUp))


def exactly(x: Dyadic | Fraction | int) -> Mpfr:
    """A dyadic number in MPFR."""
    value = Fraction(x.integer) * Fraction(2) ** x.exponent if isinstance(x, Dyadic) else Fraction(x)
    number = gmpy2.mpfr(value.numerator, max(2, value.numerator.bit_length()))
    down, _ = contexts(max(2, value.numerator.bit_length()))
    return down.div_2exp(number, value.denominator.bit_length() - 1)


class Directed:
    """Operations on bounds, each rounded down and up: monotonic ones at the ends that give the ends."""

    def __init__(self, bits: int) -> None:
        self.down, self.up = contexts(bits)

    def __call__(self, name: str, *operands: Mpfr) -> Bounds:
        """MPFR's own function of numbers."""
        return Bounds(getattr(self.down, name)(*operands), getattr(self.up, name)(*operands))

    def rising(self, name: str, x: Bounds) -> Bounds:
        return Bounds(getattr(self.down, name)(x.low), getattr(self.up, name)(x.high))

    def falling(self, name: str, x: Bounds) -> Bounds:
        return Bounds(getattr(self.down, name)(x.high), getattr(self.up, name)(x.low))

    def add(self, a: Bounds, b: Bounds) -> Bounds:
        return Bounds(self.down.add(a.low, b.low), self.up.add(a.high, b.high))

    def mul(self, a: Bounds, b: Bounds) -> Bounds:
        pairs = list(product(a, b))
        return Bounds(min(self.down.mul(*pair) for pair in pairs), max(self.up.mul(*pair) for pair in pairs))

    def div(self, a: Bounds, b: Bounds) -> Bounds:
        pairs = list(product(a, b))
        return Bounds(min(self.down.div(*pair) for pair in pairs), max(self.up.div(*pair) for pair in pairs))

    def negate(self, a: Bounds) -> Bounds:
        return Bounds(self.down.minus(a.high), self.up.minus(a.low))

    @property
    def pi(self) -> Bounds:
        return Bounds(self.down.const_pi(), self.up.const_pi())

    @property
    def log_2(self) -> Bounds:
        return Bounds(self.down.const_log2(), self.up.const_log2())

    @property
    def log_10(self) -> Bounds:
        return self("log", gmpy2.mpfr(10))


def number(x: Dyadic | Fraction | int) -> Bounds:
    return Bounds(exactly(x), exactly(x))


def fraction(x: Dyadic) -> Fraction:
    return x.integer * Fraction(2) ** x.exponent


def sine_of_turns(r: Fraction, f: Directed) -> Bounds:
    """sin(pi r), by symmetries to 0 <= r <= 1/4, where sine and cosine are monotonic."""
    r %= 2
    if r > 1:
        return f.negate(sine_of_turns(r - 1, f))
    r = min(r, 1 - r)
    if r <= Fraction(1, 4):
        return f.rising("sin", f.mul(f.pi, number(r)))
    return f.falling("cos", f.mul(f.pi, number(Fraction(1, 2) - r)))


def sinpi(x: Dyadic, f: Directed) -> Bounds:
    return sine_of_turns(fraction(x), f)


def cospi(x: Dyadic, f: Directed) -> Bounds:
    return sine_of_turns(fraction(x) + Fraction(1, 2), f)


def sigmoid(x: Bounds, f: Directed) -> Bounds:
    return f.div(number(1), f.add(number(1), f.rising("exp", f.negate(x))))


def gelu(x: Dyadic, f: Directed) -> Bounds:
    z = f.div(number(Dyadic(-x.integer, x.exponent)), f("sqrt", gmpy2.mpfr(2)))
    return f.div(f.mul(number(x), f.falling("erfc", z)), number(2))


def gelu_tanh(x: Dyadic, f: Directed) -> Bounds:
    cubic = fraction(x) + Fraction(44715, 1000000) * fraction(x) ** 3
    doubled = f.mul(f.rising("sqrt", f.div(number(8), f.pi)), f.div(number(cubic.numerator), number(cubic.denominator)))
    return f.mul(number(x), sigmoid(doubled, f))


def atan2(y: Dyadic, x: Dyadic, f: Directed) -> Bounds:
    return f("atan2", exactly(y), exactly(x))


def rootn(x: Dyadic, k: int, f: Directed) -> Bounds:
    root = f("rootn", exactly(x), abs(k))
    return root if k > 0 else f.div(number(1), root)


OWN = """
    sqrt exp expm1 exp2 exp10 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
""".split()
ORACLE: dict[str, Callable[..., Bounds]] = {
    **{name: lambda x, f, name=name: f(name, exactly(x)) for name in OWN},
    "rsqrt": lambda x, f: f("rec_sqrt", exactly(x)),
    "reciprocal": lambda x, f: f("div", 1, exactly(x)),
    "exp2m1": lambda x, f: (
        f.add(f("exp2", exactly(x)), number(-1)) if x.exponent >= 0 else f.rising("expm1", f.mul(number(x), f.log_2))
    ),
    "exp10m1": lambda x, f: (
        f.add(f("exp10", exactly(x)), number(-1)) if x.exponent >= 0 else f.rising("expm1", f.mul(number(x), f.log_10))
    ),
    "log2p1": lambda x, f: f("log2", exactly(fraction(x) + 1)),
    "log10p1": lambda x, f: f("log10", exactly(fraction(x) + 1)),
    "sinpi": sinpi,
    "cospi": cospi,
    "tanpi": lambda x, f: f.div(sinpi(x, f), cospi(x, f)),
    "asinpi": lambda x, f: f.div(f("asin", exactly(x)), f.pi),
    "acospi": lambda x, f: f.div(f("acos", exactly(x)), f.pi),
    "atanpi": lambda x, f: f.div(f("atan", exactly(x)), f.pi),
    "hypot": lambda x, y, f: f("hypot", exactly(x), exactly(y)),
    "pow": lambda x, y, f: f("pow", exactly(x), exactly(y)),
    "atan2": atan2,
    "atan2pi": lambda y, x, f: f.div(atan2(y, x, f), f.pi),
    "compoundn": lambda x, k, f: f("pow", exactly(fraction(x) + 1), gmpy2.mpfr(k, 64)),
    "rootn": rootn,
    "sigmoid": lambda x, f: sigmoid(number(x), f),
    "silu": lambda x, f: f.mul(number(x), sigmoid(number(x), f)),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "softmax_exp": lambda x, m, f: f("exp", exactly(fraction(x) - fraction(m))),
}


def check(name: str, operands: tuple[Dyadic | int, ...], precision: int, interval: Interval) -> None:
    """The promises of an interval: it contains the value, is narrow, and a point where the value is short."""
    low, high, exponent = interval
    f = Directed(precision + 200)
    value = ORACLE[name](*operands, f)
    ends = Bounds(scaled(low, exponent), scaled(high, exponent))
    where = f"{name}{operands} to {precision} bits: {interval}"
    assert value.low <= value.high, where
    assert value.high - value.low <= abs(value.low) / gmpy2.mpfr(2) ** (precision + 20), f"a vague oracle: {where}"
    short = value.low == value.high and significant_bits(value.low) <= 160
    if low == high:
        assert value.low <= ends.low <= value.high, where
    else:
        assert not short, f"a value that is a point: {where}"
        assert ends.low <= value.low <= value.high <= ends.high, where
        assert (high - low) << precision <= min(abs(low), abs(high)), where
        assert low * high > 0, where


def scaled(n: int, exponent: int) -> Mpfr:
    down, _ = contexts(max(2, n.bit_length()))
    return (down.mul_2exp if exponent >= 0 else down.div_2exp)(gmpy2.mpfr(n, max(2, n.bit_length())), abs(exponent))


def significant_bits(x: Mpfr) -> int:
    n = int(x.as_mantissa_exp()[0])
    return abs(n).bit_length() - max(0, (n & -n).bit_length() - 1)


# ---- operands ------------------------------------------------------------------------------------

ZERO, ONE = Dyadic(0, 0), Dyadic(1, 0)
SPREAD = (1, 2, 5, 10, 23, 33, 60, 126, 490, 992, 1100)


@cache
def operands_of_one() -> tuple[Dyadic, ...]:
    """Numbers of both signs: short, next to short ones, next to multiples of pi, of all sizes."""
    rng = random.Random(7)
    short = [Dyadic(n, e) for n in (0, 1, 3, 5, 7, 11, 25, 625) for e in (-5, -3, -2, -1, 0, 1, 4, 7)]
    beside = [Dyadic((n << k) + d, -k - 1) for n in (1, 2, 3) for k in (8, 27, 53, 70) for d in (-1, 1)]
    powers = [Dyadic(1, e) for k in SPREAD for e in (-k, k)] + [Dyadic(10**k, 0) for k in range(1, 12)]
    angles = [multiple_of_pi(n, bits) for n in (1, 2, 3, 22, 355, 10**9, 3**40) for bits in (24, 53, 60)]
    angles += [Dyadic(6381956970095103, 797), Dyadic(5261692873635770, 499)]  # doubles nearest multiples of pi/2
    sizes = [Dyadic(rng.getrandbits(60) | 1, rng.randint(-spread, spread) - 59) for spread in SPREAD for _ in range(3)]
    positive = dict.fromkeys([*short, *beside, *powers, *angles, *sizes])
    return tuple(Dyadic(s * x.integer, x.exponent) for x in positive for s in (1, -1))


def multiple_of_pi(n: int, bits: int) -> Dyadic:
    """The number of so many bits nearest to n pi / 2."""
    with gmpy2.context(precision=bits):
        integer, exponent = (gmpy2.mpfr(n, 70) * gmpy2.const_pi(200) / 2).as_mantissa_exp()
    return Dyadic(int(integer), int(exponent))


def size(x: Dyadic) -> int:
    """The exponent of the next larger power of 2; of 0 a low one."""
    return x.integer.bit_length() + x.exponent if x.integer else -10000


def between(least: int, most: int | None = None, *, closed: bool = True) -> Callable[[Dyadic], bool]:
    """Numbers in an interval of integers."""

    def inside(x: Dyadic) -> bool:
        value = fraction(x)
        return least < value < (value + 1 if most is None else most) or (closed and value in (least, most))

    return inside


def everywhere(x: Dyadic) -> bool:
    return True


def moderate(x: Dyadic) -> bool:
    return size(x) <= 24  # MPFR's numbers are below 2**(2**30)


DOMAINS: dict[str, Callable[[Dyadic], bool]] = {
    **dict.fromkeys(NAMES, everywhere),
    **dict.fromkeys("exp expm1 exp2 exp2m1 exp10 exp10m1 sinh cosh tanh sigmoid silu".split(), moderate),
    **dict.fromkeys("asin asinpi acos acospi".split(), between(-1, 1)),
    **dict.fromkeys("log log2 log10 rsqrt".split(), between(0, closed=False)),
    **dict.fromkeys("log1p log2p1 log10p1".split(), between(-1, closed=False)),
    "sqrt": between(0),
    "reciprocal": lambda x: x.integer != 0,
    "acosh": between(1),
    "atanh": between(-1, 1, closed=False),
    "tanpi": lambda x: (2 * fraction(x)) % 2 != 1,
    "gelu": lambda x: size(x) <= 12,
    "gelu_tanh": lambda x: size(x) <= 8,
}
INTEGERS = (-(2**63), -(2**63) + 1, -1000, -7, -3, -2, -1, 1, 2, 3, 4, 5, 13, 64, 1001, 2**31, 2**62, 2**63 - 1)


def log2_size(x: Dyadic | Fraction) -> float:
    """About |log2 |x||."""
    with gmpy2.context(precision=2400):
        return float(abs(gmpy2.log2(abs(exactly(x)))))


def pairs(name: str) -> Iterator[tuple[Dyadic | int, ...]]:
    """Operands of functions of two."""
    rng = random.Random(name)
    numbers = operands_of_one()
    integers = INTEGERS if name in ("compoundn", "rootn") else None
    few = [x for x in numbers if size(x) < 6 and abs(x.integer) < 12]
    for i in range(260):
        x, y = (rng.choice(numbers if i % 3 else few) for _ in range(2))
        operands = (x, rng.choice(integers)) if integers else (x, y)
        if i % 5 == 0 and not integers:
            operands = (x, rng.choice([x, Dyadic(-x.integer, x.exponent), Dyadic(x.integer, x.exponent + 1), ONE]))
        if i % 11 == 0:
            operands = (x, rng.choice(INTEGERS) if integers else ZERO)
        if i % 11 == 1:
            operands = (ZERO, operands[1])
        if DOMAINS_OF_TWO[name](*operands):
            yield operands


def power_is_defined(x: Dyadic, y: Dyadic) -> bool:
    if x.integer == 0:
        return y.integer > 0
    whole = fraction(y).denominator == 1
    return (x.integer > 0 or whole) and log2_size(x) * 2.0 ** min(size(y), 1000) < 2**28


def compound_is_defined(x: Dyadic, k: int) -> bool:
    base = fraction(x) + 1
    return k > 0 if base == 0 else log2_size(base) * abs(k) < 2**28


DOMAINS_OF_TWO: dict[str, Callable[..., bool]] = {
    "hypot": lambda x, y: True,
    "pow": power_is_defined,
    "atan2": lambda y, x: (y.integer, x.integer) != (0, 0),
    "atan2pi": lambda y, x: (y.integer, x.integer) != (0, 0),
    "compoundn": compound_is_defined,
    "rootn": lambda x, k: (x.integer > 0 or bool(k % 2)) if x.integer else k > 0,
    "softmax_exp": lambda x, m: moderate(x) and moderate(m),
}


def operands_of(name: str) -> list[tuple[Dyadic | int, ...]]:
    if name in DOMAINS_OF_TWO:
        return list(pairs(name))
    return [(x,) for x in operands_of_one() if DOMAINS[name](x)]


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


def test_a_precision_below_32_is_served() -> None:
    assert intervals.narrow(ENCLOSURES["atan"](ONE, 1), 1)


# ---- exact values --------------------------------------------------------------------------------


def odd(rng: random.Random, bits: int) -> int:
    return rng.getrandbits(bits) | 1 | 1 << (bits - 1)


def exact_cases() -> Iterator[tuple[str, tuple[Dyadic | int, ...], Fraction]]:
    """Operands, and a value that is dyadic and short."""
    for name in "expm1 exp2m1 exp10m1 log1p log2p1 log10p1 sin sinpi tan tanpi asin asinpi atan atanpi".split():
        yield name, (ZERO,), Fraction(0)
    for name in "sinh tanh asinh atanh silu gelu gelu_tanh sqrt".split():
        yield name, (ZERO,), Fraction(0)
    for name in "exp exp2 exp10 cos cospi cosh".split():
        yield name, (ZERO,), Fraction(1)
    for name in "log log2 log10 acos acospi acosh".split():
        yield name, (ONE,), Fraction(0)
    yield "sigmoid", (ZERO,), Fraction(1, 2)
    for sign in (1, -1):
        yield "asinpi", (Dyadic(sign, 0),), Fraction(sign, 2)
        yield "atanpi", (Dyadic(sign, 0),), Fraction(sign, 4)
    yield "acospi", (ZERO,), Fraction(1, 2)
    yield "acospi", (Dyadic(-1, 0),), Fraction(1)
    yield from exact_exponentials()
    yield from exact_turns()
    yield from exact_angles()
    yield from exact_powers()


def exact_exponentials() -> Iterator[tuple[str, tuple[Dyadic | int, ...], Fraction]]:
    for k in (-160, -159, -100, -11, -1, 1, 2, 11, 64, 159, 160):
        power = Fraction(2) ** k
        yield "exp2", (Dyadic(k, 0),), power
        yield "exp2m1", (Dyadic(k, 0),), power - 1
        yield "log2", (dyadic(power),), Fraction(k)
        yield "log2p1", (dyadic(power - 1),), Fraction(k)
    for k in (1, 2, 7, 22, 40, 68):
        power = Fraction(10) ** k
        yield "exp10", (Dyadic(k, 0),), power
        yield "log10", (dyadic(power),), Fraction(k)
        yield "log10p1", (dyadic(power - 1),), Fraction(k)
        if (power - 1).numerator.bit_length() <= 160:
            yield "exp10m1", (Dyadic(k, 0),), power - 1


def exact_turns() -> Iterator[tuple[str, tuple[Dyadic | int, ...], Fraction]]:
    sines = [Fraction(s) for s in (0, 1, 0, -1)]
    for n in (*range(-9, 10), 2**60 + 1, 2**60 + 2, -(2**60) - 3):
        yield "sinpi", (Dyadic(n, -1),), sines[n % 4]
        yield "cospi", (Dyadic(n, -1),), sines[(n + 1) % 4]
        if n % 4 != 2:
            yield "tanpi", (Dyadic(n, -2),), Fraction((0, 1, 0, -1)[n % 4])
    for name, value in (("sinpi", 0), ("cospi", 1), ("tanpi", 0)):
        yield name, (Dyadic(3, 1100),), Fraction(value)


def exact_angles() -> Iterator[tuple[str, tuple[Dyadic | int, ...], Fraction]]:
    for size in (Dyadic(1, 0), Dyadic(3, -1000), Dyadic(2**59 + 5, 900)):
        other = Dyadic(7, size.exponent - 3)
        minus, zero = Dyadic(-size.integer, size.exponent), Dyadic(0, 5)
        threefold, fourfold = Dyadic(3 * size.integer, size.exponent), Dyadic(-size.integer, size.exponent + 2)
        yield "atan2", (zero, size), Fraction(0)
        for y, x, quarters in [(zero, size, 0), (zero, minus, 4), (size, zero, 2), (minus, zero, -2)]:
            yield "atan2pi", (y, x), Fraction(quarters, 4)
        for y, x, quarters in [(size, size, 1), (size, minus, 3), (minus, size, -1), (minus, minus, -3)]:
            yield "atan2pi", (y, x), Fraction(quarters, 4)
        yield "softmax_exp", (size, Dyadic(size.integer << 3, size.exponent - 3)), Fraction(1)
        yield "hypot", (minus, zero), abs(fraction(minus))
        yield "hypot", (zero, other), fraction(other)
        yield "hypot", (threefold, fourfold), 5 * fraction(size)


def exact_powers() -> Iterator[tuple[str, tuple[Dyadic | int, ...], Fraction]]:
    rng = random.Random(11)
    for k in (1, 2, 3, 4, 5, 7, 8, 16, 31):
        for bits in {1, 2, 3, max(2, 60 // k), 160 // k}:
            for exponent in (-1000 // k, -3, 0, 4, 1000 // k):
                root = Dyadic(odd(rng, bits), exponent)
                power = Dyadic(root.integer**k, root.exponent * k)
                yield "rootn", (power, k), fraction(root)
                if k & 1:
                    yield "rootn", (Dyadic(-power.integer, power.exponent), k), -fraction(root)
                if k == 2:
                    yield "sqrt", (power,), fraction(root)
                if power.integer.bit_length() <= 160:
                    yield "pow", (root, Dyadic(k, 0)), fraction(power)
                    yield "pow", (Dyadic(-root.integer, root.exponent), Dyadic(k, 0)), (-1) ** k * fraction(power)
                    yield "compoundn", (dyadic(fraction(root) - 1), k), fraction(power)
                    yield "compoundn", (dyadic(-fraction(root) - 1), k), (-1) ** k * fraction(power)
                for s in (1, 2, 3):
                    whole = Dyadic(root.integer**2**s, root.exponent * 2**s)
                    if k & 1 and root.integer.bit_length() * k <= 160:
                        yield "pow", (whole, Dyadic(k, -s)), fraction(root) ** k
    for n in (-63, -4, 0, 1, 62):
        yield "reciprocal", (Dyadic(-1, n),), -(Fraction(2) ** -n)
        yield "rsqrt", (Dyadic(1, 2 * n),), Fraction(2) ** -n
        yield "rootn", (Dyadic(1, 3 * n), -3), Fraction(2) ** -n
        yield "rootn", (Dyadic(-1, 3 * n), -3), -(Fraction(2) ** -n)
        yield "pow", (Dyadic(1, 4 * n), Dyadic(-3, -2)), Fraction(2) ** (-3 * n)
        yield "compoundn", (dyadic(Fraction(2) ** n - 1), -9), Fraction(2) ** (-9 * n)
    for k in (-(2**63), -1, 0, 1, 2**63 - 1):
        yield "compoundn", (Dyadic(0, 0), k), Fraction(1)
        yield "compoundn", (Dyadic(-2, 0), k), Fraction(-1 if k % 2 else 1)
        yield "pow", (ONE, Dyadic(k, -7)), Fraction(1)
        if k:
            yield "rootn", (ONE, k), Fraction(1)
    yield "compoundn", (Dyadic(5, 1000), 0), Fraction(1)
    yield "compoundn", (Dyadic(-1, 0), 2**63 - 1), Fraction(0)
    yield "rootn", (Dyadic(0, 0), 2**62), Fraction(0)
    yield "pow", (Dyadic(-5, 1000), Dyadic(0, 0)), Fraction(1)
    yield "pow", (Dyadic(0, 0), Dyadic(5, -1000)), Fraction(0)


def dyadic(x: Fraction) -> Dyadic:
    """A dyadic number, not in lowest terms."""
    return Dyadic(x.numerator << 3, 1 - x.denominator.bit_length() - 3)


def test_short_values_are_points() -> None:
    cases = list(exact_cases())
    assert len(cases) > 500
    for name, operands, value in cases:
        low, high, exponent = ENCLOSURES[name](*operands, 32)
        assert low == high, f"{name}{operands} = {value}: an interval"
        assert fraction(Dyadic(low, exponent)) == value, f"{name}{operands} = {value}: got {low} * 2**{exponent}"


def test_what_lies_beside_them_is_no_point() -> None:
    """The least change of the first operand makes a value irrational, or too long, where it is not 0 ** n."""
    for name, operands, value in exact_cases():
        x, *others = operands
        beside = (dyadic(fraction(x) + Fraction(2) ** (size(x) - 200 if x.integer else -200)), *others)
        defined = DOMAINS_OF_TWO[name](*beside) if others else DOMAINS[name](beside[0])
        trivial = others and (others[0] in (0, 1, Dyadic(0, 0)) or value == 0)
        if defined and not trivial:
            check(name, beside, 64, ENCLOSURES[name](*beside, 64))


def test_powers_of_enormous_exponents_are_not_built() -> None:
    """2**(2**1000), (-1/2)**(2**62 + 1), the root of order 2**62 of 2**(-2**62)."""
    assert ENCLOSURES["exp2"](Dyadic(1, 1000), 64) == Interval(1, 1, 2**1000)
    assert ENCLOSURES["pow"](Dyadic(-1, -1), Dyadic(2**62 + 1, 0), 64) == Interval(-1, -1, -(2**62) - 1)
    assert ENCLOSURES["compoundn"](Dyadic(-3, -1), -(2**63), 64) == Interval(1, 1, 2**63)
    assert ENCLOSURES["rootn"](Dyadic(1, -(2**62)), 2**62, 64) == Interval(1, 1, -1)
    assert ENCLOSURES["pow"](Dyadic(1, 2**70), Dyadic(3, -70), 64) == Interval(1, 1, 3)


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


# ---- series, constants, arithmetic ---------------------------------------------------------------

#: Each kernel: MPFR's function of t, and the domain.
KERNELS: dict[str, tuple[Callable[[Bounds, Directed], Bounds], Fraction, Fraction]] = {
    "expm1": (lambda t, f: f.rising("expm1", t), Fraction(-6, 10), Fraction(6, 10)),
    "log1p": (lambda t, f: f.rising("log1p", t), Fraction(-3, 10), Fraction(52, 100)),
    "atan": (lambda t, f: f.rising("atan", t), Fraction(-101, 100), Fraction(101, 100)),
    "sin": (lambda t, f: f.rising("sin", t), Fraction(-8, 10), Fraction(8, 10)),
    "cos": (lambda t, f: f("cos", t.low), Fraction(-8, 10), Fraction(8, 10)),
}


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


@pytest.mark.parametrize("p", [36, 52, 84, 116, 300, 700])
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


# ---- another witness -----------------------------------------------------------------------------


def test_gelu_against_mpmath() -> None:
    mpmath = pytest.importorskip("mpmath", reason="a second oracle for erfc: install refnum[exact]")
    with mpmath.workdps(900):
        for n, exponent in product((1, -1, 3, -3, 5, -5, 11, -11), (-200, -24, -21, -3, 0, 1)):
            x = Dyadic(n, exponent)
            value = mpmath.ldexp(x.integer, x.exponent)
            exact = value * mpmath.erfc(-value / mpmath.sqrt(2)) / 2
            for precision in PRECISIONS:
                low, high, exponent = ENCLOSURES["gelu"](x, precision)
                assert mpmath.ldexp(low, exponent) < exact < mpmath.ldexp(high, exponent), f"{x} to {precision} bits"
