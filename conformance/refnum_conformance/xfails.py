"""Failures that are expected of a target: a text file, one line each, an id and the reason.

    mul[posit(32,2)-*]   loses the sticky bit when abs(a * b) = 2^119

``*`` stands for anything. In every row and group of formats where a line matches jobs, one of them has to fail: an
expected failure that passes is an error, unless the reason opens with ``sometimes:``, for what random operands may
miss. An id that matches nothing is a warning.

A target may bring its own: ``my_kernels.xfails`` beside ``my_kernels.py`` is read unless another file is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from .runner import Verdict


@dataclass(frozen=True)
class Expected:
    """One line of the file."""

    pattern: str
    reason: str

    @property
    def sometimes(self) -> bool:
        """Whether passing is no error."""
        return self.reason.startswith("sometimes:")

    def matches(self, name: str) -> bool:
        """Whether the line speaks of this id."""
        parts = (re.escape(part) for part in self.pattern.split("*"))
        return re.fullmatch(".*".join(parts), name) is not None


@dataclass(frozen=True)
class Judgement:
    """Verdicts in the light of what was expected."""

    unexplained: tuple[Verdict, ...]  #: failed, and nobody expected it
    expected: tuple[str, ...]  #: lines whose failures came, in words
    passed: tuple[str, ...]  #: lines whose failures did not come, in words

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.unexplained or self.passed)


@dataclass(frozen=True)
class Xfails:
    """All lines of a file."""

    lines: tuple[Expected, ...] = ()
    file: str = ""  #: the name of the file, for the header

    @classmethod
    def of(cls, target: ModuleType, path: str | None) -> Xfails:
        """The file that was named, or else the target's own, or nothing."""
        own = None if target.__file__ is None else Path(target.__file__).with_suffix(".xfails")
        return cls.read(own if path is None and own is not None and own.is_file() else path)

    @classmethod
    def read(cls, path: str | Path | None) -> Xfails:
        """The file, or nothing."""
        if path is None:
            return cls()
        found = []
        for number, line in enumerate(Path(path).read_text().splitlines(), 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            pattern, *reason = text.split(maxsplit=1)
            if not reason:
                raise ValueError(f"{path}:{number} has no reason: {text!r}. Write the id, blanks and the reason.")
            found.append(Expected(pattern, reason[0]))
        return cls(tuple(found), Path(path).name)

    def judge(self, verdicts: Sequence[Verdict]) -> Judgement:
        """Tell expected failures from others, group by group."""
        groups: dict[tuple[str, str], list[Verdict]] = {}
        for verdict in verdicts:
            if not verdict.skipped:
                groups.setdefault((verdict.row, verdict.formats), []).append(verdict)
        expected: list[str] = []
        passed: list[str] = []
        for (row, formats), found in groups.items():
            for line in self.lines:
                matched = [verdict for verdict in found if line.matches(verdict.id)]
                failed = any(verdict.failed for verdict in matched)
                if failed or (matched and not line.sometimes):
                    (expected if failed else passed).append(f"{line.pattern} in {row}, {formats}: {line.reason}")
        unexplained = [verdict for verdict in verdicts if verdict.failed and not self._explains(verdict)]
        return Judgement(tuple(unexplained), tuple(expected), tuple(passed))

    def _explains(self, verdict: Verdict) -> bool:
        return any(line.matches(verdict.id) for line in self.lines)

    def unused(self, ids: Iterable[str]) -> list[str]:
        """Lines that match none of these ids."""
        names = list(ids)
        return [line.pattern for line in self.lines if not any(line.matches(name) for name in names)]
