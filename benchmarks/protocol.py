"""refnum check of a million blocks, from the text to the verdict, against bytes.fromhex on the same lines; its memory.

Time is proportional to the cases, which are read and compared some at a time; what ten million take is ten times this.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from harness import Figure, medians, run

from refnum.cli import run as refnum
from refnum.testing.lines import Layout
from refnum.testing.operations import Operation, find

NAME = "mxfp4_quantize"
CASES, TIMES = 100_000, 10  #: of different cases, which come again so often
SLOWER = 20  #: than bytes.fromhex
GROWTH = 1.1  #: of the peak memory, from CASES to TIMES as many

# Not ru_maxrss, in which a child begins with the peak of its parent.
_CHECK_AND_PEAK = f"""
from pathlib import Path
from refnum.cli import run
run(["check", "{NAME}"])
print(*(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


class Repeated(io.RawIOBase):
    """A text so many times."""

    def __init__(self, text: bytes, times: int) -> None:
        self.text, self.left, self.at = text, times, 0

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or as much of it as the text has left."""
        part = self.text[self.at : self.at + len(buffer)] if self.left else b""
        buffer[: len(part)] = part
        self.at += len(part)
        if self.at == len(self.text):
            self.at, self.left = 0, self.left - 1
        return len(part)

    def readable(self) -> bool:
        """Say so."""
        return True


def _layout() -> tuple[Operation, Layout]:
    operation = find(NAME)
    return operation, Layout(NAME, operation.operands + operation.results)


def _text() -> bytes:
    operation, layout = _layout()
    operands = operation.cases("random", CASES, 0)
    return layout.text((*operands, *operation.right(operands)))


def _by_fromhex(text: bytes) -> None:
    """Read the operands alone: of the results the codes of 4 bits are single digits, which fromhex does not take."""
    start = len(NAME) + 1
    end = start + sum(words.length for words in _layout()[0].operands)
    for _ in range(TIMES):
        for line in text.decode().splitlines():
            bytes.fromhex(line[start:end])


def _checked(text: bytes) -> None:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BufferedReader(Repeated(text, TIMES)))
    try:
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
            code = refnum(["check", NAME])
    finally:
        sys.stdin = before
    if code:
        raise SystemExit(f"refnum check is not timed: it ended with {code}.")


def _peak(text: bytes, times: int) -> float:
    """MB that a process has held at most that checked the text so many times."""
    command = [sys.executable, "-c", _CHECK_AND_PEAK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for _ in range(times):
            child.stdin.write(text)
        child.stdin.close()
        return int(child.stdout.read().split()[-1]) / 1e3


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    text, data = _text(), f"{CASES * TIMES:,} random blocks"
    candidates: dict[str, Callable[[], object]] = {
        "fromhex": lambda: _by_fromhex(text),
        "check": lambda: _checked(text),
    }
    times = medians(candidates)
    yield Figure(f"refnum check {NAME}", data, "bytes.fromhex of operands", times["check"] / times["fromhex"], SLOWER)
    once, often = (_peak(text, times) for times in (1, TIMES))
    yield Figure(f"refnum check {NAME}, peak memory", data, f"that of {CASES:,}", often / once, GROWTH)


if __name__ == "__main__":
    run("protocol", measure)
