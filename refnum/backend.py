"""Which kernels serve which device, and why.

Kernels come from another distribution, through the entry point ``cuda`` of the group ``refnum.backends``: a function
that fills the tables below and returns None, or returns one line that says why it did not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import BackendError

if TYPE_CHECKING:
    from torch import Tensor

CHOICES = ("auto", "reference", "cuda")
VARIABLE = "REFNUM_BACKEND"
GROUP = "refnum.backends"

INTERFACE = 1  #: of the tables below: one more whenever they, or what is passed through them, change
#: What kernels may compute; sums.contracts defines those of sums. Changed bits are a new version.
CONTRACTS = (
    *("encode/v1", "decode/v1", "quantize/v1", "chain/v1", "tree/v1", "exact/v1"),
    *(f"posit_{function}/v1" for function in ("add", "sub", "mul", "div", "sqrt", "fma", "fmm", "convert")),
    *(f"posit_{mode}/v1" for mode in ("products", "posit", "cuposit", "quire")),
    *(f"tc.{gpu}.{kind}/v1" for gpu in ("ampere", "ada", "hopper", "blackwell") for kind in ("bf16", "f16")),
    "tc.hopper.fp8/v1",
    "tcsplit/v1",
    *(f"mx_{function}/v1" for function in ("quantize", "amax", "dequantize", "shuffle", "unshuffle")),
)

# Filled by rooms as they are imported, and by a distribution of kernels when it is registered.
NOTES: list[Callable[[], str]] = []  #: what they have to say to `status`
OBSTACLES: list[Callable[[], str | None]] = []  #: why what is registered cannot serve here, or None
KERNELS: dict[tuple[str, str], Callable[..., Any]] = {}  #: (type of device, function) -> what to call instead of it

_local = threading.local()
_lock = threading.RLock()
_discovered: list[str | None] = []  # what the entry point returned, once it has


@dataclass(frozen=True, slots=True)
class Status:
    """What serves, and the reason."""

    backend: str  #: the backend in use: reference or cuda
    reason: str  #: why it is that one
    asked: str  #: what was asked for: auto, reference or cuda
    notes: tuple[str, ...] = ()  #: what rooms that are in use have found out about this machine

    def __str__(self) -> str:
        return f"backend: {self.backend} ({self.reason})"


def chosen() -> str:
    """What was asked for: auto, reference or cuda."""
    asked = getattr(_local, "backend", None) or os.environ.get(VARIABLE, "auto")
    if asked not in CHOICES:
        raise BackendError(f"{VARIABLE} has no value {asked!r}. Choose one of {', '.join(CHOICES)}.")
    return str(asked)


def refusal(reason: str) -> BackendError:
    """The error of kernels that were asked for by name and cannot serve."""
    return BackendError(
        f"The cuda backend was asked for ({VARIABLE} or use_backend) and {reason}. "
        "Allowed here are auto and reference. Choose one of them."
    )


# ---- kernels -------------------------------------------------------------------------------------


def discover() -> None:
    """Register the kernels that are installed, unless the reference was asked for. No device is touched.

    Raises
    ------
    BackendError
        When kernels were asked for by name and cannot be registered.
    """
    asked = chosen()
    if asked != "reference" and (why := _registered()) and asked == "cuda":
        raise refusal(why)


def _registered() -> str | None:
    """Why there are no kernels; None when there are. Asked for the first time, it registers them."""
    from importlib.metadata import entry_points  # takes longer to import than all of this

    with _lock:
        if not _discovered:
            found = tuple(entry_points(group=GROUP, name="cuda"))
            _discovered.append(None if found else "refnum_cuda is not installed")
            try:
                for entry in found[:1]:  # it imports codec, which asks again
                    _discovered[0] = entry.load()()
            except BaseException:
                _discovered.clear()
                raise
        return _discovered[0]


def kernel(function: str, x: Tensor) -> Callable[..., Any] | None:
    """What to call instead of a function for tensors like x, or None."""
    return KERNELS.get((x.device.type, function)) if KERNELS else None


# ---- what serves ---------------------------------------------------------------------------------


def status() -> Status:
    """The backend in use and the reason for it.

    Where kernels are registered this asks the driver of the GPU.

    >>> print(status())
    backend: reference (refnum_cuda is not installed)
    """
    asked = chosen()
    obstacle = "asked for by name" if asked == "reference" else _obstacle()
    if asked == "cuda" and obstacle:
        raise refusal(obstacle)
    notes = tuple(note() for note in NOTES)
    return Status("reference" if obstacle else "cuda", obstacle or "its kernels serve this GPU", asked, notes)


def _obstacle() -> str | None:
    return _registered() or next(filter(None, (obstacle() for obstacle in OBSTACLES)), None)


@contextmanager
def use_backend(name: str) -> Iterator[Status]:
    """Serve with the named backend inside a ``with`` block, in this thread.

    >>> with use_backend("reference") as now:
    ...     print(now)
    backend: reference (asked for by name)

    Raises
    ------
    BackendError
        When there is no such backend, or it cannot serve here.
    """
    if name not in CHOICES:
        raise BackendError(f"use_backend has no backend {name!r}. Choose one of {', '.join(CHOICES)}.")
    before = getattr(_local, "backend", None)
    _local.backend = name
    try:
        yield status()
    finally:
        _local.backend = before
