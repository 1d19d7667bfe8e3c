"""The Posit Standard (2022) on tensors of patterns, a file a section group.

Every function takes integer tensors of patterns (any signed dtype that holds the format; only the low n bits are read)
and the format, broadcasts as torch does, and returns patterns in the smallest signed dtype, sign-extended.
"""

from .arithmetic import add, div, fma, fmm, mul, sqrt, sub
from .basics import abs, ceil, floor, nearest_int, negate, next, prior, sign
from .comparisons import (
    compare_equal,
    compare_greater,
    compare_greater_equal,
    compare_less,
    compare_less_equal,
    compare_not_equal,
)
from .conversions import convert, from_decimal, from_int, to_decimal, to_float, to_int
from .quire import Quire

__all__ = [
    "Quire",
    "abs",
    "add",
    "ceil",
    "compare_equal",
    "compare_greater",
    "compare_greater_equal",
    "compare_less",
    "compare_less_equal",
    "compare_not_equal",
    "convert",
    "div",
    "floor",
    "fma",
    "fmm",
    "from_decimal",
    "from_int",
    "mul",
    "nearest_int",
    "negate",
    "next",
    "prior",
    "sign",
    "sqrt",
    "sub",
    "to_decimal",
    "to_float",
    "to_int",
]
