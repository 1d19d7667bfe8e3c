"""NVIDIA's tensor cores (Volta to Blackwell) on Python's integers, step by step; imports nothing of refnum.

One dot product at a time: patterns in, the pattern of the last accumulator out, NaN as 0x7fffffff (0x7fff of float16).
The steps are those of microsoft/MMA-Sim at commit c785138: each block of terms and the accumulator are aligned to the
largest exponent, cut, added, and rounded. On Hopper, as was found on an H200, terms that are 0 have no exponent, and
terms that are all less are aligned to 2**-133.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from math import trunc
from typing import NamedTuple

from .minifloat import FLOATS, Row, Special, decode, encode
from .reals import Dyadic

FLOAT32, FLOAT16 = FLOATS["float32"], FLOATS["float16"]
E4M3, E2M1, E8M0 = Row(4, 3, 7, "fn"), Row(2, 1, 1, "none"), Row(8, 0, 127, "fn", signed=False, subnormals=False)
ZERO_EXPONENT = -126  #: of 0 in any format, where it has one

#: name -> format
FORMATS = {
    "bfloat16": FLOATS["bfloat16"],
    "float16": FLOAT16,
    "float32": FLOAT32,  # tf32 is what is left of it
    "float8_e4m3fn": E4M3,
    "float8_e5m2": Row(5, 2, 15),
    "e2m1": E2M1,
    "e8m0": E8M0,
    "ue4m3": E4M3,
}


class Core(NamedTuple):
    """What the instructions of one name do."""

    fraction: int  #: bits that stay below the largest exponent
    terms: int  #: of a block
    kept: int = 23  #: bits of the fraction of a sum; 10 stand for float16, to nearest
    lost: int = 0  #: bits that an operand loses at once
    group: int = 1  #: products that make a term
    zeros: bool = True  #: whether terms that are 0 have an exponent
    least: int = ZERO_EXPONENT  #: to what terms are aligned at least


CORES = {
    "volta.f16": Core(23, 4),
    "turing.f16": Core(24, 8),
    "turing.f16.k4": Core(24, 4),
    "ampere.bf16": Core(24, 8),
    "ampere.bf16.k8": Core(24, 8),
    "ampere.f16": Core(24, 8),
    "ampere.f16.k8": Core(24, 8),
    "ampere.tf32": Core(24, 4, lost=13),
    "ampere.tf32.k4": Core(24, 4, lost=13),
    "ada.bf16": Core(24, 8),
    "ada.bf16.k8": Core(24, 8),
    "ada.f16": Core(24, 8),
    "ada.f16.k8": Core(24, 8),
    "ada.tf32": Core(24, 4, lost=13),
    "ada.tf32.k4": Core(24, 4, lost=13),
    "ada.fp8": Core(13, 16, kept=13),
    "ada.fp8.k16": Core(13, 16, kept=13),
    "hopper.bf16": Core(25, 16),
    "hopper.bf16.k8": Core(25, 8),
    "hopper.f16": Core(25, 16),
    "hopper.f16.k8": Core(25, 8),
    "hopper.tf32": Core(25, 8, lost=13),
    "hopper.tf32.k4": Core(25, 4, lost=13),
    "hopper.fp8": Core(13, 32, kept=13),
    "blackwell.bf16": Core(25, 16),
    "blackwell.bf16.k8": Core(25, 8),
    "blackwell.f16": Core(25, 16),
    "blackwell.f16.k8": Core(25, 8),
    "blackwell.tf32": Core(25, 8, lost=13),
    "blackwell.tf32.k4": Core(25, 4, lost=13),
    "blackwell.fp8": Core(25, 32),
    "blackwell.fp8.k16": Core(25, 16),
    "blackwell.mxf8": Core(25, 32),
    "blackwell.mxf4": Core(35, 4, group=16),
    "blackwell.nvf4": Core(35, 4, group=16),
}
CORES |= {name: core._replace(zeros=False, least=-133) for name, core in CORES.items() if name.startswith("hopper.")}
CORES |= {f"{name}.acc16": core._replace(kept=10) for name, core in CORES.items() if ".f16" in name or ".fp8" in name}


class Number(NamedTuple):
    """A number, or what is none, with its sign; and the exponent at which it counts."""

    negative: bool
    value: Fraction | Special  #: the magnitude
    exponent: int


Factor = tuple[list[Number], int]  #: of one side of a term: numbers, and the exponent that they share


def dot(a: Sequence[int], b: Sequence[int], c: int, name: str, formats: tuple[str, str]) -> int:
    """The accumulator after the dot product of a and b, which starts with c.

    >>> hex(dot([0x3F80, 0x4000], [0x3F80, 0x4000], 0, "hopper.bf16", ("bfloat16", "bfloat16")))  # 1 + 2 * 2
    '0x40a00000'
    """
    core = CORES[name]
    sides = (
        [_number(x >> core.lost << core.lost, FORMATS[f]) for x in side]
        for side, f in zip((a, b), formats, strict=True)
    )
    x, y = ([([number], number.exponent) for number in side] for side in sides)
    return _chain(x, y, c, core)


class Blocks(NamedTuple):
    """Codes of elements, and of the scales of so many of them each."""

    elements: Sequence[int]
    scales: Sequence[int]
    formats: tuple[str, str]  #: of elements and scales

    def factors(self, group: int) -> Iterator[Factor]:
        """One a term."""
        size = len(self.elements) // max(1, len(self.scales))
        for start in range(0, len(self.elements), group):
            numbers = [_number(code, FORMATS[self.formats[0]]) for code in self.elements[start : start + group]]
            scale = _number(self.scales[start // size], FORMATS[self.formats[1]])
            shared = scale.exponent + (numbers[0].exponent if group == 1 else 0)
            yield [_scaled(number, scale.value) for number in numbers], shared


def _scaled(x: Number, scale: Fraction | Special) -> Number:
    return x._replace(value=_magnitude(x.value, scale))


def blocks_dot(a: Blocks, b: Blocks, c: int, name: str) -> int:
    """As `dot`, of whole blocks."""
    core = CORES[name]
    return _chain(list(a.factors(core.group)), list(b.factors(core.group)), c, core)


def _number(code: int, row: Row) -> Number:
    negative, value = decode(code, row)
    if isinstance(value, Special):
        return Number(negative, value, ZERO_EXPONENT)
    if value.m == 0:
        return Number(negative, Fraction(0), ZERO_EXPONENT)
    least = 1 - row.bias if row.subnormals else -row.bias
    return Number(negative, value.fraction(), max(value.m.bit_length() - 1 + value.e, least))


# Blocks after each other ---------------------------------------------------------------------------------------------


def _chain(x: list[Factor], y: list[Factor], c: int, core: Core) -> int:
    nothing: Factor = [Number(False, Fraction(0), ZERO_EXPONENT)], ZERO_EXPONENT
    padding = [nothing] * (-len(x) % core.terms)
    pairs = list(zip(x + padding, y + padding, strict=True))
    for start in range(0, len(pairs), core.terms):
        c = _block(pairs[start : start + core.terms], c, core)
    row = _held(core)
    return (1 << (row.width - 1)) - 1 if decode(c, row)[1] is Special.NAN else c


def _held(core: Core) -> Row:
    return FLOAT16 if core.kept == 10 else FLOAT32


def _block(pairs: list[tuple[Factor, Factor]], c: int, core: Core) -> int:
    row = _held(core)
    accumulator = _number(c, row)
    terms = [([_product(u, v) for u, v in zip(us, vs, strict=True)], e + f) for (us, e), (vs, f) in pairs]
    everything = [number for numbers, _ in terms for number in numbers] + [accumulator]
    infinite = {x.negative for x in everything if x.value is Special.INF}
    if len(infinite) == 2 or any(x.value is Special.NAN for x in everything):
        return encode(False, Special.NAN, row)
    if infinite:
        return encode(infinite.pop(), Special.INF, row)
    sums = [(sum(map(_signed, numbers), Fraction(0)), exponent) for numbers, exponent in terms]
    sums = [(x, exponent) for x, exponent in (*sums, (_signed(accumulator), accumulator.exponent)) if core.zeros or x]
    unit = Fraction(2) ** (max((core.least, *(exponent for _, exponent in sums))) - core.fraction)
    return _rounded(sum(trunc(x / unit) for x, _ in sums) * unit, core)


def _product(x: Number, y: Number) -> Number:
    return Number(x.negative != y.negative, _magnitude(x.value, y.value), 0)


def _magnitude(x: Fraction | Special, y: Fraction | Special) -> Fraction | Special:
    if Special.NAN in (x, y):
        return Special.NAN
    if Special.INF in (x, y):
        return Special.NAN if 0 in (x, y) else Special.INF
    return x * y  # type: ignore[operator]


def _signed(x: Number) -> Fraction:
    assert isinstance(x.value, Fraction)
    return -x.value if x.negative else x.value


def _rounded(x: Fraction, core: Core) -> int:
    row = _held(core)
    exponent = max(abs(x.numerator).bit_length() - x.denominator.bit_length(), 1 - row.bias)
    unit = Fraction(2) ** (exponent - core.kept)
    count = round(x / unit) if row is FLOAT16 else trunc(x / unit)  # Python's round is to nearest, ties to even
    size = abs(count) * unit
    if size >= 1 << (row.bias + 1):
        return encode(count < 0, Special.INF, row)
    return encode(count < 0, Dyadic(size.numerator, 1 - size.denominator.bit_length()), row)
