"""Codes as exact numbers, on plain Python integers: what cases are made of, and what a mismatch prints.

Nothing here uses ``core``: a generator that asked the code under test where its ties lie would follow its errors.

A *magnitude* is a code without its sign: that of a posit is the pattern of a value that is not negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..formats import Format, Minifloat, Posit


@dataclass(frozen=True, slots=True)
class Dyadic:
    """The number m * 2**e.

    >>> (Dyadic(3, -1) - Dyadic(1, 0)) * Dyadic(1, 4)
    Dyadic(m=1, e=3)
    """

    m: int
    e: int

    @property
    def scale(self) -> int:
        """floor(log2 |x|); -1 + e for 0."""
        return self.m.bit_length() - 1 + self.e

    def __neg__(self) -> Dyadic:
        return Dyadic(-self.m, self.e)

    def __abs__(self) -> Dyadic:
        return Dyadic(abs(self.m), self.e)

    def __add__(self, other: Dyadic) -> Dyadic:
        e = min(self.e, other.e)
        return Dyadic((self.m << (self.e - e)) + (other.m << (other.e - e)), e)

    def __sub__(self, other: Dyadic) -> Dyadic:
        return self + -other

    def __mul__(self, other: Dyadic) -> Dyadic:
        return Dyadic(self.m * other.m, self.e + other.e)

    def __float__(self) -> float:
        return math.ldexp(self.m, self.e)


ZERO, ONE = Dyadic(0, 0), Dyadic(1, 0)


# ---- codes -----------------------------------------------------------------------------------------------------------


def wrap(code: int, fmt: Format) -> int:
    """The code in the low bits, as tensors hold it: posits sign-extended, so are 64 bits of any format."""
    code &= (1 << fmt.width) - 1
    signed = isinstance(fmt, Posit) or fmt.width == 64
    return code - (code >> (fmt.width - 1) << fmt.width) if signed else code


def opposite(code: int, fmt: Format) -> int:
    """The code of the negative value; the code itself where the format has none."""
    match fmt:
        case Posit():
            return wrap(-code, fmt)
        case Minifloat():
            return wrap(code ^ (int(fmt.signed) << (fmt.width - 1)), fmt)


def split(code: int, fmt: Format) -> tuple[bool, int]:
    """Whether the sign bit is set, and the magnitude."""
    match fmt:
        case Posit():
            return wrap(code, fmt) < 0, abs(wrap(code, fmt))
        case Minifloat():
            size = fmt.exponent + fmt.mantissa
            return bool(fmt.signed and code >> size & 1), code & ((1 << size) - 1)


def largest(fmt: Format) -> int:
    """The magnitude of the largest finite value."""
    return fmt.maxpos if isinstance(fmt, Posit) else fmt.largest


def special(code: int, fmt: Format) -> float | None:
    """NaN for a NaR or NaN code, Inf or -Inf, None for numbers."""
    negative, magnitude = split(code, fmt)
    match fmt:
        case Posit():
            return math.nan if wrap(code, fmt) == fmt.nar else None
        case Minifloat(specials="ieee") if magnitude == fmt.infinity:
            return -math.inf if negative else math.inf
        case Minifloat(specials="ieee" | "fn") if magnitude > fmt.largest:
            return math.nan
        case Minifloat(specials="fnuz") if negative and not magnitude:
            return math.nan
    return None


# ---- values ----------------------------------------------------------------------------------------------------------


def value(code: int, fmt: Format) -> Dyadic:
    """The exact value of a code that stands for a number."""
    negative, magnitude = split(code, fmt)
    match fmt:
        case Posit():
            x = _posit_value(magnitude, fmt.n, fmt.es)
        case Minifloat():
            x = _minifloat_value(magnitude, fmt.mantissa, fmt)
    return -x if negative else x


def midpoint(magnitude: int, fmt: Format) -> Dyadic:
    """Where the rounding to nearest changes from a magnitude to the next: the odd code of the format with one more bit.

    For posits that is half way on the bit string, for minifloats on the number line.
    """
    match fmt:
        case Posit():
            return _posit_value(2 * magnitude + 1, fmt.n + 1, fmt.es)
        case Minifloat():
            return _minifloat_value(2 * magnitude + 1, fmt.mantissa + 1, fmt)


def to_float(code: int, fmt: Format) -> float:
    """The value, special ones too, as a Python float."""
    if (other := special(code, fmt)) is not None:
        return other
    negative, _ = split(code, fmt)
    return math.copysign(float(value(code, fmt)), -1 if negative else 1)


def _posit_value(magnitude: int, n: int, es: int) -> Dyadic:
    if not magnitude:
        return ZERO
    body = f"{magnitude:0{n - 1}b}"
    run = len(body) - len(body.lstrip(body[0]))
    k = run - 1 if body[0] == "1" else -run
    rest = body[run + 1 :]
    exponent, fraction = rest[:es].ljust(es, "0"), rest[es:]
    return Dyadic(int("1" + fraction, 2), (k << es) + int("0" + exponent, 2) - len(fraction))


def _minifloat_value(magnitude: int, mantissa: int, row: Minifloat) -> Dyadic:
    assert row.bias is not None
    field, fraction = magnitude >> mantissa, magnitude & ((1 << mantissa) - 1)
    hidden = int(field > 0 or not row.subnormals)
    return Dyadic((hidden << mantissa) + fraction, field + 1 - hidden - row.bias - mantissa)


# ---- back to codes ---------------------------------------------------------------------------------------------------


def below(x: Dyadic, fmt: Format) -> int:
    """The largest magnitude of a finite value that is not above x >= 0; the least where all are above."""
    if not x.m:
        return 0
    match fmt:
        case Posit():
            return _posit_below(x, fmt)
        case Minifloat():
            return _minifloat_below(x, fmt)


def _posit_below(x: Dyadic, fmt: Posit) -> int:
    k, exponent = divmod(x.scale, 1 << fmt.es)
    regime = "1" * (k + 1) + "0" if k >= 0 else "0" * -k + "1"
    body = regime + (f"{exponent:0{fmt.es}b}" if fmt.es else "") + f"{x.m:b}"[1:]
    return int(body[: fmt.n - 1].ljust(fmt.n - 1, "0"), 2)


def _minifloat_below(x: Dyadic, row: Minifloat) -> int:
    assert row.bias is not None
    scale = max(x.scale, row.min_scale)
    shift = x.e - (scale - row.mantissa)
    significand = x.m << shift if shift >= 0 else x.m >> -shift
    # Added, not joined: the hidden bit counts 1 in the field, so that a subnormal needs no case.
    field = scale + row.bias - int(row.subnormals)
    if not row.subnormals:
        significand -= 1 << row.mantissa
    return max(0, min((field << row.mantissa) + significand, row.largest))


def exactly(x: Dyadic, fmt: Format) -> int | None:
    """The code of x, or None where the format does not hold it."""
    magnitude = below(abs(x), fmt)
    if (value(magnitude, fmt) - abs(x)).m:
        return None
    return opposite(magnitude, fmt) if x.m < 0 else magnitude
