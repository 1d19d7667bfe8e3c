"""``refnum reveal FUNCTION``: the order in which a black box adds up, and its contract."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from ..testing.boxes import KINDS, RANGES
from ..testing.revelation import reveal
from .folders import importable

DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in RANGES}
SUMS = ("torch.sum", "torch.nansum", "torch.Tensor.sum")  #: functions that are called as a sum, unless told otherwise


def run(
    function: Annotated[
        str, typer.Argument(metavar="FUNCTION", help="torch.mm, torch.sum, or module:function of this folder.")
    ],
    k: Annotated[list[int] | None, typer.Option("--k", help="Terms, 64 without it; may be repeated.")] = None,
    m: Annotated[list[int] | None, typer.Option("--m", help="Rows, 1, 4 and 16 without it; may be repeated.")] = None,
    n: Annotated[list[int] | None, typer.Option("--n", help="Columns, 16 without it; may be repeated.")] = None,
    dtype: Annotated[str, typer.Option(help="Of the operands.")] = "float32",
    kind: Annotated[str | None, typer.Option(help=f"How it is called: {', '.join(KINDS)}.")] = None,
    bias: Annotated[str | None, typer.Option(metavar="DTYPE", help="Pass a bias of this dtype, too.")] = None,
    against: Annotated[
        list[str] | None, typer.Option(metavar="CONTRACT", help="Compare with this contract alone; may be repeated.")
    ] = None,
    reach: Annotated[int, typer.Option(help="Compare on data further on, up to so many terms.")] = 1024,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the order in which a function adds up, and the contract whose bits it has.

    The function is a black box: fn(a, b), or fn(a, b, bias), or fn(x) that sums rows or all. Every combination of
    sizes is looked at.
    """
    with importable(Path.cwd()):
        found = reveal(
            _loaded(function),
            kind=kind or ("sum" if function in SUMS else "matmul"),
            terms=k or 64,
            rows=m or (1, 4, 16),
            columns=n or 16,
            dtype=_dtype(dtype, "--dtype"),
            bias=None if bias is None else _dtype(bias, "--bias"),
            against=against or None,
            reach=reach,
        )
    if as_json:
        print(json.dumps(found.as_dict()))
    else:
        Console(highlight=False, markup=False).print(found.text, soft_wrap=True)


def _dtype(name: str, option: str) -> torch.dtype:
    if name not in DTYPES:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(DTYPES)}. Choose one.", param_hint=option)
    return DTYPES[name]


def _loaded(name: str) -> Callable[..., object]:
    """The function of a name: ``module:function``, or with a dot for the colon."""
    module, _, attributes = name.partition(":") if ":" in name else name.rpartition(".")
    try:
        found: object = importlib.import_module(module)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise typer.BadParameter(
            f"{name!r} cannot be imported ({error}). Write module:function, such as torch:mm.", param_hint="FUNCTION"
        ) from None
    if not callable(found):
        raise typer.BadParameter(f"{name!r} is no function. Name one.", param_hint="FUNCTION")
    return found
