"""The host's side of csrc/posits.cu: posit_mm in the modes products, posit and cuposit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import c_float, c_int32, c_int64, c_uint32, c_void_p
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from refnum import codec
from refnum.formats import Posit
from refnum.sums.operands import product_shape
from refnum.sums.ordered import K_PAD
from refnum.sums.posits import posit_mm_reference

from . import launch, parameters
from .serving import Operation

NARROWEST, WIDEST = 3, 32  #: bits of a posit
SIGNIFICANT, SCALES = 24, 126  #: of normal float32 values: bits, and the magnitude of their exponents
TERMS = 16  #: of a panel
SHARED = 3072  #: bytes of a table


class Matrix(ctypes.Structure):
    """rn::Matrix; it holds the tensor, which must live until the kernel has been launched."""

    _fields_ = (("data", c_void_p), ("batch", c_int64), ("row", c_int64), ("column", c_int64))

    def __init__(self, x: Tensor | None) -> None:
        super().__init__(*((None, 0, 0, 0) if x is None else (x.data_ptr(), *x.stride())))
        self.tensor = x


class Source(ctypes.Structure):
    """rn::Source."""

    _fields_ = (("matrix", Matrix), *((name, c_int64) for name in "batches lines terms first gap".split()))


class Panels(ctypes.Structure):
    """rn::Panels; it holds the tensors."""

    _fields_ = (("data", c_void_p), ("ranges", c_void_p), ("batch", c_uint32))

    def __init__(self, data: Tensor, ranges: Tensor, batch: int) -> None:
        super().__init__(data.data_ptr(), ranges.data_ptr(), batch)
        self.tensors = data, ranges


class Size(ctypes.Structure):
    """rn::Size."""

    _fields_ = tuple((name, c_int64) for name in "batches rows columns terms".split())


@dataclass(frozen=True, slots=True)
class Lane:
    """How the values of a dtype are summed, as in posits.cu."""

    dtype: torch.dtype
    lines: int  #: rows, or columns, of a tile
    product: str  #: the kernel of mode posit
    threads: int = 256

    @property
    def shared(self) -> int:
        """Bytes of shared memory of a product: a table, and two stages of two panels."""
        return SHARED + 4 * self.lines * TERMS * self.dtype.itemsize


SINGLES = Lane(torch.float32, 128, "rn_rounded_float32")
DOUBLES = Lane(torch.float64, 64, "rn_rounded_float64")

_PACK = (Source, Panels)
_PRODUCT = (Panels, Panels, Matrix, Matrix, Size, parameters.Posit)
KERNELS = {
    name: launch.Kernel("posits", name, types)
    for name, types in {
        "rn_pack_float32": _PACK,
        "rn_pack_float64": _PACK,
        "rn_pack_clipped": (*_PACK, c_int32),
        "rn_products": _PRODUCT,
        "rn_cuposit": (*_PRODUCT, c_float, c_float),
        "rn_rounded_float32": (*_PRODUCT, c_int32),
        "rn_rounded_float64": (*_PRODUCT, c_int32),
    }.items()
}

Launch = Callable[..., None]  #: launch.launch, or what stands for it


# ---- modes ---------------------------------------------------------------------------------------


def lane_of(fmt: Posit) -> Lane:
    """The lane of mode posit: float32 where it holds products of posits exactly.

    Then a sum of two posits that is rounded to float32 before it is rounded to the format is rounded alike.
    """
    exact = 2 * fmt.significand_bits <= SIGNIFICANT and 2 * fmt.max_scale <= SCALES
    return SINGLES if exact else DOUBLES


def posit_mm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    n: int,
    es: int,
    mode: str,
    out_dtype: torch.dtype | None,
    grad: str,
    alpha: float,
    beta: float,
    k_pad: int | None,
) -> Tensor:
    """`refnum.posit_mm` of checked operands with at least two axes, on a GPU."""
    fmt = Posit(n, es)
    match mode:
        case "products":
            return products(a, b, c, fmt)
        case "cuposit":
            return cuposit(a, b, c, fmt, alpha, beta, k_pad)
        case _:
            codes = codec.encode(rounded(a, b, c, fmt), fmt)
            return codes if out_dtype is None else codec.decode(codes, fmt, dtype=out_dtype)


def products(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, start: Launch = launch.launch) -> Tensor:
    """Products rounded to the format, and their sums in float32; c is added last."""
    x, y = (values(side, fmt, torch.float32) for side in (a, b))
    return _product("rn_products", SINGLES, x, y, c, fmt, start)


def rounded(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, start: Launch = launch.launch) -> Tensor:
    """Products and sums rounded to the format, from c or 0 on, in floats that hold it."""
    lane = lane_of(fmt)
    x, y = (values(side, fmt, lane.dtype) for side in (a, b))
    z = None if c is None else values(c, fmt, lane.dtype)
    growth = max(x.shape[-1] - 1, 0).bit_length()
    return _product(lane.product, lane, x, y, z, fmt, start, growth)


def cuposit(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    fmt: Posit,
    alpha: float,
    beta: float,
    k_pad: int | None,
    start: Launch = launch.launch,
) -> Tensor:
    """``alpha * (a @ b) + beta * c`` as CuPosit defines it: products of padding follow those of the first tile."""
    first = a.shape[-1] % K_PAD if k_pad else 0
    gap = K_PAD - first if first else 0
    z = c if beta else None
    return _product("rn_cuposit", SINGLES, a, b, z, fmt, start, alpha, beta, gap=(first, gap), clip=(fmt.n,))


def values(x: Tensor, fmt: Posit, dtype: torch.dtype) -> Tensor:
    """The values of patterns, or of the patterns that floats are rounded to, in a dtype that holds them."""
    return codec.decode(codec.encode(x, fmt) if x.is_floating_point() else x, fmt, dtype=dtype)


# ---- launches ------------------------------------------------------------------------------------


def _product(
    name: str,
    lane: Lane,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    fmt: Posit,
    start: Launch,
    *more: float,
    gap: tuple[int, int] = (0, 0),
    clip: tuple[int, ...] = (),
) -> Tensor:
    """The sums that a kernel makes of packed operands; a gap stands in K, behind so many terms."""
    out = torch.empty(product_shape(a, b), dtype=lane.dtype, device=a.device)
    if out.numel() == 0:
        return out
    batch = out.shape[:-2]
    batches = prod(batch)
    x, y = (packed(side, batch, lane, gap, clip, start) for side in (a, b.mT))
    size = Size(batches, *out.shape[-2:], a.shape[-1] + gap[1])
    tiles = batches * prod(-(-count // lane.lines) for count in out.shape[-2:])
    addend = None if c is None else _batched(c.expand(out.shape), batch)
    start(
        *(KERNELS[name], (tiles, 1, 1), (lane.threads, 1, 1), lane.shared),
        *(x, y, Matrix(addend), Matrix(_batched(out, batch)), size, parameters.posit(fmt), *more),
    )
    return out


def packed(
    x: Tensor,
    batch: torch.Size,
    lane: Lane,
    gap: tuple[int, int] = (0, 0),
    clip: tuple[int, ...] = (),
    start: Launch = launch.launch,
) -> Panels:
    """An operand [.., lines, terms] in panels; one of a single batch serves all of them."""
    one = prod(x.shape[:-2]) == 1
    x = _batched(x, x.shape[:-2] if one else batch)
    batches, lines, terms = x.shape
    panels = -(-lines // lane.lines) * -(-(terms + gap[1]) // TERMS)
    data = torch.empty(batches * panels * lane.lines * TERMS, dtype=lane.dtype, device=x.device)
    ranges = torch.empty((batches * panels, 2), dtype=torch.int32, device=x.device)
    made = Panels(data, ranges, 0 if one else panels)
    if panels:
        kernel = KERNELS["rn_pack_clipped" if clip else f"rn_pack_{str(lane.dtype).removeprefix('torch.')}"]
        source = Source(Matrix(x), batches, lines, terms, *(gap if gap[1] else (terms, 0)))
        start(kernel, (batches * panels, 1, 1), (lane.lines, 1, 1), 16, source, made, *clip)
    return made


def _batched(x: Tensor, batch: torch.Size) -> Tensor:
    """Matrices along one axis; copied where no stride leads from each to the next one."""
    x = x.detach().resolve_neg()
    return x.expand(*batch, *x.shape[-2:]).reshape(prod(batch), *x.shape[-2:])


# ---- the operation -------------------------------------------------------------------------------


def covered(a: Tensor, b: Tensor, c: Tensor | None, n: int, es: int, mode: str, *_: Any) -> bool:
    """Whether there is a kernel."""
    return mode in ("products", "posit", "cuposit") and NARROWEST <= n <= WIDEST


def examples() -> Iterator[tuple[Any, ...]]:
    """Ties of products and sums, values near the ends of the format, 0 and NaN; and none of these."""
    k = torch.arange(40, dtype=torch.float32, device="cpu")
    rows = [
        1 + k * 2.0**-12,
        1.5 * 2.0 ** (k - 20),
        -(2.0 ** -(k % 30)),
        (k - 20) * 2.0 ** (k % 9),
        0 * k,
        k / k.flip(0),
    ]
    a = torch.stack(rows)
    b = torch.stack([1 - k * 2.0**-12, 2.0 ** (20 - k), 3 * 2.0 ** (k % 37 - 30), k % 7 - 3, 0 * k], 1)
    c = torch.stack([2.0 ** -k[:5], -k[:5]]).repeat(3, 1)
    small, tame, large = (a, b, c), (a[::3], b[:, ::3], None), (a.repeat(22, 1), b.repeat(1, 26), None)
    for n, es, pairs in (
        (16, 2, (small, tame, large)),
        *((n, es, (small, tame)) for n, es in ((8, 2), (10, 1), (28, 2))),
    ):
        for x, y, z in pairs:
            yield x, y, z, n, es, "products", torch.float32, "rounded", 1.0, 0.0, K_PAD
            yield x, y, z, n, es, "posit", torch.float32, "rounded", 1.0, 0.0, K_PAD
            for k_pad in (K_PAD, None) if es == 2 else ():
                yield x[:, :37], y[:37], z, n, es, "cuposit", torch.float32, "rounded", 0.75, -2.0, k_pad
    codes = torch.arange(-(1 << 31), 1 << 31, (1 << 32) // 240 + 1, dtype=torch.int64, device="cpu").to(torch.int32)
    yield codes.view(8, 30), codes.view(30, 8), None, 32, 2, "posit", None, "rounded", 1.0, 0.0, K_PAD


OPERATION = Operation("posit_mm", posit_mm_reference, posit_mm, covered, tuple(KERNELS.values()), examples)
