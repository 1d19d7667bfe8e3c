"""Where functions are dyadic numbers, integer * 2**exponent: the only numbers on which roundings change are such.

``EXACT[name]`` gives the value at normal dyadic operands, if it is a dyadic number of at most 160 bits, and else None
(or a longer one). Theorems say that there are no others:

T1. Lindemann and Weierstrass: e**x is transcendental at each algebraic x but 0. So are exp, expm1, sin, cos, tan, sinh,
    cosh, tanh, sigmoid, silu there: were a value algebraic, so were e**x or e**ix. And so are log, log1p, asin, acos,
    atan, asinh, acosh and atanh, where their value is not 0: it would be an algebraic x of the former.
T2. Unique factorisation. 2**(a/b) = p/q means 2**a q**b = p**b: b divides a; the same with 10. log2(x) = a/b means
    x**b = 2**a: x is a power of 2. log10(x) = a/b means x**b = 10**a: a dyadic x is a power of 10, and at least 1.
    x**(a/b) = r, in lowest terms, means x**a = r**b: b divides the exponent of each prime in x. If a < 0, dyadic x and
    r have no odd prime.
T3. I. Niven: the sine and cosine of a rational multiple of pi are rational only where they are 0, 1/2 or 1 in size, the
    tangent only where it is 0 or 1. Those of 1/2 are at multiples of 1/3 and 1/6, which are not dyadic.
T4. gelu and gelu_tanh are not known to be irrational except at 0. No value has been seen that is dyadic; around one,
    intervals would get narrower without end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isqrt

from .intervals import Dyadic, difference, dyadic, normal, product, total

BITS = 160  #: values of so many bits are found
ZERO, ONE = Dyadic(0, 0), Dyadic(1, 0)
_HALF, _QUARTER = Dyadic(1, -1), Dyadic(1, -2)

Exact = Callable[..., Dyadic | None]


def _negative(x: Dyadic) -> Dyadic:
    return Dyadic(-x.integer, x.exponent)


# ---- at a few points -----------------------------------------------------------------------------

_FIXED_ZERO = "expm1 log1p sin tan asin atan sinh tanh asinh atanh silu gelu gelu_tanh".split()
_POINTS: dict[str, dict[Dyadic, Dyadic]] = {
    **{name: {ZERO: ZERO} for name in _FIXED_ZERO},
    **{name: {ZERO: ONE} for name in ("exp", "cos", "cosh")},
    **{name: {ONE: ZERO} for name in ("log", "acos", "acosh")},
    "sigmoid": {ZERO: _HALF},
    "asinpi": {ZERO: ZERO, ONE: _HALF, _negative(ONE): _negative(_HALF)},
    "acospi": {ONE: ZERO, ZERO: _HALF, _negative(ONE): ONE},
    "atanpi": {ZERO: ZERO, ONE: _QUARTER, _negative(ONE): _negative(_QUARTER)},
}

#: At x = n / 4 by n modulo 8.
_TURNS: dict[str, Mapping[int, int]] = {
    "sinpi": {0: 0, 2: 1, 4: 0, 6: -1},
    "cospi": {0: 1, 2: 0, 4: -1, 6: 0},
    "tanpi": {0: 0, 1: 1, 3: -1, 4: 0, 5: 1, 7: -1},
}


def _at_turns(values: Mapping[int, int]) -> Exact:
    def exact(x: Dyadic) -> Dyadic | None:
        if x.exponent < -2:
            return None
        value = values.get((x.integer << min(x.exponent + 2, 3)) & 7)
        return None if value is None else dyadic(value)

    return exact


# ---- exponentials and logarithms -----------------------------------------------------------------


def _exp2(x: Dyadic) -> Dyadic | None:
    return Dyadic(1, x.integer << x.exponent) if x.exponent >= 0 else None


def _exp10(x: Dyadic) -> Dyadic | None:
    if x.exponent < 0 or x.integer < 0 or x.integer << x.exponent > BITS // 2:
        return None  # 5**n has more than 2n bits
    n = x.integer << x.exponent
    return Dyadic(5**n, n)


def _log2(x: Dyadic) -> Dyadic | None:
    return dyadic(x.exponent) if x.integer == 1 else None


def _log10(x: Dyadic) -> Dyadic | None:
    n = x.exponent
    return dyadic(n) if 0 <= n <= x.integer.bit_length() and x.integer == 5**n else None


def _minus_1(function: Exact) -> Exact:
    def exact(x: Dyadic) -> Dyadic | None:
        value = function(x)
        return None if value is None or abs(value.exponent) > BITS else difference(value, ONE)

    return exact


def _of_plus_1(function: Exact) -> Exact:
    return lambda x: function(normal(total(x, ONE)))


# ---- powers --------------------------------------------------------------------------------------


def power(x: Dyadic, a: int, b: int) -> Dyadic | None:
    """x**(a/b), for coprime a and b > 0; if x < 0, b is odd."""
    if a == 0:
        return ONE
    root = _whole_root(abs(x.integer), b)
    # The power a of an odd root of n bits has more than (n - 1) a bits.
    if root is None or x.exponent % b or (root > 1 and not 0 < (root.bit_length() - 1) * a < BITS):
        return None
    size = root**a if root > 1 else root
    return Dyadic(-size if x.integer < 0 and a & 1 else size, x.exponent // b * a)


def _whole_root(n: int, k: int) -> int | None:
    """The root of an odd n, or of 0, if it is an integer of at most 160 bits."""
    if n <= 1:
        return n
    bits = n.bit_length()
    if k >= bits or bits > k * BITS:
        return None
    if k == 1:
        return n
    if k == 2:
        root = isqrt(n)
    else:
        # Newton's iteration from above falls until it stands at the floor of the root.
        root = 1 << -(-bits // k)
        while (lower := ((k - 1) * root + n // root ** (k - 1)) // k) < root:
            root = lower
    return root if root**k == n else None


def fraction(y: Dyadic) -> tuple[int, int]:
    """A normal y as a quotient in lowest terms."""
    return (y.integer << y.exponent, 1) if y.exponent >= 0 else (y.integer, 1 << -y.exponent)


def sum_of_squares(x: Dyadic, y: Dyadic) -> Dyadic:
    """x**2 + y**2."""
    return normal(total(product(x, x), product(y, y)))


# ---- angles --------------------------------------------------------------------------------------


def _atan2(y: Dyadic, x: Dyadic) -> Dyadic | None:
    return ZERO if y == ZERO and x.integer > 0 else None


def _atan2pi(y: Dyadic, x: Dyadic) -> Dyadic | None:
    if y == ZERO:
        return ZERO if x.integer > 0 else ONE
    if x == ZERO:
        quarters = 2
    elif x in (y, _negative(y)):
        quarters = 1 if x.integer > 0 else 3
    else:
        return None
    return normal(Dyadic(quarters if y.integer > 0 else -quarters, -2))


#: What a value is, exactly, at normal operands (and an integer) at which it is a finite number.
EXACT: dict[str, Exact] = {
    **{name: points.get for name, points in _POINTS.items()},
    **{name: _at_turns(values) for name, values in _TURNS.items()},
    "exp2": _exp2,
    "exp2m1": _minus_1(_exp2),
    "exp10": _exp10,
    "exp10m1": _minus_1(_exp10),
    "log2": _log2,
    "log2p1": _of_plus_1(_log2),
    "log10": _log10,
    "log10p1": _of_plus_1(_log10),
    "sqrt": lambda x: power(x, 1, 2),
    "rsqrt": lambda x: power(x, -1, 2),
    "reciprocal": lambda x: power(x, -1, 1),
    "hypot": lambda x, y: power(sum_of_squares(x, y), 1, 2),
    "pow": lambda x, y: power(x, *fraction(y)),
    "compoundn": lambda x, k: power(normal(total(x, ONE)), k, 1),
    "rootn": lambda x, k: power(x, 1 if k > 0 else -1, abs(k)),
    "atan2": _atan2,
    "atan2pi": _atan2pi,
    "softmax_exp": lambda x, m: ONE if x == m else None,
}
