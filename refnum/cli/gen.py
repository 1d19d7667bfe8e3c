"""``refnum gen OPERATION``: cases for kernels in any language, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from ..testing.lines import PAGE, Layout
from ..testing.operations import EACH, Codes, Operation, find
from . import choices
from .streams import counter, output

MOST_SPACED = 1 << 20
SEEDS = 1 << 32  #: random cases of one run are those of so many seeds, one behind the other


def run(
    name: choices.Name,
    fmt: choices.Format = None,
    profile: choices.Profile = None,
    scale: choices.Scale = None,
    rounding: choices.Rounding = None,
    dtype: choices.Dtype = None,
    to: choices.To = None,
    contract: choices.Contract = None,
    k: choices.K = None,
    m: choices.M = None,
    n: choices.N = None,
    edges: Annotated[bool, typer.Option("--edges", help="Ends of ranges, and what stands beside them.")] = False,
    ties: Annotated[bool, typer.Option("--ties", help="Ties, and what stands beside them.")] = False,
    spaced: Annotated[int, typer.Option(min=0, max=MOST_SPACED, help="Evenly spaced cases: all, if enough.")] = 0,
    random: Annotated[int, typer.Option(min=0, help="Random cases.")] = 0,
    seed: Annotated[int, typer.Option(min=0, max=SEEDS - 1, help="Of what is drawn at random.")] = 0,
    want: Annotated[bool, typer.Option("--want", help="Write the right results, too.")] = False,
) -> None:
    """Write test vectors as lines of text, for kernels in any language.

    A line is the operation and its operands, patterns in hexadecimal: posit16_add 4000 4800. A kernel writes the lines
    again with its results behind them, for refnum check. Without --edges, --ties, --spaced and --random there are edges
    and ties.
    """
    operation = find(
        name,
        fmt,
        profile=profile,
        scale=scale,
        rounding=rounding,
        dtype=dtype,
        to=to,
        contract=contract,
        k=k,
        m=m,
        n=n,
    )
    every = not (edges or ties or spaced or random)
    counts = {"edges": EACH * (edges or every), "ties": EACH * (ties or every), "spaced": spaced, "random": random}
    layout = Layout(operation.name, operation.operands + operation.results * want)
    with output() as stream, counter() as count:
        for codes in _cases(operation, counts, seed, PAGE // layout.length + 1):
            stream.write(layout.text((*codes, *(operation.right(codes) if want else ()))))
            count(len(codes[0]))


def _cases(operation: Operation, counts: dict[str, int], seed: int, most: int) -> Iterator[Codes]:
    """Operands of the kinds that are wanted; random ones in parts, as many as they may be."""
    for kind, count in counts.items():
        part = most if kind == "random" else max(count, 1)
        for number, start in enumerate(range(0, count, part)):
            yield operation.cases(kind, min(part, count - start), seed + SEEDS * number)
