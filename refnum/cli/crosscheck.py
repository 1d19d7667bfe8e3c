"""SoftPosit as a witness: dot products in its quire, through the Python package ``softposit``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..codec import encode
from ..errors import MissingExtraError
from ..formats import Posit
from .digits import Product
from .extras import installed, require


class Count(NamedTuple):
    """What a comparison found."""

    checked: int
    different: int


class Witness(NamedTuple):
    """Whether SoftPosit can be asked."""

    available: bool
    text: str  #: its name and version, or why not and what to do


def witness() -> Witness:
    """Look for SoftPosit."""
    try:
        module = require("The cross-check", "softposit", extra="demo")
    except MissingExtraError as error:
        return Witness(False, f"{error} (softposit is compiled when it is installed: that needs a C compiler)")
    version = installed("softposit")
    if not hasattr(module, "qX2_fdp_add"):
        return Witness(False, f"softposit {version} is an empty placeholder. Install 0.3.4.4, with a C compiler.")
    return Witness(True, f"SoftPosit {version}")


def compare(products: Iterable[Product], fmt: Posit, count: int, generator: torch.Generator) -> Count:
    """Recompute ``count`` random elements of each product in SoftPosit's quire, and count the patterns that differ."""
    different = checked = 0
    for a, b, c, result in products:
        rows = torch.randint(result.shape[0], (count,), generator=generator)
        columns = torch.randint(result.shape[1], (count,), generator=generator)
        # c is one more product, c times 1.
        left = torch.cat([a[rows], torch.ones(count, 1, dtype=a.dtype)], 1)
        right = torch.cat([b[:, columns].T, c[columns, None]], 1)
        want = quire_dots(encode(left, fmt), encode(right, fmt), fmt)
        different += int((encode(result[rows, columns], fmt) != want).sum())
        checked += count
    return Count(checked, different)


def quire_dots(a: Tensor, b: Tensor, fmt: Posit) -> Tensor:
    """SoftPosit's dot products along the last axis of two matrices of patterns of posit(n,2), n up to 32.

    These are its plain functions: its objects print what goes wrong instead of raising it. Patterns stand at the top of
    a 32-bit word. The functions that take any n are right below 32 only; there ``p32`` and ``q32`` serve.
    """
    import softposit

    shift = 32 - fmt.n
    if shift:
        posit, clear, add = softposit.posit_2_t, softposit.qX2Clr, softposit.qX2_fdp_add
    else:
        posit, clear, add = softposit.posit32_t, softposit.q32Clr, softposit.q32_fdp_add

    def word(pattern: int) -> Any:
        struct = posit()
        struct.v = (pattern << shift) & 0xFFFFFFFF
        return struct

    def dot(row_a: list[int], row_b: list[int]) -> int:
        quire = clear()
        for x, y in zip(row_a, row_b, strict=True):
            quire = add(quire, word(x), word(y))
        rounded = softposit.qX2_to_pX2(quire, fmt.n) if shift else softposit.q32_to_p32(quire)
        return int(rounded.v - (rounded.v >> 31 << 32)) >> shift

    return torch.tensor([dot(*rows) for rows in zip(a.tolist(), b.tolist(), strict=True)], dtype=a.dtype)
