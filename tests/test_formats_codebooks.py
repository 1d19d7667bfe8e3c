"""Codebooks: tables of values against an oracle that finds neighbours in fractions; takums and P3109 by definition."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from refnum_conformance.oracles import codebooks
from refnum_conformance.oracles.codebooks import Table

import refnum
from refnum import Block, Codebook, Logarithmic, formats
from refnum.core import books, pack
from refnum.core import round as rounding
from refnum.core.decode import FAR_BELOW, HIDDEN, LIMB, NUMBER, Exact
from refnum.errors import FormatError
from refnum.formats import nf4, p3109, parse, takum

ROUNDINGS = tuple(codebooks.RULES)
LARGEST = sys.float_info.max
LEAST = 5e-324

_SHUFFLED = random.Random(1).sample(range(40), 15)
#: tables that are hard in some way
TABLES: dict[str, Codebook] = {
    "ternary": Codebook((-1, 0, 1)),
    "nf4": nf4,
    "shuffled codes": Codebook(nf4.values[:15], codes=tuple(_SHUFFLED)),
    "even codes": Codebook((-3, -1, 0, 0.5, 7), codes=(2, 4, 0, 6, 8), specials={"nan": 1}),
    "odd codes": Codebook((-3, -1, 0, 0.5, 7), codes=(1, 3, 9, 5, 7), overflow="nan", specials={"nan": 0}),
    "no zero": Codebook((-1, 1)),
    "no zero, odd first": Codebook((-1, 1), codes=(1, 0)),
    "positive": Codebook((1, 2, 5), specials={"inf": 3}, overflow="inf"),
    "negative": Codebook((-5, -2, -1), specials={"-inf": 3, "nan": 9}, overflow="nan"),
    "one value": Codebook((0.1,)),
    "one value, overflowing": Codebook((-3,), specials={"nan": 1}, overflow="nan"),
    "only zero": Codebook((0,), specials={"inf": 1, "-inf": 2}, overflow="inf"),
    "huge gap": Codebook((-1, -1e-300, 0, 1e-300, 1)),
    "widest gap": Codebook((-LARGEST, LARGEST)),
    "both ends of float64": Codebook((-LARGEST, -LEAST, LEAST, 2 * LEAST, LARGEST)),
    "beyond float64": Codebook((0, LARGEST), specials={"inf": 2}, overflow="inf"),
    "neighbours": Codebook((1 - 2**-53, 1, 1 + 2**-52), specials={"inf": 4}, overflow="inf"),
    "around 0 unevenly": Codebook((-(2 - 2**-52), 2 + 2**-51)),
    "beyond far away": Codebook((1, 2), specials={"nan": 2}, overflow="nan", beyond=(-5, 1e6)),
    "takum8": takum(8),
    "k8p1se": p3109(8, 1),
    "k8p1ue": p3109(8, 1, signed=False),
    "k8p4sf": replace(p3109(8, 4, extended=False), overflow="nan", name=""),
    "k5p3se propagating": p3109(5, 3, saturation="propagate"),
    "k5p2uf": p3109(5, 2, signed=False, extended=False),
    "each end its own": Codebook((-3, 0, 1), specials={"nan": 9, "-inf": 4}, overflow=("propagate", "nan")),
}


def table_of(fmt: Codebook) -> Table:
    """The record in the oracle's terms."""
    assert fmt.codes is not None
    assert fmt.beyond is not None
    low, high = map(fraction, fmt.beyond)
    return Table(tuple(map(Fraction, fmt.values)), fmt.codes, (low, high), dict(fmt.specials), fmt.overflows)


def fraction(x: float) -> Fraction:
    """A float64; Inf, which a step beyond the ends may be, counts 2**1024."""
    return Fraction(x) if math.isfinite(x) else Fraction(int(math.copysign(1, x)) << 1024)


def number(x: float) -> codebooks.Number:
    return Fraction(x) if math.isfinite(x) else str(x)


def points(fmt: Codebook, some: int | None = None) -> list[float]:
    """Values, steps beyond the ends, middles, the float64s about them all, and the ends of float64.

    Of a long table some neighbours will do.
    """
    assert fmt.beyond is not None
    pairs = list(pairwise((fmt.beyond[0], *fmt.values, fmt.beyond[1])))
    if some is not None:
        pairs = [pairs[0], *random.Random(0).sample(pairs, some), pairs[-1]]
    exact = {x for low, high in pairs for x in (low, _float((fraction(low) + fraction(high)) / 2), high)}
    near = {y for x in exact for y in (x, math.nextafter(x, math.inf), math.nextafter(x, -math.inf))}
    return [*near, 0.0, -0.0, LEAST, -LEAST, LARGEST, -LARGEST, 1e-310, 1.5, -0.3, math.inf, -math.inf, math.nan]


def _float(x: Fraction) -> float:
    return float(max(-Fraction(LARGEST), min(x, Fraction(LARGEST))))


def floats(values: Sequence[float]) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def codes_of(x: torch.Tensor, fmt: Codebook, rule: str, random_bits: torch.Tensor | None = None) -> list[int]:
    codes = refnum.encode(x, fmt, rounding=rule, random_bits=random_bits)
    return [code & (1 << fmt.width) - 1 for code in codes.tolist()]


def but_slowly(names: Iterable[object], *slow: object) -> list[object]:
    """Parameters, some of which wait for -m slow."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


# ---- encode against the oracle ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [rule for rule in ROUNDINGS if rule != "stochastic"])
@pytest.mark.parametrize("name", TABLES)
def test_codes_are_the_oracles(name: str, rule: str) -> None:
    fmt, xs = TABLES[name], points(TABLES[name])
    table = table_of(fmt)
    assert codes_of(floats(xs), fmt, rule) == [codebooks.encode(number(x), table, rule) for x in xs]


@pytest.mark.parametrize("name", but_slowly(TABLES, "k8p1se", "k8p1ue", "k8p4sf"))
def test_stochastic_codes_turn_where_the_oracle_says(name: str) -> None:
    """For random bits about floor(part * 2**16), and at both ends."""
    fmt, table = TABLES[name], table_of(TABLES[name])
    operands = []
    for x in points(fmt):
        turn = 0
        if math.isfinite(x) and Fraction(x) not in table.values:
            low, high = 0, 1 << 16  # the least random bits with which x stays: by bisection, of the oracle
            stays = codebooks.encode(number(x), table, "toward_zero")
            while low < high:
                middle = (low + high) // 2
                low, high = (
                    (low, middle)
                    if codebooks.encode(number(x), table, "stochastic", middle) == stays
                    else (middle + 1, high)
                )
            turn = low
        operands += [(x, r) for r in {0, 0xFFFF, *(t for t in (turn - 1, turn, turn + 1) if 0 <= t <= 0xFFFF)}]
    random_bits = torch.tensor([r | 0x50000 for _, r in operands])  # what is above 16 bits is not read
    want = [codebooks.encode(number(x), table, "stochastic", r) for x, r in operands]
    assert codes_of(floats([x for x, _ in operands]), fmt, "stochastic", random_bits) == want
    assert len(set(want)) > 1 or len(fmt.values) == 1


def test_stochastic_halves() -> None:
    """So that the bisection above is not all there is."""
    x = torch.full((4,), 0.5)
    r = torch.tensor([0, 0x7FFF, 0x8000, 0xFFFF])
    assert refnum.encode(x, TABLES["ternary"], rounding="stochastic", random_bits=r).tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("rule", but_slowly(["nearest_even", "toward_negative"], "toward_negative"))
def test_the_dtype_of_the_input_makes_no_difference(dtype: torch.dtype, rule: str) -> None:
    for fmt in TABLES.values():
        x = floats(points(fmt)).to(dtype)
        assert torch.equal(refnum.encode(x, fmt, rounding=rule), refnum.encode(x.double(), fmt, rounding=rule))


@pytest.mark.parametrize("fmt", [takum(16), p3109(16, 9), p3109(12, 2)], ids=str)
def test_codes_of_long_tables(fmt: Codebook) -> None:
    xs = points(fmt, 50)
    table = table_of(fmt)
    assert codes_of(floats(xs), fmt, "nearest_even") == [codebooks.encode(number(x), table) for x in xs]


@pytest.mark.slow
@pytest.mark.parametrize("rule", [rule for rule in ROUNDINGS if rule != "stochastic"])
def test_every_value_and_middle_of_takum16(rule: str) -> None:
    fmt = takum(16)
    xs, table = points(fmt), table_of(fmt)
    assert codes_of(floats(xs), fmt, rule) == [codebooks.encode(number(x), table, rule) for x in xs]


@pytest.mark.parametrize("rule", ["nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative"])
def test_codes_may_be_permuted(rule: str) -> None:
    """Codes decide ties alone: off them a permuted table gives the permuted codes."""
    order = tuple(random.Random(2).sample(range(16), 16))
    permuted = Codebook(nf4.values, codes=order)
    x = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    want = torch.tensor(order)[refnum.encode(x, nf4, rounding=rule).long()]
    assert torch.equal(refnum.encode(x, permuted, rounding=rule).long(), want)


# ---- sums of many bits --------------------------------------------------------------------------------------------


def exacts(values: Sequence[Fraction]) -> Exact:
    """Numbers as sums come: in three limbs, the last bit sticky."""
    rows = []
    for value in values:
        magnitude = abs(value)
        exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
        exponent -= Fraction(2) ** exponent > magnitude
        scaled = magnitude * Fraction(2) ** (3 * LIMB - 1 - exponent)
        integer = int(scaled) | (scaled.denominator != 1)
        limbs = [integer >> LIMB * place & (1 << LIMB) - 1 for place in (2, 1, 0)]
        rows.append([-(value < 0), *limbs, exponent if value else FAR_BELOW])
    sign, *significand, exponents = torch.tensor(rows).unbind(1)
    return Exact(sign, tuple(significand), exponents, torch.full_like(sign, NUMBER))


@pytest.mark.parametrize("name", TABLES)
def test_a_sum_is_rounded_by_its_last_bit(name: str) -> None:
    fmt, table = TABLES[name], table_of(TABLES[name])
    assert fmt.beyond is not None
    middles = [(low + high) / 2 for low, high in pairwise((table.beyond[0], *table.values, table.beyond[1]))]
    xs = [m * (1 + bit * Fraction(1, 1 << below)) for m in middles for below in (100, 180, 400) for bit in (-1, 0, 1)]
    for rule in ("nearest_even", "toward_positive", "to_odd"):
        got = rounding.encode(exacts(xs), fmt, rule).tolist()
        assert got == [codebooks.encode(x, table, rule) for x in xs]


def test_a_carry_keeps_the_sticky_bit() -> None:
    """x - start carries, and what makes x more than the middle is 2**-104 of it."""
    fmt, middle = TABLES["around 0 unevenly"], 1.5 * 2.0**-52
    xs = [middle, math.nextafter(middle, 1), math.nextafter(middle, 0)]
    assert codes_of(floats(xs), fmt, "nearest_even") == [0, 1, 0]


# ---- decode, quantize, specials -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TABLES, "takum16"])
def test_codes_mean_their_values(name: str) -> None:
    fmt = TABLES.get(name) or takum(16)
    assert fmt.codes is not None
    known = dict(zip(fmt.codes, fmt.values, strict=True)) | {code: float(text) for text, code in fmt.specials}
    want = floats([known.get(code, math.nan) for code in range(1 << fmt.width)])
    codes = torch.arange(1 << fmt.width)
    assert torch.equal(refnum.decode(codes, fmt).nan_to_num(nan=1e308), want.nan_to_num(nan=1e308))
    assert codes_of(floats(fmt.values), fmt, "nearest_even") == list(fmt.codes)
    assert torch.equal(refnum.decode(codes + (1 << fmt.width), fmt).nan_to_num(), want.nan_to_num()), "low bits alone"


def test_specials() -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, -0.0])
    assert refnum.encode(x, nf4).tolist() == [7, 15, 0, 7]
    assert refnum.encode(x, takum(8)).tolist() == [0x80, 0x7F, 0x81, 0]
    assert refnum.encode(x, p3109(8, 3)).tolist() == [0x80, 0x7F, 0xFF, 0]
    assert refnum.encode(x, p3109(8, 3, saturation="finite")).tolist() == [0x80, 0x7E, 0xFE, 0]
    assert refnum.encode(x, replace(p3109(8, 3), overflow="nan")).tolist() == [0x80, 0x80, 0x80, 0]
    assert refnum.encode(x, p3109(8, 3, signed=False)).tolist() == [0xFF, 0xFE, 0xFF, 0]
    assert refnum.encode(x, p3109(8, 3, signed=False, saturation="propagate")).tolist() == [0xFF, 0xFE, 0, 0]
    assert refnum.quantize(x, nf4).nan_to_num(nan=9).tolist() == [9, 1, -1, 0], "NaN stays"
    assert not torch.signbit(refnum.quantize(x, nf4))[3], "there is no -0"


# ---- what a record says of itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [*TABLES.values(), takum(16), p3109(14, 6)], ids=str)
def test_facts(fmt: Codebook) -> None:
    assert fmt.codes is not None
    values = [Fraction(value) for value in fmt.values]
    unit = Fraction(2) ** fmt.unit_scale
    numerators = [abs(value / unit) for value in values]
    assert all(n.denominator == 1 for n in numerators)
    assert not any(values) or any(n.numerator % 2 for n in numerators), "no larger unit would do"
    odd = [int(n) // (int(n) & -int(n)) for n in numerators if n]
    assert fmt.significand_bits == max((n.bit_length() for n in odd), default=1)
    assert fmt.width == max(1, max((*fmt.codes, *dict(fmt.specials).values())).bit_length())
    assert abs(values[fmt.zero]) == min(map(abs, values))
    assert fmt.max_value == max(map(abs, values))
    assert parse(str(fmt)) == fmt
    assert hash(parse(str(fmt))) == hash(fmt)


def test_a_name_makes_no_other_format() -> None:
    named = Codebook((-1, 1), name="signs")
    assert named == Codebook((-1.0, 1.0))
    assert hash(named) == hash(Codebook((-1.0, 1.0)))
    assert named != Codebook((-1, 1), codes=(1, 0))
    assert (str(named), repr(named)) == ("signs", "codebook(-1.0,1.0,name='signs')")


def test_a_block_is_spelled_so_that_it_reads_anywhere() -> None:
    """A name of one's own is known to nobody else."""
    named = Codebook((-1, 0, 1), codes=(2, 0, 1), name="ternary")
    block = Block(named, formats.e8m0, 32)
    assert named.spelling == "codebook(-1.0,0.0,1.0,codes=(2, 0, 1),name='ternary')"
    assert parse(str(block)) == parse(repr(block)) == block
    assert str(parse(named.spelling)) == "ternary"
    assert (nf4.spelling, takum(12).spelling) == ("nf4", "takum(12)")
    assert Codebook((0, 1), name="nf4").spelling == "codebook(0.0,1.0,name='nf4')"


def test_the_steps_beyond_lie_outside() -> None:
    """Also where float64 does not hold them: they are rounded outwards, to 2**1024 at most."""
    assert Codebook((1 - 2**-53, 1)).beyond == (1 - 2**-52, 1 + 2**-52)
    assert Codebook((1e-300, 1)).beyond == (-1.0, 2.0)
    assert Codebook((-LARGEST, LARGEST)).beyond == (-math.inf, math.inf)
    assert Codebook((0.0,)).beyond == (-1, 1)
    assert Codebook((3,)).beyond == (0, 6)


def test_rows_are_made_once_and_when_asked_for() -> None:
    assert takum(16) == refnum.takum16 is formats.takum16 is parse("takum16") is formats.named()["takum16"]
    assert p3109(8, 3) == formats.p3109_k8p3se is parse("p3109_k8p3se")
    program = (
        "import refnum.formats as f; f.parse('posit16'); f.parse('nf4'); from refnum.formats.takums import takum as t; "
        "assert t.cache_info().currsize == 0; f.takum16; assert t.cache_info().currsize == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AttributeError, match="takum9"):
        formats.takum9  # noqa: B018


# ---- takums -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", but_slowly(range(2, 17), 13, 14, 15))
def test_takums_are_what_their_formula_says(width: int) -> None:
    values = refnum.decode(torch.arange(1 << width), takum(width)).tolist()
    want = [codebooks.takum(code, width) for code in range(1 << width)]
    assert [None if math.isnan(x) else Fraction(x) for x in values] == want


def test_p3109_goes_as_far_as_float64() -> None:
    assert p3109(15, 4).max_value < LARGEST
    for k, p in ((16, 4), (15, 3), (13, 1)):
        with pytest.raises(FormatError, match="float64"):
            p3109(k, p)


# ---- roots of two -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 16])
def test_roots_of_two(bits: int) -> None:
    """Each root as the product of those that its index has bits for, of 400 bits; none is near to what it is cut to."""
    places = 400
    halves = [2 << places]
    for _ in range(bits):
        halves.append(math.isqrt(halves[-1] << places))
    first, second = (table.tolist() for table in books.roots_of_two(bits))
    unit = 1 << places - 123
    for j in range(1, 1 << bits):
        product = 1 << places
        for place in range(bits):
            if j >> (bits - 1 - place) & 1:
                product = product * halves[place + 1] >> places
        assert product // unit == first[j - 1] << LIMB | second[j - 1]
        assert unit >> 27 < product % unit < unit - (unit >> 27), "by more than all errors, less than 2**-150"
    assert len(first) == (1 << bits) - 1


def test_a_logarithm_of_many_bits() -> None:
    """A sum next to the root of 2 is on the side that its second limb says."""
    fmt = Logarithmic(8)
    root = Fraction(math.isqrt(2 << 244), 1 << 122)
    for delta, up in ((0, 0), (-1, 0), (1, 1), (2, 1)):
        x = root + Fraction(delta, 1 << 122)
        assert (x * x > 2) == bool(up)
        one = rounding.encode(exacts([Fraction(1)]), fmt).item()
        assert rounding.encode(exacts([x]), fmt).item() == one + up
    assert pack.roots_of_two(1)[0].item() >= HIDDEN


# ---- messages -----------------------------------------------------------------------------------------------------

MANY = 1 << 16

# fmt: off
MESSAGES: tuple[tuple[Callable[[], object], str], ...] = (
    (lambda: Codebook((1, 0)), "strictly increasing | got 0.0 behind 1.0 | Sort them"),
    (lambda: Codebook((0, 0)), "strictly increasing | got 0.0 behind 0.0 | Sort them"),
    (lambda: Codebook((-0.0, 0.0)), "strictly increasing | got 0.0 behind 0.0 | Sort them"),
    (lambda: Codebook(()), "got 0 values | Allowed are 1 to 65536 | Give so many"),
    (lambda: Codebook(range(MANY + 1)), "got 65537 values | Allowed are 1 to 65536 | Give so many"),
    (lambda: Codebook((0, math.nan)), "no value nan | finite ints and floats | Leave it out"),
    (lambda: Codebook((0, math.inf)), "no value inf | finite ints and floats | Leave it out"),
    (lambda: Codebook((0, True)), "no value True | finite ints and floats | Leave it out"),
    (lambda: Codebook((0, "1")), "no value '1' | finite ints and floats | Leave it out"),
    (lambda: Codebook((0, 2**53 + 1)), "no value 9007199254740993 | values of float64 | Choose one"),
    (lambda: Codebook((0, 10**400)), "no value 1000 | values of float64 | Choose one"),
    (lambda: Codebook("01"), "needs a sequence for values | got '01' | Pass a tuple"),
    (lambda: Codebook(1.0), "needs a sequence for values | got 1.0 | Pass a tuple"),
    (lambda: Codebook((0, 1), codes=(0,)), "a code of its own | got 1 codes and 0 specials | Give each value one"),
    (lambda: Codebook((0, 1), codes=(1, 1)), "a code of its own | 1 different ones | Give each value one"),
    (lambda: Codebook((0, 1), specials={"nan": 1}), "a code of its own | 2 different ones | Give each value one"),
    (lambda: Codebook((0, 1), codes=(0, MANY)), "no code 65536 | from 0 to 65535 | Choose one"),
    (lambda: Codebook((0, 1), codes=(0, -1)), "no code -1 | from 0 to 65535 | Choose one"),
    (lambda: Codebook((0, 1), codes=(0, 1.0)), "no code 1.0 | ints from 0 to 65535 | Choose one"),
    (lambda: Codebook((0, 1), codes=5), "needs a sequence for codes | got 5 | Pass a tuple"),
    (lambda: Codebook((0, 1), specials={"NaN": 2}), "no special='NaN' | Choose one of nan, inf, -inf"),
    (lambda: Codebook((0, 1), specials=("nan", 2)), "needs codes by name for specials | ('nan', 2) | Pass a mapping"),
    (lambda: Codebook((0, 1), specials=3), "needs codes by name for specials | got 3 | Pass a mapping"),
    (lambda: Codebook((0, 1), overflow="wrap"), "no overflow='wrap' | Choose one of saturate, propagate, inf, nan"),
    (lambda: Codebook((0, 1), overflow=("nan",)), "got overflow=('nan',) | a word, or two: what is below, and above"),
    (lambda: Codebook((0, 1), overflow=3), "got overflow=3 | a word, or two"),
    (
        lambda: Codebook((0, 1), specials={"inf": 2}, overflow=("inf", "saturate")),
        "cannot overflow to '-inf' | got {'inf': 2} | give the code",
    ),
    (lambda: Codebook((0, 1), overflow="inf"), "cannot overflow to 'inf' | got {} | Choose overflow='saturate'"),
    (lambda: Codebook((0, 1), beyond=(0, 2)), "beyond=(0, 2) | 0.0 to 1.0 | the next value below, and above"),
    (lambda: Codebook((0, 1), beyond=(-1, 1)), "beyond=(-1, 1) | 0.0 to 1.0 | the next value below, and above"),
    (lambda: Codebook((0, 1), beyond=(-1,)), "beyond=(-1,) | 0.0 to 1.0 | the next value below, and above"),
    (lambda: Codebook((0, 1), beyond=(-1, math.inf)), "no value inf | finite ints and floats | Leave it out"),
    (lambda: takum(1), "takum has no width=1 | an int from 2 to 16 | Choose width"),
    (lambda: takum(17), "takum has no width=17 | an int from 2 to 16 | Choose width"),
    (lambda: p3109(2, 1), "p3109 has no k=2 | an int from 3 to 16 | Choose k"),
    (lambda: p3109(8, 8), "p3109 has no p=8 | an int from 1 to 7 | Choose p"),
    (lambda: p3109(8, 0), "p3109 has no p=0 | an int from 1 to 7 | Choose p"),
    (lambda: p3109(8, 3, signed=1), "p3109 has no signed=1 | Choose True or False"),
    (lambda: p3109(8, 3, extended=None), "p3109 has no extended=None | Choose True or False"),
    (lambda: p3109(8, 3, saturation="wrap"), "p3109 has no saturation='wrap' | Choose one of finite, propagate, none"),
    (lambda: p3109(16, 1), "k=16, p=1 | about 2**16383 | less than 2**1024 | Choose more precision"),
    (lambda: parse("takum(99)"), "takum has no width=99 | Choose width"),
)
# fmt: on


@pytest.mark.parametrize(("call", "parts"), MESSAGES, ids=[parts.split("|")[0] for _, parts in MESSAGES])
def test_messages(call: Callable[[], object], parts: str) -> None:
    with pytest.raises(FormatError) as caught:
        call()
    text, place = str(caught.value), 0
    for part in parts.split(" | "):
        place = text.index(part, place) + len(part)
