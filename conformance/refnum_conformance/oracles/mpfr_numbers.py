"""MPFR's numbers, through gmpy2, and how they become exact numbers again.

Python's operators and abs() round to 53 bits here, so that nothing but comparisons is written with them.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

try:
    import gmpy2
except ImportError:
    gmpy2 = None

from .minifloat import Special
from .reals import Dyadic

Mpfr = Any  #: gmpy2's numbers: with signed zeros, infinities and NaN, each with its own precision
Ends = tuple[Mpfr, Mpfr]  #: of an interval
Result = tuple[bool, Dyadic | Special]  #: (negative, magnitude), as minifloats are decoded

BITS = 96  #: behind which results are cut off
OPERAND = 128  #: bits that hold any operand
SUM = 2304  #: bits that hold the sum of any two operands
FAR = 4096  #: an exponent beyond every format


def available() -> tuple[bool, str]:
    """Whether the functions can be asked, and the versions; else the reason."""
    if gmpy2 is None:
        return False, "gmpy2 is not installed: pip install gmpy2"
    return True, f"{gmpy2.mpfr_version()} of gmpy2 {gmpy2.version()}"


@cache
def context(precision: int, direction: str) -> Any:
    """How MPFR works: bits, and ``Down``, ``Up`` or ``ToZero``."""
    limits = {"emin": gmpy2.get_emin_min(), "emax": gmpy2.get_emax_max()}
    return gmpy2.context(precision=precision, round=getattr(gmpy2, f"Round{direction}"), **limits)


def number(negative: bool, x: Dyadic | Special) -> Mpfr:
    """As MPFR holds it, exactly; a negative zero keeps its sign."""
    if isinstance(x, Special):
        magnitude = gmpy2.mpfr(x.value)
    else:
        scale = context(OPERAND, "ToZero").mul_2exp if x.e >= 0 else context(OPERAND, "ToZero").div_2exp
        magnitude = scale(gmpy2.mpfr(x.m, OPERAND), abs(x.e))
    return context(OPERAND, "ToZero").minus(magnitude) if negative else magnitude


def fraction(x: Mpfr) -> Fraction:
    """The number, exactly."""
    m, e = map(int, x.as_mantissa_exp())
    return Dyadic(m, e).fraction()


def cut(x: Mpfr) -> Result:
    """The number behind x, which came from it by cutting off after 96 bits."""
    if gmpy2.is_nan(x) or gmpy2.is_infinite(x):
        return gmpy2.is_signed(x), Special.NAN if gmpy2.is_nan(x) else Special.INF
    m, e = map(int, x.as_mantissa_exp())
    if m == 0:  # and if it is not exact, one too small for MPFR, on the other side
        return (x.rc > 0, Dyadic(1, -FAR)) if x.rc else (gmpy2.is_signed(x), Dyadic(0, 0))
    scale = e + m.bit_length()
    if abs(scale) > FAR:
        return m < 0, Dyadic(1, FAR if scale > 0 else -FAR)
    unused = BITS - m.bit_length()
    return m < 0, Dyadic((abs(m) << (unused + 1)) + (x.rc != 0), e - unused - 1)
