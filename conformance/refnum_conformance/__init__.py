"""Conformance of refnum, and of any implementation that wants it: operations x cases x oracles, bits in, bits out.

``python -m refnum_conformance`` prints the table. A *target* is a module with functions named like the rows of
`operations`; `target` is refnum's own and the example. `oracles` import nothing of refnum.
"""

from __future__ import annotations

__version__ = "0.1.0"
