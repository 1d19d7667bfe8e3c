"""Methods that need no library: one layer at a time, greedily, all alike, and everything."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import TypeVar

from torch import nn

from ...errors import DTypeError, FormatError
from .benches import Bench, Evaluate, Path
from .spaces import Formats
from .trials import Choice, Trial, completed, score_of

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Sensitivities:
    """What each layer alone does to a model: what `greedy` goes by."""

    base: Trial  #: the model as it is
    layers: Mapping[str, tuple[Trial, ...]]  #: layer -> a trial for each of its choices, all other layers as they are
    bench: Bench = field(repr=False, compare=False)

    @property
    def trials(self) -> list[Trial]:
        """All trials, base first."""
        return [self.base, *(trial for row in self.layers.values() for trial in row)]


def sensitivity(
    model: nn.Module,
    formats: Formats,
    evaluate: Evaluate,
    *,
    nominal: bool = False,
    seed: int = 0,
    path: Path | None = None,
    progress: bool = False,
) -> Sensitivities:
    """Evaluate a model with one layer at a time in each of its formats.

    >>> from refnum import Posit
    >>> model, x = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)), torch.ones(1, 3)
    >>> found = sensitivity(model, [Posit(4), Posit(8)], lambda model: -model(x).square().sum())
    >>> {name: len(trials) for name, trials in found.layers.items()}
    {'0': 2, '1': 2}

    Parameters
    ----------
    model : nn.Module
        The model. It is left alone: each evaluation has a copy.
    formats : sequence or mapping
        What layers can have: formats of their weights, `nn.Plan` for inputs and products as well, or None for the layer
        as it is. One list for all layers, or a mapping from keys as `nn.convert` takes them; layers without a key stay
        as they are.
    evaluate : callable
        ``evaluate(model) -> score`` or ``(score, loss)``: numbers; a higher score, a lower loss is better. The weights
        of the model that it gets are rounded already, not in each forward pass, and have no gradients. Where it raises
        an exception, or returns a number that is not finite, the trial is ``failed``, with the reason, and the study
        goes on.
    nominal : bool
        Count bits as if all blocks were whole: a format's ``bits``. By default the scales that are stored are counted;
        they are more where a row is no whole number of blocks.
    seed : int
        Of torch's generators during each evaluation; afterwards they are as they were.
    path : path, optional
        A file in which each finished trial is a line. What is in there is not evaluated again, so that a study that was
        cut off goes on. It serves all methods, but one model, space, seed and way to count.
    progress : bool
        Show a bar.

    Returns
    -------
    Sensitivities
        ``base``, the model as it is, and ``layers``, the trials of each layer.

    Raises
    ------
    FormatError
        When there are no formats, a key matches no layer, a layer's dtype does not hold a format, or the file is of
        other trials.
    UncoveredError
        When formats are for a layer whose weights cannot be reached, as in `nn.convert`.
    DTypeError
        When ``model`` is no module, ``evaluate`` no function, or what it returns no number; or blocks are for float64.

    Exactness: bit-exact: under torch.no_grad() outputs of the models are those of ``nn.convert(model, trial.plans)``.
    Rounding: to nearest, ties to even.
    Special: layers that are not searched, and those with None, count the bits of their dtype, 32 in float32. Bits of
        inputs do not count; a weight that several layers share counts in each.
    Standard: none.
    Cost: an evaluation and a copy of the model a trial; each weight is rounded once to each format, and kept.
    """
    bench = Bench("lab.search.sensitivity", model, formats, evaluate, nominal=nominal, seed=seed, path=path)
    whole: dict[str, Choice] = dict.fromkeys(bench.space)
    alone = [whole | {name: choice} for name, choices in bench.space.items() for choice in choices]
    base, *trials = _all(bench, [whole, *alone], 1 + len(alone), "sensitivity", progress)
    rows = iter(trials)
    return Sensitivities(base, {name: tuple(islice(rows, len(row))) for name, row in bench.space.items()}, bench)


def greedy(
    sensitivities: Sensitivities, *, budget_bits: float | None = None, min_score: float | None = None
) -> Iterator[Trial]:
    """Walk down from the widest formats, the layer first that loses least for the bits it saves.

    >>> from refnum import Posit
    >>> model, x = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)), torch.ones(1, 3)
    >>> found = sensitivity(model, [Posit(4), Posit(8)], lambda model: -model(x).square().sum())
    >>> [trial.bits for trial in greedy(found, budget_bits=4)][::2]
    [8.0, 4.0]

    Each layer has a ladder, its formats from the widest down; of those with equally many bits the best. A step takes
    one layer one rung down: that with the least rise of the loss, by its own sensitivities, per bit saved; the first of
    equals. Each step is evaluated, as a whole, when it is asked for.

    Parameters
    ----------
    sensitivities : Sensitivities
        What `sensitivity` returned. Its model, evaluator and file serve here, too. Where there is no loss, the score
        with its sign turned is one.
    budget_bits : float, optional
        Bits per weight: the step that is the first to have no more is the last. By default it walks to the bottom.
    min_score : float, optional
        The walk ends before the first step that fails or has a lower score.

    Yields
    ------
    Trial
        Every step, the widest formats first. The last one is what was looked for.

    Raises
    ------
    FormatError
        When the budget is below the narrowest formats, or all trials of a layer failed.
    DTypeError
        When ``sensitivities`` is something else.

    Exactness: as `sensitivity`.
    Rounding: as `sensitivity`.
    Special: failed trials are no rungs; a step that fails is yielded, unless a score is asked for.
    Standard: none.
    Cost: an evaluation a step.
    """
    if not isinstance(sensitivities, Sensitivities):
        raise DTypeError(
            f"lab.search.greedy needs Sensitivities, got {type(sensitivities).__name__}. Pass what "
            "lab.search.sensitivity returns."
        )
    ladders = {name: _ladder(name, row, sensitivities.bench) for name, row in sensitivities.layers.items()}
    least = sensitivities.bench.bits({name: ladder[-1].choice for name, ladder in ladders.items()})
    if budget_bits is not None and not budget_bits >= least:
        raise FormatError(
            f"lab.search.greedy cannot reach budget_bits={budget_bits}: the narrowest formats have {least} bits per "
            "weight. Allowed are budgets from there on. Choose one, or narrower formats."
        )
    return _walk(sensitivities.bench, ladders, budget_bits, min_score)


@dataclass(frozen=True, slots=True)
class _Rung:
    """A format of a layer."""

    size: float  #: bits of all its weights
    loss: float  #: of the model when this layer alone has it
    choice: Choice

    def slope(self, below: _Rung) -> float:
        """How much the loss rises per bit saved on the way to another."""
        return (below.loss - self.loss) / (self.size - below.size)


def _ladder(name: str, trials: Iterable[Trial], bench: Bench) -> list[_Rung]:
    """The rungs of a layer, each with fewer bits than the one before it."""
    rungs = [
        _Rung(bench.size(name, trial.formats[name]), _loss(trial), trial.formats[name]) for trial in completed(trials)
    ]
    if not rungs:
        raise FormatError(
            f"lab.search.greedy has no format for {name!r}: all of its trials failed. Allowed are layers with one that "
            "did not. Look at the reasons in sensitivities.layers."
        )
    best: dict[float, _Rung] = {}
    for rung in sorted(rungs, key=lambda rung: (-rung.size, rung.loss)):
        best.setdefault(rung.size, rung)
    return list(best.values())


def _loss(trial: Trial) -> float:
    return -score_of(trial) if trial.loss is None else trial.loss


def _walk(
    bench: Bench, ladders: Mapping[str, list[_Rung]], budget_bits: float | None, min_score: float | None
) -> Iterator[Trial]:
    at = dict.fromkeys(ladders, 0)
    for number in range(1 + sum(len(ladder) - 1 for ladder in ladders.values())):
        if number:
            open_ = [name for name, ladder in ladders.items() if at[name] + 1 < len(ladder)]
            chosen = min(open_, key=lambda name: ladders[name][at[name]].slope(ladders[name][at[name] + 1]))
            at[chosen] += 1
        trial = bench.trial({name: ladders[name][place].choice for name, place in at.items()}, "greedy", number)
        if min_score is not None and (trial.score is None or trial.score < min_score):
            return
        yield trial
        if budget_bits is not None and trial.bits <= budget_bits:
            return


def uniform(
    model: nn.Module,
    formats: Formats,
    evaluate: Evaluate,
    *,
    nominal: bool = False,
    seed: int = 0,
    path: Path | None = None,
    progress: bool = False,
) -> list[Trial]:
    """Evaluate a model with all layers in the same format, for each that all of them can have.

    >>> from refnum import Posit
    >>> model, x = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)), torch.ones(1, 3)
    >>> trials = uniform(model, [Posit(4), Posit(8)], lambda model: -model(x).square().sum())
    >>> [trial.bits for trial in trials]
    [4.0, 8.0]

    Parameters
    ----------
    model, formats, evaluate, nominal, seed, path, progress
        As in `sensitivity`.

    Returns
    -------
    list of Trial
        In the order of the formats.

    Raises
    ------
    FormatError, UncoveredError, DTypeError
        As in `sensitivity`; or when the layers have no format in common.

    Exactness: as `sensitivity`.
    Rounding: as `sensitivity`.
    Special: as `sensitivity`.
    Standard: none.
    Cost: an evaluation and a copy of the model a trial.
    """
    bench = Bench("lab.search.uniform", model, formats, evaluate, nominal=nominal, seed=seed, path=path)
    first, *others = bench.space.values()
    common = [choice for choice in first if all(choice in row for row in others)]
    if not common:
        raise FormatError(
            f"lab.search.uniform needs a format that all layers can have, got {', '.join(bench.space)} with none in "
            "common. Pass one list for all of them."
        )
    assignments: list[dict[str, Choice]] = [dict.fromkeys(bench.space, choice) for choice in common]
    return _all(bench, assignments, len(assignments), "uniform", progress)


def exhaustive(
    model: nn.Module,
    formats: Formats,
    evaluate: Evaluate,
    *,
    limit: int = 10_000,
    nominal: bool = False,
    seed: int = 0,
    path: Path | None = None,
    progress: bool = False,
) -> list[Trial]:
    """Evaluate every assignment of formats to layers: the true front, in small spaces.

    >>> from refnum import Posit
    >>> model, x = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1)), torch.ones(1, 3)
    >>> trials = exhaustive(model, [Posit(4), Posit(8)], lambda model: -model(x).square().sum())
    >>> [trial.bits for trial in trials]
    [4.0, 5.0, 7.0, 8.0]

    Parameters
    ----------
    model, formats, evaluate, nominal, seed, path, progress
        As in `sensitivity`.
    limit : int
        The most assignments that are evaluated.

    Returns
    -------
    list of Trial
        The last layer's formats change fastest.

    Raises
    ------
    FormatError, UncoveredError, DTypeError
        As in `sensitivity`; or when there are more assignments than the limit.

    Exactness: as `sensitivity`.
    Rounding: as `sensitivity`.
    Special: as `sensitivity`.
    Standard: none.
    Cost: an evaluation and a copy of the model an assignment.
    """
    bench = Bench("lab.search.exhaustive", model, formats, evaluate, nominal=nominal, seed=seed, path=path)
    count = math.prod(map(len, bench.space.values()))
    if count > limit:
        raise FormatError(
            f"lab.search.exhaustive has {count} assignments of formats to {len(bench.space)} layers. Allowed are "
            f"limit={limit}. Raise it, or search with greedy or optuna_objective."
        )
    assignments = (dict(zip(bench.space, row, strict=True)) for row in product(*bench.space.values()))
    return _all(bench, assignments, count, "exhaustive", progress)


def _all(
    bench: Bench, assignments: Iterable[dict[str, Choice]], count: int, method: str, progress: bool
) -> list[Trial]:
    rows = watched(assignments, count, method) if progress else assignments
    return [bench.trial(formats, method, number) for number, formats in enumerate(rows)]


def watched(items: Iterable[Item], count: int, what: str) -> Iterator[Item]:
    """The same items, with a bar: rich's, or where that is not installed a line that counts."""
    try:
        from rich.progress import track
    except ImportError:
        yield from _counted(items, count, what)
    else:
        yield from track(items, f"{what} ", total=count)


def _counted(items: Iterable[Item], count: int, what: str) -> Iterator[Item]:
    for number, item in enumerate(items, 1):
        yield item
        print(f"\r{what}  {number}/{count}", end="\n" if number == count else "", file=sys.stderr, flush=True)
