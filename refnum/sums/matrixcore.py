"""Products of matrices as AMD's matrix cores make them: contracts ``tc.cdna1.*``, ``tc.cdna2.*``, ``tc.cdna3.*``.

A model: that of microsoft/MMA-Sim at commit c785138, whose paper (arXiv 2511.10909) reports the bits of hardware for
two of AMD's architectures, while the code has these three. That MI200 (CDNA2) flushes subnormals is what AMD
documents, too. The row of a contract describes one arithmetic, which instructions on tiles of several shapes have in
common.

K is cut into as many terms as one instruction takes, padded with +0 to a whole one; each result is the next
accumulator c, the first c is the bias or +0. Inside an instruction groups of neighbours in k follow each other, each
taken into c as a whole. Names follow AMD's: ``bf16_1k`` stands for instructions of that suffix, ``tf32`` for xf32,
``fp8`` for fp8 and bf8 (e4m3fnuz, e5m2fnuz) in any combination; a name without ``.kN`` stands for the instruction on
16x16 tiles that takes most terms. The instructions on float32 operands make a fused multiply-add of each term:
chain/v1.

``pairwise`` (CDNA1, CDNA2): IEEE float32, each operation rounded to nearest even.

    P1. Where subnormals are flushed, operands and c that are subnormal, or 0, count as +0 at the start of an
        instruction; each result of P2 and P3 that is subnormal counts as 0 of its sign. Elsewhere they are kept.
    P2. A product is fma(a, b, +0), hence not -0 unless it underflows.
    P3. Neighbours are added, then neighbours among the sums: (p0 + p1) + (p2 + p3). Then c is that sum added to c.

``aligned`` (CDNA3): all of a group are added at once, in units of its largest member.

    A1. The binade of a number x of a format is 2**max(floor(log2 |x|), the format's least exponent), and 2**-126 for 0
        of any format; of a product, that of its factors multiplied. tf32 drops the last 13 bits of any float32.
    A2. The products of a group are one part, or two: those of even k and of odd k. With the largest binade B of a
        part's products, a part is the sum of trunc(a b / (B 2**-24)) in units of B 2**-24.
    A3. With the largest B of the parts, the group is the sum of floor(part / (B 2**-24)) in units of B 2**-24.
    A4. With the larger L of B and the binade of c, the result is the float32 nearest to
        floor(group / (L 2**-31)) L 2**-31 + floor(c / (L 2**-24)) L 2**-24, ties to even. So c, and what of the group
        lies below c, is rounded down, not to 0. With two parts, a c whose binade is below L 2**-25 counts as 0.
    A5. A sum that is 0 is +0; one below 0 that rounds to 0 is -0. NaN and Inf among products and c give what IEEE says
        of their sum. If there is none, products of 2**128 and more count as Inf of their sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import NamedTuple

import torch
from torch import Tensor

from ..fast.chunks import pieces
from ..fast.conversions import converted
from ..fast.hardware import flushes_subnormals
from ..formats import Minifloat, bfloat16, e4m3fnuz, e5m2fnuz, float16, float32, tf32
from .chain import fma_bits
from .operands import on_cpu, product_shape, widened
from .results import RESULTS, finished

TILE = 1 << 15  #: results of a tile, whose temporaries stay in the cache
TERMS = 1 << 8  #: terms that are read at a time: whole instructions of every row

#: what the numbers of an operand are
FORMATS: dict[torch.dtype, Minifloat] = {
    torch.float16: float16,
    torch.bfloat16: bfloat16,
    torch.float32: tf32,
    torch.float8_e4m3fnuz: e4m3fnuz,
    torch.float8_e5m2fnuz: e5m2fnuz,
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One row."""

    name: str  #: of the contract, without ``tc.`` and version
    order: str  #: pairwise or aligned
    operands: tuple[torch.dtype, ...]
    terms: int  #: of an instruction
    group: int  #: of them are added up before c
    flushes: bool = False  #: subnormals (pairwise)
    parts: int = 1  #: of a group (aligned)
    results: tuple[torch.dtype, ...] = RESULTS
    biases: tuple[torch.dtype, ...] = (torch.float32,)

    @property
    def definition(self) -> str:
        """The row in a few words."""
        small = ", subnormals flushed" if self.flushes else ""
        parts = "" if self.parts == 1 else ", those of even and of odd k apart"
        how = {
            "pairwise": f"added in pairs in float32{small}, their sum then to c",
            "aligned": f"cut to 24 bits below the largest{parts}, added, then added to c, both rounded down",
        }[self.order]
        return f"k ascending, {self.terms} an instruction, {self.group} products at a time {how}; from the bias or +0"

    def shortened(self, terms: int) -> Instruction:
        """The instruction with fewer terms."""
        return replace(self, name=f"{self.name}.k{terms}", terms=terms, group=min(self.group, terms))


_F16, _BF16, _F32 = (torch.float16,), (torch.bfloat16,), (torch.float32,)
_FP8 = (torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)

#: instructions, and the terms of shorter ones with the same operands
_FAMILIES = (
    (Instruction("cdna1.f16", "pairwise", _F16, 16, 4), (8, 4)),
    (Instruction("cdna1.bf16", "pairwise", _BF16, 8, 2), (4, 2)),
    (Instruction("cdna2.f16", "pairwise", _F16, 16, 4, flushes=True), (8, 4)),
    (Instruction("cdna2.bf16", "pairwise", _BF16, 8, 2, flushes=True), (4, 2)),
    (Instruction("cdna2.bf16_1k", "pairwise", _BF16, 16, 4, flushes=True), (8, 4)),
    (Instruction("cdna3.f16", "aligned", _F16, 16, 8), (8, 4)),
    (Instruction("cdna3.bf16", "aligned", _BF16, 16, 8), (8, 4)),
    (Instruction("cdna3.tf32", "aligned", _F32, 8, 4), (4,)),
    (Instruction("cdna3.fp8", "aligned", _FP8, 32, 16, parts=2), (16,)),
)
INSTRUCTIONS = {
    row.name: row for whole, shorter in _FAMILIES for row in (whole, *(whole.shortened(terms) for terms in shorter))
}
#: architectures whose contracts cannot be offered, and why
UNCOVERED = {"cdna4": "no public model says which bits the matrix cores of CDNA4 (MI350) give"}

Columns = Sequence[tuple[Tensor, ...]]  #: what is known of each number: of a, [.., M, 1]; of b, [.., 1, N]


class Order(NamedTuple):
    """How instructions of one row are carried out."""

    terms: int
    read: Callable[[Tensor], tuple[Tensor, ...]]
    take: Callable[[Tensor, Columns, Columns], Tensor]  #: c, terms of one instruction -> c; all c are float32


def matrixcore_mm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None,
    dtype: torch.dtype,
    *,
    instruction: Instruction,
    arithmetic: str | None = None,
) -> Tensor:
    """``a @ b + bias`` of operands that the row lists, instruction by instruction, rounded to a dtype.

    ``arithmetic`` names one of `ARITHMETICS`, to force it upon a pairwise row; by itself the fastest that has the
    definition's bits here is taken. Beyond the result in float32 it takes the memory of some tiles, and of 256 columns
    and rows of the operands in float64.
    """
    sums = torch.zeros(product_shape(a, b), dtype=torch.float32, device=a.device)
    if bias is not None:
        sums.copy_(bias)  # broadcast
    order = _order(instruction, arithmetic or _fastest(instruction, sums))
    if sums.shape[-2] <= sums.shape[-1]:
        _accumulate(sums, a, b, order)
    else:  # rows of a tile shall be long
        sums = sums.mT.contiguous()
        _accumulate(sums, b.mT, a.mT, order)
        sums = sums.mT
    return finished(sums, dtype)


def _accumulate(sums: Tensor, a: Tensor, b: Tensor, order: Order) -> None:
    """Take products into contiguous sums, tile by tile, k ascending, one instruction at a time."""
    if not sums.numel():
        return
    batch = sums.shape[:-2]
    a, b = a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])
    for place in pieces(sums.shape[:-1], max(1, TILE // sums.shape[-1])):
        x, y, accumulator = a[place], b[place[: len(batch)]], sums[place]
        for start in range(0, a.shape[-1], TERMS):
            columns = _cut(x[..., start : start + TERMS], -1, order)
            rows = _cut(y[..., start : start + TERMS, :], -2, order)
            for k in range(0, len(columns), order.terms):
                some = slice(k, k + order.terms)
                accumulator = order.take(accumulator, columns[some], rows[some])
        sums[place] = accumulator


def _cut(x: Tensor, axis: int, order: Order) -> Columns:
    """The columns or rows of a matrix, and as many of +0 as fill the last instruction."""
    parts = order.read(x)
    cut = [tuple(part.narrow(axis, k, 1) for part in parts) for k in range(x.shape[axis])]
    zero = order.read(torch.zeros_like(x.narrow(axis, 0, 1)))
    return cut + [zero] * (-len(cut) % order.terms)


def _order(row: Instruction, arithmetic: str) -> Order:
    if row.order == "aligned":
        return Order(row.terms, _read_aligned, partial(_take_aligned, row))
    return Order(row.terms, partial(_read_pairwise, row), partial(_take_pairwise, row, ARITHMETICS[arithmetic]))


# ---- pairwise ------------------------------------------------------------------------------------


class Arithmetic(NamedTuple):
    """Operations on float32, each rounded once."""

    product: Callable[[Tensor, Tensor], Tensor]  #: fma(x, y, +0)
    total: Callable[[Tensor, Tensor], Tensor]  #: x + y


def _fma(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The definition, on patterns."""
    shape: torch.Size = torch.broadcast_shapes(x.shape, y.shape, z.shape)  # type: ignore[no-untyped-call]
    bits = (side.view(torch.int32).expand(shape) for side in (x, y, z))
    return fma_bits(*bits).to(torch.int32).view(torch.float32)


def _product(x: Tensor, y: Tensor) -> Tensor:
    # Exact in float64: there -0 + 0 is +0, and a negative product that float32 has no room for is not yet -0.
    return x.double().mul(y.double()).add_(0.0).float()


ARITHMETICS = {
    "definition": Arithmetic(lambda x, y: _fma(x, y, x.new_zeros(())), lambda x, y: _fma(x, x.new_ones(()), y)),
    "machine": Arithmetic(_product, torch.add),
}


def _fastest(row: Instruction, sums: Tensor) -> str:
    """The fastest arithmetic with the definition's bits on this machine, under this moment's settings."""
    # Where the row flushes, the machine may. A product of bfloat16, of 16 significant bits, that is less than the least
    # normal float32 is so when rounded, too; one of float16 never is; a sum as small is exact. So all flush the same.
    flushes = not row.flushes and flushes_subnormals(max(TILE, *sums.shape[-2:]))
    return "machine" if on_cpu(sums) and not flushes else "definition"


def _flushed(x: Tensor, least: int = float32.min_scale) -> Tensor:
    """Float32 values, those below 2**least being 0 of their sign, whatever the machine takes subnormals for."""
    return x.abs().mul_(2.0**-least).clamp_(max=1.0).floor_().mul_(x)


def _read_pairwise(row: Instruction, x: Tensor) -> tuple[Tensor]:
    values = widened(x)
    return (_flushed(values, FORMATS[x.dtype].min_scale) if row.flushes else values,)


def _take_pairwise(row: Instruction, arithmetic: Arithmetic, c: Tensor, columns: Columns, rows: Columns) -> Tensor:
    kept = _flushed if row.flushes else (lambda x: x)
    c = _flushed(c).add_(0.0) if row.flushes else c  # -0 + 0 is +0
    for start in range(0, row.terms, row.group):
        group = slice(start, start + row.group)
        sums = [kept(arithmetic.product(x, y)) for (x,), (y,) in zip(columns[group], rows[group], strict=True)]
        while len(sums) > 1:
            sums = [kept(arithmetic.total(x, y)) for x, y in zip(sums[::2], sums[1::2], strict=True)]
        c = kept(arithmetic.total(c, sums[0]))
    return c


# ---- aligned -------------------------------------------------------------------------------------

# Everything is exact in float64. A product of operands is a multiple of 2**-272 and less than 2**256; binades lie
# between 2**-252 and 2**254, and their quotients are powers of 2. Whatever has been divided by one is below 2**40, and
# 2**-600 at least or 0. Nothing is ever subnormal. What is rounded down or to 0 is an integer below 2**40; so are sums.


def _binades(x: Tensor, least: int) -> Tensor:
    """The binades of float64 values of a format whose least exponent is ``least``; for Inf and NaN 2**127."""
    fields = x.view(torch.int64).bitwise_and(0x7FF << 52)
    return fields.clamp_(1023 + least << 52, 1023 + 127 << 52).view(torch.float64).masked_fill_(x == 0, 2.0**-126)


def _read_aligned(x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and binades."""
    row = FORMATS[x.dtype]
    if row == tf32:
        x = (x.view(torch.int32) >> 13 << 13).view(torch.float32)
    values = converted(widened(x), torch.float64)
    return values, _binades(values, row.min_scale)


def _take_aligned(row: Instruction, c: Tensor, columns: Columns, rows: Columns) -> Tensor:
    for start in range(0, row.terms, row.group):
        group = slice(start, start + row.group)
        c = converted(_fused(converted(c, torch.float64), columns[group], rows[group], row.parts), torch.float32)
    return c


def _fused(c: Tensor, xs: Columns, ys: Columns, count: int) -> Tensor:
    """c and the products, before the result is rounded to float32."""
    parts = [_part(xs[i::count], ys[i::count]) for i in range(count)]
    binade = reduce(torch.maximum, (part.binade for part in parts))
    group = reduce(torch.add, ((part.units * (part.binade / binade)).floor_() for part in parts))
    of_c = _binades(c, float32.min_scale)
    largest = torch.maximum(binade, of_c)
    units_of_c = (c * (2.0**24 / largest)).floor_()
    if count > 1:
        units_of_c.masked_fill_(of_c < largest * 2.0**-25, 0.0)
    units = (group * (binade / largest * 2.0**7)).floor_().add_(units_of_c, alpha=2.0**7)
    result = units.mul_(largest.mul_(2.0**-31))  # sums of integers that start with +0 are not -0
    if float(binade.amax()) < 2.0**127:  # a product is less than 4 times its binade
        return result
    return torch.where(result.isfinite(), result + _overflow(xs, ys), result)


class Part(NamedTuple):
    """A sum in units of binade * 2**-24."""

    units: Tensor
    binade: Tensor


def _part(xs: Columns, ys: Columns) -> Part:
    binade = reduce(torch.maximum, (x * y for (_, x), (_, y) in zip(xs, ys, strict=True)))
    per_unit = 2.0**24 / binade
    units = torch.zeros_like(binade)
    for (x, _), (y, _) in zip(xs, ys, strict=True):
        units.add_(torch.mul(x, y).mul_(per_unit).trunc_())
    return Part(units, binade)


def _overflow(xs: Columns, ys: Columns) -> Tensor:
    """Inf of the sign of products beyond float32, NaN where they have both, else 0."""
    products = (x * y for (x, _), (y, _) in zip(xs, ys, strict=True))
    return reduce(torch.add, (torch.where(p.abs() >= 2.0**128, p * torch.inf, 0.0) for p in products))
