"""What pins of peers that speak as rows look like: a row of the operations table, with options, that comes out wrong.

Operands are values, which the dtype among the options holds exactly; ``got`` and ``right`` are codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Block = tuple[float, ...]
Codes = tuple[int, ...]


@dataclass(frozen=True)
class Pin:
    """One call that comes out wrong."""

    target: str  #: module in `refnum_conformance.peers`
    why: str  #: what the peer does
    rule: str  #: what says that it is wrong
    row: str
    options: dict[str, Any]
    operand: float | Block
    got: int | Codes
    right: int | Codes

    def __str__(self) -> str:
        operand = self.operand[0] if isinstance(self.operand, tuple) else self.operand
        right = self.right[-1] if isinstance(self.right, tuple) else self.right
        choices = [str(value) for name, value in self.options.items() if name in ("fmt", "dtype", "rounding", "scale")]
        return f"{self.target} {self.row}({float(operand).hex()}) {' '.join(choices)} {right:#x}"


def blocks(scale: int, code: int) -> Codes:
    """A block all of whose 32 elements have one code."""
    return (scale, *(32 * (code,)))
