"""How refnum finds kernels, asks for them, and says which serve."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda import scenes
from cuda.stage import Stage
from cuda.stage import stage as the_stage

import refnum
import refnum_cuda
from refnum import Posit, backend, posit
from refnum.errors import BackendError
from refnum.posit.arithmetic import EXACT, by_definition
from refnum.sums import contracts, posits
from refnum_cuda import elementwise, operations

PACKAGE = Path(refnum_cuda.__file__).parents[1]
X = torch.tensor([1.0, -0.75, 3.0], dtype=torch.float32)


@pytest.fixture(autouse=True)
def _nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    for name, empty in (("_discovered", []), ("KERNELS", {}), ("OBSTACLES", []), ("NOTES", [])):
        monkeypatch.setattr(backend, name, empty)


@pytest.fixture(name="stage")
def _stage() -> Stage:
    return the_stage()


def installed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Have an entry point in the environment."""

    def found(**asked: str) -> tuple[importlib.metadata.EntryPoint, ...]:
        assert asked == {"group": "refnum.backends", "name": "cuda"}
        return (importlib.metadata.EntryPoint("cuda", value, backend.GROUP),)

    monkeypatch.setattr(importlib.metadata, "entry_points", found)


# ---- discovery -----------------------------------------------------------------------------------


def test_a_torch_without_cuda_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "refnum_cuda:register")
    monkeypatch.setattr(torch.version, "cuda", None)
    reason = f"torch {torch.__version__} is built without CUDA (torch.version.cuda is None)"
    backend.discover()
    assert str(backend.status()) == f"backend: reference ({reason})"
    assert backend.KERNELS == {}
    monkeypatch.setenv(backend.VARIABLE, "cuda")
    with pytest.raises(BackendError, match=r"is built without CUDA .* Allowed here are auto and reference"):
        backend.discover()


@pytest.mark.parametrize(
    ("owner", "name", "value", "reason"),
    [
        (refnum, "__version__", "9.9.9", "refnum_cuda is for refnum of version 0.1.0, and this one has 9.9.9"),
        (backend, "INTERFACE", 77, "refnum_cuda is for refnum of interface 1, and this one has 77"),
        (
            *(backend, "CONTRACTS", ("encode/v2", *backend.CONTRACTS[1:4], "tree/v2", *backend.CONTRACTS[5:])),
            "refnum_cuda has kernels for encode/v1, tree/v1, which this refnum does not define",
        ),
    ],
)
def test_what_differs_is_not_registered(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, value: object, reason: str
) -> None:
    installed(monkeypatch, "refnum_cuda:register")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(owner, name, value)
    assert str(backend.status()) == f"backend: reference ({reason})"
    assert backend.KERNELS == {}


def test_both_name_the_same_interface_and_contracts() -> None:
    assert refnum_cuda.INTERFACE == backend.INTERFACE
    assert set(refnum_cuda.CONTRACTS) <= set(backend.CONTRACTS)
    functions = set(operations.OPAQUE)
    assert {name.split("/")[0] for name in backend.CONTRACTS} >= functions
    for name in backend.CONTRACTS:
        if name.split("/")[0] not in functions and name not in posits.NAMES:
            assert contracts.find("gemm", name).name.startswith(name)


@pytest.mark.parametrize("name", ["ExactPartial", "functions", "testing"])
def test_kernels_are_found_whatever_is_imported_first(name: str, tmp_path: Path) -> None:
    metadata = tmp_path / "refnum_cuda-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: refnum-cuda\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[refnum.backends]\ncuda = refnum_cuda:register\n")
    code = f"import sys; sys.path[:0] = {[str(tmp_path), str(PACKAGE)]}; import refnum; refnum.{name}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to try them on")
def test_nothing_is_tried_without_a_gpu() -> None:
    with pytest.raises(BackendError, match="finds no GPU"):
        refnum_cuda.warmup()


def test_the_package_is_not_imported_where_the_reference_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "no_such_module:register")
    monkeypatch.setenv(backend.VARIABLE, "reference")
    backend.discover()
    assert backend.status().reason == "asked for by name"
    monkeypatch.setenv(backend.VARIABLE, "auto")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        backend.discover()


def test_it_is_registered_once_in_threads_that_start_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(refnum_cuda, "register", lambda: calls.append(None))
    installed(monkeypatch, "refnum_cuda:register")
    threads = [threading.Thread(target=backend.discover) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [None]
    assert str(backend.status()) == "backend: cuda (its kernels serve this GPU)"


def test_what_is_registered_has_a_say_in_status() -> None:
    backend._discovered.append(None)
    backend.OBSTACLES.append(lambda: None)
    backend.NOTES.append(operations.note)
    now = backend.status()
    assert (now.backend, now.notes) == ("cuda", (operations.note(),))
    assert "each is compared with the reference when it first meets a device" in now.notes[0]
    backend.OBSTACLES.append(lambda: "the GPU is on fire")
    assert str(backend.status()) == "backend: reference (the GPU is on fire)"
    with pytest.raises(BackendError, match="the GPU is on fire"), backend.use_backend("cuda"):
        pytest.fail("the block must not run")


def test_a_torch_that_finds_no_gpu_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert operations.obstacle() == f"torch {torch.__version__} finds no GPU (torch.version.cuda is 12.8)"


# ---- what refnum asks for ------------------------------------------------------------------------


def recorded(name: str, result: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Arguments of a kernel that stands for a function on the CPU."""
    seen: list[tuple[Any, ...]] = []

    def kernel(*arguments: Any) -> torch.Tensor:
        seen.append(arguments)
        return result

    monkeypatch.setitem(backend.KERNELS, ("cpu", name), kernel)
    return seen


@pytest.mark.parametrize(
    ("name", "call", "arguments"),
    [
        ("encode", lambda x: refnum.encode(x, Posit(16)), (Posit(16), "nearest_even", None)),
        ("decode", lambda x: refnum.decode(x.short() if x is X else x, Posit(16)), (Posit(16), torch.float64)),
        ("quantize", lambda x: refnum.quantize(x, Posit(16), rounding="to_odd"), (Posit(16), "to_odd", None)),
    ],
)
def test_a_kernel_is_called_once_the_arguments_were_checked(
    name: str, call: Callable[[torch.Tensor], torch.Tensor], arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = torch.zeros(3)
    seen = recorded(name, result, monkeypatch)
    assert call(X) is result
    assert len(seen) == 1
    assert seen[0][1:] == arguments
    with pytest.raises(refnum.DTypeError):
        call(X.to(torch.complex64))
    assert len(seen) == 1


CODES = torch.tensor([64, -60, 76], dtype=torch.int8)


@pytest.mark.parametrize(
    ("name", "call", "arguments"),
    [
        ("posit_add", lambda x: posit.add(x, CODES[:1], Posit(8)), (Posit(8),)),
        ("posit_sqrt", lambda x: posit.sqrt(x, Posit(8)), (Posit(8),)),
        ("posit_fma", lambda x: posit.fma(x, x, x, Posit(8)), (Posit(8),)),
        ("posit_convert", lambda x: posit.convert(x, Posit(8), Posit(16)), (Posit(8), Posit(16))),
        ("decode", lambda x: posit.to_float(x, Posit(8), torch.float16), (Posit(8), torch.float16)),
    ],
)
def test_a_kernel_of_posits_gets_patterns_of_one_shape(
    name: str, call: Callable[[torch.Tensor], torch.Tensor], arguments: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = recorded(name, CODES, monkeypatch)
    assert call(CODES) is CODES
    (given,) = seen
    patterns = given[: len(given) - len(arguments)]
    assert given[len(patterns) :] == arguments
    assert {x.shape for x in patterns} == {CODES.shape}
    with pytest.raises(refnum.DTypeError):
        call(X)
    assert len(seen) == 1


def test_every_function_of_posits_with_a_kernel_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, arity in elementwise.ARITHMETIC.items():
        seen = recorded(f"posit_{name}", CODES, monkeypatch)
        getattr(posit, name)(*[CODES] * arity, Posit(8))
        assert len(seen) == 1
        assert by_definition(name, Posit(8), *[CODES] * arity).shape == CODES.shape
    assert set(elementwise.ARITHMETIC) == set(EXACT)


def test_a_kernel_gets_random_bits_in_the_shape_of_x(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded("encode", X, monkeypatch)
    refnum.encode(X, Posit(8), rounding="stochastic", random_bits=torch.tensor(5))
    assert seen[0][3].tolist() == [5, 5, 5]
    with pytest.raises(refnum.ShapeError, match="random_bits"):
        refnum.encode(X, Posit(8), rounding="stochastic", random_bits=torch.zeros(2, 3, dtype=torch.int32))


def test_a_kernel_sees_no_gradient_and_gradients_pass_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = recorded("quantize", torch.zeros(3), monkeypatch)
    x = X.clone().requires_grad_()
    refnum.quantize(x, Posit(8)).sum().backward()
    assert not seen[0][0].requires_grad
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


def test_other_devices_keep_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backend.KERNELS, ("cuda", "encode"), lambda *_: pytest.fail("not for the CPU"))
    assert refnum.encode(X, Posit(8)).tolist() == [64, -60, 76]


# ---- as operations of torch ----------------------------------------------------------------------


def test_torch_accepts_the_operations(stage: Stage) -> None:
    assert set(stage.play(scenes.checked).values()) == {"SUCCESS"}


def test_a_compiled_program_calls_them(stage: Stage) -> None:
    assert stage.play(scenes.compiled) == {
        "targets": ["refnum.encode", "refnum.decode", "refnum.quantize"],
        "equal": True,
    }
