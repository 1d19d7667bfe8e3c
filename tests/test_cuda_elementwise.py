"""The elementwise kernels of refnum_cuda, as they are, on the CPU: against refnum, for any strides and any grid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cuda import bridge, places
from torch import Tensor

import refnum
from refnum import Minifloat, Posit, posit
from refnum.boundary import FLOAT_ROWS, container
from refnum.core.round import RULES
from refnum.formats import Format, float32, keeps, scalars
from refnum_cuda import elementwise, parameters

VECTORS = Path(__file__).parents[1] / "conformance" / "vectors"
ARITHMETIC = elementwise.ARITHMETIC
P8, P16, P32 = Posit(8), Posit(16), Posit(32)
DTYPES = {fmt: dtype for dtype, fmt in FLOAT_ROWS.items()}
GRID = (3, 8)  #: fewer threads than elements, and no power of 2


KERNELS = {
    "convert": elementwise.CONVERT,
    "quantize": elementwise.QUANTIZE,
    **{f"posit_{name}": kernel for name, kernel in elementwise.POSITS.items()},
}


@pytest.fixture(scope="module", params=places.PLACES)
def kernels(request: pytest.FixtureRequest) -> places.Kernels:
    return places.at(request.param, tuple(KERNELS.values()))


def run(
    kernels: places.Kernels,
    name: str,
    tensors: Sequence[Tensor],
    dtype: torch.dtype,
    slots: int,
    *rest: Any,
    grid: tuple[int, int] = GRID,
) -> Tensor:
    """A kernel whose first parameters are so many operands, the result and the shape."""
    out = torch.empty(tensors[0].shape, dtype=dtype, device=kernels.device)
    shape, read, alive = parameters.operands(*(places.placed(x, kernels.device) for x in tensors))
    read += [parameters.Operand()] * (slots - len(read))
    kernels.run(KERNELS[name], *grid, *read, parameters.result(out), shape, *rest)
    result = out.cpu()  # when the kernel has run
    del alive
    return result


def convert(
    kernels: places.Kernels,
    x: Tensor,
    source: Format,
    target: Format,
    rounding: str = "nearest_even",
    random: Tensor | None = None,
) -> Tensor:
    tensors = [x] if random is None else [x, random.expand(x.shape)]
    dtype = DTYPES.get(target) or container(target)
    formats = (parameters.scalar(source), parameters.scalar(target))
    return run(kernels, "convert", tensors, dtype, 2, *formats, parameters.ROUNDINGS[rounding])


def arithmetic(kernels: places.Kernels, name: str, fmt: Posit, *operands: Tensor) -> Tensor:
    tensors = torch.broadcast_tensors(*operands)
    return run(kernels, f"posit_{name}", tensors, container(fmt), 3, parameters.posit(fmt))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floats(dtype: torch.dtype, count: int = 2000) -> Tensor:
    """Random patterns, those with short mantissas (ties), and values near 1."""
    row = FLOAT_ROWS[dtype]
    bits = torch.randint(-(1 << 62), 1 << 62, (count,), generator=generator(1)) * 2 + 1
    short = bits & -(1 << max(row.mantissa - 6, 0))
    codes = torch.cat([bits, short]).to(refnum.boundary.SIGNED[row.width]).view(dtype)
    near = torch.randn(count, generator=generator(2), dtype=torch.float64).to(dtype)
    ends = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 2.0**-149, 1e300, 1.0]).to(dtype)
    return torch.cat([codes, near, ends])


def patterns(fmt: Posit, count: int, seed: int) -> Tensor:
    """Random posits, a third of them with few bits set, and the ends."""
    x = torch.randint(fmt.nar, fmt.maxpos + 1, (count,), generator=generator(seed))
    mask = -1 << torch.randint(0, fmt.n, (count,), generator=generator(seed + 100))
    x = torch.where(torch.arange(count) % 3 == 0, x & mask, x)
    x[:5] = torch.tensor([0, 1, -1, fmt.maxpos, fmt.nar])
    return x.to(container(fmt))


# ---- conversions ---------------------------------------------------------------------------------

TARGETS = [P8, P16, P32, Posit(5, 1), Posit(23, 3), *(f for f in scalars().values() if isinstance(f, Minifloat))]
WRITABLE = [fmt for fmt in TARGETS if isinstance(fmt, Posit) or fmt.subnormals]


@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
@pytest.mark.parametrize("fmt", WRITABLE, ids=str)
def test_encode(kernels: places.Kernels, fmt: Format, dtype: torch.dtype) -> None:
    x = floats(dtype)
    got = convert(kernels, x, FLOAT_ROWS[dtype], fmt)
    if fmt in DTYPES:
        got = got.view(container(fmt))
    assert torch.equal(got, refnum.encode(x, fmt))


@pytest.mark.parametrize("rounding", RULES)
def test_roundings(kernels: places.Kernels, rounding: str) -> None:
    x = floats(torch.float32, 800)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64) if rounding == "stochastic" else (None,):
        random = dtype and torch.randint(0, 1 << 16, x.shape, generator=generator(3)).to(dtype)
        for fmt in (P8, P16, refnum.formats.e4m3, refnum.formats.bfloat16):
            got = convert(kernels, x, float32, fmt, rounding, random).view(container(fmt))
            assert torch.equal(got, refnum.encode(x, fmt, rounding=rounding, random_bits=random)), fmt
            number = parameters.ROUNDINGS[rounding]
            formats = parameters.scalar(float32), parameters.scalar(fmt)
            got = run(kernels, "quantize", [x] if random is None else [x, random], x.dtype, 2, *formats, number)
            want = refnum.quantize(x, fmt, rounding=rounding, random_bits=random)
            assert torch.equal(got.view(torch.int32), want.view(torch.int32)), fmt


QUANTIZED = [P8, P16, P32, Posit(28), Posit(9, 1), refnum.formats.e4m3, refnum.formats.bfloat16]


@pytest.mark.parametrize(
    ("dtype", "fmt"),
    [(dtype, fmt) for dtype, row in FLOAT_ROWS.items() for fmt in QUANTIZED if keeps(row, fmt)],
    ids=str,
)
def test_quantize(kernels: places.Kernels, dtype: torch.dtype, fmt: Format) -> None:
    row, x = FLOAT_ROWS[dtype], floats(dtype)
    got = run(kernels, "quantize", [x], dtype, 2, parameters.scalar(row), parameters.scalar(fmt), 0)
    signed = refnum.boundary.SIGNED[row.width]
    assert torch.equal(got.view(signed), refnum.quantize(x, fmt).view(signed))


@pytest.mark.parametrize("fmt", TARGETS, ids=str)
def test_decode(kernels: places.Kernels, fmt: Format) -> None:
    if fmt.width <= 8:
        codes = torch.arange(256).to(container(fmt))
    elif fmt.width <= 16:
        codes = torch.arange(1 << 16).to(torch.int16)
    else:
        codes = torch.randint(-(1 << 62), 1 << 62, (5000,), generator=generator(5)).to(container(fmt))
    for dtype, row in FLOAT_ROWS.items():
        if refnum.formats.holds(row, fmt):
            got = convert(kernels, codes, fmt, row)
            signed = refnum.boundary.SIGNED[row.width]
            assert torch.equal(got.view(signed), refnum.decode(codes, fmt, dtype=dtype).view(signed)), dtype
            got = convert(kernels, codes.long(), fmt, row)
            assert torch.equal(got.view(signed), refnum.decode(codes, fmt, dtype=dtype).view(signed)), "in int64"


def test_posits_that_no_float_holds_are_rounded(kernels: places.Kernels) -> None:
    for fmt in (P32, Posit(32, 4), Posit(27, 0), P16, Posit(29)):
        x = patterns(fmt, 4000, 8)
        for dtype, row in FLOAT_ROWS.items():
            integers = refnum.boundary.SIGNED[row.width]
            want = posit.to_float(x, fmt, dtype).view(integers)
            assert torch.equal(convert(kernels, x, fmt, row).view(integers), want), (fmt, dtype)


def test_one_posit_format_to_another(kernels: places.Kernels) -> None:
    for source, target in ((P16, P8), (P32, P16), (P8, P32), (P32, Posit(32, 0)), (Posit(7, 0), Posit(12, 4))):
        x = patterns(source, 3000, 7)
        assert torch.equal(convert(kernels, x, source, target), posit.convert(x, source, target))


# ---- arithmetic ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("fmt", [P8, Posit(8, 0), Posit(7, 4)], ids=str)
def test_arithmetic_of_all_pairs(kernels: places.Kernels, name: str, fmt: Posit) -> None:
    every = torch.arange(fmt.nar, fmt.maxpos + 1).to(torch.int8)
    third = every[torch.randperm(len(every), generator=generator(4))]  # with each pair some third operand
    operands = [every[:, None], every, third[(every[:, None].int() * 7 + every.int()) % len(every)]]
    operands = operands[: ARITHMETIC[name]]
    assert torch.equal(arithmetic(kernels, name, fmt, *operands), getattr(posit, name)(*operands, fmt))


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize(
    "fmt", [Posit(2), Posit(3, 1), P16, Posit(16, 0), Posit(25), P32, Posit(32, 0), Posit(32, 4)], ids=str
)
def test_arithmetic_of_some(kernels: places.Kernels, name: str, fmt: Posit) -> None:
    operands = [patterns(fmt, 4000, seed) for seed in range(ARITHMETIC[name])]
    operands = [x[torch.randperm(len(x), generator=generator(i))] for i, x in enumerate(operands)]
    if len(operands) > 1:
        operands[1][:1000] = -operands[0][:1000] + torch.arange(-1, 2).to(container(fmt)).repeat(334)[:1000]
    assert torch.equal(arithmetic(kernels, name, fmt, *operands), getattr(posit, name)(*operands, fmt))


def test_square_roots_of_all_posit16(kernels: places.Kernels) -> None:
    x = torch.arange(1 << 16).to(torch.int16)
    assert torch.equal(arithmetic(kernels, "sqrt", P16, x), posit.sqrt(x, P16))


def test_cancelling_fma(kernels: places.Kernels) -> None:
    """c is nearly -a * b: what is left are the last bits of an exact product."""
    for fmt in (P8, P16, P32, Posit(32, 0)):
        a, b = patterns(fmt, 4000, 1), patterns(fmt, 4000, 2)
        c = -posit.mul(a, b, fmt) + torch.arange(-1, 3).repeat(1000).to(container(fmt))
        assert torch.equal(arithmetic(kernels, "fma", fmt, a, b, c), posit.fma(a, b, c, fmt))


#: posit(32,0) whose product, of 88 to 90 bits, is a tie but for its last 27: found by reduction of a lattice.
NEAR_TIES = [
    (0x41A0E7AF, 0x4096D04F, 0x4629F0D3),
    (0x495FA115, 0x4242C82F, 0x49F47890),
    (0x478E7BE3, 0x40D887E5, 0x43B3D400),
    (0x4769DF65, 0x4D32340F, 0x4D8B4323),
    (0x450BEAD5, 0x42F53C25, 0x5CBE4651),
    (0x4C2AC70B, 0x41C492CB, 0x511229A7),
    (0x5A115F91, 0x4CE32449, 0x5523D021),
    (0x5BBE820F, 0x557F7101, 0x5D34E9B4),
    (0x57A6B479, 0x5F872B99, 0x4D666E85),
]


def test_products_of_three_beside_ties(kernels: places.Kernels) -> None:
    a, b, c = torch.tensor(NEAR_TIES, dtype=torch.int32).unbind(1)
    fmt = Posit(32, 0)
    for x in (a, -a):
        assert torch.equal(arithmetic(kernels, "fmm", fmt, x, b, c), posit.fmm(x, b, c, fmt))
        assert torch.equal(arithmetic(kernels, "fmm", fmt, b, c, x), posit.fmm(x, b, c, fmt))


GOLDEN = {"fmm": "fMM"}


def signed(x: np.ndarray, n: int) -> Tensor:
    return (torch.from_numpy(x.astype(np.int64)) << (64 - n) >> (64 - n)).to(container(Posit(n)))


@pytest.mark.parametrize(("n", "es"), [(12, 0), (16, 1), (16, 2), (28, 2), (32, 2)])
def test_sampled_golden_vectors(kernels: places.Kernels, n: int, es: int) -> None:
    with np.load(VECTORS / "posit_sampled.npz", allow_pickle=False) as z:
        operands = [signed(z[f"n{n}es{es}_{side}"], n) for side in "abc"]
        for name, arity in ARITHMETIC.items():
            got = arithmetic(kernels, name, Posit(n, es), *operands[:arity])
            assert torch.equal(got, signed(z[f"n{n}es{es}_{GOLDEN.get(name, name)}"], n)), name


@pytest.mark.parametrize(("n", "es"), [(4, 0), (4, 1), (4, 2), (8, 0), (8, 1), (8, 2)])
def test_exhaustive_golden_vectors(kernels: places.Kernels, n: int, es: int) -> None:
    with np.load(VECTORS / "posit_exhaustive.npz", allow_pickle=False) as z:
        a, b = signed(z[f"n{n}es{es}_rows"], n), signed(np.arange(1 << n), n)
        for name in ("add", "sub", "mul", "div"):
            got = arithmetic(kernels, name, Posit(n, es), a[:, None], b)
            assert torch.equal(got, signed(z[f"n{n}es{es}_{name}"], n)), name
        assert torch.equal(arithmetic(kernels, "sqrt", Posit(n, es), a), signed(z[f"n{n}es{es}_sqrt"], n))


# ---- where elements lie --------------------------------------------------------------------------

X = torch.randn(6, 4, 10, generator=generator(6))
VIEWS = {
    "contiguous": X,
    "transposed": X.transpose(0, 2),
    "every other": X[::2, 1:, ::3],
    "a diagonal": X[0].diagonal(),
    "expanded": X[:, :1].expand(6, 5, 10),
    "one value": X[3, 2, 1],
    "one value, expanded": X[3, 2, 1].expand(7, 5),
    "a row": X[:, :, 3],
    "one": X[:1, :1, :1],
    "not aligned": X.flatten()[1:102],
    "flipped sizes": X.view(6, 2, 2, 10).permute(3, 1, 0, 2),
    "nine dimensions": torch.randn(2, 3, 2, 2, 2, 2, 2, 2, 3).permute(8, 1, 7, 2, 6, 3, 5, 0, 4),
}


@pytest.mark.parametrize("name", VIEWS)
def test_strides(kernels: places.Kernels, name: str) -> None:
    x = VIEWS[name]
    assert torch.equal(convert(kernels, x, float32, P16), refnum.encode(x, P16))
    a, b = refnum.encode(x, P16), refnum.encode(x.flip(-1) if x.dim() else x, P32).long()
    strided = torch.empty_strided(x.shape, [max(1, 2 * stride) for stride in x.stride()], dtype=torch.int64)
    mixed = strided.copy_(b) if 0 not in x.stride() else b
    assert torch.equal(arithmetic(kernels, "sub", P16, a, mixed), posit.sub(a, mixed, P16)), "mixed dtypes and strides"


def test_merged_dimensions() -> None:
    shape, rows, _ = parameters.operands(X, X + 1)
    assert (shape.count, shape.dims) == (240, 0)
    shape, rows, _ = parameters.operands(X, X[:1, :1].expand_as(X))
    assert (shape.dims, list(shape.size[:2]), list(rows[1].stride[:2])) == (2, [24, 10], [0, 1])
    shape, rows, _ = parameters.operands(X[3, 2, 1].expand(7, 5))
    assert (shape.dims, shape.size[0], rows[0].stride[0]) == (1, 35, 0)
    deep = VIEWS["nine dimensions"]
    shape, rows, alive = parameters.operands(deep)
    assert shape.dims == 0
    assert rows[0].data == alive[0].data_ptr() != deep.data_ptr(), "a copy"


@pytest.mark.parametrize("grid", [(1, 1), (1, 32), (7, 3), (64, 64)])
def test_any_grid(kernels: places.Kernels, grid: tuple[int, int]) -> None:
    x, formats = floats(torch.float32, 333), (parameters.scalar(float32), parameters.scalar(P16))
    for rounding in ("nearest_even", "to_odd"):
        got = run(kernels, "convert", [x], torch.int16, 2, *formats, parameters.ROUNDINGS[rounding], grid=grid)
        assert torch.equal(got, refnum.encode(x, P16, rounding=rounding))


# ---- compilation ---------------------------------------------------------------------------------


OTHERS = [pytest.param(architecture, marks=pytest.mark.slow) for architecture in ("80", "100", "120")]


@pytest.mark.parametrize("architecture", ["90a", *OTHERS])
def test_kernels_fit_in_registers(architecture: str) -> None:
    used = bridge.stack_and_spills(bridge.CSRC / "elementwise.cu", architecture)
    assert used == [bridge.IN_REGISTERS] * len(KERNELS)
