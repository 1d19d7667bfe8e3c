"""SoftPosit as a witness: dot products in its quire, through the Python package ``softposit``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

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


def witness() -> tuple[str | None, str]:
    """SoftPosit's version, or None; and how to say it."""
    try:
        module = require("The cross-check", "softposit", extra="demo")
    except MissingExtraError as error:
        return None, f"{error} (installing softposit needs a C compiler)"
    version = installed("softposit") or "of unknown version"
    if not hasattr(module, "quire_2"):
        return None, f"softposit {version} is an empty placeholder. Install 0.3.4.4 or later, which needs a C compiler"
    return version, f"SoftPosit {version}"


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
    """SoftPosit's dot products along the last axis of two matrices of patterns of posit(n,2).

    n = 32 goes to its ``quire32``: ``quire_2``, which takes any n in one 32-bit word, is right below 32 only.
    """
    import softposit

    mask, sign = (1 << fmt.n) - 1, 1 << (fmt.n - 1)
    fixed = fmt.n == 32
    results = []
    for row_a, row_b in zip((a & mask).tolist(), (b & mask).tolist(), strict=True):
        quire = softposit.quire32() if fixed else softposit.quire_2(fmt.n)
        for x, y in zip(row_a, row_b, strict=True):
            posits = (softposit.posit32(bits=p) if fixed else softposit.posit_2(x=fmt.n, bits=p) for p in (x, y))
            quire.qma(*posits)
        word = quire.toPosit().v.v >> (0 if fixed else 32 - fmt.n)
        results.append((word ^ sign) - sign)
    return torch.tensor(results, dtype=a.dtype)
