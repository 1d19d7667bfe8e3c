"""The command line: what it prints, what it refuses, what it leaves alone, and how it ends."""

from __future__ import annotations

import json
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
from refnum.sums.contracts import CONTRACTS, FAMILIES

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
        (["show", "1", "posit7"], "No format is named 'posit7'. Near it: posit8, "),
        (["show", "1", "posit(99,2)"], "Posit has no n=99: n is an int from 2 to 64."),
        (["show", "one", "posit8"], "cannot read 'one'"),
        (["show", "one", "e4m3"], "VALUE: 'one' is not a number"),
        (["show", "1e99999999999999999999", "e4m3"], "is not a number"),
        (["show", "0x1ff", "e4m3"], "VALUE: 0x1ff has more than the 8 bits of e4m3"),
        (["show", "-0x1", "posit8"], "cannot read '-0x1'"),
        (["show", "1", "e8m0"], "encode cannot write e8m0"),
        (["show", "1", "mxfp4"], "show takes one number apart, got mxfp4, a format of blocks."),
        (["show", "1", "fixed(99,2)"], "FixedPoint has no width=99: width is an int from 2 to 32."),
        (["formats", "nf5"], "No format is named 'nf5'. Near it: nf4"),
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
    assert line.startswith(f"refnum: The refnum command needs {missing}, which cannot be imported")
    assert line.endswith("It comes with the extra 'cli'. Run: python -m pip install 'refnum[cli]'")


def test_interrupted() -> None:
    code = """
import os, signal
from refnum.cli import doctor, run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs in the background hands it on ignored
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


def test_numbers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*arguments: str) -> Any:
        assert run([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    rows = {row["name"]: row for row in printed("formats")}
    assert rows.keys() == formats.named().keys()
    want = {"name": "e4m3", "bits": 8, "largest": 448.0, "smallest": 2.0**-9, "significand_bits": 4}
    assert rows["e4m3"] == want | {"kind": "E4M3, bias 7, fn"}
    shown = printed("show", "3.14159", "posit16")
    assert [part["bits"] for part in shown["fields"]] == ["0", "10", "01", "10010010001"]
    assert (shown["format"], shown["pattern"]) == ("posit16", "0x4c91")
    facts = printed("doctor")
    assert facts["refnum"] == refnum.__version__
    assert "reference" in facts["backend"]
    assert "[" not in "".join(facts.values())


def test_contracts_lists_every_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["contracts"]) == 0
    text = capsys.readouterr().out
    first = {line.split("  ")[0] for line in text.splitlines() if not line.startswith(" ")}
    assert first == {
        *CONTRACTS,
        "tree/v1(Kc=256)",
        "int/v1(bits=8, acc=32, overflow=refuse)",
        "tcsplit/v1(inst=tc.hopper.fp8, Kc=128)",
        "sgbi.splitm_f64(c=16)/0.1.1",
    }
    assert run(["contracts", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == len(CONTRACTS) + len(FAMILIES)
    chain = next(row for row in rows if row["name"] == "chain/v1")
    assert chain["definition"] == CONTRACTS["chain/v1"].definition
    assert chain["operands"][:3] == ["float32", "bfloat16", "float16"]


def test_formats_lists_every_row(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert run(["formats"]) == 0
    rows = {words[0]: words[1:5] for line in capsys.readouterr().out.splitlines() if (words := line.split())}
    assert set(formats.named()) <= set(rows)
    assert rows["posit16"] == ["16", "7.2058e+16", "1.3878e-17", "12"]
    assert rows["e5m2"] == ["8", "57344", "1.5259e-05", "3"]
    assert rows["nf4"] == ["4", "1", "0.07958", "24"]


@pytest.mark.parametrize("name", [*formats.named(), "fixed(8,4)", "log(16)", "dmf(4,3)", "bfp(8,16)", "mxint(4,(2,8))"])
def test_formats_tells_of_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", name]) == 0
    told = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    fmt = formats.parse(name)
    assert {"format", "kind", "bits"} <= {key.strip() for key in told}
    assert run(["formats", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == str(fmt)


def test_examples_of_formats_are_formats() -> None:
    from refnum.cli.formats import EXAMPLES

    assert [str(formats.parse(name)) for name in EXAMPLES[:3]] == list(EXAMPLES[:3])
    assert all(formats.parse(name) for name in EXAMPLES)


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
        (["0.3", "fixed(8,4)"], ["0 | 000 | 0101", "0x05", "5 * 2**-4 = 0.3125", "0.3"]),
        (["-3", "fixed(8,10)"], ["1 | 0000000", "0x80", "-1 * 2**-3 = -0.125", "-0.125"]),
        (["0.3", "dmf(4,3)"], ["0 | 0110 | 101", "0x35", "5 * 2**-4 = 0.3125", "0.3"]),
        (["0x24", "dmf(3,2)"], ["1 | 001 | 00", "0x24", "-0", "-0.0"]),
        (["1.5", "log(5)"], ["0 | 1000", "0x08", "1 * 2**1 = 2", "2.0"]),
        (["1", "log(16)"], ["0 | 011111111111111", "0x3fff", "1 * 2**0 = 1", "1"]),
        (["3", "nf4"], ["1111", "0xf", "1 * 2**0 = 1", "1.0"]),
        (["0.5", "float64"], [f"0 | 01111111110 | {'0' * 52}", "0x3fe0000000000000", "1 * 2**-1 = 0.5", "0.5"]),
    ],
)
def test_show(arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", *arguments]) == 0
    parts, _, pattern, value, decimal, _ = capsys.readouterr().out.splitlines()
    assert parts == lines[0]
    assert [line.split(maxsplit=1)[1] for line in (pattern, value, decimal)] == lines[1:]


@pytest.mark.parametrize(
    ("value", "fmt", "between"),
    [
        ("1", "e4m3", "0.9375 and 1.125"),
        ("0", "e4m3", "-0.001953 and 0.001953"),
        ("-0", "dmf(4,3)", "-0.000977 and 0.000977"),
        ("0", "log(4,zero_code=False)", "-0.125 and 0.25"),
        ("7.9375", "fixed(8,4)", "7.875 and nothing"),
        ("0", "fixed(8,0,signed=False)", "nothing and 1"),
        ("-1", "codebook(-1,0,1)", "nothing and 0"),
        ("NaR", "posit8", "nothing and nothing"),
    ],
)
def test_show_has_the_values_on_both_sides(
    value: str, fmt: str, between: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["show", value, fmt]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"between  {between}"


EVERY_8_BIT_FORMAT: list[formats.Scalar] = [
    *(formats.Posit(n, es) for n in (2, 5, 8) for es in range(5)),
    *formats.scalars().values(),
    *map(formats.parse, ("fixed(6,2)", "fixed(5,-2,signed=False)", "fixed(5,9)", "dmf(3,3)", "log(6)", "nf4")),
    *(formats.Logarithmic(5, zero_code=False), formats.Codebook((-1.5, 0.25, 3.0), codes=(6, 1, 4))),
]


@pytest.mark.parametrize("fmt", [fmt for fmt in EVERY_8_BIT_FORMAT if fmt.width <= 8], ids=str)
def test_show_on_every_pattern(fmt: formats.Scalar) -> None:
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
            read = show.read(facts["decimal"], fmt)
            assert read == pattern or (
                isinstance(fmt, formats.DMF) and float(refnum.decode(torch.tensor(read), fmt)) == value
            )


@pytest.mark.parametrize("name", ["e2m1", "e4m3", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("sign", [1, -1])
def test_show_rounds_a_decimal_once(name: str, sign: int) -> None:
    """Next to a tie, and closer than any double: one rounding to float64 before would lose the difference."""
    fmt = formats.parse(name)
    assert isinstance(fmt, formats.Minifloat)
    unit, least = Fraction(2) ** -fmt.mantissa, Fraction(2) ** (fmt.min_scale - fmt.mantissa)
    for tie in (1 + unit / 2, 1 + unit * 3 / 2, least / 2, least * 3 / 2):
        below, at, above = (show.read(_decimal(sign * tie, nudge), fmt) for nudge in (-sign, 0, sign))
        assert above == below + 1
        assert at == below + below % 2


def _decimal(dyadic: Fraction, nudge: int) -> str:
    """The exact decimal, with so much added in a place far behind its last digit."""
    places = 200
    return f"{int(dyadic * 10**places) + nudge}e-{places}"


# ---- demo ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], int]:
    """Run the demo in a folder of its own, on a wide screen."""
    for module in ("sklearn", "matplotlib"):
        pytest.importorskip(module, reason=f"the demo needs {module}: pip install 'refnum[demo]'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return lambda: run(["demo"])


@NEEDS_SOFTPOSIT
def test_demo(demo: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_rng_state()
    assert demo() == 0
    output = capsys.readouterr().out
    rows = {words[0]: words for line in output.splitlines() if (words := line.split())}
    for fmt in ("float32", "posit8", "posit16", "posit32"):
        assert float(rows[fmt][1].removesuffix("%")) > 90
    worst = [float(rows[fmt][2]) for fmt in ("posit8", "posit16", "float32", "posit32")]
    assert worst == sorted(worst, reverse=True)
    assert re.search(r"Cross-checked 1,500 dot products with SoftPosit [\d.]+: 0 differ\.", output)
    assert Path("refnum-demo.png").read_bytes().startswith(b"\x89PNG")
    assert torch.equal(torch.get_rng_state(), before)


def test_demo_says_what_it_did_not_do(
    demo: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "softposit", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert demo() == 0
    output = capsys.readouterr().out
    assert "Not cross-checked: The cross-check needs softposit" in output
    assert "needs a C compiler" in output
    assert "No picture: The picture needs matplotlib" in output
    assert "pip install 'refnum[plot]'" in output
    assert not list(Path().iterdir())


def test_demo_without_digits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "'refnum[demo]'" in refused(["demo"], capsys)


def test_demo_ends_with_1_when_softposit_differs(
    demo: Callable[[], int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crosscheck, "witness", lambda: crosscheck.Witness(True, "a witness"))
    monkeypatch.setattr(crosscheck, "compare", lambda *_: crosscheck.Count(10, 1))
    assert demo() == status.MISMATCH
    assert "Cross-checked 30 dot products with a witness: 3 differ." in capsys.readouterr().out


# ---- the witness --------------------------------------------------------------------------------------------------


@NEEDS_SOFTPOSIT
@pytest.mark.parametrize("n", [5, 8, 16, 31, 32])
def test_softposit_and_the_quire_agree(n: int) -> None:
    fmt = formats.Posit(n)
    generator = torch.Generator().manual_seed(n)
    a, b = (refnum.encode(torch.randn(50, 20, generator=generator, dtype=torch.float64), fmt) for _ in range(2))
    got = crosscheck.quire_dots(a, b, fmt)
    assert torch.equal(got, refnum.quire_dot(a, b, fmt))
    assert got.unique().numel() > 10


@NEEDS_SOFTPOSIT
@pytest.mark.parametrize("fmt", [formats.posit8, formats.posit16, formats.posit32], ids=str)
def test_the_witness_notices_one_bit(fmt: formats.Posit) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((6, 9), (9, 5), (5,)))
    right = refnum.posit_mm(a, b, fmt, c=c)
    wrong = refnum.decode(refnum.posit.next(refnum.encode(right, fmt), fmt), fmt)
    for result, different in ((right, 0), (wrong, 40)):
        product: Any = digits.Product(a, b, c, result)
        assert crosscheck.compare([product], fmt, 40, generator) == (40, different)


def test_an_empty_placeholder_is_no_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "softposit", type(sys)("softposit"))
    assert not crosscheck.witness().available
    assert "empty placeholder" in crosscheck.witness().text
