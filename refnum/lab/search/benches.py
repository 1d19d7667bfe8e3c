"""The bench: copies of a model in which layers have formats, evaluated once each."""

from __future__ import annotations

import copy
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real

import torch
from torch import Tensor, nn

from ...boundary import check_function
from ...errors import DTypeError
from ...nn import Plan
from ...nn.keys import layers_of
from ...nn.operands import round_weight
from ...nn.plans import give, leave_native_paths
from .journals import Journal, head_of
from .spaces import Formats, bits_of, space_of, weights_in
from .trials import Choice, Trial, plan_of

Evaluate = Callable[[nn.Module], object]  #: model -> score, or (score, loss)
Path = str | os.PathLike[str]


class Bench:
    """A model, what its layers can have, and what evaluates it. Rounded weights are kept, results are, too."""

    def __init__(
        self,
        function: str,
        model: nn.Module,
        formats: Formats,
        evaluate: Evaluate,
        *,
        nominal: bool,
        seed: int,
        path: Path | None,
    ) -> None:
        self.function = function
        self.space = space_of(function, model, formats)
        check_function(function, "evaluate", evaluate)
        self.evaluate, self.seed = evaluate, seed
        self.model = copy.deepcopy(model)
        self._layers = layers_of(self.model)
        self._sizes = self._sized(nominal=nominal)
        self._weights = sum(x.numel() for layer in self._layers.values() for _, x in weights_in(layer).values())
        self._rounded: dict[tuple[str, Choice], dict[str, Tensor]] = {}
        self._journal = Journal(path, head_of(model, self.space, seed=seed, nominal=nominal))
        self._lock = threading.Lock()

    def bits(self, formats: Mapping[str, Choice]) -> float:
        """Bits per weight, all layers with products counted."""
        return sum(sizes[formats.get(name)] for name, sizes in self._sizes.items()) / self._weights

    def size(self, name: str, choice: Choice) -> float:
        """Bits of a layer that has a choice."""
        return self._sizes[name][choice]

    def trial(self, formats: Mapping[str, Choice], method: str, number: int) -> Trial:
        """The trial of these formats: evaluated now, or known."""
        with self._lock:
            known = self._journal.find(formats)
            if known is None:
                known = self._evaluated(Trial(dict(formats), self.bits(formats), method=method, number=number))
                self._journal.add(known)
        return replace(known, formats=dict(formats), method=method, number=number)

    def model_of(self, formats: Mapping[str, Choice]) -> nn.Module:
        """A model of its own, as `nn.convert` makes it, but with weights that are rounded already."""
        model = copy.deepcopy(self.model)
        layers = layers_of(model)
        for name, choice in formats.items():
            plan = plan_of(choice)
            if plan is not None:
                for path, weight in self._weights_of(name, plan).items():
                    module = layers[name].get_submodule(path.rpartition(".")[0])
                    # As convert's under no_grad: torch multiplies by weights that want gradients in another way.
                    module._parameters[path.rpartition(".")[2]] = nn.Parameter(weight.clone(), requires_grad=False)
                give(layers[name], plan.remainder)
        leave_native_paths(model)
        return model

    def _sized(self, *, nominal: bool) -> dict[str, dict[Choice, float]]:
        """Layer -> choice -> bits; all have None, those that are not searched nothing else."""
        return {
            name: {choice: bits_of(layer, choice, nominal=nominal) for choice in (None, *self.space.get(name, ()))}
            for name, layer in self._layers.items()
        }

    def _weights_of(self, name: str, plan: Plan) -> dict[str, Tensor]:
        """The weights of a layer in the plan's format; none where it has none."""
        if plan.weight is None:
            return {}
        key = name, plan.weight
        if key not in self._rounded:
            with torch.no_grad():
                self._rounded[key] = {
                    path: round_weight(module, weight, plan.weight)
                    for path, (module, weight) in weights_in(self._layers[name]).items()
                }
        return self._rounded[key]

    def _evaluated(self, trial: Trial) -> Trial:
        """With a result, or with the reason why there is none: what an evaluator raises ends a trial, not a study."""
        model = self.model_of(trial.formats)
        try:
            with _seeded(self.seed):
                result = self.evaluate(model)
        except Exception as error:  # noqa: BLE001
            return replace(trial, state="failed", reason=f"{type(error).__name__}: {error}")
        score, loss = self._numbers(result)
        if not math.isfinite(score) or not math.isfinite(loss or 0.0):
            return replace(trial, state="failed", reason=f"evaluate returned {result}")
        return replace(trial, score=score, loss=loss)

    def _numbers(self, result: object) -> tuple[float, float | None]:
        """Score and loss."""
        numbers = result if isinstance(result, tuple) else (result, None)
        if len(numbers) != 2 or not _is_number(numbers[0]) or not (numbers[1] is None or _is_number(numbers[1])):
            raise DTypeError(
                f"{self.function} needs a score from evaluate, got {result!r}. Allowed are a number, or a tuple of "
                "score and loss. Return one of these."
            )
        score, loss = numbers
        return _float(score), None if loss is None else _float(loss)


def _is_number(x: object) -> bool:
    return isinstance(x, Real) or (isinstance(x, Tensor) and x.numel() == 1 and not x.is_complex())


def _float(x: Real | Tensor) -> float:
    return float(x.detach() if isinstance(x, Tensor) else x)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Torch's generators are seeded inside, and afterwards as they were: no trial knows of those before it."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(seed)
        yield
