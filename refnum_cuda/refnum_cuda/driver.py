"""The few functions of the CUDA driver that a launch needs, through ctypes: types declared, return codes named."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_uint, c_uint64, c_void_p
from typing import Any

from refnum.errors import BackendError

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
Handle = int  #: of a context, module, function or stream

_POINTER = ctypes.POINTER(c_void_p)
_SIZE = (c_uint,) * 3
_LONGS, _INTS = ctypes.POINTER(c_uint64), ctypes.POINTER(c_uint)
#: Function -> types of its arguments. Handles are pointers: undeclared, ctypes would cut them to 32 bits.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (ctypes.POINTER(c_int),),
    "cuDeviceGetAttribute": (ctypes.POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_POINTER, c_int),
    "cuCtxGetCurrent": (_POINTER,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuModuleLoadData": (_POINTER, c_char_p),
    "cuModuleGetFunction": (_POINTER, c_void_p, c_char_p),
    "cuFuncSetAttribute": (c_void_p, c_int, c_int),
    "cuLaunchKernel": (c_void_p, *_SIZE, *_SIZE, c_uint, c_void_p, _POINTER, c_void_p),
    "cuTensorMapEncodeTiled": (c_void_p, c_int, c_uint, c_void_p, _LONGS, _LONGS, _INTS, _INTS, *(c_int,) * 4),
    "cuGetErrorName": (c_int, ctypes.POINTER(c_char_p)),
}
CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
TENSOR_MAP, ALIGNED = 128, 64  #: bytes of a CUtensorMap, and of what it is aligned to
NOT_INTERLEAVED, SWIZZLE_128B, L2_256B, ZEROS = 0, 3, 3, 0  # CU_TENSOR_MAP_*
UINTS = {1: 0, 2: 1}  #: CU_TENSOR_MAP_DATA_TYPE_UINT8 and _UINT16, by bytes
BAD_IMAGE, NO_IMAGE, NEWER_PTX = 200, 209, 222  #: codes of cuModuleLoadData that say something of the file


class DriverError(BackendError):
    """A call of the driver that failed.

    Attributes
    ----------
    code : int
        What it returned.
    name : str
        The driver's name of that code.
    """

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(f"{call} returned {code} ({name})")
        self.code, self.name = code, name


_lock = threading.Lock()
_library: ctypes.CDLL | None = None


def load() -> None:
    """Load and initialise the driver, once per process.

    Raises
    ------
    OSError
        When there is no driver.
    DriverError
        When it has no device, or does not start.
    """
    global _library
    with _lock:
        if _library is None:
            library = ctypes.CDLL(LIBRARY)
            for name, types in SIGNATURES.items():
                getattr(library, name).argtypes = types
            _check(library, "cuInit", library.cuInit(0))
            _library = library


def _check(library: ctypes.CDLL, call: str, code: int) -> None:
    if code:
        text = c_char_p()
        library.cuGetErrorName(code, ctypes.byref(text))
        raise DriverError(call, code, (text.value or b"no name").decode())


def _call(name: str, *arguments: object) -> None:
    assert _library is not None, "load() comes first"
    _check(_library, name, getattr(_library, name)(*arguments))


def _integer(name: str, *arguments: object) -> int:
    value = c_int()
    _call(name, ctypes.byref(value), *arguments)
    return value.value


def _handle(name: str, *arguments: object) -> Handle | None:
    value = c_void_p()
    _call(name, ctypes.byref(value), *arguments)
    return value.value


# ---- calls, by what they are for -----------------------------------------------------------------


def version() -> int:
    """The newest CUDA that the driver supports: 13000 is 13.0."""
    return _integer("cuDriverGetVersion")


def capability(device: int) -> tuple[int, int]:
    """The compute capability of a device; the driver counts devices as torch does."""
    major, minor = (_integer("cuDeviceGetAttribute", which, device) for which in CAPABILITY)
    return major, minor


def ensure_context(device: int) -> None:
    """Make the device's primary context, which is torch's, current where this thread has none."""
    load()
    if _handle("cuCtxGetCurrent") is None:
        _call("cuCtxSetCurrent", _handle("cuDevicePrimaryCtxRetain", device))


def module(image: bytes) -> Handle | None:
    """A cubin or PTX text, loaded into the current context."""
    return _handle("cuModuleLoadData", image)


def function(module: Handle | None, name: str) -> Handle | None:
    """A kernel of a module."""
    return _handle("cuModuleGetFunction", module, name.encode())


def allow_shared(function: Handle | None, size: int) -> None:
    """Let a kernel have more dynamic shared memory than the 48 KiB that all may have."""
    _call("cuFuncSetAttribute", function, DYNAMIC_SHARED, size)


def launch(
    function: Handle | None,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared: int,
    stream: Handle,
    values: Sequence[Any],
) -> None:
    """Put a kernel on a stream. ``values`` are ctypes objects, which the driver copies before it returns."""
    addresses = (c_void_p * len(values))(*map(ctypes.addressof, values))
    _call("cuLaunchKernel", function, *grid, *block, shared, stream, addresses, None)


def tensor_map(data: int, itemsize: int, sizes: Sequence[int], strides: Sequence[int], box: Sequence[int]) -> bytes:
    """A CUtensorMap of elements of 1 or 2 bytes, the innermost dimension first: boxes of it go to rows of 128 bytes.

    ``strides`` are those of the other dimensions, in bytes; beyond the sizes there are zeros.
    """
    room = ctypes.create_string_buffer(TENSOR_MAP + ALIGNED)
    start = -ctypes.addressof(room) % ALIGNED
    rank = len(sizes)
    _call(
        "cuTensorMapEncodeTiled",
        *(ctypes.addressof(room) + start, UINTS[itemsize], rank, data),
        *((c_uint64 * rank)(*sizes), (c_uint64 * (rank - 1))(*strides)),
        *((c_uint * rank)(*box), (c_uint * rank)(*[1] * rank)),
        *(NOT_INTERLEAVED, SWIZZLE_128B, L2_256B, ZEROS),
    )
    return room.raw[start : start + TENSOR_MAP]
