"""Quire products by exact float64 slices: the bits of the registers, whatever the data; and the proof they rest on."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refnum_conformance.oracles import quire as oracle
from torch import Tensor

import refnum
from refnum import Posit
from refnum.boundary import SIGNED
from refnum.fast import expansions, slices
from refnum.sums import operands, quires
from refnum.testing import assert_bit_equal, cases

P8, P16, P32 = Posit(8), Posit(16), Posit(32)
SERVED = (
    *(Posit(3), Posit(5, 4), P8, Posit(8, 0), P16, Posit(16, 1)),
    *(Posit(24), Posit(31, 0), P32, Posit(40, 1), Posit(55)),
)
REFUSED = (Posit(2), Posit(33, 4), Posit(48, 4), Posit(56), Posit(64))


def normal(*shape: int, seed: int, spread: int = 0) -> Tensor:
    """N(0, 1), times powers of 2 up to the spread."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.randint(-spread, spread + 1, shape, generator=generator).to(torch.float64).exp2()
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale


def cancelling(rows: int, terms: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Products that cancel but for one tiny term."""
    a, b = normal(rows, terms, seed=seed), normal(terms, columns, seed=seed + 1)
    tiny = torch.full((1, columns), 1e-9, dtype=torch.float64)
    return torch.cat([a, a, a[:, :1]], 1), torch.cat([b, -b, tiny])


def outliers(rows: int, terms: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Dense values and, on each side, a few that are far smaller."""
    a, b = normal(rows, terms, seed=seed), normal(terms, columns, seed=seed + 1)
    for x in (a, b):
        x.view(-1)[5::397] *= 2.0**-22
    return a, b


DATA = {
    "N(0,1)": lambda: (normal(40, 33, seed=1), normal(33, 21, seed=2)),
    "full range": lambda: (normal(12, 9, seed=3, spread=100), normal(9, 7, seed=4, spread=100)),
    "cancelling": lambda: cancelling(9, 12, 8, seed=5),
    "outliers": lambda: outliers(40, 60, 40, seed=6),
    "small integers on the left": lambda: (normal(20, 30, seed=7).round(), normal(30, 20, seed=8, spread=9)),
    "small integers on the right": lambda: (normal(20, 30, seed=9, spread=9), normal(30, 20, seed=10).round()),
    "zeros": lambda: (torch.zeros(4, 5, dtype=torch.float64), normal(5, 3, seed=11)),
    "a zero row and a zero column": lambda: (
        normal(6, 8, seed=12).index_fill(0, torch.tensor([2]), 0.0),
        normal(8, 5, seed=13).index_fill(1, torch.tensor([4]), 0.0),
    ),
    "NaN and Inf": lambda: (
        normal(6, 8, seed=14).index_put((torch.tensor([1]), torch.tensor([3])), torch.tensor(torch.nan).double()),
        normal(8, 5, seed=15).index_put((torch.tensor([0]), torch.tensor([2])), torch.tensor(-torch.inf).double()),
    ),
    "one term": lambda: (normal(5, 1, seed=16, spread=30), normal(1, 6, seed=17, spread=30)),
    "extremes": lambda: (
        normal(6, 6, seed=18).sign() * 2.0 ** torch.tensor([-400.0, 400, 0, 400, -400, 400], dtype=torch.float64),
        normal(6, 5, seed=19).sign() * 2.0 ** torch.tensor([[400.0], [-400], [0], [400], [400], [-400]]).double(),
    ),
}


@pytest.mark.parametrize("fmt", SERVED, ids=str)
@pytest.mark.parametrize("data", DATA)
def test_slices_give_the_bits_of_registers(fmt: Posit, data: str) -> None:
    a, b = (refnum.encode(x, fmt) for x in DATA[data]())
    c = refnum.encode(normal(a.shape[0], b.shape[1], seed=20, spread=40), fmt)
    assert quires._slices_serve(fmt, a, b)
    for addend in (None, c):
        assert_bit_equal(quires._mm_by_slices(a, b, addend, fmt, None), quires.mm_by_registers(a, b, addend, fmt, None))


@pytest.mark.parametrize("few", [256, 4])
@pytest.mark.parametrize("fmt", [P16, Posit(24, 3), P32, Posit(32, 4), Posit(45, 1)], ids=str)
def test_entries_that_span_the_whole_range(fmt: Posit, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many bits for one float64: entries are cut as slices are. NaR, and what cancels, among them."""
    monkeypatch.setattr(slices, "FEW", few)
    generator = torch.Generator().manual_seed(30)
    kinds = set()
    for seed in range(12):
        a, b = normal(13, 40, seed=seed), normal(40, 11, seed=seed + 100)
        for x in (a, b):
            step, reach = (7 if few == 4 else 400), fmt.max_scale
            places = torch.arange(seed, x.numel(), step)
            x.view(-1)[places] *= torch.randint(-reach, reach // 9, places.shape, generator=generator).double().exp2()
        if seed % 3 == 0:
            a[:, 20:], b[20:] = a[:, :20], -b[:20]
        if seed % 4 == 0:
            a[seed % 13, 3] = torch.nan
        x, y = refnum.encode(a, fmt), refnum.encode(b, fmt)
        assert_bit_equal(refnum.posit_mm(x, y, fmt), quires.mm_by_registers(x, y, None, fmt, None))
        kinds |= {type(part) for part in slices.cut(a.nan_to_num(), -1, slices.extent(a.nan_to_num(), -1, -600), 25)}
    assert kinds == {slices.Slice, slices.Entries}


@pytest.mark.parametrize("fmt", SERVED, ids=str)
@pytest.mark.parametrize("kind", cases.KINDS)
def test_dots_by_slices_give_the_bits_of_registers(fmt: Posit, kind: str) -> None:
    a, b = cases.dots(fmt, kind, count=300, length=11)
    assert_bit_equal(quires._dot_by_slices(a, b, fmt), quires.dot_by_registers(a, b, fmt))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("fmt", [P8, P16, Posit(16, 3), Posit(20, 3), P32], ids=str)
def test_floats_of_every_dtype(fmt: Posit, dtype: torch.dtype) -> None:
    """Those that are subnormal, or do not hold the format, too."""
    for data in ("N(0,1)", "full range", "NaN and Inf"):
        a, b = (x.to(dtype) for x in DATA[data]())
        for result in (torch.float64, None):
            got = quires._mm_by_slices(a, b, None, fmt, result)
            assert_bit_equal(got, quires.mm_by_registers(a, b, None, fmt, result))


@pytest.mark.parametrize("fmt", REFUSED, ids=str)
def test_formats_without_room_go_through_registers(fmt: Posit) -> None:
    a = torch.zeros(1, 1, dtype=torch.int64)
    assert not quires._slices_serve(fmt, a, a)


def test_subclasses_and_meta_tensors_go_through_registers() -> None:
    x = torch.zeros(1, 1)
    assert quires._slices_serve(P16, x, x)
    assert not quires._slices_serve(P16, x, x.to("meta"))
    assert not quires._slices_serve(P16, torch.nn.Parameter(x), x)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_small_product_is_the_oracles(data: st.DataObject) -> None:
    fmt = data.draw(st.sampled_from(SERVED))
    pattern = st.integers(fmt.nar + 1, fmt.maxpos)
    m, k, n = (data.draw(st.integers(1, size)) for size in (3, 6, 3))
    a = [[data.draw(pattern) for _ in range(k)] for _ in range(m)]
    b = [[data.draw(pattern) for _ in range(n)] for _ in range(k)]
    got = refnum.posit_mm(torch.tensor(a), torch.tensor(b), fmt)
    assert got.tolist() == oracle.posit_mm(a, b, n=fmt.n, es=fmt.es)


BATCHES = [
    ((3, 4, 5), (3, 5, 2)),
    ((3, 4, 5), (5, 2)),
    ((4, 5), (3, 5, 2)),
    ((2, 1, 4, 5), (3, 5, 2)),
    ((2, 3, 4, 5), (1, 1, 5, 2)),
    ((0, 4, 5), (5, 2)),
    ((2, 0, 5), (2, 5, 3)),
    ((2, 4, 0), (2, 0, 3)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES, ids=str)
@pytest.mark.parametrize("rows", [1, 7, 1 << 18])
def test_batches_are_their_matrices(
    left: tuple[int, ...], right: tuple[int, ...], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quires, "ROWS", rows)
    a, b = normal(*left, seed=21, spread=20), normal(*right, seed=22, spread=20)
    c = normal(*operands.product_shape(a, b), seed=23)
    got = refnum.posit_mm(a, b, P32, c=c)
    want = quires.mm_by_registers(a, b, c, P32, torch.float64)
    assert_bit_equal(got, want)


# ---- order independence -------------------------------------------------------------------------------------------


def _variants(a: Tensor, b: Tensor, fmt: Posit, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Tensor]]:
    order = torch.randperm(a.shape[1], generator=torch.Generator().manual_seed(24))
    yield "K permuted", refnum.posit_mm(a[:, order], b[order], fmt)
    split = a.shape[1] // 3
    quire = refnum.Quire(fmt, (a.shape[0], b.shape[1]))
    for part in (slice(split, None), slice(split)):
        for k in range(a.shape[1])[part]:
            quire.mul_add(a[:, k : k + 1], b[k : k + 1])
    yield "K split", quire.to_posit()
    yield "transposed", refnum.posit_mm(b.T, a.T, fmt).T
    for rows in (1, 50, 1 << 20):
        monkeypatch.setattr(quires, "ROWS", rows)
        yield f"{rows} elements at a time", refnum.posit_mm(a, b, fmt)
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        yield f"{count} threads", refnum.posit_mm(a, b, fmt)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("fmt", [P8, P16, Posit(16, 1), P32], ids=str)
@pytest.mark.parametrize("data", ["N(0,1)", "full range", "cancelling", "outliers"])
def test_no_order_changes_a_bit(fmt: Posit, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (refnum.encode(x, fmt) for x in DATA[data]())
    want = refnum.posit_mm(a, b, fmt)
    for name, got in _variants(a, b, fmt, monkeypatch):
        assert torch.equal(got, want), name


SCRIPT = """
import hashlib, torch, refnum
torch.set_num_threads({threads})
generator = torch.Generator().manual_seed(0)
digest = hashlib.sha256()
for fmt, spread in ((refnum.posit8, 0), (refnum.posit16, 0), (refnum.posit16, 30), (refnum.posit32, 0)):
    a, b = (torch.randint(-(1 << 20), 1 << 20, (96, 96), generator=generator).double() * 2.0**-20 for _ in range(2))
    a = a * torch.randint(-spread, spread + 1, a.shape, generator=generator).double().exp2()
    digest.update(refnum.posit_mm(a, b, fmt).numpy().tobytes())
print(torch.backends.cpu.get_cpu_capability(), digest.hexdigest())
"""


def test_no_cpu_capability_or_thread_count_changes_a_bit() -> None:
    path = os.pathsep.join([str(Path(refnum.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    found = {}
    for capability, threads in (("default", 1), ("avx2", 1), ("avx512", 2)):
        environment = os.environ | {"ATEN_CPU_CAPABILITY": capability, "PYTHONPATH": path}
        command = [sys.executable, "-c", SCRIPT.format(threads=threads)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found[capability] = run.stdout.split()[-1]
    assert len(set(found.values())) == 1, found


# ---- the pieces ---------------------------------------------------------------------------------------------------


def exactly(parts: list[slices.Part], like: Tensor, axis: int) -> Tensor:
    """What the parts add up to, in float64 without an error."""
    total = torch.zeros_like(like)
    for part in reversed(parts):
        if isinstance(part, slices.Slice):
            total = total + part.values
        else:
            place = (part.vectors, part.terms) if axis == -1 else (part.terms, part.vectors)
            total = total.index_put(place, part.values, accumulate=True)
    return total


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("width", [8, 25, 40])
@pytest.mark.parametrize("spread", [0, 12])
def test_slices_are_what_they_say(axis: int, width: int, spread: int) -> None:
    """They add up to the operand; each is made of multiples of its unit and no vector is longer than its norm."""
    x = refnum.quantize(normal(30, 40, seed=25, spread=spread), P32)
    x.view(-1)[3::500] *= 2.0**-60
    unit = -200
    parts = slices.cut(x.clone(), axis, slices.extent(x, axis, unit), width)
    assert torch.equal(exactly(parts, x, axis), x)
    for part in parts:
        assert torch.equal((part.values * 2.0**-part.unit).round(), part.values * 2.0**-part.unit)
        if isinstance(part, slices.Slice):
            assert part.values.square().sum(axis).max().sqrt() <= part.norm
            assert part.norm <= math.ldexp(1.01, part.unit + width)
    if spread == 0 and width == 40:
        assert [type(part) for part in parts] == [slices.Slice, slices.Entries]


def test_a_bound_of_2_to_the_53_is_where_exactness_ends() -> None:
    """At it nothing is cut or everything still fits; above it there must be slices."""
    ones = slices.Extent(2.0**26, 0)
    assert slices.widths(slices.Extent(2.0**26 - 1, 0), slices.Extent(2.0**26 - 1, 0)) == (26, 26)
    for beyond in (slices.Extent(2.0**27 + 1, 0), slices.Extent(2.0**28, 0)):
        left, right = slices.widths(ones, beyond)
        assert left + right < slices.MANTISSA
    assert not slices._exact(2.0**53 + 2, 0)
    assert slices._exact(2.0**53 * (1 - 2.0**-19), 0)


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_sums_at_the_edge_of_float64_are_exact(offset: int) -> None:
    """Two products of 2**52 units and one of a few: a sum of 2**53 + offset, which float64 may not hold."""
    fmt = Posit(55)
    a = torch.tensor([[2.0**26, 2.0**26, 1.0]], dtype=torch.float64)
    b = torch.tensor([[2.0**26], [2.0**26], [float(offset)]], dtype=torch.float64)
    minus = torch.tensor([[-(2.0**53)]], dtype=torch.float64)
    assert refnum.posit_mm(a, b, fmt, c=minus).item() == offset


def test_the_last_unit_of_a_sum_counts() -> None:
    """Sums of two products that need 55 bits, and an addend that leaves only the last seven of them."""
    fmt, bits = Posit(31), 26  # of fraction, from 1 to 16
    generator = torch.Generator().manual_seed(31)
    x1, x2, y1, y2 = torch.randint(1 << bits, 2 << bits, (4, 1 << 21), generator=generator)
    total = x1 * y1 + x2 * y2
    step = 1 << 28  # units of posits from 4 on, in units of the products
    rest = (total + step // 2) % step - step // 2
    found = ((rest.abs() < 1 << 7) & (rest & 1 == 1) & (total >= 1 << 54)).nonzero()[:, 0]
    assert len(found) >= 2
    for i in found.tolist():
        a = torch.tensor([[x1[i], x2[i]]], dtype=torch.float64) * 2.0**-bits
        b = torch.tensor([[y1[i]], [y2[i]]], dtype=torch.float64) * 2.0**-bits
        c = torch.tensor([[rest[i] - total[i]]], dtype=torch.int64).double() * 2.0 ** (-2 * bits)
        assert refnum.posit_mm(a, b, fmt, c=c).item() == rest[i].item() * 2.0 ** (-2 * bits)


def test_an_entry_meets_an_entry() -> None:
    """All else cancels, so that the product of the two entries below all slices is the result."""
    a, b = (normal(*shape, seed=32, spread=2).mul(16).round() for shape in ((20, 24), (24, 18)))
    a, b = torch.cat([a, a, torch.zeros(20, 1)], 1), torch.cat([b, -b, torch.zeros(1, 18)])
    a[3, -1] = b[-1, 5] = 2.0**-58
    for x, axis in ((a, -1), (b, -2)):
        parts = slices.cut(x.clone(), axis, slices.extent(x, axis, -200), 25)
        assert [type(part) for part in parts] == [slices.Slice, slices.Entries]
    want = torch.zeros(20, 18, dtype=torch.float64)
    want[3, 5] = 2.0**-116
    assert torch.equal(refnum.posit_mm(a, b, P32), want)


@pytest.mark.parametrize("count", range(1, 10))
def test_few_terms_are_rounded_to_odd_once(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    terms = [
        torch.randn(400, dtype=torch.float64, generator=generator)
        * torch.randint(-60, 60, (400,), generator=generator).double().exp2()
        * torch.randint(0, 2, (400,), generator=generator)
        for _ in range(count)
    ]
    if count > 2:
        terms[1][:150] = -terms[0][:150]  # what cancels
        terms[2][:150] *= 2.0**-80
        terms[2][150:200] = torch.ldexp(terms[0][150:200].sign(), terms[0][150:200].frexp()[1] - 55)  # near ties
    got = expansions.rounded_to_odd(terms)
    for i, x in enumerate(got.tolist()):
        exact = sum((Fraction(term[i].item()) for term in terms), Fraction())
        assert_rounded_to_odd(x, exact)


def assert_rounded_to_odd(x: float, exact: Fraction) -> None:
    if Fraction(x) == exact:
        return
    neighbour = math.nextafter(x, math.inf if exact > Fraction(x) else -math.inf)
    assert min(Fraction(x), Fraction(neighbour)) < exact < max(Fraction(x), Fraction(neighbour))
    assert torch.tensor(x, dtype=torch.float64).view(torch.int64).item() & 1, "and the odd one of the two"


def test_ties_with_a_tail_far_below_are_no_ties() -> None:
    """A sum half-way between two posits, and 2**-200 of it: three and more totals that only a sticky bit tells of."""
    for fmt, sign, tail in itertools.product((P16, P32), (1, -1), (1, 0, -1)):
        one = 1 << (fmt.n - 2)
        middle = Fraction(1) + Fraction(1, 2 << (fmt.n - 5))  # 1 + half a unit
        parts = [1.0, float(middle - 1), tail * 2.0 ** -(fmt.max_scale // 2) * 2.0 ** -(fmt.max_scale // 2)]
        factors = [(1.0, 1.0), (parts[1], 1.0), (tail * 2.0 ** -(fmt.max_scale // 2), 2.0 ** -(fmt.max_scale // 2))]
        a = torch.tensor([[sign * x for x, _ in factors]], dtype=torch.float64)
        b = torch.tensor([[y] for _, y in factors], dtype=torch.float64)
        want = sign * (one + (tail > 0))
        assert refnum.posit_mm(refnum.encode(a, fmt), refnum.encode(b, fmt), fmt).item() == want


def test_no_operand_is_changed() -> None:
    a, b, c = normal(5, 6, seed=26), normal(6, 4, seed=27), normal(5, 4, seed=28)
    before = [x.clone() for x in (a, b, c)]
    for mode in ("quire", "posit"):
        refnum.posit_mm(a, b, P32, c=c, mode=mode)
    for x, y in zip((a, b, c), before, strict=True):
        assert torch.equal(x.view(SIGNED[64]), y.view(SIGNED[64]))
