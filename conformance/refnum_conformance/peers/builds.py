"""Shared objects from our own C files, compiled on first use with gcc into a per-user cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

FLAGS = ("-O3", "-fwrapv", "-fPIC", "-shared", "-std=c11")


def load(source: Path, more: Sequence[str] = ()) -> tuple[ctypes.CDLL | None, str]:
    """The compiled file and who compiled it, or None and the reason. ``more`` are what gcc needs besides."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None, "no gcc on the PATH"
    version = subprocess.run([gcc, "-dumpfullversion"], check=True, capture_output=True, text=True).stdout.strip()
    try:
        return ctypes.CDLL(str(_compile(source, gcc, version, more))), f"gcc {version}"
    except subprocess.CalledProcessError as failure:
        return None, f"gcc {version} failed: {failure.stderr.strip().splitlines()[-1]}"


def _compile(source: Path, gcc: str, version: str, more: Sequence[str]) -> Path:
    """The shared object, named after everything that goes into it."""
    ingredients = (source.read_text(), *FLAGS, *more, version, platform.machine())
    name = hashlib.sha256("\0".join(ingredients).encode()).hexdigest()[:16]
    directory = _cache_directory()
    built = directory / f"{source.stem}-{name}.so"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            fresh = Path(scratch) / built.name
            command = [gcc, *FLAGS, "-o", str(fresh), str(source), *more]
            subprocess.run(command, check=True, capture_output=True, text=True)
            fresh.replace(built)  # atomic: another process sees the whole file or none
    return built


def _cache_directory() -> Path:
    """A private directory that may be written: the user's cache, else a fresh temporary one."""
    home = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(home) if home else Path.home() / ".cache") / "refnum-conformance"
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:  # a read-only or missing home: compile once per process instead of once per user
        return Path(tempfile.mkdtemp(prefix="refnum-conformance-"))
    return cache if os.access(cache, os.W_OK) else Path(tempfile.mkdtemp(prefix="refnum-conformance-"))
