"""examples/ci: the script passes what is right, finds what is wrong, and reads no file that lies."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "examples" / "ci"
SCRIPT = FOLDER / "check_outputs.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ci_check_outputs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()


def saved(path: Path, arrays: dict[str, Tensor]) -> Path:
    """The arrays in a file of the kind that the path asks for."""
    if path.suffix == ".npz":
        numbers = {
            name: x.view(torch.int16).numpy().view("uint16") if x.dtype == torch.bfloat16 else x.numpy()
            for name, x in arrays.items()
        }
        np.savez_compressed(path, **numbers)
        return path
    names = {dtype: name for name, dtype in script.SAFETENSORS.items()}
    header, data = {"__metadata__": {"made": "here"}}, b""
    for name, x in arrays.items():
        raw = x.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        entry = {"dtype": names[x.dtype], "shape": list(x.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        header[name] = entry
        data += raw
    return written(path, header, data)


def written(path: Path, header: Any, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def example(kernel: str) -> dict[str, Tensor]:
    """Inputs, and outputs as refnum has them."""
    random = torch.Generator().manual_seed(1)
    row = script.KERNELS[kernel]
    if kernel.startswith("posit"):
        inputs = [torch.randint(-(2**15), 2**15, shape, generator=random).short() for shape in ((4, 32), (32, 3))]
    else:
        inputs = [torch.randn(rows, 64, generator=random).bfloat16() for rows in (4, 3)[: len(row.inputs)]]
    names = (*row.inputs, *row.outputs)
    return dict(zip(names, (*inputs, *row.reference(*inputs)), strict=True))


def code(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    exit_code = script.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return exit_code, output.out + output.err


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kernel", script.KERNELS)
def test_right_outputs_pass_and_wrong_ones_do_not(
    kernel: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = example(kernel)
    good = saved(tmp_path / f"good{suffix}", arrays)
    assert code(capsys, kernel, good)[0] == 0
    for name in script.KERNELS[kernel].outputs:
        wrong = arrays[name].clone()
        wrong.view(-1).view(torch.uint8 if wrong.dtype == torch.uint8 else torch.int16)[-1] ^= 1
        bad = saved(tmp_path / f"bad{suffix}", arrays | {name: wrong})
        exit_code, text = code(capsys, kernel, bad)
        assert exit_code == 1
        assert "got is not" in text
        assert code(capsys, kernel, good, bad)[0] == 1
        assert code(capsys, kernel, bad, "--ulp", 1)[0] == (0 if wrong.is_floating_point() else 1)


def test_it_runs_as_a_script(tmp_path: Path) -> None:
    path = saved(tmp_path / "run.npz", example("posit16_mm"))
    done = subprocess.run([sys.executable, SCRIPT, "posit16_mm", path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1:] == ["  out: 12 elements", "  ok"]


def test_another_shape_or_dtype_is_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = example("posit16_mm")
    for out in (arrays["out"][:2], arrays["out"].int()):
        exit_code, text = code(capsys, "posit16_mm", saved(tmp_path / "run.npz", arrays | {"out": out}))
        assert exit_code == 1
        assert "got and want differ in" in text


def npz(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(shape: str, dtype: str = "<i2", data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


def objects() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([print], dtype=object), allow_pickle=True)
    return file.getvalue()


ENTRY = {"dtype": "I16", "shape": [2], "data_offsets": [0, 4]}
LIES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "an object": (lambda p: npz(p / "x.npz", a=objects()), "a.npy holds object"),
    "a shape beyond its data": (lambda p: npz(p / "x.npz", a=npy("(2**40,)")), "x.npz cannot be checked"),
    "more than there is": (
        lambda p: npz(p / "x.npz", a=npy("(1099511627776,)")),
        "a.npy has 0 bytes, and shape (1099511627776,) needs 2,199,023,255,552",
    ),
    "big-endian numbers": (lambda p: npz(p / "x.npz", a=npy("(1,)", ">i2", b"12")), "a.npy holds >i2"),
    "a version of its own": (lambda p: npz(p / "x.npz", a=npy("(1,)", version=b"\x09\x00")), "is of version (9, 0)"),
    "no archive": (lambda p: written(p / "x.npz", {}, b""), "x.npz cannot be checked: File is not a zip file"),
    "no array": (lambda p: npz(p / "x.npz", a=npy("(1,)", data=b"12")), "it has no b and no out. Needed are a, b, out"),
    "another suffix": (lambda p: written(p / "x.pt", {}, b""), "it is no .npz or .safetensors file"),
    "a header beyond the file": (
        lambda p: (p / "x.safetensors").write_bytes(b"\xff" * 8) and p / "x.safetensors",
        "its header has 18,446,744,073,709,551,615 bytes",
    ),
    "an end beyond the file": (lambda p: written(p / "x.safetensors", {"a": ENTRY}, b"123"), "a ends after the file"),
    "sizes that differ": (
        lambda p: written(p / "x.safetensors", {"a": ENTRY | {"shape": [3]}}, b"1234"),
        "a has 4 bytes, and shape (3,) needs 6",
    ),
    "a negative size": (
        lambda p: written(p / "x.safetensors", {"a": ENTRY | {"shape": [-2], "data_offsets": [4, 0]}}, b"1234"),
        "a has shape [-2] and offsets [4, 0]",
    ),
    "a dtype that is none": (
        lambda p: written(p / "x.safetensors", {"a": ENTRY | {"dtype": "C64"}}, b"1234"),
        "a holds C64",
    ),
    "a header that is no table": (
        lambda p: written(p / "x.safetensors", [1, 2], b""),
        "x.safetensors cannot be checked",
    ),
    "entries that are no tables": (lambda p: written(p / "x.safetensors", {"a": 3}, b""), "cannot be checked"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_not_read(lie: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, text = LIES[lie]
    exit_code, output = code(capsys, "posit16_mm", make(tmp_path))
    assert exit_code == 2
    assert text in output


def test_a_file_that_holds_too_much_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "LIMIT", 1 << 10)
    arrays = {name: torch.zeros(20, 20, dtype=torch.int16) for name in ("a", "b", "out")}
    for suffix in (".npz", ".safetensors"):
        exit_code, output = code(capsys, "posit16_mm", saved(tmp_path / f"x{suffix}", arrays))
        assert exit_code == 2
        assert "its arrays have 2,400 bytes. Allowed are 1,024." in output


def test_the_workflow_calls_the_script_as_it_is() -> None:
    workflow = (FOLDER / "check-kernel-outputs.yml").read_text()
    assert "\t" not in workflow
    assert "check_outputs.py ${{ matrix.kernel }} ${{ matrix.files }} --ulp ${{ matrix.ulp }}" in workflow
    named = [line.split("kernel: ")[1].split(",")[0] for line in workflow.splitlines() if "{ kernel: " in line]
    assert named
    assert set(named) <= set(script.KERNELS)
