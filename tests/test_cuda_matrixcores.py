"""The kernels of tc.*/v1: on the CPU over refnum's model of tensor cores, in every order of threads, and on a GPU."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

import pytest
import torch
from cuda import bridge
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from float_sums import DATA, operands
from torch import Tensor

import refnum
from refnum.sums.tensorcore import INSTRUCTIONS
from refnum.testing import assert_bit_equal
from refnum_cuda import driver, matrices, matrixcores, warpgroups

HOPPER = {dtype: f"tc.hopper.{kind}/v1" for dtype, kind in matrixcores.KINDS.items()}


class Simulated:
    def __init__(self) -> None:
        self.by_stem = {
            stem: Kernels.of_file(f"{stem}.cu", *(kernel.name for kernel in kernels.values()))
            for stem, kernels in (("matrixcore", matrixcores.KERNELS), ("wgmma", warpgroups.KERNELS))
        }


def packed(data: int, sizes: Sequence[int], strides: Sequence[int], box: Sequence[int]) -> bytes:
    """A tensor map as hopper.h reads it."""
    return struct.pack("@Q3Q2Q3I", data, *sizes, *strides, *box).ljust(driver.TENSOR_MAP, b"\0")


@pytest.fixture(scope="module")
def kernels() -> Iterator[Simulated]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "tensor_map", packed)
        yield Simulated()


def gemm(
    kernels: Simulated,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
    *,
    target: str = "sm_80",
    choice: Choice = CHOICES[0],
    blocks: int = 2,
) -> Tensor:
    """refnum.gemm by the kernels: fewer blocks than tiles, so that a block makes several."""
    shape = matrixcores.product_shape(a, b)
    guarded = torch.full((shape.numel() + 64,), -7.0, dtype=dtype or a.dtype)
    out = guarded[32:-32].view(shape)
    kernel, grid, block, shared, *arguments = matrixcores.prepared(matrices.problem(a, b, bias, out), target, blocks)
    kernels.by_stem[kernel.stem].run(kernel.name, min(grid[0], blocks), block, *arguments, shared=shared, choice=choice)
    assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
    return out


def test_smoke(kernels: Kernels) -> None:
    for m, k, n in ((5, 40, 9), (24, 72, 40), (136, 40, 144)):
        for dtype in HOPPER:
            a, b, bias = operands("normal", m, k, n)
            x, y = a.to(dtype), b.to(dtype)
            assert_bit_equal(
                gemm(kernels, x, y, bias, torch.float32),
                refnum.gemm(x, y, bias, contract=HOPPER[dtype], out_dtype=torch.float32),
            )


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("layout", ["tt", "tl", "lt", "ll"])
def test_smoke90(kernels: Kernels, layout: str, late: bool) -> None:
    for m, k, n in ((136, 40, 144), (72, 136, 304)):
        for dtype in HOPPER:
            a, b, bias = operands("normal", m, k, n)
            x, y = a.to(dtype), b.to(dtype)
            if layout[0] == "l":
                x = x.mT.contiguous().mT
            if layout[1] == "t":
                y = y.mT.contiguous().mT
            assert_bit_equal(
                gemm(kernels, x, y, bias, torch.float32, target="sm_90a", choice=Choice(2, late)),
                refnum.gemm(x, y, bias, contract=HOPPER[dtype], out_dtype=torch.float32),
            )
            assert matrices.problem(x, y, None, torch.empty(m, n)).layout == layout
