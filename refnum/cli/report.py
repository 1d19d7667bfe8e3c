"""``refnum report``: recorded results as one HTML page that needs no network and no script."""

from __future__ import annotations

import io
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from .. import __version__
from ..errors import MissingExtraError
from ..formats import bfloat16, e4m3, e5m2, float16, float32, posit8, posit16, posit32
from ..lab.themes import THEMES
from ..ops import gemm
from . import pages, records, standards, template
from .markup import Cell, Markup, Number, code, count, folded, mismatches, paragraph, table
from .records import PLACES, Benchmark, Line, Record, Run, Sweeps
from .status import DONE, MISMATCH

PAGE = Path("refnum-report.html")
#: of the product by which orders of summation are compared
SHAPE, SEED = (128, 1024, 128), 0
CONTRACTS = ("chain/v1", "tree/v1", "tc.hopper.bf16/v1", "exact/v1")


def run(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RECORD]...",
            help=f"JSON files, or folders with some. Default: {' and '.join(map(str, PLACES))}, in a checkout; with "
            "--standard, none: checks are run now.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help=f"The page. Default: {PAGE}; with --standard, none."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    standard: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Say of each function of {standards.NAME} what was checked."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="With --standard: what is checked, a file or module of functions. Default: refnum."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="With --standard: processes. Default: one per core.")
    ] = None,
) -> int:
    """Write recorded results as one HTML page: conformance, deviations, benchmarks, plots.

    The page needs no network and no script. It shows runs of the conformance suite and exhaustive sweeps, calls that
    peers get wrong, ratios to yardsticks, and plots of formats. With --standard a table says of each function of a
    standard what was checked. Exit 1 when there are mismatches.
    """
    if standard is not None:
        return standards.run(standard, paths or [], target, workers, output, as_json)
    if target is not None or workers is not None:
        raise typer.BadParameter(
            f"They are for checks of a standard. Add --standard {standards.NAME}.", param_hint="--target, --workers"
        )
    return _report(paths or _places(), output or PAGE, as_json)


def _report(paths: Sequence[Path], output: Path, as_json: bool) -> int:
    pages.check(output, "--output")
    found = records.read(paths)
    pages.write(output, page(found), "--output")
    wrong = total_mismatches(found)
    if as_json:
        print(json.dumps({"output": str(output), "records": len(found), "mismatches": wrong}))
    else:
        print(f"{output}: {_plural(len(found), 'record')}, {_plural(wrong, 'mismatch', 'es')}")
    return MISMATCH if wrong else DONE


def _places() -> list[Path]:
    found = [place for place in PLACES if place.is_dir()]
    if not found:
        raise typer.BadParameter(
            f"There are no records here: neither {' nor '.join(map(str, PLACES))}. Run this in a checkout of refnum, "
            "or name JSON files that python -m refnum_conformance --record FILE writes.",
            param_hint="RECORD",
        )
    return found


def total_mismatches(found: Sequence[Record]) -> int:
    """Over all records."""
    return sum(line.mismatches for r in found if isinstance(r, Run) for line in r.lines) + sum(
        sweep.mismatches for r in found if isinstance(r, Sweeps) for sweep in r.sweeps
    )


# The page ------------------------------------------------------------------------------------------------------------


def page(found: Sequence[Record]) -> str:
    """The whole page."""
    runs = [r for r in found if isinstance(r, Run)]
    sweeps = [r for r in found if isinstance(r, Sweeps)]
    benchmarks = [r for r in found if isinstance(r, Benchmark)]
    sections = {
        "conformance": ("Conformance", [part for each in runs for part in _run(each)]),
        "sweeps": ("Every operand there is", [part for each in sweeps for part in _sweeps(each)]),
        "deviations": ("Known deviations of peers", list(_deviations())),
        "benchmarks": ("Benchmarks", [part for each in benchmarks for part in _benchmark(each)]),
        "plots": ("Plots", list(_plots())),
    }
    return template.filled(
        f"refnum {__version__}: conformance report",
        "What was compared with what, what differed, and how fast it was. The tables are recorded runs.",
        _totals(runs, sweeps, benchmarks),
        {name: (title, parts) for name, (title, parts) in sections.items() if parts},
    )


def _totals(runs: Sequence[Run], sweeps: Sequence[Sweeps], benchmarks: Sequence[Benchmark]) -> dict[str, Cell]:
    asked = [figure for each in benchmarks for figure in each.figures if figure.met]
    met = sum(figure.met == "yes" for figure in asked)
    return {
        "compared with oracles": count(sum(line.cases for each in runs for line in each.lines)),
        "swept exhaustively": count(sum(sweep.checked for each in sweeps for sweep in each.sweeps)),
        "mismatches": mismatches(total_mismatches([*runs, *sweeps])),
        "benchmark targets met": Markup(f"{count(met)} of {count(len(asked))}"),
    }


# Conformance ---------------------------------------------------------------------------------------------------------


def _run(record: Run) -> Iterator[str]:
    yield _heading(record.name, record.made)
    yield _overview(record)
    rows = [
        (x.function, x.format, x.oracle, count(x.cases), count(x.excluded), mismatches(x.mismatches))
        for x in record.lines
    ]
    header = ("function", "format", "oracle", "cases", "excluded", "mismatches")
    yield folded(
        f"All {len(rows):,} lines: function, format, oracle", table(header, rows, numbers=3), paragraph(record.legend)
    )
    yield from (paragraph(line) for line in record.closing)


def _overview(record: Run) -> str:
    """Functions by oracles: cases, and mismatches."""
    oracles = list(dict.fromkeys(line.oracle for line in record.lines))
    lines: dict[str, list[Line]] = defaultdict(list)
    for line in record.lines:
        lines[line.function].append(line)

    def row(function: str) -> Iterator[Cell]:
        yield function
        for oracle in oracles:
            asked = [line.cases for line in lines[function] if line.oracle == oracle]
            yield count(sum(asked)) if asked else "-"
        yield mismatches(sum(line.mismatches for line in lines[function]))

    header = ("function", *oracles, "mismatches")
    return table(header, [tuple(row(function)) for function in lines], numbers=1, caption="cases by oracle")


def _sweeps(record: Sweeps) -> Iterator[str]:
    yield _heading(record.name, record.made)
    header = ("sweep", "checked", "left out", "mismatches")
    rows = [(x.name, count(x.checked), count(x.left_out), mismatches(x.mismatches)) for x in record.sweeps]
    yield table(header, rows, numbers=1)


def _heading(name: str, made: Mapping[str, str]) -> str:
    conditions = ", ".join(f"{key} {value}" for key, value in made.items())
    return f'<h3>{escape(name)}</h3>\n<p class="muted">{escape(conditions)}</p>'


def _deviations() -> Iterator[str]:
    try:
        from refnum_conformance.known_deviations import listing
    except ImportError as error:
        yield paragraph(
            f"Not shown: {error}. The list is in the distribution refnum-conformance. Install it beside refnum."
        )
        return
    rows = [(x.peer, code(x.call), code(x.got), code(x.right), x.why) for x in listing.listed()]
    yield paragraph(
        f"{_plural(len(rows), 'call')} with operands that come out wrong, pinned: the suite runs them, and one that "
        "comes out right is an error there."
    )
    yield table(("peer", "call", "got", "right", "why"), rows, numbers=5)


# Benchmarks ----------------------------------------------------------------------------------------------------------


def _benchmark(record: Benchmark) -> Iterator[str]:
    yield _heading(f"{record.name}{', on a busy machine' if record.noisy else ''}", record.made)
    header = ("item", "data", "against", "ratio", "target", "met", "used of what is allowed")
    yield table(header, [_figure(figure) for figure in record.figures], numbers=3)


def _figure(x: records.Figure) -> tuple[Cell, ...]:
    sign = "≥" if x.at_least else "≤"
    target: Cell = "" if x.at_most is None else Number(x.at_most, f"{sign} {x.at_most:g}")
    tone = {"yes": "good", "NO": "bad"}.get(x.met)
    met: Cell = Markup(f'<span class="{tone}">{escape(x.met.lower())}</span>') if tone else ""
    return (x.item, x.data, x.against, Number(x.ratio, _ratio(x.ratio)), target, met, _bar(x.used))


def _ratio(x: float) -> str:
    """Three digits, or a whole number.

    >>> _ratio(0.70949), _ratio(1110.2)
    ('0.709', '1,110')
    """
    return f"{x:.3g}" if x < 1000 else f"{x:,.0f}"


def _bar(used: float | None) -> Cell:
    if used is None:
        return ""
    over = ' class="over"' if used > 1 else ""
    width = f'<i{over} style="width: {min(1.0, used):.0%}"></i>'
    return Markup(f'{Number(used, f"{used:.0%}")}<span class="bar" aria-hidden="true">{width}</span>')


# Plots ---------------------------------------------------------------------------------------------------------------


def _plots() -> Iterator[str]:
    try:
        from ..lab import plot
    except MissingExtraError as error:
        yield paragraph(f"Not drawn: {error}")
        return
    yield _drawn(plot.number_line(posit8, e4m3, e5m2), "The positive values of three formats of 8 bits.")
    yield _drawn(
        plot.decimal_accuracy(posit8, posit16, posit32, float16, bfloat16, float32),
        "Correct decimals along the number line, the worst of each binade.",
    )
    yield _drawn(plot.accuracy_against_bits(), "Bits of a number against the noise of rounding N(0,1) to it.")
    m, k, n = SHAPE
    yield _drawn(
        plot.relative_errors(*_products()),
        f"Contracts compared: float32 products of bfloat16 matrices from N(0,1), {m} x {k} by {k} x {n}, against the "
        "exact sums in float64.",
    )


def _products() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    m, k, n = SHAPE
    generator = torch.Generator("cpu").manual_seed(SEED)
    a, b = (torch.randn(s, generator=generator, dtype=torch.float32, device="cpu") for s in ((m, k), (k, n)))
    a, b = a.bfloat16(), b.bfloat16()
    products = {name: gemm(a, b, contract=name, out_dtype=torch.float32) for name in CONTRACTS}
    return products, gemm(a.double(), b.double(), contract="exact/v1")


def _drawn(figure: Any, caption: str) -> str:
    """A figure inline, its colours those of the page."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = file.getvalue()[file.getvalue().index("<svg") :]
    for name, colour in template.colours(THEMES["light"]).items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # ids that nothing names and that figures share
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    return f"<figure>\n{svg}\n<figcaption>{escape(caption)}</figcaption>\n</figure>"


def _plural(number: int, noun: str, ending: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else ending}"
