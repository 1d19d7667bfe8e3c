"""The command line: what it prints, what it refuses, what it leaves alone, and how it ends."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

import refnum
from refnum import formats

pytest.importorskip("typer", reason="the command line needs the extra cli")

from refnum.cli import crosscheck, digits, doctor, run, show, status
from refnum.cli.commands import COMMANDS
from refnum.cli.extras import EXTRAS

ROOT = Path(refnum.__file__).parents[1]
NEEDS_SOFTPOSIT = pytest.mark.skipif(not crosscheck.witness().available, reason=crosscheck.witness().text)


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, env={"PYTHONPATH": str(ROOT)}
    )


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which a command line is refused."""
    assert run(arguments) == status.BAD_INPUT
    output = capsys.readouterr()
    assert not output.out
    (line,) = output.err.splitlines()
    assert line.startswith("refnum: ")
    return line


# ---- the table ----------------------------------------------------------------------------------------------------


def test_each_row_is_a_command() -> None:
    assert len({row.name for row in COMMANDS}) == len(COMMANDS)
    for row in COMMANDS:
        assert (row.load().__doc__ or "").startswith(row.help), row.name


def test_help_lists_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    words = capsys.readouterr().out.split()
    assert {row.name for row in COMMANDS} <= set(words)
    assert run([]) == 0
    assert capsys.readouterr().out.split() == words


@pytest.mark.parametrize("name", [row.name for row in COMMANDS])
def test_each_row_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    assert f"refnum {name}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"refnum {refnum.__version__}\n"


def test_extras_are_those_of_the_project() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {extra: [re.split(r"[<>=\[]", each)[0] for each in wanted] for extra, wanted in declared.items()}
    assert {extra: tuple(name for name in each if name != "refnum") for extra, each in names.items()} == EXTRAS


# ---- what is loaded -----------------------------------------------------------------------------------------------

LOADED = "import sys; from refnum.cli import run; run({arguments}); print('LOADED', *sys.modules)"


def loaded(*arguments: str) -> set[str]:
    """The modules that a command line loads."""
    return set(python(LOADED.format(arguments=list(arguments))).stdout.split("LOADED")[1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["formats"], ["demo", "--bad"], ["nothing"]])
def test_torch_is_not_loaded(arguments: list[str]) -> None:
    modules = loaded(*arguments)
    assert {"refnum.cli.commands", "typer"} <= modules
    assert ("torch" in modules) == (arguments[0] == "demo")
    others = {f"refnum.cli.{row.module}" for row in COMMANDS if row.name != arguments[0]}
    assert not others & modules


def test_that_check_can_fail() -> None:
    assert {"torch", "refnum.cli.show"} <= loaded("show", "1", "posit8")


def test_importing_the_command_loads_no_extra() -> None:
    modules = set(python("import sys, refnum.cli; print(*sys.modules)").stdout.split())
    assert "refnum.cli" in modules
    assert not modules & {"typer", "rich", "torch", "numpy"}


# ---- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "No such command 'nothing'. Try: refnum --help"),
        (["--bad"], "No such option: --bad. Try: refnum --help"),
        (["show"], "Missing argument 'VALUE'. Try: refnum show --help"),
        (["show", "1"], "Missing argument 'FORMAT'"),
        (["show", "1", "posit16", "2"], "extra argument"),
        (["show", "1", "posit7"], "No format is named 'posit7'. Choose one of posit8, "),
        (["show", "1", "posit(99,2)"], "Posit has no n=99: n is an int from 2 to 64."),
        (["show", "one", "posit8"], "cannot read 'one'"),
        (["show", "inf", "posit8"], "cannot read 'inf'"),
        (["show", "one", "e4m3"], "VALUE: 'one' is not a number"),
        (["show", "1e99999999999999999999", "e4m3"], "is not a number"),
        (["show", "0x1ff", "e4m3"], "VALUE: 0x1ff has more than the 8 bits of e4m3"),
        (["show", "-0x1", "posit8"], "cannot read '-0x1'"),
        (["show", "1", "e8m0"], "encode cannot write e8m0"),
        (["demo", "--out", "digits.gif"], "--out: digits.gif must end in one of .png, .svg, .pdf"),
        (["demo", "--out", "no/such/folder/digits.png"], "cannot be written"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(arguments, capsys)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from refnum.cli import main; sys.argv = ['refnum']; main()"
    done = python(code)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("refnum: The refnum command needs typer, which cannot be imported")
    assert line.endswith("It comes with the extra 'cli'. Run: python -m pip install 'refnum[cli]'")


def test_interrupted() -> None:
    code = """
import os, signal
from refnum.cli import doctor, run
doctor._versions = lambda: os.kill(os.getpid(), signal.SIGINT)
raise SystemExit(run(["doctor"]))
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_versions", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(["doctor"])


# ---- formats, doctor ----------------------------------------------------------------------------------------------


def test_formats_lists_every_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert run(["formats"]) == 0
    rows = {words[0]: words[1:5] for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert set(formats.named()) <= set(rows)
    assert rows["posit16"] == ["16", "7.2058e+16", "1.3878e-17", "12"]
    assert rows["e5m2"] == ["8", "57344", "1.5259e-05", "3"]


def test_doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(doctor, "installed", lambda name: None if name == "matplotlib" else "1.2.3")
    assert run(["doctor"]) == 0
    output = capsys.readouterr().out
    for words in (torch.__version__, str(refnum.status().reason), "refnum[plot]", "matplotlib missing", "typer 1.2.3"):
        assert words in output


def test_doctor_with_a_backend_that_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFNUM_BACKEND", "none such")
    assert run(["doctor"]) == status.MISMATCH
    assert "REFNUM_BACKEND has no value 'none such'" in capsys.readouterr().out


# ---- show ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["3.14159", "posit16"], ["0 | 10 | 01 | 10010010001", "0x4c91", "3217 * 2**-10 = 3.1416015625", "3.142"]),
        (["-3.14159", "posit8"], ["1 | 01 | 10 | 011", "0xb3", "-13 * 2**-2 = -3.25", "-3.2"]),
        (["0x4c91", "posit16"], ["0 | 10 | 01 | 10010010001", "0x4c91", "3217 * 2**-10 = 3.1416015625", "3.142"]),
        (["NaR", "posit8"], ["1 | 0000000", "0x80", "NaR", "NaR"]),
        (["0", "posit(5,1)"], ["0 | 0000", "0x00", "0", "0"]),
        (["1e-400", "posit(64,4)"], ["0 | " + "0" * 62 + "1", "0x0000000000000001", "1 * 2**-992", "2e-299"]),
        (["-1", "e4m3"], ["1 | 0111 | 000", "0xb8", "-1 * 2**0 = -1", "-1.0"]),
        (["inf", "float16"], ["0 | 11111 | 0000000000", "0x7c00", "Inf", "inf"]),
        (["0x7f", "e8m0"], ["01111111", "0x7f", "1 * 2**0 = 1", "1.0"]),
        (["0.1", "float64"], [f"0 | 01111111011 | {'1001' * 12}1010", "0x3fb999999999999a", "3602879701896397 * 2**-55", "0.1"]),
    ],
)  # fmt: skip
def test_show(arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", *arguments]) == 0
    parts, _, pattern, value, decimal = capsys.readouterr().out.splitlines()
    assert parts == lines[0]
    assert [line.split(maxsplit=1)[1] for line in (pattern, value, decimal)] == lines[1:]


EVERY_8_BIT_FORMAT = [*(formats.Posit(n, es) for n in (2, 5, 8) for es in range(5)), *formats.named().values()]


@pytest.mark.parametrize("fmt", [fmt for fmt in EVERY_8_BIT_FORMAT if fmt.width <= 8], ids=str)
def test_show_on_every_pattern(fmt: formats.Format) -> None:
    """Fields are the bits, values are exact, decimals read back: all of it against `refnum.decode`."""
    for pattern in range(1 << fmt.width):
        code = torch.tensor(pattern - (pattern >> (fmt.width - 1) << fmt.width) * isinstance(fmt, formats.Posit))
        value = float(refnum.decode(code, fmt))
        facts = show.facts(pattern, fmt)
        assert "".join(bits for _, bits in show.fields(pattern, fmt)) == f"{pattern:0{fmt.width}b}"
        if facts["value"] in ("NaR", "NaN", "Inf", "-Inf"):
            assert str(value) == facts["value"].lower().replace("nar", "nan")
            continue
        odd, _, power = facts["value"].split(" = ")[0].partition(" * 2**")
        assert int(odd) * Fraction(2) ** int(power or 0) == Fraction(value)
        if fmt != formats.e8m0:
            assert show.read(facts["decimal"], fmt) == pattern


@pytest.mark.parametrize("name", ["e2m1", "e4m3", "float16", "bfloat16", "float32"])
def test_show_rounds_decimals_once(name: str) -> None:
    """A tie, and decimals too close to it for any double, which one rounding through float64 gets wrong."""
    fmt = formats.parse(name)
    unit = Fraction(2) ** -fmt.significand_bits
    for low, tie in ((0x01, None), (None, 1 + unit), (None, 1 + 3 * unit)):
        if tie is None:  # half of the least subnormal, times 3
            assert isinstance(fmt, formats.Minifloat)
            tie = 3 * Fraction(2) ** (fmt.min_scale - fmt.mantissa - 1)
        exact = f"{tie.numerator * 5 ** (tie.denominator.bit_length() - 1)}e-{tie.denominator.bit_length() - 1}"
        above = exact.replace("e", "0" * 30 + "1e").replace("e-", "e-") if False else _nudged(tie, +1)
        below = _nudged(tie, -1)
        at = show.read(exact, fmt)
        assert at % 2 == 0
        assert sorted((show.read(below, fmt), show.read(above, fmt))) == [show.read(below, fmt), show.read(below, fmt) + 1]
        assert at in (show.read(below, fmt), show.read(above, fmt))
        assert low is None or show.read(below, fmt) == low


def _nudged(value: Fraction, direction: int) -> str:
    """A decimal a hair above or below a dyadic value."""
    places = value.denominator.bit_length() - 1 + 40
    return f"{int(value * 10**places) + direction}e-{places}"
