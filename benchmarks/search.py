"""Searches for formats: trials on the digits' network against evaluations of it as it is, and what samplers add."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import Figure, medians, run

from refnum.lab import search
from refnum.lab.search import Trial
from refnum.nn import convert

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "format_search.py"))
TRIALS, AT_MOST = 150, 2


def _asked(sampler: Callable[..., Any], *arguments: Any) -> list[Trial]:
    import optuna

    objective = search.optuna_objective(*arguments)
    study = optuna.create_study(sampler=sampler(seed=0), directions=objective.directions)
    study.optimize(objective, n_trials=TRIALS)
    return objective.trials


def _measure() -> Iterator[Figure]:
    parts = EXAMPLE["load"]()
    model, formats = EXAMPLE["network"](parts.train), EXAMPLE["FORMATS"]

    def evaluate(model: Any) -> tuple[float, float]:
        return EXAMPLE["measured"](model, parts.validation)

    # 150 different assignments: 3 * 2 * 5 * 5 of the first formats of five layers
    space = dict(zip(("0", "2", "5", "7"), (formats[:3], formats[:2], formats[:5], formats[:5]), strict=True))
    assignments = list(islice(product(*space.values()), TRIALS))
    planned = [Trial(dict(zip(space, row, strict=True)), 0.0).plans for row in assignments]

    def bare() -> None:
        for _ in range(TRIALS):
            evaluate(model)

    def trials() -> list[Trial]:
        return search.exhaustive(model, space, evaluate)

    def journaled() -> list[Trial]:
        with TemporaryDirectory() as folder:
            return search.exhaustive(model, space, evaluate, path=Path(folder) / "trials.jsonl")

    def converted() -> list[tuple[float, float]]:
        return [evaluate(convert(model, plans)) for plans in planned]

    found = trials()
    if [(trial.score, trial.loss) for trial in found] != converted() or found != journaled():
        raise SystemExit("Searches are not timed: their trials are not those of nn.convert.")
    candidates: dict[str, Callable[[], object]] = {
        "bare": bare,
        "exhaustive": trials,
        "exhaustive, each on disk": journaled,
        "nn.convert each": converted,
    }
    if find_spec("optuna"):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for name in ("RandomSampler", "TPESampler"):
            sampler = getattr(optuna.samplers, name)
            candidates[f"Optuna's {name}"] = lambda sampler=sampler: _asked(sampler, model, formats, evaluate)
    times = medians(candidates)
    for name in candidates:
        if name != "bare":
            bound = AT_MOST if name == "exhaustive" else None
            yield Figure(name, f"{TRIALS} trials, 315 images", "bare evaluations", times[name] / times["bare"], bound)


if __name__ == "__main__":
    run("search", _measure)
