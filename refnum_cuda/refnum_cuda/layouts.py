"""The host's side of csrc/layouts.cu: the layouts of mx, and the ways back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import c_int32, c_int64, c_uint8, c_uint32, c_void_p
from math import gcd, prod
from typing import Any

import torch
from torch import Tensor

from refnum.mx.layouts import LAYOUTS, WORDS, Plan, laid_back, laid_out, plan_of

from . import launch
from .serving import Operation

WIDEST = max(WORDS)  #: bytes that are moved together
DIGITS = 6  #: of a number of a word
THREADS, EACH, MOST_ROWS = 256, 4, (1 << 16) - 1
LIMIT = 1 << 31  #: numbers of words are less


class Divisor(ctypes.Structure):
    """rn::Divisor: of what it divides, each less than 2**31, the quotient is right (Granlund and Montgomery 1994)."""

    _fields_ = (("value", c_uint32), ("factor", c_uint32), ("shift", c_int32))

    @classmethod
    def of(cls, value: int) -> Divisor:
        """A number from 1 to 2**31 - 1."""
        shift = (value - 1).bit_length()
        return cls(value, ((1 << 32) * ((1 << shift) - value)) // value + 1, shift)


class Digit(ctypes.Structure):
    """rn::Digit."""

    _fields_ = (("size", Divisor), ("down", c_int32), ("across", c_int32))


class Order(ctypes.Structure):
    """rn::Order."""

    _fields_ = (
        *(("matrices", c_int64), ("rows", c_int32), ("columns", c_int32), ("words", c_int32)),
        ("digit", Digit * DIGITS),
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
    word = _word(plan, source.itemsize, source.data_ptr() | target.data_ptr())
    order = order_of(plan, source.itemsize, word)
    grid = -(-order.words // (THREADS * EACH)), min(order.matrices, MOST_ROWS), 1
    return KERNELS[word], grid, (THREADS, 1, 1), 0, source, target, order, pad, back


def _word(plan: Plan, itemsize: int, addresses: int) -> int:
    """Bytes that stay together wherever they are: a power of two that divides all there is."""
    if plan.order[-1] != len(plan.factors) - 1:
        return itemsize
    return gcd(plan.factors[-1] * itemsize, plan.shape[-1] * itemsize, addresses, WIDEST)


def order_of(plan: Plan, itemsize: int, word: int) -> Order:
    """A plan, counted in words."""
    factors = [*plan.factors[:-1], plan.factors[-1] * itemsize // word]
    rows = len(plan.down)
    # Of rows a digit stands for as many as the factors of rows behind its own make; of columns likewise.
    steps = [prod(factors[i + 1 : rows if i < rows else None]) for i in range(len(factors))]
    digits = [
        Digit(Divisor.of(factors[i]), steps[i] if i < rows else 0, steps[i] if i >= rows else 0)
        for i in reversed(plan.order)
    ]
    digits += [Digit(Divisor.of(1), 0, 0)] * (DIGITS - len(digits))
    columns = plan.shape[-1] * itemsize // word
    return Order(prod(plan.shape[:-2]), plan.shape[-2], columns, prod(factors), (Digit * DIGITS)(*digits))


# ---- the operations ------------------------------------------------------------------------------


def shuffle_reference(x: Tensor, pad: int, *plan: Sequence[int]) -> Tensor:
    """The definition of `shuffle`."""
    return laid_out(x, Plan(*map(tuple, plan)), pad)


def unshuffle_reference(y: Tensor, *plan: Sequence[int]) -> Tensor:
    """The definition of `unshuffle`."""
    return laid_back(y, Plan(*map(tuple, plan)))


def covered(x: Tensor, *arguments: Any) -> bool:
    """Whether there is a kernel: it counts what is in a matrix in 31 bits."""
    return bool(prod(arguments[-6][-2:]) < LIMIT)


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
