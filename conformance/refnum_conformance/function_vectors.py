"""Golden vectors of elementary functions, computed elsewhere with mpmath: ``posit_elem_<n>_<es>``.

Keys ``n<n>es<es>_<name>`` hold unsigned patterns under the standard's names, but for ``sinh`` and its like. ``x`` are
the operands of one argument and the first ones of two, ``y`` the second ones and ``k`` the integers, where they differ
from case to case. Else ``compound_<k>`` and ``rootN_<k>`` say the integer, and a matrix has a column for each pattern.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np

from .oracles.elementary import BY_STANDARD
from .vectors import Array, Golden, directory, patterns

FORMATS = ((8, 2), (16, 2), (32, 2))
HYPERBOLIC = {"sinh": "sin_h", "cosh": "cos_h", "tanh": "tan_h"} | {
    f"arc{name}": f"arc_{name.lower()[:-1]}_h" for name in ("Sinh", "Cosh", "Tanh")
}


def golden() -> Iterator[Golden]:
    """All of them as rows of the operations table."""
    for n, es in FORMATS:
        with np.load(directory() / f"posit_elem_{n}_{es}.npz", allow_pickle=False) as file:
            arrays = {key.removeprefix(f"n{n}es{es}_"): file[key] for key in file.files}
        for key in arrays:
            if key not in ("x", "y", "k"):
                yield _row(n, es, key, arrays)


def _row(n: int, es: int, key: str, arrays: Mapping[str, Array]) -> Golden:
    name, _, integer = key.partition("_")
    row, want = row_name(name), patterns(arrays[key], n)
    operands = [patterns(arrays["x"], n)]
    if integer:
        operands.append(np.full(len(want), int(integer)))
    elif BY_STANDARD[row].operands == "xk":
        operands.append(arrays["k"].astype(np.int64))
    elif want.ndim == 2:
        operands = list(np.meshgrid(*operands, patterns(np.arange(1 << n), n), indexing="ij"))
    elif BY_STANDARD[row].operands == "xy":
        operands.append(patterns(arrays["y"], n))
    return Golden(row, {"n": n, "es": es}, tuple(x.reshape(-1) for x in operands), want.reshape(-1))


def row_name(name: str) -> str:
    """The row of a name of the standard.

    >>> [row_name(name) for name in ("exp2Minus1", "arcTan2Pi", "rSqrt", "arcSinh")]
    ['exp2_minus1', 'arc_tan2_pi', 'r_sqrt', 'arc_sin_h']
    """
    return HYPERBOLIC.get(name) or re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
