"""Powers and roots of codes or values, correctly rounded in any scalar format."""

from __future__ import annotations

from torch import Tensor

from ..formats import Format
from .operands import evaluated, evaluated_with


def sqrt(x: Tensor, fmt: Format) -> Tensor:
    """The square root of x.

    >>> sqrt(torch.tensor([2.0, -0.0, -1.0]), refnum.bfloat16)
    tensor([1.4141, -0.0000,    nan])

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
    Special: NaN and negative values give NaN; -0 gives -0, Inf gives Inf. Posits: as `posit.sqrt`.
    Standard: IEEE 754-2019 section 5.4.1, squareRoot; Posit Standard (2022) 5.5, sqrt.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("sqrt", fmt, x=x)


def rsqrt(x: Tensor, fmt: Format) -> Tensor:
    """1 / sqrt(x).

    >>> rsqrt(torch.tensor([2.0, 0.0, -1.0]), refnum.bfloat16)
    tensor([0.7070,    inf,    nan])

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
    Special: NaN and negative values give NaN; 0 gives Inf of its sign, Inf gives +0. Posits: as `posit.r_sqrt`.
    Standard: IEEE 754-2019 section 9.2, rSqrt; Posit Standard (2022) 5.5, rSqrt.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("rsqrt", fmt, x=x)


def reciprocal(x: Tensor, fmt: Format) -> Tensor:
    """1 / x.

    >>> reciprocal(torch.tensor([3.0, -0.0, 1e39]), refnum.bfloat16)  # 1e39 is Inf in float32
    tensor([0.3340,   -inf, 0.0000])

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
    Special: NaN gives NaN; 0 and Inf give each other, of their signs; overflow follows ``fmt.overflow``, underflow is
        gradual. Posits: 0 and NaR give NaR.
    Standard: IEEE 754-2019 section 5.4.1, division; Posit Standard (2022) 5.4, division.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("reciprocal", fmt, x=x)


def hypot(x: Tensor, y: Tensor, fmt: Format) -> Tensor:
    """sqrt(x**2 + y**2), without a rounding in between.

    >>> hypot(torch.tensor([3.0, 1e30]), torch.tensor([4.0, 1e30]), refnum.bfloat16)
    tensor([5.0000e+00, 1.4162e+30])

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
    Special: Inf of either sign gives Inf, even beside NaN; else NaN gives NaN; overflow follows ``fmt.overflow``.
        Posits: as `posit.hypot`.
    Standard: IEEE 754-2019 section 9.2, hypot; Posit Standard (2022) 5.6, hypot.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("hypot", fmt, x=x, y=y)


def pow(x: Tensor, y: Tensor, fmt: Format) -> Tensor:
    """x**y.

    >>> pow(torch.tensor([2.0, -2.0, -2.0]), torch.tensor([0.5, 3.0, 0.5]), refnum.bfloat16)
    tensor([ 1.4141, -8.0000,     nan])

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
    Special: x**0 and 1**y are 1, even of NaN; else NaN gives NaN, and so does a negative number to a power that is no
        integer. A 0 to a negative power gives Inf, of its sign where the power is an odd integer; (-1)**y is 1 for
        infinite y; overflow follows ``fmt.overflow``, underflow is gradual. Posits: as `posit.pow`.
    Standard: IEEE 754-2019 section 9.2, pow; Posit Standard (2022) 5.6, pow.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("pow", fmt, x=x, y=y)


def compoundn(x: Tensor, k: Tensor | int, fmt: Format) -> Tensor:
    """(1 + x)**k: what 1 grows to at the interest rate x in k years.

    >>> compoundn(torch.tensor([0.5, -0.5, -1.0]), 10, refnum.bfloat16)
    tensor([5.7750e+01, 9.7656e-04, 0.0000e+00])

    Parameters
    ----------
    k : Tensor or int
        An integer; or integers of any dtype, taken by value.

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values, k is neither an int
        nor a tensor of integers, or they live on several devices.
    ContractError
        When k is an int that 64 bits do not hold.
    ShapeError
        When the shapes do not broadcast.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: k = 0 gives 1 for every x from -1 on and for NaN; else NaN gives NaN, and so does x below -1. -1 gives +0
        for k > 0 and Inf for k < 0; overflow follows ``fmt.overflow``, underflow is gradual. Posits: as
        `posit.compound`.
    Standard: IEEE 754-2019 section 9.2, compound; Posit Standard (2022) 5.8, compound.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated_with("compoundn", fmt, k, x=x)


def rootn(x: Tensor, k: Tensor | int, fmt: Format) -> Tensor:
    """The k-th root of x: x**(1 / k).

    >>> rootn(torch.tensor([-8.0, 2.0, -0.0]), 3, refnum.bfloat16)
    tensor([-2.0000,  1.2578, -0.0000])

    Parameters
    ----------
    k : Tensor or int
        An integer; or integers of any dtype, taken by value.

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, cannot be written (e8m0), or has values that the dtype of x does not hold.
    DTypeError
        When x is neither a dense tensor of codes of the format nor one of floating-point values, k is neither an int
        nor a tensor of integers, or they live on several devices.
    ContractError
        When k is an int that 64 bits do not hold.
    ShapeError
        When the shapes do not broadcast.
    UncoveredError
        When x requires grad: no gradient is defined.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaN and k = 0 give NaN, and so do negative values where k is even; 0 and Inf give 0 and Inf for k > 0, each
        other for k < 0, of their sign where k is odd. Posits: as `posit.root_n`.
    Standard: IEEE 754-2019 section 9.2, rootn; Posit Standard (2022) 5.8, rootN.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated_with("rootn", fmt, k, x=x)
