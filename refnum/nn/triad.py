"""A linear layer as a function: its output and each of its gradients under a contract of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..boundary import check_choice, check_device, check_tensor
from ..errors import ContractError, DTypeError, ShapeError
from ..sums.contracts import Contract, find
from ..sums.operands import FP8
from ..sums.triads import EXACT, Triad
from .gradients import sink_of

AUTOCAST_DEVICES = ("cpu", "cuda", "xpu", "mps")
Name = str | Contract
Gradients = Name | Mapping[str, Name]  #: one contract for all gradients, or some of those of input, weight and bias


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    contract: Name = "chain/v1",
    grad_contract: Gradients | None = None,
) -> Tensor:
    """``x @ weight.T + bias`` and its gradients, each bit as contracts say.

    >>> x, weight = torch.ones(2, 3), torch.ones(1, 3, requires_grad=True)
    >>> y = linear(x, weight, contract="chain/v1")
    >>> y.sum().backward()
    >>> weight.grad
    tensor([[2., 2., 2.]])

    Parameters
    ----------
    x : Tensor
        [.., K], of any strides; all axes but the last are rows of one matrix.
    weight : Tensor
        [N, K], of the dtype of x.
    bias : Tensor, optional
        [N], of the dtype of x or float32; it enters the sum unrounded, where the contract says.
    contract : str or Contract
        What is summed how in the output, as in `refnum.gemm`.
    grad_contract : str, Contract or mapping, optional
        What is summed how in the gradients: one contract for all, or a mapping with some of the keys input, weight and
        bias. By default the gradient of x follows ``contract`` (exact/v1 where that does not return what it takes), and
        those of the weight and the bias are exact/v1: one rounding of a sum over all rows, in whatever order they come.
        ``sgbi.dispatch/0.1.1`` has tables of its own for the gradients of x and of the weight; that of the bias, where
        the original leaves it to torch, is exact/v1.

    Returns
    -------
    Tensor
        [.., N], of the dtype of x; float32 for dtypes of 8 bits, int32 for integers, which have no gradients.

    Raises
    ------
    DTypeError
        When a contract does not take the dtypes, or x and weight differ in theirs or in device.
    ShapeError
        When shapes do not match.
    ContractError
        When there is no such contract, a gradient is asked for that has none, K is beyond a bound, autocast is on, or
        an exact accumulator of `nn.accumulate` is asked for second derivatives.
    UncoveredError
        When a replay of another library does not cover the shape.

    Exactness: bit-exact by contract, gradients of any order as well; the bits of a row depend on no other row, except
        under sgbi.dispatch, which goes by their count.
    Rounding: by contract; then once to the dtype of x, a gradient to that of what it belongs to.
    Special: by contract, as `refnum.gemm`. No rows: no result, gradients +0.
    Standard: IEEE 754-2019 section 5.4.1 for fma; contracts are refnum's.
    Cost: that of one `refnum.gemm`; backward that of two more and a sum of rows.
    """
    tensors = _check_tensors(x, weight, bias)
    row = _row("nn.linear", contract)
    triad = triad_of("nn.linear", row, grad_contract, x.dtype)
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if trains:
        check_trainable("nn.linear", triad)
    _check_dtypes(row, x, weight, bias)
    if trains:
        _check_gradients(triad, x.dtype, None if bias is None else bias.dtype)
    _check_shapes(x, weight, bias)
    rows = x.reshape(prod(x.shape[:-1]), x.shape[-1])
    dtype = x.dtype if x.dtype in row.results and x.dtype not in FP8 else row.results[0]
    result = _collected(rows, weight, bias, triad, dtype) if trains else _product(rows, weight, bias, triad, dtype)
    return result.reshape(*x.shape[:-1], weight.shape[0])


def _product(x: Tensor, weight: Tensor, bias: Tensor | None, triad: Triad, dtype: torch.dtype) -> Tensor:
    result: Tensor = torch.ops.refnum.triad(x, weight.mT, bias, "output", list(triad), dtype)
    return result


# ---- accumulators of exact gradients -------------------------------------------------------------


def _collected(x: Tensor, weight: Tensor, bias: Tensor | None, triad: Triad, dtype: torch.dtype) -> Tensor:
    """The product, with parameters that have an accumulator connected to that instead of having a gradient."""
    terms: list[tuple[Tensor, Callable[[Tensor], None]]] = []
    collector = sink_of(weight) if triad.weight == EXACT else None
    if collector is not None:
        terms.append((weight, partial(collector.add_products, x=x.detach())))
        weight = weight.detach()
    collector = sink_of(bias) if bias is not None and triad.bias == EXACT else None
    if bias is not None and collector is not None:
        terms.append((bias, collector.add_rows))
        bias = bias.detach()
    result = _product(x, weight, bias, triad, dtype)
    places = (_Terms.apply(parameter, result.detach(), add) for parameter, add in terms)  # type: ignore[no-untyped-call]
    return _Joined.apply(result, *places) if terms else result  # type: ignore[no-untyped-call]


class _Terms(torch.autograd.Function):
    """A place in the graph where the gradient of a result arrives if a parameter's is asked for."""

    @staticmethod
    def forward(ctx, parameter: Tensor, result: Tensor, add: Callable[[Tensor], None]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.add = add
        return result.new_empty(()).expand(result.shape)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[None, None, None]:  # type: ignore[no-untyped-def]
        if torch.is_grad_enabled():
            raise ContractError(
                "nn.linear cannot differentiate a gradient that nn.accumulate collects: the sum has not ended. Allowed "
                "is create_graph=False. Leave the context for second derivatives."
            )
        ctx.add(grads[0])
        return None, None, None


class _Joined(torch.autograd.Function):
    """The result, whose gradient goes to all places, too."""

    @staticmethod
    def forward(ctx, result: Tensor, *places: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.count = 1 + len(places)
        ctx.mark_dirty(result)  # it is returned as it is, and no view, which could not be written to
        return result

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
        return tuple(grads[0] for _ in range(ctx.count))


# ---- contracts -----------------------------------------------------------------------------------

#: replays whose original leaves the gradient of the bias to torch
WITHOUT_BIAS_GRADIENT = ("sgbi.dispatch/0.1.1",)


def triad_of(function: str, contract: Name, grad_contract: Gradients | None, dtype: torch.dtype) -> Triad:
    """Full names, with defaults for operands of this dtype filled in."""
    row = _row(function, contract)
    names = {key: _row(function, name).name for key, name in _given(function, grad_contract).items()}
    if names.get("bias") in WITHOUT_BIAS_GRADIENT:
        if isinstance(grad_contract, Mapping):
            raise ContractError(
                f"{function} has no gradient of the bias under {names['bias']}: the original leaves it to torch.sum. "
                f"Allowed are the other contracts. Choose {EXACT}."
            )
        del names["bias"]
    repeats = dtype in row.operands and dtype in row.results
    return Triad(
        row.name,
        names.get("input", row.name if repeats else EXACT),
        names.get("weight", EXACT),
        names.get("bias", EXACT),
    )


def _row(function: str, contract: Name) -> Contract:
    """The row of a contract of products that come out as tensors."""
    row = find(function, contract)
    if row.multiply is None:
        raise ContractError(
            f"{function} cannot follow {row.name}: {row.definition}. Allowed is what `gemm` takes. Choose {EXACT}."
        )
    return row


def _given(function: str, grad_contract: Gradients | None) -> Mapping[str, Name]:
    if grad_contract is None:
        return {}
    if not isinstance(grad_contract, Mapping):
        return dict.fromkeys(("input", "weight", "bias"), grad_contract)
    for key in grad_contract:
        check_choice(function, "gradient", key, ("input", "weight", "bias"))
    return grad_contract


def check_trainable(function: str, triad: Triad) -> None:
    """Every contract is one of floats."""
    for name in triad:
        if not any(dtype.is_floating_point for dtype in find(function, name).results):
            raise ContractError(
                f"{function} cannot train under {name}: it has no gradients. Allowed are contracts of floats. Choose "
                f"{EXACT}, or call it under torch.no_grad()."
            )


def _names(dtypes: Any) -> str:
    return ", ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


# ---- checks --------------------------------------------------------------------------------------


def _check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    tensors = {"x": x, "weight": weight} if bias is None else {"x": x, "weight": weight, "bias": bias}
    for name, tensor in tensors.items():
        check_tensor("nn.linear", name, tensor)
    check_device("nn.linear", **tensors)
    _check_autocast(x.device.type)
    return list(tensors.values())


def _check_autocast(device: str) -> None:
    if device in AUTOCAST_DEVICES and torch.is_autocast_enabled(device):
        raise ContractError(
            f"nn.linear does not take part in autocast, which is on for {device}: a contract says which dtypes are "
            "multiplied. Allowed is autocast that is off. Convert the tensors, and call it under "
            f"torch.autocast({device!r}, enabled=False)."
        )


def _check_dtypes(row: Contract, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dtype not in row.operands or weight.dtype != x.dtype:
        raise DTypeError(
            f"nn.linear under {row.name} has no x of {x.dtype} with a weight of {weight.dtype}. Allowed are "
            f"{_names(row.operands)}, one for both. Convert them."
        )
    if bias is None:
        return
    allowed = bias_dtypes(row, x.dtype)
    if bias.dtype not in allowed:
        names = _names(allowed) or "none"
        raise DTypeError(
            f"nn.linear under {row.name} has no bias of {bias.dtype} with {x.dtype}. Allowed are {names}. Convert it, "
            "or leave it out."
        )


def bias_dtypes(row: Contract, dtype: torch.dtype) -> list[torch.dtype]:
    """What a bias beside operands of this dtype may be: of theirs or float32, as it is or in float32."""
    allowed = dict.fromkeys((dtype, torch.float32))
    return [kind for kind in allowed if kind in row.biases or (kind in WIDENED and torch.float32 in row.biases)]


WIDENED = (torch.float16, torch.bfloat16)  #: dtypes of biases that float32 holds


def _check_gradients(triad: Triad, dtype: torch.dtype, bias: torch.dtype | None) -> None:
    """Contracts of the gradients take the dtype, and return those of what they belong to."""
    results = {"input": dtype, "weight": dtype, "bias": bias}
    for what, result in results.items():
        row = find("nn.linear", getattr(triad, what))
        if result is not None and (dtype in FP8 or dtype not in row.operands or result not in row.results):
            raise DTypeError(
                f"nn.linear cannot have the gradient of {what} as {result} out of {dtype} under {row.name}. Allowed "
                f"are {_names(kind for kind in row.operands if kind not in FP8)}. Choose another grad_contract, or "
                "convert the tensors."
            )


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() == 0 or weight.dim() != 2 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(
            f"nn.linear cannot multiply x {tuple(x.shape)} by a weight {tuple(weight.shape)}. Allowed are [.., K] and "
            "[N, K]. Transpose or reshape one."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(
            f"nn.linear cannot add a bias {tuple(bias.shape)} to {weight.shape[0]} outputs. Allowed is [N], that is "
            f"({weight.shape[0]},). Reshape or expand it."
        )
