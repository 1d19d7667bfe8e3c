"""The waist, file by file: each definition against Python's integers and fractions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction

import pytest
import torch
from refnum_conformance.oracles import minifloat, posit, posit_literal
from refnum_conformance.oracles.reals import Dyadic
from torch import Tensor

from refnum import Minifloat, Posit
from refnum.core import decode as decoding
from refnum.core import exact, pack
from refnum.core import round as rounding
from refnum.core.decode import HIDDEN, INFINITE, LIMB, NAN, NUMBER, Exact, Limbs, decode, floor_log2, nonzero
from refnum.core.pack import Wide
from refnum.formats import Format, e4m3, e5m2, e5m2fnuz, e8m0, float16, float32, float64
from refnum.testing import cases

SMALL = [Posit(n, es) for n in range(2, 9) for es in range(5)]
WIDE = [
    Posit(16),
    Posit(32),
    Posit(33, 0),
    Posit(40, 1),
    Posit(48, 3),
    Posit(49, 3),
    Posit(63, 0),
    Posit(64),
    Posit(64, 4),
]


def column(values: Iterable[int]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.int64)


def joined(limbs: Limbs) -> list[int]:
    """Limbs as Python integers."""
    rows = zip(*(limb.tolist() for limb in limbs), strict=True)
    return [sum(limb << LIMB * place for place, limb in enumerate(reversed(row))) for row in rows]


def split(values: Sequence[int], count: int) -> Limbs:
    """Python integers as limbs."""
    return tuple(column((x >> LIMB * place) & exact.MASK for x in values) for place in reversed(range(count)))


def fractions(x: Exact) -> list[Fraction | str]:
    """Exact values, 'nan' or 'inf'."""
    last = LIMB * len(x.significand) - 1
    rows = zip(x.sign.tolist(), joined(x.significand), x.exponent.tolist(), x.kind.tolist(), strict=True)
    return [
        {NAN: "nan", INFINITE: "inf"}.get(kind)
        or (-1) ** (sign & 1) * significand * Fraction(2) ** max(exponent - last, -9999)
        for sign, significand, exponent, kind in rows
    ]


def from_fractions(values: Sequence[Fraction], limbs: int) -> Exact:
    """The other way round, for values that fit."""
    signs, significands, exponents = [], [], []
    for value in values:
        magnitude = abs(value)
        exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
        exponent -= Fraction(2) ** exponent > magnitude if value else 0
        scaled = magnitude * Fraction(2) ** (LIMB * limbs - 1 - exponent)
        assert scaled.denominator == 1
        signs.append(-(value < 0))
        significands.append(int(scaled))
        exponents.append(exponent if value else -2000)
    return Exact(
        column(signs), split(significands, limbs), column(exponents), torch.zeros(len(values), dtype=torch.int64)
    )


# ---- decode -------------------------------------------------------------------------------------------------------


def test_floor_log2_next_to_every_power_of_two() -> None:
    values = sorted({(1 << k) + d for k in range(63) for d in (-1, 0, 1)} - {0} | {(1 << 63) - 1})
    assert floor_log2(column(values)).tolist() == [x.bit_length() - 1 for x in values]
    assert floor_log2(column([0])).item() == -1023


def test_nonzero_is_a_mask() -> None:
    assert nonzero(column([0, 1, -1, 1 << 62, -(1 << 63)])).tolist() == [0, -1, -1, -1, -1]


def _check_posits(codes: Tensor, fmt: Posit) -> None:
    got = decode(codes, fmt)
    want = [posit_literal.decode(code, fmt.n, fmt.es) for code in codes.tolist()]
    assert fractions(got) == ["nan" if x is None else x.fraction() for x in want]
    assert {*got.sign.tolist()} <= {0, -1}
    for significand, value in zip(got.significand[0].tolist(), want, strict=True):
        assert significand >> (LIMB - 1) == bool(value and value.m), "normalised, or 0"


@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_every_small_posit_means_what_the_standard_says(fmt: Posit) -> None:
    _check_posits(cases.exhaustive(fmt), fmt)


@pytest.mark.parametrize("fmt", WIDE, ids=str)
def test_wide_posits_mean_what_the_standard_says(fmt: Posit) -> None:
    _check_posits(torch.cat([cases.patterns(fmt, kind, count=60) for kind in cases.KINDS]), fmt)


@pytest.mark.parametrize("fmt", [Posit(5), Posit(16), Posit(33), e4m3, e5m2fnuz], ids=str)
def test_only_the_low_bits_are_read(fmt: Format) -> None:
    codes = cases.patterns(fmt, "spaced", count=50)
    for above in (1, -1, 5, -(1 << (62 - fmt.width))):
        assert fractions(decode(codes + (above << fmt.width), fmt)) == fractions(decode(codes, fmt))


def test_a_decoded_zero_lies_far_below_all_others() -> None:
    """So that an addition takes the other operand's exponent."""
    least = min(-2 * Posit(64, 4).max_scale, float64.min_scale - 52)
    for fmt in (Posit(8), Posit(64, 4)):
        assert decode(column([0]), fmt).exponent.item() <= -1000
        assert decode(column([0]), fmt).significand[0].item() == 0
    assert decode(column([0]), float64).exponent.item() < least


MINIFLOATS = [
    *(
        Minifloat(e, m, specials=s)
        for e, m in ((2, 1), (3, 2), (4, 3), (5, 2), (1, 2))
        for s in ("none", "fn", "fnuz", "ieee")
    ),
    *(Minifloat(4, 3, bias=bias) for bias in (-5, 0, 40)),
    Minifloat(3, 2, specials="none", signed=False),
    e8m0,
    float16,
]


@pytest.mark.parametrize("fmt", MINIFLOATS, ids=repr)
def test_every_small_minifloat_means_what_its_formula_says(fmt: Minifloat) -> None:
    codes = torch.arange(1 << fmt.width) if fmt.width <= 10 else cases.patterns(fmt, "edges", count=500)
    _check_minifloats(codes, fmt)


@pytest.mark.parametrize("fmt", [float32, float64], ids=str)
def test_the_rows_of_torch_are_read_by_their_bits(fmt: Minifloat) -> None:
    _check_minifloats(torch.cat([cases.patterns(fmt, kind, count=100) for kind in ("edges", "random")]), fmt)


def _check_minifloats(codes: Tensor, fmt: Minifloat) -> None:
    assert fmt.bias is not None
    row = minifloat.Row(fmt.exponent, fmt.mantissa, fmt.bias, fmt.specials, fmt.overflow, fmt.signed, fmt.subnormals)
    want: list[Fraction | str] = []
    signs = []
    for code in codes.tolist():
        negative, x = minifloat.decode(code, row)
        signs.append(-negative)
        want.append(x.value if isinstance(x, minifloat.Special) else minifloat.signed(negative, x).fraction())
    got = decode(codes, fmt)
    assert fractions(got) == want
    numbers = [i for i, x in enumerate(want) if x != "nan"]
    assert got.sign[numbers].tolist() == [signs[i] for i in numbers], "also of -0"


# ---- exact: limbs -------------------------------------------------------------------------------------------------

COUNTS = (0, 1, 2, 30, 31, 32, 60, 61, 62, 63, 64, 93, 122, 123, 124, 125, 185, 186, 187, 247, 248, 249, 1000)


def _integers(limbs: int, seed: int, count: int = 40) -> list[int]:
    """Bits of every density in the limbs, and single bits."""
    source = random.Random(seed)
    width = LIMB * limbs
    values = [source.getrandbits(width) & source.getrandbits(width) >> source.randrange(width) for _ in range(count)]
    return [0, 1, (1 << width) - 1, 1 << (width - 1), 1 << (width // 2), *values]


@pytest.mark.parametrize("limbs", [1, 2, 3, 4])
def test_shift_right_jam(limbs: int) -> None:
    values = _integers(limbs, limbs)
    for count in COUNTS:
        shifted = exact.shift_right_jam(split(values, limbs), torch.full((len(values),), count))
        assert joined(shifted) == [x >> count | (x & ((1 << count) - 1) != 0) for x in values]


@pytest.mark.parametrize("limbs", [1, 2, 3])
def test_shift_left(limbs: int) -> None:
    for count in range(LIMB + 1):
        values = [x >> count for x in _integers(limbs, limbs)]
        shifted = exact.shift_left(split(values, limbs), torch.full((len(values),), count))
        assert joined(shifted) == [x << count for x in values]


@pytest.mark.parametrize("limbs", [1, 2, 3])
def test_normalise(limbs: int) -> None:
    width = LIMB * limbs
    values = [x for x in _integers(limbs, limbs) if x] + [1 << i for i in range(width)]
    significand, exponent = exact.normalise(split(values, limbs), torch.full((len(values),), 100))
    lengths = [x.bit_length() for x in values]
    assert joined(significand) == [x << (width - length) for x, length in zip(values, lengths, strict=True)]
    assert exponent.tolist() == [100 - (width - length) for length in lengths]


@pytest.mark.parametrize(("limbs", "count"), [*itertools.product([1, 2, 3], [1, 2, 3, 4])])
def test_narrow_jams_and_widen_adds_nothing(limbs: int, count: int) -> None:
    values = _integers(limbs, limbs + count)
    down = LIMB * (limbs - count)
    expected = [x << -down if down <= 0 else x >> down | (x & ((1 << down) - 1) != 0) for x in values]
    assert joined(exact.narrow(split(values, limbs), count)) == expected
    if count >= limbs:
        assert joined(exact.widen(split(values, limbs), count)) == expected


def test_the_small_tools() -> None:
    x = column([0, 1, 5, 1 << 62])
    assert exact.sticky(x).tolist() == [0, 1, 1, 1]
    assert exact.select(column([0, -1, 0, -1]), x, -x).tolist() == [0, 1, -5, 1 << 62]
    assert exact.dropped(column([0b10110] * 4), column([0, 2, 3, 62])).tolist() == [0, 0b10, 0b110, 0b10110]


@pytest.mark.parametrize("value", [0, 1, 3, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_from_integer_takes_64_bits(value: int) -> None:
    bits = column([value - (value >> 63 << 64)])
    x = exact.from_integer(bits, column([-1]), column([NUMBER]))
    assert fractions(x) == [-value]


# ---- exact: arithmetic --------------------------------------------------------------------------------------------


def _numbers(bits: int, seed: int, count: int = 150, span: int = 200) -> list[Fraction]:
    """Signed numbers of at most so many significant bits, whose exponents lie near each other or far apart."""
    source = random.Random(seed)
    numbers = [Fraction(0), Fraction(1), Fraction(-1)]
    while len(numbers) < count:
        length = source.choice((1, 2, bits // 2 + 1, bits, bits))
        odd = source.getrandbits(length) | 1 | 1 << (length - 1)
        reach = source.choice((2, 70, span))
        numbers.append(source.choice((1, -1)) * odd * Fraction(2) ** (source.randint(-reach, reach) - length))
    return numbers


def _to_odd(x: Fraction, bits: int) -> tuple[int, int, bool]:
    """(exponent, the first bits, whether anything follows): all that a rounding to fewer bits can see."""
    if x == 0:
        return 0, 0, False
    magnitude = abs(x)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    exponent -= Fraction(2) ** exponent > magnitude
    scaled = magnitude * Fraction(2) ** (bits - 1 - exponent)
    return exponent, (-1 if x < 0 else 1) * (scaled.numerator // scaled.denominator), scaled.denominator > 1


def _limbs(bits: int) -> int:
    return -(-bits // LIMB)


def _check_operation(got: Exact, want: Sequence[Fraction | None], result_bits: int, *, exactly: bool = False) -> None:
    values = fractions(got)
    assert [value == "nan" for value in values] == [x is None for x in want]
    pairs = [(v, x) for v, x in zip(values, want, strict=True) if isinstance(v, Fraction) and x is not None]
    assert [_to_odd(v, result_bits + 1) for v, _ in pairs] == [_to_odd(x, result_bits + 1) for _, x in pairs]
    assert not exactly or all(v == x for v, x in pairs)
    heads = [head for head, value in zip(got.significand[0].tolist(), want, strict=True) if value]
    assert all(head >> (LIMB - 1) == 1 for head in heads), "normalised"


@pytest.mark.parametrize("bits", [1, 5, 12, 28, 29, 30, 31, 32, 56, 58, 60, 61, 62])
def test_add_keeps_what_a_rounding_can_see(bits: int) -> None:
    a, b = _numbers(bits, bits), _numbers(bits, -bits)
    # Neighbours and opposites: cancellation down to the last bit.
    source = random.Random(bits)
    for x in _numbers(bits, bits + 1)[3:]:
        unit = Fraction(1, 1 << (bits - 1)) * Fraction(2) ** _to_odd(x, 1)[0]
        a, b = [*a, x, x], [*b, -x, -x + source.choice((1, -1, 2)) * unit if abs(x) > 3 * unit else x]
    b = [y if len(bin(y.numerator)) - 2 <= bits or not y else Fraction(0) for y in b]
    limbs = exact.limbs_for(bits, bits)
    got = exact.add(from_fractions(a, _limbs(bits)), from_fractions(b, _limbs(bits)), limbs)
    _check_operation(got, [x + y for x, y in zip(a, b, strict=True)], bits)


@pytest.mark.parametrize(
    ("product_bits", "bits"), [(24, 12), (56, 28), (60, 30), (61, 30), (64, 32), (120, 60), (123, 61), (124, 62)]
)
def test_add_of_a_product_and_a_number(product_bits: int, bits: int) -> None:
    """What fma needs: operands of different lengths, nearly cancelling."""
    a = _numbers(product_bits, bits)
    b = _numbers(bits, bits + 1)
    close = [Fraction(0) if x == 0 else _leading(-x, bits) for x in a]
    below = [Fraction((1 << product_bits) - k) for k in (1, 3, 5)]  # a bit below a power of 2, which lies one binade up
    a, b = a + a + below, b + close + [Fraction(-1 << product_bits)] * 3
    limbs = exact.limbs_for(product_bits, bits)
    got = exact.add(from_fractions(a, _limbs(product_bits)), from_fractions(b, _limbs(bits)), limbs)
    _check_operation(got, [x + y for x, y in zip(a, b, strict=True)], bits)


def _leading(x: Fraction, bits: int) -> Fraction:
    exponent, significand, _ = _to_odd(x, bits)
    return significand * Fraction(2) ** (exponent - bits + 1)


def test_limbs_for_is_no_larger_than_needed() -> None:
    for fmt in (Posit(16), Posit(32), Posit(32, 0), Posit(60, 0)):
        assert exact.limbs_for(fmt.significand_bits, fmt.significand_bits) == 1
    assert exact.limbs_for(60, 60) == 2
    assert exact.limbs_for(2 * 28, 28) == 1


@pytest.mark.parametrize(
    ("a_bits", "b_bits"),
    [(1, 1), (12, 12), (28, 28), (31, 31), (31, 32), (32, 32), (60, 60), (62, 62), (56, 28), (120, 60), (124, 62)],
)
def test_multiply_loses_nothing(a_bits: int, b_bits: int) -> None:
    a, b = _numbers(a_bits, a_bits), _numbers(b_bits, b_bits + 1)
    got = exact.multiply(from_fractions(a, _limbs(a_bits)), from_fractions(b, _limbs(b_bits)), a_bits, b_bits)
    _check_operation(got, [x * y for x, y in zip(a, b, strict=True)], a_bits + b_bits, exactly=True)


@pytest.mark.parametrize("bits", [1, 2, 12, 28, 30, 31, 32, 33, 59, 60, 61, 62])
def test_divide(bits: int) -> None:
    a, b = _numbers(bits, bits), _numbers(bits, bits + 7)
    most = (1 << bits) - 1
    a += [Fraction(most), Fraction(most), Fraction(1), Fraction(most - 1 | 1)]
    b += [Fraction(1), Fraction(most), Fraction(most), Fraction(most)]
    got = exact.divide(from_fractions(a, 1), from_fractions(b, 1), bits)
    _check_operation(got, [None if y == 0 else x / y for x, y in zip(a, b, strict=True)], bits)


@pytest.mark.parametrize("bits", [1, 2, 12, 29, 30, 31, 32, 45, 59, 60, 61, 62])
def test_square_root(bits: int) -> None:
    half = max(1, bits // 2)
    roots = _numbers(half, bits + 1)
    most = (1 << bits) - 1
    x = _numbers(bits, bits) + [r * r for r in roots] + [Fraction(most), Fraction(most, 2), Fraction(most - 1 | 1, 4)]
    got = exact.square_root(from_fractions(x, 1), bits)
    values = fractions(got)
    for value, square in zip(values, x, strict=True):
        if square < 0:
            assert value == "nan"
            continue
        assert isinstance(value, Fraction)
        assert _root_to_odd(square, bits + 1) == _to_odd(value, bits + 1)


def _root_to_odd(square: Fraction, bits: int) -> tuple[int, int, bool]:
    """As `_to_odd` of the square root, by comparing squares."""
    if square == 0:
        return 0, 0, False
    exponent = _to_odd(square, 1)[0] // 2
    low, high = 1 << (bits - 1), 1 << bits
    unit = Fraction(2) ** (exponent - bits + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if (middle * unit) ** 2 <= square else (low, middle)
    return exponent, low, (low * unit) ** 2 != square


def test_kinds_go_through_every_operation() -> None:
    """NaN wins over everything, and Inf over numbers; formats without Inf make one of both."""
    one = from_fractions([Fraction(1)], 1)
    nan, inf = (one._replace(kind=column([kind])) for kind in (NAN, INFINITE))
    operations: list[Callable[[Exact, Exact], Exact]] = [
        lambda a, b: exact.add(a, b, 1),
        lambda a, b: exact.multiply(a, b, 30, 30),
        lambda a, b: exact.divide(a, b, 30),
    ]
    for operation in operations:
        for a, b in ((nan, one), (one, nan), (nan, inf), (inf, nan)):
            assert operation(a, b).kind.item() == NAN
        assert operation(inf, one).kind.item() == INFINITE
        assert operation(one, one).kind.item() == NUMBER
    assert exact.square_root(nan, 30).kind.item() == NAN
    assert exact.negate(one).sign.item() == -1


# ---- exact: long sums ---------------------------------------------------------------------------------------------


def _total(words: Tensor) -> list[int]:
    return [sum(word << exact.WORD * i for i, word in enumerate(words[:, c].tolist())) for c in range(words.shape[1])]


@pytest.mark.parametrize("limbs", [1, 2])
def test_long_sums_are_sums(limbs: int) -> None:
    source, columns = random.Random(limbs), 5
    words = torch.zeros(20, columns, dtype=torch.int64)
    totals = [0] * columns
    for _ in range(4):
        values = _integers(limbs, source.randrange(1 << 30))
        place = [source.randrange(columns) for _ in values]
        sign = [source.choice((0, -1)) for _ in values]
        position = [source.randrange(450) for _ in values]
        exact.add_to_words(words, column(place), split(values, limbs), column(sign), column(position))
        for c, s, x, p in zip(place, sign, values, position, strict=True):
            totals[c] += (-1) ** (s & 1) * x << p
        assert _total(words) == totals
        exact.carry_words(words)
        assert _total(words) == totals
        assert bool((words[:-1] >= 0).all())
        assert bool((words[:-1] <= exact.WORD_MASK).all())


def test_carries_may_wait_as_long_as_documented() -> None:
    worst = split([(1 << LIMB) - 1], 1)
    for shift in range(exact.WORD):
        words = torch.zeros(4, 1, dtype=torch.int64)
        for sign in (0, -1):
            words.zero_()
            exact.add_to_words(words, column([0]), worst, column([sign]), column([shift]))
            assert words.abs().max().item() << 29 < 1 << 63


@pytest.mark.parametrize("count", [3, 4, 5, 9])
def test_from_words_is_the_value_with_a_sticky_end(count: int) -> None:
    source = random.Random(count)
    width = exact.WORD * (count - 1)
    totals = [0, 1, -1, (1 << width) - 1, -(1 << width) + 1, 1 << (width - 1), (1 << (width - 1)) + 1]
    totals += [source.choice((1, -1)) * source.getrandbits(source.randint(1, width)) for _ in range(200)]
    totals += [(1 << i) + (1 << j) for i in range(3, width, 7) for j in (0, i // 2)]
    rows = [[(x >> exact.WORD * i) & exact.WORD_MASK for x in totals] for i in range(count - 1)]
    words = torch.tensor([*rows, [x >> width for x in totals]])
    got = exact.from_words(words, -50, torch.zeros(len(totals), dtype=torch.int64))
    for value, total in zip(fractions(got), totals, strict=True):
        assert isinstance(value, Fraction)
        assert _to_odd(value, 3 * exact.WORD + 1) == _to_odd(Fraction(total) / (1 << 50), 3 * exact.WORD + 1)


# ---- pack and round -----------------------------------------------------------------------------------------------

RULES = sorted(rounding.RULES)
BITS = column([0x0000, 0x7FFF, 0x8000, 0xFFFF, 0x1234, 0xBEEF])


def _around_midpoints(fmt: Posit) -> list[Fraction]:
    """Values of the format with two more bits, which holds the midpoints, and those just beside."""
    values = [posit_literal.decode(code, fmt.n + 2, fmt.es) for code in range(1, 1 << (fmt.n + 1))]
    numbers = [x.fraction() for x in values if x is not None]
    beside = [x * (1 + d * Fraction(1, 1 << 40)) for x in numbers for d in (-1, 1)]
    far = [Fraction(2) ** (s * (fmt.max_scale + d)) for s in (1, -1) for d in (1, 2, 9)]
    return [Fraction(0), *numbers, *beside, *far]


@pytest.mark.parametrize("rule", RULES)
def test_posits_are_rounded_by_the_standards_words(rule: str) -> None:
    for fmt in [Posit(n, es) for n in range(2, 6) for es in range(5)] + [Posit(8)]:
        values = _around_midpoints(fmt)
        values += [-x for x in values]
        x = from_fractions(values, 2)
        for bits in BITS.tolist() if rule == "stochastic" else [0]:
            got = rounding.encode(x, fmt, rule, torch.full((len(values),), bits))
            want = [posit_literal.rounded(_dyadic(v), fmt.n, fmt.es, rule, bits) for v in values]
            assert got.tolist() == want, f"{fmt} {bits:#x}"


def _dyadic(x: Fraction) -> Dyadic:
    return Dyadic(x.numerator, 1 - x.denominator.bit_length())


@pytest.mark.parametrize("rule", RULES)
def test_one_word_and_two_words_cut_alike(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for fmt in (Posit(2), Posit(8, 0), Posit(16), Posit(32), Posit(33, 1), Posit(47, 4), Posit(47), Posit(47, 0)):
        bits = min(62, fmt.significand_bits + 3)
        values = _numbers(bits, fmt.n, 300, span=fmt.max_scale + 9)
        x, random_bits = from_fractions(values, 1), torch.arange(300) * 217
        one = rounding.encode(x, fmt, rule, random_bits)
        monkeypatch.setattr(pack, "ONE_WORD", 0)
        assert rounding.encode(x, fmt, rule, random_bits).tolist() == one.tolist()
        monkeypatch.undo()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("fmt", [Posit(49, 0), Posit(64, 0), Posit(64, 2), Posit(64, 4), Posit(63, 1)], ids=str)
def test_posits_of_two_words_see_what_lies_far_behind(rule: str, fmt: Posit) -> None:
    """A midpoint of full length, and the same with a bit at the end of the second limb."""
    source = random.Random(str(fmt))
    values = []
    for _ in range(40):
        scale = source.randint(-fmt.max_scale, fmt.max_scale - 1)
        kept = max(0, fmt.significand_bits - 1 - abs(scale >> fmt.es))
        head = 1 + Fraction(source.getrandbits(kept + 2), 1 << (kept + 2))
        values += [Fraction(2) ** scale * (head + tail) for tail in (0, Fraction(1, 1 << 121))]
    values += [-x for x in values]
    got = rounding.encode(from_fractions(values, 2), fmt, rule, torch.full((len(values),), 0x8000))
    want = [posit.rounded(_dyadic(x), fmt.n, fmt.es, rule, 0x8000) for x in values]
    assert got.tolist() == want


def _wide(head: int, tail: Tensor, tail_bits: int, sign: int = 0) -> Wide:
    like = torch.zeros_like(tail)
    return Wide(like + sign, like + head, tail, tail_bits, like - 1, like)


@pytest.mark.parametrize(
    ("rule", "even", "odd"),
    [  # whether the head goes up for a tail of 0, 1, below half, half, above half, all ones
        ("nearest_even", [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1]),
        ("nearest_away", [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]),
        ("toward_zero", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        ("toward_positive", [0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]),
        ("toward_negative", [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]),
        ("to_odd", [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("tail_bits", [17, 49, 62])
def test_a_rule_says_whether_the_head_goes_up(rule: str, even: list[int], odd: list[int], tail_bits: int) -> None:
    half = 1 << (tail_bits - 1)
    tail = column([0, 1, half - 1, half, half + 1, 2 * half - 1])
    assert rounding.RULES[rule](_wide(6, tail, tail_bits), None).tolist() == even
    assert rounding.RULES[rule](_wide(7, tail, tail_bits), None).tolist() == odd
    negative = {"toward_positive": "toward_negative", "toward_negative": "toward_positive"}.get(rule, rule)
    assert rounding.RULES[negative](_wide(6, tail, tail_bits, sign=-1), None).tolist() == even


def test_the_rules_are_those_that_have_a_name() -> None:
    names = "nearest_away nearest_even stochastic to_odd toward_negative toward_positive toward_zero"
    assert names.split() == RULES


@pytest.mark.parametrize("tail_bits", [17, 33, 62])
def test_stochastic_rounding_goes_up_as_often_as_the_tail_says(tail_bits: int) -> None:
    """Exactly floor(frac * 2**16) of the 2**16 random words round up."""
    words = torch.arange(1 << 16) | 0x7A5_0000  # the bits above are not read
    for tail in (0, 1, 1 << (tail_bits - 17), 1 << (tail_bits - 16), 3 << (tail_bits - 3), (1 << tail_bits) - 1):
        up = rounding.RULES["stochastic"](_wide(8, torch.full_like(words, tail), tail_bits), words)
        assert set(up.tolist()) <= {0, 1}
        assert up.sum().item() == tail >> (tail_bits - 16)


def test_the_ends_of_a_posit_stay() -> None:
    """Never to 0 and never to NaR, whatever the rule."""
    for rule in RULES:
        for fmt in (Posit(2), Posit(8), Posit(64, 4)):
            beyond = Fraction(2) ** (fmt.max_scale + 1)
            x = from_fractions([beyond, 1 / beyond, -1 / beyond, -beyond, Fraction(0)], 1)
            got = rounding.encode(x, fmt, rule, torch.full((5,), 0xFFFF))
            assert got.tolist() == [fmt.maxpos, 1, -1, -fmt.maxpos, 0]


def test_integers_are_packed_as_heads() -> None:
    values = [Fraction(x, 8) for x in range(40)] + [Fraction(2**61), Fraction(2**61 + 1), Fraction(1, 2**70)]
    wide = pack.pack_integer(from_fractions(values, 2))
    assert wide.head.tolist() == [int(x) for x in values]
    assert [tail > 0 for tail in wide.tail.tolist()] == [x != int(x) for x in values]
    assert wide.tail[:40].tolist() == [int(x * 8) % 8 << (wide.tail_bits - 3) for x in values[:40]]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(
    "fmt",
    [
        e4m3,
        e5m2,
        Minifloat(2, 1, specials="none"),
        Minifloat(4, 0, specials="fn"),
        Minifloat(3, 2, overflow="inf"),
        Minifloat(3, 2, overflow="nan"),
        Minifloat(3, 2, bias=40),
    ],
    ids=repr,
)
def test_minifloats_are_rounded_between_their_neighbours(rule: str, fmt: Minifloat) -> None:
    assert fmt.bias is not None
    row = minifloat.Row(fmt.exponent, fmt.mantissa, fmt.bias, fmt.specials, fmt.overflow, fmt.signed, fmt.subnormals)
    ends = [minifloat.magnitude(code, row).fraction() for code in range(row.largest + 3)]
    quarters = [low + (high - low) * Fraction(i, 4) for low, high in itertools.pairwise(ends) for i in range(4)]
    values = [x * (1 + d * Fraction(1, 1 << 40)) for x in quarters for d in (-1, 0, 1)] + [Fraction(2) ** 300]
    values += [-x for x in values if x]
    x = from_fractions(values, 2)
    for bits in BITS.tolist() if rule == "stochastic" else [0]:
        got = rounding.encode(x, fmt, rule, torch.full((len(values),), bits))
        assert got.tolist() == [minifloat.encode(v < 0, _dyadic(abs(v)), row, rule, bits) for v in values]


@pytest.mark.parametrize("fmt", [Posit(8), Posit(16), e4m3, float16], ids=str)
def test_rounded_floats_go_there_and_back(fmt: Format) -> None:
    bits = torch.cat([cases.patterns(float32, kind, count=200) for kind in cases.KINDS])
    there = rounding.encode(decode(bits, float32), fmt)
    back = rounding.encode(decode(there, fmt), float32)
    assert rounding.rounded_floats(bits, float32, fmt).tolist() == back.tolist()
    assert rounding.rounded_floats(back, float32, fmt).tolist() == back.tolist()


def test_hidden_is_the_leading_one() -> None:
    assert (HIDDEN, decoding.NAN | decoding.INFINITE) == (1 << 61, NAN)
