"""Sums of a few float64 tensors, rounded once: equal to adding in ``core`` and rounding to 53 bits, mostly by to_odd.

A value rounded to odd at 53 bits and then to at most 51 bits is rounded correctly: the odd last bit stands for whatever
follows it. Rounding to odd in two steps is no rounding twice either, which is what `_sum_of_three` lives on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


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
