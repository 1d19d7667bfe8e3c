"""The operations that kernels are checked for: names, choices, and that words mean what they say."""

from __future__ import annotations

import io
from itertools import combinations, product

import pytest
import torch

import refnum
from refnum import ContractError, DTypeError, FormatError, Posit, RefnumError, mx, posit
from refnum.formats import e4m3, float32, mxfp4, mxfp8_e4m3, mxint8, nvfp4, posit8, posit16
from refnum.testing import cases
from refnum.testing.lines import Layout, unsigned
from refnum.testing.operations import POSITS, find, names

#: what has a name and no definition: formats that are not written, held or multiplied
REFUSED = {
    *("posit64_decode", "e8m0_encode", "e8m0_quantize", "float64_dot", "float64_gemm"),
    *("takum8_quantize", "takum16_quantize"),  # which float32 does not hold
    *(f"{fmt}_{name}" for fmt in ("e2m1", "e2m3", "e3m2", "e8m0", "tf32") for name in ("dot", "gemm")),
}


#: of formats without a name
SPELLED = [
    f"{fmt}_{name}"
    for fmt in ("fixed(8,4)", "fixed(12,-3,signed=False,overflow='wrap')", "dmf(4,3)", "log(5)", "codebook(-1.0,0.5)")
    for name in ("encode", "decode", "quantize")
] + [
    f"{fmt}_{name}"
    for fmt in ("mxint(12,16)", "bfp(8,16)", "block_minifloat(8,4,(2,4))", "block_log(4,16)", "block(nf4,e8m0,8)")
    for name in ("quantize", "dequantize", "dot")
    if (fmt, name) != ("block_minifloat(8,4,(2,4))", "dot")
]


@pytest.mark.parametrize("name", [*names(), *SPELLED])
def test_every_operation(name: str) -> None:
    """All kinds of cases are read as they are written, and the right results do not depend on who asks with whom."""
    if name in REFUSED:
        with pytest.raises((FormatError, DTypeError)):
            find(name)
        return
    operation = find(name)
    layout = Layout(name, operation.operands + operation.results)
    for kind in cases.KINDS:
        operands = operation.cases(kind, 12, 0)
        assert 0 < len(operands[0]) <= 12
        right = operation.right(operands)
        (read,) = layout.read(io.BytesIO(layout.text((*operands, *right))))
        for got, want, words in zip(read.codes, (*operands, *right), layout.words, strict=True):
            assert torch.equal(got, unsigned(want, words.fmt))
        again = operation.right(read.codes[: len(operands)])
        alone = operation.right(tuple(codes[-1:] for codes in read.codes[: len(operands)]))
        for x, y, z in zip(right, again, alone, strict=True):
            assert torch.equal(x, y)
            assert torch.equal(x[-1:], z)


# ---- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", POSITS, ids=lambda function: function.__name__)
def test_posit_operands_come_in_order(function: object) -> None:
    name = function.__name__  # type: ignore[attr-defined]
    operation = find(f"posit16_{name}")
    operands = operation.cases("random", 200, 1)
    want = getattr(posit, name)(*(codes.view(-1) for codes in operands), posit16)
    (got,) = operation.right(operands)
    assert torch.equal(got.view(-1), want.to(torch.int64) & 0xFFFF)


def bits(x: torch.Tensor) -> torch.Tensor:
    """float32 values as words."""
    return x.contiguous().view(torch.int32).to(torch.int64) & 0xFFFFFFFF


def test_encode_decode_quantize() -> None:
    x = torch.tensor([[1.0625], [-3.0], [1e9]])
    assert find("e4m3_encode").right((bits(x),))[0].view(-1).tolist() == [0x38, 0xC4, 0x7E]
    away = find("e4m3_encode", rounding="nearest_away").right((bits(x),))[0]
    assert away.view(-1).tolist() == [0x39, 0xC4, 0x7E]
    (values,) = find("e4m3_decode", dtype="float32").right((torch.tensor([[0x38], [0xC4]]),))
    assert torch.equal(values, bits(torch.tensor([[1.0], [-3.0]])))
    (rounded,) = find("e4m3_quantize").right((bits(x),))
    assert torch.equal(rounded, bits(torch.tensor([[1.0], [-3.0], [448.0]])))


def test_convert() -> None:
    codes = torch.tensor([[0x4000], [0x4801], [0x8000]])
    (got,) = find("posit16_convert", to="posit8").right((codes,))
    assert got.view(-1).tolist() == [0x40, 0x48, 0x80]


def test_gemm_is_row_by_row() -> None:
    """Small integers: every order gives the same sums, and every wrong layout others."""
    a, b = torch.arange(1.0, 7.0).view(1, 2, 3), torch.arange(10.0, 22.0).view(1, 3, 4) ** 2
    want = [[sum(a[0, i, k].item() * b[0, k, j].item() for k in range(3)) for j in range(4)] for i in range(2)]
    operation = find("float32_gemm", m=2, n=4, k=3)
    assert [words.count for words in (*operation.operands, *operation.results)] == [6, 12, 8]
    (got,) = operation.right((bits(a).flatten(1), bits(b).flatten(1)))
    assert torch.equal(got, bits(torch.tensor(want).view(1, 8)))


def test_gemm_under_its_contract() -> None:
    terms = bits(torch.tensor([[1e8, 1.0, -1e8]])), bits(torch.ones(1, 3))
    assert [int(find("float32_dot", k=3, contract=c).right(terms)[0]) for c in ("chain/v1", "exact/v1")] == [
        0,
        0x3F800000,
    ]
    assert find("e4m3_dot").results[0].fmt == float32
    assert str(find("bfloat16_dot").results[0].fmt) == "bfloat16"
    assert find("bfloat16_dot", dtype="float32").results[0].fmt == float32


def test_quire_dot() -> None:
    operation = find("posit8_dot", k=4)
    a, b = operation.cases("ties", 100, 0)
    want = refnum.quire_dot(a, b, posit8).to(torch.int64) & 0xFF
    assert torch.equal(operation.right((a, b))[0].view(-1), want)


@pytest.mark.parametrize("fmt", [mxfp4, nvfp4, mxint8, mxfp8_e4m3], ids=str)
def test_blocks_are_a_scale_and_elements(fmt: refnum.Block) -> None:
    x = torch.linspace(-5, 3, 2 * fmt.size).view(2, fmt.size)  # type: ignore[operator,arg-type]
    blocks = mx.quantize(x, fmt)
    scales, elements = find(f"{fmt}_quantize").right((bits(x),))
    assert torch.equal(scales, blocks.scales.to(torch.int64))
    assert torch.equal(elements, blocks.codes.to(torch.int64))
    (values,) = find(f"{fmt}_dequantize").right((scales, elements))
    assert torch.equal(values, bits(mx.dequantize(blocks)))


@pytest.mark.parametrize("fmt", [mxfp4, nvfp4, mxint8], ids=str)
def test_products_of_blocks(fmt: refnum.Block) -> None:
    """Two blocks a side: first the scales, then the elements, of a and then of b."""
    operation = find(f"{fmt}_dot")
    a, b = (torch.linspace(low, 3, 2 * fmt.size).view(1, -1) for low in (-5, -1))  # type: ignore[operator]
    sides = [mx.quantize(x, fmt) for x in (a, b)]
    words = [codes.to(torch.int64) for side in sides for codes in (side.scales, side.codes)]
    assert [each.count for each in operation.operands] == [codes.shape[1] for codes in words]
    assert torch.equal(operation.right(tuple(words))[0], bits(refnum.mx_mm(*sides, out_dtype=torch.float32)))
    assert len(operation.right(operation.cases("random", 50, 0))[0].unique()) > 40


def test_tiles() -> None:
    fmt = refnum.Block(refnum.e2m1, refnum.e8m0, (4, 8))
    x = torch.linspace(-5, 3, 64).view(2, 4, 8)
    operation = find("mx_quantize", "block(e2m1,e8m0,(4,8))")
    assert operation.name == "block(e2m1,e8m0,(4,8))_quantize"
    scales, elements = operation.right((bits(x).flatten(1),))
    blocks = mx.quantize(x, fmt)
    assert torch.equal(scales.view(-1), blocks.scales.view(-1).to(torch.int64))
    assert torch.equal(elements, blocks.codes.flatten(1).to(torch.int64))
    (values,) = find("dequantize", str(fmt)).right((scales, elements))
    assert torch.equal(values, bits(mx.dequantize(blocks)).flatten(1))


def test_profiles_reach_the_quantizer() -> None:
    x = torch.tensor([[2.5] + [0.0] * 30 + [4.0]])
    codes = [
        find("mxfp4_quantize", profile=p, scale=s).right((bits(x),))
        for p, s in product(("ocp", "aiter_legacy"), ("floor", "ceil"))
    ]
    assert [(int(scale), int(elements[0, 0])) for scale, elements in codes] == [(127, 4), (127, 4), (127, 5), (127, 5)]


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fmt", "full"),
    [
        ("posit16_add", None, "posit16_add"),
        ("posit(16,1)_add", None, "posit(16,1)_add"),
        ("add", "posit16", "posit16_add"),
        ("posit_add", "posit(12,1)", "posit(12,1)_add"),
        ("mx_quantize", "mxfp4", "mxfp4_quantize"),
        ("mxfp6_e2m3_dequantize", None, "mxfp6_e2m3_dequantize"),
        ("posit8_nearest_int", None, "posit8_nearest_int"),
    ],
)
def test_names(name: str, fmt: str | None, full: str) -> None:
    assert find(name, fmt).name == full


def test_a_format_without_a_name_has_no_space_in_it() -> None:
    assert len(find("encode", "Minifloat(3, 3)").name.split()) == 1


@pytest.mark.parametrize(
    ("name", "fmt", "options", "words"),
    [
        ("posit16_ad", None, {}, "No operation is named 'posit16_ad'. Did you mean posit16_add or "),
        ("mxfp5_quantize", None, {}, "Did you mean mxfp4_quantize or "),
        (
            "nothing",
            None,
            {},
            "No operation is named 'nothing'. Allowed are a format and a function, as in posit16_add",
        ),
        ("posit16_gemm", None, {}, "No operation is named 'posit16_gemm'."),
        (
            "add",
            "posit61",
            {},
            "No format is named 'posit61'. Near it: posit64, posit16, posit8. Choose one of posit8, ",
        ),
        ("fixed(99,2)_encode", None, {}, "FixedPoint has no width=99: width is an int from 2 to 32."),
        ("fixed(8,4)_add", None, {}, "No operation is named 'fixed(8,4)_add'."),
        (
            "add",
            "fixed(8,4)",
            {},
            "fixed(8,4) has no function 'add'. Allowed are encode, decode, quantize. Choose one.",
        ),
        (
            "block_minifloat(8,4,(2,4))_dot",
            None,
            {},
            "block_minifloat(8,4,(2,4))_dot has no row to multiply: blocks of",
        ),
        ("log(16)_decode", None, {}, "decode cannot return log(16) as float64"),
        ("add", "e4m3", {}, "e4m3 has no function 'add'. Allowed are encode, decode, quantize, dot, gemm. Choose one."),
        ("posit_ad", "posit8", {}, "posit8 has no function 'posit_ad'. Did you mean add"),
        (
            "posit16_add",
            None,
            {"profile": "ocp"},
            "posit16_add has no --profile, got 'ocp'. It has no options. Leave it",
        ),
        ("posit16_dot", None, {"m": 3}, "posit16_dot has no --m, got 3. It has --k. Leave it out."),
        (
            "e4m3_encode",
            None,
            {"dtype": "float23"},
            "e4m3_encode has no dtype='float23'. Choose one of float16, bfloat16",
        ),
        (
            "e4m3_encode",
            None,
            {"rounding": "stochastic"},
            "e4m3_encode has no rounding='stochastic'. Choose one of near",
        ),
        ("mxfp4_quantize", None, {"profile": "ocpp"}, "mx.quantize has no profile='ocpp'. Choose one of ocp/v1"),
        ("nvfp4_quantize", None, {"dtype": "float64"}, "mx.quantize cannot read float64"),
        ("nvfp4_quantize", None, {"scale": "floor"}, "scale"),
        ("float32_dot", None, {"contract": "chain/v9"}, "gemm has no contract='chain/v9'. Choose one of exact/v1"),
        ("posit16_convert", None, {"to": "e4m3"}, "posit16_convert converts to posits, got e4m3. Choose one for --to"),
        ("e8m0_encode", None, {}, "encode cannot write e8m0"),
        ("tf32_dot", None, {}, "tf32_dot has no tensors to multiply. Choose one of float16, "),
    ],
)
def test_refused(name: str, fmt: str | None, options: dict[str, object], words: str) -> None:
    with pytest.raises(RefnumError) as caught:
        find(name, fmt, **options)
    assert words in str(caught.value)


# ---- cases of blocks and of sums ----------------------------------------------------------------------------------

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("kind", cases.KINDS)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_blocks_are_the_same_again(kind: str, dtype: torch.dtype) -> None:
    x, again = (cases.blocks(mxfp4, kind, dtype, count=40, seed=5) for _ in range(2))
    assert x.shape == (40, 32)
    assert x.dtype == dtype
    assert torch.equal(x.view(torch.uint8), again.view(torch.uint8))
    other = cases.blocks(mxfp4, kind, dtype, count=40, seed=6)
    assert not torch.equal(x.view(torch.uint8), other.view(torch.uint8))


@pytest.mark.parametrize("fmt", [mxfp4, mxfp8_e4m3, mxint8], ids=str)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_edges_of_blocks_tell_rules_apart(fmt: refnum.Block, dtype: torch.dtype) -> None:
    x = cases.blocks(fmt, "edges", dtype, count=1000)
    assert x.isnan().any()
    assert x.isinf().any()
    scales = {rule: mx.quantize(x, fmt, scale=rule).scales for rule in ("floor", "ceil", "even", "rceil")}
    alike = {pair for pair in combinations(scales, 2) if torch.equal(scales[pair[0]], scales[pair[1]])}
    # No bfloat16 lies between the largest element of mxint8 and half a unit above it, where these two differ.
    assert alike == ({("even", "rceil")} if (fmt, dtype) == (mxint8, torch.bfloat16) else set())


@pytest.mark.parametrize("fmt", [mxfp4, mxfp8_e4m3, mxint8, nvfp4], ids=str)
def test_ties_of_blocks_are_ties(fmt: refnum.Block) -> None:
    """A kernel that rounds ties away is found by most of them; random blocks hardly ever find it."""
    wrong = {}
    for kind in ("ties", "random"):
        x = cases.blocks(fmt, kind, torch.float32, count=300)
        even, away = (mx.quantize(x, fmt, rounding=rule).codes for rule in ("nearest_even", "nearest_away"))
        wrong[kind] = int((even != away).any(1).sum())
    assert wrong["ties"] > (90 if fmt == nvfp4 else 200)  # a scale that is no power of two moves ties by its reciprocal
    assert wrong["random"] < 30


def test_random_blocks_are_in_the_range_of_their_scales() -> None:
    """Half of them; the others are any floats, most of which are too large or too small for scales of NVFP4."""
    scales = mx.quantize(cases.blocks(nvfp4, "random", torch.float32, count=400), nvfp4).scales.view(-1)
    assert len(scales[1::2].unique()) > 60
    assert int((scales[1::2] == 0x7E).sum()) < 40


@pytest.mark.parametrize("fmt", [float32, refnum.bfloat16, refnum.float16, e4m3], ids=str)
def test_ties_of_sums_tell_orders_apart(fmt: refnum.Minifloat) -> None:
    operations = [
        find(f"{fmt}_dot", contract=c, dtype="float32", k=8) for c in ("chain/v1", "exact/v1", "tree/v1(Kc=2)")
    ]
    a, b = cases.dots(fmt, "ties", count=300, length=8)
    results = [operation.right((a, b))[0] for operation in operations]
    if fmt.width > 8:  # no product of two e4m3 is half a unit of float32
        assert int((results[0] != results[1]).sum()) > 20
        assert int((results[0] != results[2]).sum()) > 20
    assert len(results[0].unique()) > 20


@pytest.mark.parametrize("kind", cases.KINDS)
def test_dots_of_floats_are_codes(kind: str) -> None:
    for fmt in (e4m3, refnum.bfloat16, float32, refnum.formats.float64):
        a, b = cases.dots(fmt, kind, count=10, length=4)
        assert a.shape == b.shape == (10, 4)
        assert fmt.width == 64 or not ((a | b) >> fmt.width).any()
        assert not torch.equal(a, b)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((posit8, "edges", torch.float32), FormatError, "cases.blocks needs"),
        ((mxfp4, "edge", torch.float32), ContractError, "cases.blocks has no kind='edge'"),
        (
            (mxfp4, "edges", torch.int8),
            DTypeError,
            "cases.blocks has no values of torch.int8. Allowed are float16, ",
        ),
    ],
)
def test_cases_of_blocks_refused(arguments: tuple[object, ...], error: type[RefnumError], words: str) -> None:
    with pytest.raises(error) as caught:
        cases.blocks(*arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_other_posits() -> None:
    assert find("fma", "posit(6,1)").operands[0].fmt == Posit(6, 1)
