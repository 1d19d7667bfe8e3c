"""Posit arithmetic on patterns: eager in chunks and compiled, against our own C loop over SoftPosit's functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from harness import Figure, distributions, medians, must_equal, run
from refnum_conformance.peers import softposit
from torch import Tensor

import refnum
from refnum import Posit, posit16, posit32

COUNT = 1 << 20

# operation: number of operands, target and goal of eager, target and goal of compiled, for posit32
OPERATIONS: dict[str, tuple[int, tuple[float | None, float | None], tuple[float | None, float | None]]] = {
    "add": (2, (11.0, 5.0), (0.35, 0.2)),
    "mul": (2, (11.0, 5.0), (0.35, 0.2)),
    "div": (2, (None, None), (None, None)),
    "sqrt": (1, (None, None), (None, None)),
    "nearest_int": (1, (None, None), (None, None)),
}


def _patterns(x: Tensor, fmt: Posit, count: int) -> list[Tensor]:
    """Operands of one distribution that have nothing to do with each other: int32 patterns."""
    return list(refnum.encode(x, fmt).to(torch.int32).view(2, -1).unbind())[:count]


def _softposit(operation: str, operands: list[Tensor], got: Tensor, fmt: Posit) -> Callable[[], None]:
    loop, out = softposit.loop(operation, fmt.n, fmt.es), torch.empty(COUNT, dtype=torch.int32)
    loop(*operands, out)
    known = softposit.excluded(operation, fmt.n, fmt.es, *operands)
    must_equal(f"{operation} {fmt}", got.masked_fill(known, 0), out.masked_fill(known, 0))
    return lambda: loop(*operands, out)


def _figures(fmt: Posit, operation: str, name: str, x: Tensor) -> Iterator[Figure]:
    arity, eager_asked, compiled_asked = OPERATIONS[operation]
    function, operands = getattr(refnum.posit, operation), _patterns(x, fmt, arity)

    def eager(*patterns: Tensor) -> Tensor:
        result: Tensor = function(*patterns, fmt)
        return result.to(torch.int32)

    torch.compiler.reset()  # a function is compiled anew for only so many formats
    compiled = torch.compile(eager, fullgraph=True)
    got = eager(*operands)
    must_equal(f"compiled {operation} {fmt}", compiled(*operands), got)
    times = medians(
        {
            "SoftPosit": _softposit(operation, operands, got, fmt),
            "eager": lambda: function(*operands, fmt),
            "compiled": lambda: compiled(*operands),
        }
    )
    asked = {"eager": eager_asked, "compiled": compiled_asked} if fmt == posit32 else {}
    for how in ("eager", "compiled"):
        ratio, bounds = times[how] / times["SoftPosit"], asked.get(how, (None, None))
        yield Figure(f"{operation} {fmt}, {how}", f"1M patterns, {name}", f"SoftPosit C {operation}", ratio, *bounds)


def measure() -> Iterator[Figure]:
    """All figures of this file: what has a target on every distribution, the rest on N(0,1)."""
    for name, x in distributions(2 * COUNT).items():
        for operation in ("add", "mul"):
            yield from _figures(posit32, operation, name, x)
    dense = distributions(2 * COUNT)["N(0,1)"]
    for operation in ("div", "sqrt", "nearest_int"):
        yield from _figures(posit32, operation, "N(0,1)", dense)
    for operation in ("add", "mul", "div", "sqrt", "nearest_int"):
        yield from _figures(posit16, operation, "N(0,1)", dense)


if __name__ == "__main__":
    run("arithmetic", measure, needs_loops=True)
