"""The formats of `lab` as rows of the operations table: formats by name, floats by their bits, blocks as lists.

Names are refnum's, and say all: ``fixed(8,4)`` has 8 bits, 4 of them behind the point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache

from . import lab, minifloat
from .book_rows import NF4, Book, of_p3109, of_table, of_takum
from .codebooks import Table
from .lab import Bfp, Block, BlockLog, BlockMinifloat, Dmf, Fixed, Log, MxInt, Number
from .minifloat import FLOATS, Special
from .p3109 import Row
from .posit import signed

Scalar = Fixed | Dmf | Log | Book

SCALARS: Mapping[str, Scalar] = {
    "fixed(2,0)": Fixed(2, 0),
    "fixed(4,2)": Fixed(4, 2),
    "fixed(8,4)": Fixed(8, 4),
    "fixed(8,0,signed=False)": Fixed(8, 0, signed=False),
    "fixed(5,3,signed=False)": Fixed(5, 3, signed=False),
    "fixed(8,7,symmetric=True)": Fixed(8, 7, symmetric=True),
    "fixed(8,4,overflow='wrap')": Fixed(8, 4, overflow="wrap"),
    "fixed(8,4,signed=False,overflow='wrap')": Fixed(8, 4, signed=False, overflow="wrap"),
    "fixed(8,-2)": Fixed(8, -2),
    "fixed(4,9)": Fixed(4, 9),
    "fixed(16,8)": Fixed(16, 8),
    "fixed(24,12)": Fixed(24, 12),
    "fixed(32,0)": Fixed(32, 0),
    "fixed(32,31,signed=False)": Fixed(32, 31, signed=False),
    "dmf(4,3)": Dmf(4, 3, 7),
    "dmf(2,1)": Dmf(2, 1, 1),
    "dmf(1,4)": Dmf(1, 4, 0),
    "dmf(5,2)": Dmf(5, 2, 15),
    "dmf(3,4,bias=4)": Dmf(3, 4, 4),
    "dmf(8,7)": Dmf(8, 7, 127),
    "log(4)": Log(4, 3),
    "log(8)": Log(8, 63),
    "log(2)": Log(2, 0),
    "log(5,bias=0)": Log(5, 0),
    "log(5,bias=20)": Log(5, 20),
    "log(4,zero_code=False)": Log(4, 3, zero_code=False),
    "log(9,bias=127,zero_code=False)": Log(9, 127, zero_code=False),
    "nf4": of_table(Table(NF4, tuple(range(16)), (Fraction(-2), Fraction(2)))),
    "takum8": of_takum(8),
    "takum(11)": of_takum(11),
    "takum16": of_takum(16),
    "p3109_k8p3se": of_p3109(Row(8, 3, True, True)),
    "p3109_k8p4uf": of_p3109(Row(8, 4, False, False)),
    "p3109_k8p1ue": of_p3109(Row(8, 1, False, True)),
    "p3109(6,4,signed=False,saturation='finite')": of_p3109(Row(6, 4, False, True), "finite"),
    "p3109(12,8,saturation='propagate')": of_p3109(Row(12, 8, True, True), "propagate"),
    "codebook(-3.0,-1.0,0.0,0.5,7.0,codes=(1,3,9,5,7),specials={'nan':0},overflow='nan')": of_table(
        Table(
            tuple(map(Fraction, (-3, -1, 0, 0.5, 7))),
            (1, 3, 9, 5, 7),
            (Fraction(-5), Fraction(27, 2)),
            {"nan": 0},
            ("nan", "nan"),
        )
    ),
}

BLOCKS: Mapping[str, Block] = {
    "bfp(8,16)": Bfp(8, 16),
    "bfp(8,16,rule='floor')": Bfp(8, 16, rule="floor"),
    "bfp(4,32)": Bfp(4, 32),
    "bfp(12,8,exponent=5)": Bfp(12, 8, 5, 15),
    "bfp(2,16,exponent=4,bias=20)": Bfp(2, 16, 4, 20),
    "bfp(24,4)": Bfp(24, 4),
    "block_minifloat(8,4,16)": BlockMinifloat(8, 4, 16),
    "block_minifloat(6,2,32,shared=4)": BlockMinifloat(6, 2, 32, 4),
    "block_minifloat(16,5,4)": BlockMinifloat(16, 5, 4),
    "block_log(8,16)": BlockLog(8, 16),
    "block_log(4,16,shared=5)": BlockLog(4, 16, 5),
    "block_log(4,16,zero_code=False)": BlockLog(4, 16, zero_code=False),
    "mxint(8)": MxInt(8),
    "mxint(8,rule='ceil')": MxInt(8, 32, "ceil"),
    "mxint(8,16,rule='ceil',symmetric=True)": MxInt(8, 16, "ceil", symmetric=True),
    "mxint(4,16)": MxInt(4, 16),
    "mxint(2,16,rule='ceil')": MxInt(2, 16, "ceil"),
    "mxint(16,8)": MxInt(16, 8),
}

FORMATS: Mapping[str, Scalar | Block] = {**SCALARS, **BLOCKS}
SIZES: Mapping[str, int] = {name: fmt.size for name, fmt in BLOCKS.items() if isinstance(fmt.size, int)}


@lru_cache(maxsize=1 << 18)
def number(bits: int, dtype: str) -> Number:
    """The number that a float stands for."""
    return minifloat.decode(bits, FLOATS[dtype])


def _float(x: Number, dtype: str) -> int:
    return signed(minifloat.encode(*x, FLOATS[dtype]), FLOATS[dtype].width)


def holds(dtype: str, name: str) -> bool:
    """Whether a dtype has every value of a format.

    >>> holds("float16", "fixed(8,4)"), holds("bfloat16", "fixed(16,8)")
    (True, False)
    """
    row, (least, largest, bits) = FLOATS[dtype], SCALARS[name].span
    return bits <= row.mantissa + 1 and largest <= row.bias and least >= 1 - row.bias - row.mantissa


# Single numbers ------------------------------------------------------------------------------------------------------


def scalar_encode(bits: int, random_bits: int = 0, *, fmt: str, dtype: str, rounding: str) -> int:
    """The code of a float, by its low bits."""
    code = lab.encode(number(bits, dtype), SCALARS[fmt], rounding, random_bits)
    return code & ((1 << SCALARS[fmt].width) - 1)


def scalar_decode(code: int, *, fmt: str, dtype: str) -> int:
    """The float of the same value."""
    return _float(SCALARS[fmt].decode(code), dtype)


def scalar_quantize(bits: int, random_bits: int = 0, *, fmt: str, dtype: str, rounding: str) -> int:
    """There and back; NaN stays."""
    if number(bits, dtype)[1] is Special.NAN:
        return _float((False, Special.NAN), dtype)
    return scalar_decode(
        scalar_encode(bits, random_bits, fmt=fmt, dtype=dtype, rounding=rounding), fmt=fmt, dtype=dtype
    )


# Blocks --------------------------------------------------------------------------------------------------------------


def block_quantize(
    x: Sequence[int], random_bits: Sequence[int] = (), *, fmt: str, dtype: str, rounding: str
) -> list[int]:
    """The code of the scale, then those of the elements, by their low bits."""
    block = BLOCKS[fmt]
    code, codes = lab.quantize([number(bits, dtype) for bits in x], block, rounding, random_bits)
    return [code, *(c & ((1 << block.width) - 1) for c in codes)]


def block_dequantize(found: Sequence[int], *, fmt: str, dtype: str) -> list[int]:
    """The floats nearest to what a block stands for."""
    code, *codes = found
    return [_float(x, dtype) for x in lab.dequantize(code, codes, BLOCKS[fmt])]


def block_fake_quantize(
    x: Sequence[int], random_bits: Sequence[int] = (), *, fmt: str, dtype: str, rounding: str
) -> list[int]:
    """There and back; a block with NaN or Inf is NaN."""
    if any(isinstance(number(bits, dtype)[1], Special) for bits in x):
        return [_float((False, Special.NAN), dtype)] * len(x)
    return block_dequantize(
        block_quantize(x, random_bits, fmt=fmt, dtype=dtype, rounding=rounding), fmt=fmt, dtype=dtype
    )
