"""Decoding by table, for formats of at most 16 bits: equal to decoding and encoding to the row by ``core``."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..core.decode import decode
from ..core.round import encode
from ..formats import Minifloat, Scalar
from .chunks import elementwise

WIDTH = 16  #: bits of the widest format that is tabled
CHUNK = 1 << 17  #: elements of a piece
_CODES = {16: torch.int16, 32: torch.int32, 64: torch.int64}


def serves(bits: Tensor, fmt: Scalar) -> bool:
    """Whether a table would be shorter than the tensor, and can be used: on eager CPU tensors."""
    plain = type(bits) is Tensor and bits.device.type == "cpu" and not torch.compiler.is_compiling()
    return plain and fmt.width <= WIDTH and bits.numel() >= 1 << fmt.width


def floats(bits: Tensor, fmt: Scalar, row: Minifloat) -> Tensor:
    """Float patterns of a row for codes of the format."""
    table, mask = _table(fmt, row), (1 << fmt.width) - 1

    def kernel(codes: Tensor) -> Tensor:
        index = codes.to(torch.int32) & mask  # never in place: it may be the caller's tensor
        return table.index_select(0, index.reshape(-1)).reshape(codes.shape)

    return elementwise(kernel, bits, dtype=table.dtype, chunk=CHUNK)


@lru_cache(maxsize=32)
def _table(fmt: Scalar, row: Minifloat) -> Tensor:
    with torch.inference_mode(False):
        codes = torch.arange(1 << fmt.width, dtype=torch.int64, device="cpu")
        return encode(decode(codes, fmt), row).to(_CODES[row.width])
