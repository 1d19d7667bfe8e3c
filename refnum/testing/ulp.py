"""Distances between results, counted in steps from one value of the format to the next."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import (
    FLOAT_ROWS,
    INTEGERS,
    SIGNED,
    check_codes,
    check_format,
    check_tensor,
    check_values,
)
from ..errors import DTypeError, ShapeError
from ..formats import Format, Minifloat, Posit

FARTHEST = (1 << 63) - 1  #: the distance between a NaN and a number, and all that int64 cannot count


class Places(NamedTuple):
    """Elements on the line of their format, as int64 but for the mask."""

    code: Tensor  #: the bits of the element, not negative below 64 of them
    place: Tensor  #: neighbouring values are 1 apart, both zeros at 0
    nan: Tensor  #: whether it is NaN, which has no place


def ulp_distance(got: Tensor, want: Tensor, fmt: Format | None = None) -> Tensor:
    """How many steps lie between two results, element by element.

    >>> ulp_distance(torch.tensor([1.0, -0.0]), torch.tensor([1.0 + 2**-22, 0.0]))
    tensor([2, 0])
    >>> ulp_distance(torch.tensor([0x7F, -0x80]), torch.tensor([0x01, 0x01]), Posit(8))
    tensor([                126, 9223372036854775807])

    Parameters
    ----------
    got, want : Tensor
        Two tensors of one shape: floating-point values, integers, or codes of ``fmt``.
    fmt : Posit or Minifloat, optional
        The format of integer codes. Without it, integers are compared as integers.

    Raises
    ------
    DTypeError
        When a tensor is no floating-point, integer or bool one, or holds no codes of ``fmt``, or the dtypes differ.
    ShapeError
        When the shapes differ.

    Exactness: bit-exact; distances of 2**63 and more are 2**63 - 1.
    Rounding: none.
    Special: zeros are 0 apart, so are any two NaNs; a NaN and a number 2**63 - 1; Inf follows the largest value.
    Standard: none.
    Cost: O(numel) time, about ten int64 tensors of the shape.
    """
    check_comparable("ulp_distance", got, want, fmt)
    return steps(places(got, fmt), places(want, fmt))


def check_comparable(function: str, got: object, want: object, fmt: Format | None) -> None:
    """Both are tensors whose elements lie on one line."""
    if fmt is not None:
        check_format(function, fmt)
    for name, x in (("got", got), ("want", want)):
        check_tensor(function, name, x)
        assert isinstance(x, Tensor)
        check_values(function, name, x)
        if fmt is not None:
            check_codes(function, name, x, fmt)
        elif x.dtype not in (*FLOAT_ROWS, *INTEGERS, torch.bool):
            raise DTypeError(
                f"{function} cannot compare {x.dtype} for {name}. Allowed are float16, bfloat16, float32, float64, "
                "bool, uint8 and signed integers. View other dtypes as integers, and name their format with fmt."
            )
    assert isinstance(got, Tensor)
    assert isinstance(want, Tensor)
    if got.shape != want.shape:
        raise ShapeError(
            f"{function} needs two tensors of one shape, got {tuple(got.shape)} and {tuple(want.shape)}. "
            "Expand or reshape one of them."
        )
    if (fmt is None and got.dtype != want.dtype) or got.device != want.device:
        raise DTypeError(
            f"{function} needs two tensors of one dtype and device, got {got.dtype} on {got.device} and "
            f"{want.dtype} on {want.device}. Convert one of them."
        )


def places(x: Tensor, fmt: Format | None) -> Places:
    """Where elements lie: floating-point values by their dtype, integers as codes of ``fmt`` or as integers."""
    bits, row = x.detach(), row_of(x, fmt)
    if x.dtype in FLOAT_ROWS:
        bits = bits.view(SIGNED[x.dtype.itemsize * 8])
    bits = bits.to(torch.int64)
    match row:
        case None:
            return Places(bits, bits, torch.zeros_like(bits, dtype=torch.bool))
        case Posit():
            place = bits << (64 - row.n) >> (64 - row.n)
            return Places(_low(bits, row.n), place, place == row.nar)
        case Minifloat():
            magnitude = _low(bits, row.exponent + row.mantissa)
            negative = (bits >> (row.width - 1) & int(row.signed)).bool()
            place = torch.where(negative, -magnitude, magnitude)
            return Places(_low(bits, row.width), place, _is_nan(magnitude, negative, row))


def row_of(x: Tensor, fmt: Format | None) -> Format | None:
    """The format of the elements; None for plain integers."""
    return FLOAT_ROWS.get(x.dtype, fmt)


def steps(a: Places, b: Places) -> Tensor:
    """The distance between places."""
    apart = torch.maximum(a.place, b.place) - torch.minimum(a.place, b.place)
    apart = apart.masked_fill(apart < 0, FARTHEST)  # the true distance is below 2**64: what wrapped around is negative
    return apart.masked_fill(a.nan & b.nan, 0).masked_fill(a.nan ^ b.nan, FARTHEST)


def _low(bits: Tensor, width: int) -> Tensor:
    return bits & ((1 << width) - 1) if width < 64 else bits


def _is_nan(magnitude: Tensor, negative: Tensor, row: Minifloat) -> Tensor:
    match row.specials:
        case "ieee" | "fn":
            return magnitude > (row.largest if row.infinity is None else row.infinity)
        case "fnuz":
            return negative & (magnitude == 0)
        case _:
            return torch.zeros_like(negative)
