"""The launcher of refnum_cuda over a driver without a GPU: what it calls, and what a user sees of every failure."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cuda import scenes
from cuda.stage import STREAM, Stage
from cuda.stage import stage as the_stage
from refnum_cuda.build import TARGETS
from refnum_cuda.modules import pick

from refnum_cuda import driver, launch, operations

RIGHT = (True, [], "")


@pytest.fixture(scope="module", name="stage")
def _stage() -> Stage:
    return the_stage()


# ---- which file serves which GPU -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("capability", "target"),
    [
        *[((8, 0), "sm_80"), ((8, 6), "sm_80"), ((8, 7), "sm_80"), ((8, 9), "sm_89"), ((9, 0), "sm_90a")],
        *[((10, 0), "sm_100"), ((10, 3), "sm_100"), ((11, 0), "compute_80"), ((12, 0), "sm_120"), ((12, 1), "sm_120")],
        *[((13, 0), "compute_80"), ((7, 5), None), ((5, 2), None)],
    ],
)
def test_each_capability_gets_the_files_that_run_on_it(capability: tuple[int, int], target: str | None) -> None:
    assert pick(capability, TARGETS) == target


def test_files_of_other_minor_versions_are_chosen_with_care() -> None:
    assert pick((9, 0), ("sm_90", "compute_80")) == "sm_90"
    assert pick((10, 3), ("sm_100a", "compute_80")) == "compute_80"  # an 'a' file runs on its own capability alone
    assert pick((8, 6), ("sm_89",)) is None  # later than the GPU
    assert pick((12, 0), ("compute_80", "compute_90", "compute_130")) == "compute_90"


# ---- what works ----------------------------------------------------------------------------------


def test_registering_calls_nothing(stage: Stage) -> None:
    assert stage.play(scenes.nothing) == {"kernels": sorted(operations.OPAQUE)}
    assert stage.calls() == []


def test_an_operation_gives_the_references_bits_and_says_nothing(stage: Stage) -> None:
    assert stage.play(scenes.twice) == {
        "first": RIGHT,
        "again": RIGHT,
        "status": "backend: cuda (its kernels serve this GPU)",
    }
    assert len(stage.calls("cuInit")) == 1
    # probe, packed, elementwise: not ordered, which nothing has asked for
    assert len(stage.calls("cuModuleLoadData")) == 3
    assert all(line.endswith(f"0 {STREAM:#x}") for line in stage.calls("cuLaunchKernel"))


def test_results_are_the_references_for_every_layout(stage: Stage) -> None:
    assert stage.play(scenes.results) == []


def test_products_are_the_references_for_every_shape(stage: Stage) -> None:
    assert stage.play(scenes.products) == []
    launched = {line.split()[1] for line in stage.calls("cuLaunchKernel")}
    assert {name.rpartition("_")[0] for name in launched} >= {"rn_chain_float32", "rn_tree_float32"}


def test_results_may_be_written_to(stage: Stage) -> None:
    assert stage.play(scenes.written_to) == []


def test_every_operation_is_tried_before_a_capture(stage: Stage) -> None:
    tried = stage.play(scenes.warmed_up)
    assert len(stage.calls("cuLaunchKernel")) >= 1 + tried  # some operations launch more than one


def test_threads_that_start_together_share_what_is_loaded(stage: Stage) -> None:
    assert stage.play(scenes.in_a_thread) == [True] * 4
    assert len(stage.calls("cuInit")) == 1
    assert len(stage.calls("cuModuleLoadData")) == 3
    assert len(stage.calls("cuDevicePrimaryCtxRetain")) == 4  # one a thread, which has no context before


def test_each_device_loads_its_own(stage: Stage) -> None:
    assert stage.play(scenes.on_two_devices) == [True, True, True]
    assert len(stage.calls("cuInit")) == 1
    assert len(stage.calls("cuModuleLoadData")) == 6


def test_nothing_is_loaded_during_a_capture(stage: Stage) -> None:
    seen = stage.play(scenes.while_capturing)
    refused(seen["cold"], "cannot load and try rn_probe while", "Allowed are", "Call refnum_cuda.warmup() first")
    assert seen["warm"] == RIGHT


def test_torchs_device_and_stream_are_asked_for_each_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = iter([SimpleNamespace(device_index=i, cuda_stream=STREAM + i) for i in range(2)])
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: next(streams))
    assert [launch.current(), launch.current()] == [(0, STREAM), (1, STREAM + 1)]


def test_a_place_is_torchs_device_and_has_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[object] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    monkeypatch.setattr(driver, "ensure_context", entered.append)
    device = torch.device("cuda", 3)
    with launch.place(device):
        assert entered == [device, 3]


def test_the_reference_serves_where_it_is_asked_for(stage: Stage) -> None:
    asked = "backend: reference (asked for by name)"
    assert stage.play(scenes.by_choice, "reference") == (True, asked)
    assert stage.play(scenes.twice, REFNUM_BACKEND="reference") == {"first": RIGHT, "again": RIGHT, "status": asked}
    assert stage.calls() == []


def test_kernels_serve_where_they_are_asked_for(stage: Stage) -> None:
    now = "backend: cuda (its kernels serve this GPU)"
    assert stage.play(scenes.twice, REFNUM_BACKEND="cuda") == {"first": RIGHT, "again": RIGHT, "status": now}
    assert stage.play(scenes.by_choice, "cuda") == (True, now)


def test_much_shared_memory_is_asked_for_once(stage: Stage) -> None:
    stage.play(scenes.much_shared_memory)
    assert stage.calls("cuFuncSetAttribute") == [f"cuFuncSetAttribute rn_probe 8 {100 << 10}"]


# ---- what is not served: the reference, one warning, and the reason -------------------------------

TOO_OLD = "the NVIDIA driver supports CUDA 12.8, refnum_cuda needs 13.0 (driver 580)"
UNSERVED = f"refnum_cuda was built for {', '.join(TARGETS)}"
#: scene, environment, what is said
OBSTACLES: dict[str, tuple[Callable[[], Any], dict[str, str], str]] = {
    "no library": (
        scenes.without_library,
        {},
        "the NVIDIA driver's library libcuda-of-no-machine.so.1 is not found",
    ),
    "no device": (
        scenes.twice,
        {"FAKECUDA_FAIL": "cuInit:100"},
        "the NVIDIA driver does not start: cuInit returned 100 (CUDA_ERROR_NO_DEVICE)",
    ),
    "an old driver": (scenes.twice, {"FAKECUDA_VERSION": "12080"}, TOO_OLD),
    "an old GPU": (
        scenes.twice,
        {"FAKECUDA_CAPABILITY": "75"},
        f"the GPU has compute capability 7.5, {UNSERVED}",
    ),
    "no file for the GPU": (
        scenes.twice,
        {"FAKECUDA_FAIL": "cuModuleLoadData:209"},
        f"the GPU has compute capability 9.0, {UNSERVED}",
    ),
    "PTX newer than the driver": (
        scenes.twice,
        {"FAKECUDA_CAPABILITY": "130", "FAKECUDA_FAIL": "cuModuleLoadData:222"},
        "the NVIDIA driver is older than the toolkit of probe.compute_80.ptx (blank 1): "
        "cuModuleLoadData returned 222 (CUDA_ERROR_UNSUPPORTED_PTX_VERSION)",
    ),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_not_served_gets_the_reference_and_one_warning(stage: Stage, name: str) -> None:
    scene, environment, reason = OBSTACLES[name]
    assert stage.play(scene, **environment) == {
        "first": (True, [f"{reason}: using the reference"], ""),
        "again": RIGHT,
        "status": f"backend: reference ({reason})",
    }
    assert stage.calls("cuLaunchKernel") == []


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_not_served_is_an_error_where_kernels_are_asked_for(stage: Stage, name: str) -> None:
    scene, environment, reason = OBSTACLES[name]
    refusal = (
        f"The cuda backend was asked for (REFNUM_BACKEND or use_backend) and {reason}. "
        "Allowed here are auto and reference. Choose one of them."
    )
    refused = (None, [], refusal)
    seen = stage.play(scene, REFNUM_BACKEND="cuda", **environment)
    assert seen == {"first": refused, "again": refused, "status": refusal}


# ---- what is wrong: an error, whatever was asked for ----------------------------------------------


def refused(seen: tuple[Any, list[str], str], *parts: str) -> None:
    """The scene ended in an error that says these parts, and in nothing else."""
    result, warned, message = seen
    assert (result, warned) == (None, [])
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("asked", ["auto", "cuda"])
@pytest.mark.parametrize(
    ("name", "kind", "wrong"),
    [
        ("probe.sm_90a.cubin", "changed", "differs from its checksum"),
        ("elementwise.sm_90a.cubin", "changed", "differs from its checksum"),
        ("probe.sm_90a.cubin", "missing", "is missing"),
        ("manifest.json", "missing", "is missing"),
    ],
)
def test_a_damaged_file_is_an_error(stage: Stage, asked: str, name: str, kind: str, wrong: str) -> None:
    seen = stage.play(scenes.with_damage, name, kind, REFNUM_BACKEND=asked)
    for each in ("first", "again"):
        refused(seen[each], f"its file {name}, which {wrong}. ", "Allowed are", "Install refnum_cuda again")


def test_a_file_that_the_driver_does_not_take_is_an_error(stage: Stage) -> None:
    seen = stage.play(scenes.twice, FAKECUDA_FAIL="cuModuleLoadData:200")
    for each in ("first", "again"):
        refused(
            seen[each], "its file probe.sm_90a.cubin, which the driver does not take", "200 (CUDA_ERROR_INVALID_IMAGE)"
        )


def test_a_kernel_with_a_wrong_bit_is_refused(stage: Stage) -> None:
    seen = stage.play(scenes.lying_kernel)
    for each in ("first", "again"):
        refused(
            seen[each], "refuses encode on cpu", "differ from the reference", "Allowed are equal bits", "REFNUM_BACKEND"
        )


def test_a_gpu_with_other_arithmetic_is_refused(stage: Stage) -> None:
    refused(stage.play(scenes.lying_gpu), "other float32 on cpu", "probe.cu gave", "allowed is", "REFNUM_BACKEND")


def test_a_launch_that_fails_is_an_error_and_nothing_is_computed_instead(stage: Stage) -> None:
    seen = stage.play(scenes.later_failure)
    assert seen["before"]
    for each in ("after", "again"):
        refused(
            seen[each],
            *("could not launch encode on cpu for tensors of shape (7,)", "cuLaunchKernel returned 719"),
            *("CUDA_ERROR_LAUNCH_FAILED", "nothing was computed instead", "REFNUM_BACKEND=reference"),
        )


def test_a_code_without_a_name_is_shown(stage: Stage) -> None:
    seen = stage.play(scenes.twice, FAKECUDA_FAIL="cuModuleGetFunction:4711")
    refused(seen["first"], "cuModuleGetFunction returned 4711 (no name)")
