"""Which kernels serve which device, and why."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .errors import BackendError

CHOICES = ("auto", "reference", "cuda")
VARIABLE = "REFNUM_BACKEND"


@dataclass(frozen=True, slots=True)
class Status:
    """What serves, and the reason."""

    backend: str  #: the backend in use: reference or cuda
    reason: str  #: why it is that one
    asked: str  #: what was asked for: auto, reference or cuda
    notes: tuple[str, ...] = ()  #: what rooms that are in use have found out about this machine

    def __str__(self) -> str:
        return f"backend: {self.backend} ({self.reason})"


_local = threading.local()
NOTES: list[Callable[[], str]] = []  #: rooms add what they have to say to `status`


def _asked() -> str:
    asked = getattr(_local, "backend", None) or os.environ.get(VARIABLE, "auto")
    if asked not in CHOICES:
        raise BackendError(f"{VARIABLE} has no value {asked!r}. Choose one of {', '.join(CHOICES)}.")
    return str(asked)


def status() -> Status:
    """The backend in use and the reason for it.

    >>> print(status())
    backend: reference (refnum_cuda is not installed)
    """
    asked = _asked()
    if asked == "cuda":
        raise BackendError(
            f"The cuda backend was asked for ({VARIABLE} or use_backend) and refnum_cuda is not installed. "
            "Allowed here are auto and reference. Choose one of them."
        )
    reason = "asked for by name" if asked == "reference" else "refnum_cuda is not installed"
    return Status("reference", reason, asked, tuple(note() for note in NOTES))


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
