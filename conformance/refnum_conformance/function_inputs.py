"""Operands of elementary functions: a quarter each edges, ties, spaced and random ones.

======  ================================================================================================================
edges   corners and ends of the format, every power of two; places where functions have exact values, poles, ends of
        their domain, or leave the range: integers and their halves, powers of 10, these less 1, multiples of pi / 2
ties    where the result is as near to half-way between two of the format as operands can bring it
spaced  evenly over the codes
random  codes of every magnitude, and around 1
======  ================================================================================================================

Edges and ties come with their neighbours. Ties are found by the inverse function in doubles: a poor one finds fewer.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable

import numpy as np
import torch

from refnum import Minifloat, Posit, codec, posit
from refnum.formats import Format
from refnum.testing import cases

from .inputs import Array, Columns
from .operations import Op, Options, precision, record, scales
from .oracles.elementary import Function, of_row

Random = np.random.Generator


def columns(op: Op, options: Options, size: int, seed: int) -> Columns:
    """So many sets of operands for a row of a function; the same arguments give the same ones."""
    random = np.random.default_rng(zlib.crc32(f"{op.name} {sorted(options.items())} {seed}".encode()))
    function, fmt = of_row(op.name, options), _format(options)
    quarters = np.diff(np.linspace(0, size, len(_KINDS) + 1).astype(int))
    made = [make(function, options, fmt, int(count), random) for make, count in zip(_KINDS, quarters, strict=True)]
    operands = tuple(np.concatenate(column) for column in zip(*made, strict=True))
    return operands[::-1] if function.backwards and "n" in options else operands


def _format(options: Options) -> Format:
    return Posit(options["n"], options["es"]) if "n" in options else Minifloat(**record(options)._asdict())


# Codes and their values ----------------------------------------------------------------------------------------------


def _encoded(x: Array, fmt: Format) -> Array:
    codes: Array = codec.encode(torch.from_numpy(np.ascontiguousarray(x, np.float64)), fmt).to(torch.int64).numpy()
    return codes


def _decoded(codes: Array, fmt: Format) -> Array:
    """Values as doubles, which for wide formats are near enough."""
    read = posit.to_float if isinstance(fmt, Posit) else codec.decode
    values: Array = read(torch.from_numpy(codes), fmt, dtype=torch.float64).numpy()
    return values


def _moved(codes: Array, random: Random, most: int) -> Array:
    """Some codes up or down."""
    return codes + random.integers(-most, most + 1, codes.shape)


def _some(pool: Array, count: int, random: Random) -> Array:
    """All of the pool where they have room, the first ones always; then any of them."""
    return np.concatenate([pool[:count], random.choice(pool, max(0, count - len(pool)))])


def _codes(kind: str, fmt: Format, count: int, random: Random) -> Array:
    found = cases.patterns(fmt, kind, count=max(1, count), seed=int(random.integers(1 << 30))).numpy()
    return random.permutation(_some(found, count, random))


# Kinds ---------------------------------------------------------------------------------------------------------------


def _edges(function: Function, options: Options, fmt: Format, count: int, random: Random) -> Columns:
    places = _encoded(_places(options), fmt)

    def number() -> Array:
        ends = _codes("edges", fmt, count, random)
        return np.where(random.random(count) < 0.5, ends, _moved(random.choice(places, count), random, 2))

    return _operands(function, number, count, random)


def _places(options: Options) -> Array:
    """Numbers that mean something to some function."""
    farthest = max(map(abs, scales(options)))
    whole = np.arange(65.0)
    powers = 10.0 ** np.arange(-30, 31)
    ranges = np.array([farthest * unit for unit in (1.0, math.log(2), math.log10(2))])
    near_one = precision(options) * math.log(2) * np.array([0.5, 1.0, 2.0])  # where tanh and its like become 1
    found = np.concatenate([whole, whole / 2, whole / 4, whole * math.pi / 2, powers, powers - 1, ranges, near_one])
    found = np.concatenate([found, np.exp2(whole) - 1, np.exp2(-whole) - 1, 1 + np.exp2(-whole), found * found])
    return np.concatenate([found, -found])


def _ties(function: Function, options: Options, fmt: Format, count: int, random: Random) -> Columns:
    operands = list(_random(function, options, fmt, count, random))
    solved = len(operands) - 1 if function.operands == "xy" and not function.backwards else 0
    others = [x if kind == "k" else _decoded(x, fmt) for kind, x in zip(function.operands, operands, strict=True)]
    del others[solved]
    with np.errstate(all="ignore"):
        found = INVERSES[function.name](_half_way(fmt, count, random), *others)
    # Where there is no such operand, the random one stays.
    operands[solved] = np.where(np.isfinite(found), _moved(_encoded(found, fmt), random, 1), operands[solved])
    return tuple(operands)


def _half_way(fmt: Format, count: int, random: Random) -> Array:
    """Numbers half-way between two of the format; one bit more than a posit has stands there."""
    codes = _codes("random", fmt, count, random)
    if isinstance(fmt, Posit) and fmt.n < 64:
        return _decoded(2 * codes + 1, Posit(fmt.n + 1, fmt.es))
    return (_decoded(codes, fmt) + _decoded(codes + 1, fmt)) / 2


def _spaced(function: Function, options: Options, fmt: Format, count: int, random: Random) -> Columns:
    return _operands(function, lambda: _codes("spaced", fmt, count, random), count, random)


def _random(function: Function, options: Options, fmt: Format, count: int, random: Random) -> Columns:
    def number() -> Array:
        around_one = _encoded(np.ldexp(random.uniform(1, 2, count), random.integers(-6, 7, count)), fmt)
        around_one = np.where(random.random(count) < 0.5, around_one, _encoded(-_decoded(around_one, fmt), fmt))
        return np.where(random.random(count) < 0.5, around_one, _codes("random", fmt, count, random))

    return _operands(function, number, count, random)


_KINDS = (_edges, _ties, _spaced, _random)


def _operands(function: Function, number: Callable[[], Array], count: int, random: Random) -> Columns:
    """Numbers made alike; two of them are sometimes one, or opposite, or a bit apart. Integers are small, or any."""
    made = [number() if kind != "k" else _integers(count, random) for kind in function.operands]
    if function.operands == "xy":
        choice = random.integers(8, size=count)
        made[1] = np.select([choice == 0, choice == 1], [_moved(made[0], random, 1), -made[0]], made[1])
    return tuple(made)


def _integers(count: int, random: Random) -> Array:
    small = random.integers(-12, 13, count)
    any_size = random.integers(-(1 << 63), (1 << 63) - 1, count, endpoint=True) >> random.integers(0, 60, count)
    ends = random.choice(np.array([-(1 << 63), 1 - (1 << 63), (1 << 63) - 1, 1 << 31, -(1 << 31) - 1]), count)
    choice = random.integers(16, size=count)
    return np.select([choice == 0, choice < 5], [ends, any_size], small)


# Inverses ------------------------------------------------------------------------------------------------------------

LN2, LN10 = math.log(2), math.log(10)


def _identity(y: Array) -> Array:
    """Of x times what is nearly 1 for large x, and nearly 1/2 for small ones."""
    return np.where(np.abs(y) > 1, y, 2 * y)


#: function -> the operand that gives y: the second of two numbers, but the first of atan2; given the other one
INVERSES: dict[str, Callable[..., Array]] = {
    "sqrt": lambda y: y * y,
    "rsqrt": lambda y: 1 / (y * y),
    "reciprocal": lambda y: 1 / y,
    "exp": np.log,
    "expm1": np.log1p,
    "exp2": np.log2,
    "exp2m1": lambda y: np.log1p(y) / LN2,
    "exp10": np.log10,
    "exp10m1": lambda y: np.log1p(y) / LN10,
    "log": np.exp,
    "log1p": np.expm1,
    "log2": np.exp2,
    "log2p1": lambda y: np.expm1(y * LN2),
    "log10": lambda y: np.power(10.0, y),
    "log10p1": lambda y: np.expm1(y * LN10),
    "sin": np.arcsin,
    "sinpi": lambda y: np.arcsin(y) / math.pi,
    "cos": np.arccos,
    "cospi": lambda y: np.arccos(y) / math.pi,
    "tan": np.arctan,
    "tanpi": lambda y: np.arctan(y) / math.pi,
    "asin": np.sin,
    "asinpi": lambda y: np.sin(y * math.pi),
    "acos": np.cos,
    "acospi": lambda y: np.cos(y * math.pi),
    "atan": np.tan,
    "atanpi": lambda y: np.tan(y * math.pi),
    "sinh": np.arcsinh,
    "cosh": np.arccosh,
    "tanh": np.arctanh,
    "asinh": np.sinh,
    "acosh": np.cosh,
    "atanh": np.tanh,
    "hypot": lambda y, x: np.sqrt(y * y - x * x),
    "pow": lambda y, x: np.log(y) / np.log(x),
    "atan2": lambda y, x: np.abs(x) * np.tan(y),
    "atan2pi": lambda y, x: np.abs(x) * np.tan(y * math.pi),
    "compoundn": lambda y, k: np.expm1(np.log(y) / k),
    "rootn": lambda y, k: np.power(np.abs(y), k.astype(np.float64)),
    "sigmoid": lambda y: np.log(y / (1 - y)),
    "silu": _identity,
    "gelu": _identity,
    "gelu_tanh": _identity,
    "softmax_exp": lambda y, x: x - np.log(y),
}
