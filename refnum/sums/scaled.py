"""torch.nn.functional.scaled_mm for operands in blocks, on any device: its signature and names, refnum's contracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..boundary import check_tensor
from ..errors import ContractError, DTypeError, ShapeError
from ..formats import Block, e2m1, e4m3, e5m2, e8m0
from ..mx.blocks import TORCH, Blocks
from ..mx.layouts import from_blocked
from .blocks import mx_mm

_ELEMENTS = {TORCH[row]: row for row in (e2m1, e4m3, e5m2)}
#: a scaling recipe of torch: elements that share a scale, and the format of scales
_RECIPES = {"BlockWise1x32": (32, e8m0), "BlockWise1x16": (16, e4m3)}
_SWIZZLES = ("NO_SWIZZLE", "SWIZZLE_32_4_4")


def scaled_mm(
    mat_a: Tensor,
    mat_b: Tensor,
    scale_a: Tensor | list[Tensor],
    scale_recipe_a: Any,
    scale_b: Tensor | list[Tensor],
    scale_recipe_b: Any,
    swizzle_a: Any = None,
    swizzle_b: Any = None,
    bias: Tensor | None = None,
    output_dtype: torch.dtype = torch.bfloat16,
    contraction_dim: Sequence[int] = (),
    use_fast_accum: bool = False,
    *,
    contract: str = "exact/v1",
) -> Tensor:
    """``mat_a @ mat_b`` of MX and NVFP4 operands, with the arguments of ``torch.nn.functional.scaled_mm``.

    >>> from refnum import scaled_mm
    >>> from torch.nn.functional import ScalingType
    >>> a = torch.ones(2, 32).to(torch.float8_e4m3fn)
    >>> scale = torch.full((2, 1), 128, dtype=torch.uint8).view(torch.float8_e8m0fnu)  # each is 2
    >>> scaled_mm(a, a.mT, scale, ScalingType.BlockWise1x32, scale, ScalingType.BlockWise1x32)
    tensor([[128., 128.],
            [128., 128.]], dtype=torch.bfloat16)

    Parameters
    ----------
    mat_a, mat_b : Tensor
        [M, K] and [K, N] of torch's float8_e4m3fn, float8_e5m2 or float4_e2m1fn_x2, which has two elements a byte along
        K. Any strides; torch's own kernels want mat_b as the transpose of a [N, K] tensor.
    scale_a, scale_b : Tensor or list of Tensor
        Decoding factors: [M, K / size] and [N, K / size], float8_e8m0fnu for 1x32, float8_e4m3fn for 1x16; swizzled
        ones of any shape, in memory order. For NVFP4 a list may have a float32 factor of the whole tensor behind them.
    scale_recipe_a, scale_recipe_b : ScalingType or list of ScalingType
        BlockWise1x32 or BlockWise1x16; TensorWise for the factor of the whole tensor.
    swizzle_a, swizzle_b : SwizzleType or list of SwizzleType, optional
        NO_SWIZZLE or SWIZZLE_32_4_4, which is `mx.to_blocked`.
    bias : Tensor, optional
        Broadcasts to [M, N]; one more term of the sum.
    output_dtype : torch.dtype
        float32, bfloat16 or float16.
    contraction_dim : sequence of int
        Empty, or (1, 0).
    use_fast_accum : bool
        False: sums are what the contract says.
    contract : str
        As in `refnum.mx_mm`.

    Returns
    -------
    Tensor
        [M, N].

    Raises
    ------
    DTypeError
        When an operand, a scale or the result is of another dtype.
    ShapeError
        When operands are not two matrices that fit, or scales are not as many as there are blocks.
    ContractError
        When the recipe, swizzle, contraction or contract is none of the above.

    Exactness: bit-exact, by contract as `mx_mm`.
    Rounding: by contract, to nearest, ties to even.
    Special: as `mx_mm`.
    Standard: OCP MX 1.0 section 6; the arguments are those of torch 2.10 and later.
    Cost: as `mx_mm`.
    """
    if tuple(contraction_dim) not in ((), (1, 0), (-1, -2)):
        raise ContractError(
            f"scaled_mm has no contraction_dim={contraction_dim!r}. Allowed are () and (1, 0). Transpose the operands."
        )
    if use_fast_accum:
        raise ContractError(
            "scaled_mm has no use_fast_accum=True: sums are what the contract says. Allowed is False. Leave it out."
        )
    a = _blocks("mat_a", mat_a, _listed(scale_a), _names(scale_recipe_a), _names(swizzle_a))
    b = _blocks("mat_b", mat_b, _listed(scale_b), _names(scale_recipe_b), _names(swizzle_b), transposed=True)
    return mx_mm(a, b, bias, contract=contract, out_dtype=output_dtype)


def _listed(x: Any) -> list[Any]:
    return [] if x is None else list(x) if isinstance(x, (list, tuple)) else [x]


def _names(x: Any) -> list[str]:
    return [getattr(member, "name", str(member)) for member in _listed(x)]


def _blocks(
    name: str,
    matrix: Tensor,
    scales: list[Tensor],
    recipes: list[str],
    swizzles: list[str],
    *,
    transposed: bool = False,
) -> Blocks:
    check_tensor("scaled_mm", name, matrix)
    if matrix.dtype not in _ELEMENTS:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in _ELEMENTS)
        raise DTypeError(f"scaled_mm has no operands {name} of {matrix.dtype}. Allowed are {allowed}. View the codes.")
    if matrix.dim() != 2:
        raise ShapeError(
            f"scaled_mm needs a matrix for {name}, got shape {tuple(matrix.shape)}. Allowed are two axes. Use mx_mm "
            "for batches."
        )
    size, scale_row = _recipe(name, recipes, scales)
    codes = matrix.view(torch.uint8)
    codes = codes.mT if transposed else codes
    element = _ELEMENTS[matrix.dtype]
    fmt = Block(element, scale_row, size)
    shape = torch.Size((codes.shape[0], codes.shape[1] * fmt.packed))
    if shape[1] % size:
        raise ShapeError(f"scaled_mm needs whole blocks of {size} along K, got K = {shape[1]} in {name}. Pad it.")
    factor = scales[1].reshape(()) if len(scales) == 2 else None
    placed = _placed(name, scales[0], (shape[0], shape[1] // size), swizzles, TORCH[scale_row])
    return Blocks(codes, placed, fmt, shape, -1, factor)


def _recipe(name: str, recipes: list[str], scales: list[Tensor]) -> tuple[int, Any]:
    allowed = [[recipe] for recipe in _RECIPES] + [["BlockWise1x16", "TensorWise"]]
    if recipes not in allowed or len(scales) != len(recipes):
        raise ContractError(
            f"scaled_mm has no recipe {' + '.join(recipes)} with {len(scales)} scales for {name}. Choose one of "
            f"{', '.join(' + '.join(names) for names in allowed)}, with a scale for each."
        )
    return _RECIPES[recipes[0]]


def _placed(name: str, scales: Tensor, shape: tuple[int, int], swizzles: list[str], dtype: torch.dtype) -> Tensor:
    """Codes of scales, [vectors, blocks]."""
    swizzle = swizzles[0] if swizzles else "NO_SWIZZLE"
    if swizzle not in _SWIZZLES or any(other != "NO_SWIZZLE" for other in swizzles[1:]):
        raise ContractError(
            f"scaled_mm has no swizzle {' + '.join(swizzles)} for {name}. Choose one of {', '.join(_SWIZZLES)}."
        )
    check_tensor("scaled_mm", f"the scales of {name}", scales)
    if scales.dtype != dtype:
        raise DTypeError(
            f"scaled_mm needs {str(dtype).removeprefix('torch.')} scales for {name}, got {scales.dtype}. View the "
            "codes."
        )
    codes = scales.view(torch.uint8)
    if swizzle == "SWIZZLE_32_4_4":
        padded = -(-shape[0] // 128) * 128 * (-(-shape[1] // 4) * 4)
        return from_blocked(_counted(name, codes, padded).reshape(-1), shape)
    return _counted(name, codes, shape[0] * shape[1]).reshape(shape)


def _counted(name: str, codes: Tensor, count: int) -> Tensor:
    if codes.numel() != count:
        raise ShapeError(
            f"scaled_mm needs {count} scales for {name}, got {codes.numel()} in shape {tuple(codes.shape)}. Allowed is "
            "one a block, and with a swizzle what pads them to 128 by 4. Check the operand's shape."
        )
    return codes
