"""Drive the circuits with cocotb: ``SIM=icarus python cocotb_benches.py DIRECTORY``, with vectors of vectors.py there.

SIM is icarus, which is the default, or verilator. One file serves cocotb 1.9 and 2.x, which name some things otherwise.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from refnum.lab.export import Vectors, read_readmemh

try:
    from cocotb_tools.runner import get_results, get_runner
except ImportError:  # cocotb 1.9
    from cocotb.runner import get_results, get_runner

HERE = Path(__file__).parent
VERSION_1 = cocotb.__version__.startswith("1.")
SOURCES = {
    "mxint_dot": ("mxint_dot.sv",),
    "mxint_linear": ("mxint_linear.sv", "mxint_dot.sv", "fixed_round.sv"),
}
ARGUMENTS = {"icarus": ["-g2012"], "verilator": ["-Wno-fatal"]}


def vectors(name: str) -> Vectors:
    """Those of the directory that the simulation was started for."""
    return read_readmemh(Path(os.environ["VECTORS"]) / f"{name}.json")


def word(found: Vectors, port: str, row: int) -> int:
    """The codes of a row, side by side, lane 0 in the low bits."""
    bits = found.ports[port].bits
    return sum((code & (1 << bits) - 1) << bits * lane for lane, code in enumerate(found[port][row].tolist()))


def signed(handle: object) -> int:
    """What a port shows, in two's complement."""
    value = handle.value
    return value.signed_integer if VERSION_1 else value.to_signed()


async def started(dut: object) -> None:
    """A clock, and a reset."""
    clock = Clock(dut.clk, 10, **{"units" if VERSION_1 else "unit": "step"})
    cocotb.start_soon(clock.start())
    dut.rst.value = 1
    dut.in_valid.value = 0
    for _ in range(2):
        await FallingEdge(dut.clk)
    dut.rst.value = 0


@cocotb.test(skip=os.environ.get("CIRCUIT") != "mxint_dot")
async def dot(dut: object) -> None:
    """A result comes one rising edge behind its operands."""
    found = vectors("mxint_dot")
    await started(dut)
    dut.in_valid.value = 1
    wrong = 0
    for row in range(found.depth):
        for port, codes in {"ma": "a_elements", "mb": "b_elements", "ea": "a_scale", "eb": "b_scale"}.items():
            getattr(dut, port).value = word(found, codes, row)
        await FallingEdge(dut.clk)
        got = int(dut.out_valid.value), signed(dut.mo), signed(dut.eo)
        wrong += got != (1, found["accumulator"][row].item(), found["exponent"][row].item())
    report(wrong, found)


@cocotb.test(skip=os.environ.get("CIRCUIT") != "mxint_linear")
async def linear(dut: object) -> None:
    """Each set of weights is loaded, then inputs follow one another as soon as they may."""
    found, weights = vectors("mxint_linear"), vectors("mxint_linear_weights")
    outputs = found.ports["y"].lanes
    sets = weights.depth // outputs
    await started(dut)
    wrong = 0
    for row in range(found.depth):
        if row % (found.depth // sets) == 0:
            await load(dut, weights, row // (found.depth // sets) * outputs, outputs)
        dut.in_valid.value = 1
        dut.mx.value, dut.ex.value = word(found, "mx", row), word(found, "ex", row)
        await FallingEdge(dut.clk)
        dut.in_valid.value = 0
        while not int(dut.out_valid.value):
            await FallingEdge(dut.clk)
        outside = found["outside"][row].item()
        wrong += int(dut.outside.value) != outside or (not outside and int(dut.y.value) != word(found, "y", row))
    report(wrong, found)


async def load(dut: object, weights: Vectors, first: int, rows: int) -> None:
    """Write a set of weights."""
    dut.w_valid.value = 1
    for row in range(rows):
        dut.w_row.value = row
        for port in ("mw", "ew", "bias"):
            getattr(dut, port).value = word(weights, port, first + row)
        await FallingEdge(dut.clk)
    dut.w_valid.value = 0


def report(wrong: int, found: Vectors) -> None:
    """How many vectors there were, and an error if some were wrong."""
    message = f"{found.name}: {found.depth} vectors, {wrong} mismatches"
    cocotb.log.info(message)
    assert not wrong, message


# ---- the runner ----------------------------------------------------------------------------------


def simulate(circuit: str, directory: Path, simulator: str) -> None:
    """Build a circuit and run its test; an error if it fails."""
    runner = get_runner(simulator)
    sources = [HERE / source for source in SOURCES[circuit]]
    build = directory / f"build_{simulator}_{circuit}"
    parameters = {"verilog_sources" if VERSION_1 else "sources": sources}
    runner.build(**parameters, hdl_toplevel=circuit, build_args=ARGUMENTS[simulator], build_dir=build, always=True)
    results = runner.test(
        hdl_toplevel=circuit,
        test_module=Path(__file__).stem,
        build_dir=build,
        test_dir=HERE,
        results_xml=str(build / "results.xml"),
        extra_env={"VECTORS": str(directory), "CIRCUIT": circuit},
    )
    ran, failed = get_results(results)
    if failed or not ran:
        raise SystemExit(f"{circuit} on {simulator}: {failed} of {ran} tests failed.")


def main() -> None:
    """Both circuits."""
    directory = Path(sys.argv[1]).resolve()
    for circuit in SOURCES:
        simulate(circuit, directory, os.environ.get("SIM", "icarus"))


if __name__ == "__main__":
    main()
