"""scaled_mm: torch's arguments, refnum's contracts."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import ScalingType, SwizzleType

from refnum import Block, ContractError, DTypeError, ShapeError, mx, mx_mm, scaled_mm
from refnum.formats import e2m1, e8m0, float32, mxfp4, mxfp8_e4m3, mxfp8_e5m2, nvfp4
from refnum.mx import Blocks
from refnum.testing import assert_bit_equal

S32, S16, TENSOR = ScalingType.BlockWise1x32, ScalingType.BlockWise1x16, ScalingType.TensorWise
PLAIN, SWIZZLED = SwizzleType.NO_SWIZZLE, SwizzleType.SWIZZLE_32_4_4


def operands(fmt: Block) -> tuple[Blocks, Blocks]:
    draw = torch.Generator("cpu").manual_seed(1)
    x, y = torch.randn(40, 192, generator=draw), torch.randn(24, 192, generator=draw)
    return mx.quantize(x, fmt), mx.quantize(y, fmt)


def swizzled(scales: Tensor) -> Tensor:
    return mx.to_blocked(scales.view(torch.uint8)).view(scales.dtype)


@pytest.mark.parametrize("fmt", [mxfp4, mxfp8_e4m3, mxfp8_e5m2, nvfp4], ids=str)
def test_it_is_mx_mm(fmt: Block) -> None:
    a, b = operands(fmt)
    (x, s), (y, t) = a.to_torch(), b.to_torch()
    recipe = S32 if fmt.scale == e8m0 else S16
    bias = torch.linspace(-1, 1, 24)
    assert_bit_equal(scaled_mm(x, y.mT, s, recipe, t, recipe), mx_mm(a, b))
    got = scaled_mm(x, y.mT, [swizzled(s)], [recipe], swizzled(t), recipe, SWIZZLED, [SWIZZLED], bias, torch.float32)
    assert_bit_equal(got, mx_mm(a, b, bias, out_dtype=torch.float32))
    assert_bit_equal(
        scaled_mm(x, y.mT, s, recipe, t, recipe, PLAIN, contraction_dim=(1, 0), contract="chain"),
        mx_mm(a, b, contract="chain/v1"),
    )


def test_two_levels_of_scales() -> None:
    a, b = operands(nvfp4)
    (x, s), (y, t) = a.to_torch(), b.to_torch()
    f, g = torch.tensor(0.3), torch.tensor([0.7])
    got = scaled_mm(x, y.mT, [s, f], [S16, TENSOR], [t, g], [S16, TENSOR], [PLAIN, PLAIN], [PLAIN, PLAIN])
    factored = [Blocks(v.elements, v.scales, nvfp4, v.shape, -1, w.reshape(())) for v, w in ((a, f), (b, g))]
    assert_bit_equal(got, mx_mm(*factored))


def test_the_right_operand_may_have_any_strides() -> None:
    a, b = operands(mxfp8_e4m3)
    (x, s), (y, t) = a.to_torch(), b.to_torch()
    rows = y.view(torch.uint8).mT.contiguous().view(torch.float8_e4m3fn)
    assert_bit_equal(scaled_mm(x, rows, s, S32, t, S32), mx_mm(a, b))


def test_torch_has_the_same_arguments() -> None:
    theirs = inspect.signature(torch.nn.functional.scaled_mm).parameters
    ours = inspect.signature(scaled_mm).parameters
    assert [*theirs, "contract"] == list(ours)
    assert {name: p.default for name, p in theirs.items()} == {
        name: p.default for name, p in ours.items() if name != "contract"
    }


def _call(**changes: Any) -> Tensor:
    a, _ = operands(mxfp8_e4m3)
    x, s = a.to_torch()
    given = {"mat_a": x, "mat_b": x.mT, "scale_a": s, "scale_recipe_a": S32, "scale_b": s, "scale_recipe_b": S32}
    return scaled_mm(**(given | changes))


E8 = torch.float8_e8m0fnu
ERRORS = [
    ({"contraction_dim": (0, 1)}, ContractError, "contraction_dim=(0, 1)|() and (1, 0)|Transpose"),
    ({"use_fast_accum": True}, ContractError, "use_fast_accum=True|Allowed is False|Leave it out"),
    ({"mat_a": torch.ones(2, 32)}, DTypeError, "mat_a of torch.float32|float4_e2m1fn_x2, float8_e4m3fn|View"),
    ({"mat_a": torch.zeros(32, dtype=torch.float8_e5m2)}, ShapeError, "a matrix for mat_a|got shape (32,)|mx_mm"),
    ({"scale_recipe_a": ScalingType.RowWise}, ContractError, "no recipe RowWise|BlockWise1x32, BlockWise1x16"),
    ({"scale_recipe_b": [S32, TENSOR]}, ContractError, "BlockWise1x32 + TensorWise with 1 scales for mat_b"),
    ({"swizzle_a": "ZIGZAG"}, ContractError, "no swizzle ZIGZAG for mat_a|NO_SWIZZLE, SWIZZLE_32_4_4"),
    ({"scale_a": torch.ones(40, 6)}, DTypeError, "float8_e8m0fnu scales for mat_a|got torch.float32|View"),
    ({"scale_a": torch.zeros(40, 5, dtype=torch.uint8).view(E8)}, ShapeError, "240 scales for mat_a|got 200|Check"),
    ({"scale_a": torch.zeros(40, 6, dtype=torch.uint8).view(E8), "swizzle_a": SWIZZLED}, ShapeError, "1024 scales"),
    ({"mat_a": torch.zeros(4, 40, dtype=torch.float8_e5m2)}, ShapeError, "whole blocks of 32|K = 40 in mat_a|Pad"),
    ({"output_dtype": torch.float64}, DTypeError, "cannot return torch.float64"),
]


@pytest.mark.parametrize(("changes", "error", "parts"), ERRORS)
def test_errors_say_what_was_got_and_what_is_allowed(
    changes: dict[str, Any], error: type[Exception], parts: str
) -> None:
    with pytest.raises(error) as caught:
        _call(**changes)
    for part in parts.split("|"):
        assert part in str(caught.value)


def test_blocks_without_a_torch_dtype_have_no_views() -> None:
    assert mx.quantize(torch.ones(32), Block(e2m1, e8m0, 32)).to_torch()[0].dtype == torch.float4_e2m1fn_x2


def test_float32_scales_take_no_factor() -> None:
    """Three factors of 24, 24 and 8 bits would be more than float64 holds, and exact sums start from float64."""
    fmt = Block(e2m1, float32, 32)
    parts = torch.zeros(2, 16, dtype=torch.uint8), torch.ones(2, 1)
    with pytest.raises(ContractError) as caught:
        Blocks(*parts, fmt, torch.Size((2, 32)), -1, torch.tensor(0.3))
    for part in ("no tensor_scale for block(e2m1,float32,32)", "float32", "Allowed is None", "part of the scales"):
        assert part in str(caught.value)
