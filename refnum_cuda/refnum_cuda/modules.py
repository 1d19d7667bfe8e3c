"""Which file serves which GPU: picked by compute capability, compared with its checksum, loaded once a device."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from refnum.errors import BackendError

from . import CONTRACTS, driver
from .build import BIN, MANIFEST, file_name

FREE_SHARED = 48 << 10  #: bytes of dynamic shared memory that a kernel may have without asking

_lock = threading.RLock()
_obstacles: dict[int, str | None] = {}
_modules: dict[tuple[int, str], driver.Handle | None] = {}
_functions: dict[tuple[int, str, int], driver.Handle | None] = {}


# ---- files ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def manifest() -> dict[str, Any]:
    """What was built: compiler, flags, contracts, and the checksum of every file."""
    try:
        text = (BIN / MANIFEST).read_text()
    except FileNotFoundError:
        raise _damaged(MANIFEST, "is missing") from None
    found: dict[str, Any] = json.loads(text)
    if tuple(found["contracts"]) != CONTRACTS:
        raise _damaged(MANIFEST, "is of other contracts than this package")
    return found


def targets() -> tuple[str, ...]:
    """The architectures of which there are files."""
    return tuple(dict.fromkeys(name.split(".")[1] for name in manifest()["files"]))


def pick(capability: tuple[int, int], targets: Collection[str]) -> str | None:
    """The target whose files run on a GPU of this compute capability, or None.

    >>> pick((9, 0), ("sm_80", "sm_90a", "compute_80")), pick((8, 6), ("sm_80", "sm_89", "compute_80"))
    ('sm_90a', 'sm_80')
    >>> pick((12, 1), ("sm_80", "compute_80")), pick((7, 5), ("sm_80", "compute_80"))
    ('compute_80', None)
    """
    major, minor = capability
    # P1. A file for this very capability may use what no other has.  P2. A cubin runs on later minor versions of its
    # own major one.  P3. PTX is compiled by the driver for anything later.
    exact = f"sm_{major}{minor}a"
    cubins = (f"sm_{major}{i}" for i in range(minor, -1, -1))
    texts = (f"compute_{i}" for i in range(10 * major + minor, 0, -1))
    return next((target for target in (exact, *cubins, *texts) if target in targets), None)


def _image(name: str) -> bytes:
    try:
        data = (BIN / name).read_bytes()
    except FileNotFoundError:
        raise _damaged(name, "is missing") from None
    if hashlib.sha256(data).hexdigest() != manifest()["files"][name]:
        raise _damaged(name, "differs from its checksum")
    return data


def _damaged(name: str, wrong: str) -> BackendError:
    return BackendError(
        f"refnum_cuda cannot use its file {name}, which {wrong}. Allowed are files as they were built. "
        "Install refnum_cuda again, or set REFNUM_BACKEND=reference."
    )


# ---- devices -------------------------------------------------------------------------------------


def obstacle(device: int) -> str | None:
    """Why no file can serve a device, as far as can be told without loading one; None when one can."""
    with _lock:
        if device not in _obstacles:
            _obstacles[device] = _first_obstacle(device)
        return _obstacles[device]


def _first_obstacle(device: int) -> str | None:
    try:
        driver.load()
    except OSError:
        return f"the NVIDIA driver's library {driver.LIBRARY} is not found"
    except driver.DriverError as error:
        return f"the NVIDIA driver does not start: {error}"
    supported, needed = driver.version(), manifest()["driver"]
    if supported < needed:
        return f"the NVIDIA driver supports CUDA {_dotted(supported)}, refnum_cuda needs {_dotted(needed)} (driver 580)"
    if pick(driver.capability(device), targets()) is None:
        return _unserved(device)
    return None


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _unserved(device: int) -> str:
    major, minor = driver.capability(device)
    return f"the GPU has compute capability {major}.{minor}, refnum_cuda was built for {', '.join(targets())}"


def served_by(device: int) -> str:
    """The target whose files serve a device without an obstacle."""
    target = pick(driver.capability(device), targets())
    assert target is not None, "obstacle() comes first"
    return target


def function(device: int, stem: str, name: str, shared: int = 0) -> driver.Handle | None:
    """A kernel of a file, loaded into the current context, which is the device's."""
    with _lock:
        key = device, name, shared
        if key not in _functions:
            found = driver.function(_module(device, stem), name)
            if shared > FREE_SHARED:
                driver.allow_shared(found, shared)
            _functions[key] = found
        return _functions[key]


def _module(device: int, stem: str) -> driver.Handle | None:
    if (device, stem) not in _modules:
        name = file_name(stem, served_by(device))
        try:
            _modules[device, stem] = driver.module(_image(name))
        except driver.DriverError as error:
            _obstacles[device] = _refusal(device, name, error)
            raise
    return _modules[device, stem]


def _refusal(device: int, name: str, error: driver.DriverError) -> str | None:
    """What a file that the driver does not take means for its device; damaged files are an error."""
    match error.code:
        case driver.BAD_IMAGE:
            raise _damaged(name, f"the driver does not take: {error}") from error
        case driver.NO_IMAGE:
            return _unserved(device)
        case driver.NEWER_PTX:
            return f"the NVIDIA driver is older than the toolkit of {name} ({manifest()['compiler']}): {error}"
        case _:
            return None
