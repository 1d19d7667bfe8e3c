"""Other machines that should have an instruction's bits: its twin of mma.sync, and the kernels of `refnum.gemm`."""

from __future__ import annotations

import torch
from torch import Tensor

import refnum

from ..operations import OPERATIONS
from .instructions import Instruction, Machine, Model
from .operands import tiles_of


def others(instruction: Instruction, machine: Machine, model: Model, device: str, kernels: bool) -> dict[str, Machine]:
    """By what they are."""
    found = {}
    if instruction.twin is not None:
        found["mma.sync"] = twin(machine)
    if kernels and has_kernel(instruction, model, device):
        found["refnum.gemm"] = by_gemm(model)
    return found


def twin(machine: Machine) -> Machine:
    """The twins of a machine's instructions."""

    def run(instruction: Instruction, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        assert instruction.twin is not None
        return machine(instruction.twin, a, b, c)

    return run


def has_kernel(instruction: Instruction, model: Model, device: str) -> bool:
    """Whether one serves the contract of an instruction on a device; else the model itself would."""
    if torch.device(device).type == "cpu" or model.widens(instruction):
        return False
    a, b, c = tiles_of("equal exponents", instruction, 1, device=device)
    arguments = a, b.mT, c, model.contract(instruction), c.dtype
    return any(row.covers(*arguments) for row in OPERATIONS if row.name == "gemm")


def by_gemm(model: Model) -> Machine:
    """`refnum.gemm` under the contracts of the instructions."""

    def run(instruction: Instruction, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        with refnum.use_backend("cuda"):
            return refnum.gemm(a, b.mT, c, contract=model.contract(instruction), out_dtype=c.dtype)

    return run
