"""nn.Linear: torch's layer with contracts, in both directions."""

from __future__ import annotations

import copy
import io
import itertools
from collections.abc import Callable

import pytest
import torch
from float_sums import operands
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import refnum
from refnum import Posit, gemm
from refnum.errors import ContractError, DTypeError, UncoveredError
from refnum.nn import Linear, Plan, convert, deterministic, intercept, linear
from refnum.sums.triads import Triad
from refnum.testing import assert_bit_equal

CHAIN, EXACT, TREE = "chain/v1", "exact/v1", "tree/v1(Kc=256)"
X = operands("normal", 6, 7, 1)[0]


def layer(**knobs: object) -> Linear:
    """A layer of 7 inputs and 5 outputs, always the same."""
    torch.manual_seed(0)
    return Linear(7, 5, **knobs)  # type: ignore[arg-type]


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether parameters have the same bits."""
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(x[0] == y[0] and torch.equal(x[1], y[1]) for x, y in pairs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_new_layer_begins_as_torchs(bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    theirs = nn.Linear(7, 5, bias, dtype=dtype)
    torch.manual_seed(1)
    ours = Linear(7, 5, bias, dtype=dtype, contract=EXACT)
    assert same(ours, theirs)
    assert isinstance(ours, nn.Linear)
    assert Linear(7, 5, device="meta").weight.is_meta


def test_the_layer_is_linear_of_its_parameters() -> None:
    for contract, given in itertools.product((CHAIN, EXACT, "tree/v1"), (None, CHAIN, {"bias": CHAIN})):
        module = layer(contract=contract, grad_contract=given)
        x, y = (X.view(2, 3, 7).clone().requires_grad_() for _ in range(2))
        w, b = (t.detach().clone().requires_grad_() for t in (module.weight, module.bias))
        got, want = module(x), linear(y, w, b, contract=contract, grad_contract=given)
        assert_bit_equal(got.detach(), want.detach())
        got.backward(got.detach())
        want.backward(want.detach())
        for have, expected in ((x, y), (module.weight, w), (module.bias, b)):
            assert_bit_equal(have.grad, expected.grad)


def test_the_contracts_by_their_full_names() -> None:
    module = layer(contract="tree", grad_contract={"input": "chain"})
    assert module.contracts == Triad(TREE, CHAIN, EXACT, EXACT)
    assert repr(module) == (
        "Linear(in_features=7, out_features=5, bias=True, contract=tree/v1(Kc=256), "
        "grad_contract=(input chain/v1, weight exact/v1, bias exact/v1))"
    )
    assert layer().double().contracts.input == EXACT  # float64 is not for a chain of float32


# ---- state --------------------------------------------------------------------------------------------------------


def test_state_dicts_load_both_ways() -> None:
    ours = nn.Sequential(layer(), nn.ReLU(), Linear(5, 2, False, contract=EXACT))
    theirs = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2, False))
    assert not same(ours, theirs)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert same(ours, theirs)
    nn.init.ones_(theirs[0].weight)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert same(ours, theirs)
    assert [module.contract for module in (ours[0], ours[2])] == [CHAIN, EXACT]
    layer(contract=EXACT).load_state_dict(layer(contract=CHAIN).state_dict(), strict=True)  # a record, no condition


def test_the_contracts_are_in_the_metadata_of_a_saved_state() -> None:
    file = io.BytesIO()
    torch.save(nn.Sequential(layer(contract="tree", grad_contract=CHAIN)).state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert set(state) == {"0.weight", "0.bias"}
    assert state._metadata["0"]["contract"] == dict(zip(Triad._fields, (TREE, CHAIN, CHAIN, CHAIN), strict=True))
    assert layer().state_dict()._metadata[""]["contract"]["output"] == CHAIN  # type: ignore[attr-defined]
    assert set(layer().state_dict(destination={}, prefix="a.")) == {"a.weight", "a.bias"}


def test_copies_and_files_keep_the_contracts() -> None:
    module = layer(contract="tree", grad_contract={"weight": CHAIN})
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for other in (copy.deepcopy(module), torch.load(file, weights_only=False)):
        assert repr(other) == repr(module)
        assert same(other, module)
        assert other.weight is not module.weight
        assert_bit_equal(other(X).detach(), module(X).detach())


# ---- torch's layers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_from_torch_and_back_share_the_parameters(bias: bool) -> None:
    theirs = nn.Linear(7, 5, bias).eval()
    theirs.weight.requires_grad_(False)
    state = torch.random.get_rng_state()
    ours = Linear.from_torch(theirs, contract="tree", grad_contract=CHAIN)
    back = ours.to_torch()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert type(ours) is Linear
    assert type(back) is nn.Linear
    for module in (ours, back):
        assert module.weight is theirs.weight
        assert module.bias is theirs.bias
        assert (module.in_features, module.out_features, module.training) == (7, 5, False)
        assert [name for name, _ in module.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert ours.contracts == Triad(TREE, CHAIN, CHAIN, CHAIN)
    assert_bit_equal(ours(X).detach(), gemm(X, theirs.weight.mT, theirs.bias, contract="tree").detach())


class Scaled(nn.Linear):
    """A layer with a forward of its own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


REFUSED: dict[str, tuple[type[Exception], Callable[[], object], str]] = {
    "no layer": (DTypeError, lambda: Linear.from_torch(nn.ReLU()), "got ReLU. Allowed are its instances. Pass"),  # type: ignore[arg-type]
    "a forward of its own": (UncoveredError, lambda: Linear.from_torch(Scaled(7, 5)), "Scaled: it has a forward"),
    "ours": (UncoveredError, lambda: Linear.from_torch(layer()), "Linear: it has a forward of its own"),
    "lazy": (UncoveredError, lambda: Linear.from_torch(nn.LazyLinear(5)), "no weights before its first call"),
    "parametrized by a hook": (
        UncoveredError,
        lambda: Linear.from_torch(nn.utils.spectral_norm(nn.Linear(7, 5))),
        "its weights are parametrized, so that they are no parameters to share. Allowed are plain",
    ),
    "parametrized": (
        UncoveredError,
        lambda: Linear.from_torch(nn.utils.parametrizations.weight_norm(nn.Linear(7, 5))),
        "its weights are parametrized, so that they are no parameters to share. Allowed are plain",
    ),
    "an unknown contract": (ContractError, lambda: layer(contract="sum"), "nn.Linear has no contract='sum'"),
    "an unknown gradient": (ContractError, lambda: layer(grad_contract={"x": EXACT}), "nn.Linear has no gradient='x'"),
    "no gradients": (ContractError, lambda: layer(contract="int/v1"), "nn.Linear cannot train under int/v1"),
    "no gradients for one": (
        ContractError,
        lambda: layer(grad_contract={"weight": "int/v1"}),
        "nn.Linear cannot train under int/v1: it has no gradients. Allowed are contracts of floats. Choose exact/v1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_and_in_which_words(name: str) -> None:
    error, call, words = REFUSED[name]
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)


# ---- beside the rest of the room ----------------------------------------------------------------------------------


def test_a_model_of_layers_compiles_and_exports() -> None:
    model = nn.Sequential(layer(), nn.ReLU(), Linear(5, 2, contract="tree"))
    torch._dynamo.reset()
    want = model(X)
    got = torch.compile(model, fullgraph=True, backend="aot_eager")(X)
    assert_bit_equal(got.detach(), want.detach())
    want.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    got.sum().backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert_bit_equal(parameter.grad, gradient)
    assert_bit_equal(torch.export.export(model, (X,)).module()(X).detach(), want.detach())


def test_a_layer_keeps_its_contracts_in_contexts_of_others() -> None:
    module = layer(contract=CHAIN)
    want = module(X).detach()
    for context in (intercept(Posit(8)), deterministic("tree")):
        with context as ctx, torch.no_grad():
            assert_bit_equal(module(X), want)
        assert ctx.counts == {}


def test_a_plan_for_a_layer_with_contracts_is_refused() -> None:
    with pytest.raises(UncoveredError, match=r"'0' \(Linear\) a plan: its products follow contracts of its own"):
        convert(nn.Sequential(layer()), {"_default": Plan(product=Posit(16))})


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_computes_the_same_again(reentrant: bool) -> None:
    module, want = layer(), layer()
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    checkpoint(module, x, use_reentrant=reentrant).square().sum().backward()
    want(y).square().sum().backward()
    for have, expected in ((x, y), (module.weight, want.weight), (module.bias, want.bias)):
        assert_bit_equal(have.grad, expected.grad)


def test_autocast_is_refused() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ContractError, match="autocast"):
        layer()(X)


def test_rows_in_another_order_train_the_same_model() -> None:
    x, target = operands("normal", 24, 7, 1)[0], operands("normal", 24, 2, 1)[0]
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))

    def trained(rows: Tensor, contract: str) -> nn.Module:
        model = nn.Sequential(layer(grad_contract=contract), nn.ReLU(), Linear(5, 2, grad_contract=contract))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            (model(x[rows]) - target[rows]).square().sum().backward()
            optimizer.step()
        return model

    kept = torch.arange(24)
    assert same(trained(kept, EXACT), trained(order, EXACT))
    assert not same(trained(kept, CHAIN), trained(order, CHAIN))


def test_the_room_exports_it() -> None:
    assert refnum.nn.Linear is Linear
