"""encode, decode, quantize: worked values, specials, roundings by name, containers, gradients."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles import posit as oracle
from refnum_conformance.oracles.reals import Dyadic
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, formats
from refnum.boundary import FLOAT_ROWS, SIGNED
from refnum.core.round import RULES
from refnum.formats import (
    Format,
    bfloat16,
    e2m1,
    e2m3,
    e3m2,
    e4m3,
    e4m3fnuz,
    e5m2,
    e5m2fnuz,
    e8m0,
    float16,
    keeps,
    tf32,
)
from refnum.testing import assert_bit_equal, cases

ROUNDINGS = tuple(rule for rule in RULES if rule != "stochastic")
P8, P16, P32, P64 = Posit(8), Posit(16), Posit(32), Posit(64)
INF, NAN = math.inf, math.nan


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def codes(x: Tensor, fmt: Format, **knobs: Any) -> list[int]:
    return refnum.encode(x, fmt, **knobs).tolist()


# ---- posits: worked values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "value", "code"),
    [
        (P16, 1.0, 0x4000),
        (P16, -1.0, -0x4000),
        (P16, 3.14159, 0b0100110010010001),
        (P16, 0.0, 0),
        (P16, -0.0, 0),
        (P8, 2.0**20, 0x7E),
        (P8, 2.0**22, 0x7E),
        (P8, 2.0**22 * (1 + 2**-50), 0x7F),
        (P8, 2.0**23, 0x7F),
        (P8, 2.0**-30, 0x01),
        (P8, 1e300, 0x7F),
        (P8, -1e300, -0x7F),
        (P8, 5e-324, 1),
        (P8, -5e-324, -1),
        (P8, INF, -128),
        (P8, -INF, -128),
        (P8, NAN, -128),
        (Posit(2), 0.3, 1),
        (Posit(2), -70.0, -1),
        (Posit(3, 0), 1.5, 2),
        (Posit(3, 0), 1.4142, 2),
        (Posit(3, 0), 2.0, 3),
        (Posit(4, 1), 1.5, 0b0100),
        (Posit(4, 1), 3.0, 0b0110),
        (Posit(5), 2.0**-11, 1),
        (P32, 1.0 + 2.0**-27, 0x40000001),
        (P64, 1.0, 1 << 62),
        (P64, 1.0 + 2.0**-52, (1 << 62) + (1 << 7)),
        (Posit(64, 4), 2.0**-992, 1),
        (Posit(64, 4), 2.0**984, (1 << 63) - 2),
        (Posit(64, 4), 2.0**985, (1 << 63) - 1),
    ],
)
def test_encode_by_hand(fmt: Posit, value: float, code: int) -> None:
    assert codes(f64(value), fmt) == [code]


def test_the_standards_boundary_is_that_of_bit_strings() -> None:
    """Between 2**20 and 2**24 in posit8 it is 2**22, not their mean (posit.md 2.2)."""
    mean = (2.0**20 + 2.0**24) / 2
    assert codes(f64(2.0**22, math.nextafter(2.0**22, INF), mean), P8) == [0x7E, 0x7F, 0x7F]


@pytest.mark.parametrize(
    ("fmt", "code", "value"),
    [
        (P16, 0x7FFF, 2.0**56),
        (P16, 1, 2.0**-56),
        (P16, -0x8000, NAN),
        (P8, 0x4C, 3.0),
        (P8, 0x3B, 0.6875),
        (P8, -0x4C, -3.0),
        (Posit(6, 3), 0b000001, 2.0**-32),
        (Posit(6, 3), 0b000011, 2.0**-20),
        (Posit(6, 4), 0b011101, 2.0**40),
        (Posit(2), -1, -1.0),
        (Posit(32, 0), 0x7FFFFFFF, 2.0**30),
        (P32, 0x40000001, 1 + 2.0**-27),
        (Posit(57), 1 << 55, 1.0),
    ],
)
def test_decode_by_hand(fmt: Posit, code: int, value: float) -> None:
    got = refnum.decode(torch.tensor([code]), fmt).item()
    assert got == value or (math.isnan(got) and math.isnan(value))


def test_missing_exponent_bits_are_zeros_on_the_right() -> None:
    """A single surviving bit of es = 2 is worth 2 (posit.md 2.1)."""
    assert refnum.decode(torch.tensor([0b01111101]), P8).item() == 2.0 ** (4 * 4 + 2)


# ---- every format: round trips, order, signs ----------------------------------------------------------------------

EVERY_CODE = [*(Posit(n, es) for n in range(2, 9) for es in range(5)), Posit(12, 1), P16, Posit(16, 0), Posit(16, 4)]
WIDE = [Posit(24, 2), Posit(28), P32, Posit(32, 0), Posit(33, 0), Posit(40, 1), Posit(48, 3), Posit(56), Posit(57)]


def _all(fmt: Format) -> Tensor:
    return (
        torch.cat([cases.patterns(fmt, kind, count=400) for kind in cases.KINDS])
        if fmt.width > 16
        else cases.exhaustive(fmt)
    )


@pytest.mark.parametrize("fmt", EVERY_CODE + WIDE, ids=str)
def test_encode_takes_back_what_decode_gives(fmt: Posit) -> None:
    patterns = _all(fmt)
    for rounding in ("nearest_even", "to_odd"):
        assert refnum.encode(refnum.decode(patterns, fmt), fmt, rounding=rounding).tolist() == patterns.tolist()


@pytest.mark.parametrize("fmt", [Posit(58), P64, Posit(64, 0), Posit(64, 4)], ids=str)
def test_wide_posits_that_a_float_holds_come_back(fmt: Posit) -> None:
    """No float has all their values: those with at most 53 significant bits do come back."""
    patterns = _all(fmt) >> 12 << 12
    patterns = patterns[patterns != fmt.nar]
    assert refnum.encode(refnum.posit.to_float(patterns, fmt), fmt).tolist() == patterns.tolist()


@pytest.mark.parametrize("fmt", EVERY_CODE + WIDE, ids=str)
def test_the_order_of_patterns_is_that_of_values(fmt: Posit) -> None:
    patterns = torch.unique(_all(fmt))
    values = refnum.decode(patterns[patterns != fmt.nar], fmt)
    assert bool((values.diff() > 0).all())
    assert refnum.decode(torch.tensor([fmt.nar]), fmt).isnan().item()


@pytest.mark.parametrize("fmt", EVERY_CODE + WIDE, ids=str)
def test_the_opposite_pattern_has_the_opposite_value(fmt: Posit) -> None:
    patterns = _all(fmt)
    patterns = patterns[patterns != fmt.nar]
    assert torch.equal(refnum.decode(-patterns, fmt), -refnum.decode(patterns, fmt))


def _values(all_codes: Tensor, fmt: Format) -> Tensor:
    """As float64, rounded where a posit has more bits."""
    return refnum.posit.to_float(all_codes, fmt) if isinstance(fmt, Posit) else refnum.decode(all_codes, fmt)


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("fmt", [P8, P16, Posit(25, 1), e4m3, e2m1, tf32], ids=str)
def test_rounding_of_the_opposite(fmt: Format, rounding: str) -> None:
    other = {"toward_positive": "toward_negative", "toward_negative": "toward_positive"}.get(rounding, rounding)
    for kind in cases.KINDS:
        x = cases.floats(fmt, kind, torch.float32, count=300)
        x = x[x.isfinite()]
        got = refnum.decode(refnum.encode(-x, fmt, rounding=rounding), fmt)
        assert torch.equal(got, -refnum.decode(refnum.encode(x, fmt, rounding=other), fmt))


@pytest.mark.parametrize("fmt", [P8, P16, Posit(25, 1), P64, e4m3, e2m1, tf32], ids=str)
def test_rounding_keeps_the_order(fmt: Format) -> None:
    x = torch.cat([cases.floats(fmt, kind, torch.float32, count=300) for kind in cases.KINDS])
    x = x[x.isfinite()].sort().values
    for rounding in ROUNDINGS:
        rounded = _values(refnum.encode(x, fmt, rounding=rounding), fmt)
        assert bool((rounded[1:] >= rounded[:-1]).all()), rounding


@settings(deadline=None, max_examples=150)
@given(
    st.integers(2, 64), st.integers(0, 4), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(ROUNDINGS)
)
def test_any_float_in_any_format(n: int, es: int, x: float, rounding: str) -> None:
    numerator, denominator = x.as_integer_ratio()
    want = oracle.rounded(Dyadic(numerator, 1 - denominator.bit_length()), n, es, rounding)
    assert codes(f64(x), Posit(n, es), rounding=rounding) == [want]


@settings(deadline=None, max_examples=150)
@given(st.floats(width=32), st.integers(3, 27), st.integers(0, 2))
def test_quantize_is_idempotent_and_between_its_neighbours(x: float, n: int, es: int) -> None:
    fmt = Posit(n, es)
    once = refnum.quantize(torch.tensor([x], dtype=torch.float32), fmt)
    assert_bit_equal(refnum.quantize(once, fmt), once)
    down, up = (refnum.quantize(torch.tensor([x]), fmt, rounding=f"toward_{way}") for way in ("negative", "positive"))
    assert math.isnan(x) or math.isinf(x) or down.item() <= once.item() <= up.item()


# ---- roundings by name --------------------------------------------------------------------------------------------

#: of +-1.0625 (below half way to 1.125 in posit8), +-1.09375 ... in eighths of the gap between 1 and 1.125
EIGHTHS = f64(*(s * (1 + i / 64) for s in (1, -1) for i in range(9)))


@pytest.mark.parametrize(
    ("rounding", "up", "down"),  # which eighths above 1 and below -1 go to the next pattern
    [
        ("nearest_even", "000001111", "000001111"),
        ("nearest_away", "000011111", "000011111"),
        ("toward_zero", "000000001", "000000001"),
        ("toward_positive", "011111111", "000000001"),
        ("toward_negative", "000000001", "011111111"),
        ("to_odd", "011111111", "011111111"),
    ],
)
def test_roundings_between_1_and_its_successor(rounding: str, up: str, down: str) -> None:
    want = [0x40 + int(i) for i in up] + [-0x40 - int(i) for i in down]
    assert codes(EIGHTHS, P8, rounding=rounding) == want


def test_an_odd_pattern_keeps_what_an_even_one_gives_away() -> None:
    between = f64(*(1.125 + i / 64 for i in range(9)))
    assert codes(between, P8, rounding="nearest_even") == [0x41] * 4 + [0x42] * 5
    assert codes(between, P8, rounding="to_odd") == [0x41] * 8 + [0x42]


def test_stochastic_rounding_goes_up_by_the_fraction() -> None:
    """magnitude up iff floor(frac * 2**16) > r: counted over all r."""
    r = torch.arange(1 << 16)
    for fmt, low, high, gap in ((P8, 0x40, 0x41, 0.125), (e4m3, 0x38, 0x39, 0.125)):
        for fraction in (0.0, 2.0**-17, 2.0**-16, 0.3, 0.5, 1 - 2.0**-30):
            for sign in (1, -1):
                x = f64(sign * (1 + fraction * gap)).expand(1 << 16)
                got = refnum.decode(refnum.encode(x, fmt, rounding="stochastic", random_bits=r), fmt).abs()
                ends = refnum.decode(torch.tensor([low, high]), fmt)
                assert torch.equal(got == ends[1], math.floor(fraction * 65536) > r)
                assert torch.equal(got == ends[0], math.floor(fraction * 65536) <= r)


@pytest.mark.parametrize(
    ("fmt", "value", "random_bits", "want"),
    [
        (Minifloat(11, 51, 1023, "ieee", "nan"), 0x3FF0000000000001, 0x4000, 0x1FF8000000000001),
        (Minifloat(11, 51, 1023, "ieee", "nan"), 0x7FEFFFFFFFFFFFFF, 0x0000, 0x3FFC000000000000),
        (Minifloat(11, 52, 1000, "fn", "nan"), 0x000FFFFFFFFFFFFF, 0x6199, 0x20000000),
    ],
)
def test_stochastic_rounding_of_wide_mantissas(fmt: Minifloat, value: int, random_bits: int, want: int) -> None:
    """Those that drop fewer than 16 bits of a float64."""
    x = torch.tensor(value).view(torch.float64)
    got = refnum.encode(x, fmt, rounding="stochastic", random_bits=torch.tensor(random_bits))
    assert got.item() == want


def test_stochastic_rounding_reads_16_bits_and_broadcasts() -> None:
    x = torch.linspace(-3, 3, 40).view(5, 8)
    r = torch.arange(8) * 8191
    got = refnum.encode(x, P8, rounding="stochastic", random_bits=r)
    assert torch.equal(got, refnum.encode(x, P8, rounding="stochastic", random_bits=r.expand(5, 8) | 0x1230000))
    assert torch.equal(got, refnum.encode(x, P8, rounding="stochastic", random_bits=(r - 65536).to(torch.int32)))
    assert torch.equal(refnum.quantize(x, P8, rounding="stochastic", random_bits=r).double(), refnum.decode(got, P8))


def test_random_bits_broadcast_to_x_and_not_x_to_them() -> None:
    with pytest.raises(refnum.ShapeError):
        refnum.encode(torch.ones(3), P8, rounding="stochastic", random_bits=torch.zeros(2, 3, dtype=torch.int64))


# ---- specials and containers --------------------------------------------------------------------------------------

SPECIAL_BITS = {torch.float16: 0x7E00, torch.bfloat16: 0x7FC0, torch.float32: 0x7FC00000, torch.float64: 0x7FF8 << 48}


@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
def test_what_is_no_number_becomes_nar_and_nar_one_quiet_nan(dtype: torch.dtype) -> None:
    width, fmt = dtype.itemsize * 8, Posit(8, 0)
    info = torch.finfo(dtype)
    bits = torch.tensor([SPECIAL_BITS[dtype] + 5, -1, SPECIAL_BITS[dtype] - 1]).to(SIGNED[width])
    x = torch.cat([bits.view(dtype), torch.tensor([INF, -INF], dtype=dtype)])
    assert codes(x, fmt) == [fmt.nar] * 5
    for values in (refnum.quantize(x, fmt), refnum.decode(torch.tensor([fmt.nar]), fmt, dtype=dtype)):
        assert set(values.view(SIGNED[width]).tolist()) == {SPECIAL_BITS[dtype]}
    x = torch.tensor(
        [0.0, -0.0, info.smallest_normal, -info.smallest_normal * info.eps, info.max, info.min], dtype=dtype
    )
    assert codes(x, fmt) == [0, 0, 1, -1, 127, -127]
    assert refnum.quantize(x, fmt)[:2].view(SIGNED[width]).tolist() == [0, 0], "a posit has no -0"


def test_subnormals_count_whatever_the_processor_flushes() -> None:
    x = torch.tensor([1, -(1 << 31) + 1, 0x7FFFFF], dtype=torch.int32).view(torch.float32)
    want = codes(x, P64), codes(x, Posit(16, 4)), refnum.quantize(x, P16).tolist()
    assert want[0] != [0, 0, 0]
    assert want[2] == [2.0**-56, -(2.0**-56), 2.0**-56]
    torch.set_flush_denormal(True)
    try:
        assert (codes(x, P64), codes(x, Posit(16, 4)), refnum.quantize(x, P16).tolist()) == want
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("fmt", [Posit(5), P8, Posit(12, 1), e2m1, e4m3], ids=str)
@pytest.mark.parametrize("container", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_any_container_that_holds_the_format_and_only_its_low_bits(fmt: Format, container: torch.dtype) -> None:
    if container.itemsize * 8 < fmt.width or (isinstance(fmt, Posit) and container == torch.uint8):
        pytest.skip("refused: see test_messages.py")
    all_codes = torch.arange(1 << fmt.width)
    want = refnum.decode(all_codes, fmt)
    for above in (0, 1, 5):
        assert_bit_equal(refnum.decode((all_codes + (above << fmt.width)).to(container), fmt), want)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (2, 1, 3, 1)])
def test_shapes_stay(shape: tuple[int, ...]) -> None:
    x = torch.full(shape, 1.25)
    assert (
        refnum.encode(x, P16).shape
        == refnum.quantize(x, P16).shape
        == refnum.decode(refnum.encode(x, P16), P16).shape
        == shape
    )
    assert torch.equal(refnum.quantize(x, P16), x)


@pytest.mark.parametrize(
    ("fmt", "dtypes"),
    [
        (P8, (torch.bfloat16, torch.float32, torch.float64)),
        (Posit(8, 1), tuple(FLOAT_ROWS)),
        (P16, (torch.float32, torch.float64)),
        (P32, (torch.float64,)),
        (e4m3, tuple(FLOAT_ROWS)),
        (e8m0, (torch.bfloat16, torch.float32, torch.float64)),
        (float16, (torch.float16, torch.float32, torch.float64)),
        (tf32, (torch.float32, torch.float64)),
    ],
    ids=str,
)
def test_decode_into_every_dtype_that_holds_the_format(fmt: Format, dtypes: tuple[torch.dtype, ...]) -> None:
    all_codes = cases.patterns(fmt, "edges", count=300)
    want = refnum.decode(all_codes, fmt)
    for dtype in FLOAT_ROWS:
        if dtype in dtypes:
            got = refnum.decode(all_codes, fmt, dtype=dtype)
            assert got.dtype == dtype
            assert_bit_equal(got.double(), want)
        else:
            with pytest.raises(refnum.FormatError):
                refnum.decode(all_codes, fmt, dtype=dtype)


def test_float16_and_bfloat16_are_widened_exactly() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.arange(1 << 16).to(torch.int16).view(dtype)
        for fmt in (P8, P16, P32, P64, e4m3):
            assert torch.equal(refnum.encode(x, fmt), refnum.encode(x.double(), fmt))


# ---- minifloats ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "values", "want"),
    [
        (e2m1, [0.5, 1.75, 7.0, 0.25, 0.75, 2.5, 5.0, -0.1, -0.0], [0x1, 0x4, 0x7, 0x0, 0x2, 0x4, 0x6, 0x8, 0x8]),
        (
            e4m3,
            [1.97, 7.9, 500.0, 464.0, 465.0, 2.0**-10, 1.5 * 2.0**-10, -1e9],
            [0x40, 0x50, 0x7E, 0x7E, 0x7E, 0x00, 0x01, 0xFE],
        ),
        (e4m3, [NAN, -NAN, INF, -INF], [0x7F, 0x7F, 0x7E, 0xFE]),
        (e5m2, [NAN, INF, -INF, 61440.0, 1e9], [0x7E, 0x7B, 0xFB, 0x7B, 0x7B]),
        (e2m3, [7.5, 7.9, -99.0, NAN, INF], [0x1F, 0x1F, 0x3F, 0x00, 0x1F]),
        (e3m2, [28.0, 0.0625, 0.03125, 0.046875], [0x1F, 0x01, 0x00, 0x01]),
        (e4m3fnuz, [1.0, -0.0, -1e-9, NAN, INF, 240.0, 1e9], [0x40, 0x00, 0x00, 0x80, 0x7F, 0x7F, 0x7F]),
        (e5m2fnuz, [1.0, NAN, -INF], [0x40, 0x80, 0xFF]),
        (
            float16,
            [65519.0, 65520.0, -1e9, NAN, 2.0**-25, 1.5 * 2.0**-25, INF],
            [0x7BFF, 0x7C00, -0x400, 0x7E00, 0, 1, 0x7C00],
        ),
        (bfloat16, [1.0, 3e38, 3.4e38, -INF], [0x3F80, 0x7F62, 0x7F80, -0x80]),
        (tf32, [1.0 + 2.0**-10, 1.0 + 2.0**-11, 3.4028e38], [(127 << 10) + 1, 127 << 10, 0x3FC00]),
        (Minifloat(4, 3, specials="fn", overflow="nan"), [448.0, 464.0, 464.1, INF], [0x7E, 0x7E, 0x7F, 0x7F]),
        (Minifloat(5, 2, overflow="inf"), [57344.0, 61439.0, 61440.0, -INF], [0x7B, 0x7B, 0x7C, 0xFC]),
        (Minifloat(3, 2, specials="none", signed=False), [1.0, 28.0, -1.0, 0.0], [0x0C, 0x1F, None, 0x00]),
    ],
    ids=str,
)
def test_minifloats_by_hand(fmt: Minifloat, values: list[float], want: list[int | None]) -> None:
    got = codes(f64(*values), fmt)
    assert [g if w is not None else None for g, w in zip(got, want, strict=True)] == want


def test_overflow_to_nan_writes_the_one_nan() -> None:
    fmt = Minifloat(4, 3, specials="fn", overflow="nan")
    assert codes(f64(1e9, -1e9, INF, -INF, NAN), fmt) == [fmt.nan] * 5


def test_what_lies_beyond_overflows_whatever_the_random_bits() -> None:
    """From the value of the code after the largest on; below it the fraction decides."""
    r = torch.tensor([0, 0xFFFE, 0xFFFF])
    assert codes(f64(65536.0).expand(3), float16, rounding="stochastic", random_bits=r) == [0x7C00] * 3
    assert codes(f64(1e30).expand(3), float16, rounding="stochastic", random_bits=r) == [0x7C00] * 3
    assert codes(f64(65520.0).expand(3), float16, rounding="stochastic", random_bits=r) == [0x7C00, 0x7BFF, 0x7BFF]


def test_e8m0_is_powers_of_two() -> None:
    got = refnum.decode(torch.arange(256), e8m0)
    assert got[:255].tolist() == [2.0 ** (b - 127) for b in range(255)]
    assert math.isnan(got[255].item())


TORCH_TWINS = {
    e4m3: torch.float8_e4m3fn,
    e5m2: torch.float8_e5m2,
    e4m3fnuz: torch.float8_e4m3fnuz,
    e5m2fnuz: torch.float8_e5m2fnuz,
    float16: torch.float16,
    bfloat16: torch.bfloat16,
}


@pytest.mark.parametrize("fmt", TORCH_TWINS, ids=str)
def test_torch_decodes_the_same_codes_to_the_same_values(fmt: Minifloat) -> None:
    width = torch.uint8 if fmt.width == 8 else torch.int16
    all_codes = torch.arange(1 << fmt.width).to(width)
    assert_bit_equal(
        refnum.decode(all_codes, fmt, dtype=torch.float32), all_codes.view(TORCH_TWINS[fmt]).to(torch.float32)
    )


@pytest.mark.parametrize("fmt", [float16, bfloat16], ids=str)
def test_torch_rounds_to_the_same_codes(fmt: Minifloat) -> None:
    x = torch.cat([cases.floats(fmt, kind, torch.float32, count=3000) for kind in cases.KINDS])
    x = x[~x.isnan()]
    assert torch.equal(refnum.encode(x, fmt), x.to(TORCH_TWINS[fmt]).view(torch.int16))


ML_DTYPES = {
    "e2m1": "float4_e2m1fn",
    "e2m3": "float6_e2m3fn",
    "e3m2": "float6_e3m2fn",
    "e4m3": "float8_e4m3fn",
    "e5m2": "float8_e5m2",
    "e4m3fnuz": "float8_e4m3fnuz",
    "e5m2fnuz": "float8_e5m2fnuz",
    "e8m0": "float8_e8m0fnu",
}


@pytest.mark.parametrize("name", ML_DTYPES)
def test_ml_dtypes_gives_the_same_values(name: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")
    fmt = formats.named()[name]
    all_codes = torch.arange(1 << fmt.width, dtype=torch.int64).to(torch.uint8)
    want = all_codes.numpy().view(getattr(ml_dtypes, ML_DTYPES[name])).astype("float64")
    assert_bit_equal(refnum.decode(all_codes, fmt), torch.from_numpy(want))


@pytest.mark.parametrize("name", [name for name in ML_DTYPES if name != "e8m0"])
def test_ml_dtypes_rounds_to_the_same_codes(name: str) -> None:
    """Within the range: beyond it ml_dtypes gives Inf or NaN, refnum's rows saturate."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")
    fmt = formats.named()[name]
    assert isinstance(fmt, Minifloat)
    x = torch.cat([cases.floats(fmt, kind, torch.float32, count=2000) for kind in cases.KINDS])
    x = x[x.abs() <= fmt.max_value]
    want = torch.from_numpy(x.numpy().astype(getattr(ml_dtypes, ML_DTYPES[name])).view("uint8"))
    got = refnum.encode(x, fmt)
    assert torch.equal(got, want)


# ---- quantize -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
@pytest.mark.parametrize(
    "fmt", [Posit(8, 0), P8, P16, P32, P64, Posit(3), Posit(2), e2m1, e4m3, e5m2fnuz, float16, bfloat16, tf32], ids=str
)
def test_quantize_is_encode_and_decode(fmt: Format, dtype: torch.dtype) -> None:
    if not keeps(FLOAT_ROWS[dtype], fmt):
        pytest.skip(f"{dtype} does not keep {fmt}: see test_messages.py")
    for kind in cases.KINDS:
        x = cases.floats(fmt, kind, dtype, count=300)
        for rounding in ("nearest_even", "toward_zero", "toward_positive", "to_odd"):
            there = refnum.encode(x, fmt, rounding=rounding)
            got = refnum.quantize(x, fmt, rounding=rounding)
            assert got.dtype == dtype
            assert_bit_equal(got.double(), _values(there, fmt))


def test_a_dtype_that_cannot_keep_the_largest_value_is_refused() -> None:
    """bfloat16 has no 65504, which is what float16 saturates to."""
    with pytest.raises(refnum.FormatError):
        refnum.quantize(torch.ones(1, dtype=torch.bfloat16), Minifloat(5, 10))


def test_the_identity_gradient_passes_everything() -> None:
    x = torch.tensor([1.1, 1e30, 0.0, NAN, -INF], requires_grad=True)
    upstream = torch.tensor([2.0, 3.0, 5.0, 7.0, 11.0])
    refnum.quantize(x, P8).backward(upstream)
    assert torch.equal(x.grad, upstream)


@pytest.mark.parametrize("fmt", [P8, e4m3], ids=str)
def test_the_clipped_gradient_stops_beyond_the_largest_value(fmt: Format) -> None:
    largest = fmt.max_value
    x = torch.tensor([1.1, largest, -largest, largest * 1.001, -largest * 1.001, INF, 0.0], requires_grad=True)
    upstream = torch.arange(1.0, 8.0)
    refnum.quantize(x, fmt, grad="clipped").backward(upstream)
    assert x.grad.tolist() == [1, 2, 3, 0, 0, 0, 7]


@pytest.mark.parametrize("grad", ["identity", "clipped"])
def test_gradients_do_not_depend_on_the_rounding_and_go_on(grad: str) -> None:
    x = torch.linspace(-9, 9, 37, dtype=torch.float64, requires_grad=True)
    for rounding in ROUNDINGS:
        (first,) = torch.autograd.grad(
            refnum.quantize(x, P8, rounding=rounding, grad=grad).square().sum(), x, create_graph=True
        )
        assert torch.equal(first, 2 * refnum.quantize(x, P8, rounding=rounding))
        (second,) = torch.autograd.grad(first.sum(), x)
        assert torch.equal(second, torch.full_like(x, 2.0)), "a gradient of a gradient, straight through twice"


def test_no_gradient_where_none_is_asked_for() -> None:
    x = torch.ones(3, requires_grad=True)
    assert refnum.quantize(x, P8).requires_grad
    assert not refnum.quantize(x.detach(), P8).requires_grad
    with torch.no_grad():
        assert not refnum.quantize(x, P8).requires_grad
    assert not refnum.encode(x, P8).requires_grad
    assert not refnum.decode(refnum.encode(x, P8), P8).requires_grad


def test_values_are_exact_fractions() -> None:
    """posit16 near 1/3: 11 fraction bits and two of exponent."""
    got = Fraction(refnum.quantize(f64(1 / 3), P16).item())
    assert got == Fraction(2731, 8192)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_decode_leaves_its_codes_alone(dtype: torch.dtype) -> None:
    """Long tensors are looked up in tables."""
    codes = torch.arange(600).to(dtype)
    kept = codes.clone()
    refnum.decode(codes, refnum.formats.e4m3)
    assert torch.equal(codes, kept)
