"""The pytest plugin: rows of the operations table as tests of any target.

    pytest --pyargs refnum_conformance --refnum-target my_kernels --refnum-xfails known.txt
    pytest --pyargs refnum_conformance --refnum-target refnum_conformance.peers.ml_dtypes -rx

A test that takes the argument ``refnum_row`` is run for every row and group of formats.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # pytest loads this file at every start: it imports nothing large until a row is asked for
    from types import ModuleType

    from .plan import Job
    from .runner import Verdict
    from .xfails import Xfails

_SUITE = pytest.StashKey["Suite"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options."""
    group = parser.getgroup("refnum", "conformance of an implementation with refnum's oracles")
    group.addoption("--refnum-target", metavar="MODULE", help="module with functions named like rows of the table")
    group.addoption("--refnum-xfails", metavar="FILE", help="failures that are expected: an id and a reason a line")
    group.addoption("--refnum-full", action="store_true", help="everything instead of some samples; takes minutes")
    group.addoption("--refnum-seed", type=int, default=0, metavar="N", help="of random operands (default: 0)")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """What is tested: a wrong name shows at once."""
    if config.getoption("refnum_target") is None:
        return []
    suite = _suite(config)  # first: a wrong name need not wait for torch
    from .__main__ import header

    return [header(suite.target, config.getoption("refnum_seed"), suite.xfails)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for every row and group of formats."""
    if "refnum_row" not in metafunc.fixturenames:
        return
    suite = _suite(metafunc.config)
    suite.warn(metafunc.config)
    metafunc.parametrize("refnum_row", suite.rows, ids=[row.name for row in suite.rows])


@dataclass(frozen=True)
class RowUnderTest:
    """All jobs of a row and a group of formats, and who is asked."""

    name: str
    jobs: tuple[Job, ...]
    target: ModuleType
    xfails: Xfails

    def check(self) -> None:
        """Run the jobs: pass, skip, expected failure, or failure with operands."""
        from .runner import check

        self.judge([check(job, self.target) for job in self.jobs])

    def judge(self, verdicts: list[Verdict]) -> None:
        """What the verdicts mean for the test."""
        from .report import sentences

        judgement = self.xfails.judge(verdicts)
        if judgement.unexplained:
            pytest.fail("\n".join(sentences(judgement.unexplained)), pytrace=False)
        if judgement.passed:
            pytest.fail("expected to fail and passes:\n" + "\n".join(judgement.passed), pytrace=False)
        if all(verdict.skipped for verdict in verdicts):
            pytest.skip(verdicts[0].skipped)
        if judgement.expected:
            pytest.xfail("; ".join(judgement.expected))


@dataclass(frozen=True)
class Suite:
    """The plan for one pytest run."""

    target: ModuleType
    xfails: Xfails
    rows: list[RowUnderTest]

    def warn(self, config: pytest.Config) -> None:
        """Say which expected failures match no job."""
        for pattern in self.xfails.unused(job.id for row in self.rows for job in row.jobs):
            message = f"{pattern!r} in the file of expected failures matches nothing"
            config.issue_config_time_warning(pytest.PytestWarning(message), stacklevel=2)


def _suite(config: pytest.Config) -> Suite:
    if _SUITE not in config.stash:
        config.stash[_SUITE] = _make(config)
    return config.stash[_SUITE]


def _make(config: pytest.Config) -> Suite:
    from .targets import DEFAULT_TARGET, TargetError, load

    if str(config.rootpath) not in sys.path:
        sys.path.append(str(config.rootpath))  # a target usually lies where pytest was started
    try:
        target = load(config.getoption("refnum_target") or DEFAULT_TARGET)
    except TargetError as error:
        raise pytest.UsageError(str(error)) from None
    from .plan import FULL, QUICK, jobs
    from .xfails import Xfails

    try:
        xfails = Xfails.of(target, config.getoption("refnum_xfails"))
    except (ValueError, OSError) as error:
        raise pytest.UsageError(str(error)) from None
    plan = jobs(FULL if config.getoption("refnum_full") else QUICK, config.getoption("refnum_seed"))
    return Suite(target, xfails, [RowUnderTest(name, found, target, xfails) for name, found in _grouped(plan)])


def _grouped(plan: Iterable[Job]) -> list[tuple[str, tuple[Job, ...]]]:
    groups: dict[str, list[Any]] = {}
    for job in plan:
        groups.setdefault(f"{job.op.name}: {job.formats}", []).append(job)
    return [(name, tuple(found)) for name, found in groups.items()]
