"""Products on tensor cores under tc.hopper.bf16/v1, f16 and fp8, beside cuBLAS."""

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


#: of 8 bits: the terms of operands lie side by side
EIGHT_BITS = (
    Product("8192^3", 8192, 8192, 8192, LARGE),
    Product("4096^3", 4096, 4096, 4096, LARGE),
    *(Product(f"{rows} x 4096 x 4096", rows, 4096, 4096, SMALL) for rows in (16, 64, 1024)),
)
SPLIT = "tcsplit/v1(inst=tc.hopper.fp8, Kc={})"


def rows() -> Iterator[Row]:
    """Normal variates; by default the columns of b lie side by side, as weights do."""
    for product in PRODUCTS:
        yield _row(product)
    for product in EIGHT_BITS:
        yield _row_of_eight_bits(product, "tc.hopper.fp8/v1")
    for product in EIGHT_BITS[:3]:
        yield _row_of_eight_bits(product._replace(target="promotion >= 70 % of cuBLAS"), SPLIT.format(128))
    yield _row_of_eight_bits(EIGHT_BITS[0]._replace(target=""), SPLIT.format(512))


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


def _row_of_eight_bits(product: Product, contract: str) -> Row:
    """Beside the scaled product of torch, with scales of 1 and fast accumulation: by the same instructions."""
    name, rows, terms, columns, target, *_ = product
    a = torch.randn(rows, terms, device="cuda").to(torch.float8_e4m3fn)
    b = torch.randn(columns, terms, device="cuda").to(torch.float8_e4m3fn).mT
    one, dtype = torch.ones((), device="cuda"), torch.bfloat16
    return Row(
        f"{contract} {name}",
        ours=lambda: refnum.gemm(a, b, contract=contract, out_dtype=dtype),
        beside={
            "torch._scaled_mm": lambda: torch._scaled_mm(a, b, one, one, out_dtype=dtype, use_fast_accum=True),
        },
        operations=2 * rows * terms * columns,
        bytes=rows * terms + terms * columns + 2 * rows * columns,
        target=target,
    )
