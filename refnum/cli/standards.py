"""``refnum report --standard``: what a standard asks for, function by function, and what was checked of it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import __version__
from ..posit.standard import NAME as FULL_NAME
from . import pages, records, template
from .compliance import DEVIATES, MISSING, RIGHT, UNCHECKED, WRONG, Compliance, Finding, check, recorded, unchecked
from .folders import importable
from .markup import Cell, Number, code, count, mismatches, paragraph, table
from .status import DONE, MISMATCH

NAME = "posit-2022"
TARGET, PEERS = "refnum_conformance.target", "refnum_conformance.peers"
WIDTH = 160  #: of the table, where no terminal says how wide it is
COLUMNS = ("section", "function", "refnum", "formats", "oracles", "cases", "mismatches")
NUMBERS = 5  #: the first of the columns that stand on the right
FOLDED = ("formats", "oracles")  #: columns that may take several lines
LEAST = {"refnum": 130, "formats": 95, "oracles": 95}  #: widths of terminals in which these columns are shown
LEGEND = (
    "oracle: Python integers and fractions, two roundings that must agree. golden vectors: computed elsewhere, and "
    "recorded. Others are implementations, asked where they are right."
)
TONES = {WRONG: "bad", RIGHT: "good"}  #: on a page
COLOURS = {WRONG: "red", UNCHECKED: "yellow", MISSING: "yellow", DEVIATES: "yellow", RIGHT: ""}  #: in a terminal


def run(
    standard: str, paths: Sequence[Path], target: str | None, workers: int | None, page: Path | None, as_json: bool
) -> int:
    """Check, or read what was recorded; show it; the exit status."""
    if standard != NAME:
        raise typer.BadParameter(f"There is no table of {standard!r}. Choose {NAME}.", param_hint="--standard")
    if paths and target is not None:
        raise typer.BadParameter("Records say themselves what was checked. Leave it out.", param_hint="--target")
    if page is not None:
        pages.check(page, "--output")
    found = recorded(records.read(paths)) if paths else _checked(target or TARGET, workers or os.cpu_count() or 1)
    if page is not None:
        pages.write(page, _page(found), "--output")
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        _show(found)
    return MISMATCH if found.failed else DONE


def _checked(target: str, processes: int) -> Compliance:
    try:
        from refnum_conformance.targets import TargetError
    except ImportError as error:
        return unchecked(f"refnum_conformance cannot be imported ({error}): install it beside refnum")
    path = Path(target)
    is_file = path.suffix == ".py"
    with importable(path.parent if is_file else Path.cwd()):
        try:
            return check(path.stem if is_file else _full_name(target), processes)
        except TargetError as error:
            raise typer.BadParameter(str(error), param_hint="--target") from None


def _full_name(target: str) -> str:
    """A module's name; peers of the suite have short ones.

    >>> _full_name("json"), _full_name("softposit_rows")
    ('json', 'refnum_conformance.peers.softposit_rows')
    """
    short = "." not in target and importlib.util.find_spec(target) is None
    return f"{PEERS}.{target}" if short and importlib.util.find_spec(f"{PEERS}.{target}") else target


# Words ---------------------------------------------------------------------------------------------------------------


def _mismatches(finding: Finding) -> str:
    """What stands in the last column.

    >>> from refnum.posit.standard import FUNCTIONS
    >>> _mismatches(Finding(FUNCTIONS[0], cases=9)), _mismatches(Finding(FUNCTIONS[0], cases=9, known=2))
    ('0', '0 (2 known)')
    >>> _mismatches(Finding(FUNCTIONS[0], missing=True)), _mismatches(Finding(FUNCTIONS[0], cases=9, faults=1))
    ('missing', '0 (faulty)')
    """
    if finding.status in (MISSING, UNCHECKED):
        return finding.status
    more = [*(["faulty"] if finding.faults else []), *([f"{finding.known:,} known"] if finding.known else [])]
    return f"{finding.mismatches:,}" + (f" ({', '.join(more)})" if more else "")


def _remarks(found: Compliance) -> Iterator[str]:
    """What there is to say, once, with the functions of which it is said."""
    remarks: dict[str, list[str]] = {}
    for finding in found.findings:
        for text in finding.why:
            remarks.setdefault(text, []).append(finding.function.name)
    for text, names in remarks.items():
        yield f"{', '.join(names) if len(names) < len(found.findings) else 'all functions'}: {text}"


def _words(finding: Finding) -> tuple[str, ...]:
    """What stands in the columns before the numbers."""
    names = (finding.function.section, finding.function.name, finding.function.public)
    return *names, "; ".join(finding.formats), ", ".join(finding.oracles)


def _show(found: Compliance) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    shown = Table(box=box.SIMPLE_HEAD)
    fitting = [i for i, name in enumerate(COLUMNS) if console.width >= LEAST.get(name, 0)]
    for i in fitting:
        shown.add_column(COLUMNS[i], justify="left" if i < NUMBERS else "right", no_wrap=COLUMNS[i] not in FOLDED)
    for _, findings in groupby(found.findings, key=lambda finding: finding.function.section):
        for finding in findings:
            cells = (*_words(finding), f"{finding.cases:,}" if finding.cases else "-", _mismatches(finding))
            shown.add_row(*(Text(cells[i]) for i in fitting), style=COLOURS[finding.status])
        shown.add_section()
    console.print(Text(f"{FULL_NAME}: {found.made}"))
    console.print(shown)
    for text in (*_remarks(found), found.verdict):
        console.print(Text(text), soft_wrap=True)


# The page ------------------------------------------------------------------------------------------------------------


def _page(found: Compliance) -> str:
    totals: dict[str, Cell] = {
        "functions": count(len(found.findings)),
        "right": count(found.count(RIGHT)),
        "cases": count(found.total("cases")),
        "mismatches": mismatches(found.total("mismatches")),
    }
    sections = {
        "functions": ("Function by function", [_table(found)]),
        "remarks": ("Remarks", [paragraph(text) for text in (*_remarks(found), LEGEND, found.made)]),
    }
    return template.filled(f"refnum {__version__}: {FULL_NAME}", found.verdict, totals, sections)


def _table(found: Compliance) -> str:
    rows: list[tuple[Cell, ...]] = []
    for finding in found.findings:
        section, name, public, *words = _words(finding)
        wrong = Number(finding.mismatches, _mismatches(finding), TONES.get(finding.status, ""))
        rows.append((section, name, code(public), *words, count(finding.cases), wrong))
    return table(COLUMNS, rows, numbers=NUMBERS)
