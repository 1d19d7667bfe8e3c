"""Types of the NVFP4 matrix product."""

from typing import TypedDict

from torch import Tensor

input_t = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]  #: a, b, their scales twice, c
output_t = Tensor


class TestSpec(TypedDict):
    """A case: l products of [m, k] and [n, k]; m and n are multiples of 128, k of 64."""

    m: int
    n: int
    k: int
    l: int  # noqa: E741  the contract's name
    seed: int
