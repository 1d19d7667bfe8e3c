"""Tiles for matrix instructions, on which a model of one goes wrong: what is aligned, cut, flushed, rounded, special.

=========  ===========================================================================================================
normal     sums of about 1
near       factors in [1, 2): all binades are equal
wide       factors all over the range
whole      small integers beside a c in which their half units are ties
subnormal  factors of the format that are subnormal or just not
tiny       products that vanish beside each other, and c at the lower end of float32
zeros      zeros of either sign, hardly a product that is not, c of -0 or subnormal
minus      products that are -0 or vanish below 0, c the same
zerobig    zeros beside the largest numbers, and others much smaller
far        c far above or below the products
below      a few products of 1 and -1, c so small that it counts or just does not
sticky     half units of c, and products so small that they decide or just do not
cancel     c takes the products away
huge       products near the end of float32, at it, and beyond
finite     any patterns but NaN and Inf
bits       any patterns
special    NaN, Inf and zeros among ordinary numbers
=========  ===========================================================================================================
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32}


class Draw:
    """Random numbers of a dtype, from integers: the same on every machine."""

    def __init__(self, *seed: object) -> None:
        self.generator = torch.Generator().manual_seed(zlib.crc32(repr(seed).encode()))

    def whole(self, low: int, high: int, *shape: int) -> Tensor:
        """From low to high - 1, as float64."""
        return torch.randint(low, high, shape, generator=self.generator).double()

    def signs(self, *shape: int) -> Tensor:
        """1 or -1."""
        return self.whole(0, 2, *shape) * 2 - 1

    def significands(self, *shape: int) -> Tensor:
        """In [1, 2), of either sign."""
        return (1 + self.whole(0, 1 << 24, *shape) * 2.0**-24) * self.signs(*shape)

    def powers(self, low: int, high: int, *shape: int) -> Tensor:
        """2**low to 2**high."""
        return torch.pow(2.0, self.whole(low, high + 1, *shape))

    def choice(self, values: list[float], *shape: int) -> Tensor:
        """Any of the values."""
        return torch.tensor(values, dtype=torch.float64)[self.whole(0, len(values), *shape).long()]

    def bits(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Any patterns."""
        integer = INTEGER[dtype.itemsize]
        info = torch.iinfo(integer)
        return self.whole(info.min, info.max + 1, *shape).to(torch.int64).to(integer).view(dtype)


class Ends(NamedTuple):
    """log2 of the least normal number and of the largest one, rounded down."""

    low: int
    high: int

    @classmethod
    def of(cls, dtype: torch.dtype) -> Ends:
        """Those of a dtype."""
        info = torch.finfo(dtype)
        return cls(*(math.frexp(x)[1] - 1 for x in (info.smallest_normal, info.max)))


Factors = Callable[[Draw, Ends, tuple[int, int]], Tensor]

FACTORS: dict[str, Factors] = {
    "normal": lambda d, ends, shape: d.whole(-1 << 20, 1 << 20, *shape, 12).sum(-1) * 2.0**-20,
    "near": lambda d, ends, shape: d.significands(*shape),
    "wide": lambda d, ends, shape: d.significands(*shape) * d.powers(ends.low - 2, ends.high - 1, *shape),
    "whole": lambda d, ends, shape: d.whole(-8, 9, *shape) * d.choice([0.5, 1.0], *shape),
    "subnormal": lambda d, ends, shape: d.significands(*shape) * d.powers(ends.low - 4, ends.low + 1, *shape),
    "tiny": lambda d, ends, shape: (
        d.significands(*shape) * d.powers(max(ends.low - 6, -76), max(ends.low + 10, -60), *shape)
    ),
    "zeros": lambda d, ends, shape: d.choice([0.0, -0.0, 0.0, -0.0, 2.0**ends.low, -(2.0**ends.low)], *shape),
    "zerobig": lambda d, ends, shape: d.choice(
        [0.0, 2.0**ends.high, 2.0**ends.low, 1.0, -1.0, 2.0 ** (ends.low // 2)], *shape
    ),
    "far": lambda d, ends, shape: d.significands(*shape) * d.powers(-3, 3, *shape),
    "cancel": lambda d, ends, shape: d.significands(*shape) * d.powers(-3, 3, *shape),
    "minus": lambda d, ends, shape: -d.choice([0.0, 2.0 ** max(ends.low, -80)], *shape),
    "below": lambda d, ends, shape: d.choice([0.0, 0.0, 0.0, 0.0, 1.0, -1.0], *shape),
    "sticky": lambda d, ends, shape: d.choice([0.0, 0.0, 1.0, -1.0], *shape) * d.powers(-5, 0, *shape),
    "huge": lambda d, ends, shape: (
        d.choice([1.0, 1.0, -1.0, 1.5], *shape)
        * d.choice([2.0 ** min(ends.high, e) for e in (20, 50, 60, 63, 64)], *shape)
    ),
    "special": lambda d, ends, shape: d.choice(
        [1.0, -1.5, 2.0, 0.75, 1.0, 1.25, 0.0, -0.0, torch.inf, -torch.inf, torch.nan], *shape
    ),
}
#: those of b, where they differ
FACTORS_OF_B: dict[str, Factors] = {"minus": lambda d, ends, shape: -FACTORS["minus"](d, ends, shape)}
KINDS = (*FACTORS, "finite", "bits")


def tile(
    kind: str, dtypes: tuple[torch.dtype, torch.dtype, torch.dtype], shape: tuple[int, int, int], *seed: object
) -> tuple[Tensor, Tensor, Tensor]:
    """a [M, K], b [K, N] and c [M, N] of the dtypes, for (M, N, K)."""
    draw = Draw(kind, dtypes, shape, *seed)
    m, n, k = shape
    if kind in ("bits", "finite"):
        sides = tuple(draw.bits(t, *s) for t, s in zip(dtypes, ((m, k), (k, n), (m, n)), strict=True))
        a, b, c = sides if kind == "bits" else map(_finite, sides)
        return a, b, c
    a = _held(FACTORS[kind](draw, Ends.of(dtypes[0]), (m, k)), dtypes[0])
    b = _held(FACTORS_OF_B.get(kind, FACTORS[kind])(draw, Ends.of(dtypes[1]), (k, n)), dtypes[1])
    return a, b, _held(_addends(kind, draw, Ends.of(dtypes[2]), a.double() @ b.double()), dtypes[2])


def _finite(x: Tensor) -> Tensor:
    """0 for NaN and Inf."""
    return x.view(INTEGER[x.dtype.itemsize]).masked_fill(~x.float().isfinite(), 0).view(x.dtype)


def _held(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values of the dtype; those of 8 bits saturate, so that no one is NaN for being large."""
    if dtype.itemsize == 1:
        info = torch.finfo(dtype)
        values = torch.where(values.isfinite(), values.clamp(info.min, info.max), values)
    return values.to(dtype)


def _addends(kind: str, draw: Draw, ends: Ends, sums: Tensor) -> Tensor:
    shape = sums.shape
    match kind:
        case "whole":
            near = min(24, ends.high)
            return draw.whole(-8, 9, *shape) + draw.signs(*shape) * draw.powers(near - 1, near, *shape)
        case "tiny" | "subnormal" | "zerobig":
            return draw.significands(*shape) * draw.powers(ends.low - 8, ends.low + 8, *shape)
        case "zeros":
            return draw.choice([0.0, -0.0, -0.0, 2.0 ** (ends.low - 3), -(2.0 ** (ends.low - 3))], *shape)
        case "minus":
            return draw.choice([-0.0, -0.0, -(2.0 ** (ends.low - 3)), 0.0], *shape)
        case "below":
            return draw.significands(*shape) * draw.powers(max(-29, ends.low), max(-21, ends.low + 8), *shape)
        case "sticky":
            near = min(24, ends.high - 1)
            return (draw.whole(0, 4, *shape) * 2.0 ** (near - 23) + 2.0**near) * draw.signs(*shape)
        case "far":
            return draw.significands(*shape) * draw.powers(max(-40, ends.low), min(40, ends.high - 1), *shape)
        case "cancel":
            return -sums * draw.choice([1.0, 1.0, 1 + 2.0**-20], *shape)
        case "wide" | "huge":
            return draw.significands(*shape) * draw.powers(ends.low, ends.high - 1, *shape)
        case "special":
            return draw.choice([1.0, -1.0, 0.0, 3.0, 1.0, torch.inf, -torch.inf, torch.nan], *shape)
        case _:
            return draw.significands(*shape)
