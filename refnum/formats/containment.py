"""Which floating-point rows hold the values of a format."""

from __future__ import annotations

from .codebooks import Codebook
from .logarithms import Logarithmic
from .minifloats import Minifloat
from .posits import Posit
from .rows import Scalar


def unit_scale(fmt: Scalar) -> int:
    """log2 of the finest unit: all values are multiples of it.

    >>> from refnum.formats import Posit, e2m1
    >>> unit_scale(e2m1), unit_scale(Posit(8))
    (-1, -24)
    """
    if isinstance(fmt, Posit):  # the unit never grows towards 0: that of the least value, which it is, is the finest
        return -fmt.max_scale
    return fmt.min_scale - fmt.mantissa if isinstance(fmt, Minifloat) else fmt.unit_scale


def holds(row: Minifloat, fmt: Scalar) -> bool:
    """Whether every value of the format is a value of the floating-point row.

    >>> from refnum.formats import Posit, float32, float64, posit32
    >>> holds(float32, Posit(28)), holds(float32, posit32), holds(float64, posit32)
    (True, False, True)
    """
    return (
        fmt.significand_bits <= row.significand_bits
        and fmt.max_scale <= row.max_scale
        and unit_scale(fmt) >= row.min_scale - row.mantissa
    )


def keeps(row: Minifloat, fmt: Scalar) -> bool:
    """Whether a value of the floating-point row, rounded to the format, is always a value of the row again.

    >>> from refnum.formats import Posit, bfloat16, float16, float32, posit32
    >>> keeps(float32, posit32), keeps(float32, Posit(20, 3)), keeps(float16, bfloat16)
    (True, False, False)
    """
    # A result can leave the row only by rounding up past its largest value or down below its least one, or by being the
    # value at which the format saturates: elsewhere it is either the value itself or coarser.
    # What wraps keeps its last bit.
    least = row.min_scale - row.mantissa
    if isinstance(fmt, (Codebook, Logarithmic)):  # which may give any of their values
        return holds(row, fmt)
    if not isinstance(fmt, Posit):
        if isinstance(fmt, Minifloat) and fmt.max_value >= row.max_value:
            unit = max(fmt.min_scale, row.max_scale) - fmt.mantissa  # the step of the format at the row's largest value
            return unit <= row.max_scale - row.mantissa or fmt.max_scale == row.max_scale
        integer, exponent = fmt.largest_exact
        return integer.bit_length() <= row.significand_bits and exponent >= least
    up = fmt.max_scale <= row.max_scale or fmt.fraction_bits(row.max_scale) >= row.mantissa
    cut = max(0, -fmt.fraction_bits(least))  # exponent bits that the posits near the least value lack
    return up and (-fmt.max_scale >= least or least % (1 << cut) == 0)
