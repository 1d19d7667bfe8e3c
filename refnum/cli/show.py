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
from ..errors import FormatError
from ..formats import DMF, Block, Codebook, FixedPoint, Logarithmic, Minifloat, Posit, Scalar, float64, holds, parse
from ..posit import from_decimal, to_decimal
from ..testing.dyadics import Dyadic, beside, value, wrap

COLOURS = {
    **dict.fromkeys(("sign",), "red"),
    **dict.fromkeys(("regime", "integer"), "yellow"),
    **dict.fromkeys(("exponent", "code"), "blue"),
    **dict.fromkeys(("fraction", "significand"), "green"),
    "other bits": "dim",
}
MOST_DIGITS = 1100  #: of the longest exact value: 2**-1074 has 751 significant digits, the least posit(64,4) 694
SHORT = 40  #: characters of an exact value that are still worth reading


def run(
    text: Annotated[str, typer.Argument(metavar="VALUE", help="A decimal, NaR, nan, inf, or a pattern: 0x4c91.")],
    fmt: Annotated[
        str, typer.Argument(metavar="FORMAT", help="A name that refnum formats lists, or one spelled out: fixed(8,4).")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take one number apart in a format: its fields, pattern and value."""
    row = parse(fmt)
    if isinstance(row, Block):
        raise FormatError(
            f"show takes one number apart, got {row}, a format of blocks. Allowed are formats of single values. Choose "
            f"that of its elements, {row.element}."
        )
    pattern = read(text, row)
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


def read(text: str, fmt: Scalar) -> int:
    """The pattern, without a sign, of a value: a decimal rounded once, or a pattern in hexadecimal.

    >>> [f"{read(text, parse('e4m3')):02x}" for text in ("1.0625", "1.06250000000000000000001", "-0", "0x7f")]
    ['38', '39', '80', '7f']
    """
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        pattern = int(text, 16)
        if pattern >> fmt.width:
            raise typer.BadParameter(f"{text} has more than the {fmt.width} bits of {fmt}.", param_hint="VALUE")
        return pattern
    codes = from_decimal(text, fmt) if isinstance(fmt, Posit) else encode(_double(text, fmt), fmt)
    return int(codes) & ((1 << fmt.width) - 1)


def _double(text: str, fmt: Scalar) -> Tensor:
    """A float64 that rounds to the format as the decimal itself does.

    A narrower format rounds right from two more bits, the last of them sticky: so of the two doubles around an inexact
    decimal this is the odd one. Ties that are no double of 52 bits, which logarithms and some codebooks have, are off
    by less than a double's last bit.
    """
    try:
        nearest, exact = float(text), Decimal(text)
    except (ValueError, InvalidOperation):
        raise typer.BadParameter(f"{text[:40]!r} is not a number.", param_hint="VALUE") from None
    double = torch.tensor(nearest, dtype=torch.float64)
    odd = int(double.view(torch.int64)) & 1
    if odd or fmt == float64 or not exact.is_finite() or exact == Decimal(nearest):
        return double
    return double.nextafter(torch.full_like(double, math.inf if exact > Decimal(nearest) else -math.inf))


def fields(pattern: int, fmt: Scalar) -> list[tuple[str, str]]:
    """Names and bits of the fields, first to last. 0 and NaR have no regime.

    >>> fields(0xC400, parse("posit16"))
    [('sign', '1'), ('regime', '10'), ('exponent', '00'), ('fraction', '10000000000')]
    >>> fields(0x7D, parse("posit8")), fields(0x80, parse("posit8"))
    ([('sign', '0'), ('regime', '111110'), ('exponent', '1')], [('sign', '1'), ('other bits', '0000000')])
    >>> fields(0xB4, parse("fixed(8,4)"))
    [('sign', '1'), ('integer', '011'), ('fraction', '0100')]
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
        case DMF():
            names, form = ("sign", "exponent", "significand"), f"(.)(.{{{fmt.exponent}}})(.*)"
        case FixedPoint():
            before = min(max(fmt.width - fmt.fraction - fmt.signed, 0), fmt.width - fmt.signed)
            names, form = ("sign", "integer", "fraction"), f"(.{{{int(fmt.signed)}}})(.{{{before}}})(.*)"
        case Logarithmic():
            names, form = ("sign", "exponent"), "(.)(.*)"
        case Codebook():
            names, form = ("code",), "(.*)"
    parts = re.fullmatch(form, bits)
    assert parts is not None
    return [(name, part) for name, part in zip(names, parts.groups(), strict=True) if part]


def facts(pattern: int, fmt: Scalar) -> dict[str, str]:
    """Pattern, exact value, the shortest decimal that reads back the same, and the next values below and above.

    The decimal of a format that float64 does not hold has six digits.

    >>> facts(0x4C91, parse("posit16"))
    {'pattern': '0x4c91', 'value': '3217 * 2**-10 = 3.1416015625', 'decimal': '3.142', 'between': '3.14062 and 3.14258'}
    """
    return {
        "pattern": f"0x{pattern:0{-(-fmt.width // 4)}x}",
        "value": _exact(_codes(pattern, fmt), fmt),
        "decimal": _decimal(pattern, fmt),
        "between": _between(pattern, fmt),
    }


def _codes(pattern: int, fmt: Scalar) -> Tensor:
    """A pattern as `decode` takes it."""
    return torch.tensor(wrap(pattern, fmt), dtype=torch.int64, device="cpu")


def _decimal(pattern: int, fmt: Scalar) -> str:
    return to_decimal(_codes(pattern, fmt), fmt) if isinstance(fmt, Posit) else _shortest(pattern, fmt)


def _between(pattern: int, fmt: Scalar) -> str:
    """The values on both sides, with the digits that tell values apart."""
    digits = 3 + fmt.significand_bits * 3 // 10
    near = (beside(wrap(pattern, fmt), fmt, step) for step in (-1, 1))
    low, high = ("nothing" if code is None else f"{_long(value(code, fmt)):.{digits}g}" for code in near)
    return f"{low} and {high}"


def _long(x: Dyadic) -> float | Decimal:
    """The value as it is printed, whatever its size."""
    if abs(x.scale) < 1000:
        return float(x)
    with localcontext(prec=40):
        return x.m * Decimal(2) ** x.e


def _exact(codes: Tensor, fmt: Scalar) -> str:
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


def _shortest(pattern: int, fmt: Scalar) -> str:
    if not holds(float64, fmt):
        return f"{_long(value(wrap(pattern, fmt), fmt)):.6g}"
    x = _value(pattern, fmt)
    if not math.isfinite(x) or (isinstance(fmt, Minifloat) and not fmt.subnormals):
        return repr(x)  # a format without 0 is not written, so nothing reads back
    texts = (f"{x:.{digits}e}" for digits in range(17))
    same = x.hex()  # a value may have several codes
    return repr(float(next(text for text in texts if _value(read(text, fmt), fmt).hex() == same)))


def _value(pattern: int, fmt: Scalar) -> float:
    return float(decoded(_codes(pattern, fmt), fmt))
