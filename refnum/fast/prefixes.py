"""Formats whose codes begin the patterns of a row, as tf32's do float32's: equal to ``core.round`` of ``core.decode``.

Both have one exponent field, with infinities and subnormal numbers, so that a code is a pattern without its last bits.
To round is to add to the pattern and to cut it: a carry out of the mantissa counts the exponent up, to Inf in the end.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..formats import Minifloat, Scalar


def begins(fmt: Scalar, row: Minifloat) -> bool:
    """Whether codes of the format are patterns of the row cut short."""
    if not isinstance(fmt, Minifloat) or fmt.mantissa >= row.mantissa:
        return False
    plain = fmt.signed and fmt.subnormals and fmt.specials == "ieee" and fmt.overflow == "inf"
    return plain and (fmt.exponent, fmt.bias) == (row.exponent, row.bias)


def serves(fmt: Scalar, row: Minifloat, rounding: str) -> bool:
    """Whether values of the row can be rounded to the format here."""
    return rounding == "nearest_even" and begins(fmt, row)


serves_values = serves  # the row has them all


def codes(bits: Tensor, fmt: Minifloat, row: Minifloat, rounding: str) -> Tensor:
    """Codes, in 32 or 64 bits, of float patterns of the row."""
    assert fmt.nan is not None
    bits = _wide(bits, row)
    code = _carried(bits, fmt, row) >> _cut(fmt, row) & ((1 << fmt.width) - 1)
    return torch.where(_is_nan(bits, row), fmt.nan, code)


def values(bits: Tensor, fmt: Minifloat, row: Minifloat, rounding: str) -> Tensor:
    """Patterns of the row, in 32 or 64 bits, of its values rounded to the format."""
    bits = _wide(bits, row)
    value = _carried(bits, fmt, row) & -(1 << _cut(fmt, row))
    return torch.where(_is_nan(bits, row), _quiet(row), value)


def floats(code: Tensor, fmt: Minifloat, row: Minifloat) -> Tensor:
    """Patterns of the row, in 32 or 64 bits, for codes of the format."""
    bits = _wide(_wide(code, row) << _cut(fmt, row), row)
    return torch.where(_is_nan(bits, row), _quiet(row), bits)


def _carried(bits: Tensor, fmt: Minifloat, row: Minifloat) -> Tensor:
    """Patterns with what takes them, rounded to nearest even, past the bits that stay."""
    cut = _cut(fmt, row)
    return (bits >> cut & 1) + ((1 << (cut - 1)) - 1) + bits


def _cut(fmt: Minifloat, row: Minifloat) -> int:
    return row.mantissa - fmt.mantissa


def _wide(bits: Tensor, row: Minifloat) -> Tensor:
    """In integers of at least 32 bits, sign-extended."""
    wide = bits.to(torch.int64 if row.width == 64 else torch.int32)
    spare = 8 * wide.itemsize - row.width
    return wide << spare >> spare if spare else wide


def _is_nan(bits: Tensor, row: Minifloat) -> Tensor:
    return bits & ((1 << (row.width - 1)) - 1) > ((1 << row.exponent) - 1) << row.mantissa


def _quiet(row: Minifloat) -> int:
    return ((2 << row.exponent) - 1) << (row.mantissa - 1)
