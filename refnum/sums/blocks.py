"""Products of matrices in block formats, under a contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import broadcast_shape, check_device, check_floats
from ..errors import DTypeError, ShapeError
from ..fast.slices import SURPLUS
from ..fast.vectors import Vectors, fit_float32, power_of_2
from ..formats import Block, Minifloat, e8m0, float32, parse
from ..mx.blocks import Blocks
from ..mx.dequantizer import dequantize
from ..mx.elements import unit_scale
from ..mx.scales import BIAS, NAN
from . import contracts, exact
from .operands import on_cpu, placed_bias

RESULTS = (torch.float32, torch.bfloat16, torch.float16)


def mx_mm(
    a: Blocks | Tensor,
    b: Blocks | Tensor,
    bias: Tensor | None = None,
    *,
    contract: str = "exact/v1",
    out_dtype: torch.dtype = torch.bfloat16,
) -> Tensor:
    """Product of a and the transpose of b, at least one of them in blocks along K: ``a @ b.mT + bias``.

    >>> from refnum import mx, mx_mm, mxfp4, mxfp8_e4m3
    >>> a = mx.quantize(torch.ones(2, 32), mxfp4)
    >>> mx_mm(a, mx.quantize(torch.full((3, 32), 0.5), mxfp8_e4m3))
    tensor([[16., 16., 16.],
            [16., 16., 16.]], dtype=torch.bfloat16)

    Parameters
    ----------
    a, b : Blocks or Tensor
        [.., M, K] and [.., N, K] as `mx.quantize` makes them along the last axis, of any block format; or one of them
        float16, bfloat16 or float32. Batches broadcast; 1-D operands as in torch.matmul.
    bias : Tensor, optional
        float16, bfloat16 or float32 that broadcasts to the result. It is one more term, not rounded before.
    contract : str
        What is summed how, by a full name or a short one, which is the newest version.

        - exact/v1: the exact sum of all terms, rounded once to ``out_dtype``.
        - chain/v1: operands dequantized to float32; k ascending, ``acc = fma(a, b, acc)`` in float32 from the bias or
          +0; then rounded to ``out_dtype``.
        - unversioned/torch.mm: operands dequantized to float32, torch.matmul, the bias added; no promise of bits.
    out_dtype : torch.dtype
        float32, bfloat16 or float16.

    Returns
    -------
    Tensor
        [.., M, N].

    Raises
    ------
    DTypeError
        When neither operand is Blocks, or a tensor or the result is not of a dtype above.
    ShapeError
        When the blocks do not lie along the last axis, or shapes do not match or broadcast.
    ContractError
        When there is no such contract.

    Exactness: bit-exact, but for unversioned/torch.mm; exact/v1 whatever the order of k, the batch or thread count.
    Rounding: by contract, to nearest, ties to even.
    Special: NaN (scale, element or operand), Inf times 0, and Inf minus Inf give NaN, written 0x7fffffff in float32 and
        0x7fff in 16 bits; an exact sum that is 0 is -0 only where every term is -0. K = 0 gives the bias or +0.
    Standard: OCP MX 1.0 section 6.1 leaves the order open; contracts are refnum's.
    Cost: O(M N K) time; exact/v1 that of one or two products of floats where values span few binades; memory for the
        dequantized operands.
    """
    row = contracts.find("mx_mm", contract)
    _check(a, b, bias, out_dtype)
    x, y = (_matrix(side) for side in (a, b))
    shape = _product_shape(x, y)
    if bias is not None:
        bias = placed_bias("mx_mm", bias, shape, _dims(a), _dims(b))
    result: Tensor = torch.ops.refnum.mx_mm(*flat(x), *flat(y), bias, row.name, out_dtype)
    if _dims(b) == 1:
        result = result.squeeze(-1)
    return result.squeeze(-1 if _dims(b) == 1 else -2) if _dims(a) == 1 else result


# ---- checks --------------------------------------------------------------------------------------


def _check(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, out_dtype: object) -> None:
    if not isinstance(a, Blocks) and not isinstance(b, Blocks):
        raise DTypeError(
            f"mx_mm needs Blocks for a or b, got {type(a).__name__} and {type(b).__name__}. Use mx.quantize for one of "
            "them, or torch.matmul."
        )
    tensors = {}
    for name, x in {"a": a, "b": b, "bias": bias}.items():
        if isinstance(x, Blocks):
            if x.axis != -1:
                raise ShapeError(
                    f"mx_mm sums along the last axis, got {name} in blocks along axis {x.axis}. Allowed is axis=-1. "
                    "Quantize the transposed tensor."
                )
            tensors[name] = x.elements
        elif x is not None:
            check_floats("mx_mm", name, x)
            if x.dtype == torch.float64:
                raise DTypeError(
                    f"mx_mm needs float16, bfloat16 or float32 for {name}, got float64. Convert it, which rounds it."
                )
            tensors[name] = x
    check_device("mx_mm", **tensors)
    if out_dtype not in RESULTS:
        raise DTypeError(f"mx_mm cannot return {out_dtype}. Allowed are float32, bfloat16 and float16. Choose one.")


def _dims(x: Blocks | Tensor) -> int:
    return len(x.shape)


def _matrix(x: Blocks | Tensor) -> Blocks | Tensor:
    """The operand with two axes or more."""
    if _dims(x) == 0:
        raise ShapeError("mx_mm needs at least one axis on each side, got a 0-d tensor. Use a product of scalars.")
    if _dims(x) > 1:
        return x
    if isinstance(x, Tensor):
        return x[None]
    return Blocks(x.elements[None], x.scales[None], x.fmt, torch.Size((1, *x.shape)), -1, x.tensor_scale)


def _product_shape(a: Blocks | Tensor, b: Blocks | Tensor) -> torch.Size:
    if a.shape[-1] != b.shape[-1]:
        raise ShapeError(
            f"mx_mm cannot multiply {tuple(a.shape)} by the transpose of {tuple(b.shape)}: their last axes have "
            f"{a.shape[-1]} and {b.shape[-1]} elements, which must be equal. Pass b as [.., N, K]."
        )
    return result_shape(a.shape, b.shape)


# ---- the operation -------------------------------------------------------------------------------


class Flat(NamedTuple):
    """An operand as arguments of an operation; a tensor has no scales and no format."""

    values: Tensor
    scales: Tensor | None
    factor: Tensor | None
    fmt: str
    shape: list[int]


def flat(x: Blocks | Tensor) -> Flat:
    """The operand, flat."""
    if isinstance(x, Tensor):
        return Flat(x, None, None, "", list(x.shape))
    return Flat(x.elements, x.scales, x.tensor_scale, str(x.fmt), list(x.shape))


def operand(x: Flat) -> Blocks | Tensor:
    """The operand again."""
    if x.scales is None:
        return x.values
    fmt = parse(x.fmt)
    assert isinstance(fmt, Block)
    return Blocks(x.values, x.scales, fmt, torch.Size(x.shape), -1, x.factor)


def result_shape(a: Sequence[int], b: Sequence[int]) -> torch.Size:
    """The shape of the product of operands of these shapes."""
    batch = broadcast_shape("mx_mm", a=torch.Size(a[:-2]), b=torch.Size(b[:-2]))
    return torch.Size((*batch, a[-2], b[-2]))


def mx_mm_reference(
    a: Tensor,
    a_scales: Tensor | None,
    a_factor: Tensor | None,
    a_fmt: str,
    a_shape: list[int],
    b: Tensor,
    b_scales: Tensor | None,
    b_factor: Tensor | None,
    b_fmt: str,
    b_shape: list[int],
    bias: Tensor | None,
    contract: str,
    out_dtype: torch.dtype,
) -> Tensor:
    """`mx_mm` of checked operands with at least two axes."""
    x = operand(Flat(a, a_scales, a_factor, a_fmt, a_shape))
    y = operand(Flat(b, b_scales, b_factor, b_fmt, b_shape))
    if contract == "exact/v1":
        return _exact_mm(x, y, bias, out_dtype)
    multiply = contracts.find("mx_mm", contract).multiply
    assert multiply is not None
    return multiply(in_float32(x), in_float32(y).mT, None if bias is None else bias.to(torch.float32), out_dtype)


def in_float32(x: Blocks | Tensor) -> Tensor:
    """Values, rounded to float32 where that does not hold them."""
    return dequantize(x, torch.float32) if isinstance(x, Blocks) else x.to(torch.float32)


def _exact_mm(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
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
