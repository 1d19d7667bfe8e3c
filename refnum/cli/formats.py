"""``refnum formats``: the rows that have a name, and what there is to know of one format."""

from __future__ import annotations

import json
import math
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ..formats import (
    DMF,
    Block,
    Codebook,
    Exponent,
    FixedPoint,
    Logarithmic,
    Minifloat,
    Posit,
    Scalar,
    bfloat16,
    float16,
    float32,
    float64,
    holds,
    keeps,
    named,
    parse,
    unit_scale,
)

FLOATS = {"float16": float16, "bfloat16": bfloat16, "float32": float32, "float64": float64}
GROUPS: dict[type[Scalar] | type[Block], str] = {
    Posit: "posits",
    Minifloat: "floats",
    Codebook: "tables of values",
    Block: "blocks that share a scale",
}
#: formats without a name, as they are written
EXAMPLES = (
    *("posit(16,1)", "fixed(8,4)", "fixed(8,4,signed=False)", "dmf(4,3)", "log(8)", "codebook(-1,0,1)"),
    *("block(e2m1,e8m0,16)", "mxint(4)", "bfp(8,16)", "block_minifloat(8,4,16)", "block_log(4,16)"),
)
FEW = 16  #: values that are listed one by one


def run(
    name: Annotated[
        str | None, typer.Argument(metavar="[FORMAT]", help="One format: a name, or spelled out as fixed(8,4).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the formats that have a name, or tell what there is to know of one format.

    Largest and smallest are the finite positive ones. Precision is the most bits that a significand has; a posit's is
    that long near 1 only.
    """
    if name is not None:
        _tell(parse(name), as_json)
        return
    if as_json:
        print(json.dumps([record(name, fmt) for name, fmt in named().items()]))
        return
    console = Console()
    console.print(_table())
    console.print("Others are spelled out, and told of by [bold]refnum formats[/] FORMAT:", highlight=False)
    console.print("  ".join(EXAMPLES), style="bold", highlight=False)


def _table() -> Table:
    """The rows, kind by kind."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, collapse_padding=True)
    table.add_column("format", style="bold", no_wrap=True)
    for column in ("bits", "largest", "smallest", "precision"):
        table.add_column(column, justify="right")
    table.add_column("kind", style="dim")
    rows = named()
    for group in GROUPS:
        for name, fmt in rows.items():
            if isinstance(fmt, group):
                table.add_row(name, *map(str, numbers(fmt)), kind(fmt))
        table.add_section()
    return table


def _tell(fmt: Scalar | Block, as_json: bool) -> None:
    """One format in some lines."""
    if as_json:
        print(json.dumps(record(str(fmt), fmt)))
        return
    console = Console(highlight=False)
    lines = facts(fmt)
    width = max(map(len, lines))
    for name, text in lines.items():
        console.print(f"[bold]{name:<{width}}[/]  {text}")


def facts(fmt: Scalar | Block) -> dict[str, str]:
    """What there is to know of a format.

    >>> from refnum.formats import FixedPoint, mxfp4
    >>> facts(FixedPoint(8, 4))["values"], facts(mxfp4)["bits"]
    ('-8 to 7.9375', '4.25 an element, its share of the scale included')
    """
    if isinstance(fmt, Block):
        rows, columns = fmt.tile
        return {
            "format": str(fmt),
            "kind": kind(fmt),
            "bits": f"{fmt.bits:g} an element, its share of the scale included",
            "block": f"{columns} elements along the axis" if rows == 1 else f"{rows} rows of {columns} elements",
            "element": f"{fmt.element}: {kind(fmt.element)}, up to {fmt.element.max_value:.6g}",
            "scale": f"{fmt.scale}: {kind(fmt.scale)}",
            "rule": fmt.rule or ("that of the profile" if fmt.by_powers else "amax over the largest element"),
        }
    told = {
        "format": str(fmt),
        "kind": kind(fmt),
        "bits": f"{fmt.width}, stored in integers of {fmt.container_bits}",
        "values": _range(fmt),
        "smallest": _short(smallest(fmt)) if isinstance(fmt, Codebook) else f"2^{unit_scale(fmt)}",
        "precision": f"{fmt.significand_bits} bit{'s' * (fmt.significand_bits > 1)} of significand at most",
        "held by": ", ".join(name for name, row in FLOATS.items() if holds(row, fmt)) or "no float dtype",
        "quantized in": ", ".join(name for name, row in FLOATS.items() if keeps(row, fmt)) or "no float dtype",
    }
    if isinstance(fmt, Codebook) and len(fmt.values) <= FEW:
        told["table"] = ", ".join(map(_short, fmt.values))
    return told


def _range(fmt: Scalar) -> str:
    if math.isinf(fmt.max_value):
        return f"magnitudes to 2^{fmt.max_scale} and less than twice that, beyond float64"
    return f"{_short(least(fmt))} to {_short(fmt.max_value)}"


def _short(x: float) -> str:
    return f"{x:.6g}"


def record(name: str, fmt: Scalar | Block) -> dict[str, object]:
    """The row as JSON has it, with numbers as numbers.

    >>> from refnum.formats import mxfp4, posit8
    >>> record("posit8", posit8)["largest"], record("mxfp4", mxfp4)
    (16777216.0, {'name': 'mxfp4', 'bits': 4.25, 'kind': '32 x e2m1, one e8m0'})
    """
    if isinstance(fmt, Block):
        return {"name": name, "bits": fmt.bits, "kind": kind(fmt)}
    ends = {"largest": fmt.max_value, "smallest": smallest(fmt)}
    return {"name": name, "bits": fmt.width, **ends, "significand_bits": fmt.significand_bits, "kind": kind(fmt)}


def numbers(fmt: Scalar | Block) -> tuple[object, ...]:
    """Bits, largest, smallest and significand bits; of a block its share of the scale, and no more.

    >>> from refnum.formats import mxfp4, posit8
    >>> numbers(posit8), numbers(mxfp4)
    ((8, '1.6777e+07', '5.9605e-08', 4), (4.25, '', '', ''))
    """
    if isinstance(fmt, Block):
        return fmt.bits, "", "", ""
    return fmt.width, f"{fmt.max_value:.5g}", f"{smallest(fmt):.5g}", fmt.significand_bits


def smallest(fmt: Scalar) -> float:
    """The smallest positive value; 0 where it lies below float64, or where there is none.

    >>> from refnum.formats import e5m2, e8m0, nf4, posit16
    >>> [smallest(fmt) for fmt in (posit16, e5m2, e8m0, nf4)]
    [1.3877787807814457e-17, 1.52587890625e-05, 5.877471754111438e-39, 0.07958029955625534]
    """
    if isinstance(fmt, Codebook):
        return min((x for x in fmt.values if x > 0), default=0.0)
    scale = unit_scale(fmt)
    return math.ldexp(1.0, scale) if scale < 1024 else math.inf


def least(fmt: Scalar) -> float:
    """The least finite value.

    >>> from refnum.formats import FixedPoint, e8m0, posit8
    >>> least(posit8), least(FixedPoint(8, 0)), least(FixedPoint(8, 0, signed=False)), least(e8m0) == 2.0**-127
    (-16777216.0, -128.0, 0.0, True)
    """
    match fmt:
        case FixedPoint():
            return math.ldexp(fmt.least, -fmt.fraction)
        case Codebook():
            return fmt.values[0]
        case Minifloat(signed=False):
            return 0.0 if fmt.subnormals else smallest(fmt)
        case _:
            return -fmt.max_value


def kind(fmt: Scalar | Block | Exponent) -> str:
    """What the format is, in a few words.

    >>> from refnum.formats import FixedPoint, e4m3, nf4, nvfp4, posit16
    >>> kind(posit16), kind(e4m3), kind(nvfp4)
    ('es 2, quire 256', 'E4M3, bias 7, fn', '16 x e2m1, one e4m3')
    >>> kind(FixedPoint(8, 4, signed=False)), kind(nf4)
    ('integers / 2^4, no sign', '16 values')
    """
    match fmt:
        case Block():
            rows, columns = fmt.tile
            return f"{rows * columns} x {fmt.element}, one {fmt.scale}"
        case Posit():
            return f"es {fmt.es}, quire {fmt.quire_bits}"
        case Minifloat():
            return f"E{fmt.exponent}M{fmt.mantissa}, bias {fmt.bias}, {fmt.specials}"
        case DMF():
            return f"E{fmt.exponent}M{fmt.mantissa}, bias {fmt.bias}, no hidden bit"
        case FixedPoint():
            unit = f" / 2^{fmt.fraction}" if fmt.fraction > 0 else f" x 2^{-fmt.fraction}" * (fmt.fraction < 0)
            choices = {"no sign": not fmt.signed, "symmetric": fmt.symmetric, "wraps": fmt.overflow == "wrap"}
            return ", ".join((f"integers{unit}", *(choice for choice, chosen in choices.items() if chosen)))
        case Logarithmic():
            return f"powers of two, bias {fmt.bias}{'' if fmt.zero_code else ', no 0'}"
        case Codebook():
            specials = ("infs" * ("inf" in dict(fmt.specials)), "nan" * (fmt.nan is not None))
            return ", ".join((f"{len(fmt.values)} values", *filter(None, specials)))
        case Exponent():
            return f"powers of two, 2^{fmt.least} to 2^{fmt.largest}"
