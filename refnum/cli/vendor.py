"""``refnum vendor``: functions as a file for places that install nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import FormatError
from ..formats import Block, parse
from ..lab import vendor


def run(
    functions: Annotated[list[str], typer.Argument(metavar="FUNCTION...", help="mx.quantize, mx.dequantize, mx_mm.")],
    fmt: Annotated[str, typer.Option("--format", metavar="FORMAT", help="A block format with scales of e8m0.")],
    profile: Annotated[str, typer.Option(help="Whose choices mx.quantize makes.")] = "ocp",
    scale: Annotated[str | None, typer.Option(help="The rule for scales, if not the profile's own.")] = None,
    rounding: Annotated[str | None, typer.Option(help="Of elements, if not the profile's own.")] = None,
    contract: Annotated[str, typer.Option(help="What mx_mm sums how.")] = "exact/v1",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file. Without it, print.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write functions of refnum as one file that needs torch alone.

    The file tests itself when it is run. Its bits are those of refnum.
    """
    text = vendor(functions, _block(fmt), profile=profile, scale=scale, rounding=rounding, contract=contract)
    if out is None:
        print(text, end="")
    else:
        _write(out, text, force)


def _block(name: str) -> Block:
    fmt = parse(name)
    if not isinstance(fmt, Block):
        raise FormatError(
            f"vendor needs a block format, got {name}. Allowed are some with e8m0 scales. Choose one, such as mxfp4."
        )
    return fmt


def _write(out: Path, text: str, force: bool) -> None:
    try:
        with out.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise typer.BadParameter(
            f"{out} is there already. Name a file that is not, or pass --force to replace it.", param_hint="--out"
        ) from None
    except OSError as error:
        raise typer.BadParameter(
            f"{out} cannot be written ({error.strerror}). Name a file in a folder that can.", param_hint="--out"
        ) from None
