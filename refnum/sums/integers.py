"""Products of matrices of integers, exact: contract ``int/v1``.

The definition adds in int32, where bounds on K and on the bias let nothing wrap. Matrix products of floats give the
same sums sooner, of so few terms at a time that none is rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..boundary import check_choice
from ..errors import ContractError, DTypeError
from ..fast.chunks import pieces
from ..fast.hardware import multiplies_in_float32
from ..formats import float32
from .operands import on_cpu, product_shape

TILE = 1 << 18  #: results that are worked on at a time
LARGEST = (1 << 31) - 1  #: no sum in int32 is larger
#: (bits, dtype) of an operand -> its least and its largest value
RANGES = {(8, torch.int8): (-128, 127), (8, torch.uint8): (0, 255), (4, torch.int8): (-8, 7)}


def int_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype = torch.int32, *, bits: int = 8) -> Tensor:
    """``a @ b + bias`` of integer operands with at least two axes, exactly, in int32.

    Operands are int8 or uint8; where ``bits`` is 4, they are int8 with values from -8 to 7. The bias is int32 and
    broadcasts to the result. Beyond the result it takes the memory of a tile, and of the operands' terms in floats.
    """
    check_choice("int/v1", "bits", bits, (4, 8))
    sides = [x.detach() for x in (a, b, bias) if x is not None]
    largest = max(1, _magnitude("a", a, bits) * _magnitude("b", b, bits))
    _check_result(dtype, sides[2:], a.shape[-1], largest)
    shape = product_shape(a, b)
    sums = torch.zeros(shape, dtype=torch.int32, device=a.device)
    for z in sides[2:]:
        sums.copy_(z)
    if sums.numel():
        batch = shape[:-2]
        x, y = (side.expand(*batch, *side.shape[-2:]) for side in sides[:2])
        for place in pieces(shape[:-1], max(1, TILE // shape[-1])):
            if on_cpu(*sides):
                _add_by_floats(sums[place], x[place], y[place[: len(batch)]], largest)
            else:
                _add_by_definition(sums[place], x[place], y[place[: len(batch)]])
    return sums


def _add_by_definition(sums: Tensor, x: Tensor, y: Tensor) -> None:
    for k in range(x.shape[-1]):
        sums.addcmul_(x[..., k, None].to(torch.int32), y[..., k, None, :].to(torch.int32))


def _add_by_floats(sums: Tensor, x: Tensor, y: Tensor, largest: int) -> None:
    # Sums of up to ``step`` products are integers of no more than 24 bits, which float32 holds, and float64 too.
    step = (1 << float32.significand_bits) // largest
    dtype = torch.float32 if multiplies_in_float32() else torch.float64
    for start in range(0, x.shape[-1], step):
        part = slice(start, start + step)
        sums.add_((x[..., part].to(dtype) @ y[..., part, :].to(dtype)).to(torch.int32))


# ---- checks ----------------------------------------------------------------------------------------


def _magnitude(name: str, x: Tensor, bits: int) -> int:
    """The largest magnitude that an operand may have."""
    if (bits, x.dtype) not in RANGES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for width, dtype in RANGES if width == bits)
        raise DTypeError(f"int/v1(bits={bits}) has no {x.dtype} for {name}. Allowed are {allowed}. Convert it.")
    least, most = RANGES[bits, x.dtype]
    if bits < torch.iinfo(x.dtype).bits and x.numel() and not least <= int(x.min()) <= int(x.max()) <= most:
        raise ContractError(
            f"int/v1(bits={bits}) got values from {int(x.min())} to {int(x.max())} in {name}. Allowed are {least} to "
            f"{most}. Clamp them, or choose bits=8."
        )
    return max(-least, most)


def _check_result(dtype: torch.dtype, bias: list[Tensor], terms: int, largest: int) -> None:
    if dtype != torch.int32:
        raise DTypeError(f"int/v1 cannot return {dtype}. Allowed is int32, which holds every sum. Convert the result.")
    if any(z.dtype != torch.int32 for z in bias):
        raise DTypeError(f"int/v1 has no {bias[0].dtype} for bias. Allowed is int32. Convert it.")
    if terms > LARGEST // largest:
        raise ContractError(
            f"int/v1 got K={terms}, a sum of which could wrap in int32. Allowed is K up to {LARGEST // largest} for "
            "these operands. Sum shorter parts, and add them in int64."
        )
    room = LARGEST - terms * largest
    for z in bias:
        if z.numel() and not -room <= int(z.min()) <= int(z.max()) <= room:
            raise ContractError(
                f"int/v1 got a bias from {int(z.min())} to {int(z.max())}, with which sums of K={terms} could wrap in "
                f"int32. Allowed are magnitudes up to {room} here. Add it to the result in int64."
            )
