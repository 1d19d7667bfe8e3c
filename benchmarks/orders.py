"""Orders of float32, and products of integers, against torch.mm of the same operands in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from harness import Figure, medians, must_equal, run
from memory import peak_beyond_result
from torch import Tensor

from refnum.sums.chain import chain_mm
from refnum.sums.integers import int_mm
from refnum.sums.replays import replay_mm
from refnum.sums.tree import tree_mm

CORNER = 5  #: rows and columns whose bits are compared with the definition

Multiply = Callable[..., Tensor]


@dataclass(frozen=True)
class Row:
    """A product [M, K] by [K, N] in an order, and what was asked of it: at most so many torch.mm."""

    order: str
    multiply: Multiply
    shape: tuple[int, int, int]  #: M, N, K
    at_most: float | None = None
    goal: float | None = None
    arithmetic: str | None = None
    data: str = "N(0,1)"


CUBE, LARGE = (256, 256, 256), (1024, 1024, 1024)
ROWS = (
    Row("chain/v1", chain_mm, CUBE, 15, 6),
    Row("chain/v1", chain_mm, CUBE, 2000, 300, "float64"),
    Row("chain/v1", chain_mm, CUBE, None, None, "float64", "bfloat16 N(0,1)"),
    Row("chain/v1", chain_mm, (64, 64, 64), None, None, "definition"),
    Row("chain/v1", chain_mm, LARGE),
    Row("tree/v1(Kc=256)", tree_mm, LARGE),
    Row("tree/v1(Kc=256)", tree_mm, (8, 64, 8192)),
    Row("sgbi.slab8/0.1.1", partial(replay_mm, order="slab8"), (16, 768, 768)),
    Row("sgbi.splitk32/0.1.1", partial(replay_mm, order="splitk32"), (128, 768, 768)),
    Row("sgbi.splitk64/0.1.1", partial(replay_mm, order="splitk64"), (2048, 512, 384)),
    Row("sgbi.lane32/0.1.1", partial(replay_mm, order="lane32"), (1024, 1, 1024)),
    Row("sgbi.splitm_f64(c=512)/0.1.1", partial(replay_mm, order="splitm_f64", chunk=512), (768, 768, 4096)),
)


def _operands(row: Row) -> tuple[Tensor, Tensor]:
    m, n, k = row.shape
    generator = torch.Generator().manual_seed(k)
    a, b = torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)
    if row.data.startswith("bfloat16"):
        return a.bfloat16().float(), b.bfloat16().float()
    return a, b


def _figure(row: Row) -> Figure:
    a, b = _operands(row)
    want = row.multiply(a[:CORNER], b[:, :CORNER], None, torch.float32, arithmetic="definition")
    product = partial(row.multiply, a, b, None, torch.float32, arithmetic=row.arithmetic)
    must_equal(row.order, product()[:CORNER, :CORNER], want)
    times = medians({"mm": lambda: a @ b, "order": product})
    return Figure(row.order, _about(row), "torch.mm", times["order"] / times["mm"], row.at_most, row.goal)


def _about(row: Row) -> str:
    m, n, k = row.shape
    size = f"{m}^3" if m == n == k else f"{m} x {n} x {k}"
    return f"{size}, {row.data}, {row.arithmetic or 'the fastest'}"


def _integers() -> Iterator[Figure]:
    generator = torch.Generator().manual_seed(0)
    for left, right in ((torch.int8, torch.int8), (torch.uint8, torch.int8)):
        a, b = (torch.randint(0, 256, (1024, 1024), generator=generator).to(dtype) for dtype in (left, right))
        must_equal("int/v1", int_mm(a[:CORNER], b, None), a[:CORNER].to(torch.int32) @ b.to(torch.int32))
        x, y = a.to(torch.float32), b.to(torch.float32)
        times = medians({"mm": partial(torch.mm, x, y), "integers": partial(int_mm, a, b, None)})
        names = " by ".join(str(dtype).removeprefix("torch.") for dtype in (left, right))
        yield Figure("int/v1", f"1024^3, {names}", "torch.mm of float32", times["integers"] / times["mm"])


def _memory() -> Iterator[Figure]:
    for row in ROWS:
        if row.arithmetic is None and row.shape != CUBE:
            product = partial(row.multiply, *_operands(row), None, torch.float32)
            yield Figure(f"{row.order}, peak extra memory", _about(row), "MB", peak_beyond_result(product))


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    yield from map(_figure, ROWS)
    yield from _integers()
    yield from _memory()


if __name__ == "__main__":
    run("orders", measure)
