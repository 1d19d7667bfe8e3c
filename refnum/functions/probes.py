"""Whether the bounds on the errors of estimates hold on this machine: asked of it, since nobody promises it.

A probe compares an estimate with the definition, exactly, where libraries are known to fail: at the ends of ranges,
next to zeros and poles, at integers and multiples of pi, at huge and tiny numbers. It passes only what keeps to a
quarter of its bound, so that arguments that were not tried have some room.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from ..core.constants import constant
from ..reals.enclosures import ENCLOSURES
from ..reals.intervals import Dyadic, fixed, magnitude, normal
from .estimates import ESTIMATES
from .specials import Operand, Resolved, resolve

Arguments = tuple[float | int, ...]

REACH = 900  #: results from 2**-REACH to 2**REACH are asked for
PLACES = 1100  #: binary places of the integers that are compared: no float64 has more
PRECISION = 72  #: bits of the intervals
MANTISSA = 53  #: bits of a float64
MARGIN = 2  #: a probe asks for so many more bits than the bound


@constant
def holds(name: str, device_type: str) -> bool:
    """Whether the bound on a function's estimate holds on a device: asked once a process."""
    return device_type == "meta" or _asked(name, device_type)


@lru_cache(maxsize=128)
def _asked(name: str, device_type: str) -> bool:
    # A thread of its own has no modes: tracing, inference, default devices and autocast are other threads' affairs.
    with ThreadPoolExecutor(1) as elsewhere:
        worst = elsewhere.submit(measure, name, device_type).result()
    return worst <= math.ldexp(1.0, MANTISSA - MARGIN - ESTIMATES[name].bound)


def measure(name: str, device_type: str = "cpu") -> float:
    """The largest relative error of a function's estimate, in units of 2**-53; inf where it is altogether wrong.

    >>> measure("exp") < 8
    True
    """
    tried = arguments(name)
    meant = [_meant(name, each) for each in tried]
    ways = (_at_once, _with_strides, _in_pieces)
    return max(max(map(_error, way(name, tried, device_type), meant)) for way in ways)


# ---- three ways to compute -----------------------------------------------------------------------------------------


def _at_once(name: str, tried: list[Arguments], device_type: str) -> list[float]:
    """In one long vector, whose middle is for vector instructions."""
    return _estimated(name, _columns(tried, device_type))


def _with_strides(name: str, tried: list[Arguments], device_type: str) -> list[float]:
    """From every other element of a vector."""
    return _estimated(name, [column.repeat_interleave(2)[::2] for column in _columns(tried, device_type)])


def _in_pieces(name: str, tried: list[Arguments], device_type: str) -> list[float]:
    """In pieces shorter than the registers of vector instructions."""
    columns = _columns(tried, device_type)
    pieces = ([column[start : start + 7] for column in columns] for start in range(0, len(tried), 7))
    return [y for piece in pieces for y in _estimated(name, piece)]


def _columns(tried: list[Arguments], device_type: str) -> list[Tensor]:
    columns = zip(*tried, strict=True)
    return [torch.tensor(column, dtype=_dtype(column[0]), device=device_type) for column in columns]


def _dtype(example: float | int) -> torch.dtype:
    return torch.int64 if isinstance(example, int) else torch.float64


def _estimated(name: str, columns: list[Tensor]) -> list[float]:
    result: list[float] = ESTIMATES[name].evaluate(*columns).tolist()
    return result


# ---- exact comparison ----------------------------------------------------------------------------------------------


def _meant(name: str, values: Arguments) -> tuple[int, int] | float | None:
    """What an estimate shall give: a number, between two integers; a limit; or None, where anything will do."""
    operands = tuple(_operand(x) for x in values if isinstance(x, float))
    k = next((x for x in values if isinstance(x, int)), None)
    resolved = _resolved(name, operands, k)
    if isinstance(resolved, float):
        return resolved
    interval = ENCLOSURES[resolved.name](*resolved.operands, PRECISION)
    if interval.low == interval.high == 0:
        return resolved.zero
    if not -REACH < magnitude(interval) <= REACH:
        return None
    low, high = fixed(interval, PLACES)
    return (-high, -low) if resolved.negate else (low, high)


def _resolved(name: str, operands: tuple[Operand, ...], k: int | None) -> Resolved:
    # What has a value in posits alone is no NaN here either: estimates serve both.
    limit = resolve(name, operands, k, posit=False)
    return resolve(name, operands, k, posit=True) if limit != limit else limit


def _operand(x: float) -> Operand:
    if x == 0 or not math.isfinite(x):
        return Operand(x, Dyadic(0, 0))
    integer, unit = x.as_integer_ratio()
    return Operand(None, normal(Dyadic(integer, 1 - unit.bit_length())))


def _error(y: float, meant: tuple[int, int] | float | None) -> float:
    """In units of 2**-53."""
    if meant is None:
        return 0.0
    if isinstance(meant, float):
        same = (y == meant and math.copysign(1, y) == math.copysign(1, meant)) or (y != y and meant != meant)
        return 0.0 if same else math.inf
    if not math.isfinite(y):
        return math.inf
    integer, unit = y.as_integer_ratio()
    number = (integer << PLACES) // unit
    low, high = meant
    size, distance = min(abs(low), abs(high)), max(abs(number - low), abs(number - high))
    return math.inf if distance >= size else (distance << MANTISSA) / size


# ---- what is tried -------------------------------------------------------------------------------------------------


def _mixed(i: int) -> float:
    """From 0 to 1, as evenly as can be, with all bits in use: multiples of the golden ratio."""
    return (i * 0x9E3779B97F4A7C15 % (1 << 64)) / (1 << 64)


def _scattered(exponents: Iterable[int]) -> list[float]:
    """A number from each binade."""
    return [math.ldexp(1 + _mixed(i + 1), exponent) for i, exponent in enumerate(exponents)]


def _around(x: float) -> list[float]:
    """A number and those next to it, near and far."""
    return [x, math.nextafter(x, 0), math.nextafter(x, math.inf), x * (1 - 2.0**-30), x * (1 + 2.0**-12)]


FAR = (-900, -500, -120, -53, 53, 120, 500, 900)
LIMITS = [0.0, math.inf, 1.0, 2.0, 3.0, 0.5, 1.5]
TURNS = [n * math.pi / 2 for n in (1, 2, 3, 4, 22, 355)]
NEAREST_TURN = 6381956970095103 * 2.0**797  #: of all float64 that nearest to a multiple of pi / 2, in parts of itself
NEAR = [x for place in (1.0, 2.0, 0.5, 0.25, *TURNS, NEAREST_TURN) for x in _around(place)]
LINE = [13.0 * (i + _mixed(i)) for i in range(56)]
DEGREES = [0, 1, 2, 3, 10, 1001, (1 << 31) - 1, 1 << 31]


def _signed(sizes: list[float]) -> list[float]:
    return [x for size in sizes for x in (size, -size)]


def arguments(name: str) -> list[Arguments]:
    """What a function is tried with: numbers, and an integer if it takes one."""
    return list(CHOSEN[name]() if name in CHOSEN else _numbers())


def _numbers() -> Iterator[Arguments]:
    sizes = [*LIMITS, *NEAR, *LINE, *_scattered(FAR), *_scattered(range(-32, 10))]
    return ((x,) for x in (*_signed(sizes), math.nan))


def _pairs() -> Iterator[Arguments]:
    numbers = _signed([*LIMITS[:3], *_scattered(FAR[::2]), *_scattered(range(-1, 3))])
    return itertools.product((*numbers, math.nan), repeat=2)


def _powers() -> Iterator[Arguments]:
    yield from itertools.product((*_signed(LIMITS), math.nan), repeat=2)
    yield from itertools.product(_signed(_scattered(range(-3, 4))), (-45.0, -2.0, -1.0, 7.0, 100.0))
    # From one end of the results to the other: bases far from 1 and close to it.
    bases = [*_scattered(range(-900, 901, 180)), *(1 + x for x in _scattered(range(-52, -2, 7)))]
    for base, end in itertools.product(bases, range(-8, 8)):
        yield base, 75 * (end + _mixed(end)) / math.log(base)


def _differences() -> Iterator[Arguments]:
    yield from itertools.product((*_signed(LIMITS), *_signed(_scattered((-900, 900))), math.nan), repeat=2)
    for large, difference in itertools.product(_signed(_scattered((-60, -1, 3, 8, 12))), _signed(LINE[:48:3])):
        yield large + difference, large


def _compounds() -> Iterator[Arguments]:
    numbers = [*_signed(LIMITS), *_signed(_scattered((-900, -53, -31, -23, -10, -3, 1, 5, 60))), math.nan]
    numbers.remove(-math.inf)  # to the left of -1 an estimate goes its own way
    return itertools.product(numbers, _integers())


def _roots() -> Iterator[Arguments]:
    numbers = [*_signed(LIMITS), *_signed(_scattered(FAR)), math.nan]
    return itertools.product(numbers, _integers())


def _integers() -> list[int]:
    return [*DEGREES, *(-degree for degree in DEGREES[1:])]


CHOSEN: dict[str, Callable[[], Iterator[Arguments]]] = {
    "hypot": _pairs,
    "atan2": _pairs,
    "atan2pi": _pairs,
    "pow": _powers,
    "softmax_exp": _differences,
    "compoundn": _compounds,
    "rootn": _roots,
}
