"""Products of matrices that break kernels: in every element of the result the same sum goes wrong, up to its sign.

A sum is made of terms, pairs of codes. Its left factors are a row of the first matrix, its right factors a column of
the second; other rows and columns are these with other signs, which changes no rounding to nearest. Integers only.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED
from ..formats import Minifloat, e4m3, e5m2
from .dyadics import ONE, Dyadic, below, opposite
from .terms import Pair, edge_terms, tie_terms

#: dtypes of operands, and how their codes are read
ROWS: dict[torch.dtype, Minifloat] = FLOAT_ROWS | {torch.float8_e4m3fn: e4m3, torch.float8_e5m2: e5m2}


def cancelling_terms(length: int, row: Minifloat, draw: Random) -> list[Pair]:
    """Large terms that cancel in pairs, and a small one that is left."""
    terms = [(_near(row, draw, -row.mantissa), below(ONE, row))]
    while len(terms) + 1 < length:
        a, b = _near(row, draw, row.max_scale // 4), _near(row, draw, 0)
        terms += [(a, b), (opposite(a, row), b)]
    return _filled(terms, length, draw)


def huge_terms(length: int, row: Minifloat, draw: Random) -> list[Pair]:
    """Terms around 1, and one that swallows them, or that is as large as terms get."""
    one = below(ONE, row)
    scale = draw.choice((min(24, row.max_scale), row.max_scale))
    terms = [(below(Dyadic(1, scale), row), one)]
    terms += [(_near(row, draw, 0), draw.choice((one, opposite(one, row)))) for _ in range(length - 1)]
    return _filled(terms, length, draw)


def subnormal_terms(length: int, row: Minifloat, draw: Random) -> list[Pair]:
    """Subnormal numbers times numbers around 1, and normal ones whose product is subnormal, or next to nothing."""
    smallest = row.min_scale
    terms = []
    for _ in range(length):
        tiny = 1 + draw.getrandbits(row.mantissa)
        half = smallest // 2
        pair = (_near(row, draw, half), _near(row, draw, smallest - half - draw.randrange(row.mantissa + 2)))
        a, b = draw.choice(((tiny, _near(row, draw, 0)), pair))
        terms.append((draw.choice((a, opposite(a, row))), b))
    return _filled(terms, length, draw)


#: Each makes so many terms. Ties and edges are those of `cases.dots`.
HAZARDS: dict[str, Callable[[int, Minifloat, Random], list[Pair]]] = {
    "cancelling": cancelling_terms,
    "ties": tie_terms,
    "huge": huge_terms,
    "subnormal": subnormal_terms,
    "edges": edge_terms,
}


def matrices(kind: str, dtype: torch.dtype, shape: tuple[int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """[M, K] and [K, N] of a kind of `HAZARDS`; ``shape`` is M, N, K.

    >>> a, b = matrices("cancelling", torch.float32, (1, 1, 3), 0)
    >>> products = a[0].double() * b[:, 0].double()
    >>> float(products.sum().abs() / products.abs().max()) < 2**-30
    True
    """
    m, n, k = shape
    row, draw = ROWS[dtype], Random(f"{kind} {dtype} {shape} {seed}")
    left, right = zip(*HAZARDS[kind](k, row, draw), strict=True)
    a = [[code if sign else opposite(code, row) for code in left] for sign in _signs(m, draw)]
    b = [[code if sign else opposite(code, row) for code in right] for sign in _signs(n, draw)]
    return _tensor(a, dtype), _tensor(b, dtype).mT.contiguous()


def _signs(count: int, draw: Random) -> list[int]:
    return [1, *(draw.getrandbits(1) for _ in range(count - 1))]


def _tensor(codes: list[list[int]], dtype: torch.dtype) -> Tensor:
    container = SIGNED[dtype.itemsize * 8] if dtype in FLOAT_ROWS else torch.uint8
    return torch.tensor(codes, dtype=torch.int64, device="cpu").to(container).view(dtype)


def _near(row: Minifloat, draw: Random, scale: int) -> int:
    """A magnitude in the binade of 2**scale, or the least ones below."""
    significand = 1 << row.mantissa | draw.getrandbits(row.mantissa)
    return max(1, below(Dyadic(significand, scale - row.mantissa), row))


def _filled(terms: list[Pair], length: int, draw: Random) -> list[Pair]:
    """So many terms, shuffled; zeros where there are less."""
    terms = (terms + [(0, 0)] * length)[:length]
    draw.shuffle(terms)
    return terms
