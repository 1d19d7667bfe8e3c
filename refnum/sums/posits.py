"""Sums of products of posits: quire_dot and posit_mm, contract ``posit_quire/v1``."""

from __future__ import annotations

from types import EllipsisType

import torch
from torch import Tensor

from ..boundary import (
    FLOAT_ROWS,
    broadcast,
    broadcast_shape,
    check_choice,
    check_codes,
    check_device,
    check_posit,
    check_result_dtype,
    check_tensor,
    container,
)
from ..codec import encode, floats_of
from ..core.decode import INFINITE, Exact, decode
from ..core.exact import carry_words
from ..errors import DTypeError, ShapeError
from ..fast.chunks import CHUNK
from ..formats import Posit
from ..posit.quire import Register

MODES = ("quire",)  #: what posit_mm can compute; newest full names: posit_quire/v1
TERMS = 1 << 28  #: products that may be added between two carry passes
MOST_TERMS = (1 << 31) - 1  #: products that a quire takes without overflow, whatever they are


def quire_dot(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """Exact dot products along the last axis, rounded once.

    >>> quire_dot(torch.tensor([1e4, 1.0, -1e4]), torch.ones(3), Posit(16))
    tensor(1.)

    Parameters
    ----------
    a, b : Tensor
        Both floating-point (rounded to the format first) of one dtype, or both patterns; shapes [..., K] that
        broadcast.
    fmt : Posit
        The format.

    Returns
    -------
    Tensor
        Floats in, floats of the same dtype out; patterns in, patterns out. Shape [...].

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format, or the dtype does not hold it exactly.
    DTypeError
        When the operands are neither both floating-point of one dtype nor both patterns.
    ShapeError
        When the operands do not broadcast, have no last axis, or have 2**31 products or more.

    Exactness: bit-exact.
    Rounding: once, to nearest, ties to the even pattern; floating-point operands are rounded to the format before.
    Special: any NaR, NaN or Inf gives NaR (NaN), also times 0; no terms give 0.
    Standard: Posit Standard (2022) 5.11.
    Cost: O(K) time a result, memory O(CHUNK) words.
    """
    check_operands("quire_dot", a, b, None, fmt)
    if a.dim() == 0 or b.dim() == 0:
        raise ShapeError("quire_dot needs a last axis to sum along, got a 0-d tensor. Use reshape(1) for one product.")
    a, b = broadcast("quire_dot", a=a, b=b)
    check_terms("quire_dot", a.shape[-1])
    if a.is_floating_point():
        check_result_dtype("quire_dot", a.dtype, fmt)
    result: Tensor = torch.ops.refnum.quire_dot(a, b, fmt.n, fmt.es)
    return result


def posit_mm(
    a: Tensor,
    b: Tensor,
    fmt: Posit,
    *,
    mode: str = "quire",
    c: Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    grad: str = "rounded",
) -> Tensor:
    """Matrix product in posits, batched and broadcast as torch.matmul: ``round(sum_k a_ik * b_kj + c_ij)``.

    >>> a = torch.tensor([[1024.0, 1.0, -1024.0]])
    >>> posit_mm(a, torch.ones(3, 1), Posit(8))
    tensor([[1.]])

    Parameters
    ----------
    a, b : Tensor
        Both floating-point of one dtype (rounded to the format first), or both patterns. [..., M, K] and [..., K, N];
        1-D operands as in torch.matmul.
    fmt : Posit
        The format.
    mode : str
        quire: the sum is exact and rounded once (contract posit_quire/v1).
    c : Tensor, optional
        Added before the rounding; of the operands' kind, broadcasting to the result.
    out_dtype : torch.dtype, optional
        A floating-point dtype that holds the format exactly. Default: floats in, the same dtype out; patterns in,
        patterns out.
    grad : str
        Gradients pass straight through the roundings. ``rounded``: dA = dD B^T with the rounded B; ``raw``: as given.

    Returns
    -------
    Tensor
        [..., M, N].

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format, or the result dtype does not hold it exactly.
    DTypeError
        When the operands are neither all floating-point of one dtype nor all patterns.
    ShapeError
        When the shapes do not match or broadcast, or K is 2**31 or more.
    ContractError
        When there is no such mode or grad.

    Exactness: bit-exact, whatever the order of k, the batch, chunking or thread count.
    Rounding: once, to nearest, ties to the even pattern; floating-point operands are rounded to the format before.
    Special: any NaR, NaN or Inf in a row or column gives NaR (NaN), also times 0; K = 0 gives c or 0.
    Standard: Posit Standard (2022) 5.11.
    Cost: O(M N K) time; memory operands in int64 and O(CHUNK) quires.
    """
    check_operands("posit_mm", a, b, c, fmt)
    check_choice("posit_mm", "mode", mode, MODES)
    check_choice("posit_mm", "grad", grad, ("rounded", "raw"))
    _check_matrices(a, b)
    if out_dtype is None and a.is_floating_point():
        out_dtype = a.dtype
    if out_dtype is not None:
        check_result_dtype("posit_mm", out_dtype, fmt)
    x, y = (a[None, :] if a.dim() == 1 else a), (b[:, None] if b.dim() == 1 else b)
    if c is not None:
        c = _addend(a, b, c)
    result: Tensor = torch.ops.refnum.posit_mm(x, y, c, fmt.n, fmt.es, out_dtype, grad)
    if b.dim() == 1:
        result = result.squeeze(-1)
    return result.squeeze(-1 if b.dim() == 1 else -2) if a.dim() == 1 else result


def check_operands(function: str, a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit) -> None:
    """All operands are floats of one dtype, or all are patterns of the format; on one device."""
    check_posit(function, fmt)
    operands = {"a": a, "b": b} | ({} if c is None else {"c": c})
    for name, x in operands.items():
        check_tensor(function, name, x)
    if any(x.dtype in FLOAT_ROWS for x in operands.values()):
        if len({x.dtype for x in operands.values()}) > 1:
            got = ", ".join(f"{name} {x.dtype}" for name, x in operands.items())
            raise DTypeError(f"{function} needs floats of one dtype, or patterns throughout; got {got}. Convert them.")
    else:
        for name, x in operands.items():
            check_codes(function, name, x, fmt)
    check_device(function, **operands)


def check_terms(function: str, count: int) -> None:
    """The quire takes so many products."""
    if count > MOST_TERMS:
        raise ShapeError(
            f"{function} cannot add {count:,} products: a quire holds fewer than 2**31. Split the sum and add quires."
        )


def _check_matrices(a: Tensor, b: Tensor) -> None:
    if a.dim() == 0 or b.dim() == 0:
        raise ShapeError("posit_mm needs at least one axis on each side, got a 0-d tensor. Use posit.mul for scalars.")
    k = b.shape[0] if b.dim() == 1 else b.shape[-2]
    if a.shape[-1] != k:
        raise ShapeError(
            f"posit_mm cannot multiply {tuple(a.shape)} by {tuple(b.shape)}: "
            f"a has {a.shape[-1]} columns and b {k} rows, which must be equal. Transpose or reshape one."
        )
    broadcast_shape("posit_mm", a=a.shape[:-2], b=b.shape[:-2])
    check_terms("posit_mm", k)


def _addend(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """c in the shape of the product of matrices, before 1-D operands lose their axis again."""
    batch = broadcast_shape("posit_mm", a=a.shape[:-2], b=b.shape[:-2])
    rows, columns = ([] if a.dim() == 1 else [a.shape[-2]]), ([] if b.dim() == 1 else [b.shape[-1]])
    shape = [*batch, *rows, *columns]
    try:
        c = c.expand(shape)
    except RuntimeError:
        raise ShapeError(
            f"posit_mm cannot add c of shape {tuple(c.shape)} to a result of shape {tuple(shape)}. "
            "Make c broadcast to it."
        ) from None
    return c.reshape(*batch, *(rows or [1]), *(columns or [1]))


# ---- the definitions -----------------------------------------------------------------------------


def quire_dot_reference(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """`quire_dot` of operands of one shape, through registers."""
    fmt = Posit(n, es)
    count, terms = a.shape[:-1].numel(), a.shape[-1]
    x, y = (_patterns(operand, fmt).expand(a.shape).reshape(count, terms) for operand in (a, b))
    result = torch.empty(count, dtype=container(fmt), device=a.device)
    rows = max(1, CHUNK // max(1, terms))
    for start in range(0, count, rows):
        part = slice(start, start + rows)
        result[part] = _sums_of_products(x[part, None, :], y[part, :, None], None, fmt).view(-1)
    return _finished(result.view(a.shape[:-1]), fmt, a.dtype if a.is_floating_point() else None)


def posit_mm_reference(
    a: Tensor, b: Tensor, c: Tensor | None, n: int, es: int, out_dtype: torch.dtype | None, grad: str
) -> Tensor:
    """`posit_mm` of operands with at least two axes, through registers. ``grad`` concerns the derivative only."""
    fmt = Posit(n, es)
    shape = product_shape(a, b)
    x, y = _patterns(a, fmt).expand(*shape[:-2], *a.shape[-2:]), _patterns(b, fmt).expand(*shape[:-2], *b.shape[-2:])
    matrices = shape[:-2].numel()
    z = None if c is None else _patterns(c, fmt).reshape(matrices, *shape[-2:])
    x, y = x.reshape(matrices, *a.shape[-2:]), y.reshape(matrices, *b.shape[-2:])
    result = torch.empty(matrices, *shape[-2:], dtype=container(fmt), device=a.device)
    rows = max(1, CHUNK // max(1, shape[-1]))
    for i in range(matrices):
        for start in range(0, shape[-2], rows):
            part = (slice(i, i + 1), slice(start, start + rows))
            result[part] = _sums_of_products(x[part], y[i : i + 1], None if z is None else z[part], fmt)
    return _finished(result.view(shape), fmt, out_dtype)


def product_shape(a: Tensor, b: Tensor) -> torch.Size:
    """The shape of a product of batched matrices."""
    batch = broadcast_shape("posit_mm", a=a.shape[:-2], b=b.shape[:-2])
    return torch.Size((*batch, a.shape[-2], b.shape[-1]))


def _patterns(x: Tensor, fmt: Posit) -> Tensor:
    return encode(x, fmt) if x.is_floating_point() else x


def _finished(patterns: Tensor, fmt: Posit, dtype: torch.dtype | None) -> Tensor:
    return patterns if dtype is None else floats_of(patterns, fmt, dtype)


def _sums_of_products(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit) -> Tensor:
    """Patterns [B, M, N] as int64 of round(sum_k a[B, M, K] * b[B, K, N] + c[B, M, N]), in B * M * N registers."""
    register = Register(fmt)
    batch, m, terms, n = *a.shape, b.shape[-1]
    words = register.zeros(batch * m * n, a.device)
    column = torch.arange(batch * m * n, device=a.device).view(batch, m, 1, n)
    x, y = decode(a, fmt), decode(b, fmt)
    step = max(1, CHUNK // max(1, batch * m * n))
    for start in range(0, terms, step):
        part = slice(start, start + step)
        u, v = _picked(x, (..., part, None)), _picked(y, (slice(None), None, part))
        register.add_products(words, column.expand(batch, m, u.exponent.shape[2], n), u, v)
        if (start + step) // TERMS > start // TERMS:
            carry_words(words)
    kind = -((x.kind & INFINITE).sum(2, keepdim=True) + (y.kind & INFINITE).sum(1, keepdim=True)).clamp(max=1)
    kind = kind.expand(batch, m, n)
    if c is not None:
        z = decode(c, fmt)
        register.add(words, column[:, :, 0], z)
        kind = kind | z.kind
    carry_words(words)
    return register.rounded(words, kind.reshape(-1)).view(batch, m, n)


def _picked(x: Exact, index: tuple[slice | EllipsisType | None, ...]) -> Exact:
    return Exact(x.sign[index], tuple(limb[index] for limb in x.significand), x.exponent[index], x.kind[index])
