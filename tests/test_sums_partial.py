"""Exact partial sums: equal to Fractions, whatever the shards and their order, and one form for one value."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from float_sums import DATA, RESULTS, SETTINGS, Draw, exact_dot, golden, matrix, operands, patterns, product
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles.reals import Dyadic
from torch import Tensor

import refnum
from refnum.sums import digits
from refnum.sums.digits import exact_partial, products_by_slices, products_by_words, values
from refnum.sums.operands import FP8 as FORMATS
from refnum.sums.partial import CARRIED, MOST, NAN, OTHER, ExactPartial
from refnum.testing import assert_bit_equal


def fraction_of(total: ExactPartial, place: tuple[int, ...]) -> Fraction:
    """The value of one sum."""
    column = total.digits[(slice(None), *place)].tolist()
    return sum((digit * Fraction(2) ** (32 * (total.least + i)) for i, digit in enumerate(column)), Fraction(0))


def assert_same(got: ExactPartial, want: ExactPartial) -> None:
    """Equal in every bit of their one form."""
    x, y = got.normalized(), want.normalized()
    assert (x.least, x.empty, x.shape) == (y.least, y.empty, y.shape)
    assert_bit_equal(x.digits, y.digits)
    assert_bit_equal(x.flags, y.flags)


def is_canonical(total: ExactPartial) -> bool:
    digits = total.digits
    if not len(digits):
        return total.least == 0
    ends = bool((digits[0] != 0).any()) and -(1 << 31) <= int(digits[-1].amin()) <= int(digits[-1].amax()) < 1 << 31
    return ends and bool(((digits[:-1] >= 0) & (digits[:-1] < CARRIED)).all())


# ---- the value ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [products_by_words, products_by_slices])
@pytest.mark.parametrize("kind", DATA)
def test_digits_are_the_exact_sums(kind: str, form: object) -> None:
    a, b, _ = operands(kind, 3, 9, 4)
    total = form(a, b)  # type: ignore[operator]
    for i, x in enumerate(matrix(a)):
        for j, y in enumerate(matrix(b.mT)):
            terms = [u * v for u, v in zip(x, y, strict=True)]
            finite = [
                (-1) ** t.negative * t.value.m * Fraction(2) ** t.value.e for t in terms if isinstance(t.value, Dyadic)
            ]
            assert fraction_of(total, (i, j)) == sum(finite, Fraction(0))
            assert bool(total.flags[OTHER, i, j]) == (not all(t.is_negative_zero for t in terms))
            assert bool(total.flags[:OTHER, i, j].any()) == (len(finite) < len(terms))


@pytest.mark.parametrize("shape", [(3, 9, 4), (1, 1, 1), (5, 0, 3), (17, 70, 6)])
@pytest.mark.parametrize("kind", DATA)
def test_slices_give_the_digits_of_the_definition(kind: str, shape: tuple[int, int, int]) -> None:
    a, b, _ = operands(kind, *shape)
    assert_same(products_by_slices(a, b), products_by_words(a, b))


def test_no_results() -> None:
    for a, b in ((torch.ones(0, 3), torch.ones(3, 2)), (torch.ones(2, 3), torch.ones(3, 0))):
        for form in (products_by_words, products_by_slices):
            assert_same(form(a, b), form(a, b) + form(a, b))
            assert form(a, b).round().shape == (len(a), b.shape[1])


def test_slices_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terms, rows and matrices of a batch that are worked on in turn."""
    monkeypatch.setattr(digits, "PIECE", 40)
    for kind in ("wide", "zeros of one sign", "specials", "cancelling"):
        a, b, _ = operands(kind, 13, 37, 5)
        assert_same(products_by_slices(a, b), products_by_words(a, b))
        batch = torch.stack([a, -a, a.flip(1)])
        assert_same(products_by_slices(batch, b), products_by_words(batch, b))
        assert_same(products_by_slices(a, b.expand(2, 3, *b.shape)), products_by_words(a, b.expand(2, 3, *b.shape)))


@pytest.mark.parametrize("dtype", RESULTS)
@pytest.mark.parametrize("kind", DATA)
def test_rounded_it_is_exact_v1(kind: str, dtype: torch.dtype) -> None:
    a, b, bias = operands(kind, 4, 11, 5)
    assert_bit_equal(patterns(exact_partial(a, b).round(dtype)), patterns(product(exact_dot, a, b, None, dtype)))
    assert_bit_equal(patterns(exact_partial(a, b, bias).round(dtype)), patterns(product(exact_dot, a, b, bias, dtype)))


def test_golden_vectors() -> None:
    count = 0
    for case in golden("exact"):
        total = exact_partial(case.a, case.b, case.bias)
        for dtype, want in case.want.items():
            assert_bit_equal(patterns(total.round(dtype)), patterns(want))
            count += 1
    assert count == 3 * 78


FP8 = tuple(FORMATS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, *FP8])
def test_operands_of_other_dtypes_are_widened(dtype: torch.dtype) -> None:
    draw = Draw(5)
    a, b, bias = (draw.normal(*shape).to(dtype) for shape in ((6, 20), (20, 3), (3,)))
    x, y, z = (side.to(torch.float64) for side in (a, b, bias))
    want = products_by_words(x, y) + values(z.expand(6, 3))
    assert_same(exact_partial(a, b, bias), want)
    assert_same(exact_partial(a, b.to(torch.float32) if dtype != torch.float64 else b, z), want)


@pytest.mark.parametrize("dtype", FP8)
def test_results_of_8_bits(dtype: torch.dtype) -> None:
    """Rounded once: a way by float32 would meet a tie that is none."""
    fmt = FORMATS[dtype]
    tie = 1 + 2.0 ** -(fmt.mantissa + 1)
    a = torch.tensor([[tie, 2.0**-60], [tie, -(2.0**-60)], [tie, 0.0], [1e9, 1.0], [-1e-9, 0.0], [torch.nan, 1.0]])
    got = exact_partial(a, torch.ones(2, 1)).round(dtype)[:, 0]
    step = 2.0**-fmt.mantissa
    want = torch.tensor([1 + step, 1.0, 1.0, fmt.max_value, -0.0, torch.nan])
    assert_bit_equal(got.view(torch.uint8), refnum.encode(want, fmt))


# ---- places where roundings and ranges end ------------------------------------------------------------------------

HUGE = 2.0**128 - 2.0**104  #: the largest float32


@pytest.mark.parametrize(
    ("terms", "want"),
    [
        ([2.0**40, 2.0**-40, -(2.0**40)], 2.0**-40),
        ([1.0, 2.0**-24], 1.0),
        ([1.0, 2.0**-24, 2.0**-149], 1 + 2.0**-23),
        ([1.0, 2.0**-24, -(2.0**-149)], 1.0),
        ([1 + 2.0**-23, 2.0**-24, -(2.0**-149)], 1 + 2.0**-23),
        ([HUGE, 2.0**103, -(2.0**-149)], HUGE),
        ([HUGE, 2.0**103], torch.inf),
        ([HUGE, HUGE, -HUGE], HUGE),
        ([2.0**-149, -(2.0**-149)], 0.0),
        ([-0.0, -0.0], -0.0),
        ([-0.0, 0.0], 0.0),
        ([torch.inf, HUGE], torch.inf),
        ([-torch.inf, 1.0], -torch.inf),
    ],
)
def test_thresholds(terms: list[float], want: float) -> None:
    a = torch.tensor([terms])
    ones = torch.ones(len(terms), 1)
    for form in (products_by_words, products_by_slices):
        assert_bit_equal(form(a, ones).round(), torch.tensor([[want]]))
        alone = [form(a[:, i : i + 1], ones[:1]) for i in range(len(terms))]
        assert_bit_equal(sum(alone, ExactPartial.zeros((1, 1))).round(), torch.tensor([[want]]))


def test_half_of_the_least_float() -> None:
    half = torch.tensor([[2.0**-100, 2.0**-75]])
    for tail, want in ((0.0, 0.0), (2.0**-75, 2.0**-149), (-(2.0**-75), 0.0)):
        total = exact_partial(half, torch.tensor([[2.0**-50], [tail]]))
        assert_bit_equal(total.round(), torch.tensor([[want]]))
    negative = exact_partial(half, torch.tensor([[-(2.0**-50)], [0.0]]))
    assert_bit_equal(negative.round(), torch.tensor([[-0.0]]))


def test_the_range_of_float64() -> None:
    """Products from 2**-2148 to nearly 2**2048, of which slices serve none: digits by definition."""
    a = torch.tensor([[2.0**1023, 5e-324, -(2.0**1023), 3e-310]], dtype=torch.float64)
    b = torch.tensor([[1.5e308], [5e-324], [1.5e308], [7e-320]], dtype=torch.float64)
    total = exact_partial(a, b)
    want = sum((Fraction(x) * Fraction(y) for x, y in zip(a[0].tolist(), b[:, 0].tolist(), strict=True)), Fraction(0))
    assert fraction_of(total, (0, 0)) == want
    assert len(total.digits) <= 135
    assert is_canonical(total.normalized())


# ---- parts --------------------------------------------------------------------------------------------------------


def shards(a: Tensor, b: Tensor, count: int) -> list[ExactPartial]:
    parts = zip(a.tensor_split(count, 1), b.tensor_split(count, 0), strict=True)
    return [exact_partial(x, y) for x, y in parts]


@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("kind", DATA)
def test_shards_and_orders_give_one_form(kind: str, count: int) -> None:
    a, b, bias = operands(kind, 3, 21, 4)
    whole = exact_partial(a, b, bias).normalized()
    order = torch.randperm(21, generator=Draw(count).generator)
    parts = [*shards(a[:, order], b[order], count), values(bias.expand(3, 4).contiguous())]
    parts = [parts[i] for i in torch.randperm(len(parts), generator=Draw(count).generator)]
    total = sum(parts, ExactPartial.zeros((3, 4)))
    assert_same(total, whole)
    assert is_canonical(whole)
    assert_same(whole.normalized(), whole)
    assert_bit_equal(total.round(), whole.round())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_sum_in_any_order(terms: list[float], random: object) -> None:
    ordered = sorted(terms, key=lambda _: random.random())  # type: ignore[attr-defined]
    one = torch.ones(1, 1)
    parts = [exact_partial(torch.tensor([[term]]), one) for term in ordered]
    whole = exact_partial(torch.tensor([terms]), one.expand(len(terms), 1))
    assert_same(sum(parts, ExactPartial.zeros((1, 1))), whole)
    assert_bit_equal(
        patterns(whole.round()),
        patterns(product(exact_dot, torch.tensor([terms]), one.expand(len(terms), 1), None, torch.float32)),
    )


def test_no_terms() -> None:
    nothing = ExactPartial.zeros((2, 3))
    assert nothing.empty
    assert_bit_equal(nothing.round(), torch.zeros(2, 3))
    assert_same(nothing + nothing, nothing)
    for shape in ((), (0,), (5,), (2, 0)):
        assert_bit_equal(ExactPartial.zeros(shape).normalized().round(), torch.zeros(shape))
    minus = exact_partial(torch.full((2, 1), -0.0), torch.ones(1, 3))
    assert_bit_equal((nothing + minus).round(), torch.full((2, 3), -0.0))
    assert_same(exact_partial(torch.ones(2, 0), torch.ones(0, 3)), nothing)
    assert_bit_equal(
        exact_partial(torch.ones(2, 0), torch.ones(0, 3), torch.tensor(-0.0)).round(), torch.full((2, 3), -0.0)
    )


def test_digits_are_carried_before_they_overflow() -> None:
    a = Draw(2).normal(3, 4)
    total, bounds = exact_partial(a, a.mT), []
    for _ in range(90):
        total = total + total
        bounds.append(total.bound)
        assert int(total.digits.abs().amax()) <= total.bound <= MOST
    assert CARRIED in bounds
    assert_same(total, exact_partial(a * 2.0**90, a.mT))


def test_infinities_of_both_signs_meet() -> None:
    one = torch.ones(1, 1)
    plus, minus = (exact_partial(one * x, one) for x in (torch.inf, -torch.inf))
    both = plus + minus
    assert int(patterns(both.round())) == 0x7FFFFFFF
    assert_same(both, exact_partial(torch.tensor([[torch.inf, -torch.inf]]), torch.ones(2, 1)))
    assert both.normalized().flags[:, 0, 0].tolist() == [1, 0, 0, 1]
    assert int(both.flags[NAN]) == 0


def test_regrid() -> None:
    total = exact_partial(Draw(1).normal(2, 5), Draw(4).normal(5, 2))
    wide = total.regrid(total.least - 3, total.end + 2)
    assert len(wide.digits) == len(total.digits) + 5
    assert_same(wide, total)
    with pytest.raises(refnum.ShapeError, match=r"ExactPartial has digits from .* Make it wider, or call normalized"):
        total.regrid(total.least + 1, total.end)


# ---- what must not matter -----------------------------------------------------------------------------------------


def test_strides_batches_and_gradients() -> None:
    draw = Draw(7)
    a, b = draw.normal(2, 3, 1, 5, 6), draw.normal(4, 6, 7)
    total = exact_partial(a, b)
    assert total.shape == (2, 3, 4, 5, 7)
    assert_bit_equal(total.round(), refnum.gemm(a, b, contract="exact/v1"))
    assert_same(exact_partial(a.mT.contiguous().mT, b.transpose(0, 2).contiguous().transpose(0, 2)), total)
    assert_same(exact_partial(a.clone().requires_grad_(), b), total)
    assert_same(exact_partial(torch._neg_view(-a), b), total)


@pytest.mark.parametrize("setting", SETTINGS)
def test_ambient_settings(setting: str) -> None:
    kinds = ("normal", "subnormal operands", "subnormal results", "specials", "zeros of one sign", "wide")
    given = [operands(kind, 5, 13, 4) for kind in kinds]
    want = [(exact_partial(*x).normalized(), exact_partial(*x).round(torch.bfloat16)) for x in given]
    with SETTINGS[setting]():
        got = [(exact_partial(*x).normalized(), exact_partial(*x).round(torch.bfloat16)) for x in given]
    for (total, result), (whole, rounded) in zip(got, want, strict=True):
        assert_same(total, whole)
        assert_bit_equal(patterns(result), patterns(rounded))


# ---- bad input ----------------------------------------------------------------------------------------------------

X = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: exact_partial([1.0], X), refnum.DTypeError, "exact_partial needs a tensor for a, got list"),
        (
            lambda: exact_partial(X.int(), X),
            refnum.DTypeError,
            "has no torch.int32 for a. Allowed are float16, bfloat16",
        ),
        (lambda: exact_partial(X, X.to(torch.complex64)), refnum.DTypeError, "has no torch.complex64 for b"),
        (lambda: exact_partial(X, X.mT, X.bool()), refnum.DTypeError, "has no torch.bool for bias"),
        (lambda: exact_partial(X, X.to_sparse()), refnum.DTypeError, "needs a dense tensor for b"),
        (lambda: exact_partial(X, X.to("meta")), refnum.DTypeError, "a meta tensor has none"),
        (lambda: exact_partial(X, X), refnum.ShapeError, "cannot multiply (2, 3) by (2, 3). Allowed are [.., M, K] by"),
        (lambda: exact_partial(X[0], X.mT), refnum.ShapeError, "cannot multiply (3,) by (3, 2)"),
        (
            lambda: exact_partial(X.expand(2, 2, 3), X.mT.expand(3, 3, 2)),
            refnum.ShapeError,
            "cannot broadcast a (2,), b",
        ),
        (
            lambda: exact_partial(X, X.mT, X),
            refnum.ShapeError,
            "cannot add a bias of shape (2, 3) to a result of shape",
        ),
        (lambda: exact_partial(X, X.mT).round(torch.int8), refnum.DTypeError, "has no torch.int8 for a result"),
        (lambda: exact_partial(X, X.mT) + X, refnum.DTypeError, "ExactPartial adds to another one, got Tensor"),
        (
            lambda: exact_partial(X, X.mT) + exact_partial(X.mT, X),
            refnum.ShapeError,
            "cannot add sums of shapes (2, 2) and (3, 3)",
        ),
    ],
)
def test_refusals(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()
