"""Types of the block-scaled FP8 matrix product."""

from typing import TypedDict

from torch import Tensor

input_t = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  #: a, b, their scales, c
output_t = Tensor


class TestSpec(TypedDict):
    """A case: A is [m, k], B is [n, k]; k is a multiple of 128."""

    m: int
    n: int
    k: int
    seed: int
