"""Trigonometric and hyperbolic functions, and their inverses: section 5.5. Each result is rounded once."""

from __future__ import annotations

from torch import Tensor

from ..formats import Posit
from ._functions import evaluated


def sin(a: Tensor, fmt: Posit) -> Tensor:
    """The sine of a.

    >>> sin(torch.tensor([0x40, 0x01, 0x7F]), Posit(8))  # of 1, minpos, 2**24
    tensor([ 61,   1, -60], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; multiples of pi are taken from a of any size exactly.
    Standard: Posit Standard (2022) 5.5, sin.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("sin", "sin", fmt, a=a)


def sin_pi(a: Tensor, fmt: Posit) -> Tensor:
    """The sine of pi * a.

    >>> sin_pi(torch.tensor([0x30, 0x38, 0x40]), Posit(8))  # of 1/4, 1/2, 1
    tensor([59, 64,  0], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; integers give 0.
    Standard: Posit Standard (2022) 5.5, sinPi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("sin_pi", "sinpi", fmt, a=a)


def cos(a: Tensor, fmt: Posit) -> Tensor:
    """The cosine of a.

    >>> cos(torch.tensor([0x40, 0x01, 0x7F]), Posit(8))  # of 1, minpos, 2**24
    tensor([57, 64, 58], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; multiples of pi are taken from a of any size exactly.
    Standard: Posit Standard (2022) 5.5, cos.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("cos", "cos", fmt, a=a)


def cos_pi(a: Tensor, fmt: Posit) -> Tensor:
    """The cosine of pi * a.

    >>> cos_pi(torch.tensor([0x30, 0x38, 0x40]), Posit(8))  # of 1/4, 1/2, 1
    tensor([ 59,   0, -64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; halves of odd integers give 0.
    Standard: Posit Standard (2022) 5.5, cosPi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("cos_pi", "cospi", fmt, a=a)


def tan(a: Tensor, fmt: Posit) -> Tensor:
    """The tangent of a.

    >>> tan(torch.tensor([0x40, 0x44, 0x7F]), Posit(8))  # of 1, 3/2, 2**24
    tensor([ 68,  94, -66], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; no posit is a pole; multiples of pi are taken from a of any size exactly.
    Standard: Posit Standard (2022) 5.5, tan.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("tan", "tan", fmt, a=a)


def tan_pi(a: Tensor, fmt: Posit) -> Tensor:
    """The tangent of pi * a.

    >>> tan_pi(torch.tensor([0x30, 0x38, 0x40]), Posit(8))  # of 1/4, 1/2, 1
    tensor([  64, -128,    0], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: halves of odd integers and NaR give NaR; integers give 0.
    Standard: Posit Standard (2022) 5.5, tanPi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("tan_pi", "tanpi", fmt, a=a)


def arc_sin(a: Tensor, fmt: Posit) -> Tensor:
    """The angle, from -pi / 2 to pi / 2, whose sine is a.

    >>> arc_sin(torch.tensor([0x40, 0x01, 0x48]), Posit(8))  # of 1, minpos, 2
    tensor([  69,    1, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: magnitudes above 1 and NaR give NaR.
    Standard: Posit Standard (2022) 5.5, arcSin.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_sin", "asin", fmt, a=a)


def arc_sin_pi(a: Tensor, fmt: Posit) -> Tensor:
    """The angle whose sine is a, divided by pi: from -1/2 to 1/2.

    >>> arc_sin_pi(torch.tensor([0x40, 0x01, 0x48]), Posit(8))  # of 1, minpos, 2
    tensor([  56,    1, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: magnitudes above 1 and NaR give NaR.
    Standard: Posit Standard (2022) 5.5, arcSinPi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_sin_pi", "asinpi", fmt, a=a)


def arc_cos(a: Tensor, fmt: Posit) -> Tensor:
    """The angle, from 0 to pi, whose cosine is a.

    >>> arc_cos(torch.tensor([0x40, 0, -0x40]), Posit(8))  # of 1, 0, -1
    tensor([ 0, 69, 77], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: magnitudes above 1 and NaR give NaR; 1 gives 0.
    Standard: Posit Standard (2022) 5.5, arcCos.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_cos", "acos", fmt, a=a)


def arc_cos_pi(a: Tensor, fmt: Posit) -> Tensor:
    """The angle whose cosine is a, divided by pi: from 0 to 1.

    >>> arc_cos_pi(torch.tensor([0x40, 0, -0x40]), Posit(8))  # of 1, 0, -1
    tensor([ 0, 56, 64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: magnitudes above 1 and NaR give NaR; 1 gives 0.
    Standard: Posit Standard (2022) 5.5, arcCosPi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_cos_pi", "acospi", fmt, a=a)


def arc_tan(a: Tensor, fmt: Posit) -> Tensor:
    """The angle, from -pi / 2 to pi / 2, whose tangent is a.

    >>> arc_tan(torch.tensor([0x40, 0x7F, 0x01]), Posit(8))  # of 1, maxpos, minpos
    tensor([61, 69,  1], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR.
    Standard: Posit Standard (2022) 5.5, arcTan.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_tan", "atan", fmt, a=a)


def arc_tan_pi(a: Tensor, fmt: Posit) -> Tensor:
    """The angle whose tangent is a, divided by pi: from -1/2 to 1/2.

    >>> arc_tan_pi(torch.tensor([0x40, 0x7F, 0x01]), Posit(8))  # of 1, maxpos, minpos
    tensor([48, 56,  1], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR.
    Standard: Posit Standard (2022) 5.5, arcTanPi.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_tan_pi", "atanpi", fmt, a=a)


def sin_h(a: Tensor, fmt: Posit) -> Tensor:
    """The hyperbolic sine of a.

    >>> sin_h(torch.tensor([0x40, 0x01, -0x7F]), Posit(8))  # of 1, minpos, -maxpos
    tensor([  65,    1, -127], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far from 0 the result is maxpos or -maxpos.
    Standard: Posit Standard (2022) 5.5, sinH.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("sin_h", "sinh", fmt, a=a)


def cos_h(a: Tensor, fmt: Posit) -> Tensor:
    """The hyperbolic cosine of a.

    >>> cos_h(torch.tensor([0x40, 0, -0x7F]), Posit(8))  # of 1, 0, -maxpos
    tensor([ 68,  64, 127], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far from 0 the result is maxpos.
    Standard: Posit Standard (2022) 5.5, cosH.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("cos_h", "cosh", fmt, a=a)


def tan_h(a: Tensor, fmt: Posit) -> Tensor:
    """The hyperbolic tangent of a.

    >>> tan_h(torch.tensor([0x40, 0x01, -0x7F]), Posit(8))  # of 1, minpos, -maxpos
    tensor([ 60,   1, -64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far from 0 the result is 1 or -1.
    Standard: Posit Standard (2022) 5.5, tanH.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("tan_h", "tanh", fmt, a=a)


def arc_sin_h(a: Tensor, fmt: Posit) -> Tensor:
    """The inverse of the hyperbolic sine.

    >>> arc_sin_h(torch.tensor([0x40, 0x7F, 0x01]), Posit(8))  # of 1, maxpos, minpos
    tensor([62, 96,  1], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR.
    Standard: Posit Standard (2022) 5.5, arcSinH.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_sin_h", "asinh", fmt, a=a)


def arc_cos_h(a: Tensor, fmt: Posit) -> Tensor:
    """The inverse of the hyperbolic cosine, from 0 on.

    >>> arc_cos_h(torch.tensor([0x40, 0x48, 0x38]), Posit(8))  # of 1, 2, 1/2
    tensor([   0,   67, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: values below 1 and NaR give NaR; 1 gives 0.
    Standard: Posit Standard (2022) 5.5, arcCosH.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_cos_h", "acosh", fmt, a=a)


def arc_tan_h(a: Tensor, fmt: Posit) -> Tensor:
    """The inverse of the hyperbolic tangent.

    >>> arc_tan_h(torch.tensor([0x38, 0x01, 0x40]), Posit(8))  # of 1/2, minpos, 1
    tensor([  57,    1, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: magnitudes of 1 and more, and NaR, give NaR.
    Standard: Posit Standard (2022) 5.5, arcTanH.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("arc_tan_h", "atanh", fmt, a=a)
