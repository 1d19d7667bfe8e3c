"""What is known of a black box that adds: records, and the text that says all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .boxes import Shape
from .probing import Findings
from .trees import NAMELESS, Tree


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first sort of data on which something has other bits than the box."""

    name: str  #: of the contract
    sort: int  #: how many sorts of data went before
    mismatched: int  #: results that differ
    total: int
    index: tuple[int, ...]  #: of the first one
    got: int  #: bits of the box
    want: int  #: bits of the contract

    def __str__(self) -> str:
        return (
            f"{self.mismatched:,} of {self.total:,} results differ, the first at {list(self.index)}: got {self.got:#x},"
            f" want {self.want:#x}"
        )


@dataclass(frozen=True, slots=True)
class Order:
    """What was found at one shape."""

    shape: Shape
    tree: Tree | None  #: its last term is the bias, if there is one; None without an order, or with errors
    exact: bool  #: whether nothing is lost, so that there is no order
    findings: Findings
    fused: frozenset[int]  #: terms whose products are not rounded
    contracts: tuple[str, ...]  #: which have the same order and the same bits here
    disordered: tuple[str, ...]  #: contracts with the same bits on data, and another order
    nearest: Mismatch | None  #: of the contract that comes nearest, where none has the same bits
    replayed: bool | None  #: whether the tree itself has the same bits; None where it says too little
    compared: int  #: results
    errors: tuple[str, ...]  #: what contradicts the tree, or itself

    @property
    def summary(self) -> str:
        """The order in words."""
        if self.tree is None:
            return "order-free: no term is ever lost" if self.exact else "none"
        return self.terms.summary

    @property
    def terms(self) -> Tree:
        """The tree without the bias."""
        assert self.tree is not None
        return self.tree if self.findings.bias is None else self.tree.without_last()


@dataclass(frozen=True, slots=True)
class Revelation:
    """What `reveal` found; ``tree`` and ``findings`` are those of the last shape."""

    dtype: torch.dtype
    result: torch.dtype
    orders: tuple[Order, ...]  #: a shape each
    contract: str | None  #: which has the same bits at every shape that was tried
    changes: tuple[str, ...]  #: next to which sizes a contract begins or ends to have the same bits

    @property
    def tree(self) -> Tree | None:
        """The order in which terms are added at the last shape."""
        return self.orders[-1].tree

    @property
    def findings(self) -> Findings:
        """What else was found at the last shape."""
        return self.orders[-1].findings

    @property
    def errors(self) -> tuple[str, ...]:
        """What contradicts an order, at any shape."""
        return tuple(dict.fromkeys(error for order in self.orders for error in order.errors))

    @property
    def text(self) -> str:
        """All of it, in lines."""
        return "\n".join(_lines(self))

    def __str__(self) -> str:
        return self.text

    def as_dict(self) -> dict[str, Any]:
        """All of it in lists, numbers and strings."""
        orders = [
            asdict(order) | {"shape": order.shape._asdict(), "fused": sorted(order.fused), "summary": order.summary}
            for order in self.orders
        ]
        dtypes = {"dtype": _name(self.dtype), "result": _name(self.result)}
        return dtypes | {"contract": self.contract, "changes": self.changes, "orders": orders}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- text ---------------------------------------------------------------------------------------------------------


def _lines(found: Revelation) -> Iterator[str]:
    yield f"{_name(found.dtype)} to {_name(found.result)}"
    for lines, orders in itertools.groupby(found.orders, key=lambda order: tuple(_facts(order))):
        yield ", ".join(_sizes([order.shape for order in orders]))
        yield from (f"  {name:<9} {text}" for name, text in lines)
    yield f"contract: {found.contract} at every shape" if found.contract else "contract: none at every shape"
    yield from (f"  {change}" for change in found.changes)


def _sizes(shapes: list[Shape]) -> Iterator[str]:
    for name, sizes in zip("MKN", zip(*shapes, strict=True), strict=True):
        yield f"{name} {', '.join(map(str, dict.fromkeys(sizes)))}"


def _facts(order: Order) -> Iterator[tuple[str, str]]:
    yield "order", order.summary
    if NAMELESS in order.summary:
        yield "", str(order.terms)
    if findings := ", ".join(_of_findings(order.findings)):
        yield "sums", findings
    yield "contract", ", ".join(order.contracts) or _without(order)
    if order.replayed:
        yield "verified", "the order, replayed, has the bits of every result"
    elif order.contracts:
        yield "verified", "every result has the bits of the contract"
    yield from (("error", error) for error in order.errors)


def _without(order: Order) -> str:
    if order.disordered:
        return f"none; the same bits on data, in another order, have {', '.join(order.disordered)}"
    return "none" if order.nearest is None else f"none; nearest is {order.nearest.name}: {order.nearest}"


def _of_findings(found: Findings) -> Iterator[str]:
    if found.bias:
        yield f"bias {found.bias}"
    if found.precision is not None:
        yield f"accumulators of {found.precision + 1} bits"
    if found.rounding:
        yield found.rounding
    if found.operands is not None:
        yield f"operands of {found.operands + 1} bits"
    if found.fma is not None:
        yield "products not rounded (fma)" if found.fma else "products rounded"
    if found.width is not None:
        yield f"{found.width} bits behind the first of the largest term where several are added at once"
    if found.zero_exponent is not None:
        yield f"a zero {'hides' if found.zero_exponent else 'does not hide'} small terms"
