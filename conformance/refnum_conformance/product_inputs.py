"""Matrices of blocks whose products are hard to sum, in the four kinds that `refnum.testing.cases` has.

======  ==========================================================================================================
edges   the largest and the least codes, zeros of either sign, NaN and Inf, scales at their ends
ties    sums half-way between two results, with a term far below or none
spaced  all codes, each as often as the others
random  sums that cancel but for what lies far below; any codes under scales of any spread
======  ==========================================================================================================

A row has four segments of 32 terms: a block each, or two with the same scale.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .block_inputs import generator
from .operations import Op, Options, scales
from .oracles import block_rows, blocks
from .oracles.blocks import FORMATS, Block, Element, floor_log2
from .oracles.minifloat import FLOATS, Row, Special, encode
from .oracles.reals import Dyadic

Array = NDArray[Any]
Columns = tuple[Array, ...]

Palettes = tuple[list[int], ...]
Make = Callable[[Generator, Block, Block, Row], tuple["Side", "Side"]]  #: the last is the result's

COST = 40  #: as many cases of single numbers does a product of two matrices count for
ROWS, SEGMENTS, TERMS = 2, 4, 32  #: of each side


class Side(NamedTuple):
    """One operand."""

    scales: Array  #: codes, [rows, segments]
    elements: Array  #: codes, [rows, segments, terms]


def products(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    """Two matrices of blocks, and addends for rows that have some."""
    draw, left, right = generator(kind, seed), FORMATS[options["fmt"]], FORMATS[options["b_fmt"]]
    cases = [_PRODUCTS[kind](draw, left, right, FLOATS[options["dtype"]]) for _ in range(-(-count // COST))]
    a, b = (np.array([_in_blocks(case[i], fmt) for case in cases]) for i, fmt in enumerate((left, right)))
    return (a, b, _addends(draw, a, b, options)) if op.args.endswith("d") else (a, b)


def _in_blocks(side: Side, fmt: Block) -> Array:
    elements = side.elements.reshape(ROWS, -1, fmt.size)
    return np.concatenate([side.scales.repeat(TERMS // fmt.size, 1)[..., None], elements], 2)


def _addends(draw: Generator, a: Array, b: Array, options: Options) -> Array:
    """The opposite of a sum, rounded, and one unit beside it; what lies far below it; ends."""
    row, asked = FLOATS["float32"], {**options, "dtype": "float32"}
    sums = np.array([block_rows.exact_mm(x, y, **asked) for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    opposite = sums ^ -row.sign_bit
    below = np.maximum((sums & (row.sign_bit - 1)) - (draw.integers(20, 60, sums.shape) << row.mantissa), 0)
    ends = draw.choice([0, 1, row.largest, row.infinity, row.nan or 0, row.bias << row.mantissa], sums.shape)
    signs = draw.choice([0, -row.sign_bit], sums.shape)
    choices = (opposite, opposite ^ 1, below | signs, ends | signs)
    return np.choose(draw.integers(0, len(choices), sums.shape), choices)


# Codes ---------------------------------------------------------------------------------------------------------------


@lru_cache
def _element(element: Element, x: float) -> int:
    """The code of a multiple of 1/2."""
    return blocks.encode(element, (x < 0, Dyadic(int(abs(x) * 2), -1)))


@lru_cache
def _scale(row: Row, power: int) -> int:
    """The code of a power of two, held in the row's range."""
    least, largest = scales(row._asdict())
    return encode(False, Dyadic(1, min(max(power, least), largest)), row)


def _scales(row: Row, powers: Array) -> Array:
    return np.array([[_scale(row, power) for power in each] for each in powers.tolist()])


@lru_cache
def _numbers(element: Element) -> Array:
    """The codes of numbers, but for a least one that has no opposite."""
    every = range(1 << element.width)
    found = [code for code in every if not isinstance(blocks.decode(element, code)[1], Special)]
    return np.array([code for code in found if isinstance(element, Row) or code != len(every) // 2])


def _binade(element: Element, code: int) -> int:
    x = blocks.decode(element, code)[1]
    assert isinstance(x, Dyadic)
    return floor_log2(x)


def _opposite(codes: Array, element: Element) -> Array:
    sign = 1 << (element.width - 1)
    return codes ^ sign if isinstance(element, Row) else -codes % (2 * sign)


# Edges ---------------------------------------------------------------------------------------------------------------


def _edges(draw: Generator, fmt: Block) -> Side:
    """Each row from a few codes."""
    one, largest, nan = _scale(fmt.scale, 0), fmt.scale.largest, fmt.scale.largest + 1
    shared = ([one], [0], [largest], [0, largest], [one, 0, largest], [one, one, one, nan])
    return Side(_painted(draw, shared, SEGMENTS), _painted(draw, _extremes(fmt.element), SEGMENTS, TERMS))


def _extremes(element: Element) -> Palettes:
    one, most, sign = _element(element, 1.0), element.largest, 1 << (element.width - 1)
    specials = range(most + 1, sign)  # Inf and NaNs
    opposite = int(_opposite(np.array(most), element))
    return [most], [most, opposite], [sign], [1, one], [0, sign, most], [*specials, 0, one, opposite]


def _painted(draw: Generator, palettes: Palettes, *shape: int) -> Array:
    return np.array([draw.choice(palettes[draw.integers(len(palettes))], shape) for _ in range(ROWS)])


# Ties ----------------------------------------------------------------------------------------------------------------


def _ties(draw: Generator, left: Block, right: Block, row: Row) -> tuple[Side, Side]:
    """A number, some units in the last place of the result, half a unit, and something far below them or nothing."""
    (low, high), (lowest, highest) = (scales(fmt.scale._asdict()) for fmt in (left, right))
    least = 1 - row.bias - row.mantissa
    # 1. The number's scale leaves room for the other three, in what both sides have together and in the result.
    power = draw.integers(max(low + lowest + row.mantissa + 5, least), min(high + highest, row.bias - 8) + 1)
    heads = draw.integers(1, left.element.largest + 1, ROWS)
    units = [max(int(power) + _binade(left.element, head) - row.mantissa, least) for head in heads.tolist()]
    powers = np.array([[power, unit + 1, unit - 1, unit - draw.integers(2, 60)] for unit in units])
    # 2. The right side has 1s or -1s under scales that suit the left side's first row; so every product is near a tie.
    shares = np.clip(powers[0] - np.clip(powers[0] // 2, low, high), lowest, highest)
    numbers = [[head, *(_element(left.element, x) for x in _small(draw))] for head in heads.tolist()]
    a = np.zeros((ROWS, SEGMENTS, TERMS), np.int64)
    a[..., draw.integers(TERMS)] = numbers
    b = np.full((ROWS, SEGMENTS, TERMS), _element(right.element, 1.0))
    sides = (
        Side(_scales(left.scale, powers - shares), _some_opposite(draw, a, left.element)),
        Side(_scales(right.scale, shares - draw.integers(0, 3, (ROWS, 1))), _some_opposite(draw, b, right.element)),
    )
    # 3. In any order, mostly from the largest to the least.
    order = draw.permutation(SEGMENTS) if draw.random() < 0.4 else np.arange(SEGMENTS)
    x, y = (Side(side.scales[:, order], side.elements[:, order]) for side in sides)
    return x, y


def _small(draw: Generator) -> tuple[float, ...]:
    """Units, halves of 2 each; half a unit; what lies below."""
    return draw.choice([0, 0.5, 1, 1.5]), draw.choice([1, -1]), draw.choice([0, 1, -1, 1.5])


def _some_opposite(draw: Generator, codes: Array, element: Element) -> Array:
    """Some rows with the other sign."""
    return np.where(draw.random((ROWS, 1, 1)) < 0.5, _opposite(codes, element), codes)


# Spaced and random ---------------------------------------------------------------------------------------------------


def _spaced(draw: Generator, fmt: Block) -> Side:
    steps = draw.permutation(np.linspace(-9, 9, ROWS * SEGMENTS).astype(np.int64)).reshape(ROWS, SEGMENTS)
    elements = np.resize(draw.permutation(_numbers(fmt.element)), (ROWS, SEGMENTS, TERMS))
    return Side(_scale(fmt.scale, 0) + steps, elements)


def _random(draw: Generator, left: Block, right: Block, row: Row) -> tuple[Side, Side]:
    a, b = _wide(draw, left), _wide(draw, right)
    if draw.random() < 0.5:
        return a, b
    # Two segments that take each other away, and two far below.
    for side in (a, b):
        side.elements[:, 1] = side.elements[:, 0]
    a.elements[:, 1] = _opposite(a.elements[:, 0], left.element)
    depth = draw.integers(0, 60)
    shared = (_scales(fmt.scale, np.array([[5, 5, 5 - depth, -depth]] * ROWS)) for fmt in (left, right))
    x, y = (Side(codes, side.elements) for codes, side in zip(shared, (a, b), strict=True))
    return x, y


def _wide(draw: Generator, fmt: Block) -> Side:
    """Any codes of numbers, under scales that are alike or not."""
    spread = draw.choice([2, 30, 130])
    steps = draw.integers(-spread, spread + 1, (ROWS, SEGMENTS))
    elements = draw.choice(_numbers(fmt.element), (ROWS, SEGMENTS, TERMS))
    return Side(np.clip(_scale(fmt.scale, 0) + steps, 0, fmt.scale.largest), elements)


def _alike(side: Callable[[Generator, Block], Side]) -> Make:
    """Both sides made in one way."""
    return lambda draw, left, right, row: (side(draw, left), side(draw, right))


_PRODUCTS: dict[str, Make] = {"edges": _alike(_edges), "ties": _ties, "spaced": _alike(_spaced), "random": _random}
