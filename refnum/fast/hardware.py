"""What this machine does with float32 at this moment: asked of it, since nobody promises it.

A setting that another library has made counts as one of torch does, and so does a build that differs from ours.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..backend import NOTES

UNLOWERED = ("none", "ieee")  #: settings under which products of float32 matrices stay float32
APART = 1 << 12  #: elements from one that is tried to the next: fewer than any thread works on
LENGTHS = (*range(1, 70), 255, 1003, 1 << 16)  #: of rows that are tried: whole vectors, and every tail of them
SIDE = 96  #: of matrices that are tried: large enough for every way of multiplying


def flushes_subnormals(count: int = 1) -> bool:
    """Whether one of the threads that share work on ``count`` elements flushes subnormal results to 0."""
    values = torch.ones(count, dtype=torch.float32, device="cpu")
    some = values[::APART]  # a subnormal result takes a hundred times as long as another one
    some.fill_(2.0**-126)
    values.mul_(0.5)
    return int(some.view(torch.int32).amin()) == 0


# ---- fused multiply-add --------------------------------------------------------------------------


@lru_cache(maxsize=1)
def fuses_addcmul() -> bool:
    """Whether ``z.addcmul_(x, y)`` rounds x * y + z once, for a column x and a row y of float32."""
    return all(map(_rounds_once, LENGTHS))


def _rounds_once(length: int) -> bool:
    # F1. x * y is 1 - 2**-46, which a product by itself rounds to 1.
    # F2. x * y is a little less than half a unit of z, which is odd: z stays. Rounding the product, or the sum to
    #     float64, first makes it a tie, and z + 1 unit even.
    # F3. x * y is a little more than half a unit: the next z. Rounding first makes it a tie, and an even z stays.
    unit, half = 2.0**-23, 2.0**-24
    steps = torch.arange(length, dtype=torch.float64, device="cpu") % 1021 * (2 * unit)  # even ones
    odd, even = 1 + unit + steps, 1 + steps
    return (
        _fused_is(1 + unit, 1 - unit, torch.full_like(odd, -1.0), torch.full_like(odd, -(unit**2)))
        and _fused_is(1 + unit, half * (1 - unit), odd, odd)
        and _fused_is(1 + 2.0**-12, half * (1 - 4095 * half), even, even + unit)
    )


def _fused_is(x: float, y: float, z: Tensor, want: Tensor) -> bool:
    rows, length = 3, len(z)
    column = torch.full((2, rows, 1), x, dtype=torch.float32, device="cpu")
    row = torch.full((2, 1, length), y, dtype=torch.float32, device="cpu")
    sums = z.to(torch.float32).expand(2, rows, length).contiguous()
    want = want.to(torch.float32).expand(2, rows, length)
    matrix = sums[0].clone().addcmul_(column[0], row[0])
    return torch.equal(matrix, want[0]) and torch.equal(sums.addcmul_(column, row), want)


def fma_status() -> str:
    """What serves fused multiply-adds of float32 on the CPU, and why."""
    capability = torch.backends.cpu.get_cpu_capability()
    if fuses_addcmul():
        return f"fma: torch.addcmul (a probe found it fused, CPU capability {capability})"
    return f"fma: float64 rounded to odd (a probe found torch.addcmul not fused, CPU capability {capability})"


NOTES.append(fma_status)


# ---- matrix products -----------------------------------------------------------------------------


def multiplies_in_float32() -> bool:
    """Whether a product of float32 matrices rounds nothing as long as all sums fit in 24 bits."""
    lowered = torch.backends.mkldnn.matmul.fp32_precision not in UNLOWERED  # type: ignore[attr-defined]
    return not lowered and not torch.is_autocast_enabled("cpu") and _keeps_24_bits()


@lru_cache(maxsize=1)
def _keeps_24_bits() -> bool:
    # Half of the terms have 13 bits on the left, half on the right: lowered to tf32 either would lose its last ones.
    places = torch.arange(SIDE * SIDE, device="cpu").view(SIDE, SIDE)
    long, short = 4097 + places * 2018 % 4094, 1 - places % 3
    left, right = torch.cat([long, short], 1), torch.cat([short.mT, long.mT])
    product = left.to(torch.float32) @ right.to(torch.float32)
    return torch.equal(product.to(torch.float64), left.to(torch.float64) @ right.to(torch.float64))
