"""Rounding by table, for floats of at most 32 bits: equal to what ``core.round`` makes of what ``core.decode`` reads.

For a float of 16 bits the table has every pattern. For a float32 it has every upper half, the last bit of which is
sticky: that is the float rounded to odd to a bfloat16. It decides all but stochastic roundings to a format of few bits:

H1. Such a rounding is a step function. Its steps lie at values of the format and between two of them, where one bit
    more would put a value.
H2. Let all steps be bfloat16s with an even last bit: they then have 7 significant bits, and are multiples of 2**-132.
H3. A float that is no bfloat16 lies between two of them, and becomes the odd one. So it crosses no step and meets none.
    NaN stays NaN, for its upper half is that of Inf at least, and odd if the payload is in the lower half alone.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..core.constants import constant
from ..core.decode import decode
from ..core.round import encode, rounded_floats
from ..formats import Codebook, Logarithmic, Minifloat, Posit, Scalar, bfloat16, unit_scale
from .chunks import elementwise, looked_up, reinterpret

LEAST = 1 << 12  #: elements from which on a table, made once, is soon worth while
CHUNK = 1 << 17  #: elements of a piece
_INTEGER = {16: torch.int16, 32: torch.int32}
_EVEN = bfloat16.min_scale - bfloat16.mantissa + 1  #: log2 of the least bfloat16 with an even last bit


def serves(x: Tensor, fmt: Scalar, rounding: str) -> bool:
    """Whether a table can be used, on CPU tensors, and is worth while."""
    if x.device.type != "cpu" or rounding == "stochastic":
        return False
    if torch.compiler.is_compiling():  # where arithmetic is as fast for float32, except for posits
        return x.dtype.itemsize == 2 or (x.dtype == torch.float32 and isinstance(fmt, Posit) and decided(fmt))
    plain = type(x) is Tensor and x.numel() >= LEAST
    return plain and (x.dtype.itemsize == 2 or (x.dtype == torch.float32 and decided(fmt)))


def decided(fmt: Scalar) -> bool:
    """Whether all steps of roundings to the format are bfloat16s with an even last bit."""
    # The steps are values with one bit more: a posit of n + 1 bits, a float with a longer mantissa, a finer unit. Those
    # of logarithms and of codebooks lie anywhere, and what wraps has steps without end.
    if isinstance(fmt, (Logarithmic, Codebook)) or getattr(fmt, "overflow", None) == "wrap":
        return False
    least = -fmt.max_scale - (1 << fmt.es) if isinstance(fmt, Posit) else unit_scale(fmt) - 1
    return fmt.significand_bits + 1 < bfloat16.significand_bits and least >= _EVEN


def codes(x: Tensor, row: Minifloat, fmt: Scalar, rounding: str, dtype: torch.dtype) -> Tensor:
    """Codes of values of a row, in an integer dtype that holds them."""
    return _looked_up(x, row, code_table(fmt, row, rounding, dtype))


def floats(x: Tensor, row: Minifloat, fmt: Scalar, rounding: str) -> Tensor:
    """Values of a row rounded to the format, in the dtype they came in, which holds them."""
    return reinterpret(_looked_up(x, row, float_table(fmt, row, rounding)), x.dtype)


def upper_half(bits: Tensor, out: Tensor | None = None) -> Tensor:
    """The upper half of each int32, its lowest bit sticky: the lower half carries into it unless it is 0."""
    low = torch.bitwise_and(bits, 0xFFFF, out=out)
    return low.add_(0xFFFF).bitwise_or_(bits).bitwise_right_shift_(16).bitwise_and_(0xFFFF)


def _looked_up(x: Tensor, row: Minifloat, table: Tensor) -> Tensor:
    def kernel(bits: Tensor) -> Tensor:
        index = upper_half(bits) if row.width == 32 else bits.to(torch.int32).bitwise_and_(0xFFFF)
        return looked_up(table, index)

    return elementwise(kernel, reinterpret(x, _INTEGER[row.width]), dtype=table.dtype, chunk=CHUNK)


@constant
def code_table(fmt: Scalar, row: Minifloat, rounding: str, dtype: torch.dtype) -> Tensor:
    """Codes of all halves; a constant of compiled code."""
    return _codes(fmt, row, rounding, dtype)


@constant
def float_table(fmt: Scalar, row: Minifloat, rounding: str) -> Tensor:
    """Rounded patterns of all halves; a constant of compiled code."""
    return _floats(fmt, row, rounding)


@lru_cache(maxsize=32)
def _codes(fmt: Scalar, row: Minifloat, rounding: str, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return encode(decode(_halves(row), row), fmt, rounding).to(dtype)


@lru_cache(maxsize=32)
def _floats(fmt: Scalar, row: Minifloat, rounding: str) -> Tensor:
    with torch.inference_mode(False):
        return rounded_floats(_halves(row), row, fmt, rounding).to(_INTEGER[row.width])


def _halves(row: Minifloat) -> Tensor:
    """The patterns of a row that have 16 bits, followed by zeros."""
    return torch.arange(1 << 16, dtype=torch.int64, device="cpu") << (row.width - 16)
