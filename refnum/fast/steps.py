"""Codebooks by the places of their steps: equal to ``core.round`` of ``core.decode``.

A rounding is a step function. As integers that increase with their values the floats of a row are searched for the
least that reaches each code; what the waist makes of them decides. A value's code is then that of the last step at or
below it, which one binary search finds, and no floating-point number is computed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.decode import decode
from ..core.round import RULES, encode
from ..formats import Codebook, Minifloat, Scalar, holds

MOST = 1 << 10  #: values of the longest table: to search for the steps of more takes seconds


class Steps(NamedTuple):
    """The tables, on the CPU: one more result than steps, the last one of NaN."""

    keys: Tensor  #: of the least floats at or past each step
    codes: Tensor
    patterns: Tensor  #: of the row, sign-extended; meaningless where it does not hold the value


def serves(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether values of the row can be rounded to the format here."""
    if not isinstance(fmt, Codebook) or rounding not in RULES or rounding == "stochastic":
        return False
    if len(fmt.values) > MOST:
        return False
    # Across a 0 that is no value these two are no step functions: each side goes on to the other.
    across = fmt.values[0] < 0 < fmt.values[-1] and 0.0 not in fmt.values
    return not (across and rounding in ("toward_zero", "to_odd"))


def serves_values(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether the row has all rounded values, too."""
    return serves(fmt, row, rounding) and holds(row, fmt)


def codes(bits: Tensor, fmt: Codebook, row: Minifloat, rounding: str) -> Tensor:
    """Codes, in int32, of float patterns of the row."""
    table = steps(fmt, row, rounding)
    return _at(table.codes, _place(bits, table, row))


def values(bits: Tensor, fmt: Codebook, row: Minifloat, rounding: str) -> Tensor:
    """Patterns of the row, in 32 or 64 bits, of its values rounded to the format."""
    table = steps(fmt, row, rounding)
    return _at(table.patterns, _place(bits, table, row))


def _at(table: Tensor, place: Tensor) -> Tensor:
    return table.to(place.device).index_select(0, place.reshape(-1)).reshape(place.shape)


def _place(bits: Tensor, table: Steps, row: Minifloat) -> Tensor:
    key = _ordered(bits.to(table.keys.dtype), row).contiguous()
    nan = (bits & _magnitude(row)) > _infinity(row)
    place = torch.bucketize(key, table.keys.to(bits.device), right=True, out_int32=True)
    return torch.where(nan, len(table.keys) + 1, place)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def steps(fmt: Codebook, row: Minifloat, rounding: str) -> Steps:
    """The tables of a codebook; constants of compiled code."""
    return _steps(fmt, row, rounding)


@lru_cache(maxsize=64)
def _steps(fmt: Codebook, row: Minifloat, rounding: str) -> Steps:
    assert fmt.codes is not None
    specials, lane = dict(fmt.specials), torch.int64 if row.width == 64 else torch.int32
    # 1. The results in the order of values, with those of the ends, and last that of NaN. `ranks` is the way back.
    low, high = {"saturate": ("", ""), "inf": ("-inf", "inf"), "nan": ("nan", "nan")}[fmt.overflow]
    results = [specials.get(low, fmt.codes[0]), *fmt.codes, specials.get(high, fmt.codes[-1])]
    with torch.inference_mode(False):
        ranks = torch.full((1 << fmt.width,), -1, dtype=torch.int64, device="cpu")
        ranks[torch.tensor(fmt.codes, dtype=torch.int64, device="cpu")] = torch.arange(
            1, len(results) - 1, dtype=torch.int64, device="cpu"
        )
        # 2. The least key of each rank, by bisection: below `first` no key has it, from `last` on all have it.
        wanted = torch.arange(1, len(results), dtype=torch.int64, device="cpu")
        first, last = (torch.full_like(wanted, end) for end in (~_infinity(row), _infinity(row) + 1))
        for _ in range(row.width):
            middle = (first & last) + ((first ^ last) >> 1)
            code = encode(decode(_ordered(middle, row), row), fmt, rounding)
            rank = ranks[code]
            rank = torch.where(rank < 0, torch.where(middle < 0, 0, len(results) - 1), rank)
            reached = rank >= wanted
            first, last = torch.where(reached, first, middle + 1), torch.where(reached, middle, last)
            first = torch.minimum(first, last)
        # 3. What the results are worth in the row.
        nan = torch.full((1,), _infinity(row) + 1, dtype=torch.int64, device="cpu")
        table = torch.tensor([*results, int(encode(decode(nan, row), fmt))], dtype=torch.int64, device="cpu")
        patterns = encode(decode(table, fmt), row)
        patterns[-1] = _infinity(row) | (1 << (row.mantissa - 1))
        return Steps(last.to(lane), table.to(torch.int32), patterns.to(lane))


def _ordered(bits: Tensor, row: Minifloat) -> Tensor:
    """Sign-extended patterns as integers that increase with the value, and back; -0 lies next below 0."""
    return bits ^ ((bits >> (8 * bits.dtype.itemsize - 1)) & _magnitude(row))


def _magnitude(row: Minifloat) -> int:
    return (1 << (row.width - 1)) - 1


def _infinity(row: Minifloat) -> int:
    return ((1 << row.exponent) - 1) << row.mantissa
