"""Basic functions of one argument: section 5.2. None of them rounds to the format: every result is a posit already."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..core.decode import decode
from ..core.exact import from_integer, select
from ..core.pack import pack_integer
from ..core.round import RULES, encode
from ..formats import Posit
from ._patterns import on_patterns, sign_extended


def negate(a: Tensor, fmt: Posit) -> Tensor:
    """-a: the two's complement of the pattern.

    >>> negate(torch.tensor([0x40, 0, -0x80]), Posit(8))
    tensor([ -64,    0, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: 0 and NaR stay.
    Standard: Posit Standard (2022) 5.2, negate.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("negate", _negate, fmt, a=a)


def abs(a: Tensor, fmt: Posit) -> Tensor:
    """The magnitude of a.

    >>> abs(torch.tensor([-0x40, 0x40, -0x80]), Posit(8))
    tensor([  64,   64, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR stays.
    Standard: Posit Standard (2022) 5.2, abs.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("abs", _abs, fmt, a=a)


def sign(a: Tensor, fmt: Posit) -> Tensor:
    """The posit 1, -1 or 0 with the sign of a.

    >>> sign(torch.tensor([-1, 0, 0x7F, -0x80]), Posit(8))
    tensor([ -64,    0,   64, -128], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR stays.
    Standard: Posit Standard (2022) 5.2, sign.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("sign", _sign, fmt, a=a)


def next(a: Tensor, fmt: Posit) -> Tensor:
    """The posit that follows a: pattern + 1.

    >>> next(torch.tensor([0, 0x7F, -0x80, -1]), Posit(8))
    tensor([   1, -128, -127,    0], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: wraps around: maxpos gives NaR, and NaR gives -maxpos.
    Standard: Posit Standard (2022) 5.2, next.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("next", _next, fmt, a=a)


def prior(a: Tensor, fmt: Posit) -> Tensor:
    """The posit before a: pattern - 1.

    >>> prior(torch.tensor([0, -0x7F, -0x80, 1]), Posit(8))
    tensor([  -1, -128,  127,    0], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: wraps around: -maxpos gives NaR, and NaR gives maxpos.
    Standard: Posit Standard (2022) 5.2, prior.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("prior", _prior, fmt, a=a)


def nearest_int(a: Tensor, fmt: Posit) -> Tensor:
    """The integer nearest to a, the even one of two.

    >>> nearest_int(torch.tensor([0x44, 0x4A, 0x38]), Posit(8))  # 1.5, 2.5, 0.5
    tensor([72, 72,  0], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR stays.
    Standard: Posit Standard (2022) 5.2, nearestInt.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("nearest_int", _integral("nearest_even"), fmt, a=a)


def ceil(a: Tensor, fmt: Posit) -> Tensor:
    """The least integer not below a.

    >>> ceil(torch.tensor([0x44, -0x44, 0x01]), Posit(8))  # 1.5, -1.5, minpos
    tensor([ 72, -64,  64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR stays.
    Standard: Posit Standard (2022) 5.2, ceil.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("ceil", _integral("toward_positive"), fmt, a=a)


def floor(a: Tensor, fmt: Posit) -> Tensor:
    """The largest integer not above a.

    >>> floor(torch.tensor([0x44, -0x44, 0x01]), Posit(8))  # 1.5, -1.5, minpos
    tensor([ 64, -72,   0], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR stays.
    Standard: Posit Standard (2022) 5.2, floor.
    Cost: O(numel) time, result + 4 MB.
    """
    return on_patterns("floor", _integral("toward_negative"), fmt, a=a)


def _negate(a: Tensor, fmt: Posit) -> Tensor:
    return sign_extended(-a.to(torch.int64), fmt)


def _abs(a: Tensor, fmt: Posit) -> Tensor:
    return sign_extended(sign_extended(a, fmt).abs(), fmt)


def _sign(a: Tensor, fmt: Posit) -> Tensor:
    x = sign_extended(a, fmt)
    one = 1 << (fmt.n - 2)
    return torch.where(x == fmt.nar, x, x.sign() * one)


def _next(a: Tensor, fmt: Posit) -> Tensor:
    return sign_extended(a.to(torch.int64) + 1, fmt)


def _prior(a: Tensor, fmt: Posit) -> Tensor:
    return sign_extended(a.to(torch.int64) - 1, fmt)


def _integral(rounding: str) -> Callable[[Tensor, Posit], Tensor]:
    def kernel(a: Tensor, fmt: Posit) -> Tensor:
        # A value of at least 2**61 is an integer already: no significand has more than 62 bits.
        x = decode(a, fmt)
        wide = pack_integer(x)
        rounded = from_integer(wide.head + RULES[rounding](wide, None), x.sign, x.kind)
        large = (60 - x.exponent) >> 63
        return select(large, sign_extended(a, fmt), encode(rounded, fmt))

    return kernel
