"""``refnum vendor``: where the file goes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import refnum
from refnum.lab import vendor

pytest.importorskip("typer", reason="the command line needs the extra cli")

from refnum.cli import run, status

WORDS = ["vendor", "mx.quantize", "mx_mm", "--format", "mxfp4"]
KNOBS = ["--profile", "aiter/v1", "--scale", "rceil", "--rounding", "nearest_even", "--contract", "chain/v1"]


def test_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*WORDS, *KNOBS]) == status.DONE
    output = capsys.readouterr()
    functions, fmt = ["mx.quantize", "mx_mm"], refnum.mxfp4
    want = vendor(functions, fmt, profile="aiter/v1", scale="rceil", rounding="nearest_even", contract="chain/v1")
    assert (output.out, output.err) == (want, "")


def test_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mxfp4.py"
    assert run([*WORDS, "-o", str(path)]) == status.DONE
    text = path.read_bytes()
    assert text.decode("utf-8") == vendor(["mx.quantize", "mx_mm"], refnum.mxfp4)
    assert run([*WORDS, *KNOBS, "--out", str(path)]) == status.BAD_INPUT
    assert path.read_bytes() == text
    assert run([*WORDS, *KNOBS, "--out", str(path), "--force"]) == status.DONE
    assert "--profile aiter/v1" in path.read_text("utf-8")
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["vendor"], "Missing argument 'FUNCTION...'. Try: refnum vendor --help"),
        (["vendor", "mx_mm"], "Missing option '--format'. Try: refnum vendor --help"),
        ([*WORDS, "gemm"], "vendor has no function='gemm'. Choose one of mx.quantize, mx.dequantize, mx_mm."),
        (["vendor", "mx_mm", "--format", "mxfp5"], "No format is named 'mxfp5'. Near it: mxfp4, "),
        (
            ["vendor", "mx_mm", "--format", "posit8"],
            "vendor needs a block format, got posit8. Allowed are some with e8m0 scales. Choose one, such as mxfp4.",
        ),
        (
            ["vendor", "mx_mm", "--format", "nvfp4"],
            "vendor cannot write nvfp4. Allowed are formats with scales of e8m0 along one axis: mxfp4, mxfp6_e2m3, ",
        ),
        ([*WORDS, "--profile", "microxcaling"], "vendor has no profile='microxcaling/v1'. Choose one of ocp/v1, "),
        ([*WORDS, "--scale", "up"], "vendor has no scale='up'. Choose one of floor, ceil, even, rceil."),
        (
            [*WORDS, "--rounding", "to_odd"],
            "vendor has no rounding='to_odd'. Choose one of nearest_even, ",
        ),
        (
            [*WORDS, "--contract", "tree/v1"],
            "vendor has no contract='tree/v1(Kc=256)'. Choose one of exact/v1, chain/v1, ",
        ),
        (
            [*WORDS, "-o", "no/such/folder/file.py"],
            "--out: no/such/folder/file.py cannot be written (No such file or directory). Name a file in a folder that",
        ),
        (
            [*WORDS, "-o", "."],
            "--out: . is there already. Name a file that is not, or pass --force to replace it. Try: refnum vendor",
        ),
        (
            [*WORDS, "-o", ".", "--force"],
            "--out: . cannot be written (Is a directory). Name a file in a folder",
        ),
    ],
)
def test_refused_in_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == status.BAD_INPUT
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    assert not output.out
    assert line.startswith("refnum: ")
    assert words in line
