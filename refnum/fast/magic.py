"""Values rounded to a posit format in a few passes: equal to ``core.round.rounded_floats``.

Only nearest_even, and only where `lane` finds a floating-point row wide enough. Three forms:

- `round_bits`: integers in, integers out, no branch on values: what torch.compile fuses.
- addition of a magic number 1.5 * 2**(e + s), which leaves a multiple of 2**(e + s - mantissa): the posits near 2**e.
- a table over sign, exponent and 7 mantissa bits, the last one sticky, for posits with at most 5 fraction bits.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from ..core.round import rounded_floats
from ..formats import Minifloat, Posit, float32, float64, holds
from .chunks import elementwise, pieces

CHUNK_BYTES = 1 << 19  #: of a piece: 131,072 values in float32; up to five temporaries of that size live at once
TABLE_FRACTION = 5  #: fraction bits that a 7-bit mantissa with a sticky end decides
TABLE_SCALE = 100  #: log2 of the largest posit that a table serves
_INTEGER = {float32: torch.int32, float64: torch.int64}
_FLOAT = {float32: torch.float32, float64: torch.float64}
_CODES = {16: torch.int16, 32: torch.int32, 64: torch.int64}


def lane(fmt: Posit, row: Minifloat) -> Minifloat | None:
    """The narrower of float32 and float64 in which values of ``row`` can be rounded to the format, or None."""
    for wide in (float32, float64):
        assert wide.bias is not None
        if fmt.n > 2 and holds(wide, row) and _spare(fmt, wide) >= 1 and fmt.max_scale < wide.bias:
            return wide
    return None


def _spare(fmt: Posit, row: Minifloat) -> int:
    """How many of the row's mantissa bits the shortest regime drops."""
    return row.mantissa + 3 + fmt.es - fmt.n


def round_bits(bits: Tensor, fmt: Posit, row: Minifloat) -> Tensor:
    """The float patterns of the rounded values.

    Behind the bias, exponent and mantissa of a float are the posit's exponent and fraction, with the regime's value in
    front of them: a fixed-point logarithm. To round that at the bit where the regime lets the posit end is to round the
    posit.
    """
    assert row.bias is not None
    mantissa, top = row.mantissa, row.width - 1
    step = mantissa + fmt.es  # a regime is 2**step long
    # The last regime of either end has no bit left whose parity decides ties: that of the terminator does. It is right
    # for odd n; for even n, counting regimes from the one before makes it so.
    even = 1 - (fmt.n & 1)
    offset = (row.bias << mantissa) - (even << step)
    low = (even - (fmt.n - 2)) << step
    high = ((even + fmt.n - 2) << step) - 1
    magnitude = bits & ((1 << top) - 1)
    logarithm = (magnitude - offset).clamp(low, high)
    k = (logarithm >> step) - even
    cut = (k ^ (k >> top)) + _spare(fmt, row)
    unit = 1 << cut
    rounded = (logarithm + ((unit >> 1) - 1) + ((logarithm >> cut) & 1)) & -unit
    result = (rounded + offset) | (bits & -(1 << top))
    result = torch.where(magnitude == 0, magnitude, result)
    not_finite = ((1 << row.exponent) - 1) << mantissa
    return torch.where(magnitude >= not_finite, not_finite | (1 << (mantissa - 1)), result)


def quantize(x: Tensor, fmt: Posit, row: Minifloat, wide: Minifloat) -> Tensor:
    """Values of x, floats of ``row``, rounded to the format; ``wide`` is `lane` of the two."""
    if type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return _quantize_pieces(x, fmt, row, wide)
    if row == wide:
        bits = x.view(_INTEGER[row])
        return round_bits(bits, fmt, row).view(x.dtype)
    bits = x.view(_CODES[row.width])
    return rounded_floats(bits, row, fmt).to(bits.dtype).view(x.dtype)


def _quantize_pieces(x: Tensor, fmt: Posit, row: Minifloat, wide: Minifloat) -> Tensor:
    result = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if x.is_contiguous():
        x, out = x.view(-1), result.view(-1)
    else:
        out = result
    zeros = False  # whether the last piece had some: then the next one is likely to
    for place in pieces(x.shape, CHUNK_BYTES * 8 // wide.width):
        flat = x[place].reshape(-1)
        rounded, zeros = _round_piece(flat, fmt, row, wide, zeros)
        out[place] = rounded.view(out[place].shape)
    return result


def _round_piece(x: Tensor, fmt: Posit, row: Minifloat, wide: Minifloat, zeros: bool) -> tuple[Tensor, bool]:
    """A flat piece rounded, by the shortest of the ways that serve all of it, and whether it has zeros."""
    if row == wide:
        return _round(x, fmt, wide, zeros)
    # Conversions flush subnormals where those are flushed, and change NaNs: pieces with such values go the long way.
    bits, values = x.view(_CODES[row.width]), x.to(_FLOAT[wide])
    if _has_subnormal(bits, row) or not math.isfinite(values.sum().item()):
        by_definition = elementwise(lambda piece: rounded_floats(piece, row, fmt), bits, dtype=bits.dtype)
        return by_definition.view(x.dtype), zeros
    return _round(values, fmt, wide, zeros)


def _round(x: Tensor, fmt: Posit, row: Minifloat, zeros: bool) -> tuple[Tensor, bool]:
    bits = x.view(_INTEGER[row])
    tabled = row == float32 and fmt.max_scale <= TABLE_SCALE
    if tabled and fmt.significand_bits <= TABLE_FRACTION + 1:
        return _table(fmt).index_select(0, _table_index(bits)), zeros
    if _spare(fmt, row) >= 2:
        field = (bits >> row.mantissa).bitwise_and_((1 << row.exponent) - 1)
        if not zeros and (rounded := _by_magic(x, field, _magic_numbers(fmt, row))) is not None:
            return rounded, False
        if not _has_subnormal(bits, row):
            rounded = _by_magic(x, field, _magic_numbers(fmt, row, at_zero=1.0))
            if rounded is not None:
                return rounded, True
        if tabled:
            return _by_both(x, field, bits, fmt), False
    rounded = elementwise(lambda piece: round_bits(piece, fmt, row), bits, dtype=bits.dtype)
    return rounded.view(_FLOAT[row]), False


def _by_magic(x: Tensor, field: Tensor, numbers: Tensor) -> Tensor | None:
    """Add and subtract; None where some value has no magic number, which is a NaN."""
    magic = numbers.index_select(0, field)
    rounded = (x + magic).sub_(magic)
    return None if math.isnan(rounded.sum().item()) else rounded


def _by_both(x: Tensor, field: Tensor, bits: Tensor, fmt: Posit) -> Tensor:
    """The sum of a rounding by magic numbers that is 0 where none serves, and of one by table that is 0 elsewhere."""
    magic = _magic_numbers(fmt, float32, elsewhere=_ABSORBING, at_zero=_ABSORBING).index_select(0, field)
    reach = 2.0**TABLE_SCALE
    rounded = x.clamp(-reach, reach).add_(magic).sub_(magic).add_(_table(fmt).index_select(0, _table_index(bits)))
    if math.isnan(rounded.sum().item()):
        rounded.masked_fill_(rounded.isnan(), math.nan)  # without the payload of x
    return rounded


# ---- magic numbers -------------------------------------------------------------------------------

_ABSORBING = 1.5 * 2.0**127  #: adding it to what is at most 2**TABLE_SCALE loses all of it


@lru_cache(maxsize=64)
def _magic_numbers(fmt: Posit, row: Minifloat, elsewhere: float = math.nan, at_zero: float = math.nan) -> Tensor:
    """One for each exponent field; ``elsewhere`` where there is none, ``at_zero`` for zeros and subnormals."""
    assert row.bias is not None
    numbers = [elsewhere] * (1 << row.exponent)
    for field in range(1, len(numbers) - 1):
        scale = field - row.bias
        if (fraction := _fraction_bits(fmt, scale)) >= 1:
            # 1.5 rather than 1 keeps the sum in its binade for either sign, and its last bit the parity of the posit's.
            numbers[field] = 1.5 * 2.0 ** (scale + row.mantissa - fraction)
    numbers[0] = at_zero
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=_FLOAT[row], device="cpu")


def _fraction_bits(fmt: Posit, scale: int) -> int:
    k = scale >> fmt.es
    return fmt.n - 3 - fmt.es - (k if k >= 0 else -k - 1)


def _has_subnormal(bits: Tensor, row: Minifloat) -> bool:
    """Whether some value is subnormal, which must not become 0."""
    # Doubled, the pattern loses its sign; 1 less, 0 becomes the largest unsigned integer; half of the range less,
    # unsigned order becomes that of signed integers. So the least one tells of the least value that is not 0.
    half = 1 << (row.width - 1)
    least = torch.add(torch.tensor(half - 1, dtype=bits.dtype, device=bits.device), bits, alpha=2).amin()
    return int(least) < 2 * (1 << row.mantissa) - 1 - half


# ---- the table -----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _table(fmt: Posit) -> Tensor:
    """Rounded values for the first 16 bits of a float32; 0 where a magic number serves."""
    with torch.inference_mode(False):
        bits = torch.arange(1 << 16, dtype=torch.int64, device="cpu") << 16
        values = rounded_floats(bits, float32, fmt).to(torch.int32).view(torch.float32)
        if fmt.significand_bits > TABLE_FRACTION + 1:
            served = ~_magic_numbers(fmt, float32).isnan()
            values[served[(bits >> 23) & 255]] = 0.0
        return values


def _table_index(bits: Tensor) -> Tensor:
    """The upper half of each word, its lowest bit sticky: the lower half carries into it unless it is 0."""
    return (bits & 0xFFFF).add_(0xFFFF).bitwise_or_(bits).bitwise_right_shift_(16).bitwise_and_(0xFFFF)
