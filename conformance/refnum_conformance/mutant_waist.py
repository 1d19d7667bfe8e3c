"""What the core's own functions promise, checked on Python integers: formats to come may ask for more than today's do.

The public functions reach every line of the core, but not every state that its docstrings allow: no posit, say, has a
significand of three limbs. Here each function gets operands of all shapes that it admits.
"""

from __future__ import annotations

import itertools
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

Limbs = tuple[Tensor, ...]
Core = Mapping[str, ModuleType]  #: decode, exact, pack, round
COUNT = 160  #: operands of a check


@dataclass(frozen=True)
class Promise:
    """One function of the core on some operands."""

    name: str
    got: Callable[[Core], Any]
    want: Any

    def holds(self, core: Core) -> bool:
        """Whether the core keeps it."""
        return bool(self.got(core) == self.want)


def promises() -> Iterator[Promise]:
    """All of them."""
    for checks in (_words, _limbs, _shifts, _sums, _products, _quotients, _roots, _long_sums, _integers, _roundings):
        yield from checks(random.Random(checks.__name__))


# Between integers and limbs ------------------------------------------------------------------------------------------


def _tensor(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def _split(values: Sequence[int], count: int) -> Limbs:
    return tuple(_tensor([x >> LIMB * i & MASK for x in values]) for i in reversed(range(count)))


def _joined(x: Limbs) -> list[int | None]:
    """The integers; None where a limb is out of its range."""
    rows = zip(*(limb.tolist() for limb in x), strict=True)
    return [_number(row) if all(0 <= limb <= MASK for limb in row) else None for row in rows]


def _number(limbs: Sequence[int]) -> int:
    return sum(limb << LIMB * i for i, limb in enumerate(reversed(limbs)))


def _magnitude(rng: random.Random, bits: int) -> int:
    """An integer of exactly so many bits: any, a run of ones, or a few ones far apart."""
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


def _jammed(x: int, count: int) -> int:
    return x >> count | (x & ((1 << count) - 1) != 0)


def _leading(x: int, bits: int) -> tuple[int, bool]:
    """The first bits of x, and whether anything follows: all that a rounding may ask for."""
    rest = max(0, x.bit_length() - bits)
    return (x << max(0, bits - x.bit_length())) >> rest, x & ((1 << rest) - 1) != 0


# One word ------------------------------------------------------------------------------------------------------------


def _words(rng: random.Random) -> Iterator[Promise]:
    x = [(1 << i) + d for i in range(1, 63) for d in (-1, 0, 1)] + [
        _magnitude(rng, rng.randrange(1, 64)) for _ in range(COUNT)
    ]
    logs = [value.bit_length() - 1 for value in x]
    yield Promise("floor_log2", lambda core: core["decode"].floor_log2(_tensor([*x, 0])).tolist(), [*logs, -1023])
    signed = [*x, *(-value for value in x), 0, -(1 << 63)]
    want = [-(value != 0) for value in signed]
    yield Promise("nonzero", lambda core: core["decode"].nonzero(_tensor(signed)).tolist(), want)
    kinds = ("NUMBER", "INFINITE", "NAN")
    yield Promise("kinds", lambda core: [getattr(core["decode"], kind) for kind in kinds], [0, 1, -1])


# Limbs ---------------------------------------------------------------------------------------------------------------


def _wide(rng: random.Random, limbs: int) -> list[int]:
    """Integers of up to so many limbs, 0 among them."""
    return [0, *(_magnitude(rng, rng.randrange(1, LIMB * limbs + 1)) for _ in range(COUNT))]


def _on_limbs(name: str, x: list[int], have: int, *more: int | list[int]) -> Callable[[Core], list[int | None]]:
    """A function of limbs, on integers; further operands are tensors or plain numbers."""

    def got(core: Core) -> list[int | None]:
        operands = [_tensor(operand) if isinstance(operand, list) else operand for operand in more]
        return _joined(getattr(core["exact"], name)(_split(x, have), *operands))

    return got


def _limbs(rng: random.Random) -> Iterator[Promise]:
    for have, count in itertools.product((1, 2, 3, 4), repeat=2):
        x = _wide(rng, have)
        narrowed = [_jammed(value << LIMB * count, LIMB * have) for value in x]
        yield Promise(f"narrow {have} to {count}", _on_limbs("narrow", x, have, count), narrowed)
        widened = [value << LIMB * max(0, count - have) for value in x]
        yield Promise(f"widen {have} to {count}", _on_limbs("widen", x, have, count), widened)
    for have in (1, 2, 3, 4):
        x = _wide(rng, have)
        exponents = [rng.randrange(-500, 500) for _ in x]
        want = [_normal(value, LIMB * have, exponent) for value, exponent in zip(x, exponents, strict=True)]
        yield Promise(f"normalise {have}", _normalised(x, have, exponents), want)


def _normal(x: int, bits: int, exponent: int) -> tuple[int, int]:
    left = bits - x.bit_length() if x else 0
    return x << left, exponent - left if x else 0


def _normalised(x: list[int], have: int, exponents: list[int]) -> Callable[[Core], list[tuple[int | None, int]]]:
    def got(core: Core) -> list[tuple[int | None, int]]:
        significand, exponent = core["exact"].normalise(_split(x, have), _tensor(exponents))
        # The exponent of 0 says nothing.
        return [(s, e if s else 0) for s, e in zip(_joined(significand), exponent.tolist(), strict=True)]

    return got


def _shifts(rng: random.Random) -> Iterator[Promise]:
    seams = [LIMB * i + d for i in range(4) for d in (-1, 0, 1) if LIMB * i + d >= 0]
    for have in (1, 2, 3):
        x = _wide(rng, have)
        right = [rng.choice([rng.choice(seams), rng.randrange(200), rng.randrange(4000)]) for _ in x]
        want = [_jammed(value, count) for value, count in zip(x, right, strict=True)]
        yield Promise(f"shift_right_jam {have}", _on_limbs("shift_right_jam", x, have, right), want)
        room = [min(LIMB, LIMB * have - value.bit_length()) for value in x]
        left = [rng.choice([0, most, rng.randrange(most + 1)]) for most in room]
        want = [value << count for value, count in zip(x, left, strict=True)]
        yield Promise(f"shift_left {have}", _on_limbs("shift_left", x, have, left), want)


# Exact values --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """(-1)**negative * significand * 2**(exponent - its bits + 1), the significand having its leading one."""

    negative: bool
    significand: int
    exponent: int

    @property
    def unit(self) -> int:
        """log2 of what the lowest bit is worth."""
        return self.exponent - self.significand.bit_length() + 1

    @property
    def dyadic(self) -> Dyadic:
        """The number."""
        return Dyadic(-self.significand if self.negative else self.significand, self.unit)


ZERO = Value(False, 0, -1000)


def _value(rng: random.Random, bits: int, exponents: Sequence[int]) -> Value:
    return Value(rng.random() < 0.5, _magnitude(rng, rng.randrange(1, bits + 1)), rng.choice(exponents))


def _exact(core: Core, values: Sequence[Value], limbs: int) -> Any:
    significands = [v.significand << LIMB * limbs - v.significand.bit_length() for v in values]
    return core["decode"].Exact(
        _tensor([-v.negative for v in values]),
        _split(significands, limbs),
        _tensor([v.exponent for v in values]),
        torch.zeros(len(values), dtype=torch.int64),
    )


def _limbs_of(bits: int) -> int:
    return -(-bits // LIMB)


Seen = tuple[int, int, int, bool]  #: sign, exponent, leading bits, whether more follow


def _seen(x: Any, bits: int) -> list[Seen]:
    """What a rounding to so many bits sees of Exact values; 0 has no exponent, and its sign is not looked at."""
    rows = zip(x.sign.tolist(), _joined(x.significand), x.exponent.tolist(), strict=True)
    return [(s, e, *_leading(m, bits + 1)) if m else (0, 0, 0, False) for s, m, e in rows]


def _see(m: int, unit: int, bits: int) -> Seen:
    """The same of the number m * 2**unit."""
    size = abs(m).bit_length()
    return (-(m < 0), unit + size - 1, *_leading(abs(m), bits + 1)) if m else (0, 0, 0, False)


#: bits of operands and results of a sum: with and without a limb more than the operands fill
SUMS = (
    *((1, 1), (11, 11), (22, 11), (31, 31), (57, 57), (58, 58), (59, 59), (60, 30)),
    *((61, 30), (61, 61), (62, 62), (62, 31), (118, 59), (122, 61), (123, 61), (124, 62)),
)


def _sums(rng: random.Random) -> Iterator[Promise]:
    for operand_bits, result_bits in SUMS:
        a = [_value(rng, operand_bits, range(-300, 300)) for _ in range(4 * COUNT)]
        b = [_partner(rng, x, operand_bits, result_bits) for x in a]
        a += [ZERO, ZERO, a[0], a[0], a[1]]
        b += [ZERO, a[0], ZERO, Value(not a[0].negative, a[0].significand, a[0].exponent), a[1]]

        def got(
            core: Core, a: list[Value] = a, b: list[Value] = b, bits: tuple[int, int] = (operand_bits, result_bits)
        ) -> Any:
            limbs = core["exact"].limbs_for(*bits)
            x, y = (_exact(core, values, _limbs_of(bits[0])) for values in (a, b))
            return _seen(core["exact"].add(x, y, limbs), bits[1])

        want = [_see(*_sum(x, y), result_bits) for x, y in zip(a, b, strict=True)]
        yield Promise(f"add {operand_bits} bits to {result_bits}", got, want)


def _partner(rng: random.Random, x: Value, operand_bits: int, result_bits: int) -> Value:
    """What to add to x: near it, cancelling it, half a unit of its last bit away, or far below."""
    distance = rng.choice(
        [
            0,
            1,
            2,
            3,
            result_bits,
            result_bits + 1,
            result_bits - 1,
            60,
            61,
            62,
            63,
            122,
            123,
            124,
            125,
            rng.randrange(300),
        ]
    )
    y = _value(rng, operand_bits, [x.exponent - distance])
    if distance < 2 and rng.random() < 0.5:  # nearly all cancels
        low = rng.getrandbits(rng.randrange(1, operand_bits + 1))
        full = x.significand << operand_bits - x.significand.bit_length()
        y = Value(not x.negative, min((full ^ low) | 1 << (operand_bits - 1), (1 << operand_bits) - 1), x.exponent)
    if distance == 1 and x.significand & (x.significand - 1) == 0:  # all but the last bit of a run
        return Value(not x.negative, (1 << operand_bits) - 1, y.exponent)
    if distance in (2, 3) and rng.random() < 0.5:  # one leading bit goes
        return Value(not x.negative, y.significand, y.exponent)
    return y


def _sum(x: Value, y: Value) -> tuple[int, int]:
    unit = min(x.unit, y.unit)
    return (x.dyadic.m << x.unit - unit) + (y.dyadic.m << y.unit - unit), unit


def _products(rng: random.Random) -> Iterator[Promise]:
    for a_bits, b_bits in (
        (1, 1),
        (12, 12),
        (31, 31),
        (31, 32),
        (32, 31),
        (32, 32),
        (62, 31),
        (62, 62),
        (124, 62),
        (93, 31),
        (63, 62),
    ):
        a, b = ([_value(rng, bits, range(-300, 300)) for _ in range(COUNT)] + [ZERO] for bits in (a_bits, b_bits))
        for x, y in ((a, b), (a, [*b[1:], b[0]])):

            def got(
                core: Core, x: list[Value] = x, y: list[Value] = y, bits: tuple[int, int] = (a_bits, b_bits)
            ) -> Any:
                left, right = (_exact(core, v, _limbs_of(n)) for v, n in zip((x, y), bits, strict=True))
                return _seen(core["exact"].multiply(left, right, *bits), sum(bits))

            want = [_see(u.dyadic.m * v.dyadic.m, u.unit + v.unit, a_bits + b_bits) for u, v in zip(x, y, strict=True)]
            yield Promise(f"multiply {a_bits} and {b_bits} bits", got, want)


def _quotients(rng: random.Random) -> Iterator[Promise]:
    for bits in (1, 2, 12, 30, 31, 32, 57, 58, 59, 60, 61, 62):
        a, b = ([_value(rng, bits, range(-300, 300)) for _ in range(2 * COUNT)] for _ in range(2))
        for i in range(COUNT):  # quotients that end, or nearly do
            q = _magnitude(rng, rng.randrange(1, bits + 1))
            d = _magnitude(rng, rng.randrange(1, bits - q.bit_length() + 2))
            p = q * d + rng.randrange(-1, 2)
            if 0 < p < 1 << bits:
                a[i], b[i] = Value(a[i].negative, p, a[i].exponent), Value(b[i].negative, d, b[i].exponent)
        a += [ZERO]
        b += [b[0]]

        def got(core: Core, a: list[Value] = a, b: list[Value] = b, bits: int = bits) -> Any:
            return _seen(core["exact"].divide(_exact(core, a, 1), _exact(core, b, 1), bits), bits)

        yield Promise(f"divide {bits} bits", got, [_quotient(x, y, bits) for x, y in zip(a, b, strict=True)])
    zeros = [ZERO, a[0]]
    yield Promise(
        "divide by 0",
        lambda core, zeros=zeros: (
            core["exact"].divide(_exact(core, zeros, 1), _exact(core, [ZERO] * 2, 1), 62).kind.tolist()
        ),
        [-1, -1],
    )


def _quotient(x: Value, y: Value, bits: int) -> Seen:
    q, rest = divmod(x.significand << 2 * bits + 8, y.significand)
    m = 2 * q + (rest != 0)
    return _see(-m if x.negative != y.negative else m, x.unit - y.unit - 2 * bits - 9, bits)


def _roots(rng: random.Random) -> Iterator[Promise]:
    for bits in (1, 2, 12, 29, 30, 31, 32, 57, 58, 59, 60, 61, 62):
        a = [_value(rng, bits, range(-301, 301)) for _ in range(2 * COUNT)]
        for i in range(COUNT):  # squares, and what lies next to them
            root = _magnitude(rng, rng.randrange(1, bits // 2 + 1)) if bits > 1 else 1
            square = (root * root << rng.randrange(2)) + rng.randrange(-1, 2)
            a[i] = Value(False, max(1, min(square, (1 << bits) - 1)), a[i].exponent)
        a = [Value(False, x.significand, x.exponent) for x in a] + [ZERO]

        def got(core: Core, a: list[Value] = a, bits: int = bits) -> Any:
            return _seen(core["exact"].square_root(_exact(core, a, 1), bits), bits)

        yield Promise(f"square_root {bits} bits", got, [_root(x, bits) for x in a])
    roots = [_magnitude(rng, 31) | 1 << 30 for _ in range(COUNT)] + [(1 << 31) - 1, 1 << 30]
    x = [r * r + d for r in roots for d in (-1, 0, 1, r, 2 * r - 1, 2 * r, 2 * r + 1) if 1 << 60 <= r * r + d < 1 << 62]
    yield Promise(
        "_isqrt",
        lambda core: [part.tolist() for part in core["exact"]._isqrt(_tensor(x))],
        [[isqrt(value) for value in x], [value - isqrt(value) ** 2 for value in x]],
    )
    signs = [Value(True, 1, 0), Value(False, 1, 0), ZERO, Value(True, 0, -1000)]
    yield Promise(
        "square_root of a negative value",
        lambda core: core["exact"].square_root(_exact(core, signs, 1), 62).kind.tolist(),
        [-1, 0, 0, 0],
    )


def _root(x: Value, bits: int) -> Seen:
    shift = 4 * bits + 8 + (x.unit & 1)
    square = x.significand << shift
    root = isqrt(square)
    return _see(2 * root + (root * root != square), (x.unit - shift) // 2 - 1, bits)


# Long sums -----------------------------------------------------------------------------------------------------------


def _long_sums(rng: random.Random) -> Iterator[Promise]:
    for limbs, words, columns in ((1, 8, 3), (2, 12, 7), (3, 14, 2), (1, 5, 1)):
        most = 32 * (words - 1) - LIMB * limbs - 12
        added = [
            (
                rng.randrange(columns),
                rng.random() < 0.5,
                _magnitude(rng, rng.randrange(1, LIMB * limbs + 1)),
                rng.randrange(most),
            )
            for _ in range(COUNT)
        ]
        added += [(column, not negative, x, position) for column, negative, x, position in added[: COUNT // 2]]
        totals = [sum(-x << p if n else x << p for c, n, x, p in added if c == column) for column in range(columns)]
        lowest = rng.randrange(-900, 900)

        def got(
            core: Core,
            limbs: int = limbs,
            shape: tuple[int, int] = (words, columns),
            added: Any = added,
            lowest: int = lowest,
        ) -> Any:
            column, negative, x, position = zip(*added, strict=True)
            sums = torch.zeros(shape, dtype=torch.int64)
            core["exact"].add_to_words(
                sums, _tensor(column), _split(x, limbs), _tensor([-n for n in negative]), _tensor(position)
            )
            core["exact"].carry_words(sums)
            carried = all(0 <= word < 1 << 32 for word in sums[:-1].reshape(-1).tolist())
            numbers = [sum(word << 32 * i for i, word in enumerate(sums[:, c].tolist())) for c in range(shape[1])]
            kind = torch.zeros(shape[1], dtype=torch.int64)
            return carried, numbers, _seen(core["exact"].from_words(sums, lowest, kind), 62)

        yield Promise(f"add_to_words {limbs} limbs", got, (True, totals, [_see(total, lowest, 62) for total in totals]))
    for words in (2, 3, 4, 5, 9):
        numbers = [rng.choice([-1, 1]) * _magnitude(rng, rng.randrange(1, 32 * (words - 1) + 1)) for _ in range(COUNT)]
        numbers += [0, 1, -1, -(1 << 32 * (words - 1))]

        def rounded(core: Core, words: int = words, numbers: list[int] = numbers) -> Any:
            rows = [[(x >> 32 * i) & 0xFFFFFFFF for i in range(words - 1)] + [x >> 32 * (words - 1)] for x in numbers]
            kind = torch.zeros(len(numbers), dtype=torch.int64)
            return _seen(core["exact"].from_words(_tensor(rows).T.contiguous(), -70, kind), 94)

        yield Promise(f"from_words {words}", rounded, [_see(x, -70, 94) for x in numbers])


# In and out ----------------------------------------------------------------------------------------------------------


def _integers(rng: random.Random) -> Iterator[Promise]:
    x = [0, 1, (1 << 64) - 1, 1 << 63, *(_magnitude(rng, rng.randrange(1, 65)) for _ in range(COUNT))]
    words = _tensor([value - (value >> 63 << 64) for value in x])
    signs = [-rng.randrange(2) for _ in x]
    yield Promise(
        "from_integer",
        lambda core: _seen(core["exact"].from_integer(words, _tensor(signs), torch.zeros_like(words)), 64),
        [_see(-value if sign else value, 0, 64) for value, sign in zip(x, signs, strict=True)],
    )
    for limbs in (1, 2, 3):
        values = [_value(rng, LIMB * limbs, range(-200, LIMB)) for _ in range(COUNT)] + [ZERO]

        def got(core: Core, limbs: int = limbs, values: list[Value] = values) -> Any:
            wide = core["pack"].pack_integer(_exact(core, values, limbs))
            masks = (wide.sign.tolist(), wide.nonzero.tolist())
            return wide.tail_bits, *masks, list(zip(wide.head.tolist(), wide.tail.tolist(), strict=True))

        parts = [divmod(_jammed(v.significand << 2000, max(0, 2000 - LIMB - v.unit)), 1 << LIMB) for v in values]
        masks = ([-v.negative for v in values], [-(v.significand != 0) for v in values])
        yield Promise(f"pack_integer {limbs}", got, (LIMB, *masks, parts))


POSITS = (
    (2, 0),
    (3, 0),
    (5, 4),
    (8, 2),
    (16, 1),
    (32, 2),
    (47, 2),
    (48, 0),
    (48, 3),
    (49, 1),
    (62, 0),
    (63, 3),
    (64, 0),
    (64, 2),
    (64, 4),
)
ROWS = (
    Row(2, 1, 1, "none"),
    Row(4, 3, 7, "fn"),
    Row(4, 3, 7, "fn", "nan"),
    Row(5, 2, 15, "ieee", "inf"),
    Row(5, 2, 15),
    Row(4, 3, 8, "fnuz", "nan"),
    Row(8, 23, 127, "ieee", "inf"),
    Row(11, 44, 1023, "ieee", "inf"),
    Row(11, 45, 1023, "ieee", "inf"),
    Row(11, 46, 1023, "ieee", "inf"),
    Row(11, 52, 1023, "ieee", "inf"),
    Row(6, 0, 20, "none"),
)


def _roundings(rng: random.Random) -> Iterator[Promise]:
    for fmt in (*POSITS, *ROWS):
        for rounding in RULES:
            for limbs in (1, 2, 3):
                values = [*_near(rng, fmt, LIMB * limbs), ZERO]
                bits = [rng.choice([0, 0xFFFF, rng.getrandbits(40)]) for _ in values]

                def got(
                    core: Core, fmt: Fmt = fmt, values: Any = values, limbs: int = limbs, how: Any = (rounding, bits)
                ) -> Any:
                    codes = core["round"].encode(
                        _exact(core, values, limbs), _record(core, fmt), how[0], _tensor(how[1])
                    )
                    return [_one_nan(code, fmt) for code in codes.tolist()]

                want = [_code(v.negative, v.dyadic, fmt, rounding, r) for v, r in zip(values, bits, strict=True)]
                yield Promise(f"encode {limbs} limbs in {_name(fmt)}, {rounding}", got, want)
        for kind, special in (("NAN", Special.NAN), ("INFINITE", Special.INF)):

            def coded(core: Core, fmt: Fmt = fmt, kind: str = kind) -> int:
                one = _exact(core, [Value(False, 1, 0)], 1)
                one = one._replace(kind=one.kind | getattr(core["decode"], kind))
                return _one_nan(int(core["round"].encode(one, _record(core, fmt))), fmt)

            yield Promise(f"encode {kind} in {_name(fmt)}", coded, _code(False, special, fmt, "nearest_even", 0))


Fmt = tuple[int, int] | Row


def _record(core: Core, fmt: Fmt) -> Any:
    """The format as a record of the refnum that the core belongs to."""
    return core["decode"].Minifloat(**fmt._asdict()) if isinstance(fmt, Row) else core["decode"].Posit(*fmt)


def _name(fmt: Fmt) -> str:
    return f"e{fmt.exponent}m{fmt.mantissa} {fmt.specials} {fmt.overflow}" if isinstance(fmt, Row) else f"posit{fmt}"


def _code(negative: bool, x: Dyadic | Special, fmt: Fmt, rounding: str, random_bits: int) -> int:
    """The right one; NaN, which an overflow may give with a sign, without it."""
    if isinstance(fmt, Row):
        return _one_nan(minifloat.encode(negative, x, fmt, rounding, random_bits), fmt)
    return posit.rounded(x if isinstance(x, Dyadic) else None, *fmt, rounding, random_bits)


def _one_nan(code: int, fmt: Fmt) -> int:
    if not isinstance(fmt, Row):
        return code
    code &= (1 << fmt.width) - 1
    return fmt.nan if fmt.nan is not None and code & ~fmt.sign_bit == fmt.nan else code


def _near(rng: random.Random, fmt: Fmt, bits: int) -> list[Value]:
    """Values of all lengths around the format's own, and at its ends; half of them with a last bit, far below."""
    least, largest = scales(fmt._asdict() if isinstance(fmt, Row) else {"n": fmt[0], "es": fmt[1]})
    ends = (least, least - 1, least + 1, largest, largest + 1, largest - 1, 2000)
    values = []
    for _ in range(24):
        keep = rng.choice(
            [rng.randrange(1, bits + 1), *(min(bits, fmt.mantissa + i) for i in (1, 2) if isinstance(fmt, Row))]
        )
        exponent = rng.choice([rng.randrange(least - 3, largest + 4), 0, rng.choice(ends)])
        if isinstance(fmt, Row):
            exponent = rng.choice([exponent, 1 - fmt.bias, -fmt.bias])
        significand = _magnitude(rng, keep) << (bits - keep) | rng.randrange(2)
        values.append(Value(rng.random() < 0.5, significand, exponent))
    return values
