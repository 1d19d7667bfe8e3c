"""The random Hadamard transform, which spreads outliers over a group of elements before it is quantized.

Its definition is exact: the sums are rounded once.

1. A float32 is an integer of 24 bits, in units of 2**-149, moved left by up to 253 places: 9 words of 32 bits hold it,
   and one more the sums of up to 256 of them.
2. The transform of a group of 2**k is k rounds of sums and differences of pairs, which words in int64 lanes take
   without a carry. One pass of carries at the end makes them a number again.
3. The weight 1 / sqrt(2**k) is a power of two where k is even.

The same rounds in float64 are exact where all values are multiples of a unit and all sums are below 2**53 units.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, check_floats
from ..core.decode import INFINITE, NAN, nonzero
from ..core.exact import WORD, WORD_MASK, carry_words, from_words, select
from ..core.round import encode
from ..errors import ContractError, DTypeError, ShapeError
from ..fast.conversions import converted_piece
from ..fast.scans import least_magnitude
from ..formats import Minifloat, float32, float64
from .recipes import widened
from .scales import FRACTION, INFINITY, MANTISSA
from .singles import MAGNITUDE

WORDS = 10
LEAST = float32.min_scale - MANTISSA  #: log2 of the unit of words
CHUNK = 1 << 14  #: values of a piece: their words have 1.3 MB
SIZES = (4, 16, 64, 256)


def hadamard(x: Tensor, signs: int | Tensor, *, size: int = 16) -> Tensor:
    """Multiply groups along the last axis by random signs and by a Hadamard matrix.

    Element j of a group becomes the sum over i of ``x[i] * sign[i] * (-1)**popcount(i & j) / sqrt(size)``. The
    unrounded transform keeps the length of a group, and a further one with the signs 0, then multiplied by the signs,
    is its inverse: ``hadamard(y, 0) * sign``.

    >>> hadamard(torch.tensor([8.0, 0.0, 0.0, 4.0]), 0b1000, size=4)
    tensor([2., 6., 6., 2.])

    Parameters
    ----------
    x : Tensor
        float16, bfloat16 or float32 of shape [.., n], n a multiple of ``size``.
    signs : int or Tensor
        The signs of a group: an integer whose bit i is set where sign i is -1, or ``size`` numbers of which the signs
        are read. TransformerEngine's are 0xD7E8.
    size : int
        Elements of a group: 4, 16, 64 or 256.

    Returns
    -------
    Tensor
        Of the shape and dtype of x.

    Raises
    ------
    DTypeError
        When x is not float16, bfloat16 or float32, or the signs are neither an int nor a tensor of real numbers.
    ShapeError
        When the last axis has no whole number of groups, or the signs are not as many as a group.
    ContractError
        When there is no such size, or the signs have bits beyond it.

    Exactness: correctly rounded.
    Rounding: the exact sum once, to nearest, ties to even.
    Special: a NaN in its group, or Inf of both signs in a sum, gives NaN; a sum that is 0 is +0; subnormals are kept.
    Standard: none; TransformerEngine's recipe for NVFP4 has it, with size 16, before columns are quantized.
    Cost: O(numel log size) time, some 100 integer operations a value and ten times that where exponents differ widely;
        result + 5 MB.
    """
    row = _check(x, size)
    flips = _flips(signs, size, x.device)
    groups = x.detach().resolve_neg().reshape(-1, size)
    if type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling():
        result = torch.empty_like(groups, memory_format=torch.contiguous_format)
        step = CHUNK // size
        for start in range(0, len(groups), step):
            piece = slice(start, start + step)
            result[piece] = _transformed(groups[piece], flips, row)
        return result.view(x.shape)
    return _rounded(_exact(widened(groups), flips, row), x.dtype).view(x.shape)


# ---- checks --------------------------------------------------------------------------------------


def _check(x: Tensor, size: int) -> Minifloat:
    check_floats("mx.hadamard", "x", x)
    if x.dtype == torch.float64:
        raise DTypeError(
            "mx.hadamard cannot read float64: it serves NVFP4, whose scales are quotients in float32. Allowed are "
            "float16, bfloat16 and float32. Convert x, which rounds it."
        )
    if size not in SIZES:
        raise ContractError(f"mx.hadamard has no size={size!r}. Choose one of {', '.join(map(str, SIZES))}.")
    if not x.dim() or x.shape[-1] % size:
        raise ShapeError(
            f"mx.hadamard needs whole groups of {size} along the last axis, got shape {tuple(x.shape)}. Pad it with "
            "zeros, or choose another size."
        )
    return FLOAT_ROWS[x.dtype]


def _flips(signs: int | Tensor, size: int, device: torch.device) -> Tensor:
    """Masks of the signs that are -1."""
    if isinstance(signs, Tensor) and not signs.dtype.is_complex:
        if signs.shape != (size,):
            raise ShapeError(
                f"mx.hadamard needs {size} signs, got shape {tuple(signs.shape)}. Pass as many as a group has elements."
            )
        return -(signs < 0).to(device, torch.int64)
    if isinstance(signs, bool) or not isinstance(signs, int):
        got = signs.dtype if isinstance(signs, Tensor) else type(signs).__name__
        raise DTypeError(
            f"mx.hadamard needs an int or a tensor of real numbers for signs, got {got}. Pass 0 for no signs."
        )
    if signs < 0 or signs >> size:
        raise ContractError(
            f"mx.hadamard has no signs={signs:#x} for groups of {size}: bit i stands for element i. Choose from 0 to "
            f"{(1 << size) - 1:#x}."
        )
    return torch.tensor([-(signs >> i & 1) for i in range(size)], device=device)


# ---- the definition ------------------------------------------------------------------------------


def _exact(bits: Tensor, flips: Tensor, row: Minifloat) -> Tensor:
    """Patterns of the row, as int64, of transformed float32 patterns [groups, size]."""
    bits = bits.to(torch.int64)
    magnitude, sign = bits & MAGNITUDE, (bits >> 31) ^ flips
    special = magnitude >= INFINITY
    words = _rounds(_signed(torch.where(special, 0, _words(magnitude)), sign))
    carry_words(words)
    # Of infinite terms one sign wins where their signed count is their count.
    infinite = (magnitude == INFINITY).to(torch.int64)
    count, total = infinite.sum(1, keepdim=True), _rounds(_signed(infinite, sign))
    nan = (magnitude > INFINITY).any(1, keepdim=True) | (total.abs() != count)
    kind = torch.where(nan, NAN, (count > 0).to(torch.int64) * INFINITE)
    half = (bits.shape[1].bit_length() - 1) // 2
    result = from_words(words, LEAST - half, kind)
    return encode(result._replace(sign=select(nonzero(kind), total >> 63, result.sign)), row)


def _words(magnitude: Tensor) -> Tensor:
    """Words [10, ..] of magnitudes of numbers."""
    field = magnitude >> MANTISSA
    integer = (magnitude & FRACTION) | (field.clamp(max=1) << MANTISSA)
    place = field.clamp(min=1) - 1
    words = []
    for word in range(WORDS):
        up = place - WORD * word
        inside = integer << up.clamp(0, WORD) >> (-up).clamp(0, WORD)
        words.append(torch.where(up < WORD, inside & WORD_MASK, 0))
    return torch.stack(words)


def _signed(x: Tensor, sign: Tensor) -> Tensor:
    return (x ^ sign) - sign


def _rounds(x: Tensor) -> Tensor:
    """The transform of the last axis without its weight."""
    shape, size = x.shape, x.shape[-1]
    half = 1
    while half < size:
        first, second = x.reshape(*shape[:-1], -1, 2, half).unbind(-2)
        x = torch.stack([first + second, first - second], dim=-2)
        half *= 2
    return x.reshape(shape)


def _rounded(patterns: Tensor, dtype: torch.dtype) -> Tensor:
    return patterns.to(SIGNED[8 * dtype.itemsize]).view(dtype)


# ---- the same, sooner ----------------------------------------------------------------------------


def _transformed(x: Tensor, flips: Tensor, row: Minifloat) -> Tensor:
    bits = widened(x)
    if not _narrow(bits, x.shape[1], row):
        return _rounded(_exact(bits, flips, row), x.dtype)
    weight = x.shape[1] ** -0.5
    sums = _rounds(converted_piece(x, torch.float64) * ((1 + 2 * flips) * weight))
    return converted_piece(sums + 0.0, x.dtype)


def _narrow(bits: Tensor, size: int, row: Minifloat) -> bool:
    """Whether all sums are exact in float64."""
    largest = int((bits & MAGNITUDE).amax()) >> MANTISSA
    least = max(1, least_magnitude(bits, float32) >> MANTISSA)
    spread = largest - least + row.significand_bits + size.bit_length() - 1
    return largest < INFINITY >> MANTISSA and spread <= float64.significand_bits
