"""Functions of two arguments: section 5.6, and 5.8, a posit and an integer. Each result is rounded once."""

from __future__ import annotations

from torch import Tensor

from ..boundary import broadcast
from ..formats import Posit
from ..functions.evaluation import evaluate
from ..functions.operands import integers
from ._functions import checked, evaluated


def hypot(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """sqrt(a**2 + b**2), without a rounding in between.

    >>> hypot(torch.tensor([0x4C, 0x7F]), torch.tensor([0x50, 0x7F]), Posit(8))  # of 3 and 4, of maxpos twice
    tensor([ 82, 127], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; saturates at maxpos.
    Standard: Posit Standard (2022) 5.6, hypot.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("hypot", "hypot", fmt, a=a, b=b)


def pow(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a**b.

    >>> pow(torch.tensor([0x48, -0x48, 0]), torch.tensor([0x38, 0x4C, 0]), Posit(8))  # 2**0.5, (-2)**3, 0**0
    tensor([  67,  -88, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR, and so do 0 to the power 0 or below and a negative value to a power that is no integer; 0 to
        a power above 0 gives 0, any other value to the power 0 gives 1; saturates at minpos and maxpos.
    Standard: Posit Standard (2022) 5.6, pow.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("pow", "pow", fmt, a=a, b=b)


def arc_tan2(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """The angle, above -pi and up to pi, of the complex number a + ib: the real part comes first.

    >>> arc_tan2(torch.tensor([0x40, -0x40, 0]), torch.tensor([0x40, 0, 0]), Posit(8))  # of 1 + i, -1, 0
    tensor([  61,   77, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR and the angle of 0 give NaR; negative real numbers give pi.
    Standard: Posit Standard (2022) 5.6, arcTan2.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    real, imaginary = checked("arc_tan2", fmt, a=a, b=b)
    return evaluate("atan2", (imaginary, real), (fmt, fmt), fmt)  # C has the imaginary part first


def arc_tan2_pi(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """The angle of the complex number a + ib, divided by pi: the real part comes first.

    >>> arc_tan2_pi(torch.tensor([0x40, -0x40, 0]), torch.tensor([0x40, 0, 0]), Posit(8))  # of 1 + i, -1, 0
    tensor([  48,   64, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR and the angle of 0 give NaR; negative real numbers give 1.
    Standard: Posit Standard (2022) 5.6, arcTan2Pi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    real, imaginary = checked("arc_tan2_pi", fmt, a=a, b=b)
    return evaluate("atan2pi", (imaginary, real), (fmt, fmt), fmt)  # C has the imaginary part first


def compound(a: Tensor, k: Tensor | int, fmt: Posit) -> Tensor:
    """(1 + a)**k: what 1 grows to at the interest rate a in k years.

    >>> compound(torch.tensor([0x38, 0x38, -0x40]), torch.tensor([2, -1, 0]), Posit(8))  # 1.5**2, 1 / 1.5, 0**0
    tensor([73, 59, 64], dtype=torch.int8)

    Parameters
    ----------
    k : Tensor or int
        An integer; or integers of any dtype, taken by value.

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When a is no dense tensor of integers that hold the format, k is neither an int nor a tensor of integers, or
        they live on several devices.
    ContractError
        When k is an int that 64 bits do not hold.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; k = 0 gives 1, also for a = -1, which gives 0 for k > 0 and NaR for k < 0; saturates at
        minpos and maxpos.
    Standard: Posit Standard (2022) 5.8, compound.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return _with_integer("compound", "compoundn", fmt, a, k)


def root_n(a: Tensor, k: Tensor | int, fmt: Posit) -> Tensor:
    """The k-th root of a: a**(1 / k).

    >>> root_n(torch.tensor([-0x58, 0x50, -0x50]), torch.tensor([3, -2, 2]), Posit(8))  # of -8, 4, -4
    tensor([ -72,   56, -128], dtype=torch.int8)

    Parameters
    ----------
    k : Tensor or int
        An integer; or integers of any dtype, taken by value.

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When a is no dense tensor of integers that hold the format, k is neither an int nor a tensor of integers, or
        they live on several devices.
    ContractError
        When k is an int that 64 bits do not hold.
    ShapeError
        When the shapes do not broadcast.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR and k = 0 give NaR; 0 gives 0 for k > 0 and NaR for k < 0; negative values give NaR for even k.
    Standard: Posit Standard (2022) 5.8, rootN.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return _with_integer("root_n", "rootn", fmt, a, k)


def _with_integer(name: str, function: str, fmt: Posit, a: Tensor, k: Tensor | int) -> Tensor:
    """Check the patterns and the integers, then evaluate the function, by its name in C."""
    (x,) = checked(name, fmt, a=a)
    name = f"posit.{name}"
    x, whole = broadcast(name, a=x, k=integers(name, "k", k, x.device))
    return evaluate(function, (x,), (fmt,), fmt, whole)
