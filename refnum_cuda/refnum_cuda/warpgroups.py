"""The host's side of csrc/wgmma.cu: products on Hopper's tensor cores that are large enough for them."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint64
from dataclasses import dataclass
from typing import Any

import torch

from . import driver, launch
from .matrices import ALIGNMENT, RESULTS, Extent, Matrix, Problem, Side

TARGET = "sm_90a"  #: whose files have the kernels
ROW, TERMS = 128, 64  #: bytes of a row of a stage, and terms of 16 bits
WARPGROUP = 128  #: threads
LARGEST = (1 << 31) - 512  #: rows, columns or terms: the copying engine counts in 32 bits
FARTHEST = 1 << 40  #: bytes of a stride
ATOM = 1024  #: bytes to which stages are aligned


class Boxes(ctypes.Structure):
    """rn::Boxes; it holds the tensor."""

    _fields_ = (("map", c_uint64 * 16), ("batched", c_int32), ("rest", c_int32 * 15))

    def __init__(self, x: Side, lines: int) -> None:
        self.tensor = x.tensor
        (batches, outer, inner), (batch, stride, _) = x.tensor.shape, x.tensor.stride()
        batched = batches > 1 and batch != 0
        each = x.tensor.itemsize
        if outer == 1:  # its stride may be anything
            stride = -(-inner * each // ALIGNMENT) * ALIGNMENT // each
        sizes, strides = (
            (inner, outer, batches if batched else 1),
            (stride * each, (batch if batched else stride) * each),
        )
        box = (ROW // each, lines if x.along == "t" else TERMS, 1)
        data = driver.tensor_map(x.tensor.data_ptr(), each, sizes, strides, box)
        words = (c_uint64 * 16).from_buffer_copy(data)
        super().__init__(words, batched)


@dataclass(frozen=True, slots=True)
class Tiling:
    """What one block makes at a time, as in wgmma.cu and wgmma_fp8.cu."""

    name: str
    columns: int
    stages: int
    rows: int = 128

    @property
    def threads(self) -> int:
        """Of a block: a warpgroup for each 64 rows, and one that brings operands."""
        return WARPGROUP * (1 + self.rows // 64)

    @property
    def shared(self) -> int:
        """Bytes of shared memory: stages, two barriers for each, and what aligns them."""
        return self.stages * (ROW * (self.rows + self.columns) + 16) + ATOM

    def tiles(self, given: Problem) -> int:
        """How many there are of a product."""
        batches, rows, columns = given.out.shape
        return batches * -(-rows // self.rows) * -(-columns // self.columns)


WIDE, NARROW = Tiling("wide", 256, 4), Tiling("narrow", 128, 6)
OVERHEAD = 1.15  #: of narrow tiles, for as many sums

PARAMETERS = (Boxes, Boxes, Matrix, Matrix, c_int32, Extent)
#: by dtype of the operands, tiling, and along what each of them lies
KERNELS = {
    (dtype, tiling, layout): launch.Kernel(
        "wgmma", f"rn_wgmma_{str(dtype).removeprefix('torch.')}_{tiling.name}_{layout}", PARAMETERS
    )
    for dtype in (torch.bfloat16, torch.float16)
    for tiling in (WIDE, NARROW)
    for layout in ("tt", "tl", "lt", "ll")
}


def fits(given: Problem) -> bool:
    """Whether the copying engine can bring the operands."""
    return given.a.terms > 0 and max(*given.out.shape, given.a.terms) <= LARGEST and all(map(boxed, given[:2]))


def boxed(x: Side) -> bool:
    """Whether it takes such strides."""
    (batches, outer, inner), (batch, stride, _) = x.tensor.shape, x.tensor.stride()
    return (outer == 1 or inner <= stride < FARTHEST // 2) and (batches == 1 or 0 <= batch < FARTHEST // 2)


def wide_or_narrow(given: Problem, processors: int) -> Tiling:
    """The one that is sooner done."""

    def cost(tiling: Tiling) -> float:
        rounds = -(-tiling.tiles(given) // processors)
        return rounds * tiling.columns * (OVERHEAD if tiling == NARROW else 1)

    return min(WIDE, NARROW, key=cost)


def prepared(given: Problem, processors: int) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that writes a product."""
    tiling = wide_or_narrow(given, processors)
    kernel = KERNELS[given.a.tensor.dtype, tiling, given.layout]
    return *launched(kernel, given, tiling, processors), RESULTS.index(given.out.dtype), given.extent


def launched(kernel: launch.Kernel, given: Problem, tiling: Tiling, processors: int) -> tuple[Any, ...]:
    """The same of any kernel, up to those arguments that all have."""
    return (
        *(kernel, (min(tiling.tiles(given), processors), 1, 1), (tiling.threads, 1, 1), tiling.shared),
        *(Boxes(given.a, tiling.rows), Boxes(given.b, tiling.columns), Matrix(given.bias), Matrix(given.out)),
    )
