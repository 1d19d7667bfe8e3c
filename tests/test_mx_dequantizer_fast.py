"""Values of blocks in int32 lanes are those of the definition: all elements under all scales, eager and compiled."""

from __future__ import annotations

import shutil
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from refnum import mx
from refnum.fast import blocks as fast
from refnum.formats import (
    Block,
    Exponent,
    FixedPoint,
    Logarithmic,
    Minifloat,
    bfp,
    block_log,
    block_minifloat,
    e2m1,
    e4m3,
    e4m3fnuz,
    e5m2fnuz,
    e8m0,
    float32,
    mxfp4,
    mxfp6_e2m3,
    mxfp6_e3m2,
    mxfp8_e4m3,
    mxfp8_e5m2,
    mxint,
    nf4,
    nvfp4,
)
from refnum.mx import Blocks, dequantizer

FORMATS = [
    *(mxint(width, 32, rule=rule) for width in (2, 4, 8) for rule in ("ocp", "ceil")),
    mxint(12),
    *(bfp(3, 8), bfp(8, 16), bfp(12, 16, exponent=4)),
    *(block_minifloat(3, 2, 16), block_minifloat(4, 2, 16), block_minifloat(6, 1, 16), block_minifloat(8, 4, 16)),
    *(block_minifloat(12, 5, 16, shared=6), block_minifloat(9, 8, 16)),
    *(block_log(2, 16), block_log(4, 16, zero_code=False), block_log(8, 16), block_log(11, 16, shared=5)),
    *(mxfp4, mxfp6_e2m3, mxfp6_e3m2, mxfp8_e4m3, mxfp8_e5m2, Block(e4m3fnuz, e8m0, 32), Block(e5m2fnuz, e8m0, 32)),
    # Beyond float32 on both sides: values that round to subnormal numbers and to 0, and such as are Inf.
    *(bfp(8, 16, bias=200), bfp(10, 16, bias=20), Block(Logarithmic(4, bias=160), e8m0, 32)),
    *(
        Block(FixedPoint(8, fraction, signed=signed), e8m0, 8)
        for fraction in (-300, -120, 23, 300)
        for signed in (True, False)
    ),
    *(Block(Minifloat(4, 3, bias=bias, specials="ieee"), Exponent(8), 8) for bias in (-100, 30, 150)),
]


def every_pair(fmt: Block) -> tuple[Tensor, Tensor]:
    """Every element code under every scale code."""
    codes = torch.arange(1 << fmt.element.width, dtype=torch.int32)
    scales = torch.arange(1 << fmt.scale.width, dtype=torch.int32)
    pairs = torch.cartesian_prod(scales, codes)
    return pairs[:, 1], pairs[:, 0]


def every_block(fmt: Block) -> Blocks:
    """The same in rows of blocks, as they are stored."""
    columns = fmt.tile[1]
    codes = torch.arange(1 << fmt.element.width).repeat(max(1, columns >> fmt.element.width))
    shape = torch.Size([1 << fmt.scale.width, len(codes)])
    scales = torch.arange(shape[0], dtype=torch.uint8)[:, None].repeat(1, shape[1] // columns)
    codes = codes.to(torch.int16 if fmt.element.width > 8 else torch.uint8).repeat(shape[0], 1)
    return Blocks(mx.pack4(codes) if fmt.packed == 2 else codes, scales, fmt, shape)


def of_the_definition(codes: Tensor, scales: Tensor, fmt: Block) -> Tensor:
    exact = dequantizer.exact_values(codes, scales, fmt, None)
    return dequantizer.encode(exact, float32).to(torch.int32)


@cache
def wanted(fmt: Block) -> Tensor:
    return of_the_definition(*every_pair(fmt), fmt)


def assert_same(got: Tensor, want: Tensor) -> None:
    different = (got.view(torch.int32) != want.view(torch.int32)).nonzero()
    assert not len(different), (len(different), different[:3])


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_every_element_under_every_scale(fmt: Block) -> None:
    codes, scales = every_pair(fmt)
    want = wanted(fmt)
    assert_same(fast.patterns(codes, scales, fmt), want)
    # High bits are not read: int16 codes may be sign-extended.
    extended = codes | -1 << fmt.element.width, scales | -1 << fmt.scale.width
    assert_same(fast.patterns(*extended, fmt), want)


def test_pairs_reach_what_can_go_wrong() -> None:
    """The formats above have ties, results that round to 0 and to the next binade, overflow, Inf and NaN."""
    found = {fmt: wanted(fmt).view(torch.float32) for fmt in FORMATS}
    subnormal = [(x != 0) & (x.abs() < 2.0**-126) for x in found.values()]
    assert sum(bool(x.any()) for x in subnormal) > 20
    assert {bool(x.isinf().any()) for x in found.values()} == {True, False}
    assert {bool(x.isnan().any()) for x in found.values()} == {True, False}
    inexact = bfp(8, 16, bias=200)
    codes, scales = every_pair(inexact)
    exact = dequantizer.encode(dequantizer.exact_values(codes, scales, inexact, None), dequantizer.float64)
    rest = exact.view(torch.float64) * 2.0**149 % 1
    assert bool((rest == 0.5).any())
    assert bool(((rest > 0) & (rest < 0.5)).any())
    assert bool(((exact.view(torch.float64) != 0) & (found[inexact] == 0)).any())


@pytest.mark.parametrize("fmt", [mxint(16), bfp(16, 16), bfp(24, 16), block_minifloat(16, 8, 16)], ids=str)
def test_wide_elements_at_their_ends(fmt: Block) -> None:
    width = fmt.element.width
    near = torch.arange(-40, 40, dtype=torch.int32)
    powers = torch.ones_like(near)[:width] << torch.arange(width, dtype=torch.int32)
    codes = torch.cat([near, powers, powers - 1, powers + 1, (1 << (width - 1)) + near]) & ((1 << width) - 1)
    pairs = torch.cartesian_prod(torch.arange(1 << fmt.scale.width, dtype=torch.int32), codes.to(torch.int32))
    codes, scales = pairs[:, 1], pairs[:, 0]
    assert_same(fast.patterns(codes, scales, fmt), of_the_definition(codes, scales, fmt))


def test_who_is_served() -> None:
    assert all(map(fast.serves, FORMATS))
    assert not any(map(fast.serves, (nvfp4, Block(nf4, e8m0, 8), Block(e4m3, float32, 8))))


@pytest.mark.parametrize("fmt", [mxfp8_e5m2, bfp(8, 16), block_log(8, 16), Block(e2m1, e8m0, 32)], ids=str)
def test_no_floating_point_number_is_computed(fmt: Block) -> None:
    graph = make_fx(lambda codes, scales: fast.patterns(codes, scales, fmt), tracing_mode="fake")(*every_pair(fmt))
    made = {node.meta["val"].dtype for node in graph.graph.nodes if "val" in node.meta and node.op == "call_function"}
    scalars = {x.dtype for x in (getattr(graph, n.target) for n in graph.graph.nodes if n.op == "get_attr")}
    assert made | scalars <= {torch.int32, torch.int64, torch.bool}
    assert torch.int32 in made


@pytest.mark.parametrize("fmt", [mxint(8, (4, 16)), mxfp4], ids=str)
def test_traced_code_has_the_definition_s_bits(fmt: Block) -> None:
    torch._dynamo.reset()
    rows = (
        every_block(fmt) if fmt.tile[0] == 1 else mx.quantize(torch.linspace(-9, 9, 7 * 50).view(7, 50), fmt, pad=True)
    )
    traced = torch.compile(mx.dequantize, fullgraph=True, backend="eager")
    assert_same(traced(rows), dequantizer.by_definition(rows, torch.float32))
    for dtype, integer in ((torch.bfloat16, torch.int16), (torch.float64, torch.int64)):
        want = dequantizer.by_definition(rows, dtype)
        assert torch.equal(traced(rows, dtype).view(integer), want.view(integer))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed")
@pytest.mark.parametrize(
    "fmt",
    [bfp(8, 16), bfp(8, 16, bias=200), mxint(8), block_minifloat(8, 4, 16), block_log(8, 16), mxfp4, mxfp8_e5m2],
    ids=str,
)
def test_compiled_code_has_the_definition_s_bits(fmt: Block) -> None:
    torch._dynamo.reset()
    rows = every_block(fmt)
    compiled = torch.compile(mx.dequantize, fullgraph=True)
    assert_same(compiled(rows), dequantizer.by_definition(rows, torch.float32))
