"""The host's side of csrc/ordered.cu: gemm under chain/v1 and tree/v1(Kc)."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from ctypes import c_int32, c_int64, c_void_p
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import torch
from torch import Tensor

from refnum.sums.operands import product_shape

from . import launch
from .matrices import RESULTS, Matrix, one_batch

CONTRACT = re.compile(r"chain/v1|tree/v1\(Kc=(\d+)\)")
MOST_BLOCKS = (1 << 31) - 1
UNIT = 16  #: bytes that are copied at a time, where they lie together
REUSE = 1024  #: lines of the other operand, from which on it pays to lay one out anew


class Operand(ctypes.Structure):
    """rn::Operand: matrices of lines, rows of a or columns of b; it holds the tensor until the kernel is launched."""

    _fields_ = (
        *(("data", c_void_p), ("batch", c_int64), ("line", c_int64), ("term", c_int64)),
        *(("along_terms", c_int32), ("wide", c_int32)),
    )

    def __init__(self, x: Tensor, along_terms: bool, wide: bool) -> None:
        super().__init__(x.data_ptr(), *x.stride(), along_terms, wide)
        self.tensor = x

    @classmethod
    def of(cls, x: Tensor, chunk: int) -> Operand:
        """Matrices as they are."""
        along_terms = x.stride(2) == 1 or (x.stride(1) != 1 and x.stride(2) < x.stride(1))
        return cls(x, along_terms, _comes_in_units(x, along_terms, chunk))

    @classmethod
    def laid_out(cls, x: Tensor) -> Operand:
        """Matrices of float32, copied so that the lines of a term are side by side, in whole units."""
        once = x[:1] if x.stride(0) == 0 else x
        batches, lines, terms = once.shape
        place = torch.empty((batches, terms, -(-lines // 4) * 4), dtype=torch.float32, device=x.device)
        return cls(place[..., :lines].mT.copy_(once).expand(x.shape), along_terms=False, wide=True)


def _comes_in_units(x: Tensor, along_terms: bool, chunk: int) -> bool:
    """Whether neighbours lie together in aligned units, each inside the matrix and its chunk or beyond it as one."""
    unit = UNIT // x.element_size()
    near, far = (2, 1) if along_terms else (1, 2)
    aligned = x.data_ptr() % UNIT == 0 and all(x.stride(i) % unit == 0 for i in (0, far) if x.shape[i] > 1)
    whole = x.shape[near] % unit == 0 and (chunk % unit == 0 or not along_terms)
    return x.stride(near) == 1 and aligned and whole


class Size(ctypes.Structure):
    """rn::Size."""

    _fields_ = tuple((name, c_int64) for name in "batches rows columns terms chunk".split())


class Workspace(ctypes.Structure):
    """rn::Workspace; it holds the tensor."""

    _fields_ = (("data", c_void_p), ("levels", c_int64))

    def __init__(self, x: Tensor, levels: int) -> None:
        super().__init__(x.data_ptr(), levels)
        self.tensor = x


PARAMETERS = (Operand, Operand, Matrix, Matrix, c_int32, Size, Workspace)


# ---- tilings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tiling:
    """How one block makes a tile, as in ordered.cu."""

    name: str
    rows: int
    columns: int
    threads: int
    terms: int  #: at a time
    by_line: bool  #: terms of a line lie side by side, else lines of a term
    ahead: int  #: how many times before they are added: of float32, and as many bytes of others
    blocks: int  #: of a multiprocessor, at a time
    cycles: int  #: about, for a term of a tile on a multiprocessor

    def shared(self, dtype: torch.dtype) -> int:
        """Bytes of shared memory for operands of a dtype."""
        return self._panel(self.rows, dtype.itemsize) + self._panel(self.columns, dtype.itemsize)

    def _panel(self, lines: int, size: int) -> int:
        """rn::Panel::BYTES: tiles that are copied into, or what lands on its way to two of them."""
        tile = 4 * (lines * (self.terms + 4) if self.by_line else self.terms * (lines + 4))
        ahead = self.ahead * 4 // size
        return max((ahead + 1) * tile * (size == 4), ahead * lines * self.terms * size + 2 * tile)

    def tiles(self, batches: int, rows: int, columns: int) -> int:
        """How many make the matrices."""
        return batches * -(-rows // self.rows) * -(-columns // self.columns)


SQUARE = Tiling("square", 128, 128, 128, 32, by_line=False, ahead=1, blocks=2, cycles=150)
MIDDLE = Tiling("middle", 64, 64, 128, 32, by_line=False, ahead=2, blocks=3, cycles=60)
SLIM = Tiling("slim", 16, 32, 256, 64, by_line=True, ahead=5, blocks=2, cycles=13)
TILINGS = (SQUARE, MIDDLE, SLIM)

#: by order, dtype of the operands and tiling
KERNELS = {
    (order, dtype, tiling): launch.Kernel(
        "ordered", f"rn_{order}_{str(dtype).removeprefix('torch.')}_{tiling.name}", PARAMETERS
    )
    for order in ("chain", "tree")
    for dtype in RESULTS
    for tiling in TILINGS
}

Plan = tuple[Tiling, bool]  #: and whether to make the transposed product, which has the same bits


def planned(batches: int, rows: int, columns: int, processors: int) -> Plan:
    """What takes the least time: a multiprocessor has so many tiles, one after the other."""

    def cycles(plan: Plan) -> int:
        tiling, transposed = plan
        sides = (columns, rows) if transposed else (rows, columns)
        return -(-tiling.tiles(batches, *sides) // processors) * tiling.cycles

    return min(product(TILINGS, (False, True)), key=cycles)


# ---- launches ------------------------------------------------------------------------------------


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` of checked operands with at least two axes, on a GPU."""
    out = torch.empty(product_shape(a, b), dtype=out_dtype, device=a.device)
    if out.numel():
        processors = torch.cuda.get_device_properties(a.device).multi_processor_count
        plan = planned(prod(out.shape[:-2]), out.shape[-2], out.shape[-1], processors)
        launch.launch(*prepared(a, b, bias, out, contract, plan, processors))
    return out


def prepared(
    a: Tensor, b: Tensor, bias: Tensor | None, out: Tensor, contract: str, plan: Plan, processors: int
) -> tuple[Any, ...]:
    """Kernel, grid, block, shared memory and arguments of the launch that writes the product to ``out``.

    Trees get no more blocks than run at a time, each of which makes tile after tile, and memory for the sums that they
    hold. Large operands may be copied, as float32.
    """
    batch = out.shape[:-2]
    x, y, to = (one_batch(side, batch) for side in (a, b.mT, out))  # lines of terms
    z = None if bias is None else one_batch(bias.expand(out.shape), batch)
    tiling, transposed = plan
    if transposed:
        x, y, to, z = y, x, to.mT, None if z is None else z.mT
    batches, rows, columns = to.shape
    terms = x.shape[-1]

    order, chunk = _order(contract, terms)
    tiles = tiling.tiles(batches, rows, columns)
    blocks = min(tiles, MOST_BLOCKS if order == "chain" else tiling.blocks * processors)
    # Of so many leaves a counter in base 2 holds no more sums than the last one's number has bits.
    levels = (-(-terms // chunk) - 1).bit_length() if order == "tree" and terms else 0
    held = torch.empty(blocks * levels * tiling.rows * tiling.columns, dtype=torch.float32, device=out.device)

    dtype, left, right = _operands(x, y, tiling, chunk)
    return (
        KERNELS[order, dtype, tiling],
        (blocks, 1, 1),
        (tiling.threads, 1, 1),
        tiling.shared(dtype),
        *(left, right, Matrix(z), Matrix(to), RESULTS.index(out.dtype)),
        *(Size(batches, rows, columns, terms, chunk), Workspace(held, levels)),
    )


def _operands(x: Tensor, y: Tensor, tiling: Tiling, chunk: int) -> tuple[torch.dtype, Operand, Operand]:
    """What the kernel reads: where each element is used often, lines side by side, which spares it to turn them."""
    anew = [not tiling.by_line and other.shape[1] >= REUSE for other in (y, x)]
    if x.dtype != torch.float32:
        anew = [all(anew)] * 2  # both are widened, or none
    sides = [_operand(side, chunk, lay_out) for side, lay_out in zip((x, y), anew, strict=True)]
    return sides[0].tensor.dtype, sides[0], sides[1]


def _operand(x: Tensor, chunk: int, lay_out: bool) -> Operand:
    found = Operand.of(x, chunk)
    straight = x.dtype == torch.float32 and found.wide and not found.along_terms
    return Operand.laid_out(x) if lay_out and not straight else found


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
    for lines in (150, 275):  # so many that the larger tilings make them
        yield a.repeat(lines, 1)[:, :40], b.repeat(1, lines)[:40], None, "chain/v1", torch.float32
