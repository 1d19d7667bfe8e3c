"""How an operation is served: by its kernel, once that has shown the reference's bits, or by the reference, and why."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from ctypes import c_float, c_longlong, c_void_p
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refnum import backend
from refnum.boundary import SIGNED, without_view
from refnum.errors import BackendError

from . import driver, launch, modules


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation, with positional arguments as in its schema."""

    name: str  #: torch.ops.refnum.<name>
    reference: Callable[..., Tensor]  #: the definition, on any device
    kernel: Callable[..., Tensor]  #: the same bits, by launches
    covers: Callable[..., bool]  #: whether the kernel takes the arguments; for others the reference has the same bits
    launches: tuple[launch.Kernel, ...]  #: all that the kernel may launch
    examples: Callable[[], Iterable[tuple[Any, ...]]]  #: on the CPU, of every device: those covered there are tried


_lock = threading.RLock()
_verified: set[tuple[int, Operation | str]] = set()
_warned: set[str] = set()


def implementation(*operations: Operation) -> Callable[..., Tensor]:
    """What torch calls for the tensors of a device: of operations of one name and reference the first that covers."""
    by_reference = without_view(operations[0].reference)

    def serve(*arguments: Any) -> Tensor:
        chosen = backend.chosen()
        able = () if chosen == "reference" else (each for each in operations if each.covers(*arguments))
        operation = next(iter(able), None)
        if operation is None:
            return by_reference(*arguments)
        device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
        if why := obstacle(device):
            _say(why, chosen)
            return by_reference(*arguments)
        verify(operation, device)
        return _run(operation, device, arguments)

    return serve


def _run(operation: Operation, device: torch.device, arguments: Sequence[Any]) -> Tensor:
    try:
        with launch.place(device):
            return operation.kernel(*arguments)
    except driver.DriverError as error:
        shapes = ", ".join(str(tuple(each.shape)) for each in arguments if isinstance(each, Tensor))
        raise BackendError(
            f"refnum_cuda could not launch {operation.name} on {device} for tensors of shape {shapes}: {error}. "
            "Allowed is what the driver takes; nothing was computed instead. Look for an earlier error of this "
            "process, or set REFNUM_BACKEND=reference."
        ) from error


def _say(why: str, chosen: str) -> None:
    """The obstacle as an error where the kernels were asked for by name, else as one warning."""
    if chosen == "cuda":
        raise backend.refusal(why)
    with _lock:
        if why not in _warned:
            _warned.add(why)
            warnings.warn(f"{why}: using the reference", RuntimeWarning, stacklevel=3)


# ---- before the first launch ---------------------------------------------------------------------

PROBE = launch.Kernel("probe", "rn_probe", (c_float, c_float, c_float, c_float, c_longlong, c_void_p))


def obstacle(device: torch.device) -> str | None:
    """Why the kernels cannot serve a device; None when they can, and then the smallest of them has run there."""
    number = launch.ordinal(device)
    why = modules.obstacle(number)
    if why is None and (number, PROBE.name) not in _verified:
        with _lock:
            _probe(device)
        why = modules.obstacle(number)
    return why


def _probe(device: torch.device) -> None:
    try:
        found = _probed(device)
    except driver.DriverError:
        if modules.obstacle(launch.ordinal(device)) is None:
            raise
        return
    if found != PROBED:
        raise BackendError(
            f"refnum_cuda's kernels compute other float32 on {device} than they were written for: probe.cu gave "
            f"{found}, allowed is {PROBED}. Set REFNUM_BACKEND=reference, and tell refnum which GPU and driver it was."
        )
    _verified.add((launch.ordinal(device), PROBE.name))


def _bits(x: float) -> int:
    (bits,) = struct.unpack("<i", struct.pack("<f", x))
    return int(bits)


# P1. (1 + u)(1 - u) is 1 - u**2, which a product rounds to 1: less 1 that is 0, and fused it is -u**2.
# P2. Half the least normal float is subnormal.  P3. The halves of the last argument are 3 and 5.
UNIT, LEAST = 2.0**-23, 2.0**-126
PROBED = [_bits(0.0), _bits(-(UNIT**2)), _bits(LEAST / 2), 8]


def _probed(device: torch.device) -> list[int]:
    _not_while_capturing(PROBE.name)
    results = torch.zeros(len(PROBED), dtype=torch.int32, device=device)
    with launch.place(device):
        launch.launch(PROBE, (1, 1, 1), (32, 1, 1), 0, 1 + UNIT, 1 - UNIT, -1.0, LEAST, (3 << 32) + 5, results)
    return [int(bits) for bits in results.tolist()]


def verify(operation: Operation, device: torch.device) -> None:
    """Compare the kernel with the reference on those of the operation's examples that it covers, once per device.

    Raises
    ------
    BackendError
        When a bit differs: the operation is then refused, for bits are what it is for.
    """
    key = launch.ordinal(device), operation
    if key in _verified:
        return
    with _lock:
        _not_while_capturing(operation.name)
        for number, arguments in enumerate(operation.examples()):
            here = [_on(device, argument) for argument in arguments]
            if not operation.covers(*here):
                continue
            got = _run(operation, device, here).cpu()
            wrong = _differing(got, operation.reference(*arguments))
            if wrong:
                raise BackendError(
                    f"refnum_cuda refuses {operation.name} on {device}: {wrong} of {got.numel()} results of example "
                    f"{number} differ from the reference. Allowed are equal bits. Set REFNUM_BACKEND=reference, and "
                    "tell refnum which GPU and driver it was."
                )
        _verified.add(key)


def _on(device: torch.device, argument: Any) -> Any:
    return argument.to(device) if isinstance(argument, Tensor) else argument


def _differing(got: Tensor, want: Tensor) -> int:
    if (got.shape, got.dtype) != (want.shape, want.dtype):
        return max(1, got.numel())  # an empty one of another shape is wrong, too
    integer = SIGNED[8 * got.element_size()]  # by their bits: NaN equals itself, and -0 is not 0
    return int((got.view(integer) != want.view(integer)).sum())


def _not_while_capturing(name: str) -> None:
    if torch.version.cuda is not None and torch.cuda.is_current_stream_capturing():
        raise BackendError(
            f"refnum_cuda cannot load and try {name} while a graph is captured. Allowed are captures of what has run "
            "on the device. Call refnum_cuda.warmup() first."
        )
