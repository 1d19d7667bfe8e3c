"""Contract exact/v1: exact sums of products of floats, rounded once; the fast forms have the bits of the definition."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from float_sums import DATA, LOWERED, RESULTS, SETTINGS, Draw, exact_dot, golden, operands, patterns, product
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refnum.boundary import FLOAT_ROWS, SIGNED
from refnum.core.decode import decode
from refnum.core.round import encode
from refnum.fast import conversions, expansions, hardware, vectors
from refnum.fast.vectors import Vectors, least_unit
from refnum.sums import digits, exact
from refnum.sums.exact import exact_mm, mm_by_words
from refnum.testing import assert_bit_equal, cases

INF, NAN = math.inf, math.nan


def both(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The result, after a comparison with the definition."""
    want = mm_by_words(a, b, bias, dtype)
    assert_bit_equal(exact_mm(a, b, bias, dtype), want)
    return want


# ---- against the oracle -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("biased", [False, True])
def test_every_kind_of_operands(kind: str, biased: bool) -> None:
    for (m, k, n), dtype in zip([(3, 1, 2), (2, 2, 3), (4, 3, 2), (3, 7, 2)], RESULTS, strict=True):
        a, b, bias = operands(kind, m, k, n)
        addend = bias if biased else None
        for result in {dtype, torch.float32}:
            assert_bit_equal(both(a, b, addend, result), product(exact_dot, a, b, addend, result))


@pytest.mark.parametrize("kind", ["ties", "subnormal results", "overflow", "cancelling"])
@pytest.mark.parametrize("dtype", RESULTS, ids=str)
def test_hard_kinds_in_every_dtype(kind: str, dtype: torch.dtype) -> None:
    scale = 2.0**-20 if dtype == torch.float16 and kind == "overflow" else 1.0
    a, b, bias = operands(kind, 9, 4, 3, seed=7)
    a, b = a * scale, b * scale
    for addend in (None, bias):
        assert_bit_equal(both(a, b, addend, dtype), product(exact_dot, a, b, addend, dtype))


def test_recorded_products() -> None:
    count = 0
    for case in golden("exact"):
        for dtype, want in case.want.items():
            assert_bit_equal(exact_mm(case.a, case.b, case.bias, dtype), want)
            assert_bit_equal(mm_by_words(case.a, case.b, case.bias, dtype), want)
            count += 1
    assert count == 234


def test_specials_of_every_kind_meet() -> None:
    values = [0.0, -0.0, 1.0, -1.0, 2.0**-149, INF, -INF, NAN]
    grid = torch.tensor(list(itertools.product(values, repeat=4)))
    for bias in (None, -0.0, INF, -INF, NAN):
        a, b = grid[:, :2].contiguous(), grid[:, 2:].contiguous()
        addend = None if bias is None else torch.full((len(grid), 1, 1), bias)
        got = exact_mm(a[:, None], b[:, :, None], addend, torch.float32)
        assert_bit_equal(got, mm_by_words(a[:, None], b[:, :, None], addend, torch.float32))
        some = slice(None, None, 61)
        for x, y, z in zip(a[some], b[some], got[some], strict=True):
            want = product(exact_dot, x[None], y[:, None], None if bias is None else torch.tensor([[bias]]), z.dtype)
            assert_bit_equal(z, want)


def test_nan_is_the_largest_pattern() -> None:
    a, b = torch.tensor([[INF, 1.0]]), torch.tensor([[0.0], [1.0]])
    for dtype in RESULTS:
        assert patterns(both(a, b, None, dtype)).item() == torch.iinfo(SIGNED[FLOAT_ROWS[dtype].width]).max


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_sum_of_any_floats(data: st.DataObject) -> None:
    width = data.draw(st.sampled_from([32, 32, 64]))
    dtype = torch.float32 if width == 32 else torch.float64
    near = st.integers(-(1 << width - 9), 1 << width - 9).map(lambda x: x + (0x3F8 << width - 12))
    pattern = st.one_of(st.integers(-(1 << width - 1), (1 << width - 1) - 1), near)
    pairs = data.draw(st.lists(st.tuples(pattern, pattern), max_size=6))
    top = -(1 << width - 1)
    pairs += [(x ^ top, y) for x, y in pairs[: data.draw(st.integers(0, len(pairs)))]]
    a, b = (torch.tensor([pair[i] for pair in pairs], dtype=SIGNED[width]).view(dtype) for i in (0, 1))
    bias = torch.tensor([data.draw(pattern)], dtype=SIGNED[width]).view(dtype) if data.draw(st.booleans()) else None
    result = data.draw(st.sampled_from(RESULTS))
    got = both(a[None], b[:, None], bias, result)
    assert_bit_equal(got, product(exact_dot, a[None], b[:, None], None if bias is None else bias[None], result))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_product_of_small_values(data: st.DataObject) -> None:
    """Values of few bits and a few binades: exact in float32, or in float64, or in neither."""
    bits, reach = data.draw(st.sampled_from([(2, 1), (4, 4), (8, 12), (24, 3), (30, 30)]))
    value = st.builds(math.ldexp, st.integers(-(1 << bits), 1 << bits), st.integers(-reach, reach))
    m, k, n = (data.draw(st.integers(1, size)) for size in (4, 9, 4))
    dtype = torch.float64 if bits > 24 else torch.float32
    a = torch.tensor([[data.draw(value) for _ in range(k)] for _ in range(m)], dtype=dtype)
    b = torch.tensor([[data.draw(value) for _ in range(n)] for _ in range(k)], dtype=dtype)
    result = data.draw(st.sampled_from(RESULTS))
    assert_bit_equal(both(a, b, None, result), product(exact_dot, a, b, None, result))


# ---- where roundings go wrong -------------------------------------------------------------------------------------


def one(a: list[float], b: list[float], dtype: torch.dtype = torch.float32, bias: float | None = None) -> float:
    """One sum, the same by both ways."""
    addend = None if bias is None else torch.tensor([[bias]])
    return both(torch.tensor([a]), torch.tensor(b)[:, None], addend, dtype).item()


def test_a_sum_of_63_bits_is_rounded_once() -> None:
    assert one([1.5, 2.0**-12, 2.0**-30], [1.5, 2.0**-11, 2.0**-40]) == 2.25 + 2.0**-22


@pytest.mark.parametrize("sign", [1, -1])
def test_the_least_float_breaks_a_tie(sign: int) -> None:
    for dtype in RESULTS[:3]:
        unit = 2.0 ** -FLOAT_ROWS[dtype].mantissa
        for head, even in ((1.0, 1.0), (1.0 + unit, 1.0 + 2 * unit)):
            above, below = (1.0 + unit, 1.0) if head == 1.0 else (1.0 + 2 * unit, 1.0 + unit)
            for rest, want in ((0.0, even), (2.0**-149, above), (-(2.0**-149), below)):
                assert one([sign * head, sign * unit, sign * rest], [1.0, 0.5, 1.0], dtype) == sign * want
                assert one([sign * head, sign * unit], [1.0, 0.5], dtype, bias=sign * rest) == sign * want


def test_a_tail_400_binades_down_breaks_a_tie() -> None:
    a = torch.tensor([[1.0, 2.0**-24, 2.0**-200]], dtype=torch.float64)
    assert both(a, torch.tensor([[1.0], [1.0], [2.0**-200]], dtype=torch.float64), None, torch.float32) == 1 + 2.0**-23


def test_narrow_results_are_not_rounded_by_way_of_float32() -> None:
    for dtype in (torch.bfloat16, torch.float16):
        half = 2.0 ** (-FLOAT_ROWS[dtype].mantissa - 1)
        a, b = [1.0, half, 2.0**-30], [1.0, 1.0, 1.0]
        assert torch.tensor(sum(a)).to(torch.float32).to(dtype).item() == 1.0, "which a float32 between makes a tie"
        assert one(a, b, dtype) == 1.0 + 2 * half


def test_overflow_begins_at_half_a_unit_beyond_the_largest() -> None:
    for dtype in RESULTS[:3]:
        row = FLOAT_ROWS[dtype]
        unit = 2.0 ** (row.max_scale - row.mantissa)
        assert one([row.max_value, unit], [1.0, 0.5], dtype) == INF
        assert one([-row.max_value, unit], [1.0, -0.5], dtype) == -INF
        assert one([row.max_value, unit, -(2.0**-149)], [1.0, 0.5, 1.0], dtype) == row.max_value
        assert one([row.max_value, row.max_value, -row.max_value], [1.0, 1.0, 1.0], dtype) == row.max_value


def test_what_cancels_far_above_the_range_leaves_the_rest() -> None:
    large = [2.0**127, -(2.0**127), 2.0**-149]
    assert one(large, [2.0**127, 2.0**127, 1.0]) == 2.0**-149
    assert one([2.0**40, 2.0**-40, -(2.0**40)], [1.0, 1.0, 1.0]) == 2.0**-40
    assert one(large, [2.0**127, 2.0**127, 2.0**-2]) == 0.0
    assert one(large, [2.0**127, 2.0**127, -(2.0**-2)]).hex() == "-0x0.0p+0", "a sum that vanishes keeps its sign"


ZEROS = (
    ([0.0], [0.0], None, 0.0),
    ([-0.0], [0.0], None, -0.0),
    ([-0.0], [-0.0], None, 0.0),
    ([0.0], [-3.0], None, -0.0),
)
SUMS_OF_ZEROS = (
    *ZEROS,
    ([-0.0, 0.0], [1.0, 1.0], None, 0.0),
    ([-0.0, 0.0], [1.0, -1.0], None, -0.0),
    ([1.0, -1.0], [1.0, 1.0], None, 0.0),
    ([-0.0], [1.0], -0.0, -0.0),
    ([-0.0], [1.0], 0.0, 0.0),
    ([0.0], [1.0], -0.0, 0.0),
    ([1.0], [1.0], -1.0, 0.0),
    ([], [], None, 0.0),
    ([], [], -0.0, -0.0),
    ([], [], 0.0, 0.0),
    ([-0.0] * 300, [1.0] * 300, None, -0.0),
    ([-0.0] * 299 + [0.0], [1.0] * 300, None, 0.0),
)


@pytest.mark.parametrize(("a", "b", "bias", "want"), SUMS_OF_ZEROS)
def test_a_sum_is_negative_zero_if_every_term_is(
    a: list[float], b: list[float], bias: float | None, want: float
) -> None:
    for dtype in RESULTS:
        assert one(a, b, dtype, bias).hex() == want.hex()


def test_sums_of_nothing_are_the_bias() -> None:
    bias = torch.tensor([[2.0**-130, -0.0, 1 + 2.0**-8], [NAN, -INF, 0.0]])
    for dtype in RESULTS:
        assert_bit_equal(both(torch.empty(2, 0), torch.empty(0, 3), None, dtype), torch.zeros(2, 3, dtype=dtype))
        got = both(torch.empty(2, 0), torch.empty(0, 3), bias, dtype)
        assert got.tolist()[0] == [bias[0, 0].to(dtype).item(), 0.0, bias[0, 2].to(dtype).item()]
        assert got[0, 1].signbit()


# ---- the fast forms, and which of them serves ---------------------------------------------------------------------

WAYS = ("_fill_in_float32", "_fill_surely", "_fill_nearly", "_fill_places", "_matrix_sums", "mm_by_words")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each way has been gone."""
    calls: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., Any]:
        function = getattr(exact, name)

        def call(*args: Any) -> Any:
            calls[name] += 1
            return function(*args)

        return call

    for name in WAYS:
        monkeypatch.setattr(exact, name, counting(name))
    return calls


BY = {
    "mxfp4": {"_fill_in_float32"},
    "integers": {"_fill_in_float32"},
    "bfloat16": {"_fill_surely"},
    "normal": {"_fill_nearly", "_fill_places"},
    "cancelling": {"_fill_nearly", "_matrix_sums"},
    "subnormal operands": {"_fill_nearly", "_fill_places"},
    "bits": {"_fill_nearly", "_matrix_sums"},
}


@pytest.mark.parametrize("kind", BY)
def test_the_way_that_suits_the_operands(kind: str, ways: Counter[str]) -> None:
    a, b, _ = operands(kind, 180, 160, 150)
    got = exact_mm(a, b, None, torch.float32)
    assert set(ways) == BY[kind]
    assert_bit_equal(got[:40, :40], mm_by_words(a[:40], b[:, :40], None, torch.float32))


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 40, 33), (37, 1, 40), (24, 33, 21), (5, 300, 9)])
def test_fast_forms_give_the_bits_of_the_definition(kind: str, m: int, k: int, n: int) -> None:
    a, b, bias = operands(kind, m, k, n, seed=k)
    for number, dtype in enumerate(RESULTS):
        both(a, b, bias if (m + number) % 2 else None, dtype)


@pytest.mark.parametrize("kind", ["normal", "wide", "mxfp4", "bits", "zeros of one sign", "cancelling"])
def test_float64_operands_and_biases(kind: str) -> None:
    a, b, bias = operands(kind, 12, 30, 11, seed=3)
    for x, y, z in ((a.double(), b, bias), (a, b.double(), bias.double()), (a.double(), b.double(), None)):
        both(x, y, z, torch.float32)
        both(x, y, None if z is None else z * 2.0**-200, torch.bfloat16)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_float64_results_of_sums_with_and_without_errors(kind: str) -> None:
    """Some of them are exact in float64, and a bias is not: its sum with those is rounded to nearest, not to odd."""
    a, b, bias = operands(kind, 30, 400, 25)
    both(a, b, bias, torch.float64)
    both(a.double(), b.double(), bias.double() * (1 + 2.0**-40), torch.float64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_biases_of_16_bits(dtype: torch.dtype) -> None:
    a, b, bias = operands("normal", 6, 5, 7)
    for z in (bias, bias * 2.0**-20, bias * 2.0**-130):
        both(a, b, z.to(dtype), torch.float32)


@pytest.mark.parametrize("scale", [-399, -300, 0, 300, 395])
def test_float64_of_any_scale(scale: int, ways: Counter[str]) -> None:
    a, b, _ = operands("normal", 9, 20, 8)
    a = a.double() * 2.0**scale
    for y in (b.double() * 2.0**-scale, b.double()):
        for dtype in (torch.float32, torch.float64):
            exact_mm(a, y, None, dtype)
        assert not ways["mm_by_words"]
        both(a, y, None, torch.float32)


@pytest.mark.parametrize("scale", [-1060, -700, 600, 1000])
def test_float64_beyond_goes_through_words(scale: int, ways: Counter[str]) -> None:
    a, b, _ = operands("normal", 4, 6, 5)
    far = torch.full((5,), 1.5 * 2.0**scale, dtype=torch.float64)
    for x, y, z in ((a.double() * 2.0**scale, b, None), (a, b, far), (0 * a, b, far)):
        assert_bit_equal(exact_mm(x, y, z, torch.float64), product(exact_dot, x, y, z, torch.float64))
    assert ways["mm_by_words"] == 3


def test_float64_of_too_many_binades_goes_through_words(ways: Counter[str]) -> None:
    """Slices of such vectors would have products that float64 has no room for."""
    draw = Draw(15)
    a, b, rest = draw.normal(8, 4), draw.normal(4, 9), draw.normal(8, 3)
    for reach, by_words in ((100, False), (300, True)):
        x = torch.cat([a.double() * 2.0**reach, -a.double() * 2.0**reach, rest.double() * 2.0**-reach], 1)
        y = torch.cat([b, b, draw.normal(3, 9)], 0).double()
        assert_bit_equal(exact_mm(x, y, None, torch.float64), product(exact_dot, x, y, None, torch.float64))
        assert bool(ways["mm_by_words"]) == by_words
        assert ways["_matrix_sums"]


def test_meta_tensors_and_subclasses_go_through_words(ways: Counter[str]) -> None:
    exact_mm(torch.nn.Parameter(torch.ones(1, 1)), torch.ones(1, 1), None, torch.float32)
    assert ways["mm_by_words"] == 1


def test_no_doubt_is_left_near_a_tie() -> None:
    """Sums within the error of float64 of a point half-way between two results, on either side of it."""
    draw = Draw(11)
    for k in (5, 60, 700):
        a, b = draw.normal(40, k), draw.normal(k, 30)
        sums = a.double() @ b.double()
        for dtype in RESULTS[:3]:
            nearest = sums.to(torch.float32).to(dtype).double()
            step = 2.0 ** (sums.frexp().exponent - 1.0 - FLOAT_ROWS[dtype].mantissa)
            both(a, b, nearest + step / 2 - sums + draw.choice([0.0, 2.0**-52, -(2.0**-52)], 40, 30), dtype)


def test_the_last_unit_of_float64_counts() -> None:
    """Sums of two products that need 54 bits, of which a bias leaves the last ones."""
    generator = torch.Generator().manual_seed(31)
    a, b = (torch.randint(1 << 26, 88_000_000, shape, generator=generator) for shape in ((60, 2), (2, 60)))
    total = (a[:, :, None] * b).sum(1)
    bias = -(total >> 7 << 7)
    assert bool(((total & 1).bool() & (total > 1 << 53)).any())
    assert bool((bias.double().long() == bias).all())
    for dtype in RESULTS:
        got = both(a.double(), b.double(), bias.double(), dtype)
        assert torch.equal(got.double(), (total & 127).double())


def test_zeros_of_products_are_positive() -> None:
    """Whatever a library for matrix products makes of them."""
    for dtype in RESULTS:
        for x in (torch.tensor([-0.0]), torch.tensor([-0.0], dtype=torch.float64)):
            for terms in ([x], [x, x.double()]):
                assert patterns(exact._rounded(terms, dtype)).item() == 0


# ---- order, batches, layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "wide", "mxfp4", "cancelling", "bfloat16"])
def test_no_order_changes_a_bit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, bias = operands(kind, 50, 90, 44, seed=5)
    for dtype in RESULTS:
        want = exact_mm(a, b, bias, dtype)
        order = torch.randperm(90, generator=torch.Generator().manual_seed(1))
        assert_bit_equal(exact_mm(a[:, order], b[order], bias, dtype), want)
        assert_bit_equal(exact_mm(b.mT, a.mT, bias[:, None], dtype).mT, want)
        for i in (0, 17, 49):
            assert_bit_equal(exact_mm(a[i : i + 1], b, bias, dtype)[0], want[i])
            assert_bit_equal(exact_mm(a, b[:, i % 44, None], bias[i % 44], dtype)[:, 0], want[:, i % 44])


@pytest.mark.parametrize(
    "constants",
    [
        {"SIDE": 7, "DEPTH": 5, "PIECE": 100, "RESULTS": 60},
        {"AREA": 200, "FEW": 1 << 40, "DEPTH": 1, "LONG": 5},
        {"SIDE": 1, "FEW": 1, "CHUNK": 50},
        {"CHUNK": 1, "TERMS": 3, "AREA": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["normal", "mxfp4", "cancelling", "wide", "zeros of one sign"])
def test_pieces_do_not_matter(kind: str, constants: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, bias = operands(kind, 13, 12, 11, seed=6)
    batch = torch.stack([a, a.flip(0), -a]), torch.stack([b, b.flip(0), b])
    want = [mm_by_words(a, b, bias, torch.float32), mm_by_words(*batch, bias, torch.bfloat16)]
    for module, (name, value) in itertools.product((exact, digits), constants.items()):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, value)
    for form in (exact_mm, mm_by_words):
        assert_bit_equal(form(a, b, bias, torch.float32), want[0])
        assert_bit_equal(form(*batch, bias, torch.bfloat16), want[1])


BATCHES = [
    ((3, 4, 5), (3, 5, 2)),
    ((3, 4, 5), (5, 2)),
    ((4, 5), (3, 5, 2)),
    ((2, 1, 4, 5), (3, 5, 2)),
    ((2, 3, 4, 5), (1, 1, 5, 2)),
    ((0, 4, 5), (5, 2)),
    ((2, 0, 5), (2, 5, 3)),
    ((2, 4, 0), (2, 0, 3)),
    ((60, 3, 5), (60, 5, 2)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES, ids=str)
@pytest.mark.parametrize("kind", ["normal", "mxfp4"])
def test_batches_are_their_matrices(left: tuple[int, ...], right: tuple[int, ...], kind: str) -> None:
    draw = Draw(12)
    values = (lambda *s: draw.whole(-3, 4, *s).float()) if kind == "mxfp4" else draw.normal
    a, b = values(*left), values(*right)
    shape = torch.Size((*torch.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1]))
    for bias in (None, draw.normal(right[-1]), draw.normal(*shape), draw.normal(left[-2], 1)):
        got = both(a, b, bias, torch.float32)
        assert got.shape == shape
        for place in itertools.product(*map(range, shape[:-2])):
            x, y = (side.expand(*shape[:-2], *side.shape[-2:])[place] for side in (a, b))
            assert_bit_equal(
                got[place], mm_by_words(x, y, None if bias is None else bias.expand(shape)[place], got.dtype)
            )


def _arranged(x: Tensor) -> Iterator[Tensor]:
    room = x.new_zeros(*x.shape[:-1], 2 * x.shape[-1] + 1)
    room[..., 1::2] = x
    yield room[..., 1::2]
    yield x.mT.contiguous().mT
    yield torch._neg_view(-x)
    yield x.repeat(2, 1, 1)[1]


@pytest.mark.parametrize("kind", ["normal", "mxfp4", "specials"])
def test_layouts_do_not_matter(kind: str) -> None:
    a, b, bias = operands(kind, 9, 14, 8, seed=8)
    want = exact_mm(a, b, bias, torch.float32)
    for x, y in zip(_arranged(a), _arranged(b), strict=True):
        assert_bit_equal(exact_mm(x, y, bias, torch.float32), want)
    assert_bit_equal(exact_mm(a, b, bias.expand(9, 8).mT.contiguous().mT, torch.float32), want)


@pytest.mark.parametrize("kind", ["normal", "mxfp4", "cancelling", "bits"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_operand_is_changed(kind: str, dtype: torch.dtype) -> None:
    sides = [x.to(dtype) for x in operands(kind, 40, 50, 45, seed=9)]
    before = [x.clone() for x in sides]
    for result in RESULTS:
        exact_mm(*sides, result)
        exact_mm(sides[0], sides[1].mT.contiguous().mT, sides[2], result)
    for x, y in zip(sides, before, strict=True):
        assert torch.equal(patterns(x), patterns(y))


# ---- settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    sides = {kind: operands(kind, 7, 12, 9, seed=10) for kind in DATA}
    sides |= {f"large {kind}": operands(kind, 200, 150, 170) for kind in ("normal", "mxfp4")}
    want = {(kind, dtype): exact_mm(*sides[kind], dtype) for kind in sides for dtype in RESULTS[:3]}
    a, b, bias = sides["subnormal operands"]
    words = mm_by_words(a, b, bias, torch.float32)
    with SETTINGS[name]():
        got = {(kind, dtype): exact_mm(*sides[kind], dtype) for kind, dtype in want}
        again = mm_by_words(a, b, bias, torch.float32)
    for key in want:
        assert torch.equal(patterns(got[key]), patterns(want[key])), key
    assert torch.equal(patterns(again), patterns(words))


@pytest.mark.parametrize("name", LOWERED)
def test_lowered_products_are_not_trusted(name: str, ways: Counter[str]) -> None:
    a, b, _ = operands("mxfp4", 40, 64, 30)
    with LOWERED[name]():
        assert not hardware.multiplies_in_float32()
        exact_mm(a, b, None, torch.float32)
    assert ways == {"_fill_surely": 1}
    assert hardware.multiplies_in_float32() == hardware._keeps_24_bits()


# ---- the pieces ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in DATA if kind not in ("bits", "specials")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bounds_of_vectors_hold(kind: str, dtype: torch.dtype) -> None:
    a, b, _ = operands(kind, 9, 40, 8, seed=13)
    for x in (a.to(dtype), b.to(dtype).mT, b.to(dtype).mT.contiguous(), a.to(dtype)[None].expand(2, 9, 40)):
        found = Vectors.of(x)
        assert torch.equal(found.values.double(), x.double())
        for row, length, unit in zip(
            x.reshape(-1, 40).tolist(), found.lengths.view(-1).tolist(), found.units.reshape(-1).tolist(), strict=True
        ):
            square = sum(Fraction(value) ** 2 for value in row)
            assert square <= Fraction(length) ** 2 <= square * Fraction(1001, 1000)
            assert all((Fraction(value) / Fraction(2) ** unit).denominator == 1 for value in row)


def test_long_vectors_are_measured_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Draw(14).normal(5, 300)
    short = Vectors.of(x).lengths
    monkeypatch.setattr(vectors, "MOST_TERMS", 299)
    true = x.double().square().sum(-1).sqrt()
    assert (Vectors.of(x).lengths <= true * (1 + 2.0**-18)).all()
    assert (true * (1 + 2.0**-18) < short).all()


def test_units_leave_out_bits_that_no_entry_has() -> None:
    assert least_unit(torch.tensor([1.0, -2.0, 0.0])) == 0
    assert least_unit(torch.tensor([1.5, 6.0, 0.0])) == -1
    assert least_unit(torch.tensor([4.0, 6.0])) == 1
    assert least_unit(torch.tensor([2.0**-149, 1.0])) == -149
    assert least_unit(torch.tensor([1.5 * 2.0**-148])) <= -149
    assert least_unit(torch.zeros(3)) == 0
    assert least_unit(torch.empty(0)) == 0


@pytest.mark.parametrize("reach", [1, 9, 40])
def test_bounds_that_blocks_give(reach: int, ways: Counter[str]) -> None:
    """Elements of MXFP4 are multiples of 1/2 up to 6, both times the scale of a block: of 8 here."""
    draw = Draw(reach)
    sides = []
    for rows in (20, 18):
        scales = draw.powers(reach, rows, 5)
        elements = draw.choice([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], rows, 5, 8) * draw.signs(rows, 5, 8)
        lengths = 6.0 * (8 * scales.double().square().sum(-1)).sqrt() * 1.001
        units = scales.amin(-1).frexp().exponent.to(torch.int64) - 2
        sides.append(Vectors((elements * scales[..., None]).view(rows, -1), lengths, units))
    x, y = sides
    for addend, dtype in itertools.product((None, draw.normal(18)), RESULTS):
        want = mm_by_words(x.values, y.values.mT, addend, dtype)
        assert_bit_equal(exact.exact_products(x, y, addend, dtype), want)
    assert bool(ways["_fill_in_float32"]) == (reach < 9)


@pytest.mark.parametrize("count", range(1, 7))
def test_few_terms_are_rounded_to_nearest_once(count: int) -> None:
    draw = Draw(count)
    terms = [(draw.normal(300) * draw.powers(60, 300) * draw.whole(0, 2, 300)).double() for _ in range(count)]
    if count > 1:  # near ties
        terms[1][:200] = torch.ldexp(terms[0][:200].sign(), terms[0][:200].frexp()[1] - 54)
    if count > 2:
        terms[2][:100] *= 2.0**-100
    got = expansions.rounded(terms)
    for i, value in enumerate(got.tolist()):
        total = sum((Fraction(term[i].item()) for term in terms), Fraction())
        assert value == total.numerator / total.denominator  # which Python rounds to nearest even


@pytest.mark.parametrize("length", [1, 2, 63, 1000])
@pytest.mark.parametrize("bits", [24, 53])
def test_sums_of_products_lose_nothing(length: int, bits: int) -> None:
    draw = Draw(length)
    x, y = (draw.normal(5, length) * draw.powers(40, 5, length) for _ in range(2))
    x, y = (side.double() if bits == 24 else side.double() * (1 + 2.0**-30) for side in (x, y))
    terms = expansions.sums_of_products(x, y)
    for i in range(5):
        want = sum(Fraction(u) * Fraction(v) for u, v in zip(x[i].tolist(), y[i].tolist(), strict=True))
        assert sum((Fraction(term[i].item()) for term in terms), Fraction()) == want


@pytest.mark.parametrize("flushing", [False, True])
@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("target", RESULTS, ids=str)
def test_conversions_are_the_waists(source: torch.dtype, target: torch.dtype, flushing: bool) -> None:
    row, fmt = FLOAT_ROWS[source], FLOAT_ROWS[target]
    codes = torch.cat([cases.conversions(row, fmt, kind, count=3000) for kind in cases.KINDS])
    x = codes.to(SIGNED[row.width]).view(source)
    x = x[~x.isnan()]
    torch.set_flush_denormal(flushing)
    got = [conversions.converted(x, target), *(conversions.converted(x[i : i + 1], target) for i in range(0, 200, 7))]
    torch.set_flush_denormal(False)
    want = encode(decode(patterns(x), row), fmt).to(SIGNED[fmt.width])
    assert torch.equal(patterns(got[0]), want)
    assert torch.equal(patterns(torch.cat(got[1:])), want[0:200:7])


def test_one_sum_in_doubt_whose_terms_are_all_0() -> None:
    """Its vectors are long and have nothing in common; few others are in doubt."""
    a, b, _ = operands("normal", 64, 40, 32)
    a[7, ::2] = 0.0
    b[1::2, 5] = 0.0
    assert_bit_equal(exact_mm(a, b, None, torch.float32), mm_by_words(a, b, None, torch.float32))
    assert exact_mm(a, b, None, torch.float32)[7, 5] == 0
