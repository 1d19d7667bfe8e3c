"""Dot products as circuits have them: codes, the exact accumulator, and its value rounded once to a format.

1. All products of two elements are multiples of a least unit, and no larger than some bound. So an integer of a fixed
   width, in that unit, holds every sum: the accumulator. That of posits is the quire.
2. Blocks have an accumulator each, and where scales are powers of two its unit is one, whose exponent is the sum of the
   scales' and a constant.
3. The result rounds the exact sum of all blocks, scales included, whatever they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import check_choice, check_scalar
from ..core.decode import INFINITE, LIMB, NAN, Exact, decode
from ..core.exact import WORD, WORD_MASK, add_to_words, carry_words, from_words, multiply, product_limbs
from ..core.round import encode
from ..errors import FormatError
from ..formats import Block, Codebook, Exponent, FixedPoint, Minifloat, Posit, Scalar, Scale, float32, unit_scale
from ..testing import cases
from ..testing.lines import Words
from ..testing.operations import ROUNDINGS, Codes, find

HAND = 1 << 17  #: products in hand at once
WIDEST = 1 << 12  #: bits of a sum
NEAR = 6  #: binades that random scales lie apart


class Sums(NamedTuple):
    """Exact sums, carried."""

    words: Tensor  #: [words, sums], as `core.exact` has them
    lowest: int  #: log2 of what the lowest bit is worth
    kind: Tensor  #: of each sum
    sign: Tensor  #: of an infinite one

    def value(self) -> Exact:
        """What they are worth."""
        exact = from_words(self.words, self.lowest, self.kind)
        return exact._replace(sign=torch.where(self.kind == INFINITE, self.sign, exact.sign))


class Answers(NamedTuple):
    """What is right for some operands."""

    accumulator: Tensor  #: int64 [cases, accumulators, limbs]: limbs of 64 bits, the least first
    exponent: Tensor | None  #: int64 [cases, accumulators] of their units, where those differ
    result: Tensor  #: int64 [cases]


@dataclass(frozen=True)
class Dot:
    """The dot product of two vectors of a format: of ``k`` values, or of ``k`` blocks.

    >>> dot = Dot(FixedPoint(8, 6), k=4)
    >>> dot.bits, dot.answers(*(torch.full((1, 4), -128) for _ in "ab")).accumulator.item()
    (18, 65536)
    """

    fmt: Scalar | Block
    k: int = 4
    to: Scalar | None = None  #: of the result; None: the format itself, for blocks float32
    rounding: str = "nearest_even"

    def __post_init__(self) -> None:
        check_choice("golden", "rounding", self.rounding, ROUNDINGS)
        if type(self.k) is not int or not 1 <= self.k <= 1 << 16:
            raise FormatError(
                f"golden has no k={self.k!r}: a dot product has 1 to 65536 values, or blocks. Choose one."
            )
        if not isinstance(self.fmt, Block):
            check_scalar("golden", self.fmt)
        if self.to is None:
            object.__setattr__(self, "to", float32 if isinstance(self.fmt, Block) else self.fmt)
        check_scalar("golden", self.to)
        if max(self.bits, self._sum_bits) > WIDEST:
            raise FormatError(
                f"golden cannot sum products of {self.fmt}: that takes {max(self.bits, self._sum_bits)} bits. Allowed "
                f"are sums of {WIDEST}. Choose a format of a smaller range."
            )

    @property
    def operands(self) -> tuple[Words, ...]:
        """What a case is made of."""
        if not isinstance(self.fmt, Block):
            return tuple(Words(side, self.fmt, self.k) for side in "ab")
        parts = (("scale", self.fmt.scale, self.k), ("elements", self.fmt.element, self.k * self.size))
        return tuple(Words(f"{side}_{name}", fmt, count) for side in "ab" for name, fmt, count in parts)

    @property
    def result(self) -> Words:
        """What comes out."""
        assert self.to is not None
        return Words("result", self.to)

    # ---- widths --------------------------------------------------------------------------------------

    @property
    def element(self) -> Scalar:
        """The format of what is multiplied."""
        return self.fmt.element if isinstance(self.fmt, Block) else self.fmt

    @property
    def size(self) -> int:
        """Elements of a block."""
        return prod(self.fmt.tile) if isinstance(self.fmt, Block) else 1

    @property
    def unit(self) -> int:
        """log2 of the accumulator's unit, but for scales."""
        return 2 * unit_scale(self.element)

    @property
    def bits(self) -> int:
        """Of an accumulator, its sign among them."""
        if isinstance(self.element, Posit):
            return self.element.quire_bits
        terms = self.size if isinstance(self.fmt, Block) else self.k
        return (terms * _magnitude(self.element) ** 2).bit_length() + 1

    @property
    def exponents(self) -> tuple[int, int] | None:
        """The least and the largest exponent of an accumulator's unit, where scales make it."""
        if not (isinstance(self.fmt, Block) and self.fmt.by_powers):
            return None
        least, most = _reach(self.fmt.scale)
        return 2 * least + self.unit, 2 * most + self.unit

    @property
    def exponent_bits(self) -> int:
        """Of such an exponent, its sign among them."""
        return 1 + max((x if x >= 0 else ~x).bit_length() for x in self.exponents or ())

    @property
    def _sum_bits(self) -> int:
        """Of the sum of all blocks."""
        least, most = _reach(self.fmt.scale) if isinstance(self.fmt, Block) else (0, 0)
        return self.bits + self.k.bit_length() + 2 * (most - least + 1)

    # ---- answers -------------------------------------------------------------------------------------

    def answers(self, *operands: Tensor) -> Answers:
        """The answers for codes [cases, count] of each operand."""
        rows = max(1, HAND // (self.k * self.size))
        count = len(operands[0])
        parts = [self._answers(*(x[i : i + rows] for x in operands)) for i in range(0, max(count, 1), rows)]
        accumulator, exponent, result = zip(*parts, strict=True)
        exponents = None if exponent[0] is None else torch.cat(exponent)
        return Answers(torch.cat(accumulator), exponents, torch.cat(result))

    def _answers(self, *operands: Tensor) -> Answers:
        scales, elements = (operands[::2], operands[1::2]) if isinstance(self.fmt, Block) else ((), operands)
        a, b = (decode(codes, self.element) for codes in elements)
        bits = self.element.significand_bits
        assert self.to is not None
        if not isinstance(self.fmt, Block):
            sums = _summed(a, b, bits, self.unit, self.bits, self.k)
            return Answers(_limbs(sums, self.unit, self.bits, 1), None, encode(sums.value(), self.to, self.rounding))
        # A1. Each block's accumulator, whose unit the scales move.
        blocks = _summed(a, b, bits, self.unit, self.bits, self.size)
        left, right = (decode(codes, self.fmt.scale) for codes in scales)
        exponent = left.exponent + right.exponent + self.unit if self.exponents else None
        # A2. The sum of all blocks: every element times its scale, exactly.
        x, y = (
            multiply(v, _repeated(scale, self.size), bits, self.fmt.scale.significand_bits)
            for v, scale in ((a, left), (b, right))
        )
        unit = self.unit + 2 * _reach(self.fmt.scale)[0]
        whole = _summed(x, y, bits + self.fmt.scale.significand_bits, unit, self._sum_bits, self.k * self.size)
        result = encode(whole.value(), self.to, self.rounding)
        return Answers(_limbs(blocks, self.unit, self.bits, self.k), exponent, result)

    # ---- cases ---------------------------------------------------------------------------------------

    def cases(self, kind: str, count: int, seed: int) -> Codes:
        """Operands of a kind that `refnum.testing.cases` has; ties are those of the result, where a way is known."""
        if isinstance(self.fmt, (Posit, Minifloat)):
            return cases.dots(self.fmt, kind, count=count, length=self.k, seed=seed)
        if isinstance(self.fmt, Block) and not isinstance(self.fmt.element, FixedPoint):
            return find("dot", str(self.fmt), k=self.k).cases(kind, count, seed)
        draw = Random(f"{kind} {count} {seed} {self}")
        terms = self.k * self.size
        elements: Codes
        if kind == "ties" and isinstance(self.element, FixedPoint):
            elements = self._ties(self.element, count, draw)
        else:
            elements = tuple(_drawn(self.element, kind, (count, terms), seed + side, draw) for side in range(2))
        if not isinstance(self.fmt, Block):
            return elements
        scales = (_drawn_scales(self.fmt.scale, kind, (count, self.k), seed + side, draw) for side in range(2))
        return tuple(codes for pair in zip(scales, elements, strict=True) for codes in pair)

    def _ties(self, element: FixedPoint, count: int, draw: Random) -> tuple[Tensor, Tensor]:
        """Two terms that make a tie of the result, 2**shift * high and 1 * low, among others that are 0."""
        shift = element.width - 2
        a, b = torch.zeros(2, count, self.k * self.size, dtype=torch.int64, device="cpu")
        lanes = range(self.k if not isinstance(self.fmt, Block) else self.size)
        for left, right in zip(a, b, strict=True):
            tie = self._tie(draw, 2 * shift if len(lanes) > 1 else shift)
            sign = draw.choice((1, -1)) if element.signed else 1
            chosen = draw.sample(lanes, min(2, len(lanes)))
            for lane, factor, digit in zip(chosen, (0, shift), (tie & (1 << shift) - 1, tie >> shift), strict=False):
                left[lane], right[lane] = 1 << factor, sign * digit
        return a, b

    def _tie(self, draw: Random, bits: int) -> int:
        """A number of at most so many bits that lies between two results; any, where none does."""
        assert self.to is not None
        if isinstance(self.to, FixedPoint):
            last = unit_scale(self.to) - self.unit  # the result's last bit, in units of the accumulator
            kept = draw.getrandbits(max(bits - last, 0))
        else:
            digits = self.to.significand_bits
            last = draw.randint(1, max(bits - digits, 1))
            kept = 1 << (digits - 1) | draw.getrandbits(digits - 1)
        tie = (2 * kept + 1) << max(last - 1, 0)
        return tie if 1 <= last < bits and tie.bit_length() <= bits else draw.getrandbits(bits)


# ---- numbers -------------------------------------------------------------------------------------


def _magnitude(element: Scalar) -> int:
    """The largest magnitude of any code, in the element's unit."""
    match element:
        case FixedPoint(signed=True):
            return 1 << (element.width - 1)
        case Codebook():
            return max(int(abs(Fraction(x)) / Fraction(2) ** element.unit_scale) for x in element.values)
        case Posit():
            raise AssertionError("posits have their quire")
        case _:
            integer, exponent = element.largest_exact
            return integer << (exponent - unit_scale(element))


def _reach(scale: Scale) -> tuple[int, int]:
    """log2 of the unit of scales, and of the largest one."""
    if isinstance(scale, Exponent):
        return scale.least, scale.largest
    return unit_scale(scale), scale.max_scale


def _summed(a: Exact, b: Exact, factor_bits: int, unit: int, bits: int, terms: int) -> Sums:
    """Sums of products of so many neighbours; significands have at most ``factor_bits`` bits, sums ``bits``."""
    product = product_limbs(a.significand, b.significand, factor_bits, factor_bits)
    sign = a.sign ^ b.sign
    # S1. Below the unit lie bits that stay 0, so that a product is added without trimming it first. A product of 0,
    #     which has no exponent, is added anywhere.
    lowest = unit - 2 * WORD * len(product)
    position = a.exponent + b.exponent + 1 - (len(product) * LIMB - 1) - lowest
    count = sign.numel() // terms
    words = torch.zeros((bits + unit - lowest) // WORD + 2, count, dtype=torch.int64, device="cpu")
    column = torch.arange(count, dtype=torch.int64, device="cpu").repeat_interleave(terms).view(sign.shape)
    add_to_words(words, column, product, sign, position.clamp(min=0))
    carry_words(words)
    # S2. Inf times 0 is NaN, and so are infinities of both signs together.
    zero = (a.significand[0] == 0) & (a.kind == 0) | (b.significand[0] == 0) & (b.kind == 0)
    kind = torch.where(zero & ((a.kind | b.kind) == INFINITE), NAN, a.kind | b.kind).view(-1, terms)
    infinite = kind == INFINITE
    negative = (infinite & (sign.view(-1, terms) < 0)).any(1)
    positive = (infinite & (sign.view(-1, terms) == 0)).any(1)
    nan = (kind == NAN).any(1) | (negative & positive)
    kinds = torch.where(nan, NAN, (negative | positive).to(torch.int64))
    return Sums(words, lowest, kinds, -negative.to(torch.int64))


def _limbs(sums: Sums, unit: int, bits: int, groups: int) -> Tensor:
    """[cases, groups, limbs] of 64 bits of sums in the unit, extended by the sign."""
    words = sums.words[(unit - sums.lowest) // WORD :]
    count = -(-bits // 64)
    words = torch.cat([words[:-1], words[-1:].expand(2 * count, -1)])[: 2 * count]
    limbs = (words[::2] & WORD_MASK) | words[1::2] << WORD
    return limbs.T.reshape(-1, groups, count)


def _repeated(x: Exact, times: int) -> Exact:
    """Each value so many times, one behind the other."""
    sign, significand, exponent, kind = (
        part.repeat_interleave(times, 1) for part in (x.sign, x.significand[0], x.exponent, x.kind)
    )
    return Exact(sign, (significand,), exponent, kind)


# ---- codes ---------------------------------------------------------------------------------------


def _drawn(fmt: Scalar | Exponent, kind: str, shape: tuple[int, int], seed: int, draw: Random) -> Tensor:
    """Codes of a kind in any order, those of a format again and again if there are few."""
    count = prod(shape)
    pool = cases.patterns(fmt, kind, count=max(count, 1), seed=seed)
    if kind == "random":
        return pool.view(shape)
    return pool[torch.tensor([draw.randrange(len(pool)) for _ in range(count)], dtype=torch.int64, device="cpu")].view(
        shape
    )


def _drawn_scales(scale: Scale, kind: str, shape: tuple[int, int], seed: int, draw: Random) -> Tensor:
    """Codes of scales: of edges any, else around 1 in every second case, and near another in the others."""
    if kind == "edges":
        return _drawn(scale, kind, shape, seed, draw)
    least, one, most, step = _ladder(scale)
    rows = []
    for row in range(shape[0]):
        centre = draw.randint(least, most) if row % 2 and kind != "ties" else one
        rows.append([min(max(centre + draw.randint(-NEAR, NEAR) * step, least), most) for _ in range(shape[1])])
    return torch.tensor(rows, dtype=torch.int64, device="cpu").view(shape)


def _ladder(scale: Scale) -> tuple[int, int, int, int]:
    """The codes of the least scale, of 1, and of the largest one, and the step to twice a scale."""
    if isinstance(scale, Exponent):
        return scale.least, 0, scale.largest, 1
    least, most, step = int(scale.subnormals), scale.largest, 1 << scale.mantissa
    assert scale.bias is not None
    return least, min(max(scale.bias * step, least), most), most, step
