"""MXInt8 as mase-cuda packs it (formats-search-rtl.md 2.8): one group at a time, on integers.

Floats are bfloat16 by their bits; a scale is the biased exponent of a group's largest, 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import minifloat
from .lab import rounded
from .minifloat import FLOATS, Special
from .reals import Dyadic

BFLOAT16 = FLOATS["bfloat16"]


def bfloat16(bits: int) -> int:
    """A float32 rounded to bfloat16; what lies below 2**-126 becomes 0.

    >>> hex(bfloat16(0x3F808000)), hex(bfloat16(0x807FFFFF))
    ('0x3f80', '0x8080')
    """
    code = minifloat.encode(*minifloat.decode(bits, FLOATS["float32"]), BFLOAT16)
    return code if code >> 7 & 0xFF else code & BFLOAT16.sign_bit


def pack(group: Sequence[int]) -> tuple[list[int], int]:
    """Mantissas and the scale of finite float32s."""
    found = [bfloat16(bits) for bits in group]
    scale = max(code >> 7 & 0xFF for code in found)
    return [_mantissa(code, scale) for code in found], scale


def _mantissa(code: int, scale: int) -> int:
    negative, a = minifloat.decode(code, BFLOAT16)
    assert isinstance(a, Dyadic)
    q = min(rounded(a, 133 - scale, negative, "nearest_even", 0), 127)
    return -q if negative else q


def unpack(q: int, scale: int) -> int:
    """The bfloat16 nearest to q * 2**(scale - 133); NaN of the scale 255."""
    if scale == 255:
        return minifloat.encode(False, Special.NAN, BFLOAT16)
    return minifloat.encode(q < 0, Dyadic(abs(q), scale - 133), BFLOAT16)


def kernel(q: int, scale: int) -> int:
    """What the kernel makes of bits: it takes the leading one away by a subtraction where there is none."""
    sign = (q < 0) << 15
    whole, one = (sign | scale << 7 | m << 1 for m in (abs(q) & 63, 0))
    return whole if abs(q) & 64 else difference(whole, one)


def difference(a: int, b: int) -> int:
    """a - b of bfloat16s, rounded to one; subnormals are numbers."""
    (minus_a, x), (minus_b, y) = (minifloat.decode(code, BFLOAT16) for code in (a, b))
    if Special.NAN in (x, y) or (x is y is Special.INF and minus_a == minus_b):
        return minifloat.encode(False, Special.NAN, BFLOAT16)
    if isinstance(x, Special) or isinstance(y, Special):
        return minifloat.encode(minus_a if isinstance(x, Special) else not minus_b, Special.INF, BFLOAT16)
    e = min(x.e, y.e)
    m = (-1) ** minus_a * (x.m << (x.e - e)) - (-1) ** minus_b * (y.m << (y.e - e))
    return minifloat.encode(m < 0, Dyadic(abs(m), e), BFLOAT16)
