"""Exact matrix products of float64 values: equal to adding products in registers, as ``sums.posits`` defines it.

1. Let all entries of X be multiples of 2**u and all of Y of 2**v. Every sum of some of the products x_ik y_kj over k
   is a multiple of 2**(u + v) and, by Cauchy and Schwarz, no larger than |x_i| |y_j|. Where that is at most 2**53 of
   those multiples, every such sum is a float64. A matrix product in float64 then rounds nothing, in whatever order it
   adds, in however many threads, with fused operations or without.
2. Operands that are too long for that are cut into slices, X = X_0 + X_1 + ..., each with a unit and a norm of its
   own, short enough for 1 to hold for every X_s Y_t. Units and norms are taken from the data; norms are rounded up.
3. What lies below a slice is often a handful of entries. They are not worth a whole product: they stay entries, which
   scale rows of Y or columns of X.
4. Exact products are added up in float64 as long as 1 holds for all of their sum; what no longer fits opens another
   total. The totals are few, and `expansions` adds them without error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .chunks import pieces

MANTISSA = 53  #: bits of a float64
SHORT = 51  #: bits that the norms of two slices may have together: two more than one product needs are left for sums
LEAST_UNIT = -495  #: of posits: their products are normal float64s, and fewer than 2**31 of them add up to one
MOST = 1023  #: log2 of the largest power of 2, which no sum of products of posits reaches
SURPLUS = 1 + 2.0**-20  #: what float arithmetic on norms and bounds may lose, and more
FEW = 256  #: one entry out of so many may stay an entry
ROWS = 1 << 16  #: elements that are worked on at a time, so that they stay in the cache


class Extent(NamedTuple):
    """How much of the number line an operand takes up."""

    norm: float  #: no vector of it, a row on the left or a column on the right, is longer
    unit: int  #: every entry is a multiple of 2**unit

    @property
    def bits(self) -> int:
        """Bits of the norm in units."""
        return max(0, _ceil_log2(self.norm) - self.unit)


class Slice(NamedTuple):
    """Entries that are all multiples of 2**unit."""

    values: Tensor
    norm: float
    unit: int


class Entries(NamedTuple):
    """A few entries of a matrix, all multiples of 2**unit; the others are 0."""

    vectors: Tensor  #: the rows, or on the right the columns, that they are in
    terms: Tensor  #: which term of the vector's products each one scales
    values: Tensor
    norm: float
    unit: int


def serves(unit: int) -> bool:
    """Whether operands whose entries are multiples of 2**unit can be multiplied here."""
    return unit >= LEAST_UNIT


def extent(x: Tensor, axis: int, unit: int) -> Extent:
    """The extent of float64 values whose vectors lie along ``axis``, given their unit."""
    return Extent(_norm(x, axis), unit)


def widths(x: Extent, y: Extent) -> tuple[int, int]:
    """Bits that the norms of slices of either operand may have: all of them where one product does."""
    if _exact(x.norm * y.norm, x.unit + y.unit):
        return x.bits, y.bits
    half = SHORT // 2
    if x.bits <= half:
        return x.bits, SHORT - x.bits
    if y.bits <= half:
        return SHORT - y.bits, y.bits
    return half, SHORT - half


Part = Slice | Entries


def cut(x: Tensor, axis: int, size: Extent, width: int) -> list[Part]:
    """Parts of an operand that add up to it, with norms of about ``width`` bits of their units at most.

    The operand is used up.
    """
    parts: list[Part] = []
    norm = size.norm
    while norm > 0:
        unit = _ceil_log2(norm) - width
        if unit <= size.unit:
            return [*parts, Slice(x, norm, size.unit)]
        head = _split(x, unit)
        rest = _norm(x, axis)
        parts.append(Slice(head, norm + rest, unit))
        norm = rest
        if norm > 0 and x.dim() == 2 and int(torch.count_nonzero(x)) * FEW <= x.numel():
            return [*parts, *_entries(x, axis, size.unit, width)]
    return parts


def _split(x: Tensor, unit: int) -> Tensor:
    """Each entry's nearest multiple of 2**unit, which the entry loses; entries are less than 2**(51 + unit)."""
    head = torch.empty_like(x)
    magic = math.ldexp(1.5, MANTISSA - 1 + unit)  # sums are around it, where float64s are multiples of 2**unit
    for place in pieces(x.shape, ROWS):
        multiples = torch.add(x[place], magic, out=head[place]).sub_(magic)
        x[place].sub_(multiples)
    return head


def _entries(x: Tensor, axis: int, least: int, width: int) -> Iterator[Entries]:
    """The entries of a matrix that are not 0, cut as slices are."""
    places = x.nonzero()
    vectors, terms = places.unbind(1) if axis == -1 else places.flip(1).unbind(1)
    values, sums = x[places[:, 0], places[:, 1]], x.new_zeros(x.shape[-3 - axis])
    while norm := float(sums.zero_().index_add_(0, vectors, values.abs()).amax()) * SURPLUS:  # which bounds the norms
        unit = _ceil_log2(norm) - width
        if unit <= least:
            yield Entries(vectors, terms, values, norm, least)
            return
        yield Entries(vectors, terms, _split(values, unit), 2 * norm, unit)


def _norm(x: Tensor, axis: int) -> float:
    """At least the length of the longest vector along the axis, of any number of entries."""
    if not x.numel():
        return 0.0
    if axis == -1:
        return float(torch.linalg.vector_norm(x, dim=-1).amax()) * SURPLUS
    step = max(1, ROWS // max(1, x[..., 0, :].numel()))  # rows whose squares stay in the cache
    squares = torch.zeros((), dtype=x.dtype, device=x.device)
    for start in range(0, x.shape[-2], step):
        rows = x[..., start : start + step, :]
        squares = squares + (rows * rows).sum(-2)
    return math.sqrt(float(squares.amax())) * SURPLUS


def _ceil_log2(x: float) -> int:
    """An integer e with x <= 2**e, the least or the next one, for positive x."""
    return math.frexp(x)[1]


# ---- products ------------------------------------------------------------------------------------

Add = Callable[[Tensor], object]  #: adds something to a tensor, in place
Multiply = Callable[[Tensor, Tensor, Tensor], object]  #: adds the product of the first two to the third, in place


@dataclass
class _Total:
    """An exact sum of products, which are multiples of 2**unit, no sum of some of them being larger than the bound."""

    sum: Tensor
    bound: float = 0.0
    unit: int = 1023

    def add(self, bound: float, unit: int, add: Add) -> None:
        """Add more of them."""
        add(self.sum)
        self.bound, self.unit = self.bound + bound, min(self.unit, unit)


class Totals:
    """The exact sum of all that is added, in as few float64 tensors as hold it without error."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = shape
        self._parts: list[_Total] = []

    @property
    def sums(self) -> list[Tensor]:
        """The tensors, at least one."""
        return [part.sum for part in self._parts] or [self._begin().sum]

    def _with_room(self, bound: float, unit: int) -> _Total | None:
        fits = (part for part in self._parts if _exact(part.bound + bound, min(part.unit, unit)))
        return next(fits, None)

    def _begin(self) -> _Total:
        self._parts.append(_Total(torch.zeros(self.shape, dtype=torch.float64, device="cpu")))
        return self._parts[-1]

    def add(self, bound: float, unit: int, add: Add) -> None:
        """Add exact sums of multiples of 2**unit, none of them larger than the bound."""
        part = self._with_room(bound, unit)
        if part is None:
            assert _exact(bound, unit), "slices are so short that their products are exact"
            part = self._begin()
        part.add(bound, unit, add)

    def add_values(self, x: Tensor, unit: int) -> None:
        """Add float64 values that are multiples of 2**unit. Being values, they are exact by themselves."""
        bound = float(x.abs().amax()) if x.numel() else 0.0
        part = self._with_room(bound, unit) or self._begin()
        part.add(bound, unit, lambda total: total.add_(x))

    def add_product(self, x: list[Part], y: list[Part], multiply: Multiply) -> None:
        """Add x times y: products of slices, and the few that entries take part in."""
        for left, right in itertools.product(x, y):
            both_slices = isinstance(left, Slice) and isinstance(right, Slice)
            function = partial(multiply, left.values, right.values) if both_slices else partial(_add_few, left, right)
            self.add(left.norm * right.norm, left.unit + right.unit, function)


def add_matmul(x: Tensor, y: Tensor, total: Tensor) -> None:
    """Add the product of two matrices, or of those of a batch."""
    if x.dim() == 2:
        total.addmm_(x, y)
    else:
        total.add_(x @ y)


def add_dots(x: Tensor, y: Tensor, total: Tensor) -> None:
    """Add the dot products of vectors along the last axis."""
    total.add_((x * y).sum(-1))


def _exact(bound: float, unit: int) -> bool:
    """Whether float64 holds all multiples of 2**unit up to the bound."""
    return bound * SURPLUS <= math.ldexp(1.0, min(MANTISSA + unit, MOST))


def _add_few(left: Part, right: Part, total: Tensor) -> None:
    """Add the product of two parts of matrices, one of which is entries at least."""
    match left, right:
        case Entries(), Slice():
            total.index_add_(0, left.vectors, left.values[:, None] * right.values[left.terms])
        case Slice(), Entries():
            total.index_add_(1, right.vectors, left.values[:, right.terms] * right.values)
        case Entries(), Entries():
            i, j = (left.terms[:, None] == right.terms).nonzero().unbind(1)
            places = left.vectors[i], right.vectors[j]
            total.index_put_(places, left.values[i] * right.values[j], accumulate=True)
