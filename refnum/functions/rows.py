"""The table of functions: what each takes, and how its float64 results are to be read where they are 0 or infinite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Infinite = Literal["never", "pole", "overflow"]
Zero = Literal["seen", "never"]
Mask = Callable[..., Tensor]


def _at_zero(x: Tensor, *others: Tensor) -> Tensor:
    return x == 0


def _no_power(x: Tensor, y: Tensor) -> Tensor:
    # IEEE 754 has NaN**0 = 1 and 1**NaN = 1.
    return ((x == 0) & ~(y > 0)) | x.isnan() | y.isnan()


@dataclass(frozen=True, slots=True)
class Function:
    """A function of real numbers. Its masks take the operands as float64, and an integer as int64."""

    name: str  #: as in C23, where C23 has it
    values: int = 1  #: how many numbers it takes
    integer: bool = False  #: whether an integer follows them
    infinite: Infinite = "never"  #: what an infinite float64 result of numbers says
    zero: Mask | Zero = (
        "seen"  #: where results are 0: as float64 sees it, unless it underflows; never if all are positive
    )
    undefined: Mask | None = None  #: where IEEE 754 has a value and the Posit Standard has none, besides poles
    invalid: Mask | None = None  #: where it is the other way round


FUNCTIONS = {
    row.name: row
    for row in (
        # exponentials
        Function("exp", infinite="overflow", zero="never"),
        Function("expm1", infinite="overflow"),
        Function("exp2", infinite="overflow", zero="never"),
        Function("exp2m1", infinite="overflow"),
        Function("exp10", infinite="overflow", zero="never"),
        Function("exp10m1", infinite="overflow"),
        # logarithms
        Function("log", infinite="pole"),
        Function("log1p", infinite="pole"),
        Function("log2", infinite="pole"),
        Function("log2p1", infinite="pole"),
        Function("log10", infinite="pole"),
        Function("log10p1", infinite="pole"),
        # trigonometric
        Function("sin"),
        Function("sinpi"),
        Function("cos"),
        Function("cospi"),
        Function("tan"),
        Function("tanpi", infinite="pole"),
        Function("asin"),
        Function("asinpi"),
        Function("acos"),
        Function("acospi"),
        Function("atan"),
        Function("atanpi"),
        Function("atan2", values=2, undefined=lambda y, x: (y == 0) & (x == 0)),
        Function("atan2pi", values=2, undefined=lambda y, x: (y == 0) & (x == 0)),
        # hyperbolic
        Function("sinh", infinite="overflow"),
        Function("cosh", infinite="overflow"),
        Function("tanh"),
        Function("asinh"),
        Function("acosh"),
        Function("atanh", infinite="pole"),
        # powers and roots
        Function("sqrt"),
        Function("rsqrt", infinite="pole"),
        Function("reciprocal", infinite="pole"),
        Function("hypot", values=2),
        Function("rootn", integer=True, infinite="pole"),
        Function("pow", values=2, infinite="overflow", zero=_at_zero, undefined=_no_power),
        Function(
            "compoundn",
            integer=True,
            infinite="overflow",
            zero=lambda x, k: x == -1,
            undefined=lambda x, k: ((x == -1) & (k < 0)) | x.isnan(),
            invalid=lambda x, k: x < -1,
        ),
        # activations
        Function("sigmoid", zero="never"),
        Function("silu", zero=_at_zero),
        Function("gelu", zero=_at_zero),
        Function("gelu_tanh", zero=_at_zero),
        Function("softmax_exp", values=2, infinite="overflow", zero="never"),
    )
}
