"""The page of reports: one file in the colours of the themes, light or dark as the reader has it, without scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from ..lab.themes import THEMES, Theme
from .markup import Cell, inline, section

Sections = Mapping[str, tuple[str, Sequence[str]]]  #: by their names in links: title, and parts that are HTML already


def filled(title: str, lead: str, totals: Mapping[str, Cell], sections: Sections) -> str:
    """A whole page: what is most of interest in large digits, then the sections."""
    template = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(title),
        lead=escape(lead),
        light=_variables(THEMES["light"]),
        dark=_variables(THEMES["dark"]),
        contents=" ".join(f'<a href="#{name}">{escape(text)}</a>' for name, (text, _) in sections.items()),
        sections="\n".join(
            (_digits(totals), *(section(name, text, *parts) for name, (text, parts) in sections.items()))
        ),
    )


def colours(theme: Theme) -> dict[str, str]:
    """The colours of a theme by the names that the page gives them."""
    plain = {name: getattr(theme, name) for name in ("surface", "ink", "muted", "faint")}
    return plain | {f"series-{i}": colour for i, colour in enumerate(theme.series, 1)}


def _variables(theme: Theme) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in colours(theme).items())


def _digits(totals: Mapping[str, Cell]) -> str:
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{inline(cell)}</dd></div>" for name, cell in totals.items())
    return f'<dl class="totals" id="totals">{cells}</dl>'
