"""Scaled values -> codes of elements: the definition, through the waist.

A value divided by a power of two is the same significand with another exponent, so that nothing is rounded before the
element is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.decode import HIDDEN, LIMB, NUMBER, Exact, decode
from ..core.exact import select
from ..core.round import encode
from ..formats import Codebook, Element, FixedPoint, Minifloat, float32, unit_scale
from .profiles import Profile
from .scales import BIAS, MANTISSA, carrier, logarithm_carries


def underflow(zero: str, row: Minifloat) -> int | None:
    """log2 of the largest scaled value that is 0 where 0 has no sign: half the least positive number."""
    match zero:
        case "unsigned":
            row = float32
        case "signed":
            return None
    return row.min_scale - row.mantissa - 1


def element_codes(
    bits: Tensor,
    scale: Tensor | int,
    element: Element,
    rounding: str,
    random_bits: Tensor | None,
    profile: Profile,
    zero: str,
    row: Minifloat,
) -> Tensor:
    """Codes, as int64, of patterns divided by 2**(scale - 127); ``row`` is what the values came in."""
    scale = scale if isinstance(scale, Tensor) else torch.full_like(bits, scale)
    x = decode(bits, carrier(row))
    x = x._replace(exponent=x.exponent - (scale - BIAS))
    if profile.halves == "added":
        x = _lifted_halves(x, element, rounding, row)
    if profile.exponents == "rounded" and rounding == "toward_zero" and isinstance(element, Minifloat):
        x = _coarse(x, element, row)
    codes = encode(x, element, rounding, random_bits)
    if isinstance(element, FixedPoint) and element.least < -element.largest:
        # Two's complement reaches a power of two; where that is -2**128, which is no float32, the next one is taken.
        over = scale + element.max_scale + 1 >= BIAS + float32.max_scale + 1
        codes = torch.where(over & (x.kind == NUMBER), codes.clamp(min=-element.largest), codes)
    if (least := underflow(zero, row)) is not None and not isinstance(element, Codebook):
        half = (x.exponent == least) & (x.significand[0] == HIDDEN)
        codes = torch.where((x.exponent < least) | half, 0, codes)
    return codes & ((1 << element.width) - 1)


def end_codes(element: Element) -> tuple[int, int]:
    """The codes of the least value that is written, and of the largest."""
    if isinstance(element, FixedPoint):
        return element.least & ((1 << element.width) - 1), element.largest
    if isinstance(element, Codebook):
        assert element.codes is not None
        return element.codes[0], element.codes[-1]
    return element.largest | 1 << (element.width - 1), element.largest


def _lifted_halves(x: Exact, element: Element, rounding: str, row: Minifloat) -> Exact:
    """The number next below half a unit, to which 1/2 is added: the sum, rounded to even, is a whole unit."""
    if rounding not in ("nearest_even", "nearest_away"):
        return x
    unit, ones = unit_scale(element), (1 << LIMB) - (1 << (LIMB - row.significand_bits))
    lifted = -((x.exponent == unit - 2) & (x.significand[0] == ones)).to(torch.int64)
    one = torch.full_like(x.exponent, HIDDEN)
    return x._replace(
        significand=(select(lifted, one, x.significand[0]),),
        exponent=select(lifted, torch.full_like(x.exponent, unit), x.exponent),
    )


def _coarse(x: Exact, element: Minifloat, row: Minifloat) -> Exact:
    """Numbers whose logarithm rounds up to k are truncated in the unit of 2**k: to the last multiple below 2**k."""
    table = torch.tensor(logarithm_carries(row.significand_bits), dtype=torch.int64, device=x.exponent.device)
    below = (1 << LIMB) - x.significand[0] >> (LIMB - 1 - MANTISSA)  # how far 2**k is, in units of float32
    carry = table[(x.exponent + BIAS).clamp(0, len(table) - 1)]
    up = -((below <= carry) & (x.exponent >= element.min_scale)).to(torch.int64)
    last = torch.full_like(x.exponent, (1 << LIMB) - (1 << (LIMB - element.mantissa)))
    return x._replace(significand=(select(up, last, x.significand[0]),))
