"""What the exhaustive sweeps go through: a function of refnum, every input there is, a peer that knows the results."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import refnum
from refnum import Minifloat, Posit
from refnum.boundary import FLOAT_ROWS, SIGNED
from refnum.core import decode as core_decode
from refnum.core import round as core_round
from refnum.formats import e2m1, e2m3, e3m2, e4m3, e4m3fnuz, e5m2, e5m2fnuz

from .operations import BY_NAME, canonical
from .peers import ml_dtypes, softposit

Array = NDArray[Any]
Function = Callable[..., Tensor]


@dataclass(frozen=True)
class Outcome:
    """What the comparison of some elements showed."""

    mismatches: int
    first: tuple[str, ...] = ()  #: the first of them in words
    left_out: int = 0  #: elements about which the peer says nothing
    defined: int = 0  #: elements that were compared with the definition, too


def every_float32(start: int, count: int) -> Tensor:
    """The float32 values whose bits are start to start + count."""
    return _words(start, count).view(torch.float32)


def _words(start: int, count: int) -> Tensor:
    return torch.arange(count, dtype=torch.int32) + (start - (start >> 31 << 32))  # 32 bits, signed: sums wrap


# SoftPosit -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PositSweep:
    """An operation on all pairs of patterns of a 16-bit format, or encode of all float32 values; compiled."""

    operation: str
    n: int
    es: int

    total = 1 << 32  #: elements

    @property
    def fmt(self) -> Posit:
        """The format as a record of refnum."""
        return Posit(self.n, self.es)

    def __str__(self) -> str:
        return f"{self.operation} {self.fmt}"

    def operands(self, start: int, count: int) -> tuple[Tensor, ...]:
        """Elements start to start + count: the pair in the halves of the index, or the float32 with its bits."""
        if self.operation == "encode":
            return (every_float32(start, count),)
        index = _words(start, count)
        return index >> 16, index << 16 >> 16

    @property
    def function(self) -> Function:
        """The public function on int32 patterns, or on float32 values."""
        if self.operation == "encode":
            return lambda x: refnum.encode(x, self.fmt).to(torch.int32)
        operation = getattr(refnum.posit, self.operation)
        return lambda a, b: operation(a, b, self.fmt).to(torch.int32)

    @property
    def prepared(self) -> Function:
        """The same, compiled: once per process."""
        return _compiled(self)

    def compare(self, operands: tuple[Tensor, ...], got: Tensor) -> Outcome:
        """The results against SoftPosit's."""
        mismatches, first = softposit.differences(self.operation, self.n, self.es)(*operands, got)
        return Outcome(mismatches, (self._describe(operands, got, first),) if mismatches else ())

    def _describe(self, operands: tuple[Tensor, ...], got: Tensor, index: int) -> str:
        at = [x[index : index + 1] for x in operands]
        want = getattr(softposit, self.operation)(*at, self.n, self.es)
        words = [int(x.view(torch.int32).item()) & (0xFFFFFFFF if x.is_floating_point() else 0xFFFF) for x in at]
        mask = (1 << self.n) - 1
        left = " ".join(f"{word:#x}" for word in words)
        got_word, want_word = int(got[index]) & mask, int(want) & mask
        return f"{self.operation} {left}: refnum {got_word:#x}, SoftPosit {want_word:#x}"


@functools.cache
def _compiled(sweep: PositSweep) -> Function:
    return torch.compile(sweep.function, fullgraph=True, dynamic=False)


# ml_dtypes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MinifloatSweep:
    """Encode of all bfloat16 or float32 values to a small format."""

    fmt: Minifloat
    dtype: str

    @property
    def total(self) -> int:
        """Elements: all patterns of the dtype."""
        return 1 << FLOAT_ROWS[self._torch].width

    @property
    def _torch(self) -> torch.dtype:
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def __str__(self) -> str:
        return f"encode {replace(self.fmt, overflow='saturate')},{self.fmt.overflow} of {self.dtype}"

    def operands(self, start: int, count: int) -> tuple[Tensor, ...]:
        """The values whose bits are start to start + count."""
        if self.dtype == "float32":
            return (every_float32(start, count),)
        return (_words(start, count).to(torch.int16).view(self._torch),)

    @property
    def function(self) -> Function:
        """The public function as it is called: it chooses its way."""
        return lambda x: refnum.encode(x, self.fmt)

    prepared = function

    @property
    def _options(self) -> dict[str, Any]:
        return {**asdict(self.fmt), "dtype": self.dtype, "rounding": "nearest_even"}

    def compare(self, operands: tuple[Tensor, ...], got: Tensor) -> Outcome:
        """The results against those of ml_dtypes where it has any, NaNs being one; some against the definition, too."""
        bits = operands[0].view(SIGNED[operands[0].dtype.itemsize * 8])
        codes, patterns = got.numpy().astype(np.int64), bits.numpy().astype(np.int64)
        want = ml_dtypes.minifloat_encode(patterns, **self._options)
        left_out = ml_dtypes.excluded("minifloat_encode", patterns, **self._options)
        wrong = (self._one_nan(codes) != self._one_nan(want)) & ~left_out
        edges = self._edges(patterns)
        wrong[edges] |= codes[edges] != self._defined(bits[edges])
        first: tuple[str, ...] = ()
        if wrong.any():
            at = int(wrong.argmax())
            rule = self._defined(bits[at : at + 1]).item()
            where = f"{self}, {patterns[at] % self.total:#x}"
            first = (f"{where}: refnum {codes[at]:#x}, ml_dtypes {want[at]:#x}, by definition {rule:#x}",)
        return Outcome(int(np.count_nonzero(wrong)), first, int(np.count_nonzero(left_out)), len(edges))

    def _one_nan(self, codes: Array) -> Array:
        return canonical(BY_NAME["minifloat_encode"], codes, self._options)

    def _edges(self, patterns: Array) -> Array:
        """Places of all bfloat16 values; of float32 values around them, and around the middle between two."""
        if self.dtype == "bfloat16":
            return np.arange(len(patterns))
        return np.flatnonzero(((patterns + 1) & 0x7FFC) == 0)  # one below to two above

    def _defined(self, bits: Tensor) -> Array:
        exact = core_decode.decode(bits, FLOAT_ROWS[self._torch])
        return core_round.encode(exact, self.fmt).numpy()


# The peers -----------------------------------------------------------------------------------------------------------

Sweep = PositSweep | MinifloatSweep


@dataclass(frozen=True)
class Peer:
    """Somebody to compare with, and what is compared."""

    title: str
    needs: str  #: what to install
    ready: Callable[[], tuple[bool, str]]  #: whether it is there, or why not
    version: Callable[[], str]
    sources: tuple[str, ...]  #: files of refnum that the sweeps run through
    sweeps: tuple[Sweep, ...]
    notes: tuple[str, ...] = ()  #: lines that explain the table
    kind: str = "exhaustive"  #: what the operands are


PEERS = {
    "softposit": Peer(
        "SoftPosit",
        "SoftPosit and gcc",
        softposit.compiled,
        lambda: softposit.available()[1],
        (
            *("formats/*.py", "boundary.py", "codec.py", "core/*.py", "fast/chunks.py"),
            *("posit/_patterns.py", "posit/arithmetic.py"),
        ),
        (
            *(PositSweep(operation, 16, es) for es in (2, 1) for operation in ("add", "sub", "mul", "div")),
            *(PositSweep("encode", n, 2) for n in (8, 16, 32)),
        ),
    ),
    "ml_dtypes": Peer(
        "ml_dtypes",
        "ml_dtypes",
        ml_dtypes.available,
        lambda: f"{ml_dtypes.available()[1]}, numpy {np.__version__}",
        ("formats/*.py", "boundary.py", "codec.py", "core/*.py", "fast/chunks.py", "fast/halves.py"),
        tuple(
            MinifloatSweep(fmt, dtype)
            for dtype in ("bfloat16", "float32")
            for fmt in (
                *(e2m1, e4m3, replace(e4m3, overflow="nan"), e5m2, replace(e5m2, overflow="inf")),
                *(e2m3, e3m2, replace(e4m3fnuz, overflow="nan"), replace(e5m2fnuz, overflow="nan")),
            )
        ),
        (
            "Left out is what ml_dtypes cannot tell: NaN in e2m1, e2m3 and e3m2, which have no code for it; and where",
            "refnum saturates, whatever ml_dtypes gives NaN or Inf for. All NaNs of a format count as one.",
            "Some are compared with the definition as well, bit by bit: all bfloat16 values; of float32 those from one",
            "below to two above each bfloat16, and each middle between two.",
        ),
    ),
}
