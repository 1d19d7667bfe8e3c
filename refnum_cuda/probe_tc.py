"""What this GPU's tensor cores compute, beside refnum's model of them, one instruction at a time.

    python refnum_cuda/probe_tc.py --json probe.json --vectors tensorcores.npz

First some properties, asked for by a few dot products each: of the hardware and of the model. Then hard operands of
many families, compared bit for bit; also of wgmma beside mma.sync, and with ``--kernels`` beside refnum.gemm. Where a
bit differs, the operands are written down, and which other row of the model would have had it. ``--emulate`` puts the
model in the place of the hardware.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from refnum_cuda.tensorcores import comparison
from refnum_cuda.tensorcores.comparison import Report
from refnum_cuda.tensorcores.instructions import (
    ARCHITECTURES,
    INSTRUCTIONS,
    Instruction,
    Machine,
    Model,
    on_gpu,
    use_large_tiles,
)
from refnum_cuda.tensorcores.measures import measured
from refnum_cuda.tensorcores.operands import KINDS
from refnum_cuda.tensorcores.others import others

LARGEST = 8_000_000  #: bytes of a file of vectors


def asked() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--emulate", type=capability, metavar="M.m", help="the model of this compute capability for the hardware: 9.0"
    )
    parser.add_argument("--outputs", type=float, default=150e6, help="results to compare, of all instructions together")
    parser.add_argument("--only", default="", help="instructions whose names this regular expression is found in")
    parser.add_argument("--kernels", action="store_true", help="compare with the kernels of refnum.gemm, too")
    parser.add_argument("--seed", type=int, default=0, help="other operands for another one")
    parser.add_argument("--vectors", type=Path, help="write operands and results of the hardware to this .npz")
    parser.add_argument("--json", type=Path, help="write all that was found to this file")
    parser.add_argument("--examples", type=int, default=2, help="operands to print of each family that differs")
    return parser.parse_args()


def main() -> int:
    """Probe: 0 when the model has all bits."""
    given, started = asked(), time.perf_counter()
    probed, device = machine_of(given.emulate)
    if probed not in ARCHITECTURES:
        print(f"refnum has no model of tensor cores of compute capability {'.'.join(map(str, probed))}")
        return 2
    model = Model(ARCHITECTURES[probed])
    machine: Machine = model if given.emulate else on_gpu
    rows = [row for row in INSTRUCTIONS.values() if row.runs_on(probed) and re.search(given.only, row.name)]
    properties = {row.name: both_measured(row, machine, model, device) for row in rows}
    print_properties(properties)
    about = {"device": name_of(device, given.emulate), "architecture": model.architecture, "seed": given.seed}
    reports: list[Report] = []
    try:
        for row in rows:
            each = int(given.outputs) // len(rows)
            beside = others(row, machine, model, device, given.kernels)
            reports.append(comparison.compare(row, machine, model, each, device, given.seed, beside))
            print("\n".join(lines_of(reports[-1], model, given.examples)), flush=True)
    finally:  # what was found before a GPU failed is worth keeping
        if given.json:
            everything = about | {"properties": properties, "reports": found(reports)}
            given.json.write_text(json.dumps(everything, indent=1) + "\n")
    print(summary(reports, time.perf_counter() - started))
    if given.vectors:
        write_vectors(given.vectors, reports, about)
    return int(any(report.differing for report in reports))


def capability(text: str) -> tuple[int, int]:
    """Major and minor number of a compute capability, as in 9.0."""
    major, minor = map(int, text.split("."))
    return major, minor


def machine_of(emulated: tuple[int, int] | None) -> tuple[tuple[int, int], str]:
    """Compute capability, and where tensors go."""
    if emulated:
        return emulated, "cpu"
    use_large_tiles()
    return torch.cuda.get_device_capability(), "cuda"


def name_of(device: str, emulated: tuple[int, int] | None) -> str:
    """What was probed."""
    if emulated:
        return "the model of " + ".".join(map(str, emulated))
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


# ---- properties ----------------------------------------------------------------------------------


def both_measured(row: Instruction, machine: Machine, model: Model, device: str) -> dict[str, tuple[str, str]]:
    """Of each property what the hardware has, and the model."""
    hardware, expected = measured(row, machine, device), measured(row, model)
    return {name: (hardware[name], expected[name]) for name in hardware}


def print_properties(properties: dict[str, dict[str, tuple[str, str]]]) -> None:
    """By property: what the hardware has, of which instructions, and beside it what the model has where it differs."""
    for measure in next(iter(properties.values()), {}):
        print(f"\n{measure}")
        groups: dict[tuple[str, str], list[str]] = {}
        for name, pairs in properties.items():
            groups.setdefault(pairs[measure], []).append(name)
        most = max(groups.values(), key=len)
        for (hardware, expected), names in groups.items():
            beside = "" if hardware == expected else f"    MODEL: {expected}"
            print(f"    {hardware}{beside}    [{'all others' if names is most else ' '.join(names)}]")
    print()


# ---- comparisons ---------------------------------------------------------------------------------


def lines_of(report: Report, model: Model, examples: int) -> Iterator[str]:
    """A line for an instruction, and some for what differs."""
    contract = model.contract(report.instruction)
    through = " (through float16)" if model.widens(report.instruction) else ""
    yield (
        f"{report.instruction.name}: {report.differing} of {report.compared} differ from {contract}{through}"
        f"{''.join(f'; {tally.differing} from {name}' for name, tally in report.beside.items())}"
        f"; {report.reference.differing} of {report.reference.compared} of the model's differ from the CPU's"
    )
    for kind, tally in report.families.items():
        if tally.differing:
            yield f"    {kind}: {tally.differing} of {tally.compared}"
            for example in tally.examples[:examples]:
                yield "        " + ", ".join(f"{name} {value}" for name, value in example.items())
    for name, count in list(report.closest.items())[:4]:
        yield f"    {name}: {count} of the samples differ"


def summary(reports: Iterable[Report], seconds: float) -> str:
    """The last line."""
    compared, different = (sum(getattr(report, name) for report in reports) for name in ("compared", "differing"))
    return f"\n{different} of {compared} results differ from the model; {seconds:.0f} s"


def found(reports: Iterable[Report]) -> dict[str, Any]:
    """What there is to know of each instruction."""
    return {
        report.instruction.name: {
            "compared": report.compared,
            "differing": report.differing,
            "families": {kind: asdict(tally) for kind, tally in report.families.items()},
            "beside": {name: asdict(tally) for name, tally in report.beside.items()},
            "reference": asdict(report.reference),
            "closest": report.closest,
        }
        for report in reports
    }


# ---- vectors -------------------------------------------------------------------------------------


def write_vectors(path: Path, reports: Iterable[Report], about: dict[str, Any]) -> None:
    """Samples of every family, patterns as unsigned integers."""
    arrays: dict[str, Any] = {}
    for report in reports:
        for name, x in comparison.recorded(report, about["architecture"]).items():
            numbers = x.numpy()
            arrays[name] = numbers.astype(np.uint8) if name.endswith("kind") else numbers.view(f"u{numbers.itemsize}")
    np.savez_compressed(path, **arrays, kinds=np.array(KINDS), about=np.array(json.dumps(about)))
    size = path.stat().st_size
    print(f"{size} bytes of vectors in {path}")
    assert size < LARGEST, "fewer samples would fit"


if __name__ == "__main__":
    sys.exit(main())
