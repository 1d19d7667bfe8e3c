"""Golden vectors of block formats: what peers were asked, what they answered, and which answers a profile promises.

==================  ===========================================================================================
mx_inputs           ``<input>`` [rows, K]: float32 or bfloat16 by their bits
mx_mxfp4            ``<input>/<peer>/q`` two codes a byte, ``/s`` scales
mx_torchao_mx       ``<input>/ao_<element>_<rule>/q`` one code a byte, ``/s``
mx_nvfp4            ``<input>/<peer>/q``, ``/s``, and ``/pts_f32bits``, the scale of the whole tensor
mx_dequant          ``<input>/<peer>/dq_<dtype>`` values, by their bits
mx_microxcaling     ``<input>/mx_<element>_<rounding>[_flush]/dq`` values, in the dtype of the input
mx_elements         ``elem_in_f32bits``; ``<library>/<element>/enc*`` codes, ``/dec_*`` values of codes
==================  ===========================================================================================

`PEERS` is the one table from keys to what refnum calls the same. Not every answer can be promised:

- `BY_PAYLOAD` go by the payload of a NaN, the aiter profiles do not: blocks with a NaN are left out;
- ``aiter_per1x32_even`` makes 255 of an amax that rounds to 2**128, ``aiter/v2`` the 254 of ``dynamic_mxfp4_quant``;
- ``aiter_hipref_*``, a reference in aiter's tests, is no profile: it gives a zero block another scale;
- under a NaN scale codes mean nothing; nor does aiter's code of 0 * Inf in NVFP4, which goes by the sign that the
  processor gives a NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .oracles import blocks
from .oracles.blocks import E8M0, Block, Fixed
from .oracles.minifloat import FLOATS
from .vectors import VectorError, directory

Array = NDArray[Any]

#: the formats that were recorded; mxint4 is microxcaling's alone
FORMATS = blocks.FORMATS | {"mxint4": Block(Fixed(4, 2), E8M0)}


class Peer(NamedTuple):
    """What refnum calls what a peer did."""

    profile: str
    scale: str
    rounding: str


TORCHAO = {rule: Peer("torchao/v1", rule, "nearest_even") for rule in ("floor", "ceil", "even", "rceil")}
AITER = {rule: Peer("aiter/v2", rule, "nearest_even") for rule in ("floor", "ceil", "even", "rceil")}
MICROXCALING = {
    f"{name}{suffix}": Peer(profile, "floor", rounding)
    for name, rounding in (("nearest", "nearest_away"), ("even", "nearest_even"), ("floor", "toward_zero"))
    for suffix, profile in (("", "microxcaling/v1"), ("_flush", "microxcaling.flush/v1"))
}
#: element in a key -> format
ELEMENTS = {
    "e2m1": "mxfp4",
    "e2m3": "mxfp6_e2m3",
    "e3m2": "mxfp6_e3m2",
    "e4m3": "mxfp8_e4m3",
    "e5m2": "mxfp8_e5m2",
    "int8": "mxint8",
    "int4": "mxint4",
    "nvfp4": "nvfp4",
}
#: peer in a key -> format, and what refnum calls it
PEERS: dict[str, tuple[str, Peer]] = {
    "aiter_legacy": ("mxfp4", Peer("aiter/v1", "even", "nearest_away")),
    "aiter_even": ("mxfp4", AITER["even"]),
    "aiter_torch_even": ("mxfp4", AITER["even"]),
    "aiter_per1x32_rounddown": ("mxfp4", AITER["floor"]),
    "aiter_per1x32_roundup": ("mxfp4", AITER["rceil"]),
    "aiter_per1x32_ceil": ("mxfp4", AITER["ceil"]),
    "aiter_per1x32_even": ("mxfp4", AITER["even"]),
    "aiter_nvfp4": ("nvfp4", AITER["even"]),
    "ao_nvfp4_1level": ("nvfp4", TORCHAO["floor"]),
    "ao_nvfp4_2level": ("nvfp4", TORCHAO["floor"]),
    **{f"ao_{rule}": ("mxfp4", peer) for rule, peer in TORCHAO.items()},
    **{f"ao_{e}_{rule}": (ELEMENTS[e], peer) for e in ELEMENTS for rule, peer in TORCHAO.items()},
    **{
        f"mx_{prefix}{e}_{name}": (ELEMENTS[e], peer)
        for prefix, elements in (("fp4_", ["e2m1"]), ("fp6_", ["e2m3", "e3m2"]), ("fp8_", ["e4m3", "e5m2"]))
        for e in elements
        for name, peer in MICROXCALING.items()
    },
    **{f"mx_{e}_{name}": (ELEMENTS[e], peer) for e in ("int8", "int4") for name, peer in MICROXCALING.items()},
}
NO_PROFILE = "aiter_hipref_"  #: peers whose keys begin so are left out
BY_PAYLOAD = ("aiter_legacy", "aiter_even", "aiter_torch_even")


@dataclass(frozen=True)
class Case:
    """What one peer made of one input: codes and scales, or the values that they stand for."""

    key: str
    fmt: str
    peer: Peer
    dtype: str  #: of the input
    x: Array  #: [rows, K] uint32: the input, widened to float32
    tensor_scale: int | None  #: float32 bits
    scales: Array | None = None  #: [blocks]
    codes: Array | None = None  #: [blocks, size], one code an entry
    values: Array | None = None  #: [blocks, size], by their bits
    values_dtype: str = "float32"

    def __str__(self) -> str:
        return self.key

    @property
    def blocks(self) -> Array:
        """[blocks, size]: the input, a block a row."""
        return self.x.reshape(-1, FORMATS[self.fmt].size)

    @property
    def promised(self) -> Array:
        """[blocks]: whether refnum promises the peer's scale, or value."""
        amax = (self.blocks & 0x7FFFFFFF).max(1)
        promised = np.ones(len(amax), bool)
        name = self.key.split("/")[1]
        if name in BY_PAYLOAD:
            promised &= amax <= INFINITY
        if name == "aiter_per1x32_even":
            promised &= (amax < ROUNDS_TO_INFINITY) | (amax > INFINITY)
        return promised

    @property
    def promised_codes(self) -> Array:
        """[blocks, size]: whether refnum promises the peer's code."""
        assert self.scales is not None
        nan = 0x7F if self.fmt == "nvfp4" else 0xFF
        promised = np.broadcast_to((self.promised & (self.scales != nan))[:, None], self.blocks.shape).copy()
        if "aiter_nvfp4" in self.key:
            promised &= ~self._undefined_products()
        return promised

    def _undefined_products(self) -> Array:
        with np.errstate(all="ignore"):
            x = self.blocks.view(np.float32)
            undefined: Array = np.isnan(x * (np.float32(1) / (np.abs(x).max(1, keepdims=True) / np.float32(6))))
        return undefined


INFINITY = 0x7F800000
ROUNDS_TO_INFINITY = 0x7F600000  #: from here on EVEN rounds amax to 2**128, for e2m1


@cache
def arrays(name: str) -> dict[str, Array]:
    """The arrays of one file."""
    path = directory() / f"mx_{name}.npz"
    if not path.exists():
        raise VectorError(f"There is no {path.name} among the golden vectors. Install refnum-conformance again.")
    with np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def cases() -> Iterator[Case]:
    """All that was recorded of whole blocks and that a profile answers for."""
    for name in ("mxfp4", "torchao_mx", "nvfp4", "dequant", "microxcaling"):
        for key, array in arrays(name).items():
            *path, what = key.split("/")
            if what in ("s", "pts_f32bits") or path[1].startswith(NO_PROFILE):
                continue
            yield _case(name, "/".join(path), what, array)


def _case(file: str, stem: str, what: str, array: Array) -> Case:
    source, peer = stem.split("/")
    if peer not in PEERS:
        raise VectorError(f"mx_{file}.npz has a key {stem}/{what}, but no row of PEERS is {peer!r}.")
    fmt, row = PEERS[peer]
    scale = arrays(file).get(f"{stem}/pts_f32bits")
    x = arrays("inputs")[source]
    dtype = DTYPES[x.dtype]
    size = FORMATS[fmt].size
    common = (f"{stem}/{what}", fmt, row, dtype, widened(x), None if scale is None else int(scale[0]))
    if what == "q":
        codes = unpacked(array) if FORMATS[fmt].element == blocks.E2M1 else array
        return Case(*common, scales=arrays(file)[f"{stem}/s"].reshape(-1), codes=codes.reshape(-1, size))
    return Case(*common, values=array.reshape(-1, size), values_dtype=DTYPES[array.dtype])


DTYPES = {np.dtype(np.uint32): "float32", np.dtype(np.uint16): "bfloat16"}


def widened(x: Array) -> Array:
    """Bits of float32 or bfloat16 as those of float32."""
    return x.astype(np.uint32) << 16 if x.dtype == np.uint16 else x


def unpacked(x: Array) -> Array:
    """Two codes a byte, the first in the low bits, as one a byte.

    >>> unpacked(np.array([[0x21, 0x43]], np.uint8))
    array([[1, 2, 3, 4]], dtype=uint8)
    """
    return np.stack([x & 15, x >> 4], -1).reshape(*x.shape[:-1], -1)


def folded(bits: Array, dtype: str) -> Array:
    """Bits of values with all NaNs made one, and both zeros: microxcaling leaves the sign of zeros open.

    >>> folded(np.array([0x80000000, 0xFFC00000, 1], np.uint32), "float32")
    array([ 0, -1,  1])
    """
    row = FLOATS[dtype]
    magnitude = bits.astype(np.int64) & (row.sign_bit - 1)
    return np.where(magnitude > row.infinity, -1, np.where(magnitude == 0, 0, bits.astype(np.int64)))
