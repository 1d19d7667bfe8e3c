"""``refnum diff A B``: two files of tensors, compared by name, in bits or in ULP of the format."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from torch import Tensor

from ..boundary import INTEGERS
from ..errors import FormatError
from ..formats import Block, Posit, parse
from ..testing.comparisons import compare
from ..testing.reports import BlocksReport, Difference, Report, aligned
from ..testing.ulp import UNSIGNED, Row
from . import markup, pages
from .status import DONE, MISMATCH
from .streams import output
from .tensors import ONLY, TensorFile, near, open_tensors, printable

CODES = (*INTEGERS, *UNSIGNED)  #: dtypes that a format for all codes is meant for
HEADER = ("tensor", "shape", "dtype", "mismatched", "worst")

Rows = dict[str | None, Row]  #: formats by names of tensors; that of None is for all integers
Pair = tuple[Callable[[], Tensor] | None, Callable[[], Tensor] | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one name."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    fmt: Row | None  #: of codes
    report: Report | None = None  #: of elements that differ
    reason: str = ""  #: why they were not compared

    @property
    def equal(self) -> bool:
        """Whether nothing is wrong."""
        return self.report is None and not self.reason

    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        kind = f"{self.fmt} in {self.dtype}" if self.fmt else self.dtype
        first = (self.name, str(self.shape), kind)
        if self.report is None:
            return (*first, self.reason or "0", "")
        return (*first, f"{self.report.mismatched:,} of {self.report.total:,}", self.report.farthest)

    def as_dict(self) -> dict[str, Any]:
        """The facts for JSON."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "format": self.fmt and str(self.fmt),
            "equal": self.equal,
            "reason": self.reason or None,
            "report": self.report and self.report.as_dict(),
        }


def run(
    got: Annotated[Path, typer.Argument(metavar="A", help="What is looked at: .npz .npy .pt .pth .safetensors")],
    want: Annotated[Path, typer.Argument(metavar="B", help="What it has to be.")],
    fmt: Annotated[
        list[str] | None,
        typer.Option(
            "--fmt", metavar="[NAME=]FORMAT", help="Of codes: of all integers, or of one tensor's; repeatable."
        ),
    ] = None,
    packed: Annotated[bool, typer.Option("--packed", help="Codes of 4 bits lie two a byte.")] = False,
    ulp: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 2, help="How far apart is close enough. Without it, equal bits.")
    ] = None,
    key: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Compare this alone; repeatable.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page, too; it replaces the file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Compare two files of tensors by name, in bits or in ULP, and show the worst elements.

    A pickle is never loaded. A tensor without a name is compared with the only one of the other file.
    """
    with open_tensors(got) as a, open_tensors(want) as b:
        pairs = _chosen(_paired(a, b), key or [])
        rows = _formats(fmt or [], pairs)
        if packed and not any(row.width == 4 for row in rows.values()):
            raise typer.BadParameter("packed are codes of 4 bits. Name their format with --fmt.", param_hint="--packed")
        verdicts = list(_verdicts(pairs, rows, packed, ulp))
    if rows and all(verdict.fmt is None for verdict in verdicts):
        raise typer.BadParameter("codes are integers, and no tensor holds any. Leave it out.", param_hint="--fmt")
    if html is not None:
        pages.write(html, _page((a, b), verdicts, ulp), "--html")
    with output():
        print(_json((a, b), verdicts, ulp) if as_json else _text((a, b), verdicts, ulp))
    return DONE if all(verdict.equal for verdict in verdicts) else MISMATCH


# ---- what is compared with what --------------------------------------------------------------------------------------


def _paired(a: TensorFile, b: TensorFile) -> dict[str, Pair]:
    if len(a.readers) == len(b.readers) == 1 and ONLY in {*a.readers, *b.readers}:
        (x, read_x), (y, read_y) = *a.readers.items(), *b.readers.items()
        return {x or y: (read_x, read_y)}
    return {name: (a.readers.get(name), b.readers.get(name)) for name in dict.fromkeys((*a.readers, *b.readers))}


def _chosen(pairs: dict[str, Pair], keys: list[str]) -> dict[str, Pair]:
    for name in keys:
        if name not in pairs:
            raise typer.BadParameter(
                f"no tensor is named {printable(name)!r}.{near(name, pairs)} Allowed are names in either file.",
                param_hint="--key",
            )
    if not pairs:
        raise typer.BadParameter("neither file holds a tensor. Name files that do.", param_hint="A B")
    return {name: pairs[name] for name in keys} if keys else pairs


def _formats(options: list[str], pairs: dict[str, Pair]) -> Rows:
    rows: Rows = {}
    for option in options:
        name, equals, text = option.rpartition("=")
        if equals and name in pairs:
            rows[name] = _row(text)
        elif equals and "(" not in option:
            raise typer.BadParameter(
                f"no tensor is named {printable(name)!r}.{near(name, pairs)} Write FORMAT, or NAME=FORMAT.",
                param_hint="--fmt",
            )
        else:
            rows[None] = _row(option)
    return rows


def _row(text: str) -> Row:
    fmt = parse(text)
    if isinstance(fmt, Block):
        raise FormatError(
            f"{text} is a format of blocks, not of single values. Allowed are formats of codes. Name that of the "
            f"elements, {fmt.element}, or of the scales."
        )
    return fmt


def _verdicts(pairs: dict[str, Pair], rows: Rows, packed: bool, ulp: int | None) -> Iterator[Verdict]:
    """One pair after the other in memory."""
    watched = Console(stderr=True)
    for name, readers in track(pairs.items(), "", console=watched, transient=True, disable=not watched.is_terminal):
        yield _verdict(name, [read and read() for read in readers], rows, packed, ulp)


def _verdict(name: str, pair: list[Tensor | None], rows: Rows, packed: bool, ulp: int | None) -> Verdict:
    got, want = pair
    one = got if got is not None else want
    assert one is not None  # a name is that of a tensor in one of the files
    row = rows.get(name, rows.get(None) if one.dtype in CODES else None)
    verdict = Verdict(printable(name) or "the tensor", tuple(one.shape), str(one.dtype).removeprefix("torch."), row)
    if got is None or want is None:
        return replace(verdict, reason=f"only in {'B' if got is None else 'A'}")
    if isinstance(row, Posit):  # of patterns only the low bits are read, and uint8 has all 8
        got, want = (x.view(torch.int8) if x.dtype == torch.uint8 else x for x in (got, want))
    halves = packed and row is not None and row.width == 4
    found = compare(f"refnum diff of {verdict.name}", got, want, ulp, fmt=row, packed=halves)
    if isinstance(found, tuple):
        return replace(verdict, reason="; ".join(map(_short, found)))
    assert not isinstance(found, BlocksReport)
    return replace(verdict, report=found)


def _short(difference: Difference) -> str:
    return f"{difference.name} {difference.got} against {difference.want}".replace("torch.", "")


# ---- how it is told --------------------------------------------------------------------------------------------------


def _summary(verdicts: list[Verdict], ulp: int | None) -> str:
    asked = "bit-equal" if ulp is None else f"within {ulp} ULP"
    wrong = sum(not verdict.equal for verdict in verdicts)
    count = f"{len(verdicts):,} tensor{'s' * (len(verdicts) != 1)}"
    return f"{count}  ok  {asked}" if not wrong else f"{wrong:,} of {count} not {asked}"


def _text(files: tuple[TensorFile, TensorFile], verdicts: list[Verdict], ulp: int | None) -> str:
    lines = list(aligned([HEADER, *(verdict.cells() for verdict in verdicts)]))
    for verdict in verdicts:
        if verdict.report is not None:
            lines += ["", verdict.name, *verdict.report.lines()]
    for side, file in zip("AB", files, strict=True):
        if file.others:
            lines += ["", f"left out of {side}, being no tensors: {_names(file.others)}"]
    return "\n".join((*lines, "", _summary(verdicts, ulp)))


def _names(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return ", ".join(map(printable, names[:8])) + more


def _json(files: tuple[TensorFile, TensorFile], verdicts: list[Verdict], ulp: int | None) -> str:
    return json.dumps(
        {
            "got": str(files[0].path),
            "want": str(files[1].path),
            "ulp": ulp,
            "equal": all(verdict.equal for verdict in verdicts),
            "tensors": [verdict.as_dict() for verdict in verdicts],
            "left_out": {side: list(file.others) for side, file in zip(("got", "want"), files, strict=True)},
        },
        allow_nan=False,
    )


def _page(files: tuple[TensorFile, TensorFile], verdicts: list[Verdict], ulp: int | None) -> str:
    a, b = (printable(str(file.path)) for file in files)
    parts = [markup.paragraph(_summary(verdicts, ulp)), markup.table(HEADER, map(_cells, verdicts), numbers=3)]
    for i, verdict in enumerate(verdicts):
        if (report := verdict.report) is not None:
            worst = markup.table(report.header, report.rows(), numbers=1)
            texts = map(markup.paragraph, (report.facts, report.spread))
            parts.append(markup.section(f"tensor-{i}", verdict.name, next(texts), worst, next(texts)))
    return pages.page(f"{a} against {b}", *parts)


def _cells(verdict: Verdict) -> tuple[markup.Cell, ...]:
    """A line of the page's table: that of the text, what is wrong marked."""
    name, shape, kind, found, worst = verdict.cells()
    tone = "good" if verdict.equal else "bad"
    return name, shape, kind, markup.Markup(f'<span class="{tone}">{escape(found)}</span>'), worst
