"""Contract tree/v1: chains over chunks of K, joined by a tree that depends on K alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from float_sums import DATA, RESULTS, SETTINGS, Draw, Golden, golden, operands, patterns, row_of
from refnum_conformance.oracles import float_orders
from torch import Tensor

from refnum.fast import hardware
from refnum.sums.chain import ARITHMETICS, add_by_definition, chain_mm
from refnum.sums.tree import join, tree_mm
from refnum.testing import assert_bit_equal

USABLE = tuple(name for name in ARITHMETICS if hardware.fuses_addcmul() or name != "addcmul")


def by_integers(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, *, chunk: int) -> Tensor:
    """The oracle's product."""
    addend = None if bias is None else patterns(bias).tolist()
    names = {"a_dtype": "float32", "b_dtype": "float32", "dtype": str(dtype).removeprefix("torch.")}
    bits = float_orders.tree_mm(patterns(a).tolist(), patterns(b.mT).tolist(), addend, **names, chunk=chunk)
    assert row_of(dtype).width == 8 * dtype.itemsize
    return torch.tensor(bits, dtype=patterns(torch.empty(0, dtype=dtype)).dtype).view(dtype).view(len(a), b.shape[1])


def same(got: Tensor, want: Tensor) -> None:
    """NaN included."""
    nan = got.isnan() & want.isnan()
    assert torch.equal(patterns(got).masked_fill(nan, 0), patterns(want).masked_fill(nan, 0))


# ---- against recorded products and integers -----------------------------------------------------------------------


def recorded() -> Iterator[tuple[int, Golden]]:
    for case in golden("orders"):
        if case.about["order"].startswith("tree"):
            yield int(case.about["order"].removeprefix("tree")), case


def test_recorded_trees() -> None:
    count = 0
    for chunk, case in recorded():
        for name in USABLE if case.about["K"] <= 65 else ("float64", None):
            got = tree_mm(case.a, case.b, case.bias, torch.float32, chunk=chunk, arithmetic=name)
            assert_bit_equal(got, case.want[torch.float32])
        count += 1
    assert count == 39


@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands(kind: str) -> None:
    for (m, k, n, chunk), dtype in zip([(3, 7, 2, 2), (2, 13, 4, 3), (4, 9, 3, 16)], RESULTS[:3], strict=True):
        a, b, bias = operands(kind, m, k, n)
        for addend in (None, bias):
            want = by_integers(a, b, addend, dtype, chunk=chunk)
            for name in (None, *USABLE):
                same(tree_mm(a, b, addend, dtype, chunk=chunk, arithmetic=name), want)


@pytest.mark.parametrize("k", [0, 1, 255, 256, 257, 511, 512, 513, 767, 768, 769, 1025, 1281, 1537])
def test_ends_of_chunks(k: int) -> None:
    a, b, bias = operands("ties of a chain" if k % 2 else "normal", 2, k, 2, seed=k)
    for addend in (None, bias):
        same(tree_mm(a, b, addend, torch.float32), by_integers(a, b, addend, torch.float32, chunk=256))


def test_one_chunk_is_a_chain() -> None:
    for k in (0, 1, 40, 256):
        a, b, _ = operands("normal", 3, k, 5, seed=k)
        assert_bit_equal(tree_mm(a, b, None, torch.float32), chain_mm(a, b, None, torch.float32))


# ---- the tree -----------------------------------------------------------------------------------------------------


def spelled(count: int) -> str:
    """What `join` does with so many nodes, as text."""
    names = {float(2**i): str(i) for i in range(count)}

    def plus(x: Tensor, y: Tensor) -> Tensor:
        total = x + y
        names[total.item()] = f"({names[x.item()]} {names[y.item()]})"
        return total

    return names[join([torch.tensor(float(2**i)) for i in range(count)], add=plus).item()]


def test_the_tree() -> None:
    assert [spelled(n) for n in range(1, 8)] == [
        "0",
        "(0 1)",
        "((0 1) 2)",
        "((0 1) (2 3))",
        "(((0 1) (2 3)) 4)",
        "(((0 1) (2 3)) (4 5))",
        "(((0 1) (2 3)) ((4 5) 6))",
    ]


@pytest.mark.parametrize("count", range(1, 24))
def test_the_tree_level_by_level(count: int) -> None:
    level = [str(i) for i in range(count)]
    while len(level) > 1:
        pairs = [f"({x} {y})" for x, y in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[2 * len(pairs) :]
    assert spelled(count) == level[0]


def test_few_nodes_are_held_at_a_time() -> None:
    held, most = set(), 0

    class Node:
        def __init__(self) -> None:
            nonlocal most
            held.add(id(self))
            most = max(most, len(held))

        def __del__(self) -> None:
            held.discard(id(self))

    join((Node() for _ in range(1000)), add=lambda x, y: Node())  # type: ignore[misc, arg-type, return-value]
    assert most <= 12, "log2(1000) and the two that become one"


def test_nodes_are_joined_like_a_part_of_a_whole() -> None:
    """Whoever holds an aligned run of a power of 2 of chunks holds a subtree."""
    a, b, _ = operands("normal", 3, 16 * 13, 4)
    want = tree_mm(a, b, None, torch.float32, chunk=16)
    for run in (1, 2, 4, 8, 16):
        parts = [
            tree_mm(x, y, None, torch.float32, chunk=16)
            for x, y in zip(a.split(16 * run, 1), b.split(16 * run), strict=True)
        ]
        assert_bit_equal(join(parts), want)
    uneven = [tree_mm(a[:, k], b[k], None, torch.float32, chunk=16) for k in (slice(48), slice(48, None))]
    assert not torch.equal(join(uneven), want)


# ---- -0, the bias -------------------------------------------------------------------------------------------------


def test_nothing_is_padded() -> None:
    """-0 as the bias stays it only beside -0; a sum that is -0 by underflow stays it where there is no bias."""
    tiny = torch.full((1, 5), -(2.0**-80)), torch.full((5, 1), 2.0**-80)
    for chunk in (1, 2, 4, 5, 8):
        for name in USABLE:
            for bias, want in ((None, "-"), (-0.0, "-"), (0.0, "")):
                addend = None if bias is None else torch.tensor([bias])
                got = tree_mm(*tiny, addend, torch.float32, chunk=chunk, arithmetic=name).item()
                assert got.hex() == f"{want}0x0.0p+0"
    empty = torch.empty(1, 0), torch.empty(0, 1)
    assert tree_mm(*empty, torch.tensor([-0.0]), torch.float32).item().hex() == "0x0.0p+0", "+0 and -0 is +0"


def test_the_bias_comes_last() -> None:
    a, b = torch.tensor([[2.0**24, -(2.0**24)]]), torch.ones(2, 1)
    assert tree_mm(a, b, torch.tensor([1.0]), torch.float32).item() == 1.0
    assert chain_mm(a, b, torch.tensor([1.0]), torch.float32).item() == 0.0


# ---- batches, tiles, settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", [1, 6, 40, 1 << 17])
def test_no_tile_changes_a_bit(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Draw(3)
    for left, right in (
        ((3, 4, 21), (21, 5)),
        ((2, 1, 9, 21), (3, 21, 2)),
        ((4, 21), (2, 21, 6)),
        ((0, 2, 21), (21, 3)),
    ):
        a, b = draw.normal(*left), draw.normal(*right)
        batch = torch.broadcast_shapes(left[:-2], right[:-2])
        bias = draw.normal(right[-1])
        with monkeypatch.context() as patch:
            for name, arithmetic in ARITHMETICS.items():
                patch.setitem(ARITHMETICS, name, replace(arithmetic, tile=tile))
            got = tree_mm(a, b, bias, torch.float32, chunk=4)
        assert got.shape == (*batch, left[-2], right[-1])
        assert got.is_contiguous()
        for place in itertools.product(*map(range, batch)):
            x, y = (side.expand(*batch, *side.shape[-2:])[place] for side in (a, b))
            same(got[place], by_integers(x, y, bias, torch.float32, chunk=4))


def test_a_row_is_the_same_in_any_batch_and_layout() -> None:
    a, b, bias = operands("normal", 40, 70, 50)
    want = tree_mm(a, b, bias, torch.float32, chunk=16)
    for i in (0, 1, 21, 39):
        assert_bit_equal(tree_mm(a[i : i + 1], b, bias, torch.float32, chunk=16), want[i : i + 1])
        assert_bit_equal(tree_mm(a, b[:, i : i + 1], bias[i : i + 1], torch.float32, chunk=16), want[:, i : i + 1])
    strided = torch.stack([a, a], -1)[..., 0], torch.stack([b, b], -1)[..., 1]
    for x, y in (strided, (a.mT.contiguous().mT, b.mT.contiguous().mT), (torch._neg_view(-a), torch._neg_view(-b))):
        assert_bit_equal(tree_mm(x, y, bias, torch.float32, chunk=16), want)


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    sides = {kind: operands(kind, 7, 12, 9, seed=10) for kind in DATA}
    want = {kind: tree_mm(*sides[kind], torch.float32, chunk=5) for kind in sides}
    nodes = [draw.bits(50) for draw in map(Draw, range(5))]
    joined = join(nodes, add=add_by_definition)
    with SETTINGS[name]():
        got = {kind: tree_mm(*sides[kind], torch.float32, chunk=5) for kind in sides}
        rejoined = join(nodes)
    for kind in sides:
        assert torch.equal(patterns(got[kind]), patterns(want[kind])), kind
    same(rejoined, joined)
