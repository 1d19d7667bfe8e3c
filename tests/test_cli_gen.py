"""refnum gen: the lines that it writes, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command line needs the extra cli")

import refnum
from refnum.cli import gen, run, status

ROOT = Path(refnum.__file__).parents[1]
COMMAND = [sys.executable, "-m", "refnum.cli"]


def lines(capsysbinary: pytest.CaptureFixture[bytes], *arguments: str) -> list[str]:
    """What one command line writes."""
    assert run(["gen", *arguments]) == status.DONE
    output = capsysbinary.readouterr()
    assert not output.err
    assert output.out.endswith(b"\n")
    return output.out.decode("ascii").splitlines()


def test_operands_and_results(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """1 * 2 and the like, all of posit(3,0): -4 is NaR, 2 is 1."""
    want = lines(capsysbinary, "posit_mul", "--format", "posit(3,0)", "--spaced", "64", "--want")
    assert len(want) == 64
    assert {"posit(3,0)_mul 2 2 2", "posit(3,0)_mul 3 3 3", "posit(3,0)_mul 4 1 4", "posit(3,0)_mul 6 3 5"} <= set(want)
    without = lines(capsysbinary, "posit_mul", "--format", "posit(3,0)", "--spaced", "64")
    assert without == [line.rpartition(" ")[0] for line in want]


def test_without_kinds_there_are_edges_and_ties(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    edges = lines(capsysbinary, "posit16_add", "--edges")
    ties = lines(capsysbinary, "posit16_add", "--ties")
    assert lines(capsysbinary, "posit16_add") == edges + ties
    assert edges
    assert ties
    assert edges != ties


def test_random_cases_come_in_parts(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is that of a part: the parts differ, and the first is that of a shorter run."""
    monkeypatch.setattr(gen, "PAGE", 1000)
    many = lines(capsysbinary, "posit32_add", "--random", "500", "--seed", "3")
    assert len(many) == 500
    assert len(set(many)) > 490
    assert lines(capsysbinary, "posit32_add", "--random", "500", "--seed", "3") == many
    other = lines(capsysbinary, "posit32_add", "--random", "500", "--seed", "4")
    assert len({*many, *other}) > 980


def test_options_reach_the_operation(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    ways = {
        tuple(lines(capsysbinary, "mxfp4_quantize", "--edges", "--ties", "--want", *options))
        for options in (
            (),
            ("--profile", "aiter"),
            ("--profile", "aiter_legacy"),
            ("--scale", "ceil"),
            ("--rounding", "toward_zero"),
            ("--dtype", "bfloat16"),
        )
    }
    assert len(ways) == 6
    assert lines(capsysbinary, "float32_gemm", "--k", "3", "--m", "1", "--n", "2", "--random", "1")[0].count(" ") == 9
    sums = {
        tuple(lines(capsysbinary, "float32_dot", "--ties", "--want", *options))
        for options in ((), ("--contract", "exact/v1"), ("--contract", "tree/v1(Kc=2)"), ("--dtype", "bfloat16"))
    }
    assert len(sums) == 4
    assert lines(capsysbinary, "posit16_convert", "--to", "posit8", "--spaced", "3", "--want")[-1].endswith(" 7fff 7f")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'OPERATION'. Try: refnum gen --help"),
        (["posit16_ad"], "No operation is named 'posit16_ad'. Did you mean posit16_add"),
        (["add", "--format", "posit61"], "No format is named 'posit61'. Near it: posit64, posit16"),
        (
            ["posit16_add", "--profile", "ocp"],
            "posit16_add has no --profile, got 'ocp'. It has no options. Leave it out.",
        ),
        (["posit16_add", "--random", "-1"], "--random"),
        (["posit16_add", "--spaced", "2000000"], "--spaced"),
        (["float32_dot", "--k", "0"], "--k"),
        (["posit16_add", "posit16_mul"], "extra argument"),
    ],
)
def test_refused(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gen", *arguments]) == status.BAD_INPUT
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert not output.out
    assert line.startswith("refnum: ")
    assert words in line


@pytest.mark.skipif(os.name == "nt", reason="signals and pipes are those of POSIX")
def test_nobody_reads_on_and_an_interruption() -> None:
    """Two runs without an end in sight: a reader that has enough, and Ctrl-C."""
    for end, code in (("close", status.CLOSED), ("interrupt", status.INTERRUPTED)):
        command = [*COMMAND, "gen", "posit16_abs", "--random", str(10**12)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(
            command, cwd=ROOT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), **pipes
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            assert child.stdout.readline().startswith(b"posit16_abs ")
            if end == "interrupt":
                child.send_signal(signal.SIGINT)
                while child.stdout.read(1 << 16):
                    pass
            child.stdout.close()
            assert child.wait(timeout=60) == code
            assert child.stderr.read() == b""
