"""Where functions' values are short dyadic numbers, intervals are points: ties are decided exactly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

from function_operands import DOMAINS, DOMAINS_OF_TWO, ONE, ZERO, size
from mpfr_bounds import check, fraction

from refnum.reals.enclosures import ENCLOSURES
from refnum.reals.intervals import Dyadic, Interval

Case = tuple[str, tuple[Dyadic | int, ...], Fraction]  #: a function, operands, the value


def odd(rng: random.Random, bits: int) -> int:
    return rng.getrandbits(bits) | 1 | 1 << (bits - 1)


def exact_cases() -> Iterator[Case]:
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


def exact_exponentials() -> Iterator[Case]:
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


def exact_turns() -> Iterator[Case]:
    sines = [Fraction(s) for s in (0, 1, 0, -1)]
    for n in (*range(-9, 10), 2**60 + 1, 2**60 + 2, -(2**60) - 3):
        yield "sinpi", (Dyadic(n, -1),), sines[n % 4]
        yield "cospi", (Dyadic(n, -1),), sines[(n + 1) % 4]
        if n % 4 != 2:
            yield "tanpi", (Dyadic(n, -2),), Fraction((0, 1, 0, -1)[n % 4])
    for name, value in (("sinpi", 0), ("cospi", 1), ("tanpi", 0)):
        yield name, (Dyadic(3, 1100),), Fraction(value)


def exact_angles() -> Iterator[Case]:
    for unit in (Dyadic(1, 0), Dyadic(3, -1000), Dyadic(2**59 + 5, 900)):
        other = Dyadic(7, unit.exponent - 3)
        minus, zero = Dyadic(-unit.integer, unit.exponent), Dyadic(0, 5)
        threefold, fourfold = Dyadic(3 * unit.integer, unit.exponent), Dyadic(-unit.integer, unit.exponent + 2)
        yield "atan2", (zero, unit), Fraction(0)
        for y, x, quarters in [(zero, unit, 0), (zero, minus, 4), (unit, zero, 2), (minus, zero, -2)]:
            yield "atan2pi", (y, x), Fraction(quarters, 4)
        for y, x, quarters in [(unit, unit, 1), (unit, minus, 3), (minus, unit, -1), (minus, minus, -3)]:
            yield "atan2pi", (y, x), Fraction(quarters, 4)
        yield "softmax_exp", (unit, Dyadic(unit.integer << 3, unit.exponent - 3)), Fraction(1)
        yield "hypot", (minus, zero), abs(fraction(minus))
        yield "hypot", (zero, other), fraction(other)
        yield "hypot", (threefold, fourfold), 5 * fraction(unit)


def exact_powers() -> Iterator[Case]:
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
