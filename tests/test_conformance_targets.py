"""The suite aimed at real peers: all that they get wrong is expected, with reasons, and all that is expected comes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import refnum_conformance
from refnum_conformance import plan
from refnum_conformance.runner import Verdict, check
from refnum_conformance.targets import TargetError, load
from refnum_conformance.xfails import Xfails

import refnum

#: peers, how many choices their rows have at least, and of how many one is run
PEERS = {
    "ml_dtypes": (100, 1),
    "gfloat": (500, 7),
    "gfloat_scalars": (500, 7),
    "torch_casts": (70, 1),
    "torchao_blocks": (40, 1),
    "softposit_rows": (300, 1),
}


def _peer(name: str) -> ModuleType:
    peer = importlib.import_module(f"refnum_conformance.peers.{name}")
    installed, reason = peer.available()
    if not installed:
        pytest.skip(reason)
    return peer


def _jobs(peer: ModuleType) -> list[plan.Job]:
    every = (job for job in plan.jobs(plan.QUICK, seed=0) if hasattr(peer, job.op.name))
    return [job for job in every if peer.has(job.op.name, **job.options)]


@pytest.mark.parametrize("name", PEERS)
def test_the_deviations_of_a_peer_come_out_and_no_others(name: str) -> None:
    peer, (least, step) = _peer(name), PEERS[name]
    jobs, xfails = _jobs(peer), Xfails.of(peer, None)
    assert len(jobs) >= least
    verdicts = [check(job, peer) for job in jobs[::step]]
    judgement = xfails.judge(verdicts)
    assert not any(verdict.error for verdict in verdicts)
    assert judgement.unexplained == ()
    assert judgement.passed == ()
    assert xfails.unused(verdict.id for verdict in verdicts) == []
    came = {line.pattern for line in xfails.lines if any(text.startswith(line.pattern) for text in judgement.expected)}
    assert came >= {line.pattern for line in xfails.lines if not line.sometimes}


def test_pytest_aimed_at_ml_dtypes(tmp_path: Path) -> None:
    _peer("ml_dtypes")
    printed = _pytest(tmp_path, "--refnum-target", "refnum_conformance.peers.ml_dtypes", "--refnum-seed", "3")
    assert "target refnum_conformance.peers.ml_dtypes ml_dtypes" in printed
    assert "| seed 3 |" in printed
    assert "| expected failures ml_dtypes.xfails" in printed
    assert "XFAIL ::test_row[minifloat_encode: minifloats, samples]" in printed
    assert "1 + 2^-8 + 2^-40 becomes 1 in bfloat16" in printed
    assert "PASSED ::test_row[minifloat_decode: minifloats, samples]" in printed
    assert " failed" not in printed


def _pytest(folder: Path, *words: str) -> str:
    paths = (Path(refnum.__file__).parents[1], Path(refnum_conformance.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plain = ["-p", "refnum_conformance.plugin", "-p", "no:cacheprovider", "--rootdir", str(folder), "-rA"]
    chosen = ["-k", "minifloat", "--pyargs", "refnum_conformance.test_rows"]
    run = [sys.executable, "-m", "pytest", *plain, *words, *chosen]
    return subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


# Expected failures of a target ---------------------------------------------------------------------------------------


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that has nothing, with a file of expected failures beside it."""
    (tmp_path / "with_known_faults.py").write_text("")
    (tmp_path / "with_known_faults.xfails").write_text("next[*] stands still\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "with_known_faults", raising=False)
    return load("with_known_faults")


def test_the_targets_own_file_is_read_unless_another_is_named(target: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "others.txt").write_text("prior[*] runs away\n")
    assert [line.pattern for line in Xfails.of(target, None).lines] == ["next[*]"]
    named = Xfails.of(target, str(tmp_path / "others.txt"))
    assert ([line.pattern for line in named.lines], named.file) == (["prior[*]"], "others.txt")
    assert Xfails.of(refnum, None) == Xfails()


def test_what_fails_sometimes_may_pass(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("mul[*] loses a bit\nfma[*] sometimes: loses a bit\n")
    xfails = Xfails.read(tmp_path / "known.txt")
    passing = [Verdict(f"{row}[posit(8,2)-samples]", row, "n <= 8, samples") for row in ("mul", "fma")]
    judgement = xfails.judge(passing)
    assert judgement.passed == ("mul[*] in mul, n <= 8, samples: loses a bit",)
    assert judgement.expected == ()
    failing = Verdict("fma[posit(8,2)-samples]", "fma", "n <= 8, samples", error="wrong")
    judgement = xfails.judge([failing])
    assert judgement.expected == ("fma[*] in fma, n <= 8, samples: sometimes: loses a bit",)
    assert not judgement.failed


# What a target has ---------------------------------------------------------------------------------------------------


def test_what_a_target_says_it_has_not_is_skipped() -> None:
    job = next(job for job in plan.jobs(plan.QUICK, seed=0) if job.op.name == "next")
    asked: list[tuple[str, dict[str, int]]] = []

    def has(row: str, **options: int) -> bool:
        asked.append((row, options))
        return False

    verdict = check(job, SimpleNamespace(next=lambda a, n, es: a, has=has))
    assert verdict.skipped == "the target says that it has no such choice"
    assert asked == [("next", dict(job.options))]
    assert check(job, SimpleNamespace(next=lambda a, n, es: a, has=lambda row, **options: True)).mismatches


def test_a_peer_that_is_not_installed_is_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = importlib.import_module("refnum_conformance.peers.gfloat")
    monkeypatch.setattr(peer, "available", lambda: (False, "gfloat is not installed: pip install gfloat"))
    message = r"'refnum_conformance\.peers\.gfloat' cannot run: gfloat is not installed: pip install gfloat\."
    with pytest.raises(TargetError, match=message):
        load("refnum_conformance.peers.gfloat")
