"""Searches by Optuna: an objective that any of its samplers can ask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from torch import nn

from ...errors import MissingExtraError
from .benches import Bench, Evaluate, Path
from .spaces import Formats
from .trials import Trial, label

if TYPE_CHECKING:
    import optuna


class Objective:
    """What ``study.optimize`` calls: a categorical parameter for each layer; score and bits per weight come back."""

    directions = ("maximize", "minimize")  #: of a study: score, bits per weight

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._labels = {name: {label(choice): choice for choice in row} for name, row in bench.space.items()}
        self.trials: list[Trial] = []  #: so far

    def __call__(self, trial: optuna.Trial) -> tuple[float, float]:
        """One trial; a failed one is NaN, which Optuna takes as failed, with the reason among its attributes."""
        formats = {name: row[trial.suggest_categorical(name, list(row))] for name, row in self._labels.items()}
        found = self._bench.trial(formats, type(trial.study.sampler).__name__, trial.number)
        self.trials.append(found)
        if found.score is None:
            trial.set_user_attr("reason", found.reason)
            return float("nan"), found.bits
        return found.score, found.bits


def optuna_objective(
    model: nn.Module,
    formats: Formats,
    evaluate: Evaluate,
    *,
    nominal: bool = False,
    seed: int = 0,
    path: Path | None = None,
) -> Objective:
    """An objective for Optuna: one categorical parameter a layer, score and bits per weight.

    Run it as ``study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0),
    directions=objective.directions)`` and ``study.optimize(objective, n_trials=150)``; ``objective.trials`` are the
    trials. A sampler with a seed asks the same again, and what is in the file of ``path`` is not evaluated again: a
    study that was cut off is run once more from its start, and goes on where it was.

    Parameters
    ----------
    model, formats, evaluate, nominal, seed, path
        As in `sensitivity`. Formats that a sampler asks for again are not evaluated again.

    Returns
    -------
    Objective
        A function of an ``optuna.Trial``, with ``directions`` and ``trials``. Parameters are named like layers, their
        values are formats as text.

    Raises
    ------
    MissingExtraError
        When Optuna is not installed.
    FormatError, UncoveredError, DTypeError
        As in `sensitivity`.

    Exactness: as `sensitivity`.
    Rounding: as `sensitivity`.
    Special: as `sensitivity`; failed trials return NaN as their score.
    Standard: none.
    Cost: an evaluation and a copy of the model a trial, and what the sampler takes.
    """
    try:
        importlib.import_module("optuna")
    except ImportError as error:
        raise MissingExtraError(
            f"lab.search.optuna_objective needs optuna, which cannot be imported ({error}). It comes with the extra "
            "'search'. Run: python -m pip install 'refnum[search]'"
        ) from None
    return Objective(
        Bench("lab.search.optuna_objective", model, formats, evaluate, nominal=nominal, seed=seed, path=path)
    )
