"""Integers in units of a power of two."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FormatError
from .checks import choice, flag, spelled, whole

OVERFLOWS = ("saturate", "wrap")


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """Integers in units of ``2**-fraction``: two's complement, or without a sign.

    >>> FixedPoint(8, 4).max_value, FixedPoint(8, 4, signed=False).max_value, FixedPoint(4, 6).max_value
    (7.9375, 15.9375, 0.109375)
    >>> str(FixedPoint(8, 6, symmetric=True))
    'fixed(8,6,symmetric=True)'

    Standard: OCP MX 1.0 section 5.3.4 for INT8, which is ``FixedPoint(8, 6)``.
    """

    width: int  #: bits of one code, 2 to 32
    fraction: int  #: how many of them lie behind the point; may be negative, or more than there are
    signed: bool = True  #: has negative values
    symmetric: bool = False  #: the least code is decoded but never written
    overflow: str = "saturate"  #: what a value beyond the ends gives: the end, or its low bits (wrap)

    def __post_init__(self) -> None:
        whole("FixedPoint", "width", self.width, 2, 32)
        whole("FixedPoint", "fraction", self.fraction, -1000, 1000)
        flag("FixedPoint", "signed", self.signed)
        flag("FixedPoint", "symmetric", self.symmetric)
        choice("FixedPoint", "overflow", self.overflow, OVERFLOWS)
        if self.symmetric and not (self.signed and self.overflow == "saturate"):
            raise FormatError(
                f"FixedPoint has no symmetric=True with signed={self.signed} and overflow={self.overflow!r}: it is "
                "signed integers that saturate one step earlier. Leave it out."
            )

    @property
    def container_bits(self) -> int:
        """Bits of the smallest integer that holds a code's value; without a sign above 8 bits one bit is spare."""
        spare = not self.signed and self.width > 8
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.width + spare)

    @property
    def significand_bits(self) -> int:
        """The most bits that a magnitude that is written has; the least of signed values has but one."""
        return self.width - (1 if self.signed else 0)

    @property
    def unit_scale(self) -> int:
        """log2 of the unit of which all values are multiples."""
        return -self.fraction

    @property
    def largest(self) -> int:
        """The code of the largest value."""
        return (1 << self.significand_bits) - 1

    @property
    def least(self) -> int:
        """The least integer that is written."""
        return (-self.largest if self.symmetric else -self.largest - 1) if self.signed else 0

    @property
    def largest_exact(self) -> tuple[int, int]:
        """The largest value as (odd integer, exponent): integer * 2**exponent."""
        return self.largest, -self.fraction

    @property
    def max_scale(self) -> int:
        """log2 of the largest value, rounded down."""
        return self.significand_bits - 1 - self.fraction

    @property
    def max_value(self) -> float:
        """The largest value."""
        return self.largest * 2.0**-self.fraction

    @property
    def name(self) -> str:
        """The record as `parse` reads it."""
        options: dict[str, object] = {} if self.signed else {"signed": False}
        if self.symmetric:
            options["symmetric"] = True
        if self.overflow != "saturate":
            options["overflow"] = self.overflow
        return spelled("fixed", self.width, self.fraction, **options)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Exponent:
    """Two's complement integers t that stand for ``2**t``: scales of block formats, and no numbers by themselves.

    >>> Exponent(4).least, Exponent(4).largest, str(Exponent(8))
    (-8, 7, 'exponent(8)')

    Standard: none; block minifloat (Fox et al., ICLR 2021) shares such an exponent.
    """

    width: int  #: bits of one code, 2 to 8

    def __post_init__(self) -> None:
        whole("Exponent", "width", self.width, 2, 8)

    @property
    def least(self) -> int:
        """The least t."""
        return -(1 << (self.width - 1))

    @property
    def largest(self) -> int:
        """The largest t."""
        return (1 << (self.width - 1)) - 1

    @property
    def significand_bits(self) -> int:
        """A power of two has one."""
        return 1

    @property
    def name(self) -> str:
        """The record as `parse` reads it."""
        return spelled("exponent", self.width)

    def __str__(self) -> str:
        return self.name
