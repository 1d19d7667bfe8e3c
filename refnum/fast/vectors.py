"""Vectors whose dot products float matrices give exactly, or nearly so: how long they are, of what they are multiples.

1. Let all entries of x be multiples of 2**u and all of y of 2**v. Every sum of some of the products x_k y_k is a
   multiple of 2**(u + v) and, by Cauchy and Schwarz, no larger than |x| |y|. Where that is at most 2**p of those
   multiples, and 2**(u + v) is a normal float of p bits, a product of matrices in such floats rounds nothing, in
   whatever order it adds.
2. Otherwise it is off by at most K eps / (1 - K eps) times the sum of all |x_k y_k|, hence times |x| |y|, for K terms
   and eps = 2**-p, again in whatever order, with fused operations or without (N. Higham, "Accuracy and Stability of
   Numerical Algorithms", section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import EllipsisType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..formats import Minifloat, float32, float64
from .chunks import pieces
from .conversions import INTEGER, ROW, converted
from .slices import LEAST_UNIT, SURPLUS

PIECE = 1 << 16  #: elements that are worked on at a time, so that they stay in the cache
MOST_TERMS = 1 << 20  #: as many squares can be added in float32, and the sum then be known to a tenth
LEAST_SQUARE = 2.0**-80  #: below this, squares that are flushed in float32 may count
REACH = 460  #: units from 2**-REACH on, and lengths up to 2**REACH, have products that are normal float64s

Place = tuple[int | slice | Tensor, ...]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors along the last axis of a tensor without NaN, Inf and subnormals, and what bounds them.

    >>> x = Vectors.of(torch.tensor([[3.0, 0.5], [0.0, 4.0]]))
    >>> x.units, (x.lengths**2).round()
    (tensor([-2,  1]), tensor([ 9., 16.], dtype=torch.float64))
    """

    values: Tensor  #: [.., R, K] float32 or float64
    lengths: Tensor  #: [.., R] float64: no vector is longer
    units: Tensor  #: [.., R] int64: the entries of a vector are multiples of 2**unit

    @classmethod
    def of(cls, values: Tensor) -> Vectors:
        """Vectors with bounds that are taken from their values; in float64 if one of float32 is subnormal."""
        row, found = ROW[values.dtype], _find(values, values.dtype)
        squares, rounded_in = found.squares, row
        if row == float32:
            if bool(((found.least > 0) & (found.least < 1 << row.mantissa)).any()):
                return cls.of(converted(values, torch.float64))
            lost = (squares < LEAST_SQUARE) & (found.least > 0) | ~squares.isfinite()
            if values.shape[-1] > MOST_TERMS or bool(lost.any()):
                squares, rounded_in = _find(values, torch.float64).squares, float64
        lengths = _lengths(squares, values.shape[-1], rounded_in).mul_(found.least > 0)
        return cls(values, lengths, _units(found, row))

    def __getitem__(self, place: Place) -> Vectors:
        """Some of them, by the axes before the last."""
        return Vectors(self.values[place], self.lengths[place], self.units[place])

    def view(self, *axes: int) -> Vectors:
        """The same vectors with other axes before the last."""
        terms = self.values.shape[-1]
        return Vectors(self.values.reshape(*axes, terms), self.lengths.reshape(axes), self.units.reshape(axes))

    def expand(self, *batch: int) -> Vectors:
        """The same matrices of vectors for each place of a batch."""
        matrix, count = self.values.shape[-2:], self.values.shape[-2]
        return Vectors(
            self.values.expand(*batch, *matrix), self.lengths.expand(*batch, count), self.units.expand(*batch, count)
        )

    @property
    def sizes(self) -> Tensor:
        """[.., R] float64: how many of its units a vector is long, at most."""
        return self.lengths * power_of_2(-self.units)

    @property
    def least(self) -> int:
        """log2 of the least unit."""
        return int(self.units.amin()) if self.units.numel() else 0

    @property
    def most(self) -> int:
        """log2 of the greatest length, rounded up."""
        return math.frexp(_most(self.lengths))[1]

    @property
    def served(self) -> bool:
        """Whether float64 has room for the products of any two of them, and for slices of one of them."""
        finite = math.isfinite(_most(self.lengths))
        return finite and self.least >= -REACH and self.most <= REACH and self.most - self.least <= -LEAST_UNIT


def _most(x: Tensor) -> float:
    return float(x.amax()) * SURPLUS if x.numel() else 0.0


def power_of_2(exponent: Tensor) -> Tensor:
    """2**exponent in float64 for int64 exponents of normal numbers."""
    return (exponent + 1023 << 52).view(torch.float64)


def exact_in(bits: int, x: Vectors, y: Vectors) -> bool:
    """Whether products of the matrices round nothing in floats of so many bits and an exponent range that suffices."""
    return _most(x.sizes) * _most(y.sizes) <= math.ldexp(1.0, bits)


def fit_float32(x: Vectors, y: Vectors) -> bool:
    """Whether they round nothing in float32, where nothing is subnormal and nothing overflows."""
    least = min(x.least, y.least, x.least + y.least)
    short = x.values.dtype == y.values.dtype == torch.float32
    return short and least >= float32.min_scale and x.most + y.most < 127 and exact_in(float32.significand_bits, x, y)


def float64_error(terms: int) -> float:
    """How far a sum of so many products in float64, rounded once more, is off at most, as a fraction of |x| |y|."""
    return (terms + 8) * 2.0**-float64.significand_bits * SURPLUS


# ---- bounds from values --------------------------------------------------------------------------


class _Found(NamedTuple):
    """What one pass over vectors finds."""

    squares: Tensor  #: [.., R] of the lengths, in float64: rounded sums of rounded squares, some of them flushed
    least: Tensor  #: [.., R] patterns of the least magnitudes that are not 0; 0 in vectors of zeros
    together: int  #: bits that any pattern has


def _find(x: Tensor, dtype: torch.dtype) -> _Found:
    row, patterns = ROW[x.dtype], INTEGER[x.dtype]
    # Magnitudes are compared as in `scans.least_magnitude`: doubled, and less so much that 0 is the largest.
    half = 1 << (row.width - 1)
    offset = torch.tensor(half - 1, dtype=patterns, device="cpu")
    squares = torch.zeros(x.shape[:-1], dtype=torch.float64, device="cpu")
    least, together = offset.expand(squares.shape).clone(), 0
    for piece, place, axis in _pieces(x):
        values, bits = piece.to(dtype), piece.view(patterns)
        squares[place] += (values * values).sum(axis)
        least[place] = torch.minimum(least[place], torch.add(offset, bits, alpha=2).amin(axis))
        together |= int(np.bitwise_or.reduce(bits.numpy(), axis=None))
    return _Found(squares, (least - offset >> 1) & (half - 1), together)


def _pieces(x: Tensor) -> Iterator[tuple[Tensor, Place | EllipsisType, int]]:
    """Pieces in the order of the memory, to which vectors they belong, and along which axis of a piece those lie."""
    if not x.numel():
        return
    if x.dim() == 1 or x.stride(-1) == 1:
        for place in pieces(x.shape[:-1], max(1, PIECE // x.shape[-1])):
            yield x[place], place, -1
    else:
        columns = x.mT
        step = max(1, PIECE // columns[..., 0, :].numel())
        for start in range(0, columns.shape[-2], step):
            yield columns[..., start : start + step, :], ..., -2


def _lengths(squares: Tensor, terms: int, row: Minifloat) -> Tensor:
    """No less than the roots of sums of so many squares, rounded in the row and flushed where they are subnormal."""
    rounding = 1 + (terms + 8) * 2.0**-row.mantissa
    return squares.mul(rounding).add_(terms * 2.0**row.min_scale).sqrt_().mul_(SURPLUS)


def _units(found: _Found, row: Minifloat) -> Tensor:
    """Units of the least entries, less the last bits that no entry has."""
    assert row.bias is not None
    fraction = found.together & ((1 << row.mantissa) - 1)
    unused = (fraction & -fraction).bit_length() - 1 if fraction else row.mantissa
    field = (found.least.to(torch.int64) >> row.mantissa).clamp_(min=1)
    return (field - (row.bias + row.mantissa - unused)).mul_(found.least != 0)


def least_unit(x: Tensor) -> int:
    """An exponent u such that all entries are multiples of 2**u."""
    return int(_units(_find(x.reshape(1, -1), x.dtype), ROW[x.dtype]).amin()) if x.numel() else 0
