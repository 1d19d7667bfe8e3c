"""How kernels are timed: on the device's clock, in turns with yardsticks in the same process; medians.

What is timed is captured in a graph, so the host's work is not in a figure, and that it can be captured is shown by the
way. A row may stand beside anything that can be called: torch, the reference, a kernel of ours that is written for the
comparison alone.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from refnum_cuda.launch import Kernel, current, ordinal, place

from refnum_cuda import build, driver, hardware, modules

ROUNDS = 7
SECONDS = 0.25  #: of one candidate, about
REPLAY = 5e-4  #: seconds of one replay, at least; a short call is captured several times


@dataclass(frozen=True)
class Row:
    """One operation of ours, and what it is compared with."""

    name: str
    ours: Callable[[], object]
    beside: Mapping[str, Callable[[], object]] = field(default_factory=dict)  #: the yardsticks by name
    operations: float = 0  #: additions and multiplications of a call
    bytes: float = 0  #: that a call has to move: each input read once, each result written once
    target: str = ""  #: what was asked for, in words
    note: str = ""


@dataclass(frozen=True)
class Result:
    """What a row came to."""

    name: str
    seconds: float
    tops: float  #: 10**12 operations a second
    terabytes: float  #: a second
    ratios: dict[str, float]  #: seconds of ours over those of each yardstick
    target: str
    note: str
    failures: dict[str, str]  #: what could not be timed, and why

    def cells(self) -> tuple[str, ...]:
        """As text, for tables."""
        ratios = ", ".join(f"{ratio:.3g} x {name}" for name, ratio in self.ratios.items())
        rates = (f"{rate:.4g}" if rate else "" for rate in (self.tops, self.terabytes))
        words = (self.target, "; ".join(filter(None, (self.note, *self.failures.values()))))
        return (self.name, f"{self.seconds * 1e3:.4g}" if self.timed else "", *rates, ratios, *words)

    @property
    def timed(self) -> bool:
        """Whether ours ran."""
        return self.seconds < math.inf


HEADER = ("row", "ms", "TOPS", "TB/s", "time, as a multiple of", "asked", "note")


# ---- timing --------------------------------------------------------------------------------------


def timed(rows: Iterable[Row]) -> Iterable[Result]:
    """Each row's result, as soon as it is there."""
    for row in rows:
        candidates, failures = {}, {}
        for name, run in {"ours": row.ours, **row.beside}.items():
            try:
                candidates[name] = Replays(run)
            except (RuntimeError, ValueError) as error:  # errors of refnum and of torch: they become part of the result
                failures[name] = f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:200]}"
        seconds = medians(candidates)
        own = seconds.pop("ours", math.inf)  # what could not be timed is never done
        ratios = {name: own / other for name, other in seconds.items() if own < math.inf}
        yield Result(
            *(row.name, own, row.operations / own / 1e12, row.bytes / own / 1e12, ratios, row.target, row.note),
            failures,
        )
        del candidates
        torch.cuda.empty_cache()


class Replays:
    """Calls that are captured in a graph; `seconds` is one call's time in one replay."""

    def __init__(self, run: Callable[[], object]) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):  # loads, tries and compiles
                run()
        torch.cuda.synchronize()
        self.calls = 1
        self.graph = _captured(run, 1)
        self.seconds()
        if (once := self.seconds()) < REPLAY:
            self.calls = min(64, round(REPLAY / once))
            self.graph = _captured(run, self.calls)
            self.seconds()

    def seconds(self) -> float:
        """One replay, on the device's clock."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / self.calls


def _captured(run: Callable[[], object], calls: int) -> torch.cuda.CUDAGraph:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            run()
    return graph


def medians(candidates: Mapping[str, Replays]) -> dict[str, float]:
    """Seconds of one call of each candidate, in turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    each = {name: max(1, round(SECONDS / ROUNDS / (run.seconds() * run.calls))) for name, run in candidates.items()}
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            times[name] += [run.seconds() for _ in range(min(each[name], 20))]
    return {name: statistics.median(found) for name, found in times.items()}


# ---- kernels that only benchmarks need -----------------------------------------------------------

_handles: dict[Kernel, driver.Handle | None] = {}


def kernel(source: Path, function: str, parameters: tuple[type[Any], ...]) -> Kernel:
    """A kernel of a source beside the benchmarks, which may include csrc's headers; compiled here, for this GPU."""
    made = Kernel(source.stem, function, parameters)
    device = torch.device("cuda", torch.cuda.current_device())
    with place(device):
        target = modules.pick(driver.capability(ordinal(device)), build.TARGETS)
        assert target is not None, "a GPU that no kernel serves has nothing to compare"
        _handles[made] = driver.function(driver.module(_compiled(source, target)), function)
    return made


def _compiled(source: Path, target: str) -> bytes:
    try:
        importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        return build.Nvcc().compile(source, target)
    return build.Nvrtc().compile(source, target)


def launch(
    kernel: Kernel, grid: tuple[int, int, int], block: tuple[int, int, int], shared: int, *arguments: Any
) -> None:
    """Put one of those kernels on torch's current stream."""
    _, stream = current()
    if shared > modules.FREE_SHARED:
        driver.allow_shared(_handles[kernel], shared)
    driver.launch(_handles[kernel], grid, block, shared, stream, kernel.values(arguments))


# ---- what is written -----------------------------------------------------------------------------


def write(results: list[Result], folder: Path, topic: str) -> None:
    """The results of a topic as JSON and as a table."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"machine": hardware.machine(), "rows": [_record(result) for result in results]}
    (folder / f"{topic}.json").write_text(json.dumps(record, indent=1) + "\n")
    lines = [
        "| " + " | ".join(cells) + " |" for cells in (HEADER, ["---"] * len(HEADER), *(r.cells() for r in results))
    ]
    about = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    text = f"# {topic.capitalize()}\n\n{about}. Medians on the device's clock, graphs replayed in turns.\n\n"
    (folder / f"{topic}.md").write_text(text + "\n".join(lines) + "\n")


def _record(result: Result) -> dict[str, Any]:
    return asdict(result) | {"seconds": result.seconds if result.timed else None}
