"""Matrix products of posits: every mode of posit_mm against torch.mm in float32, and quires against SoftPosit's C loop.

The C loop is timed on some of the results and scaled to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from harness import Figure, medians, must_equal, run
from memory import peak_beyond_result
from refnum_conformance.peers import softposit
from torch import Tensor

import refnum
from refnum import Posit, posit8, posit16, posit32

DOTS = 64  #: results of the C loop that are timed
POSIT16_ES1 = Posit(16, 1)


@dataclass(frozen=True)
class Row:
    """A quire product of square matrices, and what was asked of it: at least so many C loops, at most so many mm."""

    fmt: Posit
    size: int
    faster: tuple[float | None, float | None] = (None, None)  #: than the C loop, times: target and goal
    in_mm: tuple[float | None, float | None] = (None, None)  #: in torch.mm: target and goal
    dtype: torch.dtype = torch.float32
    data: str = "N(0,1)"
    threads: int = 1


ROWS = (
    Row(posit8, 1024, (320, None), (5, 3)),
    Row(POSIT16_ES1, 1024, (240, 600), (9, 4)),
    Row(posit16, 1024, (300, 600), (9, 4)),
    Row(posit32, 1024, (80, 200), (34, 12), torch.float64),
    Row(posit16, 256, (115, 400)),
    Row(posit16, 64, (12, 60)),
    # Recorded, with no target
    Row(posit16, 1024, dtype=torch.bfloat16),
    Row(posit16, 1024, dtype=torch.float64),
    Row(posit16, 1024, threads=2),
    Row(posit32, 1024, dtype=torch.float64, threads=2),
    Row(posit16, 1024, data="full exponent range"),
    Row(posit32, 256, dtype=torch.float64, data="full exponent range"),
)

# mode, half zeros -> target and goal in torch.mm, at 256^3 in posit16
MODES = {
    ("cuposit", False): (100.0, 40.0),
    ("cuposit", True): (130.0, 40.0),
    ("products", False): (170.0, 40.0),
    ("products", True): (None, None),
    ("posit", False): (None, None),
}


def _matrices(size: int, dtype: torch.dtype, data: str, fmt: Posit) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(size)
    sides = [torch.randn(size, size, generator=generator, dtype=torch.float64) for _ in range(2)]
    if data == "full exponent range":
        reach = fmt.max_scale
        sides = [x * torch.randint(-reach, reach + 1, x.shape, generator=generator).double().exp2() for x in sides]
    if data == "half zeros":
        sides = [x * torch.randint(0, 2, x.shape, generator=generator) for x in sides]
    a, b = (x.to(dtype) for x in sides)
    return a, b


def _some_dots(a: Tensor, b: Tensor, fmt: Posit, result: Tensor) -> Callable[[], Tensor]:
    """The C loop for the first results, after a comparison of bits."""
    side = round(DOTS**0.5)
    x, y = (refnum.encode(m, fmt).to(torch.int32) for m in (a[:side], b[:, :side].T))
    x, y = x.repeat_interleave(side, 0).contiguous(), y.repeat(side, 1).contiguous()
    loop = partial(softposit.quire_dot, x, y, fmt.n, fmt.es)
    known = softposit.excluded("quire_dot", fmt.n, fmt.es, x, y)
    got = refnum.encode(result[:side, :side], fmt).to(torch.int64).reshape(-1)
    must_equal(f"quire {fmt}", got.masked_fill(known, 0), loop().to(torch.int64).masked_fill(known, 0))
    return loop


def _quire(row: Row) -> Iterator[Figure]:
    a, b = _matrices(row.size, row.dtype, row.data, row.fmt)
    x, y = a.to(torch.float32), b.to(torch.float32)
    product = partial(refnum.posit_mm, a, b, row.fmt, out_dtype=torch.promote_types(row.dtype, torch.float32))
    torch.set_num_threads(row.threads)
    loop = _some_dots(a, b, row.fmt, product())
    times = medians({"mm": lambda: x @ y, "loop": loop, "quire": product})
    torch.set_num_threads(1)
    where = f"{row.size}^3, {str(row.dtype).removeprefix('torch.')}, {row.data}" + ", 2 threads" * (row.threads - 1)
    in_loops = times["loop"] * row.size**2 / DOTS / times["quire"]
    yield Figure(f"quire {row.fmt}", where, "times faster than SoftPosit C", in_loops, *row.faster, at_least=True)
    yield Figure(f"quire {row.fmt}", where, "torch.mm", times["quire"] / times["mm"], *row.in_mm)


def _mode(mode: str, zeros: bool, asked: tuple[float | None, float | None]) -> Iterator[Figure]:
    data = "half zeros" if zeros else "N(0,1)"
    a, b = _matrices(256, torch.float32, data, posit16)
    times = medians({"mm": lambda: a @ b, mode: lambda: refnum.posit_mm(a, b, posit16, mode=mode)})
    yield Figure(f"{mode} posit16", f"256^3, float32, {data}", "torch.mm", times[mode] / times["mm"], *asked)


def _memory() -> Iterator[Figure]:
    for fmt, dtype in ((posit8, torch.float32), (posit16, torch.float32), (posit32, torch.float64)):
        a, b = _matrices(1024, dtype, "N(0,1)", fmt)
        held = 3 * a.numel() * a.element_size() / 1e6
        extra = peak_beyond_result(lambda a=a, b=b, fmt=fmt: refnum.posit_mm(a, b, fmt))  # type: ignore[misc]
        yield Figure(f"quire {fmt}, peak extra memory", f"1024^3, {dtype}", "operands + result", extra / held, 4, 2)


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    for row in ROWS:
        yield from _quire(row)
    for (mode, zeros), asked in MODES.items():
        yield from _mode(mode, zeros, asked)
    yield from _memory()


if __name__ == "__main__":
    run("products", measure, needs_loops=True)
