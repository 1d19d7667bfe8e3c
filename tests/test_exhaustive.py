"""The exhaustive sweeps: every input comes by, a wrong result is found, and the ledger can be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from refnum_conformance import exhaustive
from refnum_conformance.exhaustive import BLOCK, BLOCKS, SWEEPS, TOTAL, Ledger, Sweep
from refnum_conformance.peers import softposit
from torch import Tensor

POSSIBLE, REASON = softposit.compiled()
needs_loops = pytest.mark.skipif(not POSSIBLE, reason=REASON)

ADD, ENCODE = Sweep("add", 16, 2), Sweep("encode", 16, 2)
COUNT = 1 << 12


def test_the_sweeps_are_those_that_were_promised() -> None:
    pairs = {(s.operation, s.n, s.es) for s in SWEEPS if s.operation != "encode"}
    assert pairs == {(op, 16, es) for op in ("add", "sub", "mul", "div") for es in (1, 2)}
    assert {(s.n, s.es) for s in SWEEPS if s.operation == "encode"} == {(8, 2), (16, 2), (32, 2)}
    assert TOTAL == BLOCK * BLOCKS == 2**32


def test_pairs_are_counted_through() -> None:
    a, b = exhaustive.operands(ADD, 0x8000_0000 - 2, 4)
    assert a.tolist() == [0x7FFF, 0x7FFF, -0x8000, -0x8000]
    assert b.tolist() == [-2, -1, 0, 1]
    assert all(x[-1] == -1 for x in exhaustive.operands(ADD, TOTAL - 4, 4))


def test_floats_are_counted_through_by_their_bits() -> None:
    (x,) = exhaustive.operands(ENCODE, 0x7F80_0000 - 1, 3)
    assert x.dtype == torch.float32
    assert x.view(torch.int32).tolist() == [0x7F7F_FFFF, 0x7F80_0000, 0x7F80_0001]
    (x,) = exhaustive.operands(ENCODE, TOTAL - 1, 1)
    assert x.view(torch.int32).tolist() == [-1]


@needs_loops
@pytest.mark.parametrize("sweep", SWEEPS, ids=str)
@pytest.mark.parametrize("start", [0, 0x3F80_0000, 0x7F80_0000 - COUNT // 2, 0x8000_0000 - COUNT // 2, TOTAL - COUNT])
def test_pieces_at_the_seams_are_equal(sweep: Sweep, start: int) -> None:
    assert exhaustive.check(sweep, exhaustive.function(sweep), start, COUNT) == (0, [])


@needs_loops
def test_a_wrong_result_is_found_and_named() -> None:
    def wrong(a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = exhaustive.function(ADD)(a, b)
        result[5] += 1
        return result

    mismatches, shown = exhaustive.check(ADD, wrong, 0x4000_4000, COUNT)
    assert mismatches == 1
    assert shown == ["add 0x4000 0x4005: refnum 0x4803, SoftPosit 0x4802"]


def _open(path: Path, *, restart: bool = False) -> Ledger:
    return Ledger.open(path / exhaustive.LEDGER, restart=restart)


def test_the_ledger_continues_where_it_was(tmp_path: Path) -> None:
    ledger = _open(tmp_path)
    for block in (0, 1, 7, 2):
        ledger[ADD].add(block, 0, [], 0.5)
    ledger[ENCODE].add(3, 2, ["encode 0x1: refnum 0x1, SoftPosit 0x0"], 0.25)
    ledger.save()
    again = _open(tmp_path)
    assert sorted(again[ADD].done) == [0, 1, 2, 7]
    assert (again[ADD].seconds, again[ENCODE].mismatches) == (2.0, 2)
    assert again[ENCODE].first == ledger[ENCODE].first
    stored = json.loads((tmp_path / exhaustive.LEDGER).read_text())
    assert stored["sweeps"][str(ADD)]["done"] == [[0, 2], [7, 7]]
    assert f"| add | posit16 | {TOTAL:,} | {4 * BLOCK:,} | 0 |" in again.table()


def test_the_ledger_holds_for_one_set_of_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = _open(tmp_path)
    ledger[ADD].add(0, 0, [], 0.5)
    ledger.save()
    monkeypatch.setattr(exhaustive, "provenance", lambda: ledger.made | {"sources": "other"})
    with pytest.raises(SystemExit, match=r"cannot continue exhaustive-softposit\.json: sources .* then, other now"):
        _open(tmp_path)
    assert _open(tmp_path, restart=True).tallies == {}


def test_a_word_that_names_no_sweep_is_an_error() -> None:
    with pytest.raises(SystemExit, match="No sweep has sqrt in its name"):
        exhaustive.main(["--only", "sqrt"])
