"""The rows that have names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

from .blocks import Block
from .codebooks import Codebook
from .families import E8M0, mxint
from .ieee_p3109 import LISTED, p3109, p3109_name
from .integers import FixedPoint
from .logarithms import Logarithmic
from .minifloats import DMF, Minifloat
from .posits import Posit
from .takums import takum

Format = Posit | Minifloat  #: floating-point formats: what has functions, ULPs at every scale and ties
Scalar = Format | FixedPoint | DMF | Logarithmic | Codebook  #: formats of single values

posit8, posit16, posit32, posit64 = Posit(8), Posit(16), Posit(32), Posit(64)

e2m1 = Minifloat(2, 1, specials="none")
e2m3 = Minifloat(2, 3, specials="none")
e3m2 = Minifloat(3, 2, specials="none")
e4m3 = Minifloat(4, 3, specials="fn")
e5m2 = Minifloat(5, 2)
e4m3fnuz = Minifloat(4, 3, specials="fnuz")
e5m2fnuz = Minifloat(5, 2, specials="fnuz")
e8m0 = E8M0
float16 = Minifloat(5, 10, overflow="inf")
bfloat16 = Minifloat(8, 7, overflow="inf")
tf32 = Minifloat(8, 10, overflow="inf")
float32 = Minifloat(8, 23, overflow="inf")
float64 = Minifloat(11, 52, overflow="inf")

mxfp4 = Block(e2m1, e8m0, 32)
mxfp6_e2m3 = Block(e2m3, e8m0, 32)
mxfp6_e3m2 = Block(e3m2, e8m0, 32)
mxfp8_e4m3 = Block(e4m3, e8m0, 32)
mxfp8_e5m2 = Block(e5m2, e8m0, 32)
mxint8 = mxint(8, symmetric=True)
nvfp4 = Block(e2m1, e4m3, 16)

#: NormalFloat of 4 bits: quantiles of a normal distribution, scaled to [-1, 1]; the table of QLoRA's appendix E
nf4 = Codebook(
    (
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
        *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
        *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ),
    name="nf4",
)

FLOATING: Mapping[str, Format] = {
    row: globals()[row]
    for row in (
        *("posit8", "posit16", "posit32", "posit64", "e2m1", "e2m3", "e3m2", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz"),
        *("e8m0", "float16", "bfloat16", "tf32", "float32", "float64"),
    )
}
#: codebooks are made when they are asked for, since some have many values, and kept: a row is one object
CODEBOOKS: Mapping[str, Callable[[], Codebook]] = {
    "nf4": lambda: nf4,
    "takum8": cache(partial(takum, 8)),
    "takum16": cache(partial(takum, 16)),
    **{p3109_name(*row): cache(partial(p3109, *row[:2], signed=row[2], extended=row[3])) for row in LISTED},
}
BLOCKS: Mapping[str, Block] = {
    row: globals()[row] for row in ("mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8", "nvfp4")
}


NAMES = (*FLOATING, *CODEBOOKS, *BLOCKS)


def row(name: str) -> Scalar | Block:
    """The row of a name."""
    return CODEBOOKS[name]() if name in CODEBOOKS else {**FLOATING, **BLOCKS}[name]


def name_of(record: Minifloat | Block) -> str | None:
    """The name of a row that is equal to the record."""
    rows = BLOCKS if isinstance(record, Block) else FLOATING
    return next((name for name, row in rows.items() if row == record), None)
