"""Recipes of quantizations, and how they are carried out on blocks: float values -> stored elements and scales.

1. The definition: patterns, scaled, are rounded by ``mx.elements``.
2. ``fast.elements`` gives the same codes sooner where it serves: by integers everywhere, by floats in eager mode.
3. In eager mode on the CPU blocks are taken in pieces that stay in the cache. Compiled code and other devices take them
   as they are, even and odd elements apart where a byte holds both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import check_choice
from ..errors import ContractError, DTypeError, FormatError
from ..fast import elements as fast
from ..fast import steps
from ..fast.chunks import reinterpret
from ..fast.scans import flushes
from ..formats import Block, Codebook, Logarithmic, Minifloat, e4m3, e8m0, float16, float32, float64
from ..formats.rows import name_of
from .blocks import stored_dtype
from .elements import element_codes, underflow
from .packing import pack4
from .profiles import Form, Profile
from .quotients import Quotient
from .scales import BIAS, INFINITY, Powers, Rule, Shared, carrier, powers, rule
from .singles import HIDDEN_BIT, MACHINE, MAGNITUDE, WAIST, Arithmetic

CHUNK = 1 << 17  #: elements of a piece: some five temporaries of 512 KiB
WIDE_CHUNK = 1 << 14  #: the same for the definition: some twenty of 128 KiB
DIVISORS = float32.max_scale - e4m3.max_scale - 1  #: log2 of the largest element in quotients, by scales of E4M3 too
EXACT = ("floor", "bound")  #: rules for E8M0 scales that are the same of numbers as of float32 patterns


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that is to be known of a quantization, but the values."""

    fmt: Block
    profile: Profile
    form: Form
    scaling: Rule | Powers | Quotient
    rounding: str
    row: Minifloat  #: the floating-point format of the values

    @property
    def serves(self) -> bool:
        """Whether `fast.elements` computes the elements."""
        exact = self.profile.halves == self.profile.exponents == "exact" and self.row is not float64
        plain = self.underflow is None and not self.scaling.infinite and not self.scaling.undefined
        served = plain or not isinstance(self.fmt.element, Logarithmic)
        return exact and served and fast.serves(self.fmt.element, self.rounding)

    def steps(self, x: Tensor) -> bool:
        """Whether `fast.steps` finds the elements, of a codebook, by float32 patterns of scaled values."""
        element = self.fmt.element
        if not isinstance(element, Codebook) or self.row == float64 or self.profile.halves != "exact":
            return False
        if not steps.serves(x, element, self.rounding):
            return False
        if isinstance(self.scaling, Quotient):
            return True
        # Over a power of two, amax is at most twice that of the largest element, or not more than it was: a float32.
        # Other values may become subnormal, or less than that.
        finite = element.max_scale < float32.max_scale and self.scaling.largest >= BIAS and not self.scaling.infinite
        return finite and steps.spares_subnormals(element, float32, self.rounding)

    @property
    def underflow(self) -> int | None:
        """log2 of the largest scaled value that counts as 0, without sign; None: signs are kept."""
        return underflow(self.form.zero, self.row)

    @property
    def pairs(self) -> bool:
        """Whether a row of a block is stored as whole bytes of two elements."""
        return self.fmt.packed == 2 and self.fmt.tile[1] % 2 == 0

    @property
    def nan(self) -> int:
        """The code of an element that is NaN."""
        return (self.fmt.element.nan if isinstance(self.fmt.element, Minifloat) else None) or 0


def recipe(
    function: str, fmt: Block, profile: Profile, scale: str | None, rounding: str | None, row: Minifloat
) -> Recipe:
    """The recipe that these choices make."""
    form = profile.form(function, fmt)
    if not fmt.by_powers and scale is not None:
        raise ContractError(
            f"{function} has no scale={scale!r} for {fmt}, whose scales are {fmt.scale}: rules are for powers of two. "
            "Leave it out."
        )
    name = scale or fmt.rule or profile.scale
    check_choice(function, "scale", name, profile.rules)
    check_half(function, profile, row)
    if row == float64:
        _check_double(function, fmt, profile, name)
    scaling = _scaling(function, name, fmt, profile, form, row)
    return Recipe(fmt, profile, form, scaling, rounding or profile.rounding, row)


def _scaling(
    function: str, name: str, fmt: Block, profile: Profile, form: Form, row: Minifloat
) -> Rule | Powers | Quotient:
    if form.formula != "rule":
        if not float32.min_scale <= fmt.element.max_scale <= DIVISORS:
            raise FormatError(
                f"{function} cannot make scales of {fmt.scale} for {fmt.element}: amax is divided by the largest "
                f"element in float32. Allowed are such from 2**{float32.min_scale} to 2**{DIVISORS}. Choose scales "
                "that are powers of two."
            )
        return Quotient(form.formula, fmt, row)
    if fmt.scale == e8m0 and row != float64:
        return rule(name, fmt.element, profile, row)
    return powers(name, fmt, carrier(row))


def check_half(function: str, profile: Profile, row: Minifloat) -> None:
    """The profile takes values of the row."""
    if row == float16 and not profile.half:
        raise DTypeError(
            f"{function} cannot read float16 in profile {profile.name}, which computes in the dtype of the values. "
            "Allowed are bfloat16 and float32. Convert the tensor."
        )


def _check_double(function: str, fmt: Block, profile: Profile, rule: str) -> None:
    """Nothing is computed in float32."""
    reason = None
    if not profile.double:
        reason = f"in profile {profile.name}, whose library computes in float32"
    elif (name := name_of(fmt)) is not None:
        reason = f"for {name}, whose specification knows float32 at most"
    elif not fmt.by_powers:
        reason = f"for {fmt}, whose scales of {fmt.scale} are quotients in float32"
    elif fmt.scale == e8m0 and rule not in EXACT:
        reason = f"for {fmt} with scale={rule!r}, which counts in units of float32; {' and '.join(EXACT)} do not"
    if reason is not None:
        raise DTypeError(
            f"{function} cannot read float64 {reason}. Allowed are float16, bfloat16 and float32. Convert x, which "
            "rounds it."
        )


# ---- blocks --------------------------------------------------------------------------------------


def blockwise(
    recipe: Recipe, level: Tensor | None, x: Tensor, random_bits: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Elements, one by one or a byte for two that pair, and scales of float values [blocks, elements]."""
    wide = recipe.fmt.scale == float32
    if _in_pieces(x):
        elements, scales = _pieces(recipe, level, x, random_bits)
    else:
        elements, scales = _whole(recipe, level, x, random_bits)
    return elements, scales.to(torch.int32).view(torch.float32) if wide else scales.to(torch.uint8)


def _in_pieces(x: Tensor) -> bool:
    eager = type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling()
    return eager and x.numel() > 0


def _pieces(recipe: Recipe, level: Tensor | None, x: Tensor, random_bits: Tensor | None) -> tuple[Tensor, Tensor]:
    count, size = x.shape
    dtype = stored_dtype(recipe.fmt)
    elements = torch.empty(count, size // (2 if recipe.pairs else 1), dtype=dtype, device="cpu")
    scales = torch.empty(count, dtype=torch.int32, device="cpu")
    ieee = WAIST if flushes() else MACHINE
    by_sums = recipe.serves and recipe.rounding == "nearest_even" and fast.adds(recipe.fmt.element)
    by_steps = recipe.steps(x)
    step = max(1, (CHUNK if recipe.serves or by_steps else WIDE_CHUNK) // size)
    floats = Floats(recipe, level, min(step, count)) if (by_sums or by_steps) and ieee is MACHINE else None
    for start in range(0, count, step):
        piece = slice(start, start + step)
        made = None if floats is None else floats(x[piece])
        if made is not None:
            codes, shared = made
        else:
            random = None if random_bits is None else random_bits[piece]
            bits = widened(x[piece])
            (codes,), shared = _by_integers(recipe, level, _magnitude(bits).amax(1), [bits], [random], ieee)
            codes = codes.to(dtype)
        elements[piece] = _paired(codes) if recipe.pairs else codes
        scales[piece] = shared.scales
    return elements, scales


def _paired(codes: Tensor) -> Tensor:
    """Codes of 4 bits, two in the low byte of an integer: `pack4`, without a check that they have no more bits."""
    if sys.byteorder != "little":
        return pack4(codes)
    words = codes.contiguous().view(torch.int16)
    return (words >> 4).bitwise_or_(words)


def _whole(recipe: Recipe, level: Tensor | None, x: Tensor, random_bits: Tensor | None) -> tuple[Tensor, Tensor]:
    bits = widened(x)
    lanes = [bits[:, ::2], bits[:, 1::2]] if recipe.pairs else [bits]
    random = [None if random_bits is None else random_bits[:, i :: len(lanes)] for i in range(len(lanes))]
    codes, shared = _by_integers(recipe, level, _largest(x, bits), lanes, random, WAIST)
    elements = codes[0] | codes[1] << 4 if recipe.pairs else codes[0]
    return elements.to(stored_dtype(recipe.fmt)), shared.scales


# ---- lanes of patterns ---------------------------------------------------------------------------


def widened(x: Tensor) -> Tensor:
    """The float32 patterns, in int32, of values that float32 holds; those of float64 in int64."""
    if x.dtype == torch.float64:
        return reinterpret(x, torch.int64)
    return reinterpret(x.to(torch.float32), torch.int32)


def _magnitude(bits: Tensor) -> Tensor:
    """Patterns without sign."""
    return bits & torch.iinfo(bits.dtype).max


def _largest(x: Tensor, bits: Tensor) -> Tensor:
    """The largest magnitude of each block, as a pattern."""
    magnitude = _magnitude(bits)
    if x.device.type != "cpu" or x.dtype == torch.float64 or not torch.compiler.is_compiling():
        return magnitude.amax(1)
    # Inductor takes the maximum of integers lane by lane, and of floats by vectors. Subnormal magnitudes, which the
    # machine may flush, are the integers below the first normal one, and those a float32 holds.
    subnormal = magnitude.clamp(max=HIDDEN_BIT).to(torch.float32).amax(1).to(torch.int32)
    normal = widened(x.to(torch.float32).abs().amax(1)) & MAGNITUDE
    return torch.where(subnormal < HIDDEN_BIT, subnormal, normal)


# ---- values -> codes -----------------------------------------------------------------------------


def _by_integers(
    recipe: Recipe,
    level: Tensor | None,
    amax: Tensor,
    lanes: Sequence[Tensor],
    random_bits: Sequence[Tensor | None],
    ieee: Arithmetic,
) -> tuple[list[Tensor], Shared]:
    """Codes of elements for each lane of patterns, given the largest magnitudes of blocks, and what they share."""
    shared = recipe.scaling.share(amax, level, ieee)
    return [_codes(recipe, shared, lane, bits, ieee) for lane, bits in zip(lanes, random_bits, strict=True)], shared


def _codes(recipe: Recipe, shared: Shared, bits: Tensor, random_bits: Tensor | None, ieee: Arithmetic) -> Tensor:
    scaling, element = recipe.scaling, recipe.fmt.element
    bits, scales = scaling.scaled(bits, shared.factors[:, None], ieee)
    if recipe.serves:
        codes = fast.element_codes(
            *(bits, scales, element, recipe.rounding),
            underflow=recipe.underflow,
            infinities=scaling.infinite,
            lowest=scaling.lowest,
        )
        if scaling.undefined:
            codes = torch.where((bits & MAGNITUDE) > INFINITY, recipe.nan, codes)
    elif isinstance(element, Codebook) and recipe.steps(bits):
        scaled = bits if isinstance(scaling, Quotient) else fast.divided(bits, scales)
        codes = steps.codes_of(scaled, float32, element, recipe.rounding, torch.int32)
    else:
        codes = definition(recipe, bits, scales, random_bits)
    return torch.where(shared.void[:, None], 0, codes)


def definition(recipe: Recipe, bits: Tensor, scales: Tensor, random_bits: Tensor | None) -> Tensor:
    """Codes of patterns over scales that are left, by the waist."""
    zero, element = recipe.form.zero, recipe.fmt.element
    how = recipe.rounding, random_bits, recipe.profile, zero, recipe.row
    return element_codes(bits, scales, element, *how)


class Floats:
    """The same for pieces of values in float32 arithmetic, again and again, in scratch memory of its own.

    That is allocated once: fresh memory costs more than a pass over it.
    """

    def __init__(self, recipe: Recipe, level: Tensor | None, count: int) -> None:
        self._recipe, self._level = recipe, level
        rows, columns = recipe.fmt.tile
        self._scratch = [torch.empty(count, rows * columns, device="cpu", dtype=torch.int32) for _ in range(3)]
        self._codes = torch.empty(count, rows * columns, device="cpu", dtype=stored_dtype(recipe.fmt))

    def __call__(self, x: Tensor) -> tuple[Tensor, Shared] | None:
        """Codes of at most ``count`` blocks, overwritten by the next call, and what they share.

        None where scales are too small or too large for float32 arithmetic.
        """
        scaling, element = self._recipe.scaling, self._recipe.fmt.element
        wide, scaled, number = (memory[: len(x)] for memory in self._scratch)
        values = x if x.dtype == torch.float32 else wide.view(torch.float32).copy_(x)
        floats = scaled.view(torch.float32)
        torch.abs(values, out=floats)
        amax = scaled.amax(1)
        shared = scaling.share(amax, self._level, MACHINE)
        if isinstance(element, Logarithmic):
            bits, scales = values.view(torch.int32), shared.factors[:, None]
            made = fast.nearest_power(bits, scaled, scales, element, number)
            return None if made is None else (self._stored(made, shared, None), shared)
        if not scaling.fits(shared.factors, element):
            return None
        scaling.floats(values, shared.factors[:, None], floats)
        if isinstance(element, Codebook):
            rounding = self._recipe.rounding
            return self._stored(steps.codes(floats, float32, element, rounding, number.dtype), shared, None), shared
        if self._recipe.underflow is not None:
            torch.hardshrink(floats, 2.0**self._recipe.underflow, out=floats)
        special = int(torch.maximum(amax, shared.factors).amax()) >= INFINITY
        nan = floats.isnan() if special else None
        return self._stored(fast.nearest_even(floats, element, wide, number), shared, nan), shared

    def _stored(self, number: Tensor, shared: Shared, nan: Tensor | None) -> Tensor:
        codes = self._codes[: len(number)].copy_(number)
        if nan is not None:
            codes.masked_fill_(nan, self._recipe.nan)
        if bool(shared.void.any()):
            codes[shared.void] = 0
        return codes
