"""ml_dtypes (the package of that name) and numpy's float16: nearest even into small formats, overflow to NaN or Inf.

A source of right results where `covers` says so, and a target with all its casts: ``--refnum-target
refnum_conformance.peers.ml_dtypes``. What it gets wrong is in `known_deviations.ml_dtypes`.

Floats are int64 arrays of their bits, codes int64 arrays; a format is given by the fields of its record.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: (exponent, mantissa, bias, specials) -> the type's name, and what it does beyond the largest value
TYPES = {
    (2, 1, 1, "none"): ("float4_e2m1fn", "saturate"),
    (2, 3, 1, "none"): ("float6_e2m3fn", "saturate"),
    (3, 2, 3, "none"): ("float6_e3m2fn", "saturate"),
    (3, 4, 3, "ieee"): ("float8_e3m4", "inf"),
    (4, 3, 7, "ieee"): ("float8_e4m3", "inf"),
    (4, 3, 7, "fn"): ("float8_e4m3fn", "nan"),
    (4, 3, 8, "fnuz"): ("float8_e4m3fnuz", "nan"),
    (4, 3, 11, "fnuz"): ("float8_e4m3b11fnuz", "nan"),
    (5, 2, 15, "ieee"): ("float8_e5m2", "inf"),
    (5, 2, 16, "fnuz"): ("float8_e5m2fnuz", "nan"),
    (8, 0, 127, "fn"): ("float8_e8m0fnu", "nan"),
    (8, 7, 127, "ieee"): ("bfloat16", "inf"),
    (5, 10, 15, "ieee"): ("float16", "inf"),
}


def available() -> tuple[bool, str]:
    """Whether ml_dtypes is installed: its version, or what to do."""
    if importlib.util.find_spec("ml_dtypes") is None:
        return False, "ml_dtypes is not installed: pip install ml_dtypes"
    return True, f"ml_dtypes {importlib.metadata.version('ml_dtypes')}"


def _dtype(name: str) -> np.dtype[Any]:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, None) or name)


def _type(options: dict[str, Any]) -> tuple[str, str] | None:
    return TYPES.get((options["exponent"], options["mantissa"], options["bias"], options["specials"]))


def has(row: str, **options: Any) -> bool:
    """Whether there is such a type, and it is meant to round and to overflow so."""
    stored = _type(options)
    return stored is not None and (
        row == "minifloat_decode" or (options["rounding"] == "nearest_even" and options["overflow"] == stored[1])
    )


def covers(row: str, **options: Any) -> bool:
    """Whether there is such a type, and it rounds so."""
    if row not in ("minifloat_encode", "minifloat_decode") or _type(options) is None:
        return False
    # From float64 it rounds twice, through float32: 1.25 + 2**-50 gives 1 in e2m1, not 1.5.
    return row == "minifloat_decode" or (options["rounding"] == "nearest_even" and options["dtype"] != "float64")


def excluded(row: str, *operands: Array, **options: Any) -> Array:
    """Mask of what the type cannot tell: overflow, where it goes by another rule, and NaN without a code for it."""
    name, overflow = _type(options) or ("", "")
    if row == "minifloat_decode":
        return np.zeros(operands[0].shape, bool)
    values = _values(operands[0], options["dtype"])
    with np.errstate(invalid="ignore"):  # signalling NaNs
        without_nan = np.isnan(values) & (options["specials"] == "none")
    if overflow == options["overflow"]:
        return without_nan
    with np.errstate(over="ignore", invalid="ignore"):
        return without_nan | ~np.isfinite(values.astype(_dtype(name)).astype(np.float64))


def minifloat_encode(bits: Array, **options: Any) -> Array:
    """Codes of floats."""
    name, _ = _type(options) or ("", "")
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = _values(bits, options["dtype"]).astype(_dtype(name))
    width = 1 + options["exponent"] + options["mantissa"]
    return rounded.view(f"u{rounded.itemsize}").astype(np.int64) & ((1 << width) - 1)


def minifloat_decode(codes: Array, **options: Any) -> Array:
    """The bits of the values of codes."""
    name, _ = _type(options) or ("", "")
    stored = _dtype(name)
    width = options["signed"] + options["exponent"] + options["mantissa"]
    values = (codes & ((1 << width) - 1)).astype(f"u{stored.itemsize}").view(stored)
    with np.errstate(over="ignore", invalid="ignore"):
        result = values.astype(_dtype(options["dtype"]))
    return result.view(f"i{result.itemsize}").astype(np.int64)


def _values(bits: Array, dtype: str) -> NDArray[Any]:
    stored = _dtype(dtype)
    return bits.astype(f"i{stored.itemsize}").view(stored)


__version__ = available()[1]
