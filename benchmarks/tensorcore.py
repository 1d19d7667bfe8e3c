"""Tensor-core models: contracts tc.* against torch.mm of the same operands in float32, and against MMA-Sim's loops.

python benchmarks/tensorcore.py [--mma-sim PATH]    # a checkout of microsoft/MMA-Sim, tried with commit c785138
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from harness import Figure, medians, must_equal, run
from memory import peak_beyond_result
from refnum_conformance.peers.mma_sim import Simulator
from torch import Tensor

from refnum.sums.tensorcore import INSTRUCTIONS, Instruction, tensorcore_mm, tensorcore_split_mm

CORNER = 12  #: rows and columns whose bits are compared with the definition
AT_MOST, GOAL, FASTER = 650, 100, 1000  #: times torch.mm; times as fast as MMA-Sim
NAMES = ("hopper.bf16", "hopper.f16.acc16", "hopper.tf32", "hopper.fp8", "ampere.bf16", "ampere.tf32", "volta.f16")


def _operands(row: Instruction, size: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(size)
    a, b = (torch.randn(size, size, generator=draw).to(row.operands[0]) for _ in range(2))
    return a, b


def _product(name: str, size: int, at_most: float | None = None, goal: float | None = None) -> Iterator[Figure]:
    row = INSTRUCTIONS[name]
    a, b = _operands(row, size)
    multiply = partial(tensorcore_mm, dtype=row.results[0], instruction=row)
    want = multiply(a[:CORNER], b[:, :CORNER], None, form="definition")
    must_equal(name, multiply(a, b, None)[:CORNER, :CORNER], want)
    wide = a.float(), b.float()
    times = medians({"mm": lambda: torch.mm(*wide), "model": lambda: multiply(a, b, None)})
    yield Figure(f"tc.{name}/v1", f"{size}^3, N(0,1)", "torch.mm", times["model"] / times["mm"], at_most, goal)


def _definition(name: str, size: int) -> Iterator[Figure]:
    row = INSTRUCTIONS[name]
    a, b = _operands(row, size)
    forms = {
        form: partial(tensorcore_mm, a, b, None, row.results[0], instruction=row, form=form)
        for form in ("definition", "float64")
    }
    times = medians(forms)
    ratio = times["definition"] / times["float64"]
    yield Figure(f"tc.{name}/v1, definition", f"{size}^3, N(0,1)", "form in float64", ratio)


def _split(name: str, size: int) -> Iterator[Figure]:
    row = INSTRUCTIONS[name]
    a, b = _operands(row, size)
    times = medians(
        {
            "whole": partial(tensorcore_mm, a, b, None, torch.float32, instruction=row),
            "split": partial(tensorcore_split_mm, a, b, None, torch.float32, instruction=row),
        }
    )
    yield Figure(f"tcsplit/v1(inst=tc.{name})", f"{size}^3, N(0,1)", f"tc.{name}/v1", times["split"] / times["whole"])


def _memory(name: str, size: int) -> Iterator[Figure]:
    row = INSTRUCTIONS[name]
    a, b = _operands(row, size)
    extra = peak_beyond_result(partial(tensorcore_mm, a, b, None, torch.float32, instruction=row))
    yield Figure(f"tc.{name}/v1, peak extra memory", f"{size}^3", "MB", extra, 30)


def _simulated(path: Path, name: str, size: int) -> Iterator[Figure]:
    row, simulator = INSTRUCTIONS[name], Simulator(path)
    a, b = _operands(row, size)
    began = time.perf_counter()
    want = simulator.product(name, a, b, torch.zeros(size, size))
    slow = time.perf_counter() - began
    multiply = partial(tensorcore_mm, a, b, None, torch.float32, instruction=row)
    must_equal(f"{name} by MMA-Sim", multiply(), want)
    ratio = slow / medians({"model": multiply})["model"]
    yield Figure(f"tc.{name}/v1, times as fast", f"{size}^3, N(0,1)", "MMA-Sim", ratio, FASTER, at_least=True)


def measure(simulator: Path | None) -> Iterator[Figure]:
    """All figures of this file."""
    yield from _product("hopper.bf16", 256, AT_MOST, GOAL)
    for name in NAMES[1:]:
        yield from _product(name, 256)
    yield from _product("hopper.bf16", 64)
    yield from _product("hopper.bf16", 1024)
    yield from _definition("hopper.bf16", 64)
    yield from _split("hopper.bf16", 256)
    yield from _memory("hopper.bf16", 1024)
    if simulator is not None:
        yield from _simulated(simulator, "hopper.bf16", 64)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--mma-sim", type=Path, metavar="PATH")
    options, sys.argv[1:] = parser.parse_known_args()
    run("tensorcore", partial(measure, options.mma_sim))
