"""Arithmetic: sections 5.4 and 5.7, the square root of 5.5, and a fused multiply-add. Each result is rounded once."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..core import exact
from ..core.decode import Exact
from ..core.exact import limbs_for
from ..formats import Posit
from ..functions.algebraic import ALGEBRAIC
from ._functions import evaluated
from ._patterns import on_values, rounded_once


def add(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a + b.

    >>> add(torch.tensor([0x40]), torch.tensor([0x48]), Posit(8))  # 1 + 2
    tensor([76], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: NaR gives NaR.
    Standard: Posit Standard (2022) 5.4, addition.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_values("add", _add, fmt, a=a, b=b)


def _add(a: Exact, b: Exact, fmt: Posit) -> Exact:
    bits = fmt.significand_bits
    return exact.add(a, b, limbs_for(bits, bits))


def sub(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a - b.

    >>> sub(torch.tensor([0x4C]), torch.tensor([0x48]), Posit(8))  # 3 - 2
    tensor([64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: NaR gives NaR.
    Standard: Posit Standard (2022) 5.4, subtraction.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_values("sub", _sub, fmt, a=a, b=b)


def _sub(a: Exact, b: Exact, fmt: Posit) -> Exact:
    return _add(a, exact.negate(b), fmt)


def mul(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a * b.

    >>> mul(torch.tensor([0x4C]), torch.tensor([0x48]), Posit(8))  # 3 * 2
    tensor([84], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: NaR gives NaR, also times 0.
    Standard: Posit Standard (2022) 5.4, multiplication.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_values("mul", _mul, fmt, a=a, b=b)


def _mul(a: Exact, b: Exact, fmt: Posit) -> Exact:
    return exact.multiply(a, b, fmt.significand_bits, fmt.significand_bits)


def div(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a / b.

    >>> div(torch.tensor([0x48, 0x48]), torch.tensor([0x4C, 0]), Posit(8))  # 2 / 3, 2 / 0
    tensor([  59, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: x / 0, 0 / 0 and NaR give NaR.
    Standard: Posit Standard (2022) 5.4, division.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_values("div", _div, fmt, a=a, b=b)


def _div(a: Exact, b: Exact, fmt: Posit) -> Exact:
    return exact.divide(a, b, fmt.significand_bits)


def sqrt(a: Tensor, fmt: Posit) -> Tensor:
    """The square root of a.

    >>> sqrt(torch.tensor([0x48, -1]), Posit(8))  # of 2, and of a negative value
    tensor([  67, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: negative values and NaR give NaR; 0 gives 0.
    Standard: Posit Standard (2022) 5.5, sqrt.
    Cost: O(numel) time, result + 4 MB.
    """
    return evaluated("sqrt", "sqrt", fmt, a=a)


def fmm(a: Tensor, b: Tensor, c: Tensor, fmt: Posit) -> Tensor:
    """a * b * c, in any order, rounded once.

    >>> fmm(torch.tensor([0x7F]), torch.tensor([0x7F]), torch.tensor([0x01]), Posit(8))  # maxpos * maxpos * minpos
    tensor([127], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: NaR gives NaR, also times 0.
    Standard: Posit Standard (2022) 5.7, fMM.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_values("fmm", _fmm, fmt, a=a, b=b, c=c)


def _fmm(a: Exact, b: Exact, c: Exact, fmt: Posit) -> Exact:
    bits = fmt.significand_bits
    return exact.multiply(exact.multiply(a, b, bits, bits), c, 2 * bits, bits)


def fma(a: Tensor, b: Tensor, c: Tensor, fmt: Posit) -> Tensor:
    """a * b + c, rounded once: what a quire gives for one product and one sum.

    >>> fma(torch.tensor([0x4C]), torch.tensor([0x48]), torch.tensor([0x40]), Posit(8))  # 3 * 2 + 1
    tensor([86], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: NaR gives NaR, also times 0.
    Standard: not a function of the standard; equal to qToP(qMulAdd(pToQ(c), a, b)).
    Cost: O(numel) time, result + 4 MB.
    """
    return on_values("fma", _fma, fmt, a=a, b=b, c=c)


def _fma(a: Exact, b: Exact, c: Exact, fmt: Posit) -> Exact:
    bits = fmt.significand_bits
    return exact.add(exact.multiply(a, b, bits, bits), c, limbs_for(2 * bits, bits))


# ---- the reference, for patterns of one shape that were checked ----------------------------------


def _sqrt(a: Exact, fmt: Posit) -> Exact:
    return ALGEBRAIC["sqrt"](a, fmt.significand_bits)


#: functions by name, and what of exact values is rounded
EXACT: dict[str, Callable[..., Exact]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "sqrt": _sqrt,
    "fma": _fma,
    "fmm": _fmm,
}


def by_definition(name: str, fmt: Posit, *operands: Tensor) -> Tensor:
    """A function's patterns, on any device and never by a kernel."""
    return rounded_once(EXACT[name], fmt, *operands)
