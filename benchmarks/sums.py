"""Sums of products of floats: contract exact/v1 against torch.mm of the same operands in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from harness import Figure, medians, must_equal, run
from memory import peak_beyond_result
from torch import Tensor

from refnum.fast.vectors import Vectors
from refnum.sums.exact import exact_mm, exact_products, mm_by_words

BLOCK = 32
CORNER = 12  #: rows and columns whose bits are compared with the definition


@dataclass(frozen=True)
class Row:
    """A product [M, K] by [K, N], and what was asked of it: at most so many torch.mm."""

    data: str
    shape: tuple[int, int, int]  #: M, N, K
    dtype: torch.dtype = torch.float32
    at_most: float | None = None
    goal: float | None = None
    bias: bool = False
    threads: int = 1


EXACT = (
    Row("MXFP4", (1024, 1024, 1024), torch.bfloat16, 3),
    Row("MXFP4", (256, 3072, 1536), torch.bfloat16, 1.5),
    Row("MXFP4, bounds given", (1024, 1024, 1024), torch.bfloat16, 3),
    Row("MXFP4, bounds given", (256, 3072, 1536), torch.bfloat16, 1.5),
    Row("N(0,1)", (256, 256, 256)),
    Row("N(0,1)", (1024, 1024, 1024), torch.float32, 10, 8),
    Row("N(0,1)", (1024, 1024, 1024), torch.bfloat16, 10, 8),
    # Recorded, with no target
    Row("MXFP4", (256, 256, 256), torch.bfloat16),
    Row("MXFP4", (1024, 1024, 1024), bias=True),
    Row("MXFP4", (1024, 1024, 1024), torch.bfloat16, threads=2),
    Row("N(0,1)", (1024, 1024, 1024), bias=True),
    Row("N(0,1)", (1024, 1024, 1024), threads=2),
    Row("bfloat16 N(0,1)", (1024, 1024, 1024), torch.float32, 20, 5),
    Row("exponents +-20", (1024, 1024, 1024)),
    Row("cancelling", (1024, 1024, 1024)),
)


def _mxfp4(rows: int, terms: int, generator: torch.Generator) -> Vectors:
    """N(0,1) in blocks of 32 with a power of 2 each, of elements 0, 0.5, 1, 1.5, 2, 3, 4, 6; and what bounds them."""
    x = torch.randn(rows, terms // BLOCK, BLOCK, generator=generator)
    scale = x.abs().amax(-1, keepdim=True).frexp().exponent - 3
    elements = x.ldexp(-scale)
    step = elements.abs().frexp().exponent.clamp(min=1) - 2  # log2 of the distance of elements
    values = elements.ldexp(-step).round_().ldexp(step).clamp(-6, 6).ldexp(scale).view(rows, terms)
    scales = scale.squeeze(-1).to(torch.int64)
    lengths = 6 * (BLOCK * (2 * scales).to(torch.float64).exp2().sum(-1)).sqrt() * (1 + 2.0**-20)
    return Vectors(values, lengths, scales.amin(-1) - 1)


def _operands(row: Row) -> tuple[Vectors, Vectors]:
    m, n, k = row.shape
    generator = torch.Generator().manual_seed(k)
    if row.data.startswith("MXFP4"):
        return _mxfp4(m, k, generator), _mxfp4(n, k, generator)
    a, b = (torch.randn(rows, k, generator=generator) for rows in (m, n))
    match row.data:
        case "bfloat16 N(0,1)":
            a, b = (x.to(torch.bfloat16).to(torch.float32) for x in (a, b))
        case "exponents +-20":
            a, b = (x.ldexp(torch.randint(-20, 21, x.shape, generator=generator)) for x in (a, b))
        case "cancelling":
            a[:, k // 2 : -1], b[:, k // 2 : -1] = -a[:, : k // 2 - 1], b[:, : k // 2 - 1]
    return Vectors.of(a), Vectors.of(b)


def _exact(row: Row) -> Iterator[Figure]:
    x, y = _operands(row)
    a, b = x.values, y.values.mT
    bias = torch.randn(row.shape[1], generator=torch.Generator().manual_seed(1)) if row.bias else None
    sums: Callable[[], Tensor] = partial(exact_mm, a, b, bias, row.dtype)
    if row.data.endswith("bounds given"):
        sums = partial(exact_products, x, y, bias, row.dtype)
    want = mm_by_words(a[:CORNER], b[:, :CORNER], None if bias is None else bias[:CORNER], row.dtype)
    must_equal(f"exact {row.data}", sums()[:CORNER, :CORNER].float(), want.float())
    torch.set_num_threads(row.threads)
    times = medians({"mm": lambda: a @ b, "exact": sums})
    torch.set_num_threads(1)
    yield Figure("exact/v1", _about(row), "torch.mm", times["exact"] / times["mm"], row.at_most, row.goal)


def _about(row: Row) -> str:
    m, n, k = row.shape
    size = f"{m}^3" if m == n == k else f"{m} x {n} x {k}"
    extras = ", bias" * row.bias + f", {row.threads} threads" * (row.threads > 1)
    return f"{size}, {row.data}, to {str(row.dtype).removeprefix('torch.')}{extras}"


def _memory() -> Iterator[Figure]:
    for row in (*EXACT[:2], EXACT[5]):
        x, y = _operands(row)
        a, b = x.values, y.values.mT
        held = 4 * (a.numel() + b.numel()) / 1e6
        extra = peak_beyond_result(partial(exact_mm, a, b, None, row.dtype))
        yield Figure("exact/v1, peak extra memory", _about(row), "operands in float32", extra / held, 1.5)


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    for row in EXACT:
        yield from _exact(row)
    yield from _memory()


if __name__ == "__main__":
    run("sums", measure)
