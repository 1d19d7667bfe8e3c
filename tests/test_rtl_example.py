"""The circuits in examples/rtl: vectors that are right by other arithmetic, and benches that can fail."""

from __future__ import annotations

import runpy
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from refnum.lab.export import Vectors, read_readmemh

RTL = Path(__file__).parents[1] / "examples" / "rtl"
COUNT = 160
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of both circuits."""
    folder = tmp_path_factory.mktemp("rtl")
    example = runpy.run_path(str(RTL / "vectors.py"))
    example["dot_vectors"](folder, COUNT, 0)
    example["linear_vectors"](folder, COUNT, 0)
    return folder


@pytest.fixture(scope="module")
def simulate() -> Any:
    """Run a bench."""
    return runpy.run_path(str(RTL / "hex_benches.py"))["simulate"]


def dot(found: Vectors, left: str, right: str, row: int, other: int, block: int, size: int) -> int:
    places = range(block * size, (block + 1) * size)
    return sum(int(found[left][row, i]) * int(found[right][other, i]) for i in places)


# ---- the vectors ----------------------------------------------------------------------------------------------------


def test_vectors_of_the_dot_product_are_right(directory: Path) -> None:
    found = read_readmemh(directory / "mxint_dot.json")
    sums = [dot(found, "a_elements", "b_elements", row, row, 0, 4) for row in range(found.depth)]
    exponents = [int(found["a_scale"][row] + found["b_scale"][row]) - 266 for row in range(found.depth)]
    assert found["accumulator"].flatten().tolist() == sums
    assert found["exponent"].flatten().tolist() == exponents
    assert (found.ports["accumulator"].bits, found.ports["exponent"].bits) == (18, 10)
    assert {0, 65536} <= set(sums)
    assert {-266, 242} <= set(exponents)


def test_vectors_of_the_layer_are_right(directory: Path) -> None:
    """Rounded by Fraction, which rounds ties to even."""
    found, weights = (read_readmemh(directory / f"mxint_linear{end}.json") for end in ("", "_weights"))
    both = Vectors("", 0, {**found.ports, **weights.ports}, {}, None, None)
    outputs, blocks = found.ports["y"].lanes, found.ports["ex"].lanes
    of_a_set = found.depth // (weights.depth // outputs)
    ties = 0
    for row in range(found.depth):
        sums, outside = [], False
        for other in range(row // of_a_set * outputs, (row // of_a_set + 1) * outputs):
            total = Fraction(int(both["bias"][other, 0]), 1 << 8)
            for block in range(blocks):
                integer = dot(both, "mx", "mw", row, other, block, 4)
                exponent = int(both["ex"][row, block] + both["ew"][other, block]) - 266
                total += integer * Fraction(2) ** exponent
                outside |= bool(integer) and not -28 <= exponent <= 4
            sums.append(total * 256)
        assert both["outside"][row, 0] == outside
        ties += sum(x.denominator == 2 for x in sums)
        wanted = [max(-32768, min(32767, round(x))) for x in sums]
        assert both["y"][row].tolist() == ([0] * outputs if outside else wanted)
    assert ties > 5


def test_the_same_seed_gives_the_same_files(directory: Path, tmp_path: Path) -> None:
    example = runpy.run_path(str(RTL / "vectors.py"))
    for seed, same in ((0, True), (1, False)):
        example["dot_vectors"](tmp_path, COUNT, seed)
        example["linear_vectors"](tmp_path, COUNT, seed)
        files = sorted(path.name for path in tmp_path.iterdir())
        assert len(files) == 8 + 4 + 5
        assert all((tmp_path / name).read_bytes() == (directory / name).read_bytes() for name in files) == same


# ---- the circuits ---------------------------------------------------------------------------------------------------


@needs_icarus
@pytest.mark.parametrize("circuit", ["dot", "linear"])
def test_the_benches_find_no_mismatch(circuit: str, directory: Path, simulate: Any) -> None:
    depth = read_readmemh(directory / f"mxint_{circuit}.json").depth
    assert f"bench_{circuit}: {depth} vectors, 0 mismatches\n" in simulate(circuit, directory, "icarus")


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("circuit", ["dot", "linear"])
def test_the_benches_find_no_mismatch_with_verilator(circuit: str, directory: Path, simulate: Any) -> None:
    depth = read_readmemh(directory / f"mxint_{circuit}.json").depth
    assert f"bench_{circuit}: {depth} vectors, 0 mismatches\n" in simulate(circuit, directory, "verilator")


@needs_icarus
@pytest.mark.parametrize(
    ("circuit", "file", "right", "wrong"),
    [
        ("dot", "mxint_dot.sv", "MO'(a) * MO'(b)", "a * MO'(b[W-2:0])"),
        ("dot", "mxint_dot.sv", "MO = 2 * W + $clog2(N)", "MO = 2 * W + $clog2(N) - 1"),
        ("dot", "mxint_dot.sv", "EO'(2 * (127 + F))", "EO'(2 * (126 + F))"),
        ("dot", "mxint_dot.sv", "out_valid <= in_valid", "out_valid <= out_valid"),
        ("linear", "fixed_round.sv", "|x[D-2:0] | x[D]", "|x[D-2:0]"),
        ("linear", "fixed_round.sv", "(|x[D-2:0] | x[D])", "1'b1"),
        ("linear", "fixed_round.sv", "LEAST = ~MOST", "LEAST = -MOST"),
        ("linear", "fixed_round.sv", "q > MOST ? MOST[W-1:0] : ", ""),
        ("linear", "mxint_linear.sv", "SUM'(biases", "0 * SUM'(biases"),
        ("linear", "mxint_linear.sv", "left < 0 ||", ""),
        ("linear", "mxint_linear.sv", "left > EMAX - EMIN", "left > EMAX - EMIN + 40"),
        ("linear", "mxint_linear.sv", "mo != 0 && ", ""),
    ],
)
def test_a_wrong_circuit_is_caught(
    circuit: str, file: str, right: str, wrong: str, directory: Path, tmp_path: Path, simulate: Any
) -> None:
    sources = Path(shutil.copytree(RTL, tmp_path / "rtl", ignore=shutil.ignore_patterns("__pycache__")))
    text = (sources / file).read_text()
    assert text.count(right) == 1
    (sources / file).write_text(text.replace(right, wrong))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        simulate(circuit, directory, "icarus", sources)
    assert "vectors are wrong" in caught.value.stdout or "out_valid is" in caught.value.stdout
