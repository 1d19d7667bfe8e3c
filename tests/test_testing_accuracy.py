"""`assert_any_order` accepts whatever adds the right terms in some order, and nothing that does not."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

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
SIDES = (4, 5)  #: rows and columns, few because an order adds all terms by themselves


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


@pytest.mark.parametrize("kind", DATA)
def test_right_kernels_are_accepted(kind: str) -> None:
    for k in (1, 2, 33, 300):
        a, b, bias = operands(kind, 4, k, 5)
        for name, kernel in KERNELS.items():
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


@pytest.mark.parametrize("kind", LONG)
def test_right_kernels_of_long_sums_are_accepted(kind: str) -> None:
    for k in (1024, 5000, 16384):
        a, b = LONG[kind](Draw(k), 4, k, 4)
        for kernel in KERNELS.values():
            assert_any_order(kernel(a, b, None), a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["normal", "cancelling", "subnormal results", "overflow", "ties", "specials", "wide"])
def test_right_kernels_with_short_results_are_accepted(kind: str, dtype: torch.dtype) -> None:
    for k in (1, 33, 300):
        a, b, bias = operands(kind, 9, k, 9)
        for kernel in KERNELS.values():
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
def test_right_kernels_with_other_accumulators_are_accepted(kind: str, accumulator: str) -> None:
    """Terms of so few bits that a sum of two is exact in float64, before it is rounded."""
    rounded = ROUNDINGS[accumulator]
    for k in (1, 2, 64, 1000, 4096):
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


def largest_term(x: Case, i: int, j: int) -> Tensor:
    terms = x.a[i] * x.b[:, j]
    return terms[terms.abs().argmax()]


def typical_term(x: Case, i: int, j: int) -> Tensor:
    terms = x.a[i] * x.b[:, j]
    return terms[terms.abs().argsort()[len(terms) // 2]]


WRONG: dict[str, Callable[[Case], Tensor]] = {
    "a term left out": lambda x: without(x, x.a.shape[1] // 3),
    "a term added twice": lambda x: x.right + x.a[:, 7:8] * x.b[7],
    "a term left out of one result": lambda x: changed(x.right, (3, 5), x.right[3, 5] - typical_term(x, 3, 5)),
    "the largest term left out of one result": lambda x: changed(
        x.right, (3, 5), x.right[3, 5] - largest_term(x, 3, 5)
    ),
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
