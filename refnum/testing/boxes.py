"""Black boxes that add up terms: how they are called, and terms that show what they do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, check_tensor, check_values
from ..errors import DTypeError, ShapeError


class Shape(NamedTuple):
    """Of a product [rows, terms] times [terms, columns]."""

    rows: int
    terms: int
    columns: int


@dataclass(frozen=True, slots=True)
class Range:
    """Exponents of powers of 2 that are products of two values of a dtype."""

    mask: int  #: beside 2**mask every sum of units is lost
    unit: int  #: a multiple of 2**unit is a result

    @property
    def narrow(self) -> bool:
        """Whether there is no room above and below these."""
        return self.unit < 0

    @property
    def capacity(self) -> int:
        """How many units are lost beside a mask in accumulators of 24 bits."""
        return 1 << (self.mask - self.unit - 25)


_WIDE, _NARROW = Range(127, 0), Range(15, -24)  # narrow: what accumulators of float16 hold
RANGES = {
    torch.float64: Range(1023, 0),
    torch.float32: _WIDE,
    torch.bfloat16: _WIDE,
    torch.float16: _NARROW,
    torch.float8_e4m3fn: Range(15, -18),
    torch.float8_e5m2: _NARROW,
    torch.float8_e4m3fnuz: Range(14, -18),
    torch.float8_e5m2fnuz: _NARROW,
}

Operands = tuple[Tensor, Tensor, Tensor | None]  #: [rows, terms], [terms, columns] and a bias [columns]
Drawn = tuple[Tensor, Tensor, Tensor]
Call = Callable[[Callable[..., object], Tensor, Tensor, Tensor | None], object]


@dataclass(frozen=True, slots=True)
class Kind:
    """How a box is called."""

    call: Call  #: with what is [rows, terms], [terms, columns] and [columns]
    shape: Callable[[Shape], tuple[int, ...]]  #: of the result
    sizes: tuple[str, ...]  #: that it has besides that of one

    @property
    def multiplies(self) -> bool:
        """Whether there is a right operand; it is 1 elsewhere."""
        return "columns" in self.sizes


KINDS: Mapping[str, Kind] = {
    "matmul": Kind(
        lambda fn, a, b, bias: fn(a, b) if bias is None else fn(a, b, bias),
        lambda shape: (shape.rows, shape.columns),
        ("rows", "terms", "columns"),
    ),
    "rows": Kind(lambda fn, a, b, bias: fn(a), lambda shape: (shape.rows,), ("rows", "terms")),
    "sum": Kind(lambda fn, a, b, bias: fn(a[0]), lambda shape: (), ("terms",)),
}


@dataclass(frozen=True, slots=True)
class Box:
    """A function of one shape and dtype. Its terms are the products, and the bias as the last one."""

    fn: Callable[..., object]
    kind: Kind
    shape: Shape
    dtype: torch.dtype
    bias: torch.dtype | None
    device: torch.device

    @property
    def terms(self) -> int:
        """How many terms there are."""
        return self.shape.terms + (self.bias is not None)

    def __call__(self, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        """The results [rows, columns] of operands that were cast; both are copied, since fn may write there again."""
        given = a.clone(), b.clone(), None if bias is None else bias.clone()
        result = self._checked(self.kind.call(self.fn, *given)).clone()
        return result.reshape(self.shape.rows, self.shape.columns)

    def one_by_one(self, stacked: Operands) -> Tensor:
        """The results [count, rows, columns] of stacked operands."""
        a, b, bias = stacked
        addends = [None] * len(a) if bias is None else bias[:, 0]
        results = [self(*each) for each in zip(a, b, addends, strict=True)]
        if len(dtypes := dict.fromkeys(result.dtype for result in results)) > 1:
            raise DTypeError(
                f"reveal needs results of one dtype of fn, got {' and '.join(map(str, dtypes))}. Allowed is one that "
                "goes by shapes and dtypes alone. Let fn return that."
            )
        return torch.stack(results)

    def cast(self, a: Tensor, b: Tensor, bias: Tensor | None) -> Operands:
        """Operands in the dtypes, on the device."""
        x, y = (side.to(self.dtype).to(self.device) for side in (a, b))
        return x, y, None if bias is None or self.bias is None else bias.to(self.bias).to(self.device)

    def _checked(self, result: object) -> Tensor:
        check_tensor("reveal", "the result of fn", result)
        assert isinstance(result, Tensor)
        check_values("reveal", "the result of fn", result)
        want = self.kind.shape(self.shape)
        if result.shape != want:
            raise ShapeError(
                f"reveal needs a result of shape {want} of fn, got {tuple(result.shape)}. Allowed are matrices of "
                "rows times columns, vectors of rows, and one sum, as kind says. Correct kind, or wrap fn in a lambda."
            )
        if result.dtype not in FLOAT_ROWS:
            raise DTypeError(
                f"reveal needs a result of floating-point values of fn, got {result.dtype}. Allowed are float16, "
                "bfloat16, float32 and float64. Pass a function with such results."
            )
        return result.detach()

    def ask(self, left: Tensor, right: Tensor) -> Tensor:
        """The results in float64 when every row of a is left, every column of b right, and a bias the last of left."""
        rows, terms, columns = self.shape
        a = left[:terms].expand(rows, terms).contiguous()
        b = right[:terms, None].expand(terms, columns).contiguous()
        bias = None if self.bias is None else (left[terms] * right[terms]).expand(columns).contiguous()
        return self(*self.cast(a, b, bias)).to("cpu", torch.float64)

    def ask_values(self, values: Mapping[int, float]) -> float:
        """The first result when these terms have these values, and the others are 0."""
        factors = {term: self.factors(value) for term, value in values.items()}
        return self.ask_factors(factors)

    def ask_factors(self, factors: Mapping[int, tuple[float, float]]) -> float:
        """The first result when these terms are products of these, and the others are 0."""
        left = torch.zeros(self.terms, dtype=torch.float64, device="cpu")
        right = left if self.kind.multiplies else torch.ones_like(left)
        right = right.clone()
        for term, (x, y) in factors.items():
            left[term], right[term] = x, y
        return float(self.ask(left, right)[0, 0])

    def factors(self, value: float) -> tuple[float, float]:
        """Two values of the dtype with this product, of about one size where both can be chosen."""
        if not self.kind.multiplies:
            return value, 1.0
        significand, exponent = math.frexp(value)
        half = (exponent - 1) // 2
        return math.ldexp(significand, exponent - half), math.ldexp(1.0, half)


# ---- operands -----------------------------------------------------------------------------------------------------


def operands(box: Box, count: int) -> Iterator[Operands]:
    """Operands on which orders and roundings differ: so many of each sort, stacked, and a bias [count, 1, columns]."""
    draw = _Draw(count)
    rows, terms, columns = box.shape
    for make in (draw.normal, draw.spread, draw.ties, draw.near_ties, draw.cancelling):
        a, b, bias = make((count, rows, terms), (count, terms, columns), (count, 1, columns))
        if not box.kind.multiplies:
            a, b = a * b.mT, torch.ones_like(b)
        yield box.cast(a, b, bias)


Size = tuple[int, int, int]


class _Draw:
    """Random operands in float64, made of integers: the same on every machine."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator(device="cpu").manual_seed(seed)

    def _whole(self, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator, device="cpu").to(torch.float64)

    def _powers(self, low: int, high: int, *shape: int) -> Tensor:
        powers = torch.tensor([2.0**e for e in range(low, high + 1)], dtype=torch.float64, device="cpu")
        return powers[self._whole(0, len(powers), *shape).to(torch.int64)]

    def _signs(self, *shape: int) -> Tensor:
        return self._whole(0, 2, *shape) * 2 - 1

    def _normal(self, *shape: int) -> Tensor:
        """Of a variance of about 1: sums of 12 from -1/2 to 1/2."""
        return self._whole(-(1 << 23), 1 << 23, *shape, 12).sum(-1) * 2.0**-24

    def normal(self, *sizes: Size) -> Drawn:
        """Any values."""
        a, b, bias = (self._normal(*size) for size in sizes)
        return a, b, bias

    def spread(self, *sizes: Size) -> Drawn:
        """Terms of many sizes."""
        a, b, bias = (self._normal(*size) * self._powers(-4, 3, *size) for size in sizes)
        return a, b, bias

    def ties(self, *sizes: Size) -> Drawn:
        """1 or 3 times powers of 2: sums are often half-way between two values."""
        a, b, bias = ((2 * self._whole(0, 2, *size) + 1) * self._signs(*size) for size in sizes)
        return a * self._powers(-9, 3, *sizes[0]), b * self._powers(-9, 3, *sizes[1]), bias

    def near_ties(self, *sizes: Size) -> Drawn:
        """Products a little less or more than half a unit of what has been added before, in float32."""
        a, b, bias = (1 + self._powers(-23, -12, *size) * self._signs(*size) for size in sizes)
        a, b = a * self._signs(*sizes[0]), b * 2.0**-24
        a[..., :1], b[..., :1, :] = 1 + self._whole(0, 1 << 23, *a[..., :1].shape) * 2.0**-23, 1.0
        return a, b, bias

    def cancelling(self, *sizes: Size) -> Drawn:
        """Terms of many sizes that take each other away, in any order: what roundings leave is all that is left."""
        a, b, bias = self.spread(*sizes)
        terms = a.shape[-1]
        half = terms // 2
        a[..., half : 2 * half], b[..., half : 2 * half, :] = -a[..., :half], b[..., :half, :]
        a[..., 2 * half :] *= 2.0**-12
        order = torch.randperm(terms, generator=self.generator, device="cpu")
        return a[..., order], b[..., order, :], bias * 2.0**-12
