"""Search spaces: what each layer can have, and how many bits that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ...errors import DTypeError, FormatError
from ...formats import Block, Scalar
from ...nn import Plan
from ...nn.keys import Key, check_keys, key_of, layers_of
from ...nn.operands import output_rows
from ...nn.plans import check_layer
from .trials import Choice, plan_of

Choices = Sequence[Choice]
Formats = Choices | Mapping[Key, Choices]  #: for all layers alike, or by keys as `nn.convert` takes them
Space = dict[str, tuple[Choice, ...]]  #: layer -> what it can have


def space_of(function: str, model: nn.Module, formats: Formats) -> Space:
    """The choices of each layer that has some."""
    if not isinstance(model, nn.Module):
        raise DTypeError(f"{function} needs a torch.nn.Module, got {type(model).__name__}. Pass the model itself.")
    keyed: Mapping[Key, Choices] = formats if isinstance(formats, Mapping) else {"_default": formats}
    if not keyed:
        raise FormatError(
            f"{function} needs formats, got {formats!r}. Allowed are a list, or lists by layer. Pass at least one "
            "format."
        )
    checked = {key: _choices(function, key, choices) for key, choices in keyed.items()}
    layers = layers_of(model)
    check_keys(function, checked, layers)
    space = {name: checked[key] for name, layer in layers.items() if (key := key_of(name, layer, checked)) is not None}
    for name, choices in space.items():
        for choice in choices:
            check_layer(function, name, layers[name], plan_of(choice) or Plan())
    return space


def _choices(function: str, key: Key, choices: object) -> tuple[Choice, ...]:
    """A list of choices, each once."""
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise FormatError(
            f"{function} needs a list of formats for {key!r}, got {choices!r}. Allowed are formats, Plans and None, "
            "at least one. Pass a list such as [refnum.mxfp4, refnum.mxint8]."
        )
    for place, choice in enumerate(choices):
        if choice is not None and not isinstance(choice, Scalar | Block | Plan):
            raise FormatError(
                f"{function} has no choice {choice!r} for {key!r}. Allowed are formats, Plans and None. Pass "
                "Posit(n, es), Minifloat(...), a row of refnum.formats.named(), or Plan(weight=..., input=...)."
            )
        if choice in choices[:place]:
            raise FormatError(f"{function} got {choice} twice for {key!r}. Each counts once. Leave one out.")
    return tuple(choices)


# ---- bits ----------------------------------------------------------------------------------------


def weights_in(layer: nn.Module) -> dict[str, tuple[nn.Module, Tensor]]:
    """All weights of a layer, whether a plan reaches it or not: path -> the module that has it, and the weight."""
    return {
        f"{path}.{name}".lstrip("."): (module, weight)
        for path, module in layer.named_modules()
        for name, weight in module._parameters.items()
        if weight is not None and "weight" in f"{path}.{name}"
    }


def bits_of(layer: nn.Module, choice: Choice, *, nominal: bool) -> float:
    """Bits of a layer's weights; scales count as they are stored, or, if nominal, as if all blocks were whole."""
    plan = plan_of(choice)
    fmt = None if plan is None else plan.weight
    return sum(_bits(module, weight, fmt, nominal=nominal) for module, weight in weights_in(layer).values())


def _bits(module: nn.Module, weight: Tensor, fmt: Scalar | Block | None, *, nominal: bool) -> float:
    count = weight.numel()
    if fmt is None:
        return count * 8 * weight.element_size()
    if not isinstance(fmt, Block):
        return count * fmt.width
    if nominal:
        return count * fmt.bits
    rows, columns = fmt.tile
    down, across = output_rows(module, weight).flatten(1).shape
    return count * fmt.element.width + fmt.scale.width * (-(-down // rows) * -(-across // columns))
