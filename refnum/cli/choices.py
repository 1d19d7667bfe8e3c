"""The options that name an operation of `refnum.testing.operations`, as commands take them."""

from __future__ import annotations

from typing import Annotated

import typer

from ..testing.operations import ROUNDINGS

MOST_TERMS, MOST_ROWS = 1024, 64

Name = Annotated[
    str,
    typer.Argument(
        metavar="OPERATION",
        help="A format and a function: posit16_add, e4m3_encode, mxfp4_quantize, float32_dot.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="The format, where OPERATION is a function alone, such as add or posit_add."),
]
Profile = Annotated[str | None, typer.Option(help="Whose choices quantize makes, of blocks. Default: ocp.")]
Scale = Annotated[str | None, typer.Option(help="Its rule for scales, if not the profile's own.")]
Rounding = Annotated[str | None, typer.Option(help=f"Of encode and quantize: {', '.join(ROUNDINGS)}.")]
Dtype = Annotated[str | None, typer.Option(help="Of the floats: what encode takes, what decode and dot give.")]
To = Annotated[str | None, typer.Option(metavar="FORMAT", help="What convert converts to. Default: posit16.")]
Contract = Annotated[str | None, typer.Option(help="How dot and gemm add up. Default: chain/v1, exact/v1 of blocks.")]
K = Annotated[
    int | None, typer.Option("--k", min=1, max=MOST_TERMS, help="Terms of dot and gemm, 8 by default; of blocks 2.")
]
M = Annotated[int | None, typer.Option("--m", min=1, max=MOST_ROWS, help="Rows of gemm. Default: 2.")]
N = Annotated[int | None, typer.Option("--n", min=1, max=MOST_ROWS, help="Columns of gemm. Default: 2.")]
