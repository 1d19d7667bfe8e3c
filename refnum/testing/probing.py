"""The order in which a black box adds, found by asking it: the algorithm of FPRev, and probes beyond the order.

Terms are units, but for +M and -M in two places, where M is so large that whatever is added to it is lost. Units that
are added below the node in which the two meet are lost with M; the others survive, and the result counts them. So it
tells how many terms that node adds up, and from enough of these numbers follows the tree: P. Xie and others, "FPRev:
Revealing Floating-Point Accumulation Order in Software/Hardware Implementations" (USENIX ATC 2025).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS
from ..sums.operands import FP8
from .boxes import RANGES, Box
from .trees import Tree

CHECKED = 256  #: pairs of terms that a tree has to explain besides those that it was built from
FARTHEST = 64  #: bits of accumulators that are looked for


class ContradictionError(Exception):
    """What a box gave cannot come from additions in a fixed order."""


# ---- where terms meet ---------------------------------------------------------------------------------------------


class Meetings:
    """How many terms the node adds up in which two terms meet, pair by pair; asked once each."""

    def __init__(self, box: Box, result: torch.dtype) -> None:
        self.box, self.found = box, dict[tuple[int, int], int]()
        self.strays: set[tuple[int, int]] = set()  #: results that add in another order than the first one
        values = RANGES[box.dtype]
        self.unit = 2.0**values.unit
        self.mask = box.factors(2.0**values.mask)
        # A result counts exactly as far as it has bits.
        self.capacity = min(values.capacity, 1 << FLOAT_ROWS[result].significand_bits)

    def __call__(self, i: int, j: int) -> int:
        """Ask the box if it was not asked before."""
        pair = min(i, j), max(i, j)
        if pair not in self.found:
            self.found[pair] = self.ask(*pair)
        return self.found[pair]

    def ask(self, i: int, j: int) -> int:
        """Ask the box, whether it was asked before or not."""
        terms = self.box.terms
        kept = sum(self._kept(i, j, start) for start in range(0, terms, self.capacity))
        assert isinstance(kept, Tensor)
        self.strays.update((int(m), int(n)) for m, n in (kept != kept[0, 0]).nonzero())
        met = terms - float(kept[0, 0])
        if not (2 <= met <= terms and met == int(met)):
            raise ContradictionError(
                f"terms {i} and {j} are +M and -M, the others 1, and the sum is {terms - met:g}, not one of 0 .. "
                f"{terms - 2}"
            )
        return int(met)

    def _kept(self, i: int, j: int, start: int) -> Tensor:
        """The units that survive of those from a start on: as many as can be counted."""
        left, right = torch.zeros(2, self.box.terms, dtype=torch.float64, device="cpu").unbind()
        left[start : start + self.capacity], right[start : start + self.capacity] = self.box.factors(self.unit)
        (left[i], right[i]), (left[j], right[j]) = self.mask, (-self.mask[0], self.mask[1])
        if not self.box.kind.multiplies:
            right.fill_(1.0)
        return self.box.ask(left, right) / self.unit


# ---- the tree -----------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class _Group:
    """Terms of which the tree is looked for, by where they meet one of them, the pivot."""

    terms: list[int]
    depth: int
    inner: list[tuple[int, _Group]] = field(default_factory=list)  #: how many terms the pivot's node adds up there
    parts: list[int] = field(default_factory=list)  #: of the node that adds them up
    reach: int = 1  #: how many terms that node adds up; more than these where it adds others at once

    @property
    def pivot(self) -> int:
        """A term at one end: most chains begin at one of the two, and there all pairs differ."""
        return self.terms[0 if self.depth % 2 == 0 else -1]


def found_tree(meet: Callable[[int, int], int], terms: int) -> Tree | None:
    """The tree in which pairs of terms meet so; None where each meets each in a node of two: sums without an order."""
    if terms > 2 and all(meet(0, j) == 2 for j in range(1, terms)):
        return None
    # 1. Terms that meet the pivot in one node are a group, and are looked into in turn.
    groups = [_Group(list(range(terms)), 0)]
    for group in groups:  # which grow meanwhile
        by_size = defaultdict(list)
        for term in group.terms:
            if term != group.pivot:
                by_size[meet(group.pivot, term)].append(term)
        group.inner = [(size, _Group(members, group.depth + 1)) for size, members in sorted(by_size.items())]
        groups += [inner for _, inner in group.inner]
    # 2. What is inside of a group stands behind it.
    joins: list[tuple[int, ...]] = []
    for group in reversed(groups):
        _join(group, joins, terms)
    _node(groups[0].parts, joins, terms)
    return Tree.of(terms, joins)


def _join(group: _Group, joins: list[tuple[int, ...]], terms: int) -> None:
    """Join the pivot with the groups that it meets, one after the other."""
    group.parts, count = [group.pivot], 1
    for size, inner in group.inner:
        here = _node(group.parts, joins, terms)
        count += len(inner.terms)
        # Either the node adds what has been found so far, or, at last, terms outside of this group at once with it.
        shared = size > count == len(group.terms)
        if not (size == count or shared) or inner.reach not in (len(inner.terms), size):
            raise ContradictionError(
                f"term {group.pivot} meets term {inner.terms[0]} in a node of {size} terms, where {count} are found"
            )
        # Terms that meet each other no sooner than they meet the pivot are parts of one node with it.
        whole = inner.reach == len(inner.terms)
        group.parts = [here, _node(inner.parts, joins, terms)] if whole else [*inner.parts, here]
        group.reach = size


def _node(parts: list[int], joins: list[tuple[int, ...]], terms: int) -> int:
    """The node that adds the parts up."""
    if len(parts) == 1:
        return parts[0]
    joins.append(tuple(parts))
    return terms + len(joins) - 1


def unexplained(meet: Meetings, tree: Tree | None) -> list[str]:
    """Pairs that do not meet where the tree says, of many that were not asked for before, or are asked again."""
    terms = meet.box.terms
    if terms < 2:
        return []
    draw = Random(terms)
    pairs = [tuple(draw.sample(range(terms), 2)) for _ in range(CHECKED)]
    want = [2] * len(pairs) if tree is None else tree.meetings((i, j) for i, j in pairs)
    return [
        f"terms {i} and {j} meet in a node of {got} terms, in the tree in one of {size}"
        for (i, j), size in zip(pairs, want, strict=True)
        if (got := meet.ask(i, j)) != size
    ]


# ---- beyond the tree ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of the additions besides their order; None of what does not exist or cannot be seen."""

    bias: str | None = None  #: first, last or within
    operands: int | None = None  #: bits behind the first one that are kept of operands
    fma: bool | None = None  #: whether products are added unrounded
    width: int | None = None  #: bits behind the largest term that are kept where several terms are added at once
    precision: int | None = None  #: bits behind the first one of accumulators
    rounding: str | None = None  #: of accumulators, as refnum names it
    zero_exponent: bool | None = None  #: whether 0 has an exponent of its own, whatever it is multiplied with


#: what becomes of 1/4, 1/2 and 3/4 of the last place behind 1, and of -3/4 behind -1
ROUNDINGS: dict[tuple[float, ...], str] = {
    (0.0, 0.0, 1.0, -1.0): "nearest_even",
    (0.0, 1.0, 1.0, -1.0): "nearest_away",
    (0.0, 0.0, 0.0, 0.0): "toward_zero",
    (1.0, 1.0, 1.0, 0.0): "toward_positive",
    (0.0, 0.0, 0.0, -1.0): "toward_negative",
}


def find_fused(box: Box, tree: Tree) -> frozenset[int]:
    """The terms whose products are not rounded before they are added."""
    if not box.kind.multiplies:
        return frozenset()
    # (1 + u)(1 - u) - 1 is 0 where the product is rounded; scaled, so that any result holds it.
    unit = 2.0 ** -_bits(box)
    scale = 1.0 if RANGES[box.dtype].narrow else 1 / unit
    parents, firsts = tree.parents, tree.firsts
    fused = set()
    for term in range(box.shape.terms if tree.joins else 0):
        other = next(firsts[part] for part in tree.joins[parents[term] - tree.leaves] if part != term)
        factors = {term: ((1 + unit) * scale, (1 - unit) * scale), other: (-scale, scale)}
        if box.ask_factors(factors) == -((unit * scale) ** 2):
            fused.add(term)
    return frozenset(fused)


def _bits(box: Box) -> int:
    """Bits of operands behind the first one."""
    row = FP8[box.dtype] if box.dtype in FP8 else FLOAT_ROWS[box.dtype]
    return row.significand_bits - 1


def find(box: Box, tree: Tree, fused: frozenset[int], result: torch.dtype) -> Findings:
    """What else the box does."""
    precision, operands = _precision(box, tree), _operands(box, tree)
    return Findings(
        bias=None if box.bias is None else _bias(tree),
        operands=operands,
        fma=_fma(box, tree, fused) if operands == _bits(box) else None,
        width=_width(box, tree),
        precision=precision,
        rounding=None if precision is None else _rounding(box, tree, precision),
        zero_exponent=_zero_exponent(box, tree, result),
    )


def _bias(tree: Tree) -> str:
    """Where in the sum the last term stands."""
    parts = tree.joins[tree.parents[tree.leaves - 1] - tree.leaves] if tree.joins else ()
    if all(part < tree.leaves for part in parts):
        return "first"
    return "last" if len(parts) == 2 and parts == tree.joins[-1] else "within"


def _operands(box: Box, tree: Tree) -> int | None:
    """The largest j at which (1 + 2**-j) - 1 is not 0."""
    if not box.kind.multiplies or not tree.joins:
        return None
    x, y = tree.joins[0][:2]
    scale = 1.0 if RANGES[box.dtype].narrow else 2.0 ** _bits(box)
    ask = ({x: (1 + 2.0**-j, scale), y: (-1.0, scale)} for j in range(_bits(box), 0, -1))
    return next((_bits(box) - i for i, factors in enumerate(ask) if box.ask_factors(factors)), 0)


def _fma(box: Box, tree: Tree, fused: frozenset[int]) -> bool | None:
    """Whether all products are fused that can be, or none; of two that begin a sum one can."""
    if not box.kind.multiplies or not tree.joins:
        return None
    able = [
        any(part in fused for part in parts) if len(terms) == len(parts) else all(part in fused for part in terms)
        for parts in tree.joins
        if (terms := [part for part in parts if part < box.shape.terms])
    ]
    return all(able) if all(able) or not any(able) else None


def _last_surviving(box: Box, large: int, small: int, opposite: int) -> int | None:
    """The largest j at which 2**-j is what is left of 1 + 2**-j - 1; None where it is always."""
    values = RANGES[box.dtype]
    for j in range(1, min(FARTHEST, values.mask - values.unit) + 1):
        top = values.mask if values.narrow else j
        left = 2.0 ** (top - j)
        if box.ask_values({large: 2.0**top, small: left, opposite: -(2.0**top)}) != left:
            return j - 1
    return None


def _three_at_once(tree: Tree) -> list[int] | None:
    """Terms of three parts of one node."""
    firsts = tree.firsts
    return next(([firsts[part] for part in parts[:3]] for parts in tree.joins if len(parts) > 2), None)


def _first_two(tree: Tree) -> tuple[int, int, int] | None:
    """Two terms that are added, and one that is added later."""
    if len(tree.joins) < 2:
        return None
    firsts, parents = tree.firsts, tree.parents
    x, y = (firsts[part] for part in tree.joins[0][:2])
    later = tree.joins[parents[tree.leaves] - tree.leaves]
    return x, y, next(firsts[part] for part in later if part != tree.leaves)


def _width(box: Box, tree: Tree) -> int | None:
    three = _three_at_once(tree)
    return None if three is None else _last_surviving(box, three[0], three[1], three[2])


def _precision(box: Box, tree: Tree) -> int | None:
    three = _first_two(tree)
    return None if three is None else _last_surviving(box, *three)


def _rounding(box: Box, tree: Tree, precision: int) -> str | None:
    three = _first_two(tree)
    assert three is not None
    x, y, later = three
    values = RANGES[box.dtype]
    top = 2.0 ** (values.mask if values.narrow else precision + 2)
    last = top * 2.0**-precision
    rounded = (
        box.ask_values({x: sign * top, y: sign * part * last, later: -sign * top}) / last
        for sign, part in ((1, 0.25), (1, 0.5), (1, 0.75), (-1, 0.75))
    )
    return ROUNDINGS.get(tuple(rounded))


def _zero_exponent(box: Box, tree: Tree, result: torch.dtype) -> bool | None:
    """Whether 0 times a huge value hides a small term that is added at once with it."""
    three = _three_at_once(tree)
    if three is None or not box.kind.multiplies or torch.float16 in (box.dtype, result) or box.dtype in FP8:
        return None
    return box.ask_factors({three[0]: (0.0, 2.0**126), three[1]: (2.0**-30, 2.0**-30)}) != 2.0**-60
