"""posit_mm by the kernels of posits.cu on the CPU, by refnum, and operands on which they may differ."""

from __future__ import annotations

import itertools
import warnings
from functools import lru_cache
from typing import Any

import torch
from cuda.simulate import CHOICES, Choice, Kernels  # before refnum_cuda, which it finds
from torch import Tensor

import refnum
from refnum import Posit
from refnum_cuda import launch, posits

MODES = ("products", "posit", "cuposit")
P16 = Posit(16)
#: by mode, of each way to sum: where tables serve and where they do not, in float32 and in float64
FORMATS = {
    "products": [
        *((3, 0), (5, 2), (6, 2), (8, 2), (9, 4), (12, 0), (16, 2), (17, 3), (20, 2), (24, 0), (26, 2)),
        *((26, 0), (27, 1), (27, 2), (28, 2)),
    ],
    "posit": [(3, 2), (5, 1), (6, 2), (8, 0), (9, 3), (12, 2), (16, 2), (17, 2), (16, 3), (24, 2), (30, 0), (32, 2)],
    "cuposit": [(4, 2), (5, 2), (6, 2), (8, 2), (12, 2), (16, 2), (20, 2), (24, 2), (28, 2)],
}
CASES = [(mode, Posit(n, es)) for mode, formats in FORMATS.items() for n, es in formats]
#: patterns of posit32 whose product is not what float64 rounds to
LONG = torch.tensor([[0x40000005]]), torch.tensor([[0x40CCCCCD]])
NAMES = tuple(kernel.name for kernel in posits.KERNELS.values())

PROCESSORS = itertools.cycle((1, 1000))


@lru_cache(maxsize=1)
def the_kernels() -> Kernels:
    """Those of posits.cu, on the CPU."""
    return Kernels.of_file("posits.cu", *NAMES)


def simulated(kernels: Kernels, choice: Choice) -> posits.Launches:
    """Launches on the CPU; products are written into a guarded place first.

    The tilings take turns: they are those of GPUs of 1 and of 1000 multiprocessors.
    """

    def start(kernel: launch.Kernel, grid: Any, block: Any, shared: int, *arguments: Any) -> None:
        if kernel.name.startswith("rn_pack"):
            kernels.run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)
            return
        out = arguments[3].tensor
        guarded = torch.full((out.numel() + 64,), -7.0, dtype=out.dtype)
        place = posits.Matrix(guarded[32:-32].as_strided(out.shape, out.stride()))
        kernels.run(kernel.name, grid, block, *arguments[:3], place, *arguments[4:], shared=shared, choice=choice)
        assert torch.cat([guarded[:32], guarded[-32:]]).eq(-7).all(), "it writes the result alone"
        out.copy_(place.tensor)

    return posits.Launches(start, lambda device: next(PROCESSORS))


def product(
    kernels: Kernels,
    a: Tensor,
    b: Tensor,
    fmt: Posit,
    mode: str,
    c: Tensor | None = None,
    *,
    scaling: tuple[float, float, int | None] = (1.0, 0.0, 8),
    choice: Choice = CHOICES[0],
) -> Tensor:
    """refnum.posit_mm by the kernels; mode posit in patterns."""
    how = simulated(kernels, choice)
    if mode == "posit":
        return refnum.encode(posits.rounded(a, b, c, fmt, how), fmt)
    if mode == "products":
        return posits.products(a, b, c, fmt, how)
    return posits.cuposit(a, b, c, fmt, *scaling, how)


def reference(
    a: Tensor,
    b: Tensor,
    fmt: Posit,
    mode: str,
    c: Tensor | None = None,
    scaling: tuple[float, float, int | None] = (1.0, 0.0, 8),
) -> Tensor:
    """The same by refnum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what cuposit makes of posit(4,2)
        names = dict(zip(("alpha", "beta", "k_pad"), scaling, strict=True)) if mode == "cuposit" else {}
        got = refnum.posit_mm(a, b, fmt, mode=mode, c=c, **names)
    return refnum.encode(got, fmt) if mode == "posit" and got.is_floating_point() else got


def patterns_of(fmt: Posit, mode: str, x: Tensor) -> Tensor:
    """Floats for cuposit, which takes no patterns."""
    return refnum.decode(x, fmt, dtype=torch.float32) if mode == "cuposit" else x


# ---- operands --------------------------------------------------------------------------------------


def binades(fmt: Posit, lines: int) -> tuple[Tensor, Tensor]:
    """Products of each scale there is, a matrix of them each, so that tables serve wherever they can.

    Among them are ties of fractions of every length, and what is next to them.
    """
    scales = torch.arange(-2 * fmt.max_scale - 1, 2 * fmt.max_scale + 2)
    fractions = torch.arange(lines, dtype=torch.float64) / lines
    near = 2.0 ** -torch.arange(1, 13, dtype=torch.float64)
    other = torch.cat([torch.tensor([1.0, 1.5, 1.25, 1.75, 1.375]).double(), 1 + near, 2 - near[1:]])
    a = (1 + fractions)[:, None] * 2.0 ** (scales // 2)[:, None, None]
    b = torch.cat([other, -other])[None, :] * 2.0 ** (scales - scales // 2)[:, None, None]
    return a, b


def normal(m: int, k: int, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Operands for which tables serve, with zeros among them."""
    draw = torch.Generator().manual_seed(seed)
    a, b = torch.randn(m, k, generator=draw), torch.randn(k, n, generator=draw)
    a, b = (x * (x.abs() > 0.01) for x in (a, b))
    return a, b


def growing(fmt: Posit) -> Tensor:
    """Terms that tables serve, and whose sum grows to where exponent bits are cut off: there they change nothing."""
    return 2.0 ** (fmt.max_scale - 12) * torch.tensor([[1.0, 1.0, 2.0, *[4.0] * 8, -8.0, -8.0]])
