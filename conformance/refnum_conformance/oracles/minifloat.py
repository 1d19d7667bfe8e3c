"""Sign-magnitude floating-point formats of any width, IEEE's own among them (formats-search-rtl.md 2.3).

A magnitude is encoded twice: by the formula, whose rounding carry runs into the exponent field, and by looking for the
two neighbours among decoded codes. Both must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from .reals import Dyadic, OracleError, Real


class Special(Enum):
    """Magnitudes that are no numbers."""

    INF = "inf"
    NAN = "nan"


class Row(NamedTuple):
    """A format, in the terms of refnum's record of the same name."""

    exponent: int
    mantissa: int
    bias: int
    specials: str = "ieee"  #: none, fn, ieee, fnuz
    overflow: str = "saturate"  #: saturate, inf, nan
    signed: bool = True
    subnormals: bool = True  #: False: exponent field 0 is an ordinary one

    @property
    def width(self) -> int:
        """Bits of a code."""
        return self.exponent + self.mantissa + self.signed

    @property
    def largest(self) -> int:
        """The magnitude code of the largest number."""
        every = (1 << (self.exponent + self.mantissa)) - 1
        return {"none": every, "fnuz": every, "fn": every - 1, "ieee": every - (1 << self.mantissa)}[self.specials]

    @property
    def sign_bit(self) -> int:
        """The code of -0, where there is one."""
        return 1 << (self.exponent + self.mantissa)

    @property
    def infinity(self) -> int:
        """The magnitude code of Inf (ieee)."""
        return self.largest + 1

    @property
    def nan(self) -> int | None:
        """The code of NaN that is written, or None."""
        quiet = self.infinity + (1 << self.mantissa >> 1)
        return {"none": None, "fnuz": self.sign_bit, "fn": self.largest + 1, "ieee": quiet}[self.specials]


FLOATS = {
    "float16": Row(5, 10, 15, overflow="inf"),
    "bfloat16": Row(8, 7, 127, overflow="inf"),
    "float32": Row(8, 23, 127, overflow="inf"),
    "float64": Row(11, 52, 1023, overflow="inf"),
}

#: with torch's names of those of 8 bits
DTYPES = FLOATS | {
    "float8_e4m3fn": Row(4, 3, 7, "fn"),
    "float8_e5m2": Row(5, 2, 15),
    "float8_e4m3fnuz": Row(4, 3, 8, "fnuz"),
    "float8_e5m2fnuz": Row(5, 2, 16, "fnuz"),
}


def magnitude(code: int, row: Row) -> Dyadic:
    """The number that a magnitude code stands for, counting on beyond the largest one."""
    field, fraction = code >> row.mantissa, code & ((1 << row.mantissa) - 1)
    if field == 0 and row.subnormals:
        return Dyadic(fraction, 1 - row.bias - row.mantissa)
    return Dyadic((1 << row.mantissa) + fraction, field - row.bias - row.mantissa)


def decode(code: int, row: Row) -> tuple[bool, Dyadic | Special]:
    """(negative, magnitude) of a code.

    >>> decode(0xFE, Row(4, 3, 7, "fn")), decode(0x7F, Row(4, 3, 7, "fn"))
    ((True, Dyadic(m=14, e=5)), (False, <Special.NAN: 'nan'>))
    """
    code &= (1 << row.width) - 1
    negative, code = code >= row.sign_bit, code & (row.sign_bit - 1)
    if row.specials == "fnuz" and negative and code == 0:
        return False, Special.NAN
    if code > row.largest:
        return negative, Special.INF if row.specials == "ieee" and code == row.infinity else Special.NAN
    return negative, magnitude(code, row)


def signed(negative: bool, x: Dyadic) -> Dyadic:
    """The number with its sign."""
    return Dyadic(-x.m, x.e) if negative else x


def encode(negative: bool, x: Real | Special, row: Row, rounding: str = "nearest_even", random_bits: int = 0) -> int:
    """The code of a number with the sign ``negative`` and the magnitude of x."""
    if x is Special.NAN:
        return row.nan or 0
    if x is Special.INF:
        code = _overflowed(row)
    elif x.sign == 0:
        code = 0
    else:
        code = _rounded(negative, x, row, rounding, random_bits & 0xFFFF)
    if code == row.nan or not row.signed or (row.specials == "fnuz" and code == 0):
        return code
    return code | row.sign_bit if negative else code


def _overflowed(row: Row) -> int:
    return {"saturate": row.largest, "inf": row.infinity, "nan": row.nan}[row.overflow] or 0


def _rounded(negative: bool, x: Real, row: Row, rounding: str, random_bits: int) -> int:
    formula = _by_formula(negative, x, row, rounding, random_bits)
    neighbours = _by_neighbours(negative, x, row, rounding, random_bits, near=formula)
    if formula != neighbours:
        raise OracleError(f"{x} in {row}, {rounding}: formula {formula:#x}, neighbours {neighbours:#x}.")
    return formula if formula <= row.largest else _overflowed(row)


# By the formula ------------------------------------------------------------------------------------------------------

#: rounding -> whether q goes up, from its code, the rest in units of 1 / unit, the sign, and random bits. Even and odd
#: are the code's: that is q's own parity but for M = 0, where every q would be odd (as in P3109; IEEE's p = 1 goes up)
RULES: dict[str, Callable[[int, int, int, bool, int], bool]] = {
    "nearest_even": lambda code, rest, unit, negative, r: 2 * rest + (code & 1) > unit,
    "nearest_away": lambda code, rest, unit, negative, r: 2 * rest >= unit,
    "toward_zero": lambda code, rest, unit, negative, r: False,
    "toward_positive": lambda code, rest, unit, negative, r: rest > 0 and not negative,
    "toward_negative": lambda code, rest, unit, negative, r: rest > 0 and negative,
    "to_odd": lambda code, rest, unit, negative, r: rest > 0 and code % 2 == 0,
    "stochastic": lambda code, rest, unit, negative, r: (rest << 16) // unit > r,
}

#: whether a number beyond the code that would follow the largest one overflows
OVERFLOWS: dict[str, Callable[[bool, Row], bool]] = {
    "nearest_even": lambda negative, row: True,
    "nearest_away": lambda negative, row: True,
    "toward_zero": lambda negative, row: False,
    "toward_positive": lambda negative, row: not negative,
    "toward_negative": lambda negative, row: negative,
    "to_odd": lambda negative, row: row.largest % 2 == 0,
    "stochastic": lambda negative, row: True,
}


def _by_formula(negative: bool, x: Real, row: Row, rounding: str, random_bits: int) -> int:
    """The magnitude code; largest + 1 stands for overflow."""
    significand, exponent, more = x.leading(row.mantissa + 20)
    ilog = exponent + significand.bit_length() - 1
    ex = max(ilog, (1 if row.subnormals else 0) - row.bias)
    down = ex - row.mantissa - exponent
    if more:
        significand, down = 2 * significand + 1, down + 1
    unit = 1 << max(0, down)
    q, rest = divmod(significand << max(0, -down), unit)
    code = ((ex + row.bias - 1) << row.mantissa) + q
    if code > row.largest:
        return row.largest + OVERFLOWS[rounding](negative, row)
    return code + RULES[rounding](code, rest, unit, negative, random_bits)


# By the neighbours ---------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 16)
def _half_way(u: int, row: Row) -> Dyadic:
    low, high = magnitude(u, row), magnitude(u + 1, row)
    e = min(low.e, high.e)
    return Dyadic((low.m << (low.e - e)) + (high.m << (high.e - e)), e - 1)


def _by_neighbours(negative: bool, x: Real, row: Row, rounding: str, random_bits: int, near: int) -> int:
    """The magnitude code; largest + 1 stands for overflow. ``near`` saves the search and decides nothing."""
    if x.compare(magnitude(row.largest + 1, row)) >= 0:
        return row.largest + OVERFLOWS[rounding](negative, row)
    low, high = 0, row.largest + 1  # magnitude(low) <= x < magnitude(high)
    for guess in (near - 1, near, near + 1):
        if low < guess < high:
            low, high = (guess, high) if x.compare(magnitude(guess, row)) >= 0 else (low, guess)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if x.compare(magnitude(middle, row)) >= 0 else (low, middle)
    if low > 0 and x.compare(magnitude(low, row)) == 0:
        return low
    return low + _NEIGHBOUR_RULES[rounding](negative, x, low, row, random_bits)


def _reaches(x: Real, u: int, sixteenths: int, row: Row) -> bool:
    """Whether x lies at or beyond ``sixteenths`` / 2**16 of the way from u to its upper neighbour."""
    low, high = magnitude(u, row), magnitude(u + 1, row)
    e = min(low.e, high.e)
    start, step = low.m << (low.e - e), (high.m << (high.e - e)) - (low.m << (low.e - e))
    return x.compare(Dyadic((start << 16) + step * sixteenths, e - 16)) >= 0


#: rounding -> whether an x strictly between the codes u and u + 1 goes to u + 1
_NEIGHBOUR_RULES: dict[str, Callable[[bool, Real, int, Row, int], bool]] = {
    "nearest_even": lambda negative, x, u, row, r: x.compare(_half_way(u, row)) + (u & 1) > 0,
    "nearest_away": lambda negative, x, u, row, r: x.compare(_half_way(u, row)) >= 0,
    "toward_zero": lambda negative, x, u, row, r: False,
    "toward_positive": lambda negative, x, u, row, r: not negative,
    "toward_negative": lambda negative, x, u, row, r: negative,
    "to_odd": lambda negative, x, u, row, r: u % 2 == 0,
    "stochastic": lambda negative, x, u, row, r: r < 0xFFFF and _reaches(x, u, r + 1, row),
}
