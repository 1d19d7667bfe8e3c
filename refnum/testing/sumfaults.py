"""Faults of products of matrices: another contract, another order or precision of sums, operands read otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from ..codec import quantize
from ..errors import ShapeError
from ..formats import Minifloat, bfloat16, float16, tf32
from ..mx import LAYOUTS, Blocks, dequantize
from ..ops import gemm, mx_mm
from ..sums import chain
from ..sums.chain import Arithmetic, Order, ordered_mm
from ..sums.contracts import CONTRACTS, FLOATS, find
from ..sums.operands import placed_bias, product_shape, widened
from ..sums.results import RESULTS, finished
from .bytefaults import as_read, shuffled, swap_nibbles, unshuffled
from .hypotheses import Case, Change, Hypothesis
from .valuefaults import READINGS, flushed, reading, setting

PRODUCTS = (gemm, mx_mm)
#: contracts that have parameters, with those that kernels have
CHUNKED = (
    *(f"tree/v1(Kc={count})" for count in (16, 32, 64, 128, 256, 512)),
    *(f"sgbi.splitm_f64(c={count})/0.1.1" for count in (16, 32)),
    *(f"tcsplit/v1(inst=tc.hopper.fp8, Kc={count})" for count in (64, 128)),
)
#: those of floats that have a definition: sums of integers have one value, and what promises no bits proves nothing
NAMES = (
    *(
        name
        for name, row in CONTRACTS.items()
        if torch.float32 in row.results and (row.multiply or row.multiply_blocks) and not name.startswith("unversioned")
    ),
    *CHUNKED,
)


# ---- orders in float32 -----------------------------------------------------------------------------------------------


def _stepwise(step: Callable[[Tensor, Tensor, Tensor, Arithmetic], Tensor]) -> Order:
    """k ascending from the bias or +0; a step makes new sums of those before, a column of a and a row of b."""

    def order(a: Tensor, b: Tensor, bias: Tensor | None, arithmetic: Arithmetic) -> Tensor:
        shape = (*a.shape[:-1], b.shape[-1])
        sums = torch.zeros(shape, dtype=torch.float32, device=a.device) if bias is None else bias.expand(shape)
        for k in range(a.shape[-1]):
            sums = step(a[..., k : k + 1], b[..., k : k + 1, :], sums, arithmetic)
        return sums

    return order


def _unfused(a: Tensor, b: Tensor, sums: Tensor, arithmetic: Arithmetic) -> Tensor:
    return arithmetic.add(sums, arithmetic.chain(a, b))


def _flushing(a: Tensor, b: Tensor, sums: Tensor, arithmetic: Arithmetic) -> Tensor:
    return flushed(arithmetic.chain(flushed(a), flushed(b), flushed(sums)))


def _narrow(a: Tensor, b: Tensor, sums: Tensor, arithmetic: Arithmetic, dtype: torch.dtype) -> Tensor:
    return widened(finished(arithmetic.chain(a, b, sums), dtype))


def _narrow_product(a: Tensor, b: Tensor, sums: Tensor, arithmetic: Arithmetic, dtype: torch.dtype) -> Tensor:
    return arithmetic.add(sums, widened(finished(arithmetic.chain(a, b), dtype)))


def _descending(a: Tensor, b: Tensor, bias: Tensor | None, arithmetic: Arithmetic) -> Tensor:
    return arithmetic.chain(a.flip(-1), b.flip(-2), bias)


def _interleaved(a: Tensor, b: Tensor, bias: Tensor | None, arithmetic: Arithmetic, count: int) -> Tensor:
    """A chain for each k modulo a count, added one by one; then the bias."""
    sums = arithmetic.chain(a[..., ::count], b[..., ::count, :])
    for first in range(1, min(count, a.shape[-1])):
        sums = arithmetic.add(sums, arithmetic.chain(a[..., first::count], b[..., first::count, :]))
    return sums if bias is None else arithmetic.add(sums, bias.expand(sums.shape))


NARROW = {bfloat16: torch.bfloat16, float16: torch.float16}
ORDERS: dict[str, Order] = {
    "chain without fma": _stepwise(_unfused),
    "chain that flushes subnormals": _stepwise(_flushing),
    **{f"chain in {row}": _stepwise(partial(_narrow, dtype=dtype)) for row, dtype in NARROW.items()},
    **{
        f"chain of products in {row}": _stepwise(partial(_narrow_product, dtype=dtype)) for row, dtype in NARROW.items()
    },
    "chain with k descending": _descending,
    **{f"chains of k modulo {count}": partial(_interleaved, count=count) for count in (2, 4, 8)},
}


def _ordered(order: Order) -> Change:
    def change(case: Case) -> Case | None:
        def operation(a: Tensor, b: Tensor, bias: Tensor | None, **_: Any) -> Tensor:
            shape = product_shape(a, b)
            placed = None if bias is None else placed_bias("diagnose", bias, shape, a.dim(), b.dim())
            return ordered_mm(widened(a), widened(b), placed, dtype, order)

        matrices = all(case.arguments[name].dtype in FLOATS and case.arguments[name].dim() > 1 for name in ("a", "b"))
        dtype = _result_dtype(case)
        return replace(case, operation=operation) if matrices and dtype in RESULTS else None

    return change


# ---- the same contract, otherwise ------------------------------------------------------------------------------------


def _part(case: Case, first: int, last: int) -> dict[str, Any]:
    """Operands of the terms from the first to the last, which end blocks if there are any."""
    a, b = case.arguments["a"], case.arguments["b"]
    if isinstance(a, Blocks) or isinstance(b, Blocks):
        return {"a": _columns(a, first, last), "b": _columns(b, first, last)}
    return {"a": a[..., first:last], "b": b[first:last] if b.dim() == 1 else b[..., first:last, :]}


def _columns(x: Blocks | Tensor, first: int, last: int) -> Blocks | Tensor:
    if isinstance(x, Tensor):
        return x[..., first:last]
    size, packed = x.fmt.tile[1], x.fmt.packed
    stop = -(-last // size)
    elements = x.elements[..., first // packed : stop * size // packed]
    scales = x.scales[..., first // size : stop]
    return replace(x, elements=elements, scales=scales, shape=torch.Size((*x.shape[:-1], last - first)))


def _ends_blocks(case: Case, term: int) -> bool:
    """Whether blocks, if there are any, end at this term."""
    operands = (case.arguments[name] for name in ("a", "b"))
    return not any(term % x.fmt.tile[1] for x in operands if isinstance(x, Blocks))


def _accumulates(case: Case) -> bool:
    """Whether the contract has sums in float32, of which the result is rounded."""
    return torch.float32 in find("diagnose", case.arguments["contract"]).results and _result_dtype(case) in RESULTS


def _result_dtype(case: Case) -> torch.dtype:
    """The dtype of the call's result, whatever computes it: that of no terms, unless it was asked for."""
    asked: torch.dtype | None = case.arguments["out_dtype"]
    return asked or gemm(**case.given(**_part(case, 0, 0), bias=None).arguments).dtype


def _finished(case: Case, sums: Tensor) -> Tensor:
    """Sums in float32, rounded as those of the call."""
    return finished(sums, _result_dtype(case))


def _added(sums: Tensor, bias: Tensor) -> Tensor:
    return chain.add(sums, bias.to(torch.float32).expand(sums.shape))


def _under(contract: str) -> Change:
    """Another contract, with the dtype of the result that the call has."""
    return lambda case: case.given(contract=contract, out_dtype=_result_dtype(case))


def _split(count: int) -> Change:
    """K in so many parts, each of them under the contract, added in float32 one by one; then the bias."""

    def change(case: Case) -> Case | None:
        def operation(**arguments: Any) -> Tensor:
            call = replace(case, arguments=arguments)
            terms = arguments["a"].shape[-1]
            size = max(1, -(-terms // count))
            parts = (_part(call, first, min(first + size, terms)) for first in range(0, max(1, terms), size))
            sums = reduce(
                chain.add,
                (call.given(**part, bias=None, out_dtype=torch.float32).result()["result"] for part in parts),
            )
            bias = arguments["bias"]
            return _finished(call, sums if bias is None else _added(sums, bias))

        terms = case.arguments["a"].shape[-1]
        parts = terms >= count and _ends_blocks(case, -(-terms // count))
        return replace(case, operation=operation) if parts and _accumulates(case) else None

    return change


def _kept(kept: Callable[[int], tuple[int, int]]) -> Change:
    """Of so many terms only those are summed that lie between these two."""

    def change(case: Case) -> Case | None:
        terms = case.arguments["a"].shape[-1]
        ends = kept(terms)
        some = terms and ends != (0, terms) and all(_ends_blocks(case, end) for end in ends)
        return case.given(**_part(case, *ends)) if some else None

    return change


def _whole(terms: int, multiple: int) -> tuple[int, int]:
    return 0, terms - terms % multiple


def _after(finish: Callable[[Case, Tensor], Tensor]) -> Change:
    """The sum in float32, of the contract, is finished otherwise."""

    def change(case: Case) -> Case | None:
        def operation(**arguments: Any) -> Tensor:
            call = replace(case, arguments=arguments)
            return finish(call, call.given(out_dtype=torch.float32).result()["result"])

        return replace(case, operation=operation) if _accumulates(case) else None

    return change


def _biased(finish: Callable[[Case, Tensor, Tensor], Tensor]) -> Change:
    """The product in float32, of the contract, gets its bias otherwise."""

    def change(case: Case) -> Case | None:
        def operation(bias: Tensor | None, **arguments: Any) -> Tensor:
            call = replace(case, arguments={**arguments, "bias": None})
            if bias is None:  # a part of the sum, whose bias is added elsewhere
                return call.result()["result"]
            return finish(call, call.given(out_dtype=torch.float32).result()["result"], bias)

        has = case.arguments["bias"] is not None
        return replace(case, operation=operation) if has and _accumulates(case) else None

    return change


#: where the bias is added
BIASES: dict[str, Callable[[Case, Tensor, Tensor], Tensor]] = {
    "the bias added in float32, last": lambda case, sums, bias: _finished(case, _added(sums, bias)),
    "the bias added to the rounded product": lambda case, sums, bias: _finished(
        case, _added(_finished(case, sums).to(torch.float32), bias)
    ),
    "the bias added twice": lambda case, sums, bias: _finished(case, _added(_added(sums, bias), bias)),
}


def _through(fmt: Minifloat, rounding: str) -> Callable[[Case, Tensor], Tensor]:
    return lambda case, sums: _finished(case, quantize(sums, fmt, rounding=rounding))


def _bias_as(fmt: Minifloat) -> Change:
    def change(case: Case) -> Case | None:
        bias = case.arguments["bias"]
        return None if bias is None else case.given(bias=quantize(bias.to(torch.float32), fmt))

    return change


def _transposed(name: str) -> Change:
    def change(case: Case) -> Case | None:
        x = case.arguments[name]
        return case.given(**{name: x.mT}) if x.dim() > 1 and x.shape[-1] == x.shape[-2] else None

    return change


# ---- blocks ----------------------------------------------------------------------------------------------------------


def _stored(names: tuple[str, ...], part: str, move: Callable[[Tensor], Tensor | None]) -> Change:
    """A part of operands in blocks is read otherwise."""

    def change(case: Case) -> Case | None:
        moved = {}
        for name in names:
            blocks = case.arguments[name]
            x = move(getattr(blocks, part)) if isinstance(blocks, Blocks) else None
            if x is not None and x.shape == getattr(blocks, part).shape:
                moved[name] = replace(blocks, **{part: x})
        return case.given(**moved) if moved else None

    return change


def _shifted(x: Tensor, by: int) -> Tensor | None:
    return x + by if x.dtype == torch.uint8 else None


def _unscaled(names: tuple[str, ...]) -> Change:
    def change(case: Case) -> Case | None:
        blocks = {name: case.arguments[name] for name in names}
        plain = {
            name: replace(x, tensor_scale=None)
            for name, x in blocks.items()
            if isinstance(x, Blocks) and x.tensor_scale is not None
        }
        return case.given(**plain) if plain else None

    return change


def _laid(x: Tensor, lay: Callable[[Tensor, str], Tensor | None], layout: str) -> Tensor | None:
    """Bytes that went to a layout or came from it, in their own shape; None where it has none for them."""
    try:
        moved = lay(x, layout)
    except ShapeError:  # no whole tiles
        return None
    return None if moved is None else as_read(moved, x)


#: how a kernel reads a part of blocks
MISREADINGS: dict[str, tuple[str, Callable[[Tensor], Tensor | None]]] = {
    "nibbles of {} swapped": ("elements", swap_nibbles),
    "scales of {} shifted by 1 block": ("scales", lambda x: x.roll(1, -1)),
    "scales of {} shifted by -1 block": ("scales", lambda x: x.roll(-1, -1)),
    "scales of {} one binade too high": ("scales", partial(_shifted, by=1)),
    "scales of {} one binade too low": ("scales", partial(_shifted, by=-1)),
    **{
        f"{part} of {{}} {verb} {name}": (part, partial(_laid, lay=lay, layout=name))
        for name in LAYOUTS
        for verb, lay in (("shuffled to", shuffled), ("unshuffled from", unshuffled))
        for part in ("scales" if "scale" in name or name.startswith("nvidia") else "elements",)
    },
}


# ---- rows ------------------------------------------------------------------------------------------------------------


def faults() -> Iterator[Hypothesis]:
    """All of these faults."""
    yield from _of_results()
    yield from _of_terms()
    yield from _of_operands()
    for name, order in ORDERS.items():
        yield Hypothesis(name, "order", (gemm,), _ordered(order))
    for name in NAMES:
        yield Hypothesis(f"contract={name}", "order", PRODUCTS, _under(name))


def _of_terms() -> Iterator[Hypothesis]:
    for count in (2, 3, 4, 8, 16):
        yield Hypothesis(f"K split in {count}, added in float32", "split", PRODUCTS, _split(count))
    for multiple in (4, 8, 16, 32, 64, 128):
        kept = partial(_whole, multiple=multiple)
        yield Hypothesis(f"terms behind a multiple of {multiple} dropped", "terms", PRODUCTS, _kept(kept))
    yield Hypothesis("the last term dropped", "terms", (gemm,), _kept(lambda terms: (0, terms - 1)))
    yield Hypothesis("the first term dropped", "terms", (gemm,), _kept(lambda terms: (1, terms)))
    for name in ("a", "b"):
        yield Hypothesis(f"{name} transposed", "transposition", (gemm,), _transposed(name))


def _of_results() -> Iterator[Hypothesis]:
    for name, finish in BIASES.items():
        yield Hypothesis(name, "bias", PRODUCTS, _biased(finish))
    yield Hypothesis("no bias", "bias", PRODUCTS, setting(bias=None))
    for row in (bfloat16, float16):
        yield Hypothesis(f"the bias rounded to {row}", "bias", PRODUCTS, _bias_as(row))
    for row in (bfloat16, float16, tf32):
        for verb, rounding in (("rounded", "nearest_even"), ("truncated", "toward_zero")):
            change = _after(_through(row, rounding))
            yield Hypothesis(f"the sum {verb} to {row} first", "result", PRODUCTS, change)


def _of_operands() -> Iterator[Hypothesis]:
    for name, read in READINGS.items():
        yield Hypothesis(name.format("operands"), "operands", PRODUCTS, reading(read, "a", "b"))
    for names in (("a",), ("b",), ("a", "b")):
        text = " and ".join(names)
        for name, (part, move) in MISREADINGS.items():
            yield Hypothesis(name.format(text), f"{part}", (mx_mm,), _stored(names, part, move))
        yield Hypothesis(f"no tensor_scale of {text}", "tensor_scale", (mx_mm,), _unscaled(names))
    for name, (part, move) in MISREADINGS.items():
        yield Hypothesis(name.format("blocks"), part, (dequantize,), _stored(("blocks",), part, move))
    yield Hypothesis("no tensor_scale", "tensor_scale", (dequantize,), _unscaled(("blocks",)))
