"""The host's side of csrc/posits.cu: posit_mm in the modes products, posit and cuposit."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import c_float, c_int32, c_int64, c_uint32, c_void_p
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refnum import codec
from refnum.formats import Posit
from refnum.sums.operands import product_shape
from refnum.sums.ordered import K_PAD
from refnum.sums.posits import posit_mm_reference

from . import launch, parameters
from .matrices import Matrix
from .serving import Operation

NARROWEST, WIDEST = 3, 32  #: bits of a posit
SIGNIFICANT, SCALES = 24, 126  #: of normal float32 values: bits, and the magnitude of their exponents
TERMS = 16  #: of a panel
THREADS = 256  #: of every block
TABLES = 12 * 256 + 16  #: bytes


class Source(ctypes.Structure):
    """rn::Source."""

    _fields_ = (("matrix", Matrix), *((name, c_int64) for name in "batches lines terms first gap each".split()))


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
class Tiling:
    """What one block makes at a time, as in posits.cu."""

    name: str
    dtype: torch.dtype
    rows: int
    columns: int
    stages: int
    cycles: int  #: of a multiprocessor for a term of a tile, about

    @property
    def shared(self) -> int:
        """Bytes of shared memory: tables, the tile's place, and stages of two panels and their ranges."""
        return TABLES + 32 + self.stages * ((self.rows + self.columns) * TERMS * self.dtype.itemsize + 16)

    def tiles(self, batches: int, rows: int, columns: int) -> int:
        """Those that a result takes."""
        return batches * -(-rows // self.rows) * -(-columns // self.columns)


SQUARE = Tiling("square", torch.float32, 128, 128, 2, 920)
SLIM = Tiling("slim", torch.float32, 16, 32, 6, 50)
DOUBLES = Tiling("doubles", torch.float64, 64, 64, 2, 4000)
TILINGS = {torch.float32: (SQUARE, SLIM), torch.float64: (DOUBLES,)}

_PACK = (Source, Panels, c_int32, parameters.Posit)
_PRODUCT = (Panels, Panels, Matrix, Matrix, Size, parameters.Posit)
KERNELS = {
    name: launch.Kernel("posits", f"rn_{name}", types)
    for name, types in {
        "pack_float32": _PACK,
        "pack_float64": _PACK,
        **{f"products_{tiling.name}": _PRODUCT for tiling in (SQUARE, SLIM)},
        **{f"long_products_{tiling.name}": _PRODUCT for tiling in (SQUARE, SLIM)},
        **{f"cuposit_{tiling.name}": (*_PRODUCT, c_float, c_float) for tiling in (SQUARE, SLIM)},
        **{f"posit_{tiling.name}": (*_PRODUCT, c_int32) for tiling in (SQUARE, SLIM, DOUBLES)},
    }.items()
}

Launch = Callable[..., None]  #: launch.launch, or what stands for it


class Launches(NamedTuple):
    """Where kernels run: on a GPU, but in tests."""

    start: Launch
    processors: Callable[[torch.device], int]


def _processors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


ON_GPU = Launches(launch.launch, _processors)


# ---- modes ---------------------------------------------------------------------------------------


class Taken(IntEnum):
    """rn::Taken."""

    AS_THEY_ARE = 0
    ROUNDED = 1
    CLIPPED = 2


def float_of(fmt: Posit) -> torch.dtype:
    """The floats in which products of posits are exact, if float32 is of any.

    Then a sum of two posits that is rounded to float32 before it is rounded to the format is rounded alike.
    """
    exact = 2 * fmt.significand_bits <= SIGNIFICANT and 2 * fmt.max_scale <= SCALES
    return torch.float32 if exact else torch.float64


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


def products(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, how: Launches = ON_GPU) -> Tensor:
    """Products rounded to the format, and their sums in float32; c is added last."""
    mode = "products" if float_of(fmt) == torch.float32 else "long_products"
    x, y = (operand(side, fmt, torch.float32) for side in (a, b))
    return _product(mode, x, y, c, fmt, how)


def rounded(a: Tensor, b: Tensor, c: Tensor | None, fmt: Posit, how: Launches = ON_GPU) -> Tensor:
    """Products and sums rounded to the format, from c or 0 on, in floats that hold it."""
    x, y = (operand(side, fmt, float_of(fmt)) for side in (a, b))
    z = None if c is None else values(c, fmt, float_of(fmt))
    growth = max(a.shape[-1] - 1, 0).bit_length()
    return _product("posit", x, y, z, fmt, how, growth)


def cuposit(
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    fmt: Posit,
    alpha: float,
    beta: float,
    k_pad: int | None,
    how: Launches = ON_GPU,
) -> Tensor:
    """``alpha * (a @ b) + beta * c`` as CuPosit defines it: products of padding follow those of the first tile."""
    first = a.shape[-1] % K_PAD if k_pad else 0
    gap = K_PAD - first if first else 0
    x, y = (Operand(side, Taken.CLIPPED, first, gap) for side in (a, b))
    return _product("cuposit", x, y, c if beta else None, fmt, how, alpha, beta)


# ---- operands ------------------------------------------------------------------------------------


class Operand(NamedTuple):
    """An operand, and what is packed of it."""

    values: Tensor
    taken: Taken
    first: int = 0  #: terms before a gap in K
    gap: int = 0

    def turned(self) -> Operand:
        """The transposed one."""
        return self._replace(values=self.values.mT)

    def packed(self, batch: torch.Size, each: int, fmt: Posit, start: Launch) -> Panels:
        """What is [.., lines, terms], in panels of so many lines each; one of a single batch serves all of them."""
        one = prod(self.values.shape[:-2]) == 1
        x = _batched(self.values, self.values.shape[:-2] if one else batch)
        batches, lines, terms = x.shape
        panels = -(-lines // each) * -(-(terms + self.gap) // TERMS)
        data = torch.empty(batches * panels * each * TERMS, dtype=x.dtype, device=x.device)
        ranges = torch.empty((batches * panels, 2), dtype=torch.int32, device=x.device)
        made = Panels(data, ranges, 0 if one else panels)
        if panels:
            kernel = KERNELS[f"pack_{str(x.dtype).removeprefix('torch.')}"]
            source = Source(Matrix(x), batches, lines, terms, self.first if self.gap else terms, self.gap, each)
            at_once = THREADS // each
            grid = -(-batches * panels // at_once), 1, 1
            start(kernel, grid, (THREADS, 1, 1), 8 * at_once, source, made, self.taken, parameters.posit(fmt))
        return made


def operand(x: Tensor, fmt: Posit, dtype: torch.dtype) -> Operand:
    """The posits that floats are rounded to, or those of patterns, in a dtype that holds them."""
    if x.is_floating_point() and x.itemsize <= dtype.itemsize:
        return Operand(x.to(dtype), Taken.ROUNDED)  # widened exactly, if at all
    return Operand(values(x, fmt, dtype), Taken.AS_THEY_ARE)


def values(x: Tensor, fmt: Posit, dtype: torch.dtype) -> Tensor:
    """The same as a tensor."""
    return codec.decode(codec.encode(x, fmt) if x.is_floating_point() else x, fmt, dtype=dtype)


# ---- launches ------------------------------------------------------------------------------------


def _product(mode: str, a: Operand, b: Operand, c: Tensor | None, fmt: Posit, how: Launches, *more: float) -> Tensor:
    """The sums that a mode makes of packed operands."""
    out = torch.empty(product_shape(a.values, b.values), dtype=a.values.dtype, device=a.values.device)
    if out.numel() == 0:
        return out
    batch = out.shape[:-2]
    sides, to = (a, b.turned()), _batched(out, batch)
    z = None if c is None else _batched(c.expand(out.shape), batch)
    tiling, turned = tiling_of(out.dtype, to.shape, how.processors(out.device))
    if turned:  # the transposed product has the same bits
        sides, to, z = sides[::-1], to.mT, None if z is None else z.mT
    lines = (tiling.rows, tiling.columns)
    x, y = (side.packed(batch, each, fmt, how.start) for side, each in zip(sides, lines, strict=True))
    how.start(
        *(KERNELS[f"{mode}_{tiling.name}"], (tiling.tiles(*to.shape), 1, 1), (THREADS, 1, 1), tiling.shared),
        *(x, y, Matrix(z), Matrix(to), Size(*to.shape, a.values.shape[-1] + a.gap), parameters.posit(fmt), *more),
    )
    return out


def tiling_of(dtype: torch.dtype, shape: torch.Size, processors: int) -> tuple[Tiling, bool]:
    """The tiling that takes the least time, and whether it is that of the transposed result."""
    batches, rows, columns = shape

    def time(choice: tuple[Tiling, bool]) -> int:
        tiling, turned = choice
        tiles = tiling.tiles(batches, *((columns, rows) if turned else (rows, columns)))
        return -(-tiles // processors) * tiling.cycles

    return min(((tiling, turned) for tiling in TILINGS[dtype] for turned in (False, True)), key=time)


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
