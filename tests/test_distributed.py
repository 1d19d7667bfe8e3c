"""Sums over ranks: real processes, the same bits in worlds of 1, 2 and 4, and an error on every rank if one fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
import worlds

import refnum
from refnum.sums.digits import exact_partial
from refnum.sums.parallel import column_parallel_mm, row_parallel_mm

WORLDS = (1, 2, 4)
JOBS = (
    *((name, world) for name in ("products", "layers", "training") for world in WORLDS),
    ("refusals", 3),
    *((name, 2) for name in ("layer_refusals", "strangers", "deserted", "late")),
    ("many_digits", 6),
)

pytestmark = pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available() or not hasattr(__import__("os"), "fork"),
    reason="needs torch.distributed with gloo, and fork",
)


@pytest.fixture(scope="module")
def reports() -> dict[tuple[str, int], list[Any]]:
    """What all ranks report of all jobs."""
    return dict(zip(JOBS, worlds.run(JOBS), strict=True))


@pytest.mark.parametrize("world", WORLDS)
def test_products_do_not_depend_on_the_world(reports: dict[tuple[str, int], list[Any]], world: int) -> None:
    alone = worlds.products_alone()
    assert len(alone) == 6 * len(worlds.KINDS)
    ranks = reports["products", world]
    assert len(ranks) == world
    for rank in ranks:
        assert rank == alone


@pytest.mark.parametrize("world", WORLDS)
def test_layers_do_not_depend_on_the_world(reports: dict[tuple[str, int], list[Any]], world: int) -> None:
    """Outputs and all gradients, shared in either style, and of two layers between which nothing is gathered."""
    assert reports["layers", world] == [worlds.layers_alone()] * world


@pytest.mark.parametrize("world", WORLDS)
def test_training_does_not_depend_on_the_world(reports: dict[tuple[str, int], list[Any]], world: int) -> None:
    """Nor on the micro-batches."""
    alone = worlds.trained(0, 1, worlds.ROWS, None)
    assert reports["training", world] == [[alone] * 3] * world


#: case -> the error on every rank, and what its message says
REFUSALS = {
    "inner": ("ShapeError", "cannot multiply (2, 3) by (2, 4)"),
    "outer": ("ShapeError", "one shape on all ranks, got [2, 4] on rank 0 and [2, 2] on rank"),
    "batch": ("ShapeError", "got [2, 4] on rank 0 and [1, 2, 4]"),
    "not a tensor": ("DTypeError", "needs a tensor for a, got list"),
    "operand": ("DTypeError", "has no torch.int32 for a"),
    "dtype": ("DTypeError", "one dtype on all ranks, got torch.float32 on rank 0 and torch.float64"),
    "out_dtype": ("DTypeError", "got torch.float32 on rank 0 and torch.float16"),
    "gradient": ("ContractError", "has no gradient"),
    "function": ("ContractError", "one function on all ranks, got row_parallel_mm on rank 0 and ExactPartial.all_red"),
    "contract": ("ContractError", "one contract on all ranks, got chain/v1 on rank 0 and exact/v1"),
    "no contract": ("ContractError", "chain/v9"),
    "columns": ("ShapeError", "one shape on all ranks"),
    "axis": ("ShapeError", "one axis on all ranks"),
    "no axis": ("ShapeError", "got axis=0. Allowed are -2 to -1"),
    "indivisible": ("ShapeError", "cannot divide axis -2 of"),
    "partial": ("ShapeError", "ExactPartial.all_reduce needs one shape on all ranks"),
    "none": ("", ""),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_every_rank_raises(reports: dict[tuple[str, int], list[Any]], case: str) -> None:
    kind, text = REFUSALS[case]
    for rank in reports["refusals", 3]:
        assert set(rank) == set(REFUSALS)
        found, message = rank[case]
        assert found == kind
        assert text in message


LAYER_REFUSALS = {
    "weights": ("ContractError", "nn.parallelize needs one digest of weights on all ranks"),
    "style": ("ContractError", "shares the sum of the input among ranks, and chain/v1 has an order"),
    "no style": ("ContractError", "has no style='diagonal'. Choose one of row, column"),
    "chain": ("ContractError", "shares the sum of the output among ranks, and chain/v1 has an order"),
    "chain back": ("ContractError", "shares the sum of the input among ranks, and chain/v1 has an order"),
    "torch": ("DTypeError", "needs a refnum.nn.Linear, got torch.nn"),
    "axis": ("ShapeError", "cannot divide axis 0 of a weight (3, 12) among 2 ranks"),
    "input": ("ShapeError", "cannot multiply x (0, 5) by a weight (8, 6)"),
    "rows": ("ShapeError", "nn.ParallelLinear needs one shape on all ranks, got [4] on rank 0 and [3] on rank 1"),
    "dtype": ("DTypeError", "has no x of torch.float64 with a weight of torch.float32"),
    "list": ("DTypeError", "nn.ParallelLinear needs a tensor for input, got list"),
    "unequal": ("ShapeError", "nn.accumulate needs one digest of parameters on all ranks"),
    "leaving": ("ShapeError", "a rank's own"),
    "lost": ("ContractError", "nn.accumulate has not got all of the gradient of a parameter"),
    "none": ("", ""),
}


@pytest.mark.parametrize("case", LAYER_REFUSALS)
def test_every_rank_of_a_layer_raises(reports: dict[tuple[str, int], list[Any]], case: str) -> None:
    kind, text = LAYER_REFUSALS[case]
    for rank in reports["layer_refusals", 2]:
        assert set(rank) == set(LAYER_REFUSALS)
        found, message = rank[case]
        assert found == kind
        assert text in message


def test_strangers_are_refused(reports: dict[tuple[str, int], list[Any]]) -> None:
    member, stranger = reports["strangers", 2]
    assert member == ["", ""]
    assert stranger[0] == "BackendError"
    assert "no member of" in stranger[1]


@pytest.mark.parametrize("job", ["deserted", "late"])
def test_a_rank_that_is_lost_is_an_error(reports: dict[tuple[str, int], list[Any]], job: str) -> None:
    kind, message = reports[job, 2][0]
    assert kind == "BackendError"
    assert "row_parallel_mm has lost a rank of its process group" in message
    assert "within the group's timeout" in message


def test_digits_do_not_overflow_on_the_way(reports: dict[tuple[str, int], list[Any]]) -> None:
    a = worlds.Draw(3).normal(4, 4)
    want = worlds.forms_of(exact_partial(a.double() * 6 * 2.0**29, a))
    assert reports["many_digits", 6] == [[True, want]] * 6


@pytest.mark.parametrize("function", [row_parallel_mm, column_parallel_mm])
def test_without_a_group(function: Any) -> None:
    x = torch.ones(2, 2)
    with pytest.raises(refnum.BackendError, match=r"init_process_group first"):
        function(x, x)
    with pytest.raises(refnum.BackendError, match=r"ExactPartial\.all_reduce needs a process group"):
        exact_partial(x, x).all_reduce()
