"""Faults of a result whose bits are right, but lie elsewhere or are read otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ..boundary import SIGNED
from ..mx.layouts import LAYOUTS, shuffle, unshuffle
from .hypotheses import Case, Damage, Hypothesis

Move = Callable[[Tensor], Tensor]


def as_read(x: Tensor, like: Tensor) -> Tensor | None:
    """The bytes of x in the dtype and the shape of another tensor, None where they are not as many."""
    if x.numel() * x.itemsize != like.numel() * like.itemsize:
        return None
    return _bytes(x).view(like.dtype).view(like.shape)


def swap_nibbles(x: Tensor) -> Tensor | None:
    """Each byte with its halves exchanged, None where elements are no bytes."""
    if x.itemsize != 1:
        return None
    bits = x.view(torch.uint8)
    return (bits << 4 | bits >> 4).view(x.dtype)


def swap_bytes(x: Tensor) -> Tensor | None:
    """Each element with its bytes in the other order, None where it is one byte."""
    if x.itemsize == 1:
        return None
    return _bytes(x).view(-1, x.itemsize).flip(-1).reshape(-1).view(x.dtype).view(x.shape)


def _bytes(x: Tensor) -> Tensor:
    return x.contiguous().view(-1).view(torch.uint8)


def _transposed(x: Tensor) -> Tensor | None:
    return x.mT if x.dim() > 1 else None


def _rolled(x: Tensor, axis: int, by: int) -> Tensor | None:
    return x.roll(by, axis) if x.dim() >= -axis else None


def _reversed(x: Tensor, axis: int) -> Tensor | None:
    return x.flip(axis) if x.dim() >= -axis else None


def shuffled(x: Tensor, layout: str) -> Tensor | None:
    """Bytes of a matrix in a layout, None where elements are no bytes."""
    return shuffle(x, layout) if x.itemsize == 1 and x.dim() > 1 else None


def unshuffled(x: Tensor, layout: str) -> Tensor | None:
    """Bytes of a matrix, taken for those of one in a layout, and put back; None where they are not as many."""
    there = shuffled(x, layout)
    taken = None if there is None else as_read(x, there)
    return None if taken is None else unshuffle(taken, layout, x.shape)


#: what moves, by what a kernel did instead
MOVES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "read in another shape or dtype": lambda x: x,
    "nibbles swapped": swap_nibbles,
    "bytes in the other order": swap_bytes,
    "transposed": _transposed,
    "rows shifted by 1": partial(_rolled, axis=-2, by=1),
    "rows shifted by -1": partial(_rolled, axis=-2, by=-1),
    "columns shifted by 1": partial(_rolled, axis=-1, by=1),
    "columns shifted by -1": partial(_rolled, axis=-1, by=-1),
    "rows reversed": partial(_reversed, axis=-2),
    "columns reversed": partial(_reversed, axis=-1),
    **{f"shuffled to {name}": partial(shuffled, layout=name) for name in LAYOUTS},
    **{f"unshuffled from {name}": partial(unshuffled, layout=name) for name in LAYOUTS},
}


def _moving(move: Callable[[Tensor], Tensor | None]) -> Damage:
    def damage(x: Tensor, like: Tensor, case: Case | None) -> Tensor | None:
        moved = move(x.view(SIGNED[x.itemsize * 8]))
        return None if moved is None else as_read(moved, like)

    return damage


def faults() -> Iterator[Hypothesis]:
    """All moves, of each part of a result."""
    for part in ("result", "elements", "scales"):
        for name, move in MOVES.items():
            knob = f"nibbles of {part}" if move is swap_nibbles else f"places of {part}"
            yield Hypothesis(f"{part} {name}", knob, part=part, damage=_moving(move))
