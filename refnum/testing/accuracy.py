"""Kernels that may add in any order: an error where no order explains a result, with a table of those results."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary import broadcast_shape, check_choice, check_tensor, check_values
from ..errors import DTypeError, MismatchError, ShapeError
from ..fast.chunks import pieces
from ..sums.operands import placed_bias, widened
from .bounds import ACCUMULATORS, Judged, Product, in_float64, judge

RESULTS = (torch.float32, torch.bfloat16, torch.float16)
BOUNDS = ("likely", "proven")
PIECE = 1 << 17  #: results that are judged at a time: some fifteen float64 temporaries of 1 MiB
SHOWN = 4  #: results that a report shows
ALIKE = 2.0**-10  #: an error is a term but for so much of it


@dataclass(frozen=True, slots=True)
class Suspect:
    """A result with an error that is too large."""

    index: tuple[int, ...]
    got: float
    exact: float
    error: float  #: in units of u sum|a b|, as the next one
    allowed: float


@dataclass(frozen=True, slots=True)
class Accusation:
    """What `assert_any_order` found. Its text is the message of the MismatchError that carries it."""

    bound: str
    accumulator: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    terms: int  #: of a sum, the bias included
    accused: int
    total: int
    suspects: tuple[Suspect, ...]  #: those furthest beyond what is allowed
    hint: str  #: what their errors look like, if anything

    def __str__(self) -> str:
        return "\n".join((self._headline(), f"  {self._facts()}", *self._table(), f"  {self._unit()}", *self._remedy()))

    def _headline(self) -> str:
        certainty = "is no" if self.bound == "proven" else "is not likely to be a"
        return f"got {certainty} sum of the products, whatever the order (accumulator {self.accumulator})"

    def _facts(self) -> str:
        share = f"{self.accused:,} of {self.total:,} ({self.accused / self.total:.2%})".replace("%", " %")
        return f"shape {self.shape}  dtype {self.dtype}  terms {self.terms:,}  beyond bound={self.bound!r} {share}"

    def _table(self) -> Iterator[str]:
        header = ("index", "got", "exact", "error", "allowed")
        rows = [header, *(self._row(x) for x in self.suspects)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for index, *cells in rows:
            right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
            yield "  " + "   ".join((index.ljust(widths[0]), *right))

    @staticmethod
    def _row(x: Suspect) -> tuple[str, ...]:
        return (str(list(x.index)), f"{x.got:.9g}", f"{x.exact:.9g}", f"{x.error:.4g}", f"{x.allowed:.4g}")

    def _unit(self) -> str:
        power = math.frexp(ACCUMULATORS[self.accumulator].u)[1] - 1
        return f"errors in units of u sum|a b|, u = 2**{power}{self.hint and f'; {self.hint}'}"

    def _remedy(self) -> Iterator[str]:
        if self.bound == "likely":
            yield "  A right kernel seldom goes so far, unless terms repeat; bound='proven' never accuses one."


def assert_any_order(
    got: Tensor,
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    accumulator: str = "float32",
    bound: str = "likely",
) -> None:
    """Nothing when a kernel's ``a @ b + bias`` may be a sum in some order, else an error with a table of what is not.

    >>> a, b = torch.tensor([[3.0, 1e8, 0.25, -1e8]]), torch.ones(4, 1)
    >>> assert_any_order(torch.tensor([[3.25]]), a, b)
    >>> assert_any_order(torch.tensor([[0.0]]), a, b)  # 3 + 1e8 + 0.25 - 1e8, from left to right
    >>> assert_any_order(torch.tensor([[100.0]]), a, b, bound="proven")
    Traceback (most recent call last):
        ...
    refnum.errors.MismatchError: got is no sum of the products, whatever the order (accumulator float32)
      shape (1, 1)  dtype torch.float32  terms 4  beyond bound='proven' 1 of 1 (100.00 %)
      index    got   exact   error   allowed
      [0, 0]   100    3.25   8.116         4
      errors in units of u sum|a b|, u = 2**-24

    Parameters
    ----------
    got : Tensor
        What the kernel gave: float32, bfloat16 or float16, of the shape of torch.matmul(a, b).
    a, b : Tensor
        Its operands: float32, bfloat16, float16 or torch's float8 dtypes; shapes as torch.matmul.
    bias : Tensor, optional
        float32, bfloat16 or float16 that broadcasts to the result; one more term.
    accumulator : str
        How the kernel rounds partial sums: ``float32``, ``float16`` or ``bfloat16`` to nearest, or ``truncating``:
        float32, towards zero, and so is the result then; or a tensor core by the name of its contract, as
        ``tc.hopper.bf16/v1``, in whatever order it takes its blocks.
    bound : str
        ``proven``: an error is a proof that no order of additions gives such a result, fused with products or not.
        ``likely``: an error says that the roundings would have to conspire; K large, it sees what is far too small for
        a proof. It can accuse a right kernel: where many terms are equal, and round alike.

    Raises
    ------
    MismatchError
        When a result is beyond the bound; its ``report`` is an `Accusation`.
    DTypeError
        When a tensor is not of the dtypes above, or has no values to read.
    ShapeError
        When shapes do not match or broadcast.
    ContractError
        When there is no such accumulator or bound.

    Exactness: errors are those against exact/v1. Proven: ((1 + u)**n - 1) sum|a b|, at most gamma_n sum|a b|, for n = K
        and one more with a bias; and half a unit of a result that is narrower than the accumulators. Likely: at most
        6 sqrt(n) u sum|a b|; less where sums cancel, where one result stands out, and where K is 4096 or more and
        2**17 results or fewer err together (``refnum.testing.bounds`` has the argument).
    Rounding: to nearest but for ``truncating`` and tensor cores, whose two bounds are one: errors to one side add up.
    Special: NaN and Inf must be where IEEE 754 puts them in every order; where partial sums may overflow either will
        do. Subnormals count: a kernel that flushes them fails where that can be seen. The sign of zeros does not.
    Standard: Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1; Higham and Mary (2019).
    Cost: that of exact/v1 and two float64 products; memory for b in float64 twice, and 16 MB.
    """
    check_choice("assert_any_order", "accumulator", accumulator, ACCUMULATORS)
    check_choice("assert_any_order", "bound", bound, BOUNDS)
    product = _product(got, a, b, bias, ACCUMULATORS[accumulator].operands)
    tally = _Tally()
    for place in pieces(product.got.shape[:-1], max(1, PIECE // max(1, product.got.shape[-1]))):
        tally.add(judge(product.piece(place), ACCUMULATORS[accumulator], bound))
    if tally.accused:
        report = _report(got, product, tally, accumulator, bound)
        raise MismatchError(str(report), report=report)


# ---- checks ------------------------------------------------------------------------------------------------------


def _product(got: Tensor, a: Tensor, b: Tensor, bias: Tensor | None, operands: tuple[torch.dtype, ...]) -> Product:
    """The checked tensors on the CPU, as a batch of matrices."""
    given = {"got": (got, RESULTS), "a": (a, operands), "b": (b, operands), "bias": (bias, RESULTS)}
    for name, (x, allowed) in given.items():
        if name != "bias" or bias is not None:
            _check(name, x, allowed)
    shape, want = _shapes(a, b)
    if got.shape != want:
        raise ShapeError(
            f"assert_any_order got a result of shape {tuple(got.shape)} from operands {tuple(a.shape)} and "
            f"{tuple(b.shape)}, whose product has {tuple(want)}. Allowed is that. Pass the operands of this result."
        )
    if bias is not None:
        bias = placed_bias("assert_any_order", bias, shape, a.dim(), b.dim()).expand(shape)
    x, y = _values(a[None] if a.dim() == 1 else a), _values(b[:, None] if b.dim() == 1 else b)
    batch, (rows, columns), terms = shape[:-2], shape[-2:], a.shape[-1]
    if y.shape[:-2].numel() == 1:  # one matrix on the right: all rows on the left are rows of one matrix
        count, rows, y = 1, batch.numel() * rows, y.reshape(1, terms, columns)
    else:
        count = batch.numel()
        y = y.expand(*batch, terms, columns).reshape(count, terms, columns)
    return Product(
        got=got.detach().cpu().resolve_neg().reshape(count, rows, columns),
        a=x.expand(*batch, *x.shape[-2:]).reshape(count, rows, terms),
        b=y,
        bias=None if bias is None else _values(bias).reshape(count, rows, columns),
    )


def _check(name: str, x: Any, allowed: tuple[torch.dtype, ...]) -> None:
    check_tensor("assert_any_order", name, x)
    check_values("assert_any_order", name, x)
    if x.dtype not in allowed:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
        raise DTypeError(f"assert_any_order has no {x.dtype} for {name}. Allowed are {names}. Convert it.")


def _shapes(a: Tensor, b: Tensor) -> tuple[torch.Size, torch.Size]:
    """The shape of the product, 1-D operands counted as matrices, and that of torch.matmul."""
    if not a.dim() or not b.dim() or a.shape[-1] != b.shape[max(0, b.dim() - 2)]:
        raise ShapeError(
            f"assert_any_order cannot multiply {tuple(a.shape)} by {tuple(b.shape)}. Allowed are shapes that "
            "torch.matmul takes. Transpose or reshape one."
        )
    batch = broadcast_shape("assert_any_order", a=a.shape[:-2], b=b.shape[:-2])
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.dim() > 1 else ()
    return torch.Size((*batch, *(rows or (1,)), *(columns or (1,)))), torch.Size((*batch, *rows, *columns))


def _values(x: Tensor) -> Tensor:
    return widened(x.detach().cpu().resolve_neg())


# ---- the report --------------------------------------------------------------------------------------------------


class _Candidate(NamedTuple):
    """A result that may be shown; the greatest is the worst, and of equals the first."""

    excess: float
    before: int  #: its place in row-major order, negated
    exact: float
    size: float
    error: float
    allowed: float


@dataclass
class _Tally:
    """What is kept of the pieces seen so far."""

    seen: int = 0
    accused: int = 0
    worst: list[_Candidate] = field(default_factory=list)

    def add(self, judged: Judged) -> None:
        """Add the piece that follows."""
        flat = Judged(*(x.reshape(-1) for x in judged))
        where = (flat.error > flat.allowed).nonzero().view(-1)
        excess = (flat.error / flat.allowed)[where]
        order = excess.argsort(descending=True, stable=True)[:SHOWN]
        first = where[order]
        columns = (excess[order], -(first + self.seen), *(x[first] for x in flat))
        candidates = (_Candidate(*row) for row in zip(*(x.tolist() for x in columns), strict=True))
        self.worst = heapq.nlargest(SHOWN, (*self.worst, *candidates))
        self.accused += len(where)
        self.seen += flat.error.numel()


def _report(got: Tensor, product: Product, tally: _Tally, accumulator: str, bound: str) -> Accusation:
    return Accusation(
        bound=bound,
        accumulator=accumulator,
        shape=tuple(got.shape),
        dtype=got.dtype,
        terms=product.a.shape[-1] + (product.bias is not None),
        accused=tally.accused,
        total=tally.seen,
        suspects=tuple(_suspect(got, x, ACCUMULATORS[accumulator].u) for x in tally.worst),
        hint=_hint(product, tally.worst),
    )


def _suspect(got: Tensor, x: _Candidate, u: float) -> Suspect:
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(-x.before, device="cpu"), got.shape))
    unit = u * x.size or math.nan  # a sum of zeros has none
    return Suspect(index, float(got.detach()[index]), x.exact, x.error / unit, x.allowed / unit)


def _hint(product: Product, worst: list[_Candidate]) -> str:
    """Whether the errors of several results are one term of each."""
    misses, terms = zip(*(_terms(product, x) for x in worst), strict=True)
    for what, factor in (("left out", -1), ("added twice", 1)):
        alike = [(factor * term - miss).abs() <= ALIKE * abs(miss) for miss, term in zip(misses, terms, strict=True)]
        places = torch.stack(alike).all(0).nonzero().view(-1).tolist()
        if len(worst) > 1 and len(places) == 1:
            name = f"k = {places[0]}" if places[0] < product.a.shape[-1] else "the bias"
            return f"{name} seems to be {what}"
    return ""


def _terms(product: Product, x: _Candidate) -> tuple[float, Tensor]:
    """By how much a result misses the exact sum, and the terms of that."""
    i, row, column = torch.unravel_index(torch.tensor(-x.before, device="cpu"), product.got.shape)
    terms = in_float64(product.a[i, row]) * in_float64(product.b[i, :, column])
    if product.bias is not None:
        terms = torch.cat([terms, in_float64(product.bias[i, row, column, None])])
    return float(product.got[i, row, column]) - x.exact, terms
