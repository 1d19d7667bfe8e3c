"""Which kernels serve, and why: said out loud, chosen by name, and only in this thread."""

from __future__ import annotations

import threading

import pytest

import refnum
from refnum import backend
from refnum.backend import CHOICES, VARIABLE
from refnum.errors import BackendError

NOT_INSTALLED = "refnum_cuda is not installed"


@pytest.fixture(autouse=True)
def _no_choice_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(backend, "_discovered", [])
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: ())


def test_automatic_choice_gives_its_reason() -> None:
    now = refnum.status()
    assert (now.backend, now.reason, now.asked) == ("reference", NOT_INSTALLED, "auto")
    assert str(now) == f"backend: reference ({NOT_INSTALLED})"


def test_the_reference_can_be_asked_for() -> None:
    with refnum.use_backend("reference") as now:
        assert (now.backend, now.reason, now.asked) == ("reference", "asked for by name", "reference")
        assert refnum.status() == now
    assert refnum.status().asked == "auto"


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "reference")
    assert refnum.status().asked == "reference"
    monkeypatch.setenv(VARIABLE, "auto")
    assert refnum.status().reason == NOT_INSTALLED


def test_a_context_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "reference")
    with refnum.use_backend("auto") as now:
        assert now.asked == "auto"


@pytest.mark.parametrize("wrong", ["gpu", "CUDA", "reference "])
def test_an_unknown_name_in_the_environment_is_an_error(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(
        BackendError, match=rf"^REFNUM_BACKEND has no value '{wrong}'\. Choose one of auto, reference, cuda\.$"
    ):
        refnum.status()


def test_cuda_from_the_environment_does_not_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "cuda")
    with pytest.raises(BackendError, match=NOT_INSTALLED):
        refnum.status()


def test_a_backend_that_cannot_serve_leaves_no_trace() -> None:
    with pytest.raises(BackendError, match=NOT_INSTALLED), refnum.use_backend("cuda"):
        pytest.fail("the block must not run")
    assert refnum.status().asked == "auto"


def test_it_is_restored_when_the_block_raises() -> None:
    with pytest.raises(ZeroDivisionError), refnum.use_backend("reference"):
        assert 1 // 0
    assert refnum.status().asked == "auto"


def test_contexts_nest() -> None:
    with refnum.use_backend("reference"):
        with refnum.use_backend("auto"):
            assert refnum.status().asked == "auto"
        assert refnum.status().asked == "reference"


def test_a_choice_holds_for_one_thread() -> None:
    seen = []
    with refnum.use_backend("reference"):
        thread = threading.Thread(target=lambda: seen.append(refnum.status().asked))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_the_choices_are_those_of_the_documentation() -> None:
    assert CHOICES == ("auto", "reference", "cuda")
