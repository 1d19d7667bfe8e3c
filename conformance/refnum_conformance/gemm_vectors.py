"""Golden vectors of products of matrices of floats (gemm.md 8).

===========  ========================================================================================================
gemm_chain   ``<case>/a`` [M, K], ``/b`` [K, N], ``/bias`` [N] if there is one, ``/d`` [M, N]; ``index`` says which
             order each case has. ``fma/<family>/a`` to ``/d``: numbers of which one is a * b + c
gemm_exact   the same; ``/d``, ``/d_bf16`` and ``/d_f16``, each rounded once
===========  ========================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .vectors import Golden, directory

Array = NDArray[Any]

#: order -> row of the operations table, and its options
ROWS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "chain": ("gemm_chain", {}),
    "exact": ("gemm_exact", {}),
}
RESULTS = {"d": "float32", "d_bf16": "bfloat16", "d_f16": "float16"}
FLOAT32 = {"a_dtype": "float32", "b_dtype": "float32"}


def golden() -> Iterator[Golden]:
    """All of them; a product is one case."""
    for name in ("gemm_chain", "gemm_exact"):
        arrays = _load(name)
        for about in map(json.loads, arrays.pop("index").tolist()):
            yield from _products(about, arrays)
    yield from _fmas(_load("gemm_chain"))


def _load(name: str) -> dict[str, Array]:
    """The arrays of a file, patterns sign-extended."""
    with np.load(directory() / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return {key: x if x.dtype.kind == "U" else x.view(f"i{x.itemsize}").astype(np.int64) for key, x in arrays.items()}


def _products(about: Mapping[str, Any], arrays: Mapping[str, Array]) -> Iterator[Golden]:
    row, options = ROWS[about["order"]]
    of = {name: arrays[f"{about['case']}/{name}"] for name in ("a", "b", "bias") if name != "bias" or about["bias"]}
    operands = (of["a"], of["b"].T, *(of[name] for name in ("bias",) if name in of))
    for name, dtype in RESULTS.items():
        if (key := f"{about['case']}/{name}") in arrays:
            asked = {**FLOAT32, "dtype": dtype, **options}
            yield _golden(row, asked, tuple(x[None] for x in operands), arrays[key][None])


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
