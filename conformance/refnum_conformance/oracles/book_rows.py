"""Tables of values as formats of the operations table: `codebooks` and `p3109` in the terms of `lab`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from . import codebooks, p3109
from .codebooks import Table
from .lab import ZERO, Number
from .minifloat import Special
from .p3109 import Row
from .reals import Dyadic

#: NormalFloat of 4 bits, QLoRA's appendix E
NF4 = tuple(
    Fraction(x)
    for x in (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    )
)


@dataclass(frozen=True, eq=False)
class Book:
    """A format by what its codes mean, and by what gives the code of a real."""

    width: int
    meaning: Callable[[int], Fraction | str]  #: inf, -inf and nan where it is no number
    code: Callable[[Fraction | str, str, int], int]  #: of a real, a rounding, and 16 random bits

    @cached_property
    def values(self) -> Sequence[Fraction]:
        """All values."""
        found = (self.meaning(code) for code in range(1 << self.width))
        return sorted({x for x in found if isinstance(x, Fraction)})

    @cached_property
    def span(self) -> tuple[int, int, int]:
        """log2 of the least and of the largest magnitude, and the bits of a significand."""
        sizes = [_dyadic(abs(x)) for x in self.values if x]
        ends = [x.e + x.m.bit_length() - 1 for x in sizes]
        return min(x.e for x in sizes), max(ends), max(x.m.bit_length() for x in sizes)

    def encode(self, x: Number, rounding: str = "nearest_even", random_bits: int = 0) -> int:
        """The code of a number."""
        negative, a = x
        if a is Special.NAN:
            return self.code("nan", rounding, random_bits)
        if isinstance(a, Special):
            return self.code("-inf" if negative else "inf", rounding, random_bits)
        return self.code(-a.fraction() if negative else a.fraction(), rounding, random_bits)

    def decode(self, code: int) -> Number:
        """The number that a code stands for, by its low bits."""
        x = self.meaning(code & (1 << self.width) - 1)
        if isinstance(x, str):
            return x == "-inf", Special.NAN if x == "nan" else Special.INF
        return x < 0, _dyadic(abs(x)) if x else ZERO


def _dyadic(x: Fraction) -> Dyadic:
    """An odd integer times a power of two."""
    zeros = (x.numerator & -x.numerator).bit_length() - 1
    return Dyadic(x.numerator >> zeros, zeros + 1 - x.denominator.bit_length())


def of_table(table: Table) -> Book:
    """A codebook."""
    meanings: dict[int, Fraction | str] = dict(zip(table.codes, table.values, strict=True))
    meanings |= {code: name for name, code in table.specials.items()}
    width = max(1, max(meanings).bit_length())
    return Book(
        width,
        lambda code: meanings.get(code, "nan"),
        lambda x, rounding, random_bits: codebooks.encode(x, table, rounding, random_bits),
    )


def of_takum(width: int) -> Book:
    """A takum, rounded by value."""
    values = {code: codebooks.takum(code, width) for code in range(1 << width)}
    ordered = sorted((x, code) for code, x in values.items() if x is not None)
    reals, codes = zip(*ordered, strict=True)
    below, above = 2 * reals[0] - reals[1], 2 * reals[-1] - reals[-2]
    return of_table(Table(reals, codes, (below, above), {"nan": 1 << (width - 1)}))


def of_p3109(row: Row, saturation: str = "none") -> Book:
    """A format of IEEE P3109 under a saturation mode."""

    def meaning(code: int) -> Fraction | str:
        x = p3109.decode(code, row)
        return x if isinstance(x, Fraction) else str(x)

    def code(x: Fraction | str, rounding: str, random_bits: int) -> int:
        real = float(x) if isinstance(x, str) else x
        return row.nan if x == "nan" else p3109.project(real, row, rounding, saturation, random_bits)

    return Book(row.k, meaning, code)
