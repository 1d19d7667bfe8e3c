"""Train a network in micro-batches of 1, 4 and 32 rows, by 1, 2 and 4 processes: the weights are the same, bit by bit.

Each process has its part of every batch. `nn.accumulate` keeps the gradients exact over micro-batches and processes and
rounds each once; every other step works row by row. With torch's own layers and an all-reduce of float32 gradients the
weights depend on both. Run it: python examples/world_sizes.py
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor

from refnum import nn

BATCH, STEPS = 32, 3
START = "fork" if sys.platform == "linux" else "spawn"  # a fork imports nothing again
WORLDS, MICRO_BATCHES = (1, 2, 4), (1, 4, 32)


def network(linear: type[torch.nn.Linear]) -> torch.nn.Sequential:
    """The same initial weights everywhere."""
    torch.manual_seed(0)
    return torch.nn.Sequential(linear(20, 32), torch.nn.ReLU(), linear(32, 4))


def own_micro_batches(x: Tensor, size: int) -> tuple[Tensor, ...]:
    """The rows of this process, some at a time."""
    return x.tensor_split(dist.get_world_size())[dist.get_rank()].split(size)


def backward(model: torch.nn.Module, x: Tensor, target: Tensor, size: int) -> None:
    """Gradients of the mean over the whole batch, micro-batch by micro-batch."""
    for rows, wanted in zip(own_micro_batches(x, size), own_micro_batches(target, size), strict=True):
        ((model(rows) - wanted) ** 2).sum().div(BATCH).backward()


def trained(exact: bool, size: int) -> str:
    """A digest of the weights after some steps."""
    model = network(nn.Linear if exact else torch.nn.Linear)
    draw = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(BATCH, 20, generator=draw)
        target = torch.randn(BATCH, 4, generator=draw)
        if exact:
            with nn.accumulate(model, group=dist.group.WORLD):
                backward(model, x, target, size)
        else:
            backward(model, x, target, size)
            for p in model.parameters():
                dist.all_reduce(p.grad)
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.05 * p.grad
                p.grad = None
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    return hashlib.sha256(weights).hexdigest()[:16]


def work(rank: int, world: int, folder: str) -> None:
    """What one process does."""
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=timedelta(minutes=2))
    lines = [
        f"{'refnum' if exact else 'torch'} {size} {trained(exact, size)}"
        for exact in (True, False)
        for size in MICRO_BATCHES
    ]
    Path(folder, str(rank)).write_text("\n".join(lines))
    dist.destroy_process_group()


def main() -> None:
    """Print a digest of the weights for each number of processes and each size of micro-batches."""
    found: dict[str, Counter[str]] = {"refnum": Counter(), "torch": Counter()}
    print(f"{'layers':>8} {'processes':>9} {'micro-batch':>11}  weights")
    for world in WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            processes.start_processes(work, (world, folder), nprocs=world, start_method=START)
            for rank in range(world):
                for line in Path(folder, str(rank)).read_text().splitlines():
                    layers, size, digest = line.split()
                    found[layers][digest] += 1
                    if rank == 0:
                        print(f"{layers:>8} {world:>9} {size:>11}  {digest}")
    for layers, digests in found.items():
        print(f"{layers}: {digests.total()} networks, {len(digests)} different")


if __name__ == "__main__":
    main()
