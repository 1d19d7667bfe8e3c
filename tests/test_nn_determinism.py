"""nn.deterministic: every product of a model, and of its gradients, under contracts; or an error."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator

import pytest
import test_nn
import torch
from float_sums import operands
from test_nn import CASES, CONTEXTS, CONVOLUTION_IDS, CONVOLUTIONS, GRADIENT_CASES, ONE, TABLE, Case, Convolution, Terms
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import refnum
from refnum import Posit, gemm, posit_mm
from refnum.errors import ContractError, UncoveredError
from refnum.nn import Interception, deterministic, intercept, linear
from refnum.testing import assert_bit_equal

F32, BF16 = torch.float32, torch.bfloat16
CHAIN, EXACT, TREE = "chain/v1", "exact/v1", "tree/v1(Kc=4)"
LONG = 40  #: terms, of which two contracts seldom make the same sum


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    assert not torch.overrides._get_current_function_mode_stack()
    assert torch._C._len_torch_dispatch_stack() == 0


def drawn(seed: int, *shape: int) -> Tensor:
    """Normal values."""
    return operands("normal", 1, torch.Size(shape).numel(), 1, seed)[0].view(shape)


A, B = drawn(1, 6, LONG), drawn(2, LONG, 5)


# ---- which terms a result has: the loops of test_nn, added exactly ------------------------------------------------


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loops add exactly in float32."""

    def dot(left: Tensor, right: Tensor, fmt: object) -> Tensor:
        return gemm(left[:, None], right[:, :, None], contract=EXACT).flatten()

    monkeypatch.setattr(test_nn, "quire_dot", dot)


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.what}".strip())
def test_a_covered_operation_is_one_sum(case: Case) -> None:
    want = case.want
    for name, context in CONTEXTS.items():
        leaves = [x.clone().requires_grad_(name == "grad") for x in case.operands]
        with deterministic(EXACT) as ctx, context():
            got = case.call(*leaves)
        assert_bit_equal(got.detach(), want)
        assert ctx.counts == {case.name: (1, 0)}, name
        assert got.requires_grad == (name == "grad")


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("case", GRADIENT_CASES, ids=lambda case: f"{case.name} {case.what}".strip())
def test_a_gradient_is_one_sum(case: Case) -> None:
    left, right, axes = case.equation.replace("->", ",").split(",")
    leaves = [x.clone().requires_grad_() for x in case.operands]
    with deterministic(EXACT):
        result = case.call(*leaves)
    upstream = drawn(20, *result.shape)
    result.backward(upstream)
    if {*left} <= {*right, *axes}:
        assert_bit_equal(leaves[0].grad, test_nn.by_loops(f"{axes},{right}->{left}", upstream, case.operands[1]))
    if {*right} <= {*left, *axes}:
        assert_bit_equal(leaves[1].grad, test_nn.by_loops(f"{left},{axes}->{right}", case.operands[0], upstream))
    if len(leaves) == 3:
        shape = case.operands[2].shape
        terms = Terms()
        for index in itertools.product(*map(range, upstream.shape)):
            own = zip(index[len(index) - len(shape) :], shape, strict=True)
            terms[tuple(i if size > 1 else 0 for i, size in own)].append((upstream[index], ONE))
        assert_bit_equal(leaves[2].grad, terms.sums(shape))


@pytest.mark.usefixtures("exactly")
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=CONVOLUTION_IDS)
def test_a_convolution_is_one_sum_and_so_are_its_gradients(case: Convolution) -> None:
    x, w, b = case.operands()
    leaves = [t.clone().requires_grad_() for t in (x, w, b)]
    with deterministic(EXACT) as ctx:
        result = case.call(*leaves)
    assert ctx.counts == {case.name: (1, 0)}
    assert_bit_equal(result.detach(), case.want(x, w, b))
    upstream = drawn(41, *result.shape)
    result.backward(upstream)
    if case.transposed:
        to_x = test_nn.convolution_by_loops(upstream, w, None, case.geometry, x.shape)
        to_w = test_nn.weight_gradient_by_loops(x, upstream, case.geometry, w.shape)
    else:
        to_x = test_nn.input_gradient_by_loops(upstream, w, case.geometry, x.shape)
        to_w = test_nn.weight_gradient_by_loops(upstream, x, case.geometry, w.shape)
    own = upstream.movedim(1, 0).flatten(1)
    to_b = gemm(own, torch.ones(own.shape[1], 1), contract=EXACT).flatten()
    for leaf, want in zip(leaves, (to_x, to_w, to_b), strict=True):
        assert_bit_equal(leaf.grad, want)


# ---- in which order, and under which of the contracts -------------------------------------------------------------


@pytest.mark.parametrize("names", list(itertools.product((CHAIN, TREE), repeat=4)), ids=" ".join)
def test_a_layer_in_it_is_nn_linear(names: tuple[str, ...]) -> None:
    output, *rest = names
    given = dict(zip(("input", "weight", "bias"), rest, strict=True))
    x, w, b = drawn(1, 40, 30), drawn(2, 50, 30), drawn(3, 50)
    upstream = drawn(4, 40, 50)
    forms: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "linear": functional.linear,
        "three axes": lambda x, w, b: functional.linear(x.view(4, 10, 30), w, b).view(40, 50),
        "addmm": lambda x, w, b: torch.addmm(b, x, w.mT),
        "a convolution of one point": lambda x, w, b: functional.conv1d(x.mT[None], w[..., None], b)[0].mT,
        "the convolution's windows": lambda x, w, b: functional.conv1d(
            x.reshape(40, 10, 3), w.reshape(50, 10, 3), b
        ).squeeze(-1),
    }
    leaves = [t.clone().requires_grad_() for t in (x, w, b)]
    want = linear(*leaves, contract=output, grad_contract=given)
    want.backward(upstream)
    for name, form in forms.items():
        others = [t.clone().requires_grad_() for t in (x, w, b)]
        with deterministic(output, grad_contract=given):
            got = form(*others)
        got.backward(upstream)
        assert_bit_equal(got.detach().contiguous(), want.detach())
        # The gradient of windows is a sum over windows, the missing ones at the edges included.
        for other, leaf in list(zip(others, leaves, strict=True))[name == "the convolution's windows" :]:
            assert torch.equal(other.grad, leaf.grad), name  # type: ignore[arg-type]


def test_the_replay_that_chooses_by_shape_has_its_tables_for_gradients() -> None:
    replay = "sgbi.dispatch/0.1.1"
    x, w, b = drawn(1, 300, 128), drawn(2, 160, 128), drawn(3, 160)
    found = []
    for layer in (functional.linear, lambda *leaves: linear(*leaves, contract=replay, grad_contract=replay)):
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        with deterministic(replay, grad_contract=replay):
            y = layer(*leaves)
        y.backward(drawn(4, 300, 160))
        found.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for got, want in zip(*found, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("contract", [CHAIN, TREE, EXACT, "tc.hopper.tf32/v1"])
def test_products_are_gemm(contract: str) -> None:
    a, b, c = drawn(1, 3, 6, LONG), drawn(2, 3, LONG, 5), drawn(3, 5)
    with deterministic(contract) as ctx:
        results = [
            torch.bmm(a, b),
            a @ b[0],
            torch.baddbmm(c, a, b),
            torch.einsum("bij,bjk->bik", a, b),
            torch.einsum("bij,bj->bi", a, b[..., 0]),
        ]
    wants = [
        gemm(a, b, contract=contract),
        gemm(a, b[0], contract=contract),
        gemm(a, b, c, contract=contract),
        gemm(a, b, contract=contract),
        gemm(a, b[..., :1], contract=contract).squeeze(-1),
    ]
    for got, want in zip(results, wants, strict=True):
        assert_bit_equal(got, want)
    assert sum(count.handled for count in ctx.counts.values()) == len(results)


def test_a_bias_begins_a_chain() -> None:
    """(bias + 1) + 2**-24, not bias + (1 + 2**-24)."""
    x, w, b = torch.tensor([[1.0, 2.0**-24]]), torch.ones(1, 2), torch.tensor([2.0**-24])
    with deterministic(CHAIN):
        assert functional.linear(x, w, b).item() == 1.0
    with deterministic("tree/v1"):
        assert functional.linear(x, w, b).item() == 1.0
    with deterministic(EXACT):
        assert functional.linear(x, w, b).item() == 1 + 2.0**-23


def test_a_convolution_adds_channels_then_places() -> None:
    x, w = drawn(1, 2, 5, 6, 7), drawn(2, 4, 5, 3, 2)
    with deterministic(CHAIN):
        got = functional.conv2d(x, w)
    windows = functional.unfold(x, (3, 2))  # [n, channels * places, windows]
    want = gemm(w.flatten(1), windows, contract=CHAIN).view(2, 4, 4, 6)
    assert_bit_equal(got, want)


@pytest.mark.parametrize("contract", [CHAIN, EXACT])
def test_attention_is_its_two_products(contract: str) -> None:
    q, k, v = drawn(1, 2, 2, 3, LONG), drawn(2, 2, 2, 5, LONG), drawn(3, 2, 2, 5, 6)
    with deterministic(contract) as ctx:
        got = functional.scaled_dot_product_attention(q, k, v, scale=0.5)
    scores = gemm(q * 0.5, k.mT, contract=contract)
    assert_bit_equal(got, gemm(torch.softmax(scores, -1), v, contract=contract))
    assert ctx.counts == {"scaled_dot_product_attention": (1, 0)}


def test_defaults_of_gradients() -> None:
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    with deterministic(TREE):
        y = a @ b
    upstream = drawn(5, 6, 5)
    y.backward(upstream)
    assert_bit_equal(a.grad, gemm(upstream, B.mT, contract=TREE))
    assert_bit_equal(b.grad, gemm(A.mT, upstream, contract=EXACT))


def test_second_derivatives_follow_the_contracts() -> None:
    given = {"input": EXACT, "weight": TREE}
    a, b = drawn(1, 40, 40).requires_grad_(), drawn(2, 40, 40).requires_grad_()
    dy, for_a, for_b = (drawn(seed, 40, 40).requires_grad_() for seed in (3, 4, 5))
    with deterministic(CHAIN, grad_contract=given):
        y = a @ b
        da, db = torch.autograd.grad(y, (a, b), dy, create_graph=True)
    to_dy, to_b = torch.autograd.grad(da, (dy, b), for_a)
    assert_bit_equal(to_dy, gemm(for_a, b, contract=CHAIN).detach())
    assert_bit_equal(to_b, gemm(for_a.mT, dy, contract=TREE).mT.contiguous().detach().mT.contiguous())
    to_dy, to_a = torch.autograd.grad(db, (dy, a), for_b)
    assert_bit_equal(to_dy, gemm(a, for_b, contract=CHAIN).detach())
    assert_bit_equal(to_a, gemm(dy, for_b.mT, contract=EXACT).detach())


def test_derivatives_are_derivatives() -> None:
    def doubles(*shape: int) -> Tensor:
        return drawn(sum(shape), *shape).double().requires_grad_()

    def run(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def within(*leaves: Tensor) -> Tensor:
            with deterministic(EXACT):
                return function(*leaves)

        return within

    for function, leaves in (
        (functional.linear, (doubles(2, 3), doubles(4, 3), doubles(4))),
        (torch.baddbmm, (doubles(2, 1, 4), doubles(2, 3, 2), doubles(2, 2, 4))),
        (lambda x, w: functional.conv2d(x, w, padding=1, stride=2), (doubles(1, 2, 3, 4), doubles(2, 2, 2, 2))),
    ):
        assert torch.autograd.gradcheck(run(function), leaves)
        assert torch.autograd.gradgradcheck(run(function), leaves)


@pytest.mark.parametrize("dtype", [torch.float16, BF16])
def test_models_of_narrow_dtypes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(LONG, 30), nn.ReLU(), nn.Linear(30, 5)).to(dtype)
    x = A.to(dtype)
    for contract in (CHAIN, f"tc.hopper.{'f16' if dtype == torch.float16 else 'bf16'}/v1"):
        with deterministic(contract) as ctx:
            y = model(x)
        hidden = gemm(x, model[0].weight.mT, model[0].bias.float(), contract=contract).relu()
        want = gemm(hidden, model[2].weight.mT, model[2].bias.float(), contract=contract)
        assert_bit_equal(y.detach(), want.detach())
        y.float().sum().backward()
        assert {p.grad.dtype for p in model.parameters()} == {dtype}  # type: ignore[union-attr]
        assert ctx.counts == {"linear": (2, 0)}


# ---- a model ------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A block of a transformer, by torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.up, self.down, self.norm = nn.Linear(16, 64), nn.Linear(64, 16), nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x + self.attention(x, x, x)[0])
        return y + self.down(self.up(y).relu())


@pytest.mark.parametrize("contract", [CHAIN, "tree/v1(Kc=8)"])
def test_a_sequence_has_the_same_bits_in_any_batch(contract: str) -> None:
    model, x = Block().eval(), drawn(7, 33, 4, 16)
    with deterministic(contract), torch.no_grad():
        whole = model(x)
        for count in (1, 2, 3, 32):
            assert_bit_equal(model(x[:count]), whole[:count])
        assert_bit_equal(torch.cat([model(x[i : i + 1]) for i in range(33)]), whole)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_computes_the_same_again(reentrant: bool) -> None:
    found = []
    for run in (lambda model, x: checkpoint(model, x, use_reentrant=reentrant), lambda model, x: model(x)):
        model, x = Block(), drawn(7, 2, 4, 16).requires_grad_()
        with deterministic(CHAIN):
            run(model, x).square().sum().backward()
        found.append([x.grad, *(p.grad for p in model.parameters())])
    for one, other in zip(*found, strict=True):
        assert_bit_equal(one, other)


@pytest.mark.parametrize("contract", [CHAIN, EXACT])
def test_results_may_be_written_to(contract: str) -> None:
    found = []
    for inplace in (False, True):
        model = nn.Sequential(nn.Conv1d(4, 6, 3, bias=False), nn.ReLU(inplace), nn.Flatten())
        with torch.no_grad():
            model[0].weight.copy_(drawn(3, 6, 4, 3))
        with deterministic(contract):
            torch.relu_(model(drawn(7, 2, 4, 5)) @ drawn(5, 18, 3)).sum().backward()
        found.append(model[0].weight.grad)
    assert_bit_equal(*found)


def test_exact_gradients_do_not_depend_on_the_order_of_a_batch() -> None:
    x, order = drawn(7, 12, 16), torch.randperm(12, generator=torch.Generator().manual_seed(1))
    found = []
    for rows in (torch.arange(12), order):
        model = nn.Sequential(Block().up, nn.ReLU(), Block().down)
        with deterministic(CHAIN):
            model(x[rows]).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert_bit_equal(one, other)


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    a, b = drawn(1, 70, 300), drawn(2, 300, 90)
    before, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            with deterministic(CHAIN):
                results.append(a @ b)
    finally:
        torch.set_num_threads(before)
    assert_bit_equal(results[0], results[1])
    assert_bit_equal(results[0], results[2])
    assert_bit_equal(results[0], gemm(a, b))


# ---- the context --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", TABLE)
def test_what_is_covered_and_what_is_refused(row: str) -> None:
    """The table of `intercept`: one net, whatever computes."""
    call, outcome = TABLE[row]
    if isinstance(outcome, str):
        with deterministic(), pytest.raises(UncoveredError, match=r"^nn\.deterministic does not cover") as caught:
            call()
        assert caught.value.op == outcome
        with deterministic(uncovered="report") as ctx:
            call()
        assert ctx.counts == {outcome: (0, 1)}
        return
    with deterministic() as ctx:
        call()
    assert ctx.counts == {name: (count, 0) for name, count in outcome.items()}


def test_scaled_sums_are_refused() -> None:
    for alpha, beta in ((2, 1), (1, 0.5)):
        with deterministic(), pytest.raises(UncoveredError, match="would round in between"):
            torch.addmm(torch.zeros(5), A, B, alpha=alpha, beta=beta)


def test_the_innermost_context_computes() -> None:
    with deterministic(CHAIN) as outer, deterministic(EXACT) as inner:
        got = A @ B
        with intercept(Posit(16)) as posits:
            rounded = A @ B
    assert_bit_equal(got, gemm(A, B, contract=EXACT))
    assert_bit_equal(rounded, posit_mm(A, B, Posit(16)))
    assert (outer.counts, inner.counts, posits.counts) == ({}, {"matmul": (1, 0)}, {"matmul": (1, 0)})
    with intercept(Posit(16)) as posits, deterministic(CHAIN):
        assert_bit_equal(A @ B, gemm(A, B))
    assert posits.counts == {}


def test_it_restores_after_an_exception_and_holds_for_its_thread() -> None:
    native, results = A @ B, []
    with pytest.raises(KeyError), deterministic():
        raise KeyError
    assert_bit_equal(A @ B, native)
    with deterministic(EXACT) as ctx:
        worker = threading.Thread(target=lambda: results.append(A @ B))
        worker.start()
        worker.join()
    assert_bit_equal(results[0], native)
    assert ctx.counts == {}


def test_threads_that_share_a_context_leave_it_each_for_itself() -> None:
    shared, entered, left, results = deterministic(EXACT), threading.Event(), threading.Event(), []

    def visit() -> None:
        with shared:
            entered.set()
            left.wait(60)
            results.append(A @ B)
        results.append(A @ B)

    native, worker = A @ B, threading.Thread(target=visit)
    with deterministic(CHAIN) as outer:
        with shared:
            worker.start()
            assert entered.wait(60)
            assert_bit_equal(A @ B, gemm(A, B, contract=EXACT))
        assert_bit_equal(A @ B, gemm(A, B, contract=CHAIN))
        assert outer.counts == {"matmul": (1, 0)}
        left.set()
        worker.join()
    for got, want in zip(results, (gemm(A, B, contract=EXACT), native), strict=True):
        assert_bit_equal(got, want)


def test_autocast_is_off_inside_and_comes_back() -> None:
    layer = nn.Linear(LONG, 3)
    with torch.autocast("cpu", BF16):
        with deterministic(EXACT):
            y = layer(A)
        assert torch.is_autocast_enabled("cpu")
    assert_bit_equal(y.detach(), gemm(A, layer.weight.mT, layer.bias, contract=EXACT).detach())


def test_the_report() -> None:
    with deterministic("tree", grad_contract={"input": CHAIN}, uncovered="report") as ctx:
        torch.mm(A, B)
        torch.cdist(A, A)
    assert isinstance(ctx, Interception)
    assert ctx.report().splitlines() == [
        "tree/v1(Kc=256), gradients: input chain/v1, weight exact/v1, bias exact/v1",
        "operation  by contract  native",
        "mm                   1       0",
        "cdist                0       1",
    ]


REFUSED: dict[str, tuple[type[Exception], Callable[[], object], str]] = {
    "an unknown contract": (
        ContractError,
        lambda: deterministic("sum"),
        "nn.deterministic has no contract='sum'.",
    ),
    "an unknown gradient": (
        ContractError,
        lambda: deterministic(grad_contract={"x": EXACT}),
        "nn.deterministic has no gradient='x'. Choose one of input, weight, bias.",
    ),
    "no gradients": (ContractError, lambda: deterministic("int/v1"), "nn.deterministic cannot train under int/v1"),
    "an unknown choice": (
        ContractError,
        lambda: deterministic(uncovered="ignore"),
        "nn.deterministic has no uncovered='ignore'. Choose one of raise, report.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arguments_are_refused_at_once(name: str) -> None:
    error, call, words = REFUSED[name]
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("contract", "dtype", "remedy"),
    [
        (CHAIN, torch.float64, "model.half() or model.bfloat16() or model.float()"),
        ("tc.hopper.bf16/v1", F32, "model.bfloat16()"),
    ],
)
def test_a_dtype_that_a_contract_does_not_take(contract: str, dtype: torch.dtype, remedy: str) -> None:
    x = A.to(dtype)
    for call in (lambda: x @ x.mT, lambda: torch.einsum("ij,kj->ik", x, x), lambda: functional.linear(x, x)):
        with deterministic(contract) as ctx, pytest.raises(ContractError) as caught:
            call()
        assert str(caught.value).startswith("nn.deterministic cannot run ")
        for part in (f"under {contract} on {dtype} tensors", "Allowed are", f"Use {remedy} and inputs of that dtype"):
            assert part in str(caught.value)
        assert ctx.counts == {}


def test_the_room_exports_it() -> None:
    assert refnum.nn.deterministic is deterministic
