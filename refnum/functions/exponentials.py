"""Exponentials and logarithms of codes or values, correctly rounded in any scalar format."""

from __future__ import annotations

from torch import Tensor

from ..formats import Format
from .operands import evaluated


def exp(x: Tensor, fmt: Format) -> Tensor:
    """e**x.

    >>> exp(torch.tensor([1.0, 89.0, -90.0]), refnum.bfloat16)  # subnormal results are kept
    tensor([2.7188e+00,        inf, 8.2652e-40])

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
    Special: NaN gives NaN, -Inf gives +0, Inf gives Inf; overflow follows ``fmt.overflow``, underflow is gradual.
        Posits: as `posit.exp`.
    Standard: IEEE 754-2019 section 9.2, exp; Posit Standard (2022) 5.5, exp.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("exp", fmt, x=x)


def expm1(x: Tensor, fmt: Format) -> Tensor:
    """e**x - 1.

    >>> expm1(torch.tensor([1.0, 1e-3, -100.0]), refnum.bfloat16)
    tensor([ 1.7188e+00,  9.9945e-04, -1.0000e+00])

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
    Special: NaN gives NaN, -0 gives -0, -Inf gives -1, Inf gives Inf; overflow follows ``fmt.overflow``. Posits: as
        `posit.exp_minus1`.
    Standard: IEEE 754-2019 section 9.2, expm1; Posit Standard (2022) 5.5, expMinus1.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("expm1", fmt, x=x)


def exp2(x: Tensor, fmt: Format) -> Tensor:
    """2**x.

    >>> exp2(torch.tensor([0.5, 128.0, -130.0]), refnum.bfloat16)
    tensor([1.4141e+00,        inf, 7.3468e-40])

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
    Special: NaN gives NaN, -Inf gives +0, Inf gives Inf; overflow follows ``fmt.overflow``, underflow is gradual.
        Posits: as `posit.exp2`.
    Standard: IEEE 754-2019 section 9.2, exp2; Posit Standard (2022) 5.5, exp2.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("exp2", fmt, x=x)


def exp2m1(x: Tensor, fmt: Format) -> Tensor:
    """2**x - 1.

    >>> exp2m1(torch.tensor([0.5, 1e-3, -130.0]), refnum.bfloat16)
    tensor([ 4.1406e-01,  6.9427e-04, -1.0000e+00])

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
    Special: NaN gives NaN, -0 gives -0, -Inf gives -1, Inf gives Inf; overflow follows ``fmt.overflow``. Posits: as
        `posit.exp2_minus1`.
    Standard: IEEE 754-2019 section 9.2, exp2m1; Posit Standard (2022) 5.5, exp2Minus1.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("exp2m1", fmt, x=x)


def exp10(x: Tensor, fmt: Format) -> Tensor:
    """10**x.

    >>> exp10(torch.tensor([0.5, 39.0, -39.0]), refnum.bfloat16)
    tensor([3.1562e+00,        inf, 1.0102e-39])

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
    Special: NaN gives NaN, -Inf gives +0, Inf gives Inf; overflow follows ``fmt.overflow``, underflow is gradual.
        Posits: as `posit.exp10`.
    Standard: IEEE 754-2019 section 9.2, exp10; Posit Standard (2022) 5.5, exp10.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("exp10", fmt, x=x)


def exp10m1(x: Tensor, fmt: Format) -> Tensor:
    """10**x - 1.

    >>> exp10m1(torch.tensor([0.5, 1e-3, -39.0]), refnum.bfloat16)
    tensor([ 2.1562,  0.0023, -1.0000])

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
    Special: NaN gives NaN, -0 gives -0, -Inf gives -1, Inf gives Inf; overflow follows ``fmt.overflow``. Posits: as
        `posit.exp10_minus1`.
    Standard: IEEE 754-2019 section 9.2, exp10m1; Posit Standard (2022) 5.5, exp10Minus1.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("exp10m1", fmt, x=x)


def log(x: Tensor, fmt: Format) -> Tensor:
    """The natural logarithm of x.

    >>> log(torch.tensor([2.0, 0.0, -1.0]), refnum.bfloat16)
    tensor([0.6914,   -inf,    nan])

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
    Special: NaN and negative values give NaN; 0 of either sign gives -Inf, 1 gives +0, Inf gives Inf. Posits: as
        `posit.log`.
    Standard: IEEE 754-2019 section 9.2, log; Posit Standard (2022) 5.5, log.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("log", fmt, x=x)


def log1p(x: Tensor, fmt: Format) -> Tensor:
    """The natural logarithm of 1 + x, which is formed exactly.

    >>> log1p(torch.tensor([2.0, 1e-30, -1.0]), refnum.bfloat16)
    tensor([1.1016e+00, 9.9840e-31,       -inf])

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
    Special: NaN and values below -1 give NaN; -1 gives -Inf, -0 gives -0, Inf gives Inf. Posits: as `posit.log_plus1`.
    Standard: IEEE 754-2019 section 9.2, logp1; Posit Standard (2022) 5.5, logPlus1.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("log1p", fmt, x=x)


def log2(x: Tensor, fmt: Format) -> Tensor:
    """The logarithm of x to the base 2.

    >>> log2(torch.tensor([3.0, 2.0**-130, 0.0]), refnum.bfloat16)
    tensor([   1.5859, -130.0000,      -inf])

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
    Special: NaN and negative values give NaN; 0 of either sign gives -Inf, 1 gives +0, Inf gives Inf. Posits: as
        `posit.log2`.
    Standard: IEEE 754-2019 section 9.2, log2; Posit Standard (2022) 5.5, log2.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("log2", fmt, x=x)


def log2p1(x: Tensor, fmt: Format) -> Tensor:
    """The logarithm of 1 + x, which is formed exactly, to the base 2.

    >>> log2p1(torch.tensor([3.0, 1e-30, -1.0]), refnum.bfloat16)
    tensor([2.0000e+00, 1.4421e-30,       -inf])

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
    Special: NaN and values below -1 give NaN; -1 gives -Inf, -0 gives -0, Inf gives Inf. Posits: as `posit.log2_plus1`.
    Standard: IEEE 754-2019 section 9.2, log2p1; Posit Standard (2022) 5.5, log2Plus1.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("log2p1", fmt, x=x)


def log10(x: Tensor, fmt: Format) -> Tensor:
    """The logarithm of x to the base 10.

    >>> log10(torch.tensor([2.0, 1e3, 0.0]), refnum.bfloat16)
    tensor([0.3008, 3.0000,   -inf])

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
    Special: NaN and negative values give NaN; 0 of either sign gives -Inf, 1 gives +0, Inf gives Inf. Posits: as
        `posit.log10`.
    Standard: IEEE 754-2019 section 9.2, log10; Posit Standard (2022) 5.5, log10.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("log10", fmt, x=x)


def log10p1(x: Tensor, fmt: Format) -> Tensor:
    """The logarithm of 1 + x, which is formed exactly, to the base 10.

    >>> log10p1(torch.tensor([2.0, 999.0, -1.0]), refnum.bfloat16)
    tensor([0.4766, 3.0000,   -inf])

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
    Special: NaN and values below -1 give NaN; -1 gives -Inf, -0 gives -0, Inf gives Inf. Posits: as
        `posit.log10_plus1`.
    Standard: IEEE 754-2019 section 9.2, log10p1; Posit Standard (2022) 5.5, log10Plus1.
    Cost: O(numel) time, result + 4 MB; above 32 bits some 100 microseconds an element.
    """
    return evaluated("log10p1", fmt, x=x)
