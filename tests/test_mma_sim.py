"""The peer MMA-Sim: its instructions for our contracts, how products are made of them, the table, what is recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from float_sums import VECTORS
from refnum_conformance.peers import mma_sim
from refnum_conformance.tile_inputs import KINDS

from refnum.sums import matrixcore, tensorcore

FAKES = {
    "amd": """
        from refnum.sums.matrixcore import INSTRUCTIONS, matrixcore_mm
        from refnum_conformance.peers.mma_sim import UNITS

        def pairwise_dot(a, b, flushes=False):
            assert a.dtype == b.dtype == torch.float32
            return (a * b).sum()

        class mfma:
            def __init__(self, architecture, qualifier):
                assert qualifier.startswith("f32_")
                names = [
                    name
                    for name, unit in UNITS.items()
                    if unit.architecture == architecture and unit.shape.split("_{")[0] in qualifier
                ]
                self.row = INSTRUCTIONS[names[0]]
                self.k = self.row.terms

            def __call__(self, a, b, c):
                assert a.shape == (self.m, self.k) and b.shape == (self.k, self.n) and c.shape == (self.m, self.n)
                pairwise_dot(a[0], b[:, 0])
                d = matrixcore_mm(a, b, c, torch.float32, instruction=self.row)
                for x in (a, b, c):
                    x.zero_()
                return d
    """,
    "nv_ptx": """
        from refnum_conformance.peers.mma_sim import _ours

        class wgmma:
            def __init__(self, architecture, qualifier):
                assert (architecture, qualifier) == ("Hopper", "m64n8k16.f32.bf16.bf16")
                self.k = 16

            def __call__(self, a, b, c):
                return _ours("hopper.bf16", a, b, c) + ERROR
    """,
}


def checkout(path: Path, error: float = 0.0) -> Path:
    """A fake one, which is right but for an error of Hopper's results."""
    package = path / "mmasim" / "simulator"
    package.mkdir(parents=True)
    for place in (package.parent, package):
        (place / "__init__.py").write_text("")
    for name, text in FAKES.items():
        lines = "\n".join(line.removeprefix(" " * 8) for line in text.splitlines())
        (package / f"{name}.py").write_text(f"import torch\nERROR = {error}\n{lines}\n")
    return path


def test_every_instruction_of_matrices_has_a_name_there() -> None:
    rows = {**matrixcore.INSTRUCTIONS, **{k: row for k, row in tensorcore.INSTRUCTIONS.items() if not row.blocks}}
    assert mma_sim.units().keys() == rows.keys()
    for name, row in rows.items():
        assert list(mma_sim.types(name)) == [(a, b, row.biases[0]) for a in row.operands for b in row.operands]


def test_qualifiers() -> None:
    units = mma_sim.units()
    e4m3, e5m2 = torch.float8_e4m3fn, torch.float8_e5m2
    fp8, bf8 = torch.float8_e4m3fnuz, torch.float8_e5m2fnuz
    for name, types, qualifier in (
        ("ampere.tf32", (torch.float32,) * 3, "m16n8k8.f32.tf32.tf32.f32"),
        ("volta.f16.acc16", (torch.float16,) * 3, "m8n8k4.f16.f16.f16.f16"),
        ("hopper.fp8", (e4m3, e5m2, torch.float32), "m64n8k32.f32.e4m3.e5m2"),
        ("cdna3.fp8.k16", (bf8, fp8, torch.float32), "f32_32x32x16_bf8_fp8"),
        ("cdna1.bf16", (torch.bfloat16, torch.bfloat16, torch.float32), "f32_16x16x8bf16"),
    ):
        assert units[name].qualifier(*types) == qualifier


def test_a_product_is_one_instruction_after_the_other(tmp_path: Path) -> None:
    simulator = mma_sim.Simulator(checkout(tmp_path))
    for name, dtype in (("cdna2.bf16.k2", torch.bfloat16), ("cdna3.fp8", torch.float8_e5m2fnuz)):
        a, b, c = mma_sim.tile("wide", (dtype, dtype, torch.float32), (3, 4, 37), 0)
        want = matrixcore.matrixcore_mm(a, b, c, torch.float32, instruction=matrixcore.INSTRUCTIONS[name])
        before = [x.view(torch.uint8).clone() for x in (a, b, c)]
        got = simulator.product(name, a, b, c)
        assert torch.equal(mma_sim.patterns(got), mma_sim.patterns(want))
        assert all(torch.equal(x.view(torch.uint8), y) for x, y in zip((a, b, c), before, strict=True))


@pytest.mark.parametrize("error", [0.0, 1.0])
def test_the_table(error: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = checkout(tmp_path, error)
    assert mma_sim.main([str(path), "--only", "hopper.bf16", "--rounds", "2"]) == (error != 0)
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["contract", "results", "mismatches"]
    name, results, mismatches = row.split()
    assert (name, results) == ("tc.hopper.bf16/v1", f"{2 * 2 * 24 * len(KINDS):,}")
    assert (mismatches == "0") == (error == 0)


def test_what_cannot_run_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mma_sim.main([str(tmp_path)]) == 2
    assert "is no checkout of MMA-Sim: git clone https://github.com/microsoft/MMA-Sim" in capsys.readouterr().err
    assert mma_sim.main([str(checkout(tmp_path)), "--only", "cdna9.f16"]) == 2
    assert "There is no 'cdna9.f16'. Choose among volta.f16," in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="no checkout"):
        mma_sim.Simulator(tmp_path / "elsewhere")


def test_what_is_recorded_can_be_recorded_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operands are those of the recorded results; here so are the results, which are ours."""
    file = tmp_path / "again.npz"
    assert mma_sim.main([str(checkout(tmp_path)), "--record", str(file)]) == 0
    assert capsys.readouterr().out == "310 arrays\n"
    with np.load(file, allow_pickle=False) as got, np.load(VECTORS / "gemm_mfma.npz", allow_pickle=False) as want:
        assert got.files == want.files
        for key in want.files:
            assert got[key].dtype == want[key].dtype
            assert np.array_equal(got[key], want[key]), key
