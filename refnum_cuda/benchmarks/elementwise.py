"""Conversions and arithmetic of posits, beside a copy of as many bytes: memory is what should limit them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from harness import Row
from torch import Tensor

import refnum
from refnum import posit
from refnum.formats import Format

COUNT = 1 << 26  #: elements
TARGET = "1.5 times a copy of the same bytes"

ENCODED = (
    (torch.float32, refnum.posit8),
    (torch.float32, refnum.posit16),
    (torch.float32, refnum.posit32),
    (torch.float32, refnum.e4m3),
    (torch.bfloat16, refnum.posit8),
    (torch.bfloat16, refnum.posit16),
    (torch.bfloat16, refnum.e2m1),
)
DECODED = ((refnum.posit8, torch.bfloat16), (refnum.posit16, torch.float32))
QUANTIZED = ((torch.float32, refnum.posit16), (torch.bfloat16, refnum.posit16), (torch.bfloat16, refnum.e4m3))
ARITHMETIC = (
    *((posit.add, refnum.posit8), (posit.add, refnum.posit16), (posit.mul, refnum.posit16)),
    *((posit.div, refnum.posit16), (posit.add, refnum.posit32)),
)


def _values() -> Tensor:
    random = torch.Generator("cuda").manual_seed(1)
    return torch.randn(COUNT, generator=random, device="cuda", dtype=torch.float32)


def _row(name: str, ours: Callable[[], Tensor], *read: Tensor) -> Row:
    """A row with its yardstick: a copy that reads and writes as many bytes."""
    written = ours()
    moved = sum(x.numel() * x.itemsize for x in (*read, written))
    source = torch.zeros(moved // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return Row(name, ours, {"a copy": lambda: target.copy_(source)}, bytes=moved, target=TARGET)


def rows() -> Iterator[Row]:
    """Of a vector of 2**26 elements from a normal distribution."""
    x = _values()
    for dtype, fmt in ENCODED:
        yield _encoded(x.to(dtype), fmt)
    for fmt, dtype in DECODED:
        yield _decoded(refnum.encode(x, fmt), fmt, dtype)
    for dtype, fmt in QUANTIZED:
        yield _quantized(x.to(dtype), fmt)
    for function, fmt in ARITHMETIC:
        yield _added(function, refnum.encode(x, fmt), fmt)
    yield _encoded(x.view(1 << 13, -1).mT, refnum.posit16, ", transposed")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _encoded(x: Tensor, fmt: Format, more: str = "") -> Row:
    return _row(f"encode {_name(x.dtype)} as {fmt.name}{more}", lambda: refnum.encode(x, fmt), x)


def _decoded(codes: Tensor, fmt: Format, dtype: torch.dtype) -> Row:
    return _row(f"decode {fmt.name} to {_name(dtype)}", lambda: refnum.decode(codes, fmt, dtype=dtype), codes)


def _quantized(x: Tensor, fmt: Format) -> Row:
    return _row(f"quantize {_name(x.dtype)} to {fmt.name}", lambda: refnum.quantize(x, fmt), x)


def _added(function: Callable[..., Tensor], a: Tensor, fmt: refnum.Posit) -> Row:
    b = a.flip(0)
    return _row(f"{function.__name__} of {fmt.name}", lambda: function(a, b, fmt), a, b)
