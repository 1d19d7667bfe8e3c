"""The probe of tensor cores: who holds what, what tells models apart, and reports of bits that differ."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cuda import bridge
from cuda.simulate import CHOICES, Choice, Kernels  # before refnum_cuda, which it finds
from refnum_cuda.tensorcores import comparison
from refnum_cuda.tensorcores.instructions import (
    ARCHITECTURES,
    COLUMNS,
    INSTRUCTIONS,
    LARGE,
    ROWS,
    Instruction,
    Model,
    on_gpu,
    prepared,
)
from refnum_cuda.tensorcores.measures import MEASURES, Bench, Dot, Pattern, measured
from refnum_cuda.tensorcores.operands import KINDS, tiles_of
from refnum_cuda.tensorcores.others import others
from torch import Tensor

import refnum
from refnum.sums import tensorcore
from refnum.testing import assert_bit_equal
from refnum_cuda import build

HOPPER = Model("hopper")
SCRIPT = Path(build.HERE).parent / "probe_tc.py"


def whole(instruction: Instruction, tiles: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and C of integers so small that every sum is exact."""
    draw = torch.Generator().manual_seed(steps)
    terms = steps * instruction.terms
    shapes = (tiles, ROWS, terms), (tiles, COLUMNS, terms), (tiles, ROWS, COLUMNS)
    a, b, c = (
        torch.randint(-3, 4, shape, generator=draw).float().to(dtype)
        for shape, dtype in zip(shapes, instruction.dtypes, strict=True)
    )
    return a, b, c


def exact(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """D of exact sums."""
    return (a.double() @ b.double().mT + c.double()).to(c.dtype)


# ---- kernels, on the CPU ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernels() -> Kernels:
    text = (bridge.CSRC / "probe_tc.cu").read_text()
    return Kernels(f'#include "probe_tc.h"\n#line 1 "probe_tc.cu"\n{text}', *(f"rn_{name}" for name in INSTRUCTIONS))


def simulated(kernels: Kernels, name: str, a: Tensor, b: Tensor, c: Tensor, choice: Choice = CHOICES[0]) -> Tensor:
    """D by fewer blocks than tiles."""
    d = torch.full_like(c, torch.nan)
    kernel, _, block, shared, *arguments = prepared(INSTRUCTIONS[name], a, b, c, d)
    kernels.run(kernel.name, 2, block, *arguments, shared=shared, choice=choice)
    return d


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_every_word_goes_where_the_instruction_has_it(kernels: Kernels, name: str) -> None:
    sides = whole(INSTRUCTIONS[name], 3, 2)
    choice = CHOICES[len(name) % len(CHOICES)]
    assert_bit_equal(simulated(kernels, name, *sides, choice=choice), exact(*sides))


def test_the_pieces_need_both_barriers(kernels: Kernels) -> None:
    name = "wgmma_e4m3_e5m2_k32"
    sides = whole(INSTRUCTIONS[name], 5, 3)
    assert_bit_equal(simulated(kernels, name, *sides), exact(*sides))
    barriers = {number: what for number, what in kernels.sites().items() if "__syncthreads" in what}
    assert len(barriers) == 2
    for number, what in barriers.items():
        wrong = [simulated(kernels, name, *sides, choice=choice._replace(without=number)) for choice in CHOICES]
        assert any(not torch.equal(d, exact(*sides)) for d in wrong), f"nothing needs {what}"


MUTANTS_OF_KERNELS = {
    "of descriptors with their distances exchanged": (
        "encoded(LEADING) << 16 | encoded(STRIDE) << 32",
        "encoded(STRIDE) << 16 | encoded(LEADING) << 32",
    ),
    "of registers of A in another order": ("i % 2 * 8 * pitch + i / 2 * 4", "i / 2 * 8 * pitch + i % 2 * 4"),
    "of steps that start anew": ("of.c[place]; });\n", "of.c[place]; });\n        if (of.steps > 1) sums[0] = 0;\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", MUTANTS_OF_KERNELS)
def test_mutants_of_kernels_have_other_bits(what: str) -> None:
    text, (right, wrong) = (bridge.CSRC / "probe_tc.cu").read_text(), MUTANTS_OF_KERNELS[what]
    assert text.count(right) == 1
    names = "mma_bf16_k16", "wgmma_bf16_k16"
    mutant = Kernels(f'#include "probe_tc.h"\n{text.replace(right, wrong)}', *(f"rn_{name}" for name in names))
    sides = whole(INSTRUCTIONS[names[0]], 3, 2)
    assert any(not torch.equal(simulated(mutant, name, *sides), exact(*sides)) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("target", build.TARGETS)
def test_files_have_the_instructions_of_their_gpus(target: str) -> None:
    try:
        importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    data = build.Nvrtc().compile(build.SOURCES / "probe_tc.cu", target)
    digits = target.split("_")[1].rstrip("a")
    capability = int(digits[:-1]), int(digits[-1])
    for name, instruction in INSTRUCTIONS.items():
        assert (f"rn_{name}(".encode() in data or f"rn_{name}\0".encode() in data) == instruction.runs_on(capability)


# ---- models -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("capability", "architecture"), ARCHITECTURES.items())
def test_every_instruction_has_a_row(capability: tuple[int, int], architecture: str) -> None:
    model = Model(architecture)
    rows = {name: model.row(one) for name, one in INSTRUCTIONS.items() if one.runs_on(capability)}
    assert len(rows) == {"ampere": 8, "ada": 24, "hopper": 36, "blackwell": 24}[architecture]
    for name, row in rows.items():
        assert INSTRUCTIONS[name].terms % row.terms == 0
        assert row.results[0] == INSTRUCTIONS[name].accumulator


def test_eight_bits_go_through_float16_by_pairs() -> None:
    """2**16 at k = 0 and its negative at k = 2 lie in different blocks, so what is beside them is rounded away."""
    instruction = INSTRUCTIONS["mma_e5m2_e5m2_k32"]
    bench = Bench(instruction, HOPPER, "cpu")
    large, one, none = (2.0**15, 2.0**13), (2.0**-10, 2.0**-10), (0.0, 0.0)
    minus = -large[0], large[1]
    together, apart = Dot([large, minus, one]), Dot([large, none, minus, one])
    before, after = Dot([large, one, minus]), Dot([large, none, minus, none, none, none, one])
    assert bench.values([together, apart, before, after]) == [2.0**-20, 0.0, 0.0, 0.0]
    # C comes last, and is added to nearest even.
    assert bench.values([Dot([(2.0**-12, 2.0**-12)], 1 + 2.0**-23), Dot([(2.0**-12, 2.0**-12)], 1.0)]) == [
        1 + 2.0**-22,
        1.0,
    ]


# ---- measures -----------------------------------------------------------------------------------------------------

EXPECTED = {
    "bits kept of a product beside larger products": "25",
    "the same below 0": "25",
    "bits kept of a product beside a larger C": "25",
    "bits kept of C beside larger products": "25",
    "1.5 units, -1.5 units, 2 halves, more halves": "1 -1 0 0",
    "bits kept beside 1.5 * 1.5": "25",
    "bits kept beside a subnormal times a large number": "24",
    "2**-60 counts beside 0 * 2**x and 2**x * 0 up to x": "127 or more / 127 or more",
    "2**-139 as C counts beside 0 * 2**x and 2**x * 0 up to x": "127 or more / 127 or more",
    "2**-149 by parts down to 2**-(149 + n); C = 0, -0; beside 0 * 2**127": "9 / 9 / 9",
    "blocks of k": "0-15",
    "bits kept in the result": "23 or more, C alone 23 or more",
    "rounding to the result": "0 0 0 | 1 1 1 | 0 0 0 | -1 -1 -1",
    "subnormals": "operand kept, C kept, result kept",
    "NaN": " ".join(["7fffffff"] * 6),
    "overflow": "7f7fffff 7f800000 ff7fffff ff800000 00000000",
    "zeros": " ".join(["00000000"] * 5),
    "low bits of tf32": "none",
}


def mutant(name: str, change: dict[str, object], architecture: str = "hopper") -> Model:
    """The model with another row for an instruction."""
    model = Model(architecture)
    row = model.row(INSTRUCTIONS[name])
    return replace(model, rows={**model.rows, row.name: replace(row, **change)})


def test_measures_of_the_model() -> None:
    assert measured(INSTRUCTIONS["mma_bf16_k16"], HOPPER) == EXPECTED
    assert measured(INSTRUCTIONS["wgmma_bf16_k16"], HOPPER) == EXPECTED
    found = {name: measured(INSTRUCTIONS[name], HOPPER) for name in ("wgmma_e5m2_e5m2_k32", "mma_f16_k8_acc16")}
    assert found["wgmma_e5m2_e5m2_k32"]["bits kept in the result"] == "13, C alone 13"
    assert found["wgmma_e5m2_e5m2_k32"]["bits kept of a product beside larger products"] == "13"
    assert found["mma_f16_k8_acc16"]["rounding to the result"] == "0 0 1 | 1 2 2 | 0 0 -1 | -1 -2 -2"
    assert found["mma_f16_k8_acc16"]["blocks of k"] == "0-7"
    ampere = measured(INSTRUCTIONS["mma_f16_k16"], Model("ampere"))
    assert ampere["blocks of k"] == "0-7 | 8-15"
    assert ampere["bits kept of a product beside larger products"] == "24"
    through = measured(INSTRUCTIONS["mma_e4m3_e4m3_k16"], HOPPER)
    assert through["blocks of k"] == "0-1,4-5,8-9,12-13 | 2-3,6-7,10-11,14-15"
    tf32 = measured(INSTRUCTIONS["mma_tf32_k4"], HOPPER)
    assert tf32["low bits of tf32"] == "3f800000 3f800000 7f800000 ff800000"


NEAREST = tensorcore.FLOAT32._replace(rounding="nearest_even")
MUTANTS: dict[str, tuple[dict[str, object], dict[str, str]]] = {
    "fraction": (
        {"fraction": 24},
        {
            "bits kept of a product beside larger products": "24",
            "the same below 0": "24",
            "bits kept of a product beside a larger C": "24",
            "bits kept of C beside larger products": "24",
        },
    ),
    "rounding": (
        {"accumulator": NEAREST},
        {
            "rounding to the result": "0 0 1 | 1 2 2 | 0 0 -1 | -1 -2 -2",
            "overflow": "7f800000 7f800000 ff800000 ff800000 00000000",
        },
    ),
    "blocks": ({"terms": 4}, {"blocks of k": "0-3 | 4-7 | 8-11 | 12-15"}),
    "exponent of 0": (
        {"zero": tensorcore.ZERO, "least": tensorcore.ZERO},
        {
            "2**-60 counts beside 0 * 2**x and 2**x * 0 up to x": "91 / 91",
            "2**-139 as C counts beside 0 * 2**x and 2**x * 0 up to x": "12 / 12",
            "2**-149 by parts down to 2**-(149 + n); C = 0, -0; beside 0 * 2**127": "2 / 2 / none",
        },
    ),
    "the largest exponent": (
        {"least": -512},
        {"2**-149 by parts down to 2**-(149 + n); C = 0, -0; beside 0 * 2**127": " / ".join(["16 or more"] * 3)},
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_measures_tell_what_is_other(name: str) -> None:
    change, expected = MUTANTS[name]
    found = measured(INSTRUCTIONS["mma_bf16_k16"], mutant("mma_bf16_k16", change))
    assert {measure: found[measure] for measure in expected} == expected
    assert found["NaN"] == EXPECTED["NaN"]


def test_measures_do_not_know_the_model() -> None:
    """Exact sums, and floors for cuts: each is told."""
    instruction = INSTRUCTIONS["mma_bf16_k16"]
    summed = measured(instruction, lambda row, a, b, c: exact(a, b, c))
    assert summed["bits kept of a product beside larger products"] == "60 or more"
    assert summed["blocks of k"] == "0-15"
    bench = Bench(instruction, lambda row, a, b, c: floored(a, b, c), "cpu")
    found = {name: str(measure(bench)) for name, measure in MEASURES.items() if "kept" in name or "below" in name}
    assert found["bits kept of a product beside larger products"] == "30"
    assert found["the same below 0"] == "60 or more"


def floored(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Every product rounded down to a multiple of 2**(14 - 30)."""
    unit = 2.0**-16
    products = a.double()[:, :, None] * b.double()[:, None]
    return ((products / unit).floor().sum(-1) * unit + c.double()).to(c.dtype)


@pytest.mark.parametrize("value", [0.0, 1.0, torch.nan, torch.inf])
def test_measures_of_any_machine_come_to_an_end(value: float) -> None:
    for name in ("mma_bf16_k16", "mma_tf32_k4", "wgmma_e4m3_e4m3_k32_acc16"):
        found = measured(INSTRUCTIONS[name], lambda row, a, b, c: torch.full_like(c, value))
        assert found.keys() == MEASURES.keys()


def test_patterns_are_put_as_they_are() -> None:
    bench = Bench(INSTRUCTIONS["mma_tf32_k8"], lambda row, a, b, c: a[:, :, :COLUMNS].contiguous(), "cpu")
    dots = [Dot([(0.0, 0.0)] * k + [(Pattern(0xFF812345), 1.0)]) for k in range(5)]
    assert bench.patterns(dots) == " ".join(["ff812345"] * 5)


# ---- operands -----------------------------------------------------------------------------------------------------

TOLD_APART = ("mma_bf16_k16", "wgmma_e4m3_e5m2_k32", "wgmma_f16_k16_acc16", "mma_tf32_k8")


@pytest.mark.parametrize("name", TOLD_APART)
def test_some_family_notices_every_change_of_a_row(name: str) -> None:
    instruction = INSTRUCTIONS[name]
    sides = [tiles_of(kind, instruction, 4, 2) for kind in KINDS]
    want = [HOPPER(instruction, *side) for side in sides]
    row = HOPPER.row(instruction)
    for what, other in list(comparison.changed(row))[1:]:
        if "of 0" in what and row.accumulator == tensorcore.FLOAT16:
            continue  # 0 * 2**15 is 2**-111: less than any float16, and than any product of two
        if "at least" in what and row.formats[0].max_scale < 100:
            continue  # no product is so small
        model = replace(HOPPER, rows={**HOPPER.rows, row.name: other})
        got = [model(instruction, *side) for side in sides]
        assert sum(int(comparison.differing(x, y).sum()) for x, y in zip(got, want, strict=True)), what


@pytest.mark.parametrize("name", ["mma_bf16_k16", "mma_f16_k8", "wgmma_e4m3_e5m2_k32", "mma_tf32_k4"])
@pytest.mark.parametrize("right", [tensorcore.NOTHING, tensorcore.ZERO])
def test_families_notice_another_exponent_of_0(name: str, right: int) -> None:
    instruction = INSTRUCTIONS[name]
    families = [tiles_of(kind, instruction, 16) for kind in ("zeros beside huge", "zeros beside C")]

    def found(zero: int) -> Tensor:
        return torch.stack([mutant(name, {"zero": zero})(instruction, *sides) for sides in families])

    want = found(right)
    for zero in {tensorcore.NOTHING, tensorcore.ZERO, -127, -125, 0} - {right}:
        assert comparison.differing(found(zero), want).any(), zero


@pytest.mark.parametrize("name", ["mma_bf16_k16", "mma_bf16_k8", "mma_tf32_k8", "mma_tf32_k4"])
def test_products_deep_down_notice_another_largest_exponent(name: str) -> None:
    instruction = INSTRUCTIONS[name]
    sides = tiles_of("deep down", instruction, 16)
    want = HOPPER(instruction, *sides)
    for least in (-512, -134, -132, -126):
        assert comparison.differing(mutant(name, {"least": least})(instruction, *sides), want).any(), least


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_operands_are_drawn_the_same_again(name: str) -> None:
    for kind in KINDS:
        first, again = (tiles_of(kind, INSTRUCTIONS[name], 2) for _ in range(2))
        for x, y, dtype in zip(first, again, INSTRUCTIONS[name].dtypes, strict=True):
            assert x.dtype == dtype
            assert not comparison.differing(x, y).any()


def test_families_reach_what_they_are_for() -> None:
    instruction = INSTRUCTIONS["mma_bf16_k16"]
    sides = {kind: tiles_of(kind, instruction, 4) for kind in KINDS}
    found = {kind: HOPPER(instruction, *side) for kind, side in sides.items()}
    odd = {"overflowing", "specials", "finite patterns", "patterns"}
    assert all(d.isfinite().all() for kind, d in found.items() if kind not in odd)
    assert all(found[kind].isinf().any() for kind in odd)
    assert found["specials"].isnan().any()
    assert all(found[kind].isfinite().any() for kind in ("specials", "overflowing"))
    payloads = sides["specials"][2][sides["specials"][2].isnan()].view(torch.int32).unique()
    assert len(payloads[payloads < 0]) > 9
    assert len(payloads[payloads > 0]) > 9
    subnormal = found["vanishing"].abs()
    assert ((subnormal > 0) & (subnormal < 2.0**-126)).any()
    assert sides["minus zeros"][2].view(torch.int32).eq(-(1 << 31)).any()
    assert all((found[kind] == 0).any() for kind in ("cancelling", "taken away"))


# ---- comparisons --------------------------------------------------------------------------------------------------


PLANTED: dict[str, dict[str, object]] = {
    "fraction 24": {"fraction": 24},
    "rounded nearest_even": {"accumulator": NEAREST},
}


@pytest.mark.parametrize("closest", PLANTED)
def test_a_planted_error_is_reported_with_operands(closest: str) -> None:
    name = "mma_bf16_k16"
    wrong = mutant(name, PLANTED[closest])
    report = comparison.compare(INSTRUCTIONS[name], wrong, HOPPER, 60_000)
    assert 0 < report.differing < report.compared
    assert report.reference.differing == 0
    assert next(iter(report.closest.items())) == (closest, 0)
    examples = [example for tally in report.families.values() for example in tally.examples]
    assert all(len(tally.examples) == min(tally.differing, comparison.EXAMPLES) for tally in report.families.values())
    for example in examples[:: len(examples) // 10]:
        a, b, c = (tuple(Pattern(int(code, 16)) for code in example[part].split()) for part in "abc")
        dot = Dot(tuple(zip(a, b, strict=True)), *c)
        steps = replace(INSTRUCTIONS[name], terms=len(a))  # whose blocks are the row's
        for model, part in ((wrong, "got"), (HOPPER, "want")):
            rows = {f"hopper.{steps.row}": model.row(INSTRUCTIONS[name])}
            assert Bench(steps, replace(model, rows=rows), "cpu").patterns([dot]) == example[part]


def test_wgmma_is_compared_with_mma() -> None:
    row, twin = INSTRUCTIONS["wgmma_f16_k16"], INSTRUCTIONS["mma_f16_k16"]
    wrong = mutant(row.name, {"fraction": 24})

    def machine(instruction: Instruction, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return (wrong if instruction == row else HOPPER)(instruction, a, b, c)

    beside = others(row, machine, HOPPER, "cpu", kernels=True)
    report = comparison.compare(row, machine, HOPPER, 20_000, beside=beside)
    assert row.twin == twin
    assert beside.keys() == {"mma.sync"}
    assert report.beside["mma.sync"].compared == report.compared
    assert report.beside["mma.sync"].differing == report.differing > 0


def test_gemm_has_the_contracts_of_the_instructions() -> None:
    for name in ("wgmma_bf16_k16", "mma_f16_k8_acc16", "wgmma_e4m3_e5m2_k32", "mma_tf32_k4"):
        a, b, c = tiles_of("spread 3", INSTRUCTIONS[name], 2, 2)
        contract = HOPPER.contract(INSTRUCTIONS[name])
        with refnum.use_backend("reference"):
            want = refnum.gemm(a, b.mT, c, contract=contract, out_dtype=c.dtype)
        assert_bit_equal(HOPPER(INSTRUCTIONS[name], a, b, c), want)


def run(*options: str) -> str:
    """What the script prints."""
    command = [sys.executable, str(SCRIPT), "--emulate", "9.0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("emulated", "told"),
    [
        ("nine", "argument --emulate: invalid capability value: 'nine'"),
        ("12.0", "refnum has no model of tensor cores of compute capability 12.0"),
    ],
)
def test_what_has_no_model_is_told(emulated: str, told: str) -> None:
    command = [sys.executable, str(SCRIPT), "--emulate", emulated]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stdout + done.stderr


def test_the_script_writes_what_it_found(tmp_path: Path) -> None:
    files = tmp_path / "found.json", tmp_path / "vectors.npz"
    text = run("--only", "gmma_bf16", "--outputs", "60000", "--json", str(files[0]), "--vectors", str(files[1]))
    assert "wgmma_bf16_k16: 0 of 61440 differ from tc.hopper.bf16/v1; 0 from mma.sync; 0 of" in text
    assert "MODEL" not in text
    found = json.loads(files[0].read_text())
    assert found["reports"]["wgmma_bf16_k16"]["differing"] == 0
    assert found["properties"]["wgmma_bf16_k16"]["blocks of k"] == ["0-15", "0-15"]
    with np.load(files[1], allow_pickle=False) as arrays:
        assert arrays["kinds"].tolist() == list(KINDS)
        for terms in (16, 32):
            parts = {part: arrays[f"hopper.wgmma_bf16_k16.K{terms}/{part}"] for part in ("a", "b", "c", "d", "kind")}
            count = 3 * len(KINDS)
            assert parts["a"].shape == (count, 16, terms)
            assert parts["b"].shape == (count, terms, COLUMNS)
            assert parts["kind"].tolist() == [kind for kind in range(len(KINDS)) for _ in range(3)]
            a, b, c, d = (torch.from_numpy(parts[part].view(f"i{parts[part].itemsize}")) for part in "abcd")
            got = tensorcore.tensorcore_mm(
                *(a.view(torch.bfloat16), b.view(torch.bfloat16), c.view(torch.float32), torch.float32),
                instruction=tensorcore.INSTRUCTIONS["hopper.bf16"],
            )
            assert_bit_equal(got, d.view(torch.float32))


@pytest.mark.slow
def test_vectors_of_all_instructions_fit_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npz"
    assert "0 of 2801664 results differ" in run("--outputs", "2600000", "--vectors", str(path))
    assert path.stat().st_size < 8_000_000


# ---- on a GPU -----------------------------------------------------------------------------------------------------

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")


def on_this_gpu(name: str) -> Instruction:
    """The instruction; skips where the GPU does not have it."""
    if not INSTRUCTIONS[name].runs_on(torch.cuda.get_device_capability()):
        pytest.skip("this GPU does not have it")
    return INSTRUCTIONS[name]


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_layout_of_every_instruction(name: str) -> None:
    instruction = on_this_gpu(name)
    for steps in (1, 3):
        sides = whole(instruction, 5, steps)
        got = on_gpu(instruction, *(side.cuda() for side in sides)).cpu()
        assert_bit_equal(got, exact(*sides))


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_hardware_has_the_models_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for constant, much in LARGE.items():
        monkeypatch.setattr(tensorcore, constant, much)
    model = Model(ARCHITECTURES[torch.cuda.get_device_capability()])
    report = comparison.compare(on_this_gpu(name), on_gpu, model, 100_000, "cuda")
    assert report.reference.differing == 0
    assert report.differing == 0, {kind: tally.examples[:1] for kind, tally in report.families.items()}
