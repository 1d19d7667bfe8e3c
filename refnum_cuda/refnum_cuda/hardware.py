"""On which GPUs the files of _bin were tried. A file is known by its checksum: changed since, it is another one."""

from __future__ import annotations

import json
import platform
import subprocess
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import torch

from . import __version__, driver, modules

RECORDS = Path(__file__).parent / "hardware.json"
LEVELS = {  #: how far a file was tried, the farthest first
    "tests": "verified by the tests on",
    "examples": "tried by their examples and benchmarks alone on",
}


@dataclass(frozen=True, slots=True)
class Record:
    """One trial of some files on one machine."""

    level: str  #: of LEVELS
    gpu: str
    driver: str
    torch: str
    date: str
    files: dict[str, str]  #: checksums by name


@lru_cache(maxsize=1)
def records() -> tuple[Record, ...]:
    """All trials."""
    return tuple(Record(**each) for each in json.loads(RECORDS.read_text()))


def add(record: Record) -> None:
    """Write one more trial down."""
    text = json.dumps([asdict(each) for each in (*records(), record)], indent=1)
    RECORDS.write_text(text + "\n")
    records.cache_clear()


def summary(target: str) -> str:
    """How far the files for a target were tried, and where.

    Of each file the farthest trial counts; what there is none of is said to be not verified on hardware.
    """
    files = [name for name in modules.manifest()["files"] if name.split(".")[1] == target]
    groups: dict[str, list[str]] = {}
    for name in files:
        groups.setdefault(_standing(name), []).append(name.split(".")[0])
    order = sorted(groups, key=[*(_place(level, record) for level in LEVELS for record in records()), UNTRIED].index)
    return "; ".join(f"{words}: {', '.join(groups[words])}" for words in order)


UNTRIED = "not verified on hardware"


def _standing(name: str) -> str:
    """The words for a file's farthest trial."""
    checksum = modules.manifest()["files"][name]
    tried = (
        _place(level, record)
        for level in LEVELS
        for record in records()
        if record.level == level and record.files.get(name) == checksum
    )
    return next(tried, UNTRIED)


def _place(level: str, record: Record) -> str:
    return f"{LEVELS[level]} {record.gpu}, driver {record.driver}"


# ---- this machine --------------------------------------------------------------------------------


def machine() -> dict[str, str]:
    """The GPU that torch uses now, and what runs on it."""
    driver.load()
    return {
        "gpu": torch.cuda.get_device_name(),
        "multiprocessors": str(torch.cuda.get_device_properties().multi_processor_count),
        "driver": driver_number(),
        "torch": torch.__version__,
        "kernels": modules.manifest()["compiler"],
        "refnum": __version__,
        "python": platform.python_version(),
    }


def driver_number() -> str:
    """The driver's own number, as 580.159.04."""
    asked = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0")
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
