"""NVFP4 times NVFP4, each group of its own size: C = A B^T in float16; A is [m, k, 1], B is [n, k, 1], C is [m, n, 1].

Elements are e2m1, two a byte along k; 16 of them share a scale in e4m3. Scales come twice: as [rows, k / 16, l], and in
the order in which tensor cores read them.
"""

import torch

from refnum import mx, mx_mm, nvfp4, testing


def generate_input(m: tuple[int, ...], n: tuple[int, ...], k: tuple[int, ...], g: int, seed: int):
    """Values from -1.5 to 1.5, scales 1 and 2; lists of (A, B, C), of scales, of the same in blocks, and of sizes."""
    random = torch.Generator().manual_seed(seed)  # on the CPU: the same data on every machine
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def matrix(rows, k):
        codes = torch.randint(0, 256, (1, rows, k // 2), dtype=torch.uint8, generator=random) & 0b1011_1011
        scales = torch.randint(1, 3, (1, rows, k // 16), generator=random).float().to(torch.float8_e4m3fn)
        codes = codes.view(torch.float4_e2m1fn_x2)
        return codes.to(device).permute(1, 2, 0), scales.to(device).permute(1, 2, 0)

    sizes = list(zip(m[:g], n[:g], k[:g], [1] * g, strict=True))
    operands = [(matrix(rows, length), matrix(columns, length)) for rows, columns, length, _ in sizes]
    rooms = [torch.empty(1, size[0], size[1], dtype=torch.float16, device=device).permute(1, 2, 0) for size in sizes]
    abc = [(a, b, c) for ((a, _), (b, _)), c in zip(operands, rooms, strict=True)]
    scales = [(a, b) for (_, a), (_, b) in operands]
    return abc, scales, [(blocked(a), blocked(b)) for a, b in scales], sizes


def blocked(scales):
    """Scales [rows, columns, l] as [32, 4, rows / 128, 4, columns / 4, l]: in tiles of 128 x 4, padded with zeros."""
    return mx.shuffle(scales.permute(2, 0, 1), "nvidia_32_4_4_axes")


def blocks(codes, scales):
    """Codes [rows, k / 2, l] and scales [rows, k / 16, l] as l matrices of NVFP4."""
    rows, half, count = codes.shape
    return mx.Blocks(codes.permute(2, 0, 1), scales.permute(2, 0, 1), nvfp4, (count, rows, 2 * half))


def ref_kernel(data):
    """For each group the exact sums of products, rounded once."""
    return [
        mx_mm(blocks(a, a_scales), blocks(b, b_scales), contract="exact/v1", out_dtype=torch.float16).permute(1, 2, 0)
        for (a, b, _), (a_scales, b_scales) in zip(data[0], data[1], strict=True)
    ]


check_implementation = testing.checker(ref_kernel, rtol=1e-3, atol=1e-3)
