"""Posits of at most 32 bits as float64 values and back, without a loop over their regimes: equal to ``core``.

D1. Behind its sign, the pattern of a positive posit(n, es) is an integer M, and the bits that a longer posit would
    have go on as its fraction. To round to the nearest posit is to round M to the nearest integer, ties to even, but
    never to 0 or 2**(n-1), which are the patterns of zero and NaR.
D2. M is folded: D = min(M, 2**(n-1) - M), at most 2**(n-2), where 1 is. Zero and NaR both fold to 0. The fold goes
    from even numbers to even ones, so that D can be rounded in the place of M.
D3. Let the *line* of a positive number be e + f, where it is 2**e * (1 + f) with 0 <= f < 1. It is its logarithm, but
    straight between powers of 2, and the pattern of a float64, 2**52 times the line but for the bias.
D4. x < 1 has r zeros, a one, es bits c of exponent, and a fraction f, so that D = M = 2**(n-2-r) * (1 + (c+f)/2**es).
    Its line is -r * 2**es + c + f, which is 2**es * (line D - (n-2)).
D5. x >= 1 has r ones and a zero: D = 2**(n-2-r) * (2 - (c+f)/2**es). Its line is (r-1) * 2**es + c + f, and that is
    -2**es * (line D - (n-2)), with c + f = 0 as well, where D is a power of 2.
D6. So |line x| = 2**es * (n-2 - line D): a subtraction and a shift of float64 patterns lead from one to the other.

All numbers on the way are normal, and operations exact or stated: no setting of the machine can change a bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..formats import Format, Posit, float64

WIDTH = 32  #: bits of the widest posits
MANTISSA = float64.mantissa
ONE = 1023 << MANTISSA  #: the pattern of 1
_NAR = -(2.0**1023)  #: what `values` makes of NaR before it becomes NaN, far from all posits


class Ends(NamedTuple):
    """Codes, as int32, of the lower ends of intervals, and where those of the upper ends differ."""

    codes: Tensor
    doubtful: Tensor  #: int32: 0 where the code holds for the interval


def serves(fmt: Format) -> bool:
    """Whether there are values and codes for the format."""
    return isinstance(fmt, Posit) and 5 <= fmt.n <= WIDTH


def values(codes: Tensor, fmt: Posit) -> Tensor:
    """The float64 values of codes, of which the low n bits are read; NaR gives the quiet NaN."""
    # V1. Zeros at the end make a posit one of 32 bits. Above and below 1 are told apart by the sign of `left`.
    top = WIDTH - 2
    wide = (codes.to(torch.int32) << (WIDTH - fmt.n)).to(torch.float64)
    left = wide.abs().neg_().add_(2.0**top)
    folded = left.abs().neg_().add_(2.0**top)
    # V2. Where D = 0 has no line, one is put that gives the pattern 0, which is right for zero. NaR has the opposite
    #     line and gives -2**1023.
    folded.clamp_(min=_with_line(top - 1023 / (1 << fmt.es)))
    line = folded.view(torch.int64).sub(ONE + (top << MANTISSA)).bitwise_left_shift_(fmt.es)
    above = left.view(torch.int64) >> 63
    line.bitwise_xor_(above).sub_(above)
    return torch.threshold(line.add_(ONE).view(torch.float64).copysign(wide), _NAR, math.nan)


def codes(y: Tensor, fmt: Posit, bound: int) -> Ends:
    """Codes of numbers that are at most 2**-bound of themselves away from float64 estimates.

    Estimates are 0, which stands for itself, or normal, or infinite, which stands for numbers beyond maxpos, or NaN.
    What lies outside the range is not doubtful: it becomes the end.
    """
    # C1. Where line y is clamped, D is 1, so that neither end becomes 0.
    top = fmt.n - 2
    magnitude = y.abs().clamp_(2.0**-fmt.max_scale, 2.0**fmt.max_scale)
    right = magnitude - 1
    away = (magnitude.view(torch.int64) - ONE).abs_().bitwise_right_shift_(fmt.es)
    folded = away.neg_().add_(ONE + (top << MANTISSA)).view(torch.float64)
    # C2. The ends of an interval round to one code, or something in it is doubtful.
    spread = _spread(fmt, bound)
    high, low = folded.mul(1 + spread).round_(), folded.mul(1 - spread).round_()
    doubtful = high.sub_(low).to(torch.int32)
    # C3. Unfolded, and signed; 0 is a sign as well. NaN is less than all.
    size = low.neg_().add_(2.0**top).copysign_(right).add_(2.0**top)
    sign = (y * 2.0**1022).clamp_(-1, 1)
    nar = torch.full((), fmt.nar, dtype=torch.float64, device=y.device)
    return Ends(size.mul_(sign).fmax(nar).to(torch.int32), doubtful)


def _spread(fmt: Posit, bound: int) -> float:
    """How far, in parts of itself, D may be from the one of an estimate.

    S1. A number lies less than d = 2**(53 - bound) + 1 units of the last place from its estimate: so far are their
        lines apart, in units of 2**-52.
    S2. For D these are d / 2**es units, and less than 1 that the shift drops.
    S3. So many units, s, move D by a factor of at most exp(s * 2**-52), for where D is at least 2**q, a unit is
        2**(q - 52). Less than 1 unit more makes up for the rounding of the product, and for exp.
    """
    units = (1 << (MANTISSA + 1 - bound)) + 1
    return (-(-units >> fmt.es) + 2) * 2.0**-MANTISSA


def _with_line(line: float) -> float:
    whole = math.floor(line)
    return 2.0**whole * (1 + line - whole)
