"""What a run prints: progress, the table, and mismatches with their operands; with rich where it is installed."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

from .runner import Summary, Verdict

SHOWN = 20  #: jobs whose mismatches are printed; the others are counted
COLUMNS = ("function", "format", "oracle", "cases", "mismatches")
FIELDS = ("function", "format", "oracle", "cases", "excluded", "mismatches")  #: of a line in a record
NUMBERS = 3  #: the first column that is right-justified
LEGEND = (
    "n <= 8: es 0 to 2, and up to 4 for n <= 6. n = 16: es 0, 1, 2. "
    "n >= 24: (24,2) (28,2) (32,2) (33,2) (40,1) (48,3) (63,0) (64,2) (64,4). "
    "Samples: edges, ties, spaced, random. "
    "Products of floats: K from 0 to 1025, fewer with --quick. "
    "Edges of every binade: a block's largest magnitude at 1, 1.25, 1.5, 1.75, 1.875, 1.9375 times 2**e, and beside it."
)

RICH = importlib.util.find_spec("rich") is not None


def numbers(summary: Summary) -> list[dict[str, Any]]:
    """The lines of the table, as data.

    >>> from refnum_conformance.runner import Line
    >>> summary = Summary({("add", "n = 16", "oracle"): Line("add", "n = 16", "oracle", 1200, 3, 0)})
    >>> numbers(summary)
    [{'function': 'add', 'format': 'n = 16', 'oracle': 'oracle', 'cases': 1200, 'excluded': 3, 'mismatches': 0}]
    """
    lines = sorted(summary.lines.values(), key=lambda line: (line.row, line.formats, line.source))
    return [dict(zip(FIELDS, astuple(line), strict=True)) for line in lines]


def rows(lines: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The same in words.

    >>> rows([dict(zip(FIELDS, ("add", "n = 16", "oracle", 1200, 3, 0)))])
    [('add', 'n = 16', 'oracle', '1,200 (3 excluded)', '0')]
    """
    words = [tuple(line[name] for name in COLUMNS[:NUMBERS]) for line in lines]
    counts = [(_cases(line["cases"], line["excluded"]), f"{line['mismatches']:,}") for line in lines]
    return [(*word, *count) for word, count in zip(words, counts, strict=True)]


def _cases(cases: int, excluded: int) -> str:
    return f"{cases:,} ({excluded:,} excluded)" if excluded else f"{cases:,}"


def plain(lines: Sequence[tuple[str, ...]]) -> str:
    """The table as text.

    >>> print(plain([("add", "n = 16", "oracle", "9", "0")]))
    function  format  oracle  cases  mismatches
    add       n = 16  oracle      9           0
    """
    widths = [max(map(len, column)) for column in zip(COLUMNS, *lines, strict=True)]
    place = [f"{{:<{width}}}" if i < NUMBERS else f"{{:>{width}}}" for i, width in enumerate(widths)]
    return "\n".join("  ".join(place).format(*row) for row in (COLUMNS, *lines))


def record(header: str, state: Mapping[str, str], summary: Summary, closing: Sequence[str]) -> dict[str, Any]:
    """What a run found and what it holds for, as data that JSON can hold."""
    return {
        "header": header,
        "made": dict(state),
        "lines": numbers(summary),
        "legend": LEGEND,
        "closing": list(closing),
    }


def markdown(recorded: Mapping[str, Any]) -> str:
    """A record as text."""
    made = [f"- {name}: {value}" for name, value in recorded["made"].items()]
    table = ["| " + " | ".join(COLUMNS) + " |", "|---|---|---|---:|---:|"]
    table += ["| " + " | ".join(row) + " |" for row in rows(recorded["lines"])]
    head, tail = ["# Conformance", "", recorded["header"], ""], [recorded["legend"], "", *recorded["closing"]]
    return "\n".join([*head, *made, "", *table, "", *tail]) + "\n"


def write(path: Path, recorded: Mapping[str, Any]) -> None:
    """Keep a record: the table as Markdown, and beside it the numbers as JSON."""
    path.with_suffix(".md").write_text(markdown(recorded))
    path.with_suffix(".json").write_text(json.dumps(recorded, indent=1) + "\n")


def show(summary: Summary) -> None:
    """Print the table."""
    if not RICH:
        print(plain(rows(numbers(summary))))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(caption=LEGEND)
    for i, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if i < NUMBERS else "right", overflow="fold")
    for row in rows(numbers(summary)):
        table.add_row(*row, style=None if row[-1] == "0" else "red")
    Console().print(table)


def sentences(failed: Sequence[Verdict]) -> Iterator[str]:
    """What failed, in words: operands, result, right result."""
    for verdict in failed[:SHOWN]:
        yield f"{verdict.id}: {verdict.error or f'{verdict.mismatches:,} mismatches'}"
        for outcome in verdict.outcomes:
            yield from (f"    {line}" for line in outcome.shown)
    if len(failed) > SHOWN:
        yield f"... and {len(failed) - SHOWN:,} more"


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """A bar; the function that comes with it moves it by one job."""
    if not RICH or not sys.stderr.isatty():
        yield _dots(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bars = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*bars, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda row: bar.update(task, advance=1, description=row)


def _dots(total: int) -> Callable[[str], None]:
    done = 0

    def step(row: str) -> None:
        nonlocal done
        done += 1
        if done * 10 // total > (done - 1) * 10 // total:
            print(f"{done:,} of {total:,} jobs", file=sys.stderr, flush=True)

    return step
