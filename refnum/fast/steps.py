"""Codebooks by the steps of their rounding: equal to what ``core.round`` makes of what ``core.decode`` reads.

S1. As signed integers the patterns of a row are a line: from -0 down to -Inf, then NaN, from 0 up to Inf, then NaN.
    A rounding cuts it into runs of one result, and a pattern's result is that of the last run that has begun.
S2. A run begins with a part of the line, or where a value passes a value of the table, or the middle of two, or meets
    it. So it begins at one of two patterns next to each other: the one that such a value is cut to, and the next.
S3. What these patterns become the waist says. No floating-point number is computed.

Which run has begun a search tells. For float32 on the CPU there is something faster: the upper half of a pattern picks
a cell of the line, and comparisons with the few beginnings inside decide, mostly with one. In compiled code few runs
are a chain of comparisons, which looks nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.books import UNIT, book, multiple
from ..core.constants import constant
from ..core.decode import decode
from ..core.round import encode, rounded_floats
from ..formats import Codebook, Minifloat
from .chunks import elementwise, looked_up, reinterpret

LEAST = 1 << 12  #: elements from which on tables, made once, are soon worth while
OFTEN = 8  #: and so many times as many as the format has values
CHUNK = 1 << 16  #: elements of a piece
CHAIN = 40  #: runs of the longest chain of comparisons
INSIDE = 8  #: runs that begin inside a cell
_HALF = 16  #: bits of what a cell holds
Key = tuple[Codebook, Minifloat, str, str]  #: format, row, rounding, and which result: codes or floats
_INTEGER = {16: torch.int16, 32: torch.int32, 64: torch.int64}


class Runs(NamedTuple):
    """Runs of patterns with one result, on the CPU."""

    starts: Tensor  #: their first patterns, sign-extended and increasing
    results: Tensor


class Cells(NamedTuple):
    """For every upper half, where the last few runs begin that do so in it or before."""

    starts: tuple[Tensor, ...]
    places: Tensor  #: of the run before these
    results: Tensor  #: of all runs, and zeros up to a power of two


def serves(x: Tensor, fmt: Codebook, rounding: str) -> bool:
    """Whether the rounding has steps, and tables are worth while."""
    worth = torch.compiler.is_compiling() or (type(x) is Tensor and x.numel() >= max(LEAST, OFTEN * len(fmt.values)))
    return worth and rounding != "stochastic"


def codes(x: Tensor, row: Minifloat, fmt: Codebook, rounding: str, dtype: torch.dtype) -> Tensor:
    """Codes of values of a row, in an integer dtype that holds them."""
    return _looked_up(reinterpret(x, _INTEGER[row.width]), (fmt, row, rounding, "codes"), dtype)


def codes_of(bits: Tensor, row: Minifloat, fmt: Codebook, rounding: str, dtype: torch.dtype) -> Tensor:
    """The same of patterns that were computed: compiled code makes vectors of a chain and of what it comes after."""
    key = (fmt, row, rounding, "codes")
    links = chain(*key) if torch.compiler.is_compiling() else None
    return _looked_up(bits, key, dtype) if links is None else _chained(bits, links).to(dtype)


def floats(x: Tensor, row: Minifloat, fmt: Codebook, rounding: str) -> Tensor:
    """Values of a row rounded to the format, in the dtype they came in, which holds them."""
    bits = reinterpret(x, _INTEGER[row.width])
    return reinterpret(_looked_up(bits, (fmt, row, rounding, "floats"), bits.dtype), x.dtype)


def _looked_up(bits: Tensor, key: Key, dtype: torch.dtype) -> Tensor:
    return elementwise(_kernel(bits, key, dtype), bits, dtype=dtype, chunk=CHUNK)


def _kernel(bits: Tensor, key: Key, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    inside = cells(*key) if bits.device.type == "cpu" and bits.dtype == torch.int32 else None
    if inside is not None:
        results = inside.results.to(dtype)
        return lambda piece: _compared(piece, inside, results)
    links = chain(*key) if torch.compiler.is_compiling() else None
    if links is not None:
        return lambda piece: _chained(piece, links)
    starts, results = (table.to(bits.device) for table in runs(*key))
    results = results.to(dtype)
    return lambda piece: _searched(piece, starts, results)


def _chained(bits: Tensor, links: tuple[tuple[int, int], ...]) -> Tensor:
    found = torch.full_like(bits, links[0][1], dtype=torch.int64 if bits.dtype == torch.int64 else torch.int32)
    for start, result in links[1:]:
        found = torch.where(bits >= start, result, found)
    return found


def _compared(bits: Tensor, inside: Cells, results: Tensor) -> Tensor:
    cell = torch.bitwise_right_shift(bits, _HALF).add_(1 << (_HALF - 1))
    place = looked_up(inside.places, cell)
    for starts in inside.starts:
        place.add_(bits >= looked_up(starts, cell))
    return looked_up(results, place)


def _searched(bits: Tensor, starts: Tensor, results: Tensor) -> Tensor:
    place = torch.bucketize(bits.to(starts.dtype).contiguous(), starts, right=True, out_int32=True) - 1
    return results.index_select(0, place.reshape(-1)).reshape(bits.shape)


# ---- tables, made once -------------------------------------------------------------------------------------------


@constant
def runs(fmt: Codebook, row: Minifloat, rounding: str, result: str) -> Runs:
    """The runs; constants of compiled code."""
    return _runs(fmt, row, rounding, result)


@constant
def chain(fmt: Codebook, row: Minifloat, rounding: str, result: str) -> tuple[tuple[int, int], ...] | None:
    """Starts and results of few runs, as integers; constants of compiled code."""
    starts, results = _runs(fmt, row, rounding, result)
    return tuple(zip(starts.tolist(), results.tolist(), strict=True)) if len(starts) <= CHAIN else None


@constant
def spares_subnormals(fmt: Codebook, row: Minifloat, rounding: str) -> bool:
    """Whether subnormal numbers, and the least normal ones, have the code of a 0 of their sign."""
    starts = _runs(fmt, row, rounding, "codes").starts.to(torch.int64) & ((1 << (row.width - 1)) - 1)
    return not bool(((starts > 0) & (starts <= 1 << row.mantissa)).any())


@constant
def cells(fmt: Codebook, row: Minifloat, rounding: str, result: str) -> Cells | None:
    """The cells; constants of compiled code."""
    return _cells(fmt, row, rounding, result)


@lru_cache(maxsize=64)
def _runs(fmt: Codebook, row: Minifloat, rounding: str, result: str) -> Runs:
    lane = torch.int64 if row.width == 64 else torch.int32
    with torch.inference_mode(False):
        bits = torch.tensor(sorted(_beginnings(fmt, row)), dtype=torch.int64, device="cpu")
        found = (
            encode(decode(bits, row), fmt, rounding) if result == "codes" else rounded_floats(bits, row, fmt, rounding)
        ).to(_INTEGER[row.width])
        first = torch.ones_like(bits, dtype=torch.bool)
        first[1:] = found[1:] != found[:-1]
        return Runs(bits[first].to(lane), found[first].to(lane))


def _beginnings(fmt: Codebook, row: Minifloat) -> Iterator[int]:
    """Sign-extended patterns, among them all at which a run begins."""
    assert row.infinity is not None
    steps = [multiple(pattern) for pattern in book(fmt).steps.tolist()]
    passed = {*steps, *((low + high) // 2 for low, high in pairwise(steps))}
    cuts = {0, row.infinity, *(min(_cut(abs(number), row), row.infinity) for number in passed)}
    for magnitude in {pattern + up for pattern in cuts for up in (0, 1)}:
        yield from (magnitude, magnitude - (1 << (row.width - 1)))


def _cut(magnitude: int, row: Minifloat) -> int:
    """The pattern of the row at or below so many units of 2**UNIT, as if exponents had no end."""
    above = max(magnitude.bit_length() - 1 + UNIT - row.min_scale, 0)  # binades above the first
    return (above << row.mantissa) + (magnitude >> above + row.min_scale - row.mantissa - UNIT)


@lru_cache(maxsize=32)
def _cells(fmt: Codebook, row: Minifloat, rounding: str, result: str) -> Cells | None:
    """For rows of 32 bits; None where too many runs begin inside a cell."""
    starts, results = _runs(fmt, row, rounding, result)
    with torch.inference_mode(False):
        first = torch.arange(-1 << (_HALF - 1), 1 << (_HALF - 1), dtype=torch.int32, device="cpu") << _HALF
        before, last = (torch.bucketize(end, starts, right=True, out_int32=True) - 1 for end in (first, first | 0xFFFF))
        most = max(int((last - before).max()), 1)
        if most > INSIDE:
            return None
        # Before the first run there is none: its start, which all have passed, stands for those.
        spare = (1 << (len(results) - 1).bit_length()) - len(results)
        return Cells(
            tuple(starts[(last - back).clamp(min=0)] for back in range(most)),
            last - most,
            torch.cat([results, results.new_zeros(spare)]),
        )
