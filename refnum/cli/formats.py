"""``refnum formats``: the rows that have a name."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..formats import Block, Format, Posit, named


def run(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the formats that have a name.

    Largest and smallest are the finite positive ones. A posit's significand is that long near 1 only.
    """
    if as_json:
        print(json.dumps([record(name, fmt) for name, fmt in named().items()]))
        return
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("format", style="bold")
    for column in ("bits", "largest", "smallest", "significand bits"):
        table.add_column(column, justify="right")
    table.add_column("kind", style="dim")
    for name, fmt in named().items():
        table.add_row(name, *map(str, numbers(fmt)), kind(fmt))
    Console().print(table)
    Console().print("Any other posit is posit(n,es).", highlight=False)


def record(name: str, fmt: Format | Block) -> dict[str, object]:
    """The row as JSON has it, with numbers as numbers.

    >>> from refnum.formats import mxfp4, posit8
    >>> record("posit8", posit8)["largest"], record("mxfp4", mxfp4)
    (16777216.0, {'name': 'mxfp4', 'bits': 4.25, 'kind': '32 x e2m1, one e8m0'})
    """
    if isinstance(fmt, Block):
        return {"name": name, "bits": fmt.bits, "kind": kind(fmt)}
    ends = {"largest": fmt.max_value, "smallest": 2.0 ** smallest_scale(fmt)}
    return {"name": name, "bits": fmt.width, **ends, "significand_bits": fmt.significand_bits, "kind": kind(fmt)}


def numbers(fmt: Format | Block) -> tuple[object, ...]:
    """Bits, largest, smallest and significand bits; of a block its share of the scale, and no more.

    >>> from refnum.formats import mxfp4, posit8
    >>> numbers(posit8), numbers(mxfp4)
    ((8, '1.6777e+07', '5.9605e-08', 4), (4.25, '', '', ''))
    """
    if isinstance(fmt, Block):
        return fmt.bits, "", "", ""
    return fmt.width, f"{fmt.max_value:.5g}", f"{2.0 ** smallest_scale(fmt):.5g}", fmt.significand_bits


def smallest_scale(fmt: Format) -> int:
    """log2 of the smallest positive value.

    >>> from refnum.formats import e5m2, e8m0, posit16
    >>> smallest_scale(posit16), smallest_scale(e5m2), smallest_scale(e8m0)
    (-56, -16, -127)
    """
    return -fmt.max_scale if isinstance(fmt, Posit) else fmt.min_scale - fmt.mantissa


def kind(fmt: Format | Block) -> str:
    """What the format is, in a few words.

    >>> from refnum.formats import e4m3, nvfp4, posit16
    >>> kind(posit16), kind(e4m3), kind(nvfp4)
    ('es 2, quire 256', 'E4M3, bias 7, fn', '16 x e2m1, one e4m3')
    """
    if isinstance(fmt, Block):
        rows, columns = fmt.tile
        return f"{rows * columns} x {fmt.element}, one {fmt.scale}"
    if isinstance(fmt, Posit):
        return f"es {fmt.es}, quire {fmt.quire_bits}"
    return f"E{fmt.exponent}M{fmt.mantissa}, bias {fmt.bias}, {fmt.specials}"
