"""Every file in examples/ runs in a fresh process, and what it prints is checked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
SECONDS = 300  #: after which a script, or a cell, hangs


def check_first_steps(text: str) -> None:
    assert "['0x4c91', '0x0001', '0x8000'] ['3.142', '1e-17', 'NaR']" in text
    assert "tensor([0.3334]" in text
    assert "tensor(1.)" in text


def check_batches(text: str) -> None:
    """Under every contract no row depends on the others."""
    rows = dict(re.findall(r"^(\S.*?) +(\d+) of 64 rows move$", text, re.MULTILINE))
    contracts = ["chain/v1", "tree/v1(Kc=256)", "exact/v1", "tc.hopper.tf32/v1", "layers of refnum"]
    assert list(rows) == ["torch", *contracts]
    assert {rows[name] for name in contracts} == {"0"}
    assert text.count("grad_contract=(input chain/v1, weight exact/v1, bias exact/v1)") == 2


def check_training(text: str) -> None:
    """Few bits cost accuracy, and training with them wins some of it back."""
    rows = re.findall(r"^(\S+) +([\d.]+)% +([\d.]+)% +([+-][\d.]+)$", text, re.MULTILINE)
    before, after = ({row[0]: float(row[column]) for row in rows} for column in (1, 2))
    formats = ["float32", "posit(8,2)", "posit(6,2)", "posit(5,2)", "posit(4,2)"]
    assert list(before) == formats
    assert 95 < before["float32"] <= 100
    assert abs(before["posit(8,2)"] - before["float32"]) < 2
    assert [before[name] for name in formats[2:]] == sorted((before[name] for name in formats[2:]), reverse=True)
    assert all(after[name] > before[name] for name in formats[2:])
    assert after["posit(6,2)"] > before["float32"] - 2
    assert after["posit(4,2)"] > before["posit(4,2)"] + 3


def check_researchers(text: str) -> None:
    """The notebook asserts what it claims; here is that it shows it, too."""
    assert text.count("image/png") == 2
    assert "3.14159    0 | 10 | 01 | 10010010001 = 3.1416" in text
    assert "nn.intercept does not cover cdist" in text
    shares = {name: float(share) for name, share in re.findall(r"^(\S+) +([\d.]+)%", text, re.MULTILINE)}
    assert shares["float32"] > 95
    assert abs(shares["posit16"] - shares["float32"]) < 1
    assert 50 < shares["posit(5,2)"] < shares["posit8"] <= 100
    assert shares["quire"] == 0 < shares["products"] < 100


def check_worlds(text: str) -> None:
    """All networks of refnum are one; torch's depend on how the rows are cut and shared."""
    rows = re.findall(r"^ *(refnum|torch) +(\d) +(\d+)  ([0-9a-f]{16})$", text, re.MULTILINE)
    assert {row[:3] for row in rows} == {
        (x, n, m) for x in ("refnum", "torch") for n in "124" for m in ("1", "4", "32")
    }
    digests = {layers: {row[3] for row in rows if row[0] == layers} for layers in ("refnum", "torch")}
    assert len(digests["refnum"]) == 1 < len(digests["torch"])
    assert "refnum: 21 networks, 1 different" in text


def check_activations(text: str) -> None:
    """torch's functions are near; those written step by step in 16 bits are not; every NaN is seen."""
    rows = re.findall(r"^(\w[\w ]+?) +(bfloat16|float16) +([\d,]+) +(\d+) +([\d,]+) +([\d,]+)", text, re.MULTILINE)
    assert len(rows) == 18
    count = {(name, fmt): int(wrong.replace(",", "")) for name, fmt, _, _, wrong, _ in rows}
    for fmt in ("bfloat16", "float16"):
        assert count["exp", fmt] + count["tanh", fmt] + count["rsqrt", fmt] < 20
        assert count["gelu", fmt] < count["gelu by steps", fmt] > 1000
    assert {inputs for _, _, inputs, *_ in rows} == {"65,282", "63,490"}
    assert "gelu in e4m3 of 1 and -1: [0.8125, -0.15625]" in text


def check_search(text: str) -> None:
    """Mixed formats need fewer bits than one for all; greedy steps find such."""
    rows = re.findall(r"^\| (\w+), \d+ trials \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", text, re.MULTILINE)
    bits = {name: [float(x) for x in found] for name, *found in rows}
    assert {"uniform", "greedy"} <= bits.keys()
    for found in bits.values():
        assert found == sorted(found, reverse=True), "less accuracy needs no more bits"
        assert 2.25 <= found[-1] <= found[0] <= 8.25
    assert bits["greedy"][1] < bits["uniform"][1] - 1


def check_circuit(text: str) -> None:
    """The notebook asserts what it claims; the simulation runs where there is a simulator, or is said not to."""
    assert text.count("image/png") == 1
    bits, chosen, whole = map(
        float, re.findall(r"([\d.]+) bits per weight instead of 32: ([\d.]+)%, float32 ([\d.]+)%", text)[0]
    )
    assert bits < 4
    assert abs(chosen - whole) < 3
    assert "mxint_linear.json" in text
    assert ("540 vectors, 0 mismatches" in text) == (shutil.which("iverilog") is not None)


class Example(NamedTuple):
    """A file in examples/."""

    check: Callable[[str], None]  #: takes what it printed
    needs: tuple[str, ...] = ()  #: modules
    marks: tuple[pytest.MarkDecorator, ...] = ()


EXAMPLES = {
    "activation_references.py": Example(check_activations),
    "batch_invariance.py": Example(check_batches, marks=(pytest.mark.slow,)),
    "first_steps.py": Example(check_first_steps),
    "format_search.py": Example(check_search, ("sklearn",), (pytest.mark.slow,)),
    "posits_for_researchers.ipynb": Example(check_researchers, ("nbclient", "ipykernel", "matplotlib", "sklearn")),
    "pytorch_to_rtl.ipynb": Example(check_circuit, ("nbclient", "ipykernel", "matplotlib", "sklearn")),
    "quantization_aware_training.py": Example(check_training, ("sklearn",), (pytest.mark.slow,)),
    "world_sizes.py": Example(check_worlds, marks=(pytest.mark.slow,)),
}
NOTEBOOKS = [name for name in EXAMPLES if name.endswith(".ipynb")]


def test_every_example_is_here() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == set(EXAMPLES)


@pytest.mark.parametrize("name", [pytest.param(name, marks=row.marks) for name, row in EXAMPLES.items()])
def test_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [module for module in EXAMPLES[name].needs if find_spec(module) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}, which is not installed")
    if name in NOTEBOOKS:
        monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel shows pictures in its own
        for folder in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            monkeypatch.setenv(folder, str(tmp_path))  # and not the home folder
        text = run_notebook(FOLDER / name, tmp_path)
    else:
        text = run_script(FOLDER / name, tmp_path)
    EXAMPLES[name].check(text)


def run_script(path: Path, folder: Path) -> str:
    """What a script prints."""
    command = [sys.executable, str(path)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_notebook(path: Path, folder: Path) -> str:
    """What the cells of a notebook print and show, one after the other in a fresh kernel."""
    import nbclient
    import nbformat

    shutil.copytree(FOLDER / "rtl", folder / "rtl")  # what lies beside it, and is read
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    return "\n".join(text_of(output) for cell in notebook.cells for output in cell.get("outputs", ()))


def text_of(output: dict[str, Any]) -> str:
    """An output as text, a picture being the name of its type."""
    assert output.get("name") != "stderr", output["text"]
    if output["output_type"] == "stream":
        return str(output["text"])
    return "\n".join(kind if kind.startswith("image/") else str(data) for kind, data in output["data"].items())


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_kept_without_outputs(name: str) -> None:
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
