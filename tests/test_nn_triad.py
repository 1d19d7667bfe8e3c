"""nn.linear: output and gradients of any order, each as its own contract says, however rows are batched."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from float_sums import SETTINGS, chain_dot, exact_dot, operands, product
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import refnum
from refnum import gemm
from refnum.errors import ContractError, DTypeError, RefnumError, ShapeError, UncoveredError
from refnum.nn import linear
from refnum.nn.gradients import collecting
from refnum.nn.triad import triad_of
from refnum.sums.contracts import CONTRACTS, FAMILIES, Contract, find
from refnum.sums.digits import exact_partial
from refnum.sums.replays import dispatch_input_gradient, dispatch_weight_gradient
from refnum.sums.triads import FORMS, GRADIENTS, Triad
from refnum.testing import assert_bit_equal

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
CHAIN, EXACT = "chain/v1", "exact/v1"
DOTS = {CHAIN: chain_dot, EXACT: exact_dot}
KINDS = ("input", "weight", "bias")
DISPATCH = "sgbi.dispatch/0.1.1"


class Case(NamedTuple):
    """Operands of a layer, and the gradient of its output."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    dy: Tensor

    def leaves(self) -> tuple[Tensor, Tensor, Tensor]:
        """Copies that gradients are collected in."""
        x, weight, bias = (t.detach().clone().requires_grad_() for t in self[:3])
        return x, weight, bias


def case(kind: str, m: int = 6, k: int = 7, n: int = 5, dtype: torch.dtype = F32) -> Case:
    """Operands on which sums go wrong, in a dtype."""
    x, w, bias = operands(kind, m, k, n)
    dy, _, _ = operands(kind, m, n, 1, seed=1)
    return Case(x.to(dtype), w.mT.to(dtype), bias, dy.to(dtype))


def wide(x: Tensor) -> Tensor:
    """Narrow floats in float32, which holds them."""
    return x.detach().to(F32)


def by_oracle(c: Case, triad: Triad) -> tuple[Tensor, ...]:
    """Output and gradients, dot product by dot product."""
    x, weight, dy = wide(c.x), wide(c.weight), wide(c.dy)
    dtype, ones = c.x.dtype, torch.ones(1, len(x))
    return (
        product(DOTS[triad.output], x, weight.mT, c.bias, dtype),
        product(DOTS[triad.input], dy, weight, None, dtype),
        product(DOTS[triad.weight], dy.mT, x, None, dtype),
        product(DOTS[triad.bias], ones, dy, None, c.bias.dtype).squeeze(0),
    )


def computed(c: Case, **knobs: Any) -> tuple[Tensor, ...]:
    """Output and gradients."""
    leaves = c.leaves()
    y = linear(*leaves, **knobs)
    return y.detach(), *torch.autograd.grad(y, leaves, c.dy)


def rows() -> Iterator[Contract]:
    """Contracts of float32, families with their defaults, whose bits are promised and know nothing of other rows."""
    for name in (*CONTRACTS, *FAMILIES):
        row = find("test", name)
        if row.multiply and F32 in row.operands and F32 in row.results and not name.startswith(("unv", "sgbi.dis")):
            yield row


ROWS = list(rows())
#: tensor cores stand for one another where rows are put together
SOME_ROWS = [
    pytest.param(row, id=str(row), marks=[pytest.mark.slow] * (row.name.startswith("tc.") and "hopper" not in row.name))
    for row in ROWS
]

# ---- the four sums ------------------------------------------------------------------------------------------------

of_any_four = pytest.mark.parametrize(
    "names", list(itertools.product(DOTS, repeat=4)), ids=lambda names: " ".join(name[:5] for name in names)
)
HARD = ["normal", "ties", "ties of a chain", "cancelling", "subnormal results", "zeros", "overflow", "specials"]


@pytest.mark.parametrize("kind", HARD)
@of_any_four
def test_output_and_gradients_are_those_of_the_oracle(names: tuple[str, ...], kind: str) -> None:
    """Whatever follows what: no contract stands in for another."""
    c, triad = case(kind), Triad(*names)
    got = computed(c, contract=triad.output, grad_contract={name: getattr(triad, name) for name in KINDS})
    for have, want in zip(got, by_oracle(c, triad), strict=True):
        assert_bit_equal(have, want)


def test_the_contracts_can_be_told_apart() -> None:
    """Each of the four sums has other bits under the other contract: the test above could fail."""
    c = case("normal", 40, 40, 40)
    one, other = (computed(c, contract=name, grad_contract=name) for name in DOTS)
    assert not any(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [F16, BF16])
@pytest.mark.parametrize("bias_dtype", [None, F32])
def test_narrow_dtypes_are_widened_and_rounded_once(dtype: torch.dtype, bias_dtype: torch.dtype | None) -> None:
    c = case("normal", dtype=dtype)
    c = c._replace(bias=c.bias.to(bias_dtype or dtype))
    for name in DOTS:
        want = by_oracle(c._replace(bias=wide(c.bias)), Triad(name, name, name, name))
        *got, to_bias = computed(c, contract=name, grad_contract=name)
        for have, expected in zip(got, want[:3], strict=True):
            assert_bit_equal(have, expected)
        ones = torch.ones(1, len(c.dy))
        assert_bit_equal(to_bias, product(DOTS[name], ones, wide(c.dy), None, c.bias.dtype).squeeze(0))


def test_a_chain_of_rows_adds_them_in_order() -> None:
    """dbias: acc = acc + dY[m], m ascending, in float32."""
    dy = operands("normal", 300, 4, 1)[0] * 1e3
    bias = torch.zeros(4, requires_grad=True)
    linear(torch.zeros(300, 2), torch.zeros(4, 2), bias, grad_contract=CHAIN).backward(dy)
    total = torch.zeros(4)
    for row in dy:
        total = total + row
    assert_bit_equal(bias.grad, total)
    assert not torch.equal(total, dy.flip(0).cumsum(0)[-1])


def test_defaults() -> None:
    def of(contract: str, dtype: torch.dtype = F32, **knobs: Any) -> Triad:
        return triad_of("test", contract, knobs or None, dtype)

    assert of("chain") == Triad(CHAIN, CHAIN, EXACT, EXACT)
    assert of("exact") == Triad(EXACT, EXACT, EXACT, EXACT)
    assert of("chain", torch.float8_e5m2) == Triad(CHAIN, CHAIN, EXACT, EXACT)
    assert of("chain", F64) == Triad(CHAIN, EXACT, EXACT, EXACT)
    assert of("exact", weight="chain") == Triad(EXACT, EXACT, CHAIN, EXACT)
    assert triad_of("test", find("test", "chain"), "exact", F32) == Triad(CHAIN, EXACT, EXACT, EXACT)
    c = case("normal")
    for got, want in zip(computed(c), by_oracle(c, Triad(CHAIN, CHAIN, EXACT, EXACT)), strict=True):
        assert_bit_equal(got, want)


# ---- rows in batches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("contract", SOME_ROWS)
def test_a_row_has_the_same_bits_in_any_batch(contract: Contract) -> None:
    k = 40
    x, w, bias = operands("normal", 1025, k, 3)
    whole = linear(x, w.mT, bias, contract=contract)
    for m in (*range(1, 131), 255, 256, 257, 1023, 1024):
        assert_bit_equal(linear(x[:m], w.mT, bias, contract=contract), whole[:m])
        assert_bit_equal(linear(x[m], w.mT, bias, contract=contract), whole[m])


@pytest.mark.parametrize("contract", SOME_ROWS)
def test_the_gradient_of_a_row_has_the_same_bits_in_any_batch(contract: Contract) -> None:
    x, w, _ = operands("normal", 130, 5, 40)
    dy = operands("normal", 130, 40, 1)[0]

    def gradient(rows: slice) -> Tensor:
        leaf = x[rows].clone().requires_grad_()
        linear(leaf, w.mT, contract=contract).backward(dy[rows])
        assert leaf.grad is not None
        return leaf.grad

    whole = gradient(slice(None))
    for m in range(130):
        assert_bit_equal(gradient(slice(m, m + 1)), whole[m : m + 1])


@pytest.mark.parametrize("kind", ["normal", "wide", "cancelling", "ties"])
@pytest.mark.parametrize("size", [1, 4, 6], ids=["single rows", "thirds", "halves"])
def test_the_gradient_of_the_weight_is_that_of_its_parts_joined(size: int, kind: str) -> None:
    c = case(kind, m=12)
    _, _, to_weight, to_bias = computed(c)
    ones, parts = torch.ones(12, 1), [slice(start, start + size) for start in range(0, 12, size)]
    products = [exact_partial(c.dy[part].mT, c.x[part]) for part in parts]
    sums = [exact_partial(c.dy[part].mT, ones[part]) for part in parts]
    assert_bit_equal(to_weight, sum(products[1:], products[0]).round(F32))
    assert_bit_equal(to_bias, sum(sums[1:], sums[0]).round(F32).squeeze(1))


def test_rows_in_another_order_leave_exact_gradients_alone() -> None:
    c = case("normal", 64)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    shuffled = c._replace(x=c.x[order], dy=c.dy[order])
    for got, want in zip(computed(shuffled)[2:], computed(c)[2:], strict=True):
        assert_bit_equal(got, want)


# ---- layouts and shapes -------------------------------------------------------------------------------------------

X, W, B = operands("normal", 6, 7, 5)
W = W.mT.contiguous()

LAYOUTS: dict[str, tuple[Tensor, Tensor]] = {
    "transposed": (X.mT.contiguous().mT, W.mT.contiguous().mT),
    "every second": (X.repeat_interleave(2, 1)[:, ::2], W.repeat_interleave(2, 0)[::2]),
    "offset": (torch.cat([X, X])[6:], torch.cat([W, W])[5:]),
    "three axes": (X.view(2, 3, 7), W),
    "axes in another order": (X.view(2, 3, 7).transpose(0, 1).contiguous().transpose(0, 1), W),
    "four axes": (X.view(1, 2, 3, 7), W),
    "negated": (torch.imag(torch.complex(X, -X).conj()), W),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_do_not_matter(name: str) -> None:
    x, w = (t.detach().requires_grad_() for t in LAYOUTS[name])
    y = linear(x, w, B)
    assert_bit_equal(y.detach(), linear(X, W, B).view(*x.shape[:-1], 5))
    upstream = operands("normal", 6, 5, 1)[0].view(y.shape)
    got = torch.autograd.grad(y, (x, w), upstream)
    want = computed(Case(X, W, B, upstream.reshape(6, 5)))[1:3]
    for have, expected in zip(got, want, strict=True):
        assert_bit_equal(have.reshape(expected.shape), expected)


def test_an_expanded_upstream_and_one_row() -> None:
    x, w, b = Case(X[0], W, B, X).leaves()
    linear(x, w, b).sum().backward()
    ones = torch.ones(1, 5)
    assert_bit_equal(x.grad, gemm(ones, W)[0])
    assert_bit_equal(w.grad, X[:1].expand(5, 7).clone())
    assert_bit_equal(b.grad, torch.ones(5))


@pytest.mark.parametrize("contract", ROWS, ids=str)
@pytest.mark.parametrize("shape", [(0, 7, 5), (6, 0, 5), (6, 7, 0), (0, 0, 0)], ids=str)
def test_nothing_to_add(shape: tuple[int, int, int], contract: Contract) -> None:
    m, k, n = shape
    x, w, b = torch.ones(2, m, k, requires_grad=True), torch.ones(n, k, requires_grad=True), B[:n].requires_grad_()
    y = linear(x, w, b, contract=contract, grad_contract=contract)
    assert_bit_equal(y.detach(), b.detach().expand(2, m, n) if not k else gemm(x.detach(), w.detach().mT, b.detach()))
    gradients = torch.autograd.grad(y, (x, w, b), torch.ones_like(y))
    assert [g.shape for g in gradients] == [x.shape, w.shape, b.shape]
    assert all(torch.equal(g, torch.full_like(g, float(2 * m if g.shape != x.shape else n))) for g in gradients)


def test_only_what_is_asked_for_has_a_gradient() -> None:
    for wanted in itertools.product((True, False), repeat=3):
        leaves = [t.clone().requires_grad_(yes) for t, yes in zip((X, W, B), wanted, strict=True)]
        y = linear(*leaves)
        assert y.requires_grad == any(wanted)
        if any(wanted):
            y.sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == list(wanted)


def test_inference_mode_and_no_grad_have_the_same_bits() -> None:
    want = linear(X, W, B)
    with torch.inference_mode():
        assert_bit_equal(linear(X, W, B), want)
    with torch.no_grad():
        assert_bit_equal(linear(*Case(X, W, B, X).leaves()), want)


def test_integers_are_multiplied_without_gradients() -> None:
    x, w = torch.arange(-6, 6, dtype=torch.int8).view(2, 6), torch.full((3, 6), -7, dtype=torch.int8)
    assert_bit_equal(linear(x, w, contract="int/v1"), (x.int() @ w.int().mT).to(torch.int32))


def test_8_bits_come_out_as_float32() -> None:
    x, w = (t.to(torch.float8_e4m3fn) for t in (X, W))
    assert_bit_equal(linear(x, w, B), product(chain_dot, x.to(F32), w.to(F32).mT, B, F32))


@pytest.mark.parametrize(
    ("contract", "dtype", "bias_dtype"),
    [
        ("tc.hopper.bf16/v1", BF16, F32),
        ("tc.hopper.bf16/v1", BF16, BF16),
        ("tc.ampere.f16.acc16/v1", F16, F16),
        ("tc.hopper.tf32/v1", F32, F32),
    ],
)
def test_a_layer_on_tensor_cores(contract: str, dtype: torch.dtype, bias_dtype: torch.dtype) -> None:
    c = case("normal", 20, 40, 24, dtype)
    c = c._replace(bias=c.bias.to(bias_dtype))
    accumulated = c.bias if contract == "tc.ampere.f16.acc16/v1" else wide(c.bias)
    y, dx, dw, db = computed(c, contract=contract)
    assert_bit_equal(y, gemm(c.x, c.weight.mT, accumulated, contract=contract))
    assert_bit_equal(dx, gemm(c.dy, c.weight, contract=contract))
    assert_bit_equal(dw, gemm(c.dy.mT, c.x, contract=EXACT))
    assert_bit_equal(db, gemm(torch.ones(1, 20), c.dy, contract=EXACT, out_dtype=bias_dtype)[0])


# ---- derivatives of derivatives -----------------------------------------------------------------------------------


def doubles(seed: int = 0, m: int = 6, k: int = 4, n: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Leaves in float64."""
    g = torch.Generator().manual_seed(seed)
    shapes = (2, m // 2, k), (n, k), (n,)
    x, w, b = (torch.randn(shape, generator=g, dtype=F64).requires_grad_() for shape in shapes)
    return x, w, b


@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
def test_derivatives_are_derivatives(check: Callable[..., bool]) -> None:
    assert check(lambda *leaves: linear(*leaves, contract=EXACT), doubles(k=3, n=2))
    assert check(lambda x, w: linear(x, w, contract=EXACT), doubles(k=3, n=2)[:2])


def test_third_derivatives_are_derivatives() -> None:
    def gradient(x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        y = linear(x, w, b, contract=EXACT)
        return torch.autograd.grad((y * y * y).sum(), (x, w, b), create_graph=True)

    assert torch.autograd.gradgradcheck(gradient, doubles(1, m=4, k=2, n=2))


@of_any_four
def test_second_derivatives_follow_the_same_contracts(names: tuple[str, ...]) -> None:
    """A sum over K follows that of the output, one over N that of the input, one over M that of the weight."""
    triad, c = Triad(*names), case("normal", 40, 40, 40)
    x, w, b = c.leaves()
    dy = c.dy.clone().requires_grad_()
    y = linear(x, w, b, contract=triad.output, grad_contract={name: getattr(triad, name) for name in KINDS})
    dx, dw, db = torch.autograd.grad(y, (x, w, b), dy, create_graph=True)
    for_x, for_w, for_b = (operands("normal", *t.shape, 1, seed=7)[0] for t in (dx, dw, db[None]))

    to_dy, to_w = torch.autograd.grad(dx, (dy, w), for_x, retain_graph=True)
    assert_bit_equal(to_dy, gemm(for_x, w.detach().mT, contract=triad.output))
    assert_bit_equal(to_w, gemm(c.dy.mT, for_x, contract=triad.weight))
    to_dy, to_x = torch.autograd.grad(dw, (dy, x), for_w, retain_graph=True)
    assert_bit_equal(to_dy, gemm(x.detach(), for_w.mT, contract=triad.output))
    assert_bit_equal(to_x, gemm(c.dy, for_w, contract=triad.input))
    (to_dy,) = torch.autograd.grad(db, dy, for_b[0])
    assert_bit_equal(to_dy, for_b.expand(40, 40).clone())


def test_a_second_derivative_through_a_wide_bias_is_rounded_once() -> None:
    b = torch.zeros(5, requires_grad=True)
    dy = torch.ones(6, 5, dtype=BF16, requires_grad=True)
    y = linear(X.bfloat16(), W.bfloat16(), b)
    (db,) = torch.autograd.grad(y, b, dy, create_graph=True)
    upstream = torch.tensor([1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -0.0, 2.0**-133, torch.inf])
    (to_dy,) = torch.autograd.grad(db, dy, upstream)
    assert_bit_equal(to_dy, upstream.to(BF16).expand(6, 5).clone())


def test_every_kind_of_product_has_its_derivatives() -> None:
    """By the product rule on matrices: what `GRADIENTS` names is what the form's transpose gives."""
    assert GRADIENTS.keys() == FORMS.keys()
    shapes = {"output": ((6, 7), (7, 5)), "input": ((6, 5), (7, 5)), "weight": ((6, 7), (6, 5))}
    g = torch.Generator().manual_seed(3)
    for kind, pair in shapes.items():
        left, right = (torch.randn(shape, generator=g, dtype=F64, requires_grad=True) for shape in pair)
        got = torch.ops.refnum.triad(left, right, None, kind, [EXACT] * 4, F64)
        a, b = FORMS[kind](left, right)
        upstream = torch.randn(got.shape, generator=g, dtype=F64)
        for have, want in zip(
            torch.autograd.grad(got, (left, right), upstream),
            torch.autograd.grad(a @ b, (left, right), upstream),
            strict=True,
        ):
            torch.testing.assert_close(have, want)


# ---- the replay that chooses by shape -----------------------------------------------------------------------------


def test_the_dispatch_of_the_replay_has_tables_for_gradients() -> None:
    for m, k, n in ((32, 64, 96), (300, 128, 160), (40, 100, 64)):
        x, w, bias = operands("normal", m, k, n)
        dy = operands("normal", m, n, 1)[0]
        triad = [CHAIN, DISPATCH, DISPATCH, EXACT]
        to_x = torch.ops.refnum.triad(dy, w, None, "input", triad, F32)
        to_w = torch.ops.refnum.triad(x, dy, None, "weight", triad, F32)
        assert_bit_equal(to_x, dispatch_input_gradient(dy, w))
        assert_bit_equal(to_w, dispatch_weight_gradient(x, dy))
        assert_bit_equal(
            torch.ops.refnum.triad(x.bfloat16(), dy.bfloat16(), None, "weight", triad, BF16),
            dispatch_weight_gradient(x.bfloat16(), dy.bfloat16()).to(BF16),
        )
        got = computed(Case(x, w.mT, bias, dy), contract=DISPATCH, grad_contract=DISPATCH)
        assert_bit_equal(got[0], gemm(x, w, bias, contract=DISPATCH))
        assert_bit_equal(got[1], to_x)
        assert_bit_equal(got[2], to_w.mT.contiguous())
        assert_bit_equal(got[3], gemm(torch.ones(1, m), dy, contract=EXACT)[0])


def test_defaults_beside_the_replay() -> None:
    assert triad_of("test", DISPATCH, None, F32) == Triad(DISPATCH, DISPATCH, EXACT, EXACT)
    assert triad_of("test", CHAIN, DISPATCH, F32) == Triad(CHAIN, DISPATCH, DISPATCH, EXACT)


def test_what_the_replay_does_not_cover_is_refused_in_the_backward_pass_too() -> None:
    w = torch.ones(1, 2, requires_grad=True)
    y = linear(torch.ones(4, 2), w, grad_contract=DISPATCH)
    with pytest.raises(UncoveredError, match="the gradient of weights of M=4, K=2, N=1"):
        y.sum().backward()


# ---- torch.library, torch.compile ---------------------------------------------------------------------------------


def samples() -> dict[str, tuple[Any, ...]]:
    """Arguments of the operation; no result is NaN, which opcheck holds unequal to itself."""
    x, w, b = (t.detach() for t in (X, W.mT, B))
    names = [CHAIN, CHAIN, EXACT, EXACT]

    def leaf(t: Tensor) -> Tensor:
        return t.clone().requires_grad_()

    return {
        "output": (leaf(x), leaf(w), leaf(b), "output", names, F32),
        "no bias": (leaf(x), leaf(w), None, "output", names, F32),
        "bfloat16 and a wide bias": (leaf(x.bfloat16()), leaf(w.bfloat16()), leaf(b), "output", names, BF16),
        "float64": (leaf(x.double()), leaf(w.double()), leaf(b.double()), "output", [EXACT] * 4, F64),
        "transposed": (leaf(w.mT), leaf(x.mT), None, "output", names, F32),
        "no rows": (leaf(x[:0]), leaf(w), leaf(b), "output", names, F32),
        "no terms": (leaf(x[:, :0]), leaf(w[:0]), leaf(b), "output", names, F32),
        "batches": (leaf(x.view(2, 3, 7)), leaf(w.expand(2, 7, 5)), None, "output", names, F32),
        "input": (leaf(x[:, :5]), leaf(w), None, "input", names, F32),
        "weight": (leaf(x), leaf(x[:, :5]), None, "weight", names, F32),
        "bias": (torch.ones(6, 1), leaf(x), None, "bias", names, F32),
        "repeat": (torch.ones(6, 1), leaf(b[None]), None, "repeat", names, F32),
    }


SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name: str) -> None:
    results = torch.library.opcheck(torch.ops.refnum.triad.default, SAMPLES[name])
    assert set(results.values()) == {"SUCCESS"}
    assert len(results) >= 4


@pytest.mark.parametrize("name", SAMPLES)
def test_the_fake_knows_shape_and_dtype(name: str) -> None:
    real = torch.ops.refnum.triad(*SAMPLES[name])
    with FakeTensorMode() as mode:
        fake = torch.ops.refnum.triad(*(mode.from_tensor(x) if isinstance(x, Tensor) else x for x in SAMPLES[name]))
    assert (fake.shape, fake.dtype, fake.device, fake.stride()) == (real.shape, real.dtype, real.device, real.stride())


@pytest.mark.parametrize("setting", [name for name in SETTINGS if "autocast" not in name and "inference" not in name])
def test_no_setting_moves_a_bit(setting: str) -> None:
    cases = [case(kind, 17, 30, 9) for kind in ("normal", "subnormal results", "ties of a chain")]
    contracts = (CHAIN, EXACT, "tree/v1(Kc=8)", "tc.hopper.tf32/v1")
    want = [computed(c, contract=name, grad_contract=name) for c in cases for name in contracts]
    with SETTINGS[setting]():
        got = [computed(c, contract=name, grad_contract=name) for c in cases for name in contracts]
    for have, result in zip(itertools.chain(*got), itertools.chain(*want), strict=True):
        assert_bit_equal(have, result)


@pytest.mark.parametrize(
    ("contract", "backend"),
    [(CHAIN, "aot_eager"), (EXACT, "aot_eager"), ("tree/v1(Kc=4)", "aot_eager"), (CHAIN, "inductor")],
)
def test_compiled_is_eager(contract: str, backend: str) -> None:
    torch._dynamo.reset()

    def layer(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return linear(x, w, b, contract=contract).relu() * 3

    c = case("normal", 60, 40, 50)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    x, w, b = c.leaves()
    got, want = compiled(x, w, b), layer(*c.leaves())
    assert_bit_equal(got.detach(), want.detach())
    u = c.leaves()
    layer(*u).backward(c.dy)
    got.backward(c.dy)
    for have, leaf in zip((x, w, b), u, strict=True):
        assert_bit_equal(have.grad, leaf.grad)
    if backend != "inductor":  # which would generate more code
        assert_bit_equal(compiled(x[:7], w, b).detach(), want.detach()[:7])


def test_export_keeps_the_operation_whole() -> None:
    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return linear(x, W, B)

    program = torch.export.export(Model(), (X,), dynamic_shapes=({0: torch.export.Dim("rows", min=2, max=64)},))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {target for target in called if target.startswith("refnum.")} == {"refnum.triad.default"}
    longer = operands("normal", 9, 7, 1)[0]
    assert_bit_equal(program.module()(longer), linear(longer, W, B))


def test_tensors_without_data() -> None:
    y = linear(torch.empty(2, 3, 7, device="meta"), torch.empty(5, 7, device="meta"))
    assert (y.shape, y.device.type) == ((2, 3, 5), "meta")


# ---- accumulators of exact gradients ------------------------------------------------------------------------------


def collected(leaves: tuple[Tensor, ...], run: Callable[[], None]) -> list[Tensor]:
    """What the accumulators of leaves have after a run."""
    with collecting(leaves) as sinks:
        run()
    return [sinks[id(leaf)].gradient(sinks[id(leaf)].sum) for leaf in leaves]


@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_an_accumulator_gets_the_terms_unrounded(size: int) -> None:
    c = case("cancelling", m=12)
    x, w, b = c.leaves()
    to_x: list[Tensor] = []

    def run() -> None:
        for start in range(0, 12, size):
            part = slice(start, start + size)
            leaf = x[part].detach().requires_grad_()
            linear(leaf, w, b).backward(c.dy[part])
            assert leaf.grad is not None
            to_x.append(leaf.grad)

    got = collected((w, b), run)
    _, want_x, *want = computed(c)
    for have, expected in zip([torch.cat(to_x), *got], [want_x, *want], strict=True):
        assert_bit_equal(have, expected)
    assert w.grad is None
    assert b.grad is None


def test_an_accumulator_gets_nothing_when_its_parameter_is_not_asked_for() -> None:
    c = case("normal")
    x, w, b = c.leaves()
    got = collected((w, b), lambda: torch.autograd.grad(linear(x, w, b), x, c.dy) and None)
    assert not any(g.any() for g in got)


def test_an_accumulator_of_one_parameter_leaves_the_other_alone() -> None:
    c = case("normal")
    for chosen in (1, 2):
        leaves = c.leaves()
        (got,) = collected((leaves[chosen],), lambda leaves=leaves: linear(*leaves).backward(c.dy))  # type: ignore[misc]
        want = computed(c)[1:]
        assert_bit_equal(got, want[chosen])
        assert [leaf.grad is None for leaf in leaves] == [False, chosen == 1, chosen == 2]


def test_an_accumulator_is_for_exact_gradients_alone() -> None:
    c = case("normal")
    x, w, b = c.leaves()
    got = collected((w, b), lambda: linear(x, w, b, grad_contract=CHAIN).backward(c.dy))
    assert not any(g.any() for g in got)
    assert_bit_equal(w.grad, by_oracle(c, Triad(CHAIN, CHAIN, CHAIN, CHAIN))[2])


def test_the_backward_pass_may_run_in_another_thread() -> None:
    c = case("normal")
    x, w, b = c.leaves()

    def run() -> None:
        y = linear(x, w, b)
        thread = threading.Thread(target=lambda: y.backward(c.dy))
        thread.start()
        thread.join()

    for have, want in zip(collected((w, b), run), computed(c)[2:], strict=True):
        assert_bit_equal(have, want)


def test_second_derivatives_of_what_is_collected_are_refused() -> None:
    x, w, b = case("normal").leaves()
    with collecting([w]), pytest.raises(ContractError, match="Leave the context for second derivatives"):
        torch.autograd.grad(linear(x, w, b).sum(), (x, w), create_graph=True)


# ---- errors -------------------------------------------------------------------------------------------------------


class Bad(NamedTuple):
    """A call that is refused, and what the message says."""

    error: type[RefnumError]
    call: Callable[[], object]
    parts: str


def _autocast() -> object:
    with torch.autocast("cpu", dtype=BF16):
        return linear(X, W)


LEAF = torch.ones(5, 7, requires_grad=True)
BAD = {
    "no tensor": Bad(DTypeError, lambda: linear([1.0], W), "nn.linear needs a tensor for x | list | torch.as_tensor"),
    "sparse": Bad(DTypeError, lambda: linear(X.to_sparse(), W), "a dense tensor for x | sparse | to_dense"),
    "complex": Bad(DTypeError, lambda: linear(X + 0j, W + 0j), "no x of torch.complex64 | Allowed are | Convert"),
    "float64 in float32": Bad(
        DTypeError, lambda: linear(X.double(), W.double()), "under chain/v1 | torch.float64 | Allowed are | Convert"
    ),
    "two dtypes": Bad(
        DTypeError, lambda: linear(X, W.bfloat16()), "x of torch.float32 | torch.bfloat16 | one for both | Convert them"
    ),
    "a float64 bias": Bad(
        DTypeError, lambda: linear(X, W, B.double()), "bias of torch.float64 | with torch.float32 | Allowed are float32"
    ),
    "a bias in another narrow dtype": Bad(
        DTypeError,
        lambda: linear(X.bfloat16(), W.bfloat16(), B.half()),
        "bias of torch.float16 | with torch.bfloat16 | bfloat16, float32",
    ),
    "a bias wider than its accumulator": Bad(
        DTypeError,
        lambda: linear(X.half(), W.half(), B, contract="tc.ampere.f16.acc16/v1"),
        "under tc.ampere.f16.acc16/v1 | bias of torch.float32 | Allowed are float16 | Convert it",
    ),
    "two devices": Bad(DTypeError, lambda: linear(X, W.to("meta")), "x on cpu, weight on meta | Move them together"),
    "lengths": Bad(ShapeError, lambda: linear(X, W.mT), "x (6, 7) | weight (7, 5) | [.., K] and [N, K] | Transpose"),
    "a scalar": Bad(ShapeError, lambda: linear(X[0, 0], W), "x () | [.., K] | reshape"),
    "a vector for a weight": Bad(ShapeError, lambda: linear(X, W[0]), "a weight (7,) | [N, K] | reshape"),
    "a bias that would broadcast": Bad(ShapeError, lambda: linear(X, W, B[:1]), "bias (1,) | 5 outputs | (5,)"),
    "an unknown contract": Bad(ContractError, lambda: linear(X, W, contract="chain/v9"), "'chain/v9' | Choose"),
    "an unknown gradient contract": Bad(
        ContractError, lambda: linear(X, W, grad_contract={"weight": "sum"}), "nn.linear | 'sum' | Choose one of"
    ),
    "an unknown gradient": Bad(
        ContractError, lambda: linear(X, W, grad_contract={"x": EXACT}), "gradient='x' | input, weight, bias"
    ),
    "the bias of the dispatch": Bad(
        ContractError,
        lambda: linear(X, W, B, grad_contract={"bias": DISPATCH}),
        "no gradient of the bias | sgbi.dispatch/0.1.1 | torch.sum | Allowed are the other contracts | Choose exact/v1",
    ),
    "integers with gradients": Bad(
        ContractError, lambda: linear(X, LEAF, contract="int/v1"), "cannot train under int/v1 | no gradients | no_grad"
    ),
    "gradients of integers": Bad(
        ContractError, lambda: linear(X, LEAF, grad_contract="int/v1"), "cannot train under int/v1 | Choose exact/v1"
    ),
    "8 bits with gradients": Bad(
        DTypeError,
        lambda: linear(X.to(torch.float8_e5m2), W.to(torch.float8_e5m2), B.clone().requires_grad_()),
        "the gradient of input | torch.float8_e5m2 | Allowed are float32 | Choose another grad_contract",
    ),
    "gradients in another dtype": Bad(
        DTypeError,
        lambda: linear(X.double(), LEAF.double(), contract=EXACT, grad_contract=CHAIN),
        "the gradient of input | torch.float64 | under chain/v1 | Choose another grad_contract",
    ),
    "a sum that is no tensor": Bad(
        ContractError,
        lambda: linear(X, W, contract="exact_partial/v1"),
        "exact_partial/v1 | Choose exact/v1",
    ),
    "autocast": Bad(ContractError, _autocast, "autocast | on for cpu | Allowed is | enabled=False"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_and_in_which_words(name: str) -> None:
    bad = BAD[name]
    with pytest.raises(bad.error) as caught:
        bad.call()
    message = str(caught.value)
    assert [part for part in bad.parts.split(" | ") if part not in message] == [], message


def test_autocast_that_is_off_is_fine() -> None:
    with torch.autocast("cpu", dtype=BF16), torch.autocast("cpu", enabled=False):
        assert_bit_equal(linear(X, W), gemm(X, W.mT))


def test_gradients_are_checked_only_where_they_are_asked_for() -> None:
    x = X.to(torch.float8_e5m2)
    with torch.no_grad():
        assert linear(x, W.to(torch.float8_e5m2), B.clone().requires_grad_()).dtype == F32


def test_the_room_exports_it() -> None:
    assert refnum.nn.linear is linear
