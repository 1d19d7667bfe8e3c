"""Takums: codebooks of a tapered format."""

from __future__ import annotations

from functools import lru_cache

from .checks import whole
from .codebooks import Codebook

FULL = 12  #: bits of the shortest pattern with room for every characteristic: shorter ones are padded with zeros


@lru_cache(maxsize=16)
def takum(width: int) -> Codebook:
    """Linear takums: two's complement patterns of sign, direction, regime, characteristic and mantissa.

    >>> takum(8).values[-3:], str(takum(12))
    ((2.0568806966515076e+62, 1.347997333357532e+67, 8.834235323891922e+71), 'takum(12)')

    The values are those of the paper, and they are rounded as those of all codebooks, by value: 0 is what is less than
    half the least value, and what is too large saturates. NaR, the pattern 10..0, is the code of NaN.

    Parameters
    ----------
    width : int
        Bits of a pattern, 2 to 16.

    Raises
    ------
    FormatError
        When the width is out of range.

    Standard: none; L. Hunhold, "Beating Posits at Their Own Game: Takum Arithmetic", 2024, its linear variant.
    """
    whole("takum", "width", width, 2, 16)
    nar = 1 << (width - 1)
    positive = [_positive(code << max(0, FULL - width), max(width, FULL)) for code in range(1, nar)]
    return Codebook(
        (*(-value for value in reversed(positive)), 0.0, *positive),
        codes=(*range(nar + 1, 2 * nar), *range(nar)),
        specials={"nan": nar},  # type: ignore[arg-type]
        name=f"takum{width}" if width in (8, 16) else f"takum({width})",
    )


def _positive(bits: int, width: int) -> float:
    """The value of a pattern above 0: (1 + mantissa) * 2**characteristic."""
    # T1. The direction says which way the regime, 3 bits, counts: it is the length of the characteristic's field.
    upwards, regime = bits >> (width - 2) & 1, bits >> (width - 5) & 7
    length = regime if upwards else 7 - regime
    # T2. Characteristics of one length follow upon those of the others: ..., -1 | 0 | 1, 2 | 3, ..., 6 | ...
    mantissa_bits = width - 5 - length
    field = bits >> mantissa_bits & ((1 << length) - 1)
    characteristic = (1 << length) - 1 + field if upwards else 1 - (2 << length) + field
    mantissa = bits & ((1 << mantissa_bits) - 1)
    return ((1 << mantissa_bits) + mantissa) * 2.0 ** (characteristic - mantissa_bits)
