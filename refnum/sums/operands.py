"""What all sums of products of posits share: shapes, patterns in, patterns or floats out."""

from __future__ import annotations

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, broadcast_shape, container
from ..codec import encode, floats_of, quantize
from ..core import round as core_round
from ..core.decode import decode
from ..fast import magic
from ..fast.chunks import elementwise
from ..formats import Minifloat, Posit, float32, float64, holds, keeps


def product_shape(a: Tensor, b: Tensor) -> torch.Size:
    """The shape of a product of batched matrices."""
    return torch.Size((*batch_shape(a, b), a.shape[-2], b.shape[-1]))


def batch_shape(a: Tensor, b: Tensor) -> torch.Size:
    """The shape of the batch of a product; a vector has none."""
    left, right = a.shape[:-2], b.shape[:-2]
    return left if left == right else broadcast_shape("posit_mm", a=left, b=right)


def on_cpu(*operands: Tensor) -> bool:
    """Whether fast forms can look at the values: plain tensors on the CPU."""
    return all(type(x) is Tensor and x.device.type == "cpu" for x in operands)


def patterns_of(x: Tensor, fmt: Posit) -> Tensor:
    """Patterns as they are, floats rounded to the format."""
    return encode(x, fmt) if x.is_floating_point() else x


def finished(patterns: Tensor, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    """Patterns as they are, or as floats of the dtype."""
    return patterns if dtype is None else floats_of(patterns, fmt, dtype)


def posit_values(x: Tensor, fmt: Posit) -> Tensor:
    """Posits nearest to floats, or the values of patterns, in a dtype in which none is subnormal; NaN for NaR."""
    if x.dtype in FLOAT_ROWS:
        row = FLOAT_ROWS[x.dtype]
        if _normal(row, fmt) and keeps(row, fmt):
            return quantize(x.detach(), fmt)
        x = encode(x, fmt)
    return floats_of(x, fmt, torch.float32 if holds(float32, fmt) and _normal(float32, fmt) else torch.float64)


def _normal(row: Minifloat, fmt: Posit) -> bool:
    """Whether the least posit is a normal float: what is subnormal may be flushed."""
    return -fmt.max_scale >= row.min_scale


def rounded_sums(sums: Tensor, fmt: Posit, dtype: torch.dtype) -> Tensor:
    """Sums that are rounded to odd, rounded to posits: floats or patterns."""
    if dtype in FLOAT_ROWS and _normal(FLOAT_ROWS[dtype], fmt):
        return magic.quantize(sums, fmt, float64, float64).to(dtype)

    def encoded(bits: Tensor) -> Tensor:
        return core_round.encode(decode(bits, float64), fmt)

    codes = elementwise(encoded, sums.view(torch.int64), dtype=container(fmt))
    return floats_of(codes, fmt, dtype) if dtype in FLOAT_ROWS else codes
