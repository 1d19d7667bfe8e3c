"""Functions that gmpy2 has not, in intervals: every step is rounded down and rounded up."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from .mpfr_numbers import OPERAND, Ends, Mpfr, context, fraction, gmpy2


class Steps:
    """Arithmetic on intervals: each end rounded outwards, to so many bits."""

    def __init__(self, precision: int) -> None:
        self.down, self.up = context(precision, "Down"), context(precision, "Up")

    def rising(self, function: str, x: Ends) -> Ends:
        """Of a function that rises."""
        return getattr(self.down, function)(x[0]), getattr(self.up, function)(x[1])

    def falling(self, function: str, x: Ends) -> Ends:
        """Of a function that falls."""
        return getattr(self.down, function)(x[1]), getattr(self.up, function)(x[0])

    def minus(self, x: Ends) -> Ends:
        """-x."""
        return self.falling("minus", x)

    def plus(self, x: Ends, y: Ends) -> Ends:
        """x + y."""
        return self.down.add(x[0], y[0]), self.up.add(x[1], y[1])

    def times(self, x: Ends, y: Ends) -> Ends:
        """x * y."""
        return min(self.down.mul(a, b) for a in x for b in y), max(self.up.mul(a, b) for a in x for b in y)

    def over(self, x: Ends, y: Ends) -> Ends:
        """x / y, for y > 0."""
        return min(self.down.div(x[0], b) for b in y), max(self.up.div(x[1], b) for b in y)

    def dyadic(self, x: Fraction) -> Ends:
        """Around a dyadic number of any length."""
        m, places = gmpy2.mpfr(x.numerator, max(2, x.numerator.bit_length())), x.denominator.bit_length() - 1
        return self.down.div_2exp(m, places), self.up.div_2exp(m, places)

    def pi(self) -> Ends:
        """Around pi."""
        return self.down.const_pi(), self.up.const_pi()


def _point(x: Any) -> Ends:
    """A number with at most 128 bits, or an integer."""
    return (gmpy2.mpfr(x, OPERAND),) * 2


def _of_turns(function: Callable[[Steps, Fraction], Ends]) -> Callable[[Steps, Mpfr], Ends]:
    """By what is left of x beyond a multiple of 2, from -1 to 1."""
    return lambda steps, x: function(steps, (fraction(x) + 1) % 2 - 1)


def _angle(steps: Steps, turn: Fraction) -> Ends:
    return steps.times(steps.dyadic(turn), steps.pi())


def _exactly(x: Mpfr) -> Ends:
    return x, x


def _sine(steps: Steps, turn: Fraction) -> Ends:
    """From 0 to a quarter as it is; its symmetries."""
    if turn < 0:
        return steps.minus(_sine(steps, -turn))
    if turn > Fraction(1, 2):
        return _sine(steps, 1 - turn)
    if turn > Fraction(1, 4):
        return steps.falling("cos", _angle(steps, Fraction(1, 2) - turn))
    return steps.rising("sin", _angle(steps, turn))


def _cosine(steps: Steps, turn: Fraction) -> Ends:
    return _sine(steps, Fraction(1, 2) - abs(turn))


def _tangent(steps: Steps, turn: Fraction) -> Ends:
    """With period 1."""
    turn = (turn + Fraction(1, 2)) % 1 - Fraction(1, 2)
    if turn < 0:
        return steps.minus(_tangent(steps, -turn))
    return steps.over(_sine(steps, turn), _cosine(steps, turn))


def _logistic(steps: Steps, power: Ends) -> Ends:
    """1 / (1 + 1 / power)."""
    one = _point(1)
    return steps.over(one, steps.plus(one, steps.over(one, power)))


def _sigmoid(steps: Steps, x: Mpfr) -> Ends:
    return _logistic(steps, steps.rising("exp", _exactly(x)))


def _gelu(steps: Steps, x: Mpfr) -> Ends:
    """x / 2 times 1 + erf z, or erfc -z, whichever adds."""
    z = steps.over(_exactly(x), steps.rising("sqrt", _point(2)))
    twice = steps.plus(_point(1), steps.rising("erf", z)) if x > 0 else steps.falling("erfc", steps.minus(z))
    return steps.times(_exactly(x), steps.over(twice, _point(2)))


def _gelu_tanh(steps: Steps, x: Mpfr) -> Ends:
    """x / 2 times 1 + tanh t, which is 2 / (1 + e**-2t); t is sqrt(2 / pi) (x + 0.044715 x**3)."""
    number = _exactly(x)
    cube = steps.times(steps.times(number, number), number)
    inner = steps.plus(number, steps.over(steps.times(cube, _point(44715)), _point(10**6)))
    twice = steps.times(inner, steps.rising("sqrt", steps.over(_point(8), steps.pi())))
    return steps.times(number, _logistic(steps, steps.rising("exp", twice)))


def _over_log(base: int) -> Callable[[Steps, Mpfr], Ends]:
    return lambda steps, x: steps.over(steps.rising("log1p", _exactly(x)), steps.rising("log", _point(base)))


def _to_power(base: int) -> Callable[[Steps, Mpfr], Ends]:
    return lambda steps, x: steps.rising("expm1", steps.times(_exactly(x), steps.rising("log", _point(base))))


ENCLOSURES: dict[str, Callable[..., Ends]] = {
    "exp2m1": _to_power(2),
    "exp10m1": _to_power(10),
    "log2p1": _over_log(2),
    "log10p1": _over_log(10),
    "sinpi": _of_turns(_sine),
    "cospi": _of_turns(_cosine),
    "tanpi": _of_turns(_tangent),
    "asinpi": lambda steps, x: steps.over(steps.rising("asin", _exactly(x)), steps.pi()),
    "acospi": lambda steps, x: steps.over(steps.falling("acos", _exactly(x)), steps.pi()),
    "atanpi": lambda steps, x: steps.over(steps.rising("atan", _exactly(x)), steps.pi()),
    "atan2pi": lambda steps, y, x: steps.over((steps.down.atan2(y, x), steps.up.atan2(y, x)), steps.pi()),
    "rootn": lambda steps, x, k: steps.over(_point(1), (steps.down.rootn(x, -k), steps.up.rootn(x, -k))),
    "sigmoid": _sigmoid,
    "silu": lambda steps, x: steps.times(_exactly(x), _sigmoid(steps, x)),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
}
