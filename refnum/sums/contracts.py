"""Contracts of sums of products: from name and version to a definition.

A row says what is summed how, of which dtypes, and what runs it. A family of rows has parameters, which stand in its
name: ``tree/v1(Kc=256)``. No rule looks at the batch, at the count of threads or at that of ranks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import ContractError, UncoveredError
from ..mx.blocks import Blocks
from .chain import chain_mm
from .dequantized import exact_blocks_mm, in_float32
from .exact import exact_mm
from .operands import FP8, widened
from .results import RESULTS

#: ``a @ b + bias`` of checked operands with at least two axes, rounded to a dtype
Multiply = Callable[[Tensor, Tensor, Tensor | None, torch.dtype], Tensor]

#: ``a @ b.mT + bias`` of operands of which at least one is Blocks
MultiplyBlocks = Callable[[Blocks | Tensor, Blocks | Tensor, Tensor | None, torch.dtype], Tensor]

FLOATS = (torch.float32, torch.bfloat16, torch.float16, *FP8)
WIDE = (torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class Contract:
    """One row; equal to another one of the same name."""

    name: str  #: with its version and its parameters
    definition: str = field(compare=False)  #: in a few words
    multiply: Multiply | None = field(compare=False, repr=False)  #: None where the sum is no tensor, or of blocks alone
    multiply_blocks: MultiplyBlocks | None = field(default=None, compare=False, repr=False)  #: None where it takes none
    operands: tuple[torch.dtype, ...] = field(default=FLOATS, compare=False)  #: of a and of b
    results: tuple[torch.dtype, ...] = field(default=RESULTS, compare=False)  #: the first where operands are not one
    biases: tuple[torch.dtype, ...] = field(default=(torch.float32,), compare=False)  #: of the bias; none without any
    mixed: bool = field(
        default=False, compare=False
    )  #: whether a and b may differ in dtype, as two of 8 bits always may

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Family:
    """Rows that differ in parameters."""

    name: str  #: with its version
    defaults: Mapping[str, int | str]  #: of the parameters, in the order of the full name
    row: Callable[..., Contract]  #: the row of its full name and parameters


def _of_float32(kernel: Callable[..., Tensor], **parameters: Any) -> Multiply:
    """The kernel for operands that are widened to float32."""

    def multiply(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        return kernel(widened(a), widened(b), bias, dtype, **parameters)

    return multiply


def _of_dequantized(kernel: Callable[..., Tensor], **parameters: Any) -> MultiplyBlocks:
    """The kernel for blocks that are dequantized to float32."""

    def multiply(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        return kernel(in_float32(a), in_float32(b).mT, bias, dtype, **parameters)

    return multiply


def _torch_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    product = torch.matmul(a, b)
    return (product if bias is None else product + bias).to(dtype)


CONTRACTS = {
    row.name: row
    for row in (
        Contract(
            "exact/v1",
            "the exact sum, the bias included, rounded once to the result",
            _of_float32(exact_mm),
            exact_blocks_mm,
            operands=(*FLOATS, torch.float64),
            results=(*RESULTS, torch.float64),
            biases=WIDE,
            mixed=True,
        ),
        Contract(
            "chain/v1",
            "k ascending, acc = fma(a, b, acc) in float32 from the bias or +0; rounded once more",
            _of_float32(chain_mm),
            _of_dequantized(chain_mm),
        ),
        Contract(
            "unversioned/torch.mm",
            "torch.matmul of float32 values, then the bias; no promise of bits",
            _of_float32(_torch_mm),
            _of_dequantized(_torch_mm),
        ),
    )
}
FAMILIES: dict[str, Family] = {}
#: contracts that are known by name and have no definition: why
UNCOVERED: dict[str, str] = {}
#: short names of the newest versions
ALIASES = {"exact": "exact/v1", "chain": "chain/v1"}

_NAME = re.compile(r"(?P<family>[\w.]+)(?:\((?P<before>[^()]*)\))?/(?P<version>[\w.]+)(?:\((?P<behind>[^()]*)\))?")


def find(function: str, contract: object) -> Contract:
    """The row with this name, full or short, or the row itself."""
    if isinstance(contract, Contract):
        return contract
    if not isinstance(contract, str):
        raise ContractError(
            f"{function} needs the name of a contract, got {contract!r}. Allowed are {_known()}. Choose one."
        )
    name = ALIASES.get(contract, contract)
    for prefix, reason in UNCOVERED.items():
        if name.startswith(prefix):
            raise UncoveredError(f"{function} cannot follow {name}: {reason}", op=name, reason=reason)
    if name in CONTRACTS:
        return CONTRACTS[name]
    match = _NAME.fullmatch(name)
    family = FAMILIES.get(f"{match['family']}/{match['version']}") if match else None
    if match is None or family is None:
        raise ContractError(f"{function} has no contract={contract!r}. Choose one of {_known()}.")
    given = ",".join(filter(None, (match["before"], match["behind"])))
    return _member(function, family, given)


def _member(function: str, family: Family, given: str) -> Contract:
    """The row of a family with the parameters that a name gives, and defaults for the others."""
    parameters: dict[str, int | str] = dict(family.defaults)
    for part in filter(None, (part.strip() for part in given.split(","))):
        key, _, text = (piece.strip() for piece in part.partition("="))
        if key not in family.defaults or not text:
            allowed = ", ".join(f"{name}={value}" for name, value in family.defaults.items())
            raise ContractError(
                f"{function} has no parameter {part!r} of {family.name}. Allowed are {allowed}. Set those."
            )
        if isinstance(family.defaults[key], int):
            if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 31:
                raise ContractError(
                    f"{function} needs a positive integer for {key} of {family.name}, got {text!r}. Write {key}="
                    f"{family.defaults[key]}, for example."
                )
            parameters[key] = int(text)
        else:
            parameters[key] = text
    return family.row(function, **parameters)


def full_name(family: str, **parameters: int | str) -> str:
    """The name of a row with its parameters: behind the version, or before it where a peer has the version."""
    text = ", ".join(f"{key}={value}" for key, value in parameters.items())
    if family.startswith("sgbi."):
        order, _, version = family.partition("/")
        return f"{order}({text})/{version}"
    return f"{family}({text})"


def _known() -> str:
    families = (full_name(family.name, **family.defaults) for family in FAMILIES.values())
    return ", ".join((*CONTRACTS, *families))
