"""Floats by their bits as numpy's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def widened(bits: Array, dtype: str) -> NDArray[np.float64]:
    """The values of floats given by their bits; float64 holds all of them.

    >>> widened(np.array([0x3F80, 0x4049]), "bfloat16")
    array([1.      , 3.140625])
    """
    if dtype == "bfloat16":
        bits, dtype = bits << 16, "float32"
    size = int(dtype.removeprefix("float")) // 8
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return bits.astype(f"i{size}").view(f"f{size}").astype(np.float64)
