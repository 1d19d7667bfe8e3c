"""Blocks that share a scale: quantize, dequantize, pack and lay out, in every dialect that libraries speak."""

from .blocks import Blocks
from .dequantizer import dequantize
from .layouts import (
    LAYOUTS,
    from_blocked,
    shuffle,
    shuffle_scale,
    shuffle_weight,
    to_blocked,
    unshuffle,
    unshuffle_scale,
    unshuffle_weight,
)
from .mase import pack_mxint8, unpack_mxint8
from .packing import pack4, pack6, unpack4, unpack6
from .philox import random_bits
from .profiles import PROFILES
from .quantizer import quantize, tensor_scale
from .rotations import hadamard

__all__ = [
    "LAYOUTS",
    "PROFILES",
    "Blocks",
    "dequantize",
    "from_blocked",
    "hadamard",
    "pack4",
    "pack6",
    "pack_mxint8",
    "quantize",
    "random_bits",
    "shuffle",
    "shuffle_scale",
    "shuffle_weight",
    "tensor_scale",
    "to_blocked",
    "unpack4",
    "unpack6",
    "unpack_mxint8",
    "unshuffle",
    "unshuffle_scale",
    "unshuffle_weight",
]
