"""MPFR on columns of codes: elementary functions of formats of at most 32 bits, a microsecond each.

The loops are our own C file beside this one; MPFR's headers and shared objects are those that gmpy2 brings along. A
result comes as a double that is rounded to odd, and is rounded once more here, to codes: on the bit string for posits,
between listed neighbours for minifloats. `oracles.elementary` is the same written out, one case at a time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..oracles import elementary, minifloat
from ..oracles.elementary import Function
from ..oracles.minifloat import Row, Special
from . import builds

Array = NDArray[Any]
Options = Mapping[str, Any]

_SOURCE = Path(__file__).with_name("mpfr_loops.c")
WIDEST = 32  #: bits of posits whose values are doubles, with room to be rounded
LISTED = 16  #: bits of formats whose numbers are listed


# The loops -----------------------------------------------------------------------------------------------------------


@cache
def _loops() -> tuple[ctypes.CDLL | None, str]:
    """The compiled loops and who compiled them, or None and the reason."""
    known, reason = elementary.available()
    if not known:
        return None, reason
    import gmpy2

    package = Path(gmpy2.__file__).parent
    shared = [str(path) for path in sorted(package.parent.glob("gmpy2.libs/libmpfr*"))]
    if not shared:  # gmpy2 was built here, with the system's library
        return builds.load(_SOURCE, ("-lmpfr", "-lgmp"))
    folder = package.parent / "gmpy2.libs"
    return builds.load(_SOURCE, (f"-I{package}", *shared, f"-Wl,-rpath,{folder}"))


def available() -> tuple[bool, str]:
    """Whether the loops run, and by whom they were compiled; else the reason."""
    loops, reason = _loops()
    return loops is not None, f"{elementary.available()[1]}, C loops by {reason}" if loops else reason


def covers(options: Options) -> bool:
    """Whether the format of these options is one for columns."""
    if "n" in options:
        return bool(options["n"] <= WIDEST and options["es"] <= 4)
    return _row(options).width <= LISTED


def to_odd(name: str, *columns: Array) -> Array:
    """A function, by its name in C23, of columns of doubles, with one of integers if it takes them."""
    loops, reason = _loops()
    if loops is None:
        raise RuntimeError(f"{name} has no loop: {reason}.")
    kinds = [np.int64 if kind == "k" else np.float64 for kind in elementary.BY_NAME[name].operands]
    columns = tuple(np.ascontiguousarray(x, kind) for x, kind in zip(columns, kinds, strict=True))
    out = np.empty(columns[0].shape, np.float64)
    if any(x.shape != out.shape for x in columns):
        raise ValueError(f"{name} has columns of {', '.join(str(x.shape) for x in columns)}: make them equal.")
    addresses = [ctypes.c_void_p(x.ctypes.data) for x in (*columns, out)]
    getattr(loops, f"{name}_column")(*addresses, ctypes.c_long(out.size))
    return out


# Rows ----------------------------------------------------------------------------------------------------------------


def posits(function: Function, *operands: Array, n: int, es: int) -> Array:
    """Patterns of a function of columns of patterns, sign-extended, in the standard's order."""
    numbers = [posit_values(patterns, n, es) for patterns in operands[: function.numbers]]
    numbers, more = numbers[::-1] if function.backwards else numbers, operands[function.numbers :]
    none = np.logical_or.reduce([np.isnan(x) for x in numbers])
    if function.name in UNDEFINED:
        none |= UNDEFINED[function.name](*numbers, *more)
    return np.where(none, -(1 << (n - 1)), posit_patterns(to_odd(function.name, *numbers, *more), n, es))


def minifloats(function: Function, *operands: Array, **fields: Any) -> Array:
    """Codes of a function of columns of codes, sign-extended, in C23's order."""
    row, more = Row(**fields), operands[function.numbers :]
    numbers = [minifloat_values(codes, row) for codes in operands[: function.numbers]]
    results = to_odd(function.name, *numbers, *more)
    if function.name in INVALID:
        results[INVALID[function.name](*numbers, *more)] = np.nan
    codes = minifloat_codes(results, row)
    return codes - (codes >> (row.width - 1) << row.width)


#: where the Posit Standard has no unique value, and IEEE 754 has one
UNDEFINED = {
    "pow": lambda x, y: (x == 0) & (y <= 0),
    "atan2": lambda y, x: (x == 0) & (y == 0),
    "atan2pi": lambda y, x: (x == 0) & (y == 0),
}
INVALID = {"compoundn": lambda x, k: x < -1}  #: where IEEE 754 has no value


# Posits --------------------------------------------------------------------------------------------------------------


def posit_values(patterns: Array, n: int, es: int) -> Array:
    """The values of patterns, by their low n bits; NaR is NaN.

    >>> posit_values(np.array([0x4C, 0xC0, 0x80]), 8, 2)
    array([ 3., -1., nan])
    """
    unused, length = 64 - n, n - 1
    signed = patterns.astype(np.int64) << unused >> unused
    every = (1 << length) - 1
    body = np.abs(signed) & every
    ones = body >> (length - 1) == 1
    # frexp of an integer below 2**53 is its bit length
    run = length - np.frexp(np.where(ones, body ^ every, body).astype(np.float64))[1].astype(np.int64)
    k = np.where(ones, run - 1, -run)
    left = np.maximum(length - run - 1, 0)
    rest = body & ((1 << left) - 1)
    fraction_bits = np.maximum(left - es, 0)
    exponent = (rest >> fraction_bits) << np.maximum(es - left, 0)
    fraction = rest & ((1 << fraction_bits) - 1)
    scale = (k << es) + exponent - fraction_bits
    value = np.ldexp(((1 << fraction_bits) + fraction).astype(np.float64), scale)
    value = np.where(signed < 0, -value, value)
    return np.where(body == 0, np.where(signed < 0, np.nan, 0.0), value)


TAIL = 32  #: bits behind the regime that are kept: a posit of 32 bits has at most 29, the last stands for all others


def posit_patterns(x: Array, n: int, es: int) -> Array:
    """The patterns of doubles that were rounded to odd, or are exact; infinities and NaN are NaR.

    >>> posit_patterns(np.array([3.1, 3.125, 2.0**23, -1e-9, np.inf]), 8, 2)
    array([  76,   76,  127,   -1, -128])
    """
    farthest = (n - 2) << es
    # Beyond the ends are the ends, also on the way to 0.
    size = np.clip(np.abs(x), 2.0**-farthest, 2.0**farthest)
    bits = size.view(np.int64)
    scale, fraction = (bits >> 52) - 1023, bits & ((1 << 52) - 1)
    k, exponent = scale >> es, scale & ((1 << es) - 1)
    string = exponent << 52 | fraction
    lost = es + 52 - TAIL
    tail = string >> lost | ((string & ((1 << lost) - 1)) != 0)
    regime_bits = np.where(k >= 0, k + 2, 1 - k)
    regime = np.where(k >= 0, (1 << np.maximum(k + 2, 0)) - 2, 1)
    whole = regime.astype(np.uint64) << np.uint64(TAIL) | tail.astype(np.uint64)
    drop = (regime_bits + TAIL - (n - 1)).astype(np.uint64)
    one = np.uint64(1)
    kept, rest, half = whole >> drop, whole & ((one << drop) - one), one << (drop - one)
    up = (rest > half) | ((rest == half) & (kept & one == one))
    pattern = (kept + up).astype(np.int64)
    signed = np.where(np.signbit(x), -pattern, pattern)
    return np.where(np.isfinite(x), np.where(x == 0, 0, signed), -(1 << (n - 1)))


# Minifloats ----------------------------------------------------------------------------------------------------------


def _row(options: Options) -> Row:
    return Row(*(options[name] for name in Row._fields))


@cache
def _numbers(row: Row) -> Array:
    """The values of all codes."""
    return np.array([_double(*minifloat.decode(code, row)) for code in range(1 << row.width)])


def _double(negative: bool, x: Any) -> float:
    size = float(x.value) if isinstance(x, Special) else float(x.fraction())
    return -size if negative else size


@cache
def _halves(row: Row) -> Array:
    """What lies half-way between each number and the next; the last is the one after the largest."""
    numbers = np.array([float(minifloat.magnitude(code, row).fraction()) for code in range(row.largest + 2)])
    return (numbers[:-1] + numbers[1:]) / 2


def minifloat_values(codes: Array, row: Row) -> Array:
    """The values of codes, by their low bits.

    >>> minifloat_values(np.array([0x7E, 0x80, 0x7F]), Row(4, 3, 7, "fn"))
    array([448.,  -0.,  nan])
    """
    return _numbers(row)[codes & ((1 << row.width) - 1)]


def minifloat_codes(x: Array, row: Row) -> Array:
    """The codes of doubles that were rounded to odd, or are exact.

    >>> minifloat_codes(np.array([447.0, -0.0, np.nan, 464.5]), Row(4, 3, 7, "fn"))
    array([126, 128, 127, 126])
    """
    halves, size = _halves(row), np.abs(x)
    code = np.searchsorted(halves, size)  # the lower neighbour of what is half-way
    tie = halves[np.minimum(code, len(halves) - 1)] == size
    code += tie & (code % 2 == 1)
    specials = [minifloat.encode(negative, Special.INF, row) for negative in (False, True)]
    negative = np.signbit(x)
    zero = np.where(negative, minifloat.encode(True, minifloat.magnitude(0, row), row), 0)
    result = np.where(code > row.largest, np.where(negative, specials[1], specials[0]), code | negative * row.sign_bit)
    result = np.where(code == 0, zero, result)
    return np.where(np.isnan(x), minifloat.encode(False, Special.NAN, row), result)
