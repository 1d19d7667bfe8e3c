"""Cases are what they claim to be: ties are ties, and catch the wrong roundings that random operands miss.

What is right is told here by definitions on Fractions, which share nothing with the generators.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache

import pytest
import torch

import refnum
from refnum import Minifloat, Posit, formats, testing
from refnum.errors import ContractError, DTypeError, FormatError
from refnum.testing import cases
from refnum.testing.dyadics import Dyadic, below, beside, exactly, midpoint, to_float, value

FLOAT_ROWS = {
    torch.float16: formats.float16,
    torch.bfloat16: formats.bfloat16,
    torch.float32: formats.float32,
    torch.float64: formats.float64,
}
FLOATS = tuple(FLOAT_ROWS)
SIGNED = {2: torch.int16, 4: torch.int32, 8: torch.int64}
SMALL = tuple(Posit(n, es) for n in range(2, 8) for es in range(5))
WIDE = tuple(map(Posit, (16, 24, 32, 33, 40, 48, 63, 64, 64), (2, 1, 2, 2, 1, 3, 0, 2, 4)))
ROWS = tuple(row for row in formats.named().values() if isinstance(row, Minifloat))
ANY_OP: tuple[str | int, ...] = (*cases.TIES, 2, 3)
NARROW = tuple(row for row in ROWS if row.width <= 8 and row.subnormals)


# ---- the oracle ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 16)
def posit_value(magnitude: int, n: int, es: int) -> Fraction:
    """Section 3.3, bit by bit."""
    bits = [magnitude >> i & 1 for i in reversed(range(n - 1))]
    if not any(bits):
        return Fraction(0)
    run = next((i for i, bit in enumerate(bits) if bit != bits[0]), n - 1)
    k = run - 1 if bits[0] else -run
    rest = bits[run + 1 :] + [0] * es
    exponent = sum(bit << (es - 1 - i) for i, bit in enumerate(rest[:es]))
    fraction = sum(Fraction(bit, 2 << i) for i, bit in enumerate(rest[es:]))
    scale = k * 2**es + exponent
    return (1 + fraction) * (Fraction(1 << scale) if scale >= 0 else Fraction(1, 1 << -scale))


def exact(pattern: int, fmt: Posit) -> Fraction | None:
    """The value; None for NaR."""
    if pattern == fmt.nar:
        return None
    magnitude = posit_value(abs(pattern), fmt.n, fmt.es)
    return -magnitude if pattern < 0 else magnitude


def floor_magnitude(x: Fraction, fmt: Posit) -> int:
    """The largest magnitude whose value is not above x > 0: a guess, and the proof that it is right."""
    bits = x.denominator.bit_length() + 80
    u = below(Dyadic((x.numerator << bits) // x.denominator, -bits), fmt)
    assert posit_value(u, fmt.n, fmt.es) <= x
    assert u == fmt.maxpos or x < posit_value(u + 1, fmt.n, fmt.es)
    return u


def nearest_even(x: Fraction, v: Fraction, u: int) -> bool:
    """Whether x, between the magnitude u and the next, goes up; v is the boundary."""
    return x > v or (x == v and u % 2 == 1)


def truncate(x: Fraction, v: Fraction, u: int) -> bool:
    return False


def ties_away(x: Fraction, v: Fraction, u: int) -> bool:
    return x >= v


def lost_sticky(x: Fraction, v: Fraction, u: int) -> bool:
    """All but 12 bits behind the boundary's are lost, so that what lies just above it looks like a tie."""
    unit = v * Fraction(1, 2**12) / 2 ** v.numerator.bit_length()
    return nearest_even(x // unit * unit, v, u)


MUTANTS = (truncate, ties_away, lost_sticky)


def rounded(x: Fraction | None, fmt: Posit, up: Callable[[Fraction, Fraction, int], bool] = nearest_even) -> int:
    """Section 4.1, literally."""
    if x is None:
        return fmt.nar
    if not x:
        return 0
    u = floor_magnitude(abs(x), fmt)
    if u < fmt.maxpos:
        u += up(abs(x), posit_value(2 * u + 1, fmt.n + 1, fmt.es), u)
    return (1 if x > 0 else -1) * max(1, u)


def is_tie(x: Fraction | None, fmt: Posit) -> bool:
    if not x:
        return False
    u = floor_magnitude(abs(x), fmt)
    return 0 < u < fmt.maxpos and posit_value(2 * u + 1, fmt.n + 1, fmt.es) == abs(x)


OPS: dict[str, Callable[..., Fraction | None]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b if b else None,
    "fma": lambda a, b, c: a * b + c,
    "fmm": lambda a, b, c: a * b * c,
}


def rows_of(columns: tuple[torch.Tensor, ...]) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


def apply(op: str, row: tuple[int, ...], fmt: Posit) -> Fraction | None:
    values = [exact(x, fmt) for x in row]
    return None if None in values else OPS[op](*values)


# ---- numbers ------------------------------------------------------------------------------------------------------


def fraction(x: Dyadic) -> Fraction:
    return Fraction(x.m) * Fraction(2) ** x.e


@pytest.mark.parametrize("fmt", [*SMALL, *WIDE], ids=str)
def test_posit_values_and_midpoints_follow_the_definition(fmt: Posit) -> None:
    for code in cases.patterns(fmt, "spaced", count=300).tolist():
        if code == fmt.nar:
            assert math.isnan(to_float(code, fmt))
            continue
        assert fraction(value(code, fmt)) == exact(code, fmt)
        assert exactly(value(code, fmt), fmt) == code
        assert fraction(midpoint(abs(code), fmt)) == posit_value(2 * abs(code) + 1, fmt.n + 1, fmt.es)
        assert below(midpoint(abs(code), fmt), fmt) == abs(code)


@pytest.mark.parametrize(
    ("row", "dtype"),
    [
        (refnum.e4m3, torch.float8_e4m3fn),
        (refnum.e5m2, torch.float8_e5m2),
        (refnum.e4m3fnuz, torch.float8_e4m3fnuz),
        (refnum.e5m2fnuz, torch.float8_e5m2fnuz),
        (refnum.e8m0, torch.float8_e8m0fnu),
        (refnum.float16, torch.float16),
        (refnum.bfloat16, torch.bfloat16),
        (formats.float64, torch.float64),
    ],
)
def test_minifloat_values_are_those_of_torch(row: Minifloat, dtype: torch.dtype) -> None:
    codes = cases.patterns(row, "spaced", count=3000)
    same = codes.to(torch.uint8 if row.width == 8 else SIGNED[row.width // 8]).view(dtype).to(torch.float64).tolist()
    for code, want in zip(codes.tolist(), same, strict=True):
        got = to_float(code, row)
        assert math.isnan(got) == math.isnan(want)
        assert math.isnan(got) or (got == want and math.copysign(1, got) == math.copysign(1, want))


@pytest.mark.parametrize("row", [*NARROW, refnum.e8m0], ids=str)
def test_minifloat_midpoints_lie_in_the_middle(row: Minifloat) -> None:
    for m in range(row.largest):
        lower, upper = value(m, row), value(m + 1, row)
        assert fraction(midpoint(m, row)) * 2 == fraction(lower + upper)
        assert [below(x, row) for x in (lower, midpoint(m, row), upper)] == [m, m, m + 1]
        assert exactly(midpoint(m, row), row) is None


# ---- cases: what every kind promises ------------------------------------------------------------------------------


def everything(fmt: Posit, kind: str, **options: int) -> Iterator[torch.Tensor]:
    """All generators, as int64."""
    yield cases.patterns(fmt, kind, **options)
    yield cases.conversions(fmt, Posit(11, 1), kind, **options)
    for dtype in FLOATS:
        yield cases.floats(fmt, kind, dtype, **options).view(SIGNED[dtype.itemsize]).to(torch.int64)
    for dtype in (torch.uint8, torch.int8, torch.int32, torch.int64):
        yield cases.integers(fmt, kind, dtype, **options).to(torch.int64)
    for op in ANY_OP:
        yield from cases.tuples(op, fmt, kind, **options)
    yield from cases.dots(fmt, kind, **options)
    yield torch.tensor([hash_of(text) for text in cases.decimals(fmt, kind, **options)], device="cpu")


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode(), "little") % (1 << 61)


def snapshot(fmt: Posit, **options: int) -> list[list[int]]:
    return [x.flatten().tolist() for kind in cases.KINDS for x in everything(fmt, kind, **options)]


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("fmt", [Posit(2, 0), Posit(2, 4), Posit(3, 3), Posit(5, 4), Posit(12, 0), *WIDE], ids=str)
def test_codes_are_sign_extended_int64_and_no_more_than_asked(fmt: Posit, kind: str) -> None:
    for x in (
        cases.patterns(fmt, kind, count=40),
        cases.conversions(fmt, formats.float32, kind, count=40),
        *(column for op in ANY_OP for column in cases.tuples(op, fmt, kind, count=40)),
    ):
        assert x.dtype == torch.int64
        assert x.numel() <= 40
        assert ((x << (64 - fmt.n) >> (64 - fmt.n)) == x).all()
    a, b = cases.dots(fmt, kind, count=7, length=9)
    assert a.shape == b.shape == (7, 9)
    assert ((a << (64 - fmt.n) >> (64 - fmt.n)) == a).all()
    assert ((b << (64 - fmt.n) >> (64 - fmt.n)) == b).all()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_minifloat_codes_fit_the_format(row: Minifloat) -> None:
    for kind in cases.KINDS:
        codes = cases.patterns(row, kind, count=400)
        assert 0 < codes.numel() <= 400
        if row.width < 64:
            assert ((codes >= 0) & (codes < 1 << row.width)).all()
    for dtype, kind in itertools.product(FLOATS, cases.KINDS):
        assert cases.floats(row, kind, dtype, count=20).dtype == dtype


def test_the_same_question_has_the_same_answer_and_another_seed_another_one() -> None:
    fmt = Posit(16)
    assert snapshot(fmt, count=20) == snapshot(fmt, count=20)
    for kind in ("ties", "random"):
        pairs = zip(everything(fmt, kind, count=20), everything(fmt, kind, count=20, seed=1), strict=True)
        assert all(x.tolist() != y.tolist() for x, y in pairs)
    assert not torch.equal(cases.random_bits(), cases.random_bits(seed=1))


def test_cases_are_pinned() -> None:
    """In each process, on each machine: failures are reported by seed."""
    assert rows_of(cases.tuples("mul", Posit(16), "ties", count=4)) == PINNED_TIES
    assert cases.patterns(Posit(64), "random", count=3, seed=5).tolist() == PINNED_RANDOM


PINNED_TIES = [(-6912, -32735), (-6912, -32733), (-6912, -32734), (-6911, -32734)]
PINNED_RANDOM = [-9223372036736808895, 7020173471013490151, -235973613319]


def test_cases_leave_random_states_alone_and_ignore_the_settings_of_torch() -> None:
    fmt = Posit(16)
    want = snapshot(fmt, count=20)
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    torch.set_default_dtype(torch.float64)
    torch.set_flush_denormal(True)
    try:
        with torch.device("meta"), torch.inference_mode(), torch.autocast("cpu"):
            got = snapshot(fmt, count=20)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_flush_denormal(False)
    assert got == want
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


# ---- cases: edges, spaced, random ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [*SMALL, *WIDE], ids=str)
def test_edges_have_the_ends_and_every_power_of_two_with_neighbours(fmt: Posit) -> None:
    found = set(cases.patterns(fmt, "edges", count=10**6).tolist())
    one = 1 << (fmt.n - 2)
    assert {0, 1, -1, one, -one, fmt.maxpos, -fmt.maxpos, fmt.nar} <= found
    for scale in range(-fmt.max_scale, fmt.max_scale + 1):
        m = floor_magnitude(Fraction(2) ** scale, fmt)
        near = {m - 1, m, min(m + 1, fmt.maxpos)}
        assert near | {-x for x in near} <= found


def test_few_edges_are_corners() -> None:
    found = set(cases.patterns(Posit(32), "edges", count=16).tolist())
    assert {0, 1, -1, 1 << 30, -1 << 30, (1 << 31) - 1, -(1 << 31) + 1, -1 << 31} <= found


@pytest.mark.parametrize("arity", [2, 3])
def test_edge_tuples_put_nar_and_the_ends_in_each_place(arity: int) -> None:
    fmt = Posit(32)
    found = set(rows_of(cases.tuples(arity, fmt, "edges")))
    poles = (fmt.nar, -fmt.maxpos, -1 << 30, -1, 0, 1, 1 << 30, fmt.maxpos)
    assert set(itertools.product(poles, repeat=arity)) <= found
    assert len(found) == 1000


@pytest.mark.parametrize("fmt", [*SMALL, refnum.e2m1, refnum.e4m3, Posit(12, 1)], ids=str)
def test_exhaustive_has_every_code_once(fmt: formats.Format) -> None:
    first = fmt.nar if isinstance(fmt, Posit) else 0
    every = list(range(first, first + (1 << fmt.width)))
    assert cases.exhaustive(fmt).tolist() == every
    assert cases.patterns(fmt, "spaced", count=10**5).tolist() == every


def test_spaced_tuples_are_a_grid_up_to_all_of_them() -> None:
    fmt = Posit(4, 1)
    assert rows_of(cases.tuples("add", fmt, "spaced", count=256)) == list(itertools.product(range(-8, 8), repeat=2))
    assert len(set(rows_of(cases.tuples("fma", fmt, "spaced", count=4096)))) == 4096
    for count in (1, 7, 8, 26, 27, 999_999, 1_000_000):
        side = round(cases.tuples("fma", Posit(40), "spaced", count=count)[0].numel() ** (1 / 3))
        assert side**3 <= count < (side + 1) ** 3


@pytest.mark.parametrize("fmt", [*WIDE, *ROWS], ids=str)
def test_spaced_codes_are_evenly_spaced_from_end_to_end(fmt: formats.Format) -> None:
    codes = [code % (1 << fmt.width) for code in cases.patterns(fmt, "spaced", count=97).tolist()]
    first = 1 << (fmt.width - 1) if isinstance(fmt, Posit) else 0
    places = [(code - first) % (1 << fmt.width) for code in codes]
    assert (places[0], places[-1]) == (0, (1 << fmt.width) - 1)
    steps = {b - a for a, b in itertools.pairwise(places)}
    assert max(steps) - min(steps) <= 1


def test_random_patterns_have_long_regimes_and_short_ones() -> None:
    fmt = Posit(64)
    codes = cases.patterns(fmt, "random", count=4000)
    regimes = [len(body) - len(body.lstrip(body[0])) for body in (f"{abs(x):063b}" for x in codes.tolist())]
    assert all(sum(low <= r < low + 10 for r in regimes) > 100 for low in range(0, 60, 10))
    assert sum(r == 1 for r in regimes) > 700
    assert 1700 < int((codes < 0).sum()) < 2300


def test_random_floats_are_around_1_and_of_every_scale() -> None:
    x = cases.floats(Posit(16), "random", torch.float32, count=4000)
    scales = torch.frexp(x[x.isfinite()])[1]
    assert ((scales > -5) & (scales < 3)).sum() > 900
    assert (scales.abs() < 60).sum() > 2000
    assert (scales < -100).sum() > 100
    assert (scales > 100).sum() > 50
    assert len(set((x.view(torch.int32) & 0x7FFFFF).tolist())) > 3900  # no low bits that are always 0


@pytest.mark.parametrize("dtype", FLOATS)
def test_edge_floats_have_specials_subnormals_and_the_ends_of_both_formats(dtype: torch.dtype) -> None:
    fmt, info = Posit(8), torch.finfo(dtype)
    x = cases.floats(fmt, "edges", dtype, count=10**5)
    bits = set(x.view(SIGNED[dtype.itemsize]).tolist())
    inf = int(torch.tensor(math.inf, dtype=dtype).view(SIGNED[dtype.itemsize]))
    top = 1 << (8 * dtype.itemsize - 1)
    assert {0, -top, 1, 1 - top, inf, inf - top, inf - 1, inf + 1, top - 1, -1} <= bits
    assert {inf + (top - inf) // 2, -((top - inf) // 2)} <= bits  # the quiet NaN
    wanted = [1.0, info.tiny, info.max, info.smallest_normal / 2]
    if dtype != torch.float16:
        wanted += [fmt.max_value, 1 / fmt.max_value, 2.0**22, 2.0**26]  # the last: midpoints around maxpos
    near = torch.tensor(wanted, dtype=dtype)
    for direction in (0.0, math.inf):
        moved = torch.nextafter(near, torch.tensor(direction, dtype=dtype))
        assert set(moved.tolist()) <= set(x.tolist())
        assert set((-near).tolist()) <= set(x.tolist())


def test_edge_integers_are_the_ends_and_powers_of_two() -> None:
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        info, found = torch.iinfo(dtype), cases.integers(Posit(16), "edges", dtype)
        assert found.dtype == dtype
        assert {0, 1, 2, 63, 64, 65, info.min, info.min + 1, info.max - 1, info.max} <= set(found.tolist())


def test_random_bits_stand_at_the_thresholds() -> None:
    bits = cases.random_bits()
    low = bits & 0xFFFF
    assert {0, 0x7FFF, 0x8000, 0xFFFF} <= set(low.tolist())
    assert len(set(low.tolist())) > 400
    assert len(set((bits >> 16).tolist())) > 900  # not to be read


# ---- cases: ties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [fmt for fmt in SMALL if fmt.max_scale < 100] + [Posit(8), Posit(9, 0)], ids=str)
def test_float_ties_are_all_midpoints_and_their_neighbours(fmt: Posit) -> None:
    x = cases.floats(fmt, "ties", torch.float32, count=10**4)
    middle = [float(posit_value(odd, fmt.n + 1, fmt.es)) for odd in range(1, 2 << (fmt.n - 1), 2)]
    wanted = torch.tensor(middle)
    up, down = (torch.nextafter(wanted, torch.tensor(d)) for d in (math.inf, 0.0))
    assert set(x.tolist()) == {s * v for s in (1, -1) for v in torch.cat((wanted, up, down)).tolist()}


@pytest.mark.parametrize("row", NARROW, ids=str)
def test_float_ties_of_minifloats_are_all_midpoints_and_their_neighbours(row: Minifloat) -> None:
    x = cases.floats(row, "ties", torch.float64, count=10**4)
    values = [to_float(m, row) for m in range(row.largest + 1)]
    values.append(2 * values[-1] - values[-2])  # what would follow the largest: from half way on, results overflow
    wanted = torch.tensor([(a + b) / 2 for a, b in itertools.pairwise(values)], dtype=torch.float64)
    up, down = (torch.nextafter(wanted, torch.tensor(d, dtype=torch.float64)) for d in (math.inf, 0.0))
    assert set(x.tolist()) == {s * v for s in (1, -1) for v in torch.cat((wanted, up, down)).tolist()}


@pytest.mark.parametrize(
    ("fmt", "dtype"),
    [
        (Posit(32), torch.float32),
        (Posit(64), torch.float64),
        (Posit(20), torch.float16),
        (Posit(40), torch.bfloat16),
    ],
    ids=str,
)
def test_where_a_midpoint_is_no_float_those_around_it_stand(fmt: Posit, dtype: torch.dtype) -> None:
    found = set(cases.floats(fmt, "ties", dtype, count=900).tolist())
    around = 0
    for x in (x for x in found if 0 < x < math.inf):
        u = floor_magnitude(Fraction(x), fmt)
        v = posit_value(2 * u + 1, fmt.n + 1, fmt.es)
        above = torch.nextafter(torch.tensor(x, dtype=dtype), torch.tensor(math.inf, dtype=dtype)).item()
        around += x < v < above and above in found
    assert around > 30


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("fmt", WIDE, ids=str)
def test_tuples_are_ties_with_their_neighbours(op: str, fmt: Posit) -> None:
    rows = rows_of(cases.tuples(op, fmt, "ties", count=300))
    results = {row: apply(op, row, fmt) for row in rows}
    ties = [row for row, result in results.items() if is_tie(result, fmt)]
    # A tie comes with two neighbours of each operand, some miss it on purpose, and a quarter are other relations.
    assert len(ties) >= 300 / (1 + 2 * len(rows[0])) / 3
    assert {rounded(results[row], fmt) % 4 for row in ties} == {0, 2}  # down and up, to even
    beside = {(*row[:i], row[i] + d, *row[i + 1 :]) for row in ties for i in range(len(row)) for d in (-1, 1)}
    assert len(beside & set(rows)) >= len(ties)
    signs = {tuple(x < 0 for x in row) for row in ties}
    assert len(signs) >= 2


@pytest.mark.parametrize("op", ["mul", "div"])
@pytest.mark.parametrize("fmt", WIDE, ids=str)
def test_some_results_miss_a_tie_by_the_least_that_is_possible(op: str, fmt: Posit) -> None:
    misses = []
    for row in rows_of(cases.tuples(op, fmt, "ties", count=200)):
        x = apply(op, row, fmt)
        if x and 0 < (u := floor_magnitude(abs(x), fmt)) < fmt.maxpos:
            v = posit_value(2 * u + 1, fmt.n + 1, fmt.es)
            misses.append(abs(abs(x) - v) / v)
    closest = min(miss for miss in misses if miss)
    assert closest < Fraction(8, 4**fmt.significand_bits)


@pytest.mark.parametrize("arity", [2, 3])
def test_operands_of_any_function_are_related(arity: int) -> None:
    fmt = Posit(32)
    mask = (1 << fmt.n) - 1
    found = {"near": 0, "opposite": 0, "a bit apart": 0}
    for a, *others in rows_of(cases.tuples(arity, fmt, "ties", count=300)):
        for b in others:
            relations = {
                "near": min((a - b) & mask, (b - a) & mask) <= 3,
                "opposite": min((a + b) & mask, -(a + b) & mask) <= 3,
                "a bit apart": ((a ^ b) & mask).bit_count() == 1,
            }
            assert any(relations.values())
            found = {name: found[name] + holds for name, holds in relations.items()}
    assert min(found.values()) > 50


def test_some_roots_miss_a_tie_by_almost_nothing() -> None:
    for fmt in WIDE:
        p, near = fmt.significand_bits, 0
        for (a,) in rows_of(cases.tuples("sqrt", fmt, "ties", count=120)):
            x = exact(a, fmt)
            if x and x > 0:
                root = Fraction(math.isqrt(int(x * 4**700)), 2**700)
                u = floor_magnitude(root, fmt)
                v = posit_value(2 * u + 1, fmt.n + 1, fmt.es)
                near += 0 < abs(x - v * v) / x < Fraction(1 << 12, 4**p)
        assert near > 5, fmt


def test_unary_ties_are_halves_with_neighbours_and_the_ends_of_integer_ranges() -> None:
    fmt = Posit(32)
    found = set(cases.patterns(fmt, "ties", count=3000).tolist())
    halves = [code for code in found if (x := exact(code, fmt)) is not None and x.denominator == 2]
    assert len(halves) > 200
    assert {code % 4 for code in halves} >= {0, 2}
    assert sum({code - 1, code + 1} <= found for code in halves) > 200
    assert {refnum.encode(torch.tensor(v), fmt).item() for v in (127.5, -127.5, 255.5, 32767.5)} <= found


@pytest.mark.parametrize("op", OPS)
def test_ties_catch_wrong_roundings_that_random_operands_miss(op: str) -> None:
    fmt = Posit(32)
    caught = {}
    for kind in ("ties", "random"):
        results = [apply(op, row, fmt) for row in rows_of(cases.tuples(op, fmt, kind, count=400))]
        right = [rounded(x, fmt) for x in results]
        caught[kind] = {
            mutant.__name__: sum(rounded(x, fmt, mutant) != want for x, want in zip(results, right, strict=True))
            for mutant in MUTANTS
        }
    assert min(caught["ties"].values()) >= 5
    assert caught["random"]["lost_sticky"] == 0
    assert caught["random"]["ties_away"] * 5 < caught["ties"]["ties_away"]


def test_float_ties_catch_wrong_roundings_that_random_floats_miss() -> None:
    fmt = Posit(24)
    caught = {}
    for kind in ("ties", "random"):
        floats = cases.floats(fmt, kind, torch.float64, count=600).tolist()
        values = [Fraction(x) if math.isfinite(x) else None for x in floats]
        right = [rounded(x, fmt) for x in values]
        caught[kind] = {mutant.__name__ for mutant in MUTANTS if right != [rounded(x, fmt, mutant) for x in values]}
    assert caught["ties"] == {"truncate", "ties_away", "lost_sticky"}
    assert caught["random"] == {"truncate"}


def test_a_product_through_float64_is_caught_by_ties_alone() -> None:
    """Rounding to float64 first is right for all random operands of posit32, and wrong."""
    fmt = Posit(32)
    wrong = {}
    for kind in ("ties", "random"):
        rows = [[exact(code, fmt) for code in row] for row in rows_of(cases.tuples("mul", fmt, kind))]
        products = [x * y for x, y in rows if x is not None and y is not None]
        wrong[kind] = sum(rounded(x, fmt) != rounded(Fraction(float(x)), fmt) for x in products)
    assert wrong["ties"] > 5
    assert wrong["random"] == 0


def test_conversion_ties_between_posits_are_midpoints_of_the_narrower() -> None:
    source, target = Posit(32), Posit(16, 1)
    found = [exact(code, source) for code in cases.conversions(source, target, "ties", count=600).tolist()]
    ties = [x for x in found if is_tie(x, target)]
    assert len(ties) > 150
    assert {rounded(x, target) % 4 for x in ties} == {0, 2}


def test_conversion_ties_from_a_wide_posit_to_floats_are_midpoints_of_floats() -> None:
    finer = Minifloat(8, 24)  # float32 with one more bit: its odd codes are the midpoints
    found = cases.conversions(Posit(64), formats.float32, "ties", count=600).tolist()
    codes = [exactly(value(code, Posit(64)), finer) for code in found]
    assert sum(code is not None and code % 2 == 1 for code in codes) > 60


@pytest.mark.parametrize("fmt", [Posit(8), Posit(16), Posit(32)], ids=str)
def test_integer_ties_are_midpoints(fmt: Posit) -> None:
    found = cases.integers(fmt, "ties", torch.int64, count=2000).tolist()
    ties = [x for x in found if is_tie(Fraction(x), fmt)]
    assert len(ties) > 30
    assert {rounded(Fraction(x), fmt) % 4 for x in ties} == {0, 2}
    assert {x + d for x in ties for d in (-1, 1) if abs(x) < 1 << 62} <= set(found)


def test_decimal_ties_are_midpoints_and_a_digit_beside_them() -> None:
    fmt = Posit(8)
    found = [Fraction(text) for text in cases.decimals(fmt, "ties", count=10**4)]
    assert set(map(abs, found)) >= {posit_value(odd, 9, 2) for odd in range(1, 256, 2)}
    assert len(set(found)) == 6 * 128
    for kind in ("edges", "spaced", "random"):
        texts = cases.decimals(fmt, kind)
        assert len({Fraction(text) for text in texts if text != "NaR"}) > 60
    assert "NaR" in cases.decimals(fmt, "edges")


@pytest.mark.parametrize("fmt", [Posit(8, 0), Posit(16), Posit(32), Posit(64, 4)], ids=str)
def test_dots_cancel_but_for_ties_and_tiny_terms(fmt: Posit) -> None:
    a, b = cases.dots(fmt, "ties", count=90, length=12)
    ties = near = tiny = 0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        terms = [exact(u, fmt) * exact(v, fmt) for u, v in zip(x, y, strict=True)]  # type: ignore[operator]
        total = sum(terms, Fraction(0))
        ties += is_tie(total, fmt)
        rest = [abs(total - t) for t in terms if t]
        near += any(is_tie(t, fmt) for t in rest if t != abs(total))
        tiny += 0 < abs(total) * 1000 < max(map(abs, terms))
        assert len(set(map(abs, terms))) >= 4  # pairs that cancel, and more
    assert ties >= 15
    assert near >= 10
    assert tiny >= 15


def test_dots_of_the_other_kinds() -> None:
    fmt = Posit(16)
    edges = torch.stack(cases.dots(fmt, "edges"))
    assert {fmt.nar, fmt.maxpos, -fmt.maxpos, 1, -1, 0} <= set(edges.flatten().tolist())
    assert (edges == fmt.nar).any(2).any(0).float().mean() < 0.5
    spaced = torch.stack(cases.dots(fmt, "spaced", count=64, length=64))
    assert len(set(spaced[0].flatten().tolist())) == len(set(spaced[1].flatten().tolist())) == 4096
    assert (spaced != fmt.nar).all()
    values = refnum.decode(cases.dots(fmt, "random", count=200)[0], fmt).abs()
    middle = ((values > 2**-6) & (values < 4)).double().mean(1)
    assert (middle == 1).sum() > 60
    assert (middle < 0.9).sum() > 60


# ---- cases: what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: cases.patterns(Posit(8), "corner"),
            ContractError,
            "cases.patterns has no kind='corner'. Choose one of edges, ties, spaced, random.",
        ),
        (
            lambda: cases.patterns("posit8", "edges"),  # type: ignore[arg-type]
            FormatError,
            "cases.patterns needs a format record, got 'posit8'. "
            "Pass Posit(n, es), Minifloat(...), or a row of refnum.formats.named().",
        ),
        (
            lambda: cases.tuples("add", refnum.e4m3, "edges"),  # type: ignore[arg-type]
            FormatError,
            f"cases.tuples needs a posit format, got {refnum.e4m3!r}. Pass Posit(n, es), for example refnum.posit16.",
        ),
        (
            lambda: cases.tuples("add", Posit(8), "ties", count=0),
            ContractError,
            "cases.tuples cannot make count=0 cases. Allowed is an int of 1 or more. Choose one.",
        ),
        (
            lambda: cases.dots(Posit(8), "ties", length=True),
            ContractError,
            "cases.dots cannot make length=True cases. Allowed is an int of 1 or more. Choose one.",
        ),
        (
            lambda: cases.tuples("hypot", Posit(8), "ties"),
            ContractError,
            "cases.tuples knows no ties of 'hypot'. Allowed are nearest_int, ceil, floor, to_int, sqrt, add, sub, mul, "
            "div, fma, fmm, and 2 or 3 for any function of so many operands. Give their number, or use cases.patterns "
            "for one operand.",
        ),
        (
            lambda: cases.exhaustive(Posit(32)),
            FormatError,
            "cases.exhaustive cannot list the 2**32 codes of posit32. Allowed are formats of at most 24 bits. "
            "Use cases.patterns, which samples.",
        ),
        (
            lambda: cases.floats(Posit(8), "ties", torch.int8),
            DTypeError,
            "cases.floats has no values of torch.int8. Allowed are float16, bfloat16, float32 and float64. "
            "Choose one of them.",
        ),
        (
            lambda: cases.integers(Posit(8), "ties", torch.float32),
            DTypeError,
            "cases.integers has no values of torch.float32. Allowed are uint8, int8, int16, int32 and int64. "
            "Choose one of them.",
        ),
    ],
)
def test_cases_refuse_what_they_cannot_make(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text


# ---- formats of other numbers ----------------------------------------------------------------------------------------

OTHERS: list[formats.Scalar] = [
    *map(
        formats.parse,
        ("fixed(8,4)", "fixed(6,-3)", "fixed(5,9)", "fixed(7,2,signed=False)", "fixed(6,2,overflow='wrap')"),
    ),
    *map(
        formats.parse, ("dmf(4,3)", "dmf(2,5,bias=-3)", "dmf(3,1)", "log(8)", "log(5,bias=0)", "log(6,zero_code=False)")
    ),
    *(formats.nf4, formats.Codebook((-3.5, 0.125, 1.0, 64.0), codes=(5, 0, 2, 7), specials={"nan": 4, "inf": 6})),
]


@pytest.mark.parametrize("fmt", OTHERS, ids=str)
def test_values_of_other_formats_are_those_of_decode(fmt: formats.Scalar) -> None:
    """Two definitions that share no code: integers of Python, and tensors of the waist."""
    for code in range(1 << fmt.width):
        want = float(refnum.decode(torch.tensor(code), fmt))
        got = to_float(code, fmt)
        assert math.isnan(got) if math.isnan(want) else (got, math.copysign(1, got)) == (want, math.copysign(1, want))


@pytest.mark.parametrize("fmt", OTHERS, ids=str)
def test_steps_go_through_all_values_in_order(fmt: formats.Scalar) -> None:
    numbers = {code: to_float(code, fmt) for code in range(1 << fmt.width)}
    finite = sorted({x for x in numbers.values() if math.isfinite(x)})
    code: int | None = next(code for code, x in numbers.items() if x == finite[0])
    walked = []
    while code is not None:
        walked.append(to_float(code, fmt))
        code = beside(code, fmt, 1)
    assert walked == finite
    code = next(code for code, x in numbers.items() if x == finite[-1])
    while code is not None:
        assert to_float(code, fmt) == walked.pop()
        code = beside(code, fmt, -1)
    assert not walked


@pytest.mark.parametrize("fmt", OTHERS, ids=str)
def test_distances_are_places_in_the_order_of_values(fmt: formats.Scalar) -> None:
    codes = torch.arange(1 << fmt.width)
    numbers = [to_float(code, fmt) for code in codes.tolist()]
    line = sorted({x for x in numbers if not math.isnan(x)})
    place = [None if math.isnan(x) else line.index(x) for x in numbers]
    for start in range(0, 1 << fmt.width, 5):
        got = testing.ulp_distance(codes, torch.full_like(codes, start), fmt).tolist()
        here = place[start]
        for distance, there in zip(got, place, strict=True):
            if here is None or there is None:
                assert distance == (0 if here is there else 2**63 - 1)
            else:
                assert distance == abs(here - there)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("fmt", OTHERS, ids=str)
def test_ties_of_other_formats_are_where_the_nearest_value_changes(fmt: formats.Scalar, dtype: torch.dtype) -> None:
    """Of every two neighbouring values the last float of the one is there, and the first of the other."""
    x = cases.floats(fmt, "ties", dtype, count=6000)
    x = x[x.isfinite()].unique()  # sorted, the zeros one
    nearest = refnum.decode(refnum.encode(x, fmt), fmt).tolist()
    beside_each_other = (x[1:] == x[:-1].nextafter(torch.tensor(math.inf, dtype=dtype))).tolist()
    crossed = {pair for pair, near in zip(itertools.pairwise(nearest), beside_each_other, strict=True) if near}
    finite = sorted({y for code in range(1 << fmt.width) if math.isfinite(y := to_float(code, fmt))})
    unit, top = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps, torch.finfo(dtype).max
    inside = {y for y in finite if not y or 8 * unit < abs(y) < top / 4}
    pairs = {(a, b) for a, b in itertools.pairwise(finite) if {a, b} <= inside and a != -b}  # the zeros are one here
    assert pairs
    assert pairs <= crossed


@pytest.mark.parametrize("fmt", OTHERS, ids=str)
@pytest.mark.parametrize("kind", cases.KINDS)
def test_codes_of_other_formats_fit_them(fmt: formats.Scalar, kind: str) -> None:
    codes = cases.patterns(fmt, kind, count=40)
    assert 0 < len(codes) <= 40
    signed = isinstance(fmt, formats.FixedPoint) and fmt.signed
    low = -(1 << (fmt.width - 1)) if signed else 0
    assert low <= int(codes.min()) <= int(codes.max()) < low + (1 << fmt.width)
    assert len(cases.exhaustive(fmt).unique()) == 1 << fmt.width


def test_what_has_no_codes_of_single_values_is_refused() -> None:
    for call in (
        cases.exhaustive,
        lambda fmt: cases.patterns(fmt, "edges"),
        lambda fmt: cases.floats(fmt, "edges", torch.float32),
    ):
        with pytest.raises(FormatError, match="needs a format of single values, got mxfp4"):
            call(formats.mxfp4)
    with pytest.raises(FormatError, match="conversions needs a floating-point format, got nf4"):
        cases.conversions(formats.nf4, Posit(8), "edges")
