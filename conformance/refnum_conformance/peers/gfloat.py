"""gfloat (the package of that name): small formats given by their parameters, in all roundings but to_odd.

These are its functions of arrays; `gfloat_scalars` has those of single numbers. A source of right results where
`covers` says so, and a target: ``--refnum-target refnum_conformance.peers.gfloat``. Arrays go in as what they are, but
for bfloat16, which numpy does not have.

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


def values_of(bits: Array, dtype: str) -> NDArray[Any]:
    """Floats of their own dtype, and bfloat16 as float32."""
    if dtype == "bfloat16":
        return widened(bits, dtype).astype(np.float32)
    return bits.astype(f"i{np.dtype(dtype).itemsize}").view(dtype)


def format_info(options: dict[str, Any]) -> Any:
    """A format in gfloat's terms."""
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


def has(row: str, **options: Any) -> bool:
    """Whether gfloat has such a format and rounding."""
    policy = (options["specials"], options["overflow"]) != ("ieee", "nan")  # it has no such thing
    return options["subnormals"] and policy and (row == "minifloat_decode" or options["rounding"] in ROUNDINGS)


def covers(row: str, **options: Any) -> bool:
    """Whether gfloat has it, and its floats hold what it needs."""
    if row not in ("minifloat_encode", "minifloat_decode") or not has(row, **options):
        return False
    # It computes in the dtype of what comes in, and float16 cannot hold what wider formats need.
    wider = options["dtype"] == "float16" and (options["mantissa"] > 10 or options["exponent"] > 5)
    return options["mantissa"] <= 23 and (row == "minifloat_decode" or not wider)


def excluded(row: str, *operands: Array, **options: Any) -> Array:
    """Mask of what gfloat refuses: NaN without a code for it."""
    if row == "minifloat_decode" or options["specials"] != "none":
        return np.zeros(operands[0].shape, bool)
    return np.isnan(widened(operands[0], options["dtype"]))


def minifloat_encode(bits: Array, **options: Any) -> Array:
    """Codes of floats."""
    from gfloat import RoundMode, encode_ndarray, round_ndarray

    info = format_info(options)
    values = values_of(bits, options["dtype"])
    if options["specials"] == "none":
        values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    rule = RoundMode[ROUNDINGS[options["rounding"]]]
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = round_ndarray(info, values, rule, options["overflow"] == "saturate")
    return encode_ndarray(info, rounded).astype(np.int64)


def minifloat_decode(codes: Array, **options: Any) -> Array:
    """The bits of the values of codes."""
    from gfloat import decode_ndarray

    info = format_info(options)
    values = decode_ndarray(info, codes.view(np.uint64) & np.uint64((1 << info.k) - 1))
    if options["dtype"] == "bfloat16":
        return (values.astype(np.float32).view(np.int32) >> 16).astype(np.int64)
    result = values.astype(options["dtype"])
    return result.view(f"i{result.itemsize}").astype(np.int64)


__version__ = available()[1]
