"""The mutant check: it makes every mistake it knows, and what is wrong does not get through."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from refnum_conformance import mutant_suite, mutant_waist, mutants
from refnum_conformance.equivalent_mutants import EQUIVALENT, PROOFS, Key
from refnum_conformance.mutants import CORE, PACKAGE, Judgement, Ledger, Mutant, Verdict

TOY = '''
"""A text with 1 number."""
from __future__ import annotations

SIZE = 7

def mix(a: Tensor | int, b: Tensor, kind: str = "0") -> Tensor | None:
    """Mix 2 of them."""
    assert SIZE == 7
    low = (a & b) | (a ^ ~b) << SIZE
    high = -a + b - SIZE * 3 // 2 % 5
    if len(low) == 1 or not high < 0 <= low:
        low >>= 62
    match kind:
        case "0":
            return select(low, a.clamp(min=0), sticky(b)) if high else torch.maximum(low, 1 / high)
        case _:
            return max(low, high) >> 63
'''
KINDS = {
    *("comparison", "constant + 1", "constant - 1", "& and |", "^ to |, &", "shift direction", "+ and -", "* / // %"),
    *("dropped term", "dropped ~, -, not", "dropped call", "swapped choices", "min and max", "and, or"),
}

ROUND = (PACKAGE / "core" / "round.py").read_text()
#: what is wrong -> (text of core/round.py, the text in its place)
BAD = {
    "nothing": ("", ""),
    "truncate": ('"nearest_even": _nearest_even', '"nearest_even": _toward_zero'),
    "ties away": ('"nearest_even": _nearest_even', '"nearest_even": _nearest_away'),
    "lost sticky": ("sticky(w.tail) & ~w.sign", "sticky(w.tail >> (w.tail_bits - 4)) & ~w.sign"),
    "no such name": ("sticky(w.tail)", "stricky(w.tail)"),
    "no end": ("def _nearest_even(", "while True: pass\ndef _nearest_even("),
}


@pytest.fixture(scope="module")
def toys() -> list[Mutant]:
    return list(mutants.generate("toy", TOY))


def test_every_kind_of_mistake_is_made(toys: list[Mutant]) -> None:
    assert {m.kind for m in toys} == KINDS
    assert len(toys) >= 60


def test_a_mutant_is_the_file_with_one_mistake(toys: list[Mutant]) -> None:
    programs = [ast.dump(ast.parse(m.source)) for m in toys]
    assert len({*programs, ast.dump(ast.parse(TOY))}) == len(toys) + 1
    assert len({m.key for m in toys}) == len(toys)
    for part in ("A text with 1 number.", "Mix 2 of them.", "a: Tensor | int", "-> Tensor | None", "assert SIZE == 7"):
        assert all(part in m.source for m in toys)


def test_mistakes_are_named_by_what_is_around_them(toys: list[Mutant]) -> None:
    keys = {m.key for m in toys}
    assert Key("toy", "", "SIZE = 7", "SIZE = 8") in keys
    assert Key("toy", "mix", "a.clamp(min=0)", "a.clamp(max=0)") in keys
    assert Key("toy", "mix", "a ^ ~b", "a | ~b") in keys
    assert Key("toy", "mix", "high < 0 <= low", "high < 1 <= low") in keys
    assert Key("toy", "mix", "low >>= 62", "pass") in keys
    assert str(Key("toy", "mix", "a", "b", 2)) == "toy.mix: `a` -> `b` (no. 2)"


def test_the_core_has_hundreds_and_proofs_name_them() -> None:
    every = mutants.core()
    assert {m.file for m in every} == set(CORE)
    assert min(Counter(m.file for m in every).values()) >= 60
    assert set(EQUIVALENT) <= {m.key for m in every}
    assert all(len(proof) > 20 for proof in EQUIVALENT.values())
    assert len(EQUIVALENT) == sum(len(keys) for _, keys in PROOFS)


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Verdict]:
    """Of all that is `BAD`, from a process that has not imported refnum's operations."""
    answer = subprocess.run([sys.executable, __file__], check=True, capture_output=True, text=True).stdout
    return {name: Verdict(**verdict) for name, verdict in json.loads(answer).items()}


def test_what_is_right_gets_through(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["nothing"] == Verdict(None)


@pytest.mark.parametrize("mistake", ["truncate", "ties away", "lost sticky"])
def test_wrong_roundings_are_noticed(verdicts: dict[str, Verdict], mistake: str) -> None:
    assert verdicts[mistake].how == "differs"


def test_what_never_ends_or_raises_is_noticed(verdicts: dict[str, Verdict]) -> None:
    assert verdicts["no end"] == Verdict("the clock", "took too long")
    assert verdicts["no such name"].how == "NameError"


@pytest.mark.parametrize("count", [-1, 64])
def test_shifts_that_torch_leaves_open_are_noticed(count: int) -> None:
    with mutant_suite._DefinedOnly():
        assert (torch.tensor([0]) << count).item() == 0
        assert (torch.tensor([3]) >> 63).item() == 0
        for shift in (torch.Tensor.__lshift__, torch.Tensor.__rshift__, torch.bitwise_right_shift):
            with pytest.raises(mutant_suite.UndefinedResultError, match=f"by {count}"):
                shift(torch.tensor([0, 3]), count)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_conversions_that_torch_leaves_open_are_noticed(value: float) -> None:
    with mutant_suite._DefinedOnly():
        assert torch.tensor([2.5]).to(torch.int64).item() == 2
        with pytest.raises(mutant_suite.UndefinedResultError, match="as integers"):
            torch.tensor([0.0, value]).to(torch.int64)


def test_rounding_modes_hold_as_long_as_they_should() -> None:
    def third() -> float:
        return (torch.ones((), dtype=torch.float64) / 3).item()

    nearest, found = third(), {}
    for name, mode in mutant_waist.MODES.items():
        with mutant_waist._rounding(mode):
            found[name] = third()
        assert third() == nearest
    assert found["down"] == found["toward zero"] < found["up"]


def _toy_judgement(toys: list[Mutant], alive: set[Key], unknown: tuple[Key, ...] = ()) -> Judgement:
    return Judgement(toys, {m.key: Verdict(None if m.key in alive else "a check") for m in toys}, unknown)


def test_whatever_lives_without_proof_is_a_problem(toys: list[Mutant], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = toys[0].key, toys[1].key
    assert _toy_judgement(toys, set()).problems() == []
    assert _toy_judgement(toys, {first}).problems()[0].startswith(f"unexplained: {first}")
    monkeypatch.setitem(EQUIVALENT, first, "because")
    assert _toy_judgement(toys, {first}).problems() == []
    assert "because" in _toy_judgement(toys, {first}).table({})
    assert _toy_judgement(toys, {second}).problems()[1].startswith(f"refuted: {first} is noticed by a check")
    assert _toy_judgement(toys, {first}, (second,)).problems()[0].startswith(f"stale: there is no mutant {second}")


def test_the_ledger_continues_only_what_it_holds_for(toys: list[Mutant], tmp_path: Path) -> None:
    path, made = tmp_path / mutants.LEDGER, {"sources": "1"}
    ledger = Ledger.open(path, made, restart=False)
    for mutant, verdict in zip(toys[1::-1], (Verdict("x", "differs"), Verdict(None)), strict=True):
        ledger.add(mutant, verdict)
    assert Ledger.open(path, made, restart=False).verdicts == ledger.verdicts
    ledger.sort(toys)
    again = Ledger.open(path, made, restart=False)
    assert list(again.verdicts) == [toys[0].key, toys[1].key]
    assert again.verdicts == ledger.verdicts
    assert Ledger.open(path, {"sources": "2"}, restart=False).verdicts == {}


def _tried() -> dict[str, Verdict]:
    from refnum_conformance import mutant_suite

    checks = mutant_suite.rounding_checks()
    bad = [Mutant("round", name, "", old, new, 1, ROUND.replace(old, new, 1)) for name, (old, new) in BAD.items()]
    *ending, endless = bad
    tried = [
        *mutants.run(ending, checks, limit=120.0, workers=1),
        *mutants.run([endless], checks, limit=0.5, workers=1),
    ]
    return {mutant.function: verdict for mutant, verdict in tried}


if __name__ == "__main__":
    print(json.dumps({name: asdict(verdict) for name, verdict in _tried().items()}))
