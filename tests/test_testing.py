"""Comparisons fail when they must, pass when they must, and say what differs; strategies draw what they promise.

The cases have a file of their own.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st
from torch import Tensor

import refnum
from refnum import Minifloat, MismatchError, Posit, formats, mx
from refnum.errors import ContractError, DTypeError, FormatError, MissingExtraError, RefnumError, ShapeError
from refnum.testing import (
    BlocksReport,
    Difference,
    Report,
    assert_bit_equal,
    assert_ulp,
    cases,
    comparisons,
    hazards,
    strategies,
    ulp_distance,
)
from refnum.testing import ulp as distances
from refnum.testing.dyadics import to_float
from refnum.testing.ulp import Places, places

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
SIGNED = {2: torch.int16, 4: torch.int32, 8: torch.int64}
FARTHEST = 2**63 - 1
NAN, INF = math.nan, math.inf


def mismatch(check: Callable[[], None]) -> MismatchError:
    with pytest.raises(MismatchError) as caught:
        check()
    return caught.value


def report_of(check: Callable[[], None]) -> Report:
    report = mismatch(check).report
    assert isinstance(report, Report)
    return report


def float_of_bits(bits: int, dtype: torch.dtype) -> Tensor:
    return torch.tensor([bits]).to(SIGNED[dtype.itemsize]).view(dtype)


# ---- ulp_distance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOATS)
def test_float_distance_counts_the_values_between(dtype: torch.dtype) -> None:
    x = cases.floats(Posit(16), "edges", dtype, count=500)
    x = x[x.isfinite()]
    y, steps = x, torch.zeros(x.shape, dtype=torch.int64)
    for _ in range(3):
        assert torch.equal(ulp_distance(x, y), steps)
        assert torch.equal(ulp_distance(y, x), steps)
        steps += y.isfinite()
        y = torch.nextafter(y, torch.tensor(INF, dtype=dtype))  # across zero there is one zero


def test_distance_of_specials() -> None:
    x = torch.tensor([0.0, NAN, NAN, INF, INF, -INF, 1.0])
    y = torch.tensor([-0.0, NAN, 1.0, torch.finfo(torch.float32).max, -INF, NAN, NAN])
    assert ulp_distance(x, y).tolist() == [0, 0, FARTHEST, 1, 2 * 0x7F800000, FARTHEST, FARTHEST]
    negative_nan = float_of_bits(-1, torch.float32)
    assert ulp_distance(negative_nan, float_of_bits(0x7F800001, torch.float32)).item() == 0


def test_distance_saturates_instead_of_wrapping_around() -> None:
    ends = torch.tensor([-(2**63), 2**63 - 1, -(2**62), 2**62 - 1])
    assert ulp_distance(ends, ends.flip(0).roll(2)).tolist() == [FARTHEST] * 4
    assert ulp_distance(ends[2:3], ends[3:4]).item() == 2**63 - 1
    assert ulp_distance(ends[2:3], ends[3:4] - 1).item() == 2**63 - 2
    far = torch.tensor([-INF], dtype=torch.float64)
    assert ulp_distance(far, -far).item() == FARTHEST
    assert ulp_distance(far, torch.zeros_like(far)).item() == 0x7FF << 52
    assert ulp_distance(ends[:1] + 1, ends[1:2], Posit(64)).item() == FARTHEST


def test_distance_of_posit_patterns_goes_by_the_low_bits() -> None:
    fmt = Posit(6)
    every = cases.exhaustive(fmt)
    a, b = torch.meshgrid(every, every, indexing="ij")
    got = ulp_distance(a, b, fmt)
    real = (a != fmt.nar) & (b != fmt.nar)
    assert torch.equal(got[real], (a - b).abs()[real])
    assert (got[~real] == FARTHEST).sum() == 2 * 63
    assert got[0, 0] == 0  # NaR is NaR
    assert torch.equal(ulp_distance(a & 63, (b & 63).to(torch.int16), fmt), got)


@pytest.mark.parametrize("row", [refnum.e4m3, refnum.e5m2, refnum.e4m3fnuz, refnum.e2m1, refnum.e8m0], ids=str)
def test_distance_of_minifloat_codes_counts_distinct_values_between(row: Minifloat) -> None:
    codes = cases.exhaustive(row)
    values = [to_float(code, row) for code in codes.tolist()]
    order = sorted({v for v in values if not math.isnan(v)})  # -0 and 0 are one
    for code, x in zip(codes.tolist(), values, strict=True):
        want = [
            (0 if math.isnan(x) and math.isnan(y) else FARTHEST)
            if math.isnan(x) or math.isnan(y)
            else abs(order.index(x) - order.index(y))
            for y in values
        ]
        assert ulp_distance(torch.full_like(codes, code), codes, row).tolist() == want


def test_plain_integers_and_bools_differ_by_their_difference() -> None:
    a, b = torch.tensor([[3, 250], [5, 0]], dtype=torch.uint8)
    assert ulp_distance(a, b).tolist() == [2, 250]
    assert ulp_distance(torch.tensor([True, False]), torch.tensor([True, True])).tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (2, 3)])
def test_distance_has_the_shape_and_leaves_gradients_out(shape: tuple[int, ...]) -> None:
    x = torch.zeros(shape, requires_grad=True)
    got = ulp_distance(x, x)
    assert (got.shape, got.dtype, got.requires_grad) == (torch.Size(shape), torch.int64, False)


# ---- assert_bit_equal and assert_ulp: passing ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (7,), (5, 7), (2, 3, 5, 7)])
def test_equal_tensors_pass(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = (torch.arange(math.prod(shape)).reshape(shape) % 100).to(dtype)
    assert_bit_equal(x, x.clone())
    assert_bit_equal(x.mT if x.dim() > 1 else x, x.clone().mT if x.dim() > 1 else x.clone())
    assert_ulp(x, x.clone(), ulp=0)


def test_nans_are_one_and_zeros_are_two() -> None:
    quiet, other = float_of_bits(0x7FC00000, torch.float32), float_of_bits(-3, torch.float32)
    assert_bit_equal(quiet, other)
    assert_ulp(quiet, other, ulp=0)
    zero = torch.zeros(1)
    assert_ulp(zero, -zero, ulp=0)
    mismatch(lambda: assert_bit_equal(zero, -zero))
    codes = torch.tensor([0x7D, 0xFE], dtype=torch.uint8)
    assert_bit_equal(codes, codes.flip(0), fmt=refnum.e5m2)  # two NaN codes
    mismatch(lambda: assert_bit_equal(codes, codes.flip(0)))  # two integers
    mismatch(lambda: assert_bit_equal(torch.tensor([0]), torch.tensor([0x80]), fmt=refnum.e4m3))
    assert_ulp(torch.tensor([0]), torch.tensor([0x80]), ulp=0, fmt=refnum.e4m3)


def test_only_the_bits_of_the_format_count() -> None:
    x = torch.tensor([0x41, -1], dtype=torch.int16)
    assert_bit_equal(x, x & 0xFF, fmt=Posit(8))
    mismatch(lambda: assert_bit_equal(x, x & 0xFF))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_tolerance_is_exact(dtype: torch.dtype) -> None:
    x = cases.floats(Posit(16), "random", dtype, count=200)
    x = x[x.isfinite()]
    y = x
    for ulp in range(1, 4):
        y = torch.nextafter(y, torch.tensor(-INF, dtype=dtype))
        assert_ulp(x, y, ulp=ulp)
        report = report_of(lambda ulp=ulp, y=y: assert_ulp(x, y, ulp=ulp - 1))  # type: ignore[misc]
        assert report.worst == ulp


def test_a_nan_is_close_to_no_number() -> None:
    mismatch(lambda: assert_ulp(torch.tensor(NAN), torch.tensor(1.0), ulp=2**63 - 2))
    mismatch(lambda: assert_ulp(torch.tensor(-128), torch.tensor(-127), ulp=2**63 - 2, fmt=Posit(8)))


# ---- the table ----------------------------------------------------------------------------------------------------


def test_the_table_of_floats() -> None:
    want = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    got = want.clone()
    got[0, 1] += 2.0**-22
    got[1, 1] -= 2.0**-10
    got[1, 2] = -6.0
    assert str(mismatch(lambda: assert_ulp(got, want, ulp=0))) == (
        "got is not within 0 ULP of want\n"
        "  shape (2, 3)  dtype torch.float32  mismatched 3 of 6 (50.00 %)  worst 2,172,649,472 ULP\n"
        "  index      got bits    want bits          got   want           ULP\n"
        "  [0, 1]   0x40000001   0x40000000   2.00000024      2            +1\n"
        "  [1, 2]   0xc0c00000   0x40c00000           -6      6   -2172649472\n"
        "  [1, 1]   0x409ff800   0x40a00000   4.99902344      5         -2048\n"
        "  ULP    0: 3  1: 1  2: 0  3: 0  >=4: 2     rows 0..1, columns 1..2"
    )
    assert str(mismatch(lambda: assert_ulp(got, want, ulp=2048))).splitlines()[:2] == [
        "got is not within 2048 ULP of want",
        "  shape (2, 3)  dtype torch.float32  mismatched 1 of 6 (16.67 %)  worst 2,172,649,472 ULP",
    ]


def test_the_table_of_patterns() -> None:
    want = torch.tensor([0x4000, 0x4000, -0x8000, 1], dtype=torch.int16)
    got = torch.tensor([0x4000, 0x3FFF, 0x7FFF, -0x8000], dtype=torch.int16)
    assert str(mismatch(lambda: assert_bit_equal(got, want, fmt=Posit(16)))) == (
        "got is not bit-equal to want\n"
        "  shape (4,)  dtype torch.int16  format posit16  mismatched 3 of 4 (75.00 %)  worst NaN against a number\n"
        "  index   got bits   want bits          got         want   ULP\n"
        "  [1]       0x3fff      0x4000      0.99976            1    -1\n"
        "  [2]       0x7fff      0x8000   7.2058e+16          nan   NaN\n"
        "  [3]       0x8000      0x0001          nan   1.3878e-17   NaN\n"
        "  ULP    0: 1  1: 1  2: 0  3: 0  >=4: 2  NaN: 2     places 1..3"
    )


def test_the_table_of_integers_and_of_a_single_value() -> None:
    got, want = torch.tensor([-1, 2], dtype=torch.int8)
    assert str(mismatch(lambda: assert_bit_equal(got, want))) == (
        "got is not bit-equal to want\n"
        "  shape ()  dtype torch.int8  mismatched 1 of 1 (100.00 %)  worst 3 ULP\n"
        "  index   got bits   want bits   got   want   ULP\n"
        "  []          0xff        0x02    -1      2    -3\n"
        "  ULP    0: 0  1: 0  2: 0  3: 1  >=4: 0"
    )
    assert "0x01        0x00     1      0    +1" in str(
        mismatch(lambda: assert_bit_equal(torch.tensor([True]), torch.tensor([False])))
    )


def test_values_beyond_float64_s_precision_and_wide_codes_print() -> None:
    fmt = Posit(64)
    text = str(mismatch(lambda: assert_bit_equal(torch.tensor([2**62 + 1]), torch.tensor([-(2**62)]), fmt=fmt)))
    assert "[0]     0x4000000000000001   0xc000000000000000     1     -1   +9223372036854775807" in text
    row = Minifloat(3, 2, specials="none")
    assert "0x23        0x03" in str(mismatch(lambda: assert_bit_equal(torch.tensor([35]), torch.tensor([3]), fmt=row)))


def test_axes_before_the_last_two_are_numbered() -> None:
    want = torch.zeros(4, 5, 6, 7)
    got = want.clone()
    got[1, 2, 3, 4] = got[2, 2, 5, 0] = 1.0
    report = report_of(lambda: assert_bit_equal(got, want))
    assert report.bounds == ((1, 2), (2, 2), (3, 5), (0, 4))
    assert str(report).endswith("     axis 0 1..2, axis 1 2..2, rows 3..5, columns 0..4")


def test_bounds_grow_in_each_direction_from_piece_to_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "PIECE", 10)
    want = torch.zeros(4, 10, dtype=torch.int32)
    got = want.clone()
    got[1, 5] = got[2, 2] = got[3, 7] = 1
    assert report_of(lambda: assert_bit_equal(got, want)).bounds == ((1, 3), (2, 7))
    assert report_of(lambda: assert_bit_equal(got.flip(1), want)).bounds == ((1, 3), (2, 7))
    assert report_of(lambda: assert_bit_equal(got[:3], want[:3])).bounds == ((1, 2), (2, 5))


def test_the_first_mismatch_comes_first_and_then_the_worst() -> None:
    want = torch.arange(100, dtype=torch.int32)
    got = want.clone()
    got[10:60] += torch.arange(1, 51, dtype=torch.int32)
    got[70] -= 50
    report = report_of(lambda: assert_bit_equal(got, want))
    assert [x.index for x in report.elements] == [(10,), (59,), (70,), (58,), (57,)]
    assert [x.ulp for x in report.elements] == [1, 50, -50, 49, 48]
    assert (report.mismatched, report.total, report.worst) == (51, 100, 50)
    assert report.histogram == (49, 1, 1, 1, 48)


def test_the_report_has_the_facts() -> None:
    got, want = torch.tensor([1.0, NAN]), torch.tensor([1.0, 2.0])
    report = report_of(lambda: assert_ulp(got, want, ulp=3))
    assert (report.allowed, report.shape, report.dtype, report.fmt) == (3, (2,), torch.float32, None)
    assert (report.mismatched, report.total, report.worst, report.nans) == (1, 2, FARTHEST, 1)
    assert (report.histogram, report.bounds) == ((1, 0, 0, 0, 1), ((1, 1),))
    (element,) = report.elements
    assert (element.index, element.got_bits, element.want_bits, element.want) == ((1,), 0x7FC00000, 0x40000000, 2.0)
    assert element.nan
    with pytest.raises(AttributeError):
        report.mismatched = 0  # type: ignore[misc]


@pytest.mark.parametrize(
    "view", [lambda x: x, lambda x: x.mT, lambda x: x[:, ::3], lambda x: x.flip(1), lambda x: x[:, :1].expand(-1, 9)]
)
def test_pieces_and_strides_change_nothing(monkeypatch: pytest.MonkeyPatch, view: Callable[[Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    want = torch.randint(-1000, 1000, (13, 29), generator=generator)
    got = want + torch.randint(-3, 4, (13, 29), generator=generator) * (torch.arange(29) > 4)
    got[:, 0] += 1
    whole = report_of(lambda: assert_bit_equal(view(got).contiguous(), view(want).contiguous()))
    monkeypatch.setattr(comparisons, "PIECE", 10)
    seen: list[int] = []

    def noted(x: Tensor, fmt: formats.Format | None) -> Places:
        seen.append(x.numel())
        return places(x, fmt)

    monkeypatch.setattr(distances, "places", noted)
    assert report_of(lambda: assert_bit_equal(view(got), view(want))) == whole
    assert max(seen) <= 10  # no temporary is larger than a piece
    assert len(seen) > 10


def test_inputs_stay_and_gradients_are_left_out() -> None:
    got, want = torch.ones(3, requires_grad=True), torch.zeros(3)
    report = report_of(lambda: assert_ulp(got, want, ulp=0))
    assert report.mismatched == 3
    assert got.tolist() == [1.0] * 3


# ---- packed codes, torch's own dtypes, blocks, products ------------------------------------------------------------


def test_packed_codes_are_compared_as_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair of bytes: against the same codes, a byte each."""
    monkeypatch.setattr(comparisons, "PIECE", 1000)
    a, b = (x.to(torch.uint8) for x in torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij"))
    codes = [torch.stack((x & 15, x >> 4), -1).view(256, 512) for x in (a, b)]
    assert torch.equal(ulp_distance(a, b, refnum.e2m1, packed=True), ulp_distance(*codes, refnum.e2m1))
    for x, y in ((a, b), (a.view(torch.float4_e2m1fn_x2), b.view(torch.float4_e2m1fn_x2))):
        fmt = refnum.e2m1 if x.dtype == torch.uint8 else None
        packed = report_of(lambda x=x, y=y, fmt=fmt: assert_ulp(x, y, ulp=3, fmt=fmt, packed=True))  # type: ignore[misc]
        plain = report_of(lambda: assert_ulp(*codes, ulp=3, fmt=refnum.e2m1))
        assert dataclasses.replace(packed, dtype=torch.uint8) == plain
    assert_bit_equal(a, a.clone(), fmt=refnum.e2m1, packed=True)
    swapped = mismatch(lambda: assert_bit_equal(a[:1, 1:2], a[:1, 1:2] | 16 * 9, fmt=refnum.e2m1, packed=True))
    assert "[0, 1]        0x0         0x9     0   -0.5    +1" in str(swapped)


@pytest.mark.parametrize(
    ("dtype", "row"),
    [
        (torch.float8_e4m3fn, refnum.e4m3),
        (torch.float8_e5m2, refnum.e5m2),
        (torch.float8_e4m3fnuz, refnum.e4m3fnuz),
        (torch.float8_e5m2fnuz, refnum.e5m2fnuz),
        (torch.float8_e8m0fnu, refnum.e8m0),
    ],
)
def test_dtypes_of_torch_name_their_format(dtype: torch.dtype, row: Minifloat) -> None:
    a = torch.arange(256).to(torch.uint8)
    b = a.flip(0)
    assert torch.equal(ulp_distance(a.view(dtype), b.view(dtype)), ulp_distance(a, b, row))
    report = report_of(lambda: assert_bit_equal(a.view(dtype), b.view(dtype)))
    assert (report.fmt, report.dtype) == (row, dtype)
    assert_bit_equal(a.view(dtype), a.view(dtype), fmt=row)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32])
def test_wide_unsigned_integers_are_numbers_or_codes(dtype: torch.dtype) -> None:
    top = (1 << 8 * dtype.itemsize) - 1
    x = torch.tensor([0, top, top - 2], dtype=dtype)
    assert ulp_distance(x, torch.tensor([top, top, top], dtype=dtype)).tolist() == [top, 0, 2]
    assert report_of(lambda: assert_bit_equal(x[:1], x[1:2])).elements[0].want == top
    fmt = Posit(8 * dtype.itemsize)
    assert ulp_distance(x, torch.tensor([1, 1, 1], dtype=dtype), fmt).tolist() == [1, 2, 4]
    assert report_of(lambda: assert_bit_equal(x[:1], x[1:2], fmt=fmt)).elements[0].want_bits == top


def test_fixed_point_codes_are_integers_with_a_sign() -> None:
    row = refnum.mxint8.element
    assert isinstance(row, formats.FixedPoint)
    a = torch.tensor([0x7F, 0xFF, 0x80, 0x00], dtype=torch.uint8)
    assert ulp_distance(a, a.flip(0), row).tolist() == [127, 127, 127, 127]
    assert "[0]         0x7f        0x00   1.984      0   +127" in str(
        mismatch(lambda: assert_bit_equal(a[:1], a[3:], fmt=row))
    )


@pytest.mark.parametrize("name", ["mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "mxint8", "nvfp4"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_blocks_are_compared_by_elements_and_scales(name: str, axis: int) -> None:
    fmt = refnum.formats.parse(name)
    assert isinstance(fmt, formats.Block)
    x = torch.randn(96, 96, generator=torch.Generator().manual_seed(0))
    want, got = (mx.quantize(x, fmt, axis=axis) for _ in range(2))
    assert_bit_equal(got, want)
    assert_ulp(got, want, ulp=0)
    got.elements[0, 0] ^= 1  # the last bit of the first code
    got.scales[1, 2] += 1
    report = mismatch(lambda: assert_bit_equal(got, want)).report
    assert isinstance(report, BlocksReport)
    assert report.elements is not None
    assert report.scales is not None
    assert (report.elements.mismatched, report.elements.elements[0].index) == (1, (0, 0))
    assert (report.scales.mismatched, report.scales.elements[0].index) == (1, (1, 2))
    close = mismatch(lambda: assert_ulp(got, want, ulp=1)).report
    assert isinstance(close, BlocksReport)
    assert close.elements is None
    assert close.scales is not None
    assert "elements: within 1 ULP\nscales:\n" in str(close)


def test_the_text_of_blocks() -> None:
    want = mx.quantize(torch.arange(128.0).view(2, 64), refnum.mxfp4)
    got = dataclasses.replace(want, elements=want.elements.clone())
    got.elements[1, 21] ^= 0x40
    assert str(mismatch(lambda: assert_bit_equal(got, want))) == (
        "got is not bit-equal to want\n"
        "  mxfp4  shape (2, 64)  axis -1\n"
        "elements:\n"
        "  shape (2, 64)  dtype torch.uint8  format e2m1  mismatched 1 of 128 (0.78 %)  worst 4 ULP\n"
        "  index                     got bits   want bits   got   want   ULP\n"
        "  [1, 43] in block [1, 1]        0x3         0x7   1.5      6    -4\n"
        "  ULP    0: 127  1: 0  2: 0  3: 0  >=4: 1     rows 1..1, columns 43..43\n"
        "scales: equal"
    )


def test_blocks_of_another_kind_do_not_match() -> None:
    x = torch.ones(2, 64)
    a, b, c = (mx.quantize(x, fmt) for fmt in (refnum.mxfp4, refnum.mxfp8_e4m3, refnum.nvfp4))
    text = str(mismatch(lambda: assert_bit_equal(a, b)))
    assert text == (
        "got and want differ in format: got mxfp4, want mxfp8_e4m3. Only blocks of one format, shape, axis, "
        "tensor_scale and device are compared. Give both the same format."
    )
    scaled = dataclasses.replace(c, tensor_scale=torch.tensor(0.5))
    assert "differ in tensor_scale: got None, want 0.5." in str(mismatch(lambda: assert_ulp(c, scaled, ulp=9)))
    nan = dataclasses.replace(c, tensor_scale=torch.tensor(NAN))
    assert_bit_equal(nan, nan)


def test_tiles_and_padding_of_blocks() -> None:
    """A tile names its block on both axes; what fills the last tile is no part of the tensor."""
    fmt = formats.Block(refnum.e4m3, formats.float32, (32, 32))
    want = mx.quantize(torch.randn(40, 70, generator=torch.Generator().manual_seed(1)), fmt, pad=True)
    got = dataclasses.replace(want, elements=want.elements.clone())
    got.elements[-1, -1] ^= 1
    assert_bit_equal(got, want)
    got.elements[35, 69] ^= 1
    assert "[35, 69] in block [1, 2]" in str(mismatch(lambda: assert_bit_equal(got, want)))


def test_errors_of_products_are_told_relative_to_their_terms() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 40, generator=generator), torch.randn(40, 7, generator=generator)
    bias = torch.randn(7, generator=generator)
    want = (a.double() @ b.double() + bias).float()
    got = want.clone()
    got[2, 3] += 0.25
    got[4, 6] = NAN
    report = report_of(lambda: assert_ulp(got, want, ulp=0, operands=(a, b, bias)))
    terms = [abs(Fraction(x) * Fraction(y)) for x, y in zip(a[2].tolist(), b[:, 3].tolist(), strict=True)]
    error = abs(Fraction(got[2, 3].item()) - Fraction(want[2, 3].item()))
    exact = float(error * 2**24 / (sum(terms) + abs(Fraction(bias[3].item()))))
    by_index = {x.index: x.of_sum for x in report.elements}
    assert by_index[2, 3] == pytest.approx(exact, rel=1e-12)
    assert by_index[4, 6] == 0.0
    assert report.of_sum == by_index[2, 3]
    assert f"  error at most {exact:.3g} x 2^-24 of sum|a||b|\n" in str(report)


def test_cancellation_is_far_in_ulp_and_near_in_its_terms() -> None:
    a, b = torch.tensor([[1.0, 1.0, -1.0]]), torch.tensor([[2.0**-24], [1.0], [1.0]])
    text = str(mismatch(lambda: assert_ulp(torch.zeros(1, 1), torch.tensor([[2.0**-24]]), ulp=9, operands=(a, b))))
    assert text.splitlines()[2:5] == [
        "  error at most 0.5 x 2^-24 of sum|a||b|",
        "  index      got bits    want bits   got             want          ULP   of sum|a||b|",
        "  [0, 0]   0x00000000   0x33800000     0   5.96046448e-08   -864026624    0.5 x 2^-24",
    ]


def test_operands_may_be_blocks() -> None:
    x = torch.randn(6, 64, generator=torch.Generator().manual_seed(2))
    a, b = mx.quantize(x, refnum.mxfp4), mx.quantize(x[:3], refnum.mxfp4)
    want = refnum.mx_mm(a, b, out_dtype=torch.float32)
    values = [mx.dequantize(blocks) for blocks in (a, b)]
    got = want + 1
    blocks, floats = (
        report_of(lambda operands=operands: assert_ulp(got, want, ulp=0, operands=operands))  # type: ignore[misc]
        for operands in ((a, b), (values[0], values[1].mT))
    )
    assert blocks == floats


def test_equal_bits_are_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparisons, "PIECE", 10)
    monkeypatch.setattr(distances, "places", lambda *_: pytest.fail("an equal piece was taken apart"))
    x = torch.randn(7, 13)
    x[0, 0] = NAN
    assert_bit_equal(x, x.clone())
    assert_ulp(x.mT, x.clone().mT, ulp=0)
    assert_bit_equal(torch.tensor(1.0), torch.tensor(1.0))
    assert_bit_equal(torch.zeros(0, 3), torch.zeros(0, 3))
    with pytest.raises(pytest.fail.Exception):
        assert_bit_equal(x, -x)


# ---- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", [assert_bit_equal, lambda a, b: assert_ulp(a, b, ulp=9)])
def test_tensors_that_differ_in_kind_do_not_match(check: Callable[[Tensor, Tensor], None]) -> None:
    error = mismatch(lambda: check(torch.zeros(2, 3), torch.zeros(3, 2)))
    assert str(error) == (
        "got and want differ in shape: got (2, 3), want (3, 2). "
        "Only tensors of one shape, dtype and device are compared. Give both the same shape."
    )
    assert error.report == (Difference("shape", (2, 3), (3, 2)),)
    error = mismatch(lambda: check(torch.zeros(2), torch.zeros(2, dtype=torch.float64)))
    assert str(error).startswith("got and want differ in dtype: got torch.float32, want torch.float64.")
    error = mismatch(lambda: check(torch.zeros(1), torch.zeros((), dtype=torch.int32, device="meta")))
    assert str(error) == (
        "got and want differ in shape: got (1,), want (), and in dtype: got torch.float32, want torch.int32, "
        "and in device: got cpu, want meta. Only tensors of one shape, dtype and device are compared. "
        "Give both the same shape and dtype and device."
    )
    assert isinstance(error, AssertionError)


_E5M2 = torch.zeros(1).to(torch.float8_e5m2)
_BLOCKS = mx.quantize(torch.ones(32), refnum.mxfp4)
ALLOWED = (
    "Allowed are float16, bfloat16, float32, float64, torch's float8 and float4, bool, and integers but for uint64."
)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: assert_ulp(torch.zeros(1), torch.zeros(1), ulp=-1),
            ContractError,
            "assert_ulp cannot allow ulp=-1. Allowed is an int from 0 to 2**63 - 2. Use 0 for equal values.",
        ),
        (
            lambda: assert_ulp(torch.zeros(1), torch.zeros(1), ulp=0.5),  # type: ignore[arg-type]
            ContractError,
            "assert_ulp cannot allow ulp=0.5. Allowed is an int from 0 to 2**63 - 2. Use 0 for equal values.",
        ),
        (
            lambda: assert_bit_equal([1.0], torch.zeros(1)),  # type: ignore[arg-type]
            DTypeError,
            "assert_bit_equal needs a tensor for got, got list. Use torch.as_tensor first.",
        ),
        (
            lambda: assert_bit_equal(torch.zeros(1), torch.zeros(1).to_sparse()),
            DTypeError,
            "assert_bit_equal needs a dense tensor for want, got layout torch.sparse_coo. Use want.to_dense() first.",
        ),
        (
            lambda: assert_ulp(torch.zeros(1, device="meta"), torch.zeros(1, device="meta"), ulp=0),
            DTypeError,
            "assert_ulp reads the values of got, and a meta tensor has none. Pass a tensor with data.",
        ),
        (
            lambda: assert_bit_equal(torch.zeros(1, dtype=torch.complex64), torch.zeros(1, dtype=torch.complex64)),
            DTypeError,
            f"assert_bit_equal cannot compare torch.complex64 for got. {ALLOWED} "
            "View other dtypes as integers, and name their format with fmt.",
        ),
        (
            lambda: ulp_distance(torch.zeros(1, dtype=torch.uint64), torch.zeros(1)),
            DTypeError,
            f"ulp_distance cannot compare torch.uint64 for got. {ALLOWED} "
            "View other dtypes as integers, and name their format with fmt.",
        ),
        (
            lambda: assert_ulp(torch.zeros(1), torch.zeros(1), ulp=0, fmt=Posit(16)),
            DTypeError,
            "assert_ulp needs posit16 patterns for got, got torch.float32. Allowed are int16, int32, int64. "
            "Use refnum.encode to turn floating-point values into patterns.",
        ),
        (
            lambda: ulp_distance(torch.zeros(2), torch.zeros(1)),
            ShapeError,
            "ulp_distance needs two tensors of one shape, got (2,) and (1,). Expand or reshape one of them.",
        ),
        (
            lambda: ulp_distance(torch.zeros(1), torch.zeros(1, dtype=torch.float16)),
            DTypeError,
            "ulp_distance needs two tensors of one dtype and device, "
            "got torch.float32 on cpu and torch.float16 on cpu. Convert one of them.",
        ),
        (
            lambda: assert_bit_equal(_E5M2, _E5M2, fmt=refnum.e4m3),
            FormatError,
            "assert_bit_equal got torch.float8_e5m2 for got, which holds e5m2, and fmt=e4m3. Allowed is the dtype's "
            "own format. Leave fmt out, or view the tensor as uint8.",
        ),
        (
            lambda: assert_bit_equal(torch.zeros(3, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8), packed=True),
            ContractError,
            "assert_bit_equal cannot unpack got: no format in torch.uint8, shape (3,). Packed are codes of 4 bits in "
            "uint8, two a byte along the last axis. Leave packed out.",
        ),
        (
            lambda: ulp_distance(torch.zeros(3), torch.zeros(3), refnum.mxint8.element),
            DTypeError,
            "ulp_distance needs fixed(8,6,symmetric=True) patterns for got, got torch.float32. Allowed are uint8, "
            "int8, int16, int32, int64. Use refnum.encode to turn floating-point values into patterns.",
        ),
        (
            lambda: assert_bit_equal(_BLOCKS, torch.zeros(32)),
            DTypeError,
            "assert_bit_equal got Blocks and Tensor. Blocks are compared with Blocks alone. Dequantize them, or "
            "compare their elements and scales.",
        ),
        (
            lambda: assert_ulp(_BLOCKS, _BLOCKS, ulp=0, fmt=refnum.e2m1),
            ContractError,
            "assert_ulp takes no fmt, packed or operands with Blocks, which name their format. Leave them out.",
        ),
        (
            lambda: assert_ulp(torch.zeros(2, 2), torch.zeros(2, 2), ulp=0, operands=(torch.zeros(2, 3),)),
            DTypeError,
            "assert_ulp needs the operands of a product, got tuple of 1. Allowed are (a, b) and (a, b, bias). Pass "
            "what was multiplied, as tensors or mx.Blocks.",
        ),
        (
            lambda: assert_ulp(torch.zeros(2, 2), torch.zeros(2, 2), ulp=0, operands=(torch.zeros(2, 3),) * 2),
            ShapeError,
            "assert_ulp needs operands whose product has the shape of got, (2, 2), got (2, 3) and (2, 3). Pass what "
            "was multiplied.",
        ),
        (
            lambda: assert_bit_equal(*(torch.zeros(2, 2, dtype=torch.int8),) * 2, operands=(torch.zeros(2, 2),) * 2),
            DTypeError,
            "assert_bit_equal knows errors relative to sum|a||b| only of floating-point results, got torch.int8. Leave "
            "operands out, or decode the results first.",
        ),
        (
            lambda: assert_bit_equal(torch.zeros(1), torch.zeros(1), fmt="posit8"),  # type: ignore[arg-type]
            FormatError,
            "assert_bit_equal needs a format record, got 'posit8'. "
            "Pass Posit(n, es), Minifloat(...), or a row of refnum.formats.named().",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(call: Callable[[], Any], error: type[RefnumError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


# ---- strategies ---------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_strategies_draw_codes_and_floats_of_the_format(data: st.DataObject) -> None:
    fmt = data.draw(strategies.formats())
    code = data.draw(strategies.patterns(fmt))
    low, high = (fmt.nar, fmt.maxpos) if isinstance(fmt, Posit) else (0, (1 << fmt.width) - 1)
    if fmt == formats.float64:
        low, high = -(2**63), 2**63 - 1
    assert low <= code <= high
    dtype = data.draw(st.sampled_from(FLOATS))
    x = data.draw(strategies.floats(fmt, dtype))
    assert math.isnan(x) or torch.tensor(x, dtype=torch.float64).to(dtype).item() == x


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([Posit(8), Posit(12, 1), Posit(32)]), st.data())
def test_strategies_draw_ties_and_operands(fmt: Posit, data: st.DataObject) -> None:
    x = data.draw(strategies.ties(fmt, torch.float64))
    assert x in cases.floats(fmt, "ties", torch.float64, count=strategies.COUNT).tolist()
    op, arity = data.draw(st.sampled_from([("sqrt", 1), ("mul", 2), ("fma", 3)]))
    row = data.draw(strategies.tuples(op, fmt))
    assert len(row) == arity
    assert len(data.draw(strategies.tuples(2, fmt))) == 2
    assert all(fmt.nar <= pattern <= fmt.maxpos for pattern in row)


def test_drawn_patterns_shrink_towards_zero() -> None:
    assert find(strategies.patterns(Posit(16)), lambda code: abs(code) > 5) == 6
    assert find(strategies.posits(), lambda fmt: fmt.n > 20) == Posit(21, 0)


@pytest.mark.parametrize("name", ["mxfp4", "mxfp6_e3m2", "mxint8", "nvfp4"])
def test_blocks_with_hard_scales_are_drawn(name: str) -> None:
    fmt = formats.parse(name)
    assert isinstance(fmt, formats.Block)
    seen: set[int] = set()

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(strategies.blocks(fmt, most=2))
    def draws(blocks: mx.Blocks) -> None:
        assert blocks.fmt == fmt
        assert blocks.shape[-1] % fmt.tile[1] == 0
        assert int(blocks.codes.max()) < 1 << fmt.element.width
        seen.update(blocks.scales.view(-1).tolist())

    draws()
    ends = {0, 254, 255} if fmt.scale == refnum.e8m0 else {0, 126, 127}
    assert ends <= seen
    assert max(seen) <= max(ends)


def test_tiles_with_scales_of_float32_are_drawn() -> None:
    seen: set[float] = set()

    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(strategies.blocks(formats.Block(refnum.e4m3, formats.float32, (2, 3)), most=2))
    def draws(blocks: mx.Blocks) -> None:
        assert tuple(blocks.shape) in {(2, 3), (4, 3), (2, 6), (4, 6)}
        assert blocks.scales.shape == (blocks.shape[0] // 2, blocks.shape[1] // 3)
        seen.update(blocks.scales.view(-1).tolist())

    draws()
    assert {0.0, INF, 2.0**-149} <= seen
    assert min(x for x in seen if not math.isnan(x)) == 0.0


@pytest.mark.parametrize("dtype", hazards.ROWS)
@pytest.mark.parametrize("kind", hazards.HAZARDS)
def test_matrices_are_as_hard_as_their_kind(kind: str, dtype: torch.dtype) -> None:
    """On exact products, in each element of the result."""
    row = hazards.ROWS[dtype]
    found = []
    for seed in range(12):
        a, b = hazards.matrices(kind, dtype, (3, 2, 15), seed)
        assert (a.shape, b.shape, a.dtype, b.dtype) == ((3, 15), (15, 2), dtype, dtype)
        for left in a.double().tolist():
            for right in b.double().mT.tolist():
                factors = [x for x in (*left, *right) if x]
                if not all(map(math.isfinite, factors)):
                    assert kind == "edges"
                    continue
                terms = [Fraction(x) * Fraction(y) for x, y in zip(left, right, strict=True)]
                total, size = sum(terms), sum(map(abs, terms))
                match kind:
                    case "cancelling":
                        assert 0 < abs(total) < size / 2**row.mantissa
                    case "huge":
                        assert 2 * max(map(abs, terms)) >= min(Fraction(2) ** 24, Fraction(2) ** row.max_scale)
                    case "subnormal":
                        least = Fraction(2) ** row.min_scale
                        assert all(abs(term) < 4 * least for term in terms)
                        found.append(any(abs(x) < least for x in factors))
    assert kind != "subnormal" or {True, False} >= set(found) >= {True}


def test_drawn_matrices_break_what_is_wrong() -> None:
    """A kernel that flushes subnormals, one that sums backwards, and one that sums in float64: each is found."""
    for wrong in (
        lambda a, b: refnum.gemm(a.masked_fill(a.abs() < 2.0**-126, 0.0), b),
        lambda a, b: refnum.gemm(a.flip(1), b.flip(0)),
        lambda a, b: (a.double() @ b.double()).float(),
    ):
        a, b = find(
            strategies.matrices(torch.float32),
            lambda x, wrong=wrong: not torch.equal(*(y.nan_to_num(nan=7.0) for y in (wrong(*x), refnum.gemm(*x)))),
            settings=settings(max_examples=200, deadline=None, derandomize=True, database=None),
        )
        assert (a.shape[0], b.shape[1]) == (1, 1)
        assert a.shape[1] <= 4


def test_matrices_have_kinds_and_dtypes() -> None:
    with pytest.raises(ContractError, match=r"strategies.matrices has no kind='worse'. Choose one of cancelling, ties"):
        strategies.matrices(torch.float32, kinds=("worse",))
    with pytest.raises(ContractError, match=r"strategies.matrices has no dtype=torch.int8. Choose one of torch"):
        strategies.matrices(torch.int8)


def test_strategies_ask_for_hypothesis_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    monkeypatch.delitem(sys.modules, "refnum.testing.strategies")
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module("refnum.testing.strategies")
    assert str(caught.value) == (
        "refnum.testing.strategies needs hypothesis, which is not installed. It comes with the extra conformance. "
        'Run: pip install "refnum[conformance]"'
    )
