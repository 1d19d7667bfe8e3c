"""The host's side of csrc/ordered.cu: gemm under chain/v1 and tree/v1(Kc)."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from refnum.sums.operands import product_shape

from . import launch

CONTRACT = re.compile(r"chain/v1|tree/v1\(Kc=(\d+)\)")
RESULTS = (torch.float32, torch.bfloat16, torch.float16)  #: rn::Result; operands are of these dtypes, too
MOST_BLOCKS = (1 << 31) - 1
BLOCKS_EACH = 2  #: of a multiprocessor, at a time


class Matrix(ctypes.Structure):
    """rn::Matrix; it holds the tensor, which must live until the kernel has been launched."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("row", c_int64), ("column", c_int64))

    def __init__(self, x: Tensor | None) -> None:
        super().__init__(*((None, 0, 0, 0) if x is None else (x.data_ptr(), *x.stride())))
        self.tensor = x


class Size(ctypes.Structure):
    """rn::Size."""

    _fields_ = tuple((name, c_int64) for name in "batches rows columns terms chunk".split())


class Workspace(ctypes.Structure):
    """rn::Workspace; it holds the tensor."""

    _fields_ = (("data", c_void_p), ("levels", c_int64))

    def __init__(self, x: Tensor, levels: int) -> None:
        super().__init__(x.data_ptr(), levels)
        self.tensor = x


PARAMETERS = (Matrix, Matrix, Matrix, Matrix, c_int32, Size, Workspace)


@dataclass(frozen=True, slots=True)
class Tiling:
    """What one block makes at a time, as in ordered.cu."""

    name: str
    rows: int
    columns: int
    threads: int
    stage: int  #: bytes of shared memory that a stage takes
    stages: int  #: of operands that are copied as they are

    def shared(self, dtype: torch.dtype) -> int:
        """Bytes of shared memory for operands of a dtype: those that are widened on the way have two stages."""
        return self.stage * (self.stages if dtype == torch.float32 else 2)


SQUARE = Tiling("square", 128, 128, 256, 4 * 16 * (132 + 132), 2)
SLIM = Tiling("slim", 16, 32, 128, 4 * 64 * (20 + 33), 4)

#: by order, dtype of the operands and tiling
KERNELS = {
    (order, dtype, tiling): launch.Kernel(
        "ordered", f"rn_{order}_{str(dtype).removeprefix('torch.')}_{tiling.name}", PARAMETERS
    )
    for order in ("chain", "tree")
    for dtype in RESULTS
    for tiling in (SQUARE, SLIM)
}


# ---- launches ------------------------------------------------------------------------------------


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` of checked operands with at least two axes, on a GPU."""
    out = torch.empty(product_shape(a, b), dtype=out_dtype, device=a.device)
    if out.numel():
        processors = torch.cuda.get_device_properties(a.device).multi_processor_count
        launch.launch(*prepared(a, b, bias, out, contract, BLOCKS_EACH * processors))
    return out


def prepared(
    a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor, contract: str, most_blocks: int
) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that writes the product to ``out``.

    Trees get no more than so many blocks, each of which makes tile after tile, and memory for the sums that they hold.
    """
    batch = out.shape[:-2]
    x, y, to = (_one_batch(side, batch) for side in (a, b, out))
    z = None if bias is None else _one_batch(bias.expand(out.shape), batch)
    if out.shape[-1] < out.shape[-2] and out.shape[-1] <= SLIM.rows:
        # Few columns: the transposed product has the same bits, and few rows.
        x, y, to, z = y.mT, x.mT, to.mT, None if z is None else z.mT
    batches, rows, columns = to.shape
    tiling = SLIM if rows <= SLIM.rows else SQUARE
    terms = x.shape[-1]

    order, chunk = _order(contract, terms)
    tiles = batches * -(-rows // tiling.rows) * -(-columns // tiling.columns)
    blocks = min(tiles, MOST_BLOCKS if order == "chain" else most_blocks)
    # Of so many leaves a counter in base 2 holds no more sums than the last one's number has bits.
    levels = (-(-terms // chunk) - 1).bit_length() if order == "tree" and terms else 0
    held = torch.empty(blocks * levels * tiling.rows * tiling.columns, dtype=torch.float32, device=out.device)

    return (
        KERNELS[order, a.dtype, tiling],
        (blocks, 1, 1),
        (tiling.threads, 1, 1),
        tiling.shared(a.dtype),
        *(Matrix(x), Matrix(y), Matrix(z), Matrix(to), RESULTS.index(out.dtype)),
        *(Size(batches, rows, columns, terms, chunk), Workspace(held, levels)),
    )


def _one_batch(x: Tensor, batch: torch.Size) -> Tensor:
    """A matrix, or matrices along one axis; copied where no stride leads from each to the next one."""
    x = x.detach().resolve_neg()
    return x.expand(*batch, *x.shape[-2:]).reshape(prod(batch), *x.shape[-2:])


def _order(contract: str, terms: int) -> tuple[str, int]:
    """The kernels' first name, and the terms of a leaf: at least one, and no more than there are."""
    found = CONTRACT.fullmatch(contract)
    assert found is not None, "covered() comes first"
    return ("tree", min(int(found[1]), max(terms, 1))) if found[1] else ("chain", max(terms, 1))


# ---- the operation -------------------------------------------------------------------------------


def covered(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> bool:
    """Whether there is a kernel; operands and results of 8 bits have none."""
    return bool(CONTRACT.fullmatch(contract)) and a.dtype == b.dtype and {a.dtype, out_dtype} <= {*RESULTS}


def examples() -> Iterator[tuple[Any, ...]]:
    """Chains whose every step is rounded, products that only a fused step keeps, and sums that are -0."""
    k = torch.arange(150, dtype=torch.float32, device="cpu")
    a = torch.stack([1 + k * 2.0**-23, (k - 75) * 2.0**-60, -(2.0 ** -(k % 90)), torch.where(k == 149, torch.inf, k)])
    b = torch.stack([1 - k * 2.0**-23, (k % 7 - 3) * 2.0**-70, 2.0 ** -(k % 80), 0 * k], 1)
    bias = torch.tensor([-0.0, 1.0, -(2.0**-149), 0.0], device="cpu")
    for contract in ("chain/v1", "tree/v1(Kc=256)", "tree/v1(Kc=16)"):
        for dtype in RESULTS:
            x, y = a.to(dtype), b.to(dtype)
            yield x, y, bias, contract, torch.float32
            yield x.repeat(40, 1), y.repeat(1, 40), None, contract, dtype
