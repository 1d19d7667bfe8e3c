"""Peak memory of every elementwise function beyond its result, by torch's own allocator events: at most 4 MB."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read at import: the profiler reports its own starts and stops

import torch
from harness import Figure, distributions, run
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

import refnum
from refnum import Posit, posit, posit8, posit16, posit32, posit64

COUNT = 1 << 22
LIMIT = 4.0  #: MB beyond the result

Call = Callable[[], Tensor]

UNARY = ("sqrt", "negate", "abs", "sign", "nearest_int", "ceil", "floor", "next", "prior", "to_float", "to_int")
BINARY = (
    *("add", "sub", "mul", "div"),
    *(f"compare_{relation}" for relation in ("equal", "not_equal", "greater", "greater_equal", "less", "less_equal")),
)
TERNARY = ("fmm", "fma")
#: decimal strings are Python objects; a quire is its own result
NOT_ELEMENTWISE = ("Quire", "to_decimal", "from_decimal")


def peak_beyond_result(call: Call) -> float:
    """MB that the call holds at its peak beyond the tensor it returns."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = call()
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return (peak - result.untyped_storage().nbytes()) / 1e6


def _calls(fmt: Posit) -> Iterator[tuple[str, Call]]:
    """Every elementwise function on patterns of the format, under its name."""
    bits = refnum.encode(distributions(COUNT)["exponents +-60"].to(torch.float64), fmt)
    integers = torch.arange(COUNT, dtype=torch.int32)
    operands = (bits, bits.flip(0), bits.roll(1))
    for names, count in ((UNARY, 1), (BINARY, 2), (TERNARY, 3)):
        for name in names:
            yield f"posit.{name}", partial(getattr(posit, name), *operands[:count], fmt)
    yield "posit.from_int", partial(posit.from_int, integers, fmt)
    yield "posit.convert", partial(posit.convert, bits, fmt, posit16 if fmt == posit8 else posit8)
    if fmt != posit64:  # float64 does not hold it
        yield "decode", partial(refnum.decode, bits, fmt, dtype=torch.float64)


def _codec_calls(fmt: Posit, x: Tensor) -> Iterator[tuple[str, Call]]:
    """The codec on float32 values, contiguous and not, and on float64."""
    random_bits = torch.randint(0, 1 << 16, x.shape)
    transposed = x.view(1 << 11, -1).T
    wide = x.to(torch.float64)
    yield "encode", partial(refnum.encode, x, fmt)
    yield "encode, transposed", partial(refnum.encode, transposed, fmt)
    yield "encode, stochastic", partial(refnum.encode, x, fmt, rounding="stochastic", random_bits=random_bits)
    if fmt != posit64:
        yield "quantize", partial(refnum.quantize, x, fmt)
        yield "quantize, transposed", partial(refnum.quantize, transposed, fmt)
        yield "quantize float64", partial(refnum.quantize, wide, fmt)


def _all_calls() -> Iterator[tuple[str, Posit, str, Call]]:
    for fmt in (posit8, posit16, posit32, posit64):
        for name, call in _calls(fmt):
            yield name, fmt, "exponents +-60", call
        for data, x in distributions(COUNT).items():
            for name, call in _codec_calls(fmt, x):
                yield name, fmt, data, call


def _check_complete() -> None:
    covered = {*UNARY, *BINARY, *TERNARY, "from_int", "convert", *NOT_ELEMENTWISE}
    if missing := sorted(set(posit.__all__) - covered):
        raise SystemExit(f"benchmarks/memory.py has no row for {', '.join(missing)}. Add one.")


def measure() -> Iterator[Figure]:
    """Each function at its worst over posit8, 16, 32, 64 and, in the codec, the three distributions."""
    _check_complete()
    worst: dict[str, tuple[float, str]] = {}
    for name, fmt, data, call in _all_calls():
        worst[name] = max(worst.get(name, (0.0, "")), (peak_beyond_result(call), f"4M, {fmt}, {data}"))
    for name, (megabytes, where) in worst.items():
        yield Figure(name, f"worst: {where}", "MB beyond the result", megabytes, LIMIT)


if __name__ == "__main__":
    run("memory", measure, timed=False)
