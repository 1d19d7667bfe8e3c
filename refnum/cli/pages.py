"""Pages of HTML that stand alone: one file, no scripts, nothing from a network, light or dark as the reader has it."""

from __future__ import annotations

import os
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
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
th, td { padding: .25rem 1.5rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th.number, td.number { text-align: right; }
code, td { font-family: ui-monospace, monospace; font-size: .9rem; }
.good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
"""


def page(title: str, *parts: str) -> str:
    """A whole page; its parts are HTML already, as `markup` writes it, the title is text.

    >>> page("a < b", "<p>c</p>").splitlines()[-3:]
    ['<h1>a &lt; b</h1>', '<p>c</p>', '</html>']
    """
    head = (
        f'<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>'
    )
    body = "\n".join((f"<h1>{escape(title)}</h1>", *parts))
    return f'<!doctype html>\n<html lang="en">\n{head}\n<style>{STYLE}</style>\n{body}\n</html>\n'


def check(path: Path, option: str) -> None:
    """Whether a file can be written, before the work rather than after it."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        why = "a folder" if path.is_dir() else "its folder takes no files"
        raise typer.BadParameter(
            f"{path} cannot be written ({why}). Name a file in a folder that can.", param_hint=option
        )


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
