"""Where kernels run: as they are on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from cuda import bridge, simulate  # noqa: F401 - bridge before refnum_cuda, which it finds
from torch import Tensor

from refnum_cuda import launch, modules, warpgroups

PLACES = ["cpu"] + [pytest.param("cuda", marks=pytest.mark.gpu)] * torch.cuda.is_available()


class Simulated:
    """Kernels of one file on the CPU."""

    device = torch.device("cpu")

    def __init__(self, kernels: Sequence[launch.Kernel]) -> None:
        names = sorted(kernel.name for kernel in kernels)  # as the stage has them, with which it is compiled once
        self._kernels = simulate.Kernels.of_file(f"{kernels[0].stem}.cu", *names)

    def run(self, kernel: launch.Kernel, grid: int, block: int, *arguments: Any) -> None:
        """Run one of the kernels."""
        self._kernels.run(kernel.name, grid, block, *arguments)


class Launched:
    """Kernels on a GPU."""

    device = torch.device("cuda", 0)

    def __init__(self, kernels: Sequence[launch.Kernel]) -> None:
        assert modules.obstacle(self.device.index) is None

    def run(self, kernel: launch.Kernel, grid: int, block: int, *arguments: Any) -> None:
        """Launch one of the kernels."""
        with launch.place(self.device):
            launch.launch(kernel, (grid, 1, 1), (block, 1, 1), 0, *arguments)


Kernels = Simulated | Launched


def need_hopper() -> None:
    """Skip where the files of sm_90a do not serve the GPU."""
    if modules.obstacle(0) or modules.served_by(0) != warpgroups.TARGET:
        pytest.skip("the files of sm_90a do not serve this GPU")


def at(place: str, kernels: Sequence[launch.Kernel]) -> Kernels:
    """The kernels of one file, at a place."""
    return (Simulated if place == "cpu" else Launched)(kernels)


def placed(x: Tensor, device: torch.device) -> Tensor:
    """The same view of the same storage on a device."""
    if device.type == "cpu":
        return x
    storage = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).to(device)
    return storage.as_strided(x.shape, x.stride(), x.storage_offset())
