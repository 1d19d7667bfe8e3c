"""Finding a target: a module with functions named like rows of the operations table."""

from __future__ import annotations

import importlib
from types import ModuleType

DEFAULT_TARGET = "refnum_conformance.target"


class TargetError(Exception):
    """A target that cannot be asked: it is missing, or does not speak as rows do."""


def load(name: str) -> ModuleType:
    """The target's module."""
    try:
        target = importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise TargetError(
            f"The target {name!r} cannot be imported: {missing}. A target is a module with functions named like rows "
            "of the operations table. Put it on the path, or correct the name."
        ) from None
    possible, reason = target.available() if hasattr(target, "available") else (True, "")
    if not possible:
        raise TargetError(f"The target {name!r} cannot run: {reason}.")
    return target
