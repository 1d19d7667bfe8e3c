"""Products of matrices of integers in accumulators of stated width: the family ``int/v1(bits, acc, overflow)``.

The definition adds k ascending in int64. Where every partial sum fits the accumulator, or only the last bits count,
sums have no order: matrix products of floats give them sooner, of so few terms at a time that none is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..boundary import check_choice
from ..errors import ContractError, DTypeError
from ..fast.chunks import CHUNK, pieces
from ..fast.hardware import multiplies_in_float32
from ..formats import float32, float64
from .operands import on_cpu, product_shape

TILE = 1 << 18  #: results that are worked on at a time
MANY = 1 << 7  #: so many terms at a time are worth a product in float32
#: what a sum that leaves the accumulator does -> what is summed how
OVERFLOWS = {
    "refuse": "the exact sum in {acc} bits; no K at which one could wrap",
    "wrap": "the sum modulo 2^{acc}, in two's complement",
    "saturate": "the bias or 0, then k ascending, saturated to {acc} bits after each addition",
}
#: parameter -> its least and its largest value
WIDTHS = {"bits": (2, 16), "acc": (2, 64)}


@dataclass(frozen=True, slots=True)
class Integers:
    """What is multiplied, and what sums are held in: a row of the family.

    >>> Integers().name, Integers(4, overflow="wrap").name
    ('int/v1', 'int/v1(bits=4, overflow=wrap)')
    """

    bits: int = 8  #: of an operand
    acc: int = 32  #: of an accumulator, in two's complement
    overflow: str = "refuse"  #: one of OVERFLOWS

    @property
    def name(self) -> str:
        """The contract's name, with the parameters that are not as usual."""
        usual = Integers()
        given = {key: getattr(self, key) for key in self.__slots__ if getattr(self, key) != getattr(usual, key)}
        return f"int/v1({', '.join(f'{key}={value}' for key, value in given.items())})" if given else "int/v1"

    @property
    def definition(self) -> str:
        """What is summed how."""
        return f"integers of {self.bits} bits: {OVERFLOWS[self.overflow].format(acc=self.acc)}"

    @property
    def operands(self) -> tuple[torch.dtype, ...]:
        """The dtypes of operands; values are of ``bits`` bits."""
        return (torch.int8, torch.uint8) if self.bits == 8 else (torch.int8 if self.bits < 8 else torch.int16,)

    @property
    def result(self) -> torch.dtype:
        """The dtype of results and of the bias."""
        return torch.int32 if self.acc <= 32 else torch.int64

    @property
    def largest(self) -> int:
        """The largest value of an accumulator; the least is one less than its negative."""
        return (1 << (self.acc - 1)) - 1


def integers(function: str, bits: int, acc: int, overflow: str) -> Integers:
    """The row with these parameters."""
    for name, value in {"bits": bits, "acc": acc}.items():
        low, high = WIDTHS[name]
        if not low <= value <= high:
            raise ContractError(
                f"{function} has no {name}={value} for int/v1. Allowed are {low} to {high}. Choose one of them."
            )
    check_choice(f"{function} under int/v1", "overflow", overflow, OVERFLOWS)
    return Integers(bits, acc, overflow)


USUAL = Integers()


def int_mm(
    a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype = torch.int32, *, row: Integers = USUAL
) -> Tensor:
    """``a @ b + bias`` of integer operands with at least two axes, in accumulators of a row of the family.

    Operands are int8 or uint8 for 8 bits, else int8 or int16 with values of so many bits. The bias is of the result's
    dtype, broadcasts to it and is the first term. Beyond the result it takes the memory of a tile, and of the operands'
    terms in floats.
    """
    sides = [x.detach() for x in (a, b, bias) if x is not None]
    largest = max(1, _magnitude("a", a, row) * _magnitude("b", b, row))
    _check_result(row, dtype, sides[2:])
    if row.overflow == "refuse":
        check_room(row, sides[2:], a.shape[-1], largest)
    shape = product_shape(a, b)
    result = torch.empty(shape, dtype=row.result, device=a.device)
    if result.numel():
        batch = shape[:-2]
        x, y = (side.expand(*batch, *side.shape[-2:]) for side in sides[:2])
        for place in pieces(shape[:-1], max(1, TILE // shape[-1])):
            start = torch.zeros_like(result[place], dtype=torch.int64)
            for z in sides[2:]:
                start += z.expand(shape)[place]
            result[place] = accumulated(start, x[place], y[place[: len(batch)]], row, largest)
    return result


def accumulated(start: Tensor, x: Tensor, y: Tensor, row: Integers, largest: int) -> Tensor:
    """Accumulators [.., M, N] in int64 that begin with ``start`` and to which x @ y is added; start may be used up.

    No product is larger than ``largest``.
    """
    if row.overflow == "saturate":
        start = start.clamp(-row.largest - 1, row.largest)
        if _may_saturate(start, x, y, row, largest):
            return _saturated(start, x, y, row)
    add = _add_by_floats if on_cpu(x, y) else _add_by_definition
    add(start, x, y, largest)
    return start << (64 - row.acc) >> (64 - row.acc) if row.overflow == "wrap" else start


# ---- sums without an order -------------------------------------------------------------------------


def _add_by_definition(sums: Tensor, x: Tensor, y: Tensor, largest: int) -> None:
    for k in range(x.shape[-1]):
        sums.addcmul_(x[..., k, None].to(sums.dtype), y[..., k, None, :].to(sums.dtype))


def _add_by_floats(sums: Tensor, x: Tensor, y: Tensor, largest: int) -> None:
    # Sums of up to ``step`` products are integers of no more bits than a significand has.
    narrow = multiplies_in_float32() and MANY * largest <= 1 << float32.significand_bits
    floats, dtype = (float32, torch.float32) if narrow else (float64, torch.float64)
    step = (1 << floats.significand_bits) // largest
    for start in range(0, x.shape[-1], step):
        part = slice(start, start + step)
        sums.add_((x[..., part].to(dtype) @ y[..., part, :].to(dtype)).to(torch.int64))


# ---- sums that saturate ----------------------------------------------------------------------------


def _may_saturate(start: Tensor, x: Tensor, y: Tensor, row: Integers, largest: int) -> bool:
    """Whether the magnitudes of some result's terms add to more than there is room for: else no order saturates."""
    room = torch.where(start < 0, start + row.largest + 1, row.largest - start)
    if not room.numel() or x.shape[-1] * largest <= int(room.amin()):
        return False
    sizes = torch.zeros_like(start)
    add = _add_by_floats if on_cpu(x, y) else _add_by_definition
    add(sizes, x.to(torch.int64).abs(), y.to(torch.int64).abs(), largest)
    return bool((sizes > room).any())


def _saturated(sums: Tensor, x: Tensor, y: Tensor, row: Integers) -> Tensor:
    """The definition, of so few results at a time that they stay in the cache."""
    add = _add_to_64_bits if row.acc == 64 else _add_to_fewer
    x, y = x.to(torch.int64), y.to(torch.int64)
    for place in pieces(sums.shape[:-1], max(1, CHUNK // sums.shape[-1])):
        part, left, right = sums[place], x[place], y[place[: sums.dim() - 2]]
        for k in range(x.shape[-1]):
            add(part, left[..., k, None], right[..., k, None, :], row)
    return sums


def _add_to_fewer(sums: Tensor, x: Tensor, y: Tensor, row: Integers) -> None:
    sums.addcmul_(x, y).clamp_(-row.largest - 1, row.largest)


def _add_to_64_bits(sums: Tensor, x: Tensor, y: Tensor, row: Integers) -> None:
    # What an int64 cannot hold comes out with the sign that neither term has.
    product = x * y
    total = sums + product
    lost = ((sums ^ total) & (product ^ total)) < 0
    end = (sums >> 63) ^ row.largest  # the least value is the complement of the largest
    sums.copy_(torch.where(lost, end, total))


# ---- checks --------------------------------------------------------------------------------------


def _magnitude(name: str, x: Tensor, row: Integers) -> int:
    """The largest magnitude that an operand may have."""
    if x.dtype not in row.operands:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in row.operands)
        raise DTypeError(f"{row.name} has no {x.dtype} for {name}. Allowed are {allowed}. Convert it.")
    if x.dtype == torch.uint8:
        return (1 << row.bits) - 1
    end = 1 << (row.bits - 1)
    if row.bits < torch.iinfo(x.dtype).bits and x.numel() and not -end <= int(x.min()) <= int(x.max()) < end:
        raise ContractError(
            f"{row.name} got values from {int(x.min())} to {int(x.max())} in {name}. Allowed are {-end} to {end - 1}. "
            "Clamp them, or choose more bits."
        )
    return end


def _check_result(row: Integers, dtype: torch.dtype, bias: list[Tensor]) -> None:
    allowed = str(row.result).removeprefix("torch.")
    if dtype != row.result:
        raise DTypeError(
            f"{row.name} cannot return {dtype}. Allowed is {allowed}, which holds every sum. Convert the result."
        )
    if any(z.dtype != row.result for z in bias):
        raise DTypeError(f"{row.name} has no {bias[0].dtype} for bias. Allowed is {allowed}. Convert it.")


def check_room(row: Integers, bias: list[Tensor], terms: int, largest: int, count: str = "K") -> None:
    """No sum of so many terms can leave the accumulator."""
    if terms > row.largest // largest:
        raise ContractError(
            f"{row.name} got {count}={terms}, a sum of which could wrap in {row.acc} bits. Allowed is {count} up to "
            f"{row.largest // largest} for these operands. Choose more bits for acc, or wrap or saturate for overflow; "
            "or sum shorter parts."
        )
    room = row.largest - terms * largest
    for z in bias:
        if z.numel() and not -room <= int(z.min()) <= int(z.max()) <= room:
            raise ContractError(
                f"{row.name} got a bias from {int(z.min())} to {int(z.max())}, with which sums of K={terms} could wrap "
                f"in {row.acc} bits. Allowed are magnitudes up to {room} here. Add it to the result in int64."
            )
