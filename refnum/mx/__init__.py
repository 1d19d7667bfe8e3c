"""Blocks that share a scale: quantize, dequantize, pack and lay out, in every dialect that libraries speak."""

from .blocks import Blocks
from .dequantizer import dequantize
from .packing import pack4, pack6, unpack4, unpack6
from .profiles import PROFILES
from .quantizer import quantize

__all__ = ["PROFILES", "Blocks", "dequantize", "pack4", "pack6", "quantize", "unpack4", "unpack6"]
