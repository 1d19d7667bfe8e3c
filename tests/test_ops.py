"""Operations registered with torch.library: what torch asks of them, and shapes and gradients without data."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from calls import P8, P16, P32, P64, floats, patterns, whole
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.optests import OpCheckError

import refnum
from refnum import Posit, UncoveredError, mx, ops
from refnum.sums.blocks import flat
from refnum.testing import assert_bit_equal

DIFFERENTIABLE = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


class Sample(NamedTuple):
    """Arguments of a registered operation."""

    op: str
    name: str
    args: tuple[Any, ...]


def _leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def _mm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    fmt: Posit = P16,
    mode: str = "quire",
    out_dtype: torch.dtype | None = torch.float32,
    grad: str = "rounded",
    scaling: tuple[float, float, int | None] = (1.0, 0.0, 8),
) -> tuple[Any, ...]:
    return a, b, c, fmt.n, fmt.es, mode, out_dtype, grad, *scaling


def samples() -> list[Sample]:
    """Floats with and without gradients, patterns, an addend, another result dtype, batches, one length 0.

    No result in floats is NaN: opcheck holds it unequal to itself.
    """
    a, b, c = whole(1, 3, 5), whole(2, 5, 4), whole(3, 3, 4)
    rough = floats(torch.float32, 4)[:60].nan_to_num(0.0, 3.0, -3.0)  # subnormals and the ends
    p16, q16 = patterns(P16, 5)[:15].view(3, 5), patterns(P16, 6)[:20].view(5, 4)
    batch = whole(7, 2, 1, 3, 5), whole(8, 4, 5, 2)
    mm = [
        ("floats", _mm(a, b)),
        ("floats with gradients", _mm(_leaf(a), _leaf(b))),
        ("raw gradients and an addend", _mm(_leaf(a), b, _leaf(c), grad="raw")),
        ("specials", _mm(_leaf(rough.view(6, 10)), _leaf(rough.view(10, 6)), fmt=Posit(16, 1))),
        ("float64 results", _mm(a.double(), b.double(), fmt=P32, out_dtype=torch.float64)),
        ("bfloat16", _mm(_leaf(a.bfloat16()), _leaf(b.bfloat16()), fmt=P8, out_dtype=torch.bfloat16)),
        ("patterns", _mm(p16, q16, out_dtype=None)),
        ("patterns in wide containers", _mm(p16.int(), q16.long(), fmt=Posit(12, 1), out_dtype=None)),
        ("patterns and an addend", _mm(p16, q16, patterns(P16, 9)[:12].view(3, 4), out_dtype=None)),
        ("patterns to floats", _mm(p16 | 1, q16 | 1, out_dtype=torch.float64)),
        ("posit64", _mm(patterns(P64, 10)[:15].view(3, 5), patterns(P64, 11)[:10].view(5, 2), fmt=P64, out_dtype=None)),
        ("batches", _mm(_leaf(batch[0]), _leaf(batch[1]))),
        ("transposed", _mm(_leaf(b.T), _leaf(a.T))),
        ("mode posit", _mm(_leaf(a), _leaf(b), _leaf(c), mode="posit")),
        ("mode posit of patterns", _mm(p16, q16, mode="posit", out_dtype=None)),
        ("mode products", _mm(_leaf(a), _leaf(b), _leaf(c), mode="products")),
        ("mode cuposit", _mm(_leaf(a), _leaf(b), _leaf(c), fmt=P8, mode="cuposit", scaling=(0.5, -2.0, None))),
        ("no terms", _mm(_leaf(a[:, :0]), _leaf(b[:0]))),
        ("no rows", _mm(_leaf(a[:0]), _leaf(b))),
    ]
    dot = [
        ("floats", (a, a.flip(0), 16, 2)),
        ("floats with gradients", (_leaf(a), _leaf(a.flip(0)), 8, 2)),
        ("one vector", (_leaf(a[0]), _leaf(a[1]), 16, 1)),
        ("float64", (_leaf(a.double()), a.double(), 32, 2)),
        ("patterns", (p16, p16.flip(1), 16, 2)),
        ("no terms", (a[:, :0], a[:, :0], 16, 2)),
    ]
    f4 = mx.quantize(whole(12, 3, 64), refnum.mxfp4)
    e4m3 = mx.quantize(whole(13, 2, 1, 4, 64), refnum.mxfp8_e4m3)
    nv = mx.Blocks(*(x[:1] for x in stored(whole(14, 2, 64))), refnum.nvfp4, torch.Size((1, 64)), -1, torch.tensor(0.5))
    plain, bias = whole(15, 5, 3, 64), whole(16, 4)
    blocks = [
        ("blocks", _mx_mm(f4, e4m3)),
        ("a tensor with gradients and a bias", _mx_mm(_leaf(plain), e4m3, _leaf(bias))),
        ("a tensor on the right", _mx_mm(f4, _leaf(plain.bfloat16()), contract="chain/v1")),
        ("a factor", _mx_mm(nv, f4, out_dtype=torch.float32)),
        ("torch.mm", _mx_mm(f4, f4, contract="unversioned/torch.mm")),
        ("no rows", _mx_mm(_leaf(plain[:, :0]), f4)),
    ]
    big = whole(17, 2, 1, 64, 4)
    gemms = [(name, (_leaf(plain), _leaf(big), _leaf(bias), name, torch.float32)) for name in PROMISED]
    gemms += [
        ("no bias", (_leaf(plain.bfloat16()), _leaf(big.bfloat16()), None, "exact/v1", torch.bfloat16)),
        ("no terms", (_leaf(plain[..., :0]), _leaf(big[..., :0, :]), _leaf(bias), "chain/v1", torch.float32)),
        ("no rows", (_leaf(plain[:, :0]), _leaf(big), None, "chain/v1", torch.float32)),
        ("integers", (plain.to(torch.int8), big.to(torch.int8), None, "int/v1", torch.int32)),
    ]
    contracts, one = ["chain/v1", "exact/v1", "tree/v1(Kc=16)", "exact/v1"], whole(18, 6, 4)
    triads = [
        ("output", (_leaf(plain[0]), _leaf(one.new_ones(64, 4)), _leaf(bias), "output", contracts, torch.float32)),
        ("weight", (_leaf(plain[0]), _leaf(one[:3]), None, "weight", contracts, torch.float32)),
        ("integers", (one.to(torch.int8), one.mT.to(torch.int8), None, "output", ["int/v1"] * 4, torch.int32)),
    ]
    return [
        *(Sample("triad", *s) for s in triads),
        *(Sample("gemm", *s) for s in gemms),
        *(Sample("posit_mm", *s) for s in mm),
        *(Sample("quire_dot", *s) for s in dot),
        *(Sample("mx_mm", *s) for s in blocks),
    ]


def stored(x: Tensor) -> tuple[Tensor, Tensor]:
    """Elements and scales."""
    blocks = mx.quantize(x, refnum.nvfp4)
    return blocks.elements, blocks.scales


def _mx_mm(
    a: mx.Blocks | Tensor,
    b: mx.Blocks | Tensor,
    bias: Tensor | None = None,
    *,
    contract: str = "exact/v1",
    out_dtype: torch.dtype = torch.bfloat16,
) -> tuple[Any, ...]:
    return *flat(a), *flat(b), bias, contract, out_dtype


PROMISED = ("chain/v1", "exact/v1", "tree/v1(Kc=16)", "tc.hopper.tf32/v1", "sgbi.dispatch/0.1.1")
SAMPLES = samples()


def _op(name: str) -> Any:
    return getattr(torch.ops.refnum, name).default


@pytest.mark.parametrize(
    "sample",
    [
        pytest.param(sample, marks=[pytest.mark.slow] * (place % 2 == 0), id=f"{sample.op} {sample.name}")
        for _, of_one in itertools.groupby(SAMPLES, key=lambda sample: sample.op)
        for place, sample in enumerate(of_one)
    ],
)
def test_opcheck(sample: Sample) -> None:
    results = torch.library.opcheck(_op(sample.op), sample.args)
    assert set(results.values()) == {"SUCCESS"}
    assert len(results) >= 4


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.op} {s.name}")
def test_results_may_be_written_to(sample: Sample) -> None:
    """As a ReLU does in place: torch refuses it for views that an operation has made."""
    result = _op(sample.op)(*sample.args)
    want = torch.zeros_like(result)
    assert_bit_equal(result.zero_().detach(), want)


def test_every_row_has_samples_with_gradients_and_with_patterns() -> None:
    assert {sample.op for sample in SAMPLES} == {row.name for row in ops.ROWS}
    for row in ops.ROWS:
        first = [sample.args[0] for sample in SAMPLES if sample.op == row.name]
        assert any(x.requires_grad for x in first)
        assert any(not x.is_floating_point() for x in first)


def test_opcheck_can_fail() -> None:
    """A fake that gets the shape wrong is found."""
    library = torch.library.Library("refnum_toy", "DEF")
    library.define("double(Tensor x) -> Tensor", tags=(torch.Tag.pt2_compliant_tag,))
    library.impl("double", lambda x: x + x, "CompositeExplicitAutograd")
    torch.library.register_fake("refnum_toy::double", lambda x: x.new_empty(x.shape[1:]), lib=library)
    with pytest.raises(OpCheckError):
        torch.library.opcheck(torch.ops.refnum_toy.double.default, (torch.ones(2, 3),), test_utils="test_faketensor")


# ---- the registry -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ops.ROWS, ids=lambda row: row.name)
def test_a_row_is_registered_as_it_stands(row: ops.Row) -> None:
    schema = str(_op(row.name)._schema)
    assert schema == f"refnum::{row.name}{row.schema}"
    assert torch.Tag.pt2_compliant_tag in _op(row.name).tags
    assert torch._C._dispatch_has_kernel_for_dispatch_key(f"refnum::{row.name}", "CompositeExplicitAutograd")


@pytest.mark.parametrize("row", ops.ROWS, ids=lambda row: row.name)
def test_schema_and_reference_name_the_same_arguments(row: ops.Row) -> None:
    """A kernel with another signature would be accepted, and fail only when called."""
    named = re.findall(r"(\w+)(?=[,)])", row.schema.split("->")[0])
    for function in (row.reference, row.fake):
        code = function.__code__
        assert list(code.co_varnames[: code.co_argcount]) == named


def test_nothing_else_is_registered() -> None:
    names = {
        name.removeprefix("refnum::").split(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("refnum::")
    }
    # Functions have two of their own, below the matmul-level operations; kernels for a GPU may have registered theirs.
    assert names - {"encode", "decode", "quantize"} == {*(row.name for row in ops.ROWS), "estimate", "decide"}


# ---- without data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: f"{s.op} {s.name}")
def test_the_fake_knows_shape_and_dtype(sample: Sample) -> None:
    real = _op(sample.op)(*sample.args)
    with FakeTensorMode() as mode:
        args = [mode.from_tensor(x) if isinstance(x, Tensor) else x for x in sample.args]
        fake = _op(sample.op)(*args)
    assert (fake.shape, fake.dtype, fake.device, fake.stride()) == (real.shape, real.dtype, real.device, real.stride())
    on_meta = _op(sample.op)(*(x.detach().to("meta") if isinstance(x, Tensor) else x for x in sample.args))
    assert (on_meta.shape, on_meta.dtype, on_meta.device.type) == (real.shape, real.dtype, "meta")


PUBLIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "posit_mm": lambda a, b: refnum.posit_mm(a, b, P16),
    "posit_mm with an addend": lambda a, b: refnum.posit_mm(a, b, P16, c=a[:, :1], grad="raw"),
    "posit_mm of a vector": lambda a, b: refnum.posit_mm(a[0], b, P8),
    "posit_mm of patterns": lambda a, b: refnum.posit_mm(
        refnum.encode(a, P16), refnum.encode(b, P16), P16, out_dtype=torch.float32
    ),
    "quire_dot": lambda a, b: refnum.quire_dot(a, b.T[:1], P16),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_compiled_is_eager(name: str) -> None:
    torch._dynamo.reset()
    function, a, b = PUBLIC[name], whole(12, 3, 5) / 7, whole(13, 5, 4) / 7
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    x, y, u, v = (_leaf(t) for t in (a, b, a, b))
    got, want = compiled(x, y), function(u, v)
    assert_bit_equal(got, want)
    if want.requires_grad:
        upstream = torch.ones_like(want)
        got.backward(upstream)
        want.backward(upstream)
        assert_bit_equal(x.grad, u.grad)
        assert_bit_equal(y.grad, v.grad)


@pytest.mark.parametrize("name", PUBLIC)
def test_export_keeps_the_operation_whole(name: str) -> None:
    class Model(torch.nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return PUBLIC[name](a, b)

    a, b = whole(14, 3, 5) / 7, whole(15, 5, 4) / 7
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(Model(), (a, b), dynamic_shapes=({0: rows}, None))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert {target for target in called if target.startswith("refnum.")} == {f"refnum.{name.split()[0]}.default"}
    longer = whole(16, 9, 5)
    assert_bit_equal(program.module()(longer, b), PUBLIC[name](longer, b))


def test_functional_transforms_see_one_operation() -> None:
    a, b = whole(17, 4, 3, 5), whole(18, 5, 2)
    graph = torch.fx.experimental.proxy_tensor.make_fx(lambda x, y: refnum.posit_mm(x, y, P16))(a, b)
    assert [n for n in graph.graph.nodes if n.op == "call_function" and "refnum" in str(n.target)]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: refnum.gemm(x, x.mT),
        lambda x: refnum.posit_mm(x, x.mT, P16),
        lambda x: refnum.quire_dot(x, x, P16),
        lambda x: refnum.quantize(x, P8),
        lambda x: refnum.nn.linear(x, x),
        lambda x: refnum.mx_mm(x, mx.quantize(torch.ones(4, 32), refnum.mxfp4)),
    ],
)
def test_derivatives_in_forward_mode_are_refused_not_dropped(call: Callable[[Tensor], Tensor]) -> None:
    x = torch.ones(2, 32)
    with pytest.raises(UncoveredError, match=r"got a dual tensor for \w+: derivatives in forward mode are not defined"):
        torch.func.jvp(call, (x,), (x,))
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        with pytest.raises(UncoveredError):
            call(dual)
        assert call(dual.detach()) is not None
