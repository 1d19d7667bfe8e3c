"""Which format for which layer: bits per weight, scales counted, against the score of a model.

A search has a model, formats for its layers, and a function ``evaluate(model) -> score``, or ``-> (score, loss)``,
where a higher score and a lower loss are better. The methods evaluate copies of the model in which layers have formats,
each assignment once, and return `Trial` records; ``refnum.nn.convert(model, trial.plans)`` makes the model of one.

>>> import torch
>>> from refnum import Posit, mxint8
>>> from refnum.lab import search
>>> model, x = torch.nn.Sequential(torch.nn.Linear(32, 8), torch.nn.Linear(8, 4)), torch.ones(1, 32)
>>> want = model(x)
>>> def evaluate(model):
...     return -(model(x) - want).abs().sum()
>>> trials = search.exhaustive(model, [Posit(4), mxint8], evaluate)
>>> [round(trial.bits, 3) for trial in trials], trials[1].to_json()[:45]
([4.0, 4.556, 7.778, 8.333], '{"formats": {"0": "posit(4,2)", "1": "mxint8"')
>>> trials[1] == search.Trial.from_json(trials[1].to_json())
True
"""

from .methods import Sensitivities, exhaustive, greedy, sensitivity, uniform
from .pictures import plot
from .samplers import Objective, optuna_objective
from .trials import Trial, pareto

__all__ = [
    "Objective",
    "Sensitivities",
    "Trial",
    "exhaustive",
    "greedy",
    "optuna_objective",
    "pareto",
    "plot",
    "sensitivity",
    "uniform",
]
