"""The orders of sgemm-bi 0.1.1, and its choices by shape."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from float_sums import DATA, RESULTS, SETTINGS, Draw, Golden, golden, operands, patterns
from refnum_conformance.oracles import float_orders
from refnum_conformance.oracles.reals import OracleError
from torch import Tensor

from refnum import UncoveredError
from refnum.fast import hardware
from refnum.sums.chain import ARITHMETICS, chain_mm
from refnum.sums.replays import (
    dispatch_forward_mm,
    dispatch_input_gradient,
    dispatch_weight_gradient,
    forward_order,
    input_gradient_order,
    replay_mm,
    weight_gradient_order,
)
from refnum.testing import assert_bit_equal

USABLE = tuple(name for name in ARITHMETICS if hardware.fuses_addcmul() or name != "addcmul")
ORDERS: dict[str, dict[str, Any]] = {
    "chain": {"order": "chain"},
    "slab8": {"order": "slab8"},
    "lane32": {"order": "lane32"},
    "splitk32": {"order": "splitk32"},
    "splitk64": {"order": "splitk64"},
    "splitm_f64": {"order": "splitm_f64", "chunk": 16},
}


def by_integers(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype, *, order: str, chunk: int = 0) -> Tensor:
    """The oracle's product."""
    addend = None if bias is None else patterns(bias).tolist()
    names = {"a_dtype": "float32", "b_dtype": "float32", "dtype": str(dtype).removeprefix("torch.")}
    parameters: dict[str, Any] = {"order": order} | ({"c": chunk} if chunk else {})
    bits = float_orders.sgbi_mm(patterns(a).tolist(), patterns(b.mT).tolist(), addend, **names, **parameters)
    return torch.tensor(bits, dtype=patterns(torch.empty(0, dtype=dtype)).dtype).view(dtype).view(len(a), b.shape[1])


def same(got: Tensor, want: Tensor) -> None:
    """NaN included."""
    nan = got.isnan() & want.isnan()
    assert torch.equal(patterns(got).masked_fill(nan, 0), patterns(want).masked_fill(nan, 0))


# ---- orders -------------------------------------------------------------------------------------------------------


def recorded() -> Iterator[tuple[str, Golden]]:
    for case in golden("orders"):
        family, _, order = case.about["order"].partition(".")
        if family == "sgbi":
            yield order.removesuffix(".16"), case


def test_recorded_orders() -> None:
    count = 0
    for order, case in recorded():
        for name in USABLE if case.about["K"] <= 65 else ("float64", None):
            got = replay_mm(case.a, case.b, case.bias, torch.float32, **ORDERS[order], arithmetic=name)
            assert_bit_equal(got, case.want[torch.float32])
        count += 1
    assert count == 60


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", DATA)
def test_every_kind_of_operands(kind: str, order: str) -> None:
    for (m, k, n), dtype in zip([(3, 37, 2), (1, 75, 2), (2, 130, 1)], RESULTS[:3], strict=True):
        a, b, bias = operands(kind, m, k, n)
        for addend in (None, bias):
            want = by_integers(a, b, addend, dtype, **ORDERS[order])
            for name in (None, "float64"):
                same(replay_mm(a, b, addend, dtype, **ORDERS[order], arithmetic=name), want)


@pytest.mark.parametrize("order", ORDERS)
def test_ends_of_parts(order: str) -> None:
    """Empty slabs and lanes, chunks with and without a rest."""
    for k in (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128, 129):
        a, b, bias = operands("ties of a chain" if k % 2 else "normal", 2, k, 2, seed=k)
        for addend in (None, bias):
            want = by_integers(a, b, addend, torch.float32, **ORDERS[order])
            same(replay_mm(a, b, addend, torch.float32, **ORDERS[order]), want)


def test_slabs_may_be_empty() -> None:
    """33 terms are slabs of 5, the seventh of 3, the eighth of none; 9 terms are four of 2, one of 1, three of none."""
    for k in (33, 9):
        a, b = Draw(k).normal(2, k), Draw(k + 1).normal(k, 3)
        size = -(-k // 8)
        parts = [chain_mm(a[:, i : i + size], b[i : i + size], None, torch.float32) for i in range(0, k, size)]
        parts += [torch.zeros(2, 3)] * (8 - len(parts))
        p = iter(parts)
        sums = [next(p) + next(p) for _ in range(4)]
        want = (sums[0] + sums[1]) + (sums[2] + sums[3])
        assert_bit_equal(replay_mm(a, b, None, torch.float32, order="slab8"), want)


def test_the_rest_of_splitk32_continues_the_sum() -> None:
    """As fused multiply-adds: its products are not rounded, and it is no chunk of its own."""
    a, b = torch.zeros(1, 33), torch.ones(33, 1)
    a[0, 0], a[0, 32], b[32] = -1.0, 1 + 2.0**-23, 1 - 2.0**-23
    assert replay_mm(a, b, None, torch.float32, order="splitk32").item() == -(2.0**-46)
    assert replay_mm(a, b, None, torch.float32, order="splitk64").item() == -(2.0**-46)
    c = torch.cat([torch.zeros(1, 32), a], 1)
    d = torch.cat([torch.zeros(32, 1), b])
    c[0, 0], c[0, 32], d[0] = -1.0, 0.0, 1.0
    assert replay_mm(c, d, None, torch.float32, order="splitk32").item() == -(2.0**-46)
    assert replay_mm(c, d, None, torch.float32, order="splitk64").item() == 0.0


def test_chunks_are_added_ascending() -> None:
    """Not by the tree that the README of sgemm-bi speaks of."""
    a, b = torch.zeros(1, 128), torch.ones(128, 1)
    a[0, 0], a[0, 32], a[0, 64], a[0, 96] = 1.0, 2.0**24, -(2.0**24), 1.0
    assert replay_mm(a, b, None, torch.float32, order="splitk32").item() == 1.0
    a[0, 0], a[0, 32], a[0, 64], a[0, 96] = 2.0**24, 1.0, 1.0, -(2.0**24)
    assert replay_mm(a, b, None, torch.float32, order="splitk32").item() == 0.0


def test_chunks_of_m_are_added_in_float64() -> None:
    a, b = torch.zeros(1, 48), torch.ones(48, 1)
    a[0, 0], a[0, 16], a[0, 32] = 2.0**24, 1.0, -(2.0**24)
    assert replay_mm(a, b, None, torch.float32, order="splitm_f64", chunk=16).item() == 1.0
    assert replay_mm(a, b, None, torch.float32, order="splitm_f64", chunk=32).item() == 0.0
    a[0, 0], a[0, 16], a[0, 32] = 2.0**60, -(2.0**60), 1.0
    assert replay_mm(a, b, None, torch.float32, order="splitm_f64", chunk=16).item() == 1.0, "ascending"


def test_without_a_bias_nothing_is_added() -> None:
    """A sum that is -0 by underflow stays it; beside a bias of +0 it does not."""
    a, b = torch.full((1, 200), -(2.0**-80)), torch.full((200, 1), 2.0**-80)
    for order in ("slab8", "lane32", "splitk32", "splitk64", "splitm_f64"):
        for bias, want in ((None, "-"), (-0.0, "-"), (0.0, "")):
            addend = None if bias is None else torch.tensor([bias])
            assert replay_mm(a, b, addend, torch.float32, **ORDERS[order]).item().hex() == f"{want}0x0.0p+0"


def test_the_bias_comes_last_but_in_the_chain() -> None:
    a, b = torch.zeros(1, 200), torch.ones(200, 1)
    a[0, 0], a[0, 1] = 2.0**24, -(2.0**24)
    for order, parameters in ORDERS.items():
        got = replay_mm(a, b, torch.tensor([1.0]), torch.float32, **parameters).item()
        assert got == (0.0 if order == "chain" else 1.0)


# ---- choices ------------------------------------------------------------------------------------------------------

#: (K, N) -> the M from which on an order is taken
FORWARD_CHANGES = {
    (768, 768): {1: "slab8", 32: "splitk32", 456: "chain"},
    (768, 3072): {1: "slab8", 32: "chain"},
    (384, 512): {1: "slab8", 32: "splitk32", 1025: "splitk64", 2731: "chain"},
    (512, 128): {1: "slab8", 32: "splitk32", 1025: "splitk64"},
    (1024, 1024): {1: "slab8", 32: "splitk32", 257: "chain"},
    (4096, 1024): {1: "chain", 32: "splitk32", 65: "chain"},
    (100, 512): {1: "slab8", 32: "splitk32", 1025: "chain"},
    (4096, 4096): {1: "chain"},
    (64, 64): {1: "slab8", 32: "chain"},
    (32, 1): {1: "lane32"},
}


@pytest.mark.parametrize(("k", "n"), FORWARD_CHANGES)
def test_where_the_forward_order_changes(k: int, n: int) -> None:
    changes = FORWARD_CHANGES[k, n]
    now = ""
    for m in range(1, 3000):
        now = changes.get(m, now)
        assert forward_order(m, k, n) == f"sgbi.{now}/0.1.1", m


def test_forward_orders_of_the_oracle() -> None:
    sizes = (
        1,
        2,
        31,
        32,
        33,
        63,
        64,
        65,
        127,
        128,
        129,
        130,
        320,
        352,
        512,
        516,
        1000,
        1024,
        1025,
        2048,
        2049,
        4096,
        9000,
    )
    for m, k, n in itertools.product(sizes, repeat=3):
        try:
            want = f"sgbi.{float_orders.dispatched(m, k, n)}/0.1.1"
        except OracleError:
            with pytest.raises(UncoveredError):
                forward_order(m, k, n)
        else:
            assert forward_order(m, k, n) == want, (m, k, n)


def test_weight_gradient_orders() -> None:
    """Chunks worked out by hand from gemm.md's rule."""
    want = {
        (32, 4, 1): "lane32",
        (5, 7, 2): "chain",
        (5, 7, 127): "chain",
        (255, 128, 128): "chain",
        (256, 127, 128): "chain",
        (256, 128, 128): "splitm_f64(c=16)",
        (4096, 768, 768): "splitm_f64(c=512)",
        (256, 4096, 512): "splitm_f64(c=96)",
        (256, 2048, 2048): "splitm_f64(c=128)",
        (256, 2048, 2176): "chain",
        (1024, 2176, 2176): "chain",
    }
    for shape, order in want.items():
        assert weight_gradient_order(*shape) == f"sgbi.{order}/0.1.1", shape


def test_input_gradient_orders() -> None:
    want = {
        (1, 5, 2): "chain",
        (9999, 64, 127): "chain",
        (31, 5, 128): "chain",
        (32, 63, 128): "chain",
        (32, 64, 128): "splitk32",
        (64, 64, 130): "splitk32",
        (64, 100, 130): "chain",
        (64, 96, 2048): "splitk32",
        (64, 96, 2049): "chain",
        (1024, 512, 512): "splitk32",
        (1024, 544, 512): "chain",
        (1025, 512, 512): "splitk64",
        (1025, 512, 520): "chain",
        (2048, 768, 160): "splitk64",
        (2048, 769, 160): "chain",
        (2048, 800, 160): "chain",
        (18048, 129, 128): "splitk64",
        (18049, 129, 128): "chain",
        (65, 2050, 2048): "chain",
        (1024, 4096, 256): "chain",
        (64, 4096, 1024): "splitk32",
        (64, 4096, 1056): "chain",
    }
    for shape, order in want.items():
        assert input_gradient_order(*shape) == f"sgbi.{order}/0.1.1", shape
    assert input_gradient_order(500, 5, 1) == "one product"
    for k, n, whole in ((100, 512, 96), (2050, 2048, 2048)):
        text = f"sgbi.splitk32/0.1.1 in columns below {whole}, sgbi.chain/0.1.1 in others"
        assert input_gradient_order(64, k, n) == text


@pytest.mark.parametrize(
    ("order", "shape"),
    [
        (forward_order, (5, 31, 1)),
        (forward_order, (5, 16, 1)),
        (weight_gradient_order, (31, 4, 1)),
        (weight_gradient_order, (32, 3, 1)),
    ],
)
def test_what_is_not_covered(order: Any, shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    with pytest.raises(UncoveredError, match=f"M={m}, K={k}, N={n}") as caught:
        order(m, k, n)
    assert caught.value.op == "sgbi.dispatch/0.1.1"
    assert "no kernel" in caught.value.reason
    assert str(caught.value).count(". ") == 2, "what failed and was got, what is allowed, what to do"


# ---- products by choice -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((3, 40, 33), ORDERS["slab8"]),
        ((3, 40, 31), ORDERS["chain"]),
        ((5, 70, 1), ORDERS["lane32"]),
        ((33, 70, 132), ORDERS["splitk32"]),
        ((1025, 352, 128), ORDERS["splitk64"]),
        ((2, 3, 130), ORDERS["chain"]),
    ],
)
def test_forward_products(shape: tuple[int, int, int], parameters: dict[str, Any]) -> None:
    m, k, n = shape
    a, b, bias = operands("normal", m, k, n)
    for addend, dtype in itertools.product((None, bias), (torch.float32, torch.bfloat16)):
        assert_bit_equal(dispatch_forward_mm(a, b, addend, dtype), replay_mm(a, b, addend, dtype, **parameters))


def test_each_matrix_of_a_batch_is_chosen_for_alone() -> None:
    """31 rows are thin, in however large a batch."""
    a, b = Draw(1).normal(3, 31, 40), Draw(2).normal(40, 33)
    got = dispatch_forward_mm(a, b, None, torch.float32)
    assert_bit_equal(got, replay_mm(a, b, None, torch.float32, order="slab8"))
    assert not torch.equal(got.view(93, 33), dispatch_forward_mm(a.view(93, 40), b, None, torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_gradients(dtype: torch.dtype) -> None:
    draw = Draw(4)
    for m, k, n, parameters in (
        (40, 5, 1, ORDERS["lane32"]),
        (9, 5, 7, ORDERS["chain"]),
        (260, 128, 128, ORDERS["splitm_f64"]),
    ):
        x, dy = draw.normal(m, k).to(dtype), draw.normal(m, n).to(dtype)
        want = replay_mm(x.float().mT, dy.float(), None, torch.float32, **parameters)
        assert_bit_equal(dispatch_weight_gradient(x, dy), want)
        batch = torch.stack([x, -x]), torch.stack([dy, dy])
        assert_bit_equal(dispatch_weight_gradient(*batch), torch.stack([want, -want]))
    for m, k, n, order in ((9, 5, 7, "chain"), (33, 64, 130, "splitk32"), (1025, 128, 128, "splitk64")):
        dy, w = draw.normal(m, n).to(dtype), draw.normal(k, n).to(dtype)
        want = replay_mm(dy.float(), w.float().mT, None, dtype, order=order)
        assert_bit_equal(dispatch_input_gradient(dy, w), want)


def test_a_gradient_of_two_orders() -> None:
    dy, w = Draw(5).normal(33, 160), Draw(6).normal(70, 160)
    got = dispatch_input_gradient(dy, w)
    assert_bit_equal(got[:, :64], replay_mm(dy, w.mT, None, torch.float32, order="splitk32")[:, :64])
    assert_bit_equal(got[:, 64:], replay_mm(dy, w.mT, None, torch.float32, order="chain")[:, 64:])
    assert not torch.equal(got, replay_mm(dy, w.mT, None, torch.float32, order="splitk32"))


def test_one_product_keeps_its_zero() -> None:
    dy, w = torch.tensor([[-1.0], [2.0**-100], [3.0]]), torch.tensor([[0.0], [-(2.0**-100)], [1 / 3]])
    got = dispatch_input_gradient(dy, w)
    assert_bit_equal(got, dy * w.mT)
    assert got[0, 0].item().hex() == "-0x0.0p+0"


def test_empty_products() -> None:
    """Covered or not."""
    assert dispatch_forward_mm(torch.empty(0, 5), torch.empty(5, 1), None, torch.bfloat16).shape == (0, 1)
    assert dispatch_forward_mm(torch.empty(3, 5), torch.empty(5, 0), None, torch.float32).shape == (3, 0)
    assert dispatch_weight_gradient(torch.empty(7, 0), torch.empty(7, 1)).shape == (0, 1)
    assert dispatch_input_gradient(torch.empty(2, 0, 3), torch.empty(4, 3)).shape == (2, 0, 4)
    assert_bit_equal(dispatch_forward_mm(torch.empty(3, 0), torch.empty(0, 2), None, torch.float32), torch.zeros(3, 2))
    with pytest.raises(UncoveredError):
        dispatch_forward_mm(torch.ones(2, 5), torch.ones(5, 1), None, torch.float32)


@functools.cache
def usual_products() -> tuple[dict[tuple[str, str], tuple[Tensor, ...]], dict[tuple[str, str], Tensor]]:
    """Operands of all kinds for all orders, and their products where nothing is set."""
    sides = {(kind, order): operands(kind, 3, 75, 5, seed=10) for kind in DATA for order in ORDERS}
    return sides, {key: replay_mm(*sides[key], torch.float32, **ORDERS[key[1]]) for key in sides}


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    sides, want = usual_products()
    with SETTINGS[name]():
        got = {key: replay_mm(*sides[key], torch.float32, **ORDERS[key[1]]) for key in sides}
    for key in sides:
        assert torch.equal(patterns(got[key]), patterns(want[key])), key
