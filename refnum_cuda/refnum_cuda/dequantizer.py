"""The host's side of csrc/dequantizer.cu: mx.dequantize."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

import refnum
from refnum.formats import Block, FixedPoint, Minifloat, e4m3, e8m0, float32, unit_scale
from refnum.mx.blocks import Blocks, has_kernels
from refnum.mx.dequantizer import values_of

from . import blocks, launch
from .serving import Operation

SCALES = (e8m0, e4m3, float32)  #: in the order of rn::ScaleKind
FINEST = -22  #: log2 of the least element that float32 holds under the least scale, 2**-127
LARGEST_POWER = 127  #: log2 of what float32 holds


class Stored(ctypes.Structure):
    """rn::Stored; it holds the tensors."""

    _fields_ = (
        *(("elements", c_void_p), ("scales", c_void_p), ("tensor", c_void_p)),
        *(("element", blocks.Element), ("scale", c_int32), ("wide", c_int32)),
    )

    def __init__(self, elements: Tensor, scales: Tensor, tensor: Tensor | None, *how: Any) -> None:
        pointers = (None if x is None else x.data_ptr() for x in (elements, scales, tensor))
        super().__init__(*pointers, *how)
        self.how, self.tensors = how, (elements, scales, tensor)


# ---- launches ------------------------------------------------------------------------------------

ANYWHERE = launch.Kernel(
    "dequantizer",
    "rn_dequantize_blocks",
    (Stored, blocks.Strides, blocks.Strides, blocks.Strides, blocks.Tile, c_void_p, c_int32),
)
#: by dtype and element
IN_ROWS = {
    (dtype, element): launch.Kernel(
        *("dequantizer", f"rn_dequantize_rows_{blocks.name_of(dtype)}_{name}"), (Stored, c_int64, c_int32, c_void_p)
    )
    for dtype in blocks.DTYPES[:3]
    for element, name in blocks.NAMED.items()
}


def dequantize(
    elements: Tensor,
    scales: Tensor,
    tensor_scale: Tensor | None,
    fmt: str,
    shape: Sequence[int],
    axis: int,
    dtype: torch.dtype,
) -> Tensor:
    """Values of blocks."""
    out = torch.empty(tuple(shape), dtype=dtype, device=elements.device)
    if out.numel():
        row = blocks.block(fmt)
        level = None if tensor_scale is None else tensor_scale.detach().to(elements.device)
        launch.launch(*placed(elements, scales, level, row, axis, out))
    return out


def placed(
    elements: Tensor, scales: Tensor, level: Tensor | None, fmt: Block, axis: int, out: Tensor
) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that fills ``out``."""
    wide = not _float32_holds_products(fmt, level is not None, out.dtype)
    stored = Stored(elements, scales, level, blocks.element_of(fmt.element), SCALES.index(fmt.scale), wide)
    if _in_rows(elements, scales, fmt, axis, out):
        eights, log_eights = out.numel() // blocks.EIGHT, (fmt.tile[1] // blocks.EIGHT).bit_length() - 1
        kernel = IN_ROWS[out.dtype, fmt.element]
        return kernel, *blocks.threads(eights), 0, stored, eights, log_eights, out
    elements, scales, values = (blocks.four_axes(x, axis, fmt) for x in (elements, scales, out))
    stored = Stored(elements, scales, level, *stored.how)
    sizes = blocks.Strides(*elements.stride()), blocks.Strides(*scales.stride()), blocks.Strides(*values.shape)
    tile = blocks.Tile(*fmt.tile, fmt.packed)
    return ANYWHERE, *blocks.threads(out.numel()), 0, stored, *sizes, tile, out, blocks.DTYPES.index(out.dtype)


def _in_rows(elements: Tensor, scales: Tensor, fmt: Block, axis: int, out: Tensor) -> bool:
    """Whether whole blocks lie one behind the other."""
    rows, columns = fmt.tile
    whole = axis == -1 and rows == 1 and out.shape[-1] % columns == 0 and blocks.in_eights(columns)
    has_kernel = (out.dtype, fmt.element) in IN_ROWS and not elements.data_ptr() % blocks.EIGHT
    return whole and has_kernel and elements.is_contiguous() and scales.is_contiguous()


def _float32_holds_products(fmt: Block, level: bool, dtype: torch.dtype) -> bool:
    """Whether what is left to be rounded once is a float32, or one times another."""
    if dtype == torch.float64 or fmt.scale == float32:
        return False
    return _finest(fmt) >= FINEST and (not level or (fmt.scale == e4m3 and dtype == torch.float32))


def _finest(fmt: Block) -> int:
    """log2 of the least element."""
    return unit_scale(fmt.element)


def reference(
    elements: Tensor,
    scales: Tensor,
    tensor_scale: Tensor | None,
    fmt: str,
    shape: Sequence[int],
    axis: int,
    dtype: torch.dtype,
) -> Tensor:
    """The definition of `dequantize`."""
    row = blocks.block(fmt)
    return values_of(Blocks(elements, scales, row, torch.Size(shape), axis, tensor_scale), dtype)


def covered(elements: Tensor, scales: Tensor, tensor_scale: Tensor | None, fmt: str, *_: Any) -> bool:
    """Whether there is a kernel: for elements that are float32 whatever their code."""
    row = blocks.block(fmt)
    element = row.element
    if not has_kernels(row):
        return False
    if isinstance(element, FixedPoint):
        return abs(element.fraction) < LARGEST_POWER
    assert isinstance(element, Minifloat)
    assert element.bias is not None
    return 0 <= element.bias < LARGEST_POWER and row.tile[1] % row.packed == 0


# ---- the operation -------------------------------------------------------------------------------


def examples() -> Iterator[tuple[Any, ...]]:
    """Every code under scales of all sizes."""
    codes = torch.arange(256, dtype=torch.int16, device="cpu").to(torch.uint8)
    scales = torch.tensor([0, 1, 3, 100, 126, 127, 128, 253, 254, 255], dtype=torch.uint8, device="cpu")
    for fmt in (*blocks.MX, refnum.nvfp4):
        length = 256 * fmt.packed
        elements = codes.expand(len(scales), 256)
        scale = scales[:, None].expand(-1, length // fmt.tile[1])
        for dtype in blocks.DTYPES:
            yield elements.contiguous(), scale.contiguous(), None, fmt.name, (len(scales), length), -1, dtype
            yield elements.mT, scale.mT, None, fmt.name, (length - 3, len(scales)), -2, dtype
    level = torch.tensor(1 / 3, device="cpu")
    for dtype in blocks.DTYPES:
        scale = scales[:, None].expand(-1, 32).contiguous()
        yield codes.repeat(10, 1), scale, level, "nvfp4", (len(scales), 512), -1, dtype


OPERATION = Operation(*("mx_dequantize", reference, dequantize, covered), (ANYWHERE, *IN_ROWS.values()), examples)


def _like(elements: Tensor, *arguments: Any) -> Tensor:
    *_, shape, _, dtype = arguments
    return torch.empty(shape, dtype=dtype, device=elements.device)


def _call(found: Blocks, dtype: torch.dtype) -> Tensor:
    named = found.fmt.name, list(found.shape), found.axis, dtype
    values: Tensor = torch.ops.refnum.mx_dequantize(found.elements, found.scales, found.tensor_scale, *named)
    return values


#: schema, fake, and how refnum calls it: a row of operations.OPAQUE
OPAQUE = {
    "mx_dequantize": (
        "(Tensor elements, Tensor scales, Tensor? tensor_scale, str fmt, int[] shape, int axis, ScalarType dtype) "
        "-> Tensor",
        _like,
        _call,
    )
}
