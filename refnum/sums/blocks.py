"""Products of matrices in block formats, under a contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import broadcast_shape, check_device, check_floats
from ..errors import ContractError, DTypeError, ShapeError
from ..formats import Block, parse
from ..mx.blocks import Blocks
from . import contracts
from .operands import placed_bias

RESULTS = (torch.float32, torch.bfloat16, torch.float16)


def mx_mm(
    a: Blocks | Tensor,
    b: Blocks | Tensor,
    bias: Tensor | None = None,
    *,
    contract: str | contracts.Contract = "exact/v1",
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
    contract : str or Contract
        What is summed how, by a full name or a short one, which is the newest version.

        - exact/v1: the exact sum of all terms, rounded once to ``out_dtype``.
        - chain/v1: operands dequantized to float32; k ascending, ``acc = fma(a, b, acc)`` in float32 from the bias or
          +0; then rounded to ``out_dtype``.
        - int/v1(bits=8, acc=32, overflow=refuse): blocks of integers of so many bits under powers of two; each pair of
          blocks is a dot product of integers in an accumulator of ``acc`` bits, which wraps, saturates after each
          product, or has room for all; these times the scales, and the bias, summed exactly and rounded once.
        - tc.blackwell.mxf8/v1, mxf4, nvf4: Blackwell's instructions of blocks, as a model has them.
        - unversioned/torch.mm: operands dequantized to float32, torch.matmul, the bias added; no promise of bits.
        - any other order in float32 that `refnum.gemm` takes, of operands dequantized to float32.
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
        When there is no such contract, or it does not take the blocks; exact/v1 takes those whose values are float64s.

    Exactness: bit-exact, but for unversioned/torch.mm; exact/v1 whatever the order of k, the batch or thread count.
    Rounding: by contract, to nearest, ties to even.
    Special: NaN (scale, element or operand), Inf times 0, and Inf minus Inf give NaN, written 0x7fffffff in float32 and
        0x7fff in 16 bits; an exact sum that is 0 is -0 only where every term is -0, under int/v1 never. K = 0 gives the
        bias or +0.
    Standard: OCP MX 1.0 section 6.1 leaves the order open; contracts are refnum's. Gradients of tensors and of the bias
        are exact/v1.
    Cost: O(M N K) time; exact/v1 that of one or two products of floats where values span few binades; memory for the
        dequantized operands.
    """
    row = contracts.find("mx_mm", contract)
    if row.multiply_blocks is None:
        raise ContractError(
            f"mx_mm cannot follow {row.name}, which takes no blocks: {row.definition}. Use exact/v1, or dequantize and "
            "refnum.gemm."
        )
    _check(a, b, bias, out_dtype)
    _check_for(row, a=a, b=b)
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


def _check_for(row: contracts.Contract, **operands: Blocks | Tensor) -> None:
    """The operands are of the formats that the contract takes, if it names any."""
    for name, x in operands.items() if row.check_blocks else ():
        if not isinstance(x, Blocks):
            raise DTypeError(f"mx_mm under {row.name} needs Blocks for {name}, got a tensor. Use mx.quantize for it.")
        assert row.check_blocks is not None
        row.check_blocks("mx_mm", name, x)


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
    multiply = contracts.find("mx_mm", contract).multiply_blocks
    assert multiply is not None
    return multiply(x, y, None if bias is None else bias.to(torch.float32), out_dtype)
