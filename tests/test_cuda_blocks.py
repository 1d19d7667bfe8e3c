"""Kernels of block formats, as they are: scalars by g++, whole kernels on the CPU and on a GPU, against refnum.mx."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from cuda import bridge, scenes, simulate  # before refnum_cuda, which bridge finds
from cuda.served import PLACES, Serve
from cuda.stage import stage
from refnum_cuda.serving import Operation
from test_mx_quantizer import NAMED, ODD, had, values
from torch import Tensor

import refnum
from refnum import mx
from refnum.boundary import FLOAT_ROWS, SIGNED
from refnum.core.decode import decode
from refnum.core.round import RULES, encode
from refnum.formats import Block, FixedPoint, Minifloat, e2m1, e4m3, e8m0, float32, float64
from refnum.mx import singles
from refnum.mx.profiles import PROFILES
from refnum.mx.recipes import Recipe, recipe
from refnum_cuda import blocks, dequantizer, launch, quantizer

QUANTIZE, AMAX = quantizer.OPERATIONS
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
NEAR = (-2, -1, 0, 1, 2)  #: units in the last place from a tie


def pointer(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def call(function: Any, count: int, *arguments: Any) -> None:
    function(ctypes.c_int64(count), *(pointer(x) if isinstance(x, Tensor) else x for x in arguments))


# ---- scalars -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return bridge.load(bridge.HERE / "blocks.cpp")


def every_bfloat16() -> Tensor:
    return (torch.arange(1 << 16, dtype=torch.int64) << 16).to(torch.int32).view(torch.float32)


def ties(element: refnum.formats.Element) -> Tensor:
    """Values of the element, the middles between them, what would come next, and neighbours of all of these."""
    codes = torch.arange(1 << element.width)
    found = encode(decode(codes, element), float64).view(torch.float64)
    found = torch.cat([found[found.isfinite()], torch.tensor([1.25, 2.0, 1e9]) * element.max_value]).sort().values
    points = torch.cat([found, (found[1:] + found[:-1]) / 2]).to(torch.float32)
    bits = points.view(torch.int32)
    return torch.cat([bits + step for step in NEAR]).view(torch.float32)


@pytest.mark.parametrize(("element", "name"), blocks.NAMED.items(), ids=str)
def test_codes_of_every_bfloat16_and_around_every_tie(
    library: ctypes.CDLL, element: refnum.formats.Element, name: str
) -> None:
    x = torch.cat([every_bfloat16(), ties(element), values().view(-1)])
    x = x[~x.isnan()]
    got = torch.empty(len(x), dtype=torch.int32)
    call(getattr(library, f"codes_{name}"), len(x), x, got)
    want = encode(decode(x.view(torch.int32), float32), element) & ((1 << element.width) - 1)
    assert torch.equal(got.long(), want)


def recipes(
    fmt: Block, dtype: torch.dtype = torch.float32, rounding: str = "nearest_even"
) -> Iterator[tuple[Recipe, Any]]:
    """Those with kernels, each with every tensor scale."""
    for profile, rule, level in had(fmt, dtype):
        made = recipe("", fmt, profile, rule, rounding, FLOAT_ROWS[dtype])
        if quantizer.covered(torch.empty(0, dtype=dtype), fmt.name, profile.name, rule, rounding):
            yield made, level


@pytest.mark.parametrize("fmt", [*NAMED, Block(e4m3, float32, 32), Block(e4m3, e4m3, 32)], ids=str)
def test_scales_of_every_bfloat16_and_its_neighbours(library: ctypes.CDLL, fmt: Block) -> None:
    bits = every_bfloat16().view(torch.int32)[: 1 << 15]
    amax = torch.cat([bits, bits[1:] - 1, bits + 1, ties(fmt.element).abs().view(torch.int32)])
    scale, factor = (torch.empty(len(amax), dtype=torch.int32) for _ in range(2))
    is_void = torch.empty(len(amax), dtype=torch.bool)
    for dtype, (made, level) in itertools.chain(
        *(((dtype, each) for each in recipes(fmt, dtype)) for dtype in (torch.float32, torch.bfloat16))
    ):
        one = None if level is None else torch.tensor(level)
        call(library.share_amax, len(amax), amax, one, ctypes.byref(quantizer.choices_of(made)), scale, factor, is_void)
        pattern = None if level is None else torch.tensor(level).view(torch.int32)
        want = made.scaling.share(amax, pattern, singles.MACHINE)
        where = (made.profile.name, made.scaling, level, dtype)
        assert torch.equal(scale, want.scales.int()), where
        assert torch.equal(is_void, want.void), where
        if not isinstance(made.scaling, mx.scales.Rule):  # else it is a code, whose power is told below
            got = torch.where(factor.view(torch.float32).isnan(), singles.QUIET_NAN, factor)
            assert torch.equal(got[~is_void], want.factors.int()[~is_void]), where


def test_quotients_are_rounded_right(library: ctypes.CDLL) -> None:
    """Of numbers with few bits and with all of them, of products and what is next to them, and of the ends."""
    draw = torch.Generator().manual_seed(4)
    a, b = (torch.randint(1, 0x7F800000, (1 << 18,), generator=draw).int() for _ in range(2))
    near = torch.randint(-2, 3, a.shape, generator=draw).int()
    x, y = ((bits & 0x7FFFFF | 0x3F800000).view(torch.float32) for bits in (a, b & -(1 << 12)))
    a = torch.cat([a, a & -(1 << 15), (x * y).view(torch.int32) + near])
    b = torch.cat([b, b & -(1 << 18), y.view(torch.int32)])
    got = torch.empty(len(a))
    call(library.quotients, len(a), a, b, got)
    assert torch.equal(got, a.view(torch.float32) / b.view(torch.float32))


def elements() -> list[refnum.formats.Element]:
    return list(dict.fromkeys(fmt.element for fmt in (*NAMED, *ODD)))


@pytest.mark.parametrize("element", elements(), ids=str)
def test_values_of_every_code(library: ctypes.CDLL, element: refnum.formats.Element) -> None:
    codes = torch.arange(256).to(torch.uint8)
    got = torch.empty(256)
    call(library.element_values, 256, codes, ctypes.byref(blocks.element_of(element)), got)
    want = encode(decode(codes.long(), element), float32).int()
    quiet = torch.where(got.isnan(), singles.QUIET_NAN, got.view(torch.int32))
    assert torch.equal(quiet, torch.where(want.view(torch.float32).isnan(), singles.QUIET_NAN, want))


def test_values_of_every_scale(library: ctypes.CDLL) -> None:
    codes = torch.arange(256).to(torch.uint8)
    powers, numbers = torch.empty(256), torch.empty(256)
    call(library.scale_values, 256, codes, powers, numbers)
    for got, fmt in ((powers, e8m0), (numbers, e4m3)):
        want = encode(decode(codes.long(), fmt), float32).int().view(torch.float32)
        assert torch.equal(got.nan_to_num(7.5), want.nan_to_num(7.5))


def test_doubles_are_rounded_once(library: ctypes.CDLL) -> None:
    """Middles between two floats, and what is next to them in float64."""
    draw = torch.Generator().manual_seed(1)
    found = [torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 2.0**-149, 2.0**-150, 2.0**-151, 1e300])]
    for dtype in FLOATS:
        row = FLOAT_ROWS[dtype]
        bits = torch.randint(0, 1 << 62, (4000,), generator=draw) >> (63 - row.width)
        low = bits.to(SIGNED[row.width]).view(dtype).double()
        high = (bits + 1).to(SIGNED[row.width]).view(dtype).double()
        found += [torch.where(high.isinf(), torch.tensor(row.max_value), (low + high) / 2)]
        found += [torch.tensor([row.max_value * (1 + 2.0 ** -(row.mantissa + 2)), 2.0**row.min_scale])]
    x = torch.cat([part.double() for part in found]).nan_to_num(0.125)
    x = torch.cat([(x.view(torch.int64) + step).view(torch.float64) for step in NEAR])
    x = torch.cat([x, -x, torch.tensor([torch.nan, torch.inf, -torch.inf])])
    out = [torch.empty(len(x), dtype=d) for d in (torch.int32, torch.int16, torch.int16, torch.int64)]
    call(library.round_doubles, len(x), x, *out)
    for got, dtype in zip(out, (*FLOATS, torch.float64), strict=True):
        row = FLOAT_ROWS[dtype]
        want = encode(decode(x.view(torch.int64), float64), row)
        assert torch.equal(got, want.to(got.dtype)), dtype


# ---- whole kernels -------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="made", params=PLACES)
def _made(request: pytest.FixtureRequest) -> Serve:
    return Serve(request.param, *quantizer.OPERATIONS, dequantizer.OPERATION)


@pytest.fixture(name="serve")
def _serve(made: Serve, monkeypatch: pytest.MonkeyPatch) -> Serve:
    if made.device.type == "cpu":
        monkeypatch.setattr(launch, "launch", made.launch)
    return made


@pytest.mark.parametrize(
    "operation", [*quantizer.OPERATIONS, dequantizer.OPERATION], ids=lambda operation: operation.name
)
def test_examples_of_the_self_test_layout(serve: Serve, operation: Operation) -> None:
    for arguments in operation.examples():
        serve.assert_right(operation, *arguments)


def quantized(serve: Serve, x: Tensor, fmt: Block, axis: int = -1, **choices: Any) -> None:
    """A quantization by the kernel is the definition's."""
    chosen = {
        "profile": "ocp/v1",
        "scale": None,
        "rounding": "nearest_even",
        "axis": axis,
        "level": None,
        "random": None,
    }
    serve.assert_right(QUANTIZE, x, fmt.name, *(chosen | choices).values())


@pytest.mark.parametrize("fmt", [*NAMED, *ODD], ids=str)
def test_every_format_and_profile(serve: Serve, fmt: Block) -> None:
    """Each with a part of the values, in turn; those of one tensor scale in four."""
    for i, (profile, rule, level) in enumerate(had(fmt, torch.float32)):
        x = values(FLOATS[i % (3 if profile.half else 2)])
        due = level is None or i % 4 == 0
        if due and quantizer.covered(x, fmt.name, profile.name, rule, "nearest_even"):
            scale = None if level is None else torch.tensor(level)
            quantized(serve, x[i % 11 :: 11], fmt, profile=profile.name, scale=rule, level=scale)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("fmt", [*NAMED, *ODD], ids=str)
def test_every_format_profile_and_dtype(serve: Serve, fmt: Block, dtype: torch.dtype) -> None:
    for profile, rule, level in had(fmt, dtype):
        if quantizer.covered(values(dtype), fmt.name, profile.name, rule, "nearest_even"):
            scale = None if level is None else torch.tensor(level)
            quantized(serve, values(dtype), fmt, profile=profile.name, scale=rule, level=scale)


@pytest.mark.parametrize("rounding", RULES)
def test_every_rounding(serve: Serve, rounding: str) -> None:
    for i, fmt in enumerate((*NAMED, ODD[0], ODD[4])):
        x = values(FLOATS[i % 3])[::9]
        random = torch.randint(-(1 << 40), 1 << 40, x.shape, generator=torch.Generator().manual_seed(i))
        quantized(serve, x, fmt, rounding=rounding, random=random if rounding == "stochastic" else None)


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    draw = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(shape, generator=draw) * 2.0 ** torch.randint(-9, 9, shape, generator=draw)).to(dtype)


SIZES = (8, 16, 64, 128, 256, 24, 5, 1, 512)  #: of blocks: those of some threads of a warp, and others


def test_blocks_of_every_size(serve: Serve) -> None:
    for i, size in enumerate(SIZES):
        for element in (e2m1, e4m3):
            if size % Block(element, e8m0, size).packed == 0:
                quantized(serve, randn(3, 6 * size, dtype=FLOATS[i % 3]), Block(element, e8m0, size))
                quantized(serve, randn(3, 6 * size, dtype=FLOATS[i % 3]), Block(element, float32, size))


@pytest.mark.parametrize("size", [(16, 16), (3, 2), (128, 128), (32, 1), (2, 32)], ids=str)
def test_tiles(serve: Serve, size: tuple[int, int]) -> None:
    rows, columns = size
    x = randn(2, 3 * rows, 2 * columns)
    for scale in (e8m0, e4m3, float32):
        for element in (e2m1, e4m3):
            if columns % Block(element, scale, size).packed == 0:
                quantized(serve, x, Block(element, scale, size))
    if size == (16, 16):
        quantized(serve, x, Block(e2m1, e4m3, size), profile="te/v1", level=torch.tensor(3.0))


VIEWS = {
    "whole": lambda x: x,
    "transposed": lambda x: x.mT,
    "columns of more": lambda x: x[..., 32:96],
    "not aligned": lambda x: x[..., 1:97],
    "every other": lambda x: x[..., ::2],
    "rows of more": lambda x: x[:, ::2, :64],
    "one row": lambda x: x[0, 0],
    "expanded": lambda x: x[:1, :1].expand(2, 9, 128),
    "permuted": lambda x: x.permute(1, 0, 2),
}


@pytest.mark.parametrize("name", VIEWS)
def test_every_layout_and_axis(serve: Serve, name: str) -> None:
    for i, fmt in enumerate((refnum.mxfp4, refnum.mxfp8_e4m3, refnum.nvfp4)):
        x = VIEWS[name](randn(2, 64, 128, dtype=FLOATS[i]))
        for axis in range(-x.dim(), 0):
            if x.shape[axis] % fmt.tile[1] == 0:
                quantized(serve, x, fmt, axis)
        if i == 0:
            quantized(serve, x, fmt, rounding="to_odd")


def test_more_rows_than_a_grid_has_and_rows_of_every_length(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizer, "MOST_AT_ONCE", 2)
    monkeypatch.setattr(quantizer, "MOST_ROWS", 2)
    monkeypatch.setattr(blocks, "MOST_BLOCKS", 1)
    for columns in (32, 8160, 8192, 8224, 16448):
        x = randn(3, columns + 32)[:, :columns]
        quantized(serve, x, refnum.mxfp4)
        quantized(serve, x[:1], refnum.mxfp8_e5m2)
    quantized(serve, randn(40, 64), Block(e4m3, e4m3, 5 + 3), rounding="to_odd")


def test_tiles_of_columns_and_what_is_left_of_them(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, shape in enumerate(((32, 8), (2, 288, 40), (3, 512, 64), (1, 544, 72), (2, 2, 32, 16))):
        if i == 3:
            monkeypatch.setattr(quantizer, "MOST_ROWS", 1)
        for fmt in (refnum.mxfp4, refnum.nvfp4, Block(e4m3, e8m0, 8), Block(e4m3, float32, 32)):
            x = randn(*shape, dtype=FLOATS[i % 3])
            assert "columns" in kernel_of(x, fmt, -2).name
            quantized(serve, x, fmt, -2)
            x[..., 3, 5], x[..., 7, 1] = torch.nan, torch.inf
            quantized(serve, x, fmt, -2)


def kernel_of(x: Tensor, fmt: Block, axis: int = -1) -> launch.Kernel:
    """What quantizes it."""
    made = recipe("", fmt, PROFILES["ocp/v1"], None, None, FLOAT_ROWS[x.dtype])
    out = torch.empty(quantizer.size_of(x.shape, axis, fmt), dtype=torch.uint8)
    kernel: launch.Kernel = quantizer.prepared(x, made, axis, None, None, out)[0]
    return kernel


def test_which_kernel_serves() -> None:
    x = randn(64, 128)
    assert kernel_of(x, refnum.mxfp4).name == "rn_quantize_rows_float32_e2m1"
    assert kernel_of(x.half(), refnum.mxint8, -2).name == "rn_quantize_rows_float16_int8", "there is a copy of x before"
    assert kernel_of(x[:, 1:97].bfloat16(), refnum.mxfp8_e4m3).name == "rn_quantize_rows_bfloat16_e4m3"
    assert (
        kernel_of(x.mT, refnum.mxfp4).name == kernel_of(x, refnum.mxfp4, -2).name == "rn_quantize_columns_float32_e2m1"
    )
    assert kernel_of(x, Block(e2m1, e8m0, 64), -2).name == "rn_quantize_rows_float32_e2m1"
    assert kernel_of(x[:1, :16], refnum.nvfp4).name == kernel_of(x, ODD[0]).name == "rn_quantize_blocks"


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [refnum.mxfp4, refnum.mxfp8_e4m3], ids=str)
@pytest.mark.parametrize("axis", [-1, -2])
def test_no_barrier_commit_or_wait_is_idle(fmt: Block, axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of values so many that a warp, or a block of the grid, makes several parts."""
    monkeypatch.setattr(quantizer, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(quantizer, "MOST_ROWS", 1)
    x = randn(3, 8192) if axis == -1 else randn(768, 64)
    made = recipe("", fmt, PROFILES["ocp/v1"], None, None, float32)
    want = quantizer.reference(x, fmt.name, "ocp/v1", None, "nearest_even", axis, None, None)
    kernels = simulate.Kernels.of_file("quantizer.cu", kernel_of(x, fmt, axis).name)

    def differs(choice: simulate.Choice) -> bool:
        got = torch.empty_like(want)
        kernel, grid, block, shared, *arguments = quantizer.prepared(x, made, axis, None, None, got)
        try:
            kernels.run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)
        except simulate.SimulationError:
            return True
        return not torch.equal(got, want)

    assert not any(differs(choice) for choice in simulate.CHOICES)
    sites = {number: what for number, what in kernels.sites().items() if "shfl" not in what}
    assert len(sites) == (5 if fmt == refnum.mxfp8_e4m3 else 4) if axis == -1 else 4
    for number, what in sites.items():
        assert any(differs(choice._replace(without=number)) for choice in simulate.CHOICES), f"nothing needs {what}"


def test_what_is_written_is_the_result_alone(serve: Serve) -> None:
    if serve.device.type == "cuda":
        pytest.skip("compute-sanitizer tells")
    for fmt, rounding in itertools.product((refnum.mxfp4, refnum.mxint8, refnum.nvfp4), ("nearest_even", "to_odd")):
        x = randn(3, 96)
        made = recipe("", fmt, PROFILES["ocp/v1"], None, rounding, float32)
        size = quantizer.size_of(x.shape, -1, fmt)
        guarded = torch.full((size + 64,), 0xA5, dtype=torch.uint8)
        launch.launch(*quantizer.prepared(x, made, -1, None, None, guarded[32:-32]))
        assert guarded[:32].eq(0xA5).all()
        assert guarded[-32:].eq(0xA5).all()
        want = quantizer.reference(x, fmt.name, "ocp/v1", None, rounding, -1, None, None)
        assert torch.equal(guarded[32:-32], want)


def test_the_largest_magnitude_anywhere(serve: Serve) -> None:
    for i, dtype in enumerate(FLOATS):
        for shape in ((8,), (64, 40), (5, 8, 3)):
            x = randn(*shape, dtype=dtype)
            for place in (0, 7, x.numel() // 2, x.numel() - 1):
                one = x.clone()
                one.view(-1)[place] = (-6e4, torch.inf, torch.nan)[i]
                serve.assert_right(AMAX, one)
                serve.assert_right(AMAX, one.mT if one.dim() > 1 else one)
    assert not AMAX.covers(randn(9))
    assert not AMAX.covers(randn(9)[1:])


# ---- dequantize ----------------------------------------------------------------------------------


def dequantized(serve: Serve, found: mx.Blocks, dtype: torch.dtype) -> None:
    parts = found.elements, found.scales, found.tensor_scale
    serve.assert_right(dequantizer.OPERATION, *parts, found.fmt.name, list(found.shape), found.axis, dtype)


@pytest.mark.parametrize("fmt", [*NAMED, *ODD, Block(e4m3, float32, (2, 6)), Block(e2m1, e8m0, (4, 2))], ids=str)
def test_values_of_every_format(serve: Serve, fmt: Block) -> None:
    draw = torch.Generator().manual_seed(3)
    for i, dtype in enumerate((*FLOATS, torch.float64)):
        for shape, axis in (((6, 64), -1), ((6, 61), -1), ((64, 5), -2), ((3, 33, 2), 1)):
            if fmt.tile[0] > 1 and axis != -1:
                continue
            stored = mx.blocks.stored_shapes(torch.Size(shape), range(-len(shape), 0)[axis], fmt)
            codes = torch.randint(0, 256, stored[0], generator=draw, dtype=torch.uint8)
            scales = torch.randint(0, 256, stored[1], generator=draw, dtype=torch.uint8)
            if fmt.scale == float32:
                scales = torch.randint(-(1 << 31), 1 << 31, stored[1], generator=draw).int().view(torch.float32)
            level = None if fmt.scale == float32 else (None, torch.tensor(1 / 3), torch.tensor(1e30))[i % 3]
            dequantized(serve, mx.Blocks(codes, scales, fmt, torch.Size(shape), axis, level), dtype)
            dequantized(serve, mx.Blocks(codes, scales, fmt, torch.Size(shape), axis), dtype)


def test_what_comes_out_goes_back(serve: Serve) -> None:
    for axis, fmt in itertools.product((-1, -2), (refnum.mxfp4, refnum.mxfp8_e4m3, refnum.nvfp4)):
        for dtype in FLOATS:
            dequantized(serve, mx.quantize(randn(64, 96), fmt, axis=axis), dtype)


# ---- far away ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vast(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """More than 2**33 bytes, in a file of which few pages ever exist."""
    path = tmp_path_factory.mktemp("vast") / "sparse"
    with path.open("w+b") as file:
        file.truncate((1 << 33) + (1 << 20))
        space = mmap.mmap(file.fileno(), 0)
    path.unlink()
    return torch.frombuffer(space, dtype=torch.bfloat16)


@pytest.mark.parametrize("rounding", ["nearest_even", "to_odd"])
def test_elements_beyond_31_bits(serve: Serve, vast: Tensor, rounding: str) -> None:
    if serve.device.type == "cuda":
        pytest.skip("it would be moved as a whole")
    x = randn(2, 64, dtype=torch.bfloat16)
    far = vast.as_strided((2, 64), ((1 << 31) + 64, 1)).copy_(x)
    for fmt in (refnum.mxfp4, refnum.nvfp4):
        want = quantizer.reference(x, fmt.name, "ocp/v1", None, rounding, -1, None, None)
        assert torch.equal(serve(QUANTIZE, far, fmt.name, "ocp/v1", None, rounding, -1, None, None), want)


# ---- as refnum calls them ------------------------------------------------------------------------


def test_refnum_calls_them() -> None:
    assert stage().play(scenes.block_formats) == []


def test_what_has_kernels() -> None:
    x = torch.empty(1)
    assert quantizer.covered(x, "mxfp4", "ocp/v1", "floor", "stochastic")
    assert not quantizer.covered(x, "mxfp4", "microxcaling/v1", None, "nearest_away")
    assert not quantizer.covered(x, "block(e2m1,e8m0,5)", "ocp/v1", None, "nearest_even")
    assert quantizer.covered(x, "block(e4m3,e8m0,5)", "ocp/v1", None, "nearest_even")
    odd = Block(Minifloat(4, 3, bias=-2, specials="fn"), e8m0, 32).name
    assert dequantizer.covered(x, x, None, "mxint8")
    assert not dequantizer.covered(x, x, None, odd)
    assert not dequantizer.covered(x, x, None, Block(FixedPoint(8, 200), e8m0, 32).name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("fmt", [refnum.mxfp4, refnum.mxfp8_e4m3, refnum.nvfp4], ids=str)
def test_large_tensors_through_refnum(fmt: Block) -> None:
    x = randn(1024, 4096, dtype=torch.bfloat16)
    for axis in (-1, -2):
        want = mx.quantize(x, fmt, axis=axis)
        with refnum.use_backend("cuda"):
            got = mx.quantize(x.cuda(), fmt, axis=axis)
            back = mx.dequantize(got, torch.bfloat16)
            order = mx.to_blocked(got.scales)
        assert torch.equal(got.elements.cpu(), want.elements)
        assert torch.equal(got.scales.cpu().view(torch.uint8), want.scales.view(torch.uint8))
        assert torch.equal(back.cpu().view(torch.int16), mx.dequantize(want, torch.bfloat16).view(torch.int16))
        assert torch.equal(order.cpu(), mx.to_blocked(want.scales))
