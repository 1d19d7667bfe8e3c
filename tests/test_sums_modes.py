"""posit_mm in modes posit, products, cuposit: what each rounds, fast steps against their definitions, gradients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance import vectors
from refnum_conformance.oracles import orders
from torch import Tensor

import refnum
from refnum import Posit, posit_mm
from refnum.sums import ordered
from refnum.sums.posits import MODES
from refnum.testing import assert_bit_equal, cases

P8, P16, P20, P32 = Posit(8), Posit(16), Posit(20), Posit(32)
ORDERED = ("posit", "products", "cuposit")


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float32)


def operands(fmt: Posit, seed: int, shape: tuple[int, int, int] = (7, 19, 5), spread: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    m, k, n = shape
    a, b = torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)
    scales = (torch.randint(-spread, spread + 1, x.shape, generator=generator).float().exp2() for x in (a, b))
    a, b = (x * scale for x, scale in zip((a, b), scales, strict=True))
    a[0, 0] = b[1, 1] = 0.0
    return a, b


# ---- the worked values of the definitions ---------------------------------------------------------------------------

WORKED = [
    (8, [1024, 1, -1024], [1, 1, 1], (1, 0, 1, 1.000152587890625), 1),
    (8, [1024, -1024, 1], [1, 1, 1], (1, 1, 1, 1.000152587890625), 1),
    (8, [1.625] * 8, [1.125] * 8, (15, 15, 15, 14), 14),
    (8, [1] * 20, [1] * 20, (20, 16, 20, 20.0001220703125), 20),
    (8, [2.0**24] * 2, [2.0**24] * 2, (2.0**24, 2.0**24, 2.0**25, 65536), 65536),
    (8, [2.0**-24], [2.0**-24], (2.0**-24, 2.0**-24, 2.0**-24, 2.0**-12), 2.0**-15),
    (5, [1.5, -3], [1, 1], (-4, -4, -3, -0.25), -1),
    (6, [1], [1], (1, 1, 1, 1.0546875), 1),
    (6, [0] * 1024, [1] * 1024, (0, 0, 0, 8), 8),
    (8, [0] * 1024, [1] * 1024, (0, 0, 0, 0.03125), 0.03125),
    (16, [0] * 1024, [1] * 1024, (0, 0, 0, 2.0**-37), 2.0**-37),
]


@pytest.mark.parametrize(("n", "a", "b", "want", "unpadded"), WORKED)
def test_worked_values(n: int, a: list[float], b: list[float], want: tuple[float, ...], unpadded: float) -> None:
    x, y = row(*a), row(*b).T
    assert tuple(posit_mm(x, y, Posit(n), mode=mode).item() for mode in MODES) == want
    assert posit_mm(x, y, Posit(n), mode="cuposit", k_pad=None).item() == unpadded


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_has_a_short_name_and_a_full_one(mode: str) -> None:
    a, b = operands(P8, 1)
    assert_bit_equal(posit_mm(a, b, P8, mode=MODES[mode].contract), posit_mm(a, b, P8, mode=mode))


def test_products_are_rounded_from_their_exact_values() -> None:
    """Through a float32 product this one would come out one pattern lower."""
    a, b = torch.tensor([[0x46FA6]]), torch.tensor([[0x4660A]])
    got = posit_mm(a, b, P20, mode="products")
    assert refnum.encode(got, P20).item() == 0x4D759
    x, y = (refnum.decode(side, P20, dtype=torch.float32) for side in (a, b))
    assert refnum.encode(x * y, P20).item() == 0x4D758
    a, b = torch.tensor([[0x40000005]]), torch.tensor([[0x40CCCCCD]])
    assert posit_mm(a, b, P32, mode="posit").item() == 0x40CCCCD3
    assert refnum.encode(refnum.decode(a, P32) * refnum.decode(b, P32), P32).item() == 0x40CCCCD2


# ---- fast steps against definitions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fmt", [Posit(3), Posit(4, 3), P8, Posit(8, 0), P16, Posit(16, 3), Posit(24), Posit(29, 1), Posit(30)]
)
@pytest.mark.parametrize("kind", cases.KINDS)
def test_rounded_steps_in_floats_are_those_in_patterns(fmt: Posit, kind: str) -> None:
    a, b = cases.dots(fmt, kind, count=40, length=9)
    b = b.T[:, :6].contiguous()
    c = cases.patterns(fmt, kind, count=40).repeat(40)[: len(a), None].expand(len(a), b.shape[1])
    for addend in (None, c):
        got = ordered._rounded_mm_in_floats(a, b, addend, fmt, None)
        assert_bit_equal(got, ordered.rounded_mm_in_patterns(a, b, addend, fmt, None))


@pytest.mark.parametrize(
    "fmt", [Posit(4), P8, Posit(8, 0), P16, Posit(16, 3), Posit(17, 3), P20, Posit(26, 0), Posit(28)]
)
@pytest.mark.parametrize("kind", cases.KINDS)
def test_rounded_products_in_floats_are_those_in_patterns(fmt: Posit, kind: str) -> None:
    a, b = cases.dots(fmt, kind, count=40, length=9)
    b = b.T[:, :6].contiguous()
    assert ordered._product_lane(fmt) is not None
    want = ordered.products_mm_in_patterns(a, b, fmt)
    assert_bit_equal(ordered.products_mm(a, b, None, fmt), want.masked_fill(want.isnan(), math.nan))


def test_rounding_beside_patterns_without_room_in_float64() -> None:
    fmt = Posit(31, 0)
    assert 2 * fmt.significand_bits > 53
    a, b = cases.dots(fmt, "ties", count=20, length=5)
    got = posit_mm(a, b.T, fmt, mode="posit")
    want = orders.posit_mm(a.tolist(), b.T.tolist(), n=31, es=0)
    assert got.tolist() == want


@pytest.mark.parametrize("n", [4, 5, 6, 8, 12, 16, 24, 28])
def test_clipping_is_cuposits_own(n: int) -> None:
    recorded = vectors.arrays("cuposit_round")
    x, want = (torch.from_numpy(recorded[f"{side}_{n}"].astype(np.int32)) for side in ("in", "out"))
    assert torch.equal(ordered.clipped(x.view(torch.float32), Posit(n)).view(torch.int32), want)
    assert torch.equal(ordered.clipped_bits(x, Posit(n)), want)
    assert want.tolist()[:500] == [as_int32(orders.clip(bits & 0xFFFFFFFF, n)) for bits in x.tolist()[:500]]


def as_int32(bits: int) -> int:
    """A pattern of 32 bits with its sign."""
    return bits - (bits >> 31 << 32)


@settings(deadline=None, max_examples=80)
@given(st.integers(5, 28), st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=40))
def test_clipping_is_idempotent_monotone_and_never_grows(n: int, patterns: list[int]) -> None:
    fmt, x = Posit(n), torch.tensor(patterns, dtype=torch.int32).view(torch.float32)
    y = ordered.clipped(x, fmt)
    assert_bit_equal(ordered.clipped(y, fmt), y)
    ordinary = ~x.isnan()
    order = x[ordinary].argsort()
    assert (y[ordinary][order].diff() >= 0).all() or (x[ordinary] == 0).any()  # -0 and 0 go to different ends
    least = 2.0 ** -(4 * (n - 4) - 1)
    inside = ordinary & (x.abs() >= least)
    assert (y.abs() <= x.abs())[inside].all()


@pytest.mark.parametrize("n", [5, 6, 8, 10, 12, 16, 20, 24, 28])
@pytest.mark.parametrize("terms", [0, 1, 7, 8, 9, 15, 16, 17])
def test_cuposit_in_passes_is_its_definition(n: int, terms: int) -> None:
    """With and without operands that need a clamp, and with padding."""
    fmt = Posit(n)
    for spread in (0, 60):
        a, b = operands(fmt, n, (4, max(terms, 2), 3), spread=spread)
        a, b = a[:, :terms], b[:terms]
        if spread == 0:
            a, b = a.sign() * a.abs().clamp(0.5, 2.0) + (a == 0), b.sign() * b.abs().clamp(0.5, 2.0) + (b == 0)
        for k_pad in (8, None):
            got = posit_mm(a, b, fmt, mode="cuposit", k_pad=k_pad)
            assert_bit_equal(got, ordered.cuposit_mm_by_definition(a, b, fmt, k_pad))
        if terms % 8 == 0:
            assert_bit_equal(got, posit_mm(a, b, fmt, mode="cuposit"))


def test_the_guard_says_when_nothing_needs_a_clamp() -> None:
    reach = 2.0**15
    inside, zero = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 1.0]])
    assert ordered._products_inside(inside, inside, reach)
    assert not ordered._products_inside(inside, zero, reach)
    assert not ordered._products_inside(inside * 2.0**8, inside * 2.0**8, reach)


def test_posit4_in_cuposit_is_a_constant_and_says_so() -> None:
    with pytest.warns(UserWarning, match=r"makes every value of posit\(4,2\) \+-1/2"):
        got = posit_mm(row(-3.0, 0.25), row(1e9, 0.0).T, Posit(4), mode="cuposit", k_pad=None)
    assert got.item() == 0.0  # -1/2 and 1/2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posit_mm(row(1.0), row(1.0), Posit(5), mode="cuposit")


# ---- specials, addends, scaling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["quire", "posit", "products"])
def test_nan_and_inf_are_nar_in_their_row_and_column(mode: str) -> None:
    a, b = torch.zeros(3, 4), torch.zeros(4, 3)
    a[1, 2], b[0, 2] = torch.nan, torch.inf
    got = posit_mm(a, b, P16, mode=mode)
    want = torch.zeros(3, 3, dtype=torch.bool)
    want[1], want[:, 2] = True, True
    assert torch.equal(got.isnan(), want)
    assert set(got.view(torch.int32)[want].tolist()) == {0x7FC00000}


def test_nan_and_inf_are_the_largest_value_in_cuposit() -> None:
    got = posit_mm(row(torch.nan, -torch.inf), row(1.0, 1.0).T, P8, mode="cuposit", k_pad=None)
    assert got.item() == 2.0**15 - 2.0**15
    assert posit_mm(row(torch.inf), row(-1.0), P8, mode="cuposit", k_pad=None).item() == -(2.0**15)


@pytest.mark.parametrize("mode", ORDERED)
def test_no_terms_give_the_addend_or_0(mode: str) -> None:
    a, b, c = torch.zeros(2, 0), torch.zeros(0, 3), torch.full((2, 3), 1.1)
    scaling = {"beta": 1.0} if mode == "cuposit" else {}
    assert_bit_equal(posit_mm(a, b, P16, mode=mode), torch.zeros(2, 3))
    want = refnum.quantize(c, P16) if mode == "posit" else c
    assert_bit_equal(posit_mm(a, b, P16, mode=mode, c=c, **scaling), want)


@pytest.mark.parametrize("flush", [False, True])
def test_subnormal_addends_are_not_flushed(flush: bool) -> None:
    tiny = torch.tensor([[3]], dtype=torch.int32).view(torch.float32)  # 3 * 2**-149
    torch.set_flush_denormal(flush)
    try:
        products = posit_mm(row(0.0), row(1.0), P16, mode="products", c=tiny)
        cuposit = posit_mm(torch.zeros(1, 0), torch.zeros(0, 1), P16, mode="cuposit", c=tiny, beta=2.0)
    finally:
        torch.set_flush_denormal(False)
    assert products.view(torch.int32).item() == 3
    assert cuposit.view(torch.int32).item() == 6


def test_the_end_of_cuposit_is_a_fused_multiply_add() -> None:
    """alpha * sum is not rounded before the addend comes."""
    third = 1 / 3
    (a, b), c = operands(P16, 5), torch.randn(7, 5, generator=torch.Generator().manual_seed(6))
    got = posit_mm(a, b, P16, mode="cuposit", c=c, alpha=third, beta=-1.0)
    sums = posit_mm(a, b, P16, mode="cuposit")
    exact = torch.tensor(third).double() * sums.double() - c.double()  # rounded once to float64: nearly always enough
    assert_bit_equal(got, exact.float())
    assert not torch.equal(got, (torch.tensor(third) * sums - c))


def test_an_addend_that_is_not_read_may_be_anything() -> None:
    a, b = operands(P16, 7)
    nan = torch.full((7, 5), torch.nan)
    assert_bit_equal(posit_mm(a, b, P16, mode="cuposit", c=nan), posit_mm(a, b, P16, mode="cuposit"))


# ---- order, batches, state ------------------------------------------------------------------------------------------


def test_posit_and_products_follow_k_ascending() -> None:
    big = row(1024.0, 1.0, -1024.0)
    order = torch.tensor([0, 2, 1])
    ones = torch.ones(3, 1)
    assert posit_mm(big, ones, P8, mode="posit").item() == 0.0
    assert posit_mm(big[:, order], ones, P8, mode="posit").item() == 1.0
    huge = row(2.0**24, 1.0, -(2.0**24))  # float32 drops the 1 behind 2**24
    assert posit_mm(huge, ones, P16, mode="products").item() == 0.0
    assert posit_mm(huge[:, order], ones, P16, mode="products").item() == 1.0


@pytest.mark.parametrize("mode", ORDERED)
@pytest.mark.parametrize("tile", [1, 4, 1 << 16])
def test_tiles_batches_and_layouts_do_not_matter(mode: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.stack([operands(P16, seed)[0] for seed in range(3)])
    b = operands(P16, 9)[1]
    want = torch.stack([posit_mm(x, b, P16, mode=mode) for x in a])
    monkeypatch.setattr(ordered, "TILE", tile)
    assert_bit_equal(posit_mm(a, b, P16, mode=mode), want)
    assert_bit_equal(posit_mm(a.mT.contiguous().mT, b.T.contiguous().T, P16, mode=mode), want)
    assert_bit_equal(posit_mm(a.expand(2, 3, 7, 19), b.expand(3, 19, 5), P16, mode=mode)[1], want)
    assert_bit_equal(posit_mm(torch._neg_view(-a), b, P16, mode=mode), want)


@pytest.mark.parametrize("mode", ORDERED)
def test_formats_differ(mode: str) -> None:
    a, b = operands(P8, 10)
    assert not torch.equal(posit_mm(a, b, P8, mode=mode), posit_mm(a, b, Posit(28), mode=mode).to(torch.float32))


# ---- gradients ------------------------------------------------------------------------------------------------------

ROUNDED: dict[str, Callable[[Tensor], Tensor]] = dict.fromkeys(MODES, lambda x: refnum.quantize(x, P8))
ROUNDED["cuposit"] = lambda x: ordered.clipped(x, P8)


@pytest.mark.parametrize("grad", ["rounded", "raw"])
@pytest.mark.parametrize("mode", MODES)
def test_gradients_pass_straight_through(mode: str, grad: str) -> None:
    (a, b), scaling = operands(P8, 11), {"alpha": 0.5, "beta": -2.0} if mode == "cuposit" else {}
    c = torch.zeros(5)
    leaves = [x.clone().requires_grad_() for x in (a, b, c)]
    result = posit_mm(leaves[0], leaves[1], P8, mode=mode, c=leaves[2], grad=grad, **scaling)
    upstream = torch.randn(result.shape, generator=torch.Generator().manual_seed(12))
    result.backward(upstream)
    x, y = (ROUNDED[mode](t) for t in (a, b)) if grad == "rounded" else (a, b)
    alpha, beta = scaling.get("alpha", 1.0), scaling.get("beta", 1.0)
    assert_bit_equal(leaves[0].grad, (upstream * alpha) @ y.T)
    assert_bit_equal(leaves[1].grad, x.T @ (upstream * alpha))
    torch.testing.assert_close(leaves[2].grad, (upstream * beta).sum(0))


@pytest.mark.parametrize("mode", ["quire", "posit"])
def test_twice_differentiable(mode: str) -> None:
    """Where nothing is rounded the product is an ordinary one, and so are its first and second derivatives."""
    a = torch.tensor([[1.0, -2.0], [0.5, 4.0]], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([[3.0, 1.0], [-1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(posit_mm(a, b, P32, mode=mode).square().sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), b)
    x, y = a.detach().requires_grad_(), b.detach().requires_grad_()
    (want,) = torch.autograd.grad((x @ y).square().sum(), x, create_graph=True)
    assert_bit_equal(first.detach(), want.detach())
    assert_bit_equal(second, torch.autograd.grad(want.sum(), y)[0])


def test_gradcheck_where_a_difference_quotient_means_something() -> None:
    """Steps of a power of 2 between values that posit32 holds: the quotient is exact."""
    a, b = (torch.randint(-8, 9, (3, 3), generator=torch.Generator().manual_seed(i)).double() for i in (1, 2))
    leaves = [x.requires_grad_() for x in (a, b)]
    assert torch.autograd.gradcheck(lambda x, y: posit_mm(x, y, P32), leaves, eps=2.0**-8, atol=0, rtol=0)
