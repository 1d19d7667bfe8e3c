"""From checked patterns through a kernel to patterns: what all functions of the standard share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .. import backend
from ..boundary import broadcast, check_codes, check_posit, container
from ..core.decode import Exact, decode
from ..core.round import encode
from ..fast.chunks import CHUNK, elementwise
from ..formats import Posit


def on_patterns(
    function: str, kernel: Callable[..., Tensor], fmt: Posit, *, dtype: torch.dtype | None = None, **patterns: Tensor
) -> Tensor:
    """Check and broadcast the patterns, then run ``kernel(*patterns, fmt)`` on them."""
    operands = checked(function, fmt, **patterns)
    return in_pieces(lambda *x: kernel(*x, fmt), operands, fmt, dtype or container(fmt))


def on_values(function: str, exact: Callable[..., Exact], fmt: Posit, **patterns: Tensor) -> Tensor:
    """As `on_patterns` for a function of exact values, whose result is rounded once; kernels may serve it."""
    operands = checked(function, fmt, **patterns)
    if served := backend.kernel(f"posit_{function}", operands[0]):
        result: Tensor = served(*operands, fmt)
        return result
    return rounded_once(exact, fmt, *operands)


def checked(function: str, fmt: Posit, **patterns: Tensor) -> tuple[Tensor, ...]:
    """The patterns, once they are checked, in their common shape."""
    function = f"posit.{function}"
    check_posit(function, fmt)
    for name, x in patterns.items():
        check_codes(function, name, x, fmt)
    return broadcast(function, **patterns)


def rounded_once(exact: Callable[..., Exact], fmt: Posit, *operands: Tensor) -> Tensor:
    """The reference of a function of exact values, for patterns of one shape that were checked."""

    def kernel(*pieces: Tensor) -> Tensor:
        return encode(exact(*(decode(x, fmt) for x in pieces), fmt), fmt)

    return in_pieces(kernel, operands, fmt, container(fmt))


def in_pieces(kernel: Callable[..., Tensor], operands: tuple[Tensor, ...], fmt: Posit, dtype: torch.dtype) -> Tensor:
    """What the kernel makes of patterns of one shape."""
    chunk = CHUNK if fmt.n <= 32 else CHUNK // 2  # above, values have two limbs
    return elementwise(kernel, *operands, dtype=dtype, chunk=chunk)


def sign_extended(bits: Tensor, fmt: Posit) -> Tensor:
    """The pattern in the low n bits, as int64."""
    unused = 64 - fmt.n
    return bits.to(torch.int64) << unused >> unused
