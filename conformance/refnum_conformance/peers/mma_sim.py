"""microsoft/MMA-Sim: matrix instructions of NVIDIA's and AMD's GPUs, in Python, dot product by dot product.

It is not in a package registry: a checkout is given by its path. Tried with commit c785138.

    git clone https://github.com/microsoft/MMA-Sim
    python -m refnum_conformance.peers.mma_sim MMA-Sim                               # all contracts tc.*
    python -m refnum_conformance.peers.mma_sim MMA-Sim --only cdna3.fp8 hopper.bf16  # some
    python -m refnum_conformance.peers.mma_sim MMA-Sim --record gemm_mfma.npz        # AMD's results, for the tests

Exit status: 0 no mismatches, 1 some, 2 cannot run. A defect is worked around: the sums of two of CDNA1 and CDNA2 assert
that operands are float32, which those of no such instruction are; they are widened, which changes no value. Another is
known (`known_deviations.mma_sim`): 0 has an exponent on Hopper. For the comparison it has one with refnum, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..tile_inputs import INTEGER, KINDS, tile

Array = NDArray[Any]


@dataclass(frozen=True)
class Unit:
    """Instructions of its that differ in the types of their operands."""

    kind: str  #: mma, wgmma, tcgen05mma or mfma
    architecture: str
    shape: str  #: of tiles; for mfma with the types

    def qualifier(self, a: torch.dtype, b: torch.dtype, c: torch.dtype) -> str:
        """The name of one of them."""
        if self.kind == "mfma":
            return "f32_" + self.shape.format(a=TYPES[a], b=TYPES[b])
        accumulator = "f16" if c == torch.float16 else "f32"
        last = [accumulator] if self.kind == "mma" else []
        return ".".join([self.shape, accumulator, TYPES[a], TYPES[b], *last])


#: its names of operands
TYPES = {
    torch.float32: "tf32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "e4m3",
    torch.float8_e5m2: "e5m2",
    torch.float8_e4m3fnuz: "fp8",
    torch.float8_e5m2fnuz: "bf8",
}

#: contract, without ``tc.`` and version -> instructions
UNITS = {
    "volta.f16": Unit("mma", "Volta", "m8n8k4"),
    "turing.f16": Unit("mma", "Turing", "m16n8k8"),
    "turing.f16.k4": Unit("mma", "Turing", "m8n8k4"),
    "ampere.f16": Unit("mma", "Ampere", "m16n8k16"),
    "ampere.f16.k8": Unit("mma", "Ampere", "m16n8k8"),
    "ampere.bf16": Unit("mma", "Ampere", "m16n8k16"),
    "ampere.bf16.k8": Unit("mma", "Ampere", "m16n8k8"),
    "ampere.tf32": Unit("mma", "Ampere", "m16n8k8"),
    "ampere.tf32.k4": Unit("mma", "Ampere", "m16n8k4"),
    "ada.f16": Unit("mma", "Ada Lovelace", "m16n8k16"),
    "ada.f16.k8": Unit("mma", "Ada Lovelace", "m16n8k8"),
    "ada.bf16": Unit("mma", "Ada Lovelace", "m16n8k16"),
    "ada.bf16.k8": Unit("mma", "Ada Lovelace", "m16n8k8"),
    "ada.tf32": Unit("mma", "Ada Lovelace", "m16n8k8"),
    "ada.tf32.k4": Unit("mma", "Ada Lovelace", "m16n8k4"),
    "ada.fp8": Unit("mma", "Ada Lovelace", "m16n8k32"),
    "ada.fp8.k16": Unit("mma", "Ada Lovelace", "m16n8k16"),
    "hopper.f16": Unit("wgmma", "Hopper", "m64n8k16"),
    "hopper.f16.k8": Unit("mma", "Hopper", "m16n8k8"),
    "hopper.bf16": Unit("wgmma", "Hopper", "m64n8k16"),
    "hopper.bf16.k8": Unit("mma", "Hopper", "m16n8k8"),
    "hopper.tf32": Unit("wgmma", "Hopper", "m64n8k8"),
    "hopper.tf32.k4": Unit("mma", "Hopper", "m16n8k4"),
    "hopper.fp8": Unit("wgmma", "Hopper", "m64n8k32"),
    "blackwell.f16": Unit("tcgen05mma", "Blackwell", "m64n8k16"),
    "blackwell.f16.k8": Unit("mma", "Blackwell", "m16n8k8"),
    "blackwell.bf16": Unit("tcgen05mma", "Blackwell", "m64n8k16"),
    "blackwell.bf16.k8": Unit("mma", "Blackwell", "m16n8k8"),
    "blackwell.tf32": Unit("tcgen05mma", "Blackwell", "m64n8k8"),
    "blackwell.tf32.k4": Unit("mma", "Blackwell", "m16n8k4"),
    "blackwell.fp8": Unit("tcgen05mma", "Blackwell", "m64n8k32"),
    "blackwell.fp8.k16": Unit("mma", "RTX Blackwell", "m16n8k16"),
    "cdna1.f16": Unit("mfma", "CDNA1", "16x16x16f16"),
    "cdna1.f16.k8": Unit("mfma", "CDNA1", "32x32x8f16"),
    "cdna1.f16.k4": Unit("mfma", "CDNA1", "4x4x4f16"),
    "cdna1.bf16": Unit("mfma", "CDNA1", "16x16x8bf16"),
    "cdna1.bf16.k4": Unit("mfma", "CDNA1", "32x32x4bf16"),
    "cdna1.bf16.k2": Unit("mfma", "CDNA1", "4x4x2bf16"),
    "cdna2.f16": Unit("mfma", "CDNA2", "16x16x16f16"),
    "cdna2.f16.k8": Unit("mfma", "CDNA2", "32x32x8f16"),
    "cdna2.f16.k4": Unit("mfma", "CDNA2", "4x4x4f16"),
    "cdna2.bf16": Unit("mfma", "CDNA2", "16x16x8bf16"),
    "cdna2.bf16.k4": Unit("mfma", "CDNA2", "32x32x4bf16"),
    "cdna2.bf16.k2": Unit("mfma", "CDNA2", "4x4x2bf16"),
    "cdna2.bf16_1k": Unit("mfma", "CDNA2", "16x16x16bf16_1k"),
    "cdna2.bf16_1k.k8": Unit("mfma", "CDNA2", "32x32x8bf16_1k"),
    "cdna2.bf16_1k.k4": Unit("mfma", "CDNA2", "4x4x4bf16_1k"),
    "cdna3.f16": Unit("mfma", "CDNA3", "16x16x16_f16"),
    "cdna3.f16.k8": Unit("mfma", "CDNA3", "32x32x8_f16"),
    "cdna3.f16.k4": Unit("mfma", "CDNA3", "4x4x4_16b_f16"),
    "cdna3.bf16": Unit("mfma", "CDNA3", "16x16x16_bf16"),
    "cdna3.bf16.k8": Unit("mfma", "CDNA3", "32x32x8_bf16"),
    "cdna3.bf16.k4": Unit("mfma", "CDNA3", "4x4x4_16b_bf16"),
    "cdna3.tf32": Unit("mfma", "CDNA3", "16x16x8_xf32"),
    "cdna3.tf32.k4": Unit("mfma", "CDNA3", "32x32x4_xf32"),
    "cdna3.fp8": Unit("mfma", "CDNA3", "16x16x32_{a}_{b}"),
    "cdna3.fp8.k16": Unit("mfma", "CDNA3", "32x32x16_{a}_{b}"),
}

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_FNUZ = (torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)
_OPERANDS = {"f16": (torch.float16,), "bf16": (torch.bfloat16,), "bf16_1k": (torch.bfloat16,), "tf32": (torch.float32,)}


def units() -> dict[str, Unit]:
    """`UNITS`, and those that accumulate in float16."""
    narrow = {
        f"{name}.acc16": unit
        for name, unit in UNITS.items()
        if unit.kind != "mfma" and name.split(".")[1] in ("f16", "fp8")
    }
    return UNITS | narrow


def types(name: str) -> Iterator[tuple[torch.dtype, torch.dtype, torch.dtype]]:
    """The dtypes that a, b and c of a contract can have."""
    architecture, kind, *_ = name.split(".")
    operands = _OPERANDS.get(kind) or (_FNUZ if architecture.startswith("cdna") else _FP8)
    accumulator = torch.float16 if name.endswith(".acc16") else torch.float32
    return ((a, b, accumulator) for a in operands for b in operands)


def available(path: str | Path) -> tuple[bool, str]:
    """Whether a checkout is there, or what to do."""
    if (Path(path) / "mmasim" / "simulator" / "amd.py").exists():
        return True, "MMA-Sim"
    return False, f"{path} is no checkout of MMA-Sim: git clone https://github.com/microsoft/MMA-Sim"


class Simulator:
    """A checkout's instructions: patterns in, patterns out."""

    def __init__(self, path: str | Path) -> None:
        found, what_to_do = available(path)
        if not found:
            raise FileNotFoundError(what_to_do)
        for module in [name for name in sys.modules if name.partition(".")[0] == "mmasim"]:
            del sys.modules[module]  # of another checkout
        sys.path.insert(0, str(path))
        try:
            self._kinds = {
                "mfma": importlib.import_module("mmasim.simulator.amd"),
                **dict.fromkeys(("mma", "wgmma", "tcgen05mma"), importlib.import_module("mmasim.simulator.nv_ptx")),
            }
        finally:
            sys.path.remove(str(path))
        _widen_operands(self._kinds["mfma"])

    def instruction(self, name: str, a: torch.dtype, b: torch.dtype, c: torch.dtype) -> Any:
        """Its object for a contract and dtypes of operands."""
        unit = units()[name]
        return getattr(self._kinds[unit.kind], unit.kind)(unit.architecture, unit.qualifier(a, b, c))

    def product(self, name: str, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """a [M, K] @ b [K, N] + c [M, N], instruction by instruction; K is filled up with +0."""
        instruction = self.instruction(name, a.dtype, b.dtype, c.dtype)
        missing = -a.shape[1] % instruction.k
        a, b = _filled(a, missing), _filled(b.mT, missing).mT
        instruction.m, instruction.n = c.shape  # it works on one result at a time: tiles may be of any size
        for start in range(0, a.shape[1], instruction.k):
            part = slice(start, start + instruction.k)
            c = instruction(a[:, part].clone(), b[part].clone(), c.clone())  # it flushes subnormals in place
        return c


def _filled(x: Tensor, missing: int) -> Tensor:
    bits = torch.nn.functional.pad(x.contiguous().view(INTEGER[x.dtype.itemsize]), (0, missing))
    return bits.view(x.dtype)


def _widen_operands(amd: Any) -> None:
    dot: Callable[..., float] = amd.pairwise_dot
    amd.pairwise_dot = lambda a, b, *options: dot(a.float(), b.float(), *options)


# Comparing -----------------------------------------------------------------------------------------------------------


def patterns(x: Tensor) -> Tensor:
    """The bits of floats, NaN being the largest pattern."""
    bits = x.contiguous().view(INTEGER[x.dtype.itemsize])
    return bits.masked_fill(x.isnan(), torch.iinfo(bits.dtype).max)


def tiles(name: str, terms: int, seed: int) -> Iterator[tuple[str, Tensor, Tensor, Tensor]]:
    """(kind, a, b, c) of all kinds, for all types of a contract; K ends with an instruction, or within one."""
    for dtypes in types(name):
        for kind in KINDS:
            for k in (terms, 2 * terms + terms // 2):
                yield kind, *tile(kind, dtypes, (4, 6, k), seed)


def compare(simulator: Simulator, name: str, seed: int) -> tuple[int, int]:
    """How many results of refnum were compared, and how many differ."""
    count = wrong = 0
    for _, a, b, c in tiles(name, _terms(simulator, name), seed):
        got = _ours(name, a, b, c)
        wrong += int((patterns(got) != patterns(simulator.product(name, a, b, c))).sum())
        count += c.numel()
    return count, wrong


def _ours(name: str, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """refnum's product, with MMA-Sim's exponent of 0, less than which no largest one is."""
    import refnum
    from refnum.sums import tensorcore

    if name not in tensorcore.INSTRUCTIONS:
        return refnum.gemm(a, b, c, contract=f"tc.{name}/v1", out_dtype=c.dtype)
    row = dataclasses.replace(tensorcore.INSTRUCTIONS[name], zero=tensorcore.ZERO, least=tensorcore.ZERO)
    return tensorcore.tensorcore_mm(a, b, c, c.dtype, instruction=row)


def _terms(simulator: Simulator, name: str) -> int:
    terms: int = simulator.instruction(name, *next(types(name))).k
    return terms


def record(simulator: Simulator, file: Path, seed: int) -> int:
    """Write AMD's results, as bits: ``<contract>/<types>.K<k>/`` a [n, M, K], b [n, K, N], c, d [n, M, N], kind."""
    found: dict[str, Array] = {}
    for name in (name for name, unit in UNITS.items() if unit.kind == "mfma"):
        groups: dict[str, list[tuple[str, Tensor, Tensor, Tensor, Tensor]]] = {}
        for kind, a, b, c in tiles(name, _terms(simulator, name), seed):
            group = f"{name}/{TYPES[a.dtype]}_{TYPES[b.dtype]}.K{a.shape[1]}"
            groups.setdefault(group, []).append((kind, a, b, c, simulator.product(name, a, b, c)))
        for group, cases in groups.items():
            kinds, *sides = zip(*cases, strict=True)
            found[f"{group}/kind"] = np.array(kinds)
            for letter, side in zip("abcd", sides, strict=True):
                bits = torch.stack([patterns(x) if letter == "d" else x.view(INTEGER[x.dtype.itemsize]) for x in side])
                found[f"{group}/{letter}"] = bits.numpy().view(f"u{bits.element_size()}")
    np.savez_compressed(file, **found)  # type: ignore[arg-type]
    return len(found)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare or record; the exit status."""
    parser = argparse.ArgumentParser("refnum_conformance.peers.mma_sim", description="Compare refnum with MMA-Sim.")
    parser.add_argument("path", type=Path, help="a checkout of microsoft/MMA-Sim")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="contracts, as hopper.bf16 (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of random operands (default: 0)")
    parser.add_argument("--rounds", type=int, default=1, help="how often, each time with another seed (default: 1)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the results of CDNA instead")
    options = parser.parse_args(argv)
    found, message = available(options.path)
    unknown = set(options.only or ()) - set(units())
    if unknown or not found:
        print(
            message if not found else f"There is no {min(unknown)!r}. Choose among {', '.join(units())}.",
            file=sys.stderr,
        )
        return 2
    simulator = Simulator(options.path)
    if options.record is not None:
        print(f"{record(simulator, options.record, options.seed)} arrays")
        return 0
    return _table(simulator, options.only or list(units()), range(options.seed, options.seed + options.rounds))


def _table(simulator: Simulator, names: Sequence[str], seeds: Iterable[int]) -> int:
    wrong = 0
    print(f"{'contract':<28}{'results':>9}{'mismatches':>12}")
    for name in names:
        counts = [compare(simulator, name, seed) for seed in seeds]
        results, mismatches = (sum(column) for column in zip(*counts, strict=True))
        print(f"{f'tc.{name}/v1':<28}{results:>9,}{mismatches:>12,}", flush=True)
        wrong += mismatches
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
