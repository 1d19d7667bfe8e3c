"""Codes of 4 and of 6 bits in bytes, without gaps between them.

A few codes and the bytes that hold them are one little-endian number, in which codes lie ``width`` bits apart when they
are packed and 8 bits apart when each has a byte to itself:

1. pack4: 2 codes, one number of 16 bits, 1 byte. pack6: 4 codes, one number of 32 bits, 3 bytes.
2. The numbers are read and written by arithmetic on bytes. That is the definition, and what `torch.compile` fuses.
3. On a little-endian CPU the bytes in memory are the number already, and eager code takes them as such.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import check_tensor
from ..errors import DTypeError, ShapeError

CHUNK = 1 << 16  #: numbers of a piece: three int32 temporaries of 256 KiB


class Packing(NamedTuple):
    """Codes of one width in the fewest whole bytes."""

    width: int  #: bits of a code
    codes: int  #: how many of them
    bytes: int  #: fill so many bytes
    number: torch.dtype  #: holds a byte for each of the codes


FOUR = Packing(4, 2, 1, torch.int16)
SIX = Packing(6, 4, 3, torch.int32)


def pack4(codes: Tensor) -> Tensor:
    """Two 4-bit codes a byte along the last axis, the even index in the low nibble.

    >>> pack4(torch.tensor([1, 2, 15, 0], dtype=torch.uint8))
    tensor([33, 15], dtype=torch.uint8)

    Parameters
    ----------
    codes : Tensor
        uint8 of shape [.., 2 n], of which the low 4 bits are read.

    Returns
    -------
    Tensor
        uint8 of shape [.., n].

    Raises
    ------
    DTypeError
        When the codes are no dense uint8 tensor.
    ShapeError
        When the last axis does not divide by 2.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; every pattern is a code.
    Standard: the nibble order of torch.float4_e2m1fn_x2; OCP MX 1.0 leaves it open.
    Cost: O(numel) time, result + 1 MB.
    """
    return _repacked("mx.pack4", "codes", codes, FOUR, unpack=False)


def unpack4(packed: Tensor) -> Tensor:
    """The inverse of `pack4`: a byte for each 4-bit code.

    >>> unpack4(torch.tensor([33, 15], dtype=torch.uint8))
    tensor([ 1,  2, 15,  0], dtype=torch.uint8)

    Parameters
    ----------
    packed : Tensor
        uint8 of shape [.., n].

    Returns
    -------
    Tensor
        uint8 of shape [.., 2 n], values 0 to 15.

    Raises
    ------
    DTypeError
        When the argument is no dense uint8 tensor.
    ShapeError
        When it has no axis.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; every pattern is a code.
    Standard: the nibble order of torch.float4_e2m1fn_x2; OCP MX 1.0 leaves it open.
    Cost: O(numel) time, result + 1 MB.
    """
    return _repacked("mx.unpack4", "packed", packed, FOUR, unpack=True)


def pack6(codes: Tensor) -> Tensor:
    """Four 6-bit codes in three bytes along the last axis: code i is in bits 6i to 6i + 5 of a little-endian stream.

    >>> pack6(torch.tensor([1, 2, 3, 63], dtype=torch.uint8))
    tensor([129,  48, 252], dtype=torch.uint8)

    Parameters
    ----------
    codes : Tensor
        uint8 of shape [.., 4 n], of which the low 6 bits are read.

    Returns
    -------
    Tensor
        uint8 of shape [.., 3 n].

    Raises
    ------
    DTypeError
        When the codes are no dense uint8 tensor.
    ShapeError
        When the last axis does not divide by 4.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; every pattern is a code.
    Standard: refnum's own; OCP MX 1.0 leaves the order in memory open.
    Cost: O(numel) time, result + 1 MB.
    """
    return _repacked("mx.pack6", "codes", codes, SIX, unpack=False)


def unpack6(packed: Tensor) -> Tensor:
    """The inverse of `pack6`: a byte for each 6-bit code.

    >>> unpack6(torch.tensor([129, 48, 252], dtype=torch.uint8))
    tensor([ 1,  2,  3, 63], dtype=torch.uint8)

    Parameters
    ----------
    packed : Tensor
        uint8 of shape [.., 3 n].

    Returns
    -------
    Tensor
        uint8 of shape [.., 4 n], values 0 to 63.

    Raises
    ------
    DTypeError
        When the argument is no dense uint8 tensor.
    ShapeError
        When the last axis does not divide by 3.

    Exactness: bit-exact.
    Rounding: none.
    Special: none; every pattern is a code.
    Standard: refnum's own; OCP MX 1.0 leaves the order in memory open.
    Cost: O(numel) time, result + 1 MB.
    """
    return _repacked("mx.unpack6", "packed", packed, SIX, unpack=True)


def _repacked(function: str, name: str, x: Tensor, packing: Packing, *, unpack: bool) -> Tensor:
    take, give = (packing.bytes, packing.codes) if unpack else (packing.codes, packing.bytes)
    _check(function, name, x, take)
    *rows, columns = x.shape
    result: Tensor
    if in_memory_order(x):
        result = _through_memory(as_words(x, torch.uint8).view(-1, take), give, packing, unpack)
    else:
        result = _bytes(_moved(_number(x.reshape(*rows, columns // take, take)), packing, unpack), give)
    return result.view(*rows, columns // take * give)


def _moved(number: Tensor, packing: Packing, unpack: bool) -> Tensor:
    """Numbers with their codes moved together, or apart; what else is in them goes."""
    gap, mask = 8 - packing.width, (1 << packing.width) - 1
    result = number & mask
    for i in range(1, packing.codes):
        code = number << gap * i if unpack else number >> gap * i
        result.bitwise_or_(code.bitwise_and_(mask << (8 if unpack else packing.width) * i))
    return result


def _number(groups: Tensor) -> Tensor:
    """Bytes along the last axis as one little-endian number, in an int32."""
    low, *more = groups.to(torch.int32).unbind(-1)
    for i, byte in enumerate(more, 1):
        low = low | byte << 8 * i
    return low


def _bytes(number: Tensor, count: int) -> Tensor:
    """The low bytes of numbers, along a new last axis."""
    return torch.stack([number >> 8 * i for i in range(count)], dim=-1).bitwise_and(0xFF).to(torch.uint8)


# ---- the same, with memory as it is ---------------------------------------------------------------


def in_memory_order(x: Tensor) -> bool:
    """Whether bytes can be taken as wider integers, as on eager little-endian CPU tensors."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and sys.byteorder == "little"


def as_words(x: Tensor, word: torch.dtype) -> Tensor:
    """All of x in one row of integers as wide or wider; a copy where memory is not in order or not aligned."""
    flat = x.reshape(-1)
    if flat.stride(0) != 1 or flat.storage_offset() * flat.itemsize % word.itemsize:
        flat = flat.clone(memory_format=torch.contiguous_format)
    return flat.view(word)


def _through_memory(groups: Tensor, give: int, packing: Packing, unpack: bool) -> Tensor:
    result = torch.empty(len(groups), give, dtype=torch.uint8, device="cpu")
    for start in range(0, len(groups), CHUNK):
        piece = slice(start, start + CHUNK)
        _write(_moved(_read(groups[piece], packing.number), packing, unpack), result[piece])
    return result


def _read(groups: Tensor, number: torch.dtype) -> Tensor:
    match groups.shape[1]:
        case 1:
            return groups.view(-1).to(number)
        case number.itemsize:
            return as_words(groups, number)
    filled = torch.zeros(len(groups), number.itemsize, dtype=torch.uint8, device="cpu")
    _copy_bytes(filled, groups)
    return filled.view(-1).view(number)


def _write(number: Tensor, groups: Tensor) -> None:
    match groups.shape[1]:
        case 1:
            groups.view(-1).copy_(number)
        case number.itemsize:
            groups.view(-1).view(number.dtype).copy_(number)
        case _:
            _copy_bytes(groups, number.view(torch.uint8).view(-1, number.itemsize))


def _copy_bytes(to: Tensor, of: Tensor) -> None:
    """Copy the bytes that both have of each number: one long row a byte, as copying short rows is slow."""
    for i in range(min(to.shape[1], of.shape[1])):
        to[:, i].copy_(of[:, i])


def _check(function: str, name: str, x: Tensor, take: int) -> None:
    check_tensor(function, name, x)
    if x.dtype != torch.uint8:
        raise DTypeError(
            f"{function} needs bytes for {name}, got {x.dtype}. Allowed is torch.uint8. "
            f"Use {name}.view(torch.uint8) for other types of one byte, .to(torch.uint8) for wider integers."
        )
    if not x.dim() or x.shape[-1] % take:
        raise ShapeError(
            f"{function} cannot group {name} of shape {tuple(x.shape)}. "
            f"The last axis must be a multiple of {take}. Pad it, or move another axis there."
        )
