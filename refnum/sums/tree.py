"""Sums of products of floats in chunks that a tree joins: contract ``tree/v1(Kc=256)``.

A leaf is a chain over the terms of one chunk. The tree depends on the count of chunks alone: whoever holds an aligned
run of 2**n chunks has one of its subtrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import prod

import torch
from torch import Tensor

from .chain import Arithmetic, add, ordered_mm

Add = Callable[[Tensor, Tensor], Tensor]


def tree_mm(
    a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, *, chunk: int = 256, arithmetic: str | None = None
) -> Tensor:
    """``a @ b + bias`` of float32 operands with at least two axes: a tree of chains from +0, then the bias, rounded.

    Chains go over ``chunk`` terms each, the last one over the rest. The bias is one more sum, the last. For
    ``arithmetic`` see `chain.chain_mm`.
    """
    return ordered_mm(a, b, bias, dtype, partial(with_bias(_tree), chunk=chunk), arithmetic=arithmetic)


def _tree(a: Tensor, b: Tensor, arithmetic: Arithmetic, *, chunk: int) -> Tensor:
    return join(leaves(a, b, chunk, arithmetic), add=arithmetic.add)


def join(nodes: Iterable[Tensor], *, add: Add = add) -> Tensor:
    """The sum of float32 tensors of one shape, at least one: neighbours are added, level by level.

    >>> join([torch.tensor(x) for x in (1e8, 1.0, -1e8)])
    tensor(0.)
    >>> join([torch.tensor(x) for x in (1e8, -1e8, 1.0)])
    tensor(1.)

    A last one without a neighbour moves up as it is. Of n tensors no more than log2(n) + 1 are held at a time.
    """
    # A counter in base 2: two nodes of one height make one of the next, as soon as the second is there.
    held: list[tuple[int, Tensor]] = []
    for node in nodes:
        height = 0
        while held and held[-1][0] == height:
            node, height = add(held.pop()[1], node), height + 1
        held.append((height, node))
    # What is left descends in height: the last moves up until it is the neighbour of the one before it.
    _, total = held.pop()
    while held:
        total = add(held.pop()[1], total)
    return total


def with_bias(sums: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The order that adds the bias to these sums at the end; without one nothing is added, and -0 stays it."""

    def order(a: Tensor, b: Tensor, bias: Tensor | None, arithmetic: Arithmetic, **parameters: int) -> Tensor:
        total = sums(a, b, arithmetic, **parameters)
        return total if bias is None else arithmetic.add(total, bias)

    return order


def leaves(a: Tensor, b: Tensor, chunk: int, arithmetic: Arithmetic) -> Iterator[Tensor]:
    """Chains from +0 over so many terms each, the last one over the rest, in the order of k; one of nothing for K = 0.

    As many as fit in a tile are made side by side.
    """
    terms = a.shape[-1]
    whole = terms - terms % chunk
    results = prod(a.shape[:-1]) * b.shape[-1]
    side_by_side = chunk * max(1, arithmetic.tile // results)
    for start in range(0, whole, side_by_side):
        part = slice(start, min(start + side_by_side, whole))
        x = a[..., part].unfold(-1, chunk, chunk).movedim(-2, 0)
        y = b[..., part, :].unfold(-2, chunk, chunk).mT.movedim(-3, 0)
        yield from arithmetic.chain(x, y).unbind(0)
    if whole < terms or not terms:
        yield arithmetic.chain(a[..., whole:], b[..., whole:, :])
