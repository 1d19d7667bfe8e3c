"""Operands of layers, rounded: which tensors they are, and along which of their axes blocks lie."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvTransposeNd

from ..formats import Block, Scalar
from ..values import quantize


class Inputs(NamedTuple):
    """The arguments of forward that are operands."""

    names: tuple[str, ...]  #: those that go first, first
    behind: int = 0  #: axes behind that along which blocks lie


#: modules that can have a plan
PLANNABLE: dict[type[nn.Module], Inputs] = {
    nn.Linear: Inputs(("input",)),
    nn.Conv1d: Inputs(("input",), 1),
    nn.Conv2d: Inputs(("input",), 2),
    nn.Conv3d: Inputs(("input",), 3),
    nn.ConvTranspose1d: Inputs(("input",), 1),
    nn.ConvTranspose2d: Inputs(("input",), 2),
    nn.ConvTranspose3d: Inputs(("input",), 3),
    nn.MultiheadAttention: Inputs(("query", "key", "value")),
}


def inputs_of(layer: nn.Module) -> Inputs:
    """The operands of a layer that can have a plan."""
    return next(inputs for kind, inputs in PLANNABLE.items() if isinstance(layer, kind))


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """The weights of the module itself, by name; a bias is none."""
    return {name: x for name, x in module._parameters.items() if x is not None and name.endswith("weight")}


def round_input(x: Tensor, fmt: Scalar | Block, behind: int) -> Tensor:
    """The input rounded; blocks lie along its channels, and the last of them is filled up with zeros."""
    if not isinstance(fmt, Block):
        return quantize(x, fmt)
    return _round_rows(x.movedim(-1 - behind, -1), fmt).movedim(-1, -1 - behind).contiguous()


def round_weight(module: nn.Module, weight: Tensor, fmt: Scalar | Block) -> Tensor:
    """The weight rounded; blocks lie along the terms of one output, and the last of each is filled up with zeros."""
    if not isinstance(fmt, Block):
        return quantize(weight, fmt)
    rows = output_rows(module, weight)
    rounded = _round_rows(rows.flatten(1), fmt).reshape(rows.shape)
    if isinstance(module, _ConvTransposeNd):
        return _grouped(rounded, module.groups).transpose(1, 2).reshape(weight.shape)
    return rounded


def output_rows(module: nn.Module, weight: Tensor) -> Tensor:
    """The weight as [outputs, ...]: the other axes are those of the terms of one output."""
    if isinstance(module, _ConvTransposeNd):  # [inputs, outputs of a group, ...]
        return _grouped(weight, module.groups).transpose(1, 2).flatten(0, 1)
    return weight


def _grouped(x: Tensor, groups: int) -> Tensor:
    """The first axis as two: groups, and what is in them."""
    return x.reshape(groups, x.shape[0] // groups, *x.shape[1:])


def _round_rows(x: Tensor, fmt: Block) -> Tensor:
    """Rounded in blocks along the last axis, or in tiles of the last two."""
    rows, columns = fmt.tile
    ends = x.shape[-1:] if rows == 1 else x.shape[-2:]
    fill = [end for size, n in zip((columns, rows), reversed(ends), strict=False) for end in (0, -n % size)]
    whole: tuple[Any, ...] = (..., *map(slice, ends))
    return quantize(functional.pad(x, fill), fmt)[
        whole
    ].contiguous()  # torch's products add in an order that goes by the layout, too
