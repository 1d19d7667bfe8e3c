"""How the products of a model are run: in posits, or under contracts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS
from ..errors import ContractError, FormatError
from ..formats import Posit, holds
from ..ops import posit_mm
from ..sums.contracts import find
from ..sums.triads import FORMS, GRADIENTS, Derivative
from .triad import Gradients, Name, bias_dtypes, triad_of

CASTS = {torch.float16: "half", torch.bfloat16: "bfloat16", torch.float32: "float", torch.float64: "double"}
RESULTS_IN_FORMAT = ("quire", "posit")  #: modes whose results are posits, so that the dtype must hold them
SUMS_TAKE_C = ("quire", "posit")  #: modes in which the addend is rounded to the format and enters the sum


class Arithmetic(ABC):
    """One product of matrices at a time, and who runs those of its gradients."""

    function: ClassVar[str]  #: the public function whose context it is
    column: ClassVar[str]  #: what a report calls the calls that it has computed
    scales: bool = False  #: whether an addend or a product may be scaled
    differentiates: bool  #: whether gradients are run as `gradient` says, and not by the derivative of `multiply`

    @abstractmethod
    def multiply(self, a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float) -> Tensor:
        """``alpha * a @ b + beta * c`` of operands whose batches are one."""

    @abstractmethod
    def gradient(self, place: int) -> tuple[Arithmetic, Derivative]:
        """What runs the gradient of the left (0) or the right (1) operand, and of which operands it is the product."""

    @abstractmethod
    def of_addend(self) -> Arithmetic | None:
        """What adds up the gradient of the addend, as a product with ones; None: torch."""

    @abstractmethod
    def check_held(self, function: str, what: str, dtype: torch.dtype) -> None:
        """Tensors of this dtype can be operands and results."""


@dataclass(frozen=True, slots=True)
class PositArithmetic(Arithmetic):
    """Products by `posit_mm`."""

    function = "nn.intercept"
    column = "in format"

    fmt: Posit  #: the format
    mode: str = "quire"  #: as in posit_mm
    backward: str = "float32"  #: products of the gradients: float32 (the model's own dtype) or format

    def __str__(self) -> str:
        return f"{self.fmt}, mode {self.mode}, backward {self.backward}"

    @property
    def scales(self) -> bool:  # type: ignore[override]
        """Mode cuposit does."""
        return self.mode == "cuposit"

    @property
    def differentiates(self) -> bool:  # type: ignore[override]
        """Whether gradients are in the format, too."""
        return self.backward == "format"

    def multiply(self, a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float) -> Tensor:
        """One `posit_mm`."""
        knobs: dict[str, Any] = {} if not self.scales else {"alpha": alpha, "beta": beta if c is not None else 0}
        return posit_mm(a, b, self.fmt, mode=self.mode, c=c, **knobs)

    def gradient(self, place: int) -> tuple[Arithmetic, Derivative]:
        """The same arithmetic."""
        derivative = GRADIENTS["output"][place]
        assert derivative is not None
        return self, derivative

    def of_addend(self) -> Arithmetic | None:
        """The same, where the addend is in the format."""
        return self if self.mode in SUMS_TAKE_C else None

    def check_held(self, function: str, what: str, dtype: torch.dtype) -> None:
        """Results fit the dtype: there is no second rounding, and a model keeps its dtype."""
        if self.mode not in RESULTS_IN_FORMAT:
            if dtype != torch.float32:
                raise FormatError(
                    f"{function} cannot run {what} in mode {self.mode} on {dtype} tensors: its sums are float32. "
                    "Use model.float() and inputs of that dtype."
                )
            return
        if holds(FLOAT_ROWS[dtype], self.fmt):
            return
        casts = " or ".join(f"model.{cast}()" for wide, cast in CASTS.items() if holds(FLOAT_ROWS[wide], self.fmt))
        raise FormatError(
            f"{function} cannot run {what} in {self.fmt} on {dtype} tensors, which do not hold all its values "
            f"({self.fmt.significand_bits} significant bits, scales up to 2**{self.fmt.max_scale}). "
            + (f"Use {casts} and inputs of that dtype." if casts else "No dtype does. Choose a narrower format.")
        )


@dataclass(frozen=True, slots=True)
class ContractArithmetic(Arithmetic):
    """Products under the contracts of a triad: left operands count as inputs, right ones as weights."""

    function = "nn.deterministic"
    column = "by contract"
    differentiates = True

    contract: Name
    grad_contract: Gradients | None = None
    kind: str = "output"  #: of the triad's products

    def __str__(self) -> str:
        triad = triad_of(self.function, self.contract, self.grad_contract, torch.float32)
        return f"{triad.output}, gradients: {triad.gradients}"

    def multiply(self, a: Tensor, b: Tensor, c: Tensor | None, alpha: float, beta: float) -> Tensor:
        """One product of the triad."""
        names = list(triad_of(self.function, self.contract, self.grad_contract, a.dtype))
        left, right = FORMS[self.kind](a, b)  # each its own inverse
        result: Tensor = torch.ops.refnum.triad(left, right, c, self.kind, names, a.dtype)
        return result

    def gradient(self, place: int) -> tuple[Arithmetic, Derivative]:
        """As the triad's table says."""
        derivative = GRADIENTS[self.kind][place]
        assert derivative is not None
        return replace(self, kind=derivative.kind), derivative

    def of_addend(self) -> Arithmetic:
        """The gradient of a bias."""
        return replace(self, kind="bias")

    def check_held(self, function: str, what: str, dtype: torch.dtype) -> None:
        """All contracts take the dtype, return it, and take an addend of it."""
        triad = triad_of(self.function, self.contract, self.grad_contract, dtype)
        for name in dict.fromkeys(triad):
            row = find(function, name)
            if dtype not in row.operands or dtype not in row.results or not bias_dtypes(row, dtype):
                casts = [f"model.{cast}()" for kind, cast in CASTS.items() if kind in row.operands]
                raise ContractError(  # a TypeError would not get out of ``a @ b``
                    f"{function} cannot run {what} under {name} on {dtype} tensors. Allowed are models of dtypes that "
                    f"it takes and returns. Use {' or '.join(casts)} and inputs of that dtype, or another contract."
                )
