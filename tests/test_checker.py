"""`testing.checker`: the leaderboards' rule, decided element by element here, and a message on how close it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from refnum import Posit
from refnum.errors import ContractError, DTypeError, FormatError
from refnum.testing.verdicts import checker

NAN, INF = math.nan, math.inf
BF16 = torch.bfloat16


def judge(got: Any, want: Any, **bounds: Any) -> tuple[bool, list[str]]:
    """The verdict on an output, and the lines of its message."""
    ok, message = checker(lambda data: data, **bounds)(want, got)
    assert "\n" not in message, "the protocol has one line for a message"
    return ok, message.split(r"\n")


# ---- the rule -----------------------------------------------------------------------------------------------------


def rule(got: float, want: float, rtol: float, atol: float, bits: int) -> bool:
    """Whether one element passes, in numpy float32; ``bits`` is the significand of want's dtype."""

    def rounded(x: float) -> float:  # to nearest even, in the dtype of want
        scale = 2.0 ** (math.frexp(x)[1] - bits) if x else 1.0
        return float(np.rint(x / scale) * scale)

    if not math.isfinite(got) or not math.isfinite(want):
        return got == want or (math.isnan(got) and math.isnan(want))
    error = abs(float(np.float32(got) - np.float32(want)))
    return not error > rounded(rounded(rtol * abs(want)) + atol)


@pytest.mark.parametrize(("dtype", "bits"), [(BF16, 8), (torch.float32, 24)])
@pytest.mark.parametrize(("rtol", "atol"), [(1e-2, 1e-2), (2e-2, 1e-3), (1e-3, 1e-3), (0.0, 0.0)])
def test_rule_is_that_of_the_leaderboards(dtype: torch.dtype, bits: int, rtol: float, atol: float) -> None:
    random = torch.Generator().manual_seed(0)
    want = (torch.randn(400, generator=random) * 2.0 ** torch.randint(-8, 8, (400,), generator=random)).to(dtype)
    near = (want.float() * (1 + 2 * rtol * torch.randn(400, generator=random)) + atol / 2).to(dtype)
    specials = torch.tensor([NAN, INF, -INF, 0.0, -0.0, 1.0], dtype=dtype)
    got, want = (torch.cat(pair) for pair in ((near, specials.repeat(6)), (want, specials.repeat_interleave(6))))
    expected = [rule(g, w, rtol, atol, bits) for g, w in zip(got.tolist(), want.tolist(), strict=True)]
    assert 10 < sum(expected) < len(expected)
    found = [judge(got[i : i + 1], want[i : i + 1], rtol=rtol, atol=atol)[0] for i in range(len(expected))]
    assert found == expected


def test_tolerance_is_rounded_in_the_dtype_of_want() -> None:
    """1 + 0.01 * 1 is 1.0078125 in bfloat16: an error of 1.009 passes in float32 alone."""
    want = torch.tensor([1.0])
    assert judge(torch.tensor([2.009]), want, rtol=0.01, atol=1.0)[0]
    assert not judge(torch.tensor([2.009]), want.to(BF16), rtol=0.01, atol=1.0)[0]


def test_one_wrong_element_of_many_is_enough() -> None:
    want = torch.ones(1000, 1000)
    got = want.clone()
    got[999, 999] = 2.0
    ok, lines = judge(got, want, rtol=1e-2, atol=1e-2)
    assert not ok
    assert lines == [
        "mismatched 1 of 1,000,000 (0.00 %) by rtol 0.01, atol 0.01",
        "at (999, 999): got 2, want 1, error 1, 8,388,608 ULP",
        "ULP 0: 999,999  1: 0  2: 0  3: 0  >=4: 1  largest 8,388,608 at (999, 999)",
    ]


def test_without_bounds_it_is_that_of_allclose() -> None:
    for scale in (1 + 5e-6, 1 + 5e-5):
        want = torch.tensor([3.0, -7.0])
        assert judge(want * scale, want)[0] == torch.allclose(want * scale, want)


def test_one_tolerance_alone_leaves_the_other_at_zero() -> None:
    want = torch.tensor([0.0, 100.0])
    assert judge(torch.tensor([0.0, 101.0]), want, rtol=0.02)[0]
    assert not judge(torch.tensor([1e-9, 100.0]), want, rtol=0.02)[0]
    assert not judge(torch.tensor([0.0, 101.0]), want, atol=0.02)[0]


def test_ulp_alone_and_beside_a_tolerance() -> None:
    want = torch.tensor([256.0, 1e-30], dtype=BF16)
    two_up = (want.view(torch.int16) + 2).view(BF16)  # an error of 4, and one of 1e-32
    assert judge(two_up, want, ulp=2)[0]
    assert not judge(two_up, want, ulp=1)[0]
    assert judge(two_up, want, rtol=0.02, ulp=2)[0]
    assert not judge(two_up, want, rtol=0.001, ulp=2)[0]
    assert not judge(two_up, want, rtol=0.02, ulp=1)[0]
    assert judge(two_up, want, rtol=0.02, ulp=1)[1][0] == "mismatched 2 of 2 (100.00 %) by rtol 0.02, atol 0.0, ulp 1"
    assert not judge(torch.tensor([NAN]), torch.tensor([1.0]), ulp=2**62)[0]


def test_codes_are_compared_in_ulp() -> None:
    want = torch.tensor([0x40, 0x01], dtype=torch.int8)
    assert judge(want, want, fmt=Posit(8))[0]
    assert not judge(want + 1, want, fmt=Posit(8))[0]
    assert judge(want + 1, want, fmt=Posit(8), ulp=1)[0]


def test_integers_and_bools_have_the_rule_too() -> None:
    want = torch.tensor([3, 200], dtype=torch.uint8)
    assert judge(want, want, rtol=0.0)[0]
    assert not judge(want + 1, want, rtol=0.0)[0]
    assert judge(want + 1, want, atol=1)[0]
    assert judge(want > 5, want > 5)[0]
    assert not judge(want > 5, want > 2)[0]


# ---- the message --------------------------------------------------------------------------------------------------


def test_success_tells_the_largest_error_and_the_distances() -> None:
    want = torch.tensor([[1.0, -2.0], [NAN, INF]])
    got = torch.tensor([[1.0, -2.0 - 2**-22], [NAN, INF]])
    assert judge(got, want, rtol=1e-2) == (
        True,
        ["Maximum error: 2.384185791015625e-07", "ULP 0: 3  1: 1  2: 0  3: 0  >=4: 0  largest 1 at (0, 1)"],
    )
    assert judge(want, want) == (True, ["Maximum error: 0.0", "ULP 0: 4  1: 0  2: 0  3: 0  >=4: 0"])


def test_largest_errors_come_first_and_five_are_shown() -> None:
    want = torch.zeros(8)
    got = torch.tensor([1.0, 9.0, 3.0, NAN, INF, 7.0, 2.0, 0.0])
    ok, lines = judge(got, want, atol=0.5)
    assert not ok
    assert [line.split(":")[0] for line in lines[1:7]] == ["at (3,)", "at (4,)", "at (1,)", "at (5,)", "at (2,)", "..."]
    assert lines[1] == "at (3,): got nan, want 0, error nan, uncounted ULP"
    assert lines[-1].endswith("largest uncounted at (3,)")


def test_dtype_is_unchecked_but_without_it_there_is_no_ulp() -> None:
    want = torch.tensor([1.0, 2.0], dtype=BF16)
    assert judge(want.float(), want) == (
        True,
        ["Maximum error: 0.0", "no ULP: got torch.float32, want torch.bfloat16"],
    )
    assert judge(want.float(), want, ulp=1) == (False, ["got torch.float32, want torch.bfloat16"])
    ok, lines = judge(want.float() + 1, want)
    assert not ok
    assert lines[1] == "at (0,): got 2, want 1, error 1"


def test_scalars_empty_and_strided_outputs() -> None:
    assert judge(torch.tensor(1.0), torch.tensor(1.0))[0]
    assert judge(torch.tensor(2.0), torch.tensor(1.0))[1][1].startswith("at (): got 2, want 1")
    assert judge(torch.ones(0, 3), torch.ones(0, 3)) == (
        True,
        ["Maximum error: 0.0", "ULP 0: 0  1: 0  2: 0  3: 0  >=4: 0"],
    )
    x = torch.randn(40, 500, 3)
    assert judge(x.permute(2, 0, 1).contiguous().permute(1, 2, 0), x)[0]
    y = x.clone()
    y[39, 498, 2] += 1
    assert judge(y, x)[1][1].startswith("at (39, 498, 2)")


@pytest.mark.parametrize(
    ("got", "text"),
    [
        (torch.ones(3, 2), "SIZE MISMATCH: got (3, 2), want (2, 3)"),
        (torch.ones(6), "SIZE MISMATCH: got (6,), want (2, 3)"),
        (None, "got NoneType, want a dense tensor"),
        ([torch.ones(2, 3)], "got list, want a dense tensor"),
        (torch.ones(2, 3).to_sparse(), "got torch.sparse_coo, want a dense tensor"),
        (torch.ones(2, 3, device="meta"), "got a tensor on meta, want it on cpu"),
        (torch.ones(2, 3, dtype=torch.complex64), "got torch.complex64, want torch.float32"),
    ],
)
def test_an_output_that_cannot_be_compared_is_a_message(got: Any, text: str) -> None:
    assert judge(got, torch.ones(2, 3)) == (False, [text])


def test_lists_of_outputs() -> None:
    want = [torch.ones(2), torch.zeros(1, 3)]
    ok, lines = judge(tuple(want), want)
    assert ok
    assert lines[::2] == ["output 0: Maximum error: 0.0", "output 1: Maximum error: 0.0"]
    assert judge(want[:1], want) == (False, ["SIZE MISMATCH: got 1 outputs, want a list of 2"])
    assert judge(want[0], want) == (False, ["SIZE MISMATCH: got Tensor, want a list of 2"])
    ok, lines = judge([want[0], want[1] + 1], want)
    assert not ok
    assert lines[2] == "output 1: mismatched 3 of 3 (100.00 %) by rtol 1e-05, atol 1e-08"


def test_gradients_are_no_part_of_it() -> None:
    x = torch.ones(3, requires_grad=True)
    grad_was_on = []

    def reference(data: Tensor) -> Tensor:
        grad_was_on.append(torch.is_grad_enabled())
        return data * 2

    assert checker(reference)(x, x + x)[0]
    assert grad_was_on == [False]


# ---- what it refuses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: checker(None), DTypeError, "checker needs a function for ref_kernel, got NoneType."),  # type: ignore[arg-type]
        (lambda: checker(abs, rtol=-1e-3), ContractError, "checker cannot allow rtol=-0.001. Allowed is a number"),
        (lambda: checker(abs, atol=NAN), ContractError, "checker cannot allow atol=nan."),
        (lambda: checker(abs, atol=True), ContractError, "checker cannot allow atol=True."),
        (lambda: checker(abs, ulp=1.0), ContractError, "checker cannot allow ulp=1.0. Allowed is an int"),  # type: ignore[arg-type]
        (lambda: checker(abs, fmt="posit8"), FormatError, "checker needs a format record"),  # type: ignore[arg-type]
        (lambda: checker(abs, fmt=Posit(8), rtol=0.1), ContractError, "checker has no tolerance for codes of posit8"),
        (lambda: checker(lambda _: 3.0)(0, torch.ones(1)), DTypeError, "for the result of ref_kernel, got float."),
        (
            lambda: checker(lambda _: torch.zeros(1).to(torch.float8_e5m2))(0, torch.ones(1)),
            DTypeError,
            "has no tolerance for torch.float8_e5m2, the dtype of ref_kernel's result.",
        ),
    ],
)
def test_refusals(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)
