"""The pages of docs/ tell the truth: examples run, tables are those of the code, and every public name has a place."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from refnum_conformance.known_deviations.listing import listed

import refnum
from refnum.cli import run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
EXAMPLES = {
    name: blocks
    for name, text in PAGES.items()
    if (blocks := re.findall(r"^```pycon\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
}
CONSOLE = [
    (page, command, output)
    for page, text in PAGES.items()
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for command, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)
]
DIRECTIVES = {name for text in PAGES.values() for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE)}
tables = SimpleNamespace(**runpy.run_path(str(DOCS / "tables.py")))


@pytest.mark.parametrize("page", EXAMPLES)
def test_python_examples(page: str) -> None:
    test = doctest.DocTestParser().get_doctest("\n".join(EXAMPLES[page]), {}, page, page, 0)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failed, attempted = doctest.DocTestRunner(optionflags=flags).run(test)
    assert attempted
    assert not failed


@pytest.mark.parametrize(("page", "command", "output"), CONSOLE)
def test_console_examples(page: str, command: str, output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("typer", reason="the command line needs the extra cli")
    text = b""
    for part in command.split(" | "):
        source, sink = io.TextIOWrapper(io.BytesIO(text)), io.TextIOWrapper(io.BytesIO(), write_through=True)
        monkeypatch.setattr(sys, "stdin", source)
        monkeypatch.setattr(sys, "stdout", sink)
        assert run(shlex.split(part.removeprefix("refnum "))) == 0
        text = sink.buffer.getvalue()
    assert [line.rstrip() for line in text.decode().splitlines()] == output.splitlines()


def test_there_are_examples_of_both_kinds() -> None:
    assert CONSOLE
    assert {"index.md", "start/ci.md", "start/leaderboard.md", "start/research.md"} <= EXAMPLES.keys()
    assert {page for page in PAGES if page.startswith("contracts/")} <= EXAMPLES.keys()


# ---- tables --------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_code(page: str) -> None:
    pytest.importorskip("typer", reason="two tables are those of commands, which need the extra cli")
    assert tables.written_anew(PAGES[page]) == PAGES[page], "run: python docs/tables.py"


def test_every_table_has_its_place() -> None:
    text = "\n".join(PAGES.values())
    placed = [match[2] for match in tables.REGION.finditer(text)]
    assert set(placed) == tables.TABLES.keys()
    assert len(placed) == text.count("<!-- table") == text.count("<!-- end of table")


def test_no_peer_is_left_out() -> None:
    told = {peer for peers in tables.PEERS.values() for peer in peers}
    assert told == {deviation.peer for deviation in listed()}


def test_a_table_that_is_out_of_date_is_noticed() -> None:
    page = PAGES["formats.md"].replace("| `posit8` | 8 |", "| `posit8` | 9 |")
    assert page != PAGES["formats.md"]
    assert tables.written_anew(page) == tables.written_anew(PAGES["formats.md"])


def test_markdown_reads_code_alone() -> None:
    assert tables.escaped("2**31 a|b `x**2`") == r"2\*\*31 a\|b `x**2`"
    assert tables.table(("a", "b"), [(1, "*")]) == "| a | b |\n| --- | --- |\n| 1 | \\* |\n"


# ---- names ---------------------------------------------------------------------------------------


def public_names() -> Iterator[str]:
    """Every name that others may use, in full."""
    yield from (f"refnum.{name}" for name in refnum.__all__)
    for room in refnum._MODULES:
        module = importlib.import_module(f"refnum.{room}")
        yield from (f"{module.__name__}.{name}" for name in getattr(module, "__all__", ()))


def value_of(name: str) -> object:
    value: object = refnum
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    return value


#: modules that are not loaded with their package: they need hypothesis, matplotlib
NEED_AN_EXTRA = {"refnum.testing.strategies", "refnum.lab.plot"}


def test_every_public_name_has_a_place() -> None:
    """What has a docstring stands in the reference, once; data stand in tables, by their short names."""
    shown = {id(value_of(name)) for name in DIRECTIVES - NEED_AN_EXTRA}
    text = "\n".join(PAGES.values())
    homeless = [
        name
        for name in public_names()
        if not name.endswith("__version__")
        and id(value_of(name)) not in shown
        and not (inspect.ismodule(value_of(name)) and f"reference/{name.partition('.')[2]}.md" in PAGES)
        and f"`{name.removeprefix('refnum.')}`" not in text
        and not (name.startswith("refnum.formats.") and f"`{name.rpartition('.')[2]}`" in text)  # rows of its tables
    ]
    assert not homeless


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert sorted(re.findall(r"\S+\.md", navigation)) == sorted(PAGES)


def test_pages_link_to_pages() -> None:
    for page, text in PAGES.items():
        for target in re.findall(r"\]\(([^)#:]+)(?:#\S+)?\)", text):
            assert (DOCS / page).parent.joinpath(target).exists(), f"{page} links to {target}"


# ---- the site ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mkdocs makes, where a warning is an error."""
    for module in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(module, reason="the site needs the extra docs: nox -s docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_name_of_the_reference_is_on_the_site(site: Path) -> None:
    html = "\n".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    assert sorted(name for name in DIRECTIVES if f'id="{name}"' not in html) == []


def test_docstrings_are_markdown_on_the_site(site: Path) -> None:
    html = "\n".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    assert html.count("<strong>Exactness:</strong>") >= len(tables.numeric()) - 1  # Quire has two names
    assert "2**" in html
    assert "<blockquote>" not in html, "an example outside of a fence is a quotation"


def test_the_site_fetches_nothing(site: Path) -> None:
    fetched = re.compile(r'<(?:script|link|img|iframe)[^>]+(?:src|href)="?https?://')
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(PAGES)  # and one for what is not found
    assert not [path for path in pages if fetched.search(path.read_text(encoding="utf-8"))]
