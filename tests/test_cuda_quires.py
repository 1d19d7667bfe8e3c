"""The kernels of posit_quire/v1, as they are, on the CPU: against refnum.posit_mm and quire_dot, and on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import pytest
import torch
from cuda import scenes
from cuda.quire_products import (  # before refnum_cuda, which it finds
    BY_REGISTERS,
    BY_RESIDUES,
    GPU,
    Files,
    cancelling,
    guarded,
    multiplied,
    patterns,
    run,
    spread,
    the_files,
    wanted,
)
from cuda.simulate import CHOICES, Choice
from cuda.stage import stage
from torch import Tensor

import refnum
from refnum import Posit
from refnum.boundary import container
from refnum.posit import Quire
from refnum.testing import assert_bit_equal
from refnum_cuda import parameters, quires, residues

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@pytest.fixture(scope="module")
def files() -> Files:
    return the_files()


WAYS = [
    *(pytest.param("residues", fmt, marks=() if fmt.n in (3, 16) else pytest.mark.slow) for fmt in BY_RESIDUES),
    *(("registers", fmt) for fmt in BY_REGISTERS),
]


# ---- bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "fmt"), WAYS, ids=str)
def test_every_kind_of_operands(files: Files, way: str, fmt: Posit) -> None:
    c = patterns(fmt, 5, 6, seed=3)
    least, most = torch.ones(1, 1, dtype=c.dtype), torch.full((1, 1), fmt.nar + 1, dtype=c.dtype)
    mixed = torch.cat([least, most, -least, -most], 1)
    kinds = {
        "all patterns": (patterns(fmt, 5, 40, seed=1, nar=True), patterns(fmt, 40, 6, seed=2)),
        "cancelling": cancelling(fmt, 5, 9, 6),
        "maxpos": (most.expand(5, 9), most.expand(9, 6)),
        "minpos": (least.expand(5, 9), -least.expand(9, 6)),
        "ends": (mixed.repeat(5, 3), mixed.mT.flip(0).repeat(3, 6)),
        "zero": (0 * patterns(fmt, 5, 3), patterns(fmt, 3, 6)),
        "zeros": (0 * patterns(fmt, 5, 3), 0 * patterns(fmt, 3, 6)),
        "NaR": (torch.where(patterns(fmt, 5, 3) == 1, 0, fmt.nar).to(c.dtype), 0 * patterns(fmt, 3, 6)),
    }
    for i, (name, (a, b)) in enumerate(kinds.items()):
        for addend in [(None, c), (c, 0 * c + fmt.nar), (None, 0 * c)][i % 3]:
            got = multiplied(files, way, a, b, addend, fmt, choice=CHOICES[i % len(CHOICES)])
            assert torch.equal(got, wanted(a, b, addend, fmt)), name


@pytest.mark.parametrize("way", ["residues", "registers"])
def test_all_products_and_ties_of_posit8(files: Files, way: str) -> None:
    """Every product of two posits; with minpos squared, halves of the pattern's last place go up or down."""
    fmt = Posit(8)
    every = torch.arange(-128, 128).to(torch.int8)
    a, b = (every if way == "residues" else every[::21])[:, None], every[None, :]
    assert torch.equal(multiplied(files, way, a, b, None, fmt), wanted(a, b, None, fmt))
    part = every[:: 7 if way == "residues" else 31, None]
    for sign in (-1, 1):
        x = torch.cat([part, torch.full_like(part, sign)], 1)
        y = torch.cat([b, torch.ones_like(b)])
        assert torch.equal(multiplied(files, way, x, y, None, fmt), wanted(x, y, None, fmt))


@pytest.mark.parametrize("way", ["residues", "registers"])
@pytest.mark.parametrize("fmt", [Posit(8), Posit(16)], ids=str)
def test_between_neighbours(files: Files, way: str, fmt: Posit) -> None:
    """Half of both, and the least that there is more or less."""
    lower = torch.arange(1, (1 << (fmt.n - 1)) - 1, 1 if fmt.n == 8 else 411).to(container(fmt))
    half, one = (refnum.encode(torch.tensor(x), fmt) for x in (0.5, 1.0))
    b = torch.stack([half, half, one.new_tensor(1)])[:, None]
    for least in (-1, 0, 1):
        for sign in (-1, 1):
            a = torch.stack([sign * lower, sign * (lower + 1), torch.full_like(lower, least)], 1)
            assert torch.equal(multiplied(files, way, a, b, None, fmt), wanted(a, b, None, fmt))


def test_integers_up_to_half_of_the_product(files: Files) -> None:
    """For every count of groups, what is next to 0, to half of P less its spare part, and to ties of the result."""
    fmt, unit = Posit(32), -200
    for groups in range(1, quires.GROUPS + 1):
        room = residues.room(4 * groups)
        powers = [1 << i for i in range(0, room + 1, 7)] + [1 << room]
        magnitudes = sorted({x + d for x in powers for d in (-1, 0, 1) if x + d <= 1 << room})
        magnitudes += [(1 << room) // 3, (1 << room) // 7 * 5]
        integers = [sign * x for x in magnitudes for sign in (-1, 1)]
        rows, columns = 128, 128
        sums = torch.zeros(residues.MOST, rows, columns, dtype=torch.uint8)
        for number, plane in zip(residues.NUMBERS[: 4 * groups], sums, strict=False):
            plane.view(-1)[: len(integers)] = torch.tensor([x % number for x in integers], dtype=torch.uint8)
        # Spans of operands whose sums just need so many groups.
        bits = room if groups < quires.GROUPS else residues.room(4 * groups - 4) + 1
        spans = torch.tensor([1024 - unit, 1024 + bits + unit, 1024, 1024, 0, 0], dtype=torch.int32)
        scheme = quires.Scheme(spans, 1)
        out, nar = torch.empty(1, rows, columns, dtype=torch.int32), torch.zeros(128, dtype=torch.uint8)
        given = quires.Sums(sums, nar, nar)
        files["quires"].run(
            *("rn_quire_reconstruct", (1, rows, 1), 256, given, quires.Numbers(None), quires.Numbers(out), columns),
            *(parameters.posit(fmt), scheme, quires.basis()),
        )
        shifted = [x << (unit + 2 * fmt.max_scale) for x in integers]
        data = b"".join(x.to_bytes(64, "little", signed=True) for x in shifted)
        quire = Quire.from_bytes(torch.frombuffer(bytearray(data), dtype=torch.uint8).view(-1, 64), fmt, order="little")
        assert torch.equal(out.view(-1)[: len(integers)], quire.to_posit()), groups


@pytest.mark.parametrize("way", ["residues", "registers"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats(files: Files, way: str, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(1)
    a = torch.randn(9, 20, generator=draw) * 2.0 ** torch.randint(-80, 80, (9, 20), generator=draw)
    a[0, 3], a[1, 4], a[2, 5], a[3, 6], a[4, 7] = torch.nan, torch.inf, -0.0, 2.0**-149, -(2.0**127)
    b, c = torch.randn(20, 7, generator=draw), torch.randn(9, 7, generator=draw)
    b[:, 0] = 0.0
    x, y, z = (side.to(dtype) for side in (a, b, c))
    for fmt in (Posit(8), Posit(16), Posit(7, 0)):
        for out_dtype in FLOATS if fmt.n == 7 else (dtype,):
            if not refnum.formats.holds(refnum.boundary.FLOAT_ROWS[out_dtype], fmt):
                continue
            got = multiplied(files, way, x, y, z, fmt, out_dtype)
            assert_bit_equal(got, wanted(x, y, z, fmt, out_dtype))


def shapes() -> Iterator[tuple[int, int, int]]:
    """M, K, N: all around tiles, and short sums."""
    yield from ((1, k, 1) for k in range(1, 10))
    yield from ((127, 63, 129), (128, 64, 128), (129, 65, 127), (9, 127, 255), (9, 129, 257))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_every_shape_around_a_tile(files: Files, order: int) -> None:
    fmt = Posit(5)
    for i, (m, k, n) in enumerate(shapes()):
        if i % 3 != order:
            continue
        a, b = patterns(fmt, m, k, seed=i), patterns(fmt, k, n, seed=i + 1)
        c = patterns(fmt, m, n, seed=i + 2)
        choice = Choice(order, late=bool(i % 2))
        assert torch.equal(multiplied(files, "residues", a, b, c, fmt, choice=choice), refnum.posit_mm(a, b, fmt, c=c))


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_parts_of_large_products(files: Files, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Terms beyond those whose sums fit, rows and columns beyond those whose residues are kept."""
    for name, value in (("PANEL", 1), ("SIDE", 128), ("SMALLEST", 0)):
        monkeypatch.setattr(quires, name, value)
    monkeypatch.setattr(residues, "MOST_TERMS", 128)
    fmt = Posit(6)
    for k in (128, 300):
        a, b, c = patterns(fmt, 150, k, nar=True), patterns(fmt, k, 140, seed=1), patterns(fmt, 150, 140, seed=2)
        a[1:] = torch.where(a[1:] == fmt.nar, 1, a[1:])
        out, around = guarded((150, 140), torch.int8)
        run(files, quires.launches(a, b, c, out, fmt, quires.Gpu(2, target)))
        assert torch.equal(out, refnum.posit_mm(a, b, fmt, c=c))
        assert torch.cat([around[:32], around[-32:]]).eq(7).all()


# ---- layouts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["residues", "registers"])
def test_strides_and_batches(files: Files, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(quires, "SMALLEST", 0 if way == "residues" else 1 << 60)
    fmt = Posit(5)
    a, b = patterns(fmt, 2, 2, 9, 11), patterns(fmt, 2, 2, 11, 7, seed=1)
    pairs = [(a, b), (a[:, :1], b), (a[0, 0], b), (a, b[:1]), (a, b[0, 0]), (spread(a), spread(b).flip(-1))]
    pairs += [(x.mT.contiguous().mT, y.mT.contiguous().mT) for x, y in pairs[:2]]
    for i, (x, y) in enumerate(pairs):
        shape = quires.product_shape(x, y)
        c = (None, patterns(fmt, *shape, seed=2), patterns(fmt, 1, 7, seed=3).expand(shape))[i % 3]
        out, around = guarded(shape, torch.int8)
        run(files, quires.launches(x, y, c, out, fmt, GPU), CHOICES[i % len(CHOICES)])
        assert torch.equal(out, refnum.posit_mm(x, y, fmt, c=c))
        assert torch.cat([around[:32], around[-32:]]).eq(7).all()


@pytest.mark.parametrize("terms", [0, 1, 31, 32, 33, 255, 512, 1025])
def test_dot_products_in_segments(files: Files, terms: int) -> None:
    for fmt in (Posit(8), Posit(32)):
        a, b = patterns(fmt, 3, 1, terms, seed=terms), patterns(fmt, 3, terms, 1, seed=terms + 1)
        out, _ = guarded((3, 1, 1), container(fmt))
        run(files, quires.launches(a, b, None, out, fmt, GPU))
        assert torch.equal(out.view(3), refnum.quire_dot(a.view(3, terms), b.view(3, terms), fmt))


@pytest.mark.parametrize("fmt", BY_REGISTERS, ids=str)
def test_every_pattern_is_taken_apart_and_put_together(files: Files, fmt: Posit) -> None:
    c = torch.arange(-(1 << 15), 1 << 15).to(container(fmt)) if fmt.n <= 16 else patterns(fmt, 1 << 14, nar=True)
    limbs, count = quires.limbs_for(fmt), len(c)
    out, nothing = torch.empty_like(c), torch.zeros(limbs + 1, count, dtype=torch.int32)
    work = quires.Work(count, 1, 0, 0, count, 1, 0, done=None)
    numbers = (quires.Numbers(x.view(1, -1, 1)) for x in (c, out))
    files["quires"].run(quires.ROUND[limbs].name, 64, 256, nothing, *numbers, work, parameters.posit(fmt))
    top = 64 - fmt.n
    assert torch.equal(out.long(), c.long() << top >> top)


def test_many_results_by_registers(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quires, "AT_ONCE", 50)
    fmt = Posit(32)
    a, b, c = patterns(fmt, 9, 20), patterns(fmt, 20, 13, seed=1), patterns(fmt, 9, 13, seed=2)
    assert torch.equal(multiplied(files, "registers", a, b, c, fmt), wanted(a, b, c, fmt))


def test_codes_in_wider_integers(files: Files) -> None:
    fmt = Posit(6)
    a, b = patterns(fmt, 5, 9), patterns(fmt, 9, 6, seed=1)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        x, y = a.to(dtype), b.to(dtype)
        for way in ("residues", "registers"):
            assert torch.equal(multiplied(files, way, x, y, None, fmt, torch.int8), wanted(a, b, None, fmt))


# ---- who serves ------------------------------------------------------------------------------------


def test_residues_serve_what_they_have_room_for() -> None:
    worst = {Posit(8): 4, Posit(16): 8, Posit(16, 1): 5, Posit(17, 0): 3, Posit(9, 3): 8, Posit(18, 2): 10}
    assert {fmt: quires.groups_for(fmt, 4096) for fmt in worst} == worst
    assert quires.groups_for(Posit(16), (1 << 31) - 1) == quires.GROUPS
    for count in range(4, residues.MOST + 1, 4):
        assert 100 << residues.room(count) <= 49 * prod(residues.NUMBERS[:count])
    assert quires.residues_pay(torch.empty(1, 128, 128), 128)
    assert not quires.residues_pay(torch.empty(1, 128, 128), 127)
    assert not quires.residues_pay(torch.empty(1, 3, 1 << 20), 128)
    assert not quires.residues_pay(torch.empty(1 << 20, 4, 4), 128), "each by itself is small"


@pytest.mark.parametrize("fmt", [Posit(32), Posit(20), Posit(32, 0), Posit(27, 1), Posit(9, 4)], ids=str)
def test_registers_serve_long_formats_whose_range_is_used(
    files: Files, monkeypatch: pytest.MonkeyPatch, fmt: Posit
) -> None:
    monkeypatch.setattr(quires, "SMALLEST", 0)
    draw = torch.Generator().manual_seed(4)
    normal = refnum.encode(torch.randn(14, 40, generator=draw, dtype=torch.float64), fmt)
    c = refnum.encode(torch.randn(7, 7, generator=draw, dtype=torch.float64) * 2.0**-40, fmt)
    wide = patterns(fmt, 14, 40, seed=5)
    wide[[0, 1, 7, 8], [0, 1, 0, 1]] = wide.new_tensor([~fmt.nar, 1, ~fmt.nar, 1])
    for x, served in ((normal, True), (wide, fmt.max_scale < 58)):
        a, b = x[:7], x[7:].mT
        for addend in (None, c):
            out, around = guarded((7, 7), container(fmt))
            form = quires.ByResidues(a[None], b.mT[None], None if addend is None else addend[None], out[None], fmt, GPU)
            run(files, form.launches())
            assert bool(form.served) == served
            assert served or around.eq(7).all()
            run(files, quires.launches(a, b, addend, out, fmt, GPU))
            assert torch.equal(out, wanted(a, b, addend, fmt))


def test_what_has_kernels() -> None:
    x = torch.zeros(2, 2, dtype=torch.int32)
    rest = None, "rounded", 1.0, 0.0, 8
    for fmt in BY_REGISTERS:
        assert quires.covered(x, x, None, fmt.n, fmt.es, "quire", *rest)
        assert quires.dot_covered(x, x, fmt.n, fmt.es)
    assert not quires.covered(x, x, None, 16, 2, "products", *rest)
    for fmt in (Posit(40), Posit(32, 3), Posit(33, 2)):
        assert not quires.covered(x, x, None, fmt.n, fmt.es, "quire", *rest)
    assert all(quires.covered(*each) for each in quires.examples())
    assert all(quires.dot_covered(*each) for each in quires.dot_examples())


def test_examples_of_the_self_test(files: Files) -> None:
    ways = set()
    for a, b, c, n, es, _, out_dtype, *_ in quires.examples():
        fmt = Posit(n, es)
        out, _ = guarded(quires.product_shape(a, b), out_dtype or container(fmt))
        ways.add(quires.residues_pay(out[None], a.shape[-1]))
        run(files, quires.launches(a, b, c, out, fmt, GPU))
        assert_bit_equal(out, refnum.posit_mm(a, b, fmt, c=c, out_dtype=out_dtype))
    assert ways == {False, True}


def test_the_operations_are_served_by_them() -> None:
    assert stage().play(scenes.in_quires) == []
    assert stage().calls("cuLaunchKernel")


# ---- on a GPU --------------------------------------------------------------------------------------

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("fmt", [Posit(8), Posit(16), Posit(32), Posit(9, 1)], ids=str)
def test_a_gpu_has_the_references_bits_in_every_layout(fmt: Posit) -> None:
    """Small ones, by registers and by residues."""
    for m, k, n in ((3, 70, 5), (129, 130, 127)):
        a, b = cancelling(fmt, m, k // 2, n)
        c = patterns(fmt, m, n, seed=4)
        want = refnum.posit_mm(a, b, fmt, c=c)
        for x, y in ((a, b), (a.mT.contiguous().mT, b.mT.contiguous().mT), (spread(a), spread(b))):
            with refnum.use_backend("cuda"):
                got = refnum.posit_mm(x.cuda(), y.cuda(), fmt, c=c.cuda())
            assert torch.equal(got.cpu(), want)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_gpu_has_the_references_bits_of_floats(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(6)
    a, b = torch.randn(2, 150, 300, generator=draw).to(dtype), torch.randn(300, 200, generator=draw).to(dtype)
    a[0, 7, 8], a[1, 3, 2], b[5, 9] = torch.nan, 2.0**-14, -0.0
    for fmt in (Posit(8), Posit(12), Posit(32)):
        want = refnum.posit_mm(a, b, fmt, out_dtype=torch.float64)
        with refnum.use_backend("cuda"):
            got = refnum.posit_mm(a.cuda(), b.cuda(), fmt, out_dtype=torch.float64)
            batched = refnum.posit_mm(a.cuda(), torch.stack([b, b]).cuda(), fmt, out_dtype=torch.float64)
        assert_bit_equal(got.cpu(), want)
        assert_bit_equal(batched.cpu(), want)


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("fmt", [Posit(8), Posit(16)], ids=str)
@pytest.mark.parametrize("spread_of", [0, 1, 8, 40])
def test_a_gpu_sums_cancelling_terms_by_every_count_of_groups(fmt: Posit, spread_of: int) -> None:
    draw = torch.Generator(device="cuda").manual_seed(7)

    def floats(*shape: int) -> Tensor:
        scale = torch.randint(-spread_of, spread_of + 1, shape, generator=draw, device="cuda")
        return torch.randn(shape, generator=draw, device="cuda") * 2.0**scale

    a, b, tiny = floats(600, 1000), floats(1000, 700), floats(600, 700) * 2.0**-20
    x, y = torch.cat([a, -a, a], 1), torch.cat([b, b, 0 * b])
    with refnum.use_backend("cuda"):
        nothing = refnum.posit_mm(x, y, fmt)
        rest = refnum.posit_mm(x, y, fmt, c=tiny)
        whole = refnum.posit_mm(a, b, fmt)
        dots = refnum.quire_dot(a[:64, None, :], b.mT[None, :64], fmt)  # by registers
    assert nothing.eq(0).all()
    assert_bit_equal(rest, refnum.quantize(tiny, fmt))
    assert_bit_equal(whole[:64, :64], dots)
    assert_bit_equal(whole[:8].cpu(), refnum.posit_mm(a[:8].cpu(), b.cpu(), fmt))


@pytest.mark.gpu
@on_gpu
def test_a_gpu_adds_more_terms_than_one_product_has() -> None:
    fmt, terms = Posit(16), residues.MOST_TERMS + 200
    a, b = patterns(fmt, 130, terms // 2 - 50), patterns(fmt, terms // 2 - 50, 140, seed=1)
    x, y = torch.cat([a, a[:, :100], -a], 1), torch.cat([b, b[:100], b])
    want = refnum.posit_mm(a[:, :100], b[:100], fmt)
    with refnum.use_backend("cuda"):
        assert torch.equal(refnum.posit_mm(x.cuda(), y.cuda(), fmt).cpu(), want)
        got = refnum.quire_dot(x.cuda(), y.mT[:130].cuda(), fmt)
    assert torch.equal(got.cpu(), want.diagonal())


@pytest.mark.gpu
@on_gpu
def test_a_gpu_makes_large_products_in_parts() -> None:
    fmt, draw = Posit(16), torch.Generator(device="cuda").manual_seed(9)
    a, b = (torch.randn(shape, generator=draw, device="cuda") for shape in ((4500, 70), (70, 4400)))
    a[4400, 3], b[5, 4300] = torch.nan, torch.inf
    with refnum.use_backend("cuda"):
        got = refnum.posit_mm(a, b, fmt)
    for rows in (slice(0, 3), slice(4095, 4098), slice(4399, 4402)):
        assert_bit_equal(got[rows].cpu(), refnum.posit_mm(a[rows].cpu(), b.cpu(), fmt))
