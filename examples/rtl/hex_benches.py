"""Run the benches that need hex files alone: ``SIM=icarus python hex_benches.py DIRECTORY``.

Vectors of vectors.py are there. SIM is icarus, which is the default, or verilator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = {
    "dot": ("bench_dot.sv", "mxint_dot.sv"),
    "linear": ("bench_linear.sv", "mxint_linear.sv", "mxint_dot.sv", "fixed_round.sv"),
}


def simulate(circuit: str, directory: Path, simulator: str, sources: Path = HERE) -> str:
    """Build a bench and run it among its vectors: what it says; CalledProcessError if it ends with an error."""
    top = f"bench_{circuit}"
    depth = json.loads((directory / f"mxint_{circuit}.json").read_text())["depth"]
    files = [str((sources / name).resolve()) for name in SOURCES[circuit]]
    match simulator:
        case "icarus":
            program = str(directory / f"{top}.vvp")
            build = ["iverilog", "-g2012", "-s", top, f"-P{top}.DEPTH={depth}", "-o", program, *files]
            run = ["vvp", "-n", program]
        case "verilator":
            folder = directory / f"build_{top}"
            options = ["--binary", "--timing", "-Wno-fatal", "-Wno-lint", "--top-module", top, f"-GDEPTH={depth}"]
            build = ["verilator", *options, "--Mdir", str(folder), *files]
            run = [str(folder / f"V{top}")]
        case _:
            raise SystemExit(f"There is no simulator {simulator!r} here. Choose icarus or verilator.")
    subprocess.run(build, check=True, capture_output=True, text=True, cwd=directory)
    return subprocess.run(run, check=True, capture_output=True, text=True, cwd=directory).stdout


def main() -> None:
    """Both benches."""
    directory, simulator = Path(sys.argv[1]).resolve(), os.environ.get("SIM", "icarus")
    for circuit in SOURCES:
        try:
            print(simulate(circuit, directory, simulator), end="")
        except subprocess.CalledProcessError as error:
            raise SystemExit(f"{circuit} on {simulator} failed:\n{error.stdout}{error.stderr}") from None


if __name__ == "__main__":
    main()
