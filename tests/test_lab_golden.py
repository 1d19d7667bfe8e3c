"""Recorded results of MASE, mase-triton and mase-cuda: equal to refnum's, or different as often as is known.

Where a result differs, refnum's is the oracle's, which is asked at every element.
"""

from __future__ import annotations

import numpy as np
import pytest
from lab_bridge import Array, differ, floats, format_of, numbers, tensor
from refnum_conformance import mase_vectors
from refnum_conformance.known_deviations import mase
from refnum_conformance.mase_vectors import Case
from refnum_conformance.oracles import lab
from refnum_conformance.oracles.minifloat import Row, Special

import refnum

ELEMENTWISE = list(mase_vectors.elementwise())


def _values(bits: Array) -> Array:
    return bits.view(np.float32)


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_numbers(case: Case) -> None:
    x, out = _values(case.x), _values(case.out)
    found = refnum.quantize(tensor(case.x), format_of(case.fmt), rounding=case.rounding).numpy()
    wrong = differ(found, out)
    finite = wrong & np.isfinite(x)
    beyond = finite & (np.abs(x) > np.float32(1e-8))
    assert (finite.sum(), beyond.sum()) == mase.ELEMENTWISE.get(case.tag, (0, 0))
    assert not (case.tag.startswith("integer") and wrong.any())  # NaN and Inf are equal as well

    asked = wrong.copy()
    asked[::7] = True
    assert not differ(found[asked], _right(case, case.x[asked])).any()


@pytest.mark.slow
@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_all_numbers_are_the_oracles(case: Case) -> None:
    found = refnum.quantize(tensor(case.x), format_of(case.fmt), rounding=case.rounding).numpy()
    assert not differ(found, _right(case, case.x)).any()


def _right(case: Case, x: Array) -> Array:
    """What the oracle makes of them: NaN stays NaN, but for minifloats, which have a code for it or give 0."""
    found = []
    for number in numbers(x):
        kept = number[1] is Special.NAN and not isinstance(case.fmt, Row)
        found.append(number if kept else lab.decode(lab.encode(number, case.fmt, case.rounding), case.fmt))
    return floats(found, x.shape)
