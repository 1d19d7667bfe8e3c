"""The oracles: both roundings reproduce the golden vectors, agree, and do what the specification spells out."""

from __future__ import annotations

import ast
import itertools
import math
import random
import struct
from fractions import Fraction
from pathlib import Path

import pytest
from refnum_conformance import vectors
from refnum_conformance.operations import BY_NAME
from refnum_conformance.oracles import minifloat, posit, posit_literal, posit_string, quire, reals
from refnum_conformance.oracles.reals import Dyadic, OracleError, Quotient, Root

ROUNDINGS = tuple(posit_literal.RULES)
EVERY_FIFTH = 5  #: of the golden vectors here, and no matrices of so many results; the conformance run takes all
MANY = 500


def _pattern(x: int, n: int) -> int:
    return posit.signed(x, n)


def test_the_oracles_import_nothing_of_refnum() -> None:
    standard = {
        "__future__",
        "bisect",
        "collections",
        "dataclasses",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "math",
        "re",
    }
    allowed = {*standard, "typing", "gmpy2"}  # gmpy2 for functions of real numbers
    for path in sorted(Path(posit.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, path.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").partition(".")[0] in allowed, path.name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1, f"{path.name} imports from outside its folder"


# Golden vectors ------------------------------------------------------------------------------------------------------


GOLDEN = list(vectors.golden())


ROWS = [
    pytest.param(row, marks=[pytest.mark.slow] * (row == "posit_mm_cuposit")) for row in sorted({g.row for g in GOLDEN})
]


@pytest.mark.parametrize("row", ROWS)
def test_golden_vectors_are_reproduced_by_both_roundings(row: str) -> None:
    # posit.rounded and minifloat.encode round twice and raise OracleError unless both agree.
    wrong = []
    for g in (g for g in GOLDEN if g.row == row and (g.want.ndim == 1 or g.want.size < MANY)):
        columns = [operand[::EVERY_FIFTH].tolist() for operand in g.operands]
        op = BY_NAME[row]
        for case, want in zip(zip(*columns, strict=True), g.want[::EVERY_FIFTH].tolist(), strict=True):
            got = op.oracle(*case, **g.options)
            if got != want and not (row == "to_float" and case[0] == posit.nar(g.options["n"])):
                wrong.append((g.options, case, got, want))
    assert not wrong[:5]


def test_golden_vectors_are_complete() -> None:
    formats = {(g.options["n"], g.options["es"]) for g in GOLDEN}
    assert len(formats) == 17
    assert sum(len(g.want) for g in GOLDEN if g.row not in ("quantize", "posit_mm_cuposit")) == 1_453_718
    assert sum(len(g.want) for g in GOLDEN if g.row == "quantize") == 50_866
    assert sum(g.want.size for g in GOLDEN if g.row == "posit_mm_cuposit") == 7_544


# Two roundings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "es"), [(n, es) for n in range(2, 9) for es in range(4)])
def test_every_pattern_and_midpoint_in_every_rounding(n: int, es: int) -> None:
    top = 1 << (n - 1)
    for u, rounding in itertools.product(range(1, top), ROUNDINGS):
        value, half = posit_literal.value(u, n, es), posit_literal.value(u << 1 | 1, n + 1, es)
        assert posit.rounded(value, n, es, rounding, 0x7FFF) == u
        assert posit.rounded(reals.opposite(value), n, es, rounding, 0x7FFF) == -u
        for bits in (0, 0x7FFF, 0x8000, 0xFFFF):  # rounds both ways, and raises when they differ
            posit.rounded(half, n, es, rounding, bits)
            posit.rounded(reals.opposite(half), n, es, rounding, bits)


@pytest.mark.parametrize(
    ("rounding", "up"),
    [
        ("nearest_even", (0, 0, 1, 0, 0, 1)),  # below, at and above half: an even u, negated
        ("nearest_away", (0, 1, 1, 0, 1, 1)),
        ("toward_zero", (0, 0, 0, 0, 0, 0)),
        ("toward_positive", (1, 1, 1, 0, 0, 0)),
        ("toward_negative", (0, 0, 0, 1, 1, 1)),
        ("to_odd", (1, 1, 1, 1, 1, 1)),
    ],
)
def test_roundings_do_what_their_names_say(rounding: str, up: tuple[int, ...]) -> None:
    u = 0x4C  # 3 in posit(8,2); even, and followed by 3.25
    between = (Dyadic(49, -4), Dyadic(50, -4), Dyadic(51, -4))
    values = (*between, *map(reals.opposite, between))
    got = [posit.rounded(x, 8, 2, rounding) for x in values]
    assert got == [(u + step) * (1 if i < 3 else -1) for i, step in enumerate(up)]


def test_stochastic_goes_up_when_the_fraction_exceeds_the_bits() -> None:
    x = Dyadic(49, -4)  # in posit(8,2) a quarter of the way from 3 to 3.25
    assert posit.rounded(x, 8, 2, "stochastic", 0x3FFF) == 0x4D
    assert posit.rounded(x, 8, 2, "stochastic", 0x4000) == 0x4C
    assert posit.rounded(x, 8, 2, "stochastic", 0xABCD_0000) == 0x4D  # only 16 bits are read


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("n", "es"), [(2, 0), (8, 2), (16, 1), (64, 4)])
def test_the_ends_stay(n: int, es: int, rounding: str) -> None:
    top, far = (1 << (n - 1)) - 1, 2 * ((n - 2) << es) + 9
    assert posit.rounded(Dyadic(3, far), n, es, rounding) == top
    assert posit.rounded(Dyadic(-3, far), n, es, rounding) == -top
    assert posit.rounded(Dyadic(3, -far), n, es, rounding, 0xFFFF) == 1
    assert posit.rounded(Dyadic(-3, -far), n, es, rounding, 0xFFFF) == -1


@pytest.mark.parametrize(("n", "es"), [(7, 1), (16, 2), (32, 2), (33, 2), (64, 2), (64, 4)])
def test_quotients_and_roots_round_alike(n: int, es: int) -> None:
    draw = random.Random(n)
    for _ in range(300):
        p, q = (draw.getrandbits(draw.randint(1, 80)) or 1 for _ in range(2))
        e = draw.randint(-99, 99)
        for x in (Quotient(p, q, e), Quotient(-p, q, e), Root(p, e), Dyadic(p, e)):
            for rounding in ROUNDINGS:
                posit.rounded(x, n, es, rounding, draw.getrandbits(16))


def test_a_disagreement_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(posit_string.RULES, "nearest_even", lambda last, tail, negative, r: tail[0] == "1")
    with pytest.raises(OracleError, match=r"posit\(8,2\), nearest_even: string 0x4d, literal 0x4c"):
        posit.rounded(Dyadic(25, -3), 8, 2)
    monkeypatch.setitem(minifloat.RULES, "nearest_even", lambda code, rest, unit, negative, r: False)
    with pytest.raises(OracleError, match="formula 0x4, neighbours 0x5"):
        minifloat.encode(False, Dyadic(45, -4), minifloat.Row(2, 1, 1, "none"))


def test_a_wrong_guess_costs_a_search_and_decides_nothing() -> None:
    x = Dyadic(0x12345, -10)
    right = posit_literal.rounded(x, 32, 2)
    for near in (None, 1, right - 1, right + 1, right + 77, -right, 0x7FFFFFFF):
        assert posit_literal.rounded(x, 32, 2, near=near) == right


# What the specification spells out -----------------------------------------------------------------------------------


def test_examples_of_the_specification() -> None:
    values = Dyadic(1, 22), Dyadic(1, 23), Dyadic((1 << 22) + 1, 0), Dyadic(1, -30)
    assert [posit.rounded(x, 8, 2) for x in values] == [0x7E, 0x7F, 0x7F, 0x01]
    assert posit.mul(0x40000005, 0x40CCCCCD, 32, 2) == 0x40CCCCD3  # through float64: ..d2
    assert posit.fma(0x40000000, 0x80000004, 0x7FFFFFFD, 32, 2) == 0x7FFFFFFD
    assert posit.fmm(0x7F, 0x7F, 0x01, 8, 2) == 0x7F
    assert [posit.next_(x, 8, 2) for x in (0x7F, -128, 0x00, -1)] == [-128, -127, 1, 0]
    assert [posit.prior(x, 8, 2) for x in (0, -128, 1, -127)] == [-1, 127, 0, -128]


@pytest.mark.parametrize(
    ("text", "want"),
    [
        *(("0.5", 0), ("1.5", 2), ("2.5", 2), ("-0.5", 0), ("-1.5", -2)),
        *(("127.4", 127), ("127.5", -128), ("-128", -128), ("-129", -128), ("128", -128), ("1e9", -128), ("NaR", -128)),
    ],
)
def test_to_int8(text: str, want: int) -> None:
    # 127.4 and 127.5 are no posits of 16 bits, so they go by way of 32.
    assert posit.to_int(posit.from_decimal(text, 32, 2), 32, 2, 8, True) == want


def test_to_unsigned() -> None:
    minus_one, five = posit.from_decimal("-1", 32, 2), posit.from_decimal("5", 32, 2)
    assert [posit.to_int(x, 32, 2, 32, False) for x in (minus_one, five, posit.nar(32))] == [1 << 31, 5, 1 << 31]
    assert posit.to_int(posit.nar(32), 32, 2, 64, False) == -(1 << 63)
    assert posit.to_int(posit.from_decimal("18446744073709551615", 64, 2), 64, 2, 64, False) == -(1 << 63)


def test_integers_and_their_sentinel() -> None:
    assert posit.from_int(128, 16, 2, "uint8") == posit.nar(16)
    assert posit.from_int(128, 16, 2, "uint8", sentinel=False) == posit.from_decimal("128", 16, 2)
    assert posit.from_int(-128, 16, 2, "int8") == posit.nar(16)
    assert posit.from_int(-128, 16, 2, "int16") == posit.from_decimal("-128", 16, 2)
    assert posit.from_int(-(1 << 63), 64, 2, "int64") == posit.nar(64)
    assert posit.from_int(1 << 90, 64, 2, "int") == posit.rounded(Dyadic(1, 90), 64, 2)


@pytest.mark.parametrize(("n", "es"), [(8, 2), (16, 2), (32, 2), (64, 4)])
def test_decimals_read_back(n: int, es: int) -> None:
    draw = random.Random(1)
    for x in [0, 1, -1, (1 << (n - 1)) - 1, *(draw.getrandbits(n) for _ in range(200))]:
        assert posit.from_decimal(posit.to_decimal(x, n, es), n, es) == _pattern(x, n)
    assert posit.to_decimal(0x41, 8, 2) == "1.125"
    with pytest.raises(ValueError, match="is no decimal number"):
        posit.from_decimal("1,5", n, es)


def test_the_largest_run_of_integers() -> None:
    # 3.2: every integer up to 2**floor(4(n - 3)/5) is a posit with es = 2, and the next one is not.
    for n, largest in ((8, 16), (16, 1 << 10), (32, 1 << 23)):
        for i, exact in ((largest, True), (largest + 1, False)):
            back = posit_literal.value(posit.from_int(i, n, 2, "int"), n, 2).fraction()
            assert (back == i) is exact


# Quire ---------------------------------------------------------------------------------------------------------------


def test_the_register_bit_for_bit() -> None:
    assert quire.Quire(8, 2).add_product((0x40,)).bits() == 1 << 48
    assert quire.Quire(8, 2).add_product((0x7F, 0x7F)).bits() == 1 << 96
    assert quire.Quire(8, 2).add_product((1, 1), -1).bits() == (1 << 128) - 1
    assert [quire.Quire(n, 2).width for n in (8, 16, 32, 64)] == [16 * n for n in (8, 16, 32, 64)]


def test_the_register_overflows_where_two_to_the_31_products_do() -> None:
    def doubled(sign: int, times: int) -> int | None:
        register = quire.Quire(16, 2).add_product((0x7FFF, 0x7FFF), sign)
        for _ in range(times):
            register.add(register)
        return register.units

    assert doubled(1, 30) == 1 << (2 * 112 + 30)
    assert doubled(1, 31) is None
    assert doubled(-1, 31) is None  # 10..0 is NaR's own pattern
    register = quire.Quire(16, 2).add_product((posit.nar(16),))
    assert register.abs().negate().add_product((1,)).to_posit() == posit.nar(16)


def test_what_is_seen_of_a_quire() -> None:
    maxpos, minpos = 0x7F, 0x01
    assert quire.to_posit([maxpos, minpos], [maxpos, minpos], n=8, es=2) == [maxpos, maxpos]
    assert quire.to_posit([0x40, minpos], [0x40, minpos], n=8, es=2) == [0x40, minpos]
    assert quire.negate([0x40, minpos], [0x40, minpos], n=8, es=2) == [-0x40, -minpos]


def test_dots_are_sums_of_fractions() -> None:
    draw = random.Random(3)
    for n, es in ((8, 0), (16, 2), (64, 4)):
        a, b = ([draw.randrange(1 - (1 << (n - 1)), 1 << (n - 1)) for _ in range(9)] for _ in range(2))
        pairs = zip(*([posit_literal.value(x, n, es).fraction() for x in side] for side in (a, b)), strict=True)
        exact = sum((x * y for x, y in pairs), Fraction(0))
        assert quire.quire_dot(a, b, n, es) == posit.rounded(reals.ratio(exact), n, es)


# Minifloats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "dtype", "far"), [("d", "float64", 1074), ("f", "float32", 149), ("e", "float16", 24)]
)
def test_floats_agree_with_the_machine(kind: str, dtype: str, far: int) -> None:
    row, double, draw = minifloat.FLOATS[dtype], minifloat.FLOATS["float64"], random.Random(5)
    for _ in range(1000):
        value = math.ldexp(draw.random() - 0.5, draw.randint(-far, min(far, 1000)))
        negative, magnitude = minifloat.decode(struct.unpack("<Q", struct.pack("<d", value))[0], double)
        try:
            want = int.from_bytes(struct.pack(f"<{kind}", value), "little")
        except OverflowError:
            want = row.infinity | (row.sign_bit if value < 0 else 0)
        assert minifloat.encode(negative, magnitude, row) == want


@pytest.mark.parametrize(
    ("row", "largest"),
    [
        (minifloat.Row(2, 1, 1, "none"), 6),
        (minifloat.Row(2, 3, 1, "none"), 7.5),
        (minifloat.Row(3, 2, 3, "none"), 28),
        (minifloat.Row(4, 3, 7, "fn"), 448),
        (minifloat.Row(5, 2, 15), 57344),
        (minifloat.Row(4, 3, 8, "fnuz"), 240),
        (minifloat.Row(5, 10, 15, overflow="inf"), 65504),
    ],
)
def test_codes_come_back(row: minifloat.Row, largest: float) -> None:
    assert minifloat.magnitude(row.largest, row).fraction() == Fraction(largest)
    for code in range(1 << row.width):
        negative, value = minifloat.decode(code, row)
        if isinstance(value, Dyadic):
            assert minifloat.encode(negative, value, row) == code


def test_named_values() -> None:
    e4m3, e2m1 = minifloat.Row(4, 3, 7, "fn"), minifloat.Row(2, 1, 1, "none")

    def rounded(text: str, row: minifloat.Row) -> Fraction:
        code = minifloat.encode(False, reals.ratio(Fraction(text)), row)
        return minifloat.magnitude(code, row).fraction()

    assert [rounded(x, e4m3) for x in ("1.97", "7.9", "500")] == [2, 8, 448]
    assert [rounded(x, e2m1) for x in ("0.5", "1.75", "7")] == [Fraction(1, 2), 2, 6]


@pytest.mark.parametrize(
    ("rounding", "positive", "negative"),
    [
        *(("nearest_even", "inf", "inf"), ("nearest_away", "inf", "inf"), ("stochastic", "inf", "inf")),
        *(("toward_zero", "max", "max"), ("toward_positive", "inf", "max"), ("toward_negative", "max", "inf")),
        ("to_odd", "max", "max"),
    ],
)
def test_overflow_follows_the_rounding(rounding: str, positive: str, negative: str) -> None:
    row = minifloat.FLOATS["float16"]
    codes = {"inf": row.infinity, "max": row.largest}
    far = Dyadic(1, 16)
    assert minifloat.encode(False, far, row, rounding, 0xFFFF) == codes[positive]
    assert minifloat.encode(True, far, row, rounding, 0xFFFF) == codes[negative] | row.sign_bit
