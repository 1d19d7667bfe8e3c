"""Compiles the kernels into the wheel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))

from refnum_cuda import build


class Kernels(BuildHookInterface):  # type: ignore[type-arg]
    """Files of _bin are made before the wheel is packed, and packed although git ignores them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name what was made."""
        build.build(build.Nvrtc())
        build_data["artifacts"].append("refnum_cuda/_bin/*")
