"""bfloat16 times MXFP4: A [m, k] is quantized by the kernel, B [n, k] comes quantized, C = A B^T [m, n] is bfloat16.

Quantization is aiter's ``dynamic_mxfp4_quant``: blocks of 32, ties to even. B comes in the layouts of gfx950, too.
"""

import torch

from refnum import mx, mx_mm, mxfp4, testing

PROFILE = "aiter/v2"


def generate_input(m: int, n: int, k: int, seed: int):
    """A and B in bfloat16; B's packed elements; the same shuffled in tiles of 16 x 16; B's shuffled scales."""
    random = torch.Generator().manual_seed(seed)  # on the CPU: the same data on every machine
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (torch.randn(rows, k, generator=random).bfloat16().to(device) for rows in (m, n))
    elements, scales = mx.quantize(b, mxfp4, profile=PROFILE).to_torch()
    return a, b, elements, mx.shuffle_weight(elements), mx.shuffle_scale(scales)


def ref_kernel(data):
    """Both operands rounded to MXFP4, and the exact sum of their products rounded once."""
    a, b = (mx.quantize(x, mxfp4, profile=PROFILE) for x in data[:2])
    return mx_mm(a, b, contract="exact/v1", out_dtype=torch.bfloat16)


check_implementation = testing.checker(ref_kernel, rtol=1e-2, atol=1e-2)
