"""`assert_any_order` accepts whatever adds the right terms in some order, and nothing that does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from float_sums import DATA, SETTINGS, Draw, operands
from torch import Tensor

from refnum import MismatchError, gemm
from refnum.errors import ContractError, DTypeError, ShapeError
from refnum.testing import bounds
from refnum.testing.accuracy import Accusation, assert_any_order

U = 2.0**-24


def accusation(*given: Tensor | None, **choices: str) -> Accusation:
    with pytest.raises(MismatchError) as caught:
        assert_any_order(*given, **choices)  # type: ignore[arg-type]
    report = caught.value.report
    assert isinstance(report, Accusation)
    assert str(caught.value) == str(report)
    return report


# ---- right kernels -----------------------------------------------------------------------------------------------


def chain(terms: np.ndarray) -> np.ndarray:
    """Sums along the first axis, from left to right."""
    return np.add.accumulate(terms, axis=0)[-1] if len(terms) else np.zeros(terms.shape[1:], terms.dtype)


def tree(terms: np.ndarray) -> np.ndarray:
    """Neighbours first."""
    while len(terms) > 1:
        odd = terms[len(terms) - len(terms) % 2 :]
        terms = np.concatenate([terms[:-1:2] + terms[1::2], odd])
    return chain(terms)


def parts(terms: np.ndarray, size: int) -> list[np.ndarray]:
    return [terms[start : start + size] for start in range(0, max(1, len(terms)), size)]


def split(size: int, join: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda t: join(np.stack([chain(part) for part in parts(t, size)]))


def lanes(count: int, join: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda t: join(np.stack([chain(t[lane::count]) for lane in range(count)]))


def ordered(key: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda t: chain(np.take_along_axis(t, np.argsort(key(t), axis=0, kind="stable"), axis=0))


SHUFFLE = np.random.default_rng(5)

#: orders in which rounded products are added, [K, M, N] -> [M, N]
OF_PRODUCTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ascending": chain,
    "descending": lambda t: chain(t[::-1]),
    "shuffled": lambda t: chain(SHUFFLE.permutation(t)),
    "each shuffled": lambda t: chain(SHUFFLE.permuted(t, axis=0)),
    "by value": ordered(lambda t: t),
    "by value, descending": ordered(lambda t: -t),
    "by size": ordered(np.abs),
    "by size, descending": ordered(lambda t: -np.abs(t)),
    "even ones first": lambda t: chain(np.concatenate([t[::2], t[1::2]])),
    "tree": tree,
    "tree of shuffled": lambda t: tree(SHUFFLE.permutation(t)),
    "2 lanes": lanes(2, chain),
    "32 lanes, tree": lanes(32, tree),
    "8 slabs": lambda t: split(max(1, -(-len(t) // 8)), tree)(t),
    "splits of 32": split(32, chain),
    "splits of 64, tree": split(64, tree),
    "splits of 100, last first": split(100, lambda t: chain(t[::-1])),
}


def with_bias(sums: Tensor, bias: Tensor | None) -> Tensor:
    return sums if bias is None else sums + bias


def products(a: Tensor, b: Tensor) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (a.mT[:, :, None] * b[:, None]).numpy()


def of_products(order: Callable[[np.ndarray], np.ndarray], bias_first: bool) -> Kernel:
    def kernel(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        terms = products(a, b)
        if bias is not None and bias_first:
            terms = np.concatenate([np.broadcast_to(bias.numpy(), (1, *terms.shape[1:])), terms])
            bias = None
        with np.errstate(all="ignore"):
            sums = order(terms)
        return with_bias(torch.from_numpy(np.ascontiguousarray(sums)), bias)

    return kernel


def fused(places: Callable[[int], Tensor]) -> Kernel:
    def kernel(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        order = places(a.shape[1])
        return gemm(a[:, order], b[order], bias, contract="chain/v1")

    return kernel


def split_in_float64(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """Chains of 16 that are added in float64."""
    sums = torch.zeros(a.shape[0], b.shape[1], dtype=torch.float64)
    for start in range(0, a.shape[1], 16):
        sums += gemm(a[:, start : start + 16], b[start : start + 16])
    return with_bias(sums.float(), bias)


Kernel = Callable[[Tensor, Tensor, Tensor | None], Tensor]

KERNELS: dict[str, Kernel] = {
    **{name: of_products(order, i % 2 == 0) for i, (name, order) in enumerate(OF_PRODUCTS.items())},
    "fused": fused(torch.arange),
    "fused, descending": fused(lambda k: torch.arange(k).flip(0)),
    "fused, shuffled": fused(lambda k: torch.randperm(k, generator=torch.Generator().manual_seed(k))),
    "split in float64": split_in_float64,
    "float64": lambda a, b, bias: with_bias(a.double() @ b.double(), bias).float(),
    "exact": lambda a, b, bias: gemm(a, b, bias, contract="exact/v1"),
    "torch": lambda a, b, bias: with_bias(a @ b, bias),
    "torch, split": lambda a, b, bias: with_bias(
        sum((x @ y for x, y in zip(a.split(37, 1), b.split(37), strict=True)), torch.zeros(())), bias
    ),
}


def test_there_are_twenty_right_kernels() -> None:
    assert len(KERNELS) >= 20


#: of so many one is taken at a turn
SAMPLES = [pytest.param(3, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)]


def at_a_turn(turn: int, every: int) -> list[Kernel]:
    """One kernel of so many; as many turns have all."""
    return list(KERNELS.values())[turn % every :: every]


def test_turns_have_all_kernels() -> None:
    assert {kernel for turn in (7, 8, 9) for kernel in at_a_turn(turn, 3)} == set(KERNELS.values())


@pytest.mark.parametrize("every", SAMPLES)
@pytest.mark.parametrize("kind", DATA)
def test_right_kernels_are_accepted(kind: str, every: int) -> None:
    for turn, k in enumerate((1, 2, 33, 300), list(DATA).index(kind)):
        a, b, bias = operands(kind, 4, k, 5)
        for kernel in at_a_turn(turn, every):
            for z in (None, bias):
                got = kernel(a, b, z)
                assert_any_order(got, a, b, z)
                if z is None:
                    assert_any_order(got, a, b, bound="proven")


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_right_kernels_of_no_terms_are_accepted(kernel: Kernel) -> None:
    a, b, bias = torch.zeros(3, 0), torch.zeros(0, 2), torch.tensor([0.1, torch.inf])
    for z in (None, bias):
        assert_any_order(kernel(a, b, z), a, b, z, bound="proven")


#: operands of sums that are long
LONG: dict[str, Callable[[Draw, int, int, int], tuple[Tensor, Tensor]]] = {
    "normal": DATA["normal"],
    "cancelling": DATA["cancelling"],
    "positive": lambda d, m, k, n: (d.normal(m, k).abs(), d.normal(k, n).abs()),
    "positive, then negative": lambda d, m, k, n: (
        d.normal(m, k).abs() * torch.where(torch.arange(k) < k // 2, 1, -1),
        d.normal(k, n).abs(),
    ),
    "rows apart": lambda d, m, k, n: (
        torch.cat([d.normal(m // 2, k), d.normal(m - m // 2, k).abs()]),
        d.normal(k, n).abs(),
    ),
    "tiny": lambda d, m, k, n: (d.normal(m, k) * 2.0**-80, d.normal(k, n) * 2.0**-60),
    "large": lambda d, m, k, n: (d.normal(m, k) * 2.0**60, d.normal(k, n) * 2.0**50),
}


@pytest.mark.parametrize("every", SAMPLES)
@pytest.mark.parametrize("kind", LONG)
def test_right_kernels_of_long_sums_are_accepted(kind: str, every: int) -> None:
    for turn, k in enumerate((1024, 5000, 16384)):
        a, b = LONG[kind](Draw(k), 4, k, 4)
        for kernel in at_a_turn(turn, every):
            assert_any_order(kernel(a, b, None), a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["normal", "cancelling", "subnormal results", "overflow", "ties", "specials", "wide"])
@pytest.mark.parametrize("every", SAMPLES)
def test_right_kernels_with_short_results_are_accepted(kind: str, dtype: torch.dtype, every: int) -> None:
    for turn, k in enumerate((1, 33, 300)):
        a, b, bias = operands(kind, 9, k, 9)
        for kernel in at_a_turn(turn, every):
            got = kernel(a, b, bias).to(dtype)
            assert_any_order(got, a, b, bias)
            assert_any_order(got, a, b, bias, bound="proven")


def truncated(x: np.ndarray) -> np.ndarray:
    """float64 values that are exact, rounded towards zero to float32."""
    near = x.astype(np.float32)
    return np.where(np.abs(near) > np.abs(x), np.nextafter(near, np.float32(0)), near)


def short(dtype: torch.dtype) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: torch.from_numpy(x).to(dtype).float().numpy()


#: accumulators, and how a value of float64 that is exact, or nearly so, is rounded to them
ROUNDINGS = {
    "truncating": truncated,
    "float16": short(torch.float16),
    "bfloat16": short(torch.bfloat16),
}


@pytest.mark.parametrize("accumulator", ROUNDINGS)
@pytest.mark.parametrize("kind", ["normal", "positive", "integers", "cancelling", "tiny"])
@pytest.mark.parametrize("longest", [1000, pytest.param(4096, marks=pytest.mark.slow)])
def test_right_kernels_with_other_accumulators_are_accepted(kind: str, accumulator: str, longest: int) -> None:
    """Terms of so few bits that a sum of two is exact in float64, before it is rounded."""
    rounded = ROUNDINGS[accumulator]
    for k in (1, 2, 64, longest):
        a, b = (DATA | LONG)[kind](Draw(k), 4, k, 4)
        if kind == "tiny":
            a, b = a * 2.0**70, b * 2.0**54  # subnormal in float16
        a, b = a.half().float(), b.half().float()
        terms = [rounded(term) for term in (a.mT.double()[:, :, None] * b.double()[:, None]).numpy()]
        for places in (range(k), reversed(range(k)), SHUFFLE.permutation(k)):
            total = np.zeros((4, 4), np.float32)
            for place in places:
                total = rounded(total.astype(np.float64) + terms[place])
            assert_any_order(torch.from_numpy(total).float(), a, b, accumulator=accumulator)
            assert_any_order(torch.from_numpy(total).float(), a, b, accumulator=accumulator, bound="proven")


# ---- wrong kernels -----------------------------------------------------------------------------------------------


class Case(NamedTuple):
    """Operands, and the right result of a kernel that adds in float32."""

    a: Tensor
    b: Tensor
    bias: Tensor
    right: Tensor

    @classmethod
    def of(cls, k: int) -> Case:
        draw = Draw(k)
        a, b, bias = draw.normal(32, k), draw.normal(k, 32) * 0.02, draw.normal(32) * 0.1
        return cls(a, b, bias, a @ b + bias)


def on_tf32(x: Tensor) -> Tensor:
    bits = x.contiguous().view(torch.int32)
    return (bits + 0xFFF + (bits >> 13 & 1) & ~0x1FFF).view(torch.float32)


def without(x: Case, k: int) -> Tensor:
    a = x.a.clone()
    a[:, k] = 0
    return a @ x.b + x.bias


def changed(got: Tensor, place: object, value: Tensor | float) -> Tensor:
    got = got.clone()
    got[place] = value
    return got


def added_in(dtype: torch.dtype) -> Callable[[Case], Tensor]:
    def kernel(x: Case) -> Tensor:
        total = torch.zeros_like(x.right).to(dtype)
        for column, row in zip(x.a.mT, x.b, strict=True):
            total += (column[:, None] * row).to(dtype)
        return total.float() + x.bias

    return kernel


def term(x: Case, i: int, j: int, place: int) -> Tensor:
    """One of the terms of a result, sorted by size."""
    terms = x.a[i] * x.b[:, j]
    return terms[terms.abs().argsort()[place]]


WRONG: dict[str, Callable[[Case], Tensor]] = {
    "a term left out": lambda x: without(x, x.a.shape[1] // 3),
    "a term added twice": lambda x: x.right + x.a[:, 7:8] * x.b[7],
    "a term left out of one result": lambda x: changed(x.right, (3, 5), x.right[3, 5] - term(x, 3, 5, len(x.b) // 2)),
    "the largest term left out of one result": lambda x: changed(x.right, (3, 5), x.right[3, 5] - term(x, 3, 5, -1)),
    "the last term left out": lambda x: without(x, -1),
    "the tail left out": lambda x: x.a[:, :-7] @ x.b[:-7] + x.bias,
    "no bias": lambda x: x.right - x.bias,
    "the bias twice": lambda x: x.right + x.bias,
    "the bias of the next column": lambda x: x.right - x.bias + x.bias.roll(1),
    "the next row of b": lambda x: x.a @ x.b.roll(1, 0) + x.bias,
    "a wrong row of b": lambda x: x.right + x.a[:, 9:10] * (x.b[8] - x.b[9]),
    "a tile transposed": lambda x: changed(x.right, (slice(8), slice(8)), x.right[:8, :8].mT.clone()),
    "a tile left as it was": lambda x: changed(x.right, (slice(8, 16), slice(8)), 0.0),
    "sums in bfloat16": added_in(torch.bfloat16),
    "sums in float16": added_in(torch.float16),
    "the result in bfloat16": lambda x: x.right.bfloat16().float(),
    "operands in bfloat16": lambda x: x.a.bfloat16().float() @ x.b.bfloat16().float() + x.bias,
    "operands in float16": lambda x: x.a.half().float() @ x.b.half().float() + x.bias,
    "operands in tf32": lambda x: on_tf32(x.a) @ on_tf32(x.b) + x.bias,
    "small results zero": lambda x: torch.where(x.right.abs() < 1e-2, 0.0, x.right),
    "scaled": lambda x: x.right * (1 + 2.0**-8),
    "one sign flipped": lambda x: changed(x.right, (2, 2), -x.right[2, 2]),
    "two results swapped": lambda x: changed(x.right, (0, slice(2)), x.right[0, :2].flip(0)),
    "a NaN": lambda x: changed(x.right, (31, 31), torch.nan),
    "an Inf": lambda x: changed(x.right, (31, 31), torch.inf),
}


@pytest.fixture(scope="module")
def wrong_cases() -> dict[int, Case]:
    return {k: Case.of(k) for k in (16, 100, 1024, 4096, 16384)}


def test_there_are_fifteen_wrong_kernels(wrong_cases: dict[int, Case]) -> None:
    assert len(WRONG) >= 15
    for x in wrong_cases.values():
        assert_any_order(x.right, x.a, x.b, x.bias)
        assert torch.allclose(WRONG["small results zero"](x), x.right, atol=1e-2)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_kernels_are_rejected(name: str, wrong_cases: dict[int, Case]) -> None:
    for k, x in wrong_cases.items():
        got = WRONG[name](x)
        assert not torch.equal(got, x.right), k
        accusation(got, x.a, x.b, x.bias)


def test_small_matrices_are_judged_alone(wrong_cases: dict[int, Case]) -> None:
    """A single result has no others to stand out from; what is wrong with all its terms is still seen."""
    for x in wrong_cases.values():
        a, b, bias = x.a[:1], x.b[:, :1], x.bias[:1]
        got = x.right[:1, :1]
        assert_any_order(got, a, b, bias)
        for wrong in (got - bias, got + bias, got * (1 + 2.0**-6), a.bfloat16().float() @ b.bfloat16().float()):
            accusation(wrong, a, b, bias)


# ---- tensor cores ------------------------------------------------------------------------------------------------

CORES = {name: row.instruction for name, row in bounds.ACCUMULATORS.items() if row.instruction is not None}


KINDS = ("normal", "cancelling", "wide", "zeros", "outlier", "subnormal operands", "specials", "finite bits")


@pytest.mark.parametrize("every", SAMPLES)
@pytest.mark.parametrize("name", CORES)
def test_tensor_cores_are_accepted(name: str, every: int) -> None:
    row = CORES[name]
    dtype = row.operands[-1]
    for kind in KINDS[list(CORES).index(name) % every :: every]:
        for k in (1, 40, 500):
            a, b, bias = operands(kind, 4, k, 4)
            a, b, z = a.to(dtype), b.to(dtype), bias.to(row.biases[0])
            assert_any_order(gemm(a, b, z, contract=name), a, b, z, accumulator=name)
            assert_any_order(gemm(a, b, contract=name), a, b, accumulator=name)


def test_zeros_beside_huge_numbers_hide_terms_of_tensor_cores() -> None:
    a = torch.tensor([[0.0, 2.0**-30]], dtype=torch.bfloat16)
    b = torch.tensor([[2.0**126], [2.0**-30]], dtype=torch.bfloat16)
    name = "tc.ampere.bf16/v1"
    assert gemm(a, b, contract=name) == 0
    assert gemm(a, b, contract="tc.hopper.bf16/v1") != 0
    assert_any_order(gemm(a, b, contract=name, out_dtype=torch.float32), a, b, accumulator=name)
    accusation(torch.zeros(1, 1), a, b, bound="proven")


def test_tensor_cores_of_tf32_read_less_than_float32() -> None:
    a, b, _ = operands("normal", 4, 40, 4)
    got = gemm(a, b, contract="tc.hopper.tf32/v1")
    assert_any_order(got, a, b, accumulator="tc.hopper.tf32/v1")
    accusation(got, a, b, accumulator="truncating")
    accusation(a @ b, a, b, accumulator="tc.hopper.tf32/v1")


@pytest.mark.parametrize("name", ["tc.hopper.fp8/v1", "tc.ada.fp8/v1", "tc.volta.f16/v1", "tc.volta.f16.acc16/v1"])
def test_tensor_cores_are_not_float32(name: str) -> None:
    dtype = CORES[name].operands[0]
    a, b, bias = (x.abs() for x in operands("normal", 16, 1024, 16))
    a, b = a.to(dtype), (b * 0.02).to(dtype)
    got = gemm(a, b, contract=name)
    assert_any_order(got, a, b, accumulator=name)
    accusation(got, a, b)
    accusation(got + 10 * bias.to(got.dtype), a, b, accumulator=name)
    accusation(gemm(a[:, :-512], b[:-512], contract=name), a, b, accumulator=name)


# ---- the bounds --------------------------------------------------------------------------------------------------


def judged(*given: Tensor | None, bound: str, accumulator: str = "float32") -> bounds.Judged:
    got, a, b, bias = given
    assert got is not None
    assert a is not None
    assert b is not None
    return bounds.judge(bounds.Product(got, a, b, bias), bounds.ACCUMULATORS[accumulator], bound)


@pytest.mark.parametrize(
    ("accumulator", "u", "smallest"),
    [
        ("float32", Fraction(1, 2**24), Fraction(1, 2**150)),
        ("truncating", Fraction(1, 2**23), Fraction(1, 2**149)),
        ("float16", Fraction(1, 2**11), Fraction(1, 2**25)),
        ("bfloat16", Fraction(1, 2**8), Fraction(1, 2**134)),
    ],
)
@pytest.mark.parametrize("kind", ["normal", "cancelling", "subnormal results", "wide"])
def test_errors_and_bounds_are_those_of_fractions(kind: str, accumulator: str, u: Fraction, smallest: Fraction) -> None:
    for k in (1, 3, 40):
        a, b, bias = operands(kind, 2, k, 2)
        for z in (None, bias.expand(2, 2)):
            got = (a @ b if z is None else a @ b + z) * (1 + 2.0**-10)
            found = judged(got, a, b, z, bound="proven", accumulator=accumulator)
            n = k + (z is not None)
            growth = (1 + u) ** n
            for i, j in np.ndindex(2, 2):
                terms = [Fraction(float(a[i, k_])) * Fraction(float(b[k_, j])) for k_ in range(k)]
                terms += [] if z is None else [Fraction(float(z[i, j]))]
                error = abs(Fraction(float(got[i, j])) - sum(terms))
                allowed = (growth - 1) * sum(map(abs, terms)) + growth * n * smallest
                assert abs(Fraction(float(found.error[i, j])) - error) <= allowed / 2**20
                assert allowed < Fraction(float(found.allowed[i, j])) < allowed * (1 + Fraction(1, 2**18))


def test_the_proven_bound_is_reached() -> None:
    """1 + u + u + ... from left to right stays 1, each addition a tie: n - 1 of n roundings at their largest."""
    for n in (10, 100, 3000):
        a, b = torch.full((1, n), 2.0**-24), torch.ones(n, 1)
        a[0, 0] = 1
        got = gemm(a, b)
        assert got == 1
        assert_any_order(got, a, b, bound="proven")
        found = judged(got, a, b, None, bound="proven")
        assert found.error > 0.99 * (n - 1) / n * found.allowed
        beyond = torch.tensor([[1 - 4 * 2.0**-24]])
        assert not (judged(beyond, a, b, None, bound="proven").error <= found.allowed)
        accusation(beyond, a, b, bound="proven")
    # Roundings that conspire are what the likely bound accuses a right kernel for.
    accusation(got, a, b)


def test_no_bound_allows_more_than_is_documented() -> None:
    for k in (1, 20, 500, 5000):
        for kind in ("normal", "cancelling", "wide"):
            a, b, _ = operands(kind, 8, k, 8)
            found = judged(a @ b, a, b, None, bound="likely")
            slack = 1 + 2.0**-19
            assert bool((found.allowed <= 6 * k**0.5 * U * found.size * slack + k * 2.0**-149).all())
            assert bool((found.allowed <= k * 1.001 * U * found.size * slack + k * 2.0**-149).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_short_result_may_be_off_by_half_its_unit(dtype: torch.dtype) -> None:
    unit = torch.finfo(dtype).eps
    a, b = torch.tensor([[1.0, unit * 0.5, unit * 2.0**-12]]), torch.ones(3, 1)
    below, above = torch.tensor([[1.0]], dtype=dtype), torch.tensor([[1.0 + unit]], dtype=dtype)
    assert_any_order(above, a, b, bound="proven")
    accusation(below, a, b, bound="proven")
    accusation(above + unit, a, b, bound="proven")


def test_subnormals_count() -> None:
    a, b = torch.tensor([[2.0**-70, 2.0**-75]]), torch.tensor([[2.0**-70], [2.0**-74]])
    got = torch.tensor([[2.0**-140]])  # 2**-149 beside it is a whole unit
    assert_any_order(got + 2.0**-149, a, b, bound="proven")
    accusation(torch.zeros(1, 1), a, b, bound="proven")
    accusation(got + 2.0**-146, a, b, bound="proven")


def test_results_are_judged_in_pieces_by_their_place() -> None:
    a, b = Draw(3).normal(3, 700, 6), Draw(4).normal(6, 300)
    got = a @ b
    assert_any_order(got, a, b)
    got[2, 650, 7] += 1
    got[1, 3, 299] -= 2
    found = accusation(got, a, b)
    assert (found.accused, found.total) == (2, got.numel())
    assert {x.index for x in found.suspects} == {(1, 3, 299), (2, 650, 7)}


# ---- NaN and Inf -------------------------------------------------------------------------------------------------

INF, NAN, MAX = torch.inf, torch.nan, torch.finfo(torch.float32).max


@pytest.mark.parametrize(
    ("x", "right", "wrong"),
    [
        ([1.0, NAN], [NAN], [1.0, INF, -INF]),
        ([INF, -INF], [NAN], [0.0, INF]),
        ([INF, 1.0], [INF], [NAN, -INF, MAX, 0.0]),
        ([-INF, 1.0], [-INF], [NAN, INF, -MAX]),
        ([1.0, 2.0], [3.0], [NAN, INF, -INF, -3.0]),
        ([MAX, MAX], [INF], [-INF, 3.0]),
        ([MAX, MAX, -MAX], [INF, MAX, NAN], [-MAX, 0.0]),
        ([MAX, MAX, -MAX, -MAX], [INF, -INF, NAN, 0.0, MAX / 2**23], [MAX]),
        ([INF, MAX, -MAX, -MAX], [INF, NAN], [MAX, -INF]),
        ([MAX, 2.0**102], [MAX], [0.0]),
        ([0.0, 0.0], [0.0, -0.0], [2.0**-149 * 3]),
    ],
)
def test_specials(x: list[float], right: list[float], wrong: list[float]) -> None:
    a, b = torch.tensor([x]), torch.ones(len(x), 1)
    for value in right:
        assert_any_order(torch.tensor([[value]]), a, b, bound="proven")
    for value in wrong:
        accusation(torch.tensor([[value]]), a, b, bound="proven")


def test_a_factor_that_is_infinite_or_none() -> None:
    a, b = torch.tensor([[INF, 1.0]]), torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    assert_any_order(torch.tensor([[NAN, INF]]), a, b, bound="proven")
    assert accusation(torch.tensor([[1.0, 1.0]]), a, b, bound="proven").accused == 2


def test_short_results_overflow_where_they_round_to_inf() -> None:
    one = torch.ones(1, 1)
    for value, right, wrong in ((65519.0, 65504.0, INF), (65521.0, INF, 65504.0), (1e9, INF, 65504.0)):
        a = torch.tensor([[value]])
        assert_any_order(torch.tensor([[right]], dtype=torch.float16), a, one, bound="proven")
        accusation(torch.tensor([[wrong]], dtype=torch.float16), a, one, bound="proven")
        accusation(torch.tensor([[-right]], dtype=torch.float16), a, one, bound="proven")
        accusation(torch.tensor([[NAN]], dtype=torch.float16), a, one, bound="proven")
    # Sums of float16 may overflow on their way.
    a, b = torch.tensor([[6e4, 6e4, -6e4]]), torch.ones(3, 1)
    for value in (INF, 6e4):
        assert_any_order(torch.tensor([[value]]), a, b, accumulator="float16", bound="proven")
    for value in (NAN, -INF):
        accusation(torch.tensor([[value]]), a, b, accumulator="float16", bound="proven")
    accusation(torch.tensor([[INF]]), a, b, bound="proven")


# ---- calls -------------------------------------------------------------------------------------------------------


def test_shapes_are_those_of_matmul() -> None:
    draw = Draw(8)
    for left, right in (
        ((7,), (7,)),
        ((7,), (7, 3)),
        ((4, 7), (7,)),
        ((2, 5, 4, 7), (7, 3)),
        ((2, 1, 4, 7), (5, 7, 3)),
        ((7,), (5, 7, 3)),
        ((5, 4, 7), (7,)),
        ((0, 7), (7, 3)),
        ((4, 7), (7, 0)),
        ((0, 4, 7), (0, 7, 3)),
        ((2, 4, 0), (2, 0, 3)),
    ):
        a, b = draw.normal(*left), draw.normal(*right)
        got = torch.matmul(a, b)
        for bias in (None, draw.normal(), draw.normal(*got.shape)):
            right_one = got if bias is None else got + bias
            assert_any_order(right_one, a, b, bias, bound="proven")
            if got.numel():
                index = tuple(size - 1 for size in got.shape)
                found = accusation(changed(right_one, index, 99.0), a, b, bias)
                assert (found.accused, found.suspects[0].index) == (1, index)


def test_strides_and_gradients_are_of_no_concern() -> None:
    a, b = Draw(1).normal(7, 5).mT.requires_grad_(), Draw(2).normal(3, 14)[:, ::2].mT
    assert_any_order(a @ b, a, b, torch.zeros(3).requires_grad_())
    accusation((a @ b) * 1.5, a, b)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.bfloat16])
def test_operands_may_be_short(dtype: torch.dtype) -> None:
    a, b, bias = operands("normal", 4, 50, 4)
    a, b = a.to(dtype), b.to(dtype)
    got = a.float() @ b.float() + bias
    assert_any_order(got, a, b, bias)
    assert_any_order(a.float() @ b.float() + bias.bfloat16(), a, b, bias.bfloat16())
    accusation(changed(got, (0, 0), 0.0), a, b, bias)


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_change_nothing(setting: str) -> None:
    cases = [(kind, *operands(kind, 4, 40, 4)) for kind in ("normal", "subnormal operands", "subnormal results")]
    rights = [gemm(a, b, bias) for _, a, b, bias in cases]
    with SETTINGS[setting]():
        for (kind, a, b, bias), right in zip(cases, rights, strict=True):
            assert_any_order(right, a, b, bias, bound="proven")
            wrong = changed(right, (0, 0), 0.0 if kind == "normal" else float(right[0, 0]) * 1.5)
            assert accusation(wrong, a, b, bias, bound="proven").suspects[0].index == (0, 0)


def test_the_message() -> None:
    a, b = torch.tensor([[1.0, 2.0, 4.0], [3.0, 5.0, 0.0]]), torch.tensor([[1.0, 2.0], [1.0, 4.0], [1.0, 0.5]])
    got = torch.tensor([[5.0, 12.0], [3.0, 26.0]])
    with pytest.raises(MismatchError) as caught:
        assert_any_order(got, a, b)
    assert str(caught.value).splitlines() == [
        "got is not likely to be a sum of the products, whatever the order (accumulator float32)",
        "  shape (2, 2)  dtype torch.float32  terms 3  beyond bound='likely' 2 of 4 (50.00 %)",
        "  index    got   exact       error   allowed",
        "  [1, 0]     3       8   1.049e+07         3",
        "  [0, 0]     5       7   4.793e+06         3",
        "  errors in units of u sum|a b|, u = 2**-24; k = 1 seems to be left out",
        "  A right kernel seldom goes so far, unless terms repeat; bound='proven' never accuses one.",
    ]


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        ("a term added twice", "k = 7 seems to be added twice"),
        ("the last term left out", "k = 1023 seems to be left out"),
        ("no bias", "the bias seems to be left out"),
        ("the bias twice", "the bias seems to be added twice"),
        ("operands in bfloat16", ""),
    ],
)
def test_a_term_too_few_or_too_many_is_named(fault: str, hint: str, wrong_cases: dict[int, Case]) -> None:
    x = wrong_cases[1024]
    found = accusation(WRONG[fault](x), x.a, x.b, x.bias)
    assert found.hint == hint
    assert hint in str(found)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"accumulator": "float8"},
            ContractError,
            "assert_any_order has no accumulator='float8'. Choose one of float32, truncating, float16, bfloat16, "
            "tc.volta.f16/v1",
        ),
        ({"accumulator": None}, ContractError, "has no accumulator=None."),
        (
            {"bound": "sure"},
            ContractError,
            "assert_any_order has no bound='sure'. Choose one of likely, proven.",
        ),
        (
            {"got": torch.zeros(2, 2, dtype=torch.float64)},
            DTypeError,
            "assert_any_order has no torch.float64 for got. Allowed are float32, bfloat16, float16. Convert it.",
        ),
        ({"a": torch.zeros(2, 3, dtype=torch.float64)}, DTypeError, "has no torch.float64 for a. Allowed are float32"),
        ({"b": torch.zeros(3, 2, dtype=torch.int8)}, DTypeError, "has no torch.int8 for b."),
        ({"bias": torch.zeros(2, dtype=torch.float64)}, DTypeError, "has no torch.float64 for bias."),
        ({"accumulator": "tc.hopper.bf16/v1"}, DTypeError, "has no torch.float32 for a. Allowed are bfloat16."),
        ({"got": [1.0]}, DTypeError, "assert_any_order needs a tensor for got, got list."),
        ({"a": torch.zeros(2, 3).to_sparse()}, DTypeError, "assert_any_order needs a dense tensor for a"),
        ({"a": torch.zeros(2, 3, device="meta")}, DTypeError, "a meta tensor has none"),
        (
            {"b": torch.zeros(4, 2)},
            ShapeError,
            "assert_any_order cannot multiply (2, 3) by (4, 2). Allowed are shapes that torch.matmul takes. Transpose "
            "or reshape one.",
        ),
        ({"a": torch.zeros(())}, ShapeError, "assert_any_order cannot multiply () by (3, 2)."),
        (
            {"a": torch.zeros(4, 2, 3), "b": torch.zeros(5, 3, 2)},
            ShapeError,
            "assert_any_order cannot broadcast a (4,), b (5,).",
        ),
        (
            {"got": torch.zeros(2, 3)},
            ShapeError,
            "assert_any_order got a result of shape (2, 3) from operands (2, 3) and (3, 2), whose product has (2, 2). "
            "Allowed is that. Pass the operands of this result.",
        ),
        (
            {"bias": torch.zeros(3)},
            ShapeError,
            "assert_any_order cannot add a bias of shape (3,) to a result of shape (2, 2).",
        ),
    ],
)
def test_bad_input(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"got": torch.zeros(2, 2), "a": torch.zeros(2, 3), "b": torch.zeros(3, 2)}
    with pytest.raises(error, match=re.escape(message)):
        assert_any_order(**given | change)
