"""Values of narrow formats as floats that tensor cores take: which of them are exact, by every pattern there is."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from float_sums import patterns
from refnum_conformance.oracles import tensorcore as oracle
from torch import Tensor

import refnum
from refnum import Posit, mx
from refnum.boundary import container
from refnum.formats import Block, Format, e8m0, holds, named, parse
from refnum.mx.blocks import Blocks
from refnum.testing import assert_bit_equal

TABLES = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "tables.py"))
OPERANDS: dict[str, Any] = TABLES["OPERANDS"]
SCALARS = ["posit8", "posit(12,2)", "posit(13,2)", "posit16", "posit(8,0)", "posit(8,1)", "posit(6,2)"]
SCALARS += ["e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz"]
BLOCKS = {name: fmt for name, fmt in named().items() if isinstance(fmt, Block)}
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def every_pattern(fmt: Format) -> Tensor:
    """All of its codes."""
    return torch.arange(1 << fmt.width, dtype=torch.int64).to(container(fmt))


def same(x: Tensor, values: Tensor) -> bool:
    """Whether floats have these values; one NaN is as good as another, and zeros have signs."""
    x = x.double()
    return bool(((x == values) & (x.signbit() == values.signbit()) | x.isnan() & values.isnan()).all())


@pytest.mark.parametrize("operand", OPERANDS)
@pytest.mark.parametrize("name", SCALARS)
def test_a_float_holds_a_format_or_some_pattern_is_lost(name: str, operand: str) -> None:
    fmt, codes = parse(name), every_pattern(parse(name))
    values = refnum.decode(codes, fmt)
    here = getattr(torch, operand)
    finite = values.where(values.isfinite(), 0.0)
    assert same(finite.float().to(here), finite) == holds(OPERANDS[operand], fmt)
    if holds(OPERANDS[operand], fmt) and operand in HALVES:
        assert same(refnum.decode(codes, fmt, dtype=here), values)


def blocks_of_every_scale(fmt: Block) -> tuple[Blocks, Tensor]:
    """A block or more of all elements for each scale that is a number, and which of them those are."""
    codes = torch.arange(1 << fmt.element.width, dtype=torch.int16).to(torch.uint8)
    scales = torch.arange(255, dtype=torch.int16).to(torch.uint8)
    one = mx.quantize(torch.ones(len(scales), max(len(codes), fmt.size)), fmt)
    row = codes.repeat(one.shape[-1] // len(codes))
    if fmt.element.width == 4:
        row = row[::2] | row[1::2] << 4
    assert one.elements.shape[-1] == len(row), "codes are packed so"
    elements, own = row.expand(len(scales), -1).contiguous(), scales[:, None].expand_as(one.scales)
    return Blocks(elements, own, fmt, one.shape, -1), scales


@pytest.mark.parametrize("operand", HALVES)
@pytest.mark.parametrize("name", BLOCKS)
def test_a_float_holds_all_elements_of_a_block_between_two_scales(name: str, operand: str) -> None:
    fmt = BLOCKS[name]
    blocks, scales = blocks_of_every_scale(fmt)
    values, got = mx.dequantize(blocks, torch.float64), mx.dequantize(blocks, HALVES[operand])
    exact = torch.tensor([same(x, y) for x, y in zip(got, values, strict=True)])
    if fmt.scale != e8m0:
        assert exact.all()
        return
    low, high = TABLES["exact_scales"](OPERANDS[operand], fmt)
    exponents = scales.long() - 127
    assert torch.equal(exact, (exponents >= low) & (exponents <= high))


@pytest.mark.parametrize(("name", "contract"), [("posit8", "bf16"), ("posit(12,2)", "bf16"), ("e2m1", "f16")])
def test_products_of_upcasts_are_those_of_the_instruction(name: str, contract: str) -> None:
    """By an oracle, which has the values of the patterns from a table of its own."""
    fmt, dtype = parse(name), torch.bfloat16 if contract == "bf16" else torch.float16
    draw = torch.Generator().manual_seed(3)
    codes = torch.randint(0, 1 << fmt.width, (12, 40), generator=draw).to(container(fmt))
    if isinstance(fmt, Posit):
        codes = codes.where(refnum.decode(codes, fmt).isfinite(), 0)
    x = refnum.decode(codes, fmt, dtype=dtype)
    got = refnum.gemm(x, x.mT, contract=f"tc.hopper.{contract}/v1", out_dtype=torch.float32)
    rows = [[code & 0xFFFF for code in row] for row in patterns(x).tolist()]
    names = (str(dtype).removeprefix("torch."),) * 2
    want = [[oracle.dot(a, b, 0, f"hopper.{contract}", names) for b in rows] for a in rows]
    signed = torch.tensor(want).to(torch.int64)
    assert_bit_equal(got, (signed - (signed >> 31 << 32)).to(torch.int32).view(torch.float32))
