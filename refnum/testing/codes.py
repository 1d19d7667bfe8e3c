"""Codes of a format: where something begins or ends, evenly spaced ones, random ones. Integers only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random

import torch
from torch import Tensor

from ..formats import Format, Minifloat, Posit
from .dyadics import ONE, Dyadic, below, largest, midpoint, opposite, split, value, wrap

NEAR_ONE = (1, 0, 0, 0, 0, -1, -1, -1, -1, -1, -2, -2, -2, -3, -3, -4)  #: floor(log2 |x|) for x in N(0,1), about


def _scales(fmt: Format) -> range:
    """log2 of all powers of two of the format, and one more at each end."""
    least = -fmt.max_scale if isinstance(fmt, Posit) else fmt.min_scale - fmt.mantissa
    return range(least - 1, fmt.max_scale + 2)


def poles(fmt: Format) -> set[int]:
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


def corners(fmt: Format) -> tuple[int, ...]:
    """The poles and their neighbours."""
    return tuple(sorted(_neighbours(poles(fmt), fmt)))


@lru_cache(maxsize=64)
def edges(fmt: Format) -> tuple[int, ...]:
    """The corners, and all powers of two with their neighbours."""
    powers = {below(Dyadic(1, scale), fmt) for scale in _scales(fmt)}
    return tuple(sorted(_neighbours(poles(fmt) | powers | {opposite(m, fmt) for m in powers}, fmt)))


def ends(fmt: Format) -> Iterator[Dyadic]:
    """Powers of two of a format, and where its range begins and ends."""
    yield from (Dyadic(1, scale) for scale in _scales(fmt))
    for m in {0, 1, largest(fmt) - 1, largest(fmt)}:
        yield from (value(m, fmt), midpoint(m, fmt))


def around(numbers: Iterable[Dyadic], fmt: Format) -> Iterator[int]:
    """Of each number that is not negative the code or the one below, and the codes beside it, with both signs."""
    for x in numbers:
        m = below(x, fmt)
        for near in (max(m - 1, 0), m, min(m + 1, largest(fmt))):
            yield from (near, opposite(near, fmt))


def spaced(fmt: Format, count: int) -> Tensor:
    """At most so many codes, from the first to the last."""
    return evenly(fmt.width, count, fmt.nar if isinstance(fmt, Posit) else 0)


def evenly(bits: int, count: int, first: int) -> Tensor:
    """Integers of so many bits from the first to the last one, as int64, which wraps around."""
    count = min(count, 1 << bits)
    step, rest = divmod((1 << bits) - 1, max(1, count - 1))
    i = torch.arange(count, dtype=torch.int64, device="cpu")
    return i * (step - (step >> 63 << 64)) + i * rest // max(1, count - 1) + first


def anywhere(fmt: Format, count: int, draw: Random) -> Tensor:
    """Random codes: uniform ones and, of posits, as many that are uniform in the length of their regime."""
    bits = words(count, draw)
    if isinstance(fmt, Minifloat):
        return bits & ((1 << fmt.width) - 1) if fmt.width < 64 else bits
    # An arithmetic shift repeats the first bit. So come long regimes, which uniform patterns hardly ever have.
    n, choice = fmt.n, words(count, draw)
    body = bits >> ((choice & 0xFFFF) % (n - 1)) >> (65 - n) & fmt.maxpos
    return torch.where(choice < 0, bits >> (64 - n), torch.where(choice & (1 << 16) > 0, body, -body))


def magnitudes(fmt: Format, count: int, draw: Random) -> list[int]:
    """Random codes without their signs, all of them of numbers."""
    return [min(split(code, fmt)[1], largest(fmt)) for code in anywhere(fmt, count, draw).tolist()]


def near_one(fmt: Posit, count: int, draw: Random) -> list[int]:
    """Random magnitudes around 1."""
    return [below(Dyadic(1 << 64 | draw.getrandbits(64), draw.choice(NEAR_ONE) - 64), fmt) for _ in range(count)]


def rescaled(codes: Tensor, row: Minifloat, fmt: Format, draw: Random) -> Tensor:
    """Float codes with the same signs and fractions around 1, or around a power of two in the format's range."""
    assert row.bias is not None
    near = torch.tensor(NEAR_ONE, dtype=torch.int64, device="cpu")
    choice = words(codes.numel(), draw)
    power = (choice >> 8 & 0xFFFF) % (2 * fmt.max_scale + 1) - fmt.max_scale
    scale = near[choice & 15] + torch.where(choice < 0, 0, power)
    field = (row.bias + scale).clamp(0, (1 << row.exponent) - 2) << row.mantissa
    fields = ((1 << row.exponent) - 1) << row.mantissa
    return codes & ~fields | field


def words(count: int, draw: Random) -> Tensor:
    """Random int64."""
    return torch.frombuffer(bytearray(draw.randbytes(8 * count)), dtype=torch.int64)
