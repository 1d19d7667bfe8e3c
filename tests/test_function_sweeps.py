"""Sweeps of elementary functions: all operands come by, faults are found, and the nearest ties are the nearest."""

from __future__ import annotations

import random
from fractions import Fraction
from math import isfinite
from pathlib import Path

import numpy as np
import pytest
import torch
from refnum_conformance import exhaustive, function_sweeps, near_ties, vectors
from refnum_conformance.function_sweeps import END, FMT, ONE, PEERS, REAL, PatternSweep, RandomSweep
from refnum_conformance.near_ties import STRETCH, Finds, Scan
from refnum_conformance.oracles import distances, elementary, posit_literal
from refnum_conformance.oracles.reals import Dyadic, opposite
from refnum_conformance.peers import libm, mpfr
from refnum_conformance.sweeps import Outcome
from torch import Tensor

import refnum
from refnum import decode, posit

POSSIBLE, REASON = mpfr.available()
pytestmark = pytest.mark.skipif(not POSSIBLE, reason=REASON)

EXP2, LOG2 = PatternSweep("exp2"), PatternSweep("log2")
COUNT = 1 << 12
SEAMS = (-END, -ONE - COUNT // 2, -COUNT, 0, ONE - COUNT // 2, END - COUNT)  #: NaR, -1, 0, 1, the ends


def _literal(row: str, *operands: int) -> int:
    return elementary.of_posits(elementary.BY_STANDARD[row])(*operands, n=FMT.n, es=FMT.es)


# ---- distances ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "es"), [(8, 0), (16, 1), (32, 2)])
def test_a_tie_is_a_pattern_with_one_bit_more(n: int, es: int) -> None:
    """Whatever the regime: also where it leaves no fraction, and no exponent."""
    largest = (1 << (n - 1)) - 2
    some = {1, 2, 3, largest, *(1 << k for k in range(n - 2)), *random.Random(n).sample(range(1, largest), 100)}
    for pattern in some:
        for bits, more, distance in ((0, 0, 2), (1, 1, 0), (2, 1, 1), (2, 3, 1), (3, 3, Fraction(1, 2))):
            longer = posit_literal.value(pattern << bits | more, n + bits, es)
            for y in (longer, opposite(longer)):
                assert distances.places(y, n, es) == Fraction(distance) / 4, (hex(pattern), bits, more)


def test_a_distance_is_that_of_the_value() -> None:
    """1 + 2**-28 is a tie; its exponential is beyond by half its square, in units of 2**-27."""
    (tie,) = mpfr.posit_patterns(np.array([2.0**-28]), FMT.n, FMT.es).tolist()
    distance = distances.to_tie("exp", tie, FMT.n, FMT.es)
    assert distance is not None
    assert abs(distance * 2**30 - 1) < Fraction(1, 2**26)
    assert distances.to_tie("exp", -END, FMT.n, FMT.es) is None
    assert distances.to_tie("exp", END - 1, FMT.n, FMT.es) is None, "beyond the range nothing rounds"
    assert distances.to_tie("log", -ONE, FMT.n, FMT.es) is None


# ---- the scan for near ties ---------------------------------------------------------------------------------------


def test_every_function_of_one_number_is_scanned() -> None:
    assert [scan.row for scan in near_ties.SCANS] == list(REAL)
    assert set(REAL) == {f.standard for f in elementary.FUNCTIONS if f.standard and f.operands == "x"}


@pytest.mark.parametrize("row", REAL)
def test_functions_are_scanned_where_they_are_real(row: str) -> None:
    """What is left out is NaR, or the mirror image of what is not."""
    first, end = REAL[row]
    assert first % STRETCH == 0
    step = END // 1024
    outside = [*range(-END, first, step), *range(end, END, step)]
    signs = {sign for sign in (1, -1) for x in (end // 3, end // 7) if _literal(row, -x) == sign * _literal(row, x)}
    for x in outside:
        mirrored = _literal(row, -x) in (_literal(row, x), -_literal(row, x)) and first <= -x <= end
        assert _literal(row, x) == -END or (mirrored and len(signs) == 1), hex(x)


def test_stretches_have_the_values_of_their_patterns() -> None:
    near_zero = [k * STRETCH for k in (-2, -1, 0, 1, 2, 3, 4, 8, 16, 32)]
    ends = [-END, STRETCH - END, END - STRETCH, ONE - STRETCH, ONE, -ONE, -ONE - STRETCH]
    anywhere = [STRETCH * k for k in random.Random(1).sample(range(-END // STRETCH, END // STRETCH), 50)]
    starts = torch.tensor([*near_zero, *ends, *anywhere])
    for start, (first, x) in zip(starts.tolist(), near_ties.stretches(starts), strict=True):
        assert first == start
        torch.testing.assert_close(x, decode(torch.arange(first, first + STRETCH), FMT), rtol=0, atol=0, equal_nan=True)


def _around_ties() -> Tensor:
    """Numbers at several distances from a tie, of every regime; and what is none."""
    generator, found = random.Random(2), [0.0, float("inf"), float("nan"), 2.0**-1074, 2.0**1023, 1.0, 2.0**120]
    for k in range(-30, 30):
        bits = 31 - (k + 2 if k >= 0 else 1 - k)
        for pattern in (generator.randrange(1 << bits) for _ in range(8)):
            body = ((2 << (k + 1)) - 2 if k >= 0 else 1) << bits | pattern
            tie = float(posit_literal.value(body << 1 | 1, FMT.n + 1, FMT.es).fraction())
            place = tie * 2.0 ** -max(0, bits - 2)
            found += [tie + place * 2.0**-reach * sign for reach in (17, 17.9, 18.1, 19, 25) for sign in (1, -1)]
            found.append(tie)
    y = torch.tensor(found, dtype=torch.float64)
    return torch.cat([y, -y])


def _places(x: float) -> Fraction | None:
    if x == 0 or not isfinite(x):
        return None
    numerator, denominator = x.as_integer_ratio()
    return distances.places(Dyadic(numerator, 1 - denominator.bit_length()), FMT.n, FMT.es)


def test_numbers_near_a_tie_are_told() -> None:
    y = _around_ties()
    exact = [_places(x) for x in y.tolist()]
    inside = {i for i, x in enumerate(exact) if x is not None and x < Fraction(1, 1 << near_ties.REACH)}
    window = {i for i, x in enumerate(exact) if x is not None and x <= Fraction(1, 1 << near_ties.REACH)}
    kept = {i for i in near_ties.near_ties(y.clone()).tolist() if exact[i] is not None}
    assert 100 < len(inside) < len(exact) - 100
    assert inside <= kept <= window


@pytest.mark.parametrize("row", ["exp2", "r_sqrt", "arc_sin_pi", "cos"])
def test_a_scan_keeps_what_it_promises(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_ties, "REACH", 7)
    scan, start = Scan(row), (ONE >> 1) + 5 * STRETCH
    kept = scan.prepared(torch.tensor([start])).tolist()
    name = elementary.BY_STANDARD[row].name
    exact = {x: distances.to_tie(name, x, FMT.n, FMT.es) for x in range(start, start + STRETCH, 17)}
    near = {x for x, distance in exact.items() if distance is not None and distance < scan.promise}
    assert near
    assert near == {x for x in kept if x in exact}


def test_finds_are_kept(tmp_path: Path) -> None:
    finds, scan = Finds(tmp_path), Scan("sqrt")
    finds[scan].add(3, [scan.compare((), torch.tensor(found)) for found in ([7, 5], [])], 1 << 24, 0.1)
    finds.save()
    finds[scan].add(1, [scan.compare((), torch.tensor([9]))], 1 << 24, 0.1)
    again = Finds(tmp_path)
    assert (again[scan].done, again[scan].patterns.tolist()) == ([3], [7, 5])
    finds.save()
    again = Finds(tmp_path)
    assert (again[scan].done, again[scan].patterns.tolist()) == ([3, 1], [7, 5, 9])
    assert again[Scan("exp")].done == []


def test_too_few_near_ties_are_no_list() -> None:
    with pytest.raises(ValueError, match=r"sqrt needs a larger window: within .* of a tie there are 10 results"):
        near_ties.listed(Scan("sqrt"), np.arange(ONE, ONE + 10))


# ---- what was found -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nearest() -> dict[str, np.ndarray]:
    with np.load(vectors.directory() / "posit32_near_ties.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@pytest.mark.parametrize("row", REAL)
def test_refnum_is_right_at_the_nearest_ties(row: str, nearest: dict[str, np.ndarray]) -> None:
    operands, results = (torch.from_numpy(nearest[f"{row}_{column}"]) for column in ("operands", "results"))
    function = getattr(posit, row)
    assert len(operands) == near_ties.LISTED
    assert function(operands, FMT).equal(results)
    assert function(-operands, FMT).tolist() == [_literal(row, -x) for x in operands.tolist()]
    ties = torch.from_numpy(nearest[f"{row}_ties"])
    assert function(ties, FMT).tolist() == [_literal(row, x) for x in ties.tolist()]


@pytest.mark.parametrize("row", REAL)
def test_the_nearest_ties_are_in_order(row: str, nearest: dict[str, np.ndarray]) -> None:
    operands, near = nearest[f"{row}_operands"].tolist(), nearest[f"{row}_distances"]
    assert len(set(operands)) == near_ties.LISTED
    assert (np.diff(near) >= 0).all()
    assert 0 < near[0] <= near[-1] <= Scan(row).promise
    name = elementary.BY_STANDARD[row].name
    for i in (0, 1, near_ties.LISTED - 1):
        exact = distances.to_tie(name, operands[i], FMT.n, FMT.es)
        assert exact is not None
        assert (float(exact), distances.digits(exact)) == (near[i], nearest[f"{row}_digits"][i])
    assert all(distances.to_tie(name, x, FMT.n, FMT.es) == 0 for x in nearest[f"{row}_ties"].tolist())


# ---- all patterns -------------------------------------------------------------------------------------------------


def test_the_sweeps_are_those_that_were_promised() -> None:
    assert {"sqrt", "r_sqrt", "exp2", "log2"} <= {sweep.row for sweep in PEERS["functions"].sweeps}
    assert {sweep.row for sweep in PEERS["mpfr"].sweeps} == {f.standard for f in elementary.FUNCTIONS if f.standard}
    assert {sweep.total for sweep in PEERS["functions"].sweeps} == {1 << 32}
    assert all(sweep.total >= 20_000_000 for sweep in PEERS["mpfr"].sweeps)


def test_every_source_that_is_named_is_there() -> None:
    root = Path(refnum.__file__).parent
    assert all(list(root.glob(pattern)) for pattern in function_sweeps.SOURCES)


def test_patterns_are_counted_through() -> None:
    (first,), (last,) = EXP2.operands(0, 3), EXP2.operands((1 << 32) - 2, 2)
    assert first.tolist() == [-END, 1 - END, 2 - END]
    assert last.tolist() == [END - 2, END - 1]


@pytest.mark.parametrize("row", libm.FUNCTIONS)
@pytest.mark.parametrize("first", SEAMS)
def test_pieces_at_the_seams_are_equal(row: str, first: int) -> None:
    sweep = PatternSweep(row)
    outcome = exhaustive.check(sweep, sweep.function, first + END, COUNT)
    assert (outcome.mismatches, outcome.first) == (0, ())
    assert outcome.defined > function_sweeps.PICKED / 2


@pytest.mark.parametrize("row", libm.FUNCTIONS)
def test_the_c_library_is_sure_only_where_it_is_right(row: str) -> None:
    patterns = np.concatenate([np.arange(first, first + 64, dtype=np.int32) for first in SEAMS])
    patterns = np.concatenate([patterns, np.random.default_rng(1).integers(-END, END, 4000, dtype=np.int32)])
    results, doubtful = libm.posit32(row, patterns)
    name = elementary.BY_STANDARD[row].name
    for pattern, result, doubt in zip(patterns.tolist(), results.tolist(), doubtful.tolist(), strict=True):
        distance = distances.to_tie(name, pattern, FMT.n, FMT.es)
        assert doubt == (distance is not None and distance < Fraction(1, 1 << 18)), hex(pattern)
        assert doubt or result == _literal(row, pattern), hex(pattern)


def test_a_wrong_result_is_found_and_named() -> None:
    def wrong(a: Tensor) -> Tensor:
        result = LOG2.function(a)
        result[5] += 1
        return result

    outcome = exhaustive.check(LOG2, wrong, ONE + END, COUNT)
    right = _literal("log2", ONE + 5)
    assert outcome.mismatches == 1
    assert outcome.first == (f"log2 {ONE + 5:#x}: refnum {right + 1:#x}, {right:#x} is right",)


def test_a_wrong_tie_is_found_and_named() -> None:
    """The C library does not tell: 2**113 lies between 2**112 and 2**114."""
    start = 0x6B100000

    def wrong(a: Tensor) -> Tensor:
        result = EXP2.function(a)
        result[0] += 1
        return result

    outcome = exhaustive.check(EXP2, wrong, start + END, COUNT)
    assert outcome.first == (f"exp2 {start:#x}: refnum 0x7ffffffd, 0x7ffffffc is right",)


def test_a_wrong_definition_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        function_sweeps, "decide", lambda *arguments: torch.zeros(len(arguments[1][0]), dtype=torch.int64)
    )
    outcome = exhaustive.check(EXP2, EXP2.function, END + ONE, COUNT)
    assert outcome.mismatches == outcome.defined > 0


# ---- random operands ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep", PEERS["mpfr"].sweeps, ids=str)
def test_random_operands_are_the_same_each_time_and_equal(sweep: RandomSweep) -> None:
    operands, again, others = (sweep.operands(start, COUNT) for start in (0, 0, COUNT))
    assert all(x.equal(y) for x, y in zip(operands, again, strict=True))
    assert not operands[0].equal(others[0])
    assert sweep.compare(operands, sweep.function(*operands)) == Outcome(0)


def test_pairs_have_structure() -> None:
    a, b = (x.numpy().astype(np.int64) for x in RandomSweep("pow").operands(0, 1 << 16))
    close = (np.abs(a - b) <= 4) | (np.abs(a + b) <= 4)
    assert 0.05 < close.mean() < 0.10
    corner = np.isin(b, function_sweeps.CORNERS[:, None] + np.arange(-4, 5))
    assert 0.05 < corner.mean() < 0.20


def test_a_wrong_power_is_found_and_named() -> None:
    sweep = RandomSweep("compound")
    x, k = sweep.operands(0, COUNT)
    result = sweep.function(x, k)
    right = int(result[7])
    result[7] = right - 1
    outcome = sweep.compare((x, k), result)
    words = [f"{value & 0xFFFFFFFF:#x}" for value in (int(x[7]), right - 1, right)]
    assert outcome.mismatches == 1
    assert outcome.first == (f"compound {words[0]} {int(k[7])}: refnum {words[1]}, {words[2]} is right",)


def test_each_kind_has_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exhaustive, "sweep_all", lambda sweeps, ledger, *more: ledger.save() or True)
    for peer, name in (("functions", "exhaustive-functions"), ("mpfr", "random-mpfr")):
        assert exhaustive.main(["--peer", peer, "--results", str(tmp_path)]) == 0
        assert (tmp_path / f"{name}.md").read_text().startswith(f"# {name.split('-')[0].capitalize()} sweeps against ")
