"""refnum_cuda on tensors of the CPU, over a driver without a GPU: each scene in a process of its own.

The processes are forked from one that has imported everything and called nothing: what a program that forks does.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing import forkserver
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cuda import bridge, simulate  # before refnum_cuda, which it finds

import refnum.codec  # noqa: F401 - loaded before processes are forked
from refnum import backend
from refnum.errors import BackendError
from refnum_cuda import build, driver, launch, modules, operations, serving

STREAM = 0x7FFF12345678  #: a handle of more than 32 bits
KERNELS = (serving.PROBE, *(kernel for each in operations.OPERATIONS for kernel in each.launches))  #: all there are
PROCESSORS = SimpleNamespace(multi_processor_count=2)  #: few, so that blocks make several tiles
DRIVER = bridge.HERE / "fakecuda.c"


class Blank:
    """A compiler whose files are all that a driver without a GPU looks at."""

    name = "blank 1"

    def compile(self, source: Path, target: str) -> bytes:
        """The first bytes of a cubin or PTX text, and what makes each of them another one."""
        return (b"//" if target.startswith("compute") else b"\x7fELF") + f"{source.stem} {target}".encode()


def compiled_driver(folder: Path) -> None:
    """The stand-in of the driver, in a folder; skips the test where there is no gcc."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc on the PATH")
    flags = "-std=gnu11 -O1 -Wall -Wextra -Werror -fPIC -shared -pthread".split()
    subprocess.run(["gcc", *flags, "-o", str(folder / driver.LIBRARY), str(DRIVER), "-ldl"], check=True)


def _simulated(stem: str) -> str:
    """A file of csrc as a shared object, with the kernels that Python launches."""
    names = sorted({kernel.name for kernel in KERNELS if kernel.stem == stem})
    return str(simulate.Kernels.of_file(f"{stem}.cu", *names)._library._name)


class Stage:
    """Where scenes are played."""

    def __init__(self, folder: Path) -> None:
        self.log, self.files = folder / "log", folder / "files"
        compiled_driver(folder)
        build.build(Blank(), into=self.files)
        self.kernels = ":".join(_simulated(stem) for stem in sorted({kernel.stem for kernel in KERNELS}))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        with pytest.MonkeyPatch.context() as patch:  # for the process that others are forked from
            patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            patch.setenv("LD_LIBRARY_PATH", str(folder))
            forkserver.ensure_running()

    def play(self, scene: Callable[..., Any], *arguments: Any, **environment: str) -> Any:
        """What a scene returns, played in a fresh process with some variables of the environment."""
        self.log.unlink(missing_ok=True)
        settings = {"FAKECUDA_LOG": str(self.log), "FAKECUDA_KERNELS": self.kernels, **environment}
        with ProcessPoolExecutor(1, mp_context=self._context) as pool:
            return pool.submit(_played, scene, arguments, settings, str(self.files)).result()

    def calls(self, name: str = "") -> list[str]:
        """The driver's calls during the last scene, of a name or all of them."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line.startswith(name)]


@lru_cache(maxsize=1)
def stage() -> Stage:
    """The one stage of a process of tests."""
    FOLDER.append(tempfile.TemporaryDirectory(prefix="refnum-cuda-stage-"))
    return Stage(Path(FOLDER[0].name))


FOLDER: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends


def _played(scene: Callable[..., Any], arguments: tuple[Any, ...], environment: Mapping[str, str], files: str) -> Any:
    torch.set_num_threads(1)
    os.environ.update(environment)
    modules.BIN = Path(files)
    launch.ordinal, launch.place, launch.current = (lambda device: 0), _place, (lambda: (0, STREAM))
    torch.cuda.get_device_properties = lambda device: PROCESSORS
    operations.install("cpu")
    backend._discovered[:], backend.OBSTACLES[:] = [None], [lambda: modules.obstacle(0)]
    return scene(*arguments)


@contextmanager
def _place(device: torch.device) -> Iterator[None]:
    driver.ensure_context(0)
    yield


def told(call: Callable[[], Any]) -> tuple[Any, list[str], str]:
    """What a call returns, warns of, and is refused with."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, error = call(), ""
        except BackendError as refused:
            result, error = None, str(refused)
    return result, [str(warning.message) for warning in caught], error
