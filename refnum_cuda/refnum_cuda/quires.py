"""The host's side of csrc/quires.cu: posit_mm in mode quire, and quire_dot."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator
from ctypes import c_int32, c_int64, c_uint32, c_void_p
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refnum.boundary import container
from refnum.formats import Posit
from refnum.sums.operands import product_shape
from refnum.sums.posits import posit_mm_reference, quire_dot_reference

from . import launch, modules, parameters, residues
from .serving import Operation

MODE = "quire"
#: rn::Element, and the dtypes of its numbers
ELEMENTS = {
    dtype: number
    for number, dtypes in enumerate(
        (
            *((torch.int8, torch.uint8), (torch.int16,), (torch.int32,), (torch.int64,)),
            *((torch.float16,), (torch.bfloat16,), (torch.float32,), (torch.float64,)),
        )
    )
    for dtype in dtypes
}
THREADS, WARPS = 256, 8  #: of a block
MOST_BLOCKS = 1 << 16

# By residues: at any time those of two panels of operands, and sums of one of the result, each of so many elements, a
# byte for each of 36 numbers at most.
SMALLEST, FEWEST = 1 << 21, 4  #: products of factors for which they pay, and rows and columns
LINES, TERMS = 32, 128  #: of a tile of an operand
GROUPS = residues.MOST // 4
SHIFTS = 288  #: of which there are powers of 2
SHARED = 4 * (GROUPS * SHIFTS + LINES * (TERMS + 4))
PANEL, SIDE = 1 << 24, 1 << 12  #: elements, and lines at most
BLOCKS_EACH = 8  #: of a multiprocessor

# By registers.
LIMBS = (4, 8, 16)  #: of 32 bits: there are kernels for quires that fit
AT_ONCE = 1 << 20  #: results
ENOUGH_WARPS = 1 << 13  #: to keep a GPU busy: fewer results share out their terms in segments
SHORTEST = 256  #: terms of a segment


# ---- what kernels take ---------------------------------------------------------------------------


class Numbers(ctypes.Structure):
    """rn::Numbers; it holds the tensor, which must live until the kernel has been launched."""

    _fields_ = (
        *(("data", c_void_p), ("batch", c_int64), ("line", c_int64), ("term", c_int64)),
        ("kind", c_int32),
    )

    def __init__(self, x: Tensor | None) -> None:
        super().__init__(*((None,) if x is None else (x.data_ptr(), *x.stride(), ELEMENTS[x.dtype])))
        self.tensor = x


class Extent(ctypes.Structure):
    """rn::Extent."""

    _fields_ = tuple((name, c_int64) for name in ("batches", "lines", "terms"))


Room = c_int32 * GROUPS
ROOM = Room(*(residues.room(4 * groups) for groups in range(1, GROUPS + 1)))


class Scheme(ctypes.Structure):
    """rn::Scheme; it holds the spans."""

    _fields_ = (("spans", c_void_p), ("growth", c_int32), ("room", Room))

    def __init__(self, spans: Tensor, terms: int) -> None:
        super().__init__(spans.data_ptr(), _growth(terms), ROOM)
        self.tensor = spans


class Sums(ctypes.Structure):
    """rn::Sums; it holds the tensors."""

    _fields_ = (
        *(("residues", c_void_p), ("rows", c_int32), ("columns", c_int32)),
        *(("a_nar", c_void_p), ("b_nar", c_void_p)),
    )

    def __init__(self, product: Tensor, a_nar: Tensor, b_nar: Tensor) -> None:
        super().__init__(product.data_ptr(), *product.shape[1:], a_nar.data_ptr(), b_nar.data_ptr())
        self.tensors = product, a_nar, b_nar


class Work(ctypes.Structure):
    """rn::Work; it holds the tensor that says whether it is done."""

    _fields_ = (
        *((name, c_int64) for name in "rows columns terms first count segments length".split()),
        ("done", c_void_p),
    )

    def __init__(self, *sizes: int, done: Tensor | None) -> None:
        super().__init__(*sizes, None if done is None else done.data_ptr())
        self.tensor = done


_WORDS = [word for groups in range(1, GROUPS + 1) for word in residues.weights(4 * groups)]
Basis = c_uint32 * len(_WORDS)  #: rn::Basis

_Format = parameters.Posit
SURVEY, RESIDUES, RECONSTRUCT = (
    launch.Kernel("quires", f"rn_quire_{name}", types)
    for name, types in {
        "survey": (Numbers, Extent, _Format, c_void_p, c_void_p),
        "residues": (Numbers, Extent, Extent, c_int32, _Format, Scheme, residues.Moduli, c_void_p, c_void_p),
        "reconstruct": (Sums, Numbers, Numbers, c_int32, _Format, Scheme, Basis),
    }.items()
)
ADD = {
    limbs: launch.Kernel("quires", f"rn_quire_add_{limbs}", (Numbers, Numbers, Work, _Format, c_void_p))
    for limbs in LIMBS
}
ROUND = {
    limbs: launch.Kernel("quires", f"rn_quire_round_{limbs}", (c_void_p, Numbers, Numbers, Work, _Format))
    for limbs in LIMBS
}


@lru_cache(maxsize=1)
def basis() -> Any:
    """What makes integers of residues, for each count of groups of four numbers."""
    return Basis(*_WORDS)


# ---- by residues ---------------------------------------------------------------------------------


def groups_for(fmt: Posit, terms: int) -> int:
    """Groups of four numbers that are enough whatever the operands are; more than there are where those may not be."""
    bits = 4 * fmt.max_scale + _growth(terms) + 1
    return next((i for i in range(1, GROUPS + 1) if residues.room(4 * i) >= bits), GROUPS + 1)


def _growth(terms: int) -> int:
    return int(terms - 1).bit_length()


class Gpu(NamedTuple):
    """What decides how a product is shared out."""

    processors: int
    target: str  #: whose files serve it


class ByResidues:
    """A product by residues: a [batch, row, term], b [batch, column, term], c as the result [batch, row, column]."""

    def __init__(self, a: Tensor, b: Tensor, c: Tensor | None, out: Tensor, fmt: Posit, gpu: Gpu) -> None:
        self.a, self.b, self.c, self.out, self.fmt, self.blocks = a, b, c, out, fmt, BLOCKS_EACH * gpu.processors
        self.form = residues.form_for(gpu.target)
        self.count = 4 * min(GROUPS, groups_for(fmt, a.shape[-1]))
        self.spans = torch.zeros(7, dtype=torch.int32, device=out.device)
        self.served = self.spans[6:]  # how many numbers there are, 0 where those are too few
        self.nar = [torch.zeros(x.shape[:-1], dtype=torch.uint8, device=out.device) for x in (a, b)]
        self.scheme = Scheme(self.spans, a.shape[-1])

    def launches(self) -> Iterator[tuple[Any, ...]]:
        """All that is to be launched, one after the other."""
        for i, (x, nar) in enumerate(zip((self.a, self.b, self.c), (*self.nar, None), strict=True)):
            if x is not None:
                yield self._survey(x, self.spans[2 * i :], nar)
        _, rows, columns = self.out.shape
        terms = self.a.shape[-1]
        width = min(terms, residues.MOST_TERMS)
        height = max(residues.FILLED, min(SIDE, PANEL // width // residues.FILLED * residues.FILLED))
        for batch in range(len(self.out)):
            yield from self._matrix(batch, _parts(rows, height), _parts(columns, height), _parts(terms, width))

    def _survey(self, x: Tensor, span: Tensor, nar: Tensor | None) -> tuple[Any, ...]:
        batches, lines, terms = x.shape
        tiles = batches * -(-lines // LINES) * -(-terms // TERMS)
        size = Extent(batches, lines, terms)
        grid = min(tiles, self.blocks), 1, 1
        return SURVEY, grid, (THREADS, 1, 1), 0, Numbers(x), size, parameters.posit(self.fmt), span, nar

    def _matrix(
        self, batch: int, rows: list[slice], columns: list[slice], terms: list[slice]
    ) -> Iterator[tuple[Any, ...]]:
        left, right = (self._room(parts, terms) for parts in (rows, columns))
        of_sums = self.count * left.shape[1] * right.shape[1]
        sums = torch.empty(of_sums, dtype=torch.uint8, device=self.out.device)
        made = None
        for across, down in itertools.product(columns, rows):
            for part in terms:
                if made != (across, part):  # the same again for the rows that follow
                    y, launching = self._residues(self.b[batch : batch + 1, across, part], right, 1)
                    yield launching
                    made = across, part
                x, launching = self._residues(self.a[batch : batch + 1, down, part], left, 0)
                yield launching
                shape = self.count, x.shape[1], y.shape[1]
                product = sums[: shape[0] * shape[1] * shape[2]].view(shape)
                yield residues.multiplied(x, y, product, self.served, self.form, continued=part.start > 0)
            yield self._reconstruct(product, batch, down, across)

    def _room(self, lines: list[slice], terms: list[slice]) -> Tensor:
        """For the residues of the largest part, which is the first one."""
        size = self.count, *(residues.filled(part[0].stop) for part in (lines, terms))
        return torch.empty(size, dtype=torch.int8, device=self.out.device)

    def _residues(self, x: Tensor, room: Tensor, side: int) -> tuple[Tensor, tuple[Any, ...]]:
        """Residues of a part of an operand, and the launch that writes them."""
        _, lines, terms = x.shape
        filled = residues.filled(lines), residues.filled(terms)
        to = room.view(-1)[: self.count * filled[0] * filled[1]].view(self.count, *filled)
        blocks = min(filled[0] // LINES * (filled[1] // TERMS), self.blocks)
        return to, (
            *(RESIDUES, (blocks, 1, 1), (THREADS, 1, 1), SHARED, Numbers(x), Extent(1, lines, terms)),
            *(Extent(1, *filled), side, parameters.posit(self.fmt), self.scheme, residues.moduli(), to, self.served),
        )

    def _reconstruct(self, product: Tensor, batch: int, rows: slice, columns: slice) -> tuple[Any, ...]:
        part = slice(batch, batch + 1), rows, columns
        out, c = self.out[part], None if self.c is None else self.c[part]
        sums = Sums(product, self.nar[0][batch, rows], self.nar[1][batch, columns])
        grid = -(-out.shape[2] // THREADS), out.shape[1], 1
        return (
            *(RECONSTRUCT, grid, (THREADS, 1, 1), 0, sums, Numbers(c), Numbers(out), out.shape[2]),
            *(parameters.posit(self.fmt), self.scheme, basis()),
        )


def _parts(count: int, most: int) -> list[slice]:
    return [slice(start, min(start + most, count)) for start in range(0, count, most)]


# ---- by registers --------------------------------------------------------------------------------


def limbs_for(fmt: Posit) -> int | None:
    """Of the registers that there are the least one that takes 2**31 products; None where none does."""
    return next((limbs for limbs in LIMBS if 32 * limbs >= 4 * fmt.max_scale + 32), None)


def by_registers(
    a: Tensor, b: Tensor, c: Tensor | None, out: Tensor, fmt: Posit, done: Tensor | None = None
) -> Iterator[tuple[Any, ...]]:
    """What to launch for a product as that of `ByResidues`, of any size; it does nothing where it is done."""
    limbs = limbs_for(fmt)
    assert limbs is not None, "covered() comes first"
    (_, rows, columns), terms = out.shape, a.shape[-1]
    for first in range(0, out.numel(), AT_ONCE):
        count = min(out.numel() - first, AT_ONCE)
        segments = max(1, min(ENOUGH_WARPS // count, terms // SHORTEST))
        work = Work(rows, columns, terms, first, count, segments, -(-terms // segments), done=done)
        sums = torch.empty(segments * (limbs + 1) * count, dtype=torch.int32, device=out.device)
        block, form = (THREADS, 1, 1), parameters.posit(fmt)
        blocks = min(-(-count * segments // WARPS), MOST_BLOCKS)
        yield ADD[limbs], (blocks, 1, 1), block, 0, Numbers(a), Numbers(b), work, form, sums
        blocks = min(-(-count * (32 if segments > 1 else 1) // THREADS), MOST_BLOCKS)
        yield ROUND[limbs], (blocks, 1, 1), block, 0, sums, Numbers(c), Numbers(out), work, form


# ---- the operations ------------------------------------------------------------------------------


def launches(a: Tensor, b: Tensor, c: Tensor | None, out: Tensor, fmt: Posit, gpu: Gpu) -> Iterator[tuple[Any, ...]]:
    """What to launch to write a product of batched matrices; c has its shape."""
    batch = out.shape[:-2]
    if b.shape[:-2].numel() == 1:  # one matrix on the right: all rows on the left are rows of one matrix
        shape: tuple[int, ...] = 1, out.shape[:-1].numel(), out.shape[-1]
        x, y = a.reshape(1, shape[1], a.shape[-1]), b.reshape(1, *b.shape[-2:])
    else:
        shape = batch.numel(), *out.shape[-2:]
        x, y = (side.expand(*batch, *side.shape[-2:]).reshape(shape[0], *side.shape[-2:]) for side in (a, b))
    z, to = None if c is None else c.reshape(shape), out.view(shape)
    served = None
    if residues_pay(to, x.shape[-1]):
        form = ByResidues(x, y.mT, z, to, fmt, gpu)
        yield from form.launches()
        if groups_for(fmt, x.shape[-1]) <= GROUPS:
            return
        served = form.served
    yield from by_registers(x, y.mT, z, to, fmt, served)


def residues_pay(out: Tensor, terms: int) -> bool:
    """Whether each product is large."""
    return out[0].numel() * terms >= SMALLEST and min(out.shape[1:]) >= FEWEST


def posit_mm(
    a: Tensor, b: Tensor, c: Tensor | None, n: int, es: int, mode: str, out_dtype: torch.dtype | None, *_: Any
) -> Tensor:
    """`refnum.posit_mm` in mode quire of checked operands with at least two axes, on a GPU."""
    fmt = Posit(n, es)
    a, b = (x.detach().resolve_neg() for x in (a, b))
    c = None if c is None else c.detach().resolve_neg()
    out = torch.empty(product_shape(a, b), dtype=out_dtype or container(fmt), device=a.device)
    _run(a, b, c, out, fmt)
    return out


def quire_dot(a: Tensor, b: Tensor, n: int, es: int) -> Tensor:
    """`refnum.quire_dot` of checked operands of one shape, on a GPU."""
    fmt, count = Posit(n, es), a.shape[:-1].numel()
    x, y = (side.detach().resolve_neg().reshape(count, 1, a.shape[-1]) for side in (a, b))
    dtype = a.dtype if a.is_floating_point() else container(fmt)
    out = torch.empty(count, 1, 1, dtype=dtype, device=a.device)
    _run(x, y.mT, None, out, fmt)
    return out.view(a.shape[:-1])


def _run(a: Tensor, b: Tensor, c: Tensor | None, out: Tensor, fmt: Posit) -> None:
    if out.numel():
        processors = torch.cuda.get_device_properties(out.device).multi_processor_count
        gpu = Gpu(processors, modules.served_by(launch.ordinal(out.device)))
        for call in launches(a, b, c, out, fmt, gpu):
            launch.launch(*call)


def covered(
    a: Tensor, b: Tensor, c: Tensor | None, n: int, es: int, mode: str, out_dtype: torch.dtype | None, *_: Any
) -> bool:
    """Whether there is a kernel: for formats whose quires have at most 512 bits."""
    return mode == MODE and dot_covered(a, b, n, es)


def dot_covered(a: Tensor, b: Tensor, n: int, es: int) -> bool:
    """The same for quire_dot."""
    return n <= 32 and limbs_for(Posit(n, es)) is not None


# ---- examples ------------------------------------------------------------------------------------


def _patterns(fmt: Posit, *shape: int) -> Tensor:
    """Patterns of all magnitudes; one in 64 is NaR."""
    count = torch.Size(shape).numel()
    number = torch.arange(count, dtype=torch.int64, device="cpu") * 0x9E3779B1 >> 7
    top = 1 << (fmt.n - 1)
    return torch.where(number % 64 == 0, -top, number % (2 * top - 1) - top + 1).view(shape).to(container(fmt))


def _pairs(fmt: Posit, rows: int, terms: int, columns: int) -> tuple[Tensor, Tensor]:
    """Operands whose terms cancel but for the last one, and some NaR."""
    half = terms // 2
    a, b = _patterns(fmt, rows, half), _patterns(fmt, columns, half)
    last = torch.ones(rows, 1, dtype=a.dtype, device="cpu"), torch.ones(columns, 1, dtype=b.dtype, device="cpu")
    nar = torch.arange(rows, device="cpu")[:, None] % 9 == 0
    a = torch.where((a == fmt.nar) & ~nar, 1, a).to(a.dtype)
    b = torch.where(b == fmt.nar, 3, b).to(b.dtype)
    return torch.cat([a, -a, last[0]], 1), torch.cat([b, b, last[1]], 1).mT


_REST: tuple[Any, ...] = "rounded", 1.0, 0.0, 8


def examples() -> Iterator[tuple[Any, ...]]:
    """Sums that cancel but for minpos squared, sums beside ties, NaR; by residues, and by registers."""
    for n in (8, 16, 32):
        fmt = Posit(n)
        a, b = _pairs(fmt, 5, 41, 7)
        yield a, b, None, n, 2, MODE, None, *_REST
        yield a, b, _patterns(fmt, 5, 7), n, 2, MODE, torch.float64, *_REST
    for n in (8, 16):
        a, b = _pairs(Posit(n), 128, 129, 129)
        yield a, b, _patterns(Posit(n), 128, 129), n, 2, MODE, None, *_REST
    k = torch.arange(128 * 128, dtype=torch.float32, device="cpu").view(128, 128)
    yield torch.sin(k), torch.cos(k).mT, None, 16, 2, MODE, torch.float32, *_REST
    yield torch.sin(k).double(), torch.cos(k).double().mT, None, 32, 2, MODE, torch.float64, *_REST


def dot_examples() -> Iterator[tuple[Any, ...]]:
    """The same for dot products."""
    for n in (8, 16, 32):
        a, b = _pairs(Posit(n), 6, 1001, 6)
        yield a, b.mT, n, 2


FORMS = residues.BY_WARPS, residues.BY_WARPGROUPS
KERNELS = SURVEY, RESIDUES, *(form.kernel for form in FORMS), RECONSTRUCT, *ADD.values(), *ROUND.values()
OPERATIONS = (
    Operation("posit_mm", posit_mm_reference, posit_mm, covered, KERNELS, examples),
    Operation("quire_dot", quire_dot_reference, quire_dot, dot_covered, KERNELS, dot_examples),
)
