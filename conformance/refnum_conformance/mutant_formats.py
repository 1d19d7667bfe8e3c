"""What the waist promises of formats that are no floating-point ones: each code is its number, and is rounded to.

Operands have one limb or more, and lie around the values of the format, half-way between them, and far beyond.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from math import gcd, isqrt
from typing import Any, NamedTuple

from .mutant_waist import COUNT, LIMB, ZERO, Core, Promise, Value, Values, as_exact, as_tensor, seen_as, seen_of
from .oracles import codebooks, lab, minifloat
from .oracles.codebooks import Table
from .oracles.lab import Dmf, Fixed, Log
from .oracles.minifloat import RULES, Row, Special
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
RECORDS = {Fixed: "FixedPoint", Dmf: "DMF", Log: "Logarithmic", Row: "Minifloat"}

#: zeros of both signs, with exponents that say nothing
ZEROS = [ZERO, Value(True, 0, -1000), *(Value(False, 0, exponent) for exponent in (0, 500, 2000))]


class Book(NamedTuple):
    """A table: its values between the steps beyond the ends, in units of 2**unit."""

    steps: tuple[int, ...]
    codes: tuple[int, ...]
    specials: Mapping[str, int]
    unit: int
    overflows: tuple[tuple[str, str], ...]  #: below and above


SATURATE, INF, NAN = (((word, word),) for word in ("saturate", "inf", "nan"))
EVERY = (*SATURATE, *INF, *NAN, ("propagate", "nan"), ("nan", "propagate"), ("inf", "saturate"))
SPECIALS = {"nan": 7, "inf": 2, "-inf": 4}
LONG = (1 << 53) - 1  #: as many bits as a float64 has
LARGEST = LONG << 971  #: what lies beyond may be Inf, which counts 2**1024
#: without 0, with 0, with gaps of all lengths, permuted codes, and special ones
BOOKS = (
    Book((-7, -4, 0, 4, 9), (0, 1, 2), {}, -2, SATURATE),
    Book((-8, -5, -1, 3, 8), (2, 0, 1), {"nan": 3}, -2, NAN),
    Book((-2, 1, 2, 3, 1 << 40, (1 << 40) + 5), (3, 1, 2, 0), {"inf": 4}, -2, (*SATURATE, *INF)),
    Book((-(1 << 50) - 3, -(1 << 50), -7, 0, 1, 2, 6, 1 << 30, 1 << 31), (8, 6, 0, 1, 3, 5, 9), SPECIALS, -2, EVERY),
    Book((0, 3, 8), (1,), {}, -2, SATURATE),
    # float64s next to each other, and the least of them
    Book((-LONG, 1 - LONG, LONG - 1, LONG, LONG + 1), (3, 0, 1), SPECIALS, -3, INF),
    Book((-2, 0, 1, 3, 4), (3, 0, 1), {}, -1074, SATURATE),
    # Two neighbours fill their limbs but for 17 bits, so that 16 bits behind them need one more limb: the upper one
    # does, the lower one, their difference.
    Book((1 << 43, (1 << 43) + 1, (1 << 44) + (1 << 40), (1 << 44) + (1 << 41)), (3, 0), SPECIALS, -7, INF),
    Book((-(1 << 44) - (1 << 41), -(1 << 44) - (1 << 40), -(1 << 43) - 1, -(1 << 43)), (0, 3), SPECIALS, 7, INF),
    Book((-(1 << 43) - 2, -(1 << 43) - 1, (1 << 43) + (1 << 40), (1 << 43) + (1 << 41)), (0, 3), SPECIALS, -9, INF),
    # These two fill a limb to the last bit.
    Book((1 << 42, (1 << 42) + 1, (1 << 43) + (1 << 39), (1 << 43) + (1 << 40)), (3, 0), SPECIALS, -7, INF),
    # Limbs but for 17 bits again: a value and what lies beyond it, at either end; two values.
    Book((-2, -1, 1, LONG << 54), (3, 0), SPECIALS, -1074, INF),
    Book((-LONG << 54, -1, 2, 4), (0, 3), SPECIALS, 100, INF),
    Book((-4, -3, LONG << 54, LONG << 55), (0, 3), SPECIALS, -30, INF),
    # 2**1024 and 2**-12.
    Book((-1 << 1036, -LARGEST << 12, 1, 1 << 1036), (0, 3), {"inf": 2, "-inf": 4}, -12, INF),
    Book((-1 << 1036, -1, LARGEST << 12, 1 << 1036), (0, 3), {"nan": 2}, -12, NAN),
)


def promises() -> Iterator[Promise]:
    """All of them."""
    for some in (numbers, floats, exponents, tables):
        yield from some(random.Random(some.__name__))


# By formulas ---------------------------------------------------------------------------------------------------------


def numbers(rng: random.Random) -> Iterator[Promise]:
    """Of fixed point, minifloats without a hidden bit and logarithms."""
    for fmt in FORMATS:
        codes = [0, 1, (1 << fmt.width) - 1, 1 << (fmt.width - 1), (1 << (fmt.width - 1)) - 1]
        codes += [rng.getrandbits(fmt.width) for _ in range(COUNT)]
        wide = [code + (rng.randrange(-9, 9) << fmt.width) for code in codes]  # only the low bits are read
        meant = [fmt.decode(code) for code in codes]
        yield Promise(f"decode {fmt}", _decoded, (wide, fmt), ([_as_seen(x) for x in meant], True))
        yield Promise(f"recode {fmt}", _recoded, (wide, fmt), [fmt.encode(x) for x in meant])
        for rounding, limbs in itertools.product(RULES, (1, 2, 3)):
            values = [*ZEROS, *(_near(rng, fmt, rng.choice(codes), LIMB * limbs) for _ in range(60))]
            bits = [rng.choice([0, 0xFFFF, 0x7FFF, 0x8000, rng.getrandbits(40), *_last_up(v, fmt)]) for v in values]
            sides = zip(values, bits, strict=True)
            want = [fmt.encode((v.negative, _size(v)), rounding, r) for v, r in sides]
            name = f"encode {limbs} limbs in {fmt}, {rounding}"
            yield Promise(name, _encoded, (values, limbs, fmt, rounding, bits), want)
        for kind, special in (("NAN", Special.NAN), ("INFINITE", Special.INF)):
            ends = [fmt.encode((negative, special)) for negative in (False, True)]
            yield Promise(f"encode {kind} in {fmt}", _encoded_kind, (kind, fmt), ends)


def _near(rng: random.Random, fmt: Scalar, code: int, bits: int) -> Value:
    """A code's value or nearly so, half a unit more or less; or something far too large or too small."""
    negative, a = rng.random() < 0.5, fmt.decode(code)[1]
    assert isinstance(a, Dyadic)
    wraps = isinstance(fmt, Fixed) and fmt.overflow == "wrap"  # then low bits of large numbers are read
    if rng.random() < (0.6 if wraps else 0.2):
        far = rng.choice([-300, -70, 2000, rng.randrange(LIMB - 4, LIMB * (2 + wraps)), rng.randrange(40, bits + 40)])
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
    """2**(j / 2**16) in so many bits, rounded down, for j of one bit, of all bits, or any."""
    j = rng.choice([1 << 15, 1, 0xFFFF, 1 + rng.randrange(0xFFFF)])
    power = 1 << 400
    for place, root in enumerate(_roots_of_two()):
        if j >> (15 - place) & 1:
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


def _as_seen(x: lab.Number) -> Any:
    negative, a = x
    assert isinstance(a, Dyadic)
    return seen_as(-a.m if negative else a.m, a.e, LIMB)


def _record(core: Core, fmt: Scalar | Row) -> Any:
    """The format as a record of the refnum that the core belongs to."""
    return getattr(core["decode"], RECORDS[type(fmt)])(**fmt._asdict())


def _decoded(core: Core, codes: Sequence[int], fmt: Scalar) -> Any:
    """What is seen of the numbers, and whether zeros lie far below all others."""
    x = core["decode"].decode(as_tensor(codes), _record(core, fmt))
    zeros = x.exponent[x.significand[0] == 0]
    return seen_of(x, LIMB), bool((zeros < fmt.span[0] - 700).all())


def _recoded(core: Core, codes: Sequence[int], fmt: Scalar) -> Any:
    record = _record(core, fmt)
    return core["round"].encode(core["decode"].decode(as_tensor(codes), record), record).tolist()


def _encoded(core: Core, values: Values, limbs: int, fmt: Scalar, rounding: str, bits: list[int]) -> Any:
    x = as_exact(core, values, LIMB * limbs)
    return core["round"].encode(x, _record(core, fmt), rounding, as_tensor(bits)).tolist()


def _encoded_kind(core: Core, kind: str, fmt: Scalar) -> Any:
    ones = as_exact(core, [Value(False, 1, 0), Value(True, 1, 0)])
    ones = ones._replace(kind=ones.kind | getattr(core["decode"], kind))
    return core["round"].encode(ones, _record(core, fmt)).tolist()


# Floats there and back -----------------------------------------------------------------------------------------------

FLOAT32 = Row(8, 23, 127, "ieee", "inf")
WITHOUT_NAN = Row(2, 1, 1, "none")  #: of which NaN is 0, as of all floating-point numbers without a code for it


def floats(rng: random.Random) -> Iterator[Promise]:
    """NaN stays NaN, and all else becomes a value of the format."""
    ends = [0, 1, 1 << 23, FLOAT32.largest, FLOAT32.largest + 1, FLOAT32.largest + 2, (1 << 31) - 1]
    bits = [
        *ends,
        *(rng.getrandbits(31) for _ in range(COUNT // 2)),
        *(rng.randrange(120, 136) << 23 for _ in range(9)),
    ]
    bits += [x | 1 << 31 for x in bits]
    for fmt in (FIXED[0], FIXED[-1], DMFS[0], LOGS[2], WITHOUT_NAN):
        yield Promise(f"rounded_floats {fmt}", _rounded_floats, (bits, fmt), [_there_and_back(x, fmt) for x in bits])
    large = [FLOAT32.largest, FLOAT32.largest + 1, FLOAT32.largest | 1 << 31, FLOAT32.largest + 1 | 1 << 31]
    for (word,), want in ((INF, [large[1], large[1], large[3], large[3]]), (NAN, [FLOAT32.nan] * 4)):
        yield Promise(f"rounded_floats to {word[0]}", _rounded_floats, (large, _table(BOOKS[3], word)), want)


def _there_and_back(bits: int, fmt: Scalar | Row) -> int:
    negative, a = minifloat.decode(bits, FLOAT32)
    if a is Special.NAN and fmt != WITHOUT_NAN:
        return minifloat.encode(False, Special.NAN, FLOAT32)
    return minifloat.encode(*lab.decode(lab.encode((negative, a), fmt), fmt), FLOAT32)


def _rounded_floats(core: Core, bits: list[int], fmt: Scalar | Row | Table) -> Any:
    row = core["decode"].Minifloat(**FLOAT32._asdict())
    record = _codebook(core, fmt) if isinstance(fmt, Table) else _record(core, fmt)
    return core["round"].rounded_floats(as_tensor(bits), row, record).tolist()


# Powers of two -------------------------------------------------------------------------------------------------------


def exponents(rng: random.Random) -> Iterator[Promise]:
    """Of scales."""
    for width in (2, 5, 8):
        half = 1 << (width - 1)
        powers = [-half, half - 1, *(rng.randrange(-half, half) for _ in range(COUNT))]
        codes = [power + (rng.randrange(-9, 9) << width) for power in powers]
        yield Promise(f"decode powers of {width} bits", _powers, (codes, width), [seen_as(1, t, LIMB) for t in powers])


def _powers(core: Core, codes: list[int], width: int) -> Any:
    return seen_of(core["decode"].decode(as_tensor(codes), core["decode"].Exponent(width)), LIMB)


# By tables -----------------------------------------------------------------------------------------------------------


def tables(rng: random.Random, books: Sequence[Book] = BOOKS) -> Iterator[Promise]:
    """Of codebooks."""
    doubles = [0, 1, (1 << 52) - 1, 1 << 52, (1 << 52) + 1, LONG, 1023 << 52, 2046 << 52, 2047 << 52]
    doubles += [rng.randrange(2047 << 52) for _ in range(COUNT)]
    numbers = [_double(x) for x in doubles]
    yield Promise("multiple", _multiples, (doubles,), [*numbers, *(-x for x in numbers)])
    for number, book in enumerate(books):
        yield _meanings(rng, number, book)
        neighbours = itertools.pairwise(book.steps)
        longest = max(max(abs(a), abs(b), b - a) // (gcd(a, b) & -gcd(a, b)) for a, b in neighbours)
        yield Promise(f"neighbour_bits of table {number}", _longest, (book,), longest.bit_length())
        for overflow in book.overflows:
            table = _table(book, overflow)
            steps = (table.beyond[0], *table.values, table.beyond[1])
            most = max(map(int.bit_length, book.steps)) // LIMB + 2
            for rounding, limbs in itertools.product(RULES, (1, 2, 3) if most <= 3 else (most,)):
                near = (_between(rng, steps, LIMB * limbs) for _ in range(120 if most <= 3 else 240))
                pairs = [*((zero, 0) for zero in ZEROS), *near]
                operands, turns = zip(*pairs, strict=True)
                bits = [rng.choice([rng.choice([0, 0xFFFF, rng.getrandbits(40)]), *_about(turn)]) for turn in turns]
                sides = zip(operands, bits, strict=True)
                want = [codebooks.encode(_fraction(v), table, rounding, r) for v, r in sides]
                name = f"encode {limbs} limbs in table {number}, {overflow[0]} and {overflow[1]}, {rounding}"
                yield Promise(name, _tabled, (operands, limbs, table, rounding, bits), want)
            for kind, words in (("NAN", ("nan", "nan")), ("INFINITE", ("inf", "-inf"))):
                want = [codebooks.encode(word, table) for word in words]
                yield Promise(
                    f"encode {kind} in table {number}, {overflow[0]} and {overflow[1]}",
                    _tabled_kind,
                    (kind, table),
                    want,
                )


def _double(pattern: int) -> Fraction:
    """The float64 of a positive pattern; Inf as 2**1024."""
    field, low = divmod(pattern, 1 << 52)
    return (low + ((1 << 52) if field else 0)) * Fraction(2) ** (max(field, 1) - 1075)


def _multiples(core: Core, patterns: Sequence[int]) -> Any:
    unit = Fraction(2) ** core["books"].UNIT
    return [core["books"].multiple(x - sign) * unit for sign in (0, 1 << 63) for x in patterns]


def _table(book: Book, overflow: tuple[str, str]) -> Table:
    first, *values, last = (step * Fraction(2) ** book.unit for step in book.steps)
    return Table(tuple(values), book.codes, (first, last), book.specials, overflow)


def _meanings(rng: random.Random, number: int, book: Book) -> Promise:
    """All codes, with anything above their bits. What has no code of its own is NaN."""
    kinds = {"nan": (-1, None), "inf": (1, 0), "-inf": (1, -1)}
    values = {code: (0, seen_as(m, book.unit, LIMB)) for code, m in zip(book.codes, book.steps[1:-1], strict=True)}
    known = {**values, **{code: kinds[name] for name, code in book.specials.items()}}
    width = max(1, *(code.bit_length() for code in known))
    codes = [code + (rng.randrange(-9, 9) << width) for code in range(1 << width)]
    want = [known.get(code, kinds["nan"]) for code in range(1 << width)]
    return Promise(f"decode table {number}", _meant, (codes, book), want)


def _between(rng: random.Random, steps: Sequence[Fraction], bits: int) -> tuple[Value, int]:
    """A number between two values, or nearly so, or far away; and how many 2**16ths of the way it has gone, if less."""
    if rng.random() < 0.1:
        far = rng.choice([-300, 45, 70, 1100, 2000])
        return Value(rng.random() < 0.5, 1 << (bits - 1) | rng.getrandbits(bits), far), 0
    low, high = rng.choice(list(itertools.pairwise(steps)))
    last = (1 << 16) - 1 - 2 * rng.randrange(9)
    parts = rng.choice([rng.choice([0, 1 << 16]), 1 << 15, rng.randrange(1 << 16), last, last])
    upwards = low >= 0 or (high > 0 and rng.random() < 0.5)  # away from 0
    start, end = (low, high) if upwards else (high, low)
    x = start + (end - start) * Fraction(parts, 1 << 16)
    if not x:
        return ZERO, parts
    m, exponent = abs(x.numerator), x.numerator.bit_length() - x.denominator.bit_length()
    m = m << max(bits - m.bit_length(), 0) >> max(m.bit_length() - bits, 0)
    m += rng.choice([0, 1, -1, -1, rng.choice([1, -1]) << max(bits - 53, 0)])
    exponent += m.bit_length() - bits
    return Value(x < 0, m >> (m.bit_length() > bits), exponent), parts


def _about(turn: int) -> tuple[int, int]:
    return max(turn - 1, 0) & 0xFFFF, turn & 0xFFFF


def _fraction(x: Value) -> Fraction:
    return x.dyadic.fraction() if x.significand else Fraction(0)


def _codebook(core: Core, table: Table) -> Any:
    values = tuple(map(float, table.values))
    finite = max(map(abs, table.beyond)) <= LARGEST  # Inf is where the last steps lead by themselves
    beyond = tuple(map(float, table.beyond)) if finite else None
    return core["decode"].Codebook(values, table.codes, dict(table.specials), table.overflow, beyond)


def _longest(core: Core, book: Book) -> Any:
    return core["books"].neighbour_bits(_codebook(core, _table(book, book.overflows[0])))


def _meant(core: Core, codes: Sequence[int], book: Book) -> Any:
    """Of each code its kind, and what is seen of a number, or the sign of Inf."""
    table = _table(book, book.overflows[0])
    x = core["decode"].decode(as_tensor(codes), _codebook(core, table))
    rows = zip(x.kind.tolist(), x.sign.tolist(), seen_of(x, LIMB), strict=True)
    return [(kind, {0: seen, 1: sign}.get(kind)) for kind, sign, seen in rows]


def _tabled(core: Core, values: Values, limbs: int, table: Table, rounding: str, bits: list[int]) -> Any:
    x = as_exact(core, values, LIMB * limbs)
    return core["round"].encode(x, _codebook(core, table), rounding, as_tensor(bits)).tolist()


def _tabled_kind(core: Core, kind: str, table: Table) -> Any:
    ones = as_exact(core, [Value(False, 1, 0), Value(True, 1, 0)])
    ones = ones._replace(kind=ones.kind | getattr(core["decode"], kind))
    return core["round"].encode(ones, _codebook(core, table)).tolist()
