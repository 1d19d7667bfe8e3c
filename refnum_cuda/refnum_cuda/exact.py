"""The host's side of csrc/exact.cu: gemm under exact/v1."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from ctypes import c_int32, c_int64, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log2, prod
from typing import Any

import torch
from torch import Tensor

from refnum.boundary import FLOAT_ROWS
from refnum.formats import Minifloat
from refnum.sums.operands import FP8, product_shape, widened
from refnum.sums.products import gemm_reference
from refnum.sums.results import canonical_nan

from . import launch, modules, parameters, residues
from .serving import Operation

CONTRACT = "exact/v1"
FLOATS = (torch.float32, torch.bfloat16, torch.float16, *FP8)  #: operands; results may be float64, too
SCALES = (None, torch.uint8, torch.float32)  #: of blocks, in the order of rn::Scales
FORMATS: dict[torch.dtype, Minifloat] = {**FLOAT_ROWS, **FP8}

MOST_MODULI = 14
DIGIT, WIDEST = 15, 44  #: bits of a digit, and of an integer, which has three
THREADS, WARPS = 256, 8  #: of a block
WORDS_SHARED = 21 * 8 * THREADS  #: bytes of shared memory for a block's words
MOST_BLOCKS, MOST_BELOW = 1 << 16, (1 << 16) - 1  #: abreast, and below each other
BLOCKS_EACH = 5  #: of a multiprocessor, where few results are in doubt

FEWEST = 2  #: rows and columns for which residues pay,
SMALLEST = 1 << 22  #: and products of factors,
MOST_COLUMNS = 1 << 20  #: of which a part of the rows has no more results than 31 bits can number
AREA = 1 << 30  #: bytes of residues of sums at a time


# ---- what kernels take ---------------------------------------------------------------------------


class Lines(ctypes.Structure):
    """rn::Lines; it holds the tensors."""

    _fields_ = (
        *((name, c_void_p) for name in ("values", "scales", "whole")),
        *((name, c_int64) for name in ("batch", "line", "scale_batch", "scale_line")),
        *((name, c_int32) for name in ("block", "kind")),
    )

    def __init__(self, values: Tensor, scales: Tensor | None, block: int, whole: Tensor | None) -> None:
        """Values [batch, line, term] and scales [batch, line, block of terms], terms side by side."""
        self.tensors = values, scales, whole
        super().__init__(*(None if x is None else x.data_ptr() for x in self.tensors), *values.stride()[:2])
        self.scale_batch, self.scale_line = (0, 0) if scales is None else scales.stride()[:2]
        self.block, self.kind = block, SCALES.index(None if scales is None else scales.dtype)


class Wholes(ctypes.Structure):
    """rn::Wholes; it holds the tensors."""

    _fields_ = (("a", c_void_p), ("b", c_void_p))

    def __init__(self, *factors: Tensor | None) -> None:
        super().__init__(*(None if x is None else x.data_ptr() for x in factors))
        self.tensors = factors


class Bias(ctypes.Structure):
    """rn::Bias; it holds the tensor."""

    _fields_ = (("values", c_void_p), ("batch", c_int64), ("row", c_int64), ("column", c_int64))

    def __init__(self, x: Tensor | None) -> None:
        super().__init__(*((None, 0, 0, 0) if x is None else (x.data_ptr(), *x.stride())))
        self.tensor = x


class Size(ctypes.Structure):
    """rn::Size."""

    _fields_ = tuple((name, c_int64) for name in "batches rows columns terms".split())


class Doubts(ctypes.Structure):
    """rn::Doubts; it holds the tensors."""

    _fields_ = (("places", c_void_p), ("count", c_void_p))

    def __init__(self, places: Tensor | None = None, count: Tensor | None = None) -> None:
        super().__init__(*(None if x is None else x.data_ptr() for x in (places, count)))
        self.places_tensor, self.count_tensor = places, count

    @classmethod
    def none_yet(cls, out: Tensor) -> Doubts:
        """Of results, with room for all of them."""
        places = torch.empty(out.numel(), dtype=torch.int32, device=out.device)
        return cls(places, places.new_zeros(1))


class Target(ctypes.Structure):
    """rn::Target."""

    _fields_ = (("format", parameters.Minifloat), ("bits", c_int32), ("nan", c_uint64))


class Numbers(ctypes.Structure):
    """rn::Numbers."""

    _fields_ = (
        ("count", c_int32),
        *((name, c_int32 * MOST_MODULI) for name in ("modulus", "reciprocal")),
        ("step", c_int32 * 2 * MOST_MODULI),
        ("weight", c_uint32 * 4 * MOST_MODULI),
        ("quotient", c_uint32 * MOST_MODULI),
        ("product", c_uint32 * 4),
    )


_DOTS = Lines, Lines, Bias, c_void_p, Target, Size, Doubts
_RESIDUES = Lines, c_int64, c_int64, c_int64, Numbers, c_int32, c_void_p, c_void_p
DOTS, DOTS_SCALED, RESIDUES, RESIDUES_SCALED, COMBINE = (
    launch.Kernel("exact", f"rn_exact_{name}", types)
    for name, types in {
        "dots": _DOTS,
        "dots_scaled": _DOTS,
        "residues": _RESIDUES,
        "residues_scaled": _RESIDUES,
        "combine": (
            *(c_void_p, c_int64, c_int64, c_void_p, c_void_p, Wholes, Bias, c_void_p, Target, Size, Numbers),
            *(c_int32, Doubts),
        ),
    }.items()
)


@lru_cache(maxsize=16)
def target(dtype: torch.dtype) -> Target:
    """What results are rounded to."""
    row = FORMATS[dtype]
    nan = {torch.float8_e4m3fn: 0x7F, torch.float8_e5m2: 0x7E}.get(dtype, 0x80)
    return Target(parameters.minifloat(row), row.width, nan if dtype in FP8 else canonical_nan(dtype))


# ---- moduli --------------------------------------------------------------------------------------


@lru_cache(maxsize=MOST_MODULI)
def numbers(count: int) -> Numbers:
    """The first so many numbers, and what is made of their product P."""
    moduli = residues.NUMBERS[:count]
    whole = prod(moduli)
    weights = [whole // m * pow(whole // m, -1, m) for m in moduli]
    columns = {
        "modulus": moduli,
        "reciprocal": [(1 << 32) // m for m in moduli],
        "step": [(c_int32 * 2)(*(_centred(1 << bits, m) for bits in (DIGIT, 2 * DIGIT))) for m in moduli],
        "weight": [_words(weight) for weight in weights],
        "quotient": [(weight << 32) // whole for weight in weights],
    }
    made = Numbers(count=count, product=_words(whole))
    for name, column in columns.items():
        getattr(made, name)[:count] = column
    return made


def _centred(x: int, m: int) -> int:
    return (x + m // 2) % m - m // 2


def _words(x: int) -> Any:
    return (c_uint32 * 4)(*(x >> 32 * i & 0xFFFFFFFF for i in range(4)))


def window(count: int, terms: int) -> int:
    """Bits of integers whose sums of products are less than 0.49 P in size: a rounded quotient by P is then right."""
    room = log2(0.49) + sum(log2(m) for m in residues.NUMBERS[:count])
    return min(WIDEST, int(room - (terms - 1).bit_length()) // 2)


def moduli_for(bits: int, dtype: torch.dtype) -> int:
    """How many moduli leave few results in doubt: by the bits of a factor and the dtype of the results.

    One more costs as much as one doubt in a thousand. Of 4096 normal variates that is 0 with these, and as good as that
    where they are multiplied by the exponential of others.
    """
    narrow = FORMATS[dtype].significand_bits <= FORMATS[torch.float16].significand_bits
    rows = {4: (5, 5), 8: (7, 8), 16: (8, 10), 32: (10, 12)}
    row = next(row for most, row in rows.items() if bits <= most)
    return MOST_MODULI if dtype == torch.float64 else row[0 if narrow else 1]


# ---- launches ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Side:
    """An operand: float32 [batch or 1, line, term] whose terms lie side by side, times what `scaled` says."""

    values: Tensor
    bits: int  #: of a factor without a scale of powers of 2
    scales: Tensor | None = None  #: [batch or 1, line, block]: codes of e8m0, or float32
    block: int = 1  #: terms that share a scale
    whole: Tensor | None = None  #: float32, a factor of all

    @property
    def is_plain(self) -> bool:
        """Whether factors are values as they are."""
        return self.scales is None and self.whole is None

    def scaled(self, scales: Tensor | None, block: int, whole: Tensor | None) -> Side:
        """The same times scales [.., line, block] of so many terms each, and times a factor of all."""
        if scales is not None:
            scales = _one_batch(_side_by_side(scales))
        bits = 32 if scales is not None and scales.dtype == torch.float32 else self.bits
        return replace(self, bits=bits, scales=scales, block=block, whole=whole)

    def lines(self, batches: int = 1, *, with_whole: bool = True) -> Lines:
        """All of them, for a batch."""
        values, scales = (None if x is None else x.expand(batches, -1, -1) for x in (self.values, self.scales))
        assert values is not None
        return Lines(values, scales, self.block, self.whole if with_whole else None)

    def one_matrix(self) -> Side:
        """The lines of all matrices as those of one."""
        return self._of(lambda x: x.reshape(1, x.shape[:-1].numel(), x.shape[-1]))

    def matrix(self, i: int) -> Side:
        """One of the batch."""
        return self._of(lambda x: x[i : i + 1] if len(x) > 1 else x)

    def part(self, lines: slice) -> Side:
        """Some lines."""
        return self._of(lambda x: x[:, lines])

    def _of(self, view: Callable[[Tensor], Tensor]) -> Side:
        return replace(self, values=view(self.values), scales=None if self.scales is None else view(self.scales))


def side(x: Tensor, bits: int | None = None) -> Side:
    """Floats [.., line, term], perhaps of so few bits, as an operand; copied where not float32 side by side."""
    values = _side_by_side(widened(_side_by_side(x.detach().resolve_neg())))  # narrow ones are copied sooner
    return Side(_one_batch(values), bits or FORMATS[x.dtype].width)


def _side_by_side(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _one_batch(x: Tensor) -> Tensor:
    return x.reshape(prod(x.shape[:-2]), *x.shape[-2:])


def gemm(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> Tensor:
    """`refnum.gemm` under exact/v1 of checked operands with at least two axes, on a GPU."""
    shape = product_shape(a, b)
    batch = shape[:-2]
    x, y = (z if z.shape[:-2].numel() == 1 else z.expand(*batch, *z.shape[-2:]) for z in (a, b.mT))
    return multiply(side(x), side(y), bias, shape, out_dtype)


def multiply(a: Side, b: Side, bias: Tensor | None, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """The products of the rows of a with the rows of b, plus a bias, in a shape."""
    out = torch.empty(shape, dtype=dtype, device=a.values.device)
    if out.numel():
        for call in launches(a, b, None if bias is None else bias.detach().resolve_neg().expand(shape), out):
            launch.launch(*call)
    return out


def launches(a: Side, b: Side, bias: Tensor | None, out: Tensor) -> Iterator[tuple[Any, ...]]:
    """What to launch, one after the other, to write the products; the bias has their shape."""
    if len(b.values) == 1:  # all rows on the left are rows of one matrix
        a, axes = a.one_matrix(), (1, out.shape[:-1].numel())
    else:
        axes = (out.shape[:-2].numel(), out.shape[-2])
    out = out.view(*axes, out.shape[-1])
    addend = None if bias is None else bias.reshape(out.shape)
    if not _residues_pay(out.shape, a.values.shape[-1]):
        yield _dots(a, b, addend, out)
        return
    for i in range(len(out)):
        one = slice(i, i + 1)
        yield from by_residues(a.matrix(i), b.matrix(i), None if addend is None else addend[one], out[one])


def _residues_pay(shape: torch.Size, terms: int) -> bool:
    _, rows, columns = shape
    large = min(rows, columns) >= FEWEST and rows * columns * terms >= SMALLEST
    return large and terms <= residues.MOST_TERMS and columns <= MOST_COLUMNS


def _dots(a: Side, b: Side, bias: Tensor | None, out: Tensor, doubts: Doubts | None = None) -> Any:
    batches, rows, columns = out.shape
    blocks = min(-(-out.numel() // WARPS), MOST_BLOCKS)
    if doubts is not None:
        blocks = min(blocks, BLOCKS_EACH * torch.cuda.get_device_properties(out.device).multi_processor_count)
    kernel = DOTS if a.is_plain and b.is_plain else DOTS_SCALED
    return (
        *(kernel, (blocks, 1, 1), (THREADS, 1, 1), WORDS_SHARED),
        *(a.lines(batches), b.lines(batches), Bias(bias), out, target(out.dtype)),
        *(Size(batches, rows, columns, a.values.shape[-1]), doubts or Doubts()),
    )


def by_residues(a: Side, b: Side, bias: Tensor | None, out: Tensor) -> Iterator[tuple[Any, ...]]:
    """The same for one matrix of some size: matrices of residues are multiplied, some rows at a time."""
    _, rows, columns = out.shape
    right = Residues(b, moduli_for(max(a.bits, b.bits), out.dtype))
    yield right.launch()
    step = max(128, AREA // (right.count * columns) // 128 * 128)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        yield from _rows_by_residues(a.part(part), right, None if bias is None else bias[:, part], out[:, part])


def _rows_by_residues(a: Side, right: Residues, bias: Tensor | None, out: Tensor) -> Iterator[tuple[Any, ...]]:
    left = Residues(a, right.count)
    yield left.launch()
    sums = torch.empty(right.count, left.lines, right.lines, dtype=torch.uint8, device=out.device)
    yield residues.multiplied(left.residues, right.residues, sums, None, _form(out.device))
    doubts = Doubts.none_yet(out)
    terms = a.values.shape[-1]
    yield (
        *(COMBINE, (-(-out.shape[2] // THREADS), min(out.shape[1], MOST_BELOW), 1), (THREADS, 1, 1), 0),
        *(sums, right.lines, left.lines * right.lines, left.found, right.found),
        *(Wholes(a.whole, right.side.whole), Bias(bias), out),
        *(target(out.dtype), Size(*out.shape, terms), numbers(right.count), window(right.count, terms), doubts),
    )
    yield _dots(a, right.side, bias, out, doubts)


def _form(device: torch.device) -> residues.Form:
    return residues.form_for(modules.served_by(launch.ordinal(device)))


class Residues:
    """The lines of a side modulo each of so many numbers, filled up with zeros."""

    def __init__(self, side: Side, count: int) -> None:
        _, lines, terms = side.values.shape
        self.side, self.count, self.lines, self.terms = side, count, residues.filled(lines), residues.filled(terms)
        device = side.values.device
        self.residues = torch.empty(count, self.lines, self.terms, dtype=torch.int8, device=device)
        self.found = torch.empty(self.lines, 3, dtype=torch.int32, device=device)

    def launch(self) -> tuple[Any, ...]:
        """What writes them."""
        _, lines, terms = self.side.values.shape
        return (
            *(RESIDUES if self.side.scales is None else RESIDUES_SCALED, (self.lines, 1, 1), (THREADS, 1, 1), 16),
            *(
                self.side.lines(with_whole=False),
                lines,
                terms,
                self.terms,
                numbers(self.count),
                window(self.count, terms),
            ),
            *(self.residues, self.found),
        )


# ---- the operation -------------------------------------------------------------------------------


def covered(a: Tensor, b: Tensor, bias: Tensor | None, contract: str, out_dtype: torch.dtype) -> bool:
    """Whether there is a kernel: there is none for operands or a bias of float64."""
    return contract == CONTRACT and {a.dtype, b.dtype} <= {*FLOATS} and (bias is None or bias.dtype == torch.float32)


def examples() -> Iterator[tuple[Any, ...]]:
    """Sums that cancel, ties that the least term decides, signed zeros, NaN and Inf; by residues, and by dots."""
    k = torch.arange(300, dtype=torch.float32, device="cpu")
    tie = torch.where(k == 0, 1.0, torch.where(k == 1, 2.0**-24, torch.where(k == 2, 2.0**-149, 0.0)))
    rows = [
        1 + k * 2.0**-23,
        (k - 75) * 2.0**-60,
        -(2.0 ** -(k % 90)),
        torch.where(k == 149, torch.inf, k),
        tie,
        -(0 * k),
        0 * k,
    ]
    columns = [1 - k * 2.0**-23, k % 7 - 3, 2.0 ** -(k % 80), 1 + 0 * k]
    a = torch.stack([*rows, *(torch.sin(k * i) for i in range(1, 121))])
    b = torch.stack([*columns, *(torch.cos(k * i) for i in range(124))])
    bias = torch.where(k[:128] % 2 == 0, -0.0, k[:128] - 64)
    for dtype, out_dtype in ((torch.float32, torch.float32), (torch.bfloat16, torch.float16)):
        x, y = a.to(dtype), b.to(dtype)
        yield x, y.mT, None, CONTRACT, out_dtype
        yield x[:9], y.mT, bias, CONTRACT, out_dtype  # by words


KERNELS = DOTS, DOTS_SCALED, RESIDUES, RESIDUES_SCALED, COMBINE
LAUNCHES = *KERNELS, residues.BY_WARPS.kernel, residues.BY_WARPGROUPS.kernel
OPERATION = Operation("gemm", gemm_reference, gemm, covered, LAUNCHES, examples)
