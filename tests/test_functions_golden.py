"""Golden vectors of the standard's elementary functions: refnum and both forms of the oracle give all of them."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import torch
from refnum_conformance import function_vectors
from refnum_conformance.oracles import elementary
from refnum_conformance.peers import mpfr
from refnum_conformance.vectors import Golden

from refnum import Posit, posit

VECTORS = {
    row: list(found) for row, found in groupby(sorted(function_vectors.golden(), key=lambda g: g.row), lambda g: g.row)
}
PLAIN = 40  #: cases of each vector that are written out


def test_all_functions_are_there() -> None:
    assert VECTORS.keys() == elementary.BY_STANDARD.keys()
    assert sum(len(g.want) for found in VECTORS.values() for g in found) == 324_688


@pytest.mark.parametrize("row", VECTORS)
def test_refnum_gives_them(row: str) -> None:
    for g in VECTORS[row]:
        got = getattr(posit, row)(*map(torch.from_numpy, g.operands), Posit(**g.options)).numpy()
        assert not _different(g, got)


@pytest.mark.parametrize("row", VECTORS)
def test_the_oracle_gives_them_in_columns(row: str) -> None:
    possible, reason = mpfr.available()
    if not possible:
        pytest.skip(reason)
    for g in VECTORS[row]:
        assert not _different(g, mpfr.posits(elementary.BY_STANDARD[row], *g.operands, **g.options))


@pytest.mark.parametrize("row", VECTORS)
def test_the_oracle_gives_them_one_by_one(row: str) -> None:
    pytest.importorskip("gmpy2")
    function = elementary.of_posits(elementary.BY_STANDARD[row])
    for g in VECTORS[row]:
        spread = slice(None, None, -(-len(g.want) // PLAIN))
        some = Golden(g.row, g.options, tuple(x[spread] for x in g.operands), g.want[spread])
        cases = zip(*(x.tolist() for x in some.operands), strict=True)
        assert not _different(some, np.array([function(*case, **g.options) for case in cases]))


def _different(g: Golden, got: np.ndarray) -> list[str]:
    return [
        f"{g.row}({', '.join(str(x[i]) for x in g.operands)}) in {Posit(**g.options)}: {got[i]}, not {g.want[i]}"
        for i in np.flatnonzero(got != g.want)[:5]
    ]
