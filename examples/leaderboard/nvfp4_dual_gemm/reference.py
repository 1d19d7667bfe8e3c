"""Two products of one NVFP4 matrix: C = silu(A B1^T) * (A B2^T) in float16, l times; A is [m, k, l], C is [m, n, l].

Elements are e2m1, two a byte along k; 16 of them share a scale in e4m3. Scales come twice: as [rows, k / 16, l], and in
the order in which tensor cores read them.
"""

import torch
from torch.nn.functional import silu

from refnum import mx, mx_mm, nvfp4, testing


def generate_input(m: int, n: int, k: int, l: int, seed: int):  # noqa: E741  the contract's name
    """Values from -1.5 to 1.5, scales below 1; A, B1, B2, their scales, the same in blocks, and room for C."""
    random = torch.Generator().manual_seed(seed)  # on the CPU: the same data on every machine
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def matrices(rows):
        codes = torch.randint(0, 256, (l, rows, k // 2), dtype=torch.uint8, generator=random) & 0b1011_1011
        scales = torch.rand(l, rows, k // 16, generator=random).to(torch.float8_e4m3fn)
        codes = codes.view(torch.float4_e2m1fn_x2)
        return codes.to(device).permute(1, 2, 0), scales.to(device).permute(1, 2, 0)

    codes, scales = zip(matrices(m), matrices(n), matrices(n), strict=True)
    c = torch.empty(l, m, n, dtype=torch.float16, device=device).permute(1, 2, 0)
    return *codes, *scales, *map(blocked, scales), c


def blocked(scales):
    """Scales [rows, columns, l] as [32, 4, rows / 128, 4, columns / 4, l]: in tiles of 128 x 4, padded with zeros."""
    return mx.shuffle(scales.permute(2, 0, 1), "nvidia_32_4_4_axes")


def blocks(codes, scales):
    """Codes [rows, k / 2, l] and scales [rows, k / 16, l] as l matrices of NVFP4."""
    rows, half, count = codes.shape
    return mx.Blocks(codes.permute(2, 0, 1), scales.permute(2, 0, 1), nvfp4, (count, rows, 2 * half))


def ref_kernel(data):
    """Exact sums of products, rounded to float32; what follows is float32 until the result is rounded."""
    a, b1, b2 = (blocks(*pair) for pair in zip(data[:3], data[3:6], strict=True))
    first, second = (mx_mm(a, b, contract="exact/v1", out_dtype=torch.float32) for b in (b1, b2))
    return (silu(first) * second).to(torch.float16).permute(1, 2, 0)


check_implementation = testing.checker(ref_kernel, rtol=1e-3, atol=1e-3)
