"""Exact products, rounded once: of floats, and of operands in blocks; beside torch's, which round at every step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from harness import Row
from torch import Tensor

import refnum
from refnum import mx
from refnum_cuda import exact, launch, residues

PRODUCTS = (
    (torch.float32, torch.float32, 4096, "0.4 times torch.mm of float32 or better"),
    (torch.float32, torch.float32, 8192, "0.4 times torch.mm of float32 or better"),
    (torch.bfloat16, torch.bfloat16, 8192, "no slower than twice chain/v1"),
    (torch.bfloat16, torch.float32, 4096, "no slower than twice chain/v1"),
    (torch.float16, torch.float16, 4096, "no slower than twice chain/v1"),
    (torch.float8_e4m3fn, torch.float32, 4096, ""),
)
FEW_ROWS = (1, 16, 64)
BLOCKS = (refnum.mxfp4, refnum.mxfp8_e4m3)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator("cuda").manual_seed(seed), device="cuda", dtype=torch.float32)


def rows() -> Iterator[Row]:
    """Normal variates; the columns of b lie side by side, as weights do."""
    for dtype, out, size, target in PRODUCTS:
        yield _product(dtype, out, size, size, target)
    for count in FEW_ROWS:
        yield _product(torch.float32, torch.float32, count, 4096, "")
    for fmt in BLOCKS:
        yield _blocks(fmt, 4096)
    yield _wide(1024)
    yield from _parts(4096)


def _product(dtype: torch.dtype, out: torch.dtype, count: int, size: int, target: str) -> Row:
    a, b = _normal(count, size).to(dtype), _normal(size, size, seed=1).to(dtype).mT
    x, y = a.float(), b.float()
    beside = {"torch.mm, float32": lambda: x @ y}
    if count == size == 4096 or dtype != torch.float32:
        beside["chain/v1"] = lambda: refnum.gemm(a, b, contract="chain/v1", out_dtype=out)
    return Row(
        f"exact/v1 {_name(dtype)} to {_name(out)}, {count} x {size} x {size}",
        lambda: refnum.gemm(a, b, contract="exact/v1", out_dtype=out),
        beside,
        operations=2 * count * size**2,
        target=target,
    )


def _blocks(fmt: refnum.Block, size: int) -> Row:
    a, b = (mx.quantize(_normal(size, size, seed=seed), fmt) for seed in (0, 1))
    x, y = (mx.dequantize(side, torch.bfloat16) for side in (a, b))
    return Row(
        f"mx_mm exact/v1 {fmt}, {size} x {size} x {size}",
        lambda: refnum.mx_mm(a, b),
        {"torch.mm of bfloat16 values": lambda: x @ y.mT},
        operations=2 * size**3,
    )


def _wide(size: int) -> Row:
    """Factors of so many sizes that every result is in doubt, and made of words."""
    a, b = (
        _normal(size, size, seed=seed) * 2.0 ** (60 * _normal(size, size, seed=seed + 9)).clamp(-40, 40)
        for seed in (0, 1)
    )
    return Row(
        f"exact/v1 of any float32, {size} x {size} x {size}",
        lambda: refnum.gemm(a, b, contract="exact/v1"),
        {"torch.mm, float32": lambda: a @ b},
        operations=2 * size**3,
    )


def _parts(size: int) -> Iterator[Row]:
    """What a product of float32 consists of; its products of residues beside those of a kernel of ours."""
    a, b = (exact.side(_normal(size, size, seed=seed)) for seed in (0, 1))
    calls = []
    for call in exact.launches(a, b, None, torch.empty(1, size, size, device="cuda", dtype=torch.float32)):
        launch.launch(*call)
        calls.append(call)
    combine = calls[-2]
    left, right = (exact.Residues(x, exact.moduli_for(32, torch.float32)) for x in (a, b))
    for each in (left, right):
        launch.launch(*each.launch())
    sums = torch.empty(right.count, size, size, dtype=torch.uint8, device="cuda")
    forms = {
        form.kernel.name: residues.multiplied(left.residues, right.residues, sums, None, form)
        for form in (residues.BY_WARPS, residues.BY_WARPGROUPS)
    }
    wide = torch.empty(size, size, dtype=torch.int32, device="cuda")
    beside = {name: lambda call=call: launch.launch(*call) for name, call in forms.items()}
    beside |= {
        "torch._int_mm, not reduced": lambda: [
            torch._int_mm(x, y.mT, out=wide) for x, y in zip(left.residues, right.residues, strict=True)
        ]
    }
    yield Row("a matrix to residues", lambda: launch.launch(*left.launch()), bytes=(4 + right.count) * size**2)
    yield Row(
        f"products of {right.count} residues",
        lambda: launch.launch(*calls[-3]),
        beside,
        operations=2 * right.count * size**3,
    )
    doubts = combine[-1].count_tensor
    yield Row(
        "sums from residues, and rounded",
        lambda: (doubts.zero_(), launch.launch(*combine)),
        bytes=(4 + right.count) * size**2,
        note=f"{int(doubts)} of {size**2} results in doubt",
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
