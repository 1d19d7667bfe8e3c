"""Exact sums that are not rounded yet: contract ``exact_partial/v1``.

A sum is held in digits of base 2**32 on one grid for all results. Sums of digits are sums of integers: they have no
order, so that it does not matter in how many parts, or on how many ranks, terms have been added.

The definition adds every product in words, as `core.exact` does. Matrix products of slices in float64, exact ones, give
the same digits sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, broadcast_shape, check_device, check_tensor, check_values
from ..core.decode import INFINITE
from ..core.exact import WORD, carry_words, from_words, select
from ..core.round import encode
from ..errors import DTypeError, ShapeError
from ..fast.chunks import CHUNK
from ..fast.conversions import INTEGER
from ..formats import Minifloat
from . import ranks
from .operands import FP8, placed_bias

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

CARRIED = 1 << WORD  #: no digit is larger after a carry pass
MOST = 1 << 61  #: no digit is ever larger: two can be added

NAN, PLUS, MINUS, OTHER = range(4)  #: flags: some term is NaN, +Inf, -Inf; some term is not -0
ROUNDED: dict[torch.dtype, Minifloat] = FLOAT_ROWS | FP8  #: the dtypes of operands and of results


@dataclass(frozen=True, slots=True, eq=False)
class ExactPartial:
    """Exact sums [.., M, N], not rounded yet: ``sum_i digits[i] * 2**(32 * (least + i))``, and what is not finite.

    >>> from refnum.sums.digits import exact_partial
    >>> a, b = torch.tensor([[1e30, 1.0, -1e30]]), torch.ones(3, 1)
    >>> left, right = exact_partial(a[:, :1], b[:1]), exact_partial(a[:, 1:], b[1:])
    >>> (left + right).round(torch.float32)
    tensor([[1.]])

    Partial sums are made by `exact_partial` and by `zeros`, added by ``+`` and over ranks by `all_reduce`, and rounded
    once at the end. Two of equal value are equal in every bit once they are `normalized`, in however many parts and
    in whatever order their terms were added.

    Parameters
    ----------
    digits : Tensor
        int64 [digits, .., M, N], the least first; the last one holds the sign.
    least : int
        log2 of the weight of the first digit, in digits.
    flags : Tensor
        uint8 [4, .., M, N]: whether some term is NaN, +Inf, -Inf, other than -0.
    empty : bool
        Whether there are no terms yet, so that a zero is +0.
    bound : int
        No digit is larger in magnitude.

    Exactness: bit-exact. No digit overflows: digits are carried before they could.
    Rounding: none before `round`.
    Special: NaN, +Inf and -Inf are flags, and finite terms are summed beside them; a last flag and `empty` give the
        sign of zeros.
    Standard: contract exact_partial/v1 is refnum's; least digits come first.
    Cost: 8 bytes a digit and 4 for flags for each result. Digits reach from the last bit of the least product to 31
        bits beyond the largest: 3 to 6 of them for float32 data around 1, at most 20 for float32 and 135 for float64.
    """

    digits: Tensor
    least: int
    flags: Tensor
    empty: bool = False
    bound: int = CARRIED

    @classmethod
    def zeros(cls, shape: Sequence[int], *, device: torch.device | str = "cpu") -> ExactPartial:
        """Sums of no terms, which have no digits: where an accumulator begins."""
        digits = torch.zeros((0, *shape), dtype=torch.int64, device=device)
        flags = torch.zeros((4, *shape), dtype=torch.uint8, device=device)
        return cls(digits, 0, flags, empty=True, bound=0)

    @property
    def shape(self) -> torch.Size:
        """[.., M, N]."""
        return self.flags.shape[1:]

    @property
    def device(self) -> torch.device:
        """Where the digits are."""
        return self.digits.device

    @property
    def end(self) -> int:
        """Behind the weight of the last digit, in digits."""
        return self.least + len(self.digits)

    def __add__(self, other: object) -> ExactPartial:
        """The sum of both, on a grid that holds either."""
        if not isinstance(other, ExactPartial):
            raise DTypeError(
                f"ExactPartial adds to another one, got {type(other).__name__}. Allowed is what exact_partial or zeros "
                "gives. Make one of the values first."
            )
        if self.shape != other.shape:
            raise ShapeError(
                f"ExactPartial cannot add sums of shapes {tuple(self.shape)} and {tuple(other.shape)}. They must be "
                "equal. Reshape the operands that they are made of."
            )
        check_device("ExactPartial", left=self.digits, right=other.digits)
        least, end = common_grid([(side.least, side.end) for side in (self, other)])
        total = ExactPartial(
            self.regrid(least, end).digits + other.regrid(least, end).digits,
            least,
            torch.maximum(self.flags, other.flags),
            empty=self.empty and other.empty,
            bound=self.bound + other.bound,
        )
        return total if total.bound <= MOST else total.carried()

    def regrid(self, least: int, end: int) -> ExactPartial:
        """The same sums in digits from ``least`` to before ``end``, a grid that holds this one."""
        if len(self.digits) and not (least <= self.least and self.end <= end):
            raise ShapeError(
                f"ExactPartial has digits from {self.least} to before {self.end}, got a grid from {least} to before "
                f"{end}. It must hold them all. Make it wider, or call normalized() first."
            )
        if (least, end) == (self.least, self.end):
            return self
        digits = torch.zeros((end - least, *self.shape), dtype=torch.int64, device=self.device)
        start = self.least - least if len(self.digits) else 0
        digits[start : start + len(self.digits)] = self.digits
        return replace(self, digits=digits, least=least)

    def carried(self) -> ExactPartial:
        """The same sums with every digit but the last in [0, 2**32); there is one more."""
        if not len(self.digits):
            return self
        digits = torch.cat([self.digits, torch.zeros_like(self.digits[:1])])
        carry_words(digits)
        return replace(self, digits=digits, bound=CARRIED)

    def normalized(self) -> ExactPartial:
        """The one form of these sums: the fewest digits, all but the last in [0, 2**32), and the fewest flags."""
        # N1. A last digit that only repeats the sign of the one before goes; without it that one has 32 bits with sign.
        digits = self.carried().digits
        while len(digits) > 1 and bool((digits[-1] == digits[-2] << 32 >> 63).all()):
            digits[-2] += digits[-1] << WORD
            digits = digits[:-1]
        # N2. So do leading zeros; where all digits are, nothing stays.
        used = (digits.reshape(len(digits), self.shape.numel()) != 0).any(1).nonzero()
        first = int(used[0]) if len(used) else len(digits)
        least = self.least + first if len(used) else 0
        # N3. Infs of both signs are NaN, and NaN is the only flag beside OTHER.
        nan, plus, minus, other = self.flags
        nan = nan | (plus & minus)
        flags = torch.stack([nan, plus & ~nan, minus & ~nan, other])
        return replace(self, digits=digits[first:].clone(), least=least, flags=flags, bound=CARRIED)

    def all_reduce(self, group: ProcessGroup | None = None) -> ExactPartial:
        """The sums over all ranks of a process group, by default of all: on every rank the same bits.

        All ranks must call it, with sums of one shape; else every one raises. Three collectives: a header of 2 KiB, the
        digits (sums of int64), the flags (maxima of uint8), on the device of the digits. Ranks that stay away are
        waited for as long as the group's timeout says; then, or when a connection breaks, it raises BackendError.
        """
        return over_ranks("ExactPartial.all_reduce", group, lambda: (self, {}))

    def reduce_scatter(self, group: ProcessGroup | None = None, *, axis: int = -2) -> ExactPartial:
        """The part of this rank, along an axis, of the sums over all ranks: the ranks' parts are equal in size."""
        function = "ExactPartial.reduce_scatter"

        def divisible() -> tuple[ExactPartial, ranks.Facts]:
            check_axis(function, axis, self.shape, ranks.position(function, group)[1])
            return self, {"axis": axis}

        return over_ranks(function, group, divisible, partial(ranks.reduce_scatter, axis=axis))

    def round(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The sums [.., M, N], rounded once to nearest, ties to even: with the bits of contract exact/v1.

        Parameters
        ----------
        dtype : torch.dtype
            float16, bfloat16, float32, float64 or one of torch's float8 dtypes.

        Exactness: correctly rounded.
        Rounding: to nearest, ties to even; float8 dtypes saturate.
        Special: NaN where a term is or where Infs of both signs are, written as the largest pattern; a sum that is 0 is
            -0 only where there are terms and every one is -0. Subnormals are kept.
        Standard: IEEE 754-2019 section 4.3.1.
        Cost: some 60 passes over pieces that stay in the cache; memory for the result alone.
        """
        check_dtype("ExactPartial.round", "for a result", dtype)
        row, results = ROUNDED[dtype], self.shape.numel()
        codes = torch.empty(results, dtype=torch.uint8 if dtype in FP8 else INTEGER[dtype], device=self.device)
        digits, flags = (x.reshape(len(x), results) for x in (self.digits, self.flags))
        for start in range(0, results, CHUNK):
            part = slice(start, start + CHUNK)
            codes[part] = self._codes(digits[:, part], flags[:, part], row)
        return codes.view(dtype).view(self.shape)

    def _codes(self, digits: Tensor, flags: Tensor, row: Minifloat) -> Tensor:
        # One more word for carries, and one for the sign alone.
        words = torch.cat([digits, torch.zeros((2, *digits.shape[1:]), dtype=torch.int64, device=self.device)])
        carry_words(words)
        nan, plus, minus, other = -flags.to(torch.int64)
        nan, infinite = nan | (plus & minus), plus | minus
        x = from_words(words, WORD * self.least, (infinite & INFINITE) | nan)
        sign = select(infinite, minus, x.sign) | (~other & -int(not self.empty))
        codes = encode(x._replace(sign=sign), row)
        largest = torch.full_like(codes, (1 << (row.width - 1)) - 1)
        return select(nan, largest, codes) if row.specials == "ieee" and row.width > 8 else codes


def common_grid(grids: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The least grid that holds all of them, each given by its ends; an empty one takes no place."""
    used = [grid for grid in grids if grid[0] < grid[1]]
    return min((least for least, _ in used), default=0), max((end for _, end in used), default=0)


def over_ranks(
    function: str,
    group: ProcessGroup | None,
    make: Callable[[], tuple[ExactPartial, ranks.Facts]],
    reduce: Callable[..., Tensor] = ranks.all_reduce,
) -> ExactPartial:
    """The sums over all ranks of what each one makes, and facts of its own for `ranks.agree`."""

    def prepare() -> tuple[ExactPartial, ranks.Facts]:
        mine, own = make()
        ranks.check_transport(function, group, mine.digits)
        mine = mine if mine.bound <= CARRIED else mine.carried()
        return mine, {"shape": list(mine.shape), "grid": [mine.least, mine.end], "empty": mine.empty, **own}

    mine, facts = ranks.agree(function, group, prepare)
    # Digits are at most 2**32 on each of at most 2**29 ranks, so that no sum is larger than MOST.
    least, end = common_grid([fact["grid"] for fact in facts])
    return ExactPartial(
        reduce(function, group, mine.regrid(least, end).digits, "SUM"),
        least,
        reduce(function, group, mine.flags, "MAX"),
        empty=all(fact["empty"] for fact in facts),
        bound=len(facts) * CARRIED,
    )


# ---- checks --------------------------------------------------------------------------------------


def check_dtype(function: str, what: str, dtype: object) -> None:
    """The dtype is one of those that partial sums are made of and rounded to."""
    if dtype not in ROUNDED:
        names = ", ".join(str(allowed).removeprefix("torch.") for allowed in ROUNDED)
        raise DTypeError(f"{function} has no {dtype} {what}. Allowed are {names}. Convert it.")


def check_operands(function: str, a: Tensor, b: Tensor, bias: Tensor | None = None) -> None:
    """Operands [.., M, K] and [.., K, N] of floats, and perhaps a bias that broadcasts to [.., M, N]."""
    tensors = {"a": a, "b": b} if bias is None else {"a": a, "b": b, "bias": bias}
    for name, x in tensors.items():
        check_tensor(function, name, x)
        check_values(function, name, x)
        check_dtype(function, f"for {name}", x.dtype)
    check_device(function, **tensors)
    if min(a.dim(), b.dim()) < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"{function} cannot multiply {tuple(a.shape)} by {tuple(b.shape)}. Allowed are [.., M, K] by [.., K, N]. "
            "Transpose or reshape one."
        )
    batch = broadcast_shape(function, a=a.shape[:-2], b=b.shape[:-2])
    if bias is not None:
        placed_bias(function, bias, torch.Size((*batch, a.shape[-2], b.shape[-1])), a.dim(), b.dim())


def check_axis(function: str, axis: object, shape: torch.Size, count: int) -> None:
    """The sums have this axis, and it divides into so many parts."""
    if not isinstance(axis, int) or not -len(shape) <= axis < 0:
        raise ShapeError(
            f"{function} got axis={axis!r}. Allowed are {-len(shape)} to -1, counted from the end. Choose one."
        )
    if shape[axis] % count:
        raise ShapeError(
            f"{function} cannot divide axis {axis} of {tuple(shape)} among {count} ranks. Its size must be a multiple. "
            "Pad it, or use all_reduce."
        )
