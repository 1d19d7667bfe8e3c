"""Quotients of exact sums: rounded once, whatever lies below a tie."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from float_sums import SETTINGS
from refnum_conformance.oracles.minifloat import FLOATS, encode
from refnum_conformance.oracles.reals import ratio
from torch import Tensor

from refnum import exact_partial
from refnum.boundary import SIGNED
from refnum.sums.partial import ExactPartial
from refnum.sums.ratios import by_definition, divided
from refnum.testing import assert_bit_equal

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ONES = torch.ones(8, 1)


def summed(rows: list[list[float]]) -> ExactPartial:
    """Sums [rows, 1] of a few float32s each."""
    terms = torch.tensor([row + [0.0] * (8 - len(row)) for row in rows], dtype=torch.float32)
    return exact_partial(terms, ONES)


def right(above: list[list[float]], below: list[list[float]], dtype: torch.dtype) -> Tensor:
    row, codes = FLOATS[str(dtype).removeprefix("torch.")], []
    for x, y in zip(above, below, strict=True):
        quotient = sum(map(Fraction, x)) / sum(map(Fraction, y))
        codes.append([encode(quotient < 0, ratio(abs(quotient)), row)])
    return torch.tensor(codes).to(SIGNED[row.width]).view(dtype)


#: (numerators, denominators): ties and what lies beside them by a term that float64 does not see
CASES = {
    "ties": ([[3.0], [257.0], [259.0], [-257.0], [1.0, 2.0**-24], [1.0, 3 * 2.0**-24]],
             [[2.0], *[[256.0]] * 3, [1.0], [1.0]]),
    "above ties": ([[257.0, 2.0**-90], [-257.0, -(2.0**-90)], [1.0, 2.0**-24, 2.0**-140]], [[256.0], [256.0], [1.0]]),
    "below ties": ([[259.0, -(2.0**-90)], [259.0], [1.0, 2.0**-24, -(2.0**-149)]], [[256.0], [256.0, 2.0**-90], [1.0]]),
    "thirds": ([[1.0], [2.0], [-5.0], [1e30, 1.0, -1e30]], [[3.0], [3.0], [7.0], [3.0]]),
    "subnormal results": ([[2.0**-149], [2.0**-149], [3 * 2.0**-149], [2.0**-24], [3 * 2.0**-25]],
                          [[2.0], [3.0], [2.0], [2.0], [1.0]]),
    "overflow": ([[3.4e38] * 2, [65520.0], [65519.99], [-3.4e38]], [[1.0], [1.0], [1.0], [0.99]]),
    "long and short": ([[1.0, 2.0**-149], [1e38, 1e-45]], [[1.0, 2.0**-100, 2.0**-149], [1e-38, 1e-45]]),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_quotients_are_rounded_once(kind: str, dtype: torch.dtype) -> None:
    above, below = CASES[kind]
    want = right(above, below, dtype)
    assert_bit_equal(divided(summed(above), summed(below), dtype), want)
    exact = [[(int(sum(map(Fraction, row)) * 2**149), -149) for row in rows] for rows in (above, below)]
    assert_bit_equal(by_definition(*exact, dtype).view(dtype)[:, None], want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_many_quotients(dtype: torch.dtype) -> None:
    """Sums of few bits, whose quotients are often ties, and of many."""
    draw = torch.Generator().manual_seed(0)
    for bits in (3, 9, 12, 24):
        integers = torch.randint(1, 1 << bits, (400, 2, 2), generator=draw) * torch.tensor([1, 1 << bits])
        floats = (integers * torch.tensor([[[1.0], [2.0**-9]]])).to(torch.float32)
        above, below = floats[:, 0].tolist(), floats[:, 1].tolist()
        above = [[x, -y] for x, y in above]
        assert_bit_equal(divided(summed(above), summed(below), dtype), right(above, below, dtype))


def test_specials_are_those_of_a_division() -> None:
    inf, nan = torch.inf, torch.nan
    above = summed([[nan], [inf], [-inf], [0.0], [1.0], [-0.0] * 8, [0.0]])
    below = summed([[1.0], [2.0], [2.0], [0.0], [nan], [4.0], [4.0]])
    got = divided(above, below, torch.bfloat16)
    patterns = [0x7FFF, 0x7F80, 0xFF80 - (1 << 16), 0x7FFF, 0x7FFF, -(1 << 15), 0]
    assert got.view(torch.int16)[:, 0].tolist() == patterns


def test_a_denominator_serves_all_columns() -> None:
    x = torch.tensor([[1.0, 2.0, 257.0], [5.0, -7.0, 0.0]])
    got = divided(
        exact_partial(x, torch.eye(3)), exact_partial(torch.tensor([[256.0], [3.0]]), torch.ones(1, 1)), torch.bfloat16
    )
    assert_bit_equal(got, torch.tensor([[2.0**-8, 2.0**-7, 1.0], [5 / 3, -7 / 3, 0.0]], dtype=torch.bfloat16))
    empty = divided(ExactPartial.zeros((2, 0)), ExactPartial.zeros((2, 1)), torch.float32)
    assert empty.shape == (2, 0)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_changes_a_bit(setting: str) -> None:
    above, below = CASES["subnormal results"]
    sums = summed(above), summed(below)
    for dtype in DTYPES:
        with SETTINGS[setting]():
            got = divided(*sums, dtype)
        assert_bit_equal(got, right(above, below, dtype))
