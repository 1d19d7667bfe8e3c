"""Tables, made once: of codebooks, what codes are worth and where they stand; of logarithms, roots of two."""

from __future__ import annotations

import math
import struct
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..formats import Codebook, float64
from .constants import constant

SIGN = (1 << 63) - 1  #: all bits but a float64's sign
UNIT = float64.min_scale - float64.mantissa - 1  #: log2 of half the least float64: middles are multiples of it


class Book(NamedTuple):
    """The tables, on the CPU, all of int64."""

    patterns: Tensor  #: float64 patterns of all codes; NaN where there is none
    places: Tensor  #: of all codes, in the order of values; 0 where there is none
    steps: Tensor  #: float64 patterns in the order of values, with those beyond the ends
    order: Tensor  #: the same as integers that increase with the value
    codes: Tensor  #: in the order of values


@constant
def book(fmt: Codebook) -> Book:
    """The tables of a codebook; constants of compiled code."""
    return _book(fmt)


@lru_cache(maxsize=64)
def _book(fmt: Codebook) -> Book:
    assert fmt.codes is not None
    assert fmt.beyond is not None
    count = 1 << fmt.width
    patterns, places = [_bits(math.nan)] * count, [0] * count
    for place, (code, value) in enumerate(zip(fmt.codes, fmt.values, strict=True)):
        patterns[code], places[code] = _bits(value), place
    for name, code in fmt.specials:
        patterns[code] = _bits(float(name))
    steps = [_bits(value) for value in (fmt.beyond[0], *fmt.values, fmt.beyond[1])]
    with torch.inference_mode(False):
        return Book(
            _table(patterns), _table(places), _table(steps), ordered(_table(steps)), _table(list(map(int, fmt.codes)))
        )


def ordered(patterns: Tensor) -> Tensor:
    """float64 patterns as integers that increase with the value; -0 lies next below 0."""
    return patterns ^ ((patterns >> 63) & SIGN)


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack(">d", value), signed=True)


def _table(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64, device="cpu")


@constant
def neighbour_bits(fmt: Codebook) -> int:
    """The most bits that two neighbours and their difference take, in the largest unit of which both are multiples."""
    return _neighbour_bits(fmt)


@lru_cache(maxsize=64)
def _neighbour_bits(fmt: Codebook) -> int:
    multiples = map(multiple, _book(fmt).steps.tolist())
    return max(_length(abs(low) | abs(high) | (high - low)) for low, high in pairwise(multiples))


def multiple(pattern: int) -> int:
    """The value of a float64 in units of 2**UNIT; of Inf, which may lie beyond the ends, 2**1024."""
    field = pattern >> float64.mantissa & 0x7FF
    significand = (pattern & (1 << float64.mantissa) - 1) | (field > 0) << float64.mantissa
    return (-significand if pattern < 0 else significand) << max(field, 1)


def _length(x: int) -> int:
    """Bits from the first one to the last one."""
    return (x // (x & -x)).bit_length()


@constant
def roots_of_two(bits: int) -> tuple[Tensor, Tensor]:
    """2**(j / 2**bits) for j from 1 to 2**bits - 1, rounded down: two limbs, of which the first has 1 at bit 61."""
    return _roots(bits)


@cache
def _roots(bits: int) -> tuple[Tensor, Tensor]:
    # The root is an integer of 200 bits, rounded down; each of its powers is too small by less than 2**-150, and none
    # of them lies that near to a number of 123 bits, so that it is cut to the right one: a test says so.
    places = 200
    root = 2 << places
    for _ in range(bits):
        root = math.isqrt(root << places)
    power, roots = 1 << places, []
    for _ in range((1 << bits) - 1):
        power = power * root >> places
        roots.append(power >> (places - 123))
    with torch.inference_mode(False):
        return _table([cut >> 62 for cut in roots]), _table([cut & ((1 << 62) - 1) for cut in roots])
