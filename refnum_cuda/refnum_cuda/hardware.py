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

    Of each file the farthest trial counts. One that was changed since is not verified on hardware; it is told apart
    from those that never ran.
    """
    groups: dict[str, list[str]] = {}
    for name, checksum in modules.manifest()["files"].items():
        stem, architecture = name.split(".")[:2]
        if architecture == target:
            groups.setdefault(_standing(name, checksum), []).append(stem)
    order = [*(f"{words} {_place(record)}" for words in LEVELS.values() for record in records())]
    order += [f"{CHANGED} {_place(record)}" for record in records()]
    return "; ".join(f"{words}: {', '.join(groups[words])}" for words in sorted(groups, key=[*order, NEVER].index))


CHANGED = "not verified on hardware since they were changed, before that on"
NEVER = "not verified on hardware"


def _standing(name: str, checksum: str) -> str:
    """The words for a file's farthest trial."""
    for level, words in LEVELS.items():
        for record in records():
            if record.level == level and record.files.get(name) == checksum:
                return f"{words} {_place(record)}"
    return next((f"{CHANGED} {_place(record)}" for record in records() if name in record.files), NEVER)


def _place(record: Record) -> str:
    return f"{record.gpu}, driver {record.driver}"


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
