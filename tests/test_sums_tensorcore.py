"""Contracts tc.*/v1 of NVIDIA and tcsplit/v1: recorded results, an oracle of integers, and both forms on hard tiles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from float_sums import SETTINGS, VECTORS, floats_of
from refnum_conformance.known_deviations.mma_sim import DOTS, REFUTED, Dot
from refnum_conformance.oracles import tensorcore as oracle
from refnum_conformance.tile_inputs import INTEGER, KINDS, Draw, tile
from torch import Tensor

from refnum import Block, ContractError, UncoveredError, mx
from refnum.formats import e2m1, e4m3, e5m2, e8m0, mxfp4, nvfp4, tf32
from refnum.mx import Blocks
from refnum.sums import tensorcore
from refnum.sums.tensorcore import (
    FORMS,
    INSTRUCTIONS,
    Instruction,
    check_blocks,
    tensorcore_blocks_mm,
    tensorcore_mm,
    tensorcore_split_mm,
)
from refnum.testing import assert_bit_equal

FLOAT32, FLOAT16 = torch.float32, torch.float16
OF_TENSORS = {name: row for name, row in INSTRUCTIONS.items() if not row.blocks}
OF_BLOCKS = {name: row for name, row in INSTRUCTIONS.items() if row.blocks}
HOPPER = INSTRUCTIONS["hopper.bf16"]
AMPERE = INSTRUCTIONS["ampere.bf16"]
OTHER_ZERO = {tensorcore.ZERO: tensorcore.NOTHING, tensorcore.NOTHING: tensorcore.ZERO}
#: one name of each that are alike in everything else
UNLIKE = {replace(row, name=""): name for name, row in reversed(OF_TENSORS.items())}.values()


def codes(x: Tensor) -> list[int]:
    """Patterns, without sign."""
    mask = (1 << 8 * x.dtype.itemsize) - 1
    return [code & mask for code in x.contiguous().view(INTEGER[x.dtype.itemsize]).flatten().tolist()]


def dtypes_of(row: Instruction) -> Iterator[tuple[torch.dtype, torch.dtype, torch.dtype]]:
    """Of a, b and the bias: every mix."""
    yield from itertools.product(row.operands, row.operands, row.biases)


def both(a: Tensor, b: Tensor, bias: Tensor | None, row: Instruction, dtype: torch.dtype | None = None) -> Tensor:
    """The product, by the form in float64; that of the definition is the same."""
    dtype = dtype or row.results[0]
    want = tensorcore_mm(a, b, bias, dtype, instruction=row, form="definition")
    assert_bit_equal(tensorcore_mm(a, b, bias, dtype, instruction=row, form="float64"), want)
    return want


def by_oracle(a: Tensor, b: Tensor, c: Tensor, name: str) -> list[int]:
    """Patterns of the product, dot product by dot product."""
    formats = tuple(str(x.dtype).removeprefix("torch.") for x in (a, b))
    addends = codes(c.expand(a.shape[0], b.shape[1]))
    pairs = itertools.product(map(codes, a), map(codes, b.mT))
    return [oracle.dot(x, y, z, name, formats) for (x, y), z in zip(pairs, addends, strict=True)]


# ---- recorded -----------------------------------------------------------------------------------------------------

TYPES = {
    "bf16": torch.bfloat16,
    "f16": torch.float16,
    "tf32": torch.float32,
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "f32": torch.float32,
}


def recorded(part: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Names and tensors of cases of MMA-Sim (c785138), with C4 or without."""
    with np.load(VECTORS / "gemm_mma.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files if not key.endswith("/mode")}
    for name in sorted({key.rpartition("/")[0] for key in arrays}):
        fields = name.split(".")
        if (fields[0] == "tcsplit") != (part == "tcsplit"):
            continue
        types, accumulator = (fields[2], "f32") if part == "tcsplit" else fields[2:4]
        left, right = (types.split("_") * 2)[:2]
        kinds = {"a": left, "b": right, "c": accumulator, "bias": accumulator, "d": accumulator}
        yield (
            name,
            {
                key: floats_of(arrays[f"{name}/{key}"], TYPES[kind])
                for key, kind in kinds.items()
                if f"{name}/{key}" in arrays
            },
        )


def row_of(name: str) -> Instruction:
    """The row of a recorded case."""
    architecture, instruction, types, accumulator = name.split(".")[:4]
    kind = "fp8" if types.startswith("e") else types
    suffix = {"mma_k8": ".k8"}.get(instruction, "") + {"f16": ".acc16"}.get(accumulator, "")
    return INSTRUCTIONS[f"{architecture}.{kind}{suffix}"]


def simulated(row: Instruction) -> Instruction:
    """As MMA-Sim has it: 0 has the same exponent everywhere, so that no largest one is less."""
    return replace(row, zero=tensorcore.ZERO, least=tensorcore.ZERO)


def test_recorded_tiles() -> None:
    count = 0
    for name, case in recorded("tc"):
        *sides, want = (case[part] for part in "abcd")
        assert_bit_equal(both(*sides, simulated(row_of(name)), want.dtype), want)
        pairs = zip(both(*sides, row_of(name), want.dtype), want, strict=True)
        assert tuple(i for i, (x, y) in enumerate(pairs) if codes(x) != codes(y)) == REFUTED.get(name, ())
        count += want.numel()
    assert count == 40 * 17 * 16 * 8


@pytest.mark.parametrize("pin", DOTS, ids=lambda pin: pin.why)
def test_what_mma_sim_takes_0_for(pin: Dot) -> None:
    row = INSTRUCTIONS[pin.instruction]
    assert row.operands == (FLOAT32,)
    a, b, c = (torch.from_numpy(np.array(x, np.uint32).view(np.float32)) for x in (pin.a, pin.b, pin.c))
    for each, want in ((row, pin.right), (simulated(row), pin.got)):
        assert codes(both(a[None], b[:, None], c[None, None], each)) == [want]
    assert oracle.dot(pin.a, pin.b, pin.c, pin.instruction, ("float32", "float32")) == pin.right


def test_recorded_splits() -> None:
    count = 0
    for name, case in recorded("tcsplit"):
        _, architecture, types, chunk = name.split(".")[:4]
        row = INSTRUCTIONS[f"{architecture}.{'fp8' if types.startswith('e') else types}"]
        for form in FORMS:
            got = tensorcore_split_mm(
                case["a"],
                case["b"],
                case["bias"][:, None],
                FLOAT32,
                instruction=row,
                chunk=int(chunk.removeprefix("Kc")),
                form=form,
            )
            assert_bit_equal(got, case["d"])
        count += 1
    assert count == 2


# ---- the oracle ---------------------------------------------------------------------------------------------------


def test_the_oracle_has_the_rows() -> None:
    rows = {
        name: oracle.Core(
            *(row.fraction, row.terms, row.accumulator.kept.mantissa, 13 * (tf32 in row.formats), row.group),
            zeros=row.zero == tensorcore.ZERO,
            least=row.least,
        )
        for name, row in INSTRUCTIONS.items()
    }
    assert rows == oracle.CORES
    assert len(UNLIKE) == 32


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_rows_on_every_kind_of_tile(name: str) -> None:
    row = INSTRUCTIONS[name]
    for kind, dtypes in itertools.product(KINDS, dtypes_of(row)):
        a, b, c = tile(kind, dtypes, (2, 3, 2 * row.terms - 1))
        assert codes(both(a, b, c, row)) == by_oracle(a, b, c, name), (kind, dtypes)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (i % 4 > 0)) for i, name in enumerate(UNLIKE)]
)
def test_forms_agree_on_larger_tiles(name: str) -> None:
    row = INSTRUCTIONS[name]
    for kind, dtypes in itertools.product(KINDS, dtypes_of(row)):
        both(*tile(kind, dtypes, (24, 40, 3 * row.terms + 1), 1), row)


@pytest.mark.parametrize("name", UNLIKE)
def test_tiles_notice_wrong_rows(name: str) -> None:
    """A bit more or less, another rounding, blocks of another size, another exponent of 0: each is noticed."""
    row = INSTRUCTIONS[name]
    rounding = {"toward_zero": "nearest_even", "nearest_even": "toward_zero"}[row.accumulator.rounding]
    wrong = {
        "fraction + 1": replace(row, fraction=row.fraction + 1),
        "fraction - 1": replace(row, fraction=row.fraction - 1),
        "rounding": replace(row, accumulator=row.accumulator._replace(rounding=rounding)),
        "terms * 2": replace(row, terms=2 * row.terms),
        "terms / 2": replace(row, terms=row.terms // 2),
    }
    dtypes = next(dtypes_of(row))
    few, zeros = [faint(row.fraction), faint(row.fraction + 1)], [16]
    if row.formats[0].max_scale > 100:  # else no product can vanish beside a 0
        few, zeros = [*few, ([0.0, 2.0**-30], [2.0**126, 2.0**-30])], [*zeros, OTHER_ZERO[row.zero]]
    tiles = [tile(kind, dtypes, (8, 12, 2 * row.terms), 2) for kind in KINDS]
    for a, b in few:
        c = torch.zeros(1, 1, dtype=dtypes[2])
        tiles.append((torch.tensor([a]).to(dtypes[0]), torch.tensor([b]).to(dtypes[1]).mT, c))
    want = [tensorcore_mm(*sides, row.results[0], instruction=row) for sides in tiles]

    def notices(mutant: Instruction, form: str) -> bool:
        got = (tensorcore_mm(*sides, row.results[0], instruction=mutant, form=form) for sides in tiles)
        return any(codes(x) != codes(y) for x, y in zip(got, want, strict=True))

    for what, form in itertools.product(wrong, FORMS):
        assert notices(wrong[what], form), (what, form)
    for zero, form in itertools.product(zeros, FORMS):
        assert notices(replace(row, zero=zero), form), (zero, form)


# ---- single cases -------------------------------------------------------------------------------------------------


def dot(a: list[float], b: list[float], c: float, row: Instruction) -> float:
    """A dot product of few terms, by both forms."""
    bias = torch.tensor([[c]], dtype=row.biases[0])
    left, right = torch.tensor([a], dtype=row.operands[0]), torch.tensor([b], dtype=row.operands[0]).mT
    return both(left, right, bias, row).item()


def faint(below: int) -> tuple[list[float], list[float]]:
    """Two terms that take each other away, and one that is so many bits below them."""
    exponent = 16 - below
    return [2.0**8, -(2.0**8), 2.0 ** (exponent // 2)], [2.0**8, 2.0**8, 2.0 ** (exponent - exponent // 2)]


@pytest.mark.parametrize("name", OF_TENSORS)
def test_so_many_bits_stay_below_the_largest_exponent(name: str) -> None:
    row = INSTRUCTIONS[name]
    last, beyond = faint(row.fraction), faint(row.fraction + 1)
    assert dot(*last, 0.0, row) == 2.0 ** (16 - row.fraction)
    assert dot(*beyond, 0.0, row) == 0.0
    assert dot([-x for x in beyond[0]], beyond[1], 0.0, row) == 0.0, "toward 0, not down"


@pytest.mark.parametrize("name", OF_TENSORS)
def test_a_block_has_so_many_terms(name: str) -> None:
    """What is cut beside large terms of its own block stays in the next one."""
    row = INSTRUCTIONS[name]
    (*a, x), (*b, y) = faint(row.fraction + 1)
    for zeros, want in ((row.terms - 3, 0.0), (row.terms - 2, 2.0 ** (15 - row.fraction))):
        assert dot([*a, *[0.0] * zeros, x], [*b, *[0.0] * zeros, y], 0.0, row) == want


def test_zero_has_an_exponent() -> None:
    tiny = 2.0**-30
    assert dot([0.0, tiny], [2.0**126, tiny], 0.0, AMPERE) == 0.0
    assert dot([0.0, tiny], [1.0, tiny], 0.0, AMPERE) == tiny * tiny
    assert dot([0.0, 2.0**-100], [1.0, 2.0**-20], 0.0, AMPERE) == 2.0**-120, "-126 is the exponent of 0, not 0"
    assert dot(*DEEP, 0.0, AMPERE) == 0.0, "that of c is -126, too"
    assert dot([2.0**-24], [2.0**-24], 0.0, INSTRUCTIONS["ampere.f16.acc16"]) == 0.0


#: 2**-149, of products with bits down to 2**-158, and to 2**-159; 73 * 7 = 2**9 - 1, and 33 * 31 = 2**10 - 1
DEEP, TOO_DEEP = (
    ([73 * 2.0**-80, 2.0**-80], [7 * 2.0**-78, 2.0**-78]),
    ([33 * 2.0**-80, 2.0**-80], [31 * 2.0**-79, 2.0**-79]),
)


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_on_hopper_zero_has_no_exponent(zero: float) -> None:
    tiny, largest = 2.0**-60, 2.0**127
    for name in ("hopper.bf16", "hopper.bf16.k8", "hopper.tf32", "hopper.tf32.k4"):
        row = INSTRUCTIONS[name]
        assert dot([zero, tiny], [largest, tiny], zero, row) == tiny * tiny
        assert dot([largest, tiny], [zero, tiny], zero, row) == tiny * tiny
        for parts, want in ((DEEP, 2.0**-149), (TOO_DEEP, 0.0)):
            assert dot(*parts, zero, row) == want, "the largest exponent is -133 at least"
            assert dot([*parts[0], zero], [*parts[1], largest], zero, row) == want
        assert dot([zero, largest], [largest, zero], 2.0**-149, row) == 2.0**-149
        assert dot(*DEEP, 2.0**-149, row) == 2.0**-149, "a c that is subnormal counts at -126"
        assert dot([zero], [zero], zero, row).hex() == "0x0.0p+0"
    for name, high, last in (("hopper.f16", 2.0**15, 2.0**-149), ("hopper.fp8", 2.0**8, 2.0**-139)):
        assert dot([zero, high], [high, zero], last, INSTRUCTIONS[name]) == last
    low = INSTRUCTIONS["hopper.f16.acc16"]
    assert dot([2.0**-20], [2.0**-4], 2.0**-24, low) == 2.0**-23, "a c that is not 0 counts at -14 at least"


def test_sums_are_cut_toward_0() -> None:
    for sign in (1.0, -1.0):
        assert dot([sign, sign * 2.0**-12], [1.0, 1.875 * 2.0**-11], 0.0, HOPPER) == sign * (1 + 2.0**-23)
        assert dot([sign, sign * 2.0**-12], [1.0, 1.875 * 2.0**-12], 0.0, HOPPER) == sign
        assert dot([sign * 2.0**-75], [1.875 * 2.0**-75], 0.0, HOPPER) == 0.0


def test_a_sum_that_becomes_0_is_positive() -> None:
    for a, b, c in (([-0.0], [1.0], -0.0), ([-(2.0**-100)], [2.0**-50], 0.0), ([1.0, -1.0], [1.0, 1.0], -0.0)):
        for name in ("hopper.bf16", "ampere.tf32", "hopper.f16.acc16", "ada.fp8"):
            assert dot(a, b, c, INSTRUCTIONS[name]).hex() == "0x0.0p+0"


def test_fp8_accumulates_in_22_bits() -> None:
    row = INSTRUCTIONS["hopper.fp8"]
    assert dot([0.0], [0.0], 1 + 2.0**-20, row) == 1.0
    assert dot([0.0], [0.0], 1 + 2.0**-13, row) == 1 + 2.0**-13
    assert dot([0.0], [0.0], 2.0**-139, row) == 2.0**-139
    assert dot([0.0], [0.0], 1.5 * 2.0**-139, row) == 2.0**-139
    assert dot([0.0], [0.0], 2.0**-140, row) == 0.0


def test_tf32_is_cut() -> None:
    row = INSTRUCTIONS["hopper.tf32"]
    assert dot([1 + 2.0**-10 + 2.0**-11], [1.0], 0.0, row) == 1 + 2.0**-10
    assert dot([2.0**-137], [1.0], 0.0, row) == 0.0
    nan = torch.tensor([[0x7F800001]], dtype=torch.int32).view(FLOAT32)  # its payload is cut off
    assert both(nan, torch.ones(1, 1), None, row).item() == torch.inf
    assert codes(both(nan, torch.zeros(1, 1), None, row)) == [0x7FFFFFFF]


def test_overflow_is_infinite_and_lasts() -> None:
    large = 2.0**64
    assert dot([large], [large], 0.0, HOPPER) == torch.inf
    assert dot([large], [large * (1 - 2.0**-8)], 0.0, HOPPER) == large * large * (1 - 2.0**-8)
    block = [large, *[0.0] * 15]
    assert dot([*block, -large], [*block, large], 0.0, HOPPER) == torch.inf
    assert np.isnan(dot([*block, -torch.inf], [*block, large], 0.0, HOPPER))
    low = INSTRUCTIONS["hopper.f16.acc16"]
    assert dot([65504.0, 16.0], [1.0, 0.9995], 0.0, low) == 65504.0
    assert dot([65504.0, 16.0], [1.0, 1.0], 0.0, low) == torch.inf
    assert dot([1.0], [1.0], torch.inf, low) == torch.inf


def test_float16_accumulators_are_rounded_to_nearest_even() -> None:
    low = INSTRUCTIONS["ampere.f16.acc16"]
    for tail, want in ((2.0**-11, 1.0), (1.5 * 2.0**-11, 1 + 2.0**-10), (3 * 2.0**-11, 1 + 2.0**-9)):
        assert dot([1.0, tail], [1.0, 1.0], 0.0, low) == want
        assert dot([-1.0, -tail], [1.0, 1.0], 0.0, low) == -want


def test_nan_is_the_largest_pattern() -> None:
    a, b = torch.tensor([[torch.inf, 1.0]]), torch.tensor([[0.0], [1.0]])
    for name in ("hopper.bf16", "hopper.f16.acc16"):
        row = INSTRUCTIONS[name]
        for dtype in row.results[:3]:
            got = both(a.to(row.operands[0]), b.to(row.operands[0]), None, row, dtype)
            assert codes(got) == [0x7FFFFFFF if dtype == FLOAT32 else 0x7FFF]


def test_sums_of_nothing_are_the_bias() -> None:
    bias = torch.tensor([[2.0**-130, -0.0, 1 + 2.0**-20], [torch.nan, -torch.inf, 0.0]])
    for name in ("hopper.bf16", "hopper.fp8"):
        row = INSTRUCTIONS[name]
        a, b = torch.empty(2, 0, dtype=row.operands[0]), torch.empty(0, 3, dtype=row.operands[0])
        assert_bit_equal(both(a, b, None, row), torch.zeros(2, 3))
        got = both(a, b, bias, row)
        assert codes(got[0]) == codes(bias[0])
        assert codes(got[1])[0] == 0x7FFFFFFF


def test_results_are_rounded_from_the_accumulator() -> None:
    a, b, c = tile("normal", (torch.bfloat16, torch.bfloat16, FLOAT32), (9, 8, 40))
    accumulators = both(a, b, c, HOPPER)
    for dtype in HOPPER.results[1:3]:
        assert_bit_equal(both(a, b, c, HOPPER, dtype), accumulators.to(dtype))


# ---- blocks -------------------------------------------------------------------------------------------------------


def blocks(fmt: Block, rows: int, terms: int, scales: str, *seed: object) -> Blocks:
    """Any codes of elements, some of them 0, under scales of a kind."""
    draw = Draw(fmt.name, rows, terms, scales, *seed)

    def whole(low: int, high: int, *shape: int) -> Tensor:
        return draw.whole(low, high, *shape).to(torch.uint8)

    count = -(-terms // fmt.tile[1])
    stored = rows, count * fmt.tile[1]  # the codes that fill up the last block are not read
    elements = whole(0, 1 << fmt.element.width, *stored) * whole(0, 4, *stored).clamp(max=1)
    if scales != "any":  # neither NaN nor Inf
        elements = torch.where((elements & 0x7F) > fmt.element.largest, 0, elements)
    middle = 127 if fmt.scale == e8m0 else 56
    low, high = {"near": (middle - 2, middle + 3), "wide": (0, 120), "any": (0, 256)}[scales]
    return Blocks(
        mx.pack4(elements) if fmt.packed == 2 else elements,
        whole(low, high, rows, count),
        fmt,
        torch.Size((rows, terms)),
    )


def blocks_by_oracle(x: Blocks, y: Blocks, c: Tensor, name: str) -> list[int]:
    """Patterns of the product, dot product by dot product."""

    def rows(side: Blocks) -> list[oracle.Blocks]:
        element = {e2m1: "e2m1", e4m3: "float8_e4m3fn", e5m2: "float8_e5m2"}[side.fmt.element]  # type: ignore[index]
        formats = element, "e8m0" if side.fmt.scale == e8m0 else "ue4m3"
        whole = side.scales.shape[-1] * side.fmt.tile[1] - side.shape[-1]
        pairs = zip(side.codes.tolist(), side.scales.tolist(), strict=True)
        return [oracle.Blocks([*elements, *[0] * whole], scales, formats) for elements, scales in pairs]

    pairs = itertools.product(rows(x), rows(y))
    return [oracle.blocks_dot(u, v, z, name) for (u, v), z in zip(pairs, codes(c), strict=True)]


def both_of_blocks(x: Blocks, y: Blocks, c: Tensor | None, row: Instruction) -> Tensor:
    want = tensorcore_blocks_mm(x, y, c, FLOAT32, instruction=row, form="definition")
    assert_bit_equal(tensorcore_blocks_mm(x, y, c, FLOAT32, instruction=row, form="float64"), want)
    return want


def pairs_of_blocks() -> Iterator[Any]:
    """All pairs of formats by all kinds of scales; of unlike formats most wait for the slow tests."""
    for name, row in OF_BLOCKS.items():
        for pair, scales in itertools.product(itertools.product(row.blocks, row.blocks), ("near", "wide", "any")):
            marks = [pytest.mark.slow] * (pair[0] != pair[1] and scales != "wide")
            yield pytest.param(name, *pair, scales, marks=marks)


@pytest.mark.parametrize(("name", "left", "right", "scales"), list(pairs_of_blocks()), ids=str)
def test_blocks(name: str, left: Block, right: Block, scales: str) -> None:
    row, draw = INSTRUCTIONS[name], Draw(name)
    for terms in (32, 64, 160, 20, 2):
        x, y = blocks(left, 4, terms, scales), blocks(right, 5, terms, scales, 1)
        for c in (torch.zeros(4, 5), draw.significands(4, 5).float(), draw.bits(FLOAT32, 4, 5)):
            assert codes(both_of_blocks(x, y, c, row)) == blocks_by_oracle(x, y, c, name), terms


#: of mxf4 and nvf4: scales of a block, and log2 of a product of 1 and 1 under the first and the last of them
FAINT = {"blackwell.mxf4": ([145, 128], 36, 2), "blackwell.nvf4": ([0x78, 0x78, 0x01, 0x01], 16, -18)}


@pytest.mark.parametrize("name", FAINT)
def test_so_many_bits_stay_below_the_largest_scale(name: str) -> None:
    row = INSTRUCTIONS[name]
    scales, high, low = FAINT[name]
    half, one, minus_one = 1, 2, 0b1010

    def side(*heads: int) -> Blocks:
        """The first elements of four groups of 16."""
        elements = torch.zeros(1, 4, 16, dtype=torch.uint8)
        elements[0, :, 0] = torch.tensor(heads)
        packed = mx.pack4(elements.view(1, 64))
        return Blocks(packed, torch.tensor([scales], dtype=torch.uint8), row.blocks[0], torch.Size((1, 64)))

    # 1 - 1 under the largest exponent, and less: from 4 times the last bit that stays down to half of it
    tails = [(one, one), (one, half), (half, half)]
    x, y = ([side(one, sign, tail[i], 0) for tail in tails] for i, sign in ((0, one), (1, minus_one)))
    bit = high - row.fraction
    for u, v, value in zip(x, y, (low, low - 1, low - 2), strict=True):
        want = 2.0**value if value >= bit else 0.0
        assert both_of_blocks(u, v, None, row).item() == want
    assert any(value == bit - 1 for value in (low, low - 1, low - 2)), "one that is cut, by a bit"


def test_the_sign_of_a_scale_is_not_read() -> None:
    x = mx.quantize(torch.ones(2, 64), nvfp4)
    negative = replace(x, scales=x.scales | 0x80)
    row = INSTRUCTIONS["blackwell.nvf4"]
    assert_bit_equal(both_of_blocks(negative, x, None, row), both_of_blocks(x, x, None, row))


def test_blocks_come_in_batches() -> None:
    row = INSTRUCTIONS["blackwell.mxf4"]
    draw = Draw("batches")
    x, y = (mx.quantize(draw.significands(*shape).float(), mxfp4, pad=True) for shape in ((3, 2, 40), (7, 40)))
    got = both_of_blocks(x, y, None, row)
    assert got.shape == (3, 2, 7)
    for i in range(3):
        part = Blocks(x.elements[i], x.scales[i], mxfp4, torch.Size((2, 40)))
        assert_bit_equal(got[i], both_of_blocks(part, y, None, row))


def test_other_blocks_are_refused() -> None:
    row = INSTRUCTIONS["blackwell.nvf4"]
    x = mx.quantize(torch.ones(2, 64), mxfp4)
    message = (
        r"^mx_mm under tc\.blackwell\.nvf4/v1 cannot take mxfp4 for a\. Allowed are nvfp4\. Quantize to one of those, "
        r"or choose another contract\.$"
    )
    with pytest.raises(ContractError, match=message):
        check_blocks("mx_mm", "a", x, row)
    scaled = replace(mx.quantize(torch.ones(2, 64), nvfp4), tensor_scale=torch.tensor(2.0))
    message = (
        r"^mx_mm under tc\.blackwell\.nvf4/v1 got a tensor_scale for b: the instruction has no factor for a whole "
        r"tensor\. Allowed is None\. Multiply the result instead\.$"
    )
    with pytest.raises(UncoveredError, match=message) as caught:
        check_blocks("mx_mm", "b", scaled, row)
    assert caught.value.op == "tc.blackwell.nvf4/v1"
    check_blocks("mx_mm", "a", mx.quantize(torch.ones(2, 64), nvfp4), row)


# ---- chunks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hopper.bf16", "hopper.fp8", "ampere.tf32", "hopper.f16.acc16"])
@pytest.mark.parametrize("terms", [0, 1, 31, 32, 33, 96, 100, 160])
def test_chunks_are_joined_by_a_tree(name: str, terms: int) -> None:
    row = INSTRUCTIONS[name]
    dtype = row.operands[0]
    for kind in ("normal", "wide", "tiny"):
        a, b, bias = tile(kind, (dtype, dtype, FLOAT32), (3, 5, terms))
        parts = [slice(start, start + 32) for start in range(0, max(1, terms), 32)]
        level = [tensorcore_mm(a[:, p], b[p], None, row.results[0], instruction=row).float() for p in parts]
        while len(level) > 1:
            rest = level[len(level) & ~1 :]
            level = [x + y for x, y in zip(level[::2], level[1::2], strict=False)] + rest
        for addend, want in ((None, level[0]), (bias, level[0] + bias)):
            for form in FORMS:
                got = tensorcore_split_mm(a, b, addend, FLOAT32, instruction=row, chunk=32, form=form)
                assert_bit_equal(got, torch.where(want.isnan(), got, want))
                assert torch.equal(got.isnan(), want.isnan())


# ---- batches, layout, tiles ---------------------------------------------------------------------------------------

BATCHES = [
    ((3, 4, 5), (3, 5, 2)),
    ((3, 4, 5), (5, 2)),
    ((4, 5), (3, 5, 6)),
    ((2, 1, 4, 40), (3, 40, 2)),
    ((2, 3, 4, 5), (1, 1, 5, 7)),
    ((0, 4, 5), (5, 2)),
    ((2, 0, 5), (2, 5, 3)),
    ((2, 4, 0), (2, 0, 3)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES, ids=str)
@pytest.mark.parametrize("sizes", [(1, 16, 1), (3, 32, 100), (1 << 9, 1 << 10, 1 << 17)], ids=str)
def test_batches_are_their_matrices(
    left: tuple[int, ...], right: tuple[int, ...], sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Draw(left, right)
    a, b = (draw.significands(*shape).bfloat16() for shape in (left, right))
    shape = torch.Size((*torch.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1]))
    biases = [None, *(draw.significands(*s).float() for s in ((right[-1],), shape, (left[-2], 1)))]
    matrices = {}
    for (i, bias), place in itertools.product(enumerate(biases), itertools.product(*map(range, shape[:-2]))):
        x, y = (side.expand(*shape[:-2], *side.shape[-2:])[place] for side in (a, b))
        addend = None if bias is None else bias.expand(shape)[place]
        matrices[i, place] = tensorcore_mm(x, y, addend, FLOAT32, instruction=HOPPER)
    for name, size in zip(("SIDE", "TERMS", "PRODUCTS"), sizes, strict=True):
        monkeypatch.setattr(tensorcore, name, size)
    for i, bias in enumerate(biases):
        got = both(a, b, bias, HOPPER)
        assert got.shape == shape
        assert got.is_contiguous()
        for place in itertools.product(*map(range, shape[:-2])):
            assert_bit_equal(got[place], matrices[i, place])


def test_a_row_is_the_same_in_any_batch_and_layout() -> None:
    a, b, _ = tile("normal", (torch.bfloat16, torch.bfloat16, FLOAT32), (40, 50, 70))
    bias = Draw("bias").significands(50).float()
    multiply = partial(tensorcore_mm, dtype=FLOAT32, instruction=HOPPER)
    want = multiply(a, b, bias)
    for i in (0, 1, 21, 39):
        assert_bit_equal(multiply(a[i : i + 1], b, bias), want[i : i + 1])
        assert_bit_equal(multiply(a, b[:, i : i + 1], bias[i : i + 1]), want[:, i : i + 1])
    strided = torch.stack([a, a], -1)[..., 0], torch.stack([b, b], -1)[..., 1]
    for x, y in (strided, (a.mT.contiguous().mT, b.mT.contiguous().mT), (torch._neg_view(-a), torch._neg_view(-b))):
        assert_bit_equal(multiply(x, y, bias), want)


def test_no_operand_is_changed() -> None:
    for name, row in OF_TENSORS.items():
        sides = tile("normal", next(dtypes_of(row)), (6, 7, 40))
        before = [codes(x) for x in sides]
        both(*sides, row)
        tensorcore_mm(sides[1].mT, sides[0].mT, sides[2].mT, row.results[0], instruction=row)
        assert [codes(x) for x in sides] == before, name


def test_terms_are_whole_blocks_of_every_row() -> None:
    assert all(tensorcore.TERMS % row.terms == 0 for row in INSTRUCTIONS.values())


# ---- settings, and which form serves ------------------------------------------------------------------------------


HARD = ("normal", "subnormal", "tiny", "cancel", "huge", "bits")


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    rows = [INSTRUCTIONS[key] for key in ("hopper.bf16", "ampere.tf32", "hopper.f16.acc16", "hopper.fp8")]
    tiles = {(row.name, kind): tile(kind, next(dtypes_of(row)), (7, 9, 40)) for row in rows for kind in HARD}
    x, y = blocks(mxfp4, 5, 64, "any"), blocks(mxfp4, 6, 64, "any", 1)

    def everything() -> Iterator[list[int]]:
        for (row, _), sides in tiles.items():
            for form in FORMS:
                yield codes(
                    tensorcore_mm(*sides, INSTRUCTIONS[row].results[0], instruction=INSTRUCTIONS[row], form=form)
                )
        for row, kind in tiles:
            a, b, c = tiles[row, kind]
            yield codes(tensorcore_split_mm(a, b, c.float(), FLOAT32, instruction=INSTRUCTIONS[row], chunk=32))
        for form in FORMS:
            yield codes(
                tensorcore_blocks_mm(x, y, None, FLOAT32, instruction=INSTRUCTIONS["blackwell.mxf4"], form=form)
            )

    want = list(everything())
    with SETTINGS[name]():
        got = list(everything())
    assert got == want


def test_other_devices_and_subclasses_follow_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = tile("normal", (torch.bfloat16, torch.bfloat16, FLOAT32), (3, 4, 20))
    want = both(a, b, c, HOPPER)
    monkeypatch.setitem(FORMS, "float64", None)
    monkeypatch.setattr(tensorcore, "on_cpu", lambda *operands: False)
    assert_bit_equal(tensorcore_mm(a, b, c, FLOAT32, instruction=HOPPER), want)


def test_rows_describe_themselves() -> None:
    assert HOPPER.definition == (
        "k ascending, blocks of 16 products: with the accumulator aligned to the largest exponent of what is not 0, "
        "-133 at least, cut to 25 bits below it, added, rounded toward zero to float32; from the bias or +0"
    )
    assert "aligned to the largest exponent, cut" in AMPERE.definition
    assert "rounded toward zero to 22 bits (13 of a fraction)" in INSTRUCTIONS["hopper.fp8"].definition
    assert "rounded nearest even to float16" in INSTRUCTIONS["volta.f16.acc16"].definition
    assert "4 exact sums of 16 products" in INSTRUCTIONS["blackwell.nvf4"].definition
