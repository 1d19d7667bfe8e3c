"""Exact gradients of parameters, over many backward passes and ranks: `accumulate`.

A layer asks `sink_of` in its forward pass where terms of a gradient go, and puts them there in the backward pass, which
autograd may run in another thread.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..boundary import check_tensor
from ..errors import BackendError, ContractError
from ..sums import ranks
from ..sums.digits import exact_partial
from ..sums.partial import ExactPartial

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

EXACT = "exact/v1"  #: the contract of gradients that can be collected


class Accumulator:
    """The exact sum of the terms of one parameter's gradient."""

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter
        shape = (*parameter.shape, 1) if parameter.dim() == 1 else parameter.shape
        self.sum = ExactPartial.zeros(shape, device=parameter.device)
        self.adding = threading.Lock()  # backward passes may run in several threads at once
        self.ended = False

    def add_products(self, dy: Tensor, x: Tensor) -> None:
        """Add ``dy.mT @ x`` of [M, out] and [M, in]: terms of a weight's gradient [out, in]."""
        if self.ended:
            raise ContractError(
                f"nn.accumulate has ended, and got more of the gradient of a parameter of shape "
                f"{tuple(self.parameter.shape)}. Allowed are backward passes inside. Call backward before its end."
            )
        terms = exact_partial(dy.mT, x)
        with self.adding:
            self.sum = self.sum + terms

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
_WRITING = threading.Lock()  #: contexts of several threads may end at once, and have the same parameters


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
        for sink in sinks.values():
            sink.ended = True


# ---- from parameters to gradients ---------------------------------------------------------------


@contextmanager
def accumulate(parameters: nn.Module | Iterable[Tensor], *, group: ProcessGroup | None = None) -> Iterator[None]:
    """Within this context, gradients of parameters are summed exactly; at its end each is rounded once into ``.grad``.

    >>> import refnum
    >>> layer = refnum.nn.Linear(3, 1)
    >>> x = torch.randn(8, 3)
    >>> with refnum.nn.accumulate(layer):
    ...     for rows in x.split(2):
    ...         layer(rows).sum().backward()
    >>> once = refnum.gemm(torch.ones(1, 8), x, contract="exact/v1")
    >>> torch.equal(layer.weight.grad, once)
    True

    How rows are cut in micro-batches, in what order these come, and how they are shared among ranks changes no bit,
    provided that the gradient of a row does not depend on the others: a loss is a sum over rows, divided, if at all, by
    the size of the whole batch.

    Parameters
    ----------
    parameters : Module or iterable of Tensor
        Parameters of `refnum.nn.Linear` layers, or of layers that `parallelize` has made, whose gradients' contracts
        are exact/v1, as they are by default; those that need no gradient are left alone. They must have no ``.grad``
        yet. Gradients of other parameters go the usual way.
    group : ProcessGroup, optional
        Ranks over which gradients are summed, too, all of which enter and leave the context; by default none: the
        sums of this process.

    Raises
    ------
    ContractError
        On entering, when a parameter has a gradient already or is no leaf; on leaving, when a parameter has got a
        gradient that did not come here, because a contract is another one or the parameter is used elsewhere;
        afterwards, in a backward pass through what was computed inside.
    ShapeError, DTypeError
        When a parameter is no tensor; on every rank, when ranks differ in their parameters.
    BackendError
        When a rank is lost, as in `refnum.sums.parallel.row_parallel_mm`. An error inside of the context on one rank
        is told to the others, which raise as well.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even, to the parameter's dtype.
    Special: as exact/v1 of all rows: NaN and Inf as flags until the end; -0 only where every term is.
    Standard: contract exact_partial/v1 is refnum's.
    Cost: for each parameter 8 bytes a digit and 4 for flags, of which 4 to 8 hold gradients around 1, as long as the
        context lasts, and three times as much for the largest parameter at a time. Nothing is written if the context
        is left by an error. The context is this thread's; backward passes may run in any.
    """
    given = list(parameters.parameters() if isinstance(parameters, nn.Module) else parameters)
    for p in given:
        check_tensor("nn.accumulate", "each parameter", p)
    own = list({id(p): p for p in given if p.requires_grad}.values())
    for p in own:
        _check_leaf(p)
    if group is not None:
        ranks.position("nn.accumulate", group)
    with collecting(own) as sinks:
        try:
            yield
        except BackendError:
            raise
        except Exception as error:
            if group is not None:
                ranks.refuse("nn.accumulate", group, error)
            raise
    gradients = _summed(list(sinks.values()), group)
    with _WRITING:
        for p in own:
            _check_complete(p)
        for p, gradient in zip(own, gradients, strict=True):
            p.grad = gradient


def _summed(sinks: list[Accumulator], group: ProcessGroup | None) -> list[Tensor | None]:
    """The gradients, rounded; None of parameters that no rank has used."""

    def prepare() -> tuple[None, ranks.Facts]:
        for sink in sinks:
            _check_complete(sink.parameter)
        described = "\n".join(f"{tuple(sink.parameter.shape)} {sink.parameter.dtype}" for sink in sinks)
        return None, {"digest of parameters": hashlib.sha256(described.encode()).hexdigest()[:16]}

    if group is None:
        totals = [sink.sum for sink in sinks]
    else:
        ranks.agree("nn.accumulate", group, prepare)
        totals = [sink.sum.all_reduce(group) for sink in sinks]
    return [None if total.empty else sink.gradient(total) for sink, total in zip(sinks, totals, strict=True)]


def _check_leaf(p: Tensor) -> None:
    if not p.is_leaf or p.grad is not None:
        what = "one that has a gradient already" if p.is_leaf else "a tensor that is no leaf"
        raise ContractError(
            f"nn.accumulate sums gradients from the beginning, got {what}, of shape {tuple(p.shape)}. Allowed are "
            "leaves without one. Call zero_grad(set_to_none=True) first, and pass parameters."
        )


def _check_complete(p: Tensor) -> None:
    if p.grad is not None:
        raise ContractError(
            f"nn.accumulate has not got all of the gradient of a parameter of shape {tuple(p.shape)}: a part was "
            "rounded on the way. Allowed are parameters that refnum.nn.Linear alone uses, with gradients under "
            "exact/v1. Pass only those."
        )
