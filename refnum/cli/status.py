"""How a command ends."""

from __future__ import annotations

import sys

DONE = 0
MISMATCH = 1  #: two results that must be equal are not, or something that was asked for cannot serve
BAD_INPUT = 2
INTERRUPTED = 130  #: 128 + SIGINT, as shells have it
CLOSED = 141  #: 128 + SIGPIPE: nobody reads on


def refuse(message: str) -> int:
    """Say in one line what was wrong with the input."""
    print(f"refnum: {message}", file=sys.stderr)
    return BAD_INPUT
