"""What the waist promises of formats that are no floating-point ones: each code is its number, and is rounded to.

Operands have one limb, two or three, and lie around the values of the format, half-way between them, and far beyond.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from math import isqrt
from typing import Any

from .mutant_waist import COUNT, LIMB, ZERO, Core, Promise, Value, Values, as_exact, as_tensor, seen_as, seen_of
from .oracles import codebooks, lab
from .oracles.codebooks import Table
from .oracles.lab import Dmf, Fixed, Log
from .oracles.minifloat import RULES, Special
from .oracles.reals import Dyadic

Scalar = Fixed | Dmf | Log

FIXED = (
    *(Fixed(8, 6, symmetric=True), Fixed(8, 6), Fixed(2, 0), Fixed(4, 2, symmetric=True), Fixed(6, 9, symmetric=True)),
    *(
        Fixed(32, -5),
        Fixed(32, 40, symmetric=True),
        Fixed(31, 0),
        Fixed(5, 2, signed=False),
        Fixed(32, 0, signed=False),
    ),
    *(Fixed(8, 4, overflow="wrap"), Fixed(32, 3, overflow="wrap"), Fixed(7, -1, signed=False, overflow="wrap")),
)
DMFS = (Dmf(4, 3, 7), Dmf(1, 1, 0), Dmf(2, 1, 1), Dmf(3, 4, 4), Dmf(1, 14, -3), Dmf(8, 7, 127), Dmf(5, 2, 40))
LOGS = tuple(
    Log(width, bias, zero_code)
    for width, bias in ((2, 0), (4, 3), (5, 0), (8, 63), (9, 300), (16, 16383))
    for zero_code in (True, False)
)
FORMATS: tuple[Scalar, ...] = (*FIXED, *DMFS, *LOGS)
RECORDS = {Fixed: "FixedPoint", Dmf: "DMF", Log: "Logarithmic"}

#: in quarters: without 0, with 0, with gaps of all lengths, permuted codes, and special ones
TABLES = (
    ((-4, 0, 4), (0, 1, 2), {}),
    ((-5, -1, 3), (2, 0, 1), {"nan": 3}),
    ((1, 2, 3, 1 << 40), (3, 1, 2, 0), {}),
    ((-(1 << 50), -7, 0, 1, 2, 6, 1 << 30), (8, 6, 0, 1, 3, 5, 9), {"nan": 7, "inf": 2, "-inf": 4}),
    ((3,), (1,), {}),
)


def promises() -> Iterator[Promise]:
    """All of them."""
    for some in (_numbers, _tables):
        yield from some(random.Random(some.__name__))


# By formulas ---------------------------------------------------------------------------------------------------------


def _numbers(rng: random.Random) -> Iterator[Promise]:
    for fmt in FORMATS:
        codes = [0, 1, (1 << fmt.width) - 1, 1 << (fmt.width - 1), (1 << (fmt.width - 1)) - 1]
        codes += [rng.getrandbits(fmt.width) for _ in range(COUNT)]
        wide = [code + (rng.randrange(-9, 9) << fmt.width) for code in codes]  # only the low bits are read
        numbers = [fmt.decode(code) for code in codes]
        yield Promise(f"decode {fmt}", _decoded, (wide, fmt), [_as_seen(x) for x in numbers])
        again = [_low(fmt.encode(x), fmt) for x in numbers]
        yield Promise(f"recode {fmt}", _recoded, (wide, fmt), again)
        for rounding, limbs in itertools.product(RULES, (1, 2, 3)):
            values = [ZERO, *(_near(rng, fmt, rng.choice(codes), LIMB * limbs) for _ in range(60))]
            bits = [rng.choice([0, 0xFFFF, 0x7FFF, 0x8000, rng.getrandbits(40), *_last_up(v, fmt)]) for v in values]
            sides = zip(values, bits, strict=True)
            want = [_low(fmt.encode((v.negative, _size(v)), rounding, r), fmt) for v, r in sides]
            name = f"encode {limbs} limbs in {fmt}, {rounding}"
            yield Promise(name, _encoded, (values, limbs, fmt, rounding, bits), want)
        for kind, special in (("NAN", Special.NAN), ("INFINITE", Special.INF)):
            ends = [_low(fmt.encode((negative, special)), fmt) for negative in (False, True)]
            yield Promise(f"encode {kind} in {fmt}", _encoded_kind, (kind, fmt), ends)


def _near(rng: random.Random, fmt: Scalar, code: int, bits: int) -> Value:
    """A code's value or nearly so, half a unit more or less; or something far too large or too small."""
    negative, a = rng.random() < 0.5, fmt.decode(code)[1]
    assert isinstance(a, Dyadic)
    if rng.random() < 0.2:
        far = rng.choice([-300, -70, 61, 62, 63, 64, 100, 122, 123, 124, 125, 190, 2000])
        return Value(negative, 1 << (bits - 1) | rng.getrandbits(bits), far)
    if isinstance(fmt, Log) and bits <= 2 * LIMB and rng.random() < 0.5:  # the core has the roots in two limbs
        return Value(negative, _root_of_two(rng, bits) + rng.choice([-1, 0, 1, 2, 3]), a.e)
    half = max(1, 4 * a.m + rng.choice([-2, -1, 0, 0, 1, 2]))
    spare = bits - half.bit_length()
    tail = rng.choice([0, 1, (1 << spare) - 1, rng.getrandbits(spare)]) if spare > 0 else 0
    return Value(negative, half << max(spare, 0) | tail, half.bit_length() - 3 + a.e)


@cache
def _roots_of_two() -> list[int]:
    """2**(1 / 2), 2**(1 / 4), ... 2**(2**-16) in 400 bits, rounded down."""
    roots = [2 << 400]
    for _ in range(16):
        roots.append(isqrt(roots[-1] << 400))
    return roots[1:]


def _root_of_two(rng: random.Random, bits: int) -> int:
    """2**(j / 2**16) in so many bits, rounded down, for any j, or for half of all."""
    power = 1 << 400  # times a root at least, so that a little less lies in the same binade
    for root in _roots_of_two()[: rng.choice([1, 16])]:
        if root == _roots_of_two()[0] or rng.random() < 0.5:
            power = power * root >> 400
    return power >> (401 - bits)


def _last_up(x: Value, fmt: Scalar) -> tuple[int, ...]:
    """The random bits about which a logarithm goes up."""
    if not isinstance(fmt, Log) or not x.significand:
        return ()
    found = lab.log_fraction(_size(x)) >> 1
    return max(found - 1, 0), found, min(found + 1, 0xFFFF)


def _size(x: Value) -> Dyadic:
    return Dyadic(x.significand, x.unit)


def _low(code: int, fmt: Scalar) -> int:
    return code & ((1 << fmt.width) - 1)


def _as_seen(x: lab.Number) -> Any:
    negative, a = x
    assert isinstance(a, Dyadic)
    return seen_as(-a.m if negative else a.m, a.e, LIMB)


def _record(core: Core, fmt: Scalar) -> Any:
    """The format as a record of the refnum that the core belongs to."""
    return getattr(core["decode"], RECORDS[type(fmt)])(**fmt._asdict())


def _decoded(core: Core, codes: Sequence[int], fmt: Scalar) -> Any:
    return seen_of(core["decode"].decode(as_tensor(codes), _record(core, fmt)), LIMB)


def _recoded(core: Core, codes: Sequence[int], fmt: Scalar) -> Any:
    record = _record(core, fmt)
    found = core["round"].encode(core["decode"].decode(as_tensor(codes), record), record)
    return [_low(code, fmt) for code in found.tolist()]


def _encoded(core: Core, values: Values, limbs: int, fmt: Scalar, rounding: str, bits: list[int]) -> Any:
    x = as_exact(core, values, LIMB * limbs)
    found = core["round"].encode(x, _record(core, fmt), rounding, as_tensor(bits))
    return [_low(code, fmt) for code in found.tolist()]


def _encoded_kind(core: Core, kind: str, fmt: Scalar) -> Any:
    ones = as_exact(core, [Value(False, 1, 0), Value(True, 1, 0)])
    ones = ones._replace(kind=ones.kind | getattr(core["decode"], kind))
    return [_low(code, fmt) for code in core["round"].encode(ones, _record(core, fmt)).tolist()]


# By tables -----------------------------------------------------------------------------------------------------------


def _tables(rng: random.Random) -> Iterator[Promise]:
    for quarters, codes, specials in TABLES:
        steps = (quarters[0] - 3, *quarters, quarters[-1] + 5)
        values = tuple(Fraction(q, 4) for q in steps)
        for overflow in ("saturate", "inf", "nan"):
            if overflow != "saturate" and overflow not in specials:
                continue
            table = Table(values[1:-1], codes, (values[0], values[-1]), specials, overflow)
            for rounding, limbs in itertools.product(RULES, (1, 2, 3)):
                operands = [ZERO, *(_between(rng, steps, LIMB * limbs) for _ in range(60))]
                bits = [rng.choice([0, 0xFFFF, 0x7FFF, 0x8000, rng.getrandbits(40)]) for _ in operands]
                sides = zip(operands, bits, strict=True)
                want = [codebooks.encode(_fraction(v), table, rounding, r) for v, r in sides]
                name = f"encode {limbs} limbs in {quarters}, {overflow}, {rounding}"
                yield Promise(name, _tabled, (operands, limbs, table, rounding, bits), want)
            for kind, words in (("NAN", ("nan", "nan")), ("INFINITE", ("inf", "-inf"))):
                want = [codebooks.encode(word, table) for word in words]
                yield Promise(f"encode {kind} in {quarters}, {overflow}", _tabled_kind, (kind, table), want)


def _between(rng: random.Random, steps: Sequence[int], bits: int) -> Value:
    """A number in sixteenths of the way between two values, or nearly so; or far away."""
    if rng.random() < 0.1:
        return Value(
            rng.random() < 0.5, 1 << (bits - 1) | rng.getrandbits(bits), rng.choice([-300, 45, 70, 1100, 2000])
        )
    at = rng.randrange(len(steps) - 1)
    units = 16 * steps[at] + rng.randrange(17) * (steps[at + 1] - steps[at])
    if not units:
        return ZERO
    m = abs(units)
    spare = bits - m.bit_length()
    tail = rng.choice([0, 0, 1, (1 << spare) - 1]) if spare > 0 else 0
    m = m - 1 if tail == (1 << max(spare, 0)) - 1 and m > 1 and rng.random() < 0.5 else m
    return Value(units < 0, m << max(spare, 0) | tail, m.bit_length() - 1 - 6)


def _fraction(x: Value) -> Fraction:
    return x.dyadic.fraction() if x.significand else Fraction(0)


def _codebook(core: Core, table: Table) -> Any:
    values, beyond = (tuple(map(float, numbers)) for numbers in (table.values, table.beyond))
    return core["decode"].Codebook(values, table.codes, dict(table.specials), table.overflow, beyond)


def _tabled(core: Core, values: Values, limbs: int, table: Table, rounding: str, bits: list[int]) -> Any:
    x = as_exact(core, values, LIMB * limbs)
    return core["round"].encode(x, _codebook(core, table), rounding, as_tensor(bits)).tolist()


def _tabled_kind(core: Core, kind: str, table: Table) -> Any:
    ones = as_exact(core, [Value(False, 1, 0), Value(True, 1, 0)])
    ones = ones._replace(kind=ones.kind | getattr(core["decode"], kind))
    return core["round"].encode(ones, _codebook(core, table)).tolist()
