"""Models in a format or under a contract.

`intercept` runs a whole model in posits, `deterministic` one under contracts, and `convert` gives each layer its own
plan. `Linear` and `linear` are layers whose products, those of the gradients too, follow contracts; `accumulate` keeps
their gradients exact over micro-batches and ranks, `parallelize` shares one among ranks.
`scaled_dot_product_attention` is the reference for quantized attention, tiled or not.
"""

from .determinism import deterministic
from .gradients import accumulate
from .interception import Count, Interception, intercept
from .layers import Linear
from .parallel import ParallelLinear, parallelize
from .plans import Plan, convert
from .sdpa import scaled_dot_product_attention
from .triad import linear

__all__ = [
    "Count",
    "Interception",
    "Linear",
    "ParallelLinear",
    "Plan",
    "accumulate",
    "convert",
    "deterministic",
    "intercept",
    "linear",
    "parallelize",
    "scaled_dot_product_attention",
]
