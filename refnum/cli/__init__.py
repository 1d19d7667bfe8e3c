"""The ``refnum`` command: `commands` is the table of what there is, and each command has a file of its own.

Importing this package costs nothing: typer and rich are loaded to read a command line, torch by commands that compute.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import RefnumError
from .extras import require
from .status import INTERRUPTED, refuse


def main() -> None:
    """Run the command line of this process and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit status; what refnum refuses ends in one line, not in a traceback.

    >>> run(["show", "3.14159", "posit16"])  # doctest: +ELLIPSIS
    0 | 10 | 01 | 10010010001
    ...
    0
    """
    try:
        for module in ("typer", "rich"):
            require("The refnum command", module, extra="cli")
        from .application import dispatch

        return dispatch(arguments)
    except RefnumError as error:
        return refuse(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
