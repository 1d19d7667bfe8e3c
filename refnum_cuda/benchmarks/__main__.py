"""Times every kernel beside yardsticks, on a GPU: ``python refnum_cuda/benchmarks [topic ...]``.

A topic is a file beside this one with a function ``rows``. Tables are printed as they come and written, as JSON and as
pages, to refnum_cuda/results. The exit status tells whether everything could be timed, not how fast it was.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import harness
import torch

HERE = Path(__file__).parent
TOPICS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("__main__", "harness", "plots"))


def main() -> int:
    """Time the topics that the command line names, or all."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"of {', '.join(TOPICS)}; all without one")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="the folder that is written")
    asked = parser.parse_args()
    if unknown := set(asked.topics) - set(TOPICS):
        parser.error(f"there is no topic {', '.join(sorted(unknown))}; choose from {', '.join(TOPICS)}")
    torch.backends.cuda.matmul.allow_tf32 = False
    failed = 0
    for topic in asked.topics or TOPICS:
        print(f"\n{topic}: {' | '.join(harness.HEADER)}")
        results = []
        for result in harness.timed(importlib.import_module(topic).rows()):
            print(" | ".join(result.cells()), flush=True)
            results.append(result)
            failed += len(result.failures)
        harness.write(results, asked.results, topic)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
