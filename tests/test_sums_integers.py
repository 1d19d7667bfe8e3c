"""Contracts int/v1(bits, acc, overflow): products of integers in accumulators that refuse, wrap or saturate."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from float_sums import SETTINGS
from torch import Tensor

from refnum import ContractError, DTypeError, gemm
from refnum.sums import integers
from refnum.sums.contracts import find
from refnum.sums.integers import OVERFLOWS, Integers, int_mm

PAIRS = list(itertools.product((torch.int8, torch.uint8), repeat=2))
BOUNDS = {
    (8, torch.int8, torch.int8): 131071,
    (8, torch.uint8, torch.int8): 65793,
    (8, torch.int8, torch.uint8): 65793,
    (8, torch.uint8, torch.uint8): 33025,
    (4, torch.int8, torch.int8): (1 << 25) - 1,
}


def drawn(dtype: torch.dtype, *shape: int, seed: int = 0, ends: bool = False) -> Tensor:
    """Any values, or the ends of the range alone."""
    row, generator = torch.iinfo(dtype), torch.Generator().manual_seed(seed)
    if ends:
        return torch.tensor([row.min, row.max])[torch.randint(0, 2, shape, generator=generator)].to(dtype)
    return torch.randint(row.min, row.max + 1, shape, generator=generator).to(dtype)


def by_integers(a: Tensor, b: Tensor) -> list[list[int]]:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in b.mT.tolist()] for row in a.tolist()]


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_products(left: torch.dtype, right: torch.dtype, ends: bool) -> None:
    for m, k, n in ((1, 1, 1), (3, 0, 2), (2, 257, 3), (3, 515, 1), (2, 1025, 2), (2, 5000, 2)):
        a, b = drawn(left, m, k, ends=ends), drawn(right, k, n, seed=1, ends=ends)
        got = int_mm(a, b, None)
        assert got.dtype == torch.int32
        assert got.tolist() == by_integers(a, b)
        bias = torch.tensor([-7, 1 << 20, 5], dtype=torch.int32)[:n]
        assert torch.equal(int_mm(a, b, bias), got + bias)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_the_definition(left: torch.dtype, right: torch.dtype) -> None:
    a, b = drawn(left, 5, 70), drawn(right, 70, 6, seed=1)
    sums = torch.zeros(5, 6, dtype=torch.int64)
    integers._add_by_definition(sums, a, b, 1)
    assert sums.tolist() == by_integers(a, b)


def test_subclasses_go_through_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Tensor):
        pass

    monkeypatch.setattr(integers, "_add_by_floats", None)
    a, b = drawn(torch.int8, 5, 70), drawn(torch.uint8, 70, 6, seed=1)
    assert int_mm(a.as_subclass(Other), b, None).tolist() == by_integers(a, b)


@pytest.mark.parametrize("key", BOUNDS, ids=str)
def test_bounds_on_k(key: tuple[int, torch.dtype, torch.dtype]) -> None:
    """The largest K serves, with the largest of all sums; one more is refused, before any work."""
    bits, left, right = key
    largest = {(8, torch.int8): -128, (8, torch.uint8): 255, (4, torch.int8): -8}
    terms = BOUNDS[key]
    a = torch.full((1, 1), largest[bits, left], dtype=left).expand(1, terms)
    b = torch.full((1, 1), largest[bits, right], dtype=right).expand(terms, 1)
    product = largest[bits, left] * largest[bits, right]
    if bits == 8:
        assert int_mm(a, b, None, row=Integers(bits)).item() == terms * product
    assert terms * abs(product) < 1 << 31 <= (terms + 1) * abs(product)
    with pytest.raises(ContractError, match=f"K={terms + 1}.*K up to {terms} for"):
        int_mm(a[:, :1].expand(1, terms + 1), b[:1].expand(terms + 1, 1), None, row=Integers(bits))


def test_room_for_the_bias() -> None:
    a, b = torch.full((1, 100), -128, dtype=torch.int8), torch.full((100, 1), -128, dtype=torch.int8)
    room = (1 << 31) - 1 - 100 * (1 << 14)
    for bias in (room, -room, 0):
        assert int_mm(a, b, torch.tensor([bias], dtype=torch.int32)).item() == 100 * (1 << 14) + bias
    for bias in (room + 1, -room - 1, -(1 << 31)):
        with pytest.raises(ContractError, match=f"bias from {bias} to {bias}.*magnitudes up to {room}"):
            int_mm(a, b, torch.tensor([bias], dtype=torch.int32))
    assert int_mm(a[:0], b, torch.empty(0, dtype=torch.int32)[:, None]).shape == (0, 1)


def test_four_bits() -> None:
    values = torch.arange(-8, 8, dtype=torch.int8)
    a, b = values[:, None].expand(16, 3), values[None].expand(3, 16)
    assert int_mm(a, b, None, row=Integers(4)).tolist() == by_integers(a, b)
    for wrong in (-9, 8, 127, -128):
        x = torch.full((3, 3), 2, dtype=torch.int8)
        x[1, 2] = wrong
        for name, sides in (("a", (x, b)), ("b", (a, x))):
            with pytest.raises(ContractError, match=rf"values from .* in {name}\. Allowed are -8 to 7\. Clamp"):
                int_mm(*sides, None, row=Integers(4))
        assert int_mm(x, x, None).tolist() == by_integers(x, x)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: int_mm(x.int(), x, None), DTypeError, "no torch.int32 for a. Allowed are int8, uint8. Convert it."),
        (lambda x: int_mm(x, x.float(), None), DTypeError, "no torch.float32 for b. Allowed are int8, uint8."),
        (
            lambda x: int_mm(x, x.byte(), None, row=Integers(4)),
            DTypeError,
            "(bits=4) has no torch.uint8 for b. Allowed are int8.",
        ),
        (
            lambda x: int_mm(x, x, None, row=Integers(12)),
            DTypeError,
            "int/v1(bits=12) has no torch.int8 for a. Allowed are int16. Convert it.",
        ),
        (
            lambda x: int_mm(x, x, x.int(), torch.int64, row=Integers(acc=33)),
            DTypeError,
            "int/v1(acc=33) has no torch.int32 for bias. Allowed is int64. Convert it.",
        ),
        (
            lambda x: int_mm(x.expand(2, 2), x[:, :1], None, row=Integers(acc=15)),
            ContractError,
            "int/v1(acc=15) got K=2, a sum of which could wrap in 15 bits. Allowed is K up to 0 for these operands. "
            "Choose more bits for acc, or wrap or saturate for overflow; or sum shorter parts.",
        ),
        (
            lambda x: gemm(x, x, contract="int/v1(bits=1)"),
            ContractError,
            "gemm has no bits=1 for int/v1. Allowed are 2 to 16. Choose one of them.",
        ),
        (
            lambda x: gemm(x, x, contract="int/v1(acc=65)"),
            ContractError,
            "gemm has no acc=65 for int/v1. Allowed are 2 to 64. Choose one of them.",
        ),
        (
            lambda x: gemm(x, x, contract="int/v1(overflow=clip)"),
            ContractError,
            "gemm under int/v1 has no overflow='clip'. Choose one of refuse, wrap, saturate.",
        ),
        (
            lambda x: gemm(x, x, contract="int/v1(width=8)"),
            ContractError,
            "gemm cannot take 'width=8' for int/v1. Allowed are bits=8, acc=32, overflow=refuse, each once. Set those.",
        ),
        (
            lambda x: gemm(x, x, contract="int/v1(overflow=wrap)", out_dtype=torch.int64),
            DTypeError,
            "gemm under int/v1(overflow=wrap) has no torch.int64 for out_dtype. Allowed are int32. Convert it.",
        ),
        (lambda x: int_mm(x, x, x.float()), DTypeError, "no torch.float32 for bias. Allowed is int32. Convert it."),
        (lambda x: int_mm(x, x, None, torch.int64), DTypeError, "cannot return torch.int64. Allowed is int32"),
    ],
)
def test_what_is_refused(call: object, error: type[Exception], text: str) -> None:
    assert callable(call)
    with pytest.raises(error) as caught:
        call(torch.ones(2, 2, dtype=torch.int8))
    assert text in str(caught.value)


BATCHES = [
    ((3, 4, 5), (3, 5, 2)),
    ((3, 4, 5), (5, 2)),
    ((4, 5), (3, 5, 6)),
    ((2, 1, 4, 5), (3, 5, 2)),
    ((0, 4, 5), (5, 2)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES, ids=str)
@pytest.mark.parametrize("tile", [1, 7, 1 << 18])
def test_batches_and_tiles(
    left: tuple[int, ...], right: tuple[int, ...], tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integers, "TILE", tile)
    a, b = drawn(torch.int8, *left), drawn(torch.uint8, *right, seed=1)
    bias = torch.arange(right[-1], dtype=torch.int32)
    assert torch.equal(int_mm(a, b, bias), (a.long() @ b.long()).int() + bias)
    strided = torch.stack([a, -a], -1)[..., 0], b.mT.contiguous().mT
    assert torch.equal(int_mm(*strided, bias), int_mm(a, b, bias))


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    for (left, right), ends in itertools.product(PAIRS, (False, True)):
        a, b = drawn(left, 40, 1500, ends=ends), drawn(right, 1500, 50, seed=1, ends=ends)
        want = int_mm(a, b, None)
        with SETTINGS[name]():
            assert torch.equal(int_mm(a, b, None), want)


def test_without_products_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = drawn(torch.uint8, 40, 1500), drawn(torch.int8, 1500, 50, seed=1)
    want = int_mm(a, b, None)
    monkeypatch.setattr(integers, "multiplies_in_float32", lambda: False)
    assert torch.equal(int_mm(a, b, None), want)


# ---- accumulators of any width ------------------------------------------------------------------------------------


def accumulator(terms: list[int], acc: int, overflow: str) -> int:
    """One result, by Python's integers: the bias comes first."""
    low, high = -(1 << (acc - 1)), (1 << (acc - 1)) - 1
    total = 0
    for term in terms:
        total += term
        if overflow == "saturate":
            total = min(max(total, low), high)
    return (total - low) % (1 << acc) + low if overflow == "wrap" else total


def expected(a: Tensor, b: Tensor, bias: Tensor | None, acc: int, overflow: str) -> list[list[int]]:
    start = torch.zeros(len(a), b.shape[1], dtype=torch.int64) if bias is None else bias.expand(len(a), b.shape[1])
    return [
        [
            accumulator([z, *(x * y for x, y in zip(row, column, strict=True))], acc, overflow)
            for column, z in zip(b.mT.tolist(), biases, strict=True)
        ]
        for row, biases in zip(a.tolist(), start.tolist(), strict=True)
    ]


def values(bits: int, *shape: int, seed: int, ends: bool) -> Tensor:
    """Integers of so many bits, or the ends of their range and what lies beside them alone."""
    generator = torch.Generator().manual_seed(seed)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    drawn = torch.randint(low, high + 1, shape, generator=generator)
    picked = torch.tensor([low, low, low + 1, high, 0, 1])[torch.randint(0, 6, shape, generator=generator)]
    return (picked if ends else drawn).to(torch.int8 if bits <= 8 else torch.int16)


def biases(acc: int, columns: int) -> Tensor:
    """Both ends of the accumulator and of the dtype, what lies beside them, and 0."""
    dtype = torch.int32 if acc <= 32 else torch.int64
    low, high, row = -(1 << (acc - 1)), (1 << (acc - 1)) - 1, torch.iinfo(dtype)
    ends = [low, high, 0, high - 1, low + 1, row.min, row.max]
    return torch.tensor(ends, dtype=dtype)[torch.arange(columns) % len(ends)]


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("acc", [2, 3, 4, 5, 6])
def test_all_operands_of_two_bits(acc: int, overflow: str) -> None:
    """Each of 4**6 pairs of three terms, with every bias that the accumulator holds."""
    row = Integers(2, acc, overflow)
    pairs = torch.cartesian_prod(*[torch.arange(-2, 2, dtype=torch.int8)] * 6)
    a, b = pairs[:, None, :3], pairs[:, 3:, None]
    start = torch.arange(-(1 << (acc - 1)), 1 << (acc - 1), dtype=torch.int32)
    got = int_mm(a, b.expand(-1, 3, len(start)), start, row=row)[:, 0]
    products = (pairs[:, :3] * pairs[:, 3:]).tolist()
    want = [[accumulator([z, *terms], acc, overflow) for z in start.tolist()] for terms in products]
    assert got.tolist() == want


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
@pytest.mark.parametrize("acc", [2, 9, 15, 24, 31, 32, 33, 40, 63, 64])
@pytest.mark.parametrize("bits", [2, 5, 8, 12, 16])
def test_accumulators_that_wrap_or_saturate(bits: int, acc: int, overflow: str) -> None:
    row = Integers(bits, acc, overflow)
    for k, ends in ((0, False), (1, True), (37, False), (37, True), (300, True)):
        a, b = values(bits, 3, k, seed=k, ends=ends), values(bits, k, 9, seed=k + 1, ends=ends)
        for bias in (None, biases(acc, 9)):
            got = int_mm(a, b, bias, row.result, row=row)
            assert got.dtype == row.result
            assert got.tolist() == expected(a, b, bias, acc, overflow)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_bytes_saturate(left: torch.dtype, right: torch.dtype) -> None:
    a, b = drawn(left, 4, 60, ends=True), drawn(right, 60, 5, seed=1, ends=True)
    for acc in (12, 17, 20):
        for overflow in ("wrap", "saturate"):
            got = int_mm(a, b, None, row=Integers(8, acc, overflow))
            assert got.tolist() == expected(a, b, None, acc, overflow)


def test_the_order_matters_where_sums_saturate() -> None:
    a, ones = torch.tensor([[7, 7, -7, -7]], dtype=torch.int8), torch.ones(4, 1, dtype=torch.int8)
    row = Integers(8, 4, "saturate")
    assert int_mm(a, ones, None, row=row).item() == -7  # 7, 7, 0, -7
    assert int_mm(a[:, [0, 2, 1, 3]], ones, None, row=row).item() == 0
    assert int_mm(a.flip(1), ones, None, row=row).item() == 6  # -7, -8, -1, 6
    assert int_mm(a, ones, torch.tensor([100], dtype=torch.int32), row=row).item() == -7  # the bias is loaded as 7


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_exact_where_no_sum_leaves_the_accumulator(overflow: str) -> None:
    a, b = drawn(torch.int8, 6, 100), drawn(torch.int8, 100, 7, seed=1)
    for acc in (22, 32, 40, 64):  # 100 * 2**14 < 2**21
        row = Integers(8, acc, overflow)
        assert int_mm(a, b, None, row.result, row=row).tolist() == by_integers(a, b)


@pytest.mark.parametrize("row", [Integers(8, 18, "saturate"), Integers(12, 40, "saturate"), Integers(16, 32, "wrap")])
def test_fast_forms_have_the_bits_of_the_definition(row: Integers, monkeypatch: pytest.MonkeyPatch) -> None:
    for k, ends in ((40, False), (40, True), (2000, False)):
        a, b = values(row.bits, 8, k, seed=3, ends=ends), values(row.bits, k, 9, seed=4, ends=ends)
        got = int_mm(a, b, biases(row.acc, 9), row.result, row=row)
        with monkeypatch.context() as patch:
            patch.setattr(integers, "on_cpu", lambda *operands: False)
            patch.setattr(integers, "_may_saturate", lambda *arguments: True)
            patch.setattr(integers, "_add_by_floats", None)
            assert torch.equal(got, int_mm(a, b, biases(row.acc, 9), row.result, row=row))
        monkeypatch.setattr(integers, "TILE", 20)
        assert torch.equal(got, int_mm(a, b, biases(row.acc, 9), row.result, row=row))


def test_values_of_fewer_bits_than_the_dtype_has() -> None:
    x = torch.full((2, 2), 2047, dtype=torch.int16)
    assert int_mm(x, x, None, row=Integers(12)).tolist() == by_integers(x, x)
    with pytest.raises(
        ContractError, match=r"int/v1\(bits=12\) got values from 2047 to 2048 in b\. Allowed are -2048 to"
    ):
        int_mm(x, x + torch.tensor([0, 1], dtype=torch.int16), None, row=Integers(12))


# ---- names --------------------------------------------------------------------------------------------------------

SPELLINGS = {
    "int/v1": ["int", "int/v1", "int/v1()", "int/v1(bits=8)", "int(acc=32)", "int/v1(bits=8, acc=32, overflow=refuse)"],
    "int/v1(bits=4)": ["int/v1(bits=4)", "int(bits=4)", "int/v1(overflow=refuse,bits=4)"],
    "int/v1(bits=12, acc=48, overflow=wrap)": ["int/v1(acc=48,overflow=wrap,bits=12)"],
    "int/v1(overflow=saturate)": ["int/v1(acc=32, overflow=saturate)"],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_one_name_for_every_spelling(name: str) -> None:
    for spelling in SPELLINGS[name]:
        row = find("test", spelling)
        assert row.name == name
        assert row == find("test", name)
        assert copy.copy(row) == row


def test_gemm_takes_the_family() -> None:
    a, b = values(16, 3, 20, seed=0, ends=True), values(16, 20, 4, seed=1, ends=True)
    got = gemm(a, b, contract="int/v1(bits=16, acc=36, overflow=saturate)")
    assert got.dtype == torch.int64
    assert got.tolist() == expected(a, b, None, 36, "saturate")
    vector = gemm(a[0], b[:, 0], contract="int/v1(bits=16, acc=30, overflow=wrap)")
    assert vector.item() == expected(a[:1], b[:, :1], None, 30, "wrap")[0][0]
    assert vector.dtype == torch.int32
