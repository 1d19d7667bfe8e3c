"""The cases of `cases` as hypothesis strategies: what a failing property shrinks to is as near to 0 as its kind allows.

Everything drawn is a plain Python number: a pattern or code as ``cases`` has them, or a float that the dtype holds.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from ..errors import MissingExtraError
from ..formats import Format, Minifloat, Posit, scalars
from . import cases
from .dyadics import wrap

try:
    from hypothesis import strategies as st
except ImportError:
    raise MissingExtraError(
        "refnum.testing.strategies needs hypothesis, which is not installed. It comes with the extra conformance. "
        'Run: pip install "refnum[conformance]"'
    ) from None

COUNT = 500  #: cases of each kind to draw from
MADE = ("edges", "ties")  #: the kinds that no strategy of hypothesis finds by itself


def posits(max_n: int = 64) -> st.SearchStrategy[Posit]:
    """Posit formats.

    >>> from hypothesis import find
    >>> find(posits(), lambda fmt: fmt.max_scale > 100)
    Posit(n=9, es=4)
    """
    return st.builds(Posit, st.integers(2, max_n), st.integers(0, 4))


def formats() -> st.SearchStrategy[Format]:
    """Formats that have a name and can be written, and posits of any other width."""
    rows = [row for row in scalars().values() if not isinstance(row, Minifloat) or row.subnormals]
    return st.one_of(st.sampled_from(rows), posits())


def patterns(fmt: Format) -> st.SearchStrategy[int]:
    """Codes of a format: edges and ties of functions of one argument, or any."""
    first = min(0, wrap(1 << (fmt.width - 1), fmt))
    return st.one_of(st.sampled_from(_patterns(fmt)), st.integers(first, first + (1 << fmt.width) - 1))


def tuples(op: str | int, fmt: Posit) -> st.SearchStrategy[tuple[int, ...]]:
    """Operands of a function as `cases.tuples` has them, edges and ties, or any patterns."""
    rows = _tuples(op, fmt)
    return st.one_of(st.sampled_from(rows), st.tuples(*(patterns(fmt) for _ in rows[0])))


def floats(fmt: Format, dtype: torch.dtype) -> st.SearchStrategy[float]:
    """Floats that a dtype holds, as inputs of encode: edges, ties, and random ones."""
    return st.sampled_from(_floats(fmt, dtype, cases.KINDS))


def ties(fmt: Format, dtype: torch.dtype) -> st.SearchStrategy[float]:
    """Midpoints of a format and their neighbours in a dtype."""
    return st.sampled_from(_floats(fmt, dtype, ("ties",)))


@lru_cache(maxsize=64)
def _patterns(fmt: Format) -> list[int]:
    codes = {code for kind in MADE for code in cases.patterns(fmt, kind, count=COUNT).tolist()}
    return sorted(codes, key=lambda code: (abs(code), code < 0))


@lru_cache(maxsize=64)
def _tuples(op: str | int, fmt: Posit) -> list[tuple[int, ...]]:
    columns = (torch.stack(cases.tuples(op, fmt, kind, count=COUNT), 1) for kind in MADE)
    rows = {tuple(row) for column in columns for row in column.tolist()}
    return sorted(rows, key=lambda row: (sum(map(abs, row)), row))


@lru_cache(maxsize=64)
def _floats(fmt: Format, dtype: torch.dtype, kinds: tuple[str, ...]) -> list[float]:
    values = [x for kind in kinds for x in cases.floats(fmt, kind, dtype, count=COUNT).tolist()]
    return sorted(values, key=lambda x: (math.isnan(x), abs(x)))
