"""Fused multiply-adds of float32 in float64: equal to adding in ``core`` and rounding once.

A product of two float32 is exact in float64. Its sum with a third one, rounded to odd there, has a last bit that stands
for whatever follows it, so that rounding to float32 is the only one: S. Boldo and G. Melquiond, "Emulation of a FMA and
correctly rounded sums: proved algorithms using rounding to odd" (IEEE Transactions on Computers 57, 2008).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from ..formats import float32, float64
from .expansions import rounded_to_odd, two_sum

_KEPT = 64 - (float64.mantissa - float32.mantissa)  #: bits of a float64 above those that a normal float32 drops
_TIE = -(1 << 63)  #: the dropped bits, moved up, half-way between two normal float32
_OFFSET = (1 << 63) - 1
_LEAST_NORMAL = (float32.min_scale + 1023) << float64.mantissa  #: as the pattern of a float64


def fma(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x * y + z of float32, rounded once, where z broadcasts to x * y and no subnormal is flushed."""
    product = x.to(torch.float64) * y.to(torch.float64)
    addend = z.to(torch.float64).expand(product.shape)
    total = product + addend
    odd = rounded_to_odd([product, addend])
    return torch.where(total.isfinite(), odd, total).to(torch.float32)


def add_products(sums: Tensor, columns: Iterable[Tensor], rows: Iterable[Tensor]) -> None:
    """Let ``sums = fma(column, row, sums)`` for one pair after the other, in place, where no subnormal is flushed.

    All are float32 on the CPU. A float64 sum that is rounded to float32 is the exact one rounded, wherever it is in no
    doubt, and a look at its bits tells that sooner than rounding to odd.
    """
    # 1. The product is exact, so that the total is the float64 nearest to the exact sum, fused or not. Both are rounded
    #    to the same float32 if no tie lies between them. Ties of float32 are float64s: being nearest, the total lies on
    #    the same side of one as the exact sum, or on it.
    # 2. On a tie the total rounds rightly only where it is the exact sum. A tie of normal float32s shows in the bits
    #    that float32 drops. Ties of subnormal ones lie elsewhere: all totals below the least normal one count as ties.
    total = sums.to(torch.float64)
    bits = total.view(torch.int64)
    scratch = torch.empty_like(bits)
    for x, y in zip(columns, rows, strict=True):
        wide = x.to(torch.float64), y.to(torch.float64)
        total.addcmul_(*wide)
        if (_meets_tie(bits, scratch) or _meets_subnormal(bits, scratch)) and _is_inexact(wide[0] * wide[1], sums):
            sums.copy_(fma(x, y, sums))
        else:
            sums.copy_(total)
        total.copy_(sums)


def _meets_tie(bits: Tensor, scratch: Tensor) -> bool:
    torch.bitwise_left_shift(bits, _KEPT, out=scratch)
    return bool(scratch.numpy().min() == _TIE)


def _meets_subnormal(bits: Tensor, scratch: Tensor) -> bool:
    # Doubled, a pattern loses its sign; 1 less, 0 becomes the largest unsigned integer; half of the range more,
    # unsigned order becomes that of signed integers.
    torch.bitwise_left_shift(bits, 1, out=scratch).add_(_OFFSET)
    return bool(scratch.numpy().min() < 2 * _LEAST_NORMAL + _OFFSET - (1 << 64))


def _is_inexact(product: Tensor, sums: Tensor) -> bool:
    _, missing = two_sum(product, sums.to(torch.float64).expand(product.shape))
    return bool(torch.count_nonzero(missing))
