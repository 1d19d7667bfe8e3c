"""An instruction on a machine beside a model: bits that differ with their operands, and which model would have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refnum.sums import tensorcore

from .instructions import COLUMNS, INTEGER, ROWS, Instruction, Machine, Model
from .measures import hexadecimal
from .operands import KINDS, tiles_of

EXAMPLES = 20  #: that are kept of a family
SAMPLE = 4  #: tiles of a case that are kept, compared with the model on the CPU, and recorded
STEPS = (1, 2)  #: instructions after each other


class Case(NamedTuple):
    """Some tiles of a family."""

    kind: str
    steps: int
    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor  #: of the machine

    def first(self, tiles: int) -> Case:
        """Some tiles on the CPU."""
        return Case(self.kind, self.steps, *(x[:tiles].cpu() for x in self[2:]))


@dataclass(slots=True)
class Tally:
    """What was compared of a family."""

    compared: int = 0
    differing: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, case: Case, want: Tensor) -> None:
        """Compare a case with what it should be, bit for bit."""
        wrong = differing(case.d, want)
        self.compared += wrong.numel()
        self.differing += int(wrong.sum())
        for place in wrong.nonzero()[: EXAMPLES - len(self.examples)].tolist():
            self.examples.append(_example(case, want, *place))


def differing(x: Tensor, y: Tensor) -> Tensor:
    """Where the bits are not the same."""
    integer = INTEGER[x.dtype.itemsize]
    return x.view(integer) != y.view(integer)


def _example(case: Case, want: Tensor, tile: int, row: int, column: int) -> dict[str, Any]:
    c, got, wanted = (hexadecimal(x[tile, row, column])[0] for x in (case.c, case.d, want))
    a, b = hexadecimal(case.a[tile, row]), hexadecimal(case.b[tile, column])
    return {"steps": case.steps, "a": " ".join(a), "b": " ".join(b), "c": c, "got": got, "want": wanted}


@dataclass(slots=True)
class Report:
    """What was found out of one instruction."""

    instruction: Instruction
    families: dict[str, Tally] = field(default_factory=lambda: {kind: Tally() for kind in KINDS})
    beside: dict[str, Tally] = field(default_factory=dict)  #: the machine beside others, by what those are
    reference: Tally = field(default_factory=Tally)  #: the model where the machine is, beside the model on the CPU
    samples: list[Case] = field(default_factory=list)
    closest: dict[str, int] = field(default_factory=dict)  #: other rows -> results of the samples that differ

    @property
    def compared(self) -> int:
        """Results."""
        return sum(tally.compared for tally in self.families.values())

    @property
    def differing(self) -> int:
        """Those that are not the model's."""
        return sum(tally.differing for tally in self.families.values())


def compare(
    instruction: Instruction,
    machine: Machine,
    model: Model,
    outputs: int,
    device: str = "cpu",
    seed: int = 0,
    beside: Mapping[str, Machine] = MappingProxyType({}),
) -> Report:
    """At least so many outputs of all families together, of a machine, its model, and other machines."""
    report = Report(instruction, beside={name: Tally() for name in beside})
    each = -(-outputs // (len(KINDS) * len(STEPS) * ROWS * COLUMNS))
    for kind, tally in report.families.items():
        for steps in STEPS:
            a, b, c = tiles_of(kind, instruction, each, steps, device, seed)
            case = Case(kind, steps, a, b, c, machine(instruction, a, b, c))
            want = model(instruction, a, b, c)
            tally.add(case, want)
            sample = case.first(SAMPLE)
            report.samples.append(sample)
            report.reference.add(sample._replace(d=want[:SAMPLE].cpu()), model(instruction, *sample[2:5]))
            for name, other in beside.items():
                report.beside[name].add(case, other(instruction, a, b, c))
    if report.differing:
        report.closest = closest(instruction, model, report.samples)
    return report


# ---- other models --------------------------------------------------------------------------------


def changed(row: tensorcore.Instruction) -> Iterator[tuple[str, tensorcore.Instruction]]:
    """The row, and rows with one change each."""
    yield "the row itself", row
    for more in (-3, -2, -1, 1, 2, 3):
        yield f"fraction {row.fraction + more}", replace(row, fraction=row.fraction + more)
    for terms in (row.terms // 4, row.terms // 2, row.terms * 2):
        if terms:
            yield f"blocks of {terms}", replace(row, terms=terms)
    other = {"toward_zero": "nearest_even", "nearest_even": "toward_zero"}[row.accumulator.rounding]
    yield f"rounded {other}", replace(row, accumulator=row.accumulator._replace(rounding=other))
    exponents = {tensorcore.ZERO: "-126", tensorcore.NOTHING: "nothing"}
    for zero in exponents.keys() - {row.zero}:
        yield f"{exponents[zero]} for the exponent of 0", replace(row, zero=zero)
    for more in (-1, 1) if row.zero == tensorcore.NOTHING else ():
        yield f"the largest exponent {row.least + more} at least", replace(row, least=row.least + more)


def closest(instruction: Instruction, model: Model, samples: Sequence[Case]) -> dict[str, int]:
    """How many results of the samples differ from those of other rows, fewest first."""
    row = model.row(instruction)
    counts = {}
    for name, other in changed(row):
        mutant = replace(model, rows={**model.rows, row.name: other})
        counts[name] = sum(int(differing(case.d, mutant(instruction, *case[2:5])).sum()) for case in samples)
    return dict(sorted(counts.items(), key=lambda item: item[1]))


# ---- recorded ------------------------------------------------------------------------------------

RECORDED_ROWS = 16  #: of a tile


def recorded(report: Report, architecture: str) -> Mapping[str, Tensor]:
    """Samples as patterns, under names like ``hopper.wgmma_bf16_k16.K32/a``: a [n, 16, K], b [n, K, 8], c and d."""
    arrays: dict[str, Tensor] = {}
    for steps in STEPS:
        cases = [case for case in report.samples if case.steps == steps]
        name = f"{architecture}.{report.instruction.name}.K{steps * report.instruction.terms}"
        for part in "abcd":
            whole = torch.cat([_patterns(getattr(case, part)) for case in cases])
            arrays[f"{name}/{part}"] = whole.mT.contiguous() if part == "b" else whole[:, :RECORDED_ROWS].contiguous()
        arrays[f"{name}/kind"] = torch.tensor([KINDS.index(case.kind) for case in cases for _ in case.a])
    return arrays


def _patterns(x: Tensor) -> Tensor:
    return x.view(INTEGER[x.dtype.itemsize])
