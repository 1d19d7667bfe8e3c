"""Coprime numbers of 8 bits, and the host's side of csrc/residues.cu: products of matrices modulo each of them."""

from __future__ import annotations

import ctypes
from ctypes import c_int32, c_uint32, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, log2, prod
from typing import Any

from torch import Tensor

from . import launch

MOST = 36  #: numbers
ROWS, COLUMNS = 128, 256  #: of a tile
FILLED = 128  #: to a multiple of which lines and terms are filled up
STAGES, THREADS = 4, 256
MOST_TERMS = 1 << 15  #: for which sums of products of residues are at most 2**29


class Product(ctypes.Structure):
    """rn::Product; it holds the tensors, which must live until the kernel has been launched."""

    _fields_ = (
        *((name, c_void_p) for name in ("a", "b", "out")),
        *((name, c_int32) for name in ("rows", "columns", "terms")),
        *(("moduli", c_void_p), ("continued", c_int32)),
    )

    def __init__(self, a: Tensor, b: Tensor, out: Tensor, count: Tensor | None, continued: bool) -> None:
        pointers = (x.data_ptr() for x in (a, b, out))
        sizes = *out.shape[1:], a.shape[-1]
        super().__init__(*pointers, *sizes, None if count is None else count.data_ptr(), continued)
        self.tensors = a, b, out, count


class Moduli(ctypes.Structure):
    """rn::Moduli."""

    _fields_ = (
        *((name, c_int32 * MOST) for name in ("number", "reciprocal")),
        *((name, c_uint32 * MOST) for name in ("finer", "offset")),
    )


@dataclass(frozen=True, slots=True)
class Form:
    """One of the kernels."""

    kernel: launch.Kernel
    terms: int  #: of a stage
    aligned: int  #: bytes to which stages are

    @property
    def shared(self) -> int:
        """Bytes of shared memory."""
        return STAGES * (ROWS + COLUMNS) * self.terms + self.aligned - 16


HOPPER = "sm_90a"  #: whose files have the kernel by warpgroups
BY_WARPS, BY_WARPGROUPS = (
    Form(launch.Kernel("residues", f"rn_residue_products{name}", (Product, Moduli)), terms, aligned)
    for name, terms, aligned in (("", 64, 16), ("_hopper", 128, 1024))
)


def form_for(target: str) -> Form:
    """The faster one of those that a target has."""
    return BY_WARPGROUPS if target == HOPPER else BY_WARPS


# ---- numbers -------------------------------------------------------------------------------------


def _coprime(count: int) -> tuple[int, ...]:
    """The largest numbers up to 256 that have no common factor."""
    found: list[int] = []
    number = 256
    while len(found) < count:
        found += [number] if all(gcd(number, each) == 1 for each in found) else []
        number -= 1
    return tuple(found)


NUMBERS = _coprime(MOST)


@lru_cache(maxsize=1)
def moduli() -> Moduli:
    """All numbers, and by what to divide by them."""
    made = Moduli()
    made.number[:] = NUMBERS
    made.reciprocal[:] = [(1 << 32) // m for m in NUMBERS]
    made.finer[:] = [(1 << 38) // m for m in NUMBERS]
    made.offset[:] = [-(-(1 << 29) // m) * m for m in NUMBERS]
    return made


def room(count: int) -> int:
    """Bits of integers that so many numbers tell apart, with some to spare: 2**bits <= 0.49 of their product."""
    return int(log2(0.49) + sum(log2(m) for m in NUMBERS[:count]))


def weights(count: int) -> list[int]:
    """Words of what makes integers of residues modulo so many numbers, as rn::Basis has them.

    The weight of a number is 1 modulo that number and 0 modulo the others.
    """
    numbers = NUMBERS[:count]
    whole, length = prod(numbers), count // 4
    found = [whole // m * pow(whole // m, -1, m) for m in numbers]
    return [word for x in found for word in (*_words(x, length), (x << 32) // whole)] + _words(whole, length)


def _words(x: int, count: int) -> list[int]:
    return [x >> 32 * i & 0xFFFFFFFF for i in range(count)]


# ---- products ------------------------------------------------------------------------------------


def filled(count: int) -> int:
    """Lines or terms with those that fill them up."""
    return -(-count // FILLED) * FILLED


def multiplied(
    a: Tensor, b: Tensor, out: Tensor, count: Tensor | None, form: Form = BY_WARPS, *, continued: bool = False
) -> tuple[Any, ...]:
    """The launch that writes, or adds, to [modulus, row, column] the products of [modulus, line, term], uint8 of int8.

    Only as many of them as the count says, which the kernel reads.
    """
    number, rows, columns = out.shape
    grid = rows // ROWS * -(-columns // COLUMNS), number, 1
    return form.kernel, grid, (THREADS, 1, 1), form.shared, Product(a, b, out, count, continued), moduli()
