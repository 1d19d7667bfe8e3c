"""NF4 as QLoRA has it: blocks of 64 that share their largest magnitude, in float32."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

import refnum
from refnum import Block, Codebook, mx
from refnum.formats import float32, nf4

NF4 = Block(nf4, float32, 64)
TABLE = torch.tensor(nf4.values, dtype=torch.float32)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def codes_of(blocks: mx.Blocks) -> torch.Tensor:
    """One code an element: the even ones are in the low halves of bytes."""
    return torch.stack([blocks.elements & 15, blocks.elements >> 4], -1).flatten(-2)


def hard(rows: int) -> torch.Tensor:
    """Random blocks, and middles of the table with the float32s about them, under a scale of 1 and of others."""
    middles = (TABLE[1:].double() + TABLE[:-1].double()).div(2).float()
    near = torch.cat([middles, middles.nextafter(torch.tensor(9.0)), middles.nextafter(torch.tensor(-9.0))])
    edge = torch.cat([near, torch.tensor([1.0, -1.0, 0.0, -0.0]), TABLE[:15]])
    return torch.cat([normal(rows, 64), edge[None], edge[None] * 0.37, edge[None] * 3e-39, torch.zeros(1, 64)])


def test_it_is_the_formula_of_qlora() -> None:
    x = hard(200)
    blocks = mx.quantize(x, NF4)
    largest = x.abs().amax(1, keepdim=True)
    some = largest > 0  # a block of zeros has no scale that matters
    assert torch.equal(blocks.scales.view(torch.float32)[some], largest[some])
    # float32 division, as bitsandbytes has it, then the nearest entry: exact distances in float64
    quotients = (x / torch.where(some, largest, 1)).double()
    distances = (quotients[..., None] - torch.tensor(nf4.values, dtype=torch.float64)).abs()
    nearest = distances.argmin(-1)
    got = codes_of(blocks).long()
    got_distances = distances.gather(-1, got[..., None])[..., 0]
    live = largest[:, 0] > 1e-37
    assert torch.equal(got_distances[live], distances.amin(-1)[live]), "ties may go either way"
    assert (got[live] != nearest[live]).float().mean() < 0.01
    assert torch.equal(mx.dequantize(blocks)[live], (TABLE[got] * largest)[live])
    assert not mx.dequantize(blocks)[-1].any(), "a block of zeros"


@pytest.mark.parametrize("element", [nf4, Codebook((-1, 0, 1))], ids=str)
def test_products_are_summed_exactly(element: Codebook) -> None:
    fmt = Block(element, float32, 64)
    a, b = (mx.quantize(normal(rows, 128, seed=rows), fmt) for rows in (3, 5))
    x, y = (_exact(blocks, element) for blocks in (a, b))
    got = refnum.mx_mm(a, b, contract="exact/v1", out_dtype=torch.float32)
    want = [[sum(p * q for p, q in zip(row, column, strict=True)) for column in y] for row in x]
    assert got.tolist() == [[_float32(total) for total in row] for row in want]


def _exact(blocks: mx.Blocks, element: Codebook) -> list[list[Fraction]]:
    """Values as products of fractions."""
    codes = codes_of(blocks) if element.width == 4 else blocks.elements
    scales = blocks.scales.view(torch.float32).repeat_interleave(64, -1)
    return [
        [Fraction(element.values[code]) * Fraction(scale) for code, scale in zip(*row, strict=True)]
        for row in zip(codes.tolist(), scales.tolist(), strict=True)
    ]


def _float32(x: Fraction) -> float:
    """Rounded once, to nearest: float64 first, but where that would decide a tie."""
    wide = float(x)
    narrow = torch.tensor(wide, dtype=torch.float64).float()
    below, above = (narrow.nextafter(torch.tensor(end)) for end in (-torch.inf, torch.inf))
    return min((abs(Fraction(c.item()) - x), c.item()) for c in (below, narrow, above))[1]
