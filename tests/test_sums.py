"""quire_dot, posit_mm and Quire: exact sums, whatever the order; shapes as torch's; gradients straight through."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from calls import floats, patterns, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles import quire as oracle
from torch import Tensor

import refnum
from refnum import Posit, Quire, posit
from refnum.boundary import container
from refnum.core.decode import decode
from refnum.posit.quire import Register
from refnum.sums import posits as sums
from refnum.sums import quires
from refnum.testing import assert_bit_equal, cases

P8, P16, P32, P64 = Posit(8), Posit(16), Posit(32), Posit(64)
FORMATS = (
    Posit(2),
    Posit(5, 4),
    P8,
    Posit(8, 0),
    P16,
    Posit(31, 1),
    P32,
    Posit(33, 0),
    Posit(40, 3),
    P64,
    Posit(64, 4),
)
VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"


def rows(fmt: Posit, count: int = 12, length: int = 9) -> tuple[Tensor, Tensor]:
    """Vectors of every kind."""
    sides = zip(*(cases.dots(fmt, kind, count=count, length=length) for kind in cases.KINDS), strict=True)
    a, b = (torch.cat(side) for side in sides)
    return a, b


# ---- quire_dot ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("length", [1, 2, 9, 40])
def test_dots_are_the_rounded_exact_sums(fmt: Posit, length: int) -> None:
    a, b = rows(fmt, length=length)
    want = [oracle.quire_dot(x, y, fmt.n, fmt.es) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    got = refnum.quire_dot(a, b, fmt)
    assert got.dtype == container(fmt)
    assert got.tolist() == want


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_the_order_of_terms_does_not_matter(fmt: Posit) -> None:
    a, b = rows(fmt, count=30, length=24)
    want = refnum.quire_dot(a, b, fmt)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        order = torch.randperm(24, generator=generator)
        assert torch.equal(refnum.quire_dot(a[:, order], b[:, order], fmt), want)
    assert torch.equal(refnum.quire_dot(b, a, fmt), want)
    assert torch.equal(refnum.quire_dot(-a, b, fmt), posit.negate(want, fmt))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_dot_of_any_format(data: st.DataObject) -> None:
    n, es = data.draw(st.integers(2, 64)), data.draw(st.integers(0, 4))
    pattern = st.integers(-(1 << (n - 1)) + 1, (1 << (n - 1)) - 1)
    pairs = data.draw(st.lists(st.tuples(pattern, pattern), min_size=1, max_size=12))
    pairs += [(-x, y) for x, y in pairs[: data.draw(st.integers(0, len(pairs)))]]
    a, b = (list(side) for side in zip(*pairs, strict=True))
    assert refnum.quire_dot(torch.tensor(a), torch.tensor(b), Posit(n, es)).item() == oracle.quire_dot(a, b, n, es)


@pytest.mark.parametrize("fmt", [P8, P16, P32, P64, Posit(64, 4)], ids=str)
def test_extremes_cancel_to_the_last_bit(fmt: Posit) -> None:
    """maxpos**2 - maxpos**2 + minpos**2 is minpos**2: below minpos, so minpos."""
    top, one = fmt.maxpos, 1 << (fmt.n - 2)
    a, b = torch.tensor([top, 1, -top, one]), torch.tensor([top, 1, top, 0])
    assert refnum.quire_dot(a, b, fmt).item() == 1
    assert refnum.quire_dot(a[[0, 2]], b[[0, 2]], fmt).item() == 0
    a, b = torch.tensor([top, one, -top]), torch.tensor([one, one, one])
    assert refnum.quire_dot(a, b, fmt).item() == one


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = patterns(P16, 1, 120).view(2, 6, 10), patterns(P16, 2, 120).view(2, 10, 6)
    c = patterns(P16, 3, 72).view(2, 6, 6)
    want = refnum.posit_mm(a, b, P16, c=c), refnum.quire_dot(a, b.mT, P16)
    monkeypatch.setattr(quires, "CHUNK", chunk)
    assert torch.equal(quires.mm_by_registers(a, b, c, P16, None), want[0])
    assert torch.equal(quires.dot_by_registers(a, b.mT, P16), want[1])


def test_carries_between_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = rows(P32, count=5, length=30)
    want = refnum.quire_dot(a, b, P32)
    monkeypatch.setattr(quires, "CHUNK", 4)
    for terms in (1, 3, 8, 30):
        monkeypatch.setattr(quires, "TERMS", terms)
        assert torch.equal(quires.dot_by_registers(a, b, P32), want)


def test_as_many_products_as_a_quire_takes_fit() -> None:
    """2**31 - 1 times maxpos squared is the most that there can be: by doubling, not by looping."""
    assert sums.MOST_TERMS == (1 << 31) - 1
    for fmt in (P8, P32, Posit(16, 1)):
        top = torch.tensor(fmt.maxpos)
        power, most = Quire(fmt).mul_add(top, top), Quire(fmt)
        for _ in range(31):
            most.add(power)
            power.add(power.clone())
        assert most.to_posit().item() == fmt.maxpos
        assert most.clone().sub_posit(top).to_posit().item() == fmt.maxpos
        assert most.mul_add(top, top).to_posit().item() == fmt.nar, "and one more is one too many"


@pytest.mark.parametrize("fmt", [P8, P32, P64, Posit(16, 1), Posit(5, 4), Posit(3, 0)], ids=str)
def test_the_quire_sum_limit(fmt: Posit) -> None:
    """So many times maxpos, less one, is the most that posits can add up to; built by doubling."""
    bits = fmt.max_scale + 31
    if fmt.es == 2:
        assert bits == 23 + 4 * fmt.n
    for top, sign in ((fmt.maxpos, 1), (-fmt.maxpos, -1)):
        power, most = Quire(fmt).add_posit(torch.tensor(top)), Quire(fmt)
        for _ in range(bits):
            most.add(power)
            power.add(power.clone())
        assert power.to_posit().item() == fmt.nar, "one addition more"
        assert most.to_posit().item() == sign * fmt.maxpos
        assert most.clone().sub_posit(torch.tensor(top)).to_posit().item() == sign * fmt.maxpos
        assert most.add_posit(torch.tensor(top)).to_posit().item() == fmt.nar


@pytest.mark.parametrize("fmt", [P8, P32, P64, Posit(33, 0), Posit(2)], ids=str)
def test_bytes_and_back(fmt: Posit) -> None:
    a, b = rows(fmt)
    quire = Quire(fmt, (len(a),))
    for x, y in zip(a.unbind(1), b.unbind(1), strict=True):
        quire.mul_add(x, y)
    data = quire.to_bytes()
    assert data.shape == (len(a), -(-fmt.quire_bits // 8))
    assert torch.equal(data.flip(1), quire.to_bytes("little"))
    for order in ("big", "little"):
        again = Quire.from_bytes(quire.to_bytes(order), fmt, order)
        assert torch.equal(again.to_posit(), quire.to_posit())
        assert torch.equal(again.to_bytes(), data)
        again.sub(quire).add_posit(a[:, 0])  # what was read is a whole register, not only a rounded one
        nar = quire.to_posit() == fmt.nar
        assert torch.equal(again.to_posit()[~nar], a[:, 0][~nar])
    nar = Quire.from_posit(torch.tensor([fmt.nar]), fmt).to_bytes()
    want = -(1 << (fmt.quire_bits - 1))
    assert bytes(nar[0].tolist()) == want.to_bytes(nar.shape[1], "big", signed=True)


def test_between_two_carries_no_word_overflows() -> None:
    """TERMS products of the largest word leave room in an int64, and so does one chunk more."""
    for fmt in FORMATS:
        register = Register(fmt)
        most = 0
        for p in cases.patterns(fmt, "edges", count=60).tolist():
            words = register.zeros(1, torch.device("cpu"))
            x = decode(torch.tensor([p]), fmt)
            register.add_products(words, torch.tensor([0]), x, x)
            most = max(most, int(words.abs().max()))
        assert most * (quires.TERMS + quires.CHUNK) < 1 << 63


def test_nar_wins() -> None:
    a = torch.tensor([[P16.nar, 0, 0x4000], [0, 0x4000, 0x4000]])
    b = torch.zeros(2, 3, dtype=torch.int64)
    assert refnum.quire_dot(a, b, P16).tolist() == [P16.nar, 0], "also times 0"
    assert refnum.quire_dot(b, a, P16).tolist() == [P16.nar, 0]
    x = torch.tensor([[torch.inf, 1.0], [torch.nan, 1.0], [2.0, 1.0]])
    got = refnum.quire_dot(x, torch.ones(2), P16)
    assert got.isnan().tolist() == [True, True, False]
    assert got.view(torch.int32)[0].item() == 0x7FC00000


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [
        ((3,), (3,), ()),
        ((2, 3), (3,), (2,)),
        ((4, 1, 3), (2, 3), (4, 2)),
        ((0,), (0,), ()),
        ((2, 0), (2, 0), (2,)),
        ((0, 3), (3,), (0,)),
        ((3,), (1,), ()),
    ],
)
def test_dots_broadcast(a: tuple[int, ...], b: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x, y = whole(1, *a), whole(2, *b)
    got = refnum.quire_dot(x, y, Posit(28))
    assert got.shape == shape
    assert_bit_equal(got, (x * y).sum(-1) + 0.0)


# ---- posit_mm -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_products_of_matrices_are_dots(fmt: Posit) -> None:
    a, b = patterns(fmt, 4, 60).view(2, 5, 6), patterns(fmt, 5, 48).view(6, 8)
    c = patterns(fmt, 6, 80).view(2, 5, 8)
    got = refnum.posit_mm(a, b, fmt, c=c)
    assert got.dtype == container(fmt)
    want = [oracle.posit_mm(x, b.tolist(), z, n=fmt.n, es=fmt.es) for x, z in zip(a.tolist(), c.tolist(), strict=True)]
    assert got.tolist() == want
    assert torch.equal(refnum.posit_mm(a, b, fmt), refnum.quire_dot(a[..., None, :], b.mT, fmt))


SHAPES = [
    ((3, 4), (4, 5)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((4,), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (6, 4, 5)),
    ((3, 4), (2, 4, 5)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((3, 0), (0, 5)),
    ((0, 4), (4, 5)),
    ((3, 4), (4, 0)),
    ((0,), (0,)),
    ((0, 3, 4), (4, 5)),
    ((1, 1), (1, 1)),
    ((2, 3, 0), (0,)),
]


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_shapes_are_those_of_matmul(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = whole(7, *a), whole(8, *b)
    got = refnum.posit_mm(x, y, Posit(28))
    assert_bit_equal(got, torch.matmul(x, y) + 0.0)
    bits = refnum.posit_mm(refnum.encode(x, P16), refnum.encode(y, P16), P16)
    assert torch.equal(bits, refnum.encode(torch.matmul(x, y), P16))


@pytest.mark.parametrize(("a", "b"), SHAPES)
def test_the_addend_broadcasts_to_the_result(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = whole(9, *a), whole(10, *b)
    plain = torch.matmul(x, y)
    for k in range(plain.dim() + 1):
        shape = plain.shape[k:]
        for smaller in {shape, (1,) * len(shape)}:
            c = whole(11, *smaller)
            assert_bit_equal(refnum.posit_mm(x, y, Posit(28), c=c), plain + c + 0.0)


def test_the_addend_is_rounded_with_the_sum_and_not_before() -> None:
    one, tiny = 1 << 14, 1
    a, b = torch.tensor([[one, one]]), torch.tensor([[tiny], [one]])
    c = torch.tensor([[-one]])
    assert refnum.posit_mm(a, b, P16, c=c).item() == tiny


def test_no_terms_give_the_addend_or_zero() -> None:
    a, b = torch.zeros(2, 0), torch.zeros(0, 3)
    assert_bit_equal(refnum.posit_mm(a, b, P16), torch.zeros(2, 3))
    c = torch.tensor([1.1, -2.2, torch.inf])
    assert_bit_equal(refnum.posit_mm(a, b, P16, c=c), refnum.quantize(c, P16).expand(2, 3).clone())


def test_floats_are_rounded_to_the_format_first() -> None:
    for dtype, fmt in ((torch.float32, P16), (torch.float64, P32), (torch.bfloat16, P8), (torch.float16, Posit(8, 1))):
        x, y = floats(dtype, 12).view(12, 10), floats(dtype, 13).view(10, 12)
        got = refnum.posit_mm(x, y, fmt)
        assert got.dtype == dtype
        as_patterns = refnum.posit_mm(refnum.encode(x, fmt), refnum.encode(y, fmt), fmt)
        assert_bit_equal(got, refnum.decode(as_patterns, fmt, dtype=dtype))
        assert_bit_equal(refnum.posit_mm(x, y, fmt, out_dtype=torch.float64), refnum.decode(as_patterns, fmt))


def test_patterns_in_floats_out() -> None:
    a, b = patterns(P16, 14).view(12, 10), patterns(P16, 15).view(10, 12)
    want = refnum.decode(refnum.posit_mm(a, b, P16), P16, dtype=torch.float32)
    assert_bit_equal(refnum.posit_mm(a, b, P16, out_dtype=torch.float32), want)


@pytest.mark.parametrize("fmt", [Posit(5), Posit(12, 1)], ids=str)
def test_only_the_low_bits_are_read(fmt: Posit) -> None:
    a, b, c = (patterns(fmt, seed, 36).view(6, 6).long() for seed in (16, 17, 18))
    want = refnum.posit_mm(a, b, fmt, c=c)
    dirty = [x + (5 << fmt.n) for x in (a, b, c)]
    assert torch.equal(refnum.posit_mm(dirty[0], dirty[1], fmt, c=dirty[2]), want)
    assert torch.equal(refnum.posit_mm(dirty[0].int(), dirty[1], fmt, c=c), want), "containers may differ"


def test_layouts_do_not_matter() -> None:
    a, b = patterns(P16, 19, 120).view(2, 5, 12), patterns(P16, 20, 120).view(2, 12, 5)
    want = refnum.posit_mm(a, b, P16)
    arrangements: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.mT.contiguous().mT,
        lambda x: x.flip(0).flip(0),
        lambda x: torch.stack([x, x], -1)[..., 0],
    ]
    for left, right in itertools.product(arrangements, repeat=2):
        assert torch.equal(refnum.posit_mm(left(a), right(b), P16), want)
    assert torch.equal(
        refnum.posit_mm(a[:1].expand(3, 5, 12), b[0], P16), refnum.posit_mm(a[0], b[0], P16).expand(3, 5, 5)
    )


# ---- gradients ----------------------------------------------------------------------------------------------------


def _leaves(*operands: Tensor) -> list[Tensor]:
    return [x.clone().requires_grad_() for x in operands]


@pytest.mark.parametrize("grad", ["rounded", "raw"])
@pytest.mark.parametrize(("a", "b"), [s for s in SHAPES if 0 not in s[0] + s[1]])
def test_gradients_are_those_of_matmul(grad: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """With the rounded operands, or with the operands as they are."""
    x, y = whole(21, *a) / 7, whole(22, *b) / 7
    used = [refnum.quantize(t, P8) for t in (x, y)] if grad == "rounded" else [x, y]
    upstream = whole(23, *torch.matmul(x, y).shape)
    got, want = _leaves(x.double(), y.double()), _leaves(*(t.double() for t in used))
    refnum.posit_mm(*got, P8, grad=grad).backward(upstream.double())
    torch.matmul(*want).backward(upstream.double())
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.grad, w.grad, rtol=1e-14, atol=0)


def test_rounded_and_raw_gradients_differ() -> None:
    x, y = whole(24, 3, 4) / 7, whole(25, 4, 2) / 7
    rounded, raw = _leaves(x, y), _leaves(x, y)
    refnum.posit_mm(*rounded, Posit(6), grad="rounded").sum().backward()
    refnum.posit_mm(*raw, Posit(6), grad="raw").sum().backward()
    assert not torch.equal(rounded[0].grad, raw[0].grad)


def test_the_addends_gradient_is_summed_to_its_shape() -> None:
    x, y = whole(26, 2, 3, 4), whole(27, 4, 5)
    for shape in ((2, 3, 5), (3, 5), (5,), (3, 1), (), (2, 1, 1)):
        (c,) = _leaves(whole(28, *shape))
        upstream = whole(29, 2, 3, 5)
        refnum.posit_mm(x, y, P16, c=c).backward(upstream)
        assert_bit_equal(c.grad, upstream.sum_to_size(shape))


def test_gradients_in_the_operands_dtype() -> None:
    x, y = _leaves(whole(30, 3, 4).bfloat16(), whole(31, 4, 2).bfloat16())
    refnum.posit_mm(x, y, P8, out_dtype=torch.float32).sum().backward()
    assert x.grad.dtype == y.grad.dtype == torch.bfloat16


def test_only_what_needs_a_gradient_gets_one() -> None:
    a, b = whole(32, 3, 4), whole(33, 4, 2)
    (x,) = _leaves(a)
    refnum.posit_mm(x, b, P16).sum().backward()
    assert b.grad is None
    assert_bit_equal(x.grad, b.sum(1).expand(3, 4).clone())
    assert not refnum.posit_mm(refnum.encode(a, P16), refnum.encode(b, P16), P16).requires_grad


def test_gradients_of_gradients() -> None:
    """The first is bilinear in the upstream and the other operand, and each rounding passes straight through."""
    x, y = _leaves(whole(34, 2, 3).double(), whole(35, 3, 2).double())
    (dx,) = torch.autograd.grad(refnum.posit_mm(x, y, P16).square().sum(), x, create_graph=True)
    ddx, ddy = torch.autograd.grad(dx.sum(), (x, y))
    u, v = _leaves(x, y)
    (du,) = torch.autograd.grad(torch.matmul(u, v).square().sum(), u, create_graph=True)
    ddu, ddv = torch.autograd.grad(du.sum(), (u, v))
    assert_bit_equal(ddx, ddu)
    assert_bit_equal(ddy, ddv)


@pytest.mark.parametrize(("a", "b"), [((3, 5), (3, 5)), ((5,), (5,)), ((3, 5), (5,)), ((4, 1, 5), (3, 5))])
def test_gradients_of_dots(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = whole(36, *a) / 7, whole(37, *b) / 7
    got = _leaves(x, y)
    want = _leaves(*(refnum.quantize(t, P8) for t in (x, y)))
    result = refnum.quire_dot(*got, P8)
    upstream = whole(38, *result.shape)
    result.backward(upstream)
    (want[0] * want[1]).sum(-1).backward(upstream)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g.grad, w.grad, rtol=1e-6, atol=1e-6)


# ---- Quire --------------------------------------------------------------------------------------------------------


def _register_bits(q: Quire) -> list[int]:
    """Each register as an unsigned integer of the standard's width; NaR is 10..0."""
    register, width = q._register, q.fmt.quire_bits
    totals = []
    for words, nar in zip(q._words.T.tolist(), q._nar.tolist(), strict=True):
        total = sum(word << 32 * i for i, word in enumerate(words)) >> register.unused
        totals.append(1 << (width - 1) if nar else total & ((1 << width) - 1))
    return totals


def test_the_register_of_the_standard() -> None:
    """posit.md 2.5: in posit8, pToQ(1) is 1 << 48, maxpos**2 is 1 << 96, -(minpos**2) is all ones."""
    one, top, least = (torch.tensor([p]) for p in (0x40, 0x7F, 0x01))
    assert _register_bits(Quire.from_posit(one, P8)) == [1 << 48]
    assert _register_bits(Quire(P8, (1,)).mul_add(top, top)) == [1 << 96]
    assert _register_bits(Quire(P8, (1,)).mul_sub(least, least)) == [(1 << 128) - 1]
    assert _register_bits(Quire(P32, (1,)).mul_add(*[torch.tensor([P32.maxpos])] * 2)) == [1 << 480]
    assert _register_bits(Quire.from_posit(torch.tensor([P8.nar]), P8)) == [1 << 127]


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_any_sequence_of_operations(fmt: Posit) -> None:
    """Four registers at a time, beside four of the oracle's; every bit after every step."""
    source = random.Random(str(fmt))
    draw = torch.cat([cases.patterns(fmt, kind, count=50) for kind in cases.KINDS])
    draw = draw[draw != fmt.nar].tolist()
    q, other = Quire(fmt, (4,)), Quire(fmt, (4,))
    want, want_other = ([oracle.Quire(fmt.n, fmt.es) for _ in range(4)] for _ in range(2))
    for _ in range(60):
        a, b = ([source.choice(draw) for _ in range(4)] for _ in range(2))
        x, y = torch.tensor(a), torch.tensor(b)
        name = source.choice("mul_add mul_sub add_posit sub_posit negate abs add sub other".split())
        if name in ("mul_add", "mul_sub"):
            getattr(q, name)(x, y)
            want = [
                w.add_product(p, 1 if name == "mul_add" else -1)
                for w, p in zip(want, zip(a, b, strict=True), strict=True)
            ]
        elif name in ("add_posit", "sub_posit"):
            getattr(q, name)(x)
            want = [w.add_product((p,), 1 if name == "add_posit" else -1) for w, p in zip(want, a, strict=True)]
        elif name in ("negate", "abs"):
            getattr(q, name)()
            want = [getattr(w, name)() for w in want]
        elif name == "other":
            other.mul_add(x, y)
            want_other = [w.add_product(p) for w, p in zip(want_other, zip(a, b, strict=True), strict=True)]
        else:
            getattr(q, name)(other)
            want = [w.add(o, 1 if name == "add" else -1) for w, o in zip(want, want_other, strict=True)]
        assert _register_bits(q) == [w.bits() for w in want], name
        assert q.to_posit().tolist() == [w.to_posit() for w in want], name


@pytest.mark.parametrize("fmt", [Posit(2), P8, P32, Posit(5, 4)], ids=str)
def test_beyond_the_register_lies_nar(fmt: Posit) -> None:
    """Doubling maxpos squared: the carry bits, then NaR, which stays until it is cleared."""
    top = torch.tensor([fmt.maxpos, -fmt.maxpos])
    q = Quire(fmt, (2,)).mul_add(top, top.abs())
    for doubling in range(31):
        assert q.to_posit().tolist() == top.tolist(), doubling
        q.add(q.clone())
    assert q.to_posit().tolist() == [fmt.nar, fmt.nar], "2**31 times maxpos squared, and 10..0 itself"
    for still in (q.negate(), q.abs(), q.add(Quire(fmt, (2,))), q.add_posit(top), q.mul_sub(top, top), q.clone()):
        assert still.to_posit().tolist() == [fmt.nar, fmt.nar]
    assert q.clear().to_posit().tolist() == [0, 0]
    assert q.add_posit(top).to_posit().tolist() == top.tolist()


def test_nar_in_one_register_leaves_the_others() -> None:
    a = torch.tensor([P16.nar, 0x4000, 0])
    assert Quire.from_posit(a, P16).to_posit().tolist() == [P16.nar, 0x4000, 0]
    q = Quire(P16, (3,)).mul_add(a, torch.zeros_like(a))
    assert q.to_posit().tolist() == [P16.nar, 0, 0]
    assert Quire(P16, (3,)).add(q).to_posit().tolist() == [P16.nar, 0, 0]
    assert Quire(P16, (3,)).sub(q).to_posit().tolist() == [P16.nar, 0, 0]


def test_shapes_and_broadcasting_of_quires() -> None:
    q = Quire(P16, (2, 3))
    assert (q.shape, repr(q)) == (torch.Size([2, 3]), "Quire(posit16, (2, 3))")
    q.mul_add(torch.full((3,), 0x4000), torch.full((2, 1), 0x4000)).add_posit(torch.tensor(0x4000))
    assert refnum.decode(q.to_posit(), P16).tolist() == [[2.0] * 3] * 2
    scalar = Quire(P16).add_posit(torch.tensor(0x4000))
    assert (scalar.shape, scalar.to_posit().shape, scalar.to_posit().item()) == ((), (), 0x4000)
    assert Quire(P16, (0, 4)).mul_add(
        torch.zeros(4, dtype=torch.int16), torch.zeros(0, 1, dtype=torch.int16)
    ).to_posit().shape == (0, 4)


def test_methods_change_in_place_and_a_clone_is_apart() -> None:
    q = Quire(P16, (1,))
    one = torch.tensor([0x4000])
    assert q.add_posit(one) is q
    copy = q.clone().add_posit(one)
    assert refnum.decode(q.to_posit(), P16).item() == 1.0
    assert refnum.decode(copy.to_posit(), P16).item() == 2.0
    assert q.add(q) is q
    assert refnum.decode(q.to_posit(), P16).item() == 2.0
    assert q.sub(q).to_posit().item() == 0


@pytest.mark.parametrize("fmt", [P8, P16, P32, P64], ids=str)
def test_a_dot_is_its_quire(fmt: Posit) -> None:
    a, b = rows(fmt, count=6, length=11)
    q = Quire(fmt, a.shape[:1])
    for k in range(a.shape[1]):
        q.mul_add(a[:, k], b[:, k])
    assert torch.equal(q.to_posit(), refnum.quire_dot(a, b, fmt))
    left, right = Quire(fmt, a.shape[:1]), Quire(fmt, a.shape[:1])
    for k in range(a.shape[1]):
        (left if k % 2 else right).mul_sub(a[:, k], b[:, k])
    assert torch.equal(left.add(right).negate().to_posit(), q.to_posit()), "split in two, subtracted, and turned"
    x, y, z = (cases.patterns(fmt, "random", count=50, seed=seed)[:50] for seed in (1, 2, 3))
    assert torch.equal(Quire.from_posit(z, fmt).mul_add(x, y).to_posit(), posit.fma(x, y, z, fmt)), "fma by the quire"


@pytest.mark.parametrize(("n", "es"), [(8, 0), (8, 2), (16, 1), (16, 2), (32, 2), (64, 2)])
def test_golden_dots(n: int, es: int) -> None:
    path = VECTORS / "posit_quire.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in conformance/vectors")
    with np.load(path, allow_pickle=False) as z:
        length, p, q, want = (z[f"n{n}es{es}_{name}"] for name in ("len", "p", "q", "qToP"))
    p, q, want = (torch.from_numpy(x.astype(np.uint64).view(np.int64)) << (64 - n) >> (64 - n) for x in (p, q, want))
    pieces = zip(p.split(length.tolist()), q.split(length.tolist()), strict=True)
    assert [refnum.quire_dot(a, b, Posit(n, es)).item() for a, b in pieces] == want.tolist()
