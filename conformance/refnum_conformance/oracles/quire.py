"""The quire: a two's complement register as a Python integer, its width and its overflow (posit.md 2.5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .posit import encode, nar, rounded, to_float
from .posit_literal import decode as value
from .reals import Dyadic, OracleError, plus, times


class Quire:
    """One register: an integer count of minpos**2, or None for NaR, which stays."""

    def __init__(self, n: int, es: int) -> None:
        self.n, self.es = n, es
        self.lowest = -2 * ((n - 2) << es)
        self.width = 4 * ((n - 2) << es) + 32
        self.units: int | None = 0

    def to_posit(self) -> int:
        """qToP."""
        return nar(self.n) if self.units is None else rounded(Dyadic(self.units, self.lowest), self.n, self.es)

    def add_product(self, factors: Sequence[int], sign: int = 1) -> Quire:
        """Add or subtract the exact product of one posit or two."""
        product = Dyadic(1, 0)
        for x in (value(factor, self.n, self.es) for factor in factors):
            if x is None:
                self.units = None
                return self
            product = times(product, x)
        return self._set(self._sum(sign * self._count(product)))

    def add(self, other: Quire, sign: int = 1) -> Quire:
        """qAddQ, qSubQ."""
        return self._set(None if other.units is None else self._sum(sign * other.units))

    def negate(self) -> Quire:
        """qNegate."""
        return self._set(None if self.units is None else -self.units)

    def abs(self) -> Quire:
        """qAbs."""
        return self._set(None if self.units is None else abs(self.units))

    def bits(self) -> int:
        """The register, as an unsigned integer of ``width`` bits."""
        return 1 << (self.width - 1) if self.units is None else self.units & ((1 << self.width) - 1)

    def _count(self, x: Dyadic) -> int:
        shift = x.e - self.lowest
        if shift >= 0:
            return x.m << shift
        count = x.m >> -shift
        if count << -shift != x.m:
            raise OracleError(f"{x} is no multiple of the quire's unit 2**{self.lowest}.")
        return count

    def _sum(self, more: int) -> int | None:
        return None if self.units is None else self.units + more

    def _set(self, units: int | None) -> Quire:
        overflow = units is not None and abs(units) >= 1 << (self.width - 1)  # 10..0 is NaR's own pattern
        self.units = None if overflow else units
        return self


def products(a: Sequence[int], b: Sequence[int], n: int, es: int) -> Quire:
    """A register that holds the sum of products."""
    register = Quire(n, es)
    for pair in zip(a, b, strict=True):
        register.add_product(pair)
    return register


def quire_dot(a: Sequence[int], b: Sequence[int], n: int, es: int, c: int = 0) -> int:
    """round(c + sum of a * b), once through the register and once as an exact sum; both must agree."""
    register = products(a, b, n, es).add_product((c,)).to_posit()
    values = [(value(x, n, es), value(y, n, es)) for x, y in (*zip(a, b, strict=True), (c, 1 << (n - 2)))]
    total: Dyadic | None = Dyadic(0, 0)
    for x, y in values:
        total = None if total is None or x is None or y is None else plus(total, times(x, y))
    if register != rounded(total, n, es):
        raise OracleError(f"quire_dot({list(a)}, {list(b)}, {c}) in posit({n},{es}): the register gives {register:#x}.")
    return register


def posit_mm(
    a: Sequence[Sequence[int]],
    b: Sequence[Sequence[int]],
    c: Sequence[Sequence[int]] | None = None,
    *,
    n: int,
    es: int,
) -> list[list[int]]:
    """Matrix product: every element a dot product, plus c, rounded once."""
    columns = list(zip(*b, strict=True)) if b else []
    return [
        [quire_dot(row, column, n, es, 0 if c is None else c[i][j]) for j, column in enumerate(columns)]
        for i, row in enumerate(a)
    ]


# A row of the operations table tells one method of the quire by what can be seen from outside: the value rounded, and
# what is left when that is subtracted, rounded too.


def seen(register: Quire) -> list[int]:
    """qToP, and qToP of what remains after subtracting it."""
    first = register.to_posit()
    return [first, register.add_product((first,), -1).to_posit()]


def method(act: Callable[..., Quire]) -> Callable[..., list[int]]:
    """A row's function: load the sum of products a * b, double it ``doublings`` times, act, look."""

    def row(a: Sequence[int], b: Sequence[int], *more: Sequence[int], n: int, es: int, doublings: int = 0) -> list[int]:
        register = products(a, b, n, es)
        for _ in range(doublings):
            register.add(register)
        return seen(act(register, *more))

    return row


def from_posit(p: int, n: int, es: int) -> list[int]:
    """pToQ."""
    return seen(Quire(n, es).add_product((p,)))


def to_bytes(a: Sequence[int], b: Sequence[int], n: int, es: int, doublings: int = 0) -> list[int]:
    """The bit string of a sum of products, doubled so often, the most significant byte first, extended by the sign."""
    register = products(a, b, n, es)
    for _ in range(doublings):
        register.add(register)
    bits, width = register.bits(), register.width
    value, count = bits - (bits >> (width - 1) << width), -(-width // 8)
    return list(value.to_bytes(count, "big", signed=True))


to_posit = method(lambda q: q)
clear = method(lambda q: Quire(q.n, q.es))
negate = method(lambda q: q.negate())
abs_ = method(lambda q: q.abs())
add_posit = method(lambda q, p: q.add_product((p,)))
sub_posit = method(lambda q, p: q.add_product((p,), -1))
mul_add = method(lambda q, x, y: q.add_product((x, y)))
mul_sub = method(lambda q, x, y: q.add_product((x, y), -1))
add = method(lambda q, c, d: q.add(products(c, d, q.n, q.es)))
sub = method(lambda q, c, d: q.add(products(c, d, q.n, q.es), -1))


# Floats in and out ---------------------------------------------------------------------------------------------------


def quire_dot_floats(a: Sequence[int], b: Sequence[int], n: int, es: int, dtype: str) -> int:
    """quire_dot of floats given by their bits, rounded to the format first."""
    x, y = ([encode(bits, n=n, es=es, dtype=dtype) for bits in side] for side in (a, b))
    return to_float(quire_dot(x, y, n, es), n, es, dtype)


def posit_mm_floats(
    a: Sequence[Sequence[int]], b: Sequence[Sequence[int]], n: int, es: int, dtype: str
) -> list[list[int]]:
    """posit_mm of floats given by their bits, rounded to the format first."""
    x, y = ([[encode(bits, n=n, es=es, dtype=dtype) for bits in row] for row in matrix] for matrix in (a, b))
    return [[to_float(bits, n, es, dtype) for bits in row] for row in posit_mm(x, y, n=n, es=es)]
