"""Rounding floats to posits, and decoding: eager and compiled, against a copy and against SoftPosit's C loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from harness import Figure, distributions, medians, must_equal, run
from refnum_conformance.peers import softposit
from torch import Tensor

import refnum
from refnum import Posit, posit8, posit16, posit32

COUNT = 1 << 22
CHUNK = 1 << 15  #: elements of one pass in the L2 cache

# distribution: (target, goal) of eager rounding to posit16, and of compiled rounding, in clones
IN_CLONES = {
    "N(0,1)": ((6.0, 4.0), (1.6, 1.2)),
    "50 % zeros": ((6.0, 4.0), (1.6, 1.2)),
    "exponents +-60": ((20.0, 10.0), (1.6, 1.2)),
}
FASTER = (20.0, 80.0)  #: than SoftPosit, times: target and goal, dense


def _rounder(fmt: Posit) -> Callable[[Tensor], Tensor]:
    return lambda x: refnum.quantize(x, fmt)


def _times(call: Callable[[Tensor], Tensor], x: Tensor, **others: Callable[[], object]) -> dict[str, float]:
    """Medians of the call, eager and compiled, once their bits are equal; a clone is that of the floats involved."""
    compiled, result = torch.compile(call, fullgraph=True), call(x)
    must_equal("compiled", compiled(x), result)
    floats = x if x.is_floating_point() else result
    return medians({"clone": floats.clone, "eager": partial(call, x), "compiled": partial(compiled, x), **others})


def _softposit(x: Tensor, fmt: Posit) -> Callable[[], None]:
    """SoftPosit's C loop to patterns, from doubles that are ready, for it takes no floats."""
    loop, doubles = softposit.loop("encode", fmt.n, fmt.es), x.to(torch.float64)
    out = torch.empty(x.shape, dtype=torch.int32)
    loop(doubles, out)
    must_equal(f"encode to {fmt}", refnum.encode(x, fmt).to(torch.int32), out)
    return partial(loop, doubles, out)


def _pass_in_cache(x: Tensor) -> Callable[[], None]:
    """The compute yardstick: one in-place pass, chunk by chunk."""
    chunks = torch.split(x.view(torch.int32).clone(), CHUNK)

    def one_pass() -> None:
        for chunk in chunks:
            chunk.bitwise_and_(-1)

    return one_pass


def _to_posit16() -> Iterator[Figure]:
    for name, x in distributions(COUNT).items():
        data = f"4M float32, {name}"
        times = _times(_rounder(posit16), x, softposit=_softposit(x, posit16), one_pass=_pass_in_cache(x))
        for how, asked in zip(("eager", "compiled"), IN_CLONES[name], strict=True):
            yield Figure(f"round to posit16, {how}", data, "clone", times[how] / times["clone"], *asked)
        faster = {how: times["softposit"] / times[how] for how in ("eager", "compiled")}
        target, goal = FASTER if name == "N(0,1)" else (None, None)
        for how, ratio in faster.items():
            item, against = f"round to posit16, {how}", "times faster than SoftPosit C"
            yield Figure(item, data, against, ratio, target, goal, at_least=True)
        yield Figure("one bitwise_and in the L2 cache", data, "clone", times["one_pass"] / times["clone"])


def _to_others() -> Iterator[Figure]:
    dense = distributions(COUNT)["N(0,1)"]
    for fmt, x, goal in ((posit8, dense, 3.2), (posit32, dense.to(torch.float64), 5.5)):
        times = _times(_rounder(fmt), x)
        data = f"4M {str(x.dtype).removeprefix('torch.')}, N(0,1)"
        for how in ("eager", "compiled"):
            yield Figure(f"round to {fmt}, {how}", data, "clone", times[how] / times["clone"], goal=goal)


def _codes() -> Iterator[Figure]:
    x = distributions(COUNT)["N(0,1)"]
    decode = _times(lambda bits: refnum.decode(bits, posit16, dtype=torch.float32), refnum.encode(x, posit16))
    encode = _times(lambda values: refnum.encode(values, posit16), x)
    for item, times, target in (("decode", decode, 6.0), ("encode", encode, None)):
        for how in ("eager", "compiled"):
            ratio = times[how] / times["clone"]
            yield Figure(f"{item} posit16, {how}", "4M, N(0,1), clone of float32", "clone", ratio, target)


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    yield from _to_posit16()
    yield from _to_others()
    yield from _codes()


if __name__ == "__main__":
    run("rounding", measure, needs_loops=True)
