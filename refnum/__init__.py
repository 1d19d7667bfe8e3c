"""refnum, reference numerics: what low-precision arithmetic is, bit for bit.

::

    bits --decode--> exact value --exact op--> exact result --pack--> unrounded pattern --round--> bits
                         (quire, products, sums: nothing is lost here)

Every format goes this way. A format is a row of data, a rounding rule is a name, an order of summation is a versioned
contract. Names are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import formats as formats
    from . import functions as functions
    from . import lab as lab
    from . import mx as mx
    from . import nn as nn
    from . import posit as posit
    from . import testing as testing
    from .backend import status as status
    from .backend import use_backend as use_backend
    from .codec import decode as decode
    from .codec import encode as encode
    from .errors import BackendError as BackendError
    from .errors import ContractError as ContractError
    from .errors import DTypeError as DTypeError
    from .errors import FormatError as FormatError
    from .errors import MismatchError as MismatchError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import NonFiniteError as NonFiniteError
    from .errors import RefnumError as RefnumError
    from .errors import ShapeError as ShapeError
    from .errors import UncoveredError as UncoveredError
    from .formats import DMF as DMF
    from .formats import Block as Block
    from .formats import Codebook as Codebook
    from .formats import FixedPoint as FixedPoint
    from .formats import Logarithmic as Logarithmic
    from .formats import Minifloat as Minifloat
    from .formats import Posit as Posit
    from .formats import bfloat16 as bfloat16
    from .formats import e2m1 as e2m1
    from .formats import e2m3 as e2m3
    from .formats import e3m2 as e3m2
    from .formats import e4m3 as e4m3
    from .formats import e4m3fnuz as e4m3fnuz
    from .formats import e5m2 as e5m2
    from .formats import e5m2fnuz as e5m2fnuz
    from .formats import e8m0 as e8m0
    from .formats import float16 as float16
    from .formats import mxfp4 as mxfp4
    from .formats import mxfp6_e2m3 as mxfp6_e2m3
    from .formats import mxfp6_e3m2 as mxfp6_e3m2
    from .formats import mxfp8_e4m3 as mxfp8_e4m3
    from .formats import mxfp8_e5m2 as mxfp8_e5m2
    from .formats import mxint8 as mxint8
    from .formats import nf4 as nf4
    from .formats import nvfp4 as nvfp4
    from .formats import posit8 as posit8
    from .formats import posit16 as posit16
    from .formats import posit32 as posit32
    from .formats import posit64 as posit64
    from .formats import takum8 as takum8
    from .formats import takum16 as takum16
    from .formats import tf32 as tf32
    from .ops import column_parallel_mm as column_parallel_mm
    from .ops import exact_partial as exact_partial
    from .ops import gemm as gemm
    from .ops import mx_mm as mx_mm
    from .ops import posit_mm as posit_mm
    from .ops import quire_dot as quire_dot
    from .ops import row_parallel_mm as row_parallel_mm
    from .ops import scaled_mm as scaled_mm
    from .posit import Quire as Quire
    from .sums.partial import ExactPartial as ExactPartial
    from .values import quantize as quantize

__version__ = "0.1.0"

_EXPORTS: dict[str, tuple[str, ...]] = {
    "backend": ("status", "use_backend"),
    "codec": ("encode", "decode"),
    "errors": (
        "RefnumError",
        "FormatError",
        "ShapeError",
        "DTypeError",
        "ContractError",
        "NonFiniteError",
        "UncoveredError",
        "BackendError",
        "MissingExtraError",
        "MismatchError",
    ),
    "formats": (
        *("Posit", "Minifloat", "DMF", "FixedPoint", "Logarithmic", "Codebook", "Block"),
        *("posit8", "posit16", "posit32", "posit64", "nf4", "takum8", "takum16"),
        *("e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0", "float16", "bfloat16", "tf32"),
        *("mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8", "nvfp4"),
    ),
    "ops": (
        *("gemm", "mx_mm", "posit_mm", "quire_dot", "scaled_mm"),
        *("exact_partial", "row_parallel_mm", "column_parallel_mm"),
    ),
    "posit": ("Quire",),
    "sums.partial": ("ExactPartial",),
    "values": ("quantize",),
}
_MODULES = ("formats", "functions", "lab", "mx", "nn", "posit", "testing")
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *_MODULES, *_HOMES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        value: object = importlib.import_module(f".{name}", __name__)
    elif name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
