"""Exact -> Wide: the pattern before rounding, cut where the format's last bit is.

The magnitude of the unrounded pattern is an integer, the *head*, followed by the dropped bits, the *tail*. For every
format neighbouring magnitudes have neighbouring heads, so that whatever the format, to round is to add 0 or 1 to the
head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..formats import Element, FixedPoint, Format, Minifloat, Posit
from .decode import HIDDEN, LIMB, Exact, Limbs, nonzero
from .exact import MASK, dropped, narrow, select, shift_right_jam, sticky

ONE_WORD = 47  #: posits up to this width are cut from one 64-bit string, with at least 16 tail bits and a sticky one


class Wide(NamedTuple):
    """An unrounded pattern: magnitude head + tail / 2**tail_bits."""

    sign: Tensor  #: mask
    head: Tensor  #: the bits that the format keeps, not negative
    tail: Tensor  #: the bits that it drops, the lowest sticky; 2**tail_bits stands for all beyond the last code
    tail_bits: int  #: at most 62
    nonzero: Tensor  #: mask: the value is not 0
    kind: Tensor  #: as in Exact


def pack(x: Exact, fmt: Format | Element, exact_bits: int) -> Wide:
    """The unrounded pattern of x in the format; the first ``exact_bits`` <= 16 bits of the tail are not sticky."""
    match fmt:
        case Posit():
            return _pack_posit(x, fmt)
        case FixedPoint():
            # A value of 2**62 units or more gets a head of about 2**61, which is beyond every format as well.
            return pack_integer(x._replace(exponent=x.exponent + fmt.fraction))
        case Minifloat():
            return _pack_minifloat(x, fmt, exact_bits)


def _cut(x: Limbs, rest: int) -> tuple[Tensor, Tensor, int]:
    """Head, tail and the tail's bits: the first limb without its last ``rest`` bits; those, and the second limb."""
    head, tail = x[0] >> rest, x[0] & ((1 << rest) - 1)
    if len(x) == 1:
        return head, tail, rest
    return head, (tail << (LIMB - rest)) | (x[1] >> rest) | sticky(dropped(x[1], rest)), LIMB


def _pack_posit(x: Exact, fmt: Posit) -> Wide:
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
