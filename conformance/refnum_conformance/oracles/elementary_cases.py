"""Functions that gmpy2 has not, where no interval decides: at special values, at short dyadic results, far out."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from .minifloat import Special
from .mpfr_numbers import BITS, FAR, SUM, Mpfr, Result, context, cut, fraction, gmpy2
from .reals import Dyadic

NAN: Result = (False, Special.NAN)
INF: Result = (False, Special.INF)
ZERO: Result = (False, Dyadic(0, 0))
LARGE: Result = (False, Dyadic(1, FAR))  #: larger than any number of a format
SMALL: Result = (False, Dyadic(1, -FAR))  #: smaller


def _minus(result: Result) -> Result:
    return not result[0], result[1]


def _dyadic(x: Fraction) -> Result:
    return x < 0, Dyadic(abs(x.numerator), 1 - x.denominator.bit_length())


def _same(x: Mpfr) -> Result:
    """x itself: a zero or an infinity."""
    return gmpy2.is_signed(x), Special.INF if gmpy2.is_infinite(x) else Dyadic(0, 0)


def _nearly(x: Fraction) -> Result:
    """A number a little nearer to zero than x, with which it rounds to any format."""
    return _dyadic(x - x / 2**256)


def _power(base: int, x: Fraction) -> Fraction | None:
    """The exponent of a dyadic number that is a power of 2 or of 10; one that is not has a logarithm that is not."""
    if x <= 0 or (base == 10 and x.denominator > 1):
        return None
    k = x.numerator.bit_length() - x.denominator.bit_length() if base == 2 else len(str(x.numerator)) - 1
    return Fraction(k) if Fraction(base) ** k == x else None


def _power_minus1(base: int) -> Callable[[Mpfr], Result | None]:
    def exact(x: Mpfr) -> Result | None:
        if gmpy2.is_nan(x):
            return NAN
        if x == 0 or x == gmpy2.inf():
            return _same(x)
        if x > FAR:
            return LARGE
        if x < -FAR:
            return _dyadic(Fraction(-1)) if gmpy2.is_infinite(x) else _nearly(Fraction(-1))
        if gmpy2.is_integer(x) and (base == 2 or x > 0):  # an integer power of 10 below 1 is no dyadic number
            return _dyadic(Fraction(base) ** int(x) - 1)
        return None

    return exact


def _log_plus1(base: int) -> Callable[[Mpfr], Result | None]:
    def exact(x: Mpfr) -> Result | None:
        if gmpy2.is_nan(x) or x < -1:
            return NAN
        if x == -1:
            return _minus(INF)
        if x == 0 or gmpy2.is_infinite(x):
            return _same(x)
        k = _power(base, 1 + fraction(x))
        return None if k is None else _dyadic(k)

    return exact


def _at_turns(values: Callable[[Fraction, bool], Result | None]) -> Callable[[Mpfr], Result | None]:
    """Of sines, cosines and tangents of x half turns, dyadic only at some multiples of a quarter."""

    def exact(x: Mpfr) -> Result | None:
        if gmpy2.is_nan(x) or gmpy2.is_infinite(x):
            return NAN
        turn = fraction(x) % 2
        return values(turn, gmpy2.is_signed(x)) if (4 * turn).denominator == 1 else None

    return exact


def _sinpi_at(turn: Fraction, negative: bool) -> Result | None:
    if turn.denominator == 1:
        return negative, Dyadic(0, 0)
    return _dyadic(2 - 2 * turn) if turn.denominator == 2 else None


def _cospi_at(turn: Fraction, negative: bool) -> Result | None:
    if turn.denominator == 2:
        return ZERO
    return _dyadic(1 - 2 * turn) if turn.denominator == 1 else None


def _tanpi_at(turn: Fraction, negative: bool) -> Result | None:
    if turn.denominator == 1:  # at even numbers a zero of the sign of x, at odd ones the other
        return negative != (turn == 1), Dyadic(0, 0)
    if turn.denominator == 2:  # a pole, positive after an even number, on both sides of zero
        return turn == Fraction(3, 2), Special.INF
    return _dyadic(Fraction(1) if turn % 1 == Fraction(1, 4) else Fraction(-1))


def _asinpi_exact(x: Mpfr) -> Result | None:
    if gmpy2.is_nan(x) or gmpy2.cmp_abs(x, gmpy2.mpfr(1)) > 0:
        return NAN
    if x == 0:
        return _same(x)
    return _dyadic(fraction(x) / 2) if x in (-1, 1) else None


def _acospi_exact(x: Mpfr) -> Result | None:
    if gmpy2.is_nan(x) or gmpy2.cmp_abs(x, gmpy2.mpfr(1)) > 0:
        return NAN
    return _dyadic((1 - fraction(x)) / 2) if x in (-1, 0, 1) else None


def _atanpi_exact(x: Mpfr) -> Result | None:
    return _atan2pi_exact(x, gmpy2.mpfr(1))


def _atan2pi_exact(y: Mpfr, x: Mpfr) -> Result | None:
    """On the axes, on the diagonals, and at infinity, a number of eighths of a turn."""
    if gmpy2.is_nan(x) or gmpy2.is_nan(y):
        return NAN
    if gmpy2.is_regular(x) and gmpy2.is_regular(y) and gmpy2.cmp_abs(x, y) != 0:
        return None
    odd = context(BITS, "ToZero")
    angle = odd.atan2(y, x)
    eighths = round(abs(float(odd.div(odd.mul(4, angle), odd.const_pi()))))
    return gmpy2.is_signed(angle), Dyadic(eighths, -2)


def _compoundn_exact(x: Mpfr, k: int) -> Result | None:
    if k == 0 and (gmpy2.is_nan(x) or x != -gmpy2.inf()):
        return _dyadic(Fraction(1))
    if gmpy2.is_nan(x) or x == -gmpy2.inf():
        return NAN
    return cut(context(BITS, "ToZero").pow(context(SUM, "ToZero").add(x, 1), gmpy2.mpz(k)))


def _rootn_exact(x: Mpfr, k: int) -> Result | None:
    odd = context(BITS, "ToZero")
    if k >= 0:
        return cut(odd.rootn(x, k)) if k else NAN
    if not gmpy2.is_regular(x):
        return cut(odd.div(1, odd.rootn(x, -k)))
    m, e = map(int, x.as_mantissa_exp())
    # The root of a power of two can be one. No other number has a dyadic root whose reciprocal is dyadic.
    dyadic = abs(m) == 1 and e % k == 0 and (m > 0 or k % 2)
    return (m < 0, Dyadic(1, e // k)) if dyadic else (NAN if m < 0 and k % 2 == 0 else None)


#: where 1 - f(x) becomes less than 2**-256, and f(-x) less than 2**-1100, for the f that rises from 0 to 1
LIMITS = {"sigmoid": (256, 1024), "silu": (256, 1024), "gelu": (24, 64), "gelu_tanh": (24, 64)}


def _sigmoid_exact(x: Mpfr) -> Result | None:
    if gmpy2.is_nan(x):
        return NAN
    if gmpy2.is_infinite(x):
        return _dyadic(Fraction(1)) if x > 0 else ZERO
    one, zero = LIMITS["sigmoid"]
    if x > one or x < -zero:
        return _nearly(Fraction(1)) if x > 0 else SMALL
    return _dyadic(Fraction(1, 2)) if x == 0 else None


def _gated(name: str) -> Callable[[Mpfr], Result | None]:
    """Of x f(x)."""
    one, zero = LIMITS[name]

    def exact(x: Mpfr) -> Result | None:
        if gmpy2.is_nan(x):
            return NAN
        if x == 0 or gmpy2.is_infinite(x):
            return _minus(ZERO) if x < 0 else _same(x)
        if x > one or x < -zero:
            return _nearly(fraction(x)) if x > 0 else _minus(SMALL)
        return None

    return exact


EXACT: dict[str, Callable[..., Result | None]] = {
    "exp2m1": _power_minus1(2),
    "exp10m1": _power_minus1(10),
    "log2p1": _log_plus1(2),
    "log10p1": _log_plus1(10),
    "sinpi": _at_turns(_sinpi_at),
    "cospi": _at_turns(_cospi_at),
    "tanpi": _at_turns(_tanpi_at),
    "asinpi": _asinpi_exact,
    "acospi": _acospi_exact,
    "atanpi": _atanpi_exact,
    "atan2pi": _atan2pi_exact,
    "compoundn": _compoundn_exact,
    "rootn": _rootn_exact,
    "sigmoid": _sigmoid_exact,
    "silu": _gated("silu"),
    "gelu": _gated("gelu"),
    "gelu_tanh": _gated("gelu_tanh"),
}
