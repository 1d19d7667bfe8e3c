"""Attention as two products in the format; scaling, masks, softmax and dropout stay in the model's dtype.

``R`` rounds to the format::

    scores  = sum over E of R(query * scale) * R(key)      one rounding
    weights = dropout(softmax(scores + mask))              no product, so no rounding
    output  = sum over S of R(weights) * R(value)          one rounding
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Multiply = Callable[[Tensor, Tensor], Tensor]


def attend(
    multiply: Multiply,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Tensor, Tensor]:
    """``F.scaled_dot_product_attention``, and its weights. A row in which all is masked has weights 0, as there."""
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = multiply(query * (1 / math.sqrt(query.shape[-1]) if scale is None else scale), key.mT)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        masked = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if masked else scores + attn_mask
    weights = torch._safe_softmax(scores, -1)
    if dropout_p > 0:
        weights = functional.dropout(weights, dropout_p)
    return multiply(weights, value), weights


def multi_head(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
    """``F.multi_head_attention_forward`` of torch, whose products a mode sees one by one.

    With ``need_weights`` torch adds masks to the scores inside ``baddbmm``, where -Inf would be NaR in a quire. So it
    goes the other way here, always, and the weights are taken from there: the output is the same with and without.
    """
    call = inspect.signature(functional.multi_head_attention_forward).bind(*args, **kwargs)
    call.apply_defaults()
    known = call.arguments
    if not known["need_weights"]:
        output, _ = body_of(functional.multi_head_attention_forward)(*call.args, **call.kwargs)
        return output, None
    kept: list[Tensor] = []

    def attention(*operands: Any) -> Tensor:
        output, weights = attend(torch.matmul, *operands)
        kept.append(weights)
        return output

    known["need_weights"] = False
    known["is_causal"] = known["is_causal"] and known["attn_mask"] is None  # else the mask says it, as in torch
    body = body_of(functional.multi_head_attention_forward, scaled_dot_product_attention=attention)
    output, _ = body(*call.args, **call.kwargs)
    weights = kept[0].mean(1) if known["average_attn_weights"] else kept[0]
    return output, weights if known["query"].dim() == 3 else weights.squeeze(0)


def body_of(function: FunctionType | Callable[..., Any], **stand_ins: Any) -> Callable[..., Any]:
    """A Python function of torch without its first question, whether a mode wants it: its parts are asked instead."""
    function = inspect.unwrap(function)
    assert isinstance(function, FunctionType)
    names = function.__globals__ | dict.fromkeys(QUESTIONS, lambda *operands: False) | stand_ins
    body = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    body.__kwdefaults__ = function.__kwdefaults__
    return body


QUESTIONS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
