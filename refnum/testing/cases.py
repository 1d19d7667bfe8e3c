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
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import TypeVar

import torch
from torch import Tensor

from ..boundary import (
    FLOAT_ROWS,
    INTEGERS,
    SIGNED,
    check_block,
    check_choice,
    check_format,
    check_posit,
    check_scalar,
)
from ..errors import ContractError, DTypeError, FormatError
from ..formats import Block, Exponent, Format, Minifloat, Posit, Scalar
from . import terms
from .codes import anywhere, around, corners, edges, ends, evenly, magnitudes, poles, rescaled, spaced, words
from .dyadics import Dyadic, value
from .ties import TIES as TIES
from .ties import Row, edge_terms, made, midpoints, random_terms, related, tie_terms

KINDS = ("edges", "ties", "spaced", "random")
LISTED = 24  #: bits of the widest format whose codes are all listed

T = TypeVar("T", int, Row, str)


# ---- one operand -----------------------------------------------------------------------------------------------------


def exhaustive(fmt: Scalar) -> Tensor:
    """All codes of a format of at most 24 bits, ascending.

    >>> exhaustive(Posit(3))
    tensor([-4, -3, -2, -1,  0,  1,  2,  3])
    """
    check_scalar("cases.exhaustive", fmt)
    if fmt.width > LISTED:
        raise FormatError(
            f"cases.exhaustive cannot list the 2**{fmt.width} codes of {fmt}. "
            f"Allowed are formats of at most {LISTED} bits. Use cases.patterns, which samples."
        )
    return spaced(fmt, 1 << fmt.width)


def patterns(fmt: Scalar | Exponent, kind: str, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Codes of a format, as operands of any function of one argument: ties are those of nearest_int and of sqrt.

    Formats that are not of floating point have no such functions, and no ties: codes are then spaced evenly.

    >>> patterns(Posit(8), "edges", count=16).sort().values  # the corners come first
    tensor([-128, -127, -126,  -65,  -64,  -63,   -2,   -1,    0,    1,    2,   63,
              64,   65,  126,  127])
    """
    if not isinstance(fmt, Exponent):
        check_scalar("cases.patterns", fmt)
    draw = _begin("cases.patterns", kind, count, seed, fmt)
    match kind:
        case "edges":
            return _column(_sample(edges(fmt), count, draw, keep=corners(fmt)))
        case "ties" if isinstance(fmt, Format):
            rows = itertools.chain(*(made(TIES[op], fmt, count // 2, draw) for op in ("nearest_int", "sqrt")))
            return _column(_sample((code for (code,) in rows), count, draw))
        case "spaced" | "ties":
            return spaced(fmt, count)
        case _:
            return anywhere(fmt, count, draw)


def conversions(source: Format, target: Scalar, kind: str, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Codes of one format, as inputs of a conversion to another: edges are those of both, ties those of the target.

    Of a tie that the source does not hold stand the values around it.

    >>> conversions(Posit(5), Posit(3), "ties").sort().values  # -14, -10 .. 14 and their neighbours
    tensor([-15, -14, -13, -11, -10,  -9,  -7,  -6,  -5,  -3,  -2,  -1,   1,   2,
              3,   5,   6,   7,   9,  10,  11,  13,  14,  15])
    """
    check_format("cases.conversions", source)
    check_scalar("cases.conversions", target)
    draw = _begin("cases.conversions", kind, count, seed, source, target)
    match kind:
        case "edges":
            codes = itertools.chain(edges(source), around(ends(target), source))
            return _column(_sample(codes, count, draw, keep=corners(source)))
        case "ties":
            near = (abs(value(m, source)) for m in magnitudes(source, count, draw))
            return _column(_sample(around(midpoints(target, near, count, draw), source), count, draw))
        case "spaced":
            return spaced(source, count)
        case _:
            return anywhere(source, count, draw)


def floats(fmt: Scalar, kind: str, dtype: torch.dtype, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Floating-point values, as inputs of encode and quantize.

    With ``count`` large enough, ties are all midpoints of the format and their neighbours in ``dtype``. Random values
    have random bits, or lie around 1, or around a random power of two in the format's range.

    >>> floats(refnum.e2m1, "ties", torch.float16).sort().values[24:36]
    tensor([0.2499, 0.2500, 0.2502, 0.7495, 0.7500, 0.7505, 1.2490, 1.2500, 1.2510,
            1.7490, 1.7500, 1.7510], dtype=torch.float16)
    """
    check_scalar("cases.floats", fmt)
    if dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"cases.floats has no values of {dtype}. "
            "Allowed are float16, bfloat16, float32 and float64. Choose one of them."
        )
    row = FLOAT_ROWS[dtype]
    codes = conversions(row, fmt, kind, count=count, seed=seed)
    if kind == "random":
        codes[::2] = rescaled(codes[::2], row, fmt, _begin("cases.floats", kind, count, seed, fmt, row))
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
            numbers = midpoints(fmt, (Dyadic(x, 0) for x in near), count, draw)
            whole = [s * (_floor(x) + d) for x in numbers for d in (-1, 0, 1) for s in (1, -1)]
        case "spaced":
            return evenly(limits.bits, count, limits.min).to(dtype)
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
            numbers = midpoints(fmt, (), count, draw)
            near = (sign + _decimal(x, nudge) for x in numbers for nudge in (-1, 0, 1) for sign in ("", "-"))
            return _sample(near, count, draw)
        case "edges":
            odd = ("NaR", "-0", "+.5", "5.", "-1E+2", "1e9999", "-1e-9999")
            return _sample(_in_full(edges(fmt), fmt), count, draw, keep=odd)
        case "spaced":
            return _sample(_in_full(spaced(fmt, count).tolist(), fmt), count, draw)
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
    bits, choice = words(count, draw), words(count, draw)
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
            others = related(fmt, arity, count // 4 if op in TIES else count, draw) if arity > 1 else ()
            rows = made(TIES[op], fmt, count - count // 4, draw) if isinstance(op, str) else ()
            return _columns(_sample(others, count, draw, keep=rows), arity)
        case "spaced":
            side = round(count ** (1 / arity))
            side -= side**arity > count
            grid = torch.meshgrid(*(spaced(fmt, side) for _ in range(arity)), indexing="ij")
            return tuple(axis.reshape(-1) for axis in grid)
        case _:
            return tuple(anywhere(fmt, count, draw) for _ in range(arity))


def dots(fmt: Format, kind: str, *, count: int = 100, length: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Vectors of codes whose products are summed: two tensors ``[count, length]``.

    ======  ==========================================================================================================
    edges   the ends of the range, zeros, NaR; numbers around 1
    ties    sums that cancel but for a tie, for a tie and a tiny term, or for a tiny term alone; of 4 terms or more
    spaced  evenly over the codes, all magnitudes in each sum
    random  values around 1, or of all magnitudes
    ======  ==========================================================================================================

    >>> a, b = dots(Posit(16), "ties", count=2, length=8)
    >>> a.shape, b.dtype
    (torch.Size([2, 8]), torch.int64)
    """
    check_format("cases.dots", fmt)
    _check_count("cases.dots", "length", length)
    draw = _begin("cases.dots", kind, count, seed, fmt, length)
    if isinstance(fmt, Minifloat):
        return terms.vectors(kind, count, length, fmt, draw)
    match kind:
        case "edges":
            rows = [edge_terms(fmt, length, draw) for _ in range(count)]
        case "ties":
            rows = [tie_terms(fmt, length, draw) for _ in range(count)]
        case "spaced":
            a, b = (_cycle(fmt, count * length, draw) for _ in range(2))
            return a.view(count, length), b.view(count, length)
        case _:
            rows = [random_terms(fmt, length, draw) for _ in range(count)]
    return terms.sides(rows)


def blocks(fmt: Block, kind: str, dtype: torch.dtype, *, count: int = 100, seed: int = 0) -> Tensor:
    """Blocks of floating-point values, inputs of mx.quantize: ``[count, elements]``, or tiles ``[count, *fmt.size]``.

    ======  ==========================================================================================================
    edges   the largest magnitude at edges of the dtype, and in every binade where a rule changes the scale; among
            zeros, among its like, a little above the others; NaN and Inf
    ties    elements at the ties of their format under the block's scale, and beside them
    spaced  evenly over the bits
    random  any bits; values some binades apart
    ======  ==========================================================================================================

    >>> blocks(refnum.mxfp4, "ties", torch.bfloat16, count=5).shape
    torch.Size([5, 32])
    """
    check_block("cases.blocks", fmt)
    if dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"cases.blocks has no values of {dtype}. "
            "Allowed are float16, bfloat16, float32 and float64. Choose one of them."
        )
    row = FLOAT_ROWS[dtype]
    rows, columns = fmt.tile
    size = rows * columns
    draw = _begin("cases.blocks", kind, count, seed, fmt, row)
    match kind:
        case "edges":
            heads = _sample(terms.heads(row, fmt.element), count, draw, keep=corners(row))
            codes = _signed([terms.edge_block(head, size, row, draw) for head in heads], row)
        case "ties":
            codes = _signed([terms.tie_block(fmt, row, draw) for _ in range(count)], row)
        case "spaced":
            codes = terms.spaced_terms(count * size, row, draw)
        case _:
            codes = terms.near_blocks(count, fmt, row, draw)
    shape = (size,) if rows == 1 else (rows, columns)
    return codes.to(SIGNED[row.width]).view(dtype).view(-1, *shape)


# ---- numbers ---------------------------------------------------------------------------------------------------------


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


def _floor(x: Dyadic) -> int:
    return x.m << x.e if x.e >= 0 else x.m >> -x.e


# ---- samples ---------------------------------------------------------------------------------------------------------


def _edge_rows(fmt: Posit, arity: int, count: int, draw: Random) -> list[Row]:
    """All tuples of poles, those of corners, then edges at random."""
    best = itertools.product(sorted(poles(fmt)), repeat=arity)
    good = set(_sample(itertools.product(corners(fmt), repeat=arity), count, draw, keep=best))
    mixed = (tuple(draw.choice(edges(fmt)) for _ in range(arity)) for _ in range(count - len(good)))
    return _sample(mixed, count, draw, keep=good)


def _cycle(fmt: Posit, count: int, draw: Random) -> Tensor:
    """All patterns or evenly spaced ones again and again, without NaR, shuffled."""
    codes = [code for code in spaced(fmt, count + 2).tolist() if code != fmt.nar]
    cycle = list(itertools.islice(itertools.cycle(codes), count))
    draw.shuffle(cycle)
    return _column(cycle)


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


def _signed(rows: Sequence[Sequence[int]], row: Minifloat) -> Tensor:
    """Codes of a row that has a sign, of which the low bits are read, as integers that have one."""
    half = 1 << (row.width - 1)
    signed = [[(code + half) % (2 * half) - half for code in codes] for codes in rows]
    return torch.tensor(signed, dtype=torch.int64, device="cpu")


def _columns(rows: Sequence[Row], arity: int) -> tuple[Tensor, ...]:
    return torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, arity).T.contiguous().unbind(0)
