"""The leaderboards' own harness (gpu-mode/reference-kernels), unmodified, on a machine without a GPU.

    python -m refnum_conformance.peers.leaderboard --checkout reference-kernels             # small shapes
    python -m refnum_conformance.peers.leaderboard --checkout reference-kernels --full      # the shapes of the site

A run lays out a problem as its ``task.yml`` says, starts the checkout's ``eval.py``, and reads what it writes to
POPCORN_FD. The reference or the kernel in it are the checkout's, or refnum's from ``examples/leaderboard``. What needs
a GPU is replaced in every process of a run, the spawned ones too, by `install`, which a ``sitecustomize`` beside
eval.py calls. Devices become the CPU, waiting for them nothing, and the kernels of aiter and of torch's scaled product
are refnum's. So a run proves contracts, layouts and tolerances; it proves nothing of the hardware's arithmetic.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch.overrides import TorchFunctionMode

import refnum
from refnum import mx

ROOT = Path(__file__).parents[3]
SECONDS = 3600  #: after which a run hangs
PASSED, FAILED = 0, 112
FP4, E8M0 = torch.float4_e2m1fn_x2, torch.float8_e8m0fnu


# ---- what stands in for a GPU ----------------------------------------------------------------------------------------


def install() -> None:
    """Replace, in this process, whatever of the harness needs a GPU."""
    OnCpu().__enter__()
    for name, names in MODULES.items():
        sys.modules[name] = module = ModuleType(name)
        vars(module).update(names)
    for owner, name, substitute in (
        (torch, "Generator", CpuGenerator),
        (torch, "_scaled_mm", scaled_mm),
        (torch.cuda, "synchronize", _nothing),
        (torch.cuda, "Event", Event),
        (import_module("utils"), "clear_l2_cache", _nothing),
        (import_module("utils"), "clear_l2_cache_large", _nothing),  # it allocates 67 GB
    ):
        setattr(owner, name, substitute)


def _nothing(*_: object, **__: object) -> None:
    """In place of what only a GPU needs."""


def _on_cpu(x: Any) -> Any:
    if isinstance(x, torch.device) or (isinstance(x, str) and x.startswith("cuda")):
        return torch.device("cpu")
    return x


class OnCpu(TorchFunctionMode):
    """Every device that torch is given is the CPU."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function with other devices."""
        if function is Tensor.cuda:
            return args[0]
        return function(*map(_on_cpu, args), **{key: _on_cpu(value) for key, value in (kwargs or {}).items()})


class CpuGenerator(torch.Generator):
    """A generator of the CPU, whatever device it is asked for."""

    def __new__(cls, device: Any = "cpu") -> CpuGenerator:
        """Leave the device out."""
        return super().__new__(cls, "cpu")


class Event:
    """A moment, as torch.cuda.Event has it."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        """Take the time."""
        self._at = time.perf_counter()

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds from this moment to a later one."""
        return 1e3 * (later._at - self._at)


def scaled_mm(a: Tensor, b: Tensor, scale_a: Tensor, scale_b: Tensor, *, bias: None, out_dtype: torch.dtype) -> Tensor:
    """NVFP4 a [m, k / 2] times b [k / 2, n], with scales in the blocks of tensor cores."""
    left, right = _nvfp4(a, scale_a), _nvfp4(b.transpose(0, 1), scale_b)
    return refnum.mx_mm(left, right, contract="unversioned/torch.mm", out_dtype=out_dtype)


def _nvfp4(codes: Tensor, blocked: Tensor) -> mx.Blocks:
    rows, half = codes.shape
    return mx.Blocks(codes, mx.from_blocked(blocked, (rows, half // 8)), refnum.nvfp4, (rows, 2 * half))


# ---- aiter, as far as the problems use it ----------------------------------------------------------------------------


class QuantType(enum.Enum):
    """Of aiter's kinds of quantization the one that the problems name."""

    per_1x32 = enum.auto()


class ActivationType(enum.Enum):
    """Of aiter's activations the one that the problems name."""

    Silu = enum.auto()


def dynamic_mxfp4_quant(x: Tensor) -> tuple[Tensor, Tensor]:
    """Packed elements and scales as bytes."""
    blocks = mx.quantize(x, refnum.mxfp4, profile="aiter/v2")
    return blocks.elements, blocks.scales


def get_torch_quant(kind: QuantType) -> Callable[..., tuple[Tensor, Tensor]]:
    """The quantizer of weights: scales rounded up, experts and rows of scales in one axis."""
    assert kind is QuantType.per_1x32

    def quantize(x: Tensor, quant_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        elements, scales = mx.quantize(x, refnum.mxfp4, profile="aiter/v2", scale="rceil").to_torch()
        return elements.view(quant_dtype), scales.reshape(-1, scales.shape[-1])

    return quantize


def _mxfp4(elements: Tensor, scales: Tensor) -> mx.Blocks:
    rows, half = elements.shape
    return mx.Blocks(elements, mx.unshuffle_scale(scales, (rows, half // 16)), refnum.mxfp4, (rows, 2 * half))


def gemm_a4w4(
    a: Tensor, b: Tensor, a_scale: Tensor, b_scale: Tensor, *, dtype: torch.dtype, bpreshuffle: bool
) -> Tensor:
    """MXFP4 times MXFP4; scales come shuffled, b too if it says so."""
    b = mx.unshuffle_weight(b) if bpreshuffle else b
    return refnum.mx_mm(_mxfp4(a, a_scale), _mxfp4(b, b_scale), contract="unversioned/torch.mm", out_dtype=dtype)


def fused_moe(
    hidden: Tensor,
    w1: Tensor,
    w2: Tensor,
    weights: Tensor,
    ids: Tensor,
    *,
    w1_scale: Tensor,
    w2_scale: Tensor,
    hidden_pad: int,
    intermediate_pad: int,
    **_: object,
) -> Tensor:
    """Every expert on the tokens that are routed to it, activations quantized before both products."""
    x = torch.nn.functional.pad(hidden, (0, hidden_pad))
    total = torch.zeros(x.shape, dtype=torch.float32)
    first, second = _experts(w1, w1_scale), _experts(w2, w2_scale)
    for e in sorted({*ids.flatten().tolist()}):
        token, rank = (ids == e).nonzero(as_tuple=True)
        gate, up = _moe_product(x[token], first[e]).chunk(2, -1)
        inner = silu(gate) * up
        inner[:, inner.shape[1] - intermediate_pad :] = 0
        total[token] += weights[token, rank, None] * _moe_product(inner.bfloat16(), second[e])
    return total[:, : hidden.shape[1]].bfloat16()


def _experts(elements: Tensor, scales: Tensor) -> list[mx.Blocks]:
    experts, rows, half = elements.shape
    scales = mx.unshuffle_scale(scales, (experts * rows, half // 16)).view(experts, rows, -1)
    pairs = zip(mx.unshuffle_weight(elements), scales, strict=True)
    return [mx.Blocks(*pair, refnum.mxfp4, (rows, 2 * half)) for pair in pairs]


def _moe_product(x: Tensor, weight: mx.Blocks) -> Tensor:
    left = mx.quantize(x, refnum.mxfp4, profile="aiter/v2")
    return refnum.mx_mm(left, weight, contract="unversioned/torch.mm", out_dtype=torch.float32)


class _Dtypes:
    fp4x2, fp8_e8m0, bf16 = FP4, E8M0, torch.bfloat16


class _Fp4Utils:
    e8m0_shuffle = staticmethod(mx.shuffle_scale)


_FUSED = {"fused_moe": fused_moe}
_AITER = {"QuantType": QuantType, "ActivationType": ActivationType, "dtypes": _Dtypes, "gemm_a4w4": gemm_a4w4}
MODULES: dict[str, dict[str, Any]] = {
    "aiter": {**_AITER, "get_torch_quant": get_torch_quant, "__path__": []},
    "aiter.fused_moe": _FUSED,
    "aiter.ops": {"__path__": []},
    "aiter.ops.shuffle": {"shuffle_weight": mx.shuffle_weight},
    "aiter.ops.triton": {"__path__": []},
    "aiter.ops.triton.quant": {"dynamic_mxfp4_quant": dynamic_mxfp4_quant},
    "aiter.utility": {"fp4_utils": _Fp4Utils, "__path__": []},
    "aiter.utility.fp4_utils": {"e8m0_shuffle": mx.shuffle_scale},
    # the NVIDIA harness names two of its errors, to catch them
    "cutlass": {"__path__": []},
    "cutlass.cute": {"__path__": []},
    "cutlass.cute.nvgpu": {"__path__": []},
    "cutlass.cute.nvgpu.common": {"OpError": type("OpError", (Exception,), {})},
    "cutlass._mlir": {"__path__": []},
    "cutlass._mlir.ir": {"MLIRError": type("MLIRError", (Exception,), {})},
}


# ---- runs ------------------------------------------------------------------------------------------------------------

THEIRS, OURS, LEGACY = "theirs", "refnum", "legacy rounding"


class Run(NamedTuple):
    """Whose reference judges whose kernel."""

    reference: str
    kernel: str
    mode: str = "test"

    @property
    def code(self) -> int:
        """How it should end: the legacy rounding is rejected, everything else passes."""
        return FAILED if self.kernel == LEGACY else PASSED


class Problem(NamedTuple):
    """A problem, in the checkout and in examples/leaderboard."""

    folder: str  #: in the checkout's problems/
    runs: tuple[Run, ...]
    full: bool = True  #: whether the site's shapes fit a machine of 16 GB

    @property
    def name(self) -> str:
        """The folder of refnum's."""
        return Path(self.folder).name


CROSSED = (Run(THEIRS, OURS), Run(OURS, OURS))
ALL = (Run(THEIRS, THEIRS), Run(OURS, THEIRS), *CROSSED)
PROBLEMS = (
    Problem(
        "amd_202602/mxfp4-mm",
        (
            *ALL,
            Run(THEIRS, LEGACY),
            Run(OURS, LEGACY),
            Run(THEIRS, THEIRS, "benchmark"),
            Run(THEIRS, OURS, "benchmark"),
        ),
    ),
    Problem("amd_202602/moe-mxfp4", ALL, full=False),
    Problem("nvidia/nvfp4_gemm", CROSSED),  # the checkout's kernels for NVIDIA need a GPU
    Problem("nvidia/nvfp4_gemv", CROSSED),
    Problem("nvidia/nvfp4_dual_gemm", CROSSED),
    Problem("nvidia/nvfp4_group_gemm", CROSSED),
    Problem("amd/fp8-mm", ALL),
)


class Outcome(NamedTuple):
    """What a run gave."""

    problem: Problem
    run: Run
    full: bool  #: at the site's shapes
    shapes: tuple[str, ...]
    code: int
    lines: dict[str, str]
    seconds: float

    @property
    def expected(self) -> bool:
        """Whether it ended as it should."""
        return self.code == self.run.code

    @property
    def figures(self) -> str:
        """The largest error of the cases that passed, how many elements were wrong in the others, the mean times."""
        text = "\n".join(value for key, value in self.lines.items() if key.endswith((".message", ".error")))
        errors = [float(error) for error in re.findall(r"Maximum error: ([\d.e+-]+)", text)]
        wrong = [f"{int(n.replace(',', '')):,}" for n in re.findall(r"mismatched (?:elements: )?([\d,]+)", text)]
        times = [f"{float(value) / 1e6:.1f}" for key, value in self.lines.items() if key.endswith(".mean")]
        parts = {
            f"error up to {max(errors, default=0):.3g}": errors,
            f"{' and '.join(wrong)} wrong": wrong,
            f"{' and '.join(times)} ms": times,
        }
        return "; ".join(part for part, values in parts.items() if values)


def judged(problem: Problem, run: Run, full: bool, checkout: Path, ours: Path) -> Outcome:
    """Lay a problem out in a folder of its own and let the checkout's eval.py judge it."""
    task = (checkout / "problems" / problem.folder / "task.yml").read_text()
    small = ours / problem.name / {"test": "tests.txt", "benchmark": "benchmarks.txt"}[run.mode]
    cases = tuple(map(_spec, _rows(task, "tests"))) if full else tuple(small.read_text().splitlines())
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder)
        for name, path in _files(task, problem, run, checkout, ours):
            shutil.copy(path, stage / name)
        (stage / "sitecustomize.py").write_text(
            "import refnum_conformance.peers.leaderboard as peer\n\npeer.install()\n"
        )
        (stage / "cases.txt").write_text("\n".join(cases) + "\n")
        began = time.perf_counter()
        code, lines = _run_harness(stage, run.mode)
    return Outcome(problem, run, full, cases, code, lines, time.perf_counter() - began)


def _files(task: str, problem: Problem, run: Run, checkout: Path, ours: Path) -> Iterator[tuple[str, Path]]:
    """What lies beside eval.py, and where it comes from."""
    theirs, mine = checkout / "problems" / problem.folder, ours / problem.name
    kernels = {THEIRS: theirs / "submission.py", OURS: mine / "submission.py", LEGACY: mine / "legacy_rounding.py"}
    references = {THEIRS: theirs / "reference.py", OURS: mine / "reference.py"}
    chosen = {"reference.py": references[run.reference], "submission.py": kernels[run.kernel]}
    for row in _rows(task, "files"):
        yield row["name"], chosen.get(row["name"], theirs / row["source"])


def _rows(task: str, key: str) -> list[dict[str, Any]]:
    """The rows of a list in task.yml: each of them is a line of JSON."""
    section = re.search(rf"^{key}:\n((?:[ #].*\n|\n)+)", task, re.MULTILINE)
    assert section is not None, f"task.yml has no {key}"
    return [json.loads(row) for row in re.findall(r"^ +- (\{.*\})", section[1], re.MULTILINE)]


def _spec(case: dict[str, Any]) -> str:
    return "; ".join(f"{name}: {value}" for name, value in case.items())


def _run_harness(stage: Path, mode: str) -> tuple[int, dict[str, str]]:
    """The exit code of eval.py and the lines that it writes."""
    read, write = os.pipe()
    path = os.pathsep.join(filter(None, (str(stage), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"POPCORN_FD": str(write), "PYTHONPATH": path}
    command = [sys.executable, "eval.py", mode, "cases.txt"]
    with os.fdopen(read) as lines:
        try:
            done = subprocess.run(
                command,
                cwd=stage,
                env=environment,
                pass_fds=(write,),
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
        finally:
            os.close(write)
        written = dict(line.rstrip("\n").split(": ", 1) for line in lines if ": " in line)
    if done.returncode not in (PASSED, FAILED):
        print(done.stderr[-4000:], file=sys.stderr)
    return done.returncode, written


# ---- the record ------------------------------------------------------------------------------------------------------


def provenance(checkout: Path) -> dict[str, str]:
    """What the result holds for."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    return {
        "harness": f"gpu-mode/reference-kernels {commit.stdout.strip()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }


ABOUT = """
The harness is unmodified: its `eval.py`, its checker, its tolerances. Devices are replaced by the CPU, aiter's kernels
and torch's scaled product by refnum's. The kernel called legacy rounding rounds ties away from zero (`aiter/v1`) and
has to be rejected. Where the harness names no figure, none is here; the weights of moe-mxfp4 at the site's shapes need
more memory than common machines have.

| problem | mode | shapes | reference | kernel | verdict | as expected | figures | s |
|---|---|---|---|---|---|---|---|---:|
"""


def table(made: dict[str, str], outcomes: Sequence[Outcome]) -> str:
    """The result as Markdown."""
    head = ["# The leaderboards' harness on a CPU", "", *(f"- {key}: {value}" for key, value in made.items())]
    shapes = {f"- {each.problem.folder}, {each.run.mode}, {_size(each)}: {_shapes(each)}\n": None for each in outcomes}
    return "\n".join(head) + "\n" + ABOUT + "".join(map(_row, outcomes)) + "\nShapes:\n\n" + "".join(shapes)


def _row(each: Outcome) -> str:
    verdict = {PASSED: "pass", FAILED: "fail"}.get(each.code, f"exit {each.code}")
    cells = (
        *(each.problem.folder, each.run.mode, _size(each), each.run.reference, each.run.kernel),
        *(verdict, "yes" if each.expected else "**no**", each.figures, f"{each.seconds:.0f}"),
    )
    return f"| {' | '.join(cells)} |\n"


def _size(each: Outcome) -> str:
    return "the site's" if each.full else "small"


def _shapes(each: Outcome) -> str:
    """Without seeds."""
    return ", ".join("(" + re.sub(r"; seed: \d+", "", shape) + ")" for shape in each.shapes)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all problems: 0 when every one ended as it should."""
    parser = argparse.ArgumentParser(prog="leaderboard", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--checkout", type=Path, required=True, help="folder of gpu-mode/reference-kernels")
    parser.add_argument("--full", action="store_true", help="the site's shapes too")
    parser.add_argument("--only", default="", help="problems with this word in their name")
    parser.add_argument("--examples", type=Path, default=ROOT / "examples" / "leaderboard", help="refnum's problems")
    parser.add_argument("--results", type=Path, default=ROOT / "conformance" / "results", help="where the table goes")
    arguments = parser.parse_args(argv)
    outcomes = []
    for problem, run, full in planned(arguments.only, arguments.full):
        outcomes.append(judged(problem, run, full, arguments.checkout.resolve(), arguments.examples))
        print(_row(outcomes[-1]), end="", flush=True)
    (arguments.results / "leaderboard.md").write_text(table(provenance(arguments.checkout), outcomes))
    return 0 if all(outcome.expected for outcome in outcomes) else 1


def planned(word: str, full: bool) -> Iterator[tuple[Problem, Run, bool]]:
    """All runs at small shapes, then those at the site's, which are tests only."""
    for sizes in (False, True)[: 1 + full]:
        for problem in (each for each in PROBLEMS if word in each.name):
            for run in problem.runs:
                if not sizes or (problem.full and run.mode == "test"):
                    yield problem, run, sizes


if __name__ == "__main__":
    sys.exit(main())
