"""Quotients of exact sums, rounded once.

The definition divides Python's integers. Quotients of both sums, each rounded to float64, are less than 2**-51 of
themselves off: where all numbers so near round alike, so does the quotient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS
from ..core.decode import LIMB, Exact
from ..core.exact import WORD
from ..core.round import encode
from ..fast.conversions import INTEGER, converted
from ..fast.vectors import Place
from .partial import ExactPartial
from .results import canonical_nan

NEAR = 2.0**-50  #: of a quotient: it is no further off, nor are the ends of what lies so near


def divided(numerator: ExactPartial, denominator: ExactPartial, dtype: torch.dtype) -> Tensor:
    """Quotients [.., M, N] of sums [.., M, N] of products of float32s by sums [.., M, 1], as IEEE 754 divides.

    They are rounded to float32, bfloat16 or float16; NaN is written as the largest pattern.
    """
    quotient = numerator.round(torch.float64) / denominator.round(torch.float64)
    result, other = (converted(quotient * end, dtype) for end in (1.0 - NEAR, 1.0 + NEAR))
    patterns = result.view(INTEGER[dtype])
    doubtful = (patterns != other.view(INTEGER[dtype])).nonzero().unbind(1)
    if doubtful[0].numel():
        first = (*doubtful[:-1], torch.zeros_like(doubtful[-1]))
        decided = by_definition(_integers(numerator, doubtful), _integers(denominator, first), dtype)
        patterns[doubtful] = decided.to(patterns.device)
    patterns.masked_fill_(quotient.isnan(), canonical_nan(dtype))
    return result


def _integers(sums: ExactPartial, places: tuple[Tensor, ...]) -> list[tuple[int, int]]:
    """Some of the sums as (integer, exponent)."""
    place: Place = (slice(None), *places)
    columns = sums.digits[place].mT.tolist()
    exponent = WORD * sums.least
    return [(sum(digit << (WORD * i) for i, digit in enumerate(column)), exponent) for column in columns]


def by_definition(numerators: list[tuple[int, int]], denominators: list[tuple[int, int]], dtype: torch.dtype) -> Tensor:
    """Patterns of the quotients of numbers (integer, exponent), none of them 0 and the second ones positive."""
    quotients = [_quotient(*x, *y) for x, y in zip(numerators, denominators, strict=True)]
    sign, significand, exponent = torch.tensor(quotients, dtype=torch.int64, device="cpu").unbind(1)
    row = FLOAT_ROWS[dtype]
    patterns = encode(Exact(sign, (significand,), exponent, torch.zeros_like(sign)), row)
    return patterns.to(INTEGER[dtype])


def _quotient(n: int, n_exponent: int, d: int, d_exponent: int) -> tuple[int, int, int]:
    """Sign, a significand of LIMB bits of which the last is sticky, and exponent, as `Exact` has them."""
    # n / d = 2**-shift * q, and q has LIMB or LIMB + 1 bits before the point.
    shift = LIMB + d.bit_length() - abs(n).bit_length()
    q, rest = divmod(abs(n) << max(shift, 0), d << max(-shift, 0))
    surplus = q.bit_length() - LIMB
    lost = rest | (q & ((1 << surplus) - 1))
    return -(n < 0), q >> surplus | (lost != 0), LIMB - 1 + surplus - shift + n_exponent - d_exponent
