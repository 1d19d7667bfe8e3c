"""Exact -> Wide: the pattern before rounding, cut where the format's last bit is.

The magnitude of the unrounded pattern is an integer, the *head*, followed by the dropped bits, the *tail*. For every
format neighbouring magnitudes have neighbouring heads, so that whatever the format, to round is to add 0 or 1 to the
head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..formats import DMF, Codebook, Element, FixedPoint, Logarithmic, Minifloat, Posit, Scalar, float64
from .books import book, neighbour_bits, ordered, roots_of_two
from .decode import FAR_BELOW, HIDDEN, LIMB, Exact, Limbs, decode_minifloat, nonzero
from .exact import (
    MASK,
    add,
    dropped,
    narrow,
    negate,
    select,
    select_exact,
    shift_left,
    shift_right_jam,
    sticky,
    widen,
)

ONE_WORD = 47  #: posits up to this width are cut from one 64-bit string, with at least 16 tail bits and a sticky one


class Wide(NamedTuple):
    """An unrounded pattern: magnitude head + tail / 2**tail_bits."""

    sign: Tensor  #: mask
    head: Tensor  #: the bits that the format keeps, not negative
    tail: Tensor  #: the bits that it drops, the lowest sticky; 2**tail_bits stands for all beyond the last code
    tail_bits: int  #: at most 62
    nonzero: Tensor  #: mask: the value is not 0
    kind: Tensor  #: as in Exact


def pack(x: Exact, fmt: Scalar | Element, exact_bits: int) -> Wide:
    """The unrounded pattern of x in the format; the first ``exact_bits`` <= 16 bits of the tail are not sticky."""
    return _PACKERS[type(fmt)](x, fmt, exact_bits)


def _cut(x: Limbs, rest: int) -> tuple[Tensor, Tensor, int]:
    """Head, tail and the tail's bits: the first limb without its last ``rest`` bits; those, and the second limb."""
    head, tail = x[0] >> rest, x[0] & ((1 << rest) - 1)
    if len(x) == 1:
        return head, tail, rest
    return head, (tail << (LIMB - rest)) | (x[1] >> rest) | sticky(dropped(x[1], rest)), LIMB


def _pack_posit(x: Exact, fmt: Posit, exact_bits: int) -> Wide:
    # S1. One step outside the range is as good as any: the ends of the format are restored by the rounding.
    scale = x.exponent.clamp(-fmt.max_scale - 1, fmt.max_scale)
    k = scale >> fmt.es
    negative = k >> 63
    repeat = k ^ negative  # the regime is a pair of unlike bits, the first of them repeated so often
    # S2. The string with the shortest regime: "10" or "01", exponent bits, fraction. An arithmetic shift then repeats
    #     the first bit. The bits of "01" are those of "10" flipped, which gives 1000..0 ^ 1100..0 = 0100..0.
    regime = (negative & -(1 << 62)) ^ -(1 << 63)
    exponent = (scale & ((1 << fmt.es) - 1)) << (62 - fmt.es)
    present = nonzero(x.significand[0])
    string = _one_word if fmt.n <= ONE_WORD else _two_words
    head, tail, tail_bits = _cut(string((regime | exponent) & present, x.significand, repeat, fmt), 65 - fmt.n)
    return Wide(x.sign, head & fmt.maxpos, tail, tail_bits, present, x.kind)


def _one_word(start: Tensor, significand: Limbs, repeat: Tensor, fmt: Posit) -> Limbs:
    (limb,) = narrow(significand, 1)
    fraction = limb & (HIDDEN - 1)
    below = fmt.es - 1  # the fraction has 61 bits, the string has room for 62 - es
    if below > 0:
        fraction = (fraction >> below) | sticky(dropped(fraction, below))
    elif below < 0:
        fraction = fraction << 1
    string = start | fraction
    return ((string >> repeat) | sticky(dropped(string, repeat)),)


def _two_words(start: Tensor, significand: Limbs, repeat: Tensor, fmt: Posit) -> Limbs:
    # The string is 64 bits in `high` and 62 in `low`.
    first, second = narrow(significand, 2)
    fraction = (first & (HIDDEN - 1)) << 1 | second >> (LIMB - 1)  # 62 bits, and 61 more below
    below = second << 1 & MASK
    high = start | (fraction >> fmt.es)
    low = ((fraction << (LIMB - fmt.es)) & MASK) | (below >> fmt.es)
    lost = dropped(below, fmt.es) | dropped(low, repeat)
    low = ((high << (LIMB - repeat)) & MASK) | (low >> repeat) | sticky(lost)
    return high >> repeat, low


def _pack_minifloat(x: Exact, fmt: Minifloat, exact_bits: int) -> Wide:
    assert fmt.bias is not None
    rest = LIMB - 1 - fmt.mantissa
    # F1. Below the smallest normal value the unit stays: the significand moves down instead.
    down = (fmt.min_scale - x.exponent).clamp(min=0)
    significand = narrow(x.significand, 1 if exact_bits < rest else 2)
    head, tail, tail_bits = _cut(shift_right_jam(significand, down), rest)
    # F2. The field is added, not joined: the hidden bit counts 1, so field 1 adds 0 and a subnormal needs no case.
    field = x.exponent.clamp(min=fmt.min_scale) + (fmt.bias - 1)
    head = head + (field << fmt.mantissa)
    # F3. Beyond the largest value every rounding decides as if a full unit followed it. A field above 2**exponent - 2
    #     is beyond by itself: its head may not fit in 63 bits. The exponent of 0 says nothing.
    present = nonzero(x.significand[0])
    beyond = (((fmt.largest - head) >> 63) | (((1 << fmt.exponent) - 2 - field) >> 63)) & present
    head = select(beyond, torch.full_like(head, fmt.largest), head & present)
    tail = select(beyond, torch.full_like(tail, 1 << tail_bits), tail)
    return Wide(x.sign, head, tail, tail_bits, present, x.kind)


def pack_integer(x: Exact) -> Wide:
    """The integer part of |x| as the head, the fraction as the tail, for |x| < 2**62."""
    down = (LIMB - 1 - x.exponent).clamp(min=0)
    head, tail = shift_right_jam(narrow(x.significand, 2), down)
    return Wide(x.sign, head, tail, LIMB, nonzero(x.significand[0]), x.kind)


def _pack_fixed(x: Exact, fmt: FixedPoint, exact_bits: int) -> Wide:
    x = x._replace(exponent=x.exponent + fmt.fraction)
    # A value of 2**62 units or more gets a head of about 2**61, which is beyond every format as well.
    if fmt.overflow == "saturate":
        return pack_integer(x)
    # Of such a value wrapping needs the low bits: it moves up until the point lies behind the first limb, and what
    # leaves that limb is lost. The point never lies further down.
    up = (x.exponent - (LIMB - 1)).clamp(min=0)
    limbs = widen(x.significand, 2)
    for _ in limbs[1:]:  # whole limbs first
        whole = (LIMB - 1 - up) >> 63
        moved = (*limbs[1:], torch.zeros_like(up))
        limbs = tuple(select(whole, m, limb) for m, limb in zip(moved, limbs, strict=True))
        up = up - (whole & LIMB)
    limbs = shift_left(limbs, up.clamp(max=LIMB))
    return pack_integer(x._replace(significand=limbs))


# ---- DMF: codes that skip ------------------------------------------------------------------------


def dmf_code(rank: Tensor, fmt: DMF) -> Tensor:
    """The magnitude code that is written for a value, from its code in `DMF.normalised`."""
    field = rank >> (fmt.mantissa - 1)
    return rank + ((field - 1).clamp(min=0) << (fmt.mantissa - 1))


def dmf_rank(code: Tensor, fmt: DMF) -> Tensor:
    """The inverse, of codes that are written."""
    return code - ((code >> fmt.mantissa) << (fmt.mantissa - 1))


def dmf_largest(fmt: DMF) -> int:
    """The code in `DMF.normalised` of the largest value."""
    return ((1 << fmt.exponent) + 1 << (fmt.mantissa - 1)) - 1


# ---- logarithms ----------------------------------------------------------------------------------


def _pack_dmf(x: Exact, fmt: DMF, exact_bits: int) -> Wide:
    wide = _pack_minifloat(x, fmt.normalised, exact_bits)
    return wide._replace(head=dmf_code(wide.head, fmt))


def _pack_logarithmic(x: Exact, fmt: Logarithmic, exact_bits: int) -> Wide:
    assert fmt.bias is not None
    (limb,) = narrow(x.significand, 1)
    present, inexact = nonzero(limb), nonzero(limb ^ HIDDEN)
    # L1. Between powers of two the tail is the fraction of the logarithm.
    field = x.exponent + fmt.bias
    tail = _logarithm(x.significand, exact_bits) << 1 | (inexact & 1)
    # L2. Below the least value there is but 0, if that, and the way to it is divided evenly: half of it is the middle.
    least = int(fmt.zero_code)
    below = (field - least) >> 63 | ~present
    if fmt.zero_code:
        (near,) = shift_right_jam((limb,), (least - field).clamp(min=0))
        linear = near >> (LIMB - 1 - exact_bits) << 1 | sticky(dropped(near, LIMB - 1 - exact_bits))
        tail = select(below, linear, tail)
    else:
        tail = tail & ~below
    # L3. Heads beyond the largest value stay: the rounding cuts them to it, whether they go up or not.
    return Wide(x.sign, field & ~below, tail, exact_bits + 1, present, x.kind)


def _logarithm(x: Limbs, bits: int) -> Tensor:
    """The first bits behind the point of log2 of a significand in [1, 2): how many roots of two lie below.

    Two limbs are read: of a longer significand whose first 124 bits are those of a root, that root counts as above.
    """
    roots: tuple[Tensor, Tensor] = roots_of_two(bits)
    first, second = (table.to(x[0].device) for table in roots)
    below = torch.searchsorted(first, x[0])
    last = below.clamp(max=len(first) - 1)
    same = ~nonzero(first[last] ^ x[0])  # the next root begins as x does, which may yet be above it
    return below + (same & (second[last] - widen(x, 2)[1]) >> 63 & 1)


# ---- codebooks -----------------------------------------------------------------------------------


def _pack_codebook(x: Exact, fmt: Codebook, exact_bits: int) -> Wide:
    steps, order, codes = (table.to(x.exponent.device) for table in book(fmt)[-3:])
    kind, present = x.kind, nonzero(x.significand[0])
    # C1. Limbs hold two neighbours, the way between them and its halves, behind which x has a sticky bit and room.
    limbs = -(-(neighbour_bits(fmt) + exact_bits + 2) // LIMB)
    x = Exact(
        x.sign & present,
        _with_room(narrow(x.significand, limbs)),
        select(present, x.exponent, torch.full_like(x.exponent, FAR_BELOW)),
        torch.zeros_like(kind),
    )
    # C2. Of the two values about x the base is the one on the side of 0. Cut to a float64, x keeps its place among
    #     them, since they are float64s.
    cut = ordered(_pack_minifloat(x, float64, 1).head | (x.sign << 63)).contiguous()  # or torch warns
    upwards = torch.searchsorted(order, cut, right=True) - 1
    place = select(x.sign, torch.searchsorted(order, cut), upwards).clamp(1, len(codes))
    start, end = (decode_minifloat(steps[at], float64) for at in (place, place + 1 + (x.sign << 1)))
    # C3. The tail is how much of the way to the next value x has gone, bit by bit.
    way, gone = (add(point, negate(start), limbs) for point in (end, x))
    backwards = gone.sign ^ x.sign  # x is before the first value, or at one, where the tail is 0 by itself
    plus = torch.zeros_like(kind)
    way, gone = way._replace(sign=plus), gone._replace(sign=plus, significand=_with_room(gone.significand))
    full = ~add(gone, negate(way), limbs).sign
    tail = torch.zeros_like(place)
    for _ in range(exact_bits):
        way = way._replace(exponent=way.exponent - 1)
        left = add(gone, negate(way), limbs)
        tail, gone = tail << 1 | (~left.sign & 1), select_exact(~left.sign, left, gone)
    tail = tail << 1 | (nonzero(gone.significand[0]) & 1)
    tail = select(full, torch.full_like(tail, 1 << (exact_bits + 1)), tail) & ~backwards
    return Wide(x.sign, codes[place - 1], tail, exact_bits + 1, present, kind)


def _with_room(x: Limbs) -> Limbs:
    """The lowest bit jammed into the one above it, as an addition, which drops it, needs it."""
    return (*x[:-1], x[-1] | (x[-1] & 1) << 1)


#: by records, as `core.decode` has its own
_PACKERS: dict[type, Callable[[Exact, Any, int], Wide]] = {
    Posit: _pack_posit,
    Minifloat: _pack_minifloat,
    FixedPoint: _pack_fixed,
    DMF: _pack_dmf,
    Logarithmic: _pack_logarithmic,
    Codebook: _pack_codebook,
}
