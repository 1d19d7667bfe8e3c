"""Block formats, quantized and back, and layouts: beside a copy that moves as many bytes, which bounds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from harness import Row
from torch import Tensor

import refnum
from refnum import mx

SIZE = 16384  #: rows and columns
TARGET = "1.2 x a copy of as many bytes"


def copy(count: int) -> Callable[[], Tensor]:
    """A copy that moves so many bytes: half of them are read, and half are written."""
    source, target = (torch.empty(count // 32, 16, dtype=torch.uint8, device="cuda") for _ in range(2))
    return lambda: target.copy_(source)


def row(name: str, ours: Callable[[], object], count: float, target: str = TARGET) -> Row:
    """One of them."""
    return Row(name, ours, {"copy": copy(int(count))}, bytes=count, target=target)


def rows() -> Iterator[Row]:
    """Those of a GPU."""
    x = torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16)
    count = x.numel()
    for fmt in (refnum.mxfp4, refnum.mxfp8_e4m3, refnum.mxfp8_e5m2, refnum.mxint8, refnum.nvfp4):
        moved = count * (2 + fmt.bits / 8)
        target = f"{TARGET}: 175 to 185 us" if fmt == refnum.mxfp4 else TARGET
        yield row(f"quantize {fmt} bfloat16 {SIZE}^2", lambda fmt=fmt: mx.quantize(x, fmt), moved, target)
    level = mx.tensor_scale(x, refnum.nvfp4)
    two_levels = f"quantize nvfp4 of two levels bfloat16 {SIZE}^2"
    yield row(two_levels, lambda: mx.quantize(x, refnum.nvfp4, tensor_scale=level), count * (2 + 4.5 / 8))
    divisor = mx.tensor_scale(x, refnum.nvfp4, profile="te")
    yield row(
        f"quantize nvfp4 in profile te bfloat16 {SIZE}^2",
        lambda: mx.quantize(x, refnum.nvfp4, profile="te", tensor_scale=divisor),
        count * (2 + 4.5 / 8),
    )
    yield row(f"tensor_scale bfloat16 {SIZE}^2", lambda: mx.tensor_scale(x, refnum.nvfp4), count * 2)
    yield row(
        f"quantize mxfp4 bfloat16 {SIZE}^2 along columns",
        lambda: mx.quantize(x, refnum.mxfp4, axis=0),
        count * (2 + 4.25 / 8),
    )
    wide = torch.randn(SIZE, SIZE // 2, device="cuda")
    yield row(
        f"quantize mxfp4 float32 {SIZE} x {SIZE // 2}",
        lambda: mx.quantize(wide, refnum.mxfp4),
        wide.numel() * (4 + 4.25 / 8),
    )
    small = x[:256, :7168].contiguous()
    yield row(
        "quantize mxfp4 bfloat16 256 x 7168",
        lambda: mx.quantize(small, refnum.mxfp4),
        small.numel() * (2 + 4.25 / 8),
        "a launch",
    )
    for fmt in (refnum.mxfp4, refnum.mxfp8_e4m3):
        found = mx.quantize(x, fmt)
        name = f"dequantize {fmt} to bfloat16 {SIZE}^2"
        yield row(name, lambda found=found: mx.dequantize(found, torch.bfloat16), count * (2 + fmt.bits / 8))
    weight = mx.quantize(x, refnum.mxfp4)
    yield row(
        f"shuffle_weight {SIZE} x {SIZE // 2} bytes", lambda: mx.shuffle_weight(weight.elements), count, "a copy's time"
    )
    yield row(
        f"to_blocked {SIZE} x {SIZE // 32} bytes", lambda: mx.to_blocked(weight.scales), count / 16, "a copy's time"
    )
