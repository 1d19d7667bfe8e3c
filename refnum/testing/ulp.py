"""Distances between results, counted in steps from one value of the format to the next."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import (
    FLOAT_ROWS,
    INTEGERS,
    SIGNED,
    check_codes,
    check_scalar,
    check_tensor,
    check_values,
)
from ..core.books import book
from ..core.decode import floor_log2
from ..errors import ContractError, DTypeError, FormatError, ShapeError
from ..formats import DMF, Codebook, Exponent, FixedPoint, Logarithmic, Minifloat, Posit, Scalar
from ..mx.blocks import TORCH
from ..mx.packing import unpack4

Row = Scalar | Exponent  #: whose codes lie on a line

NATIVE = {dtype: row for row, dtype in TORCH.items()}  #: torch's own dtypes of codes
UNSIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
FARTHEST = (1 << 63) - 1  #: the distance between a NaN and a number, and all that int64 cannot count


class Places(NamedTuple):
    """Elements on the line of their format, as int64 but for the mask."""

    code: Tensor  #: the bits of the element, not negative below 64 of them
    place: Tensor  #: neighbouring values are 1 apart, both zeros at 0
    nan: Tensor  #: whether it is NaN, which has no place


class Codes(NamedTuple):
    """A tensor as integers or floating-point values, and how they are read."""

    tensor: Tensor
    row: Row | None  #: the format of integers; None for integers that are numbers, and for floating-point values
    packed: bool  #: whether two codes share a byte along the last axis

    @property
    def shape(self) -> torch.Size:
        """The shape, two elements a byte where they are packed."""
        shape = self.tensor.shape
        return torch.Size((*shape[:-1], 2 * shape[-1])) if self.packed else shape

    def places(self, piece: tuple[int | slice, ...] = ()) -> Places:
        """Where the elements of a piece of the tensor lie, in row-major order."""
        stored = self.tensor[piece].reshape(-1)
        return places(unpack4(stored) if self.packed else stored, self.row)


def ulp_distance(got: Tensor, want: Tensor, fmt: Row | None = None, *, packed: bool = False) -> Tensor:
    """How many steps lie between two results, element by element.

    >>> ulp_distance(torch.tensor([1.0, -0.0]), torch.tensor([1.0 + 2**-22, 0.0]))
    tensor([2, 0])
    >>> ulp_distance(torch.tensor([0x7F, -0x80]), torch.tensor([0x01, 0x01]), Posit(8))
    tensor([                126, 9223372036854775807])

    Parameters
    ----------
    got, want : Tensor
        Two tensors of one shape: floating-point values, integers, or codes of ``fmt``; codes in torch's own dtypes of 8
        bits and 4 name their format themselves.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook, optional
        The format of integer codes. Without it, integers are compared as integers.
    packed : bool
        Whether uint8 holds two codes of 4 bits along the last axis, the even index in the low nibble, as
        ``float4_e2m1fn_x2`` always does. The result has an element for each code.

    Raises
    ------
    ContractError
        When codes are said to be packed that are none of 4 bits in uint8.
    DTypeError
        When a tensor is no floating-point, integer or bool one, or holds no codes of ``fmt``, or the dtypes differ.
    FormatError
        When ``fmt`` is no format of single values, or another one than that of the dtype.
    ShapeError
        When the shapes differ.

    Exactness: bit-exact; distances of 2**63 and more are 2**63 - 1.
    Rounding: none.
    Special: zeros are 0 apart, so are any two NaNs, and codes of one value; a NaN and a number 2**63 - 1; Inf follows
        the largest value. Codes for which a codebook has no value are NaN.
    Standard: none.
    Cost: O(numel) time, about ten int64 tensors of the shape.
    """
    a, b = comparable("ulp_distance", got, want, fmt, packed)
    return steps(a.places(), b.places()).view(a.shape)


def check_row(function: str, fmt: object) -> None:
    """The argument, if there is one, is a format whose codes lie on a line."""
    if fmt is not None and not isinstance(fmt, Exponent):
        check_scalar(function, fmt)


def comparable(function: str, got: object, want: object, fmt: Row | None, packed: bool) -> tuple[Codes, Codes]:
    """Two tensors whose elements lie on one line, and how they are read."""
    check_row(function, fmt)
    a, b = (_codes(function, name, x, fmt, packed) for name, x in (("got", got), ("want", want)))
    assert isinstance(got, Tensor)
    assert isinstance(want, Tensor)
    if got.shape != want.shape:
        raise ShapeError(
            f"{function} needs two tensors of one shape, got {tuple(got.shape)} and {tuple(want.shape)}. "
            "Expand or reshape one of them."
        )
    same = got.dtype == want.dtype or (fmt is not None and a[1:] == b[1:])
    if not same or got.device != want.device:
        raise DTypeError(
            f"{function} needs two tensors of one dtype and device, got {got.dtype} on {got.device} and "
            f"{want.dtype} on {want.device}. Convert one of them."
        )
    return a, b


def _codes(function: str, name: str, x: object, fmt: Row | None, packed: bool) -> Codes:
    check_tensor(function, name, x)
    assert isinstance(x, Tensor)
    check_values(function, name, x)
    if (native := NATIVE.get(x.dtype)) is not None:
        if fmt not in (None, native):
            raise FormatError(
                f"{function} got {x.dtype} for {name}, which holds {native}, and fmt={fmt}. Allowed is the dtype's own "
                "format. Leave fmt out, or view the tensor as uint8."
            )
        fmt, packed, x = native, packed or native.width == 4, x.view(torch.uint8)
    if fmt is not None and x.dtype in UNSIGNED:
        x = x.view(UNSIGNED[x.dtype])  # of codes only the low bits are read
    if fmt is not None:
        check_codes(function, name, x, fmt)
    elif x.dtype not in (*FLOAT_ROWS, *INTEGERS, torch.bool, torch.uint16, torch.uint32):
        raise DTypeError(
            f"{function} cannot compare {x.dtype} for {name}. Allowed are float16, bfloat16, float32, float64, "
            "torch's float8 and float4, bool, and integers but for uint64. View other dtypes as integers, and name "
            "their format with fmt."
        )
    if packed and (x.dtype != torch.uint8 or fmt is None or fmt.width != 4 or not x.dim()):
        raise ContractError(
            f"{function} cannot unpack {name}: {'no format' if fmt is None else fmt} in {x.dtype}, shape "
            f"{tuple(x.shape)}. Packed are codes of 4 bits in uint8, two a byte along the last axis. Leave packed out."
        )
    return Codes(x, fmt, packed)


def places(x: Tensor, fmt: Row | None) -> Places:
    """Where elements lie: floating-point values by their dtype, integers as codes of ``fmt`` or as integers."""
    bits, row = x.detach(), row_of(x, fmt)
    if x.dtype in FLOAT_ROWS:
        bits = bits.view(SIGNED[x.dtype.itemsize * 8])
    bits = bits.to(torch.int64)
    match row:
        case None:
            return Places(bits, bits, _never(bits))
        case FixedPoint(signed=False):
            place = _low(bits, row.width)
            return Places(place, place, _never(bits))
        case Posit() | FixedPoint() | Exponent():
            place = bits << (64 - row.width) >> (64 - row.width)
            return Places(_low(bits, row.width), place, place == row.nar if isinstance(row, Posit) else _never(bits))
        case Minifloat():
            negative, magnitude = _sign_magnitude(bits, row.exponent + row.mantissa)
            negative = negative & row.signed
            place = torch.where(negative, -magnitude, magnitude)
            return Places(_low(bits, row.width), place, _is_nan(magnitude, negative, row))
        case DMF():
            negative, magnitude = _sign_magnitude(bits, row.width - 1)
            rank = _rank(magnitude, row)
            return Places(_low(bits, row.width), torch.where(negative, -rank, rank), _never(bits))
        case Logarithmic():  # without 0 the least values of both signs are neighbours
            negative, magnitude = _sign_magnitude(bits, row.width - 1)
            place = torch.where(negative, -magnitude - int(not row.zero_code), magnitude)
            return Places(_low(bits, row.width), place, _never(bits))
        case Codebook():
            return _shelved(_low(bits, row.width), row)


def _sign_magnitude(bits: Tensor, size: int) -> tuple[Tensor, Tensor]:
    return (bits >> size & 1).bool(), _low(bits, size)


def _never(bits: Tensor) -> Tensor:
    return torch.zeros_like(bits, dtype=torch.bool)


def _rank(magnitude: Tensor, row: DMF) -> Tensor:
    """The place of a value, whichever of its codes it has."""
    # 1. The code that is written has the least exponent: the significand has moved up as far as the field allows.
    field, significand = magnitude >> row.mantissa, _low(magnitude, row.mantissa)
    up = torch.minimum(field, row.mantissa - 1 - floor_log2(significand)) * (significand > 0)
    field, significand = torch.where(significand > 0, field - up, 0), significand << up
    # 2. Above field 0 half of the significands are written.
    return (field << (row.mantissa - 1)) + significand


def _shelved(codes: Tensor, row: Codebook) -> Places:
    """Where codes of a table stand; Inf stands behind the last value."""
    patterns, places = (table.to(codes.device)[codes] for table in book(row)[:2])
    values = patterns.view(torch.float64)
    for infinite, place in ((math.inf, len(row.values)), (-math.inf, -1)):
        places = torch.where(values == infinite, place, places)
    return Places(codes, places, values.isnan())


def row_of(x: Tensor, fmt: Row | None) -> Row | None:
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
