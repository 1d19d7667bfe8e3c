"""Products of matrices that are shared among the ranks of a process group: bits that do not depend on their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import ContractError
from . import contracts, ranks
from .contracts import Contract
from .digits import exact_partial
from .operands import FP8
from .partial import ExactPartial, check_dtype, check_operands, over_ranks
from .products import gemm

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def row_parallel_mm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    out_dtype: torch.dtype | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Product of matrices whose summed axis is shared among ranks: exact/v1 of all of it, on every rank.

    >>> import torch.distributed as dist
    >>> import refnum
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> refnum.row_parallel_mm(torch.tensor([[1e8, 1.0, -1e8]]), torch.ones(3, 1))
    tensor([[1.]])
    >>> dist.destroy_process_group()

    Parameters
    ----------
    a, b : Tensor
        [.., M, K_r] and [K_r, N] of this rank, any of float16, bfloat16, float32, float64 or torch's float8 dtypes, the
        same on all ranks; K_r may differ, and be 0. For the gradient of a weight whose batch is shared, pass dY.mT and
        X: what is summed is the batch.
    bias : Tensor, optional
        One more term, which broadcasts to [.., M, N]. That of the group's first rank counts, once.
    out_dtype : torch.dtype, optional
        Any of the dtypes above; by default that of the operands, float32 for those of 8 bits.
    group : ProcessGroup, optional
        The ranks, of any backend; by default all.

    Returns
    -------
    Tensor
        [.., M, N], the bits of ``gemm(.., contract="exact/v1")`` of the whole operands.

    Raises
    ------
    DTypeError, ShapeError, ContractError
        On every rank, when operands of one rank do not fit, ranks differ in what must be equal, a gradient is asked
        for (`nn.parallelize` has one), or ranks call different functions.
    BackendError
        When there is no process group, this process is not in it, a connection breaks, or a rank has not called within
        the group's timeout (of torch.distributed.init_process_group or new_group; by default 30 minutes).

    Exactness: correctly rounded, whatever the number of ranks and however K is shared.
    Rounding: once, to nearest, ties to even; float8 dtypes saturate.
    Special: as exact/v1 of the whole: NaN is written as the largest pattern, a zero sum is -0 only where every term is.
    Standard: contract exact_partial/v1 is refnum's.
    Cost: `refnum.exact_partial` of the own part; a header of 2 KiB, then 8 bytes a digit and 4 for flags for each
        result go over the group.
    """
    function = "row_parallel_mm"
    first = ranks.position(function, group)[0] == 0

    def own_part() -> tuple[ExactPartial, ranks.Facts]:
        check_operands(function, a, b, bias)
        _check_no_gradient(function, a, b, bias)
        dtype = result_dtype(a, b, out_dtype)
        check_dtype(function, "for out_dtype", dtype)
        return exact_partial(a, b, bias if first else None), {"dtype": str(dtype)}

    return over_ranks(function, group, own_part).round(result_dtype(a, b, out_dtype))


def column_parallel_mm(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    *,
    contract: str | Contract = "chain/v1",
    out_dtype: torch.dtype | None = None,
    group: ProcessGroup | None = None,
) -> Tensor:
    """Product of matrices whose columns are shared among ranks, gathered on every rank.

    >>> import torch.distributed as dist
    >>> import refnum
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> refnum.column_parallel_mm(torch.ones(1, 3), torch.ones(3, 2))
    tensor([[3., 3.]])
    >>> dist.destroy_process_group()

    Parameters
    ----------
    a, b : Tensor
        [.., M, K], the same on all ranks, and [K, N / ranks] of this rank, as in `refnum.gemm`.
    bias : Tensor, optional
        [N / ranks], or what else broadcasts to this rank's columns.
    contract, out_dtype
        As in `refnum.gemm`. No sum is shared, so that any contract serves that does not look at N.
    group : ProcessGroup, optional
        The ranks; by default all.

    Returns
    -------
    Tensor
        [.., M, N].

    Raises
    ------
    DTypeError, ShapeError, ContractError, BackendError
        As in `row_parallel_mm`; also for replays that choose an order by the shape.

    Exactness: bit-exact by contract, whatever the number of ranks.
    Rounding: by contract.
    Special: by contract.
    Standard: contracts are refnum's.
    Cost: `refnum.gemm` of the own columns; a header of 2 KiB, then the result goes over the group.
    """
    function = "column_parallel_mm"

    def own_columns() -> tuple[Tensor, ranks.Facts]:
        _check_no_gradient(function, a, b, bias)
        row = check_parts(function, contract)
        result = gemm(a, b, bias, contract=row, out_dtype=out_dtype)
        ranks.check_transport(function, group, result)
        return result, {"shape": list(result.shape), "dtype": str(result.dtype), "contract": row.name}

    result, _ = ranks.agree(function, group, own_columns)
    return ranks.all_gather(function, group, result, -1)


#: contracts that choose an order by the shape, or promise no bits: parts of a product are not those of the whole
OF_THE_WHOLE = ("sgbi.dispatch/0.1.1", "unversioned/torch.mm")


def check_parts(function: str, contract: object) -> Contract:
    """The contract gives parts of a product the bits of the whole."""
    row = contracts.find(function, contract)
    if row.name in OF_THE_WHOLE:
        raise ContractError(
            f"{function} cannot share a product under {row.name} among ranks: {row.definition}. Allowed are contracts "
            "that do not look at the shape. Choose exact/v1, or chain/v1."
        )
    return row


def _check_no_gradient(function: str, *tensors: Tensor | None) -> None:
    if torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors):
        raise ContractError(
            f"{function} has no gradient, got a tensor that asks for one. Allowed are plain tensors. Use "
            "refnum.nn.parallelize, or call it under torch.no_grad()."
        )


def result_dtype(a: Tensor, b: Tensor, asked: torch.dtype | None) -> torch.dtype:
    """The dtype of a product: what was asked for, or that of the operands, float32 for those of 8 bits."""
    if asked is not None:
        return asked
    return torch.float32 if a.dtype in FP8 or b.dtype in FP8 else torch.promote_types(a.dtype, b.dtype)
