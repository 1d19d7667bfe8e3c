"""What an interrupted run knows already: one JSON line a verdict, good for one state of target and suite."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

from .runner import Verdict

PACKAGES = ("refnum", "torch", "numpy", "softposit", "ml_dtypes", "gfloat", "gmpy2")


def versions() -> dict[str, str]:
    """Of everything that results depend on, where it is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = getattr(sys.modules.get(name), "__version__", "-")
    return found


def sources(target: ModuleType) -> str:
    """A digest of all files of the target, of refnum and of this suite: code changes more often than versions."""
    digest = hashlib.sha256()
    packages = {__package__, "refnum", target.__name__.partition(".")[0]}
    for name in sorted(package for package in packages if package):
        for path in _files(sys.modules.get(name)):
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _files(module: ModuleType | None) -> Iterator[Path]:
    file = getattr(module, "__file__", None)
    if file is None:
        return iter(())
    path = Path(file)
    return iter(sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path])


def directory() -> Path:
    """Where runs are remembered: the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "refnum-conformance"


class Ledger:
    """Verdicts on disk, appended as they come. The first line says what they hold for."""

    def __init__(self, path: Path, holds_for: Mapping[str, object]) -> None:
        self.path, self.head = path, json.dumps(holds_for, sort_keys=True)
        self.verdicts: dict[str, Verdict] = {}
        self.outdated = False  #: there is an interrupted run, of other code

    @classmethod
    def open(cls, place: Path, asked: Mapping[str, object], state: Mapping[str, object], *, fresh: bool) -> Ledger:
        """Continue the run that was asked for like this while the state is the same, or begin one."""
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        ledger = cls(place / f"run-{name}.jsonl", {**asked, **state})
        place.mkdir(parents=True, exist_ok=True)
        if not fresh and ledger.path.exists():
            ledger._read()
        ledger._write()
        return ledger

    def _read(self) -> None:
        head, *lines = self.path.read_text().splitlines() or [""]
        if head != self.head:
            self.outdated = True
            return
        for line in lines:
            try:
                verdict = Verdict.from_json(json.loads(line))
            except json.JSONDecodeError:  # the line that was being written when the run was killed
                break
            self.verdicts[verdict.id] = verdict

    def _write(self) -> None:
        rows = [json.dumps(verdict.as_json()) for verdict in self.verdicts.values()]
        fresh = self.path.with_suffix(f".{os.getpid()}")
        fresh.write_text("\n".join([self.head, *rows]) + "\n")
        fresh.replace(self.path)

    def add(self, verdict: Verdict) -> None:
        """Remember a verdict."""
        self.verdicts[verdict.id] = verdict
        with self.path.open("a") as file:
            file.write(json.dumps(verdict.as_json()) + "\n")

    def close(self) -> None:
        """The run is complete: the next one starts again."""
        self.path.unlink(missing_ok=True)
