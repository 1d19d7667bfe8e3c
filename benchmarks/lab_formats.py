"""Rounding to the formats of the number-format lab, encoding and decoding: eager and compiled, against a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from harness import Figure, distributions, medians, must_equal, run
from torch import Tensor

import refnum
from refnum import formats
from refnum.boundary import FLOAT_ROWS
from refnum.formats import Scalar, holds, keeps

COUNT = 1 << 24
EAGER, COMPILED = 20.0, 3.0  #: at most so many clones
FORMATS = tuple(
    map(
        formats.parse,
        (
            *("fixed(8,4)", "fixed(4,2)", "fixed(16,8)", "fixed(8,4,signed=False)", "fixed(8,4,overflow='wrap')"),
            *("dmf(4,3)", "dmf(4,8)", "log(8)", "log(4,zero_code=False)", "nf4", "e4m3", "e2m1", "tf32"),
            *("posit8", "posit16"),
        ),
    )
)


def _calls(fmt: Scalar, x: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor], Tensor]]:
    row = FLOAT_ROWS[x.dtype]
    yield "encode", lambda t: refnum.encode(t, fmt), x
    if keeps(row, fmt):
        yield "quantize", lambda t: refnum.quantize(t, fmt), x
    if holds(row, fmt):
        yield "decode", lambda t: refnum.decode(t, fmt, dtype=x.dtype), refnum.encode(x, fmt)


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    dense = distributions(COUNT)["N(0,1)"]
    for dtype in (torch.float32, torch.bfloat16):
        x = dense.to(dtype)
        for fmt in FORMATS:
            for item, call, operand in _calls(fmt, x):
                torch.compiler.reset()
                compiled = torch.compile(call, fullgraph=True)
                must_equal(f"{item} {fmt}, compiled", compiled(operand), call(operand))
                ways = {"eager": partial(call, operand), "compiled": partial(compiled, operand)}
                times = medians({"clone": x.clone, **ways})
                for how, most in (("eager", EAGER), ("compiled", COMPILED)):
                    data = f"16M {str(dtype).removeprefix('torch.')}, N(0,1)"
                    yield Figure(f"{item} {fmt}, {how}", data, "clone", times[how] / times["clone"], most)


if __name__ == "__main__":
    run("lab_formats", measure)
