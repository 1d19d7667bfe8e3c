"""Block formats against the oracle where rules change: scales at every binade's edges, ties, ends, NaN, odd formats."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import mx_bridge
import numpy as np
import pytest
import torch
from mx_bridge import assert_as_oracle
from refnum_conformance.oracles import blocks as oracle
from refnum_conformance.oracles import minifloat
from refnum_conformance.oracles.reals import Dyadic
from torch import Tensor

import refnum
from refnum import mx
from refnum.formats import Block, Element, FixedPoint, Minifloat, e2m1, e4m3, e4m3fnuz, e5m2, e5m2fnuz, e8m0

MX = [refnum.mxfp4, refnum.mxfp6_e2m3, refnum.mxfp6_e3m2, refnum.mxfp8_e4m3, refnum.mxfp8_e5m2, refnum.mxint8]
#: elements that no library has: no fraction bit, many, no point or a far one, another bias, Inf beyond the largest
ODD: list[Element] = [
    e4m3fnuz,
    e5m2fnuz,
    Minifloat(3, 0, specials="none"),
    Minifloat(1, 2, specials="none"),
    Minifloat(2, 5),
    Minifloat(6, 1, specials="fn"),
    Minifloat(4, 3, bias=20, specials="fn"),
    Minifloat(5, 2, overflow="inf"),
    Minifloat(4, 3, specials="fn", overflow="nan"),
    FixedPoint(8, 6),
    FixedPoint(4, 2, symmetric=True),
    FixedPoint(6, 9),
    FixedPoint(5, -3),
    FixedPoint(2, 0),
]
PROFILES = ("ocp/v1", "torchao/v1", "aiter/v1", "aiter/v2", "microxcaling/v1", "microxcaling.flush/v1")
RULES = ("floor", "ceil", "even", "rceil")
ROUNDINGS = tuple(minifloat.RULES)
CHOICES = [(p, r) for p in PROFILES for r in RULES if r == "floor" or not p.startswith("microxcaling")]


def _of(element: Element, size: int) -> Block:
    return Block(element, e8m0, size)


def _random_bits(rounding: str, shape: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    if rounding != "stochastic":
        return {}
    return {"random_bits": torch.randint(0, 1 << 16, tuple(shape), generator=torch.Generator().manual_seed(seed))}


# Scales --------------------------------------------------------------------------------------------------------------


def _edges() -> list[int]:
    """Magnitudes at the mantissas where rules change, and next to them, in every binade down to 2**-149."""
    mantissas = (1, 1.25, 1.5, 1.75, 1.875, 1.9375, 1.96875, 1.984375, 1.9921875)
    middle = {np.float32(np.ldexp(m, e)).view(np.uint32).item() for m in mantissas for e in range(-149, 128)}
    middle |= {0x7F7FFFFF, 0x7F7FFFFE}
    return sorted({u + d for u in middle for d in (-1, 0, 1) if 0 < u + d < 0x7F800000})


EDGES = _edges()


@pytest.mark.parametrize("every", [2, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("fmt", MX, ids=str)
@pytest.mark.parametrize(("profile", "scale"), CHOICES)
def test_scales_at_the_edges_of_binades(fmt: Block, profile: str, scale: str, every: int) -> None:
    some = EDGES[MX.index(fmt) % every :: every]
    got = mx.quantize(mx_bridge.values(some)[:, None], _of(fmt.element, 1), profile=profile, scale=scale).scales
    word = oracle.PROFILES[profile]
    element = mx_bridge.block(fmt).element
    want = [oracle.scale_code(u, element, word, scale, 24) for u in some]
    wrong = [(hex(u), g, w) for u, g, w in zip(some, got[:, 0].tolist(), want, strict=True) if g != w]
    assert not wrong, f"{len(wrong)} wrong; amax, scale, its right value: {wrong[:5]}"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("profile", ["ocp/v1", "aiter/v2", "microxcaling/v1"])
def test_scales_of_narrow_dtypes(profile: str, dtype: torch.dtype) -> None:
    every = torch.arange(1, 0x7F80 if dtype == torch.bfloat16 else 0x7C00, dtype=torch.int16).view(dtype)
    element = refnum.mxfp6_e2m3.element
    got = mx.quantize(every[:, None], _of(element, 1), profile=profile).scales[:, 0]
    word, precision = oracle.PROFILES[profile], oracle.PRECISION[mx_bridge.NAMES[dtype]]
    bits = mx_bridge.widened(every)
    want = [oracle.scale_code(u, oracle.E2M3, word, word.scale, precision) for u in bits]
    assert got.tolist() == want


@pytest.mark.parametrize("element", ODD, ids=str)
@pytest.mark.parametrize("scale", RULES)
def test_scales_of_odd_elements(element: Element, scale: str) -> None:
    word = mx_bridge.block(_of(element, 1)).element
    some = [u for u in EDGES[::7] if u > 0x00800000 or element.max_scale >= 0]
    for profile in ("ocp/v1", "aiter/v2"):
        got = mx.quantize(mx_bridge.values(some)[:, None], _of(element, 1), profile=profile, scale=scale).scales
        want = [oracle.scale_code(u, word, oracle.PROFILES[profile], scale, 24) for u in some]
        wrong = [(hex(u), g, w) for u, g, w in zip(some, got[:, 0].tolist(), want, strict=True) if g != w]
        assert not wrong, (profile, len(wrong), wrong[:5])


@pytest.mark.parametrize("fmt", MX, ids=str)
@pytest.mark.parametrize(("profile", "scale"), CHOICES)
def test_elements_at_the_edges_of_binades(fmt: Block, profile: str, scale: str) -> None:
    # Every amax with its opposite, the number next below it, and a tiny one.
    some = EDGES[RULES.index(scale) :: 11]
    x = mx_bridge.values([[u, u | 1 << 31, max(u - 1, 0), (u >> 1) | 1 << 31] for u in some])
    assert_as_oracle(x, _of(fmt.element, 4), profile=profile, scale=scale)


# Elements ------------------------------------------------------------------------------------------------------------


def _grid(element: Element) -> list[Fraction]:
    """All magnitudes that the codes stand for, and what would follow the largest."""
    word = mx_bridge.block(_of(element, 1)).element
    top = element.largest
    magnitudes = [oracle.decode(word, code)[1] for code in range(top + 1)]
    found = [x.fraction() for x in magnitudes if isinstance(x, Dyadic)]
    return [*found, 2 * found[-1] - found[-2], 2 * found[-1]]


def _delicate(element: Element) -> Tensor:
    """Ties, quarter points and codes with their float32 neighbours, of both signs, under a scale of 1."""
    grid = _grid(element)
    points = {a + (b - a) * k / 4 for a, b in itertools.pairwise(grid) for k in range(4)}
    middle = np.array([float(x) for x in sorted(points)], np.float32).view(np.uint32).astype(np.int64)
    bits = np.unique(np.concatenate([middle + d for d in (-1, 0, 1)]))
    bits = np.concatenate([bits[bits >= 0], [1, 2, 0x007FFFFF, 0x00800000]])
    power = np.float32(2.0**element.max_scale).view(np.uint32)
    bits = bits[bits < power + 0x00800000]
    both = np.concatenate([bits, bits | 1 << 31])
    return mx_bridge.values(np.stack([both, np.full_like(both, power)], 1))


@pytest.mark.parametrize("element", [*(fmt.element for fmt in MX), *ODD], ids=str)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_ties_and_their_neighbours(element: Element, rounding: str) -> None:
    x = _delicate(element)[:: 1 if rounding == "nearest_even" else 2]
    got = assert_as_oracle(x, _of(element, 2), profile="ocp/v1", rounding=rounding, **_random_bits(rounding, x.shape))
    assert (got.scales == 127).all()


@pytest.mark.parametrize("fmt", MX, ids=str)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("profile", ["aiter/v1", "microxcaling/v1"])
def test_ties_in_profiles(fmt: Block, profile: str, rounding: str) -> None:
    x = _delicate(fmt.element)[:: 1 if rounding.startswith("nearest") else 4]
    options = {"profile": profile, "rounding": rounding, **_random_bits(rounding, x.shape)}
    assert_as_oracle(x, _of(fmt.element, 2), scale="floor", **options)


@pytest.mark.parametrize("fmt", MX, ids=str)
def test_codes_are_kept(fmt: Block) -> None:
    # Every code under every scale at which floor keeps it: a code of the largest binade beside it.
    width, word = fmt.element.width, mx_bridge.block(fmt).element
    codes = [c for c in range(1 << width) if isinstance(oracle.decode(word, c)[1], Dyadic)]
    codes = [c for c in codes if not (isinstance(fmt.element, FixedPoint) and c == 0x80)]
    largest = fmt.element.largest
    elements = torch.tensor([[c, largest] for c in codes], dtype=torch.uint8)
    pairs = _of(fmt.element, 2)
    packed = mx.pack4(elements) if pairs.packed == 2 else elements
    top = 254 - fmt.element.max_scale  # beyond it the largest element is no float32
    for scale in (0, 1, 2, 100, 127, 200, top - 1, top):
        scales = torch.full((len(codes), 1), scale, dtype=torch.uint8)
        blocks = mx.Blocks(packed, scales, pairs, elements.shape)
        again = mx.quantize(mx.dequantize(blocks), pairs)
        assert torch.equal(again.scales, scales)
        assert torch.equal(again.codes, elements)


# Zeros, NaN, Inf, the ends of float32 --------------------------------------------------------------------------------

NANS = (0x7FC00000, 0x7F800001, 0x7FDFFFFF, 0x7FE00000, 0x7FFFFFFF, 0xFFC00000, 0xFF800001, 0xFFFFFFFF)
INFS = (0x7F800000, 0xFF800000)
ENDS = (0x7F7FFFFF, 0x7F7FFFFE, 0x7F000000, 0x7F5FFFFF, 0x7F600000, 0x7F600001, 0x7EFFFFFF)
SUBNORMALS = (1, 2, 3, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFF, 0x800000, 0x800001)
MINUS = 1 << 31


def _special_blocks(size: int) -> list[list[int]]:
    draw = random.Random(0)
    ordinary = [draw.randrange(0x3E000000, 0x42000000) | draw.choice((0, MINUS)) for _ in range(size)]
    blocks = [[0] * size, [MINUS] * size, [0, MINUS] * (size // 2)]
    for u in (*NANS, *INFS, *ENDS, *SUBNORMALS):
        blocks += [[u] * size, [u, *ordinary[1:]], [*ordinary[1:], u], [u ^ MINUS, *[0, MINUS] * (size // 2)][:size]]
        blocks.append([u, *(draw.choice(SUBNORMALS) | draw.choice((0, MINUS)) for _ in range(size - 1))])
    blocks.append([*INFS, *NANS[:2], *ordinary[4:]])
    return blocks


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fmt", MX, ids=str)
@pytest.mark.parametrize(("profile", "scale"), CHOICES)
def test_special_blocks(fmt: Block, profile: str, scale: str, dtype: torch.dtype) -> None:
    x = mx_bridge.values(_special_blocks(32), dtype)
    if dtype == torch.bfloat16:
        x = torch.cat([x, mx_bridge.values(np.full((1, 32), 0xFFFF0000), dtype)])
    assert_as_oracle(x, fmt, profile=profile, scale=scale)


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_special_blocks_by_every_rounding(rounding: str) -> None:
    x = mx_bridge.values(_special_blocks(8))
    for profile in ("ocp/v1", "aiter/v1", "aiter/v2"):
        for element in (e2m1, e5m2, FixedPoint(8, 6)):
            options = {"profile": profile, "rounding": rounding, **_random_bits(rounding, x.shape)}
            assert_as_oracle(x, _of(element, 8), **options)


@pytest.mark.parametrize("profile", PROFILES)
def test_finite_blocks_have_finite_scales(profile: str) -> None:
    x = mx_bridge.values(EDGES)[:, None]
    for fmt, scale in itertools.product(MX, RULES):
        if profile.startswith("microxcaling") and scale != "floor":
            continue
        nan = (mx.quantize(x, _of(fmt.element, 1), profile=profile, scale=scale).scales == 255)[:, 0]
        if profile == "torchao/v1" and scale == "even":
            u = torch.tensor(EDGES)
            assert torch.equal(nan, u + (1 << (23 - fmt.element.significand_bits)) >= 0x7F800000)
        elif profile.startswith("microxcaling") and fmt is refnum.mxint8:
            # Next below 128 float32s are 2**-17 apart: logarithms round to 128 from 2**128 * 2**-2**-18 on.
            assert nan.tolist() == [u >= 0x7F800000 - 44 for u in EDGES]
        else:
            assert not nan.any()


# Any blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_random_blocks(rounding: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(ROUNDINGS.index(rounding))
    for fmt, (profile, scale) in itertools.product(MX, CHOICES):
        x = torch.randn(3, 32, generator=generator) * torch.exp2(torch.randint(-20, 12, (3, 1), generator=generator))
        x[1:] *= torch.exp2(torch.randint(-12, 1, (2, 32), generator=generator))
        options: dict[str, Any] = {"profile": profile, "scale": scale, "rounding": rounding}
        assert_as_oracle(x.to(dtype), fmt, **options, **_random_bits(rounding, x.shape, len(options)))


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_random_patterns(rounding: str) -> None:
    draw = np.random.default_rng(ROUNDINGS.index(rounding))
    for fmt, profile in itertools.product(MX, PROFILES):
        x = draw.integers(0, 1 << 32, (6, 32), np.uint32)
        x[3:] = (x[3:] & 0x807FFFFF) | draw.integers(0, 6, (3, 32), np.uint32) << 23  # near and below the normal range
        x[:, :4] &= 0xBFFFFFFF
        values = mx_bridge.values(x)
        options: dict[str, Any] = {"profile": profile, "rounding": rounding}
        assert_as_oracle(values, fmt, **options, **_random_bits(rounding, x.shape))


@pytest.mark.parametrize("element", ODD, ids=str)
def test_random_blocks_of_odd_elements(element: Element) -> None:
    generator = torch.Generator().manual_seed(1)
    for rounding, scale in itertools.product(ROUNDINGS, RULES):
        x = torch.randn(8, 5, generator=generator) * torch.exp2(torch.randint(-30, 30, (8, 1), generator=generator))
        options: dict[str, Any] = {"profile": "ocp/v1", "scale": scale, "rounding": rounding}
        assert_as_oracle(x, _of(element, 5), **options, **_random_bits(rounding, x.shape))


# Values --------------------------------------------------------------------------------------------------------------

SCALES = (0, 1, 2, 3, 9, 22, 100, 118, 126, 127, 128, 140, 230, 246, 250, 252, 253, 254, 255)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("fmt", [*MX, refnum.nvfp4], ids=str)
def test_values_of_all_codes(fmt: Block, dtype: torch.dtype) -> None:
    width = fmt.element.width
    word, number = mx_bridge.block(fmt), mx_bridge.NAMES[dtype]
    row = Block(fmt.element, fmt.scale, 1 << width)
    codes = torch.arange(1 << width, dtype=torch.uint8)
    packed = mx.pack4(codes) if fmt.packed == 2 else codes
    scales = SCALES if fmt.scale == e8m0 else range(256)
    for level in (None, 1.0, 3e-8, -1.7e38, float("inf")) if fmt.scale == e4m3 else (None,):
        factor = None if level is None else torch.tensor(level)
        for scale in scales:
            blocks = mx.Blocks(packed, torch.tensor([scale], dtype=torch.uint8), row, codes.shape, -1, factor)
            pattern = None if factor is None else mx_bridge.widened(factor)[0]
            want = oracle.dequantize(scale, codes.tolist(), word, pattern, number)
            assert mx_bridge.bits(mx.dequantize(blocks, dtype)) == want, (scale, level)


# NVFP4 ---------------------------------------------------------------------------------------------------------------

LEVELS = (None, 1.0, 3e-5, 0.7, 1e30, 2.0**-130, 2.0**-149, 3.4e38)


def _level(factor: float | None) -> dict[str, Tensor]:
    return {} if factor is None else {"tensor_scale": torch.tensor(factor)}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("profile", ["ocp/v1", "torchao/v1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_nvfp4_of_special_and_random_blocks(profile: str, level: float | None, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 16, generator=generator) * torch.exp2(torch.randint(-40, 40, (60, 1), generator=generator))
    x = torch.cat([x.to(dtype), mx_bridge.values(_special_blocks(16), dtype)])
    assert_as_oracle(x, refnum.nvfp4, profile=profile, **_level(level))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_nvfp4_of_aiter(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 16, generator=generator) * torch.exp2(torch.randint(-40, 40, (200, 1), generator=generator))
    x = torch.cat([x.to(dtype), mx_bridge.values(_special_blocks(16), dtype)])
    assert_as_oracle(x, refnum.nvfp4, profile="aiter/v2")


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_nvfp4_by_every_rounding(rounding: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 16, generator=generator) * torch.exp2(torch.randint(-9, 9, (60, 1), generator=generator))
    x = torch.cat([x, _ties(refnum.nvfp4), mx_bridge.values(_special_blocks(16))])
    for profile, level in (("ocp/v1", None), ("ocp/v1", 0.01), ("aiter/v2", None)):
        options = {"profile": profile, "rounding": rounding, **_level(level), **_random_bits(rounding, x.shape)}
        assert_as_oracle(x, refnum.nvfp4, **options)


def _ties(fmt: Block) -> Tensor:
    """Blocks of quarter units under every scale that is a power of two."""
    quarters = torch.arange(25)[None, :] / 4 * torch.exp2(torch.arange(-5, 9))[:, None]
    ones = torch.full((len(quarters), 7), 6.0) * torch.exp2(torch.arange(-5, 9))[:, None]
    return torch.cat([quarters, ones], 1).view(-1, fmt.size)


@pytest.mark.parametrize("level", [None, 2.0**-7, 1.7])
def test_scales_of_nvfp4(level: float | None) -> None:
    # Every amax where the E4M3 scale changes, and its neighbours, and the edges of binades.
    scales = [oracle.decode(oracle.E4M3, code)[1] for code in range(0x7F)]
    found = [x.fraction() for x in scales if isinstance(x, Dyadic)]
    points = found + [(a + b) / 2 for a, b in itertools.pairwise(found)]
    factor = 6 * (1 if level is None else level)
    middle = np.array([float(x) * factor for x in points], np.float32).view(np.uint32).astype(np.int64)
    bits = sorted({u for d in range(-3, 4) for u in (middle + d).tolist() if u > 0} | set(EDGES[::5]))
    x = mx_bridge.values([[u, u | MINUS, max(u - 1, 0), (u >> 1) | MINUS] for u in bits])
    for profile in ("ocp/v1", "aiter/v2") if level is None else ("ocp/v1",):
        assert_as_oracle(x, Block(e2m1, e4m3, 4), profile=profile, **_level(level))
