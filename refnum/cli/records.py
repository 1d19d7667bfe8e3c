"""Recorded results, read from JSON: conformance runs, exhaustive sweeps, benchmarks.

A file's kind is told by what is in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

PLACES = (Path("conformance/results"), Path("benchmarks/results"))  #: of a checkout


@dataclass(frozen=True, slots=True)
class Line:
    """A comparison of a function with one oracle."""

    function: str
    format: str
    oracle: str
    cases: int
    excluded: int  #: left out of the cases, where the oracle has a documented defect
    mismatches: int


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the conformance suite."""

    name: str
    made: Mapping[str, str]
    header: str  #: what was tested, with what
    lines: tuple[Line, ...]
    legend: str
    closing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """All operands there are, or all so far."""

    name: str
    checked: int
    left_out: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class Sweeps:
    """Exhaustive sweeps against a peer."""

    name: str
    made: Mapping[str, str]
    sweeps: tuple[Sweep, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured against a yardstick, and what was asked."""

    item: str
    data: str
    against: str
    ratio: float
    at_most: float | None  #: the target, which is a lower bound where ``at_least``
    at_least: bool
    met: str  #: yes, NO, or nothing where nothing was asked

    @property
    def used(self) -> float | None:
        """The share of what is allowed, or None where nothing was asked, or nothing at all is allowed."""
        if not self.at_most or not self.ratio:
            return None
        return self.at_most / self.ratio if self.at_least else self.ratio / self.at_most


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A table of figures."""

    name: str
    made: Mapping[str, str]
    noisy: bool  #: the machine was busy
    figures: tuple[Figure, ...]


Record = Run | Sweeps | Benchmark


def read(paths: Iterable[Path]) -> list[Record]:
    """The records in files, and in the JSON files of folders.

    Raises
    ------
    typer.BadParameter
        When a path cannot be read, or a file is no record.
    """
    return [record(path) for path in _files(paths)]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.exists():
            raise _refusal(f"{path} is not there. Name a JSON file, or a folder with some")
        found = sorted(path.glob("*.json"), key=lambda file: file.stem) if path.is_dir() else [path]
        if not found:
            raise _refusal(f"{path} has no JSON file. Name a folder with some, or record a run first")
        yield from found


def record(path: Path) -> Record:
    """The record in a file."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        kind = next(key for key in _KINDS if key in stored)
        return _KINDS[kind](path.stem, stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise _refusal(
            f"{path} is no record: {_words(error)}. Allowed are the JSON files that python -m refnum_conformance "
            "--record, its --exhaustive, and the benchmarks write. Name one of them"
        ) from None


def _words(error: Exception) -> str:
    match error:
        case StopIteration():
            return f"it has none of {', '.join(_KINDS)}"
        case KeyError():
            return f"it lacks {error}"
        case OSError():
            return str(error.strerror)
    return str(error).rstrip(".")


def _refusal(text: str) -> typer.BadParameter:
    return typer.BadParameter(f"{text}.", param_hint="RECORD")


# One kind each -------------------------------------------------------------------------------------------------------


def _run(name: str, stored: Any) -> Run:
    lines = (
        Line(
            str(line["function"]),
            str(line["format"]),
            str(line["oracle"]),
            *(_count(line[name]) for name in ("cases", "excluded", "mismatches")),
        )
        for line in stored["lines"]
    )
    made, header = _made(stored), str(stored["header"])
    return Run(name, made, header, tuple(lines), str(stored["legend"]), tuple(map(str, stored["closing"])))


def _sweeps(name: str, stored: Any) -> Sweeps:
    sweeps = (
        Sweep(str(what), *(_count(tally[count]) for count in ("checked", "left_out", "mismatches")))
        for what, tally in stored["sweeps"].items()
    )
    return Sweeps(name, _made(stored), tuple(sweeps))


def _benchmark(name: str, stored: Any) -> Benchmark:
    figures = (
        Figure(
            str(figure["item"]),
            str(figure["data"]),
            str(figure["against"]),
            _ratio(figure["ratio"]),
            None if figure["at_most"] is None else _ratio(figure["at_most"]),
            bool(figure["at_least"]),
            str(figure["met"]),
        )
        for figure in stored["figures"]
    )
    return Benchmark(name, _made(stored), bool(stored["noisy"]), tuple(figures))


#: what tells a record's kind, and how it is read
_KINDS: dict[str, Callable[[str, Any], Record]] = {"lines": _run, "sweeps": _sweeps, "figures": _benchmark}


def _made(stored: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in stored["made"].items()}


def _count(x: object) -> int:
    if isinstance(x, bool) or not isinstance(x, int) or x < 0:
        raise ValueError(f"{x!r} is no count")
    return x


def _ratio(x: object) -> float:
    if isinstance(x, bool) or not isinstance(x, (int, float)) or not 0 <= x < math.inf:
        raise ValueError(f"{x!r} is no ratio")
    return float(x)
