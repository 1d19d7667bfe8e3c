"""refnum's own kernel: each element times its scale in float32, a float32 product, written into the room for C."""

from task import input_t, output_t
from torch import float32, uint8

from refnum import decode, e4m3fnuz


def custom_kernel(data: input_t) -> output_t:
    """Values in float32, and one product."""
    a, b, a_scales, b_scales, c = data
    n, k = b.shape
    left = values(a) * a_scales.repeat_interleave(128, 1)[:, :k]
    right = values(b) * b_scales.repeat_interleave(128, 0)[:n].repeat_interleave(128, 1)[:, :k]
    c[:] = left @ right.T
    return c


def values(codes):
    """float8 as float32, exactly."""
    return decode(codes.view(uint8), e4m3fnuz, dtype=float32)
