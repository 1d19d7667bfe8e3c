"""What one pass over eager CPU tensors tells about all of their values; and how this thread computes."""

from __future__ import annotations

import math
import sys

import torch
from torch import Tensor

from ..formats import Minifloat

PIECE = 1 << 16  #: elements whose temporaries stay in the cache


def least_magnitude(bits: Tensor, row: Minifloat) -> int:
    """The least magnitude pattern that is not 0, given float patterns in their integer dtype; 0 if there is none."""
    # Doubled, a pattern loses its sign; 1 less, 0 becomes the largest unsigned integer; half of the range less,
    # unsigned order becomes that of signed integers.
    half = 1 << (row.width - 1)
    offset = torch.tensor(half - 1, dtype=bits.dtype, device=bits.device)
    flat = bits.reshape(-1)
    starts = range(0, len(flat), PIECE)
    pieces = (torch.add(offset, flat[start : start + PIECE], alpha=2) for start in starts)
    least = min((int(piece.amin()) for piece in pieces), default=half - 1)
    doubled = least + half + 1
    return 0 if doubled == 2 * half else doubled >> 1


def has_subnormal(bits: Tensor, row: Minifloat) -> bool:
    """Whether some float is subnormal."""
    return 0 < least_magnitude(bits, row) < 1 << row.mantissa


def is_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite, and no sum of them either, which can be a false alarm."""
    return math.isfinite(values.sum().item())


def flushes() -> bool:
    """Whether float32 arithmetic takes subnormal numbers for 0 in this thread."""
    least = torch.ones((), dtype=torch.int32, device="cpu").view(torch.float32)
    return not (least + least).view(torch.int32).item()


def rounds_to_nearest() -> bool:
    """Whether additions round to nearest in this thread."""
    ulp = sys.float_info.epsilon
    return 1.0 + ulp / 4 == 1.0 < 1.0 + ulp * 3 / 4
