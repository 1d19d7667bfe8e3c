"""The kernels of exact/v1, as they are, on the CPU: against refnum.gemm, by words and by residues, in every order."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from math import log2, prod
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cuda import bridge
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from float_sums import DATA, Draw, golden, operands
from torch import Tensor

import refnum
from refnum.nn import linear
from refnum.testing import assert_bit_equal
from refnum_cuda import exact, residues

ROUTES = ("words", "residues")
RESULTS = (torch.float32, torch.bfloat16, torch.float16, torch.float64, *exact.FP8)


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels.of_file("exact.cu", *(kernel.name for kernel in exact.KERNELS))


@pytest.fixture(autouse=True)
def small_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=1))
    monkeypatch.setattr(exact, "_form", lambda _: residues.BY_WARPS)


class Run:
    """Products by the kernels: by residues wherever there are terms, or by words alone."""

    def __init__(self, kernels: Kernels, choice: Choice = CHOICES[0], *, most_blocks: int = 3) -> None:
        self.kernels, self.choice, self.most_blocks = kernels, choice, most_blocks
        self.doubts = 0  #: results that were in doubt

    def gemm(
        self, route: str, a: Tensor, b: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        shape = exact.product_shape(a, b)
        guarded = torch.full((shape.numel() + 64,), 3.0).to(dtype)
        out = guarded[32:-32].view(shape)
        addend = None if bias is None else bias.expand(shape)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact, "FEWEST", 1 if route == "residues" else 1 << 40)
            patch.setattr(exact, "SMALLEST", 1)
            patch.setattr(exact.residues, "FILLED", 16)  # less to do
            batch = shape[:-2]
            sides = (exact.side(x.expand(*batch, *x.shape[-2:]) if x.dim() > 2 else x) for x in (a, b.mT))
            for call in exact.launches(*sides, addend, out):
                self.launch(*call)
        assert torch.cat([guarded[:32], guarded[-32:]]).float().eq(3).all(), "it writes the result alone"
        return out

    def launch(self, kernel: Any, grid: tuple[int, ...], block: tuple[int, ...], shared: int, *arguments: Any) -> None:
        if kernel is residues.BY_WARPS.kernel:
            multiply_by_torch(arguments[0])
            return
        abreast, below, _ = grid
        if kernel in (exact.DOTS, exact.DOTS_SCALED):
            abreast = min(abreast, self.most_blocks)
        grid = abreast, min(below, self.most_blocks), 1
        self.kernels.run(kernel.name, grid, block[0], *arguments, shared=shared, choice=self.choice)
        if kernel is exact.COMBINE:
            self.doubts += int(arguments[-1].count_tensor)


def multiply_by_torch(product: residues.Product) -> None:
    """What the kernel of residues.cu does, sooner."""
    a, b, out, _ = product.tensors
    for x, y, to, m in zip(a, b, out, residues.NUMBERS, strict=False):
        to.copy_(torch._int_mm(x, y.mT) % m)


def reference(a: Tensor, b: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    return refnum.gemm(a, b, bias, contract="exact/v1", out_dtype=dtype)


# ---- bits ------------------------------------------------------------------------------------------


def check_kind(kernels: Kernels, kind: str, route: str, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    a, b, bias = operands(kind, *shape)
    for addend in (None, bias):
        assert_bit_equal(Run(kernels).gemm(route, a, b, addend, dtype), reference(a, b, addend, dtype))


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands(kernels: Kernels, kind: str) -> None:
    for dtype in RESULTS[:5]:
        check_kind(kernels, kind, "words", (5, 40, 6), dtype)
    for dtype in RESULTS[:2]:
        check_kind(kernels, kind, "residues", (5, 40, 6), dtype)
    check_kind(kernels, kind, "words", (2, 0, 3), torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands_in_more_shapes(kernels: Kernels, kind: str) -> None:
    shapes = (3, 70, 5), (40, 33, 50), (1, 1, 1), (7, 300, 2)
    for case in itertools.product(ROUTES, shapes, RESULTS[:5]):
        check_kind(kernels, kind, *case)


@pytest.mark.parametrize("dtype", RESULTS, ids=str)
def test_every_pair_of_dtypes(kernels: Kernels, dtype: torch.dtype) -> None:
    for route, kind in itertools.product(ROUTES, ("bits", "ties")):
        a, b, bias = operands(kind, 6, 40, 7)
        for left, right in itertools.pairwise((*exact.FLOATS, torch.float32)):
            x, y = a.to(left), b.to(right)
            assert_bit_equal(Run(kernels).gemm(route, x, y, bias, dtype), reference(x, y, bias, dtype))


def test_recorded_sums(kernels: Kernels) -> None:
    for i, case in enumerate(golden("exact")):
        for route, (dtype, want) in zip(itertools.cycle(ROUTES[:: 1 - 2 * (i % 2)]), case.want.items()):
            assert_bit_equal(Run(kernels).gemm(route, case.a, case.b, case.bias, dtype), want)


@pytest.mark.parametrize("kind", ["normal", "specials", "zeros", "wide"])
@pytest.mark.parametrize("choice", CHOICES[::2], ids=str)
def test_every_order_of_threads(kernels: Kernels, kind: str, choice: Choice) -> None:
    a, b, bias = operands(kind, 20, 90, 40)
    for route, addend in itertools.product(ROUTES, (None, bias)):
        assert_bit_equal(Run(kernels, choice, most_blocks=2).gemm(route, a, b, addend), reference(a, b, addend))


def test_every_length_of_a_line(kernels: Kernels) -> None:
    for k in (1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 1029):
        a, b, _ = operands("finite bits", 3, k, 4, seed=k)
        x, y, _ = operands("zeros of one sign", 3, k, 4, seed=k)
        for route in ROUTES:
            assert_bit_equal(Run(kernels).gemm(route, a, b), reference(a, b))
            assert_bit_equal(Run(kernels).gemm(route, x, y), reference(x, y))


def test_ends_of_the_range_of_integers(kernels: Kernels) -> None:
    """Sums of all signs whose integers are the largest and the smallest: no modulus wraps."""
    for k in (1, 64, 4096):
        top = torch.full((1, k), 2 - 2.0**-23)
        a = torch.cat([top, -top, torch.where(torch.arange(k) % 2 == 0, top, -top), top * 2.0**-20])
        a[2, 0] = 2.0**-100  # and one that is lost
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            assert_bit_equal(Run(kernels).gemm("residues", a, a.mT, None, dtype), reference(a, a.mT, None, dtype))


def near_ties(half: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """1 + half a unit + something of any size, most of all around the unit of the integers."""
    unit = 2.0 ** (1 - exact.window(exact.moduli_for(32, dtype), 4))
    parts = itertools.product((0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 2.0**-60, 2.0**-100), (0, 1, 2, -1, -2))
    a = torch.tensor([[1.0, half, part * unit, whole * unit] for part, whole in parts])
    b = torch.tensor([[1.0, 1.0, last, scale] for last in (1.99, -1.99) for scale in (0.3, 0.6, 0.9, 1.2, 1.5, 1.8)])
    return a, b.mT, torch.tensor([0.0, 2.0**-149, -(2.0**-149), -0.0, 2.0**-80, -(2.0**-80)] * 2)


def test_ties_that_a_lost_bit_decides(kernels: Kernels) -> None:
    for half, dtype in ((2.0**-24, torch.float32), (2.0**-8, torch.bfloat16), (2.0**-11, torch.float16)):
        a, b, bias = near_ties(half, dtype)
        for addend in (None, bias):
            run, want = Run(kernels), reference(a, b, addend, dtype)
            assert_bit_equal(run.gemm("residues", a, b, addend, dtype), want)
            assert 0 < run.doubts < want.numel()


def test_few_results_are_in_doubt(kernels: Kernels) -> None:
    for kind, most in {"normal": 0.02, "integers": 0.02, "mxfp4": 0.02, "float16": 0.02, "specials": 1.0}.items():
        run, (a, b, _) = Run(kernels), operands(kind, 40, 300, 50)
        assert_bit_equal(run.gemm("residues", a, b), reference(a, b))
        assert run.doubts <= most * 40 * 50
    zeros, run = torch.zeros(9, 300), Run(kernels)
    b = operands("wide", 1, 300, 50)[1]
    assert_bit_equal(run.gemm("residues", zeros, b), reference(zeros, b))
    assert run.doubts == 0, "lines of zeros have no error, and soon two signs that are alike"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz], ids=str)
def test_every_value_of_8_bits(kernels: Kernels, dtype: torch.dtype) -> None:
    x = torch.arange(256, dtype=torch.uint8).view(dtype).view(-1, 1)
    y = x[[0, 1, 7, 56, 127, 128, 200, 255]].mT
    for out, route in itertools.product((torch.float32, dtype), ROUTES):
        assert_bit_equal(Run(kernels).gemm(route, x, y, None, out), reference(x, y, None, out))


# ---- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_strides_and_batches(kernels: Kernels, route: str) -> None:
    draw = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 3, 6, 11, generator=draw), torch.randn(2, 3, 11, 9, generator=draw)
    plain = [(a, b), (a[:, :1], b), (a[0, 0], b), (a, b[:1]), (a, b[0, 0]), (a[:, :, :2], b), (a, b[..., :2])]
    for i, (x, y) in enumerate(plain):
        bias = (None, torch.randn(1, generator=draw), torch.randn(2, 1, 6, 1, generator=draw))[i % 3] if i < 5 else None
        want = reference(x, y, bias)
        every_third = [torch.stack([side, side + 1, side], -1).flatten(-2)[..., ::3] for side in (x, y)]
        for left, right in ((x.mT.contiguous().mT, y), (x, y.mT.contiguous().mT), every_third):
            assert_bit_equal(Run(kernels).gemm(route, left, right, bias), want)
    assert_bit_equal(Run(kernels).gemm(route, torch._neg_view(a), b), reference(-a, b))


def test_rows_in_parts_have_the_same_bits(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, bias = operands("normal", 300, 20, 9)
    monkeypatch.setattr(exact, "AREA", 1)
    assert_bit_equal(Run(kernels).gemm("residues", a, b, bias), reference(a, b, bias))


def test_a_gemm_launches_what_was_tried(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact.launch, "launch", Run(kernels).launch)
    for example in exact.examples():
        assert exact.covered(*example)
        assert_bit_equal(exact.gemm(*example), refnum.gemm(*example[:3], contract=example[3], out_dtype=example[4]))
    a, b = torch.randn(4, 2, 17), torch.randn(17, 3)
    assert_bit_equal(exact.gemm(a, b, torch.ones(2, 1), "exact/v1", torch.float32), reference(a, b, torch.ones(2, 1)))
    assert exact.gemm(a[:0], b, None, "exact/v1", torch.float32).shape == (0, 2, 3)


def test_what_has_kernels() -> None:
    x, wide = torch.empty(2, 2), torch.empty(2, 2, dtype=torch.float64)
    eighth = x.to(torch.float8_e5m2)
    assert exact.covered(x, eighth, x, "exact/v1", torch.float64)
    assert not exact.covered(x, wide, None, "exact/v1", torch.float32)
    assert not exact.covered(x, x, wide, "exact/v1", torch.float32)
    assert not exact.covered(x, x, None, "chain/v1", torch.float32)


# ---- moduli ----------------------------------------------------------------------------------------


def test_numbers_hold_every_sum() -> None:
    for count in range(5, exact.MOST_MODULI + 1):
        row, moduli = exact.numbers(count), residues.NUMBERS[:count]
        whole = sum(word << 32 * i for i, word in enumerate(row.product))
        assert whole == prod(moduli)
        for i, m in enumerate(moduli):
            assert [(step - (1 << bits)) % m for step, bits in zip(row.step[i], (15, 30), strict=True)] == [0, 0]
            assert max(map(abs, row.step[i])) <= m // 2
            weight = sum(word << 32 * w for w, word in enumerate(row.weight[i]))
            assert weight < whole
            assert [weight % each for each in moduli] == [each == m for each in moduli]
            assert row.quotient[i] * whole <= weight << 32 < (row.quotient[i] + 1) * whole
        for terms in (1, 2, 3, 4096, 4097, residues.MOST_TERMS):
            bits = exact.window(count, terms)
            assert terms << 2 * bits <= 0.49 * whole
            assert bits == exact.WIDEST or terms << 2 * (bits + 2) > 0.49 * whole
    assert sum(log2(m) for m in residues.NUMBERS[: exact.MOST_MODULI]) < 4 * 32 - 1
    most = (1 << 15) * (1 + 127) + (1 << exact.WIDEST - 30) * 127
    assert all(m / 2 + m * most / 2**32 < 128 for m in residues.NUMBERS[1:])


def test_windows_that_are_used_are_positive() -> None:
    for bits, dtype in itertools.product((4, 8, 16, 32), RESULTS):
        assert exact.window(exact.moduli_for(bits, dtype), residues.MOST_TERMS) > bits // 2


# ---- mutants ---------------------------------------------------------------------------------------


def test_no_barrier_is_idle(kernels: Kernels) -> None:
    a, b, bias = operands("wide", 3, 1100, 20)
    want, run = {route: reference(a, b, bias) for route in ROUTES}, Run(kernels, most_blocks=1)
    run.gemm("residues", a, b, bias)
    doubts = run.doubts

    def differs(choice: Choice) -> bool:
        try:
            run = Run(kernels, choice, most_blocks=1)
            equal = [torch.equal(run.gemm(route, a, b, bias), want[route]) for route in ROUTES]
            return not all(equal) or run.doubts != doubts
        except SimulationError:
            return True

    assert not differs(CHOICES[0])
    sites = {number: what for number, what in kernels.sites().items() if "__sync" in what}
    assert len(sites) == 5
    for number, what in sites.items():
        assert any(differs(choice._replace(without=number)) for choice in CHOICES), f"nothing needs {what}"


MUTANTS = {
    "of losses uncounted": ("loss += found.loss;", "loss += k > 40 ? found.loss : 0;"),
    "of losses cut": ("(rest << LOSS_BITS) + (1ull << down) - 1)", "(rest << LOSS_BITS))"),
    "of half the error": ("x.loss + y.loss) << (window - LOSS_BITS)", "x.loss + y.loss) << (window - LOSS_BITS - 1)"),
    "of one end alone": ("code == rounded(high, to)", "true"),
    "of a quotient that is cut": ("quotient = 1ull << 31", "quotient = 0"),
    "of an error forgotten soon": ("decide_soon(middle, off, to.format)", "decide_soon(middle, off * 0, to.format)"),
    "of overflow unseen": ("&& x.exponent < last", "&& x.exponent <= last + 1"),
    "of subnormals unseen": ("x.exponent >= to.min_scale()", "true"),
    "of a bias cut": ("addend = {bias.significand, 0}", "addend = {bias.significand & ~1u, 0}"),
    "of a far bias forgotten": ("{shift_right_jam(x.low, count), 0}", "{x.low >> count, 0}"),
    "of zeros that are +0": ("-static_cast<i32>(negative &&", "-static_cast<i32>(false && negative &&"),
    "of zeros of the first signs": ("& known_signs) == known_signs", "& known_signs & 1) == (known_signs & 1)"),
    "of NaN and Inf unseen": ("atomicOr(&special, own_special)", "atomicOr(&special, 0)"),
    "of words that lose their third": ("add(2, integer >> 32 >> (32 - shift))", "add(2, 0)"),
    "of a sticky bit forgotten": ("64 - LIMB) | sticky(rest)", "64 - LIMB)"),
    "of NaN that Inf hides": ("if (flags & A_NAN || (plus && minus))", "if (flags & A_NAN)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_have_other_bits(name: str) -> None:
    texts = {file: (bridge.CSRC / file).read_text() for file in ("rn_totals.cuh", "exact.cu")}
    text = texts["exact.cu"].replace('#include "rn_totals.cuh"', texts["rn_totals.cuh"].replace("#pragma once", ""))
    right, wrong = MUTANTS[name]
    assert text.count(right) == 1
    mutant = Kernels(text.replace(right, wrong), *(kernel.name for kernel in exact.KERNELS))

    def differs(dtype: torch.dtype, route: str, case: tuple[Tensor, Tensor, Tensor]) -> bool:
        a, b, bias = case
        integer = {2: torch.int16, 4: torch.int32}[dtype.itemsize]
        return any(
            not torch.equal(Run(mutant).gemm(route, a, b, addend, dtype).view(integer), want.view(integer))
            for addend in (None, bias)
            for want in [reference(a, b, addend, dtype)]
        )

    cases = [near_ties(2.0**-24, torch.float32), near_ties(2.0**-8, torch.bfloat16)]
    cases += [operands(kind, 9, k, 12) for kind in DATA for k in (2, 45)]
    assert any(differs(*case) for case in itertools.product((torch.float32, torch.bfloat16), ROUTES, cases))


# ---- on a GPU --------------------------------------------------------------------------------------

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")


@pytest.fixture(params=ROUTES)
def on_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """A product by the kernels of a route, which raise where the reference would serve."""
    monkeypatch.undo()  # of a small GPU
    monkeypatch.setattr(exact, "SMALLEST", 1)
    monkeypatch.setattr(exact, "FEWEST", 1 if request.param == "residues" else 1 << 40)

    def gemm(a: Tensor, b: Tensor, bias: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        with refnum.use_backend("cuda"):
            return refnum.gemm(a, b, bias, contract="exact/v1", out_dtype=dtype).cpu()

    return gemm


@pytest.mark.gpu
@on_a_gpu
def test_layouts_on_a_gpu(on_gpu: Callable[..., Tensor]) -> None:
    for m, k, n in ((3, 5, 4), (17, 33, 9), (40, 0, 3)):
        a, b, bias = operands("normal", m, k, n)
        want, (x, y, z) = reference(a, b, bias), (side.cuda() for side in (a, b, bias))
        for left, right in ((x, y), (x.mT.contiguous().mT, y.mT.contiguous().mT), (x.repeat(1, 2)[:, :k], y)):
            assert_bit_equal(on_gpu(left, right, z), want)
        batched = reference(a.expand(2, m, k), torch.stack([b, -b]), bias)
        assert_bit_equal(on_gpu(x.expand(2, m, k), torch.stack([y, -y]), z), batched)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands_on_a_gpu(on_gpu: Callable[..., Tensor], kind: str) -> None:
    for (m, k, n), dtype in itertools.product(((33, 100, 40), (1, 700, 20)), RESULTS[:5]):
        a, b, bias = operands(kind, m, k, n)
        for addend in (None, bias):
            got = on_gpu(a.cuda(), b.cuda(), None if addend is None else addend.cuda(), dtype)
            assert_bit_equal(got, reference(a, b, addend, dtype))


@pytest.mark.gpu
@on_a_gpu
def test_every_value_of_8_bits_on_a_gpu(on_gpu: Callable[..., Tensor]) -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    for dtype, other in itertools.product(exact.FP8, (*exact.FP8, torch.bfloat16)):
        x, y = codes.view(dtype).view(-1, 1), codes[::3].view(torch.float8_e4m3fn).to(other).view(1, -1)
        for out in (torch.float32, dtype):
            assert_bit_equal(on_gpu(x.cuda(), y.cuda(), None, out), reference(x, y, None, out))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_large_products_on_a_gpu(on_gpu: Callable[..., Tensor], dtype: torch.dtype) -> None:
    for m, k, n in ((200, 777, 136), (40, 4096, 300), (257, 300, 515), (20, residues.MOST_TERMS + 2, 17)):
        a, b = (Draw(m).normal(*shape).to(dtype) for shape in ((m, k), (k, n)))
        for out in (torch.float32, dtype):
            assert_bit_equal(on_gpu(a.cuda(), b.cuda(), None, out), reference(a, b, None, out))


@pytest.mark.gpu
@on_a_gpu
def test_a_captured_graph_on_a_gpu(on_gpu: Callable[..., Tensor]) -> None:
    a, b, bias = (x.cuda() for x in operands("wide", 64, 200, 72))
    want = on_gpu(a, b, bias)
    x, graph = torch.zeros_like(a), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), refnum.use_backend("cuda"):
        got = refnum.gemm(x, b, bias, contract="exact/v1")
    x.copy_(a)
    for _ in range(2):
        graph.replay()
        assert_bit_equal(got.cpu(), want)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_few_results_are_in_doubt_on_a_gpu(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.undo()
    random = torch.Generator("cuda").manual_seed(7)
    a, b = (torch.randn(2048, 4096, generator=random, device="cuda").to(dtype) for _ in range(2))
    with refnum.use_backend("cuda"):
        refnum.gemm(a[:64], b.mT, contract="exact/v1")  # loads and tries the kernels
    for out_dtype in (torch.float32, dtype):
        out, doubts = torch.empty(2048, 2048, device="cuda", dtype=out_dtype), 0
        for call in exact.launches(exact.side(a), exact.side(b), None, out):
            exact.launch.launch(*call)
            doubts += int(call[-1].count_tensor) if call[0] is exact.COMBINE else 0
        assert doubts < out.numel() / 500
        rows = [0, 77, 2047]
        assert_bit_equal(out[rows].cpu(), reference(a[rows].cpu(), b.mT.cpu(), None, out_dtype))


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("contract", ["exact/v1", "chain/v1", "tree/v1(Kc=256)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_linear_layer_on_a_gpu(on_gpu: Callable[..., Tensor], contract: str, dtype: torch.dtype) -> None:
    """The triad: its output and the gradients of operands and bias, as on a CPU."""
    x, w, bias = operands("normal", 70, 96, 40)

    def trained(device: str) -> list[Tensor]:
        leaves = [t.to(dtype).to(device).requires_grad_() for t in (x, w.mT, bias)]
        y = linear(*leaves, contract=contract)
        y.backward(torch.sin(torch.arange(70 * 40.0)).view(70, 40).to(dtype).to(device))
        return [y.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    for got, want in zip(trained("cuda"), trained("cpu"), strict=True):
        assert_bit_equal(got.cpu(), want)
