"""A format for each layer: `convert` gives modules their plans."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..boundary import FLOAT_ROWS
from ..errors import DTypeError, FormatError, UncoveredError
from ..formats import Block, Posit, Scalar
from ..values import quantize
from .arithmetic import Arithmetic, ContractArithmetic, PositArithmetic
from .interception import Interception
from .keys import UNPLANNABLE, Key, check_keys, key_of, layers_of
from .layers import Linear
from .operands import PLANNABLE, inputs_of, round_input, round_weight, weights_of
from .triad import check_trainable, triad_of

MODES = {"posit_quire/v1": "quire"}  #: contracts of products in the operands' own format, and posit_mm's mode for it


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rounded in a layer, and how its products are run; None leaves it as it is.

    >>> Plan(weight=Posit(8), product=Posit(16))
    Plan(weight=Posit(n=8, es=2), input=None, product=Posit(n=16, es=2))
    >>> from refnum import mxint8
    >>> plan = Plan(weight=mxint8, input=mxint8, product="exact/v1")

    Blocks of weights lie along the terms of one output: along the last axis in Linear and MultiheadAttention, and in
    convolutions along input channels x kernel, flattened. Blocks of inputs lie along the channels: the last axis, in
    convolutions that before the spatial ones. The last block of a row is filled up with zeros.

    Raises
    ------
    FormatError
        When a field is no format, or posit_quire/v1 comes without one posit format for both weight and input.
    ContractError
        When there is no such contract, or it is none of floats.
    """

    weight: Scalar | Block | None = None  #: the weights, rounded in each forward pass; a bias is not
    input: Scalar | Block | None = None  #: the inputs of the layer
    product: Posit | str | None = None  #: a posit format: exact sums, rounded to it once; or a contract, as in `gemm`

    def __post_init__(self) -> None:
        for name, fmt in (("weight", self.weight), ("input", self.input)):
            if fmt is not None and not isinstance(fmt, Scalar | Block):
                raise FormatError(
                    f"Plan needs a format record for {name}, got {fmt!r}. Allowed are all formats, of single values or "
                    "of blocks, and None. Pass Posit(n, es), Minifloat(...), or a row of refnum.formats.named()."
                )
        if isinstance(self.product, str):
            self._check_contract(self.product)
        elif self.product is not None and not isinstance(self.product, Posit):
            raise FormatError(
                f"Plan needs a posit format or a contract for product, got {self.product!r}. Allowed are Posit, None "
                f"and the names of contracts. Pass Posit(n, es), {', '.join(map(repr, MODES))} or 'exact/v1'."
            )

    def _check_contract(self, name: str) -> None:
        if name not in MODES:
            check_trainable("Plan", triad_of("Plan", name, None, torch.float32))
        elif not isinstance(self.weight, Posit) or self.weight != self.input:
            raise FormatError(
                f"Plan with product={name!r} takes the format from weight and input, got weight={self.weight} "
                f"and input={self.input}. Both must be one posit format. Pass it twice, or a format as product."
            )

    @property
    def arithmetic(self) -> Arithmetic | None:
        """How products are run; None: by torch."""
        if self.product is None:
            return None
        if isinstance(self.product, Posit):
            return PositArithmetic(self.product)
        if self.product not in MODES:
            return ContractArithmetic(self.product)
        assert isinstance(self.weight, Posit)
        return PositArithmetic(self.weight, MODES[self.product])

    @property
    def remainder(self) -> Plan:
        """What is left to do where the weights are rounded already."""
        in_weight = self.weight if isinstance(self.weight, Posit) and self.product in MODES else None
        return Plan(None, self.input, in_weight or self.product)


def convert(model: nn.Module, plans: Mapping[Key, Plan]) -> nn.Module:
    """A copy of a model in which layers round their operands and run their products as planned.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> converted = convert(model, {"0": Plan(weight=Posit(8)), "_default": Plan(product=Posit(16))})
    >>> converted[2]
    Linear(in_features=2, out_features=1, bias=True, plan=Plan(weight=None, input=None, product=Posit(n=16, es=2)))

    The model itself is left alone. In the copy parameters stay as they are, float masters under the same names, and are
    rounded in each forward pass; gradients pass straight through, so that it trains. Layers that can have a plan are
    Linear, Conv1d to Conv3d, ConvTranspose1d to ConvTranspose3d, and MultiheadAttention as a whole. torch's native
    encoder layers, which would work around them, are switched off. A layer that has a plan gets the new one instead.

    Parameters
    ----------
    model : nn.Module
        The model.
    plans : mapping
        Key -> `Plan`. A key is, the first that matches: a layer's exact name; ``re:`` and a regular expression for the
        whole name, in the order given; a type, the closest; or ``_default``.

    Returns
    -------
    nn.Module
        The copy.

    Raises
    ------
    FormatError
        When a key matches no layer (the message lists them), or a layer's dtype does not hold what is planned.
    UncoveredError
        When a plan is for a layer whose products it cannot reach: RNN, LSTM, GRU, their cells, Bilinear, a layer with
        parametrizations or without weights yet.
    DTypeError
        When ``model`` is no module.

    Exactness: bit-exact: `quantize` of weights and inputs, then one `posit_mm` or `gemm` for each product.
    Rounding: weight and input to nearest, ties to even; the product once, a bias being part of its sum, or as its
        contract says.
    Special: as `quantize`, `posit_mm` and `gemm`.
    Standard: Posit Standard (2022) 4.1 and 5.11.
    Cost: a copy of the model; a forward pass rounds all planned weights.
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"nn.convert needs a torch.nn.Module, got {type(model).__name__}. Pass the model itself.")
    _check_plans(plans)
    result = copy.deepcopy(model)
    layers = layers_of(result)
    check_keys("nn.convert", plans, layers)
    for name, layer in layers.items():
        key = key_of(name, layer, plans)
        if key is not None:
            check_layer("nn.convert", name, layer, plans[key])
            give(layer, plans[key])
    leave_native_paths(result)
    return result


def _check_plans(plans: object) -> None:
    if not isinstance(plans, Mapping) or not plans:
        raise FormatError(f"nn.convert needs plans, got {plans!r}. Pass a mapping such as {{'_default': Plan(...)}}.")
    for key, plan in plans.items():
        if not isinstance(plan, Plan):
            raise FormatError(
                f"nn.convert needs a Plan for {key!r}, got {plan!r}. Allowed are Plan records. "
                "Pass Plan(weight=..., input=..., product=...)."
            )


# ---- whether a layer can have it -----------------------------------------------------------------


def check_layer(function: str, name: str, layer: nn.Module, plan: Plan) -> None:
    """The layer can have the plan."""
    reason = _obstacle(layer)
    if reason:
        kinds = ", ".join(kind.__name__ for kind in PLANNABLE)
        raise UncoveredError(
            f"{function} cannot give {name!r} ({type(layer).__name__}) a plan: {reason}. Allowed are {kinds}. "
            "Choose keys that leave it out, or write it with such layers.",
            op=type(layer).__name__,
            reason=reason,
        )
    for parameter in layer.parameters():
        for fmt in (plan.weight, plan.input):
            if fmt is not None:
                quantize(parameter.new_empty(0, 0), fmt)
        if plan.arithmetic is not None and parameter.dtype in FLOAT_ROWS:
            plan.arithmetic.check_held(function, repr(name), parameter.dtype)


def _obstacle(layer: nn.Module) -> str:
    if any(isinstance(module, Linear) for module in layer.modules()):
        return "its products follow contracts of its own"
    if isinstance(layer, UNPLANNABLE):
        return "its products are computed inside torch, out of reach"
    if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters()):
        return "it has no weights before its first call"
    if any(nn.utils.parametrize.is_parametrized(module) for module in layer.modules()):
        return "its weights are parametrized, so that they are no parameters to round"
    return ""


# ---- a layer that has it -------------------------------------------------------------------------


def give(layer: nn.Module, plan: Plan) -> None:
    """Make the layer one with a plan.

    A hook rounds the inputs. It also tells torch's native encoder layer, which looks for hooks, to stay away.
    """
    if not isinstance(layer, _Planned):
        layer.__class__ = _planned(type(layer))  # type: ignore[arg-type]
        layer.register_forward_pre_hook(_round_inputs, with_kwargs=True)
    layer.plan = plan  # type: ignore[assignment]


def leave_native_paths(model: nn.Module) -> None:
    """Keep torch's encoder from handing nested tensors to its layers, which those with plans don't take."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


class _Planned(nn.Module):
    """A module whose forward pass sees rounded weights, and whose products run as planned."""

    plan: Plan

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with _products(self.plan):
            return _rounded(self, _base(self), self.plan).forward(*args, **kwargs)

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [super().extra_repr(), f"plan={self.plan}"]))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _empty, (_base(self),), self.__dict__


def _base(layer: nn.Module) -> type[nn.Module]:
    """The class without the plan."""
    base: type[nn.Module] = type(layer).__bases__[1]
    return base


@cache
def _planned(base: type[nn.Module]) -> type[nn.Module]:
    return type(base.__name__, (_Planned, base), {"__module__": base.__module__, "__doc__": base.__doc__})


def _empty(base: type[nn.Module]) -> nn.Module:
    """Where copies and pickles of a planned layer begin."""
    kind = _planned(base)  # type: ignore[arg-type]
    return kind.__new__(kind)


def _products(plan: Plan) -> AbstractContextManager[object]:
    run = plan.arithmetic
    return nullcontext() if run is None else Interception(run, "raise")


def _rounded(module: nn.Module, base: type[nn.Module], plan: Plan) -> nn.Module:
    """A shallow copy with rounded weights: the module itself stays as it is, also for other threads."""
    shallow = base.__new__(base)
    shallow.__dict__.update(module.__dict__)
    if plan.weight is not None:
        rounded = {name: round_weight(module, x, plan.weight) for name, x in weights_of(module).items()}
        shallow.__dict__["_parameters"] = module._parameters | rounded
    shallow.__dict__["_modules"] = {
        name: None if child is None else _rounded(child, type(child), plan) for name, child in module._modules.items()
    }
    return shallow


def _round_inputs(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Operands rounded; one that comes twice stays one, since attention asks for that."""
    fmt: Scalar | Block | None = layer.plan.input
    names, behind = inputs_of(layer)
    done: dict[int, Tensor] = {}

    def rounded(x: Any) -> Any:
        if fmt is None or not isinstance(x, Tensor):
            return x
        if id(x) not in done:
            done[id(x)] = round_input(x, fmt, behind)
        return done[id(x)]

    first = tuple(rounded(x) for x in args[: len(names)])
    return first + args[len(names) :], {name: rounded(x) if name in names else x for name, x in kwargs.items()}
