"""Which format for which layer: searches on a small network, and how near they come to the true front.

A convolutional network is trained on handwritten digits in float32. Then each of its five layers may have weights in
MXInt of 2, 3, 4, 5, 6 or 8 bits, blocks of 32 along each output: 6**5 assignments. ``greedy`` goes by what each layer
does alone, Optuna's samplers ask 150 times, and with ``--exhaustive`` all are tried, so that there is a truth to
compare with. Accuracies are those on validation images; differences below a hundredth are noise, so the last column
shows what the cheapest formats that lose half a percent there are worth on images that nothing was chosen by.

    python examples/format_search.py --exhaustive --picture search.png
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from refnum.formats import mxint
from refnum.lab import search
from refnum.lab.search import Trial
from refnum.nn import convert

SEED, EPOCHS, BATCH, ASKED = 0, 25, 64, 150
FORMATS = [mxint(width) for width in (2, 3, 4, 5, 6, 8)]
LOSSES = (0.0, 0.005, 0.01, 0.02)  #: of accuracy


class Digits(NamedTuple):
    """8x8 images in one channel, and what they show."""

    images: Tensor
    labels: Tensor


class Parts(NamedTuple):
    """scikit-learn's 1,797 digits: to train on, to choose by, and to report with."""

    train: Digits
    validation: Digits
    test: Digits


def load() -> Parts:
    """Parts in which all digits are equally frequent, always the same."""
    images, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(range(len(labels)), test_size=0.3, stratify=labels, random_state=SEED)
    train, validation = train_test_split(rest, test_size=0.25, stratify=labels[rest], random_state=SEED)
    pixels = torch.from_numpy(images).float().reshape(-1, 1, 8, 8) / 16
    return Parts(*(Digits(pixels[rows], torch.from_numpy(labels[rows])) for rows in (train, validation, test)))


def network(digits: Digits, epochs: int = EPOCHS) -> nn.Module:
    """Two convolutions and three linear layers, trained in float32."""
    torch.manual_seed(SEED)
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(epochs):
        for chosen in torch.randperm(len(digits.labels)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(model(digits.images[chosen]), digits.labels[chosen]).backward()
            optimizer.step()
    return model.eval()


@torch.no_grad()
def measured(model: nn.Module, digits: Digits) -> tuple[float, float]:
    """Accuracy and loss."""
    logits = model(digits.images)
    accuracy = (logits.argmax(1) == digits.labels).double().mean()
    return float(accuracy), float(functional.cross_entropy(logits, digits.labels))


def sampled(model: nn.Module, digits: Digits) -> dict[str, list[Trial]]:
    """What Optuna's samplers find, each by itself."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    samplers = {
        "random": optuna.samplers.RandomSampler(seed=SEED),
        "TPE": optuna.samplers.TPESampler(seed=SEED),
        "NSGA-II": optuna.samplers.NSGAIISampler(seed=SEED, population_size=25),
    }
    found = {}
    for name, sampler in samplers.items():
        objective = search.optuna_objective(model, FORMATS, lambda m: measured(m, digits), nominal=True)
        optuna.create_study(sampler=sampler, directions=objective.directions).optimize(objective, n_trials=ASKED)
        found[name] = objective.trials
    return found


def searched(model: nn.Module, digits: Digits, *, exhaustive: bool) -> tuple[Trial, dict[str, list[Trial]]]:
    """The model as it is, and the trials of each method."""

    def evaluate(model: nn.Module) -> tuple[float, float]:
        return measured(model, digits)

    sensitivities = search.sensitivity(model, FORMATS, evaluate, nominal=True)
    trials = {"uniform": search.uniform(model, FORMATS, evaluate, nominal=True)}
    if find_spec("optuna"):
        trials |= sampled(model, digits)
    trials["greedy"] = list(search.greedy(sensitivities))
    if exhaustive:
        trials["exhaustive"] = search.exhaustive(model, FORMATS, evaluate, nominal=True, progress=True)
    return sensitivities.base, trials


def cheapest(trials: Sequence[Trial], least: float) -> Trial | None:
    """The trial with the fewest bits among those that are accurate enough."""
    return next((trial for trial in search.pareto(trials) if trial.score >= least), None)


def main() -> None:
    """Print the fewest bits at which each method keeps an accuracy."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--exhaustive", action="store_true", help="try all 7,776 assignments, too")
    parser.add_argument("--picture", metavar="PATH", help="draw score against bits; needs matplotlib")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    parts = load()
    model = network(parts.train)
    base, found = searched(model, parts.validation, exhaustive=arguments.exhaustive)
    test = measured(model, parts.test)[0]
    print(
        f"float32: {base.score:.4f} on {len(parts.validation.labels)} images to choose by, {test:.4f} on the others\n"
    )
    print("| fewest bits per weight at accuracy | fp32 | -0.5 % | -1 % | -2 % | others at -0.5 % |")
    print("|---|---|---|---|---|---|")
    for name, trials in found.items():
        best = [cheapest(trials, base.score - loss) for loss in LOSSES]
        cells = ["none" if trial is None else f"{trial.bits:.3f}" for trial in best]
        chosen = best[1]
        unseen = f"{measured(convert(model, chosen.plans), parts.test)[0]:.4f}" if chosen else "none"
        print(f"| {name}, {len(trials)} trials | {' | '.join(cells)} | {unseen} |")
    everything = [trial for trials in found.values() for trial in trials]
    front = search.pareto(found.get("exhaustive", everything))
    print(f"\nfront of {len(front)}:", ", ".join(f"({trial.bits:.3f}, {trial.score:.4f})" for trial in front))
    if arguments.picture:
        search.plot(everything, arguments.picture, reference=base.score, title="Digits: accuracy against bits")


if __name__ == "__main__":
    main()
