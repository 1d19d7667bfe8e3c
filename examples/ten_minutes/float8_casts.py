"""ml_dtypes' casts to two float8 formats, as a target of refnum's conformance suite: bits in, codes out."""

import ml_dtypes
import numpy as np

TYPES = {
    (4, 3, 7, "fn", "nan"): ml_dtypes.float8_e4m3fn,
    (5, 2, 15, "ieee", "inf"): ml_dtypes.float8_e5m2,
}

__version__ = ml_dtypes.__version__


def has(row, exponent, mantissa, bias, specials, overflow, rounding="nearest_even", **options):
    """Tell the suite what to ask for: two formats, one rounding."""
    return (exponent, mantissa, bias, specials, overflow) in TYPES and rounding == "nearest_even"


def minifloat_encode(bits, exponent, mantissa, bias, specials, overflow, dtype, **options):
    """Floats of ``dtype``, by their bits as integers, to the codes of a format."""
    source = np.dtype(getattr(ml_dtypes, dtype, dtype))
    values = bits.astype(f"i{source.itemsize}").view(source)
    with np.errstate(over="ignore", invalid="ignore"):
        return values.astype(TYPES[exponent, mantissa, bias, specials, overflow]).view(np.uint8)
