"""Floats that go together: blocks that share a scale, and vectors whose products are summed. Integers only.

A block is made around a *head*, the element of the largest magnitude, from which the scale is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random

import torch
from torch import Tensor

from ..formats import Block, Codebook, Element, Exponent, Minifloat, Scale, float32
from .codes import anywhere, corners, edges, spaced, words
from .dyadics import ONE, Dyadic, below, borders, largest, midpoint, opposite, top, value, wrap

SIXTEENTHS = 4  #: bits behind the point
NEAR = 8  #: binades that random elements of a block, or random terms, lie apart
WIDE = 20  #: binades above 1 to which terms go that cancel

Pair = tuple[int, int]


# ---- blocks ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def heads(row: Minifloat, element: Element) -> tuple[int, ...]:
    """The edges of a row, and in every binade the significands at which rules for scales change, with neighbours.

    Those are sixteenths, the significand of the largest element, and the one half a unit above.
    """
    odd = top(element).m
    odd //= (odd & -odd) or 1
    last = odd << (element.significand_bits - odd.bit_length())
    steps = {sixteenth << (row.mantissa - SIXTEENTHS) for sixteenth in range(1 << SIXTEENTHS)}
    steps |= {_aligned(last, row), _aligned(2 * last + 1, row)}
    fractions = sorted({step + d & (1 << row.mantissa) - 1 for step in steps for d in (-1, 0, 1)})
    binades = range(0, row.largest + 1, 1 << row.mantissa)
    magnitudes = [binade + fraction for binade in binades for fraction in fractions]
    return tuple(sorted({*edges(row), *magnitudes, *(opposite(m, row) for m in magnitudes)}))


def _aligned(integer: int, row: Minifloat) -> int:
    """Its leading one at the hidden bit of a row's significands."""
    up = row.mantissa + 1 - integer.bit_length()
    return integer << up if up >= 0 else integer >> -up


def edge_block(head: int, size: int, row: Minifloat, draw: Random) -> list[int]:
    """A head anywhere among zeros, among its like, among a little less, or among edges."""
    sign = 1 << (row.width - 1)
    magnitude = head & (sign - 1)
    match draw.randrange(4):
        case 0:
            others = [0] * size
        case 1:
            others = [magnitude] * size
        case 2:
            top = min(magnitude, row.largest)
            others = [max(0, top - draw.getrandbits(draw.randint(1, row.mantissa + 3))) for _ in range(size)]
        case _:
            others = [draw.choice(edges(row)) for _ in range(size)]
    block = [code ^ (sign * draw.getrandbits(1)) for code in others]
    block[draw.randrange(size)] = head
    return block


def tie_block(fmt: Block, row: Minifloat, draw: Random) -> list[int]:
    """Elements at ties of their format under a scale that the format has, and the floats beside them.

    The head is the largest element times the scale, so that rules give this scale, or the next one.
    """
    rows, columns = fmt.tile
    scale = value(draw.randint(_least(fmt.scale), largest(fmt.scale)), fmt.scale)
    block = []
    for _ in range(rows * columns):
        code = below(_tie(fmt.element, draw) * scale, row) + draw.choice((-1, 0, 0, 0, 1))
        block.append(min(max(code, 0), row.largest))
    block[draw.randrange(len(block))] = below(top(fmt.element) * scale, row)
    return [code | (draw.getrandbits(1) << (row.width - 1)) for code in block]


def _tie(element: Element, draw: Random) -> Dyadic:
    """The magnitude of a midpoint of neighbours, the last one beyond the largest."""
    if isinstance(element, Codebook):
        return abs(draw.choice(borders(element)))
    return midpoint(draw.randrange(largest(element) + 1), element)


def _least(scale: Scale) -> int:
    """The code of the least scale that is not 0."""
    return scale.least if isinstance(scale, Exponent) else int(scale.subnormals)


def near_blocks(count: int, fmt: Block, row: Minifloat, draw: Random) -> Tensor:
    """Codes [count, elements]: half of the rows any floats, half floats a few binades apart, all within the format."""
    assert row.bias is not None
    rows, columns = fmt.tile
    choice = words(count * rows * columns, draw).view(count, -1)
    ends = (value(code, fmt.scale).scale for code in (_least(fmt.scale), largest(fmt.scale)))
    fields = (scale + fmt.element.max_scale + row.bias for scale in ends)
    low, high = (min(max(field, 1), (1 << row.exponent) - 2) for field in fields)
    top = low + words(count, draw).view(count, 1).remainder(high - low + 1)
    near = _rescaled(choice, (top - (choice >> 60 & (NEAR - 1))).clamp(min=0), row)
    near[::2] = anywhere(row, choice.numel(), draw).view(count, -1)[::2]
    return near


# ---- terms of sums ---------------------------------------------------------------------------------------------------


def vectors(kind: str, count: int, length: int, row: Minifloat, draw: Random) -> tuple[Tensor, Tensor]:
    """Two tensors of codes [count, length], of a kind that `cases.dots` has."""
    match kind:
        case "edges":
            return sides([edge_terms(length, row, draw) for _ in range(count)])
        case "ties":
            return sides([tie_terms(length, row, draw) for _ in range(count)])
        case "spaced":
            a, b = (spaced_terms(count * length, row, draw).view(count, length) for _ in range(2))
        case _:
            a, b = (near_terms(count, length, row, draw) for _ in range(2))
    return a, b


def sides(rows: Sequence[Sequence[tuple[int, ...]]]) -> tuple[Tensor, Tensor]:
    """The left and the right factors of rows of terms."""
    factors = torch.tensor(rows, dtype=torch.int64, device="cpu")
    return factors[..., 0], factors[..., 1]


def edge_terms(length: int, row: Minifloat, draw: Random) -> list[Pair]:
    """Terms from the corners of a row, from its ends, from numbers around 1, or a few of these among zeros."""
    one, top = below(ONE, row), row.largest
    ends = [top, opposite(top, row), 1, opposite(1, row)]
    near = [one, one + 1, one - 1, opposite(one, row)]
    palette = draw.choice(([*corners(row)], [top], [1], ends, near, [*near, 1], [*ends, *near, 0]))
    return [(draw.choice(palette), draw.choice(palette)) for _ in range(length)]


def tie_terms(length: int, row: Minifloat, draw: Random) -> list[Pair]:
    """A number, half a unit of it in float32 or in the row, and at most a tiny term; the others cancel in pairs.

    Whether such a sum is rounded up shows in which order, and how, it is added up.
    """
    one = below(ONE, row)
    unit = -draw.choice((float32, row)).mantissa
    tiny = draw.choice((0, 1, opposite(1, row)))
    factor = draw.choice((one, _near_one(row, draw)))
    terms = [(_near_one(row, draw), factor), _power(unit - 1, row, draw), (tiny, draw.choice((1, one)))]
    while len(terms) + 1 < length:
        a, b = _near_one(row, draw), below(Dyadic(1, draw.randint(0, min(WIDE, row.max_scale // 2))), row)
        terms += [(a, b), (opposite(a, row), b)]
    terms = (terms + [(0, one)] * length)[:length]
    draw.shuffle(terms)
    return terms


def spaced_terms(count: int, row: Minifloat, draw: Random) -> Tensor:
    """Evenly spaced codes, shuffled: all magnitudes in each sum."""
    codes = spaced(row, count)
    order = list(range(count))
    draw.shuffle(order)
    return codes[torch.tensor(order, device="cpu") % len(codes)]


def near_terms(count: int, length: int, row: Minifloat, draw: Random) -> Tensor:
    """Codes [count, length] of random floats around 1, in half of the rows a few binades apart."""
    assert row.bias is not None
    choice = words(count * length, draw).view(count, length)
    wide = words(count, draw).view(count, 1) < 0
    apart = (choice >> 56 & 3) + torch.where(wide, choice >> 59 & (NEAR - 1), 0)
    return _rescaled(choice, (row.bias + 1 - apart).clamp(min=0), row)


def _near_one(row: Minifloat, draw: Random) -> int:
    """A magnitude from 1 to below 2."""
    return below(ONE, row) + draw.getrandbits(row.mantissa)


def _power(scale: int, row: Minifloat, draw: Random) -> Pair:
    """Two powers of two with this product, or as near to it as the row has them; either sign."""
    least = row.min_scale - row.mantissa
    left = max(least, scale // 2)
    a, b = (below(Dyadic(1, max(least, each)), row) for each in (left, scale - left))
    return a, draw.choice((b, opposite(b, row)))


def _rescaled(bits: Tensor, field: Tensor, row: Minifloat) -> Tensor:
    """Codes with the signs and fractions of some bits, and other exponents."""
    return field << row.mantissa | bits & wrap((1 << row.mantissa) - 1 | 1 << (row.width - 1), row)
