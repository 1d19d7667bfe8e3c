"""`assert_invariant` finds whatever depends on other rows, and nothing in what does not."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from float_sums import Draw
from torch import Tensor

import refnum
from refnum import MismatchError, gemm, posit16, posit_mm
from refnum.errors import ContractError, DTypeError, ShapeError
from refnum.testing.invariance import SIZES, THREADS, TRIALS, Movement, assert_invariant

CHOICES = tuple(TRIALS)
FEW = (1, 2, 3, 7, 32, 33)
A, B = Draw(1).normal(5, 24), Draw(2).normal(24, 3)

chain = partial(gemm, contract="chain/v1")
exact = partial(gemm, contract="exact/v1")


def movement(fn: Callable[..., Any], *args: Any, **choices: Any) -> Movement:
    with pytest.raises(MismatchError) as caught:
        assert_invariant(fn, *args, **choices)
    report = caught.value.report
    assert isinstance(report, Movement)
    assert str(caught.value) == str(report)
    return report


# ---- what keeps its bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fn", [chain, exact], ids=["chain", "exact"])
def test_contracts_keep_their_bits(fn: Callable[..., Tensor]) -> None:
    assert_invariant(fn, A, B)
    a = A.clone()
    a[1, 2], a[2, 3], a[3] = torch.nan, torch.inf, -0.0
    assert_invariant(fn, a, B, sizes=FEW)


@pytest.mark.parametrize("fn", [
    lambda x: x.exp(),
    lambda x: -x,
    lambda x: x[..., 0],
    lambda x: x.to(torch.bfloat16),
    lambda x: x > 0,
    lambda x: x.view(torch.int32),
    lambda x: x.double(),
], ids="exp neg column bfloat16 mask bits double".split())  # fmt: skip
def test_results_of_any_dtype(fn: Callable[[Tensor], Tensor]) -> None:
    assert_invariant(fn, A.contiguous(), sizes=FEW)


@pytest.mark.parametrize(
    "dtype",
    [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8],
)
def test_rows_of_any_dtype(dtype: torch.dtype) -> None:
    rows = (A * 16).to(dtype)
    assert_invariant(lambda x: x.clone(), rows, sizes=FEW)
    # Neighbours are read: each kind of padding is really of the dtype.
    found = movement(lambda x: x[:1].repeat(len(x), 1), rows, sizes=(3,), over=["padding"])
    assert found.over == "padding"


def test_rows_may_be_patterns_or_bools() -> None:
    patterns = refnum.encode(A, posit16)
    assert_invariant(lambda a: posit_mm(a, refnum.encode(B, posit16), posit16), patterns, sizes=FEW)
    assert_invariant(lambda x: ~x, A > 0, sizes=FEW)


def test_rows_lie_along_the_axis_before_the_last() -> None:
    a = Draw(3).normal(2, 4, 24)
    assert_invariant(chain, a, B, sizes=FEW)
    assert_invariant(lambda x: x[..., 0], a, sizes=FEW)
    found = movement(lambda x: x.cumsum(1), a, sizes=(1, 3), over=["batch"])
    assert (found.row, found.index, found.total) == (1, (0, 1, 0), 48)


def test_gradients_are_of_no_concern() -> None:
    assert_invariant(chain, A.requires_grad_(False), B.clone().requires_grad_(), sizes=FEW)


# ---- what does not -----------------------------------------------------------------------------------------------


def by_batch(a: Tensor, b: Tensor) -> Tensor:
    """Another order from 32 rows on, as libraries dispatch."""
    return chain(a, b) if len(a) < 32 else chain(a.flip(1), b.flip(0))


def by_position(a: Tensor, b: Tensor) -> Tensor:
    """Another order in the last row of each tile of 4."""
    last = torch.arange(len(a)) % 4 == 3
    return torch.where(last[:, None], chain(a.flip(1), b.flip(0)), chain(a, b))


def by_neighbours(a: Tensor, b: Tensor) -> Tensor:
    """Scaled by the largest of all rows, and back; powers of 2 would do no harm."""
    scale = a.abs().amax()
    return chain(a / scale, b) * scale


def by_threads(a: Tensor, b: Tensor) -> Tensor:
    return chain(a, b) if torch.get_num_threads() != 3 else chain(a.flip(1), b.flip(0))


def by_place_in_memory(a: Tensor, b: Tensor) -> Tensor:
    return chain(a, b) if a.storage_offset() == 0 else chain(a.flip(1), b.flip(0))


def by_padding(a: Tensor, b: Tensor) -> Tensor:
    """Zeros times NaN: a product with a block-diagonal matrix that adds all rows."""
    return chain(a, b) + 0 * a.sum()


@pytest.mark.parametrize(
    ("fn", "over"),
    [
        (by_batch, {"batch", "chunk"}),
        (by_position, {"batch", "position", "chunk"}),
        (by_neighbours, {"batch", "padding", "chunk"}),
        (by_padding, {"padding"}),
        (by_threads, {"threads"}),
        (by_place_in_memory, {"chunk"}),
    ],
)
def test_what_depends_on_other_rows_is_found_by_what_it_depends_on(fn: Callable[..., Tensor], over: set[str]) -> None:
    for name in CHOICES:
        if name in over:
            assert movement(fn, A, B, over=[name]).over == name
        else:
            assert_invariant(fn, A, B, over=[name])
    assert movement(fn, A, B).over == min(over, key=CHOICES.index)


def test_the_report_names_the_first_row_and_when() -> None:
    found = movement(by_batch, A, B, over=["batch"])
    assert (found.when, found.then, found.index[0]) == ("in a batch of 32", "alone", found.row)
    want, got = chain(A, B), chain(A.flip(1), B.flip(0))
    moved = (want != got).nonzero()[0].tolist()
    assert list(found.index) == moved
    assert (found.got, found.want) == (float(got[tuple(moved)]), float(want[tuple(moved)]))
    assert (found.moved, found.total) == (int((want != got)[moved[0]].sum()), 3)

    found = movement(by_threads, A, B)
    assert found.when == "in a batch of 1 with 3 threads"
    assert found.then == f"with {torch.get_num_threads()}"

    found = movement(by_batch, A, B, over=["chunk"], sizes=(7, 40, 3))
    assert (found.when, found.then) == ("in chunks of 7", "in a batch of 40")
    found = movement(by_padding, A, B)
    assert found.when == f"in a batch of 2 beside rows of {torch.finfo(torch.float32).max}"
    found = movement(by_position, A, B, over=["position"])
    assert found.when.startswith("in a batch of 4 ")


def test_the_row_is_one_of_those_given() -> None:
    """Row 12 of a batch of 13 is row 2 of 5."""
    odd_one = lambda x: x + (torch.arange(len(x))[:, None] == 12)  # noqa: E731
    found = movement(odd_one, A, over=["batch"], sizes=(13,))
    assert (found.row, found.index) == (2, (12, 0))


def test_the_message() -> None:
    with pytest.raises(MismatchError) as caught:
        assert_invariant(lambda x: x / len(x), torch.ones(2, 3), over=["batch"])
    assert str(caught.value) == (
        "row 0 has other bits in a batch of 2 than alone\n"
        "  moved 3 of its 3 results  the first [0, 0]  got 0.5  want 1.0\n"
        "  A row may not depend on batch: fix one order of additions for every shape."
    )


def test_zeros_differ_in_their_sign_and_nans_do_not_differ() -> None:
    found = movement(lambda x: torch.zeros_like(x).copysign(torch.tensor(2.5 - len(x))), A, over="batch")
    assert (found.got, found.want, found.when) == (0.0, 0.0, "in a batch of 3")
    assert_invariant(lambda x: torch.full_like(x, torch.nan).copysign(torch.tensor(2.5 - len(x))), A)


def test_a_library_that_dispatches_by_size_is_found() -> None:
    """torch.mm of float32, where it does so; elsewhere a product of its kind, which is certain to."""
    a, b = Draw(4).normal(8, 1000), Draw(5).normal(1000, 8)
    one, all_ = torch.cat([row[None] @ b for row in a]), a @ b
    if torch.equal(one, all_):
        assert_invariant(torch.mm, a, b, over=["batch"], sizes=(1, 8))
    else:
        assert movement(torch.mm, a, b, over=["batch"], sizes=(1, 8)).when == "in a batch of 8"


def test_the_count_of_threads_is_restored() -> None:
    before = torch.get_num_threads()

    def fails(x: Tensor) -> Tensor:
        if torch.get_num_threads() == 5:
            raise ZeroDivisionError
        return x

    with pytest.raises(ZeroDivisionError):
        assert_invariant(fails, A, over=["threads"], threads=(2, 5))
    assert torch.get_num_threads() == before
    movement(by_threads, A, B)
    assert torch.get_num_threads() == before


def test_the_sizes_are_those_at_which_libraries_change() -> None:
    assert {1, 2, 4, 8, 16, 31, 32, 33, 64, 127, 128, 129, 255, 256, 257} <= set(SIZES)
    assert {1, 2, 4} <= set(THREADS)


# ---- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "choices", "error", "message"),
    [
        (
            (),
            {},
            ShapeError,
            "assert_invariant needs rows, got no arguments for fn. Give a tensor [.., rows, K] first.",
        ),
        (
            (torch.zeros(3),),
            {},
            ShapeError,
            "assert_invariant needs rows, got a first argument of shape (3,). Allowed is [.., rows, K] with a row at "
            "least. Reshape it.",
        ),
        ((torch.zeros(0, 3),), {}, ShapeError, "got a first argument of shape (0, 3)."),
        ((5,), {}, DTypeError, "assert_invariant needs a tensor for rows, got int. Use torch.as_tensor first."),
        ((torch.zeros(2, 3, device="meta"),), {}, DTypeError, "a meta tensor has none."),
        (
            (torch.zeros(2, 3, dtype=torch.complex64),),
            {},
            DTypeError,
            "assert_invariant cannot compare torch.complex64 of rows. Allowed are floats, integers and bools. View it "
            "as one.",
        ),
        (
            (A,),
            {"over": ("batch", "weather")},
            ContractError,
            "assert_invariant has no over='weather'. Choose one of batch, position, padding, chunk, threads.",
        ),
        (
            (A,),
            {"sizes": ()},
            ContractError,
            "assert_invariant cannot try sizes=(). Allowed are whole numbers from 1 on. Give one at least.",
        ),
        ((A,), {"sizes": (1, 0)}, ContractError, "cannot try sizes=(1, 0)."),
        ((A,), {"threads": (2.0,)}, ContractError, "cannot try threads=(2.0,)."),
        ((A,), {"threads": (True,)}, ContractError, "cannot try threads=(True,)."),
        ((A,), {"sizes": 3}, ContractError, "cannot try sizes=3."),
        ((A,), {"over": 3}, ContractError, "assert_invariant has no over=3. Choose one of batch, "),
    ],
)
def test_bad_input(given: tuple[Any, ...], choices: dict[str, Any], error: type[Exception], message: str) -> None:
    def untouched(*args: Tensor) -> Tensor:
        raise AssertionError("checked before any work")

    with pytest.raises(error, match=re.escape(message)):
        assert_invariant(untouched, *given, **choices)


def reused(fn: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The function with results that lie in the same memory each time."""
    memory = torch.empty(300, 24)
    return lambda x: memory[: len(x)].copy_(fn(x))


@pytest.mark.parametrize("fn", [lambda x: x.mul_(2), lambda x: x * 2 + x.zero_().sum(), reused(lambda x: x * 2)])
def test_functions_that_write_to_rows_or_to_earlier_results(fn: Callable[[Tensor], Tensor]) -> None:
    given = A.clone()
    assert_invariant(fn, given, sizes=(1, 2, 3, 8), threads=(1, 2))
    assert torch.equal(given, A)
    with pytest.raises(MismatchError):
        assert_invariant(reused(lambda x: x - x.mean(0)), A, sizes=(1, 2), over="batch")


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (
            None,
            DTypeError,
            "assert_invariant needs a function for fn, got NoneType. Allowed is what can be called. Pass the function "
            "itself.",
        ),
        (lambda x: None, DTypeError, "assert_invariant needs a tensor for the result of fn, got NoneType."),
        (lambda x: x.to(torch.complex64), DTypeError, "cannot compare torch.complex64 that fn returns."),
        (
            lambda x: x.sum(0),
            ShapeError,
            "assert_invariant got a result of shape (24,) for 1 rows of shape (1, 24). Allowed are as many along axis "
            "0. Let fn return one for each row.",
        ),
        (lambda x: x.sum(), ShapeError, "got a result of shape () for 1 rows"),
        (
            lambda x: x[:, : len(x)],
            ShapeError,
            "assert_invariant got rows of torch.float32 and shape (2,) after some of torch.float32 and shape (1,). "
            "Allowed is one of each. Let fn return that for every batch.",
        ),
        (lambda x: x if len(x) < 3 else x.half(), ShapeError, "got rows of torch.float16 and shape (24,)"),
    ],
)
def test_bad_functions(fn: Callable[[Tensor], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        assert_invariant(fn, A)
