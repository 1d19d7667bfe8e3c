"""float32 arithmetic on patterns: the definition, through the waist, and the machine's own, which must not flush.

Patterns are int64 in the one and int32 in the other; a plain integer is the pattern of a constant, positive and normal.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..core import exact
from ..core.decode import INFINITE, LIMB, Exact, decode, nonzero
from ..core.round import encode
from ..fast.elements import element_codes
from ..formats import bfloat16, e4m3, float32
from .scales import BIAS, INFINITY, MANTISSA

BITS = float32.significand_bits
HIDDEN_BIT = 1 << MANTISSA
E4M3_NAN = e4m3.largest + 1
QUIET_NAN = INFINITY | HIDDEN_BIT >> 1
MAGNITUDE = 0x7FFFFFFF

Pattern = Tensor | int


class Arithmetic(NamedTuple):
    """IEEE operations, rounded to nearest even."""

    dtype: torch.dtype  #: of patterns
    times: Callable[[Pattern, Pattern], Tensor]
    over: Callable[[Pattern, Pattern], Tensor]
    to_e4m3: Callable[[Tensor], Tensor]  #: codes, saturating
    of_e4m3: Callable[[Tensor], Tensor]  #: their values


def pattern(x: float) -> int:
    """The float32 nearest to a number, by its bits.

    >>> hex(pattern(1 / 6))
    '0x3e2aaaab'
    """
    bits: int = struct.unpack(">i", struct.pack(">f", x))[0]
    return bits


def to_bfloat16(x: Tensor) -> Tensor:
    """float32 patterns rounded to numbers of bfloat16; by the waist."""
    return (encode(decode(x, float32), bfloat16) << 16).to(x.dtype)


def _like(x: Pattern, other: Pattern, dtype: torch.dtype) -> Tensor:
    """The operand as a tensor, where the other one may be a tensor instead."""
    if isinstance(x, Tensor):
        return x.to(dtype)
    assert isinstance(other, Tensor)
    return torch.full((), x, dtype=dtype, device=other.device)


# ---- by the waist --------------------------------------------------------------------------------


def _times(a: Pattern, b: Pattern) -> Tensor:
    x, y = _exact(a, b), _exact(b, a)
    product = exact.multiply(x, y, BITS, BITS)
    nan = (_infinite(x) & _zero(y)) | (_zero(x) & _infinite(y))
    return encode(product._replace(kind=product.kind | nan), float32)


def _over(a: Pattern, b: Pattern) -> Tensor:
    x, y = _exact(a, b), _exact(b, a)
    quotient = exact.divide(x, y, BITS)
    nan = (x.kind | y.kind) >> 63 | (_infinite(x) & _infinite(y)) | (_zero(x) & _zero(y))
    kind = nan | ((_infinite(x) | _zero(y)) & INFINITE)
    finite = ~_infinite(y)
    return encode(quotient._replace(significand=tuple(s & finite for s in quotient.significand), kind=kind), float32)


def _exact(x: Pattern, other: Pattern) -> Exact:
    """The value of an operand. A constant is taken apart here: a compiler would do so for each use, again and again."""
    if isinstance(x, Tensor):
        return decode(x, float32)
    significand = (x & (HIDDEN_BIT - 1) | HIDDEN_BIT) << (LIMB - BITS)
    fields = (0, significand, (x >> MANTISSA) - BIAS, 0)
    sign, limb, exponent, kind = (_like(field, other, torch.int64) for field in fields)
    return Exact(sign, (limb,), exponent, kind)


def _zero(x: Exact) -> Tensor:
    """Mask of 0."""
    return ~nonzero(x.significand[0])


def _infinite(x: Exact) -> Tensor:
    """Mask of Inf."""
    return -(x.kind & INFINITE) & ~(x.kind >> 63)


WAIST = Arithmetic(
    torch.int64,
    _times,
    _over,
    lambda x: encode(decode(x, float32), e4m3),
    lambda codes: encode(decode(codes, e4m3), float32),
)

# ---- by the machine ------------------------------------------------------------------------------


def _floats(a: Pattern, b: Pattern) -> tuple[Tensor, Tensor]:
    x, y = _like(a, b, torch.int32), _like(b, a, torch.int32)
    return x.view(torch.float32), y.view(torch.float32)


def _product(a: Pattern, b: Pattern) -> Tensor:
    x, y = _floats(a, b)
    return _patterns(x * y)


def _quotient(a: Pattern, b: Pattern) -> Tensor:
    x, y = _floats(a, b)
    return _patterns(x / y)


def _patterns(x: Tensor) -> Tensor:
    """Patterns with one NaN: which one an operation gives, and its sign, is up to the processor."""
    return torch.where(x.isnan(), QUIET_NAN, x.view(torch.int32))


def _to_e4m3(x: Tensor) -> Tensor:
    codes = element_codes(x, torch.full_like(x, BIAS), e4m3, "nearest_even")
    return torch.where((x & MAGNITUDE) > INFINITY, E4M3_NAN, codes)


def _of_e4m3(codes: Tensor) -> Tensor:
    return _e4m3_values().index_select(0, codes)


@lru_cache(maxsize=1)
def _e4m3_values() -> Tensor:
    with torch.inference_mode(False):
        codes = torch.arange(1 << e4m3.width, dtype=torch.int64, device="cpu")
        return WAIST.of_e4m3(codes).to(torch.int32)


MACHINE = Arithmetic(torch.int32, _product, _quotient, _to_e4m3, _of_e4m3)
