"""Models in a format or under a contract.

`intercept` runs a whole model in posits, `deterministic` one under contracts, and `convert` gives each layer its own
plan. `Linear` and `linear` are layers whose products, those of the gradients too, follow contracts; `accumulate` keeps
their gradients exact over micro-batches and ranks, `parallelize` shares one among ranks.
"""

from .determinism import deterministic
from .gradients import accumulate
from .interception import Count, Interception, intercept
from .layers import Linear
from .parallel import ParallelLinear, parallelize
from .plans import Plan, convert
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
]
