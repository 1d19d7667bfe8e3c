"""Linear layers that are shared among ranks, with bits that do not depend on their number.

A sum whose terms are on all ranks is an exact one, rounded once: its contract must be exact/v1. The other sums of the
layer are whole on one rank, under whatever contract they have.
"""

from __future__ import annotations

import hashlib
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..boundary import check_choice, check_tensor
from ..errors import ContractError, DTypeError, ShapeError
from ..sums import ranks
from ..sums.digits import exact_partial
from ..sums.parallel import check_parts, result_dtype
from ..sums.partial import over_ranks
from ..sums.triads import Triad
from .gradients import EXACT, sink_of
from .layers import Linear
from .triad import linear

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


def parallelize(
    layer: Linear, group: ProcessGroup | None = None, *, style: str, sharded: bool = False
) -> ParallelLinear:
    """The layer with its weight shared among ranks; output and gradients have the bits of the layer itself.

    >>> import torch.distributed as dist
    >>> layer = Linear(4, 6, contract="exact/v1")
    >>> x = torch.randn(2, 4)
    >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    >>> torch.equal(parallelize(layer, style="row")(x), layer(x))
    True
    >>> dist.destroy_process_group()

    Parameters
    ----------
    layer : Linear
        The same on all ranks. It is left as it is; the new layer holds copies of its part.
    group : ProcessGroup, optional
        The ranks, of any backend; by default all.
    style : str
        "row": a rank has some columns of the weight [out, in], and the outputs are summed over ranks. "column": a rank
        has some rows of the weight, hence some outputs, and the gradients of the input are summed over ranks.
    sharded : bool
        False: inputs and outputs are whole, and equal on all ranks. True: the input of "row" is this rank's part, and
        so is the output of "column", which then can feed a "row" layer without being gathered.

    Returns
    -------
    ParallelLinear
        A module with parameters ``weight`` and ``bias``, this rank's parts; the bias of "row" is whole.

    Raises
    ------
    DTypeError
        When the layer is no `refnum.nn.Linear`.
    ShapeError
        When the axis that is shared is no multiple of the number of ranks.
    ContractError
        When the sum that is shared, the output for "row" and the gradient of the input for "column", is not under
        exact/v1; when another contract looks at the shape; when ranks have other weights, contracts or styles.
    BackendError
        When there is no process group, this process is not in it, or, here and whenever the layer runs, a rank is lost
        or has not called within the group's timeout.

    Exactness: bit-exact, as the layer by its contracts, whatever the number of ranks.
    Rounding: by contract.
    Special: by contract.
    Standard: contracts are refnum's.
    Cost: the layer's divided by the ranks, and what goes over the group: a header of 2 KiB, then 8 bytes a digit and 4
        for flags for each sum that is shared, and what is gathered.
    """
    function = "nn.parallelize"
    rank, count = ranks.position(function, group)

    def prepare() -> tuple[ParallelLinear, ranks.Facts]:
        check_choice(function, "style", style, STYLES)
        if not isinstance(layer, Linear):
            raise DTypeError(
                f"{function} needs a refnum.nn.Linear, got {type(layer).__module__}.{type(layer).__name__}. Allowed "
                "are its instances. Use refnum.nn.Linear.from_torch first."
            )
        contracts = layer.contracts
        _check_contracts(function, STYLES[style], contracts)
        _check_divides(function, layer, STYLES[style], count)
        facts = {"contract": [style, sharded, *contracts], "dtype": str(layer.weight.dtype)}
        return ParallelLinear(layer, group, style, sharded, rank, count), facts | {"digest of weights": _digest(layer)}

    return ranks.agree(function, group, prepare)[0]


class _Style(NamedTuple):
    """What a style shares."""

    axis: int  #: of the weight
    shared: str  #: whose sum has terms on all ranks


STYLES = {"row": _Style(1, "output"), "column": _Style(0, "input")}


def _check_contracts(function: str, style: _Style, contracts: Triad) -> None:
    shared = getattr(contracts, style.shared)
    if shared != EXACT:
        argument = "contract" if style.shared == "output" else "grad_contract={'input': ..}"
        raise ContractError(
            f"{function} shares the sum of the {style.shared} among ranks, and {shared} has an order. Allowed is "
            f"{EXACT}. Choose it for {argument}."
        )
    for contract in contracts:
        check_parts(function, contract)


def _check_divides(function: str, layer: Linear, style: _Style, count: int) -> None:
    if layer.weight.shape[style.axis] % count:
        raise ShapeError(
            f"{function} cannot divide axis {style.axis} of a weight {tuple(layer.weight.shape)} among {count} ranks. "
            "Its size must be a multiple. Choose the other style, or pad the layer."
        )


def _digest(layer: Linear) -> str:
    found = hashlib.sha256()
    for p in layer.parameters():
        found.update(p.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


class ParallelLinear(nn.Module):
    """A part of a `Linear` layer, on one rank: made by `parallelize`."""

    def __init__(
        self, layer: Linear, group: ProcessGroup | None, style: str, sharded: bool, rank: int, count: int
    ) -> None:
        super().__init__()
        self.group, self.style, self.sharded, self.contracts = group, style, sharded, layer.contracts
        self.rank, self.count = rank, count
        self.weight = self._part(layer.weight, STYLES[style].axis)
        self.bias = None if layer.bias is None else self._part(layer.bias, 0 if style == "column" else None)
        self.train(layer.training)

    def _part(self, p: Tensor, axis: int | None) -> nn.Parameter:
        part = p.detach() if axis is None else p.detach().tensor_split(self.count, axis)[self.rank]
        return nn.Parameter(part.clone(memory_format=torch.contiguous_format), requires_grad=p.requires_grad)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, input: Tensor) -> Tensor:
        """``input @ weight.T + bias`` of the whole layer."""
        rows, shape = self._checked(input)
        result: Tensor = _Product.apply(rows, self.weight, self.bias, self)  # type: ignore[no-untyped-call]
        result = result.view(*shape, self.weight.shape[0])
        if self.style == "column" and not self.sharded:
            result = _Gather.apply(result, self)  # type: ignore[no-untyped-call]
        return result

    def _checked(self, input: Tensor) -> tuple[Tensor, torch.Size]:
        """The rows of the input, or of this rank's part of it, and the shape before them; all ranks agree on them."""

        def prepare() -> tuple[tuple[Tensor, torch.Size], ranks.Facts]:
            check_tensor(FUNCTION, "input", input)
            split = self.style == "row" and not self.sharded and input.dim()
            x = _Split.apply(input, self) if split else input  # type: ignore[no-untyped-call]
            rows = x.reshape(prod(x.shape[:-1]), *x.shape[-1:])
            ranks.check_transport(FUNCTION, self.group, rows)
            # No rows are enough for all that nn.linear checks.
            grad_contract = {what: getattr(self.contracts, what) for what in ("input", "weight", "bias")}
            linear(rows[:0], self.weight, self.bias, contract=self.contracts.output, grad_contract=grad_contract)
            return (rows, x.shape[:-1]), {"shape": list(x.shape[:-1]), "dtype": str(x.dtype)}

        return ranks.agree(FUNCTION, self.group, prepare)[0]

    def sum_over_ranks(self, a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        """``a @ b``, whose terms are on all ranks, plus a bias that this rank alone has."""
        total = over_ranks(FUNCTION, self.group, lambda: (exact_partial(a, b, bias), {}))
        return total.round(result_dtype(a, b, None))

    def extra_repr(self) -> str:
        """What the rank holds, and the full names of the contracts."""
        return (
            f"weight={tuple(self.weight.shape)}, bias={self.bias is not None}, style={self.style}, "
            f"sharded={self.sharded}, rank={self.rank} of {self.count}, contract={self.contracts.output}, "
            f"grad_contract=({self.contracts.gradients})"
        )


FUNCTION = "nn.ParallelLinear"  #: in messages


class _Product(torch.autograd.Function):
    """The product of rows and a part of a weight, and its gradients; one of these sums is over ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: ParallelLinear) -> Tensor:
        contracts = layer.contracts
        ctx.layer, ctx.bias_dtype = layer, None if bias is None else bias.dtype
        ctx.to_weight = sink_of(layer.weight) if contracts.weight == EXACT else None
        ctx.to_bias = sink_of(layer.bias) if layer.bias is not None and contracts.bias == EXACT else None
        ctx.save_for_backward(x, weight)
        if layer.style == "row":
            return layer.sum_over_ranks(x, weight.mT, bias if layer.rank == 0 else None)
        return linear(x, weight, bias, contract=contracts.output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), layer = ctx.saved_tensors, ctx.layer
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            shared = layer.style == "column"
            to_x = layer.sum_over_ranks(upstream, weight) if shared else _product(layer, "input", upstream, weight.mT)
        if ctx.needs_input_grad[1]:
            if ctx.to_weight is None:
                to_weight = _product(layer, "weight", x, upstream).mT
            else:
                ctx.to_weight.add_products(upstream, x)
        if ctx.needs_input_grad[2]:
            if ctx.to_bias is None:
                ones = upstream.new_ones(len(upstream), 1)
                to_bias = _product(layer, "bias", ones, upstream, ctx.bias_dtype)[0]
            else:
                ctx.to_bias.add_rows(upstream)
        return to_x, to_weight, to_bias, None


def _product(layer: ParallelLinear, kind: str, left: Tensor, right: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A gradient under its contract, all of whose terms are on this rank."""
    result: Tensor = torch.ops.refnum.triad(left, right, None, kind, list(layer.contracts), dtype or left.dtype)
    return result


class _Split(torch.autograd.Function):
    """The part of this rank along the last axis; gradients of all parts are gathered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: ParallelLinear) -> Tensor:
        ctx.layer = layer
        return x.tensor_split(layer.count, -1)[layer.rank].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return ranks.all_gather(FUNCTION, ctx.layer.group, upstream, -1), None


class _Gather(torch.autograd.Function):
    """The parts of all ranks along the last axis; each takes its part of the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: ParallelLinear) -> Tensor:
        ctx.layer = layer
        return ranks.all_gather(FUNCTION, layer.group, x, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return upstream.tensor_split(ctx.layer.count, -1)[ctx.layer.rank].clone(), None
