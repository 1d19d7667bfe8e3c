"""The definition: functions of codes on integers, one element after the other, correctly rounded in any format.

D1. A real number is enclosed in an interval. If both ends round to one code, so does the number: rounding is monotonic.
D2. If not, the interval is made narrower, twice the bits each time (A. Ziv, "Fast evaluation of elementary mathematical
    functions with correctly rounded last bit", ACM TOMS 17, 1991).
D3. That ends, unless the number is itself where roundings change. Such a number is dyadic and short; numbers of this
    kind are recognised by theorems about each function, and have an interval of no width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.decode import INFINITE, LIMB, NAN, Exact, decode
from ..core.exact import MASK
from ..core.round import encode
from ..errors import RefnumError
from ..formats import Format, Posit, float64
from ..reals.enclosures import ENCLOSURES
from ..reals.intervals import Dyadic, Interval
from .specials import Call, Operand, Resolved, resolve

PIECE = 1 << 12  #: elements at a time: as Python objects they take 4 MB
GUARD = 24  #: bits beyond a result's, in the first interval
MOST = 1 << 16  #: bits of the narrowest interval
OPEN = 200  #: bits by which the ends of an interval are refined; places where roundings change have fewer
FAR = 1 << 20  #: an exponent that is beyond every format


def decide(
    name: str, operands: Sequence[Tensor], sources: Sequence[Format], fmt: Format, k: Tensor | None = None
) -> Tensor:
    """Codes, as int64, of a function of codes [N] of the sources, and of an integer [N] if it takes one."""
    inputs = [x.split(PIECE) for x in (*operands, *(() if k is None else (k,)))]
    pieces = [_decide_piece(name, some, sources, fmt) for some in zip(*inputs, strict=True)]
    return torch.cat(pieces).to(operands[0].device)


def _decide_piece(name: str, inputs: Sequence[Tensor], sources: Sequence[Format], fmt: Format) -> Tensor:
    columns: list[list[Any]] = [_operands(x, source) for x, source in zip(inputs, sources)]  # noqa: B905 - and an integer
    integers = inputs[-1].tolist() if len(inputs) > len(sources) else [None] * len(inputs[0])
    posit = isinstance(fmt, Posit)
    return _rounded([resolve(name, tuple(x), i, posit=posit) for *x, i in zip(*columns, integers, strict=True)], fmt)


def _operands(codes: Tensor, source: Format) -> list[Operand]:
    x = decode(codes.cpu(), source)
    parts = (x.sign, x.significand[0], x.exponent, x.kind)
    return [_operand(*each) for each in zip(*(part.tolist() for part in parts), strict=True)]


def _operand(sign: int, significand: int, exponent: int, kind: int) -> Operand:
    if kind == NAN:
        return Operand(math.nan, Dyadic(0, 0))
    if kind == INFINITE or significand == 0:
        size = math.inf if kind else 0.0
        return Operand(-size if sign else size, Dyadic(0, 0))
    zeros = (significand & -significand).bit_length() - 1
    odd = significand >> zeros
    return Operand(None, Dyadic(-odd if sign else odd, exponent - (LIMB - 1) + zeros))


def _rounded(resolved: Sequence[Resolved], fmt: Format) -> Tensor:
    codes = torch.zeros(len(resolved), dtype=torch.int64, device="cpu")
    limits = {i: each for i, each in enumerate(resolved) if isinstance(each, float)}
    calls = {i: each for i, each in enumerate(resolved) if not isinstance(each, float)}
    precision = fmt.significand_bits + GUARD
    while calls:
        _check_precision(precision, calls.values())
        intervals = {i: _enclosed(call, precision) for i, call in calls.items()}
        for i, interval in intervals.items():
            if interval.low == interval.high == 0:
                limits[i] = calls.pop(i).zero
        left = {i: intervals[i] for i in calls}
        ends = (encode(_exact([(x[end], x.exponent) for x in left.values()]), fmt).tolist() for end in (0, 1))
        for i, low, high in zip(left, *ends, strict=True):
            if low == high:
                codes[i] = low
                del calls[i]
        precision *= 2
    if limits:
        floats = torch.tensor(list(limits.values()), dtype=torch.float64, device="cpu")
        codes[list(limits)] = encode(decode(floats.view(torch.int64), float64), fmt)
    return codes


def _check_precision(precision: int, calls: Iterable[Call]) -> None:
    if precision > MOST:
        first = next(iter(calls))
        raise RefnumError(
            f"{first.name} of {first.operands} is not decided by {MOST} bits. Allowed are results that lie on a tie or "
            "not so close to one. Please report the operands."
        )


def _enclosed(call: Call, precision: int) -> Interval:
    low, high, exponent = ENCLOSURES[call.name](*call.operands, precision)
    if low != high:
        # The value is no short number, so that it is not an end where roundings change. Both ends move inwards, by less
        # than there is from any other end to such a number: for silu of a tie, which is next to it.
        low, high, exponent = (low << OPEN) + 1, (high << OPEN) - 1, exponent - OPEN
    return Interval(-high, -low, exponent) if call.negate else Interval(low, high, exponent)


def _exact(numbers: Sequence[tuple[int, int]]) -> Exact:
    """integer * 2**exponent, each in two limbs, the last bit of which is sticky."""
    parts = torch.tensor([_parts(*number) for number in numbers], dtype=torch.int64, device="cpu").view(-1, 4)
    sign, high, low, exponent = parts.unbind(1)
    return Exact(sign, (high, low), exponent, torch.zeros_like(sign))


def _parts(integer: int, exponent: int) -> tuple[int, int, int, int]:
    """Sign, two limbs and exponent."""
    size = abs(integer)
    surplus = size.bit_length() - 2 * LIMB
    down, up = max(surplus, 0), max(-surplus, 0)
    significand = (size << up >> down) | (size & ((1 << down) - 1) != 0)
    scale = exponent + size.bit_length() - 1
    return -(integer < 0), significand >> LIMB, significand & MASK, max(-FAR, min(scale, FAR))
