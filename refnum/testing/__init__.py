"""Testing numerics: inputs on which they go wrong, and comparisons that say how.

`cases` is the one home of generators; ``refnum.testing.strategies`` has the same as hypothesis strategies.
"""

from . import cases
from .accuracy import Accusation, Suspect, assert_any_order
from .assertions import assert_bit_equal, assert_ulp
from .diagnosis import Diagnosis, diagnose
from .invariance import Movement, assert_invariant
from .orders import Order, Revelation
from .reports import BlocksReport, Difference, Element, Report
from .revelation import reveal
from .trees import Tree
from .ulp import ulp_distance
from .verdicts import checker

__all__ = [
    "Accusation",
    "BlocksReport",
    "Diagnosis",
    "Difference",
    "Element",
    "Movement",
    "Order",
    "Report",
    "Revelation",
    "Suspect",
    "Tree",
    "assert_any_order",
    "assert_bit_equal",
    "assert_invariant",
    "assert_ulp",
    "cases",
    "checker",
    "diagnose",
    "reveal",
    "ulp_distance",
]
