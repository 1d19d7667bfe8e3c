"""Sums of products of floats with k ascending, a fused multiply-add a step: contract ``chain/v1``.

A step takes the k-th products into an accumulator of float32. It is defined through ``core``. Beside it stand two with
the same bits where the machine flushes nothing: one in float64, and the machine's own where a probe has found it fused.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core import exact
from ..core.decode import Exact, decode, nonzero
from ..core.exact import limbs_for, select
from ..core.round import encode
from ..fast.chunks import pieces
from ..fast.fma import fma
from ..fast.hardware import flushes_subnormals, fuses_addcmul
from ..fast.vectors import least_unit
from ..formats import float32
from .operands import on_cpu, product_shape
from .results import finished

TILE = 1 << 17  #: results of a tile, whose accumulator stays in the cache
TERMS = 1 << 10  #: terms that are cut into columns and rows at a time

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  #: accumulator, column [.., M, 1], row [.., 1, N] -> accumulator


def chain_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, *, step: str | None = None) -> Tensor:
    """``a @ b + bias`` of float32 operands with at least two axes: fma by fma from the bias or +0, rounded to a dtype.

    ``step`` names one of `STEPS`, to force it; by itself the fastest that has the definition's bits here is taken.
    """
    operands = [x.detach().resolve_neg() for x in (a, b, bias) if x is not None]
    shape = product_shape(a, b)
    take = STEPS[step or _fastest(operands, max(TILE, *shape[-2:]))]
    sums = torch.zeros(shape, dtype=torch.float32, device=a.device)
    if bias is not None:
        sums.copy_(operands[2])  # broadcast
    if shape[-2] <= shape[-1]:
        _accumulate(sums, operands[0], operands[1], take)
    else:  # rows of a tile shall be long
        sums = sums.mT.contiguous()
        _accumulate(sums, operands[1].mT, operands[0].mT, take)
        sums = sums.mT
    return finished(sums, dtype)


def _accumulate(sums: Tensor, a: Tensor, b: Tensor, take: Step) -> None:
    """Let the step take the columns of a and the rows of b, k ascending, into contiguous sums, tile by tile."""
    if not sums.numel():
        return
    batch = sums.shape[:-2]
    a, b = a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])
    for place in pieces(sums.shape[:-1], max(1, TILE // sums.shape[-1])):
        x, y, accumulator = a[place], b[place[: len(batch)]], sums[place]
        for start in range(0, a.shape[-1], TERMS):
            part = slice(start, start + TERMS)
            columns, rows = x[..., part, None].unbind(-2), y[..., part, None, :].unbind(-3)
            for column, row in zip(columns, rows, strict=True):
                accumulator = take(accumulator, column, row)
        sums[place] = accumulator


# ---- steps -------------------------------------------------------------------------------------------


def _step_by_definition(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    bits = (side.expand(z.shape).view(torch.int32) for side in (x, y, z))
    return fma_bits(*bits).to(torch.int32).view(torch.float32)


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


def _step_in_float64(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return fma(x, y, z)


def _step_by_addcmul(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return z.addcmul_(x, y)


STEPS: dict[str, Step] = {
    "definition": _step_by_definition,
    "float64": _step_in_float64,
    "addcmul": _step_by_addcmul,
}


def _fastest(operands: list[Tensor], elements: int) -> str:
    """The fastest step with the definition's bits on this machine, under this moment's settings, for these values."""
    if not on_cpu(*operands) or (flushes_subnormals(elements) and not _stay_normal(*operands)):
        return "definition"
    return "addcmul" if fuses_addcmul() else "float64"


def _stay_normal(a: Tensor, b: Tensor, *bias: Tensor) -> bool:
    """Whether neither operands nor accumulators can be subnormal."""
    # Products are multiples of 2**(u + v), the bias one of 2**w; so is their sum of the lesser of those, and stays it
    # when it is rounded. No multiple of a normal power of 2 is subnormal.
    units = [least_unit(x) for x in (a, b, *bias)]
    return min(*units, units[0] + units[1]) >= float32.min_scale
