"""A linear layer and its gradients: products of pairs of three matrices, each under a contract of its own.

::

    output  y[M, N]  = x W + bias    sums over K
    input   dX[M, K] = dY W^T        sums over N
    weight  dW[K, N] = X^T dY        sums over M
    bias    db[N]    = 1^T dY        sums over M

Derivatives of these are these again (`GRADIENTS`), so that derivatives of any order follow the same contracts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .contracts import find
from .operands import widened
from .replays import dispatch_input_gradient, dispatch_weight_gradient
from .results import finished

EXACT = "exact/v1"


class Triad(NamedTuple):
    """Full names of the contracts."""

    output: str
    input: str
    weight: str
    bias: str

    @property
    def gradients(self) -> str:
        """The contracts of the gradients as text."""
        return f"input {self.input}, weight {self.weight}, bias {self.bias}"


#: kind of a product -> its operands as matrices to multiply
FORMS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "output": lambda x, w: (x, w),
    "input": lambda dy, w: (dy, w.mT),
    "weight": lambda x, dy: (x.mT, dy),
    "bias": lambda ones, dy: (ones.mT, dy),
    "repeat": lambda ones, db: (ones, db),  # of one term each
}


class Derivative(NamedTuple):
    """A product that is the gradient of an operand of another."""

    kind: str
    first: str  #: left, right: operands of the other; upstream: the gradient of its result
    second: str


#: kind of a product -> the gradients of its operands; ones have none
GRADIENTS: dict[str, tuple[Derivative | None, Derivative]] = {
    "output": (Derivative("input", "upstream", "right"), Derivative("weight", "left", "upstream")),
    "input": (Derivative("output", "upstream", "right"), Derivative("weight", "upstream", "left")),
    "weight": (Derivative("input", "right", "upstream"), Derivative("output", "left", "upstream")),
    "bias": (None, Derivative("repeat", "left", "upstream")),
    "repeat": (None, Derivative("bias", "left", "upstream")),
}


#: contract and kind of a product -> what runs it, where that is not one `gemm`
REPLAYS: dict[tuple[str, str], Callable[[Tensor, Tensor, torch.dtype], Tensor]] = {
    ("sgbi.dispatch/0.1.1", "input"): lambda dy, w, dtype: dispatch_input_gradient(dy, w),
    ("sgbi.dispatch/0.1.1", "weight"): lambda x, dy, dtype: finished(dispatch_weight_gradient(x, dy), dtype),
}


def triad_reference(
    left: Tensor, right: Tensor, bias: Tensor | None, kind: str, contracts: list[str], dtype: torch.dtype
) -> Tensor:
    """A product of its kind, of operands in its form, batches of one shape, plus a bias."""
    name = {"repeat": EXACT, **Triad(*contracts)._asdict()}[kind]
    if (name, kind) in REPLAYS:
        return REPLAYS[name, kind](left.detach().resolve_neg(), right.detach().resolve_neg(), dtype)
    a, b = FORMS[kind](left, right)
    row = find("nn.linear", name)
    if bias is not None and bias.dtype not in row.biases:
        bias = widened(bias)
    result: Tensor = torch.ops.refnum.gemm(a, b, bias, name, dtype)
    return result
