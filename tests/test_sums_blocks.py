"""mx_mm: block-scaled products equal exact sums of rationals, whatever the formats, shapes and contracts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from refnum_conformance.oracles import blocks as oracle
from torch import Tensor

import refnum
from refnum import Block, ContractError, DTypeError, ShapeError, gemm, mx, mx_mm
from refnum.formats import e2m1, e8m0, mxfp4, mxfp6_e3m2, mxfp8_e4m3, mxfp8_e5m2, mxint8, nvfp4
from refnum.mx import Blocks
from refnum.sums import contracts
from refnum.testing import assert_bit_equal

#: contracts that take blocks of mxfp4
OF_MXFP4 = [
    name
    for name, row in contracts.CONTRACTS.items()
    if row.multiply_blocks and (row.multiply or name == "tc.blackwell.mxf4/v1")
]
OF_MXFP4 += ["tree/v1(Kc=32)"]
FORMATS = (mxfp4, mxfp6_e3m2, mxfp8_e4m3, mxfp8_e5m2, mxint8, nvfp4)
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
INTEGERS = {4: torch.int32, 2: torch.int16}


def blocks(fmt: Block, rows: int, terms: int, seed: int, scales: tuple[int, int], zeros: float = 0.0) -> Blocks:
    """Random codes of numbers under scales of a range; some elements are 0 of either sign."""
    draw = torch.Generator("cpu").manual_seed(seed)
    width = fmt.element.width
    codes = torch.randint(0, 1 << width, (rows, terms), generator=draw, dtype=torch.uint8)
    if fmt in (mxfp8_e4m3, mxfp8_e5m2):
        codes = torch.where((codes & 0x7F) > fmt.element.largest, 3, codes)
    codes = torch.where(torch.rand(rows, terms, generator=draw) < zeros, codes & (1 << (width - 1)), codes)
    if fmt == mxint8:
        codes = torch.where(codes == 128, 0, codes)
    shape = torch.Size((rows, terms))
    byte = torch.randint(*scales, (rows, terms // fmt.tile[1]), generator=draw, dtype=torch.uint8)
    return Blocks(mx.pack4(codes) if fmt.packed == 2 else codes, byte, fmt, shape)


def numbers(x: Blocks | Tensor) -> list[list[oracle.Number]]:
    """What the rows stand for, as the oracle writes it."""
    if isinstance(x, Tensor):
        return [[oracle.float32(bits & 0xFFFFFFFF) for bits in row] for row in x.float().view(torch.int32).tolist()]
    fmt = oracle.FORMATS[x.fmt.name]
    factor = None if x.tensor_scale is None else x.tensor_scale.view(torch.int32).item() & 0xFFFFFFFF
    size = x.fmt.tile[1]
    return [
        [v for i, byte in enumerate(scales) for v in oracle.values(byte, row[i * size : (i + 1) * size], fmt, factor)]
        for row, scales in zip(x.codes.tolist(), x.scales.tolist(), strict=True)
    ]


def expected(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The product by the oracle."""
    x, y = numbers(a), numbers(b)
    z = None if bias is None else numbers(bias.expand(len(x), len(y)))
    codes = [
        [oracle.dot(u, v, None if z is None else z[i][j], NAMES[dtype]) for j, v in enumerate(y)]
        for i, u in enumerate(x)
    ]
    bits = torch.tensor(codes, dtype=torch.int64).to(INTEGERS[dtype.itemsize])
    return bits.view(dtype)


def check(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None = None) -> None:
    for dtype in NAMES:
        got = mx_mm(a, b, bias, out_dtype=dtype)
        assert got.dtype == dtype
        assert_bit_equal(got, expected(a, b, bias, dtype))


def pairs() -> Iterator[tuple[Block, Block]]:
    yield from ((fmt, fmt) for fmt in FORMATS)
    yield from ((mxfp4, mxfp8_e4m3), (mxfp8_e5m2, mxint8), (mxfp6_e3m2, nvfp4))


@pytest.mark.parametrize(("left", "right"), list(pairs()), ids=str)
@pytest.mark.parametrize("scales", [(126, 129), (60, 190), (0, 256)], ids=str)
def test_the_exact_sum_is_rounded_once(left: Block, right: Block, scales: tuple[int, int]) -> None:
    """Narrow scales take one product of floats, wide ones words; all scales have NaN among them."""
    low, high = scales if left.scale == right.scale == e8m0 else (max(scales[0] // 2, 1), min(scales[1] // 2, 127))
    wide = {fmt: scales if fmt.scale == e8m0 else (low, high) for fmt in (left, right)}
    a, b = blocks(left, 5, 64, 1, wide[left]), blocks(right, 4, 64, 2, wide[right], zeros=0.3)
    check(a, b)
    check(a, b, torch.linspace(-1e-3, 7e2, 4))


def test_ties_and_what_lies_below_them() -> None:
    """1 + 2**-8 is a tie of bfloat16; a term of 2**-250 decides it."""
    codes = torch.tensor([[2, 2, 2] + [0] * 29 + [1] + [0] * 31]).to(torch.uint8)
    for tiny, sign in itertools.product((0, 1, 100), (0, 8)):
        a = Blocks(mx.pack4(codes), torch.tensor([[127, tiny]], dtype=torch.uint8), mxfp4, torch.Size((1, 64)))
        other = torch.zeros(1, 64)
        other[0, :3] = torch.tensor([1.0, 2.0**-8, 0.0])
        other[0, 32] = -(2.0**-120) if sign else 2.0**-120
        check(a, other)
        check(other, a)


def test_sums_that_cancel() -> None:
    a = torch.tensor([[2.0**100, 3.0, -(2.0**100), 0.0] * 8, [-0.0] * 32])
    b = mx.quantize(torch.ones(3, 32), mxfp4)
    check(a, b)
    assert_bit_equal(mx_mm(a, b)[0], torch.full((3,), 24.0, dtype=torch.bfloat16))


@pytest.mark.parametrize("bias", [None, torch.tensor(-0.0), torch.tensor(0.0)], ids=str)
def test_the_sign_of_a_sum_that_is_0(bias: Tensor | None) -> None:
    a = torch.tensor([[-0.0] * 32, [0.0] * 32, [-0.0] * 31 + [0.0]])
    check(a, mx.quantize(torch.ones(2, 32), mxfp4), bias)


def test_padding_is_no_term() -> None:
    """A padded +0 would turn a sum of -0 into +0."""
    a, b = mx.quantize(torch.full((2, 5), -0.0), mxfp4, pad=True), torch.ones(3, 5)
    assert_bit_equal(mx_mm(a, b), torch.full((2, 3), -0.0, dtype=torch.bfloat16))


def test_values_beyond_float32() -> None:
    """448 * 2**127 is no float32, but times 2**-127 it is a number."""
    big = Blocks(
        torch.full((1, 32), 0x7E, dtype=torch.uint8), torch.tensor([[254]], dtype=torch.uint8), mxfp8_e4m3, (1, 32)
    )
    small = Blocks(
        torch.full((1, 32), 0x38, dtype=torch.uint8), torch.tensor([[0]], dtype=torch.uint8), mxfp8_e4m3, (1, 32)
    )
    check(big, small)
    assert mx_mm(big, small, out_dtype=torch.float32).item() == 448 * 32
    check(big, big)


def test_a_factor_of_the_tensor() -> None:
    a = blocks(nvfp4, 3, 32, 3, (1, 127))
    b = Blocks(a.elements, a.scales, nvfp4, a.shape, -1, torch.tensor(0.3))
    c = Blocks(a.elements, a.scales, nvfp4, a.shape, -1, torch.tensor(1e-42))
    check(a, b)
    check(b, b, torch.tensor(2.0**-100))
    check(c, b)
    check(c, c)


def test_inf_and_nan() -> None:
    a = mx.quantize(torch.ones(3, 32), mxfp8_e5m2)
    codes = a.elements.clone()
    codes[0, 3], codes[1, 3], codes[1, 4] = 0x7C, 0x7C, 0xFC
    scales = a.scales.clone()
    scales[2] = 255
    x = Blocks(codes, scales, mxfp8_e5m2, a.shape)
    y = torch.ones(4, 32)
    y[1], y[2], y[3, 0] = -1.0, 0.0, torch.nan
    check(x, y)
    got = mx_mm(x, y, out_dtype=torch.float32)
    assert got[2].view(torch.int32).tolist() == [0x7FFFFFFF] * 4
    assert got[0, :3].tolist()[:2] == [torch.inf, -torch.inf]


@pytest.mark.parametrize("dtype", NAMES, ids=str)
def test_one_operand_may_be_a_tensor(dtype: torch.dtype) -> None:
    plain = (torch.randn(4, 64, generator=torch.Generator("cpu").manual_seed(4)) * 1e-3).to(dtype)
    check(plain, blocks(mxfp4, 3, 64, 5, (120, 134)))
    check(blocks(nvfp4, 3, 64, 5, (50, 60)), plain)


# ---- shapes ---------------------------------------------------------------------------------------


def test_batches_broadcast_and_vectors_are_as_in_matmul() -> None:
    x, y = torch.randn(2, 1, 3, 64), torch.randn(5, 4, 64)
    a, b = mx.quantize(x, mxfp4), mx.quantize(y, mxfp8_e4m3)
    dense = torch.matmul(mx.dequantize(a, torch.float64), mx.dequantize(b, torch.float64).mT)
    got = mx_mm(a, b, torch.zeros(4), out_dtype=torch.float32)
    assert got.shape == (2, 5, 3, 4)
    assert_bit_equal(got, dense.to(torch.float32))  # these sums are exact in float64
    row, column = mx.quantize(x[0, 0, 0], mxfp4), mx.quantize(y[0, 0], mxfp4)
    assert mx_mm(row, b).shape == (5, 4)
    assert mx_mm(a, column).shape == (2, 1, 3)
    assert mx_mm(row, column, torch.tensor(1.0)).shape == ()
    assert_bit_equal(mx_mm(row, b), mx_mm(mx.quantize(x[0, 0, :1], mxfp4), b).squeeze(-2))


def test_tiles_are_blocks_too() -> None:
    """Rows of a tile that are repeated give a format without tiles."""
    tiles = mx.quantize(torch.randn(32, 64), Block(e2m1, e8m0, (16, 16)))
    rows = Blocks(tiles.elements, tiles.scales.repeat_interleave(16, 0), Block(e2m1, e8m0, 16), tiles.shape)
    a = torch.randn(3, 64)
    assert_bit_equal(mx_mm(a, tiles), mx_mm(a, rows))


@pytest.mark.parametrize("contract", OF_MXFP4)
@pytest.mark.parametrize("sizes", [(0, 3, 32), (3, 0, 32), (3, 2, 0)], ids=str)
def test_empty_operands(contract: str, sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    a, b = mx.quantize(torch.randn(m, k), mxfp4), mx.quantize(torch.randn(n, k), mxfp4)
    assert_bit_equal(mx_mm(a, b, contract=contract), torch.zeros(m, n, dtype=torch.bfloat16))
    bias = torch.randn(n)
    assert_bit_equal(
        mx_mm(a, b, bias, contract=contract, out_dtype=torch.float32),
        bias.expand(m, n) if k == 0 else torch.zeros(m, n),
    )


# ---- other contracts ------------------------------------------------------------------------------


def test_the_chain_is_that_of_its_definition() -> None:
    a, b = mx.quantize(torch.randn(3, 64), mxfp4), mx.quantize(torch.randn(4, 64), mxfp8_e4m3)
    bias = torch.randn(4)
    x, y = mx.dequantize(a), mx.dequantize(b)
    want = torch.empty(3, 4)
    for i, j in itertools.product(range(3), range(4)):
        total = bias[j].double()
        for k in range(64):  # these products are short: float64 holds what the fma adds
            total = (total + x[i, k].double() * y[j, k].double()).float().double()
        want[i, j] = total
    assert_bit_equal(mx_mm(a, b, bias, contract="chain", out_dtype=torch.float32), want)


@pytest.mark.parametrize("contract", OF_MXFP4)
def test_other_contracts_are_those_of_the_values(contract: str) -> None:
    row = contracts.find("test", contract)
    if row.multiply is None:  # of blocks alone: tests/test_sums_tensorcore.py
        return
    a, b, bias = blocks(mxfp4, 5, 96, 8, (125, 130)), blocks(mxfp4, 4, 96, 9, (125, 130)), torch.randn(4)
    got = mx_mm(a, b, bias, contract=contract, out_dtype=torch.float32)
    assert_bit_equal(got, gemm(mx.dequantize(a), mx.dequantize(b).T, bias, contract=contract))


def test_the_instruction_of_mxfp4() -> None:
    """Sums of 16 are exact; 2**-40 beside 2**7 is dropped, and so is the sign."""
    a = Blocks(
        torch.full((1, 48), 0x22, dtype=torch.uint8), torch.tensor([[127, 127, 80]], dtype=torch.uint8), mxfp4, (1, 96)
    )
    b = Blocks(
        torch.full((1, 48), 0x22, dtype=torch.uint8), torch.tensor([[127, 127, 127]], dtype=torch.uint8), mxfp4, (1, 96)
    )
    got = mx_mm(a, b, contract="tc.blackwell.mxf4", out_dtype=torch.float32)
    assert got.item() == 64
    assert (
        mx_mm(a, b, torch.tensor(-64.0), contract="tc.blackwell.mxf4", out_dtype=torch.float32).item() == 32 * 2.0**-47
    )
    assert mx_mm(a, b, torch.tensor(-64.0), out_dtype=torch.float32).item() == 32 * 2.0**-47


def test_torch_mm_is_what_leaderboards_do() -> None:
    a, b = mx.quantize(torch.randn(3, 64), mxfp4), mx.quantize(torch.randn(4, 64), mxfp4)
    want = torch.mm(mx.dequantize(a), mx.dequantize(b).T).to(torch.bfloat16)
    assert_bit_equal(mx_mm(a, b, contract="unversioned/torch.mm"), want)


def test_the_order_of_terms_and_the_batch_do_not_matter() -> None:
    a, b = blocks(mxfp8_e4m3, 40, 256, 6, (90, 160)), blocks(mxfp8_e4m3, 8, 256, 7, (90, 160))
    whole = mx_mm(a, b, out_dtype=torch.float32)
    for i in (0, 17, 39):
        row = Blocks(a.elements[i : i + 1], a.scales[i : i + 1], a.fmt, torch.Size((1, 256)))
        assert_bit_equal(mx_mm(row, b, out_dtype=torch.float32), whole[i : i + 1])
    turned = [Blocks(x.elements.flip(1), x.scales.flip(1), x.fmt, x.shape) for x in (a, b)]
    assert_bit_equal(mx_mm(*turned, out_dtype=torch.float32), whole)


# ---- gradients ------------------------------------------------------------------------------------


def test_gradients_go_to_tensors_and_to_the_bias() -> None:
    b = mx.quantize(torch.randn(4, 32), mxfp4)
    a = torch.randn(2, 3, 32, requires_grad=True)
    bias = torch.randn(4, dtype=torch.bfloat16, requires_grad=True)
    upstream = torch.randn(2, 3, 4)
    mx_mm(a, b, bias, out_dtype=torch.float32).backward(upstream)
    assert a.grad is not None
    assert bias.grad is not None
    assert_bit_equal(a.grad, gemm(upstream, mx.dequantize(b), contract="exact/v1"))
    ones = torch.ones(6)
    assert_bit_equal(bias.grad, gemm(ones, upstream.view(6, 4), contract="exact/v1", out_dtype=torch.bfloat16))
    other = torch.randn(5, 32, requires_grad=True)
    mx_mm(b, other, out_dtype=torch.float32).sum().backward()
    assert other.grad is not None
    torch.testing.assert_close(other.grad, mx.dequantize(b).sum(0).expand(5, 32))


# ---- errors ---------------------------------------------------------------------------------------

A, B = (mx.quantize(torch.ones(2, 32), mxfp4) for _ in range(2))

ERRORS = [
    (lambda: mx_mm(torch.ones(2, 32), torch.ones(2, 32)), DTypeError,
     "mx_mm needs Blocks for a or b|got Tensor and Tensor|mx.quantize"),
    (lambda: mx_mm(A, torch.ones(2, 32, dtype=torch.float64)), DTypeError,
     "for b|got float64|float16, bfloat16 or float32|Convert it"),
    (lambda: mx_mm(A, B, torch.ones(2, dtype=torch.int32)), DTypeError,
     "floating-point values for bias|got torch.int32"),
    (lambda: mx_mm(A, B, out_dtype=torch.float64), DTypeError,
     "cannot return torch.float64|float32, bfloat16 and float16"),
    (lambda: mx_mm(A, mx.quantize(torch.ones(32, 2), mxfp4, axis=0)), ShapeError,
     "got b in blocks along axis -2|axis=-1"),
    (lambda: mx_mm(A, mx.quantize(torch.ones(2, 64), mxfp4)), ShapeError,
     r"(2, 32) by the transpose of (2, 64)|32 and 64 elements|[.., N, K]"),
    (lambda: mx_mm(mx.quantize(torch.ones(2, 3, 32), mxfp4), mx.quantize(torch.ones(5, 3, 32), mxfp4)), ShapeError,
     "cannot broadcast a (2,), b (5,)"),
    (lambda: mx_mm(A, B, torch.ones(3)), ShapeError, "bias of shape (3,)|result of shape (2, 2)|broadcast"),
    (lambda: mx_mm(A, torch.tensor(1.0)), ShapeError, "at least one axis|got a 0-d tensor"),
    (lambda: mx_mm(A, B, contract="exact/v9"), ContractError, "no contract='exact/v9'|exact/v1, "),
    (lambda: mx_mm(A, B, contract="int/v1"), ContractError, "under int/v1 cannot take mxfp4 for a|use exact/v1"),
    (lambda: mx_mm(A, B, contract="tc.ampere.tf32/v1"), ContractError,
     "cannot follow tc.ampere.tf32/v1, which takes no blocks|Use exact/v1"),
    (lambda: mx_mm(A, B, contract="tc.blackwell.nvf4"), ContractError,
     "under tc.blackwell.nvf4/v1 cannot take mxfp4 for a|Allowed are nvfp4|Quantize to"),
    (lambda: mx_mm(A, torch.ones(2, 32), contract="tc.blackwell.mxf4"), DTypeError,
     "under tc.blackwell.mxf4/v1 needs Blocks for b|got a tensor|Use mx.quantize"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "parts"), ERRORS)
def test_errors_say_what_was_got_and_what_is_allowed(call, error, parts) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error) as caught:
        call()
    for part in parts.split("|"):
        assert part in str(caught.value)


def test_a_contract_is_a_record_or_its_name() -> None:
    for name in ("exact", "exact/v1", contracts.CONTRACTS["exact/v1"]):
        assert_bit_equal(mx_mm(A, B, contract=name), torch.full((2, 2), 32.0, dtype=torch.bfloat16))  # type: ignore[arg-type]


def test_the_public_name_is_this_function() -> None:
    assert refnum.mx_mm is mx_mm
