"""Decoding by table, for formats of at most 16 bits: equal to decoding and encoding to the row by ``core``."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..core.constants import constant
from ..core.decode import decode
from ..core.round import encode
from ..formats import Minifloat, Scalar
from .chunks import elementwise, looked_up

WIDTH = 16  #: bits of the widest format that is tabled
CHUNK = 1 << 17  #: elements of a piece
_CODES = {16: torch.int16, 32: torch.int32, 64: torch.int64}


def serves(bits: Tensor, fmt: Scalar) -> bool:
    """Whether a table can be used, on CPU tensors, and would be shorter than the tensor, or is a constant."""
    if bits.device.type != "cpu" or fmt.width > WIDTH:
        return False
    return torch.compiler.is_compiling() or (type(bits) is Tensor and bits.numel() >= 1 << fmt.width)


def floats(bits: Tensor, fmt: Scalar, row: Minifloat) -> Tensor:
    """Float patterns of a row for codes of the format."""
    table, mask = patterns(fmt, row), (1 << fmt.width) - 1

    def kernel(codes: Tensor) -> Tensor:
        return looked_up(table, codes.to(torch.int32) & mask)  # never in place: it may be the caller's tensor

    return elementwise(kernel, bits, dtype=table.dtype, chunk=CHUNK)


@constant
def patterns(fmt: Scalar, row: Minifloat) -> Tensor:
    """Float patterns of all codes; a constant of compiled code."""
    return _patterns(fmt, row)


@lru_cache(maxsize=32)
def _patterns(fmt: Scalar, row: Minifloat) -> Tensor:
    with torch.inference_mode(False):
        codes = torch.arange(1 << fmt.width, dtype=torch.int64, device="cpu")
        return encode(decode(codes, fmt), row).to(_CODES[row.width])
