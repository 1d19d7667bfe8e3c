"""What MASE, mase-triton and mase-cuda were recorded to make of float32s, and what refnum calls the same.

==================  =================================================================================================
mase_elementwise    ``x_bits`` [6373] float32 by their bits; ``<tag>__out_bits`` the same of results; ``configs``, a
                    JSON list of tags and parameters
mase_block          ``x_bits__<kind>`` [28, 64], ``xcol_bits__<kind>`` [48, 38]; ``<tag>__<kind>__out_bits``; of
                    mase-triton also ``__scale_u8`` and ``__elem_u8``, of mase-cuda ``__mant_i8`` and ``__scale_u8``
==================  =================================================================================================

`elementwise` and `blocks` give a case a tag, with the format by whose definition refnum is compared. Three tags have
none, since nothing in refnum is called so: `scale_integer` and `hardware` are what the peer computes, in its words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .oracles.lab import Bfp, Block, BlockLog, BlockMinifloat, Dmf, Fixed, Log, MxFp, MxInt, Scalar
from .oracles.minifloat import Row
from .vectors import VectorError, directory

Array = NDArray[Any]
Parameters = Mapping[str, Any]

KINDS = ("normal", "wide", "pow2", "ties", "zeroblocks", "allzero", "tiny", "huge")
ROUNDINGS = {"rn": "nearest_even", "rz": "toward_zero", "ru": "toward_positive", "rd": "toward_negative"}
NO_FORMAT = ("scale_integer", "mxint_hardware", "masecuda")


@dataclass(frozen=True)
class Case:
    """What one tag makes of one input."""

    tag: str
    kind: str  #: of the input; empty for elementwise ones
    fmt: Scalar | Block
    rounding: str
    x: Array  #: uint32; blocks lie along the last axis
    out: Array  #: uint32, of the same shape

    def __str__(self) -> str:
        return f"{self.tag}-{self.kind}" if self.kind else self.tag


@cache
def arrays(name: str) -> dict[str, Array]:
    """The arrays of one file."""
    path = directory() / f"mase_{name}.npz"
    if not path.exists():
        raise VectorError(f"There is no {path.name} among the golden vectors. Install refnum-conformance again.")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def parameters(name: str) -> dict[str, Parameters]:
    """Tag -> the peer's own arguments."""
    return {row.pop("tag"): row for row in json.loads(str(arrays(name)["configs"]))}


def _bias(p: Parameters, bits: int) -> int:
    bias = p["exponent_bias"]
    return (1 << (bits - 1)) - 1 if bias is None else int(bias)


def _minifloat(p: Parameters, specials: str, overflow: str) -> Row:
    e = p["exp_bits"]
    return Row(e, p["frac_bits"], (1 << (e - 1)) - 1, specials, overflow)


#: how tags begin, longest first -> the format of the definition that refnum is compared by
SCALARS: Mapping[str, Callable[[Parameters], Scalar]] = {
    "integer": lambda p: Fixed(p["width"], p["frac_width"], p["is_signed"]),
    "minifloat_ieee": lambda p: Row(
        p["exponent_width"], p["width"] - p["exponent_width"] - 1, _bias(p, p["exponent_width"]), "none"
    ),
    "minifloat_denorm": lambda p: Dmf(
        p["exponent_width"], p["width"] - p["exponent_width"] - 1, _bias(p, p["exponent_width"])
    ),
    "log": lambda p: Log(p["width"], _bias(p, p["width"] - 1), zero_code=False),
    "mxminifloat": lambda p: _minifloat(p, *(("none", "saturate") if p["is_finite"] else ("ieee", "inf"))),
}


def elementwise() -> Iterator[Case]:
    """All tags of numbers by themselves."""
    z = arrays("elementwise")
    for tag, p in parameters("elementwise").items():
        family = next(name for name in SCALARS if tag.startswith(name))
        rounding = "toward_negative" if tag.startswith("integer_floor") else ROUNDINGS[p.get("round_mode", "rn")]
        yield Case(tag, "", SCALARS[family](p), rounding, z["x_bits"], z[f"{tag}__out_bits"])


# Blocks --------------------------------------------------------------------------------------------------------------


def _size(p: Parameters) -> int | tuple[int, int]:
    rows, columns = [1, *p["block_size"]] if len(p["block_size"]) == 1 else p["block_size"]
    return (rows, columns) if rows > 1 else columns


def _mxfp(exponent: int, mantissa: int, size: int) -> MxFp:
    """OCP's elements, with its special codes; E1M2, which OCP does not have, has bias 0."""
    bias = (1 << (exponent - 1)) - 1
    specials = {(4, 3): "fn", (5, 2): "ieee"}.get((exponent, mantissa), "none")
    return MxFp(Row(exponent, mantissa, bias, specials), size)


#: how tags begin -> the format of the definition that refnum is compared by
BLOCKS: Mapping[str, Callable[[Parameters], Block]] = {
    "block_fp": lambda p: Bfp(p["width"], _size(p), p["exponent_width"]),
    "block_minifloat": lambda p: BlockMinifloat(p["width"], p["exponent_width"], _size(p), p["exponent_bias_width"]),
    "block_log": lambda p: BlockLog(p["width"], _size(p), p["exponent_bias_width"], zero_code=False),
    "mxint_el": lambda p: MxInt(p["element_bits"], p["block_size"], "ceil"),
    "mxfp": lambda p: _mxfp(p["element_exp_bits"], p["element_frac_bits"], p["block_size"]),
    "triton_MXFP8_E4M3": lambda p: _mxfp(4, 3, p["block_size"]),
    "triton_MXFP8_E5M2": lambda p: _mxfp(5, 2, p["block_size"]),
    "triton_OCP_MXFP6_E2M3": lambda p: _mxfp(2, 3, p["block_size"]),
    "triton_OCP_MXFP4_E2M1": lambda p: _mxfp(2, 1, p["block_size"]),
}


def blocks() -> Iterator[Case]:
    """All tags of blocks that refnum has a format for."""
    for tag, p in parameters("block").items():
        if not tag.startswith(NO_FORMAT):
            family = next(name for name in BLOCKS if tag.startswith(name))
            fmt = BLOCKS[family](p)
            for kind in KINDS:
                yield Case(tag, kind, fmt, "nearest_even", *recorded(tag, kind))


def recorded(tag: str, kind: str) -> tuple[Array, Array]:
    """Input and output of a tag; transposed and cut into blocks where it runs down columns and straddles their ends."""
    z = arrays("block")
    out = z[f"{tag}__{kind}__out_bits"]
    if not tag.endswith("_dim0"):
        return z[f"x_bits__{kind}"], out.reshape(28, 64)
    size = parameters("block")[tag]["block_size"]
    return tuple(x.T.reshape(-1, size) for x in (z[f"xcol_bits__{kind}"], out))  # type: ignore[return-value]


def tiles(x: Array, size: int | tuple[int, int]) -> Array:
    """[blocks, elements] of a matrix of whole blocks.

    >>> tiles(np.arange(8).reshape(2, 4), (2, 2)).tolist(), tiles(np.arange(4).reshape(1, 4), 2).tolist()
    ([[0, 1, 4, 5], [2, 3, 6, 7]], [[0, 1], [2, 3]])
    """
    rows, columns = size if isinstance(size, tuple) else (1, size)
    cut = x.reshape(len(x) // rows, rows, x.shape[1] // columns, columns)
    return cut.swapaxes(1, 2).reshape(-1, rows * columns)


# Two that are no formats: what they compute, step by step ------------------------------------------------------------


def scale_integer(x: Array, width: int) -> Array:
    """float32s times a scale that is no power of two, from the largest of a row; every step in float32."""
    one, most = np.float32(1), np.float32(1 << (width - 1))
    with np.errstate(all="ignore"):
        scale = one / (np.abs(x).max(-1, keepdims=True) + np.float32(1e-9)) * most
        result: Array = np.clip(np.rint(x * scale), -most, most - one) / scale
    return result


def hardware(x: Array, width: int, exponent_width: int, size: tuple[int, int]) -> Array:
    """The significands of integers under a scale that is an integer of so many bits, rounded down: float64, exact.

    es = sat(clog(amax) - 2**(EW - 1)), q = sat(floor(x / 2**es)), in tiles.
    """
    half, most = 1 << (exponent_width - 1), 1 << (width - 1)
    found = tiles(x.astype(np.float64), size)
    fraction, exponent = np.frexp(np.abs(found).max(1))
    es = np.clip(exponent - (fraction == 0.5) - half, -half, half - 1)[:, None]
    q = np.clip(np.floor(np.ldexp(found, -es)), -most, most - 1)
    result: Array = np.ldexp(q, es)
    return result
