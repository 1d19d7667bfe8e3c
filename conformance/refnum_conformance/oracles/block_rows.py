"""Block formats as rows of the operations table: formats and profiles by name, bits as lists of integers.

A block is a list: the code of its scale, then those of its elements. A matrix is a list of rows, each a list of blocks;
products are summed along the rows of both sides (gemm.md C1 and C5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from . import blocks, minifloat, tensorcore
from .blocks import FORMATS, Number
from .minifloat import FLOATS
from .orders import float32_of
from .posit import signed
from .reals import Dyadic

Blocks = Sequence[Sequence[int]]


@lru_cache(maxsize=1 << 16)
def _float32(bits: int, dtype: str) -> int:
    """The float32 of the same value."""
    return minifloat.encode(*minifloat.decode(bits, FLOATS[dtype]), FLOATS["float32"])


def _level(tensor_scale: float | None) -> int | None:
    return None if tensor_scale is None else float32_of(tensor_scale) & 0xFFFFFFFF


def _signed(bits: int, dtype: str) -> int:
    return signed(bits, FLOATS[dtype].width)


# Blocks --------------------------------------------------------------------------------------------------------------


def quantize(
    x: Sequence[int],
    random_bits: Sequence[int] | None = None,
    *,
    fmt: str,
    dtype: str,
    profile: str,
    rounding: str,
    scale: str | None = None,
    tensor_scale: float | None = None,
) -> list[int]:
    """One block of floats."""
    code, codes = blocks.quantize(
        [_float32(bits, dtype) for bits in x],
        FORMATS[fmt],
        profile,
        scale=scale,
        rounding=rounding,
        random_bits=random_bits,
        tensor_scale=_level(tensor_scale),
        dtype=dtype,
    )
    return [code, *codes]


def dequantize(block: Sequence[int], *, fmt: str, dtype: str, tensor_scale: float | None = None) -> list[int]:
    """The floats that a block stands for."""
    code, *codes = block
    return [_signed(u, dtype) for u in blocks.dequantize(code, codes, FORMATS[fmt], _level(tensor_scale), dtype)]


def fake_quantize(
    x: Sequence[int],
    random_bits: Sequence[int] | None = None,
    *,
    fmt: str,
    to_dtype: str,
    tensor_scale: float | None = None,
    **options: str,
) -> list[int]:
    """There and back."""
    block = quantize(x, random_bits, fmt=fmt, tensor_scale=tensor_scale, **options)
    return dequantize(block, fmt=fmt, dtype=to_dtype, tensor_scale=tensor_scale)


# Products ------------------------------------------------------------------------------------------------------------

Values = Callable[[Blocks, str, float | None], list[Number]]
Dot = Callable[[Sequence[Number], Sequence[Number], Number | None, str], int]


def _exact_values(row: Blocks, fmt: str, tensor_scale: float | None) -> list[Number]:
    level = _level(tensor_scale)
    return [number for code, *codes in row for number in blocks.values(code, codes, FORMATS[fmt], level)]


def _float32_values(row: Blocks, fmt: str, tensor_scale: float | None) -> list[Number]:
    options = {"fmt": fmt, "dtype": "float32", "tensor_scale": tensor_scale}
    return [_number(bits) for block in row for bits in dequantize(block, **options)]  # type: ignore[arg-type]


def _number(bits: int) -> Number:
    return blocks.float32(bits & 0xFFFFFFFF)


def _chain(a: Sequence[Number], b: Sequence[Number], bias: Number | None, dtype: str) -> int:
    accumulator = bias or (False, Dyadic(0, 0))
    for x, y in zip(a, b, strict=True):
        accumulator = _number(blocks.dot([x], [y], accumulator))  # two terms, rounded once: a fused multiply-add
    return blocks.dot([], [], accumulator, dtype)


def _product(values: Values, dot: Dot) -> Callable[..., list[list[int]]]:
    def product(
        a: Sequence[Blocks],
        b: Sequence[Blocks],
        bias: Sequence[Sequence[int]] | None = None,
        *,
        fmt: str,
        b_fmt: str,
        dtype: str,
        tensor_scale: float | None = None,
    ) -> list[list[int]]:
        columns = [values(row, b_fmt, None) for row in b]
        return [
            [
                _signed(dot(row, column, None if bias is None else _number(bias[i][j]), dtype), dtype)
                for j, column in enumerate(columns)
            ]
            for i, row in enumerate(values(row, fmt, tensor_scale) for row in a)
        ]

    return product


exact_mm = _product(_exact_values, blocks.dot)  #: the exact sum of all terms, rounded once
chain_mm = _product(_float32_values, _chain)  #: k ascending, fma by fma in float32 from the bias or +0, then rounded


#: format -> the instruction of Blackwell that multiplies it, and the names of its elements and scales there
INSTRUCTIONS = {
    "mxfp8_e4m3": ("blackwell.mxf8", ("float8_e4m3fn", "e8m0")),
    "mxfp8_e5m2": ("blackwell.mxf8", ("float8_e5m2", "e8m0")),
    "mxfp4": ("blackwell.mxf4", ("e2m1", "e8m0")),
    "nvfp4": ("blackwell.nvf4", ("e2m1", "ue4m3")),
}


def tensorcore_mm(
    a: Sequence[Blocks],
    b: Sequence[Blocks],
    bias: Sequence[Sequence[int]] | None = None,
    *,
    fmt: str,
    b_fmt: str,
    dtype: str,
) -> list[list[int]]:
    """What an instruction that takes blocks makes of them (gemm.md C3); the bias is the first accumulator."""

    def dot(i: int, j: int) -> int:
        sides = (_operand(a[i], fmt), _operand(b[j], b_fmt))
        found = tensorcore.blocks_dot(*sides, 0 if bias is None else bias[i][j], INSTRUCTIONS[fmt][0])
        return _signed(minifloat.encode(*_number(found), FLOATS[dtype]), dtype)

    return [[dot(i, j) for j in range(len(b))] for i in range(len(a))]


def _operand(row: Blocks, fmt: str) -> tensorcore.Blocks:
    elements = [code for _, *codes in row for code in codes]
    return tensorcore.Blocks(elements, [scale for scale, *_ in row], INSTRUCTIONS[fmt][1])
