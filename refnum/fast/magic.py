"""Values rounded to a posit format in a few passes: equal to ``core.round.rounded_floats``.

Only nearest_even, and only where `lane` finds a floating-point row wide enough. Three forms:

- `round_bits`: integers in, integers out, no branch on values: what torch.compile fuses.
- addition of a magic number 1.5 * 2**(e + s), which leaves a multiple of 2**(e + s - mantissa): the posits near 2**e.
- a table over sign, exponent and 7 mantissa bits, the last one sticky, for posits with at most 5 fraction bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor

from ..core.round import rounded_floats
from ..formats import Minifloat, Posit, float32, float64, holds
from .chunks import elementwise, pieces, reinterpret
from .halves import upper_half
from .scans import has_subnormal, is_finite

CHUNK_BYTES = 1 << 19  #: of a piece: 131,072 values in float32; up to five temporaries of that size live at once
FEW = 64  #: one value out of so many may be rounded by itself
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


def round_codes(bits: Tensor, fmt: Posit, row: Minifloat) -> Tensor:
    """The codes of the rounded values, sign-extended, in integers as wide as the floats.

    A regime is a run of equal bits and another one. Its last three bits, with exponent and fraction behind them, become
    all of it by a shift that copies the first bit; what is shifted out is rounded. Nothing is longer than the ends.
    """
    assert row.bias is not None
    step, top = row.mantissa + fmt.es, row.width - 1
    magnitude, sign, end = bits & ((1 << top) - 1), bits >> top, (fmt.n - 2) << step
    logarithm = (magnitude - (row.bias << row.mantissa)).clamp(-end, end)
    k = logarithm >> step
    below = k >> top
    regime = (below & -1 << (top - 2)) ^ -1 << (top - 1)  # 110, or 001 below 1
    body = regime | (logarithm & ((1 << step) - 1)) << (top - 2 - step)
    half = (k ^ below) + (row.width - fmt.n - 1)
    up = (torch.ones_like(body) << half) - 1 + (body >> half >> 1 & 1)
    code = ((body + up >> half >> 1 & fmt.maxpos) ^ sign) - sign
    code = torch.where(magnitude == 0, 0, code)
    return torch.where(magnitude >= ((1 << row.exponent) - 1) << row.mantissa, fmt.nar, code)


def quantize(x: Tensor, fmt: Posit, row: Minifloat, wide: Minifloat) -> Tensor:
    """Values of x, floats of ``row``, rounded to the format; ``wide`` is `lane` of the two."""
    if type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling():
        return _quantize_pieces(x, fmt, row, wide)
    if row == wide:
        return reinterpret(round_bits(reinterpret(x, _INTEGER[row]), fmt, row), x.dtype)
    bits = x.view(_CODES[row.width])
    return rounded_floats(bits, row, fmt).to(bits.dtype).view(x.dtype)


def _quantize_pieces(x: Tensor, fmt: Posit, row: Minifloat, wide: Minifloat) -> Tensor:
    result = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    x, out = (x.view(-1), result.view(-1)) if x.is_contiguous() else (x, result)
    limit = min(CHUNK_BYTES * 8 // wide.width, max(1, x.numel()))
    rounder = Rounder(fmt, wide, limit)
    for place in pieces(x.shape, limit) if x.numel() > limit else [(...,)]:
        source, target = x[place].reshape(-1), out[place]
        values = source if row == wide else _widened(source, row, wide)
        if values is None:
            target.copy_(_by_definition(source, fmt, row).view(target.shape))
        elif row == wide and target.dim() == 1:
            rounder(values, target)
        else:
            target.copy_(rounder(values, torch.empty_like(values)).view(target.shape))
    return result


class Rounder:
    """Rounds flat pieces of float32 or float64 values again and again, in scratch memory of its own.

    That is allocated once: fresh memory costs more than a pass over it.
    """

    def __init__(self, fmt: Posit, row: Minifloat, limit: int) -> None:
        self._ways = _ways(fmt, row)
        self._first = 0
        self._scratch = [torch.empty(limit, dtype=_FLOAT[row], device="cpu") for _ in range(2)]

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Write the rounded values of x, at most ``limit`` of them, to ``out``."""
        scratch = [memory[: x.numel()] for memory in self._scratch]
        served = next(i for i in range(self._first, len(self._ways)) if self._ways[i](x, out, scratch))
        # Where the fastest way failed it is likely to fail next to it, too, and then worth another try.
        self._first = served if self._first == 0 else 0
        return out


def _widened(x: Tensor, row: Minifloat, wide: Minifloat) -> Tensor | None:
    """The values in a wider row; None where the conversion could flush a subnormal or change a NaN."""
    values = x.to(_FLOAT[wide])
    plain = not has_subnormal(x.view(_CODES[row.width]), row) and is_finite(values)
    return values if plain else None


def _by_definition(x: Tensor, fmt: Posit, row: Minifloat) -> Tensor:
    bits = x.view(_CODES[row.width])
    return elementwise(lambda piece: rounded_floats(piece, row, fmt), bits, dtype=bits.dtype).view(x.dtype)


# ---- ways to round a piece: each writes `out`, and says whether all of it is right ----------------

_Way = Callable[[Tensor, Tensor, Sequence[Tensor]], bool]


@lru_cache(maxsize=64)
def _ways(fmt: Posit, row: Minifloat) -> tuple[_Way, ...]:
    """Those that there are, the fastest first; the last one always serves."""
    tabled = row == float32 and fmt.max_scale <= TABLE_SCALE
    if tabled and fmt.significand_bits <= TABLE_FRACTION + 1:
        return (partial(_by_table, _table(fmt)),)
    by_integers = partial(_by_integers, fmt, row)
    if _spare(fmt, row) < 2:
        return (by_integers,)
    by_magic = partial(_by_magic, row, _magic_numbers(fmt, row))
    if not tabled:
        return by_magic, partial(_by_magic_and_integers, fmt, row, by_magic), by_integers
    absorbing = _magic_numbers(fmt, row, elsewhere=_ABSORBING, at_zero=_ABSORBING)
    return by_magic, partial(_by_magic_and_table, absorbing, _table(fmt))


def _by_magic(row: Minifloat, numbers: Tensor, x: Tensor, out: Tensor, scratch: Sequence[Tensor]) -> bool:
    # Where a value has no magic number but a NaN, the sum is a NaN.
    magic = torch.index_select(numbers, 0, _ceiling(x, row, out), out=scratch[0])
    torch.add(x, magic, out=out).sub_(magic)
    return not math.isnan(out.sum().item())


def _by_magic_and_integers(
    fmt: Posit, row: Minifloat, by_magic: _Way, x: Tensor, out: Tensor, scratch: Sequence[Tensor]
) -> bool:
    # A few values without a magic number are rounded by themselves.
    if by_magic(x, out, scratch):
        return True
    left = out.isnan()
    if int(torch.count_nonzero(left)) * FEW > len(out):
        return False
    out[left] = round_bits(x[left].view(_INTEGER[row]), fmt, row).view(x.dtype)
    return True


def _by_table(table: Tensor, x: Tensor, out: Tensor, scratch: Sequence[Tensor]) -> bool:
    index = upper_half(x.view(torch.int32), scratch[0].view(torch.int32))
    torch.index_select(table, 0, index, out=out)
    return True


def _by_magic_and_table(numbers: Tensor, table: Tensor, x: Tensor, out: Tensor, scratch: Sequence[Tensor]) -> bool:
    # The sum of a rounding by magic numbers that is 0 where none serves, and of one by table that is 0 elsewhere.
    magic = torch.index_select(numbers, 0, _ceiling(x, float32, out), out=scratch[0])
    index = upper_half(x.view(torch.int32), out.view(torch.int32))
    tabled = torch.index_select(table, 0, index, out=scratch[1])
    reach = 2.0**TABLE_SCALE
    torch.clamp(x, -reach, reach, out=out).add_(magic).sub_(magic).add_(tabled)
    if math.isnan(out.sum().item()):
        out.masked_fill_(out.isnan(), math.nan)  # without the payload of x
    return True


def _by_integers(fmt: Posit, row: Minifloat, x: Tensor, out: Tensor, scratch: Sequence[Tensor]) -> bool:
    bits = x.view(_INTEGER[row])
    rounded = elementwise(lambda piece: round_bits(piece, fmt, row), bits, dtype=bits.dtype)
    out.copy_(rounded.view(x.dtype))
    return True


# ---- magic numbers -------------------------------------------------------------------------------

_ABSORBING = 1.5 * 2.0**127  #: adding it to what is at most 2**TABLE_SCALE loses all of it


def _ceiling(x: Tensor, row: Minifloat, memory: Tensor) -> Tensor:
    """The exponent field of |x| rounded up to a power of 2, which is 0 for zeros and for some NaNs alone."""
    bits, index = x.view(_INTEGER[row]), memory.view(_INTEGER[row])
    torch.add(bits, (1 << row.mantissa) - 1, out=index)
    return index.bitwise_right_shift_(row.mantissa).bitwise_and_((1 << row.exponent) - 1)


@lru_cache(maxsize=64)
def _magic_numbers(fmt: Posit, row: Minifloat, elsewhere: float = math.nan, at_zero: float = 1.0) -> Tensor:
    """One for each `_ceiling`; ``elsewhere`` where there is none.

    That of ceiling c serves all of 2**(c - 1) < |x| <= 2**c. It rounds to multiples of the unit of the posits above
    2**(c - 1); where those have a fraction, 2**c is a posit too, and such a multiple.
    """
    assert row.bias is not None
    numbers = [elsewhere] * (1 << row.exponent)
    for ceiling in range(2, len(numbers) - 1):  # that of subnormals is 1: they must not become 0
        scale = ceiling - 1 - row.bias
        if (fraction := fmt.fraction_bits(scale)) >= 1:
            # 1.5 rather than 1 keeps the sum in its binade for either sign, and its last bit the parity of the posit's.
            numbers[ceiling] = math.ldexp(1.5, scale + row.mantissa - fraction)
    numbers[0] = at_zero
    with torch.inference_mode(False):
        return torch.tensor(numbers, dtype=_FLOAT[row], device="cpu")


# ---- the table -----------------------------------------------------------------------------------


@lru_cache(maxsize=16)
def _table(fmt: Posit) -> Tensor:
    """Rounded values for the first 16 bits of a float32; 0 where a magic number serves."""
    with torch.inference_mode(False):
        bits = torch.arange(1 << 16, dtype=torch.int64, device="cpu") << 16
        values = rounded_floats(bits, float32, fmt).to(torch.int32).view(torch.float32)
        if fmt.significand_bits > TABLE_FRACTION + 1:
            served = ~_magic_numbers(fmt, float32).isnan()
            values[served[(bits + ((1 << 23) - 1) >> 23) & 255]] = 0.0
        return values
