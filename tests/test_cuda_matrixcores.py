"""The kernels of tc.*/v1: on the CPU over refnum's model of tensor cores, in every order of threads, and on a GPU."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from cuda import bridge, scenes
from cuda.places import need_hopper
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from cuda.stage import stage
from float_sums import DATA, VECTORS, floats_of, operands
from refnum_conformance.gemm_vectors import unrefuted
from torch import Tensor

import refnum
from refnum.sums.tensorcore import INSTRUCTIONS
from refnum.testing import assert_bit_equal
from refnum_cuda import driver, launch, matrices, matrixcores, warpgroups

HOPPER = {dtype: f"tc.hopper.{kind}/v1" for dtype, kind in matrixcores.KINDS.items()}
DTYPES = tuple(HOPPER)
TARGETS = ("sm_80", "sm_90a")
LAYOUTS = ("tt", "tl", "lt", "ll")
ROOMS = {"matrixcore": matrixcores.KERNELS, "wgmma": warpgroups.KERNELS}

on_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")]


# ---- on the CPU --------------------------------------------------------------------------------------


def packed(data: int, itemsize: int, sizes: Sequence[int], strides: Sequence[int], box: Sequence[int]) -> bytes:
    """A tensor map as hopper.h reads it, and fakecuda.c writes it."""
    return struct.pack("@Q3Q2Q3II", data, *sizes, *strides, *box, itemsize).ljust(driver.TENSOR_MAP, b"\0")


@pytest.fixture(scope="module")
def rooms() -> Iterator[dict[str, Kernels]]:
    """Kernels by their files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "tensor_map", packed)
        names = {stem: [kernel.name for kernel in kernels.values()] for stem, kernels in ROOMS.items()}
        yield {stem: Kernels.of_file(f"{stem}.cu", *each) for stem, each in names.items()}


def gemm(
    rooms: dict[str, Kernels],
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
    *,
    target: str = "sm_90a",
    choice: Choice = CHOICES[0],
    blocks: int = 2,
) -> Tensor:
    """refnum.gemm by the kernels: fewer blocks than tiles, so that a block makes several."""
    shape = matrixcores.product_shape(a, b)
    guarded = torch.full((shape.numel() + 64,), -7.0, dtype=dtype or a.dtype)
    out = guarded[32:-32].view(shape)
    kernel, grid, block, shared, *arguments = matrixcores.prepared(matrices.problem(a, b, bias, out), target, blocks)
    rooms[kernel.stem].run(kernel.name, min(grid[0], blocks), block, *arguments, shared=shared, choice=choice)
    assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
    return out


def as_laid_out(a: Tensor, b: Tensor, layout: str) -> tuple[Tensor, Tensor]:
    """The same matrices, of which neighbours lie along terms (t) or lines (l)."""
    left = a if layout[0] == "t" else a.mT.contiguous().mT
    right = b if layout[1] == "l" else b.mT.contiguous().mT
    return left, right


def within_nan(x: Tensor) -> Tensor:
    """The matrix with NaN all around, as aligned as it was: what is read beyond it shows."""
    rows, columns = x.shape
    around = torch.full((rows + 6, -(-columns // 8) * 8 + 16), torch.nan, dtype=x.dtype)
    around[3 : 3 + rows, 8 : 8 + columns] = x
    return around[3 : 3 + rows, 8 : 8 + columns]


SHAPES = [
    *((1, 40, 9), (5, 0, 7), (16, 16, 33), (17, 15, 70), (3, 129, 64), (64, 65, 40), (66, 300, 65), (129, 17, 140)),
    *((130, 64, 257), (200, 63, 300), (70, 1, 520), (300, 65, 129), (257, 129, 72)),
]


@pytest.mark.parametrize("target", TARGETS)
def test_every_shape_around_a_tile(rooms: dict[str, Kernels], target: str) -> None:
    for i, (m, k, n) in enumerate(SHAPES):
        a, b, bias = (x.to(DTYPES[i % 2]) for x in operands("wide" if i % 3 else "normal", m, k, n, seed=i))
        addend = None if i % 4 == 3 else bias.float()
        x, y = as_laid_out(within_nan(a), within_nan(b), LAYOUTS[i % 4])
        out = (torch.float32, torch.bfloat16, torch.float16)[i % 3]
        want = refnum.gemm(a, b, addend, contract=HOPPER[a.dtype], out_dtype=out)
        choice = CHOICES[i % len(CHOICES)]
        assert_bit_equal(gemm(rooms, x, y, addend, out, target=target, choice=choice), want)


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands(rooms: dict[str, Kernels], kind: str) -> None:
    for i, ((m, k, n), target) in enumerate(itertools.product([(9, 40, 20), (72, 40, 72)], TARGETS)):
        a, b, bias = operands(kind, m, k, n)
        dtype = DTYPES[i % 2]
        x, y = a.to(dtype), b.to(dtype)
        want = refnum.gemm(x, y, bias, contract=HOPPER[dtype], out_dtype=torch.float32)
        assert_bit_equal(gemm(rooms, x, y, bias, torch.float32, target=target), want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_without_a_copy(rooms: dict[str, Kernels], layout: str) -> None:
    for (m, k, n), target, dtype in zip([(136, 72, 264), (136, 72, 72), (24, 72, 40)], "aba", DTYPES * 2, strict=False):
        a, b, bias = operands("normal", m, k, n)
        x, y = as_laid_out(a.to(dtype), b.to(dtype), layout)
        given = matrices.problem(x, y, None, torch.empty(m, n))
        assert (given.layout, given.a.tensor.data_ptr(), given.b.tensor.data_ptr()) == (
            layout,
            x.data_ptr(),
            y.data_ptr(),
        )
        want = refnum.gemm(x, y, bias, contract=HOPPER[dtype], out_dtype=torch.float32)
        for choice in CHOICES[::2] if target == "b" else CHOICES[1::2]:
            got = gemm(rooms, x, y, bias, torch.float32, target="sm_80" if target == "b" else "sm_90a", choice=choice)
            assert_bit_equal(got, want)


class Recorded(NamedTuple):
    """Tiles of one instruction by MMA-Sim."""

    contract: str
    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor


def recorded() -> Iterator[Recorded]:
    with np.load(VECTORS / "gemm_mma.npz", allow_pickle=False) as file:
        for key in file.files:
            architecture, instruction, kind, accumulator, *_ = (*key.split("."), "", "", "")
            if not key.endswith("/a") or kind not in ("bf16", "f16") or accumulator != "f32" or instruction == "mma_k8":
                continue
            dtypes = {"a": kind, "b": kind, "c": "f32", "d": "f32"}
            of = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
            arrays = unrefuted({part: file[f"{key[:-2]}/{part}"] for part in dtypes}, key[:-2])
            parts = [floats_of(arrays[part], of[dtype]) for part, dtype in dtypes.items()]
            yield Recorded(f"{architecture}.{kind}", *parts)


@pytest.mark.parametrize("target", TARGETS)
def test_recorded_tiles(rooms: dict[str, Kernels], target: str) -> None:
    """Of hardware whose tensor cores differ: the simulator is told which."""
    stem = "wgmma" if target == "sm_90a" else "matrixcore"
    count = 0
    for case in recorded():
        row = INSTRUCTIONS[case.contract]
        if target == "sm_90a" and not case.contract.startswith("hopper"):
            continue
        rooms[stem]._library.sim_tensor_core(row.fraction, row.terms, row.zero, row.least)
        repeats = (5, 9) if target == "sm_90a" else (1, 1)
        for a, b, c, d in zip(*case[1:], strict=True):
            x, y, z, want = a.repeat(repeats[0], 1), b.repeat(1, repeats[1]), c.repeat(*repeats), d.repeat(*repeats)
            assert_bit_equal(gemm(rooms, x, y, z, torch.float32, target=target), want)
            count += 1
    hopper = INSTRUCTIONS["hopper.bf16"]
    rooms[stem]._library.sim_tensor_core(hopper.fraction, hopper.terms, hopper.zero, hopper.least)
    assert count > (30 if target == "sm_90a" else 90)


@pytest.mark.parametrize("target", TARGETS)
def test_strides_and_batches(rooms: dict[str, Kernels], target: str) -> None:
    draw = torch.Generator().manual_seed(5)
    for m, n in ((20, 24), (72, 80)):
        a, b = (torch.randn(2, 2, *s, generator=draw).bfloat16() for s in ((m, 24), (24, n)))
        bias = torch.randn(2, 1, m, 1, generator=draw)
        every_third = torch.stack([a, a + 1, a], -1).flatten(-2)[..., ::3]
        cases = [(a, b), (a[:, :1], b), (a[0, 0], b), (a, b[:1]), (every_third, b), (torch._neg_view(a), b)]
        cases += [(a[..., 1:, :], b), (a[..., 1:], b[..., 1:, :]), (a[..., :1], b[..., :1, :])]
        cases += [(a[..., :1, :].expand(2, 2, m, 24), b)]
        for i, (x, y) in enumerate(cases):
            addend = bias if i % 2 and x.shape[-2] == m and x.dim() > 2 else None
            want = refnum.gemm(x, y, addend, contract="tc.hopper.bf16/v1")
            assert_bit_equal(gemm(rooms, x, y, addend, target=target), want)


TILES = """
#include "rn_matrix.cuh"
extern "C" __global__ void rn_tiles(rn::i64 batches, rn::i64 down, rn::i64 across, rn::u8* counts) {
    for (rn::i64 tile = 0; tile < batches * down * across; tile++) {
        const rn::Place at = rn::place_of_tile(tile, down, across);
        if (at.row < down && at.column < across) counts[(at.batch * down + at.row) * across + at.column]++;
    }
}
"""


def test_every_tile_is_made_once() -> None:
    kernels = Kernels(TILES, "rn_tiles")
    for shape in ((1, 1, 1), (1, 15, 3), (2, 16, 5), (1, 17, 1), (3, 33, 7), (1, 64, 32), (1, 1, 40)):
        counts = torch.zeros(shape, dtype=torch.uint8)
        kernels.run("rn_tiles", 1, 1, *shape, counts)
        assert counts.eq(1).all()


def test_which_tiling_serves() -> None:
    def name(m: int, n: int, target: str, processors: int = 132) -> str:
        x, y = torch.empty(m, 64, dtype=torch.bfloat16), torch.empty(64, n, dtype=torch.bfloat16)
        given = matrices.problem(x, y, None, torch.empty(1).expand(m, n))
        kernel: launch.Kernel = matrixcores.prepared(given, target, processors)[0]
        return kernel.name.removeprefix("rn_").replace("_bfloat16", "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "tensor_map", packed)
        assert name(1, 4096, "sm_90a") == "mma_slim_lt"  # of the transposed product
        assert name(16, 4096, "sm_90a").startswith("mma_slim")
        assert name(4096, 17, "sm_90a").startswith("mma_middle")
        assert name(65, 65, "sm_90a").startswith("wgmma_narrow")
        assert name(4096, 4096, "sm_90a") == "wgmma_wide_tl"
        assert name(4096, 4096, "sm_80") == "mma_square_tl"


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0), (7, 5)])
def test_a_device_serves_the_bits_that_it_has(capability: tuple[int, int]) -> None:
    alike = {8: ("ampere", "ada"), 9: ("hopper",), 10: ("blackwell",), 12: ("blackwell",)}
    for architecture in ("volta", "turing", "ampere", "ada", "hopper", "blackwell", "cdna3"):
        for kind in ("bf16", "f16", "f16.acc16", "bf16.k8", "tf32", "fp8"):
            served = matrixcores.served(f"tc.{architecture}.{kind}/v1", capability) is not None
            assert served == (kind in ("bf16", "f16") and architecture in alike.get(capability[0], ()))


def test_examples_of_the_self_test(rooms: dict[str, Kernels]) -> None:
    used = set()
    for a, b, bias, contract, dtype in matrixcores.examples():
        if contract == HOPPER[a.dtype]:
            assert_bit_equal(
                gemm(rooms, a, b, bias, dtype, blocks=9), refnum.gemm(a, b, bias, contract=contract, out_dtype=dtype)
            )
            out = torch.empty(a.shape[0], b.shape[1], dtype=dtype)
            used.add(matrixcores.prepared(matrices.problem(a, b, bias, out), "sm_90a", 132)[0].stem)
    assert used == set(ROOMS)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_barrier_commit_or_wait_is_idle(rooms: dict[str, Kernels], target: str) -> None:
    a, b, bias = operands("integers", 72 if target == "sm_90a" else 20, 600, 260)
    x, y = a.bfloat16(), b.bfloat16()
    kernels = Kernels.of_file("wgmma.cu", "rn_wgmma_bfloat16_wide_tl", "rn_wgmma_bfloat16_narrow_tt")
    if target == "sm_80":
        kernels = Kernels.of_file("matrixcore.cu", "rn_mma_bfloat16_middle_lt", "rn_mma_bfloat16_middle_tt")
    rooms = dict.fromkeys(ROOMS, kernels)
    want = refnum.gemm(x, y, bias, contract=HOPPER[x.dtype], out_dtype=torch.float32)
    assert_bit_equal(gemm(rooms, x, y, bias, torch.float32, target=target, blocks=1), want)

    def differs(choice: Choice) -> bool:
        try:
            return not torch.equal(gemm(rooms, x, y, bias, torch.float32, target=target, blocks=1, choice=choice), want)
        except SimulationError:
            return True

    sites = kernels.sites()
    assert len(sites) > 3
    for number, what in sites.items():
        assert any(differs(choice._replace(without=number)) for choice in CHOICES), f"nothing needs {what}"


# ---- over a driver without a GPU -----------------------------------------------------------------------


def test_products_are_the_references_for_every_shape() -> None:
    assert stage().play(scenes.on_tensor_cores) == []
    launched = {line.split()[1].rpartition("_")[0] for line in stage().calls("cuLaunchKernel")}
    assert launched >= {"rn_mma_bfloat16_slim", "rn_wgmma_bfloat16_narrow", "rn_wgmma_float16_narrow"}


# ---- on a GPU ------------------------------------------------------------------------------------------

ALONE = """
import sys, torch
from refnum_cuda import driver, launch, matrices, matrixcores, modules
device = torch.device("cuda", 0)
assert modules.obstacle(0) is None, modules.obstacle(0)
torch.manual_seed(1)
for m, n, k in ((64, 256, 64), (128, 256, 64), (128, 256, 1024), (300, 520, 200), (72, 72, 72)):
    for dtype in (torch.bfloat16, torch.float16):
        for layout in ("tt", "tl", "lt", "ll"):
            a, b = torch.randn(m, k, device=device).to(dtype), torch.randn(k, n, device=device).to(dtype)
            if layout[0] == "l": a = a.mT.contiguous().mT
            if layout[1] == "t": b = b.mT.contiguous().mT
            results = []
            for target in ("sm_80", modules.served_by(0)):
                out = torch.full((m, n), float("nan"), device=device)
                with launch.place(device):
                    given = matrixcores.prepared(matrices.problem(a, b, None, out), target, 132)
                    launch.launch(*given)
                torch.cuda.synchronize()
                want = a.double() @ b.double()
                worst = ((out.double() - want).abs().max() / want.abs().max()).item()
                print(given[0].name, (m, n, k), "relative error", worst, flush=True)
                assert worst < 1e-4, (given[0].name, (m, n, k))
                results.append(out)
            print("equal bits of both", torch.equal(*results), flush=True)
            assert torch.equal(*results), ("mma.sync and wgmma differ", (m, n, k), dtype, layout)
"""


class TestOnGpu:
    """What `nox -s cuda` runs."""

    pytestmark = on_gpu

    def test_single_tiles_in_a_process_of_their_own(self) -> None:
        """First, and apart: a kernel that fails takes its process's device with it."""
        path = str(bridge.CSRC.parents[1])
        command = [sys.executable, "-c", f"import sys; sys.path.append({path!r})\n{ALONE}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_layout_has_the_references_bits(self, dtype: torch.dtype, layout: str) -> None:
        for m, k, n in ((3, 40, 24), (40, 72, 24), (136, 72, 264), (131, 37, 75)):
            a, b, bias = operands("wide", m, k, n)
            x, y = as_laid_out(a.to(dtype), b.to(dtype), layout)
            want = refnum.gemm(x, y, bias, contract=HOPPER[dtype])
            with refnum.use_backend("cuda"):
                got = refnum.gemm(x.cuda(), y.cuda(), bias.cuda(), contract=HOPPER[dtype])
            assert_bit_equal(got.cpu(), want)

    @pytest.mark.parametrize("kind", DATA)
    def test_every_kind_of_operands_has_the_references_bits(self, kind: str) -> None:
        for dtype, (m, k, n) in itertools.product(DTYPES, ((9, 300, 40), (140, 100, 136))):
            a, b, bias = operands(kind, m, k, n)
            x, y = a.to(dtype), b.to(dtype)
            want = refnum.gemm(x, y, bias, contract=HOPPER[dtype], out_dtype=torch.float32)
            with refnum.use_backend("cuda"):
                got = refnum.gemm(x.cuda(), y.cuda(), bias.cuda(), contract=HOPPER[dtype], out_dtype=torch.float32)
            assert_bit_equal(got.cpu(), want)

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_a_row_has_the_same_bits_in_any_batch(self, dtype: torch.dtype) -> None:
        a, b = (x.to(dtype).cuda() for x in operands("normal", 300, 1000, 520)[:2])
        with refnum.use_backend("cuda"):
            whole = refnum.gemm(a, b, contract=HOPPER[dtype])
            for m in range(1, 300):
                assert torch.equal(refnum.gemm(a[:m], b, contract=HOPPER[dtype]), whole[:m]), m

    def test_a_thousand_launches_have_the_same_bits(self) -> None:
        a, b = torch.randn(300, 2000, device="cuda").bfloat16(), torch.randn(2000, 520, device="cuda").bfloat16()
        for m in (3, 40, 300):
            first = refnum.gemm(a[:m], b, contract="tc.hopper.bf16/v1")
            differing = torch.zeros((), dtype=torch.int64, device="cuda")
            for _ in range(1000):
                differing += (refnum.gemm(a[:m], b, contract="tc.hopper.bf16/v1") != first).sum()
            assert not differing.item()

    @pytest.mark.parametrize("size", [(2048, 2048, 2048), (1000, 4100, 3000)])
    def test_large_products_of_both_instructions_have_the_same_bits(self, size: tuple[int, int, int]) -> None:
        need_hopper()
        m, k, n = size
        scale = 2.0 ** torch.randint(-20, 20, (k, 1), device="cuda")
        a, b = torch.randn(m, k, device="cuda").bfloat16(), (torch.randn(k, n, device="cuda") * scale).bfloat16()
        outs = torch.full((2, m, n), torch.nan, device="cuda")
        for out, target in zip(outs, TARGETS, strict=True):
            with launch.place(out.device):
                launch.launch(*matrixcores.prepared(matrices.problem(a, b, None, out), target, 132))
        assert torch.equal(outs[0], outs[1])

    def test_a_captured_graph_gives_the_bits_again(self) -> None:
        a, b = torch.zeros(200, 300, device="cuda").bfloat16(), torch.randn(300, 200, device="cuda").bfloat16()
        refnum.gemm(a, b, contract="tc.hopper.bf16/v1")
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = refnum.gemm(a, b, contract="tc.hopper.bf16/v1")
        a.copy_(torch.randn(200, 300, device="cuda"))
        graph.replay()
        assert torch.equal(out, refnum.gemm(a, b, contract="tc.hopper.bf16/v1"))
