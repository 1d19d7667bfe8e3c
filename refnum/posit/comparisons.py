"""Comparisons, section 5.3: those of the two's complement integers. NaR equals NaR and is less than every real."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..formats import Posit
from ._patterns import on_patterns, sign_extended


def _compare(function: str, relation: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    def kernel(x: Tensor, y: Tensor, fmt: Posit) -> Tensor:
        return relation(sign_extended(x, fmt), sign_extended(y, fmt))

    return on_patterns(function, kernel, fmt, dtype=torch.bool, a=a, b=b)


def compare_equal(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a = b, as a bool tensor.

    >>> compare_equal(torch.tensor([-128, 64]), torch.tensor([-128, 65]), Posit(8))
    tensor([ True, False])

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR = NaR is true.
    Standard: Posit Standard (2022) 5.3, compareEqual.
    Cost: O(numel) time, result + 4 MB.
    """
    return _compare("compare_equal", torch.eq, a, b, fmt)


def compare_not_equal(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a /= b, as a bool tensor.

    >>> compare_not_equal(torch.tensor([-128, 64]), torch.tensor([-128, 65]), Posit(8))
    tensor([False,  True])

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR /= NaR is false.
    Standard: Posit Standard (2022) 5.3, compareNotEqual.
    Cost: O(numel) time, result + 4 MB.
    """
    return _compare("compare_not_equal", torch.ne, a, b, fmt)


def compare_greater(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a > b, as a bool tensor.

    >>> compare_greater(torch.tensor([-127, 64]), torch.tensor([-128, 65]), Posit(8))
    tensor([ True, False])

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR is less than every real.
    Standard: Posit Standard (2022) 5.3, compareGreater.
    Cost: O(numel) time, result + 4 MB.
    """
    return _compare("compare_greater", torch.gt, a, b, fmt)


def compare_greater_equal(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a >= b, as a bool tensor.

    >>> compare_greater_equal(torch.tensor([-128, 64]), torch.tensor([-128, 65]), Posit(8))
    tensor([ True, False])

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR is less than every real, and NaR >= NaR is true.
    Standard: Posit Standard (2022) 5.3, compareGreaterEqual.
    Cost: O(numel) time, result + 4 MB.
    """
    return _compare("compare_greater_equal", torch.ge, a, b, fmt)


def compare_less(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a < b, as a bool tensor.

    >>> compare_less(torch.tensor([-128, 64]), torch.tensor([-127, 64]), Posit(8))
    tensor([ True, False])

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR is less than every real.
    Standard: Posit Standard (2022) 5.3, compareLess.
    Cost: O(numel) time, result + 4 MB.
    """
    return _compare("compare_less", torch.lt, a, b, fmt)


def compare_less_equal(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """a <= b, as a bool tensor.

    >>> compare_less_equal(torch.tensor([-128, 65]), torch.tensor([-128, 64]), Posit(8))
    tensor([ True, False])

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format, or they live on several devices.
    ShapeError
        When the shapes do not broadcast.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR is less than every real, and NaR <= NaR is true.
    Standard: Posit Standard (2022) 5.3, compareLessEqual.
    Cost: O(numel) time, result + 4 MB.
    """
    return _compare("compare_less_equal", torch.le, a, b, fmt)
