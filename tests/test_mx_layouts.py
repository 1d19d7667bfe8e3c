"""Layouts: every recorded shuffle, the formulas of each layout, and the ways back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refnum.errors import ContractError, DTypeError, RefnumError, ShapeError
from refnum.mx import layouts
from refnum.mx.layouts import (
    LAYOUTS,
    from_blocked,
    shuffle,
    shuffle_scale,
    shuffle_weight,
    to_blocked,
    unshuffle,
    unshuffle_scale,
    unshuffle_weight,
)

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors" / "mx_shuffles.npz"
BYTES = [torch.uint8, torch.int8, torch.float8_e8m0fnu, torch.float8_e4m3fn, torch.float4_e2m1fn_x2]

needs_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed"
)


def random_bytes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def same(got: Tensor, want: Tensor) -> bool:
    """Same dtype, shape and bits."""
    alike = got.dtype == want.dtype and got.shape == want.shape
    return alike and torch.equal(got.contiguous().view(torch.uint8), want.contiguous().view(torch.uint8))


@pytest.fixture(params=["words", "elements"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "elements":
        monkeypatch.setattr(layouts, "in_memory_order", lambda _: False)


#: a test runs twice: with bits moved in wide words, and as other devices and compiled code move them
both_ways = pytest.mark.usefixtures("_ways")


# ---- what peers recorded ------------------------------------------------------------------------------------------


def experts(name: str) -> Callable[[Tensor], Tensor]:
    """The recorded call stacks its two experts in rows."""
    return lambda x: shuffle(x.view(2, -1, x.shape[-1]), name).view(x.shape)


def named(name: str) -> Callable[[Tensor], Tensor]:
    return lambda x: shuffle(x, name)


RECORDED: dict[str, Callable[[Tensor], Tensor]] = {
    "aiter_shuffle_weight_16x16": shuffle_weight,
    "aiter_shuffle_weight_16x16_bf16": lambda x: shuffle_weight(x.view(torch.bfloat16)).view(torch.uint8),
    "aiter_shuffle_weight_f4": named("f4_weight"),
    "aiter_shuffle_weight_gfx1250": named("gfx1250_weight"),
    "aiter_shuffle_mxfp8fp4_a": named("mxfp8fp4_a"),
    "aiter_shuffle_weight_a16w4_gateup": named("a16w4_weight_gate_up"),
    "aiter_shuffle_scale": shuffle_scale,
    "aiter_shuffle_scale_zeropad": shuffle_scale,
    "aiter_shuffle_scale_gemm_gfx950": named("gfx950_scale_stripes"),
    "aiter_shuffle_scale_gemm_gfx1250": named("gfx1250_scale"),
    "aiter_shuffle_scale_f4_mx": named("f4_scale_mx"),
    "aiter_shuffle_scale_batched": named("batched_scale"),
    "aiter_shuffle_scale_guint_E2": experts("guinterleave_scale"),
    "aiter_shuffle_scale_guint_E2_gateup": experts("guinterleave_scale_gate_up"),
    "ao_to_blocked": to_blocked,
}


def recorded() -> Iterator[Any]:
    with np.load(VECTORS, allow_pickle=False) as file:
        for key in file.files:
            if key.endswith("/in"):
                name = key.removesuffix("/in")
                yield pytest.param(RECORDED[name.rpartition("_")[0]], file[key], file[f"{name}/out"], id=name)


@both_ways
@pytest.mark.parametrize(("function", "x", "want"), list(recorded()))
def test_recorded_shuffles(function: Callable[[Tensor], Tensor], x: np.ndarray, want: np.ndarray) -> None:
    assert same(function(torch.from_numpy(x)), torch.from_numpy(want))


def test_every_recorded_shuffle_is_taken() -> None:
    assert {key.rpartition("_")[0] for key in np.load(VECTORS).files} == RECORDED.keys()


# ---- the formulas, by themselves ----------------------------------------------------------------------------------

Place = Callable[[Any, Any, int, int], Any]  #: (row, column, rows, columns) -> place in the memory of the result


class Formula(NamedTuple):
    """Where a layout puts an element, the tile that shapes must be whole multiples of, and the result's shape."""

    place: Place
    tile: tuple[int, int]
    shape: Callable[[int, int], tuple[int, ...]] = lambda r, c: (r, c)
    multiples: tuple[int, int] = (1, 1)
    pad: int = 0


def tiles(a: int, b: int) -> Place:
    return lambda r, c, rows, columns: r // a * a * columns + c // b * a * b + r % a * b + c % b


def weight(r: Any, c: Any, rows: int, columns: int) -> Any:
    return r // 16 * 16 * columns + c // 32 * 512 + c % 32 // 16 * 256 + r % 16 * 16 + c % 16


def a16w4(r: Any, c: Any, rows: int, columns: int) -> Any:
    return r // 16 * 16 * columns + c // 64 * 1024 + c % 64 // 16 * 256 + r % 16 * 16 + c % 16


def a16w4_gate_up(r: Any, c: Any, rows: int, columns: int) -> Any:
    up, r = r // (rows // 2), r % (rows // 2)
    return (r // 16 * 2 + up) * 16 * columns + c // 64 * 1024 + c % 64 // 16 * 256 + r % 16 * 16 + c % 16


def lanes(r: Any, c: Any, rows: int, columns: int) -> Any:
    return r // 32 * 32 * columns + c // 8 * 256 + c % 4 * 64 + r % 16 * 4 + c % 8 // 4 * 2 + r % 32 // 16


def lanes_gate_up(r: Any, c: Any, rows: int, columns: int) -> Any:
    up, r = r // (rows // 2), r % (rows // 2)
    return r // 16 * 32 * columns + c // 8 * 256 + c % 4 * 64 + r % 16 * 4 + c % 8 // 4 * 2 + up


def blocks(w: int) -> Place:
    return lambda r, c, rows, columns: (
        r // 128 * 128 * columns + c // w * 128 * w + r % 32 * 4 * w + r % 128 // 32 * w + c % w
    )


def batched(r: Any, c: Any, rows: int, columns: int) -> Any:
    w = columns if columns < 4 else min(16, 1 << (columns - 1).bit_length())
    return blocks(w)(r, c, rows, columns)


def stripes(height: int) -> Callable[[int, int], tuple[int, ...]]:
    return lambda r, c: (r // height, height * c)


FORMULAS = {
    "gfx950_weight": Formula(weight, (16, 32)),
    "gfx1250_weight": Formula(weight, (16, 32), stripes(16)),
    "f4_weight": Formula(tiles(16, 16), (16, 16)),
    "a16w4_weight": Formula(a16w4, (16, 64)),
    "a16w4_weight_gate_up": Formula(a16w4_gate_up, (32, 64)),
    "mxfp8fp4_a": Formula(tiles(2, 128), (2, 128)),
    "gfx950_scale": Formula(lanes, (32, 8), multiples=(256, 8)),
    "gfx950_scale_stripes": Formula(lanes, (32, 8), stripes(32)),
    "gfx1250_scale": Formula(tiles(16, 4), (16, 4), stripes(16)),
    "f4_scale_mx": Formula(tiles(32, 4), (32, 4)),
    "f4_scale_nv": Formula(tiles(32, 8), (32, 8)),
    "n32k4_scale": Formula(tiles(32, 4), (32, 4), stripes(32)),
    "mxfp8fp4_scale": Formula(tiles(32, 4), (32, 4), multiples=(32, 1), pad=0x7F),
    "guinterleave_scale": Formula(lanes, (32, 8), multiples=(1, 8), pad=0x7F),
    "guinterleave_scale_gate_up": Formula(lanes_gate_up, (32, 8), multiples=(1, 8), pad=0x7F),
    "batched_scale": Formula(batched, (128, 16), stripes(128)),
    "nvidia_32_4_4": Formula(blocks(4), (128, 4), lambda r, c: (r * c,), multiples=(128, 4)),
}
AXES = "nvidia_32_4_4_axes"
PADDED = [name for name, formula in FORMULAS.items() if formula.multiples != (1, 1)]


def test_every_layout_has_a_formula() -> None:
    assert LAYOUTS.keys() == FORMULAS.keys() | {AXES}


def moved(x: np.ndarray, name: str, pad: int | None = None) -> np.ndarray:
    """The shuffle of a batch of matrices by the formula, and nothing else."""
    formula = FORMULAS[name]
    *batch, rows, columns = x.shape
    high, wide = (-(-n // m) * m for n, m in zip((rows, columns), formula.multiples, strict=True))
    padded = np.full((*batch, high, wide), formula.pad if pad is None else pad, np.uint8)
    padded[..., :rows, :columns] = x
    result = np.zeros((*batch, high * wide), np.uint8)
    r, c = np.indices((high, wide))
    result[..., formula.place(r, c, high, wide)] = padded
    return result.reshape(*batch, *formula.shape(high, wide))


@st.composite
def matrices(draw: st.DrawFn, name: str) -> Tensor:
    """A batch of whole tiles, or of any size along an axis that is padded; in any order of memory."""
    formula = FORMULAS[name]
    batch = draw(st.sampled_from([(), (1,), (3,), (2, 2), (0,)]))
    sides = [
        draw(st.integers(0, 3 * multiple // 2)) if multiple > 1 else tile * draw(st.integers(0, 3))
        for tile, multiple in zip(formula.tile, formula.multiples, strict=True)
    ]
    return strided(random_bytes(*batch, *sides, seed=draw(st.integers(0, 99))), draw(st.sampled_from(STRIDES)))


STRIDES = ("in order", "transposed", "every other", "off by one", "expanded")


def strided(x: Tensor, how: str) -> Tensor:
    """The same values with other strides."""
    match how:
        case "transposed":
            return x.mT.contiguous().mT
        case "every other":
            return x.repeat_interleave(2, -1)[..., ::2]
        case "off by one":
            return torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape)
        case "expanded":
            return x[..., :1, :].expand(x.shape)
    return x


@both_ways
@pytest.mark.parametrize("name", FORMULAS)
@settings(deadline=None, max_examples=25)
@given(st.data())
def test_each_byte_goes_where_the_formula_says(name: str, data: st.DataObject) -> None:
    x = data.draw(matrices(name))
    y = shuffle(x, name)
    assert same(y, torch.from_numpy(moved(x.numpy(), name)))
    assert y.is_contiguous()
    assert same(unshuffle(y, name, x.shape), x)


@pytest.mark.parametrize("name", FORMULAS)
def test_no_byte_is_lost(name: str) -> None:
    """Every byte value, so often as it was there: the map is one to one."""
    rows, columns = FORMULAS[name].tile
    x = torch.arange(2 * rows * columns).to(torch.uint8).view(2 * rows, columns)
    y = shuffle(x, name)
    added = y.numel() - x.numel()
    assert sorted(y.reshape(-1).tolist()) == sorted(x.view(-1).tolist() + [FORMULAS[name].pad] * added)


@both_ways
@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("pad", [None, 0, 1, 0x7F, 255])
@pytest.mark.parametrize("shape", [(1, 1), (100, 5), (257, 9), (2, 256, 8), (3, 5, 300)])
def test_pad_bytes(name: str, pad: int | None, shape: tuple[int, ...]) -> None:
    *batch, rows, columns = shape
    tile, multiples = FORMULAS[name].tile, FORMULAS[name].multiples
    rows, columns = (n if m > 1 else -(-n // t) * t for n, t, m in zip((rows, columns), tile, multiples, strict=True))
    x = random_bytes(*batch, rows, columns)
    y = shuffle(x, name, pad=pad)
    assert same(y, torch.from_numpy(moved(x.numpy(), name, pad)))
    assert same(unshuffle(y, name, x.shape), x)


@both_ways
@pytest.mark.parametrize("shape", [(1, 1), (100, 5), (257, 9), (2, 128, 4), (3, 2, 130, 6)])
def test_the_axes_are_a_view_of_the_blocks(shape: tuple[int, ...]) -> None:
    """(32, 4, M / 128, 4, S / 4, batch), on the memory that `to_blocked` gives."""
    *batch, m, k = shape
    x = random_bytes(*shape)
    y = shuffle(x, AXES)
    high, wide = -(-m // 128), -(-k // 4)
    assert y.shape == (32, 4, high, 4, wide, *batch)
    memory = y.permute(*range(5, 5 + len(batch)), 2, 4, 0, 1, 3)
    assert memory.is_contiguous()
    assert same(memory.reshape(*batch, -1), to_blocked(x))
    for row, column in ((0, 0), (m - 1, k - 1), (m // 2, k // 3)):
        place = row % 32, row % 128 // 32, row // 128, column % 4, column // 4
        assert torch.equal(y[place], x[..., row, column])
    assert same(unshuffle(y, AXES, shape), x)
    assert same(unshuffle(y.contiguous(), AXES, shape), x)


@both_ways
@pytest.mark.parametrize("columns", [0, 1, 2, 3, 4, 8, 16, 32, 48])
def test_the_tile_of_batched_scales_is_as_wide_as_they_are(columns: int) -> None:
    x = random_bytes(2, 256, columns)
    y = shuffle(x, "batched_scale")
    assert same(y, torch.from_numpy(moved(x.numpy(), "batched_scale")))
    assert same(unshuffle(y, "batched_scale", x.shape), x)


@pytest.mark.parametrize("columns", [5, 7, 9, 12, 20, 24])
def test_batched_scales_of_other_widths_are_refused(columns: int) -> None:
    with pytest.raises(ShapeError, match=rf"got 128 rows and {columns} columns. Rows must be a multiple of 128, "):
        shuffle(random_bytes(128, columns), "batched_scale")


def test_functions_are_layouts_by_name() -> None:
    x, w = random_bytes(2, 100, 5), random_bytes(2, 32, 64)
    assert same(shuffle_weight(w), shuffle(w, "gfx950_weight"))
    assert same(shuffle(w, "gfx1250_weight").view(w.shape), shuffle_weight(w))
    assert same(shuffle_scale(x), shuffle(x, "gfx950_scale"))
    assert same(shuffle_scale(x, 0x7F), shuffle(x, "gfx950_scale", pad=0x7F))
    assert same(shuffle_scale(x).view(2, 8, 256), shuffle(unpadded(x), "gfx950_scale_stripes"))
    assert same(to_blocked(x), shuffle(x, "nvidia_32_4_4"))
    assert same(unshuffle_scale(shuffle_scale(x), x.shape), x)
    assert same(from_blocked(to_blocked(x), list(x.shape)), x)


def unpadded(x: Tensor) -> Tensor:
    return torch.nn.functional.pad(x, (0, -x.shape[-1] % 8, 0, -x.shape[-2] % 256))


# ---- weights of any width -----------------------------------------------------------------------------------------

WIDTHS = {1: torch.uint8, 2: torch.bfloat16, 4: torch.float32, 8: torch.int64}


@both_ways
@pytest.mark.parametrize("layout", [(16, 16), (32, 16), (16, 32), (32, 8), (1, 8), (5, 24)])
@pytest.mark.parametrize("itemsize", WIDTHS)
@pytest.mark.parametrize("how", STRIDES)
def test_weights_of_any_width(layout: tuple[int, int], itemsize: int, how: str) -> None:
    (tall, half), group = layout, 16 // itemsize
    rows, columns = 2 * tall, 6 * half
    x = strided(random_bytes(2, rows, columns, itemsize).view(WIDTHS[itemsize]).squeeze(-1), how)
    y = shuffle_weight(x, layout)
    n, k = np.indices((rows, columns))
    wide = 2 * half
    place = n // tall * tall * columns + k // wide * wide * tall + k % wide // group * tall * group
    place += n % tall * group + k % group
    want = torch.empty(2, rows * columns, dtype=x.dtype)
    want[:, torch.from_numpy(place).reshape(-1)] = x.reshape(2, -1)
    assert same(y, want.view(x.shape))
    assert same(unshuffle_weight(y, layout), x)


@both_ways
@pytest.mark.parametrize("dtype", BYTES, ids=str)
def test_types_of_one_byte(dtype: torch.dtype) -> None:
    codes = random_bytes(2, 64, 128)
    x = codes.view(dtype)
    assert same(shuffle_weight(x), shuffle_weight(codes).view(dtype))
    assert same(unshuffle_weight(shuffle_weight(x)), x)
    for name in LAYOUTS:
        if name != "batched_scale":
            assert same(shuffle(x, name), shuffle(codes, name).view(dtype))
            assert same(unshuffle(shuffle(x, name), name, x.shape), x)


@both_ways
@pytest.mark.parametrize("flush", [False, True])
def test_nan_payloads_signs_and_subnormals_stay(flush: bool) -> None:
    """As floats of every width: signalling and quiet NaNs, infinities, zeros and subnormals are bits like others."""
    patterns = [0x7FF0000000000001, 0xFFF4000000000000, 0x7FF8000000000001, 0x7FF0000000000000, 1, 1 << 63, 0x800FFFFF]
    patterns += [0x7FA00001FFBFFFFF, 0x8000000180000001, 0x7F017DFFFC01FE00, 0x7F81FF810001FFC1]
    words = np.resize(np.array(patterns, np.uint64), (32, 16)).view(np.uint8)
    x, want = torch.from_numpy(words), torch.from_numpy(moved(words, "gfx950_weight"))
    torch.set_flush_denormal(flush)
    try:
        assert same(shuffle_weight(x), want)
        assert same(unshuffle_weight(want), x)
    finally:
        torch.set_flush_denormal(False)


@both_ways
@pytest.mark.parametrize("shape", [(0, 32), (16, 0), (0, 0), (0, 16, 32), (2, 0, 16, 32)])
def test_empty_weights(shape: tuple[int, ...]) -> None:
    x = torch.empty(shape, dtype=torch.uint8)
    assert shuffle_weight(x).shape == shape
    assert unshuffle_weight(shuffle_weight(x)).shape == shape


def test_a_weight_that_learns_is_moved_without_a_gradient() -> None:
    x = torch.randn(16, 32).requires_grad_()
    assert not shuffle_weight(x).requires_grad
    assert same(unshuffle_weight(shuffle_weight(x)), x.detach())


def test_the_default_device_does_not_matter() -> None:
    x = random_bytes(32, 64)
    with torch.device("meta"):
        assert shuffle_weight(x).device == shuffle_scale(x).device == to_blocked(x).device == x.device


# ---- what is refused ----------------------------------------------------------------------------------------------

X = random_bytes(32, 64)


class Row(NamedTuple):
    """A call that is refused, and what the message says."""

    error: type[RefnumError]
    call: Callable[[], object]
    parts: str  #: what failed | what was got | what is allowed | what to do


# fmt: off
REFUSED = (
    Row(ShapeError, lambda: shuffle_weight(X[:20]),
        "mx.shuffle_weight needs whole tiles | got 20 rows and 64 columns | multiple of 16, columns of 32 | Pad the"),
    Row(ShapeError, lambda: shuffle_weight(X[:, :40]),
        "mx.shuffle_weight needs whole tiles | got 32 rows and 40 columns | multiple of 16, columns of 32 | Pad the"),
    Row(ShapeError, lambda: shuffle_weight(X, (5, 16)),
        "mx.shuffle_weight needs whole tiles | got 32 rows and 64 columns | multiple of 5, columns of 32 | Pad the"),
    Row(ShapeError, lambda: unshuffle_weight(X[:20]),
        "mx.unshuffle_weight needs whole tiles | got 20 rows | multiple of 16, columns of 32 | Pad the"),
    Row(ShapeError, lambda: shuffle_weight(X[0]),
        "mx.shuffle_weight needs a matrix | got shape (64,) | rows and columns | Reshape it."),
    Row(ShapeError, lambda: shuffle_weight(X[0, 0]),
        "mx.shuffle_weight needs a matrix | got shape () | rows and columns | Reshape it."),
    Row(ContractError, lambda: shuffle_weight(X, (16, 4)),
        "mx.shuffle_weight has no | layout=(16, 4) for torch.uint8 | groups of 16 bytes | Choose (16, 16)"),
    Row(ContractError, lambda: shuffle_weight(X, (0, 16)),
        "mx.shuffle_weight has no | layout=(0, 16) | a pair of positive ints | Choose (16, 16)"),
    Row(ContractError, lambda: shuffle_weight(X, (16, 16.0)),
        "mx.shuffle_weight has no | layout=(16, 16.0) | a pair of positive ints | Choose (16, 16)"),
    Row(ContractError, lambda: shuffle_weight(X, (True, 16)),
        "mx.shuffle_weight has no | layout=(True, 16) | a pair of positive ints | Choose (16, 16)"),
    Row(ContractError, lambda: unshuffle_weight(X, (16,)),
        "mx.unshuffle_weight has no | layout=(16,) | a pair of positive ints | Choose (16, 16)"),
    Row(ContractError, lambda: unshuffle_weight(X, 16),
        "mx.unshuffle_weight has no | layout=16 | a pair of positive ints | Choose (16, 16)"),
    Row(DTypeError, lambda: shuffle_weight(X.to(torch.complex64)),
        "mx.shuffle_weight needs integers or floats for x | got torch.complex64 | no codes | Pass x.view(torch.uint8)"),
    Row(DTypeError, lambda: unshuffle_weight(X.bool()),
        "mx.unshuffle_weight needs integers or floats for x | got torch.bool | no codes | Pass x.view(torch.uint8)"),
    Row(DTypeError, lambda: shuffle_weight([[1]]),
        "mx.shuffle_weight needs | got list | a tensor for x | Use torch.as_tensor first."),
    Row(DTypeError, lambda: shuffle_weight(X.to_sparse()),
        "mx.shuffle_weight needs | got layout torch.sparse_coo | a dense tensor for x | Use x.to_dense() first."),
    Row(DTypeError, lambda: shuffle_scale(X.float()),
        "mx.shuffle_scale needs elements of one byte for x | got torch.float32 | uint8, int8 | Pass codes"),
    Row(DTypeError, lambda: to_blocked(X.bool()),
        "mx.to_blocked needs elements of one byte for x | got torch.bool | uint8, int8 | Pass codes"),
    Row(DTypeError, lambda: unshuffle_scale(X.short(), (32, 64)),
        "mx.unshuffle_scale needs elements of one byte for y | got torch.int16 | uint8, int8 | Pass codes"),
    Row(DTypeError, lambda: from_blocked(7, (32, 64)),
        "mx.from_blocked needs | got int | a tensor for y | Use torch.as_tensor first."),
    Row(ContractError, lambda: shuffle_scale(X, 256),
        "mx.shuffle_scale has no | pad=256 | an int from 0 to 255 | Choose one of them."),
    Row(ContractError, lambda: shuffle_scale(X, -1),
        "mx.shuffle_scale has no | pad=-1 | an int from 0 to 255 | Choose one of them."),
    Row(ContractError, lambda: shuffle_scale(X, 1.0),
        "mx.shuffle_scale has no | pad=1.0 | an int from 0 to 255 | Choose one of them."),
    Row(ContractError, lambda: shuffle(X, "mxfp8fp4_scale", pad=True),
        "mx.shuffle has no | pad=True | an int from 0 to 255 | Choose one of them."),
    Row(ContractError, lambda: shuffle(X, "f4_weight", pad=0),
        "mx.shuffle pads nothing in f4_weight | got pad=0 | whole tiles | Leave pad out"),
    Row(ContractError, lambda: shuffle(X, "gfx940_scale"),
        "mx.shuffle has no name | 'gfx940_scale' | gfx950_weight, gfx1250_weight | Choose one of"),
    Row(ContractError, lambda: unshuffle(X, None, (32, 64)),
        "mx.unshuffle has no name | None | gfx950_weight, gfx1250_weight | Choose one of"),
    Row(ShapeError, lambda: shuffle(X[:16], "n32k4_scale"),
        "mx.shuffle needs whole tiles | got 16 rows and 64 columns | multiple of 32, columns of 4 | Pad the matrix"),
    Row(ShapeError, lambda: shuffle(X[:16], "guinterleave_scale_gate_up"),
        "mx.shuffle needs whole tiles | got 16 rows and 64 columns | multiple of 32, columns of 8 | Pad the matrix"),
    Row(ShapeError, lambda: shuffle(X[:, :6], "mxfp8fp4_scale"),
        "mx.shuffle needs whole tiles | got 32 rows and 6 columns | multiple of 32, columns of 4 | Pad the matrix"),
    Row(ShapeError, lambda: to_blocked(X[0]),
        "mx.to_blocked needs a matrix | got shape (64,) | rows and columns | Reshape it."),
    Row(ShapeError, lambda: unshuffle_scale(X, (32, 64)),
        "mx.unshuffle_scale needs y as gfx950_scale makes it from (32, 64) | got (32, 64) | Its shape is (256, 64) | "
        "Pass the shape that the bytes had before, without padding."),
    Row(ShapeError, lambda: from_blocked(to_blocked(X), (130, 64)),
        "mx.from_blocked needs y as nvidia_32_4_4 makes it from (130, 64) | got (8192,) | Its shape is (16384,) | "
        "Pass the shape"),
    Row(ShapeError, lambda: unshuffle(X, "gfx950_scale_stripes", (30, 64)),
        "mx.unshuffle needs whole tiles | got 30 rows and 64 columns | multiple of 32, columns of 8 | Pad the matrix"),
    Row(ShapeError, lambda: unshuffle(X, "f4_weight", (64,)),
        "mx.unshuffle needs a matrix | got shape (64,) | rows and columns | Reshape it."),
    Row(ShapeError, lambda: unshuffle(X, "f4_weight", 64),
        "mx.unshuffle has no shape 64 | 64 | a sequence of sizes, [.., rows, columns] | Pass the shape"),
    Row(ShapeError, lambda: unshuffle(X, "f4_weight", (32, -64)),
        "mx.unshuffle has no shape | (32, -64) | a sequence of sizes, [.., rows, columns] | Pass the shape"),
    Row(ShapeError, lambda: unshuffle(X, "f4_weight", (32, 64.0)),
        "mx.unshuffle has no shape | (32, 64.0) | a sequence of sizes, [.., rows, columns] | Pass the shape"),
)
# fmt: on


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.parts)
def test_what_is_refused_and_why(row: Row) -> None:
    with pytest.raises(row.error) as caught:
        row.call()
    message, parts = str(caught.value), row.parts.split(" | ")
    assert len(parts) == 4
    for part in parts:
        assert part in message
    assert message.endswith(".")


# ---- compiled -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


fresh_compiler = pytest.mark.usefixtures("_fresh_compiler")


@fresh_compiler
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_one_graph(name: str) -> None:
    x = random_bytes(2, 128, 128)
    traced = torch.compile(lambda t: shuffle(t, name), fullgraph=True, backend="eager")
    y = shuffle(x, name)
    assert same(traced(x), y)
    back = torch.compile(lambda t: unshuffle(t, name, (2, 128, 128)), fullgraph=True, backend="eager")
    assert same(back(y), x)


@needs_compiler
@fresh_compiler
@pytest.mark.parametrize("shapes", [[(100, 5)], pytest.param([(100, 5), (257, 9)], marks=pytest.mark.slow)])
def test_compiled_is_eager(shapes: list[tuple[int, int]]) -> None:
    """A weight, and scales there and back, in one graph; then scales of another shape."""

    def function(w: Tensor, s: Tensor) -> tuple[Tensor, ...]:
        y = shuffle_scale(s, 3)
        return shuffle_weight(w), y, unshuffle_scale(y, s.shape)

    compiled = torch.compile(function, fullgraph=True)
    w = random_bytes(2, 32, 64)
    for shape in shapes:
        s = random_bytes(*shape)
        for got, want in zip(compiled(w, s), function(w, s), strict=True):
            assert same(got, want)


@fresh_compiler
def test_two_layouts_through_one_closure() -> None:
    """Dynamo must not take the numbers of a row for sizes that vary."""
    x = random_bytes(256, 64)
    for name in ("gfx950_scale", "nvidia_32_4_4", "f4_scale_mx", "f4_scale_nv", "gfx1250_scale"):
        compiled = torch.compile(lambda t, name=name: shuffle(t, name), fullgraph=True, backend="aot_eager")
        assert same(compiled(x), shuffle(x, name))
