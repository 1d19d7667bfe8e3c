"""Sums of products with k ascending: every step rounded, to a posit or to float32, on Python integers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import minifloat, posit
from .minifloat import FLOATS, Special
from .reals import Dyadic, OracleError, plus, times

Matrix = Sequence[Sequence[int]]

FLOAT32 = FLOATS["float32"]
SIGN, ONE, NAN = 1 << 31, 0x3F800000, 0x7FC00000
PAD = 8  #: to a multiple of which cuposit fills K up


def matrices(dot: Callable[..., int]) -> Callable[..., list[list[int]]]:
    """A function of whole matrices from one of a row, a column and the addend of their product."""

    def product(a: Matrix, b: Matrix, c: Matrix | None = None, **options: object) -> list[list[int]]:
        columns = list(zip(*b, strict=True)) if b else []
        return [
            [dot(row, column, None if c is None else c[i][j], **options) for j, column in enumerate(columns)]
            for i, row in enumerate(a)
        ]

    return product


# float32 -------------------------------------------------------------------------------------------------------------


def _float32(x: Dyadic, negative_zero: bool) -> int:
    """The pattern nearest to x."""
    negative = negative_zero if x.m == 0 else x.m < 0
    return minifloat.encode(negative, Dyadic(abs(x.m), x.e), FLOAT32)


def _special(negative: bool, x: Special) -> int:
    return minifloat.encode(negative, x, FLOAT32)


def float32_of(x: float) -> int:
    """The pattern nearest to a float."""
    numerator, denominator = x.as_integer_ratio()
    return _float32(Dyadic(numerator, 1 - denominator.bit_length()), negative_zero=str(x).startswith("-"))


def float32_fma(a: int, b: int, c: int) -> int:
    """a * b + c of patterns, rounded once to nearest, where one of b and c may be infinite or NaN."""
    (sign_a, x), (sign_b, y), (sign_c, z) = (minifloat.decode(bits, FLOAT32) for bits in (a, b, c))
    sign = sign_a != sign_b
    if isinstance(x, Special):
        raise OracleError(f"{a:#x} is no finite float32.")
    if isinstance(y, Special):
        return _special(sign, y)
    if isinstance(z, Special):
        return _special(sign_c, z)
    total = plus(minifloat.signed(sign, times(x, y)), minifloat.signed(sign_c, z))
    return _float32(total, negative_zero=sign and sign_c)


def float32_sum(a: int, b: int) -> int:
    """a + b of patterns, rounded to nearest."""
    (sign_a, x), (sign_b, y) = (minifloat.decode(bits, FLOAT32) for bits in (a, b))
    if Special.NAN in (x, y) or (x is y is Special.INF and sign_a != sign_b):
        return NAN
    return float32_fma(ONE, a, b) if isinstance(y, Special) else float32_fma(ONE, b, a)


def float32_product(a: int, b: int) -> int:
    """a * b of patterns, rounded to nearest, where b may be infinite or NaN."""
    return float32_fma(a, b, SIGN)  # -0 changes no product, not even its sign


# Modes posit and products --------------------------------------------------------------------------------------------


def _posit_dot(a: Sequence[int], b: Sequence[int], c: int | None, n: int, es: int) -> int:
    accumulator = 0 if c is None else posit.signed(c, n)
    for x, y in zip(a, b, strict=True):
        accumulator = posit.add(accumulator, posit.mul(x, y, n, es), n, es)
    return accumulator


def _products_dot(a: Sequence[int], b: Sequence[int], c: int | None, n: int, es: int, dtype: str = "float32") -> int:
    accumulator = 0
    for x, y in zip(a, b, strict=True):
        accumulator = float32_sum(accumulator, posit.to_float(posit.mul(x, y, n, es), n, es, dtype))
    return posit.signed(accumulator if c is None else float32_sum(accumulator, c), 32)


posit_mm = matrices(_posit_dot)
products_mm = matrices(_products_dot)


# Mode cuposit: the formulas of its definition, on bits ----------------------------------------------------------------


def clip(bits: int, n: int) -> int:
    """One float32 pattern clamped and truncated."""
    largest = 4 * (n - 4) - 1
    low, high = 127 - largest, 127 + largest
    exponent, mantissa = bits >> 23 & 255, bits & ((1 << 23) - 1)
    exponent = min(max(exponent, low), high)
    regime = (exponent - 127) // 4
    kept = n - 5 - (regime if regime >= 0 else -1 - regime)
    if kept < 23:  # n = 4 asks for a negative count: nothing is left
        mantissa = mantissa >> (23 - kept) << (23 - kept) if kept >= 0 else 0
    return bits & SIGN | exponent << 23 | mantissa


def _cuposit_dot(
    a: Sequence[int],
    b: Sequence[int],
    c: int | None,
    n: int,
    es: int,
    alpha: float,
    beta: float,
    k_pad: int | None,
    dtype: str = "float32",
) -> int:
    terms = [(clip(x, n), clip(y, n)) for x, y in zip(a, b, strict=True)]
    if k_pad and (first := len(terms) % PAD):
        terms[first:first] = [(clip(0, n), clip(0, n))] * (PAD - first)
    accumulator = 0
    for x, y in terms:
        accumulator = float32_sum(clip(float32_product(x, y), n), accumulator)
    addend = float32_product(float32_of(beta), c) if c is not None and beta != 0 else SIGN
    return posit.signed(float32_fma(float32_of(alpha), accumulator, addend), 32)


cuposit_mm = matrices(_cuposit_dot)
