"""Signs and exponents, and nothing else: logarithmic formats."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .checks import flag, ldexp, spelled, whole


@dataclass(frozen=True, slots=True)
class Logarithmic:
    """Powers of two with a sign: code ``sign << (width - 1) | k`` is worth ``2**(k - bias)``.

    A value is rounded in its logarithm: the border between 1 and 2 is the square root of 2.

    >>> Logarithmic(4).max_value, Logarithmic(4).min_value, Logarithmic(4, zero_code=False).min_value
    (16.0, 0.25, 0.125)
    >>> str(Logarithmic(5, bias=0))
    'log(5,bias=0)'

    Standard: none; Miyashita et al. 2016 (arXiv 1603.01025) for the quantization of networks.
    """

    width: int  #: bits of one code, 2 to 16
    bias: int | None = None  #: None: 2**(width - 2) - 1
    zero_code: bool = True  #: k = 0 is 0; False: an ordinary exponent, and 0 becomes the least value

    def __post_init__(self) -> None:
        whole("Logarithmic", "width", self.width, 2, 16)
        flag("Logarithmic", "zero_code", self.zero_code)
        if self.bias is None:
            object.__setattr__(self, "bias", (1 << (self.width - 2)) - 1)
        whole("Logarithmic", "bias", self.bias, -40000, 40000)

    @property
    def container_bits(self) -> int:
        """Bits of the integer that holds a code."""
        return 8 if self.width <= 8 else 16

    @property
    def significand_bits(self) -> int:
        """A power of two has one."""
        return 1

    @property
    def largest(self) -> int:
        """The magnitude code of the largest value."""
        return (1 << (self.width - 1)) - 1

    @property
    def min_scale(self) -> int:
        """log2 of the least positive value."""
        assert self.bias is not None
        return int(self.zero_code) - self.bias

    @property
    def unit_scale(self) -> int:
        """log2 of the unit of which all values are multiples."""
        return self.min_scale

    @property
    def largest_exact(self) -> tuple[int, int]:
        """The largest value as (odd integer, exponent): integer * 2**exponent."""
        return 1, self.max_scale

    @property
    def max_scale(self) -> int:
        """log2 of the largest value."""
        assert self.bias is not None
        return self.largest - self.bias

    @property
    def max_value(self) -> float:
        """The largest value; inf where it lies beyond float64."""
        return _power(self.max_scale)

    @property
    def min_value(self) -> float:
        """The least positive value; 0 where it lies below float64."""
        return _power(self.min_scale)

    @property
    def name(self) -> str:
        """The record as `parse` reads it."""
        options: dict[str, object] = {} if self.bias == (1 << (self.width - 2)) - 1 else {"bias": self.bias}
        if not self.zero_code:
            options["zero_code"] = False
        return spelled("log", self.width, **options)

    def __str__(self) -> str:
        return self.name


def _power(exponent: int) -> float:
    return ldexp(1.0, exponent) if exponent < 1024 else math.inf
