"""Sums of products as NVIDIA's tensor cores make them: contracts ``tc.<architecture>.<kind>/v1`` and ``tcsplit/v1``.

A model: that of microsoft/MMA-Sim at commit c785138, whose authors report the bits of the hardware; on Hopper, what 0
and the smallest terms do is what an H200 was found to do. A row of `INSTRUCTIONS` takes blocks of terms, k ascending,
each into the accumulator c that the block before it has left; the first c is the bias or +0. K is filled up with +0 to
whole blocks. A term is a product; or, where 16 products share a pair of scales, their exact sum.

    T1. The exponent of a number of a format is floor(log2 |x|), but never below that of the format's least normal
        number; that of 0 is -126 in any format, but on Hopper less than any: there, terms that are 0 have no say.
        tf32 drops the last 13 bits of a float32. The exponent of a product is the sum of those of its factors, and of
        their scales; that of a sum of 16 products is the sum of those of the scales. Scales of E4M3 count by magnitude.
    T2. With the largest exponent E of all terms and of c, on Hopper -133 at least, each of them is cut, toward 0, to a
        multiple of 2**(E - F), and all are added.
    T3. The sum is rounded to the accumulator: toward 0 to float32, or to 13 bits of its fraction; or to the nearest
        float16, ties to even. From the power of 2 behind the largest number on it is Inf. What becomes 0 is +0.
    T4. NaN and Inf among the terms and c give what IEEE 754 says of their sum.

The definition works on integers. Beside it stands a form in float64 with the same bits, in which nothing is rounded but
by T2 and T3, and nothing is subnormal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..codec import decode as values_of
from ..core.decode import INFINITE, LIMB, NAN, NUMBER, Exact, decode, nonzero
from ..core.exact import from_integer, select
from ..core.round import encode
from ..errors import ContractError, UncoveredError
from ..fast import tables
from ..fast.chunks import elementwise, pieces
from ..fast.conversions import converted
from ..formats import (
    Block,
    Minifloat,
    bfloat16,
    e2m1,
    e4m3,
    e5m2,
    e8m0,
    float16,
    float32,
    float64,
    mxfp4,
    mxfp8_e4m3,
    mxfp8_e5m2,
    nvfp4,
    tf32,
)
from ..mx.blocks import Blocks
from .chain import add as add_float32
from .operands import batch_shape, on_cpu, widened
from .results import RESULTS, finished
from .tree import join

ZERO = -126  #: the exponent of 0, whatever its format
NOTHING = -1 << 9  #: the same where 0 has no say: no factor lifts it to what two others have at least, -126 - 126
LEAST = -133  #: the largest exponent where all are less, and 0 has no say
SIDE = 1 << 9  #: rows and columns of a tile at most
TERMS = 1 << 10  #: terms whose factors are decoded at a time
PRODUCTS = 1 << 17  #: products that the form in float64 works on at a time, so that they stay in the cache
AREA = 1 << 16  #: products that the definition works on at a time

Place = tuple[int | slice, ...]

# ---- the instructions --------------------------------------------------------------------------------


class Accumulator(NamedTuple):
    """What a block is added to, and what its sum is rounded to."""

    held: Minifloat  #: the format that it has
    kept: Minifloat  #: the format to which sums are rounded
    rounding: str  #: how


FLOAT32 = Accumulator(float32, float32, "toward_zero")
E8M13 = Accumulator(float32, Minifloat(8, 13, overflow="inf"), "toward_zero")
FLOAT16 = Accumulator(float16, float16, "nearest_even")

ue4m3 = Minifloat(4, 3, specials="fn", signed=False)  #: a scale, of which the sign is not read

#: the dtype of tensors of a format
DTYPES = {
    bfloat16: torch.bfloat16,
    float16: torch.float16,
    tf32: torch.float32,
    e4m3: torch.float8_e4m3fn,
    e5m2: torch.float8_e5m2,
}
CODES = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  #: by bytes of an element


@dataclass(frozen=True, slots=True)
class Instruction:
    """One row."""

    name: str  #: of the contract, between ``tc.`` and the version
    formats: tuple[Minifloat, ...]  #: of elements, a's and b's in any mix
    fraction: int  #: bits below the largest exponent that a term keeps
    terms: int  #: of a block
    accumulator: Accumulator = FLOAT32
    blocks: tuple[Block, ...] = ()  #: the formats of operands, if they are Blocks
    group: int = 1  #: products under one pair of scales that are added exactly, and are one term then
    zero: int = ZERO  #: the exponent of 0
    least: int = ZERO  #: what the largest exponent is at least; no other is less where 0 has -126

    @property
    def operands(self) -> tuple[torch.dtype, ...]:
        """The dtypes of operands; none where they are Blocks."""
        return () if self.blocks else tuple(DTYPES[fmt] for fmt in self.formats)

    @property
    def results(self) -> tuple[torch.dtype, ...]:
        """The dtypes of results: accumulators of float16 are results as they are."""
        return (torch.float16,) if self.accumulator == FLOAT16 else RESULTS

    @property
    def biases(self) -> tuple[torch.dtype, ...]:
        """The dtype of the bias, which is the first accumulator."""
        return (torch.float16,) if self.accumulator == FLOAT16 else (torch.float32,)

    @property
    def definition(self) -> str:
        """The row in a few words."""
        count = f"{self.terms} products" if self.group == 1 else f"{self.terms} exact sums of {self.group} products"
        held, kept, rounding = self.accumulator
        to = f"{kept}" if held == kept else f"{1 + kept.exponent + kept.mantissa} bits ({kept.mantissa} of a fraction)"
        of = "" if self.zero == ZERO else f" of what is not 0, {self.least} at least"
        return (
            f"k ascending, blocks of {count}: with the accumulator aligned to the largest exponent{of}, cut to "
            f"{self.fraction} bits below it, added, rounded {rounding.replace('_', ' ')} to {to}; from the bias or +0"
        )


KINDS = {"bf16": (bfloat16,), "f16": (float16,), "tf32": (tf32,), "fp8": (e4m3, e5m2)}
NARROW = ("f16", "fp8")  #: kinds that may accumulate in float16, too
AMPERE = {"bf16": 8, "bf16.k8": 8, "f16": 8, "f16.k8": 8, "tf32": 4, "tf32.k4": 4}
HOPPER = {"bf16": 16, "bf16.k8": 8, "f16": 16, "f16.k8": 8, "tf32": 8, "tf32.k4": 4}


def _rows(
    architecture: str,
    fraction: int,
    terms: dict[str, int],
    accumulator: Accumulator = FLOAT32,
    *,
    zero: int = ZERO,
    least: int = ZERO,
) -> Iterator[Instruction]:
    for kind, count in terms.items():
        name, formats = f"{architecture}.{kind}", KINDS[kind.partition(".")[0]]
        yield Instruction(name, formats, fraction, count, accumulator, zero=zero, least=least)
        if kind.startswith(NARROW):
            yield Instruction(f"{name}.acc16", formats, fraction, count, FLOAT16, zero=zero, least=least)


#: The instruction is part of the name: k8 is m16n8k8, k4 m16n8k4 (m8n8k4 for f16), k16 m16n8k16 of 8 bits. Those
#: without are the architecture's own: mma.sync, wgmma, tcgen05.mma. Not modelled: elements of e2m1, e2m3 and e3m2 in
#: kind mxf8, cta_group::2 and .ws.
INSTRUCTIONS: dict[str, Instruction] = {
    row.name: row
    for row in (
        *_rows("volta", 23, {"f16": 4}),
        *_rows("turing", 24, {"f16": 8, "f16.k4": 4}),
        *_rows("ampere", 24, AMPERE),
        *_rows("ada", 24, AMPERE),
        *_rows("ada", 13, {"fp8": 16, "fp8.k16": 16}, E8M13),
        *_rows("hopper", 25, HOPPER, zero=NOTHING, least=LEAST),
        *_rows("hopper", 13, {"fp8": 32}, E8M13, zero=NOTHING, least=LEAST),
        *_rows("blackwell", 25, HOPPER | {"fp8": 32, "fp8.k16": 16}),
        Instruction("blackwell.mxf8", (e4m3, e5m2), 25, 32, blocks=(mxfp8_e4m3, mxfp8_e5m2)),
        Instruction("blackwell.mxf4", (e2m1,), 35, 4, blocks=(mxfp4,), group=16),
        Instruction("blackwell.nvf4", (e2m1,), 35, 4, blocks=(nvfp4,), group=16),
    )
}


def check_blocks(function: str, name: str, x: Blocks, instruction: Instruction) -> None:
    """The blocks are of a format that the instruction takes."""
    if x.fmt not in instruction.blocks:
        allowed = " and ".join(map(str, instruction.blocks)) or "no Blocks"
        raise ContractError(
            f"{function} under tc.{instruction.name}/v1 cannot take {x.fmt} for {name}. Allowed are {allowed}. "
            "Quantize to one of those, or choose another contract."
        )
    if x.tensor_scale is not None:
        reason = "the instruction has no factor for a whole tensor"
        raise UncoveredError(
            f"{function} under tc.{instruction.name}/v1 got a tensor_scale for {name}: {reason}. Allowed is None. "
            "Multiply the result instead.",
            op=f"tc.{instruction.name}/v1",
            reason=reason,
        )


# ---- products ----------------------------------------------------------------------------------------


def tensorcore_mm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    *,
    instruction: Instruction,
    form: str | None = None,
) -> Tensor:
    """``a @ b + bias`` of operands with at least two axes, block by block from the bias or +0, rounded to a dtype.

    ``form`` names one of `FORMS`, to force it. Beside the result it takes at most some 30 MB.
    """
    return _product(_codes(a, instruction), _codes(b.mT, instruction), bias, dtype, instruction, _chained, form)


def tensorcore_split_mm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    *,
    instruction: Instruction,
    chunk: int = 128,
    form: str | None = None,
) -> Tensor:
    """As `tensorcore_mm`, but of each ``chunk`` terms from +0; a tree joins those sums in float32, then the bias.

    The bias is of float32, whatever the instruction accumulates in.
    """
    x, y = _codes(a, instruction), _codes(b.mT, instruction)
    return _product(x, y, bias, dtype, instruction, partial(_joined, chunk=chunk), form)


def tensorcore_blocks_mm(
    x: Blocks,
    y: Blocks,
    bias: Tensor | None,
    dtype: torch.dtype,
    *,
    instruction: Instruction,
    form: str | None = None,
) -> Tensor:
    """``x @ y.mT + bias`` of Blocks along the last axis, [.., M, K] and [.., N, K]; else as `tensorcore_mm`."""
    left, right = (_codes_of_blocks(side, instruction) for side in (x, y))
    return _product(left, right, bias, dtype, instruction, _chained, form)


# ---- operands ----------------------------------------------------------------------------------------


class Codes(NamedTuple):
    """Vectors as codes, cut into terms."""

    elements: Tensor  #: [.., R, terms, group]
    fmt: Minifloat
    scales: Tensor | None = None  #: [.., R, terms]
    scale: Minifloat = e8m0

    def at(self, place: Place, terms: slice = slice(None)) -> Codes:
        """Some of the vectors, by the axes before the last two, and some terms."""
        scales = None if self.scales is None else self.scales[place][..., terms]
        return self._replace(elements=self.elements[place][..., terms, :], scales=scales)

    def filled(self, block: int) -> Codes:
        """Filled up with zeros, scales too, to whole blocks of so many terms."""
        missing = -self.elements.shape[-2] % block
        scales = None if self.scales is None else pad(self.scales, (0, missing))
        return self._replace(elements=pad(self.elements, (0, 0, 0, missing)), scales=scales) if missing else self

    def expand(self, batch: torch.Size) -> Codes:
        """The same matrices for each place of a batch."""
        scales = None if self.scales is None else self.scales.expand(*batch, *self.scales.shape[-2:])
        return self._replace(elements=self.elements.expand(*batch, *self.elements.shape[-3:]), scales=scales)


def _codes(x: Tensor, instruction: Instruction) -> Codes:
    fmt = next(fmt for fmt in instruction.formats if DTYPES[fmt] == x.dtype)
    codes = x.detach().resolve_neg().view(CODES[x.dtype.itemsize])
    if fmt == tf32:
        codes = codes >> (float32.mantissa - tf32.mantissa)
    return Codes(codes[..., None], fmt)


def _codes_of_blocks(x: Blocks, instruction: Instruction) -> Codes:
    element, scale = x.fmt.element, x.fmt.scale
    assert isinstance(element, Minifloat)
    assert isinstance(scale, Minifloat)
    group = instruction.group
    elements = pad(x.codes, (0, -x.shape[-1] % group))
    elements = elements.view(*elements.shape[:-1], elements.shape[-1] // group, group)
    scales = x.scales.repeat_interleave(x.fmt.tile[1] // group, -1)[..., : elements.shape[-2]]
    return Codes(elements, element, scales, ue4m3 if scale == e4m3 else scale)


# ---- tiles -------------------------------------------------------------------------------------------

#: accumulators [.., R, C] of float32, factors of the rows, factors of the columns -> accumulators
Add = Callable[[Tensor, Codes, Codes, Instruction], Tensor]
#: from the bias of a tile, or None, its shape, and factors: sums in float32
Sum = Callable[[Tensor | None, torch.Size, Codes, Codes, Instruction, Add], Tensor]


def _product(
    x: Codes, y: Codes, bias: Tensor | None, dtype: torch.dtype, instruction: Instruction, take: Sum, form: str | None
) -> Tensor:
    """[.., M, N] sums that ``take`` makes tile by tile, rounded."""
    batch = batch_shape(x.elements[..., 0], y.elements[..., 0])
    shape = torch.Size((*batch, x.elements.shape[-3], y.elements.shape[-3]))
    if bias is not None:
        bias = widened(bias.detach().resolve_neg()).expand(shape)
    if shape[-2] > shape[-1]:  # rows of a tile shall be long
        bias = None if bias is None else bias.mT
        return _product(y, x, bias, dtype, instruction, take, form).mT.contiguous()
    add = FORMS[form or ("float64" if on_cpu(x.elements, y.elements) else "definition")]
    x, y = x.expand(batch), y.expand(batch)
    result = torch.empty(shape, dtype=dtype, device=x.elements.device)
    for rows, columns in _tiles(shape):
        addend = None if bias is None else bias[rows][..., columns]
        left, right = x.at(rows), y.at((*rows[: len(batch)], *_columns(rows, batch, columns)))
        tile = torch.Size((*left.elements.shape[:-2], right.elements.shape[-3]))
        result[rows][..., columns] = finished(take(addend, tile, left, right, instruction, add), dtype)
    return result


def _columns(rows: Place, batch: torch.Size, columns: slice) -> Place:
    """The place of columns behind that of a batch, of which trailing axes may be whole."""
    return (*(slice(None) for _ in range(len(batch) - len(rows))), columns)


def _tiles(shape: torch.Size) -> Iterator[tuple[Place, slice]]:
    """Places of rows, or of whole matrices of a batch, and columns: at most SIDE of either."""
    if shape.numel():
        for place in pieces(shape[:-1], SIDE):
            for start in range(0, shape[-1], SIDE):
                yield place, slice(start, start + SIDE)


def _chained(bias: Tensor | None, shape: torch.Size, x: Codes, y: Codes, instruction: Instruction, add: Add) -> Tensor:
    """The bias or +0, and all blocks after each other."""
    sums = torch.zeros(shape, dtype=torch.float32, device=x.elements.device)
    if bias is not None:
        sums.copy_(bias)
    for start in range(0, x.elements.shape[-2], TERMS):
        part = slice(start, start + TERMS)
        left, right = (side.at((), part).filled(instruction.terms) for side in (x, y))
        sums = add(sums, left, right, instruction)
    return sums


def _joined(
    bias: Tensor | None, shape: torch.Size, x: Codes, y: Codes, instruction: Instruction, add: Add, *, chunk: int
) -> Tensor:
    """Sums of chunks from +0, joined by a tree; then the bias."""
    starts = range(0, max(1, x.elements.shape[-2]), chunk)
    parts = (slice(start, start + chunk) for start in starts)
    total = join(_chained(None, shape, x.at((), part), y.at((), part), instruction, add) for part in parts)
    return total if bias is None else add_float32(total, bias)


# ---- on integers: the definition ---------------------------------------------------------------------


class _Terms(NamedTuple):
    """Factors of terms: significand * 2**(exponent - bits)."""

    significand: Tensor  #: [.., R, terms, group] integers
    exponent: Tensor  #: [.., R, terms]
    special: Tensor  #: [.., R, terms, group] float64: the factor, where it is infinite or NaN, else its sign
    bits: int

    def at(self, place: Place) -> _Terms:
        """Some of the vectors."""
        return _Terms(self.significand[place], self.exponent[place], self.special[place], self.bits)

    def block(self, terms: slice, axis: int) -> _Terms:
        """Some terms, for a tile of sums along one axis of which they are the same."""
        significand, special = (x[..., terms, :].unsqueeze(axis - 2) for x in (self.significand, self.special))
        return _Terms(significand, self.exponent[..., terms].unsqueeze(axis - 1), special, self.bits)


def _add_by_definition(sums: Tensor, x: Codes, y: Codes, instruction: Instruction) -> Tensor:
    result, count = sums.view(torch.int32).clone(), instruction.terms
    u, v = _terms(x, instruction), _terms(y, instruction)
    products = sums.shape[-1] * count * instruction.group
    for place in pieces(sums.shape[:-1], max(1, AREA // products)):
        rows, columns, bits = u.at(place), v.at(place[: sums.dim() - 2]), result[place].to(torch.int64)
        for start in range(0, x.elements.shape[-2], count):
            part = slice(start, start + count)
            bits = _block_by_definition(bits, rows.block(part, -1), columns.block(part, -2), instruction)
        result[place] = bits
    return result.view(torch.float32)


def _terms(x: Codes, instruction: Instruction) -> _Terms:
    factor = decode(x.elements, x.fmt)
    significand, exponent = _fixed(factor, x.fmt, instruction.zero)
    special, bits = _special(factor), x.fmt.mantissa
    if x.scales is None:
        return _Terms(significand, exponent.squeeze(-1), special, bits)
    scale = decode(x.scales, x.scale)
    multiplier, power = _fixed(scale, x.scale, instruction.zero)
    if instruction.group == 1:
        power = power + exponent.squeeze(-1)
    else:  # elements of a group are integers of one unit
        significand, bits = significand << (exponent - x.fmt.min_scale).clamp(min=0), bits - x.fmt.min_scale
    special = special * _special(scale)[..., None].abs()
    return _Terms(significand * multiplier[..., None], power, special, bits + x.scale.mantissa)


def _fixed(x: Exact, fmt: Minifloat, zero: int) -> tuple[Tensor, Tensor]:
    """Signed significands as integers, and exponents, which are never below the format's least; 0 has one of its own.

    The value is significand * 2**(exponent - mantissa).
    """
    exponent = x.exponent.clamp(min=fmt.min_scale)
    exponent = select(nonzero(x.significand[0]), exponent, torch.full_like(exponent, zero))
    down = (LIMB - 1 - fmt.mantissa + exponent - x.exponent).clamp(max=LIMB)
    return _signed(x.significand[0] >> down, x.sign), exponent


def _signed(magnitude: Tensor, sign: Tensor) -> Tensor:
    return (magnitude ^ sign) - sign


def _special(x: Exact) -> Tensor:
    """1, -1 or 0 for finite numbers; Inf and NaN as they are."""
    size = nonzero(x.significand[0]).neg().to(torch.float64)
    size = size.masked_fill(x.kind == INFINITE, torch.inf).masked_fill(x.kind == NAN, torch.nan)
    return torch.where(x.sign < 0, -size, size)


def _block_by_definition(bits: Tensor, x: _Terms, y: _Terms, instruction: Instruction) -> Tensor:
    """float32 patterns [.., R, C] of the next accumulators."""
    held, kept, rounding = instruction.accumulator
    # T1. Significands of products lie between -4 and 4: they are not normalised.
    accumulator = decode(bits, float32)
    c, c_exponent = _fixed(accumulator, held, instruction.zero)
    terms, exponents = (x.significand * y.significand).sum(-1), x.exponent + y.exponent
    # T2.
    largest = torch.maximum(exponents.amax(-1), c_exponent).clamp(min=instruction.least)
    below = instruction.fraction - largest
    total = _shifted(terms, exponents + below[..., None] - x.bits - y.bits).sum(-1)
    total = total + _shifted(c, c_exponent + below - held.mantissa)
    # T4. Specials come before T3, which makes some of its own.
    special = (x.special * y.special).sum((-2, -1)) + _special(accumulator)
    infinite = -special.isinf().to(torch.int64)
    sign = select(infinite, -(special < 0).to(torch.int64), total >> 63)
    value = from_integer(total.abs(), sign, torch.full_like(total, NUMBER))
    # T3.
    exponent = value.exponent - below
    beyond = nonzero(total) & -(exponent > kept.max_scale).to(torch.int64)
    kind = ((infinite | beyond) & INFINITE) | -special.isnan().to(torch.int64)
    code = encode(value._replace(exponent=exponent, kind=kind), kept, rounding)
    magnitude = code & ((1 << (kept.width - 1)) - 1)
    return encode(decode(code & nonzero(magnitude), kept), float32)


def _shifted(x: Tensor, left: Tensor) -> Tensor:
    """x * 2**left, cut toward 0."""
    sign = x >> 63
    magnitude = _signed(x, sign)
    return _signed((magnitude << left.clamp(min=0)) >> (-left).clamp(0, 63), sign)


# ---- in float64: the same bits sooner ----------------------------------------------------------------

assert float64.bias is not None
BIAS, FRACTION = float64.bias, float64.mantissa
FIELD = 0x7FF << FRACTION  #: of the exponent


class _Factors(NamedTuple):
    """Factors of terms, term by term, so that those of rows and those of columns broadcast to products."""

    values: Tensor  #: [terms, .., R, group] or [terms, .., group, C] float64
    exponents: Tensor  #: [terms, .., R, 1] or [terms, .., 1, C] int16, as the definition has them

    def blocks(self, place: Place, count: int) -> Iterator[_Factors]:
        """So many terms at a time, of some of the vectors."""
        parts = (torch.split(x[(slice(None), *place)], count) for x in self)
        return map(_Factors, *parts)

    @property
    def mT(self) -> _Factors:  # noqa: N802 - as torch's
        """Rows for columns."""
        return _Factors(self.values.mT, self.exponents.mT)


class _Memory:
    """Temporaries of a tile: its products, and numbers of the size of its sums."""

    def __init__(self, shape: torch.Size, instruction: Instruction) -> None:
        products = (instruction.terms, *shape)
        self.products = torch.empty(products, dtype=torch.float64, device="cpu")
        self.exponents = torch.empty(products, dtype=torch.int16, device="cpu")
        self.largest = torch.empty(shape, dtype=torch.int16, device="cpu")
        self.total, self.power, self.inverse = torch.empty(3, *shape, dtype=torch.float64, device="cpu")
        self.patterns = tuple(x.view(torch.int64) for x in (self.total, self.power, self.inverse))


def _unit(instruction: Instruction) -> int:
    """log2 of the least accumulator, which counts as 1 in float64."""
    return instruction.accumulator.kept.min_scale - instruction.accumulator.kept.mantissa


def _add_in_float64(sums: Tensor, x: Codes, y: Codes, instruction: Instruction) -> Tensor:
    unit = _unit(instruction)
    rows, columns = _factors(x, instruction), _factors(y, instruction).mT
    rows.values.mul_(2.0**-unit)
    rows.exponents.add_(BIAS - unit)
    totals = converted(sums, torch.float64).mul(2.0**-unit)
    memory = None
    for place in pieces(totals.shape[:-1], max(1, PRODUCTS // (instruction.terms * totals.shape[-1]))):
        tile = totals[place]
        if memory is None or memory.total.shape != tile.shape:
            memory = _Memory(tile.shape, instruction)
        left = rows.blocks(place, instruction.terms)
        right = columns.blocks(place[: totals.dim() - 2], instruction.terms)
        for u, v in zip(left, right, strict=True):
            _add_block(tile, u, v, memory, instruction)
    return converted(totals.add_(0.0).mul_(2.0**unit), torch.float32)


def _factors(x: Codes, instruction: Instruction) -> _Factors:
    values = _values(x.elements.movedim(-2, 0).contiguous(), x.fmt)
    if x.scales is None:
        return _Factors(values, _exponents(values, x.fmt, instruction.zero))
    scales = _values(x.scales.movedim(-1, 0).contiguous(), x.scale)[..., None]
    exponents = _exponents(scales, x.scale, instruction.zero)
    if instruction.group == 1:
        exponents += _exponents(values, x.fmt, instruction.zero)
    return _Factors(values.mul_(scales), exponents)


def _values(codes: Tensor, fmt: Minifloat) -> Tensor:
    return (
        tables.floats(codes, fmt, float64).view(torch.float64) if fmt.width <= tables.WIDTH else values_of(codes, fmt)
    )


def _exponents(values: Tensor, fmt: Minifloat, zero: int) -> Tensor:
    """int16 exponents as `_fixed` has them; that of Inf and NaN does not matter."""

    def kernel(bits: Tensor) -> Tensor:
        field = (bits >> FRACTION).bitwise_and_(0x7FF)
        return (field - BIAS).clamp_(fmt.min_scale, fmt.max_scale).masked_fill_(field == 0, zero)

    return elementwise(kernel, values.view(torch.int64), dtype=torch.int16)


def _add_block(sums: Tensor, x: _Factors, y: _Factors, memory: _Memory, instruction: Instruction) -> None:
    """Replace accumulators, in units of the least one, by the next ones."""
    held, kept, rounding = instruction.accumulator
    unit, bits = _unit(instruction), sums.view(torch.int64)
    products, total, power, inverse = memory.products, memory.total, memory.power, memory.inverse
    own_bits, power_bits, inverse_bits = memory.patterns
    # F1. 2**E, as patterns: floats that are not negative have the order of their patterns.
    torch.add(x.exponents, y.exponents, out=memory.exponents)
    torch.amax(memory.exponents, 0, out=memory.largest)
    power_bits.copy_(memory.largest.clamp_(min=BIAS + instruction.least - unit)).bitwise_left_shift_(FRACTION)
    torch.bitwise_and(bits, FIELD, out=own_bits)
    least = BIAS + held.min_scale - unit
    if memory.largest.amin() < least:  # then it shows that accumulators count as much, if they are not 0
        own_bits.clamp_(min=least << FRACTION).mul_(sums != 0)
    torch.maximum(power_bits, own_bits, out=power_bits)
    # F2. Times 2**(F - E), of terms the integers stay. Products are exact, and so is the sum of integers. The exponent
    #     field of 2 / x is the complement of that of a power of two x.
    torch.bitwise_xor(power_bits, FIELD, out=inverse_bits).add_(instruction.fraction - 1 << FRACTION)
    multiply = torch.mul if instruction.group == 1 else torch.matmul
    multiply(x.values, y.values, out=products)
    torch.sum(products.mul_(inverse).trunc_(), 0, out=total)
    total.add_(inverse.mul_(sums).trunc_())
    # F3. 2**F times the sum.
    torch.mul(total, power, out=sums)
    ROUNDINGS[rounding](sums, total, kept, instruction.fraction)


def _cut(sums: Tensor, work: Tensor, kept: Minifloat, fraction: int) -> None:
    """Divide by 2**fraction and drop what is below the last bit, and below the least accumulator, which is 1."""
    _divide(sums, kept, fraction)
    sums.trunc_().view(torch.int64).bitwise_and_(-1 << (FRACTION - kept.mantissa))


def _round_to_nearest(sums: Tensor, work: Tensor, kept: Minifloat, fraction: int) -> None:
    """Divide by 2**fraction and round to the nearest, ties to even."""
    # Adding 1.5 * 2**52 units of the last place and taking them away again rounds to a whole number of units.
    sums.mul_(2.0**-fraction)
    large = torch.bitwise_and(sums.view(torch.int64), FIELD, out=work.view(torch.int64))
    large.clamp_(min=(BIAS + kept.mantissa) << FRACTION)
    large.add_(((FRACTION - kept.mantissa) << FRACTION) + (1 << (FRACTION - 1)))
    _divide(sums.add_(work).sub_(work), kept, 0)


def _divide(sums: Tensor, kept: Minifloat, fraction: int) -> None:
    """Divide by 2**fraction; what then is 2 * 2**max_scale or more becomes Inf on its way through 2**1024."""
    up = float64.max_scale - kept.max_scale + kept.min_scale - kept.mantissa
    sums.mul_(2.0 ** (up - fraction)).mul_(2.0**-up)


ROUNDINGS = {"toward_zero": _cut, "nearest_even": _round_to_nearest}

FORMS: dict[str, Add] = {"definition": _add_by_definition, "float64": _add_in_float64}
