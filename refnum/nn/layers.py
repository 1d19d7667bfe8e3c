"""Layers whose products follow contracts."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import DTypeError, UncoveredError
from ..sums.triads import Triad
from .triad import Gradients, Name, check_trainable, linear, triad_of


class Linear(nn.Linear):
    """A linear layer, output and gradients under contracts: `nn.linear` with parameters.

    >>> layer = Linear(3, 2, contract="chain/v1")
    >>> layer.load_state_dict(torch.nn.Linear(3, 2).state_dict())
    <All keys matched successfully>
    >>> layer
    Linear(in_features=3, out_features=2, bias=True, contract=chain/v1,
        grad_contract=(input chain/v1, weight exact/v1, bias exact/v1))

    Parameters are those of torch.nn.Linear: names, shapes, layout, initial values out of the same random numbers. So
    state dicts load both ways. They carry the contracts as a record, ``state_dict()._metadata[prefix]["contract"]``;
    loading neither reads nor compares it. Code that takes the parameters and multiplies by itself, such as torch's
    native encoder layer or torch.nn.MultiheadAttention with its projection, does not follow the contract: see
    `nn.deterministic`. Inside of `nn.intercept` and `nn.deterministic` the layer keeps its own contracts.

    Parameters
    ----------
    in_features, out_features : int
        K and N.
    bias : bool
        Whether there is a bias.
    contract : str or Contract
        As in `nn.linear`.
    grad_contract : str, Contract or mapping, optional
        As in `nn.linear`.
    device, dtype
        Of the parameters, as in torch.nn.Linear.

    Raises
    ------
    ContractError
        When there is no such contract, or one has no gradients.

    Exactness: bit-exact by contract, as `nn.linear`.
    Rounding: by contract; then once to the dtype of the input, a gradient to that of its parameter.
    Special: by contract, as `refnum.gemm`.
    Standard: IEEE 754-2019 section 5.4.1 for fma; contracts are refnum's.
    Cost: that of `nn.linear`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        contract: Name = "chain/v1",
        grad_contract: Gradients | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self._set_contracts(contract, grad_contract)

    def _set_contracts(self, contract: Name, grad_contract: Gradients | None) -> None:
        self.contract, self.grad_contract = contract, grad_contract
        check_trainable("nn.Linear", self.contracts)

    @property
    def contracts(self) -> Triad:
        """Full names of the contracts of output, input, weight and bias, in the dtype that the layer has now."""
        return triad_of("nn.Linear", self.contract, self.grad_contract, self.weight.dtype)

    def forward(self, input: Tensor) -> Tensor:
        """``input @ weight.T + bias`` under the contracts."""
        return linear(input, self.weight, self.bias, contract=self.contract, grad_contract=self.grad_contract)

    def extra_repr(self) -> str:
        """Shape and full names of the contracts."""
        contracts = self.contracts
        return f"{super().extra_repr()}, contract={contracts.output}, grad_contract=({contracts.gradients})"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]]["contract"] = self.contracts._asdict()

    @classmethod
    def from_torch(
        cls, module: nn.Linear, *, contract: Name = "chain/v1", grad_contract: Gradients | None = None
    ) -> Linear:
        """The layer with the parameters of a torch.nn.Linear: the same tensors, shared, so that optimizers keep them.

        Its mode (training or not) is kept, its hooks are not.
        """
        _check_plain(module)
        shape = module.in_features, module.out_features, module.bias is not None
        layer = cls(*shape, contract=contract, grad_contract=grad_contract, device="meta", dtype=module.weight.dtype)
        return _sharing(layer, module)

    def to_torch(self) -> nn.Linear:
        """A torch.nn.Linear with the same parameters, shared."""
        shape = self.in_features, self.out_features, self.bias is not None
        return _sharing(nn.Linear(*shape, device="meta", dtype=self.weight.dtype), self)


Layer = TypeVar("Layer", bound=nn.Linear)


def _sharing(layer: Layer, other: nn.Linear) -> Layer:
    """The layer with the parameters and the mode of the other."""
    layer.weight, layer.bias = other.weight, other.bias
    layer.train(other.training)
    return layer


def _check_plain(module: object) -> None:
    if not isinstance(module, nn.Linear):
        raise DTypeError(
            f"nn.Linear.from_torch needs a torch.nn.Linear, got {type(module).__name__}. Allowed are its instances. "
            "Pass the layer itself, or run the model in nn.deterministic."
        )
    reason = _obstacle(module)
    if reason:
        raise UncoveredError(
            f"nn.Linear.from_torch cannot take over a {type(module).__name__}: {reason}. Allowed are plain "
            "torch.nn.Linear layers. Make it one first, or run the model in nn.deterministic.",
            op=type(module).__name__,
            reason=reason,
        )


def _obstacle(module: nn.Linear) -> str:
    if type(module).forward is not nn.Linear.forward:
        return "it has a forward of its own"
    if any(nn.parameter.is_lazy(parameter) for parameter in module.parameters()):
        return "it has no weights before its first call"
    if any(module._parameters.get(name) is not getattr(module, name) for name in ("weight", "bias")):
        return "its weights are parametrized, so that they are no parameters to share"
    return ""
