"""``python -m refnum_conformance``: the table of function, format, oracle, cases and mismatches.

    python -m refnum_conformance                          # refnum, everything
    python -m refnum_conformance --target my_kernels      # something else
    python -m refnum_conformance --quick --only add mul   # a look
    python -m refnum_conformance --exhaustive             # the long sweeps, with arguments of their own

Exit status: 0 nothing unexplained, 1 mismatches, 2 cannot run, 130 interrupted (the same command continues).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from . import report
from .ledger import Ledger, directory, sources, versions
from .operations import BY_NAME
from .plan import Job
from .runner import Summary
from .sources import SOURCES
from .targets import DEFAULT_TARGET, TargetError, load
from .workers import Run, interruptible, plan, verdicts
from .xfails import Judgement, Xfails


def header(target: ModuleType, seed: int, xfails: Xfails) -> str:
    """What was tested, with what."""
    import refnum

    parts = [
        f"refnum {refnum.__version__}",
        f"target {target.__name__} {getattr(target, '__version__', '-')}",
        f"backend {refnum.status().backend}",
        f"seed {seed}",
        *(source.available()[1] for source in SOURCES),
        *([f"expected failures {xfails.file}"] if xfails.file else []),
    ]
    return " | ".join(parts)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("refnum_conformance", description="Compare a target with independent oracles.")
    parser.add_argument("--target", default=DEFAULT_TARGET, metavar="MODULE", help="what is tested (default: refnum)")
    parser.add_argument("--quick", action="store_true", help="samples only, and few of them")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows of the operations table")
    parser.add_argument("--seed", type=int, default=0, help="of random operands (default: 0)")
    parser.add_argument("--xfails", metavar="FILE", help="failures that are expected: an id and a reason a line")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--fresh", action="store_true", help="start again instead of continuing an interrupted run")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep the result as FILE.md and FILE.json")
    parser.add_argument("--ledger", type=Path, default=directory(), metavar="DIR", help="where a run is remembered")
    return parser.parse_args(argv)


# The run -------------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite; the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--exhaustive" in argv:
        from . import exhaustive

        return exhaustive.main([word for word in argv if word != "--exhaustive"])
    options = arguments(argv)
    try:
        target = load(options.target)
        xfails = Xfails.of(target, options.xfails)
        every = plan(options.quick, options.seed)
        chosen = _chosen(every, options.only)
    except (TargetError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(header(target, options.seed, xfails))
    asked = {name: getattr(options, name) for name in ("target", "quick", "seed", "only")}
    state = {**versions(), "sources": sources(target)}
    ledger = Ledger.open(options.ledger, asked, state, fresh=options.fresh)
    try:
        with interruptible():
            _run(every, chosen, ledger, options)
    except KeyboardInterrupt:
        done = sum(every[index].id in ledger.verdicts for index in chosen)
        print(f"Interrupted after {done:,} of {len(chosen):,} jobs; the same command continues, --fresh starts again.")
        return 130
    ledger.close()
    summary, judgement = Summary(), xfails.judge(list(ledger.verdicts.values()))
    for verdict in ledger.verdicts.values():
        summary.add(verdict)
    closing = _closing(summary, judgement, xfails.unused(ledger.verdicts))
    report.show(summary)
    print("\n".join(closing))
    if options.record is not None:
        report.write(options.record, report.record(header(target, options.seed, xfails), state, summary, closing))
    return int(judgement.failed)


def _chosen(every: Sequence[Job], only: Sequence[str] | None) -> list[int]:
    unknown = [name for name in only or () if name not in BY_NAME]
    if unknown:
        raise ValueError(f"There is no row {unknown[0]!r}. Choose among {', '.join(BY_NAME)}.")
    return [index for index, job in enumerate(every) if only is None or job.op.name in only]


def _run(every: Sequence[Job], chosen: Sequence[int], ledger: Ledger, options: argparse.Namespace) -> None:
    missing = [index for index in chosen if every[index].id not in ledger.verdicts]
    if ledger.outdated:
        print("Starting again: code or versions have changed since the run was interrupted.")
    elif len(missing) < len(chosen):
        print(f"Continuing: {len(chosen) - len(missing):,} of {len(chosen):,} jobs are done.")
    if missing:
        with report.progress(len(missing)) as step:
            for verdict in verdicts(missing, Run(options.quick, options.seed, options.target), options.workers):
                ledger.add(verdict)
                step(verdict.row)


def _closing(summary: Summary, judgement: Judgement, unused: Sequence[str]) -> list[str]:
    """What is said below the table."""
    wrong = sum(verdict.mismatches for verdict in judgement.unexplained)
    errors = sum(bool(verdict.error) for verdict in judgement.unexplained)
    return [
        *(f"skipped {row}: {reason}" for row, reason in summary.skipped.items()),
        *(f"expected failure {line}" for line in judgement.expected),
        *(f"expected to fail and passes: {line}" for line in judgement.passed),
        *(f"warning: {pattern!r} in the file of expected failures matches nothing" for pattern in unused),
        *report.sentences(judgement.unexplained),
        f"{summary.cases:,} cases, {wrong:,} unexplained mismatches" + (f", {errors:,} errors" if errors else ""),
    ]


if __name__ == "__main__":
    sys.exit(main())
