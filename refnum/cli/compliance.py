"""What a target makes of the Posit Standard's functions: a finding for each, from checks run now or from records."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from ..errors import FormatError
from ..formats import Posit, parse
from ..posit.standard import ES, FUNCTIONS, NAME, Function
from .records import Record, Run, Sweeps

if TYPE_CHECKING:
    from refnum_conformance.plan import Job
    from refnum_conformance.runner import Verdict
    from refnum_conformance.xfails import Judgement, Xfails

SEED = 0
SHOWN = 3  #: jobs of a function of which a mismatch is shown
EXPLAINED = " 0 unexplained mismatches"  #: how a recorded run ends in which all failures were expected
#: what becomes of a function, the worst first
WRONG, UNCHECKED, MISSING, DEVIATES, RIGHT = "wrong", "not checked", "missing", "known deviation", "right"


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one function."""

    function: Function
    formats: tuple[str, ...] = ()
    oracles: tuple[str, ...] = ()
    cases: int = 0
    mismatches: int = 0  #: that nobody expected
    known: int = 0  #: that the target's list of expected failures explains
    faults: int = 0  #: calls that gave nothing to compare, and expected failures that did not come
    missing: bool = False  #: the target says that it has no such function, or not with some choice
    why: tuple[str, ...] = ()  #: in words, where there is something to say

    @property
    def status(self) -> str:
        """What becomes of the function, in a word or two."""
        if self.mismatches or self.faults:
            return WRONG
        if self.known:
            return DEVIATES
        return RIGHT if self.cases else MISSING if self.missing else UNCHECKED

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        names = ("section", "name", "public", "row")
        found = ("status", "formats", "oracles", "cases", "mismatches", "known", "faults", "why")
        return {name: getattr(self.function, name) for name in names} | {name: getattr(self, name) for name in found}


@dataclass(frozen=True, slots=True)
class Compliance:
    """All findings, in the order of the standard."""

    made: str  #: who was asked, and with what
    findings: tuple[Finding, ...]

    def count(self, status: str) -> int:
        """How many functions came out so."""
        return sum(finding.status == status for finding in self.findings)

    def total(self, number: str) -> int:
        """The sum of one of the numbers of findings."""
        return sum(getattr(finding, number) for finding in self.findings)

    @property
    def failed(self) -> bool:
        """Whether something is wrong, or nothing could be checked at all."""
        return bool(self.count(WRONG)) or not self.total("cases")

    @property
    def verdict(self) -> str:
        """The last line."""
        counts = (
            (self.count(MISSING), "missing"),
            (self.count(UNCHECKED), "without a check"),
            (self.count(DEVIATES), "with known deviations"),
            (self.total("faults"), "faults"),
            (self.total("mismatches"), "mismatches"),
        )
        always = ("without a check", "mismatches")
        said = (f"{count:,} {what}" for count, what in counts if count or what in always)
        return ", ".join((f"{len(self.findings)} functions", *said))

    def as_dict(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "standard": NAME,
            "made": self.made,
            "functions": [finding.as_dict() for finding in self.findings],
            "complies": self.count(RIGHT) == len(self.findings),
            "verdict": self.verdict,
        }


# Checks run now ------------------------------------------------------------------------------------------------------


def check(target: str, processes: int) -> Compliance:
    """Run the suite's quick plan, as far as it speaks of the standard.

    Raises
    ------
    ImportError
        When the suite is not installed.
    """
    from refnum_conformance import report, workers
    from refnum_conformance.__main__ import header
    from refnum_conformance.targets import load
    from refnum_conformance.xfails import Xfails

    module = load(target)
    xfails = Xfails.of(module, None)
    plan = workers.plan(True, SEED)
    asked = [[i for i, job in enumerate(plan) if _asks(job, function)] for function in FUNCTIONS]
    chosen = list(chain.from_iterable(asked))
    found: dict[str, Verdict] = {}
    with workers.interruptible(), report.progress(len(chosen)) as step:
        for verdict in workers.verdicts(chosen, workers.Run(True, SEED, target), processes):
            found[verdict.id] = verdict
            step(verdict.row)
    jobs = ([(plan[i], found[plan[i].id]) for i in indices] for indices in asked)
    findings = (_judged(function, some, xfails) for function, some in zip(FUNCTIONS, jobs, strict=True))
    return Compliance(header(module, SEED, xfails), tuple(findings))


def unchecked(why: str) -> Compliance:
    """What there is to say when nothing can be run."""
    return Compliance("nobody was asked", tuple(Finding(function, why=(why,)) for function in FUNCTIONS))


def _asks(job: Job, function: Function) -> bool:
    """Whether a job asks for what the standard says of a function: with its exponent size, and its choices."""
    wanted: Mapping[str, object] = {"es": ES, "to_es": ES, **function.choices}
    return job.op.name == function.row and wanted.items() <= {"to_es": ES, **job.options}.items()


def _judged(function: Function, jobs: Sequence[tuple[Job, Verdict]], xfails: Xfails) -> Finding:
    asked = [(job, verdict) for job, verdict in jobs if not verdict.skipped]
    if not asked:
        why = jobs[0][1].skipped if jobs else "the suite has no row for it"
        return Finding(function, missing=bool(jobs), why=(why,))
    verdicts = [verdict for _, verdict in asked]
    judgement = xfails.judge(verdicts)
    expected = [verdict for verdict in verdicts if verdict not in judgement.unexplained]
    outcomes = [outcome for verdict in verdicts for outcome in verdict.outcomes]
    return Finding(
        function,
        formats=(f"n = {_lengths(job.options['n'] for job, _ in asked)}",),
        oracles=tuple(dict.fromkeys(outcome.source for outcome in outcomes)),
        cases=sum(outcome.cases for outcome in outcomes),
        mismatches=sum(verdict.mismatches for verdict in judgement.unexplained),
        known=sum(verdict.mismatches + bool(verdict.error) for verdict in expected),
        faults=sum(bool(verdict.error) for verdict in judgement.unexplained) + len(judgement.passed),
        why=(*_words(judgement), *_reasons(verdicts, xfails)),
    )


def _words(judgement: Judgement) -> Iterator[str]:
    """What is wrong."""
    for verdict in judgement.unexplained[:SHOWN]:
        yield verdict.error or next(case for outcome in verdict.outcomes for case in outcome.shown)
    if len(judgement.unexplained) > SHOWN:
        yield f"... and {len(judgement.unexplained) - SHOWN:,} more formats or choices"
    yield from (f"expected to fail and passes: {line}" for line in judgement.passed)


def _reasons(verdicts: Sequence[Verdict], xfails: Xfails) -> Iterator[str]:
    """What is known to be wrong."""
    failed = [verdict.id for verdict in verdicts if verdict.failed]
    yield from (f"{line.pattern}: {line.reason}" for line in xfails.lines if any(map(line.matches, failed)))


def _lengths(found: Iterable[int]) -> str:
    """Lengths of patterns, in few words.

    >>> _lengths([8, 2, 3, 16, 4, 16, 32, 33])
    '2-4 8 16 32-33'
    """
    spans: list[list[int]] = []
    for n in sorted(set(found)):
        if spans and n == spans[-1][-1] + 1:
            spans[-1].append(n)
        else:
            spans.append([n])
    return " ".join("-".join(dict.fromkeys((str(span[0]), str(span[-1])))) for span in spans)


# Recorded ones -------------------------------------------------------------------------------------------------------


def recorded(found: Sequence[Record]) -> Compliance:
    """The same from runs and sweeps that were kept. Runs count other exponent sizes and choices, too."""
    runs = [record for record in found if isinstance(record, Run)]
    sweeps = [record for record in found if isinstance(record, Sweeps)]
    findings = (
        _merged(function, *(_of_run(run, function) for run in runs), *(_of_sweeps(each, function) for each in sweeps))
        for function in FUNCTIONS
    )
    made = dict.fromkeys([*(run.header for run in runs), *(each.name for each in sweeps)])
    return Compliance("; ".join(made), tuple(findings))


def _of_run(run: Run, function: Function) -> Finding:
    lines = [line for line in run.lines if line.function == function.row]
    wrong = sum(line.mismatches for line in lines)
    explained = any(line.endswith(EXPLAINED) for line in run.closing)
    about = re.compile(rf"skipped {function.row}: |expected .* in {function.row}, ")
    said = tuple(line for line in run.closing if about.match(line))
    return Finding(
        function,
        formats=tuple(dict.fromkeys(line.format.partition(",")[0] for line in lines)),
        oracles=tuple(dict.fromkeys(line.oracle for line in lines)),
        cases=sum(line.cases for line in lines),
        mismatches=0 if explained else wrong,
        known=wrong if explained else 0,
        missing=any(line.startswith("skipped") for line in said),
        why=said,
    )


def _of_sweeps(record: Sweeps, function: Function) -> Finding:
    """A sweep is named after a row and a format: ``add posit16``."""
    words = [(sweep, [*sweep.name.split(), "", ""]) for sweep in record.sweeps]
    mine = [(sweep, fmt) for sweep, (row, fmt, *_) in words if row == function.row and _is_of_the_standard(fmt)]
    return Finding(
        function,
        formats=tuple(fmt for _, fmt in mine),
        oracles=(record.made.get("peer", record.name).split()[0],) if mine else (),
        cases=sum(sweep.checked for sweep, _ in mine),
        mismatches=sum(sweep.mismatches for sweep, _ in mine),
    )


def _is_of_the_standard(name: str) -> bool:
    try:
        fmt = parse(name)
    except FormatError:
        return False
    return isinstance(fmt, Posit) and fmt.es == ES


def _merged(function: Function, *parts: Finding) -> Finding:
    said = _together(part.why for part in parts)
    cases = sum(part.cases for part in parts)
    return Finding(
        function,
        formats=_together(part.formats for part in parts),
        oracles=_together(part.oracles for part in parts),
        cases=cases,
        mismatches=sum(part.mismatches for part in parts),
        known=sum(part.known for part in parts),
        missing=any(part.missing for part in parts),
        why=said if said or cases else ("no record speaks of it",),
    )


def _together(words: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All words, each once."""
    return tuple(dict.fromkeys(chain.from_iterable(words)))
