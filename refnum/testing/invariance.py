"""Functions of rows whose bits must not depend on the company that a row is in: which one moved first, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, INTEGERS, check_choice, check_function, check_tensor, check_values
from ..errors import ContractError, DTypeError, MismatchError, ShapeError
from ..sums.operands import FP8, widened

#: counts of rows about which libraries choose their kernels
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)
THREADS = (1, 2, 3, 4, 8)
FLOATS = (*FLOAT_ROWS, *FP8)
DTYPES = (*FLOATS, *INTEGERS, torch.bool)
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class Movement:
    """The first row that moved. Its text is the message of the MismatchError that carries it."""

    over: str  #: the one of ``over``
    row: int  #: its place among the given ones
    when: str  #: how it was computed
    then: str  #: how it had been computed
    index: tuple[int, ...]  #: of its first result that moved, where it was computed
    got: float | int
    want: float | int
    moved: int  #: how many of its results moved
    total: int

    def __str__(self) -> str:
        return (
            f"row {self.row} has other bits {self.when} than {self.then}\n"
            f"  moved {self.moved:,} of its {self.total:,} results  the first {list(self.index)}  "
            f"got {self.got!r}  want {self.want!r}\n"
            f"  A row may not depend on {self.over}: fix one order of additions for every shape."
        )


def assert_invariant(
    fn: Callable[..., Tensor],
    *args: Any,
    over: Sequence[str] = ("batch", "position", "padding", "chunk", "threads"),
    sizes: Sequence[int] = SIZES,
    threads: Sequence[int] = THREADS,
) -> None:
    """Nothing when each row keeps its bits in whatever company, else an error with the first row that moved, and when.

    >>> from functools import partial
    >>> from refnum import gemm
    >>> a, b = torch.arange(60.0).view(3, 20) / 7, torch.arange(40.0).view(20, 2) / 7
    >>> assert_invariant(partial(gemm, contract="chain/v1"), a, b)
    >>> def by_shape(a, b):
    ...     return gemm(a, b, contract="chain/v1" if len(a) < 32 else "exact/v1")
    >>> assert_invariant(by_shape, a, b, over=["batch"])
    Traceback (most recent call last):
        ...
    refnum.errors.MismatchError: row 0 has other bits in a batch of 32 than alone
      moved 2 of its 2 results  the first [0, 0]  got 100.81632232666016  want 100.81632995605469
      A row may not depend on batch: fix one order of additions for every shape.

    Parameters
    ----------
    fn : callable
        Takes the arguments and returns a tensor that has its rows along the same axis, counted from the first one.
    *args
        The first is a tensor [.., rows, K]; the others go along unchanged. Larger batches repeat the rows in turn.
    over : sequence of str
        What a row must not depend on, tried in this order.

        - batch: how many rows there are; each size is compared with rows that are computed alone.
        - position: where a row stands; batches are compared with themselves, turned around and moved by one row.
        - padding: what the other rows are: 0, the largest value, NaN and Inf; of integers 0, the largest and the least.
        - chunk: the largest batch is computed in pieces, views of its memory.
        - threads: the largest batch, and one row, are computed with as many threads of torch.
    sizes : sequence of int
        Counts of rows.
    threads : sequence of int
        Counts of threads; the present one is restored.

    Raises
    ------
    MismatchError
        When a row moved; its ``report`` is a `Movement`.
    ShapeError
        When the first argument has no rows, or a result has not as many.
    DTypeError
        When the first argument or a result is no tensor of floats, integers or bools.
    ContractError
        When there is no such choice of ``over``, or a count is not a whole number from 1 on.

    Exactness: bit-exact. What was not tried may still move: it is a test, no proof.
    Rounding: none.
    Special: all NaNs are equal, +0 and -0 are not.
    Standard: none.
    Cost: some 1000 calls with the default sizes, most of them of few rows; memory for some results of the largest size.
    """
    check_function("assert_invariant", "fn", fn)
    names = tuple(over) if isinstance(over, Iterable) and not isinstance(over, str) else (over,)
    for name in names:
        check_choice("assert_invariant", "over", name, TRIALS)
    _check_counts("sizes", sizes)
    _check_counts("threads", threads)
    subject = _Subject.of(fn, args, sizes, threads)
    for name in names:
        for trial in TRIALS[name](subject):
            if movement := _movement(name, trial, subject):
                raise MismatchError(str(movement), report=movement)


def _check_counts(name: str, counts: Sequence[int]) -> None:
    given = counts if isinstance(counts, Sequence) else ()
    if not given or any(isinstance(x, bool) or not isinstance(x, int) or x < 1 for x in given):
        raise ContractError(
            f"assert_invariant cannot try {name}={counts!r}. Allowed are whole numbers from 1 on. Give one at least."
        )


# ---- the function ------------------------------------------------------------------------------------------------


@dataclass
class _Subject:
    """The function, its rows and its other arguments."""

    fn: Callable[..., Tensor]
    rows: Tensor
    others: tuple[Any, ...]
    axis: int  #: of rows
    sizes: Sequence[int]
    threads: Sequence[int]
    result: tuple[torch.dtype, torch.Size] | None = None  #: of a row, once known

    @classmethod
    def of(
        cls, fn: Callable[..., Tensor], args: tuple[Any, ...], sizes: Sequence[int], threads: Sequence[int]
    ) -> _Subject:
        if not args:
            raise ShapeError("assert_invariant needs rows, got no arguments for fn. Give a tensor [.., rows, K] first.")
        rows, *others = args
        check_tensor("assert_invariant", "rows", rows)
        check_values("assert_invariant", "rows", rows)
        _check_dtype("of rows", rows)
        if rows.dim() < 2 or not rows.shape[-2]:
            raise ShapeError(
                f"assert_invariant needs rows, got a first argument of shape {tuple(rows.shape)}. Allowed is "
                "[.., rows, K] with a row at least. Reshape it."
            )
        return cls(fn, rows.detach(), tuple(others), rows.dim() - 2, sizes, threads)

    def __call__(self, rows: Tensor) -> Tensor:
        """The results of rows. Those are as they were, these are copies: fn may write to the memory of either."""
        before = rows.clone()
        result = self.fn(rows, *self.others)
        check_tensor("assert_invariant", "the result of fn", result)
        _check_dtype("that fn returns", result)
        result = result.detach().clone()
        rows.detach().copy_(before)
        count = rows.shape[self.axis]
        if result.dim() <= self.axis or result.shape[self.axis] != count:
            raise ShapeError(
                f"assert_invariant got a result of shape {tuple(result.shape)} for {count} rows of shape "
                f"{tuple(rows.shape)}. Allowed are as many along axis {self.axis}. Let fn return one for each row."
            )
        kind = result.dtype, result.select(self.axis, 0).shape
        self.result = self.result or kind
        if kind != self.result:
            raise ShapeError(
                f"assert_invariant got rows of {kind[0]} and shape {tuple(kind[1])} after some of {self.result[0]} and "
                f"shape {tuple(self.result[1])}. Allowed is one of each. Let fn return that for every batch."
            )
        return result

    def batch(self, places: Tensor) -> Tensor:
        """Rows by their places among the given ones."""
        return self.rows.index_select(self.axis, places.to(self.rows.device))

    def first(self, count: int) -> Tensor:
        """Places of so many rows: the given ones in turn."""
        return torch.arange(count, device="cpu") % self.rows.shape[self.axis]

    def joined(self, parts: Sequence[Tensor]) -> Tensor:
        """Results after each other."""
        return torch.cat(tuple(parts), self.axis)


def _check_dtype(what: str, x: Tensor) -> None:
    if x.dtype not in DTYPES:
        raise DTypeError(
            f"assert_invariant cannot compare {x.dtype} {what}. Allowed are floats, integers and bools. View it as one."
        )


# ---- what is tried -----------------------------------------------------------------------------------------------


class _Trial(NamedTuple):
    """Results of the same rows, computed in two ways."""

    when: str
    got: Tensor
    then: str
    want: Tensor
    rows: Tensor  #: places of the rows among the given ones


def _batch(f: _Subject) -> Iterator[_Trial]:
    count = min(max(f.sizes), f.rows.shape[f.axis])
    alone = f.joined([f(f.batch(place)) for place in torch.split(f.first(count), 1)])
    for size in f.sizes:
        places = f.first(size)
        yield _Trial(f"in a batch of {size}", f(f.batch(places)), "alone", _at(f, alone, places), places)


def _position(f: _Subject) -> Iterator[_Trial]:
    for size in f.sizes:
        places, order = f.first(size), torch.arange(size, device="cpu")
        want = f(f.batch(places))
        for name, moved in (("turned around", order.flip(0)), ("moved by one row", order.roll(1))):
            rows = places[moved]
            yield _Trial(f"in a batch of {size} {name}", f(f.batch(rows)), "before that", _at(f, want, moved), rows)


def _padding(f: _Subject) -> Iterator[_Trial]:
    for size in (size for size in f.sizes if size > 1):
        # Rows stand between others, of which there are as many before as behind, but in batches of 2.
        places, kept = f.first(size), torch.arange(size // 3, size - max(1, size // 3), device="cpu")
        batch = f.batch(places)
        want = _at(f, f(batch), kept)
        for fill in _fills(batch.dtype):
            padded = torch.full(batch.shape, fill, dtype=batch.dtype, device=batch.device)
            padded.narrow(f.axis, int(kept[0]), len(kept)).copy_(_at(f, batch, kept))
            when = f"in a batch of {size} beside rows of {fill}"
            yield _Trial(when, _at(f, f(padded), kept), "beside other rows", want, places[kept])


def _fills(dtype: torch.dtype) -> tuple[float | int | bool, ...]:
    if dtype == torch.bool:
        return False, True
    if dtype in INTEGERS:
        return 0, torch.iinfo(dtype).max, torch.iinfo(dtype).min
    return 0.0, torch.finfo(dtype).max, torch.nan, *((torch.inf,) if dtype in FLOAT_ROWS else ())


def _chunk(f: _Subject) -> Iterator[_Trial]:
    total = max(f.sizes)
    places = f.first(total)
    batch = f.batch(places)
    want = f(batch)
    for size in (size for size in f.sizes if size < total):
        got = f.joined([f(part) for part in torch.split(batch, size, f.axis)])
        yield _Trial(f"in chunks of {size}", got, f"in a batch of {total}", want, places)


def _threads(f: _Subject) -> Iterator[_Trial]:
    before = torch.get_num_threads()
    for places in (f.first(1), f.first(max(f.sizes))):
        batch = f.batch(places)
        want = f(batch)
        for count in f.threads:
            with _with_threads(count):
                got = f(batch)
            yield _Trial(f"in a batch of {len(places)} with {count} threads", got, f"with {before}", want, places)


@contextmanager
def _with_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


TRIALS: dict[str, Callable[[_Subject], Iterator[_Trial]]] = {
    "batch": _batch,
    "position": _position,
    "padding": _padding,
    "chunk": _chunk,
    "threads": _threads,
}


def _at(f: _Subject, results: Tensor, places: Tensor) -> Tensor:
    return results.index_select(f.axis, places.to(results.device))


# ---- the comparison ----------------------------------------------------------------------------------------------


def _movement(name: str, trial: _Trial, f: _Subject) -> Movement | None:
    """The first row of which a result has other bits."""
    got, want = (x.movedim(f.axis, 0) for x in (trial.got, trial.want))
    moved = _bits(got) != _bits(want)
    if got.dtype in FLOATS:
        moved &= ~(widened(got).isnan() & widened(want).isnan())
    places = moved.nonzero()
    if not len(places):
        return None
    place = tuple(places[0].tolist())
    row = moved[place[0]]
    return Movement(
        over=name,
        row=int(trial.rows[place[0]]),
        when=trial.when,
        then=trial.then,
        index=(*place[1 : f.axis + 1], place[0], *place[f.axis + 1 :]),
        got=got[place].item(),
        want=want[place].item(),
        moved=int(row.sum()),
        total=row.numel(),
    )


def _bits(x: Tensor) -> Tensor:
    return x.contiguous().view(BITS[x.dtype.itemsize])
