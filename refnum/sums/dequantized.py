"""Values of blocks as operands of sums: in float32, or exactly, with bounds that their scales give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..fast.slices import SURPLUS
from ..fast.vectors import Vectors, fit_float32, power_of_2
from ..formats import Block, Minifloat, e8m0, float32
from ..mx.blocks import Blocks
from ..mx.dequantizer import dequantize
from ..mx.elements import unit_scale
from ..mx.scales import BIAS, NAN
from . import exact
from .operands import on_cpu


def in_float32(x: Blocks | Tensor) -> Tensor:
    """Values, rounded to float32 where that does not hold them."""
    return dequantize(x, torch.float32) if isinstance(x, Blocks) else x.to(torch.float32)


def exact_blocks_mm(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The exact sums of the products of rows of a [.., M, K] with rows of b [.., N, K], and the bias; as `exact_mm`."""
    x, y = _exactly(a), _exactly(b)
    left, right = _bounds(a, x), _bounds(b, y)
    if left and right and fit_float32(left, right) and exact.is_served(bias):
        return exact.exact_products(left, right, bias, dtype)
    return exact.exact_mm(x, y.mT, bias, dtype)


def _exactly(x: Blocks | Tensor) -> Tensor:
    """All values, exactly: in float32 where they are float32s."""
    if isinstance(x, Tensor):
        return x.to(torch.float32)
    return dequantize(x, torch.float32 if _holds(x) else torch.float64)


def _holds(x: Blocks) -> bool:
    """Whether float32 holds the values: significands are short, and nothing is too small; but some are too large."""
    if x.tensor_scale is not None or x.fmt.scale == float32:
        return False
    # A NaN scale gives NaN, in any dtype.
    nan = x.fmt.scale.nan
    assert nan is not None
    codes = torch.where(x.scales == nan, 0, x.scales)
    return not codes.numel() or _scale_of(int(codes.amax()), x.fmt) + x.fmt.element.max_scale < float32.max_scale


def _scale_of(code: int, fmt: Block) -> int:
    """log2 of the scale with this code, rounded down; codes ascend with their values."""
    assert fmt.scale.bias is not None
    return max(int(fmt.scale.subnormals), code >> fmt.scale.mantissa) - fmt.scale.bias


# ---- bounds from scales --------------------------------------------------------------------------


def _bounds(x: Blocks | Tensor, values: Tensor) -> Vectors | None:
    """The rows of blocks with bounds that their scales give, which are few; None where scales say too little.

    An element is a multiple of the least one, and no larger than the largest; both times its scale.
    """
    if isinstance(x, Tensor) or not (x.scales.numel() and on_cpu(values)) or values.dtype != torch.float32:
        return None
    element, rows = x.fmt.element, x.fmt.tile[0]
    if isinstance(element, Minifloat) and element.specials != "none":
        return None
    least, most = int(x.scales.amin()), int(x.scales.amax())
    if not (
        x.fmt.scale == e8m0
        and least
        and most < NAN
        and _scale_of(least, x.fmt) + unit_scale(element) >= float32.min_scale
    ):
        return None
    scales = x.scales.repeat_interleave(rows, -2)[..., : x.shape[-2], :] if rows > 1 else x.scales
    power = power_of_2(scales.to(torch.int64) - BIAS)
    longest = (element.max_value + 2.0 ** unit_scale(element)) * math.sqrt(x.fmt.tile[1])
    lengths = torch.linalg.vector_norm(power, dim=-1) * (longest * SURPLUS)
    units = scales.amin(-1).to(torch.int64) + (unit_scale(element) - BIAS)
    return Vectors(values, lengths, units)
