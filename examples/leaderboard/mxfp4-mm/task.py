"""Types of the MXFP4 matrix product."""

from typing import TypedDict

from torch import Tensor

input_t = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  #: A, B, B_q, B_shuffle, B_scale_sh
output_t = Tensor


class TestSpec(TypedDict):
    """A case: A is [m, k], B is [n, k]; k is a multiple of 64, n of 16."""

    m: int
    n: int
    k: int
    seed: int
