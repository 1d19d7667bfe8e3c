"""Which contract a black box obeys: its order by probes, its bits on data."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, check_choice, check_function
from ..errors import ContractError, DTypeError, RefnumError
from ..fast.conversions import INTEGER
from ..ops import gemm
from ..sums import contracts
from ..sums.contracts import CONTRACTS, FAMILIES, Contract, Family
from ..sums.results import RESULTS, canonical_nan, finished
from .boxes import KINDS, RANGES, Box, Operands, Shape, operands
from .orders import Mismatch, Order, Revelation
from .probing import ContradictionError, Findings, Meetings, find, find_fused, found_tree, unexplained
from .trees import Tree, replay

ENOUGH = 64  #: results that are compared on each sort of data, at least
REASKED = 256  #: pairs of terms on which a contract has to agree
SHOWN = 3  #: errors of one sort


def reveal(
    fn: Callable[..., object],
    *,
    kind: str = "matmul",
    terms: int | Sequence[int] = 64,
    rows: int | Sequence[int] = (1, 4, 16),
    columns: int | Sequence[int] = 16,
    dtype: torch.dtype = torch.float32,
    bias: torch.dtype | None = None,
    against: str | Contract | Sequence[str | Contract] | None = None,
    reach: int = 1024,
    device: torch.device | str = "cpu",
) -> Revelation:
    """The order in which a black box adds up, and the contract whose bits it has.

    >>> import refnum
    >>> print(reveal(refnum.gemm, terms=20, rows=2, columns=2, reach=100, against=["chain/v1"]))
    float32 to float32
    M 2, K 20, N 2
      order     20 terms added one by one, ascending
      sums      accumulators of 24 bits, nearest_even, operands of 24 bits, products not rounded (fma)
      contract  chain/v1
      verified  the order, replayed, has the bits of every result
    contract: chain/v1 at every shape

    Parameters
    ----------
    fn
        A function of tensors, as ``kind`` says. It is called some hundred times a shape.
    kind : str
        ``matmul``: fn(a [M, K], b [K, N]) -> [M, N], with a bias [N] as a third argument if ``bias`` is a dtype;
        ``rows``: fn(x [M, K]) -> [M], the sums of rows; ``sum``: fn(x [K]) -> 0-d.
    terms, rows, columns : int or sequence of int
        K, M and N. Every combination is looked at, since kernels choose orders by shape.
    dtype : torch.dtype
        Of the operands: float64, float32, bfloat16, float16 or a float8 dtype of torch.
    bias : torch.dtype, optional
        Of a bias, which is one more term: one that has the range of the operands.
    against : str or Contract, or sequence of them, optional
        The contracts to compare with, by default all that take the dtypes.
    reach : int
        On data alone, the contract is compared further on, up to so many terms; 0 for not at all.
    device : torch.device or str
        Where the operands are.

    Returns
    -------
    Revelation
        ``tree`` (None without an order), ``contract`` (None where none has the same bits at every shape), ``findings``,
        ``errors``, ``text``, and ``orders``: what was found shape by shape.

    Raises
    ------
    ContractError
        When ``kind``, a size or a contract is none, or a bias comes with another kind than ``matmul``.
    DTypeError
        When a dtype is none of these, or fn gives no tensor of float64, float32, bfloat16 or float16.
    ShapeError
        When fn gives a result of another shape.

    Exactness: the tree is the order of a box whose order depends on the shape alone; contracts are compared on data.
    Rounding: that of the box is found.
    Special: what contradicts an order is in ``errors``. Values of float16 and of 8 bits span 33 to 39 bits: in wider
        accumulators nothing of them is lost, and no order is seen.
    Standard: FPRev (USENIX ATC 2025).
    Cost: O(K) calls of fn a shape where it adds in chains or lanes, O(K**2) at most.
    """
    check_function("reveal", "fn", fn)
    shapes = _checked_shapes(kind, terms, rows, columns)
    if dtype not in RANGES:
        raise DTypeError(
            f"reveal needs a floating-point dtype, got {dtype}. Allowed are {', '.join(map(str, RANGES))}. Choose one."
        )
    if bias is not None:
        _check_bias(kind, dtype, bias)
    if isinstance(reach, bool) or not isinstance(reach, int) or reach < 0:
        raise ContractError(f"reveal has no reach={reach!r}. Allowed is an int of 0 or more. Choose one.")
    chosen = None if against is None else [contracts.find("reveal", row) for row in _several(against)]
    device = torch.device(device)

    @cache
    def samples(shape: Shape) -> Samples:
        return Samples.of(Box(fn, KINDS[kind], shape, dtype, bias, device))

    @cache
    def agrees(name: str, shape: Shape) -> bool:
        return samples(shape).agree_with(contracts.find("reveal", name))

    orders = tuple(_order(samples(shape), chosen) for shape in shapes)
    result = samples(shapes[0]).result
    tried = [*shapes, *_further(shapes[-1], reach)]
    common = [name for name in orders[0].contracts if all(name in order.contracts for order in orders)]
    contract = next((name for name in common if all(agrees(name, shape) for shape in tried)), None)
    best = contract or _most_frequent(orders)
    changes = dict.fromkeys(_changes(best, tried, partial(agrees, best)) if best else ())
    return Revelation(dtype, result, orders, contract, tuple(changes))


def _checked_shapes(kind: str, terms: object, rows: object, columns: object) -> list[Shape]:
    check_choice("reveal", "kind", kind, KINDS)
    named = {"rows": rows, "terms": terms, "columns": columns}
    sizes = [_checked_sizes(name, got if name in KINDS[kind].sizes else 1) for name, got in named.items()]
    return [Shape(*shape) for shape in itertools.product(*sizes)]


def _check_bias(kind: str, dtype: torch.dtype, bias: object) -> None:
    allowed = [row for row in FLOAT_ROWS if 2.0 ** RANGES[dtype].mask <= torch.finfo(row).max]
    if kind != "matmul":
        raise ContractError(f"reveal has no bias with kind={kind!r}. Allowed is kind='matmul'. Leave out the bias.")
    if bias not in allowed:
        raise DTypeError(
            f"reveal needs a dtype for the bias that has the range of {dtype}, got {bias!r}. Allowed are "
            f"{', '.join(map(str, allowed))}. Choose one."
        )


def _checked_sizes(name: str, got: object) -> list[int]:
    sizes = _several(got)
    if not sizes or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise ContractError(f"reveal has no {name}={got!r}. Allowed are positive ints, one or several. Choose some.")
    return sorted(set(sizes))


def _several(got: object) -> Sequence[Any]:
    """A sequence as it is, something else as the only element of one."""
    return got if isinstance(got, Sequence) and not isinstance(got, str) else [got]


# ---- on data ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Samples:
    """Operands on which orders and roundings show, and what the box made of them: several of a sort are stacked."""

    box: Box
    given: tuple[Operands, ...]  #: [count, rows, terms], [count, terms, columns], [count, 1, columns]: a sort each
    got: tuple[Tensor, ...]  #: [count, rows, columns]

    @classmethod
    def of(cls, box: Box) -> Samples:
        """As many of each sort as give enough results."""
        count = -(-ENOUGH // (box.shape.rows * box.shape.columns))
        given = tuple(operands(box, count))
        return cls(box, given, tuple(box.one_by_one(each) for each in given))

    @property
    def result(self) -> torch.dtype:
        """The dtype of results."""
        return self.got[0].dtype

    @property
    def count(self) -> int:
        """How many results there are."""
        return sum(got.numel() for got in self.got)

    def difference(self, name: str, other: Callable[..., Tensor]) -> Mismatch | None:
        """The first sort on which another function of stacked operands has other bits."""
        for sort, (given, got) in enumerate(zip(self.given, self.got, strict=True)):
            x, y = _patterns(got), _patterns(other(*given))
            if len(places := (x != y).nonzero()):
                index, mask = tuple(places[0].tolist()), (1 << 8 * got.dtype.itemsize) - 1
                bits = (int(side[index]) & mask for side in (x, y))
                return Mismatch(name, sort, len(places), x.numel(), index[1:], *bits)
        return None

    def agree_with(self, contract: Contract) -> bool:
        """Whether a contract has the same bits. One that refuses such operands has not."""
        try:
            return self.difference(contract.name, self.under(contract)) is None
        except RefnumError:
            return False

    def under(self, contract: Contract) -> Callable[..., Tensor]:
        """Products that obey a contract, with such results."""
        return partial(gemm, contract=contract, out_dtype=self.result)


def _patterns(x: Tensor) -> Tensor:
    """Bits, with one NaN."""
    return x.contiguous().view(INTEGER[x.dtype]).masked_fill(x.isnan(), canonical_nan(x.dtype))


# ---- one shape ----------------------------------------------------------------------------------------------------


def _order(samples: Samples, chosen: Sequence[Contract] | None) -> Order:
    box, meet = samples.box, Meetings(samples.box, samples.result)
    tree, exact, errors = _searched(samples, meet)
    fused = find_fused(box, tree) if tree else frozenset()
    findings = find(box, tree, fused, samples.result) if tree else Findings()
    compared = _compared(samples, meet, _candidates(samples, tree, chosen))
    difference = None
    replayable = tree is not None and _replayable(samples, tree, findings)
    if tree and replayable:
        difference = samples.difference("", lambda *given: finished(replay(tree, *given, fused=fused), samples.result))
        if difference and not compared.equal:
            errors.append(f"the order does not explain the bits: replayed in float32, {difference}")
    return Order(
        shape=box.shape,
        tree=tree,
        exact=exact,
        findings=findings,
        fused=fused,
        contracts=compared.equal,
        disordered=compared.disordered,
        nearest=None if compared.equal or compared.disordered else compared.nearest,
        replayed=difference is None if replayable else None,
        compared=samples.count,
        errors=tuple(errors),
    )


def _searched(samples: Samples, meet: Meetings) -> tuple[Tree | None, bool, list[str]]:
    """The tree, whether there is none because nothing is lost, and what contradicts it."""
    again = samples.difference("", lambda *given: samples.box.one_by_one(given))
    errors = [] if again is None else [f"fn gives other bits when it is called again: {again}"]
    try:
        tree = found_tree(meet, samples.box.terms)
        wrong = unexplained(meet, tree)
    except ContradictionError as error:
        tree, wrong = None, [str(error)]
    errors += wrong[:SHOWN]
    errors += [f"result {list(place)} is added in another order than [0, 0]" for place in sorted(meet.strays)[:SHOWN]]
    return (None, False, errors) if wrong else (tree, tree is None, errors)


def _replayable(samples: Samples, tree: Tree, findings: Findings) -> bool:
    """Whether the order says all: two parts a join, in float32."""
    in_float32 = findings.precision in (None, 23) and findings.rounding in (None, "nearest_even")
    known = samples.box.dtype != torch.float64 and samples.result in RESULTS
    return in_float32 and known and all(len(parts) == 2 for parts in tree.joins)


# ---- contracts ----------------------------------------------------------------------------------------------------


def _candidates(samples: Samples, tree: Tree | None, chosen: Sequence[Contract] | None) -> list[Contract]:
    """The contracts that take the dtypes, in the order of their table."""
    box = samples.box
    terms = tree.without_last() if tree and box.bias else tree
    lengths = terms.chain_lengths - {box.shape.terms} if terms else set[int]()
    families = (row for family in FAMILIES.values() for row in _members(family, lengths))
    rows = chosen if chosen is not None else dict.fromkeys((*CONTRACTS.values(), *families))
    return [
        row
        for row in rows
        if row.multiply is not None
        and not row.name.startswith("unversioned/")
        and box.dtype in row.operands
        and samples.result in row.results
        and (box.bias is None or box.bias in row.biases)
    ]


def _members(family: Family, lengths: set[int]) -> Iterator[Contract]:
    """Rows of a family: numbers are its own, or lengths of chains that were found; names are those of contracts."""
    names = [name.rpartition("/")[0] for name in CONTRACTS]
    choices = [
        [default, *(sorted(lengths) if isinstance(default, int) else names)] for default in family.defaults.values()
    ]
    for values in itertools.product(*choices):
        parameters = dict(zip(family.defaults, values, strict=True))
        try:
            yield contracts.find("reveal", contracts.full_name(family.name, **parameters))
        except RefnumError:  # not every number or name makes a row
            continue


class _Comparison(NamedTuple):
    equal: tuple[str, ...]  #: contracts with the same bits and the same order
    disordered: tuple[str, ...]  #: with the same bits alone
    nearest: Mismatch | None  #: of the others


def _compared(samples: Samples, meet: Meetings, rows: Sequence[Contract]) -> _Comparison:
    equal, disordered, differences = [], [], []
    for row in rows:
        product = samples.under(row)
        try:
            difference = samples.difference(row.name, product)
        except RefnumError:  # a contract that refuses this shape is none of them
            continue
        if difference is not None:
            differences.append(difference)
        elif _meet_alike(meet, Meetings(replace(samples.box, fn=product, kind=KINDS["matmul"]), samples.result)):
            equal.append(row.name)
        else:
            disordered.append(row.name)
    nearest = max(differences, key=lambda x: (x.sort, -x.mismatched), default=None)
    return _Comparison(tuple(equal), tuple(disordered), nearest)


def _meet_alike(meet: Meetings, other: Meetings) -> bool:
    """Whether terms meet in nodes of the same size, in pairs all over what was asked."""
    pairs = sorted(meet.found)
    some = pairs[:: -(-len(pairs) // REASKED)] if pairs else []
    try:
        return all(other(*pair) == meet.found[pair] for pair in some)
    except ContradictionError:
        return False


# ---- several shapes -----------------------------------------------------------------------------------------------


def _most_frequent(orders: Sequence[Order]) -> str | None:
    """The contract that most shapes have, of several the first one."""
    counted = Counter(name for order in orders for name in order.contracts)
    return max(counted, key=counted.__getitem__, default=None)


def _further(shape: Shape, reach: int) -> Iterator[Shape]:
    terms = shape.terms
    while terms < reach:
        terms = min(2 * terms, reach)
        yield shape._replace(terms=terms)


def _changes(name: str, tried: Iterable[Shape], agrees: Callable[[Shape], bool]) -> Iterator[str]:
    """Neighbouring sizes between which a contract begins or ends to have the same bits."""
    for axis in Shape._fields:
        lines = defaultdict(set)
        for shape in tried:
            lines[shape._replace(**{axis: 0})].add(shape)
        for low, high in itertools.chain.from_iterable(map(itertools.pairwise, map(sorted, lines.values()))):
            if agrees(low) != agrees(high):
                yield _change(name, axis, low, high, agrees)


def _change(name: str, axis: str, low: Shape, high: Shape, agrees: Callable[[Shape], bool]) -> str:
    while (distance := getattr(high, axis) - getattr(low, axis)) > 1:
        middle = low._replace(**{axis: getattr(low, axis) + distance // 2})
        low, high = (middle, high) if agrees(middle) == agrees(low) else (low, middle)
    same, other = (low, high) if agrees(low) else (high, low)
    return f"{name} at {_sized(same)}, not at {_sized(other)}"


def _sized(shape: Shape) -> str:
    return ", ".join(f"{name} {size}" for name, size in zip("MKN", shape, strict=True))
