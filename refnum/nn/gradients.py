"""Exact gradients of parameters: where a backward pass puts terms that are not to be rounded yet.

`sink_of` is asked in a forward pass, and what it returns is used in the backward pass, which autograd may run in
another thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..sums.digits import exact_partial
from ..sums.partial import ExactPartial


class Accumulator:
    """The exact sum of the terms of one parameter's gradient."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter
        shape = (*parameter.shape, 1) if parameter.dim() == 1 else parameter.shape
        self.sum = ExactPartial.zeros(shape, device=parameter.device)

    def add_products(self, dy: Tensor, x: Tensor) -> None:
        """Add ``dy.mT @ x`` of [M, out] and [M, in]: terms of a weight's gradient [out, in]."""
        self.sum = self.sum + exact_partial(dy.mT, x)

    def add_rows(self, dy: Tensor) -> None:
        """Add the rows of [M, out]: terms of a bias's gradient [out]."""
        self.add_products(dy, torch.ones((len(dy), 1), dtype=torch.float32, device=dy.device))

    def gradient(self, total: ExactPartial) -> Tensor:
        """A sum of this shape, rounded once to the parameter's dtype."""
        return total.round(self.parameter.dtype).view(self.parameter.shape)


class _Active(threading.local):
    """The accumulators of the contexts that this thread is in, by the identity of their parameters."""

    def __init__(self) -> None:
        self.sinks: dict[int, Accumulator] = {}


_ACTIVE = _Active()


def sink_of(parameter: Tensor) -> Accumulator | None:
    """Where this thread collects the gradient of a leaf, if it does."""
    return _ACTIVE.sinks.get(id(parameter))


@contextmanager
def collecting(parameters: Iterable[Tensor]) -> Iterator[dict[int, Accumulator]]:
    """Collect the gradients of these leaves in this thread; yields the accumulators by `id`."""
    before, sinks = _ACTIVE.sinks, {id(parameter): Accumulator(parameter) for parameter in parameters}
    _ACTIVE.sinks = before | sinks
    try:
        yield sinks
    finally:
        _ACTIVE.sinks = before
