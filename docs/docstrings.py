"""Docstrings as Markdown, for mkdocstrings: examples in fences, and the closing lines of a function as a section.

Ours are numpydoc with lines such as ``Exactness: bit-exact.`` at the end, which no parser of docstrings knows.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

FIRST = re.compile(r"^Exactness: ", re.MULTILINE)
LINE = re.compile(r"^(\w+): ", re.MULTILINE)
EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)
DIRECTIVE = re.compile(r"  # doctest: .*$", re.MULTILINE)
REMARK = re.compile(r"  #: (.+)$", re.MULTILINE)
CODE = re.compile(r"(`+[^`]+`+)")


class AsMarkdown(griffe.Extension):
    """Rewrites every docstring before it is parsed; the remark behind a field of a record is its docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.is_attribute and not obj.docstring and (remark := REMARK.search(obj.source)):
            obj.docstring = griffe.Docstring(f"{remark[1][0].upper()}{remark[1][1:]}.", parent=obj)
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(doc: str) -> str:
    """A docstring of ours as numpydoc whose texts are Markdown."""
    closing = FIRST.search(doc)
    text, lines = (doc[: closing.start()], doc[closing.start() :]) if closing else (doc, "")
    pieces, end = [], 0
    for example in EXAMPLE.finditer(text):
        fenced = f"```pycon\n{DIRECTIVE.sub('', example[0])}\n```"
        pieces += [escaped(text[end : example.start()]), fenced]
        end = example.end()
    pieces.append(escaped(text[end:]))
    return "".join(pieces) + (f"How exact\n---------\n{as_list(lines)}" if lines else "")


def as_list(lines: str) -> str:
    """The closing lines as a list in Markdown."""
    return LINE.sub(r"- **\1:** ", escaped(lines))


def escaped(text: str) -> str:
    """Text in which Markdown reads no emphasis: a power is written with two asterisks."""
    return "".join(piece if piece.startswith("`") else piece.replace("**", r"\*\*") for piece in CODE.split(text))
