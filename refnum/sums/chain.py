"""Sums of products of floats with k ascending, a fused multiply-add a step: contract ``chain/v1``.

Float32's two operations, a step of a chain and a sum of two, are defined through ``core``. Beside the definition stand
two ways to the same bits where the machine flushes nothing: one takes steps in float64, the other is the machine's own,
where a probe has found it fused. The other orders of float32 are made of the same operations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import exact
from ..core.decode import Exact, decode, nonzero
from ..core.exact import limbs_for, select
from ..core.round import encode
from ..fast import fma
from ..fast.chunks import elementwise, pieces
from ..fast.hardware import flushes_subnormals, fuses_addcmul
from ..fast.vectors import least_unit
from ..formats import float32
from .operands import on_cpu, product_shape
from .results import finished

TILE = 1 << 17  #: results of the largest tile
TERMS = 1 << 10  #: terms that are cut into columns and rows at a time

#: adds to sums of float32, in place, the products of columns [.., M, 1] and rows [.., 1, N], one pair after the other
AddProducts = Callable[[Tensor, Iterable[Tensor], Iterable[Tensor]], None]


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Float32's operations, in one of several ways that have the same bits."""

    add_products: AddProducts  #: each step is rounded once
    add: Callable[[Tensor, Tensor], Tensor]  #: two tensors of one shape
    tile: int = TILE  #: results that are worked on at a time

    def chain(self, a: Tensor, b: Tensor, start: Tensor | None = None) -> Tensor:
        """[.., M, N] sums of the products of a [.., M, K] and b [.., K, N]: fma by fma, from the start or from +0."""
        shape = (*a.shape[:-1], b.shape[-1])
        sums = torch.zeros(shape, dtype=torch.float32, device=a.device)
        if start is not None:
            sums.copy_(start)
        for first in range(0, a.shape[-1], TERMS):
            part = slice(first, first + TERMS)
            self.add_products(sums, a[..., part, None].unbind(-2), b[..., part, None, :].unbind(-3))
        return sums


#: from a [.., M, K], b [.., K, N] and the bias [.., M, N] or None to sums [.., M, N]
Order = Callable[[Tensor, Tensor, Tensor | None, Arithmetic], Tensor]


def chain_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, *, arithmetic: str | None = None) -> Tensor:
    """``a @ b + bias`` of float32 operands with at least two axes: fma by fma from the bias or +0, rounded to a dtype.

    ``arithmetic`` names one of `ARITHMETICS`, to force it; by itself the fastest is taken that has the bits of the
    definition here.
    """
    return ordered_mm(a, b, bias, dtype, from_bias, arithmetic=arithmetic)


def from_bias(a: Tensor, b: Tensor, bias: Tensor | None, arithmetic: Arithmetic) -> Tensor:
    """The order of `chain_mm`."""
    return arithmetic.chain(a, b, bias)


def ordered_mm(
    a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, order: Order, *, arithmetic: str | None = None
) -> Tensor:
    """``a @ b + bias`` of float32 operands in an order, tile by tile, rounded to a dtype.

    Beyond the result in float32 it takes the memory of a few tiles, as many as the order holds at a time, and that of
    one operand where its rows are strided.
    """
    a, b, *rest = (x.detach().resolve_neg() for x in (a, b, bias) if x is not None)
    shape = product_shape(a, b)
    way = ARITHMETICS[arithmetic or _fastest([a, b, *rest], max(TILE, *shape[-2:]))]
    z = rest[0].expand(shape) if rest else None
    if shape[-2] <= shape[-1]:
        return finished(_tile_by_tile(a, b, z, order, way), dtype)
    # Rows of a tile shall be long: the transposed product has the same bits.
    return finished(_tile_by_tile(b.mT, a.mT, None if z is None else z.mT, order, way).mT, dtype)


def _tile_by_tile(a: Tensor, b: Tensor, z: Tensor | None, order: Order, arithmetic: Arithmetic) -> Tensor:
    shape = product_shape(a, b)
    batch = shape[:-2]
    sums = torch.empty(shape, dtype=torch.float32, device=a.device)
    if sums.numel():
        b = b if b.stride(-1) == 1 else b.contiguous()  # its rows are read once a term
        a, b = a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])
        for place in pieces(shape[:-1], max(1, arithmetic.tile // shape[-1])):
            sums[place] = order(a[place], b[place[: len(batch)]], None if z is None else z[place], arithmetic)
    return sums


# ---- float32's operations ------------------------------------------------------------------------------


def _add_products_by_definition(sums: Tensor, columns: Iterable[Tensor], rows: Iterable[Tensor]) -> None:
    for x, y in zip(columns, rows, strict=True):
        sums.copy_(fma_by_definition(x, y, sums))


def fma_by_definition(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x * y + z of float32, rounded once, where x and y broadcast to z."""
    bits = (side.expand(z.shape).view(torch.int32) for side in (x, y, z))
    return elementwise(fma_bits, *bits, dtype=torch.int32).view(torch.float32)


def fma_bits(*bits: Tensor) -> Tensor:
    """The definition of a fused multiply-add: float32 patterns of x * y + z, as int64, rounded once."""
    x, y, z = (decode(side, float32) for side in bits)
    width = float32.significand_bits
    product = exact.multiply(x, y, width, width)
    total = exact.add(product, z, limbs_for(2 * width, width))
    # 1. A sum of zeros is -0 where both are; a sum that cancels has unlike signs.
    zero = ~nonzero(total.significand[0])
    sign = select(zero, product.sign & z.sign, total.sign)
    # 2. Inf times 0 is NaN, and so is a sum of Infs of unlike signs; else Inf wins.
    left, right = -product.kind >> 63, -z.kind >> 63  # masks of Inf
    nothing = ~(nonzero(x.significand[0]) & nonzero(y.significand[0]))
    nan = (left & nothing) | (left & right & (product.sign ^ z.sign))
    sign = select(left, product.sign, select(right, z.sign, sign))
    kind = product.kind | z.kind | nan
    return encode(Exact(sign, total.significand, total.exponent, kind), float32)


def add_by_definition(x: Tensor, y: Tensor) -> Tensor:
    """x + y of float32, rounded once; the shapes are one."""
    return fma_by_definition(torch.ones((), dtype=torch.float32, device=x.device), x, y)  # 1 * x is x, -0 too


def _add_products_by_addcmul(sums: Tensor, columns: Iterable[Tensor], rows: Iterable[Tensor]) -> None:
    for x, y in zip(columns, rows, strict=True):
        sums.addcmul_(x, y)


ARITHMETICS: dict[str, Arithmetic] = {
    "definition": Arithmetic(_add_products_by_definition, add_by_definition),
    "float64": Arithmetic(fma.add_products, torch.add, 1 << 15),
    "addcmul": Arithmetic(_add_products_by_addcmul, torch.add),
}


def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y of float32, rounded once; the shapes are one."""
    return ARITHMETICS[_fastest([x, y], x.numel())].add(x, y)


def _fastest(operands: list[Tensor], elements: int) -> str:
    """The fastest way with the definition's bits on this machine, under this moment's settings, for these values."""
    if not on_cpu(*operands) or (flushes_subnormals(elements) and not _stay_normal(*operands)):
        return "definition"
    return "addcmul" if fuses_addcmul() else "float64"


def _stay_normal(a: Tensor, b: Tensor, *bias: Tensor) -> bool:
    """Whether neither operands nor accumulators can be subnormal."""
    # Products are multiples of 2**(u + v), the bias one of 2**w; so is their sum of the lesser of those, and stays it
    # when it is rounded. No multiple of a normal power of 2 is subnormal.
    units = [least_unit(x) for x in (a, b, *bias)]
    return min(*units, units[0] + units[1]) >= float32.min_scale
