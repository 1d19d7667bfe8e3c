"""Number formats as rows of data: frozen records, and the rows that have names.

Nothing here computes, and nothing here imports torch: a format says what a pattern means, ``core`` does the arithmetic.
"""

from .blocks import RULES, Block, Element, Scale
from .codebooks import Codebook
from .containment import holds, keeps, unit_scale
from .families import bfp, block_log, block_minifloat, mxint
from .ieee_p3109 import p3109
from .integers import Exponent, FixedPoint
from .logarithms import Logarithmic
from .minifloats import DMF, OVERFLOWS, SPECIALS, Minifloat
from .names import named, parse, parse_scalar, scalars
from .posits import Posit
from .rows import CODEBOOKS as _CODEBOOKS
from .rows import (
    Format,
    Scalar,
    bfloat16,
    e2m1,
    e2m3,
    e3m2,
    e4m3,
    e4m3fnuz,
    e5m2,
    e5m2fnuz,
    e8m0,
    float16,
    float32,
    float64,
    mxfp4,
    mxfp6_e2m3,
    mxfp6_e3m2,
    mxfp8_e4m3,
    mxfp8_e5m2,
    mxint8,
    nf4,
    nvfp4,
    posit8,
    posit16,
    posit32,
    posit64,
    tf32,
)
from .takums import takum

__all__ = [
    "Posit",
    "Minifloat",
    "DMF",
    "FixedPoint",
    "Logarithmic",
    "Codebook",
    "Exponent",
    "Block",
    "Format",
    "Scalar",
    "Element",
    "Scale",
    "SPECIALS",
    "OVERFLOWS",
    "RULES",
    "posit8",
    "posit16",
    "posit32",
    "posit64",
    "e2m1",
    "e2m3",
    "e3m2",
    "e4m3",
    "e5m2",
    "e4m3fnuz",
    "e5m2fnuz",
    "e8m0",
    "float16",
    "bfloat16",
    "tf32",
    "float32",
    "float64",
    "nf4",
    "takum8",
    "takum16",
    "takum",
    "p3109",
    "mxfp4",
    "mxfp6_e2m3",
    "mxfp6_e3m2",
    "mxfp8_e4m3",
    "mxfp8_e5m2",
    "mxint8",
    "nvfp4",
    "mxint",
    "bfp",
    "block_minifloat",
    "block_log",
    "holds",
    "keeps",
    "unit_scale",
    "named",
    "scalars",
    "parse",
    "parse_scalar",
]


def __getattr__(name: str) -> Codebook:
    """Rows with many values are made when they are asked for."""
    if name in _CODEBOOKS:
        return _CODEBOOKS[name]()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
