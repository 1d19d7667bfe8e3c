"""Orders of additions: trees whose leaves are the terms of a sum, in words, as expressions, and replayed on data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sums.chain import chain_mm
from ..sums.operands import product_shape, widened

SHOWN = 600  #: characters of an expression that are shown
MANY = 4  #: evenly spaced terms of which all are shown


@dataclass(frozen=True, slots=True)
class Tree:
    """An order in which terms are added: equal orders are equal records.

    Nodes 0, 1, .. are the terms; each join is one more node, which adds two nodes before it, or several at once. Joins
    stand by their number of terms, those of equal number by their first term; so the last node is the sum.

    >>> tree = Tree.of(4, [(0, 1), (2, 3), (4, 5)])
    >>> print(tree, tree.summary, sep=": ")
    0 + 1 + (2 + 3): 4 terms joined pairwise
    """

    leaves: int
    joins: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, leaves: int, joins: Iterable[tuple[int, ...]]) -> Tree:
        """The tree of joins in any order in which each stands behind those that it adds."""
        given = cls(leaves, tuple(joins))
        size, first = given.sizes, given.firsts
        order = sorted(range(len(size)), key=lambda node: (size[node], first[node]))
        place = {node: index for index, node in enumerate(order)}
        parts = (sorted(given.joins[node - leaves], key=first.__getitem__) for node in order[leaves:])
        return cls(leaves, tuple(tuple(place[part] for part in each) for each in parts))

    @property
    def sizes(self) -> list[int]:
        """How many terms each node adds up."""
        size = [1] * self.leaves
        for parts in self.joins:
            size.append(sum(size[part] for part in parts))
        return size

    @property
    def firsts(self) -> list[int]:
        """The first term of each node."""
        first = list(range(self.leaves))
        for parts in self.joins:
            first.append(min(first[part] for part in parts))
        return first

    @property
    def parents(self) -> list[int]:
        """The join that adds each node but the last."""
        parent = [0] * (self.leaves + len(self.joins) - 1)
        for node, parts in enumerate(self.joins, self.leaves):
            for part in parts:
                parent[part] = node
        return parent

    def meetings(self, pairs: Iterable[tuple[int, int]]) -> list[int]:
        """How many terms the node adds up in which two terms meet, pair by pair.

        >>> Tree.of(3, [(0, 1), (2, 3)]).meetings([(0, 1), (0, 2)])
        [2, 3]
        """
        parent, size, found = self.parents, self.sizes, []
        for i, j in pairs:
            while i != j:  # a parent stands behind its parts
                i, j = (parent[i], j) if i < j else (i, parent[j])
            found.append(size[i])
        return found

    def without_last(self) -> Tree:
        """The order of the other terms when the last one is taken away."""
        gone = self.leaves - 1
        place: dict[int, int] = {leaf: leaf for leaf in range(gone)}
        joins: list[tuple[int, ...]] = []
        for node, parts in enumerate(self.joins, self.leaves):
            rest = tuple(place[part] for part in parts if part != gone)
            if len(rest) == 1:
                place[node] = rest[0]
            else:
                place[node] = gone + len(joins)
                joins.append(rest)
        return Tree.of(gone, joins)

    @property
    def chain_lengths(self) -> set[int]:
        """How many terms there are in the longest chains."""
        return {chain.length for chain in _chains(self)}

    @property
    def summary(self) -> str:
        """The order in words, from the terms to the sum."""
        return "; ".join(_phrases(self, "{} terms"))

    def __str__(self) -> str:
        text = _expression(self, self.leaves + len(self.joins) - 1, self.sizes)
        return text if len(text) <= SHOWN else f"{text[: text.rindex(' ', 0, SHOWN)]} .."


# ---- known orders -------------------------------------------------------------------------------------------------


def pairwise(count: int) -> Tree:
    """Neighbours are added, level by level; a last one without a neighbour moves up."""
    joins: list[tuple[int, ...]] = []
    level = list(range(count))
    while len(level) > 1:
        pairs = list(zip(level[::2], level[1::2], strict=False))
        alone = level[2 * len(pairs) :]
        level = [*range(count + len(joins), count + len(joins) + len(pairs)), *alone]
        joins += pairs
    return Tree.of(count, joins)


def halving(count: int) -> Tree:
    """The second half is added to the first as long as the count is even, then the others one by one."""
    joins: list[tuple[int, ...]] = []
    level = list(range(count))
    while len(level) > 1:
        half = len(level) // 2 if len(level) % 2 == 0 else 1
        pairs = list(zip(level[:half], level[half : 2 * half], strict=True))
        level = [*range(count + len(joins), count + len(joins) + half), *level[2 * half :]]
        joins += pairs
    return Tree.of(count, joins)


#: ways in which terms, or parts of a sum, are joined, besides chains
JOINS: dict[str, Callable[[int], Tree]] = {"joined pairwise": pairwise, "joined by halves": halving}
NAMELESS = "in no order that has a name"
WAYS = {1: "ascending", -1: "descending"}  #: of a chain, by the distance from a term to the next one


# ---- in words -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chain:
    """Terms that are added to what has been added before: one a step, or several at once."""

    node: int  #: the last step
    blocks: tuple[tuple[int, ...], ...]  #: the terms of each step

    @property
    def length(self) -> int:
        """How many terms there are."""
        return sum(map(len, self.blocks))

    @property
    def strides(self) -> set[int]:
        """The distances from a term to the next one."""
        return {j - i for i, j in itertools.pairwise(itertools.chain(*self.blocks))}


def _chains(tree: Tree) -> list[Chain]:
    """The longest chains, by their first terms. Each term belongs to one."""
    # 1. Joins of terms begin chains, and joins of terms with a chain prolong it.
    before: dict[int, int | None] = dict.fromkeys(range(tree.leaves))
    for node, parts in enumerate(tree.joins, tree.leaves):
        inner = [part for part in parts if part >= tree.leaves]
        if not inner or (len(inner) == 1 and inner[0] in before):
            before[node] = inner[0] if inner else None
    # 2. The longest ones are not part of another one.
    parts_of = {part for node in before if node >= tree.leaves for part in tree.joins[node - tree.leaves]}
    chains = [_unrolled(tree, node, before) for node in before if node not in parts_of]
    return sorted(chains, key=lambda chain: min(map(min, chain.blocks)))


def _unrolled(tree: Tree, node: int, before: dict[int, int | None]) -> Chain:
    blocks: list[tuple[int, ...]] = []
    at: int | None = node
    while at is not None:
        parts = tree.joins[at - tree.leaves] if at >= tree.leaves else (at,)
        blocks.insert(0, tuple(part for part in parts if part < tree.leaves))
        at = before[at]
    second = blocks[1] if len(blocks) > 1 else ()
    if len(blocks[0]) == 2 and len(second) < 2:
        # One term and then the other; which was first makes no difference, so that from which the third goes on.
        low, high = blocks[0]
        first_two = (high, low) if second and second[0] < low else (low, high)
        blocks[:1] = [(term,) for term in first_two]
    return Chain(node, tuple(blocks))


def _phrases(tree: Tree, what: str) -> Iterator[str]:
    chains = _chains(tree)
    count = what.format(tree.leaves)
    if len(chains) == 1:
        yield f"{count} {_in_steps(chains[0])}"
    elif named := [name for name, make in JOINS.items() if make(tree.leaves) == tree]:
        yield f"{count} {named[0]}"
    elif 2 * len(chains) > tree.leaves:
        yield f"{count} joined {NAMELESS}"
    else:
        yield _of_many(chains, what)
        yield from _phrases(_joined(tree, chains), "these {}")


def _joined(tree: Tree, chains: Sequence[Chain]) -> Tree:
    """The tree whose terms are the chains."""
    place = {chain.node: index for index, chain in enumerate(chains)}
    joins: list[tuple[int, ...]] = []
    for node, parts in enumerate(tree.joins, tree.leaves):
        if all(part in place for part in parts):
            place[node] = len(chains) + len(joins)
            joins.append(tuple(place[part] for part in parts))
    return Tree.of(len(chains), joins)


def _in_steps(chain: Chain) -> str:
    """How a chain that is the whole sum is added."""
    sizes = [len(block) for block in chain.blocks]
    stride = next(iter(chain.strides)) if len(chain.strides) == 1 else 0
    if len(sizes) == 1:
        return "added at once"
    how = "one by one" if set(sizes) == {1} else f"in blocks of {_counted(sizes)} at once"
    return f"added {how}, {WAYS.get(stride, NAMELESS)}"


def _of_many(chains: Sequence[Chain], what: str) -> str:
    strides: set[int] = set().union(*(chain.strides for chain in chains))
    most = max(len(block) for chain in chains for block in chain.blocks)
    apart = f" {strides.pop()} apart" if len(strides) == 1 and strides != {1} else ""
    blocks = f", added in blocks of up to {most} at once" if most > 1 else ""
    lengths = _counted([chain.length for chain in chains])
    return f"{len(chains)} chains of {what.format(lengths)}{apart}{blocks}"


def _counted(sizes: Sequence[int]) -> str:
    """Sizes in order, equal neighbours together.

    >>> _counted([384, 308, 308]), _counted([8, 8])
    ('384, 2 x 308', '8')
    """
    if len(set(sizes)) == 1:
        return str(sizes[0])
    runs = [(size, len(list(group))) for size, group in itertools.groupby(sizes)]
    return ", ".join(f"{count} x {size}" if count > 1 else str(size) for size, count in runs)


# ---- as an expression ---------------------------------------------------------------------------------------------


def _expression(tree: Tree, node: int, sizes: Sequence[int]) -> str:
    """Additions from left to right; in braces what is added at once."""
    # The largest part of each join goes first: what is in brackets is the lesser one, so that they nest little.
    steps: list[list[int]] = []
    while node >= tree.leaves:
        parts = tree.joins[node - tree.leaves]
        node = max(parts, key=sizes.__getitem__)
        steps.append([part for part in parts if part != node])
    text = str(node)
    for several, group in itertools.groupby(reversed(steps), key=lambda step: len(step) > 1):
        if several:
            for step in group:
                text = f"{{{', '.join((text, *_names(tree, step, sizes)))}}}"
        else:
            text = " + ".join((text, *_names(tree, [part for (part,) in group], sizes)))
    return text


def _names(tree: Tree, nodes: Sequence[int], sizes: Sequence[int]) -> Iterator[str]:
    """Terms and expressions in brackets; of terms that are evenly spaced the first two and the last."""
    at = 0
    while at < len(nodes):
        run = _evenly_spaced(nodes[at:], tree.leaves)
        if run > MANY:
            yield from (str(nodes[at]), str(nodes[at + 1]), "..", str(nodes[at + run - 1]))
        elif run:
            yield from map(str, nodes[at : at + run])
        else:
            yield f"({_expression(tree, nodes[at], sizes)})"
        at += max(run, 1)


def _evenly_spaced(nodes: Sequence[int], leaves: int) -> int:
    """How many nodes, from the first one on, are terms at one distance."""
    count = 0
    while count < len(nodes) and nodes[count] < leaves:
        if count > 1 and nodes[count] - nodes[count - 1] != nodes[1] - nodes[0]:
            break
        count += 1
    return count


# ---- on data ------------------------------------------------------------------------------------------------------


def replay(tree: Tree, a: Tensor, b: Tensor, bias: Tensor | None = None, *, fused: Collection[int] = ()) -> Tensor:
    """``a @ b + bias`` in float32, added in the order of a tree of two parts a join.

    Parameters
    ----------
    a, b, bias : Tensor
        [.., M, K], [.., K, N], and what broadcasts to [.., M, N]: the last term of the tree.
    fused
        The terms that are added by a fused multiply-add: the products of the others are rounded first.

    Returns
    -------
    Tensor
        [.., M, N], float32.
    """
    a, b = widened(a), widened(b)
    shape = product_shape(a, b)
    nothing = torch.full(shape, -0.0, dtype=torch.float32, device=a.device)  # adding it changes no bit

    def add_product(term: int, to: Tensor) -> Tensor:
        return chain_mm(a[..., term : term + 1], b[..., term : term + 1, :], to, torch.float32)

    def value(node: int) -> Tensor:
        if node >= tree.leaves:
            return sums.pop(node)
        if node < a.shape[-1]:
            return add_product(node, nothing)
        assert bias is not None
        return widened(bias).expand(shape)

    sums: dict[int, Tensor] = {}
    for node, (left, right) in enumerate(tree.joins, tree.leaves):
        # Of two terms that may be fused one is the accumulator.
        term, other = (left, right) if left in fused and right not in fused else (right, left)
        sums[node] = add_product(term, value(other)) if term in fused else _added(value(term), value(other))
    return value(tree.leaves + len(tree.joins) - 1)


def _added(x: Tensor, y: Tensor) -> Tensor:
    """The sums of two tensors of one shape, whatever settings do to subnormals."""
    one = torch.ones(1, 1, dtype=torch.float32, device=x.device)
    sums = chain_mm(x.reshape(-1, 1), one, y.reshape(-1, 1), torch.float32)
    return sums.view(x.shape)
