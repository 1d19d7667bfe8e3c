"""The oracle of functions' intervals: MPFR rounded down and up. It shares no code with refnum's intervals."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import pytest

from refnum.reals.intervals import Dyadic, Interval

gmpy2 = pytest.importorskip("gmpy2", reason="MPFR is the oracle: install refnum[exact]")

NAMES = """
    sqrt rsqrt reciprocal exp expm1 exp2 exp2m1 exp10 exp10m1 log log1p log2 log2p1 log10 log10p1
    sin sinpi cos cospi tan tanpi asin asinpi acos acospi atan atanpi sinh cosh tanh asinh acosh atanh
    hypot pow atan2 atan2pi compoundn rootn sigmoid silu gelu gelu_tanh softmax_exp
""".split()
Mpfr = Any


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


#: Of each series MPFR's function of t, and the domain.
KERNELS: dict[str, tuple[Callable[[Bounds, Directed], Bounds], Fraction, Fraction]] = {
    "expm1": (lambda t, f: f.rising("expm1", t), Fraction(-6, 10), Fraction(6, 10)),
    "log1p": (lambda t, f: f.rising("log1p", t), Fraction(-3, 10), Fraction(52, 100)),
    "atan": (lambda t, f: f.rising("atan", t), Fraction(-101, 100), Fraction(101, 100)),
    "sin": (lambda t, f: f.rising("sin", t), Fraction(-8, 10), Fraction(8, 10)),
    "cos": (lambda t, f: f("cos", t.low), Fraction(-8, 10), Fraction(8, 10)),
}


def scaled(n: int, exponent: int) -> Mpfr:
    down, _ = contexts(max(2, n.bit_length()))
    return (down.mul_2exp if exponent >= 0 else down.div_2exp)(gmpy2.mpfr(n, max(2, n.bit_length())), abs(exponent))


def significant_bits(x: Mpfr) -> int:
    n = int(x.as_mantissa_exp()[0])
    return abs(n).bit_length() - max(0, (n & -n).bit_length() - 1)


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
