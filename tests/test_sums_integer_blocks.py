"""mx_mm under int/v1: blocks of integers in accumulators of stated width, and what those hold summed exactly."""

from __future__ import annotations

import itertools

import pytest
import torch
from float_sums import SETTINGS
from refnum_conformance.oracles import blocks as oracle
from refnum_conformance.oracles import minifloat
from refnum_conformance.oracles.reals import Dyadic
from torch import Tensor

import refnum
from refnum import Block, ContractError, DTypeError, FixedPoint, Minifloat, ShapeError, mx, mx_mm
from refnum.formats import Exponent, bfp, e8m0, mxfp4, mxint8
from refnum.mx import Blocks
from refnum.sums import integer_blocks
from refnum.sums.integers import Integers
from refnum.testing import assert_bit_equal

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
POWERS = Minifloat(5, 0, bias=20, specials="none", signed=False, subnormals=False)
FORMATS = {
    "mxint8": mxint8,
    "asymmetric": Block(FixedPoint(8, 6), e8m0, 32),
    "four bits": Block(FixedPoint(4, 2), e8m0, 16),
    "no sign": Block(FixedPoint(8, 6, signed=False), e8m0, 8),
    "odd width and size": Block(FixedPoint(5, 4, symmetric=True), e8m0, 5, "bound"),
    "bfp": Block(Minifloat(1, 6, bias=2, specials="none"), e8m0, 16, "bound"),
    "bfp of 6 bits": Block(Minifloat(1, 4, bias=2, specials="none"), POWERS, 16, "bound"),
    "signed scales": Block(FixedPoint(8, 6), Exponent(6), 16, "floor"),
    "tiles": Block(FixedPoint(8, 7), e8m0, (2, 8)),
    "sixteen bits": Block(FixedPoint(16, 14), e8m0, 32),
    "twelve bits": Block(FixedPoint(12, 11), e8m0, 16, "bound"),
}


# ---- the oracle: Python's integers ----------------------------------------------------------------------------------


def integer(code: int, fmt: Block) -> int:
    """What a code stands for, in units of the format."""
    element, code = fmt.element, code & ((1 << fmt.element.width) - 1)
    half = 1 << (element.width - 1)
    if isinstance(element, FixedPoint):
        return code - 2 * half if element.signed and code >= half else code
    return -(code - half) if code >= half else code


def power(code: int, fmt: Block) -> int | None:
    """log2 of a scale and of the unit of elements; None for NaN."""
    element, scale = fmt.element, fmt.scale
    unit = -element.fraction if isinstance(element, FixedPoint) else 1 - element.bias - element.mantissa
    if isinstance(scale, Exponent):
        code &= (1 << scale.width) - 1
        return unit + (code - (1 << scale.width) if code >> (scale.width - 1) else code)
    return None if scale == e8m0 and code == 255 else unit + code - scale.bias


def accumulator(terms: list[int], acc: int, overflow: str) -> int:
    low, high = -(1 << (acc - 1)), (1 << (acc - 1)) - 1
    total = 0
    for term in terms:
        total += term
        if overflow == "saturate":
            total = min(max(total, low), high)
    return (total - low) % (1 << acc) + low if overflow == "wrap" else total


def rows(x: Blocks) -> list[list[tuple[int | None, list[int]]]]:
    """Of each row its blocks: log2 of the scale, and integers."""
    tall, size = x.fmt.tile
    scales = x.scales.tolist()
    return [
        [
            (power(byte, x.fmt), [integer(code, x.fmt) for code in codes[j * size : (j + 1) * size]])
            for j, byte in enumerate(scales[i // tall])
        ]
        for i, codes in enumerate(x.codes.tolist())
    ]


def one(u: list, v: list, bias: oracle.Number | None, row: Integers, dtype: torch.dtype) -> int:
    terms = [] if bias is None else [bias]
    for (p, x), (q, y) in zip(u, v, strict=True):
        held = accumulator([i * j for i, j in zip(x, y, strict=True)], row.acc, row.overflow)
        nan = p is None or q is None
        terms.append((False, minifloat.Special.NAN) if nan else (held < 0, Dyadic(abs(held), p + q)))
    sign, magnitude = oracle.total([(False, Dyadic(0, 0)), *terms])
    fmt = oracle.FLOATS[NAMES[dtype]]
    return (1 << (fmt.width - 1)) - 1 if magnitude is minifloat.Special.NAN else minifloat.encode(sign, magnitude, fmt)


def expected(a: Blocks, b: Blocks, bias: Tensor | None, row: Integers, dtype: torch.dtype) -> Tensor:
    x, y = rows(a), rows(b)
    z = (
        [None] * len(y)
        if bias is None
        else [oracle.float32(bits & 0xFFFFFFFF) for bits in bias.view(torch.int32).tolist()]
    )
    bits = torch.tensor([[one(u, v, w, row, dtype) for v, w in zip(y, z, strict=True)] for u in x])
    return bits.to(torch.int32 if dtype.itemsize == 4 else torch.int16).view(dtype)


# ---- operands -------------------------------------------------------------------------------------------------------


def drawn(fmt: Block, count: int, terms: int, seed: int, scales: tuple[int, int], ends: float = 0.3) -> Blocks:
    """Codes of all kinds, many of them the ends; scales of a range of codes."""
    draw, width = torch.Generator().manual_seed(seed), fmt.element.width
    codes = torch.randint(0, 1 << width, (count, terms), generator=draw)
    low = 0 if isinstance(fmt.element, FixedPoint) and fmt.element.symmetric else 1 << (width - 1)
    edges = torch.tensor([low, (1 << (width - 1)) - 1, (1 << width) - 1, 0])
    picked = edges[torch.randint(0, 4, (count, terms), generator=draw)]
    codes = torch.where(torch.rand(count, terms, generator=draw) < ends, picked, codes)
    shape = torch.Size((count, terms))
    tall, size = fmt.tile
    padded = torch.nn.functional.pad(codes, (0, -terms % size, 0, -count % tall))
    stored = mx.pack4(padded.to(torch.uint8)) if fmt.packed == 2 else padded.to(container(width))
    counts = -(-count // tall), -(-terms // size)
    return Blocks(stored, torch.randint(*scales, counts, generator=draw).to(torch.uint8), fmt, shape)


def container(width: int) -> torch.dtype:
    return torch.uint8 if width <= 8 else torch.int16


def scales_of(fmt: Block, kind: str) -> tuple[int, int]:
    """A range of codes of scales: some next to each other, or all, NaN among them."""
    if isinstance(fmt.scale, Exponent) or fmt.scale == POWERS:
        return (3, 6) if kind == "near" else (0, 1 << fmt.scale.width)
    return {"near": (125, 129), "all": (0, 256), "numbers": (60, 190)}[kind]


BIAS = torch.tensor([0.0, -0.0, 1.5, -(2.0**-140), 3e38])


def name(fmt: Block, acc: int, overflow: str) -> str:
    return f"int/v1(bits={fmt.element.width}, acc={acc}, overflow={overflow})"


# ---- products -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_products_are_those_of_python(kind: str) -> None:
    fmt = FORMATS[kind]
    wide = 2 * fmt.element.width
    for scales, overflow in itertools.product(("near", "all"), ("wrap", "saturate")):
        span = scales_of(fmt, scales)
        a, b = drawn(fmt, 4, 2 * fmt.tile[1] + 3, 1, span), drawn(fmt, 5, 2 * fmt.tile[1] + 3, 2, span)
        for acc in (2, wide - 4, wide, wide + 7):
            row = Integers(fmt.element.width, acc, overflow)
            for bias, dtype in ((None, torch.float32), (BIAS, torch.bfloat16), (BIAS, torch.float16)):
                got = mx_mm(a, b, bias, contract=name(fmt, acc, overflow), out_dtype=dtype)
                assert_bit_equal(got, expected(a, b, bias, row, dtype))


@pytest.mark.parametrize("kind", FORMATS)
def test_wide_accumulators_give_the_exact_sum(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit that of exact/v1 with a term of +0; by the definition, too."""
    fmt = FORMATS[kind]
    a, b = (drawn(fmt, n, 70, seed, scales_of(fmt, "all")) for n, seed in ((6, 3), (7, 4)))
    zero = torch.zeros(7)
    for contract in (name(fmt, 48, overflow) for overflow in ("refuse", "wrap", "saturate")):
        for dtype in NAMES:
            got = mx_mm(a, b, contract=contract, out_dtype=dtype)
            assert_bit_equal(got, mx_mm(a, b, zero, out_dtype=dtype))
    row = Integers(fmt.element.width, 64, "wrap")
    assert_bit_equal(integer_blocks.by_definition(a, b, zero, dtype, row), got)
    monkeypatch.setattr(integer_blocks, "TILE", 40)
    assert_bit_equal(integer_blocks.by_definition(a, b, zero, dtype, row), got)


def test_a_circuit_by_hand() -> None:
    """Four products of 127 * 127 leave 16 bits at the third; the second block is not touched by that."""
    codes = torch.tensor([[127] * 4 + [1, 0, 0, 0]], dtype=torch.uint8)
    fmt = Block(FixedPoint(8, 0), e8m0, 4)
    x = Blocks(codes, torch.tensor([[127, 130]], dtype=torch.uint8), fmt, torch.Size((1, 8)))
    for overflow, held in (("wrap", 64516 - 65536), ("saturate", 32767)):
        got = mx_mm(x, x, contract=f"int/v1(acc=16, overflow={overflow})", out_dtype=torch.float32)
        assert got.item() == held + 64


def test_the_order_within_a_block_matters_where_it_saturates() -> None:
    fmt = Block(FixedPoint(8, 0), e8m0, 4)
    ones = Blocks(torch.ones(1, 4, dtype=torch.uint8), torch.tensor([[127]], dtype=torch.uint8), fmt, (1, 4))
    for codes, want in (([7, 7, 249, 249], -7), ([249, 249, 7, 7], 6)):
        x = Blocks(torch.tensor([codes], dtype=torch.uint8), ones.scales, fmt, torch.Size((1, 4)))
        assert mx_mm(x, ones, contract="int/v1(acc=4, overflow=saturate)").item() == want


def test_a_sum_that_is_0_is_positive() -> None:
    """Integers have no -0: not even -0 + 0 * -1; what underflows keeps its sign."""
    a, b = mx.quantize(torch.zeros(1, 32), mxint8), mx.quantize(torch.full((1, 32), -1.0), mxint8)
    positive = torch.zeros(1, 1)
    for contract in ("int/v1", "int/v1(acc=8, overflow=wrap)"):
        for bias in (None, torch.tensor([-0.0])):
            assert_bit_equal(mx_mm(a, b, bias, contract=contract, out_dtype=torch.float32), positive)
        empty = mx.quantize(torch.ones(1, 0), mxint8)
        assert_bit_equal(
            mx_mm(empty, empty, torch.tensor([-0.0]), contract=contract, out_dtype=torch.float32), positive
        )
        tiny = mx.quantize(torch.full((1, 32), 2.0**-70), mxint8)
        got = mx_mm(b, tiny, contract=contract, out_dtype=torch.float16)
        assert_bit_equal(got, torch.tensor([[-0.0]], dtype=torch.float16) if contract == "int/v1" else positive.half())


def test_batches_broadcast() -> None:
    a, b = (mx.quantize(torch.randn(shape), mxint8) for shape in ((3, 1, 4, 64), (2, 5, 64)))
    contract = "int/v1(acc=16, overflow=saturate)"
    got = mx_mm(a, b, torch.ones(5), contract=contract)
    assert got.shape == (3, 2, 4, 5)
    x, y = mx.dequantize(a), mx.dequantize(b)
    for i, j in itertools.product(range(3), range(2)):
        alone = mx_mm(mx.quantize(x[i, 0], mxint8), mx.quantize(y[j], mxint8), torch.ones(5), contract=contract)
        assert_bit_equal(got[i, j], alone)
    vector = mx_mm(mx.quantize(x[0, 0, 0], mxint8), mx.quantize(y[0], mxint8), torch.ones(5), contract=contract)
    assert_bit_equal(vector, got[0, 0, 0])
    assert mx_mm(mx.quantize(torch.ones(0, 64), mxint8), b, contract=contract).shape == (2, 0, 5)


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_changes_a_bit(setting: str) -> None:
    fmt = FORMATS["asymmetric"]
    a, b = drawn(fmt, 9, 320, 5, (60, 190)), drawn(fmt, 8, 320, 6, (60, 190))
    for contract in ("int/v1", "int/v1(acc=17, overflow=wrap)", "int/v1(acc=17, overflow=saturate)"):
        want = mx_mm(a, b, BIAS[2:3], contract=contract, out_dtype=torch.float32)
        with SETTINGS[setting]():
            got = mx_mm(a, b, BIAS[2:3], contract=contract, out_dtype=torch.float32)
        assert_bit_equal(got, want)


# ---- what is refused ------------------------------------------------------------------------------------------------

A = mx.quantize(torch.ones(2, 32), mxint8)


def other(fmt: Block, factor: Tensor | None = None) -> Blocks:
    counts = 32 // fmt.tile[1]
    stored = torch.zeros(2, 32 // fmt.packed, dtype=container(fmt.element.width))
    return Blocks(stored, torch.zeros(2, counts, dtype=torch.uint8), fmt, torch.Size((2, 32)), -1, factor)


ERRORS = [
    (lambda: mx_mm(A, other(mxfp4), contract="int/v1"), ContractError,
     "mx_mm under int/v1 cannot take mxfp4 for b|Allowed are blocks of integers of 8 bits under powers of two|Choose"),
    (lambda: mx_mm(A, A, contract="int/v1(bits=4)"), ContractError,
     "int/v1(bits=4) cannot take mxint8 for a|of 4 bits"),
    (lambda: mx_mm(other(Block(FixedPoint(8, 400), e8m0, 32)), A, contract="int/v1"), ContractError,
     "cannot take block(fixed(8,400),e8m0,32) for a"),
    (lambda: mx_mm(other(mxint8, torch.tensor(2.0)), A, contract="int/v1"), ContractError,
     "cannot take mxint8 with a tensor_scale for a|use exact/v1"),
    (lambda: mx_mm(A, torch.ones(2, 32), contract="int/v1"), DTypeError, "needs Blocks for b|got a tensor|mx.quantize"),
    (lambda: mx_mm(A, other(Block(FixedPoint(8, 6), e8m0, 16)), contract="int/v1"), ShapeError,
     "under int/v1 needs blocks of one size along K|got 32 in a and 16 in b|Quantize one of them again"),
    (lambda: mx_mm(A, A, contract="int/v1(acc=20)"), ContractError,
     "int/v1(acc=20) got size=32, a sum of which could wrap in 20 bits|Allowed is size up to 31|Choose more bits"),
    (lambda: mx_mm(A, A, contract="int/v1", out_dtype=torch.int32), DTypeError, "cannot return torch.int32"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "parts"), ERRORS)
def test_errors_say_what_was_got_and_what_is_allowed(call, error, parts) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error) as caught:
        call()
    for part in parts.split("|"):
        assert part in str(caught.value)


def test_gradients_of_the_bias_are_exact() -> None:
    bias = torch.zeros(2, requires_grad=True)
    mx_mm(A, A, bias, contract="int/v1(acc=16, overflow=wrap)", out_dtype=torch.float32).sum().backward()
    assert bias.grad is not None
    assert bias.grad.tolist() == [2.0, 2.0]


def test_families_of_blocks_are_served() -> None:
    x = torch.linspace(-3, 3, 64).view(1, 64)
    for fmt in (refnum.formats.mxint(8), refnum.formats.mxint(4, 16), bfp(8, 16)):
        blocks = mx.quantize(x, fmt)
        got = mx_mm(blocks, blocks, contract=name(fmt, 32, "refuse"), out_dtype=torch.float32)
        assert_bit_equal(got, mx_mm(blocks, blocks, out_dtype=torch.float32))
