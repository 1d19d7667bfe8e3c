"""What the kernels of csrc/quantizer.cu and csrc/dequantizer.cu take by value, and how tensors of blocks become it."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int32, c_int64
from math import prod

import torch
from torch import Tensor

from refnum import formats
from refnum.formats import Block, FixedPoint, parse

from . import parameters

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  #: in the order of rn::DType
MX = tuple(getattr(formats, name) for name in "mxfp4 mxfp6_e2m3 mxfp6_e3m2 mxfp8_e4m3 mxfp8_e5m2 mxint8".split())
#: elements that have kernels of their own, and how those are named after them
NAMED = {
    **{getattr(formats, name): name for name in "e2m1 e2m3 e3m2 e4m3 e5m2".split()},
    FixedPoint(8, 6, symmetric=True): "int8",
}
THREADS, MOST_BLOCKS = 256, 1 << 16
EIGHT = 8  #: values that a thread takes together


class Strides(ctypes.Structure):
    """rn::Strides, and rn::Extent."""

    _fields_ = tuple((name, c_int64) for name in ("outer", "rows", "columns", "inner"))


class Tile(ctypes.Structure):
    """rn::Tile."""

    _fields_ = tuple((name, c_int32) for name in ("rows", "columns", "packed"))


class Element(ctypes.Structure):
    """rn::Element."""

    _fields_ = (
        *(("is_fixed", c_int32), ("minifloat", parameters.Minifloat)),
        *(("width", c_int32), ("fraction", c_int32), ("symmetric", c_int32), ("unit", c_float)),
    )


def element_of(element: formats.Element) -> Element:
    """A format of elements."""
    if isinstance(element, FixedPoint):
        return Element(
            1, parameters.Minifloat(), element.width, element.fraction, element.symmetric, 2.0**-element.fraction
        )
    assert isinstance(element, formats.Minifloat)
    assert element.bias is not None
    return Element(0, parameters.minifloat(element), element.width, 0, 0, 2.0 ** (127 - element.bias))


def four_axes(x: Tensor, axis: int, fmt: Block) -> Tensor:
    """Outer axes, rows of tiles, the axis, inner axes; copied where no strides lead along them."""
    size = x.shape
    if fmt.tile[0] > 1:
        return x.reshape(prod(size[:-2]), *size[-2:], 1)
    axis %= len(size)
    return x.reshape(prod(size[:axis]), 1, size[axis], prod(size[axis + 1 :]))


def threads(count: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Grid and block of so many threads, or of fewer that take several turns."""
    return (min(-(-count // THREADS), MOST_BLOCKS), 1, 1), (THREADS, 1, 1)


def in_eights(columns: int) -> bool:
    """Whether 1, 2, 4 .. threads take a block, eight values each."""
    return columns % EIGHT == 0 and columns & (columns - 1) == 0


def block(fmt: str) -> Block:
    """The format that a text names."""
    found = parse(fmt)
    assert isinstance(found, Block)
    return found


def name_of(dtype: torch.dtype) -> str:
    """As kernels are named after it."""
    return str(dtype).removeprefix("torch.")
