"""The kernels of tc.hopper.fp8/v1 and tcsplit/v1 of it: on the CPU over a model of wgmma, and on a GPU."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from cuda import scenes
from cuda.places import need_hopper
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from cuda.stage import stage
from float_sums import DATA, VECTORS, floats_of, operands
from torch import Tensor

import refnum
from refnum.testing import assert_bit_equal
from refnum_cuda import driver, fp8cores, launch, matrices, warpgroups

CHAIN = "tc.hopper.fp8/v1"
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
Mix = tuple[torch.dtype, torch.dtype]
MIXES = tuple(itertools.product(fp8cores.KINDS, repeat=2))
OUTS = (torch.float32, torch.bfloat16, torch.float16)

on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")]


def split(chunk: int) -> str:
    """The contract that joins chunks of so many terms."""
    return f"tcsplit/v1(inst=tc.hopper.fp8, Kc={chunk})"


def packed(data: int, itemsize: int, sizes: Sequence[int], strides: Sequence[int], box: Sequence[int]) -> bytes:
    """A tensor map as hopper.h reads it, and fakecuda.c writes it."""
    return struct.pack("@Q3Q2Q3II", data, *sizes, *strides, *box, itemsize).ljust(driver.TENSOR_MAP, b"\0")


def spread(m: int, k: int, n: int, mix: Mix, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Finite operands of all binades, zeros among them, and a bias that some sums keep 13 bits of."""
    draw = torch.Generator().manual_seed(seed)
    a, b = (torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8) for shape in ((m, k), (k, n)))
    a, b = (x.view(dtype) for x, dtype in zip((a, b), mix, strict=True))
    a, b = (x.float().nan_to_num(0.0, 1.5, -0.0).to(x.dtype) for x in (a, b))
    return a, b, operands("wide", m, 8, n, seed=seed)[2]


# ---- on the CPU --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels() -> Iterator[Kernels]:
    """All of the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "tensor_map", packed)
        names = [kernel.name for kernel in (*fp8cores.CHAINS.values(), *fp8cores.SPLITS.values())]
        yield Kernels.of_file("wgmma_fp8.cu", *names)


def gemm(
    kernels: Kernels,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    *,
    chunk: int | None = None,
    choice: Choice = CHOICES[0],
    blocks: int = 2,
) -> Tensor:
    """refnum.gemm by the kernels: fewer blocks than tiles, so that a block makes several."""
    shape = fp8cores.product_shape(a, b)
    guarded = torch.full((shape.numel() + 64,), -7.0, dtype=dtype)
    out = guarded[32:-32].view(shape)
    given = fp8cores.prepared(matrices.problem(a, b, bias, out), blocks, chunk)
    kernel, grid, block, shared, *arguments = given
    kernels.run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)
    assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
    return out


SHAPES = [
    *((1, 40, 9), (5, 1, 7), (16, 128, 33), (17, 129, 70), (64, 31, 65), (66, 300, 65), (129, 17, 140)),
    *((130, 64, 200), (3, 700, 70), (70, 33, 300)),
]


def test_every_shape_around_a_tile(kernels: Kernels) -> None:
    for i, (m, k, n) in enumerate(SHAPES):
        a, b, bias = spread(m, k, n, MIXES[i % 4], seed=i)
        addend, out = None if i % 4 == 3 else bias, OUTS[i % 3]
        want = refnum.gemm(a, b, addend, contract=CHAIN, out_dtype=out)
        assert_bit_equal(gemm(kernels, a, b, addend, out, choice=CHOICES[i % len(CHOICES)]), want)


@pytest.mark.parametrize("mix", MIXES, ids=str)
def test_every_code(kernels: Kernels, mix: Mix) -> None:
    """NaN and Inf, too, beside each other and beside 0; and sums of two products of which the smaller one is cut."""
    codes = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    a = torch.stack([codes, codes.flip(0), torch.full_like(codes, 0x38)], 1)
    b = torch.stack([codes[::7], codes[::7].roll(9), codes[::7].roll(3)])
    x, y = a.view(mix[0]), b.view(mix[1])
    assert_bit_equal(gemm(kernels, x, y), refnum.gemm(x, y, contract=CHAIN))


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands(kernels: Kernels, kind: str) -> None:
    for i, (m, k, n) in enumerate([(9, 150, 20), (72, 40, 72)]):
        a, b, bias = operands(kind, m, k, n)
        x, y = a.to(MIXES[i + 1][0]), b.to(MIXES[i + 1][1])
        assert_bit_equal(gemm(kernels, x, y, bias), refnum.gemm(x, y, bias, contract=CHAIN))


@pytest.mark.parametrize("mix", MIXES, ids=str)
def test_recorded_tiles_of_an_h200(kernels: Kernels, mix: Mix) -> None:
    with np.load(VECTORS / "tensorcores_hopper.npz", allow_pickle=False) as file:
        for terms in (32, 64):
            key = "hopper.wgmma_{}_{}_k32.K{}".format(*(fp8cores.KINDS[dtype] for dtype in mix), terms)
            parts = zip("abcd", (*mix, torch.float32, torch.float32), strict=True)
            a, b, c, d = (floats_of(file[f"{key}/{part}"][::4], dtype) for part, dtype in parts)
            assert_bit_equal(gemm(kernels, a, b, c, blocks=9), d)


@pytest.mark.parametrize("mix", MIXES, ids=str)
def test_chunks_of_stages_are_joined_by_a_tree(kernels: Kernels, mix: Mix) -> None:
    """Of 1 to 19 chunks, the last one whole or not: nodes in registers, and in memory."""
    shapes = [(3, 128 * 18 + 5, 9), (20, 128 * 8, 24), (70, 128 * 5, 66), (3, 128 * 16, 20), (66, 128 * 2 + 1, 130)]
    for i, (m, k, n) in enumerate([*shapes, (4, 100, 9), (5, 128 * 3, 17)]):
        a, b, bias = spread(m, k, n, mix, seed=i)
        addend, chunk = bias if i % 2 else None, 256 if i == 3 else 128
        want = refnum.gemm(a, b, addend, contract=split(chunk))
        assert_bit_equal(gemm(kernels, a, b, addend, chunk=chunk, choice=CHOICES[i % len(CHOICES)]), want)


def test_a_tree_is_no_chain(kernels: Kernels) -> None:
    """Sums of chunks of which every order of additions gives others."""
    heights = torch.tensor([2.0**8, 1.0, 1.0, -(2.0**8), 2.0**-3, 3.0, -5.0, 2.0**-6, 2.0**7]).repeat(2)
    a = (heights[:, None] * torch.eye(1, 128)).view(1, -1).to(E4M3)
    b = torch.ones(a.shape[-1], 1).to(E5M2)
    bias = torch.tensor([2.0**-20])
    assert_bit_equal(gemm(kernels, a, b, bias, chunk=128), refnum.gemm(a, b, bias, contract=split(128)))
    small = a.float().mul(2.0**-9).to(E5M2)
    wide = torch.where(torch.arange(a.shape[-1])[:, None] % 256 == 0, 2.0**15, 1.0).to(E5M2)
    want = refnum.gemm(small, wide, contract=split(128))
    assert_bit_equal(gemm(kernels, small, wide, chunk=128), want)
    assert want.item() != refnum.gemm(small, wide, contract=split(256)).item()


def test_strides_and_batches(kernels: Kernels) -> None:
    """Whatever the copying engine cannot bring is copied, what it can is not."""
    for m, n in ((20, 24), (72, 80)):
        a, b, _ = spread(4 * m, 32, 4 * n, (E4M3, E5M2), seed=5)
        a, b = a.view(2, 2, m, 32), b.mT.contiguous().view(2, 2, n, 32).mT
        rows, columns = a.mT.contiguous().mT, b.contiguous()
        cases = [(a, b), (rows, b), (a, columns), (a[:, :1], b), (a[0, 0], b), (a, b[:1])]
        cases += [(a[..., 1:, :], b), (a[..., 3:], b[..., 3:, :]), (a[..., ::2], b[..., ::2, :])]
        cases += [(a[..., :1], b[..., :1, :]), (a[..., :1, :].expand(2, 2, m, 32), b)]
        for i, (x, y) in enumerate(cases):
            choice = CHOICES[i % len(CHOICES)]
            assert_bit_equal(gemm(kernels, x, y, choice=choice), refnum.gemm(x, y, contract=CHAIN))
        given = matrices.problem(a, b, None, torch.empty(2, 2, m, n))
        assert (given.a.tensor.data_ptr(), given.b.tensor.data_ptr()) == (a.data_ptr(), b.data_ptr())


def test_which_tiling_serves() -> None:
    def name(m: int, n: int, chunk: int | None = None) -> str:
        x, y = torch.empty(m, 64, dtype=E4M3), torch.empty(n, 64, dtype=E5M2).mT
        given = matrices.problem(x, y, None, torch.empty(1).expand(m, n))
        kernel: launch.Kernel = fp8cores.prepared(given, 132, chunk)[0]
        return kernel.name.removeprefix("rn_wgmma_")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "tensor_map", packed)
        assert name(1, 4096) == "e5m2_e4m3_slim"  # of the transposed product
        assert name(4096, 17) == "e4m3_e5m2_middle"
        assert name(65, 65) == "e4m3_e5m2_narrow"
        assert name(4096, 4096) == "e4m3_e5m2_wide"
        assert name(4096, 4096, 128) == "e4m3_e5m2_split_narrow"
        assert name(16, 4096, 128) == "e5m2_e4m3_split_slim"
    for tiling in (*fp8cores.FEW, warpgroups.NARROW, warpgroups.WIDE):
        assert tiling.shared <= 227 << 10


def test_examples_of_the_self_test(kernels: Kernels) -> None:
    used = set()
    for a, b, bias, contract, dtype in fp8cores.examples():
        found = fp8cores.CONTRACT.fullmatch(contract)
        assert found is not None
        out = torch.empty(a.shape[0], b.shape[1])
        chunk = int(found[1]) if found[1] else None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(driver, "tensor_map", packed)
            used.add(fp8cores.prepared(matrices.problem(a, b, bias, out), 132, chunk)[0])
        assert refnum.gemm(a, b, bias, contract=contract, out_dtype=dtype).dtype == dtype
    wide = {key for key in fp8cores.CHAINS if key[2] == warpgroups.WIDE}
    assert used == {*fp8cores.CHAINS.values(), *fp8cores.SPLITS.values()} - {fp8cores.CHAINS[key] for key in wide}


@pytest.mark.slow
def test_no_barrier_commit_or_wait_is_idle() -> None:
    a, b, bias = spread(70, 128 * 17, 260, (E4M3, E5M2))
    kernels = Kernels.of_file("wgmma_fp8.cu", "rn_wgmma_e4m3_e5m2_narrow", "rn_wgmma_e4m3_e5m2_split_narrow")
    chunks = {None: CHAIN, 1024: split(1024)}  # of more stages than there are
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "tensor_map", packed)
        want = {chunk: refnum.gemm(a, b, bias, contract=contract) for chunk, contract in chunks.items()}

        def differs(choice: Choice) -> bool:
            try:
                pairs = [(gemm(kernels, a, b, bias, chunk=k, blocks=1, choice=choice), want[k]) for k in chunks]
            except SimulationError:
                return True
            return not all(torch.equal(got, right) for got, right in pairs)

        assert not differs(CHOICES[0])
        sites = kernels.sites()
        assert len(sites) > 3
        for number, what in sites.items():
            assert any(differs(choice._replace(without=number)) for choice in CHOICES), f"nothing needs {what}"


# ---- over a driver without a GPU -----------------------------------------------------------------------


def test_products_are_the_references_for_every_shape() -> None:
    assert stage().play(scenes.of_eight_bits) == []
    launched = {line.split()[1] for line in stage().calls("cuLaunchKernel")}
    assert launched >= {"rn_wgmma_e4m3_e5m2_narrow", "rn_wgmma_e5m2_e4m3_slim", "rn_wgmma_e4m3_e5m2_split_narrow"}


# ---- on a GPU ------------------------------------------------------------------------------------------


def assert_same_on_gpu(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, dtype: torch.dtype) -> None:
    """A kernel has the reference's bits."""
    want = refnum.gemm(a, b, bias, contract=contract, out_dtype=dtype)
    with refnum.use_backend("cuda"):
        got = refnum.gemm(a.cuda(), b.cuda(), bias if bias is None else bias.cuda(), contract=contract, out_dtype=dtype)
    assert_bit_equal(got.cpu(), want)


class TestOnGpu:
    """What `nox -s cuda` runs."""

    pytestmark = on_gpu

    @pytest.fixture(autouse=True)
    def _hopper(self) -> None:
        need_hopper()

    @pytest.mark.parametrize("mix", MIXES, ids=str)
    def test_every_layout_has_the_references_bits(self, mix: Mix) -> None:
        """Terms side by side, and lines, which are copied; every tiling but the wide one."""
        for m, k, n in ((3, 40, 24), (40, 200, 24), (136, 72, 264), (131, 37, 75)):
            a, b, bias = spread(m, k, n, mix)
            for contract in (CHAIN, split(128), split(40)):
                assert_same_on_gpu(a, b, bias, contract, torch.float32)
                assert_same_on_gpu(a.mT.contiguous().mT, b.mT.contiguous().mT, None, contract, torch.bfloat16)

    def test_many_chunks_are_joined_by_the_tree(self) -> None:
        """Of 1 to 19 chunks: nodes in registers, and in memory; more tiles than processors."""
        for chunks, mix in zip((2, 4, 5, 8, 19), itertools.cycle(MIXES), strict=False):
            for m, n in ((3, 40), (50, 70), (140, 200)):
                assert_same_on_gpu(*spread(m, 128 * chunks - 5, n, mix), split(128), torch.float32)
        assert_same_on_gpu(*spread(1600, 128 * 6, 1600, (E4M3, E4M3)), split(128), torch.float32)

    def test_wide_tiles_have_the_references_bits(self) -> None:
        assert_same_on_gpu(*spread(1600, 200, 1700, (E4M3, E5M2)), CHAIN, torch.float16)

    def test_every_code_has_the_references_bits(self) -> None:
        codes = torch.arange(256, dtype=torch.int16).to(torch.uint8)
        x = torch.stack([codes, codes.flip(0)], 1)
        for left, right in MIXES:
            assert_same_on_gpu(x.view(left), x.view(right).mT, None, CHAIN, torch.float32)

    @pytest.mark.parametrize("contract", [CHAIN, split(128)])
    def test_a_row_has_the_same_bits_in_any_batch(self, contract: str) -> None:
        a, b, _ = (x.cuda() for x in spread(300, 2000, 520, (E4M3, E5M2)))
        with refnum.use_backend("cuda"):
            whole = refnum.gemm(a, b, contract=contract)
            for m in range(1, 300, 3):
                assert_bit_equal(refnum.gemm(a[:m], b, contract=contract), whole[:m])

    @pytest.mark.parametrize("contract", [CHAIN, split(128)])
    def test_many_launches_have_the_same_bits(self, contract: str) -> None:
        a, b, _ = (x.cuda() for x in spread(300, 4000, 520, (E5M2, E4M3)))
        for m in (3, 40, 300):
            first = refnum.gemm(a[:m], b, contract=contract).view(torch.int32)
            differing = torch.zeros((), dtype=torch.int64, device="cuda")
            for _ in range(300):
                differing += (refnum.gemm(a[:m], b, contract=contract).view(torch.int32) != first).sum()
            assert not differing.item()
