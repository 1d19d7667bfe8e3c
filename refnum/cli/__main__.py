"""``python -m refnum.cli`` is ``refnum``, where scripts are not on the PATH."""

from __future__ import annotations

from . import main

main()
