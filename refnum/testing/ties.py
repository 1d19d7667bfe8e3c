"""Ties made to measure: operands whose exact result lies half way between two posits, or all but there."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from ..formats import Codebook, Format, Posit, Scalar
from .codes import anywhere, corners, magnitudes, near_one
from .dyadics import ONE, Dyadic, below, borders, exactly, largest, midpoint, opposite, value, wrap

Row = tuple[int, ...]  #: the operands of one case
F = TypeVar("F", bound=Format)

TRIES = 8  #: how often a construction that may fail is tried


@dataclass(frozen=True, slots=True)
class Tie:
    """How ties of a function are made."""

    arity: int  #: how many operands the function has
    make: Callable[[int, int, Posit, Random], Row | None]  #: from two magnitudes; None when they are of no use
    signs: tuple[Row, ...]  #: signs of the operands under which a tie stays one


def _integer_tie(u: int, v: int, fmt: Format, draw: Random) -> Row | None:
    """k + 1/2, also where k ends an integer range, which rounding up then leaves."""
    ends = (1 << draw.choice((7, 8, 15, 16, 31, 32, 63, 64))) - 1
    k = draw.getrandbits(draw.randint(0, fmt.significand_bits)) if draw.randrange(4) else ends
    return (below(Dyadic(2 * k + 1, -1), fmt),)


def _root_tie(u: int, v: int, fmt: Format, draw: Random) -> Row | None:
    """The square of a value or of a midpoint, or next to it. A midpoint's has too many bits to be hit."""
    if draw.randrange(3) == 0:
        return _tried(_near_root, fmt, draw)
    x = draw.choice((value, midpoint))(u, fmt)
    return (below(x * x, fmt),) if abs(2 * x.scale) < fmt.max_scale else None


def _sum_tie(u: int, v: int, fmt: Posit, draw: Random) -> Row | None:
    """A value not far from the midpoint, and an odd number of half gaps."""
    a = _nearby(u, fmt, draw)
    b = exactly(midpoint(u, fmt) - value(a, fmt), fmt)
    return None if b is None else draw.choice(((a, b), (b, a)))


def _difference_tie(u: int, v: int, fmt: Posit, draw: Random) -> Row | None:
    row = _sum_tie(u, v, fmt, draw)
    return row and (row[0], opposite(row[1], fmt))


def _product_tie(u: int, v: int, fmt: Posit, draw: Random) -> Row | None:
    return _factors(midpoint(u, fmt), fmt, draw) if draw.randrange(3) else _tried(_near_product, fmt, draw)


def _quotient_tie(u: int, v: int, fmt: Posit, draw: Random) -> Row | None:
    """The midpoint times a divisor of few bits. Only midpoints of less than full precision leave it room."""
    if draw.randrange(8) == 0:
        return _tried(_near_quotient, fmt, draw)
    x = midpoint(u, fmt)
    room = fmt.significand_bits - x.m.bit_length()
    if room < 0:
        return None
    q = _odd(room, draw)
    divisor = Dyadic(q, _jitter(fmt, draw) - x.scale - q.bit_length())
    a, b = exactly(x * divisor, fmt), exactly(divisor, fmt)
    return None if a is None or b is None else (a, b)


def _fma_tie(u: int, v: int, fmt: Posit, draw: Random) -> Row | None:
    match draw.randrange(3):
        case 0:  # a product that is a tie, and at most a tiny addend
            row = _product_tie(u, v, fmt, draw)
            tiny = draw.choice((0, 1, 2, min(v, below(ONE, fmt) >> 1)))
            return row and (*row, draw.choice((tiny, opposite(tiny, fmt))))
        case 1:  # an addend, and a product that is an odd number of half gaps
            c = _nearby(u, fmt, draw)
            row = _factors(midpoint(u, fmt) - value(c, fmt), fmt, draw)
            return row and (*row, c)
        case _:  # a product that cancels but for its last bits
            c = below(value(u, fmt) * value(v, fmt), fmt)
            return u, v, opposite(min(max(c + draw.randint(-1, 1), 0), fmt.maxpos), fmt)


def _fmm_tie(u: int, v: int, fmt: Posit, draw: Random) -> Row | None:
    if (row := _product_tie(u, v, fmt, draw)) is None:
        return None
    x = value(row[1], fmt)
    rest = _placed(1, x.m, x.e, fmt, draw)
    return rest and tuple(draw.sample((row[0], *rest), 3))


_ANY, _BOTH = ((1,), (-1,)), ((1, 1), (-1, -1))
TIES = {
    "nearest_int": Tie(1, _integer_tie, _ANY),
    "ceil": Tie(1, _integer_tie, _ANY),
    "floor": Tie(1, _integer_tie, _ANY),
    "to_int": Tie(1, _integer_tie, _ANY),
    "sqrt": Tie(1, _root_tie, ((1,),)),
    "add": Tie(2, _sum_tie, _BOTH),
    "sub": Tie(2, _difference_tie, _BOTH),
    "mul": Tie(2, _product_tie, tuple(itertools.product((1, -1), repeat=2))),
    "div": Tie(2, _quotient_tie, tuple(itertools.product((1, -1), repeat=2))),
    "fma": Tie(3, _fma_tie, ((1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1))),
    "fmm": Tie(3, _fmm_tie, tuple(itertools.product((1, -1), repeat=3))),
}


def made(tie: Tie, fmt: Format, count: int, draw: Random) -> Iterator[Row]:
    """Ties of a function, each followed by the neighbours of each operand."""
    wanted = max(1, count // (1 + 2 * tie.arity))
    pairs = zip(*(magnitudes(fmt, TRIES * wanted, draw) for _ in range(2)), strict=True)
    unsigned = (tie.make(u, v, fmt, draw) for u, v in pairs)  # type: ignore[arg-type]
    for operands in itertools.islice(filter(None, unsigned), wanted):
        signs = draw.choice(tie.signs)
        row = tuple(x if sign > 0 else opposite(x, fmt) for x, sign in zip(operands, signs, strict=True))
        yield row
        for i, d in itertools.product(range(tie.arity), (-1, 1)):
            yield (*row[:i], wrap(row[i] + d, fmt), *row[i + 1 :])


def _near_product(fmt: Posit, draw: Random) -> Row | None:
    """a * b = t * 2**s + d, with d = 1 or -1 and an odd t of one bit too many, solved for b modulo 2**(s + 1)."""
    p = fmt.significand_bits
    a, s, d = _full(p, draw), p - 2, draw.choice((1, -1))
    if s < 1:
        return None
    b = ((1 << s) + d) * pow(a, -1, 2 << s) % (2 << s) | 2 << s
    t = (a * b - d) >> s
    if t.bit_length() != p + 1 or not _deadly(t, d):
        return None
    return _scaled(fmt, draw, a, b, lambda scale, i: scale - i)


def _near_quotient(fmt: Posit, draw: Random) -> Row | None:
    """a * 2**p = t * b - d, with d = 1 or -1 and an odd t of one bit too many, solved for t modulo 2**p."""
    p = fmt.significand_bits
    b, d = _full(p, draw), draw.choice((1, -1))
    t = d * pow(b, -1, 1 << p) % (1 << p) | 1 << p
    a = (t * b - d) >> p
    if a.bit_length() != p or not _deadly(t, -d):
        return None
    return _scaled(fmt, draw, a, b, lambda scale, i: i - scale)


def _near_root(fmt: Format, draw: Random) -> Row | None:
    """a * 2**(p + 2) = t**2 - d, with a small d and an odd t of one bit too many: a root modulo 2**(p + 2)."""
    p = fmt.significand_bits
    t, d = 1, 8 * draw.randint(-16, 16) + 1  # what has a root modulo 8 has one modulo each power of two
    for i in range(3, p + 2):
        t |= ((t * t - d) >> i & 1) << (i - 1)
    t = max(t, (2 << p) - t)  # p + 1 bits
    code = exactly(Dyadic((t * t - d) >> (p + 2), 2 - p + 2 * draw.choice((0, -1))), fmt)
    return (code,) if code is not None and code > 0 and _deadly(t, -d) else None


def _deadly(t: int, excess: int) -> bool:
    """Whether what misses the midpoint t by an excess goes the other way than the tie, which goes to even."""
    return (excess > 0) == (t & 2 == 0)


def _tried(make: Callable[[F, Random], Row | None], fmt: F, draw: Random) -> Row | None:
    """The first success of many tries."""
    return next(filter(None, (make(fmt, draw) for _ in range(4 * TRIES))), None)


def _full(bits: int, draw: Random) -> int:
    """An odd number of so many bits."""
    return 1 << (bits - 1) | draw.getrandbits(bits) | 1


def _scaled(fmt: Posit, draw: Random, a: int, b: int, scale_of_b: Callable[[int, int], int]) -> Row | None:
    """Full significands as posits, so that the result, too, is on a scale where posits have most bits."""
    scale, i = (draw.randint(-1 << fmt.es, (1 << fmt.es) - 1) for _ in range(2))
    shift = 1 - fmt.significand_bits
    x, y = exactly(Dyadic(a, i + shift), fmt), exactly(Dyadic(b, scale_of_b(scale, i) + shift), fmt)
    return None if x is None or y is None else (x, y)


def _nearby(u: int, fmt: Posit, draw: Random) -> int:
    """The magnitude, or one not far from it."""
    away = draw.choice((0, draw.getrandbits(2), draw.getrandbits(draw.randint(1, fmt.n))))
    return min(max(u + draw.choice((1, -1)) * away, 0), fmt.maxpos)


def _odd(bits: int, draw: Random) -> int:
    return draw.getrandbits(draw.randint(1, max(1, bits))) | 1


def _jitter(fmt: Posit, draw: Random) -> int:
    """A scale around 0, where posits have most bits."""
    return draw.randint(-4 << fmt.es, 4 << fmt.es)


def _factors(x: Dyadic, fmt: Posit, draw: Random) -> Row | None:
    """Two posits whose product is x, or a number of the same scale and as many bits, the last one set."""
    odd = abs(x.m)
    zeros = (odd & -odd).bit_length() - 1
    odd >>= zeros
    q = _odd(min(odd.bit_length(), fmt.significand_bits), draw)
    m = q * (odd // q | 1)
    if m.bit_length() != odd.bit_length():
        q, m = 1, odd
    row = _placed(q, m // q, x.e + zeros, fmt, draw)
    return row if row is None or x.m > 0 else (opposite(row[0], fmt), row[1])


def _placed(q: int, r: int, e: int, fmt: Posit, draw: Random) -> Row | None:
    """Posits q * 2**i and r * 2**(e - i), for some i at which there are such posits."""
    whole = Dyadic(q * r, e).scale
    for _ in range(TRIES):
        i = draw.choice((0, whole // 2, whole)) + _jitter(fmt, draw) - q.bit_length() + 1
        a, b = exactly(Dyadic(q, i), fmt), exactly(Dyadic(r, e - i), fmt)
        if a is not None and b is not None:
            return a, b
    return None


def related(fmt: Posit, arity: int, count: int, draw: Random) -> Iterator[Row]:
    """Operands that are nearly equal, nearly opposite, or equal but for a bit."""
    for a in anywhere(fmt, count, draw).tolist():
        near = (draw.choice((a, -a)) + draw.randint(-3, 3) for _ in range(arity - 1))
        flipped = (a ^ (1 << draw.randrange(fmt.n)) for _ in range(arity - 1))
        yield (a, *(wrap(draw.choice(pair), fmt) for pair in zip(near, flipped, strict=True)))


def midpoints(fmt: Scalar, near: Iterable[Dyadic], count: int, draw: Random) -> list[Dyadic]:
    """All midpoints when they, their neighbours and both signs are at most ``count``; else some, half near numbers.

    Of negative ones stand the magnitudes.
    """
    wanted = max(1, count // 6)
    if isinstance(fmt, Codebook):
        every = [abs(x) for x in borders(fmt)]
        return every if len(every) <= wanted else draw.sample(every, wanted)
    if largest(fmt) < wanted:
        return [midpoint(m, fmt) for m in range(largest(fmt) + 1)]
    ends = (0, 1, largest(fmt) - 1, largest(fmt))
    close = (below(x, fmt) for x in itertools.islice(near, wanted // 2))
    chosen = dict.fromkeys((*ends, *close, *magnitudes(fmt, wanted, draw)))
    return [midpoint(m, fmt) for m in itertools.islice(chosen, wanted)]


# ---- terms of sums ---------------------------------------------------------------------------------------------------


def edge_terms(fmt: Posit, length: int, draw: Random) -> list[Row]:
    """Terms from a few codes at the ends of the range."""
    ends = [fmt.maxpos, -fmt.maxpos, 1, -1]
    palette = draw.choice(([fmt.maxpos], [1], [0], ends, [*ends, 0], [fmt.maxpos, 1], [*corners(fmt)]))
    return [(draw.choice(palette), draw.choice(palette)) for _ in range(length)]


def tie_terms(fmt: Posit, length: int, draw: Random) -> list[Row]:
    """Terms that cancel but for a tie, for a tie and a tiny term, or for a tiny term alone."""
    u, v, *others = magnitudes(fmt, length + 2, draw)
    one = below(ONE, fmt)
    rest = midpoint(u, fmt) - value(u, fmt)
    half_gap = _placed(1, rest.m, rest.e, fmt, draw)
    tie: list[Row] = [(u, one), half_gap or (0, 0)]
    tiny: list[Row] = [(draw.choice((1, min(v, one >> 1))), draw.choice((1, -1)))]
    sign = draw.choice((1, -1))
    terms: list[Row] = [(sign * x, y) for x, y in draw.choice((tie, tie + tiny, tiny))[:length]]
    room = length - len(terms)
    for x, y in zip(others[: room // 2], others[length // 2 :], strict=False):
        terms += (x, y), (-y, x)
    return draw.sample(terms + [(0, 0)] * (length - len(terms)), length)


def random_terms(fmt: Posit, length: int, draw: Random) -> list[Row]:
    """Terms around 1, or of all magnitudes."""
    some = near_one if draw.getrandbits(1) else magnitudes
    a, b = some(fmt, length, draw), some(fmt, length, draw)
    return [(draw.choice((x, -x)), y) for x, y in zip(a, b, strict=True)]
