"""Golden vectors: operands and right results that were computed elsewhere, in ``.npz`` files without pickled objects.

`golden` turns them into rows of the operations table.

====================  ==========================================================================================
posit_*               keys ``n<n>es<es>_<name>``, unsigned patterns
qpytorch_posit_round  ``in_<n>_<es>`` and ``out_<n>_<es>``, float32 by their bits: QPyTorch's rounding, NaR is -Inf
cuposit_round         ``in_<n>`` and ``out_<n>``: CuPosit's own rounding function
cuposit_mm            ``meta_<i>`` [n, es, M, K, N], ``ab_<i>`` alpha and beta, ``A_<i>`` to ``C_<i>``, and the results
                      with padding and without: matrix products around that rounding
p3109_values          ``Binary<k>p<p><s or u><e or f>``, float64: what the codes of IEEE P3109's formats of 3 to 8
                      bits mean, by the working group's own tables (P3109/Public at 26df0d0)
====================  ==========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FILES = ("posit_exhaustive", "posit_sampled", "posit_quire")

#: name in the files -> row of the operations table
ROWS = {name: name for name in ("add", "sub", "mul", "div", "sqrt", "ceil", "floor", "next", "prior", "fma")} | {
    "fMM": "fmm",
    "nearestInt": "nearest_int",
}
#: row -> how many operands it has
ARITY = {"add": 2, "sub": 2, "mul": 2, "div": 2, "fmm": 3, "fma": 3}
FLOATS = {"to_f32": "float32", "to_f64": "float64", "from_f64": "float64"}

_KEY = re.compile(r"n(\d+)es(\d+)_(\w+)")
_NARROW = re.compile(r"to_n(\d+)es(\d+)")


class VectorError(ValueError):
    """A file of vectors that is missing or not what it should be."""


@dataclass(frozen=True)
class Golden:
    """Some cases of one row: columns of operands, and the right results."""

    row: str
    options: Mapping[str, Any]
    operands: tuple[Array, ...]
    want: Array

    def __str__(self) -> str:
        return f"{self.row} {dict(self.options)} [{len(self.want)}]"


def directory() -> Path:
    """Where the files lie: beside the package in a checkout, inside it when installed."""
    here = Path(__file__).parent
    for place in (here / "_vectors", here.parent / "vectors"):
        if place.is_dir():
            return place
    raise VectorError(f"No golden vectors beside {here.name}: the installation is incomplete. Install it again.")


@cache
def load(name: str) -> dict[tuple[int, int], dict[str, Array]]:
    """(n, es) -> name -> array, as it stands in one file."""
    path = directory() / f"{name}.npz"
    if not path.exists():
        raise VectorError(f"There is no {path.name} among the golden vectors. The files are {', '.join(FILES)}.")
    formats: dict[tuple[int, int], dict[str, Array]] = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            found = _KEY.fullmatch(key)
            if found is None:
                raise VectorError(f"{path.name} has a key {key!r}; keys are n<n>es<es>_<name>.")
            formats.setdefault((int(found[1]), int(found[2])), {})[found[3]] = file[key]
    return formats


def golden() -> Iterator[Golden]:
    """All golden vectors as rows of the operations table."""
    for (n, es), arrays in load("posit_exhaustive").items():
        yield from _exhaustive(n, es, arrays)
    for (n, es), arrays in load("posit_sampled").items():
        yield from _sampled(n, es, arrays)
    for (n, es), arrays in load("posit_quire").items():
        yield _dots(n, es, arrays)
    yield from _qpytorch()
    yield from _cuposit()


def _exhaustive(n: int, es: int, arrays: Mapping[str, Array]) -> Iterator[Golden]:
    rows = patterns(arrays["rows"], n)
    every = patterns(np.arange(1 << n), n)
    for name, result in arrays.items():
        if name == "rows":
            continue
        count = ARITY.get(ROWS.get(name, name), 1)
        operands = np.meshgrid(rows, *[every] * (count - 1), indexing="ij")
        yield _row(n, es, name, tuple(operands), result)


def _sampled(n: int, es: int, arrays: Mapping[str, Array]) -> Iterator[Golden]:
    columns = tuple(patterns(arrays[name], n) for name in "abc")
    for name, result in arrays.items():
        if name in ("a", "b", "c", "f64_in"):
            continue
        if name == "from_f64":
            yield _row(n, es, name, (arrays["f64_in"].view(np.int64),), result)
        else:
            yield _row(n, es, name, columns[: ARITY.get(ROWS.get(name, name), 1)], result)


def _row(n: int, es: int, name: str, operands: tuple[Array, ...], result: Array) -> Golden:
    options: dict[str, Any] = {"n": n, "es": es}
    if narrow := _NARROW.fullmatch(name):
        row, options = "convert", options | {"to_n": int(narrow[1]), "to_es": int(narrow[2])}
        want = patterns(result, options["to_n"])
    elif name.startswith("to_f"):
        row, options = "to_float", options | {"dtype": FLOATS[name]}
        want = result.view(np.dtype(f"i{result.itemsize}")).astype(np.int64)
    elif name == "from_f64":
        row, options = "encode", options | {"dtype": FLOATS[name], "rounding": "nearest_even"}
        want = patterns(result, n)
    elif name in ROWS:
        row, want = ROWS[name], patterns(result, n)
    else:
        raise VectorError(f"posit({n},{es}) has vectors of {name!r}, which no row of the operations table is.")
    if any(operand.shape != want.shape for operand in operands):
        shapes = ", ".join(str(operand.shape) for operand in operands)
        raise VectorError(f"{row} in posit({n},{es}) has operands {shapes} and results {want.shape}: make them equal.")
    return Golden(row, options, tuple(operand.reshape(-1) for operand in operands), want.reshape(-1))


def _dots(n: int, es: int, arrays: Mapping[str, Array]) -> Golden:
    """Dot products of all lengths as rows of one length: terms 0 * 0 change nothing."""
    lengths = arrays["len"].astype(np.int64)
    if not len(arrays["p"]) == len(arrays["q"]) == lengths.sum() or len(arrays["qToP"]) != len(lengths):
        raise VectorError(f"The dots of posit({n},{es}) do not have the lengths that they say.")
    inside = np.arange(lengths.max()) < lengths[:, None]
    columns = []
    for name in "pq":
        column = np.zeros(inside.shape, np.int64)
        column[inside] = patterns(arrays[name], n)
        columns.append(column)
    return Golden("quire_dot", {"n": n, "es": es}, tuple(columns), patterns(arrays["qToP"], n))


def arrays(name: str) -> dict[str, Array]:
    """The arrays of one file; float32s given by their bits are sign-extended."""
    with np.load(directory() / f"{name}.npz", allow_pickle=False) as file:
        found = {key: file[key] for key in file.files}
    return {key: x.view(np.int32).astype(np.int64) if x.dtype == np.uint32 else x for key, x in found.items()}


def _qpytorch() -> Iterator[Golden]:
    """Rounded floats. Its NaR is -Inf, ours is NaN."""
    found = arrays("qpytorch_posit_round")
    for key, x in found.items():
        if key.startswith("in_"):
            n, es = map(int, key.split("_")[1:])
            want = found[key.replace("in", "out")]
            minus_infinity, nan = 0xFF800000 - (1 << 32), 0x7FC00000
            options = {"n": n, "es": es, "dtype": "float32", "rounding": "nearest_even"}
            yield Golden("quantize", options, (x,), np.where(want == minus_infinity, nan, want))


def _cuposit() -> Iterator[Golden]:
    """Matrix products with and without padding; one recorded product is one case."""
    found = arrays("cuposit_mm")
    for key in found:
        if not key.startswith("meta_"):
            continue
        i = key.removeprefix("meta_")
        n, es = found[key][:2].tolist()
        alpha, beta = found[f"ab_{i}"].tolist()
        options = {"n": n, "es": es, "dtype": "float32", "alpha": alpha, "beta": beta}
        operands = tuple(found[f"{name}_{i}"][None] for name in "ABC")
        for k_pad, name in ((8, "Dcutlass"), (None, "Dnopad")):
            yield Golden("posit_mm_cuposit", options | {"k_pad": k_pad}, operands, found[f"{name}_{i}"][None])


def patterns(x: Array, n: int) -> Array:
    """Unsigned n-bit patterns as sign-extended int64.

    >>> patterns(np.array([0x40, 0x80], np.uint8), 8)
    array([  64, -128])
    """
    if x.dtype == np.uint64:
        x = x.view(np.int64)
    unused = 64 - n
    return x.astype(np.int64) << unused >> unused
