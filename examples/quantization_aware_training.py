"""Quantization-aware training on handwritten digits: what few bits cost, and what training with them wins back.

Networks are trained in float32, then given posits of 8, 6, 5 and 4 bits for the weights and inputs of every layer.
``before`` is what they recognise as they are. ``after`` is what they recognise when they were trained on in the format:
each forward pass rounds float32 masters, each gradient passes straight through the roundings to the masters. float32 is
trained on for as long, so that its row shows what more training does by itself.

Products are exact sums of the narrow operands, rounded to posit16: a logit is read and not multiplied again, and in few
bits the two largest of them would often be equal.
"""

from __future__ import annotations

from statistics import mean
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from refnum import Posit, posit16
from refnum.nn import Plan, convert

SEED, NETWORKS, TESTED = 2022, 4, 797
FORMATS = (Posit(8, 2), Posit(6, 2), Posit(5, 2), Posit(4, 2))
PLANS = {"float32": Plan()} | {f"posit({f.n},{f.es})": Plan(weight=f, input=f, product=posit16) for f in FORMATS}


class Digits(NamedTuple):
    """8x8 images, a row each, and what they show."""

    images: Tensor
    labels: Tensor


def load() -> tuple[Digits, Digits]:
    """scikit-learn's 1,797 digits: to train on, and to test with."""
    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images / 16, labels, test_size=TESTED, stratify=labels, random_state=SEED)
    seen, unseen, seen_labels, unseen_labels = (torch.from_numpy(part) for part in split)
    return Digits(seen.float(), seen_labels), Digits(unseen.float(), unseen_labels)


def network(seed: int) -> nn.Module:
    """64 pixels, 32 hidden units, 10 classes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def train(model: nn.Module, digits: Digits, *, epochs: int, rate: float, batch: int = 64) -> None:
    """Adam, its rate falling to 0. Nothing here knows of formats."""
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs)
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(epochs):
        for chosen in torch.randperm(len(digits.labels), generator=generator).split(batch):
            optimizer.zero_grad()
            functional.cross_entropy(model(digits.images[chosen]), digits.labels[chosen]).backward()
            optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model: nn.Module, digits: Digits) -> float:
    """The share that is recognised."""
    return float((model(digits.images).argmax(1) == digits.labels).double().mean())


def before_and_after(model: nn.Module, plan: Plan, seen: Digits, unseen: Digits) -> tuple[float, float]:
    """Accuracy of a trained model with the plan, and after training it on with the plan."""
    planned = convert(model, {"_default": plan})
    before = accuracy(planned, unseen)
    train(planned, seen, epochs=8, rate=0.03)  # a rate that takes weights across the steps of few bits
    return before, accuracy(planned, unseen)


def main() -> None:
    """Print accuracies before and after quantization-aware training, format by format.

    They are means over networks that start from different weights, on digits that none of them was trained on. Runs
    repeat: seeds are fixed, and one thread adds float32 in one order.
    """
    torch.set_num_threads(1)
    seen, unseen = load()
    models = [network(SEED + i) for i in range(NETWORKS)]
    for model in models:
        train(model, seen, epochs=20, rate=0.01)
    print(f"{TESTED} digits, mean of {NETWORKS} networks\n\nweights, inputs  before   after  change")
    for name, plan in PLANS.items():
        before, after = map(mean, zip(*(before_and_after(m, plan, seen, unseen) for m in models), strict=True))
        print(f"{name:<15}  {before:6.1%}  {after:6.1%}  {100 * (after - before):+6.1f}")


if __name__ == "__main__":
    main()
