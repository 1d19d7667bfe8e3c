"""Models in a format or under a contract.

`intercept` runs a whole model in posits, `deterministic` one under contracts, and `convert` gives each layer its own
plan. `Linear` and `linear` are layers whose products, those of the gradients too, follow contracts.
"""

from .determinism import deterministic
from .interception import Count, Interception, intercept
from .layers import Linear
from .plans import Plan, convert
from .triad import linear

__all__ = ["Count", "Interception", "Linear", "Plan", "convert", "deterministic", "intercept", "linear"]
