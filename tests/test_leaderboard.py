"""The leaderboard runner: its protocol, what it says of broken kernels, and the problems it comes with."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from refnum_conformance.peers import leaderboard as peer
from torch import Tensor

FOLDER = Path(__file__).parents[1] / "examples" / "leaderboard"
SECONDS = 120  #: after which a run hangs

TOY = """
import torch

def generate_input(n, seed):
    return {"x": torch.randn(n, generator=torch.Generator().manual_seed(seed)), "n": n}

def check_implementation(data, output):
    want = data["x"] * 2
    if output.shape != want.shape:
        return False, f"SIZE MISMATCH\\nsecond line"
    return torch.equal(output, want), "exact" if data["n"] == 1 else ""
"""

KERNELS = '''
import os, sys
from task import NAME

def custom_kernel(data):
    """What is done depends on the case."""
    x, n = data["x"], data["n"]
    print("check: pass", flush=True)
    os.environ["LEFT"] = "no" if {"POPCORN_FD", "POPCORN_SEED"} & os.environ.keys() else "yes"
    if n == 3:
        return x[:2]
    if n == 4:
        raise KeyError("no such\\ntile")
    if n == 5:
        os.abort()
    if n == 6:
        os._exit(7)
    if n == 7:
        sys.exit("enough")
    if n == 8:
        assert os.environ["LEFT"] == "yes" and NAME == "toy"
    return x.mul_(2)
'''


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"leaderboard_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


runner = load(FOLDER / "run.py")


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    (tmp_path / "reference.py").write_text(TOY)
    (tmp_path / "task.py").write_text("NAME = 'toy'\n")
    (tmp_path / "submission.py").write_text(KERNELS)
    (tmp_path / "tests.txt").write_text("".join(f"n: {n}; seed: {n}\n" for n in range(1, 9)))
    (tmp_path / "benchmarks.txt").write_text("n: 100; seed: 1\nn: 4; seed: 1\n")
    return tmp_path


def launch(*arguments: object, **environment: str) -> tuple[int, dict[str, str], str]:
    """The exit code, the lines of the protocol, and stderr."""
    read, write = os.pipe()
    command = [sys.executable, str(FOLDER / "run.py"), *map(str, arguments)]
    with os.fdopen(read) as lines:
        done = subprocess.run(
            command,
            env=os.environ | {"POPCORN_FD": str(write), "OMP_NUM_THREADS": "1"} | environment,
            pass_fds=(write,),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        os.close(write)
        pairs = [line.rstrip("\n").split(": ", 1) for line in lines]
    assert done.stdout == "", "what a kernel prints goes to stderr"
    return done.returncode, dict(pairs), done.stderr


# ---- the protocol -------------------------------------------------------------------------------------------------


def test_every_way_to_fail_is_one_failed_case(toy: Path) -> None:
    code, lines, errors = launch(toy, "test")
    assert code == 112
    statuses = [lines[f"test.{i}.status"] for i in range(8)]
    assert statuses == ["pass", "pass", "fail", "fail", "fail", "fail", "fail", "pass"]
    assert lines["test-count"] == "8"
    assert lines["test.0.spec"] == "n: 1; seed: 1"
    assert lines["test.0.message"] == "exact"
    assert "test.1.message" not in lines
    assert lines["test.2.error"] == r"SIZE MISMATCH\nsecond line"
    assert lines["test.3.error"] == r"KeyError: 'no such\ntile' (submission.py, line 13)"
    assert lines["test.4.error"] == "the process of the kernel ended by SIGABRT without a result."
    assert lines["test.5.error"] == "the process of the kernel ended by exit code 7 without a result."
    assert lines["test.6.error"] == "SystemExit: enough (submission.py, line 19)"
    assert lines["check"] == "fail"
    assert list(lines)[-1] == "check"
    assert "Traceback" in errors


def test_benchmarks_have_times_in_nanoseconds(toy: Path) -> None:
    code, lines, _ = launch(toy, "benchmark", "--seconds", 0.01)
    assert code == 112
    assert lines["benchmark-count"] == "2"
    runs, mean, std, err, best, worst = (
        float(lines[f"benchmark.0.{name}"]) for name in ("runs", "mean", "std", "err", "best", "worst")
    )
    assert 3 <= runs <= 1000
    assert 0 < best <= mean <= worst < 1e9
    assert err == pytest.approx(std / runs**0.5)
    assert lines["benchmark.1.status"] == "fail"
    assert lines["benchmark.1.error"].startswith("KeyError")
    assert lines["check"] == "fail"


def test_a_kernel_that_hangs_is_ended(toy: Path) -> None:
    hanging = toy / "hanging.py"
    hanging.write_text("import time\ndef custom_kernel(data):\n    time.sleep(1000)\n")
    cases = toy / "one.txt"
    cases.write_text("n: 1; seed: 1\n")
    code, lines, _ = launch(toy, "--submission", hanging, "test", "--cases", cases, "--timeout", 0.5)
    assert code == 112
    assert lines["test.0.error"] == "no result within 0.5 s. Allow more with --timeout."


def test_ctrl_c_ends_it_at_once(toy: Path) -> None:
    (toy / "submission.py").write_text(
        "import sys, time\nprint('started', file=sys.stderr, flush=True)\n"
        "def custom_kernel(data):\n    time.sleep(1000)\n"
    )
    command = [sys.executable, str(FOLDER / "run.py"), str(toy), "test"]
    environment = os.environ | {"POPCORN_FD": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "started\n"
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the kernel's process, too
            _, errors = process.communicate(timeout=SECONDS)
        finally:
            process.kill()  # where a shell had SIGINT ignored
    assert process.returncode == 130
    assert errors == "run.py: Interrupted.\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("def custom_kernel(data)\n    return data\n", "SyntaxError: expected ':' (mine.py, line 1)"),
        ("def kernel(data):\n    return data\n", "mine.py has no function custom_kernel. It takes the data"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module' (mine.py, line 1)"),
    ],
)
def test_a_file_that_is_no_submission(toy: Path, text: str, error: str, capfd: pytest.CaptureFixture[str]) -> None:
    """What the child answers, without one."""
    mine = toy / "mine.py"
    mine.write_text(text)
    runner.loaded.cache_clear()
    reply = runner._answer(runner.test, toy, mine, {"n": 1, "seed": 1}, runner.Limit(3, 1))
    assert not reply["ok"]
    assert reply["message"].startswith(error)
    assert capfd.readouterr().out == ""


# ---- arguments ----------------------------------------------------------------------------------------------------


def exit_code(*arguments: object) -> int:
    try:
        return int(runner.main([str(a) for a in arguments]))
    except SystemExit as leaving:  # argparse
        return int(leaving.code or 0)


def test_without_a_descriptor(toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("POPCORN_FD", raising=False)
    assert exit_code(toy, "test") == 111
    assert exit_code() == 111
    assert "Set POPCORN_FD=1" in capsys.readouterr().err
    assert exit_code("--help") == 0
    assert "--submission" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "arguments are required"),
        (("{toy}",), "arguments are required"),
        (("{toy}", "profile"), "invalid choice: 'profile'"),
        (("{toy}/nowhere", "test"), "is no problem: it has no reference.py"),
        (("{toy}", "test", "--submission", "none.py"), "there is no file none.py"),
        (("{toy}", "test", "--timeout", "long"), "invalid float value"),
    ],
)
def test_wrong_arguments(
    arguments: tuple[str, ...],
    text: str,
    toy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("POPCORN_FD", "1")
    assert exit_code(*(argument.format(toy=toy) for argument in arguments)) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("POPCORN_FD", "x"), ("POPCORN_FD", "987"), ("POPCORN_SEED", "lucky")])
def test_wrong_environment(
    name: str, value: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POPCORN_FD", "1")
    monkeypatch.setenv(name, value)
    assert exit_code(toy, "test") == 2
    assert f"{name} is {value!r}" in capsys.readouterr().err


# ---- case files ---------------------------------------------------------------------------------------------------


def test_grammar_of_cases(tmp_path: Path) -> None:
    path = tmp_path / "cases.txt"
    path.write_text("m: 8; n: -12;k:+3 ; fused: true; wide: false; name: silu_2\n g: 2; m: [96, 128]; n: (4,); k: []\n")
    first, second = runner.read_cases(path, None)
    assert first.spec == "m: 8; n: -12;k:+3 ; fused: true; wide: false; name: silu_2"
    assert first.args == {"m": 8, "n": -12, "k": 3, "fused": True, "wide": False, "name": "silu_2"}
    assert second.args == {"g": 2, "m": (96, 128), "n": (4,), "k": ()}


@pytest.mark.parametrize("line", ["m 8", "m: 8, n: 4", "m: 8;", "", "m: 0x8", "m: 8.5", "8: m", "m: [1, x]", "m: [1"])
def test_bad_cases(line: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("POPCORN_FD", "1")
    (toy / "tests.txt").write_text(f"n: 1; seed: 1\n{line}\n")
    assert exit_code(toy, "test") == 113
    assert "tests.txt cannot be read" in capsys.readouterr().err


def test_no_case_file(toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("POPCORN_FD", "1")
    assert exit_code(toy, "test", "--cases", "none.txt") == 113
    assert "No such file" in capsys.readouterr().err


def test_a_secret_seed_makes_other_seeds(tmp_path: Path) -> None:
    path = tmp_path / "cases.txt"
    path.write_text("n: 1; seed: 124\nn: 2\n")
    assert [case.args for case in runner.read_cases(path, 7)] == [{"n": 1, "seed": 124 + 131 * 132 // 2}, {"n": 2}]
    pairs = [(a, b) for a in range(40) for b in range(40)]
    assert len({runner.combined(*pair) for pair in pairs}) == len(pairs)


# ---- the problems -------------------------------------------------------------------------------------------------

PROBLEMS = sorted(path.parent.name for path in FOLDER.glob("*/reference.py"))
#: the files that the site's own harness asks for, and what the runner reads
FILES = {"reference.py", "submission.py", "task.py", "tests.txt", "benchmarks.txt"}
EXTRA = {"mxfp4-mm": {"legacy_rounding.py"}}
SHARED = {"blocked", "blocks", "matrices"}  #: helpers that drop-in files have in common: each file has to stand alone


@pytest.fixture
def fresh_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Problems have modules of the same names."""
    runner.loaded.cache_clear()
    for name in ("reference", "submission", "task"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in ("reference", "submission", "task"):
        sys.modules.pop(name, None)
    runner.loaded.cache_clear()


def answers(problem: str, submission: str) -> list[dict[str, Any]]:
    """What the child of a test run would answer to each case."""
    folder, limit = FOLDER / problem, runner.Limit(3, 1)
    sys.path.insert(0, str(folder))
    cases = runner.read_cases(folder / "tests.txt", None)
    return [runner._answer(runner.test, folder, folder / submission, case.args, limit) for case in cases]


@pytest.mark.usefixtures("fresh_modules")
@pytest.mark.parametrize("problem", PROBLEMS)
def test_refnums_kernel_passes(problem: str) -> None:
    for reply in answers(problem, "submission.py"):
        assert reply["ok"], reply["message"]
        assert "ULP 0: " in reply["message"]


def test_runner_accepts_refnums_kernel() -> None:
    code, lines, _ = launch(FOLDER / "mxfp4-mm", "test", POPCORN_SEED="7")
    assert code == 0
    assert lines["check"] == "pass"
    assert all(lines[f"test.{i}.message"].startswith("Maximum error: ") for i in range(3))


def test_runner_rejects_the_legacy_rounding() -> None:
    """Ties away from zero against ties to even: most elements are wrong."""
    code, lines, _ = launch(FOLDER / "mxfp4-mm", "--submission", FOLDER / "mxfp4-mm" / "legacy_rounding.py", "test")
    assert code == 112
    assert lines["check"] == "fail"
    for i in range(3):
        found = re.match(
            r"mismatched [\d,]+ of [\d,]+ \((\d+\.\d+) %\) by rtol 0.01, atol 0.01", lines[f"test.{i}.error"]
        )
        assert found
        assert float(found[1]) > 50


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_reference_is_one_file(problem: str) -> None:
    assert {path.name for path in (FOLDER / problem).iterdir() if path.is_file()} == FILES | EXTRA.get(problem, set())
    tree = ast.parse((FOLDER / problem / "reference.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert {str(name).split(".")[0] for name in imported} == {"torch", "refnum"}
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"generate_input", "ref_kernel"} <= names
    assert any(
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "check_implementation" for node in tree.body
    )


def test_helpers_of_one_name_are_one_text() -> None:
    texts: dict[str, set[str]] = {}
    for problem in (p for p in PROBLEMS if p.startswith("nvfp4")):
        for file in ("reference.py", "submission.py"):
            tree = ast.parse((FOLDER / problem / file).read_text())
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name in SHARED:
                    texts.setdefault(node.name, set()).add(ast.unparse(node))
    assert texts.keys() == SHARED
    assert all(len(versions) == 1 for versions in texts.values())


@pytest.mark.usefixtures("fresh_modules")
@pytest.mark.parametrize("problem", PROBLEMS)
def test_cases_are_those_of_the_task(problem: str) -> None:
    task = runner.loaded("task", FOLDER / problem / "task.py")
    for name in ("tests.txt", "benchmarks.txt"):
        for case in runner.read_cases(FOLDER / problem / name, None):
            assert case.args.keys() == task.TestSpec.__annotations__.keys()


@pytest.mark.usefixtures("fresh_modules")
@pytest.mark.parametrize("problem", PROBLEMS)
def test_data_depends_on_the_seed_alone_and_references_leave_it(problem: str) -> None:
    reference = runner.loaded("reference", FOLDER / problem / "reference.py")
    args = runner.read_cases(FOLDER / problem / "tests.txt", None)[0].args
    data, again, other = (reference.generate_input(**args | {"seed": seed}) for seed in (1, 1, 2))
    untouched = runner.cloned(data)
    first = reference.ref_kernel(data)
    assert all(map(same, tensors(data), tensors(untouched)))
    assert all(map(same, tensors(first), tensors(reference.ref_kernel(again))))
    assert not all(map(same, tensors(first), tensors(reference.ref_kernel(other))))


def tensors(data: Any) -> list[Tensor]:
    if isinstance(data, Tensor):
        return [data]
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, (tuple, list)) else ()
    return [x for part in parts for x in tensors(part)]


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(*(x.reshape(-1).contiguous().view(torch.uint8) for x in (a, b)))


# ---- the peer: the site's own harness, here a small one ------------------------------------------------------------

TASK = """
files:
  - {"name": "submission.py", "source": "@SUBMISSION@"}
  - {"name": "task.py", "source": "task.py"}
  - {"name": "utils.py", "source": "../utils.py"}
  - {"name": "reference.py", "source": "reference.py"}
  - {"name": "eval.py", "source": "../eval.py"}

lang: "py"

tests:
  - {"m": 8, "n": 64, "k": 512, "seed": 124}
  # a comment
  - {"m": [96, 128], "g":2}

benchmarks:
  - {"m": 4}
"""

HARNESS = """
import os, sys
import torch.cuda
from utils import clear_l2_cache_large
from reference import generate_input, check_implementation
from submission import custom_kernel

if __name__ == "__main__":
    clear_l2_cache_large()
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    before.record()
    data = generate_input(16, 32, 64)
    ok, message = check_implementation(data, custom_kernel(data))
    after.record()
    torch.cuda.synchronize()
    with os.fdopen(int(os.environ["POPCORN_FD"]), "w") as file:
        print(f"test.0.message: {message}\\ntest.0.time: {before.elapsed_time(after) > 0}", file=file)
    sys.exit(0 if ok else 112)
"""

REFERENCE = """
import aiter, torch
from aiter.ops.shuffle import shuffle_weight
from aiter.ops.triton.quant import dynamic_mxfp4_quant
from aiter.utility.fp4_utils import e8m0_shuffle

def quantized(x):
    elements, scales = dynamic_mxfp4_quant(x)
    return elements.view(aiter.dtypes.fp4x2), e8m0_shuffle(scales).view(aiter.dtypes.fp8_e8m0)

def generate_input(m, n, k):
    random = torch.Generator(device="cuda").manual_seed(1)
    a, b = (torch.randn((rows, k), generator=random, device="cuda", dtype=torch.bfloat16) for rows in (m, n))
    elements, scales = quantized(b.to("cuda").cuda())
    return a, b, elements, shuffle_weight(elements, layout=(16, 16)), scales

def check_implementation(data, output):
    a, _, _, b, scales = data
    want = aiter.gemm_a4w4(*quantized(a)[:1], b, quantized(a)[1], scales, dtype=aiter.dtypes.bf16, bpreshuffle=True)
    return torch.equal(output, want), f"Maximum error: {(output - want).abs().max()}"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    site = tmp_path / "problems" / "amd_202602"
    (site / "mxfp4-mm").mkdir(parents=True)
    files = {"utils.py": "def clear_l2_cache_large():\n    raise MemoryError\n", "eval.py": HARNESS}
    files |= {"mxfp4-mm/task.yml": TASK, "mxfp4-mm/task.py": "input_t = output_t = None\n"}
    for name, text in (files | {"mxfp4-mm/reference.py": REFERENCE}).items():
        (site / name).write_text(text)
    return tmp_path


def test_peer_runs_a_harness_that_wants_a_gpu(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    problem, run = peer.PROBLEMS[0], peer.Run(peer.THEIRS, peer.LEGACY)
    assert problem.name == "mxfp4-mm"
    outcome = peer.judged(problem, run, False, checkout, FOLDER)
    assert outcome.code == 112
    assert outcome.expected
    assert outcome.lines["test.0.time"] == "True"
    assert float(outcome.figures.removeprefix("error up to ")) > 0.1


def test_peer_reads_lists_of_json() -> None:
    assert peer._rows(TASK, "tests") == [{"m": 8, "n": 64, "k": 512, "seed": 124}, {"m": [96, 128], "g": 2}]
    assert [peer._spec(row) for row in peer._rows(TASK, "tests")] == [
        "m: 8; n: 64; k: 512; seed: 124",
        "m: [96, 128]; g: 2",
    ]
    assert peer._rows(TASK, "benchmarks") == [{"m": 4}]
    assert len(peer._rows(TASK, "files")) == 5


def test_peer_plans_the_sites_shapes_when_asked() -> None:
    small, full = list(peer.planned("", False)), list(peer.planned("", True))
    assert full[: len(small)] == small
    assert all(run.mode == "test" and problem.full for problem, run, _ in full[len(small) :])
    assert {problem.name for problem, _, _ in full} == set(PROBLEMS)
    assert {run.kernel for _, run, _ in full} == {peer.THEIRS, peer.OURS, peer.LEGACY}


def test_peer_says_what_went_wrong() -> None:
    lines = {
        "test.0.error": "mismatched 1,234 of 5",
        "test.1.message": r"Maximum error: 0.25\nULP",
        "benchmark.0.mean": "2e6",
    }
    outcome = peer.Outcome(
        peer.PROBLEMS[0], peer.Run(peer.THEIRS, peer.OURS), True, ("m: 8; seed: 1",), 112, lines, 3.2
    )
    text = peer.table({"harness": "x"}, [outcome])
    assert "| fail | **no** | error up to 0.25; 1,234 wrong; 2.0 ms | 3 |" in text
    assert text.endswith("- amd_202602/mxfp4-mm, test, the site's: (m: 8)\n")
