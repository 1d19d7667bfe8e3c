"""Posits."""

from __future__ import annotations

from dataclasses import dataclass

from .checks import whole


@dataclass(frozen=True, slots=True)
class Posit:
    """A posit format: two's complement patterns of ``n`` bits with ``es`` exponent bits.

    >>> Posit(16)
    Posit(n=16, es=2)
    >>> Posit(16).max_scale, Posit(16).significand_bits, str(Posit(16, 1))
    (56, 12, 'posit(16,1)')

    Standard: Posit Standard (2022) section 3 for es = 2; any other es is refnum's documented extension.
    """

    n: int  #: width in bits, 2 to 64
    es: int = 2  #: exponent bits, 0 to 4; 2 in the standard

    def __post_init__(self) -> None:
        whole("Posit", "n", self.n, 2, 64)
        whole("Posit", "es", self.es, 0, 4)

    @property
    def width(self) -> int:
        """Bits of one pattern."""
        return self.n

    @property
    def container_bits(self) -> int:
        """Bits of the smallest signed integer that holds a pattern."""
        return next(bits for bits in (8, 16, 32, 64) if bits >= self.n)

    @property
    def nar(self) -> int:
        """The pattern of NaR as a signed integer: the least of all."""
        return -(1 << (self.n - 1))

    @property
    def maxpos(self) -> int:
        """The pattern of the largest posit."""
        return (1 << (self.n - 1)) - 1

    @property
    def max_scale(self) -> int:
        """log2 of the largest posit; the smallest positive one is 2**-max_scale."""
        return (self.n - 2) << self.es

    @property
    def max_value(self) -> float:
        """The largest value."""
        return 2.0**self.max_scale

    @property
    def significand_bits(self) -> int:
        """The most bits that a significand has, the hidden one included."""
        return max(1, self.n - 2 - self.es)

    def fraction_bits(self, scale: int) -> int:
        """Fraction bits of posits from 2**scale on; negative where the regime cuts off so many exponent bits."""
        k = scale >> self.es
        return self.n - 3 - self.es - (k if k >= 0 else -k - 1)

    @property
    def quire_bits(self) -> int:
        """Width of the quire: 16n for es = 2 (section 3.4); for other es refnum's W = 4 * max_scale + 32."""
        return 4 * self.max_scale + 32

    @property
    def name(self) -> str:
        """The shortest name that `parse` reads back."""
        if self.es == 2 and self.n in (8, 16, 32, 64):
            return f"posit{self.n}"
        return f"posit({self.n},{self.es})"

    def __str__(self) -> str:
        return self.name
