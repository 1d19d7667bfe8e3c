"""reveal: the order of boxes whose order is known, what else they do, their contracts, and what contradicts itself."""

from __future__ import annotations

import inspect
import itertools
import math
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import refnum
from refnum.errors import ContractError, DTypeError, RefnumError, ShapeError
from refnum.testing import Revelation, Tree, reveal
from refnum.testing.probing import ContradictionError, found_tree
from refnum.testing.trees import halving, pairwise, replay

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"

# ---- orders, written down again -------------------------------------------------------------------------------------

Nested = int | tuple["Nested", ...]  #: a term, or what is added to each other


def chain(terms: list[Any]) -> Any:
    """One after the other."""
    total = terms[0]
    for term in terms[1:]:
        total = (total, term)
    return total


def neighbours(terms: list[Any]) -> Any:
    """Neighbours, level by level."""
    while len(terms) > 1:
        terms = [tuple(terms[i : i + 2]) if i + 1 < len(terms) else terms[i] for i in range(0, len(terms), 2)]
    return terms[0]


def halves(terms: list[Any]) -> Any:
    """The upper half is added to the lower one: a power of 2 of terms."""
    while len(terms) > 1:
        half = len(terms) // 2
        terms = [(terms[i], terms[i + half]) for i in range(half)]
    return terms[0]


def slabs(n: int, size: int) -> list[Any]:
    return [chain(list(range(i, min(n, i + size)))) for i in range(0, n, size)]


def lanes(n: int, count: int) -> list[Any]:
    return [chain(list(range(i, n, count))) for i in range(min(n, count))]


def zigzag(n: int) -> Any:
    """From the middle outwards."""
    return chain(sorted(range(n), key=lambda i: (abs(2 * i - n), i)))


def fused(n: int, block: int) -> Any:
    """Blocks that are added at once with what there is."""
    total: Any = None
    for i in range(0, n, block):
        terms = tuple(range(i, min(n, i + block)))
        total = terms if total is None else (total, *terms)
    return total


def tree_of(order: Nested, n: int) -> Tree:
    """The record of an order."""
    joins: list[tuple[int, ...]] = []

    def node(part: Nested) -> int:
        if isinstance(part, int):
            return part
        nodes: list[int] = []
        spine = [part]  # a chain is deeper than Python's stack
        while isinstance(spine[-1][0], tuple):
            spine.append(spine[-1][0])
        first = spine[-1][0]
        assert isinstance(first, int)
        at = first
        for each in reversed(spine):
            nodes = [at, *(node(other) for other in each[1:])]
            joins.append(tuple(nodes))
            at = n + len(joins) - 1
        return at

    node(order)
    return Tree.of(n, joins)


def leaves_of(order: Nested) -> set[int]:
    return {order} if isinstance(order, int) else set().union(*map(leaves_of, order))


def meeting(order: Nested, i: int, j: int) -> int:
    """How many terms are added up where two meet, by definition."""
    while not isinstance(order, int):
        inner = next((part for part in order if {i, j} <= leaves_of(part)), None)
        if inner is None:
            return len(leaves_of(order))
        order = inner
    raise AssertionError


def added(order: Nested, terms: np.ndarray[Any, Any]) -> Any:
    """Two at a time, in the dtype of numpy that terms [K, ..] have."""
    if isinstance(order, int):
        return terms[order]
    first, second = (added(part, terms) for part in order)
    return first + second


def box(order: Nested, precision: type = np.float32) -> Callable[..., Tensor]:
    """A matmul that rounds products and adds them in an order."""

    def mm(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        x, y = a.float().numpy().astype(precision), b.float().numpy().astype(precision)
        terms = list(x.T[:, :, None] * y[:, None, :])
        if bias is not None:
            terms.append(np.broadcast_to(bias.numpy().astype(precision), terms[0].shape))
        with np.errstate(over="ignore"):
            return torch.from_numpy(np.asarray(added(order, terms)).astype(np.float32))

    return mm


ORDERS: dict[str, tuple[int, Any, str]] = {
    "ascending": (24, chain(list(range(24))), "24 terms added one by one, ascending"),
    "descending": (24, chain(list(range(23, -1, -1))), "24 terms added one by one, descending"),
    "zigzag": (21, zigzag(21), "21 terms added one by one, in no order that has a name"),
    "pairwise": (19, neighbours(list(range(19))), "19 terms joined pairwise"),
    "halves": (16, halves(list(range(16))), "16 terms joined by halves"),
    "slabs in a chain": (40, chain(slabs(40, 16)), "3 chains of 2 x 16, 8 terms; these 3 added one by one, ascending"),
    "slabs in pairs": (40, neighbours(slabs(40, 8)), "5 chains of 8 terms; these 5 joined pairwise"),
    "lanes": (38, halves(lanes(38, 8)), "8 chains of 6 x 5, 2 x 4 terms 8 apart; these 8 joined by halves"),
    "one term": (1, 0, "1 terms added at once"),
    "two terms": (2, (0, 1), "2 terms added one by one, ascending"),
}


def revealed(fn: Callable[..., object], terms: int, **options: Any) -> Revelation:
    return reveal(fn, **({"terms": terms, "rows": 2, "columns": 3, "reach": 0, "against": ["chain/v1"]} | options))


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("kind", ["matmul", "rows", "sum"])
def test_known_orders(name: str, kind: str) -> None:
    n, order, summary = ORDERS[name]
    if kind == "matmul":
        found = revealed(box(order), n)
    else:
        found = revealed(lambda x: torch.from_numpy(np.asarray(added(order, x.numpy().T))), n, kind=kind)
    assert not found.errors
    assert found.tree == tree_of(order, n)
    assert found.orders[0].summary == summary
    assert found.orders[0].replayed
    assert f"order     {summary}" in found.text


@pytest.mark.parametrize("name", ["ascending", "lanes"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_narrow_operands(name: str, dtype: torch.dtype) -> None:
    n, order, _ = ORDERS[name]
    found = revealed(box(order), n, dtype=dtype)
    assert (found.tree, found.errors, found.orders[0].replayed) == (tree_of(order, n), (), True)


@pytest.mark.parametrize(
    ("dtype", "result"),
    [(torch.float32, torch.bfloat16), pytest.param(torch.float16, torch.float16, marks=pytest.mark.slow)],
)
def test_results_that_cannot_count_all_terms(dtype: torch.dtype, result: torch.dtype) -> None:
    n = 2100 if result == torch.float16 else 300

    def one_by_one(a: Tensor, b: Tensor) -> Tensor:
        terms = a.float().numpy() * b.float().numpy()[:, 0]
        return torch.from_numpy(np.cumsum(terms, axis=1, dtype=np.float32)[:, -1:].copy()).to(result)

    found = revealed(one_by_one, n, columns=1, dtype=dtype)
    assert not found.errors
    assert found.tree == tree_of(chain(list(range(n))), n)


def test_narrow_operands_in_wide_accumulators() -> None:
    # float16 has no two values of which float64 loses one beside the other.
    found = revealed(box(chain(list(range(9))), np.float64), 9, dtype=torch.float16, against=["exact/v1", "chain/v1"])
    assert found.orders[0].exact


# ---- trees ----------------------------------------------------------------------------------------------------------


def orders(n: int, several: bool) -> st.SearchStrategy[Any]:
    """Orders of n terms at random."""

    def joined(draw: random.Random) -> Any:
        parts: list[Any] = list(range(n))
        while len(parts) > 1:
            count = min(len(parts), draw.choice([2, 2, 2, 3, 5]) if several else 2)
            chosen = tuple(parts.pop(draw.randrange(len(parts))) for _ in range(count))
            parts.append(chosen)
        return parts[0]

    return st.randoms(use_true_random=False).map(joined)


def in_order(order: Any) -> Any:
    """The same order with the part that has the most terms first, which is where tree_of looks for chains."""
    if isinstance(order, int):
        return order
    return tuple(sorted(map(in_order, order), key=lambda part: -len(leaves_of(part))))


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(1, 12), st.booleans())
def test_any_tree_is_found(data: st.DataObject, n: int, several: bool) -> None:
    order = data.draw(orders(n, several))
    tree = tree_of(in_order(order), n)
    every = [(i, j) for i in range(n) for j in range(n) if i != j]
    assert tree.meetings(every) == [meeting(order, *pair) for pair in every]
    assert found_tree(lambda i, j: meeting(order, i, j), n) == tree


@settings(deadline=None, max_examples=200)
@given(st.randoms(use_true_random=False), st.integers(2, 7))
def test_a_tree_explains_what_was_asked(draw: random.Random, n: int) -> None:
    table = {(i, j): draw.randint(2, n) for i in range(n) for j in range(i)}
    asked = set[tuple[int, int]]()

    def meet(i: int, j: int) -> int:
        asked.add((max(i, j), min(i, j)))
        return table[max(i, j), min(i, j)]

    try:
        tree = found_tree(meet, n)
    except ContradictionError:
        return
    want = [table[pair] for pair in sorted(asked)]
    assert want == ([2] * len(want) if tree is None else tree.meetings(sorted(asked)))


@pytest.mark.parametrize(("order", "most"), [(chain(list(range(24))), 23), (halves(lanes(64, 32)), 230)])
def test_pairs_that_are_asked(order: Any, most: int) -> None:
    n, asked = len(leaves_of(order)), set[tuple[int, int]]()

    def meet(i: int, j: int) -> int:
        asked.add((min(i, j), max(i, j)))
        return meeting(order, i, j)

    found_tree(meet, n)
    assert len(asked) <= most


@pytest.mark.parametrize("way", [1, -1])
def test_long_chains(way: int) -> None:
    n = 3000
    want = tree_of(chain(list(range(n))[::way]), n)
    tree = found_tree(lambda i, j: max(i, j) + 1 if way == 1 else n - min(i, j), n)
    assert tree == want
    assert str(tree).count("+") < 8
    assert tree.without_last() == tree_of(chain(list(range(n - 1))[::way]), n - 1)


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (chain(list(range(9))), "0 + 1 + 2 + .. + 8"),
        (((0, 1), (2, 3)), "0 + 1 + (2 + 3)"),
        (fused(11, 4), "{{{0, 1, 2, 3}, 4, 5, 6, 7}, 8, 9, 10}"),
        (chain([chain([0, 4, 8]), (1, 5), (2, 6), (3, 7)]), "0 + 4 + 8 + (1 + 5) + (2 + 6) + (3 + 7)"),
    ],
)
def test_expressions(order: Any, text: str) -> None:
    assert str(tree_of(order, len(leaves_of(order)))) == text


def test_named_joins() -> None:
    for n in (1, 2, 4, 8, 16):
        assert halving(n) == tree_of(halves(list(range(n))), n)
    for n in range(1, 20):
        assert pairwise(n) == tree_of(neighbours(list(range(n))), n)


# ---- replay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("name", ["zigzag", "lanes", "pairwise"])
def test_replay(name: str, flush: bool) -> None:
    n, order, _ = ORDERS[name]
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(3, n, generator=generator), torch.randn(n, 4, generator=generator)
    for scale in (1.0, 2.0**-70):  # the products are normal, then subnormal
        want = box(order)(a * scale, b * scale)
        torch.set_flush_denormal(flush)
        try:
            got = replay(tree_of(order, n), a * scale, b * scale)
        finally:
            torch.set_flush_denormal(False)
        assert torch.equal(got.view(torch.int32), want.view(torch.int32))


def test_replay_of_fused_products() -> None:
    n = 30
    generator = torch.Generator().manual_seed(2)
    a, b, bias = (torch.randn(*size, generator=generator) for size in ((3, n), (n, 4), (4,)))
    tree = tree_of(chain([0, n, *range(1, n)]), n + 1)
    assert torch.equal(replay(tree, a, b, bias, fused=range(n)), refnum.gemm(a, b, bias))
    assert not torch.equal(replay(tree, a, b, bias), refnum.gemm(a, b, bias))


# ---- golden pairs ---------------------------------------------------------------------------------------------------

GOLDEN = {
    "chain.n24": ("chain/v1", chain(list(range(24)))),
    "sgbi.lane32.n70": ("sgbi.lane32/0.1.1", halves(lanes(70, 32))),
    "sgbi.slab8.n41": ("sgbi.slab8/0.1.1", neighbours(slabs(41, 6))),
    "sgbi.splitk32.n75": ("sgbi.splitk32/0.1.1", chain([*slabs(64, 32), *range(64, 75)])),
    "sgbi.splitk64.n150": ("sgbi.splitk64/0.1.1", chain(slabs(150, 64))),
    "tc.hopper.bf16.n40": ("tc.hopper.bf16/v1", fused(40, 16)),
    "tree16.n72": ("tree/v1(Kc=16)", neighbours(slabs(72, 16))),
}


def golden() -> Iterator[tuple[str, list[tuple[int, int]], list[int]]]:
    with np.load(VECTORS / "gemm_reveal.npz", allow_pickle=False) as file:
        for name in sorted({key.split("/")[1] for key in file.files}):
            yield (
                name,
                [(i, j) for i, j in file[f"reveal/{name}/pairs"].tolist()],
                file[f"reveal/{name}/leaves"].tolist(),
            )


@pytest.mark.parametrize(("name", "asked", "leaves"), list(golden()), ids=lambda x: x if isinstance(x, str) else "")
def test_golden_pairs(name: str, asked: list[tuple[int, int]], leaves: list[int]) -> None:
    contract, order = GOLDEN[name]
    n = int(name.rpartition("n")[2])
    tree = tree_of(order, n)
    assert tree.meetings(asked) == leaves
    dtype = torch.bfloat16 if "bf16" in name else torch.float32
    found = revealed(
        lambda a, b: refnum.gemm(a, b, contract=contract, out_dtype=torch.float32),
        n,
        dtype=dtype,
        rows=1,
        columns=2,
        against=[contract, "exact/v1"],
    )
    assert (found.tree, found.contract, found.errors) == (tree, contract, ())


# ---- beyond the order -----------------------------------------------------------------------------------------------


def block_of(values: list[Fraction], width: int) -> Fraction:
    """Terms that are cut so many bits behind the first of the largest, and added."""
    exponents = [math.frexp(float(value))[1] - 1 for value in values if value]
    if not exponents:
        return Fraction(0)
    last = Fraction(2) ** (max(exponents) - width)
    return sum((Fraction(math.trunc(value / last)) for value in values), Fraction(0)) * last


def toward_zero(value: Fraction) -> Fraction:
    """24 bits of a value."""
    if not value:
        return value
    last = Fraction(2) ** (math.frexp(float(abs(value)))[1] - 24)
    last = last / 2 if abs(value) < last * (1 << 23) else last  # frexp rounds
    return math.trunc(value / last) * last


def four_at_once(a: Tensor, b: Tensor) -> Tensor:
    """A core that adds four products at once to what there is."""
    total = Fraction(0)
    x, y = ([Fraction(value) for value in side.flatten().tolist()] for side in (a, b))
    for i in range(0, len(x), 4):
        total = toward_zero(block_of([total, *(u * v for u, v in zip(x[i : i + 4], y[i : i + 4], strict=True))], 26))
    return torch.tensor([[float(total)]])


def test_terms_added_at_once() -> None:
    found = revealed(four_at_once, 14, dtype=torch.bfloat16, rows=1, columns=1)
    assert found.tree == tree_of(fused(14, 4), 14)
    assert (found.findings.width, found.findings.precision, found.findings.rounding) == (26, 23, "toward_zero")
    assert found.findings.zero_exponent is False
    assert found.orders[0].summary == "14 terms added in blocks of 3 x 4, 2 at once, ascending"
    assert found.orders[0].replayed is None
    assert not found.errors


@pytest.mark.parametrize(
    ("contract", "dtype", "width", "precision", "rounding", "hides"),
    [
        ("tc.volta.f16/v1", torch.float16, 23, 23, "toward_zero", None),
        ("tc.ampere.bf16/v1", torch.bfloat16, 24, 23, "toward_zero", True),
        ("tc.hopper.bf16/v1", torch.bfloat16, 25, 23, "toward_zero", False),
        ("tc.hopper.f16.acc16/v1", torch.float16, 25, 10, "nearest_even", None),
        ("tc.ada.fp8/v1", torch.float8_e4m3fn, 13, 13, "toward_zero", None),
        ("tc.hopper.tf32/v1", torch.float32, 25, 23, "toward_zero", False),
    ],
)
def test_tensor_cores(
    contract: str, dtype: torch.dtype, width: int, precision: int, rounding: str, hides: bool | None
) -> None:
    fn = lambda a, b: refnum.gemm(a, b, contract=contract)  # noqa: E731
    found = revealed(fn, 40, dtype=dtype, against=[contract, "chain/v1"]).findings
    assert (found.width, found.precision, found.rounding, found.zero_exponent) == (width, precision, rounding, hides)
    assert (found.operands, found.fma) == ((10, None) if "tf32" in contract else (found.operands, True))


@pytest.mark.parametrize(("place", "at"), [("first", 0), ("last", None), ("within", 7)])
def test_where_the_bias_stands(place: str, at: int | None) -> None:
    n = 12
    terms: list[Any] = list(range(n))
    terms.insert(n if at is None else at, n)
    found = revealed(box(chain(terms)), n, bias=torch.float32)
    assert found.findings.bias == place
    assert found.tree == tree_of(chain(terms), n + 1)
    assert found.orders[0].terms == tree_of(chain(list(range(n))), n)
    assert found.orders[0].replayed
    assert f"bias {place}" in found.text


def test_products_rounded_or_not() -> None:
    unfused = revealed(box(chain(list(range(9)))), 9)
    assert (unfused.findings.fma, unfused.orders[0].fused) == (False, frozenset())
    assert "products rounded" in unfused.text
    assert unfused.contract is None
    fma = revealed(refnum.gemm, 9)
    assert (fma.findings.fma, fma.orders[0].fused) == (True, frozenset(range(1, 9)))
    assert fma.contract == "chain/v1"

    def half(a: Tensor, b: Tensor) -> Tensor:  # the products from 4 on are fused
        return refnum.gemm(a[:, 4:], b[4:], box(chain(list(range(4))))(a, b))

    mixed = revealed(half, 9)
    assert (mixed.findings.fma, mixed.orders[0].fused) == (None, frozenset(range(4, 9)))
    assert mixed.orders[0].replayed


def test_wide_accumulators() -> None:
    found = revealed(box(chain(list(range(9))), np.float64), 9)
    assert (found.findings.precision, found.orders[0].replayed, found.errors) == (52, None, ())
    assert "accumulators of 53 bits" in found.text


# ---- contracts ------------------------------------------------------------------------------------------------------


def test_exact_sums_have_no_order() -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        found = revealed(lambda a, b: refnum.gemm(a, b, contract="exact/v1"), 20, dtype=dtype, against=None)
        assert (found.tree, found.orders[0].exact, found.contract, found.errors) == (None, True, "exact/v1", ())
        assert "order-free" in found.text


@pytest.mark.parametrize(
    ("contract", "dtype"),
    [
        ("chain/v1", torch.float32),
        ("tree/v1(Kc=16)", torch.float32),
        ("sgbi.lane32/0.1.1", torch.float32),
        ("sgbi.splitm_f64(c=16)/0.1.1", torch.float32),
        pytest.param("tcsplit/v1(inst=tc.hopper.f16, Kc=32)", torch.float16, marks=pytest.mark.slow),
    ],
)
def test_contracts_are_named(contract: str, dtype: torch.dtype) -> None:
    fn = lambda a, b: refnum.gemm(a, b, contract=contract)  # noqa: E731
    found = reveal(fn, terms=72, rows=2, columns=3, dtype=dtype, reach=200)
    assert (found.contract, found.errors) == (contract, ())
    assert f"contract: {contract} at every shape" in found.text


def test_bits_and_order_are_both_compared() -> None:
    # Rounded to 8 bits, sums of small integers are the same in any order.
    found = revealed(
        lambda a, b: refnum.gemm(a.flip(1), b.flip(0), contract="chain/v1").bfloat16(), 8, against=["chain/v1"]
    )
    assert found.contract is None
    assert found.tree == tree_of(chain(list(range(7, -1, -1))), 8)


def test_what_differs_first() -> None:
    found = revealed(box(chain(list(range(40)))), 40)
    nearest = found.orders[0].nearest
    assert nearest is not None
    assert nearest.name == "chain/v1"
    assert nearest.got != nearest.want
    assert f"got {nearest.got:#x}, want {nearest.want:#x}" in found.text


def until(limit: int, axis: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The chain up to a size, and something else above."""

    def mm(a: Tensor, b: Tensor) -> Tensor:
        return refnum.gemm(a, b, contract="chain/v1" if a.shape[axis] <= limit else "tree/v1(Kc=8)")

    return mm


def test_a_chain_for_few_terms_alone() -> None:
    found = reveal(until(100, 1), terms=32, rows=2, columns=3, reach=300, against=["chain/v1"])
    assert found.orders[0].contracts == ("chain/v1",)
    assert found.contract is None
    assert found.changes == ("chain/v1 at M 2, K 100, N 3, not at M 2, K 101, N 3",)


def test_another_order_for_many_rows() -> None:
    found = reveal(until(7, 0), terms=32, rows=(1, 4, 16), columns=3, reach=0, against=["chain/v1"])
    assert [order.contracts for order in found.orders] == [("chain/v1",), ("chain/v1",), ()]
    assert found.changes == ("chain/v1 at M 7, K 32, N 3, not at M 8, K 32, N 3",)
    assert "M 1, 4, K 32, N 3\n" in found.text


# ---- contradictions -------------------------------------------------------------------------------------------------


def test_a_box_that_changes_its_mind() -> None:
    calls = iter(range(1 << 30))
    ascending, descending = box(chain(list(range(20)))), box(chain(list(range(19, -1, -1))))
    found = revealed(lambda a, b: (ascending, descending)[next(calls) % 2](a, b), 20)
    assert "fn gives other bits when it is called again" in found.errors[0]
    assert "error" in found.text
    assert found.contract is None


def test_results_in_different_orders() -> None:
    ascending, descending = box(chain(list(range(20)))), box(chain(list(range(19, -1, -1))))
    found = revealed(lambda a, b: torch.cat([ascending(a[:1], b), descending(a[1:], b)]), 20)
    assert found.tree == tree_of(chain(list(range(20))), 20)
    assert "result [1, 0] is added in another order than [0, 0]" in found.errors


def test_sums_that_no_tree_explains() -> None:
    found = revealed(lambda a, b: refnum.gemm(a[:, :4], b[:4], contract="exact/v1") + a[:, 4:] @ b[4:], 12)
    assert found.tree is None
    assert re.search(r"term \d+ meets term \d+ in a node of \d+ terms, where \d+ are found", found.errors[0])
    assert "order     none" in found.text


def test_a_sum_that_is_no_count() -> None:
    found = revealed(lambda a, b: torch.full((2, 3), 0.5), 8)
    assert found.tree is None
    assert "the others 1, and the sum is 0.5, not one of 0 .. 6" in found.errors[0]


def reused(a: Tensor, b: Tensor, memory: Tensor = torch.empty(2, 3)) -> Tensor:  # noqa: B008
    """A chain whose results lie in the same memory each time."""
    return memory.copy_(refnum.gemm(a, b))


@pytest.mark.parametrize("fn", [reused, lambda a, b: refnum.gemm(a, b) + a.zero_().sum() + b.zero_().sum()])
def test_a_box_that_writes_to_its_operands_or_earlier_results(fn: Callable[..., Tensor]) -> None:
    found = revealed(fn, 12, against="chain/v1")
    assert (found.contract, found.errors) == ("chain/v1", ())


def test_an_order_that_does_not_explain_the_bits() -> None:
    def rounded_twice(a: Tensor, b: Tensor) -> Tensor:  # a fused multiply-add that rounds to float64 first
        total = torch.zeros(a.shape[0], b.shape[1])
        for x, y in zip(a.double().T, b.double(), strict=True):
            total = (total.double() + x[:, None] * y).float()
        return total

    found = revealed(rounded_twice, 20)
    assert found.findings.fma
    assert found.orders[0].replayed is False
    assert "the order does not explain the bits: replayed in float32, " in found.errors[0]


# ---- torch.mm -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [64, 1000])
def test_torch_mm(terms: int) -> None:
    found = reveal(torch.mm, terms=terms, rows=4, columns=16, reach=0, against=["chain/v1", "tree/v1(Kc=256)"])
    (order,) = found.orders
    assert not found.errors
    assert order.replayed  # in the order that was found every bit is that of torch.mm
    assert order.summary in found.text
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(4, terms, generator=generator), torch.randn(terms, 16, generator=generator)
    assert order.tree is not None
    assert torch.equal(replay(order.tree, a, b, fused=order.fused), torch.mm(a, b))


def test_torch_sum() -> None:
    found = reveal(torch.sum, kind="sum", terms=100, reach=0)
    assert (found.errors, found.orders[0].replayed, found.findings.fma) == ((), True, None)


# ---- what it refuses, what it does not depend on -------------------------------------------------------------------


def alternating() -> Callable[[Tensor, Tensor], Tensor]:
    """A product, in another dtype each time."""
    dtypes = itertools.cycle([torch.float32, torch.float64])
    return lambda a, b: (a @ b).to(next(dtypes))


REFUSED: list[tuple[type[RefnumError], Callable[[], object], str]] = [
    (ContractError, lambda: reveal(torch.mm, kind="mm"), "no kind='mm'. Choose one of matmul, rows, sum."),
    (ContractError, lambda: reveal(torch.mm, terms=0), "no terms=0. Allowed are positive ints, one or several. Choose"),
    (ContractError, lambda: reveal(torch.mm, rows=()), "no rows=(). Allowed are positive ints, one or several. Choose"),
    (ContractError, lambda: reveal(torch.mm, columns=True), "no columns=True. Allowed are positive ints"),
    (ContractError, lambda: reveal(torch.mm, columns="16"), "no columns='16'. Allowed are positive ints"),
    (ContractError, lambda: reveal(torch.mm, reach=-1), "no reach=-1. Allowed is an int of 0 or more. Choose one."),
    (ContractError, lambda: reveal(torch.mm, against=["no/v1"]), "reveal has no contract='no/v1'. Choose one of"),
    (ContractError, lambda: reveal(torch.sum, kind="sum", bias=torch.float32), "Allowed is kind='matmul'. Leave out"),
    (
        DTypeError,
        lambda: reveal(torch.mm, dtype=torch.int8),
        "got torch.int8. Allowed are torch.float64, ",
    ),
    (DTypeError, lambda: reveal(torch.mm, bias=torch.float16), "got torch.float16. Allowed are torch.bfloat16, torch"),
    (ContractError, lambda: reveal(torch.mm, rows=[[3]]), "no rows=[[3]]. Allowed are positive ints, one or several."),
    (ContractError, lambda: reveal(torch.mm, against="no/v1"), "reveal has no contract='no/v1'. Choose one of"),
    (DTypeError, lambda: reveal(None), "needs a function for fn, got NoneType. Allowed is what can be called. Pass"),
    (
        DTypeError,
        lambda: reveal(lambda a, b: (a @ b).to("meta")),
        "a meta tensor has none. Pass a tensor with data.",
    ),
    (
        DTypeError,
        lambda: reveal(alternating()),
        "one dtype of fn, got torch.float32 and torch.float64. Allowed is one",
    ),
    (DTypeError, lambda: reveal(lambda a, b: 0), "needs a tensor for the result of fn, got int. Use torch.as_tensor"),
    (DTypeError, lambda: reveal(lambda a, b: (a @ b).int()), "got torch.int32. Allowed are float16, bfloat16, float32"),
    (ShapeError, lambda: reveal(lambda a, b: a, rows=2), "shape (2, 16) of fn, got (2, 64). Allowed are matrices of"),
]


@pytest.mark.parametrize(("error", "call", "words"), REFUSED)
def test_refused(error: type[RefnumError], call: Callable[[], object], words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
    assert str(caught.value).startswith("reveal ")
    assert error.__name__ in (inspect.getdoc(reveal) or "")


def test_ambient_settings_change_nothing() -> None:
    want = revealed(refnum.gemm, 12).text
    with torch.device("meta"), torch.inference_mode():
        torch.set_default_dtype(torch.float64)
        try:
            got = revealed(refnum.gemm, 12).text
        finally:
            torch.set_default_dtype(torch.float32)
    assert got == want
