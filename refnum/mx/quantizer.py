"""quantize and dequantize: between tensors and block formats."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, broadcast, check_block, check_choice, check_floats, check_rounding
from ..errors import DTypeError, ShapeError
from ..fast import elements as fast
from ..formats import Block, Minifloat
from .blocks import Blocks, check_tensor_scale, from_blocks, normalised_axis, packed, padded, to_blocks
from .elements import element_codes
from .profiles import Profile, find
from .scales import NAN, RULES, Rule, rule

CHUNK = 1 << 17  #: elements of a piece: some five int32 temporaries of 512 KiB
MAGNITUDE = 0x7FFFFFFF


def quantize(
    x: Tensor,
    fmt: Block,
    *,
    profile: str = "ocp",
    scale: str | None = None,
    rounding: str | None = None,
    axis: int = -1,
    pad: bool = False,
    tensor_scale: Tensor | None = None,
    random_bits: Tensor | None = None,
) -> Blocks:
    """Round a tensor to a block format.

    >>> import refnum
    >>> blocks = quantize(torch.linspace(-3, 3, 32), refnum.mxfp4)
    >>> blocks.scales, blocks.codes[:6]
    (tensor([126], dtype=torch.uint8), tensor([15, 15, 15, 14, 14, 14], dtype=torch.uint8))

    Parameters
    ----------
    x : Tensor
        float16, bfloat16 or float32 of any shape and strides.
    fmt : Block
        The format.
    profile : str
        Whose choices are made where the standard leaves one open: a row of ``refnum.mx.PROFILES``, by its full name or
        its short one, which is the newest version.
    scale : str, optional
        How amax, the largest magnitude of a block, makes a scale that is a power of two. Default: the profile's.

        - floor: the largest power of two that is not above amax, over that of the largest element.
        - ceil: the least one that is not below amax, over the same.
        - even: as floor, after amax has been rounded to the elements' precision, ties up.
        - rceil: the least scale at which amax does not saturate.
    rounding : str, optional
        Of the elements, by the names that `refnum.encode` takes. Default: the profile's.
    axis : int
        The axis along which elements share a scale.
    pad : bool
        Fill the axis up with zeros to whole blocks, where it has no whole number of them.
    tensor_scale : Tensor, optional
        A factor of the whole tensor, 0-d float32, of formats whose scales are not powers of two.
    random_bits : Tensor, optional
        Integers that broadcast to x, for stochastic rounding only: the low 16 bits are read.

    Returns
    -------
    Blocks
        Elements and scales.

    Raises
    ------
    FormatError
        When ``fmt`` is no block format.
    DTypeError
        When x is not float16, bfloat16 or float32.
    ShapeError
        When the axis does not exist or has no whole number of blocks, or the random bits do not broadcast to x.
    ContractError
        When there is no such profile, scale rule or rounding, or the format takes no scale rule or no tensor scale.

    Exactness: bit-exact; profiles reproduce the bits of the library that they are named after.
    Rounding: the scale by its rule, then each element once, by name; elements saturate.
    Special: a block with NaN or Inf has the NaN scale and elements 0, unless the profile says otherwise; a block of
        zeros has scale code 0; -0 and what rounds to it keep their sign.
    Standard: OCP MX 1.0 sections 5 and 6.3.
    Cost: O(numel) time, result + 5 MB.
    """
    check_block("mx.quantize", fmt)
    check_floats("mx.quantize", "x", x)
    if x.dtype == torch.float64:
        raise DTypeError(
            "mx.quantize cannot read float64: block formats are defined from float32 on. Allowed are float16, bfloat16 "
            "and float32. Convert x, which rounds it."
        )
    row = find("mx.quantize", profile)
    recipe = _recipe(fmt, row, scale, rounding, FLOAT_ROWS[x.dtype])
    check_rounding("mx.quantize", recipe.rounding, random_bits)
    check_tensor_scale("mx.quantize", tensor_scale)
    axis = normalised_axis("mx.quantize", x.shape, axis, fmt)
    _check_whole(x, axis, fmt, pad)
    if random_bits is not None:
        x, random_bits = broadcast("mx.quantize", x=x, random_bits=random_bits)
    return _quantized(x.detach().resolve_neg(), axis, recipe, random_bits)


def _check_whole(x: Tensor, axis: int, fmt: Block, pad: bool) -> None:
    rows, columns = fmt.tile
    axes = {axis: columns} | ({-2: rows} if rows > 1 else {})
    for along, size in axes.items():
        if x.shape[along] % size and not pad:
            raise ShapeError(
                f"mx.quantize needs whole blocks of {size} along axis {along} for {fmt}, got {x.shape[along]} "
                "elements. Pass pad=True to fill up with zeros."
            )


# ---- recipes -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that is to be known of a quantization, but the values."""

    fmt: Block
    profile: Profile
    rule: Rule
    rounding: str
    row: Minifloat  #: the floating-point format of the values

    @property
    def serves(self) -> bool:
        """Whether `fast.elements` computes the elements."""
        exact = self.profile.halves == self.profile.exponents == "exact"
        return exact and fast.serves(self.fmt.element, self.rounding)


def _recipe(fmt: Block, profile: Profile, scale: str | None, rounding: str | None, row: Minifloat) -> Recipe:
    name = profile.scale if scale is None else scale
    check_choice("mx.quantize", "scale", name, RULES)
    return Recipe(fmt, profile, rule(name, fmt.element, profile, row), rounding or profile.rounding, row)


# ---- values -> codes -----------------------------------------------------------------------------


def _quantized(x: Tensor, axis: int, recipe: Recipe, random_bits: Tensor | None) -> Blocks:
    shape, fmt = x.shape, recipe.fmt
    operands = [x.view(SIGNED[x.dtype.itemsize * 8])] + ([] if random_bits is None else [random_bits])
    operands = [padded(operand, axis, fmt) for operand in operands]
    whole = operands[0].shape
    codes, scales = _blockwise(recipe, *(to_blocks(operand, axis, fmt) for operand in operands))
    elements = packed(from_blocks(codes, whole, axis, fmt), axis, fmt)
    return Blocks(elements, _placed(scales, whole, axis, fmt), fmt, shape, axis)


def _placed(scales: Tensor, shape: torch.Size, axis: int, fmt: Block) -> Tensor:
    """Scales, one behind the other, where they belong in a tensor of whole blocks."""
    rows, columns = fmt.tile
    counts = list(shape)
    counts[axis] //= columns
    if rows > 1:
        counts[-2] //= rows
    moved = [n for i, n in enumerate(counts, -len(counts)) if i != axis] + [counts[axis]]
    return scales.view(moved).movedim(-1, axis)


def _blockwise(recipe: Recipe, blocks: Tensor, random_bits: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """uint8 codes and scales of patterns [blocks, elements]; in pieces that stay in the cache where that helps."""
    if not _in_pieces(blocks):
        codes, scales = _codes(blocks, random_bits, recipe, normal=False)
        return codes.to(torch.uint8), scales.to(torch.uint8)
    codes = torch.empty(blocks.shape, dtype=torch.uint8, device=blocks.device)
    scales = torch.empty(blocks.shape[0], dtype=torch.uint8, device=blocks.device)
    step = max(1, CHUNK // blocks.shape[1])
    for start in range(0, len(blocks), step):
        piece = slice(start, start + step)
        random = None if random_bits is None else random_bits[piece]
        codes[piece], scales[piece] = _codes(blocks[piece], random, recipe, normal=None)
    return codes, scales


def _in_pieces(blocks: Tensor) -> bool:
    eager = type(blocks) is Tensor and blocks.device.type == "cpu" and not torch.compiler.is_compiling()
    return eager and blocks.numel() > 0


def _codes(blocks: Tensor, random_bits: Tensor | None, recipe: Recipe, normal: bool | None) -> tuple[Tensor, Tensor]:
    """Codes of elements and scales; ``normal`` as in `fast.elements`, None to find out."""
    bits = widened(blocks, recipe.row)
    amax = (bits & MAGNITUDE).amax(1)
    scales = recipe.rule.codes(amax)
    # A block of zeros has scale 2**-127; as elements they are 0 under any scale.
    divisors = torch.where(amax == 0, NAN, scales)[:, None]
    if recipe.serves:
        if normal is None:
            normal = int(divisors.amin()) >= fast.LEAST
        codes = fast.element_codes(
            bits,
            divisors,
            recipe.fmt.element,
            recipe.rounding,
            normal=normal,
            signed_zeros=recipe.profile.zero == "signed",
            infinities=recipe.rule.infinite,
        )
    else:
        codes = definition(bits, divisors, recipe, random_bits)
    empty = recipe.rule.empty(amax, scales)
    return torch.where(empty[:, None], 0, codes), scales


def definition(bits: Tensor, scales: Tensor, recipe: Recipe, random_bits: Tensor | None) -> Tensor:
    """Codes of elements by the waist."""
    return element_codes(bits, scales, recipe.fmt.element, recipe.rounding, random_bits, recipe.profile, recipe.row)


def widened(bits: Tensor, row: Minifloat) -> Tensor:
    """The float32 patterns, in int32, of patterns of a floating-point row that float32 holds."""
    match row.width, row.exponent:
        case 32, _:
            return bits
        case _, 8:  # bfloat16 is the upper half
            return bits.to(torch.int32) << 16
        case _:
            return bits.view(torch.float16).to(torch.float32).view(torch.int32)
