"""Matmul-level operations: one row each, with schema, reference, fake and derivative, registered as torch.ops.refnum.*.

The public functions that call them are exported from here, so that whoever has one has its operation registered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .boundary import container, without_view
from .codec import quantize
from .formats import Posit
from .sums import blocks
from .sums.blocks import mx_mm as mx_mm
from .sums.dequantized import in_float32
from .sums.digits import exact_partial as exact_partial
from .sums.operands import product_shape
from .sums.parallel import column_parallel_mm as column_parallel_mm
from .sums.parallel import row_parallel_mm as row_parallel_mm
from .sums.posits import posit_mm as posit_mm
from .sums.posits import posit_mm_reference, quire_dot_reference, rounded_operand
from .sums.posits import quire_dot as quire_dot
from .sums.products import exact_product, exact_sum, gemm_reference
from .sums.products import gemm as gemm
from .sums.scaled import scaled_mm as scaled_mm
from .sums.triads import FORMS, GRADIENTS, triad_reference


@dataclass(frozen=True, slots=True)
class Row:
    """One operation."""

    name: str  #: torch.ops.refnum.<name>
    schema: str  #: arguments and result
    reference: Callable[..., Tensor]  #: the definition, on any device
    fake: Callable[..., Tensor]  #: shape and dtype of the result alone
    setup: Callable[..., None]  #: what the derivative keeps
    backward: Callable[..., tuple[Tensor | None, ...]]  #: the derivative


# ---- posit_mm ------------------------------------------------------------------------------------


def _posit_mm_fake(
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
    return a.new_empty(product_shape(a, b), dtype=out_dtype or container(Posit(n, es)))


def _posit_mm_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, c, n, es, ctx.mode, _, ctx.grad, ctx.alpha, ctx.beta, _ = inputs
    ctx.fmt = Posit(n, es)
    ctx.c_like = None if c is None else (c.shape, c.dtype)
    ctx.save_for_backward(a, b)


def _posit_mm_backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    a, b = ctx.saved_tensors
    x, y = (rounded_operand(t, ctx.fmt, ctx.mode) for t in (a, b)) if ctx.grad == "rounded" else (a, b)
    to_product = upstream.to(a.dtype) if ctx.alpha == 1.0 else upstream.to(a.dtype) * ctx.alpha
    with torch.autocast(upstream.device.type, enabled=False):
        to_a = (to_product @ y.mT).sum_to_size(a.shape) if ctx.needs_input_grad[0] else None
        to_b = (x.mT @ to_product).sum_to_size(b.shape) if ctx.needs_input_grad[1] else None
    to_c = None
    if ctx.needs_input_grad[2]:
        shape, dtype = ctx.c_like
        to_c = (upstream * ctx.beta if ctx.mode == "cuposit" else upstream).sum_to_size(shape).to(dtype)
    return to_a, to_b, to_c, *(None,) * 8


# ---- quire_dot -----------------------------------------------------------------------------------


def _quire_dot_fake(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    return a.new_empty(a.shape[:-1], dtype=a.dtype if a.is_floating_point() else container(Posit(n, es)))


def _quire_dot_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, ctx.n, ctx.es = inputs
    ctx.save_for_backward(a, b)


def _quire_dot_backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    a, b = (quantize(t, Posit(ctx.n, ctx.es)) for t in ctx.saved_tensors)
    to_a = upstream[..., None] * b if ctx.needs_input_grad[0] else None
    to_b = upstream[..., None] * a if ctx.needs_input_grad[1] else None
    return to_a, to_b, None, None


# ---- mx_mm ---------------------------------------------------------------------------------------


def _mx_mm_fake(
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
    return a.new_empty(blocks.result_shape(a_shape, b_shape), dtype=out_dtype)


def _mx_mm_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, bias = blocks.Flat(*inputs[:5]), blocks.Flat(*inputs[5:10]), inputs[10]
    ctx.plain = a.scales is None, b.scales is None
    ctx.named = [(side.fmt, side.shape) for side in (a, b)]
    ctx.bias_like = None if bias is None else (bias.shape, bias.dtype)
    ctx.save_for_backward(*a[:3], *b[:3])


def _mx_mm_backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    # Codes have no gradient; those of tensors and of the bias are exact/v1 of dequantized operands.
    saved = ctx.saved_tensors
    a, b = (blocks.Flat(*saved[3 * i : 3 * i + 3], *ctx.named[i]) for i in (0, 1))
    gradients: list[Tensor | None] = [None] * len(_MX_MM)
    for place, own, other, product in ((0, a, b, upstream), (5, b, a, upstream.mT)):
        if ctx.plain[place // 5] and ctx.needs_input_grad[place]:
            values = in_float32(blocks.operand(other))
            gradients[place] = exact_product(product, values, own.values.shape, own.values.dtype)
    if ctx.needs_input_grad[10]:
        gradients[10] = exact_sum(upstream, *ctx.bias_like)
    return tuple(gradients)


_MX_MM = (
    *("Tensor a", "Tensor? a_scales", "Tensor? a_factor", "str a_fmt", "SymInt[] a_shape"),
    *("Tensor b", "Tensor? b_scales", "Tensor? b_factor", "str b_fmt", "SymInt[] b_shape"),
    *("Tensor? bias", "str contract", "ScalarType out_dtype"),
)


# ---- gemm ----------------------------------------------------------------------------------------


def _gemm_fake(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    return a.new_empty(product_shape(a, b), dtype=out_dtype)


def _gemm_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, bias, *_ = inputs
    ctx.bias_like = None if bias is None else (bias.shape, bias.dtype)
    ctx.save_for_backward(a, b)


def _gemm_backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    # Each gradient is exact/v1: a sum that is rounded once, over a batch that was broadcast, too.
    a, b = ctx.saved_tensors
    to_a = exact_product(upstream, b.mT, a.shape, a.dtype) if ctx.needs_input_grad[0] else None
    to_b = exact_product(a.mT, upstream, b.shape, b.dtype) if ctx.needs_input_grad[1] else None
    to_bias = None
    if ctx.needs_input_grad[2]:
        to_bias = exact_sum(upstream, *ctx.bias_like)
    return to_a, to_b, to_bias, None, None


# ---- triad ---------------------------------------------------------------------------------------


def _triad_fake(
    left: Tensor, right: Tensor, bias: Tensor | None, kind: str, contracts: list[str], dtype: torch.dtype
) -> Tensor:
    return left.new_empty(product_shape(*FORMS[kind](left, right)), dtype=dtype)


def _triad_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    left, right, bias, ctx.kind, ctx.contracts, _ = inputs
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(left, right)


def _triad_backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors  # once: a checkpoint gives them out once
    operands = {"left": saved[0], "right": saved[1], "upstream": upstream}
    gradients: list[Tensor | None] = [None, None, None]
    for place, derivative in enumerate(GRADIENTS[ctx.kind]):
        if derivative is not None and ctx.needs_input_grad[place]:
            kind, first, second = derivative
            dtype = saved[place].dtype
            gradients[place] = torch.ops.refnum.triad(
                operands[first], operands[second], None, kind, ctx.contracts, dtype
            )
    if ctx.needs_input_grad[2]:
        ones = upstream.new_ones(upstream.shape[-2], 1)
        total = torch.ops.refnum.triad(ones, upstream, None, "bias", ctx.contracts, ctx.bias_dtype)
        gradients[2] = total.squeeze(0)
    return *gradients, None, None, None


ROWS = (
    Row(
        "gemm",
        "(Tensor a, Tensor b, Tensor? bias, str contract, ScalarType out_dtype) -> Tensor",
        gemm_reference,
        _gemm_fake,
        _gemm_setup,
        _gemm_backward,
    ),
    Row(
        "mx_mm",
        f"({', '.join(_MX_MM)}) -> Tensor",
        blocks.mx_mm_reference,
        _mx_mm_fake,
        _mx_mm_setup,
        _mx_mm_backward,
    ),
    Row(
        "posit_mm",
        "(Tensor a, Tensor b, Tensor? c, int n, int es, str mode, ScalarType? out_dtype, str grad, float alpha, "
        "float beta, int? k_pad) -> Tensor",
        posit_mm_reference,
        _posit_mm_fake,
        _posit_mm_setup,
        _posit_mm_backward,
    ),
    Row(
        "quire_dot",
        "(Tensor a, Tensor b, int n, int es) -> Tensor",
        quire_dot_reference,
        _quire_dot_fake,
        _quire_dot_setup,
        _quire_dot_backward,
    ),
    Row(
        "triad",
        "(Tensor left, Tensor right, Tensor? bias, str kind, str[] contracts, ScalarType dtype) -> Tensor",
        triad_reference,
        _triad_fake,
        _triad_setup,
        _triad_backward,
    ),
)

LIBRARY = torch.library.Library("refnum", "DEF")  # type: ignore[no-untyped-call]
for row in ROWS:
    LIBRARY.define(row.name + row.schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    LIBRARY.impl(row.name, without_view(row.reference), "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"refnum::{row.name}", row.fake, lib=LIBRARY)
    torch.library.register_autograd(f"refnum::{row.name}", row.backward, setup_context=row.setup, lib=LIBRARY)
