"""Sums of products of posits with k ascending: contracts ``posit_posit``, ``posit_products`` and ``posit_cuposit``.

An order is a step that takes the k-th products into an accumulator. Each step is defined through ``core``. Beside it
stands a fast one for eager CPU tensors, with the same bits wherever floats have room for a product. Results are made
tile by tile, so that the accumulator of a tile stays in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..boundary import container
from ..core import exact
from ..core.decode import Exact, decode
from ..core.exact import limbs_for
from ..core.round import encode, rounded_floats
from ..fast import magic
from ..fast.chunks import elementwise, pieces
from ..fast.expansions import rounded_to_odd
from ..formats import Minifloat, Posit, float32, float64
from .chain import fma_bits
from .operands import finished, on_cpu, patterns_of, posit_values, product_shape, rounded_sums

TILE = 1 << 16  #: results of a tile
_SIGN, _MAGNITUDE, _HALF = -(1 << 31), (1 << 31) - 1, 126 << 23  #: of a float32: bits, and the pattern of 1/2
K_PAD = 8  #: terms to a multiple of which cuposit fills up

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  #: accumulator, column [.., M, 1], row [.., 1, N] -> accumulator
Place = tuple[int | slice, ...]


def _accumulated(
    a: Tensor, b: Tensor, begin: Callable[[Place], Tensor], step: Callable[[Place], Step], dtype: torch.dtype
) -> Tensor:
    """What the step makes of the columns of a and the rows of b, k ascending, tile by tile."""
    result = torch.empty(product_shape(a, b), dtype=dtype, device=a.device)
    batch = result.shape[:-2]
    a, b = a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])
    for place in _tiles(result):
        x, y, accumulator, take = a[place], b[place[: len(batch)]], begin(place), step(place)
        for k in range(a.shape[-1]):
            accumulator = take(accumulator, x[..., k : k + 1], y[..., k : k + 1, :])
        result[place] = accumulator
    return result


def _tiles(result: Tensor) -> Iterator[Place]:
    if result.numel():
        yield from pieces(result.shape[:-1], max(1, TILE // result.shape[-1]))


# ---- posit: every product and every sum rounded to a posit ----------------------------------------


def rounded_mm(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    """Matrix products in which each product and each sum is rounded to the format; patterns for no dtype."""
    fast = on_cpu(a, b) and magic.lane(fmt, float64) == float64 and 2 * fmt.significand_bits <= 53
    return (_rounded_mm_in_floats if fast else rounded_mm_in_patterns)(a, b, c, fmt, dtype)


def rounded_mm_in_patterns(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    """The definition of `rounded_mm`."""
    x, y = patterns_of(a, fmt), patterns_of(b, fmt)
    z = torch.zeros((), dtype=torch.int64, device=a.device) if c is None else patterns_of(c, fmt).to(torch.int64)
    shape, bits = product_shape(x, y), fmt.significand_bits

    def step(accumulator: Tensor, column: Tensor, row: Tensor) -> Tensor:
        u, v = (_expanded(decode(side, fmt), accumulator.shape) for side in (column, row))
        product = decode(encode(exact.multiply(u, v, bits, bits), fmt), fmt)
        return encode(exact.add(decode(accumulator, fmt), product, limbs_for(bits, bits)), fmt)

    z = z.expand(shape)
    patterns = _accumulated(x, y, lambda place: z[place], lambda place: step, container(fmt))
    return finished(patterns, fmt, dtype)


def _expanded(x: Exact, shape: torch.Size) -> Exact:
    significand = tuple(limb.expand(shape) for limb in x.significand)
    return Exact(x.sign.expand(shape), significand, x.exponent.expand(shape), x.kind.expand(shape))


def _rounded_mm_in_floats(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    # Products are exact in float64, and so is a sum, to odd, before it is rounded.
    x, y = (posit_values(side, fmt).to(torch.float64) for side in (a, b))
    zero = torch.zeros((), dtype=torch.float64, device="cpu")
    z = (zero if c is None else posit_values(c, fmt).to(torch.float64)).expand(product_shape(x, y))

    def begin_step(place: Place) -> Step:
        like = z[place]
        rounder, memory = magic.Rounder(fmt, float64, like.numel()), torch.empty(like.shape, dtype=torch.float64)

        def step(accumulator: Tensor, column: Tensor, row: Tensor) -> Tensor:
            product = rounder((column * row).view(-1), memory.view(-1)).view(like.shape)
            total = rounded_to_odd([accumulator, product])
            return rounder(total.view(-1), torch.empty_like(total).view(-1)).view(like.shape)

        return step

    sums = _accumulated(x, y, lambda place: z[place].contiguous(), begin_step, torch.float64)
    return rounded_sums(sums, fmt, dtype or container(fmt))


# ---- products: every product rounded to a posit, sums in float32 ------------------------------------


def products_mm(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit) -> Tensor:
    """Matrix products in which each product is rounded to the format, and added in float32."""
    lane = _product_lane(fmt) if on_cpu(a, b) else None
    sums = products_mm_in_patterns(a, b, fmt) if lane is None else _products_mm_in_floats(a, b, fmt, lane)
    if c is not None:
        sums = _ieee_sum(sums, c.expand(sums.shape))
    return sums.masked_fill_(sums.isnan(), math.nan)


def products_mm_in_patterns(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """The definition of `products_mm`, without an addend."""
    bits = fmt.significand_bits

    def step(accumulator: Tensor, column: Tensor, row: Tensor) -> Tensor:
        u, v = (_expanded(decode(side, fmt), accumulator.shape) for side in (column, row))
        product = encode(decode(encode(exact.multiply(u, v, bits, bits), fmt), fmt), float32)
        return accumulator + product.to(torch.int32).view(torch.float32)

    x, y = patterns_of(a, fmt), patterns_of(b, fmt)
    return _accumulated(x, y, partial(_zeros, product_shape(x, y), x.device), lambda place: step, torch.float32)


def _zeros(shape: torch.Size, device: torch.device, place: Place) -> Tensor:
    return torch.zeros((), dtype=torch.float32, device=device).expand(shape)[place].clone()


def _product_lane(fmt: Posit) -> Minifloat | None:
    """The floats in which products of posits are exact and normal, and can be rounded to the format."""
    for row in (float32, float64):
        room = 2 * fmt.significand_bits <= row.significand_bits and -2 * fmt.max_scale >= row.min_scale
        if room and magic.lane(fmt, row) == row:
            return row
    return None


def _products_mm_in_floats(a: Tensor, b: Tensor, fmt: Posit, lane: Minifloat) -> Tensor:
    dtype = torch.float32 if lane == float32 else torch.float64
    x, y = (posit_values(side, fmt).to(dtype) for side in (a, b))
    shape = product_shape(x, y)

    def begin_step(place: Place) -> Step:
        product = torch.empty(_extent(shape, place), dtype=dtype, device="cpu")
        rounded, rounder = torch.empty_like(product), magic.Rounder(fmt, lane, product.numel())

        def step(accumulator: Tensor, column: Tensor, row: Tensor) -> Tensor:
            torch.mul(column, row, out=product)
            rounder(product.view(-1), rounded.view(-1))
            return accumulator.add_(rounded.to(torch.float32))

        return step

    return _accumulated(x, y, partial(_zeros, shape, x.device), begin_step, torch.float32)


def _extent(shape: torch.Size, place: Place) -> torch.Size:
    return torch.empty(shape, device="meta")[place].shape


# ---- cuposit: operands and products truncated, sums in float32 --------------------------------------


def cuposit_mm(
    a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, alpha: float, beta: float, k_pad: int | None
) -> Tensor:
    """``alpha * (a @ b) + beta * c`` as CuPosit's kernels define it."""
    x, y = clipped(a, fmt), clipped(b, fmt)
    plain = on_cpu(a, b) and fmt.n > 4
    begin_step = _cuposit_step_in_passes(x, y, fmt) if plain else lambda place: _cuposit_step(fmt)
    sums = _cuposit_sums(x, y, fmt, begin_step, k_pad)
    if alpha == 1.0 and beta == 0.0:
        return sums
    scale, factor = (torch.tensor(value, dtype=torch.float32, device=sums.device) for value in (alpha, beta))
    # -0 changes no product, not even its sign.
    addend = none = torch.full((), -0.0, dtype=torch.float32, device=sums.device).expand(sums.shape)
    if c is not None and beta != 0.0:
        addend = _ieee_fma(factor.expand(sums.shape), c.expand(sums.shape), none)
    return _ieee_fma(scale.expand(sums.shape), sums, addend)


def cuposit_mm_by_definition(a: Tensor, b: Tensor, fmt: Posit, k_pad: int | None) -> Tensor:
    """The definition of `cuposit_mm` for alpha = 1 and beta = 0."""
    return _cuposit_sums(clipped(a, fmt), clipped(b, fmt), fmt, lambda place: _cuposit_step(fmt), k_pad)


def clipped(x: Tensor, fmt: Posit) -> Tensor:
    """float32 values clamped to 2**-e and 2**e in magnitude, NaN and 0 included, and truncated to posits."""
    bits = x.detach().resolve_neg().contiguous().view(torch.int32)
    if fmt.n == 4 or not on_cpu(x):
        return elementwise(partial(clipped_bits, fmt=fmt), bits, dtype=torch.int32).view(torch.float32)
    magnitude = (bits & _MAGNITUDE).clamp_(*_clip_bounds(fmt))
    truncated = _truncate(magnitude.view(torch.float32), fmt, torch.empty_like(bits))
    return truncated.view(torch.int32).bitwise_or_(bits & _SIGN).view(torch.float32)


def _clip_scale(fmt: Posit) -> int:
    """log2 of the largest value that clipping leaves: one below the posits whose exponent bits are cut off."""
    return 4 * (fmt.n - 4) - 1


def _clip_bounds(fmt: Posit) -> tuple[int, int]:
    """Patterns of the least and the largest value that clipping leaves."""
    assert float32.bias is not None
    return tuple((float32.bias + sign * _clip_scale(fmt)) << float32.mantissa for sign in (-1, 1))  # type: ignore[return-value]


def clipped_bits(bits: Tensor, fmt: Posit) -> Tensor:
    """The definition of `clipped`."""
    if fmt.n == 4:  # the bounds have changed places, and every magnitude becomes 1/2
        magnitude = torch.full_like(bits, _HALF)
    else:
        clamped = (bits & _MAGNITUDE).clamp(*_clip_bounds(fmt))
        magnitude = rounded_floats(clamped, float32, fmt, "toward_zero").to(bits.dtype)
    return magnitude | (bits & _SIGN)


def _cuposit_sums(x: Tensor, y: Tensor, fmt: Posit, begin_step: Callable[[Place], Step], k_pad: int | None) -> Tensor:
    """The residue tile comes first, filled up with products of padding; each of those is clipped to the least value."""
    terms, shape = x.shape[-1], product_shape(x, y)
    padded = k_pad is not None and terms % K_PAD != 0
    first = terms % K_PAD if padded else terms
    sums = _accumulated(x[..., :first], y[..., :first, :], partial(_zeros, shape, x.device), begin_step, torch.float32)
    if not padded:
        return sums
    least = clipped(torch.zeros((), dtype=torch.float32, device=x.device), fmt)
    for _ in range(K_PAD - first):
        sums = sums + least
    rest = x[..., first:], y[..., first:, :]
    return _accumulated(*rest, lambda place: sums[place].clone(), begin_step, torch.float32)


def _cuposit_step(fmt: Posit) -> Step:
    return lambda accumulator, column, row: clipped(column * row, fmt) + accumulator


def _cuposit_step_in_passes(x: Tensor, y: Tensor, fmt: Posit) -> Callable[[Place], Step]:
    shape, reach = product_shape(x, y), 2.0 ** _clip_scale(fmt)
    inside = x.numel() > 0 and y.numel() > 0 and _products_inside(x, y, reach)

    def begin_step(place: Place) -> Step:
        product = torch.empty(_extent(shape, place), dtype=torch.float32, device="cpu")
        clamped, scratch = torch.empty_like(product), torch.empty(product.shape, dtype=torch.int32, device="cpu")

        def step_inside(accumulator: Tensor, column: Tensor, row: Tensor) -> Tensor:
            torch.mul(column, row, out=product)
            return accumulator.add_(_truncate(product, fmt, scratch))

        def step(accumulator: Tensor, column: Tensor, row: Tensor) -> Tensor:
            torch.mul(column, row, out=product)
            torch.abs(product, out=clamped).clamp_(1 / reach, reach)
            return accumulator.add_(torch.copysign(_truncate(clamped, fmt, scratch), product, out=clamped))

        return step_inside if inside else step

    return begin_step


def _products_inside(x: Tensor, y: Tensor, reach: float) -> bool:
    """Whether no product needs to be clamped."""
    (least_x, most_x), (least_y, most_y) = ([float(end) for end in side.abs().aminmax()] for side in (x, y))
    return least_x * least_y >= 1 / reach and most_x * most_y <= reach


def _truncate(values: Tensor, fmt: Posit, scratch: Tensor) -> Tensor:
    """Values within the bounds truncated to posits, in place: equal to `clipped` of them."""
    # The exponent as a number is 4k + j. Doubled, the pattern loses its sign; less the bias it is (4k + j + fraction)
    # * 2**24; one more, its magnitude over 2**26 is k, or -1 - k where that is not negative: the fraction bits that
    # the regime takes away.
    bits = values.view(torch.int32)
    bias = torch.tensor(1 - (127 << 24), dtype=torch.int32, device="cpu")
    cut = torch.add(bias, bits, alpha=2, out=scratch).abs_().bitwise_right_shift_(26).add_(28 - fmt.n)
    bits.bitwise_right_shift_(cut).bitwise_left_shift_(cut)
    return values


# ---- IEEE operations whose results may be subnormal, so that no switch may flush them ----------------


def _ieee_sum(x: Tensor, y: Tensor) -> Tensor:
    """x + y in float32."""
    one = torch.ones((), dtype=torch.float32, device=x.device).expand(x.shape)
    finite = x.isfinite() & y.isfinite()
    return torch.where(finite, _ieee_fma(one, x, y), x + y)


def _ieee_fma(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x * y + z in float32, rounded once, for values of which z alone may be infinite."""
    operands = (side.contiguous().view(torch.int32) for side in (x, y, z))
    return elementwise(fma_bits, *operands, dtype=torch.int32).view(torch.float32)
