"""Launches on torch's current device and stream: no synchronisation, no memory but torch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import driver, modules

Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Kernel:
    """One entry point of csrc."""

    stem: str  #: the file, csrc/<stem>.cu
    name: str  #: of the function
    parameters: tuple[type[Any], ...]  #: their ctypes types; a tensor, or None, passes as c_void_p

    def values(self, arguments: tuple[Any, ...]) -> list[Any]:
        """The arguments as ctypes objects: fresh ones for every launch, so that threads share none."""
        return [_value(kind, argument) for kind, argument in zip(self.parameters, arguments, strict=True)]


def _value(kind: type[Any], argument: Any) -> Any:
    if isinstance(argument, kind):
        return argument
    return kind(argument.data_ptr() if isinstance(argument, Tensor) else argument)


def ordinal(device: torch.device) -> int:
    """The driver's number of a device: that of torch."""
    return int(device.index)


@contextmanager
def place(device: torch.device) -> Iterator[None]:
    """Make the device torch's current one, and its context this thread's: a fresh thread may have none."""
    with torch.cuda.device(device):
        driver.ensure_context(ordinal(device))
        yield


def current() -> tuple[int, driver.Handle]:
    """Torch's device and stream, asked for each launch."""
    stream = torch.cuda.current_stream()
    return stream.device_index, stream.cuda_stream


def launch(kernel: Kernel, grid: Size, block: Size, shared: int, *arguments: Any) -> None:
    """Put a kernel on the current stream of the current device, which is that of its tensors.

    Raises
    ------
    DriverError
        When the driver refuses: then nothing was computed.
    """
    values = kernel.values(arguments)
    device, stream = current()
    function = modules.function(device, kernel.stem, kernel.name, shared)
    driver.launch(function, grid, block, shared, stream, values)
