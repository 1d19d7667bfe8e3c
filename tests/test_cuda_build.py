"""The distribution refnum_cuda: its files, its wheel, and what its Python knows of its kernels."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from cuda import bridge  # before refnum_cuda, which it finds
from cuda.stage import KERNELS, Blank

import refnum
import refnum_cuda
from refnum_cuda import build, launch

DISTRIBUTION = bridge.CSRC.parents[1]
PROJECT = tomllib.loads((DISTRIBUTION / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def nvrtc() -> build.Nvrtc:
    (pinned,) = (each for each in PROJECT["build-system"]["requires"] if each.startswith("nvidia-cuda-nvrtc=="))
    found = [each.version for each in importlib.metadata.distributions(name="nvidia-cuda-nvrtc")]
    if pinned.partition("==")[2] not in found:
        pytest.skip(f"the compiler of the wheel is not installed: pip install {pinned}")
    return build.Nvrtc()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest source alone: all of them take minutes."""
    folder = tmp_path_factory.mktemp("csrc")
    for path in (bridge.CSRC / "probe.cu", *bridge.CSRC.glob("*.cuh")):
        shutil.copy(path, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- files ---------------------------------------------------------------------------------------


def test_two_builds_have_the_same_bytes(nvrtc: build.Nvrtc, sources: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build.build(nvrtc, sources, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_there_is_a_file_for_every_architecture(nvrtc: build.Nvrtc, sources: Path, tmp_path: Path) -> None:
    build.build(nvrtc, sources, tmp_path / "made")
    made = contents(tmp_path / "made")
    assert set(made) == {build.MANIFEST, *(build.file_name("probe", target) for target in build.TARGETS)}
    assert all(data[:4] == b"\x7fELF" for name, data in made.items() if name.endswith(".cubin"))
    assert b".version 9.0\n.target sm_80\n" in made["probe.compute_80.ptx"]


def test_the_manifest_has_every_files_checksum(tmp_path: Path) -> None:
    build.build(Blank(), into=tmp_path)
    made = contents(tmp_path)
    manifest = json.loads(made.pop(build.MANIFEST))
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in made.items()}
    assert (manifest["compiler"], manifest["driver"]) == ("blank 1", 13000)
    assert manifest["flags"] == list(build.FLAGS)
    assert "-fmad=false" in manifest["flags"]
    assert tuple(manifest["contracts"]) == refnum_cuda.CONTRACTS


def test_what_was_there_is_replaced_only_by_a_whole_build(tmp_path: Path) -> None:
    class Failing(Blank):
        def compile(self, source: Path, target: str) -> bytes:
            if target == build.TARGETS[-1]:
                raise build.CompilationError("not this one")
            return super().compile(source, target)

    (tmp_path / "stale.sm_70.cubin").write_bytes(b"old")
    with pytest.raises(build.CompilationError):
        build.build(Failing(), into=tmp_path)
    assert contents(tmp_path) == {"stale.sm_70.cubin": b"old"}
    build.build(Blank(), into=tmp_path)
    assert "stale.sm_70.cubin" not in contents(tmp_path)


UNUSED = 'extern "C" __global__ void rn_it(int *x) { int unused = 1; *x = 2; }'
SPILLS = """
extern "C" __global__ void __launch_bounds__(1024) rn_it(float *x) {
    float kept[128];
#pragma unroll
    for (int i = 0; i < 128; ++i) kept[i] = x[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 128; ++i) x[i] = kept[127 - i] * kept[i];
}"""


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("not C++", "error"),
        (UNUSED, "never referenced"),
        (SPILLS, "spilled"),
        ('#include "absent.cuh"', "absent.cuh"),
    ],
)
@pytest.mark.parametrize("compiler", ["nvrtc", "nvcc"])
def test_errors_warnings_and_spills_end_a_build(
    request: pytest.FixtureRequest, compiler: str, text: str, wrong: str, tmp_path: Path
) -> None:
    if compiler == "nvcc" and not shutil.which("nvcc"):
        pytest.skip("no nvcc on the PATH")
    made = request.getfixturevalue("nvrtc") if compiler == "nvrtc" else build.Nvcc()
    source = tmp_path / "it.cu"
    source.write_text(text)
    with pytest.raises(build.CompilationError, match=r"refused it\.cu for sm_80") as refused:
        made.compile(source, "sm_80")
    assert wrong in str(refused.value)


def test_nvcc_builds_the_same_kernels(sources: Path, tmp_path: Path) -> None:
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc on the PATH")
    build.build(build.Nvcc(), sources, tmp_path / "made", ("sm_90a", "compute_80"))
    made = contents(tmp_path / "made")
    assert b"rn_probe" in made["probe.sm_90a.cubin"]
    assert b".entry rn_probe(" in made["probe.compute_80.ptx"]


@pytest.mark.slow
def test_every_source_compiles_for_every_architecture_twice_the_same(nvrtc: build.Nvrtc, tmp_path: Path) -> None:
    for name in ("one", "two"):
        build.build(nvrtc, into=tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 1 + len(build.TARGETS) * len(list(bridge.CSRC.glob("*.cu")))


#: file -> machine instructions for Hopper that it has to have, and those that would be a slower or another way
INSTRUCTIONS = {
    "wgmma": ("HGMMA UTMALDG", "FFMA HMMA"),
    "wgmma_fp8": ("QGMMA UTMALDG", "FFMA HMMA"),
    "residues": ("IGMMA IMMA", "FFMA"),
    "matrixcore": ("HMMA LDSM", "FFMA"),
    "ordered": ("FFMA", "FMUL HMMA"),
}


@pytest.mark.slow
@pytest.mark.parametrize("stem", INSTRUCTIONS)
def test_machine_code_has_the_instructions_that_were_meant(nvrtc: build.Nvrtc, stem: str, tmp_path: Path) -> None:
    tool = shutil.which("cuobjdump")
    if tool is None:
        pytest.skip("no cuobjdump on the PATH: it comes with a CUDA toolkit")
    cubin = tmp_path / "it.cubin"
    cubin.write_bytes(nvrtc.compile(bridge.CSRC / f"{stem}.cu", "sm_90a"))
    code = subprocess.run([tool, "-sass", str(cubin)], check=True, capture_output=True, text=True).stdout
    found = set(re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+ )?([A-Z0-9]+)", code, re.MULTILINE))
    wanted, unwanted = (set(names.split()) for names in INSTRUCTIONS[stem])
    assert wanted <= found
    assert not found & (unwanted | {"LDL", "STL"})  # local memory: registers that were spilled


# ---- what Python knows of kernels ----------------------------------------------------------------


def parameter_sizes(ptx: str, name: str) -> list[int]:
    """Bytes of a kernel's parameters, as the compiler sees them."""
    head = ptx.split(f".entry {name}(")[1].split(")")[0]
    scalars = re.findall(r"\.param (?:\.align \d+ )?\.[bfus](\d+) \w+(?:\[(\d+)\])?", head)
    return [int(length) if length else int(bits) // 8 for bits, length in scalars]


@pytest.mark.parametrize("stem", sorted({kernel.stem for kernel in KERNELS}))
def test_parameters_have_the_compilers_sizes(nvrtc: build.Nvrtc, stem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "FLAGS", ("-std=c++17", "--device-debug"))  # nothing is optimised: that takes long
    ptx = nvrtc.compile(bridge.CSRC / f"{stem}.cu", "compute_80").decode()
    for kernel in KERNELS:
        if kernel.stem == stem:
            assert [ctypes.sizeof(kind) for kind in kernel.parameters] == parameter_sizes(ptx, kernel.name)


def test_arguments_become_objects_of_their_types() -> None:
    kernel = launch.Kernel("it", "rn_it", (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float))
    x = torch.ones(3)
    values = kernel.values((x, None, 1 << 40, 0.5))
    assert [value.value for value in values] == [x.data_ptr(), None, 1 << 40, 0.5]
    assert values[0] is not kernel.values((x, None, 1 << 40, 0.5))[0]
    with pytest.raises(ValueError, match="zip"):
        kernel.values((x, None, 1))


# ---- the wheel -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheels(nvrtc: build.Nvrtc, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two wheels of two copies of the distribution, with the smallest source alone."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    made = []
    for name in ("one", "two"):
        tree, into = (tmp_path_factory.mktemp(f"{kind}-{name}") for kind in ("tree", "wheel"))
        shutil.copytree(DISTRIBUTION, tree / "it", ignore=shutil.ignore_patterns("_bin", "csrc", "__pycache__"))
        shutil.copytree(sources, tree / "it" / "refnum_cuda" / "csrc")
        command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run([*command, "-w", str(into), str(tree / "it")], check=True)
        made += into.iterdir()
    return made


def test_the_wheel_is_pure_and_has_sources_and_files(wheels: list[Path]) -> None:
    assert wheels[0].name == f"refnum_cuda-{refnum_cuda.__version__}-py3-none-any.whl"
    names = set(zipfile.ZipFile(wheels[0]).namelist())
    assert {f"refnum_cuda/_bin/{build.file_name('probe', target)}" for target in build.TARGETS} <= names
    assert {"refnum_cuda/_bin/manifest.json", "refnum_cuda/csrc/probe.cu", "refnum_cuda/csrc/rn_port.cuh"} <= names
    assert not {name for name in names if name.endswith((".so", ".pyd"))}


def test_two_wheels_have_the_same_bytes(wheels: list[Path]) -> None:
    assert wheels[0].read_bytes() == wheels[1].read_bytes()


def test_installed_beside_a_torch_without_cuda_it_says_why_the_reference_serves(
    wheels: list[Path], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*command, str(wheels[0])], check=True)
    script = (
        "import sys, torch; torch.version.cuda = None\n"
        "import refnum; print(refnum.status()); print(refnum.encode(torch.ones(2), refnum.posit8).tolist())\n"
        "from refnum_cuda import driver, modules; print(len(modules.manifest()['files']), driver._library)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    why = r"backend: reference \(torch \S+ is built without CUDA \(torch\.version\.cuda is None\)\)"
    assert re.fullmatch(rf"{why}\n\[64, 64\]\n{len(build.TARGETS)} None\n", said.stdout)
    assert said.stderr == ""


def test_the_distribution_is_of_refnums_version() -> None:
    assert refnum_cuda.__version__ == refnum.__version__
    assert PROJECT["project"]["dependencies"] == [f"refnum=={refnum.__version__}"]
    extras = tomllib.loads((DISTRIBUTION.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["cuda"] == [f"refnum-cuda=={refnum.__version__}"]
    assert PROJECT["project"]["entry-points"] == {"refnum.backends": {"cuda": "refnum_cuda:register"}}


def test_the_compiler_is_pinned() -> None:
    pinned = [each for each in PROJECT["build-system"]["requires"] if each.startswith("nvidia-cuda-nvrtc==")]
    assert len(pinned) == 1
    major, minor, _ = pinned[0].split("==")[1].split(".")
    assert 1000 * int(major) + 10 * int(minor) == build.DRIVER
