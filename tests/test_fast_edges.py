"""Fast twins of the waist where a format ends with the row of its operands, before it, or beyond it."""

from __future__ import annotations

import pytest
import torch
from refnum_conformance.mutant_suite import _DefinedOnly
from torch import Tensor

from refnum.boundary import FLOAT_ROWS, SIGNED, container
from refnum.core.decode import decode
from refnum.core.round import RULES, encode, rounded_floats
from refnum.fast import integers, logarithms
from refnum.formats import FixedPoint, Logarithmic, Minifloat, float16, float32, float64, nf4

ROUNDINGS = tuple(rule for rule in RULES if rule != "stochastic")


def binades(row: Minifloat) -> Tensor:
    """Sign-extended patterns about the ends, the middles and the roots of two of a row's binades, with Inf and NaNs."""
    fields = torch.arange(1 << row.exponent)
    if row == float64:
        fields = fields[(fields < 3) | ((fields > 850) & (fields < 1200)) | (fields > 2043)]
    fractions = [0, 1, 1 << (row.mantissa - 1), (1 << row.mantissa) - 1]
    fractions += [logarithms._root_of_two(row) + ulp for ulp in (-1, 0, 1, 2)]
    found = (fields[:, None] << row.mantissa | torch.tensor(fractions)).reshape(-1)
    return torch.cat([found, found | -1 << (row.width - 1)])


LOGARITHMS = (
    *(Logarithmic(4, -126), Logarithmic(4, -126, zero_code=False), Logarithmic(9, 100), Logarithmic(9, 0)),
    *(Logarithmic(3, -3), Logarithmic(2, 13), Logarithmic(8, 100, zero_code=False), Logarithmic(12, 1000)),
)


@pytest.mark.parametrize("row", [float16, float32, float64], ids=str)
def test_logarithms_at_the_ends_of_rows(row: Minifloat) -> None:
    bits = binades(row)
    narrow, x = bits.to(SIGNED[row.width]), decode(bits, row)
    served = [fmt for fmt in LOGARITHMS if logarithms.serves(fmt, row, "to_odd")]
    assert len(served) >= 2
    for fmt in served:
        for rounding in ROUNDINGS:
            with _DefinedOnly():  # no shift whose result torch leaves open
                got = logarithms.codes(narrow, fmt, row, rounding)
            assert torch.equal(got.long(), encode(x, fmt, rounding)), (fmt, rounding)
            if logarithms.serves_values(fmt, row, rounding):
                values = logarithms.values(narrow, fmt, row, rounding).to(narrow.dtype)
                assert torch.equal(values, rounded_floats(bits, row, fmt, rounding).to(values.dtype)), (fmt, rounding)


def test_which_logarithms_a_row_serves() -> None:
    assert logarithms.serves(Logarithmic(4, -126), float32, "nearest_even")  # its least value is 2**127
    assert not logarithms.serves(Logarithmic(4, -127), float32, "nearest_even")
    assert logarithms.serves(Logarithmic(8, 126), float32, "nearest_even")  # and here half of it is 2**-126
    assert not logarithms.serves(Logarithmic(8, 127), float32, "nearest_even")
    assert not logarithms.serves(Logarithmic(8), float32, "stochastic")
    assert not logarithms.serves(nf4, float32, "nearest_even")
    assert logarithms.serves(Logarithmic(9, 100), float32, "nearest_even")
    assert not logarithms.serves_values(Logarithmic(9, 100), float32, "nearest_even")
    assert not logarithms.serves_values(Logarithmic(8), float32, "stochastic")


def test_which_fixed_point_a_row_serves() -> None:
    """The unit is 2**-126 at least, and the lower end -2**127 at most."""
    served = [fraction for fraction in range(-160, 160) if integers.serves(FixedPoint(8, fraction), float32)]
    assert served == list(range(-120, 127))
    assert not integers.serves(FixedPoint(26, 0), float32)
    assert integers.serves(FixedPoint(25, 0), float32)


def test_where_floats_are_rounded_as_floats() -> None:
    x, fmt = torch.ones(2), FixedPoint(8, 4)
    assert integers.rounds(x, fmt, float32, "nearest_even")
    for other in (torch.nn.Parameter(x), x.to("meta")):
        assert not integers.rounds(other, fmt, float32, "nearest_even")
    assert not integers.rounds(x.half(), fmt, float16, "nearest_even")
    assert not integers.rounds(x, nf4, float32, "nearest_even")
    assert not integers.rounds(x, FixedPoint(8, 127), float32, "nearest_even")
    torch.set_flush_denormal(True)
    try:
        assert not integers.rounds(x, fmt, float32, "nearest_even")
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_the_widest_formats_wrap(dtype: torch.dtype, signed: bool) -> None:
    row, places = FLOAT_ROWS[dtype], torch.arange(20, 130, dtype=dtype)
    x = torch.cat([odd * sign * torch.exp2(places) for odd in (1, 1.25, 1.75) for sign in (1, -1)])
    x = torch.cat([x, x + 1, x + 0.5])
    bits = x.view(SIGNED[row.width])
    for fmt in (FixedPoint(width, fraction, signed, overflow="wrap") for width in (24, 32) for fraction in (0, 7)):
        if integers.serves(fmt, row):
            want = encode(decode(bits, row), fmt).to(container(fmt))
            assert torch.equal(integers.codes(x, fmt, "nearest_even", container(fmt)), want), fmt
