"""Formats by name, and names of formats."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..errors import FormatError
from .blocks import Block, Element
from .codebooks import Codebook
from .families import bfp, block_log, block_minifloat, mxint
from .ieee_p3109 import p3109
from .integers import Exponent, FixedPoint
from .logarithms import Logarithmic
from .minifloats import DMF, Minifloat
from .posits import Posit
from .rows import FLOATING, NAMES, Format, Scalar, row
from .takums import takum

#: formats without a name, as they are written
SPELLED = "posit(n,es), fixed(width,fraction), dmf(exponent,mantissa), log(width), codebook(...), block(...)"


def named() -> dict[str, Scalar | Block]:
    """All rows that have a name.

    >>> named()["posit16"], named()["nvfp4"].size
    (Posit(n=16, es=2), 16)
    """
    return {name: row(name) for name in NAMES}


def scalars() -> dict[str, Format]:
    """The rows among them that are floating-point formats."""
    return dict(FLOATING)


def parse(text: str) -> Scalar | Element | Block:
    """The format that a text names: the inverse of ``str``.

    >>> from refnum.formats import nvfp4
    >>> parse("posit(16,1)"), parse("nvfp4") == nvfp4, parse("block(e2m1,e8m0,16)").size
    (Posit(n=16, es=1), True, 16)

    Raises
    ------
    FormatError
        When no format has the name.
    """
    try:
        fmt = _read(ast.parse(text, mode="eval").body)
    except FormatError:
        raise
    except (SyntaxError, TypeError, ValueError, RecursionError):
        fmt = None
    if isinstance(fmt, Scalar | Block):
        return fmt
    near = difflib.get_close_matches(str(text).lower(), NAMES, cutoff=0.5)
    name, spelled, _ = str(text).partition("(")
    if spelled and name not in _RECORDS:
        near = [f"{record}(...)" for record in difflib.get_close_matches(name, _RECORDS)]
    hint = f"Near it: {', '.join(near)}. " if near else ""
    raise FormatError(f"No format is named {text!r}. {hint}Choose one of {', '.join(NAMES)}, or {SPELLED}.")


def parse_scalar(text: str) -> Format:
    """The floating-point format that a text names.

    >>> parse_scalar("posit8")
    Posit(n=8, es=2)

    Raises
    ------
    FormatError
        When no such format has the name.
    """
    fmt = parse(text)
    if isinstance(fmt, (Posit, Minifloat)):
        return fmt
    raise FormatError(f"{text} is no floating-point format. Choose one of {', '.join(FLOATING)}, or posit(n,es).")


@lru_cache(maxsize=64)
def reads(name: str, fmt: Scalar) -> bool:
    """Whether a name is that of a format to `parse`."""
    try:
        return parse(name) == fmt
    except FormatError:
        return False


_RECORDS: dict[str, Callable[..., object]] = {
    "posit": Posit,
    "fixed": FixedPoint,
    "dmf": DMF,
    "log": Logarithmic,
    "codebook": lambda *values, **options: Codebook(values, **options),
    "exponent": Exponent,
    "block": Block,
    **{
        record.__name__: record
        for record in (Posit, Minifloat, FixedPoint, DMF, Logarithmic, Codebook, Exponent, Block)
    },
    **{family.__name__: family for family in (takum, p3109, mxint, bfp, block_minifloat, block_log)},
}


def _read(node: ast.expr) -> Any:
    """A format, or an argument of one, from a syntax tree."""
    match node:
        case ast.Name(id=name) if name in NAMES:
            return row(name)
        case ast.Call(func=ast.Name(id=name)) if name in _RECORDS:
            keywords = {str(k.arg): _read(k.value) for k in node.keywords}
            return _RECORDS[name](*map(_read, node.args), **keywords)
        case ast.Name():
            raise ValueError(node.id)
        case _:
            return ast.literal_eval(node)
