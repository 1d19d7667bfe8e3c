"""Correctly rounded functions: by table, by estimates eager and compiled, and number by number.

The yardsticks are a copy, torch's float64 function alone on the same data, and MPFR by way of gmpy2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import gmpy2
import torch
from harness import Figure, distributions, medians, must_equal, run
from torch import Tensor

import refnum
from refnum import Posit, functions, posit16, posit32, posit64
from refnum.formats import Format, bfloat16
from refnum.functions.decisions import decide
from refnum.functions.evaluation import _table, estimated_codes
from refnum.functions.rows import FUNCTIONS

COUNT = 1 << 20
LOOKUPS = 1 << 22
CHECKED = 300  #: results of a function that are compared with the definition
ONE_BY_ONE = 500
MPFR = gmpy2.context(precision=96, emax=1 << 40, emin=-(1 << 40))

ALONE = [name for name in functions.__all__ if FUNCTIONS[name].values == 1 and not FUNCTIONS[name].integer]

# What torch has that comes near to the functions that it lacks.
NEAREST = {
    "exp10": "exp2",
    "exp2m1": "expm1",
    "exp10m1": "expm1",
    "log2p1": "log1p",
    "log10p1": "log1p",
    **{f"{name}pi": name for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    "silu": "sigmoid",
    "gelu": "erfc",
}

# From N(0,1) into the domain, or to where most results are no special values.
INTO: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("log", "log2", "log10", "sqrt", "rsqrt"), torch.abs),
    **dict.fromkeys(("log1p", "log2p1", "log10p1"), torch.expm1),
    **dict.fromkeys(("asin", "acos", "asinpi", "acospi", "atanh"), torch.tanh),
    "acosh": torch.cosh,
}


def _function(name: str, fmt: Format) -> Callable[[Tensor], Tensor]:
    function = getattr(functions, name)
    return lambda x: function(x, fmt)


def _checked(name: str, codes: Tensor, got: Tensor, fmt: Format) -> None:
    """The first results are those of the definition."""
    want = decide(name, [codes[:CHECKED].to(torch.int64)], [fmt], fmt)
    must_equal(f"{name} {fmt}", got[:CHECKED], want.to(got.dtype))


# ---- by table ------------------------------------------------------------------------------------


def _lookups() -> Iterator[Figure]:
    x = distributions(LOOKUPS)["N(0,1)"]
    codes, short = refnum.encode(x, posit16), x.to(torch.bfloat16)
    for name in ("exp", "sin"):
        call = _function(name, posit16)
        _checked(name, codes, call(codes), posit16)
        times = medians({"clone": codes.clone, "table": partial(call, codes)})
        ratio = times["table"] / times["clone"]
        yield Figure(f"{name} posit16, eager", "4M patterns, N(0,1)", "clone", ratio, 6.0)
        call = _function(name, bfloat16)
        _checked(name, short.view(torch.int16), call(short).view(torch.int16), bfloat16)
        times = medians({"clone": short.clone, "table": partial(call, short)})
        ratio = times["table"] / times["clone"]
        yield Figure(f"{name} bfloat16, eager", "4M values, N(0,1)", "clone", ratio)


def _by_mpfr(name: str, values: list[float], fmt: Posit) -> Tensor:
    """Codes by way of float64: whose rounding is no second one for results of MPFR that are at most 16 bits from a tie.

    Positive results beyond the range become its ends before float64 loses them.
    """
    function, ends = getattr(gmpy2, name), (gmpy2.mpfr(2.0**-fmt.max_scale), gmpy2.mpfr(2.0**fmt.max_scale))
    with gmpy2.context(MPFR):
        results = [float(min(max(function(value), ends[0]), ends[1])) for value in values]
    return refnum.encode(torch.tensor(results, dtype=torch.float64), fmt)


def _tables() -> Iterator[Figure]:
    codes = torch.arange(1 << 16).to(torch.int16)
    values = refnum.decode(codes, posit16).tolist()
    for name in ("exp", "exp2", "cosh"):
        build = partial(_table.__wrapped__, name, posit16, posit16)
        by_mpfr = partial(_by_mpfr, name, values, posit16)
        must_equal(f"table of {name}", build(), by_mpfr())
        times = medians({"MPFR": by_mpfr, "table": build})
        yield Figure(f"all of {name} posit16", "65,536 patterns", "gmpy2", times["table"] / times["MPFR"], 1 / 4)


# ---- by estimates --------------------------------------------------------------------------------


def _estimates() -> Iterator[Figure]:
    dense = distributions(COUNT)["N(0,1)"].to(torch.float64)
    for name in ALONE:
        yield from _estimate(name, "N(0,1)", INTO.get(name, torch.clone)(dense))
    for data, x in distributions(COUNT).items():
        if data != "N(0,1)":
            yield from _estimate("exp", data, x.to(torch.float64))


def _estimate(name: str, data: str, x: Tensor) -> Iterator[Figure]:
    codes = refnum.encode(x, posit32)
    values, call = refnum.decode(codes, posit32), _function(name, posit32)
    got = call(codes)
    _checked(name, codes, got, posit32)
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True)
    must_equal(f"compiled {name}", compiled(codes), got)
    alone = NEAREST.get(name, name)
    yardstick = partial(getattr(torch, alone), values)
    times = medians({"torch": yardstick, "eager": partial(call, codes), "compiled": partial(compiled, codes)})
    for how, goal in (("eager", None), ("compiled", 6.0)):
        ratio = times[how] / times["torch"]
        yield Figure(f"{name} posit32, {how}", f"1M patterns, {data}", f"torch.{alone}, float64", ratio, 25.0, goal)
    _, doubtful = estimated_codes(name, [codes], [posit32], posit32)
    parts = int((doubtful > 0).sum()) / codes.numel()
    yield Figure(f"{name} posit32, left to the definition", f"1M patterns, {data}", "all", parts, 1e-5)


# ---- one by one ----------------------------------------------------------------------------------


def _one_by_one() -> Iterator[Figure]:
    x = distributions(ONE_BY_ONE)["N(0,1)"].to(torch.float64)
    for name in ("exp", "log", "sin", "atan"):
        codes = refnum.encode(INTO.get(name, torch.clone)(x), posit64)
        numbers = [gmpy2.mpfr(value) for value in INTO.get(name, torch.clone)(x).tolist()]
        function = getattr(gmpy2, name)

        def by_mpfr(function: Callable[[object], object] = function, numbers: list[object] = numbers) -> None:
            with gmpy2.context(MPFR):
                for number in numbers:
                    function(number)

        times = medians({"MPFR": by_mpfr, "posit64": partial(_function(name, posit64), codes)})
        ratio = times["posit64"] / times["MPFR"]
        yield Figure(f"{name} posit64", f"{ONE_BY_ONE} patterns, N(0,1)", "gmpy2 at 96 bits, unrounded", ratio)


# ---- values --------------------------------------------------------------------------------------


def _decoding() -> Iterator[Figure]:
    for data, x in distributions(COUNT).items():
        codes = refnum.encode(x.to(torch.float64), posit32)
        call = partial(refnum.decode, codes, posit32)
        compiled = torch.compile(lambda codes: refnum.decode(codes, posit32), fullgraph=True)
        must_equal("compiled decode", compiled(codes), call())
        times = medians({"clone": call().clone, "eager": call, "compiled": partial(compiled, codes)})
        for how in ("eager", "compiled"):
            yield Figure(f"decode posit32, {how}", f"1M patterns, {data}", "float64 clone", times[how] / times["clone"])


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    yield from _lookups()
    yield from _tables()
    yield from _estimates()
    yield from _one_by_one()
    yield from _decoding()


if __name__ == "__main__":
    run("functions", measure)
