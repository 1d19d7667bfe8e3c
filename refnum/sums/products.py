"""Products of matrices of floats or integers, under a contract."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ..boundary import broadcast_shape, check_device, check_tensor
from ..errors import ContractError, DTypeError, ShapeError
from . import contracts
from .contracts import Contract
from .operands import FP8, placed_bias


def gemm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    contract: str | Contract = "chain/v1",
    out_dtype: torch.dtype | None = None,
) -> Tensor:
    """Product of matrices ``a @ b + bias``, each bit as a contract says, on any machine.

    >>> import torch, refnum
    >>> a, b = torch.tensor([[1e8, 1.0, -1e8]]), torch.ones(3, 1)
    >>> refnum.gemm(a, b), refnum.gemm(a, b, contract="exact/v1")
    (tensor([[0.]]), tensor([[1.]]))

    Parameters
    ----------
    a, b : Tensor
        [.., M, K] and [.., K, N], of one dtype that the contract takes; batches broadcast, 1-D operands as in
        torch.matmul, any strides. Orders in float32 take float32, bfloat16, float16 and torch's float8 dtypes, and
        widen them exactly; exact/v1 takes float64 too, and any two of these.
    bias : Tensor, optional
        Broadcasts to the result: float32, not rounded before; float16 where the contract accumulates in it; float64 is
        for exact/v1. Where in the sum it stands is the contract's.
    contract : str or Contract
        What is summed how: a name with its version, as `exact/v1` (the exact sum, rounded once), `chain/v1` (k
        ascending, one fma a term), `tree/v1(Kc=256)`, `tc.hopper.bf16/v1`; a short name is the newest version. The
        error of an unknown name lists all.
    out_dtype : torch.dtype, optional
        The dtype of the result, by default that of the operands, float32 for those of 8 bits, int32 for integers. The
        sum is rounded to it once.

    Returns
    -------
    Tensor
        [.., M, N].

    Raises
    ------
    DTypeError
        When an operand, the bias or the result is of a dtype that the contract does not take, a and b differ, or
        tensors are on several devices.
    ShapeError
        When operands or the bias do not match or broadcast.
    ContractError
        When there is no such contract, or K is beyond its bound.
    UncoveredError
        When no definition is known, or a replay of another library does not cover the shape.

    Exactness: bit-exact by contract; tc.* are models of the named hardware; unversioned/torch.mm promises nothing.
    Rounding: by contract; then to nearest, ties to even, once. Results of 8 bits saturate.
    Special: by contract; NaN is written 0x7fffffff in float32 and 0x7fff in 16 bits. Subnormals are kept. K = 0 gives
        the bias or +0.
    Standard: IEEE 754-2019 section 5.4.1 for fma; contracts are refnum's. Gradients are exact/v1, each rounded once.
    Cost: O(M N K) time, for a contract about (x torch.mm of float32): exact/v1 5, chain/v1 10; memory for operands in
        float32 and tiles.
    """
    row = contracts.find("gemm", contract)
    _check_operands(row, a, b, bias)
    dtype = _result_dtype(row, a, b, out_dtype)
    shape = _product_shape(a, b)
    x, y = a[None] if a.dim() == 1 else a, b[:, None] if b.dim() == 1 else b
    if bias is not None:
        bias = placed_bias("gemm", bias, shape, a.dim(), b.dim())
    result: Tensor = torch.ops.refnum.gemm(x, y, bias, row.name, dtype)
    if b.dim() == 1:
        result = result.squeeze(-1)
    return result.squeeze(-1 if b.dim() == 1 else -2) if a.dim() == 1 else result


# ---- checks --------------------------------------------------------------------------------------


def _check_operands(row: Contract, a: Tensor, b: Tensor, bias: Tensor | None) -> None:
    if row.multiply is None:
        remedy = "it takes Blocks alone. Use refnum.mx_mm" if row.multiply_blocks else row.definition
        raise ContractError(f"gemm cannot follow {row.name}: {remedy}.")
    tensors = {"a": a, "b": b} if bias is None else {"a": a, "b": b, "bias": bias}
    for name, x in tensors.items():
        check_tensor("gemm", name, x)
        if name == "bias" and not row.biases:
            raise ContractError(f"gemm under {row.name} takes no bias, got one of {x.dtype}. Add it to the result.")
        _check_dtype(row, f"for {name}", x.dtype, row.biases if name == "bias" else row.operands)
    if a.dtype != b.dtype and not row.mixed and not (a.dtype in FP8 and b.dtype in FP8):
        raise DTypeError(
            f"gemm under {row.name} needs a and b of one dtype, got {a.dtype} and {b.dtype}. Nothing is converted "
            "silently. Convert one of them."
        )
    check_device("gemm", **tensors)


def _check_dtype(row: Contract, what: str, got: object, allowed: tuple[torch.dtype, ...]) -> None:
    if got not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise DTypeError(f"gemm under {row.name} has no {got} {what}. Allowed are {names}. Convert it.")


def _result_dtype(row: Contract, a: Tensor, b: Tensor, asked: torch.dtype | None) -> torch.dtype:
    if asked is not None:
        _check_dtype(row, "for out_dtype", asked, row.results)
        return asked
    if a.dtype in FP8 or b.dtype in FP8:
        return row.results[0]
    natural = torch.promote_types(a.dtype, b.dtype)
    return natural if natural in row.results else row.results[0]


def _product_shape(a: Tensor, b: Tensor) -> torch.Size:
    """The shape of the product, 1-D operands counted as matrices."""
    if not a.dim() or not b.dim():
        raise ShapeError("gemm needs at least one axis on each side, got a 0-d tensor. Use a product of scalars.")
    left, right = (1, *a.shape)[-2:], (*b.shape, 1)[:2] if b.dim() == 1 else b.shape[-2:]
    if left[1] != right[0]:
        raise ShapeError(
            f"gemm cannot multiply {tuple(a.shape)} by {tuple(b.shape)}: the last axis of a has {left[1]} elements and "
            f"the axis of b that is summed {right[0]}, which must be equal. Transpose or reshape one."
        )
    batch = broadcast_shape("gemm", a=a.shape[:-2], b=b.shape[:-2])
    return torch.Size((*batch, left[0], right[1]))


# ---- the operation -------------------------------------------------------------------------------


def gemm_reference(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`gemm` of checked operands with at least two axes."""
    multiply = contracts.find("gemm", contract).multiply
    assert multiply is not None
    x, y = (side.detach().resolve_neg() for side in (a, b))
    return multiply(x, y, None if bias is None else bias.detach().resolve_neg(), out_dtype)


def exact_product(a: Tensor, b: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """``a @ b`` in a shape [.., M, N] whose batch may have fewer or shorter axes: what was repeated is summed, too."""
    batch = broadcast_shape("gemm", a=a.shape[:-2], b=b.shape[:-2])
    kept, summed = _axes(batch, shape[:-2])
    count = prod(batch[i] for i in summed)
    rows, columns, terms = a.shape[-2], b.shape[-1], a.shape[-1]
    x = a.expand(*batch, rows, terms).permute(*kept, -2, *summed, -1)
    y = b.expand(*batch, terms, columns).permute(*kept, *summed, -2, -1)
    left = x.reshape(*x.shape[: len(kept) + 1], count * terms)
    right = y.reshape(*y.shape[: len(kept)], count * terms, columns)
    product: Tensor = torch.ops.refnum.gemm(left, right, None, "exact/v1", dtype)
    return product.reshape(shape)


def exact_sum(x: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """The sum of x to a shape that broadcasts to its own, each rounded once."""
    kept, summed = _axes(x.shape, shape)
    count = prod(x.shape[i] for i in summed)
    terms = x.permute(*summed, *kept).reshape(count, prod(x.shape[i] for i in kept))
    ones = torch.ones(1, count, dtype=torch.float32, device=x.device)
    total: Tensor = torch.ops.refnum.gemm(ones, terms, None, "exact/v1", dtype)
    return total.reshape(shape)


def _axes(whole: torch.Size, part: torch.Size) -> tuple[list[int], list[int]]:
    """Axes of the whole that the part has, and those along which it was repeated."""
    padded = (1,) * (len(whole) - len(part)) + tuple(part)
    summed = [i for i, size in enumerate(padded) if size == 1 and whole[i] != 1]
    return [i for i in range(len(whole)) if i not in summed], summed
