"""Records of the oracle of the lab as refnum's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from refnum_conformance.oracles.lab import Bfp, Block, BlockLog, BlockMinifloat, Dmf, Fixed, Log, MxInt, Number, Scalar
from refnum_conformance.oracles.minifloat import FLOATS, Row, Special, decode
from torch import Tensor

import refnum
from refnum import formats

Array = NDArray[Any]


def format_of(record: Scalar | Block) -> Any:
    """The same format."""
    fields = record._asdict()
    match record:
        case Row():
            return formats.Minifloat(**fields)
        case Fixed():
            return formats.FixedPoint(**fields)
        case Dmf():
            return formats.DMF(**fields)
        case Log():
            return formats.Logarithmic(**fields)
        case Bfp():
            return formats.bfp(**fields)
        case BlockMinifloat() | BlockLog():
            fields["shared"] = fields.pop("shared_bits")
            return (formats.block_log if isinstance(record, BlockLog) else formats.block_minifloat)(**fields)
        case MxInt():
            return formats.mxint(**fields)
        case _:
            return formats.Block(format_of(record.element), refnum.e8m0, record.size)


def tensor(bits: Array) -> Tensor:
    """float32s by their bits."""
    return torch.from_numpy(bits.view(np.float32).copy())


def numbers(bits: Array) -> list[Number]:
    """The same as the oracle reads them."""
    return [decode(int(u), FLOATS["float32"]) for u in bits.reshape(-1)]


def floats(found: list[Number], shape: tuple[int, ...]) -> Array:
    """The float32s nearest to numbers."""
    with np.errstate(over="ignore"):
        return np.array([_float(*x) for x in found], np.float64).astype(np.float32).reshape(shape)


def _float(negative: bool, a: Any) -> float:
    if isinstance(a, Special):
        return np.nan if a is Special.NAN else -np.inf if negative else np.inf
    magnitude = float(np.ldexp(float(a.m), a.e))
    return -magnitude if negative else magnitude


def differ(x: Array, y: Array) -> Array:
    """Where values differ: all NaNs are one, and so are both zeros."""
    return (x != y) & ~(np.isnan(x) & np.isnan(y))
