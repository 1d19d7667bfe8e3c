"""Headers and kernels of refnum_cuda as shared objects for the CPU, compiled on first use into a per-user cache."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "refnum_cuda" / "refnum_cuda" / "csrc"
sys.path.append(str(CSRC.parents[1]))  # refnum_cuda need not be installed
#: Floats are neither fused nor reordered. Warnings are errors, but for pragmas of the other compiler.
FLAGS = (
    "-O2 -std=c++17 -x c++ -fPIC -shared -ffp-contract=off -mfma -Wall -Wextra -Werror -Wno-unknown-pragmas"
).split()


def load(source: Path, more: Sequence[str] = ()) -> ctypes.CDLL:
    """The file compiled by g++, with further flags; skips the test where there is no g++."""
    gxx = shutil.which("g++")
    if gxx is None:
        pytest.skip("no g++ on the PATH")
    version = subprocess.run([gxx, "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()
    command = [gxx, *FLAGS, *more, "-I", str(CSRC), "-I", str(HERE)]
    name = _fingerprint(source, " ".join([version, platform.machine(), *FLAGS, *more]))
    return ctypes.CDLL(str(_compile(source, command, f"{source.stem}-{name}.so")))


IN_REGISTERS = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"


def stack_and_spills(source: Path, architecture: str) -> list[str]:
    """What ptxas says of each kernel of a file, compiled by nvcc as `refnum_cuda.build` does; skips without nvcc."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on the PATH")
    target = f"-gencode=arch=compute_{architecture},code=sm_{architecture}"
    flags = "-O3 -std=c++17 -fmad=false -Werror=all-warnings -Xptxas -v -cubin".split()
    command = [nvcc, *flags, target, "-I", str(CSRC), "-o", os.devnull, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stderr.splitlines() if "bytes stack frame" in line]


def _fingerprint(source: Path, how: str) -> str:
    """Of everything that goes into the shared object."""
    included = sorted([*CSRC.glob("*.cuh"), *HERE.glob("*.h")])
    return hashlib.sha256("\0".join([*(path.read_text() for path in (source, *included)), how]).encode()).hexdigest()[
        :16
    ]


def _compile(source: Path, command: Sequence[str], name: str) -> Path:
    built = _cache_directory() / name
    with built.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two processes that need it one compiles, and the other one waits
        if not built.exists():
            with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
                fresh = Path(scratch) / name
                done = subprocess.run(
                    [*command, "-o", str(fresh), str(source)], capture_output=True, text=True, check=False
                )
                assert done.returncode == 0, done.stderr
                fresh.replace(built)  # atomic: a compilation that is broken off leaves nothing
    return built


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(home) if home else Path.home() / ".cache") / "refnum-cuda-tests"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # a read-only or missing home: compile once per process instead of once per user
        return Path(tempfile.mkdtemp(prefix="refnum-cuda-tests-"))
    return cache
