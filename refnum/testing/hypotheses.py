"""What may be wrong with a kernel, as rows: each makes the result that a kernel with that fault would give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..mx.blocks import Blocks

#: a result: a tensor is one part; Blocks are two, as they are stored
Parts = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Case:
    """A call of an operation: how a result was made."""

    operation: Callable[..., Tensor | Blocks]
    arguments: Mapping[str, Any]  #: all of them, by their names

    def given(self, **arguments: object) -> Case:
        """The same call with other arguments."""
        return replace(self, arguments={**self.arguments, **arguments})

    def result(self) -> Parts:
        """What the call returns."""
        return parts_of(self.operation(**self.arguments))


#: the call that a faulty kernel would have made; None where the fault says nothing about the call
Change = Callable[[Case], Case | None]
#: of a part of the result, what was got in its place, and the call: what a faulty kernel makes of it; None likewise
Damage = Callable[[Tensor, Tensor, Case | None], Tensor | None]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One fault: in what a kernel computes, or in what it makes of a part of the result."""

    name: str
    knob: str  #: what it sets: two of one knob are no pair
    operations: tuple[Callable[..., object], ...] = ()  #: those that may have it; () is all, and none, too
    change: Change | None = None
    part: str = "result"  #: what is damaged
    damage: Damage | None = None


def parts_of(x: Tensor | Blocks | tuple[Tensor, Tensor]) -> Parts:
    """Parts by name."""
    match x:
        case Blocks():
            return {"elements": x.elements, "scales": x.scales}
        case tuple():
            return dict(zip(("elements", "scales"), x, strict=True))
        case _:
            return {"result": x}


def changed(case: Case | None, faults: Iterable[Hypothesis]) -> Case | None:
    """The call of a kernel with all of these faults; None where one of them says nothing about it."""
    for fault in faults:
        if fault.change is not None:
            case = None if case is None else fault.change(case)
            if case is None:
                return None
    return case


def damaged(result: Parts, got: Parts, case: Case | None, faults: Iterable[Hypothesis]) -> Parts | None:
    """What a kernel with all of these faults makes of the result of its call; None where one says nothing about it."""
    made = dict(result)
    for fault in faults:
        if fault.damage is not None:
            part = fault.damage(made[fault.part], got[fault.part], case)
            if part is None:
                return None
            made[fault.part] = part
    return made
