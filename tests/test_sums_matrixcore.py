"""Products as AMD's matrix cores make them: against recorded results of MMA-Sim, and against Python's integers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from float_sums import SETTINGS, VECTORS
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles.matrixcore import CORES, dot
from refnum_conformance.peers import mma_sim
from refnum_conformance.tile_inputs import INTEGER, KINDS, tile
from torch import Tensor

from refnum.sums import matrixcore
from refnum.sums.chain import chain_mm
from refnum.sums.matrixcore import ARITHMETICS, INSTRUCTIONS, matrixcore_mm
from refnum.testing import assert_bit_equal

TYPES = {name: dtype for dtype, name in mma_sim.TYPES.items()}
TYPED = [(name, *dtypes) for name, row in INSTRUCTIONS.items() for dtypes in itertools.product(row.operands, repeat=2)]


def patterns(x: Tensor) -> Tensor:
    """The bits of floats of any size."""
    return x.contiguous().view(INTEGER[x.dtype.itemsize])


def ways(name: str) -> tuple[str | None, ...]:
    """Arithmetics that can be forced upon a row."""
    return tuple(ARITHMETICS) if INSTRUCTIONS[name].order == "pairwise" else (None,)


def asked(name: str, a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
    """The product by the oracle, dot by dot."""
    addends = torch.zeros(a.shape[0], b.shape[1]) if c is None else c.expand(a.shape[0], b.shape[1])
    formats = tuple(str(x.dtype).removeprefix("torch.") for x in (a, b))
    sides = [[[code & ((1 << 8 * x.itemsize) - 1) for code in row] for row in patterns(x).tolist()] for x in (a, b.mT)]
    codes = [
        [dot(x, y, z & 0xFFFFFFFF, name, formats) for y, z in zip(sides[1], row, strict=True)]
        for x, row in zip(sides[0], patterns(addends).tolist(), strict=True)
    ]
    bits = torch.tensor(codes, dtype=torch.int64).to(torch.int32)
    return bits.view(a.shape[0], b.shape[1]).view(torch.float32)


class Recorded(NamedTuple):
    """Products of one contract and K, in a batch."""

    name: str
    kinds: list[str]
    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor


@lru_cache(maxsize=1)
def recorded() -> list[Recorded]:
    """What MMA-Sim gave."""
    with np.load(Path(VECTORS) / "gemm_mfma.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    found = []
    for group in sorted({key.rpartition("/")[0] for key in arrays}):
        name, types = group.split("/")
        dtypes = (*(TYPES[text] for text in types.split(".")[0].split("_")), torch.float32, torch.float32)
        sides = [arrays[f"{group}/{letter}"] for letter in "abcd"]
        tensors = [
            torch.from_numpy(x.view(f"{'u' if x.itemsize == 1 else 'i'}{x.itemsize}")).view(dtype)
            for x, dtype in zip(sides, dtypes, strict=True)
        ]
        found.append(Recorded(name, arrays[f"{group}/kind"].tolist(), *tensors))
    return found


# ---- what was recorded ----------------------------------------------------------------------------------------------


def test_recorded_products() -> None:
    count = 0
    for case in recorded():
        for way in (None, *ways(case.name)):
            got = matrixcore_mm(
                case.a, case.b, case.c, torch.float32, instruction=INSTRUCTIONS[case.name], arithmetic=way
            )
            wrong = (patterns(got) != patterns(case.d)).flatten(1).any(1)
            assert not wrong.any(), (case.name, way, {case.kinds[i] for i in wrong.nonzero().flatten()})
        count += case.d.numel()
    assert count == 25296


def test_recorded_products_by_the_oracle() -> None:
    for case in recorded():
        for i in range(len(case.kinds)):
            place = i % case.a.shape[1], i % case.b.shape[2]
            x, y, z = case.a[i, place[0]], case.b[i, :, place[1]], case.c[i][place]
            got = asked(case.name, x[None], y[:, None], z[None, None])
            assert got.view(torch.int32) == case.d[i][place].view(torch.int32), (case.name, case.kinds[i])


def test_everything_is_recorded() -> None:
    names = {case.name for case in recorded()}
    assert names == set(INSTRUCTIONS) == set(CORES)
    assert names == {name for name, unit in mma_sim.UNITS.items() if unit.kind == "mfma"}
    assert {kind for case in recorded() for kind in case.kinds} == set(KINDS)


# ---- against the oracle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "left", "right"), TYPED, ids=str)
def test_every_kind_of_operands(name: str, left: torch.dtype, right: torch.dtype) -> None:
    row = INSTRUCTIONS[name]
    for i, kind in enumerate(KINDS):
        k = (row.terms, row.terms + 1, 1)[i % 3]
        a, b, c = tile(kind, (left, right, torch.float32), (2, 2, k), "test")
        bias = c if i % 4 else None
        want = asked(name, a, b, bias)
        for way in (None, *ways(name)):
            got = matrixcore_mm(a, b, bias, torch.float32, instruction=row, arithmetic=way)
            assert torch.equal(patterns(got), patterns(want)), (kind, way)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_dot(data: st.DataObject) -> None:
    name, left, right = data.draw(st.sampled_from(TYPED))
    row = INSTRUCTIONS[name]
    width = 8 * left.itemsize
    pattern = st.one_of(
        st.integers(0, (1 << width) - 1),
        st.sampled_from([0, 1 << (width - 1), 1, (1 << (width - 2)) - 1, 3 << (width - 3)]),
    )
    k = data.draw(st.integers(1, row.group + 1))
    bits = [data.draw(st.lists(pattern, min_size=k, max_size=k)) for _ in range(2)]
    c = data.draw(st.one_of(st.integers(0, (1 << 32) - 1), st.integers(0x3E000000, 0x41000000), st.just(0x80000000)))
    sides = [
        torch.tensor(codes, dtype=torch.int64).to(INTEGER[left.itemsize]).view(dtype)
        for codes, dtype in zip(bits, (left, right), strict=True)
    ]
    bias = torch.tensor([c], dtype=torch.int64).to(torch.int32).view(torch.float32)
    a, b = sides[0][None], sides[1][:, None]
    got = matrixcore_mm(a, b, bias, torch.float32, instruction=row)
    assert torch.equal(patterns(got), patterns(asked(name, a, b, bias)))


# ---- what the definition says ---------------------------------------------------------------------------------------


def one(name: str, a: list[float], b: list[float], c: float = 0.0) -> float:
    """One dot product."""
    dtype = INSTRUCTIONS[name].operands[0]
    sides = [torch.tensor(x, dtype=torch.float64).to(dtype) for x in (a, b)]
    bias = torch.tensor([c], dtype=torch.float32)
    return matrixcore_mm(sides[0][None], sides[1][:, None], bias, torch.float32, instruction=INSTRUCTIONS[name]).item()


def test_pairs_are_added_first() -> None:
    big = 2.0**12
    assert one("cdna1.f16", [big, 1.0, -big, -1.0], [big, 1.0, big, 1.0]) == 0.0, "1 is lost beside 2**24, twice"
    assert one("cdna1.f16", [big, -big, 1.0, 1.0], [big, big, 1.0, 1.0]) == 2.0
    assert one("cdna1.bf16", [1.0] * 2, [2.0**-24] * 2, 1.0) == 1 + 2.0**-23, "two products are added before c"
    assert one("cdna1.bf16", [1.0, 0.0, 1.0, 0.0], [2.0**-24] * 4, 1.0) == 1.0, "one after the other is not"


def test_cdna2_flushes_subnormals() -> None:
    small = 2.0**-127
    for name in ("cdna1.bf16", "cdna2.bf16", "cdna2.bf16_1k"):
        kept = name.startswith("cdna1")
        assert one(name, [small], [2.0**10]) == (2.0**-117 if kept else 0.0)
        assert one(name, [2.0**-63], [2.0**-64]) == (small if kept else 0.0)
        assert one(name, [0.0], [0.0], small) == (small if kept else 0.0)
        assert one(name, [2.0**-126, -(2.0**-126)], [1.5, 1.0]) == (2.0**-127 if kept else 0.0)
    assert one("cdna2.f16", [2.0**-15], [1.0]) == 0.0, "subnormal in float16"
    assert one("cdna1.f16", [2.0**-15], [1.0]) == 2.0**-15


def test_products_are_cut_to_24_bits_below_the_largest() -> None:
    for name in ("cdna3.bf16", "cdna3.tf32", "cdna3.f16"):
        assert one(name, [1.0, 1.0, -1.0], [1.0, 2.0**-24, 1.0]) == 2.0**-24
        assert one(name, [1.0, 2.0**-12, -1.0], [1.0, 2.0**-13, 1.0]) == 0.0
        assert one(name, [1.0, -(2.0**-12), -1.0], [1.0, 2.0**-13, 1.0]) == 0.0, "towards 0"


def test_sums_are_rounded_down_beside_the_accumulator() -> None:
    for name in ("cdna3.bf16", "cdna3.tf32"):
        assert one(name, [-(2.0**-60)], [1.0], 1.0) == 1.0
        assert one(name, [-(2.0**-60), 0.0], [1.0, 0.0], 1 + 2.0**-23) == 1 + 2.0**-23
        assert one(name, [1.0], [1.0], -(2.0**-60)) == 1 - 2.0**-24, "an accumulator below 0 counts as one unit"
        assert one(name, [1.0], [1.0], 2.0**-60) == 1.0
    assert one("cdna3.bf16.k8", [2.0**-100], [-(2.0**-60)]).hex() == "-0x0.0p+0"
    assert one("cdna3.bf16", [2.0**-100], [-(2.0**-60)]).hex() == "0x0.0p+0", "8 products of 0 follow"


def test_an_accumulator_far_below_products_of_8_bits_is_lost() -> None:
    assert one("cdna3.fp8", [1.0], [1.0], -(2.0**-25)) == 1 - 2.0**-24
    assert one("cdna3.fp8", [1.0], [1.0], -(2.0**-26)) == 1.0


def test_even_and_odd_terms_of_8_bits_are_cut_apart() -> None:
    a, b = [128.0, 0.0, -128.0, -(2.0**-7)], [128.0, 0.0, 128.0, 2.0**-7]
    assert one("cdna3.fp8", a, b) == -(2.0**-10), "the odd ones are rounded down beside the even ones"
    assert one("cdna3.fp8", [*a[:3], 0.0, a[3]], [*b[:3], 0.0, b[3]]) == 0.0, "even ones are cut"


def test_zeros_have_a_binade() -> None:
    # That of 0 is 2**-126, whatever it is multiplied by: beside 2**127 it makes a product of 2.
    assert one("cdna3.bf16", [0.0, 2.0**-12], [2.0**127, 2.0**-12]) == 0.0
    assert one("cdna3.bf16", [0.0, 2.0**-12], [2.0**120, 2.0**-12]) == 2.0**-24


def test_products_beyond_float32_are_infinite() -> None:
    for name in ("cdna3.bf16", "cdna3.tf32"):
        assert one(name, [2.0**64, -(2.0**63)], [2.0**64, 2.0**64]) == float("inf")
        assert str(one(name, [2.0**64, -(2.0**64)], [2.0**64, 2.0**64])) == "nan"
        assert one(name, [2.0**64, 1.0], [2.0**64, 1.0], float("-inf")) == float("-inf"), "beside Inf they are numbers"
        assert one(name, [1.5 * 2.0**63], [1.5 * 2.0**64], -(2.0**127)) == float("inf"), "before c is added"
        assert one(name, [2.0**64 * (1 - 2.0**-8), -1.0], [2.0**64, 1.0]) == 2.0**128 * (1 - 2.0**-8)


def test_an_accumulator_is_minus_zero_until_the_instruction_ends() -> None:
    """Padding is part of an instruction."""
    minus = [-(2.0**-80)] * 2, [2.0**-80] * 2
    assert one("cdna1.bf16.k2", *minus, -0.0).hex() == "-0x0.0p+0"
    assert one("cdna1.bf16.k4", *minus, -0.0).hex() == "0x0.0p+0"
    assert one("cdna2.bf16.k2", *minus, -0.0).hex() == "0x0.0p+0"


def test_float32_operands_make_a_chain() -> None:
    """As the documentation of the module says; recorded with MMA-Sim's f32_4x4x1f32."""
    a, b = torch.tensor([[1.0, 1 + 2.0**-23]]), torch.tensor([[-1.0], [1 - 2.0**-23]])
    assert chain_mm(a, b, None, torch.float32).item() == -(2.0**-46)


def test_definitions_in_words() -> None:
    for name, words in (
        ("cdna1.bf16.k4", "4 an instruction, 2 products at a time added in pairs in float32, their sum then to c"),
        (
            "cdna2.f16",
            "16 an instruction, 4 products at a time added in pairs in float32, subnormals flushed, their sum",
        ),
        ("cdna3.f16.k4", "4 an instruction, 4 products at a time cut to 24 bits below the largest, added, then added"),
        (
            "cdna3.fp8",
            "16 products at a time cut to 24 bits below the largest, those of even and of odd k apart, added",
        ),
    ):
        assert words in INSTRUCTIONS[name].definition
        assert INSTRUCTIONS[name].definition.endswith("; from the bias or +0")


def test_tf32_drops_bits_of_a_nan() -> None:
    """One whose payload lies in them becomes Inf."""
    a = torch.tensor([[0x7F800001]], dtype=torch.int32).view(torch.float32)
    got = matrixcore_mm(a, torch.ones(1, 1), None, torch.float32, instruction=INSTRUCTIONS["cdna3.tf32"])
    assert got.item() == float("inf")


# ---- shapes, batches, layout ----------------------------------------------------------------------------------------

SOME = ("cdna1.f16", "cdna2.bf16_1k", "cdna3.bf16.k4", "cdna3.tf32", "cdna3.fp8")


def operands(name: str, m: int, k: int, n: int, kind: str = "normal") -> tuple[Tensor, Tensor, Tensor]:
    """Operands of a row's first dtype, and a bias [m, n]."""
    dtype = INSTRUCTIONS[name].operands[0]
    return tile(kind, (dtype, dtype, torch.float32), (m, n, k), "shapes")


@pytest.mark.parametrize("name", SOME)
def test_instructions_follow_each_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = INSTRUCTIONS[name]
    a, b, c = operands(name, 3, 5 * row.terms, 4, "far")
    want = matrixcore_mm(a, b, c, torch.float32, instruction=row)
    for k in range(0, a.shape[1], row.terms):
        c = matrixcore_mm(a[:, k : k + row.terms], b[k : k + row.terms], c, torch.float32, instruction=row)
    assert_bit_equal(c, want)
    monkeypatch.setattr(matrixcore, "TERMS", 2 * row.terms)
    assert_bit_equal(
        matrixcore_mm(a, b, operands(name, 3, 5 * row.terms, 4, "far")[2], torch.float32, instruction=row), want
    )


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("tile_size", [1, 7, 1 << 15])
def test_batches_are_their_matrices(name: str, tile_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrixcore, "TILE", tile_size)
    row = INSTRUCTIONS[name]
    for left, right in [((3,), (3,)), ((3,), ()), ((), (2,)), ((2, 1), (3,)), ((0,), ()), ((2, 3), (1, 1))]:
        shape = torch.broadcast_shapes(left, right)
        a, b, _ = operands(name, 3 * max(1, int(np.prod(left))), 5, 4 * max(1, int(np.prod(right))))
        a = a.reshape(-1, 3, 5)[: int(np.prod(left))].reshape(*left, 3, 5)
        b = b.mT.reshape(-1, 4, 5)[: int(np.prod(right))].reshape(*right, 4, 5).mT
        for bias in (None, torch.arange(4.0), torch.arange(3.0)[:, None]):
            got = matrixcore_mm(a, b, bias, torch.float32, instruction=row)
            assert got.shape == (*shape, 3, 4)
            assert got.is_contiguous()
            for place in itertools.product(*map(range, shape)):
                x, y = a.expand(*shape, 3, 5)[place], b.expand(*shape, 5, 4)[place]
                assert_bit_equal(got[place], matrixcore_mm(x, y, bias, torch.float32, instruction=row))


@pytest.mark.parametrize("name", SOME)
def test_a_row_is_the_same_in_any_batch_and_layout(name: str) -> None:
    row = INSTRUCTIONS[name]
    a, b, c = operands(name, 40, 37, 50, "wide")
    want = matrixcore_mm(a, b, c, torch.float32, instruction=row)
    for i in (0, 1, 21, 39):
        assert_bit_equal(matrixcore_mm(a[i : i + 1], b, c[i : i + 1], torch.float32, instruction=row), want[i : i + 1])
        one_column = matrixcore_mm(a, b[:, i : i + 1], c[:, i : i + 1], torch.float32, instruction=row)
        assert_bit_equal(one_column, want[:, i : i + 1])
    strided = [torch.stack([patterns(x), patterns(x)], -1)[..., 1].view(x.dtype) for x in (a, b)]
    transposed = [patterns(x).mT.contiguous().mT.view(x.dtype) for x in (a, b)]
    for x, y in (strided, transposed):
        assert_bit_equal(matrixcore_mm(x, y, c, torch.float32, instruction=row), want)


@pytest.mark.parametrize("name", SOME)
def test_sums_of_nothing_are_the_bias(name: str) -> None:
    a, b, _ = operands(name, 2, 1, 3)
    bias = torch.tensor([[2.0**-130, -0.0, 1 + 2.0**-8], [torch.nan, -torch.inf, 0.0]])
    got = matrixcore_mm(a[:, :0], b[:0], bias, torch.float32, instruction=INSTRUCTIONS[name])
    assert_bit_equal(got, bias.masked_fill(bias.isnan(), 0).where(~bias.isnan(), got))
    assert patterns(got)[1, 0] == 0x7FFFFFFF
    zeros = matrixcore_mm(a[:, :0], b[:0], None, torch.float32, instruction=INSTRUCTIONS[name])
    assert torch.equal(patterns(zeros), torch.zeros(2, 3, dtype=torch.int32))


@pytest.mark.parametrize("name", SOME)
def test_results_are_rounded_once_more(name: str) -> None:
    a, b, c = operands(name, 4, 20, 5)
    sums = matrixcore_mm(a, b, c, torch.float32, instruction=INSTRUCTIONS[name])
    for dtype in (torch.bfloat16, torch.float16):
        got = matrixcore_mm(a, b, c, dtype, instruction=INSTRUCTIONS[name])
        assert_bit_equal(got, sums.to(dtype))


def test_no_operand_is_changed() -> None:
    for name in SOME:
        sides = operands(name, 6, 40, 7, "subnormal")
        before = [patterns(x).clone() for x in sides]
        matrixcore_mm(*sides, torch.float32, instruction=INSTRUCTIONS[name])
        assert all(torch.equal(patterns(x), y) for x, y in zip(sides, before, strict=True))


# ---- settings, and which arithmetic serves --------------------------------------------------------------------------


def all_kinds(name: str) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Operands of every kind, and some that are large enough for several threads."""
    for kind in KINDS:
        yield operands(name, 5, 37, 6, kind)
    yield operands(name, 250, 3, 260, "subnormal")


@functools.cache
def usual_products(name: str) -> tuple[list[tuple[Tensor, Tensor, Tensor]], list[Tensor]]:
    """Operands of all kinds, and their products where nothing is set."""
    sides = list(all_kinds(name))
    return sides, [matrixcore_mm(*side, torch.float32, instruction=INSTRUCTIONS[name]) for side in sides]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["cdna1.bf16", "cdna1.f16", "cdna2.bf16", "cdna2.f16", "cdna3.bf16", "cdna3.tf32"])
def test_no_setting_changes_a_bit(name: str, setting: str) -> None:
    sides, want = usual_products(name)
    with SETTINGS[setting]():
        got = [matrixcore_mm(*side, torch.float32, instruction=INSTRUCTIONS[name]) for side in sides]
    for x, y in zip(got, want, strict=True):
        assert torch.equal(patterns(x), patterns(y))


def test_flushed_subnormals_are_noticed() -> None:
    x = torch.ones(1, 1)
    for name, flushed in (("cdna1.bf16", "definition"), ("cdna2.bf16", "machine")):
        assert matrixcore._fastest(INSTRUCTIONS[name], x) == "machine"
        with SETTINGS["flush denormal"]():
            assert matrixcore._fastest(INSTRUCTIONS[name], x) == flushed


def test_other_devices_go_through_the_definition() -> None:
    assert matrixcore._fastest(INSTRUCTIONS["cdna2.bf16"], torch.ones(1, 1, device="meta")) == "definition"
