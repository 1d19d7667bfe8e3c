"""Products under chain/v1 and tree/v1, beside torch's, whose order of terms is its own.

torch.mm without TF32 is the yardstick of the arithmetic: as many float32 fused multiply-adds, in an order that nobody
promises. Few rows are a matter of memory instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ctypes import c_int, c_void_p
from functools import cache
from pathlib import Path

import harness
import torch
from harness import Row
from torch import Tensor

import refnum
from refnum.sums import chain
from refnum_cuda import launch

SQUARE = "75 % of 67 TFLOP/s"
FEW_ROWS = "2 times torch's"

#: rows, terms, columns: for few rows
LAYERS = ((1, 4096, 4096), (4, 4096, 4096), (16, 4096, 4096), (1, 4096, 11008), (16, 4096, 11008))
SMALL = ((64, 64, 64), (256, 256, 256), (128, 4096, 4096))


def _random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    random = torch.Generator("cuda").manual_seed(1)
    return torch.randn(shape, generator=random, device="cuda", dtype=torch.float32).to(dtype)


def _in_tf32(a: Tensor, b: Tensor) -> Callable[[], Tensor]:
    def run() -> Tensor:
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            return torch.mm(a, b)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = False

    return run


def _row(name: str, a: Tensor, b: Tensor, contract: str = "chain/v1", target: str = "", tf32: bool = False) -> Row:
    (m, k), n = a.shape, b.shape[1]
    kind = str(a.dtype).removeprefix("torch.")
    return Row(
        f"{contract} {kind} {m} x {k} x {n}{name}",
        ours=lambda: refnum.gemm(a, b, contract=contract),
        beside={"torch.mm": lambda: torch.mm(a, b)} | ({"torch.mm in TF32": _in_tf32(a, b)} if tf32 else {}),
        operations=2 * m * k * n,
        bytes=(m * k + k * n + m * n) * a.itemsize,
        target=target,
    )


def rows() -> Iterator[Row]:
    """Squares of every dtype and layout, layers of few rows, and small ones."""
    for size in (4096, 8192):
        a, b = _random(size, size), _random(size, size)
        yield _row("", a, b, target=SQUARE, tf32=True)
    a, b = a[:4096, :4096].contiguous(), b[:4096, :4096].contiguous()
    yield _row(", b transposed", a, b.mT, target=SQUARE)
    yield _row("", a, b, contract="tree/v1(Kc=256)", target=SQUARE)
    yield _row("", a.bfloat16(), b.bfloat16(), target=SQUARE)
    for m, k, n in LAYERS:
        yield _row(", b transposed", _random(m, k), _random(n, k).mT, target=FEW_ROWS)
    for dtype in (torch.float32, torch.bfloat16):
        yield _row("", _random(1, 4096, dtype=dtype), _random(4096, 4096, dtype=dtype), target=FEW_ROWS)
    for m in (1, 16):
        a, b = _random(m, 4096, dtype=torch.bfloat16), _random(4096, 4096, dtype=torch.bfloat16).mT
        yield _row(", b transposed", a, b, target=FEW_ROWS)
    for m, k, n in SMALL:
        yield _row("", _random(m, k), _random(k, n))
    yield _of_registers_alone()
    yield _beside_the_reference()


def _of_registers_alone() -> Row:
    """What no product can pass: multiply-adds that wait for nothing, at the clock that the GPU keeps under them."""
    blocks, threads, rounds = 2 * 132, 256, 20_000
    out = torch.empty(blocks * threads, device="cuda", dtype=torch.float32)

    @cache
    def kernel() -> launch.Kernel:
        source = Path(__file__).with_suffix(".cu")
        return harness.kernel(source, "rn_multiply_adds", (c_void_p, c_int))

    return Row(
        "multiply-adds of registers alone",
        ours=lambda: harness.launch(kernel(), (blocks, 1, 1), (threads, 1, 1), 0, out, rounds),
        operations=2 * 64 * blocks * threads * rounds,
    )


def _beside_the_reference() -> Row:
    """A small one beside the definition in torch's operations, and beside what torch.compile makes of its steps."""
    a, b = _random(256, 64), _random(64, 256)
    columns, lines = ([x.contiguous() for x in side.unbind()] for side in (a.mT[..., None], b[:, None, :]))
    step = torch.compile(chain.fma_by_definition, dynamic=False)

    def by(fma: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            sums = torch.zeros(256, 256, device="cuda", dtype=torch.float32)
            for column, line in zip(columns, lines, strict=True):
                sums = fma(column, line, sums)
            return sums

        return run

    return Row(
        "chain/v1 float32 256 x 64 x 256",
        ours=lambda: refnum.gemm(a, b, contract="chain/v1"),
        beside={"the reference": by(chain.fma_by_definition), "torch.compile of it": by(step)},
        operations=2 * 256 * 64 * 256,
    )
