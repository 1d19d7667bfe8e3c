"""Comparisons that fail with a table: which elements differ, in which bits, and by how many ULP."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, check_format, check_tensor
from ..errors import ContractError, MismatchError
from ..fast.chunks import pieces
from ..formats import Format
from .dyadics import to_float
from .ulp import FARTHEST, check_comparable, places, row_of, steps

PIECE = 1 << 17  #: elements compared at a time: some ten int64 temporaries of 1 MiB
WORST = 4  #: how many of the worst elements are shown, besides the first
STEPS = 4  #: distances from here on share the last bin of the histogram


@dataclass(frozen=True, slots=True)
class Difference:
    """A property in which two tensors differ, so that their elements were not compared."""

    name: str  #: shape, dtype or device
    got: object
    want: object


@dataclass(frozen=True, slots=True)
class Element:
    """One element that differs."""

    index: tuple[int, ...]
    got_bits: int  #: not negative
    want_bits: int
    got: float | int
    want: float | int
    ulp: int  #: how far got lies above want; 2**63 - 1 between a NaN and a number

    @property
    def nan(self) -> bool:
        """Whether one of the two, and only one, is NaN."""
        return math.isnan(self.got) != math.isnan(self.want)


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison found. Its text is the message of the MismatchError that carries it."""

    allowed: int | None  #: ULP; None where equal bits were asked for
    shape: tuple[int, ...]
    dtype: torch.dtype
    fmt: Format | None
    mismatched: int  #: how many elements differ by more than allowed
    total: int
    worst: int  #: the largest distance in ULP
    elements: tuple[Element, ...]  #: the first that differs, then the worst ones
    histogram: tuple[int, ...]  #: how many elements are 0, 1, 2, 3, and 4 or more ULP apart
    nans: int  #: how many of the last bin are a NaN against a number
    bounds: tuple[tuple[int, int], ...]  #: the first and the last place of a mismatch along each axis

    def __str__(self) -> str:
        return "\n".join((self._headline(), f"  {self._facts()}", *self._table(), f"  {self._spread()}"))

    def _headline(self) -> str:
        return f"got is not {'bit-equal to' if self.allowed is None else f'within {self.allowed} ULP of'} want"

    def _facts(self) -> str:
        name = f"  format {self.fmt}" if self.fmt else ""
        share = f"{self.mismatched:,} of {self.total:,} ({self.mismatched / self.total:.2%})".replace("%", " %")
        worst = "NaN against a number" if self.nans else f"{self.worst:,} ULP"
        return f"shape {self.shape}  dtype {self.dtype}{name}  mismatched {share}  worst {worst}"

    def _table(self) -> Iterator[str]:
        header = ("index", "got bits", "want bits", "got", "want", "ULP")
        rows = [header, *(self._row(element) for element in self.elements)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for index, *cells in rows:
            right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            yield "  " + "   ".join((index.ljust(widths[0]), *right))

    def _row(self, x: Element) -> tuple[str, ...]:
        width, digits = _width(self.dtype, self.fmt), _digits(FLOAT_ROWS.get(self.dtype, self.fmt))
        hexadecimal = (f"{bits:#0{2 + -(-width // 4)}x}" for bits in (x.got_bits, x.want_bits))
        decimal = (str(v) if isinstance(v, int) else f"{v:.{digits}g}" for v in (x.got, x.want))
        return (str(list(x.index)), *hexadecimal, *decimal, "NaN" if x.nan else f"{x.ulp:+d}")

    def _spread(self) -> str:
        bins = (*(f"{i}: " for i in range(STEPS)), f">={STEPS}: ")
        counts = "  ".join(f"{name}{count:,}" for name, count in zip(bins, self.histogram, strict=True))
        places = ", ".join(
            f"{name} {first}..{last}" for name, (first, last) in zip(_axes(len(self.shape)), self.bounds, strict=True)
        )
        nans = f"  NaN: {self.nans:,}" if self.nans else ""
        return f"ULP    {counts}{nans}     {places}".rstrip()


def assert_bit_equal(got: Tensor, want: Tensor, *, fmt: Format | None = None) -> None:
    """Nothing when two tensors have the same bits, else an error with a table of what differs.

    >>> assert_bit_equal(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, -torch.nan]))
    >>> assert_bit_equal(torch.tensor([0.0]), torch.tensor([-0.0]))
    Traceback (most recent call last):
        ...
    refnum.errors.MismatchError: got is not bit-equal to want
      shape (1,)  dtype torch.float32  mismatched 1 of 1 (100.00 %)  worst 0 ULP
      index     got bits    want bits   got   want   ULP
      [0]     0x00000000   0x80000000     0     -0    +0
      ULP    0: 1  1: 0  2: 0  3: 0  >=4: 0     places 0..0

    Parameters
    ----------
    got, want : Tensor
        Floating-point values, integers, bools, or codes of ``fmt``, of one shape, dtype and device.
    fmt : Posit or Minifloat, optional
        The format of integer codes: the table then shows their values.

    Raises
    ------
    MismatchError
        When they differ; its ``report`` is a `Report`, or a tuple of `Difference` where shape, dtype or device differ.
    DTypeError
        When they cannot be compared.

    Exactness: bit-exact.
    Rounding: none.
    Special: all NaNs are equal, +0 and -0 are not.
    Standard: none.
    Cost: O(numel) time, 16 MB.
    """
    _compare("assert_bit_equal", got, want, None, fmt)


def assert_ulp(got: Tensor, want: Tensor, *, ulp: int, fmt: Format | None = None) -> None:
    """Nothing when two tensors are close in every element, else an error with a table of those that are not.

    >>> assert_ulp(torch.tensor([1.0]), torch.tensor([1.0 + 2**-22]), ulp=2)
    >>> assert_ulp(torch.tensor([[0x40], [0x01]]), torch.tensor([[0x44], [0x01]]), ulp=1, fmt=Posit(8))
    Traceback (most recent call last):
        ...
    refnum.errors.MismatchError: got is not within 1 ULP of want
      shape (2, 1)  dtype torch.int64  format posit8  mismatched 1 of 2 (50.00 %)  worst 4 ULP
      index    got bits   want bits   got   want   ULP
      [0, 0]       0x40        0x44     1    1.5    -4
      ULP    0: 1  1: 0  2: 0  3: 0  >=4: 1     rows 0..0, columns 0..0

    Parameters
    ----------
    got, want : Tensor
        Floating-point values, integers, bools, or codes of ``fmt``, of one shape, dtype and device.
    ulp : int
        How far apart two elements may be, as `ulp_distance` counts.
    fmt : Posit or Minifloat, optional
        The format of integer codes.

    Raises
    ------
    MismatchError
        When they differ; its ``report`` is a `Report`, or a tuple of `Difference` where shape, dtype or device differ.
    ContractError
        When ``ulp`` is no whole number of 0 or more.
    DTypeError
        When they cannot be compared.

    Exactness: bit-exact.
    Rounding: none.
    Special: all NaNs are equal, so are +0 and -0; a NaN and a number are never close.
    Standard: none.
    Cost: O(numel) time, 16 MB.
    """
    if isinstance(ulp, bool) or not isinstance(ulp, int) or not 0 <= ulp < FARTHEST:
        raise ContractError(
            f"assert_ulp cannot allow ulp={ulp!r}. Allowed is an int from 0 to 2**63 - 2. Use 0 for equal values."
        )
    _compare("assert_ulp", got, want, ulp, fmt)


def _compare(function: str, got: Tensor, want: Tensor, allowed: int | None, fmt: Format | None) -> None:
    for name, x in (("got", got), ("want", want)):
        check_tensor(function, name, x)
    if fmt is not None:
        check_format(function, fmt)
    if differences := _differences(got, want):
        facts = ", and in ".join(f"{d.name}: got {d.got}, want {d.want}" for d in differences)
        names = " and ".join(d.name for d in differences)
        raise MismatchError(
            f"got and want differ in {facts}. Only tensors of one shape, dtype and device are compared. "
            f"Give both the same {names}.",
            report=differences,
        )
    check_comparable(function, got, want, fmt)
    if report := _examine(got, want, allowed, fmt):
        raise MismatchError(str(report), report=report)


def _differences(got: Tensor, want: Tensor) -> tuple[Difference, ...]:
    properties = (
        ("shape", tuple(got.shape), tuple(want.shape)),
        ("dtype", got.dtype, want.dtype),
        ("device", got.device, want.device),
    )
    return tuple(Difference(name, a, b) for name, a, b in properties if a != b)


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


def _examine(got: Tensor, want: Tensor, allowed: int | None, fmt: Format | None) -> Report | None:
    """A report of the elements that differ by more than allowed, None when there are none."""
    tally = _Tally(got.shape, torch.zeros(STEPS + 1, dtype=torch.int64, device="cpu"))
    a, b = (got, want) if got.dim() else (got.view(1), want.view(1))
    for piece in pieces(a.shape, PIECE):  # stretches of the row-major order, one after the other
        x, y = (places(t[piece].reshape(-1), fmt) for t in (a, b))
        apart = steps(x, y)
        bad = apart > allowed if allowed is not None else (x.code != y.code) & ~(x.nan & y.nan)
        tally.add(apart, bad, x.nan ^ y.nan)
    if not tally.mismatched:
        return None
    chosen = dict.fromkeys((tally.first, *(-place for _, place in tally.worst)))
    return Report(
        allowed=allowed,
        shape=tuple(got.shape),
        dtype=got.dtype,
        fmt=fmt,
        mismatched=tally.mismatched,
        total=tally.seen,
        worst=tally.worst[0][0],
        elements=tuple(_element(got, want, place, fmt) for place in chosen),
        histogram=tuple(tally.histogram.tolist()),
        nans=tally.nans,
        bounds=tally.bounds,
    )


def _element(got: Tensor, want: Tensor, place: int, fmt: Format | None) -> Element:
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place, device="cpu"), got.shape))
    row, mask = row_of(got, fmt), (1 << _width(got.dtype, fmt)) - 1
    x, y = (places(t[index], fmt) for t in (got, want))
    (a, a_value), (b, b_value) = (
        (int(p.code) & mask, int(p.place) if row is None else to_float(int(p.code) & mask, row)) for p in (x, y)
    )
    ulp = int(steps(x, y)) * (-1 if int(x.place) < int(y.place) else 1)
    return Element(index, a, b, a_value, b_value, ulp)


# ---- the table -------------------------------------------------------------------------------------------------------


def _width(dtype: torch.dtype, fmt: Format | None) -> int:
    return fmt.width if fmt is not None else dtype.itemsize * 8


def _digits(row: Format | None) -> int:
    """Decimal digits that tell the values of a format apart, as far as a Python float can."""
    bits = row.significand_bits if row is not None else 53
    return min(17, math.ceil(1 + bits * math.log10(2)))


def _axes(count: int) -> tuple[str, ...]:
    names = ("rows", "columns") if count > 1 else ("places",)
    return tuple(f"axis {i}" for i in range(count - len(names))) + names[:count]
