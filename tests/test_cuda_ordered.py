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
from refnum_cuda import build, ordered

DTYPES = ordered.RESULTS
CONTRACTS = ("chain/v1", "tree/v1(Kc=256)", "tree/v1(Kc=10)")
EDGES = (1, 7, 8, 9, 127, 128, 129, 130)
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
    choice: Choice = CHOICES[0],
    blocks: int = 2,
) -> Tensor:
    """refnum.gemm by the kernels: fewer blocks than tiles, so that a block makes several."""
    dtype = dtype or a.dtype
    shape = ordered.product_shape(a, b)
    guarded = torch.full((shape.numel() + 64,), -7.0, dtype=dtype)
    out = guarded[32:-32].view(shape)
    kernel, grid, block, shared, *arguments = ordered.prepared(a, b, bias, out, contract, blocks)
    grid = min(grid[0], blocks)
    kernels.run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)
    assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
    return out


def within_nan(x: Tensor) -> Tensor:
    """The matrices with NaN all around, of the same strides between elements: what is read beyond them shows."""
    around = torch.full((*x.shape[:-2], x.shape[-2] + 6, x.shape[-1] + 6), torch.nan, dtype=x.dtype)
    around[..., 3:-3, 3:-3] = x
    return around[..., 3:-3, 3:-3]


# ---- bits ------------------------------------------------------------------------------------------


def shapes() -> Iterator[tuple[int, int, int]]:
    """M, K, N: each edge of a tile with each other one, each count of terms with each contract's tiles."""
    for i, (m, n) in enumerate(itertools.product(EDGES, EDGES)):
        yield m, TERMS[i % 8], n
    for k in TERMS:
        yield from ((2, k, 33), (17, k, 5), (20, k, 20))


def test_every_shape_around_a_tile(kernels: Kernels) -> None:
    for i, (m, k, n) in enumerate(shapes()):
        a, b, bias = operands("ties of a chain" if i % 2 else "normal", m, k, n, seed=i)
        choice, contract = CHOICES[i % len(CHOICES)], CONTRACTS[i % 3]
        want = refnum.gemm(a, b, bias, contract=contract)
        assert_bit_equal(gemm(kernels, within_nan(a), within_nan(b), bias, contract, choice=choice), want)


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands_in_every_order(kernels: Kernels, kind: str) -> None:
    for (m, k, n), contract in zip([(5, 257, 40), (20, 70, 19), (130, 9, 17)], CONTRACTS, strict=True):
        a, b, bias = operands(kind, m, k, n)
        for dtype in DTYPES:
            x, y = a.to(dtype), b.to(dtype)
            want = refnum.gemm(x, y, bias, contract=contract)
            for choice in CHOICES:
                assert_bit_equal(gemm(kernels, x, y, bias, contract, choice=choice), want)


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
    for out in (torch.float32, dtype):
        want = refnum.gemm(x, one, minus_zero, out_dtype=out)
        assert_bit_equal(gemm(kernels, x, one, minus_zero, dtype=out), want)
    # Values between two of them, and what is next to those.
    bits = x.float().view(torch.int32).view(-1, 1) + torch.tensor([0, 1, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001])
    near, one, bias = bits.to(torch.int32).view(torch.float32).view(-1, 1), torch.ones(1, 1), torch.tensor(-0.0)
    assert_bit_equal(gemm(kernels, near, one, bias, dtype=dtype), refnum.gemm(near, one, bias, out_dtype=dtype))


def test_recorded_chains(kernels: Kernels) -> None:
    for i, case in enumerate(golden("chain")):
        got = gemm(kernels, case.a, case.b, case.bias, choice=CHOICES[i % len(CHOICES)])
        assert_bit_equal(got, case.want[torch.float32])


def test_no_term_is_padded(kernels: Kernels) -> None:
    """An accumulator that is -0 stays it: one more +0 would make it +0."""
    minus = torch.tensor(-0.0)
    for k in (0, 1, 15, 16, 17, 63, 64, 65):
        for m in (1, 20):
            a, b = torch.full((m, k), -(2.0**-80)), torch.full((k, 20), 2.0**-80)
            got = gemm(kernels, a, b, minus)
            assert got.view(torch.int32).eq(-(1 << 31)).all()
            want = refnum.gemm(a, b, minus, contract="tree/v1(Kc=8)")
            assert torch.signbit(want).all().item() == (k > 0)
            assert_bit_equal(gemm(kernels, a, b, minus, "tree/v1(Kc=8)"), want)


def test_trees_of_every_count_of_leaves(kernels: Kernels) -> None:
    for leaves in (*range(1, 18), 31, 32, 33):
        for k in (3 * leaves, 3 * leaves - 1):
            a, b, bias = operands("normal", 2, k, 20, seed=k)
            want = refnum.gemm(a, b, bias, contract="tree/v1(Kc=3)")
            assert_bit_equal(gemm(kernels, a, b, bias, "tree/v1(Kc=3)"), want)
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
    kernel, grid, block, shared, *arguments = ordered.prepared(*given.values(), "chain/v1", 1)
    kernels.run(kernel.name, grid, block, *arguments, shared=shared)
    assert_bit_equal(given["out"].contiguous(), want)


def test_a_row_has_the_same_bits_in_any_batch(kernels: Kernels) -> None:
    a, b, bias = operands("ties of a chain", 140, 50, 40)
    whole = gemm(kernels, a, b, bias)
    for m in (1, 15, 16, 17, 128, 129):
        assert_bit_equal(gemm(kernels, a[:m], b, bias), whole[:m])


def test_the_slim_tiling_serves_few_rows_or_columns() -> None:
    for (m, n), name in {(16, 500): "slim", (17, 500): "square", (500, 16): "slim", (500, 17): "square"}.items():
        kernel, *_ = ordered.prepared(torch.empty(m, 3), torch.empty(3, n), None, torch.empty(m, n), "chain/v1", 9)
        assert kernel.name == f"rn_chain_float32_{name}"


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
    for example in ordered.examples():
        assert_bit_equal(gemm(kernels, *example), refnum.gemm(*example[:3], contract=example[3], out_dtype=example[4]))


# ---- mutants ---------------------------------------------------------------------------------------

CASES = [(dtype, m) for dtype in (torch.float32, torch.bfloat16) for m in (5, 20)]


@pytest.mark.parametrize(("dtype", "m"), CASES, ids=str)
def test_no_barrier_commit_or_wait_is_idle(kernels: Kernels, dtype: torch.dtype, m: int) -> None:
    """Of terms so many that a tile's last stage is where the next tile's first ones go."""
    a, b, bias = operands("integers", m, 130, 300)
    x, y = a.to(dtype), b.to(dtype)
    want = refnum.gemm(x, y, bias, out_dtype=torch.float32)
    assert_bit_equal(gemm(kernels, x, y, bias, dtype=torch.float32, blocks=1), want)

    def differs(choice: Choice) -> bool:
        try:
            return not torch.equal(gemm(kernels, x, y, bias, dtype=torch.float32, blocks=1, choice=choice), want)
        except SimulationError:
            return True

    copied = dtype == torch.float32
    sites = {number: what for number, what in kernels.sites().items() if copied or "__syncthreads" in what}
    assert len(sites) == (4 if copied else 2)
    for number, what in sites.items():
        assert any(differs(choice._replace(without=number)) for choice in CHOICES), f"nothing needs {what}"


MUTANTS = {
    "of -0 with a padded term": (
        "for (i32 k = 0; k < count; k++) add_term",
        "for (i32 k = 0; k <= count; k++) add_term",
    ),
    "of two roundings": (
        "of[i][j] = fma_rn(x[i], y[j], of[i][j])",
        "of[i][j] = add_rn(multiply_rn(x[i], y[j]), of[i][j])",
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
    texts = {file: (bridge.CSRC / file).read_text() for file in ("rn_halves.cuh", "ordered.cu")}
    text = texts["ordered.cu"].replace('#include "rn_halves.cuh"', texts["rn_halves.cuh"].replace("#pragma once", ""))
    right, wrong = MUTANTS[name]
    assert text.count(right) == 1
    mutant = Kernels(
        text.replace(right, wrong),
        *(f"rn_{order}_float32_{tiling}" for order in ("chain", "tree") for tiling in ("square", "slim")),
    )

    def differs(kind: str, shape: tuple[int, int, int], contract: str) -> bool:
        a, b, bias = operands(kind, *shape)
        want = refnum.gemm(a, b, bias, contract=contract)
        return not torch.equal(gemm(mutant, a, b, bias, contract).view(torch.int32), want.view(torch.int32))

    shapes = (5, 21, 40), (20, 75, 24), (130, 37, 20)
    kinds = "normal", "ties of a chain", "results that vanish", "specials"
    assert any(differs(*case) for case in itertools.product(kinds, shapes, ("chain/v1", "tree/v1(Kc=10)")))


@pytest.mark.slow
def test_fused_where_it_is_written_and_nowhere_else() -> None:
    try:
        importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    text = build.Nvrtc().compile(build.SOURCES / "ordered.cu", "compute_80").decode()
    assert ".ftz" not in text
    for kernel in text.split(".visible .entry ")[1:]:
        fused = 64 * (2 + 1) if "_square" in kernel.partition("(")[0] else 4 * (8 + 1)  # a stage unrolled, and its rest
        assert kernel.count("fma.rn.f32") == fused
