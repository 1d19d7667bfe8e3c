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
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..formats import float32, float64
from .chunks import pieces
from .conversions import INTEGER, ROW, widened
from .scans import has_subnormal, least_magnitude
from .slices import LEAST_UNIT, SURPLUS

PIECE = 1 << 16  #: elements that are worked on at a time, so that they stay in the cache
REACH = 460  #: units from 2**-REACH on, and lengths up to 2**REACH, have products that are normal float64s

Place = tuple[int | slice | Tensor, ...]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors along the last axis of a tensor without NaN, Inf and subnormals, and what bounds them.

    >>> x = Vectors.of(torch.tensor([[3.0, 0.5], [0.0, 4.0]]))
    >>> x.units, (x.lengths**2).round()
    (tensor([-2, -2]), tensor([ 9., 16.], dtype=torch.float64))
    """

    values: Tensor  #: [.., R, K] float32 or float64
    lengths: Tensor  #: [.., R] float64: no vector is longer
    units: Tensor  #: [.., R] int64: the entries of a vector are multiples of 2**unit

    @classmethod
    def of(cls, values: Tensor) -> Vectors:
        """Vectors with bounds that are taken from their values; float64 ones where a float32 is subnormal."""
        if values.dtype == torch.float32 and has_subnormal(_in_memory_order(values).view(torch.int32), float32):
            values = widened(values)
        longest = lengths(values)
        unit = torch.full((), least_unit(values), dtype=torch.int64, device="cpu")
        return cls(values, longest, unit.expand(longest.shape))

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

    def in_float64(self) -> Vectors:
        """The same vectors in float64."""
        return replace(self, values=self.values.to(torch.float64))

    @property
    def size(self) -> float:
        """How many of its units a vector is long, at most."""
        return _most(self.lengths * power_of_2(-self.units))

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
    return x.size * y.size * SURPLUS <= math.ldexp(1.0, bits)


def fit_float32(x: Vectors, y: Vectors) -> bool:
    """Whether they do so in float32, and nothing is subnormal or overflows."""
    least = min(x.least, y.least, x.least + y.least)
    short = x.values.dtype == y.values.dtype == torch.float32
    return short and least >= float32.min_scale and x.most + y.most < 127 and exact_in(float32.significand_bits, x, y)


def float64_error(terms: int) -> float:
    """How far a sum of so many products in float64, rounded once more, is off at most, as a fraction of |x| |y|."""
    return (terms + 8) * 2.0**-float64.significand_bits * SURPLUS


# ---- bounds from values --------------------------------------------------------------------------


def lengths(x: Tensor) -> Tensor:
    """No less than the lengths of vectors along the last axis, in float64, if no square of an entry is subnormal."""
    if x.stride(-1) == 1 or x.dim() == 1:
        return _lengths_of_rows(x)
    return _lengths_of_columns(x.mT)


def _lengths_of_rows(x: Tensor) -> Tensor:
    result = torch.zeros(x.shape[:-1], dtype=torch.float64, device="cpu")
    if x.numel():
        for place in pieces(x.shape[:-1], max(1, PIECE // x.shape[-1])):
            torch.linalg.vector_norm(x[place].to(torch.float64), dim=-1, out=result[place])
    return result.mul_(SURPLUS)


def _lengths_of_columns(x: Tensor) -> Tensor:
    squares = torch.zeros((*x.shape[:-2], x.shape[-1]), dtype=torch.float64, device="cpu")
    step = max(1, PIECE // max(1, squares.numel()))
    for start in range(0, x.shape[-2], step):
        rows = x[..., start : start + step, :].to(torch.float64)
        squares += (rows * rows).sum(-2)
    return squares.sqrt_().mul_(SURPLUS)


def least_unit(x: Tensor) -> int:
    """An exponent u such that all entries are multiples of 2**u: that of the last bit of the least one."""
    row, bits = ROW[x.dtype], _in_memory_order(x).view(INTEGER[x.dtype])
    least = least_magnitude(bits, row) if x.numel() else 0
    if not least:
        return 0
    assert row.bias is not None
    together = int(np.bitwise_or.reduce(bits.numpy())) & ((1 << row.mantissa) - 1)
    unused = (together & -together).bit_length() - 1 if together else row.mantissa  # last bits that no entry has
    return max(1, least >> row.mantissa) - row.bias - row.mantissa + unused


def _in_memory_order(x: Tensor) -> Tensor:
    """All entries in one row, without a copy where they are contiguous one way or the other."""
    return (x if x.is_contiguous() or x.dim() == 1 else x.mT).reshape(-1)
