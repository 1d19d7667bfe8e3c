"""Logarithms from floats by integers as wide as the float: equal to ``core.round`` of ``core.decode``.

The exponent field of a float is the logarithm rounded down; whether it goes up the mantissa decides, by one comparison.
No branch looks at a value, and no setting of the processor matters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..formats import Logarithmic, Minifloat, Scalar, holds

ROUNDINGS = ("nearest_even", "nearest_away", "toward_zero", "toward_positive", "toward_negative", "to_odd")


def serves(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether values of the row can be rounded to the format here: its least value and half of it are normal there."""
    if not isinstance(fmt, Logarithmic) or rounding not in ROUNDINGS:
        return False
    return row.min_scale < fmt.min_scale <= row.max_scale


def serves_values(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether the row has all rounded values, too."""
    return serves(fmt, row, rounding) and holds(row, fmt)


def codes(bits: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str) -> Tensor:
    """Codes, in 32 or 64 bits, of float patterns of the row."""
    exponent, sign, nan = _rounded(bits, fmt, row, rounding)
    return torch.where(nan, 0, exponent | (sign & (1 << (fmt.width - 1))))


def values(bits: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str) -> Tensor:
    """Patterns of the row, in 32 or 64 bits, of its values rounded to the format."""
    exponent, sign, nan = _rounded(bits, fmt, row, rounding)
    value = (exponent + _offset(fmt, row)) << row.mantissa
    if fmt.zero_code:
        value = torch.where(exponent == 0, 0, value)
    quiet = ((2 << row.exponent) - 1) << (row.mantissa - 1)
    return torch.where(nan, quiet, value | (sign & -(1 << (row.width - 1))))


def _rounded(bits: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str) -> tuple[Tensor, Tensor, Tensor]:
    """Magnitude codes, sign masks, and where NaN is."""
    bits = bits.to(torch.int64 if row.width == 64 else torch.int32)
    sign, magnitude = bits >> (row.width - 1), bits & ((1 << (row.width - 1)) - 1)
    infinity, ones = ((1 << row.exponent) - 1) << row.mantissa, (1 << row.mantissa) - 1
    # 1. Rounded down. Below the least value, of which the code is 0 where it is a number, there is but 0.
    least, offset = int(fmt.zero_code), _offset(fmt, row)
    below = magnitude < (least + offset) << row.mantissa
    exponent = torch.where(below, 0, ((magnitude >> row.mantissa) - offset).clamp(max=fmt.largest))
    # 2. What lies between 0 and the least value is near to either; and past a power of two is whatever has a mantissa.
    middle = (offset << row.mantissa) + (rounding == "nearest_even")  # at the middle 0 is even
    match rounding:
        case "nearest_even" | "nearest_away":
            beyond, small = (magnitude & ones) > _root_of_two(row), magnitude >= middle
        case _:
            beyond, small = (magnitude & ones) > 0, magnitude > 0
    up = torch.where(below, small if fmt.zero_code else False, beyond).to(bits.dtype)
    match rounding:
        case "toward_zero":
            up = torch.zeros_like(up)
        case "toward_positive":
            up = up & ~sign
        case "toward_negative":
            up = up & sign
        case "to_odd":
            up = up & ~exponent
    # 3. The ends: Inf is the largest value.
    exponent = torch.where(magnitude >= infinity, fmt.largest, (exponent + up).clamp(max=fmt.largest))
    return exponent, sign, magnitude > infinity


def _offset(fmt: Logarithmic, row: Minifloat) -> int:
    """The exponent field, less the code."""
    assert row.bias is not None
    assert fmt.bias is not None
    return row.bias - fmt.bias


def _root_of_two(row: Minifloat) -> int:
    """The largest mantissa of a significand below the square root of 2, which is none itself."""
    return math.isqrt(2 << (2 * row.mantissa)) - (1 << row.mantissa)
