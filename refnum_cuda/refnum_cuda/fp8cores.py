"""The host's side of csrc/wgmma_fp8.cu, and gemm of floats of 8 bits under tc.hopper.fp8/v1 and tcsplit/v1 of it.

mma.sync of 8 bits is another instruction on Hopper, with other bits: few rows are served by wgmma, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ctypes import c_int32, c_void_p
from itertools import product
from typing import Any

import torch
from torch import Tensor

from refnum.sums.operands import FP8, product_shape
from refnum.sums.products import gemm_reference
from refnum.sums.results import finished

from . import launch, matrices, modules, warpgroups
from .matrices import RESULTS, Extent, Matrix, Problem, Side
from .matrixcores import in_chunks
from .serving import Operation
from .warpgroups import Boxes, Tiling

CONTRACT = re.compile(r"tc\.hopper\.fp8/v1|tcsplit/v1\(inst=tc\.hopper\.fp8, Kc=(\d+)\)")
KINDS = {torch.float8_e4m3fn: "e4m3", torch.float8_e5m2: "e5m2"}

FEW = (Tiling("slim", 16, 20, 64), Tiling("middle", 64, 12, 64))  #: for as few columns as they have, at most
STAGE = 128  #: terms
NEAR = 2  #: so many heights of nodes of a tree are held in registers

#: by dtypes of the operands, and tiling
CHAINS = {
    (a, b, tiling): launch.Kernel(
        "wgmma_fp8",
        f"rn_wgmma_{KINDS[a]}_{KINDS[b]}_{tiling.name}",
        (Boxes, Boxes, Matrix, Matrix, c_int32, Extent),
    )
    for a, b, tiling in product(KINDS, KINDS, (*FEW, warpgroups.NARROW, warpgroups.WIDE))
}
SPLITS = {
    (a, b, tiling): launch.Kernel(
        "wgmma_fp8",
        f"rn_wgmma_{KINDS[a]}_{KINDS[b]}_split_{tiling.name}",
        (Boxes, Boxes, Matrix, Matrix, Extent, c_int32, c_void_p),
    )
    for a, b, tiling in product(KINDS, KINDS, (*FEW, warpgroups.NARROW))
}


def covered(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> bool:
    """Whether the device has the instruction, and the copying engine can count the operands."""
    sizes = *product_shape(a, b), a.shape[-1]
    if not CONTRACT.fullmatch(contract) or not 0 < a.shape[-1] <= max(sizes) <= warpgroups.LARGEST:
        return False
    number = launch.ordinal(a.device)
    return modules.obstacle(number) is None and modules.served_by(number) == warpgroups.TARGET


# ---- launches ------------------------------------------------------------------------------------


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` of checked operands of 8 bits with at least two axes, on a Hopper GPU."""
    found = CONTRACT.fullmatch(contract)
    assert found is not None, "covered() comes first"
    if not found[1]:
        return _rounded(_chained(a, b, bias, torch.float32 if out_dtype in FP8 else out_dtype), out_dtype)
    chunk = int(found[1])
    if chunk % STAGE and chunk < a.shape[-1]:
        return in_chunks(_chained, a, b, bias, chunk, out_dtype)
    return _rounded(_launched(a, b, bias, torch.float32, chunk), out_dtype)


def _rounded(sums: Tensor, dtype: torch.dtype) -> Tensor:
    return sums if sums.dtype == dtype else finished(sums, dtype)


def _chained(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return _launched(a, b, bias, dtype, None)


def _launched(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, chunk: int | None) -> Tensor:
    out = torch.empty(product_shape(a, b), dtype=dtype, device=a.device)
    if out.numel():
        processors = torch.cuda.get_device_properties(a.device).multi_processor_count
        launch.launch(*prepared(matrices.problem(a, b, bias, out), processors, chunk))
    return out


def prepared(given: Problem, processors: int, chunk: int | None = None) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that writes a product, or one split in chunks."""
    given = given._replace(a=_brought(given.a), b=_brought(given.b))
    few = min(given.out.shape[1:])
    tiling = next((tiling for tiling in FEW if few <= tiling.columns), None)
    if tiling and few < given.out.shape[-1]:
        given = given.transposed()
    kinds = given.a.tensor.dtype, given.b.tensor.dtype
    if chunk is None:
        tiling = tiling or warpgroups.wide_or_narrow(given, processors)
        first = warpgroups.launched(CHAINS[(*kinds, tiling)], given, tiling, processors)
        return *first, RESULTS.index(given.out.dtype), given.extent
    tiling = tiling or warpgroups.NARROW
    first = warpgroups.launched(SPLITS[(*kinds, tiling)], given, tiling, processors)
    chunk = min(chunk, warpgroups.LARGEST)
    far = max(0, (-(-given.a.terms // chunk) - 1).bit_length() - NEAR)
    nodes = given.out.new_empty(far * min(tiling.tiles(given), processors) * tiling.rows * tiling.columns)
    return *first, given.extent, chunk, nodes


def _brought(x: Side) -> Side:
    """The operand with strides that the copying engine takes."""
    return x if warpgroups.boxed(x) else matrices.copied(x.tensor)


# ---- the operation -------------------------------------------------------------------------------


def examples() -> Iterator[tuple[Any, ...]]:
    """Every code, sums of which every block is cut, and every tiling; chunks of stages and others."""
    codes = torch.arange(256, dtype=torch.int16, device="cpu").to(torch.uint8)
    every = torch.stack([codes.roll(5 * i) for i in range(6)])
    k = torch.arange(300, device="cpu")
    finite = torch.stack([(k * step % 64 + 20 + 128 * (k * step % 7 % 2)) % 256 for step in (1, 3, 5, 7, 11, 13)])
    bias = torch.tensor([1.0, -0.0, 2.0**-149, -3e38, 1 / 3, 1e-5], device="cpu")
    for (a, b), x in product(product(KINDS, KINDS), (every, finite.to(torch.uint8))):
        yield x.view(a), x.view(b).mT, bias, "tc.hopper.fp8/v1", torch.float32
        yield x.view(a), x.view(b).mT, bias, "tcsplit/v1(inst=tc.hopper.fp8, Kc=128)", torch.bfloat16
    x = finite.to(torch.uint8)
    for (a, b), (rows, columns) in product(product(KINDS, KINDS), ((10, 12), (12, 12), (12, 40))):
        left, right = x.repeat(rows, 1).view(a), x.repeat(columns, 1).view(b).mT
        yield left, right, bias.repeat(columns), "tc.hopper.fp8/v1", torch.float16
        yield left, right, None, "tcsplit/v1(inst=tc.hopper.fp8, Kc=128)", torch.float32
    left, right = x.view(torch.float8_e5m2), x.mT.view(torch.float8_e5m2)
    yield left, right, None, "tc.hopper.fp8/v1", torch.float8_e4m3fn
    yield left, right, None, "tcsplit/v1(inst=tc.hopper.fp8, Kc=40)", torch.float32


OPERATION = Operation("gemm", gemm_reference, gemm, covered, (*CHAINS.values(), *SPLITS.values()), examples)
