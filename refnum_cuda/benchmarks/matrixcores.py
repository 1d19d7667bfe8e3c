"""Products on tensor cores under tc.hopper.bf16/v1 and tc.hopper.f16/v1, beside cuBLAS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from harness import Row

import refnum

LARGE, SMALL = "first >= 60 %, then >= 85 % of cuBLAS", ">= 50 % of cuBLAS"
LAYER = "no slower than cuBLAS"


class Product(NamedTuple):
    """[rows, terms] @ [terms, columns]."""

    name: str
    rows: int
    terms: int
    columns: int
    target: str = ""
    transposed: str = "b"  #: operands whose columns lie side by side in memory, by name
    dtype: torch.dtype = torch.bfloat16


PRODUCTS = (
    Product("8192^3", 8192, 8192, 8192, LARGE),
    Product("4096^3", 4096, 4096, 4096, LARGE),
    Product("4096^3 NN", 4096, 4096, 4096, LARGE, ""),
    Product("4096^3 TN", 4096, 4096, 4096, LARGE, "a"),
    Product("4096^3 float16", 4096, 4096, 4096, LARGE, "b", torch.float16),
    *(Product(f"{rows} x 4096 x 4096", rows, 4096, 4096, SMALL) for rows in (1, 16, 64, 256, 1024)),
    Product("forward 8192 x 768 x 3072", 8192, 768, 3072, LAYER),
    Product("dX 8192 x 3072 x 768", 8192, 3072, 768, LAYER, ""),
    Product("dW 3072 x 8192 x 768", 3072, 8192, 768, LAYER, "a"),
)


def rows() -> Iterator[Row]:
    """Normal variates; by default the columns of b lie side by side, as weights do."""
    for product in PRODUCTS:
        yield _row(product)


def _row(product: Product) -> Row:
    name, rows, terms, columns, target, transposed, dtype = product
    a, b = torch.randn(rows, terms, device="cuda").to(dtype), torch.randn(terms, columns, device="cuda").to(dtype)
    a = a.mT.contiguous().mT if "a" in transposed else a
    b = b.mT.contiguous().mT if "b" in transposed else b
    contract = f"tc.hopper.{'bf16' if dtype == torch.bfloat16 else 'f16'}/v1"
    return Row(
        f"{contract} {name}",
        ours=lambda: refnum.gemm(a, b, contract=contract),
        beside={"torch.mm": lambda: a @ b},
        operations=2 * rows * terms * columns,
        bytes=2 * (rows * terms + terms * columns + rows * columns),
        target=target,
    )
