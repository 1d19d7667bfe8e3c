"""The demo's real input: handwritten digits, and a small network that is trained on them in float32."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .extras import require

SEED = 2022
TESTED = 500  #: images that the network never sees in training
SIZES = (64, 32, 10)  #: pixels, hidden units, classes
EPOCHS, BATCH, RATE, MOMENTUM = 30, 64, 0.1, 0.9


class Digits(NamedTuple):
    """8x8 images, a row each, and what they show. A pixel is k/16 with k from 0 to 16: exact in every format here."""

    images: Tensor
    labels: Tensor


class Layer(NamedTuple):
    """Maps ``x`` to ``x @ weight + bias``."""

    weight: Tensor
    bias: Tensor


class Product(NamedTuple):
    """One matrix product of a network: ``result = a @ b + c``, in whatever arithmetic."""

    a: Tensor
    b: Tensor
    c: Tensor
    result: Tensor


Arithmetic = Callable[[Tensor, Tensor, Tensor], Tensor]  #: (a, b, c) -> a @ b + c


def load() -> tuple[Digits, Digits]:
    """scikit-learn's 1,797 digits, always split alike: to train on, and to test with."""
    images, labels = require("refnum demo", "sklearn.datasets", extra="demo").load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    digits = Digits(torch.from_numpy(images).to(torch.float32) / 16, torch.from_numpy(labels).to(torch.int64))
    train, test = order[TESTED:], order[:TESTED]
    return Digits(digits.images[train], digits.labels[train]), Digits(digits.images[test], digits.labels[test])


def train(digits: Digits, *, tick: Callable[[], None] = lambda: None) -> list[Layer]:
    """A network trained in float32 by gradient descent; ``tick`` is called once for each of `EPOCHS`."""
    generator = torch.Generator().manual_seed(SEED)
    layers = [_fresh(inputs, outputs, generator) for inputs, outputs in pairwise(SIZES)]
    parameters = [tensor for layer in layers for tensor in layer]
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    for _ in range(EPOCHS):
        tick()
        order = torch.randperm(len(digits.labels), generator=generator)
        for batch in (order[i : i + BATCH] for i in range(0, len(order), BATCH)):
            logits = products(layers, digits.images[batch], lambda a, b, c: a @ b + c)[-1].result
            slopes = torch.autograd.grad(functional.cross_entropy(logits, digits.labels[batch]), parameters)
            for parameter, velocity, slope in zip(parameters, velocities, slopes, strict=True):
                velocity.mul_(MOMENTUM).add_(slope)
                parameter.detach().sub_(RATE * velocity)
    return [Layer(*(tensor.detach() for tensor in layer)) for layer in layers]


def _fresh(inputs: int, outputs: int, generator: torch.Generator) -> Layer:
    weight = torch.randn(inputs, outputs, generator=generator, dtype=torch.float32) * (2 / inputs) ** 0.5
    return Layer(weight.requires_grad_(), torch.zeros(outputs, dtype=torch.float32, requires_grad=True))


def products(layers: list[Layer], images: Tensor, arithmetic: Arithmetic) -> list[Product]:
    """The matrix products of the network, first layer to last.

    Between them lies max(x, 0), which is exact in every format. The last result is the logits.
    """
    done: list[Product] = []
    for weight, bias in layers:
        done.append(Product(images, weight, bias, arithmetic(images, weight, bias)))
        images = done[-1].result.relu()
    return done
