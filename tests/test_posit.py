"""The functions of the Posit Standard (2022): worked values, its special cases, laws that hold for every pattern."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles import posit as oracle
from torch import Tensor

import refnum
from refnum import Posit, posit
from refnum.boundary import container
from refnum.testing import assert_bit_equal, cases

P8, P16, P32, P64 = Posit(8), Posit(16), Posit(32), Posit(64)
FORMATS = (
    Posit(2),
    Posit(3, 1),
    Posit(5, 4),
    P8,
    Posit(8, 0),
    P16,
    Posit(24, 1),
    P32,
    Posit(33, 0),
    Posit(48, 3),
    Posit(63, 0),
    P64,
    Posit(64, 4),
)
VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"

UNARY = "sqrt negate abs sign nearest_int ceil floor next prior".split()
BINARY = "add sub mul div".split()
RELATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "compare_equal": torch.eq,
    "compare_not_equal": torch.ne,
    "compare_greater": torch.gt,
    "compare_greater_equal": torch.ge,
    "compare_less": torch.lt,
    "compare_less_equal": torch.le,
}


def encode(x: float, fmt: Posit) -> int:
    return int(refnum.encode(torch.tensor(x, dtype=torch.float64), fmt).item())


def call(name: str, fmt: Posit, *patterns: int) -> int:
    """One case, from patterns as they are written: unsigned."""
    signed = (torch.tensor(p - (p >> 63 << 64) if p < 1 << 64 else p, dtype=torch.int64) for p in patterns)
    return int(getattr(posit, name)(*signed, fmt).item())


def sample(fmt: Posit, count: int = 200) -> Tensor:
    if fmt.n <= 8:
        return cases.exhaustive(fmt)
    return torch.cat([cases.patterns(fmt, kind, count=count) for kind in cases.KINDS])


def reals(fmt: Posit, count: int = 200) -> Tensor:
    patterns = sample(fmt, count)
    return patterns[patterns != fmt.nar]


# ---- 5.4, 5.7 and sqrt --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fmt", "operands", "want"),
    [  # posit.md 5.2: what SoftPosit gets wrong, the double rounding of 5.5, and the twilight zone
        ("fma", P32, (0xFFFE8C13, 0x40000000, 0x00021FF6), 0x000202FB),
        ("fma", P32, (0x80000004, 0xFFFFFFFF, 0xF77B9A26), 0x0FAF7345),
        ("fma", P32, (0x40000000, 0x80000004, 0x7FFFFFFD), 0x7FFFFFFD),
        ("fma", P32, (0x3D9F4000, 0x385AB000, 0x3241C39A), 0x3C3DB76D),
        ("mul", P32, (0x64000000, 0x80000003), 0x80000001),
        ("mul", P32, (0x38000000, 0x7FFFFFFF), 0x7FFFFFFF),
        ("mul", P32, (0x70000000, 0x7FFFFFFB), 0x7FFFFFFF),
        ("add", P32, (0x1, 0x7FFFFFFD), 0x7FFFFFFD),
        ("sub", P32, (0x6D6846D4, 0x80000003), 0x7FFFFFFD),
        ("mul", P32, (0x3FFFFFFF, 0x4), 0x4),
        ("div", P32, (0x3, 0x3B10B493), 0x3),
        ("fma", Posit(15), (0x3FFD, 0x1D4, 0xE), 0x3FCB),
        ("fma", P16, (0x7680, 0x6128, 0x1), 0x7B9D),
        ("nearest_int", P8, (0x81,), 0x81),
        ("mul", P32, (0x40000005, 0x40CCCCCD), 0x40CCCCD3),
        ("fmm", P8, (0x7F, 0x7F, 0x01), 0x7F),
        ("fmm", P8, (0x7F, 0x01, 0x7F), 0x7F),
        ("add", P8, (0x40, 0x40), 0x48),
        ("div", P8, (0x48, 0x4C), 0x3B),
        ("sqrt", P8, (0x50,), 0x48),
        ("mul", P8, (0x01, 0x01), 0x01),
        ("mul", P8, (0x7F, 0x7F), 0x7F),
        ("div", P8, (0x01, 0x7F), 0x01),
        ("sub", P8, (0x41, 0x40), 0x28),
        ("add", P64, ((1 << 62) + 1, 1 << 62), (1 << 62) + (1 << 59)),
    ],
)
def test_by_hand(name: str, fmt: Posit, operands: tuple[int, ...], want: int) -> None:
    assert call(name, fmt, *operands) == oracle.signed(want, fmt.n)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_nar_goes_through_everything(fmt: Posit) -> None:
    x = sample(fmt)
    nar = torch.full_like(x, fmt.nar)
    for name in (*BINARY, "fmm", "fma"):
        function = getattr(posit, name)
        more = (x,) if name in ("fmm", "fma") else ()
        for operands in ((x, nar, *more), (nar, x, *more), *([(x, x, nar)] if more else [])):
            assert set(function(*operands, fmt).tolist()) == {fmt.nar}
    for name in ("sqrt", "negate", "abs", "sign", "nearest_int", "ceil", "floor"):
        assert set(getattr(posit, name)(nar, fmt).tolist()) == {fmt.nar}


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_what_has_no_unique_real_result_is_nar(fmt: Posit) -> None:
    x, zero = sample(fmt), torch.zeros_like(sample(fmt))
    assert set(posit.div(x, zero, fmt).tolist()) == {fmt.nar}
    assert set(posit.sqrt(x[x < 0], fmt).tolist()) == {fmt.nar}
    assert posit.sqrt(zero[:1], fmt).item() == 0


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_only_zeros_and_exact_cancellation_give_zero(fmt: Posit) -> None:
    """And nothing but NaR gives NaR."""
    x, y = reals(fmt), reals(fmt).flip(0)
    both = (x != 0) & (y != 0)
    for name in ("mul", "div"):
        got = getattr(posit, name)(x[both], y[both], fmt)
        assert bool((got != 0).all())
        assert bool((got != fmt.nar).all())
    assert torch.equal(posit.add(x, y, fmt) == 0, x == -y)
    assert torch.equal(posit.sub(x, y, fmt) == 0, x == y)


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_laws_of_arithmetic(fmt: Posit) -> None:
    x, y = reals(fmt), reals(fmt).roll(7)
    c = container(fmt)
    one, zero = torch.tensor(1 << (fmt.n - 2)), torch.tensor(0)
    assert torch.equal(posit.add(x, y, fmt), posit.add(y, x, fmt))
    assert torch.equal(posit.mul(x, y, fmt), posit.mul(y, x, fmt))
    assert torch.equal(posit.sub(x, y, fmt), posit.add(x, posit.negate(y, fmt), fmt))
    assert torch.equal(posit.sub(x, y, fmt), -posit.sub(y, x, fmt))
    assert torch.equal(posit.mul(-x, y, fmt), -posit.mul(x, y, fmt))
    assert torch.equal(posit.add(x, zero, fmt), x.to(c))
    for name in ("mul", "div"):
        assert torch.equal(getattr(posit, name)(x, one, fmt), x.to(c))
    assert torch.equal(posit.fma(x, y, zero, fmt), posit.mul(x, y, fmt))
    assert torch.equal(posit.fma(x, one, y, fmt), posit.add(x, y, fmt))
    assert torch.equal(posit.fmm(x, y, one, fmt), posit.mul(x, y, fmt))
    z = x.roll(3)
    assert torch.equal(posit.fmm(x, y, z, fmt), posit.fmm(z, x, y, fmt))
    quotient = posit.div(x[x != 0], x[x != 0], fmt)
    assert set(quotient.tolist()) == {one.item()}


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_any_operands_of_any_format(data: st.DataObject) -> None:
    n, es = data.draw(st.integers(2, 64)), data.draw(st.integers(0, 4))
    name, arity = data.draw(
        st.sampled_from([("add", 2), ("sub", 2), ("mul", 2), ("div", 2), ("sqrt", 1), ("fmm", 3), ("fma", 3)])
    )
    near = st.sampled_from(
        [s * (h + d) for h in (0, 1 << (n - 2), (1 << (n - 1)) - 2) for d in (0, 1) for s in (1, -1)]
    )
    operands = data.draw(st.tuples(*[st.one_of(near, st.integers(-(1 << (n - 1)), (1 << (n - 1)) - 1))] * arity))
    got = getattr(posit, name)(*(torch.tensor(x) for x in operands), Posit(n, es)).item()
    assert got == getattr(oracle, name)(*operands, n, es)


@pytest.mark.parametrize("name", [*BINARY, "sqrt", "fmm", "fma", "nearest_int", "ceil", "floor"])
@pytest.mark.parametrize("fmt", [Posit(5, 4), P8, P32, P64], ids=str)
def test_ties_made_to_measure(name: str, fmt: Posit) -> None:
    for kind in ("edges", "ties"):
        columns = cases.tuples(name, fmt, kind, count=60)
        got = getattr(posit, name)(*columns, fmt).tolist()
        rows = zip(*(column.tolist() for column in columns), strict=True)
        assert got == [getattr(oracle, name)(*row, fmt.n, fmt.es) for row in rows]


# ---- 5.2 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_next_and_prior_wrap_around(fmt: Posit) -> None:
    steps = [fmt.maxpos, fmt.nar, -fmt.maxpos]
    assert posit.next(torch.tensor(steps[:2]), fmt).tolist() == steps[1:]
    assert posit.prior(torch.tensor(steps[1:]), fmt).tolist() == steps[:2]
    assert posit.next(torch.tensor([-1, 0]), fmt).tolist() == [0, 1]
    assert posit.prior(torch.tensor([1, 0]), fmt).tolist() == [0, -1]
    x = sample(fmt)
    assert torch.equal(posit.prior(posit.next(x, fmt), fmt), x.to(container(fmt)))
    inside = x[(x != fmt.maxpos) & (x != fmt.nar)]
    assert bool((posit.next(inside, fmt) > inside).all())


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_signs(fmt: Posit) -> None:
    x, one = reals(fmt), 1 << (fmt.n - 2)
    assert torch.equal(posit.negate(x, fmt), -x.to(container(fmt)))
    assert torch.equal(posit.abs(x, fmt), x.abs().to(container(fmt)))
    assert torch.equal(posit.sign(x, fmt), (x.sign() * one).to(container(fmt)))
    for name in ("negate", "abs", "sign"):
        assert posit.__dict__[name](torch.tensor([0, fmt.nar]), fmt).tolist() == [0, fmt.nar]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_integral_results(fmt: Posit) -> None:
    for name, to_int in (("nearest_int", round), ("ceil", math.ceil), ("floor", math.floor)):
        x = torch.cat(
            [reals(fmt, 60), cases.tuples(name, fmt, "ties", count=60)[0] if name in cases.TIES else reals(fmt, 5)]
        )
        x = x[x != fmt.nar]
        values = [oracle.value(p, fmt.n, fmt.es) for p in x.tolist()]
        got = getattr(posit, name)(x, fmt).tolist()
        whole = [to_int(v.fraction()) for v in values if v is not None]
        back = [oracle.value(p, fmt.n, fmt.es) for p in got]
        assert [v.fraction() for v in back if v is not None] == whole


def test_nearest_integers_by_hand() -> None:
    x = refnum.encode(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5, 3.4, 2.0**-56, 2.0**40], dtype=torch.float64), P16)
    values = {
        name: refnum.decode(getattr(posit, name)(x, P16), P16).tolist() for name in ("nearest_int", "ceil", "floor")
    }
    assert values["nearest_int"] == [0, 2, 2, 0, -2, 3, 0, 2.0**40]
    assert values["ceil"] == [1, 2, 3, 0, -1, 4, 1, 2.0**40]
    assert values["floor"] == [0, 1, 2, -1, -2, 3, 0, 2.0**40]


# ---- 5.3 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RELATIONS)
@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_comparisons_are_those_of_integers(name: str, fmt: Posit) -> None:
    x, y = sample(fmt)[:, None], sample(fmt)[::7]
    got = getattr(posit, name)(x, y, fmt)
    assert got.dtype == torch.bool
    assert torch.equal(got, RELATIONS[name](x, y))


@pytest.mark.parametrize("name", RELATIONS)
def test_comparisons_are_those_of_values_and_nar_is_least(name: str) -> None:
    x = cases.exhaustive(P8)
    values = refnum.decode(x, P8).nan_to_num(-math.inf)
    assert torch.equal(getattr(posit, name)(x[:, None], x, P8), RELATIONS[name](values[:, None], values))


# ---- 6: conversions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (P16, P8),
        (P8, P16),
        (P32, P16),
        (P64, P32),
        (P16, Posit(16, 1)),
        (Posit(16, 0), Posit(16, 4)),
        (Posit(64, 4), Posit(5)),
        (Posit(5, 4), P64),
        (P64, Posit(64, 0)),
        (Posit(33, 0), Posit(2)),
        (Posit(2), P64),
    ],
    ids=str,
)
def test_convert(source: Posit, target: Posit) -> None:
    x = torch.cat([cases.conversions(source, target, kind, count=100) for kind in cases.KINDS])
    want = [oracle.convert(p, source.n, source.es, target.n, target.es) for p in x.tolist()]
    got = posit.convert(x, source, target)
    assert got.dtype == container(target)
    assert got.tolist() == want


def test_widening_appends_zeros() -> None:
    x = cases.exhaustive(P16)
    assert torch.equal(posit.convert(x, P16, P32).long(), x << 16)
    assert torch.equal(posit.convert(posit.convert(x, P16, P64), P64, P16).long(), x)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (0.5, 0),
        (1.5, 2),
        (2.5, 2),
        (-0.5, 0),
        (-1.5, -2),
        (127.4, 127),
        (127.5, -128),
        (-128.0, -128),
        (-129.0, -128),
        (128.0, -128),
        (1e9, -128),
        (math.nan, -128),
        (0.0, 0),
    ],
)
def test_to_int8_by_hand(value: float, want: int) -> None:
    got = posit.to_int(torch.tensor(encode(value, P16)), P16, width=8)
    assert (got.item(), got.dtype) == (want, torch.int8)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (255.4, 255),
        (255.5, 128),
        (256.0, 128),
        (-0.5, 0),
        (-0.51, 128),
        (-1.0, 128),
        (128.0, 128),
        (math.nan, 128),
        (0.75, 1),
    ],
)
def test_to_uint8_by_hand(value: float, want: int) -> None:
    got = posit.to_int(torch.tensor(encode(value, P32)), P32, width=8, signed=False)
    assert (got.item(), got.dtype) == (want, torch.uint8)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_to_int_of_every_kind(width: int, signed: bool) -> None:
    for fmt in (P8, P16, P32, P64, Posit(64, 0), Posit(40, 4)):
        x = sample(fmt, 100)
        want = [oracle.to_int(p, fmt.n, fmt.es, width, signed) for p in x.tolist()]
        assert posit.to_int(x, fmt, width, signed).tolist() == want


def test_the_sentinel_of_64_bits() -> None:
    least = torch.tensor([encode(x, P64) for x in (-(2.0**63), 2.0**63, -(2.0**64), math.nan, 2.0**62)])
    assert posit.to_int(least, P64, 64).tolist() == [-(1 << 63)] * 4 + [1 << 62]
    assert posit.to_int(least, P64, 64, signed=False).tolist() == [-(1 << 63)] * 4 + [1 << 62]
    assert posit.to_int(torch.tensor(encode(2.0**63 + 2.0**62, P64)), P64, 64, signed=False).item() == -(1 << 62)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str)
def test_from_int(dtype: torch.dtype) -> None:
    limits = torch.iinfo(dtype)
    lowest = 128 if dtype == torch.uint8 else limits.min
    for fmt in (Posit(2), P8, P16, P32, P64):
        i = torch.cat(
            [cases.integers(fmt, kind, dtype, count=80) for kind in cases.KINDS]
            + [torch.tensor([lowest, 0, 1], dtype=dtype)]
        )
        for sentinel in (True, False):
            got = posit.from_int(i, fmt, sentinel=sentinel)
            assert got.dtype == container(fmt)
            assert got.tolist() == [
                oracle.from_int(x, fmt.n, fmt.es, str(dtype).split(".")[1], sentinel) for x in i.tolist()
            ]


def test_sentinels_by_hand() -> None:
    assert posit.from_int(torch.tensor([-(1 << 31), -(1 << 31) + 1], dtype=torch.int32), P32).tolist() == [
        P32.nar,
        encode(-(2.0**31), P32),
    ]
    assert posit.from_int(torch.tensor([1 << 31]), P32).item() == encode(2.0**31, P32), "2**31 is a value among 64 bits"
    assert posit.from_int(torch.tensor([128, 127], dtype=torch.uint8), P16).tolist() == [P16.nar, encode(127.0, P16)]
    image = torch.arange(256).to(torch.uint8)
    assert_bit_equal(refnum.decode(posit.from_int(image, P16, sentinel=False), P16), image.double())


def test_python_integers_go_by_value() -> None:
    for value in (0, 1, -1, 128, -(1 << 31), -(1 << 63), (1 << 63) + 1, 3**200, -(10**400)):
        for fmt in (P8, P64):
            got = posit.from_int(value, fmt)
            assert got.shape == ()
            assert got.item() == oracle.from_int(value, fmt.n, fmt.es, "int")


def test_to_float_rounds_once_and_overflows() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for fmt in (P16, P32, P64, Posit(64, 4), Posit(64, 0)):
            x = torch.cat(
                [
                    cases.conversions(fmt, refnum.formats.scalars()[str(dtype).split(".")[1]], kind, count=100)
                    for kind in cases.KINDS
                ]
            )
            want = [oracle.to_float(p, fmt.n, fmt.es, str(dtype).split(".")[1]) for p in x.tolist()]
            got = posit.to_float(x, fmt, dtype)
            assert got.dtype == dtype
            assert got.view(refnum.boundary.SIGNED[dtype.itemsize * 8]).tolist() == want
    ends = torch.tensor([(1 << 63) - 1, 1, -1, P64.nar])
    assert posit.to_float(ends, P64, torch.float32).tolist()[:3] == [math.inf, 0.0, -0.0]
    assert posit.to_float(torch.tensor([1]), Posit(38), torch.float32).item() == 2.0**-144, "underflow is gradual"


# ---- 6.3: decimal text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fmt", [Posit(2), P8, Posit(8, 0), Posit(8, 4), Posit(12, 1), P16, P32, P64, Posit(64, 4)], ids=str
)
def test_decimal_text_reads_back_the_same(fmt: Posit) -> None:
    x = sample(fmt, 60)
    texts = posit.to_decimal(x, fmt)
    assert posit.from_decimal(texts, fmt).tolist() == x.tolist()
    assert [text == "NaR" for text in texts] == (x == fmt.nar).tolist()


@pytest.mark.parametrize("fmt", [P8, P16, P32, P64], ids=str)
def test_decimal_text_is_the_nearest_of_the_fewest_digits(fmt: Posit) -> None:
    x = reals(fmt, 40)
    x = x[x != 0]
    for pattern, text in zip(x.tolist(), posit.to_decimal(x, fmt), strict=True):
        value = oracle.value(pattern, fmt.n, fmt.es)
        assert value is not None
        exact, digits = value.fraction(), len(Decimal(text).normalize().as_tuple().digits)
        assert Decimal(text) == Context(prec=digits).divide(exact.numerator, exact.denominator)
        for fewer in range(1, digits):
            shorter = Context(prec=fewer).divide(exact.numerator, exact.denominator)
            assert oracle.from_decimal(str(shorter), fmt.n, fmt.es) != pattern, text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.14159", 3.14159),
        ("+2", 2.0),
        ("-0", 0.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1e3", 1e3),
        (" 7E-2 ", 0.07),
        ("1e400", 2.0**56),
        ("-1e-999999999", -(2.0**-56)),
        ("0e999999999", 0.0),
        ("nan", math.nan),
        ("NaR", math.nan),
        ("-Inf", math.nan),
        ("infinity", math.nan),
        ("1" + "0" * 3000 + "e-3000", 1.0),
    ],
)
def test_from_decimal_by_hand(text: str, value: float) -> None:
    assert posit.from_decimal(text, P16).item() == encode(value, P16)


def test_decimal_text_is_rounded_from_its_exact_value() -> None:
    """Not through float64: a tie with one more digit, 400 places on, is none."""
    tie = "1.000244140625"  # 1 + 2**-12
    assert posit.from_decimal([tie, tie + "0" * 400 + "1", "-" + tie + "0" * 400 + "1"], P16).tolist() == [
        0x4000,
        0x4001,
        -0x4001,
    ]
    for kind in cases.KINDS:
        for fmt in (P8, P32, P64):
            texts = cases.decimals(fmt, kind, count=50)
            assert posit.from_decimal(texts, fmt).tolist() == [
                oracle.from_decimal(text, fmt.n, fmt.es) for text in texts
            ]


def test_decimal_text_keeps_the_shape() -> None:
    x = torch.tensor([[0x40, 0x44, 0x48], [0, -128, -0x40]], dtype=torch.int8)
    texts = [["1", "1.5", "2"], ["0", "NaR", "-1"]]
    assert posit.to_decimal(x, P8) == texts
    assert_bit_equal(posit.from_decimal(texts, P8), x)
    assert posit.to_decimal(x[0, 0], P8) == "1"
    assert posit.from_decimal("1", P8).shape == ()
    for empty in (torch.zeros(0, dtype=torch.int8), torch.zeros(2, 0, dtype=torch.int8)):
        assert posit.from_decimal(posit.to_decimal(empty, P8), P8).shape == empty.shape


# ---- what all share -----------------------------------------------------------------------------------------------

ARITIES = {**dict.fromkeys(UNARY, 1), **dict.fromkeys([*BINARY, *RELATIONS], 2), "fmm": 3, "fma": 3}


@pytest.mark.parametrize("name", ARITIES)
def test_containers_in_and_out(name: str) -> None:
    function, boolean = getattr(posit, name), name in RELATIONS
    for fmt in (Posit(5), P8, Posit(9), P16, Posit(17), P32, P64):
        operands = [sample(fmt, 20)[i : i + 40] for i in range(ARITIES[name])]
        operands = [x[: min(map(len, operands))] for x in operands]
        want = function(*operands, fmt)
        assert want.dtype == (torch.bool if boolean else container(fmt))
        if not boolean:
            assert torch.equal(want, want.clamp(fmt.nar, fmt.maxpos)), "sign-extended"
        for dtype in (torch.int8, torch.int16, torch.int32):
            if dtype.itemsize * 8 >= fmt.n:
                assert torch.equal(function(*(x.to(dtype) for x in operands), fmt), want)
        if fmt.n < 60:
            dirty = [x + (above << fmt.n) for above, x in zip((3, -1, 5), operands, strict=False)]
            assert torch.equal(function(*dirty, fmt), want), "bits above n are not read"


@pytest.mark.parametrize("name", [name for name, arity in ARITIES.items() if arity > 1])
def test_operands_broadcast(name: str) -> None:
    function, x = getattr(posit, name), sample(P16, 12)
    a, b, *c = (x[i : i + 5] for i in range(ARITIES[name]))
    got = function(a[:, None, None], b[:, None], *c, P16)
    assert got.shape == (5, 5, 5 if c else 1)
    assert torch.equal(
        got, function(*(t.contiguous() for t in torch.broadcast_tensors(a[:, None, None], b[:, None], *c)), P16)
    )
    scalar = function(a[0], b, *c, P16)
    assert torch.equal(scalar, function(a[:1], b, *c, P16))


# ---- golden vectors -----------------------------------------------------------------------------------------------

NAMES = {"fMM": "fmm", "nearestInt": "nearest_int"}


def _golden(file: str) -> dict[str, np.ndarray[Any, Any]]:
    path = VECTORS / f"{file}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in conformance/vectors")
    with np.load(path, allow_pickle=False) as z:
        return dict(z)


def _signed(x: np.ndarray[Any, Any], n: int) -> Tensor:
    return torch.from_numpy(x.astype(np.uint64).view(np.int64)) << (64 - n) >> (64 - n)


@pytest.mark.parametrize(("n", "es"), [(12, 0), (16, 1), (16, 2), (28, 2), (32, 2), (64, 2)])
def test_sampled_golden_vectors(n: int, es: int) -> None:
    z, fmt = _golden("posit_sampled"), Posit(n, es)
    prefix = f"n{n}es{es}_"
    a, b, c = (_signed(z[prefix + name][:2000], n) for name in "abc")
    operands = {**dict.fromkeys(BINARY, (a, b)), **dict.fromkeys(["fMM", "fma"], (a, b, c))}
    operands |= dict.fromkeys(["sqrt", "nearestInt", "ceil", "floor", "next", "prior"], (a,))
    for name, args in operands.items():
        got = getattr(posit, NAMES.get(name, name))(*args, fmt)
        assert torch.equal(got.long(), _signed(z[prefix + name][:2000], n)), name
    x = torch.from_numpy(z[prefix + "f64_in"][:2000])
    assert torch.equal(refnum.encode(x, fmt).long(), _signed(z[prefix + "from_f64"][:2000], n))


@pytest.mark.parametrize(("n", "es"), [(4, 0), (4, 1), (4, 2), (8, 0), (8, 1), (8, 2)])
def test_exhaustive_golden_vectors(n: int, es: int) -> None:
    z, fmt = _golden("posit_exhaustive"), Posit(n, es)
    prefix = f"n{n}es{es}_"
    a = _signed(z[prefix + "rows"], n)
    b = _signed(np.arange(1 << n), n)
    for name in BINARY:
        assert torch.equal(getattr(posit, name)(a[:, None], b, fmt).long(), _signed(z[prefix + name], n)), name
    for name in ("sqrt", "nearestInt", "ceil", "floor"):
        assert torch.equal(getattr(posit, NAMES.get(name, name))(a, fmt).long(), _signed(z[prefix + name], n)), name
