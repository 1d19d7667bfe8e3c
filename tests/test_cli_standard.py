"""``refnum report --standard``: every function of the Posit Standard, what was checked of it, and what came out."""

from __future__ import annotations

import inspect
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from refnum_conformance import plan, runner, target
from refnum_conformance.operations import BY_NAME
from report_pages import Page, words

import refnum
from refnum import Quire, posit
from refnum.cli import compliance, run, standards
from refnum.cli.compliance import DEVIATES, MISSING, RIGHT, UNCHECKED, WRONG
from refnum.posit.standard import FUNCTIONS, SECTIONS, Function

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "posit_standard"
fixed_lines: Callable[[str], dict[str, str]] = runpy.run_path(str(ROOT / "docs" / "tables.py"))["fixed_lines"]

# ---- the table of functions ---------------------------------------------------------------------------------------


def value_of(public: str) -> Any:
    value: Any = refnum
    for part in public.split("."):
        value = getattr(value, part)
    return value


def stated(function: Function) -> str:
    """What refnum's function says of itself: where the standard has it."""
    doc = inspect.getdoc(value_of(function.public)) or ""
    return fixed_lines(doc).get("Standard", doc.partition(":")[0])


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.public)
def test_docstrings_say_the_same(function: Function) -> None:
    said, section = stated(function), f"Posit Standard (2022) {function.section}"
    if function.public.startswith("Quire."):
        assert said == function.name
    elif function.public == "encode":
        assert said.startswith("Posit Standard (2022) 4.1 and 6.5;")
    else:
        assert said == (f"{section}." if section[-3] == "6" else f"{section}, {function.name}.")


def test_every_public_function_is_in_the_table_or_says_that_it_is_not_of_the_standard() -> None:
    public = {f"posit.{name}" for name in posit.__all__} - {"posit.Quire"}
    others = public - {function.public for function in FUNCTIONS}
    assert others == {"posit.fma"}
    assert fixed_lines(posit.fma.__doc__ or "")["Standard"].startswith("not a function of the standard")


def test_every_method_of_the_quire_that_has_a_name_of_the_standard_is_in_the_table() -> None:
    named = {match[1] for name in vars(Quire) if (match := re.match(r"(\w+): ", getattr(Quire, name).__doc__ or ""))}
    assert named == {function.name for function in FUNCTIONS if function.section == "5.11"}


def test_sections_are_in_order_and_all_have_a_title() -> None:
    assert list(dict.fromkeys(function.section for function in FUNCTIONS)) == list(SECTIONS)
    assert list(SECTIONS) == sorted(SECTIONS, key=lambda section: [int(part) for part in section.split(".")])
    assert len({function.row for function in FUNCTIONS}) == len({function.name for function in FUNCTIONS}) == 74


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.row)
def test_every_function_has_a_row_with_its_choices(function: Function) -> None:
    op = BY_NAME[function.row]
    assert op.public == function.public
    variants = op.variants({"n": 16, "es": 2})
    assert any(function.choices.items() <= options.items() for options in variants)


# ---- targets ------------------------------------------------------------------------------------------------------

SOME = ("negate", "add", "mul", "sqrt", "quire_abs", "convert", "from_int", "encode")
JOBS = tuple(job for job in plan.jobs(plan.Amount(16, 8, every=False), seed=0) if job.op.name in SOME)


@pytest.fixture
def some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A standard of few functions, a plan that is quicker, and a folder to work in."""
    monkeypatch.setattr(compliance, "FUNCTIONS", tuple(f for f in FUNCTIONS if f.row in SOME))
    monkeypatch.setattr("refnum_conformance.workers.plan", lambda quick, seed: JOBS)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.startswith("mine")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def report(*arguments: str) -> int:
    return run(["report", "--standard", "posit-2022", "--workers", "1", *arguments])


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    found["functions"] = {function["row"]: function for function in found["functions"]}
    return found


REFNUMS = "from refnum_conformance.target import add, convert, encode, from_int, mul, negate, quire_abs, sqrt\n"


def test_refnum_is_the_default_and_right(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("--json") == 0
    found = as_json(capsys)
    assert found["verdict"] == "8 functions, 0 without a check, 0 mismatches"
    assert found["complies"] is True
    assert "target refnum_conformance.target" in found["made"]
    assert {function["status"] for function in found["functions"].values()} == {RIGHT}


def test_cases_and_oracles_are_those_of_the_suite(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("--json") == 0
    found = as_json(capsys)["functions"]
    for row in ("add", "quire_abs"):
        jobs = [job for job in JOBS if job.op.name == row and job.options["es"] == 2]
        outcomes = [outcome for job in jobs for outcome in runner.check(job, target).outcomes]
        assert found[row]["cases"] == sum(outcome.cases for outcome in outcomes)
        assert set(found[row]["oracles"]) == {outcome.source for outcome in outcomes}
        assert found[row]["formats"] == ["n = 2-8 16 24 28 32-33 64"]
    assert "golden vectors" in found["add"]["oracles"]


def test_only_what_the_standard_says_is_asked(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "mine.py").write_text(
        f"import json\n{REFNUMS}"
        "def has(row, **options):\n"
        "    with open('asked.txt', 'a') as file:\n"
        "        print(json.dumps([row, options]), file=file)\n"
        "    return True\n"
    )
    assert report("--target", "mine.py") == 0
    asked = [json.loads(line) for line in (some / "asked.txt").read_text().splitlines()]
    assert {options["es"] for _, options in asked} == {options.get("to_es", 2) for _, options in asked} == {2}
    assert {options["rounding"] for row, options in asked if row == "encode"} == {"nearest_even"}
    assert {options["sentinel"] for row, options in asked if row == "from_int"} == {True}
    assert {row for row, _ in asked} == set(SOME)


def test_what_is_wrong_missing_or_raises_is_told_apart(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "mine.py").write_text(
        f"{REFNUMS}del negate, quire_abs\n"
        "def mul(a, b, n, es):\n"
        "    return add(a, b, n=n, es=es)\n"
        "def sqrt(a, n, es):\n"
        "    raise ZeroDivisionError('no')\n"
        "def has(row, n, **options):\n"
        "    return row != 'convert' and n in (8, 16, 32)\n"
    )
    assert report("--target", "mine", "--json") == 1
    found = as_json(capsys)
    functions = found["functions"]
    status = {row: function["status"] for row, function in functions.items()}
    right, missing = dict.fromkeys(("add", "from_int", "encode"), RIGHT), ("negate", "quire_abs", "convert")
    assert status == right | dict.fromkeys(missing, MISSING) | dict.fromkeys(("mul", "sqrt"), WRONG)
    assert functions["add"]["formats"] == ["n = 8 16 32"]
    assert functions["mul"]["mismatches"] > 0
    assert re.match(r"mul\(0x\w+, 0x\w+\) in posit\(8,2\): 0x\w\w, oracle 0x\w\w", functions["mul"]["why"][0])
    assert functions["mul"]["why"][-1].startswith("... and ")
    assert functions["sqrt"]["why"][0] == "ZeroDivisionError: no"
    assert (functions["sqrt"]["cases"], functions["sqrt"]["mismatches"]) == (0, 0)
    assert functions["sqrt"]["faults"] > 3
    assert functions["negate"]["why"] == ["the target has no such function"]
    assert functions["convert"]["why"] == ["the target says that it has no such choice"]
    wrong = functions["mul"]["mismatches"]
    faults = functions["sqrt"]["faults"]
    assert found["verdict"] == (f"8 functions, 3 missing, 0 without a check, {faults} faults, {wrong:,} mismatches")
    assert found["complies"] is False


def test_known_deviations_are_no_mismatches(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "mine.py").write_text(f"{REFNUMS}def mul(a, b, n, es):\n    return add(a, b, n=n, es=es)\n")
    (some / "mine.xfails").write_text("mul[*] adds instead\nsqrt[*] sometimes: is lost\n")
    assert report("--target", "mine.py", "--json") == 0
    found = as_json(capsys)
    assert found["functions"]["mul"]["status"] == DEVIATES
    assert found["functions"]["mul"]["known"] > 0 == found["functions"]["mul"]["mismatches"]
    assert found["functions"]["mul"]["why"] == ["mul[*]: adds instead"]
    assert found["functions"]["sqrt"]["status"] == RIGHT
    assert found["verdict"] == "8 functions, 0 without a check, 1 with known deviations, 0 mismatches"
    assert found["complies"] is False
    (some / "mine.xfails").write_text("mul[posit(8,2)-*] adds instead\nadd[posit(8,2)-*] is lost\n")
    assert report("--target", "mine.py", "--json") == 1
    functions = as_json(capsys)["functions"]
    assert functions["mul"]["known"] > 0 < functions["mul"]["mismatches"]
    assert functions["add"]["status"] == WRONG
    assert any(line.startswith("expected to fail and passes: add[posit(8,2)-*]") for line in functions["add"]["why"])


def test_a_target_without_anything_has_not_passed(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "mine.py").write_text("")
    assert report("--target", "mine.py") == 1
    assert capsys.readouterr().out.endswith("8 functions, 8 missing, 0 without a check, 0 mismatches\n")


def test_a_row_that_the_suite_lacks_is_said(
    some: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = (*compliance.FUNCTIONS, Function("5.5", "lambertW", "posit.lambert_w"))
    monkeypatch.setattr(compliance, "FUNCTIONS", functions)
    assert report("--json") == 0
    found = as_json(capsys)
    assert found["functions"]["lambert_w"]["status"] == UNCHECKED
    assert found["functions"]["lambert_w"]["why"] == ["the suite has no row for it"]
    assert found["verdict"] == "9 functions, 1 without a check, 0 mismatches"


def test_without_the_suite_nothing_is_checked_and_that_is_said(
    some: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "refnum_conformance", None)
    monkeypatch.setitem(sys.modules, "refnum_conformance.targets", None)
    assert report() == 1
    said = capsys.readouterr().out
    assert "all functions: refnum_conformance cannot be imported (" in said
    assert len(re.findall(r" not checked +\n", said)) == 8
    assert said.endswith("): install it beside refnum\n8 functions, 8 without a check, 0 mismatches\n")


def test_a_peer_has_a_short_name(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("softposit", reason="the peer is softposit")
    assert report("--target", "softposit_rows", "--json") == 0
    found = as_json(capsys)
    assert "target refnum_conformance.peers.softposit_rows" in found["made"]
    assert found["functions"]["quire_abs"]["status"] == MISSING
    assert found["functions"]["add"]["formats"] == ["n = 2-8 16 24 28 32"]


@pytest.mark.slow
def test_processes_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes the plan itself, and finds a target that lies where the command was run."""
    monkeypatch.setattr(compliance, "FUNCTIONS", tuple(f for f in FUNCTIONS if f.row == "negate"))
    (tmp_path / "mine_alone.py").write_text("def negate(a, n, es):\n    return -a\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert compliance.check("mine_alone", 2) == compliance.check("mine_alone", 1)


# ---- what is shown ------------------------------------------------------------------------------------------------


def test_the_table(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "mine.py").write_text(f"{REFNUMS}del negate\n")
    assert report("--target", "mine.py") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.startswith("Posit Standard (2022): refnum ")
    cells = [re.split(r" {2,}", line.strip()) for line in lines]
    assert ["section", "function", "refnum", "formats", "oracles", "cases", "mismatches"] in cells
    assert ["5.2", "negate", "posit.negate", "-", "missing"] in cells
    (quire,) = (row for row in cells if row[0] == "5.11")
    assert quire[1:5] == ["qAbs", "Quire.abs", "n = 2-8 16 24 28 32-33 64", "oracle"]
    assert quire[6] == "0"
    assert lines[-2:] == [
        "negate: the target has no such function",
        "8 functions, 1 missing, 0 without a check, 0 mismatches",
    ]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(80, ("refnum", "formats", "oracles")), (100, ("refnum",)), (140, ())],
)
def test_a_narrow_terminal_has_fewer_columns(
    some: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, left_out: tuple[str]
) -> None:
    for name, value in {"COLUMNS": str(width), "FORCE_COLOR": "1", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    report(keep(some / "run.json", lines(0, 0, 0)))
    table = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in capsys.readouterr().out.splitlines()]
    (header,) = (line.split() for line in table if "section" in line)
    assert header == [name for name in standards.COLUMNS if name not in left_out]
    assert max(map(len, table[:-2])) <= width


def test_the_page_says_the_same(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (some / "mine.py").write_text(f"{REFNUMS}del negate\ndef mul(a, b, n, es):\n    return add(a, b, n=n, es=es)\n")
    assert report("--target", "mine.py", "--json", "-o", "page.html") == 1
    found, page = as_json(capsys), Page((some / "page.html").read_text())
    functions = list(found["functions"].values())
    (rows,) = page.rows("functions", standards.COLUMNS)
    for function, row in zip(functions, rows, strict=True):
        names = [function[name] for name in ("section", "name", "public")]
        assert words(row[:5]) == [*names, "; ".join(function["formats"]), ", ".join(function["oracles"])]
        assert [cell.numbers for cell in row[5:]] == [[function["cases"]], [function["mismatches"]]]
    total = {name: sum(function[name] for function in functions) for name in ("cases", "mismatches")}
    assert page.totals == [8, 6, total["cases"], total["mismatches"]]
    assert page.numbers == len(page.totals) + 2 * len(rows)
    assert found["verdict"] in page.text
    assert found["made"] in page.text
    assert all(line in page.text for function in functions for line in function["why"])


def test_the_page_stands_alone_in_both_themes(some: Path) -> None:
    assert report("-o", "page.html") == 0
    text = (some / "page.html").read_text()
    page = Page(text)
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    assert page.links == ["#functions", "#remarks"] == [f"#{name}" for name in re.findall(r'<section id="(\w+)"', text)]
    assert not re.findall(r"url\(|@import|https?://", text)
    assert "prefers-color-scheme: dark" in text


# ---- records ------------------------------------------------------------------------------------------------------

LINE = {"function": "add", "format": "n = 16, samples", "oracle": "oracle", "cases": 1000, "excluded": 1}
OTHERS = [LINE | {"format": "n = 16, every pair", "oracle": "softposit"}, LINE | {"function": "mul"}]
RUN: dict[str, Any] = {"header": "refnum 9 | target mine", "made": {}, "legend": "", "closing": []}
SWEEP = {"checked": 1 << 32, "left_out": 0, "mismatches": 0}


def keep(path: Path, record: object) -> str:
    path.write_text(json.dumps(record))
    return str(path)


def lines(*mismatches: int) -> dict[str, Any]:
    pairs = zip((LINE, *OTHERS), mismatches, strict=True)
    return RUN | {"lines": [line | {"mismatches": wrong} for line, wrong in pairs]}


def test_a_recorded_run_is_read_and_not_run(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(keep(some / "run.json", lines(0, 0, 0)), "--json") == 0
    found = as_json(capsys)
    assert found["made"] == "refnum 9 | target mine"
    add = found["functions"]["add"]
    assert (add["cases"], add["formats"], add["oracles"]) == (2000, ["n = 16"], ["oracle", "softposit"])
    assert found["functions"]["mul"]["cases"] == 1000
    assert found["functions"]["sqrt"]["why"] == ["no record speaks of it"]
    assert found["verdict"] == "8 functions, 6 without a check, 0 mismatches"


def test_recorded_mismatches_are_mismatches_unless_the_run_expected_all(
    some: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = lines(0, 2, 3)
    record["closing"] = ["skipped sqrt: the target has no such function", "6 cases, 5 unexplained mismatches"]
    assert report(keep(some / "run.json", record), "--json") == 1
    found = as_json(capsys)
    assert [found["functions"][row]["mismatches"] for row in ("add", "mul")] == [2, 3]
    assert found["functions"]["sqrt"]["status"] == MISSING
    expected = "expected failure mul[*] in mul, n = 16, samples: adds instead"
    record["closing"] = [expected, "3,000 cases, 0 unexplained mismatches"]
    assert report(keep(some / "run.json", record), "--json") == 0
    found = as_json(capsys)["functions"]
    assert (found["mul"]["status"], found["mul"]["known"], found["mul"]["why"]) == (DEVIATES, 3, [expected])
    assert (found["add"]["status"], found["add"]["known"]) == (DEVIATES, 2)
    record["closing"] = ["3,000 cases, 10 unexplained mismatches"]
    assert report(keep(some / "run.json", record)) == 1


def test_what_the_suite_records_is_read(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its words about expected failures and functions that are missing, as it writes them today."""
    from refnum_conformance.__main__ import main

    (some / "mine.py").write_text(f"{REFNUMS}del negate\ndef mul(a, b, n, es):\n    return add(a, b, n=n, es=es)\n")
    (some / "mine.xfails").write_text("mul[*] adds instead\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(some)
        asked = tuple(job for job in JOBS if any(compliance._asks(job, f) for f in compliance.FUNCTIONS))
        patch.setattr("refnum_conformance.__main__.plan", lambda quick, seed: asked)
        patch.setattr("refnum_conformance.workers.plan", lambda quick, seed: asked)
        kept = ["--ledger", str(some), "--record", "run"]
        assert main(["--target", "mine", "--quick", "--workers", "1", *kept]) == 0
    capsys.readouterr()
    assert report("run.json", "--json") == 0
    found = as_json(capsys)
    status = {row: function["status"] for row, function in found["functions"].items()}
    assert status == dict.fromkeys(SOME, RIGHT) | {"mul": DEVIATES, "negate": MISSING}
    assert "target mine" in found["made"]


def test_sweeps_count_where_their_format_is_of_the_standard(some: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("add posit16", "add posit(16,1)", "mul posit(12,2)", "encode e4m3,saturate of float32", "encode e4m3", "x")
    sweeps = {"made": {"peer": "softposit 0.3, C loops"}, "sweeps": dict.fromkeys(names, SWEEP)}
    assert report(keep(some / "run.json", lines(0, 0, 0)), keep(some / "all.json", sweeps), "--json") == 0
    found = as_json(capsys)
    add = found["functions"]["add"]
    assert (add["cases"], add["formats"]) == (2000 + (1 << 32), ["n = 16", "posit16"])
    assert found["functions"]["mul"]["oracles"] == ["oracle", "softposit"]
    assert found["functions"]["encode"]["status"] == UNCHECKED
    assert found["made"] == "refnum 9 | target mine; all"
    wrong = {"made": {}, "sweeps": {"add posit16": SWEEP | {"mismatches": 1}}}
    assert report(keep(some / "all.json", wrong)) == 1


def test_the_committed_records_have_no_mismatch(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(str(ROOT / "conformance" / "results"), "--json") == 0
    found = as_json(capsys)
    assert found["functions"]["add"]["cases"] > 1 << 32


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--standard", "posit-2018"], "There is no table of 'posit-2018'. Choose posit-2022."),
        (["--target", "x"], "They are for checks of a standard. Add --standard posit-2022."),
        (["--workers", "2"], "They are for checks of a standard. Add --standard posit-2022."),
        (["--standard", "posit-2022", "--target", "no_such_module"], "'no_such_module' cannot be imported"),
        (["--standard", "posit-2022", "--target", "gone.py"], "'gone' cannot be imported"),
        (["--standard", "posit-2022", "run.json", "--target", "x"], "Records say themselves what was checked."),
        (["--standard", "posit-2022", "gone.json"], "gone.json is not there. Name a JSON file"),
        (["--standard", "posit-2022", "-o", "no/page.html"], "no/page.html cannot be written (its folder takes no"),
        (["--standard", "posit-2022", "--workers", "0"], "Invalid value for '--workers'"),
    ],
)
def test_what_cannot_be_done(
    some: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    keep(some / "run.json", lines(0, 0, 0))
    assert run(["report", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_refnum_does_all_that_the_standard_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    """What the page about the standard says."""
    assert report() == 0
    verdict = "74 functions, 0 without a check, 0 mismatches"
    assert capsys.readouterr().out.splitlines()[-1] == verdict
    assert verdict in (ROOT / "docs" / "standard.md").read_text(encoding="utf-8")


# ---- the example --------------------------------------------------------------------------------------------------

SHOWN = ("mul", "div", "sqrt", "exp", "arc_tan2")  #: where no machine's library of functions makes a difference


def test_the_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines that its page shows are those that come out."""
    monkeypatch.setattr(compliance, "FUNCTIONS", tuple(f for f in FUNCTIONS if f.row in SHOWN))
    assert report("--target", str(EXAMPLE / "through_doubles.py")) == 1
    out = capsys.readouterr().out
    (shown,) = re.findall(r"```text\n(.*?)```", (EXAMPLE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown.splitlines()
    assert [line for line in shown.splitlines() if line not in out] == []
