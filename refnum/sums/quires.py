"""Sums of products of posits in quires, contract ``posit_quire/v1``: exact, and rounded once.

The definition adds in registers. Where float64 has room for the format, `fast.slices` gives the same bits sooner.
"""

from __future__ import annotations

from types import EllipsisType

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, container
from ..core.decode import INFINITE, Exact, decode
from ..core.exact import carry_words
from ..fast import magic, slices
from ..fast.chunks import CHUNK, pieces
from ..fast.expansions import rounded_to_odd
from ..fast.scans import is_finite, least_magnitude
from ..formats import Posit, float64
from ..posit.quire import Register
from .operands import finished, on_cpu, patterns_of, posit_values, product_shape, rounded_sums

TERMS = 1 << 28  #: products that may be added between two carry passes
ROWS = 1 << 18  #: elements of the left operand, or of the result, that are worked on at a time by slices
PIECE = 1 << 14  #: elements of a piece in which totals are added


def quire_dot(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """Dot products along the last axis of operands of one shape."""
    return (_dot_by_slices if _slices_serve(fmt, a, b) else dot_by_registers)(a, b, fmt)


def quire_mm(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    """Matrix products of operands with at least two axes; patterns for no dtype."""
    return (_mm_by_slices if _slices_serve(fmt, a, b) else mm_by_registers)(a, b, c, fmt, dtype)


# ---- by registers: the definitions ---------------------------------------------------------------


def dot_by_registers(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """The definition of `quire_dot`."""
    count, terms = a.shape[:-1].numel(), a.shape[-1]
    x, y = (patterns_of(operand, fmt).expand(a.shape).reshape(count, terms) for operand in (a, b))
    result = torch.empty(count, dtype=container(fmt), device=a.device)
    rows = max(1, CHUNK // max(1, terms))
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        result[part] = _sums_of_products(x[part, None, :], y[part, :, None], None, fmt).view(-1)
    return finished(result.view(a.shape[:-1]), fmt, a.dtype if a.is_floating_point() else None)


def mm_by_registers(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    """The definition of `quire_mm`."""
    shape = product_shape(a, b)
    x, y = (patterns_of(side, fmt).expand(*shape[:-2], *side.shape[-2:]) for side in (a, b))
    matrices = shape[:-2].numel()
    z = None if c is None else patterns_of(c, fmt).reshape(matrices, *shape[-2:])
    x, y = x.reshape(matrices, *a.shape[-2:]), y.reshape(matrices, *b.shape[-2:])
    result = torch.empty(matrices, *shape[-2:], dtype=container(fmt), device=a.device)
    rows = max(1, CHUNK // max(1, shape[-1]))
    for i in range(matrices):
        for start in range(0, shape[-2], rows):
            part = (slice(i, i + 1), slice(start, start + rows))
            result[part] = _sums_of_products(x[part], y[i : i + 1], None if z is None else z[part], fmt)
    return finished(result.view(shape), fmt, dtype)


def _sums_of_products(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit) -> Tensor:
    """Patterns [B, M, N] as int64 of round(sum_k a[B, M, K] * b[B, K, N] + c[B, M, N]), in B * M * N registers."""
    register = Register(fmt)
    batch, m, terms, n = *a.shape, b.shape[-1]
    words = register.zeros(batch * m * n, a.device)
    column = torch.arange(batch * m * n, device=a.device).view(batch, m, 1, n)
    x, y = decode(a, fmt), decode(b, fmt)
    step = max(1, CHUNK // max(1, batch * m * n))
    for start in range(0, terms, step):
        part = slice(start, start + step)
        u, v = _picked(x, (..., part, None)), _picked(y, (slice(None), None, part))
        register.add_products(words, column.expand(batch, m, u.exponent.shape[2], n), u, v)
        if (start + step) // TERMS > start // TERMS:
            carry_words(words)
    kind = -((x.kind & INFINITE).sum(2, keepdim=True) + (y.kind & INFINITE).sum(1, keepdim=True)).clamp(max=1)
    kind = kind.expand(batch, m, n)
    if c is not None:
        z = decode(c, fmt)
        register.add(words, column[:, :, 0], z)
        kind = kind | z.kind
    carry_words(words)
    return register.rounded(words, kind.reshape(-1)).view(batch, m, n)


def _picked(x: Exact, index: tuple[slice | EllipsisType | None, ...]) -> Exact:
    return Exact(x.sign[index], tuple(limb[index] for limb in x.significand), x.exponent[index], x.kind[index])


# ---- by slices -----------------------------------------------------------------------------------


def _slices_serve(fmt: Posit, *operands: Tensor) -> bool:
    """Whether float64 has room: for the values, for a product of the least ones, for two bits below a result."""
    rounds = magic.lane(fmt, float64) == float64 and fmt.significand_bits <= slices.MANTISSA - 2
    return on_cpu(*operands) and rounds and slices.serves(-fmt.max_scale)


class _Values:
    """An operand as floats that are posits: their unit, and float64 parts of them in which NaR counts 0."""

    def __init__(self, x: Tensor, fmt: Posit) -> None:
        self.floats = posit_values(x, fmt)
        row = FLOAT_ROWS[self.floats.dtype]
        least = least_magnitude(self.floats.view(SIGNED[row.width]), row) if self.floats.numel() else 0
        assert row.bias is not None
        scale = (least >> row.mantissa) - row.bias if least else 0
        self.unit = scale - max(0, fmt.fraction_bits(scale))  # that of the least value: it never grows towards 0

    def expand(self, batch: torch.Size) -> _Values:
        """The same values for each matrix of a batch."""
        self.floats = self.floats.expand(*batch, *self.floats.shape[-2:])
        return self

    def __getitem__(self, place: tuple[int | slice | EllipsisType | None, ...]) -> tuple[Tensor, Tensor | None]:
        """A copy of some of the values, and a mask of NaR if there is any."""
        x = self.floats[place].to(torch.float64, copy=True)
        if is_finite(x):
            return x, None
        nar = x.isnan()
        return x.masked_fill_(nar, 0.0), nar


def _mm_by_slices(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    shape = product_shape(a, b)
    if b.shape[:-2].numel() == 1:  # one matrix on the right: all rows on the left are rows of one matrix
        a, b = a.reshape(shape[:-1].numel(), a.shape[-1]), b.reshape(b.shape[-2:])
        c = None if c is None else c.reshape(*a.shape[:-1], shape[-1])
    result = torch.empty(*product_shape(a, b), dtype=dtype or container(fmt), device=a.device)
    if result.numel():
        _fill_by_slices(result, a, b, c, fmt)
    return result.view(shape)


def _fill_by_slices(result: Tensor, a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit) -> None:
    batch, terms = result.shape[:-2], a.shape[-1]
    left, right = _Values(a, fmt).expand(batch), _Values(b, fmt)
    addend = None if c is None else _Values(c, fmt)
    places = list(pieces(result.shape[:-1], max(1, ROWS // max(result.shape[-1], terms, 1))))
    # 1. How long both operands are decides into how many slices they are cut.
    whole, nar = right[...,]
    nar_columns = _vectors(nar if nar is None else nar.expand(*batch, *nar.shape[-2:]), -2)
    size = slices.extent(whole, -2, right.unit)
    sizes = [slices.extent(left[place][0], -1, left.unit) for place in places]
    width_left, width_right = slices.widths(max(sizes), size)
    # 2. The right one is cut once, the left one piece by piece.
    parts = slices.cut(whole, -2, size, width_right)
    for place, size in zip(places, sizes, strict=True):
        x, nar = left[place]
        totals, matrices = slices.Totals(result[place].shape), place[: len(batch)]
        totals.add_product(slices.cut(x, -1, size, width_left), _placed(parts, batch, matrices), slices.add_matmul)
        nars = [_vectors(nar, -1), nar_columns if nar_columns is None else nar_columns[matrices]]
        if addend is not None:
            z, nar = addend[place]
            totals.add_values(z, addend.unit)
            nars.append(nar)
        _finish(result[place], totals, nars, fmt)


def _vectors(nar: Tensor | None, axis: int) -> Tensor | None:
    """Which vectors along the axis contain a NaR, if there is any."""
    return None if nar is None else nar.any(axis, keepdim=True)


def _placed(parts: list[slices.Part], batch: torch.Size, matrices: tuple[int | slice, ...]) -> list[slices.Part]:
    """The parts of some of the matrices in a batch; those of a single matrix are what they are."""
    if not batch:
        return parts
    return [part._replace(values=part.values.expand(*batch, *part.values.shape[-2:])[matrices]) for part in parts]


def _dot_by_slices(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    count, terms = a.shape[:-1].numel(), a.shape[-1]
    x, y = (_Values(side.reshape(count, terms), fmt) for side in (a, b))
    result = torch.empty(count, dtype=a.dtype if a.dtype in FLOAT_ROWS else container(fmt), device=a.device)
    for place in pieces(result.shape, max(1, ROWS // max(1, terms))):
        # Vectors under a third axis, since entries are for matrices alone.
        (u, nar_u), (v, nar_v) = x[None, *place], y[None, *place]
        size_u, size_v = slices.extent(u, -1, x.unit), slices.extent(v, -1, y.unit)
        width_u, width_v = slices.widths(size_u, size_v)
        totals = slices.Totals(u.shape[:-1])
        totals.add_product(slices.cut(u, -1, size_u, width_u), slices.cut(v, -1, size_v, width_v), slices.add_dots)
        nars = [None if nar is None else nar.any(-1) for nar in (nar_u, nar_v)]
        _finish(result[None, *place], totals, nars, fmt)
    return result.view(a.shape[:-1])


def _finish(result: Tensor, totals: slices.Totals, nars: list[Tensor | None], fmt: Posit) -> None:
    """Write the rounded sum of the totals, or NaR where a mask says so."""
    flat = [total.view(-1) for total in totals.sums]
    for start in range(0, len(flat[0]), PIECE) if len(flat) > 1 else ():
        part = slice(start, start + PIECE)
        flat[0][part] = rounded_to_odd([total[part] for total in flat])
    result.copy_(rounded_sums(totals.sums[0], fmt, result.dtype))
    for nar in nars:
        if nar is not None:
            result.masked_fill_(nar, torch.nan if result.is_floating_point() else fmt.nar)
