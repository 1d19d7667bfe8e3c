"""The kernels of chain/v1 and tree/v1, as they are, on the CPU: against refnum.gemm, in every order of threads."""

from __future__ import annotations

import importlib.metadata
import itertools
import mmap
from collections.abc import Iterator

import pytest
import torch
from cuda import bridge
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from float_sums import DATA, golden, operands
from torch import Tensor

import refnum
from refnum.testing import assert_bit_equal
from refnum_cuda import build, launch, ordered, serving

DTYPES = ordered.RESULTS
CONTRACTS = ("chain/v1", "tree/v1(Kc=256)", "tree/v1(Kc=10)")
PLANS = tuple(itertools.product(ordered.TILINGS, (False, True)))
EACH_PLAN = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan[0].name + ", transposed" * plan[1])
EACH_TILING = pytest.mark.parametrize("tiling", ordered.TILINGS, ids=lambda tiling: tiling.name)
TERMS = (0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 256, 257, 385)


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels.of_file("ordered.cu", *(kernel.name for kernel in ordered.KERNELS.values()))


def gemm(
    kernels: Kernels,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    contract: str = "chain/v1",
    dtype: torch.dtype | None = None,
    *,
    plan: ordered.Plan | None = None,
    choice: Choice = CHOICES[0],
    blocks: int = 2,
) -> Tensor:
    """refnum.gemm by the kernels: fewer blocks than tiles, so that a block makes several."""
    dtype = dtype or a.dtype
    shape = ordered.product_shape(a, b)
    guarded = torch.full((shape.numel() + 64,), -7.0, dtype=dtype)
    out = guarded[32:-32].view(shape)
    plan = plan or ordered.planned(shape[:-2].numel(), *shape[-2:], processors=2)
    kernel, grid, block, shared, *arguments = ordered.prepared(a, b, bias, out, contract, plan, processors=1)
    grid = min(grid[0], blocks)
    kernels.run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)
    assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
    return out


def within_nan(x: Tensor, margin: int = 3) -> Tensor:
    """The matrices with NaN all around, of the same strides between elements: what is read beyond them shows."""
    shape = *x.shape[:-2], *(size + 2 * margin for size in x.shape[-2:])
    around = torch.full(shape, torch.nan, dtype=x.dtype, device=x.device)
    inside = around[..., margin:-margin, margin:-margin]
    return inside.copy_(x)


# ---- bits ------------------------------------------------------------------------------------------


def shapes(plan: ordered.Plan) -> Iterator[tuple[int, int, int]]:
    """M, K, N: each edge of a tile with each other one, and each count of terms."""
    tiling, transposed = plan
    edges = ([1, 3, side - 1, side, side + 1] for side in (tiling.rows, tiling.columns))
    terms = itertools.cycle(TERMS[:12])
    for m, n in itertools.product(*edges):
        yield (n, next(terms), m) if transposed else (m, next(terms), n)
    for k in TERMS:
        yield from ((2, k, 33), (20, k, 5))


@EACH_PLAN
def test_every_shape_around_a_tile(kernels: Kernels, plan: ordered.Plan) -> None:
    for i, (m, k, n) in enumerate(shapes(plan)):
        a, b, bias = operands("ties of a chain" if i % 2 else "normal", m, k, n, seed=i)
        choice, contract = CHOICES[i % len(CHOICES)], CONTRACTS[i % 3]
        want = refnum.gemm(a, b, bias, contract=contract)
        assert_bit_equal(gemm(kernels, within_nan(a), within_nan(b), bias, contract, plan=plan, choice=choice), want)


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands_in_every_order(kernels: Kernels, kind: str) -> None:
    for (m, k, n), contract in zip([(5, 257, 40), (20, 70, 19), (130, 9, 17)], CONTRACTS, strict=True):
        a, b, bias = operands(kind, m, k, n)
        for dtype in DTYPES:
            x, y = a.to(dtype), b.to(dtype)
            want = refnum.gemm(x, y, bias, contract=contract)
            for choice, plan in zip(CHOICES, PLANS, strict=True):
                assert_bit_equal(gemm(kernels, x, y, bias, contract, plan=plan, choice=choice), want)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("out_dtype", DTYPES, ids=str)
def test_every_pair_of_dtypes(kernels: Kernels, dtype: torch.dtype, out_dtype: torch.dtype) -> None:
    for kind, contract in itertools.product(("ties", "bits", "subnormal operands"), CONTRACTS):
        for m, n in ((3, 50), (30, 20)):
            a, b, bias = operands(kind, m, 20, n)
            x, y = a.to(dtype), b.to(dtype)
            want = refnum.gemm(x, y, bias, contract=contract, out_dtype=out_dtype)
            assert_bit_equal(gemm(kernels, x, y, bias, contract, out_dtype), want)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_value_of_16_bits_is_widened_and_rounded(kernels: Kernels, dtype: torch.dtype) -> None:
    x = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(dtype).view(-1, 1)
    one, minus_zero = torch.ones(1, 1, dtype=dtype), torch.tensor(-0.0)
    got = gemm(kernels, x, one, minus_zero, dtype=torch.float32, plan=(ordered.SQUARE, False))
    assert_bit_equal(got, refnum.gemm(x, one, minus_zero, out_dtype=torch.float32))
    # Values between two of them, and what is next to those, as sums of no term.
    bits = x.float().view(torch.int32).view(-1, 1) + torch.tensor([0, 1, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001])
    near = bits.to(torch.int32).view(torch.float32).view(-1, 128)
    a, b = torch.empty(len(near), 0), torch.empty(0, 128)
    assert_bit_equal(gemm(kernels, a, b, near, dtype=dtype), refnum.gemm(a, b, near, out_dtype=dtype))


def test_recorded_chains(kernels: Kernels) -> None:
    for i, case in enumerate(golden("chain")):
        got = gemm(kernels, case.a, case.b, case.bias, plan=PLANS[i % len(PLANS)], choice=CHOICES[i % len(CHOICES)])
        assert_bit_equal(got, case.want[torch.float32])


@EACH_PLAN
def test_no_term_is_padded(kernels: Kernels, plan: ordered.Plan) -> None:
    """An accumulator that is -0 stays it: one more +0 would make it +0."""
    minus = torch.tensor(-0.0)
    for k in (0, 1, 15, 16, 17, 63, 64, 65):
        for m in (1, 20):
            a, b = torch.full((m, k), -(2.0**-80)), torch.full((k, 20), 2.0**-80)
            got = gemm(kernels, a, b, minus, plan=plan)
            assert got.view(torch.int32).eq(-(1 << 31)).all()
            want = refnum.gemm(a, b, minus, contract="tree/v1(Kc=8)")
            assert torch.signbit(want).all().item() == (k > 0)
            assert_bit_equal(gemm(kernels, a, b, minus, "tree/v1(Kc=8)", plan=plan), want)


def test_trees_of_every_count_of_leaves(kernels: Kernels) -> None:
    for leaves in (*range(1, 18), 31, 32, 33):
        for k in (3 * leaves, 3 * leaves - 1):
            a, b, bias = operands("normal", 2, k, 20, seed=k)
            want = refnum.gemm(a, b, bias, contract="tree/v1(Kc=3)")
            for tiling in ordered.TILINGS:
                assert_bit_equal(gemm(kernels, a, b, bias, "tree/v1(Kc=3)", plan=(tiling, False)), want)
    a, b, _ = operands("normal", 20, 20, 20)
    for chunk in (1, 8, 20, (1 << 31) - 1):
        contract = f"tree/v1(Kc={chunk})"
        assert_bit_equal(gemm(kernels, a, b, None, contract), refnum.gemm(a, b, contract=contract))


# ---- layouts ---------------------------------------------------------------------------------------


def test_strides_and_batches(kernels: Kernels) -> None:
    draw = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 3, 20, 11, generator=draw), torch.randn(2, 3, 11, 19, generator=draw)
    plain = [(a, b), (a[:, :1], b), (a[0, 0], b), (a, b[:1]), (a[:, :, :2], b), (a, b[..., :2])]
    for i, (x, y) in enumerate(plain):
        bias = (None, torch.randn(19, generator=draw), torch.randn(2, 1, 20, 1, generator=draw))[i % 3]
        bias = None if i >= 4 else bias
        want = refnum.gemm(x, y, bias)
        layouts = (x, y), (x.mT.contiguous().mT, y), (x, y.mT.contiguous().mT), (within_nan(x), within_nan(y))
        every_third = [torch.stack([side, side + 1, side], -1).flatten(-2)[..., ::3] for side in (x, y)]
        for left, right in (*layouts, every_third):
            for contract in ("chain/v1", "tree/v1(Kc=256)"):
                if contract == "chain/v1":
                    assert_bit_equal(gemm(kernels, left, right, bias), want)
                else:
                    assert_bit_equal(
                        gemm(kernels, left, right, bias, contract), refnum.gemm(x, y, bias, contract=contract)
                    )


#: how a matrix lies in memory: rows, columns, neither; aligned, not aligned
LAYOUTS = {
    "rows": lambda x: within_nan(x, 8),
    "columns": lambda x: within_nan(x.mT, 8).mT,
    "rows, not aligned": within_nan,
    "columns, not aligned": lambda x: within_nan(x.mT).mT,
    "every other element": lambda x: torch.stack([x, x + 1], -1).flatten(-2)[..., ::2],
    "a repeated row": lambda x: x[:, :1].expand(x.shape),
}


@EACH_TILING
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_layouts_in_every_pair(kernels: Kernels, tiling: ordered.Tiling, dtype: torch.dtype) -> None:
    a, b, bias = operands("ties of a chain", tiling.rows + 8, 2 * tiling.terms + 8, tiling.columns + 8)
    pairs = itertools.product(LAYOUTS.values(), LAYOUTS.values())
    for i, (left, right) in enumerate(pairs):
        x, y, contract = left(a.to(dtype)), right(b.to(dtype)), ("chain/v1", "tree/v1(Kc=24)")[i % 5 // 4]
        got = gemm(kernels, x, y, bias, contract, plan=(tiling, False), choice=CHOICES[i % len(CHOICES)])
        assert_bit_equal(got, refnum.gemm(x.contiguous(), y.contiguous(), bias, contract=contract))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_comes_in_units(dtype: torch.dtype) -> None:
    unit = 16 // dtype.itemsize
    x = torch.zeros(3, 5 * unit, 4 * unit, dtype=dtype)

    def found(x: Tensor, chunk: int = 1 << 20) -> tuple[int, int]:
        operand = ordered.Operand.of(x, chunk)
        return operand.along_terms, operand.wide

    assert found(x) == found(x[:, ::3]) == found(x[:, :, unit:]) == found(x[:1, :1]) == found(x, unit) == (1, 1)
    assert found(x[:, :, 1:]) == found(x[:, :, : 2 * unit + 1]) == found(x, unit + 1) == found(x[:0, :, 1:]) == (1, 0)
    assert found(x.mT) == found(x.mT, unit + 1) == (0, 1)
    assert found(x.mT[:, 1:]) == found(x.mT[:, :-1]) == found(x[:, ::2, ::2].mT) == (0, 0)
    whole = x.flatten()
    assert found(whole.as_strided((2, unit, unit), (unit + 1, unit, 1))) == (1, 0)  # matrices
    assert found(whole.as_strided((2, unit, unit), (unit, unit + 1, 1))) == (1, 0)  # lines
    assert found(whole.as_strided((1, 1, unit), (unit + 1, unit + 1, 1))) == (1, 1)  # no second one


@EACH_PLAN
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_operands_that_are_laid_out_anew(
    kernels: Kernels, plan: ordered.Plan, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordered, "REUSE", 20)
    for m, n in ((19, 70), (20, 20), (67, 21), (70, 19)):
        a, b, bias = operands("ties of a chain", m, 37, n)
        for left, right in zip(LAYOUTS.values(), reversed(LAYOUTS.values()), strict=True):
            x, y = left(a.to(dtype)), right(b.to(dtype))
            want = refnum.gemm(x.contiguous(), y.contiguous(), bias)
            assert_bit_equal(gemm(kernels, x, y, bias, plan=plan), want)
            assert_bit_equal(gemm(kernels, x, y.expand(3, *y.shape), bias, plan=plan), want.expand(3, m, n))


def test_what_is_laid_out_anew() -> None:
    def found(x: Tensor, y: Tensor, tiling: ordered.Tiling = ordered.SQUARE) -> tuple[list[bool], torch.dtype]:
        dtype, *sides = ordered._operands(x, y, tiling, 8)
        assert all(side.wide for side in sides)
        return [side.data != given.data_ptr() for side, given in zip(sides, (x, y), strict=True)], dtype

    few, many = torch.zeros(1, 64, 8), torch.zeros(1, 1500, 8)
    lines = torch.zeros(1, 8, 1500).mT
    assert found(few, many) == ([True, False], torch.float32)
    assert found(many, lines) == ([True, False], torch.float32)
    assert found(many, lines, ordered.SLIM) == ([False, False], torch.float32)
    assert found(many.half(), lines.half()) == ([True, True], torch.float32)
    assert found(few.half(), many.half()) == ([False, False], torch.float16)
    _, left, _ = ordered._operands(few.expand(5, 64, 8), many, ordered.SQUARE, 8)
    assert left.batch == 0


@pytest.fixture(scope="module")
def vast(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """More than 2**33 bfloat16 or 2**32 float32, in a file of which few pages ever exist."""
    path = tmp_path_factory.mktemp("vast") / "sparse"
    with path.open("w+b") as file:
        file.truncate((1 << 34) + (1 << 16))
        space = mmap.mmap(file.fileno(), 0)
    path.unlink()
    return torch.frombuffer(space, dtype=torch.bfloat16)


@pytest.mark.parametrize("far", ["a", "b", "bias", "out"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_elements_beyond_31_bits(kernels: Kernels, vast: Tensor, far: str, axis: int) -> None:
    draw = torch.Generator().manual_seed(axis)
    given = {"a": torch.randn(3, 3, 3, generator=draw), "b": torch.randn(3, 3, 3, generator=draw)}
    given |= {"bias": torch.randn(3, 3, 3, generator=draw), "out": torch.zeros(3, 3, 3)}
    given = {name: x if name == "bias" else x.bfloat16() for name, x in given.items()}
    want = refnum.gemm(given["a"], given["b"], given["bias"])
    # Its three slices along the axis are more than 2**31 elements apart.
    whole = vast.view(given[far].dtype)
    strides = [3, 3, 3]
    strides[axis], strides[(axis + 1) % 3], strides[(axis + 2) % 3] = (len(whole) - 64) // 2, 8, 1
    given[far] = whole.as_strided((3, 3, 3), strides).copy_(given[far])
    for plan in PLANS:
        given["out"].zero_()
        kernel, grid, block, shared, *arguments = ordered.prepared(*given.values(), "chain/v1", plan, 1)
        kernels.run(kernel.name, grid, block, *arguments, shared=shared)
        assert_bit_equal(given["out"].contiguous(), want)


def test_a_row_has_the_same_bits_in_any_batch(kernels: Kernels) -> None:
    a, b, bias = operands("ties of a chain", 140, 50, 40)
    whole = refnum.gemm(a, b, bias)
    for m, plan in itertools.product((1, 15, 16, 17, 128, 129), PLANS):
        assert_bit_equal(gemm(kernels, a[:m], b, bias, plan=plan), whole[:m])


def test_the_plan_keeps_all_multiprocessors_busy() -> None:
    plans = {
        (1, 8192, 8192): ("square", False),
        (1, 1024, 1024): ("middle", False),
        (1, 64, 64): ("slim", False),
        (1, 1, 4096): ("slim", False),
        (1, 4096, 1): ("slim", True),
        (1000, 128, 128): ("square", False),
    }
    for size, (name, transposed) in plans.items():
        tiling, found = ordered.planned(*size, processors=132)
        assert (tiling.name, found) == (name, transposed), size


def test_what_has_kernels() -> None:
    x = {dtype: torch.empty(2, 2, dtype=dtype) for dtype in (*DTYPES, torch.float8_e4m3fn)}
    half, eighth = x[torch.float16], x[torch.float8_e4m3fn]
    assert ordered.covered(half, half, None, "tree/v1(Kc=256)", torch.bfloat16)
    assert not ordered.covered(eighth, eighth, None, "chain/v1", torch.float32)
    assert not ordered.covered(half, half, None, "chain/v1", torch.float8_e4m3fn)
    assert not ordered.covered(half, half, None, "exact/v1", torch.float16)
    for a, b, bias, contract, dtype in ordered.examples():
        assert ordered.covered(a, b, bias, contract, dtype)


def test_examples_of_the_self_test(kernels: Kernels) -> None:
    tilings = set()
    for a, b, bias, contract, dtype in ordered.examples():
        plan = ordered.planned(1, len(a), b.shape[1], processors=132)
        want = refnum.gemm(a, b, bias, contract=contract, out_dtype=dtype)
        assert_bit_equal(gemm(kernels, a, b, bias, contract, dtype, plan=plan), want)
        tilings.add(plan[0])
    assert tilings == set(ordered.TILINGS)


# ---- mutants ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@EACH_TILING
def test_no_barrier_commit_or_wait_is_idle(kernels: Kernels, tiling: ordered.Tiling, dtype: torch.dtype) -> None:
    """Of terms so many that a tile's last stage is where the next tile's first ones go."""
    a, b, bias = operands("integers", 40, 144, 304)
    x, y = a.to(dtype), b.to(dtype)
    want = refnum.gemm(x, y, bias, out_dtype=torch.float32)

    def got(choice: Choice) -> Tensor:
        return gemm(kernels, x, y, bias, dtype=torch.float32, plan=(tiling, False), blocks=1, choice=choice)

    def differs(choice: Choice) -> bool:
        try:
            return not torch.equal(got(choice), want)
        except SimulationError:
            return True

    assert_bit_equal(got(CHOICES[0]), want)
    sites = kernels.sites()
    assert len(sites) == 3
    for number, what in sites.items():
        assert any(differs(choice._replace(without=number)) for choice in CHOICES), f"nothing needs {what}"


MUTANTS = {
    "of -0 with a padded term": ("k < count; k++) add_term(k)", "k <= count; k++) add_term(k)"),
    "of -0 with a padded term of few rows": (
        "k < count; k++) {\n            const",
        "k <= count; k++) {\n            const",
    ),
    "of two roundings": (
        "sum = fma_rn(x, y, sum)",
        "sum = add_rn(multiply_rn(x, y), sum)",
    ),
    "of a chain that ends with the bias": ("if (TREE && bias.data) x = add", "if (bias.data) x = add"),
    "of joins in a line": ("(last || (ones & 1))", "true"),
    "of no last join": ("depth > 0 && (last || (ones & 1))", "depth > 0 && (ones & 1)"),
    "of chunks a term too long": (
        "least(size.chunk, size.terms - end) + end",
        "least(size.chunk + 1, size.terms - end) + end",
    ),
    "of the last row left out": ("r < rows_here && c < columns_here", "r < rows_here - 1 && c < columns_here"),
    "of NaN as it comes": ("is_nan(x) ? float_of(0x7fffffff) : x", "x"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_have_other_bits(name: str) -> None:
    text = '#include "ordered.cu"'
    for file in ("ordered.cu", "rn_matrix.cuh", "rn_panels.cuh", "rn_halves.cuh"):
        included, inner = f'#include "{file}"', (bridge.CSRC / file).read_text().replace("#pragma once", "")
        text = text.replace(included, inner, 1).replace(included, "")
    right, wrong = MUTANTS[name]
    assert text.count(right) == 1
    mutant = Kernels(
        text.replace(right, wrong),
        *(kernel.name for (_, dtype, _), kernel in ordered.KERNELS.items() if dtype == torch.float32),
    )

    def differs(kind: str, shape: tuple[int, int, int], contract: str) -> bool:
        a, b, bias = operands(kind, *shape)
        want = refnum.gemm(a, b, bias, contract=contract)
        got = (gemm(mutant, a, b, bias, contract, plan=(tiling, False)) for tiling in ordered.TILINGS)
        return any(not torch.equal(one.view(torch.int32), want.view(torch.int32)) for one in got)

    shapes = (5, 21, 40), (20, 75, 24), (130, 37, 20)
    kinds = "normal", "ties of a chain", "results that vanish", "specials"
    assert any(differs(*case) for case in itertools.product(kinds, shapes, ("chain/v1", "tree/v1(Kc=10)")))


#: four terms, or of few rows all of a stage, and one by itself; of few rows again for the first row alone
FUSED = {"square": 128 * (4 + 1), "middle": 32 * (4 + 1), "slim": (4 + 1) * (64 + 1)}


@pytest.mark.slow
def test_fused_where_it_is_written_and_nowhere_else() -> None:
    try:
        importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    text = build.Nvrtc().compile(build.SOURCES / "ordered.cu", "compute_80").decode()
    assert ".ftz" not in text
    for kernel in text.split(".visible .entry ")[1:]:
        assert kernel.count("fma.rn.f32") == FUSED[kernel.partition("(")[0].rpartition("_")[2]]


# ---- on a GPU --------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")


def launched(
    a: Tensor, b: Tensor, bias: Tensor | None, contract: str, dtype: torch.dtype, plan: ordered.Plan
) -> Tensor:
    """refnum.gemm by a plan's kernel, of tensors that lie on the GPU as they should."""
    assert serving.obstacle(a.device) is None  # it loads the driver
    out = torch.full(ordered.product_shape(a, b), -7.0, dtype=dtype, device=a.device)
    processors = torch.cuda.get_device_properties(a.device).multi_processor_count
    with launch.place(a.device):
        launch.launch(*ordered.prepared(a, b, bias, out, contract, plan, processors))
    return out


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@EACH_TILING
def test_layouts_on_a_gpu(tiling: ordered.Tiling, dtype: torch.dtype) -> None:
    a, b, bias = operands("ties of a chain", tiling.rows + 8, 2 * tiling.terms + 8, tiling.columns + 8)
    for i, (left, right) in enumerate(itertools.product(LAYOUTS.values(), LAYOUTS.values())):
        contract, plan = ("chain/v1", "tree/v1(Kc=24)")[i % 5 // 4], (tiling, i % 7 == 0)
        x, y = left(a.cuda().to(dtype)), right(b.cuda().to(dtype))
        got = launched(x, y, bias.cuda(), contract, dtype, plan)
        assert_bit_equal(got.cpu(), refnum.gemm(x.cpu(), y.cpu(), bias, contract=contract))


@pytest.mark.gpu
@on_gpu
@EACH_PLAN
def test_every_shape_on_a_gpu(plan: ordered.Plan) -> None:
    for i, (m, k, n) in enumerate(shapes(plan)):
        a, b, bias = operands("ties of a chain" if i % 2 else "normal", m, k, n, seed=i)
        x, y = (within_nan(side.cuda(), 3 + 5 * (i % 2)) for side in (a, b))
        got = launched(x, y, bias.cuda(), CONTRACTS[i % 3], torch.float32, plan)
        assert_bit_equal(got.cpu(), refnum.gemm(a, b, bias, contract=CONTRACTS[i % 3]))


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands_on_a_gpu(kind: str) -> None:
    a, b, bias = operands(kind, 70, 300, 90)
    for i, (dtype, out_dtype, contract) in enumerate(itertools.product(DTYPES, DTYPES, CONTRACTS)):
        x, y = a.to(dtype), b.to(dtype)
        want = refnum.gemm(x, y, bias, contract=contract, out_dtype=out_dtype)
        plan = PLANS[i % len(PLANS)]
        assert_bit_equal(launched(x.cuda(), y.cuda(), bias.cuda(), contract, out_dtype, plan).cpu(), want)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("contract", ["chain/v1", "tree/v1(Kc=256)"])
def test_large_products_on_a_gpu_have_the_same_bits_in_every_plan(dtype: torch.dtype, contract: str) -> None:
    draw = torch.Generator().manual_seed(3)
    a, b = torch.randn(1500, 1100, generator=draw).to(dtype), torch.randn(1300, 1100, generator=draw).to(dtype)
    x, y = a.cuda(), b.cuda().mT
    products = [launched(x, y, None, contract, torch.float32, plan) for plan in PLANS]
    for product in products[1:]:
        assert_bit_equal(product, products[0])
    rows = torch.arange(0, 1500, 47)
    assert_bit_equal(products[0].cpu()[rows], refnum.gemm(a[rows], b.mT, contract=contract, out_dtype=torch.float32))
    with refnum.use_backend("cuda"):
        for m in (1, 4, 16, 17, 64, 100, 300):
            got = refnum.gemm(x[:m], y, contract=contract, out_dtype=torch.float32)
            assert_bit_equal(got, products[0][:m])


@pytest.mark.gpu
@on_gpu
def test_elements_beyond_31_bits_on_a_gpu() -> None:
    if torch.cuda.mem_get_info()[0] < 6 << 30:
        pytest.skip("the GPU has no 6 GB to spare")
    whole = torch.zeros((1 << 31) + (1 << 16), dtype=torch.bfloat16, device="cuda")
    ends = whole.as_strided((2, 64), (1 << 31, 1)).copy_(torch.randn(2, 64))
    y = torch.randn(64, 40, dtype=torch.bfloat16, device="cuda")
    for plan in PLANS:
        want = refnum.gemm(ends.cpu(), y.cpu())
        assert_bit_equal(launched(ends, y, None, "chain/v1", torch.bfloat16, plan).cpu(), want)
        out = whole.as_strided((2, 40), (1 << 31, 1), 128)
        kernel, *rest = ordered.prepared(ends, y, None, out, "chain/v1", plan, 132)
        launch.launch(kernel, *rest)
        assert_bit_equal(out.cpu(), want)


@pytest.mark.gpu
@on_gpu
def test_a_captured_product_gives_the_bits_again() -> None:
    draw = torch.Generator().manual_seed(4)
    a, b = torch.randn(40, 300, generator=draw), torch.randn(300, 200, generator=draw)
    x, y, graph = torch.zeros_like(a, device="cuda"), b.cuda(), torch.cuda.CUDAGraph()
    for contract in CONTRACTS:
        refnum.gemm(x, y, contract=contract)  # loads and tries what a capture may not
    with torch.cuda.graph(graph):
        products = [refnum.gemm(x, y, contract=contract) for contract in CONTRACTS]
    x.copy_(a)
    graph.replay()
    for contract, product in zip(CONTRACTS, products, strict=True):
        assert_bit_equal(product.cpu(), refnum.gemm(a, b, contract=contract))
