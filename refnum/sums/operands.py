"""What sums of products share: shapes, operands widened exactly; for posits patterns in, patterns or floats out."""

from __future__ import annotations

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, broadcast_shape, container
from ..codec import decode as values_of
from ..codec import encode, floats_of, quantize
from ..core import round as core_round
from ..core.decode import decode
from ..errors import ShapeError
from ..fast import magic
from ..fast.chunks import elementwise
from ..formats import Minifloat, Posit, e4m3, e4m3fnuz, e5m2, e5m2fnuz, float32, float64, holds, keeps

#: torch's dtypes of 8 bits, and their formats
FP8: dict[torch.dtype, Minifloat] = {
    torch.float8_e4m3fn: e4m3,
    torch.float8_e5m2: e5m2,
    torch.float8_e4m3fnuz: e4m3fnuz,
    torch.float8_e5m2fnuz: e5m2fnuz,
}


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


def placed_bias(function: str, bias: Tensor, shape: torch.Size, a_dims: int, b_dims: int) -> Tensor:
    """The bias, so that it broadcasts to a product of matrices: 1-D operands have not lost their axis yet."""
    want = (*shape[:-2], *shape[-2:][a_dims == 1 : 1 + (b_dims > 1)])
    try:
        bias.expand(want)
    except RuntimeError:
        raise ShapeError(
            f"{function} cannot add a bias of shape {tuple(bias.shape)} to a result of shape {want}. Make it broadcast "
            "to that."
        ) from None
    bias = bias.unsqueeze(-1) if b_dims == 1 and bias.dim() else bias
    return bias.unsqueeze(-2) if a_dims == 1 and bias.dim() else bias


def widened(x: Tensor) -> Tensor:
    """Floats of at most 32 bits as float32, which holds them; others as they are."""
    if x.dtype in FP8:
        return values_of(x.view(torch.uint8), FP8[x.dtype], dtype=torch.float32)
    return x.to(torch.float32) if x.dtype in (torch.float16, torch.bfloat16) else x


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
