"""CUDA kernels on the CPU: a source as it is, compiled by g++ with sim.h before it, its kernels called by name."""

from __future__ import annotations

import ctypes
import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from . import bridge

#: setjmp of glibc, fortified, takes a fiber for a smashed stack; a float4 is read where floats were written; sources
#: that are loaded side by side have kernels, sites and threads of their own
FLAGS = ("-U_FORTIFY_SOURCE", "-fno-strict-aliasing", "-fno-gnu-unique")

Size = tuple[int, int, int] | int


class Choice(NamedTuple):
    """What a GPU leaves open: see sim.h."""

    order: int = 0  #: 0 ascending, 1 descending, others at random
    late: bool = False  #: asynchronous copies land when they are waited for
    without: int = -1  #: the number of a site that does nothing


#: a right kernel has the same results under each
CHOICES = tuple(Choice(order, late) for order in (0, 1, 2) for late in (False, True))


class SimulationError(RuntimeError):
    """What no GPU need carry out: a divergent barrier, a copy that is not aligned or not waited for."""


class _Size(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class _Options(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in Choice._fields]


class Kernels:
    """Some kernels of a source."""

    def __init__(self, text: str, *names: str) -> None:
        exports = "".join(f"SIM_KERNEL({name})\n" for name in names)
        self._library = bridge.load(_written(f'#include "sim.h"\n#line 1 "kernels.cu"\n{text}\n{exports}'), FLAGS)
        for name in ("sim_run", "sim_parameters", "sim_site"):
            getattr(self._library, name).restype = ctypes.c_char_p
        self._library.sim_run.argtypes = [ctypes.c_char_p, _Size, _Size, ctypes.c_size_t, _Options, ctypes.c_void_p]

    @classmethod
    def of_file(cls, file: str, *names: str) -> Kernels:
        """Some kernels of a file in csrc."""
        return cls((bridge.CSRC / file).read_text(), *names)

    def run(
        self, name: str, grid: Size, block: Size, *arguments: Any, shared: int = 0, choice: Choice = CHOICES[0]
    ) -> None:
        """Run a kernel on tensors, numbers, None for a null pointer, and ctypes structures.

        Raises
        ------
        SimulationError
            When it does what no GPU need carry out.
        """
        letters = self._library.sim_parameters(name.encode()).decode()
        values = [_value(letter, argument) for letter, argument in zip(letters, arguments, strict=True)]
        addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        sizes = (_Size(*((size, 1, 1) if isinstance(size, int) else size)) for size in (grid, block))
        error = self._library.sim_run(name.encode(), *sizes, shared, _Options(*choice), addresses)
        if error is not None:
            raise SimulationError(f"{name}: {error.decode()}")

    def sites(self) -> dict[int, str]:
        """The barriers, commits and waits that were met so far: numbers for `Choice.without`, and what they are."""
        found: dict[int, str] = {}
        while (text := self._library.sim_site(len(found))) is not None:
            found[len(found)] = text.decode()
        return found


_LETTERS: dict[str, Any] = {"f": ctypes.c_float, "d": ctypes.c_double, "P": ctypes.c_void_p}
for _letter, _bits in zip("bhiq", (8, 16, 32, 64), strict=True):
    _LETTERS |= {_letter: getattr(ctypes, f"c_int{_bits}"), _letter.upper(): getattr(ctypes, f"c_uint{_bits}")}


def _value(letter: str, argument: Any) -> Any:
    """A ctypes object for a parameter; structures are passed as they are."""
    return argument if letter == "s" else _LETTERS[letter](getattr(argument, "data_ptr", lambda: argument)())


def _written(text: str) -> Path:
    """A file with this text, named after it."""
    file = bridge._cache_directory() / f"simulated-{hashlib.sha256(text.encode()).hexdigest()[:16]}.cpp"
    file.write_text(text)
    return file
