"""How far a sum of products may be off, whatever the order of its additions: surely, and likely.

Let r be the exact sum of the terms x_k = a_k b_k, with the bias if there is one; S = sum|x_k|; u the largest part of a
value that a rounding changes.

1. Whatever the order, fused or not, a term goes through n roundings at most: n is K, and one more with a bias. Each
   multiplies it by 1 + d with |d| <= u, so that a sum is off by at most ((1 + u)**n - 1) S. This is no more than
   gamma_n S, and holds for any n (N. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1).
2. Below the normal range a product loses up to half a subnormal unit instead, fused or not; additions lose nothing
   there. There are K products, and roundings let such a loss grow to (1 + u)**n of itself at most.
3. A sum that is rounded to a narrower dtype moves by half a unit of that, the unit of the result.
4. A partial sum has no terms but those of r: it lies between the sum of the negative ones and that of the positive
   ones, hence is no larger than P = (S + |r|) / 2. Roundings that are as often up as down make errors walk at random,
   by 6 sqrt(n) u P at most but once in 30 million times (N. Higham and T. Mary, "A new approach to probabilistic
   rounding error analysis", SIAM J. Sci. Comput. 41, 2019). P is S at most.
5. Roundings that are as likely anywhere between two values deviate by u / sqrt(3), sums by D = u sqrt(n / 3) P at most.
   The mean square of c independent errors is at most (1 + 6 sqrt(2 / c) + 36 / c) D**2, as surely as in 4. (B. Laurent
   and P. Massart, "Adaptive estimation of a quadratic functional by model selection", Ann. Statist. 28, 2000, lemma 1).
   Where sums are so long that 4. allows much, they are judged together by this.
6. Where an order mixes terms, partial sums are not much larger than |r| or the root of sum x_k**2. What 4. allows
   beyond six deviations of such sums is for orders that don't; then other errors of the matrix are as large, because
   all its results are added in one order. An error that is far from theirs stands out.
7. Roundings towards zero err to one side. Nothing is likely that is not sure: only 1. to 3. hold, with a u twice as
   large.
8. A tensor core adds L terms and an accumulator c at once, and rounds their sum: n then is the count of such blocks.
   First it cuts each to a multiple of 2**(e - F), which takes less than (L + 1) 2**-F times 2**e from a sum. Here 2**e
   is no larger than the largest |a_k b_k|, where numbers below the normal range of their format count as the least
   normal one, and 0 as 2**-126; or than c, which counts likewise. Over all blocks the former add up to no more than the
   sum of all these products, the latter to n times the largest c there can be, plus n least normal ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS
from ..fast.conversions import converted
from ..fast.slices import SURPLUS
from ..fast.vectors import power_of_2
from ..formats import Minifloat, bfloat16, float16, float32, holds, tf32
from ..sums.exact import exact_mm
from ..sums.operands import FP8, widened
from ..sums.tensorcore import INSTRUCTIONS, Instruction

LONG = 1 << 12  #: roundings from which on sums are judged together
RANDOM = 2.0**-6  #: n u up to which roundings are as often up as down: sums then notice small terms
TYPICAL = 16.0  #: times the median of a matrix: errors beyond stand out
LARGEST = 350.0  #: the logarithm of growth beyond which it makes no difference, and the bounds would overflow


OPERANDS = (torch.float32, torch.bfloat16, torch.float16, *FP8)


@dataclass(frozen=True, slots=True)
class Accumulator:
    """How partial sums are rounded, and of which operands."""

    row: Minifloat
    truncating: bool = False  #: towards zero, instead of to nearest
    operands: tuple[torch.dtype, ...] = OPERANDS
    instruction: Instruction | None = None  #: of a tensor core, if it is one

    @classmethod
    def of(cls, instruction: Instruction) -> Accumulator:
        """That of a tensor core."""
        kept, rounding = instruction.accumulator.kept, instruction.accumulator.rounding
        return cls(kept, rounding == "toward_zero", instruction.operands, instruction)

    @property
    def u(self) -> float:
        """The largest part of a value that a rounding changes."""
        return math.ldexp(1.0, self.truncating - self.row.significand_bits)

    @property
    def loss(self) -> float:
        """By how much rounding moves a subnormal value at most."""
        return math.ldexp(1.0, self.row.min_scale - self.row.mantissa - 1 + self.truncating)

    @property
    def walks(self) -> bool:
        """Whether errors are as often up as down."""
        return not self.truncating and self.instruction is None

    def roundings(self, terms: int, more: int) -> int:
        """How many a term goes through at most, with so many addends more."""
        if self.instruction is not None:
            return -(-terms // self.instruction.terms)
        return terms + more if terms else 0


ACCUMULATORS = {
    "float32": Accumulator(float32),
    "truncating": Accumulator(float32, truncating=True),
    "float16": Accumulator(float16),
    "bfloat16": Accumulator(bfloat16),
    **{f"tc.{name}/v1": Accumulator.of(row) for name, row in INSTRUCTIONS.items() if row.operands},
}


class Product(NamedTuple):
    """Some results of ``a @ b + bias`` in their dtype, and operands in float32: [.., M, N], [.., M, K], [.., K, N]."""

    got: Tensor
    a: Tensor
    b: Tensor
    bias: Tensor | None  #: [.., M, N]

    def piece(self, place: tuple[int | slice, ...]) -> Product:
        """Those of some rows, or of some matrices of a batch."""
        bias = None if self.bias is None else self.bias[place]
        return Product(self.got[place], self.a[place], self.b[place[:1]], bias)


class Judged(NamedTuple):
    """What is found of results, in float64."""

    exact: Tensor  #: the exact sums, rounded
    size: Tensor  #: S
    error: Tensor  #: Inf where a NaN or an Inf is out of place
    allowed: Tensor  #: always finite


def judge(product: Product, accumulator: Accumulator, bound: str) -> Judged:
    """Errors of results, and what the bound allows: `likely` or `proven`."""
    # What float64 loses here is less than 2**-20 of u S: SURPLUS makes up for it.
    product = _as_read(product, accumulator.instruction)
    sums, row = _Sums.of(product), FLOAT_ROWS[product.got.dtype]
    got, top = in_float64(product.got), math.ldexp(1.0, row.max_scale + 1)
    near = got.clamp(-top, top)  # Inf is what is rounded to the first value beyond the format
    n = accumulator.roundings(product.a.shape[-1], int(product.bias is not None))
    relative = math.expm1(min(n * math.log1p(accumulator.u), LARGEST))
    growth = 1 + relative
    beside = _rounding(near, row, accumulator) + growth * n * accumulator.loss  # 3. and 2.
    sure = relative * sums.size + beside  # 1.
    if accumulator.instruction is not None:
        sure += growth * _cut(product, growth * sums.size + beside, n, accumulator.instruction)  # 8.
    error = _errors(got, near, sums, sure, accumulator.row.max_value)
    likely = bound == "likely" and accumulator.walks
    allowed = torch.minimum(sure, _likely(sums, error, beside, n, accumulator.u)) if likely else sure
    return Judged(sums.exact, sums.size, error, allowed * SURPLUS)


def in_float64(x: Tensor) -> Tensor:
    """Floats of at most 32 bits in float64, which holds them."""
    return converted(widened(x), torch.float64)


class _Sums(NamedTuple):
    """Sums over the terms of results; those of sizes without terms that are no numbers."""

    exact: Tensor  #: of x_k
    size: Tensor  #: of |x_k|
    square: Tensor  #: of x_k**2

    @classmethod
    def of(cls, product: Product) -> _Sums:
        exact = exact_mm(product.a, product.b, product.bias, torch.float64)
        x, y, *bias = (in_float64(side).nan_to_num_(0, 0, 0).abs_() for side in product[1:] if side is not None)
        size, square = x @ y, x.square_() @ y.square_()
        for z in bias:
            size, square = size + z, square + z * z
        return cls(exact, size, square)


def _as_read(product: Product, instruction: Instruction | None) -> Product:
    """The operands as a tensor core reads them: tf32 is what is left of a float32 without its last bits."""
    if instruction is None or tf32 not in instruction.formats:
        return product
    keep = -1 << (float32.mantissa - tf32.mantissa)
    a, b = (side.contiguous().view(torch.int32).bitwise_and(keep).view(torch.float32) for side in product[1:3])
    return product._replace(a=a, b=b)


def _cut(product: Product, most: Tensor, blocks: int, instruction: Instruction) -> Tensor:
    """What is cut off all terms where accumulators have a largest size."""
    least = 2.0 ** max(row.min_scale for row in instruction.formats)
    sizes = (in_float64(side).nan_to_num_(0, 0, 0).abs_() for side in product[1:3])
    x, y = (torch.where(size == 0, 2.0**instruction.zero, size.clamp(min=least)) for size in sizes)
    normal = 2.0**instruction.accumulator.held.min_scale
    return (instruction.terms + 1) * 2.0**-instruction.fraction * (x @ y + blocks * (most + normal))


def _rounding(got: Tensor, row: Minifloat, accumulator: Accumulator) -> Tensor | float:
    """Half a unit of the results where their format is narrower, or a whole one."""
    if holds(row, accumulator.row):
        return 0.0
    scale = torch.where(got == 0, row.min_scale, got.frexp().exponent - 1).clamp_(row.min_scale, row.max_scale)
    return power_of_2(scale.to(torch.int64) - row.mantissa - 1 + accumulator.truncating)


def _errors(got: Tensor, near: Tensor, sums: _Sums, sure: Tensor, largest: float) -> Tensor:
    """How far results lie from exact sums: ``near`` is the result, or the first value beyond the format for Inf."""
    # 1. Inf stands for all values beyond.
    beyond = got.isinf() & (sums.exact.sign() == got.sign()) & (sums.exact.abs() >= near.abs())
    error = (near - sums.exact).abs_().masked_fill_(beyond, 0.0)
    # 2. An exact sum that is no number has no neighbours.
    same = (got == sums.exact) | (got.isnan() & sums.exact.isnan())
    error = torch.where(sums.exact.isfinite() & ~got.isnan(), error, torch.inf)
    # 3. Partial sums of many large terms of a sign overflow perhaps; if they do to both sides, they make a NaN.
    finite = sums.exact.isfinite()
    up, down = (
        torch.where(finite, (sums.size + total) / 2, sums.size) + sure >= largest for total in (sums.exact, -sums.exact)
    )
    up, down = up | (sums.exact == torch.inf), down | (sums.exact == -torch.inf)
    infinite = finite & (((got == torch.inf) & up) | ((got == -torch.inf) & down))
    excused = infinite | (got.isnan() & ~sums.exact.isnan() & up & down)
    return error.masked_fill_(same | excused, 0.0)


def _likely(sums: _Sums, error: Tensor, beside: Tensor | float, n: int, u: float) -> Tensor:
    total = torch.where(sums.exact.isfinite(), sums.exact, 0.0).abs_()
    most = (sums.size + total) / 2
    allowed = 6 * math.sqrt(n) * u * most  # 4.
    sample = error.isfinite() & (sums.size > 0)
    if n * u <= RANDOM and bool(sample.any()):
        deviation = math.sqrt(n / 3) * u
        mixed = 6 * deviation * torch.maximum(total, 2 * sums.square.sqrt())
        typical = TYPICAL * (error / sums.size)[sample].median() * sums.size
        allowed = torch.minimum(allowed, torch.maximum(mixed, typical))  # 6.
        walks = ((error - beside).clamp_(min=0.0) / (deviation * most))[sample]
        if n >= LONG and not _at_random(walks):
            allowed = torch.minimum(allowed, deviation * most)  # 5.
    return allowed + beside


def _at_random(walks: Tensor) -> bool:
    """Whether errors, in units of the largest deviation, are no larger in the mean square than independent ones are."""
    count = walks.numel()
    return float(walks.square().mean()) <= (1 + 6 * math.sqrt(2 / count) + 36 / count) * SURPLUS
