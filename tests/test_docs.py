"""Every public function says how exact it is, in the same fixed lines: the documentation's table is made from them."""

from __future__ import annotations

import inspect
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from refnum import Quire

CLASSES = ("bit-exact", "correctly rounded", "the nearest decimal", "model of ")  #: how exact a function can be


TABLES = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "tables.py"))
LINES, fixed_lines = TABLES["LINES"], TABLES["fixed_lines"]
NUMERIC: dict[str, Callable[..., Any]] = TABLES["numeric"]()


def missing(doc: str) -> list[str]:
    """What a docstring lacks of the form of style.md."""
    lines, problems = fixed_lines(doc), []
    if [name for name in lines if name in LINES] != list(LINES):
        problems.append(f"the lines {', '.join(LINES)}, in this order")
    if tuple(lines)[-len(LINES) :] != LINES or not inspect.cleandoc(doc).endswith(
        list(lines.values() or [""])[-1].split()[-1]
    ):
        problems.append("nothing behind the fixed lines")
    if not all(text.endswith(".") for text in lines.values()):
        problems.append("a full stop behind each line")
    if not lines.get("Exactness", "").startswith(CLASSES):
        problems.append(f"a class of exactness: {', '.join(CLASSES)}")
    if ">>> " not in doc:
        problems.append("an example")
    if not re.match(r"[^\n]*\.(\n|$)", inspect.cleandoc(doc)):
        problems.append("a first line that is a sentence")
    return problems


@pytest.mark.parametrize("name", NUMERIC)
def test_the_docstring_has_its_form(name: str) -> None:
    assert not missing(NUMERIC[name].__doc__ or "")


@pytest.mark.parametrize("name", NUMERIC)
def test_the_documented_parameters_exist(name: str) -> None:
    doc = inspect.cleandoc(NUMERIC[name].__doc__ or "")
    section = re.search(r"^Parameters\n-+\n(.*?)(?=\n\n\w+\n-+\n|\n\nExactness:)", doc, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", section[1], flags=re.MULTILINE) if section else []
    parameters = inspect.signature(NUMERIC[name]).parameters
    assert {part for line in named for part in line.split(", ")} <= set(parameters)


@pytest.mark.parametrize("name", NUMERIC)
def test_knobs_are_documented(name: str) -> None:
    """Whatever has a default has a line under Parameters; patterns and the format speak for themselves."""
    doc = inspect.cleandoc(NUMERIC[name].__doc__ or "")
    knobs = [p.name for p in inspect.signature(NUMERIC[name]).parameters.values() if p.default is not p.empty]
    undocumented = [knob for knob in knobs if not re.search(rf"^(\w+, )*{knob}(, \w+)*( :|$)", doc, flags=re.MULTILINE)]
    assert undocumented in ([], ["dtype"]) if name == "posit.to_float" else not undocumented


@pytest.mark.parametrize("name", [name for name, value in vars(Quire).items() if not name.startswith("_")])
def test_a_method_says_what_it_is_in_the_standard(name: str) -> None:
    doc = inspect.getdoc(getattr(Quire, name)) or ""
    assert doc.endswith(".")
    of_the_standard = re.match(r"(pToQ|qToP|q[A-Z]\w+): ", doc)
    assert of_the_standard or name in ("clear", "clone", "to_bytes", "from_bytes"), doc


def test_the_standards_names_are_all_there() -> None:
    named = {match[1] for name in vars(Quire) if (match := re.match(r"(\w+): ", getattr(Quire, name).__doc__ or ""))}
    assert named >= {"pToQ", "qToP", "qNegate", "qAbs", "qAddP", "qSubP", "qAddQ", "qSubQ", "qMulAdd", "qMulSub"}


# ---- the check can fail -------------------------------------------------------------------------------------------

GOOD = """a + b.

>>> add(1, 2)
3

Exactness: correctly rounded.
Rounding: once,
    to nearest.
Special: none.
Standard: 5.4.
Cost: O(1).
"""


def test_a_good_docstring_passes() -> None:
    assert not missing(GOOD)
    assert fixed_lines(GOOD)["Rounding"] == "once, to nearest."


@pytest.mark.parametrize(
    ("old", "new", "lack"),
    [
        ("Special: none.\n", "", "the lines"),
        ("Cost: O(1).\n", "", "the lines"),
        ("Special: none.\nStandard: 5.4.", "Standard: 5.4.\nSpecial: none.", "in this order"),
        ("Cost: O(1).", "Cost: O(1).\n\nMore.", "nothing behind"),
        ("Standard: 5.4.", "Standard: 5.4", "a full stop"),
        ("correctly rounded", "good", "a class of exactness"),
        (">>> add", "add", "an example"),
        ("a + b.", "a + b", "a sentence"),
    ],
)
def test_a_bad_docstring_is_found(old: str, new: str, lack: str) -> None:
    assert old in GOOD
    assert any(lack in problem for problem in missing(GOOD.replace(old, new)))
