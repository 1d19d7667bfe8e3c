"""Golden vectors of operations: right by other arithmetic, edges first, and the same for the same seed."""

from __future__ import annotations

import json
import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import refnum
from refnum import mx, posit
from refnum.errors import ContractError, FormatError
from refnum.formats import (
    DMF,
    Block,
    Exponent,
    FixedPoint,
    Logarithmic,
    bfp,
    block_log,
    block_minifloat,
    e2m1,
    e4m3,
    e5m2,
    e8m0,
    float32,
    mxfp4,
    mxfp8_e5m2,
    mxint,
    mxint8,
    nf4,
    nvfp4,
    parse,
    posit8,
    posit16,
)
from refnum.lab.dots import Dot
from refnum.lab.export import Vectors, golden, read_readmemh
from refnum.testing.operations import find

COUNT = 24


def made(tmp_path: Path, *arguments: Any, **options: Any) -> Vectors:
    operation, fmt = arguments
    return read_readmemh(golden(operation, fmt, tmp_path, **{"count": COUNT, **options}))


def whole(limbs: Tensor) -> list[int]:
    """Integers of limbs of 64 bits."""
    return [
        sum((x & (1 << 64) - 1) << 64 * i for i, x in enumerate(row[:-1])) + (row[-1] << 64 * (len(row) - 1))
        for row in limbs.tolist()
    ]


def fractions(codes: Tensor, fmt: Any) -> list[list[Fraction]]:
    """The values of codes, through float64, which holds them."""
    return [[Fraction(x) for x in row] for row in refnum.decode(codes, fmt).tolist()]


# ---- dot products ---------------------------------------------------------------------------------------------------

SCALARS = [
    *(FixedPoint(8, 6), FixedPoint(5, 9), FixedPoint(4, 0, signed=False), FixedPoint(12, 4, symmetric=True)),
    *(FixedPoint(32, 16), FixedPoint(32, 0, signed=False), posit8, posit16, e4m3, e5m2, e2m1),
    *(DMF(3, 4), Logarithmic(6), nf4),
]


@pytest.mark.parametrize("fmt", SCALARS, ids=str)
def test_accumulators_of_values_are_exact(fmt: Any, tmp_path: Path) -> None:
    found = made(tmp_path, "dot", fmt, k=5)
    a, b = (fractions(found[side], fmt) for side in "ab")
    sums = [sum(x * y for x, y in zip(u, v, strict=True)) for u, v in zip(a, b, strict=True)]
    port = found.ports["accumulator"]
    unit = Fraction(2) ** Dot(fmt, 5).unit
    assert [x * unit for x in whole(port.codes[:, 0])] == sums
    assert len(sums) > 2 * COUNT
    assert 0 in sums


@pytest.mark.parametrize("fmt", [posit8, posit16, parse("posit(11,1)")], ids=str)
def test_accumulators_of_posits_are_quires(fmt: Any, tmp_path: Path) -> None:
    found = made(tmp_path, "dot", fmt, k=3)
    quire = refnum.Quire(fmt, (found.depth,))
    for i in range(3):
        quire.mul_add(found["a"][:, i], found["b"][:, i])
    register = quire.to_bytes("little").tolist()
    assert found.ports["accumulator"].bits == fmt.quire_bits
    mask = (1 << fmt.quire_bits) - 1
    accumulators = [x & mask for x in whole(found.ports["accumulator"].codes[:, 0])]
    assert accumulators == [int.from_bytes(bytes(x), "little") & mask for x in register]
    assert found["result"].flatten().tolist() == quire.to_posit().tolist()


BLOCKS = [
    *(mxint8, mxint(8, 4), mxint(4, 8), mxint(5, 4, rule="ceil"), mxfp4, Block(e4m3, e8m0, 8)),
    *(Block(FixedPoint(6, 5), Exponent(4), 4), bfp(5, 4), block_minifloat(6, 3, 4), block_log(5, 4)),
]


@pytest.mark.parametrize("fmt", BLOCKS, ids=str)
def test_accumulators_of_blocks_are_exact(fmt: Block, tmp_path: Path) -> None:
    found = made(tmp_path, "dot", fmt, k=2, to=FixedPoint(24, 10))
    a, b = (fractions(found[f"{side}_elements"], fmt.element) for side in "ab")
    bias = 0 if isinstance(fmt.scale, Exponent) else 127
    exponents = (found["a_scale"] + found["b_scale"] - 2 * bias + Dot(fmt, 2).unit).tolist()
    assert found["exponent"].tolist() == exponents
    size = fmt.size
    for row in range(0, found.depth, 7):  # 7 has no common factor with the corners
        total = Fraction(0)
        for block in range(2):
            terms = zip(a[row][block * size :][:size], b[row][block * size :][:size], strict=True)
            exact = sum(x * y for x, y in terms) / Fraction(2) ** Dot(fmt, 2).unit
            assert whole(found.ports["accumulator"].codes[row, block : block + 1])[0] == exact
            total += exact * Fraction(2) ** exponents[row][block]
        assert found["result"][row, 0] == max(-(1 << 23), min((1 << 23) - 1, round(total * 1024)))


@pytest.mark.parametrize("fmt", [mxint8, mxfp4, mxfp8_e5m2, nvfp4], ids=str)
def test_results_of_blocks_are_those_of_mx_mm(fmt: Block, tmp_path: Path) -> None:
    found = made(tmp_path, "dot", fmt, k=2)
    operands = tuple(found[name] for name in ("a_scale", "a_elements", "b_scale", "b_elements"))
    (want,) = find("dot", str(fmt), k=2).right(tuple(x & (0xFF if x.shape[1] > 2 else 0xFFFFFFFF) for x in operands))
    negative_zero = want == 1 << 31  # an integer has no sign at 0
    assert torch.equal(found["result"][~negative_zero], want[~negative_zero])
    assert negative_zero.any()
    assert not (found["result"][negative_zero] & 0x7FFFFFFF).any()
    assert ("exponent" in found.ports) == (fmt != nvfp4)


def test_results_may_be_of_any_format_and_rounding(tmp_path: Path) -> None:
    for rounding in ("toward_negative", "to_odd"):
        for to in ("bfloat16", "posit16", "fixed(6,3)"):
            found = made(tmp_path, "dot", mxint(8, 4), k=1, to=to, rounding=rounding, name="v")
            exact = torch.ldexp(found["accumulator"].double(), found["exponent"])
            want = refnum.encode(exact, parse(to), rounding=rounding)
            width = parse(to).width
            assert torch.equal(found["result"] & (1 << width) - 1, want.long() & (1 << width) - 1)
            assert (found.rounding, found.format["result"]) == (rounding, to)


@pytest.mark.parametrize("to", [FixedPoint(8, 4), FixedPoint(10, 9), float32, refnum.bfloat16], ids=str)
@pytest.mark.parametrize("fmt", [FixedPoint(8, 6), mxint8], ids=str)
def test_ties_are_ties(fmt: Any, to: Any, tmp_path: Path) -> None:
    found = made(tmp_path, "dot", fmt, k=4, to=to, kinds=["ties"])
    exact = [Fraction(x) * Fraction(2) ** Dot(fmt, 4).unit for x in found["accumulator"].sum(1).tolist()]
    if isinstance(to, FixedPoint):
        assert all((x * 2**to.fraction).denominator == 2 for x in exact) or isinstance(fmt, Block)
    elif fmt == mxint8 and to == refnum.bfloat16:
        bits = [abs(x.numerator).bit_length() for x in exact]
        assert sum(n == to.significand_bits + 1 for n in bits) == COUNT
    assert found.depth == COUNT


def test_edges_come_first(tmp_path: Path) -> None:
    found = made(tmp_path, "dot", mxint(8, 4), k=1)
    first = slice(0, 900)
    corners = {tuple(x) for x in torch.cat([found["a_elements"], found["b_elements"]], 1)[first].tolist()}
    for left in (0, -128, 127, 1, -1):
        for right in (0, -128, 127, 1, -1):
            assert (left,) * 4 + (right,) * 4 in corners
    assert 65536 in found["accumulator"][first].flatten().tolist()
    assert {0, 1, 127, 128, 254} <= set(found["a_scale"][first].flatten().tolist())


def test_sums_that_are_too_wide(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=re.escape("golden cannot sum products of log(16): that takes ")):
        golden("dot", Logarithmic(16), tmp_path)
    with pytest.raises(FormatError, match=re.escape("golden has no k=0: a dot product has 1 to 65536 values")):
        golden("dot", posit8, tmp_path, k=0)
    with pytest.raises(
        ContractError, match=re.escape("golden has no option m=2 for a dot product. Allowed are k, to,")
    ):
        golden("dot", posit8, tmp_path, m=2)
    with pytest.raises(ContractError, match=re.escape("golden has no kind='none'. Choose one of edges, ties, ")):
        golden("add", posit8, tmp_path, kinds=())
    with pytest.raises(FormatError, match="golden needs a"):
        golden("dot", "posit8", tmp_path)
    with pytest.raises(ContractError, match=re.escape("golden has no kind='corners'. Choose one of edges, ties, ")):
        golden("add", posit8, tmp_path, kinds=["corners"])
    assert not list(tmp_path.iterdir())


# ---- other operations -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["add", "fma", "sqrt"])
def test_operations_of_posits(operation: str, tmp_path: Path) -> None:
    found = made(tmp_path, operation, posit16, kinds=("edges", "ties", "spaced", "random"))
    operands = [found[name].flatten() for name in "abc" if name in found.ports]
    want = getattr(posit, operation)(*operands, posit16)
    assert torch.equal(found["result"].flatten(), want.to(torch.int64))
    nar = posit16.nar
    assert not any((x == nar).any() for x in (*operands, want))
    assert found.format == {"operation": operation, "format": "posit16", **dict.fromkeys([*found.ports], "posit16")}
    more = made(tmp_path, operation, posit16, nan=True)
    assert (more["a"] == nar).any()
    assert more.ports["a"].nan


@pytest.mark.parametrize("fmt", [FixedPoint(8, 4), DMF(4, 3), Logarithmic(8), nf4, e4m3, posit8], ids=str)
def test_encode_and_quantize(fmt: Any, tmp_path: Path) -> None:
    found = made(tmp_path, "encode", fmt, rounding="toward_zero")
    x = found["x"].flatten().to(torch.int32).view(torch.float32)
    mask = (1 << fmt.width) - 1
    want = refnum.encode(x, fmt, rounding="toward_zero")
    assert torch.equal(found["code"].flatten() & mask, want.long() & mask)
    assert x.isfinite().all()
    values = made(tmp_path, "quantize", fmt)
    x, y = (values[name].flatten().to(torch.int32).view(torch.float32) for name in ("x", "result"))
    assert torch.equal(refnum.quantize(x, fmt).view(torch.int32), y.view(torch.int32))


def test_blocks_are_quantized(tmp_path: Path) -> None:
    found = made(tmp_path, "quantize", mxfp4)
    x = found["x"].to(torch.int32).view(torch.float32)
    blocks = mx.quantize(x, mxfp4)
    assert torch.equal(found["scale"], blocks.scales.long())
    assert torch.equal(found["elements"], blocks.codes.long())
    assert (found["scale"] != 255).all()
    assert [port.kind for port in found.ports.values()] == ["mantissa", "expected", "expected"]


def test_the_same_arguments_give_the_same_files(tmp_path: Path) -> None:
    def files(folder: str, **options: Any) -> dict[str, bytes]:
        golden("dot", mxint8, tmp_path / folder, k=2, **{"count": COUNT, **options})
        return {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}

    first = files("a")
    assert first == files("b")
    other = files("c", seed=1)
    assert first.keys() == other.keys()
    assert {name for name in first if first[name] == other[name]} == set()


def test_names_follow_from_format_and_operation(tmp_path: Path) -> None:
    assert golden("abs", parse("posit(6,1)"), tmp_path, count=5).name == "posit_6_1_abs.json"
    assert golden("abs", posit8, tmp_path, count=5, name="mine").name == "mine.json"
    fields = json.loads((tmp_path / "mine.json").read_text())
    assert (fields["value"], fields["rounding"]) == ("codes of the formats named", "nearest_even")
    with pytest.raises(FormatError, match="export_readmemh has no name=''"):
        golden("abs", posit8, tmp_path, count=5, name="")


def test_infinite_products() -> None:
    inf, one, zero, nan = 0x7C, 0x3C, 0, 0x7E  # of e5m2
    rows = [(inf, one, inf, one), (inf, one, -128 | inf, one), (inf, zero, one, one), (nan, one, one, one)]
    a, b = torch.tensor([[r[0], r[2]] for r in rows]) & 0xFF, torch.tensor([[r[1], r[3]] for r in rows])
    values = refnum.decode(Dot(e5m2, 2, float32).answers(a, b).result, float32).tolist()
    assert values[0] == math.inf
    assert all(map(math.isnan, values[1:]))
