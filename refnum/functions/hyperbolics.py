"""Hyperbolic functions of codes or values and their inverses, correctly rounded in any scalar format."""

from __future__ import annotations

from torch import Tensor

from ..formats import Format
from .operands import evaluated


def sinh(x: Tensor, fmt: Format) -> Tensor:
    """The hyperbolic sine of x.

    >>> sinh(torch.tensor([1.0, 1e-30, 100.0]), refnum.bfloat16)
    tensor([1.1719e+00, 9.9840e-31,        inf])

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
    Special: NaN gives NaN; -0 gives -0, Inf gives Inf of its sign; overflow follows ``fmt.overflow``. Posits: as
        `posit.sin_h`.
    Standard: IEEE 754-2019 section 9.2, sinh; Posit Standard (2022) 5.5, sinH.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("sinh", fmt, x=x)


def cosh(x: Tensor, fmt: Format) -> Tensor:
    """The hyperbolic cosine of x.

    >>> cosh(torch.tensor([1.0, 0.0, -100.0]), refnum.bfloat16)
    tensor([1.5469, 1.0000,    inf])

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
    Special: NaN gives NaN; Inf of either sign gives Inf; overflow follows ``fmt.overflow``. Posits: as `posit.cos_h`.
    Standard: IEEE 754-2019 section 9.2, cosh; Posit Standard (2022) 5.5, cosH.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("cosh", fmt, x=x)


def tanh(x: Tensor, fmt: Format) -> Tensor:
    """The hyperbolic tangent of x.

    >>> tanh(torch.tensor([1.0, 1e-30, -torch.inf]), refnum.bfloat16)
    tensor([ 7.6172e-01,  9.9840e-31, -1.0000e+00])

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
    Special: NaN gives NaN; -0 gives -0, Inf gives 1 of its sign. Posits: as `posit.tan_h`.
    Standard: IEEE 754-2019 section 9.2, tanh; Posit Standard (2022) 5.5, tanH.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("tanh", fmt, x=x)


def asinh(x: Tensor, fmt: Format) -> Tensor:
    """The inverse of the hyperbolic sine.

    >>> asinh(torch.tensor([1.0, 1e-30, -torch.inf]), refnum.bfloat16)
    tensor([8.8281e-01, 9.9840e-31,       -inf])

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
    Special: NaN gives NaN; -0 gives -0, Inf gives Inf of its sign. Posits: as `posit.arc_sin_h`.
    Standard: IEEE 754-2019 section 9.2, asinh; Posit Standard (2022) 5.5, arcSinH.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("asinh", fmt, x=x)


def acosh(x: Tensor, fmt: Format) -> Tensor:
    """The inverse of the hyperbolic cosine, from 0 on.

    >>> acosh(torch.tensor([2.0, 1.0, 0.5]), refnum.bfloat16)
    tensor([1.3203, 0.0000,    nan])

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
    Special: NaN and values below 1 give NaN; 1 gives +0, Inf gives Inf. Posits: as `posit.arc_cos_h`.
    Standard: IEEE 754-2019 section 9.2, acosh; Posit Standard (2022) 5.5, arcCosH.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("acosh", fmt, x=x)


def atanh(x: Tensor, fmt: Format) -> Tensor:
    """The inverse of the hyperbolic tangent.

    >>> atanh(torch.tensor([0.5, 1e-30, -1.0]), refnum.bfloat16)
    tensor([5.5078e-01, 9.9840e-31,       -inf])

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
    Special: NaN and magnitudes above 1 give NaN; 1 gives Inf of its sign, -0 gives -0. Posits: as `posit.arc_tan_h`.
    Standard: IEEE 754-2019 section 9.2, atanh; Posit Standard (2022) 5.5, arcTanH.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("atanh", fmt, x=x)
