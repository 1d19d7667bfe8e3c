"""The checks that a mutant of the core has to pass to be called alive: many, small, and all from the oracle.

A check is a row of the operations table with operands and the right results, which are computed once. Formats are
chosen for the seams of the core, operands for what only one place of it decides.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from . import inputs, mutant_formats, mutant_waist
from .mutant_waist import Promise
from .operations import BY_NAME, Op, Options, canonical
from .oracles import posit
from .oracles.minifloat import Row
from .oracles.reals import Dyadic
from .plan import MINIFLOATS, describe

Array = NDArray[Any]
Random = np.random.Generator

#: posits whose patterns, pairs and triples are all tried, and how many operands that is done with
EVERY = {
    (2, 0): 3,
    (3, 0): 3,
    (3, 2): 3,
    (4, 1): 3,
    (2, 4): 2,
    (5, 2): 2,
    (6, 0): 2,
    (6, 2): 2,
    (6, 4): 2,
    (9, 2): 1,
    (11, 3): 1,
}

#: posits at the seams: significands of 31 | 32 bits (one | two digits), widths of 47 | 48 bits (one | two words),
#: quotients of 62 bits, significands of 61 and 62; and what people use
SAMPLED = (
    *(
        (16, 2),
        (32, 2),
        (31, 0),
        (32, 0),
        (33, 0),
        (34, 0),
        (33, 2),
        (35, 2),
        (40, 1),
        (48, 0),
        (48, 3),
        (49, 0),
        (49, 1),
        (49, 4),
    ),
    *((61, 0), (62, 1), (63, 0), (63, 2), (64, 0), (64, 1), (64, 2), (64, 3), (64, 4)),
)

UNARY = ("nearest_int", "ceil", "floor", "sqrt", "to_float", "to_int", "convert", "decode")
BINARY = ("add", "mul", "div", "sub")
TERNARY = ("fma", "fmm")

#: minifloats that have no name, beside those of the plan: wide mantissas, odd biases, other ends
ODD = (
    Row(1, 0, 0, "none"),
    Row(1, 1, 0, "none", "saturate", False),
    Row(2, 0, 1, "fn", "nan"),
    Row(3, 1, -4, "fnuz"),
    Row(4, 4, 7, "fn", "saturate", False),
    Row(6, 0, 40, "none"),
    Row(11, 0, 1023, "fn"),
    Row(11, 51, 1023, "ieee", "nan"),
    Row(11, 51, 1023, "none"),
    Row(11, 52, 1000, "fn", "nan"),
    Row(2, 52, 1, "ieee", "saturate"),
    Row(2, 52, 1100, "ieee", "saturate"),
    Row(9, 40, 900, "fnuz"),
)


Subject = Mapping[str, ModuleType]  #: what is checked: the default target, and the files of the core by name


@dataclass(frozen=True)
class Check:
    """One row, one set of options, some operands, and the right results."""

    name: str
    op: Op
    options: Options
    operands: tuple[Array, ...]
    want: Array

    @property
    def rounding(self) -> object:
        """Its name among the options, if there is one."""
        return self.options.get("rounding")

    def holds(self, subject: Subject) -> bool:
        """Whether the target gives all of the right results, in every bit but a NaN's."""
        got = np.asarray(getattr(subject["target"], self.op.name)(*self.operands, **self.options))
        return np.array_equal(canonical(self.op, got, self.options) if self.op.out == "c" else got, self.want)


class UndefinedResultError(Exception):
    """An operation whose result torch leaves open."""


SHIFTS = ("lshift", "rshift", "ilshift", "irshift", "bitwise_left_shift", "bitwise_right_shift")


class _DefinedOnly(TorchFunctionMode):
    """Refuses to shift anything but 0 by less than 0 bits or by as many as it has, and Inf or NaN as an integer."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.strip("_")
        if name in SHIFTS:
            x, count = (torch.as_tensor(arg) for arg in args[:2])
            if bool(((x != 0) & ((count < 0) | (count >= 8 * x.element_size()))).any()):
                raise UndefinedResultError(f"{name} of {x} by {count}")
        elif name == "to" and args[1] is torch.int64 and not bool(torch.isfinite(args[0]).all()):
            raise UndefinedResultError(f"{args[0]} as integers")
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Defined:
    """A check on which no result may depend on what torch leaves open, since devices and compilers differ there."""

    check: Check | Promise

    @property
    def name(self) -> str:
        """That of the check, and more."""
        return f"{self.check.name}, only defined results"

    def holds(self, subject: Subject) -> bool:
        """Whether the check holds, and nothing undefined is met on the way."""
        with _DefinedOnly():
            return self.check.holds(subject)


AnyCheck = Check | Defined | Promise


def suite(size: int = 240) -> list[AnyCheck]:
    """All checks: small formats, what the core's functions promise, and all the rest."""
    every, kept = [_check("every", *row) for row in _every()], [*mutant_waist.promises(), *mutant_formats.promises()]
    more = [
        *(_check("sampled", *row) for row in (*_sampled(size), *_minifloats(size // 2))),
        *(_check("long runs", *row) for row in _special(size)),
    ]
    first = {(check.op.name, describe(check.options), check.rounding): check for check in reversed((*every, *more))}
    functions = {promise.name.split(",")[0]: promise for promise in reversed(kept)}
    watched: tuple[Check | Promise, ...] = (*functions.values(), *first.values())
    return [*every, *kept, *more, *map(Defined, watched)]


def rounding_checks() -> list[Check]:
    """A few of them, for mistakes in rounding."""
    fmt = {"n": 6, "es": 2}
    pairs = inputs.grid((inputs.every(6),) * 2)
    floats = [{**fmt, "dtype": "float64", "rounding": rounding} for rounding in ("nearest_even", "toward_positive")]
    return [
        *(_check("every", row, fmt, pairs) for row in ("add", "mul")),
        *(_check("sampled", "encode", options, _columns("encode", options, 400)) for options in floats),
    ]


def _check(kind: str, row: str, options: Options, operands: tuple[Array, ...]) -> Check:
    op = BY_NAME[row]
    cases = zip(*(x.tolist() for x in operands), strict=True)
    want = np.array([op.oracle(*case, **options) for case in cases], np.int64)
    return Check(
        f"{_name(row, options)}, {kind}", op, options, operands, canonical(op, want, options) if op.out == "c" else want
    )


def digest(checks: Iterable[AnyCheck]) -> str:
    """Changes with any operand of a row, or any result."""
    found = hashlib.sha256()
    for check in checks:
        found.update(check.name.encode())
        if isinstance(check, Check):
            for array in (*check.operands, check.want):
                found.update(str(array.tolist()).encode())
        elif isinstance(check, Promise):
            found.update(str(check.want).encode())
    return found.hexdigest()[:16]


def _name(row: str, options: Options) -> str:
    rest = [str(value) for name, value in options.items() if name not in {"n", "es", *Row._fields}]
    return " ".join([row, describe(options), *rest])


# Rows of the suite: (row of the operations table, options, operands) --------------------------------------------------

Rows = Iterator[tuple[str, dict[str, Any], tuple[Array, ...]]]


def _variants(row: str, fmt: Options) -> list[dict[str, Any]]:
    return [{**fmt, **variant} for variant in BY_NAME[row].variants(fmt)]


def _columns(row: str, options: Options, size: int) -> tuple[Array, ...]:
    return inputs.columns(BY_NAME[row], options, size, seed=0)


def _random(row: str, options: Options) -> Random:
    return np.random.default_rng(zlib.crc32(f"{row} {sorted(options.items())}".encode()))


def _dirty(operands: tuple[Array, ...], width: int, random: Random) -> tuple[Array, ...]:
    """The same codes with anything above their ``width`` bits, which no function may read."""
    if width >= 63:
        return operands
    return tuple(x ^ (random.integers(0, 1 << (63 - width), x.shape) << width) for x in operands)


def _every() -> Rows:
    for (n, es), most in EVERY.items():
        fmt, patterns = {"n": n, "es": es}, inputs.every(n)
        for count, rows in enumerate((UNARY, BINARY, TERNARY)[:most], 1):
            for row in rows:
                for options in _variants(row, fmt):
                    operands = inputs.grid((patterns,) * count)
                    yield row, options, _dirty(operands, n, _random(row, options))


def _sampled(size: int) -> Rows:
    for n, es in SAMPLED:
        fmt = {"n": n, "es": es}
        for row in (*BINARY, *TERNARY, *UNARY, "from_int", "encode"):
            variants = _variants(row, fmt)
            for options in variants:
                count = size if len(variants) == 1 else size // 3 if row != "from_int" else 30
                yield row, options, _columns(row, options, count)


def _special(size: int) -> Rows:
    for n, es in (*EVERY, *SAMPLED):
        fmt = {"n": n, "es": es}
        random = _random("special", fmt)
        yield "sqrt", fmt, (_near_squares(fmt, size, random),)
        yield "div", fmt, _near_products(fmt, size, random)
        yield "from_decimal", fmt, _columns("from_decimal", fmt, size // 8)


def _near_squares(fmt: Options, size: int, random: Random) -> Array:
    """Patterns of k**2 and of its neighbours, k of all lengths: roots that end in long runs."""
    n, es = fmt["n"], fmt["es"]
    found = []
    for length in random.integers(1, n, size).tolist():
        k = (1 << length) - int(random.integers(1, 1 << min(length, int(random.integers(1, 63))))) if length > 1 else 1
        exact = posit.rounded(Dyadic(k * k, 2 * int(random.integers(-n, n))), n, es)
        found.append(posit.signed(exact + int(random.integers(-2, 3)), n))
    return np.array(found, np.int64)


def _near_products(fmt: Options, size: int, random: Random) -> tuple[Array, Array]:
    """Pairs (round(q * b), b) and such pairs one pattern off, of all lengths: quotients that end in long runs."""
    n, es = fmt["n"], fmt["es"]
    pairs = []
    for _ in range(size):
        q, b = (int(random.integers(1, 1 << int(random.integers(1, 62)))) | 1 for _ in range(2))
        divisor = posit.rounded(Dyadic(b, -b.bit_length()), n, es)
        product = posit.rounded(Dyadic(q * b, -q.bit_length() - b.bit_length()), n, es)
        pairs.append((posit.signed(product + int(random.integers(-1, 2)), n), divisor))
    first, second = zip(*pairs, strict=True)
    return np.array(first, np.int64), np.array(second, np.int64)


def _minifloats(size: int) -> Rows:
    for fmt in (*MINIFLOATS, *(row._asdict() for row in ODD)):
        width = fmt["exponent"] + fmt["mantissa"] + fmt["signed"]
        for options in _variants("minifloat_decode", fmt):
            random = _random("minifloat_decode", options)
            yield "minifloat_decode", options, _dirty(_columns("minifloat_decode", options, 4 * size), width, random)
        if fmt["subnormals"]:
            for options in _variants("minifloat_encode", fmt):
                yield "minifloat_encode", options, _columns("minifloat_encode", options, size)
    for fmt in ({"n": 16, "es": 2}, {"n": 31, "es": 3}):
        for options in _variants("quantize", fmt):
            if options["rounding"] != "nearest_even":  # that one has a faster way, past the core
                yield "quantize", options, _columns("quantize", options, size)
