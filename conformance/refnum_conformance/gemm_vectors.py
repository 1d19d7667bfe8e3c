"""Golden vectors of products of matrices of floats (gemm.md 8).

===========  ========================================================================================================
gemm_chain   ``<case>/a`` [M, K], ``/b`` [K, N], ``/bias`` [N] if there is one, ``/d`` [M, N]; ``index`` says which
             order each case has. ``fma/<family>/a`` to ``/d``: numbers of which one is a * b + c
gemm_exact   the same; ``/d``, ``/d_bf16`` and ``/d_f16``, each rounded once
gemm_orders  the same in the other orders of float32
gemm_mma     ``<architecture>.<instruction>.<types>.<accumulator>.K<K>/a`` [n, M, K], ``/b`` [n, K, N], ``/c``
             [n, M, N], ``/d``: what microsoft/MMA-Sim makes of them; ``tcsplit.*`` with ``/bias`` [n, N] for ``/c``
gemm_mfma    ``<instruction>/<types>.K<K>/a`` to ``/d``: the same of AMD's
===========  ========================================================================================================

tensorcores_hopper was recorded from an H100: ``hopper.<kernel>.K<K>/a`` to ``/d`` as in gemm_mma; ``/kind`` [n] says
which of the families ``kinds`` each tile is of, ``about`` where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .known_deviations.mma_sim import REFUTED
from .vectors import Golden, directory

Array = NDArray[Any]

#: order -> row of the operations table, and its options
ROWS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "chain": ("gemm_chain", {}),
    "exact": ("gemm_exact", {}),
    **{f"tree{chunk}": ("gemm_tree", {"chunk": chunk}) for chunk in (16, 32, 256)},
    **{f"sgbi.{order}": ("gemm_sgbi", {"order": order}) for order in ("slab8", "lane32", "splitk32", "splitk64")},
    "sgbi.splitm_f64.16": ("gemm_sgbi", {"order": "splitm_f64", "c": 16}),
}
FILES = ("gemm_chain", "gemm_exact", "gemm_orders")
RESULTS = {"d": "float32", "d_bf16": "bfloat16", "d_f16": "float16"}
FLOAT32 = {"a_dtype": "float32", "b_dtype": "float32"}


def golden() -> Iterator[Golden]:
    """All of them; a product is one case."""
    for name in FILES:
        arrays = _load(name)
        for about in map(json.loads, arrays.pop("index").tolist()):
            yield from _products(about, arrays)
    yield from _fmas(_load("gemm_chain"))
    for name, read in (("gemm_mma", _mma), ("gemm_mfma", _mfma)):
        arrays = _load(name)
        for key in sorted({key.rpartition("/")[0] for key in arrays}):
            row, options, last = read(key)
            parts = unrefuted({part: arrays[f"{key}/{part}"] for part in ("a", "b", last, "d")}, key)
            yield _tiles(row, options, *parts.values())
    for key, parts in hopper():
        if (chosen := chosen_by(key)) is not None:
            yield _tiles("gemm_tensorcore_add", chosen, *(x[::HOPPER_TILES] for x in parts.values()))


def unrefuted(parts: Mapping[str, Array], key: str) -> dict[str, Array]:
    """Tiles of gemm_mma without those that the hardware contradicts."""
    return {part: np.delete(x, REFUTED.get(key, ()), 0) for part, x in parts.items()}


def hopper() -> Iterator[tuple[str, dict[str, Array]]]:
    """Names of kernels with their K, and a, b, c and d of the hardware."""
    arrays = _load("tensorcores_hopper")
    for key in (name.removesuffix("/a") for name in arrays if name.endswith("/a")):
        yield key.removeprefix("hopper."), {part: arrays[f"{key}/{part}"] for part in "abcd"}


def _load(name: str) -> dict[str, Array]:
    """The arrays of a file, patterns sign-extended."""
    with np.load(directory() / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return {key: x if x.dtype.kind == "U" else x.view(f"i{x.itemsize}").astype(np.int64) for key, x in arrays.items()}


def _products(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Iterator[Golden]:
    row, options = ROWS[about["order"]]
    part = {
        name: arrays[key][None] for name in (*"ab", "bias", *RESULTS) if (key := f"{about['case']}/{name}") in arrays
    }
    operands = (part["a"], part["b"].swapaxes(1, 2), *([part["bias"]] if "bias" in part else []))
    for name, dtype in RESULTS.items():
        if name in part:
            yield _golden(row, {**FLOAT32, "dtype": dtype, **options}, operands, part[name])


def _golden(row: str, options: Mapping[str, Any], operands: tuple[Array, ...], want: Array) -> Golden:
    """Of the row with a bias, where there is one."""
    if len(operands) < 3:
        return Golden(row, options, operands, want)
    return Golden(f"{row}_add", {"bias_dtype": "float32", **options}, operands, want)


def _fmas(arrays: Mapping[str, Array]) -> Iterator[Golden]:
    """Products of one row, one column and one term."""
    for family in sorted({key.split("/")[1] for key in arrays if key.startswith("fma/")}):
        a, b, c, d = (arrays[f"fma/{family}/{name}"] for name in "abcd")
        yield _golden(
            "gemm_chain",
            {**FLOAT32, "dtype": "float32"},
            (a[:, None, None], b[:, None, None], c[:, None]),
            d[:, None, None],
        )


# Tiles of instructions: every row of a tile is a case, as each has addends of its own ---------------------------------

#: types in the files -> dtypes and the kind in names of instructions
TYPES = {
    "bf16": ("bfloat16", "bf16"),
    "f16": ("float16", "f16"),
    "tf32": ("float32", "tf32"),
    "e4m3": ("float8_e4m3fn", "fp8"),
    "e5m2": ("float8_e5m2", "fp8"),
    "fp8": ("float8_e4m3fnuz", "fp8"),
    "bf8": ("float8_e5m2fnuz", "fp8"),
}
#: of an instruction, by the kind of its operands; others have theirs in their names
MOST_TERMS = {"bf16": "k16", "f16": "k16", "tf32": "k8", "fp8": "k32"}
HOPPER_TILES = 4  #: of a family; one is a golden vector


def _tiles(row: str, options: Mapping[str, Any], a: Array, b: Array, c: Array, d: Array) -> Golden:
    count, rows = d.shape[:2]
    addends = c if c.ndim == 3 else c[:, None].repeat(rows, 1)
    return Golden(
        row,
        options,
        (
            a.reshape(count * rows, 1, -1),
            b.swapaxes(1, 2).repeat(rows, 0),
            addends.reshape(count * rows, -1),
        ),
        d.reshape(count * rows, 1, -1),
    )


def _sides(types: str) -> dict[str, str]:
    """``e4m3_e5m2``, or one for both."""
    first, _, second = types.partition("_")
    return {"a_dtype": TYPES[first][0], "b_dtype": TYPES[second or first][0]}


def _mma(key: str) -> tuple[str, dict[str, Any], str]:
    """Of NVIDIA: ``hopper.wgmma.e4m3_e5m2.f32.K64``, ``tcsplit.hopper.bf16.Kc128.K320``."""
    first, second, types, accumulator, _ = key.split(".")
    options: dict[str, Any] = {**_sides(types), "dtype": "float32", "bias_dtype": "float32"}
    kind = TYPES[types.partition("_")[0]][1]
    if first == "tcsplit":
        chunk = int(accumulator.removeprefix("Kc"))
        return "gemm_tcsplit_add", {**options, "instruction": f"{second}.{kind}", "chunk": chunk}, "bias"
    name = f"{first}.{kind}" + (".k8" if second == "mma_k8" else "")
    if accumulator == "f16":
        name, options["dtype"], options["bias_dtype"] = f"{name}.acc16", "float16", "float16"
    return "gemm_tensorcore_add", {**options, "instruction": name}, "c"


def chosen_by(key: str) -> dict[str, Any] | None:
    """Options, by what `hopper` names: ``wgmma_bf16_k16.K32``. There is no contract of mma.sync of 8 bits."""
    group, *types, terms = key.partition(".")[0].removesuffix("_acc16").split("_")
    if group == "mma" and len(types) > 1:
        return None
    kind = TYPES[types[0]][1]
    name = f"hopper.{kind}" + ("" if terms == MOST_TERMS[kind] else f".{terms}")
    dtype, suffix = ("float16", ".acc16") if "_acc16" in key else ("float32", "")
    return {**_sides("_".join(types)), "dtype": dtype, "bias_dtype": dtype, "instruction": name + suffix}


def _mfma(key: str) -> tuple[str, dict[str, Any], str]:
    """Of AMD: ``cdna3.fp8.k16/fp8_bf8.K40``."""
    name, _, rest = key.partition("/")
    options = {**_sides(rest.partition(".")[0]), "dtype": "float32", "bias_dtype": "float32"}
    return "gemm_tensorcore_add", {**options, "instruction": name}, "c"
