"""Inputs on which numerics go wrong: the one home of generators.

Cases come in four kinds:

======  ==========================================================================================================
edges   zeros, NaR and NaN, Inf, 1, the ends of the range, every power of two, and the neighbours of all these
ties    what lies exactly between two results, or as near to that as operands can bring it, and its neighbours
spaced  evenly over the patterns; with a large ``count`` every one of them
random  random patterns, with long regimes and short ones; random floats over all scales and around 1
======  ==========================================================================================================

Random data alone proves nothing: a rounding goes wrong at ties, at the ends of the range, and in its sticky bit.

Every function returns at most ``count`` cases: all of them where there are no more, else a sample that keeps the corners.
Codes are int64 tensors on the CPU, patterns of posits sign-extended. The same arguments give the same cases, whatever torch's
random state, default dtype or default device.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, INTEGERS, SIGNED, check_choice, check_format, check_posit
from ..errors import ContractError, DTypeError, FormatError
from ..formats import Format, Minifloat, Posit
from .dyadics import ONE, Dyadic, below, exactly, largest, midpoint, opposite, value, wrap

KINDS = ("edges", "ties", "spaced", "random")
WIDEST = 24  #: bits of the widest format whose codes are all listed
Numbers = Iterable[Dyadic]
Row = tuple[int, ...]  #: the operands of one case, patterns as signed integers


# ---- one operand -------------------------------------------------------------------------------------------------------


def exhaustive(fmt: Format) -> Tensor:
    """All codes of a format of at most 24 bits, in ascending order.

    >>> exhaustive(Posit(3))
    tensor([-4, -3, -2, -1,  0,  1,  2,  3])
    """
    check_format("cases.exhaustive", fmt)
    if fmt.width > WIDEST:
        raise FormatError(
            f"cases.exhaustive cannot list the 2**{fmt.width} codes of {fmt}. Allowed are formats of at most {WIDEST} bits. "
            "Use cases.patterns, which samples."
        )
    return _ascending(fmt, 1 << fmt.width)


def patterns(fmt: Format, kind: str, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Codes of a format, as operands of functions of one argument.

    Ties are those of rounding to integers, of every width's end, and of the square root.

    >>> patterns(Posit(4), "edges")
    tensor([-8, -7, -6, -5, -4, -3, -2, -1,  0,  1,  2,  3,  4,  5,  6,  7])
    """
    check_format("cases.patterns", fmt)
    draw = _begin("cases.patterns", kind, count, seed, fmt)
    match kind:
        case "edges":
            return _codes(_edges(fmt), fmt, count, draw, keep=_corners(fmt))
        case "ties":
            return _codes(_around((*_integer_ties(fmt, count, draw), *_root_ties(fmt, count, draw)), fmt), fmt, count, draw)
        case "spaced":
            return _spaced(fmt, count)
        case _:
            return _random(fmt, count, draw)


def conversions(source: Format, target: Format, kind: str, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Codes of one format, as inputs of a conversion to another; edges and ties are those of the target, too.

    A tie that the source does not hold is replaced by the two values around it.

    >>> conversions(Posit(8), Posit(4), "ties", count=9)
    tensor([ -87,  -57,  -39,   -8,   40,   41,   71,   72, 103])
    """
    check_format("cases.conversions", source)
    check_format("cases.conversions", target)
    draw = _begin("cases.conversions", kind, count, seed, source, target)
    match kind:
        case "edges":
            ends = (value(m, target) for m in _magnitude_edges(target) if m <= largest(target))
            beyond = (midpoint(m, target) for m in (0, largest(target)))
            return _codes(
                _edges(source) + _around((*ends, *beyond), source), source, count, draw, keep=_corners(source)
            )
        case "ties":
            return _codes(_around(_rounding_ties(source, target, count, draw), source), source, count, draw)
        case "spaced":
            return _spaced(source, count)
        case _:
            return _random(source, count, draw)


def floats(fmt: Format, kind: str, dtype: torch.dtype, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Floating-point values, as inputs of encode and quantize.

    With ``count`` large enough, ties are every exact midpoint of the format with the neighbours that it has in ``dtype``.
    Half of the random values have random bits, half lie around 1 or around a random power of two in the format's range.

    >>> floats(refnum.formats.e2m1, "ties", torch.float16, count=100)[[1, 4, 7, 10, 13, 16, 19, 22]]
    tensor([0.2500, 0.7500, 1.2500, 1.7500, 2.5000, 3.5000, 5.0000, 7.0000],
           dtype=torch.float16)
    """
    check_format("cases.floats", fmt)
    if dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"cases.floats has no values of {dtype}. Allowed are float16, bfloat16, float32 and float64. Choose one of them."
        )
    row = FLOAT_ROWS[dtype]
    codes = conversions(row, fmt, kind, count=count, seed=seed)
    values = codes.to(SIGNED[row.width]).view(dtype)
    if kind == "random":
        bell = values.numel() // 2
        values[:bell] = _bell(fmt, bell, _begin("cases.floats", kind, count, seed, fmt, row)).to(dtype)
    return values


def integers(fmt: Format, kind: str, dtype: torch.dtype, *, count: int = 1000, seed: int = 0) -> Tensor:
    """Integers, as inputs of from_int: their edges, and the midpoints of the format among them.

    >>> integers(Posit(8), "ties", torch.int8)
    """
    check_format("cases.integers", fmt)
    if dtype not in INTEGERS:
        raise DTypeError(f"cases.integers has no values of {dtype}. Allowed are uint8, int8, int16, int32 and int64. Choose one.")
    limits = torch.iinfo(dtype)
    draw = _begin("cases.integers", kind, count, seed, fmt, dtype)
    match kind:
        case "edges":
            whole = [s * (1 << k) + d for k in range(limits.bits) for s in (1, -1) for d in (-1, 0, 1)]
            keep = [0, 1, -1, limits.min, limits.min + 1, limits.max, limits.max - 1]
            return _integers(whole, limits, count, draw, keep=keep).to(dtype)
        case "ties":
            codes = _spread(fmt, count, draw)
            whole = [int(x) for m in codes]
            ...
