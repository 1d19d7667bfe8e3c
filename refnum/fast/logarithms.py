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
    exponent, present, sign, nan = _rounded(bits, fmt, row, rounding)
    return torch.where(nan, 0, exponent & present | sign & (1 << (fmt.width - 1)))


def values(bits: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str) -> Tensor:
    """Patterns of the row, in 32 or 64 bits, of its values rounded to the format."""
    exponent, present, sign, nan = _rounded(bits, fmt, row, rounding)
    value = exponent + _offset(fmt, row) << row.mantissa & present
    quiet = ((2 << row.exponent) - 1) << (row.mantissa - 1)
    return torch.where(nan, quiet, value | sign & -(1 << (row.width - 1)))


def _rounded(
    bits: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str
) -> tuple[Tensor, Tensor | int, Tensor, Tensor]:
    """Codes of powers of two, masks of what does not round to 0, sign masks, and where NaN is."""
    bits = bits.to(torch.int64 if row.width == 64 else torch.int32)
    sign, magnitude = bits >> (row.width - 1), bits & ((1 << (row.width - 1)) - 1)
    infinity = ((1 << row.exponent) - 1) << row.mantissa
    # 1. A carry out of the mantissa counts the exponent up. Past the ends there is nothing.
    carry, start = _carry(magnitude, sign, fmt, row, rounding), _start(sign, fmt, row, rounding)
    exponent = (magnitude + carry >> row.mantissa) - _offset(fmt, row)
    exponent = exponent.clamp(int(fmt.zero_code), fmt.largest)
    if fmt.max_scale > row.max_scale:  # Inf is the largest value, also of those that the row does not have
        exponent = torch.where(magnitude >= infinity, fmt.largest, exponent)
    # 2. Of a format with 0 code 1 is the least number.
    present = (start - 1 - magnitude) >> (row.width - 1) if fmt.zero_code else -1
    return exponent, present, sign, magnitude > infinity


def _carry(magnitude: Tensor, sign: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str) -> Tensor | int:
    """What, added to a pattern, counts its exponent up if it rounds to the next power of two."""
    ones = (1 << row.mantissa) - 1
    match rounding:
        case "nearest_even" | "nearest_away":
            return ones - _root_of_two(row)
        case "toward_positive":
            return ~sign & ones
        case "toward_negative":
            return sign & ones
        case "to_odd":  # where the code is even
            return ((magnitude >> row.mantissa) - _offset(fmt, row) & 1) - 1 & ones
        case _:
            return 0


def _start(sign: Tensor, fmt: Logarithmic, row: Minifloat, rounding: str) -> Tensor | int:
    """The least magnitude pattern that does not round to 0."""
    middle = _offset(fmt, row) << row.mantissa
    least = middle + (1 << row.mantissa)
    match rounding:
        case "nearest_even":  # and at the middle 0 is even
            return middle + 1
        case "nearest_away":
            return middle
        case "toward_positive":
            return (sign & least - 1) + 1
        case "toward_negative":
            return (~sign & least - 1) + 1
        case "to_odd":
            return 1
        case _:
            return least


def _offset(fmt: Logarithmic, row: Minifloat) -> int:
    """The exponent field, less the code."""
    assert row.bias is not None
    assert fmt.bias is not None
    return row.bias - fmt.bias


def _root_of_two(row: Minifloat) -> int:
    """The largest mantissa of a significand below the square root of 2, which is none itself."""
    return math.isqrt(2 << (2 * row.mantissa)) - (1 << row.mantissa)
