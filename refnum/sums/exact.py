"""Exact sums of products of floats, rounded once: contract ``exact/v1``.

The definition adds in words. Matrix products of floats give the same bits sooner: exact ones where `fast.vectors`
proves them exact; else float64 ones with a bound on their error, where results that the bound leaves in doubt are made
again of slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..core.decode import INFINITE, LIMB, Exact, decode, nonzero
from ..core.exact import DIGIT, WORD, add_to_words, carry_words, from_words, product_limbs, select
from ..core.round import encode
from ..fast import slices
from ..fast.chunks import CHUNK, elementwise, pieces
from ..fast.conversions import INTEGER, ROW, narrowed, narrowed_piece, widened
from ..fast.expansions import rounded, rounded_to_odd
from ..fast.hardware import multiplies_in_float32
from ..fast.vectors import REACH, Place, Vectors, exact_in, fit_float32, float64_error, least_unit, power_of_2
from ..formats import Minifloat, float32, float64
from .operands import on_cpu, product_shape

TERMS = 1 << 28  #: products that may be added between two carry passes
AREA = 1 << 19  #: elements of a tile, of the operands or of results
SIDE, LEAST_SIDE = 512, 16  #: vectors of a tile, at most and at least
RESULTS = 1 << 22  #: results that are worked on at a time in float32
FEW = 32  #: one result of a tile out of so many may be in doubt before the whole tile is made of slices


def exact_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``a @ b + bias`` of float32 or float64 operands with at least two axes, rounded to a dtype of floats.

    The bias broadcasts to the result. A sum that is 0 is -0 where every term is -0, else +0; NaN is written as the
    largest pattern.
    """
    given = [a, b] if bias is None else [a, b, bias]
    if not on_cpu(*given):
        return mm_by_words(a, b, bias, dtype)
    a, b, *rest = (x.detach().resolve_neg() for x in given)
    bias = rest[0] if rest else None
    x, y = Vectors.of(a), Vectors.of(b.mT)
    if x.served and y.served and _is_served(bias):
        return exact_products(x, y, bias, dtype)
    if all(bool(side.isfinite().all()) for side in given):
        return mm_by_words(a, b, bias, dtype)
    finite = [side.masked_fill(~side.isfinite(), 0.0) for side in given]
    result = exact_mm(finite[0], finite[1], finite[2] if rest else None, dtype)
    return _write_specials(result, _specials(a, b, bias))


def _is_served(bias: Tensor | None) -> bool:
    """Whether the bias is finite, and float64 has room for its sum with any product that it has room for."""
    if bias is None or not bias.numel():
        return True
    most = float(bias.abs().amax())
    return math.isfinite(most) and most <= math.ldexp(1.0, REACH) and least_unit(bias) >= -REACH


# ---- NaN and Inf -----------------------------------------------------------------------------------


def canonical_nan(dtype: torch.dtype) -> int:
    """The pattern of the NaN that contracts write: the largest one."""
    return torch.iinfo(INTEGER[dtype]).max


def _specials(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """The sums in float64 with all finite values but 0 replaced by 1 or -1: NaN or infinite exactly where they are."""
    sums = _signs(a) @ _signs(b)
    return sums if bias is None else sums + _signs(bias)


def _signs(x: Tensor) -> Tensor:
    nonzero = x.view(INTEGER[x.dtype]) << 1 != 0
    return torch.where(x.isfinite(), torch.copysign(nonzero.to(x.dtype), x), x).to(torch.float64)


def _write_specials(result: Tensor, specials: Tensor) -> Tensor:
    result = torch.where(specials.isfinite(), result, specials.to(result.dtype))
    result.view(INTEGER[result.dtype]).masked_fill_(specials.isnan(), canonical_nan(result.dtype))
    return result


# ---- by words: the definition ----------------------------------------------------------------------


def mm_by_words(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The definition of `exact_mm`."""
    shape = product_shape(a, b)
    matrices = shape[:-2].numel()
    x, y = (side.expand(*shape[:-2], *side.shape[-2:]).reshape(matrices, *side.shape[-2:]) for side in (a, b))
    z = None if bias is None else bias.expand(shape).reshape(matrices, *shape[-2:])
    result = torch.empty(matrices, *shape[-2:], dtype=INTEGER[dtype], device=a.device)
    rows = max(1, CHUNK // max(1, shape[-1]))
    for i in range(matrices):
        for start in range(0, shape[-2], rows):
            part = (slice(i, i + 1), slice(start, start + rows))
            result[part] = _codes(x[part], y[i : i + 1], None if z is None else z[part], ROW[dtype])
    return result.view(dtype).view(shape)


def _codes(a: Tensor, b: Tensor, bias: Tensor | None, fmt: Minifloat) -> Tensor:
    """Codes of ``a[B, M, K] @ b[B, K, N] + bias[B, M, N]`` as int64."""
    rows = [ROW[x.dtype] for x in (a, b)] + ([] if bias is None else [ROW[bias.dtype]])
    sums = _Sums((*a.shape[:2], b.shape[2]), *rows, device=a.device)
    step = max(1, CHUNK // max(1, sums.shape.numel()))
    for start in range(0, a.shape[2], step):
        part = slice(start, start + step)
        sums.add_products(_decoded(a[:, :, part, None]), _decoded(b[:, None, part]))
        if (start + step) // TERMS > start // TERMS:
            carry_words(sums.words)
    if bias is not None:
        sums.add(_decoded(bias[:, :, None]))
    return sums.codes(fmt)


def _decoded(x: Tensor) -> Exact:
    return decode(x.view(INTEGER[x.dtype]), ROW[x.dtype])


class _Sums:
    """Exact sums [B, M, N] of products, in columns of words, and what IEEE 754 says of Inf, NaN and -0 among them."""

    def __init__(
        self, shape: Sequence[int], x: Minifloat, y: Minifloat, z: Minifloat = float32, *, device: torch.device
    ) -> None:
        self.shape, self.bits = torch.Size(shape), (x.significand_bits, y.significand_bits)
        # Words reach from the last bit of the least term's limbs to 2**31 times the largest term.
        limbs = 1 if max(self.bits) <= DIGIT else 2
        self.lowest = min(_least(x) + _least(y) + 2 - limbs * LIMB, _least(z) + 1 - LIMB)
        highest = max(x.max_scale + y.max_scale + 2, z.max_scale + 1) + 31
        columns = self.shape.numel()
        words = (highest - self.lowest) // WORD + 3
        self.words = torch.zeros(words, columns, dtype=torch.int64, device=device)
        self.column = torch.arange(columns, device=device).view(*shape[:2], 1, shape[2])
        # Masks: a term is NaN, +Inf, -Inf; all terms are -0, if there are any.
        self.nan, self.plus, self.minus, self.negative_zero = torch.zeros(4, *shape, dtype=torch.int64, device=device)
        self.empty = True

    def add_products(self, u: Exact, v: Exact) -> None:
        """Add products of values that broadcast to [B, M, some terms, N]."""
        zero = ~(nonzero(u.significand[0]) & nonzero(v.significand[0]))
        kind = u.kind | v.kind
        kind = kind | (-(kind & INFINITE) & zero)  # Inf times 0 is NaN
        product = product_limbs(u.significand, v.significand, *self.bits)
        self.add(Exact(u.sign ^ v.sign, product, u.exponent + v.exponent + 1, kind))

    def add(self, x: Exact) -> None:
        """Add values [B, M, some terms, N]."""
        finite = ~nonzero(x.kind)
        position = x.exponent + 1 - len(x.significand) * LIMB - self.lowest
        limbs = tuple(limb & finite for limb in x.significand)
        add_to_words(self.words, self.column.expand(x.kind.shape), limbs, x.sign, position.clamp(min=0))
        infinite, negative_zero = -x.kind >> 63, finite & ~nonzero(x.significand[0]) & x.sign
        self.nan = self.nan | (x.kind >> 63).amin(2)
        self.plus = self.plus | (infinite & ~x.sign).amin(2)
        self.minus = self.minus | (infinite & x.sign).amin(2)
        self.negative_zero = (self.negative_zero | -int(self.empty)) & negative_zero.amax(2)
        self.empty = False

    def codes(self, fmt: Minifloat) -> Tensor:
        """The rounded sums."""
        carry_words(self.words)
        infinite, nan = self.plus | self.minus, self.nan | (self.plus & self.minus)
        x = from_words(self.words, self.lowest, ((infinite & INFINITE) | nan).view(-1))
        sign = select(infinite, self.minus, x.sign.view(self.shape)) | self.negative_zero
        codes = encode(x._replace(sign=sign.view(-1)), fmt).view(self.shape)
        return select(nan, torch.full_like(codes, (1 << (fmt.width - 1)) - 1), codes)


def _least(row: Minifloat) -> int:
    """log2 of the least value."""
    return row.min_scale - row.mantissa


# ---- by matrix products of floats ------------------------------------------------------------------


def exact_products(x: Vectors, y: Vectors, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[.., M, N] sums of the products of each vector of x [.., M, K] with each of y [.., N, K], as `exact_mm`.

    The vectors are `served`; the bias is finite.
    """
    shape = product_shape(x.values, y.values.mT)
    batch, (rows, columns) = shape[:-2], shape[-2:]
    if y.values.shape[:-2].numel() == 1:  # one matrix on the right: all rows on the left are rows of one matrix
        axes: tuple[int, ...] = (batch.numel() * rows,)
        x, y = x.expand(*batch).view(*axes), y.view(columns)
    else:
        axes = (batch.numel(), rows)
        x, y = (side.expand(*batch).view(axes[0], side.values.shape[-2]) for side in (x, y))
    bias = None if bias is None else bias.expand(shape).reshape(*axes, columns)
    result = torch.empty(*axes, columns, dtype=dtype, device="cpu")
    if result.numel():
        fill = _fill_in_float32 if fit_float32(x, y) and multiplies_in_float32() else _fill_in_float64
        fill(result, x, y, bias)
        _write_negative_zeros(result, x.values, y.values, bias)
    return result.view(shape)


def _fill_in_float32(result: Tensor, x: Vectors, y: Vectors, bias: Tensor | None) -> None:
    for place in pieces(result.shape[:-1], max(1, RESULTS // result.shape[-1])):
        sums = x.values[place] @ y.values[place[: result.dim() - 2]].mT
        result[place] = _rounded(_with_bias(sums, bias, place), result.dtype)


def _with_bias(sums: Tensor, bias: Tensor | None, place: Place) -> list[Tensor]:
    return [sums] if bias is None else [sums, widened(bias[place])]


def _rounded(terms: list[Tensor], dtype: torch.dtype) -> Tensor:
    """The rounded sums of terms of which none is subnormal; +0 where they are 0."""

    def kernel(*pieces: Tensor) -> Tensor:
        if len(pieces) == 1 and dtype != torch.float64:
            return narrowed_piece(pieces[0] + 0.0, dtype)
        add = rounded if dtype == torch.float64 else rounded_to_odd
        return narrowed_piece(add([piece.to(torch.float64) for piece in pieces]) + 0.0, dtype)

    return elementwise(kernel, *terms, dtype=dtype)


def _fill_in_float64(result: Tensor, x: Vectors, y: Vectors, bias: Tensor | None) -> None:
    fill = _fill_surely if exact_in(float64.significand_bits, x, y) else _fill_nearly
    for place, columns in _tiles(result, x.values.shape[-1]):
        left, right = x[place].in_float64(), y[(*place[: result.dim() - 2], columns)].in_float64()
        fill(result[place][..., columns], left, right, None if bias is None else widened(bias[place][..., columns]))


def _tiles(result: Tensor, terms: int) -> Iterator[tuple[Place, slice]]:
    """Places of rows, or of whole matrices of a batch, and columns: so few that the operands of a tile stay small."""
    side = min(SIDE, max(LEAST_SIDE, AREA // max(1, terms)))
    matrices = max(1, side // result.shape[-2]) if result.dim() == 3 else 1
    step = max(1, side // matrices)
    for place in pieces(result.shape[:-1], side):
        for start in range(0, result.shape[-1], step):
            yield place, slice(start, start + step)


def _fill_surely(result: Tensor, x: Vectors, y: Vectors, bias: Tensor | None) -> None:
    result.copy_(_rounded(_with_bias(x.values @ y.values.mT, bias, ()), result.dtype))


def _fill_nearly(result: Tensor, x: Vectors, y: Vectors, bias: Tensor | None) -> None:
    # 1. The sums lie around those in float64, no further away than their error.
    middle = x.values @ y.values.mT
    error = x.lengths[..., None] * y.lengths[..., None, :] * float64_error(x.values.shape[-1])
    if bias is not None:
        middle += bias
        error += middle.abs() * 2.0**-51  # of this sum, and of the two below
    # 2. Where both ends are rounded to the same float, so are the sums.
    low, high = (narrowed(end, result.dtype) for end in (middle - error, middle + error))
    result.copy_(low)
    patterns = INTEGER[result.dtype]
    doubtful = low.view(patterns) != high.view(patterns)
    # 3. The others are added exactly: one by one if they are few, else all of them.
    count = int(torch.count_nonzero(doubtful))
    if count * FEW > result.numel():
        terms = _matrix_sums(x, y)
        result.copy_(_rounded(terms if bias is None else [*terms, bias], result.dtype))
    elif count:
        _fill_places(result, x, y, bias, doubtful.nonzero())


def _fill_places(result: Tensor, x: Vectors, y: Vectors, bias: Tensor | None, places: Tensor) -> None:
    step = max(1, AREA // x.values.shape[-1])
    for start in range(0, len(places), step):
        place = places[start : start + step].unbind(1)
        *batch, i, j = place
        terms = _dot_sums(x[(*batch, i)], y[(*batch, j)])
        result[place] = _rounded(terms if bias is None else [*terms, bias[place]], result.dtype)


# ---- by slices --------------------------------------------------------------------------------------


def _matrix_sums(x: Vectors, y: Vectors) -> list[Tensor]:
    """Terms [.., M, N] of the exact sums."""
    (left, scale_left), (right, scale_right) = _scaled(x), _scaled(y)
    shape = (*left.shape[:-1], right.shape[-2])
    sums = _sums_by_slices(left, right.mT.contiguous(), -2, slices.add_matmul, shape)
    scale = scale_left[..., None] * scale_right[..., None, :]
    return [part.mul_(scale) for part in sums]


def _dot_sums(x: Vectors, y: Vectors) -> list[Tensor]:
    """Terms [R] of the exact sums of products of one vector each."""
    (left, scale_left), (right, scale_right) = _scaled(x), _scaled(y)
    # Under a third axis, since entries are for matrices alone.
    sums = _sums_by_slices(left[None], right[None], -1, slices.add_dots, (1, len(left)))
    return [part[0].mul_(scale_left * scale_right) for part in sums]


def _scaled(x: Vectors) -> tuple[Tensor, Tensor]:
    """A copy of vectors of about length 1, and the powers of 2 that they have been divided by."""
    exponent = x.lengths.frexp().exponent.to(torch.int64)
    return x.values * power_of_2(-exponent)[..., None], power_of_2(exponent)


def _sums_by_slices(x: Tensor, y: Tensor, axis: int, multiply: slices.Multiply, shape: Sequence[int]) -> list[Tensor]:
    size_x, size_y = slices.extent(x, -1, least_unit(x)), slices.extent(y, axis, least_unit(y))
    width_x, width_y = slices.widths(size_x, size_y)
    totals = slices.Totals(shape)
    totals.add_product(slices.cut(x, -1, size_x, width_x), slices.cut(y, axis, size_y, width_y), multiply)
    return totals.sums


# ---- the sign of zeros ------------------------------------------------------------------------------


def _write_negative_zeros(result: Tensor, x: Tensor, y: Tensor, bias: Tensor | None) -> None:
    """-0 for sums of which every term is -0, in results that are +0 there."""
    patterns = result.view(INTEGER[result.dtype])
    for place in pieces(result.shape[:-1], max(1, AREA // result.shape[-1])):
        places = (patterns[place] == 0).nonzero()
        if bias is not None:
            places = places[_is_negative_zero(bias[place][places.unbind(1)])]
        places = _of_negative_zeros(x[place], y[place[: result.dim() - 2]], places)
        if bias is not None or x.shape[-1]:
            result[place][places.unbind(1)] = -0.0


def _of_negative_zeros(x: Tensor, y: Tensor, places: Tensor) -> Tensor:
    """Those of the places at which every product is -0."""
    start, step = 0, 1
    while start < x.shape[-1] and len(places):
        *batch, i, j = places.unbind(1)
        u, v = (side[..., start : start + step][(*batch, k)] for side, k in ((x, i), (y, j)))
        places = places[((_is_zero(u) | _is_zero(v)) & (_is_negative(u) ^ _is_negative(v))).all(-1)]
        # Few places last long, and there are seldom any: more and more terms are looked at.
        start, step = start + step, max(1, min(4 * step, AREA // max(1, len(places))))
    return places


def _is_zero(x: Tensor) -> Tensor:
    return x.view(INTEGER[x.dtype]) << 1 == 0


def _is_negative(x: Tensor) -> Tensor:
    return x.view(INTEGER[x.dtype]) < 0


def _is_negative_zero(x: Tensor) -> Tensor:
    return _is_zero(x) & _is_negative(x)
