"""refnum reveal: what it prints, which functions it finds, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer", reason="the command line needs the extra cli")

from refnum.cli import run, status

SMALL = ["--m", "2", "--n", "3", "--reach", "0", "--against", "chain/v1"]

MODULE = """
import refnum

class Kernels:
    chain = staticmethod(lambda a, b, bias=None: refnum.gemm(a, b, bias))

def descending(a, b):
    return refnum.gemm(a.flip(1), b.flip(0))

def rows(x):
    return x.cumsum(1)[:, -1]

constant = 1
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module, which is the current one."""
    (tmp_path / "kernels_of_mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "kernels_of_mine", raising=False)
    return tmp_path


def output(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["reveal", *arguments]) == status.DONE
    return capsys.readouterr().out


def test_torch_mm(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(["torch.mm", "--m", "4", "--k", "64", "--k", "1000", "--reach", "0", "--against", "chain/v1"], capsys)
    assert text.startswith("float32 to float32\n")
    assert "M 4, K 64, N 16\n  order     64 terms " in text
    assert "M 4, K 1000, N 16\n  order     " in text
    assert text.count("verified") == 2


def test_torch_sum_is_a_sum(capsys: pytest.CaptureFixture[str]) -> None:
    assert "M 1, K 20, N 1\n" in output(["torch.sum", "--k", "20", "--reach", "0", "--against", "chain/v1"], capsys)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("kernels_of_mine:descending", [], "order     12 terms added one by one, descending"),
        ("kernels_of_mine.descending", [], "order     12 terms added one by one, descending"),
        ("kernels_of_mine:Kernels.chain", ["--bias", "float32"], "bias first"),
        ("kernels_of_mine:Kernels.chain", ["--dtype", "bfloat16"], "bfloat16 to bfloat16"),
        ("kernels_of_mine:rows", ["--kind", "rows"], "M 2, K 12, N 1"),
    ],
)
def test_functions_of_the_folder(
    folder: Path, name: str, options: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sys.path.copy()
    assert line in output([name, "--k", "12", *SMALL, *options], capsys)
    assert sys.path == before


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(["kernels_of_mine:Kernels.chain", "--k", "3", *SMALL, "--json"], capsys))
    assert (found["dtype"], found["result"], found["contract"], found["changes"]) == (
        "float32",
        "float32",
        "chain/v1",
        [],
    )
    (order,) = found["orders"]
    assert order["shape"] == {"rows": 2, "terms": 3, "columns": 3}
    assert order["tree"] == {"leaves": 3, "joins": [[0, 1], [3, 2]]}
    assert order["summary"] == "3 terms added one by one, ascending"
    assert order["findings"]["fma"] is True
    assert (order["fused"], order["replayed"], order["errors"]) == ([1, 2], True, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'FUNCTION'. Try: refnum reveal --help"),
        (["nothing"], "FUNCTION: 'nothing' cannot be imported"),
        (["no.module:mm"], "FUNCTION: 'no.module:mm' cannot be imported (No module named 'no'). Write module:function"),
        (["..mine:mm"], "FUNCTION: '..mine:mm' cannot be imported (the 'package' argument is required"),
        (["torch:nothing"], "has no attribute 'nothing'"),
        (["torch:float32"], "FUNCTION: 'torch:float32' is no function. Name one"),
        (["kernels_of_mine:constant"], "FUNCTION: 'kernels_of_mine:constant' is no function. Name one"),
        (["torch.mm", "--dtype", "int8"], "--dtype: 'int8' is none of float64, float32, bfloat16"),
        (["torch.mm", "--bias", "int8"], "--bias: 'int8' is none of float64, float32, bfloat16"),
        (["torch.mm", "--k", "0"], "reveal has no terms=[0]. Allowed are positive ints"),
        (["torch.mm", "--kind", "mm"], "reveal has no kind='mm'. Choose one of matmul, rows, sum."),
        (["torch.mm", "--against", "no/v1"], "reveal has no contract='no/v1'. Choose one of"),
    ],
)
def test_refused(folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reveal", *arguments]) == status.BAD_INPUT
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("refnum: ")
    assert words in line
    assert not printed.out
