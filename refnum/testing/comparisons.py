"""What differs between two tensors, piece by piece: pieces with the same bits are passed over."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, check_tensor, check_values
from ..errors import DTypeError, ShapeError
from ..fast.chunks import pieces
from ..mx.blocks import Blocks
from ..mx.dequantizer import dequantize
from .dyadics import to_float
from .reports import STEPS, UNIT, BlocksReport, Difference, Element, Report, width
from .ulp import Codes, Places, Row, check_row, comparable, steps

PIECE = 1 << 17  #: stored elements compared at a time: some ten int64 temporaries of 1 MiB, or 2 MiB of packed codes
WORST = 4  #: how many of the worst elements are shown, besides the first

Found = Report | BlocksReport | tuple[Difference, ...] | None
Operands = tuple[Tensor | Blocks, ...]


def compare(
    function: str,
    got: Tensor | Blocks,
    want: Tensor | Blocks,
    allowed: int | None,
    *,
    fmt: Row | None = None,
    packed: bool = False,
    operands: Operands | None = None,
) -> Found:
    """A report, or the properties in which the two differ so that they cannot be compared; None where all is well."""
    if isinstance(got, Blocks) and isinstance(want, Blocks):
        return _compare_blocks(function, got, want, allowed)
    for name, x in (("got", got), ("want", want)):
        check_tensor(function, name, x)
    assert isinstance(got, Tensor)
    assert isinstance(want, Tensor)
    check_row(function, fmt)
    properties = (
        ("shape", tuple(got.shape), tuple(want.shape)),
        ("dtype", got.dtype, want.dtype),
        ("device", got.device, want.device),
    )
    if differences := _differences(properties):
        return differences
    a, b = comparable(function, got, want, fmt, packed)
    if operands is not None:
        _check_operands(function, got, operands)
    return examine(a, b, allowed, got.dtype, operands=operands)


def _compare_blocks(function: str, got: Blocks, want: Blocks, allowed: int | None) -> Found:
    properties = (
        ("format", got.fmt, want.fmt),
        ("shape", tuple(got.shape), tuple(want.shape)),
        ("axis", got.axis, want.axis),
        ("tensor_scale", _factor(got), _factor(want)),
        ("device", got.elements.device, want.elements.device),
    )
    if differences := _differences(properties):
        return differences
    fmt, scale = got.fmt, None if got.scales.dtype in FLOAT_ROWS else got.fmt.scale
    scales = comparable(function, got.scales, want.scales, scale, False)
    found = [
        None if torch.equal(got.elements, want.elements) else _compare_elements(function, got, want, allowed),
        examine(*scales, None if allowed is None else 0, got.scales.dtype),
    ]
    return BlocksReport(allowed, fmt, tuple(got.shape), got.axis, *found) if any(found) else None


def _compare_elements(function: str, got: Blocks, want: Blocks, allowed: int | None) -> Report | None:
    codes = comparable(function, got.codes, want.codes, got.fmt.element, False)
    return examine(*codes, allowed, got.codes.dtype, block=_extents(got))


def _factor(blocks: Blocks) -> str | None:
    """The tensor's scale as text, in which NaN equals NaN and the zeros differ."""
    return None if blocks.tensor_scale is None else str(float(blocks.tensor_scale))


def _extents(blocks: Blocks) -> tuple[int, ...]:
    """The size of a block along each axis."""
    rows, columns = blocks.fmt.tile
    sizes = [1] * len(blocks.shape)
    if rows > 1:
        sizes[-2] = rows
    sizes[blocks.axis] = columns
    return tuple(sizes)


def _differences(properties: Sequence[tuple[str, object, object]]) -> tuple[Difference, ...]:
    return tuple(Difference(*row) for row in properties if row[1] != row[2])


# ---- what differs ----------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What is kept of the pieces seen so far."""

    shape: torch.Size
    histogram: Tensor
    seen: int = 0
    mismatched: int = 0
    nans: int = 0
    first: int = 0  #: the place of the first mismatch, in row-major order
    worst: list[tuple[int, int]] = field(default_factory=list)  #: distance, and the place negated: of equals the first
    bounds: tuple[tuple[int, int], ...] = ()

    def pass_over(self, count: int) -> None:
        """Count so many elements that have the same bits."""
        self.histogram[0] += count
        self.seen += count

    def add(self, apart: Tensor, bad: Tensor, nan: Tensor) -> None:
        """Add the piece that follows."""
        self.histogram += torch.bincount(apart.clamp(max=STEPS), minlength=STEPS + 1).cpu()
        where = bad.nonzero().view(-1)
        if where.numel():
            self._add_mismatches(apart[where], where + self.seen)
            self.nans += int(nan.sum())
        self.seen += apart.numel()

    def _add_mismatches(self, apart: Tensor, where: Tensor) -> None:
        axes = torch.unravel_index(where, self.shape)
        bounds = [(int(axis.min()), int(axis.max())) for axis in axes]
        if self.mismatched:
            bounds = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(self.bounds, bounds, strict=True)]
        else:
            self.first = int(where[0])
        self.bounds = tuple(bounds)
        self.mismatched += where.numel()
        order = apart.argsort(descending=True, stable=True)[:WORST]
        candidates = zip(apart[order].tolist(), (-where[order]).tolist(), strict=True)
        self.worst = heapq.nlargest(WORST, (*self.worst, *candidates))


def examine(
    got: Codes,
    want: Codes,
    allowed: int | None,
    dtype: torch.dtype,
    *,
    block: tuple[int, ...] = (),
    operands: Operands | None = None,
) -> Report | None:
    """A report of the elements that differ by more than allowed, None when there are none."""
    tally = _Tally(got.shape, torch.zeros(STEPS + 1, dtype=torch.int64, device="cpu"))
    stored = [_bits(x.tensor) for x in (got, want)]
    axes = stored[0].shape or torch.Size([1])
    for piece in pieces(axes, PIECE):  # stretches of the row-major order, one after the other
        inside = piece if got.shape else ()
        a, b = (x[inside] for x in stored)
        if torch.equal(a, b):
            tally.pass_over(a.numel() * (2 if got.packed else 1))
            continue
        x, y = got.places(inside), want.places(inside)
        apart = steps(x, y)
        tally.add(apart, apart > allowed if allowed is not None else _unequal(x, y), x.nan ^ y.nan)
    if not tally.mismatched:
        return None
    ratios = None if operands is None else _ratios(got.tensor, want.tensor, operands)
    chosen = dict.fromkeys((tally.first, *(-place for _, place in tally.worst)))
    return Report(
        allowed=allowed,
        shape=tuple(got.shape),
        dtype=dtype,
        fmt=got.row,
        mismatched=tally.mismatched,
        total=tally.seen,
        worst=tally.worst[0][0],
        elements=tuple(_element(got, want, place, ratios) for place in chosen),
        histogram=tuple(tally.histogram.tolist()),
        nans=tally.nans,
        bounds=tally.bounds,
        of_sum=None if ratios is None else float(ratios.max()),
        block=block,
    )


def _bits(x: Tensor) -> Tensor:
    """Floating-point values as integers, which compare by their bits."""
    return x.detach().view(SIGNED[x.dtype.itemsize * 8]) if x.dtype in FLOAT_ROWS else x


def _unequal(x: Places, y: Places) -> Tensor:
    return (x.code != y.code) & ~(x.nan & y.nan)


def _element(got: Codes, want: Codes, place: int, ratios: Tensor | None) -> Element:
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place, device="cpu"), got.shape))
    x, y = (_place_at(codes, index) for codes in (got, want))
    row, mask = FLOAT_ROWS.get(got.tensor.dtype, got.row), (1 << width(got.tensor.dtype, got.row)) - 1
    (a, a_value), (b, b_value) = ((int(p.code) & mask, _value(p, mask, row)) for p in (x, y))
    ulp = int(steps(x, y)) * (-1 if int(x.place) < int(y.place) else 1)
    return Element(index, a, b, a_value, b_value, ulp, None if ratios is None else float(ratios[index]))


def _place_at(codes: Codes, index: tuple[int, ...]) -> Places:
    if not codes.packed:
        return codes.places(index)
    *before, last = index
    return Places(*(part[last % 2] for part in codes.places((*before, last // 2))))


def _value(place: Places, mask: int, row: Row | None) -> float | int:
    return int(place.place) if row is None else to_float(int(place.code) & mask, row)


# ---- products --------------------------------------------------------------------------------------------------------


def _check_operands(function: str, got: Tensor, operands: object) -> None:
    if not isinstance(operands, (tuple, list)) or len(operands) not in (2, 3):
        count = f" of {len(operands)}" if isinstance(operands, (tuple, list)) else ""
        raise DTypeError(
            f"{function} needs the operands of a product, got {type(operands).__name__}{count}. Allowed are (a, b) and "
            "(a, b, bias). Pass what was multiplied, as tensors or mx.Blocks."
        )
    for name, x in zip(("a", "b", "bias"), operands, strict=False):
        if not isinstance(x, Blocks):
            check_tensor(function, name, x)
            check_values(function, name, x)
    if got.dtype not in FLOAT_ROWS:
        raise DTypeError(
            f"{function} knows errors relative to sum|a||b| only of floating-point results, got {got.dtype}. Leave "
            "operands out, or decode the results first."
        )
    shapes = [_values(x, transposed=i == 1).shape for i, x in enumerate(operands)]
    try:
        meta = [torch.empty(shape, device="meta") for shape in shapes]
        fits = sum(meta[2:], torch.matmul(*meta[:2])).shape == got.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{function} needs operands whose product has the shape of got, {tuple(got.shape)}, got "
            f"{' and '.join(str(tuple(shape)) for shape in shapes)}. Pass what was multiplied."
        )


def _values(x: Tensor | Blocks, *, transposed: bool) -> Tensor:
    """Magnitudes as float64; the second operand of blocks is [.., N, K]."""
    if not isinstance(x, Blocks):
        return x.detach().to(torch.float64).abs()
    values = dequantize(x, torch.float64).abs()
    return values.mT if transposed else values


def _ratios(got: Tensor, want: Tensor, operands: Operands) -> Tensor:
    """Errors in units of 2**-24 of sum|a||b|; 0 where there is none or one of the two is not finite."""
    a, b, *bias = (_values(x, transposed=i == 1) for i, x in enumerate(operands))
    sums = torch.matmul(a, b)
    for x in bias:
        sums = sums + x
    error = (got.detach().to(torch.float64) - want.detach().to(torch.float64)).abs()
    return (error / sums / UNIT).masked_fill((error == 0) | ~error.isfinite(), 0.0)
