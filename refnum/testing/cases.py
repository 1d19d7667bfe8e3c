"""Inputs on which numerics go wrong: the one home of generators.

Cases come in four kinds:

======  ==========================================================================================================
edges   zeros, NaR and NaN, Inf, 1, the ends of the range, every power of two, and the neighbours of all these
ties    what lies exactly between two results, or as near to that as operands can bring it, and its neighbours
spaced  evenly over the codes; with a ``count`` large enough, all of them
random  random codes with long regimes and short ones; random floats of every scale, and around 1
======  ==========================================================================================================

Random data alone proves nothing: a rounding goes wrong at ties, at the ends of the range, and in its sticky bit.

Each function returns at most ``count`` cases: all of them where there are no more, else a sample, the corners first.
Codes are int64 tensors on the CPU, patterns of posits sign-extended. They are made of integers only, so that
the same arguments give the same cases under any state of torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, INTEGERS, SIGNED, check_choice, check_format, check_posit
from ..errors import ContractError, DTypeError, FormatError
from ..formats import Format, Minifloat, Posit
from .dyadics import ONE, Dyadic, below, exactly, largest, midpoint, opposite, split, value, wrap

KINDS = ("edges", "ties", "spaced", "random")
LISTED = 24  #: bits of the widest format whose codes are all listed
NEAR_ONE = (1, 0, 0, 0, 0, -1, -1, -1, -1, -1, -2, -2, -2, -3, -3, -4)  #: floor(log2 |x|) for x in N(0,1), about

Row = tuple[int, ...]  #: the operands of one case
T = TypeVar("T", int, Row, str)
F = TypeVar("F", bound=Format)


# ---- one operand -----------------------------------------------------------------------------------------------------


def exhaustive(fmt: Format) -> Tensor:
    """All codes of a format of at most 24 bits, ascending.

    >>> exhaustive(Posit(3))
    tensor([-4, -3, -2, -1,  0,  1,  2,  3])
    """
    check_format("cases.exhaustive", fmt)
    if fmt.width > LISTED:
        raise FormatError(
            f"cases.exhaustive cannot list the 2**{fmt.width} codes of {fmt}. "
            f"Allowed are formats of at most {LISTED} bits. Use cases.patterns, which samples."
        )
    return _spaced(fmt, 1 << fmt.width)


def patterns(fmt: Format, kind: str, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Codes of a format, as operands of any function of one argument: ties are those of nearest_int and of sqrt.

    >>> patterns(Posit(8), "edges", count=16).sort().values  # the corners come first
    tensor([-128, -127, -126,  -65,  -64,  -63,   -2,   -1,    0,    1,    2,   63,
              64,   65,  126,  127])
    """
    check_format("cases.patterns", fmt)
    draw = _begin("cases.patterns", kind, count, seed, fmt)
    match kind:
        case "edges":
            return _column(_sample(_edges(fmt), count, draw, keep=_corners(fmt)))
        case "ties":
            rows = itertools.chain(*(_ties(TIES[op], fmt, count // 2, draw) for op in ("nearest_int", "sqrt")))
            return _column(_sample((code for (code,) in rows), count, draw))
        case "spaced":
            return _spaced(fmt, count)
        case _:
            return _random(fmt, count, draw)


def conversions(source: Format, target: Format, kind: str, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Codes of one format, as inputs of a conversion to another: edges are those of both, ties those of the target.

    Of a tie that the source does not hold stand the values around it.

    >>> conversions(Posit(5), Posit(3), "ties").sort().values  # -14, -10 .. 14 and their neighbours
    tensor([-15, -14, -13, -11, -10,  -9,  -7,  -6,  -5,  -3,  -2,  -1,   1,   2,
              3,   5,   6,   7,   9,  10,  11,  13,  14,  15])
    """
    check_format("cases.conversions", source)
    check_format("cases.conversions", target)
    draw = _begin("cases.conversions", kind, count, seed, source, target)
    match kind:
        case "edges":
            codes = itertools.chain(_edges(source), _around(_ends(target), source))
            return _column(_sample(codes, count, draw, keep=_corners(source)))
        case "ties":
            near = (abs(value(m, source)) for m in _magnitudes(source, count, draw))
            return _column(_sample(_around(_midpoints(target, near, count, draw), source), count, draw))
        case "spaced":
            return _spaced(source, count)
        case _:
            return _random(source, count, draw)


def floats(fmt: Format, kind: str, dtype: torch.dtype, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Floating-point values, as inputs of encode and quantize.

    With ``count`` large enough, ties are all midpoints of the format and their neighbours in ``dtype``. Random values
    have random bits, or lie around 1, or around a random power of two in the format's range.

    >>> floats(refnum.e2m1, "ties", torch.float16).sort().values[24:36]
    tensor([0.2499, 0.2500, 0.2502, 0.7495, 0.7500, 0.7505, 1.2490, 1.2500, 1.2510,
            1.7490, 1.7500, 1.7510], dtype=torch.float16)
    """
    check_format("cases.floats", fmt)
    if dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"cases.floats has no values of {dtype}. "
            "Allowed are float16, bfloat16, float32 and float64. Choose one of them."
        )
    row = FLOAT_ROWS[dtype]
    codes = conversions(row, fmt, kind, count=count, seed=seed)
    if kind == "random":
        codes[::2] = _rescaled(codes[::2], row, fmt, _begin("cases.floats", kind, count, seed, fmt, row))
    return codes.to(SIGNED[row.width]).view(dtype)


def integers(fmt: Format, kind: str, dtype: torch.dtype, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Integers, as inputs of from_int: ties are the midpoints of the format among them.

    >>> integers(Posit(3), "ties", torch.int8).sort().values  # of 0 and 1, 1 and maxpos, and the ends
    tensor([-128, -127,   -5,   -4,   -3,   -1,    0,    1,    3,    4,    5,  126,
             127], dtype=torch.int8)
    """
    check_format("cases.integers", fmt)
    if dtype not in INTEGERS:
        raise DTypeError(
            f"cases.integers has no values of {dtype}. "
            "Allowed are uint8, int8, int16, int32 and int64. Choose one of them."
        )
    draw = _begin("cases.integers", kind, count, seed, fmt, dtype)
    limits = torch.iinfo(dtype)
    near = [draw.getrandbits(draw.randrange(1, limits.bits)) for _ in range(count)]
    match kind:
        case "edges":
            powers = (sign << k for k in range(limits.bits) for sign in (1, -1))
            whole = [x + d for x in (0, *powers) for d in (-1, 0, 1)]
        case "ties":
            numbers = _midpoints(fmt, (Dyadic(x, 0) for x in near), count, draw)
            whole = [s * (_floor(x) + d) for x in numbers for d in (-1, 0, 1) for s in (1, -1)]
        case "spaced":
            return _evenly(limits.bits, count, limits.min).to(dtype)
        case _:
            whole = [x * draw.choice((1, -1)) for x in near]
    inside = (x for x in whole if limits.min <= x <= limits.max)
    ends = (0, limits.min, limits.min + 1, limits.max - 1, limits.max)
    return _column(_sample(inside, count, draw, keep=ends)).to(dtype)


def decimals(fmt: Posit, kind: str, *, count: int = 1000, seed: int = 0) -> list[str]:
    """Decimal numbers, as inputs of from_decimal: ties are exact midpoints, and those a digit above and below.

    >>> sorted(decimals(Posit(3), "ties"))[-9:]
    ['0.249', '0.25', '0.251', '255.9', '256', '256.1', '3.9', '4', '4.1']
    """
    check_posit("cases.decimals", fmt)
    draw = _begin("cases.decimals", kind, count, seed, fmt)
    match kind:
        case "ties":
            numbers = _midpoints(fmt, (), count, draw)
            near = (sign + _decimal(x, nudge) for x in numbers for nudge in (-1, 0, 1) for sign in ("", "-"))
            return _sample(near, count, draw)
        case "edges":
            odd = ("NaR", "-0", "+.5", "5.", "-1E+2", "1e9999", "-1e-9999")
            return _sample(_in_full(_edges(fmt), fmt), count, draw, keep=odd)
        case "spaced":
            return _sample(_in_full(_spaced(fmt, count).tolist(), fmt), count, draw)
        case _:
            powers = 2 + fmt.max_scale * 3 // 10  # of ten, and some more than the range has
            scientific = (
                f"{'-' * draw.getrandbits(1)}{draw.getrandbits(draw.randint(1, 80))}e{draw.randint(-powers, powers)}"
                for _ in range(count)
            )
            return _sample(scientific, count, draw)


def random_bits(*, count: int = 1000, seed: int = 0) -> Tensor:
    """Bits for stochastic rounding, which reads the low 16: half of these are the thresholds of ties, or the ends.

    >>> random_bits().shape
    torch.Size([1000])
    """
    draw = _begin("cases.random_bits", "random", count, seed)
    bits, choice = _words(count, draw), _words(count, draw)
    thresholds = torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFE, 0xFFFF, 0x4000], device="cpu")
    chosen = (bits & ~0xFFFF) | thresholds[choice & 7]
    return torch.where(choice < 0, chosen, bits)


# ---- several operands ------------------------------------------------------------------------------------------------


def tuples(op: str | int, fmt: Posit, kind: str, *, count: int = 1000, seed: int = 0) -> tuple[Tensor, ...]:
    """Operands of a function of posits, a column each.

    Ties are made to measure for each function, and come with the neighbours of each operand; besides, there are
    operands that are nearly equal, nearly opposite or a bit apart. Where ``op`` is a number of operands, ties are such
    operands alone. Spaced cases are a grid: with ``count`` large enough, all tuples.

    >>> a, b = tuples("add", Posit(8), "spaced", count=2**16)
    >>> len(set(zip(a.tolist(), b.tolist())))
    65536
    """
    check_posit("cases.tuples", fmt)
    if op not in (*TIES, 2, 3):
        raise ContractError(
            f"cases.tuples knows no ties of {op!r}. Allowed are {', '.join(TIES)}, and 2 or 3 for any function of so "
            "many operands. Give their number, or use cases.patterns for one operand."
        )
    draw = _begin("cases.tuples", kind, count, seed, fmt, op)
    arity = op if isinstance(op, int) else TIES[op].arity
    match kind:
        case "edges":
            return _columns(_edge_rows(fmt, arity, count, draw), arity)
        case "ties":
            others = _related(fmt, arity, count // 4 if op in TIES else count, draw) if arity > 1 else ()
            made = _ties(TIES[op], fmt, count - count // 4, draw) if isinstance(op, str) else ()
            return _columns(_sample(others, count, draw, keep=made), arity)
        case "spaced":
            side = round(count ** (1 / arity))
            side -= side**arity > count
            grid = torch.meshgrid(*(_spaced(fmt, side) for _ in range(arity)), indexing="ij")
            return tuple(axis.reshape(-1) for axis in grid)
        case _:
            return tuple(_random(fmt, count, draw) for _ in range(arity))


def dots(fmt: Posit, kind: str, *, count: int = 100, length: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors of patterns whose products are summed: two tensors ``[count, length]``.

    ======  ==========================================================================================================
    edges   the ends of the range, zeros, NaR
    ties    sums that cancel but for a tie, for a tie and a tiny term, or for a tiny term alone; of 4 terms or more
    spaced  evenly over the patterns, all magnitudes in each sum
    random  values around 1, or of all magnitudes
    ======  ==========================================================================================================

    >>> a, b = dots(Posit(16), "ties", count=2, length=8)
    >>> a.shape, b.dtype
    (torch.Size([2, 8]), torch.int64)
    """
    check_posit("cases.dots", fmt)
    _check_count("cases.dots", "length", length)
    draw = _begin("cases.dots", kind, count, seed, fmt, length)
    match kind:
        case "edges":
            rows = [_edge_terms(fmt, length, draw) for _ in range(count)]
        case "ties":
            rows = [_tie_terms(fmt, length, draw) for _ in range(count)]
        case "spaced":
            a, b = (_cycle(fmt, count * length, draw) for _ in range(2))
            return a.view(count, length), b.view(count, length)
        case _:
            rows = [_random_terms(fmt, length, draw) for _ in range(count)]
    terms = torch.tensor(rows, dtype=torch.int64, device="cpu")
    return terms[..., 0], terms[..., 1]


# ---- ties made to measure --------------------------------------------------------------------------------------------

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


def _ties(tie: Tie, fmt: Format, count: int, draw: Random) -> Iterator[Row]:
    """Ties of a function, each followed by the neighbours of each operand."""
    wanted = max(1, count // (1 + 2 * tie.arity))
    magnitudes = (_magnitudes(fmt, TRIES * wanted, draw) for _ in range(2))
    made = (tie.make(u, v, fmt, draw) for u, v in zip(*magnitudes, strict=True))  # type: ignore[arg-type]
    for tie_of_magnitudes in itertools.islice(filter(None, made), wanted):
        signs = draw.choice(tie.signs)
        row = tuple(x if sign > 0 else opposite(x, fmt) for x, sign in zip(tie_of_magnitudes, signs, strict=True))
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


def _midpoints(fmt: Format, near: Iterable[Dyadic], count: int, draw: Random) -> list[Dyadic]:
    """All midpoints when they, their neighbours and both signs are at most ``count``; else some, half near numbers."""
    wanted = max(1, count // 6)
    if largest(fmt) < wanted:
        return [midpoint(m, fmt) for m in range(largest(fmt) + 1)]
    ends = (0, 1, largest(fmt) - 1, largest(fmt))
    close = (below(x, fmt) for x in itertools.islice(near, wanted // 2))
    magnitudes = dict.fromkeys((*ends, *close, *_magnitudes(fmt, wanted, draw)))
    return [midpoint(m, fmt) for m in itertools.islice(magnitudes, wanted)]


def _related(fmt: Posit, arity: int, count: int, draw: Random) -> Iterator[Row]:
    """Operands that are nearly equal, nearly opposite, or equal but for a bit."""
    for a in _random(fmt, count, draw).tolist():
        near = (draw.choice((a, -a)) + draw.randint(-3, 3) for _ in range(arity - 1))
        flipped = (a ^ (1 << draw.randrange(fmt.n)) for _ in range(arity - 1))
        yield (a, *(wrap(draw.choice(pair), fmt) for pair in zip(near, flipped, strict=True)))


# ---- terms of sums ---------------------------------------------------------------------------------------------------


def _edge_terms(fmt: Posit, length: int, draw: Random) -> list[Row]:
    ends = [fmt.maxpos, -fmt.maxpos, 1, -1]
    palette = draw.choice(([fmt.maxpos], [1], [0], ends, [*ends, 0], [fmt.maxpos, 1], [*_corners(fmt)]))
    return [(draw.choice(palette), draw.choice(palette)) for _ in range(length)]


def _tie_terms(fmt: Posit, length: int, draw: Random) -> list[Row]:
    u, v, *others = _magnitudes(fmt, length + 2, draw)
    one = below(ONE, fmt)
    half_gap = _placed(1, 1, (midpoint(u, fmt) - value(u, fmt)).scale, fmt, draw)
    tie: list[Row] = [(u, one), half_gap or (0, 0)]
    tiny: list[Row] = [(draw.choice((1, min(v, one >> 1))), draw.choice((1, -1)))]
    sign = draw.choice((1, -1))
    terms: list[Row] = [(sign * x, y) for x, y in draw.choice((tie, tie + tiny, tiny))[:length]]
    room = length - len(terms)
    for x, y in zip(others[: room // 2], others[length // 2 :], strict=False):
        terms += (x, y), (-y, x)
    return draw.sample(terms + [(0, 0)] * (length - len(terms)), length)


def _random_terms(fmt: Posit, length: int, draw: Random) -> list[Row]:
    some = _near_one if draw.getrandbits(1) else _magnitudes
    a, b = some(fmt, length, draw), some(fmt, length, draw)
    return [(draw.choice((x, -x)), y) for x, y in zip(a, b, strict=True)]


def _near_one(fmt: Posit, count: int, draw: Random) -> list[int]:
    return [below(Dyadic(1 << 64 | draw.getrandbits(64), draw.choice(NEAR_ONE) - 64), fmt) for _ in range(count)]


def _cycle(fmt: Posit, count: int, draw: Random) -> Tensor:
    """All patterns or evenly spaced ones again and again, without NaR, shuffled."""
    codes = [code for code in _spaced(fmt, count + 2).tolist() if code != fmt.nar]
    cycle = list(itertools.islice(itertools.cycle(codes), count))
    draw.shuffle(cycle)
    return _column(cycle)


# ---- codes -----------------------------------------------------------------------------------------------------------


def _scales(fmt: Format) -> range:
    """log2 of all powers of two of the format, and one more at each end."""
    least = -fmt.max_scale if isinstance(fmt, Posit) else fmt.min_scale - fmt.mantissa
    return range(least - 1, fmt.max_scale + 2)


def _poles(fmt: Format) -> set[int]:
    """Codes at which something begins or ends."""
    magnitudes = {0, 1, below(ONE, fmt), largest(fmt)}
    match fmt:
        case Posit():
            magnitudes |= {fmt.nar}
        case Minifloat():
            top = (1 << (fmt.exponent + fmt.mantissa)) - 1
            magnitudes |= {1 << fmt.mantissa, top, fmt.infinity or 0, fmt.nan or 0}
    return {code for m in magnitudes for code in (wrap(m, fmt), opposite(m, fmt))}


def _neighbours(codes: Iterable[int], fmt: Format) -> set[int]:
    """The codes and those beside them, around the ring."""
    return {wrap(code + d, fmt) for code in codes for d in (-1, 0, 1)}


def _corners(fmt: Format) -> tuple[int, ...]:
    return tuple(sorted(_neighbours(_poles(fmt), fmt)))


@lru_cache(maxsize=64)
def _edges(fmt: Format) -> tuple[int, ...]:
    powers = {below(Dyadic(1, scale), fmt) for scale in _scales(fmt)}
    return tuple(sorted(_neighbours(_poles(fmt) | powers | {opposite(m, fmt) for m in powers}, fmt)))


def _ends(fmt: Format) -> Iterator[Dyadic]:
    """Powers of two of a format, and where its range begins and ends."""
    yield from (Dyadic(1, scale) for scale in _scales(fmt))
    for m in {0, 1, largest(fmt) - 1, largest(fmt)}:
        yield from (value(m, fmt), midpoint(m, fmt))


def _around(numbers: Iterable[Dyadic], fmt: Format) -> Iterator[int]:
    """Of each number that is not negative the code or the one below, and the codes beside it, with both signs."""
    for x in numbers:
        m = below(x, fmt)
        for near in (max(m - 1, 0), m, min(m + 1, largest(fmt))):
            yield from (near, opposite(near, fmt))


def _edge_rows(fmt: Posit, arity: int, count: int, draw: Random) -> list[Row]:
    """All tuples of poles, those of corners, then edges at random."""
    poles = set(itertools.product(sorted(_poles(fmt)), repeat=arity))
    corners, edges = _corners(fmt), _edges(fmt)
    others = set(_sample(itertools.product(corners, repeat=arity), count, draw, keep=poles))
    mixed = (tuple(draw.choice(edges) for _ in range(arity)) for _ in range(count - len(others)))
    return _sample(mixed, count, draw, keep=others)


def _spaced(fmt: Format, count: int) -> Tensor:
    return _evenly(fmt.width, count, fmt.nar if isinstance(fmt, Posit) else 0)


def _evenly(bits: int, count: int, first: int) -> Tensor:
    """Integers of so many bits from the first to the last one, as int64, which wraps around."""
    count = min(count, 1 << bits)
    step, rest = divmod((1 << bits) - 1, max(1, count - 1))
    i = torch.arange(count, dtype=torch.int64, device="cpu")
    return i * (step - (step >> 63 << 64)) + i * rest // max(1, count - 1) + first


def _random(fmt: Format, count: int, draw: Random) -> Tensor:
    words = _words(count, draw)
    if isinstance(fmt, Minifloat):
        return words & ((1 << fmt.width) - 1) if fmt.width < 64 else words
    # An arithmetic shift repeats the first bit. So come long regimes, which uniform patterns hardly ever have.
    n, choice = fmt.n, _words(count, draw)
    body = words >> ((choice & 0xFFFF) % (n - 1)) >> (65 - n) & fmt.maxpos
    return torch.where(choice < 0, words >> (64 - n), torch.where(choice & (1 << 16) > 0, body, -body))


def _magnitudes(fmt: Format, count: int, draw: Random) -> list[int]:
    return [min(split(code, fmt)[1], largest(fmt)) for code in _random(fmt, count, draw).tolist()]


def _rescaled(codes: Tensor, row: Minifloat, fmt: Format, draw: Random) -> Tensor:
    """Float codes with the same signs and fractions around 1, or around a power of two in the format's range."""
    assert row.bias is not None
    near = torch.tensor(NEAR_ONE, dtype=torch.int64, device="cpu")
    choice = _words(codes.numel(), draw)
    power = (choice >> 8 & 0xFFFF) % (2 * fmt.max_scale + 1) - fmt.max_scale
    scale = near[choice & 15] + torch.where(choice < 0, 0, power)
    field = (row.bias + scale).clamp(0, (1 << row.exponent) - 2) << row.mantissa
    fields = ((1 << row.exponent) - 1) << row.mantissa
    return codes & ~fields | field


def _words(count: int, draw: Random) -> Tensor:
    """Random int64."""
    return torch.frombuffer(bytearray(draw.randbytes(8 * count)), dtype=torch.int64)


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _floor(x: Dyadic) -> int:
    return x.m << x.e if x.e >= 0 else x.m >> -x.e


def _in_full(codes: Iterable[int], fmt: Posit) -> Iterator[str]:
    for x in (value(code, fmt) for code in codes if code != fmt.nar):
        yield "-" * (x.m < 0) + _decimal(abs(x), 0)


def _decimal(x: Dyadic, nudge: int) -> str:
    """x >= 0 in full; with a nudge, so much more in the digit behind."""
    places = max(0, -x.e)
    digits = (x.m << max(0, x.e)) * 5**places
    if nudge:
        digits, places = 10 * digits + nudge, places + 1
    text = str(digits).rjust(places + 1, "0")
    return f"{text[:-places]}.{text[-places:]}" if places else text


# ---- what is asked for -----------------------------------------------------------------------------------------------


def _begin(function: str, kind: object, count: object, seed: int, *names: object) -> Random:
    """Check the named choices; random numbers of their own for each question."""
    check_choice(function, "kind", kind, KINDS)
    _check_count(function, "count", count)
    return Random(" ".join(map(str, (function, kind, seed, *names))))


def _check_count(function: str, name: str, got: object) -> None:
    if isinstance(got, bool) or not isinstance(got, int) or got < 1:
        raise ContractError(f"{function} cannot make {name}={got!r} cases. Allowed is an int of 1 or more. Choose one.")


def _sample(cases: Iterable[T], count: int, draw: Random, keep: Iterable[T] = ()) -> list[T]:
    """Distinct cases: those to keep and then the others, both shuffled, so that a part of them is a sample too."""
    kept = sorted(set(keep))
    others = sorted(set(cases).difference(kept))
    first = draw.sample(kept, min(len(kept), count))
    return first + draw.sample(others, min(len(others), count - len(first)))


def _column(codes: Sequence[int]) -> Tensor:
    return torch.tensor(codes, dtype=torch.int64, device="cpu")


def _columns(rows: Sequence[Row], arity: int) -> tuple[Tensor, ...]:
    return torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, arity).T.contiguous().unbind(0)
