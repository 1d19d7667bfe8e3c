"""Trigonometric functions of codes or values and their inverses, correctly rounded in any scalar format."""

from __future__ import annotations

from torch import Tensor

from ..formats import Format
from .operands import evaluated


def sin(x: Tensor, fmt: Format) -> Tensor:
    """The sine of x.

    >>> sin(torch.tensor([1.0, 2.0**100, -0.0]), refnum.bfloat16)
    tensor([ 0.8398, -0.8711, -0.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and Inf give NaN; -0 gives -0; multiples of pi are taken from x of any size exactly. Posits: as
        `posit.sin`.
    Standard: IEEE 754-2019 section 9.2, sin; Posit Standard (2022) 5.5, sin.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("sin", fmt, x=x)


def sinpi(x: Tensor, fmt: Format) -> Tensor:
    """The sine of pi * x.

    >>> sinpi(torch.tensor([0.25, 1e30, -1.0]), refnum.bfloat16)
    tensor([0.7070, 0.0000, -0.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and Inf give NaN; integers give 0 of their sign. Posits: as `posit.sin_pi`.
    Standard: IEEE 754-2019 section 9.2, sinPi; Posit Standard (2022) 5.5, sinPi.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("sinpi", fmt, x=x)


def cos(x: Tensor, fmt: Format) -> Tensor:
    """The cosine of x.

    >>> cos(torch.tensor([1.0, 2.0**100, 0.0]), refnum.bfloat16)
    tensor([0.5391, 0.4883, 1.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and Inf give NaN; multiples of pi are taken from x of any size exactly. Posits: as `posit.cos`.
    Standard: IEEE 754-2019 section 9.2, cos; Posit Standard (2022) 5.5, cos.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("cos", fmt, x=x)


def cospi(x: Tensor, fmt: Format) -> Tensor:
    """The cosine of pi * x.

    >>> cospi(torch.tensor([0.25, 0.5, 1.0]), refnum.bfloat16)
    tensor([ 0.7070,  0.0000, -1.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and Inf give NaN; halves of odd integers give +0. Posits: as `posit.cos_pi`.
    Standard: IEEE 754-2019 section 9.2, cosPi; Posit Standard (2022) 5.5, cosPi.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("cospi", fmt, x=x)


def tan(x: Tensor, fmt: Format) -> Tensor:
    """The tangent of x.

    >>> tan(torch.tensor([1.0, 2.0**100, -0.0]), refnum.bfloat16)
    tensor([ 1.5547, -1.7812, -0.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and Inf give NaN; -0 gives -0; multiples of pi are taken from x of any size exactly. Posits: as
        `posit.tan`.
    Standard: IEEE 754-2019 section 9.2, tan; Posit Standard (2022) 5.5, tan.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("tan", fmt, x=x)


def tanpi(x: Tensor, fmt: Format) -> Tensor:
    """The tangent of pi * x.

    >>> tanpi(torch.tensor([0.25, 0.5, 1.0]), refnum.bfloat16)
    tensor([1., inf, -0.])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and Inf give NaN; x = n + 1/2 gives Inf for even and -Inf for odd n; integers give 0, of their sign
        where they are even, else of the other. Posits: as `posit.tan_pi`.
    Standard: IEEE 754-2019 section 9.2, tanPi; Posit Standard (2022) 5.5, tanPi.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("tanpi", fmt, x=x)


def asin(x: Tensor, fmt: Format) -> Tensor:
    """The angle, from -pi / 2 to pi / 2, whose sine is x.

    >>> asin(torch.tensor([1.0, 1e-30, 2.0]), refnum.bfloat16)
    tensor([1.5703e+00, 9.9840e-31,        nan])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and magnitudes above 1 give NaN; -0 gives -0. Posits: as `posit.arc_sin`.
    Standard: IEEE 754-2019 section 9.2, asin; Posit Standard (2022) 5.5, arcSin.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("asin", fmt, x=x)


def asinpi(x: Tensor, fmt: Format) -> Tensor:
    """The angle whose sine is x, divided by pi: from -1/2 to 1/2.

    >>> asinpi(torch.tensor([1.0, 1e-30, 2.0]), refnum.bfloat16)
    tensor([5.0000e-01, 3.1893e-31,        nan])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and magnitudes above 1 give NaN; -0 gives -0. Posits: as `posit.arc_sin_pi`.
    Standard: IEEE 754-2019 section 9.2, asinPi; Posit Standard (2022) 5.5, arcSinPi.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("asinpi", fmt, x=x)


def acos(x: Tensor, fmt: Format) -> Tensor:
    """The angle, from 0 to pi, whose cosine is x.

    >>> acos(torch.tensor([1.0, 0.0, -1.0]), refnum.bfloat16)
    tensor([0.0000, 1.5703, 3.1406])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and magnitudes above 1 give NaN; 1 gives +0. Posits: as `posit.arc_cos`.
    Standard: IEEE 754-2019 section 9.2, acos; Posit Standard (2022) 5.5, arcCos.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("acos", fmt, x=x)


def acospi(x: Tensor, fmt: Format) -> Tensor:
    """The angle whose cosine is x, divided by pi: from 0 to 1.

    >>> acospi(torch.tensor([1.0, 0.0, -1.0]), refnum.bfloat16)
    tensor([0.0000, 0.5000, 1.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and magnitudes above 1 give NaN; 1 gives +0. Posits: as `posit.arc_cos_pi`.
    Standard: IEEE 754-2019 section 9.2, acosPi; Posit Standard (2022) 5.5, arcCosPi.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("acospi", fmt, x=x)


def atan(x: Tensor, fmt: Format) -> Tensor:
    """The angle, from -pi / 2 to pi / 2, whose tangent is x.

    >>> atan(torch.tensor([1.0, 1e-30, torch.inf]), refnum.bfloat16)
    tensor([7.8516e-01, 9.9840e-31, 1.5703e+00])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; -0 gives -0; Inf gives pi / 2 of its sign, rounded. Posits: as `posit.arc_tan`.
    Standard: IEEE 754-2019 section 9.2, atan; Posit Standard (2022) 5.5, arcTan.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("atan", fmt, x=x)


def atanpi(x: Tensor, fmt: Format) -> Tensor:
    """The angle whose tangent is x, divided by pi: from -1/2 to 1/2.

    >>> atanpi(torch.tensor([1.0, 1e-30, torch.inf]), refnum.bfloat16)
    tensor([2.5000e-01, 3.1893e-31, 5.0000e-01])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; -0 gives -0; Inf gives 1/2 of its sign. Posits: as `posit.arc_tan_pi`.
    Standard: IEEE 754-2019 section 9.2, atanPi; Posit Standard (2022) 5.5, arcTanPi.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("atanpi", fmt, x=x)


def atan2(y: Tensor, x: Tensor, fmt: Format) -> Tensor:
    """The angle, from -pi to pi, of the point (x, y): y comes first.

    >>> atan2(torch.tensor([1.0, 0.0, -0.0]), torch.tensor([1.0, -1.0, -0.0]), refnum.bfloat16)
    tensor([ 0.7852,  3.1406, -3.1406])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype does not hold.
    DTypeError
        When the operands are neither codes of the format throughout nor floating-point values of one dtype, or live on
        several devices.
    ShapeError
        When the shapes do not broadcast.
    UncoveredError
        When an operand requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; the sign is that of y, also of its zeros; signed zeros and infinities of both are points
        near 0, or far on axes and diagonals. Posits: as `posit.arc_tan2`.
    Standard: IEEE 754-2019 section 9.2, atan2; Posit Standard (2022) 5.6, arcTan2, whose real part comes first.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("atan2", fmt, y=y, x=x)


def atan2pi(y: Tensor, x: Tensor, fmt: Format) -> Tensor:
    """The angle of the point (x, y), divided by pi: y comes first.

    >>> atan2pi(torch.tensor([1.0, 0.0, -0.0]), torch.tensor([1.0, -1.0, -0.0]), refnum.bfloat16)
    tensor([ 0.2500,  1.0000, -1.0000])

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype does not hold.
    DTypeError
        When the operands are neither codes of the format throughout nor floating-point values of one dtype, or live on
        several devices.
    ShapeError
        When the shapes do not broadcast.
    UncoveredError
        When an operand requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN gives NaN; the sign is that of y, also of its zeros; signed zeros and infinities of both are points
        near 0, or far on axes and diagonals. Posits: as `posit.arc_tan2_pi`.
    Standard: IEEE 754-2019 section 9.2, atan2Pi; Posit Standard (2022) 5.6, arcTan2Pi, whose real part comes first.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("atan2pi", fmt, y=y, x=x)
