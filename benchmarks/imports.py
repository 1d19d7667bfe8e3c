"""What importing costs: refnum beside torch, and the command's help without torch. Each sample is a fresh process."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator

from harness import ROUNDS, Figure, run

# In one process, so that both halves see the same machine: seconds of torch, of refnum, and of all its public names.
_TIMED = """
from time import perf_counter as now
began = now()
import torch
torch_done = now()
import refnum
refnum_done = now()
for name in dir(refnum):
    getattr(refnum, name)
print(torch_done - began, refnum_done - torch_done, now() - torch_done)
"""
_HELP = "import sys; from refnum.cli import main; sys.argv = ['refnum', '--help']; main()"
_ALONE = "import sys, refnum; print(*(name for name in ('torch', 'numpy') if name in sys.modules))"


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def _samples() -> list[tuple[float, ...]]:
    _python("-c", _TIMED)  # fills the page cache and the bytecode caches
    return [tuple(map(float, _python("-c", _TIMED).stdout.split())) for _ in range(ROUNDS)]


def _loads_torch_for_help() -> bool:
    """-X importtime names every module on stderr."""
    names = {line.rsplit("|", 1)[-1].strip() for line in _python("-X", "importtime", "-c", _HELP).stderr.splitlines()}
    if "refnum.cli" not in names:
        raise SystemExit("-X importtime did not name refnum.cli, which was imported: its output cannot be trusted.")
    return "torch" in names


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    samples = _samples()
    import_only, with_names = (statistics.median(row[i] / row[0] for row in samples) for i in (1, 2))
    yield Figure("import refnum", "fresh process, torch imported before", "import torch", import_only, 0.06)
    yield Figure("import refnum, touch every public name", "the same", "import torch", with_names, 0.06)
    yield Figure("refnum --help imports torch (0 no, 1 yes)", "fresh process", "", float(_loads_torch_for_help()), 0)
    yield Figure(
        "modules that import refnum alone brings: torch, numpy",
        "fresh process",
        "",
        len(_python("-c", _ALONE).stdout.split()),
        0,
    )


if __name__ == "__main__":
    run("imports", measure)
