"""Plans with every kind of format: where blocks lie, and products under contracts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from refnum import DMF, Block, FixedPoint, Logarithmic, Posit, gemm, mx, quantize
from refnum.formats import (
    Scalar,
    bfp,
    block_log,
    block_minifloat,
    e2m1,
    e8m0,
    mxfp4,
    mxint,
    mxint8,
    nf4,
    nvfp4,
)
from refnum.nn import Plan, convert, deterministic
from refnum.nn.operands import PLANNABLE, round_input, round_weight
from refnum.testing import assert_bit_equal

F32 = torch.float32
TILES = Block(e2m1, e8m0, (4, 8))
FAMILIES = (mxint(4, 16, rule="ceil"), bfp(6, 16), block_minifloat(6, 3, 16), block_log(5, 16))
BLOCKS = (mxfp4, mxint8, nvfp4, TILES, *FAMILIES)


def values(seed: int, *shape: int) -> Tensor:
    """Values of several binades, so that blocks differ in their scales."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.randint(-6, 7, shape, generator=generator).exp2()
    return torch.randn(shape, generator=generator, dtype=F32) * wide


def layer_of(kind: type[nn.Module]) -> tuple[nn.Module, Tensor]:
    """A layer of wide weights whose rows are no whole number of blocks, and an input."""
    spatial = int(kind.__name__[-2]) if "Conv" in kind.__name__ else 0
    layers: dict[bool, Callable[[], nn.Module]] = {
        True: lambda: kind(6, 10, 3, groups=2, padding=1),  # type: ignore[call-arg]
        False: lambda: kind(40, 10 if kind is nn.Linear else 4),  # type: ignore[call-arg]
    }
    layer = layers[bool(spatial)]()
    with torch.no_grad():
        for place, parameter in enumerate(layer.parameters()):
            parameter.copy_(values(place, *parameter.shape))
    return layer, values(50, 2, 6, *[4] * spatial) if spatial else values(50, 3, 2, 40)


def by_hand(row: Tensor, fmt: Block) -> Tensor:
    """Each row rounded block by block, the last one short: no zeros, and no other row."""
    count = fmt.tile[1]
    pieces = [row[i : i + count] for i in range(0, len(row), count)]
    return torch.cat([quantize(piece, Block(fmt.element, fmt.scale, len(piece), fmt.rule)) for piece in pieces])


# ---- where blocks lie ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "fmt"),
    [*((kind, fmt) for kind in PLANNABLE for fmt in (mxfp4, nvfp4)), *((nn.Linear, fmt) for fmt in FAMILIES)],
    ids=str,
)
def test_blocks_of_weights_lie_along_the_terms_of_one_output(kind: type[nn.Module], fmt: Block) -> None:
    """Not from shapes: the terms of an output are those weights that have a gradient from it."""
    layer, x = layer_of(kind)
    if kind is nn.MultiheadAttention:
        rounded = [torch.stack([by_hand(row, fmt) for row in w]) for w in (layer.in_proj_weight, layer.out_proj.weight)]
        with torch.no_grad():
            want = layer(x, x, x)[0]
            got = convert(layer, {"_default": Plan(weight=fmt)})(x, x, x)[0]
            assert not torch.equal(got, want)
            layer.in_proj_weight.copy_(rounded[0])
            layer.out_proj.weight.copy_(rounded[1])
            want = layer(x, x, x)[0]
        assert_bit_equal(got.detach(), want)
        return
    ones = torch.ones_like(x)
    outputs = layer(ones).movedim(-1 if kind is nn.Linear else 1, 0).flatten(1).sum(1)
    rounded = torch.zeros_like(layer.weight)
    for output in outputs:
        (touched,) = torch.autograd.grad(output, layer.weight, retain_graph=True)
        rounded[touched != 0] = by_hand(layer.weight.detach()[touched != 0], fmt)
    got = convert(layer, {"_default": Plan(weight=fmt)})(x)
    with torch.no_grad():
        assert not torch.equal(rounded, layer.weight)
        layer.weight.copy_(rounded)
    assert_bit_equal(got.detach(), layer(x).detach())


@pytest.mark.parametrize("kind", PLANNABLE)
@pytest.mark.parametrize("fmt", [mxfp4, mxint8], ids=str)
def test_blocks_of_inputs_lie_along_the_channels(kind: type[nn.Module], fmt: Block) -> None:
    layer, x = layer_of(kind)
    channels = x if isinstance(layer, (nn.Linear, nn.MultiheadAttention)) else x.movedim(1, -1)
    rounded = torch.stack([by_hand(row, fmt) for row in channels.flatten(0, -2)]).reshape(channels.shape)
    if channels is not x:
        rounded = rounded.movedim(-1, 1).contiguous()
    assert not torch.equal(rounded, x)
    planned = convert(layer, {"_default": Plan(input=fmt)})
    if isinstance(layer, nn.MultiheadAttention):
        assert_bit_equal(planned(x, x, value=x)[0].detach(), layer(rounded, rounded, rounded)[0].detach())
    else:
        assert_bit_equal(planned(x).detach(), layer(rounded).detach())
        alone = planned(x[0])
        assert torch.allclose(alone, planned(x)[0], atol=1e-3), "without a batch, too"


def test_tiles_take_rows_together() -> None:
    layer, x = layer_of(nn.Linear)
    got = convert(layer, {"": Plan(weight=TILES)})(x)
    filled = functional.pad(layer.weight.detach(), (0, 0, 0, 2))
    rounded = mx.dequantize(mx.quantize(filled, TILES))[:10]
    assert_bit_equal(got.detach(), functional.linear(x, rounded, layer.bias).detach())


# ---- what a plan leaves alone, and products ------------------------------------------------------


@pytest.mark.parametrize("fmt", [*BLOCKS, FixedPoint(6, 3), DMF(4, 3), Logarithmic(6), nf4, Posit(6)], ids=str)
def test_masters_stay_and_gradients_pass_straight_through(fmt: Scalar | Block) -> None:
    layer, x = layer_of(nn.Linear)
    x.requires_grad_()
    planned = convert(layer, {"_default": Plan(weight=fmt, input=fmt)})
    planned(x).sum().backward()
    assert_bit_equal(planned.weight.detach(), layer.weight.detach())
    seen, weight = round_input(x.detach(), fmt, 0), round_weight(layer, layer.weight.detach(), fmt)
    assert not torch.equal(seen, x)
    assert torch.allclose(planned.weight.grad, seen.flatten(0, -2).sum(0).expand(10, 40), rtol=1e-4, atol=1e-3)
    assert torch.allclose(x.grad, weight.sum(0).expand(x.shape), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("contract", ["exact/v1", "chain/v1", "tree/v1(Kc=256)"])
@pytest.mark.parametrize("kind", [nn.Linear, nn.Conv2d, nn.MultiheadAttention])
def test_products_under_a_contract(kind: type[nn.Module], contract: str) -> None:
    layer, x = layer_of(kind)
    operands = (x, x, x) if kind is nn.MultiheadAttention else (x,)
    with deterministic(contract):
        want = convert(layer, {"": Plan(weight=mxfp4, input=mxint8)})(*operands)
    got = convert(layer, {"": Plan(weight=mxfp4, input=mxint8, product=contract)})(*operands)
    for one, other in zip(*((y if isinstance(y, tuple) else (y,)) for y in (got, want)), strict=True):
        assert_bit_equal(one.detach(), other.detach())


def test_a_linear_layer_under_a_contract_by_hand() -> None:
    layer, x = layer_of(nn.Linear)
    plan = Plan(weight=FixedPoint(8, 4), input=FixedPoint(8, 4), product="exact/v1")
    got = convert(layer, {"": plan})(x)
    weight = quantize(layer.weight.detach(), FixedPoint(8, 4))
    want = gemm(quantize(x, FixedPoint(8, 4)), weight.mT, layer.bias.detach(), contract="exact/v1")
    assert_bit_equal(got.detach(), want)
