"""The kernels of refnum_cuda on a GPU, against the reference on the CPU: ``nox -s cuda``."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from cuda import bridge  # noqa: F401 - before refnum_cuda, which it finds

import refnum
import refnum_cuda

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")]


def on_gpu(x: torch.Tensor) -> torch.Tensor:
    """An encoding by the kernel, which raises where the reference would serve."""
    with refnum.use_backend("cuda"):
        return refnum.encode(x, refnum.posit16)


@pytest.fixture(scope="module")
def values() -> tuple[torch.Tensor, torch.Tensor]:
    """Floats on the GPU, and their codes by the reference on the CPU."""
    x = torch.arange(-(1 << 31), 1 << 31, 40503, dtype=torch.int64).to(torch.int32).view(torch.float32)
    return x.cuda(), refnum.encode(x, refnum.posit16)


@pytest.mark.parametrize("layout", ["plain", "every third", "transposed"])
def test_every_layout_has_the_references_bits(values: tuple[torch.Tensor, torch.Tensor], layout: str) -> None:
    views = {
        "plain": lambda t: t,
        "every third": lambda t: t[::3],
        "transposed": lambda t: t[: 1 << 16].view(256, 256).mT,
    }
    x, want = map(views[layout], values)
    assert torch.equal(on_gpu(x).cpu(), want)


def test_a_fresh_thread_has_a_context(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(on_gpu(values[0]).cpu()))
    thread.start()
    thread.join()
    assert torch.equal(found[0], values[1])


def test_autograds_own_thread_has_a_context(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> torch.Tensor:
            return on_gpu(upstream[0]).float()

    x = torch.zeros(len(values[0]), device="cuda", requires_grad=True)
    Backward.apply(x).backward(values[0])
    assert x.grad is not None
    assert torch.equal(x.grad.cpu(), values[1].float())


def test_a_side_stream_is_used(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        got = on_gpu(values[0])
    side.synchronize()
    assert torch.equal(got.cpu(), values[1])


def test_a_captured_graph_gives_the_bits_again(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    refnum_cuda.warmup()
    x, graph = torch.zeros_like(values[0]), torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        codes = refnum.encode(x, refnum.posit16)
    x.copy_(values[0])
    graph.replay()
    assert torch.equal(codes.cpu(), values[1])


def test_every_device_is_served(values: tuple[torch.Tensor, torch.Tensor]) -> None:
    for device in range(torch.cuda.device_count()):
        assert torch.equal(on_gpu(values[0].to(device)).cpu(), values[1])


def test_more_than_2_to_31_elements_are_indexed() -> None:
    count = (1 << 31) + 12345
    if torch.cuda.mem_get_info()[0] < 5 * count:
        pytest.skip("the GPU has no 11 GB to spare")
    x = torch.zeros(count, dtype=torch.float16, device="cuda")
    x[-1], x[1 << 31] = 1.0, -1.0
    codes = on_gpu(x)
    assert codes[[0, 1 << 31, -1]].tolist() == [0, -16384, 16384]


@pytest.mark.parametrize("contract", ["chain/v1", "tree/v1(Kc=256)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 385, 33), (16, 64, 40), (130, 257, 129), (129, 100, 3)])
def test_products_of_every_layout_have_the_references_bits(
    contract: str, dtype: torch.dtype, shape: tuple[int, int, int]
) -> None:
    m, k, n = shape
    random = torch.Generator(device="cpu").manual_seed(m)
    a, b = (torch.randn(size, generator=random, dtype=torch.float32).to(dtype) for size in ((m, k), (n, k)))
    want = refnum.gemm(a, b.mT, contract=contract)
    with refnum.use_backend("cuda"):
        got = refnum.gemm(a.cuda(), b.cuda().mT, contract=contract)
    assert torch.equal(got.cpu(), want)
