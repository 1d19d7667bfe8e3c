"""FP8 times FP8 with float32 scales: C = A B^T in bfloat16; A is [m, k], B is [n, k], both e4m3fnuz, column by column.

A has a scale for each 128 elements of a row, [m, k / 128]; B has one for each tile of 128 x 128, [n / 128, k / 128],
where the last tiles are cut off at n and k.
"""

import torch

from refnum import Block, e4m3fnuz, encode, mx, mx_mm, testing
from refnum.formats import float32

ROWS, TILES = Block(e4m3fnuz, float32, 128), Block(e4m3fnuz, float32, (128, 128))


def generate_input(m: int, n: int, k: int, seed: int):
    """Normal elements rounded to e4m3fnuz, normal scales, and zeros as room for C."""
    random = torch.Generator().manual_seed(seed)  # on the CPU: the same data on every machine
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def elements(rows):
        values = torch.randn(k, rows, generator=random).bfloat16()
        return encode(values, e4m3fnuz).view(torch.float8_e4m3fnuz).to(device).T

    def scales(rows):
        return torch.randn(-(-k // 128), rows, generator=random).to(device).T

    a, b, a_scales, b_scales = elements(m), elements(n), scales(m), scales(-(-n // 128))
    return a, b, a_scales, b_scales, torch.zeros(m, n, dtype=torch.bfloat16, device=device)


def blocks(codes, scales, fmt):
    """Codes [rows, k] and their scales as a tensor of whole blocks, filled up with zeros."""
    missing = [-size % side for size, side in zip(codes.shape, fmt.tile, strict=True)]
    filled = torch.nn.functional.pad(codes.view(torch.uint8), (0, missing[1], 0, missing[0]))
    return mx.Blocks(filled, scales, fmt, filled.shape)


def ref_kernel(data):
    """The exact sums of products, rounded once."""
    a, b, a_scales, b_scales, c = data
    rows, tiles = blocks(a, a_scales, ROWS), blocks(b, b_scales, TILES)
    return mx_mm(rows, tiles, contract="exact/v1", out_dtype=c.dtype)[:, : len(b)]


check_implementation = testing.checker(ref_kernel, rtol=2e-2, atol=1e-3)
