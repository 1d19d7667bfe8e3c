"""Files of tensors that nobody vouches for: no pickle, and nothing is allocated that the file does not hold.

A file is a mapping from names to readers, so that only the tensors that are looked at are in memory.
"""

from __future__ import annotations

import difflib
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251 - the name of what torch.load raises; nothing is unpickled here
from typing import IO, Any, NoReturn

import numpy as np
import torch
import typer
from torch import Tensor

from .extras import require

MOST_ENTRIES = 1 << 20  #: of a .pt file, containers counted: what refers to itself has no end
MOST_LETTERS = 1 << 12  #: of a name: containers in containers have no end either
GROWTH = 1032  #: no stream of zlib grows by more
ONLY = ""  #: the name of a tensor without one

NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")  #: numpy's kind and bytes
#: numpy has no name for bfloat16 and formats of 8 bits: what ml_dtypes saves comes back as bytes without a meaning,
#: which --fmt gives them.
BYTES = {"V1": "u1", "V2": "i2"}
#: What zipfile, numpy's reader of headers, and torch.load raise for broken files: the last one whatever breaks first.
BROKEN_ARCHIVE = (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error)
BROKEN_PICKLE = (*BROKEN_ARCHIVE, TypeError, LookupError, AttributeError, AssertionError, MemoryError)


@dataclass(frozen=True, slots=True)
class TensorFile:
    """What a file holds."""

    path: Path
    readers: dict[str, Callable[[], Tensor]]  #: by name
    others: tuple[str, ...] = ()  #: names of what is no tensor


def refuse(path: Path, reason: str, remedy: str) -> NoReturn:
    """Say why a file is not read."""
    raise typer.BadParameter(f"{path} is not read: {reason.rstrip('.')}. {remedy}") from None


def near(name: str, names: Iterable[str]) -> str:
    """The names that look like one, for a message."""
    found = difflib.get_close_matches(name, list(names), cutoff=0.5)
    return f" Near it: {', '.join(map(printable, found))}." if found else ""


def printable(name: str) -> str:
    """A name from a file, without what a terminal would obey.

    >>> print(printable("w" + chr(27) + "[31m"))  # doctest: +ELLIPSIS
    w...x1b[31m
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """The tensors of a file, whose ending says what it is. They can be read until it is left."""
    if path.suffix not in READERS:
        endings = ", ".join(READERS)
        refuse(path, f"its name ends in {path.suffix or 'nothing'}", f"Allowed are {endings}. Convert it.")
    if not path.is_file():
        refuse(path, "there is no such file", "Name one that is there.")
    with ExitStack() as stack:
        yield READERS[path.suffix](path, stack)


# ---- numpy -----------------------------------------------------------------------------------------------------------


def _npy(path: Path, stack: ExitStack) -> TensorFile:
    size = path.stat().st_size
    return TensorFile(path, {ONLY: partial(_array, path, "the array", size, lambda: path.open("rb"))})


def _npz(path: Path, stack: ExitStack) -> TensorFile:
    with _refusing(path, BROKEN_ARCHIVE):
        archive = stack.enter_context(zipfile.ZipFile(path))
    readers: dict[str, Callable[[], Tensor]] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in readers:
            refuse(path, f"two arrays are named {printable(name)}", "Give each a name of its own.")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            refuse(path, f"{printable(name)} is not compressed by deflate", "Write it with numpy.savez_compressed.")
        # A size that its bytes cannot have is a lie, and must not become an allocation.
        if member.file_size > GROWTH * member.compress_size + 1024:
            refuse(path, f"{printable(name)} claims to be larger than its bytes can be", "Write it again.")
        opened = partial(archive.open, member)
        readers[name] = partial(_array, path, printable(member.filename), member.file_size, opened)
    return TensorFile(path, readers)


@contextmanager
def _refusing(path: Path, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """What readers raise for broken files is a refusal."""
    try:
        yield
    except kinds as error:
        refuse(path, printable((str(error) or type(error).__name__).splitlines()[0])[:200], "Write it again.")


def _array(path: Path, name: str, size: int, opened: Callable[[], IO[bytes]]) -> Tensor:
    with _refusing(path, BROKEN_ARCHIVE), opened() as file:
        shape, fortran, dtype = _header(path, file, size, name)
        array: np.ndarray[Any, Any] = np.ndarray(shape, dtype, bytearray(file.read()), order="F" if fortran else "C")
    array = array.view(BYTES.get(_kind(dtype), dtype))
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _kind(dtype: np.dtype[Any]) -> str:
    return f"{dtype.kind}{dtype.itemsize}"


def _header(path: Path, file: IO[bytes], size: int, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and dtype of the array that follows, once its bytes are known to be there."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        refuse(path, f"{name} has version {version} of numpy's format, which is for records", "Save plain numbers.")
    shape, fortran, dtype = readers[version](file)
    if dtype.hasobject:
        reason = f"{name} is an array of objects, which is a pickle, and unpickling can run any code"
        refuse(path, reason, "Save numbers, or each object's arrays by name.")
    if _kind(dtype) not in (*NUMBERS, *BYTES) or dtype.fields is not None or dtype.shape:
        refuse(path, f"{name} has dtype {dtype}", f"Allowed are {', '.join((*NUMBERS, *BYTES))}. Convert it.")
    wanted, found = math.prod(shape) * dtype.itemsize, size - file.tell()
    if min(shape, default=0) < 0 or wanted != found:
        refuse(path, f"{name} of {shape} {dtype} needs {wanted:,} bytes and has {found:,}", "Write it again.")
    return shape, fortran, dtype


# ---- torch, safetensors ----------------------------------------------------------------------------------------------


def _pt(path: Path, stack: ExitStack) -> TensorFile:
    if not zipfile.is_zipfile(path):
        refuse(path, "it is no zip archive, as torch.save writes", "Save it again, with the torch of today.")
    try:
        with _refusing(path, BROKEN_PICKLE):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UnpicklingError as error:
        reason = re.search(r"(?i)unsupported global:? (?:GLOBAL )?(\S+)", str(error))
        found = f"its pickle names {printable(reason[1])}" if reason else "its pickle holds more than tensors"
        refuse(path, f"{found}, and unpickling can run any code", "Save tensors, numbers, lists and dicts alone.")
    readers: dict[str, Callable[[], Tensor]] = {}
    others = []
    for count, (name, x) in enumerate(_entries(content)):
        if count >= MOST_ENTRIES or len(name) > MOST_LETTERS:
            refuse(path, "its containers have no end, or nearly none", "Save tensors by name.")
        if not isinstance(x, Tensor):
            others += [] if isinstance(x, (dict, list, tuple)) else [name]
        elif name in readers:
            refuse(path, f"two tensors are named {printable(name)}", "Give each a name of its own.")
        elif x.numel() * x.itemsize > GROWTH * path.stat().st_size:  # strides of 0 can make anything of one byte
            refuse(path, f"{printable(name)} claims to be larger than its bytes can be", "Save a contiguous copy.")
        else:
            readers[name] = x.detach
    return TensorFile(path, readers, tuple(others))


def _entries(content: object) -> Iterator[tuple[str, object]]:
    """Containers and what they hold, by names joined with dots."""
    stack = [(ONLY, content)]
    while stack:
        name, x = stack.pop()
        yield name, x
        if isinstance(x, (dict, list, tuple)):
            items = x.items() if isinstance(x, dict) else enumerate(x)
            stack += reversed([(f"{name}.{key}" if name else str(key), value) for key, value in items])


def _safetensors(path: Path, stack: ExitStack) -> TensorFile:
    library: Any = require("Reading .safetensors", "safetensors", extra="cli")
    broken = (library.SafetensorError, OSError)
    with _refusing(path, broken):
        file = stack.enter_context(library.safe_open(path, framework="pt", device="cpu"))

    def tensor(name: str) -> Tensor:
        with _refusing(path, broken):
            found: Tensor = file.get_tensor(name)
            return found

    return TensorFile(path, {name: partial(tensor, name) for name in sorted(file.keys())})


READERS = {".npy": _npy, ".npz": _npz, ".pt": _pt, ".pth": _pt, ".safetensors": _safetensors}
