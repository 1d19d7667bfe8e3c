"""Sums of products as tensor cores make them: contracts ``tc.<architecture>.<kind>/v1`` and ``tcsplit/v1``.

An instruction takes a block of products and an accumulator. It aligns all of them to the largest exponent, drops what
lies more than so many bits below that, adds the integers that stay, and rounds the sum to the next accumulator. Blocks
follow each other with k ascending; the last one is filled up with zeros.

The rows are those of microsoft/MMA-Sim (commit c785138), a model of hardware. The definition works on integers. Beside
it stands a form in float64 with the same bits, in which nothing is ever rounded, subnormal or flushed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..codec import decode as values_of
from ..core.decode import INFINITE, LIMB, NAN, NUMBER, Exact, decode, nonzero
from ..core.exact import from_integer, select
from ..core.round import encode
from ..errors import ContractError, UncoveredError
from ..fast.chunks import pieces
from ..fast.conversions import converted
from ..formats import Block, Minifloat, bfloat16, e4m3, e5m2, e8m0, float16, float32, float64, mxfp4, nvfp4, tf32
from ..mx.blocks import Blocks
from .operands import batch_shape, on_cpu, widened
from .results import RESULTS, finished

ZERO = -126  #: the exponent of 0, whatever its format
SIDE = 1 << 9  #: rows and columns of a tile at most
TERMS = 1 << 10  #: terms whose factors are decoded at a time
PRODUCTS = 1 << 17  #: products that the form in float64 works on at a time, so that they stay in the cache
AREA = 1 << 14  #: products that the definition works on at a time

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
        return (
            f"k ascending, blocks of {count}: with the accumulator aligned to the largest exponent, cut to "
            f"{self.fraction} bits below it, added, rounded {rounding.replace('_', ' ')} to {to}; from the bias or +0"
        )


KINDS = {"bf16": (bfloat16,), "f16": (float16,), "tf32": (tf32,), "fp8": (e4m3, e5m2)}
NARROW = ("f16", "fp8")  #: kinds that may accumulate in float16, too
AMPERE = {"bf16": 8, "bf16.k8": 8, "f16": 8, "f16.k8": 8, "tf32": 4, "tf32.k4": 4}
HOPPER = {"bf16": 16, "bf16.k8": 8, "f16": 16, "f16.k8": 8, "tf32": 8, "tf32.k4": 4}


def _rows(
    architecture: str, fraction: int, terms: dict[str, int], accumulator: Accumulator = FLOAT32
) -> Iterator[Instruction]:
    for kind, count in terms.items():
        name, formats = f"{architecture}.{kind}", KINDS[kind.partition(".")[0]]
        yield Instruction(name, formats, fraction, count, accumulator)
        if kind.startswith(NARROW):
            yield Instruction(f"{name}.acc16", formats, fraction, count, FLOAT16)


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
        *_rows("hopper", 25, HOPPER),
        *_rows("hopper", 13, {"fp8": 32}, E8M13),
        *_rows("blackwell", 25, HOPPER | {"fp8": 32, "fp8.k16": 16}),
        Instruction(
            "blackwell.mxf8",
            (e4m3, e5m2),
            25,
            32,
            blocks=(Block(e4m3, e8m0, 32), Block(e5m2, e8m0, 32)),
        ),
        Instruction("blackwell.mxf4", (mxfp4.element,), 35, 4, blocks=(mxfp4,), group=16),  # type: ignore[arg-type]
        Instruction("blackwell.nvf4", (nvfp4.element,), 35, 4, blocks=(nvfp4,), group=16),  # type: ignore[arg-type]
    )
}


def check_blocks(function: str, name: str, x: Blocks, instruction: Instruction) -> None:
    """The blocks are of a format that the instruction takes."""
    if x.fmt not in instruction.blocks:
        allowed = " and ".join(map(str, instruction.blocks)) or "no Blocks"
        raise ContractError(
            f"{function} under tc.{instruction.name}/v1 cannot take {x.fmt} for {name}. Allowed are {allowed}. Quantize "
            "to one of those, or choose another contract."
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

    ``form`` names one of `FORMS`, to force it.
    """
    return _product(_codes(a, instruction), _codes(b.mT, instruction), bias, dtype, instruction, _accumulate, form)


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
    codes = (_codes_of_blocks(side, instruction) for side in (x, y))
    return _product(*codes, bias, dtype, instruction, _accumulate, form)


# ---- operands ----------------------------------------------------------------------------------------


class Codes(NamedTuple):
    """Vectors as codes, cut into terms; a whole number of blocks."""

    elements: Tensor  #: [.., R, terms, group]
    fmt: Minifloat
    scales: Tensor | None = None  #: [.., R, terms]
    scale: Minifloat = e8m0

    def at(self, place: Place, terms: slice = slice(None)) -> Codes:
        """Some of the vectors, by the axes before the last two, and some terms."""
        scales = None if self.scales is None else self.scales[place][..., terms]
        return self._replace(elements=self.elements[place][..., terms, :], scales=scales)

    def expand(self, batch: torch.Size) -> Codes:
        """The same matrices for each place of a batch."""
        scales = None if self.scales is None else self.scales.expand(*batch, *self.scales.shape[-2:])
        return self._replace(elements=self.elements.expand(*batch, *self.elements.shape[-3:]), scales=scales)


def _codes(x: Tensor, instruction: Instruction) -> Codes:
    fmt = next(fmt for fmt in instruction.formats if DTYPES[fmt] == x.dtype)
    codes = x.detach().resolve_neg().view(CODES[x.dtype.itemsize])
    if fmt == tf32:
        codes = codes >> (float32.mantissa - tf32.mantissa)
    return Codes(_filled(codes, instruction.terms)[..., None], fmt)


def _codes_of_blocks(x: Blocks, instruction: Instruction) -> Codes:
    element, scale = x.fmt.element, x.fmt.scale
    assert isinstance(element, Minifloat)
    block = instruction.terms * instruction.group
    elements = _filled(x.codes, block).unflatten(-1, (-1, instruction.group))
    scales = _filled(x.scales, block // x.fmt.tile[1]).repeat_interleave(x.fmt.tile[1] // instruction.group, -1)
    return Codes(elements, element, scales, ue4m3 if scale == e4m3 else scale)


def _filled(codes: Tensor, block: int) -> Tensor:
    """Codes, filled up with zeros to whole blocks."""
    return torch.nn.functional.pad(codes, (0, -codes.shape[-1] % block))


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


def _accumulate(
    bias: Tensor | None, shape: torch.Size, x: Codes, y: Codes, instruction: Instruction, add: Add
) -> Tensor:
    """The bias or +0, and all blocks after each other."""
    sums = torch.zeros(shape, dtype=torch.float32, device=x.elements.device)
    if bias is not None:
        sums.copy_(bias)
    for start in range(0, x.elements.shape[-2], TERMS):
        part = slice(start, start + TERMS)
        sums = add(sums, x.at((), part), y.at((), part), instruction)
    return sums


# ---- on integers: the definition ---------------------------------------------------------------------


class _Terms(NamedTuple):
    """Factors of terms: significand * 2**(exponent - bits)."""

    significand: Tensor  #: [.., R, terms, group] integers
    exponent: Tensor  #: [.., R, terms]
    special: Tensor  #: [.., R, terms, group] float64: the factor, where it is infinite or NaN, else its sign
    bits: int

    def block(self, terms: slice, axis: int) -> _Terms:
        """Some terms, with an axis of length 1 for the vectors of the other side."""
        significand, special = (x[..., terms, :].unsqueeze(axis - 2) for x in (self.significand, self.special))
        return _Terms(significand, self.exponent[..., terms].unsqueeze(axis - 1), special, self.bits)


def _add_by_definition(sums: Tensor, x: Codes, y: Codes, instruction: Instruction) -> Tensor:
    result = torch.empty_like(sums)
    u, v = _terms(x, instruction), _terms(y, instruction)
    count = instruction.terms
    bits = sums.view(torch.int32).to(torch.int64)
    for start in range(0, x.elements.shape[-2], count):
        part = slice(start, start + count)
        bits = _block_by_definition(bits, u.block(part, -1), v.block(part, -2), instruction)
    return result.copy_(bits.to(torch.int32).view(torch.float32))


def _terms(x: Codes, instruction: Instruction) -> _Terms:
    factor = decode(x.elements, x.fmt)
    significand, exponent = _fixed(factor, x.fmt)
    special, bits = _special(factor), x.fmt.mantissa
    if x.scales is None:
        return _Terms(significand, exponent.squeeze(-1), special, bits)
    scale = decode(x.scales, x.scale)
    multiplier, power = _fixed(scale, x.scale)
    if instruction.group == 1:
        power = power + exponent.squeeze(-1)
    else:  # elements of a group are integers of one unit
        significand, bits = significand << (exponent - x.fmt.min_scale).clamp(min=0), bits - x.fmt.min_scale
    special = special * _special(scale)[..., None].abs()
    return _Terms(significand * multiplier[..., None], power, special, bits + x.scale.mantissa)


def _fixed(x: Exact, fmt: Minifloat) -> tuple[Tensor, Tensor]:
    """Signed significands as integers, and exponents, which are never below the format's least; 0 has one of its own.

    The value is significand * 2**(exponent - mantissa).
    """
    zero = ~nonzero(x.significand[0])
    exponent = select(zero, torch.full_like(x.exponent, ZERO), x.exponent.clamp(min=fmt.min_scale))
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
    # T1. Products are not normalised: their exponents are sums of exponents.
    accumulator = decode(bits, float32)
    c, c_exponent = _fixed(accumulator, held)
    terms, exponents = (x.significand * y.significand).sum(-1), x.exponent + y.exponent
    # T2. All are aligned to the largest exponent, that of zeros included, and cut toward 0.
    largest = torch.maximum(exponents.amax(-1), c_exponent)
    below = instruction.fraction - largest
    total = _shifted(terms, exponents + below[..., None] - x.bits - y.bits).sum(-1)
    total = total + _shifted(c, c_exponent + below - held.mantissa)
    # T3. NaN, Inf times 0, and Infs of unlike signs give NaN; else Inf wins.
    special = (x.special * y.special).sum((-2, -1)) + _special(accumulator)
    infinite = -special.isinf().to(torch.int64)
    sign = select(infinite, -(special < 0).to(torch.int64), total >> 63)
    value = from_integer(total.abs(), sign, torch.full_like(total, NUMBER))
    exponent = value.exponent - below
    # T4. The sum is rounded once; from 2 * 2**max_scale on it is Inf even where it is cut.
    beyond = nonzero(total) & -(exponent > kept.max_scale).to(torch.int64)
    kind = ((infinite | beyond) & INFINITE) | -special.isnan().to(torch.int64)
    code = encode(value._replace(exponent=exponent, kind=kind), kept, rounding)
    # T5. What becomes 0 is +0.
    magnitude = code & ((1 << (kept.width - 1)) - 1)
    return encode(decode(code & nonzero(magnitude), kept), float32)


def _shifted(x: Tensor, left: Tensor) -> Tensor:
    """x * 2**left, cut toward 0."""
    sign = x >> 63
    magnitude = _signed(x, sign)
    return _signed((magnitude << left.clamp(min=0)) >> (-left).clamp(0, 63), sign)


# ---- in float64: the same bits sooner ----------------------------------------------------------------

FRACTION = float64.mantissa
FIELD = 0x7FF << FRACTION  #: of the exponent


class _Factors(NamedTuple):
    """Factors of terms, term by term: values, and exponents as the definition has them."""

    values: Tensor  #: [terms, .., R, group] float64
    exponents: Tensor  #: [terms, .., R] int16


class _Memory:
    """Temporaries of a tile: its products, and numbers of the size of its sums."""

    def __init__(self, terms: int, shape: torch.Size, top: int) -> None:
        self.products = torch.empty(terms, *shape, dtype=torch.float64, device="cpu")
        self.exponents = torch.empty(terms, *shape, dtype=torch.int16, device="cpu")
        self.largest = torch.empty(shape, dtype=torch.int16, device="cpu")
        self.power, self.inverse = torch.empty(2, *shape, dtype=torch.int64, device="cpu")
        self.total, self.work = torch.empty(2, *shape, dtype=torch.float64, device="cpu")
        self.top = torch.tensor(top, dtype=torch.int64, device="cpu")


def _unit(instruction: Instruction) -> int:
    """log2 of the least accumulator, which counts as 1 in float64."""
    return instruction.accumulator.kept.min_scale - instruction.accumulator.kept.mantissa


def _add_in_float64(sums: Tensor, x: Codes, y: Codes, instruction: Instruction) -> Tensor:
    unit, count = _unit(instruction), instruction.terms
    u, v = _factors(x, instruction), _factors(y, instruction)
    u.values.mul_(2.0**-unit)
    u.exponents.add_(float64.bias - unit)  # as the field of a float64
    totals = converted(sums, torch.float64).mul(2.0**-unit)
    memory = None
    for place in pieces(totals.shape[:-1], max(1, PRODUCTS // (count * totals.shape[-1]))):
        tile = totals[place]
        if memory is None or memory.total.shape != tile.shape:
            memory = _Memory(count, tile.shape, ((2046 + instruction.fraction) << FRACTION) - (1 << 64))
        everything = slice(None)
        rows, columns = (everything, *place), (everything, *place[: totals.dim() - 2])
        for start in range(0, x.elements.shape[-2], count):
            part = slice(start, start + count)
            left = _Factors(u.values[part][rows], u.exponents[part][rows])
            right = _Factors(v.values[part][columns], v.exponents[part][columns])
            _add_block(tile, left, right, memory, instruction)
    return converted(totals.add_(0.0).mul_(2.0**unit), torch.float32)


def _factors(x: Codes, instruction: Instruction) -> _Factors:
    values = values_of(x.elements.movedim(-2, 0).contiguous(), x.fmt)
    exponents = _exponents(values, x.fmt).squeeze(-1) if instruction.group == 1 else None
    if x.scales is None:
        assert exponents is not None
        return _Factors(values, exponents)
    scales = values_of(x.scales.movedim(-1, 0).contiguous(), x.scale)
    powers = _exponents(scales, x.scale)
    return _Factors(values.mul_(scales[..., None]), powers if exponents is None else exponents.add_(powers))


def _exponents(values: Tensor, fmt: Minifloat) -> Tensor:
    """int16 exponents as `_fixed` has them; that of Inf and NaN does not matter."""
    exponents = (values.view(torch.int64) >> FRACTION).bitwise_and_(0x7FF).sub_(float64.bias)
    return exponents.clamp_(fmt.min_scale, fmt.max_scale).masked_fill_(values == 0, ZERO).to(torch.int16)


def _add_block(sums: Tensor, x: _Factors, y: _Factors, memory: _Memory, instruction: Instruction) -> None:
    """Replace accumulators, in units of the least one, by the next ones."""
    held, kept, rounding = instruction.accumulator
    unit = _unit(instruction)
    products, power, inverse, total, work = memory.products, memory.power, memory.inverse, memory.total, memory.work
    # F1. 2**e of the largest exponent e, as patterns: those of floats have the order of their patterns.
    torch.add(x.exponents[..., :, None], y.exponents[..., None, :], out=memory.exponents)
    torch.amax(memory.exponents, 0, out=memory.largest)
    power.copy_(memory.largest.clamp_(min=float64.bias + ZERO - unit)).bitwise_left_shift_(FRACTION)
    own = torch.bitwise_and(sums.view(torch.int64), FIELD, out=work.view(torch.int64))
    if held.min_scale > ZERO:
        own.clamp_(min=(float64.bias + held.min_scale - unit) << FRACTION).mul_(sums != 0)
    torch.maximum(power, own, out=power)
    # F2. 2**(fraction - e), by which terms become integers. Each is exact, and so is their sum.
    torch.sub(memory.top, power, out=inverse)
    multiply = torch.mul if instruction.group == 1 else torch.matmul
    multiply(x.values, y.values.mT, out=products)
    products.mul_(inverse.view(torch.float64)).trunc_()
    torch.sum(products, 0, out=total)
    total.add_(torch.mul(sums, inverse.view(torch.float64), out=work).trunc_())
    torch.mul(total, power.view(torch.float64), out=sums)
    # F3. 2**fraction times the sum. What reaches 2**(max_scale + 1) becomes Inf on its way through 2**1024.
    ROUNDINGS[rounding](sums, work, kept, instruction.fraction)


def _cut(sums: Tensor, work: Tensor, kept: Minifloat, fraction: int) -> None:
    up = float64.max_scale - kept.max_scale + kept.min_scale - kept.mantissa
    sums.mul_(2.0 ** (up - fraction)).mul_(2.0**-up).trunc_()
    sums.view(torch.int64).bitwise_and_(-1 << (FRACTION - kept.mantissa))


def _round_to_nearest(sums: Tensor, work: Tensor, kept: Minifloat, fraction: int) -> None:
    # Adding 1.5 * 2**52 units and taking them away again rounds to a whole number of units.
    sums.mul_(2.0**-fraction)
    large = torch.bitwise_and(sums.view(torch.int64), FIELD, out=work.view(torch.int64))
    large.clamp_(min=(float64.bias + kept.mantissa) << FRACTION)
    large.add_(((FRACTION - kept.mantissa) << FRACTION) + (1 << (FRACTION - 1)))
    sums.add_(work).sub_(work)
    up = float64.max_scale - kept.max_scale + kept.min_scale - kept.mantissa
    sums.mul_(2.0**up).mul_(2.0**-up)


ROUNDINGS = {"toward_zero": _cut, "nearest_even": _round_to_nearest}

FORMS: dict[str, Add] = {"definition": _add_by_definition, "float64": _add_in_float64}
