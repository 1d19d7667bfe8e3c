"""Scales that float32 arithmetic makes: of E4M3 and float32, and powers of two in libraries that divide on the way.

A formula turns the largest magnitude of a block into the scale that is stored and a float32 number, by which elements
are multiplied or divided. Every step is an IEEE operation on patterns, so that a library's formula gives its bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..formats import Block, Element, Minifloat, bfloat16, e2m1, e4m3, e8m0, float32
from .scales import BIAS, FRACTION, INFINITY, MANTISSA, NAN, TOP, Shared
from .singles import Arithmetic, Pattern, pattern, to_bfloat16

ONE, LARGEST, NORMAL = pattern(1.0), INFINITY - 1, FRACTION + 1
LEAST = pattern(2.0**e4m3.min_scale)  #: the least normal scale of E4M3
HALF = NORMAL >> 1  #: 2**-127, the value of the E8M0 code 0


@dataclass(frozen=True, slots=True)
class Terms:
    """What formulas use besides amax."""

    ieee: Arithmetic
    element: Element
    row: Minifloat  #: the floating-point format of the values
    level: Tensor | None = None  #: the tensor scale, if there is one

    @property
    def largest(self) -> int:
        """The largest element."""
        return pattern(self.element.max_value)

    @property
    def reciprocal(self) -> int:
        """The float32 nearest to 1 / the largest element."""
        return pattern(1 / self.element.max_value)

    @property
    def whole(self) -> int:
        """The largest value without a tensor scale: 2688 in NVFP4."""
        return pattern(self.element.max_value * e4m3.max_value)

    def in_dtype(self, x: Tensor) -> Tensor:
        """Rounded as an operation in the dtype of the values rounds."""
        return to_bfloat16(x) if self.row == bfloat16 else x

    @property
    def inverse(self) -> Pattern:
        """1 over the tensor scale."""
        return ONE if self.level is None else self.ieee.over(ONE, self.level)

    def times_level(self, x: Tensor) -> Tensor:
        """x times the tensor scale."""
        return x if self.level is None else self.ieee.times(x, self.level)

    def over_level(self, x: Tensor) -> Tensor:
        """x over the tensor scale."""
        return x if self.level is None else self.ieee.over(x, self.level)

    def reciprocal_or_zero(self, x: Tensor) -> Tensor:
        """1 / x, and 0 for 0."""
        return torch.where(x == 0, 0, self.ieee.over(ONE, x))


def finite(x: Tensor) -> Tensor:
    """The largest number instead of Inf."""
    return torch.where(x == INFINITY, LARGEST, x)


Made = tuple[Tensor, Tensor]  #: scales as they are stored, factors of elements

# ---- E4M3 scales ---------------------------------------------------------------------------------


def stored(amax: Tensor, terms: Terms) -> Made:
    """Elements are multiplied by the reciprocal of the scale that is stored, which is normal."""
    ieee = terms.ieee
    ratio = terms.over_level(ieee.over(amax, terms.largest))
    codes = ieee.to_e4m3(ratio.clamp(min=LEAST))
    return codes, ieee.over(terms.inverse, ieee.of_e4m3(codes))


def unrounded(amax: Tensor, terms: Terms) -> Made:
    """Elements are multiplied by the reciprocal of the scale before it was rounded."""
    ratio = terms.ieee.over(amax, terms.largest)
    return terms.ieee.to_e4m3(ratio), terms.ieee.over(ONE, ratio)


def folded(amax: Tensor, terms: Terms) -> Made:
    """The reciprocal of the largest element is folded into the tensor scale."""
    ieee = terms.ieee
    factor = terms.reciprocal if terms.level is None else ieee.times(terms.level, terms.reciprocal)
    codes = ieee.to_e4m3(ieee.times(amax, factor))
    return codes, finite(ieee.over(ONE, ieee.times(ieee.of_e4m3(codes), terms.inverse)))


def unfolded(amax: Tensor, terms: Terms) -> Made:
    """The same, in another order; under a scale that is 0 elements are 0."""
    ieee = terms.ieee
    codes = ieee.to_e4m3(terms.times_level(ieee.times(amax, terms.reciprocal)))
    inverse = ONE if terms.level is None else terms.reciprocal_or_zero(terms.level)
    return codes, terms.reciprocal_or_zero(ieee.times(ieee.of_e4m3(codes), inverse))


def raised(amax: Tensor, terms: Terms) -> Made:
    """Elements are divided by the scale that is stored; one that is 0 is raised to 1/8."""
    ieee = terms.ieee
    codes = ieee.to_e4m3(terms.times_level(terms.in_dtype(ieee.over(amax, terms.largest))))
    codes = torch.where(codes == 0, 0x20, codes)
    return codes, terms.over_level(ieee.of_e4m3(codes))


# ---- float32 scales ------------------------------------------------------------------------------


def ratio(amax: Tensor, terms: Terms) -> Made:
    """Elements are divided by amax over the largest of them; by 1 where that is 0."""
    scales = finite(terms.ieee.over(amax, terms.largest))
    scales = torch.where(scales == 0, ONE, scales)
    return scales, scales


# ---- E8M0 scales ---------------------------------------------------------------------------------


def ceiling(amax: Tensor, terms: Terms) -> Made:
    """The least power of two at which amax does not saturate; NaN has that of 0, under which elements are 0."""
    ratio = terms.ieee.times(amax, terms.reciprocal)
    codes = torch.where(ratio > INFINITY, 0, ratio + FRACTION >> MANTISSA)
    return codes, torch.where((codes == 0) | (codes == NAN), 0, _reciprocals(codes))


def capped_ceiling(amax: Tensor, terms: Terms) -> Made:
    """The same, but up to 2**-127 the code is 0, and of Inf the largest."""
    ratio = terms.ieee.over(amax, terms.largest)
    codes = (ratio + FRACTION >> MANTISSA).clamp(max=TOP)
    codes = torch.where((ratio <= HALF) | (ratio > INFINITY), 0, codes)
    return codes, torch.where(codes == 0, 0, _reciprocals(codes))


def half_up(amax: Tensor, terms: Terms) -> Made:
    """amax is rounded to two bits, ties up, for any element; what rounds to 2**128 is lost, divided by Inf."""
    field = amax + (1 << (MANTISSA - e2m1.significand_bits)) >> MANTISSA
    codes, lost = (field - terms.element.max_scale).clamp(min=0), field >= NAN
    divisors = torch.where(lost, INFINITY, (codes << MANTISSA).clamp(min=HALF))
    return torch.where(amax > INFINITY, NAN, torch.where(lost, BIAS, codes)), divisors


def _reciprocals(codes: Tensor) -> Tensor:
    """1 over the values of codes of numbers."""
    return ((2 * BIAS - codes) << MANTISSA).clamp(min=HALF)


# ---- scales of tensors ---------------------------------------------------------------------------


def level_of(amax: Tensor, terms: Terms) -> Tensor:
    """amax over the largest value."""
    return terms.ieee.over(amax, terms.whole)


def level_or_one(amax: Tensor, terms: Terms) -> Tensor:
    """The same, and 1 for 0."""
    level = level_of(amax, terms)
    return torch.where(level == 0, ONE, level)


def bounded_divisor(amax: Tensor, terms: Terms) -> Tensor:
    """The largest value over amax, of zeros the largest number, of Inf 1."""
    divisor = finite(terms.ieee.over(terms.whole, amax))
    return torch.where(divisor == 0, ONE, divisor)


def reciprocal_divisor(amax: Tensor, terms: Terms) -> Tensor:
    """The reciprocal of amax times the largest value; of zeros the largest number."""
    return torch.where(amax == 0, LARGEST, terms.ieee.times(terms.ieee.over(ONE, amax), terms.whole))


def divisor_or_one(amax: Tensor, terms: Terms) -> Tensor:
    """The same in the dtype of the values, amax being at least normal; 1 where it overflows, or amax is NaN."""
    reciprocal = terms.in_dtype(terms.ieee.over(ONE, amax.clamp(min=NORMAL)))
    divisor = terms.in_dtype(terms.ieee.times(reciprocal, terms.whole))
    return torch.where(divisor >= INFINITY, ONE, divisor)


# ---- the table -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Formula:
    """One row."""

    scales: Callable[[Tensor, Terms], Made]  #: of amax
    divides: bool = False  #: elements are divided by the factor instead
    level: Callable[[Tensor, Terms], Tensor] | None = None  #: amax of a tensor -> its scale


FORMULAS = {
    "ocp": Formula(stored, level=level_or_one),
    "stored": Formula(stored, level=level_of),
    "unrounded": Formula(unrounded),
    "folded": Formula(folded, level=bounded_divisor),
    "unfolded": Formula(unfolded, level=reciprocal_divisor),
    "raised": Formula(raised, divides=True, level=divisor_or_one),
    "ratio": Formula(ratio, divides=True),
    "ceiling": Formula(ceiling),
    "capped_ceiling": Formula(capped_ceiling),
    "half_up": Formula(half_up, divides=True),
}
#: the largest code of a scale that is a number, or Inf: those above are NaN
LARGEST_SCALE = {e8m0: TOP, e4m3: e4m3.largest, float32: INFINITY}


@dataclass(frozen=True, slots=True)
class Quotient:
    """A formula for blocks of a format, and values of a floating-point row."""

    name: str
    fmt: Block
    row: Minifloat

    infinite: ClassVar[bool] = False  #: nothing is left to divide by: Inf is as far beyond elements as it looks
    undefined: ClassVar[bool] = True  #: a scaled value may be NaN
    lowest: ClassVar[int] = BIAS  #: the least exponent, plus 127, of what is left to divide by

    def fits(self, factors: Tensor, element: Element) -> bool:
        """Whether float32 arithmetic has the factors."""
        return True

    def share(self, amax: Tensor, level: Tensor | None, ieee: Arithmetic) -> Shared:
        """Scales of blocks, given amax as float32 patterns in int32, without sign, and the tensor scale."""
        level = None if level is None else level.to(ieee.dtype)
        terms = Terms(ieee, self.fmt.element, self.row, level)
        scales, factors = FORMULAS[self.name].scales(amax.to(ieee.dtype), terms)
        assert isinstance(self.fmt.scale, Minifloat)
        return Shared(scales, factors.to(torch.int32), scales > LARGEST_SCALE[self.fmt.scale])

    def scaled(self, bits: Tensor, factors: Tensor, ieee: Arithmetic) -> tuple[Tensor, Tensor]:
        """float32 patterns, scaled, and the code of 1, by which they are still to be divided."""
        operation = ieee.over if FORMULAS[self.name].divides else ieee.times
        return operation(bits, factors).to(torch.int32), torch.full_like(factors, BIAS)

    def floats(self, x: Tensor, factors: Tensor, out: Tensor) -> None:
        """float32 values, scaled by the machine."""
        operation = torch.div if FORMULAS[self.name].divides else torch.mul
        operation(x, factors.view(torch.float32), out=out)
