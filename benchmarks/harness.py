"""How refnum is timed: ratios to a yardstick in the same process, taken in turns, on one thread; medians.

A benchmark is a script beside this file. It prints a table and exits 0 whatever the figures are: nothing here is a
test. Absolute times are not facts and are not recorded. Above a load of `QUIET` at the start the table is marked as
noisy and is written only on request.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from refnum_conformance.peers import softposit
from rich.console import Console
from rich.table import Table
from torch import Tensor

RESULTS = Path(__file__).parent / "results"
QUIET = 1.0  #: load average at the start above which figures do not count
ROUNDS = 7
SECONDS = 0.03  #: of one candidate in one round

Candidates = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Figure:
    """One line of a result: a ratio, and what was asked of it."""

    item: str
    data: str  #: size, dtype and distribution
    against: str  #: the yardstick, or the unit
    ratio: float
    at_most: float | None = None  #: the target
    goal: float | None = None  #: the stretch
    at_least: bool = False  #: the target is a lower bound: how many times faster

    @property
    def met(self) -> str:
        """yes, no, or nothing where nothing was asked."""
        if self.at_most is None:
            return ""
        within = self.ratio >= self.at_most if self.at_least else self.ratio <= self.at_most
        return "yes" if within else "NO"

    def cells(self) -> tuple[str, ...]:
        """As text, for tables."""
        sign = ">=" if self.at_least else "<="
        bounds = ("" if bound is None else f"{sign} {bound:g}" for bound in (self.at_most, self.goal))
        return (self.item, self.data, self.against, f"{self.ratio:.3g}", *bounds, self.met)


HEADER = ("item", "data", "against", "ratio", "target", "goal", "met")


# Timing --------------------------------------------------------------------------------------------------------------


def medians(candidates: Candidates) -> dict[str, float]:
    """Seconds of one call of each candidate, each called in turn round after round.

    A first call warms up (and compiles), a second tells how many calls fill a round.
    """
    for run in candidates.values():
        run()
    repeats = {name: max(1, round(SECONDS / _seconds(run, 1))) for name, run in candidates.items()}
    rounds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            rounds[name].append(_seconds(run, repeats[name]))
    return {name: statistics.median(times) for name, times in rounds.items()}


def _seconds(run: Callable[[], object], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - began) / repeats


def must_equal(what: str, got: Tensor, want: Tensor) -> None:
    """A wrong result has no speed."""
    same = (got == want) | (got.isnan() & want.isnan()) if got.is_floating_point() else got == want
    if got.dtype != want.dtype or not bool(same.all()):
        raise SystemExit(f"{what} is not timed: {int((~same).sum()):,} of {same.numel():,} elements differ.")


# Data ----------------------------------------------------------------------------------------------------------------


def distributions(count: int, seed: int = 0) -> dict[str, Tensor]:
    """The three float32 distributions that every data-dependent design must be timed on."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(count, generator=generator)
    zeros = dense * torch.randint(0, 2, (count,), generator=generator)
    wide = dense * torch.randint(-60, 61, (count,), generator=generator).exp2()
    return {"N(0,1)": dense, "50 % zeros": zeros, "exponents +-60": wide}


# Results -------------------------------------------------------------------------------------------------------------


def conditions() -> dict[str, str]:
    """What the figures were taken with."""
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "peer": softposit.available()[1],
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "freed memory": "kept" if "MALLOC_TRIM_THRESHOLD_" in os.environ else "given back",
        "load average at the start": f"{os.getloadavg()[0]:.2f}",
    }


def report(name: str, figures: Iterable[Figure], made: Mapping[str, str], *, noisy: bool, keep_noisy: bool) -> None:
    """Print the table, and write it to ``benchmarks/results`` if the machine was quiet."""
    figures = list(figures)
    console = Console(width=160)
    table = Table(*HEADER, title=f"{name}{' (noisy)' if noisy else ''}")
    for figure in figures:
        table.add_row(*figure.cells(), style="red" if figure.met == "NO" else None)
    console.print(table)
    console.print(", ".join(f"{key} {value}" for key, value in made.items()))
    if noisy and not keep_noisy:
        console.print(
            f"Not recorded: the load was above {QUIET:g}. Run again on a quiet machine, or with --keep-noisy."
        )
        return
    RESULTS.mkdir(exist_ok=True)
    rows = [asdict(figure) | {"met": figure.met} for figure in figures]
    data = {"made": dict(made), "noisy": noisy, "figures": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(_markdown(name, figures, made, noisy))


def _markdown(name: str, figures: Iterable[Figure], made: Mapping[str, str], noisy: bool) -> str:
    lines = [f"# {name}{' (noisy)' if noisy else ''}", "", *(f"- {key}: {value}" for key, value in made.items()), ""]
    lines += [f"| {' | '.join(HEADER)} |", "|---|---|---|---:|---:|---:|---|"]
    lines += [f"| {' | '.join(figure.cells())} |" for figure in figures]
    return "\n".join(lines) + "\n"


def run(name: str, measure: Callable[[], Iterable[Figure]], *, needs_loops: bool = False, timed: bool = True) -> None:
    """The main function of a benchmark.

    ``needs_loops`` where SoftPosit's C loops are the yardstick; not ``timed`` where the load of the machine does not
    touch the figures.
    """
    parser = argparse.ArgumentParser(prog=f"benchmarks/{name}.py")
    parser.add_argument("--keep-noisy", action="store_true", help=f"record the figures at a load above {QUIET:g} too")
    arguments = parser.parse_args()
    possible, reason = softposit.compiled()
    if needs_loops and not possible:
        Console().print(f"{name} is not timed: its yardstick is SoftPosit in C loops of ours. {reason}.")
        return
    torch.set_num_threads(1)
    made = conditions()
    noisy = timed and os.getloadavg()[0] > QUIET
    report(name, measure(), made, noisy=noisy, keep_noisy=arguments.keep_noisy)
