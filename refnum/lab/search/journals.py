"""Journals: files in which each finished trial is a line, so that a study that was cut off goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import FormatError
from .trials import Choice, Trial, spelled

VERSION = 1


class Journal:
    """What is known by now; with a path, also on disk: a line that says what the trials are of, then one for each."""

    def __init__(self, path: str | os.PathLike[str] | None, head: Mapping[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self._known: dict[str, Trial] = {}
        if self.path is not None:
            self._open(self.path, dict(head))

    def find(self, formats: Mapping[str, Choice]) -> Trial | None:
        """The trial of these formats, if there was one."""
        return self._known.get(_key(formats))

    def add(self, trial: Trial) -> None:
        """One more; it is on disk when this returns."""
        if self.path is not None:
            self._append(self.path, trial.to_json())
        self._known[_key(trial.formats)] = trial

    def _open(self, path: Path, head: dict[str, Any]) -> None:
        """Read what is there. A line without an end is what was being written when a study was killed."""
        first = json.dumps(head) + "\n"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        if first.startswith(text):
            path.write_text("", encoding="utf-8")
            self._append(path, first.rstrip("\n"))
            return
        lines = text.splitlines(keepends=True)
        _check_head(path, lines[0], head)
        if not lines[-1].endswith("\n"):
            os.truncate(path, len("".join(lines[:-1]).encode()))
            del lines[-1]
        for line in lines[1:]:
            trial = Trial.from_json(line)
            self._known[_key(trial.formats)] = trial

    def _append(self, path: Path, line: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def _key(formats: Mapping[str, Choice]) -> str:
    return json.dumps(spelled(formats), sort_keys=True)


def head_of(model: nn.Module, space: Mapping[str, tuple[Choice, ...]], **options: object) -> dict[str, Any]:
    """What trials are of; those of anything else have no place in the same file."""
    choices = {name: list(spelled(dict(enumerate(row))).values()) for name, row in space.items()}  # type: ignore[arg-type]
    return {"refnum.lab.search": VERSION, "model": fingerprint(model), "space": choices, **options}


def fingerprint(model: nn.Module) -> str:
    """A hash of the modules and of every bit of the state."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {module.training}\n".encode())
    for name, x in model.state_dict().items():
        if isinstance(x, Tensor):
            digest.update(f"{name} {x.dtype} {tuple(x.shape)}\n".encode())
            digest.update(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_head(path: Path, line: str, head: dict[str, Any]) -> None:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("refnum.lab.search") != VERSION:
        raise FormatError(
            f"lab.search cannot go on with {path}: it is no file of trials. Allowed is one that lab.search wrote, or a "
            "new path. Choose another."
        )
    others = [name for name, value in head.items() if found.get(name) != value]
    if others:
        raise FormatError(
            f"lab.search cannot go on with {path}: its trials are of another {' and another '.join(others)}. Allowed "
            "are those of the same model, space, seed and way to count bits. Choose another path, or give the same."
        )
