"""The waist keeps what `refnum_conformance.mutants` has it promise: of numbers, powers of two and tables, by oracles.

Each operand is there because some mistake in the core is seen by it alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from importlib import import_module

import pytest
from refnum_conformance import mutant_formats, mutant_waist
from refnum_conformance.mutant_formats import BOOKS, Book
from refnum_conformance.mutant_waist import Promise
from refnum_conformance.mutants import CORE

WAIST = {file: import_module(f"refnum.core.{file}") for file in CORE}


def broken(promises: Iterable[Promise]) -> list[str]:
    """The names of those that are not kept."""
    return [promise.name for promise in promises if not promise.holds(WAIST)]


def test_formats_by_formulas() -> None:
    assert broken(mutant_formats.numbers(random.Random(0))) == []


def test_floats_there_and_back() -> None:
    assert broken(mutant_formats.floats(random.Random(0))) == []


def test_powers_of_two() -> None:
    assert broken(mutant_formats.exponents(random.Random(0))) == []


@pytest.mark.parametrize("books", [BOOKS[:5], BOOKS[5:10], pytest.param(BOOKS[10:], marks=pytest.mark.slow)])
def test_tables(books: Sequence[Book]) -> None:
    assert broken(mutant_formats.tables(random.Random(0), books)) == []


@pytest.mark.slow
def test_functions_of_the_core() -> None:
    assert broken(mutant_waist.promises()) == []


def test_a_promise_can_be_broken() -> None:
    first = next(mutant_formats.numbers(random.Random(0)))
    assert broken([first, Promise("other", first.run, first.operands, None)]) == ["other"]
