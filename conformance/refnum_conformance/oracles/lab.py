"""Formats of the number-format lab and their blocks, by the formulas that define them (formats-search-rtl.md 2).

A number is (negative, magnitude), its sign kept where it is 0. A block comes in as numbers and leaves as the code of
its scale and the codes of its elements. Every shift is one of Python's integers: no float is anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import minifloat
from .minifloat import RULES, Row, Special
from .reals import Dyadic, OracleError

Number = tuple[bool, Dyadic | Special]

ZERO = Dyadic(0, 0)


def ilog(a: Dyadic) -> int:
    """floor(log2 a) of a positive number."""
    return a.e + a.m.bit_length() - 1


def clog(a: Dyadic) -> int:
    """ceil(log2 a) of a positive number.

    >>> clog(Dyadic(1, 3)), clog(Dyadic(9, 0)), ilog(Dyadic(9, 0))
    (3, 4, 3)
    """
    return ilog(a) + (a.m & (a.m - 1) != 0)


def rounded(a: Dyadic, scale: int, negative: bool, rounding: str, random_bits: int, codes_below: int = 0) -> int:
    """The integer that a * 2**scale is rounded to; the sign is for directed roundings.

    Even and odd are those of a code: of the integer, and of the codes that come before its binade.
    """
    down = -(a.e + scale)
    unit = 1 << max(0, down)
    q, rest = divmod(a.m << max(0, -down), unit)
    return q + RULES[rounding](q + codes_below, rest, unit, negative, random_bits & 0xFFFF)


def clamped(x: int, low: int, high: int) -> int:
    """Saturated, after rounding."""
    return max(low, min(x, high))


# Formats of single numbers -------------------------------------------------------------------------------------------


class Fixed(NamedTuple):
    """2.2: integers in units of 2**-fraction."""

    width: int
    fraction: int
    signed: bool = True
    symmetric: bool = False
    overflow: str = "saturate"

    @property
    def ends(self) -> tuple[int, int]:
        """The least integer that is written, and the largest."""
        high = (1 << (self.width - self.signed)) - 1
        return (-high - (not self.symmetric) if self.signed else 0), high

    @property
    def span(self) -> tuple[int, int, int]:
        """log2 of the least and of the largest magnitude, and the bits of a significand."""
        return -self.fraction, self.width - 1 - self.fraction, self.width - self.signed

    def encode(self, x: Number, rounding: str = "nearest_even", random_bits: int = 0) -> int:
        """The integer, signed."""
        (negative, a), (low, high) = x, self.ends
        if a is Special.NAN:
            return 0
        if isinstance(a, Special):
            return low if negative else high
        q = rounded(a, self.fraction, negative, rounding, random_bits)
        q = -q if negative else q
        return self.decoded(q) if self.overflow == "wrap" else clamped(q, low, high)

    def decoded(self, code: int) -> int:
        """The low bits as an integer."""
        code &= (1 << self.width) - 1
        return code - (1 << self.width) if self.signed and code >> (self.width - 1) else code

    def decode(self, code: int) -> Number:
        """Of an integer, of which the low bits are read."""
        q = self.decoded(code)
        return q < 0, Dyadic(abs(q), -self.fraction)


class Dmf(NamedTuple):
    """2.4: m * 2**(e - bias - mantissa), without a hidden bit."""

    exponent: int
    mantissa: int
    bias: int

    @property
    def width(self) -> int:
        """Bits of a code."""
        return 1 + self.exponent + self.mantissa

    @property
    def span(self) -> tuple[int, int, int]:
        """log2 of the least and of the largest magnitude, and the bits of a significand."""
        return -self.bias - self.mantissa, (1 << self.exponent) - 2 - self.bias, self.mantissa

    def encode(self, x: Number, rounding: str = "nearest_even", random_bits: int = 0) -> int:
        """The canonical code."""
        negative, a = x
        if a is Special.NAN:
            return 0
        e, m = (1 << self.exponent) - 1, (1 << self.mantissa) - 1
        if isinstance(a, Dyadic):
            e, m = self._split(a, negative, rounding, random_bits) if a.m else (0, 0)
        return negative << (self.exponent + self.mantissa) | e << self.mantissa | m

    def _split(self, a: Dyadic, negative: bool, rounding: str, random_bits: int) -> tuple[int, int]:
        largest = (1 << self.exponent) - 1
        ex = max(ilog(a) + 1, -self.bias)
        q = rounded(a, self.mantissa - ex, negative, rounding, random_bits)
        if q == 1 << self.mantissa:
            ex, q = ex + 1, q >> 1
        if ex > largest - self.bias:
            return largest, (1 << self.mantissa) - 1
        return ex + self.bias, q

    def decode(self, code: int) -> Number:
        """Of any code, canonical or not."""
        e, m = code >> self.mantissa & ((1 << self.exponent) - 1), code & ((1 << self.mantissa) - 1)
        return bool(code >> (self.exponent + self.mantissa) & 1), Dyadic(m, e - self.bias - self.mantissa)


class Log(NamedTuple):
    """2.5: powers of two, rounded by logarithm; between 0 and the least of them, by value."""

    width: int
    bias: int
    zero_code: bool = True

    @property
    def span(self) -> tuple[int, int, int]:
        """log2 of the least and of the largest magnitude, and the bits of a significand."""
        return int(self.zero_code) - self.bias, (1 << (self.width - 1)) - 1 - self.bias, 1

    def encode(self, x: Number, rounding: str = "nearest_even", random_bits: int = 0) -> int:
        """The code; all saturates."""
        negative, a = x
        if a is Special.NAN:
            return 0
        k = largest = (1 << (self.width - 1)) - 1
        if isinstance(a, Dyadic):
            k = self._rounded(a, negative, rounding, random_bits) if a.m else 0
        return negative << (self.width - 1) | min(k, largest)

    def _rounded(self, a: Dyadic, negative: bool, rounding: str, random_bits: int) -> int:
        least, k = int(self.zero_code), ilog(a) + self.bias
        if k < least:
            return rounded(a, self.bias - 1, negative, rounding, random_bits) if self.zero_code else 0
        return k + RULES[rounding](k, log_fraction(a), LOG_UNIT, negative, random_bits & 0xFFFF)

    def decode(self, code: int) -> Number:
        """The power of two; 0 of k = 0 where that is its code."""
        k = code & ((1 << (self.width - 1)) - 1)
        magnitude = ZERO if self.zero_code and k == 0 else Dyadic(1, k - self.bias)
        return bool(code >> (self.width - 1) & 1), magnitude


LOG_UNIT = 1 << 17  #: `log_fraction` has 16 bits and a sticky one


def log_fraction(a: Dyadic) -> int:
    """log2 of a positive number behind the point, in units of 1 / LOG_UNIT: bit by bit, by squaring an enclosure.

    >>> log_fraction(Dyadic(3, 0)) / LOG_UNIT, log_fraction(Dyadic(4, 0))
    (0.5849609375, 0)
    """
    places = 256
    low = high = a.m << places >> (a.m.bit_length() - 1)
    found = 0
    for _ in range(16):
        low, high = low * low >> places, -(-high * high >> places)
        bit = low >> (places + 1)
        if bit != high >> (places + 1):
            raise OracleError(f"log2 of {a} cannot be told from a number of 16 bits.")
        low, high, found = low >> bit, -(-high >> bit), found << 1 | bit
    return found << 1 | (a.m & (a.m - 1) != 0)


Scalar = Fixed | Dmf | Log | Row


def encode(x: Number, fmt: Scalar, rounding: str = "nearest_even", random_bits: int = 0) -> int:
    """The code of a number.

    >>> encode((True, Dyadic(5, -1)), Fixed(8, 0)), encode((False, Dyadic(9989, -10)), Fixed(4, 0))
    (-2, 7)
    """
    if isinstance(fmt, Row):
        return minifloat.encode(*x, fmt, rounding, random_bits)
    return fmt.encode(x, rounding, random_bits)


def decode(code: int, fmt: Scalar) -> Number:
    """The number that a code stands for."""
    return minifloat.decode(code, fmt) if isinstance(fmt, Row) else fmt.decode(code)


# Blocks: the scale is a power of two, the elements are what is left ---------------------------------------------------


class Shared(NamedTuple):
    """What a block shares: the code of its scale, and how its elements are encoded and decoded under it."""

    code: int
    encode: Callable[[Number, str, int], int]
    decode: Callable[[int], Number]


class Bfp(NamedTuple):
    """2.6: signs and magnitudes of width - 1 bits, in units of 2**(es - M)."""

    width: int
    size: int | tuple[int, int]
    exponent: int = 8
    bias: int = 127
    rule: str = "ceil"

    def scale(self, amax: Dyadic) -> int:
        """The code of a scale."""
        es = clog(amax) if self.rule == "ceil" else ilog(amax) + 1
        return clamped(es, -self.bias, (1 << self.exponent) - 1 - self.bias) + self.bias

    def shared(self, code: int) -> Shared:
        """Under a scale."""
        bits = self.width - 1
        unit, most = code - self.bias - bits, (1 << bits) - 1

        def encode(x: Number, rounding: str, random_bits: int) -> int:
            negative, a = x
            assert isinstance(a, Dyadic)
            return negative << bits | min(rounded(a, -unit, negative, rounding, random_bits), most)

        return Shared(code, encode, lambda c: (bool(c >> bits & 1), Dyadic(c & most, unit)))


class BlockMinifloat(NamedTuple):
    """2.6: minifloats whose bias moves with t."""

    width: int
    exponent: int
    size: int | tuple[int, int]
    shared_bits: int = 8

    def scale(self, amax: Dyadic) -> int:
        """The code of a scale: t in two's complement."""
        return _twos_complement(ilog(amax), self.shared_bits)

    def shared(self, code: int) -> Shared:
        """Under a scale."""
        bias = (1 << self.exponent) - 1 - _signed(code, self.shared_bits)
        return _elements(code, Row(self.exponent, self.width - self.exponent - 1, bias, "none"))


class BlockLog(NamedTuple):
    """2.6: powers of two whose bias moves with t."""

    width: int
    size: int | tuple[int, int]
    shared_bits: int = 8
    zero_code: bool = True

    def scale(self, amax: Dyadic) -> int:
        """The code of a scale: t in two's complement."""
        return _twos_complement(clog(amax), self.shared_bits)

    def shared(self, code: int) -> Shared:
        """Under a scale."""
        bias = (1 << (self.width - 1)) - 1 - _signed(code, self.shared_bits)
        return _elements(code, Log(self.width, bias, self.zero_code))


class MxInt(NamedTuple):
    """2.7: two's complement integers under a scale of E8M0."""

    width: int
    size: int | tuple[int, int] = 32
    rule: str = "ocp"
    symmetric: bool = False

    def scale(self, amax: Dyadic) -> int:
        """The code of a scale."""
        es = clamped(ilog(amax), -127, 127) if self.rule == "ocp" else clamped(clog(amax), -126, 127)
        return es + 127

    def shared(self, code: int) -> Shared:
        """Under a scale."""
        es, behind = code - 127, self.width - (2 if self.rule == "ocp" else 1)
        element = Fixed(self.width, behind - es, symmetric=self.symmetric or self._least_is_no_float32(es))
        return _elements(code, element)

    def _least_is_no_float32(self, es: int) -> bool:
        return self.rule == "ocp" and es == 127  # 2.1: -2**128 gives way to what is next


class MxFp(NamedTuple):
    """2.9: minifloats under a scale of E8M0."""

    element: Row
    size: int | tuple[int, int] = 32

    def scale(self, amax: Dyadic) -> int:
        """The code of a scale."""
        return clamped(ilog(amax) - ilog(minifloat.magnitude(self.element.largest, self.element)), -127, 127) + 127

    def shared(self, code: int) -> Shared:
        """Under a scale."""
        return _elements(code, self.element, code - 127)


Block = Bfp | BlockMinifloat | BlockLog | MxInt | MxFp


def _twos_complement(t: int, bits: int) -> int:
    half = 1 << (bits - 1)
    return clamped(t, -half, half - 1) & (2 * half - 1)


def _signed(code: int, bits: int) -> int:
    return code - (code >> (bits - 1) << bits)


def _elements(code: int, element: Scalar, scale: int = 0) -> Shared:
    """Elements in a format of their own, of numbers divided by 2**scale."""

    def encoded(x: Number, rounding: str, random_bits: int) -> int:
        return encode(_scaled(x, -scale), element, rounding, random_bits)

    return Shared(code, encoded, lambda c: _scaled(decode(c, element), scale))


def _scaled(x: Number, scale: int) -> Number:
    negative, a = x
    return negative, Dyadic(a.m, a.e + scale) if isinstance(a, Dyadic) else a


def has_nan(fmt: Block) -> bool:
    """Whether scales have a code for NaN: E8M0's 255."""
    return isinstance(fmt, MxInt | MxFp)


def scale_bits(fmt: Block) -> int:
    """The width of a scale's code."""
    match fmt:
        case Bfp():
            return fmt.exponent
        case BlockMinifloat() | BlockLog():
            return fmt.shared_bits
        case _:
            return 8


def quantize(
    x: Sequence[Number], fmt: Block, rounding: str = "nearest_even", random_bits: Sequence[int] = ()
) -> tuple[int, list[int]]:
    """The code of the scale, and those of the elements."""
    magnitudes = [a for _, a in x if isinstance(a, Dyadic)]
    if len(magnitudes) < len(x):
        return (255 if has_nan(fmt) else 0), [0] * len(x)
    e = min(a.e for a in magnitudes)
    amax = Dyadic(max(a.m << (a.e - e) for a in magnitudes), e)
    shared = fmt.shared(fmt.scale(amax) if amax.m else 0)
    return shared.code, [shared.encode(n, rounding, r) for n, r in zip(x, random_bits or [0] * len(x), strict=True)]


def dequantize(code: int, codes: Sequence[int], fmt: Block) -> list[Number]:
    """The numbers that a block stands for."""
    if has_nan(fmt) and code == 255:
        return [(False, Special.NAN)] * len(codes)
    shared = fmt.shared(code)
    return [shared.decode(c) for c in codes]
