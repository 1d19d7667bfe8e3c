"""Golden vectors of products of matrices of floats (gemm.md 8).

===========  ========================================================================================================
gemm_chain   ``<case>/a`` [M, K], ``/b`` [K, N], ``/bias`` [N] if there is one, ``/d`` [M, N]; ``index`` says which
             order each case has. ``fma/<family>/a`` to ``/d``: numbers of which one is a * b + c
gemm_exact   the same; ``/d``, ``/d_bf16`` and ``/d_f16``, each rounded once
gemm_orders  the same in the other orders of float32
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
