"""The host's side of csrc/layouts.cu: the layouts of mx, and the ways back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import c_int32, c_int64, c_uint8, c_void_p
from itertools import accumulate
from math import gcd, prod
from operator import mul
from typing import Any

import torch
from torch import Tensor

from refnum.mx.layouts import LAYOUTS, WORDS, Plan, laid_back, laid_out, plan_of

from . import launch
from .serving import Operation

WIDEST = max(WORDS)  #: bytes that are moved together
FACTORS = 3  #: of an axis, at most
THREADS, MOST_BLOCKS = 256, 1 << 16


class Axis(ctypes.Structure):
    """rn::Axis."""

    _fields_ = (("size", c_int32 * FACTORS), ("stride", c_int64 * FACTORS))


class Order(ctypes.Structure):
    """rn::Order."""

    _fields_ = (
        ("batch", c_int64),
        *((name, c_int32) for name in ("rows", "columns", "padded_rows", "padded_columns")),
        *(("down", Axis), ("across", Axis)),
    )


#: by the bytes of a word
KERNELS = {
    size: launch.Kernel("layouts", f"rn_shuffle_{size}", (c_void_p, c_void_p, Order, c_uint8, c_int32))
    for size in WORDS
}


# ---- launches ------------------------------------------------------------------------------------


def shuffle(x: Tensor, pad: int, *plan: Sequence[int]) -> Tensor:
    """Bits in the order of a plan."""
    made = Plan(*map(tuple, plan))
    out = torch.empty(made.memory, dtype=x.dtype, device=x.device)
    if out.numel():
        launch.launch(*prepared(x.contiguous(), out, made, pad, back=False))
    return out


def unshuffle(y: Tensor, *plan: Sequence[int]) -> Tensor:
    """The inverse of `shuffle`."""
    made = Plan(*map(tuple, plan))
    out = torch.empty(made.shape, dtype=y.dtype, device=y.device)
    if out.numel():
        launch.launch(*prepared(y.contiguous(), out, made, 0, back=True))
    return out


def prepared(source: Tensor, target: Tensor, plan: Plan, pad: int, *, back: bool) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that fills the target; both are contiguous."""
    size = source.itemsize
    word = _word(plan, size, source.data_ptr() | target.data_ptr())
    order = order_of(plan, size, word)
    words = target.numel() * size // word
    grid = min(-(-words // THREADS), MOST_BLOCKS), 1, 1
    return KERNELS[word], grid, (THREADS, 1, 1), 0, source, target, order, pad, back


def _word(plan: Plan, itemsize: int, addresses: int) -> int:
    """Bytes that stay together wherever they are: a power of two that divides all there is."""
    if plan.order[-1] != len(plan.factors) - 1:
        return itemsize
    return gcd(plan.factors[-1] * itemsize, plan.shape[-1] * itemsize, addresses, WIDEST)


def order_of(plan: Plan, itemsize: int, word: int) -> Order:
    """A plan, counted in words."""
    laid = [plan.factors[i] for i in plan.order]
    behind = [*accumulate(reversed(laid), mul, initial=1)][
        -2::-1
    ]  # elements between one digit of a factor and the next
    strides = [0] * len(laid)
    for i, apart in zip(plan.order, behind, strict=True):
        strides[i] = max(1, apart * itemsize // word)
    rows, columns = len(plan.down), [size * itemsize // word for size in (plan.shape[-1], plan.padded[-1])]
    across = *plan.across[:-1], plan.across[-1] * itemsize // word
    sizes = plan.shape[-2], columns[0], plan.padded[-2], columns[1]
    return Order(prod(plan.shape[:-2]), *sizes, _axis(plan.down, strides[:rows]), _axis(across, strides[rows:]))


def _axis(sizes: Sequence[int], strides: Sequence[int]) -> Axis:
    missing = FACTORS - len(sizes)
    return Axis((c_int32 * FACTORS)(*[1] * missing, *sizes), (c_int64 * FACTORS)(*[0] * missing, *strides))


# ---- the operations ------------------------------------------------------------------------------


def shuffle_reference(x: Tensor, pad: int, *plan: Sequence[int]) -> Tensor:
    """The definition of `shuffle`."""
    return laid_out(x, Plan(*map(tuple, plan)), pad)


def unshuffle_reference(y: Tensor, *plan: Sequence[int]) -> Tensor:
    """The definition of `unshuffle`."""
    return laid_back(y, Plan(*map(tuple, plan)))


def covered(x: Tensor, *arguments: Any) -> bool:
    """Whether there is a kernel: it counts rows and columns in 32 bits."""
    rows, columns = arguments[-6][-2:]
    return bool(max(rows, columns) < 1 << 31)


def _examples(back: bool) -> Iterator[tuple[Any, ...]]:
    for layout in LAYOUTS.values():
        for size in ((256, 256), (97, 33), (1, 5)):
            tiled = (-(-n // 256) * 256 if step == 1 else n for n, step in zip(size, layout.multiples, strict=True))
            plan = plan_of("layouts", layout, (2, *tiled))
            shape = plan.memory if back else plan.shape
            x = (torch.arange(prod(shape), dtype=torch.int64, device="cpu") * 151 >> 4).to(torch.uint8).view(shape)
            yield (x, *plan) if back else (x, layout.pad, *plan)


OPERATIONS = (
    Operation(
        *("mx_shuffle", shuffle_reference, shuffle, covered, tuple(KERNELS.values())),
        lambda: _examples(back=False),
    ),
    Operation(
        *("mx_unshuffle", unshuffle_reference, unshuffle, covered, tuple(KERNELS.values())),
        lambda: _examples(back=True),
    ),
)


def _laid_like(x: Tensor, *arguments: Any) -> Tensor:
    return torch.empty(arguments[-2], dtype=x.dtype, device=x.device)


def _plain_like(y: Tensor, *arguments: Any) -> Tensor:
    return torch.empty(arguments[0], dtype=y.dtype, device=y.device)


def _call_shuffle(x: Tensor, plan: Plan, pad: int) -> Tensor:
    laid: Tensor = torch.ops.refnum.mx_shuffle(x, pad, *map(list, plan))
    return laid


def _call_unshuffle(y: Tensor, plan: Plan) -> Tensor:
    plain: Tensor = torch.ops.refnum.mx_unshuffle(y, *map(list, plan))
    return plain


_PLAN = "int[] shape, int[] padded, int[] down, int[] across, int[] order, int[] memory, int[] seen"
#: schema, fake, and how refnum calls it: rows of operations.OPAQUE
OPAQUE = {
    "mx_shuffle": (f"(Tensor x, int pad, {_PLAN}) -> Tensor", _laid_like, _call_shuffle),
    "mx_unshuffle": (f"(Tensor y, {_PLAN}) -> Tensor", _plain_like, _call_unshuffle),
}
