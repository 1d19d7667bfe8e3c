"""Types of the NVFP4 dual matrix product."""

from typing import TypedDict

from torch import Tensor

#: a, b1, b2; their scales; the same in blocks; c
input_t = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
output_t = Tensor


class TestSpec(TypedDict):
    """A case: l pairs of products of [m, k] and [n, k]; m and n are multiples of 128, k of 64."""

    m: int
    n: int
    k: int
    l: int  # noqa: E741  the contract's name
    seed: int
