"""Formats that are tables of values, in fractions: nothing is found by arithmetic on bits.

A number is placed between two values of the table by looking for them; a rounding rule then says which of the two it
becomes, from the distances and from their codes. Takums are tables, by their definition.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import NamedTuple

Number = Fraction | str  #: a number, or nan, inf or -inf


class Table(NamedTuple):
    """A format, in the terms of refnum's record Codebook."""

    values: tuple[Fraction, ...]  #: strictly increasing
    codes: tuple[int, ...]
    beyond: tuple[Fraction, Fraction]  #: where the next values below and above would be
    specials: Mapping[str, int] = {}
    overflow: tuple[str, str] = ("saturate", "saturate")  #: below and above: saturate, propagate, inf, nan


class Between(NamedTuple):
    """A number that is no value of the table: its neighbour on the side of 0, and the one away from it."""

    inner: int  #: place in the table
    outer: int  #: -1 and one more than the last place are beyond the ends
    part: Fraction  #: how much of the way from inner to outer, 0 to 1
    code: int  #: of the inner one
    positive: bool


#: rounding -> whether a number goes to the outer neighbour; the last operand is 16 random bits
RULES: dict[str, Callable[[Between, int], bool]] = {
    "nearest_even": lambda x, r: x.part > Fraction(1, 2) or (x.part == Fraction(1, 2) and x.code % 2 == 1),
    "nearest_away": lambda x, r: x.part >= Fraction(1, 2),
    "toward_zero": lambda x, r: False,
    "toward_positive": lambda x, r: x.positive,
    "toward_negative": lambda x, r: not x.positive,
    "to_odd": lambda x, r: x.code % 2 == 0,
    "stochastic": lambda x, r: (x.part.numerator << 16) // x.part.denominator > r,
}


def encode(x: Number, table: Table, rounding: str = "nearest_even", random_bits: int = 0) -> int:
    """The code of a number.

    >>> ternary = Table((Fraction(-1), Fraction(0), Fraction(1)), (0, 1, 2), (Fraction(-2), Fraction(2)))
    >>> [encode(Fraction(x), ternary) for x in ("1/2", "2/5", "-7")], encode("nan", ternary)
    ([2, 1, 0], 1)
    """
    if x == "nan":
        nearest = min(range(len(table.values)), key=lambda place: abs(table.values[place]))
        return table.specials.get("nan", table.codes[nearest])
    if isinstance(x, str):
        return _code(-1 if x == "-inf" else len(table.values), table, infinite=True)
    place = bisect_left(table.values, x)
    if place < len(table.values) and table.values[place] == x:
        return table.codes[place]
    between = _between(x, place, table)
    if between is None:  # nearer to 0 than values of one sign
        return table.codes[0 if x >= 0 else -1]
    return _code(between.outer if RULES[rounding](between, random_bits & 0xFFFF) else between.inner, table)


def _between(x: Fraction, above: int, table: Table) -> Between | None:
    """Where x is, which is no value, and less than that at the place ``above``; None before the first value."""
    inner, outer = (above - 1, above) if x >= 0 else (above, above - 1)
    last = len(table.values) - 1
    if inner == (-1 if x >= 0 else last + 1):
        return None
    step = table.beyond[0] if outer < 0 else table.beyond[1] if outer > last else table.values[outer]
    part = min(abs(x - table.values[inner]) / abs(step - table.values[inner]), Fraction(1))
    return Between(inner, outer, part, table.codes[inner], x >= 0)


def _code(place: int, table: Table, infinite: bool = False) -> int:
    """The code at a place, which may be beyond the ends."""
    if 0 <= place < len(table.values):
        return table.codes[place]
    infinity, end = ("-inf", 0) if place < 0 else ("inf", -1)
    overflow = table.overflow[0 if place < 0 else 1]
    special = {"saturate": "", "propagate": infinity if infinite else "", "inf": infinity, "nan": "nan"}[overflow]
    return table.specials.get(special, table.codes[end])


# Values by definition ------------------------------------------------------------------------------------------------


def takum(code: int, width: int) -> Fraction | None:
    """The value of a linear takum, None of NaR: Hunhold's formula with the sign in it.

    >>> [str(takum(code, 8)) for code in (0b01000000, 0b01000100, 0b11000000, 0b00000001)]
    ['1', '3/2', '-1', '1/883423532389192164791648750371459257913741948437809479060803100646309888']
    """
    if code == 1 << (width - 1):
        return None
    if code == 0:
        return Fraction(0)
    full = max(width, 12)
    string = f"{code << (full - width):0{full}b}"
    sign, direction, regime = int(string[0]), int(string[1]), int(string[2:5], 2)
    r = regime if direction else 7 - regime
    field = int("0" + string[5 : 5 + r], 2)
    characteristic = (1 << r) - 1 + field if direction else -(1 << r + 1) + 1 + field
    rest = string[5 + r :]
    mantissa = Fraction(int("0" + rest, 2), 1 << len(rest))
    return ((1 - 3 * sign) + mantissa) * _power(-(characteristic + 1) if sign else characteristic)


def _power(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)
