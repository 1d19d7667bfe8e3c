"""Blocks of elements that share a scale (mx.md): one block at a time, on integers.

A block comes in as the bits of float32s (float16 and bfloat16 widen to it exactly) and leaves as the code of a scale
and the codes of its elements. What is exact stays exact; where a peer's definition rounds to float32 on the way, so
does this one, by `minifloat.encode`.

A profile is a row of `PROFILES`: its scale rules, what it does with Inf, and how an element gets its code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from math import isqrt
from typing import NamedTuple

from . import minifloat
from .minifloat import FLOATS, RULES, Row, Special
from .reals import Dyadic, Quotient, order, plus, times

Number = tuple[bool, Dyadic | Special]  #: negative, and the magnitude

# Formats -------------------------------------------------------------------------------------------------------------


class Fixed(NamedTuple):
    """Two's complement integers in units of 2**-fraction."""

    width: int
    fraction: int
    symmetric: bool = True  #: the least code is decoded but never written

    @property
    def largest(self) -> int:
        """The code of the largest number."""
        return (1 << (self.width - 1)) - 1


Element = Row | Fixed


class Block(NamedTuple):
    """A format: elements, a scale, and how many elements share one."""

    element: Element
    scale: Row
    size: int = 32


E2M1, E2M3, E3M2 = Row(2, 1, 1, "none"), Row(2, 3, 1, "none"), Row(3, 2, 3, "none")
E4M3, E5M2 = Row(4, 3, 7, "fn"), Row(5, 2, 15)
E8M0 = Row(8, 0, 127, "fn", signed=False, subnormals=False)
FLOAT32 = FLOATS["float32"]

FORMATS = {
    "mxfp4": Block(E2M1, E8M0),
    "mxfp6_e2m3": Block(E2M3, E8M0),
    "mxfp6_e3m2": Block(E3M2, E8M0),
    "mxfp8_e4m3": Block(E4M3, E8M0),
    "mxfp8_e5m2": Block(E5M2, E8M0),
    "mxint8": Block(Fixed(8, 6), E8M0),
    "nvfp4": Block(E2M1, E4M3, 16),
}

PRECISION = {"float32": 24, "bfloat16": 8, "float16": 11}  #: of the dtype that a block came in
NAN = FLOAT32.infinity + 1  #: the least float32 NaN; as magnitudes all that follow are NaNs too


def largest(element: Element) -> Dyadic:
    """The largest value."""
    if isinstance(element, Fixed):
        return Dyadic(element.largest, -element.fraction)
    return minifloat.magnitude(element.largest, element)


def top(element: Element) -> int:
    """The exponent of the largest value: the specification's pow2max."""
    return floor_log2(largest(element))


def fraction_bits(element: Element) -> int:
    """Bits of the largest value behind its leading one: the specification's mbits."""
    return element.width - 2 if isinstance(element, Fixed) else element.mantissa


def floor_log2(x: Dyadic) -> int:
    """Of a positive number."""
    return x.e + x.m.bit_length() - 1


# Elements ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 18)
def encode(element: Element, x: Number, rounding: str = "nearest_even", random_bits: int = 0) -> int:
    """The code of a number: saturating, NaN gives 0 where there is no NaN code.

    >>> encode(E2M1, (True, Dyadic(5, 0))), encode(Fixed(8, 6), (True, Dyadic(2, 0)))
    (14, 129)
    """
    negative, magnitude = x
    if isinstance(element, Row):
        return minifloat.encode(negative, magnitude, element, rounding, random_bits)
    count = _count(element, negative, magnitude, rounding, random_bits & 0xFFFF)
    return (-count if negative else count) & ((1 << element.width) - 1)


def _count(element: Fixed, negative: bool, x: Dyadic | Special, rounding: str, random_bits: int) -> int:
    """Units of a magnitude, rounded."""
    most = element.largest + (negative and not element.symmetric)
    if isinstance(x, Special):
        return most if x is Special.INF else 0
    down = -(x.e + element.fraction)
    unit = 1 << max(0, down)
    q, rest = divmod(x.m << max(0, -down), unit)
    return min(q + RULES[rounding](q, rest, unit, negative, random_bits), most)


def decode(element: Element, code: int) -> Number:
    """The number that a code stands for.

    >>> decode(E2M1, 14), decode(Fixed(8, 6), 128)
    ((True, Dyadic(m=2, e=1)), (True, Dyadic(m=128, e=-6)))
    """
    if isinstance(element, Row):
        return minifloat.decode(code, element)
    negative = bool(code >> (element.width - 1) & 1)
    count = code & ((1 << element.width) - 1)
    return negative, Dyadic((1 << element.width) - count if negative else count, -element.fraction)


# float32 arithmetic --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 16)
def float32(bits: int) -> Number:
    """The number that float32 bits stand for."""
    return minifloat.decode(bits, FLOAT32)


def product(x: Number, y: Number) -> Number:
    """x * y, exactly."""
    negative, kinds = x[0] != y[0], {x[1], y[1]}
    if Special.NAN in kinds:
        return negative, Special.NAN
    if Special.INF in kinds:
        return negative, Special.NAN if any(_zero(k) for k in kinds) else Special.INF
    assert isinstance(x[1], Dyadic)
    assert isinstance(y[1], Dyadic)
    return negative, times(x[1], y[1])


def _zero(x: Dyadic | Special) -> bool:
    return isinstance(x, Dyadic) and x.m == 0


def multiply(x: int, y: int) -> int:
    """x * y in float32, bits in and bits out."""
    negative, magnitude = product(float32(x), float32(y))
    return minifloat.encode(negative, magnitude, FLOAT32)


def divide(x: int, y: int) -> int:
    """x / y in float32, bits in and bits out."""
    (minus_x, p), (minus_y, q) = float32(x), float32(y)
    negative = minus_x != minus_y
    if isinstance(p, Dyadic) and isinstance(q, Dyadic) and q.m:
        return minifloat.encode(negative, Quotient(p.m, q.m, p.e - q.e), FLOAT32)
    return minifloat.encode(negative, _special_quotient(p, q), FLOAT32)


def _special_quotient(p: Dyadic | Special, q: Dyadic | Special) -> Dyadic | Special:
    if Special.NAN in (p, q) or (p is q is Special.INF) or (_zero(p) and _zero(q)):
        return Special.NAN
    return Dyadic(0, 0) if q is Special.INF else Special.INF


def bits_of(x: Dyadic) -> int:
    """The float32 nearest to a positive number."""
    return minifloat.encode(False, x, FLOAT32)


ONE = bits_of(Dyadic(1, 0))

# Scale rules ---------------------------------------------------------------------------------------------------------

#: the E8M0 code of a block, from its largest magnitude as float32 bits, the element, and the precision of its dtype
Rule = Callable[[int, Element, int], int]


def _field(u: int) -> int:
    return u >> 23


def _fraction(u: int) -> int:
    return u & ((1 << 23) - 1)


def _number(code: int) -> int:
    """A code held among those that stand for a number."""
    return min(max(code, 0), 254)


def scale_floor(u: int, element: Element, precision: int = 24) -> int:
    """OCP: the largest power of two not above amax, over the largest one among elements."""
    return _number(_field(u) - top(element))


def scale_ceil(u: int, element: Element, precision: int = 24) -> int:
    """The least power of two not below amax instead."""
    return _number(_field(u) + (_fraction(u) != 0) - top(element))


def scale_even(u: int, element: Element, precision: int = 24) -> int:
    """As floor, of amax rounded to the mantissa of the elements."""
    return scale_floor(_half_up(u, element), element)


def _half_up(u: int, element: Element) -> int:
    return u + (1 << (22 - fraction_bits(element)))


def scale_rceil(u: int, element: Element, precision: int = 24) -> int:
    """The least scale by which amax does not exceed the largest element, from a float32 quotient."""
    # Peers multiply by the float32 nearest to 1 / largest: for every floating-point element that gives the same code.
    # For int8 it would not, one step above 127/64 of every power of two; no peer has that rule for int8.
    ratio = divide(u, bits_of(largest(element)))
    return _number(_field(ratio) + (_fraction(ratio) > (0 if _field(ratio) else 1 << 22)))


def torchao_even(u: int, element: Element, precision: int = 24) -> int:
    """As even; an amax that rounds to 2**128 has no scale."""
    return 255 if _field(_half_up(u, element)) == 255 else scale_even(u, element)


def aiter_even(u: int, element: Element, precision: int = 24) -> int:
    """As even; 254 from there on where amax rounds to 2**128, and for Inf."""
    return 254 if _field(_half_up(u, element)) == 255 else scale_even(u, element)


def aiter_floor(u: int, element: Element, precision: int = 24) -> int:
    """Divides first, and may round there."""
    return _number(_field(divide(u, bits_of(Dyadic(1, top(element))))))


def aiter_ceil(u: int, element: Element, precision: int = 24) -> int:
    """Divides first, and may round there."""
    ratio = divide(u, bits_of(Dyadic(1, top(element))))
    return _number(_field(ratio) + (_fraction(ratio) != 0))


def aiter_rceil(u: int, element: Element, precision: int = 24) -> int:
    """Divides by the largest element; subnormal ratios are rounded up like all others."""
    ratio = divide(u, bits_of(largest(element)))
    return _number(_field(ratio) + (_fraction(ratio) != 0))


def scale_log2(u: int, element: Element, precision: int = 24) -> int:
    """microxcaling: the floor of a logarithm that was rounded to the input's dtype."""
    exponent = _block_exponent(u, precision) - top(element)
    return 255 if exponent > 127 else max(exponent + 127, 0)


def _block_exponent(u: int, precision: int) -> int:
    magnitude = float32(u)[1]
    assert isinstance(magnitude, Dyadic)
    return floor_rounded_log2(magnitude, precision) if u else -200  # below all others


@lru_cache(maxsize=1 << 16)
def floor_rounded_log2(x: Dyadic, precision: int) -> int:
    """The floor of log2(x), x > 0, rounded to nearest in ``precision`` bits first.

    >>> floor_rounded_log2(Dyadic(255, -5), 8), floor_rounded_log2(Dyadic(255, -5), 24)  # of 7.96875
    (3, 2)
    """
    # L1. Let n - 1 be the floor of log2(x). Rounding is monotonic and leaves integers as they are: the floor of what
    #     it gives is n - 1 or n. It is n where log2(x) is less than half a step below n, a step being the distance of n
    #     to the number next below.
    # L2. Numbers in [2**(b-1), 2**b) are 2**(b - precision) apart. Next below n > 0 that b is the length of n - 1, next
    #     below n < 0 that of -n. Below n = 0 steps get as small as log2(x) can: it is never rounded to 0.
    n = floor_log2(x) + 1
    if n == 0:
        return -1
    bits = (n - 1).bit_length() if n > 0 else (-n).bit_length()
    # L3. Half a step is 2**-t. A rational x is never equal to 2**(n - 2**-t), which is irrational.
    t = precision + 1 - bits
    return n - (order(Dyadic(x.m, x.e - n), _root_of_half(t)) < 0)


BITS = 160  #: behind the point of a root


@lru_cache(maxsize=64)
def _root_of_half(t: int) -> Dyadic:
    """2**-(2**-t), t >= 1, rounded down: each isqrt halves the error of the last and adds less than one unit."""
    root = 1 << (BITS - 1)
    for _ in range(t):
        root = isqrt(root << BITS)
    return Dyadic(root, -BITS)


# Element rules -------------------------------------------------------------------------------------------------------


class Rounding(NamedTuple):
    """How a value becomes an element: by name, with random bits, and the precision of the block's dtype."""

    name: str
    random_bits: int = 0
    precision: int = 24


#: the code of an element, from its value, the E8M0 code of its block, its format and the rounding
Coder = Callable[[Number, int, Element, Rounding], int]


def scaled(x: Number, byte: int) -> Number:
    """x over the scale, exactly."""
    negative, magnitude = x
    return negative, magnitude if isinstance(magnitude, Special) else Dyadic(magnitude.m, magnitude.e + 127 - byte)


def _finite(element: Element, x: Number, byte: int) -> Element:
    """The element without its least code where that is -2**128, which is no float32; Inf may become it."""
    if isinstance(element, Row) or isinstance(x[1], Special):
        return element
    reach = byte - 127 + element.width - 1 - element.fraction
    return element._replace(symmetric=element.symmetric or reach == 128)


def exact_code(x: Number, byte: int, element: Element, rounding: Rounding) -> int:
    """Rounds once; a zero keeps its sign."""
    return encode(_finite(element, x, byte), scaled(x, byte), rounding.name, rounding.random_bits)


def positive_zero_code(x: Number, byte: int, element: Element, rounding: Rounding) -> int:
    """The same, but what is 0 as a float32 has no sign."""
    negative, magnitude = scaled(x, byte)
    if isinstance(magnitude, Dyadic) and magnitude.compare(Dyadic(1, -150)) <= 0:
        return 0
    return encode(_finite(element, x, byte), (negative, magnitude), rounding.name, rounding.random_bits)


def microxcaling_code(x: Number, byte: int, element: Element, rounding: Rounding) -> int:
    """Cuts an integer part off: its exponent comes from a rounded logarithm, and adding a half rounds as well."""
    negative, magnitude = scaled(x, byte)
    assert isinstance(magnitude, Dyadic)  # a block with Inf has no codes
    if magnitude.m == 0 or rounding.name not in MICROXCALING:
        return exact_code(x, byte, element, rounding)
    unit = _microxcaling_unit(magnitude, element, rounding.precision)
    count = MICROXCALING[rounding.name](Dyadic(magnitude.m, magnitude.e - unit), rounding.precision)
    return encode(_finite(element, x, byte), (negative, Dyadic(count, unit)))


def _microxcaling_unit(x: Dyadic, element: Element, precision: int) -> int:
    """The exponent of the integer part's last bit."""
    if isinstance(element, Fixed):
        return -element.fraction
    return max(floor_rounded_log2(x, precision), 1 - element.bias) - element.mantissa


def _whole(x: Dyadic) -> int:
    return x.m << x.e if x.e >= 0 else x.m >> -x.e


def _add_half(x: Dyadic, precision: int) -> int:
    """The integer part of x + 1/2, the sum rounded to nearest in ``precision`` bits."""
    total = plus(x, Dyadic(1, -1))
    unit = 1 << max(0, total.m.bit_length() - precision)
    count, rest = divmod(total.m, unit)
    rounded = count + RULES["nearest_even"](count, rest, unit, False, 0)
    return _whole(Dyadic(rounded * unit, total.e))


def _add_half_even(x: Dyadic, precision: int) -> int:
    """The same, less one where x is 1/2 above an even number."""
    whole = _whole(x)
    tie = order(x, Dyadic(2 * whole + 1, -1)) == 0
    return _add_half(x, precision) - (tie and whole % 2 == 0)


#: rounding -> the integer part that stands for a magnitude
MICROXCALING: dict[str, Callable[[Dyadic, int], int]] = {
    "nearest_away": _add_half,
    "nearest_even": _add_half_even,
    "toward_zero": lambda x, precision: _whole(x),
}

# Profiles ------------------------------------------------------------------------------------------------------------


class Profile(NamedTuple):
    """What a library does, or a specification says."""

    scale: str
    rounding: str
    rules: Mapping[str, Rule]
    code: Coder = exact_code
    infinite: tuple[str, ...] = ()  #: rules to which Inf is a magnitude like others; else its block has the code 255
    flush: bool = False  #: blocks with the exponent of a subnormal float32 become 0


OCP: dict[str, Rule] = {"floor": scale_floor, "ceil": scale_ceil, "even": scale_even, "rceil": scale_rceil}
AITER: dict[str, Rule] = {"floor": aiter_floor, "ceil": aiter_ceil, "even": aiter_even, "rceil": aiter_rceil}

PROFILES = {
    "ocp/v1": Profile("floor", "nearest_even", OCP),
    "torchao/v1": Profile("floor", "nearest_even", OCP | {"even": torchao_even}),
    "aiter/v1": Profile("even", "nearest_away", OCP | {"even": aiter_even}, positive_zero_code, ("even",)),
    "aiter/v2": Profile("even", "nearest_even", AITER, infinite=("even",)),
    "microxcaling/v1": Profile("floor", "nearest_away", {"floor": scale_log2}, microxcaling_code),
    "microxcaling.flush/v1": Profile("floor", "nearest_away", {"floor": scale_log2}, microxcaling_code, flush=True),
}


def quantize(
    block: Sequence[int],
    fmt: Block,
    profile: str = "ocp/v1",
    *,
    scale: str | None = None,
    rounding: str | None = None,
    random_bits: Sequence[int] | None = None,
    tensor_scale: int | None = None,
    dtype: str = "float32",
) -> tuple[int, list[int]]:
    """The scale's code and the elements' codes of one block of float32 bits.

    ``dtype`` is the one that the block came in: microxcaling computes in it. ``tensor_scale``, float32 bits, is NVFP4's
    second level.

    >>> block = [bits_of(Dyadic(k, -2)) for k in range(32)]
    >>> quantize(block, FORMATS["mxfp4"])
    (127, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
    """
    row = PROFILES[profile]
    name = rounding or row.rounding
    draws = random_bits if random_bits is not None else [0] * len(block)
    roundings = [Rounding(name, r, PRECISION[dtype]) for r in draws]
    if fmt.scale == E4M3:
        code, factor = NVFP4[profile](amax(block), fmt.element, tensor_scale)
        return code, list(_products(block, factor, fmt.element, roundings))
    code = scale_code(amax(block), fmt.element, row, scale or row.scale, PRECISION[dtype])
    if code == 255 or (row.flush and _block_exponent(amax(block), PRECISION[dtype]) < -126):
        return code, [0] * len(block)
    numbers = map(float32, block)
    return code, [row.code(x, code, fmt.element, r) for x, r in zip(numbers, roundings, strict=True)]


def amax(block: Sequence[int]) -> int:
    """The largest magnitude, as float32 bits; NaN is above all."""
    return max(u & ~(1 << 31) for u in block)


def scale_code(u: int, element: Element, row: Profile, rule: str, precision: int) -> int:
    """The E8M0 code of a block with this largest magnitude."""
    if u >= NAN or (u == FLOAT32.infinity and rule not in row.infinite):
        return 255
    return row.rules[rule](u, element, precision)


# NVFP4 ---------------------------------------------------------------------------------------------------------------
#
# A rule gives the E4M3 scale, and the float32 that elements are multiplied by, or None where a block has a NaN.


def nvfp4_torchao(u: int, element: Element, tensor_scale: int | None) -> tuple[int, int | None]:
    """Elements are multiplied by the reciprocal of the scale that is stored."""
    ratio = divide(u, bits_of(largest(element)))
    if tensor_scale is not None:
        ratio = divide(ratio, tensor_scale)
    if ratio >= NAN:
        return E4M3.largest + 1, None
    ratio = max(ratio, bits_of(Dyadic(1, -6)))
    code = encode(E4M3, float32(ratio))
    level = ONE if tensor_scale is None else divide(ONE, tensor_scale)
    return code, divide(level, bits_of(minifloat.magnitude(code, E4M3)))


def nvfp4_aiter(u: int, element: Element, tensor_scale: int | None) -> tuple[int, int | None]:
    """Elements are multiplied by the reciprocal of the scale before it was rounded."""
    ratio = divide(u, bits_of(largest(element)))
    if ratio >= NAN:
        return E4M3.largest + 1, None
    return encode(E4M3, float32(ratio)), divide(ONE, ratio)


NVFP4 = {"ocp/v1": nvfp4_torchao, "torchao/v1": nvfp4_torchao, "aiter/v2": nvfp4_aiter}


def _products(
    block: Sequence[int], factor: int | None, element: Element, roundings: Sequence[Rounding]
) -> Iterator[int]:
    for u, rounding in zip(block, roundings, strict=True):
        y = NAN if factor is None else multiply(u, factor)
        nan = y & ~(1 << 31) >= NAN
        yield 0 if nan else encode(element, float32(y), rounding.name, rounding.random_bits)


# Values --------------------------------------------------------------------------------------------------------------


def values(code: int, codes: Sequence[int], fmt: Block, tensor_scale: int | None = None) -> list[Number]:
    """The numbers that a block stands for, exactly."""
    scale = decode(fmt.scale, code)
    if tensor_scale is not None:
        scale = product(scale, float32(tensor_scale))
    return [product(decode(fmt.element, c), scale) for c in codes]


def dequantize(
    code: int, codes: Sequence[int], fmt: Block, tensor_scale: int | None = None, dtype: str = "float32"
) -> list[int]:
    """The bits of those numbers, each rounded once to nearest even; NaN is the quiet one.

    >>> [hex(u) for u in dequantize(128, [1, 9, 7], FORMATS["mxfp4"])]
    ['0x3f800000', '0xbf800000', '0x41400000']
    """
    return [minifloat.encode(*x, FLOATS[dtype]) for x in values(code, codes, fmt, tensor_scale)]


def dot(a: Sequence[Number], b: Sequence[Number], bias: Number | None = None, dtype: str = "float32") -> int:
    """The bits of the sum of products, and the bias, rounded once (gemm.md C5).

    >>> dot(values(128, [2, 10], FORMATS["mxfp4"]), values(127, [7, 1], FORMATS["mxfp4"])) == bits_of(Dyadic(11, 0))
    True
    """
    sign, magnitude = total([product(x, y) for x, y in zip(a, b, strict=True)] + ([] if bias is None else [bias]))
    row = FLOATS[dtype]
    if magnitude is Special.NAN:
        return (1 << (row.width - 1)) - 1  # the NaN of contracts
    return minifloat.encode(sign, magnitude, row)


def total(terms: Sequence[Number]) -> Number:
    """The exact sum: 0 is negative where all terms are -0; Infs of both signs are NaN."""
    infinities = {negative for negative, x in terms if x is Special.INF}
    if len(infinities) == 2 or any(x is Special.NAN for _, x in terms):
        return False, Special.NAN
    if infinities:
        return infinities.pop(), Special.INF
    found = Dyadic(0, 0)
    for negative, x in terms:
        assert isinstance(x, Dyadic)
        found = plus(found, minifloat.signed(negative, x))
    negative = found.m < 0 if found.m else bool(terms) and all(minus for minus, _ in terms)
    return negative, Dyadic(abs(found.m), found.e)
