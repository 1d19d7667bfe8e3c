"""Types of the NVFP4 grouped matrix product."""

from typing import TypedDict

from torch import Tensor

pair = tuple[Tensor, Tensor]
#: (a, b, c), scales, scales in blocks, sizes (m, n, k, l): one of each a group
input_t = tuple[list[tuple[Tensor, Tensor, Tensor]], list[pair], list[pair], list[tuple[int, int, int, int]]]
output_t = list[Tensor]


class TestSpec(TypedDict):
    """A case: g products, of [m[i], k[i]] and [n[i], k[i]]; k is a multiple of 64."""

    m: tuple[int, ...]
    n: tuple[int, ...]
    k: tuple[int, ...]
    g: int
    seed: int
