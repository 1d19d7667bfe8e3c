"""Wide pattern -> code: the one place that defines what rounding is.

A rounding rule says whether the head goes up by 1, from the dropped tail, the head's last bit and the sign. The rules
are the same for every format; what differs is where the head was cut, and what stands at the ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..formats import DMF, Codebook, Element, FixedPoint, Logarithmic, Minifloat, Posit, Scalar
from .books import book
from .decode import INFINITE, Exact, decode, nonzero
from .exact import select, sticky
from .pack import Wide, dmf_code, dmf_largest, dmf_rank, pack

RANDOM_BITS = 16  #: how many random bits a stochastic rounding reads


def _nearest_even(w: Wide, random_bits: Tensor | None) -> Tensor:
    # R1. tail below half: no carry.  R2. above half: carry.  R3. exactly half: carry if the head is odd.
    return (w.tail + (((1 << (w.tail_bits - 1)) - 1) + (w.head & 1))) >> w.tail_bits


def _nearest_away(w: Wide, random_bits: Tensor | None) -> Tensor:
    return (w.tail + (1 << (w.tail_bits - 1))) >> w.tail_bits


def _toward_zero(w: Wide, random_bits: Tensor | None) -> Tensor:
    return torch.zeros_like(w.head)


def _toward_positive(w: Wide, random_bits: Tensor | None) -> Tensor:
    return sticky(w.tail) & ~w.sign


def _toward_negative(w: Wide, random_bits: Tensor | None) -> Tensor:
    return sticky(w.tail) & w.sign


def _to_odd(w: Wide, random_bits: Tensor | None) -> Tensor:
    return sticky(w.tail) & ~w.head


def _stochastic(w: Wide, random_bits: Tensor | None) -> Tensor:
    # Up when the first 16 bits of the tail exceed the random ones.
    assert random_bits is not None
    threshold = random_bits.to(torch.int64) & ((1 << RANDOM_BITS) - 1)
    return ((threshold - (w.tail >> (w.tail_bits - RANDOM_BITS))) >> 63) & 1


RULES: dict[str, Callable[[Wide, Tensor | None], Tensor]] = {
    "nearest_even": _nearest_even,
    "nearest_away": _nearest_away,
    "toward_zero": _toward_zero,
    "toward_positive": _toward_positive,
    "toward_negative": _toward_negative,
    "to_odd": _to_odd,
    "stochastic": _stochastic,
}


def encode(
    x: Exact, fmt: Scalar | Element, rounding: str = "nearest_even", random_bits: Tensor | None = None
) -> Tensor:
    """The code of x in the format, as int64, rounded once."""
    exact_bits = RANDOM_BITS if rounding == "stochastic" else 1
    return round_wide(pack(x, fmt, exact_bits), fmt, rounding, random_bits)


def rounded_floats(
    bits: Tensor, row: Minifloat, fmt: Scalar, rounding: str = "nearest_even", random_bits: Tensor | None = None
) -> Tensor:
    """Float patterns, as int64, of a row's values rounded to the format: there and back.

    NaN stays NaN, also where a format of other than floating-point numbers has no code for it.
    """
    x = decode(bits, row)
    value = decode(encode(x, fmt, rounding, random_bits), fmt)
    if not isinstance(fmt, (Posit, Minifloat)):
        value = value._replace(kind=value.kind | (x.kind >> 63))
    return encode(value, row)


def round_wide(
    w: Wide, fmt: Scalar | Element, rounding: str = "nearest_even", random_bits: Tensor | None = None
) -> Tensor:
    """The code, as int64, of an unrounded pattern."""
    return _FINISHERS[type(fmt)](RULES[rounding](w, random_bits), w, fmt)


def _finish_posit(up: Tensor, w: Wide, fmt: Posit) -> Tensor:
    # The ends stay: nothing goes up from maxpos to NaR, and a value that is not 0 never becomes 0.
    magnitude = w.head + torch.minimum(up, fmt.maxpos - w.head)
    magnitude = torch.maximum(magnitude, w.nonzero & 1)
    signed = (magnitude ^ w.sign) - w.sign
    nar = -(w.kind & 1)  # NaN and Inf alike
    return select(nar, torch.full_like(signed, fmt.nar), signed)


def _finish_fixed(up: Tensor, w: Wide, fmt: FixedPoint) -> Tensor:
    magnitude = w.head + up
    # What is too large, and Inf, saturates; on the negative side one later, unless the format is symmetric. NaN is 0.
    infinite, nan = -(w.kind & INFINITE), w.kind >> 63
    lower = fmt.largest + fmt.least  # how far the ends differ: -1 in two's complement, 0 if symmetric
    largest = fmt.largest - (w.sign & lower)
    over = infinite if fmt.overflow == "wrap" else ((largest - magnitude) >> 63) | infinite
    magnitude = select(over, largest, magnitude) & ~nan
    code = (magnitude ^ w.sign) - w.sign
    spare = 64 - fmt.width  # what wraps keeps its low bits; what saturates has no others
    return code << spare >> spare if fmt.signed else code & fmt.largest


def _finish_dmf(up: Tensor, w: Wide, fmt: DMF) -> Tensor:
    rank = dmf_rank(w.head, fmt) + up
    return _finish_sign_magnitude(dmf_code(rank.clamp(max=dmf_largest(fmt)), fmt), w, fmt)


def _finish_logarithmic(up: Tensor, w: Wide, fmt: Logarithmic) -> Tensor:
    return _finish_sign_magnitude((w.head + up).clamp(max=fmt.largest), w, fmt)


def _finish_sign_magnitude(magnitude: Tensor, w: Wide, fmt: DMF | Logarithmic) -> Tensor:
    # All codes are numbers: Inf is the largest, and NaN is 0.
    magnitude = select(-(w.kind & INFINITE), torch.full_like(magnitude, fmt.largest), magnitude)
    return (magnitude | (w.sign & (1 << (fmt.width - 1)))) & ~(w.kind >> 63)


def _finish_codebook(up: Tensor, w: Wide, fmt: Codebook) -> Tensor:
    places, codes = (table.to(w.head.device) for table in (book(fmt).places, book(fmt).codes))
    # B1. A step away from 0 goes down where the value is negative; Inf goes beyond the end.
    last, specials = len(codes) - 1, dict(fmt.specials)
    place = places[w.head] + ((up ^ w.sign) - w.sign)
    place = select(
        -(w.kind & INFINITE), select(w.sign, torch.full_like(place, -1), torch.full_like(place, last + 1)), place
    )
    code = codes[place.clamp(0, last)]
    # B2. Beyond the ends the overflow policy decides; an end without an Inf of its own saturates.
    beyond = place >> 63, (last - place) >> 63
    for outside, overflow, infinity in zip(beyond, fmt.overflows, ("-inf", "inf"), strict=True):
        special = infinity if overflow in ("inf", "propagate") else overflow
        if special in specials:
            only = -(w.kind & INFINITE) if overflow == "propagate" else -1
            code = select(outside & only, torch.full_like(code, specials[special]), code)
    # B3. NaN without a code is the value nearest to 0.
    nan = codes[fmt.zero] if fmt.nan is None else torch.full_like(code, fmt.nan)
    return select(w.kind >> 63, nan, code)


def _finish_minifloat(up: Tensor, w: Wide, fmt: Minifloat) -> Tensor:
    magnitude = w.head + up
    # E1. What rounded past the largest value, and Inf, follow the overflow policy. NaN, which has Inf's bit too, comes
    #     with them and is sorted out by E3.
    over = ((fmt.largest - magnitude) >> 63) | -(w.kind & INFINITE)
    nan = over if fmt.overflow == "nan" else w.kind >> 63
    end = fmt.infinity if fmt.overflow == "inf" else fmt.largest
    assert end is not None
    magnitude = select(over, torch.full_like(magnitude, end), magnitude)
    # E2. The sign, which fnuz has no place for at 0 and at its NaN.
    signed = magnitude
    if fmt.signed:
        sign = w.sign & nonzero(magnitude) if fmt.specials == "fnuz" else w.sign
        signed = magnitude | (sign & (1 << (fmt.width - 1)))
    # E3. NaN is written with its one code, or as 0 where the format has none.
    return select(nan, torch.full_like(signed, fmt.nan or 0), signed)


#: by records, as `core.decode` has its own
_FINISHERS: dict[type, Callable[[Tensor, Wide, Any], Tensor]] = {
    Posit: _finish_posit,
    Minifloat: _finish_minifloat,
    FixedPoint: _finish_fixed,
    DMF: _finish_dmf,
    Logarithmic: _finish_logarithmic,
    Codebook: _finish_codebook,
}
