"""From checked patterns to correctly rounded functions of them: what sections 5.5, 5.6 and 5.8 share."""

from __future__ import annotations

from torch import Tensor

from .. import backend
from ..formats import Posit
from ..functions.evaluation import evaluate
from ._patterns import checked as checked


def evaluated(name: str, function: str, fmt: Posit, **patterns: Tensor) -> Tensor:
    """Check and broadcast the patterns, then evaluate the function, by its name in C, of their values.

    Kernels may serve it.
    """
    operands = checked(name, fmt, **patterns)
    if served := backend.kernel(f"posit_{name}", operands[0]):
        result: Tensor = served(*operands, fmt)
        return result
    return evaluate(function, operands, (fmt,) * len(operands), fmt)
