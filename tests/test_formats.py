"""Formats are rows of data: what a row says of itself is true, and impossible rows do not exist."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import refnum
from refnum import FormatError, Minifloat, Posit, formats
from refnum.boundary import container
from refnum.formats import (
    DMF,
    Block,
    Codebook,
    FixedPoint,
    Format,
    Logarithmic,
    bfp,
    block_log,
    block_minifloat,
    holds,
    keeps,
    mxint,
    named,
    parse,
)

POSITS = [Posit(n, es) for n in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64) for es in range(5)]

#: codes of the row: bits, bias, largest finite, NaN, Inf; then its largest value and the least above 0
ROWS = {
    "e2m1": (4, 1, 0x7, None, None, 6.0, 0.5),
    "e2m3": (6, 1, 0x1F, None, None, 7.5, 2.0**-3),
    "e3m2": (6, 3, 0x1F, None, None, 28.0, 2.0**-4),
    "e4m3": (8, 7, 0x7E, 0x7F, None, 448.0, 2.0**-9),
    "e5m2": (8, 15, 0x7B, 0x7E, 0x7C, 57344.0, 2.0**-16),
    "e4m3fnuz": (8, 8, 0x7F, 0x80, None, 240.0, 2.0**-10),
    "e5m2fnuz": (8, 16, 0x7F, 0x80, None, 57344.0, 2.0**-17),
    "e8m0": (8, 127, 0xFE, 0xFF, None, 2.0**127, 2.0**-127),
    "float16": (16, 15, 0x7BFF, 0x7E00, 0x7C00, 65504.0, 2.0**-24),
    "bfloat16": (16, 127, 0x7F7F, 0x7FC0, 0x7F80, torch.finfo(torch.bfloat16).max, 2.0**-133),
    "tf32": (19, 127, 0x3FBFF, 0x3FE00, 0x3FC00, 2.0**128 - 2.0**117, 2.0**-136),
    "float32": (32, 127, 0x7F7FFFFF, 0x7FC00000, 0x7F800000, torch.finfo(torch.float32).max, 2.0**-149),
    "float64": (64, 1023, (0x7FF << 52) - 1, 0xFFF << 51, 0x7FF << 52, torch.finfo(torch.float64).max, 2.0**-1074),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_named_row_is_what_its_standard_says(name: str) -> None:
    row = named()[name]
    assert isinstance(row, Minifloat)
    bits, bias, largest, nan, infinity, max_value, least = ROWS[name]
    assert (row.width, row.bias, row.largest, row.nan, row.infinity) == (bits, bias, largest, nan, infinity)
    assert row.max_value == max_value
    assert 2.0 ** (row.min_scale - row.mantissa) == least
    assert row.max_scale == int(torch.frexp(torch.tensor(max_value, dtype=torch.float64)).exponent) - 1
    assert getattr(formats, name) is row


def test_overflow_of_the_named_rows() -> None:
    to_infinity = {name for name, row in named().items() if isinstance(row, Minifloat) and row.overflow == "inf"}
    assert to_infinity == {"float16", "bfloat16", "tf32", "float32", "float64"}


def test_torchs_dtypes_have_the_same_rows() -> None:
    for name in ("float16", "bfloat16", "float32", "float64"):
        row, info = named()[name], torch.finfo(getattr(torch, name))
        assert isinstance(row, Minifloat)
        assert (row.max_value, 2.0**row.min_scale) == (info.max, info.tiny)
        assert (row.width, 2.0**-row.mantissa) == (info.bits, info.eps)


@pytest.mark.parametrize("fmt", POSITS, ids=str)
def test_a_posit_row(fmt: Posit) -> None:
    assert fmt.width == fmt.n
    assert fmt.container_bits in (8, 16, 32, 64)
    assert fmt.container_bits // 2 < max(fmt.n, 5) <= fmt.container_bits
    assert fmt.nar == -(2 ** (fmt.n - 1)) == -fmt.maxpos - 1
    assert fmt.max_scale == (fmt.n - 2) * 2**fmt.es
    assert Fraction(fmt.max_value) == Fraction(2) ** fmt.max_scale
    assert fmt.significand_bits == max(1, fmt.n - 2 - fmt.es)


@pytest.mark.parametrize("n", [2, 8, 16, 32, 64])
def test_the_quire_of_the_standard(n: int) -> None:
    """16n bits; maxpos squared leaves 31 carry bits and the sign (posit.md 2.5)."""
    fmt = Posit(n)
    assert fmt.quire_bits == 16 * n
    assert fmt.quire_bits - 1 - 4 * fmt.max_scale == 31


def test_significands_are_as_long_as_said() -> None:
    for fmt in [Posit(n, es) for n in range(2, 10) for es in range(5)]:
        values = _values(fmt)
        longest = max(Fraction(abs(x)).numerator.bit_length() for x in values if abs(x) <= 1 and x)
        trailing = max(_odd_part(abs(x)).bit_length() for x in values if x)
        assert longest <= trailing == fmt.significand_bits


def _odd_part(x: Fraction) -> int:
    whole = x.numerator * x.denominator
    return whole // (whole & -whole)


def test_posits_default_to_the_standards_exponent() -> None:
    assert Posit(16) == Posit(16, 2) == refnum.posit16
    assert [refnum.posit8.n, refnum.posit16.n, refnum.posit32.n, refnum.posit64.n] == [8, 16, 32, 64]


def test_rows_are_frozen_comparable_and_hashable() -> None:
    assert len({Posit(16), Posit(16, 2), Posit(16, 1), Minifloat(5, 10), Minifloat(5, 10, bias=15)}) == 3
    for fmt, field in ((Posit(16), "n"), (Minifloat(4, 3), "bias")):
        assert not hasattr(fmt, "__dict__")
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(fmt, field, 3)


def test_a_bias_that_is_not_given() -> None:
    assert [Minifloat(e, 3).bias for e in (1, 4, 5, 11)] == [0, 7, 15, 1023]
    assert Minifloat(4, 3, specials="fnuz").bias == 8
    assert Minifloat(4, 3, bias=-3).bias == -3


@pytest.mark.parametrize("fmt", [*POSITS, *named().values()], ids=str)
def test_a_name_reads_back(fmt: Format) -> None:
    assert parse(fmt.name) == fmt
    assert str(fmt) == fmt.name


def test_a_row_without_a_name_spells_itself_out() -> None:
    row = Minifloat(6, 9, bias=3, specials="none")
    assert eval(str(row), {"Minifloat": Minifloat}) == row
    assert parse("posit(16, 1)") == Posit(16, 1)


def test_named_gives_a_copy() -> None:
    named().clear()
    assert named()["posit16"] == Posit(16)


@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [
        (Posit(2), torch.int8),
        (Posit(8), torch.int8),
        (Posit(9), torch.int16),
        (Posit(16), torch.int16),
        (Posit(17), torch.int32),
        (Posit(32), torch.int32),
        (Posit(33), torch.int64),
        (Posit(64), torch.int64),
        (formats.e2m1, torch.uint8),
        (formats.e5m2, torch.uint8),
        (formats.e8m0, torch.uint8),
        (Minifloat(5, 3), torch.int16),
        (formats.float16, torch.int16),
        (formats.tf32, torch.int32),
        (formats.float32, torch.int32),
        (Minifloat(9, 23), torch.int64),
        (formats.float64, torch.int64),
    ],
    ids=str,
)
def test_codes_come_in_the_smallest_container(fmt: Format, dtype: torch.dtype) -> None:
    assert container(fmt) == dtype
    assert refnum.encode(torch.ones(2), fmt).dtype == dtype if fmt != formats.e8m0 else True


# ---- holds and keeps, against all values -------------------------------------------------------------------------

TOY_ROWS = [Minifloat(e, m) for e, m in ((2, 1), (3, 2), (4, 1), (4, 3), (3, 5))] + [
    Minifloat(4, 3, bias=2, overflow="inf")
]
TOY_FORMATS: list[Format] = [
    *(Posit(n, es) for n in range(2, 10) for es in range(4)),
    *(Minifloat(e, m, specials=s) for e, m in itertools.product((2, 3, 4), (1, 2, 4)) for s in ("none", "fn", "ieee")),
    *(Minifloat(3, 2, bias=bias, overflow=o) for bias in (-4, 3, 9) for o in ("saturate", "inf")),
]


def _values(fmt: Format) -> set[Fraction]:
    """All finite values, by decoding every code into float64, which holds them."""
    codes = torch.arange(1 << fmt.width)
    return {Fraction(x) for x in refnum.decode(codes, fmt).tolist() if abs(x) < float("inf")}


@pytest.mark.parametrize("row", TOY_ROWS, ids=repr)
def test_holds_is_true_where_every_value_is_there(row: Minifloat) -> None:
    inside = _values(row)
    truth = {fmt: _values(fmt) <= inside for fmt in TOY_FORMATS}
    assert {fmt: holds(row, fmt) for fmt in TOY_FORMATS} == truth
    assert len(set(truth.values())) == 2, "a table that is all true or all false shows nothing"


@pytest.mark.parametrize("row", TOY_ROWS, ids=repr)
def test_keeps_is_true_where_every_rounded_value_is_there(row: Minifloat) -> None:
    inside = _values(row)
    values = torch.tensor([float(x) for x in inside], dtype=torch.float64)
    truth = {}
    for fmt in TOY_FORMATS:
        rounded = [
            refnum.decode(refnum.encode(values, fmt, rounding=rounding), fmt).tolist()
            for rounding in (
                "nearest_even",
                "nearest_away",
                "toward_zero",
                "toward_positive",
                "toward_negative",
                "to_odd",
            )
        ]
        truth[fmt] = {Fraction(x) for xs in rounded for x in xs if abs(x) < float("inf")} <= inside
    assert not [fmt for fmt in TOY_FORMATS if keeps(row, fmt) and not truth[fmt]], "promises too much"
    assert not [fmt for fmt in TOY_FORMATS if truth[fmt] and not keeps(row, fmt)], "refuses what would be right"


def test_holds_and_keeps_on_the_rows_of_torch() -> None:
    f16, bf16, f32, f64 = (named()[name] for name in ("float16", "bfloat16", "float32", "float64"))
    assert all(isinstance(row, Minifloat) for row in (f16, bf16, f32, f64))
    assert [holds(f32, Posit(n)) for n in (28, 29)] == [True, False]
    assert [holds(f64, Posit(n)) for n in (57, 58)] == [True, False]
    assert [holds(f32, Posit(n, 3)) for n in (17, 18)] == [True, False]  # 2**-120 and 2**-128, a subnormal
    assert [holds(row, Posit(8)) for row in (bf16, f16)] == [True, False]
    assert [holds(f16, Posit(8, es)) for es in (0, 1, 2)] == [True, True, False]
    assert [keeps(f32, fmt) for fmt in (Posit(32), Posit(64), Posit(20, 3))] == [True, True, False]
    assert keeps(f64, Posit(64, 4)), "maxpos is 2**992"


# ---- names of all records ------------------------------------------------------------------------------------------

MINIFLOATS = st.builds(
    lambda exponent, mantissa, bias, rest: Minifloat(exponent, mantissa, bias, **rest),
    st.integers(1, 11),
    st.integers(1, 52),
    st.none() | st.integers(-1100, 1100),
    st.sampled_from(
        [
            *({"specials": s} for s in formats.SPECIALS),
            *({"overflow": "inf"}, {"specials": "fn", "overflow": "nan"}, {"signed": False, "specials": "none"}),
            {"subnormals": False, "specials": "none"},
        ]
    ),
)
FIXED = st.builds(
    lambda width, fraction, rest: FixedPoint(width, fraction, **rest),
    st.integers(2, 32),
    st.integers(-1000, 1000),
    st.sampled_from([{}, {"signed": False}, {"symmetric": True}, {"overflow": "wrap"}]),
)
DMFS = st.builds(DMF, st.integers(1, 7), st.integers(1, 8), st.none() | st.integers(-1000, 1000))
LOGARITHMS = st.builds(Logarithmic, st.integers(2, 16), st.none() | st.integers(-40000, 40000), st.booleans())
CODEBOOKS = st.builds(
    lambda values, shift, specials: Codebook(
        tuple(sorted(values)),
        codes=None if shift is None else tuple(range(shift, shift + len(values))),
        specials=specials,
    ),
    st.sets(st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda x: x + 0.0), min_size=1, max_size=9),
    st.none() | st.integers(1, 300),
    st.sampled_from([{}, {"nan": 400}, {"inf": 401, "-inf": 402, "nan": 400}]),
)
BLOCKS = st.one_of(
    st.builds(mxint, st.integers(2, 16), st.integers(1, 99), rule=st.sampled_from(["ocp", "ceil"])),
    st.builds(bfp, st.integers(2, 24), st.tuples(st.integers(1, 9), st.integers(1, 9)), exponent=st.integers(2, 8)),
    st.builds(block_minifloat, st.integers(4, 16), st.integers(1, 3), st.integers(1, 99), shared=st.integers(2, 8)),
    st.builds(block_log, st.integers(2, 16), st.integers(1, 99), shared=st.integers(2, 8), zero_code=st.booleans()),
    st.builds(lambda table, size: Block(table, formats.e8m0, size), CODEBOOKS, st.integers(1, 99)),
)


@given(st.one_of(MINIFLOATS, FIXED, DMFS, LOGARITHMS, CODEBOOKS, BLOCKS))
@settings(max_examples=300, deadline=None)
def test_every_record_reads_back(fmt: formats.Scalar | Block) -> None:
    assert parse(str(fmt)) == fmt
    assert hash(parse(str(fmt))) == hash(fmt)


@pytest.mark.parametrize(
    ("fmt", "name"),
    [
        (FixedPoint(8, 4), "fixed(8,4)"),
        (FixedPoint(8, -3, signed=False, overflow="wrap"), "fixed(8,-3,signed=False,overflow='wrap')"),
        (DMF(4, 3), "dmf(4,3)"),
        (Logarithmic(8), "log(8)"),
        (Logarithmic(8, zero_code=False), "log(8,zero_code=False)"),
        (Minifloat(3, 3), "Minifloat(3,3)"),
        (Minifloat(3, 3, specials="fnuz"), "Minifloat(3,3,specials='fnuz')"),
        (Minifloat(3, 3, bias=2, overflow="inf"), "Minifloat(3,3,bias=2,overflow='inf')"),
        (formats.nf4, "nf4"),
        (mxint(8, symmetric=True), "mxint8"),
        (Block(formats.nf4, formats.e8m0, (4, 8)), "block(nf4,e8m0,(4,8))"),
    ],
    ids=str,
)
def test_names_are_short(fmt: formats.Scalar | Block, name: str) -> None:
    assert str(fmt) == name
    assert parse(name) == fmt


@pytest.mark.parametrize("fmt", [FixedPoint(8, 4), DMF(4, 3), Logarithmic(8), Codebook((-1, 1)), mxint(4)], ids=str)
def test_other_records_are_frozen(fmt: formats.Scalar | Block) -> None:
    assert not hasattr(fmt, "__dict__")
    for field in dataclasses.fields(fmt):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(fmt, field.name, 3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: FixedPoint(1, 0),
            "FixedPoint has no width=1: width is an int from 2 to 32. Choose width in that range.",
        ),
        (lambda: FixedPoint(33, 0), "FixedPoint has no width=33: width is an int from 2 to 32."),
        (lambda: FixedPoint(8.0, 0), "FixedPoint has no width=8.0: width is an int from 2 to 32."),  # type: ignore[arg-type]
        (lambda: FixedPoint(8, 0, signed=1), "FixedPoint has no signed=1. Choose True or False."),  # type: ignore[arg-type]
        (lambda: FixedPoint(8, 0, overflow="inf"), "FixedPoint has no overflow='inf'. Choose one of saturate, wrap."),
        (lambda: FixedPoint(8, 0, signed=False, symmetric=True), "FixedPoint has no symmetric=True with signed=False"),
        (lambda: Minifloat(0, 3), "Minifloat has no exponent=0: exponent is an int from 1 to 11."),
        (lambda: Minifloat(3, -1), "Minifloat has no mantissa=-1: mantissa is an int from 0 to 52."),
        (lambda: DMF(0, 3), "DMF has no exponent=0: exponent is an int from 1 to 8."),
        (lambda: DMF(3, 0), "DMF has no mantissa=0: mantissa is an int from 1 to 14."),
        (lambda: DMF(8, 14), "DMF has no width=23: width is an int from 2 to 16."),
        (lambda: Logarithmic(1), "Logarithmic has no width=1: width is an int from 2 to 16."),
        (lambda: Logarithmic(17), "Logarithmic has no width=17: width is an int from 2 to 16."),
        (lambda: formats.Exponent(9), "Exponent has no width=9: width is an int from 2 to 8."),
        (lambda: bfp(25, 16), "bfp has no width=25: width is an int from 2 to 24."),
        (lambda: bfp(8, 16, rule="ocp"), "bfp has no rule='ocp'. Choose one of ceil, floor."),
        (lambda: mxint(17), "mxint has no width=17: width is an int from 2 to 16."),
        (lambda: mxint(8, rule="floor"), "mxint has no rule='floor'. Choose one of ocp, ceil."),
        (lambda: mxint(8, 0), "Block has no size=0: size is an int from 1 to 1048576."),
        (lambda: mxint(8, -2), "Block has no size=-2: size is an int from 1 to 1048576."),
        (lambda: block_minifloat(8, 0, 16), "block_minifloat has no exponent=0: exponent is an int from 1 to 7."),
        (lambda: block_log(1, 16), "block_log has no width=1: width is an int from 2 to 16."),
        (lambda: Block(formats.e2m1, formats.float16, 16), "Block has no scale=float16. Choose one of e8m0, e4m3"),
        (lambda: Block(Posit(8), formats.e8m0, 16), "Block has no element=posit8. Allowed are"),  # type: ignore[arg-type]
        (lambda: Codebook(()), "Codebook got 0 values. Allowed are 1 to 65536."),
        (lambda: Codebook((1, 1)), "Codebook needs values that are strictly increasing, got 1.0 behind 1.0."),
        (lambda: Codebook((float("nan"),)), "Codebook has no value nan. Allowed are finite ints and floats."),
        (lambda: Codebook((0, 1), codes=(1, 1)), "Codebook needs a code of its own for each of its 2 values"),
        (lambda: Codebook((0, 1), overflow="inf"), "Codebook cannot overflow to 'inf' without a code for it"),
        (lambda: parse("posit9x"), "No format is named 'posit9x'. Near it: posit8"),
        (lambda: parse("fixd(8,4)"), "No format is named 'fixd(8,4)'. Near it: fixed(...). Choose one of posit8"),
        (lambda: parse("exponent(8)"), "No format is named 'exponent(8)'."),
        (lambda: formats.parse_scalar("nf4"), "nf4 is no floating-point format. Choose one of posit8"),
    ],
)
def test_records_that_do_not_exist(make: Callable[[], object], text: str) -> None:
    with pytest.raises(FormatError) as caught:
        make()
    assert str(caught.value).startswith(text)
