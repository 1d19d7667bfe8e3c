"""Pattern -> Exact: what a code means, with nothing lost.

Everything is integer arithmetic on int64 lanes without branches on values, so that it fuses under torch.compile and
does not depend on a rounding mode, on flushing of subnormals or on any other switch. A *mask* is 0 (no) or -1 (yes).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..formats import DMF, Codebook, Element, Exponent, FixedPoint, Logarithmic, Minifloat, Posit, Scalar, float64
from .books import book

LIMB = 62  #: bits in a limb: below int64's sign one bit stays free for the carry of a sum
HIDDEN = 1 << (LIMB - 1)  #: the leading one of a normalised significand, in its first limb

FAR_BELOW = -(1 << 20)  #: the exponent of a 0 that has none of its own

NUMBER, INFINITE, NAN = 0, 1, -1  #: kinds; NAN has every bit set, so that ``|`` lets it win

Limbs = tuple[Tensor, ...]  #: an unsigned integer, most significant limb first


class Exact(NamedTuple):
    """The value (-1)**sign * significand * 2**exponent, where the significand lies in [1, 2) or is 0.

    The lowest bit of the last limb may be sticky: it then says that something not zero follows.
    """

    sign: Tensor  #: mask
    significand: Limbs  #: leading one at bit 61 of the first limb; all zero for the value 0
    exponent: Tensor  #: floor(log2 |value|); that of a decoded 0 is far below all others
    kind: Tensor  #: NUMBER, INFINITE or NAN


def floor_log2(x: Tensor) -> Tensor:
    """floor(log2 x) of int64 x in [1, 2**63), exactly; -1023 for 0.

    Clearing the bit below the leading one first keeps the conversion to float64 from rounding up to a power of 2.
    """
    return ((x & ~(x >> 1)).to(torch.float64).view(torch.int64) >> 52) - 1023


def nonzero(x: Tensor) -> Tensor:
    """Mask of x != 0."""
    return (x | -x) >> 63


def decode(codes: Tensor, fmt: Scalar | Element | Exponent) -> Exact:
    """The exact values of integer codes; only the low ``fmt.width`` bits are read."""
    return _DECODERS[type(fmt)](codes.to(torch.int64), fmt)


def _decode_posit(bits: Tensor, fmt: Posit) -> Exact:
    # P1. The sign bit at bit 63; the magnitude is the two's complement. Only NaR has none: it stays negative.
    top = bits << (64 - fmt.n)
    sign = top >> 63
    magnitude = (top ^ sign) - sign
    nar = magnitude >> 63
    # P2. The regime is a run of equal bits from bit 63 on. Flipped to zeros, the run ends at the leading one. The body
    #     of 0 and of NaR is empty; the logarithm of 0 then gives a run of more than 1000 bits.
    body = magnitude << 1
    ones = body >> 63
    run_less_1 = 62 - floor_log2(body ^ ones)
    present = (run_less_1 - 64) >> 63
    k = run_less_1 ^ ~ones  # run - 1 for ones, -run for zeros
    # P3. With all of the run but one bit shifted out, the exponent starts at bit 61 behind the run and its terminator,
    #     the fraction behind it; bits past the end are 0. The fraction has at most 61 bits and moves to below bit 61.
    rest = body << run_less_1
    exponent = k << fmt.es
    if fmt.es:
        exponent = exponent + ((rest >> (62 - fmt.es)) & ((1 << fmt.es) - 1))
    fraction = rest << (fmt.es - 1) if fmt.es else rest >> 1
    return Exact(sign, ((fraction & (HIDDEN - 1)) | (present & HIDDEN),), exponent, nar)


def _decode_fixed(bits: Tensor, fmt: FixedPoint) -> Exact:
    if fmt.signed:
        sign = bits << (64 - fmt.width) >> 63
        integer = bits << (64 - fmt.width) >> (64 - fmt.width)
        magnitude = (integer ^ sign) - sign
    else:
        sign, magnitude = torch.zeros_like(bits), bits & fmt.largest
    scale = floor_log2(magnitude)
    significand = magnitude << (LIMB - 1 - scale)
    return Exact(sign, (significand,), scale - fmt.fraction, torch.zeros_like(bits))


def decode_minifloat(codes: Tensor, fmt: Minifloat) -> Exact:
    """The exact values of a floating-point row's codes, in int64."""
    assert fmt.bias is not None
    magnitude_bits = fmt.exponent + fmt.mantissa
    sign = -((codes >> magnitude_bits) & 1) if fmt.signed else torch.zeros_like(codes)
    magnitude = codes & ((1 << magnitude_bits) - 1)
    field = magnitude >> fmt.mantissa
    # M1. The integer significand and the exponent of its unit; a subnormal has no hidden bit and the unit of field 1.
    if fmt.subnormals:
        hidden, unit = field.clamp(max=1), field.clamp(min=1)
    else:
        hidden, unit = torch.ones_like(field), field
    integer = (magnitude & ((1 << fmt.mantissa) - 1)) | (hidden << fmt.mantissa)
    # M2. Normalise: this moves subnormals only, and puts 0 far below.
    scale = floor_log2(integer)
    significand = integer << (LIMB - 1 - scale)
    exponent = unit + scale - (fmt.bias + fmt.mantissa)
    return Exact(sign, (significand,), exponent, _minifloat_kind(sign, magnitude, fmt))


def _decode_dmf(codes: Tensor, fmt: DMF) -> Exact:
    magnitude = codes & fmt.largest
    integer = magnitude & ((1 << fmt.mantissa) - 1)
    scale = floor_log2(integer)
    exponent = (magnitude >> fmt.mantissa) + scale + fmt.unit_scale
    sign = -((codes >> (fmt.width - 1)) & 1)
    return Exact(sign, (integer << (LIMB - 1 - scale),), exponent, torch.zeros_like(codes))


def _decode_logarithmic(codes: Tensor, fmt: Logarithmic) -> Exact:
    assert fmt.bias is not None
    magnitude = codes & fmt.largest
    exponent, significand = magnitude - fmt.bias, torch.full_like(codes, HIDDEN)
    if fmt.zero_code:
        present = nonzero(magnitude)
        significand = significand & present
        exponent = exponent + (~present & FAR_BELOW)
    return Exact(-((codes >> (fmt.width - 1)) & 1), (significand,), exponent, torch.zeros_like(codes))


def _minifloat_kind(sign: Tensor, magnitude: Tensor, fmt: Minifloat) -> Tensor:
    match fmt.specials:
        case "ieee":
            assert fmt.infinity is not None
            above = (fmt.infinity - magnitude) >> 63  # beyond Inf's code lie the NaNs
            return above | (~nonzero(magnitude ^ fmt.infinity) & INFINITE)
        case "fn":
            assert fmt.nan is not None
            return ~nonzero(magnitude ^ fmt.nan)
        case "fnuz":
            return sign & ~nonzero(magnitude)
        case _:
            return torch.zeros_like(magnitude)


def _decode_codebook(codes: Tensor, fmt: Codebook) -> Exact:
    patterns = book(fmt).patterns.to(codes.device)
    return decode_minifloat(patterns[codes & ((1 << fmt.width) - 1)], float64)


def _decode_exponent(codes: Tensor, fmt: Exponent) -> Exact:
    power = codes << (64 - fmt.width) >> (64 - fmt.width)
    zero = torch.zeros_like(power)
    return Exact(zero, (zero + HIDDEN,), power, zero)


#: by records; a `match` on them is no code that torch.compile follows before torch 2.11
_DECODERS: dict[type, Callable[[Tensor, Any], Exact]] = {
    Posit: _decode_posit,
    Minifloat: decode_minifloat,
    FixedPoint: _decode_fixed,
    DMF: _decode_dmf,
    Logarithmic: _decode_logarithmic,
    Codebook: _decode_codebook,
    Exponent: _decode_exponent,
}
