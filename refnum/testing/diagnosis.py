"""The likely cause of a mismatch, proven by trying it: a fault counts only if it gives every bit that was got."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, check_device, check_tensor, check_values
from ..codec import decode, encode
from ..errors import ContractError, DTypeError, RefnumError
from ..mx import Blocks, dequantize
from ..mx import quantize as mx_quantize
from ..ops import gemm, mx_mm
from ..values import quantize
from . import bytefaults, sumfaults, valuefaults
from .hypotheses import Case, Hypothesis, Parts, changed, damaged, parts_of

Result = Tensor | Blocks | tuple[Tensor, Tensor]

#: operations whose faults are known
OPERATIONS: dict[Callable[..., Tensor | Blocks], str] = {
    encode: "encode",
    decode: "decode",
    quantize: "quantize",
    mx_quantize: "mx.quantize",
    dequantize: "mx.dequantize",
    gemm: "gemm",
    mx_mm: "mx_mm",
}
NAMED = 3  #: causes that a text names


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What explains a mismatch. Its text names the causes."""

    mismatched: int  #: elements that differ, as they are stored
    total: int
    causes: tuple[tuple[str, ...], ...]  #: each explains every bit: one fault, or two together
    tried: int  #: how many faults were tried alone
    pairs: int  #: and how many in pairs, which are tried where no single one explains it
    closest: tuple[str, int] | None  #: the fault that leaves the fewest mismatches, and how many, where that are fewer

    def __str__(self) -> str:
        if not self.mismatched:
            return f"got equals want in all {self.total:,} elements: nothing to explain"
        count = f"{self.mismatched:,} mismatch{'es' * (self.mismatched > 1)} of {self.total:,} elements"
        if not self.causes:
            pairs = f", nor one of {self.pairs:,} pairs of them" * bool(self.pairs)
            near = f" (the closest, {self.closest[0]}, leaves {self.closest[1]:,})" if self.closest else ""
            return f"none of {self.tried} hypotheses explains {count}{pairs}{near}"
        causes = [f"{' and '.join(cause)}{' together' * (len(cause) > 1)}" for cause in self.causes]
        text = f"all {count} vanish with {'; or with '.join(causes[:NAMED])}"
        more = f"; or with {len(causes) - NAMED} more" if len(causes) > NAMED else ""
        return f"{text}{more}{': these data do not tell them apart' * (len(causes) > 1)}"


def diagnose(
    got: Result,
    want: Result,
    operation: Callable[..., Tensor | Blocks] | None = None,
    *operands: object,
    **options: object,
) -> Diagnosis:
    """Why two results differ: the faults that turn what is wanted into every bit of what was got.

    Hypotheses are tried one by one, and where none explains every mismatch, in pairs. Nothing is guessed: a cause is
    named if a kernel that has it, and is right otherwise, gives the bits that were got.

    >>> import refnum
    >>> x = torch.tensor([1.0, 2.5, 3.5, -5.0, 1.25, 0.3])
    >>> want = refnum.encode(x, refnum.e2m1)
    >>> got = torch.tensor([2, 5, 6, 15, 3, 1], dtype=torch.uint8)
    >>> print(diagnose(got, want, refnum.encode, x, refnum.e2m1))
    all 3 mismatches of 6 elements vanish with rounding=nearest_away

    A failing comparison takes it as a note: ``error.add_note(str(diagnose(got, want, ...)))``.

    Parameters
    ----------
    got, want : Tensor or Blocks
        Two results; or, for results in blocks, pairs of elements and scales as they are stored, of any shape.
    operation : callable, optional
        What made ``want``: encode, decode, quantize, mx.quantize, mx.dequantize, gemm or mx_mm. Without it only faults
        are tried that need not run it again: bits that lie elsewhere, signs, subnormals.
    operands, options
        What it was called with: ``diagnose(got, want, refnum.gemm, a, b, contract="chain/v1")``.

    Returns
    -------
    Diagnosis
        The causes, how many hypotheses were tried, and which came closest. Several causes are several explanations
        that these data do not tell apart; none is said to be none.

    Raises
    ------
    ContractError
        When the operation has no hypotheses, or does not give ``want`` for these operands.
    DTypeError
        When a result is no tensor, Blocks or pair, or they are not of one kind.

    Exactness: bit-exact: of a cause not one bit differs.
    Rounding: none.
    Special: NaNs of floating-point results are equal, +0 and -0 are not; codes are compared as they are.
    Standard: none.
    Cost: about a hundred calls of the operation, some of them under slower contracts; pairs take thousands. Pass a part
        of large tensors.
    """
    for name, x in (("got", got), ("want", want)):
        _check_result(name, x)
    have, need = parts_of(got), parts_of(want)
    if have.keys() != need.keys():
        raise DTypeError(
            f"diagnose needs two results of one kind, got {' and '.join(have)} for got and {' and '.join(need)} for "
            "want. Allowed are two tensors, or Blocks and pairs (elements, scales). Pass the same kind."
        )
    check_device(
        "diagnose", **{f"{side} {name}": x for side, y in (("got", have), ("want", need)) for name, x in y.items()}
    )
    case = None if operation is None else _case(operation, operands, options, need)
    total = sum(x.numel() for x in have.values())
    mismatched = mismatches(have, need)
    if not mismatched:
        return Diagnosis(0, total, (), 0, 0, None)
    return _search(Trials(case, need, have), mismatched, total)


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_result(name: str, x: object) -> None:
    if isinstance(x, Blocks):
        return
    tensors = x if isinstance(x, tuple) and len(x) == 2 else (x,)
    for tensor in tensors:
        check_tensor("diagnose", name, tensor)
        assert isinstance(tensor, Tensor)
        if tensor.dtype.is_complex:
            raise DTypeError(
                f"diagnose has no hypotheses about {tensor.dtype} for {name}. Allowed are real numbers and codes. Pass "
                "the real and the imaginary parts."
            )
        check_values("diagnose", name, tensor)


def _case(
    operation: Callable[..., Tensor | Blocks], operands: tuple[object, ...], options: dict[str, object], want: Parts
) -> Case:
    if operation not in OPERATIONS:
        raise ContractError(
            f"diagnose has no hypotheses about {getattr(operation, '__name__', operation)!r}. Allowed are "
            f"{', '.join(OPERATIONS.values())}. Leave the operation out to try those about bits alone."
        )
    case = Case(operation, arguments_of(operation, operands, options))
    made = case.result()
    if made.keys() != want.keys() or (count := mismatches(made, want)):
        differ = f"{count:,} elements differ" if made.keys() == want.keys() else f"it gives {' and '.join(made)}"
        raise ContractError(
            f"diagnose cannot make want again: from these operands {OPERATIONS[operation]} makes something else, "
            f"{differ}. Allowed is what it returns. Pass the operands and options of that call."
        )
    return case


def arguments_of(
    operation: Callable[..., object], operands: tuple[object, ...], options: dict[str, object]
) -> dict[str, Any]:
    """All arguments of a call by their names, defaults too."""
    bound = inspect.signature(operation).bind(*operands, **options)
    bound.apply_defaults()
    return bound.arguments


# ---- trying ----------------------------------------------------------------------------------------------------------


@cache
def hypotheses() -> tuple[Hypothesis, ...]:
    """All rows."""
    return (*valuefaults.faults(), *sumfaults.faults(), *bytefaults.faults())


@dataclass(frozen=True, slots=True)
class Trials:
    """What hypotheses are tried on."""

    case: Case | None
    want: Parts
    got: Parts
    made: dict[tuple[str, ...], Parts | None] = field(default_factory=dict)  #: results of faulty calls, by the faults

    def rows(self) -> list[Hypothesis]:
        """The hypotheses that may hold here."""
        operation = None if self.case is None else self.case.operation
        return [
            row
            for row in hypotheses()
            if (not row.operations or operation in row.operations) and (row.damage is None or row.part in self.want)
        ]

    def result(self, *faults: Hypothesis) -> Parts | None:
        """What a kernel with these faults makes; None where one of them says nothing."""
        changes = tuple(fault for fault in faults if fault.change is not None)
        names = tuple(fault.name for fault in changes)
        try:
            if names not in self.made:
                call = changed(self.case, changes)
                self.made[names] = None if call is None else call.result()
            result = self.want if not changes else self.made[names]
            return None if result is None else damaged(result, self.got, self.case, faults)
        except RefnumError:  # the operation refuses that choice for these operands: no kernel has made it
            return None


def _search(trials: Trials, mismatched: int, total: int) -> Diagnosis:
    # 1. Single faults. Those that change nothing here are not among the pairs either.
    counts: dict[tuple[str, ...], int] = {}
    active: list[Hypothesis] = []
    for row in trials.rows():
        result = trials.result(row)
        if result is not None:
            counts[(row.name,)] = mismatches(trials.got, result)
            active += [row] * (mismatches(trials.want, result) > 0)
    tried = len(counts)
    # 2. Pairs, where none of them explains everything.
    if 0 not in counts.values():
        for one, other in itertools.combinations(active, 2):
            result = trials.result(one, other) if one.knob != other.knob else None
            if result is not None:
                counts[one.name, other.name] = mismatches(trials.got, result)
    causes = tuple(names for names, left in counts.items() if left == 0)
    names, least = min(counts.items(), key=lambda item: item[1], default=((), mismatched))
    closest = None if causes or least >= mismatched else (" and ".join(names), least)
    return Diagnosis(mismatched, total, causes, tried, len(counts) - tried, closest)


def mismatches(got: Parts, want: Parts) -> int:
    """How many elements of all parts differ."""
    return sum(_differing(x, want[name]) for name, x in got.items())


def _differing(x: Tensor, y: Tensor) -> int:
    """How many elements differ; all of them where the shapes or the dtypes do."""
    if x.shape != y.shape or x.dtype != y.dtype:
        return max(1, x.numel(), y.numel())
    bits = (side.detach().resolve_neg().contiguous().view(SIGNED[side.itemsize * 8]) for side in (x, y))
    apart = torch.ne(*bits)
    if x.dtype in FLOAT_ROWS:
        apart &= ~(x.isnan() & y.isnan())
    return int(apart.sum())
