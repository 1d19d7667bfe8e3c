"""Run a leaderboard problem on any machine, with or without a GPU.

    POPCORN_FD=1 python run.py mxfp4-mm test                                  # refnum's own submission, tests.txt
    POPCORN_FD=1 python run.py mxfp4-mm --submission my_kernel.py benchmark

A problem is a folder with reference.py (generate_input, check_implementation), submission.py (custom_kernel),
tests.txt and benchmarks.txt. The protocol is that of the leaderboards: results go as lines ``key: value`` to the file
descriptor POPCORN_FD; a line of a case file is a case, ``m: 8; n: 2112; k: 7168; seed: 124``; POPCORN_SEED makes other
seeds of theirs.

Exit codes: 0 passed, 112 failed, 113 a case file that cannot be read, 111 no POPCORN_FD, 2 wrong arguments, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib.util
import json
import math
import os
import re
import signal
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TextIO

PASSED, WRONG_ARGUMENTS, NO_DESCRIPTOR, FAILED, BAD_CASES, INTERRUPTED = 0, 2, 111, 112, 113, 130
SEED = 42  #: of what a submission draws itself
WALL = 120.0  #: seconds after which a benchmark ends, whatever it has
PATIENCE = 5.0  #: seconds for a process that has closed its pipe to end
PRECISE = 0.001  #: a mean that is known this well is known well enough


# ---- cases -----------------------------------------------------------------------------------------------------------

PART = re.compile(r"\s*([a-zA-Z_]\w*)\s*:\s*([a-zA-Z_]\w*|[+-]?[0-9]+|\[[^\]]*\]|\([^)]*\))\s*")
WORDS = {"true": True, "false": False}


class Case(NamedTuple):
    """A line of a case file."""

    spec: str  #: the line
    args: dict[str, Any]  #: keyword arguments of generate_input


def read_cases(path: Path, secret: int | None) -> list[Case]:
    """The cases of a file, one a line; a secret seed makes others of theirs."""
    cases = [Case(line, dict(_parts(line, i))) for i, line in enumerate(path.read_text().splitlines(), 1)]
    for case in cases:
        if secret is not None and "seed" in case.args:
            case.args["seed"] = combined(case.args["seed"], secret)
    return cases


def _parts(line: str, number: int) -> Iterator[tuple[str, Any]]:
    for part in line.split(";"):
        match = PART.fullmatch(part)
        if not match:
            raise ValueError(
                f"line {number} has {part!r}. A line is like 'm: 8; n: 64; k: 512; seed: 124'. Correct it."
            )
        yield match[1], _value(match[2])


def _value(text: str) -> Any:
    """A word, a truth value, an integer, or a list of integers as a tuple."""
    if text[0] in "[(":
        return tuple(int(number) for number in text[1:-1].split(",") if number.strip())
    return WORDS.get(text, text) if text[0].isalpha() or text[0] == "_" else int(text)


def combined(seed: int, secret: int) -> int:
    """A seed that tells nothing of its parts: Cantor's pairing, as the leaderboards do it."""
    return seed + (seed + secret) * (seed + secret + 1) // 2


# ---- in the child: the kernel runs here ------------------------------------------------------------------------------


class Limit(NamedTuple):
    """When a benchmark ends."""

    runs: int
    seconds: float


def serve(problem: str, submission: str, pipe: Connection) -> None:
    """Answer requests until the pipe closes. What a kernel prints goes to stderr, away from the protocol's lines."""
    os.dup2(2, 1)
    sys.path[:0] = [problem, str(Path(submission).parent)]  # for `from task import input_t`
    _seed_all()
    pipe.send_bytes(b"ready")
    with contextlib.suppress(EOFError):
        while True:
            mode, args, limit = json.loads(pipe.recv_bytes())
            reply = _answer(MODES[mode], Path(problem), Path(submission), args, Limit(*limit))
            pipe.send_bytes(json.dumps(reply).encode())


def _seed_all() -> None:
    import random

    import numpy
    import torch

    for seed in (random.seed, numpy.random.seed, torch.manual_seed):
        seed(SEED)


def _answer(
    mode: Callable[..., dict[str, Any]], problem: Path, submission: Path, args: dict[str, Any], limit: Limit
) -> dict[str, Any]:
    try:
        reference = loaded("reference", problem / "reference.py")
        kernel = loaded("submission", submission)
        if not callable(getattr(kernel, "custom_kernel", None)):
            return failure(
                f"{submission.name} has no function custom_kernel. It takes the data and returns the output."
            )
        return mode(reference, kernel.custom_kernel, args, limit)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever a submission raises is a failed case, and is shown
        traceback.print_exc()
        return failure(_in_words(error, (problem, submission.parent)))


@functools.cache
def loaded(name: str, path: Path) -> ModuleType:
    """The module at a path, under a name that others can import."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _in_words(error: BaseException, folders: Iterable[Path]) -> str:
    """The error, and the last line of the problem or the submission that it went through."""
    text = f"{type(error).__name__}: {error}"
    places = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent in folders]
    return f"{text} ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else text


def failure(message: str) -> dict[str, Any]:
    """The reply for a case that failed."""
    return {"ok": False, "message": message}


def cloned(data: Any) -> Any:
    """The data with copies of all tensors."""
    if isinstance(data, dict):
        return {key: cloned(value) for key, value in data.items()}
    if isinstance(data, (tuple, list)):
        return type(data)(map(cloned, data))
    return data.clone() if hasattr(data, "clone") else data


def test(reference: ModuleType, kernel: Callable[[Any], Any], args: dict[str, Any], limit: Limit) -> dict[str, Any]:
    """Run the kernel once, on a copy of the data, and check its output."""
    data = reference.generate_input(**args)
    output = kernel(cloned(data))
    synchronize()
    ok, message = reference.check_implementation(data, output)
    return {"ok": bool(ok), "message": str(message)}


def benchmark(
    reference: ModuleType, kernel: Callable[[Any], Any], args: dict[str, Any], limit: Limit
) -> dict[str, Any]:
    """Check the kernel once, then time it until the mean is precise or the limit is reached."""
    data = reference.generate_input(**args)
    untouched = cloned(data)
    ok, message = reference.check_implementation(untouched, kernel(data))
    if not ok:
        return failure(str(message))
    nanoseconds: list[int] = []
    began = time.perf_counter()
    while len(nanoseconds) < limit.runs:
        synchronize()
        start = time.perf_counter_ns()
        kernel(data)
        synchronize()
        nanoseconds.append(time.perf_counter_ns() - start)
        if len(nanoseconds) > 2 and _enough(nanoseconds, limit, time.perf_counter() - began):
            break
    return {"ok": True, "stats": dataclasses.asdict(Stats.of(nanoseconds))}


def synchronize() -> None:
    """Wait for the GPU, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


@dataclasses.dataclass(frozen=True)
class Stats:
    """Times of the runs of one case, in nanoseconds."""

    runs: int
    mean: float
    std: float
    err: float  #: of the mean
    best: float
    worst: float

    @classmethod
    def of(cls, nanoseconds: Sequence[int]) -> Stats:
        """The statistics of two or more times."""
        runs, std = len(nanoseconds), statistics.stdev(nanoseconds)
        mean = statistics.fmean(nanoseconds)
        return cls(runs, mean, std, std / math.sqrt(runs), float(min(nanoseconds)), float(max(nanoseconds)))


def _enough(nanoseconds: Sequence[int], limit: Limit, wall: float) -> bool:
    stats = Stats.of(nanoseconds)
    return stats.err < PRECISE * stats.mean or stats.mean * stats.runs > 1e9 * limit.seconds or wall > WALL


MODES = {"test": test, "benchmark": benchmark}


# ---- in the parent ---------------------------------------------------------------------------------------------------


class Worker:
    """A process of its own for the kernel: a crash there fails one case, and the next one gets a new process."""

    def __init__(self, problem: Path, submission: Path, timeout: float) -> None:
        self._files, self._timeout = (str(problem), str(submission)), timeout
        self._process: Any = None
        self._pipe: Any = None

    def ask(self, mode: str, case: Case, limit: Limit) -> dict[str, Any]:
        """The child's reply, or a failure when it gave none."""
        try:
            if self._process is None:
                self._start()
            self._pipe.send_bytes(json.dumps((mode, case.args, limit)).encode())
            if not self._pipe.poll(self._timeout):
                self.stop()
                return failure(f"no result within {self._timeout:g} s. Allow more with --timeout.")
            reply: dict[str, Any] = json.loads(self._pipe.recv_bytes())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            process = self._process
            process.join(PATIENCE)  # it may have closed the pipe and live on
            self.stop()
            return failure(f"the process of the kernel ended by {_ending(process.exitcode)} without a result.")
        return reply

    def _start(self) -> None:
        context = get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=serve, args=(*self._files, far), daemon=True)
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child inherits that: Ctrl-C is the parent's
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, before)
        far.close()  # so that the end of the child is the end of the pipe
        self._pipe.recv_bytes()  # ready: its own start is no time of a case

    def stop(self) -> None:
        """End the child, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class Log:
    """Lines ``key: value``."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, key: str, value: object) -> None:
        """Write a line; a value of several lines becomes one, with a backslash and an n between them."""
        print(f"{key}: {value}".replace("\n", r"\n"), file=self._file, flush=True)


def run_tests(worker: Worker, cases: Sequence[Case], log: Log, limit: Limit) -> bool:
    """Run every case once."""
    passed = True
    log("test-count", len(cases))
    for i, case in enumerate(cases):
        log(f"test.{i}.spec", case.spec)
        reply = worker.ask("test", case, limit)
        log(f"test.{i}.status", "pass" if reply["ok"] else "fail")
        if reply["message"] or not reply["ok"]:
            log(f"test.{i}.{'message' if reply['ok'] else 'error'}", reply["message"])
        passed &= reply["ok"]
    return passed


def run_benchmarks(worker: Worker, cases: Sequence[Case], log: Log, limit: Limit) -> bool:
    """Time every case."""
    passed = True
    for case in cases[:1]:
        worker.ask("benchmark", case, Limit(100, min(0.1, limit.seconds)))  # warms up: what it says does not count
    log("benchmark-count", len(cases))
    for i, case in enumerate(cases):
        log(f"benchmark.{i}.spec", case.spec)
        reply = worker.ask("benchmark", case, limit)
        rows = reply["stats"] if reply["ok"] else {"status": "fail", "error": reply["message"]}
        for key, value in rows.items():
            log(f"benchmark.{i}.{key}", value)
        passed &= reply["ok"]
    return passed


class Mode(NamedTuple):
    """A way to run a problem."""

    run: Callable[[Worker, Sequence[Case], Log, Limit], bool]
    cases: str  #: the file in the problem's folder


RUNS = {"test": Mode(run_tests, "tests.txt"), "benchmark": Mode(run_benchmarks, "benchmarks.txt")}


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    words = argparse.ArgumentParser(prog="run.py", description=(__doc__ or "").split("\n")[0])
    words.add_argument("problem", type=_folder, help="folder with reference.py")
    words.add_argument("mode", choices=RUNS)
    words.add_argument(
        "--submission", type=_file, help="file with custom_kernel (default: the problem's submission.py)"
    )
    words.add_argument("--cases", type=Path, help="file of cases (default: the problem's tests.txt or benchmarks.txt)")
    words.add_argument("--timeout", type=float, default=600.0, help="seconds for one case (default: 600)")
    words.add_argument("--seconds", type=float, default=50.0, help="of timing, for one benchmark (default: 50)")
    return words


def _folder(text: str) -> Path:
    if not (Path(text) / "reference.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no problem: it has no reference.py. Name a folder that has one.")
    return Path(text).resolve()


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}. Name the file with custom_kernel.")
    return Path(text).resolve()


class RefusalError(Exception):
    """Why nothing is run, and the exit code for it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    """Run a problem; the exit code."""
    try:
        return run(sys.argv[1:] if argv is None else argv)
    except RefusalError as refusal:
        print(f"run.py: {refusal}", file=sys.stderr)
        return refusal.code
    except KeyboardInterrupt:
        print("run.py: Interrupted.", file=sys.stderr)
        return INTERRUPTED


def run(argv: Sequence[str]) -> int:
    """Read what the command line and the environment ask for, and do it."""
    descriptor, secret = (os.environ.pop(name, "") for name in ("POPCORN_FD", "POPCORN_SEED"))  # not for submissions
    if not descriptor and not {"-h", "--help"} & {*argv}:
        raise RefusalError(
            NO_DESCRIPTOR, "POPCORN_FD names no file descriptor. Set POPCORN_FD=1 to see the results here."
        )
    if secret and not secret.lstrip("+-").isdecimal():
        raise RefusalError(
            WRONG_ARGUMENTS, f"POPCORN_SEED is {secret!r}. Allowed is a whole number. Set one, or unset it."
        )
    arguments = parser().parse_args(argv)
    mode = RUNS[arguments.mode]
    submission = arguments.submission or arguments.problem / "submission.py"
    path = arguments.cases or arguments.problem / mode.cases
    try:
        cases = read_cases(path, int(secret) if secret else None)
    except (OSError, ValueError) as error:
        raise RefusalError(BAD_CASES, f"The cases in {path} cannot be read: {error}") from None
    worker = Worker(arguments.problem, submission, arguments.timeout)
    with opened(descriptor) as file:
        log = Log(file)
        try:
            passed = mode.run(worker, cases, log, Limit(1000, arguments.seconds))
        finally:
            worker.stop()
        log("check", "pass" if passed else "fail")
    return PASSED if passed else FAILED


def opened(descriptor: str) -> TextIO:
    """The file behind the descriptor; the standard ones stay open."""
    try:
        return os.fdopen(int(descriptor), "w", closefd=int(descriptor) > 2)
    except (OSError, ValueError):
        raise RefusalError(
            WRONG_ARGUMENTS, f"POPCORN_FD is {descriptor!r}, which is not open. Set POPCORN_FD=1."
        ) from None


if __name__ == "__main__":
    sys.exit(main())
