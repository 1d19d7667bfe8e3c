"""Scaled dot-product attention as a reference for kernels: the same bits in whatever order a kernel walks the keys.

A kernel takes some keys at a time. What it would carry along, and what makes this exact::

    1. scores   s[i,j] = scale * sum over E of q[i] k[j] + mask[i,j]      the exact sum, rounded once to float32
    2. maximum  m[i]   = the largest s[i,j] over all j                    exact, in any order
    3. weights  w[i,j] = quantize(e**(s[i,j] - m[i]))                     correctly rounded to float32, then quantized
    4. sums     n[i]   = sum over j of w[i,j] v[j],  d[i] = sum over j of w[i,j]      exact, not rounded
    5. output   n[i] / d[i]                                               rounded once

Steps 1 and 3 know one row and one key, 2 and 4 have no order: so no bit depends on tiles, on the batch or on threads.
The maximum takes a first walk over the keys. A running maximum would save it, and sums would be scaled whenever it
grows: by a power of two that is exact, but weights that were rounded beside a smaller maximum are not those that would
have been beside the last one, where they underflow or their format has fewer bits for smaller numbers.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import broadcast_shape, check_choice, check_device, check_floats, check_tensor
from ..errors import ContractError, DTypeError, ShapeError, UncoveredError
from ..fast.conversions import converted
from ..formats import Block, Scalar, float32
from ..functions import rsqrt, softmax_exp
from ..ops import exact_partial, gemm
from ..sums.partial import ExactPartial
from ..sums.ratios import divided
from ..values import quantize

NAME = "nn.scaled_dot_product_attention"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
Tile = tuple[int, int]  #: rows of the query and of the keys that are worked on at a time


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    fmt: Scalar | Block | None,
    *,
    weights: Scalar | Block | None = None,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    tile: Tile | None = None,
    contract: str = "exact/v1",
) -> Tensor:
    """``F.scaled_dot_product_attention`` of quantized operands, whose bits are the same in every order of the keys.

    >>> import refnum
    >>> from refnum.nn import scaled_dot_product_attention
    >>> x = torch.linspace(-2, 2, 4 * 32).view(4, 32).sin()
    >>> whole = scaled_dot_product_attention(x, x, x, refnum.mxint8, weights=refnum.e4m3)
    >>> whole.equal(scaled_dot_product_attention(x, x, x, refnum.mxint8, weights=refnum.e4m3, tile=(2, 1)))
    True

    Parameters
    ----------
    query, key, value : Tensor
        [.., L, E], [.., S, E] and [.., S, V] of one dtype: float32, bfloat16 or float16. Batches broadcast.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic, Codebook, Block or None
        What query, key and value are quantized to, as `refnum.quantize` does, blocks along their last axis; None: they
        stay as they are.
    weights : Posit, Minifloat, FixedPoint, DMF, Logarithmic, Codebook or Block, optional
        What weights are quantized to before they are summed, above and below the line; blocks lie along the keys.
    attn_mask : Tensor, optional
        Broadcasts to [.., L, S]: bool, True where a key takes part; or float32, bfloat16 or float16, a term of the
        scores.
    is_causal : bool
        Whether row i sees keys 0 to i alone; not beside a mask.
    scale : float, optional
        Of the scores, rounded to float32; by default ``1 / sqrt(E)``, correctly rounded to float32.
    enable_gqa : bool
        Whether key and value have fewer heads, axis -3, each of which serves as many of the query.
    tile : (int, int), optional
        Rows and keys that are worked on at a time; None: all. It changes time and memory alone.
    contract : str
        exact/v1: sums as above.

    Returns
    -------
    Tensor
        [.., L, V] in the dtype of the query.

    Raises
    ------
    DTypeError
        When an operand or the mask is of another dtype, dtypes differ, or tensors are on several devices.
    ShapeError
        When shapes do not fit or broadcast, the last axis has no whole number of blocks, or a tile is no pair of counts
        or cuts blocks of weights.
    FormatError
        When a format's values do not fit float32.
    ContractError
        When there is no such contract, a mask comes with ``is_causal``, or the scale is not finite.
    UncoveredError
        When an operand requires grad: no gradient is defined.

    Exactness: bit-exact: exact sums, a correctly rounded exponential, a correctly rounded quotient.
    Rounding: to nearest, ties to even: operands to ``fmt``, scores to float32, exponentials to float32 and then to
        ``weights``, the quotient to the result.
    Special: a row whose scores are all -Inf, as where all keys are masked, gives +0. A NaN or +Inf among its scores
        makes a row NaN, written as the largest pattern; weights of masked keys are 0, whose product with Inf is NaN.
        Formats without a NaN code take NaN as `refnum.quantize` does.
    Standard: none; arguments are torch's.
    Cost: O(L S (E + V)) time, 2 times that of the scores with more than one tile of keys; memory for a tile of scores,
        and for the exact sums of its rows.
    """
    operands = _checked(query, key, value, attn_mask)
    check_choice(NAME, "contract", contract, ("exact/v1",))
    if is_causal and attn_mask is not None:
        raise ContractError(
            f"{NAME} got attn_mask and is_causal=True. Allowed is one of them. Make it part of the mask."
        )
    q, k, v = (x if fmt is None else quantize(x, fmt) for x in operands)
    if enable_gqa:
        k, v = _repeated(q, k, v)
    plan = _plan(q, k, v, attn_mask, is_causal, _scale(scale, q), weights)
    rows, keys = _tile(tile, plan)
    starts = range(0, q.shape[-2], rows)
    parts = [_output(plan, slice(start, start + rows), keys, query.dtype) for start in starts]
    return torch.cat(parts, -2) if parts else query.new_zeros(plan.shape)


# ---- the definition ----------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """Operands that were checked, widened and quantized."""

    query: Tensor  #: [.., L, E] times the scale, float64
    key: Tensor  #: [.., S, E] float32
    value: Tensor  #: [.., S, V] float32
    terms: Tensor | None  #: [.., L, S] float32, what is added to scores
    seen: Tensor | None  #: [.., L, S] bool, which keys take part
    weights: Scalar | Block | None
    shape: torch.Size  #: of the result


def _output(plan: _Plan, rows: slice, step: int, dtype: torch.dtype) -> Tensor:
    """Some rows of the result."""
    starts = range(0, plan.key.shape[-2], step)

    @lru_cache(maxsize=1)  # where there is one tile, its scores are made once
    def scores(start: int) -> Tensor:
        return _scores(plan, rows, slice(start, start + step))

    # 1. The first walk: the maximum, among patterns as integers, which no setting can flush.
    device, shape = plan.key.device, torch.Size((*plan.shape[:-2], len(range(plan.shape[-2])[rows]), 1))
    lowest = _ordered(torch.full(shape, -math.inf, dtype=torch.float32, device=device))
    most = lowest
    for start in starts:
        most = torch.maximum(most, _ordered(scores(start)).amax(-1, keepdim=True))
    # 2. The second one: weights beside the maximum, and exact sums. A row without keys has weights 0 and no maximum.
    alone = most == lowest
    maximum = _ordered(most).view(torch.float32).masked_fill(alone, 0.0)
    above, below = (ExactPartial.zeros((*shape[:-1], n), device=device) for n in (plan.shape[-1], 1))
    for start in starts:
        w = softmax_exp(scores(start), maximum, float32)
        w = w if plan.weights is None else quantize(w, plan.weights)
        above += exact_partial(w, plan.value[..., start : start + step, :])
        below += exact_partial(w, torch.ones((w.shape[-1], 1), dtype=torch.float32, device=device))
    return divided(above, below, dtype).masked_fill(alone, 0.0)


def _scores(plan: _Plan, rows: slice, keys: slice) -> Tensor:
    """Scores [.., rows, keys] in float32, of which some are -Inf."""
    terms, seen = (None if x is None else x[..., rows, keys] for x in (plan.terms, plan.seen))
    left, right = plan.query[..., rows, :], plan.key[..., keys, :].mT
    scores = gemm(left, right, terms, contract="exact/v1", out_dtype=torch.float32)
    return scores if seen is None else scores.masked_fill(~seen, -math.inf)


def _ordered(x: Tensor) -> Tensor:
    """Patterns of float32 as integers of the same order, of which the NaN of contracts is the largest; and back."""
    bits = x.view(torch.int32)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


# ---- operands ----------------------------------------------------------------------------------------


def _plan(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, is_causal: bool, scale: Tensor, weights: Scalar | Block | None
) -> _Plan:
    batch = broadcast_shape(NAME, query=q.shape[:-2], key=k.shape[:-2], value=v.shape[:-2])
    square = torch.Size((*batch, q.shape[-2], k.shape[-2]))
    if is_causal:
        mask = torch.ones(square[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        mask = _placed(mask, square)
    masks = mask is not None and mask.dtype == torch.bool
    return _Plan(
        (converted(q, torch.float64) * scale).expand(*batch, *q.shape[-2:]),
        k.expand(*batch, *k.shape[-2:]),
        v.expand(*batch, *v.shape[-2:]),
        None if masks or mask is None else mask.to(torch.float32),
        mask if masks else None,
        weights,
        torch.Size((*batch, q.shape[-2], v.shape[-1])),
    )


def _scale(scale: float | None, q: Tensor) -> Tensor:
    """The scale in float64, which has the product of two float32s."""
    if scale is None:
        length = torch.full((), max(1, q.shape[-1]), dtype=torch.float32, device=q.device)
        return rsqrt(length, float32).to(torch.float64)
    if not (isinstance(scale, int | float) and abs(scale) <= float32.max_value):
        raise ContractError(f"{NAME} got scale={scale!r}. Allowed are numbers that float32 holds. Choose one.")
    exact = torch.full((), scale, dtype=torch.float64, device=q.device)
    return converted(converted(exact, torch.float32), torch.float64)


def _repeated(q: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Key and value with each head as often as it serves."""
    for name, x in zip(("key", "value"), others, strict=True):
        if min(q.dim(), x.dim()) < 3 or not x.shape[-3] or q.shape[-3] % x.shape[-3]:
            raise ShapeError(
                f"{NAME} cannot share heads of {name} {tuple(x.shape)} among those of query {tuple(q.shape)}. The "
                "count, axis -3, must divide theirs. Repeat them, or leave enable_gqa out."
            )
    return tuple(x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in others)


# ---- checks ------------------------------------------------------------------------------------------


def _checked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
    """Operands in float32."""
    operands = {"query": query, "key": key, "value": value}
    for name, x in operands.items():
        check_floats(NAME, name, x)
        if x.dtype not in DTYPES:
            raise DTypeError(f"{NAME} has no {x.dtype} for {name}. Allowed are float32, bfloat16, float16. Convert it.")
        if x.dtype != query.dtype:
            raise DTypeError(
                f"{NAME} needs operands of one dtype, got {query.dtype} and {x.dtype} for {name}. Nothing is converted "
                "silently. Convert one of them."
            )
        if x.dim() < 2:
            raise ShapeError(
                f"{NAME} needs two axes or more for {name}, got {tuple(x.shape)}. Allowed is [.., rows, columns]. "
                "Reshape it."
            )
        if x.requires_grad and torch.is_grad_enabled():
            reason = "no gradient is defined here"
            raise UncoveredError(
                f"{NAME} got a tensor that requires grad for {name}: {reason}. Allowed are tensors that do not. Use "
                f"{name}.detach().",
                op=NAME,
                reason=reason,
            )
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in operands.items())
        raise ShapeError(f"{NAME} got {shapes}. Allowed are [.., L, E], [.., S, E], [.., S, V]. Transpose one of them.")
    if mask is not None:
        check_tensor(NAME, "attn_mask", mask)
        if mask.dtype not in (torch.bool, *DTYPES):
            raise DTypeError(
                f"{NAME} has no {mask.dtype} for attn_mask. Allowed are bool, float32, bfloat16, float16. Convert it."
            )
        check_device(NAME, query=query, attn_mask=mask)
    check_device(NAME, **operands)
    return tuple(x.detach().resolve_neg().to(torch.float32) for x in operands.values())


def _placed(mask: Tensor, shape: torch.Size) -> Tensor:
    try:
        return mask.expand(shape)
    except RuntimeError:
        raise ShapeError(
            f"{NAME} cannot place attn_mask {tuple(mask.shape)} on scores {tuple(shape)}. Make it broadcast to that."
        ) from None


def _tile(tile: object, plan: _Plan) -> Tile:
    """Rows and keys at a time."""
    if tile is None:
        return max(1, plan.query.shape[-2]), max(1, plan.key.shape[-2])
    match tile:
        case (int(rows), int(keys)) if min(rows, keys) > 0:
            tall, wide = plan.weights.tile if isinstance(plan.weights, Block) else (1, 1)
            if rows % tall or keys % wide:
                raise ShapeError(
                    f"{NAME} got tile={tile!r}, which cuts blocks of {tall} by {wide} weights. Allowed are multiples "
                    "of them. Choose such."
                )
            return rows, keys
    raise ShapeError(f"{NAME} got tile={tile!r}. Allowed are None and a pair of counts, rows and keys. Pass one.")
