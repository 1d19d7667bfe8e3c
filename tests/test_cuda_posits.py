"""The kernels of posit_mm that round as they go, as they are, on the CPU and on a GPU: against refnum.posit_mm."""

from __future__ import annotations

import itertools
import mmap
from typing import Any

import pytest
import torch
from cuda import scenes
from cuda.posit_products import (
    CASES,
    LONG,
    MODES,
    P16,
    binades,
    growing,
    normal,
    patterns_of,
    product,
    reference,
    the_kernels,
)
from cuda.simulate import CHOICES, Kernels
from cuda.stage import stage
from refnum_conformance import vectors
from refnum_conformance.oracles import orders
from torch import Tensor

import refnum
from refnum import Posit
from refnum.formats import float32, holds
from refnum.testing import assert_bit_equal, cases
from refnum_cuda import posits


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    return the_kernels()


# ---- each rounding ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "fmt"), CASES, ids=str)
def test_products_of_every_binade(kernels: Kernels, mode: str, fmt: Posit) -> None:
    a, b = binades(fmt, 16)
    if mode == "cuposit":
        a, b = (x.clamp(-(2.0**120), 2.0**120).float() for x in (a, b))
    else:
        a, b = (refnum.encode(x, fmt) for x in (a, b))
    assert_bit_equal(product(kernels, a, b, fmt, mode), reference(a, b, fmt, mode))


@pytest.mark.parametrize("n", [6, 8, 16])
def test_ties_of_posits_without_a_fraction(kernels: Kernels, n: int) -> None:
    """Of each end those two binades whose ties a magic number of even last place gets wrong."""
    fmt, edge = Posit(n), 4 * (n - 4)
    scales = torch.tensor([-edge, 2 - edge, edge - 4, edge - 2], dtype=torch.float32)
    a = 1.5 * 2.0 ** (scales / 2)[:, None, None]
    got = product(kernels, torch.cat([a, -a]), 2.0 ** (scales / 2).repeat(2)[:, None, None], fmt, "products")
    assert_bit_equal(got.abs().flatten(), 2.0 ** scales.repeat(2))


@pytest.mark.parametrize("n", [6, 8, 16])
def test_sums_that_are_ties(kernels: Kernels, n: int) -> None:
    """All pairs, or evenly spaced ones and their neighbours."""
    fmt = Posit(n)
    some = torch.arange(-(1 << n - 1), 1 << n - 1)[:: max(1, (1 << n) // 300)]
    ones = torch.full((1, len(some)), 1 << n - 2)
    for k in range(-2, 3):
        a, c = (some + k).view(-1, 1), some.expand(len(some), -1)
        assert_bit_equal(product(kernels, a, ones, fmt, "posit", c), reference(a, ones, fmt, "posit", c))


def test_products_are_rounded_once(kernels: Kernels) -> None:
    assert product(kernels, *LONG, Posit(32), "posit").item() == 0x40CCCCD3
    a, b = torch.tensor([[0x46FA6]]), torch.tensor([[0x4660A]])  # nor float32, of posit(20,2)
    assert refnum.encode(product(kernels, a, b, Posit(20), "products"), Posit(20)).item() == 0x4D759


def fraction(fmt: Posit, scale: int) -> int:
    """Bits of fraction of posits of a scale, at least 0."""
    k = scale >> fmt.es
    return max(0, fmt.n - 3 - fmt.es - (k if k >= 0 else ~k))


def sums_are_rounded_alike(fmt: Posit, bits: int = 24) -> bool:
    """Whether a + b, rounded to so many bits, always rounds to the posit that a + b rounds to. A proof by scales."""
    for a, b in itertools.combinations_with_replacement(range(fmt.max_scale, -fmt.max_scale - 1, -1), 2):
        # 1. All bits of the sum lie between those places: b < 2**(b + 1) carries into the next binade only if that is
        #    more than the last bit of a.
        last = min(a - fraction(fmt, a), b - fraction(fmt, b))
        first = a if b + 1 <= a - fraction(fmt, a) else a + 1
        exact = first + 1 - last <= bits
        # 2. Between a and the next tie lies half a step, or, below a power of 2, half a step of the binade below. What
        #    goes at most half of that way rounds to a, and stays clear of the tie when it is rounded before.
        tie = min(a - fraction(fmt, a) - 1, a - 1 - fraction(fmt, a - 1) - 1)
        small = b + 1 <= tie - 1 and tie - 1 > a - bits + 1
        if not exact and not small:
            return False
    return True


def test_sums_of_the_formats_of_float32_may_be_rounded_to_it() -> None:
    single = [fmt for n in range(3, 33) for es in range(5) if posits.float_of(fmt := Posit(n, es)) == torch.float32]
    assert {P16, Posit(8), Posit(14, 0), Posit(15, 1), Posit(9, 3)} <= {*single}
    assert all(sums_are_rounded_alike(fmt) for fmt in single)
    assert not sums_are_rounded_alike(P16, bits=20)


# ---- sums ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "fmt"), CASES, ids=str)
def test_every_kind_of_operands(kernels: Kernels, mode: str, fmt: Posit) -> None:
    for i, kind in enumerate(cases.KINDS):
        a, b = cases.dots(fmt, kind, count=12, length=21)
        a, b = (patterns_of(fmt, mode, x) for x in (a, b.T))
        addend = cases.patterns(fmt, kind, count=12).repeat(12)[: a.shape[0], None]
        c = addend if mode == "posit" else refnum.decode(addend, fmt).float()
        choice = CHOICES[i % len(CHOICES)]
        assert_bit_equal(product(kernels, a, b, fmt, mode, choice=choice), reference(a, b, fmt, mode))
        scaling = 0.75, -2.0, None
        got = product(kernels, a, b, fmt, mode, c, scaling=scaling, choice=choice)
        assert_bit_equal(got, reference(a, b, fmt, mode, c, scaling))


@pytest.mark.parametrize(
    ("mode", "n", "es"), [("posit", 16, 2), ("posit", 30, 1), ("products", 20, 2), ("cuposit", 8, 2)]
)
def test_sums_by_integers_of_python(kernels: Kernels, mode: str, n: int, es: int) -> None:
    fmt = Posit(n, es)
    by_integers = {"posit": orders.posit_mm, "products": orders.products_mm, "cuposit": orders.cuposit_mm}[mode]
    scaling = {"alpha": 1.0, "beta": 0.0, "k_pad": 8} if mode == "cuposit" else {}
    for kind in ("ties", "spaced"):
        a, b = (patterns_of(fmt, mode, x[:6]) for x in cases.dots(fmt, kind, count=6, length=20))
        got = bits_of(product(kernels, a, b.T, fmt, mode))
        x, y = (bits_of(side).tolist() for side in (a, b.T))
        assert got.tolist() == by_integers(x, y, n=n, es=es, **scaling)


def bits_of(x: Tensor) -> Tensor:
    """Patterns of floats, or as they are."""
    return x.contiguous().view(torch.int32) if x.is_floating_point() else x


@pytest.mark.parametrize("mode", MODES)
def test_every_shape_around_a_tile(kernels: Kernels, mode: str) -> None:
    edges, terms = (1, 63, 64, 65, 127, 128, 129), (0, 1, 7, 8, 9, 15, 16, 17, 31, 33)
    for i, (m, n) in enumerate(itertools.product(edges, edges[::2])):
        k = terms[i % len(terms)]
        a, b = normal(m, k, n, seed=i)
        fmt = (P16, Posit(24))[i % 2]
        c = normal(m, n, n)[0] if i % 3 else None
        scaling = 0.75, -2.0, (8, None)[i % 2]
        got = product(kernels, a, b, fmt, mode, c, scaling=scaling, choice=CHOICES[i % len(CHOICES)])
        assert_bit_equal(got, reference(a, b, fmt, mode, c, scaling))


@pytest.mark.parametrize("mode", MODES)
def test_stages_where_tables_serve_and_where_they_do_not(kernels: Kernels, mode: str) -> None:
    """In turns, and sums that leave the range of the tables and come back."""
    a, b = normal(20, 96, 40)
    a[:, 16:32] *= 2.0**-22
    b[16:32] *= 2.0**-22
    a[3, 50], a[4, 51:53], b[51:53, 7] = 2.0**30, 2.0**24, torch.tensor([2.0**23, -(2.0**23)])
    a[5, 70], b[80, 9] = torch.nan, torch.inf
    for fmt in (Posit(8), P16, Posit(18)):
        assert_bit_equal(product(kernels, a, b, fmt, mode), reference(a, b, fmt, mode))
        a[3, 50] = 1.0


def test_sums_that_grow_out_of_the_tables(kernels: Kernels) -> None:
    for fmt in (Posit(6), Posit(8), P16):
        terms, ones = growing(fmt), torch.ones(13, 1)
        for k in (0, 3, 4, 5, 10, 11, 13):
            assert_bit_equal(
                product(kernels, terms[:, :k], ones[:k], fmt, "posit"), reference(terms[:, :k], ones[:k], fmt, "posit")
            )
            for c in (terms.new_full((1, 1), sign * 2.0 ** (fmt.max_scale - 9)) for sign in (1, -1)):
                got = product(kernels, terms[:, :k], ones[:k], fmt, "posit", c)
                assert_bit_equal(got, reference(terms[:, :k], ones[:k], fmt, "posit", c))


def test_recorded_products_of_cuposit(kernels: Kernels) -> None:
    recorded = vectors.arrays("cuposit_mm")
    for i in range(30):
        n, *_ = recorded[f"meta_{i:03}"].tolist()
        alpha, beta = recorded[f"ab_{i:03}"].tolist()
        a, b, c = (torch.from_numpy(recorded[f"{name}_{i:03}"].astype("int32")).view(torch.float32) for name in "ABC")
        for name, k_pad in (("Dcutlass", 8), ("Dnopad", None)):
            got = product(kernels, a, b, Posit(n), "cuposit", c, scaling=(alpha, beta, k_pad))
            assert torch.equal(got.view(torch.int32), torch.from_numpy(recorded[f"{name}_{i:03}"].astype("int32")))


def test_ends_of_cuposit(kernels: Kernels) -> None:
    """alpha * sum + beta * c with specials, subnormals, and what must not be rounded twice."""
    a, b = normal(6, 9, 7)
    c = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1e-45, 3e38]).expand(6, 7)
    for alpha, beta in ((1.0, 0.0), (1.0, 1.0), (1 / 3, -1.0), (0.0, 1.0), (-3e38, 3e38), (1e-45, 1e-45)):
        got = product(kernels, a, b, P16, "cuposit", c, scaling=(alpha, beta, 8))
        assert_bit_equal(got, reference(a, b, P16, "cuposit", c, (alpha, beta, 8)))


# ---- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_strides_and_batches(kernels: Kernels, mode: str) -> None:
    draw = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 3, 20, 11, generator=draw), torch.randn(2, 3, 11, 19, generator=draw)
    pairs = [(a, b), (a[:, :1], b), (a[0, 0], b), (a, b[:1]), (a[:1, :1], b[1, 2]), (a[:, :, :0], b), (a[:0], b[:1])]
    for i, (x, y) in enumerate(pairs):
        shape = posits.product_shape(x, y)
        c = (None, torch.randn(19, generator=draw), torch.randn(shape[-2], 1, generator=draw))[i % 3]
        c = None if c is None else c.expand(shape)
        want = reference(x, y, P16, mode, c, (1.0, 1.0, 8))
        every_third = [torch.stack([side, side + 1, side], -1).flatten(-2)[..., ::3] for side in (x, y)]
        layouts = [(x, y), (x.mT.contiguous().mT, y), (x, y.mT.contiguous().mT), every_third, (torch._neg_view(-x), y)]
        for left, right in layouts:
            assert_bit_equal(product(kernels, left, right, P16, mode, c, scaling=(1.0, 1.0, 8)), want)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("fmt", [Posit(8, 0), Posit(6, 1)], ids=str)
def test_every_dtype(kernels: Kernels, dtype: torch.dtype, fmt: Posit) -> None:
    a, b = (x.to(dtype) for x in normal(5, 33, 6))
    for mode in ("products", "posit"):
        assert_bit_equal(product(kernels, a, b, fmt, mode), reference(a, b, fmt, mode))
        x, y = (refnum.encode(side, fmt).long() for side in (a, b))
        assert_bit_equal(product(kernels, x, y, fmt, mode).long(), reference(x, y, fmt, mode).long())


@pytest.fixture(scope="module")
def vast(tmp_path_factory: pytest.TempPathFactory) -> Tensor:
    """More than 2**32 float32, in a file of which few pages ever exist."""
    path = tmp_path_factory.mktemp("vast") / "sparse"
    with path.open("w+b") as file:
        file.truncate((1 << 34) + (1 << 16))
        space = mmap.mmap(file.fileno(), 0)
    path.unlink()
    return torch.frombuffer(space, dtype=torch.float32)


@pytest.mark.parametrize("far", ["a", "b", "c"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_elements_beyond_31_bits(kernels: Kernels, vast: Tensor, far: str, axis: int) -> None:
    draw = torch.Generator().manual_seed(axis)
    given = {name: torch.randn(3, 3, 3, generator=draw) for name in "abc"}
    want = reference(given["a"], given["b"], P16, "cuposit", given["c"], (1.0, 1.0, 8))
    # Its three slices along the axis are more than 2**31 elements apart.
    strides = [3, 3, 3]
    strides[axis], strides[(axis + 1) % 3], strides[(axis + 2) % 3] = (len(vast) - 64) // 2, 8, 1
    given[far] = vast.as_strided((3, 3, 3), strides).copy_(given[far])
    got = product(kernels, given["a"], given["b"], P16, "cuposit", given["c"], scaling=(1.0, 1.0, 8))
    assert_bit_equal(got, want)


def test_what_has_kernels() -> None:
    x = torch.empty(2, 2)
    for mode, fmt in CASES:
        assert posits.covered(x, x, None, fmt.n, fmt.es, mode, None)
    assert not posits.covered(x, x, None, 16, 2, "quire", None)
    assert not posits.covered(x, x, None, 33, 2, "posit", None)
    assert not posits.covered(x, x, None, 2, 2, "products", None)
    held = [fmt for n in range(3, 33) for es in range(5) if holds(float32, fmt := Posit(n, es))]
    assert all(fmt.significand_bits <= posits.SIGNIFICANT for fmt in held), "products of two are exact in float64"


def arguments_of(example: tuple[Any, ...]) -> tuple[Any, ...]:
    """What `product` and `reference` take, of an example."""
    a, b, c, n, es, mode, *_, alpha, beta, k_pad = example
    return a, b, Posit(n, es), mode, c, (alpha, beta, k_pad)


def test_examples_of_the_self_test(kernels: Kernels) -> None:
    for example in posits.examples():
        *given, scaling = arguments_of(example)
        assert_bit_equal(product(kernels, *given, scaling=scaling), reference(*given, scaling))


def test_the_operation_is_served_by_them() -> None:
    assert stage().play(scenes.rounding_as_they_go) == []
    assert {line.split()[1] for line in stage().calls("cuLaunchKernel")} >= {
        kernel.name for kernel in posits.KERNELS.values() if not kernel.name.endswith("square")
    }


# ---- on a GPU --------------------------------------------------------------------------------------

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")


def by_gpu(a: Tensor, b: Tensor, fmt: Posit, mode: str, c: Tensor | None = None, **scaling: Any) -> Tensor:
    """refnum.posit_mm on a GPU, which raises where the reference would serve."""
    with refnum.use_backend("cuda"):
        addend = None if c is None else c.cuda()
        return refnum.posit_mm(a.cuda(), b.cuda(), fmt, mode=mode, c=addend, **scaling).cpu()


@pytest.mark.gpu
@needs_gpu
@pytest.mark.filterwarnings("ignore:posit_mm in mode cuposit makes every value")
@pytest.mark.parametrize(("mode", "fmt"), CASES, ids=str)
def test_bits_on_a_gpu(mode: str, fmt: Posit) -> None:
    a, b = binades(fmt, 16)
    if mode == "cuposit":
        a, b = (x.clamp(-(2.0**120), 2.0**120).float() for x in (a, b))
    else:
        a, b = (refnum.encode(x, fmt) for x in (a, b))
    assert_bit_equal(by_gpu(a, b, fmt, mode), refnum.posit_mm(a, b, fmt, mode=mode))
    for kind in cases.KINDS:
        x, y = (patterns_of(fmt, mode, side) for side in cases.dots(fmt, kind, count=150, length=75))
        assert_bit_equal(by_gpu(x, y.T, fmt, mode), refnum.posit_mm(x, y.T, fmt, mode=mode))


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("mode", MODES)
def test_layouts_on_a_gpu(mode: str) -> None:
    scaling = {"alpha": 0.5, "beta": -2.0, "k_pad": 8} if mode == "cuposit" else {}
    for fmt, (m, k, n) in itertools.product((P16, Posit(24)), [(1, 5, 130), (129, 17, 3), (70, 40, 65), (3, 0, 4)]):
        a, b = normal(m, k, n)
        c = normal(m, n, n)[0]
        want = refnum.posit_mm(a, b, fmt, mode=mode, c=c, **scaling)
        assert_bit_equal(by_gpu(a, b, fmt, mode, c, **scaling), want)
        strided = by_gpu(a.mT.contiguous().mT, b.expand(2, k, n), fmt, mode, c, **scaling)
        assert_bit_equal(strided, want.expand(2, m, n).contiguous())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("mode", MODES)
def test_large_products_on_a_gpu(mode: str) -> None:
    """Rows of a product that fills the GPU, each as it is alone, and some of them by the reference."""
    a, b = normal(700, 1000, 1100)
    for fmt in (Posit(8), P16):
        got = by_gpu(a, b, fmt, mode)
        assert_bit_equal(by_gpu(a[100:102], b, fmt, mode), got[100:102])
        rows, columns = slice(125, 131), slice(250, 260)
        assert_bit_equal(got[rows, columns].contiguous(), refnum.posit_mm(a[rows], b[:, columns], fmt, mode=mode))
