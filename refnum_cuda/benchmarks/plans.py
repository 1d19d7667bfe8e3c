"""The tilings of chain/v1 beside each other: what `refnum_cuda.ordered.planned` chooses should be the fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from harness import Row
from refnum_cuda.ordered import MIDDLE, SLIM, SQUARE, Tiling
from torch import Tensor

from refnum_cuda import launch, ordered, serving

BROAD = replace(SQUARE, name="broad", columns=256, threads=256, blocks=1)
SHORT = replace(SQUARE, name="short", terms=16)
LONG = replace(SLIM, name="long", terms=128, ahead=2)

F32, BF16 = torch.float32, torch.bfloat16
#: rows, terms, columns; dtype; whether b is transposed; tilings
CASES = (
    ((4096, 4096, 4096), F32, False, (SQUARE, BROAD, SHORT)),
    ((4096, 4096, 4096), F32, True, (SQUARE, BROAD, SHORT)),
    ((1024, 1024, 1024), F32, False, (SQUARE, MIDDLE, SLIM)),
    ((512, 512, 512), F32, False, (MIDDLE, SLIM)),
    ((128, 4096, 4096), F32, True, (SQUARE, MIDDLE, SLIM)),
    ((64, 4096, 4096), F32, True, (MIDDLE, SLIM, LONG)),
    ((16, 4096, 4096), F32, True, (MIDDLE, SLIM, LONG)),
    ((1, 4096, 4096), F32, True, (SLIM, LONG)),
    ((1, 4096, 4096), F32, False, (SLIM, LONG)),
    ((1, 4096, 11008), F32, True, (SLIM, LONG)),
    ((1, 4096, 4096), BF16, True, (SLIM, LONG)),
    ((16, 4096, 4096), BF16, True, (SLIM, LONG)),
)


def _by(tiling: Tiling, a: Tensor, b: Tensor) -> Callable[[], Tensor]:
    name = f"rn_chain_{str(a.dtype).removeprefix('torch.')}_{tiling.name}"
    ordered.KERNELS["chain", a.dtype, tiling] = launch.Kernel("ordered", name, ordered.PARAMETERS)

    def run() -> Tensor:
        out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype, device="cuda")
        launch.launch(*ordered.prepared(a, b, None, out, "chain/v1", (tiling, False), 132))
        return out

    return run


def rows() -> Iterator[Row]:
    """Each case by its first tiling, beside the others."""
    assert serving.obstacle(torch.device("cuda", torch.cuda.current_device())) is None  # it loads the driver
    for (m, k, n), dtype, transposed, (first, *others) in CASES:
        a = torch.randn(m, k, device="cuda", dtype=torch.float32).to(dtype)
        b = torch.randn(n, k, device="cuda", dtype=torch.float32).to(dtype).mT
        b = b if transposed else b.contiguous()
        yield Row(
            f"{first.name} {dtype} {m} x {k} x {n}{', b transposed' * transposed}",
            ours=_by(first, a, b),
            beside={tiling.name: _by(tiling, a, b) for tiling in others},
            operations=2 * m * k * n,
            bytes=(m * k + k * n + m * n) * a.itemsize,
        )
