"""AMD's matrix cores (CDNA1 to CDNA3) on Python's integers, from the definition in words; imports nothing of refnum.

One dot product at a time: patterns in, the float32 pattern of the last accumulator out, NaN as 0x7fffffff. The words
are those of `refnum.sums.matrixcore`, and the arithmetic that of microsoft/MMA-Sim at commit c785138.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import floor, trunc
from typing import NamedTuple

from .minifloat import FLOATS, Row, Special, decode, encode
from .reals import Dyadic, plus, times

FLOAT32 = FLOATS["float32"]
NAN = 0x7FFFFFFF
ZERO_BINADE = -126
OVERFLOW = 1 << 128

#: dtype -> format
FORMATS = {
    "float16": FLOATS["float16"],
    "bfloat16": FLOATS["bfloat16"],
    "float32": FLOAT32,
    "float8_e4m3fnuz": Row(4, 3, 8, "fnuz"),
    "float8_e5m2fnuz": Row(5, 2, 16, "fnuz"),
}


class Core(NamedTuple):
    """What the instructions of one name do."""

    terms: int  #: of an instruction
    group: int  #: of them are added at a time
    pairwise: bool = False  #: by sums of two, rounded each; else aligned
    flushes: bool = False
    halves: int = 1  #: that a group falls into
    cut: int = 0  #: bits that an operand loses


CORES = {
    "cdna1.f16": Core(16, 4, pairwise=True),
    "cdna1.f16.k8": Core(8, 4, pairwise=True),
    "cdna1.f16.k4": Core(4, 4, pairwise=True),
    "cdna1.bf16": Core(8, 2, pairwise=True),
    "cdna1.bf16.k4": Core(4, 2, pairwise=True),
    "cdna1.bf16.k2": Core(2, 2, pairwise=True),
    "cdna2.f16": Core(16, 4, pairwise=True, flushes=True),
    "cdna2.f16.k8": Core(8, 4, pairwise=True, flushes=True),
    "cdna2.f16.k4": Core(4, 4, pairwise=True, flushes=True),
    "cdna2.bf16": Core(8, 2, pairwise=True, flushes=True),
    "cdna2.bf16.k4": Core(4, 2, pairwise=True, flushes=True),
    "cdna2.bf16.k2": Core(2, 2, pairwise=True, flushes=True),
    "cdna2.bf16_1k": Core(16, 4, pairwise=True, flushes=True),
    "cdna2.bf16_1k.k8": Core(8, 4, pairwise=True, flushes=True),
    "cdna2.bf16_1k.k4": Core(4, 4, pairwise=True, flushes=True),
    "cdna3.f16": Core(16, 8),
    "cdna3.f16.k8": Core(8, 8),
    "cdna3.f16.k4": Core(4, 4),
    "cdna3.bf16": Core(16, 8),
    "cdna3.bf16.k8": Core(8, 8),
    "cdna3.bf16.k4": Core(4, 4),
    "cdna3.tf32": Core(8, 4, cut=13),
    "cdna3.tf32.k4": Core(4, 4, cut=13),
    "cdna3.fp8": Core(32, 16, halves=2),
    "cdna3.fp8.k16": Core(16, 16, halves=2),
}


def dot(a: Sequence[int], b: Sequence[int], c: int, name: str, formats: tuple[str, str]) -> int:
    """The accumulator after the dot product of a and b, which starts with c.

    >>> hex(dot([0x3F80, 0x4000], [0x3F80, 0x4000], 0, "cdna3.bf16", ("bfloat16", "bfloat16")))  # 1 + 2 * 2
    '0x40a00000'
    """
    core = CORES[name]
    rows = FORMATS[formats[0]], FORMATS[formats[1]]
    pairs = [(x >> core.cut << core.cut, y >> core.cut << core.cut) for x, y in zip(a, b, strict=True)]
    pairs += [(0, 0)] * (-len(pairs) % core.terms)
    for start in range(0, len(pairs), core.terms):
        c = _instruction(pairs[start : start + core.terms], c, core, rows)
    return NAN if decode(c, FLOAT32)[1] is Special.NAN else c


def _instruction(pairs: list[tuple[int, int]], c: int, core: Core, rows: tuple[Row, Row]) -> int:
    take = _pairwise if core.pairwise else _aligned
    if core.flushes:
        pairs = [(_without_small(x, rows[0]), _without_small(y, rows[1])) for x, y in pairs]
        c = _without_small(c, FLOAT32)
    for start in range(0, core.terms, core.group):
        c = take(pairs[start : start + core.group], c, core, rows)
    return c


def _without_small(code: int, row: Row, sign: int = 0) -> int:
    """The code, that of 0 for subnormals; ``sign`` are the bits that these keep."""
    magnitude = code & (row.sign_bit - 1)
    return code & sign if magnitude >> row.mantissa == 0 else code


# Sums of two ---------------------------------------------------------------------------------------------------------


def _pairwise(pairs: list[tuple[int, int]], c: int, core: Core, rows: tuple[Row, Row]) -> int:
    products = [_product(x, y, rows) for x, y in pairs]
    if core.flushes:
        products = [_without_small(p, FLOAT32, FLOAT32.sign_bit) for p in products]
    return _sum(c, _tree(products, core.flushes), core.flushes)


def _tree(values: list[int], flushes: bool) -> int:
    """The sum of the sums of both halves."""
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return _sum(_tree(values[:middle], flushes), _tree(values[middle:], flushes), flushes)


def _product(x: int, y: int, rows: tuple[Row, Row]) -> int:
    """a * b + 0, rounded."""
    (u_sign, u), (v_sign, v) = decode(x, rows[0]), decode(y, rows[1])
    negative = u_sign != v_sign
    if Special.NAN in (u, v):
        return NAN
    if Special.INF in (u, v):
        return (
            NAN if any(isinstance(z, Dyadic) and z.m == 0 for z in (u, v)) else encode(negative, Special.INF, FLOAT32)
        )
    exact = times(u, v)  # type: ignore[arg-type]
    return 0 if exact.m == 0 else encode(negative, exact, FLOAT32)


def _sum(x: int, y: int, flushes: bool) -> int:
    (u_sign, u), (v_sign, v) = decode(x, FLOAT32), decode(y, FLOAT32)
    if Special.NAN in (u, v) or (u is v is Special.INF and u_sign != v_sign):
        return NAN
    if isinstance(u, Special):
        return x
    if isinstance(v, Special):
        return y
    total = plus(Dyadic(-u.m if u_sign else u.m, u.e), Dyadic(-v.m if v_sign else v.m, v.e))
    negative = total.m < 0 or (total.m == 0 and u_sign and v_sign)
    code = encode(negative, Dyadic(abs(total.m), total.e), FLOAT32)
    return _without_small(code, FLOAT32, FLOAT32.sign_bit) if flushes else code


# Sums of a group -----------------------------------------------------------------------------------------------------


class Number(NamedTuple):
    """A finite number, and the exponent of its binade."""

    value: Fraction
    binade: int


def _aligned(pairs: list[tuple[int, int]], c: int, core: Core, rows: tuple[Row, Row]) -> int:
    special = _special([_product_of_any_size(x, y, rows) for x, y in pairs], decode(c, FLOAT32))
    if special is not None:
        return special
    of_c = _number(c, FLOAT32)
    products = []
    for x, y in pairs:
        u, v = _number(x, rows[0]), _number(y, rows[1])
        products.append(Number(u.value * v.value, u.binade + v.binade))
    parts = [_truncated(products[i :: core.halves]) for i in range(core.halves)]
    binade = max(part.binade for part in parts)
    group = sum(_down(part.value, binade - 24) for part in parts)
    largest = max(binade, of_c.binade)
    addend = Fraction(0) if core.halves > 1 and of_c.binade < largest - 25 else _down(of_c.value, largest - 24)
    return _float32(_down(group, largest - 31) + addend)


def _number(code: int, row: Row) -> Number:
    negative, value = decode(code, row)
    assert isinstance(value, Dyadic)
    magnitude = value.fraction()
    if magnitude == 0:
        return Number(Fraction(0), ZERO_BINADE)
    exponent = value.m.bit_length() - 1 + value.e
    return Number(-magnitude if negative else magnitude, max(exponent, 1 - row.bias))


def _truncated(products: list[Number]) -> Number:
    binade = max(p.binade for p in products)
    unit = Fraction(2) ** (binade - 24)
    return Number(sum((trunc(p.value / unit) for p in products), 0) * unit, binade)


def _down(x: Fraction, exponent: int) -> Fraction:
    unit = Fraction(2) ** exponent
    return floor(x / unit) * unit


def _float32(x: Fraction) -> int:
    # The denominator is a power of 2.
    return encode(x < 0, Dyadic(abs(x.numerator), 1 - x.denominator.bit_length()), FLOAT32)


Signed = tuple[bool, Dyadic | Special]


def _product_of_any_size(x: int, y: int, rows: tuple[Row, Row]) -> Signed:
    (u_sign, u), (v_sign, v) = decode(x, rows[0]), decode(y, rows[1])
    negative = u_sign != v_sign
    if Special.NAN in (u, v):
        return negative, Special.NAN
    if Special.INF in (u, v):
        zero = any(isinstance(z, Dyadic) and z.m == 0 for z in (u, v))
        return negative, Special.NAN if zero else Special.INF
    return negative, times(u, v)  # type: ignore[arg-type]


def _special(products: list[Signed], c: Signed) -> int | None:
    """The result where it is no number, or a product is beyond float32; else None."""
    terms = [*products, c]
    if any(value is Special.NAN for _, value in terms):
        return NAN
    infinite = {negative for negative, value in terms if value is Special.INF}
    if not infinite:
        infinite = {n for n, value in products if isinstance(value, Dyadic) and value.fraction() >= OVERFLOW}
    if len(infinite) == 2:
        return NAN
    return encode(infinite.pop(), Special.INF, FLOAT32) if infinite else None
