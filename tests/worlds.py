"""Jobs for the ranks of real process groups, and what runs them: ``python worlds.py JOB WORLD`` prints JSON.

The interpreter forks its ranks before any of them computes, so that torch is imported once. Every rank reports the
value of its job, or the error that it raised.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from float_sums import Draw, operands
from torch import Tensor

import refnum
from refnum import nn
from refnum.sums import ranks
from refnum.sums.digits import exact_partial
from refnum.sums.parallel import column_parallel_mm, row_parallel_mm
from refnum.sums.partial import MOST, ExactPartial

SECONDS = 60  #: after which a group gives up
KINDS = ("normal", "wide", "cancelling", "ties", "specials", "zeros of one sign", "finite bits")
M, K, N = 6, 22, 8

Job = Callable[[int, int], Any]  #: rank, world -> what JSON can say


def fingerprint(*tensors: Tensor) -> str:
    """A digest of bytes."""
    found = hashlib.sha256()
    for x in tensors:
        found.update(x.detach().contiguous().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def forms_of(total: ExactPartial) -> list[Any]:
    """A partial sum in its one form."""
    form = total.normalized()
    return [form.least, form.empty, fingerprint(form.digits, form.flags)]


# ---- jobs that must not depend on the world -------------------------------------------------------


def products(rank: int, world: int) -> dict[str, Any]:
    """Products whose summed axis, or whose columns, are shared."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        a, b, bias = operands(kind, M, K, N)
        x, y = a.tensor_split(world, 1)[rank], b.tensor_split(world, 0)[rank]
        for dtype in (torch.float32, torch.bfloat16):
            found[f"row {kind} {dtype}"] = fingerprint(row_parallel_mm(x, y, bias, out_dtype=dtype))
        part = exact_partial(x, y, bias if rank == 0 else None)
        found[f"digits {kind}"] = forms_of(part.all_reduce())
        own = part.reduce_scatter(axis=-1).round(torch.float32)
        columns = [torch.empty_like(own) for _ in range(world)]
        dist.all_gather(columns, own)
        found[f"scattered {kind}"] = fingerprint(torch.cat(columns, -1))
        width = N // world
        mine = slice(rank * width, (rank + 1) * width)
        for contract in ("chain/v1", "exact/v1"):
            whole = column_parallel_mm(a, b[:, mine], bias[mine], contract=contract)
            found[f"column {kind} {contract}"] = fingerprint(whole)
    return found


def products_alone() -> dict[str, Any]:
    """The same from one process without a group."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        a, b, bias = operands(kind, M, K, N)
        for dtype in (torch.float32, torch.bfloat16):
            found[f"row {kind} {dtype}"] = fingerprint(refnum.gemm(a, b, bias, contract="exact/v1", out_dtype=dtype))
        found[f"digits {kind}"] = forms_of(exact_partial(a, b, bias))
        found[f"scattered {kind}"] = fingerprint(refnum.gemm(a, b, bias, contract="exact/v1"))
        for contract in ("chain/v1", "exact/v1"):
            found[f"column {kind} {contract}"] = fingerprint(refnum.gemm(a, b, bias, contract=contract))
    return found


# ---- layers and training --------------------------------------------------------------------------

EXACT = "exact/v1"
#: contracts of a layer whose output, or the gradient of whose input, is shared; the others have an order
SHARED: dict[str, dict[str, Any]] = {
    "row": {"contract": EXACT, "grad_contract": {"input": "chain/v1", "weight": "chain/v1", "bias": EXACT}},
    "column": {"contract": "chain/v1", "grad_contract": {"input": EXACT, "weight": EXACT, "bias": "chain/v1"}},
}
WIDTH, OUT, ROWS = 12, 8, 24


def linear(width: int, out: int, seed: int, **contracts: Any) -> nn.Linear:
    """A layer with the same weights on every machine."""
    layer, draw = nn.Linear(width, out, dtype=torch.float32, device="cpu", **contracts), Draw(seed)
    with torch.no_grad():
        layer.weight.copy_(draw.normal(out, width))
        layer.bias.copy_(draw.normal(out))
    return layer


def passed(module: torch.nn.Module, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and gradient of the input."""
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(dy)
    assert x.grad is not None
    return y, x.grad


def layers_alone() -> dict[str, Any]:
    """What layers give that are not shared."""
    draw, found = Draw(11), {}
    x, dy = draw.normal(2, 5, WIDTH), draw.normal(2, 5, OUT)
    for style, contracts in SHARED.items():
        layer = linear(WIDTH, OUT, 5, **contracts)
        y, dx = passed(layer, x, dy)
        found[style] = [fingerprint(t) for t in (y, dx, layer.weight.grad, layer.bias.grad)]
    first, second = linear(WIDTH, OUT, 6, **SHARED["column"]), linear(OUT, WIDTH, 7, **SHARED["row"])
    y, dx = passed(torch.nn.Sequential(first, torch.nn.ReLU(), second), x, x)
    found["both"] = [fingerprint(t) for t in (y, dx, first.weight.grad, second.weight.grad)]
    return found


def layers(rank: int, world: int) -> dict[str, Any]:
    """The same layers, shared."""

    def whole(part: Tensor, axis: int) -> Tensor:
        return ranks.all_gather("whole", None, part, axis)

    draw, found = Draw(11), {}
    x, dy = draw.normal(2, 5, WIDTH), draw.normal(2, 5, OUT)
    for style, contracts in SHARED.items():
        layer = nn.parallelize(linear(WIDTH, OUT, 5, **contracts), style=style)
        y, dx = passed(layer, x, dy)
        axis = 1 if style == "row" else 0
        weight, bias = whole(layer.weight.grad, axis), layer.bias.grad
        found[style] = [fingerprint(t) for t in (y, dx, weight, bias if style == "row" else whole(bias, 0))]
    first = nn.parallelize(linear(WIDTH, OUT, 6, **SHARED["column"]), style="column", sharded=True)
    second = nn.parallelize(linear(OUT, WIDTH, 7, **SHARED["row"]), style="row", sharded=True)
    y, dx = passed(torch.nn.Sequential(first, torch.nn.ReLU(), second), x, x)
    found["both"] = [fingerprint(t) for t in (y, dx, whole(first.weight.grad, 0), whole(second.weight.grad, 1))]
    return found


def trained(rank: int, world: int, micro: int, group: dist.ProcessGroup | None) -> str:
    """A network after three steps; this rank has its part of every batch, and cuts it in micro-batches."""
    draw = Draw(9)
    x, target = draw.normal(3, ROWS, WIDTH), draw.normal(3, ROWS, 4)
    model = torch.nn.Sequential(linear(WIDTH, 16, 1), torch.nn.ReLU(), linear(16, 4, 2))
    for batch, wanted in zip(x, target, strict=True):
        own = [part.tensor_split(world)[rank].split(micro) for part in (batch, wanted)]
        with nn.accumulate(model, group=group):
            for rows, want in zip(*own, strict=True):
                ((model(rows) - want) ** 2).sum().div(ROWS).backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.01 * p.grad
                p.grad = None
    return fingerprint(*model.parameters())


def training(rank: int, world: int) -> list[str]:
    """In micro-batches of several sizes."""
    return [trained(rank, world, micro, dist.group.WORLD) for micro in (1, 4, ROWS)]


# ---- jobs in which a rank goes wrong --------------------------------------------------------------


def _raised(call: Callable[[], object]) -> list[str]:
    try:
        call()
    except refnum.RefnumError as error:
        return [type(error).__name__, str(error)]
    return ["", ""]


def refusals(rank: int, world: int) -> dict[str, list[str]]:
    """The last rank does something else than the others: what each rank is told. Then all go on."""
    odd = rank == world - 1
    a, b = torch.ones(2, 3, dtype=torch.float32), torch.ones(3, 4, dtype=torch.float32)

    def square(size: int) -> ExactPartial:
        return exact_partial(a[:1].T.expand(3, size).T, a[:1].T.expand(3, size))

    cases: dict[str, Callable[[], object]] = {
        "inner": lambda: row_parallel_mm(a, b[:2] if odd else b),
        "outer": lambda: row_parallel_mm(a, b[:, :2] if odd else b),
        "batch": lambda: row_parallel_mm(a[None] if odd else a, b),
        "not a tensor": lambda: row_parallel_mm(a.tolist() if odd else a, b),  # type: ignore[arg-type]
        "operand": lambda: row_parallel_mm(a.int() if odd else a, b),
        "dtype": lambda: row_parallel_mm(a.double() if odd else a, b),
        "out_dtype": lambda: row_parallel_mm(a, b, out_dtype=torch.float16 if odd else None),
        "gradient": lambda: row_parallel_mm(a.clone().requires_grad_(odd), b),
        "function": lambda: exact_partial(a, b).all_reduce() if odd else row_parallel_mm(a, b),
        "contract": lambda: column_parallel_mm(a, b, contract="exact/v1" if odd else "chain/v1"),
        "no contract": lambda: column_parallel_mm(a, b, contract="chain/v9" if odd else "chain/v1"),
        "columns": lambda: column_parallel_mm(a, b[:, :2] if odd else b),
        "axis": lambda: square(world).reduce_scatter(axis=-1 if odd else -2),
        "no axis": lambda: square(world).reduce_scatter(axis=0 if odd else -2),
        "indivisible": lambda: square(world + 1).reduce_scatter(),
        "partial": lambda: exact_partial(a, b[:, :2] if odd else b).all_reduce(),
        "none": lambda: row_parallel_mm(a, b),
    }
    return {name: _raised(call) for name, call in cases.items()}


def layer_refusals(rank: int, world: int) -> dict[str, list[str]]:
    """The last rank has another layer, or input, or leaves its context by an error."""
    odd = rank == world - 1
    x = torch.ones(4, WIDTH, dtype=torch.float32)
    plain, row, column = (linear(WIDTH, OUT, 5, **contracts) for contracts in ({}, SHARED["row"], SHARED["column"]))
    other, shared = linear(WIDTH, OUT, 6, **SHARED["row"]), nn.parallelize(row, style="row")

    def unequal() -> None:
        with nn.accumulate([plain.weight] if odd else [plain.bias], group=dist.group.WORLD):
            pass

    def leaving() -> None:
        with nn.accumulate(plain, group=dist.group.WORLD):
            if odd:
                raise refnum.ShapeError("a rank's own")

    def lost() -> None:
        with nn.accumulate(plain, group=dist.group.WORLD):
            plain(x).sum().backward()
            plain.weight.grad = torch.ones_like(plain.weight) if odd else None

    cases: dict[str, Callable[[], object]] = {
        "weights": lambda: nn.parallelize(other if odd else row, style="row"),
        "style": lambda: nn.parallelize(row, style="column" if odd else "row"),
        "no style": lambda: nn.parallelize(row, style="diagonal" if odd else "row"),
        "chain": lambda: nn.parallelize(column, style="row"),
        "chain back": lambda: nn.parallelize(plain, style="column"),
        "torch": lambda: nn.parallelize(torch.nn.Linear(2, 2) if odd else row, style="row"),  # type: ignore[arg-type]
        "axis": lambda: nn.parallelize(linear(WIDTH, world + 1, 5, **SHARED["column"]), style="column"),
        "input": lambda: shared(x[:, :-1] if odd else x),
        "rows": lambda: shared(x[:-1] if odd else x),
        "dtype": lambda: shared(x.double() if odd else x),
        "list": lambda: shared(x.tolist() if odd else x),
        "unequal": unequal,
        "leaving": leaving,
        "lost": lost,
        "none": lambda: shared(x),
    }
    return {name: _raised(call) for name, call in cases.items()}


def strangers(rank: int, world: int) -> list[str]:
    """A group is used by a rank that is not in it."""
    group = dist.new_group([0])
    a = torch.ones(2, 2, dtype=torch.float32)
    return _raised(lambda: row_parallel_mm(a, a, group=group))


def deserted(rank: int, world: int) -> list[Any]:
    """The last rank dies without a word, when all are connected."""
    dist.barrier()
    if rank == world - 1:
        time.sleep(1)  # until the others have left the barrier, too
        os._exit(0)
    a = torch.ones(2, 2, dtype=torch.float32)
    return _raised(lambda: row_parallel_mm(a, a))


def late(rank: int, world: int) -> list[Any]:
    """The last rank is later than the timeout of the group."""
    group = dist.new_group(timeout=timedelta(seconds=1))
    if rank == world - 1:
        time.sleep(4)
        return ["", ""]
    a = torch.ones(2, 2, dtype=torch.float32)
    return _raised(lambda: row_parallel_mm(a, a, group=group))


def many_digits(rank: int, world: int) -> list[Any]:
    """Sums that are about to overflow are carried before they are added over ranks."""
    a = Draw(3).normal(4, 4)
    part = exact_partial(a, a)
    for _ in range(29):
        part = part + part
    return [part.bound == MOST, forms_of(part.all_reduce())]


JOBS: dict[str, Job] = {
    job.__name__: job
    for job in (products, layers, training, refusals, layer_refusals, strangers, deserted, late, many_digits)
}

LOSSES = ("deserted", "late")  #: jobs that end without all ranks


# ---- running them ---------------------------------------------------------------------------------


def _work(name: str, rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    init, timeout = f"file://{folder}/store", timedelta(seconds=SECONDS)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world, timeout=timeout)
    Path(folder, f"{rank}.json").write_text(json.dumps(JOBS[name](rank, world)))
    if name not in LOSSES:
        dist.barrier()  # so that no rank leaves while another one still connects
    os._exit(0)  # a group of which ranks are missing may not end


def _worlds(jobs: Sequence[tuple[str, int]]) -> Iterator[list[Any]]:
    """What the ranks of worlds report, which all run at a time; None of a rank that has died."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as home:
        folders = [tempfile.mkdtemp(dir=home) for _ in jobs]
        processes = [
            fork.Process(target=_work, args=(name, rank, world, folder))
            for (name, world), folder in zip(jobs, folders, strict=True)
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(SECONDS + 20)
            process.kill()
        for (_, world), folder in zip(jobs, folders, strict=True):
            files = [Path(folder, f"{rank}.json") for rank in range(world)]
            yield [json.loads(file.read_text()) if file.exists() else None for file in files]


def run(jobs: Sequence[tuple[str, int]]) -> list[list[Any]]:
    """Jobs, each by the ranks of a world, in a fresh interpreter."""
    arguments = [f"{name}:{world}" for name, world in jobs]
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    reports: list[list[Any]] = json.loads(done.stdout.splitlines()[-1])  # behind what Gloo prints
    return reports


if __name__ == "__main__":
    named = (job.split(":") for job in sys.argv[1:])
    print(json.dumps(list(_worlds([(name, int(world)) for name, world in named]))))
