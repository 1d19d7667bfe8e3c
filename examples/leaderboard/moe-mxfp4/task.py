"""Types of the mixture of experts in MXFP4."""

from typing import Any, TypedDict

from torch import Tensor

#: hidden states; gate_up and down weights; their scales; both weights shuffled; both scales shuffled; top-k weights
#: and ids, eleven tensors; and the sizes
input_t = tuple[Any, ...]
output_t = Tensor


class TestSpec(TypedDict):
    """A case: sizes of a layer, and how many tokens go through it."""

    dhidden: int
    dexpert: int
    nroutedexperts: int
    nexpertspertoken: int
    nsharedexperts: int
    bs: int
    seed: int
