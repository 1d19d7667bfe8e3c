"""Jobs on several processes. A worker makes the plan itself, so that only numbers and verdicts travel."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from types import FrameType

from .plan import FULL, QUICK, Job, jobs
from .runner import Verdict, check
from .targets import load


@dataclass(frozen=True)
class Run:
    """What fixes a plan, and who is asked."""

    quick: bool
    seed: int
    target: str


@functools.cache
def plan(quick: bool, seed: int) -> tuple[Job, ...]:
    """All jobs, in the order of the table."""
    return tuple(jobs(QUICK if quick else FULL, seed))


def _work(index: int, run: Run) -> Verdict:
    job = plan(run.quick, run.seed)[index]
    try:
        return check(job, load(run.target))
    except Exception as error:  # the suite's own: the run stops, and says where
        error.add_note(f"in the job {job.id}")
        raise


def _start() -> None:
    import torch

    torch.set_num_threads(1)


def verdicts(chosen: Sequence[int], run: Run, processes: int) -> Iterator[Verdict]:
    """Do jobs by their place in the plan; verdicts come in whatever order they are reached."""
    if processes < 2:
        yield from (_work(index, run) for index in chosen)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_start)
    try:
        with _signals(signal.SIGINT, signal.SIG_IGN):  # workers inherit it: Ctrl-C is for the parent, which winds up
            futures = [pool.submit(_work, index, run) for index in chosen]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Being told to end is like Ctrl-C: workers must not outlive their parent."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _signals(signal.SIGTERM, interrupt):
        yield


@contextmanager
def _signals(number: signal.Signals, handler: signal._HANDLER) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python does not let them be changed
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
