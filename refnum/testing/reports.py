"""What a comparison found, as facts and as the text of the error: which elements differ, in which bits, by how much."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..boundary import FLOAT_ROWS
from ..formats import Block
from .ulp import Row

STEPS = 4  #: distances from here on share the last bin of the histogram
BINS = (*map(str, range(STEPS)), f">={STEPS}")
UNIT = 2.0**-24  #: of errors relative to sum|a||b|: what one rounding to float32 may add


@dataclass(frozen=True, slots=True)
class Difference:
    """A property in which two tensors differ, so that their elements were not compared."""

    name: str  #: shape, dtype, device; of blocks also format, axis and tensor_scale
    got: object
    want: object

    def __str__(self) -> str:
        return f"{self.name}: got {self.got}, want {self.want}"

    def as_dict(self) -> dict[str, Any]:
        """The facts for JSON."""
        return {"property": self.name, "got": str(self.got), "want": str(self.want)}


@dataclass(frozen=True, slots=True)
class Element:
    """One element that differs."""

    index: tuple[int, ...]
    got_bits: int  #: not negative
    want_bits: int
    got: float | int
    want: float | int
    ulp: int  #: how far got lies above want; 2**63 - 1 between a NaN and a number
    of_sum: float | None = None  #: of a product: the error in units of 2**-24 of sum|a||b|

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
    fmt: Row | None
    mismatched: int  #: how many elements differ by more than allowed
    total: int
    worst: int  #: the largest distance in ULP
    elements: tuple[Element, ...]  #: the first that differs, then the worst ones
    histogram: tuple[int, ...]  #: how many elements are 0, 1, 2, 3, and 4 or more ULP apart
    nans: int  #: how many of the last bin are a NaN against a number
    bounds: tuple[tuple[int, int], ...]  #: the first and the last place of a mismatch along each axis
    of_sum: float | None = None  #: of a product: the largest error of all, as in `Element`
    block: tuple[int, ...] = ()  #: of elements of blocks: the size of a block along each axis

    def __str__(self) -> str:
        return "\n".join((_headline(self.allowed), *self.lines()))

    def lines(self) -> Iterator[str]:
        """All that follows the headline."""
        yield f"  {self.facts}"
        if self.of_sum is not None:
            yield f"  error at most {_relative(self.of_sum)} of sum|a||b|"
        yield from aligned((self.header, *self.rows()))
        yield f"  {self.spread}"

    @property
    def facts(self) -> str:
        """Shape, dtype, counts and the largest distance."""
        name = f"  format {self.fmt}" if self.fmt else ""
        share = f"{self.mismatched:,} of {self.total:,} ({self.mismatched / self.total:.2%})".replace("%", " %")
        return f"shape {self.shape}  dtype {self.dtype}{name}  mismatched {share}  worst {self.farthest}"

    @property
    def farthest(self) -> str:
        """The largest distance in words."""
        return "NaN against a number" if self.nans else f"{self.worst:,} ULP"

    @property
    def header(self) -> tuple[str, ...]:
        """The names of what `rows` has."""
        product = () if self.of_sum is None else ("of sum|a||b|",)
        return ("index", "got bits", "want bits", "got", "want", "ULP", *product)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The elements as cells of a table."""
        for x in self.elements:
            product = () if x.of_sum is None else (_relative(x.of_sum),)
            ulp = "NaN" if x.nan else f"{x.ulp:+d}"
            yield (self._place(x.index), *self._hexadecimal(x), *self._decimal(x), ulp, *product)

    @property
    def spread(self) -> str:
        """The histogram, and where the mismatches lie."""
        counts = "  ".join(f"{name}: {count:,}" for name, count in zip(BINS, self.histogram, strict=True))
        places = ", ".join(
            f"{name} {first}..{last}" for name, (first, last) in zip(_axes(len(self.shape)), self.bounds, strict=True)
        )
        nans = f"  NaN: {self.nans:,}" if self.nans else ""
        return f"ULP    {counts}{nans}     {places}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """The facts for JSON: bits in hexadecimal, values as text, since JSON has no NaN."""
        return {
            "allowed": self.allowed,
            "shape": list(self.shape),
            "dtype": str(self.dtype).removeprefix("torch."),
            "format": None if self.fmt is None else str(self.fmt),
            "mismatched": self.mismatched,
            "total": self.total,
            "worst": self.worst,
            "nans": self.nans,
            "histogram": dict(zip(BINS, self.histogram, strict=True)),
            "bounds": [list(ends) for ends in self.bounds],
            "elements": [
                {"index": list(x.index), "ulp": x.ulp}
                | dict(zip(("got_bits", "want_bits"), self._hexadecimal(x), strict=True))
                | dict(zip(("got", "want"), self._decimal(x), strict=True))
                for x in self.elements
            ],
        }

    def _place(self, index: tuple[int, ...]) -> str:
        if not self.block:
            return str(list(index))
        return f"{list(index)} in block {[i // size for i, size in zip(index, self.block, strict=True)]}"

    def _hexadecimal(self, x: Element) -> tuple[str, ...]:
        digits = -(-width(self.dtype, self.fmt) // 4)
        return tuple(f"{bits:#0{2 + digits}x}" for bits in (x.got_bits, x.want_bits))

    def _decimal(self, x: Element) -> tuple[str, ...]:
        digits = _digits(FLOAT_ROWS.get(self.dtype, self.fmt))
        return tuple(str(v) if isinstance(v, int) else f"{v:.{digits}g}" for v in (x.got, x.want))


@dataclass(frozen=True, slots=True)
class BlocksReport:
    """What a comparison of two tensors in a block format found: elements and scales apart."""

    allowed: int | None  #: ULP of elements; scales must be equal
    fmt: Block
    shape: tuple[int, ...]
    axis: int
    elements: Report | None  #: None where nothing differs
    scales: Report | None  #: its indices are those of blocks

    def __str__(self) -> str:
        lines = [_headline(self.allowed), f"  {self.fmt}  shape {self.shape}  axis {self.axis}"]
        close = "equal" if self.allowed is None else f"within {self.allowed} ULP"
        for name, part, well in (("elements", self.elements, close), ("scales", self.scales, "equal")):
            lines += [f"{name}: {well}"] if part is None else [f"{name}:", *part.lines()]
        return "\n".join(lines)


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lines of a table: the first column to the left, the others to the right.

    >>> print(*aligned([("index", "ULP"), ("[0]", "+10")]), sep="|")
      index   ULP|  [0]     +10
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *cells in rows:
        right = (cell.rjust(size) for cell, size in zip(cells, widths[1:], strict=True))
        yield "  " + "   ".join((first.ljust(widths[0]), *right)).rstrip()


def width(dtype: torch.dtype, fmt: Row | None) -> int:
    """Bits of an element."""
    return fmt.width if fmt is not None else dtype.itemsize * 8


def _headline(allowed: int | None) -> str:
    return f"got is not {'bit-equal to' if allowed is None else f'within {allowed} ULP of'} want"


def _digits(row: Row | None) -> int:
    """Decimal digits that tell the values of a format apart, as far as a Python float can."""
    bits = row.significand_bits if row is not None else 53
    return min(17, math.ceil(1 + bits * math.log10(2)))


def _relative(of_sum: float) -> str:
    return f"{of_sum:.2g} x 2^-24" if of_sum < 100 else f"{of_sum:.3g} x 2^-24"


def _axes(count: int) -> tuple[str, ...]:
    names = ("rows", "columns") if count > 1 else ("places",)
    return tuple(f"axis {i}" for i in range(count - len(names))) + names[:count]
