"""Casts that round twice, in ml_dtypes 0.6.0 and torch 2.13.0: from float64 to float32, and from there to the format.

The first rounding can end half-way between two numbers of the format, or one step below; the second then goes by a tie
that was none. Upstream: jax-ml/ml_dtypes pull request 401, open when this was written.
"""

from __future__ import annotations

from ..oracles.minifloat import Row
from .pins import Pin

_WHY = "rounds to float32 first"
_RULE = "IEEE 754-2019, 4.3 and 5.4.2: a conversion rounds the exact number once"

E2M1, E3M2, E4M3, E5M2 = Row(2, 1, 1, "none"), Row(3, 2, 3, "none"), Row(4, 3, 7, "fn"), Row(5, 2, 15, "ieee", "inf")
FLOAT16, BFLOAT16 = Row(5, 10, 15, "ieee", "inf"), Row(8, 7, 127, "ieee", "inf")
E4M3_NAN, E4M3_FNUZ = E4M3._replace(overflow="nan"), Row(4, 3, 8, "fnuz", "nan")

_JUST_ABOVE, _JUST_BELOW = 1 + 2**-50, 1 - 2**-50

# format, value, got, right: two at which a finite number becomes Inf or NaN, or the reverse, are among them
_ML_DTYPES = (
    (E2M1, 1.25 * _JUST_ABOVE, 0x2, 0x3),
    (E2M1, -1.75 * _JUST_BELOW, 0xC, 0xB),
    (E3M2, 2.25 * _JUST_ABOVE, 0x10, 0x11),
    (E4M3_NAN, 2**-10 * _JUST_ABOVE, 0x00, 0x01),
    (E4M3_NAN, 464 * _JUST_ABOVE, 0x7E, 0x7F),
    (E5M2, 61440 * _JUST_BELOW, 0x7C, 0x7B),
    (BFLOAT16, 1 + 2**-8 + 2**-40, 0x3F80, 0x3F81),
)
_TORCH = (
    (FLOAT16, 1 + 2**-11 + 2**-40, 0x3C00, 0x3C01),
    (FLOAT16, 65520 * _JUST_BELOW, 0x7C00, 0x7BFF),
    (BFLOAT16, 1 + 2**-8 + 2**-40, 0x3F80, 0x3F81),
    (E5M2, 61440 * _JUST_BELOW, 0x7C, 0x7B),
    (E4M3_FNUZ, 248 * _JUST_BELOW, 0x80, 0x7F),
)


def _pins(target: str, rows: tuple[tuple[Row, float, int, int], ...]) -> tuple[Pin, ...]:
    choices = {"dtype": "float64", "rounding": "nearest_even"}
    return tuple(
        Pin(target, _WHY, _RULE, "minifloat_encode", {**fmt._asdict(), **choices}, value, got, right)
        for fmt, value, got, right in rows
    )


PINS = _pins("ml_dtypes", _ML_DTYPES) + _pins("torch_casts", _TORCH)
