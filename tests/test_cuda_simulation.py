"""The simulator of CUDA threads: right kernels have one result, and each way of lacking an order is caught."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
import torch
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError
from torch import Tensor

#: Small kernels, right ones and ones of a planted fault, to which their names refer.
KERNELS = r"""
#include "rn_copies.cuh"

// The block's elements in reverse, through shared memory.
extern "C" __global__ void reverse(const float* from, float* to) {
    extern __shared__ float4 rn_shared[];
    float* tile = reinterpret_cast<float*>(rn_shared);
    int i = threadIdx.x, n = blockDim.x;
    tile[i] = from[blockIdx.x * n + i];
    __syncthreads();
    to[blockIdx.x * n + i] = tile[n - 1 - i];
}

// As that, but with a barrier of the warp, which orders nothing between warps.
extern "C" __global__ void race_between_warps(const float* from, float* to) {
    extern __shared__ float4 rn_shared[];
    float* tile = reinterpret_cast<float*>(rn_shared);
    int i = threadIdx.x, n = blockDim.x;
    tile[i] = from[i];
    __syncwarp();
    to[i] = tile[n - 1 - i];
}

// Rounds of neighbours' sums in place: the second barrier keeps a fast thread from writing what a slow one reads.
extern "C" __global__ void rounds(float* data, int count) {
    __shared__ float tile[1024];
    int i = threadIdx.x, n = blockDim.x;
    tile[i] = data[i];
    for (int round = 0; round < count; round++) {
        __syncthreads();
        float sum = tile[i] + tile[(i + 1) % n];
        __syncthreads();
        tile[i] = sum;
    }
    data[i] = tile[i];
}

// Copies that land while the thread goes on, two groups of them.
extern "C" __global__ void copies(const float* from, float* to) {
    extern __shared__ float4 rn_shared[];
    float* tile = reinterpret_cast<float*>(rn_shared);
    int i = threadIdx.x, n = blockDim.x;
    rn::copy_async(tile + i, from + i);
    rn::commit_copies();
    rn::copy_async(tile + n + i, from + n + i);
    rn::commit_copies();
    rn::wait_copies<1>();
    __syncthreads();
    float first = tile[n - 1 - i];
    rn::wait_copies<0>();
    __syncthreads();
    to[i] = first + tile[n + n - 1 - i];
}

// The last block to run is the one that counts.
extern "C" __global__ void race_between_blocks(int* last) { *last = blockIdx.x; }

extern "C" __global__ void copy_without_wait(const float* from, float* to) {
    extern __shared__ float4 rn_shared[];
    float* tile = reinterpret_cast<float*>(rn_shared);
    rn::copy_async(tile + threadIdx.x, from + threadIdx.x);
    to[threadIdx.x] = 0.0f;
}

extern "C" __global__ void copy_not_aligned(const float* from, float*) {
    extern __shared__ float4 rn_shared[];
    rn::copy_async(rn_shared, reinterpret_cast<const float4*>(from + 1));
}

extern "C" __global__ void divergent_return(const float*, float* to) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    to[threadIdx.x] = 1.0f;
}

extern "C" __global__ void divergent_sites(const float*, float* to) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        to[threadIdx.x] = 1.0f;
        __syncthreads();
    }
}

extern "C" __global__ void divergent_lanes(const float*, float* to) {
    if (threadIdx.x % 2) __syncwarp();
    to[threadIdx.x] = 1.0f;
}

extern "C" __global__ void write_beyond(const float*, float*) {
    extern __shared__ float4 rn_shared[];
    reinterpret_cast<float*>(rn_shared)[threadIdx.x] = 1.0f;
}

// What lanes tell each other.
extern "C" __global__ void shuffles(const int* from, int* to) {
    int i = threadIdx.x, n = blockDim.x, x = from[i];
    to[0 * n + i] = __shfl_sync(~0u, x, 5);
    to[1 * n + i] = __shfl_xor_sync(~0u, x, 3);
    to[2 * n + i] = __shfl_up_sync(~0u, x, 2u);
    to[3 * n + i] = __shfl_down_sync(~0u, x, 2u, 8);
    to[4 * n + i] = static_cast<int>(__ballot_sync(~0u, x % 3 == 0));
    if (i % 2) to[5 * n + i] = __shfl_sync(0xaaaaaaaau, x, (i + 2) % 32);
}

// One place for all threads of all blocks.
extern "C" __global__ void counts(int* sum, unsigned* set, int* most) {
    int i = blockIdx.y * blockDim.x + threadIdx.x;
    atomicAdd(sum, i);
    atomicOr(set, 1u << threadIdx.x);
    atomicMax(most, i);
}

extern "C" __global__ void types(signed char a, unsigned short b, int c, long long d, float e, double f, float3x2 g,
                                 double* out) {
    double all[] = {double(a), double(b), double(c), double(d), e, f, g.first, g.last};
    for (int i = 0; i < 8; i++) out[i] = all[i];
}
""".replace("extern", "struct float3x2 { float first, rest[4], last; };\n\nextern", 1)

NAMES = tuple(line.split("void ")[1].split("(")[0] for line in KERNELS.splitlines() if "__global__" in line)


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return Kernels(KERNELS, *NAMES)


def numbers(count: int) -> Tensor:
    return torch.arange(1, count + 1, dtype=torch.float32)


def results(kernels: Kernels, name: str, threads: int, without: int = -1) -> Iterator[Tensor | str]:
    """Under each choice, what a kernel makes of numbers, or what is wrong with it."""
    for choice in CHOICES:
        to = torch.zeros(2 * threads)
        arguments = numbers(2 * threads), to
        try:
            kernels.run(name, 1, threads, *arguments, shared=8 * threads, choice=choice._replace(without=without))
            yield to
        except SimulationError as error:
            yield str(error)


def same(results: Iterator[Tensor | str], want: Tensor) -> bool:
    """Whether all results begin with that one."""
    return all(isinstance(to, Tensor) and torch.equal(to[: len(want)], want) for to in results)


def site(kernels: Kernels, name: str, what: str, which: int = 0) -> int:
    """The number of a kernel's barrier, commit or wait."""
    lines = KERNELS.splitlines()
    first = next(i for i, line in enumerate(lines) if f"void {name}(" in line)
    ours = [i for i, line in enumerate(lines[first : lines.index("}", first)], first + 1) if what in line]
    return next(number for number, text in kernels.sites().items() if text.endswith(f"kernels.cu:{ours[which]}"))


COPIED = numbers(64).flip(0) + numbers(128)[64:].flip(0)  #: what copies makes of 128 numbers

# ---- right kernels ---------------------------------------------------------------------------------


def test_blocks_and_threads_in_every_order(kernels: Kernels) -> None:
    for choice in (*CHOICES, *(Choice(order) for order in range(3, 10))):
        for blocks, threads in ((1, 1), (3, 33), (5, 256), (1, 1024)):
            to = torch.zeros(blocks, threads)
            x = numbers(blocks * threads).view(blocks, threads)
            kernels.run("reverse", blocks, threads, x, to, shared=4 * threads, choice=choice)
            assert torch.equal(to, x.flip(1))


def test_barriers_between_rounds(kernels: Kernels) -> None:
    for choice in CHOICES:
        x, want = numbers(96), numbers(96)
        kernels.run("rounds", 1, 96, x, 5, choice=choice)
        for _ in range(5):
            want = want + want.roll(-1)
        assert torch.equal(x, want)


def test_copies_land_when_they_are_waited_for(kernels: Kernels) -> None:
    assert same(results(kernels, "copies", 64), COPIED)


def test_lanes_tell_each_other(kernels: Kernels) -> None:
    x = torch.arange(64, dtype=torch.int32)
    lane, first = x % 32, x - x % 32
    for choice in CHOICES:
        to = torch.zeros(6, 64, dtype=torch.int32)
        kernels.run("shuffles", 1, 64, x, to, choice=choice)
        votes = [sum(1 << (i % 32) for i in range(start, start + 32) if i % 3 == 0) for start in (0, 32)]
        want = (
            first + 5,
            first + (lane ^ 3),
            torch.where(lane < 2, x, x - 2),
            torch.where(lane % 8 + 2 < 8, x + 2, x),
            torch.tensor(votes).repeat_interleave(32).to(torch.int32),
            torch.where(lane % 2 == 1, first + (lane + 2) % 32, 0),
        )
        for got, expected in zip(to, want, strict=True):
            assert got.tolist() == expected.tolist()


def test_one_place_for_all_threads(kernels: Kernels) -> None:
    total, seen, most = (torch.zeros(1, dtype=torch.int32) for _ in range(3))
    kernels.run("counts", (1, 3, 1), (20, 1, 1), total, seen, most)
    assert (total.item(), seen.item(), most.item()) == (sum(range(60)), (1 << 20) - 1, 59)


def test_parameters_have_the_kernels_types(kernels: Kernels) -> None:
    class Struct(ctypes.Structure):
        _fields_ = (("first", ctypes.c_float), ("rest", ctypes.c_float * 4), ("last", ctypes.c_float))

    out = torch.zeros(8, dtype=torch.float64)
    struct = Struct(0.5, (ctypes.c_float * 4)(), -2.0)
    kernels.run("types", 1, 1, -3, 65535, -(1 << 31), 1 << 62, 0.1, 0.1, struct, out)
    assert out.tolist() == [-3, 65535, -(1 << 31), 1 << 62, torch.tensor(0.1).item(), 0.1, 0.5, -2.0]


def test_subnormals_are_kept_whatever_the_caller_flushes(kernels: Kernels) -> None:
    x = torch.tensor([2.0**-149, 2.0**-149])
    flushed = torch.set_flush_denormal(True)
    try:
        if not flushed:
            pytest.skip("this CPU cannot flush subnormals")
        kernels.run("rounds", 1, 2, x, 1)
        still_flushed = (torch.tensor([2.0**-140]) * 1.0 == 0).item()
    finally:
        torch.set_flush_denormal(False)
    assert x.view(torch.int32).tolist() == [2, 2]
    assert still_flushed, "the caller's setting stays"


# ---- planted faults --------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["commit_copies", "wait_copies", "__syncthreads"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_wait_or_barrier_changes_results(kernels: Kernels, what: str, which: int) -> None:
    assert same(results(kernels, "copies", 64), COPIED)
    assert not same(results(kernels, "copies", 64, site(kernels, "copies", what, which)), COPIED)


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_barrier_between_rounds_changes_results(kernels: Kernels, which: int) -> None:
    right = numbers(96)
    kernels.run("rounds", 1, 96, right, 5)
    seen = []
    for choice in CHOICES:
        x = numbers(96)
        kernels.run(
            "rounds", 1, 96, x, 5, choice=choice._replace(without=site(kernels, "rounds", "__syncthreads", which))
        )
        seen.append(torch.equal(x, right))
    assert not all(seen)


def test_a_race_between_warps_changes_results(kernels: Kernels) -> None:
    assert not same(results(kernels, "race_between_warps", 64), numbers(64).flip(0))
    assert same(results(kernels, "race_between_warps", 32), numbers(32).flip(0)), "within one it is none"


def test_a_race_between_blocks_changes_results(kernels: Kernels) -> None:
    last = torch.zeros(len(CHOICES), dtype=torch.int32)
    for choice, place in zip(CHOICES, last, strict=True):
        kernels.run("race_between_blocks", 7, 1, place, choice=choice)
    assert {0, 6} <= {*last.tolist()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("copy_without_wait", "copies are on their way"),
        ("copy_not_aligned", "16 bytes is not aligned"),
        ("divergent_return", "thread 40 has returned"),
        ("divergent_sites", "divergent: thread 0 waits at __syncthreads kernels.cu:"),
        ("divergent_lanes", "divergent: lane 1 waits for others at __syncwarp"),
    ],
)
def test_what_no_gpu_need_carry_out_is_an_error(kernels: Kernels, name: str, message: str) -> None:
    for choice in CHOICES:
        with pytest.raises(SimulationError, match=message):
            kernels.run(name, 1, 64, numbers(64), torch.zeros(64), shared=512, choice=choice)


def test_shared_memory_has_an_end(kernels: Kernels) -> None:
    kernels.run("write_beyond", 1, 64, None, None, shared=256)
    with pytest.raises(SimulationError, match="beyond its 252 bytes"):
        kernels.run("write_beyond", 1, 64, None, None, shared=252)


def test_blocks_that_no_gpu_launches(kernels: Kernels) -> None:
    with pytest.raises(SimulationError, match="no GPU launches"):
        kernels.run("counts", 1, 1025, None, None, None)
