"""nn.accumulate in one process: gradients rounded once, however their rows are cut in micro-batches."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import pytest
import torch
from float_sums import Draw
from torch import Tensor

import refnum
from refnum import nn
from refnum.nn.gradients import _summed, collecting, sink_of
from refnum.sums.partial import ExactPartial
from refnum.testing import assert_bit_equal

ROWS, WIDTH, OUT = 19, 7, 5


def layer_of(dtype: torch.dtype = torch.float32, **contracts: object) -> nn.Linear:
    draw, layer = Draw(3), nn.Linear(WIDTH, OUT, dtype=dtype, **contracts)
    with torch.no_grad():
        layer.weight.copy_(draw.normal(OUT, WIDTH))
        layer.bias.copy_(draw.normal(OUT))
    return layer


def data(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Rows, and gradients of outputs, of which sums depend on their order."""
    draw = Draw(4)
    return (draw.normal(ROWS, WIDTH) * draw.powers(12, ROWS, 1)).to(dtype), draw.normal(ROWS, OUT).to(dtype)


def gradients(layer: nn.Linear) -> list[Tensor]:
    found = [p.grad for p in layer.parameters() if p.grad is not None]
    layer.zero_grad(set_to_none=True)
    return found


def accumulated(layer: nn.Linear, x: Tensor, dy: Tensor, sizes: int | list[int]) -> list[Tensor]:
    with nn.accumulate(layer):
        for rows, upstream in zip(x.split(sizes), dy.split(sizes), strict=True):
            layer(rows).backward(upstream)
            assert layer.weight.grad is None
            assert layer.bias.grad is None
    return gradients(layer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_micro_batches_change_no_bit(dtype: torch.dtype) -> None:
    layer = layer_of(dtype, contract="exact/v1")
    x, dy = data(dtype)
    layer(x).backward(dy)
    want = gradients(layer)
    for sizes in (1, 2, 6, ROWS, [3, 1, 15], [0, ROWS]):
        got = accumulated(layer, x, dy, sizes)
        assert [p.dtype for p in got] == [dtype] * 2
        for one, other in zip(got, want, strict=True):
            assert_bit_equal(one, other)
    order = torch.randperm(ROWS, generator=Draw(1).generator)
    for one, other in zip(accumulated(layer, x[order], dy[order], 4), want, strict=True):
        assert_bit_equal(one, other)


def test_torch_rounds_on_the_way() -> None:
    """What the test above would not tell from sums that are rounded for each micro-batch, it would not test."""
    layer = layer_of()
    x, dy = data()
    layer(x).backward(dy)
    want = gradients(layer)
    for rows, upstream in zip(x.split(1), dy.split(1), strict=True):
        layer(rows).backward(upstream)
    assert any(not torch.equal(one, other) for one, other in zip(gradients(layer), want, strict=True))


def test_a_gradient_that_cancels_until_the_last_micro_batch() -> None:
    layer = nn.Linear(1, 1, bias=False)
    with nn.accumulate(layer):
        for x in (1e30, 1.0, -1e30):
            layer(torch.tensor([[x]])).sum().backward()
    assert_bit_equal(layer.weight.grad, torch.tensor([[1.0]]))


def test_some_parameters() -> None:
    """Those that are not collected get their gradients as ever; frozen ones none."""
    layer = layer_of()
    x, dy = data()
    layer(x).backward(dy)
    weight, bias = gradients(layer)
    with nn.accumulate([layer.weight]):
        layer(x).backward(dy)
        assert layer.weight.grad is None
        assert_bit_equal(layer.bias.grad, bias)
    assert_bit_equal(layer.weight.grad, weight)
    layer.zero_grad(set_to_none=True)
    layer.weight.requires_grad_(False)
    with nn.accumulate(layer):
        layer(x).backward(dy)
    assert layer.weight.grad is None
    assert_bit_equal(layer.bias.grad, bias)


def test_parameters_without_terms_have_no_gradient() -> None:
    layer = layer_of()
    with nn.accumulate(layer):
        pass
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_a_layer_that_is_used_twice() -> None:
    layer = nn.Linear(3, 3)
    x = Draw(8).normal(4, 3)
    with nn.accumulate(layer):
        layer(layer(x)).sum().backward()
    hidden = layer(x).detach()
    dy = torch.ones(4, 3)
    inner = refnum.gemm(dy, layer.weight.detach())
    want = refnum.gemm(torch.cat([dy, inner]).mT, torch.cat([hidden, x]), contract="exact/v1")
    assert_bit_equal(layer.weight.grad, want)


def test_an_error_leaves_nothing_behind() -> None:
    layer = layer_of()
    x, dy = data()

    def fail() -> None:
        with nn.accumulate(layer):
            layer(x).backward(dy)
            raise KeyError("on the way")

    with pytest.raises(KeyError):
        fail()
    assert layer.weight.grad is None
    assert sink_of(layer.weight) is None
    layer(x).backward(dy)
    assert layer.weight.grad is not None


def test_contexts_are_of_their_thread_and_nest() -> None:
    one, two = layer_of(), layer_of()
    with collecting([one.weight]) as outer:
        found: list[object] = []
        thread = threading.Thread(target=lambda: found.append(sink_of(one.weight)))
        thread.start()
        thread.join()
        assert found == [None]
        with collecting([two.weight]) as inner:
            assert sink_of(one.weight) is outer[id(one.weight)]
            assert sink_of(two.weight) is inner[id(two.weight)]
        assert sink_of(two.weight) is None
    assert sink_of(one.weight) is None


def test_backward_in_another_thread() -> None:
    layer = layer_of()
    x, dy = data()
    layer(x).backward(dy)
    want = gradients(layer)
    with nn.accumulate(layer):
        y = layer(x)
        thread = threading.Thread(target=lambda: y.backward(dy))
        thread.start()
        thread.join()
    for got, wanted in zip(gradients(layer), want, strict=True):
        assert_bit_equal(got, wanted)


def test_backward_in_several_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of()
    x, dy = data()
    layer(x).backward(dy)
    want = gradients(layer)
    layer.bias.requires_grad_(False)
    together = threading.Barrier(2, timeout=60)

    def delayed(*operands: Tensor) -> ExactPartial:
        terms = refnum.exact_partial(*operands)
        together.wait()
        return terms

    monkeypatch.setattr(refnum.nn.gradients, "exact_partial", delayed)
    with nn.accumulate(layer):
        halves = zip(x.split(10), dy.split(10), strict=True)
        in_threads(*(partial(layer(rows).backward, upstream) for rows, upstream in halves))
    assert_bit_equal(gradients(layer)[0], want[0])


def test_contexts_of_several_threads_that_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of()
    together, found = threading.Barrier(2, timeout=60), list[str]()

    def delayed(*given: object) -> list[Tensor | None]:
        summed = _summed(*given)
        together.wait()
        return summed

    def run(rows: Tensor, upstream: Tensor) -> None:
        try:
            with nn.accumulate(layer):
                layer(rows).backward(upstream)
        except refnum.ContractError as error:
            found.append(str(error))

    monkeypatch.setattr(refnum.nn.gradients, "_summed", delayed)
    x, dy = data()
    in_threads(*(partial(run, *each) for each in zip(x.split(10), dy.split(10), strict=True)))
    assert len(found) == 1
    assert "has not got all of the gradient of a parameter of shape (5, 7)" in found[0]


def in_threads(*calls: Callable[[], None]) -> None:
    """Call all at once."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_parameter_that_is_given_twice() -> None:
    layer = layer_of()
    x, dy = data()
    layer(x).backward(dy)
    want = gradients(layer)
    with nn.accumulate([layer.weight, layer.bias, layer.weight]):
        layer(x).backward(dy)
    for got, wanted in zip(gradients(layer), want, strict=True):
        assert_bit_equal(got, wanted)


def test_outputs_may_be_written_to() -> None:
    found = []
    for context in (nn.accumulate, nullcontext):
        layer = layer_of(contract="exact/v1")
        x, dy = data()
        with context(layer):
            torch.nn.functional.relu_(layer(x)).backward(dy)
        found.append(gradients(layer))
    for got, want in zip(*found, strict=True):
        assert_bit_equal(got, want)


# ---- bad input ----------------------------------------------------------------------------------------------------


def _twice() -> None:
    layer = layer_of()
    x, dy = data()
    layer(x).backward(dy)
    with nn.accumulate(layer):
        pass


def _elsewhere() -> None:
    layer = layer_of()
    x, dy = data()
    with nn.accumulate(layer):
        torch.nn.functional.linear(x, layer.weight, layer.bias).backward(dy)


def _ordered() -> None:
    layer = layer_of(grad_contract="chain/v1")
    x, dy = data()
    with nn.accumulate(layer):
        layer(x).backward(dy)


def _late() -> None:
    layer = layer_of()
    x, dy = data()
    with nn.accumulate(layer):
        y = layer(x)
    y.backward(dy)


def _no_tensor() -> None:
    with nn.accumulate(["weight"]):  # type: ignore[list-item]
        pass


def _no_leaf() -> None:
    with nn.accumulate([layer_of().weight * 2]):
        pass


def _no_group() -> None:
    with nn.accumulate(layer_of(), group=torch.distributed.group.WORLD or object()):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (_twice, refnum.ContractError, "got one that has a gradient already, of shape (5, 7). Allowed are leaves"),
        (_no_leaf, refnum.ContractError, "got a tensor that is no leaf, of shape (5, 7). Allowed are leaves"),
        (_elsewhere, refnum.ContractError, "has not got all of the gradient of a parameter of shape (5, 7)"),
        (_ordered, refnum.ContractError, "Allowed are parameters that refnum.nn.Linear alone uses"),
        (
            _late,
            refnum.ContractError,
            "has ended, and got more of the gradient of a parameter of shape (5,). Allowed",
        ),
        (
            _no_tensor,
            refnum.DTypeError,
            "nn.accumulate needs a tensor for each parameter, got str. Use torch",
        ),
        (_no_group, refnum.BackendError, "nn.accumulate needs a process group"),
    ],
)
def test_refusals(call: Callable[[], None], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_parallelize_without_a_group() -> None:
    with pytest.raises(refnum.BackendError, match=r"nn\.parallelize needs a process group"):
        nn.parallelize(layer_of(contract="exact/v1"), style="row")
