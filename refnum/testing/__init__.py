"""Testing numerics: inputs on which they go wrong, and comparisons that say how.

`cases` is the one home of generators; ``refnum.testing.strategies`` has the same as hypothesis strategies.
"""

from . import cases
from .assertions import Difference, Element, Report, assert_bit_equal, assert_ulp
from .ulp import ulp_distance
from .verdicts import checker

__all__ = ["Difference", "Element", "Report", "assert_bit_equal", "assert_ulp", "cases", "checker", "ulp_distance"]
