"""Names that every doctest may use."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import refnum


@pytest.fixture(autouse=True)
def _names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, refnum=refnum, Posit=refnum.Posit, Minifloat=refnum.Minifloat)
