"""The references have the same bits on any device: nothing that is rounded there depends on an order of sums.

A tensor that is not plain stands for one on another device: the fast forms, which look at values, leave both alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import refnum
from refnum import Posit, mx
from refnum.boundary import INTEGERS, SIGNED
from refnum.sums import contracts, posits

#: operations of torch in which terms are added, in an order of torch's choice
SUMS = frozenset(
    "mm bmm addmm addmm_ baddbmm baddbmm_ addbmm mv addmv dot vdot addr sum nansum mean prod cumsum cumprod std var "
    "norm linalg_vector_norm logsumexp convolution index_add index_add_ scatter_add scatter_add_ scatter_reduce "
    "index_put index_put_ _index_put_impl_".split()
)


class Elsewhere(Tensor):
    """A tensor that is not plain."""


def elsewhere(x: Tensor) -> Tensor:
    """A tensor as if on another device."""
    return x.as_subclass(Elsewhere)


class Sums(TorchDispatchMode):
    """Sums of floats that may round: all but those of a few integers, Inf and NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.rounded: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if name in SUMS and isinstance(result, Tensor) and result.is_floating_point():
            self.rounded += [] if name == "sum" and _of_integers(args[0]) else [f"{name} of {result.dtype}"]
        return result


def _of_integers(x: Tensor) -> bool:
    """Whether the finite terms are integers, so few and small that no sum of any of them is rounded."""
    finite = x.masked_fill(~x.isfinite(), 0).double()
    return bool((finite == finite.round()).all()) and float(finite.abs().sum()) < 2.0**24


def rounded(call: Callable[[], object]) -> list[str]:
    """What a call sums in an order of torch's."""
    with Sums() as sums:
        call()
    return sums.rounded


def operand(dtype: torch.dtype, *shape: int) -> Tensor:
    """Values with Inf and NaN among them, or small integers."""
    random = torch.Generator().manual_seed(sum(shape))
    if dtype in INTEGERS:
        return torch.randint(0, 8, shape, generator=random).to(dtype)
    x = torch.randn(shape, generator=random, dtype=torch.float32) * 8
    if dtype.itemsize > 1:
        x.view(-1)[:2] = torch.tensor([torch.inf, torch.nan])
    return x.to(dtype)


def product(contract: str, dtype: torch.dtype) -> Callable[[], object]:
    """A gemm of two batches, with a bias where there may be one."""
    row = contracts.find("gemm", contract)
    assert row.multiply is not None
    multiply = row.multiply
    a, b = elsewhere(operand(dtype, 2, 2, 33)), elsewhere(operand(dtype, 2, 33, 3))
    bias = elsewhere(operand(row.biases[0], 2, 2, 3)) if row.biases else None
    return lambda: multiply(a, b, bias, row.results[0])


NAMES = [*contracts.CONTRACTS, *contracts.FAMILIES]
PRODUCTS = [name for name in NAMES if contracts.find("gemm", name).multiply is not None]


@pytest.mark.parametrize("contract", [name for name in PRODUCTS if not name.startswith("unversioned/")])
def test_no_contract_leaves_an_order_to_torch(contract: str) -> None:
    operands = contracts.find("gemm", contract).operands
    for dtype in dict.fromkeys((operands[0], operands[-1])):
        assert rounded(product(contract, dtype)) == [], dtype


def test_what_is_looked_for_is_seen() -> None:
    assert rounded(product("unversioned/torch.mm", torch.float32)) == ["bmm of torch.float32"]
    assert rounded(lambda: torch.ones(3).div(3).sum()) == ["sum of torch.float32"]
    assert rounded(lambda: torch.tensor([1.0, torch.inf, -3.0]).sum()) == []


@pytest.mark.parametrize("mode", posits.MODES)
@pytest.mark.parametrize("fmt", [Posit(8), Posit(16), Posit(32)], ids=str)
def test_no_product_of_posits_leaves_an_order_to_torch(mode: str, fmt: Posit) -> None:
    dtype = torch.float32 if fmt.n <= 28 else torch.float64
    a, b = elsewhere(operand(dtype, 3, 20)), elsewhere(operand(dtype, 20, 3))
    if posits.MODES[mode].takes(fmt):
        assert rounded(lambda: refnum.posit_mm(a, b, fmt, mode=mode)) == []
    assert rounded(lambda: refnum.quire_dot(a, b.mT.contiguous(), fmt)) == []


@pytest.mark.parametrize("name", ["mxfp4", "mxfp8_e4m3", "nvfp4"])
def test_blocks_leave_no_order_to_torch(name: str) -> None:
    fmt, x, y = getattr(refnum, name), operand(torch.float32, 3, 64), operand(torch.float32, 4, 64)
    x[:, :2] = 1.0
    y[:, :2] = -1.0
    assert rounded(lambda: mx.quantize(elsewhere(x), fmt)) == []
    for contract in ("exact/v1", "chain/v1", "tree/v1(Kc=16)"):
        a, b = mx.quantize(elsewhere(x), fmt), mx.quantize(elsewhere(y), fmt)
        assert rounded(lambda a=a, b=b, contract=contract: refnum.mx_mm(a, b, contract=contract)) == []


@pytest.mark.parametrize("contract", ["int/v1", "int/v1(acc=14, overflow=wrap)", "int/v1(acc=14, overflow=saturate)"])
def test_blocks_of_integers_leave_no_order_to_torch(contract: str) -> None:
    x, y = (elsewhere(torch.full((3, 64), value, dtype=torch.float32)) for value in (0.9, -0.7))
    a, b = mx.quantize(x, refnum.mxint8), mx.quantize(y, refnum.mxint8)
    assert rounded(lambda: refnum.mx_mm(a, b, contract=contract)) == []


@pytest.mark.parametrize("fmt", [Posit(16), Posit(32), refnum.e4m3, refnum.formats.bfloat16], ids=str)
def test_conversions_leave_no_order_to_torch(fmt: refnum.formats.Format) -> None:
    x = elsewhere(operand(torch.float32, 50))
    assert rounded(lambda: refnum.encode(x, fmt)) == []
    assert rounded(lambda: refnum.quantize(x, fmt)) == []
    assert rounded(lambda: refnum.decode(elsewhere(refnum.encode(x, fmt)), fmt)) == []


# ---- on a GPU --------------------------------------------------------------------------------------

ON_A_GPU = ("exact/v1", "tree/v1(Kc=16)", "int/v1", "tc.hopper.bf16/v1", "tc.ampere.f16/v1", "sgbi.lane32/0.1.1")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")
@pytest.mark.parametrize("contract", ON_A_GPU)
def test_references_of_every_layout_have_the_cpus_bits(contract: str) -> None:
    row = contracts.find("gemm", contract)
    a, b = (operand(row.operands[0], *shape) for shape in ((5, 40), (6, 40)))
    with refnum.use_backend("reference"):
        want, got = (refnum.gemm(x, y.mT, contract=contract) for x, y in ((a, b), (a.cuda(), b.cuda())))
    integer = SIGNED[8 * want.itemsize]
    assert torch.equal(got.cpu().view(integer), want.view(integer))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")
def test_references_of_posits_have_the_cpus_bits() -> None:
    x = torch.randn(6, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    with refnum.use_backend("reference"):
        for fmt in (Posit(8), Posit(16)):
            for mode in posits.MODES:
                want, got = (refnum.posit_mm(y, y.mT, fmt, mode=mode) for y in (x, x.cuda()))
                assert torch.equal(got.cpu(), want), (fmt, mode)
            codes = refnum.encode(x, fmt)
            for name in ("add", "mul", "div"):
                want, got = (getattr(refnum.posit, name)(y, y.flip(0), fmt) for y in (codes, codes.cuda()))
                assert torch.equal(got.cpu(), want), (fmt, name)
