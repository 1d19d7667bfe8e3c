"""Models in a format: `intercept` runs a whole model in posits, `convert` gives each layer its own plan."""

from .interception import Count, Interception, intercept
from .plans import Plan, convert

__all__ = ["Count", "Interception", "Plan", "convert", "intercept"]
