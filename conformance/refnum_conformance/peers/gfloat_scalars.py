"""gfloat's functions of single numbers, a second implementation beside its functions of arrays: a target, no source."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..floats import widened
from .gfloat import ROUNDINGS, __version__, available, format_info, has

__all__ = ["__version__", "available", "has", "minifloat_decode", "minifloat_encode"]

Array = NDArray[Any]


def minifloat_encode(bits: Array, **options: Any) -> Array:
    """Codes of floats; 0 for NaN where there is no code for it."""
    from gfloat import RoundMode, encode_float, round_float

    info, rule = format_info(options), RoundMode[ROUNDINGS[options["rounding"]]]

    def code(x: float) -> int:
        if options["specials"] == "none" and math.isnan(x):
            return 0
        return encode_float(info, round_float(info, x, rule, options["overflow"] == "saturate"))

    codes = [code(x) for x in widened(bits, options["dtype"]).tolist()]
    return np.array(codes, np.uint64).view(np.int64)


def minifloat_decode(codes: Array, **options: Any) -> Array:
    """The bits of the values of codes, which ``dtype`` holds."""
    from gfloat import decode_float

    info = format_info(options)
    values = np.array([decode_float(info, code & ((1 << info.k) - 1)).fval for code in codes.tolist()], np.float64)
    if options["dtype"] == "bfloat16":
        return (values.astype(np.float32).view(np.int32) >> 16).astype(np.int64)
    result = values.astype(options["dtype"])
    return result.view(f"i{result.itemsize}").astype(np.int64)
