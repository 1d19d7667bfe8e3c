"""Sums of products of posits: quire_dot, and posit_mm in four modes, each a contract."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import (
    FLOAT_ROWS,
    broadcast,
    check_choice,
    check_codes,
    check_device,
    check_posit,
    check_result_dtype,
    check_tensor,
)
from ..codec import quantize
from ..errors import ContractError, DTypeError, FormatError, ShapeError
from ..formats import Posit, float32, holds
from . import ordered, quires
from .operands import batch_shape

MOST_TERMS = (1 << 31) - 1  #: products that a quire takes without overflow, whatever they are


@dataclass(frozen=True, slots=True)
class Mode:
    """What posit_mm rounds, and when."""

    contract: str  #: the full name of its newest version
    formats: str  #: which formats it takes, in words
    takes: Callable[[Posit], bool]  #: and as a test
    float32_sum: bool = False  #: the sum, and so the result and c, are float32
    scaled: bool = False  #: takes alpha, beta and k_pad


MODES: dict[str, Mode] = {
    "quire": Mode("posit_quire/v1", "every posit format", lambda fmt: True),
    "posit": Mode("posit_posit/v1", "n up to 32 and es up to 3", lambda fmt: fmt.n <= 32 and fmt.es <= 3),
    "products": Mode(
        "posit_products/v1", "formats that float32 holds exactly", lambda fmt: holds(float32, fmt), float32_sum=True
    ),
    "cuposit": Mode(
        "posit_cuposit/v1",
        "es = 2 and n from 4 to 28",
        lambda fmt: fmt.es == 2 and 4 <= fmt.n <= 28,
        float32_sum=True,
        scaled=True,
    ),
}
NAMES = {row.contract: name for name, row in MODES.items()} | {name: name for name in MODES}


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
    Cost: O(K) time a result; bounded memory.
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
    alpha: float = 1.0,
    beta: float = 0.0,
    k_pad: int | None = 8,
) -> Tensor:
    """Matrix product in posits, batched and broadcast as torch.matmul: ``round(sum_k a_ik * b_kj + c_ij)``.

    >>> a = torch.tensor([[1024.0, 1.0, -1024.0]])
    >>> posit_mm(a, torch.ones(3, 1), Posit(8))
    tensor([[1.]])
    >>> posit_mm(a, torch.ones(3, 1), Posit(8), mode="posit")  # 1024 + 1 is 1024 in posit8
    tensor([[0.]])

    Parameters
    ----------
    a, b : Tensor
        Both floating-point of one dtype (rounded to the format first), or both patterns. [..., M, K] and [..., K, N];
        1-D operands as in torch.matmul. Mode cuposit takes float32 alone.
    fmt : Posit
        The format. Mode posit takes n up to 32 and es up to 3; products what float32 holds; cuposit es = 2, n from 4
        to 28.
    mode : str
        What is rounded, and when; k ascends wherever that matters. A short name, or the contract's full one.

        - quire (posit_quire/v1): nothing but the result. The sum is exact.
        - posit (posit_posit/v1): every product and every sum, to the format.
        - products (posit_products/v1): every product to the format; sums in float32, which is the result.
        - cuposit (posit_cuposit/v1): operands and products are truncated as CuPosit does it, 0 becoming the least
          value; sums in float32, which is the result; ``alpha * sum + beta * c`` at the end.
    c : Tensor, optional
        An addend that broadcasts to the result. In modes quire and posit it is of the operands' kind, rounded to the
        format and the first summand; otherwise float32, and added last.
    out_dtype : torch.dtype, optional
        A floating-point dtype that holds the format exactly. Default: floats in, the same dtype out; patterns in,
        patterns out. float32 where that is the sum.
    grad : str
        Gradients pass straight through the roundings; they are products of torch.matmul, without a promise of bits.
        ``rounded``: dA = dD B^T with the rounded B; ``raw``: with B as given.
    alpha, beta : float
        Factors of the product and of c, as float32. Mode cuposit alone.
    k_pad : int or None
        8: K is filled up to a multiple of 8 with zeros, which mode cuposit counts as its least value, in its order;
        None: it is not. Mode cuposit alone.

    Returns
    -------
    Tensor
        [..., M, N].

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format, the mode does not take it, or the result dtype does not hold it exactly.
    DTypeError
        When the operands are neither all floating-point of one dtype nor all patterns, or not what the mode takes.
    ShapeError
        When the shapes do not match or broadcast, or K is 2**31 or more.
    ContractError
        When there is no such mode, grad or k_pad, or the mode does not take alpha, beta or k_pad.

    Exactness: bit-exact; in mode quire whatever the order of k, the batch, chunking or thread count.
    Rounding: by mode; to nearest, ties to the even pattern, or toward zero in cuposit.
    Special: any NaR, NaN or Inf in a row or column gives NaR (NaN), also times 0; cuposit takes NaN and Inf for its
        largest value. K = 0 gives c or 0.
    Standard: Posit Standard (2022) 5.11 for mode quire; 5.4 for each step of mode posit.
    Cost: O(M N K) time; for mode quire that of a few float64 products where float64 holds the format, and memory for
        float64 copies of b; else registers.
    """
    name, row = _mode(mode)
    check_operands("posit_mm", a, b, None if row.float32_sum else c, fmt)
    check_choice("posit_mm", "grad", grad, ("rounded", "raw"))
    _check_mode(name, row, fmt, a, c)
    _check_scaling(name, row, alpha, beta, k_pad)
    _check_matrices(a, b)
    out_dtype = _result_dtype(name, row, fmt, a, out_dtype)
    x, y = (a[None, :] if a.dim() == 1 else a), (b[:, None] if b.dim() == 1 else b)
    if c is not None:
        c = _addend(a, b, c)
    result: Tensor = torch.ops.refnum.posit_mm(x, y, c, fmt.n, fmt.es, name, out_dtype, grad, alpha, beta, k_pad)
    if b.dim() == 1:
        result = result.squeeze(-1)
    return result.squeeze(-1 if b.dim() == 1 else -2) if a.dim() == 1 else result


# ---- checks --------------------------------------------------------------------------------------


def _mode(mode: object) -> tuple[str, Mode]:
    if not isinstance(mode, str) or mode not in NAMES:
        check_choice("posit_mm", "mode", mode, NAMES)
    assert isinstance(mode, str)
    return NAMES[mode], MODES[NAMES[mode]]


def _check_mode(name: str, row: Mode, fmt: Posit, a: Tensor, c: Tensor | None) -> None:
    """The mode takes the format, and the dtypes of the operands and of c."""
    if not row.takes(fmt):
        raise FormatError(f"posit_mm cannot run {fmt} in mode {name}, which takes {row.formats}. Use mode='quire'.")
    if row.scaled and a.dtype != torch.float32:
        raise DTypeError(
            f"posit_mm needs float32 operands in mode {name}, got {a.dtype}. Convert them, with refnum.decode if they "
            "are patterns."
        )
    if row.float32_sum and c is not None:
        check_tensor("posit_mm", "c", c)
        if c.dtype != torch.float32:
            raise DTypeError(
                f"posit_mm adds c in float32 in mode {name}, got {c.dtype}. Allowed is float32. Convert c, with "
                "refnum.decode if it holds patterns."
            )
        check_device("posit_mm", a=a, c=c)
    if row.scaled and fmt.n == 4:
        warnings.warn("posit_mm in mode cuposit makes every value of posit(4,2) +-1/2.", stacklevel=3)


def _check_scaling(name: str, row: Mode, alpha: object, beta: object, k_pad: object) -> None:
    """alpha, beta and k_pad are what the mode takes."""
    if not row.scaled and (alpha, beta, k_pad) != (1.0, 0.0, ordered.K_PAD):
        raise ContractError(
            f"posit_mm takes alpha, beta and k_pad only in mode cuposit, got alpha={alpha!r}, beta={beta!r}, "
            f"k_pad={k_pad!r} in mode {name}. Leave them out, and scale the operands or the result."
        )
    for key, value in (("alpha", alpha), ("beta", beta)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _MOST:
            raise ContractError(
                f"posit_mm has no {key}={value!r}. Allowed are numbers that are finite as float32. Choose one of those."
            )
    check_choice("posit_mm", "k_pad", k_pad, (ordered.K_PAD, None))


_MOST = float32.max_value


def _result_dtype(name: str, row: Mode, fmt: Posit, a: Tensor, out_dtype: torch.dtype | None) -> torch.dtype | None:
    if row.float32_sum:
        if out_dtype not in (None, torch.float32):
            raise DTypeError(
                f"posit_mm cannot return {out_dtype} in mode {name}, whose sum is float32. Allowed is float32. "
                "Leave out_dtype out and convert the result."
            )
        return torch.float32
    if out_dtype is None and a.is_floating_point():
        out_dtype = a.dtype
    if out_dtype is not None:
        check_result_dtype("posit_mm", out_dtype, fmt)
    return out_dtype


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
    batch_shape(a, b)
    check_terms("posit_mm", k)


def _addend(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """c in the shape of the product of matrices, before 1-D operands lose their axis again."""
    batch = batch_shape(a, b)
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


# ---- the operations ------------------------------------------------------------------------------


def quire_dot_reference(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """`quire_dot` of checked operands of one shape."""
    return quires.quire_dot(a, b, Posit(n, es))


def posit_mm_reference(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    n: int,
    es: int,
    mode: str,
    out_dtype: torch.dtype | None,
    grad: str,
    alpha: float,
    beta: float,
    k_pad: int | None,
) -> Tensor:
    """`posit_mm` of checked operands with at least two axes. ``grad`` concerns the derivative only."""
    fmt = Posit(n, es)
    match mode:
        case "posit":
            return ordered.rounded_mm(a, b, c, fmt, out_dtype)
        case "products":
            return ordered.products_mm(a, b, c, fmt)
        case "cuposit":
            return ordered.cuposit_mm(a, b, c, fmt, alpha, beta, k_pad)
        case _:
            return quires.quire_mm(a, b, c, fmt, out_dtype)


def rounded_operand(x: Tensor, fmt: Posit, mode: str) -> Tensor:
    """The floats that a mode multiplies."""
    return ordered.clipped(x, fmt) if mode == "cuposit" else quantize(x, fmt)
