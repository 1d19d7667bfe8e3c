"""Sums of a few float64 tensors, rounded once: equal to adding in ``core`` and rounding to 53 bits, mostly by to_odd.

A value rounded to odd at 53 bits and then to at most 51 bits is rounded correctly: the odd last bit stands for whatever
follows it. Rounding to odd in two steps is no rounding twice either, which is what `_sum_of_three` lives on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

MANTISSA = 53  #: bits of a float64


def rounded_to_odd(terms: Sequence[Tensor]) -> Tensor:
    """The exact sum of finite float64 tensors of one shape, rounded to odd."""
    match terms:
        case [only]:
            return only
        case [a, b]:
            return _odd(*two_sum(a, b))
        case [a, b, c]:
            return _sum_of_three(a, b, c)
        case _:
            return _sum_of_many(terms)


def rounded(terms: Sequence[Tensor]) -> Tensor:
    """The exact sum of finite float64 tensors of one shape, rounded to nearest even."""
    match terms:
        case [only]:
            return only
        case [a, b]:
            return a + b
        case _:
            # The first is nearest to all, but for ties, which the others break: to odd, they stay on their side of one.
            first, *others = _settled(terms)
            return first + rounded_to_odd(others)


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The float64 nearest to a + b, and what is missing: D. Knuth, The Art of Computer Programming 2, 4.2.2."""
    total = a + b
    from_b = total - a
    from_a = total - from_b
    torch.sub(a, from_a, out=from_a)
    torch.sub(b, from_b, out=from_b)
    return total, from_a.add_(from_b)


def _odd(total: Tensor, missing: Tensor) -> Tensor:
    """Where something is missing and the last bit is even, one step towards it."""
    bits = total.view(torch.int64)
    away = (bits ^ missing.view(torch.int64)).bitwise_right_shift_(63).bitwise_or_(1)  # 1 away from 0, -1 towards it
    inexact = missing.abs().view(torch.int64).clamp_(max=1)
    return inexact.bitwise_and_(~bits).mul_(away).add_(bits).view(torch.float64)


def _sum_of_three(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    # S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved algorithms using rounding to
    # odd" (IEEE Transactions on Computers 57, 2008), with rounding to odd at the end as well. Either a + (b + c) is
    # inexact: then it is at least half of b + c, so that the two errors are of the size of its last bit, and their sum,
    # to odd, goes far below it. Or it is exact: then one of the errors is 0, and their sum is exact.
    high, low = two_sum(b, c)
    total, error = two_sum(a, high)
    return _odd(*two_sum(total, _odd(*two_sum(error, low))))


def _sum_of_many(terms: Sequence[Tensor]) -> Tensor:
    # The second has the sign of all that the first one lacks.
    first, second, *_ = _settled(terms)
    return _odd(first, second)


def _settled(terms: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of the same sum, each term of which is at most half a last bit of the one before it."""
    # Sums from the last to the first, until none changes: T. Ogita, S. Rump and S. Oishi, "Accurate sum and dot
    # product" (SIAM Journal on Scientific Computing 26, 2005).
    now = list(terms)
    while True:
        before = list(now)
        for i in range(len(now) - 2, -1, -1):
            now[i], now[i + 1] = two_sum(now[i], now[i + 1])
        if all(map(torch.equal, now, before)):
            return now


# ---- long sums -----------------------------------------------------------------------------------

_SPLITTER = 2.0**27 + 1
_LOWER_HALF = (1 << 27) - 1  #: of the bits of a float64: those without have products that are exact


def sums_of_products(x: Tensor, y: Tensor) -> list[Tensor]:
    """[R] terms whose sums are those of x * y along the last axis of [R, K] float64 tensors, without error."""
    products = x * y
    bits = [int(np.bitwise_or.reduce(side.view(torch.int64).numpy(), axis=None)) for side in (x, y)]
    terms = list(_sums(products))
    if (bits[0] | bits[1]) & _LOWER_HALF:
        terms += _sums(_missing(x, y, products))
    return terms or [products.new_zeros(len(products))]


def _missing(x: Tensor, y: Tensor, products: Tensor) -> Tensor:
    """What rounded products lack: T. Dekker, "A floating-point technique for extending the available precision"."""
    (high_x, low_x), (high_y, low_y) = _halves(x), _halves(y)
    return (high_x * high_y).sub_(products).add_(high_x * low_y).add_(low_x * high_y).add_(low_x * low_y)


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Two parts of at most 26 bits."""
    large = x * _SPLITTER
    high = large - (large - x)
    return high, x - high


def _sums(terms: Tensor) -> Iterator[Tensor]:
    """Sums along the last axis whose sum is that of the terms: of so many leading bits that they are exact."""
    room = MANTISSA - 1 - terms.shape[-1].bit_length()
    while most := float(terms.abs().amax()):
        magic = math.ldexp(1.5, math.frexp(most)[1] - room + MANTISSA - 1)
        leading = (terms + magic).sub_(magic)
        yield leading.sum(-1)
        terms = terms - leading
