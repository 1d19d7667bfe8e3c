"""``refnum show VALUE FORMAT``: one number taken apart."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal, InvalidOperation, localcontext
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.text import Text
from torch import Tensor

from ..codec import decode as decoded
from ..codec import encode
from ..core.decode import LIMB, NAN, NUMBER, decode
from ..formats import Format, Minifloat, Posit, float64, parse_scalar
from ..posit import from_decimal, to_decimal

COLOURS = {"sign": "red", "regime": "yellow", "exponent": "blue", "fraction": "green", "other bits": "dim"}
MOST_DIGITS = 1100  #: of the longest exact value: 2**-1074 has 751 significant digits, the least posit(64,4) 694
SHORT = 40  #: characters of an exact value that are still worth reading


def run(
    value: Annotated[str, typer.Argument(metavar="VALUE", help="A decimal, NaR, nan, inf, or a pattern: 0x4c91.")],
    fmt: Annotated[str, typer.Argument(metavar="FORMAT", help="A name that refnum formats lists, or posit(n,es).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take one number apart in a format: its fields, pattern and value."""
    row = parse_scalar(fmt)
    pattern = read(value, row)
    if as_json:
        named = [{"field": name, "bits": bits} for name, bits in fields(pattern, row)]
        print(json.dumps({"format": str(row), "fields": named, **facts(pattern, row)}))
        return
    console = Console(highlight=False)
    parts = fields(pattern, row)
    console.print(Text(" | ").join(Text(bits, COLOURS[name]) for name, bits in parts))
    console.print(Text(" | ").join(Text(name, COLOURS[name]) for name, _ in parts))
    for name, text in facts(pattern, row).items():
        console.print(f"[bold]{name:<8}[/] {text}")


def read(value: str, fmt: Format) -> int:
    """The pattern, without a sign, of a value: a decimal rounded once, or a pattern in hexadecimal.

    >>> [f"{read(text, parse_scalar('e4m3')):02x}" for text in ("1.0625", "1.06250000000000000000001", "-0", "0x7f")]
    ['38', '39', '80', '7f']
    """
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", value):
        pattern = int(value, 16)
        if pattern >> fmt.width:
            raise typer.BadParameter(f"{value} has more than the {fmt.width} bits of {fmt}.", param_hint="VALUE")
        return pattern
    codes = from_decimal(value, fmt) if isinstance(fmt, Posit) else encode(_double(value, fmt), fmt)
    return int(codes) & ((1 << fmt.width) - 1)


def _double(value: str, fmt: Minifloat) -> Tensor:
    """A float64 that rounds to the format as the decimal itself does.

    A narrower format rounds right from two more bits, the last of them sticky: so of the two doubles around an inexact
    decimal this is the odd one.
    """
    try:
        nearest, exact = float(value), Decimal(value)
    except (ValueError, InvalidOperation):
        raise typer.BadParameter(f"{value[:40]!r} is not a number.", param_hint="VALUE") from None
    double = torch.tensor(nearest, dtype=torch.float64)
    odd = int(double.view(torch.int64)) & 1
    if odd or fmt == float64 or not exact.is_finite() or exact == Decimal(nearest):
        return double
    return double.nextafter(torch.full_like(double, math.inf if exact > Decimal(nearest) else -math.inf))


def fields(pattern: int, fmt: Format) -> list[tuple[str, str]]:
    """Names and bits of the fields, first to last. 0 and NaR have no regime.

    >>> fields(0xC400, parse_scalar("posit16"))
    [('sign', '1'), ('regime', '10'), ('exponent', '00'), ('fraction', '10000000000')]
    >>> fields(0x7D, parse_scalar("posit8")), fields(0x80, parse_scalar("posit8"))
    ([('sign', '0'), ('regime', '111110'), ('exponent', '1')], [('sign', '1'), ('other bits', '0000000')])
    """
    bits = f"{pattern:0{fmt.width}b}"
    names: tuple[str, ...]
    match fmt:
        case Posit() if not int(bits[1:], 2):
            names, form = ("sign", "other bits"), "(.)(.*)"
        case Posit():
            names, form = ("sign", "regime", "exponent", "fraction"), f"(.)(0+1|1+0?)(.{{0,{fmt.es}}})(.*)"
        case Minifloat():
            names, form = ("sign", "exponent", "fraction"), f"(.{{{int(fmt.signed)}}})(.{{{fmt.exponent}}})(.*)"
    parts = re.fullmatch(form, bits)
    assert parts is not None
    return [(name, part) for name, part in zip(names, parts.groups(), strict=True) if part]


def facts(pattern: int, fmt: Format) -> dict[str, str]:
    """Pattern, exact value, and the shortest decimal that reads back the same.

    >>> facts(0x4C91, parse_scalar("posit16"))
    {'pattern': '0x4c91', 'value': '3217 * 2**-10 = 3.1416015625', 'decimal': '3.142'}
    """
    signed = pattern - (pattern >> (fmt.width - 1) << fmt.width)
    codes = torch.tensor(signed if isinstance(fmt, Posit) else pattern)
    return {
        "pattern": f"0x{pattern:0{-(-fmt.width // 4)}x}",
        "value": _exact(codes, fmt),
        "decimal": to_decimal(codes, fmt) if isinstance(fmt, Posit) else _shortest(pattern, codes, fmt),
    }


def _exact(codes: Tensor, fmt: Format) -> str:
    """The value as an odd integer times a power of two, and written out where that is short."""
    x = decode(codes, fmt)
    sign = "-" if x.sign else ""
    if int(x.kind) != NUMBER:
        return ("NaR" if isinstance(fmt, Posit) else "NaN") if int(x.kind) == NAN else f"{sign}Inf"
    significand, unit = int(x.significand[0]), int(x.exponent) - (LIMB - 1)
    if not significand:
        return f"{sign}0"
    zeros = (significand & -significand).bit_length() - 1
    with localcontext(prec=MOST_DIGITS):
        written = f"{significand * Decimal(2) ** unit:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    end = f" = {sign}{written}" if len(written) <= SHORT else ""
    return f"{sign}{significand >> zeros} * 2**{unit + zeros}{end}"


def _shortest(pattern: int, codes: Tensor, fmt: Minifloat) -> str:
    value = float(decoded(codes, fmt))
    if not math.isfinite(value) or not fmt.subnormals:  # a format without 0 is not written, so nothing reads back
        return repr(value)
    texts = (f"{value:.{digits}e}" for digits in range(17))
    return repr(float(next(text for text in texts if read(text, fmt) == pattern)))
