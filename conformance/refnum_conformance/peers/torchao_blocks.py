"""torchao's block quantizer, ``to_mx``: a target, no source.

``--refnum-target refnum_conformance.peers.torchao_blocks``. It is held against the standard's profile, ``ocp/v1``, with
each of its four rules for scales.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]

#: formats, and torchao's names of their elements
ELEMENTS = {
    "mxfp4": torch.float4_e2m1fn_x2,
    "mxfp6_e2m3": "fp6_e2m3",
    "mxfp6_e3m2": "fp6_e3m2",
    "mxfp8_e4m3": torch.float8_e4m3fn,
    "mxfp8_e5m2": torch.float8_e5m2,
}
RULES = ("floor", "ceil", "even", "rceil")


def available() -> tuple[bool, str]:
    """Whether torchao is installed: its version, or what to do."""
    if importlib.util.find_spec("torchao") is None:
        return False, "torchao is not installed: pip install torchao"
    return True, f"torchao {importlib.metadata.version('torchao')}"


def has(row: str, **options: Any) -> bool:
    """Whether it has the format and the rule, in what it rounds from."""
    return (
        (options["profile"], options["rounding"]) == ("ocp/v1", "nearest_even")
        and options["fmt"] in ELEMENTS
        and options.get("scale") in RULES
        and options["dtype"] in ("float32", "bfloat16")
    )


def mx_quantize(bits: Array, **options: Any) -> Array:
    """Codes of scales, then of elements."""
    from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx

    dtype = getattr(torch, options["dtype"])
    stored = torch.from_numpy(np.ascontiguousarray(bits)).to(getattr(torch, f"int{dtype.itemsize * 8}"))
    mode = ScaleCalculationMode[options["scale"].upper()]
    scales, found = to_mx(stored.view(dtype), ELEMENTS[options["fmt"]], bits.shape[1], scaling_mode=mode)
    codes = found.view(torch.uint8)
    if options["fmt"] == "mxfp4":  # two a byte, the even index in the low nibble
        codes = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
    return np.hstack([scales.view(torch.uint8).numpy(), codes.numpy()]).astype(np.int64)


__version__ = available()[1]
