"""Exact sums of products of floats, rounded once: contract ``exact/v1``.

The definition rounds the sums of contract ``exact_partial/v1``. Matrix products of floats give the same bits sooner:
exact ones where `fast.vectors` proves them exact; else float64 ones with a bound on their error, where results that the
bound leaves in doubt are made again of slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..codec import encode
from ..fast import slices
from ..fast.chunks import CHUNK, elementwise, pieces
from ..fast.conversions import INTEGER, converted, converted_piece
from ..fast.expansions import rounded, rounded_to_odd, sums_of_products
from ..fast.hardware import multiplies_in_float32
from ..fast.vectors import REACH, Place, Vectors, exact_in, fit_float32, float64_error, least_unit, power_of_2
from ..formats import float64
from .digits import products_by_words, values
from .operands import FP8, on_cpu, product_shape
from .results import canonical_nan

SIDE = 512  #: vectors of a tile at most
DEPTH = 256  #: terms that a product in float64 adds at once
LONG = 1 << 12  #: terms that a product of slices adds at once
FEW = 32  #: one result of a tile out of so many may be in doubt before the whole tile is made of slices
PIECE = 1 << 14  #: elements of vectors whose dot products are added one by one
RESULTS = 3 << 17  #: results that are worked on at a time in float32
AREA = 1 << 19  #: results, or terms of results, whose zeros are looked at at a time
EXACT = 2.0**float64.significand_bits / slices.SURPLUS  #: so many units need no rounding in float64


def exact_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """``a @ b + bias`` of float32 or float64 operands with at least two axes, rounded to a dtype of floats.

    The bias broadcasts to the result. A sum that is 0 is -0 where every term is -0, else +0; NaN is written as the
    largest pattern.
    """
    if dtype in FP8:
        return _exact_mm_in_8_bits(a, b, bias, dtype)
    given = [a, b] if bias is None else [a, b, bias]
    if not on_cpu(*given):
        return mm_by_words(a, b, bias, dtype)
    a, b, *rest = (x.detach().resolve_neg() for x in given)
    bias = rest[0] if rest else None
    x, y = Vectors.of(a), Vectors.of(b.mT)
    if x.served and y.served and is_served(bias):
        return exact_products(x, y, bias, dtype)
    if all(bool(side.isfinite().all()) for side in given):
        return mm_by_words(a, b, bias, dtype)
    finite = [side.masked_fill(~side.isfinite(), 0.0) for side in given]
    result = exact_mm(finite[0], finite[1], finite[2] if rest else None, dtype)
    return _write_specials(result, _specials(a, b, bias))


def _exact_mm_in_8_bits(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    # A sum lies between the neighbours of what it is as a float32. Where they round alike, so does it; elsewhere words
    # decide.
    sums = exact_mm(a, b, bias, torch.float32)
    codes, low, high = (encode(end, FP8[dtype]) for end in (sums, _neighbour(sums, -1), _neighbour(sums, 1)))
    places = (low != high).nonzero()
    batch = sums.shape[:-2]
    x, y = a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:]).mT
    for part in _parts(len(places), max(1, PIECE // max(1, a.shape[-1]))):
        *matrix, i, j = place = places[part].unbind(1)
        left, right = x[(*matrix, i)][:, None, :], y[(*matrix, j)][:, :, None]
        z = None if bias is None else bias.expand(sums.shape)[place][:, None, None]
        codes[place] = mm_by_words(left, right, z, dtype).view(torch.uint8).view(-1)
    return codes.contiguous().view(dtype)


def _neighbour(x: Tensor, step: int) -> Tensor:
    """The next float32 in magnitude; what is 0, infinite or NaN stays: no result of 8 bits is in doubt there."""
    bits = x.view(torch.int32)
    magnitude = bits & 0x7FFFFFFF
    return torch.where((magnitude == 0) | (magnitude >= 0x7F800000), bits, bits + step).view(torch.float32)


def is_served(bias: Tensor | None) -> bool:
    """Whether the bias is finite, and float64 has room for its sum with any product that it has room for."""
    if bias is None or not bias.numel():
        return True
    most = float(bias.abs().amax())
    return math.isfinite(most) and most <= math.ldexp(1.0, REACH) and least_unit(bias) >= -REACH


# ---- NaN and Inf -----------------------------------------------------------------------------------


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
    """The definition of `exact_mm`: the exact sums, some rows at a time, rounded."""
    shape = product_shape(a, b)
    matrices = shape[:-2].numel()
    x, y = (side.expand(*shape[:-2], *side.shape[-2:]).reshape(matrices, *side.shape[-2:]) for side in (a, b))
    z = None if bias is None else bias.expand(shape).reshape(matrices, *shape[-2:])
    result = torch.empty(matrices, *shape[-2:], dtype=dtype, device=a.device)
    for place in pieces(result.shape[:-1], max(1, CHUNK // shape[-1])) if result.numel() else ():
        total = products_by_words(x[place], y[place[:1]])
        result[place] = (total if z is None else total + values(z[place])).round(dtype)
    return result.view(shape)


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
    addends = [] if bias is None else [bias.expand(shape).reshape(*axes, columns)]
    result = torch.empty(*axes, columns, dtype=dtype, device="cpu")
    if result.numel():
        fill = _fill_in_float32 if fit_float32(x, y) and multiplies_in_float32() else _fill_in_float64
        fill(result, x, y, addends)
        _write_negative_zeros(result, x.values, y.values, addends)
    return result.view(shape)


def _fill_in_float32(result: Tensor, x: Vectors, y: Vectors, addends: list[Tensor]) -> None:
    for place in pieces(result.shape[:-1], max(1, RESULTS // result.shape[-1])):
        sums = x.values[place] @ y.values[place[: result.dim() - 2]].mT
        result[place] = _rounded([sums, *(converted(z[place], torch.float64) for z in addends)], result.dtype)


def _rounded(terms: list[Tensor], dtype: torch.dtype) -> Tensor:
    """The rounded sums of terms of which none is subnormal; +0 where they are 0."""

    def kernel(*pieces: Tensor) -> Tensor:
        if len(pieces) == 1 and pieces[0].dtype == torch.float32:
            return pieces[0] + 0.0  # the conversion to the dtype is the rounding
        return converted_piece(_sum([piece.to(torch.float64) for piece in pieces], dtype) + 0.0, dtype)

    return elementwise(kernel, *terms, dtype=dtype)


def _sum(terms: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """The sum in float64, rounded so that its conversion to the dtype is the sum rounded once."""
    return rounded(terms) if dtype == torch.float64 else rounded_to_odd(terms)


def _fill_in_float64(result: Tensor, x: Vectors, y: Vectors, addends: list[Tensor]) -> None:
    fill = _fill_surely if exact_in(float64.significand_bits, x, y) else _fill_nearly
    for place, columns in _tiles(result):
        parts = [converted(z[place][..., columns], torch.float64) for z in addends]
        fill(result[place][..., columns], x[place], y[(*place[: result.dim() - 2], columns)], parts)


def _tiles(result: Tensor) -> Iterator[tuple[Place, slice]]:
    """Places of rows, or of whole matrices of a batch, and columns: at most SIDE of either."""
    matrices = max(1, SIDE // result.shape[-2]) if result.dim() == 3 else 1
    step = max(1, SIDE // matrices)
    for place in pieces(result.shape[:-1], SIDE):
        for start in range(0, result.shape[-1], step):
            yield place, slice(start, start + step)


def _fill_surely(result: Tensor, x: Vectors, y: Vectors, addends: list[Tensor]) -> None:
    sums, _ = _product_in_parts(x.values, y.values)
    result.copy_(_rounded([sums, *addends], result.dtype))


def _fill_nearly(result: Tensor, x: Vectors, y: Vectors, addends: list[Tensor]) -> None:
    # 1. The sums lie around those in float64, no further away than their error. Where both ends are rounded to the same
    #    float, so are they; elsewhere NaN stands for a doubt.
    sums, error = _product_in_parts(x.values, y.values)
    bounds = [(x.lengths * error)[..., None], y.lengths[..., None, :]]
    sizes = [x.sizes[..., None], y.sizes[..., None, :]] if x.sizes.amin() * y.sizes.amin() <= EXACT else []
    factors = [factor.expand(sums.shape) for factor in (*bounds, *sizes)]
    result.copy_(_rounded_nearly([sums, *addends], factors, result.dtype))
    # 2. Those in doubt are added exactly: one by one if they are few, else all of them.
    doubtful = result.isnan()
    count = int(torch.count_nonzero(doubtful))
    if count * FEW > result.numel():
        result.copy_(_rounded([*_matrix_sums(x, y), *addends], result.dtype))
    elif count:
        _fill_places(result, x, y, addends, doubtful.nonzero())


def _product_in_parts(x: Tensor, y: Tensor) -> tuple[Tensor, float]:
    """x @ y.mT in float64, and its error as a fraction of the lengths: the fewer terms are added at once, the less."""
    sums = torch.zeros((*x.shape[:-1], y.shape[-2]), dtype=torch.float64, device="cpu")
    for part in _parts(x.shape[-1], DEPTH):
        sums += x[..., part].to(torch.float64) @ y[..., part].to(torch.float64).mT
    return sums, float64_error(min(DEPTH, x.shape[-1]) + x.shape[-1] // DEPTH + 1)


def _parts(terms: int, step: int) -> Iterator[slice]:
    """The terms, so many at a time."""
    return (slice(start, start + step) for start in range(0, terms, step))


def _rounded_nearly(sums: list[Tensor], factors: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Rounded sums, or NaN where the product of the first two factors says that they may be off by so much.

    Where the product of the next two, if there are any, is at most EXACT, the first sum has no error.
    """

    def kernel(*pieces: Tensor) -> Tensor:
        (u, v, *sizes), terms = pieces[: len(factors)], pieces[len(factors) :]
        middle = _sum(terms, dtype)
        error = u * v
        if len(terms) > 1:
            error += middle.abs() * 2.0**-51  # of the two ends
        if sizes:
            error.masked_fill_(sizes[0] * sizes[1] <= EXACT, 0.0)
        low, high = (converted_piece(end, dtype) for end in (middle - error, middle + error))
        return low.masked_fill_(low.view(INTEGER[dtype]) != high.view(INTEGER[dtype]), torch.nan)

    return elementwise(kernel, *factors, *sums, dtype=dtype)


def _fill_places(result: Tensor, x: Vectors, y: Vectors, addends: list[Tensor], places: Tensor) -> None:
    for part in _parts(len(places), max(1, PIECE // x.values.shape[-1])):
        place = places[part].unbind(1)
        *batch, i, j = place
        left, right = (side[(*batch, k)].to(torch.float64) for side, k in ((x.values, i), (y.values, j)))
        terms = sums_of_products(left, right)
        result[place] = _rounded([*terms, *(z[place] for z in addends)], result.dtype)


def _matrix_sums(x: Vectors, y: Vectors) -> list[Tensor]:
    """Terms [.., M, N] of the exact sums: by slices of vectors that have been divided by powers of 2 of their size."""
    scales = [power_of_2(side.lengths.frexp().exponent.to(torch.int64)) for side in (x, y)]
    totals = slices.Totals((*x.lengths.shape, y.lengths.shape[-1]))
    for part in _parts(x.values.shape[-1], LONG):
        left, right = (side.values[..., part] / scale[..., None] for side, scale in zip((x, y), scales, strict=True))
        right = right.mT.contiguous()
        size_left, size_right = slices.extent(left, -1, least_unit(left)), slices.extent(right, -2, least_unit(right))
        width_left, width_right = slices.widths(size_left, size_right)
        cut = slices.cut(left, -1, size_left, width_left), slices.cut(right, -2, size_right, width_right)
        totals.add_product(*cut, slices.add_matmul)
    scale = scales[0][..., None] * scales[1][..., None, :]
    return [total.mul_(scale) for total in totals.sums]


# ---- the sign of zeros ------------------------------------------------------------------------------


def _write_negative_zeros(result: Tensor, x: Tensor, y: Tensor, addends: list[Tensor]) -> None:
    """-0 for sums of which every term is -0, in results that are +0 there."""
    if not addends and not x.shape[-1]:
        return
    patterns = result.view(INTEGER[result.dtype])
    for place in pieces(result.shape[:-1], max(1, AREA // result.shape[-1])):
        places = (patterns[place] == 0).nonzero()
        for z in addends:
            terms = z[place][places.unbind(1)]
            places = places[_is_zero(terms) & _is_negative(terms)]
        places = _of_negative_zeros(x[place], y[place[: result.dim() - 2]], places)
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
