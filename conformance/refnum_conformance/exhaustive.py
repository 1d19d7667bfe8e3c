"""Every input there is, against SoftPosit: all pairs of two 16-bit posit formats, and all float32 values.

    python -m refnum_conformance.exhaustive            # all sweeps, on every core; continues where it was interrupted
    python -m refnum_conformance.exhaustive --only mul --workers 1

A sweep has 2^32 elements in blocks of 2^24. The ledger, a JSON file in ``conformance/results``, is rewritten after
every block, so it is checkpoint and result in one; a table in Markdown stands beside it. Nothing is excluded: in none
of these sweeps does SoftPosit have a known defect (posit.md 5.2 and 5.3).
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from threading import Event

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor

import refnum
from refnum import Posit

from .peers import softposit

TOTAL = 1 << 32  #: elements of a sweep
BLOCK = 1 << 24  #: elements between two entries of the ledger
PIECE = 1 << 18  #: elements of one call
BLOCKS = TOTAL // BLOCK
SHOWN = 20  #: mismatches that the ledger keeps of a sweep

RESULTS = Path(__file__).parents[1] / "results"
LEDGER = "exhaustive-softposit.json"
SOURCES = (  #: what the sweeps run through
    "formats.py",
    "boundary.py",
    "codec.py",
    "core/*.py",
    "fast/chunks.py",
    "posit/_patterns.py",
    "posit/arithmetic.py",
)


@dataclass(frozen=True)
class Sweep:
    """One operation on one format, for every input."""

    operation: str
    n: int
    es: int

    @property
    def fmt(self) -> Posit:
        """The format as a record of refnum."""
        return Posit(self.n, self.es)

    def __str__(self) -> str:
        return f"{self.operation} {self.fmt}"


SWEEPS = (
    *(Sweep(operation, 16, es) for es in (2, 1) for operation in ("add", "sub", "mul", "div")),
    *(Sweep("encode", n, 2) for n in (8, 16, 32)),
)


# One piece -----------------------------------------------------------------------------------------------------------


def operands(sweep: Sweep, start: int, count: int) -> tuple[Tensor, ...]:
    """Elements start to start + count of a sweep: the pair in the halves of the index, or the float32 with its bits."""
    index = torch.arange(count, dtype=torch.int32) + (start - (start >> 31 << 32))  # 32 bits, signed: sums wrap
    if sweep.operation == "encode":
        return (index.view(torch.float32),)
    return index >> 16, index << 16 >> 16


def function(sweep: Sweep) -> Callable[..., Tensor]:
    """The public function on int32 patterns, or on float32 values."""
    if sweep.operation == "encode":
        return lambda x: refnum.encode(x, sweep.fmt).to(torch.int32)
    operation = getattr(refnum.posit, sweep.operation)
    return lambda a, b: operation(a, b, sweep.fmt).to(torch.int32)


@functools.cache
def compiled(sweep: Sweep) -> Callable[..., Tensor]:
    """The same, compiled: once per process."""
    return torch.compile(function(sweep), fullgraph=True, dynamic=False)


def check(sweep: Sweep, run: Callable[..., Tensor], start: int, count: int) -> tuple[int, list[str]]:
    """Mismatches in a piece, and the first one in words."""
    inputs = operands(sweep, start, count)
    got = run(*inputs)
    mismatches, first = softposit.differences(sweep.operation, sweep.n, sweep.es)(*inputs, got)
    return mismatches, [_describe(sweep, inputs, got, first)] if mismatches else []


def _describe(sweep: Sweep, inputs: tuple[Tensor, ...], got: Tensor, index: int) -> str:
    at = [x[index : index + 1] for x in inputs]
    want = getattr(softposit, sweep.operation)(*at, sweep.n, sweep.es)
    words = [x.view(torch.int32).item() & (0xFFFFFFFF if x.is_floating_point() else 0xFFFF) for x in at]
    mask = (1 << sweep.n) - 1
    left = " ".join(f"{word:#x}" for word in words)
    return f"{sweep.operation} {left}: refnum {got[index].item() & mask:#x}, SoftPosit {want.item() & mask:#x}"


def check_block(sweep: Sweep, block: int) -> tuple[int, list[str], float]:
    """Mismatches in a block, the first of each piece in words, and the seconds it took."""
    began = time.perf_counter()
    run, total, shown = compiled(sweep), 0, []
    for start in range(block * BLOCK, (block + 1) * BLOCK, PIECE):
        mismatches, first = check(sweep, run, start, PIECE)
        total, shown = total + mismatches, shown + first
    return total, shown[:SHOWN], time.perf_counter() - began


# The ledger ----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What is known of one sweep."""

    done: list[int] = field(default_factory=list)  #: blocks, in the order they came
    mismatches: int = 0
    first: list[str] = field(default_factory=list)
    seconds: float = 0.0  #: of one core

    def add(self, block: int, mismatches: int, shown: Iterable[str], seconds: float) -> None:
        """Enter a block."""
        self.done.append(block)
        self.mismatches += mismatches
        self.first = [*self.first, *shown][:SHOWN]
        self.seconds = round(self.seconds + seconds, 2)

    @property
    def checked(self) -> int:
        """Elements compared so far."""
        return len(self.done) * BLOCK


def provenance() -> dict[str, str]:
    """What the result holds for: versions, and a digest of the sources that the sweeps run through."""
    root, digest = Path(refnum.__file__).parent, hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in root.glob(pattern)):
        digest.update(f"{path.relative_to(root)}\0{path.read_text()}\0".encode())
    return {
        "sources": digest.hexdigest()[:16],
        "torch": torch.__version__,
        "peer": softposit.available()[1],
        "python": platform.python_version(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


@dataclass
class Ledger:
    """The tallies of all sweeps, on disk after every block."""

    path: Path
    made: dict[str, str]
    tallies: dict[str, Tally] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, *, restart: bool) -> Ledger:
        """Continue the ledger at the path, or begin one there."""
        ledger = cls(path, provenance())
        if restart or not path.exists():
            return ledger
        stored = json.loads(path.read_text())
        if stored["made"] != ledger.made:
            changed = ", ".join(
                f"{key} {stored['made'].get(key)} then, {now} now"
                for key, now in ledger.made.items()
                if stored["made"].get(key) != now
            )
            raise SystemExit(
                f"The sweep cannot continue {path.name}: {changed}. A ledger holds for one set of versions. "
                "Use --restart to begin again."
            )
        ledger.tallies = {name: Tally(done=_blocks(row.pop("done")), **row) for name, row in stored["sweeps"].items()}
        return ledger

    def __getitem__(self, sweep: Sweep) -> Tally:
        return self.tallies.setdefault(str(sweep), Tally())

    def save(self) -> None:
        """Write the file whole, or not at all."""
        rows = {name: asdict(tally) | {"done": _ranges(tally.done)} for name, tally in self.tallies.items()}
        _write(self.path, json.dumps({"made": self.made, "block": BLOCK, "sweeps": rows}, indent=1) + "\n")
        _write(self.path.with_suffix(".md"), self.table())

    def table(self) -> str:
        """The result as Markdown."""
        lines = [
            "# Exhaustive sweeps against SoftPosit",
            "",
            *(f"- {key}: {value}" for key, value in self.made.items()),
            "",
            "| function | format | inputs | checked | mismatches | ns each, one core |",
            "|---|---|---:|---:|---:|---:|",
        ]
        for name, tally in self.tallies.items():
            operation, fmt = name.split()
            nanoseconds = 1e9 * tally.seconds / max(1, tally.checked)
            lines.append(
                f"| {operation} | {fmt} | {TOTAL:,} | {tally.checked:,} | {tally.mismatches:,} | {nanoseconds:.1f} |"
            )
        shown = [line for tally in self.tallies.values() for line in tally.first]
        if shown:
            lines += ["", "First mismatches:", "", *(f"- {line}" for line in shown)]
        return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(path)


def _ranges(blocks: Iterable[int]) -> list[list[int]]:
    """Block numbers as inclusive ranges: a finished sweep is one."""
    ranges: list[list[int]] = []
    for block in sorted(blocks):
        if ranges and ranges[-1][1] == block - 1:
            ranges[-1][1] = block
        else:
            ranges.append([block, block])
    return ranges


def _blocks(ranges: Iterable[Sequence[int]]) -> list[int]:
    return [block for first, last in ranges for block in range(first, last + 1)]


# The run -------------------------------------------------------------------------------------------------------------


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the mask lasts until a library changes it
    torch.set_num_threads(1)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # no pool of compilers per worker


@contextmanager
def _interrupts() -> Iterator[Event]:
    """An event that Ctrl-C sets, instead of an exception anywhere."""
    heard = Event()
    before = signal.signal(signal.SIGINT, lambda *_: heard.set())
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that never hear Ctrl-C, which is their parent's: they inherit its mask of blocked signals."""
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_start_worker)
    resource_tracker.ensure_running()  # its start unblocks the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        pool.submit(int)  # the first task starts all of them
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def sweep_all(sweeps: Sequence[Sweep], ledger: Ledger, workers: int, console: Console) -> bool:
    """Run what the ledger lacks. False when interrupted."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    missing = [(s, block) for s in sweeps for block in sorted(set(range(BLOCKS)) - set(ledger[s].done))]
    with (
        _interrupts() as interrupted,
        _workers(workers) as pool,
        Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console) as progress,
    ):
        bars = {
            sweep: progress.add_task(str(sweep), total=BLOCKS, completed=len(ledger[sweep].done), note="")
            for sweep in sweeps
        }
        futures = {pool.submit(check_block, *task): task for task in missing}
        waiting = set(futures)
        while waiting and not interrupted.is_set():
            finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                sweep, block = futures[future]
                ledger[sweep].add(block, *future.result())
                progress.update(bars[sweep], advance=1, note=_note(ledger[sweep]))
            ledger.save()
    return not waiting


def _note(tally: Tally) -> str:
    return f"[red]{tally.mismatches:,} mismatches" if tally.mismatches else "[green]equal"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="refnum_conformance.exhaustive", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="WORD", help="sweeps with this word in their name, e.g. 'mul'")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the ledger")
    parser.add_argument("--restart", action="store_true", help="begin again instead of continuing the ledger")
    return parser.parse_args(argv)


def _chosen(words: Sequence[str] | None) -> list[Sweep]:
    chosen = [sweep for sweep in SWEEPS if words is None or any(word in str(sweep) for word in words)]
    if not chosen:
        names = ", ".join(map(str, SWEEPS))
        raise SystemExit(
            f"No sweep has {' or '.join(words or ())} in its name. There are {names}. Choose a part of one."
        )
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run or continue the sweeps: 0 when every one is complete and equal, 1 on mismatches, 130 when interrupted."""
    arguments = _arguments(argv)
    sweeps, console = _chosen(arguments.only), Console()
    possible, how = softposit.compiled()
    if not possible:
        raise SystemExit(f"The exhaustive sweeps need SoftPosit and gcc: {how}. Install both and run again.")
    arguments.results.mkdir(parents=True, exist_ok=True)
    ledger = Ledger.open(arguments.results / LEDGER, restart=arguments.restart)
    console.print(", ".join(f"{key} {value}" for key, value in ledger.made.items()))
    finished = sweep_all(sweeps, ledger, arguments.workers, console)
    mismatches = sum(ledger[sweep].mismatches for sweep in sweeps)
    checked = sum(ledger[sweep].checked for sweep in sweeps)
    console.print(f"{checked:,} of {len(sweeps) * TOTAL:,} compared, {mismatches:,} mismatches: {ledger.path}")
    if not finished:
        console.print("Interrupted; the same command continues.")
        return 130
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
