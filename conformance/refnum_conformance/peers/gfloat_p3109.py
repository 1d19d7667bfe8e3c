"""gfloat's formats of IEEE P3109: its decoding, and its rounding with and without saturation, number by number.

Where it errs `covers` leaves it out: with ties away from 0 the float64 before half the least value goes up, since 1/2
is added and the sum rounded; and negative numbers in formats without a sign raise ValueError (extended formats), are
rounded downwards where that is towards 0, and -Inf becomes +Inf.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from .gfloat import ROUNDINGS, __version__, available

__all__ = ["__version__", "available", "covers", "decode", "encode", "listed"]


@lru_cache
def _info(k: int, p: int, signed: bool, extended: bool) -> Any:
    from gfloat import Domain, Signedness
    from gfloat.formats import format_info_p3109

    signedness = Signedness.Signed if signed else Signedness.Unsigned
    return format_info_p3109(k, p, signedness, Domain.Extended if extended else Domain.Finite)


def listed() -> list[tuple[int, int, bool, bool]]:
    """k, p, signed and extended of the formats that gfloat has names for."""
    from gfloat import Domain
    from gfloat.formats import sample_formats

    rows = [info for info in sample_formats if info.name.startswith("p3109")]
    return [(info.k, info.precision, info.is_signed, info.domain == Domain.Extended) for info in rows]


def decode(code: int, *fmt: Any) -> float:
    """The value of a code."""
    from gfloat import decode_float

    return float(decode_float(_info(*fmt), code).fval)


def covers(x: float, rounding: str, *fmt: Any) -> bool:
    """Whether gfloat is right about a number."""
    _, _, signed, _ = fmt
    if rounding not in ROUNDINGS or (x < 0 and not signed):
        return False
    return rounding != "nearest_away" or abs(x) != math.nextafter(decode(1, *fmt) / 2, 0)


def encode(x: float, rounding: str, saturate: bool, *fmt: Any) -> int:
    """The code of a number."""
    from gfloat import RoundMode, encode_float, round_float

    info = _info(*fmt)
    return int(encode_float(info, round_float(info, x, RoundMode[ROUNDINGS[rounding]], saturate)))
