"""From checked patterns through a kernel to patterns: what all functions of the standard share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..boundary import broadcast, check_codes, check_posit, container
from ..core.decode import Exact, decode
from ..core.round import encode
from ..fast.chunks import CHUNK, elementwise
from ..formats import Posit


def on_patterns(
    function: str, kernel: Callable[..., Tensor], fmt: Posit, *, dtype: torch.dtype | None = None, **patterns: Tensor
) -> Tensor:
    """Check and broadcast the patterns, then run ``kernel(*patterns, fmt)`` on them."""
    function = f"posit.{function}"
    check_posit(function, fmt)
    for name, x in patterns.items():
        check_codes(function, name, x, fmt)
    operands = broadcast(function, **patterns)
    chunk = CHUNK if fmt.n <= 32 else CHUNK // 2  # above, values have two limbs
    return elementwise(lambda *x: kernel(*x, fmt), *operands, dtype=dtype or container(fmt), chunk=chunk)


def on_values(function: str, exact: Callable[..., Exact], fmt: Posit, **patterns: Tensor) -> Tensor:
    """As `on_patterns` for a function of exact values, whose result is rounded once."""

    def kernel(*operands: Tensor | Posit) -> Tensor:
        values = (decode(x, fmt) for x in operands if isinstance(x, Tensor))
        return encode(exact(*values, fmt), fmt)

    return on_patterns(function, kernel, fmt, dtype=None, **patterns)


def sign_extended(bits: Tensor, fmt: Posit) -> Tensor:
    """The pattern in the low n bits, as int64."""
    unused = 64 - fmt.n
    return bits.to(torch.int64) << unused >> unused
