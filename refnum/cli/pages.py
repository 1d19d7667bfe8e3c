"""Pages of HTML that stand alone: one file, no scripts, nothing from a network, light or dark as the reader has it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import typer

# Blue and orange are told apart by every kind of eye; what they say, words say too.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d5d9de; --good: #0057a8; --bad: #b34700; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --paper: #14171a; --line: #3a4047; --good: #6cb6ff; --bad: #ffab66; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 72rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
code, td { font-family: ui-monospace, monospace; font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole page; the parts of its body are HTML already, the title is text.

    >>> page("a < b", [paragraph("1 & 2")]).splitlines()[-3:]
    ['<h1>a &lt; b</h1>', '<p>1 &amp; 2</p>', '</html>']
    """
    head = (
        f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>'
    )
    parts = "\n".join((heading(title, 1), *body))
    return f'<!doctype html>\n<html lang="en">\n{head}\n<style>{STYLE}</style>\n{parts}\n</html>\n'


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of text; ``kind`` is good, bad, or nothing."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kinds: Iterable[str] | None = None) -> str:
    """A table of text, whose rows may be good or bad.

    >>> table(["a"], [["1"]], ["bad"])
    '<div class="wide"><table><tr><th>a</th></tr><tr class="bad"><td>1</td></tr></table></div>'
    """
    rows = list(rows)
    lines = "".join(
        f"<tr{_class(kind)}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for row, kind in zip(rows, kinds or [""] * len(rows), strict=True)
    )
    top = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f'<div class="wide"><table><tr>{top}</tr>{lines}</table></div>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def write(path: Path, text: str, option: str) -> None:
    """Write a file whole or not at all, also when it is interrupted; one that is there is replaced."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            part.write_text(text, encoding="utf-8", newline="\n")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise typer.BadParameter(
            f"{path} cannot be written ({error.strerror}). Name a file in a folder that can.", param_hint=option
        ) from None
