"""How far function values of posits are from where their rounding changes.

The unit is a *last place*, one step of the pattern. It is not measured where nothing rounds: beyond the largest and the
smallest number.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction

from . import posit_literal
from .elementary import DIRECT
from .elementary_cases import EXACT
from .elementary_intervals import ENCLOSURES, Steps
from .mpfr_numbers import Ends, Mpfr, gmpy2, number
from .reals import Dyadic, OracleError

BITS = 256  #: of the ends between which a value lies
SURE = 128  #: bits behind the last place to which both must agree
PLACES = 20  #: significant digits of a distance in decimals


def to_tie(name: str, pattern: int, n: int, es: int) -> Fraction | None:
    """Last places from a function's value at a pattern to the tie: at most 1/2, or None where nothing rounds.

    >>> to_tie("sqrt", 0x40000000, 32, 2), to_tie("exp2", 0x6B100000, 32, 2)  # 2**113 is between 2**112 and 2**114
    (Fraction(1, 2), Fraction(0, 1))
    """
    x = posit_literal.decode(pattern, n, es)
    if x is None:
        return None
    ends = _ends(name, number(False, x))
    if not all(map(gmpy2.is_regular, ends)):
        return None
    below, above = (places(Dyadic(*map(int, y.as_mantissa_exp())), n, es) for y in ends)
    if below is None or above is None:
        return None
    if abs(below - above) > Fraction(1, 1 << SURE) or (below != above and below < Fraction(1, 1 << SURE)):
        raise OracleError(f"{name} of {pattern:#x} in posit({n},{es}) is not decided by {BITS} bits.")
    return below


def _ends(name: str, x: Mpfr) -> Ends:
    """Two numbers with the value between them: one number, if the value is it."""
    steps = Steps(BITS)
    if name in DIRECT:
        return DIRECT[name](steps.down, x), DIRECT[name](steps.up, x)
    exact = EXACT[name](x)
    return ENCLOSURES[name](steps, x) if exact is None else (number(*exact),) * 2


def places(y: Dyadic, n: int, es: int) -> Fraction | None:
    """The same for a number, not 0.

    >>> places(Dyadic(0x2001, -13), 16, 2)  # here the fraction of a posit16 has 11 bits
    Fraction(1, 4)
    """
    # P1. The size is 2**scale * (1 + f). With k = scale >> es, and m = k for k >= 0, -k - 1 otherwise, the regime has
    #     m + 2 bits, and the pattern goes up by 1 when scale + f goes up by 2**(m + 3 + es - n).
    length = y.m.bit_length() - 1
    scale = y.e + length
    k = scale >> es
    m = k if k >= 0 else -k - 1
    if m > n - 3:
        return None
    # P2. In these units scale + f is a tie where it is a whole number and a half.
    position = (Fraction(abs(y.m), 1 << length) - 1 + scale) / Fraction(2) ** (m + 3 + es - n)
    return abs(position % 1 - Fraction(1, 2))


def digits(distance: Fraction) -> str:
    """A distance in decimals.

    >>> digits(Fraction(1, 3 << 30))
    '3.1044085820515950521e-10'
    """
    with localcontext(prec=2 * PLACES):
        return f"{Decimal(distance.numerator) / Decimal(distance.denominator):.{PLACES - 1}e}"
