"""Codes of a format: where something begins or ends, evenly spaced ones, random ones. Integers only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random

import torch
from torch import Tensor

from ..formats import DMF, Codebook, Exponent, FixedPoint, Format, Logarithmic, Minifloat, Posit, Scalar, unit_scale
from .dyadics import (
    ONE,
    Coded,
    Dyadic,
    Ordered,
    below,
    borders,
    dyadic,
    is_integer,
    largest,
    midpoint,
    opposite,
    split,
    value,
    wrap,
)

NEAR_ONE = (1, 0, 0, 0, 0, -1, -1, -1, -1, -1, -2, -2, -2, -3, -3, -4)  #: floor(log2 |x|) for x in N(0,1), about


def _scales(fmt: Coded) -> range:
    """log2 of all powers of two of the format, and one more at each end."""
    if isinstance(fmt, Exponent):
        return range(fmt.least - 1, fmt.largest + 2)
    return range(unit_scale(fmt) - 1, fmt.max_scale + 2)


def poles(fmt: Ordered) -> set[int]:
    """Codes at which something begins or ends."""
    magnitudes = {0, 1, below(ONE, fmt), largest(fmt)}
    match fmt:
        case Posit():
            magnitudes |= {fmt.nar}
        case Minifloat():
            top = (1 << (fmt.exponent + fmt.mantissa)) - 1
            magnitudes |= {1 << fmt.mantissa, top, fmt.infinity or 0, fmt.nan or 0}
        case FixedPoint() | Exponent():
            magnitudes |= {fmt.least}
        case DMF():
            magnitudes |= {1 << fmt.mantissa}
    return {code for m in magnitudes for code in (wrap(m, fmt), opposite(m, fmt))}


def _neighbours(codes: Iterable[int], fmt: Ordered) -> set[int]:
    """The codes and those beside them, around the ring."""
    return {wrap(code + d, fmt) for code in codes for d in (-1, 0, 1)}


def corners(fmt: Coded) -> tuple[int, ...]:
    """The poles and their neighbours."""
    if isinstance(fmt, Codebook):
        return _shelf(fmt, {0, fmt.zero, len(fmt.values) - 1})
    return tuple(sorted(_neighbours(poles(fmt), fmt)))


@lru_cache(maxsize=64)
def edges(fmt: Coded) -> tuple[int, ...]:
    """The corners, and all powers of two with their neighbours."""
    if isinstance(fmt, Codebook):
        powers = {place for place, x in enumerate(fmt.values) if abs(x.as_integer_ratio()[0]).bit_count() == 1}
        return tuple(sorted({*corners(fmt), *_shelf(fmt, powers)}))
    powers = {below(Dyadic(1, scale), fmt) for scale in _scales(fmt)}
    return tuple(sorted(_neighbours(poles(fmt) | powers | {opposite(m, fmt) for m in powers}, fmt)))


def _shelf(fmt: Codebook, places: set[int]) -> tuple[int, ...]:
    """Codes at these places in the order of values, of their neighbours, and of what is no number."""
    assert fmt.codes is not None
    near = {place + d for place in places for d in (-1, 0, 1)} & set(range(len(fmt.values)))
    return tuple(sorted({*(fmt.codes[place] for place in near), *(code for _, code in fmt.specials)}))


def ends(fmt: Scalar) -> Iterator[Dyadic]:
    """Powers of two of a format, and where its range begins and ends; magnitudes."""
    yield from (Dyadic(1, scale) for scale in _scales(fmt))
    if isinstance(fmt, Codebook):
        beside = borders(fmt)
        yield from (abs(dyadic(fmt.values[place])) for place in (0, fmt.zero, -1))
        yield from (abs(beside[place]) for place in (0, 1, fmt.zero, fmt.zero + 1, -2, -1))
    else:
        for m in {0, 1, largest(fmt) - 1, largest(fmt)}:
            yield from (value(m, fmt), midpoint(m, fmt))


def around(numbers: Iterable[Dyadic], fmt: Ordered) -> Iterator[int]:
    """Of each number that is not negative the code or the one below, and the codes beside it, with both signs."""
    for x in numbers:
        m = below(x, fmt)
        for near in (max(m - 1, 0), m, min(m + 1, largest(fmt))):
            yield from (near, opposite(near, fmt))


def spaced(fmt: Coded, count: int) -> Tensor:
    """At most so many codes, from the first to the last."""
    return evenly(fmt.width, count, -(1 << (fmt.width - 1)) if is_integer(fmt) else 0)


def evenly(bits: int, count: int, first: int) -> Tensor:
    """Integers of so many bits from the first to the last one, as int64, which wraps around."""
    count = min(count, 1 << bits)
    step, rest = divmod((1 << bits) - 1, max(1, count - 1))
    i = torch.arange(count, dtype=torch.int64, device="cpu")
    return i * (step - (step >> 63 << 64)) + i * rest // max(1, count - 1) + first


def anywhere(fmt: Coded, count: int, draw: Random) -> Tensor:
    """Random codes: uniform ones and, of posits, as many that are uniform in the length of their regime."""
    bits = words(count, draw)
    if not isinstance(fmt, Posit):
        spare = 64 - fmt.width
        return bits << spare >> spare if is_integer(fmt) or not spare else bits & ((1 << fmt.width) - 1)
    # An arithmetic shift repeats the first bit. So come long regimes, which uniform patterns hardly ever have.
    n, choice = fmt.n, words(count, draw)
    body = bits >> ((choice & 0xFFFF) % (n - 1)) >> (65 - n) & fmt.maxpos
    return torch.where(choice < 0, bits >> (64 - n), torch.where(choice & (1 << 16) > 0, body, -body))


def magnitudes(fmt: Ordered, count: int, draw: Random) -> list[int]:
    """Random codes without their signs, all of them of numbers."""
    return [min(split(code, fmt)[1], largest(fmt)) for code in anywhere(fmt, count, draw).tolist()]


def near_one(fmt: Posit, count: int, draw: Random) -> list[int]:
    """Random magnitudes around 1."""
    return [below(Dyadic(1 << 64 | draw.getrandbits(64), draw.choice(NEAR_ONE) - 64), fmt) for _ in range(count)]


def rescaled(codes: Tensor, row: Minifloat, fmt: Scalar, draw: Random) -> Tensor:
    """Float codes with the same signs and fractions around 1, or around a power of two in the format's range."""
    assert row.bias is not None
    near = torch.tensor(NEAR_ONE, dtype=torch.int64, device="cpu")
    choice = words(codes.numel(), draw)
    first, last = (-fmt.max_scale, fmt.max_scale) if isinstance(fmt, Format) else _reach(fmt)
    power = (choice >> 8 & 0xFFFF) % (last - first + 1) + first
    scale = near[choice & 15] + torch.where(choice < 0, 0, power)
    field = (row.bias + scale).clamp(0, (1 << row.exponent) - 2) << row.mantissa
    fields = ((1 << row.exponent) - 1) << row.mantissa
    return codes & ~fields | field


def _reach(fmt: FixedPoint | DMF | Logarithmic | Codebook) -> tuple[int, int]:
    """log2 of what is random in a format's range, and a little beyond."""
    return unit_scale(fmt) - 4, fmt.max_scale + 4


def words(count: int, draw: Random) -> Tensor:
    """Random int64."""
    return torch.frombuffer(bytearray(draw.randbytes(8 * count)), dtype=torch.int64)
