"""posit_mm where every product is rounded, beside a kernel that does so by CuPosit's operations.

The anchor has the tiles and copies of our kernels and the bits of mode cuposit without padding; its rounding is integer
arithmetic, 11.0 instructions of the integer pipe a product, where CuPosit's loop has 11.1 (sm_90). What packs operands
is in our times, not in the anchor's. `plain` adds products that are not rounded: what tiles and copies leave to win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import harness
import torch
from harness import Row
from torch import Tensor

import refnum
from refnum import Posit
from refnum_cuda import launch, parameters, posits

SOURCE = Path(__file__).parent / "anchors.cu"
PARAMETERS = (posits.Panels, posits.Panels, posits.Matrix, posits.Size, parameters.Posit)
P16 = Posit(16)


def _random(m: int, k: int, n: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator("cuda").manual_seed(1)
    return tuple(torch.randn(shape, generator=random, device="cuda", dtype=torch.float32) for shape in ((m, k), (k, n)))


def _yardstick(name: str, a: Tensor, b: Tensor, fmt: Posit) -> Callable[[], Tensor]:
    """A kernel of anchors.cu; its first call compiles it, packs and clips the operands, and compares the bits."""

    @lru_cache(maxsize=1)
    def made() -> Callable[[], Tensor]:
        kernel = harness.kernel(SOURCE, name, PARAMETERS)
        tiling, out = posits.SQUARE, torch.empty(a.shape[0], b.shape[1], dtype=torch.float32, device="cuda")
        x, y = (
            posits.Operand(side, posits.Taken.CLIPPED).packed(torch.Size(), tiling.rows, fmt, launch.launch)
            for side in (a, b.mT)
        )
        size, matrix = posits.Size(1, *out.shape, a.shape[1]), posits.Matrix(out[None])
        grid = tiling.tiles(1, *out.shape), 1, 1
        arguments = x, y, matrix, size, parameters.posit(fmt)

        def run() -> Tensor:
            harness.launch(kernel, grid, (posits.THREADS, 1, 1), tiling.shared, *arguments)
            return out

        if name == "rn_anchor" and not torch.equal(run(), refnum.posit_mm(a, b, fmt, mode="cuposit", k_pad=None)):
            raise ValueError("the anchor has other bits than mode cuposit")
        return run

    return lambda: made()()


def _row(mode: str, fmt: Posit, m: int, k: int, n: int, target: str = "", *yardsticks: str) -> Row:
    a, b = _random(m, k, n)
    if fmt.n > 28:
        a, b = a.double(), b.double()
    scaling = {"k_pad": None} if mode == "cuposit" else {}
    beside = {name.removeprefix("rn_"): _yardstick(name, a, b, fmt) for name in yardsticks}
    return Row(
        f"{mode} {fmt} {m} x {k} x {n}",
        ours=lambda: refnum.posit_mm(a, b, fmt, mode=mode, **scaling),
        beside=beside | {"torch.mm": lambda: torch.mm(a, b)},
        operations=2 * m * k * n,
        bytes=4 * (m * k + k * n + m * n),
        target=target,
    )


def rows() -> Iterator[Row]:
    """Squares in every mode, formats for which tables serve now and then or never, and few rows."""
    square = 4096, 4096, 4096
    yield _row("products", P16, *square, "3.2 TOPS, then 2 times the anchor's", "rn_anchor", "rn_plain")
    yield _row("cuposit", P16, *square, "2 times the anchor's", "rn_anchor")
    yield _row("posit", P16, *square, "1.7 TOPS")
    yield _row("products", Posit(8), *square, "", "rn_anchor")
    yield _row("posit", Posit(8), 2048, 2048, 2048)
    yield _row("products", Posit(24), 2048, 2048, 2048)
    yield _row("products", Posit(28), 1024, 1024, 1024)
    yield _row("posit", Posit(32), 1024, 1024, 1024)
    yield _row("products", P16, 16, 4096, 4096)
    yield _row("products", P16, 256, 256, 256)
