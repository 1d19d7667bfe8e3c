"""Between codes of at most 32 bits and float64: equal to ``core.decode``, and to both ends of an interval in ``core``.

`values` reads posits, without a loop over their regimes:

V1. Behind its sign, the pattern of a positive posit(n, es) is an integer M. It is folded: D = min(M, 2**(n-1) - M), at
    most 2**(n-2), where 1 is. Zero and NaR, whose M is 2**(n-1), both fold to 0.
V2. Let the *line* of a positive number be e + f, where it is 2**e * (1 + f) with 0 <= f < 1: its logarithm, but
    straight between powers of 2. The pattern of a float64 is 2**52 times its line, but for the bias.
V3. x < 1 has r zeros, a one, es bits c of exponent and a fraction f: D = M = 2**(n-2-r) * (1 + (c+f) / 2**es). Its line
    is -r * 2**es + c + f, which is 2**es * (line D - (n-2)).
V4. x >= 1 has r ones and a zero: D = 2**(n-2-r) * (2 - (c+f) / 2**es). Its line is (r-1) * 2**es + c + f, which is
    -2**es * (line D - (n-2)); for c + f = 0 as well, where D is a power of 2.
V5. So a subtraction and a shift lead from the pattern of D to that of x.

`rounded` writes posits and floats, from estimates:

R1. Let the *place* of a number be its code in a format without end: the bits that are dropped go on as a fraction of
    the code. To round to nearest even is to round the place to an integer, ties to even (``core.pack``).
R2. Between two powers of 2 the place is a straight line: intercept + slope * y.
R3. Where the place is less than 1/2 - s from an integer, that is the code of all whose places are at most s away.

No setting of the machine can change a bit: all numbers that matter are normal, all operations exact or bounded.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..core.constants import constant
from ..core.decode import decode
from ..core.pack import pack
from ..formats import Format, Minifloat, Posit, float64

WIDTH = 32  #: bits of the widest formats
CHUNK = 1 << 15  #: elements of a piece
REACH = 1000  #: log2 of the largest numbers, and of the inverse of the least ones
MANTISSA = float64.mantissa
FIELDS = 1 << float64.exponent
ONE = 1023 << MANTISSA  #: the pattern of 1
_SIGN = -(1 << 63)
_NAR = -(2.0**1023)  #: what `values` makes of NaR before it becomes NaN, far from all posits


def reads(codes: Tensor, fmt: Posit) -> bool:
    """Whether `values` is sooner than ``core``, which compiled code fuses: on eager CPU tensors."""
    plain = type(codes) is Tensor and codes.device.type == "cpu" and not torch.compiler.is_compiling()
    return plain and fmt.n <= WIDTH


def values(codes: Tensor, fmt: Posit) -> Tensor:
    """The float64 values of codes, of which the low n <= 32 bits are read; NaR gives the quiet NaN."""
    # Zeros at the end make a posit one of 32 bits. `left` is negative where the number is beyond 1; for NaR, which has
    # no magnitude, it wraps around to what it should be.
    one = 1 << (WIDTH - 2)
    wide = codes.to(torch.int32)
    if fmt.n < WIDTH:
        wide = wide << (WIDTH - fmt.n)
    left = wide.abs().neg_().add_(one)
    folded = left.abs().neg_().add_(one).to(torch.float64)
    # Where D = 0 has no line, one is put that gives the pattern 0, which is right for zero. NaR has the opposite line
    # and gives -2**1023.
    folded.clamp_(min=_with_line(WIDTH - 2 - 1023 / (1 << fmt.es)))
    line = (folded.view(torch.int64) - (ONE + ((WIDTH - 2) << MANTISSA))).bitwise_left_shift_(fmt.es)
    beyond = left.bitwise_right_shift_(31).to(torch.int64)
    line.bitwise_xor_(beyond).sub_(beyond).add_(ONE)
    line.bitwise_or_(wide.to(torch.int64).bitwise_and_(_SIGN))
    return torch.threshold_(line.view(torch.float64), _NAR, math.nan)


def _with_line(line: float) -> float:
    whole = math.floor(line)
    return 2.0**whole * (1 + line - whole)


# ---- rounding ------------------------------------------------------------------------------------


def serves(fmt: Format) -> bool:
    """Whether `rounded` writes the format: posits, and floats that overflow to the code behind the largest."""
    if fmt.width > WIDTH or fmt.max_scale > REACH:
        return False
    if isinstance(fmt, Posit):
        return True
    return fmt.overflow == "inf" and fmt.signed and fmt.subnormals and fmt.mantissa - fmt.min_scale < REACH


def rounded(y: Tensor, fmt: Posit | Minifloat) -> tuple[Tensor, Tensor]:
    """Codes of float64 values, sign-extended in int32, and how far from them the places are.

    Infinities give the largest posits, or infinities; NaN gives NaR, or the NaN that is written; 0 is zero. Subnormal
    values count as 0.
    """
    binade = (y.view(torch.int64) >> MANTISSA).bitwise_and_(2 * FIELDS - 1).reshape(-1)
    both = lines(fmt, str(y.device)) if type(y) is Tensor else _drawn(fmt, str(y.device))  # fake tensors take fake ones
    intercept, slope = (each.index_select(0, binade).view(y.shape) for each in both)
    if isinstance(fmt, Posit):
        nan, most, least = fmt.nar, fmt.maxpos, -fmt.maxpos
    else:
        assert fmt.nan is not None
        assert fmt.infinity is not None
        nan, most, least = fmt.nan, fmt.infinity, fmt.infinity - (1 << (fmt.width - 1))
    place = slope.mul_(y).add_(intercept).nan_to_num_(nan, most, least)
    code = place.round()
    return code.to(torch.int32), place.sub_(code).abs_()


def nearness(fmt: Posit | Minifloat, bound: int) -> float:
    """How far from an integer a place is at most where all numbers within 2**-bound of themselves have one code.

    N1. Such numbers lie at most 2**(53 - bound) units of the last place from their estimate. One unit, 2**(e - 52) if e
        is the exponent, moves the place by at most 2**(m - 52), where the longest fraction has m bits.
    N2. The place of the estimate, which is below 2**(width - 1), is rounded, by 2**(width - 2 - 53) at most. Twice that
        is taken.
    """
    fraction = fmt.mantissa if isinstance(fmt, Minifloat) else fmt.n - 3 - fmt.es
    return 0.5 - 2.0 ** (fraction + 1 - bound) - 2.0 ** (fmt.width - 2 - MANTISSA)


@constant
def lines(fmt: Posit | Minifloat, device: str) -> tuple[Tensor, Tensor]:
    """Intercepts and slopes of the lines on which places are, for each sign and exponent field of float64."""
    return _kept(fmt, device)


@lru_cache(maxsize=64)
def _kept(fmt: Posit | Minifloat, device: str) -> tuple[Tensor, Tensor]:
    return _drawn(fmt, device)


def _drawn(fmt: Posit | Minifloat, device: str) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):
        fields = torch.arange(1, FIELDS, dtype=torch.int64, device="cpu")
        start, middle = (_places(bits, fmt) for bits in (fields << MANTISSA, (2 * fields + 1) << (MANTISSA - 1)))
        slope = (middle - start) * ((FIELDS - 1 - fields) << MANTISSA).view(torch.float64)  # times 2**(1 - e)
        zero = torch.zeros(1, dtype=torch.float64, device="cpu")
        intercept, slope = torch.cat([zero, 3 * start - 2 * middle]), torch.cat([zero, slope])
        # Negative posits have negative places, other numbers have theirs behind the sign, which counts for the least.
        if isinstance(fmt, Posit):
            intercepts, slopes = torch.stack([intercept, -intercept]), torch.stack([slope, slope])
        else:
            least = -(2.0 ** (fmt.width - 1))
            intercepts, slopes = torch.stack([intercept, least + intercept]), torch.stack([slope, -slope])
        intercepts[:, -1], slopes[:, -1] = 0, 1  # infinities and NaN stay what they are
        return intercepts.view(-1).to(device), slopes.view(-1).to(device)


def _places(bits: Tensor, fmt: Posit | Minifloat) -> Tensor:
    """Of positive float64 patterns with at most one fraction bit."""
    wide = pack(decode(bits, float64), fmt, 1)
    place = wide.head.to(torch.float64) + wide.tail.to(torch.float64) * 2.0**-wide.tail_bits
    return place.clamp(1, fmt.maxpos) if isinstance(fmt, Posit) else place
