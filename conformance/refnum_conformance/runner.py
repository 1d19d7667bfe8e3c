"""Running jobs: ask the target, ask everybody who knows, compare."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operations import Options, canonical, record
from .oracles import lab_rows
from .oracles.minifloat import DTYPES
from .plan import Job, describe
from .sources import SOURCES, Source
from .targets import TargetError

Array = NDArray[Any]

CHUNK = 1 << 14  #: cases that a target gets at a time
SHOWN = 3  #: mismatches that a job reports of each source


@dataclass(frozen=True)
class Outcome:
    """One comparison."""

    source: str
    cases: int
    excluded: int  #: cases left out of them, where the source has a documented defect
    mismatches: int
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What came of a job."""

    id: str
    row: str
    formats: str
    outcomes: tuple[Outcome, ...] = ()
    skipped: str = ""  #: the reason
    error: str = ""  #: what went wrong before anything could be compared

    @property
    def mismatches(self) -> int:
        """Over all sources."""
        return sum(outcome.mismatches for outcome in self.outcomes)

    @property
    def failed(self) -> bool:
        """Whether it speaks against the target."""
        return bool(self.error or self.mismatches)

    def as_json(self) -> dict[str, Any]:
        """For the ledger."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Verdict:
        """From the ledger."""
        outcomes = tuple(Outcome(**outcome | {"shown": tuple(outcome["shown"])}) for outcome in stored["outcomes"])
        return cls(**stored | {"outcomes": outcomes})


# One job -------------------------------------------------------------------------------------------------------------


def check(job: Job, target: ModuleType | object) -> Verdict:
    """Run a job on a target."""
    verdict = _Verdict(job)
    function = getattr(target, job.op.name, None)
    if function is None:
        return verdict(skipped="the target has no such function")
    if not _has(job, target):
        return verdict(skipped="the target says that it has no such choice")
    operands = job.operands()
    try:
        _check_signature(job, function, operands)
        got = _ask(job, function, operands)
    except TargetError as error:
        return verdict(error=str(error))
    except Exception as error:  # noqa: BLE001  what a target raises is a result of the test, and is shown
        return verdict(error=f"{type(error).__name__}: {error}")
    if job.want is not None:
        return verdict(outcomes=(_compare(job, "golden vectors", operands, got, job.want, None),))
    return verdict(outcomes=tuple(_judge(job, source, operands, got) for source in knowing(job)))


def _has(job: Job, target: ModuleType | object) -> bool:
    """What a target says of itself; one that says nothing has every choice of its rows."""
    has = getattr(target, "has", None)
    return has is None or has(job.op.name, **job.options)


@dataclass(frozen=True)
class _Verdict:
    """A verdict about to be given."""

    job: Job

    def __call__(self, **found: Any) -> Verdict:
        return Verdict(self.job.id, self.job.op.name, self.job.formats, **found)


def knowing(job: Job) -> list[Source]:
    """The sources that know the right results of a job, here."""
    return [source for source in SOURCES if source.available()[0] and source.covers(job.op, job.options)]


def _check_signature(job: Job, function: Callable[..., Any], operands: tuple[Array, ...]) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions written in C do not tell
        return
    try:
        signature.bind(*operands, **job.options)
    except TypeError as wrong:
        names = ", ".join((*(f"<{kind}>" for kind in job.op.args[: len(operands)]), *(f"{x}=" for x in job.options)))
        raise TargetError(
            f"wrong signature: {job.op.name}{signature} cannot be called as {job.op.name}({names}): {wrong}"
        ) from None


def _ask(job: Job, function: Callable[..., Any], operands: tuple[Array, ...]) -> Array:
    parts = []
    for start in range(0, len(operands[0]), CHUNK):
        part = tuple(x[start : start + CHUNK] for x in operands)
        result = np.asarray(function(*part, **job.options), dtype=object if job.op.out == "t" else None)
        if job.op.out != "t" and result.dtype.kind not in "iub":
            raise TargetError(f"{job.op.name} returned {result.dtype}; results are bits, that is integers")
        if result.shape[:1] != part[0].shape[:1]:
            raise TargetError(f"{job.op.name} returned {result.shape} for {part[0].shape[0]} cases")
        parts.append(result if job.op.out == "t" else result.astype(np.int64))
    return np.concatenate(parts)


def _judge(job: Job, source: Source, operands: tuple[Array, ...], got: Array) -> Outcome:
    want = source.answer(job.op, operands, job.options)
    return _compare(job, source.name, operands, got, want, source.excluded(job.op, operands, job.options))


def _compare(
    job: Job, source: str, operands: tuple[Array, ...], got: Array, want: Array, excluded: Array | None
) -> Outcome:
    cases = len(want)
    if got.shape != want.shape:
        return Outcome(source, cases, 0, cases, (f"{job.op.name} gave the shape {got.shape}, {source} {want.shape}",))
    different = canonical(job.op, got, job.options) != canonical(job.op, want, job.options)
    if job.op.ulp:
        different &= np.abs(got - want) > job.op.ulp
    different = different.reshape(cases, -1).any(1)
    left_out = 0
    if excluded is not None:
        left_out, different = int(excluded.sum()), different & ~excluded
    where = np.flatnonzero(different)
    shown = tuple(_sentence(job, source, tuple(x[i] for x in operands), got[i], want[i]) for i in where[:SHOWN])
    return Outcome(source, cases - left_out, left_out, len(where), shown)


# Words ---------------------------------------------------------------------------------------------------------------


def _sentence(job: Job, source: str, case: tuple[Any, ...], got: Any, want: Any) -> str:
    operands = ", ".join(_word(kind, x, job.options) for kind, x in zip(job.op.args, case, strict=False))
    into = {**job.options, **{name[3:]: value for name, value in job.options.items() if name.startswith("to_")}}
    result, right = (_word(job.op.out, x, into) for x in (got, want))
    rest = ", ".join(f"{name}={value}" for name, value in job.choices.items())
    where = ", ".join(filter(None, (describe(job.options), rest)))
    return f"{job.op.name}({operands}) in {where}: {result}, {source} {right}"


def _word(kind: str, x: Any, options: Options) -> str:
    if isinstance(x, np.ndarray) and x.ndim:
        return "[" + ", ".join(_word(kind, each, options) for each in x) + "]"
    if kind in "itb":
        return repr(x) if kind == "t" else str(int(x))
    width = _width(kind, options)
    return f"{int(x) & ((1 << width) - 1):#0{2 + -(-width // 4)}x}"


def _width(kind: str, options: Options) -> int:
    match kind:
        case "f" | "F" | "M":
            return DTYPES[options["dtype"]].width
        case "A" | "B" | "C":
            return _bits(options[{"A": "a_dtype", "B": "b_dtype", "C": "bias_dtype"}[kind]])
        case "c":
            return record(options).width
        case "r":
            return 16
        case "e" | "E":
            return lab_rows.FORMATS[options["fmt"]].width
        case "k" | "K":
            return 8
        case "d":
            return 32
        case "m" if "dtype" in options:
            return DTYPES[options["dtype"]].width
        case _:
            return int(options["n"])


def _bits(dtype: str) -> int:
    """Of floats, or of integers, which are named after them."""
    return DTYPES[dtype].width if dtype in DTYPES else int(dtype.strip("uint"))


# Sums over jobs ------------------------------------------------------------------------------------------------------


@dataclass
class Line:
    """A line of the table."""

    row: str
    formats: str
    source: str
    cases: int = 0
    excluded: int = 0
    mismatches: int = 0


@dataclass
class Summary:
    """All verdicts of a run, as they come."""

    lines: dict[tuple[str, str, str], Line] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  #: row -> reason

    def add(self, verdict: Verdict) -> None:
        """Enter a verdict."""
        if verdict.skipped:
            self.skipped[verdict.row] = verdict.skipped
        for outcome in verdict.outcomes:
            key = (verdict.row, verdict.formats, outcome.source)
            line = self.lines.setdefault(key, Line(*key))
            line.cases += outcome.cases
            line.excluded += outcome.excluded
            line.mismatches += outcome.mismatches

    @property
    def cases(self) -> int:
        """Comparisons made."""
        return sum(line.cases for line in self.lines.values())
