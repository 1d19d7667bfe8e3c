"""From arguments to results: what public functions of codes or values check and share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..boundary import (
    FLOAT_ROWS,
    INTEGERS,
    SIGNED,
    broadcast,
    check_codes,
    check_encodable,
    check_floats,
    check_format,
    check_result_dtype,
    check_tensor,
)
from ..codec import floats_of
from ..errors import ContractError, DTypeError, UncoveredError
from ..formats import Format
from .evaluation import evaluate

SHORT = ", ".join(str(dtype).removeprefix("torch.") for dtype in INTEGERS)
LEAST, MOST = -(1 << 63), (1 << 63) - 1


def evaluated(name: str, fmt: Format, *, variant: str = "", **operands: Tensor) -> Tensor:
    """A function, or a variant of it, of codes of the format or of floating-point values, in what they came in."""
    function = f"functions.{name}"
    dtype = _checked(function, fmt, **operands)
    return _in_kind(dtype, name + variant, fmt, broadcast(function, **operands), None)


def evaluated_with(name: str, fmt: Format, k: Tensor | int, *, x: Tensor) -> Tensor:
    """The same for a function that takes an integer, too."""
    function = f"functions.{name}"
    dtype = _checked(function, fmt, x=x)
    operand, integer = broadcast(function, x=x, k=integers(function, "k", k, x.device))
    return _in_kind(dtype, name, fmt, (operand,), integer)


def integers(function: str, name: str, k: Tensor | int, device: torch.device) -> Tensor:
    """Whole numbers as int64: a tensor of any integer dtype, or a Python int."""
    if isinstance(k, Tensor):
        check_tensor(function, name, k)
        if k.dtype in INTEGERS:
            return k.to(torch.int64)
    elif isinstance(k, int) and not isinstance(k, bool):
        if LEAST <= k <= MOST:
            return torch.tensor(k, dtype=torch.int64, device=device)
        raise ContractError(
            f"{function} has no {name}={k}: {name} is an int from -2**63 to 2**63 - 1. Choose {name} in that range."
        )
    got = k.dtype if isinstance(k, Tensor) else type(k).__name__
    raise DTypeError(
        f"{function} needs integers for {name}, got {got}. Allowed are {SHORT} and Python ints. Convert them first."
    )


def _checked(function: str, fmt: Format, **operands: Tensor) -> torch.dtype | None:
    """The floating-point dtype that the operands share, or None: they are codes."""
    check_format(function, fmt)
    check_encodable(function, fmt)
    for name, x in operands.items():
        check_tensor(function, name, x)
    dtypes = {x.dtype for x in operands.values()}
    values = any(dtype.is_floating_point for dtype in dtypes)
    if values and len(dtypes) > 1:
        got = ", ".join(f"{name} {x.dtype}" for name, x in operands.items())
        raise DTypeError(f"{function} needs floats of one dtype, or codes throughout, got {got}. Convert them.")
    for name, x in operands.items():
        if values:
            _check_values(function, name, x, fmt)
        else:
            check_codes(function, name, x, fmt)
    return dtypes.pop() if values else None


def _check_values(function: str, name: str, x: Tensor, fmt: Format) -> None:
    check_floats(function, name, x)
    check_result_dtype(function, x.dtype, fmt, f"Convert {name} to {{}} first.")
    if x.requires_grad and torch.is_grad_enabled():
        reason = "no gradient is defined here"
        raise UncoveredError(
            f"{function} got a tensor that requires grad for {name}: {reason}. Allowed are tensors that do not. "
            f"Use {name}.detach().",
            op=function,
            reason=reason,
        )


def _in_kind(dtype: torch.dtype | None, name: str, fmt: Format, operands: Sequence[Tensor], k: Tensor | None) -> Tensor:
    """Codes of codes, or values, in their dtype, of values."""
    if dtype is None:
        return evaluate(name, operands, (fmt,) * len(operands), fmt, k)
    row = FLOAT_ROWS[dtype]
    codes = [x.detach().resolve_neg().view(SIGNED[row.width]) for x in operands]
    result = evaluate(name, codes, (row,) * len(codes), fmt, k)
    return result.view(dtype) if fmt == row else floats_of(result, fmt, dtype)
