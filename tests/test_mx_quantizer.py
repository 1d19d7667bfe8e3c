"""mx.quantize: its fast forms are its definition; axes, tiles, padding; what it refuses; what it does not depend on."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import refnum
from refnum import mx
from refnum.boundary import FLOAT_ROWS
from refnum.errors import ContractError, DTypeError, FormatError, RefnumError, ShapeError
from refnum.fast import elements as fast
from refnum.formats import Block, FixedPoint, Minifloat, e2m1, e4m3, e4m3fnuz, e5m2, e5m2fnuz, e8m0, float32
from refnum.mx import PROFILES, recipes, singles
from refnum.mx.profiles import Profile
from refnum.mx.recipes import Recipe, recipe, widened

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
BUT_HALF_SLOWLY = (torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow))
NAMED = (
    *(refnum.mxfp4, refnum.mxfp6_e2m3, refnum.mxfp6_e3m2, refnum.mxfp8_e4m3, refnum.mxfp8_e5m2, refnum.mxint8),
    refnum.nvfp4,
)
#: elements that no library has: other biases, widths and points; and those of named formats under other scales
ODD = (
    *(Block(e, e8m0, 32) for e in (e4m3fnuz, e5m2fnuz, Minifloat(5, 1, specials="none"), Minifloat(2, 4, bias=3))),
    *(Block(FixedPoint(w, f, symmetric=True), e8m0, 32) for w, f in ((4, 2), (5, -3), (8, 8))),
    Block(Minifloat(4, 3, bias=20, specials="fn"), e8m0, 32),
    *(Block(e, e4m3, 32) for e in (e4m3, e5m2fnuz, refnum.e3m2, FixedPoint(8, 6, symmetric=True))),
    *(Block(e, float32, 32) for e in (e2m1, e4m3, e4m3fnuz, e5m2)),
)
LEVELS = (None, 0.01, 2.0**-140, 3e38, 0.0, float("inf"), float("nan"))


def values(dtype: torch.dtype = torch.float32) -> Tensor:
    """[blocks, 32]: exponents from end to end, raw patterns, ties, subnormals, zeros of either sign, Inf, NaN."""
    generator = torch.Generator().manual_seed(0)

    def integers(low: int, high: int, rows: int) -> Tensor:
        return torch.randint(low, high, (rows, 32), generator=generator)

    blocks = []
    for exponent in (-149, -140, -130, -127, -126, -125, -120, -100, -60, -31, 0, 1, 60, 110, 126, 127):
        fractions = 1 + integers(0, 1 << 23, 8).double() / 2**23
        blocks.append(torch.ldexp(fractions, exponent + integers(-12, 1, 8)) * (1 - 2 * integers(0, 2, 8)))
    blocks.append(integers(-(1 << 31), 1 << 31, 300).to(torch.int32).view(torch.float32).double())
    quarters = integers(0, 4096, 40).double() / 8
    blocks += [quarters, -quarters * 2.0**-127, quarters * 2.0**-130]
    x = torch.cat(blocks).float()
    x[::7, ::5], x[1::7, ::5], x[5], x[6] = 0, -0.0, 0, -0.0
    x[100, 3], x[101], x[102, 1], x[103, 2:4] = torch.inf, -torch.inf, torch.nan, torch.tensor([torch.inf, torch.nan])
    return x.to(dtype)


def same(got: mx.Blocks, want: mx.Blocks) -> bool:
    pairs = [(got.elements, want.elements), (got.scales, want.scales)]
    pairs += [] if want.tensor_scale is None else [(got.tensor_scale, want.tensor_scale)]
    return all(torch.equal(a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)) for a, b in pairs)


# ---- fast forms -------------------------------------------------------------------------------------------------


def had(fmt: Block, dtype: torch.dtype) -> Iterator[tuple[Profile, str | None, float | None]]:
    """Profiles that have the format, their rules, and tensor scales."""
    for profile in PROFILES.values():
        forms = [form for form in profile.forms if form.has(fmt)]
        if not forms or (dtype == torch.float16 and not profile.half):
            continue
        rules = profile.rules if forms[0].formula == "rule" else (None,)
        yield from itertools.product([profile], rules, LEVELS if forms[0].tensor else LEVELS[:1])


@pytest.mark.parametrize("dtype", BUT_HALF_SLOWLY, ids=str)
@pytest.mark.parametrize("fmt", [*NAMED, *ODD], ids=str)
def test_fast_forms_are_the_definition(fmt: Block, dtype: torch.dtype) -> None:
    x, row = values(dtype).view(-1, fmt.tile[1]), FLOAT_ROWS[dtype]
    served = 0
    for profile, rule, level in had(fmt, dtype):
        pattern = None if level is None else torch.tensor(level).view(torch.int32)
        for rounding in fast.ROUNDINGS:
            made = recipe("", fmt, profile, rule, rounding, row)
            if made.serves:
                assert_forms_agree(made, pattern, x)
                served += 1
    assert served >= (9 if fmt in NAMED else 3)


def assert_forms_agree(made: Recipe, level: Tensor | None, x: Tensor) -> None:
    bits = widened(x)
    amax = (bits & 0x7FFFFFFF).amax(1)
    shared = made.scaling.share(amax, level, singles.WAIST)
    scaled = made.scaling.scaled(bits, shared.factors[:, None], singles.WAIST)
    want = torch.where(shared.void[:, None], 0, recipes.definition(made, *scaled, None))
    where = (made.profile.name, made.rounding, level)
    for ieee in (singles.WAIST, singles.MACHINE):
        (codes,), made_shared = recipes._by_integers(made, level, amax, [bits], [None], ieee)
        assert torch.equal(codes.long(), want), where
        assert torch.equal(made_shared.scales.long(), shared.scales.long()), where
    if made.rounding == "nearest_even":
        codes, made_shared = recipes.Floats(made, level, len(x))(x)
        assert torch.equal(codes.long(), want), where
        assert torch.equal(made_shared.scales.long(), shared.scales.long()), where
    elements, scales = recipes._whole(made, level, x, None)
    assert torch.equal(elements, mx.pack4(want.to(torch.uint8)) if made.pairs else want), where
    assert torch.equal(scales.long(), shared.scales.long()), where


@pytest.mark.parametrize("name", ["times", "over"])
def test_the_machine_and_the_waist_agree(name: str) -> None:
    """Every pair of numbers from all over float32, with all kinds of special ones."""
    generator = torch.Generator().manual_seed(1)
    random = torch.randint(-(1 << 31), 1 << 31, (400,), generator=generator)
    special = [0, 1, 2, 0x7FFFFF, 0x800000, 0x3F800000, 0x3F7FFFFF, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000]
    bits = torch.cat([random, torch.tensor(special), torch.tensor(special) - (1 << 31)]).to(torch.int32)
    a, b = bits[:, None].expand(-1, len(bits)).reshape(-1), bits.repeat(len(bits))
    waist, machine = (getattr(ieee, name)(a, b) for ieee in (singles.WAIST, singles.MACHINE))
    assert torch.equal(machine, waist.to(torch.int32))
    third = singles.pattern(1 / 3)
    for x, y in ((a, third), (third, a)):
        waist, machine = (getattr(ieee, name)(x, y) for ieee in (singles.WAIST, singles.MACHINE))
        assert torch.equal(machine, waist.to(torch.int32))


def test_the_machine_and_the_waist_agree_on_e4m3() -> None:
    bits = values().view(-1).abs().view(torch.int32)
    codes = singles.WAIST.to_e4m3(bits)
    assert torch.equal(singles.MACHINE.to_e4m3(bits).long(), codes)
    every = torch.arange(256, dtype=torch.int32)
    assert torch.equal(singles.MACHINE.of_e4m3(every), singles.WAIST.of_e4m3(every).to(torch.int32))


@pytest.mark.parametrize("fmt", [refnum.mxfp4, refnum.nvfp4, ODD[-3]], ids=str)
def test_pieces_do_not_matter(fmt: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    x = values()
    roundings = ("nearest_even", "nearest_away", "to_odd")
    want = [mx.quantize(x, fmt, rounding=rounding) for rounding in roundings]
    for chunk in (1, 96, 1 << 20):
        monkeypatch.setattr(recipes, "CHUNK", chunk)
        monkeypatch.setattr(recipes, "WIDE_CHUNK", chunk)
        got = [mx.quantize(x, fmt, rounding=rounding) for rounding in roundings]
        assert all(same(g, w) for g, w in zip(got, want, strict=True))


# ---- where blocks lie -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [refnum.mxfp4, refnum.mxfp8_e4m3, refnum.nvfp4, Block(e4m3, float32, 32)], ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2, -3])
def test_axes(fmt: Block, axis: int) -> None:
    x = torch.randn(64, 32, 96, generator=torch.Generator().manual_seed(axis))
    got, want = mx.quantize(x, fmt, axis=axis), mx.quantize(x.movedim(axis, -1), fmt)
    assert got.axis == range(-3, 0)[axis]
    assert got.shape == x.shape
    assert torch.equal(got.elements.movedim(axis, -1), want.elements)
    assert torch.equal(got.scales.movedim(axis, -1), want.scales)
    assert torch.equal(got.codes.movedim(axis, -1), want.codes)


@pytest.mark.parametrize("size", [(16, 16), (3, 5), (128, 128), (1, 7)])
@pytest.mark.parametrize("scale", [e8m0, e4m3, float32], ids=str)
@pytest.mark.parametrize("element", [e2m1, e4m3], ids=str)
def test_tiles(size: tuple[int, int], scale: Minifloat, element: Minifloat) -> None:
    (rows, columns), x = size, torch.randn(2, 48, 70, generator=torch.Generator().manual_seed(0))
    got = mx.quantize(x, Block(element, scale, size), pad=True)
    one = Block(element, scale, rows * columns)
    for b, i, j in itertools.product((0, 1), range(-(-48 // rows)), range(-(-70 // columns))):
        tile = x[b, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
        full = torch.zeros(rows, columns)
        full[: tile.shape[0], : tile.shape[1]] = tile
        want = mx.quantize(full.view(-1), one)
        assert torch.equal(got.scales[b, i, j], want.scales[0])
        codes = want.codes.view(rows, columns)[: tile.shape[0], : tile.shape[1]]
        assert torch.equal(got.codes[b, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns], codes)


@pytest.mark.parametrize("columns", [1, 15, 33, 70])
def test_padding_is_with_zeros(columns: int) -> None:
    x = torch.randn(3, columns, generator=torch.Generator().manual_seed(0))
    for fmt in (refnum.mxfp4, refnum.mxint8, refnum.nvfp4, Block(e2m1, e8m0, 5)):
        size = fmt.tile[1]
        full = torch.nn.functional.pad(x, (0, -columns % size))
        got, want = mx.quantize(x, fmt, pad=True), mx.quantize(full, fmt)
        assert same(got, want)
        assert got.shape == x.shape
        assert torch.equal(got.codes, want.codes[:, :columns])


def test_strides_do_not_matter() -> None:
    x = values()[:64]
    wide = torch.zeros(64, 64).index_copy(1, torch.arange(0, 64, 2), x)
    views = (x.T.contiguous().T, wide[:, ::2], torch._neg_view(-x), x.clone().requires_grad_())
    for fmt in (refnum.mxfp4, refnum.mxfp8_e5m2, refnum.nvfp4):
        assert all(same(mx.quantize(view, fmt), mx.quantize(x, fmt)) for view in views)
        row = x[:1].expand(7, 32)
        assert same(mx.quantize(row, fmt), mx.quantize(row.contiguous(), fmt))


@pytest.mark.parametrize("fmt", [*NAMED, Block(e4m3, float32, (16, 16))], ids=str)
@pytest.mark.parametrize("shape", [(0, 64), (16, 0), (0, 0), (2, 0, 64)])
def test_nothing(fmt: Block, shape: tuple[int, ...]) -> None:
    got = mx.quantize(torch.empty(shape), fmt)
    assert got.shape == torch.Size(shape)
    assert got.codes.shape == torch.Size(shape)
    assert not got.scales.numel()
    assert mx.dequantize(got).shape == torch.Size(shape)


def test_rows_do_not_depend_on_each_other() -> None:
    x = values()
    for fmt in (refnum.mxfp4, refnum.mxfp6_e3m2, refnum.nvfp4):
        whole = mx.quantize(x, fmt)
        for i in (0, 5, 100, 101, 102, 400):
            assert same(
                mx.quantize(x[i], fmt),
                mx.Blocks(whole.elements[i], whole.scales[i], fmt, x[i].shape),
            )


@pytest.mark.parametrize("fmt", NAMED, ids=str)
def test_quantizing_again_changes_nothing(fmt: Block) -> None:
    """The largest element of a block makes the same scale again."""
    x = values().clamp(-1e30, 1e30).nan_to_num(0.0)
    for profile in ("ocp", "torchao"):
        once = mx.quantize(x, fmt, profile=profile)
        assert same(mx.quantize(mx.dequantize(once), fmt, profile=profile), once)


# ---- random bits ------------------------------------------------------------------------------------------------


def test_random_bits_broadcast() -> None:
    x = torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0))
    for shape in ((), (1,), (32,), (6, 1), (4, 1, 32), (4, 6, 32)):
        bits = torch.randint(0, 1 << 16, shape, generator=torch.Generator().manual_seed(1))
        for fmt in (refnum.mxfp4, refnum.nvfp4):
            got = mx.quantize(x, fmt, rounding="stochastic", random_bits=bits)
            full = bits.expand(x.shape).contiguous()
            assert same(got, mx.quantize(x, fmt, rounding="stochastic", random_bits=full))
            assert same(got, mx.quantize(x, fmt, rounding="stochastic", random_bits=full | -1 << 16))


@pytest.mark.parametrize("profile", ["ocp", "te", "flashinfer", "compressed_tensors"])
def test_stochastic_rounding_lies_between_its_neighbours(profile: str) -> None:
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    fmt = refnum.nvfp4
    low, high = (mx.quantize(x, fmt, profile=profile, rounding=r) for r in ("toward_negative", "toward_positive"))
    bits = mx.random_bits(7, 0, x.shape)
    got = mx.quantize(x, fmt, profile=profile, rounding="stochastic", random_bits=bits)
    assert torch.equal(got.scales, low.scales)
    a, b, c = (mx.dequantize(blocks) for blocks in (low, got, high))
    assert ((a <= b) & (b <= c)).all()
    assert 0.3 < ((b == c) & (a < c)).sum() / (a < c).sum() < 0.7


def test_bits_of_the_axis_move_with_it() -> None:
    x, bits = torch.randn(32, 8), mx.random_bits(1, 0, (32, 8))
    got = mx.quantize(x, refnum.mxfp4, axis=0, rounding="stochastic", random_bits=bits)
    want = mx.quantize(x.T, refnum.mxfp4, rounding="stochastic", random_bits=bits.T)
    assert torch.equal(got.codes.T, want.codes)


# ---- refusals ---------------------------------------------------------------------------------------------------

X = torch.ones(2, 32)
REFUSED: list[tuple[Callable[[], object], type[RefnumError], str]] = [
    (lambda: mx.quantize(X, refnum.e2m1), FormatError, r"needs a block format, got .*Pass Block"),
    (lambda: mx.quantize(X.int(), refnum.mxfp4), DTypeError, r"floating-point values for x, got torch.int32.*Convert"),
    (lambda: mx.quantize([1.0], refnum.mxfp4), DTypeError, r"needs a tensor for x, got list"),
    (lambda: mx.quantize(X, refnum.mxfp4, profile="mx"), ContractError, r"no profile='mx'. Choose one of ocp/v1, "),
    (
        lambda: mx.quantize(X, refnum.mxfp4, scale="round"),
        ContractError,
        r"no scale='round'. Choose one of floor, ceil",
    ),
    (lambda: mx.quantize(X, refnum.mxfp4, rounding="rne"), ContractError, r"no rounding='rne'. Choose one of nearest_"),
    (
        lambda: mx.quantize(X, refnum.nvfp4, scale="floor"),
        ContractError,
        r"no scale='floor' for nvfp4, whose scales are e4m3: rules are for powers of two. Leave it out",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp8_e5m2, profile="flashinfer"),
        ContractError,
        r"no mxfp8_e5m2 in profile flashinfer/v1. That has e2m1 with scales of e8m0; .*Choose one of those, or another",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, profile="te"),
        ContractError,
        r"no mxfp4 in profile te/v1. That has e2m1 with scales of e4m3. Choose",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, profile="flashinfer", scale="floor"),
        ContractError,
        r"no scale='floor'. Choose one of rceil",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, tensor_scale=torch.tensor(1.0)),
        ContractError,
        r"no tensor scale for mxfp4 in profile ocp/v1. Leave it out",
    ),
    (
        lambda: mx.quantize(X, refnum.nvfp4, profile="aiter", tensor_scale=torch.tensor(1.0)),
        ContractError,
        r"no tensor scale for nvfp4 in profile aiter/v2. Choose one of ocp/v1, torchao/v1, te/v1, .*, which have",
    ),
    (lambda: mx.tensor_scale(X, refnum.mxfp4), ContractError, r"mx.tensor_scale has no tensor scale for mxfp4"),
    (lambda: mx.tensor_scale(X.double(), refnum.nvfp4), DTypeError, r"mx.tensor_scale cannot read float64"),
    (lambda: mx.tensor_scale(X, refnum.e4m3), FormatError, r"mx.tensor_scale needs a block format"),
    (
        lambda: mx.quantize(X, refnum.nvfp4, tensor_scale=torch.ones(1)),
        ShapeError,
        r"tensor_scale of shape \(\), got \(1,\). Use reshape",
    ),
    (
        lambda: mx.quantize(X, refnum.nvfp4, tensor_scale=torch.tensor(1)),
        DTypeError,
        r"float32 tensor_scale, got torch.int64. Convert",
    ),
    (
        lambda: mx.quantize(X.half(), refnum.nvfp4, profile="compressed_tensors"),
        DTypeError,
        r"cannot read float16 in profile compressed_tensors/v1, .*Allowed are bfloat16 and float32. Convert",
    ),
    (
        lambda: mx.quantize(X[:, :31], refnum.mxfp4),
        ShapeError,
        r"whole blocks of 32 along axis -1 for mxfp4, got 31 elements. Pass pad=True",
    ),
    (
        lambda: mx.quantize(X[:1].expand(16, 32), Block(e2m1, e4m3, (16, 16)), axis=0),
        ShapeError,
        r"two axes or more and axis=-1 for the tiles of .*Transpose",
    ),
    (lambda: mx.quantize(X[:, :16], Block(e2m1, e4m3, (16, 16))), ShapeError, r"whole blocks of 16 along axis -2"),
    (
        lambda: mx.quantize(torch.tensor(1.0), refnum.mxfp4),
        ShapeError,
        r"at least one axis for blocks, got a 0-d tensor. Use reshape",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, axis=2),
        ShapeError,
        r"no axis=2 in a tensor of 2 axes. Choose one from -2 to",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, rounding="stochastic"),
        ContractError,
        r"rounding='stochastic' needs random_bits, got None. Allowed are integers.*Pass",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, random_bits=torch.tensor(1)),
        ContractError,
        r"takes random_bits only with rounding='stochastic', got rounding='nearest_even'. Leave",
    ),
    (
        lambda: mx.quantize(X, refnum.mxfp4, rounding="stochastic", random_bits=torch.zeros(3, 32, dtype=torch.int32)),
        ShapeError,
        r"cannot broadcast x \(2, 32\), random_bits \(3, 32\)",
    ),
    (
        lambda: mx.quantize(
            X, refnum.mxfp4, rounding="stochastic", random_bits=torch.zeros(3, 2, 32, dtype=torch.int32)
        ),
        ShapeError,
        r"needs random_bits that broadcast to x, got x \(2, 32\), random_bits \(3, 2, 32\). Sizes must be.*Reshape",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), REFUSED)
def test_refusals(call: Callable[[], object], error: type[RefnumError], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert re.search(text, str(caught.value)), str(caught.value)


# ---- what does not matter ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fmt", [*NAMED, ODD[-3]], ids=str)
def test_flushing_does_not_matter(fmt: Block, dtype: torch.dtype) -> None:
    x = values(dtype)
    calls = [
        lambda p=profile, r=rule, t=level: mx.quantize(
            x, fmt, profile=p.name, scale=r, tensor_scale=None if t is None else torch.tensor(t)
        )
        for profile, rule, level in had(fmt, dtype)
        if level in (None, 0.01)
    ]
    want = [call() for call in calls]
    scale = mx.tensor_scale(x[:5], refnum.nvfp4)
    assert torch.set_flush_denormal(True)
    try:
        got = [call() for call in calls]
        assert torch.equal(mx.tensor_scale(x[:5], refnum.nvfp4), scale)
    finally:
        torch.set_flush_denormal(False)
    assert all(same(g, w) for g, w in zip(got, want, strict=True))


needs_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed"
)


def compiled(fmt: Block, backend: str, **choices: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    torch._dynamo.reset()

    def run(x: Tensor, t: Tensor | None = None, r: Tensor | None = None) -> tuple[Tensor, Tensor]:
        blocks = mx.quantize(x, fmt, tensor_scale=t, random_bits=r, **choices)
        return blocks.elements, blocks.scales

    return torch.compile(run, fullgraph=True, backend=backend)


def assert_compiled(fmt: Block, backend: str, dtype: torch.dtype, level: float | None = None, **choices: Any) -> None:
    x, t = values(dtype), None if level is None else torch.tensor(level)
    r = mx.random_bits(3, 0, x.shape) if choices.get("rounding") == "stochastic" else None
    want = mx.quantize(x, fmt, tensor_scale=t, random_bits=r, **choices)
    run = compiled(fmt, backend, **choices)
    for flush in (False, True):
        torch.set_flush_denormal(flush)
        try:
            elements, scales = run(x, t, r)
        finally:
            torch.set_flush_denormal(False)
        assert same(replace(want, elements=elements, scales=scales), want), flush


@pytest.mark.parametrize(
    "dtype", [torch.float32, *(pytest.param(dtype, marks=pytest.mark.slow) for dtype in DTYPES[1:])], ids=str
)
@pytest.mark.parametrize(
    ("fmt", "choices"),
    [
        (refnum.mxfp4, {}),
        (refnum.mxfp4, {"axis": 0, "pad": True}),
        (refnum.mxfp4, {"profile": "microxcaling"}),
        (refnum.mxfp4, {"profile": "aiter_legacy"}),
        (refnum.mxfp8_e5m2, {"rounding": "stochastic"}),
        (Block(e2m1, e8m0, 5), {"pad": True}),
        (Block(e2m1, e4m3, (16, 16)), {"profile": "te", "pad": True}),
        (refnum.nvfp4, {"level": 0.01}),
        (refnum.mxfp8_e4m3, {"profile": "flashinfer"}),
        (Block(e4m3, float32, 32), {}),
    ],
    ids=str,
)
def test_one_graph(fmt: Block, choices: dict[str, Any], dtype: torch.dtype) -> None:
    """Without generated code: no branch looks at the data."""
    assert_compiled(fmt, "eager", dtype, **choices)


@needs_compiler
def test_compiled_mxfp4_is_eager() -> None:
    assert_compiled(refnum.mxfp4, "inductor", torch.float32)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("fmt", [*NAMED, Block(e4m3, float32, 32), Block(e2m1, e8m0, 5)], ids=str)
def test_compiled_is_eager(fmt: Block, dtype: torch.dtype) -> None:
    assert_compiled(fmt, "inductor", dtype, pad=True)


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("profile", ["torchao", "te", "flashinfer", "compressed_tensors"])
def test_compiled_profiles_are_eager(profile: str) -> None:
    assert_compiled(refnum.nvfp4, "inductor", torch.bfloat16, 0.3, profile=profile)
