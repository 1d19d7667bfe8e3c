"""Blocks of torchao 0.18.0 whose scale is the least one, 2^-127: `to_mx` divides their elements by 2^-126.

They come back as half of what they were (FLOOR, CEIL, EVEN), or as 0 (RCEIL). With FLOOR that is every block whose
largest magnitude is below 2^-124 in mxfp4, 2^-118 in mxfp8_e4m3, 2^-111 in mxfp8_e5m2. Upstream: pytorch/ao issue 1104,
open when this was written.
"""

from __future__ import annotations

from .pins import Pin, blocks

_RULE = "OCP MX 1.0, 5.1 and 6.3: v = X P, and P is V / X rounded"
_HALVED = "elements are divided by 2^-126, and the scale says 2^-127"
_LOST = "RCEIL: all elements are 0"

# why, format, scale rule, the magnitude of all elements, codes got and right, the byte of the scale being 0
_ROWS = (
    (_HALVED, "mxfp8_e4m3", "floor", 2**-120, 0x68, 0x70),
    (_HALVED, "mxfp8_e4m3", "ceil", 2**-120, 0x68, 0x70),
    (_HALVED, "mxfp8_e4m3", "even", 2**-120, 0x68, 0x70),
    (_HALVED, "mxfp8_e5m2", "floor", 1.5 * 2**-115, 0x6A, 0x6E),
    (_HALVED, "mxfp6_e2m3", "floor", 2**-126, 0x08, 0x10),
    (_HALVED, "mxfp4", "floor", 1.5 * 2**-126, 0x3, 0x5),
    (_LOST, "mxfp8_e4m3", "rceil", 2**-120, 0x00, 0x70),
    (_LOST, "mxfp4", "rceil", 1.5 * 2**-126, 0x0, 0x5),
)

PINS = tuple(
    Pin(
        "torchao_blocks",
        why,
        _RULE,
        "mx_quantize",
        {"fmt": fmt, "dtype": "float32", "profile": "ocp/v1", "rounding": "nearest_even", "scale": scale},
        32 * (value,),
        blocks(0, got),
        blocks(0, right),
    )
    for why, fmt, scale, value, got, right in _ROWS
)
