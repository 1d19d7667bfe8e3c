"""Models in a format: every product that torch offers is computed in it, bit for bit, or refused by name."""

from __future__ import annotations

import copy
import io
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from refnum import Posit, posit16, posit32, posit64, posit_mm, quantize, quire_dot
from refnum.errors import ContractError, DTypeError, FormatError, RefnumError, UncoveredError
from refnum.formats import e4m3, e8m0, mxint8
from refnum.nn import Count, Interception, Plan, convert, intercept
from refnum.nn.coverage import COVERED, KEYWORDS, has_products
from refnum.sums.posits import MODES
from refnum.testing import assert_bit_equal

P = Posit(8)
F32 = torch.float32


@pytest.fixture(autouse=True)
def _one_thread_and_nothing_left_behind() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    assert not torch.overrides._get_current_function_mode_stack()
    assert torch._C._len_torch_dispatch_stack() == 0


def values(seed: int, *shape: int) -> Tensor:
    """Normal values, which most formats have to round."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F32)


def whole(seed: int, *shape: int) -> Tensor:
    """Small integers: their sums are exact in any order."""
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(seed)).to(F32)


# ---- the independent way: a list of products for each result -------------------------------------


class Terms(defaultdict[tuple[int, ...], list[tuple[Tensor, Tensor]]]):
    """Index of a result -> the pairs whose products it is the sum of."""

    def __init__(self) -> None:
        super().__init__(list)

    def sums(self, shape: Sequence[int], fmt: Posit = P) -> Tensor:
        """Every result, exact and rounded once: one `quire_dot` over the lists, filled up with 0 * 0."""
        indices = list(itertools.product(*map(range, shape)))
        longest = max(len(self[index]) for index in indices)
        nothing = (torch.tensor(0.0), torch.tensor(0.0))
        pairs = [pair for index in indices for pair in [*self[index], *[nothing] * (longest - len(self[index]))]]
        left, right = (torch.stack([pair[side].detach().to(F32) for pair in pairs]) for side in (0, 1))
        return quire_dot(left.view(len(indices), -1), right.view(len(indices), -1), fmt).view(tuple(shape))


ONE = torch.tensor(1.0)


def by_loops(equation: str, a: Tensor, b: Tensor, c: Tensor | None = None, fmt: Posit = P) -> Tensor:
    """A product of two, index by index; c enters the sum as c * 1."""
    left, right, axes = equation.replace("->", ",").split(",")
    size = dict(zip(left + right, (*a.shape, *b.shape), strict=True))
    shape, summed, terms = [size[x] for x in axes], sorted({*left, *right} - {*axes}), Terms()
    addend = None if c is None else c.expand(shape)
    for index in itertools.product(*map(range, shape)):
        for inside in itertools.product(*(range(size[x]) for x in summed)):
            at = dict(zip(axes, index, strict=True)) | dict(zip(summed, inside, strict=True))
            terms[index].append((a[tuple(at[x] for x in left)], b[tuple(at[x] for x in right)]))
        if addend is not None:
            terms[index].append((addend[index], ONE))
    return terms.sums(shape, fmt)


class Geometry(NamedTuple):
    """A convolution's knobs."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    output_padding: tuple[int, ...] = ()


def taps(
    geometry: Geometry, result: Sequence[int], kernel: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """(result position, kernel position, input position): what meets in a convolution, padding included."""
    for s in itertools.product(*map(range, result)):
        for k in itertools.product(*map(range, kernel)):
            yield (
                s,
                k,
                tuple(
                    i * stride + j * dilation - pad
                    for i, j, stride, dilation, pad in zip(
                        s, k, geometry.stride, geometry.dilation, geometry.padding, strict=True
                    )
                ),
            )


def channels(count: int, outputs: int, groups: int) -> Iterator[tuple[int, int, int]]:
    """(output channel, input channel, input channel within its group)."""
    for o in range(outputs):
        for c in range(count // groups):
            yield o, o // (outputs // groups) * (count // groups) + c, c


def inside(position: Sequence[int], shape: Sequence[int]) -> bool:
    return all(0 <= i < size for i, size in zip(position, shape, strict=True))


def convolution_by_loops(
    x: Tensor, w: Tensor, b: Tensor | None, geometry: Geometry, shape: Sequence[int], fmt: Posit = P
) -> Tensor:
    terms = Terms()
    for n, (o, i, c) in itertools.product(range(len(x)), channels(x.shape[1], len(w), geometry.groups)):
        for s, k, p in taps(geometry, shape[2:], w.shape[2:]):
            if inside(p, x.shape[2:]):
                terms[n, o, *s].append((x[n, i, *p], w[o, c, *k]))
    if b is not None:
        for n, o, *s in itertools.product(*map(range, shape)):
            terms[n, o, *s].append((b[o], ONE))
    return terms.sums(shape, fmt)


def input_gradient_by_loops(d: Tensor, w: Tensor, geometry: Geometry, shape: Sequence[int], fmt: Posit = P) -> Tensor:
    """What a convolution's input gets from d; with a bias of nothing also a transposed convolution of d."""
    terms = Terms()
    for n, (o, i, c) in itertools.product(range(len(d)), channels(shape[1], len(w), geometry.groups)):
        for s, k, p in taps(geometry, d.shape[2:], w.shape[2:]):
            if inside(p, shape[2:]):
                terms[n, i, *p].append((d[n, o, *s], w[o, c, *k]))
    return terms.sums(shape, fmt)


def weight_gradient_by_loops(d: Tensor, x: Tensor, geometry: Geometry, shape: Sequence[int], fmt: Posit = P) -> Tensor:
    terms = Terms()
    for n, (o, i, c) in itertools.product(range(len(x)), channels(x.shape[1], shape[0], geometry.groups)):
        for s, k, p in taps(geometry, d.shape[2:], shape[2:]):
            if inside(p, x.shape[2:]):
                terms[o, c, *k].append((x[n, i, *p], d[n, o, *s]))
    return terms.sums(shape, fmt)


def test_the_loops_are_those_of_torch() -> None:
    """On integers that nothing rounds, the independent way gives what torch gives."""
    fmt, a, b, c = Posit(28), whole(1, 2, 3, 4), whole(2, 4, 5), whole(3, 3, 5)
    assert torch.equal(by_loops("bmk,kn->bmn", a, b, c, fmt=fmt), a @ b + c)
    x, w, geometry = whole(4, 2, 4, 5, 6), whole(5, 2, 2, 3, 2), Geometry((2, 1), (1, 2), (1, 2), 2)
    x, w, bias = x.requires_grad_(), w.requires_grad_(), whole(6, 2)
    y = functional.conv2d(x, w, bias, *geometry[:4])
    d = whole(7, *y.shape)
    y.backward(d)
    assert torch.equal(convolution_by_loops(x, w, bias, geometry, y.shape, fmt), y)
    assert torch.equal(input_gradient_by_loops(d, w, geometry, x.shape, fmt), x.grad)
    assert torch.equal(weight_gradient_by_loops(d, x, geometry, w.shape, fmt), w.grad)


# ---- every covered operation ---------------------------------------------------------------------

A, B, C = values(10, 3, 5), values(11, 5, 4), values(12, 3, 4)
BA, BB, BC = values(13, 2, 3, 5), values(14, 2, 5, 4), values(15, 2, 3, 4)
V, W = values(16, 5), values(17, 5)


class Case(NamedTuple):
    """A call, and its result the independent way."""

    name: str  #: the operation that is counted
    call: Callable[..., Tensor]
    operands: tuple[Tensor, ...]
    equation: str  #: of the first two operands; a third is added
    what: str = ""  #: what is special about it

    @property
    def want(self) -> Tensor:
        return by_loops(self.equation, *self.operands)


# fmt: off
CASES = (
    Case("mm", torch.mm, (A, B), "mk,kn->mn"),
    Case("mm", lambda a, b: torch.mm(input=a, mat2=b), (A, B), "mk,kn->mn", "keywords"),
    Case("mm", Tensor.mm, (A, B), "mk,kn->mn", "method"),
    Case("mm", torch.ops.aten.mm, (A, B), "mk,kn->mn", "aten"),
    Case("mm", torch.ops.aten.mm.default, (A, B), "mk,kn->mn", "aten default"),
    Case("mm", lambda a, b: torch.mm(a.T, b), (A.T.contiguous(), B), "km,kn->mn", "transposed"),
    Case("bmm", torch.bmm, (BA, BB), "bmk,bkn->bmn"),
    Case("mv", torch.mv, (A, V), "mk,k->m"),
    Case("dot", torch.dot, (V, W), "k,k->"),
    Case("vdot", torch.vdot, (V, W), "k,k->"),
    Case("addmm", lambda a, b, c: torch.addmm(c, a, b), (A, B, C), "mk,kn->mn"),
    Case("addmm", lambda a, b, c: torch.addmm(input=c, mat1=a, mat2=b), (A, B, C[0]), "mk,kn->mn", "broadcast"),
    Case("addmm", lambda a, b, c: c.addmm(a, b, beta=1, alpha=1), (A, B, C), "mk,kn->mn", "method"),
    Case("addmm", lambda a, b: torch.addmm(C * torch.nan, a, b, beta=0), (A, B), "mk,kn->mn", "beta 0"),
    Case("addmv", lambda a, b, c: torch.addmv(c, a, b), (A, V, C[:, 0]), "mk,k->m"),
    Case("addbmm", lambda a, b, c: torch.addbmm(c, a, b), (BA, BB, C), "bmk,bkn->mn"),
    Case("baddbmm", lambda a, b, c: torch.baddbmm(c, a, b), (BA, BB, BC), "bmk,bkn->bmn"),
    Case("baddbmm", lambda a, b, c: torch.baddbmm(c, a, b), (BA, BB, BC[:1, :, :1]), "bmk,bkn->bmn", "broadcast"),
    Case("matmul", torch.matmul, (A, B), "mk,kn->mn"),
    Case("matmul", lambda a, b: a @ b, (V, W), "k,k->", "1D @ 1D"),
    Case("matmul", lambda a, b: a @ b, (V, B), "k,kn->n", "1D @ 2D"),
    Case("matmul", lambda a, b: a @ b, (A, V), "mk,k->m", "2D @ 1D"),
    Case("matmul", lambda a, b: a @ b, (BA, B), "bmk,kn->bmn", "3D @ 2D"),
    Case("matmul", lambda a, b: a @ b, (A, BB), "mk,bkn->bmn", "2D @ 3D"),
    Case("matmul", lambda a, b: a @ b, (V, BB), "k,bkn->bn", "1D @ 3D"),
    Case("matmul", lambda a, b: a @ b, (BA, BB), "bmk,bkn->bmn", "3D @ 3D"),
    Case("matmul", lambda a, b: a[:, None] @ b[None], (BA, BB), "imk,jkn->ijmn", "broadcast"),
    Case("matmul", lambda a, b: Tensor.__rmatmul__(b, a), (A, B), "mk,kn->mn", "reflected"),
    Case("matmul", Tensor.__matmul__, (A, B), "mk,kn->mn", "operator"),
    Case("linalg_matmul", torch.linalg.matmul, (A, B), "mk,kn->mn"),
    Case("linalg_vecdot", torch.linalg.vecdot, (A, A * 2), "mk,mk->m"),
    Case("linalg_vecdot", lambda a, b: torch.linalg.vecdot(a, b, dim=0), (BA, BA + 1), "bmk,bmk->mk", "dim"),
    Case("linalg_vecdot", torch.linalg.vecdot, (BA, A), "bmk,mk->bm", "broadcast"),
    Case("inner", torch.inner, (BA, A), "bmk,nk->bmn"),
    Case("inner", torch.inner, (BA, torch.tensor(1.1)), "bmk,->bmk", "with a number"),
    Case("tensordot", lambda a, b: torch.tensordot(a, b, 1), (BA, B), "bmk,kn->bmn"),
    Case("tensordot", lambda a, b: torch.tensordot(a, b, ([0, 2], [0, -2])), (BA, BB), "bmk,bkn->mn", "two axes"),
    Case("tensordot", lambda a, b: torch.tensordot(a, b, 0), (V, W), "i,j->ij", "no axis"),
    Case("linear", functional.linear, (A, B.T.contiguous(), C[0]), "mk,nk->mn"),
    Case("linear", functional.linear, (BA, B.T.contiguous()), "bmk,nk->bmn", "3D, no bias"),
    Case("linear", lambda a, b, c: functional.linear(a, b, bias=c), (BA, B.T, C[0]), "bmk,nk->bmn", "transposed"),
    Case("linear", functional.linear, (V, B.T.contiguous(), C[0]), "k,nk->n", "1D"),
    Case("einsum", lambda a, b: torch.einsum("ij,jk->ik", a, b), (A, B), "mk,kn->mn"),
    Case("einsum", lambda a, b: torch.einsum("ij, jk", a, b), (A, B), "mk,kn->mn", "implicit"),
    Case("einsum", lambda a, b: torch.einsum("zk,ka", a, b), (A, B), "mk,kn->nm", "implicit, by alphabet"),
    Case("einsum", lambda a, b: torch.einsum("...k,kn->...n", a, b), (BA, B), "bmk,kn->bmn", "ellipsis"),
    Case("einsum", lambda a, b: torch.einsum("...k,kn", a, b), (BA, B), "bmk,kn->bmn", "implicit ellipsis"),
    Case("einsum", lambda a, b: torch.einsum("...mk,...kn->mn", a, b), (BA, BB), "bmk,bkn->mn", "ellipsis summed"),
    Case("einsum", lambda a, b: torch.einsum("bij,bjk->kbi", a, b), (BA, BB), "bmk,bkn->nbm", "any order"),
    Case("einsum", lambda a, b: torch.einsum("ij,jk->i", a, b), (A, B), "mk,kn->m", "one operand's axis summed"),
    Case("einsum", lambda a, b: torch.einsum("i,i->i", a, b), (V, W), "i,i->i", "no sum"),
    Case("einsum", lambda a, b: torch.einsum("ij,kl->", a, b), (A, B), "ij,kl->", "all summed"),
    Case("einsum", lambda a, b: torch.einsum("iji,j->i", a.T.diag_embed(0, 0, 2), b), (A, W), "ij,j->i", "diagonal"),
    Case("einsum", lambda a, b: torch.einsum(a, [0, 1], b, [1, 2], [0, 2]), (A, B), "mk,kn->mn", "lists"),
    Case("einsum", lambda a, b: torch.einsum("ij,jk->ik", [a, b]), (A, B), "mk,kn->mn", "a list of operands"),
)
# fmt: on


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "grad": torch.enable_grad,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default device": lambda: torch.device("meta"),
    "default dtype": lambda: default_dtype(torch.float64),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name} {case.what}".strip())
def test_a_covered_operation_is_one_sum(case: Case) -> None:
    """The same bits in every context; counted once; no operand changed; laid out as torch would."""
    want, native = case.want, case.call(*case.operands)
    assert not torch.equal(want, native), "a case that needs no rounding shows nothing"
    for name, context in CONTEXTS.items():
        operands = [x.clone().requires_grad_(name == "grad") for x in case.operands]
        with intercept(P) as ctx, context():
            got = case.call(*operands)
        assert_bit_equal(got.detach(), want)
        assert ctx.counts == {case.name: (1, 0)}, name
        assert got.requires_grad == (name == "grad")
        assert got.is_contiguous()
        assert all(torch.equal(x, y) for x, y in zip(operands, case.operands, strict=True))


def test_every_covered_operation_has_a_case() -> None:
    elsewhere = {name for name in COVERED if "conv" in name} | {"scaled_dot_product_attention"}
    assert {case.name for case in CASES} == COVERED.keys() - elsewhere
    assert {case.name for case in CONVOLUTIONS} | {"convolution", "scaled_dot_product_attention"} == elsewhere


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.what != "beta 0"], ids=lambda case: f"{case.name} {case.what}".strip()
)
def test_the_gradient_in_the_models_dtype_is_that_of_rounded_operands(case: Case) -> None:
    """dA = dD B^T with the rounded B: what autograd makes of torch's own operation on rounded operands."""
    operands = [whole(i, *x.shape) + 0.1 for i, x in enumerate(case.operands)]
    rounded = [quantize(x, P).requires_grad_() for x in operands]
    leaves = [x.requires_grad_() for x in operands]
    expected = case.call(*rounded)
    upstream = whole(9, *expected.shape)
    expected.backward(upstream)
    with intercept(P):
        case.call(*leaves).backward(upstream)
    for leaf, reference in zip(leaves, rounded, strict=True):
        assert_bit_equal(leaf.grad + 0.0, reference.grad + 0.0)  # whatever the sign of a 0


#: the gradients of a product are products with the upstream: of equation l,r->d they are d,r->l and l,d->r
GRADIENT_CASES = [
    case for case in CASES if case.what in ("", "broadcast", "3D @ 2D", "1D @ 3D", "any order", "all summed", "aten")
]


@pytest.mark.parametrize("case", GRADIENT_CASES, ids=lambda case: f"{case.name} {case.what}".strip())
def test_the_gradient_in_the_format_is_one_sum(case: Case) -> None:
    left, right, axes = case.equation.replace("->", ",").split(",")
    leaves = [x.clone().requires_grad_() for x in case.operands]
    with intercept(P, backward="format"):
        result = case.call(*leaves)
    upstream = values(20, *result.shape)
    result.backward(upstream)
    if {*left} <= {*right, *axes}:
        assert_bit_equal(leaves[0].grad, by_loops(f"{axes},{right}->{left}", upstream, case.operands[1]))
    if {*right} <= {*left, *axes}:
        assert_bit_equal(leaves[1].grad, by_loops(f"{left},{axes}->{right}", case.operands[0], upstream))
    if len(leaves) == 3:
        shape = case.operands[2].shape
        terms = Terms()
        for index in itertools.product(*map(range, upstream.shape)):
            own = zip(index[len(index) - len(shape) :], shape, strict=True)
            terms[tuple(i if size > 1 else 0 for i, size in own)].append((upstream[index], ONE))
        assert_bit_equal(leaves[2].grad, terms.sums(shape))


def test_an_axis_that_one_operand_has_alone_gets_equal_gradients() -> None:
    a, b = A.clone().requires_grad_(), V.clone().requires_grad_()
    with intercept(P, backward="format"):
        y = torch.einsum("ij,k->k", a, b)
    upstream = values(21, 5)
    y.backward(upstream)
    assert_bit_equal(y.detach(), by_loops("ij,k->k", A, V))
    assert_bit_equal(a.grad, by_loops("k,k->", upstream, V).expand(3, 5))
    assert_bit_equal(b.grad, by_loops("ij,k->k", A, upstream))


def test_einsum_of_three_goes_from_left_to_right() -> None:
    d = values(22, 4, 2)
    with intercept(P) as ctx:
        y = torch.einsum("ij,jk,kl->il", A, B, d)
        alone = torch.einsum("ij->j", A)
    assert_bit_equal(y, by_loops("ik,kl->il", by_loops("ij,jk->ik", A, B), d))
    assert_bit_equal(alone, A.sum(0))
    assert ctx.counts == {"einsum": (1, 0)}, "a sum without products is torch's"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_einsum_of_any_two(data: st.DataObject) -> None:
    size = dict(zip("abcd", (2, 3, 1, 2), strict=True))
    left, right = (data.draw(st.permutations("abcd"))[: data.draw(st.integers(0, 3))] for _ in range(2))
    known = sorted({*left, *right})
    axes = data.draw(st.permutations(known))[: data.draw(st.integers(0, len(known)))]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(axes)}"
    a, b = values(1, *(size[x] for x in left)), values(2, *(size[x] for x in right))
    with intercept(P):
        assert_bit_equal(torch.einsum(equation, a, b), by_loops(equation, a, b))


# ---- convolutions --------------------------------------------------------------------------------


class Convolution(NamedTuple):
    """A convolution and its shapes."""

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    geometry: Geometry

    @property
    def transposed(self) -> bool:
        return "transpose" in self.name

    @property
    def outputs(self) -> int:
        return self.w[1] * self.geometry.groups if self.transposed else self.w[0]

    def call(self, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        g = self.geometry
        function = getattr(functional, self.name)
        if self.transposed:
            return function(x, w, b, g.stride, g.padding, g.output_padding, g.groups, g.dilation)
        return function(x, w, b, g.stride, g.padding, g.dilation, g.groups)

    def operands(self) -> tuple[Tensor, Tensor, Tensor]:
        return values(30, *self.x), values(31, *self.w), values(32, self.outputs)

    def want(self, x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        shape = self.call(x, w).shape
        if not self.transposed:
            return convolution_by_loops(x, w, b, self.geometry, shape)
        terms = Terms()
        for n, (o, i, c) in itertools.product(range(len(x)), channels(self.outputs, len(w), self.geometry.groups)):
            for s, k, p in taps(self.geometry, x.shape[2:], w.shape[2:]):
                if inside(p, shape[2:]):
                    terms[n, i, *p].append((x[n, o, *s], w[o, c, *k]))
        for index in itertools.product(*map(range, shape)):
            terms[index].append((b[index[1]], ONE))
        return terms.sums(shape)


CONVOLUTIONS = (
    Convolution("conv1d", (2, 2, 8), (3, 2, 3), Geometry((2,), (1,), (1,))),
    Convolution("conv1d", (1, 4, 6), (4, 1, 2), Geometry((1,), (0,), (2,), 4)),
    Convolution("conv2d", (2, 2, 4, 5), (2, 2, 2, 3), Geometry((1, 2), (1, 0), (1, 1))),
    Convolution("conv2d", (1, 4, 5, 4), (2, 2, 2, 2), Geometry((2, 1), (0, 2), (2, 1), 2)),
    Convolution("conv2d", (1, 3, 2, 2), (4, 3, 1, 1), Geometry((1, 1), (0, 0), (1, 1))),
    Convolution("conv3d", (1, 2, 3, 3, 2), (2, 1, 2, 1, 2), Geometry((1, 2, 1), (0, 1, 1), (2, 1, 1), 2)),
    Convolution("conv_transpose1d", (2, 2, 3), (2, 3, 3), Geometry((2,), (1,), (1,), 1, (1,))),
    Convolution("conv_transpose1d", (1, 1, 4), (1, 2, 1), Geometry((3,), (2,), (1,), 1, (0,))),
    Convolution("conv_transpose2d", (1, 4, 2, 3), (4, 1, 2, 3), Geometry((1, 2), (0, 1), (2, 1), 2, (1, 0))),
    Convolution(
        "conv_transpose3d", (1, 2, 2, 2, 1), (2, 2, 1, 2, 2), Geometry((2, 1, 1), (0,) * 3, (1,) * 3, 1, (0,) * 3)
    ),
)
CONVOLUTION_IDS = [f"{case.name}-{i}" for i, case in enumerate(CONVOLUTIONS)]


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=CONVOLUTION_IDS)
def test_a_convolution_is_one_sum(case: Convolution) -> None:
    x, w, b = case.operands()
    want = case.want(x, w, b)
    assert not torch.equal(want, case.call(x, w, b))
    for context in CONTEXTS.values():
        with intercept(P) as ctx, context():
            got = case.call(x, w, b)
            alone = case.call(x[0], w, b)
        assert_bit_equal(got, want)
        assert_bit_equal(alone, want[0])
        assert ctx.counts == {case.name: (2, 0)}


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=CONVOLUTION_IDS)
def test_the_gradients_of_a_convolution(case: Convolution) -> None:
    """In the model's dtype those of torch for rounded operands; in the format sums rounded once."""
    operands = [whole(i, *x.shape) + 0.1 for i, x in enumerate(case.operands())]
    rounded = [quantize(x, P).requires_grad_() for x in operands]
    upstream = whole(40, *case.call(*rounded).shape)
    case.call(*rounded).backward(upstream)
    leaves = [x.clone().requires_grad_() for x in operands]
    with intercept(P):
        case.call(*leaves).backward(upstream)
    for leaf, reference in zip(leaves, rounded, strict=True):
        assert_bit_equal(leaf.grad, reference.grad)

    x, w, _ = operands
    leaves = [x.clone().requires_grad_() for x in operands]
    upstream = values(41, *upstream.shape)
    with intercept(P, backward="format"):
        result = case.call(*leaves)
    result.backward(upstream)
    if case.transposed:
        assert_bit_equal(leaves[0].grad, convolution_by_loops(upstream, w, None, case.geometry, x.shape))
        assert_bit_equal(leaves[1].grad, weight_gradient_by_loops(x, upstream, case.geometry, w.shape))
    else:
        assert_bit_equal(leaves[0].grad, input_gradient_by_loops(upstream, w, case.geometry, x.shape))
        assert_bit_equal(leaves[1].grad, weight_gradient_by_loops(upstream, x, case.geometry, w.shape))
    own = upstream.movedim(1, 0).flatten(1)
    assert_bit_equal(leaves[2].grad, quire_dot(own, torch.ones_like(own), P))


def test_convolution_by_its_own_name() -> None:
    x, w, b = CONVOLUTIONS[2].operands()
    with intercept(P) as ctx:
        plain = torch.convolution(x, w, b, [1, 2], [1, 0], [1, 1], False, [0, 0], 1)
        named = CONVOLUTIONS[2].call(x, w, b)
        turned = torch.convolution(x, w, None, [1, 2], [1, 0], [1, 1], True, [0, 0], 1)
        other = functional.conv_transpose2d(x, w, None, [1, 2], [1, 0])
    assert_bit_equal(plain, named)
    assert_bit_equal(turned, other)
    assert ctx.counts["convolution"] == (2, 0)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_padding(padding: str | int, padding_mode: str) -> None:
    """A layer that pads gives what it gives on an input that is padded already."""
    layer = nn.Conv2d(
        1, 2, (2, 3), padding=padding, padding_mode=padding_mode, dilation=(1, 2) if padding == "same" else 1
    )
    x = values(42, 1, 1, 5, 6)
    margins = {"same": (2, 2, 0, 1), "valid": (0, 0, 0, 0), 1: (1, 1, 1, 1)}[padding]
    padded = functional.pad(x, margins, "constant" if padding_mode == "zeros" else padding_mode)
    with intercept(P), torch.no_grad():
        got = layer(x)
        want = functional.conv2d(padded, layer.weight, layer.bias, dilation=layer.dilation)
    assert_bit_equal(got, want)


def test_memory_formats_do_not_matter() -> None:
    x, w, b = CONVOLUTIONS[2].operands()
    last = torch.channels_last
    with intercept(P):
        want = CONVOLUTIONS[2].call(x, w, b)
        for y, v in ((x.to(memory_format=last), w), (x, w.to(memory_format=last)), (x.flip(3).flip(3), w.mT.mT)):
            assert_bit_equal(CONVOLUTIONS[2].call(y, v, b), want)
    assert want.is_contiguous()


# ---- attention -----------------------------------------------------------------------------------

Q, K, U = values(50, 2, 2, 3, 4), values(51, 2, 2, 5, 4), values(52, 2, 2, 5, 6)


def attention_by_parts(q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None = None, scale: float = 0.5) -> Tensor:
    """Two products in the format, and all else in float32."""
    scores = posit_mm(q * scale, k.mT, P)
    if blocked is not None:
        scores = scores.masked_fill(blocked, -torch.inf)
    return posit_mm(torch.softmax(scores, -1), v, P)


MASK = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 0]], dtype=torch.bool)
ATTENTIONS: dict[str, tuple[dict[str, Any], Callable[[], Tensor]]] = {
    "plain": ({}, lambda: attention_by_parts(Q, K, U)),
    "scale": ({"scale": 0.3}, lambda: attention_by_parts(Q, K, U, scale=0.3)),
    "bool mask": ({"attn_mask": ~MASK}, lambda: attention_by_parts(Q, K, U, MASK)),
    "float mask": (
        {"attn_mask": torch.zeros(3, 5).masked_fill(MASK, -torch.inf)},
        lambda: attention_by_parts(Q, K, U, MASK),
    ),
    "causal": ({"is_causal": True}, lambda: attention_by_parts(Q, K, U, ~torch.ones(3, 5, dtype=torch.bool).tril())),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention_is_its_products(name: str) -> None:
    knobs, parts = ATTENTIONS[name]
    for context in CONTEXTS.values():
        with intercept(P) as ctx, context():
            got = functional.scaled_dot_product_attention(Q, K, U, **knobs)
        assert_bit_equal(got, parts())
        assert ctx.counts == {"scaled_dot_product_attention": (1, 0)}
    native = functional.scaled_dot_product_attention(Q, K, U, **knobs)
    assert not torch.equal(got, native)
    assert torch.allclose(got, native, atol=0.3)


def test_grouped_queries_and_rows_without_keys() -> None:
    k, v = K[:, :1], U[:, :1]
    with intercept(P):
        grouped = functional.scaled_dot_product_attention(Q, k, v, enable_gqa=True)
        q = Q.clone().requires_grad_()
        nothing = functional.scaled_dot_product_attention(q, K, U, torch.zeros(3, 5, dtype=torch.bool))
    assert_bit_equal(grouped, attention_by_parts(Q, k.expand_as(K), v.expand_as(U)))
    assert not nothing.any(), "as torch: all masked gives 0"
    nothing.sum().backward()
    assert not q.grad.any()


def test_autocast_inside_does_not_widen_a_softmax() -> None:
    q, k, v = (x.bfloat16() for x in (Q, K, U))
    with intercept(P):
        want = functional.scaled_dot_product_attention(q, k, v)
        with torch.autocast("cpu", torch.bfloat16):
            got = functional.scaled_dot_product_attention(q, k, v)
    assert_bit_equal(got, want)


def test_dropout_drops_weights() -> None:
    k, v = torch.zeros(1, 1, 64, 2), torch.ones(1, 1, 64, 1)
    with intercept(posit16):
        y = functional.scaled_dot_product_attention(torch.ones(1, 1, 40, 2), k, v, dropout_p=0.5)
    assert 0.8 < y.mean() < 1.2
    assert y.unique().numel() > 5


def attention_layer(**knobs: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(8, 2, batch_first=True, **knobs)


X = values(53, 2, 3, 8)


def test_multi_head_attention_is_its_parts() -> None:
    layer = attention_layer()
    with intercept(P) as ctx, torch.no_grad():
        output, weights = layer(X, X, X)
    projected = posit_mm(X, layer.in_proj_weight.detach().mT, P, c=layer.in_proj_bias.detach())
    q, k, v = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in projected.chunk(3, -1))
    attended = attention_by_parts(q, k, v).transpose(1, 2).flatten(2)
    assert_bit_equal(output, posit_mm(attended, layer.out_proj.weight.detach().mT, P, c=layer.out_proj.bias.detach()))
    assert_bit_equal(weights, torch.softmax(posit_mm(q * 0.5, k.mT, P), -1).mean(1))
    assert set(ctx.counts) == {"linear", "matmul"}
    assert not any(native for _, native in ctx.counts.values())


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask is deprecated")
@pytest.mark.parametrize(
    "knobs",
    [{}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "vdim": 8}, {"bias": False}],
    ids=str,
)
def test_multi_head_attention_is_the_same_with_and_without_weights(knobs: dict[str, Any]) -> None:
    layer = attention_layer(**knobs)
    causal = torch.ones(3, 3, dtype=torch.bool).triu(1)
    padding = torch.tensor([[False, False, False], [False, False, True]])
    calls: list[dict[str, Any]] = [
        {},
        {"attn_mask": causal},
        {"attn_mask": causal, "is_causal": True},
        {"attn_mask": torch.zeros(3, 3).masked_fill(causal, -torch.inf), "key_padding_mask": padding},
        {"key_padding_mask": padding},
    ]
    for call in calls:
        with intercept(P):
            with_weights, weights = layer(X, X, X, average_attn_weights=False, **call)
            without, nothing = layer(X, X, X, need_weights=False, **call)
        native, native_weights = layer(X, X, X, average_attn_weights=False, **call)
        assert nothing is None
        if not call.get("is_causal") or not knobs.keys() & {"add_bias_kv", "add_zero_attn"}:
            assert_bit_equal(with_weights, without)  # else torch masks the key that it adds, without weights alone
        assert weights.shape == native_weights.shape
        assert torch.allclose(weights, native_weights, atol=0.1)
        assert torch.allclose(with_weights, native, atol=0.2)


def test_multi_head_attention_without_a_batch() -> None:
    layer = attention_layer()
    with intercept(P):
        batched, weights = layer(X[:1], X[:1], X[:1])
        single, single_weights = layer(X[0], X[0], X[0])
        with pytest.raises(RuntimeError, match="attn_mask"):
            layer(X, X, X, is_causal=True)
    assert_bit_equal(single, batched[0])
    assert_bit_equal(single_weights, weights[0])


def encoder(layers: int = 1) -> nn.TransformerEncoder:
    torch.manual_seed(1)
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), layers)


PADDING = torch.tensor([[False, False, False], [False, False, True]])


def test_torchs_native_encoder_layer_does_not_work_around() -> None:
    """In evaluation torch would run whole layers in C++: the bits are those of training, without dropout."""
    model = encoder()
    with intercept(P) as ctx:
        want = model(X, src_key_padding_mask=PADDING)
    for context in (nullcontext, torch.no_grad, torch.inference_mode):
        model.eval()
        with intercept(P) as again, context():
            assert_bit_equal(model(X, src_key_padding_mask=PADDING).detach(), want.detach())
        assert again.counts == ctx.counts == {"linear": (4, 0), "scaled_dot_product_attention": (1, 0)}


def test_torchs_native_functions_are_refused() -> None:
    layer = attention_layer().eval()
    operands = (layer.in_proj_weight, layer.in_proj_bias, layer.out_proj.weight, layer.out_proj.bias)
    with torch.no_grad(), intercept(P), pytest.raises(UncoveredError) as caught:
        torch._native_multi_head_attention(X, X, X, 8, 2, *operands)
    assert caught.value.op == "_native_multi_head_attention"
    block = encoder().layers[0]
    fields = [*operands, True, False, 1e-5, *(x for m in (block.norm1, block.norm2) for x in (m.weight, m.bias))]
    fields += [x for m in (block.linear1, block.linear2) for x in (m.weight, m.bias)]
    with torch.no_grad(), intercept(P), pytest.raises(UncoveredError) as caught:
        torch._transformer_encoder_layer_fwd(X, 8, 2, *fields)
    assert caught.value.op == "_transformer_encoder_layer_fwd"


# ---- specs/posit-gemm.md 4.1: what CuPosit intercepts, misses, crashes on -------------------------


def _out(a: Tensor, b: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.mm(a.detach(), b.detach(), out=torch.empty(len(a), b.shape[-1]))


def _in_inference(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.inference_mode():
            return call()

    return run


def _autocast(call: Callable[[], object]) -> Callable[[], object]:
    def run() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return call()

    return run


M, IMAGE, KERNEL = values(60, 4, 4), values(61, 1, 4, 4, 4), values(62, 4, 4, 2, 2)
LINEAR = nn.Linear(4, 3)

#: call -> what runs it; None where it raises, with the operation that the error names
TABLE: dict[str, tuple[Callable[[], object], dict[str, int] | str]] = {
    "mm": (lambda: torch.mm(M, M), {"mm": 1}),
    "1D@2D": (lambda: M[0] @ M, {"matmul": 1}),
    "3D@2D": (lambda: M[None] @ M, {"matmul": 1}),
    "tensordot": (lambda: torch.tensordot(M, M, 1), {"tensordot": 1}),
    "multi_dot": (lambda: torch.linalg.multi_dot([M, M, M]), "linalg_multi_dot"),
    "addmm": (lambda: torch.addmm(M, M, M), {"addmm": 1}),
    "linear 2-D with bias": (lambda: LINEAR(M), {"linear": 1}),
    "linear 3-D with bias": (lambda: LINEAR(M[None]), {"linear": 1}),
    "linear, input not contiguous": (lambda: LINEAR(M.T[None]), {"linear": 1}),
    "linear without bias": (lambda: functional.linear(M, M), {"linear": 1}),
    "conv2d": (lambda: functional.conv2d(IMAGE, KERNEL), {"conv2d": 1}),
    "conv2d unbatched": (lambda: functional.conv2d(IMAGE[0], KERNEL), {"conv2d": 1}),
    "conv2d dilation": (lambda: functional.conv2d(IMAGE, KERNEL, dilation=2), {"conv2d": 1}),
    "conv2d same": (lambda: functional.conv2d(IMAGE, KERNEL, padding="same"), {"conv2d": 1}),
    "bmm": (lambda: torch.bmm(M[None], M[None]), {"bmm": 1}),
    "3D@3D": (lambda: M[None] @ M[None], {"matmul": 1}),
    "einsum": (lambda: torch.einsum("ij,jk->ik", M, M), {"einsum": 1}),
    "MultiheadAttention": (lambda: attention_layer()(X, X, X), {"linear": 2, "matmul": 2}),
    "baddbmm": (lambda: torch.baddbmm(M[None], M[None], M[None]), {"baddbmm": 1}),
    "mv (2D@1D)": (lambda: M @ M[0], {"matmul": 1}),
    "dot": (lambda: M[0].dot(M[1]), {"dot": 1}),
    "mm(out=)": (lambda: _out(M, M), "mm"),
    "SDPA": (lambda: functional.scaled_dot_product_attention(Q, K, U), {"scaled_dot_product_attention": 1}),
    "bilinear": (lambda: functional.bilinear(M, M, KERNEL[:, :, 0, 0].expand(2, 4, 4)), "bilinear"),
    "cdist": (lambda: torch.cdist(M, M), "cdist"),
    "LSTM": (lambda: nn.LSTM(4, 3)(M), "lstm"),
    "inference_mode: linear": (_in_inference(lambda: LINEAR(M)), {"linear": 1}),
    "inference_mode: conv2d": (_in_inference(lambda: functional.conv2d(IMAGE, KERNEL)), {"conv2d": 1}),
    "inference_mode: matmul": (_in_inference(lambda: M @ M), {"matmul": 1}),
    "conv1d": (lambda: functional.conv1d(IMAGE[0], KERNEL[..., 0]), {"conv1d": 1}),
    "conv3d": (lambda: functional.conv3d(IMAGE[None], KERNEL[:, :1, None]), {"conv3d": 1}),
    "grouped conv": (lambda: functional.conv2d(IMAGE, KERNEL[:, :2], groups=2), {"conv2d": 1}),
    "depthwise conv": (lambda: functional.conv2d(IMAGE, KERNEL[:, :1], groups=4), {"conv2d": 1}),
    "transposed conv": (lambda: functional.conv_transpose2d(IMAGE, KERNEL), {"conv_transpose2d": 1}),
    "channels_last weight": (
        lambda: functional.conv2d(IMAGE, KERNEL.to(memory_format=torch.channels_last)),
        {"conv2d": 1},
    ),
    "bf16 input": (lambda: M.bfloat16() @ M.bfloat16(), {"matmul": 1}),
    "autocast": (_autocast(lambda: LINEAR(M)), {"linear": 1}),
}


@pytest.mark.parametrize("row", TABLE)
def test_the_interception_table(row: str) -> None:
    call, outcome = TABLE[row]
    if isinstance(outcome, str):
        with intercept(P), pytest.raises(UncoveredError) as caught:
            call()
        assert caught.value.op == outcome
        with intercept(P, uncovered="report") as ctx:
            result = call()
        assert ctx.counts == {outcome: (0, 1)}
        assert bits_of(result) == bits_of(_again(call)), "left to torch"
        return
    with intercept(P) as ctx:
        result = call()
    assert ctx.counts == {name: (count, 0) for name, count in outcome.items()}
    if row != "MultiheadAttention":
        assert not torch.equal(result, call()), "in the format the result is another one"  # type: ignore[arg-type]


def _again(call: Callable[[], object]) -> object:
    torch.manual_seed(3)
    return call()


def bits_of(result: object) -> object:
    return result.shape if isinstance(result, Tensor) else type(result)


def test_the_format_is_the_one_that_was_asked_for() -> None:
    """CuPosit runs (28, 2), whatever it is asked for."""
    results = []
    for fmt in (P, posit16, Posit(28), Posit(8, 1)):
        with intercept(fmt):
            results.append(torch.mm(A, B))
        assert_bit_equal(results[-1], posit_mm(A, B, fmt))
    assert not any(torch.equal(x, y) for x, y in itertools.combinations(results, 2))


def test_another_thread_is_not_covered_and_not_counted() -> None:
    results: list[Tensor] = []
    with intercept(P) as ctx:
        worker = threading.Thread(target=lambda: results.append(torch.mm(A, B)))
        worker.start()
        worker.join()
        assert not ctx.counts
        torch.mm(A, B)
    assert_bit_equal(results[0], torch.mm(A, B))
    assert ctx.counts == {"mm": (1, 0)}


def test_threads_have_their_own_formats() -> None:
    gate, results = threading.Barrier(3), {}

    def work(fmt: Posit) -> None:
        with intercept(fmt) as ctx:
            gate.wait(10)
            for _ in range(5):
                results[fmt] = torch.mm(A, B)
            gate.wait(10)
        assert ctx.counts == {"mm": (5, 0)}

    formats = (P, posit16, Posit(12))
    workers = [threading.Thread(target=work, args=(fmt,)) for fmt in formats]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for fmt in formats:
        assert_bit_equal(results[fmt], posit_mm(A, B, fmt))


def test_the_innermost_context_computes_once() -> None:
    with intercept(P) as outer:
        with intercept(posit16) as inner:
            y = torch.mm(A, B)
            with pytest.raises(UncoveredError):
                torch.cdist(A, A)
        with intercept(P, uncovered="report") as lenient:
            torch.cdist(A, A)
            nn.LSTM(5, 2)(A)
        z = torch.mm(A, B)
    assert_bit_equal(y, posit_mm(A, B, posit16))
    assert_bit_equal(z, posit_mm(A, B, P))
    assert (outer.counts, inner.counts) == ({"mm": (1, 0)}, {"mm": (1, 0)})
    assert lenient.counts == {"cdist": (0, 1), "lstm": (0, 1)}


def test_an_exception_restores() -> None:
    with pytest.raises(KeyError), intercept(P), intercept(posit16):
        raise KeyError
    with pytest.raises(RuntimeError, match=r"reduction dim|shapes"), intercept(P) as ctx:
        torch.mm(A, A)
    assert not ctx.counts
    assert_bit_equal(torch.mm(A, B), A @ B)
    with intercept(P) as ctx:
        with pytest.raises(RuntimeError):
            torch.mm(A, A)
        assert_bit_equal(torch.mm(A, B), posit_mm(A, B, P))


def test_a_context_can_be_entered_again() -> None:
    ctx = intercept(P)
    for _ in range(2):
        with ctx:
            torch.mm(A, B)
    with ctx, ctx:
        torch.mm(A, B)
    assert ctx.counts == {"mm": (3, 0)}


# ---- autograd and the place of backward ----------------------------------------------------------


def network() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4, stride=2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


def gradients(model: nn.Module) -> list[Tensor]:
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


PASSES: dict[str, Callable[[Tensor, nn.Module], None]] = {
    "Tensor.backward": lambda loss, model: loss.backward(),
    "autograd.backward": lambda loss, model: torch.autograd.backward(loss),
    "autograd.grad": lambda loss, model: _store(torch.autograd.grad(loss, list(model.parameters())), model),
}


def _store(found: Sequence[Tensor], model: nn.Module) -> None:
    for parameter, grad in zip(model.parameters(), found, strict=True):
        parameter.grad = grad


@pytest.mark.parametrize("backward", ["float32", "format"])
@pytest.mark.parametrize("way", PASSES)
def test_the_place_of_backward_does_not_matter(backward: str, way: str) -> None:
    model, x = network(), values(70, 2, 1, 6, 6)
    with intercept(P, backward=backward) as ctx:
        loss = model(x).square().sum()
        PASSES[way](loss, model)
    within = gradients(model)
    with intercept(P, backward=backward):
        loss = model(x).square().sum()
    PASSES[way](loss, model)
    outside = gradients(model)
    with intercept(posit16):
        PASSES[way](_loss_under(model, x, backward), model)
    elsewhere = gradients(model)
    assert len(within) == len(list(model.parameters()))
    for one, other, third in zip(within, outside, elsewhere, strict=True):
        assert_bit_equal(one, other)
        assert_bit_equal(one, third)
    assert ctx.counts == {"conv2d": (2, 0), "linear": (1, 0)}


def _loss_under(model: nn.Module, x: Tensor, backward: str) -> Tensor:
    with intercept(P, backward=backward):
        return model(x).square().sum()


def test_the_two_policies_differ() -> None:
    model, x = network(), values(70, 2, 1, 6, 6)
    found = []
    for backward in ("float32", "format"):
        _loss_under(model, x, backward).backward()
        found.append(gradients(model))
    assert not any(torch.equal(a, b) for a, b in zip(*found, strict=True) if a.dim() > 1)
    assert all(torch.equal(quantize(g, P), g) for g in (found[1][-2], found[1][-1]))


def test_a_graph_from_outside_keeps_its_products() -> None:
    w = B.clone().requires_grad_()
    (want,) = torch.autograd.grad((A @ w).square().sum(), w)
    loss, own = (A @ w).square().sum(), posit_mm(A, w, posit16).sum()
    with intercept(P) as ctx:
        (got,) = torch.autograd.grad(loss, w)
        (of_posit_mm,) = torch.autograd.grad(own, w)
        (inside,) = torch.autograd.grad(posit_mm(A, w, posit16).sum(), w)
    assert_bit_equal(got, want)
    assert_bit_equal(of_posit_mm, torch.autograd.grad(posit_mm(A, w, posit16).sum(), w)[0])
    assert_bit_equal(inside, of_posit_mm)
    assert ctx.counts == {"mm in backward": (0, 1)}, "posit_mm's own products are documented, not counted"


def test_posit_mm_is_itself_under_other_modes() -> None:
    w = B.clone().requires_grad_()
    with intercept(P), torch.device("cpu"):
        (inside,) = torch.autograd.grad(posit_mm(A, w, posit16).sum(), w)
    assert_bit_equal(inside, torch.autograd.grad(posit_mm(A, w, posit16).sum(), w)[0])


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_computes_again_in_the_format(reentrant: bool) -> None:
    """torch runs the forward pass again during backward(): those products are not a derivative's."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))
    x = A.clone().requires_grad_()
    with intercept(P):
        model(x).square().sum().backward()
        want = gradients(model)
        checkpoint(model, x, use_reentrant=reentrant).square().sum().backward()
    for one, other in zip(gradients(model), want, strict=True):
        assert_bit_equal(one, other)


@pytest.mark.parametrize("backward", ["float32", "format"])
def test_second_derivatives(backward: str) -> None:
    """On integers that every format here holds, the derivatives are torch's."""
    w, x, k = whole(71, 5, 4), whole(72, 1, 2, 4, 4), whole(73, 2, 2, 2, 2)

    def twice(w: Tensor, k: Tensor) -> list[Tensor]:
        loss = (whole(74, 3, 5) @ w).pow(2).sum() + functional.conv2d(x, k, stride=2, padding=1).pow(2).sum()
        first = torch.autograd.grad(loss, (w, k), create_graph=True)
        return list(torch.autograd.grad(sum(g.sum() for g in first), (w, k)))

    want = twice(w.clone().requires_grad_(), k.clone().requires_grad_())
    with intercept(Posit(28), backward=backward):
        got = twice(w.clone().requires_grad_(), k.clone().requires_grad_())
    for one, other in zip(got, want, strict=True):
        assert_bit_equal(one, other)


# ---- what is not covered -------------------------------------------------------------------------

EYE = torch.eye(3)
UNCOVERED: dict[str, tuple[Callable[[], object], str, str]] = {
    "out=": (lambda: _out(A, B), "mm", "out="),
    "in place": (lambda: C.clone().addmm_(A, B), "addmm_", "out of reach"),
    "alpha": (lambda: torch.addmm(C, A, B, alpha=2), "addmm", "alpha=2"),
    "beta": (lambda: torch.baddbmm(BC, BA, BB, beta=0.5), "baddbmm", "beta=0.5"),
    "complex": (lambda: EYE.to(torch.complex64) @ EYE.to(torch.complex64), "matmul", "complex64"),
    "float8": (lambda: torch.mm(EYE.to(torch.float8_e4m3fn), EYE.to(torch.float8_e4m3fn)), "mm", "float8_e4m3fn"),
    "sparse": (lambda: EYE.to_sparse() @ EYE, "matmul", "sparse_coo"),
    "torch.sparse": (lambda: torch.sparse.mm(EYE.to_sparse(), EYE), "_sparse_mm", "out of reach"),
    "nested": (
        lambda: functional.linear(torch.nested.nested_tensor([EYE, EYE], layout=torch.jagged), EYE),
        "linear",
        "NestedTensor",
    ),
    "RNN": (lambda: nn.RNN(5, 2)(A), "rnn_tanh", "out of reach"),
    "GRU": (lambda: nn.GRU(5, 2)(A), "gru", "out of reach"),
    "LSTMCell": (lambda: nn.LSTMCell(5, 2)(A), "lstm_cell", "out of reach"),
    "GRUCell": (lambda: nn.GRUCell(5, 2)(A), "gru_cell", "out of reach"),
    "chain_matmul": (lambda: torch.chain_matmul(EYE, EYE, EYE), "chain_matmul", "out of reach"),
    "conv_tbc": (lambda: torch.conv_tbc(BA, BB[:, :, :1].expand(2, 5, 3), C[0, :3]), "conv_tbc", "out of reach"),
    "a product inside": (lambda: torch.cov(A), "mm", "out of reach"),
    "a product inside, inference": (_in_inference(lambda: torch.cov(A)), "mm", "out of reach"),
    "matrix_power": (lambda: torch.linalg.matrix_power(EYE, 3), "mm", "out of reach"),
    "matrix_exp": (lambda: torch.linalg.matrix_exp(EYE), "linalg_matrix_exp", "out of reach"),
    "pinv": (lambda: torch.linalg.pinv(EYE), "linalg_pinv", "out of reach"),
    "forward mode": (lambda: torch.func.jvp(lambda x: x @ B, (A,), (A,))[1], "matmul", "a dual tensor"),
    "another overload": (lambda: torch.ops.aten.mm.out(A, B, out=torch.empty(3, 4)), "mm", "out of reach"),
    "activation": (lambda: torch._addmm_activation(C[0], A, B), "_addmm_activation", "out of reach"),
    "another library": (
        lambda: torch.ops.mkldnn._linear_pointwise(A, B.T.contiguous(), None, "none", [], ""),
        "_linear_pointwise",
        "out of reach",
    ),
}


@pytest.mark.parametrize("name", UNCOVERED)
def test_what_is_not_covered_raises_by_name(name: str) -> None:
    call, op, reason = UNCOVERED[name]
    with intercept(P) as ctx, pytest.raises(UncoveredError) as caught:
        call()
    error = caught.value
    assert (error.op, reason in error.reason) == (op, True), (error.op, error.reason)
    assert str(error).startswith(f"nn.intercept does not cover {op}: {error.reason}. ")
    assert "Covered are the operations that its documentation lists." in str(error)
    assert str(error).endswith("Write it with them, call it outside of the context, or choose uncovered='report'.")
    assert error.__context__ is None
    assert not ctx.counts


REPORTED = [name for name in UNCOVERED if name != "float8"]  # torch has no such product itself


@pytest.mark.filterwarnings("ignore:torch.chain_matmul is deprecated")
@pytest.mark.parametrize("name", REPORTED)
def test_what_is_not_covered_can_be_listed(name: str) -> None:
    call, op, _ = UNCOVERED[name]
    with intercept(P, uncovered="report") as ctx:
        got = _again(call)
    want = _again(call)
    assert sum(native for _, native in ctx.counts.values()) >= 1
    assert ctx.counts[op].handled == 0
    if isinstance(got, Tensor) and got.layout == torch.strided:
        assert torch.equal(got, want)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_a_scripted_module_is_refused() -> None:
    """TorchScript's interpreter loses the type and the text of errors; the context brings them back."""
    traced = torch.jit.trace(LINEAR, M)
    with pytest.raises(UncoveredError, match=r"^nn.intercept does not cover addmm: ") as caught, intercept(P):
        traced(M)
    assert isinstance(caught.value.__cause__, RuntimeError)
    with intercept(P, uncovered="report") as ctx:
        got = traced(M)
    assert_bit_equal(got.detach(), LINEAR(M).detach())
    assert ctx.counts == {"addmm": (0, 1)}


seen: list[str] = []


class Own(Tensor):
    """A tensor that wants to see calls."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        seen.append(func.__name__)
        return "own" if func is torch.mm else super().__torch_function__(func, types, args, kwargs or {})


class Derived(Tensor):
    """A tensor that does not."""


def test_tensor_subclasses() -> None:
    with intercept(P), pytest.raises(UncoveredError, match="an operand is a Own, which has its own way"):
        torch.mm(A.as_subclass(Own), B)
    with intercept(P, uncovered="report") as ctx:
        assert torch.mm(A.as_subclass(Own), B) == "own"  # type: ignore[comparison-overlap]
    assert ctx.counts == {"mm": (0, 1)}
    with intercept(P):
        seen.clear()
        A.as_subclass(Own).requires_grad_().sum().backward()
    assert "backward" in seen
    with intercept(P):
        for a in (A.as_subclass(Derived), nn.Parameter(A), nn.Buffer(A)):
            assert_bit_equal(torch.mm(a, B).detach().as_subclass(Tensor), posit_mm(A, B, P))
            loss = torch.einsum("ij,jk->", a, B.clone().requires_grad_())
            loss.backward()


def test_a_compiled_model_is_covered() -> None:
    """Also one that was compiled before: torch compiles again for the modes that it finds."""
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).requires_grad_(False)
    compiled = torch.compile(model, backend="eager")
    native = compiled(M)
    with intercept(P) as ctx:
        want, got = model(M), compiled(M)
    assert_bit_equal(got, want)
    assert_bit_equal(compiled(M), native)
    assert ctx.counts == {"linear": (4, 0)}


@pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching rule")
def test_a_mapped_function_is_covered() -> None:
    with intercept(P):
        got = torch.vmap(functional.linear)(BA, BB.mT)
    assert_bit_equal(got, by_loops("bmk,bkn->bmn", BA, BB))


NO_PRODUCTS: dict[str, Callable[[], object]] = {
    "integers": lambda: torch.ones(2, 2, dtype=torch.int64) @ torch.ones(2, 2, dtype=torch.int64),
    "small integers": lambda: torch.einsum("i,i->", torch.ones(3, dtype=torch.int8), torch.ones(3, dtype=torch.int8)),
    "lgamma": lambda: torch.lgamma(A),
    "polygamma": lambda: torch.polygamma(1, A),
    "cummax": lambda: torch.cummax(A, 0),
    "hamming": lambda: torch.hamming_window(4),
    "bilinear interpolation": lambda: functional.interpolate(IMAGE, scale_factor=2, mode="bilinear"),
    "inference interpolation": _in_inference(lambda: functional.interpolate(IMAGE, scale_factor=2, mode="bilinear")),
    "elementwise": lambda: torch.outer(V, W),
    "decompositions": lambda: torch.linalg.svd(A),
    "one operand": lambda: torch.einsum("ij->ji", A),
}


@pytest.mark.parametrize("name", NO_PRODUCTS)
def test_what_has_no_products_to_round_is_left_alone(name: str) -> None:
    with intercept(P) as ctx:
        got = NO_PRODUCTS[name]()
    want = NO_PRODUCTS[name]()
    assert not ctx.counts
    first = [x[0] if isinstance(x, tuple) else x for x in (got, want)]
    assert torch.equal(*first)


FALSE_HITS = set(
    """
    lgamma digamma polygamma mvlgamma igamma igammac gammaln gammainc gammaincc multigammaln standard_gamma
    standard_gamma_grad cummax cummin cummax_helper cummin_helper cummaxmin_backward hamming_window
    nested_get_jagged_dummy convert_indices_from_coo_to_csr convert_indices_from_csr_to_coo convert_weight_to_int4pack
    convert_weight_to_int4pack_for_cpu convert_element_type cudnn_rnn_flatten_weight use_cudnn_rnn_flatten_weight
    upsample_linear1d upsample_linear1d_backward upsample_bilinear2d upsample_bilinear2d_backward
    upsample_bilinear2d_aa upsample_bilinear2d_aa_backward upsample_trilinear3d upsample_trilinear3d_backward
    """.split()
)


def test_the_words_find_every_product_of_torch() -> None:
    """Of all operations, those with one of the words; the false hits, in full."""
    names = {name.partition("::")[2].partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    hits = {name for name in names if any(word in name for word in KEYWORDS)}
    spared = {name for name in hits if not has_products(name)}
    assert COVERED.keys() - {"inner"} <= hits - spared
    assert {name.strip("_").removeprefix("special_").removeprefix("foreach_") for name in spared} == FALSE_HITS


# ---- formats and dtypes --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_model_keeps_its_dtype(dtype: torch.dtype) -> None:
    model, x = network().to(dtype), values(80, 1, 1, 6, 6).to(dtype)
    with intercept(P), torch.no_grad():
        y = model(x)
        assert model[5](x.flatten()[:16]).dtype == dtype
    assert y.dtype == dtype
    layer = nn.Linear(5, 3, dtype=dtype)
    with intercept(P), torch.no_grad():
        assert_bit_equal(layer(A.to(dtype)), posit_mm(A.to(dtype), layer.weight.mT, P, c=layer.bias).detach())


HELD: dict[str, tuple[Posit, torch.dtype, str]] = {
    "posit32 in float32": (posit32, torch.float32, "Use model.double() and inputs of that dtype."),
    "posit8 in float16": (P, torch.float16, "Use model.bfloat16() or model.float() or model.double()"),
    "posit64 in float64": (posit64, torch.float64, "No dtype does. Choose a narrower format."),
}


@pytest.mark.parametrize("name", HELD)
def test_a_dtype_that_does_not_hold_the_format(name: str) -> None:
    fmt, dtype, remedy = HELD[name]
    for uncovered in ("raise", "report"):
        with intercept(fmt, uncovered=uncovered) as ctx, pytest.raises(FormatError) as caught:
            LINEAR.to(dtype)(M.to(dtype))
        LINEAR.to(F32)
        message = str(caught.value)
        assert message.startswith(f"nn.intercept cannot run linear in {fmt} on {dtype} tensors, which do not hold all")
        assert f"({fmt.significand_bits} significant bits, scales up to 2**{fmt.max_scale})" in message
        assert remedy in message
        assert not ctx.counts


@pytest.mark.parametrize(
    "call",
    [
        lambda: A @ B.double(),
        lambda: torch.mm(A, B.double()),
        lambda: functional.linear(A, B.T.bfloat16()),
        lambda: A @ B.int(),
        lambda: functional.conv2d(IMAGE, KERNEL.double()),
    ],
)
def test_mixed_dtypes_are_refused_in_torchs_words(call: Callable[[], object]) -> None:
    messages = []
    for context in (nullcontext(), intercept(P)):
        with context, pytest.raises(RuntimeError) as caught:
            call()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_special_values() -> None:
    a = A.clone()
    a[0, 0], a[1, 0] = torch.nan, torch.inf
    with intercept(P):
        y = a @ torch.zeros(5, 2)
    assert y[:2].isnan().all()
    assert not y[2].any()


def test_nothing_to_do() -> None:
    with intercept(P):
        assert (torch.zeros(0, 3) @ torch.zeros(3, 2)).shape == (0, 2)
        assert torch.equal(torch.zeros(2, 0) @ torch.zeros(0, 3), torch.zeros(2, 3))
        assert_bit_equal(
            functional.linear(torch.zeros(2, 0), torch.zeros(3, 0), V[:3]), quantize(V[:3], P).expand(2, 3)
        )
        assert functional.conv1d(torch.zeros(0, 2, 5), torch.zeros(3, 2, 2)).shape == (0, 3, 4)


def test_tensors_without_data() -> None:
    with intercept(P):
        y = nn.Linear(5, 3, device="meta")(torch.empty(2, 5, device="meta"))
    assert (y.shape, y.device.type) == ((2, 3), "meta")


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "quire"])
def test_the_other_modes(mode: str) -> None:
    """A bias goes where posit_mm puts it; alpha and beta with cuposit alone."""
    knobs = {"alpha": 1.0, "beta": 1.0} if mode == "cuposit" else {}
    layer = nn.Linear(5, 3)
    with intercept(P, mode=mode) as ctx, torch.no_grad():
        biased, plain = layer(A), torch.mm(A, B)
        image = functional.conv2d(IMAGE, KERNEL, padding=1)
    assert_bit_equal(plain, posit_mm(A, B, P, mode=mode))
    assert_bit_equal(biased, posit_mm(A, layer.weight.detach().mT, P, mode=mode, c=layer.bias.detach(), **knobs))
    columns = functional.unfold(IMAGE, 2, padding=1)
    assert_bit_equal(image.flatten(2), posit_mm(KERNEL.flatten(1), columns, P, mode=mode))
    assert sum(count.handled for count in ctx.counts.values()) == 3
    if mode in ("products", "cuposit"):
        words = (
            rf"cannot run matmul in mode {mode} on torch\.float64 tensors: its sums are float32\. Use model\.float\(\)"
        )
        with intercept(P, mode=mode), pytest.raises(FormatError, match=words):
            A.double() @ B.double()
    if mode == "cuposit":
        with intercept(P, mode=mode):
            got = torch.addmm(C, A, B, alpha=0.5, beta=-2)
        assert_bit_equal(got, posit_mm(A, B, P, mode=mode, c=C, alpha=0.5, beta=-2.0))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backward", ["float32", "format"])
def test_every_mode_trains(mode: str, backward: str) -> None:
    """The gradients point where float32's do."""
    model, x = network(), values(70, 2, 1, 6, 6)
    with intercept(posit16, mode=mode, backward=backward) as ctx:
        model(x).square().sum().backward()
    got = torch.cat([g.flatten() for g in gradients(model)])
    model(x).square().sum().backward()
    want = torch.cat([g.flatten() for g in gradients(model)])
    assert (got - want).norm() < 0.02 * want.norm()
    assert not torch.equal(got, want)
    assert ctx.counts == {"conv2d": (2, 0), "linear": (1, 0)}


# ---- the context's own words ---------------------------------------------------------------------

ARGUMENTS: dict[str, tuple[Callable[[], object], type[RefnumError], str]] = {
    "fmt": (lambda: intercept("posit16"), FormatError, "nn.intercept needs a posit format, got 'posit16'. Pass Posit"),
    "minifloat": (lambda: intercept(e4m3), FormatError, "nn.intercept needs a posit format, got Minifloat"),
    "mode": (
        lambda: intercept(P, mode="exact"),
        ContractError,
        "nn.intercept has no mode='exact'. Choose one of quire",
    ),
    "uncovered": (
        lambda: intercept(P, uncovered="warn"),
        ContractError,
        "nn.intercept has no uncovered='warn'. Choose one of raise, report.",
    ),
    "backward": (
        lambda: intercept(P, backward="posit"),
        ContractError,
        "nn.intercept has no backward='posit'. Choose one of float32, format.",
    ),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_bad_arguments_are_refused_at_once(name: str) -> None:
    call, error, words = ARGUMENTS[name]
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).startswith(words)


def test_the_report() -> None:
    with intercept(P, uncovered="report") as ctx:
        torch.mm(A, B)
        torch.mm(A, B)
        torch.cdist(A, A)
    assert isinstance(ctx, Interception)
    assert ctx.counts == {"mm": Count(handled=2, native=0), "cdist": Count(handled=0, native=1)}
    assert str(ctx) == ctx.report()
    assert ctx.report().splitlines() == [
        "posit8, mode quire, backward float32",
        "operation  in format  native",
        "mm                 2       0",
        "cdist              0       1",
    ]
    ctx.counts.clear()
    assert ctx.counts


def test_autocast_is_off_inside_and_comes_back() -> None:
    layer = nn.Linear(5, 3)
    with torch.autocast("cpu", torch.bfloat16):
        with intercept(P):
            assert not torch.is_autocast_enabled("cpu")
            y = layer(A)
        assert torch.is_autocast_enabled("cpu")
    assert_bit_equal(y.detach(), posit_mm(A, layer.weight.mT, P, c=layer.bias).detach())


# ---- plans ---------------------------------------------------------------------------------------


class Model(nn.Module):
    """Layers of all kinds, by name."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
        self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.first(x), output_size=[4, 4]).flatten(1, 2)
        y = self.block(y)
        y, _ = self.attention(y, y, value=y)
        return self.head(y)


SMALL = values(90, 2, 1, 2, 2)


def planned(model: nn.Module) -> dict[str, Plan]:
    return {name: module.plan for name, module in model.named_modules() if hasattr(module, "plan")}  # type: ignore[misc]


def test_a_plan_for_each_key() -> None:
    a, b, c, d, e = (Plan(weight=Posit(n)) for n in (8, 9, 10, 11, 12))
    model = convert(
        Model(), {"_default": a, nn.Linear: b, "re:block.*": c, "block.0": d, nn.MultiheadAttention: e, nn.Module: a}
    )
    assert planned(model) == {"first": a, "up": a, "block.0": d, "block.2": c, "attention": e, "head": b}
    assert planned(convert(Model(), {"head": a})) == {"head": a}
    assert planned(convert(Model(), {"re:h.*d": a, "re:.*d": b})) == {"head": a}, "the first pattern wins"


def test_a_linear_layer_by_hand() -> None:
    layer, plan = nn.Linear(5, 3), Plan(weight=P, input=Posit(10), product=posit16)
    model = convert(layer, {"_default": plan})
    got = model(A)
    want = posit_mm(quantize(A, Posit(10)), quantize(layer.weight, P).mT, posit16, c=layer.bias)
    assert_bit_equal(got.detach(), want.detach())
    upstream = values(91, 3, 3)
    got.backward(upstream)
    want.backward(upstream)
    assert_bit_equal(model.weight.grad, layer.weight.grad)
    assert_bit_equal(model.bias.grad, layer.bias.grad)


@pytest.mark.parametrize("plan", [Plan(), Plan(weight=P), Plan(input=P), Plan(weight=e4m3, input=P)], ids=str)
def test_operands_alone(plan: Plan) -> None:
    """Without a product torch multiplies, what was rounded."""
    layer = nn.Conv1d(2, 3, 2)
    x = values(92, 1, 2, 6)
    weight = layer.weight if plan.weight is None else quantize(layer.weight, plan.weight)
    want = functional.conv1d(x if plan.input is None else quantize(x, plan.input), weight, layer.bias)
    assert_bit_equal(convert(layer, {nn.Conv1d: plan})(x).detach(), want.detach())


def test_a_whole_model() -> None:
    model = Model()
    converted = convert(model, {"_default": Plan(product=posit16)})
    with intercept(posit16), torch.no_grad():
        want = model(SMALL)
    assert_bit_equal(converted(SMALL).detach(), want)
    with torch.inference_mode():
        assert_bit_equal(converted(SMALL), want)
    with intercept(P) as ctx:
        assert_bit_equal(converted(SMALL).detach(), want), "the innermost computes"
    assert not ctx.counts
    by_contract = convert(model, {"_default": Plan(weight=P, input=P, product="posit_quire/v1")})
    by_format = convert(model, {"_default": Plan(weight=P, input=P, product=P)})
    assert_bit_equal(by_contract(SMALL).detach(), by_format(SMALL).detach())


def test_rounded_operands_change_an_attention() -> None:
    model = Model().attention
    x = values(93, 2, 3, 4)
    got, _ = convert(model, {"": Plan(weight=P, input=P)})(x, x, x)
    rounded = copy.deepcopy(model)
    with torch.no_grad():
        rounded.in_proj_weight.copy_(quantize(model.in_proj_weight, P))
        rounded.out_proj.weight.copy_(quantize(model.out_proj.weight, P))
    assert_bit_equal(got.detach(), rounded(*[quantize(x, P)] * 3)[0].detach())
    with intercept(posit16) as ctx:
        convert(model, {"": Plan(input=P)})(x, x, x)
    assert ctx.counts["linear"] == (2, 0), "three equal operands stay one, and are projected at once"


def test_the_model_itself_is_left_alone() -> None:
    model = Model()
    before, state = model(SMALL), {name: x.clone() for name, x in model.state_dict().items()}
    converted = convert(model, {"_default": Plan(weight=P, input=P, product=P)})
    assert_bit_equal(model(SMALL).detach(), before.detach())
    assert not planned(model)
    assert converted.state_dict().keys() == state.keys()
    assert all(torch.equal(x, state[name]) for name, x in converted.state_dict().items())
    assert isinstance(converted.head, nn.Linear)
    assert {p.data_ptr() for p in model.parameters()}.isdisjoint(p.data_ptr() for p in converted.parameters())
    assert "plan=Plan(weight=Posit(n=8, es=2)" in repr(converted)


def test_copies_and_files_keep_the_plans() -> None:
    converted = convert(Model(), {"_default": Plan(weight=P, input=P, product=P)})
    want, file = converted(SMALL), io.BytesIO()
    torch.save(converted, file)
    file.seek(0)
    for other in (copy.deepcopy(converted), torch.load(file, weights_only=False)):
        assert planned(other) == planned(converted)
        assert_bit_equal(other(SMALL).detach(), want.detach())
        with torch.no_grad():
            other.head.bias.add_(1)
    assert_bit_equal(converted(SMALL).detach(), want.detach())


def test_a_new_plan_takes_the_place_of_an_old_one() -> None:
    layer = nn.Linear(5, 3)
    old = convert(layer, {"": Plan(weight=P, input=P, product=P)})
    new = convert(old, {"": Plan(product=posit16)})
    assert planned(old) == {"": Plan(weight=P, input=P, product=P)}
    assert_bit_equal(new(A).detach(), convert(layer, {"": Plan(product=posit16)})(A).detach())


def test_quantization_aware_training_learns() -> None:
    torch.manual_seed(6)
    x = values(94, 64, 3)
    target = (x[:, :1] - 2 * x[:, 1:2] > 0).float()
    model = convert(
        nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)), {"_default": Plan(weight=P, input=P, product=P)}
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    assert not torch.equal(model[0].weight, quantize(model[0].weight, P)), "the masters are floats"


def test_a_converted_encoder_in_evaluation() -> None:
    """torch's native layers would go around the plans."""
    model = convert(encoder(2), {"_default": Plan(weight=P, input=P, product=P)})
    want = model(X, src_key_padding_mask=PADDING)
    model.eval()
    for context in (nullcontext, torch.no_grad, torch.inference_mode):
        with context():
            got = model(X, src_key_padding_mask=PADDING)
        assert_bit_equal(got.detach(), want.detach())
    weights_alone = convert(encoder(1), {"_default": Plan(weight=P)}).eval()
    with torch.no_grad():
        assert torch.allclose(weights_alone(X), weights_alone.train()(X), atol=1e-5)


class Lazy(nn.Module):
    """A layer without weights yet."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(3)


def _parametrized() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)))


PLAN = Plan(weight=P)
PLANS: dict[str, tuple[Callable[[], object], type[RefnumError], str]] = {
    "no module": (lambda: convert(torch.sum, {"_default": PLAN}), DTypeError,
        "nn.convert needs a torch.nn.Module, got builtin_function_or_method. | Pass the model itself."),
    "no plans": (lambda: convert(Model(), {}), FormatError,
        "nn.convert needs plans, got {}. | Pass a mapping"),
    "no plan": (lambda: convert(Model(), {"head": P}), FormatError,
        "nn.convert needs a Plan for 'head', got Posit(n=8, es=2). | Allowed are Plan records. | Pass Plan(weight=..."),
    "no name": (lambda: convert(Model(), {"haed": PLAN}), FormatError,
        "nn.convert got the key 'haed', which matches no layer. | 'first' (Conv2d), 'up' (ConvTranspose2d), "
        "'block.0' (Linear) | Choose a name, 're:' and a pattern for whole names, a type, or '_default'."),
    "a container": (lambda: convert(Model(), {"block": PLAN}), FormatError, "nn.convert got the key 'block', which"),
    "a part": (lambda: convert(Model(), {"attention.out_proj": PLAN}), FormatError,
        "nn.convert got the key 'attention.out_proj', which matches no layer. | 'attention' (MultiheadAttention)"),
    "no type": (lambda: convert(Model(), {nn.Conv3d: PLAN}), FormatError, "Conv3d'>, which matches no layer."),
    "no pattern": (lambda: convert(Model(), {"re:bloc": PLAN}), FormatError, "'re:bloc', which matches no layer."),
    "bad pattern": (lambda: convert(Model(), {"re:(": PLAN}), FormatError,
        "nn.convert cannot read the regular expression 're:(': | Correct it; | a layer's whole name."),
    "no layers": (lambda: convert(nn.ReLU(), {"_default": PLAN}), FormatError, "Layers with products are: none."),
    "LSTM": (lambda: convert(nn.Sequential(nn.LSTM(2, 2)), {"_default": PLAN}), UncoveredError,
        "nn.convert cannot give '0' (LSTM) a plan: its products are computed inside torch, out of reach. | "
        "Allowed are Linear, Conv1d | Choose keys that leave it out, or write it with such layers."),
    "LSTMCell": (lambda: convert(nn.Sequential(nn.LSTMCell(2, 2)), {"0": PLAN}), UncoveredError, "'0' (LSTMCell)"),
    "Bilinear": (lambda: convert(nn.Sequential(nn.Bilinear(2, 2, 2)), {"re:0": PLAN}), UncoveredError, "(Bilinear)"),
    "lazy": (lambda: convert(Lazy(), {"layer": PLAN}), UncoveredError, "it has no weights before its first call"),
    "parametrized": (lambda: convert(_parametrized(), {"0": PLAN}), UncoveredError, "its weights are parametrized"),
    "weight in half": (lambda: convert(Model().half(), {"head": Plan(weight=posit16)}), FormatError,
        "quantize cannot round float16 to posit16"),
    "input in half": (lambda: convert(Model().half(), {"head": Plan(input=posit16)}), FormatError,
        "quantize cannot round float16 to posit16"),
    "a scale format": (lambda: convert(Model(), {"head": Plan(weight=e8m0)}), FormatError,
        "quantize cannot write e8m0"),
    "product in float32": (lambda: convert(Model(), {"head": Plan(product=posit32)}), FormatError,
        "nn.convert cannot run 'head' in posit32 on torch.float32 tensors | Use model.double()"),
    "no format": (lambda: Plan(weight="posit16"), FormatError,
        "Plan needs a format record for weight, got 'posit16'. | Allowed are all formats, of single values or of "
        "blocks, and None. | Pass Posit"),
    "no input format": (lambda: Plan(input=16), FormatError, "Plan needs a format record for input, got 16."),
    "no posit": (lambda: Plan(product=e4m3), FormatError,
        "Plan needs a posit format or a contract for product, got | Allowed are Posit, None and the names of "
        "contracts. | Pass Posit(n, es), 'posit_quire/v1' or 'exact/v1'."),
    "no contract": (lambda: Plan(weight=P, input=P, product="chian/v1"), ContractError,
        "Plan has no contract='chian/v1'. | Choose one of"),
    "a contract of integers": (lambda: Plan(weight=P, input=P, product="int/v1"), ContractError,
        "Plan cannot train under int/v1"),
    "blocks in double": (lambda: convert(Model().double(), {"head": Plan(weight=mxint8)}), DTypeError,
        "float64"),
    "a contract alone": (lambda: Plan(product="posit_quire/v1"), FormatError,
        "takes the format from weight and input, got weight=None and input=None. | one posit format. | Pass it twice"),
    "a contract with two": (lambda: Plan(weight=P, input=posit16, product="posit_quire/v1"), FormatError,
        "got weight=posit8 and input=posit16."),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_what_a_plan_cannot_be(name: str) -> None:
    call, error, words = PLANS[name]
    with pytest.raises(error) as caught:
        call()
    for part in words.split(" | "):
        assert part in str(caught.value)


def test_layers_without_a_plan_are_no_obstacle() -> None:
    model = nn.Sequential(nn.LSTM(2, 2), nn.Linear(2, 2))
    assert planned(convert(model, {nn.Linear: PLAN})) == {"1": PLAN}
