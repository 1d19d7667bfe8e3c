"""Which operations are run in an arithmetic, and which have products that cannot be: tables of rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .arithmetic import Arithmetic
from .attention import attend
from .convolutions import convolution, convolve, convolve_transposed
from .products import Named, aligned, contract

#: An operation whose name holds one of these has products, unless it also holds one of FALSE_HITS.
KEYWORDS = (
    *("mm", "matmul", "mv", "dot", "conv", "linear", "attention", "rnn", "lstm", "gru", "einsum", "bilinear", "cdist"),
    *("multi_head", "transformer"),  # torch's native encoder layer has none of the other words in its name
    *("matrix_exp", "pinv"),  # nor have these, which end in products
)
FALSE_HITS = (
    *("gamma", "cumm", "hamming", "dummy"),  # lgamma, cummax, cummin, hamming_window, _nested_get_jagged_dummy
    *("upsample", "convert", "flatten_weight"),  # resizing; other layouts, dtypes and packings of what is there
)


class Refusal(Exception):  # noqa: N818
    """Why a call of a covered operation is not covered; never leaves the room."""


def has_products(name: str) -> bool:
    """Whether an operation of this name is matmul-like."""
    return any(word in name for word in KEYWORDS) and not any(word in name for word in FALSE_HITS)


# ---- products whose axes are known ---------------------------------------------------------------


def _product(equation: str) -> Callable[..., Tensor]:
    """The handler of an operation with two operands."""
    left, right, axes = equation.replace("->", ",").split(",")
    return lambda run, a, b: contract(run, Named(a, left), Named(b, right), axes)


def _sum(equation: str) -> Callable[..., Tensor]:
    """The handler of an operation with an addend before its two operands."""
    left, right, axes = equation.replace("->", ",").split(",")

    def handler(run: Arithmetic, c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
        if not run.scales and (alpha != 1 or beta not in (0, 1)):
            raise Refusal(f"alpha={alpha} and beta={beta} would round in between; alpha is 1, and beta 0 or 1")
        addend = None if beta == 0 else aligned(c, axes)
        return contract(run, Named(a, left), Named(b, right), axes, addend, alpha=alpha, beta=beta)

    return handler


def _named(handler: Callable[..., Tensor], *names: str) -> Callable[..., Tensor]:
    """The handler for operands that may come by these names."""

    def called(run: Arithmetic, *args: Any, **kwargs: Any) -> Tensor:
        operands = [*args, *(kwargs.pop(name) for name in names[len(args) :])]
        if not all(isinstance(x, Tensor) for x in operands):
            raise Refusal("numbers before tensors are a signature that torch has given up")
        return handler(run, *operands, **kwargs)

    return called


# ---- products whose axes depend on the operands --------------------------------------------------


def _batch(count: int) -> tuple[int, ...]:
    """Names of so many axes that broadcast: from the last one on."""
    return tuple(range(-count, 0))


def matmul(run: Arithmetic, input: Tensor, other: Tensor) -> Tensor:
    """``torch.matmul``: batched, broadcast, 1-D operands without an axis of their own."""
    left = (*_batch(input.dim() - 2), *("m", "k")[-input.dim() :])
    right = (*_batch(other.dim() - 2), *("k", "n")[: other.dim()])
    ends = ("m",) * (input.dim() > 1) + ("n",) * (other.dim() > 1)
    axes = (*_batch(max(input.dim(), other.dim()) - 2), *ends)
    return contract(run, Named(input, left), Named(other, right), axes)


def linear(run: Arithmetic, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``; the bias is part of the sum."""
    rows, columns = _batch(input.dim() - 1), ("n",)[: weight.dim() - 1]
    addend = None if bias is None else aligned(bias, (*rows, *columns))
    return contract(run, Named(input, (*rows, "k")), Named(weight, (*columns, "k")), (*rows, *columns), addend)


def inner(run: Arithmetic, input: Tensor, other: Tensor) -> Tensor:
    """``torch.inner``: the last axes of both, and no others, are summed."""
    terms = ("k",) * (input.dim() > 0 and other.dim() > 0)
    left, right = (tuple((side, i) for i in range(x.dim() - len(terms))) for side, x in enumerate((input, other)))
    return contract(run, Named(input, left + terms), Named(other, right + terms), left + right)


def vecdot(run: Arithmetic, x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """``torch.linalg.vecdot``: operands broadcast, one axis is summed."""
    axes = _batch(max(x.dim(), y.dim()))
    summed = axes[dim]
    return contract(run, aligned(x, axes), aligned(y, axes), [axis for axis in axes if axis != summed])


def tensordot(run: Arithmetic, a: Tensor, b: Tensor, dims_a: Sequence[int], dims_b: Sequence[int]) -> Tensor:
    """``torch.tensordot`` with lists of axes."""
    left: list[Hashable] = [("a", i) for i in range(a.dim())]
    right: list[Hashable] = [("b", i) for i in range(b.dim())]
    for i, j in zip(dims_a, dims_b, strict=True):
        right[j] = left[i]
    axes = [axis for axis in left if axis not in right] + [axis for axis in right if axis not in left]
    return contract(run, Named(a, left), Named(b, right), axes)


def attention(run: Arithmetic, *args: Any, **kwargs: Any) -> Tensor:
    """``F.scaled_dot_product_attention``."""
    return attend(partial(matmul, run), *args, **kwargs)[0]


# ---- einsum --------------------------------------------------------------------------------------


def einsum(
    run: Arithmetic, equation: str, tensors: Sequence[Tensor], *, path: Sequence[int] | None = None
) -> Tensor | None:
    """``torch.einsum``: operands from left to right, each product of two rounded, whatever path is proposed."""
    terms, axes = _parse(equation.replace(" ", ""), [x.dim() for x in tensors])
    operands = [_diagonal(x, term) for x, term in zip(tensors, terms, strict=True)]
    if len(operands) == 1:
        return None
    result, *rest = operands
    while rest:
        other, *rest = rest
        wanted = {*axes, *(axis for x in rest for axis in x.axes)}
        present = dict.fromkeys([*result.axes, *other.axes])
        kept = axes if not rest else tuple(axis for axis in present if axis in wanted)
        result = Named(contract(run, result, other, kept), kept)
    return result.tensor


def _parse(equation: str, dims: list[int]) -> tuple[list[tuple[Hashable, ...]], tuple[Hashable, ...]]:
    """The names of each operand's axes and of the result's; an ellipsis stands for numbers, from the last one on."""
    left, arrow, right = equation.partition("->")
    terms = [_axes(term, dim - len(term.replace("...", ""))) for term, dim in zip(left.split(","), dims, strict=True)]
    longest = max(dim - len(term.replace("...", "")) for term, dim in zip(left.split(","), dims, strict=True))
    if arrow:
        return terms, _axes(right, longest)
    letters = [letter for letter in sorted(set(left) - set(",.")) if left.count(letter) == 1]
    return terms, (*_batch(longest), *letters)


def _axes(term: str, hidden: int) -> tuple[Hashable, ...]:
    before, dots, after = term.partition("...")
    return (*before, *(_batch(hidden) if dots else ()), *after)


def _diagonal(x: Tensor, axes: tuple[Hashable, ...]) -> Named:
    """The operand with each name once."""
    for axis in dict.fromkeys(axes):
        while axes.count(axis) > 1:
            first = axes.index(axis)
            second = axes.index(axis, first + 1)
            x = x.diagonal(0, first, second)
            axes = (*(name for place, name in enumerate(axes) if place not in (first, second)), axis)
    return Named(x, axes)


Handler = Callable[..., Tensor | None]

#: name of a torch function, method or aten operation -> what computes it in an arithmetic; None says: no product in it
COVERED: dict[str, Handler] = {
    "mm": _named(_product("mk,kn->mn"), "input", "mat2"),
    "bmm": _named(_product("bmk,bkn->bmn"), "input", "mat2"),
    "mv": _named(_product("mk,k->m"), "input", "vec"),
    "dot": _named(_product("k,k->"), "input", "tensor"),
    "vdot": _named(_product("k,k->"), "input", "other"),
    "addmm": _named(_sum("mk,kn->mn"), "input", "mat1", "mat2"),
    "addmv": _named(_sum("mk,k->m"), "input", "mat", "vec"),
    "addbmm": _named(_sum("bmk,bkn->mn"), "input", "batch1", "batch2"),
    "baddbmm": _named(_sum("bmk,bkn->bmn"), "input", "batch1", "batch2"),
    "matmul": matmul,
    "linalg_matmul": matmul,
    "linalg_vecdot": vecdot,
    "linear": linear,
    "inner": inner,
    "tensordot": tensordot,
    "einsum": einsum,
    "conv1d": convolve,
    "conv2d": convolve,
    "conv3d": convolve,
    "conv_transpose1d": convolve_transposed,
    "conv_transpose2d": convolve_transposed,
    "conv_transpose3d": convolve_transposed,
    "convolution": convolution,
    "scaled_dot_product_attention": attention,
}


def covered(function: object) -> Handler | None:
    """The handler of a function of torch; None for any other, and for overloads other than the plain one."""
    name, _, overload = str(getattr(function, "__name__", "")).partition(".")
    return COVERED.get(name) if namespace(function) == "aten" and overload in ("", "default") else None


def namespace(function: object) -> str:
    """Where an operation is defined; the other functions of torch are those of aten."""
    if isinstance(function, torch._ops.OpOverload):
        return function.namespace
    if isinstance(function, torch._ops.OpOverloadPacket):
        return function._qualified_op_name.partition("::")[0]
    return "aten"
