"""Every input there is, of operations on 16-bit posits and of rounding to small formats, against a peer.

    python -m refnum_conformance.exhaustive                   # SoftPosit, on every core; continues where it was
    python -m refnum_conformance.exhaustive --only mul --workers 1
    python -m refnum_conformance.exhaustive --peer ml_dtypes  # or functions, or mpfr

`sweeps` and `function_sweeps` say what there is. A sweep has up to 2^32 elements in blocks of 2^24. The ledger, a JSON
file in ``conformance/results``, is rewritten after every block, so it is checkpoint and result in one; a table in
Markdown stands beside it. In none of its sweeps does SoftPosit have a known defect (posit.md 5.2 and 5.3); what
ml_dtypes cannot tell is left out, and counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from threading import Event

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import refnum

from . import function_sweeps
from .sweeps import PEERS as SCALARS
from .sweeps import Function, Outcome, Peer, Sweep

BLOCK = 1 << 24  #: elements between two entries of the ledger
PIECE = 1 << 18  #: elements of one call
SHOWN = 20  #: mismatches that the ledger keeps of a sweep

RESULTS = Path(__file__).parents[1] / "results"
PEERS = SCALARS | function_sweeps.PEERS

# One block -----------------------------------------------------------------------------------------------------------


def blocks(sweep: Sweep) -> int:
    """How many blocks a sweep has."""
    return -(-sweep.total // BLOCK)


def check(sweep: Sweep, run: Function, start: int, count: int) -> Outcome:
    """What a piece shows."""
    operands = sweep.operands(start, count)
    return sweep.compare(operands, run(*operands))


def check_block(sweep: Sweep, block: int) -> tuple[list[Outcome], int, float]:
    """What the pieces of a block show, how many elements they have, and the seconds it took."""
    began = time.perf_counter()
    start, run = block * BLOCK, sweep.prepared
    count = min(BLOCK, sweep.total - start)
    step = min(PIECE, count)
    outcomes = [check(sweep, run, start + place, step) for place in range(0, count, step)]
    return outcomes, count, time.perf_counter() - began


# The ledger ----------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What is known of one sweep."""

    done: list[int] = field(default_factory=list)  #: blocks, in the order they came
    checked: int = 0  #: elements
    left_out: int = 0
    defined: int = 0
    mismatches: int = 0
    first: list[str] = field(default_factory=list)
    seconds: float = 0.0  #: of one core

    @property
    def note(self) -> str:
        """What is shown while it runs."""
        return f"[red]{self.mismatches:,} mismatches" if self.mismatches else "[green]equal"

    def add(self, block: int, outcomes: Sequence[Outcome], count: int, seconds: float) -> None:
        """Enter a block."""
        self.done.append(block)
        self.checked += count
        self.left_out += sum(outcome.left_out for outcome in outcomes)
        self.defined += sum(outcome.defined for outcome in outcomes)
        self.mismatches += sum(outcome.mismatches for outcome in outcomes)
        self.first = [*self.first, *(line for outcome in outcomes for line in outcome.first)][:SHOWN]
        self.seconds = round(self.seconds + seconds, 2)


def provenance(peer: Peer) -> dict[str, str]:
    """What the result holds for: versions, and a digest of the sources that the sweeps run through."""
    root, digest = Path(refnum.__file__).parent, hashlib.sha256()
    for path in sorted(path for pattern in peer.sources for path in root.glob(pattern)):
        digest.update(f"{path.relative_to(root)}\0{path.read_text()}\0".encode())
    return {
        "sources": digest.hexdigest()[:16],
        "torch": torch.__version__,
        "peer": peer.version(),
        "python": platform.python_version(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


@dataclass
class Ledger:
    """The tallies of all sweeps, on disk after every block."""

    path: Path
    peer: Peer
    made: dict[str, str]
    tallies: dict[str, Tally] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, peer: Peer, *, restart: bool) -> Ledger:
        """Continue the ledger at the path, or begin one there."""
        ledger = cls(path, peer, provenance(peer))
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
            f"# {self.peer.kind.capitalize()} sweeps against {self.peer.title}",
            "",
            *(f"- {key}: {value}" for key, value in self.made.items()),
            "",
            *self.peer.notes,
            *([""] if self.peer.notes else []),
            "| function | format | inputs | checked | left out | by definition, too | mismatches | ns each, one core |",
            "|---|---|---:|---:|---:|---:|---:|---:|",
        ]
        for sweep in self.peer.sweeps:
            if tally := self.tallies.get(str(sweep)):
                operation, fmt = str(sweep).split(maxsplit=1)
                counts = (sweep.total, tally.checked, tally.left_out, tally.defined, tally.mismatches)
                nanoseconds = 1e9 * tally.seconds / max(1, tally.checked)
                lines.append(f"| {operation} | {fmt} | {' | '.join(f'{x:,}' for x in counts)} | {nanoseconds:.1f} |")
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
    missing = [(s, block) for s in sweeps for block in sorted(set(range(blocks(s))) - set(ledger[s].done))]
    with (
        _interrupts() as interrupted,
        _workers(workers) as pool,
        Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console) as progress,
    ):
        bars = {
            sweep: progress.add_task(str(sweep), total=blocks(sweep), completed=len(ledger[sweep].done), note="")
            for sweep in sweeps
        }
        futures = {pool.submit(check_block, *task): task for task in missing}
        waiting = set(futures)
        while waiting and not interrupted.is_set():
            finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                sweep, block = futures[future]
                ledger[sweep].add(block, *future.result())
                progress.update(bars[sweep], advance=1, note=ledger[sweep].note)
            ledger.save()
    return not waiting


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="refnum_conformance.exhaustive", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--peer", choices=PEERS, default="softposit", help="who is compared with (default: softposit)")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="sweeps with this word in their name, e.g. 'mul'")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the ledger")
    parser.add_argument("--restart", action="store_true", help="begin again instead of continuing the ledger")
    return parser.parse_args(argv)


def _chosen(sweeps: Sequence[Sweep], words: Sequence[str] | None) -> list[Sweep]:
    chosen = [sweep for sweep in sweeps if words is None or any(word in str(sweep) for word in words)]
    if not chosen:
        names = ", ".join(map(str, sweeps))
        raise SystemExit(
            f"No sweep has {' or '.join(words or ())} in its name. There are {names}. Choose a part of one."
        )
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    """Run or continue the sweeps: 0 when every one is complete and equal, 1 on mismatches, 130 when interrupted."""
    arguments = _arguments(argv)
    peer, console = PEERS[arguments.peer], Console()
    sweeps = _chosen(peer.sweeps, arguments.only)
    possible, how = peer.ready()
    if not possible:
        raise SystemExit(f"These exhaustive sweeps need {peer.needs}: {how}. Install what is missing and run again.")
    arguments.results.mkdir(parents=True, exist_ok=True)
    path = arguments.results / f"{peer.kind}-{arguments.peer}.json"
    ledger = Ledger.open(path, peer, restart=arguments.restart)
    console.print(", ".join(f"{key} {value}" for key, value in ledger.made.items()))
    finished = sweep_all(sweeps, ledger, arguments.workers, console)
    mismatches = sum(ledger[sweep].mismatches for sweep in sweeps)
    checked = sum(ledger[sweep].checked for sweep in sweeps)
    total = sum(sweep.total for sweep in sweeps)
    console.print(f"{checked:,} of {total:,} compared, {mismatches:,} mismatches: {ledger.path}")
    if not finished:
        console.print("Interrupted; the same command continues.")
        return 130
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
