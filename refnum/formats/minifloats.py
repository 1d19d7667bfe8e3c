"""Floating-point formats of any size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import FormatError
from .checks import choice, ldexp, spelled, whole

SPECIALS = ("none", "fn", "ieee", "fnuz")
OVERFLOWS = ("saturate", "inf", "nan")


@dataclass(frozen=True, slots=True)
class Minifloat:
    """A sign-magnitude floating-point format of any exponent and mantissa width.

    A magnitude code ``e << mantissa | m`` is worth ``m * 2**(1 - bias - mantissa)`` for e = 0, else
    ``(2**mantissa + m) * 2**(e - bias - mantissa)``.

    >>> Minifloat(4, 3, specials="fn")
    Minifloat(exponent=4, mantissa=3, bias=7, specials='fn', overflow='saturate', signed=True, subnormals=True)
    >>> Minifloat(4, 3, specials="fn").largest
    126

    Standard: IEEE 754-2019 section 3.4 for the binary rows; OCP 8-bit and MX formats 1.0 for the small ones.
    """

    exponent: int  #: exponent bits, 1 to 11
    mantissa: int  #: stored fraction bits, 0 to 52
    bias: int | None = None  #: exponent bias; None: 2**(exponent-1) - 1, one more for fnuz
    specials: str = "ieee"  #: none: all finite; fn: all-ones is NaN; ieee: Inf and NaNs; fnuz: only 10..0, NaN
    overflow: str = "saturate"  #: what a value beyond the largest gives: saturate, inf, nan
    signed: bool = True  #: has a sign bit
    subnormals: bool = True  #: exponent field 0 means subnormal; False: an ordinary exponent (e8m0), so no zero

    def __post_init__(self) -> None:
        whole("Minifloat", "exponent", self.exponent, 1, 11)
        whole("Minifloat", "mantissa", self.mantissa, 0, 52)
        choice("Minifloat", "specials", self.specials, SPECIALS)
        choice("Minifloat", "overflow", self.overflow, OVERFLOWS)
        if self.bias is None:
            fnuz = self.specials == "fnuz"
            object.__setattr__(self, "bias", (1 << (self.exponent - 1)) - (0 if fnuz else 1))
        whole("Minifloat", "bias", self.bias, -1100, 1100)
        if self.overflow == "inf" and self.specials != "ieee":
            raise FormatError(
                f"Minifloat cannot overflow to 'inf' with specials={self.specials!r}, which has no Inf code. "
                "Choose overflow='saturate' or 'nan', or specials='ieee'."
            )
        if self.overflow == "nan" and self.specials == "none":
            raise FormatError(
                "Minifloat cannot overflow to 'nan' with specials='none', which has no NaN code. "
                "Choose overflow='saturate'."
            )
        if self.specials == "ieee" and self.mantissa == 0:
            raise FormatError(
                "Minifloat has no NaN code with specials='ieee' and mantissa=0: the top exponent is Inf alone. "
                "Choose specials='fn' or 'none'."
            )
        if self.specials == "fnuz" and not self.signed:
            raise FormatError(
                "Minifloat with specials='fnuz' needs signed=True: its NaN is the pattern of -0. Choose other specials."
            )

    @property
    def width(self) -> int:
        """Bits of one code."""
        return self.exponent + self.mantissa + (1 if self.signed else 0)

    @property
    def container_bits(self) -> int:
        """Bits of the integer that holds a code: uint8 up to 8 bits, int16, int32, int64 above."""
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.width)

    @property
    def significand_bits(self) -> int:
        """Bits of a normal significand, the hidden one included."""
        return self.mantissa + 1

    @property
    def min_scale(self) -> int:
        """log2 of the smallest normal value."""
        assert self.bias is not None
        return (1 if self.subnormals else 0) - self.bias

    @property
    def infinity(self) -> int | None:
        """The magnitude code of Inf, or None."""
        return ((1 << self.exponent) - 1) << self.mantissa if self.specials == "ieee" else None

    @property
    def nan(self) -> int | None:
        """The code of the NaN that is written (its sign bit clear, except fnuz), or None."""
        top = (1 << (self.exponent + self.mantissa)) - 1
        match self.specials:
            case "fn":
                return top
            case "ieee":
                return (((1 << self.exponent) - 1) << self.mantissa) | (1 << (self.mantissa - 1))
            case "fnuz":
                return top + 1
            case _:
                return None

    @property
    def largest(self) -> int:
        """The magnitude code of the largest finite value."""
        top = (1 << (self.exponent + self.mantissa)) - 1
        match self.specials:
            case "fn":
                return top - 1
            case "ieee":
                return (((1 << self.exponent) - 1) << self.mantissa) - 1
            case _:
                return top

    @property
    def largest_exact(self) -> tuple[int, int]:
        """The largest finite value as (odd integer, exponent): integer * 2**exponent."""
        assert self.bias is not None
        field, fraction = self.largest >> self.mantissa, self.largest & ((1 << self.mantissa) - 1)
        hidden = 1 if field or not self.subnormals else 0
        integer = fraction | (hidden << self.mantissa)
        exponent = (field if hidden else 1) - self.bias - self.mantissa
        zeros = (integer & -integer).bit_length() - 1
        return integer >> zeros, exponent + zeros

    @property
    def max_scale(self) -> int:
        """log2 of the largest finite value, rounded down."""
        integer, exponent = self.largest_exact
        return integer.bit_length() - 1 + exponent

    @property
    def max_value(self) -> float:
        """The largest finite value; inf where it lies beyond float64."""
        integer, exponent = self.largest_exact
        return ldexp(integer, exponent) if self.max_scale < 1024 else math.inf

    @property
    def name(self) -> str:
        """The row's name, or else the record as `parse` reads it, without what is as usual."""
        from .rows import name_of  # rows are made of these records

        usual = Minifloat(self.exponent, self.mantissa, specials="fnuz" if self.specials == "fnuz" else "fn")
        choices = {"bias": usual.bias, "specials": "ieee", "overflow": "saturate", "signed": True, "subnormals": True}
        options = {name: getattr(self, name) for name, choice in choices.items() if getattr(self, name) != choice}
        return name_of(self) or spelled("Minifloat", self.exponent, self.mantissa, **options)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class DMF:
    """A minifloat without a hidden bit: sign, exponent field e, significand m, worth ``m * 2**(e - bias - mantissa)``.

    A value may have many codes: all are decoded, and the one with the largest significand is written, which is the one
    with the least exponent.

    >>> DMF(4, 3).max_value, str(DMF(4, 3)), str(DMF(3, 4, bias=4))
    (224.0, 'dmf(4,3)', 'dmf(3,4,bias=4)')

    Standard: none; the denormalized minifloat of MASE (Zhang et al. 2023).
    """

    exponent: int  #: exponent bits, 1 to 8
    mantissa: int  #: significand bits, 1 to 14
    bias: int | None = None  #: None: 2**(exponent - 1) - 1

    def __post_init__(self) -> None:
        whole("DMF", "exponent", self.exponent, 1, 8)
        whole("DMF", "mantissa", self.mantissa, 1, 14)
        whole("DMF", "width", self.width, 2, 16)
        if self.bias is None:
            object.__setattr__(self, "bias", (1 << (self.exponent - 1)) - 1)
        whole("DMF", "bias", self.bias, -1000, 1000)

    @property
    def width(self) -> int:
        """Bits of one code."""
        return 1 + self.exponent + self.mantissa

    @property
    def container_bits(self) -> int:
        """Bits of the integer that holds a code."""
        return 8 if self.width <= 8 else 16

    @property
    def significand_bits(self) -> int:
        """Bits of a significand."""
        return self.mantissa

    @property
    def normalised(self) -> Minifloat:
        """A minifloat with a hidden bit that has all these values, and larger ones.

        Its fields 1 and above are ours, which begin at 0, with the leading bit of the significand hidden; its field 0
        are our significands without that bit.
        """
        assert self.bias is not None
        return Minifloat(self.exponent + 1, self.mantissa - 1, self.bias + 2, specials="none")

    @property
    def largest(self) -> int:
        """The magnitude code of the largest value."""
        return (1 << (self.exponent + self.mantissa)) - 1

    @property
    def unit_scale(self) -> int:
        """log2 of the unit of which all values are multiples."""
        assert self.bias is not None
        return -self.bias - self.mantissa

    @property
    def largest_exact(self) -> tuple[int, int]:
        """The largest value as (odd integer, exponent): integer * 2**exponent."""
        return (1 << self.mantissa) - 1, self.unit_scale + (1 << self.exponent) - 1

    @property
    def max_scale(self) -> int:
        """log2 of the largest value, rounded down."""
        integer, exponent = self.largest_exact
        return integer.bit_length() - 1 + exponent

    @property
    def max_value(self) -> float:
        """The largest value; inf where it lies beyond float64."""
        return ldexp(*self.largest_exact) if self.max_scale < 1024 else math.inf

    @property
    def name(self) -> str:
        """The record as `parse` reads it."""
        options: dict[str, object] = {} if self.bias == (1 << (self.exponent - 1)) - 1 else {"bias": self.bias}
        return spelled("dmf", self.exponent, self.mantissa, **options)

    def __str__(self) -> str:
        return self.name
