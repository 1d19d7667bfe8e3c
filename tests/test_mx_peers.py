"""Block formats against other libraries, live: ml_dtypes, gfloat and torchao, where they are installed.

What one of them does otherwise, and why it is left out, stands beside the test.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import refnum
from refnum import mx
from refnum.formats import Block, FixedPoint, Minifloat, e8m0

FLOATING = [refnum.mxfp4, refnum.mxfp6_e2m3, refnum.mxfp6_e3m2, refnum.mxfp8_e4m3, refnum.mxfp8_e5m2]
INT8 = Block(FixedPoint(8, 6), e8m0, 32)  #: goes down to -2, as theirs do


def _blocks(fmt: Block, count: int = 400, seed: int = 0) -> Tensor:
    """Random blocks in every binade, and blocks of ties, the numbers next to them, and what saturates."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, fmt.size, generator=generator)
    x *= torch.exp2(torch.randint(-110, 110, (count, 1), generator=generator))
    low = 2.0 ** (fmt.element.max_scale - fmt.element.significand_bits - 3)  # four quarters of a unit, and less
    grid = low * torch.arange(count * fmt.size).view(count, fmt.size).remainder(1 << (fmt.element.significand_bits + 4))
    grid[:, 0] = 2.0**fmt.element.max_scale
    bits = grid.view(torch.int32)
    return torch.cat([x, grid, (bits + 1).view(torch.float32), -(bits - (bits > 0).int()).view(torch.float32)])


def _all_codes(fmt: Block) -> tuple[Tensor, mx.Blocks]:
    """Every element under every scale that is a number: the codes, and blocks [scale, element]."""
    codes = torch.arange(1 << fmt.element.width, dtype=torch.uint8)
    row = Block(fmt.element, fmt.scale, len(codes))
    stored = mx.pack4(codes) if fmt.packed == 2 else codes
    scales = torch.arange(255, dtype=torch.uint8)[:, None]
    return codes, mx.Blocks(stored.expand(255, -1).contiguous(), scales, row, torch.Size([255, len(codes)]))


def _same(got: Tensor, want: np.ndarray) -> None:
    """Equal numbers with equal signs, and NaNs in the same places."""
    want = torch.from_numpy(np.ascontiguousarray(want))
    assert got.dtype == want.dtype
    nan = got.isnan()
    assert torch.equal(nan, want.isnan())
    assert torch.equal(got[~nan], want[~nan])
    assert torch.equal(got[~nan].signbit(), want[~nan].signbit())


# ml_dtypes -----------------------------------------------------------------------------------------------------------

ML_DTYPES = {
    "mxfp4": "float4_e2m1fn",
    "mxfp6_e2m3": "float6_e2m3fn",
    "mxfp6_e3m2": "float6_e3m2fn",
    "mxfp8_e4m3": "float8_e4m3fn",
    "mxfp8_e5m2": "float8_e5m2",
}


@pytest.mark.parametrize("fmt", FLOATING, ids=str)
def test_values_of_all_codes_are_those_of_ml_dtypes(fmt: Block) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    codes, blocks = _all_codes(fmt)
    elements = codes.numpy().view(getattr(ml_dtypes, ML_DTYPES[fmt.name])).astype(np.float64)
    scales = blocks.scales.numpy().view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    _same(mx.dequantize(blocks, torch.float64), scales * elements)
    with warnings.catch_warnings(action="ignore"):  # overflow to Inf, and NaN, are meant
        _same(mx.dequantize(blocks), (scales * elements).astype(np.float32))


@pytest.mark.parametrize("fmt", FLOATING, ids=str)
def test_elements_are_cast_as_ml_dtypes_casts(fmt: Block) -> None:
    # Over the scale that refnum chose: ml_dtypes has no blocks, and does not saturate.
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = _blocks(fmt)
    blocks = mx.quantize(x, fmt)
    scaled = x.double() / mx.dequantize(_ones(blocks), torch.float64)
    scaled = scaled.clamp(-fmt.element.max_value, fmt.element.max_value).float()  # exact: a power of two
    want = scaled.numpy().astype(getattr(ml_dtypes, ML_DTYPES[fmt.name])).view(np.uint8)
    assert torch.equal(blocks.codes, torch.from_numpy(want))


def _ones(blocks: mx.Blocks) -> mx.Blocks:
    """The same scales, with elements that are 1."""
    assert isinstance(blocks.fmt.element, Minifloat)
    one = refnum.encode(torch.tensor(1.0), blocks.fmt.element)
    codes = torch.full_like(blocks.codes, int(one))
    stored = mx.pack4(codes) if blocks.fmt.packed == 2 else codes
    return mx.Blocks(stored, blocks.scales, blocks.fmt, blocks.shape, blocks.axis)


# gfloat --------------------------------------------------------------------------------------------------------------

GFLOAT_ROUNDINGS = {
    "nearest_even": "TiesToEven",
    "nearest_away": "TiesToAway",
    "toward_zero": "TowardZero",
    "toward_positive": "TowardPositive",
    "toward_negative": "TowardNegative",
}


def _gfloat(fmt: Block) -> Any:
    formats = pytest.importorskip("gfloat.formats")
    return getattr(formats, "format_info_mxint8" if fmt is INT8 else f"format_info_{_gfloat_name(fmt)}")


def _gfloat_name(fmt: Block) -> str:
    element = fmt.element
    assert isinstance(element, Minifloat)
    return f"mxfp{element.width}_e{element.exponent}m{element.mantissa}"


@pytest.mark.parametrize("fmt", [*FLOATING, INT8], ids=str)
def test_values_of_all_codes_are_those_of_gfloat(fmt: Block) -> None:
    info = _gfloat(fmt)
    from gfloat import decode_ndarray

    codes, blocks = _all_codes(fmt)
    elements = decode_ndarray(info.etype, codes.numpy().astype(np.int64))
    scales = decode_ndarray(info.stype, blocks.scales.numpy().astype(np.int64))
    _same(mx.dequantize(blocks, torch.float64), scales * elements)


@pytest.mark.parametrize("rounding", GFLOAT_ROUNDINGS)
@pytest.mark.parametrize("fmt", [*FLOATING, INT8], ids=str)
def test_blocks_are_quantized_as_gfloat_quantizes(fmt: Block, rounding: str) -> None:
    # In float64, where its float log2 is right for float32 magnitudes.
    info = _gfloat(fmt)
    from gfloat import RoundMode, compute_scale_amax, quantize_block

    x = _blocks(fmt)[::53]
    got = mx.dequantize(mx.quantize(x, fmt, rounding=rounding), torch.float64)
    mode = RoundMode[GFLOAT_ROUNDINGS[rounding]]
    want = np.stack([quantize_block(info, row, compute_scale_amax, mode) for row in x.double().numpy()])
    assert torch.equal(got, torch.from_numpy(want))  # zeros without sign: its int8 has one zero, its product two


# torchao -------------------------------------------------------------------------------------------------------------


def _torchao(fmt: Block) -> tuple[Any, Any]:
    mx_tensor = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    dtype = {
        "mxfp4": torch.float4_e2m1fn_x2,
        "mxfp6_e2m3": "fp6_e2m3",
        "mxfp6_e3m2": "fp6_e3m2",
        "mxfp8_e4m3": torch.float8_e4m3fn,
        "mxfp8_e5m2": torch.float8_e5m2,
    }
    return mx_tensor, dtype[fmt.name]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rule", ["floor", "ceil", "even", "rceil"])
@pytest.mark.parametrize("fmt", FLOATING, ids=str)
def test_blocks_are_quantized_as_torchao_quantizes(fmt: Block, rule: str, dtype: torch.dtype) -> None:
    mx_tensor, element = _torchao(fmt)
    x = _blocks(fmt).to(dtype)
    edges = torch.exp2(torch.arange(-149, 128))[:, None] * torch.tensor([1, 1.25, 1.5, 1.75, 1.875, 1.9375])
    x = torch.cat([x, edges.view(-1, 1) * torch.linspace(-1, 1, 32)]).to(dtype)
    scales, elements = mx_tensor.to_mx(x, element, 32, mx_tensor.ScaleCalculationMode(rule))
    got = mx.quantize(x, fmt, profile="torchao", scale=rule)
    # 1. Its rceil takes the ceiling of a float logarithm, which is rounded to k just above 2**k.
    # 2. Its even once gave 253 and less for what rounds to 2**128; it gives 255 in the recorded vectors.
    # 3. Under the scale 2**-127 it divided by 2**-126, or by 1.
    amax = x.float().abs().amax(1)
    quotient = (amax / fmt.element.max_value).view(torch.int32) & 0x7FFFFF
    compared = (rule != "rceil") | (quotient == 0) | (quotient > 64)
    compared &= (rule != "even") | (amax < 2.0**127)
    assert compared.sum() > 1000
    assert torch.equal(scales.view(torch.uint8)[compared], got.scales[compared])
    compared &= got.scales[:, 0] > 0
    assert torch.equal(elements.view(torch.uint8)[compared], got.elements[compared])


@pytest.mark.parametrize("fmt", FLOATING, ids=str)
def test_values_of_all_codes_are_those_of_torchao(fmt: Block) -> None:
    mx_tensor, element = _torchao(fmt)
    _, blocks = _all_codes(fmt)
    stored = blocks.elements.view(element) if fmt.element.width == 8 else blocks.elements
    scales = blocks.scales.view(torch.float8_e8m0fnu)
    want = mx_tensor.to_dtype(stored, scales, element, blocks.fmt.size, torch.float32)
    _same(mx.dequantize(blocks), want.numpy())


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nvfp4_is_quantized_as_torchao_quantizes(dtype: torch.dtype, levels: int) -> None:
    nvfp4 = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(600, 16, generator=generator) * torch.exp2(torch.randint(-20, 20, (600, 1), generator=generator))
    x = torch.cat([x, _blocks(refnum.nvfp4), torch.zeros(1, 16), -torch.zeros(1, 16)]).to(dtype)
    for factor in (None,) if levels == 1 else (1.0, 3e-5, 0.7, 1e30, 2.0**-100):
        tensor_scale = None if factor is None else torch.tensor(factor)
        scales, elements = nvfp4.nvfp4_quantize(x, per_tensor_scale=tensor_scale)
        got = mx.quantize(x, refnum.nvfp4, profile="torchao", tensor_scale=tensor_scale)
        assert torch.equal(scales.view(torch.uint8).view(-1, 1), got.scales)
        assert torch.equal(elements.view(torch.uint8), got.elements)
