"""Keys of layers: by name, by a pattern for names, by type, or for all others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import nn

from ..errors import FormatError
from .operands import PLANNABLE

Key = str | type[nn.Module]

#: modules of torch with products that no plan reaches
UNPLANNABLE = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear)
WITH_PRODUCTS: tuple[type[nn.Module], ...] = (*PLANNABLE, *UNPLANNABLE)


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Modules with products, by name; what lies in an attention is part of it."""
    found: dict[str, nn.Module] = {}
    inside: set[nn.Module] = set()
    for name, module in model.named_modules():
        if module not in inside and isinstance(module, WITH_PRODUCTS):
            found[name] = module
            inside.update(module.modules())
    return found


def check_keys(function: str, keys: Iterable[Key], layers: Mapping[str, nn.Module]) -> None:
    """Each key can be read, and matches a layer."""
    for key in keys:
        _check_pattern(function, key)
        if not any(_matches(key, name, layer) for name, layer in layers.items()):
            got = ", ".join(f"{name!r} ({type(layer).__name__})" for name, layer in layers.items()) or "none"
            raise FormatError(
                f"{function} got the key {key!r}, which matches no layer. Layers with products are: {got}. "
                "Choose a name, 're:' and a pattern for whole names, a type, or '_default'."
            )


def key_of(name: str, layer: nn.Module, keys: Iterable[Key]) -> Key | None:
    """The key that holds for a layer: its name, else the first pattern that matches, its closest type, _default."""
    keys = list(keys)
    patterns = [key for key in keys if isinstance(key, str) and key.startswith("re:") and _matches(key, name, layer)]
    order: list[Key] = [name, *patterns, *type(layer).__mro__, "_default"]
    return next((key for key in order if key in keys), None)


def _check_pattern(function: str, key: Key) -> None:
    if isinstance(key, str) and key.startswith("re:"):
        try:
            re.compile(key[3:])
        except re.error as error:
            raise FormatError(
                f"{function} cannot read the regular expression {key!r}: {error}. Correct it; it must match a "
                "layer's whole name."
            ) from None


def _matches(key: Key, name: str, layer: nn.Module) -> bool:
    if isinstance(key, type):
        return isinstance(layer, key)
    if isinstance(key, str) and key.startswith("re:"):
        return re.fullmatch(key[3:], name) is not None
    return key in (name, "_default")
