"""One-file references: their bits are refnum's, they need torch alone, and their self-tests can fail."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import refnum
from refnum import mx
from refnum.errors import ContractError, FormatError
from refnum.formats import Block, e2m1, e8m0, parse
from refnum.lab import references, vendor

FORMATS = ("mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8")
FLOATS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}
CONTRACTS = ("exact/v1", "chain/v1")


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """Tensors here are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@lru_cache(maxsize=512)
def text(fmt: str, *functions: str, **knobs: Any) -> str:
    row = parse(fmt)
    assert isinstance(row, Block)
    return vendor(functions or references.FUNCTIONS, row, **knobs)


def loaded(source: str) -> Any:
    """What the file defines."""
    names: dict[str, Any] = {"__name__": "vendored"}
    exec(compile(source, "vendored.py", "exec"), names)  # noqa: S102
    return SimpleNamespace(**names)


def file(fmt: str, *functions: str, **knobs: Any) -> Any:
    return loaded(text(fmt, *functions, **knobs))


def same(got: Tensor, want: Tensor) -> bool:
    """Equal to the last bit."""
    integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    same_kind = got.dtype == want.dtype and got.shape == want.shape
    if got.dtype.is_floating_point:
        got, want = (x.contiguous().view(integers[x.dtype.itemsize]) for x in (got, want))
    return same_kind and torch.equal(got, want)


# ---- values ---------------------------------------------------------------------------------------------------------

#: fractions at which some rule or rounding turns, and their neighbours
FRACTIONS = (0, 1, 0x200000, 0x400000, 0x600000, 0x700000, 0x780000, 0x7C0000, 0x7E0000, 0x7F0000, 0x7F8000)


@lru_cache(maxsize=8)
def values(dtype: torch.dtype, rows: int = 1500) -> Tensor:
    """Blocks [R, 32] of this dtype: every exponent as that of amax, ties beside it, every pattern, Inf and NaN."""
    draw = torch.Generator().manual_seed(rows)
    integers = FLOATS[dtype]
    if integers == torch.int16:
        patterns = torch.arange(1 << 16).to(torch.int16)
        mixed = patterns[torch.randperm(1 << 16, generator=draw)].view(-1, 32)
        ascending = patterns.view(-1, 32)
        return torch.cat([ascending, mixed])[:: max(1, 4096 // rows)].view(dtype)
    fractions = torch.tensor([f + d & 0x7FFFFF for f in FRACTIONS for d in (-1, 0, 1)])
    amax = (torch.arange(256)[:, None] * (1 << 23) + fractions).flatten()
    amax = amax[torch.randperm(len(amax), generator=draw)[:rows]]
    below = torch.randint(0, 12, (rows, 32), generator=draw) << 23
    few = torch.randint(0, 1 << 7, (rows, 32), generator=draw) << 16
    nudge = torch.randint(-1, 2, (rows, 32), generator=draw)
    x = ((amax[:, None] & 0x7F800000) - below | few) + nudge
    x = x.clamp(min=0).minimum(amax[:, None])
    x[:, 5] = amax
    x[::7] = torch.randint(0, 1 << 31, (len(x[::7]), 32), generator=draw)  # any pattern
    x[::11, 9] = 0x7F800000  # Inf
    x[::13, 8] = 0x7F800001  # NaN
    x[::17] &= 0x7FFFFF  # subnormal
    x[::19, 4:20] = 0
    sign = torch.randint(0, 2, (rows, 32), generator=draw)
    return (x - (sign << 31)).to(torch.int32).view(torch.float32)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("profile", references.PROFILES)
def test_quantize(fmt: str, profile: str) -> None:
    """Every scale rule and rounding, on every dtype."""
    row = parse(fmt)
    assert isinstance(row, Block)
    for scale, rounding in itertools.product(references.CARRIED, references.ROUNDINGS):
        knobs = {"profile": profile, "scale": scale, "rounding": rounding}
        quantize = file(fmt, "mx.quantize", **knobs).quantize
        for dtype in FLOATS:
            x = values(dtype, 500 if rounding == "toward_zero" else 1000)
            elements, scales = quantize(x)
            want = mx.quantize(x, row, **knobs)  # type: ignore[arg-type]
            assert same(elements, want.elements), (dtype, knobs)
            assert same(scales, want.scales), (dtype, knobs)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("flush", [False, True])
def test_dequantize_every_code(fmt: str, flush: bool) -> None:
    """Under every scale, into every dtype; whether or not the machine flushes subnormal numbers."""
    row = parse(fmt)
    assert isinstance(row, Block)
    codes = torch.arange(256, dtype=torch.uint8)
    elements = (codes.view(1, -1) & 0x3F if row.element.width == 6 else codes.view(1, -1)).expand(256, 256).contiguous()
    scales = codes[:, None].expand(256, 256 * row.packed // 32).contiguous()
    shape = torch.Size((256, 256 * row.packed))
    dequantize = file(fmt, "mx.dequantize").dequantize
    for dtype in (*FLOATS, torch.float64):
        want = mx.dequantize(mx.Blocks(elements, scales, row, shape), dtype)
        torch.set_flush_denormal(flush)
        got = dequantize(elements, scales, dtype)
        torch.set_flush_denormal(False)
        assert same(got, want), dtype


def test_subnormal_numbers_that_are_flushed() -> None:
    x = values(torch.float32)[::17]
    torch.set_flush_denormal(True)
    got = file("mxfp8_e4m3", profile="aiter").quantize(x)
    torch.set_flush_denormal(False)
    want = mx.quantize(x, refnum.mxfp8_e4m3, profile="aiter")
    assert same(got[0], want.elements)
    assert same(got[1], want.scales)


def test_other_default_dtypes_shapes_and_strides() -> None:
    x = torch.randn(6, 4, 3, 64, generator=torch.Generator().manual_seed(1))
    row, module = refnum.mxfp4, file("mxfp4")
    want = mx.quantize(x, row)
    torch.set_default_dtype(torch.float64)
    try:
        elements, scales = module.quantize(x.transpose(0, 2))
        got = module.dequantize(elements, scales)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product = module.mx_mm(elements[0], scales[0], elements[0], scales[0])
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(got.transpose(0, 2).contiguous(), mx.dequantize(want))
    side = mx.quantize(x.transpose(0, 2)[0], row)
    assert same(product, refnum.mx_mm(side, side))
    assert module.quantize(x[:0])[0].shape == (0, 4, 3, 32)
    assert module.quantize(x[..., :0])[0].shape == (6, 4, 3, 0)
    assert module.quantize(x[0, 0, 0].requires_grad_())[1].shape == (2,)


def test_a_block_of_another_size() -> None:
    row = Block(e2m1, e8m0, 16)
    module = loaded(vendor(references.FUNCTIONS, row, profile="aiter"))
    x = values(torch.bfloat16)
    assert module.self_test() == ""
    assert same(module.quantize(x)[0], mx.quantize(x, row, profile="aiter").elements)


def test_codes_in_dtypes_of_torch() -> None:
    module = file("mxfp4")
    blocks = mx.quantize(torch.randn(4, 32, generator=torch.Generator().manual_seed(2)), refnum.mxfp4)
    assert same(module.dequantize(*blocks.to_torch()), mx.dequantize(blocks))


# ---- products -------------------------------------------------------------------------------------------------------


def operand(fmt: Block, rows: int, terms: int, *, seed: int, scales: tuple[int, int], finite: bool) -> mx.Blocks:
    """Any codes, under scales of a range."""
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 1 << fmt.element.width * fmt.packed, (rows, terms // fmt.packed), generator=draw)
    if finite and fmt.element.width == 8:
        codes &= 0xBF  # neither NaN nor Inf
    low, high = scales
    scale = torch.randint(low, high, (rows, terms // 32), generator=draw)
    return mx.Blocks(codes.to(torch.uint8), scale.to(torch.uint8), fmt, torch.Size((rows, terms)))


def hard_pairs(fmt: Block) -> dict[str, tuple[mx.Blocks, mx.Blocks]]:
    def pair(terms: int, scales: tuple[int, int], finite: bool = True) -> tuple[mx.Blocks, mx.Blocks]:
        return tuple(  # type: ignore[return-value]
            operand(fmt, rows, terms, seed=seed, scales=scales, finite=finite) for rows, seed in ((7, 1), (9, 2))
        )

    pairs = {
        "near": pair(96, (120, 130)),
        "wide": pair(128, (0, 255)),
        "low": pair(64, (45, 62)),
        "high": pair(64, (200, 255)),
        "special": pair(64, (0, 256), finite=False),
        "empty": pair(0, (0, 1)),
    }
    a, b = pair(64, (60, 190))
    # Two sums that cancel, but for a small third one: x1 y1 - x1 y1 + x2 y2.
    signs = torch.tensor(0x88 if fmt.packed == 2 else 1 << fmt.element.width - 1, dtype=torch.uint8)
    symmetric = fmt.element.width == 8 and fmt == refnum.mxint8
    negated = [-x.elements if symmetric else x.elements ^ signs for x in (a, b)]
    small = (
        operand(fmt, 7, 32, seed=3, scales=(0, 30), finite=True),
        operand(fmt, 9, 32, seed=4, scales=(0, 30), finite=True),
    )
    pairs["cancelling"] = (
        _beside(fmt, (a.elements, a.scales), (negated[0], a.scales), (small[0].elements, small[0].scales)),
        _beside(fmt, (b.elements, b.scales), (b.elements, b.scales), (small[1].elements, small[1].scales)),
    )
    zeros = torch.zeros(9, 64 // fmt.packed, dtype=torch.uint8)
    signed = zeros if symmetric else torch.where(torch.arange(9)[:, None] % 2 == 0, signs, zeros)
    one = (a.elements & ~signs, a.scales)
    pairs["zeros"] = _beside(fmt, one), _beside(fmt, (signed, b.scales))
    return pairs


def _beside(fmt: Block, *parts: tuple[Tensor, Tensor]) -> mx.Blocks:
    elements, scales = (torch.cat(side, 1) for side in zip(*parts, strict=True))
    return mx.Blocks(elements, scales, fmt, torch.Size((len(scales), 32 * scales.shape[1])))


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("fmt", FORMATS)
def test_mx_mm(fmt: str, contract: str) -> None:
    row, product = parse(fmt), file(fmt, "mx_mm", contract=contract).mx_mm
    assert isinstance(row, Block)
    for what, (a, b) in hard_pairs(row).items():
        for dtype in FLOATS:
            want = refnum.mx_mm(a, b, contract=contract, out_dtype=dtype)
            got = product(a.elements, a.scales, b.elements, b.scales, dtype)
            assert same(got, want), (what, dtype)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_mx_mm_where_subnormal_numbers_are_flushed(contract: str) -> None:
    a, b = hard_pairs(refnum.mxfp8_e4m3)["low"]
    want = refnum.mx_mm(a, b, contract=contract, out_dtype=torch.float32)
    product = file("mxfp8_e4m3", "mx_mm", contract=contract).mx_mm
    torch.set_flush_denormal(True)
    got = product(a.elements, a.scales, b.elements, b.scales, torch.float32)
    torch.set_flush_denormal(False)
    assert same(got, want)
    exponents = want.view(torch.int32) >> 23 & 255
    assert bool(((exponents == 0) & (want.view(torch.int32) << 1 != 0)).any())


def test_mx_mm_broadcasts() -> None:
    x, y = (torch.randn(*shape, 64, generator=torch.Generator().manual_seed(3)) for shape in ((2, 1, 5), (3, 4)))
    a, b = (mx.quantize(side, refnum.mxfp4) for side in (x, y))
    got = file("mxfp4", "mx_mm").mx_mm(a.elements, a.scales, b.elements, b.scales)
    assert same(got, refnum.mx_mm(a, b))


def test_mx_mm_without_a_promise() -> None:
    a, b = hard_pairs(refnum.mxfp6_e3m2)["near"]
    contract = "unversioned/torch.mm"
    product = file("mxfp6_e3m2", contract=contract).mx_mm(a.elements, a.scales, b.elements, b.scales, torch.float32)
    torch.testing.assert_close(product, refnum.mx_mm(a, b, contract=contract, out_dtype=torch.float32))


# ---- the text -------------------------------------------------------------------------------------------------------

#: of each choice that changes lines one, together with all others
RECIPES = [
    ("mxfp4", {"profile": "aiter"}),
    ("mxfp4", {"profile": "torchao", "scale": "rceil", "contract": "chain/v1"}),
    ("mxfp6_e2m3", {"scale": "ceil", "rounding": "toward_zero"}),
    ("mxfp6_e3m2", {"contract": "unversioned/torch.mm"}),
    ("mxfp8_e4m3", {"profile": "aiter_legacy"}),
    ("mxfp8_e5m2", {"profile": "aiter", "scale": "floor"}),
    ("mxint8", {"profile": "torchao", "scale": "even"}),
]
CHOICES = [(*references.FUNCTIONS,), ("mx.quantize", "mx_mm"), *((name,) for name in references.FUNCTIONS)]


@pytest.mark.parametrize(("fmt", "knobs"), RECIPES, ids=str)
def test_each_choice_of_functions(fmt: str, knobs: dict[str, str]) -> None:
    for functions in CHOICES:
        source = text(fmt, *functions, **knobs)
        tree = ast.parse(source)
        imports = {node.names[0].name for node in ast.walk(tree) if isinstance(node, ast.Import)}
        froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert imports == froms == {"torch"}
        module = loaded(source)
        assert module.self_test() == ""
        names = {name.removeprefix("mx.") for name in functions}
        assert {name for name in ("quantize", "dequantize", "mx_mm") if hasattr(module, name)} == names
        lines = source.splitlines()
        assert max(map(len, lines)) <= 120
        assert "$" not in source
        assert "#?" not in source
        if "mx.dequantize" not in functions:
            assert len(lines) <= 250


def test_the_longest_is_short() -> None:
    longest = text("mxfp8_e5m2", "mx.quantize", "mx_mm", profile="aiter_legacy")
    assert len(longest.splitlines()) <= 250


def test_files_are_formatted(tmp_path: Path) -> None:
    pytest.importorskip("ruff", reason="formatting is checked with ruff")
    for number, ((fmt, knobs), functions) in enumerate(itertools.product(RECIPES, CHOICES)):
        (tmp_path / f"vendored_{number}.py").write_text(text(fmt, *functions, **knobs))
    rules = Path(refnum.__file__).parents[1] / "pyproject.toml"
    for command in (["check", "--no-cache"], ["format", "--no-cache", "--check"]):
        run = [sys.executable, "-m", "ruff", *command, "--config", str(rules), str(tmp_path)]
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_every_line_of_the_template_is_written_sometimes() -> None:
    written = {
        line for fmt, knobs in RECIPES for functions in CHOICES for line in text(fmt, *functions, **knobs).splitlines()
    }
    written |= set(text("mxfp4", rounding="nearest_away").splitlines())
    template = Path(references.__file__).with_name("blocks.py.txt").read_text().splitlines()
    plain = {line.partition("  #? ")[0] for line in template if "$" not in line}
    assert plain <= written


def test_one_text_for_one_recipe() -> None:
    again = vendor(["mx_mm", "mx.quantize", "mx_mm"], refnum.mxfp4, profile="aiter_legacy", scale="even")
    assert again == vendor(("mx.quantize", "mx_mm"), refnum.mxfp4, profile="aiter/v1", contract="exact")
    assert "--profile aiter/v1\n--scale even\n--rounding nearest_away\n--contract exact/v1\n" in again
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_flush_denormal(True)
    try:
        assert again == vendor(("mx.quantize", "mx_mm"), refnum.mxfp4, profile="aiter/v1")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        torch.set_flush_denormal(False)
    assert f"refnum {refnum.__version__}" in again
    assert "SPDX-License-Identifier: MIT" in again


# ---- the self-test --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fmt", "knobs"), RECIPES, ids=str)
def test_a_wrong_constant_is_noticed(fmt: str, knobs: dict[str, str]) -> None:
    """By the self-test; or else it changes no bit."""
    source = text(fmt, **knobs)
    right = loaded(source).quantize(values(torch.float32))
    constants = list(re.finditer(r"^(?!BAND)[A-Z_]+ = [-\w ]+(?=  #)", source, re.MULTILINE))
    assert len(constants) >= 8
    noticed = 0
    for constant, change in itertools.product(constants, (" + 1", " - 1")):
        wrong = source[: constant.end()] + change + source[constant.end() :]
        if _difference(wrong):
            noticed += 1
            continue
        got = loaded(wrong).quantize(values(torch.float32))
        assert all(map(same, got, right)), constant[0] + change
    assert noticed >= 2 * len(constants) - 6


def _difference(source: str) -> str:
    module = loaded(source)
    try:
        return str(module.self_test())
    except (ValueError, RuntimeError) as error:  # blocks that do not fit, or a shift that is negative
        return str(error)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("+ odd", "+ 1 - odd"),
        (".clamp(max=LARGEST)", ""),
        ("torch.where(scales == 255, 0, codes)", "codes"),
        ("codes | SIGN", "codes"),
        ("x @ y.mT).to(torch.int64)", "x @ y.mT).to(torch.int64) + 1"),
        ("total << BAND", "total << BAND + 1"),
        ("sums = torch.where(plain.isfinite(), sums, plain)", "pass"),
        ("infinity | 1 << mantissa - 1", "infinity"),
    ],
)
def test_a_wrong_line_is_noticed(old: str, new: str) -> None:
    source = text("mxfp4")
    assert source.count(old) == 1
    assert _difference(source.replace(old, new))


def run(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", path.name], capture_output=True, text=True, cwd=path.parent, timeout=300
    )


def test_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "vendored.py"
    path.write_text(text("mxfp4", profile="aiter"))
    done = run(path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    path.write_text(text("mxfp4", profile="aiter").replace("CARRY = 0x200000", "CARRY = 0x100000"))
    done = run(path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("scale of block 'step': [127], where refnum gave [128]")


# ---- what is refused ------------------------------------------------------------------------------------------------

ROWS = "mxfp4, mxfp6_e2m3, mxfp6_e3m2, mxfp8_e4m3, mxfp8_e5m2, mxint8"
FORM = f"Allowed are formats with scales of e8m0 along one axis: {ROWS}. Choose one, or use refnum itself."
SQUARE = Block(e2m1, e8m0, (32, 32))


@pytest.mark.parametrize(
    ("functions", "fmt", "error", "words"),
    [
        ([], refnum.mxfp4, ContractError, "needs the names of functions, got []. Choose one or more of mx.quantize, "),
        ("mx_mm", refnum.mxfp4, ContractError, "needs the names of functions, got 'mx_mm'. Choose one or more of"),
        (
            ["gemm"],
            refnum.mxfp4,
            ContractError,
            "has no function='gemm'. Choose one of mx.quantize, mx.dequantize, mx_mm.",
        ),
        (["mx_mm"], refnum.posit8, FormatError, "needs a block format, got Posit(n=8, es=2). Pass"),
        (["mx_mm"], refnum.nvfp4, FormatError, f"cannot write nvfp4. {FORM}"),
        (["mx_mm"], SQUARE, FormatError, f"cannot write block(e2m1,e8m0,(32,32)). {FORM}"),
    ],
)
def test_refused(functions: Any, fmt: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        vendor(functions, fmt)
    assert str(caught.value).startswith(f"vendor {words}")


@pytest.mark.parametrize(
    ("knob", "value", "allowed"),
    [
        ("profile", "microxcaling/v1", "ocp/v1, torchao/v1, aiter/v1, aiter/v2"),
        ("scale", "up", "floor, ceil, even, rceil"),
        ("rounding", "stochastic", "nearest_even, nearest_away, toward_zero"),
        ("contract", "tree/v1(Kc=256)", "exact/v1, chain/v1, unversioned/torch.mm"),
    ],
)
def test_knobs_that_are_refused(knob: str, value: str, allowed: str) -> None:
    with pytest.raises(ContractError) as caught:
        vendor(["mx.quantize"], refnum.mxfp4, **{knob: value})
    assert str(caught.value) == f"vendor has no {knob}={value!r}. Choose one of {allowed}."


def test_what_a_file_refuses() -> None:
    module = file("mxfp4")
    zeros = torch.zeros(2, 16, dtype=torch.uint8), torch.zeros(2, 1, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"quantize needs float32, bfloat16 or float16, got torch.float64. Convert x."):
        module.quantize(torch.zeros(32, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"quantize needs whole blocks of 32, got 48 elements. Fill x up with zeros."):
        module.quantize(torch.zeros(48))
    for call in (lambda: module.mx_mm(*zeros, *zeros, torch.float64), lambda: module.dequantize(*zeros, torch.int32)):
        with pytest.raises(TypeError, match=r"A result may be float32, bfloat16 or float16, got torch.*Choose one."):
            call()
