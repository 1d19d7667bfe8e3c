"""Products in quires by the kernels of quires.cu and residues.cu on the CPU, by refnum, and operands of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import torch
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError  # before refnum_cuda, which it finds
from torch import Tensor

from refnum import Posit
from refnum.boundary import container
from refnum.sums import quires as definition
from refnum_cuda import quires

Files = dict[str, Kernels]
Launches = Iterator[tuple[Any, ...]]

BY_RESIDUES = [
    Posit(8),
    Posit(16),
    Posit(3),
    Posit(5),
    Posit(8, 0),
    Posit(9, 1),
    Posit(13),
    Posit(9, 3),
    Posit(17, 0),
    Posit(20, 1),
]
BY_REGISTERS = [
    *BY_RESIDUES,
    Posit(2, 0),
    Posit(20),
    Posit(24, 0),
    Posit(32),
    Posit(32, 0),
    Posit(27, 1),
    Posit(16, 3),
    Posit(9, 4),
]
GPU = quires.Gpu(2, "sm_80")


@lru_cache(maxsize=1)
def the_files() -> Files:
    """Both, on the CPU."""
    names = {stem: sorted({k.name for k in quires.KERNELS if k.stem == stem}) for stem in ("quires", "residues")}
    return {stem: Kernels.of_file(f"{stem}.cu", *found) for stem, found in names.items()}


# ---- how they are run ------------------------------------------------------------------------------


def run(files: Files, launches: Launches, choice: Choice = CHOICES[0]) -> None:
    """Carry out launches, one after the other."""
    for kernel, grid, block, shared, *arguments in launches:
        files[kernel.stem].run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)


def guarded(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A result, and what is around it."""
    size = torch.Size(shape).numel()
    around = torch.full((size + 64,), 7, dtype=dtype)
    return around[32 : 32 + size].view(shape), around


def multiplied(
    files: Files,
    way: str,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    fmt: Posit,
    dtype: torch.dtype | None = None,
    choice: Choice = CHOICES[0],
) -> Tensor:
    """Products of matrices, by residues or by registers."""
    dtype = dtype or (a.dtype if a.is_floating_point() else container(fmt))
    out, around = guarded((a.shape[-2], b.shape[-1]), dtype)
    x, y, to, z = a[None], b.mT[None], out[None], None if c is None else c[None]
    launches = (
        quires.ByResidues(x, y, z, to, fmt, GPU).launches()
        if way == "residues"
        else quires.by_registers(x, y, z, to, fmt)
    )
    run(files, launches, choice)
    assert torch.cat([around[:32], around[-32:]]).eq(7).all(), "it writes the result alone"
    return out


def wanted(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, dtype: torch.dtype | None = None) -> Tensor:
    """The same by the definition."""
    dtype = dtype or (a.dtype if a.is_floating_point() else None)
    return definition.mm_by_registers(a, b, c, fmt, dtype)


def patterns(fmt: Posit, *shape: int, seed: int = 0, nar: bool = False) -> Tensor:
    """Random patterns of all magnitudes."""
    draw = torch.Generator().manual_seed(seed)
    bits = torch.randint(-(1 << (fmt.n - 1)) + (not nar), 1 << (fmt.n - 1), shape, generator=draw)
    return bits.to(container(fmt))


def cancelling(fmt: Posit, rows: int, terms: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Operands whose products cancel but for minpos squared."""
    a, b = patterns(fmt, rows, terms, seed=seed), patterns(fmt, terms, columns, seed=seed + 1)
    one = torch.ones(1, 1, dtype=a.dtype)
    return torch.cat([a, one.expand(rows, 1), -a], 1), torch.cat([b, one.expand(1, columns), b])


def spread(x: Tensor) -> Tensor:
    """Every other element of a larger tensor that has NaR or 7 around."""
    larger = torch.full([2 * size + 1 for size in x.shape], 7, dtype=x.dtype)
    larger[tuple(slice(1, None, 2) for _ in x.shape)] = x
    return larger[tuple(slice(1, None, 2) for _ in x.shape)]


def nothing_is_idle(kernels: Kernels, count: int, call: Callable[[Choice], Tensor], want: Tensor) -> None:
    """Each barrier, commit and wait that orders something is missed, by some order of threads."""

    def differs(choice: Choice) -> bool:
        try:
            return not torch.equal(call(choice), want)
        except SimulationError:
            return True

    assert not any(differs(choice) for choice in CHOICES[::2])
    sites = {i: what for i, what in kernels.sites().items() if re.match("__syncthreads|.*_copies|wait_sums", what)}
    assert len(sites) == count
    for number, what in sites.items():
        assert any(differs(choice._replace(without=number)) for choice in CHOICES[::-1]), f"nothing needs {what}"
