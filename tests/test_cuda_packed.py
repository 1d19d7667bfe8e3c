"""The conversions of refnum_cuda at the speed of memory, as they are, on the CPU: against refnum."""

from __future__ import annotations

import pytest
import torch
from cuda import bridge, places, simulate
from torch import Tensor

import refnum
from refnum import Minifloat, Posit
from refnum.boundary import FLOAT_ROWS, SIGNED, container
from refnum.formats import Format, float32, holds, keeps, scalars
from refnum_cuda import packed, parameters

MINIFLOATS = [fmt for fmt in scalars().values() if isinstance(fmt, Minifloat)]
ODD_MINIFLOATS = [
    Minifloat(4, 3, specials="fn", overflow="nan"),
    Minifloat(5, 2, overflow="inf"),
    Minifloat(4, 2, signed=False),
    Minifloat(6, 1, bias=40),
    Minifloat(7, 8, overflow="inf"),
    Minifloat(8, 3, overflow="inf"),
    Minifloat(1, 4, specials="none"),
]
POSITS = [Posit(n, es) for n in range(3, 33) for es in range(5) if es == 2 or n in (8, 9, 16, 25, 32)]
FORMATS = [*POSITS, *MINIFLOATS, *ODD_MINIFLOATS]
GRID = (2, 3)


@pytest.fixture(scope="module", params=places.PLACES)
def kernels(request: pytest.FixtureRequest) -> places.Kernels:
    return places.at(request.param, packed.KERNELS)


def converted(
    kernels: places.Kernels, operation: str, x: Tensor, dtype: torch.dtype, fmt: Format, grid: tuple[int, int] = GRID
) -> Tensor:
    """What the kernel that is chosen makes of x."""
    kernel = packed.kernel(operation, x.dtype, dtype, fmt)
    assert kernel is not None
    out = torch.zeros(len(x), dtype=dtype, device=kernels.device)
    row = FLOAT_ROWS[x.dtype if x.is_floating_point() else dtype]
    formats = (fmt, row) if operation == "decode" else (row, fmt)
    x = places.placed(x, kernels.device)
    kernels.run(kernel, *grid, x, out, len(x), *map(parameters.scalar, formats))
    return out.cpu()


def same(got: Tensor, want: Tensor) -> bool:
    """Whether all bits are equal."""
    integer = SIGNED[8 * want.itemsize]
    return got.dtype == want.dtype and torch.equal(got.view(integer), want.view(integer))


def floats(dtype: torch.dtype, fmt: Format) -> Tensor:
    """All patterns of 16 bits; of float32 every binade, and each middle of two codes, or some, with its neighbours."""
    if dtype.itemsize == 2:
        return torch.arange(1 << 16).to(torch.int16).view(dtype)
    exponents = torch.arange(1 << 9)[:, None] << 23
    mantissas = torch.tensor([0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF])
    some = torch.randint(0, 1 << 32, (1 << 12,), generator=torch.Generator().manual_seed(fmt.width))
    bits = torch.cat(
        [(exponents | mantissas).flatten(), (_middles(fmt)[:, None] + torch.arange(-2, 3)).flatten(), some]
    )
    return bits.to(torch.int32).view(torch.float32)


def _middles(fmt: Format) -> Tensor:
    """float32 patterns of codes with one more bit, which is set."""
    step = max(1, (1 << fmt.width) >> 11)
    codes = torch.arange(0, 1 << fmt.width, step) | (step // 3)
    if isinstance(fmt, Posit):
        wider: Format = Posit(fmt.n + 1, fmt.es)
    else:
        wider = Minifloat(fmt.exponent, fmt.mantissa + 1, bias=fmt.bias, signed=fmt.signed, specials="none")
    values = refnum.decode(codes << 1 | 1, wider, dtype=torch.float64)
    return values.to(torch.float32).view(torch.int32).long()


def served(operation: str, dtype: torch.dtype, fmt: Format) -> bool:
    """Whether there is a kernel."""
    out = container(fmt) if operation == "encode" else dtype
    return packed.kernel(operation, dtype, out, fmt) is not None


# ---- floats to codes, and to floats ------------------------------------------------------------------


@pytest.mark.parametrize("dtype", packed.FLOATS, ids=str)
def test_encode(kernels: places.Kernels, dtype: torch.dtype) -> None:
    found = [fmt for fmt in FORMATS if served("encode", dtype, fmt)]
    assert len(found) > 50
    for fmt in found:
        x = floats(dtype, fmt)
        assert same(converted(kernels, "encode", x, container(fmt), fmt), refnum.encode(x, fmt)), fmt


@pytest.mark.parametrize("dtype", packed.HEADS, ids=str)
def test_quantize(kernels: places.Kernels, dtype: torch.dtype) -> None:
    written = [fmt for fmt in FORMATS if isinstance(fmt, Posit) or fmt.subnormals]
    found = [fmt for fmt in written if served("quantize", dtype, fmt) and keeps(FLOAT_ROWS[dtype], fmt)]
    assert len(found) > 20
    for fmt in found:
        x = floats(dtype, fmt)
        assert same(converted(kernels, "quantize", x, dtype, fmt), refnum.quantize(x, fmt)), fmt


def test_which_formats_are_served() -> None:
    by_name = scalars()
    for name in ("posit8", "posit16", "posit32", "e4m3", "e5m2", "e2m1", "e4m3fnuz", "float16"):
        assert all(served("encode", dtype, by_name[name]) for dtype in packed.FLOATS), name
    to_nan = Minifloat(4, 3, specials="fn", overflow="nan")
    for fmt in (Posit(2), Posit(33), Posit(32, 4), Minifloat(3, 0, specials="none"), to_nan, refnum.formats.tf32):
        assert not any(served("encode", dtype, fmt) for dtype in packed.FLOATS), fmt
    assert served("encode", torch.float32, refnum.formats.bfloat16)
    assert not served("encode", torch.float64, Posit(16))
    assert not served("quantize", torch.float32, float32)


# ---- codes to floats -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
def test_decode_of_at_most_8_bits(kernels: places.Kernels, dtype: torch.dtype) -> None:
    for fmt in FORMATS:
        if fmt.width <= 8 and holds(FLOAT_ROWS[dtype], fmt):
            codes = torch.arange(256).to(container(fmt))
            got = converted(kernels, "decode", codes, dtype, fmt)
            assert same(got, refnum.decode(codes, fmt, dtype=dtype)), fmt


def test_decode_posits(kernels: places.Kernels) -> None:
    for fmt in POSITS:
        step = max(1, (1 << fmt.n) >> 16)
        codes = torch.arange(0, 1 << fmt.n, step) | (step // 3)
        for dtype in (torch.int16, torch.int32):
            if dtype.itemsize * 8 >= fmt.n and packed.kernel("decode", dtype, torch.float32, fmt):
                got = converted(kernels, "decode", codes.to(dtype), torch.float32, fmt)
                assert same(got, refnum.decode(codes, fmt, dtype=torch.float32)), fmt


# ---- arithmetic ------------------------------------------------------------------------------------

ADDED = [
    fmt for fmt in POSITS if fmt.n <= 16 and any(packed.SERVES[name](fmt) for name in packed.SERVES)
]  #: in one of the two


def combined(
    kernels: places.Kernels, name: str, fmt: Posit, a: Tensor, b: Tensor, grid: tuple[int, int] = GRID
) -> Tensor:
    """What the kernel that is chosen makes of two posits."""
    kernel = packed.arithmetic(name, fmt, (a, b))
    assert kernel is not None
    out = torch.zeros(len(a), dtype=a.dtype, device=kernels.device)
    x, y = (places.placed(side, kernels.device) for side in (a, b))
    kernels.run(kernel, *grid, x, y, out, len(a), parameters.posit(fmt))
    return out.cpu()


def pairs(fmt: Posit) -> tuple[Tensor, Tensor]:
    """All pairs of up to 8 bits; of others some, among them those whose exponents are apart, and that nearly cancel."""
    if fmt.n <= 8:
        every = torch.arange(fmt.nar, fmt.maxpos + 1).to(torch.int8)
        return every.repeat_interleave(len(every)), every.repeat(len(every))
    random = torch.Generator().manual_seed(fmt.n)
    a, b = (torch.randint(fmt.nar, fmt.maxpos + 1, (1 << 14,), generator=random) for _ in range(2))
    short = a >> 5 << 5
    near = torch.arange(1 << 14) % 7 - 3
    left, right = torch.cat([a, short, a, a, a]), torch.cat([b, b, -a + near, a + near, short])
    codes = ((x + (1 << (fmt.n - 1))) % (1 << fmt.n) - (1 << (fmt.n - 1)) for x in (left, right))
    x, y = (each.to(container(fmt)) for each in codes)
    return x, y


@pytest.mark.parametrize("name", packed.SERVES)
def test_arithmetic(kernels: places.Kernels, name: str) -> None:
    found = [fmt for fmt in ADDED if packed.SERVES[name](fmt)]
    assert {Posit(8), Posit(16)} <= {*found}
    for fmt in found:
        a, b = pairs(fmt)
        assert torch.equal(combined(kernels, name, fmt, a, b), getattr(refnum.posit, name)(a, b, fmt)), fmt


def test_arithmetic_of_every_length(kernels: places.Kernels) -> None:
    a, b = (x[:700] for x in pairs(Posit(16)))
    for length in (*range(1, 40), 127, 128, 129, 333, 700):
        want = refnum.posit.add(a[:length], b[:length], Posit(16))
        assert torch.equal(combined(kernels, "add", Posit(16), a[:length], b[:length], (3, 5)), want), length


def test_which_arithmetic_is_served() -> None:
    codes, wide = torch.zeros(32, dtype=torch.int16), torch.zeros(32, dtype=torch.int64)
    assert packed.arithmetic("add", Posit(16), (codes, codes)) is not None
    assert packed.arithmetic("add", Posit(16), (codes, wide)) is None
    assert packed.arithmetic("div", Posit(16), (codes, codes)) is None
    assert packed.arithmetic("mul", Posit(16, 0), (codes, codes)) is None, "products of 28 bits"
    assert packed.arithmetic("add", Posit(12, 4), (codes, codes)) is None, "values beyond float32"


# ---- lengths and places ----------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (2, 64)])
def test_every_length_of_every_layout(kernels: places.Kernels, grid: tuple[int, int]) -> None:
    codes = torch.arange(600).to(torch.int16)
    for length in (*range(1, 40), 127, 128, 129, 333, 600):
        for x, fmt in ((codes[:length].float(), Posit(16)), (codes[:length].bfloat16(), Posit(8))):
            want = refnum.encode(x, fmt)
            assert same(converted(kernels, "encode", x, want.dtype, fmt, grid), want), length
        want = refnum.decode(codes[:length], Posit(16), dtype=torch.float32)
        assert same(converted(kernels, "decode", codes[:length].clone(), torch.float32, Posit(16), grid), want), length
        small = codes[:length].to(torch.int8)
        want = refnum.decode(small, Posit(8), dtype=torch.bfloat16)
        assert same(converted(kernels, "decode", small, torch.bfloat16, Posit(8), grid), want), length


def test_what_is_not_contiguous_or_aligned_is_copied() -> None:
    x = torch.arange(4096.0).view(64, 64)
    assert packed.aligned(x) is x
    assert packed.aligned(y := x[4:]) is y
    for y in (x.mT, x.flatten()[1:], x[::2], x[:1].expand(3, 64), x[:, 3]):
        copy = packed.aligned(y)
        assert copy.data_ptr() % packed.ALIGNMENT == 0
        assert copy.is_contiguous()
        assert torch.equal(copy, y)
        assert copy.data_ptr() != y.data_ptr()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")
@pytest.mark.parametrize("length", [1 << 22, (1 << 22) + 5])
def test_long_vectors_have_the_references_bits(length: int) -> None:
    """What every thread has several of, by the public functions."""
    bits = torch.randint(-(1 << 31), 1 << 31, (length,), generator=torch.Generator().manual_seed(5))
    x = bits.to(torch.int32).view(torch.float32)
    with refnum.use_backend("cuda"):
        for fmt in (refnum.posit8, refnum.posit16, refnum.posit32, refnum.e4m3, refnum.e2m1, refnum.formats.bfloat16):
            for values in (x, x.bfloat16()):
                codes = refnum.encode(values, fmt)
                assert torch.equal(refnum.encode(values.cuda(), fmt).cpu(), codes), fmt
                assert same(refnum.quantize(values.cuda(), fmt).cpu(), refnum.quantize(values, fmt)), fmt
            if isinstance(fmt, Posit):
                for name in ("add", "sub", "mul", "div"):
                    want = getattr(refnum.posit, name)(codes, codes.flip(0), fmt)
                    there = codes.cuda()
                    assert same(getattr(refnum.posit, name)(there, there.flip(0), fmt).cpu(), want), (name, fmt)
            if holds(float32, fmt):
                want = refnum.decode(codes, fmt, dtype=torch.float32)
                assert same(refnum.decode(codes.cuda(), fmt, dtype=torch.float32).cpu(), want), fmt


def test_tables_are_waited_for() -> None:
    """Whatever the order of threads; and without the barrier behind it, a table of another format is read."""
    names = sorted(kernel.name for kernel in packed.KERNELS)
    simulated = simulate.Kernels.of_file("packed.cu", *names)
    x, row = floats(torch.float32, Posit(16)), parameters.scalar(float32)

    def encoded(fmt: Posit, choice: simulate.Choice) -> Tensor:
        out = torch.zeros(len(x), dtype=torch.int16)
        arguments = x, out, len(x), row, parameters.scalar(fmt)
        simulated.run("rn_encode_posit_float32_16", 1, 32, *arguments, choice=choice)
        return out

    for choice in simulate.CHOICES:
        for fmt in (Posit(16, 1), Posit(16)):
            assert torch.equal(encoded(fmt, choice), refnum.encode(x, fmt))
    (barrier,) = simulated.sites()
    for order in range(3):
        encoded(Posit(16), simulate.Choice(order))
        assert not torch.equal(
            encoded(Posit(16, 1), simulate.Choice(order, without=barrier)), refnum.encode(x, Posit(16, 1))
        )


# ---- compilation ---------------------------------------------------------------------------------


OTHERS = [pytest.param(architecture, marks=pytest.mark.slow) for architecture in ("80", "100", "120")]


@pytest.mark.parametrize("architecture", ["90a", *OTHERS])
def test_kernels_fit_in_registers(architecture: str) -> None:
    used = bridge.stack_and_spills(bridge.CSRC / "packed.cu", architecture)
    assert used == [bridge.IN_REGISTERS] * len(packed.KERNELS)
