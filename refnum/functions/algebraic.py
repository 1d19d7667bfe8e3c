"""Functions that the waist computes exactly, or with a sticky bit: no estimate is needed, and nothing is in doubt.

What they give at zeros and infinities is IEEE 754's; in posits, an infinity is written as NaR, and 0 has no sign.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..core import exact
from ..core.decode import HIDDEN, INFINITE, Exact, nonzero


def _square_root(x: Exact, bits: int) -> Exact:
    root = exact.square_root(x, bits)
    sign = x.sign & ~nonzero(x.significand[0])
    return root._replace(sign=sign, kind=root.kind | (x.sign & -(x.kind & INFINITE)))


def _reciprocal(x: Exact, bits: int) -> Exact:
    nothing = torch.zeros_like(x.sign)
    one = Exact(nothing, (nothing + HIDDEN,), nothing, nothing)
    quotient = exact.divide(one, x, bits)
    nan = x.kind >> 63
    infinite = -(x.kind & INFINITE) & ~nan
    zero = ~nonzero(x.significand[0]) & ~nan
    significand = tuple(limb & ~infinite for limb in quotient.significand)
    return quotient._replace(significand=significand, kind=nan | (zero & INFINITE))


#: takes the operand, and how many significant bits it or the result has
ALGEBRAIC: dict[str, Callable[[Exact, int], Exact]] = {"sqrt": _square_root, "reciprocal": _reciprocal}
