"""Rigorous intervals around values of functions: the definition of what is to be rounded.

``ENCLOSURES[name](x, precision)``, with a second number or an integer before the precision where the function has one,
is an interval that contains the real value, is relatively no wider than 2**-precision, and does not reach 0; or has no
width, where the value is a dyadic number of at most 160 bits. Operands are those at which the value is a finite number.

I1. Each formula is a chain of operations that contain the true value: of intervals, and of series with their errors.
I2. Formulas subtract nearly equal numbers only where these are exact, or with as many more bits as that may cost. So
    all but the last few of ``bits`` are right, wherever the value lies. If the interval is still too wide, it is
    computed again with more.
I3. A value that is not 0 has an interval that does not reach 0; values of 0 are among the exact ones.
I4. An interval with a width has no short value, so that a short end is not the value: 1 is an end for tanh(2**20), and
    the value below it.
"""

from __future__ import annotations

from collections.abc import Callable

from . import constants, series
from .dyadics import EXACT, ONE, Exact, fraction, sum_of_squares
from .intervals import (
    Dyadic,
    Interval,
    add,
    difference,
    divide,
    dyadic,
    fixed,
    magnitude,
    multiply,
    narrow,
    negated,
    normal,
    point,
    product,
    scaled,
    shifted,
    square_root,
    subtract,
    total,
    whole,
)

Formula = Callable[..., Interval]

_GUARD = 20  #: bits that formulas may lose
_LEAST = 32  #: no interval is asked to be wider than 2**-32, so that series have the places that they need
_ONE = whole(1)


def _enclosure(formula: Formula, exact: Exact) -> Formula:
    def enclosure(*arguments: Dyadic | int) -> Interval:
        *given, precision = arguments
        assert isinstance(precision, int)
        operands = [normal(x) if isinstance(x, Dyadic) else x for x in given]
        value = exact(*operands)
        if value is not None:
            return point(value)
        bits = max(precision, _LEAST) + _GUARD
        while not narrow(interval := formula(*operands, bits), precision):
            bits += bits // 2
        return interval

    return enclosure


# ---- kernels on intervals ------------------------------------------------------------------------


def _evaluated(kernel: Callable[[int, int], tuple[int, int]], x: Interval, places: int) -> Interval:
    """A series, whose derivative is at most 2 in size, on an interval."""
    low, high = fixed(x, places)
    value, error = kernel(low, places)
    radius = error + 2 * (high - low)
    return Interval(value - radius, value + radius, -places)


def _nearest(x: Interval, unit: Interval) -> int:
    """An integer n for which |x - n unit| is hardly more than unit / 2."""
    doubled = shifted(x.low, x.exponent - unit.exponent + 1)
    return (doubled + unit.low) // (2 * unit.low)


def _exp(x: Interval, bits: int) -> Interval:
    """e**x, relatively as wide as x is absolutely."""
    # x = n log 2 + rest; n has as many bits as x before the point, so log 2 gets as many more.
    bits_of_x = bits + max(magnitude(x), 0)
    log_2 = constants.log_2(bits_of_x)
    n = _nearest(x, log_2)
    rest = subtract(x, multiply(whole(n), log_2, bits_of_x), bits_of_x)
    low, high, exponent = _evaluated(series.expm1, rest, bits)
    return Interval(low + (1 << bits), high + (1 << bits), exponent + n)


def _expm1(x: Interval, bits: int) -> Interval:
    if magnitude(x) < 0:
        return _evaluated(series.expm1, x, bits - magnitude(x))
    return subtract(_exp(x, bits), _ONE, bits)


def _log(y: Interval, t: Interval, bits: int) -> Interval:
    """log y, where t = y - 1 is known to as many bits."""
    if magnitude(t) < -1:
        return _evaluated(series.log1p, t, bits - magnitude(t))
    # y = m 2**n with m in [3/4, 3/2). Where n is 0, |t| is at least 1/4, and elsewhere |n log 2| > 1.7 |log m|: the sum
    # loses no more than a bit or two.
    size = y.low.bit_length()
    n = size + y.exponent - (shifted(y.low, 2 - size) == 0b10)
    logarithm = _evaluated(series.log1p, subtract(scaled(y, -n), _ONE, bits), bits)
    return add(multiply(whole(n), constants.log_2(bits), bits), logarithm, bits)


def _log1p(t: Interval, bits: int) -> Interval:
    """log(1 + t) for t > 0."""
    return _log(add(_ONE, t, bits), t, bits)


def _angle(y: Interval, x: Interval, bits: int) -> Interval:
    """The angle of the point (x, y), from -pi to pi; each of the two has a sign or is 0."""
    size_y, size_x = _size(y), _size(x)
    steep = difference(Dyadic(size_y.low, size_y.exponent), Dyadic(size_x.low, size_x.exponent)).integer > 0
    ratio = divide(size_x, size_y, bits) if steep else divide(size_y, size_x, bits)
    angle = _evaluated(series.atan, ratio, bits - min(magnitude(ratio), 0))
    pi = constants.pi(bits)
    if steep:
        angle = subtract(scaled(pi, -1), angle, bits)
    if x.high < 0:
        angle = subtract(pi, angle, bits)
    return negated(angle) if y.high < 0 else angle


def _size(x: Interval) -> Interval:
    return negated(x) if x.high < 0 else x


# ---- angles --------------------------------------------------------------------------------------


def _reduced(x: Dyadic, bits: int) -> tuple[int, Interval]:
    """n and t for which x = n pi/2 + t and |t| is hardly more than pi/4."""
    angle = point(x)
    if magnitude(angle) < 0:
        return 0, angle
    # More bits until t, which is not 0, as pi is irrational, is known to most of them.
    more = bits + magnitude(angle)
    while True:
        right_angle = scaled(constants.pi(more), -1)
        n = _nearest(angle, right_angle)
        t = subtract(angle, multiply(whole(n), right_angle, more), more)
        if narrow(t, bits - _GUARD // 2):
            return n, t
        more += bits


def _reduced_turns(x: Dyadic, bits: int) -> tuple[int, Interval]:
    """The same of pi x, where x is no multiple of 1/2."""
    places = -x.exponent
    n = (2 * x.integer + (1 << places - 1)) >> places
    rest = Dyadic(2 * x.integer - (n << places), -places - 1)
    return n, multiply(point(rest), constants.pi(bits), bits)


def _wave(n: int, t: Interval, bits: int) -> Interval:
    """The sine of n pi/2 + t."""
    value = _evaluated(series.cos, t, bits) if n & 1 else _evaluated(series.sin, t, bits - magnitude(t))
    return negated(value) if n & 2 else value


def _cosine(n: int, t: Interval, bits: int) -> Interval:
    """The cosine of n pi/2 + t."""
    return _wave(n + 1, t, bits)


def _slope(n: int, t: Interval, bits: int) -> Interval:
    """The tangent of n pi/2 + t."""
    return divide(_wave(n, t, bits), _wave(n + 1, t, bits), bits)


def _leg(x: Dyadic, bits: int) -> Interval:
    """sqrt(1 - x**2)."""
    return square_root(point(product(difference(ONE, x), total(ONE, x))), bits)


def _asin(x: Dyadic, bits: int) -> Interval:
    return _angle(point(x), _leg(x, bits), bits)


def _acos(x: Dyadic, bits: int) -> Interval:
    return _angle(_leg(x, bits), point(x), bits)


def _atan(x: Dyadic, bits: int) -> Interval:
    return _angle(point(x), _ONE, bits)


def _atan2(y: Dyadic, x: Dyadic, bits: int) -> Interval:
    return _angle(point(y), point(x), bits)


def _per_pi(formula: Formula) -> Formula:
    return lambda *given: divide(formula(*given), constants.pi(given[-1]), given[-1])


# ---- exponentials and logarithms -----------------------------------------------------------------


def _times(x: Dyadic, constant: Callable[[int], Interval], bits: int) -> Interval:
    """x times a constant: right to so many bits, and to so many places."""
    bits += max(magnitude(point(x)), 0) + 2
    return multiply(point(x), constant(bits), bits)


def _log_at(x: Dyadic, bits: int) -> Interval:
    return _log(point(x), point(difference(x, ONE)), bits)


def _log1p_at(x: Dyadic, bits: int) -> Interval:
    return _log(point(total(x, ONE)), point(x), bits)


def _power(x: Dyadic, a: int, b: int, bits: int) -> Interval:
    """x**(a/b)."""
    size = Dyadic(abs(x.integer), x.exponent)
    # |log2 x| <= |magnitude| + 1, and |a/b| < 2**(their bits' difference + 1): e**y with a y of so many bits before the
    # point needs as many more.
    more = bits + abs(magnitude(point(size))).bit_length() + max(0, abs(a).bit_length() - b.bit_length() + 1) + 1
    exponent = divide(multiply(_log_at(size, more), whole(a), more), whole(b), more)
    value = _exp(exponent, bits)
    return negated(value) if x.integer < 0 and a & 1 else value


# ---- hyperbolic functions ------------------------------------------------------------------------


def _odd(formula: Formula) -> Formula:
    """An odd function, from its formula for x > 0."""

    def at(x: Dyadic, bits: int) -> Interval:
        value = formula(Dyadic(abs(x.integer), x.exponent), bits)
        return negated(value) if x.integer < 0 else value

    return at


def _sinh(x: Dyadic, bits: int) -> Interval:
    e = _expm1(point(x), bits)
    return scaled(add(e, divide(e, add(e, _ONE, bits), bits), bits), -1)


def _cosh(x: Dyadic, bits: int) -> Interval:
    e = _exp(point(x), bits)
    return scaled(add(e, divide(_ONE, e, bits), bits), -1)


def _tanh(x: Dyadic, bits: int) -> Interval:
    e = _expm1(scaled(point(Dyadic(-x.integer, x.exponent)), 1), bits)  # e**-2x - 1
    return divide(negated(e), add(e, whole(2), bits), bits)


def _asinh(x: Dyadic, bits: int) -> Interval:
    square = point(product(x, x))
    root = square_root(add(square, _ONE, bits), bits)
    return _log1p(add(point(x), divide(square, add(root, _ONE, bits), bits), bits), bits)


def _acosh(x: Dyadic, bits: int) -> Interval:
    above = difference(x, ONE)
    root = square_root(point(product(above, total(x, ONE))), bits)
    return _log1p(add(point(above), root, bits), bits)


def _atanh(x: Dyadic, bits: int) -> Interval:
    doubled = scaled(point(x), 1)
    return scaled(_log1p(divide(doubled, point(difference(ONE, x)), bits), bits), -1)


# ---- activations ---------------------------------------------------------------------------------


def _logistic(x: Interval, bits: int) -> Interval:
    """1 / (1 + e**-x)."""
    return divide(_ONE, add(_ONE, _exp(negated(x), bits), bits), bits)


def _silu(x: Dyadic, bits: int) -> Interval:
    return multiply(point(x), _logistic(point(x), bits), bits)


def _gelu_tanh(x: Dyadic, bits: int) -> Interval:
    # 0.5 x (1 + tanh u) = x / (1 + e**-2u) with 2u = sqrt(8 / pi) x (1 + 0.044715 x**2).
    cubic = product(x, total(dyadic(1_000_000), product(dyadic(44_715), product(x, x))))
    more = bits + max(magnitude(point(cubic)) - 18, 0)
    factor = square_root(divide(whole(8), constants.pi(more), more), more)
    doubled = divide(multiply(point(cubic), factor, more), whole(1_000_000), more)
    return multiply(point(x), _logistic(doubled, bits), bits)


def _gelu(x: Dyadic, bits: int) -> Interval:
    # x times the normal distribution's share below x.
    tail = _normal_tail(Dyadic(abs(x.integer), x.exponent), bits)
    share = tail if x.integer < 0 else subtract(_ONE, tail, bits)
    return multiply(point(x), share, bits)


def _normal_tail(x: Dyadic, bits: int) -> Interval:
    """The normal distribution's share above x > 0."""
    square = product(x, x)
    floor = shifted(*square)
    # N1. Far out, x**2 >= 2 bits, it is the density / x times an integral, by an asymptotic series in 1 / x**2.
    if floor >= 2 * bits:
        integral = _evaluated(series.mills, divide(_ONE, point(square), bits), bits)
        return divide(multiply(_normal_density(square, bits), integral, bits), point(x), bits)
    # N2. Elsewhere it is 1/2 less the share from 0 to x. It is more than e**(-x**2 / 2) / (4 (x + 1)), so that the
    #     difference costs less than 0.73 x**2 + log2(4 x + 4) bits.
    more = bits + 3 * floor // 4 + 8
    body = multiply(_normal_density(square, more), _evaluated(series.half_normal, point(square), more), more)
    return subtract(scaled(_ONE, -1), multiply(point(x), body, more), more)


def _normal_density(square: Dyadic, bits: int) -> Interval:
    """e**(-x**2 / 2) / sqrt(2 pi)."""
    exponential = _exp(scaled(negated(point(square)), -1), bits)
    return divide(exponential, square_root(scaled(constants.pi(bits), 1), bits), bits)


# ---- the table -----------------------------------------------------------------------------------

_FORMULAS: dict[str, Formula] = {
    "sqrt": lambda x, bits: square_root(point(x), bits),
    "rsqrt": lambda x, bits: divide(_ONE, square_root(point(x), bits), bits),
    "reciprocal": lambda x, bits: divide(_ONE, point(x), bits),
    "exp": lambda x, bits: _exp(point(x), bits),
    "expm1": lambda x, bits: _expm1(point(x), bits),
    "exp2": lambda x, bits: _exp(_times(x, constants.log_2, bits), bits),
    "exp2m1": lambda x, bits: _expm1(_times(x, constants.log_2, bits), bits),
    "exp10": lambda x, bits: _exp(_times(x, constants.log_10, bits), bits),
    "exp10m1": lambda x, bits: _expm1(_times(x, constants.log_10, bits), bits),
    "log": _log_at,
    "log1p": _log1p_at,
    "log2": lambda x, bits: divide(_log_at(x, bits), constants.log_2(bits), bits),
    "log2p1": lambda x, bits: divide(_log1p_at(x, bits), constants.log_2(bits), bits),
    "log10": lambda x, bits: divide(_log_at(x, bits), constants.log_10(bits), bits),
    "log10p1": lambda x, bits: divide(_log1p_at(x, bits), constants.log_10(bits), bits),
    "sin": lambda x, bits: _wave(*_reduced(x, bits), bits),
    "cos": lambda x, bits: _cosine(*_reduced(x, bits), bits),
    "tan": lambda x, bits: _slope(*_reduced(x, bits), bits),
    "sinpi": lambda x, bits: _wave(*_reduced_turns(x, bits), bits),
    "cospi": lambda x, bits: _cosine(*_reduced_turns(x, bits), bits),
    "tanpi": lambda x, bits: _slope(*_reduced_turns(x, bits), bits),
    "asin": _asin,
    "asinpi": _per_pi(_asin),
    "acos": _acos,
    "acospi": _per_pi(_acos),
    "atan": _atan,
    "atanpi": _per_pi(_atan),
    "atan2": _atan2,
    "atan2pi": _per_pi(_atan2),
    "sinh": _odd(_sinh),
    "cosh": _cosh,
    "tanh": _odd(_tanh),
    "asinh": _odd(_asinh),
    "acosh": _acosh,
    "atanh": _odd(_atanh),
    "hypot": lambda x, y, bits: square_root(point(sum_of_squares(x, y)), bits),
    "pow": lambda x, y, bits: _power(x, *fraction(y), bits),
    "compoundn": lambda x, k, bits: _power(total(x, ONE), k, 1, bits),
    "rootn": lambda x, k, bits: _power(x, 1 if k > 0 else -1, abs(k), bits),
    "sigmoid": lambda x, bits: _logistic(point(x), bits),
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "softmax_exp": lambda x, m, bits: _exp(point(difference(x, m)), bits),
}

ENCLOSURES: dict[str, Formula] = {name: _enclosure(formula, EXACT[name]) for name, formula in _FORMULAS.items()}
