"""What each kind of user does first, run as it is promised to them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import refnum
from refnum import MismatchError, Posit, mx, mx_mm, mxfp4, nn, testing
from refnum.testing import assert_ulp

pytest.importorskip("typer", reason="the command line needs the extra cli")

ROOT = Path(refnum.__file__).parents[1]
REFNUM = f"{sys.executable} -m refnum.cli"

#: Ties go away from 0. (A kernel that knows nothing of refnum, in C, is in examples/any_language.)
KERNEL = """
import sys
import numpy as np
import torch
from refnum import mx, mxfp4

rows = [line.split() for line in sys.stdin]
bits = np.array([[int(word, 16) for word in row[1:]] for row in rows], dtype=np.uint32)
blocks = mx.quantize(torch.from_numpy(bits.view(np.float32)), mxfp4, profile="aiter_legacy")
for row, scale, codes in zip(rows, blocks.scales.tolist(), blocks.codes.tolist()):
    print(*row, f"{scale[0]:02x}", *(f"{code:x}" for code in codes))
"""


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, env=None, timeout=120
    )


def test_a_ci_engineer_checks_a_kernel(tmp_path: Path) -> None:
    (tmp_path / "my_kernel.py").write_text(KERNEL)
    made = shell(f"{REFNUM} gen mxfp4_quantize --edges --random 10000 --seed 0 > cases.hex", tmp_path)
    assert made.returncode == 0, made.stderr
    check = f"{REFNUM} check mxfp4_quantize --profile"
    checked = shell(f"{sys.executable} my_kernel.py < cases.hex | tee out.hex | {check} aiter_legacy", tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.split("  ")[0] == "mxfp4_quantize"
    assert checked.stdout.rstrip().endswith("cases  ok  0 ULP")
    assert shell(f"{check} ocp < out.hex", tmp_path).returncode == 1, "which is another rule"


def test_a_ci_engineer_compares_files(tmp_path: Path) -> None:
    want = torch.randn(64, 48)
    np.savez(tmp_path / "want.npz", y=want.numpy())
    for steps, status in ((1, 0), (2, 1)):
        got = (want.view(torch.int32) + steps).view(torch.float32)
        np.savez(tmp_path / "out.npz", y=got.numpy())
        done = shell(f"{REFNUM} diff out.npz want.npz --ulp 1 --html report.html", tmp_path)
        assert done.returncode == status, done.stderr
        assert (tmp_path / "report.html").read_text().startswith("<!")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    assert shell(f"{REFNUM} diff broken.npz want.npz", tmp_path).returncode == 2


def test_a_ci_engineer_writes_a_test() -> None:
    a, b = torch.randn(64, 200), torch.randn(200, 48)

    def my_gemm(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double()).float()

    assert_ulp(refnum.gemm(a, b), refnum.gemm(a, b, contract="chain/v1"), ulp=1)
    with pytest.raises(
        MismatchError, match=r"got is not within 8 ULP of want\n  shape \(64, 48\)  dtype torch.float32"
    ):
        assert_ulp(my_gemm(a, b), refnum.gemm(a, b, contract="chain/v1"), ulp=8)
    with pytest.raises(MismatchError, match=r"x 2\^-24 of sum\|a\|\|b\|"):
        assert_ulp(my_gemm(a, b), refnum.gemm(a, b, contract="chain/v1"), ulp=8, operands=(a, b))
    text = str(testing.diagnose(refnum.gemm(a, b, contract="tree/v1(Kc=64)"), refnum.gemm(a, b), refnum.gemm, a, b))
    assert "vanish with contract=tree/v1(Kc=64)" in text


def test_an_author_of_a_leaderboard_writes_a_reference() -> None:
    def generate_input(m: int, n: int, k: int, seed: int) -> tuple[Tensor, ...]:
        g = torch.Generator().manual_seed(seed)
        a, b = (torch.randn(s, k, generator=g).bfloat16() for s in (m, n))
        q = mx.quantize(b, mxfp4, profile="aiter")
        return a, b, q.elements, mx.shuffle_weight(q.elements), mx.shuffle_scale(q.scales)

    def ref_kernel(data: tuple[Tensor, ...]) -> Tensor:
        a, b = (mx.quantize(x, mxfp4, profile="aiter") for x in data[:2])
        return mx_mm(a, b, out_dtype=torch.bfloat16)

    def check_implementation(data: tuple[Tensor, ...], out: Tensor) -> tuple[bool, str]:
        try:
            testing.assert_ulp(out, ref_kernel(data), ulp=1)
        except MismatchError as error:
            return False, str(error)
        return True, ""

    data = generate_input(8, 32, 256, 7)
    assert check_implementation(data, ref_kernel(data)) == (True, "")
    good, message = check_implementation(data, ref_kernel(data) * 2)
    assert not good
    assert message.startswith("got is not within 1 ULP of want")


def test_a_researcher_has_a_network_in_posits() -> None:
    x, w = torch.randn(4, 8), torch.randn(8, 2, requires_grad=True)
    y = refnum.posit_mm(x, w, Posit(16))
    y.sum().backward()
    assert w.grad is not None
    model = torch.nn.Linear(8, 3)
    with nn.intercept(Posit(16)):
        out = model(x)
    assert out.shape == (4, 3)
    shown = shell(f"{REFNUM} show 3.14159 posit16", ROOT)
    assert shown.stdout.splitlines()[0] == "0 | 10 | 01 | 10010010001"
