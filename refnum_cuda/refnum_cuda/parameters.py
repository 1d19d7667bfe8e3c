"""What kernels take by value: the structs of csrc, and how formats and tensors become them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int32, c_int64, c_void_p

from torch import Tensor

from refnum import formats
from refnum.core.round import RULES

DIMS = 8  #: dimensions that a kernel counts in; tensors that need more are copied
ROUNDINGS = {name: number for number, name in enumerate(RULES)}


class Posit(ctypes.Structure):
    """rn::Posit."""

    _fields_ = (("n", c_int32), ("es", c_int32))


class Minifloat(ctypes.Structure):
    """rn::Minifloat."""

    _fields_ = tuple(
        (name, c_int32) for name in "exponent mantissa bias specials overflow is_signed subnormals".split()
    )


class Format(ctypes.Structure):
    """rn::Format."""

    _fields_ = (("is_posit", c_int32), ("posit", Posit), ("minifloat", Minifloat))


class Shape(ctypes.Structure):
    """rn::Shape."""

    _fields_ = (("count", c_int64), ("dims", c_int32), ("size", c_int64 * DIMS))


class Operand(ctypes.Structure):
    """rn::Operand."""

    _fields_ = (("data", c_void_p), ("bits", c_int32), ("stride", c_int64 * DIMS))


class Result(ctypes.Structure):
    """rn::Result."""

    _fields_ = (("data", c_void_p), ("bits", c_int32))


def posit(fmt: formats.Posit) -> Posit:
    """A posit format."""
    return Posit(fmt.n, fmt.es)


def minifloat(fmt: formats.Minifloat) -> Minifloat:
    """A floating-point format."""
    return Minifloat(
        fmt.exponent,
        fmt.mantissa,
        fmt.bias,
        formats.SPECIALS.index(fmt.specials),
        formats.OVERFLOWS.index(fmt.overflow),
        fmt.signed,
        fmt.subnormals,
    )


def scalar(fmt: formats.Format) -> Format:
    """A scalar format of either kind."""
    if isinstance(fmt, formats.Posit):
        return Format(True, posit(fmt), Minifloat())
    return Format(False, Posit(), minifloat(fmt))


def result(out: Tensor) -> Result:
    """A contiguous tensor to write."""
    return Result(out.data_ptr(), 8 * out.itemsize)


def operands(*tensors: Tensor) -> tuple[Shape, list[Operand], Sequence[Tensor]]:
    """Tensors of one shape to read: that shape, they, and what must live until the kernel has been launched.

    Dimensions are merged where the elements of all tensors allow it.
    """
    merged = _merged(tensors)
    if len(merged) > DIMS:
        tensors = tuple(x.contiguous() for x in tensors)
        merged = _merged(tensors)
    plain = not merged or (len(merged) == 1 and set(merged[0][1]) == {1})
    dims = [] if plain else merged
    shape = Shape(tensors[0].numel(), len(dims), (c_int64 * DIMS)(*(size for size, _ in dims)))
    rows = [
        Operand(x.data_ptr(), 8 * x.itemsize, (c_int64 * DIMS)(*(strides[i] for _, strides in dims)))
        for i, x in enumerate(tensors)
    ]
    return shape, rows, tensors


def _merged(tensors: Sequence[Tensor]) -> list[tuple[int, tuple[int, ...]]]:
    """Size and strides of the fewest dimensions in which the tensors can be walked."""
    dims: list[tuple[int, tuple[int, ...]]] = []
    for size, *strides in zip(tensors[0].shape, *(x.stride() for x in tensors), strict=True):
        if size == 1:
            continue
        if dims and dims[-1][1] == tuple(size * stride for stride in strides):
            dims[-1] = (dims[-1][0] * size, tuple(strides))
        else:
            dims.append((size, tuple(strides)))
    return dims
