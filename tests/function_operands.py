"""Operands on which functions' intervals are checked: short, beside short ones and multiples of pi, of all sizes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache

from mpfr_bounds import NAMES, exactly, fraction, gmpy2

from refnum.reals.intervals import Dyadic

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
        return (least < value and (most is None or value < most)) or (closed and value in (least, most))

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
