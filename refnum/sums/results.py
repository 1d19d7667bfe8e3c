"""What sums of floats come out as: rounded once, with one NaN."""

from __future__ import annotations

import torch
from torch import Tensor

from ..codec import encode
from ..fast.conversions import INTEGER, converted
from .operands import FP8

RESULTS = (torch.float32, torch.bfloat16, torch.float16, *FP8)  #: what accumulators of float32 are rounded to


def canonical_nan(dtype: torch.dtype) -> int:
    """The pattern of the NaN that contracts write: the largest one."""
    return torch.iinfo(INTEGER[dtype]).max


def finished(sums: Tensor, dtype: torch.dtype) -> Tensor:
    """Accumulators of float32, rounded to nearest even to one of RESULTS; contiguous, perhaps their own memory.

    NaN is written as the largest pattern. Formats of 8 bits are written as `refnum.encode` does: they saturate.
    """
    if dtype in FP8:
        return encode(sums, FP8[dtype]).contiguous().view(dtype)
    nan = sums.isnan()
    result = (sums if dtype == sums.dtype else converted(sums, dtype)).contiguous()
    result.view(INTEGER[dtype]).masked_fill_(nan, canonical_nan(dtype))
    return result
