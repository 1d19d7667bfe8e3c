"""Matrices of floats whose products are hard to sum, in the four kinds that `refnum.testing.cases` has.

======  ==========================================================================================================
edges   ends of the range, zeros of either sign, NaN and Inf, zero beside huge; sums of -0, products that vanish
ties    half-way between two results, or two accumulators, again and again, with a term far below or none
spaced  terms all over the range of an accumulator
random  sums that cancel but for what lies far below; at the ends of the range of the results; any bits
======  ==========================================================================================================

The right side is transposed: both are summed along their rows. Values are made as float64s, which hold them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from refnum.testing import cases

from .block_inputs import generator
from .operations import Op, Options
from .oracles import minifloat, posit
from .oracles.minifloat import DTYPES, Row, Special

Array = NDArray[Any]
Columns = tuple[Array, ...]

ROWS = 2  #: of either side, but where a contract looks at the shape
NEAR_HALF = range(12, 24)  #: i, of which (1 + 2**-i)(1 - 2**-i) is a little below 1, and 1 when rounded to float32


@dataclass(frozen=True)
class Side:
    """What one operand is made of."""

    dtype: str

    @property
    def row(self) -> Row:
        """The format."""
        return DTYPES[self.dtype]

    @property
    def least(self) -> int:
        """log2 of the least number."""
        return 1 - self.row.bias - self.row.mantissa

    @property
    def most(self) -> int:
        """log2 of the largest number, rounded down."""
        return (self.row.largest >> self.row.mantissa) - self.row.bias

    @property
    def largest(self) -> float:
        """The largest number."""
        fraction = self.row.largest % (1 << self.row.mantissa) / (1 << self.row.mantissa)
        return float(np.ldexp(1 + fraction, self.most))

    def bits(self, draw: Generator, values: Array) -> Array:
        """The nearest patterns, none beyond the largest number; NaNs are any."""
        finite = np.where(np.isinf(values), values, np.clip(values, -self.largest, self.largest))
        kind = getattr(torch, self.dtype)
        found = torch.from_numpy(finite).to(kind).view(getattr(torch, f"int{kind.itemsize * 8}")).numpy()
        return np.where(np.isnan(values), draw.choice(_nans(self.row), values.shape), found).astype(np.int64)

    def any_bits(self, draw: Generator, *shape: int) -> Array:
        """Every pattern is as likely as the others."""
        return draw.integers(-self.row.sign_bit, self.row.sign_bit, shape, dtype=np.int64)


@lru_cache
def _nans(row: Row) -> list[int]:
    """The NaN that is written, the one with the least payload, and the one with the largest."""
    codes = (row.nan or 0, row.infinity + 1, row.sign_bit - 1)
    return [posit.signed(code, row.width) for code in codes if minifloat.decode(code, row)[1] is Special.NAN]


@dataclass(frozen=True)
class Setting:
    """What is multiplied, and what it is rounded to."""

    a: Side
    b: Side
    bias: Side | None
    result: Side
    precisions: tuple[int, ...]  #: significant bits that something on the way is rounded or cut to
    terms: int
    columns: int

    @property
    def exponents(self) -> tuple[int, int]:
        """log2 of the least product that is worth a look, and of the largest one."""
        most = min(self.a.most + self.b.most, self.result.most)
        return min(max(self.a.least + self.b.least, self.result.least), most), most


def columns(op: Op, options: Options, terms: int, size: int, seed: int) -> Columns:
    """Operands of a row with so many terms in each sum; the fewer cases, the more terms."""
    seed = zlib.crc32(f"{op.name} {sorted(options.items())} {terms} {seed}".encode())
    count = -(-size // (len(cases.KINDS) * (terms + 4)))
    draws = [(generator(kind, seed + i), kind) for kind in cases.KINDS for i in range(count)]
    if options["dtype"] == "int32":
        made = [_integers(draw, op, options, terms) for draw, _ in draws]
    else:
        made = [_case(draw, _setting(options, terms), kind) for draw, kind in draws]
    return tuple(np.stack(column) for column in zip(*made, strict=True))


def _setting(options: Options, terms: int) -> Setting:
    a, b, result = (Side(options[name]) for name in ("a_dtype", "b_dtype", "dtype"))
    bias = Side(options["bias_dtype"]) if "bias_dtype" in options else None
    accumulators = (11, 14, 24, 25, 26) if "instruction" in options else (24,)
    precisions = (*accumulators, result.row.mantissa + 1)
    return Setting(a, b, bias, result, precisions, terms, _columns(options, terms))


def _columns(options: Options, terms: int) -> int:
    """Of the result: where the shape decides on the order, so many that each is met."""
    return (1, 2, 32)[terms % 3] if options.get("order") == "dispatch" and terms >= 32 else ROWS


def _case(draw: Generator, setting: Setting, kind: str) -> Columns:
    if kind == "random" and draw.random() < 0.2:
        a, b = (side.any_bits(draw, n, setting.terms) for side, n in ((setting.a, ROWS), (setting.b, setting.columns)))
        x, y = np.zeros((1, 1)), np.zeros((setting.columns, 1))
    else:
        x, y = _VALUES[kind](draw, setting)
        a, b = setting.a.bits(draw, x), setting.b.bits(draw, y)
    return (a, b) if setting.bias is None else (a, b, setting.bias.bits(draw, _bias(draw, setting, x, y)))


# Edges ---------------------------------------------------------------------------------------------------------------


def _edges(draw: Generator, setting: Setting) -> Columns:
    makers = (_palettes, _palettes, _palettes, _zero_beside_huge, _negative_zeros)
    return makers[draw.integers(len(makers))](draw, setting)


def _palettes(draw: Generator, setting: Setting) -> Columns:
    return (
        np.array([_painted(draw, setting.a, setting.terms) for _ in range(ROWS)]),
        np.array([_painted(draw, setting.b, setting.terms) for _ in range(setting.columns)]),
    )


def _painted(draw: Generator, side: Side, terms: int) -> Array:
    """A few numbers, again and again; what is none, once or twice."""
    least, normal = 2.0**side.least, 2.0 ** (1 - side.row.bias)
    subnormal, most = normal - least, side.largest
    alone = [[0.0], [-0.0], [least], [-least], [1.0], [most]]
    pairs = [[least, -least], [most, -most], [subnormal, normal], [most, 1.0, -most], [most, least, 0.0]]
    palettes = [*alone, *pairs, [0.0, -0.0, 1.0], [subnormal, -normal, 0.0]]
    found = draw.choice(palettes[draw.integers(len(palettes))], terms)
    if draw.random() < 0.2:
        found[draw.integers(0, terms, min(terms, 2))] = draw.choice([np.nan, np.inf, -np.inf])
    return found


def _zero_beside_huge(draw: Generator, setting: Setting) -> Columns:
    """Products of zeros and the largest numbers between tiny ones."""
    tiny = [2.0 ** draw.integers(side.least, 1) for side in (setting.a, setting.b)]
    zeros = draw.random(setting.terms) < 0.5
    a = np.where(zeros, draw.choice([0.0, -0.0], (ROWS, setting.terms)), tiny[0])
    b = np.where(zeros, setting.b.largest, draw.choice([1.0, -1.0, 1.0], (setting.columns, setting.terms)) * tiny[1])
    return a, b


def _negative_zeros(draw: Generator, setting: Setting) -> Columns:
    """Products that are -0, or get it when they are rounded; all of them, or all but one."""
    small = [-0.0, -(2.0**setting.a.least)]
    a = draw.choice(small, (ROWS, 1)) if draw.random() < 0.5 else draw.choice(small, (ROWS, setting.terms))
    b = draw.choice([1.0, 2.0**setting.b.least, setting.b.largest], (setting.columns, 1))
    if setting.terms and draw.random() < 0.2:
        b = b * np.where(np.arange(setting.terms) == draw.integers(setting.terms), -1.0, 1.0)
    return np.broadcast_to(a, (ROWS, setting.terms)), np.broadcast_to(b, (setting.columns, setting.terms))


# Ties ----------------------------------------------------------------------------------------------------------------


def _ties(draw: Generator, setting: Setting) -> Columns:
    """A number, some units in the last place of what it is rounded to, half a unit, and something far below it."""
    (low, high), terms = setting.exponents, setting.terms
    # 1. The number's power leaves room for the others.
    precision = int(draw.choice(setting.precisions))
    power = int(draw.integers(min(low + precision + 2, high - 2), high - 1)) if high - 2 > low else high
    if draw.random() < 0.2:
        power = int(draw.integers(low, min(low + precision, high) + 1))
    unit = max(power - precision + 1, low)
    # 2. More halves, or what takes itself away, or products next to a half, after the first four.
    roles = np.concatenate([np.arange(4), np.full(max(0, terms - 4), draw.choice([2, 2, 3, 4, 5]))])[:terms]
    powers = np.choose(roles, [power, unit, unit - 1, unit - 1 - draw.integers(1, 60), unit - 1, power])
    numbers = np.stack([_tied(draw, setting.a, roles) for _ in range(ROWS)])
    left, right = numbers, np.ones((setting.columns, terms)) * draw.choice([1.0, 1.0, -1.0], (setting.columns, 1))
    # 3. The first is a product of two numbers, or one.
    if terms and draw.random() < 0.5:
        left[:, 0], right[:, 0] = (_odd(draw, side, (precision + 2) // 2) for side in (setting.a, setting.b))
    if min(setting.a.row.mantissa, setting.b.row.mantissa) >= 23:
        i, near = draw.choice(NEAR_HALF, terms), roles == 4
        left = np.where(near, left * (1 + 2.0**-i), left)
        right = np.where(near, right * (1 - 2.0**-i + draw.choice([0, 2.0**-23], terms)), right)
    # 4. Each side has its share of the powers; the order is any, mostly that of 2.
    shares = np.clip(powers // 2 + draw.integers(-2, 3), setting.b.least, setting.b.most)
    order = draw.permutation(terms) if draw.random() < 0.4 else np.arange(terms)
    return np.ldexp(left, powers - shares)[:, order], np.ldexp(right, shares)[:, order]


def _tied(draw: Generator, side: Side, roles: Array) -> Array:
    """Numbers of one row, by their roles: the number, units, halves, far below, next to a half, taking itself away."""
    n = len(roles)
    signs = draw.choice([1.0, -1.0]) if draw.random() < 0.5 else draw.choice([1.0, -1.0], n)
    large = np.resize([1.5, -1.5], n)
    drawn = (_odd(draw, side, side.row.mantissa + 1), draw.choice([0, 1, 1], n), signs)
    return np.choose(roles, [*drawn, draw.choice([0.0, 1.0, -1.0, 1.5, -0.0], n), signs, large])


def _odd(draw: Generator, side: Side, bits: int) -> float:
    """A number in [1, 2) with so many significant bits, or as many as there are."""
    bits = min(bits, side.row.mantissa + 1) - 1
    return 1 + int(draw.integers(0, 1 << bits) | (bits > 0)) / (1 << bits)


# Spaced and random ---------------------------------------------------------------------------------------------------


def _spaced(draw: Generator, setting: Setting) -> Columns:
    reach = draw.choice([6, 13, 26, 40])
    steps = draw.permutation(np.linspace(-reach, reach, setting.terms).astype(np.int64))
    a, b = _numbers(draw, ROWS, setting.terms), _numbers(draw, setting.columns, setting.terms)
    return _at(draw, setting, a, b, steps)


def _random(draw: Generator, setting: Setting) -> Columns:
    a, b = draw.standard_normal((ROWS, setting.terms)), draw.standard_normal((setting.columns, setting.terms))
    half, depth = setting.terms // 2, np.zeros(setting.terms, np.int64)
    if draw.random() < 0.5:
        a[:, half : 2 * half], b[:, half : 2 * half] = -a[:, :half], b[:, :half]
        depth[half - 1 :: max(1, half)] = -draw.integers(0, 60)  # of a few of them, so that not all is taken away
    return _at(draw, setting, a, b, depth)


def _numbers(draw: Generator, *shape: int) -> Array:
    return draw.uniform(1, 2, shape) * draw.choice([1.0, -1.0], shape)


def _at(draw: Generator, setting: Setting, a: Array, b: Array, steps: Array) -> Columns:
    """Under powers of 2, and all of it somewhere: in the middle, or at an end of the range."""
    low, high = setting.exponents
    spread = int(steps.max(initial=0)) + int(np.log2(setting.terms + 1) / 2)
    place = draw.choice([min(max(0, low), high), min(max(0, low), high), low + draw.integers(-2, 12), high - spread])
    shares = np.clip(steps // 2 + place // 2, setting.b.least, setting.b.most)
    return np.ldexp(a, place + steps - shares), np.ldexp(b, shares)


# Bias ----------------------------------------------------------------------------------------------------------------


def _bias(draw: Generator, setting: Setting, a: Array, b: Array) -> Array:
    """The opposite of the first row's sums, or of a part; half a unit of them; what lies far below; ends."""
    assert setting.bias is not None
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.nan_to_num(a[0] * b, posinf=0, neginf=0)
        sums, first = (part.sum(1) for part in (terms, terms[:, : terms.shape[1] // 2]))
    _, power = np.frexp(sums)
    half = np.ldexp(draw.choice([1.0, -1.0, 1.5], len(sums)), power - 1 - draw.choice(setting.precisions))
    below = np.ldexp(draw.choice([1.0, -1.0], len(sums)), power - draw.integers(20, 60))
    ends = [0.0, -0.0, 1.0, np.inf, np.nan, setting.bias.largest, 2.0**setting.bias.least, -(2.0**setting.bias.least)]
    choices = (-sums, -first, half, half, below, draw.choice(ends, len(sums)))
    return np.choose(draw.integers(0, len(choices), len(sums)), choices)


_VALUES: dict[str, Callable[[Generator, Setting], Columns]] = {
    "edges": _edges,
    "ties": _ties,
    "spaced": _spaced,
    "random": _random,
}


# Integers ------------------------------------------------------------------------------------------------------------


def _integers(draw: Generator, op: Op, options: Options, terms: int) -> Columns:
    """Ends of the range alone, a few small ones, or any."""
    sides = [_of_range(draw, *_range(options[name], options["bits"]), terms) for name in ("a_dtype", "b_dtype")]
    return (*sides, draw.integers(-(1 << 24), 1 << 24, ROWS)) if op.args.endswith("C") else tuple(sides)


def _range(dtype: str, bits: int) -> tuple[int, int]:
    return (0, (1 << bits) - 1) if dtype.startswith("u") else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _of_range(draw: Generator, least: int, most: int, terms: int) -> Array:
    palettes = ([least], [most], [least, most], [max(least, -1), 0, 1], range(least, most + 1))
    return np.array([draw.choice(palettes[draw.integers(len(palettes))], terms) for _ in range(ROWS)])
