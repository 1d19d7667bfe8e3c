"""From checked patterns to correctly rounded functions of them: what sections 5.5, 5.6 and 5.8 share."""

from __future__ import annotations

from torch import Tensor

from ..boundary import broadcast, check_codes, check_posit
from ..formats import Posit
from ..functions.evaluation import evaluate


def checked(name: str, fmt: Posit, **patterns: Tensor) -> tuple[Tensor, ...]:
    """The patterns, once they are checked, in their common shape."""
    name = f"posit.{name}"
    check_posit(name, fmt)
    for argument, x in patterns.items():
        check_codes(name, argument, x, fmt)
    return broadcast(name, **patterns)


def evaluated(name: str, function: str, fmt: Posit, **patterns: Tensor) -> Tensor:
    """Check and broadcast the patterns, then evaluate the function, by its name in C, of their values."""
    operands = checked(name, fmt, **patterns)
    return evaluate(function, operands, (fmt,) * len(operands), fmt)
