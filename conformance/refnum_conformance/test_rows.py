"""Every row of the operations table on the target of ``--refnum-target``; see `refnum_conformance.plugin`."""

from __future__ import annotations

from .plugin import RowUnderTest


def test_row(refnum_row: RowUnderTest) -> None:
    """The target gives the right bits."""
    refnum_row.check()
