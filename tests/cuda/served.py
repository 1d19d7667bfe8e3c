"""Operations of refnum_cuda by their kernels: simulated, or on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cuda import simulate  # before refnum_cuda, which it finds
from refnum_cuda.serving import Operation, _differing
from torch import Tensor

from refnum_cuda import launch, modules

PLACES = ["cpu"] + [pytest.param("cuda", marks=pytest.mark.gpu)] * torch.cuda.is_available()


class Serve:
    """Operations by their kernels, simulated or on a GPU, against their definitions on the CPU."""

    def __init__(self, place: str, *operations: Operation) -> None:
        self.device, self.turns = torch.device(place, 0) if place == "cuda" else torch.device("cpu"), 0
        if place == "cuda":
            assert modules.obstacle(0) is None
        else:
            names: dict[str, set[str]] = {}
            for kernel in (kernel for each in operations for kernel in each.launches):
                names.setdefault(kernel.stem, set()).add(kernel.name)
            self.kernels = {stem: simulate.Kernels.of_file(f"{stem}.cu", *sorted(some)) for stem, some in names.items()}

    def launch(self, kernel: launch.Kernel, grid: Any, block: Any, shared: int, *arguments: Any) -> None:
        self.turns += 1
        choice = simulate.CHOICES[self.turns % len(simulate.CHOICES)]
        self.kernels[kernel.stem].run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)

    def __call__(self, operation: Operation, *arguments: Any) -> Tensor:
        """What the kernel gives."""
        assert operation.covers(*arguments)
        moved = [placed(x, self.device) if isinstance(x, Tensor) else x for x in arguments]
        if self.device.type == "cuda":
            with launch.place(self.device):
                return operation.kernel(*moved).cpu()
        return operation.kernel(*moved)

    def assert_right(self, operation: Operation, *arguments: Any) -> None:
        """Its bits are those of the definition."""
        what = [x.shape if isinstance(x, Tensor) else x for x in arguments]
        assert not _differing(self(operation, *arguments), operation.reference(*arguments)), what


def placed(x: Tensor, device: torch.device) -> Tensor:
    """The same view of the same storage on a device."""
    if device.type == "cpu":
        return x
    storage = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).to(device)
    return storage.as_strided(x.shape, x.stride(), x.storage_offset())
