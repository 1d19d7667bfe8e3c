"""Functions in float64, each with a bound on its relative error: torch's own, and what is composed of them.

The bounds hold wherever arguments are 0 or normal, integers at most 2**31 in size and results within 2**-900 .. 2**900,
if torch's own functions do what their makers say: no more than 4 units of the last place, that is 2**-50 of the
result. SLEEF and MKL promise 1, CUDA 3, and glibc's worst known error is 2.3. Only erfc may be off by 8: CUDA promises
5, and 5.2 is glibc's worst. A sum, product or quotient adds 2**-53. `probes` asks this machine.

O1. A function of torch's own has four times the error that it may have as its bound, or more.
O2. In the others two or three errors add up, and no argument's error is made more than three times as large: less than
    2**-47.8 in all, of which the worst case is exp10m1. Their bound is 2**-47.
O3. Whatever compiles code finds the functions opaque, so that it computes what has been asked about.

NaN, infinities, zeros and poles come out as IEEE 754-2019, section 9.2.1, has them, with these exceptions, which the
caller knows: compoundn goes on to the left of -1, and an integer beyond 2**31 is read as a float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from ..fast.expansions import two_sum

ROUNDED = 50  #: the bound on operations that IEEE 754 has right to 2**-53
PLAIN = 48  #: the bound on torch's own functions
COMPOSED = 47  #: the bound on others


@dataclass(frozen=True, slots=True)
class Estimate:
    """A function of float64 tensors of one shape, and of an int64 one if it takes an integer."""

    name: str
    formula: Callable[..., Tensor]
    bound: int  #: the relative error is at most 2**-bound

    def evaluate(self, *operands: Tensor) -> Tensor:
        """The function in float64."""
        # torch.compile has formulas of its own for some functions, such as exp(x) - 1 for expm1.
        if torch.compiler.is_compiling() or type(operands[0]) is not Tensor:
            opaque: Tensor = torch.ops.refnum.estimate(self.name, list(operands))
            return opaque
        return self.formula(*operands)


class Constant(NamedTuple):
    """A real number as the sum of two: the products of the first one, which is short, are exact."""

    head: float
    tail: float


def _constant(decimal: str, places: int) -> Constant:
    """The head has so many binary places."""
    value = Fraction(decimal)
    head = Fraction(round(value * 2**places), 2**places)
    return Constant(float(head), float(value - head))


LN10 = _constant("2.30258509299404568401799145468436420760110148862877", 24)
HALF_ROOT = _constant("0.70710678118654752440084436210484903928483593768847", 24)  #: the square root of 1/2
# 2 * sqrt(2 / pi) * (x + 0.044715 * x**3)
LINEAR = _constant("1.59576912160573071175978423973752747390343452465974", 12)
CUBIC = _constant("0.07135481627260024877633875227986354099559207477016", 15)


def _leading(x: Tensor, bits: int) -> Tensor:
    """x cut off after so many significant bits."""
    return (x.view(torch.int64) & -(1 << (53 - bits))).view(torch.float64)


def _product(x: Tensor, constant: Constant) -> tuple[Tensor, Tensor]:
    """x times a constant as a sum: of the exact product of its leading bits, and of the rest, some 2**-25 of it."""
    leading = _leading(x, 26)
    return leading * constant.head, (x - leading) * constant.head + x * constant.tail


# ---- exponentials and logarithms -----------------------------------------------------------------


def _exp10(x: Tensor) -> Tensor:
    # Between the ends exp neither overflows in one factor nor underflows in the other.
    high, low = _product(x.clamp(-400, 400), LN10)
    return high.exp() * low.exp()


def _exp2m1(x: Tensor) -> Tensor:
    return _power_less_one(x, torch.exp2, math.log(2))


def _exp10m1(x: Tensor) -> Tensor:
    return _power_less_one(x, _exp10, math.log(10))


def _power_less_one(x: Tensor, power: Callable[[Tensor], Tensor], log: float) -> Tensor:
    # P1. x = near + rest, exactly, where near is at most 1 in size. b**x - 1 = b**rest * (b**near - 1) + (b**rest - 1).
    # P2. Near 0 the rest is 0, its power 1, and the error that of expm1, and 2.6 times that of its argument at most.
    #     Elsewhere both terms have one sign, and their sum is off by twice the error of the power. A zero keeps its
    #     sign, since what is subtracted is +0.
    near = x.clamp(-1, 1)
    factor = power(x - near)
    return factor * torch.expm1(near * log) - (1 - factor)


def _log2p1(x: Tensor) -> Tensor:
    return torch.log1p(x) / math.log(2)


def _log10p1(x: Tensor) -> Tensor:
    return torch.log1p(x) / math.log(10)


def _softmax_exp(x: Tensor, m: Tensor) -> Tensor:
    # The error of the difference is at most 2**-53 of it. Where it is more than 1/2, the power is 0 or infinite.
    difference, error = two_sum(x, -m)
    return difference.exp() * (1 + error.nan_to_num(0.0).clamp(-0.5, 0.5))


# ---- angles in turns -----------------------------------------------------------------------------


def _turned(x: Tensor) -> Tensor:
    """x less the nearest even integer, exactly: -1 .. 1."""
    return x - 2 * torch.round(x * 0.5)


def _sinpi(x: Tensor) -> Tensor:
    # The sine of pi * t for 0 <= t <= 1/2 is off by no more than its argument. At integers the sign is that of x.
    turned = _turned(x)
    size = turned.abs()
    size = torch.minimum(size, 1 - size)
    return (size * math.pi).sin().copysign(torch.where(size == 0, x, turned))


def _cospi(x: Tensor) -> Tensor:
    # 1/2 - t is exact from 1/4 on; below, the sine hardly moves. At its zeros it is +0.
    return ((0.5 - _turned(x).abs()) * math.pi).sin()


def _tanpi(x: Tensor) -> Tensor:
    return _sinpi(x) / _cospi(x)


def _asinpi(x: Tensor) -> Tensor:
    return x.asin() / math.pi


def _acospi(x: Tensor) -> Tensor:
    return x.acos() / math.pi


def _atanpi(x: Tensor) -> Tensor:
    return x.atan() / math.pi


def _atan2pi(y: Tensor, x: Tensor) -> Tensor:
    return torch.atan2(y, x) / math.pi


# ---- integer powers and roots --------------------------------------------------------------------


def _compoundn(x: Tensor, k: Tensor) -> Tensor:
    # 1 + x = total + error, exactly, and (1 + error / total)**k is exp(k * error / total) less 2**-75 of it. Where that
    # is NaN, the total is -inf, 0, inf or NaN, and nothing is missing.
    total, error = two_sum(torch.ones_like(x), x)
    power = k.to(torch.float64)
    return torch.pow(total, power) * (power * (error / total)).nan_to_num(0.0).exp()


def _rootn(x: Tensor, k: Tensor) -> Tensor:
    # R1. A power that has 21 bits, times k, is exact. What it lacks to 1 / k is at most 2**-20 of it.
    # R2. Even roots of negative numbers, and of -inf, are NaN by their logarithms, and so is the root for k = 0, where
    #     what is lacking is NaN. Of 0 and inf the power is already right.
    odd = (k & 1) != 0
    radicand = torch.where(odd, x.abs(), x)
    degree = k.to(torch.float64)
    power = _leading(1 / degree, 21)
    lacking = (1 - power * degree) / degree
    logarithm = radicand.log().nan_to_num(math.nan, 0.0, 0.0)
    root = torch.pow(radicand, power) * (logarithm * lacking).exp()
    return torch.where(odd, root.copysign(x), root)


# ---- activations ---------------------------------------------------------------------------------
#
# To the left of LEAST the results are too small for float64: x is moved there, so that -inf gives -0, like its
# neighbours. Beyond LARGEST they are x.

LEAST, LARGEST = -1024.0, 64.0


def _silu(x: Tensor) -> Tensor:
    return torch.nn.functional.silu(x.clamp(min=LEAST))


def _gelu(x: Tensor) -> Tensor:
    # G1. x * Phi(x) = x / 2 * erfc(v) at v = -x / sqrt(2), of which float64 holds v + error: erfc changes by up to
    #     2 * v**2 times as much as v, by parts. So let erfc(v) = erfc(v + error) * (1 + slope * error), nearly.
    # G2. The slope, of -log erfc, is about v + sqrt(v**2 + 4 / pi): off by less than 0.65 / |v|. The error is at most
    #     2**-53 of v.
    high, low = _product(x.clamp(-LARGEST, LARGEST), HALF_ROOT)
    argument = -high - low
    error = (high + argument) + low
    slope = (argument * argument + 4 / math.pi).sqrt() + argument
    return x.clamp(min=-LARGEST) * 0.5 * (torch.erfc(argument) * (1 + slope * error))


def _gelu_tanh(x: Tensor) -> Tensor:
    # T1. With z = 2 * sqrt(2 / pi) * (x + 0.044715 * x**3) it is x / (1 + exp(-z)), where z is 624 or less in size as
    #     long as the result counts. It is the sum of two parts, of which the first is exact and the second small.
    # T2. The leading 12 bits of x = h + l are a multiple of 2**(e - 11), where 2**e <= |x|. Then the products of both
    #     heads and their sum are multiples of 2**(3e - 48): 52 bits, for e from -1 to 4. Below, an error of 2**-54 does
    #     not count.
    # T3. x**3 = h**3 + l * (h * (h + x) + x**2). The second part has a dozen roundings, of 1 or less: 2**-50 in all.
    near = x.clamp(-LARGEST, LARGEST)
    leading = _leading(near, 12)
    rest = near - leading
    cube = leading * leading * leading
    steepness = (LINEAR.head + LINEAR.tail) + (CUBIC.head + CUBIC.tail) * (leading * (leading + near) + near * near)
    first = leading * LINEAR.head + cube * CUBIC.head
    second = leading * LINEAR.tail + cube * CUBIC.tail + rest * steepness
    return x.clamp(min=-LARGEST) / (1 + (-first).exp() * (-second).exp())


# ---- the table -----------------------------------------------------------------------------------

ESTIMATES = {
    row.name: row
    for row in (
        Estimate("sqrt", torch.sqrt, ROUNDED),
        Estimate("reciprocal", torch.reciprocal, ROUNDED),
        Estimate("rsqrt", torch.rsqrt, PLAIN),
        Estimate("exp", torch.exp, PLAIN),
        Estimate("expm1", torch.expm1, PLAIN),
        Estimate("exp2", torch.exp2, PLAIN),
        Estimate("exp2m1", _exp2m1, COMPOSED),
        Estimate("exp10", _exp10, COMPOSED),
        Estimate("exp10m1", _exp10m1, COMPOSED),
        Estimate("log", torch.log, PLAIN),
        Estimate("log1p", torch.log1p, PLAIN),
        Estimate("log2", torch.log2, PLAIN),
        Estimate("log2p1", _log2p1, COMPOSED),
        Estimate("log10", torch.log10, PLAIN),
        Estimate("log10p1", _log10p1, COMPOSED),
        Estimate("sin", torch.sin, PLAIN),
        Estimate("sinpi", _sinpi, COMPOSED),
        Estimate("cos", torch.cos, PLAIN),
        Estimate("cospi", _cospi, COMPOSED),
        Estimate("tan", torch.tan, PLAIN),
        Estimate("tanpi", _tanpi, COMPOSED),
        Estimate("asin", torch.asin, PLAIN),
        Estimate("asinpi", _asinpi, COMPOSED),
        Estimate("acos", torch.acos, PLAIN),
        Estimate("acospi", _acospi, COMPOSED),
        Estimate("atan", torch.atan, PLAIN),
        Estimate("atanpi", _atanpi, COMPOSED),
        Estimate("sinh", torch.sinh, PLAIN),
        Estimate("cosh", torch.cosh, PLAIN),
        Estimate("tanh", torch.tanh, PLAIN),
        Estimate("asinh", torch.asinh, PLAIN),
        Estimate("acosh", torch.acosh, PLAIN),
        Estimate("atanh", torch.atanh, PLAIN),
        Estimate("hypot", torch.hypot, PLAIN),
        Estimate("pow", torch.pow, PLAIN),
        Estimate("atan2", torch.atan2, PLAIN),
        Estimate("atan2pi", _atan2pi, COMPOSED),
        Estimate("compoundn", _compoundn, COMPOSED),
        Estimate("rootn", _rootn, COMPOSED),
        Estimate("sigmoid", torch.sigmoid, COMPOSED),
        Estimate("silu", _silu, COMPOSED),
        Estimate("gelu", _gelu, COMPOSED),
        Estimate("gelu_tanh", _gelu_tanh, COMPOSED),
        Estimate("softmax_exp", _softmax_exp, COMPOSED),
    )
}


def _estimate(name: str, operands: list[Tensor]) -> Tensor:
    return ESTIMATES[name].formula(*operands)


LIBRARY = torch.library.Library("refnum", "FRAGMENT")  # type: ignore[no-untyped-call]
LIBRARY.define(  # type: ignore[no-untyped-call]
    "estimate(str name, Tensor[] operands) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,)
)
LIBRARY.impl("estimate", _estimate, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("refnum::estimate", _estimate, lib=LIBRARY)
