"""Operands for every kind of row. The generators are `refnum.testing.cases`; here they become columns of bits.

Those of blocks are in `block_inputs` and `product_inputs`.

A quarter each are edges, ties, spaced and random ones.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refnum import Minifloat, Posit
from refnum.formats import Format, scalars
from refnum.testing import cases

from . import block_inputs, lab_inputs, product_inputs
from .operations import Op, Options, record
from .oracles import lab_rows

Array = NDArray[Any]
Columns = tuple[Array, ...]

LENGTH = 12  #: products in a sum
ROWS, INNER, WIDE = 3, 7, 2  #: shapes of matrices: [ROWS, INNER] and [INNER, WIDE]


def columns(op: Op, options: Options, size: int, seed: int) -> Columns:
    """About ``size`` sets of operands for a row; the same arguments give the same ones."""
    makers = _LAB_MAKERS if options.get("fmt") in lab_rows.FORMATS else _MAKERS
    make = makers[op.args.removesuffix("r")]
    seed = zlib.crc32(f"{op.name} {sorted(options.items())} {seed}".encode())
    made = [make(op, options, kind, -(-size // len(cases.KINDS)), seed) for kind in cases.KINDS]
    operands = tuple(np.concatenate(column) for column in zip(*made, strict=True))
    if options.get("rounding") == "stochastic":
        floats = operands[0]
        operands = (*operands, _array(cases.random_bits(count=floats.size, seed=seed)).reshape(floats.shape))
    return operands


def every(width: int) -> Array:
    """All patterns of so many bits."""
    return np.arange(-(1 << (width - 1)), 1 << (width - 1), dtype=np.int64)


def grid(axes: Columns) -> Columns:
    """All combinations."""
    return tuple(axis.reshape(-1) for axis in np.meshgrid(*axes, indexing="ij"))


def _array(x: Tensor) -> Array:
    return x.to(torch.int64).numpy()


def _bits(x: Tensor) -> Array:
    return _array(x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.dtype.itemsize]))


def _format(options: Options) -> Format:
    """The format among options, as a record."""
    return Posit(options["n"], options["es"]) if "n" in options else Minifloat(**record(options)._asdict())


# One operand ---------------------------------------------------------------------------------------------------------


def _one(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    fmt = _format(options)
    if "to_n" in options:
        return (_array(cases.conversions(fmt, Posit(options["to_n"], options["to_es"]), kind, count=count, seed=seed)),)
    if "dtype" in options:
        return (_array(cases.conversions(fmt, scalars()[options["dtype"]], kind, count=count, seed=seed)),)
    return (_array(cases.patterns(fmt, kind, count=count, seed=seed)),)


def _floats(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    dtype = getattr(torch, options["dtype"])
    return (_bits(cases.floats(_format(options), kind, dtype, count=count, seed=seed)),)


def _integers(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    dtype = torch.int64 if options["dtype"] == "int" else getattr(torch, options["dtype"])
    return (_array(cases.integers(_format(options), kind, dtype, count=count, seed=seed)),)


def _texts(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    return (np.array(cases.decimals(_format(options), kind, count=count, seed=seed), object),)  # type: ignore[arg-type]


# Several -------------------------------------------------------------------------------------------------------------


def _tuples(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    which = op.name if op.name in cases.TIES else op.args.count("p")
    found = cases.tuples(which, _format(options), kind, count=count, seed=seed)  # type: ignore[arg-type]
    return tuple(map(_array, found))


def _terms(op: Op, options: Options, kind: str, count: int, seed: int, length: int = LENGTH) -> Columns:
    found = cases.dots(_format(options), kind, count=count, length=length, seed=seed)  # type: ignore[arg-type]
    return tuple(map(_array, found))


def _with(*more: Callable[..., Columns]) -> Callable[..., Columns]:
    """Vectors and further operands, cut to one length."""

    def make(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
        made = [part(op, options, kind, count, seed + i) for i, part in enumerate((_terms, *more))]
        least = min(len(column) for part in made for column in part)
        return tuple(column[:least] for part in made for column in part)

    return make


def _matrices(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
    # Rows of a and columns of b that belong together meet on the diagonal; elsewhere strangers meet.
    batch = -(-count // (ROWS * WIDE))
    a, b = _terms(op, options, kind, batch * ROWS, seed, INNER)
    shaped = (a.reshape(batch, ROWS, INNER), b.reshape(batch, ROWS, INNER)[:, :WIDE].swapaxes(1, 2))
    if not op.args.endswith("mmm"):
        return shaped
    (c,) = _one(op, options, kind, batch * ROWS * WIDE, seed)
    return *shaped, np.resize(c, (batch, ROWS, WIDE))


def _with_addend(make: Callable[..., Columns]) -> Callable[..., Columns]:
    """Matrices, and floats of the shape of their product."""

    def both(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
        matrices = make(op, options, kind, count, seed)
        (pool,) = _floats(op, options, kind, count, seed + 1)
        shape = (len(matrices[0]), matrices[0].shape[1], matrices[1].shape[2])
        return *matrices, np.random.default_rng(seed).choice(pool, shape)

    return both


def _shuffled(shapes: tuple[tuple[int, ...], ...], per_case: int) -> Callable[..., Columns]:
    """Floats in any order."""

    def make(op: Op, options: Options, kind: str, count: int, seed: int) -> Columns:
        (pool,) = _floats(op, options, kind, 8 * count, seed)
        batch, random = -(-count // per_case), np.random.default_rng(seed)
        return tuple(random.choice(pool, (batch, *shape)) for shape in shapes)

    return make


_MAKERS: dict[str, Callable[..., Columns]] = {
    "p": _one,
    "c": _one,
    "f": _floats,
    "i": _integers,
    "t": _texts,
    "pp": _tuples,
    "ppp": _tuples,
    "vv": _terms,
    "vvp": _with(_one),
    "vvpp": _with(_tuples),
    "vvvv": _with(_terms),
    "mm": _matrices,
    "mmm": _matrices,
    "FF": _shuffled(((4,), (4,)), 1),
    "MM": (_floats_mm := _shuffled(((ROWS, INNER), (INNER, WIDE)), ROWS * WIDE)),
    "mmD": _with_addend(_matrices),
    "MMD": _with_addend(_floats_mm),
    "F": block_inputs.floats,
    "k": block_inputs.codes,
    "KK": product_inputs.products,
    "KKd": product_inputs.products,
}

_LAB_MAKERS: dict[str, Callable[..., Columns]] = {
    "f": lab_inputs.floats,
    "e": lab_inputs.codes,
    "F": lab_inputs.block_floats,
    "E": lab_inputs.block_codes,
}
