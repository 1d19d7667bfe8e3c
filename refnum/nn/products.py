"""A sum of products in an arithmetic: two operands whose axes have names, one product of matrices.

Whatever is a matrix product in disguise (linear, einsum, convolutions on windows, attention) comes down to `contract`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .arithmetic import Arithmetic


class Named(NamedTuple):
    """A tensor whose axes have names."""

    tensor: Tensor
    axes: Sequence[Hashable]

    def size(self, axis: Hashable) -> int:
        """Length along the axis."""
        return self.tensor.shape[self.axes.index(axis)]


def contract(
    run: Arithmetic,
    a: Named,
    b: Named,
    axes: Sequence[Hashable],
    c: Named | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """Sum of ``a * b`` over the axes that are not asked for, plus c.

    The order of the terms, where a mode has one, is that of the axes: a's first, then those of b alone. An axis of
    length 1 broadcasts. An axis that one operand lacks is summed with that operand repeated, in the same sum.
    """
    sizes = _sizes(a, b)
    a, b = _trimmed(a, sizes), _trimmed(b, sizes)
    c = None if c is None else _trimmed(c, sizes)
    tensors = [x.tensor for x in (a, b, c) if x is not None]
    if run.differentiates and torch.is_grad_enabled() and any(x.requires_grad for x in tensors):
        names = (a.axes, b.axes, () if c is None else c.axes, tuple(axes))
        result: Tensor = _Contraction.apply(  # type: ignore[no-untyped-call]
            run, names, (alpha, beta), a.tensor, b.tensor, None if c is None else c.tensor
        )
        return result
    return _computed(run, a, b, tuple(axes), c, alpha, beta)


def aligned(x: Tensor, axes: Sequence[Hashable]) -> Named:
    """A tensor that broadcasts to these axes, named from the last one on."""
    return Named(x, tuple(axes)[len(axes) - x.dim() :])


def _sizes(*operands: Named) -> dict[Hashable, int]:
    """The length of each axis: that which is not 1, if there is one."""
    sizes: dict[Hashable, int] = {}
    for x in operands:
        for axis, size in zip(x.axes, x.tensor.shape, strict=True):
            if sizes.get(axis, 1) == 1:
                sizes[axis] = size
    return sizes


def _trimmed(x: Named, sizes: dict[Hashable, int]) -> Named:
    """Without the axes that would broadcast, so that equal names mean equal lengths."""
    tensor = x.tensor
    kept = [axis for axis in x.axes if x.size(axis) == sizes.get(axis, 1)]
    for place in reversed(range(len(x.axes))):
        if x.axes[place] not in kept:
            tensor = tensor.select(place, 0)
    return Named(tensor, tuple(kept))


def _computed(
    run: Arithmetic, a: Named, b: Named, axes: tuple[Hashable, ...], c: Named | None, alpha: float, beta: float
) -> Tensor:
    sizes = _sizes(a, b)
    batch = [axis for axis in axes if axis in a.axes and axis in b.axes]
    rows = [axis for axis in axes if axis in a.axes and axis not in b.axes]
    columns = [axis for axis in axes if axis not in a.axes and axis in b.axes]
    terms = [axis for axis in dict.fromkeys([*a.axes, *b.axes]) if axis not in axes]
    x, y = _matrix(a, sizes, batch, rows, terms), _matrix(b, sizes, batch, terms, columns)
    z = None if c is None else _matrix(c, sizes, batch, rows, columns)
    result = run.multiply(x, y, z, alpha, beta)
    names = [*batch, *rows, *columns]
    result = result.reshape([sizes[name] for name in names]).permute([names.index(axis) for axis in axes])
    return result.clone(memory_format=torch.contiguous_format)  # a view must not be written to


def _matrix(x: Named, sizes: dict[Hashable, int], *groups: list[Hashable]) -> Tensor:
    """The tensor with one axis for each group of axes, and none for a batch that isn't there."""
    order = [axis for group in groups for axis in group]
    tensor = x.tensor.permute([x.axes.index(axis) for axis in order if axis in x.axes])
    for place, axis in enumerate(order):
        if axis not in x.axes:
            tensor = tensor.unsqueeze(place)
    tensor = tensor.expand([sizes[axis] for axis in order])
    lengths = [torch.Size([sizes[axis] for axis in group]).numel() for group in groups]
    return tensor.reshape(lengths if groups[0] else lengths[1:])


class _Contraction(torch.autograd.Function):
    """`contract` whose gradients are contractions in an arithmetic, too: each element one sum."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx,
        run: Arithmetic,
        names: tuple[Any, ...],
        knobs: tuple[float, float],
        a: Tensor,
        b: Tensor,
        c: Tensor | None,
    ) -> Tensor:
        ctx.run, ctx.names, ctx.knobs = run, names, knobs
        ctx.save_for_backward(a, b)
        addend = None if c is None else Named(c, names[2])
        return _computed(run, Named(a, names[0]), Named(b, names[1]), names[3], addend, *knobs)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Any, ...]:  # type: ignore[no-untyped-def]
        a, b = (Named(x, axes) for x, axes in zip(ctx.saved_tensors, ctx.names, strict=False))
        alpha, beta = ctx.knobs
        upstream = Named(grads[0], ctx.names[3])
        scaled = upstream if alpha == 1 else Named(grads[0] * alpha, ctx.names[3])
        operands = {"left": a, "right": b, "upstream": scaled}
        to_a, to_b = (
            _spread(ctx.run, place, operands, like) if ctx.needs_input_grad[3 + place] else None
            for place, like in enumerate((a, b))
        )
        to_c = addend_gradient(ctx.run, upstream, ctx.names[2], beta) if ctx.needs_input_grad[5] else None
        return None, None, None, to_a, to_b, to_c


def _spread(run: Arithmetic, place: int, operands: Mapping[str, Named], like: Named) -> Tensor:
    """The gradient of an operand, in its shape; along an axis that was its alone, all elements are equal."""
    how, (_, first, second) = run.gradient(place)
    a, b = operands[first], operands[second]
    shared = [axis for axis in like.axes if axis in a.axes or axis in b.axes]
    result = contract(how, a, b, shared)
    for place, axis in enumerate(like.axes):
        if axis not in shared:
            result = result.unsqueeze(place)
    return result.expand(like.tensor.shape)


def addend_gradient(run: Arithmetic, upstream: Named, axes: Sequence[Hashable], beta: float = 1.0) -> Tensor:
    """The gradient of the addend: a sum in an arithmetic, or a plain one."""
    how = run.of_addend()
    if how is not None:
        return contract(how, Named(upstream.tensor.new_ones(()), ()), upstream, axes)
    places = [place for place, axis in enumerate(upstream.axes) if axis not in axes]
    total = upstream.tensor.sum(places) if places else upstream.tensor
    return total if beta == 1 else total * beta
