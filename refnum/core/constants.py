"""What compiled code takes for constants: functions whose results torch.compile asks for once, when it traces."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, get_args

import torch

from ..formats import Scalar

Function = TypeVar("Function", bound=Callable[..., Any])

_TAKES_RECORDS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 12)
_RECORDS: Any = get_args(Scalar)


def constant(function: Function) -> Function:
    """The function, marked: torch.compile shall run it when it traces, rather than trace it.

    The mark is that of torch.compiler.assume_constant_result, which would import the compiler: twice what torch takes.
    """
    if _TAKES_RECORDS:
        return _marked(function)

    # Before torch 2.12 such a function takes numbers and strings, but no records: they go in by their identities, which
    # torch.compile guards.
    @_marked
    def by_identity(*keys: Any) -> Any:
        return function(*map(_found, keys))

    @wraps(function)
    def called(*arguments: Any) -> Any:
        return by_identity(*((id(x), "record") if isinstance(x, _RECORDS) else x for x in arguments))

    return called  # type: ignore[return-value]


def _marked(function: Function) -> Function:
    vars(function)["_dynamo_marked_constant"] = True
    return function


def _found(key: Any) -> Any:
    """The living record of an identity, or what is its own key."""
    if isinstance(key, tuple):
        return next(x for x in gc.get_objects() if id(x) == key[0])
    return key
