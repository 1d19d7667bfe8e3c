"""gemm: every contract, as users call it: dtypes, shapes, gradients; and bits that nothing else can move."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from functools import partial

import pytest
import torch
from float_sums import DATA, Term, chain_dot, exact_dot, operands, patterns, product, rounded_sum, row_of
from refnum_conformance.oracles.minifloat import Row
from torch import Tensor

import refnum
from refnum import ContractError, DTypeError, RefnumError, ShapeError, UncoveredError, gemm
from refnum.sums import contracts
from refnum.sums.contracts import CONTRACTS, FAMILIES, Contract, find
from refnum.sums.operands import FP8, widened
from refnum.testing import assert_bit_equal

#: the oracle's rows
EIGHT_BITS = {
    torch.float8_e4m3fn: Row(4, 3, 7, "fn"),
    torch.float8_e5m2: Row(5, 2, 15),
    torch.float8_e4m3fnuz: Row(4, 3, 8, "fnuz"),
    torch.float8_e5m2fnuz: Row(5, 2, 16, "fnuz"),
}


def rows() -> Iterator[Contract]:
    """Every contract whose bits are promised, families with their defaults."""
    for name in (*CONTRACTS, *FAMILIES):
        row = find("test", name)
        if row.multiply is not None and not name.startswith(("unversioned", "sgbi.dispatch")):
            yield row


ROWS_OF_GEMM = list(rows())
#: tensor cores that stand for those of other architectures and shapes, which are run with the slow tests
SOME_TC = ("tc.turing.f16", "tc.ampere.tf32", "tc.hopper.bf16", "tc.hopper.fp8", "tc.hopper.fp8.acc16", "tc.cdna1.bf16")
SOME_TC += ("tc.cdna2.f16", "tc.cdna3.bf16", "tc.cdna3.fp8")
SPREAD = [
    pytest.param(
        row,
        marks=[pytest.mark.slow] * (row.name.startswith("tc.") and row.name.removesuffix("/v1") not in SOME_TC),
        id=row.name,
    )
    for row in ROWS_OF_GEMM
]


def drawn(dtype: torch.dtype, *shape: int, seed: int = 0) -> Tensor:
    """Normal values, a few zeros among them, or integers, in a dtype of operands."""
    g = torch.Generator().manual_seed(seed)
    if not dtype.is_floating_point:
        return torch.randint(0, 8, shape, generator=g).to(dtype)
    x = torch.randn(shape, generator=g) * (torch.rand(shape, generator=g) > 0.05)
    return x.to(dtype)


def same(got: Tensor, want: Tensor) -> bool:
    """Whether two results have the same bits."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    return torch.equal(got.reshape(-1).contiguous().view(torch.uint8), want.reshape(-1).contiguous().view(torch.uint8))


# ---- dtypes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, *FP8], ids=str)
@pytest.mark.parametrize("contract", ["chain/v1", "exact/v1"])
def test_narrow_operands_are_widened_exactly(dtype: torch.dtype, contract: str) -> None:
    codes = torch.arange(64).to(torch.uint8).view(8, 8) * 3
    a = codes.view(dtype) if dtype in FP8 else drawn(dtype, 8, 8)
    b = codes.flip(0).view(dtype) if dtype in FP8 else drawn(dtype, 8, 8, seed=1)
    got = gemm(a, b, contract=contract)
    assert got.dtype == (torch.float32 if dtype in FP8 else dtype)
    dot = chain_dot if contract == "chain/v1" else exact_dot
    assert_bit_equal(got, product(dot, widened(a), widened(b), None, got.dtype))


@pytest.mark.parametrize("dtype", FP8, ids=str)
def test_every_code_of_8_bits_is_widened_to_its_value(dtype: torch.dtype) -> None:
    codes = torch.arange(256).to(torch.uint8)
    row, float32 = EIGHT_BITS[dtype], row_of(torch.float32)
    got = [Term.of(code, float32) for code in patterns(widened(codes.view(dtype))).tolist()]
    want = [Term.of(code, row) for code in codes.tolist()]
    assert [rounded_sum([value], float32) for value in got] == [rounded_sum([term], float32) for term in want]


@pytest.mark.parametrize("dtype", FP8, ids=str)
@pytest.mark.parametrize(
    "kind", ["normal", "integers", "ties", "cancelling", "overflow", "zeros", "results that vanish"]
)
def test_exact_sums_are_rounded_once_to_8_bits(dtype: torch.dtype, kind: str) -> None:
    a, b, bias = operands(kind, 5, 7, 6)
    for z in (None, bias * 2.0**-30):
        got = gemm(a, b, z, contract="exact/v1", out_dtype=dtype).view(torch.uint8)
        want = torch.tensor(_codes_of_8_bits(a, b, z, dtype), dtype=torch.uint8)
        assert torch.equal(got, want), (kind, dtype)


def test_ties_of_8_bits_are_decided_by_what_float32_has_lost() -> None:
    a = torch.tensor([[1.0, 0.0625, 2.0**-60], [1.0, 0.0625, 0.0], [1.0, 0.0625, -(2.0**-60)]])
    for bias, want in ((None, [1.125, 1.0, 1.0]), (torch.tensor(-(2.0**-61)), [1.125, 1.0, 1.0])):
        got = gemm(a, torch.ones(3, 1), bias, contract="exact/v1", out_dtype=torch.float8_e4m3fn)
        assert got.to(torch.float32)[:, 0].tolist() == want
    # a chain has lost it, too, and has 1.0625 for all
    got = gemm(a, torch.ones(3, 1), out_dtype=torch.float8_e4m3fn)
    assert got.to(torch.float32)[:, 0].tolist() == [1.0, 1.0, 1.0]


def _codes_of_8_bits(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> list[list[int]]:
    row, float32 = EIGHT_BITS[dtype], row_of(torch.float32)

    def terms(x: Tensor) -> list[list[Term]]:
        return [[Term.of(pattern, float32) for pattern in line] for line in patterns(x).tolist()]

    addends = None if bias is None else terms(bias.expand(len(a), b.shape[1]))
    return [
        [
            rounded_sum([u * v for u, v in zip(x, y, strict=True)] + ([] if addends is None else [addends[i][j]]), row)
            for j, y in enumerate(terms(b.mT))
        ]
        for i, x in enumerate(terms(a))
    ]


def test_exact_sums_take_any_two_dtypes_and_float64() -> None:
    a, b = drawn(torch.float64, 4, 9), drawn(torch.bfloat16, 9, 5, seed=1)
    for x, y, natural in ((a, b, torch.float64), (a.float(), b, torch.float32), (a.half(), b, torch.float32)):
        got = gemm(x, y, contract="exact/v1")
        assert got.dtype == natural
        wide = [side if side.dtype == torch.float64 else widened(side) for side in (x, y)]
        assert_bit_equal(got, product(exact_dot, *wide, None, natural))


def test_results_are_rounded_once_to_each_dtype() -> None:
    a, b, bias = operands("ties", 6, 5, 4)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for contract, dot in (("chain/v1", chain_dot), ("exact/v1", exact_dot)):
            assert_bit_equal(gemm(a, b, bias, contract=contract, out_dtype=dtype), product(dot, a, b, bias, dtype))


# ---- shapes -------------------------------------------------------------------------------------------------------

SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (4,)),
    ((4,), (3, 4, 2)),
    ((2, 1, 3, 2), (3, 2, 1)),
    ((0, 4), (4, 5)),
    ((3, 0), (0, 5)),
    ((2, 0, 3, 4), (4, 5)),
    ((3, 4), (4, 0)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
@pytest.mark.parametrize("contract", ["chain/v1", "exact/v1"])
def test_shapes_are_those_of_matmul(left: tuple[int, ...], right: tuple[int, ...], contract: str) -> None:
    a = torch.arange(torch.Size(left).numel()).view(left).float() - 7
    b = torch.arange(torch.Size(right).numel()).view(right).float() % 5 + 1
    want = torch.matmul(a, b)
    assert_bit_equal(gemm(a, b, contract=contract), want)
    for shape in {tuple(want.shape), tuple(want.shape[-1:]), (), (1,) * want.dim()}:
        bias = torch.arange(torch.Size(shape).numel()).view(shape).float()
        assert_bit_equal(gemm(a, b, bias, contract=contract), want + bias)


@pytest.mark.parametrize("row", ROWS_OF_GEMM, ids=str)
def test_no_terms_give_the_bias_or_plus_0(row: Contract) -> None:
    dtype = row.operands[0]
    a, b = torch.zeros(2, 0).to(dtype), torch.zeros(0, 3).to(dtype)
    got = gemm(a, b, contract=row)
    assert got.shape == (2, 3)
    assert not got.contiguous().view(torch.uint8).any()
    bias = torch.tensor([-0.0, 3.0, -2.0]).to(row.biases[0])
    got = gemm(a, b, bias, contract=row, out_dtype=row.results[0])
    assert got[0, 1:].tolist() == [3.0, -2.0]


# ---- what bits depend on ------------------------------------------------------------------------------------------

SIZES = (*range(1, 131), 255, 256, 257, 1023, 1024, 1025)


@pytest.mark.parametrize("row", SPREAD)
def test_rows_and_columns_do_not_know_how_many_they_are(row: Contract) -> None:
    dtype, terms = row.operands[0], 70
    a, b = drawn(dtype, SIZES[-1], terms), drawn(dtype, terms, 3, seed=1)
    whole = gemm(a, b, contract=row)
    for m in SIZES:
        assert same(gemm(a[-m:], b, contract=row), whole[-m:]), m
    flipped = gemm(b.T, a.T, contract=row)
    assert same(flipped, whole.T)
    for n in (1, 2, 7, 8, 31, 32, 33, 127, 128, 129, 1000):
        assert same(gemm(b.T, a.T[:, :n], contract=row), flipped[:, :n]), n


@pytest.mark.parametrize("row", SPREAD)
def test_batches_strides_and_threads_move_nothing(row: Contract) -> None:
    dtype = row.operands[0]
    a, b = drawn(dtype, 3, 40, 65), drawn(dtype, 65, 37, seed=1)
    want = gemm(a, b, contract=row)
    assert same(torch.stack([gemm(x, b, contract=row) for x in a]), want)
    assert same(gemm(a.mT.contiguous().mT, b.T.contiguous().T, contract=row), want)
    room = torch.zeros(3, 40, 131).to(dtype)
    room[..., 1::2] = a
    assert same(gemm(room[..., 1::2], b, contract=row), want)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert same(gemm(a, b, contract=row), want)
    finally:
        torch.set_num_threads(threads)


def test_exact_sums_have_no_order() -> None:
    draw = random.Random(5)
    for kind in ("normal", "wide", "cancelling", "ties", "overflow", "subnormal results"):
        a, b, bias = operands(kind, 4, 67, 5)
        want = gemm(a, b, bias, contract="exact/v1")
        for _ in range(4):
            order = torch.tensor(draw.sample(range(67), 67))
            assert_bit_equal(gemm(a[:, order], b[order], bias, contract="exact/v1"), want)


def test_a_chain_is_no_torch_mm() -> None:
    """torch.mm may be the chain for few terms and not for many: tests of few would certify it."""
    a, b, _ = operands("normal", 8, 1000, 8)
    right = gemm(a, b)
    assert_bit_equal(right[:2, :2], product(chain_dot, a[:2], b[:, :2], None, torch.float32))
    descending = gemm(a.flip(1), b.flip(0))
    split = gemm(a[:, :384], b[:384]) + gemm(a[:, 384:], b[384:])
    assert not same(descending, right)
    assert not same(split, right)
    assert same(gemm(a[:, :384], b[:384]) + gemm(a[:, 384:384], b[384:384]), gemm(a[:, :384], b[:384]))


# ---- gradients ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "right"), [s for s in SHAPES if 0 not in s[0] + s[1]])
def test_gradients(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(3)
    a, b = (torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in (left, right))
    bias = torch.randn(torch.matmul(a, b).shape[-1:], generator=g, dtype=torch.float64, requires_grad=True)

    def call(*tensors: Tensor) -> Tensor:
        return gemm(*tensors, contract="exact/v1")

    assert torch.autograd.gradcheck(call, (a, b, bias))
    assert torch.autograd.gradgradcheck(call, (a, b, bias), fast_mode=True)


def test_gradients_are_rounded_once_over_a_batch_that_was_broadcast() -> None:
    a, b, bias = drawn(torch.float32, 4, 3, 5), drawn(torch.float32, 5, 2), drawn(torch.float32, 2)
    leaves = [x.clone().requires_grad_() for x in (a, b, bias)]
    upstream = drawn(torch.float32, 4, 3, 2, seed=9)
    gemm(*leaves).backward(upstream)
    flat = upstream.reshape(12, 2)
    ones = torch.ones(1, 12)
    assert_bit_equal(leaves[0].grad, gemm(upstream, b.T, contract="exact/v1"))
    assert_bit_equal(leaves[1].grad, product(exact_dot, a.reshape(12, 5).T, flat, None, torch.float32))
    assert_bit_equal(leaves[2].grad, product(exact_dot, ones, flat, None, torch.float32)[0])


# ---- names and errors ---------------------------------------------------------------------------------------------


def test_names() -> None:
    assert find("gemm", "exact") is CONTRACTS["exact/v1"]
    assert find("gemm", CONTRACTS["chain/v1"]) is CONTRACTS["chain/v1"]
    assert str(CONTRACTS["chain/v1"]) == "chain/v1"
    assert all(name == row.name for name, row in CONTRACTS.items())
    for row in ROWS_OF_GEMM:
        assert find("gemm", row.name) == row
        assert row.definition


@pytest.mark.parametrize("row", ROWS_OF_GEMM, ids=str)
def test_a_row_is_saved_as_its_name(row: Contract) -> None:
    file = io.BytesIO()
    torch.save(row, file)
    file.seek(0)
    same = torch.load(file, weights_only=False)
    assert same == row
    assert same.operands == row.operands


F = torch.ones(2, 3)
#: what is behind the name of a tree -> the part of it that is refused
PARAMETERS = {"(Kc=2, Kc=3)": "Kc=3", "(kc=2)": "kc=2", "(Kc=)": "Kc=", "(Kc)": "Kc", "(=2)": "=2"}
COUNTS = ("0", "-2", "+2", "2_0", "1e3", "0x10", "2=3", "\u0663", "\u00b3", "2147483648", "9" * 5000)
REFUSED = [
    (DTypeError, lambda: gemm(F, F.T.half()), "gemm under chain/v1 needs a and b of one dtype, got torch.float32 and"),
    (DTypeError, lambda: gemm(F.double(), F.T.double()), "gemm under chain/v1 has no torch.float64 for a. Allowed are"),
    (DTypeError, lambda: gemm(F.int(), F.T.int()), "gemm under chain/v1 has no torch.int32 for a. Allowed are float32"),
    (DTypeError, lambda: gemm(F, F.T.cfloat()), "gemm under chain/v1 has no torch.complex64 for b. Allowed are"),
    (DTypeError, lambda: gemm(F.to_sparse(), F.T), "gemm needs a dense tensor for a, got layout torch.sparse_coo. Use"),
    (
        DTypeError,
        lambda: gemm(torch.nested.nested_tensor([F]), F.T),
        "a dense tensor for a, got a nested one. Use a.to",
    ),
    (DTypeError, lambda: gemm(F, [1.0]), "gemm needs a tensor for b, got list. Use torch.as_tensor first."),
    (DTypeError, lambda: gemm(F, F.T, F.half()), "gemm under chain/v1 has no torch.float16 for bias. Allowed are"),
    (DTypeError, lambda: gemm(F, F.T, out_dtype=torch.float64), "has no torch.float64 for out_dtype. Allowed are"),
    (DTypeError, lambda: gemm(F, F.T, out_dtype="float32"), "has no float32 for out_dtype. Allowed are float32, "),
    (DTypeError, lambda: gemm(F, F.T.to("meta")), "gemm needs its tensors on one device, got a on cpu, b on meta."),
    (ShapeError, lambda: gemm(F, F), "gemm cannot multiply (2, 3) by (2, 3): the last axis of a has 3 elements and"),
    (ShapeError, lambda: gemm(F[0, 0], F), "gemm needs at least one axis on each side, got a 0-d tensor. Use"),
    (ShapeError, lambda: gemm(F.expand(2, 2, 3), F.T.expand(3, 3, 2)), "gemm cannot broadcast a (2,), b (3,). Sizes"),
    (
        ShapeError,
        lambda: gemm(F, F.T, torch.ones(3)),
        "gemm cannot add a bias of shape (3,) to a result of shape (2, 2)",
    ),
    (
        ContractError,
        lambda: gemm(F, F.T, contract="chain/v9"),
        "gemm has no contract='chain/v9'. Choose one of exact/v1",
    ),
    *(
        (ContractError, partial(gemm, F, F.T, contract=f"tree/v1{text}"), f"gemm cannot take {part!r} for tree/v1. All")
        for text, part in PARAMETERS.items()
    ),
    (ContractError, lambda: gemm(F, F.T, contract="tree(Kc=2)/v1(Kc=2)"), "Allowed are Kc=256, each once. Set those."),
    *(
        (ContractError, partial(gemm, F, F.T, contract=f"tree/v1(Kc={text})"), f"for Kc of tree/v1, got {text!r}. All")
        for text in COUNTS
    ),
    (ContractError, lambda: gemm(F, F.T, contract=None), "gemm needs the name of a contract, got None. Allowed are"),
]


@pytest.mark.parametrize(("error", "call", "text"), REFUSED, ids=[row[2][:40] for row in REFUSED])
def test_errors(error: type[RefnumError], call: object, text: str) -> None:
    with pytest.raises(error) as caught:
        call()  # type: ignore[operator]
    assert text in str(caught.value)


def test_uncovered_names() -> None:
    for prefix, reason in contracts.UNCOVERED.items():
        with pytest.raises(UncoveredError) as caught:
            gemm(F, F.T, contract=f"{prefix}anything/v1")
        assert f"{reason}. Allowed are contracts that `refnum contracts` lists. Choose one." in str(caught.value)
        assert caught.value.reason == reason


def test_every_kind_of_data_has_been_drawn() -> None:
    for kind in DATA:
        a, b, bias = operands(kind, 2, 3, 2)
        assert_bit_equal(refnum.gemm(a, b, bias), product(chain_dot, a, b, bias, torch.float32))
