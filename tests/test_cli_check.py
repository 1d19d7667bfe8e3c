"""refnum check: what it says about right and wrong results, what it cannot read, and the kernel in C."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command line needs the extra cli")

import refnum
from refnum.cli import run, status
from refnum.testing import lines

EXAMPLE = Path(refnum.__file__).parents[1] / "examples" / "any_language"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")

Check = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run refnum check on a text: how it ends, what it prints, and what it prints to standard error."""

    def checked(text: str | bytes, *arguments: str) -> tuple[int, str, str]:
        raw = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        code = run(["check", *arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return checked


def generated(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What refnum gen writes."""
    assert run(["gen", *arguments]) == status.DONE
    return capsys.readouterr().out


# ---- right and wrong ----------------------------------------------------------------------------------------------


def test_right(check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    text = generated(capsys, "posit16_mul", "--spaced", "1600", "--want")
    assert check(text, "posit16_mul") == (status.DONE, "posit16_mul  1,600 cases  ok  0 ULP\n", "")
    assert check("posit16_mul 4000 4800 4800", "posit16_mul")[1] == "posit16_mul  1 cases  ok  0 ULP\n"
    assert (
        check(f"# mine\n{text.upper().replace('POSIT16_MUL', 'posit16_mul')}", "posit_mul", "--format", "posit16")[0]
        == 0
    )


def test_wrong(check: Check) -> None:
    text = "posit16_sub 4800 4000 4000\n# next\nposit16_sub 4000 4800 4000\nposit16_sub 4000 4000 0002\n"
    code, output, errors = check(text, "posit16_sub")
    assert (code, errors) == (status.MISMATCH, "")
    assert output.splitlines() == [
        "line 3  32,768 ULP",
        "  a       4000",
        "  b       4800",
        "  result  got   4000",
        "          want  c000",
        "                ^",
        "",
        "line 4  2 ULP",
        "  a       4000",
        "  b       4000",
        "  result  got   0002",
        "          want  0000",
        "                   ^",
        "",
        "posit16_sub  3 cases  2 wrong  worst 32,768 ULP",
    ]


def test_the_first_twenty_are_shown(check: Check) -> None:
    text = "".join(f"posit16_abs {i:04x} {i ^ 1:04x}\n" for i in range(1, 1001))
    code, output, _ = check(text, "posit16_abs")
    assert code == status.MISMATCH
    assert [line.split()[1] for line in output.splitlines() if line.startswith("line")] == [
        str(i) for i in range(1, 21)
    ]
    assert output.endswith("\nposit16_abs  1,000 cases  1,000 wrong  worst 1 ULP\n")


def test_the_first_twenty_of_several_pages(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "PAGE", 100)
    text = "".join(f"posit16_abs {i:04x} {i ^ (i % 7 == 0):04x}\n" for i in range(1, 1001))
    _, output, _ = check(text, "posit16_abs")
    assert [line.split()[1] for line in output.splitlines() if line.startswith("line")] == [
        str(7 * i) for i in range(1, 21)
    ]
    assert output.endswith("\nposit16_abs  1,000 cases  142 wrong  worst 1 ULP\n")


def test_blocks_are_shown_in_rows(check: Check) -> None:
    x = ["3f800000"] * 31 + ["40c00000"]
    right = ["2"] * 31 + ["7"]
    line = ["mxfp4_quantize", *x, "7f", *right]
    assert check(" ".join(line), "mxfp4_quantize")[0] == status.DONE
    line[-2] = "3"
    code, output, _ = check(" ".join(line), "mxfp4_quantize")
    assert code == status.MISMATCH
    rows = output.splitlines()
    assert rows[0] == "line 1  1 ULP"
    assert rows[1:5] == [f"  x         {' '.join(x[i : i + 8])}" for i in (0, 8, 16, 24)]
    assert rows[5:] == [
        "  scale     7f",
        f"  elements  got   {'2 ' * 30}3 7",
        f"            want  {'2 ' * 31}7",
        f"                  {'  ' * 30}^",
        "",
        "mxfp4_quantize  1 cases  1 wrong  worst 1 ULP",
    ]
    assert max(map(len, rows)) < 100


def test_as_json(check: Check) -> None:
    text = "e4m3_encode 3f880000 39\ne4m3_encode 3f880000 38\n"
    code, output, _ = check(text, "e4m3_encode", "--json")
    assert code == status.MISMATCH
    assert json.loads(output) == {
        "operation": "e4m3_encode",
        "cases": 2,
        "wrong": 1,
        "worst": 1,
        "first": [
            {"line": 1, "operands": {"x": ["3f880000"]}, "got": {"code": ["39"]}, "want": {"code": ["38"]}, "ulp": 1}
        ],
    }


def test_a_few_ulp_may_be_allowed(check: Check) -> None:
    text = "e4m3_encode 3f880000 39\n"
    assert check(text, "e4m3_encode", "--ulp", "1")[:2] == (status.DONE, "e4m3_encode  1 cases  ok  1 ULP\n")
    assert check(text, "e4m3_encode", "--rounding", "nearest_away")[0] == status.DONE
    assert check("e4m3_encode 3f880000 3a", "e4m3_encode", "--ulp", "1")[0] == status.MISMATCH
    assert check("float32_quantize 80000000 00000000", "float32_quantize", "--ulp", "1")[0] == status.DONE


def test_one_wrong_result_is_enough(check: Check) -> None:
    """The scale is too far away, and an element near enough."""
    line = f"mxfp4_quantize {'3f800000 ' * 31}40c00000 81 {'2 ' * 31}6"
    assert check(line, "mxfp4_quantize", "--ulp", "1")[0] == status.MISMATCH
    assert check(line, "mxfp4_quantize", "--ulp", "2")[:2] == (status.DONE, "mxfp4_quantize  1 cases  ok  2 ULP\n")


def test_nans_are_one_and_zeros_are_two(check: Check) -> None:
    nan = "float16_quantize 7fc00000 ffc12345"
    assert check(nan, "float16_quantize")[0] == status.DONE
    assert check(nan.replace("ffc12345", "7f800000"), "float16_quantize")[0] == status.MISMATCH
    code, output, _ = check("float16_quantize 7fc00000 3f800000", "float16_quantize")
    assert code == status.MISMATCH
    assert output.startswith("line 1  NaN against a number, or as far apart\n")
    code, output, _ = check("float16_quantize 80000000 00000000", "float16_quantize")
    assert code == status.MISMATCH
    assert output.startswith("line 1  0 ULP: another code of the same value\n")
    assert check("posit8_abs 80 80", "posit8_abs")[0] == status.DONE


def test_elements_in_fixed_point_have_a_sign(check: Check) -> None:
    x = ["00000000"] * 31 + ["bc800000"]  # -1/64 under a scale of 2**-6: -1.0, code c0
    line = ["mxint8_quantize", *x, "79", *["00"] * 31, "bf"]
    code, output, _ = check(" ".join(line), "mxint8_quantize")
    assert code == status.MISMATCH
    assert output.startswith("line 1  1 ULP\n")
    assert "want  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 c0\n" in output


def test_lines_may_say_what_is_right(check: Check) -> None:
    """Results of another reference, with --want: refnum's own do not count then."""
    assert check("posit16_abs 0001 0002 0002", "posit16_abs", "--want")[0] == status.DONE
    code, output, _ = check("posit16_abs 0001 0002 0001", "posit16_abs", "--want")
    assert code == status.MISMATCH
    assert "got   0001\n          want  0002" in output


# ---- what cannot be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "check got no cases of posit16_abs on standard input. Allowed are lines as refnum gen writes them, with"),
        ("# nothing\n\n", "check got no cases of posit16_abs on standard input."),
        ("posit16_abs 0001\n", "check needs 2 words behind posit16_abs (a, result), got 1 in line 1."),
        ("posit16_abs 0001 0001\nposit16_abs 0001 00", "for word 2 (result, posit16), got '00' in line 2."),
        (
            "posit16_abs 0001 0001\nposit16_neg 0001 0001",
            "check needs lines of posit16_abs, got 'posit16_neg' in line 2.",
        ),
        (b"\x00\xff\xfe" * 100, r"got '\x00\\xff\\xfe"),
        ("Segmentation fault\n", "got 'Segmentation' in line 1."),
    ],
)
def test_unreadable(text: str | bytes, words: str, check: Check) -> None:
    code, output, errors = check(text, "posit16_abs")
    assert (code, output) == (status.BAD_INPUT, "")
    (line,) = errors.splitlines()
    assert line.startswith("refnum: ")
    assert words in line.replace("\x00", r"\x00")


def test_refused(check: Check) -> None:
    for arguments, words in (
        (["posit16_ab"], "No operation is named 'posit16_ab'. Did you mean posit16_abs"),
        (["posit16_abs", "--ulp", "-1"], "--ulp"),
        (["mxfp4_quantize", "--profile", "occp"], "mx.quantize has no profile='occp'. Choose one of ocp/v1"),
    ):
        code, output, errors = check("", *arguments)
        assert (code, output) == (status.BAD_INPUT, "")
        assert words in errors


# ---- a kernel in another language ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """The example in C, compiled as its first lines say: what it makes of a text."""
    if COMPILER is None:
        pytest.skip("the kernel in C needs a C compiler: no cc, gcc or clang is installed")
    folder = tmp_path_factory.mktemp("any_language")

    def compiled(text: str, *flags: str) -> str:
        path = folder / f"mxfp4{''.join(flags)}"
        if not path.exists():
            command = [str(COMPILER), "-Wall", "-Werror", *flags, "-O2", "-o", str(path), "mxfp4.c", "-lm"]
            subprocess.run(command, cwd=EXAMPLE, check=True, timeout=60)
        return subprocess.run([str(path)], input=text, capture_output=True, text=True, check=True, timeout=60).stdout

    return compiled


WORDS = ["mxfp4_quantize", "--edges", "--ties", "--random", "10000"]


def test_a_kernel_in_c(kernel: Callable[..., str], check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    cases = generated(capsys, *WORDS)
    assert check(kernel(cases), "mxfp4_quantize") == (
        status.DONE,
        "mxfp4_quantize  12,000 cases  ok  0 ULP\n",
        "",
    )


def test_its_fault_is_found(kernel: Callable[..., str], check: Check, capsys: pytest.CaptureFixture[str]) -> None:
    """Rounding ties away: in another profile that is right, and random blocks do not tell."""
    cases = generated(capsys, *WORDS)
    code, output, _ = check(kernel(cases, "-DTIES_AWAY"), "mxfp4_quantize")
    assert code == status.MISMATCH
    assert output.splitlines()[-1].endswith("wrong  worst 1 ULP")
    away = ["mxfp4_quantize", "--rounding", "nearest_away"]
    assert check(kernel(cases, "-DTIES_AWAY"), *away)[0] == status.DONE
    random = generated(capsys, "mxfp4_quantize", "--random", "1000")
    assert check(kernel(random, "-DTIES_AWAY"), "mxfp4_quantize")[0] == status.DONE


@pytest.mark.skipif(COMPILER is None, reason="the kernel in C needs a C compiler: no cc, gcc or clang is installed")
@pytest.mark.skipif(sys.platform == "win32", reason="the command line is one of POSIX")
def test_the_commands_of_the_example(tmp_path: Path) -> None:
    """The build line and the pipe as README.md has them, in a shell."""
    readme = (EXAMPLE / "README.md").read_text()
    commands, printed = (block.removeprefix("sh\n") for block in readme.split("```")[1:4:2])
    build, pipe = commands.splitlines()
    shutil.copy(EXAMPLE / "mxfp4.c", tmp_path)
    script = (
        f"refnum() {{ '{sys.executable}' -m refnum.cli \"$@\"; }}\n{build.replace('cc', str(COMPILER), 1)}\n{pipe}\n"
    )
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == printed.removeprefix("\n")
