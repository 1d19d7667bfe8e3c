"""Block formats: quantize, dequantize, layouts and products against a copy, torch.mm and, where installed, torchao."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from harness import Candidates, Figure, medians, must_equal, run
from memory import peak_beyond_result
from torch import Tensor

import refnum
from refnum import Block, mx
from refnum.formats import (
    bfp,
    block_log,
    block_minifloat,
    e8m0,
    float32,
    mxfp4,
    mxfp6_e2m3,
    mxfp6_e3m2,
    mxfp8_e4m3,
    mxfp8_e5m2,
    mxint,
    mxint8,
    nf4,
    nvfp4,
)
from refnum.mx import Blocks

SIDE = 4096
ROWS = (mxfp4, mxfp8_e4m3, mxfp8_e5m2, mxfp6_e2m3, mxfp6_e3m2, mxint8, nvfp4)
#: dtype -> what a quantization to mxfp4 may cost, in copies: eager, its goal, compiled, its goal
MXFP4 = {torch.float32: (13, 8, 12, 6), torch.bfloat16: (26, 15, 32, 12)}
FAMILIES = {
    "MXInt8": mxint(8),
    "MXInt4": mxint(4),
    "MXInt8, rule ceil": mxint(8, rule="ceil"),
    "BFP8": bfp(8, 16),
    "BFP12": bfp(12, 16),
    "block minifloat 8": block_minifloat(8, 4, 16),
    "block logarithm 8": block_log(8, 16),
    "NF4, scales of float32": Block(nf4, float32, 64),
    "NF4, scales of e8m0": Block(nf4, e8m0, 32),
}
FAMILIES_COST, COMPILED_COST = {torch.float32: 25, torch.bfloat16: 45}, 12  #: clones, on one thread
FASTER = 3.5  #: times torchao's eager form
DEQUANTIZE, WEIGHT, SCALES = 4, 6, 3  #: copies of the result, of the weight, of the weight that scales belong to


def _values(dtype: torch.dtype) -> Tensor:
    return torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0)).to(dtype)


def _copy(x: Tensor) -> Callable[[], Tensor]:
    target = torch.empty_like(x)
    return lambda: target.copy_(x)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- quantize ------------------------------------------------------------------------------------


def _bytes(x: Tensor, fmt: Block) -> tuple[Tensor, Tensor]:
    blocks = mx.quantize(x, fmt)
    return blocks.elements, blocks.scales


def _values_of(elements: Tensor, scales: Tensor, fmt: Block, shape: torch.Size) -> Tensor:
    return mx.dequantize(Blocks(elements, scales, fmt, shape))


def _torchao(x: Tensor) -> Callable[[], tuple[Tensor, Tensor]] | None:
    """torchao's quantization to mxfp4, rule floor."""
    try:
        from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_mx
    except ImportError:
        return None
    return partial(to_mx, x, torch.float4_e2m1fn_x2, 32, ScaleCalculationMode.FLOOR)


def _quantize(dtype: torch.dtype) -> Iterator[Figure]:
    x, where = _values(dtype), f"{SIDE}^2, {_name(dtype)}, N(0,1)"
    eager, goal, compiled, compiled_goal = MXFP4[dtype]
    by_inductor = torch.compile(_bytes, fullgraph=True)
    candidates: dict[str, Callable[[], object]] = {
        "copy": _copy(x),
        "eager": partial(_bytes, x, mxfp4),
        "compiled": partial(by_inductor, x, mxfp4),
    }
    for got, want in zip(by_inductor(x, mxfp4), _bytes(x, mxfp4), strict=True):
        must_equal("mxfp4 compiled", got, want)
    if torchao := _torchao(x):
        scales, elements = torchao()
        must_equal("mxfp4 elements", _bytes(x, mxfp4)[0], elements.view(torch.uint8))
        must_equal("mxfp4 scales", _bytes(x, mxfp4)[1], scales.view(torch.uint8))
        candidates["torchao"] = torchao
    times = medians(candidates)
    yield Figure("quantize mxfp4, eager", where, "copy", times["eager"] / times["copy"], eager, goal)
    yield Figure("quantize mxfp4, compiled", where, "copy", times["compiled"] / times["copy"], compiled, compiled_goal)
    if torchao:
        ratio = times["torchao"] / times["eager"]
        yield Figure("quantize mxfp4, eager", where, "times faster than torchao", ratio, FASTER, at_least=True)


def _other_rows() -> Iterator[Figure]:
    x = _values(torch.float32)
    names = {fmt.name: partial(mx.quantize, x, fmt) for fmt in ROWS[1:]}
    names["mxfp4, profile aiter"] = partial(mx.quantize, x, mxfp4, profile="aiter")
    names["mxfp4, profile aiter_legacy"] = partial(mx.quantize, x, mxfp4, profile="aiter_legacy")
    times = medians({"copy": _copy(x), **names})
    for name in names:
        yield Figure(f"quantize {name}, eager", f"{SIDE}^2, float32, N(0,1)", "copy", times[name] / times["copy"])


def _families() -> Iterator[Figure]:
    """What `refnum.quantize` costs beside a clone, and `mx.quantize` beside it: eager in two dtypes, and compiled."""
    for dtype, must in FAMILIES_COST.items():
        x, where = _values(dtype), f"{SIDE}^2, {_name(dtype)}, N(0,1)"
        for name, fmt in FAMILIES.items():
            calls: dict[str, Callable[[], object]] = {
                "clone": x.clone,
                "codes": partial(_bytes, x, fmt),
                "values": partial(refnum.quantize, x, fmt),
            }
            if dtype == torch.float32:
                torch._dynamo.reset()  # else the numbers of a second format become variables, and loops are no vectors
                by_inductor = torch.compile(_bytes, fullgraph=True)
                for got, want in zip(by_inductor(x, fmt), _bytes(x, fmt), strict=True):
                    must_equal(f"{name} compiled", got, want)
                calls["compiled"] = partial(by_inductor, x, fmt)
                stored, back = mx.quantize(x, fmt), torch.compile(_values_of, fullgraph=True)
                parts = stored.elements, stored.scales, fmt, x.shape
                must_equal(f"{name} back, compiled", back(*parts), mx.dequantize(stored))
                calls["dequantize"] = partial(mx.dequantize, stored)
                calls["dequantize, compiled"] = partial(back, *parts)
            times = medians(calls)
            for call, way in (("codes", "eager"), ("values", "and back, eager"), ("compiled", "compiled")):
                if call in times:
                    limit = COMPILED_COST if call == "compiled" else must
                    yield Figure(f"quantize {name}, {way}", where, "clone", times[call] / times["clone"], limit)
            for call, way in (("dequantize", "eager"), ("dequantize, compiled", "compiled")):
                if call in times:
                    yield Figure(f"dequantize {name}, {way}", where, "clone", times[call] / times["clone"])


# ---- dequantize, layouts ---------------------------------------------------------------------------


def _dequantize() -> Iterator[Figure]:
    for fmt in ROWS:
        blocks = mx.quantize(_values(torch.float32), fmt)
        for dtype in (torch.float32, torch.bfloat16):
            must = DEQUANTIZE if fmt == mxfp4 else None
            times = medians({"copy": _copy(_values(dtype)), "mx": partial(mx.dequantize, blocks, dtype)})
            ratio = times["mx"] / times["copy"]
            yield Figure(f"dequantize {fmt}", f"{SIDE}^2, to {_name(dtype)}", "copy of the result", ratio, must)


def _layouts() -> Iterator[Figure]:
    weight = torch.randint(0, 256, (SIDE, SIDE // 2), dtype=torch.uint8)
    scales = torch.randint(0, 256, (SIDE, SIDE // 32), dtype=torch.uint8)
    shuffled, blocked = mx.shuffle_scale(scales), mx.to_blocked(scales)
    calls: Candidates = {
        "shuffle_weight": partial(mx.shuffle_weight, weight),
        "unshuffle_weight": partial(mx.unshuffle_weight, weight),
        "shuffle_scale": partial(mx.shuffle_scale, scales),
        "unshuffle_scale": partial(mx.unshuffle_scale, shuffled, scales.shape),
        "to_blocked": partial(mx.to_blocked, scales),
        "from_blocked": partial(mx.from_blocked, blocked, scales.shape),
    }
    times = medians({"copy": _copy(weight), **calls})
    for name in calls:
        must = WEIGHT if "weight" in name else SCALES
        yield Figure(name, f"mxfp4 weight {SIDE}^2", "copy of the weight", times[name] / times["copy"], must)


# ---- products ------------------------------------------------------------------------------------


def _operands(m: int, n: int, k: int, fmt: Block) -> tuple[Blocks, Blocks]:
    generator = torch.Generator().manual_seed(k)
    a, b = (mx.quantize(torch.randn(rows, k, generator=generator), fmt) for rows in (m, n))
    return a, b


def _products() -> Iterator[Figure]:
    for fmt in (mxfp4, mxfp8_e4m3, mxint8, nvfp4):
        a, b = _operands(1024, 1024, 1024, fmt)
        x, y = mx.dequantize(a), mx.dequantize(b)
        times = medians({"mm": lambda x=x, y=y: x @ y.mT, "mx_mm": partial(refnum.mx_mm, a, b)})  # type: ignore[misc]
        must, goal = (5, 3) if fmt == mxfp4 else (None, None)
        ratio = times["mx_mm"] / times["mm"]
        yield Figure(f"mx_mm {fmt}, exact/v1", "1024^3, N(0,1)", "torch.mm", ratio, must, goal)
    a, b = _operands(256, 3072, 1536, mxfp4)

    def dequantized() -> Tensor:
        return (mx.dequantize(a) @ mx.dequantize(b).mT).to(torch.bfloat16)

    by_torch = partial(refnum.mx_mm, a, b, contract="unversioned/torch.mm")
    times = medians({"mm": dequantized, "exact": partial(refnum.mx_mm, a, b), "torch": by_torch})
    for name, contract in (("exact", "exact/v1"), ("torch", "unversioned/torch.mm")):
        ratio = times[name] / times["mm"]
        yield Figure(f"mx_mm mxfp4, {contract}", "256 x 3072 x 1536", "dequantize + torch.mm", ratio, 1.5)


def _memory() -> Iterator[Figure]:
    a, b = _operands(1024, 1024, 1024, mxfp4)
    held = 2 * 1024**2 * 4 / 1e6
    extra = peak_beyond_result(partial(refnum.mx_mm, a, b)) / held
    yield Figure("mx_mm mxfp4, peak extra memory", "1024^3", "dequantized operands", extra, 1.5)
    for dtype in (torch.float32, torch.bfloat16):
        x = _values(dtype)
        extra = peak_beyond_result(lambda x=x: _bytes(x, mxfp4)[0])  # type: ignore[misc]
        yield Figure("quantize mxfp4, peak extra memory", f"{SIDE}^2, {_name(dtype)}", "MB beyond the elements", extra)


def measure() -> Iterator[Figure]:
    """All figures of this file."""
    for dtype in MXFP4:
        yield from _quantize(dtype)
    yield from _other_rows()
    yield from _families()
    yield from _dequantize()
    yield from _layouts()
    yield from _products()
    yield from _memory()


if __name__ == "__main__":
    run("blocks", measure)
