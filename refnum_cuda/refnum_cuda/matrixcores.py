"""The host's side of csrc/matrixcore.cu, and gemm under tc.<architecture>.bf16/v1 and tc.<architecture>.f16/v1.

Under tcsplit/v1 of those, too: products of chunks of terms, which torch adds.

A device serves the contracts of its own tensor cores, and those of others that are modelled alike.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from torch import Tensor

from refnum.sums.operands import product_shape
from refnum.sums.products import gemm_reference
from refnum.sums.results import finished
from refnum.sums.tensorcore import INSTRUCTIONS, Instruction
from refnum.sums.tree import join

from . import driver, launch, modules, warpgroups
from .matrices import RESULTS, Extent, Matrix, Problem, Side, problem
from .serving import Operation

_INSTRUCTION = r"tc\.((?:ampere|ada|hopper|blackwell)\.(bf16|f16))"
CONTRACT = re.compile(rf"{_INSTRUCTION}/v1|tcsplit/v1\(inst={_INSTRUCTION}, Kc=(\d+)\)")
KINDS = {torch.bfloat16: "bf16", torch.float16: "f16"}
#: whose instructions a GPU has, by its compute capability, or by the first number of it
ARCHITECTURES = {8: "ampere", (8, 9): "ada", 9: "hopper", 10: "blackwell", 12: "blackwell"}

MOST_BLOCKS = (1 << 31) - 1


class Operand(ctypes.Structure):
    """rn::Operand; it holds the tensor."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("stride", c_int64))

    def __init__(self, x: Side) -> None:
        super().__init__(x.tensor.data_ptr(), *x.tensor.stride()[:2])
        self.tensor = x.tensor


@dataclass(frozen=True, slots=True)
class Tiling:
    """What one block makes at a time, as in matrixcore.cu."""

    name: str
    rows: int
    columns: int
    terms: int  #: of a stage
    stages: int
    threads: int

    @property
    def shared(self) -> int:
        """Bytes of shared memory."""
        return 2 * self.stages * self.terms * (self.rows + self.columns)


SQUARE = Tiling("square", 128, 128, 32, 3, 256)
MIDDLE = Tiling("middle", 32, 64, 64, 8, 128)
SLIM = Tiling("slim", 32, 16, 128, 8, 64)
NARROW = (SLIM, MIDDLE)  #: for as few columns as they have, at most

PARAMETERS = (Operand, Operand, Matrix, Matrix, c_int32, Extent)
#: by dtype of the operands, tiling, and along what each of them lies
KERNELS = {
    (dtype, tiling, layout): launch.Kernel(
        "matrixcore", f"rn_mma_{str(dtype).removeprefix('torch.')}_{tiling.name}_{layout}", PARAMETERS
    )
    for dtype in KINDS
    for tiling in (SQUARE, MIDDLE, SLIM)
    for layout in ("tt", "tl", "lt", "ll")
}


# ---- contracts -----------------------------------------------------------------------------------


def served(contract: str, capability: tuple[int, int]) -> Instruction | None:
    """The instruction of a contract, if a GPU of this compute capability has one with its bits.

    >>> served("tc.hopper.bf16/v1", (9, 0)).terms, served("tc.ampere.bf16/v1", (9, 0))
    (16, None)
    """
    found = CONTRACT.fullmatch(contract)
    architecture = ARCHITECTURES.get(capability, ARCHITECTURES.get(capability[0]))
    if found is None or architecture is None:
        return None
    asked, own = INSTRUCTIONS[found[1] or found[3]], INSTRUCTIONS[f"{architecture}.{found[2] or found[4]}"]
    return asked if replace(asked, name=own.name) == own else None


def covered(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> bool:
    """Whether the device has the instruction; results of 8 bits have no kernel."""
    if not CONTRACT.fullmatch(contract) or out_dtype not in RESULTS:
        return False
    number = launch.ordinal(a.device)
    return modules.obstacle(number) is None and served(contract, driver.capability(number)) is not None


# ---- launches ------------------------------------------------------------------------------------


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` of checked operands with at least two axes, on a GPU whose tensor cores the contract names."""
    found = CONTRACT.fullmatch(contract)
    assert found is not None, "covered() comes first"
    if not found[5]:
        return _chained(a, b, bias, out_dtype)
    return in_chunks(_chained, a, b, bias, int(found[5]), out_dtype)


def in_chunks(
    multiply: Callable[..., Tensor], a: Tensor, b: Tensor, bias: Tensor | None, chunk: int, dtype: torch.dtype
) -> Tensor:
    """Products of so many terms each, joined by a tree; then the bias."""
    parts = (slice(start, start + chunk) for start in range(0, max(1, a.shape[-1]), chunk))
    total = join((multiply(a[..., part], b[..., part, :], None, torch.float32) for part in parts), add=torch.add)
    return finished(total if bias is None else total + bias, dtype)


def _chained(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    out = torch.empty(product_shape(a, b), dtype=dtype, device=a.device)
    if out.numel():
        target = modules.served_by(launch.ordinal(a.device))
        processors = torch.cuda.get_device_properties(a.device).multi_processor_count
        launch.launch(*prepared(problem(a, b, bias, out), target, processors))
    return out


def prepared(given: Problem, target: str, processors: int) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that writes a product."""
    few = min(given.out.shape[1:])
    tiling = next((tiling for tiling in NARROW if few <= tiling.columns), SQUARE)
    if tiling == SQUARE and target == warpgroups.TARGET and warpgroups.fits(given):
        return warpgroups.prepared(given, processors)
    if tiling in NARROW and few < given.out.shape[-1]:
        given = given.transposed()
    batches, rows, columns = given.out.shape
    tiles = batches * -(-rows // tiling.rows) * -(-columns // tiling.columns)
    return (
        KERNELS[given.a.tensor.dtype, tiling, given.layout],
        (min(tiles, MOST_BLOCKS), 1, 1),
        (tiling.threads, 1, 1),
        tiling.shared,
        *(Operand(given.a), Operand(given.b), Matrix(given.bias), Matrix(given.out)),
        *(RESULTS.index(given.out.dtype), given.extent),
    )


# ---- the operation -------------------------------------------------------------------------------


def examples() -> Iterator[tuple[Any, ...]]:
    """Sums whose every block is cut, zeros beside huge terms, and results that vanish, of every architecture."""
    k = torch.arange(80, dtype=torch.float32, device="cpu")
    a = torch.stack([1 + k * 2.0**-7, (k - 40) * 2.0**-20, -(2.0 ** -(k % 14)), torch.where(k == 79, torch.inf, k)])
    b = torch.stack([1 - k * 2.0**-8, (k % 7 - 3) * 2.0**-14, 2.0 ** -(k % 13), 0 * k], 1)
    bias = torch.tensor([-0.0, 1.0, -(2.0**-149), 0.0], device="cpu")
    architectures = dict.fromkeys(ARCHITECTURES.values())
    for architecture, (dtype, kind), repeats in product(architectures, KINDS.items(), (1, 10, 40)):
        x, y = a.to(dtype).repeat(repeats, 1), b.to(dtype).repeat(1, 40)
        yield x, y, bias.repeat(40), f"tc.{architecture}.{kind}/v1", torch.float32
        yield x, y, None, f"tc.{architecture}.{kind}/v1", dtype
    for architecture, (dtype, kind) in product(architectures, KINDS.items()):
        yield a.to(dtype), b.to(dtype), bias, f"tcsplit/v1(inst=tc.{architecture}.{kind}, Kc=24)", dtype


_LAUNCHES = (*KERNELS.values(), *warpgroups.KERNELS.values())
OPERATION = Operation("gemm", gemm_reference, gemm, covered, _LAUNCHES, examples)
