"""torch's own casts between its floats of 8, 16, 32 and 64 bits, on the CPU: a target, no source.

``--refnum-target refnum_conformance.peers.torch_casts``
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]

__version__ = torch.__version__

#: (exponent, mantissa, bias, specials) -> the dtype
DTYPES = {
    (4, 3, 7, "fn"): torch.float8_e4m3fn,
    (5, 2, 15, "ieee"): torch.float8_e5m2,
    (4, 3, 8, "fnuz"): torch.float8_e4m3fnuz,
    (5, 2, 16, "fnuz"): torch.float8_e5m2fnuz,
    (5, 10, 15, "ieee"): torch.float16,
    (8, 7, 127, "ieee"): torch.bfloat16,
    (8, 23, 127, "ieee"): torch.float32,
    (11, 52, 1023, "ieee"): torch.float64,
}


def available() -> tuple[bool, str]:
    """It is: refnum needs it."""
    return True, f"torch {torch.__version__}"


def has(row: str, **options: Any) -> bool:
    """Whether there is such a dtype, and it is meant to round and to overflow so."""
    dtype = _dtype(options)
    return dtype is not None and (
        row == "minifloat_decode" or (options["rounding"] == "nearest_even" and options["overflow"] == _overflow(dtype))
    )


def minifloat_encode(bits: Array, **options: Any) -> Array:
    """Codes of floats."""
    return _codes(_read(bits, getattr(torch, options["dtype"])).to(_dtype(options)))


def minifloat_decode(codes: Array, **options: Any) -> Array:
    """The bits of the values of codes."""
    dtype = _dtype(options)
    assert dtype is not None
    return _codes(_read(codes, dtype).to(getattr(torch, options["dtype"])))


def _dtype(options: dict[str, Any]) -> torch.dtype | None:
    return DTYPES.get((options["exponent"], options["mantissa"], options["bias"], options["specials"]))


def _overflow(dtype: torch.dtype) -> str:
    """What becomes of a number that is too large, which for e4m3fn has changed between versions."""
    largest = torch.tensor(torch.finfo(torch.float64).max, dtype=torch.float64).to(dtype).to(torch.float32)
    if dtype == torch.float64 or largest.isinf():
        return "inf"
    return "nan" if largest.isnan() else "saturate"


def _read(bits: Array, dtype: torch.dtype) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(bits)).to(getattr(torch, f"int{dtype.itemsize * 8}")).view(dtype)


def _codes(x: Tensor) -> Array:
    return np.asarray(x.view(getattr(torch, f"int{x.dtype.itemsize * 8}")).to(torch.int64))
