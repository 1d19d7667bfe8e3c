"""The functions of the Posit Standard (2022) that have a row, and its conversions, on plain integers.

Every result that is rounded is rounded twice, by `posit_literal` and by `posit_string`, which must agree.
"""

from __future__ import annotations

import re
from fractions import Fraction

from . import minifloat, posit_literal, posit_string
from .posit_literal import decode as value
from .reals import Dyadic, OracleError, Quotient, Real, Root, integer, opposite, order, plus, ratio, times


def signed(pattern: int, n: int) -> int:
    """The pattern in the low n bits, sign-extended."""
    pattern &= (1 << n) - 1
    return pattern - (pattern >> (n - 1) << n)


def nar(n: int) -> int:
    """The pattern of NaR."""
    return -(1 << (n - 1))


def rounded(x: Real | None, n: int, es: int, rounding: str = "nearest_even", random_bits: int = 0) -> int:
    """The pattern of an exact value; None is NaR."""
    if x is None:
        return nar(n)
    string = posit_string.rounded(x, n, es, rounding, random_bits)
    literal = posit_literal.rounded(x, n, es, rounding, random_bits, near=string)
    if string != literal:
        raise OracleError(f"{x} in posit({n},{es}), {rounding}: string {string:#x}, literal {literal:#x}.")
    return string


# 5.2 Basic functions -------------------------------------------------------------------------------------------------


def negate(a: int, n: int, es: int) -> int:
    """-a."""
    x = value(a, n, es)
    return rounded(x and opposite(x), n, es)


def abs_(a: int, n: int, es: int) -> int:
    """The magnitude of a."""
    x = value(a, n, es)
    return rounded(x and Dyadic(abs(x.m), x.e), n, es)


def sign(a: int, n: int, es: int) -> int:
    """1, -1 or 0."""
    x = value(a, n, es)
    return rounded(x and Dyadic(x.sign, 0), n, es)


def _integral(a: int, n: int, es: int, rounding: str) -> int:
    x = value(a, n, es)
    if x is None:
        return nar(n)
    whole = Dyadic(integer(x, rounding), 0)
    result = rounded(whole, n, es)
    if order(posit_literal.value(result, n, es), whole):
        raise OracleError(f"{rounding} of {x} is {whole.m}, which posit({n},{es}) does not hold.")
    return result


def nearest_int(a: int, n: int, es: int) -> int:
    """The nearest integer, ties to even."""
    return _integral(a, n, es, "nearest_even")


def ceil(a: int, n: int, es: int) -> int:
    """The least integer not below a."""
    return _integral(a, n, es, "ceil")


def floor(a: int, n: int, es: int) -> int:
    """The largest integer not above a."""
    return _integral(a, n, es, "floor")


def next_(a: int, n: int, es: int) -> int:
    """The pattern after a, around the ring."""
    return signed(a + 1, n)


def prior(a: int, n: int, es: int) -> int:
    """The pattern before a, around the ring."""
    return signed(a - 1, n)


# 5.3 Comparisons -----------------------------------------------------------------------------------------------------


def _order(a: int, b: int, n: int, es: int) -> int:
    """Of values; NaR equals itself and is below every real."""
    x, y = value(a, n, es), value(b, n, es)
    if x is None or y is None:
        return (y is None) - (x is None)
    return order(x, y)


def compare_equal(a: int, b: int, n: int, es: int) -> int:
    """a = b."""
    return _order(a, b, n, es) == 0


def compare_not_equal(a: int, b: int, n: int, es: int) -> int:
    """a /= b."""
    return _order(a, b, n, es) != 0


def compare_greater(a: int, b: int, n: int, es: int) -> int:
    """a > b."""
    return _order(a, b, n, es) > 0


def compare_greater_equal(a: int, b: int, n: int, es: int) -> int:
    """a >= b."""
    return _order(a, b, n, es) >= 0


def compare_less(a: int, b: int, n: int, es: int) -> int:
    """a < b."""
    return _order(a, b, n, es) < 0


def compare_less_equal(a: int, b: int, n: int, es: int) -> int:
    """a <= b."""
    return _order(a, b, n, es) <= 0


# 5.4, 5.5 (sqrt), 5.7 ------------------------------------------------------------------------------------------------


def add(a: int, b: int, n: int, es: int) -> int:
    """a + b."""
    x, y = value(a, n, es), value(b, n, es)
    return nar(n) if x is None or y is None else rounded(plus(x, y), n, es)


def sub(a: int, b: int, n: int, es: int) -> int:
    """a - b."""
    x, y = value(a, n, es), value(b, n, es)
    return nar(n) if x is None or y is None else rounded(plus(x, opposite(y)), n, es)


def mul(a: int, b: int, n: int, es: int) -> int:
    """a * b."""
    x, y = value(a, n, es), value(b, n, es)
    return nar(n) if x is None or y is None else rounded(times(x, y), n, es)


def div(a: int, b: int, n: int, es: int) -> int:
    """a / b."""
    x, y = value(a, n, es), value(b, n, es)
    return nar(n) if x is None or y is None or y.m == 0 else rounded(Quotient(x.m, y.m, x.e - y.e), n, es)


def sqrt(a: int, n: int, es: int) -> int:
    """The square root of a."""
    x = value(a, n, es)
    return nar(n) if x is None or x.m < 0 else rounded(Root(x.m, x.e), n, es)


def fmm(a: int, b: int, c: int, n: int, es: int) -> int:
    """a * b * c."""
    x, y, z = value(a, n, es), value(b, n, es), value(c, n, es)
    return nar(n) if x is None or y is None or z is None else rounded(times(times(x, y), z), n, es)


def fma(a: int, b: int, c: int, n: int, es: int) -> int:
    """a * b + c."""
    x, y, z = value(a, n, es), value(b, n, es), value(c, n, es)
    return nar(n) if x is None or y is None or z is None else rounded(plus(times(x, y), z), n, es)


# 6 Conversions -------------------------------------------------------------------------------------------------------


def convert(bits: int, n: int, es: int, to_n: int, to_es: int) -> int:
    """The value in another posit format."""
    return rounded(value(bits, n, es), to_n, to_es)


def encode(bits: int, random_bits: int = 0, *, n: int, es: int, dtype: str, rounding: str = "nearest_even") -> int:
    """The posit of a float given by its bits."""
    negative, x = minifloat.decode(bits, minifloat.FLOATS[dtype])
    if isinstance(x, minifloat.Special):
        return nar(n)
    return rounded(minifloat.signed(negative, x), n, es, rounding, random_bits)


def to_float(bits: int, n: int, es: int, dtype: str) -> int:
    """The bits of the value as a float, rounded once; as all bits of floats, a signed integer of their width."""
    x, row = value(bits, n, es), minifloat.FLOATS[dtype]
    return signed(minifloat.encode(x is not None and x.m < 0, x or minifloat.Special.NAN, row), row.width)


def decode(bits: int, n: int, es: int, dtype: str) -> int:
    """As `to_float` into a float format that holds every value."""
    result, x = to_float(bits, n, es, dtype), value(bits, n, es)
    negative, y = minifloat.decode(result, minifloat.FLOATS[dtype])
    if x is not None and (isinstance(y, minifloat.Special) or order(x, minifloat.signed(negative, y))):
        raise OracleError(f"{dtype} does not hold {x}: it is no result format of posit({n},{es}).")
    return result


def quantize(bits: int, random_bits: int = 0, *, n: int, es: int, dtype: str, rounding: str = "nearest_even") -> int:
    """The bits of a float rounded to a posit."""
    pattern = encode(bits, random_bits, n=n, es=es, dtype=dtype, rounding=rounding)
    return decode(pattern, n, es, dtype)


def to_int(bits: int, n: int, es: int, width: int, signed: bool) -> int:
    """The nearest integer of ``width`` bits, ties to even, or 10..0 out of range; 64 bits are read as signed."""
    x = value(bits, n, es)
    low, high = (-(1 << (width - 1)), (1 << (width - 1)) - 1) if signed else (0, (1 << width) - 1)
    sentinel = low if signed else 1 << (width - 1)
    whole = None if x is None else integer(x)
    return _as_int64(sentinel if whole is None or not low <= whole <= high else whole)


def from_int(i: int, n: int, es: int, dtype: str, sentinel: bool = True) -> int:
    """The posit of an integer. ``dtype`` is that of its container, int8 or uint8 and so on, or int: by value."""
    if dtype != "int" and sentinel:
        width = int(dtype.removeprefix("u").removeprefix("int"))
        if i & ((1 << width) - 1) == 1 << (width - 1):
            return nar(n)
    return rounded(Dyadic(i, 0), n, es)


def _as_int64(i: int) -> int:
    return i - (1 << 64) if i >= 1 << 63 else i


_DECIMAL = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def from_decimal(text: str, n: int, es: int) -> int:
    """The posit of a decimal number, or of NaR, rounded once from its exact value."""
    if text.strip().lower() in ("nar", "nan"):
        return nar(n)
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is no decimal number and not NaR.")
    return rounded(ratio(Fraction(text)), n, es)


def to_decimal(bits: int, n: int, es: int) -> str:
    """The exact value, digit for digit: always an acceptable answer (6.3 asks only that it reads back the same)."""
    x = value(bits, n, es)
    if x is None:
        return "NaR"
    places = max(0, -x.e)
    digits = str((abs(x.m) << max(0, x.e)) * 5**places).rjust(places + 1, "0")  # 2**-1 is 5 in the next place
    whole, fraction = digits[: len(digits) - places], digits[len(digits) - places :]
    return ("-" if x.m < 0 else "") + (f"{whole}.{fraction}" if fraction else whole)
