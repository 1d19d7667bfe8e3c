"""Reading a report's page: tables, numbers, and whether every tag is closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "br", "link", "img", "input", "hr"}


@dataclass
class Cell:
    """Of a table: its text, and the numbers in it."""

    text: str = ""
    numbers: list[float] = field(default_factory=list)


class Page(HTMLParser):
    """The tables of each section, the numbers of the whole page, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[list[Cell]]]] = {}
        self.totals: list[float] = []
        self.numbers = 0
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def section(self) -> str:
        return next((str(attributes["id"]) for tag, attributes in self.open if tag == "section"), "")

    def inside(self, tag: str) -> bool:
        return any(name == tag for name, _ in self.open)

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.add(tag)
        self.links += [str(value) for name, value in attributes if name in ("href", "src", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append((tag, found))
        tables = self.tables.setdefault(self.section(), [])
        match tag:
            case "table":
                tables.append([])
            case "tr":
                tables[-1].append([])
            case "td" | "th":
                tables[-1][-1].append(Cell())
            case "data":
                self.numbers += 1
                (self.totals if self.inside("dl") else tables[-1][-1][-1].numbers).append(float(str(found["value"])))

    def handle_startendtag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attributes if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.inside("td") or self.inside("th"):
            self.tables[self.section()][-1][-1][-1].text += data

    def rows(self, section: str, header: Sequence[str]) -> list[list[list[Cell]]]:
        """The bodies of all tables of a section with this header."""
        return [table[1:] for table in self.tables[section] if [cell.text for cell in table[0]] == list(header)]


def words(cells: Sequence[Cell]) -> list[str]:
    """The texts of cells."""
    return [cell.text for cell in cells]
