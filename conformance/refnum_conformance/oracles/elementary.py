"""Elementary functions, rounded once, by MPFR through gmpy2; of the Posit Standard (2022) 5.5 to 5.10, and a few more.

MPFR rounds its own functions correctly and says on which side the number lies. Cut off after 96 bits with a mark for
what is lost, a number rounds on to any format of at most 64 bits as if it were whole.

Functions that gmpy2 has not are enclosed: every step is rounded down and rounded up, and the bits are doubled until
both ends are cut off to the same number. Where a value is a short dyadic number that would never end; these are told by
rational arithmetic. So is the limit far out, where a value differs from it by less than any format shows.

At NaN, infinities, poles and zeros, minifloats have what IEEE 754-2019 9.2.1 says. Posits have NaR there, and for
whatever has no unique real value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import minifloat, posit, posit_literal
from .elementary_cases import EXACT
from .elementary_intervals import ENCLOSURES, Steps
from .minifloat import Row, Special
from .mpfr_numbers import BITS, SUM, Ends, Mpfr, Result, available, context, cut, number

__all__ = [
    "BY_NAME",
    "BY_STANDARD",
    "FUNCTIONS",
    "Function",
    "available",
    "evaluate",
    "of_minifloats",
    "of_posits",
    "of_row",
]


class Function(NamedTuple):
    """A function, under the names that it goes by."""

    name: str  #: C23's, where it has one
    standard: str | None = None  #: that of the Posit Standard, in small letters
    operands: str = "x"  #: x, y numbers, k an integer
    backwards: bool = False  #: the standard takes two numbers the other way round

    @property
    def numbers(self) -> int:
        """How many numbers it takes."""
        return len(self.operands.rstrip("k"))


FUNCTIONS = (
    Function("sqrt", "sqrt"),
    Function("rsqrt", "r_sqrt"),
    Function("reciprocal"),
    Function("exp", "exp"),
    Function("expm1", "exp_minus1"),
    Function("exp2", "exp2"),
    Function("exp2m1", "exp2_minus1"),
    Function("exp10", "exp10"),
    Function("exp10m1", "exp10_minus1"),
    Function("log", "log"),
    Function("log1p", "log_plus1"),
    Function("log2", "log2"),
    Function("log2p1", "log2_plus1"),
    Function("log10", "log10"),
    Function("log10p1", "log10_plus1"),
    Function("sin", "sin"),
    Function("sinpi", "sin_pi"),
    Function("cos", "cos"),
    Function("cospi", "cos_pi"),
    Function("tan", "tan"),
    Function("tanpi", "tan_pi"),
    Function("asin", "arc_sin"),
    Function("asinpi", "arc_sin_pi"),
    Function("acos", "arc_cos"),
    Function("acospi", "arc_cos_pi"),
    Function("atan", "arc_tan"),
    Function("atanpi", "arc_tan_pi"),
    Function("sinh", "sin_h"),
    Function("cosh", "cos_h"),
    Function("tanh", "tan_h"),
    Function("asinh", "arc_sin_h"),
    Function("acosh", "arc_cos_h"),
    Function("atanh", "arc_tan_h"),
    Function("hypot", "hypot", "xy"),
    Function("pow", "pow", "xy"),
    Function("atan2", "arc_tan2", "xy", backwards=True),
    Function("atan2pi", "arc_tan2_pi", "xy", backwards=True),
    Function("compoundn", "compound", "xk"),
    Function("rootn", "root_n", "xk"),
    Function("sigmoid"),
    Function("silu"),
    Function("gelu"),
    Function("gelu_tanh"),
    Function("softmax_exp", None, "xy"),
)

BY_NAME = {function.name: function for function in FUNCTIONS}
BY_STANDARD = {function.standard: function for function in FUNCTIONS if function.standard}


def of_row(name: str, options: Mapping[str, Any]) -> Function:
    """The function that a row of the operations table, and its options, stand for."""
    if "approximate" in options:
        return BY_NAME[{"none": "gelu", "tanh": "gelu_tanh"}[options["approximate"]]]
    return BY_STANDARD[name] if "n" in options else BY_NAME[name.removeprefix("function_")]


# Rows ----------------------------------------------------------------------------------------------------------------


def of_posits(function: Function) -> Callable[..., int]:
    """The function of patterns, operands in the standard's order."""

    def row(*operands: int, n: int, es: int) -> int:
        values = [posit_literal.decode(pattern, n, es) for pattern in operands[: function.numbers]]
        if any(x is None for x in values):
            return posit.nar(n)
        numbers = [number(False, x) for x in (reversed(values) if function.backwards else values)]
        more = operands[function.numbers :]
        if function.name in UNDEFINED and UNDEFINED[function.name](*numbers, *more):
            return posit.nar(n)
        negative, x = evaluate(function.name, *numbers, *more)
        return posit.nar(n) if isinstance(x, Special) else posit.rounded(minifloat.signed(negative, x), n, es)

    return row


def of_minifloats(function: Function) -> Callable[..., int]:
    """The function of codes, operands in C23's order; the result is sign-extended."""

    def row(*operands: int, **fields: Any) -> int:
        fmt, more = Row(**fields), operands[function.numbers :]
        numbers = [number(*minifloat.decode(code, fmt)) for code in operands[: function.numbers]]
        if function.name in INVALID and INVALID[function.name](*numbers, *more):
            result = (False, Special.NAN)
        else:
            result = evaluate(function.name, *numbers, *more)
        return posit.signed(minifloat.encode(*result, fmt), fmt.width)

    return row


#: where MPFR follows IEEE 754, and the Posit Standard has no unique value
UNDEFINED: dict[str, Callable[..., bool]] = {
    "pow": lambda x, y: x == 0 and y <= 0,
    "atan2": lambda y, x: x == 0 and y == 0,
    "atan2pi": lambda y, x: x == 0 and y == 0,
}
#: where a power is defined, and IEEE 754 has none
INVALID: dict[str, Callable[..., bool]] = {"compoundn": lambda x, k: x < -1}


# Values --------------------------------------------------------------------------------------------------------------


def evaluate(name: str, *operands: Any) -> Result:
    """The value of a function at numbers, and an integer if it takes one."""
    odd = context(BITS, "ToZero")
    if name in DIRECT:
        return cut(DIRECT[name](odd, *operands))
    return EXACT[name](*operands) or _decided(ENCLOSURES[name], *operands)


def _decided(enclosure: Callable[..., Ends], *operands: Any) -> Result:
    odd, precision = context(BITS, "ToZero"), 2 * BITS
    while True:
        low, high = enclosure(Steps(precision), *operands)
        below, above = cut(odd.plus(low)), cut(odd.plus(high))
        if below == above:
            return below
        precision *= 2


# Functions that gmpy2 has --------------------------------------------------------------------------------------------


def _method(name: str) -> Callable[..., Mpfr]:
    return lambda odd, *operands: getattr(odd, name)(*operands)


def _softmax_exp(odd: Any, x: Mpfr, m: Mpfr) -> Mpfr:
    return odd.exp(context(SUM, "ToZero").sub(x, m))


def _rsqrt(odd: Any, x: Mpfr) -> Mpfr:
    return odd.div(1, x) if x == 0 else odd.rec_sqrt(x)  # IEEE 754 wants the sign of a zero, MPFR does not


DIRECT: dict[str, Callable[..., Mpfr]] = {
    **{name: _method(name) for name in "sqrt exp expm1 exp2 exp10 log log1p log2 log10 sin cos tan asin acos".split()},
    **{name: _method(name) for name in "atan sinh cosh tanh asinh acosh atanh hypot pow atan2".split()},
    "rsqrt": _rsqrt,
    "reciprocal": lambda odd, x: odd.div(1, x),
    "softmax_exp": _softmax_exp,
}
