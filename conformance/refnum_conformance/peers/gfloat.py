"""gfloat (the package of that name): small formats given by their parameters, in all roundings but to_odd.

Floats are int64 arrays of their bits, codes int64 arrays; a format is given by the fields of its record.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..floats import widened

Array = NDArray[Any]

#: the names of its roundings; its stochastic ones are other rules
ROUNDINGS = {
    "nearest_even": "TiesToEven",
    "nearest_away": "TiesToAway",
    "toward_zero": "TowardZero",
    "toward_positive": "TowardPositive",
    "toward_negative": "TowardNegative",
}


def available() -> tuple[bool, str]:
    """Whether gfloat is installed: its version, or what to do."""
    if importlib.util.find_spec("gfloat") is None:
        return False, "gfloat is not installed: pip install gfloat"
    return True, f"gfloat {importlib.metadata.version('gfloat')}"


def _format(options: dict[str, Any]) -> Any:
    from gfloat import Domain, FormatInfo

    mantissa, specials = options["mantissa"], options["specials"]
    return FormatInfo(
        name="format",
        k=1 + options["exponent"] + mantissa,
        precision=1 + mantissa,
        bias=options["bias"],
        is_signed=True,
        domain=Domain.Extended if specials == "ieee" else Domain.Finite,
        has_nz=specials != "fnuz",
        num_high_nans={"ieee": (1 << mantissa) - 1, "fn": 1}.get(specials, 0),
        has_subnormals=True,
        is_twos_complement=False,
    )


def covers(row: str, **options: Any) -> bool:
    """Whether gfloat has such a format and rounding, and its float64 holds what it needs."""
    if row not in ("minifloat_encode", "minifloat_decode") or not options["subnormals"]:
        return False
    policy = (options["specials"], options["overflow"]) != ("ieee", "nan")  # it has no such thing
    return policy and options["mantissa"] <= 23 and (row == "minifloat_decode" or options["rounding"] in ROUNDINGS)


def excluded(row: str, *operands: Array, **options: Any) -> Array:
    """Mask of what gfloat refuses: NaN without a code for it."""
    if row == "minifloat_decode" or options["specials"] != "none":
        return np.zeros(operands[0].shape, bool)
    return np.isnan(widened(operands[0], options["dtype"]))


def minifloat_encode(bits: Array, **options: Any) -> Array:
    """Codes of floats."""
    from gfloat import RoundMode, encode_ndarray, round_ndarray

    info = _format(options)
    values = widened(bits, options["dtype"])
    if options["specials"] == "none":
        values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    rule = RoundMode[ROUNDINGS[options["rounding"]]]
    with np.errstate(over="ignore"):
        rounded = round_ndarray(info, values, rule, options["overflow"] == "saturate")
    return encode_ndarray(info, rounded).astype(np.int64)


def minifloat_decode(codes: Array, **options: Any) -> Array:
    """The bits of the values of codes."""
    from gfloat import decode_ndarray

    info = _format(options)
    values = decode_ndarray(info, codes & ((1 << info.k) - 1))
    if options["dtype"] == "bfloat16":
        return (values.astype(np.float32).view(np.int32) >> 16).astype(np.int64)
    result = values.astype(options["dtype"])
    return result.view(f"i{result.itemsize}").astype(np.int64)
