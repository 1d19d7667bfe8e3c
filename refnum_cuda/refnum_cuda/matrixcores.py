"""The host's side of csrc/matrixcore.cu: gemm under tc.<architecture>.bf16/v1 and tc.<architecture>.f16/v1.

A device serves the contracts of its own tensor cores, and those of others that are modelled alike.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refnum.sums.operands import product_shape
from refnum.sums.products import gemm_reference
from refnum.sums.tensorcore import INSTRUCTIONS, Instruction

from . import driver, launch, modules
from .serving import Operation

CONTRACT = re.compile(r"tc\.(\w+\.(bf16|f16))/v1")
KINDS = {torch.bfloat16: "bf16", torch.float16: "f16"}
RESULTS = (torch.float32, torch.bfloat16, torch.float16)  #: rn::Result
#: whose instructions a GPU has, by its compute capability, or by the first number of it
ARCHITECTURES = {8: "ampere", (8, 9): "ada", 9: "hopper", 10: "blackwell", 12: "blackwell"}

MOST_BLOCKS = (1 << 31) - 1
ALIGNMENT = 16  #: bytes that are copied at a time


class Operand(ctypes.Structure):
    """rn::Operand; it holds the tensor, which must live until the kernel has been launched."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("stride", c_int64))

    def __init__(self, x: Tensor) -> None:
        super().__init__(x.data_ptr(), *x.stride()[:2])
        self.tensor = x


class Matrix(ctypes.Structure):
    """rn::Matrix; it holds the tensor."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("row", c_int64), ("column", c_int64))

    def __init__(self, x: Tensor | None) -> None:
        super().__init__(*((None, 0, 0, 0) if x is None else (x.data_ptr(), *x.stride())))
        self.tensor = x


class Extent(ctypes.Structure):
    """rn::Extent."""

    _fields_ = tuple((name, c_int64) for name in "batches rows columns terms".split())


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
    if found is None or found[1] not in INSTRUCTIONS or architecture is None:
        return None
    asked, own = INSTRUCTIONS[found[1]], INSTRUCTIONS[f"{architecture}.{found[2]}"]
    return asked if replace(asked, name=own.name) == own else None


def covered(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> bool:
    """Whether the device has the instruction; results of 8 bits have no kernel."""
    if not CONTRACT.fullmatch(contract) or out_dtype not in RESULTS:
        return False
    number = launch.ordinal(a.device)
    return modules.obstacle(number) is None and served(contract, driver.capability(number)) is not None


# ---- launches ------------------------------------------------------------------------------------


class Problem(NamedTuple):
    """A product of matrices along one axis."""

    a: Tensor  #: [batches, rows, terms]
    b: Tensor  #: [batches, columns, terms]
    bias: Tensor | None
    out: Tensor

    def transposed(self) -> Problem:
        """The transposed product, which has the same bits."""
        return Problem(self.b, self.a, None if self.bias is None else self.bias.mT, self.out.mT)


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` of checked operands with at least two axes, on a GPU whose tensor cores the contract names."""
    out = torch.empty(product_shape(a, b), dtype=out_dtype, device=a.device)
    if out.numel():
        launch.launch(*prepared(problem(a, b, bias, out)))
    return out


def problem(a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor) -> Problem:
    """Matrices along one axis; copied where no stride leads from each to the next one."""
    batch = out.shape[:-2]
    addend = None if bias is None else _one_batch(bias.expand(out.shape), batch)
    return Problem(_one_batch(a, batch), _one_batch(b, batch).mT, addend, _one_batch(out, batch))


def _one_batch(x: Tensor, batch: torch.Size) -> Tensor:
    x = x.detach().resolve_neg()
    return x.expand(*batch, *x.shape[-2:]).reshape(prod(batch), *x.shape[-2:])


def prepared(given: Problem) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that writes a product."""
    few = min(given.out.shape[1:])
    tiling = next((tiling for tiling in NARROW if few <= tiling.columns), SQUARE)
    if tiling in NARROW and few < given.out.shape[-1]:
        given = given.transposed()
    (x, of_a), (y, of_b) = map(laid_out, (given.a, given.b))
    batches, rows, columns = given.out.shape
    tiles = batches * -(-rows // tiling.rows) * -(-columns // tiling.columns)
    return (
        KERNELS[x.dtype, tiling, of_a + of_b],
        (min(tiles, MOST_BLOCKS), 1, 1),
        (tiling.threads, 1, 1),
        tiling.shared,
        *(Operand(x), Operand(y), Matrix(given.bias), Matrix(given.out), RESULTS.index(given.out.dtype)),
        Extent(batches, rows, columns, x.shape[-1] if of_a == "t" else x.shape[-2]),
    )


def laid_out(x: Tensor) -> tuple[Tensor, str]:
    """An operand [batches, lines, terms] so that its last axis can be copied 16 bytes at a time, and which that is.

    Terms (t) or lines (l): transposed, then. What can neither way is copied.
    """
    for view, axis in ((x, "t"), (x.mT, "l")):
        if _aligned(view):
            return view, axis
    room = ALIGNMENT // x.itemsize
    padded = x.new_empty(*x.shape[:-1], -(-x.shape[-1] // room) * room)
    padded[..., : x.shape[-1]] = x
    return padded[..., : x.shape[-1]], "t"


def _aligned(x: Tensor) -> bool:
    steps = [x.data_ptr(), *(stride * x.itemsize for size, stride in zip(x.shape, x.stride(), strict=True) if size > 1)]
    if x.shape[-1] > 1:
        steps.pop()
    return (x.shape[-1] <= 1 or x.stride(-1) == 1) and all(step % ALIGNMENT == 0 for step in steps)


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


OPERATION = Operation("gemm", gemm_reference, gemm, covered, tuple(KERNELS.values()), examples)
