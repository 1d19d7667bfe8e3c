"""quantize, and the scale of a whole tensor: tensors -> block formats."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .. import backend
from ..boundary import FLOAT_ROWS, SIGNED, broadcast, check_block, check_floats, check_rounding
from ..errors import ContractError, DTypeError, ShapeError
from ..formats import Block
from .blocks import Blocks, check_tensor_scale, from_blocks, has_kernels, normalised_axis, packed, padded, to_blocks
from .profiles import PROFILES, Form, Profile, find
from .quotients import FORMULAS, ONE, Terms
from .recipes import Recipe, blockwise, check_half, recipe, widened
from .scales import INFINITY
from .singles import MAGNITUDE, QUIET_NAN, WAIST


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
    """Round a tensor to a block format: MX, NVFP4, integers, block floating point, tables of values.

    >>> import refnum
    >>> from refnum import mx
    >>> x = torch.linspace(-3, 3, 32)
    >>> blocks = mx.quantize(x, refnum.mxfp4)
    >>> blocks.scales, blocks.codes[:6]
    (tensor([126], dtype=torch.uint8), tensor([15, 15, 15, 14, 14, 14], dtype=torch.uint8))
    >>> mx.quantize(x, refnum.nvfp4, tensor_scale=mx.tensor_scale(x, refnum.nvfp4)).scales
    tensor([126, 126], dtype=torch.uint8)

    Stochastic rounding takes its bits from a seed and a counter, so that it can be done again, anywhere:

    >>> bits = mx.random_bits(7, 0, x.shape)
    >>> mx.quantize(x, refnum.mxfp4, rounding="stochastic", random_bits=bits).codes[:6]
    tensor([15, 14, 14, 14, 14, 14], dtype=torch.uint8)

    Parameters
    ----------
    x : Tensor
        float16, bfloat16 or float32 of any shape and strides; in ocp float64, too, for formats without a name whose
        scales are powers of two, those of E8M0 by floor or bound.
    fmt : Block
        The format.
    profile : str
        Whose choices are made where the standard leaves one open: a row of ``refnum.mx.PROFILES``, by its full name or
        its short one, which is the newest version.
    scale : str, optional
        How amax, the largest magnitude of a block, makes a scale that is a power of two. Default: the format's own, or
        else the profile's.

        - floor: the largest power of two that is not above amax, over that of the largest element.
        - ceil: the least one that is not below amax, over the same.
        - even: as floor, after amax has been rounded to the elements' precision, ties up.
        - rceil: the least scale at which amax does not saturate.
        - bound: the least scale at which amax is within the power of two that bounds the elements; in ocp only.

        flashinfer has its own form of rceil, and compressed_tensors of even, and no others.
    rounding : str, optional
        Of the elements, by the names that `refnum.encode` takes. Default: the profile's.
    axis : int
        The axis along which elements share a scale.
    pad : bool
        Fill the axis up with zeros to whole blocks, where it has no whole number of them.
    tensor_scale : Tensor, optional
        0-d float32 above 0, for scales of E4M3: what `tensor_scale` returns in the same profile. In ocp and torchao a
        factor of all values; in te, flashinfer and compressed_tensors its inverse, by which they multiply. Default: 1.
    random_bits : Tensor, optional
        Integers that broadcast to x, for stochastic rounding only: the low 16 bits are read.

    Returns
    -------
    Blocks
        Elements and scales, and the factor of all values if there is a tensor scale.

    Raises
    ------
    FormatError
        When ``fmt`` is no block format, or its scales are quotients and its elements too large or small to divide by.
    DTypeError
        When x is not float16, bfloat16 or float32; or is float64 for a format of OCP or NVIDIA, or where something is
        computed in float32; or float16 in compressed_tensors, which computes in x's dtype.
    ShapeError
        When the axis does not exist or has no whole number of blocks, or the random bits do not broadcast to x.
    ContractError
        When there is no such profile, scale rule or rounding, the profile does not have the format, or the format takes
        no scale rule or no tensor scale.

    Exactness: bit-exact; profiles reproduce the bits of the library that they are named after. float64 is not rounded
        on the way.
    Rounding: the scale by its rule, or by float32 arithmetic step by step; then each element once, by name. Where
        scales are no powers of two, elements are scaled in float32 first. Elements saturate.
    Special: a block with NaN has the NaN scale and elements 0, or scale code 0 where there is no NaN. One with Inf has,
        too, where scales are powers of two; else the largest scale, and Inf saturates. Scales saturate to their codes;
        those of float32 elements beyond 2**127 are not chosen, and of two's complement no -2**128. Zeros have scale
        code 0 (E4M3 2**-6, float32 1); -0 and what rounds to it keep their sign. All of this unless the profile says
        otherwise.
    Standard: OCP MX 1.0 sections 5 and 6.3; of the other families see `refnum.formats`.
    Cost: O(numel) time; result + 5 MB, and a copy of x where a block's elements do not lie one behind the other.
    """
    check_block("mx.quantize", fmt)
    check_floats("mx.quantize", "x", x)
    made = recipe("mx.quantize", fmt, find("mx.quantize", profile), scale, rounding, FLOAT_ROWS[x.dtype])
    check_rounding("mx.quantize", made.rounding, random_bits)
    check_tensor_scale("mx.quantize", tensor_scale)
    if tensor_scale is not None:
        _check_level("mx.quantize", fmt, made.profile)
    axis = normalised_axis("mx.quantize", x.shape, axis, fmt)
    _check_whole(x, axis, fmt, pad)
    if random_bits is not None:
        random_bits = _random_of(x, random_bits)
    return _quantized(x.detach().resolve_neg(), axis, made, scale, tensor_scale, random_bits)


def tensor_scale(x: Tensor, fmt: Block, *, profile: str = "ocp") -> Tensor:
    """The scale of a whole tensor: what `quantize` takes as ``tensor_scale`` in the same profile.

    >>> import refnum
    >>> tensor_scale(torch.tensor([1.0, -672.0]), refnum.nvfp4)
    tensor(0.2500)
    >>> tensor_scale(torch.tensor([1.0, -672.0]), refnum.nvfp4, profile="te")
    tensor(4.)

    Parameters
    ----------
    x : Tensor
        float16, bfloat16 or float32 of any shape and strides.
    fmt : Block
        A format with scales of E4M3.
    profile : str
        As in `quantize`.

    Returns
    -------
    Tensor
        0-d float32. With amax the largest magnitude of x, and the largest value of the format without a tensor scale,
        which is 2688 in NVFP4: amax over that in ocp and torchao, that over amax in te, flashinfer and
        compressed_tensors.

    Raises
    ------
    FormatError
        When ``fmt`` is no block format.
    DTypeError
        When x is not float16, bfloat16 or float32; or is float16 in compressed_tensors.
    ContractError
        When there is no such profile, or none of its formats with this name has a tensor scale.

    Exactness: bit-exact; profiles reproduce the bits of the library that they are named after.
    Rounding: to nearest even, each step: flashinfer multiplies by the reciprocal of amax, and so does
        compressed_tensors, in the dtype of x.
    Special: NaN gives NaN, in compressed_tensors 1. Zeros, and an empty tensor, give 1 in ocp, 0 in torchao, the
        largest float32 in te and flashinfer. Inf gives Inf, in te 1, in flashinfer and compressed_tensors 0.
    Standard: none; the recipe for NVFP4 that libraries share.
    Cost: O(numel) time and memory.
    """
    check_block("mx.tensor_scale", fmt)
    check_floats("mx.tensor_scale", "x", x)
    if x.dtype == torch.float64:
        raise DTypeError(
            "mx.tensor_scale cannot read float64: scales of tensors are quotients in float32. Allowed are float16, "
            "bfloat16 and float32. Convert x, which rounds it."
        )
    row, chosen = FLOAT_ROWS[x.dtype], find("mx.tensor_scale", profile)
    _check_level("mx.tensor_scale", fmt, chosen)
    check_half("mx.tensor_scale", chosen, row)
    level = FORMULAS[chosen.form("mx.tensor_scale", fmt).formula].level
    assert level is not None
    terms = Terms(WAIST, fmt.element, row)
    return _floats(level(_amax(x.detach().resolve_neg()).to(torch.int64), terms))


def _amax(x: Tensor) -> Tensor:
    """The largest magnitude as a float32 pattern; 0 of nothing."""
    if not x.numel():
        return torch.zeros((), dtype=torch.int32, device=x.device)
    largest: Tensor = (backend.kernel("mx_amax", x) or amax_of)(x)
    return largest


def amax_of(x: Tensor) -> Tensor:
    """The same of something."""
    bits = SIGNED[x.dtype.itemsize * 8]
    magnitude = x.view(bits) & (MAGNITUDE >> (32 - 8 * x.dtype.itemsize))
    pattern = widened(magnitude.amax().view(x.dtype))
    return torch.where(pattern > INFINITY, QUIET_NAN, pattern)


# ---- checks --------------------------------------------------------------------------------------


def _check_level(function: str, fmt: Block, profile: Profile) -> None:
    if profile.form(function, fmt).tensor is not None:
        return
    having = [row.name for row in PROFILES.values() for form in row.forms if form.has(fmt) and form.tensor]
    remedy = f"Choose one of {', '.join(having)}, which have." if having else "Leave it out."
    raise ContractError(f"{function} has no tensor scale for {fmt} in profile {profile.name}. {remedy}")


def _check_whole(x: Tensor, axis: int, fmt: Block, pad: bool) -> None:
    rows, columns = fmt.tile
    axes = {axis: columns} | ({-2: rows} if rows > 1 else {})
    for along, size in axes.items():
        if x.shape[along] % size and not pad:
            raise ShapeError(
                f"mx.quantize needs whole blocks of {size} along axis {along} for {fmt}, got {x.shape[along]} "
                "elements. Pass pad=True to fill up with zeros."
            )


def _random_of(x: Tensor, random_bits: Tensor) -> Tensor:
    """Random bits of the shape of x."""
    expanded, bits = broadcast("mx.quantize", x=x, random_bits=random_bits)
    if expanded.shape != x.shape:
        raise ShapeError(
            f"mx.quantize needs random_bits that broadcast to x, got x {tuple(x.shape)}, random_bits "
            f"{tuple(random_bits.shape)}. Sizes must be those of x or 1. Reshape them, or expand x first."
        )
    return bits


# ---- the tensor of blocks ------------------------------------------------------------------------


def _quantized(
    x: Tensor, axis: int, made: Recipe, scale: str | None, tensor_scale: Tensor | None, random_bits: Tensor | None
) -> Blocks:
    shape, fmt = x.shape, made.fmt
    x = padded(x, axis, fmt)
    random = None if random_bits is None else padded(random_bits, axis, fmt)
    choices = fmt, made.profile.name, scale, made.rounding, axis, tensor_scale, random
    asked = has_kernels(fmt) and scale != "bound" and x.dtype != torch.float64
    elements, scales = ((backend.kernel("mx_quantize", x) if asked else None) or stored)(x, *choices)
    level = None if tensor_scale is None else _pattern(tensor_scale)
    return Blocks(elements, scales, fmt, shape, axis, _factor(made.form, level))


def stored(
    x: Tensor,
    fmt: Block,
    profile: str,
    scale: str | None,
    rounding: str,
    axis: int,
    tensor_scale: Tensor | None,
    random_bits: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Elements and scales, as `Blocks` has them, of a tensor of whole blocks and choices that were checked."""
    made = recipe("mx.quantize", fmt, find("mx.quantize", profile), scale, rounding, FLOAT_ROWS[x.dtype])
    level = None if tensor_scale is None else _pattern(tensor_scale)
    random = None if random_bits is None else to_blocks(random_bits, axis, fmt)
    elements, scales = blockwise(made, level, to_blocks(x, axis, fmt), random)
    return _whole_bytes(elements, x.shape, axis, made), _placed(scales, x.shape, axis, fmt)


def _whole_bytes(elements: Tensor, shape: torch.Size, axis: int, recipe: Recipe) -> Tensor:
    """Elements of blocks in a tensor of whole blocks of this shape, as they are stored."""
    fmt = recipe.fmt
    if not recipe.pairs:
        return packed(from_blocks(elements, shape, axis, fmt), axis, fmt)
    rows, columns = fmt.tile
    halved = torch.Size(n // 2 if i == axis else n for i, n in enumerate(shape, -len(shape)))
    return from_blocks(elements, halved, axis, replace(fmt, size=(rows, columns // 2)))


def _placed(scales: Tensor, shape: torch.Size, axis: int, fmt: Block) -> Tensor:
    """Scales, one behind the other, where they belong in a tensor of whole blocks."""
    rows, columns = fmt.tile
    counts = list(shape)
    counts[axis] //= columns
    if rows > 1:
        counts[-2] //= rows
    moved = [n for i, n in enumerate(counts, -len(counts)) if i != axis] + [counts[axis]]
    return scales.view(moved).movedim(-1, axis)


def _factor(form: Form, level: Tensor | None) -> Tensor | None:
    """The factor of values that a tensor scale stands for."""
    if level is None:
        return None
    return _floats(WAIST.over(ONE, level) if form.tensor == "divisor" else level)


def _pattern(scale: Tensor) -> Tensor:
    return scale.detach().view(torch.int32)


def _floats(patterns: Tensor) -> Tensor:
    return patterns.to(torch.int32).view(torch.float32)
