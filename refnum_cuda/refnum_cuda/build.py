"""Compiles csrc into _bin: a file for each source and architecture, and a manifest of checksums.

It runs when the wheel is made, and by ``python -m refnum_cuda.build``. It needs no GPU and no driver, and with NVRTC no
toolkit. Two builds by one compiler give the same bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from . import CONTRACTS, INTERFACE, __version__

HERE = Path(__file__).parent
SOURCES, BIN = HERE / "csrc", HERE / "_bin"
MANIFEST = "manifest.json"

TARGETS = ("sm_80", "sm_89", "sm_90a", "sm_100", "sm_120", "compute_80")  #: cubins, and PTX for what comes later
#: Products and sums are fused where the source says so and nowhere else; a spill is a warning, and those are errors.
FLAGS = ("-std=c++17", "-fmad=false", "-Xptxas", "--warn-on-spills")
DRIVER = 13000  #: what files of this toolkit need: CUDA 13.0, that is driver 580


class CompilationError(RuntimeError):
    """A source that does not compile, or not without warnings."""


class Compiler(Protocol):
    """What turns a source into the file of one architecture."""

    name: str  #: with its version, for the manifest

    def compile(self, source: Path, target: str) -> bytes:
        """The cubin, or the PTX of a target compute_*."""


def file_name(stem: str, target: str) -> str:
    """The file of a source for a target.

    >>> file_name("ordered", "sm_90a"), file_name("ordered", "compute_80")
    ('ordered.sm_90a.cubin', 'ordered.compute_80.ptx')
    """
    return f"{stem}.{target}.{'ptx' if target.startswith('compute') else 'cubin'}"


# ---- NVRTC ---------------------------------------------------------------------------------------


class Nvrtc:
    """The compiler as a library, from its wheel."""

    def __init__(self) -> None:
        self._builtins = ctypes.CDLL(str(_part("nvrtc-builtins")))  # NVRTC asks for it by name, and finds it loaded
        self._library = ctypes.CDLL(str(_part("nvrtc")))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        self.name = f"nvrtc {importlib.metadata.version('nvidia-cuda-nvrtc')}"

    def compile(self, source: Path, target: str) -> bytes:
        """The file's bytes; headers are handed over as text, so no path enters them."""
        headers = [*{path.name: path for folder in (SOURCES, source.parent) for path in folder.glob("*.cuh")}.values()]
        texts = (ctypes.c_char_p * len(headers))(*(header.read_bytes() for header in headers))
        names = (ctypes.c_char_p * len(headers))(*(header.name.encode() for header in headers))
        program = ctypes.c_void_p()
        self._call(
            "CreateProgram",
            *(ctypes.byref(program), source.read_bytes(), source.name.encode(), len(headers), texts, names),
        )
        try:
            options = (f"--gpu-architecture={target}", "-default-device", *FLAGS)
            encoded = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            status = self._library.nvrtcCompileProgram(program, len(options), encoded)
            log = self._text(program, "ProgramLog").rstrip(b"\0").decode().strip()
            if status or log:
                raise CompilationError(f"{self.name} refused {source.name} for {target}:\n{log}")
            return self._text(program, "PTX" if target.startswith("compute") else "CUBIN")
        finally:
            self._call("DestroyProgram", ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, buffer)
        return buffer.raw

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, f"nvrtc{name}")(*arguments)
        if status:
            raise CompilationError(f"nvrtc{name} failed: {self._library.nvrtcGetErrorString(status).decode()}")


def _part(name: str) -> Path:
    """A library of the wheel: lib<name>.so.13 on Linux, <name>64_130_0.dll on Windows."""
    files = importlib.metadata.files("nvidia-cuda-nvrtc") or ()
    pattern = re.compile(rf"lib{name}\.so\.[\d.]+|{name}64_\d+(_0)?\.dll")
    return next(Path(str(file.locate())) for file in files if pattern.fullmatch(file.name))


# ---- nvcc ----------------------------------------------------------------------------------------


class Nvcc:
    """The compiler of a toolkit."""

    def __init__(self) -> None:
        self._path = shutil.which("nvcc")
        if self._path is None:
            raise CompilationError("nvcc is not on the PATH. Install a CUDA toolkit, or build with NVRTC.")
        text = subprocess.run([self._path, "--version"], check=True, capture_output=True, text=True).stdout
        self.name = f"nvcc {text.split(' V')[1].split()[0]}"

    def compile(self, source: Path, target: str) -> bytes:
        """The file's bytes."""
        kind = ["-ptx", f"-arch={target}"]
        if target.startswith("sm"):
            kind = ["-cubin", f"-gencode=arch={target.replace('sm', 'compute')},code={target}"]
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "made"
            flags = ["-O3", "-Werror=all-warnings", *FLAGS, *kind, "-I", str(SOURCES)]
            command = [str(self._path), *flags, "-o", str(made), source.name]
            run = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)
            if run.returncode or run.stderr:
                raise CompilationError(f"{self.name} refused {source.name} for {target}:\n{run.stdout}{run.stderr}")
            return made.read_bytes()


COMPILERS: dict[str, Callable[[], Compiler]] = {"nvrtc": Nvrtc, "nvcc": Nvcc}


# ---- all files -----------------------------------------------------------------------------------


def build(compiler: Compiler, sources: Path = SOURCES, into: Path = BIN, targets: tuple[str, ...] = TARGETS) -> None:
    """Compile every source for every target; what was there before is replaced only when all of it compiled."""
    jobs = [(source, target) for source in sorted(sources.glob("*.cu")) for target in targets]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda job: compiler.compile(*job), jobs))
    files = {file_name(source.stem, target): data for (source, target), data in zip(jobs, made, strict=True)}
    manifest = {
        "version": __version__,
        "interface": INTERFACE,
        "contracts": CONTRACTS,
        "compiler": compiler.name,
        "flags": FLAGS,
        "driver": DRIVER,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for name, data in files.items():
        (into / name).write_bytes(data)
    (into / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def main() -> None:
    """Build as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m refnum_cuda.build", description=main.__doc__)
    parser.add_argument("--with", dest="compiler", choices=COMPILERS, default="nvrtc", help="which compiler")
    parser.add_argument("--into", type=Path, default=BIN, help="the folder of the files")
    asked = parser.parse_args()
    build(COMPILERS[asked.compiler](), into=asked.into)
    print(f"{len(list(asked.into.iterdir())) - 1} files in {asked.into}")


if __name__ == "__main__":
    main()
