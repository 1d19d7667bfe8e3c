"""Ranks of a process group that agree before they add: all of them go on, or every one raises the error.

1. A header of one size, whatever it says, comes first: what a rank is about to do, or the error of its own checks.
2. Every rank reads all headers and compares them in the same way, so that all raise or none does. No rank then waits
   for one that has given up.
3. What follows are collectives whose shapes and dtypes the headers have settled, of integers alone.

A rank that never calls, or that dies, is noticed by the transport: at once if its connection closes, else after the
timeout of the group (`torch.distributed.init_process_group(timeout=...)`; by default 30 minutes, 10 for NCCL).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import BackendError, ContractError, DTypeError, RefnumError, ShapeError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup  # a torch without it has no process group to name

HEADER = 2048  #: bytes
TEXT = 300  #: characters of an error that fit, whatever they are
#: errors of a rank's own checks, which the other ranks raise, too
SHARED: dict[str, type[RefnumError]] = {error.__name__: error for error in (ShapeError, DTypeError, ContractError)}
#: what must be equal on all ranks, and the error if it is not
EQUAL: dict[str, type[RefnumError]] = {
    "function": ContractError,
    "contract": ContractError,
    "dtype": DTypeError,
    "shape": ShapeError,
    "axis": ShapeError,
    "digest of parameters": ShapeError,
    "digest of weights": ContractError,
}

Facts = Mapping[str, Any]  #: what JSON can say
T = TypeVar("T")


def position(function: str, group: ProcessGroup | None) -> tuple[int, int]:
    """The rank of this process in the group, and how many there are; no group is the default one."""
    if not dist.is_available() or not dist.is_initialized():
        raise BackendError(
            f"{function} needs a process group, and torch.distributed has none here. Allowed is any backend. Call "
            "torch.distributed.init_process_group first."
        )
    rank = dist.get_rank(group)
    if rank < 0:
        raise BackendError(
            f"{function} got a process group that this process is no member of. Allowed are groups of this rank. Call "
            "it on the members alone."
        )
    return rank, dist.get_world_size(group)


def agree(function: str, group: ProcessGroup | None, prepare: Callable[[], tuple[T, Facts]]) -> tuple[T, list[Facts]]:
    """What ``prepare`` returns, and the facts of all ranks, in their order; every rank raises if one cannot go on."""
    rank, count = position(function, group)
    try:
        result, facts = prepare()
    except tuple(SHARED.values()) as error:
        refuse(function, group, error)
        raise
    headers = _exchange(function, group, count, {"function": function, **facts})
    for other, header in enumerate(headers):
        if "error" in header:
            kind = SHARED.get(header["error"], BackendError)
            raise kind(f"{function} on rank {rank}: rank {other} cannot go on, {header['error']}: {header['text']}")
    for key, kind in EQUAL.items():
        first, *others = (header.get(key) for header in headers)
        for other, value in enumerate(others, 1):
            if value != first:
                raise kind(
                    f"{function} needs one {key} on all ranks, got {first} on rank 0 and {value} on rank {other}. They "
                    "must be equal. Pass the same on every rank."
                )
    return result, headers


def refuse(function: str, group: ProcessGroup | None, error: Exception) -> None:
    """Tell the other ranks, wherever they agree next, that this one cannot go on."""
    _exchange(function, group, position(function, group)[1], {"error": type(error).__name__, "text": str(error)[:TEXT]})


def check_transport(function: str, group: ProcessGroup | None, x: Tensor) -> None:
    """The group's backend carries tensors of this device."""
    if dist.get_backend(group) == "nccl" and x.device.type != "cuda":
        raise DTypeError(
            f"{function} cannot send tensors on {x.device} by NCCL. Allowed are those on CUDA devices. Move the "
            "operands there, or use a gloo group."
        )


def _exchange(function: str, group: ProcessGroup | None, count: int, facts: Facts) -> list[Facts]:
    """The facts of all ranks."""
    text = json.dumps(facts).encode("ascii").ljust(HEADER)
    nccl = dist.get_backend(group) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")
    mine = torch.tensor(list(text), dtype=torch.uint8, device=device)
    headers = [torch.empty_like(mine) for _ in range(count)]
    with _connected(function):
        dist.all_gather(headers, mine, group)
    return [json.loads(bytes(header.tolist())) for header in headers]


@contextmanager
def _connected(function: str) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise BackendError(
            f"{function} has lost a rank of its process group: {str(error).splitlines()[0]} All ranks must call it, in "
            "one order, within the group's timeout. Look at the others' errors and start the group again."
        ) from error


# ---- collectives of what has been agreed on ------------------------------------------------------


def all_reduce(function: str, group: ProcessGroup | None, x: Tensor, operation: str) -> Tensor:
    """Sums ("SUM") or maxima ("MAX") over all ranks."""
    total = x.clone(memory_format=torch.contiguous_format)
    with _connected(function):
        dist.all_reduce(total, getattr(dist.ReduceOp, operation), group)
    return total


def reduce_scatter(function: str, group: ProcessGroup | None, x: Tensor, operation: str, axis: int) -> Tensor:
    """The part of this rank, all parts being equal along an axis, of sums or maxima over all ranks."""
    parts = [part.contiguous() for part in x.tensor_split(dist.get_world_size(group), axis)]
    total = torch.empty_like(parts[0])
    with _connected(function):
        dist.reduce_scatter(total, parts, getattr(dist.ReduceOp, operation), group)
    return total


def all_gather(function: str, group: ProcessGroup | None, x: Tensor, axis: int) -> Tensor:
    """The tensors of all ranks, of one shape, behind each other along an axis: their bytes, as they are."""
    mine = x.detach().contiguous().view(torch.uint8)
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    with _connected(function):
        dist.all_gather(parts, mine, group)
    return torch.cat([part.view(x.dtype) for part in parts], axis)
