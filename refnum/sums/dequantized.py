"""Values of blocks as operands of sums: in float32, or exactly, with bounds that their scales give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ContractError
from ..fast.slices import SURPLUS
from ..fast.vectors import Vectors, fit_float32, power_of_2
from ..formats import Codebook, Exponent, Minifloat, Scale, float32, float64, unit_scale
from ..mx.blocks import Blocks
from ..mx.dequantizer import dequantize, holds_values
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
    if not holds_values(float64, x.fmt, x.tensor_scale is not None):
        raise ContractError(
            f"mx_mm under exact/v1 cannot take {x.fmt}, some of whose values are no float64. Allowed are products of "
            "elements and scales of at most 53 bits in its range. Choose shorter elements, or another contract."
        )
    return dequantize(x, torch.float32 if _holds(x) else torch.float64)


def _holds(x: Blocks) -> bool:
    """Whether float32 holds the values: significands are short, and no scale makes one too large or too small."""
    element = x.fmt.element
    if x.tensor_scale is not None or not x.fmt.by_powers:
        return holds_values(float32, x.fmt, x.tensor_scale is not None)
    exponents = _exponents(x.scales, x.fmt.scale)
    if not exponents.numel() or element.significand_bits > float32.significand_bits:
        return not exponents.numel()
    least, most = (int(end) for end in exponents.aminmax())
    fits = most + element.max_scale < float32.max_scale  # with room for what two's complement has more
    return fits and least + unit_scale(element) >= float32.min_scale - float32.mantissa


def _exponents(scales: Tensor, scale: Scale) -> Tensor:
    """log2 of scales that are powers of two, in int64; of NaN, which is NaN in any dtype, some power."""
    codes = scales.to(torch.int64)
    if isinstance(scale, Exponent):
        return codes << (64 - scale.width) >> (64 - scale.width)
    assert scale.bias is not None
    return (codes if scale.nan is None else torch.where(codes == scale.nan, 0, codes)) - scale.bias


# ---- bounds from scales --------------------------------------------------------------------------


def _bounds(x: Blocks | Tensor, values: Tensor) -> Vectors | None:
    """The rows of blocks with bounds that their scales give, which are few; None where scales say too little.

    An element is a multiple of the least one, and no larger than the largest; both times its scale.
    """
    if isinstance(x, Tensor) or not (x.scales.numel() and on_cpu(values)) or values.dtype != torch.float32:
        return None
    element, scale, rows = x.fmt.element, x.fmt.scale, x.fmt.tile[0]
    if isinstance(element, Codebook) or (isinstance(element, Minifloat) and element.specials != "none"):
        return None
    if not x.fmt.by_powers or (isinstance(scale, Minifloat) and int(x.scales.amax()) == scale.nan):
        return None
    scales = _exponents(x.scales, scale)
    least = int(scales.amin())
    if min(least, least + unit_scale(element)) < float32.min_scale:
        return None
    if rows > 1:
        scales = scales.repeat_interleave(rows, -2)[..., : x.shape[-2], :]
    power = power_of_2(scales)
    longest = (element.max_value + 2.0 ** unit_scale(element)) * math.sqrt(x.fmt.tile[1])
    lengths = torch.linalg.vector_norm(power, dim=-1) * (longest * SURPLUS)
    units = scales.amin(-1) + unit_scale(element)
    return Vectors(values, lengths, units)
