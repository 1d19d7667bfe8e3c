"""The posit32 patterns whose function values lie nearest to a tie, out of all patterns there are.

    python -m refnum_conformance.near_ties             # every function; continues where it was
    python -m refnum_conformance.near_ties --only exp2 --workers 1

A rounding that is wrong by a hair goes wrong there first. They are found in three steps.

N1. *Position.* Where a number of size 2**E * (1 + F) falls among the patterns of posit32: with k = E >> 2, and m = k
    for k >= 0, -k - 1 otherwise, the pattern goes up by 1 when E + F goes up by 2**(m - 27). So a tie is where
    (E + F) * 2**(27 - m) is a whole number and a half. The unit of that is a *last place*: while the result has a
    fraction, it is the distance to the next posit.
N2. *Scan.* A float64 value that is off by 2**-b of the right one gives a position that is off by at most 2**(28 - b)
    last places. Kept is every pattern whose position then lies within 2**-REACH of a tie: so all are kept that lie
    within 2**-REACH - 2**(28 - b) of one.
N3. *Order.* Multiprecision tells how far from a tie each value is that was kept. Those on a tie are listed apart; of
    the others the nearest are listed, which N2 has kept if they are as near as it promises.

Odd and even functions are scanned for positive arguments alone: results for the negative ones are as near.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

import refnum
from refnum.functions.estimates import ESTIMATES, Estimate

from . import exhaustive, vectors
from .function_sweeps import FMT, REAL
from .ledger import directory
from .oracles import distances, elementary

Array = NDArray[Any]

STRETCH = 1 << 14  #: patterns that are evaluated together: their float64 values fit a cache
REACH = 18  #: kept are values within 2**-REACH last places of a tie
FILE = "posit32_near_ties.npz"
LISTED = 100  #: how many are listed of a function


# What is scanned -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """N2 for the function of a row, in the form of a sweep."""

    row: str

    def __str__(self) -> str:
        return self.row

    @property
    def total(self) -> int:
        """How many patterns there are to go through."""
        first, end = REAL[self.row]
        return end - first

    def operands(self, start: int, count: int) -> tuple[Tensor]:
        """The first patterns of stretches."""
        first = REAL[self.row][0] + start
        return (torch.arange(first, first + count, STRETCH, dtype=torch.int64),)

    @property
    def prepared(self) -> Callable[[Tensor], Tensor]:
        """What finds the patterns near ties in stretches."""
        evaluate = self.estimate.evaluate

        def scan(starts: Tensor) -> Tensor:
            return torch.cat([start + near_ties(evaluate(x)) for start, x in stretches(starts)])

        return scan

    @property
    def estimate(self) -> Estimate:
        """The function in float64."""
        return ESTIMATES[elementary.BY_STANDARD[self.row].name]

    @property
    def promise(self) -> float:
        """N2: nearer than that to a tie, in last places, every value is kept."""
        return 2.0**-REACH - 2.0 ** (28 - self.estimate.bound)

    def compare(self, operands: tuple[Tensor], got: Tensor) -> Array:
        """Nothing is compared yet: the patterns, as an array, for a tensor takes an open file to another process."""
        return got.numpy().astype(np.int32)


SCANS = tuple(map(Scan, REAL))


def stretches(starts: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Each first pattern, with the float64 values of its stretch."""
    # L1. Steps from one pattern to the next never become smaller as |x| grows. So all are equal in a stretch if its
    #     length is that of the first step, so often; else its patterns are decoded one by one.
    # L2. No rounding blurs that. Values are multiples of the smallest step of their stretch; their difference is exact
    #     below 2**53 of these, and beyond it is no STRETCH of them.
    ramp = torch.arange(STRETCH, dtype=torch.float64)
    ends = refnum.decode(starts.unsqueeze(1) + torch.tensor([0, 1, STRETCH - 1]), FMT)
    for start, (first, second, last) in zip(starts.tolist(), ends.tolist(), strict=True):
        step = second - first
        if last - first == step * (STRETCH - 1):
            yield start, (ramp * step).add_(first)
        else:
            yield start, refnum.decode(torch.arange(start, start + STRETCH), FMT)


def near_ties(y: Tensor) -> Tensor:
    """Places of float64 values whose position is near a tie; the values are overwritten."""
    # T1. u is E + F with 52 fraction bits. A step of 2**(m - 27) leaves the lowest m + 25 of them behind the pattern:
    #     these go to the top of the word, where a tie is 1 in the top bit and 0 below.
    u = y.view(torch.int64).bitwise_and_((1 << 63) - 1).sub_(1023 << 52)
    k = u >> 54
    m = (k >> 63).bitwise_xor_(k)
    # T2. For 0, Inf and NaN, and far beyond the range, the shift is not one of 0 to 63, and gives 0: far from a tie.
    tail = u.bitwise_left_shift_(m.neg_().add_(39))
    # T3. Near a tie: with the tie and half the window added, which wraps, all bits above the window are 0.
    tail.add_((1 << (64 - REACH)) - (1 << 63)).bitwise_right_shift_(65 - REACH)
    return (tail == 0).nonzero().squeeze(1)


# What was found ------------------------------------------------------------------------------------------------------


@cache
def state(scan: Scan) -> str:
    """A digest of what finds depend on, as it was when the process began."""
    formula = scan.estimate.formula
    source = inspect.getsource(formula) if inspect.isfunction(formula) else formula.__name__
    parts = (torch.__version__, str(REACH), source, inspect.getsource(stretches), inspect.getsource(near_ties))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@dataclass
class Find:
    """What is known of one scan."""

    done: list[int] = field(default_factory=list)  #: blocks, in the order they came
    patterns: Array = field(default_factory=lambda: np.empty(0, np.int32))  #: near ties
    saved: int = 0  #: how many blocks are on disk

    @property
    def note(self) -> str:
        """What is shown while it runs."""
        return f"{len(self.patterns):,} near ties"

    def add(self, block: int, found: Sequence[Array], count: int, seconds: float) -> None:
        """Enter a block."""
        self.done.append(block)
        self.patterns = np.concatenate([self.patterns, *found])


class Finds:
    """All scans, each in a file of its own in the cache, which holds for one state of what it depends on."""

    def __init__(self, place: Path) -> None:
        self.place, self.finds = place, dict[Scan, Find]()
        place.mkdir(parents=True, exist_ok=True)

    def _path(self, scan: Scan) -> Path:
        return self.place / f"near-ties-{scan}-{state(scan)}.npz"

    def __getitem__(self, scan: Scan) -> Find:
        if scan not in self.finds:
            self.finds[scan] = self._read(self._path(scan))
        return self.finds[scan]

    def _read(self, path: Path) -> Find:
        if not path.exists():
            return Find()
        with np.load(path, allow_pickle=False) as file:
            done = file["done"].tolist()
            return Find(done, file["patterns"], len(done))

    def save(self) -> None:
        """Write what is new, each file whole or not at all."""
        for scan, find in self.finds.items():
            if find.saved < len(find.done):
                path = self._path(scan)
                fresh = path.with_suffix(f".{os.getpid()}.npz")
                np.savez(fresh, done=np.array(find.done, np.int64), patterns=find.patterns)
                fresh.replace(path)
                find.saved = len(find.done)


# The list ------------------------------------------------------------------------------------------------------------


def listed(scan: Scan, patterns: Array) -> dict[str, Array]:
    """N3: the nearest of the patterns with their results and distances, and those on a tie."""
    function = elementary.BY_STANDARD[scan.row]
    right = elementary.of_posits(function)
    known = [
        (distances.to_tie(function.name, pattern, FMT.n, FMT.es), pattern) for pattern in np.unique(patterns).tolist()
    ]
    ties = [pattern for distance, pattern in known if distance == 0]
    nearest = sorted(each for each in known if each[0] is not None and each[0] > 0)[:LISTED]
    if len(nearest) < LISTED or nearest[-1][0] > scan.promise:
        raise ValueError(f"{scan} needs a larger window: within 2**-{REACH} of a tie there are {len(nearest)} results.")
    return {
        "operands": np.array([pattern for _, pattern in nearest], np.int32),
        "results": np.array([right(pattern, n=FMT.n, es=FMT.es) for _, pattern in nearest], np.int32),
        "distances": np.array([float(distance) for distance, _ in nearest]),
        "digits": np.array([distances.digits(distance) for distance, _ in nearest]),
        "ties": np.array(ties, np.int32),
    }


def written(path: Path, lists: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """Lists as the file has them now, beside those of other functions that it had already."""
    kept: dict[str, Array] = {}
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            kept = {key: file[key] for key in file.files}
    kept |= {f"{row}_{column}": array for row, columns in lists.items() for column, array in columns.items()}
    np.savez_compressed(path, **kept)
    return kept


def table(kept: dict[str, Array]) -> str:
    """What the file has, as Markdown."""
    lines = [
        "# Results of posit32 nearest a tie",
        "",
        f"For each function the {LISTED} patterns whose results are nearest a tie, of all there are; distances in last",
        "places of the result. Those on a tie are counted. Odd and even functions: of the positive patterns.",
        "",
        "| function | on a tie | nearest | operand | result | number 100 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in REAL:
        if f"{row}_operands" in kept:
            operand, result = (
                f"{int(kept[f'{row}_{column}'][0]) & 0xFFFFFFFF:#x}" for column in ("operands", "results")
            )
            near = kept[f"{row}_distances"]
            ties = len(kept[f"{row}_ties"])
            lines.append(f"| {row} | {ties} | {near[0]:.3e} | {operand} | {result} | {near[-1]:.3e} |")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Scan what has not been scanned, and list the nearest: 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="refnum_conformance.near_ties", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[str(scan) for scan in SCANS], help="functions")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    arguments, console = parser.parse_args(argv), Console()
    scans = [scan for scan in SCANS if arguments.only is None or str(scan) in arguments.only]
    finds = Finds(directory())
    finished = exhaustive.sweep_all(scans, finds, arguments.workers, console)
    complete = [scan for scan in scans if len(finds[scan].done) == exhaustive.blocks(scan)]
    lists = {scan.row: listed(scan, finds[scan].patterns) for scan in complete}
    kept = written(vectors.directory() / FILE, lists)
    (exhaustive.RESULTS / "near-ties.md").write_text(table(kept))
    console.print(f"{len(complete)} of {len(scans)} functions are listed: {vectors.directory() / FILE}")
    return 0 if finished else 130


if __name__ == "__main__":
    sys.exit(main())
