"""The C library in float64, rounded to posit32 by a file of our own: fast enough for all patterns there are.

A float64 value decides nearly every rounding; the others are called doubtful: those within 2**-18 last places of a tie.
The manual of glibc lists errors of at most one unit in the last place for the functions here, which is 2**-25 last
places of posit32; a C library sixty times worse would do.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import builds

Array = NDArray[Any]

_SOURCE = Path(__file__).with_name("libm_loops.c")
FUNCTIONS = ("sqrt", "r_sqrt", "exp2", "log2", "exp", "log")


@cache
def _loops() -> tuple[ctypes.CDLL | None, str]:
    """The compiled loops and who compiled them, or None and the reason."""
    return builds.load(_SOURCE, ("-ffp-contract=off", "-lm"))


def available() -> tuple[bool, str]:
    """Whether the loops run, and by whom they were compiled; else the reason."""
    loops, reason = _loops()
    return loops is not None, f"C loops by {reason}" if loops else reason


def posit32(row: str, patterns: Array) -> tuple[Array, Array]:
    """Results of a function of int32 patterns, and a mask of the doubtful ones.

    >>> if available()[0]: print(*posit32("exp2", np.array([0x40000000, 0x6B100000], np.int32)))  # of 1 and of 113
    [1207959552 2147483644] [False  True]
    """
    loops, reason = _loops()
    if loops is None:
        raise RuntimeError(f"{row} has no loop: {reason}.")
    patterns = np.ascontiguousarray(patterns, np.int32)
    results, doubtful = np.empty_like(patterns), np.empty(patterns.shape, np.bool_)
    addresses = [ctypes.c_void_p(x.ctypes.data) for x in (patterns, results, doubtful)]
    getattr(loops, f"{row}_column")(*addresses, ctypes.c_long(patterns.size))
    return results, doubtful
