"""Integers, block floating point, block minifloats, block logarithms and codebooks: codes, values, gradients, products.

The oracle is that of the conformance suite, which works on Python's integers; it imports nothing of refnum.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from refnum_conformance.oracles import lab, mase_cuda, minifloat
from refnum_conformance.oracles.minifloat import Special
from torch import Tensor

import refnum
from refnum import formats, mx
from refnum.errors import ContractError, DTypeError, FormatError, RefnumError, ShapeError
from refnum.fast import elements as fast
from refnum.formats import Block, Codebook, Exponent, FixedPoint, Logarithmic, Minifloat, e8m0, float32, nf4
from refnum.mx import recipes, singles
from refnum.mx.profiles import find
from refnum.mx.recipes import recipe, widened
from refnum.sums.blocks import flat, operand

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
SIZE = 8
MXINT = [
    (formats.mxint(width, SIZE, rule=rule, symmetric=symmetric), lab.MxInt(width, SIZE, rule, symmetric))
    for width, rule, symmetric in itertools.product((2, 4, 8, 12, 16), ("ocp", "ceil"), (False, True))
]
BFP = [
    (formats.bfp(width, SIZE, exponent=bits, rule=rule), lab.Bfp(width, SIZE, bits, (1 << (bits - 1)) - 1, rule))
    for width, bits, rule in itertools.product((2, 3, 4, 8, 12, 24), (5, 8), ("ceil", "floor"))
]
MINIFLOATS = [
    (formats.block_minifloat(*sizes, SIZE, shared=shared), lab.BlockMinifloat(*sizes, SIZE, shared))
    for *sizes, shared in ((8, 4, 8), (4, 2, 8), (3, 2, 8), (8, 4, 4), (16, 8, 8), (12, 5, 6), (6, 1, 8))
]
LOGARITHMS = [
    (formats.block_log(width, SIZE, shared=shared, zero_code=zero), lab.BlockLog(width, SIZE, shared, zero))
    for (width, shared), zero in itertools.product(((8, 8), (4, 8), (5, 4), (12, 8), (16, 8), (2, 8)), (True, False))
]
FAMILIES = [*MXINT, *BFP, *MINIFLOATS, *LOGARITHMS]
ROUNDINGS = tuple(minifloat.RULES)


def blocks_of_all_kinds() -> Tensor:
    """[blocks, 8]: amax on and next to powers of two, of all sizes; ties, zeros, subnormal numbers, NaN and Inf."""
    draw = torch.Generator().manual_seed(0)
    found = []
    for exponent in (-149, -145, -140, -128, -127, -126, -125, -100, 0, 3, 60, 100, 126, 127):
        fractions = 1 + torch.randint(0, 1 << 23, (3, SIZE), generator=draw).double() / 2**23
        spread = torch.randint(-12, 1, (3, SIZE), generator=draw)
        signs = 1 - 2 * torch.randint(0, 2, (3, SIZE), generator=draw)
        found.append(torch.ldexp(fractions, exponent + spread) * signs)
    steps = torch.arange(SIZE).double() / 8 - 0.5
    for k in (*range(-149, -120, 2), *range(-120, 120, 17), *range(118, 128)):
        power = torch.tensor(2.0, dtype=torch.float64) ** k
        block = (steps * power).float()
        block[0] = power
        bits = block.view(torch.int32)
        for step in (-1, 0, 1):
            near = bits.clone()
            near[0] += step
            found += [near.view(torch.float32).double()[None], -near.view(torch.float32).double()[None]]
    ties = (2 * torch.arange(-32, 32).double() + 1).view(-1, SIZE)
    found += [ties / 128, ties * 2.0**-130]
    largest = torch.full((1, SIZE), float32.max_value, dtype=torch.float64)
    largest[0, 3:] *= 0.3
    found += [torch.zeros(1, SIZE), -torch.zeros(1, SIZE), largest, -largest]
    special = torch.ones(4, SIZE)
    special[0, 2], special[1, 3], special[2, 0], special[3, :2] = (
        *(torch.nan, torch.inf, -torch.inf),
        torch.tensor([torch.inf, torch.nan]),
    )
    return torch.cat([*found, special]).float()


X = blocks_of_all_kinds()
RANDOM = torch.randint(0, 1 << 16, X.shape, generator=torch.Generator().manual_seed(1))


def numbers(x: Tensor) -> list[list[lab.Number]]:
    bits = (x.view(torch.int32).to(torch.int64) & 0xFFFFFFFF).tolist()
    return [[minifloat.decode(u, minifloat.FLOATS["float32"]) for u in row] for row in bits]


NUMBERS = numbers(X)


def value(found: lab.Number) -> float:
    negative, magnitude = found
    if isinstance(magnitude, Special):
        return math.nan
    return (-1.0) ** negative * float(Fraction(magnitude.m) * Fraction(2) ** magnitude.e)


def codes_of(blocks: mx.Blocks) -> list[list[int]]:
    return (blocks.codes.long() & ((1 << blocks.fmt.element.width) - 1)).tolist()


def same(got: Tensor, want: Tensor) -> bool:
    """Equal bits, one NaN like another."""
    return torch.equal(got.nan_to_num(7.5), want.nan_to_num(7.5)) and torch.equal(got.signbit(), want.signbit())


# ---- codes and values ------------------------------------------------------------------------------------------------


def assert_as_oracle(fmt: Block, word: lab.Block, rounding: str, every: slice) -> None:
    random = RANDOM[every] if rounding == "stochastic" else None
    got = mx.quantize(X[every], fmt, rounding=rounding, random_bits=random)
    mask = (1 << fmt.element.width) - 1
    for i, (block, bits) in enumerate(zip(NUMBERS[every], RANDOM[every].tolist(), strict=True)):
        scale, codes = lab.quantize(block, word, rounding, bits)
        where = (X[every][i].tolist(), rounding)
        assert int(got.scales[i, 0]) == scale, where
        assert codes_of(got)[i] == [code & mask for code in codes], where


@pytest.mark.parametrize(("fmt", "word"), FAMILIES, ids=lambda word: str(word) if isinstance(word, Block) else "")
def test_codes_are_those_of_the_oracle(fmt: Block, word: lab.Block) -> None:
    assert_as_oracle(fmt, word, "nearest_even", slice(0, None, 6))
    which = FAMILIES.index((fmt, word))
    assert_as_oracle(fmt, word, ROUNDINGS[which % len(ROUNDINGS)], slice(which % 24, None, 24))


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize(("fmt", "word"), FAMILIES, ids=lambda word: str(word) if isinstance(word, Block) else "")
def test_codes_are_those_of_the_oracle_in_every_rounding(fmt: Block, word: lab.Block, rounding: str) -> None:
    assert_as_oracle(fmt, word, rounding, slice(None))


@pytest.mark.parametrize(("fmt", "word"), FAMILIES[::3], ids=lambda word: str(word) if isinstance(word, Block) else "")
def test_values_are_those_of_the_oracle(fmt: Block, word: lab.Block) -> None:
    """Of any codes; float64 holds those of all but the widest logarithms, which round to 0."""
    draw = torch.Generator().manual_seed(2)
    width, bits = fmt.element.width, 8 if isinstance(fmt.scale, Minifloat) and fmt.scale.width == 8 else fmt.scale.width
    codes = torch.randint(0, 1 << width, (64, SIZE), generator=draw)
    scales = torch.randint(0, 1 << bits, (64, 1), generator=draw).to(torch.uint8)
    stored = mx.pack4(codes.to(torch.uint8)) if width == 4 else codes.to(mx.blocks.stored_dtype(fmt))
    blocks = mx.Blocks(stored, scales, fmt, torch.Size((64, SIZE)))
    want = torch.tensor(
        [
            [value(v) for v in lab.dequantize(int(scale), row, word)]
            for scale, row in zip(scales[:, 0].tolist(), codes.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )
    assert same(mx.dequantize(blocks, torch.float64), want)
    assert same(mx.dequantize(blocks), want.float())
    half = refnum.encode(want, formats.float16).view(torch.float16)
    assert same(mx.dequantize(blocks, torch.float16), half)


def test_named_results() -> None:
    """The two rules of integers and of block floating point differ at powers of two, and nowhere else."""
    x = torch.tensor([1.0, -1.0, 0.75, -0.3])
    ocp, ceil, bfp = formats.mxint(8, 4), formats.mxint(8, 4, rule="ceil"), formats.bfp(8, 4)
    assert refnum.quantize(x, ocp).tolist() == [1.0, -1.0, 0.75, -19 / 64]
    assert refnum.quantize(x, ceil).tolist() == [127 / 128, -1.0, 0.75, -38 / 128]
    assert refnum.quantize(x, bfp).tolist() == [127 / 128, -127 / 128, 0.75, -38 / 128]
    assert refnum.quantize(x * 1.25, ocp)[0] == refnum.quantize(x * 1.25, ceil)[0] == 1.25
    assert mx.quantize(torch.tensor([1.0, -1.999, 0, 0]), ocp).codes.view(torch.int8).tolist() == [64, -128, 0, 0]


@pytest.mark.parametrize("fmt", [fmt for fmt, _ in FAMILIES[::5]], ids=str)
def test_values_scale_with_their_block(fmt: Block) -> None:
    x = torch.randn(40, SIZE, generator=torch.Generator().manual_seed(0))
    for power in (-3, 4):
        assert same(refnum.quantize(torch.ldexp(x, torch.tensor(power)), fmt), refnum.quantize(x, fmt) * 2.0**power)


@pytest.mark.parametrize("fmt", [fmt for fmt, _ in FAMILIES[::9]], ids=str)
def test_a_block_is_decided_by_itself(fmt: Block) -> None:
    want = [mx.quantize(row[None], fmt) for row in X]
    got = mx.quantize(X, fmt)
    assert torch.equal(got.scales, torch.cat([each.scales for each in want]))
    assert torch.equal(got.elements, torch.cat([each.elements for each in want]))
    across = mx.quantize(X.T.contiguous(), fmt, axis=0)
    assert torch.equal(across.elements.T, got.elements)
    assert torch.equal(across.scales.T, got.scales)


@pytest.mark.parametrize(
    "fmt", [formats.bfp(12, (2, 4)), formats.mxint(4, (2, 4)), formats.block_log(8, (2, 4))], ids=str
)
def test_tiles_and_padding(fmt: Block) -> None:
    x = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    got = mx.quantize(x, fmt, pad=True)
    full = torch.nn.functional.pad(x, (0, 1, 0, 1))
    tiles = full.view(2, 2, 2, 4).transpose(1, 2).reshape(4, 8)
    want = mx.dequantize(mx.quantize(tiles, Block(fmt.element, fmt.scale, 8, fmt.rule)))
    assert torch.equal(mx.dequantize(got), want.view(2, 2, 2, 4).transpose(1, 2).reshape(4, 8)[:3, :7])


# ---- scales ----------------------------------------------------------------------------------------------------------


def test_scales_of_other_widths_and_rules() -> None:
    """Each rule by its definition in Fractions, for scales that end before amax does."""
    element = Minifloat(2, 1, specials="none")  # to 6
    powers = Minifloat(5, 0, bias=20, signed=False, subnormals=False, specials="fn")
    for k, name in itertools.product((-30, -21, -18, 0, 5, 9, 12), ("floor", "ceil", "rceil", "bound")):
        for amax in (Fraction(2) ** k, Fraction(2) ** k * Fraction(3, 2), Fraction(2) ** k * Fraction(13, 8)):
            x = torch.tensor([[float(amax)]])
            es = {
                "floor": lambda a: max(e for e in range(-40, 20) if Fraction(2) ** e * 4 <= a),
                "ceil": lambda a: min(e for e in range(-40, 20) if Fraction(2) ** e * 4 >= a),
                "rceil": lambda a: min(e for e in range(-40, 20) if Fraction(2) ** e * 6 >= a),
                "bound": lambda a: min(e for e in range(-40, 20) if Fraction(2) ** e * 8 >= a),
            }[name](amax)
            got = mx.quantize(x, Block(element, powers, 1, name)).scales
            assert int(got) == min(max(es + 20, 0), 30), (k, name)
            got = mx.quantize(x, Block(element, Exponent(4), 1), scale=name).scales
            assert int(got) == min(max(es, -8), 7) & 15, (k, name)


def test_nan_without_a_code() -> None:
    for bad in (torch.nan, torch.inf, -torch.inf):
        x = torch.tensor([1.0, bad, 3.0, 4.0, 1.0, 2.0, 3.0, 4.0])
        for fmt in (formats.bfp(8, 4), formats.block_minifloat(8, 4, 4), formats.block_log(8, 4)):
            blocks = mx.quantize(x, fmt)
            assert int(blocks.scales[0]) == 0
            assert not blocks.codes[:4].any()
            got = refnum.quantize(x, fmt)
            assert got[:4].isnan().all()
            assert torch.equal(got[4:], refnum.quantize(x[4:], fmt))
        powers = Minifloat(5, 0, signed=False, subnormals=False, specials="fn")
        assert int(mx.quantize(x, Block(formats.e2m1, powers, 4)).scales[0]) == 31
        assert refnum.quantize(x, Block(formats.e2m1, powers, 4))[:4].isnan().all()


def test_zeros_of_codebooks_keep_their_code() -> None:
    for fmt in (Block(nf4, float32, 4), Block(nf4, e8m0, 4), Block(nf4, Exponent(8), 4)):
        assert mx.quantize(torch.zeros(4), fmt).codes.tolist() == [7] * 4
        assert refnum.quantize(torch.zeros(4), fmt).tolist() == [0.0] * 4


# ---- fast forms ------------------------------------------------------------------------------------------------------

FAST = [
    *(fmt for fmt, _ in FAMILIES),
    *(
        Block(FixedPoint(width, fraction), e8m0, SIZE)
        for width, fraction in ((8, 9), (4, -2), (22, 20), (23, 5), (24, 24))
    ),
    Block(Logarithmic(8), e8m0, SIZE),
    Block(Logarithmic(6, bias=-3), Exponent(8), SIZE),
    Block(Minifloat(5, 10), Exponent(8), SIZE),
    Block(Minifloat(3, 9, specials="fnuz"), e8m0, SIZE),
    Block(Minifloat(5, 8), Exponent(8), SIZE),
    Block(Minifloat(4, 3), Minifloat(8, 0, bias=1000, signed=False, subnormals=False, specials="none"), SIZE),
    Block(Minifloat(4, 3), Minifloat(8, 0, bias=200, signed=False, subnormals=False, specials="none"), SIZE),
    Block(Minifloat(3, 4, bias=9), Minifloat(7, 0, bias=120, signed=False, subnormals=False, specials="none"), SIZE),
]


@pytest.mark.parametrize("fmt", FAST, ids=str)
def test_fast_forms_are_the_definition(fmt: Block) -> None:
    ordinary = X[(X.abs().amax(1) < 2.0**100) & (X.abs() > 2.0**-100).all(1)]
    edges = X[X.abs().amax(1) > 0]
    served = 0
    for rounding, x in itertools.product(fast.ROUNDINGS, (X, ordinary, edges)):
        made = recipe("", fmt, find("", "ocp"), None, rounding, float32)
        if not made.serves:
            continue
        served += 1
        bits = widened(x)
        amax = (bits & 0x7FFFFFFF).amax(1)
        shared = made.scaling.share(amax, None, singles.WAIST)
        want = recipes.definition(made, bits, shared.factors[:, None], None)
        want = torch.where(shared.void[:, None], 0, want)
        (codes,), _ = recipes._by_integers(made, None, amax, [bits], [None], singles.WAIST)
        assert torch.equal(codes.long() & ((1 << fmt.element.width) - 1), want), rounding
        if rounding == "nearest_even" and fast.adds(fmt.element):
            found = recipes.Floats(made, None, len(x))(x)
            assert found is not None or x is not ordinary or fmt in FAST[len(FAMILIES) :]
            if found is not None:
                mask = (1 << fmt.element.width) - 1
                assert torch.equal(found[0].long() & mask, want), rounding
    wide = isinstance(fmt.element, Minifloat) and (fmt.element.mantissa == 0 or fmt.element.min_scale < -30)
    assert served == (0 if wide else 9)


WIDE = [fmt for fmt in FAST if isinstance(fmt.element, Minifloat) and fmt.element.width > 8]


@pytest.mark.parametrize("fmt", [fmt for fmt in WIDE if fast.adds(fmt.element)], ids=str)
def test_wide_sums_at_ties(fmt: Block) -> None:
    element = fmt.element
    assert isinstance(element, Minifloat)
    draw = torch.Generator().manual_seed(3)
    k = torch.randint(0, element.largest, (512, SIZE), generator=draw)
    middles = (refnum.decode(k, element) + refnum.decode(k + 1, element)) / 2
    x = torch.cat([(middles.float().view(torch.int32) + step).view(torch.float32) for step in (-1, 0, 1)])
    x *= 1 - 2 * torch.randint(0, 2, x.shape, generator=draw)
    x[:, 0] = element.max_value
    made = recipe("", fmt, find("", "ocp"), None, None, float32)
    bits = widened(x)
    shared = made.scaling.share((bits & 0x7FFFFFFF).amax(1), None, singles.WAIST)
    found = recipes.Floats(made, None, len(x))(x)
    assert found is not None
    want = recipes.definition(made, bits, shared.factors[:, None], None)
    assert torch.equal(found[0].long(), want)  # nothing stands above a code that is stored in more bits


@pytest.mark.parametrize(
    "fmt",
    [formats.mxint(8, 32), formats.bfp(8, 16), formats.block_minifloat(8, 4, 16), formats.block_log(8, 16)],
    ids=str,
)
def test_large_tensors_are_the_definition(fmt: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what takes pieces out of float arithmetic here and there."""
    x = torch.randn(512, 320, generator=torch.Generator().manual_seed(0))
    x[::7, ::5], x[1], x[300, 3], x[301, 7], x[302, 1] = 0, x[1] * 2.0**-130, torch.nan, torch.inf, float32.max_value
    for dtype in (torch.float32, torch.bfloat16):
        got = mx.quantize(x.to(dtype), fmt)
        monkeypatch.setattr(recipes.Recipe, "serves", False)
        want = mx.quantize(x.to(dtype), fmt)
        monkeypatch.undo()
        assert torch.equal(got.elements, want.elements)
        assert torch.equal(got.scales, want.scales)


#: with 0 and without, with specials; values and borders that are subnormal, and values that few scales reach
CODEBOOKS = (
    nf4,
    Codebook((-1.0, -0.25, 0.5, 1.0)),
    Codebook((-2.0, 2.0)),
    Codebook((-1.0, 0.0, 1.0), (0, 1, 2), {"nan": 3, "inf": 5, "-inf": 4}, overflow="inf"),
    Codebook((-1.0, 0.0, 2.0**-130, 2.0**-120, 1.0)),
    Codebook((-1.0, 0.0, 2.0**-125, 1.0)),
    Codebook((-1.0, 0.0, 2.0**-124, 1.0)),
    Codebook((0.0, 2.0**90, 1.5 * 2.0**126)),
    Codebook(
        (0.0, 2.0**90, 2.0**127), (0, 1, 2), {"nan": 3, "inf": 5, "-inf": 4}, overflow="nan", beyond=(-1.0, 2.0**130)
    ),
)


SCALES = (float32, formats.e4m3, e8m0, Exponent(8))
NARROW = (  #: but for the first of them amax may be far beyond the largest, or below the least
    e8m0,
    Exponent(3),
    *(Minifloat(8, 0, bias=b, signed=False, subnormals=False, specials="none") for b in (-100, 200, 255, 300, 1000)),
)


@pytest.mark.parametrize("fmt", CODEBOOKS, ids=str)
def test_codebooks_by_steps_are_the_definition(fmt: Codebook, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the machine, and by integers; also of what is subnormal when it is scaled."""
    small = torch.tensor([0.0, 2.0**-149, 2.0**-51, 2.0**-30, 2.0**-26, 2.0**-25, 2.0**-24])
    small = torch.cat([small, small.nextafter(torch.ones(7)), small.nextafter(torch.zeros(7))])
    small = torch.cat([small, -small]).view(-1, 7)
    heads = (2.0 ** torch.tensor([[99.0, 100, 100.5, 101]])).expand(6, 4).reshape(-1, 1)
    below = torch.tensor([[1.0, 0.5, -0.5, 0.25, 1.0, 2.0**-25, 0.125, 0.75]]).nextafter(torch.zeros(8))
    below[0, 0] = 1.0
    x = torch.cat([X, X, torch.cat([heads, small.repeat(4, 1)], 1), below])
    cases = [(Block(fmt, scale, SIZE), "ocp", rounding) for scale in SCALES for rounding in ROUNDINGS]
    cases += [(Block(fmt, scale, SIZE, rule), "ocp", "nearest_even") for scale in NARROW for rule in ("floor", "bound")]
    cases += [(Block(fmt, e8m0, SIZE), profile, "nearest_even") for profile in ("torchao", "aiter", "microxcaling")]
    for block, profile, rounding in cases:
        if rounding == "stochastic" or (not block.by_powers and fmt.max_scale > 118):
            continue
        monkeypatch.setattr(recipes.Recipe, "steps", lambda self, x: False)
        want = mx.quantize(x, block, profile=profile, rounding=rounding)
        monkeypatch.undo()
        for flush in (False, True):
            torch.set_flush_denormal(flush)
            try:
                got = mx.quantize(x, block, profile=profile, rounding=rounding)
            finally:
                torch.set_flush_denormal(False)
            where = (str(block), profile, rounding, flush)
            assert torch.equal(got.elements, want.elements), where
            assert torch.equal(got.scales.view(torch.uint8), want.scales.view(torch.uint8)), where


def test_which_codebooks_go_by_steps() -> None:
    x, ocp = X.repeat(2, 1), find("", "ocp")
    served = {
        scale: [recipe("", Block(fmt, scale, SIZE), ocp, None, None, float32).steps(x) for fmt in books]
        for scale, books in ((float32, CODEBOOKS[:-2]), (e8m0, CODEBOOKS))
    }
    assert served == {float32: [True] * 7, e8m0: [True, True, False, True, False, False, True, True, False]}
    assert not recipe("", Block(nf4, e8m0, SIZE), find("", "microxcaling"), None, None, float32).steps(x)
    assert not recipe("", Block(nf4, e8m0, SIZE), ocp, None, "stochastic", float32).steps(x)
    assert not recipe("", Block(nf4, e8m0, SIZE), ocp, None, None, formats.float64).steps(x)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fmt",
    [
        *(formats.mxint(8, 8), formats.mxint(4, 8, rule="ceil"), formats.bfp(8, 8), formats.bfp(12, 8)),
        *(formats.block_minifloat(8, 4, 8), formats.block_log(8, 8), Block(nf4, float32, 8), Block(nf4, e8m0, 8)),
    ],
    ids=str,
)
def test_compiled_code_is_the_same(fmt: Block) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: refnum.quantize(x, fmt), fullgraph=True)
    assert same(compiled(X), refnum.quantize(X, fmt))


# ---- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", [formats.mxint(8, 4, rule="ceil"), formats.bfp(4, 4), Block(nf4, float32, 4)], ids=str)
def test_gradients(fmt: Block) -> None:
    x = torch.tensor([1.0, -1.0, 0.5, 0.01], requires_grad=True)
    for grad in ("identity", "clipped"):
        x.grad = None
        refnum.quantize(x, fmt, grad=grad).backward(torch.arange(1.0, 5.0))
        clipped = {formats.mxint(8, 4, rule="ceil"): [0, 2, 3, 4], formats.bfp(4, 4): [0, 0, 3, 4]}
        want = clipped.get(fmt, [1, 2, 3, 4]) if grad == "clipped" else [1, 2, 3, 4]
        assert x.grad.tolist() == want


def test_gradients_of_a_lost_block_are_clipped() -> None:
    x = torch.tensor([1.0, torch.nan, 0.0, 0.5, 1.0, 0.5, 0.25, -0.5], requires_grad=True)
    refnum.quantize(x, formats.block_minifloat(8, 4, 4), grad="clipped").sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


# ---- products --------------------------------------------------------------------------------------------------------

PRODUCTS = (
    *(formats.mxint(8, 16), formats.mxint(4, 16, rule="ceil"), formats.mxint(16, 16), formats.bfp(8, 16)),
    *(formats.bfp(24, 16), formats.block_minifloat(8, 4, 16), formats.block_log(8, 16), Block(nf4, float32, 64)),
    *(Block(nf4, e8m0, 16), Block(Codebook((-1.5, 0.1, 3.25), name="three"), Exponent(6), 8)),
)


@pytest.mark.parametrize("fmt", PRODUCTS, ids=str)
def test_exact_products(fmt: Block) -> None:
    draw = torch.Generator().manual_seed(3)
    a, b = (mx.quantize(torch.randn(n, 64, generator=draw) * scale, fmt) for n, scale in ((3, 1e-3), (4, 50.0)))
    x, y = (mx.dequantize(side, torch.float64).tolist() for side in (a, b))
    want = torch.tensor(
        [
            [float(np.float32(float(sum(Fraction(u) * Fraction(v) for u, v in zip(r, c, strict=True))))) for c in y]
            for r in x
        ]
    )
    assert torch.equal(refnum.mx_mm(a, b, out_dtype=torch.float32), want)
    chain = refnum.mx_mm(a, b, contract="chain/v1", out_dtype=torch.float32)
    wide = refnum.gemm(mx.dequantize(a), mx.dequantize(b).mT, contract="chain/v1")
    assert torch.equal(chain, wide)
    assert operand(flat(a)).fmt == fmt


def test_products_of_what_is_no_float64_are_refused() -> None:
    for fmt in (formats.block_log(16, 8), Block(Codebook((-0.1, 0.0, 0.1)), float32, 8)):
        blocks = mx.quantize(torch.ones(2, 8), fmt)
        with pytest.raises(ContractError, match=r"under exact/v1 cannot take .*no float64. Allowed .* Choose"):
            refnum.mx_mm(blocks, blocks)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: mx.quantize(torch.ones(8), formats.bfp(8, 8), profile="torchao"),
            ContractError,
            "has no bfp.* in profile torchao/v1",
        ),
        (
            lambda: mx.quantize(torch.ones(32), formats.mxint(8, 32, rule="ceil"), profile="aiter"),
            ContractError,
            "has no scale='bound'. Choose one of floor, ceil, even, rceil",
        ),
        *(
            (
                lambda element=element, scale=scale: mx.quantize(torch.ones(8), Block(element, scale, 8)),
                FormatError,
                f"cannot make scales of {scale} for .* divided .*Allowed are such from 2..-126 to 2..118. Choose",
            )
            for element in (formats.takum8, FixedPoint(8, 150))
            for scale in (float32, formats.e4m3)
        ),
        (lambda: mx.quantize(torch.ones(9), formats.bfp(8, 8)), ShapeError, "needs whole blocks of 8"),
        (
            lambda: mx.quantize(torch.ones(8), formats.bfp(8, 8)).to_torch(),
            FormatError,
            "cannot name the elements of bfp.*It has for e2m1, e4m3, e5m2 and e8m0. Use the codes",
        ),
        (
            lambda: mx.quantize(torch.ones(8), Block(formats.e4m3, Exponent(8), 8)).to_torch(),
            FormatError,
            r"cannot name the scales of .*torch has no dtype for exponent\(8\)",
        ),
        (
            lambda: mx.Blocks(
                torch.zeros(8, dtype=torch.uint8), torch.zeros(1, dtype=torch.uint8), formats.bfp(12, 8), (8,)
            ),
            DTypeError,
            "needs int16 for elements, got torch.uint8. View the codes as int16",
        ),
        (lambda: mx.pack_mxint8(torch.ones(5), 2), ShapeError, "needs whole groups, got 5 elements in x and group=2"),
        (lambda: mx.pack_mxint8(torch.ones(4), 0), ShapeError, "group=0. Allowed are counts"),
        (lambda: mx.pack_mxint8(torch.ones(4).double(), 2), DTypeError, "cannot read float64"),
        (
            lambda: mx.unpack_mxint8(torch.zeros(4, dtype=torch.int16), torch.zeros(2, dtype=torch.uint8), 2),
            DTypeError,
            "needs int8 for mantissas, got torch.int16",
        ),
        (
            lambda: mx.unpack_mxint8(torch.zeros(4, dtype=torch.int8), torch.zeros(3, dtype=torch.uint8), 2),
            ShapeError,
            "needs a scale for each 2 integers.* Pass 2 scales",
        ),
    ],
)
def test_refusals(call: object, error: type[RefnumError], text: str) -> None:
    assert callable(call)
    with pytest.raises(error, match=text):
        call()


# ---- mase-cuda -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [False, True])
def test_the_whole_table_of_mase_cuda(kernel: bool) -> None:
    integers, scales = torch.arange(-128, 128).to(torch.int8), torch.arange(256).to(torch.uint8)
    got = mx.unpack_mxint8(integers.repeat(256), scales, 256, kernel=kernel)
    unpack = mase_cuda.kernel if kernel else mase_cuda.unpack
    want = [unpack(q, s) for s in range(256) for q in range(-128, 128)]
    assert (got.view(torch.int16).to(torch.int64) & 0xFFFF).tolist() == want


def test_the_recorded_table_of_mase_cuda() -> None:
    recorded = np.load(VECTORS / "mase_block.npz")
    scales = torch.from_numpy(recorded["masecuda_dequant_table__scale_u8"])
    want = torch.from_numpy(recorded["masecuda_dequant_table__mant_i8_x_scale_u8__bf16_bits"].view(np.int16))
    integers = torch.arange(-128, 128).to(torch.int8).repeat(len(scales))
    got = mx.unpack_mxint8(integers, scales, 256, kernel=True).view(want.shape)
    numbers = want.view(torch.bfloat16)
    assert torch.equal(got.isnan(), numbers.isnan())
    assert torch.equal(got.view(torch.int16)[~got.isnan()], want[~got.isnan()])


@pytest.mark.parametrize("group", [1, 16, 32])
def test_packing_as_mase_cuda(group: int) -> None:
    x = X[X.isfinite().all(1) & (X.abs() < 2.0**127).all(1)].reshape(-1)
    x = x[: len(x) // group * group]
    mantissas, scales = mx.pack_mxint8(x, group)
    bits = (x.view(torch.int32).to(torch.int64) & 0xFFFFFFFF).view(-1, group).tolist()
    want = [mase_cuda.pack(each) for each in bits]
    assert mantissas.view(-1, group).tolist() == [q for q, _ in want]
    assert scales.tolist() == [s for _, s in want]


def test_groups_with_nan_and_inf_and_nothing() -> None:
    x = torch.tensor([1.0, torch.nan, 2.0, -torch.inf, float32.max_value, 1.0, 1.0, -0.0])
    mantissas, scales = mx.pack_mxint8(x, 2)
    assert scales.tolist() == [255, 255, 255, 127]
    assert mantissas.tolist() == [0] * 6 + [64, 0]
    assert mx.unpack_mxint8(mantissas, scales, 2).isnan().tolist() == [True] * 6 + [False] * 2
    assert [part.tolist() for part in mx.pack_mxint8(torch.zeros(0), 4)] == [[], []]
    assert mx.unpack_mxint8(*mx.pack_mxint8(torch.zeros(0), 4), 4).tolist() == []
