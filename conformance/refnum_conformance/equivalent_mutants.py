"""Mutants of the core that no operands can tell from it, each with the proof."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """What names a mutant, as long as its function stays as it is."""

    file: str  #: in refnum/core, without .py
    function: str  #: empty on the level of the module
    before: str  #: the expression or statement around the mistake
    after: str  #: the same with the mistake
    nth: int = 1  #: which one, where the function has several alike

    def __str__(self) -> str:
        place = f"{self.file}.{self.function}" if self.function else self.file
        which = f" (no. {self.nth})" if self.nth > 1 else ""
        return f"{place}: `{self.before}` -> `{self.after}`{which}"


EQUIVALENT: dict[Key, str] = {}
