"""The largest magnitude of a block -> the code of its scale, a power of two: integer arithmetic on float32 patterns.

Elements are divided by powers of two exactly; scales of float32 arithmetic are those of ``mx.quotients``.

Every rule is one formula. With u the pattern of amax and 2**p the power of two of the largest element, the code is
``(u + carry >> 23) - p``: the exponent of amax, one more where its fraction exceeds a threshold, less p. The rules
differ in the carry alone.

1. `Rule` gives E8M0 scales, as libraries do: a subnormal amax counts in the units of its pattern, unless elements are
   so small that its exponent makes a difference.
2. `Powers` gives any other powers of two, and E8M0 scales of float64: the exponent of amax is exact, and saturates to
   what codes reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..core.decode import HIDDEN, LIMB, decode
from ..fast.elements import normalised
from ..formats import RULES, Block, Codebook, Element, Exponent, FixedPoint, Minifloat, e8m0, float32, float64
from .profiles import Profile

T = TypeVar("T")

MANTISSA = float32.mantissa
FRACTION = (1 << MANTISSA) - 1  #: the fraction field of a float32
INFINITY = 0x7F800000  #: the pattern of Inf; what is larger is NaN
BIAS = 127  #: of float32 and of E8M0: code b of either is worth 2**(b - 127)
NAN = 255  #: the code of a NaN scale
TOP = 254  #: the largest code of a number


def carrier(row: Minifloat) -> Minifloat:
    """The row whose patterns stand for values of a floating-point row: float32, which holds all narrower ones."""
    return float64 if row == float64 else float32


def _threshold(element: Element, unit: int) -> int:
    """The fraction of the largest element in units, rounded down: amax may be that much times a power of two."""
    integer, _ = element.max_value.as_integer_ratio() if isinstance(element, Codebook) else element.largest_exact
    return (2 * integer * unit >> integer.bit_length()) - unit


#: what is added to the pattern of amax, given 1 in units of its last bit
CARRIES: dict[str, Callable[[Element, int], int]] = {
    # the largest power of two that is not above amax
    "floor": lambda element, one: 0,
    # the least one that is not below it
    "ceil": lambda element, one: one - 1,
    # that of amax rounded to the elements' precision, ties up: half their unit, 0 where they have more bits than amax
    "even": lambda element, one: one >> element.significand_bits,
    # the least scale at which amax does not saturate
    "rceil": lambda element, one: one - 1 - _threshold(element, one),
    # the least one at which amax is within the power of two that bounds the elements
    "bound": lambda element, one: one - 1,
}
assert tuple(CARRIES) == RULES


def cached(function: Callable[..., T]) -> Callable[..., T]:
    """`lru_cache`, but in compiled code, which would ignore it with a warning."""
    known = lru_cache(maxsize=256)(function)

    @wraps(function)
    def call(*args: Hashable) -> T:
        return function(*args) if torch.compiler.is_compiling() else known(*args)

    return call


class Shared(NamedTuple):
    """What the elements of each block share."""

    scales: Tensor  #: as they are stored: codes, or float32 patterns
    factors: Tensor  #: by which elements are scaled
    void: Tensor  #: elements are all code 0, whatever their values are


class Exact:
    """Elements are divided by powers of two, exactly."""

    __slots__ = ()

    infinite: bool  #: Inf is an amax like another, and overflows
    undefined: ClassVar[bool] = False  #: no scaled value is NaN, but in void blocks
    most: ClassVar[int] = TOP  #: the largest exponent, plus 127, that `floats` takes

    def fits(self, factors: Tensor, element: Element) -> bool:
        """Whether `floats` has the powers, and under none of them an integer is -2**128."""
        low, high = map(int, factors.aminmax())
        whole = isinstance(element, FixedPoint) and not element.symmetric
        return low >= 0 and high <= (min(self.most, TOP - 1 - element.max_scale) if whole else self.most)

    def scaled(self, bits: Tensor, factors: Tensor, ieee: object) -> tuple[Tensor, Tensor]:
        """float32 patterns, and the exponents, plus 127, of the powers by which they are still to be divided."""
        return bits, factors

    def floats(self, x: Tensor, factors: Tensor, out: Tensor) -> None:
        """float32 values, scaled: what is 0 only in float32 is 0 as an element, too, if that is rounded to nearest."""
        powers = ((2 * BIAS - factors) << MANTISSA).clamp(min=1 << (MANTISSA - 1))
        torch.mul(x, powers.view(torch.float32), out=out)


@dataclass(frozen=True, slots=True)
class Rule(Exact):
    """How amax becomes a code of E8M0."""

    power: int  #: log2 of the largest element, rounded down, or of what bounds the elements
    carry: int  #: added to amax; with ``logarithms`` a number for each exponent field instead
    least: int | None  #: the least amax whose code is not 0, where the formula alone does not say it
    overflow: int | None  #: the code where the carry takes amax to 2**128, where that has one of its own
    infinite: bool  #: Inf is an amax like another, and overflows
    top: int  #: the largest code of a finite amax
    logarithms: int | None = None  #: bits of the floating-point format to which log2(amax) is rounded
    flush: bool = False  #: a block whose amax is subnormal counts as 0

    lowest: ClassVar[int] = 0  #: the least exponent of a scale, plus 127
    largest: ClassVar[int] = TOP  #: the largest one
    most: ClassVar[int] = NAN  #: elements of blocks with NaN are 0, whatever comes of them

    def share(self, amax: Tensor, level: Tensor | None, ieee: object) -> Shared:
        """Scales of blocks, given amax as float32 patterns in int32, without sign."""
        codes = self.codes(amax)
        return Shared(codes, codes, self.empty(amax, codes))

    def codes(self, amax: Tensor) -> Tensor:
        """Codes, 255 for NaN, of amax as float32 patterns in int32, without sign."""
        pattern = amax.clamp(max=INFINITY)
        if self.power < 0 and self.logarithms is None:
            pattern = normalised(pattern)
        field = (pattern + self._carry(amax)) >> MANTISSA
        codes = (field - self.power).clamp(0, self.top)
        if self.least is not None:
            codes = torch.where(amax < self.least, 0, codes.clamp(min=1))
        if self.overflow is not None:
            codes = torch.where(field == NAN, self.overflow, codes)
        return torch.where(amax > INFINITY - (not self.infinite), NAN, codes)

    def empty(self, amax: Tensor, codes: Tensor) -> Tensor:
        """Which blocks have elements that are all code 0, whatever their values are."""
        empty = codes == NAN
        return empty | (amax + self._carry(amax) <= FRACTION) if self.flush else empty

    def _carry(self, amax: Tensor) -> Tensor | int:
        if self.logarithms is None:
            return self.carry
        table = torch.tensor(logarithm_carries(self.logarithms), dtype=amax.dtype, device=amax.device)
        return table[(amax >> MANTISSA).clamp(max=TOP)]


@dataclass(frozen=True, slots=True)
class Powers(Exact):
    """How amax becomes a code of any format of powers of two."""

    row: Minifloat  #: float32 or float64, whose patterns values come as
    power: int  #: as in `Rule`
    carry: int  #: likewise
    least: int  #: the exponent of the least scale, plus 127
    largest: int  #: that of the largest scale at which elements are float32s
    zero: int  #: that of code 0
    unit: int  #: the code of 1, but for the bits behind the mask
    mask: int  #: the bits of a code
    nan: int  #: the code of a block with NaN or Inf

    infinite: bool = False  #: Inf is none

    @property
    def lowest(self) -> int:
        """The least exponent of a scale, plus 127."""
        return min(self.least, self.zero)

    def share(self, amax: Tensor, level: Tensor | None, ieee: object) -> Shared:
        """Scales of blocks, given amax as patterns of the row, without sign."""
        assert self.row.infinity is not None
        void = amax >= self.row.infinity
        pattern = amax.clamp(max=self.row.infinity)
        pattern = normalised(pattern) if self.row == float32 else _continued(pattern)
        exponents = ((pattern + self.carry) >> self.row.mantissa) - self.power
        exponents = torch.where(amax == 0, self.zero, exponents.clamp(self.least, self.largest))
        codes = torch.where(void, self.nan, (exponents + (self.unit - BIAS)) & self.mask)
        return Shared(codes, exponents, void)


@cached
def rule(name: str, element: Element, profile: Profile, row: Minifloat) -> Rule:
    """The rule with this name, for amax of values of a floating-point row, and E8M0."""
    power, carry = _power(name, element), CARRIES[name](element, 1 << MANTISSA)
    even = name == "even"
    rounded = profile.exponents == "rounded"
    return Rule(
        power,
        carry,
        _least(name, element, profile.tiny),
        profile.even_top if even else None,
        even and profile.infinite == "largest",
        NAN if rounded else TOP,
        row.significand_bits if rounded else None,
        profile.subnormal_blocks == "flushed",
    )


def _continued(pattern: Tensor) -> Tensor:
    """float64 magnitudes, with the bias of float32 and as if its exponents went on at both ends; 0 far below."""
    x, mantissa = decode(pattern, float64), float64.mantissa
    return ((x.exponent + BIAS) << mantissa) + ((x.significand[0] - HIDDEN) >> (LIMB - 1 - mantissa))


@cached
def powers(name: str, fmt: Block, row: Minifloat) -> Powers:
    """The rule with this name, for the scales of a format, and amax as patterns of float32 or float64."""
    element, scale = fmt.element, fmt.scale
    if isinstance(scale, Exponent):
        least, largest, unit, nan = scale.least, scale.largest, 0, None
    else:
        assert scale.bias is not None
        least, largest, unit, nan = -scale.bias, scale.largest - scale.bias, scale.bias, scale.nan
    above = name == "bound" and scale == e8m0  # whose code 0 is that of zeros alone
    return Powers(
        row=row,
        power=_power(name, element),
        carry=CARRIES[name](element, 1 << row.mantissa),
        least=BIAS + least + above,
        largest=max(min(BIAS + largest, TOP - element.max_scale), BIAS + least),
        zero=BIAS - unit,
        unit=unit,
        mask=(1 << scale.width) - 1,
        nan=nan or 0,
    )


def _power(name: str, element: Element) -> int:
    """log2 of what a scale is the quotient of amax by."""
    return element.max_scale + (name == "bound")


def _least(name: str, element: Element, tiny: str) -> int | None:
    """The least amax whose code is not 0, where a float32 quotient says it.

    If amax is divided, a quotient that is subnormal counts units of 2**-149 and is rounded to them, ties to even.
    """

    def first(quotient: Callable[[float], float], units: int) -> int:
        return _first(lambda amax: round(quotient(amax) * 2.0**149) >= units)

    match name, tiny:
        case "bound", _:
            return 1
        case "rceil", "integer":  # what is above 2**-127 has code 1
            return first(lambda amax: amax / element.max_value, (1 << (MANTISSA - 1)) + 1)
        case "rceil", "divided":
            return first(lambda amax: amax / element.max_value, 1)
        case "ceil", "divided":
            return first(lambda amax: amax * 2.0**-element.max_scale, 1)
        case "floor", "divided":
            return first(lambda amax: amax * 2.0**-element.max_scale, 1 << MANTISSA)
        case _:
            return None


def _first(holds: Callable[[float], bool]) -> int:
    """The least float32 pattern for whose value a monotonic statement holds."""
    low, high = 0, INFINITY
    while low < high:
        middle = (low + high) // 2
        field, fraction = max(1, middle >> MANTISSA), middle & FRACTION
        hidden = (middle > FRACTION) << MANTISSA
        low, high = (low, middle) if holds(math.ldexp(hidden | fraction, field - 150)) else (middle + 1, high)
    return low


# ---- logarithms that are rounded -----------------------------------------------------------------


@cached
def logarithm_carries(bits: int) -> tuple[int, ...]:
    """For each exponent field what carries x to the next power of two, 2**k, where log2(x) rounds to k.

    In a floating-point format of so many bits the numbers next below k are h apart, and log2(x) rounds to k where it
    is nearer than h/2; a tie is impossible.
    """
    carries = []
    for field in range(NAN):
        k = field + 1 - BIAS
        scale = math.frexp(abs(k))[1] - (k > 0 and abs(k) & (abs(k) - 1) == 0)  # of what lies towards -Inf from k
        half = math.ldexp(1.0, scale - bits - 1) if k else 0.0  # near 0 log2 is as fine as x
        units = 1 << (MANTISSA + (field > 0))  # of 2**k: below 2**-126 the steps of float32 stay as they are
        carries.append(int((1 - 2.0**-half) * units))
    return tuple(carries)
