"""Elementwise work in pieces that stay in the cache, and what Inductor makes vectors of: equal to plain torch."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

CHUNK = 1 << 14  #: elements of a piece: some twenty int64 temporaries of 128 KiB, 2.5 MB in all


def elementwise(kernel: Callable[..., Tensor], *inputs: Tensor, dtype: torch.dtype, chunk: int = CHUNK) -> Tensor:
    """``kernel(*inputs).to(dtype)`` for inputs of one shape, where the kernel works element by element."""
    shape, device = inputs[0].shape, inputs[0].device
    if torch.compiler.is_compiling() or device.type != "cpu" or shape.numel() <= chunk:
        return _narrowed(kernel(*inputs), dtype)
    result = torch.empty(shape, dtype=dtype, device=device)
    if all(x.is_contiguous() for x in inputs):
        inputs, out = tuple(x.view(-1) for x in inputs), result.view(-1)
    else:
        out = result
    for piece in pieces(out.shape, chunk):
        out[piece] = kernel(*(x[piece] for x in inputs))
    return result


def _narrowed(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x.to(dtype)``, made by compiled code in a pass of its own where the integers have 16 bits.

    Inductor makes no vectors of them, and none of whatever it has in a loop with them.
    """
    wider = x.dtype in (torch.int32, torch.int64)
    if dtype != torch.int16 or not wider or x.device.type != "cpu" or not torch.compiler.is_compiling():
        return x.to(dtype)
    parts = x.itemsize // dtype.itemsize
    lowest = 0 if sys.byteorder == "little" else parts - 1
    return x.reshape(-1).view(dtype)[lowest::parts].contiguous().view(x.shape)


def looked_up(table: Tensor, index: Tensor) -> Tensor:
    """``table[index]`` on the CPU, for int32 indices of a table whose length is a power of two.

    Inductor's vectors look up lane by lane, and check every index. It makes none of 16-bit integers: with one on the
    way it writes a plain loop, from which a mask that bounds the indices takes all checks.
    """
    if torch.compiler.is_compiling() and len(table) <= 1 << 16:
        index = index.to(torch.int16).to(torch.int32) & (len(table) - 1)
    return table.index_select(0, index.reshape(-1)).reshape(index.shape)


def reinterpret(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The same bits in a dtype of the same width.

    A view of a CPU tensor becomes a copy element by element where Inductor puts it in a loop, which costs more than the
    rounding. Views that change the width it leaves to torch: by way of bytes there is no copy.
    """
    if x.device.type != "cpu" or not torch.compiler.is_compiling():
        return x.view(dtype)
    return x.contiguous().view(-1).view(torch.uint8).view(dtype).view(x.shape)


def pieces(shape: torch.Size, limit: int) -> Iterator[tuple[int | slice, ...]]:
    """Indices that cut a shape in pieces of at most ``limit`` elements."""
    # The first axis below which a whole slab fits is cut in steps; the axes before it are walked.
    axis = next(i for i in range(len(shape)) if math.prod(shape[i + 1 :]) <= limit)
    step = limit // max(1, math.prod(shape[axis + 1 :]))
    for before in itertools.product(*map(range, shape[:axis])):
        for start in range(0, shape[axis], step):
            yield (*before, slice(start, start + step))
