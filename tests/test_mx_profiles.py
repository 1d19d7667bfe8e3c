"""Profiles: the table, and what each row does where a standard leaves a case open."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
import torch

from refnum import mx
from refnum.core.round import RULES as ROUNDINGS
from refnum.errors import ContractError
from refnum.formats import Block, Minifloat, e2m1, e4m3, e4m3fnuz, e5m2, e8m0, float32, mxfp4, mxfp8_e4m3, mxint8, nvfp4
from refnum.mx.profiles import ALIASES, PROFILES, RULES, find
from refnum.mx.quotients import FORMULAS

inf, nan = float("inf"), float("nan")
HUGE = torch.finfo(torch.float32).max

# ---- the table ----------------------------------------------------------------------------------------------------


def test_names_are_versioned_and_short_ones_are_the_newest() -> None:
    for name, row in PROFILES.items():
        assert name == row.name
        assert re.fullmatch(r"[a-z_.]+/v\d+", name)
    newest = {name.split("/")[0]: name for name in PROFILES}  # rows stand in order
    named = {alias: full for alias, full in ALIASES.items() if alias != "aiter_legacy"}
    assert named == newest
    assert ALIASES["aiter_legacy"] == "aiter/v1"
    assert all(find("", alias) is PROFILES[full] for alias, full in ALIASES.items())
    assert mx.PROFILES is PROFILES


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_rows_are_made_of_known_choices(profile: mx.profiles.Profile) -> None:
    assert profile.scale in profile.rules
    assert set(profile.rules) <= {*RULES, "bound"}
    assert ("bound" in profile.rules) == (profile.name == "ocp/v1")
    assert profile.rounding in ROUNDINGS
    assert profile.tiny in ("integer", "divided")
    assert profile.infinite in ("nan", "largest")
    assert profile.exponents in ("exact", "rounded")
    assert profile.halves in ("exact", "added")
    assert profile.subnormal_blocks in ("kept", "flushed")
    for form in profile.forms:
        assert form.scale in (e8m0, e4m3, float32, None)
        assert form.zero in ("signed", "unsigned", "narrow")
        if form.formula == "rule":
            assert form.scale in (e8m0, None)
            assert form.tensor is None
        else:
            assert (form.tensor is None) == (FORMULAS[form.formula].level is None)
            assert form.tensor in (None, "factor", "divisor")


def test_every_formula_is_used() -> None:
    assert {form.formula for row in PROFILES.values() for form in row.forms} == {"rule", *FORMULAS}


FORMATS = {
    "mxfp4": mxfp4,
    "mxfp8": mxfp8_e4m3,
    "mxint8": mxint8,
    "nvfp4": nvfp4,
    "tiles": Block(e2m1, e4m3, (16, 16)),
    "fp8": Block(e4m3, float32, 128),
}
HAD = {
    "ocp": "mxfp4 mxfp8 mxint8 nvfp4 tiles fp8",
    "torchao": "mxfp4 mxfp8 mxint8 nvfp4 tiles",
    "aiter": "mxfp4 mxfp8 mxint8 nvfp4 tiles",
    "aiter_legacy": "mxfp4 mxfp8 mxint8",
    "microxcaling": "mxfp4 mxfp8 mxint8",
    "microxcaling.flush": "mxfp4 mxfp8 mxint8",
    "te": "nvfp4 tiles",
    "flashinfer": "mxfp4 mxfp8 nvfp4 tiles",
    "compressed_tensors": "mxfp4 mxfp8 nvfp4 tiles",
}


@pytest.mark.parametrize("profile", ALIASES)
def test_formats_of_a_profile(profile: str) -> None:
    for name, fmt in FORMATS.items():
        if name in HAD[profile].split():
            mx.quantize(torch.ones(128, 128), fmt, profile=profile)
        else:
            with pytest.raises(ContractError, match=f"has no .* in profile {ALIASES[profile]}. That has"):
                mx.quantize(torch.ones(128, 128), fmt, profile=profile)


def test_defaults_of_rules_and_roundings() -> None:
    chosen = {alias: (PROFILES[name].scale, PROFILES[name].rounding) for alias, name in ALIASES.items()}
    assert chosen == {
        "ocp": ("floor", "nearest_even"),
        "torchao": ("floor", "nearest_even"),
        "aiter": ("even", "nearest_even"),
        "aiter_legacy": ("even", "nearest_away"),
        "microxcaling": ("floor", "nearest_away"),
        "microxcaling.flush": ("floor", "nearest_away"),
        "te": ("floor", "nearest_even"),
        "flashinfer": ("rceil", "nearest_even"),
        "compressed_tensors": ("even", "nearest_even"),
    }
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    for alias, (scale, rounding) in chosen.items():
        if alias != "te":
            got, want = (
                mx.quantize(x, mxfp4, profile=alias, **choices)
                for choices in ({}, {"scale": scale, "rounding": rounding})
            )
            assert torch.equal(got.elements, want.elements)
            assert torch.equal(got.scales, want.scales)


# ---- open cases ---------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """A block, and what becomes of it."""

    profiles: str
    fmt: Block
    x: tuple[float, ...]  #: the first elements; zeros follow
    scale: int | float
    codes: tuple[int, ...]  #: of the first elements
    rule: str | None = None
    dtype: torch.dtype = torch.float32


E8M0_RULES = "ocp torchao aiter aiter_legacy microxcaling microxcaling.flush"
TOP = 1.75 * 2.0**127  #: from here on EVEN rounds to 2**128
TINY = 2.0**-149
CELLS = [
    # a block with NaN
    Cell(f"{E8M0_RULES} compressed_tensors", mxfp4, (nan, 1.0, -1.0), 255, (0, 0, 0)),
    Cell("flashinfer", mxfp4, (nan, 1.0, -1.0, inf), 0, (0, 0, 0, 0)),
    Cell("flashinfer", mxfp8_e4m3, (nan, 1.0, -1.0, inf), 0, (0x7F, 0, 0x80, 0x7F)),
    Cell("ocp torchao aiter te flashinfer compressed_tensors", nvfp4, (nan, 1.0, -1.0, inf), 0x7F, (0, 0, 0, 0)),
    Cell("ocp", Block(e4m3, float32, 16), (nan, 1.0, -1.0, inf), nan, (0, 0, 0, 0)),
    # a block with Inf
    Cell("ocp torchao microxcaling microxcaling.flush flashinfer", mxfp4, (inf, 1.0, -1.0), 255, (0, 0, 0)),
    Cell("aiter aiter_legacy", mxfp4, (inf, -inf, HUGE, 2.0**126, -(2.0**124)), 254, (7, 15, 4, 1, 8)),
    Cell("ocp torchao aiter aiter_legacy", mxfp4, (inf, 1.0), 255, (0, 0), "floor"),
    Cell("compressed_tensors", mxfp4, (inf, HUGE, -1.0), 127, (0, 0, 0)),
    Cell("flashinfer", mxfp8_e4m3, (inf, -inf, HUGE, -(2.0**120)), 254, (0x7E, 0xFE, 0x40, 0x84)),
    Cell("ocp torchao", nvfp4, (inf, -inf, 448 * 6.0, -448.0), 0x7E, (7, 15, 7, 10)),
    Cell("te flashinfer compressed_tensors", nvfp4, (inf, -inf, 448 * 6.0, -448.0), 0x7E, (7, 15, 7, 10)),
    Cell("ocp", Block(e4m3, float32, 16), (inf, -inf, HUGE, -HUGE / 4), HUGE, (0x7E, 0xFE, 0x38, 0xA8)),
    # finite, where EVEN rounds to 2**128
    Cell("ocp", mxfp4, (TOP, 1.0), 253, (6, 0), "even"),
    Cell("torchao", mxfp4, (TOP, 1.0), 255, (0, 0), "even"),
    Cell("aiter aiter_legacy", mxfp4, (TOP, 1.0), 254, (4, 0), "even"),
    Cell("compressed_tensors", mxfp4, (TOP, 1.0), 127, (0, 0), "even"),
    Cell("ocp torchao aiter", mxfp4, (HUGE,), 252, (7,), "floor"),
    Cell("ocp torchao aiter", mxfp4, (HUGE,), 253, (6,), "ceil"),
    Cell("ocp torchao aiter flashinfer", mxfp4, (HUGE,), 253, (6,), "rceil"),
    Cell("microxcaling", mxint8, (HUGE,), 255, (0,)),  # its logarithm rounds to 128
    # zeros
    Cell("ocp torchao aiter microxcaling", mxfp4, (0.0, -0.0), 0, (0, 8)),
    Cell("aiter_legacy flashinfer compressed_tensors", mxfp4, (0.0, -0.0), 0, (0, 0)),
    Cell("flashinfer", mxfp8_e4m3, (0.0, -0.0), 0, (0, 0x80)),
    Cell("compressed_tensors", mxfp8_e4m3, (0.0, -0.0), 0, (0, 0)),
    Cell("ocp torchao", nvfp4, (0.0, -0.0), 0x08, (0, 8)),
    Cell("aiter te flashinfer", nvfp4, (0.0, -0.0), 0, (0, 0)),  # of aiter 0 * Inf
    Cell("compressed_tensors", nvfp4, (0.0, -0.0), 0x20, (0, 0)),
    Cell("ocp", Block(e4m3, float32, 16), (0.0, -0.0), 1.0, (0, 0x80)),
    # subnormal amax
    Cell("ocp torchao", mxfp4, (TINY, -TINY), 0, (0, 8), "rceil"),
    Cell("aiter", mxfp4, (4 * TINY, -TINY), 1, (0, 8), "rceil"),
    Cell("flashinfer", mxfp4, (4 * TINY, -TINY), 1, (0, 8)),
    Cell("flashinfer", mxfp4, (2 * TINY, -TINY), 0, (0, 0)),
    Cell("ocp", mxfp4, (2.0**-126 * 1.75, -(2.0**-127)), 0, (6, 10)),
    Cell("microxcaling", mxfp4, (2.0**-127, -(2.0**-128)), 0, (2, 9)),
    Cell("microxcaling.flush", mxfp4, (2.0**-127, -(2.0**-128)), 0, (0, 0)),
    # a scale of E4M3 that rounds to 0, and one that is too large
    Cell("te", nvfp4, (2.0**-10, -(2.0**-12)), 0, (7, 15)),
    Cell("flashinfer", nvfp4, (2.0**-10, -(2.0**-12)), 0, (0, 0)),
    Cell("ocp torchao", nvfp4, (2.0**-10, -(2.0**-7)), 0x08, (0, 9)),
    Cell("ocp torchao te flashinfer compressed_tensors", nvfp4, (1e6, -448.0), 0x7E, (7, 10)),
    Cell("aiter", nvfp4, (1e6, -448.0), 0x7E, (7, 8)),
    # what rounds to 0, and what is 0 only as a float32 or as a bfloat16
    Cell("ocp torchao aiter microxcaling", mxfp4, (4.0, -0.2, -0.0), 127, (6, 8, 8), "floor"),
    Cell("aiter_legacy", mxfp4, (4.0, -0.2, -0.0), 127, (6, 8, 0), "floor"),
    Cell("compressed_tensors flashinfer", mxfp4, (4.0, -0.2), 127, (6, 8)),
    Cell("ocp torchao aiter", mxfp4, (2.0**120, -TINY), 245, (6, 8), "floor"),
    Cell("aiter_legacy", mxfp4, (2.0**120, -TINY), 245, (6, 0), "floor"),
    Cell("flashinfer compressed_tensors", mxfp4, (2.0**120, -TINY), 245, (6, 0)),
    Cell("flashinfer", mxfp4, (8.0, -(2.0**-133)), 128, (6, 8), None, torch.bfloat16),
    Cell("compressed_tensors", mxfp4, (8.0, -(2.0**-133)), 128, (6, 0), None, torch.bfloat16),
]


@pytest.mark.parametrize(
    ("profile", "cell"), [(profile, cell) for cell in CELLS for profile in cell.profiles.split()], ids=str
)
def test_open_cases(profile: str, cell: Cell) -> None:
    x = torch.zeros(cell.fmt.tile[1], dtype=cell.dtype)
    x[: len(cell.x)] = torch.tensor(cell.x, dtype=torch.float64).to(cell.dtype)
    got = mx.quantize(x, cell.fmt, profile=profile, scale=cell.rule)
    torch.testing.assert_close(got.scales.double(), torch.tensor([cell.scale]).double(), rtol=0, atol=0, equal_nan=True)
    assert tuple(got.codes[: len(cell.x)].tolist()) == cell.codes


def test_any_nan_is_one() -> None:
    """Blocks with NaN are told by what it is, not by its payload."""
    payloads = (0x7FC00000, 0x7F800001, 0x7FDFFFFF, 0x7FE00000, 0x7FFFFFFF, 0xFFC00000, 0xFF800001, 0xFFFFFFFF)
    bits = torch.tensor(payloads, dtype=torch.int64).to(torch.int32)
    x = torch.zeros(len(payloads), 32)
    x[:, 5] = bits.view(torch.float32)
    for profile in ALIASES:
        for fmt in (mxfp4, nvfp4):
            if any(form.has(fmt) for form in PROFILES[ALIASES[profile]].forms):
                got = mx.quantize(x, fmt, profile=profile)
                assert (got.scales == got.scales[0]).all()
                assert not got.codes[:, :16].any()


# ---- scales of tensors --------------------------------------------------------------------------------------------

LARGEST = torch.finfo(torch.float32).max
LEVELS = {  #: of amax 0, Inf, NaN, the largest float32, the least
    "ocp": (1.0, inf, nan, LARGEST / 2688, 1.0),
    "torchao": (0.0, inf, nan, LARGEST / 2688, 0.0),
    "te": (LARGEST, 1.0, nan, 2688 / LARGEST, LARGEST),
    "flashinfer": (LARGEST, 0.0, nan, (1 / LARGEST) * 2688, inf),
    "compressed_tensors": (2688 * 2.0**126, 0.0, 1.0, (1 / LARGEST) * 2688, 2688 * 2.0**126),
}


@pytest.mark.parametrize("profile", LEVELS)
def test_tensor_scales_of_special_tensors(profile: str) -> None:
    amaxes = torch.tensor([0.0, inf, nan, LARGEST, TINY])
    got = torch.stack([mx.tensor_scale(torch.stack([-a, a / 4]), nvfp4, profile=profile) for a in amaxes])
    want = torch.tensor(LEVELS[profile], dtype=torch.float64)
    if profile == "compressed_tensors":
        want = torch.where(want > LARGEST, 1.0, want)  # what overflows is 1
    torch.testing.assert_close(got.double(), want, rtol=2e-7, atol=0, equal_nan=True)
    assert got.dtype == torch.float32
    assert torch.equal(mx.tensor_scale(torch.empty(0), nvfp4, profile=profile), got[0])


def test_tensor_scales_are_made_of_the_largest_value() -> None:
    """Of the largest element times the largest scale: 2688 in NVFP4."""
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    amax = x.abs().max()
    assert torch.equal(mx.tensor_scale(x, nvfp4), amax / torch.tensor(2688.0))
    assert torch.equal(mx.tensor_scale(x, nvfp4, profile="te"), torch.tensor(2688.0) / amax)
    assert torch.equal(mx.tensor_scale(x, nvfp4, profile="flashinfer"), (1 / amax) * 2688)
    assert torch.equal(mx.tensor_scale(x, Block(e5m2, e4m3, 16)), amax / torch.tensor(448 * 57344.0))
    half = x.to(torch.bfloat16)
    want = (1 / half.abs().max()) * 2688  # each step rounds to bfloat16
    assert torch.equal(mx.tensor_scale(half, nvfp4, profile="compressed_tensors"), want.float())


@pytest.mark.parametrize("profile", LEVELS)
def test_blocks_keep_the_factor(profile: str) -> None:
    """Whatever a library takes, the values of blocks are close to what they were made of."""
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) * 1e-4
    level = mx.tensor_scale(x, nvfp4, profile=profile)
    blocks = mx.quantize(x, nvfp4, profile=profile, tensor_scale=level)
    factor = PROFILES[ALIASES[profile]].form("", nvfp4).tensor == "factor"
    assert blocks.tensor_scale is not None
    assert torch.equal(blocks.tensor_scale, level if factor else 1 / level)
    assert (mx.dequantize(blocks) - x).abs().max() <= x.abs().max() / 6 * 1.1
    one = mx.quantize(x, nvfp4, profile=profile, tensor_scale=torch.tensor(1.0))
    none = mx.quantize(x, nvfp4, profile=profile)
    assert none.tensor_scale is None
    assert torch.equal(one.elements, none.elements)
    assert torch.equal(one.scales, none.scales)


# ---- float32 scales -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("element", "native"),
    [(e4m3, torch.float8_e4m3fn), (e5m2, torch.float8_e5m2), (e4m3fnuz, torch.float8_e4m3fnuz)],
    ids=str,
)
@pytest.mark.parametrize("size", [(1, 128), (128, 128)])
def test_blocks_of_fp8(size: tuple[int, int], element: Minifloat, native: torch.dtype, dtype: torch.dtype) -> None:
    """As libraries do it: amax over the largest element, and a division by that."""
    x = torch.randn(256, 384, generator=torch.Generator().manual_seed(0)).to(dtype)
    got = mx.quantize(x, Block(element, float32, size))
    tiles = x.float().view(256 // size[0], size[0], 3, 128)
    scales = tiles.abs().amax((1, 3), keepdim=True) / torch.tensor(element.max_value)
    assert torch.equal(got.scales, scales[:, 0, :, 0])
    codes = (tiles / scales).view(256, 384).to(native).view(torch.uint8)
    assert torch.equal(got.elements, codes)
