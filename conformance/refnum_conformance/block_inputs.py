"""Blocks of floats and of codes, in the four kinds that `refnum.testing.cases` has. Scales and grids are the oracle's.

======  ==========================================================================================================
edges   the largest magnitude where scale rules change, and one unit beside that, in every binade; zeros of either
        sign, subnormals; NaN and Inf alone, first, last and everywhere; codes and scales at their ends
ties    elements at the ties and quarters of their grid under the block's own scale, and one unit beside them; values at
        the ends of the dtype
spaced  evenly over the bits
random  any bits; values some binades apart
======  ==========================================================================================================
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .operations import Op, Options
from .oracles import block_rows, blocks
from .oracles.blocks import E4M3, FORMATS, Block, Element, floor_log2, floor_rounded_log2
from .oracles.minifloat import FLOATS, Row, magnitude
from .oracles.reals import Dyadic

Array = NDArray[Any]
Columns = tuple[Array, ...]

COST = 10  #: as many cases of single numbers does a block count for
MANTISSAS = (1.0, 1.25, 1.5, 1.75, 1.875, 1.9375)  #: of the largest magnitude, where some scale rule changes


def generator(kind: str, seed: int) -> Generator:
    """Random numbers of their own for each kind."""
    return np.random.default_rng([seed, *kind.encode()])


def number(x: Dyadic) -> float:
    """As a float, which holds all that is asked here."""
    return float(np.ldexp(float(x.m), x.e))


# Bits of floats ------------------------------------------------------------------------------------------------------


def nearest(x: Array, dtype: str) -> Array:
    """The bits of the floats nearest to positive numbers.

    >>> [hex(u) for u in nearest(np.array([1.0, 3.140625]), "bfloat16")]
    ['0x3f80', '0x4049']
    """
    if dtype == "bfloat16":
        wide = nearest(x, "float32")
        return (wide + 0x7FFF + (wide >> 16 & 1)) >> 16
    size = FLOATS[dtype].width // 8
    with np.errstate(over="ignore"):
        return x.astype(f"f{size}").view(f"u{size}").astype(np.int64)


@lru_cache
def binade_edges(dtype: str) -> Array:
    """The magnitudes in every binade at which scale rules change, the floats beside them, and the largest floats."""
    row = FLOATS[dtype]
    exponents = range(1 - row.bias - row.mantissa, row.bias + 1)
    middle = nearest(np.ldexp(np.array(MANTISSAS)[:, None], exponents).reshape(-1), dtype)
    logarithms = [_log2_rounds_up(exponent + 1, row) for exponent in exponents]
    found = np.unique(np.concatenate([middle, logarithms, [row.largest]])[:, None] + (-1, 0, 1))
    return found[(found > 0) & (found <= row.largest)]


def _log2_rounds_up(power: int, row: Row) -> int:
    """The least float whose logarithm, rounded to the same precision, is that of this power of two."""
    low, high = (
        row.bias + p << row.mantissa if p > -row.bias else 1 << (row.bias + p + row.mantissa - 1)
        for p in (power - 1, power)
    )
    precision = row.mantissa + 1
    found = bisect_left(range(low, high), power, key=lambda code: floor_rounded_log2(magnitude(code, row), precision))
    return low + found


def with_signs(magnitudes: Array, row: Row, draw: Generator) -> Array:
    """Signs at random, as signed integers."""
    return magnitudes + np.where(draw.random(magnitudes.shape) < 0.5, np.int64(-row.sign_bit), np.int64(0))


# Blocks of floats ----------------------------------------------------------------------------------------------------


def floats(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Blocks to be quantized."""
    draw, row, size = generator(kind, seed), FLOATS[options["dtype"]], FORMATS[options["fmt"]].size
    wanted = -(-count // COST)
    # A target may take another way as soon as one block of many has a tiny scale: in every other job none has.
    low, high = (row.infinity >> 2, row.infinity * 3 >> 2) if seed % 2 else (1, row.infinity)
    amaxes = np.linspace(low, high, wanted, endpoint=False).astype(np.int64)
    amaxes[::5] >>= 0 if seed % 2 else 5
    if kind in ("edges", "ties"):
        edges = binade_edges(options["dtype"])
        amaxes = draw.choice(edges[(edges >= low) & (edges < high)], wanted)
    found = [_FLOATS[kind](draw, options, size, amax) for amax in amaxes.tolist()]
    return (with_signs(np.array(found, np.int64), row, draw),)


def edge_floats(draw: Generator, options: Options, size: int, amax: int) -> Array:
    """The largest magnitude beside what is near it and far below; NaN and Inf."""
    row = FLOATS[options["dtype"]]
    if draw.random() < 0.3:
        return special_floats(draw, row, size)
    half = max(0, amax - (1 << row.mantissa))
    palettes = ([0], [amax], [amax - 1], [half], [0, 1, 2], [amax, amax - 1, half, 0, 1])
    return _with_amax(draw.choice(palettes[draw.integers(len(palettes))], size), amax, draw)


def special_floats(draw: Generator, row: Row, size: int) -> Array:
    """NaNs of any payload, Inf, the largest number or 0, in places where they may be forgotten."""
    nan = row.infinity | 1 << row.mantissa >> 1  # the first quiet one
    special = draw.choice([row.infinity, row.infinity + 1, nan - 1, nan, nan + 1, row.sign_bit - 1, row.largest, 0])
    where = (slice(0, size), slice(0, 1), slice(size - 1, size), draw.integers(0, size, 2))[draw.integers(4)]
    others = draw.choice([0, 1, 1 << row.mantissa, row.bias << row.mantissa, row.largest - 1], size)
    block = others if draw.random() < 0.8 else np.zeros(size, np.int64)
    block[where] = special
    return block


def _tied_floats(draw: Generator, options: Options, size: int, amax: int) -> Array:
    fmt, dtype = FORMATS[options["fmt"]], options["dtype"]
    if fmt.scale == E4M3:  # scales tie, too
        tie = draw.choice(quarters(E4M3), 1) * number(blocks.largest(fmt.element)) * options.get("tensor_scale", 1.0)
        amax = int(np.clip(nearest(tie, dtype) + draw.integers(-2, 3), 1, FLOATS[dtype].largest)[0])
    points = nearest(draw.choice(quarters(fmt.element), size) * _divisor(amax, options, size), dtype)
    return _with_amax(np.clip(points + draw.integers(-1, 2, size), 0, amax), amax, draw)


@lru_cache
def quarters(element: Element) -> Array:
    """The magnitudes of a format and three points behind each, half-way ones twice."""
    found = (blocks.decode(element, code)[1] for code in range(element.largest + 1))
    grid = np.array([number(x) for x in found if isinstance(x, Dyadic)])
    step = np.diff(grid, append=2 * grid[-1] - grid[-2])
    return np.concatenate([grid + step * part for part in (0, 0.25, 0.5, 0.5, 0.75)])


def _divisor(amax: int, options: Options, size: int) -> float:
    """What elements of a block with this largest magnitude are divided by; 1 where that is no number."""
    asked = {name: value for name, value in options.items() if name != "to_dtype"}
    code, *_ = block_rows.quantize([amax] + [0] * (size - 1), **asked)
    scale = blocks.decode(FORMATS[options["fmt"]].scale, code)[1]
    tensor_scale: float = options.get("tensor_scale", 1.0)
    return number(scale) * tensor_scale if isinstance(scale, Dyadic) else 1.0


def spaced_floats(draw: Generator, options: Options, size: int, amax: int) -> Array:
    """Evenly over six binades."""
    below = np.arange(size) * (6 << FLOATS[options["dtype"]].mantissa) // size
    return draw.permutation(np.maximum(amax - below, 0))


def random_floats(draw: Generator, options: Options, size: int, amax: int) -> Array:
    """Some binades below the largest, or any bits."""
    row = FLOATS[options["dtype"]]
    if draw.random() < 0.25:
        return draw.integers(0, row.sign_bit, size)
    fields = np.maximum((amax >> row.mantissa) - draw.integers(0, draw.choice([1, 5, 13]), size), 0)
    return fields << row.mantissa | draw.integers(0, 1 << row.mantissa, size)


def _with_amax(block: Array, amax: int, draw: Generator) -> Array:
    block[draw.integers(len(block))] = amax
    return block


#: a block, from its size and a largest magnitude, which is only a hint
_FLOATS: dict[str, Callable[[Generator, Options, int, int], Array]] = {
    "edges": edge_floats,
    "ties": _tied_floats,
    "spaced": spaced_floats,
    "random": random_floats,
}


def every_edge(options: Options) -> Columns:
    """All magnitudes at which scale rules change, each the largest of a block of zeros."""
    draw, row, edges = generator("every", 0), FLOATS[options["dtype"]], binade_edges(options["dtype"])
    found = np.zeros((len(edges), FORMATS[options["fmt"]].size), np.int64)
    found[np.arange(len(edges)), draw.integers(0, found.shape[1], len(edges))] = edges
    return (with_signs(found, row, draw),)


# Blocks of codes -----------------------------------------------------------------------------------------------------


def codes(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Blocks to be dequantized."""
    draw, fmt, wanted = generator(kind, seed), FORMATS[options["fmt"]], -(-count // COST)
    shared, elements = _CODES[kind](fmt, FLOATS[options["dtype"]])
    if kind == "spaced":
        return (np.hstack([np.resize(draw.permutation(shared), (wanted, 1)), np.resize(elements, (wanted, fmt.size))]),)
    return (np.hstack([draw.choice(shared, (wanted, 1)), draw.choice(elements, (wanted, fmt.size))]),)


def _all(fmt: Block, row: Row) -> Columns:
    return np.arange(256), np.arange(1 << fmt.element.width)


def _ends(fmt: Block, row: Row) -> Columns:
    """Codes at the ends of numbers and of bits, of either sign."""
    ends = ((256, fmt.scale.largest), (1 << fmt.element.width, fmt.element.largest))
    shared, elements = (
        np.unique((np.array([0, largest, every // 2, every // 2 + largest])[:, None] + np.arange(-1, 3)) % every)
        for every, largest in ends
    )
    return shared, elements


def _borders(fmt: Block, row: Row) -> Columns:
    """Scales under which elements come to where floats overflow, get subnormal, or vanish; all if there are none."""
    found = (blocks.decode(fmt.scale, code)[1] for code in range(256))
    powers = np.array([floor_log2(x) if isinstance(x, Dyadic) and x.m else 999 for x in found])
    borders = np.array([row.bias, 1 - row.bias, 1 - row.bias - row.mantissa]) - blocks.top(fmt.element)
    near = np.flatnonzero((np.abs(powers[:, None] - borders) <= 4).any(1))
    return near if len(near) else np.arange(256), np.arange(1 << fmt.element.width)


#: codes of scales and of elements
_CODES: dict[str, Callable[[Block, Row], Columns]] = {"edges": _ends, "ties": _borders, "spaced": _all, "random": _all}


def every_code(options: Options) -> Columns:
    """All codes under all scales."""
    size, shared, elements = FORMATS[options["fmt"]].size, *_all(FORMATS[options["fmt"]], FLOATS[options["dtype"]])
    rows = np.resize(elements, (-(-len(elements) // size), size))
    return (np.hstack([shared.repeat(len(rows))[:, None], np.tile(rows, (len(shared), 1))]),)
