"""Products of matrices as kernels for tensor cores take them: along one batch, 16 bytes at a time."""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_void_p
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

RESULTS = (torch.float32, torch.bfloat16, torch.float16)  #: rn::Result
ALIGNMENT = 16  #: bytes that are copied at a time


class Matrix(ctypes.Structure):
    """rn::Matrix; it holds the tensor, which must live until the kernel has been launched."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("row", c_int64), ("column", c_int64))

    def __init__(self, x: Tensor | None) -> None:
        super().__init__(*((None, 0, 0, 0) if x is None else (x.data_ptr(), *x.stride())))
        self.tensor = x


class Extent(ctypes.Structure):
    """rn::Extent."""

    _fields_ = tuple((name, c_int64) for name in "batches rows columns terms".split())


class Side(NamedTuple):
    """An operand: lines are rows of a, or columns of b."""

    tensor: Tensor  #: [batches, lines, terms] or [batches, terms, lines]; neighbours lie along the last axis
    along: str  #: which that is: t or l

    @property
    def terms(self) -> int:
        """So many of each line."""
        return self.tensor.shape[-1 if self.along == "t" else -2]


class Problem(NamedTuple):
    """A product of matrices."""

    a: Side
    b: Side
    bias: Tensor | None  #: of the shape of the result
    out: Tensor  #: [batches, rows, columns]

    @property
    def layout(self) -> str:
        """Along what either operand lies, as in names of kernels."""
        return self.a.along + self.b.along

    @property
    def extent(self) -> Extent:
        """Its sizes."""
        return Extent(*self.out.shape, self.a.terms)

    def transposed(self) -> Problem:
        """The transposed product, which has the same bits."""
        return Problem(self.b, self.a, None if self.bias is None else self.bias.mT, self.out.mT)


def problem(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor) -> Problem:
    """The product of a and b, to be written to ``out``; operands that kernels cannot read as they are are copied."""
    batch = out.shape[:-2]
    addend = None if bias is None else one_batch(bias.expand(out.shape), batch)
    return Problem(_side(one_batch(a, batch)), _side(one_batch(b, batch).mT), addend, one_batch(out, batch))


def one_batch(x: Tensor, batch: torch.Size) -> Tensor:
    """A matrix, or matrices along one axis; copied where no stride leads from each to the next one."""
    x = x.detach().resolve_neg()
    return x.expand(*batch, *x.shape[-2:]).reshape(prod(batch), *x.shape[-2:])


def _side(x: Tensor) -> Side:
    """[batches, lines, terms] so that one axis can be copied 16 bytes at a time; of 8 bits that of the terms."""
    for view, along in ((x, "t"), (x.mT, "l"))[: x.itemsize]:
        if _aligned(view):
            return Side(view, along)
    return copied(x)


def copied(x: Tensor) -> Side:
    """The same of any [batches, lines, terms], copied."""
    room = ALIGNMENT // x.itemsize
    padded = x.new_empty(*x.shape[:-1], -(-x.shape[-1] // room) * room)[..., : x.shape[-1]]
    return Side(padded.copy_(x), "t")


def _aligned(x: Tensor) -> bool:
    strides = [stride for size, stride in zip(x.shape[:-1], x.stride(), strict=False) if size > 1]
    starts = x.data_ptr(), *(stride * x.itemsize for stride in strides)
    return (x.shape[-1] <= 1 or x.stride(-1) == 1) and all(start % ALIGNMENT == 0 for start in starts)
