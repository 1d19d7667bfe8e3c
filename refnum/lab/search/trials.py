"""Trials: records of what was evaluated, as text and back; and those that no other beats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from ...errors import FormatError
from ...formats import Block, Scalar, parse
from ...nn import Plan

Choice = Scalar | Block | Plan | None  #: what a layer can have: a format of its weights, a plan, or nothing new


@dataclass(frozen=True, slots=True)
class Trial:
    """Formats for layers, and what the evaluation of a model that has them gave.

    >>> from refnum import Posit, mxint8
    >>> trial = Trial({"conv": Posit(8), "head": mxint8}, bits=8.125, score=0.95)
    >>> trial.to_json()
    '{"formats": {"conv": "posit8", "head": "mxint8"}, "bits": 8.125, "score": 0.95, "loss": null, "state": "complete",
    "reason": "", "method": "", "number": 0}'
    >>> Trial.from_json(trial.to_json()) == trial
    True
    """

    formats: Mapping[str, Choice]  #: of each layer that is searched; None: it is as it was
    bits: float  #: per weight, scales included
    score: float | None = None  #: the higher the better; None: failed
    loss: float | None = None  #: the lower the better; None: failed, or the evaluator returns none
    state: str = "complete"  #: or failed
    reason: str = ""  #: why it failed
    method: str = ""  #: who asked for it
    number: int = 0  #: its place among the method's trials

    @property
    def plans(self) -> dict[str, Plan]:
        """What `nn.convert` takes: the plans of the layers that have one."""
        plans = {name: plan_of(choice) for name, choice in self.formats.items()}
        return {name: plan for name, plan in plans.items() if plan is not None}

    def to_json(self) -> str:
        """One line of text."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(values | {"formats": spelled(self.formats)})

    @classmethod
    def from_json(cls, text: str) -> Trial:
        """The trial that the text is of.

        Raises
        ------
        FormatError
            When it is of none.
        """
        try:
            values = json.loads(text)
            return cls(**values | {"formats": {name: _read(value) for name, value in values["formats"].items()}})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise FormatError(
                f"Trial cannot read {text[:60]!r}: {error}. Allowed is what to_json writes. Take the line out."
            ) from None


def pareto(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that no other beats in both bits and score, from the fewest bits on; each point once.

    >>> points = ((4, 0.9), (5, 0.8), (6, 0.95), (6, 0.95))
    >>> [trial.bits for trial in pareto(Trial({}, bits, score) for bits, score in points)]
    [4, 6]

    Failed ones have no score and are left out.
    """
    front: list[Trial] = []
    for trial in sorted(completed(trials), key=lambda trial: (trial.bits, -score_of(trial))):
        if not front or score_of(trial) > score_of(front[-1]):
            front.append(trial)
    return front


def completed(trials: Iterable[Trial]) -> list[Trial]:
    """Those that have a score."""
    return [trial for trial in trials if trial.state == "complete"]


def score_of(trial: Trial) -> float:
    """The score of a completed trial."""
    assert trial.score is not None
    return trial.score


def plan_of(choice: Choice) -> Plan | None:
    """A choice as a plan."""
    return choice if choice is None or isinstance(choice, Plan) else Plan(weight=choice)


# ---- formats as text -----------------------------------------------------------------------------


def spelled(formats: Mapping[str, Choice]) -> dict[str, Any]:
    """Choices as JSON has them."""
    return {name: spell(choice) for name, choice in formats.items()}


def spell(choice: Choice) -> Any:
    """A format as text, a plan as the texts of its fields."""
    if isinstance(choice, Plan):
        given = {field.name: getattr(choice, field.name) for field in fields(choice)}
        return {name: x if isinstance(x, str) else _text(x) for name, x in given.items() if x is not None}
    return None if choice is None else _text(choice)


def label(choice: Choice) -> str:
    """The same in one text."""
    text = spell(choice)
    return text if isinstance(text, str) else json.dumps(text)


@cache
def _text(fmt: Scalar | Block) -> str:
    """The short name if it can be read back, as those that users give to codebooks cannot."""
    try:
        return str(fmt) if parse(str(fmt)) == fmt else _in_full(fmt)
    except FormatError:
        return _in_full(fmt)


def _in_full(x: object) -> str:
    """A record as the call that makes it."""
    if not is_dataclass(x):
        return repr(x)
    arguments = (f"{field.name}={_in_full(getattr(x, field.name))}" for field in fields(x) if field.init)
    return f"{type(x).__name__}({', '.join(arguments)})"


def _read(value: Any) -> Choice:
    if isinstance(value, dict):
        given: dict[str, Any] = {name: text if "/" in text else parse(text) for name, text in value.items()}
        return Plan(**given)
    return None if value is None else parse(value)
