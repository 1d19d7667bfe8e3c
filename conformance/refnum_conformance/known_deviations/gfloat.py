"""Roundings of gfloat 0.5.2, which has two implementations: `round_float` for a number, `round_ndarray` for arrays.

Neither stays within E8M0, a format without sign, zero and subnormals, though both promise a value of the format.
"""

from __future__ import annotations

from ..oracles.minifloat import Row
from .pins import Pin

_RULE = "its own documentation: the nearest value of the format, ties as the mode says"
_OVERFLOWS = "round_ndarray computes in the dtype that comes in: in float16 the significand, or the result, overflows"
_CREEPS = "round_float, TiesToAway: delta + 0.5 is rounded, and 1/2 - 2^-54 + 1/2 is 1"

BINARY32, BFLOAT16 = Row(8, 23, 127, "ieee", "inf"), Row(8, 7, 127, "ieee", "inf")
E2M1, E4M3 = Row(2, 1, 1, "none"), Row(4, 3, 7, "fn")

_BELOW_ONE = 1 - 2**-53

# target, why, format, dtype, rounding, value, got, right
_ROWS = (
    ("gfloat", _OVERFLOWS, BINARY32, "float16", "nearest_even", 1.0, 0x7F800000, 0x3F800000),
    ("gfloat", _OVERFLOWS, BINARY32, "float16", "toward_zero", -1.0, 0xFF7FFFFF, 0xBF800000),
    ("gfloat", _OVERFLOWS, BFLOAT16, "float16", "nearest_even", 65504.0, 0x7F80, 0x4780),
    ("gfloat_scalars", _CREEPS, E2M1, "float64", "nearest_away", 0.25 * _BELOW_ONE, 0x1, 0x0),
    ("gfloat_scalars", _CREEPS, E4M3, "float64", "nearest_away", -(2**-10) * _BELOW_ONE, 0x81, 0x80),
    ("gfloat_scalars", _CREEPS, BINARY32, "float64", "nearest_away", 2**-150 * _BELOW_ONE, 0x1, 0x0),
)

PINS = tuple(
    Pin(target, why, _RULE, "minifloat_encode", {**fmt._asdict(), "dtype": dtype, "rounding": rounding}, *rest)
    for target, why, fmt, dtype, rounding, *rest in _ROWS
)

#: numbers, and what both round them to in E8M0 (``format_info_ocp_e8m0``), whose values are 2^-127 to 2^127
OUTSIDE_E8M0 = ((-1.0, -1.0), (-3.0, -4.0), (0.0, 0.0), (2**-140, 2**-140), (1.25 * 2**-128, 2**-128))
