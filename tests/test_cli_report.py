"""``refnum report``: one page that reads without network or scripts, and says what the records say, to each number."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from refnum_conformance.known_deviations import listing, softposit
from report_pages import Page, words

import refnum
from refnum.cli import report, run
from refnum.lab.themes import THEMES

ROOT = Path(__file__).parents[1]
CONFORMANCE, BENCHMARKS = ROOT / "conformance" / "results", ROOT / "benchmarks" / "results"


def stored(folder: Path, key: str) -> list[Any]:
    files = (json.loads(path.read_text()) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem))
    return [each for each in files if key in each]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("report") / "page.html"
    assert run(["report", str(CONFORMANCE), str(BENCHMARKS), "--output", str(out)]) == 0
    return out.read_text()


@pytest.fixture(scope="module")
def page(made: str) -> Page:
    return Page(made)


# ---- numbers ------------------------------------------------------------------------------------------------------

LINES = ("function", "format", "oracle", "cases", "excluded", "mismatches")
SWEEPS = ("sweep", "checked", "left out", "mismatches")
FIGURES = ("item", "data", "against", "ratio", "target", "met", "used of what is allowed")


def test_every_line_of_the_conformance_runs_is_there(page: Page) -> None:
    wanted = [each["lines"] for each in stored(CONFORMANCE, "lines")]
    found = page.rows("conformance", LINES)
    assert sum(map(len, wanted)) > 300
    for lines, rows in zip(wanted, found, strict=True):
        for line, row in zip(lines, rows, strict=True):
            assert words(row[:3]) == [line[name] for name in LINES[:3]]
            assert [cell.numbers for cell in row[3:]] == [[line[name]] for name in LINES[3:]]
            assert words(row[3:]) == [f"{line[name]:,}" for name in LINES[3:]]


def test_the_overview_adds_them_up(page: Page) -> None:
    wanted = [each["lines"] for each in stored(CONFORMANCE, "lines")]
    overviews = [table for table in page.tables["conformance"] if tuple(words(table[0])) != LINES]
    for lines, (header, *rows) in zip(wanted, overviews, strict=True):
        oracles = words(header)[1:-1]
        assert set(oracles) == {line["oracle"] for line in lines}
        assert words([row[0] for row in rows]) == sorted({line["function"] for line in lines})
        for function, *cells, wrong in rows:
            mine = [line for line in lines if line["function"] == function.text]
            for oracle, cell in zip(oracles, cells, strict=True):
                cases = [line["cases"] for line in mine if line["oracle"] == oracle]
                assert (cell.numbers, cell.text) == (([sum(cases)], f"{sum(cases):,}") if cases else ([], "-"))
            assert wrong.numbers == [sum(line["mismatches"] for line in mine)]


def test_every_sweep_is_there(page: Page) -> None:
    wanted = [each["sweeps"] for each in stored(CONFORMANCE, "sweeps")]
    for sweeps, rows in zip(wanted, page.rows("sweeps", SWEEPS), strict=True):
        for (name, tally), row in zip(sweeps.items(), rows, strict=True):
            counts = [tally[key] for key in ("checked", "left_out", "mismatches")]
            assert words(row) == [name, *(f"{count:,}" for count in counts)]
            assert [cell.numbers for cell in row[1:]] == [[count] for count in counts]


def test_every_figure_of_the_benchmarks_is_there(page: Page) -> None:
    wanted = [each["figures"] for each in stored(BENCHMARKS, "figures")]
    assert sum(map(len, wanted)) > 100
    for figures, rows in zip(wanted, page.rows("benchmarks", FIGURES), strict=True):
        for figure, (item, data, against, ratio, target, met, used) in zip(figures, rows, strict=True):
            assert words((item, data, against)) == [figure[name] for name in FIGURES[:3]]
            assert ratio.numbers == [figure["ratio"]]
            assert float(ratio.text.replace(",", "")) == pytest.approx(figure["ratio"], rel=5e-3)
            assert target.numbers == ([] if figure["at_most"] is None else [figure["at_most"]])
            assert met.text == figure["met"].lower()
            if figure["at_most"] and figure["ratio"]:
                share = figure["at_most"] / figure["ratio"]
                assert used.numbers == [share if figure["at_least"] else figure["ratio"] / figure["at_most"]]
                assert (used.numbers[0] <= 1) == (met.text == "yes")
            else:
                assert not used.numbers


def test_the_totals_are_sums_of_the_records(page: Page) -> None:
    runs, sweeps = stored(CONFORMANCE, "lines"), stored(CONFORMANCE, "sweeps")
    figures = [figure for each in stored(BENCHMARKS, "figures") for figure in each["figures"]]
    lines = [line for each in runs for line in each["lines"]]
    tallies = [tally for each in sweeps for tally in each["sweeps"].values()]
    assert page.totals == [
        sum(line["cases"] for line in lines),
        sum(tally["checked"] for tally in tallies),
        sum(each["mismatches"] for each in [*lines, *tallies]),
        sum(figure["met"] == "yes" for figure in figures),
        sum(bool(figure["met"]) for figure in figures),
    ]


def test_the_page_has_no_other_number(page: Page) -> None:
    in_tables = sum(len(cell.numbers) for tables in page.tables.values() for t in tables for row in t for cell in row)
    known = {"", "conformance", "sweeps", "deviations", "benchmarks", "plots"}
    assert page.numbers == in_tables + len(page.totals)
    assert page.tables.keys() == known
    assert not any(cell.numbers for table in page.tables["deviations"] for row in table for cell in row)


def test_what_runs_hold_for_is_said(page: Page) -> None:
    for each in (*stored(CONFORMANCE, "lines"), *stored(CONFORMANCE, "sweeps"), *stored(BENCHMARKS, "figures")):
        assert ", ".join(f"{key} {value}" for key, value in each["made"].items()) in page.text
    assert all(line in page.text for each in stored(CONFORMANCE, "lines") for line in each["closing"])


# ---- deviations ---------------------------------------------------------------------------------------------------


def test_every_known_deviation_is_there_with_its_operands(page: Page) -> None:
    ((*rows,),) = page.rows("deviations", ("peer", "call", "got", "right", "why"))
    assert [tuple(words(row)) for row in rows] == [tuple(each) for each in listing.listed()]
    of_softposit = [row for row in rows if row[0].text == "softposit"]
    for deviation, (_, call, got, right, why) in zip(softposit.DEVIATIONS, of_softposit, strict=True):
        assert call.text.startswith(f"{deviation.function}(")
        assert call.text.endswith(f"posit({deviation.n},{deviation.es})")
        assert why.text == deviation.why
        word = hex if deviation.gives_patterns else str
        assert got.text == (" or ".join(word(x) for x in deviation.got) or "differs from run to run")
        assert right.text == word(deviation.right)
    assert any("p32_mul(0x64000000, 0x80000003)" in row[1].text for row in of_softposit)


# ---- the page -----------------------------------------------------------------------------------------------------


def test_it_needs_no_network_and_no_script(made: str, page: Page) -> None:
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "img", "form", "base"}
    assert all(link.startswith("#") for link in page.links)
    assert not re.findall(r"url\((?!#)|@import|https?://(?!www\.w3\.org/)", made)
    assert " on" not in " ".join(re.findall(r"<[a-z]+ [^>]*", made)).replace(" on a busy machine", "")


def test_every_link_leads_to_a_section(made: str, page: Page) -> None:
    ids = re.findall(r'<section id="([a-z]+)">', made)
    assert re.findall(r'<a href="#([a-z]+)">', made) == ids
    named = re.findall(r' id="([^"]+)"', made)
    references = set(re.findall(r'(?:xlink:href="|url\()#([^")]+)', made))
    assert references <= {*named}


def test_its_colours_are_those_of_the_themes_in_both(made: str) -> None:
    style, rest = made[: made.index("</style>")], made[made.index("</style>") :]
    for theme in THEMES.values():
        for colour in (theme.surface, theme.ink, theme.muted, theme.faint, *theme.series):
            assert style.count(colour) == 1
    assert (
        style.index(THEMES["light"].ink) < style.index("prefers-color-scheme: dark") < style.index(THEMES["dark"].ink)
    )
    assert not re.findall(r"#[0-9a-f]{6}\b(?![0-9a-f])", rest)
    assert set(re.findall(r"var\((--[a-z0-9-]+)\)", made)) <= set(re.findall(r"(--[a-z0-9-]+):", style))


def test_its_plots_are_drawn_with_text_that_is_text(made: str) -> None:
    figures = re.findall(r"<figure>.*?</figure>", made, flags=re.DOTALL)
    shown = (("posit8", "e5m2"), ("posit32", "bfloat16"), ("nvfp4", "posit(12,2)"), ("chain/v1: ", "exact/v1: "))
    for figure, texts in zip(figures, shown, strict=True):
        assert [text for text in texts if f">{text}" not in figure] == []
    assert made.count('role="img" aria-label="') == 4


def test_the_same_records_make_the_same_page(made: str, tmp_path: Path) -> None:
    out = tmp_path / "again.html"
    assert run(["report", str(CONFORMANCE), str(BENCHMARKS), "-o", str(out)]) == 0
    assert out.read_text() == made


IMAGES = ROOT / "docs" / "images"


@pytest.mark.parametrize("name", sorted(path.stem.removesuffix("-dark") for path in IMAGES.glob("*-dark.png")))
def test_the_committed_pictures_are_light_and_dark(name: str) -> None:
    image = pytest.importorskip("matplotlib.image", reason="reading a PNG needs matplotlib")
    light, dark = (image.imread(IMAGES / f"{name}-{theme}.png") for theme in ("light", "dark"))
    assert light.shape == dark.shape
    assert light[..., :3].mean() > 0.8
    assert dark[..., :3].mean() < 0.25


def test_there_are_pictures_of_plots_and_pages() -> None:
    names = {path.name for path in IMAGES.iterdir()}
    assert {f"{name}-{theme}.png" for name in ("report", "site", "number-line") for theme in THEMES} <= names


# ---- other records ------------------------------------------------------------------------------------------------

LINE = {"function": "add", "format": "<n> & 16", "oracle": "mine", "cases": 1234, "excluded": 5, "mismatches": 0}
RUN: dict[str, Any] = {"header": "", "made": {"torch": "9"}, "lines": [LINE], "legend": "of lines", "closing": ["all"]}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to work in, and no time for plots."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("refnum.lab.plot", "refnum_conformance.known_deviations.listing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(sys.modules["refnum.lab"], "plot", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record))
    return path


def test_mismatches_are_counted_and_the_exit_status(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(quick / "run.json", RUN | {"lines": [LINE, LINE | {"oracle": "yours", "mismatches": 3}]})
    assert run(["report", "run.json"]) == 1
    assert capsys.readouterr().out == "refnum-report.html: 1 record, 3 mismatches\n"
    text = (quick / "refnum-report.html").read_text()
    found = Page(text)
    assert found.totals == [2468, 0, 3, 0, 0]
    assert [words(row) for row in found.rows("conformance", LINES)[0]][1][2:] == ["yours", "1,234", "5", "3"]
    assert '<data value="3" class="bad">3</data>' in text
    assert "&lt;n&gt; &amp; 16" in text


def test_the_result_as_json(quick: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keep(quick / "run.json", RUN)
    assert run(["report", "run.json", "--json", "-o", "page.html"]) == 0
    assert json.loads(capsys.readouterr().out) == {"output": "page.html", "records": 1, "mismatches": 0}


def test_a_checkout_is_the_default(quick: Path) -> None:
    folder = quick / "conformance" / "results"
    folder.mkdir(parents=True)
    keep(folder / "a.json", RUN)
    assert run(["report"]) == 0
    assert Page((quick / "refnum-report.html").read_text()).totals[0] == 1234


def test_what_is_missing_is_said_on_the_page(quick: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "refnum_conformance", None)
    monkeypatch.setitem(sys.modules, "refnum_conformance.known_deviations", None)
    keep(quick / "run.json", RUN)
    assert run(["report", "run.json"]) == 0
    text = Page((quick / "refnum-report.html").read_text()).text
    assert "Not drawn: refnum.lab.plot needs matplotlib" in text
    assert "pip install 'refnum[plot]'" in text
    assert "The list is in the distribution refnum-conformance" in text


@pytest.mark.parametrize("when", ["computing", "writing", "moving"])
def test_an_interrupt_leaves_what_was_there(quick: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    keep(quick / "run.json", RUN)
    (quick / "page.html").write_text("before")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    written = Path.write_text

    def half(path: Path, text: str, **options: Any) -> None:
        written(path, text[: len(text) // 2], **options)
        raise KeyboardInterrupt

    match when:
        case "computing":
            monkeypatch.setattr(report, "page", interrupt)
        case "writing":
            monkeypatch.setattr(Path, "write_text", half)
        case "moving":
            monkeypatch.setattr(Path, "replace", interrupt)
    assert run(["report", "run.json", "-o", "page.html"]) == 130
    assert (quick / "page.html").read_text() == "before"
    assert {path.name for path in quick.iterdir()} == {"run.json", "page.html"}


# ---- bad input ----------------------------------------------------------------------------------------------------

FIGURE = {"item": "a", "data": "b", "against": "c", "ratio": 1.5, "at_most": None, "at_least": False, "met": ""}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"other": 1}, "bad.json is no record: it has none of lines, sweeps, figures."),
        ([1, 2], "it has none of lines, sweeps, figures."),
        (7, "is no record"),
        (RUN | {"lines": [{"function": "add"}]}, "it lacks 'format'."),
        ({"lines": []}, "it lacks 'made'."),
        (RUN | {"lines": [LINE | {"cases": "many"}]}, "'many' is no count."),
        (RUN | {"lines": [LINE | {"cases": -1}]}, "-1 is no count."),
        (RUN | {"lines": [LINE | {"cases": True}]}, "True is no count."),
        ({"made": {}, "noisy": False, "figures": [FIGURE | {"ratio": float("nan")}]}, "nan is no ratio."),
        ({"made": {}, "noisy": False, "figures": [FIGURE | {"at_most": "3"}]}, "'3' is no ratio."),
        ({"made": [], "sweeps": {}}, "is no record"),
    ],
)
def test_a_file_that_is_no_record(
    quick: Path, capsys: pytest.CaptureFixture[str], record: object, message: str
) -> None:
    keep(quick / "bad.json", record)
    assert run(["report", "bad.json"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Name one of them" in said
    assert not (quick / "refnum-report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "There are no records here: neither conformance/results nor benchmarks/results. Run this in a checkout"),
        (["gone.json"], "gone.json is not there. Name a JSON file, or a folder with some."),
        (["empty"], "empty has no JSON file."),
        (["half.json"], "half.json is no record: Expecting"),
        (["latin.json"], "latin.json is no record: 'utf-8' codec can't decode"),
        (["run.json", "-o", "no/where.html"], "no/where.html cannot be written (its folder takes no files)."),
        (["run.json", "-o", "empty"], "empty cannot be written (a folder)."),
    ],
)
def test_what_cannot_be_done(
    quick: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (quick / "empty").mkdir()
    (quick / "half.json").write_text('{"lines": [')
    (quick / "latin.json").write_bytes(b'{"lines": "\xe9"}')
    keep(quick / "run.json", RUN)
    assert run(["report", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_version_is_in_the_title(page: Page) -> None:
    assert f"refnum {refnum.__version__}: conformance report" in page.text
