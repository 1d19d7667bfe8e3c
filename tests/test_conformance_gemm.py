"""The suite's rows of gemm: oracles give the golden vectors, and mistakes that are easily made are noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import floor
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from refnum_conformance import plan
from refnum_conformance.oracles import float_orders, minifloat, tensorcore
from refnum_conformance.oracles.blocks import Number, product, total
from refnum_conformance.oracles.float_orders import (
    ZERO,
    Numbers,
    Order,
    bias_last,
    chain,
    chunks,
    fma,
    join,
    plus,
    product_under,
    rounded,
    tree,
)
from refnum_conformance.oracles.minifloat import FLOATS, Special
from refnum_conformance.oracles.reals import Dyadic, ratio
from refnum_conformance.plan import Amount, Job
from refnum_conformance.runner import check

#: 200 terms tell a tree of chunks of 64 from their sum one by one
LENGTHS = (2, 5, 33, 200)
SAMPLES = [job for job in plan.jobs(Amount(0, 400, False, LENGTHS), seed=2) if job.op.name.startswith("gemm_")]
FEW = 1500  #: terms of recorded products, about: the oracle takes some 10 microseconds for each


def _terms(job: Job) -> int:
    a, b, *_ = job.operands()
    return int(a.size * b.shape[1])


def _cut(job: Job) -> Job:
    """With fewer cases, if it has many."""
    step = max(1, _terms(job) // FEW)
    operands, want = tuple(x[::step] for x in job.operands()), job.want
    assert want is not None
    return replace(job, operands=lambda: operands, want=want[::step])


_CUT = (_cut(job) for job in plan.golden() if job.op.name.startswith("gemm_"))
GOLDEN = sorted(_CUT, key=_terms)


def _target(row: str, function: Callable[..., Any]) -> SimpleNamespace:
    """A target that goes case by case, with and without a bias."""

    def columns(*operands: Any, **options: Any) -> Any:
        return np.array([function(*case, **options) for case in zip(*(x.tolist() for x in operands), strict=True)])

    return SimpleNamespace(**dict.fromkeys((row, f"{row}_add"), columns))


# The oracles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        *("gemm_exact", "gemm_chain", "gemm_tree", "gemm_sgbi"),
        pytest.param("gemm_tensorcore", marks=pytest.mark.slow),
    ],
)
def test_the_oracle_gives_the_golden_vectors(row: str) -> None:
    found = [job for job in GOLDEN if job.op.name.removesuffix("_add") == row and _terms(job) <= 4 * FEW]
    oracle = _target(row, found[0].op.oracle)
    assert [job.id for job in found if check(job, oracle).failed] == []
    assert len(found) > 30


@pytest.mark.parametrize(
    ("shape", "order"),
    [
        ((1, 768, 768), "slab8"),
        ((32, 768, 768), "splitk32"),
        ((456, 768, 768), "chain"),
        ((1, 768, 3072), "slab8"),
        ((32, 768, 3072), "chain"),
        ((31, 384, 512), "slab8"),
        ((1024, 384, 512), "splitk32"),
        ((1025, 384, 512), "splitk64"),
        ((2731, 384, 512), "chain"),
        ((1025, 512, 128), "splitk64"),
        ((257, 1024, 1024), "chain"),
        ((1, 4096, 1024), "chain"),
        ((65, 4096, 1024), "chain"),
        ((64, 4096, 1024), "splitk32"),
        ((32, 100, 512), "splitk32"),
        ((1025, 100, 512), "chain"),
        ((31, 64, 64), "slab8"),
        ((32, 64, 64), "chain"),
        ((5, 32, 1), "lane32"),
    ],
)
def test_where_sgemm_bi_changes_its_order(shape: tuple[int, int, int], order: str) -> None:
    assert float_orders.dispatched(*shape) == order


# Mistakes ------------------------------------------------------------------------------------------------------------


def _descending(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    return chain(a[::-1], b[::-1], bias)


def _steps(step: Callable[[Number, Number, Number], Number]) -> Order:
    """A chain of other steps."""

    def order(a: Numbers, b: Numbers, bias: Number | None) -> Number:
        return reduce(lambda z, xy: step(xy[0], xy[1], z), zip(a, b, strict=True), bias or ZERO)

    return order


def _unfused(x: Number, y: Number, z: Number) -> Number:
    return plus(rounded(product(x, y)), z)


def _fused_in_float64(x: Number, y: Number, z: Number) -> Number:
    return rounded(rounded(total([product(x, y), z]), "float64"))


def _flushed(x: Number) -> Number:
    return (x[0], Dyadic(0, 0)) if isinstance(x[1], Dyadic) and x[1].fraction() < Fraction(1, 1 << 126) else x


def _flushing(x: Number, y: Number, z: Number) -> Number:
    return _flushed(fma(_flushed(x), _flushed(y), _flushed(z)))


def _padded(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    return fma(ZERO, ZERO, chain(a, b, bias))


def _bias_first(shape: Any, chunk: int) -> Order:
    """A tree whose first leaf starts from the bias."""

    def order(a: Numbers, b: Numbers, bias: Number | None) -> Number:
        return join([chain(a[:chunk], b[:chunk], bias), *chunks(a[chunk:], b[chunk:], chunk)])

    return order


def _two_tails(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    """K split in two, as for two thread blocks."""
    half = len(a) // 2
    return plus(chain(a[:half], b[:half], bias), chain(a[half:], b[half:]))


def _by_four(chunk: int) -> Order:
    def order(a: Numbers, b: Numbers) -> Number:
        nodes = chunks(a, b, chunk) or [ZERO]
        while len(nodes) > 1:
            nodes = [reduce(plus, nodes[i : i + 4]) for i in range(0, len(nodes), 4)]
        return nodes[0]

    return bias_last(order)


def _with_zero_nodes(chunk: int) -> Order:
    def order(a: Numbers, b: Numbers) -> Number:
        nodes = chunks(a, b, chunk) or [ZERO]
        whole = 1 << (len(nodes) - 1).bit_length()
        return join([*nodes, *[ZERO] * (whole - len(nodes))])

    return bias_last(order)


def _linear(chunk: int) -> Order:
    return bias_last(lambda a, b: float_orders.ascending(chunks(a, b, chunk)))


def _through_float32(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    return rounded(float_orders.exact(a, b, bias))


def _through_float64(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    return rounded(float_orders.exact(a, b, bias), "float64")


def _bias_after(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    found = rounded(float_orders.exact(a, b, None))
    return found if bias is None else total([found, bias])


def _bias_in_bfloat16(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    return float_orders.exact(a, b, bias and rounded(bias, "bfloat16"))


def _positive_zero(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    negative, x = float_orders.exact(a, b, bias)
    return negative and not (isinstance(x, Dyadic) and x.m == 0), x


def _nan_is_0(a: Numbers, b: Numbers, bias: Number | None) -> Number:
    found = chain(a, b, bias)
    return ZERO if found[1] is Special.NAN else found


def _always(order: Order) -> Callable[..., Order]:
    return lambda shape, **parameters: order


def _sized(order: Callable[[int], Order]) -> Callable[..., Order]:
    return lambda shape, chunk: order(chunk)


def _tail_by_itself(a: Numbers, b: Numbers) -> Number:
    return float_orders.ascending(chunks(a, b, 32))


def _slabs_of_the_floor(a: Numbers, b: Numbers) -> Number:
    size = max(1, len(a) // 8)
    parts = [*chunks(a[: 7 * size], b[: 7 * size], size), chain(a[7 * size :], b[7 * size :])]
    return join([*parts, *[ZERO] * (8 - len(parts))])


def _lanes_in_pairs(a: Numbers, b: Numbers) -> Number:
    return join([chain(a[lane::32], b[lane::32]) for lane in range(32)])


def _in_float32(a: Numbers, b: Numbers) -> Number:
    return float_orders.ascending(chunks(a, b, 16))


class Mistake(NamedTuple):
    """A wrong order, and the jobs that shall notice it."""

    rows: str  #: a row of the operations table; that with a bias, too, unless it is one
    choose: Callable[..., Order]
    options: dict[str, Any] = {}  # noqa: RUF012  read only
    recorded: bool = True  #: whether golden vectors notice it

    def jobs(self, among: Iterable[Job]) -> list[Job]:
        """Those of its rows and options."""
        rows = (self.rows, f"{self.rows}_add")
        return [job for job in among if job.op.name in rows and self.options.items() <= job.options.items()]


FLOAT32 = {"a_dtype": "float32", "dtype": "float32"}
TREE = {"a_dtype": "float32", "chunk": 16}
SPLIT_M = {"order": "splitm_f64", "c": 16}
MISTAKES = {
    "descending": Mistake("gemm_chain", _always(_descending)),
    "mul and add": Mistake("gemm_chain", _always(_steps(_unfused)), FLOAT32),
    "fma through float64": Mistake("gemm_chain", _always(_steps(_fused_in_float64)), FLOAT32),
    "bias last": Mistake("gemm_chain_add", _always(bias_last(chain)), FLOAT32),
    "padded terms": Mistake("gemm_chain", _always(_padded), FLOAT32),
    "split K": Mistake("gemm_chain", _always(_two_tails)),
    "flushed subnormals": Mistake("gemm_chain", _always(_steps(_flushing))),
    "an exact chain": Mistake("gemm_chain", _always(float_orders.exact)),
    "NaN lost": Mistake("gemm_chain", _always(_nan_is_0)),
    "fan-in of four": Mistake("gemm_tree", _sized(_by_four), TREE),
    "linear joins": Mistake("gemm_tree", _sized(_linear), TREE),
    "zero nodes": Mistake("gemm_tree", _sized(_with_zero_nodes), TREE, recorded=False),
    "no tree": Mistake("gemm_tree", _always(bias_last(chain)), TREE),
    "leaves of twice the length": Mistake("gemm_tree", _sized(lambda chunk: tree(2 * chunk)), TREE),
    "bias first in a tree": Mistake("gemm_tree_add", _bias_first, TREE),
    "twice through float32": Mistake("gemm_exact", _always(_through_float32), {"dtype": "bfloat16"}),
    "twice through float64": Mistake("gemm_exact", _always(_through_float64), FLOAT32),
    "bias after rounding": Mistake("gemm_exact_add", _always(_bias_after), FLOAT32),
    "bias in bfloat16": Mistake("gemm_exact_add", _always(_bias_in_bfloat16), FLOAT32),
    "no -0": Mistake("gemm_exact", _always(_positive_zero), FLOAT32),
    "a chain": Mistake("gemm_exact", _always(chain)),
    "tails by themselves": Mistake("gemm_sgbi", _always(bias_last(_tail_by_itself)), FLOAT32 | {"order": "splitk32"}),
    "chunks of 32 in a tree": Mistake("gemm_sgbi", _always(tree(32)), FLOAT32 | {"order": "splitk32"}),
    "chunks of 64 in a tree": Mistake("gemm_sgbi", _always(tree(64)), FLOAT32 | {"order": "splitk64"}),
    "slabs of the floor": Mistake("gemm_sgbi", _always(bias_last(_slabs_of_the_floor)), FLOAT32 | {"order": "slab8"}),
    "lanes in pairs": Mistake("gemm_sgbi", _always(bias_last(_lanes_in_pairs)), FLOAT32 | {"order": "lane32"}),
    "split M in float32": Mistake(
        "gemm_sgbi", _always(bias_last(_in_float32)), FLOAT32 | {"order": "splitm_f64", "c": 16}
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_by_operands_and_by_golden_vectors(mistake: Mistake) -> None:
    wrong = _target(mistake.rows, product_under(mistake.choose))
    assert any(check(job, wrong).mismatches for job in mistake.jobs(SAMPLES))
    if mistake.recorded:
        assert any(check(job, wrong).mismatches for job in mistake.jobs(GOLDEN))


# Mistakes in models of instructions ----------------------------------------------------------------------------------


def _core(**change: Callable[[int], int]) -> dict[str, Any]:
    """All instructions with another number."""
    return {
        "CORES": {
            name: core._replace(**{field: value(getattr(core, field)) for field, value in change.items()})
            for name, core in tensorcore.CORES.items()
        }
    }


def _to_nearest(x: Fraction, core: tensorcore.Core) -> int:
    return minifloat.encode(x < 0, ratio(abs(x)), FLOATS["float32"])


#: what is wrong with the oracle -> the instruction that shows it, and what stands in place of what
PLANTED: dict[str, tuple[str, dict[str, Any]]] = {
    "F + 1": ("hopper.bf16", _core(fraction=lambda n: n + 1)),
    "F - 1": ("hopper.bf16", _core(fraction=lambda n: n - 1)),
    "F + 1 of 8 bits": ("ada.fp8", _core(fraction=lambda n: n + 1)),
    "F - 1 of 8 bits": ("hopper.fp8", _core(fraction=lambda n: n - 1)),
    "F + 1 with accumulators of 16 bits": ("hopper.f16.acc16", _core(fraction=lambda n: n + 1)),
    "blocks of twice the terms": ("ampere.f16", _core(terms=lambda n: 2 * n)),
    "blocks of half the terms": ("hopper.bf16", _core(terms=lambda n: n // 2)),
    "all bits of float32": ("hopper.fp8", _core(kept=lambda n: 23)),
    "to nearest": ("hopper.bf16", {"_rounded": _to_nearest}),
    "no cut of tf32": ("hopper.tf32", _core(lost=lambda n: 0)),
    "zeros without an exponent": ("ada.tf32", _core(zeros=lambda _: False)),
    "zeros with an exponent": ("hopper.bf16", _core(zeros=lambda _: True)),
    "sums cut downwards": ("ampere.bf16", {"trunc": floor}),
}


@pytest.mark.parametrize(("instruction", "wrong"), PLANTED.values(), ids=PLANTED)
def test_a_mistake_in_an_instruction_is_noticed(
    instruction: str, wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = _target("gemm_tensorcore", float_orders.instruction_mm)

    def noticed(job: Job) -> bool:
        right = job.want if job.want is not None else getattr(rows, job.op.name)(*job.operands(), **job.options)
        with monkeypatch.context() as patch:
            for name, value in wrong.items():
                patch.setattr(tensorcore, name, value)
            return check(replace(job, want=right), rows).mismatches > 0

    for jobs in (SAMPLES, GOLDEN):
        assert any(map(noticed, Mistake("gemm_tensorcore", tree, {"instruction": instruction}).jobs(jobs)))
