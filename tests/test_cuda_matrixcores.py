"""The kernels of tc.*/v1: on the CPU over refnum's model of tensor cores, in every order of threads, and on a GPU."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from cuda import bridge
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from float_sums import DATA, operands
from torch import Tensor

import refnum
from refnum.sums.tensorcore import INSTRUCTIONS
from refnum.testing import assert_bit_equal
from refnum_cuda import matrixcores

HOPPER = {dtype: f"tc.hopper.{kind}/v1" for dtype, kind in matrixcores.KINDS.items()}
EDGES = (1, 15, 16, 17, 64, 65, 128, 130)
TERMS = (0, 1, 7, 8, 9, 15, 16, 17, 33, 64, 127, 129, 300)


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels.of_file("matrixcore.cu", *(kernel.name for kernel in matrixcores.KERNELS.values()))


def gemm(
    kernels: Kernels,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
    *,
    choice: Choice = CHOICES[0],
    blocks: int = 2,
) -> Tensor:
    """refnum.gemm by the kernels: fewer blocks than tiles, so that a block makes several."""
    shape = matrixcores.product_shape(a, b)
    guarded = torch.full((shape.numel() + 64,), -7.0, dtype=dtype or a.dtype)
    out = guarded[32:-32].view(shape)
    kernel, grid, block, shared, *arguments = matrixcores.prepared(matrixcores.problem(a, b, bias, out))
    kernels.run(kernel.name, min(grid[0], blocks), block, *arguments, shared=shared, choice=choice)
    assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
    return out


def test_smoke(kernels: Kernels) -> None:
    for m, k, n in ((5, 40, 9), (20, 70, 40), (130, 33, 140)):
        for dtype in HOPPER:
            a, b, bias = operands("normal", m, k, n)
            x, y = a.to(dtype), b.to(dtype)
            assert_bit_equal(
                gemm(kernels, x, y, bias, torch.float32),
                refnum.gemm(x, y, bias, contract=HOPPER[dtype], out_dtype=torch.float32),
            )
