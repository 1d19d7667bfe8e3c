"""The tilings of chain/v1 beside each other: what `refnum_cuda.ordered.planned` chooses should be the fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from harness import Row
from refnum_cuda.ordered import MIDDLE, SLIM, SQUARE, Tiling
from torch import Tensor

from refnum_cuda import launch, ordered, serving

#: rows, terms, columns; whether b is transposed; tilings
CASES = (
    ((2048, 2048, 2048), False, (SQUARE, MIDDLE)),
    ((1024, 1024, 1024), False, (SQUARE, MIDDLE, SLIM)),
    ((512, 512, 512), False, (MIDDLE, SLIM)),
    ((128, 4096, 4096), True, (SQUARE, MIDDLE, SLIM)),
    ((64, 4096, 4096), True, (MIDDLE, SLIM)),
    ((16, 4096, 4096), True, (MIDDLE, SLIM)),
)


def _by(tiling: Tiling, a: Tensor, b: Tensor, processors: int) -> Callable[[], Tensor]:
    def run() -> Tensor:
        out = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype, device="cuda")
        launch.launch(*ordered.prepared(a, b, None, out, "chain/v1", (tiling, False), processors))
        return out

    return run


def rows() -> Iterator[Row]:
    """Each case by its first tiling, beside the others."""
    assert serving.obstacle(torch.device("cuda", torch.cuda.current_device())) is None  # it loads the driver
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    for (m, k, n), transposed, (first, *others) in CASES:
        a = torch.randn(m, k, device="cuda", dtype=torch.float32)
        b = torch.randn(n, k, device="cuda", dtype=torch.float32).mT
        b = b if transposed else b.contiguous()
        yield Row(
            f"{first.name} float32 {m} x {k} x {n}{', b transposed' * transposed}",
            ours=_by(first, a, b, processors),
            beside={tiling.name: _by(tiling, a, b, processors) for tiling in others},
            operations=2 * m * k * n,
            bytes=(m * k + k * n + m * n) * a.itemsize,
        )
