"""One property of an instruction each, asked for by a few dot products and without a model in mind."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from .instructions import COLUMNS, INTEGER, ROWS, Instruction, Machine
from .operands import encoded, ends_of

TOP = 14  #: exponent of the large products: every type reaches it, and 2**TOP is no Inf in float16
UNIT = TOP - 32  #: exponent of products that large ones swamp: every type reaches it
FARTHEST = 60  #: distance of exponents up to which is looked
DEEPEST = 16  #: bits below 2**-149 of which is asked: three products


class Pattern(NamedTuple):
    """A number by its bits."""

    code: int


Number = float | Pattern


class Dot(NamedTuple):
    """The first terms of a dot product, whose others are 0, and what it is added to."""

    terms: Sequence[tuple[Number, Number]]
    c: Number = 0.0


@dataclass(frozen=True, slots=True)
class Bench:
    """An instruction of a machine, for dot products."""

    instruction: Instruction
    machine: Machine
    device: str

    def run(self, dots: Sequence[Dot]) -> Tensor:
        """Their results."""
        terms = self.instruction.terms
        left, right = ([[pair[i] for pair in _filled(dot.terms, terms)] for dot in dots] for i in (0, 1))
        a, b, c = (
            _tensor(side, dtype)
            for side, dtype in zip((left, right, [[dot.c] for dot in dots]), self.instruction.dtypes, strict=True)
        )
        # Of a tile's results those where row i meets column i are of use.
        tiles = -(-len(dots) // COLUMNS)
        at = torch.arange(len(dots))
        rows = a.new_zeros(tiles, ROWS, terms)
        columns, addends = b.new_zeros(tiles, COLUMNS, terms), c.new_zeros(tiles, ROWS, COLUMNS)
        rows[at // COLUMNS, at % COLUMNS], columns[at // COLUMNS, at % COLUMNS] = a, b
        addends[at // COLUMNS, at % COLUMNS, at % COLUMNS] = c[:, 0]
        views = zip((rows, columns, addends), self.instruction.dtypes, strict=True)
        results = self.machine(self.instruction, *(x.view(dtype).to(self.device) for x, dtype in views)).cpu()
        return results[at // COLUMNS, at % COLUMNS, at % COLUMNS]

    def values(self, dots: Sequence[Dot]) -> list[float]:
        """Their results as floats."""
        return [float(x) for x in self.run(dots).double().tolist()]

    def patterns(self, dots: Sequence[Dot]) -> str:
        """Their results in hexadecimal."""
        return " ".join(hexadecimal(self.run(dots)))

    def factors(self, exponent: int) -> tuple[float, float] | None:
        """Powers of two of both types with such a product, if there are."""
        (low, high), (low_b, high_b) = (_reach(dtype) for dtype in self.instruction.dtypes[:2])
        left = min(max(exponent // 2, low), high)
        right = min(max(exponent - left, low_b), high_b)
        left = exponent - right
        return (2.0**left, 2.0**right) if low <= left <= high else None

    def farthest(self, dot: Callable[[tuple[float, float]], Dot], top: int = TOP) -> Found:
        """The largest distance below the top at which a product makes the result other than 0."""
        found = [(far, factors) for far in range(1, FARTHEST + 1) if (factors := self.factors(top - far))]
        return _last([far for far, _ in found], self.values([dot(factors) for _, factors in found]))


class Found(NamedTuple):
    """The last of some numbers that has a property, and whether it is the last of all."""

    number: int | None
    all_have: bool

    def __str__(self) -> str:
        return "none" if self.number is None else f"{self.number}{' or more' if self.all_have else ''}"


def _filled(terms: Sequence[tuple[Number, Number]], count: int) -> Iterator[tuple[Number, Number]]:
    yield from terms
    yield from [(0.0, 0.0)] * (count - len(terms))


def _tensor(rows: Sequence[Sequence[Number]], dtype: torch.dtype) -> Tensor:
    """Patterns, as integers."""
    integer = INTEGER[dtype.itemsize]
    numbers = [[0.0 if isinstance(x, Pattern) else x for x in row] for row in rows]
    codes = encoded(torch.tensor(numbers, dtype=torch.float64), dtype).view(integer).to(torch.int64)
    for i, row in enumerate(rows):
        for k, x in enumerate(row):
            if isinstance(x, Pattern):
                codes[i, k] = x.code
    return codes.to(integer)


def hexadecimal(x: Tensor) -> list[str]:
    """Patterns of numbers."""
    size = x.dtype.itemsize
    codes = x.contiguous().view(INTEGER[size]).flatten().tolist()
    return [f"{code & (1 << 8 * size) - 1:0{2 * size}x}" for code in codes]


def _reach(dtype: torch.dtype) -> tuple[int, int]:
    """log2 of the least and the largest power of two; of tf32 for float32."""
    ends = ends_of(dtype)
    least = {torch.float8_e4m3fn: 3, torch.float8_e5m2: 2, torch.float16: 10, torch.bfloat16: 7, torch.float32: 10}
    return ends.low - least[dtype], ends.high


def _last(numbers: Sequence[int], results: Sequence[float]) -> Found:
    last = max((number for number, x in zip(numbers, results, strict=True) if x != 0), default=None)
    return Found(last, last == numbers[-1])


def _negative(factors: tuple[float, float]) -> tuple[float, float]:
    return -factors[0], factors[1]


def _large(bench: Bench) -> tuple[float, float]:
    factors = bench.factors(TOP)
    assert factors is not None, "every type reaches it"
    return factors


# ---- alignment -----------------------------------------------------------------------------------


def _beside_products(bench: Bench) -> Found:
    large = _large(bench)
    return bench.farthest(lambda small: Dot([large, _negative(large), small]))


def _below_beside_products(bench: Bench) -> Found:
    large = _large(bench)
    return bench.farthest(lambda small: Dot([large, _negative(large), _negative(small)]))


def _beside_c(bench: Bench) -> Found:
    large = _large(bench)
    return bench.farthest(lambda small: Dot([_negative(large), small], 2.0**TOP))


def _c_beside_products(bench: Bench) -> Found:
    large = _large(bench)
    distances = range(1, min(FARTHEST, TOP - _reach(bench.instruction.accumulator)[0]) + 1)
    dots = [Dot([large, _negative(large)], 2.0 ** (TOP - far)) for far in distances]
    return _last(distances, bench.values(dots))


def _cut(bench: Bench) -> str:
    """Results of 1.5 units of the last place kept, of -1.5, and of two halves, in such units."""
    large, far = _large(bench), _beside_products(bench).number or 0
    unit, half = bench.factors(TOP - far), bench.factors(TOP - far - 1)
    if unit is None or half is None:
        return "out of reach"
    more = (1.5 * unit[0], unit[1])
    tails = [more], [_negative(more)], [half, half], [half] * min(bench.instruction.terms - 2, 8)
    values = bench.values([Dot([large, _negative(large), *tail]) for tail in tails])
    return " ".join(f"{x * 2.0 ** (far - TOP):g}" for x in values)


def _beside_carry(bench: Bench) -> Found:
    left, right = _large(bench)
    large = 1.5 * left, 1.5 * right
    return bench.farthest(lambda small: Dot([large, _negative(large), small]))


def _beside_subnormal(bench: Bench) -> Found:
    low, high = ends_of(bench.instruction.dtypes[0]).low, ends_of(bench.instruction.dtypes[1]).high
    large = 2.0 ** (low - 1), 2.0 ** min(high, TOP - low)
    top = low - 1 + min(high, TOP - low)
    return bench.farthest(lambda small: Dot([large, _negative(large), small]), top)


def _beside_zero(bench: Bench, small: Dot) -> str:
    """The largest exponent of a zero's partner beside which something small counts."""
    found = []
    for side in (0, 1):
        exponents = range(ends_of(bench.instruction.dtypes[1 - side]).high + 1)
        zeros = [(2.0**x, 0.0) if side else (0.0, 2.0**x) for x in exponents]
        dots = [small._replace(terms=[zero, *small.terms]) for zero in zeros]
        found.append(str(_last(exponents, bench.values(dots))))
    return " / ".join(found)


def _product_beside_zero(bench: Bench) -> str:
    small, high = bench.factors(-60), min(ends_of(dtype).high for dtype in bench.instruction.dtypes[:2])
    return "out of reach" if small is None or high < FARTHEST else _beside_zero(bench, Dot([small]))


def _c_beside_zero(bench: Bench) -> str:
    if bench.instruction.accumulator == torch.float16:
        return "out of reach"
    return _beside_zero(bench, Dot([], 2.0**-139))


def _far_down(bench: Bench) -> str:
    """The last n for which 2**-150 + .. + 2**-(149 + n), and the last once more, are 2**-149 with C = 0.

    With C = -0 the same, and beside 0 * 2**127.
    """
    if min(ends_of(dtype).high for dtype in bench.instruction.dtypes) < FARTHEST:
        return "out of reach"
    depths = range(1, DEEPEST + 1)
    beside: list[tuple[list[tuple[Number, Number]], float]] = [([], 0.0), ([], -0.0), ([(0.0, 2.0**127)], 0.0)]
    found = (_last(depths, bench.values([Dot([*zero, *_parts(n)], c) for n in depths])) for zero, c in beside)
    return " / ".join(map(str, found))


def _parts(depth: int) -> Iterator[tuple[Number, Number]]:
    """Products that are 2**-149 together, of at most 8 bits each."""
    for above in range(0, depth, 8):
        bits = min(8, depth - above)
        yield ((1 << bits) - 1) * 2.0**-80, 2.0 ** (80 - 149 - above - bits)
    yield 2.0**-80, 2.0 ** (80 - 149 - depth)


# ---- blocks --------------------------------------------------------------------------------------


def _blocks(bench: Bench) -> str:
    """Which k are added at once, in the order of blocks.

    All terms are units, but for one that is large and one that takes it away. Units in the same blocks as those, and in
    blocks before, vanish; so the units that are missing say how far the later one's block reaches, and the least of
    that over all partners how far one's own does.
    """
    count = bench.instruction.terms
    large, unit = _large(bench), bench.factors(UNIT)
    assert unit is not None, "every type reaches it"
    pairs = list(combinations(range(count), 2))
    dots = []
    for i, j in pairs:
        terms = [unit] * count
        terms[i], terms[j] = large, _negative(large)
        dots.append(Dot(terms))
    reach, survivors = [count] * count, bench.values(dots)
    if not all(map(math.isfinite, survivors)):
        return "not finite"
    for (i, j), x in zip(pairs, survivors, strict=True):
        missing = count - int(x * 2.0**-UNIT)
        reach[i], reach[j] = min(reach[i], missing), min(reach[j], missing)
    return " | ".join(_runs(k for k in range(count) if reach[k] == end) for end in sorted(set(reach)))


def _runs(numbers: Iterable[int]) -> str:
    """0-3,8 for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


# ---- results -------------------------------------------------------------------------------------


def _kept(bench: Bench) -> tuple[Found, Found]:
    """Bits below 1 in a sum with 1, by a product and by C alone."""
    held = range(1, 24)
    one = bench.factors(0)
    assert one is not None
    small = [(far, factors) for far in held if (factors := bench.factors(-far))]
    by_products = [x - 1 for x in bench.values([Dot([one, factors]) for _, factors in small])]
    alone = [x - 1 for x in bench.values([Dot([], 1 + 2.0**-far) for far in held])]
    return _last([far for far, _ in small], by_products), _last(held, alone)


def _rounded(bench: Bench) -> str:
    """Of 1 and of 1 + u as C, with 0.25, 0.5 and 0.75 u as a product: the results less 1, in u; then of -1, -1 - u."""
    bits = _kept(bench)[0].number or 0
    quarter = bench.factors(-bits - 2)
    if quarter is None:
        return "out of reach"
    found = []
    for sign in (1, -1):
        for start in (1.0, 1 + 2.0**-bits):
            dots = [Dot([(sign * times * quarter[0], quarter[1])], sign * start) for times in (1, 2, 3)]
            found.append(" ".join(f"{(x - sign) * 2.0**bits:g}" for x in bench.values(dots)))
    return " | ".join(found)


def _subnormals(bench: Bench) -> str:
    """A subnormal operand times its inverse, a subnormal result, and a subnormal C alone: whether each is kept."""
    a, b, c = (ends_of(dtype) for dtype in bench.instruction.dtypes)
    dots = [Dot([(2.0 ** (a.low - 1), 2.0 ** min(b.high, 1 - a.low))]), Dot([], 2.0 ** (c.low - 4))]
    result = bench.factors(c.low - 4)
    names = ["operand", "C", "result"]
    values = bench.values([*dots, Dot([result])] if result else dots)
    return ", ".join(f"{name} {'kept' if x else 'flushed'}" for name, x in zip(names, values, strict=False))


def _nan(bench: Bench) -> str:
    """Of NaN * 1, -NaN * 1, C of another NaN, 0 * Inf, Inf - Inf, Inf with C of -Inf; NaN where a type has no Inf."""
    wide = bench.instruction.accumulator == torch.float32
    c = Pattern(0xFF812345 if wide else 0xFD23)
    nan, infinity = float("nan"), float("inf")
    dots = [
        *(Dot([(nan, 1.0)]), Dot([(-nan, 1.0)]), Dot([(1.0, 1.0)], c), Dot([(0.0, infinity)])),
        *(Dot([(infinity, 1.0), (infinity, -1.0)]), Dot([(infinity, 1.0)], -infinity)),
    ]
    return bench.patterns(dots)


def _overflow(bench: Bench) -> str:
    """Of the largest C with 0.5 ulp, and 1 ulp, more; of the same below 0; of 4 times it, taken away, with C = 1."""
    c = ends_of(bench.instruction.accumulator)
    bits = {torch.float32: 23, torch.float16: 10}[bench.instruction.accumulator]
    largest = torch.finfo(bench.instruction.accumulator).max
    half, ulp, beyond = (bench.factors(c.high + e) for e in (-bits - 1, -bits, 2))
    if half is None or ulp is None:
        return "out of reach"
    dots = [
        Dot([half], largest),
        Dot([ulp], largest),
        Dot([_negative(half)], -largest),
        Dot([_negative(ulp)], -largest),
    ]
    if beyond:
        dots.append(Dot([beyond, _negative(beyond)], 1.0))
    return bench.patterns(dots)


def _zeros(bench: Bench) -> str:
    """Of products and C that are -0, of 1 - 1, and of a negative product that vanishes, with C = 0 and C = -0."""
    count = bench.instruction.terms
    vanishing = bench.factors({torch.float32: -152, torch.float16: -27}[bench.instruction.accumulator])
    dots = [Dot([(-0.0, 1.0)] * count, -0.0), Dot([(-0.0, 1.0)] * count, 0.0), Dot([(1.0, 1.0), (-1.0, 1.0)], -0.0)]
    if vanishing:
        dots += [Dot([_negative(vanishing)], 0.0), Dot([_negative(vanishing)], -0.0)]
    return bench.patterns(dots)


def _low_bits(bench: Bench) -> str:
    """Of float32 as tf32: 1 and half of its last place, just below 1 + 2**-10, and a NaN and Inf by their low bits."""
    if "tf32" not in bench.instruction.types:
        return "none"
    codes = 0x3F801000, 0x3F801FFF, 0x7F800001, 0xFF801FFF
    return bench.patterns([Dot([(Pattern(code), 1.0)]) for code in codes])


def _kept_in_words(bench: Bench) -> str:
    by_products, alone = _kept(bench)
    return f"{by_products}, C alone {alone}"


MEASURES: dict[str, Callable[[Bench], str | Found]] = {
    "bits kept of a product beside larger products": _beside_products,
    "the same below 0": _below_beside_products,
    "bits kept of a product beside a larger C": _beside_c,
    "bits kept of C beside larger products": _c_beside_products,
    "1.5 units, -1.5 units, 2 halves, more halves": _cut,
    "bits kept beside 1.5 * 1.5": _beside_carry,
    "bits kept beside a subnormal times a large number": _beside_subnormal,
    "2**-60 counts beside 0 * 2**x and 2**x * 0 up to x": _product_beside_zero,
    "2**-139 as C counts beside 0 * 2**x and 2**x * 0 up to x": _c_beside_zero,
    "2**-149 by parts down to 2**-(149 + n); C = 0, -0; beside 0 * 2**127": _far_down,
    "blocks of k": _blocks,
    "bits kept in the result": _kept_in_words,
    "rounding to the result": _rounded,
    "subnormals": _subnormals,
    "NaN": _nan,
    "overflow": _overflow,
    "zeros": _zeros,
    "low bits of tf32": _low_bits,
}


def measured(instruction: Instruction, machine: Machine, device: str = "cpu") -> dict[str, str]:
    """All measures."""
    bench = Bench(instruction, machine, device)
    return {name: str(measure(bench)) for name, measure in MEASURES.items()}
