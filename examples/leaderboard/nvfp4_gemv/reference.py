"""An NVFP4 matrix times an NVFP4 vector: C = A b in float16, l times; A is [m, k, l], b is [1, k, l], C is [m, 1, l].

Elements are e2m1, two a byte along k; 16 of them share a scale in e4m3. Scales come twice: as [rows, k / 16, l], and in
the order in which tensor cores read them. The vector comes filled up to 128 rows; the first one counts.
"""

import torch

from refnum import mx, mx_mm, nvfp4, testing

PADDED = 128  #: rows of b


def generate_input(m: int, k: int, l: int, seed: int):  # noqa: E741  the contract's name
    """Random codes of values from 0 to 1.5, scales from 0 to 2; A, b, their scales, the same in blocks, room for C."""
    random = torch.Generator().manual_seed(seed)  # on the CPU: the same data on every machine
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def matrices(rows):
        codes = torch.randint(0, 4, (l, rows, k // 2), dtype=torch.uint8, generator=random)
        scales = torch.randint(0, 3, (l, rows, k // 16), generator=random).float().to(torch.float8_e4m3fn)
        codes = codes.view(torch.float4_e2m1fn_x2)
        return codes.to(device).permute(1, 2, 0), scales.to(device).permute(1, 2, 0)

    (a, a_scales), (b, b_scales) = matrices(m), matrices(PADDED)
    c = torch.empty(l, m, 1, dtype=torch.float16, device=device).permute(1, 2, 0)
    return a, b, a_scales, b_scales, blocked(a_scales), blocked(b_scales), c


def blocked(scales):
    """Scales [rows, columns, l] as [32, 4, rows / 128, 4, columns / 4, l]: in tiles of 128 x 4, padded with zeros."""
    return mx.shuffle(scales.permute(2, 0, 1), "nvidia_32_4_4_axes")


def blocks(codes, scales):
    """Codes [rows, k / 2, l] and scales [rows, k / 16, l] as l matrices of NVFP4."""
    rows, half, count = codes.shape
    return mx.Blocks(codes.permute(2, 0, 1), scales.permute(2, 0, 1), nvfp4, (count, rows, 2 * half))


def ref_kernel(data):
    """The exact sums of products, rounded once."""
    a, b, a_scales, b_scales = data[:4]
    product = mx_mm(blocks(a, a_scales), blocks(b[:1], b_scales[:1]), contract="exact/v1", out_dtype=torch.float16)
    return product.permute(1, 2, 0)


check_implementation = testing.checker(ref_kernel, rtol=1e-3, atol=1e-3)
