"""Products of operands in blocks, and of floats of 8 bits, by the kernels of exact/v1, chain/v1 and tree/v1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from refnum.formats import Block, FixedPoint, e4m3, e8m0, parse, unit_scale
from refnum.mx.blocks import Blocks, has_kernels
from refnum.mx.dequantizer import dequantize
from refnum.mx.scales import BIAS
from refnum.sums.blocks import Flat, mx_mm_reference, operand, result_shape
from refnum.sums.dequantized import in_float32
from refnum.sums.operands import FP8, widened
from refnum.sums.products import gemm_reference
from refnum.sums.results import finished

from . import exact, ordered
from .serving import Operation

REACH = 16  #: elements are multiples of 2**-REACH and less than 2**REACH: rn::Words has room for them times any e8m0


# ---- mx_mm ---------------------------------------------------------------------------------------


def mx_mm(*arguments: Any) -> Tensor:
    """`refnum.mx_mm` of checked operands with at least two axes, on a GPU."""
    a, b, bias, contract, dtype = _sides(*arguments)
    addend = None if bias is None else bias.to(torch.float32)
    if contract != exact.CONTRACT:
        return ordered.gemm(in_float32(operand(a)), in_float32(operand(b)).mT, addend, contract, dtype)
    shape = result_shape(a.shape, b.shape)
    batch = shape[:-2]
    return exact.multiply(_side(operand(a), batch), _side(operand(b), batch), addend, shape, dtype)


def _sides(*arguments: Any) -> tuple[Flat, Flat, Tensor | None, str, torch.dtype]:
    return Flat(*arguments[:5]), Flat(*arguments[5:10]), *arguments[10:]


def _side(x: Blocks | Tensor, batch: Sequence[int]) -> exact.Side:
    """The operand exactly: float32 values, which are times scales, or times a factor of the tensor."""
    if isinstance(x, Tensor):
        return exact.side(_repeated(x, batch))
    whole = None if x.tensor_scale is None else x.tensor_scale.detach().to(x.elements.device)
    if x.fmt.scale == e4m3:  # whose products with elements float32 holds
        values = dequantize(replace(x, tensor_scale=None), torch.float32)
        return exact.side(_repeated(values, batch), 8).scaled(None, 1, whole)
    ones = torch.full_like(x.scales, BIAS if x.fmt.scale == e8m0 else 1)
    values = dequantize(replace(x, scales=ones, tensor_scale=None), torch.float32)
    rows, columns = x.fmt.tile
    scales = x.scales.detach().repeat_interleave(rows, -2)[..., : x.shape[-2], :] if rows > 1 else x.scales.detach()
    return exact.side(_repeated(values, batch), x.fmt.element.width).scaled(_repeated(scales, batch), columns, whole)


def _repeated(x: Tensor, batch: Sequence[int]) -> Tensor:
    """One matrix, or as many as the batch has."""
    return x if x.shape[:-2].numel() == 1 else x.expand(*batch, *x.shape[-2:])


def mx_covered(*arguments: Any) -> bool:
    """Whether there is a kernel: for exact/v1 where words have room for the values."""
    a, b, _, contract, _ = _sides(*arguments)
    if contract != exact.CONTRACT:
        return bool(ordered.CONTRACT.fullmatch(contract))
    return all(side.scales is None or _has_room(side) for side in (a, b))


def _has_room(x: Flat) -> bool:
    fmt = parse(x.fmt)
    assert isinstance(fmt, Block)
    if not has_kernels(fmt):
        return False
    element = fmt.element
    top = element.width - element.fraction if isinstance(element, FixedPoint) else element.max_scale + 1
    return (x.factor is None or fmt.scale == e4m3) and unit_scale(element) >= -REACH and top <= REACH


def mx_examples() -> Iterator[tuple[Any, ...]]:
    """Every code of elements, scales of all sizes, NaN among them."""
    codes = torch.arange(256, dtype=torch.int16, device="cpu").to(torch.uint8)
    elements = torch.stack([codes.roll(i) for i in range(40)])
    scales = (torch.arange(40 * 8, device="cpu") * 7 % 60 + 97).view(40, 8).to(torch.uint8)
    scales[3, 1], scales[4, 2], scales[5, 3] = 255, 0, 254
    floats = torch.linspace(-2.0, 2.0, 40 * 256, device="cpu").view(40, 256)
    bias = floats[0, :40] * 1e30
    for name in ("mxfp8_e4m3", "mxfp8_e5m2", "mxint8"):
        blocks = Flat(elements, scales, None, name, [40, 256])
        for contract in ("exact/v1", "chain/v1", "tree/v1(Kc=64)"):
            yield *blocks, *blocks, bias, contract, torch.float32
    packed, narrow = (
        Flat(elements, scales.repeat(1, 2), None, "mxfp4", [40, 512]),
        Flat(floats, None, None, "", [40, 256]),
    )
    two_levels = Flat(elements, scales.repeat(1, 4), torch.tensor(1 / 3, device="cpu"), "nvfp4", [40, 512])
    wide = Flat(elements, floats[:, ::128].contiguous(), None, "block(e4m3,float32,128)", [40, 256])
    yield *packed, *packed, None, "exact/v1", torch.bfloat16
    yield *packed, *two_levels, bias, "exact/v1", torch.float32
    yield *wide, *blocks, bias, "exact/v1", torch.float32
    yield *blocks, *narrow, None, "exact/v1", torch.float32


MX_OPERATION = Operation(
    "mx_mm", mx_mm_reference, mx_mm, mx_covered, (*exact.LAUNCHES, *ordered.KERNELS.values()), mx_examples
)


# ---- gemm of floats of 8 bits, in the orders of float32 --------------------------------------------


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` of operands or to results of 8 bits, which are float32 in between."""
    dtype = torch.float32 if out_dtype in FP8 else out_dtype
    return finished(ordered.gemm(widened(a.detach()), widened(b.detach()), bias, contract, dtype), out_dtype)


def covered(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> bool:
    """Whether an operand or the result is of 8 bits, and the order has a kernel."""
    return bool(ordered.CONTRACT.fullmatch(contract)) and not FP8.keys().isdisjoint({a.dtype, b.dtype, out_dtype})


def examples() -> Iterator[tuple[Any, ...]]:
    """Every code of 8 bits as operands, and results of 8 bits on ties and beyond the largest one."""
    codes = torch.arange(256, dtype=torch.int16, device="cpu").to(torch.uint8)
    a, b = (torch.stack([codes.roll(i) for i in range(20)]), torch.stack([codes.roll(-i) for i in range(20)]))
    wide = torch.linspace(-5.0, 5.0, 4000, device="cpu").view(20, 200) ** 7
    for dtype in FP8:
        for contract in ("chain/v1", "tree/v1(Kc=64)"):
            yield a.view(dtype), b.view(dtype).mT, None, contract, torch.float32
            yield wide, torch.ones(200, 1, device="cpu"), wide[:, :1], contract, dtype
    yield (a.view(torch.float8_e4m3fn), b.view(torch.float8_e5m2).mT, None, "chain/v1", torch.bfloat16)


OPERATION = Operation("gemm", gemm_reference, gemm, covered, tuple(ordered.KERNELS.values()), examples)
