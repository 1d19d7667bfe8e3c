"""HTML from rows: every text escaped, every number with its exact value beside what is shown of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Number:
    """A number and how it is shown."""

    value: float
    shown: str
    tone: str = ""  #: good, bad, or neither

    def __str__(self) -> str:
        tone = f' class="{self.tone}"' if self.tone else ""
        return f'<data value="{self.value!r}"{tone}>{escape(self.shown)}</data>'


def count(value: int) -> Number:
    """A whole number.

    >>> print(count(1200))
    <data value="1200">1,200</data>
    """
    return Number(value, f"{value:,}")


def mismatches(value: int) -> Number:
    """A number of mismatches: good where it is 0.

    >>> print(mismatches(0), mismatches(3))
    <data value="0" class="good">0</data> <data value="3" class="bad">3</data>
    """
    return Number(value, f"{value:,}", "bad" if value else "good")


@dataclass(frozen=True, slots=True)
class Markup:
    """What is HTML already."""

    html: str

    def __str__(self) -> str:
        return self.html


Cell = str | Number | Markup


def code(text: str) -> Markup:
    """What a computer reads or writes.

    >>> print(code("a < b"))
    <code>a &lt; b</code>
    """
    return Markup(f"<code>{escape(text)}</code>")


def inline(cell: Cell) -> str:
    """A cell's content.

    >>> inline("a < b")
    'a &lt; b'
    """
    return escape(cell) if isinstance(cell, str) else str(cell)


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]], *, numbers: int, caption: str = "") -> str:
    """A table. Columns from the one called ``numbers`` on stand on the right.

    >>> print(table(("function", "cases"), [("add", count(9))], numbers=1))
    <div class="scroll"><table>
    <thead><tr><th>function</th><th class="number">cases</th></tr></thead>
    <tbody>
    <tr><td>add</td><td class="number"><data value="9">9</data></td></tr>
    </tbody></table></div>
    """

    def line(tag: str, cells: Sequence[Cell]) -> str:
        sides = ("" if i < numbers else ' class="number"' for i in range(len(cells)))
        written = (f"<{tag}{side}>{inline(cell)}</{tag}>" for side, cell in zip(sides, cells, strict=True))
        return f"<tr>{''.join(written)}</tr>"

    title = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    body = "\n".join(line("td", row) for row in rows)
    head = f"<thead>{line('th', header)}</thead>"
    return f'<div class="scroll"><table>\n{title}{head}\n<tbody>\n{body}\n</tbody></table></div>'


def section(name: str, title: str, *parts: str) -> str:
    """A part of the page that links can name."""
    return "\n".join((f'<section id="{name}">', f"<h2>{escape(title)}</h2>", *parts, "</section>"))


def paragraph(text: str) -> str:
    """A paragraph.

    >>> paragraph("a < b")
    '<p>a &lt; b</p>'
    """
    return f"<p>{escape(text)}</p>"


def folded(summary: str, *parts: str) -> str:
    """What is read on demand, without a script."""
    return "\n".join((f"<details><summary>{escape(summary)}</summary>", *parts, "</details>"))
