"""What compiled code takes for constants: functions whose results torch.compile asks for once, when it traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def constant(function: Function) -> Function:
    """The function, marked: torch.compile shall run it when it traces, rather than trace it.

    The mark is that of torch.compiler.assume_constant_result, which would import the compiler: twice what torch takes.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function
