"""Products of blocks, and of floats of 8 bits, by kernels as they are on the CPU: against the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cuda import bridge
from cuda.simulate import Kernels  # before refnum_cuda, which it finds
from float_sums import Draw, operands
from test_cuda_exact import multiply_by_torch
from torch import Tensor

import refnum
from refnum import mx
from refnum.formats import Block, FixedPoint, e2m1, e4m3, e5m2, e8m0, float32
from refnum.mx.blocks import Blocks, stored_shapes
from refnum.sums.blocks import Flat, flat, mx_mm_reference
from refnum.sums.operands import FP8
from refnum.sums.products import gemm_reference
from refnum.testing import assert_bit_equal
from refnum_cuda import dequantized, exact, ordered, residues

ORDERS = ("chain/v1", "tree/v1(Kc=10)")
CONTRACTS = ("exact/v1", *ORDERS)
WIDE = Block(e4m3, float32, 32)
FORMATS = (refnum.mxfp4, refnum.mxfp6_e2m3, refnum.mxfp8_e4m3, refnum.mxfp8_e5m2, refnum.mxint8, refnum.nvfp4, WIDE)


@pytest.fixture(scope="module")
def libraries() -> dict[str, Kernels]:
    return {
        "exact": Kernels.of_file("exact.cu", *(kernel.name for kernel in exact.KERNELS)),
        "ordered": Kernels.of_file("ordered.cu", *(kernel.name for kernel in ordered.KERNELS.values())),
    }


@pytest.fixture(params=["words", "residues"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, libraries: dict[str, Kernels]) -> str:
    """Launches go to the CPU, and exact/v1 by this route."""
    on_cpu(request.param, libraries, monkeypatch)
    return str(request.param)


def on_cpu(route: str, libraries: dict[str, Kernels], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have launches run kernels on the CPU, and exact/v1 take a route."""

    def launched(kernel: Any, grid: Any, block: Any, shared: int, *arguments: Any) -> None:
        if kernel is residues.BY_WARPS.kernel:
            multiply_by_torch(arguments[0])
        else:
            libraries[kernel.stem].run(kernel.name, grid, block, *arguments, shared=shared)

    monkeypatch.setattr(exact.launch, "launch", launched)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=1))
    monkeypatch.setattr(exact, "_form", lambda _: residues.BY_WARPS)
    monkeypatch.setattr(residues, "FILLED", 16)  # less to do
    monkeypatch.setattr(exact, "SMALLEST", 1)
    monkeypatch.setattr(exact, "FEWEST", 1 if route == "residues" else 1 << 40)


def blocks(
    draw: Draw, shape: tuple[int, ...], fmt: Block, codes: tuple[int, int] = (117, 137), factor: float | None = None
) -> Blocks:
    """Random codes of elements, and of scales between two; floats as scales of as many sizes."""
    of_elements, of_scales = stored_shapes(torch.Size(shape), -1, fmt)
    scales = draw.whole(*codes, *of_scales).to(torch.uint8)
    if fmt.scale == float32:
        scales = (draw.normal(*of_scales).double() * 2.0 ** (scales.double() - 127)).float()
    elements = draw.whole(0, 256, *of_elements).to(torch.uint8)
    return Blocks(elements, scales, fmt, torch.Size(shape), -1, None if factor is None else torch.tensor(factor))


def flattened(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, *how: Any) -> tuple[Any, ...]:
    return *flat(a), *flat(b), bias, *how


def check(*arguments: Any) -> None:
    assert dequantized.mx_covered(*arguments)
    assert_bit_equal(dequantized.mx_mm(*arguments), mx_mm_reference(*arguments))


# ---- mx_mm -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_format(route: str, fmt: Block) -> None:
    draw = Draw(3)
    # Scales of nvfp4 are e4m3: all codes.
    narrow = blocks(draw, (5, 96), fmt, (0, 256) if fmt.scale == e4m3 else (100, 140))
    other, plain = blocks(draw, (7, 96), refnum.mxfp4), draw.normal(7, 96)
    for i, contract in enumerate(CONTRACTS * 2):
        dtype = (torch.float32, torch.bfloat16, torch.float16)[i % 3]
        bias = (None, draw.normal(7), draw.normal(5, 1).half())[i % 3]
        check(*flattened(narrow, other, bias, contract, dtype))
        check(*flattened(plain.bfloat16() if i % 2 else plain, narrow, None, contract, dtype))


def test_scales_of_all_sizes(route: str) -> None:
    """Values that float32 does not hold, of both ends; NaN as a scale."""
    draw = Draw(4)
    for low, high in ((0, 256), (250, 255), (0, 5), (253, 256)):
        a, b = blocks(draw, (6, 64), refnum.mxfp8_e5m2, (low, high)), blocks(draw, (5, 64), refnum.mxfp4, (low, high))
        turned = blocks(draw, (5, 64), refnum.mxfp8_e4m3, (254 - high, 254 - low) if high < 255 else (0, 2))
        for side in (b, turned):
            for bias in (None, draw.normal(5)):
                check(*flattened(a, side, bias, "exact/v1", torch.float32))


def test_factors_of_tensors(route: str) -> None:
    """Of all sizes and signs; 0, NaN and Inf, too; with a bias that cancels the sum, or is far from it."""
    draw = Draw(9)
    one = blocks(draw, (4, 64), refnum.nvfp4, (40, 120), 1.0)
    cancels = -mx_mm_reference(*flattened(one, one, None, "exact/v1", torch.float32))
    for factor in (1.0, -1 / 3, 2.0**-149, 3e38, -(2.0**-70), 0.0, -0.0, torch.nan, torch.inf):
        a, b = (
            blocks(draw, (4, 64), refnum.nvfp4, (40, 120), factor),
            blocks(draw, (5, 64), refnum.nvfp4, (0, 120), -0.7),
        )
        for bias in (None, draw.normal(5)):
            check(*flattened(a, b, bias, "exact/v1", torch.float32))
            check(*flattened(a, draw.normal(5, 64), bias, "exact/v1", torch.bfloat16))
        check(*flattened(replace(one, tensor_scale=a.tensor_scale), one, cancels, "exact/v1", torch.float32))
        check(*flattened(a, b, None, "chain/v1", torch.float32))


def test_floats_as_scales(route: str) -> None:
    draw = Draw(10)
    for low, high in ((0, 256), (240, 255), (0, 10)):
        a, b = blocks(draw, (6, 64), Block(e5m2, float32, 16), (low, high)), blocks(draw, (5, 64), WIDE, (low, high))
        special = replace(b, scales=torch.where(b.scales == b.scales.amax(), torch.inf, b.scales))
        for side in (b, special, draw.normal(5, 64)):
            for bias in (None, draw.normal(5)):
                check(*flattened(a, side, bias, "exact/v1", torch.float32))


def test_tiles_batches_and_ragged_lines(route: str) -> None:
    draw = Draw(5)
    tiles = Block(e4m3, e8m0, (4, 16))
    a, b = blocks(draw, (2, 3, 6, 40), tiles), blocks(draw, (3, 5, 40), refnum.mxfp8_e4m3)
    one, bias = blocks(draw, (1, 7, 40), tiles), draw.normal(3, 1, 5)
    for contract in CONTRACTS:
        check(*flattened(a, b, bias, contract, torch.float32))
        check(*flattened(a, one, None, contract, torch.bfloat16))
        check(*flattened(one, b, None, contract, torch.bfloat16))
    turned = Blocks(b.elements.mT.contiguous().mT, b.scales.mT.contiguous().mT, b.fmt, b.shape)
    check(*flattened(turned, one, None, "exact/v1", torch.float32))


def test_quantized_operands(route: str) -> None:
    draw = Draw(6)
    a, b = (mx.quantize(draw.normal(m, 128), refnum.mxfp8_e4m3) for m in (20, 30))
    for contract in CONTRACTS:
        check(*flattened(a, b, None, contract, torch.float32))


def test_what_has_kernels() -> None:
    def covered(fmt: Block, contract: str = "exact/v1", factor: Tensor | None = None) -> bool:
        side = Flat(torch.empty(0), torch.empty(0), factor, str(fmt), [1, 1])
        return dequantized.mx_covered(*side, *side, None, contract, torch.float32)

    one = torch.ones(())
    assert covered(refnum.nvfp4)
    assert covered(refnum.nvfp4, factor=one)
    assert not covered(refnum.mxfp4, factor=one)
    assert covered(refnum.nvfp4, "chain/v1", one)
    assert covered(Block(e2m1, float32, 32))
    assert not covered(Block(FixedPoint(8, 20), e8m0, 32))
    assert not covered(Block(FixedPoint(8, -20), e8m0, 32))
    assert covered(Block(e5m2, e8m0, 7))
    assert not covered(refnum.mxfp4, "tc.blackwell.mxf4/v1")


# ---- floats of 8 bits in orders of float32 ---------------------------------------------------------


def pairs() -> Iterator[tuple[torch.dtype, torch.dtype]]:
    dtypes = (*FP8, torch.float32)
    yield from zip(dtypes, dtypes[1:] + dtypes[:1], strict=True)


@pytest.mark.parametrize("route", ["words"], indirect=True)
@pytest.mark.parametrize("contract", ORDERS)
@pytest.mark.parametrize("out_dtype", [*FP8, torch.float32, torch.bfloat16], ids=str)
def test_products_of_8_bits(route: str, contract: str, out_dtype: torch.dtype) -> None:
    for kind in ("normal", "bits", "ties of a chain", "overflow"):
        a, b, bias = operands(kind, 6, 40, 7)
        for left, right in pairs():
            x, y = a.to(left), b.to(right)
            if dequantized.covered(x, y, bias, contract, out_dtype):
                got = dequantized.gemm(x, y, bias, contract, out_dtype)
                assert_bit_equal(got, gemm_reference(x, y, bias, contract, out_dtype))


def test_which_products_of_8_bits_have_kernels() -> None:
    x, eighth = torch.empty(2, 2), torch.empty(2, 2, dtype=torch.float8_e5m2)
    assert dequantized.covered(eighth, eighth, None, "chain/v1", torch.float32)
    assert dequantized.covered(x, x, None, "tree/v1(Kc=256)", torch.float8_e4m3fn)
    assert not dequantized.covered(x, x, None, "chain/v1", torch.float32)
    assert not dequantized.covered(eighth, eighth, None, "exact/v1", torch.float32)


# ---- examples --------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["residues"], indirect=True)
def test_examples_of_the_self_tests(route: str) -> None:
    for operation in (dequantized.OPERATION, dequantized.MX_OPERATION):
        for example in operation.examples():
            assert operation.covers(*example)
            assert_bit_equal(operation.kernel(*example), operation.reference(*example))


# ---- mutants ---------------------------------------------------------------------------------------

MUTANTS = {
    "of factors' signs": ("if (u.sign != v.sign) sum = negated(sum);", ""),
    "of factors' signs at 0": ("static_cast<u32>(u.sign ^ v.sign)", "0u"),
    "of NaN scales": ("code == 255 ? float_of(0x7fffffff) : value", "value"),
    "of one scale for all": ("static_cast<u32>(k) / static_cast<u32>(block)", "0 * k"),
    "of a product's unit": ("x.exponent + 16 + y.exponent", "x.exponent + 15 + y.exponent"),
    "of Inf times 0": ("special ? multiply_rn(x.value, y.value) : finite", "finite"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_have_other_bits(name: str, libraries: dict[str, Kernels], monkeypatch: pytest.MonkeyPatch) -> None:
    header, text = ((bridge.CSRC / file).read_text() for file in ("rn_totals.cuh", "exact.cu"))
    text = text.replace('#include "rn_totals.cuh"', header.replace("#pragma once", ""))
    right, wrong = MUTANTS[name]
    assert text.count(right) == 1
    mutant = {**libraries, "exact": Kernels(text.replace(right, wrong), *(kernel.name for kernel in exact.KERNELS))}

    def differs(way: str, *arguments: Any) -> bool:
        on_cpu(way, mutant, monkeypatch)
        got, want = dequantized.mx_mm(*arguments), mx_mm_reference(*arguments)
        return not torch.equal(got.view(torch.int32), want.view(torch.int32))

    draw = Draw(11)
    one, other = blocks(draw, (6, 64), refnum.mxfp4, (90, 250)), blocks(draw, (6, 64), WIDE, (90, 250))
    without = replace(one, scales=torch.where(one.scales == one.scales.amax(), 255, one.scales))
    special = replace(other, scales=torch.where(other.scales == other.scales.amax(), torch.inf, other.scales))
    zero = replace(other, scales=torch.zeros_like(other.scales))
    pairs = [(x, y) for x in (one, other) for y in (one, other, without, special, zero)]
    levels = blocks(draw, (6, 64), refnum.nvfp4, (40, 120), -0.7)
    positive = replace(levels, elements=levels.elements & 0x77)
    pairs += [(levels, one), (positive, torch.zeros(6, 64))]
    cases = [flattened(*pair, None, "exact/v1", torch.float32) for pair in pairs]
    assert any(differs(way, *case) for way in ("words", "residues") for case in cases)


# ---- on a GPU --------------------------------------------------------------------------------------

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")


def moved(x: Blocks | Tensor) -> Blocks | Tensor:
    """The operand on the GPU."""
    if isinstance(x, Tensor):
        return x.cuda()
    factor = None if x.tensor_scale is None else x.tensor_scale.cuda()
    return Blocks(x.elements.cuda(), x.scales.cuda(), x.fmt, x.shape, -1, factor)


def check_on_gpu(
    a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, contract: str, dtype: torch.dtype
) -> None:
    with refnum.use_backend("cuda"):
        got = refnum.mx_mm(
            *map(moved, (a, b)), None if bias is None else bias.cuda(), contract=contract, out_dtype=dtype
        )
    assert_bit_equal(got.cpu(), refnum.mx_mm(a, b, bias, contract=contract, out_dtype=dtype))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("contract", CONTRACTS)
def test_layouts_of_blocks_on_a_gpu(contract: str) -> None:
    draw = Draw(7)
    tiles = Block(e4m3, e8m0, (4, 16))
    a, b = blocks(draw, (2, 3, 6, 40), tiles), blocks(draw, (3, 5, 40), refnum.mxfp8_e5m2)
    check_on_gpu(a, b, draw.normal(3, 1, 5), contract, torch.float32)
    check_on_gpu(draw.normal(4, 40), b, None, contract, torch.bfloat16)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("contract", CONTRACTS)
def test_blocks_on_a_gpu(fmt: Block, contract: str) -> None:
    draw = Draw(8)
    for m, k, n in ((5, 96, 7), (150, 512, 100)):
        factor = -1 / 3 if fmt == refnum.nvfp4 else None
        a, b = blocks(draw, (m, k), fmt, (100, 140), factor), mx.quantize(draw.normal(n, k), refnum.mxfp8_e4m3)
        for dtype in (torch.float32, torch.bfloat16):
            check_on_gpu(a, b, draw.normal(n), contract, dtype)
            check_on_gpu(a, draw.normal(n, k).half(), None, contract, dtype)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("contract", ORDERS)
@pytest.mark.parametrize("out_dtype", [*FP8, torch.float32, torch.bfloat16], ids=str)
def test_products_of_8_bits_on_a_gpu(contract: str, out_dtype: torch.dtype) -> None:
    for kind in ("normal", "bits", "overflow"):
        a, b, bias = operands(kind, 33, 100, 40)
        for left, right in pairs():
            x, y = a.to(left), b.to(right)
            if dequantized.covered(x, y, bias, contract, out_dtype) and (left in FP8) == (right in FP8):
                with refnum.use_backend("cuda"):
                    got = refnum.gemm(x.cuda(), y.cuda(), bias.cuda(), contract=contract, out_dtype=out_dtype)
                assert_bit_equal(got.cpu(), gemm_reference(x, y, bias, contract, out_dtype))
