"""What functions give where no real number decides: at NaN, at infinities, at poles, outside the domain, at zeros.

`resolve` is the definition: it gives a float (NaN, an infinity, a zero with its sign, or another number that a limit
is), or says which real number is to be rounded. Minifloats follow IEEE 754-2019 section 9.2.1; in posits there is NaR,
no Inf and no sign of 0, and what has no unique real result is NaR (Posit Standard (2022) 5.1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan
from typing import NamedTuple

from ..reals.intervals import Dyadic

ZERO, ONE, MINUS_ONE = Dyadic(0, 0), Dyadic(1, 0), Dyadic(-1, 0)


class Call(NamedTuple):
    """A real number to be rounded: the value of a function at numbers."""

    name: str  #: of the enclosure
    operands: tuple[Dyadic | int, ...]
    zero: float = 0.0  #: the zero to write where the value is 0
    negate: bool = False  #: the number is minus the value


class Operand(NamedTuple):
    """What a code stands for: NaN, an infinity, a zero with a sign, or a number that is not 0."""

    special: float | None  #: NaN, an infinity, a zero; None for other numbers
    number: Dyadic  #: 0 but for other numbers

    @property
    def negative(self) -> bool:
        """Its sign; that of NaN says nothing."""
        return self.number.integer < 0 if self.special is None else math.copysign(1, self.special) < 0

    @property
    def nan(self) -> bool:
        """Whether it is NaN."""
        return self.special is not None and math.isnan(self.special)

    @property
    def infinite(self) -> bool:
        """Whether it is an infinity."""
        return self.special is not None and math.isinf(self.special)

    @property
    def zero(self) -> bool:
        """Whether it is a zero."""
        return self.special == 0


Resolved = float | Call


def resolve(name: str, operands: tuple[Operand, ...], k: int | None, *, posit: bool) -> Resolved:
    """What the function gives at the operands, and at the integer k if it takes one."""
    if posit and any(x.nan for x in operands):
        return nan
    if k is not None:
        return WITH_INTEGER[name](operands[0], k, posit)
    if len(operands) == 2:
        return OF_TWO[name](*operands, posit)
    return _of_one(name, operands[0])


# ---- one argument --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a function of one argument ends: at infinities, and beyond what interval."""

    below: Resolved = nan  #: at -inf
    above: Resolved = nan  #: at inf
    least: int | None = None  #: the domain's ends
    most: int | None = None
    poles: dict[int, float] = field(default_factory=dict)  #: an infinity at a number; inf at a zero has its sign
    signed: bool = False  #: at a zero the result is that zero


RIGHT_ANGLE = Call("asin", (ONE,))
MINUS_RIGHT_ANGLE = Call("asin", (MINUS_ONE,))

ENDS = {
    "exp": Ends(0.0, inf),
    "expm1": Ends(-1.0, inf, signed=True),
    "exp2": Ends(0.0, inf),
    "exp2m1": Ends(-1.0, inf, signed=True),
    "exp10": Ends(0.0, inf),
    "exp10m1": Ends(-1.0, inf, signed=True),
    "log": Ends(nan, inf, least=0, poles={0: -inf}),
    "log1p": Ends(nan, inf, least=-1, poles={-1: -inf}, signed=True),
    "log2": Ends(nan, inf, least=0, poles={0: -inf}),
    "log2p1": Ends(nan, inf, least=-1, poles={-1: -inf}, signed=True),
    "log10": Ends(nan, inf, least=0, poles={0: -inf}),
    "log10p1": Ends(nan, inf, least=-1, poles={-1: -inf}, signed=True),
    "sin": Ends(signed=True),
    "cos": Ends(),
    "tan": Ends(signed=True),
    "asin": Ends(least=-1, most=1, signed=True),
    "asinpi": Ends(least=-1, most=1, signed=True),
    "acos": Ends(least=-1, most=1),
    "acospi": Ends(least=-1, most=1),
    "atan": Ends(MINUS_RIGHT_ANGLE, RIGHT_ANGLE, signed=True),
    "atanpi": Ends(-0.5, 0.5, signed=True),
    "sinh": Ends(-inf, inf, signed=True),
    "cosh": Ends(inf, inf),
    "tanh": Ends(-1.0, 1.0, signed=True),
    "asinh": Ends(-inf, inf, signed=True),
    "acosh": Ends(nan, inf, least=1),
    "atanh": Ends(least=-1, most=1, poles={-1: -inf, 1: inf}, signed=True),
    "sqrt": Ends(nan, inf, least=0, signed=True),
    "rsqrt": Ends(nan, 0.0, least=0, poles={0: inf}),
    "reciprocal": Ends(-0.0, 0.0, poles={0: inf}),
    "sigmoid": Ends(0.0, 1.0),
    "silu": Ends(-0.0, inf, signed=True),
    "gelu": Ends(-0.0, inf, signed=True),
    "gelu_tanh": Ends(-0.0, inf, signed=True),
}


def _of_one(name: str, x: Operand) -> Resolved:
    if name in TURNS:
        return TURNS[name](x)
    ends = ENDS[name]
    if x.nan:
        return nan
    if x.infinite:
        return ends.below if x.negative else ends.above
    if (ends.least is not None and _less(x.number, ends.least)) or (
        ends.most is not None and _more(x.number, ends.most)
    ):
        return nan
    for place, pole in ends.poles.items():
        if not _less(x.number, place) and not _more(x.number, place):
            return _like(pole, x) if x.zero and pole > 0 else pole
    if x.zero and ends.signed:
        assert x.special is not None
        return x.special
    return Call(name, (x.number,))


# Of angles in turns: the zeros of sinpi have the sign of the argument; those of tanpi, and its poles, alternate.


def _sinpi(x: Operand) -> Resolved:
    if x.nan or x.infinite:
        return nan
    return _like(0.0, x) if _whole(x.number) else Call("sinpi", (x.number,))


def _cospi(x: Operand) -> Resolved:
    return nan if x.nan or x.infinite else Call("cospi", (x.number,))


def _tanpi(x: Operand) -> Resolved:
    if x.nan or x.infinite:
        return nan
    if _whole(x.number):
        return _like(0.0, x) if _even(x.number) else -_like(0.0, x)
    if x.number.exponent == -1 and x.number.integer & 1:
        return inf if x.number.integer & 3 == 1 else -inf
    return Call("tanpi", (x.number,))


TURNS: dict[str, Callable[[Operand], Resolved]] = {"sinpi": _sinpi, "cospi": _cospi, "tanpi": _tanpi}


# ---- two arguments -------------------------------------------------------------------------------


def _hypot(x: Operand, y: Operand, posit: bool) -> Resolved:
    if x.infinite or y.infinite:
        return inf
    return nan if x.nan or y.nan else Call("hypot", (x.number, y.number))


def _pow(x: Operand, y: Operand, posit: bool) -> Resolved:
    if posit and x.zero:
        return 0.0 if y.number.integer > 0 else nan
    if y.zero or x.number == ONE:
        return 1.0
    if x.nan or y.nan:
        return nan
    if y.infinite:
        return _power_of_infinity(x, y)
    odd = _whole(y.number) and not _even(y.number)
    if x.zero or x.infinite:
        size = inf if x.infinite != y.negative else 0.0
        return _like(size, x) if odd else size
    if x.negative and not _whole(y.number):
        return nan
    return Call("pow", (x.number, y.number))


def _power_of_infinity(x: Operand, y: Operand) -> Resolved:
    """x to an infinite power: 1 where |x| is 1, else as it grows or shrinks."""
    if x.number in (ONE, MINUS_ONE):
        return 1.0
    large = x.infinite or _less(x.number, -1) or _more(x.number, 1)
    return inf if large != y.negative else 0.0


def _atan2(y: Operand, x: Operand, posit: bool, name: str = "atan2") -> Resolved:
    if y.nan or x.nan or (posit and y.zero and x.zero):
        return nan
    # T1. The sign is that of y, also of a zero.  T2. In the limit, an infinity is 1 and a number beside it 0, and so is
    # a zero beside a zero, which stands to the left of the origin if it is negative.
    above, right = _size(y.number), x.number
    if y.infinite or x.infinite or (y.zero and x.zero):
        above = ONE if y.infinite else ZERO
        right = Dyadic(-1 if x.negative else 1, 0) if x.infinite or (y.zero and x.zero) else ZERO
    return Call(name, (above, right), zero=_like(0.0, y), negate=y.negative)


def _atan2pi(y: Operand, x: Operand, posit: bool) -> Resolved:
    return _atan2(y, x, posit, "atan2pi")


def _softmax_exp(x: Operand, m: Operand, posit: bool) -> Resolved:
    if x.nan or m.nan or (x.infinite and m.infinite and x.negative == m.negative):
        return nan
    if x.infinite:
        return 0.0 if x.negative else inf
    if m.infinite:
        return inf if m.negative else 0.0
    return Call("softmax_exp", (x.number, m.number))


OF_TWO: dict[str, Callable[[Operand, Operand, bool], Resolved]] = {
    "hypot": _hypot,
    "pow": _pow,
    "atan2": _atan2,
    "atan2pi": _atan2pi,
    "softmax_exp": _softmax_exp,
}


# ---- a number and an integer ---------------------------------------------------------------------


def _compoundn(x: Operand, k: int, posit: bool) -> Resolved:
    if k == 0 and (x.nan or x.infinite):
        return nan if x.infinite and x.negative else 1.0
    if x.nan:
        return nan
    if x.infinite:
        return nan if x.negative else (inf if k > 0 else 0.0)
    if _less(x.number, -1) and not posit:
        return nan
    if x.number == MINUS_ONE and k:
        return 0.0 if k > 0 else (nan if posit else inf)
    return Call("compoundn", (x.number, k))


def _rootn(x: Operand, k: int, posit: bool) -> Resolved:
    if x.nan or k == 0 or (x.negative and not x.zero and k % 2 == 0):
        return nan
    if x.zero or x.infinite:
        size = inf if x.infinite == (k > 0) else 0.0
        return nan if posit and size else (_like(size, x) if k % 2 else size)
    return Call("rootn", (x.number, k))


WITH_INTEGER: dict[str, Callable[[Operand, int, bool], Resolved]] = {"compoundn": _compoundn, "rootn": _rootn}


# ---- numbers -------------------------------------------------------------------------------------


def _like(size: float, x: Operand) -> float:
    return -size if x.negative else size


def _size(x: Dyadic) -> Dyadic:
    return Dyadic(abs(x.integer), x.exponent)


def _less(x: Dyadic, bound: int) -> bool:
    return _difference(x, bound) < 0


def _more(x: Dyadic, bound: int) -> bool:
    return _difference(x, bound) > 0


def _difference(x: Dyadic, bound: int) -> int:
    """A number of the sign of x - bound."""
    return (x.integer << max(x.exponent, 0)) - (bound << max(-x.exponent, 0))


def _whole(x: Dyadic) -> bool:
    """Whether it is an integer; operands are reduced, so that the integer is odd or 0."""
    return x.exponent >= 0 or x.integer == 0


def _even(x: Dyadic) -> bool:
    return x.exponent > 0 or x.integer == 0
