"""Numbers and blocks for the formats that `oracles.lab_rows` has names for, in the four kinds of `block_inputs`.

======  ==========================================================================================================
edges   powers of two, and up to eight floats on either side of each; the ends of the format and of the dtype; zeros of
        either sign, subnormals, NaN and Inf
ties    values of the format, what is half-way and a quarter of the way between them, and one unit beside that; under a
        block's own scale
spaced  evenly over the bits
random  any bits; values within the format's range
======  ==========================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .block_inputs import COST, edge_floats, generator, nearest, number, random_floats, spaced_floats, with_signs
from .operations import Op, Options
from .oracles import lab, lab_rows
from .oracles.book_rows import Book
from .oracles.lab import Dmf, Fixed, Log
from .oracles.minifloat import FLOATS
from .oracles.reals import Dyadic

Array = NDArray[np.int64]
Columns = tuple[Array, ...]

BESIDE = np.arange(-8, 9)  #: how many floats from a power of two
PLACES = (0.0, 0.25, 0.5, 0.5, 0.75)  #: of the way from a value to the next one


@lru_cache
def powers(dtype: str) -> Array:
    """The magnitudes of all powers of two, subnormal ones among them, and of the floats beside them."""
    row = FLOATS[dtype]
    exponents = np.arange(1 - row.bias - row.mantissa, row.bias + 1)
    found = np.unique(nearest(np.ldexp(1.0, exponents), dtype)[:, None] + BESIDE)
    return found[(found > 0) & (found <= row.largest)]


# Single numbers ------------------------------------------------------------------------------------------------------


def floats(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Floats to be encoded."""
    draw, row, fmt = generator(kind, seed), FLOATS[options["dtype"]], lab_rows.SCALARS[options["fmt"]]
    found = _NUMBERS[kind](draw, fmt, options["dtype"], count)
    return (with_signs(np.clip(found, 0, row.sign_bit - 1), row, draw),)


def _edges(draw: Generator, fmt: lab_rows.Scalar, dtype: str, count: int) -> Array:
    row, (least, largest, _) = FLOATS[dtype], fmt.span
    nan = row.infinity | 1 << row.mantissa >> 1  # the first quiet one
    special = np.array([0, 1, row.largest, row.infinity, row.infinity + 1, nan, row.sign_bit - 1])
    near = nearest(np.ldexp(1.0, np.arange(max(least, -1060) - 3, min(largest, 1000) + 4)), dtype)
    ends = nearest(_steps(fmt, draw, 4)[-4:], dtype)
    beside = np.concatenate([near, ends])[:, None] + BESIDE
    parts = (special, ends, beside.reshape(-1), powers(dtype))
    return np.concatenate([draw.choice(part, -(-count // len(parts))) for part in parts])[:count]


def _ties(draw: Generator, fmt: lab_rows.Scalar, dtype: str, count: int) -> Array:
    steps = _steps(fmt, draw, count)
    at = draw.integers(0, len(steps) - 1, count)
    start, step = steps[at], steps[at + 1] - steps[at]
    between = start + step * draw.choice(PLACES, count)
    if isinstance(fmt, Log):  # half-way, by logarithm
        between = np.where(draw.random(count) < 0.5, start * np.sqrt(2), between)
    return nearest(between, dtype) + draw.integers(-1, 2, count)


def _spaced(draw: Generator, fmt: lab_rows.Scalar, dtype: str, count: int) -> Array:
    return np.linspace(0, FLOATS[dtype].sign_bit, count, endpoint=False).astype(np.int64)


def _random(draw: Generator, fmt: lab_rows.Scalar, dtype: str, count: int) -> Array:
    row, (least, largest, _) = FLOATS[dtype], fmt.span
    exponents = np.clip(draw.integers(least - 3, largest + 3, count), 1 - row.bias, row.bias)
    near = nearest(np.ldexp(1.0, exponents), dtype) + draw.integers(0, 1 << row.mantissa, count)
    return np.where(draw.random(count) < 0.25, draw.integers(0, row.sign_bit, count), near)


_NUMBERS: dict[str, Callable[[Generator, lab_rows.Scalar, str, int], Array]] = {
    "edges": _edges,
    "ties": _ties,
    "spaced": _spaced,
    "random": _random,
}


def _steps(fmt: lab_rows.Scalar, draw: Generator, count: int) -> NDArray[np.float64]:
    """Magnitudes of a format in ascending order, with one that would follow the largest: all, or some of many."""
    if isinstance(fmt, Fixed):
        last = fmt.ends[1] + 2
        start = max(0, last - count)
        units = np.arange(last + 1) if last <= 1 << 12 else np.concatenate([[0, 1, 2, 3], np.arange(start, last + 1)])
        return np.ldexp(units.astype(np.float64), -fmt.fraction)
    return _magnitudes(fmt)


@lru_cache
def _magnitudes(fmt: Dmf | Log | Book) -> NDArray[np.float64]:
    found = (fmt.decode(code)[1] for code in range(1 << fmt.width))
    grid = np.unique([number(x) for x in found if isinstance(x, Dyadic)])
    return np.append(grid, 2 * grid[-1] if isinstance(fmt, Log) else 2 * grid[-1] - grid[-2])


def codes(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Codes to be decoded."""
    draw, width = generator(kind, seed), lab_rows.SCALARS[options["fmt"]].width
    top, every = 1 << (width - 1), 1 << width
    found = {
        "edges": lambda: draw.choice(np.array([0, 1, top - 1, top, top + 1, every - 1]), count),
        "ties": lambda: draw.integers(0, every, count),
        "spaced": lambda: np.linspace(0, every, count, endpoint=False).astype(np.int64),
        "random": lambda: draw.integers(0, every, count),
    }[kind]()
    return (found,)


# Blocks --------------------------------------------------------------------------------------------------------------


def block_floats(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Blocks to be quantized."""
    draw, row, size = generator(kind, seed), FLOATS[options["dtype"]], lab_rows.SIZES[options["fmt"]]
    wanted = -(-count // COST)
    amaxes = np.linspace(1, row.infinity, wanted, endpoint=False).astype(np.int64)
    if kind in ("edges", "ties"):
        amaxes = draw.choice(powers(options["dtype"]), wanted)
    found = [_BLOCKS[kind](draw, options, size, amax) for amax in amaxes.tolist()]
    return (with_signs(np.array(found, np.int64), row, draw),)


def _tied(draw: Generator, options: Options, size: int, amax: int) -> Array:
    """Elements half-way between codes under the scale that this largest magnitude makes, and beside."""
    fmt, dtype = lab_rows.BLOCKS[options["fmt"]], options["dtype"]
    _, a = lab_rows.number(amax, dtype)
    assert isinstance(a, Dyadic)
    shared, last = fmt.shared(fmt.scale(a)), (1 << (fmt.width - 1)) - 1
    picked = draw.integers(0, last, size) if draw.random() < 0.5 else np.maximum(last - draw.geometric(0.3, size), 0)
    low, high = (np.array([_value(shared, code + i) for code in picked.tolist()]) for i in (0, 1))
    points = low + (high - low) * draw.choice(PLACES, size)
    block = np.clip(nearest(points, dtype) + draw.integers(-1, 2, size), 0, amax)
    block[draw.integers(size)] = amax
    return block


def _value(shared: lab.Shared, code: int) -> float:
    _, a = shared.decode(code)
    assert isinstance(a, Dyadic)
    return number(a)


_BLOCKS: dict[str, Callable[[Generator, Options, int, int], Array]] = {
    "edges": edge_floats,
    "ties": _tied,
    "spaced": spaced_floats,
    "random": random_floats,
}


def every_power(options: Options) -> Columns:
    """All powers of two and the floats beside them, each the largest of a block of numbers that are not larger."""
    draw, row, found = generator("every", 0), FLOATS[options["dtype"]], powers(options["dtype"])
    blocks = draw.integers(0, found[:, None] + 1, (len(found), lab_rows.SIZES[options["fmt"]]))
    blocks[:, 1:] >>= draw.integers(0, 2, (len(found), 1)) * 40  # half of them beside zeros alone
    blocks[np.arange(len(found)), draw.integers(0, blocks.shape[1], len(found))] = found
    return (with_signs(blocks, row, draw),)


def block_codes(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Blocks to be dequantized: any codes under scales at the ends, or under all."""
    draw, fmt, size = generator(kind, seed), lab_rows.BLOCKS[options["fmt"]], lab_rows.SIZES[options["fmt"]]
    wanted, every, scales = -(-count // COST), 1 << fmt.width, 1 << lab.scale_bits(fmt)
    ends = np.array([0, 1, scales // 2 - 1, scales // 2, scales - 2, scales - 1])
    shared = draw.choice(ends, wanted) if kind == "edges" else draw.integers(0, scales, wanted)
    middle = np.array([0, 1, every // 2 - 1, every // 2, every // 2 + 1, every - 1])
    elements = draw.choice(middle, (wanted, size)) if kind == "edges" else draw.integers(0, every, (wanted, size))
    return (np.hstack([shared[:, None], elements]),)
