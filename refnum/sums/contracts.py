"""Contracts of sums of products: from name and version to a definition.

A row says what is summed how, of which dtypes, and what runs it. A family of rows has parameters, which stand in its
name: ``tree/v1(Kc=256)``. No rule looks at the batch, at the count of threads or at that of ranks; but for
``sgbi.dispatch``, which replays another library's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..errors import ContractError, UncoveredError
from ..mx.blocks import Blocks
from . import integer_blocks, matrixcore, tensorcore
from .chain import chain_mm
from .dequantized import exact_blocks_mm, in_float32
from .exact import exact_mm
from .integer_blocks import int_blocks_mm
from .integers import int_mm, integers
from .matrixcore import matrixcore_mm
from .operands import FP8, widened
from .replays import dispatch_forward_mm, replay_mm
from .results import RESULTS
from .tensorcore import tensorcore_blocks_mm, tensorcore_mm, tensorcore_split_mm
from .tree import tree_mm

#: ``a @ b + bias`` of checked operands with at least two axes, rounded to a dtype
Multiply = Callable[[Tensor, Tensor, Tensor | None, torch.dtype], Tensor]
#: ``a @ b.mT + bias`` of operands of which at least one is Blocks
MultiplyBlocks = Callable[[Blocks | Tensor, Blocks | Tensor, Tensor | None, torch.dtype], Tensor]

FLOATS = (torch.float32, torch.bfloat16, torch.float16, *FP8)
WIDE = (torch.float32, torch.float64)
TYPED = (torch.float32, torch.bfloat16, torch.float16)  #: what sgemm-bi takes
LARGEST = (1 << 31) - 1  #: of a count of terms


@dataclass(frozen=True, slots=True)
class Contract:
    """One row; equal to another one of the same name."""

    name: str  #: with its version and its parameters
    definition: str = field(compare=False)  #: in a few words
    multiply: Multiply | None = field(default=None, compare=False, repr=False)  #: None where it takes no tensors
    multiply_blocks: MultiplyBlocks | None = field(default=None, compare=False, repr=False)  #: None where it takes none
    operands: tuple[torch.dtype, ...] = field(default=FLOATS, compare=False)  #: of a and of b
    results: tuple[torch.dtype, ...] = field(default=RESULTS, compare=False)  #: the first where operands are not one
    biases: tuple[torch.dtype, ...] = field(default=(torch.float32,), compare=False)  #: of the bias; none without any
    mixed: bool = field(
        default=False, compare=False
    )  #: whether a and b may differ in dtype, as two of 8 bits always may

    #: (function, name, operand) raises where an operand of multiply_blocks is none for it
    check_blocks: Callable[[str, str, Blocks], None] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str, str], Contract], tuple[str, str]]:
        return find, ("unpickling", self.name)  # what runs it is code


@dataclass(frozen=True, slots=True)
class Family:
    """Rows that differ in parameters."""

    name: str  #: with its version
    defaults: Mapping[str, int | str]  #: of the parameters, in the order of the full name
    row: Callable[..., Contract]  #: of the name of the function that asks and of all parameters, the row


# ---- rows ----------------------------------------------------------------------------------------


def _of_float32(
    name: str,
    definition: str,
    kernel: Callable[..., Tensor],
    operands: tuple[torch.dtype, ...] = FLOATS,
    **parameters: Any,
) -> Contract:
    """A row of an order in float32, to which operands are widened and blocks dequantized."""

    def multiply(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        return kernel(widened(a), widened(b), bias, dtype, **parameters)

    def multiply_blocks(a: Blocks | Tensor, b: Blocks | Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        return kernel(in_float32(a), in_float32(b).mT, bias, dtype, **parameters)

    return Contract(name, definition, multiply, multiply_blocks, operands)


def _exact(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    return exact_mm(widened(a), widened(b), bias, dtype)


def _torch_mm(a: Tensor, b: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    product = torch.matmul(a, b)
    return (product if bias is None else product + bias).to(dtype)


def _tree(function: str, Kc: int) -> Contract:  # noqa: N803 - the parameter's name
    return _of_float32(
        full_name("tree/v1", Kc=Kc),
        f"chains of {Kc} terms from +0, joined in pairs, level by level, in float32; then the bias",
        tree_mm,
        chunk=Kc,
    )


def _replay(function: str, c: int) -> Contract:
    return _of_float32(
        full_name("sgbi.splitm_f64/0.1.1", c=c),
        f"sgemm-bi: chains of {c} terms from +0, added in float64, k ascending; cast to float32; then the bias",
        replay_mm,
        TYPED,
        order="splitm_f64",
        chunk=c,
    )


def _split(function: str, inst: str, Kc: int) -> Contract:  # noqa: N803 - the parameter's name
    name = inst.removeprefix("tc.")
    row = tensorcore.INSTRUCTIONS.get(name)
    if row is None or row.blocks:
        allowed = ", ".join(f"tc.{row.name}" for row in tensorcore.INSTRUCTIONS.values() if not row.blocks)
        raise ContractError(f"{function} has no instruction {inst!r} for tcsplit/v1. Choose one of {allowed}.")
    return Contract(
        full_name("tcsplit/v1", inst=f"tc.{name}", Kc=Kc),
        f"tc.{name}/v1 over chunks of {Kc} terms from +0, joined in pairs, level by level, in float32; then the bias",
        partial(tensorcore_split_mm, instruction=row, chunk=Kc),
        None,
        row.operands,
    )


def _integers(function: str, bits: int, acc: int, overflow: str) -> Contract:
    row = integers(function, bits, acc, overflow)
    held = (row.result,)
    return Contract(
        row.name,
        row.definition,
        partial(int_mm, row=row),
        partial(int_blocks_mm, row=row),
        row.operands,
        held,
        held,
        mixed=True,
        check_blocks=partial(integer_blocks.check_blocks, row=row),
    )


def _tensor_cores() -> Iterator[Contract]:
    for row in tensorcore.INSTRUCTIONS.values():
        yield Contract(
            f"tc.{row.name}/v1",
            row.definition,
            None if row.blocks else partial(tensorcore_mm, instruction=row),
            partial(tensorcore_blocks_mm, instruction=row) if row.blocks else None,
            row.operands,
            row.results,
            row.biases,
            check_blocks=partial(tensorcore.check_blocks, instruction=row) if row.blocks else None,
        )


def _matrix_cores() -> Iterator[Contract]:
    for row in matrixcore.INSTRUCTIONS.values():
        multiply = partial(matrixcore_mm, instruction=row)
        yield Contract(f"tc.{row.name}/v1", row.definition, multiply, None, row.operands, row.results, row.biases)


CONTRACTS = {
    row.name: row
    for row in (
        Contract(
            "exact/v1",
            "the exact sum, the bias included, rounded once to the result",
            _exact,
            exact_blocks_mm,
            operands=(*FLOATS, torch.float64),
            results=(*RESULTS, torch.float64),
            biases=WIDE,
            mixed=True,
        ),
        Contract(
            "exact_partial/v1",
            "the exact sum, not rounded, which is no tensor: refnum.exact_partial gives it",
            operands=(*FLOATS, torch.float64),
        ),
        _of_float32(
            "chain/v1", "k ascending, acc = fma(a, b, acc) in float32 from the bias or +0; rounded once more", chain_mm
        ),
        *_tensor_cores(),
        *_matrix_cores(),
        *(
            _of_float32(f"sgbi.{order}/0.1.1", f"sgemm-bi: {definition}", replay_mm, TYPED, order=order)
            for order, definition in (
                ("chain", "chain/v1"),
                ("slab8", "chains over eighths of K from +0, joined in pairs; then the bias"),
                ("lane32", "a chain for each k modulo 32, then v[i] += v[i + h], h halving from 16; then the bias"),
                ("splitk32", "chains of 32 terms, added one by one; the other terms as fma onto that; then the bias"),
                ("splitk64", "chains of 64 terms, the last perhaps shorter, added one by one; then the bias"),
            )
        ),
        _of_float32("sgbi.dispatch/0.1.1", "sgemm-bi: one of its orders, by M, K and N", dispatch_forward_mm, TYPED),
        _of_float32(
            "unversioned/torch.mm", "torch.matmul of float32 values, then the bias; no promise of bits", _torch_mm
        ),
    )
}
FAMILIES = {
    row.name: row
    for row in (
        Family("tree/v1", {"Kc": 256}, _tree),
        Family("tcsplit/v1", {"inst": "tc.hopper.fp8", "Kc": 128}, _split),
        Family("int/v1", {"bits": 8, "acc": 32, "overflow": "refuse"}, _integers),
        Family("sgbi.splitm_f64/0.1.1", {"c": 16}, _replay),
    )
}
#: contracts that have a name and no definition: why
UNCOVERED = {f"tc.{name}.": reason for name, reason in matrixcore.UNCOVERED.items()}
#: full names of the newest versions by short ones
NEWEST = {name.partition("/")[0]: name for name in (*CONTRACTS, *FAMILIES) if "(" not in name}

# ---- names ---------------------------------------------------------------------------------------

_NAME = re.compile(r"(?P<family>[\w.]+)(?:\((?P<before>[^()]*)\))?(?:/(?P<version>[\w.]+)(?:\((?P<behind>[^()]*)\))?)?")


def find(function: str, contract: object) -> Contract:
    """The row with this name, full or short, or the row itself."""
    if isinstance(contract, Contract):
        return contract
    if not isinstance(contract, str):
        raise ContractError(
            f"{function} needs the name of a contract, got {contract!r}. Allowed are {_known()}. Choose one."
        )
    for prefix, reason in UNCOVERED.items():
        if contract.startswith(prefix):
            raise UncoveredError(
                f"{function} cannot follow {contract}: {reason}. Allowed are contracts that `refnum contracts` lists. "
                "Choose one.",
                op=contract,
                reason=reason,
            )
    name = contract if "/" in contract else NEWEST.get(contract, contract)
    if name in CONTRACTS:
        return CONTRACTS[name]
    match = _NAME.fullmatch(name)
    family = _family(match) if match else None
    if match is None or family is None:
        raise ContractError(f"{function} has no contract={contract!r}. Choose one of {_known()}.")
    given = ",".join(filter(None, (match["before"], match["behind"])))
    return family.row(function, **_parameters(function, family, given))


def _family(match: re.Match[str]) -> Family | None:
    name = f"{match['family']}/{match['version']}" if match["version"] else NEWEST.get(match["family"], "")
    return FAMILIES.get(name)


def _parameters(function: str, family: Family, given: str) -> dict[str, int | str]:
    """Those that a name gives, and defaults for the others."""
    parameters: dict[str, int | str] = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        key, _, text = (piece.strip() for piece in part.partition("="))
        if key not in family.defaults or key in parameters or not text:
            allowed = ", ".join(f"{name}={value}" for name, value in family.defaults.items())
            raise ContractError(
                f"{function} cannot take {part!r} for {family.name}. Allowed are {allowed}, each once. Set those."
            )
        parameters[key] = text if isinstance(family.defaults[key], str) else _count(function, family, key, text)
    return {**family.defaults, **parameters}


def _count(function: str, family: Family, key: str, text: str) -> int:
    if not (re.fullmatch("[0-9]{1,10}", text) and 0 < int(text) <= LARGEST):
        raise ContractError(
            f"{function} needs a count for {key} of {family.name}, got {text!r}. Allowed are integers from 1 to "
            f"{LARGEST}. Write {key}={family.defaults[key]}, for example."
        )
    return int(text)


def full_name(family: str, **parameters: int | str) -> str:
    """The name of a row with its parameters: behind the version, or before it where a peer has the version."""
    text = ", ".join(f"{key}={value}" for key, value in parameters.items())
    if family.startswith("sgbi."):
        order, _, version = family.partition("/")
        return f"{order}({text})/{version}"
    return f"{family}({text})"


def listed() -> list[Contract]:
    """All rows; of a family the usual one, by a name that has all parameters."""
    usual = ((find("", family.name), full_name(family.name, **family.defaults)) for family in FAMILIES.values())
    return [*CONTRACTS.values(), *(replace(row, name=name) for row, name in usual)]


def _known() -> str:
    return ", ".join(row.name for row in listed())
