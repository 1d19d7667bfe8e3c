"""Convolutions as sums of products: windows of the input times the weight.

Each result is one sum over (channel, kernel position...) in this order, with the weight on the right. Padding is zeros
of the mode: true ones but for ``cuposit``, which knows none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .arithmetic import Arithmetic
from .products import Named, addend_gradient, contract

Ints = int | Sequence[int]


def convolve(
    run: Arithmetic,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``conv1d``, ``conv2d``, ``conv3d``."""
    count = weight.dim() - 2
    strides, dilations = _each(stride, count), _each(dilation, count)
    spans = [d * (size - 1) for d, size in zip(dilations, weight.shape[2:], strict=True)]
    x = functional.pad(_batched(input, count), _pads(_margins(padding, spans)))
    result = _correlate(run, _grouped(x, 1, groups), _grouped(weight, 0, groups), bias, strides, dilations)
    return result if input.dim() == count + 2 else result.squeeze(0)


def convolve_transposed(
    run: Arithmetic,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``conv_transpose1d``, ``2d``, ``3d``: zeros between the elements, and the kernel read backwards."""
    count = weight.dim() - 2
    strides, dilations, paddings = (_each(each, count) for each in (stride, dilation, padding))
    margins = [
        (d * (size - 1) - pad, d * (size - 1) - pad + extra)
        for d, size, pad, extra in zip(dilations, weight.shape[2:], paddings, _each(output_padding, count), strict=True)
    ]
    x = _spread(_batched(input, count), strides, margins)
    kernel = _turned(_grouped(weight, 0, groups))
    result = _correlate(run, _grouped(x, 1, groups), kernel, bias, [1] * count, dilations)
    return result if input.dim() == count + 2 else result.squeeze(0)


def convolution(
    run: Arithmetic,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    transposed: bool,
    output_padding: Ints,
    groups: int,
) -> Tensor:
    """``torch.convolution``: either of the two."""
    if transposed:
        return convolve_transposed(run, input, weight, bias, stride, padding, output_padding, groups, dilation)
    return convolve(run, input, weight, bias, stride, padding, dilation, groups)


# ---- shapes --------------------------------------------------------------------------------------


def _each(knob: Ints, count: int) -> list[int]:
    """One number for each spatial axis."""
    numbers = [knob] if isinstance(knob, int) else list(knob)
    return numbers * count if len(numbers) == 1 else numbers


def _margins(padding: Ints | str, spans: list[int]) -> list[tuple[int, int]]:
    """Zeros before and after, for each spatial axis; of an odd number, ``same`` puts the greater half behind."""
    if padding == "same":
        return [(span // 2, span - span // 2) for span in spans]
    return [(pad, pad) for pad in _each(0 if isinstance(padding, str) else padding, len(spans))]


def _pads(margins: list[tuple[int, int]]) -> list[int]:
    """As F.pad takes them: the last axis first."""
    return [pad for margin in reversed(margins) for pad in margin]


def _batched(x: Tensor, count: int) -> Tensor:
    return x if x.dim() == count + 2 else x.unsqueeze(0)


def _grouped(x: Tensor, axis: int, groups: int) -> Tensor:
    """With an axis for the groups before this axis."""
    return x.reshape(*x.shape[:axis], groups, x.shape[axis] // groups, *x.shape[axis + 1 :])


def _turned(weight: Tensor) -> Tensor:
    """[groups, in, out, kernel...] -> [groups, out, in, kernel...], the kernel read backwards."""
    return weight.transpose(1, 2).flip(tuple(range(3, weight.dim())))


def _spread(x: Tensor, strides: list[int], margins: list[tuple[int, int]]) -> Tensor:
    """Zeros between elements along the last axes, then around them; a negative margin cuts off."""
    for place, stride in enumerate(strides, x.dim() - len(strides)):
        if stride > 1:
            gaps = [0, stride - 1] if x.shape[place] else [0, 0]
            x = functional.pad(x.unsqueeze(place + 1), [0, 0] * (x.dim() - 1 - place) + gaps).flatten(place, place + 1)
            x = x.narrow(place, 0, max(0, x.shape[place] - stride + 1))
    return functional.pad(x, _pads(margins))


def _windows(x: Tensor, sizes: Sequence[int], strides: list[int], dilations: list[int]) -> Tensor:
    """[N, groups, channels, space...] -> [N, groups, channels, result..., kernel...], as a view."""
    first = x.dim() - len(sizes)
    for place, (size, stride, dilation) in enumerate(zip(sizes, strides, dilations, strict=True), first):
        x = x.unfold(place, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return x


# ---- the sum -------------------------------------------------------------------------------------


def _correlate(
    run: Arithmetic, x: Tensor, weight: Tensor, bias: Tensor | None, strides: list[int], dilations: list[int]
) -> Tensor:
    """x [N, G, C, space...] with weight [G, O, C, kernel...]: [N, G * O, result...], the bias in the sum."""
    if run.differentiates and torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        result: Tensor = _Correlation.apply(run, x, weight, bias, strides, dilations)  # type: ignore[no-untyped-call]
    else:
        result = _correlated(run, x, weight, bias, strides, dilations)
    return result.flatten(1, 2)


def _axes(count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the result's spatial axes and of the kernel's."""
    return tuple(f"s{i}" for i in range(count)), tuple(f"k{i}" for i in range(count))


def _correlated(
    run: Arithmetic, x: Tensor, weight: Tensor, bias: Tensor | None, strides: list[int], dilations: list[int]
) -> Tensor:
    space, kernel = _axes(len(strides))
    windows = Named(_windows(x, weight.shape[3:], strides, dilations), ("n", "g", "c", *space, *kernel))
    addend = None if bias is None else Named(bias.view(weight.shape[:2]), ("g", "o"))
    return contract(run, windows, Named(weight, ("g", "o", "c", *kernel)), ("n", "g", "o", *space), addend)


class _Correlation(torch.autograd.Function):
    """`_correlated` whose gradients are correlations in an arithmetic, too: each element one sum."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, run: Arithmetic, x: Tensor, weight: Tensor, bias: Tensor | None, strides: list[int], dilations: list[int]
    ) -> Tensor:
        ctx.run, ctx.strides, ctx.dilations = run, strides, dilations
        ctx.save_for_backward(x, weight)
        return _correlated(run, x, weight, bias, strides, dilations)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        upstream, knobs = grads[0], (ctx.strides, ctx.dilations)
        (to_input, _), (to_kernel, _) = ctx.run.gradient(0), ctx.run.gradient(1)
        to_x = _input_gradient(to_input, *knobs, upstream, x, weight) if ctx.needs_input_grad[1] else None
        to_weight = _weight_gradient(to_kernel, *knobs, upstream, x, weight) if ctx.needs_input_grad[2] else None
        to_bias = None
        if ctx.needs_input_grad[3]:
            space = _axes(len(ctx.strides))[0]
            to_bias = addend_gradient(ctx.run, Named(upstream, ("n", "g", "o", *space)), ("g", "o")).flatten()
        return None, to_x, to_weight, to_bias, None, None


def _input_gradient(
    run: Arithmetic, strides: list[int], dilations: list[int], upstream: Tensor, x: Tensor, weight: Tensor
) -> Tensor:
    """Every window that an element was in, in one sum."""
    margins = []
    for place, (stride, dilation, size) in enumerate(zip(strides, dilations, weight.shape[3:], strict=True), 3):
        span = dilation * (size - 1)
        left_over = x.shape[place] - span - 1 - stride * (upstream.shape[place] - 1)
        margins.append((span, span + left_over))
    spread = _spread(upstream, strides, margins)
    gradient = _correlate(run, spread, _turned(weight), None, [1] * len(strides), dilations)
    return gradient.view(x.shape)


def _weight_gradient(
    run: Arithmetic, strides: list[int], dilations: list[int], upstream: Tensor, x: Tensor, weight: Tensor
) -> Tensor:
    space, kernel = _axes(len(strides))
    windows = Named(_windows(x, weight.shape[3:], strides, dilations), ("n", "g", "c", *space, *kernel))
    return contract(run, windows, Named(upstream, ("n", "g", "o", *space)), ("g", "o", "c", *kernel))
