"""What is said of how far kernels were tried on GPUs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cuda import bridge  # noqa: F401 - before refnum_cuda, which it finds
from refnum_cuda.hardware import Record

from refnum_cuda import hardware, modules

HERE = {"gpu": "NVIDIA H200", "driver": "580.1", "torch": "2.11.0", "date": "2026-11-26"}


@pytest.fixture(autouse=True)
def _records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    files = {f"{stem}.sm_90a.cubin": f"{stem} as it is" for stem in ("exact", "ordered", "posits", "quires")}
    monkeypatch.setattr(modules, "manifest", lambda: {"files": files | {"exact.sm_80.cubin": "for another GPU"}})
    monkeypatch.setattr(hardware, "RECORDS", tmp_path / "hardware.json")
    hardware.RECORDS.write_text("[]")
    hardware.records.cache_clear()
    yield
    hardware.records.cache_clear()


def test_the_farthest_trial_of_a_file_counts() -> None:
    assert hardware.summary("sm_90a") == "not verified on hardware: exact, ordered, posits, quires"
    hardware.add(Record("examples", **HERE, files={f"{s}.sm_90a.cubin": f"{s} as it is" for s in ("exact", "posits")}))
    hardware.add(Record("tests", **HERE, files={"exact.sm_90a.cubin": "exact as it is"}))
    assert hardware.summary("sm_90a") == (
        "verified by the tests on NVIDIA H200, driver 580.1: exact; "
        "tried by their examples and benchmarks alone on NVIDIA H200, driver 580.1: posits; "
        "not verified on hardware: ordered, quires"
    )


def test_a_changed_file_is_another_file() -> None:
    hardware.add(Record("tests", **HERE, files={"exact.sm_90a.cubin": "exact as it was", "exact.sm_80.cubin": "none"}))
    assert hardware.summary("sm_90a") == (
        "not verified on hardware since they were changed, before that on NVIDIA H200, driver 580.1: exact; "
        "not verified on hardware: ordered, posits, quires"
    )
    hardware.add(Record("tests", **HERE, files={"exact.sm_90a.cubin": "exact as it is"}))
    assert hardware.summary("sm_90a").startswith("verified by the tests on NVIDIA H200, driver 580.1: exact; not ver")


def test_two_machines_are_told_apart() -> None:
    hardware.add(Record("tests", **HERE, files={"exact.sm_90a.cubin": "exact as it is"}))
    hardware.add(Record("tests", **HERE | {"gpu": "NVIDIA H100"}, files={"ordered.sm_90a.cubin": "ordered as it is"}))
    places = hardware.summary("sm_90a").split("; ")
    assert places[0] == "verified by the tests on NVIDIA H200, driver 580.1: exact"
    assert places[1] == "verified by the tests on NVIDIA H100, driver 580.1: ordered"


def test_the_records_of_the_package_are_whole() -> None:
    text = (Path(hardware.__file__).parent / "hardware.json").read_text()
    records = [Record(**each) for each in json.loads(text)]
    assert records
    for record in records:
        assert record.level in hardware.LEVELS
        assert record.files
        assert all(len(checksum) == 64 for checksum in record.files.values())
