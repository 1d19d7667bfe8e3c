"""The exhaustive sweeps: every input comes by, a wrong result is found, and the ledger can be trusted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from refnum_conformance import exhaustive
from refnum_conformance.exhaustive import BLOCK, Ledger
from refnum_conformance.peers import ml_dtypes, softposit
from refnum_conformance.sweeps import PEERS, MinifloatSweep, Outcome, PositSweep, Sweep
from torch import Tensor

import refnum
from refnum.formats import Minifloat, e2m1, e4m3, e4m3fnuz, e5m2, e5m2fnuz

POSSIBLE, REASON = softposit.compiled()
needs_loops = pytest.mark.skipif(not POSSIBLE, reason=REASON)
INSTALLED, HOW = ml_dtypes.available()
needs_ml_dtypes = pytest.mark.skipif(not INSTALLED, reason=HOW)

POSITS, MINIFLOATS = PEERS["softposit"], PEERS["ml_dtypes"]
ADD, ENCODE = PositSweep("add", 16, 2), PositSweep("encode", 16, 2)
SHORT, LONG = MinifloatSweep(e4m3, "bfloat16"), MinifloatSweep(replace(e4m3, overflow="nan"), "float32")
COUNT = 1 << 12
TOTAL = 1 << 32


# ---- what is swept ------------------------------------------------------------------------------------------------


def test_the_sweeps_are_those_that_were_promised() -> None:
    sweeps = [sweep for sweep in POSITS.sweeps if isinstance(sweep, PositSweep)]
    pairs = {(s.operation, s.n, s.es) for s in sweeps if s.operation != "encode"}
    assert pairs == {(op, 16, es) for op in ("add", "sub", "mul", "div") for es in (1, 2)}
    assert {(s.n, s.es) for s in sweeps if s.operation == "encode"} == {(8, 2), (16, 2), (32, 2)}
    assert {s.total for s in POSITS.sweeps} == {TOTAL}
    both = {(s.fmt, s.dtype) for s in MINIFLOATS.sweeps if isinstance(s, MinifloatSweep)}
    saturating, overflowing = (e2m1, e4m3, e5m2), (replace(e4m3, overflow="nan"), replace(e5m2, overflow="inf"))
    assert both >= {(fmt, dtype) for fmt in (*saturating, *overflowing) for dtype in ("bfloat16", "float32")}
    assert {s.total for s in MINIFLOATS.sweeps} == {1 << 16, TOTAL}


def test_no_two_sweeps_have_one_name() -> None:
    for peer in PEERS.values():
        assert len({str(sweep) for sweep in peer.sweeps}) == len(peer.sweeps)
    assert str(LONG) == "encode e4m3,nan of float32"


def test_pairs_are_counted_through() -> None:
    a, b = ADD.operands(0x8000_0000 - 2, 4)
    assert a.tolist() == [0x7FFF, 0x7FFF, -0x8000, -0x8000]
    assert b.tolist() == [-2, -1, 0, 1]
    assert all(x[-1] == -1 for x in ADD.operands(TOTAL - 4, 4))


@pytest.mark.parametrize("sweep", [ENCODE, LONG], ids=str)
def test_floats_are_counted_through_by_their_bits(sweep: Sweep) -> None:
    (x,) = sweep.operands(0x7F80_0000 - 1, 3)
    assert x.dtype == torch.float32
    assert x.view(torch.int32).tolist() == [0x7F7F_FFFF, 0x7F80_0000, 0x7F80_0001]
    (x,) = sweep.operands(TOTAL - 1, 1)
    assert x.view(torch.int32).tolist() == [-1]


def test_so_are_short_floats() -> None:
    (x,) = SHORT.operands(0, 1 << 16)
    assert x.dtype == torch.bfloat16
    assert sorted(x.view(torch.int16).tolist()) == list(range(-(1 << 15), 1 << 15))


def test_a_block_is_done_in_pieces_that_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def check(sweep: Sweep, run: object, start: int, count: int) -> Outcome:
        seen.append((start, count))
        return Outcome(0)

    monkeypatch.setattr(exhaustive, "check", check)
    outcomes, count, _ = exhaustive.check_block(LONG, 3)
    assert (len(outcomes), count) == (len(seen), BLOCK)
    assert seen == [(start, exhaustive.PIECE) for start in range(3 * BLOCK, 4 * BLOCK, exhaustive.PIECE)]
    seen.clear()
    _, count, _ = exhaustive.check_block(SHORT, 0)
    assert (seen, count) == ([(0, 1 << 16)], 1 << 16)
    assert (exhaustive.blocks(SHORT), exhaustive.blocks(LONG)) == (1, TOTAL // BLOCK)


# ---- what is found ------------------------------------------------------------------------------------------------


@needs_loops
@pytest.mark.parametrize("sweep", POSITS.sweeps, ids=str)
@pytest.mark.parametrize("start", [0, 0x3F80_0000, 0x7F80_0000 - COUNT // 2, 0x8000_0000 - COUNT // 2, TOTAL - COUNT])
def test_pieces_at_the_seams_are_equal(sweep: Sweep, start: int) -> None:
    assert exhaustive.check(sweep, sweep.function, start, COUNT) == Outcome(0)


@needs_loops
def test_a_wrong_result_is_found_and_named() -> None:
    def wrong(a: Tensor, b: Tensor) -> Tensor:
        result = ADD.function(a, b)
        result[5] += 1
        return result

    outcome = exhaustive.check(ADD, wrong, 0x4000_4000, COUNT)
    assert outcome.mismatches == 1
    assert outcome.first == ("add 0x4000 0x4005: refnum 0x4803, SoftPosit 0x4802",)


def _bits(value: float) -> int:
    return int(torch.tensor(value).view(torch.int32)) & 0xFFFFFFFF


@needs_ml_dtypes
@pytest.mark.parametrize("sweep", MINIFLOATS.sweeps, ids=str)
def test_every_bfloat16_and_seams_of_float32_are_equal(sweep: Sweep) -> None:
    assert isinstance(sweep, MinifloatSweep)
    if sweep.dtype == "bfloat16":
        ((outcome,), count, _) = exhaustive.check_block(sweep, 0)
        assert (outcome.mismatches, outcome.defined, count) == (0, 1 << 16, 1 << 16)
        return
    least = 2.0 ** (sweep.fmt.min_scale - sweep.fmt.mantissa)
    for value in (0.0, -0.0, least / 2, -least, 1.0, sweep.fmt.max_value, -sweep.fmt.max_value, 2.0**127):
        for start in (_bits(value), (_bits(value) - COUNT) % TOTAL):
            outcome = exhaustive.check(sweep, sweep.function, start, COUNT)
            assert (outcome.mismatches, outcome.first) == (0, ())
            assert outcome.defined in (1, 3), "at one end or the other"


@needs_ml_dtypes
@pytest.mark.parametrize(
    ("fmt", "left_out"),
    [
        (e2m1, 2 * 127),  # NaNs
        (replace(e4m3, overflow="nan"), 0),
        (replace(e5m2, overflow="inf"), 0),
        (replace(e4m3fnuz, overflow="nan"), 0),
        (e4m3, 2 * (0x7FFF - 0x43E8)),  # beyond 464, which ml_dtypes rounds to 448
        (e5m2, 2 * (0x8000 - 0x4770)),  # from 61440 on, which it rounds to Inf
        (e5m2fnuz, 2 * (0x8000 - 0x4770)),
    ],
    ids=str,
)
def test_what_is_left_out(fmt: Minifloat, left_out: int) -> None:
    ((outcome,), _, _) = exhaustive.check_block(MinifloatSweep(fmt, "bfloat16"), 0)
    assert (outcome.mismatches, outcome.left_out) == (0, left_out)


@needs_ml_dtypes
@pytest.mark.parametrize("sweep", [SHORT, LONG], ids=str)
def test_a_wrong_code_is_found_and_named(sweep: MinifloatSweep) -> None:
    def wrong(x: Tensor) -> Tensor:
        result = sweep.function(x)
        result[5] ^= 1
        return result

    start = 0x3F80 if sweep.dtype == "bfloat16" else 0x3F80_0000
    outcome = exhaustive.check(sweep, wrong, start, 64)
    assert outcome.mismatches == 1
    assert outcome.first == (f"{sweep}, {start + 5:#x}: refnum 0x39, ml_dtypes 0x38, by definition 0x38",)


@needs_ml_dtypes
def test_where_the_peer_tells_nothing_the_definition_does() -> None:
    """Saturation, and which NaN is written."""
    saturates = exhaustive.check(SHORT, lambda x: refnum.encode(x, e4m3) - (x == 1024).to(torch.uint8), 0, 1 << 16)
    assert saturates.mismatches == 1
    assert saturates.first == (f"{SHORT}, 0x4480: refnum 0x7d, ml_dtypes 0x7f, by definition 0x7e",)
    nans = exhaustive.check(SHORT, lambda x: refnum.encode(x, e4m3) | (x.isnan().to(torch.uint8) << 7), 0, 1 << 16)
    assert nans.mismatches == 2 * 127


# ---- the ledger ---------------------------------------------------------------------------------------------------


def _open(path: Path, *, restart: bool = False) -> Ledger:
    return Ledger.open(path / "exhaustive-softposit.json", POSITS, restart=restart)


def test_the_ledger_continues_where_it_was(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    for block in (0, 1, 7, 2):
        ledger[ADD].add(block, [Outcome(0)], BLOCK, 0.5)
    wrong = Outcome(2, ("encode 0x1: refnum 0x1, SoftPosit 0x0",), left_out=5, defined=7)
    ledger[ENCODE].add(3, [Outcome(0), wrong, Outcome(1, left_out=1)], BLOCK, 0.25)
    ledger.save()
    again = _open(tmp_path)
    assert sorted(again[ADD].done) == [0, 1, 2, 7]
    assert (again[ADD].seconds, again[ENCODE].mismatches) == (2.0, 3)
    assert (again[ENCODE].checked, again[ENCODE].left_out, again[ENCODE].defined) == (BLOCK, 6, 7)
    assert again[ENCODE].first == ledger[ENCODE].first == list(wrong.first)
    stored = json.loads((tmp_path / "exhaustive-softposit.json").read_text())
    assert stored["sweeps"][str(ADD)]["done"] == [[0, 2], [7, 7]]
    assert f"| add | posit16 | {TOTAL:,} | {4 * BLOCK:,} | 0 | 0 | 0 |" in again.table()
    assert f"| encode | posit16 | {TOTAL:,} | {BLOCK:,} | 6 | 7 | 3 |" in again.table()
    assert wrong.first[0] in again.table()


def test_the_ledger_holds_for_one_set_of_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = _open(tmp_path)
    ledger[ADD].add(0, [Outcome(0)], BLOCK, 0.5)
    ledger.save()
    monkeypatch.setattr(exhaustive, "provenance", lambda peer: ledger.made | {"sources": "other"})
    with pytest.raises(SystemExit, match=r"cannot continue exhaustive-softposit\.json: sources .* then, other now"):
        _open(tmp_path)
    assert _open(tmp_path, restart=True).tallies == {}


def test_every_source_that_is_named_is_there() -> None:
    root = Path(refnum.__file__).parent
    for peer in PEERS.values():
        assert all(list(root.glob(pattern)) for pattern in peer.sources)


def test_a_word_that_names_no_sweep_is_an_error() -> None:
    with pytest.raises(SystemExit, match="No sweep has sqrt in its name"):
        exhaustive.main(["--only", "sqrt"])
    with pytest.raises(SystemExit, match="No sweep has add in its name"):
        exhaustive.main(["--peer", "ml_dtypes", "--only", "add"])


@needs_ml_dtypes
def test_a_whole_run(tmp_path: Path) -> None:
    arguments = ["--peer", "ml_dtypes", "--only", "of bfloat16", "--workers", "1", "--results", str(tmp_path)]
    assert exhaustive.main(arguments) == 0
    assert exhaustive.main(arguments) == 0, "with nothing left to do"
    table = (tmp_path / "exhaustive-ml_dtypes.md").read_text()
    assert "| encode | e5m2,inf of bfloat16 | 65,536 | 65,536 | 0 | 65,536 | 0 |" in table
    assert "Left out is what ml_dtypes cannot tell" in table


@needs_ml_dtypes
def test_a_peer_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(MINIFLOATS, ready=lambda: (False, "it is not installed"))
    monkeypatch.setitem(exhaustive.PEERS, "ml_dtypes", missing)
    with pytest.raises(SystemExit, match="need ml_dtypes: it is not installed"):
        exhaustive.main(["--peer", "ml_dtypes"])
