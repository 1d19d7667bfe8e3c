"""Fused multiply-add of float32 in float64: equal to adding in ``core`` and rounding once.

A product of two float32 is exact in float64. Its sum with a third one, rounded to odd there, has a last bit that stands
for whatever follows it, so that rounding to float32 is the only one: S. Boldo and G. Melquiond, "Emulation of a FMA and
correctly rounded sums: proved algorithms using rounding to odd" (IEEE Transactions on Computers 57, 2008).
"""

from __future__ import annotations

import torch
from torch import Tensor

from .expansions import rounded_to_odd


def fma(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x * y + z of float32, rounded once, where z broadcasts to x * y and no subnormal is flushed."""
    product = x.to(torch.float64) * y.to(torch.float64)
    addend = z.to(torch.float64).expand(product.shape)
    total = product + addend
    odd = rounded_to_odd([product, addend])
    return torch.where(total.isfinite(), odd, total).to(torch.float32)
