"""MXINT8 in memory as mase-cuda lays it out: signed integers to 127, and the largest exponent field of each group.

The integer q of a group with the scale s stands for q * 2**(s - 133). Values are bfloat16s, whose exponent fields
scales are; what is less than their least normal number counts as 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..boundary import check_device, check_floats, check_tensor
from ..core.decode import INFINITE, decode
from ..core.exact import add, limbs_for, negate
from ..core.round import encode
from ..errors import DTypeError, ShapeError
from ..fast.chunks import elementwise
from ..formats import FixedPoint, bfloat16, float32
from .recipes import widened

HIDDEN = 1 << bfloat16.mantissa  #: the pattern of the least normal number
TOP = 255  #: the exponent field of Inf and NaN
UNIT = 133  #: the scale of integers that are what they are
INTEGER = FixedPoint(8, 0, symmetric=True)


def pack_mxint8(x: Tensor, group: int = 32) -> tuple[Tensor, Tensor]:
    """Integers and scales of a tensor, in the order of its elements.

    >>> pack_mxint8(torch.tensor([1.0, -0.5, 0.25, 2.0]), 2)
    (tensor([ 64, -32,   8,  64], dtype=torch.int8), tensor([127, 128], dtype=torch.uint8))

    Parameters
    ----------
    x : Tensor
        float16, bfloat16 or float32 of any shape.
    group : int
        Elements one behind the other that share a scale.

    Returns
    -------
    Tensor, Tensor
        Integers in int8 [numel]; scales in uint8 [numel / group].

    Raises
    ------
    DTypeError
        When x is not float16, bfloat16 or float32.
    ShapeError
        When the group is no count, or x has no whole number of groups.

    Exactness: bit-exact; the bits of mase-cuda.
    Rounding: to bfloat16, then to integers, to nearest even each time; integers saturate to 127.
    Special: values below 2**-126 count as 0; a group with NaN or Inf, or what rounds to Inf, has the scale 255 and
        integers 0.
    Standard: none; mase-cuda's layout.
    Cost: O(numel) time; result + two copies of x in 32 bits.
    """
    check_floats("mx.pack_mxint8", "x", x)
    if x.dtype == torch.float64:
        raise DTypeError(
            "mx.pack_mxint8 cannot read float64: values are rounded to bfloat16 from float32 on. Allowed are float16, "
            "bfloat16 and float32. Convert x, which rounds it."
        )
    _check_groups("mx.pack_mxint8", "x", x.numel(), group)
    rounded = elementwise(_to_bfloat16, widened(x.detach().resolve_neg()).reshape(-1, group), dtype=torch.int32)
    scales = (rounded >> bfloat16.mantissa & TOP).amax(1) if len(rounded) else rounded.new_empty(0)
    mantissas = elementwise(_integers, rounded, scales[:, None].expand(rounded.shape), dtype=torch.int8)
    return mantissas.reshape(-1), scales.to(torch.uint8)


def unpack_mxint8(mantissas: Tensor, scales: Tensor, group: int = 32, *, kernel: bool = False) -> Tensor:
    """The bfloat16s that integers and scales stand for.

    >>> unpack_mxint8(*pack_mxint8(torch.tensor([1.0, -0.5, 0.25, 2.0]), 2), 2)
    tensor([ 1.0000, -0.5000,  0.2500,  2.0000], dtype=torch.bfloat16)

    Parameters
    ----------
    mantissas : Tensor
        int8 [n].
    scales : Tensor
        uint8 [n / group].
    group : int
        As in `pack_mxint8`.
    kernel : bool
        Whether to do as the GPU's kernel does, which puts bits together and subtracts the leading one where there is
        none: it has other results for the scales 0 and 255, and 0 for the integer -128.

    Returns
    -------
    Tensor
        bfloat16 [n].

    Raises
    ------
    DTypeError
        When the arguments are not int8 and uint8.
    ShapeError
        When the group is no count, or there are not as many scales as groups.

    Exactness: correctly rounded; exact but for -128 * 2**121, which overflows. With ``kernel`` mase-cuda's bits.
    Rounding: to nearest even.
    Special: the scale 255 gives NaN; subnormal results are kept.
    Standard: none; mase-cuda's layout.
    Cost: O(numel) time, result + 4 MB.
    """
    for name, part, dtype in (("mantissas", mantissas, torch.int8), ("scales", scales, torch.uint8)):
        check_tensor("mx.unpack_mxint8", name, part)
        if part.dtype != dtype:
            raise DTypeError(
                f"mx.unpack_mxint8 needs {str(dtype).removeprefix('torch.')} for {name}, got {part.dtype}. Convert or "
                "view them."
            )
    check_device("mx.unpack_mxint8", mantissas=mantissas, scales=scales)
    _check_groups("mx.unpack_mxint8", "mantissas", mantissas.numel(), group)
    if scales.numel() * group != mantissas.numel():
        raise ShapeError(
            f"mx.unpack_mxint8 needs a scale for each {group} integers, got {tuple(scales.shape)} scales for "
            f"{tuple(mantissas.shape)} integers. Pass {mantissas.numel() // group} scales, or the group they are of."
        )
    integers = mantissas.reshape(-1, group)
    shared = scales.reshape(-1, 1).expand(integers.shape)
    patterns = elementwise(_by_bits if kernel else _values, integers, shared, dtype=torch.int16)
    return patterns.reshape(-1).view(torch.bfloat16)


def _check_groups(function: str, name: str, count: int, group: object) -> None:
    whole = isinstance(group, int) and not isinstance(group, bool) and group > 0
    if not whole or count % group:  # type: ignore[operator]
        raise ShapeError(
            f"{function} needs whole groups, got {count} elements in {name} and group={group!r}. Allowed are counts "
            "that divide the elements. Pad the tensor, or choose another group."
        )


def _to_bfloat16(bits: Tensor) -> Tensor:
    codes = encode(decode(bits, float32), bfloat16)
    return torch.where(codes & TOP * HIDDEN == 0, 0, codes)


def _integers(codes: Tensor, scales: Tensor) -> Tensor:
    x = decode(codes, bfloat16)
    integers = encode(x._replace(exponent=x.exponent + (UNIT - scales.to(torch.int64))), INTEGER)
    return torch.where(scales == TOP, 0, integers)


def _values(integers: Tensor, scales: Tensor) -> Tensor:
    x, shared = decode(integers, INTEGER), scales.to(torch.int64)
    nan = -(shared == TOP).to(torch.int64)
    return encode(x._replace(exponent=x.exponent + (shared - UNIT), kind=nan), bfloat16)


def _by_bits(integers: Tensor, scales: Tensor) -> Tensor:
    # 1. Sign, scale, and the six bits behind the leading one.
    wide = integers.to(torch.int64)
    one = ((wide < 0).to(torch.int64) << 15) | (scales.to(torch.int64) << bfloat16.mantissa)
    magnitude = wide.abs()
    whole = one | ((magnitude & 63) << 1)
    # 2. Where the leading one is none, it is taken away again.
    return torch.where(magnitude & 64 == 0, _difference(whole, one), whole)


def _difference(a: Tensor, b: Tensor) -> Tensor:
    """Of finite numbers, or Inf and NaN of one sign; 0 has no sign."""
    bits = bfloat16.significand_bits
    x, y = decode(a, bfloat16), decode(b, bfloat16)
    found = add(x, negate(y), limbs_for(bits, bits))
    nan = -(x.kind & y.kind & INFINITE) | found.kind
    zero = found.significand[0] == 0
    return encode(found._replace(sign=torch.where(zero, 0, found.sign), kind=nan), bfloat16)
