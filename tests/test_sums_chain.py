"""Contract chain/v1: k ascending, fma by fma in float32; every step has the bits of the definition."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from float_sums import (
    DATA,
    RESULTS,
    SETTINGS,
    Draw,
    Term,
    chain_dot,
    digest,
    golden,
    operands,
    patterns,
    product,
    recorded_fmas,
    rounded_sum,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles.minifloat import FLOATS
from torch import Tensor

import refnum
from refnum.fast import hardware
from refnum.fast.expansions import two_sum
from refnum.fast.fma import fma
from refnum.sums import chain
from refnum.sums.chain import ARITHMETICS, add, chain_mm
from refnum.sums.exact import exact_mm
from refnum.sums.replays import replay_mm
from refnum.sums.tree import tree_mm
from refnum.testing import assert_bit_equal

FUSED = hardware.fuses_addcmul()
USABLE = tuple(name for name in ARITHMETICS if FUSED or name != "addcmul")


def stepped(name: str, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """x * y + z in an arithmetic."""
    sums = z.clone()
    ARITHMETICS[name].add_products(sums, [x], [y])
    return sums


def folded(x: Tensor) -> Tensor:
    """Patterns with one NaN."""
    return patterns(x).masked_fill(x.isnan(), 0x7FFFFFFF)


# ---- one step -----------------------------------------------------------------------------------------------------


def triples() -> Iterator[tuple[str, list[Tensor]]]:
    """x, y, z of which x * y + z is hard to round."""
    draw, n = Draw(1), 400
    specials = [0.0, -0.0, 1.0, -1.0, 2.0**-149, -(2.0**-126), 2.0**127, torch.inf, -torch.inf, torch.nan]
    yield "specials", [torch.tensor(x) for x in zip(*itertools.product(specials, repeat=3), strict=True)]
    yield "bits", [draw.bits(n), draw.bits(n), draw.bits(n)]
    small = draw.choice([2.0**-i for i in range(1, 24)], n)
    head = (1 + draw.whole(0, 1 << 23, n) * 2.0**-23) * draw.signs(n)
    yield "less than a tie", [(1 + small) * draw.signs(n), 2.0**-24 * (1 - small), head]
    yield (
        "more than a tie",
        [
            torch.full((n,), 1 + 2.0**-12) * draw.signs(n),
            torch.full((n,), 2.0**-24 * (1 - 4095 * 2.0**-24)),
            head,
        ],
    )
    yield "ties", [head, draw.signs(n), 2.0**-24 * draw.whole(1, 8, n).float()]
    yield "subnormal results", [draw.normal(n) * 2.0**-70, draw.normal(n) * 2.0**-66, draw.normal(n) * 2.0**-138]
    yield "subnormal operands", [draw.normal(n) * 2.0**-130, draw.normal(n), draw.normal(n) * 2.0**-130]
    yield "overflow", [draw.normal(n) * 2.0**64, draw.normal(n) * 2.0**63, draw.normal(n) * 2.0**127]
    x, y = draw.normal(n), draw.normal(n)
    yield "cancelling", [x, y, -x * y]


@pytest.mark.parametrize(("kind", "xyz"), list(triples()), ids=lambda x: x if isinstance(x, str) else "")
def test_steps_round_once(kind: str, xyz: list[Tensor]) -> None:
    row = FLOATS["float32"]
    terms = [[Term.of(pattern, row) for pattern in patterns(side).tolist()] for side in xyz]
    want = [rounded_sum([z, x * y], row) for x, y, z in zip(*terms, strict=True)]
    for step in USABLE:
        got = stepped(step, *xyz)
        assert [code & 0xFFFFFFFF for code in folded(got).tolist()] == want, step


def test_recorded_steps() -> None:
    for family, (x, y, z, want) in recorded_fmas():
        for step in USABLE:
            assert torch.equal(folded(stepped(step, x, y, z)), patterns(want)), (family, step)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_step(data: st.DataObject) -> None:
    pattern = st.one_of(
        st.integers(-(1 << 31), (1 << 31) - 1),
        st.integers(0, 1 << 24).map(lambda x: x + (0x3F3 << 20)),
        st.integers(-29, 29).map(lambda x: x * 0x04400001),
    )
    triple = [data.draw(pattern) for _ in range(3)]
    row = FLOATS["float32"]
    x, y, z = (Term.of(bits, row) for bits in triple)
    want = rounded_sum([z, x * y], row)
    for step in USABLE:
        sides = (torch.tensor([bits], dtype=torch.int32).view(torch.float32) for bits in triple)
        assert folded(stepped(step, *sides)).item() & 0xFFFFFFFF == want, step


# ---- chains -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("biased", [False, True])
def test_every_kind_of_operands(kind: str, biased: bool) -> None:
    for (m, k, n), dtype in zip([(3, 1, 2), (2, 5, 4), (4, 9, 3)], RESULTS[:3], strict=True):
        a, b, bias = operands(kind, m, k, n)
        addend = bias if biased else None
        want = product(chain_dot, a, b, addend, dtype)
        for step in (None, *USABLE):
            assert_bit_equal(chain_mm(a, b, addend, dtype, arithmetic=step), want)


def test_recorded_chains() -> None:
    count = 0
    for case in golden("chain"):
        want = case.want[torch.float32]
        steps = (None, *USABLE) if case.about["K"] <= 17 else (None, "float64") if case.about["K"] <= 129 else (None,)
        for step in steps:
            assert_bit_equal(chain_mm(case.a, case.b, case.bias, torch.float32, arithmetic=step), want)
        count += 1
    assert count == 125


@pytest.mark.parametrize("kind", ["normal", "ties of a chain", "bits", "cancelling", "subnormal operands"])
def test_steps_agree_in_vectors_and_in_their_tails(kind: str) -> None:
    for n in (*range(1, 40), 63, 65, 1003):
        a, b, bias = operands(kind, 3, 5, n, seed=n)
        want = chain_mm(a, b, bias, torch.float32, arithmetic="definition")
        for step in (None, *USABLE):
            assert_bit_equal(chain_mm(a, b, bias, torch.float32, arithmetic=step), want)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 70, 300), (300, 70, 1), (257, 20, 301), (2, 385, 3)])
@pytest.mark.parametrize("dtype", RESULTS, ids=str)
def test_fast_steps_agree_in_large_products(m: int, k: int, n: int, dtype: torch.dtype) -> None:
    for kind in ("normal", "ties of a chain", "wide"):
        a, b, bias = operands(kind, m, k, n, seed=m)
        want = chain_mm(a, b, bias, dtype, arithmetic="float64")
        assert_bit_equal(chain_mm(a, b, bias, dtype), want)


def test_a_result_is_rounded_from_the_accumulator() -> None:
    """Unlike in exact/v1, by way of float32: here that makes a tie, which goes to even."""
    a, b = torch.tensor([[1.0, 2.0**-8, 2.0**-30]]), torch.ones(3, 1)
    assert chain_mm(a, b, None, torch.bfloat16).item() == 1.0
    assert exact_mm(a, b, None, torch.bfloat16).item() == 1.0 + 2.0**-7


def test_the_order_is_that_of_k() -> None:
    a, b = torch.tensor([[2.0**24, 1.0, -(2.0**24)]]), torch.ones(3, 1)
    assert chain_mm(a, b, None, torch.float32).item() == 0.0
    assert chain_mm(a[:, [0, 2, 1]], b, None, torch.float32).item() == 1.0
    assert chain_mm(a, b, torch.tensor([1.0]), torch.float32).item() == 0.0, "the bias comes first"


def test_products_are_not_rounded() -> None:
    a, b = torch.tensor([[1.0, 1 + 2.0**-23]]), torch.tensor([[-1.0], [1 - 2.0**-23]])
    for step in USABLE:
        assert chain_mm(a, b, None, torch.float32, arithmetic=step).item() == -(2.0**-46)


def test_no_term_is_padded() -> None:
    """An accumulator that is -0, by underflow or as a bias, stays it: one more +0 would make it +0."""
    for k in range(1, 12):
        a, b = torch.full((1, k), -(2.0**-80)), torch.full((k, 1), 2.0**-80)
        for step in (None, *USABLE):
            assert chain_mm(a, b, torch.tensor([-0.0]), torch.float32, arithmetic=step).item().hex() == "-0x0.0p+0"
            assert chain_mm(0 * a, b, torch.tensor([-0.0]), torch.float32, arithmetic=step).item().hex() == "-0x0.0p+0"
            assert chain_mm(0 * a, -b, torch.tensor([-0.0]), torch.float32, arithmetic=step).item().hex() == "0x0.0p+0"


def test_sums_of_nothing_are_the_bias() -> None:
    bias = torch.tensor([[2.0**-130, -0.0, 1 + 2.0**-8], [torch.nan, -torch.inf, 0.0]])
    for dtype in RESULTS:
        assert_bit_equal(chain_mm(torch.empty(2, 0), torch.empty(0, 3), None, dtype), torch.zeros(2, 3, dtype=dtype))
        got = chain_mm(torch.empty(2, 0), torch.empty(0, 3), bias, dtype)
        assert_bit_equal(got, product(chain_dot, torch.empty(2, 0), torch.empty(0, 3), bias, dtype))


def test_nan_is_the_largest_pattern() -> None:
    a, b = torch.tensor([[torch.inf, 1.0]]), torch.tensor([[0.0], [1.0]])
    for step, dtype in itertools.product(USABLE, RESULTS):
        got = chain_mm(a, b, None, dtype, arithmetic=step)
        assert patterns(got).item() == torch.iinfo(patterns(got).dtype).max


# ---- fmaf in C ----------------------------------------------------------------------------------------------------


class Compiled:
    """What a C compiler makes of fmaf_chain.c."""

    def __init__(self, library: Path) -> None:
        self.library = ctypes.CDLL(str(library))

    def steps(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        result = torch.empty_like(z)
        self._call("steps", (x, y, z, result), (len(z),))
        return result

    def chain(self, a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
        a, b = a.contiguous(), b.contiguous()
        result = torch.empty(a.shape[0], b.shape[1])
        self._call("chain", (a, b, bias, result), (*a.shape, b.shape[1]))
        return result

    def _call(self, name: str, tensors: tuple[Tensor | None, ...], sizes: tuple[int, ...]) -> None:
        assert all(x is None or (x.dtype == torch.float32 and x.is_contiguous()) for x in tensors)
        function = getattr(self.library, name)
        function.restype, function.argtypes = None, [ctypes.c_void_p] * len(tensors) + [ctypes.c_size_t] * len(sizes)
        function(*(None if x is None else x.data_ptr() for x in tensors), *sizes)


@pytest.fixture(scope="session")
def c(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on the PATH, whose library's fmaf would be the oracle")
    library = tmp_path_factory.mktemp("fmaf") / "chain.so"
    source = Path(__file__).parent / "fmaf_chain.c"
    options = ["-O2", "-std=c99", "-ffp-contract=off", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", library, source, "-lm"], check=True)
    return Compiled(library)


@pytest.mark.parametrize("kind", DATA)
def test_chains_in_c(kind: str, c: Compiled) -> None:
    for k in (0, 1, 2, 3, 5, 17, 64, 257, 1100):
        a, b, bias = operands(kind, 21, k, 37, seed=k)
        for addend in (None, bias):
            want = folded(c.chain(a, b, addend))
            for step in USABLE if k <= 3 else (None, "float64"):
                got = chain_mm(a, b, addend, torch.float32, arithmetic=step)
                assert torch.equal(folded(got), want), (k, step)


def _many(n: int = 1 << 18) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """x, y, z of which x * y + z is hard to round."""
    draw = Draw(2)
    small = [2.0**-i for i in range(1, 24)]
    yield "bits", (draw.bits(n), draw.bits(n), draw.bits(n))
    head = (1 + draw.whole(0, 1 << 23, n) * 2.0**-23) * draw.signs(n)
    yield "ties", ((1 + draw.choice(small, n)) * draw.signs(n), 2.0**-24 * (1 - draw.choice(small, n)), head)
    # Products are half of a unit, or so little less or more that float64 sums lose it.
    near = torch.tensor([(1.0, 1.0), (1 + 2.0**-23, 1 - 2.0**-23), (1 + 2.0**-12, 1 - 4095 * 2.0**-24)])
    u, v = near[draw.whole(0, 3, n)].unbind(1)
    subnormal = draw.whole(1 << 21, 1 << 23, n) * draw.signs(n) * 2.0**-149
    yield "subnormal ties", (u * 2.0**-75 * draw.signs(n), v * 2.0**-75, subnormal)
    yield "next to overflow", (u * 2.0**52 * draw.signs(n), v * 2.0**51, draw.signs(n) * (2.0**128 - 2.0**104))


@pytest.mark.parametrize(("kind", "xyz"), list(_many()), ids=lambda x: x if isinstance(x, str) else "")
def test_steps_in_c(kind: str, xyz: tuple[Tensor, Tensor, Tensor], c: Compiled) -> None:
    x, y, z = (side.float() for side in xyz)
    want = folded(c.steps(x, y, z))
    for step in USABLE[1:]:
        assert torch.equal(folded(stepped(step, x, y, z)), want), step
    # One by one, none hides behind another one that is in doubt.
    for i in range(50):
        assert folded(stepped("float64", x[i : i + 1], y[i : i + 1], z[i : i + 1])).item() == want[i].item()
    if kind != "bits":
        naive = (x.double() * y.double() + z.double()).float()
        assert not torch.equal(folded(naive), want), "a test that cannot fail"


# ---- wrong orders -------------------------------------------------------------------------------------------------

Chain = Callable[[Tensor, Tensor], Tensor]


def _by_steps(step: Callable[[Tensor, Tensor, Tensor], Tensor], ks: Callable[[int], range] = range) -> Chain:
    def chain(a: Tensor, b: Tensor) -> Tensor:
        sums = torch.zeros(len(a), b.shape[1])
        for k in ks(a.shape[1]):
            sums = step(a[:, k, None], b[k, None], sums)
        return sums

    return chain


def _blocks_of_384(a: Tensor, b: Tensor) -> Tensor:
    parts = [chain_mm(x, y, None, torch.float32) for x, y in zip(a.split(384, 1), b.split(384), strict=True)]
    return sum(parts[1:], parts[0])


WRONG: dict[str, Chain] = {
    "descending": _by_steps(fma, lambda k: range(k - 1, -1, -1)),
    "from the second": _by_steps(fma, lambda k: range(1, k)),
    "products rounded": _by_steps(lambda x, y, z: x * y + z),
    "float64 rounded": _by_steps(lambda x, y, z: (x.double() * y.double() + z.double()).float()),
    "float64 at the end": lambda a, b: (a.double() @ b.double()).float(),
    "blocks of 384": _blocks_of_384,
}


def _follows_the_chain(product: Chain, longest: int) -> bool:
    """Whether a product has the chain's bits on all that is tried."""
    for k in (k for k in (1, 2, 17, 384, 385, 1000) if k <= longest):
        for kind in ("normal", "ties of a chain", "subnormal results"):
            a, b, _ = operands(kind, 8, k, 40, seed=k)
            if not torch.equal(folded(product(a, b)), folded(chain_mm(a, b, None, torch.float32))):
                return False
    return True


@pytest.mark.parametrize("name", WRONG)
def test_wrong_orders_are_noticed(name: str) -> None:
    assert _follows_the_chain(_by_steps(fma), 1000)
    assert not _follows_the_chain(WRONG[name], 1000)


def test_short_sums_would_not_notice() -> None:
    """Libraries cut K in blocks, MKL after 384 terms: until there they look like a chain."""
    assert _follows_the_chain(_blocks_of_384, 384)
    a, b, _ = operands("normal", 8, 385, 40)
    assert not torch.equal(_blocks_of_384(a, b), chain_mm(a, b, None, torch.float32))


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch.mm is not MKL's here")
def test_torch_mm_is_no_chain() -> None:
    assert not _follows_the_chain(torch.mm, 1000)


# ---- sums of two --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "xyz"), list(triples()), ids=lambda x: x if isinstance(x, str) else "")
def test_sums_of_two(kind: str, xyz: list[Tensor]) -> None:
    row = FLOATS["float32"]
    for x, y in itertools.permutations(xyz, 2):
        terms = ([Term.of(pattern, row) for pattern in patterns(side).tolist()] for side in (x, y))
        want = [rounded_sum([u, v], row) for u, v in zip(*terms, strict=True)]
        for form in (add, *(ARITHMETICS[name].add for name in USABLE)):
            assert [code & 0xFFFFFFFF for code in folded(form(x, y)).tolist()] == want
        with SETTINGS["flush denormal"]():
            flushed = add(x, y)
        assert [code & 0xFFFFFFFF for code in folded(flushed).tolist()] == want


# ---- batches, layout, tiles ---------------------------------------------------------------------------------------

BATCHES = [
    ((3, 4, 5), (3, 5, 2)),
    ((3, 4, 5), (5, 2)),
    ((4, 5), (3, 5, 6)),
    ((2, 1, 4, 5), (3, 5, 2)),
    ((2, 3, 4, 5), (1, 1, 5, 7)),
    ((0, 4, 5), (5, 2)),
    ((2, 0, 5), (2, 5, 3)),
    ((2, 4, 0), (2, 0, 3)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES, ids=str)
@pytest.mark.parametrize("tile", [1, 5, 1 << 16])
def test_batches_are_their_matrices(
    left: tuple[int, ...], right: tuple[int, ...], tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, arithmetic in ARITHMETICS.items():
        monkeypatch.setitem(ARITHMETICS, name, replace(arithmetic, tile=tile))
    monkeypatch.setattr(chain, "TERMS", tile)
    draw = Draw(12)
    a, b = draw.normal(*left), draw.normal(*right)
    shape = torch.Size((*torch.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1]))
    for bias in (None, draw.normal(right[-1]), draw.normal(*shape), draw.normal(left[-2], 1)):
        got = chain_mm(a, b, bias, torch.float32)
        assert got.shape == shape
        assert got.is_contiguous()
        for place in itertools.product(*map(range, shape[:-2])):
            x, y = (side.expand(*shape[:-2], *side.shape[-2:])[place] for side in (a, b))
            addend = None if bias is None else bias.expand(shape)[place]
            assert_bit_equal(got[place], product(chain_dot, x, y, addend, torch.float32))


def test_a_row_is_the_same_in_any_batch_and_layout() -> None:
    a, b, bias = operands("ties of a chain", 40, 30, 50)
    want = chain_mm(a, b, bias, torch.float32)
    for i in (0, 1, 21, 39):
        assert_bit_equal(chain_mm(a[i : i + 1], b, bias, torch.float32), want[i : i + 1])
        assert_bit_equal(chain_mm(a, b[:, i : i + 1], bias[i : i + 1], torch.float32), want[:, i : i + 1])
    strided = torch.stack([a, a], -1)[..., 0], torch.stack([b, b], -1)[..., 1]
    for x, y in (strided, (a.mT.contiguous().mT, b.mT.contiguous().mT), (torch._neg_view(-a), torch._neg_view(-b))):
        assert_bit_equal(chain_mm(x, y, bias, torch.float32), want)


@pytest.mark.parametrize("step", USABLE)
def test_no_operand_is_changed(step: str) -> None:
    sides = operands("normal", 6, 5, 7)
    before = [x.clone() for x in sides]
    for m in (1, 6):
        chain_mm(sides[0][:m], sides[1], sides[2], torch.float32, arithmetic=step)
        chain_mm(sides[0][:m], sides[1], sides[2].expand(m, 7).contiguous(), torch.float32, arithmetic=step)
    chain_mm(sides[1].mT, sides[0].mT, None, torch.float32, arithmetic=step)
    for x, y in zip(sides, before, strict=True):
        assert torch.equal(patterns(x), patterns(y))


# ---- settings, and which step serves ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    sides = {kind: operands(kind, 7, 12, 9, seed=10) for kind in DATA} | {"large": operands("normal", 300, 9, 290)}
    want = {(kind, dtype): chain_mm(*sides[kind], dtype) for kind in sides for dtype in RESULTS[:3]}
    with SETTINGS[name]():
        got = {(kind, dtype): chain_mm(*sides[kind], dtype) for kind, dtype in want}
    for key in want:
        assert torch.equal(patterns(got[key]), patterns(want[key])), key


def test_flushed_subnormals_are_noticed() -> None:
    fastest = "addcmul" if FUSED else "float64"
    normal, tiny = operands("normal", 4, 5, 6), operands("subnormal results", 4, 5, 6)
    wide = torch.full((1, 1), 2.0**100), torch.full((1, 1), 2.0**-140), torch.zeros(1)
    for sides in (normal, tiny, wide):
        assert chain._fastest(list(sides), 1) == fastest
    with SETTINGS["flush denormal"]():
        assert hardware.flushes_subnormals()
        assert chain._fastest(list(normal), 1) == fastest
        for sides in (tiny, wide, (*normal[:2], normal[2] * 2.0**-126)):
            assert chain._fastest(list(sides), 1) == "definition"
    assert not hardware.flushes_subnormals(chain.TILE)


def test_a_machine_that_does_not_fuse_adds_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, bias = operands("ties of a chain", 5, 6, 7)
    want = chain_mm(a, b, bias, torch.float32, arithmetic="definition")
    for module in (chain, hardware):
        monkeypatch.setattr(module, "fuses_addcmul", lambda: False)
    monkeypatch.setitem(ARITHMETICS, "addcmul", None)
    assert_bit_equal(chain_mm(a, b, bias, torch.float32), want)
    assert hardware.fma_status().startswith("fma: float64 rounded to odd (a probe found torch.addcmul not fused")


def test_subclasses_go_through_the_definition() -> None:
    x = torch.ones(1, 1)
    assert chain._fastest([torch.nn.Parameter(x), x], 1) == "definition"


def _rounded_in_float64(x: Tensor, y: Tensor, z: Tensor, end: float) -> Tensor:
    """By way of the next float64 towards an end."""
    total, missing = two_sum(x.double() * y.double(), z.double())
    there = missing < 0 if end < 0 else missing > 0
    return torch.where(there, total.nextafter(torch.full_like(total, end)), total).float()


def _only_where(wrong: Callable[[Tensor], bool | Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda x, y, z: torch.where(torch.as_tensor(wrong(z)), x * y + z, fma(x, y, z))


UNFUSED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "product rounded": lambda x, y, z: x * y + z,
    "float64 rounded": lambda x, y, z: (x.double() * y.double() + z.double()).float(),
    "float64 rounded down": lambda x, y, z: _rounded_in_float64(x, y, z, -torch.inf),
    "float64 rounded up": lambda x, y, z: _rounded_in_float64(x, y, z, torch.inf),
    "product rounded in tails": _only_where(lambda z: z.shape[-1] % 16 > 0),
    "product rounded in the last element": _only_where(lambda z: torch.arange(z.shape[-1]) == z.shape[-1] - 1),
    "product rounded in matrices": _only_where(lambda z: z.dim() == 2),
    "product rounded in batches": _only_where(lambda z: z.dim() == 3),
}


@pytest.mark.parametrize("wrong", UNFUSED)
def test_the_probe_finds_what_is_not_fused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "addcmul_", lambda z, x, y: z.copy_(fma(x, y, z)))
    assert hardware.fuses_addcmul.__wrapped__()
    monkeypatch.setattr(Tensor, "addcmul_", lambda z, x, y: z.copy_(UNFUSED[wrong](x, y, z)))
    assert not hardware.fuses_addcmul.__wrapped__()


SCRIPT = """
from functools import partial
from float_sums import digest
from refnum.fast.hardware import fma_status
from refnum.sums.chain import chain_mm
from refnum.sums.exact import exact_mm
from refnum.sums.replays import replay_mm
from refnum.sums.tree import tree_mm
forms = chain_mm, exact_mm, partial(tree_mm, chunk=7), partial(replay_mm, order="slab8")
print(fma_status(), *map(digest, forms), sep="\\n")
"""


def test_no_cpu_capability_changes_a_bit() -> None:
    path = os.pathsep.join([str(Path(refnum.__file__).parent.parent), str(Path(__file__).parent)])
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": path}
    command = [sys.executable, "-c", SCRIPT]
    status, *found = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    forms = chain_mm, exact_mm, partial(tree_mm, chunk=7), partial(replay_mm, order="slab8")
    assert found == [digest(form) for form in forms]
    assert status.startswith("fma: ")
    if "DEFAULT" in status:
        assert "not fused" in status
