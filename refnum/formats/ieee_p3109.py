"""Formats of IEEE P3109, of small floating-point numbers for machine learning."""

from __future__ import annotations

import sys
from functools import lru_cache

from ..errors import FormatError
from .checks import choice, flag, spelled, whole
from .codebooks import Codebook

#: (k, p, signed, extended) of the formats that are rows
LISTED = (
    *((8, 1, signed, True) for signed in (True, False)),
    *((8, p, signed, extended) for p in (3, 4) for signed in (True, False) for extended in (True, False)),
    *((8, 7, True, False), (8, 8, False, False)),
    *((3, 2, True, False), (4, 2, True, False), (6, 3, True, False), (6, 4, True, False)),
)


SATURATIONS = ("finite", "propagate", "none")


@lru_cache(maxsize=64)
def p3109(k: int, p: int, *, signed: bool = True, extended: bool = True, saturation: str = "none") -> Codebook:
    """A format of IEEE P3109: k bits, of which p are of the significand, the hidden one included.

    >>> str(p3109(8, 3)), p3109(8, 3).max_value, p3109(8, 3).specials
    ('p3109_k8p3se', 49152.0, (('-inf', 255), ('inf', 127), ('nan', 128)))
    >>> str(p3109(5, 2, signed=False))
    'p3109(5,2,signed=False)'

    There is one NaN and no -0. What is beyond the largest value by half a step or more overflows.

    Parameters
    ----------
    k, p : int
        Bits, 3 to 16; and bits of precision, from 1 to k - 1, or to k where there is no sign.
    signed, extended : bool
        Whether there are negative values, and infinities.
    saturation : str
        Where values beyond the finite ones go: "none", to Inf where the format has it and the rounding goes there, and
        to NaN below 0 where there is no sign; "finite", to the largest or the least value; "propagate", the same, but
        Inf stays.

    Raises
    ------
    FormatError
        When a parameter is out of range, or float64 cannot hold the format.

    Standard: IEEE P3109 interim report 4.0 (draft), 4.7.2 to 4.7.6.
    """
    whole("p3109", "k", k, 3, 16)
    whole("p3109", "p", p, 1, k - signed)
    flag("p3109", "signed", signed)
    flag("p3109", "extended", extended)
    choice("p3109", "saturation", saturation, SATURATIONS)
    # Y1. Codes from 0 on are values, and those from the sign on their negatives. Behind the values comes Inf, and NaN
    #     last; with a sign NaN has what were the code of -0.
    sign = 1 << (k - 1) if signed else 0
    nan = sign or (1 << k) - 1
    count, bias = nan - extended, 1 << (k - p - signed)
    if (top := (count >> p - 1) - bias) >= sys.float_info.max_exp:
        raise FormatError(
            f"p3109 has no k={k}, p={p}: what would follow its largest value is about 2**{top}. Allowed is what "
            f"float64 holds, less than 2**{sys.float_info.max_exp}. Choose more precision, or fewer bits."
        )
    *values, above = (_magnitude(code, p - 1, bias) for code in range(count + 1))
    infinities = {"inf": count, "-inf": sign | count} if signed else {"inf": count}
    # Y2. Without saturation a finite format ends where it ends, but a negative number without a sign is none.
    upper = "inf" if extended else "saturate"
    overflow: dict[str, str | tuple[str, str]] = {
        "none": (upper if signed else "nan", upper),
        "finite": "saturate",
        "propagate": "propagate",
    }
    options = {"signed": (signed, True), "extended": (extended, True), "saturation": (saturation, "none")}
    other = {name: value for name, (value, default) in options.items() if value != default}
    listed = (k, p, signed, extended) in LISTED and saturation == "none"
    return Codebook(
        (*(-value for value in reversed(values[1:] if signed else ())), *values),
        codes=(*(sign + code for code in range(count - 1, 0, -1) if signed), *range(count)),
        specials={"nan": nan} | (infinities if extended else {}),  # type: ignore[arg-type]
        overflow=overflow[saturation],
        beyond=(-above if signed else -values[1], above),
        name=p3109_name(k, p, signed, extended) if listed else spelled("p3109", k, p, **other),
    )


def p3109_name(k: int, p: int, signed: bool, extended: bool) -> str:
    """The name of a row, which is gfloat's."""
    return f"p3109_k{k}p{p}{'s' if signed else 'u'}{'e' if extended else 'f'}"


def _magnitude(code: int, fraction_bits: int, bias: int) -> float:
    """The value of a code that is not negative: a subnormal where the exponent's field is 0."""
    field, fraction = code >> fraction_bits, code & ((1 << fraction_bits) - 1)
    hidden = (field > 0) << fraction_bits
    return (hidden + fraction) * 2.0 ** (max(field, 1) - bias - fraction_bits)
