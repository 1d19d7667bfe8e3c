"""Check saved outputs of a kernel against refnum, in seconds: no compiler, no GPU.

    python check_outputs.py mxfp4_quantize outputs/*.npz
    python check_outputs.py mxfp4_mm outputs/*.safetensors --ulp 1

A file holds inputs and outputs of one run, as arrays under the names in `KERNELS`; numpy has no bfloat16, so its
bits come as uint16 there. A kernel of your own is one more row. Sizes are checked before anything is allocated, and
nothing is ever unpickled. Exit codes: 0 equal, 1 different, 2 a file that cannot be read or lacks an array.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import refnum
from refnum import mx, testing
from refnum.errors import MismatchError, RefnumError

LIMIT = 1 << 30  #: bytes of all arrays of a file
HEADER = 1 << 20  #: bytes of a safetensors header


# ---- kernels ---------------------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """What a kernel reads and writes, and what it should have written."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    reference: Callable[..., tuple[Tensor, ...]]


def mxfp4_quantize(x: Tensor) -> tuple[Tensor, ...]:
    """Packed elements [.., K / 2] and scales [.., K / 32] of x [.., K]."""
    blocks = mx.quantize(x, refnum.mxfp4, profile="ocp/v1")
    return blocks.elements, blocks.scales


def mxfp4_mm(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """A [M, K] times B [N, K] transposed, both rounded to MXFP4, summed exactly, rounded once to bfloat16."""
    left, right = (mx.quantize(x, refnum.mxfp4, profile="ocp/v1") for x in (a, b))
    return (refnum.mx_mm(left, right, contract="exact/v1", out_dtype=torch.bfloat16),)


def posit16_mm(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
    """A [M, K] times B [K, N] in posit16 patterns, summed in a quire."""
    return (refnum.posit_mm(a, b, refnum.posit16),)


KERNELS = {
    "mxfp4_quantize": Kernel(("x",), ("elements", "scales"), mxfp4_quantize),
    "mxfp4_mm": Kernel(("a", "b"), ("out",), mxfp4_mm),
    "posit16_mm": Kernel(("a", "b"), ("out",), posit16_mm),
}


def check(kernel: Kernel, arrays: dict[str, Tensor], ulp: int) -> None:
    """Nothing when the outputs are right, else a MismatchError with a table."""
    if missing := [name for name in (*kernel.inputs, *kernel.outputs) if name not in arrays]:
        raise ValueError(
            f"it has no {' and no '.join(missing)}. Needed are {', '.join(kernel.inputs + kernel.outputs)}"
        )
    wanted = kernel.reference(*(arrays[name] for name in kernel.inputs))
    for name, want in zip(kernel.outputs, wanted, strict=True):
        print(f"  {name}: {want.numel():,} elements")
        if want.is_floating_point():
            testing.assert_ulp(arrays[name], want, ulp=ulp)
        else:
            testing.assert_bit_equal(arrays[name], want)


# ---- files -----------------------------------------------------------------------------------------------------------

_SAME = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
NUMPY = {np.dtype(name): getattr(torch, name) for name in _SAME} | {np.dtype("uint16"): torch.bfloat16}
SAFETENSORS = {"U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64}
SAFETENSORS |= {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}


def read(path: Path) -> dict[str, Tensor]:
    """The arrays of a file."""
    readers = {".npz": read_npz, ".safetensors": read_safetensors}
    if path.suffix not in readers:
        raise ValueError(f"it is no {' or '.join(readers)} file")
    return readers[path.suffix](path)


def read_npz(path: Path) -> dict[str, Tensor]:
    """The arrays of an .npz file."""
    with zipfile.ZipFile(path) as archive:
        entries = [(info, *_npy_header(archive, info)) for info in archive.infolist()]
        _check_sizes((info.filename, dtype.itemsize, shape, size) for info, shape, dtype, size in entries)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]).view(NUMPY[arrays[name].dtype]) for name in arrays.files}


def _npy_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype, and how many bytes of data the archive says there are."""
    with archive.open(info) as file:
        versions: dict[tuple[int, int], Callable[[IO[bytes]], tuple[Any, ...]]] = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        version = np.lib.format.read_magic(file)
        if version not in versions:
            raise ValueError(f"{info.filename} is of version {version}. Allowed are 1.0 and 2.0")
        shape, _, dtype = versions[version](file)
        if dtype not in NUMPY:
            raise ValueError(f"{info.filename} holds {dtype}. Allowed are {', '.join(map(str, NUMPY))}")
        return shape, dtype, info.file_size - file.tell()


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The arrays of a .safetensors file: eight bytes of length, a header in JSON, data."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER, size - 8):
            raise ValueError(f"its header has {length:,} bytes. Allowed are 2 to {min(HEADER, size - 8):,}")
        header = json.loads(file.read(length))
        start = 8 + length
        entries = dict(_safetensors_entries(header))
        _check_sizes((name, dtype.itemsize, shape, end - at) for name, (dtype, shape, at, end) in entries.items())
        if outside := [name for name, (*_, end) in entries.items() if end > size - start]:
            raise ValueError(f"{outside[0]} ends after the file")
        arrays = {}
        for name, (dtype, shape, at, end) in entries.items():
            file.seek(start + at)
            data = bytearray(file.read(end - at))
            arrays[name] = torch.frombuffer(data, dtype=dtype).view(shape) if data else torch.empty(shape, dtype=dtype)
    return arrays


def _safetensors_entries(header: Any) -> Iterator[tuple[str, tuple[torch.dtype, tuple[int, ...], int, int]]]:
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, *offsets)):
            raise ValueError(f"{name} has shape {shape} and offsets {offsets}. Allowed are numbers of 0 or more")
        if entry["dtype"] not in SAFETENSORS:
            raise ValueError(f"{name} holds {entry['dtype']}. Allowed are {', '.join(SAFETENSORS)}")
        at, end = offsets
        yield name, (SAFETENSORS[entry["dtype"]], tuple(shape), at, end)


def _check_sizes(entries: Iterator[tuple[str, int, tuple[int, ...], int]]) -> None:
    """Each array is as large as its shape says, and all together are not too large."""
    total = 0
    for name, itemsize, shape, size in entries:
        if itemsize * math.prod(shape) != size:
            raise ValueError(f"{name} has {size:,} bytes, and shape {shape} needs {itemsize * math.prod(shape):,}")
        total += size
    if total > LIMIT:
        raise ValueError(f"its arrays have {total:,} bytes. Allowed are {LIMIT:,}. Save fewer rows")


# ---- the run ---------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Check files; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("kernel", choices=KERNELS)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--ulp", type=int, default=0, help="how far a floating-point output may be away (default: 0)")
    arguments = parser.parse_args(argv)
    return max(check_file(path, KERNELS[arguments.kernel], arguments.ulp) for path in arguments.files)


def check_file(path: Path, kernel: Kernel, ulp: int) -> int:
    """Check a file and say how it went; its exit code."""
    print(path)
    try:
        check(kernel, read(path), ulp)
    except MismatchError as mismatch:
        print(mismatch)
        return 1
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, RefnumError) as error:
        print(f"  {path.name} cannot be checked: {error}", file=sys.stderr)
        return 2
    print("  ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
