"""Operands on which models of tensor cores differ: what is aligned, cut, rounded, flushed, overflows, or is special.

A family makes values of A [tiles, 64, K], B [tiles, 8, K] and C [tiles, 64, 8] in float64, whichever the instruction.
Since each row of A meets each column of B, what a family arranges lies along k and is the same for a whole tile.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .instructions import COLUMNS, INTEGER, ROWS, Instruction

FARTHEST = 60  #: distance of exponents at which terms are put


class Ends(NamedTuple):
    """log2 of the least normal number and of the largest one, rounded down."""

    low: int
    high: int


def ends_of(dtype: torch.dtype) -> Ends:
    """Those of a dtype; float32 stands for tf32, too."""
    info = torch.finfo(dtype)
    return Ends(*(math.frexp(x)[1] - 1 for x in (info.smallest_normal, info.max)))


@dataclass(frozen=True, slots=True)
class Draw:
    """Random numbers of a device, and the shapes and ranges that they are for."""

    instruction: Instruction
    tiles: int
    terms: int
    generator: torch.Generator

    @property
    def a(self) -> tuple[int, int, int]:
        """The shape of A."""
        return self.tiles, ROWS, self.terms

    @property
    def b(self) -> tuple[int, int, int]:
        """The shape of B."""
        return self.tiles, COLUMNS, self.terms

    @property
    def c(self) -> tuple[int, int, int]:
        """The shape of C."""
        return self.tiles, ROWS, COLUMNS

    @property
    def along(self) -> tuple[int, int, int]:
        """One number for each k of a tile."""
        return self.tiles, 1, self.terms

    @property
    def ends(self) -> tuple[Ends, Ends, Ends]:
        """Of the types of A, B and C."""
        a, b, c = self.instruction.dtypes
        return ends_of(a), ends_of(b), ends_of(c)

    def whole(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """Integers from low to high."""
        numbers = torch.randint(low, high + 1, shape, generator=self.generator, device=self.generator.device)
        return numbers.to(torch.float64)

    def signs(self, shape: Sequence[int]) -> Tensor:
        """1 or -1."""
        return self.whole(0, 1, shape) * 2 - 1

    def significands(self, shape: Sequence[int], bits: int = 24) -> Tensor:
        """In [1, 2), of either sign."""
        return (1 + self.whole(0, (1 << bits) - 1, shape) * 2.0**-bits) * self.signs(shape)

    def powers(self, low: int, high: int, shape: Sequence[int]) -> Tensor:
        """2**low to 2**high."""
        return torch.exp2(self.whole(low, high, shape))

    def choice(self, values: Sequence[float], shape: Sequence[int]) -> Tensor:
        """Any of the values."""
        given = torch.tensor(values, dtype=torch.float64, device=self.generator.device)
        return given[self.whole(0, len(values) - 1, shape).to(torch.int64)]

    def split(self, exponents: Tensor) -> tuple[Tensor, Tensor]:
        """Powers of A and B whose products have the exponents, as far as both reach."""
        a, b, _ = self.ends
        left = (exponents / 2).floor().clamp(a.low - 2, a.high)
        right = (exponents - left).clamp(b.low - 2, b.high)
        return torch.exp2((exponents - right).clamp(a.low - 2, a.high)), torch.exp2(right)


Values = tuple[Tensor, Tensor, Tensor]


# ---- families ------------------------------------------------------------------------------------


def _spread(distance: int) -> Callable[[Draw], Values]:
    """Exponents of factors within a distance of 0, and C's within twice that."""

    def family(d: Draw) -> Values:
        a, b, c = (
            d.significands(shape) * d.powers(max(-far, ends.low - 2), min(far, ends.high), shape)
            for shape, ends, far in zip((d.a, d.b, d.c), d.ends, (distance, distance, 2 * distance), strict=True)
        )
        return a, b, c

    return family


def _distances(d: Draw) -> Values:
    """Products at the top or a distance below it, one distance a tile; C at the top, there, or as far above."""
    far = d.whole(0, FARTHEST, (d.tiles, 1, 1))
    top = d.choice([0.0, 8.0, 30.0], (d.tiles, 1, 1)).clamp(max=d.ends[2].high - 6)
    a, b = d.split(top - far * d.whole(0, 1, d.along))
    c = torch.exp2(top + far * d.choice([0.0, -1.0, 1.0, -2.0], d.c)) * d.choice([0.0, 1.0, 1.0], d.c)
    return a * d.significands(d.a, 3), b * d.significands(d.b, 3), c * d.significands(d.c)


def _cancelling(d: Draw) -> Values:
    """Neighbours along k cancel, whatever the row and column; one product in a tile does not, and is far below."""
    a, b = (d.significands(shape) * d.powers(0, 4, shape) for shape in (d.a, d.b))
    a[..., 1::2], b[..., 1::2] = -a[..., ::2], b[..., ::2]
    left, right = d.split(8 - d.whole(0, FARTHEST, (d.tiles, 1, 1)))
    place = d.whole(0, d.terms // 2 - 1, (d.tiles, 1, 1)).to(torch.int64) * 2
    zero = torch.zeros_like(a)
    a.scatter_(-1, place.expand(-1, ROWS, 1), left * d.signs((d.tiles, ROWS, 1)))
    a.scatter_(-1, (place + 1).expand(-1, ROWS, 1), zero)
    b.scatter_(-1, place.expand(-1, COLUMNS, 1), right.expand(-1, COLUMNS, 1))
    return a, b, d.choice([0.0, 0.0, -0.0, 1.0], d.c) * d.powers(-40, 8, d.c) * d.signs(d.c)


def _taken_away(d: Draw) -> Values:
    """C takes the products away, up to its own rounding."""
    a, b = (d.significands(shape, 7) * d.powers(-3, 3, shape) for shape in (d.a, d.b))
    return a, b, -(a @ b.mT) * d.choice([1.0, 1.0, 1 + 2.0**-22, 1 - 2.0**-9], d.c)


def _ties(d: Draw) -> Values:
    """A few powers of two around the last bits of C: halves of them, and what decides them, of both signs."""
    steps = d.whole(8, 30, (d.tiles, 1, 1)) + d.whole(-2, 4, d.along)
    a, b = d.split(4 - steps)
    few = d.choice([0.0, 0.0, 1.0, 1.0, 1.5], d.along)
    c = d.significands(d.c) * torch.exp2(d.whole(3, 4, d.c))
    return a * few * d.signs(d.a), b * d.signs(d.b), c


def _among(factors: Callable[[Ends], list[float]], addends: Callable[[Ends], list[float]]) -> Callable[[Draw], Values]:
    """Any of a few values of either sign."""

    def family(d: Draw) -> Values:
        a, b, c = d.ends
        left, right = d.choice(factors(a), d.a) * d.signs(d.a), d.choice(factors(b), d.b) * d.signs(d.b)
        return left, right, d.choice(addends(c), d.c) * d.signs(d.c)

    return family


def _at_the_bottom(d: Draw) -> Values:
    """Factors that are subnormal or hardly not, some with ordinary partners; C is subnormal or hardly not."""
    a, b, c = d.ends
    left = d.significands(d.a) * d.powers(a.low - 4, a.low + 1, d.a)
    right = d.significands(d.b) * torch.where(d.signs(d.b) > 0, d.powers(-2, 6, d.b), d.powers(b.low - 4, b.low, d.b))
    return left, right, d.significands(d.c) * d.powers(c.low - 12, c.low + 8, d.c) * d.choice([0.0, 1.0], d.c)


def _vanishing(d: Draw) -> Values:
    """Results at the lower end of C's range, or below it."""
    _, _, c = d.ends
    left, right = d.split(d.whole(c.low - 26, c.low + 4, d.along))
    addend = d.significands(d.c) * d.powers(c.low - 24, c.low + 2, d.c) * d.choice([0.0, -0.0, 1.0], d.c)
    return left * d.significands(d.a), right * d.significands(d.b), addend


def _deep_down(d: Draw) -> Values:
    """Products that are all below C's normal numbers, most of them below its least one; C is 0."""
    _, _, c = d.ends
    top = c.low - d.whole(0, 20, (d.tiles, 1, 1))
    left, right = d.split(top - d.whole(0, 12, d.along))
    return left * d.significands(d.a), right * d.significands(d.b), d.choice([0.0, -0.0], d.c)


def _zeros_beside_huge(d: Draw) -> Values:
    """Zeros whose partners are so large that 0 times them, were 0 about 2**-126, would be about the largest product."""
    a, b, _ = d.ends
    top = d.whole(-2 * FARTHEST, 0, (d.tiles, 1, 1))
    left, right = d.split(top - d.whole(0, 12, d.along))
    partner = top + 126 + d.whole(-30, 30, d.along)
    zero, in_a = d.whole(0, 3, d.along) == 0, d.whole(0, 1, d.along) == 0
    left = torch.where(zero, torch.where(in_a, 0.0, torch.exp2(partner.clamp(a.low, a.high))), left)
    right = torch.where(zero, torch.where(in_a, torch.exp2(partner.clamp(b.low, b.high)), 0.0), right)
    c = torch.exp2(top - d.whole(0, 30, d.c)) * d.choice([0.0, -0.0, 1.0], d.c)
    return left * d.significands(d.a), right * d.significands(d.b), c * d.significands(d.c)


def _zeros_beside_c(d: Draw) -> Values:
    """Nothing but zeros with large partners, and a C so small that a 0 with an exponent would take bits from it."""
    a, b, c = d.ends
    in_a = d.whole(0, 1, d.along) == 0
    left, right = (torch.exp2(ends.high - d.whole(0, 12, d.along).clamp(max=ends.high)) for ends in (a, b))
    addend = d.significands(d.c) * d.powers(c.low - 22, c.low + 26, d.c)
    return torch.where(in_a, 0.0, left) * d.signs(d.a), torch.where(in_a, right, 0.0) * d.signs(d.b), addend


def _overflowing(d: Draw) -> Values:
    """Products and C around the upper end of C's range, of mixed or of equal signs."""
    _, _, c = d.ends
    left, right = d.split(c.high - d.whole(1, 9, d.along))
    sign = torch.where(d.whole(0, 1, (d.tiles, 1, 1)) > 0, d.signs(d.along), 1.0) * d.choice([0.0, 0.0, 1.0], d.along)
    addend = d.choice([0.0, 1.0, 1.5, 2 - 2.0**-10, 2 - 2.0**-23], d.c) * 2.0**c.high * d.signs(d.c)
    return left * sign * d.significands(d.a).abs(), right * d.significands(d.b).abs(), addend


def _minus_zeros(d: Draw) -> Values:
    """Products that are -0, or vanish below 0, and C as well."""
    a, b, _ = d.ends
    left, right = (d.choice([0.0, 2.0**-80 if ends.low < -80 else 0.0], shape) for ends, shape in ((a, d.a), (b, d.b)))
    return -left, right, d.choice([-0.0, -0.0, 0.0, -(2.0**-149)], d.c)


def _permuted(d: Draw) -> Values:
    """Rows of A are one row in several orders, beside columns of ones: what is added together has one result."""
    row = d.significands((d.tiles, 1, d.terms)) * d.powers(-6, 6, d.along)
    order = d.whole(0, 1 << 30, d.a).argsort(-1)
    return row.expand(d.a).gather(-1, order), torch.ones(d.b, device=row.device), d.choice([0.0, 2.0**8], d.c)


FAMILIES: dict[str, Callable[[Draw], Values]] = {
    "equal exponents": _spread(0),
    "spread 3": _spread(3),
    "spread 12": _spread(12),
    "spread 60": _spread(FARTHEST),
    "carries": _among(lambda e: [1.0, 1.5, 1.75, 1.9375], lambda c: [0.0, 1.0, 1.5, 2 - 2.0**-23, 2.0**6]),
    "distances": _distances,
    "cancelling": _cancelling,
    "taken away": _taken_away,
    "ties": _ties,
    "zeros beside huge": _zeros_beside_huge,
    "zeros beside C": _zeros_beside_c,
    "at the bottom": _at_the_bottom,
    "vanishing": _vanishing,
    "deep down": _deep_down,
    "overflowing": _overflowing,
    "specials": _among(
        lambda e: [1.0] * 150 + [1.5, 0.75, 0.0, 0.0, 2.0**e.high, torch.inf, torch.nan],
        lambda c: [1.0] * 20 + [0.0, 2.0**c.high, torch.inf, torch.nan],
    ),
    "minus zeros": _minus_zeros,
    "permuted": _permuted,
}
PATTERNS = ("finite patterns", "patterns")  #: any, without NaN and Inf or with them
KINDS = (*FAMILIES, *PATTERNS)


# ---- tensors -------------------------------------------------------------------------------------


def tiles_of(
    kind: str, instruction: Instruction, tiles: int, steps: int = 1, device: str = "cpu", seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and C of a family, for so many steps of the instruction."""
    generator = torch.Generator(device).manual_seed(zlib.crc32(repr((kind, instruction.name, steps, seed)).encode()))
    draw = Draw(instruction, tiles, steps * instruction.terms, generator)
    if kind in PATTERNS:
        shapes = zip((draw.a, draw.b, draw.c), instruction.dtypes, strict=True)
        sides = tuple(_patterns(shape, dtype, generator) for shape, dtype in shapes)
        a, b, c = sides if kind == "patterns" else map(_finite, sides)
        return a, b, c
    values = zip(FAMILIES[kind](draw), instruction.dtypes, strict=True)
    a, b, c = (_varied(encoded(x, dtype), generator) for x, dtype in values)
    if "tf32" in instruction.types:
        a, b = (_with_low_bits(side, generator) for side in (a, b))
    return a, b, c


def encoded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 in a dtype: what is too large becomes its largest number; Inf is for what was Inf, or else NaN is."""
    largest, infinity = torch.finfo(dtype).max, torch.nan if dtype == torch.float8_e4m3fn else torch.inf
    values = torch.where(values.isinf(), values.sign() * infinity, values.clamp(-largest, largest))
    return values.to(torch.float32).to(dtype).contiguous()


def _patterns(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    integer = INTEGER[dtype.itemsize]
    info = torch.iinfo(integer)
    bits = torch.randint(info.min, info.max + 1, shape, generator=generator, device=generator.device)
    return bits.to(integer).view(dtype)


def _finite(x: Tensor) -> Tensor:
    """0 for NaN and Inf."""
    return x.view(INTEGER[x.dtype.itemsize]).masked_fill(~x.float().isfinite(), 0).view(x.dtype)


def _varied(x: Tensor, generator: torch.Generator) -> Tensor:
    """NaN of other payloads and signs for NaN, where the format has more than one."""
    if x.dtype == torch.float8_e4m3fn:
        return x
    integer = INTEGER[x.dtype.itemsize]
    infinity = int(torch.tensor(torch.inf).to(x.dtype).view(integer))
    nan = _patterns(x.shape, x.dtype, generator).view(integer) | infinity | 1
    return torch.where(x.float().isnan(), nan, x.view(integer)).view(x.dtype)


def _with_low_bits(x: Tensor, generator: torch.Generator) -> Tensor:
    """Something in the 13 bits that tf32 drops, in every other tile."""
    low = torch.randint(0, 1 << 13, x.shape, generator=generator, device=x.device).to(torch.int32)
    low[::2] = 0
    return (x.view(torch.int32) & ~0x1FFF | low).view(torch.float32)
