"""Real functions at double arguments in MPFR, which rounds correctly: its own, and the others by identities."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import gmpy2

EXACT = gmpy2.context(precision=4500)  #: holds every sum of two doubles
WORK = gmpy2.context(precision=240)
PI = WORK.const_pi()
LOG_2, LOG_10 = WORK.log(gmpy2.mpfr(2)), WORK.log(gmpy2.mpfr(10))

Real = Any  # an mpfr


def value(name: str, *arguments: float | int) -> Real:
    """The function at the arguments, to some 150 bits or more."""
    with gmpy2.context(WORK):
        return REFERENCES[name](*(gmpy2.mpfr(x) if isinstance(x, float) else x for x in arguments))


def _ratio(numerator: int, denominator: int) -> Real:
    return gmpy2.mpfr(gmpy2.mpq(numerator, denominator))


def _quarter_turns(x: Real) -> tuple[Real, Real]:
    """Sine and cosine of pi * x."""
    halves = round(2 * Fraction(float(x)))
    rest = Fraction(float(x)) - Fraction(halves, 2)
    angle = PI * _ratio(*rest.as_integer_ratio())
    s, c = gmpy2.sin(angle), gmpy2.cos(angle)
    return ((s, c), (c, -s), (-s, -c), (-c, s))[halves % 4]


def _tanpi(x: Real) -> Real:
    s, c = _quarter_turns(x)
    return s / c if c else gmpy2.inf(1)


def _compoundn(x: Real, k: int) -> Real:
    one = EXACT.add(x, gmpy2.mpfr(1))
    if one == 0:
        return gmpy2.mpfr(0) ** k
    size = gmpy2.exp(k * (gmpy2.log1p(x) if x >= -0.5 else gmpy2.log(abs(one))))
    return -size if one < 0 and k % 2 else size


def _rootn(x: Real, k: int) -> Real:
    if x < 0 and k % 2 == 0:
        return gmpy2.nan()
    size = gmpy2.exp(gmpy2.log(abs(x)) / k)
    return -size if x < 0 else size


def _gelu_tanh(x: Real) -> Real:
    return x / (1 + gmpy2.exp(-2 * gmpy2.sqrt(2 / PI) * (x + _ratio(44715, 1000000) * x**3)))


REFERENCES: dict[str, Callable[..., Real]] = {
    "sqrt": gmpy2.sqrt,
    "reciprocal": lambda x: 1 / x,
    "rsqrt": gmpy2.rec_sqrt,
    "exp": gmpy2.exp,
    "expm1": gmpy2.expm1,
    "exp2": gmpy2.exp2,
    "exp2m1": lambda x: gmpy2.expm1(x * LOG_2),
    "exp10": gmpy2.exp10,
    "exp10m1": lambda x: gmpy2.expm1(x * LOG_10),
    "log": gmpy2.log,
    "log1p": gmpy2.log1p,
    "log2": gmpy2.log2,
    "log2p1": lambda x: gmpy2.log1p(x) / LOG_2,
    "log10": gmpy2.log10,
    "log10p1": lambda x: gmpy2.log1p(x) / LOG_10,
    "sin": gmpy2.sin,
    "sinpi": lambda x: _quarter_turns(x)[0],
    "cos": gmpy2.cos,
    "cospi": lambda x: _quarter_turns(x)[1],
    "tan": gmpy2.tan,
    "tanpi": _tanpi,
    "asin": gmpy2.asin,
    "asinpi": lambda x: gmpy2.asin(x) / PI,
    "acos": gmpy2.acos,
    "acospi": lambda x: gmpy2.acos(x) / PI,
    "atan": gmpy2.atan,
    "atanpi": lambda x: gmpy2.atan(x) / PI,
    "sinh": gmpy2.sinh,
    "cosh": gmpy2.cosh,
    "tanh": gmpy2.tanh,
    "asinh": gmpy2.asinh,
    "acosh": gmpy2.acosh,
    "atanh": gmpy2.atanh,
    "hypot": gmpy2.hypot,
    "pow": lambda x, y: x**y,
    "atan2": gmpy2.atan2,
    "atan2pi": lambda y, x: gmpy2.atan2(y, x) / PI,
    "compoundn": _compoundn,
    "rootn": _rootn,
    "sigmoid": lambda x: 1 / (1 + gmpy2.exp(-x)),
    "silu": lambda x: x / (1 + gmpy2.exp(-x)),
    "gelu": lambda x: x / 2 * gmpy2.erfc(-x / gmpy2.sqrt(gmpy2.mpfr(2))),
    "gelu_tanh": _gelu_tanh,
    "softmax_exp": lambda x, m: gmpy2.exp(EXACT.sub(x, m)),
}
