"""Where right results come from: the oracle, and the peers where they are right. Golden vectors bring their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .floats import widened
from .operations import Op, Options
from .oracles import elementary
from .peers import gfloat, ml_dtypes, mpfr, softposit

Array = NDArray[Any]


@dataclass(frozen=True)
class Source:
    """Somebody who knows."""

    name: str
    available: Callable[[], tuple[bool, str]]  #: whether, and the version or the reason
    covers: Callable[[Op, Options], bool]
    answer: Callable[[Op, tuple[Array, ...], Options], Array]
    excluded: Callable[[Op, tuple[Array, ...], Options], Array]  #: mask of cases with a documented defect


def _none(op: Op, operands: tuple[Array, ...], options: Options) -> Array:
    return np.zeros(len(operands[0]), bool)


# The oracle ----------------------------------------------------------------------------------------------------------


def _oracle_available() -> tuple[bool, str]:
    _, functions = mpfr.available() if mpfr.available()[0] else elementary.available()
    return True, f"two roundings that agree; elementary functions: {functions}"


def _oracle_covers(op: Op, options: Options) -> bool:
    return op.columns is None or elementary.available()[0]


def _ask_oracle(op: Op, operands: tuple[Array, ...], options: Options) -> Array:
    if op.columns is not None and mpfr.available()[0] and mpfr.covers(options):
        return op.columns(*operands, **options)
    columns = [operand.tolist() for operand in operands]
    results = [op.oracle(*case, **options) for case in zip(*columns, strict=True)]
    return np.array(results, dtype=object if op.out == "t" else np.int64)


ORACLE = Source("oracle", _oracle_available, _oracle_covers, _ask_oracle, _none)


# SoftPosit: int64 tensors of patterns, float64 tensors of values, and the format by position --------------------------

_FORMAT = ("n", "es", "to_n", "to_es")


def _softposit_options(op: Op, options: Options) -> tuple[int, ...] | None:
    """The format, or None where SoftPosit has no such choice."""
    if options.get("rounding", "nearest_even") != "nearest_even" or options.get("sentinel") is False:
        return None
    if op.name in ("decode", "to_float") and options["dtype"] != "float64":
        return None
    if op.name == "from_int" and options["dtype"] != "int64":
        return None
    return tuple(options[name] for name in _FORMAT if name in options)


def _softposit_covers(op: Op, options: Options) -> bool:
    fmt = _softposit_options(op, options)
    return "n" in options and fmt is not None and softposit.covers(op.name, *fmt)


def _tensors(op: Op, operands: tuple[Array, ...], options: Options) -> list[Any]:
    import torch

    return [
        torch.from_numpy(widened(x, options["dtype"]) if kind == "f" else np.ascontiguousarray(x))
        for kind, x in zip(op.args, operands, strict=False)
    ]


def _ask_softposit(op: Op, operands: tuple[Array, ...], options: Options) -> Array:
    fmt = _softposit_options(op, options) or ()
    result: Array = getattr(softposit, op.name)(*_tensors(op, operands, options), *fmt).numpy()
    return result.view(np.int64) if op.out == "f" else result


def _softposit_excluded(op: Op, operands: tuple[Array, ...], options: Options) -> Array:
    mask = softposit.excluded(op.name, options["n"], options["es"], *_tensors(op, operands, options))
    return np.asarray(mask)


SOFTPOSIT = Source("softposit", softposit.available, _softposit_covers, _ask_softposit, _softposit_excluded)


# Peers of minifloats, which speak as rows do --------------------------------------------------------------------------


def _minifloat_peer(name: str, peer: Any) -> Source:
    def covers(op: Op, options: Options) -> bool:
        return "mantissa" in options and bool(peer.covers(op.name, **options))

    def answer(op: Op, operands: tuple[Array, ...], options: Options) -> Array:
        result: Array = getattr(peer, op.name)(*operands, **options)
        return result

    def excluded(op: Op, operands: tuple[Array, ...], options: Options) -> Array:
        mask: Array = peer.excluded(op.name, *operands, **options)
        return mask

    return Source(name, peer.available, covers, answer, excluded)


ML_DTYPES = _minifloat_peer("ml_dtypes", ml_dtypes)
GFLOAT = _minifloat_peer("gfloat", gfloat)

SOURCES = (ORACLE, SOFTPOSIT, ML_DTYPES, GFLOAT)
