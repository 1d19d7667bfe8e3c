"""``refnum contracts``: what is summed how, by name and version."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from ..sums.contracts import Contract, listed
from ..sums.operands import FP8


def run(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the contracts of sums of products, what they take, and what each says.

    Where a name has parameters, they are shown as they are by default.
    """
    rows = listed()
    if as_json:
        print(json.dumps([{"name": row.name, "operands": operands(row), "definition": row.definition} for row in rows]))
        return
    console = Console(highlight=False)
    for row in rows:
        console.print(Text.assemble((row.name, "bold"), "  ", (", ".join(operands(row)), "dim")))
        console.print(Padding(row.definition, (0, 0, 0, 4), expand=False))


def operands(row: Contract) -> list[str]:
    """What may be multiplied: dtypes, float8 standing for all four, or blocks.

    >>> from refnum.sums.contracts import find
    >>> operands(find("doctest", "exact/v1"))
    ['float32', 'bfloat16', 'float16', 'float8', 'float64']
    >>> operands(find("doctest", "int/v1")), operands(find("doctest", "tc.blackwell.mxf4"))
    (['int8', 'uint8'], ['blocks'])
    """
    if row.multiply_blocks and not row.multiply:
        return ["blocks"]
    every = set(row.operands) >= set(FP8)
    names = ("float8" if every and dtype in FP8 else str(dtype).removeprefix("torch.") for dtype in row.operands)
    return list(dict.fromkeys(names))
