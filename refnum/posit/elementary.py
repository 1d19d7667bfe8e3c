"""Exponentials, logarithms, 1 / sqrt: section 5.5. Each result is rounded once; sqrt stands with the arithmetic."""

from __future__ import annotations

from torch import Tensor

from ..formats import Posit
from ._functions import evaluated


def r_sqrt(a: Tensor, fmt: Posit) -> Tensor:
    """1 / sqrt(a).

    >>> r_sqrt(torch.tensor([0x50, 0]), Posit(8))  # of 4, 0
    tensor([  56, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: 0, negative values and NaR give NaR.
    Standard: Posit Standard (2022) 5.5, rSqrt.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("r_sqrt", "rsqrt", fmt, a=a)


def exp(a: Tensor, fmt: Posit) -> Tensor:
    """e**a.

    >>> exp(torch.tensor([0x40, 0x7F, -0x7F]), Posit(8))  # of 1, maxpos, -maxpos
    tensor([ 75, 127,   1], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far below 0 the result is minpos, far above maxpos.
    Standard: Posit Standard (2022) 5.5, exp.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("exp", "exp", fmt, a=a)


def exp_minus1(a: Tensor, fmt: Posit) -> Tensor:
    """e**a - 1.

    >>> exp_minus1(torch.tensor([0x01, 0x40, -0x7F]), Posit(8))  # of minpos, 1, -maxpos
    tensor([  1,  70, -64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far below 0 the result is -1, far above maxpos.
    Standard: Posit Standard (2022) 5.5, expMinus1.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("exp_minus1", "expm1", fmt, a=a)


def exp2(a: Tensor, fmt: Posit) -> Tensor:
    """2**a.

    >>> exp2(torch.tensor([0x4C, 0x38, -0x7F]), Posit(8))  # of 3, 1/2, -maxpos
    tensor([88, 67,  1], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far below 0 the result is minpos, far above maxpos.
    Standard: Posit Standard (2022) 5.5, exp2.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("exp2", "exp2", fmt, a=a)


def exp2_minus1(a: Tensor, fmt: Posit) -> Tensor:
    """2**a - 1.

    >>> exp2_minus1(torch.tensor([0x4C, 0x38, -0x7F]), Posit(8))  # of 3, 1/2, -maxpos
    tensor([ 86,  53, -64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far below 0 the result is -1, far above maxpos.
    Standard: Posit Standard (2022) 5.5, exp2Minus1.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("exp2_minus1", "exp2m1", fmt, a=a)


def exp10(a: Tensor, fmt: Posit) -> Tensor:
    """10**a.

    >>> exp10(torch.tensor([0x40, 0x38, -0x7F]), Posit(8))  # of 1, 1/2, -maxpos
    tensor([90, 77,  1], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far below 0 the result is minpos, far above maxpos.
    Standard: Posit Standard (2022) 5.5, exp10.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("exp10", "exp10", fmt, a=a)


def exp10_minus1(a: Tensor, fmt: Posit) -> Tensor:
    """10**a - 1.

    >>> exp10_minus1(torch.tensor([0x01, 0x40, -0x7F]), Posit(8))  # of minpos, 1, -maxpos
    tensor([  1,  89, -64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: NaR gives NaR; far below 0 the result is -1, far above maxpos.
    Standard: Posit Standard (2022) 5.5, exp10Minus1.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("exp10_minus1", "exp10m1", fmt, a=a)


def log(a: Tensor, fmt: Posit) -> Tensor:
    """The natural logarithm of a.

    >>> log(torch.tensor([0x48, 0x7F, 0]), Posit(8))  # of 2, maxpos, 0
    tensor([  59,   96, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: 0, negative values and NaR give NaR; 1 gives 0.
    Standard: Posit Standard (2022) 5.5, log.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("log", "log", fmt, a=a)


def log_plus1(a: Tensor, fmt: Posit) -> Tensor:
    """The natural logarithm of 1 + a, which is formed exactly.

    >>> log_plus1(torch.tensor([0x01, 0x7F, -0x40]), Posit(8))  # of minpos, maxpos, -1
    tensor([   1,   96, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: -1, values below it and NaR give NaR.
    Standard: Posit Standard (2022) 5.5, logPlus1.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("log_plus1", "log1p", fmt, a=a)


def log2(a: Tensor, fmt: Posit) -> Tensor:
    """The logarithm of a to the base 2.

    >>> log2(torch.tensor([0x7F, 0x01, 0x4C]), Posit(8))  # of 2**24, 2**-24, 3
    tensor([ 98, -98,  69], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: 0, negative values and NaR give NaR; powers of 2 give integers.
    Standard: Posit Standard (2022) 5.5, log2.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("log2", "log2", fmt, a=a)


def log2_plus1(a: Tensor, fmt: Posit) -> Tensor:
    """The logarithm of 1 + a, which is formed exactly, to the base 2.

    >>> log2_plus1(torch.tensor([0x4C, 0x7F, -0x40]), Posit(8))  # of 3, maxpos, -1
    tensor([  72,   98, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: -1, values below it and NaR give NaR.
    Standard: Posit Standard (2022) 5.5, log2Plus1.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("log2_plus1", "log2p1", fmt, a=a)


def log10(a: Tensor, fmt: Posit) -> Tensor:
    """The logarithm of a to the base 10.

    >>> log10(torch.tensor([0x48, 0x7F, 0]), Posit(8))  # of 2, maxpos, 0
    tensor([  50,   86, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: 0, negative values and NaR give NaR; 1 gives 0.
    Standard: Posit Standard (2022) 5.5, log10.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("log10", "log10", fmt, a=a)


def log10_plus1(a: Tensor, fmt: Posit) -> Tensor:
    """The logarithm of 1 + a, which is formed exactly, to the base 10.

    >>> log10_plus1(torch.tensor([0x48, 0x7F, -0x40]), Posit(8))  # of 2, maxpos, -1
    tensor([  55,   86, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern; what is not 0 never becomes 0, and nothing becomes NaR.
    Special: -1, values below it and NaR give NaR.
    Standard: Posit Standard (2022) 5.5, log10Plus1.
    Cost: O(numel) time, result + 4 MB; for n > 32 some 100 microseconds an element.
    """
    return evaluated("log10_plus1", "log10p1", fmt, a=a)
