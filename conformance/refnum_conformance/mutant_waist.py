"""What the core's own functions promise, checked on Python integers: formats to come may ask for more than today's do.

The public functions reach every line of the core, but not every state that its docstrings allow: no posit, say, has a
significand of three limbs. Here each function gets operands of all shapes that it admits.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import platform
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .operations import scales
from .oracles import minifloat, posit
from .oracles.minifloat import RULES, Row, Special
from .oracles.reals import Dyadic

LIMB = 62  #: bits of a limb: part of the promise
MASK = (1 << LIMB) - 1
WORD = 32  #: bits of a word of a long sum

Limbs = tuple[Tensor, ...]
Core = Mapping[str, ModuleType]  #: decode, exact, pack, round
COUNT = 160  #: operands of a promise


@dataclass(frozen=True)
class Promise:
    """One function of the core on some operands."""

    name: str
    run: Callable[..., Any]  #: of the core and the operands
    operands: tuple[Any, ...]
    want: Any

    def holds(self, core: Core) -> bool:
        """Whether the core keeps it."""
        return bool(self.run(core, *self.operands) == self.want)


def promises() -> Iterator[Promise]:
    """All of them."""
    values = (_sums, _products, _quotients, _roots, _kinds, _long_sums, _integers, _roundings)
    for some in (_words, _limbs, _shifts, *values):
        yield from some(random.Random(some.__name__))


# In every rounding mode ----------------------------------------------------------------------------------------------

_X86 = {"down": 0x400, "up": 0x800, "toward zero": 0xC00}
_ARM = {"down": 0x800000, "up": 0x400000, "toward zero": 0xC00000}
#: what the C library calls the processor's modes besides the nearest, on which no result may depend
MODES = {"x86_64": _X86, "aarch64": _ARM, "arm64": _ARM}[platform.machine()]


@contextlib.contextmanager
def _rounding(mode: int) -> Iterator[None]:
    library = ctypes.CDLL(None)
    library.fesetround(mode)
    try:
        yield
    finally:
        library.fesetround(0)


def _in_every_mode(promise: Promise) -> Iterator[Promise]:
    """The promise, and the same where floating-point operations round otherwise."""
    yield promise
    for name, mode in MODES.items():
        operands = (mode, promise.run, promise.operands)
        yield Promise(f"{promise.name}, rounding {name}", _in_mode, operands, promise.want)


def _in_mode(core: Core, mode: int, run: Callable[..., Any], operands: tuple[Any, ...]) -> Any:
    with _rounding(mode):
        return run(core, *operands)


# Between integers and limbs ------------------------------------------------------------------------------------------


def as_tensor(values: Sequence[Any]) -> Tensor:
    """Integers of 64 bits."""
    return torch.tensor(values, dtype=torch.int64)


def _zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.int64)


def _split(values: Sequence[int], count: int) -> Limbs:
    return tuple(as_tensor([x >> LIMB * i & MASK for x in values]) for i in reversed(range(count)))


def _joined(x: Limbs) -> list[int | None]:
    """The integers; None where a limb is out of its range."""
    rows = zip(*(limb.tolist() for limb in x), strict=True)
    return [_number(row, LIMB) if all(0 <= limb <= MASK for limb in row) else None for row in rows]


def _number(parts: Sequence[int], bits: int) -> int:
    return sum(part << bits * i for i, part in enumerate(reversed(parts)))


def _magnitude(rng: random.Random, bits: int) -> int:
    """An integer of exactly so many bits: a power of two, any, a run of ones, or a few ones far apart."""
    top = 1 << (bits - 1)
    match rng.randrange(5):
        case 0:
            return top
        case 1:
            return top | rng.getrandbits(bits)
        case 2:
            return 2 * top - (1 << rng.randrange(bits))
        case 3:
            return top | 1 << rng.randrange(bits) | 1 << rng.randrange(bits)
        case _:
            return top | 1 << rng.randrange(bits)


def _magnitudes(rng: random.Random, bits: int) -> list[int]:
    """0, and integers of up to so many bits."""
    return [0, *(_magnitude(rng, rng.randrange(1, bits + 1)) for _ in range(COUNT))]


def _jammed(x: int, count: int) -> int:
    return x >> count | (x & ((1 << count) - 1) != 0)


def _leading(x: int, bits: int) -> tuple[int, bool]:
    """The first bits of x, and whether anything follows: all that a rounding may ask for."""
    rest = max(0, x.bit_length() - bits)
    return x << max(0, bits - x.bit_length()) >> rest, x & ((1 << rest) - 1) != 0


# One word ------------------------------------------------------------------------------------------------------------


def _words(rng: random.Random) -> Iterator[Promise]:
    x = [(1 << i) + d for i in range(1, 63) for d in (-1, 0, 1)] + _magnitudes(rng, 63)
    logarithms = [value.bit_length() - 1 if value else -1023 for value in x]
    yield from _in_every_mode(Promise("floor_log2", _on_word, ("floor_log2", x), logarithms))
    signed = [*x, *(-value for value in x), -(1 << 63)]
    yield Promise("nonzero", _on_word, ("nonzero", signed), [-(value != 0) for value in signed])


def _on_word(core: Core, name: str, x: list[int]) -> Any:
    return getattr(core["decode"], name)(as_tensor(x)).tolist()


# Limbs ---------------------------------------------------------------------------------------------------------------


def _limbs(rng: random.Random) -> Iterator[Promise]:
    for have, count in itertools.product((1, 2, 3, 4), repeat=2):
        x = _magnitudes(rng, LIMB * have)
        narrowed = [_jammed(value << LIMB * count, LIMB * have) for value in x]
        yield Promise(f"narrow {have} to {count}", _on_limbs, ("narrow", x, have, count), narrowed)
        widened = [value << LIMB * max(0, count - have) for value in x]
        yield Promise(f"widen {have} to {count}", _on_limbs, ("widen", x, have, count), widened)
    for have in (1, 2, 3, 4):
        x = _magnitudes(rng, LIMB * have)
        exponents = [rng.randrange(-500, 500) for _ in x]
        left = [LIMB * have - value.bit_length() for value in x]
        want = [(v << count, e - count if v else 0) for v, e, count in zip(x, exponents, left, strict=True)]
        yield Promise(f"normalise {have}", _normalised, (x, have, exponents), want)


def _shifts(rng: random.Random) -> Iterator[Promise]:
    seams = [LIMB * i + d for i in range(4) for d in (-1, 0, 1) if LIMB * i + d >= 0]
    for have in (1, 2, 3):
        x = _magnitudes(rng, LIMB * have)
        right = [rng.choice([rng.choice(seams), rng.randrange(200), rng.randrange(4000)]) for _ in x]
        want = [_jammed(value, count) for value, count in zip(x, right, strict=True)]
        yield Promise(f"shift_right_jam {have}", _on_limbs, ("shift_right_jam", x, have, right), want)
        room = [min(LIMB, LIMB * have - value.bit_length()) for value in x]
        left = [rng.choice([0, most, rng.randrange(most + 1)]) for most in room]
        want = [value << count for value, count in zip(x, left, strict=True)]
        yield Promise(f"shift_left {have}", _on_limbs, ("shift_left", x, have, left), want)


def _on_limbs(core: Core, name: str, x: list[int], have: int, more: int | list[int]) -> list[int | None]:
    operand = as_tensor(more) if isinstance(more, list) else more
    return _joined(getattr(core["exact"], name)(_split(x, have), operand))


def _normalised(core: Core, x: list[int], have: int, exponents: list[int]) -> list[tuple[int | None, int]]:
    significand, exponent = core["exact"].normalise(_split(x, have), as_tensor(exponents))
    # The exponent of 0 says nothing.
    return [(s, e if s else 0) for s, e in zip(_joined(significand), exponent.tolist(), strict=True)]


# Exact values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """A number by its sign, an integer, and log2 of its magnitude, rounded down; that of 0 is below all others."""

    negative: bool
    significand: int
    exponent: int

    @property
    def unit(self) -> int:
        """log2 of what the integer's lowest bit is worth."""
        return self.exponent - self.significand.bit_length() + 1

    @property
    def dyadic(self) -> Dyadic:
        """The number."""
        return Dyadic(-self.significand if self.negative else self.significand, self.unit)


Values = list[Value]
ZERO = Value(False, 0, -1000)


def _values(rng: random.Random, bits: int, count: int = COUNT) -> Values:
    return [
        Value(rng.random() < 0.5, _magnitude(rng, rng.randrange(1, bits + 1)), rng.randrange(-300, 300))
        for _ in range(count)
    ]


def as_exact(core: Core, values: Values, bits: int = LIMB) -> Any:
    """Exact values with limbs for so many bits."""
    limbs = -(-bits // LIMB)
    significands = [v.significand << LIMB * limbs - v.significand.bit_length() for v in values]
    signs, exponents = as_tensor([-v.negative for v in values]), as_tensor([v.exponent for v in values])
    return core["decode"].Exact(signs, _split(significands, limbs), exponents, _zeros(len(values)))


Seen = tuple[int, int, int, bool]  #: sign, exponent, leading bits, whether more follow


def seen_as(m: int, unit: int, bits: int) -> Seen:
    """What a rounding to so many bits sees of the number m * 2**unit."""
    return (-(m < 0), unit + abs(m).bit_length() - 1, *_leading(abs(m), bits + 1)) if m else (0, 0, 0, False)


def seen_of(x: Any, bits: int) -> list[Seen | None]:
    """The same of Exact values. Of 0, neither exponent nor sign say anything."""
    rows = zip(x.sign.tolist(), _joined(x.significand), x.exponent.tolist(), strict=True)
    return [None if m is None else (s, e, *_leading(m, bits + 1)) if m else seen_as(0, 0, bits) for s, m, e in rows]


# Sums ----------------------------------------------------------------------------------------------------------------

#: bits of operands and results: with and without a limb more than the operands fill
SUMS = (
    *((1, 1), (11, 11), (22, 11), (31, 31), (57, 57), (58, 58), (59, 59), (60, 30)),
    *((61, 30), (61, 61), (62, 62), (62, 31), (118, 59), (122, 61), (123, 61), (124, 62)),
)


def _sums(rng: random.Random) -> Iterator[Promise]:
    yield Promise("limbs_for", _limb_counts, (), [_fewest_limbs(*bits) for bits in LIMB_COUNTS])
    for bits, result_bits in SUMS:
        a = _values(rng, bits, 4 * COUNT)
        b = [_partner(rng, x, bits, result_bits) for x in a]
        a += [ZERO, ZERO, a[0], a[0], a[1]]
        b += [ZERO, a[0], ZERO, Value(not a[0].negative, a[0].significand, a[0].exponent), a[1]]
        want = [seen_as(*_sum(x, y), result_bits) for x, y in zip(a, b, strict=True)]
        yield Promise(f"add {bits} bits to {result_bits}", _added, (a, b, bits, result_bits), want)


LIMB_COUNTS = tuple(itertools.product(range(1, 2 * LIMB + 3), repeat=2))  #: bits of operands and of results


def _fewest_limbs(bits: int, result_bits: int) -> int:
    """The fewest that have two bits below the operands, and, of a sum with two bits less, one behind the result."""
    return next(n for n in itertools.count(1) if LIMB * n >= bits + 2 and LIMB * n - 2 >= result_bits + 2)


def _limb_counts(core: Core) -> list[int]:
    return [core["exact"].limbs_for(*bits) for bits in LIMB_COUNTS]


def _added(core: Core, a: Values, b: Values, bits: int, result_bits: int) -> Any:
    limbs = core["exact"].limbs_for(bits, result_bits)
    return seen_of(core["exact"].add(as_exact(core, a, bits), as_exact(core, b, bits), limbs), result_bits)


def _partner(rng: random.Random, x: Value, bits: int, result_bits: int) -> Value:
    """What to add to x: near it, cancelling it, half a unit of its last bit away, or far below."""
    seams = (0, 1, 2, 3, result_bits - 1, result_bits, result_bits + 1, *range(60, 64), *range(122, 126))
    exponent = x.exponent - rng.choice([*seams, rng.randrange(300)])
    (y,) = _values(rng, bits, 1)
    match x.exponent - exponent:
        case 0 if rng.random() < 0.7:  # nearly all cancels
            nearly = (x.significand << bits - x.significand.bit_length()) ^ rng.getrandbits(rng.randrange(1, bits + 1))
            return Value(not x.negative, nearly | 1 << (bits - 1), exponent) if nearly >> bits == 0 else y
        case 1 if x.significand & (x.significand - 1) == 0:  # all but the last bit of a run
            return Value(not x.negative, (1 << bits) - 1, exponent)
        case 2 | 3 if rng.random() < 0.5:  # one leading bit goes
            return Value(not x.negative, y.significand, exponent)
        case _:
            return Value(y.negative, y.significand, exponent)


def _sum(x: Value, y: Value) -> tuple[int, int]:
    unit = min(x.unit, y.unit)
    return (x.dyadic.m << x.unit - unit) + (y.dyadic.m << y.unit - unit), unit


# Products, quotients, roots ------------------------------------------------------------------------------------------

PRODUCTS = (
    *((1, 1), (12, 12), (31, 31), (31, 32), (32, 31), (32, 32)),
    *((62, 31), (62, 62), (63, 62), (93, 31), (124, 62)),
)


def _products(rng: random.Random) -> Iterator[Promise]:
    for bits in PRODUCTS:
        a, b = ([*_values(rng, count), ZERO] for count in bits)
        a, b = [*a, a[0]], [*b, ZERO]
        want = [seen_as(x.dyadic.m * y.dyadic.m, x.unit + y.unit, sum(bits)) for x, y in zip(a, b, strict=True)]
        yield Promise(f"multiply {bits} bits", _multiplied, (a, b, bits), want)


def _multiplied(core: Core, a: Values, b: Values, bits: tuple[int, int]) -> Any:
    x, y = (as_exact(core, values, count) for values, count in zip((a, b), bits, strict=True))
    return seen_of(core["exact"].multiply(x, y, *bits), sum(bits))


WIDTHS = (1, 2, 12, 29, 30, 31, 32, 57, 58, 59, 60, 61, 62)


def _quotients(rng: random.Random) -> Iterator[Promise]:
    for bits in WIDTHS:
        a, b = [*_values(rng, bits), ZERO], [*_values(rng, bits), Value(True, 1, 7)]
        for _ in range(COUNT):  # quotients that end, or nearly do
            q = _magnitude(rng, rng.randrange(1, bits + 1))
            d = _magnitude(rng, rng.randrange(1, bits - q.bit_length() + 2))
            p = q * d + rng.randrange(-1, 2)
            if 0 < p < 1 << bits:
                a, b = [*a, Value(rng.random() < 0.5, p, 3)], [*b, Value(rng.random() < 0.5, d, 5)]
        want = [0] * len(a), [_quotient(x, y, bits) for x, y in zip(a, b, strict=True)]
        yield from _in_every_mode(Promise(f"divide {bits} bits", _divided, (a, b, bits), want))
        yield Promise(f"divide {bits} bits, a limb more", _divided, (a, b, bits, 2 * LIMB), want)
        yield Promise(f"divide {bits} bits by 0", _divided_by_0, ([ZERO, *a], bits), (True, [-1] * (len(a) + 1)))


def _divided(core: Core, a: Values, b: Values, bits: int, room: int = LIMB) -> Any:
    x = core["exact"].divide(as_exact(core, a, room), as_exact(core, b, room), bits)
    return x.kind.tolist(), seen_of(x, bits)


def _divided_by_0(core: Core, a: Values, bits: int) -> Any:
    """Whether the limbs are in their range, though nobody uses them, and the kinds."""
    x = core["exact"].divide(as_exact(core, a), as_exact(core, [ZERO] * len(a)), bits)
    return None not in _joined(x.significand), x.kind.tolist()


def _quotient(x: Value, y: Value, bits: int) -> Seen:
    places = 2 * bits + 8
    q, rest = divmod(x.significand << places, y.significand)
    m = 2 * q + (rest != 0)
    return seen_as(-m if x.negative != y.negative else m, x.unit - y.unit - places - 1, bits)


def _roots(rng: random.Random) -> Iterator[Promise]:
    for bits in WIDTHS:
        a = [Value(False, x.significand, x.exponent) for x in _values(rng, bits)] + [ZERO]
        for _ in range(COUNT):  # squares, and what lies next to them
            root = _magnitude(rng, rng.randrange(1, bits // 2 + 2))
            square = (root * root << rng.randrange(2)) + rng.randrange(-1, 2)
            if 0 < square < 1 << bits:
                a.append(Value(False, square, rng.randrange(-300, 300)))
        want = [_root(x, bits) for x in a]
        yield from _in_every_mode(Promise(f"square_root {bits} bits", _rooted, (a, bits), want))
        yield Promise(f"square_root {bits} bits, a limb more", _rooted, (a, bits, 2 * LIMB), want)
        signs = [Value(True, 1, 0), Value(False, 1, 0), ZERO, Value(True, 0, -1000)]
        yield Promise(f"square_root {bits} bits, negative", _rooted_kind, (signs, bits), [-1, 0, 0, 0])
    roots = [1 << 30, (1 << 31) - 1, *(_magnitude(rng, 31) for _ in range(COUNT))]
    x = [r * r + d for r in roots for d in (-1, 0, 1, r, 2 * r - 1, 2 * r, 2 * r + 1) if 1 << 60 <= r * r + d < 1 << 62]
    parts = [[isqrt(value) for value in x], [value - isqrt(value) ** 2 for value in x]]
    yield from _in_every_mode(Promise("_isqrt", _with_remainder, (x,), parts))


def _rooted(core: Core, a: Values, bits: int, room: int = LIMB) -> Any:
    return seen_of(core["exact"].square_root(as_exact(core, a, room), bits), bits)


def _rooted_kind(core: Core, a: Values, bits: int) -> Any:
    return core["exact"].square_root(as_exact(core, a), bits).kind.tolist()


def _with_remainder(core: Core, x: list[int]) -> Any:
    return [part.tolist() for part in core["exact"]._isqrt(as_tensor(x))]


def _root(x: Value, bits: int) -> Seen:
    places = 4 * bits + 8 + (x.unit & 1)
    square = x.significand << places
    root = isqrt(square)
    return seen_as(2 * root + (root * root != square), (x.unit - places) // 2 - 1, bits)


# Kinds ---------------------------------------------------------------------------------------------------------------


def _kinds(rng: random.Random) -> Iterator[Promise]:
    yield Promise("kinds", _named_kinds, (), list(KINDS))
    for bits in (12, 62):
        yield Promise(
            f"kinds of results, {bits} bits", _result_kinds, (bits,), [[a | b for a in KINDS for b in KINDS]] * 3
        )
        yield Promise(f"kinds of roots, {bits} bits", _root_kinds, (bits,), list(KINDS))
    for limbs in (1, 2, 3):
        rows = [[rng.getrandbits(62) for _ in range(limbs + 3)] for _ in range(2)]  # sign, limbs, exponent, kind
        yield Promise(f"select_exact {limbs}", _selected, (rows,), [list(pair) for pair in zip(*rows, strict=True)])


KINDS = (0, 1, -1)  #: NUMBER, INFINITE, NAN


def _named_kinds(core: Core) -> list[int]:
    return [getattr(core["decode"], kind) for kind in ("NUMBER", "INFINITE", "NAN")]


def _result_kinds(core: Core, bits: int) -> Any:
    one = as_exact(core, [Value(False, 1, 0)] * len(KINDS) ** 2)
    a, b = (one._replace(kind=as_tensor(column)) for column in zip(*itertools.product(KINDS, repeat=2), strict=True))
    results = (
        core["exact"].add(a, b, 1),
        core["exact"].multiply(a, b, bits, bits),
        core["exact"].divide(a, b, bits),
    )
    return [result.kind.tolist() for result in results]


def _selected(core: Core, rows: list[list[int]]) -> Any:
    a, b = (
        core["decode"].Exact(sign, tuple(limbs), exponent, kind)
        for sign, *limbs, exponent, kind in (as_tensor([row] * 2).T for row in rows)
    )
    x = core["exact"].select_exact(as_tensor([-1, 0]), a, b)
    return [column.tolist() for column in (x.sign, *x.significand, x.exponent, x.kind)]


def _root_kinds(core: Core, bits: int) -> Any:
    one = as_exact(core, [Value(False, 1, 0)] * len(KINDS))._replace(kind=as_tensor(KINDS))
    return core["exact"].square_root(one, bits).kind.tolist()


# Long sums -----------------------------------------------------------------------------------------------------------

Addend = tuple[int, int, int, int]  #: column, sign as a mask, limbs, position


def _long_sums(rng: random.Random) -> Iterator[Promise]:
    for limbs, words, columns in ((1, 8, 3), (2, 12, 7), (3, 14, 2), (1, 5, 1)):
        room = WORD * (words - 1) - LIMB * limbs - 12
        added = [
            (rng.randrange(columns), -rng.randrange(2), x, rng.randrange(room)) for x in _magnitudes(rng, LIMB * limbs)
        ]
        added += [(column, ~sign, x, position) for column, sign, x, position in added[: COUNT // 2]]
        totals = [sum((x ^ s) - s << p for c, s, x, p in added if c == column) for column in range(columns)]
        seen = [seen_as(total, -70, LIMB) for total in totals]
        yield Promise(
            f"add_to_words {limbs} limbs in {words} words",
            _totals,
            (added, limbs, (words, columns)),
            (True, totals, seen),
        )
    for words in (2, 3, 4, 5, 9):
        signs = [rng.choice([-1, 1]) for _ in range(COUNT + 1)]
        x = [sign * m for sign, m in zip(signs, _magnitudes(rng, WORD * words - 2), strict=True)]
        x += [1, -1, -(1 << WORD * (words - 1))]
        for top, low in itertools.product(range(3, words - 1), (0, 1, 3, 4)):  # a last bit in the fourth word
            x.append((1 << WORD * top + rng.randrange(WORD)) + (1 << WORD * (top - 3) + low))
        want = [seen_as(value, -70, 3 * WORD - 2) for value in x]
        for shape in ((len(x),), (len(x) // 4, 4)):
            yield Promise(f"from_words {words}, {len(shape)} axes", _from_words, (x, words, shape), want)


def _totals(core: Core, added: list[Addend], limbs: int, shape: tuple[int, int]) -> Any:
    column, sign, x, position = zip(*added, strict=True)
    sums = torch.zeros(shape, dtype=torch.int64)
    core["exact"].add_to_words(sums, as_tensor(column), _split(x, limbs), as_tensor(sign), as_tensor(position))
    core["exact"].carry_words(sums)
    carried = all(0 <= word < 1 << WORD for word in sums[:-1].reshape(-1).tolist())
    numbers = [_number(words[::-1], WORD) for words in sums.T.tolist()]
    return carried, numbers, seen_of(core["exact"].from_words(sums, -70, _zeros(shape[1])), LIMB)


def _from_words(core: Core, x: list[int], words: int, shape: tuple[int, ...]) -> Any:
    rows = [[*(value >> WORD * i & 0xFFFFFFFF for i in range(words - 1)), value >> WORD * (words - 1)] for value in x]
    columns = as_tensor(rows).T.reshape(words, *shape)
    value = core["exact"].from_words(columns, -70, _zeros(len(x)).view(shape))
    flat = value._replace(
        sign=value.sign.view(-1),
        significand=tuple(limb.view(-1) for limb in value.significand),
        exponent=value.exponent.view(-1),
    )
    return seen_of(flat, 3 * WORD - 2)


# In and out ----------------------------------------------------------------------------------------------------------


def _integers(rng: random.Random) -> Iterator[Promise]:
    x = [1, (1 << 64) - 1, 1 << 63, *_magnitudes(rng, 64)]
    signs = [-rng.randrange(2) for _ in x]
    want = [seen_as((value ^ sign) - sign, 0, 64) for value, sign in zip(x, signs, strict=True)]
    yield Promise("from_integer", _from_integer, (x, signs), want)
    for limbs in (1, 2, 3):
        values = [
            ZERO,
            *(Value(v.negative, v.significand, rng.randrange(-200, LIMB)) for v in _values(rng, LIMB * limbs)),
        ]
        parts = [divmod(_jammed(v.significand << 2000, 2000 - LIMB - v.unit), 1 << LIMB) for v in values]
        packed = [(-v.negative, -(v.significand != 0), *part) for v, part in zip(values, parts, strict=True)]
        yield Promise(f"pack_integer {limbs}", _packed_integer, (values, limbs), (LIMB, packed))


def _from_integer(core: Core, x: list[int], signs: list[int]) -> Any:
    words = as_tensor([value - (value >> 63 << 64) for value in x])
    return seen_of(core["exact"].from_integer(words, as_tensor(signs), _zeros(len(x))), 64)


def _packed_integer(core: Core, values: Values, limbs: int) -> Any:
    wide = core["pack"].pack_integer(as_exact(core, values, LIMB * limbs))
    columns = (column.tolist() for column in (wide.sign, wide.nonzero, wide.head, wide.tail))
    return wide.tail_bits, list(zip(*columns, strict=True))


POSITS: tuple[tuple[int, int], ...] = (
    *((2, 0), (3, 0), (5, 4), (8, 2), (16, 1), (32, 2), (46, 0), (47, 0), (47, 4), (48, 0), (48, 3)),
    *((49, 1), (62, 0), (63, 3), (64, 0), (64, 2), (64, 4)),
)
ROWS: tuple[Row, ...] = (
    Row(2, 1, 1, "none"),
    Row(4, 3, 7, "fn"),
    Row(4, 3, 7, "fn", "nan"),
    Row(5, 2, 15, "ieee", "inf"),
    Row(5, 2, 15),
    Row(4, 3, 8, "fnuz", "nan"),
    Row(8, 23, 127, "ieee", "inf"),
    *(Row(11, mantissa, 1023, "ieee", "inf") for mantissa in (43, 44, 45, 46, 52)),
    Row(6, 0, 20, "none"),
    Row(2, 52, 1100, "none"),
)
Fmt = tuple[int, int] | Row


FORMATS: tuple[Fmt, ...] = (*POSITS, *ROWS)


def _roundings(rng: random.Random) -> Iterator[Promise]:
    for fmt in FORMATS:
        for rounding, limbs in itertools.product(RULES, (1, 2, 3)):
            count = 160 if rounding == "stochastic" else 40  # it reads more bits than the others
            values = [*_near(rng, fmt, LIMB * limbs, count), ZERO, *(Value(False, 0, e) for e in (0, 500, 2000))]
            bits = [rng.choice([0, 0xFFFF, rng.getrandbits(40), *_last_up(v, fmt)]) for v in values]
            want = [_code(v, fmt, rounding, r) for v, r in zip(values, bits, strict=True)]
            name = f"encode {limbs} limbs in {_name(fmt)}, {rounding}"
            yield Promise(name, _encoded, (values, limbs, fmt, rounding, bits), want)
        for kind, special in (("NAN", Special.NAN), ("INFINITE", Special.INF)):
            yield Promise(f"encode {kind} in {_name(fmt)}", _encoded_kind, (kind, fmt), _special_code(special, fmt))


def _encoded(core: Core, values: Values, limbs: int, fmt: Fmt, rounding: str, bits: list[int]) -> Any:
    codes = core["round"].encode(as_exact(core, values, LIMB * limbs), _record(core, fmt), rounding, as_tensor(bits))
    return [_one_nan(code, fmt) for code in codes.tolist()]


def _encoded_kind(core: Core, kind: str, fmt: Fmt) -> int:
    one = as_exact(core, [Value(False, 1, 0)])
    one = one._replace(kind=one.kind | getattr(core["decode"], kind))
    return _one_nan(int(core["round"].encode(one, _record(core, fmt))), fmt)


def _record(core: Core, fmt: Fmt) -> Any:
    """The format as a record of the refnum that the core belongs to."""
    return core["decode"].Minifloat(**fmt._asdict()) if isinstance(fmt, Row) else core["decode"].Posit(*fmt)


def _name(fmt: Fmt) -> str:
    return f"e{fmt.exponent}m{fmt.mantissa} {fmt.specials} {fmt.overflow}" if isinstance(fmt, Row) else f"posit{fmt}"


def _code(x: Value, fmt: Fmt, rounding: str, random_bits: int) -> int:
    """The right one."""
    if isinstance(fmt, Row):
        magnitude = Dyadic(x.significand, x.unit)
        return _one_nan(minifloat.encode(x.negative, magnitude, fmt, rounding, random_bits), fmt)
    return posit.rounded(x.dyadic, *fmt, rounding, random_bits)


def _special_code(special: Special, fmt: Fmt) -> int:
    return minifloat.encode(False, special, fmt) if isinstance(fmt, Row) else posit.nar(fmt[0])


def _last_up(x: Value, fmt: Fmt) -> tuple[int, int]:
    """The last random bits with which x goes up, and the first with which it does not."""
    if isinstance(fmt, Row):
        longer = minifloat.encode(False, x.dyadic, fmt._replace(mantissa=fmt.mantissa + 16), "toward_zero")
    else:
        longer = abs(posit.rounded(x.dyadic, fmt[0] + 16, fmt[1], "toward_zero"))
    return (longer - 1) & 0xFFFF, longer & 0xFFFF


def _one_nan(code: int, fmt: Fmt) -> int:
    """The code by its bits; a NaN, which an overflow may give with a sign, without it."""
    if not isinstance(fmt, Row):
        return code
    code &= (1 << fmt.width) - 1
    return fmt.nan if fmt.nan is not None and code & ~fmt.sign_bit == fmt.nan else code


def _near(rng: random.Random, fmt: Fmt, bits: int, count: int) -> Values:
    """Values of all lengths around the format's own, and at its ends; many of them with a last bit, far below."""
    least, largest = scales(fmt._asdict() if isinstance(fmt, Row) else {"n": fmt[0], "es": fmt[1]})
    exponents = [0, 2000, *(end + step for end in (least, largest) for step in (-1, 0, 1))]
    lengths = [*range(1, bits + 1)]
    if isinstance(fmt, Row):
        exponents += [1 - fmt.bias, -fmt.bias]
        exponents += [field + 1 - fmt.bias for i in range(fmt.exponent, 13) for field in ((1 << i) - 2, 1 << i)]
        lengths += [min(bits, fmt.mantissa + i) for i in (1, 2)] * (bits // 4)
    values = []
    for _ in range(count):
        exponent = rng.choice([rng.randrange(least - 3, largest + 4), rng.choice(exponents)])
        length = rng.choice(lengths)
        significand = _magnitude(rng, length) << (bits - length) | rng.randrange(2)
        if not isinstance(fmt, Row) and rng.random() < 0.3:  # the shortest regimes: the tail holds any bits
            exponent, significand = rng.randrange(-1 << fmt[1], 1 << fmt[1]), 1 << (bits - 1) | rng.getrandbits(bits)
        values.append(Value(rng.random() < 0.5, significand, exponent))
    return values
