"""pi, log 2 and log 10 to any number of places, kept and extended as more are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from .intervals import Interval

#: A constant is a sum of c * atan(1/q), where the sign of squares is -1, or of c * atanh(1/q), where it is +1.
#: pi: J. Machin, 1706. log 2 and log 10: from 32/31, 50/48 and 162/160 as products of powers of 2, 3 and 5.
_SUMS: dict[str, tuple[int, tuple[tuple[int, int], ...]]] = {
    "pi": (-1, ((16, 5), (-4, 239))),
    "log 2": (1, ((14, 31), (10, 49), (6, 161))),
    "log 10": (1, ((46, 31), (34, 49), (20, 161))),
}
_GUARD = 32  #: places that take up the errors of the sums


def _constant(name: str) -> Callable[[int], Interval]:
    @cache
    def kept(places: int) -> int:
        # C1. Terms are floored; nested floors of quotients by integers are the floor of the whole. So a series errs by
        #     less than 1 for each of its at most places + 32 terms, and by less than 1 for what follows.
        # C2. The sum's error, at most 100 * (places + 33), is less than 2**31 for places up to 2**24: taken off, it
        #     leaves a lower end, and the constant lies less than 2**32 above that, which is 1 after the shift.
        sign, terms = _SUMS[name]
        sums = sum(c * _inverse(q, sign, places + _GUARD) for c, q in terms)
        return (sums - (1 << (_GUARD - 1))) >> _GUARD

    def constant(places: int) -> Interval:
        # C3. [v, v + 2] contains the constant, and still does when both ends lose the same number of places.
        more = max(512, 1 << (places - 1).bit_length())
        value = kept(more) >> (more - places)
        return Interval(value, value + 2, -places)

    return constant


def _inverse(q: int, sign: int, places: int) -> int:
    """The sum of sign**k / ((2k + 1) q**(2k + 1)): atanh(1/q) for sign 1, atan(1/q) for -1."""
    total, k, power = 0, 1, (1 << places) // q
    while power:
        total += power // k if sign > 0 or k & 2 == 0 else -(power // k)
        power //= q * q
        k += 2
    return total


pi = _constant("pi")
log_2 = _constant("log 2")
log_10 = _constant("log 10")
