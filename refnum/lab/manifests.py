"""What stands beside hex files and says how to read them: one JSON object, whose keys are sorted.

A manifest may come from anywhere. Each field is checked before anything is made of it: the names of files follow from
those of the vectors and their ports, so that they name files of its own folder alone, and sizes are bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

from ..errors import FormatError

VERSION = 1
VALUE = "mant * 2**exp"  #: what codes of mantissas and of scales mean
KINDS = ("mantissa", "scale", "expected")
WIDEST = 1 << 16  #: bits of a word
DEEPEST = 1 << 28  #: words of a port
LARGEST = 1 << 24  #: bytes of a manifest
FARTHEST = 1 << 16  #: of a point or a bias from 0

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")  #: of vectors
PORT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")  #: of ports, as languages for hardware have them
DIGEST = re.compile(r"[0-9a-f]{64}")

Fields = Mapping[str, Any]


def written(path: Path, fields: Fields) -> None:
    """Write a manifest, if it is one."""
    _check(path.name, fields)
    path.write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n", encoding="utf-8", newline="\n")


def read(path: Path) -> Fields:
    """The fields of a manifest, all of which are checked.

    Raises
    ------
    FormatError
        When it is no manifest.
    """
    if not path.is_file() or path.stat().st_size > LARGEST:
        raise FormatError(
            f"read_readmemh needs a manifest of at most {LARGEST:,} bytes, got {path.name}, which is none. Allowed is "
            "what export_readmemh wrote. Pass its path."
        )
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(
            f"read_readmemh cannot read {path.name}: {error}. Allowed is JSON, as export_readmemh writes it. Export "
            "the vectors again."
        ) from None
    _check(path.name, fields)
    return dict(fields)


def _check(where: str, fields: object) -> None:
    """Every field is there and is what it should be."""
    whole = _Object(where, fields)
    whole.has({"version", "name", "depth", "value", "format", "rounding", "overflow", "files"})
    whole.one_of("version", (VERSION,))
    whole.matches("name", NAME)
    whole.integer("depth", 0, DEEPEST)
    whole.text("value")
    for key in ("rounding", "overflow"):
        whole.text(key, or_none=True)
    whole.flat("format")
    ports = [_check_port(where, str(whole["name"]), entry) for entry in whole.entries("files")]
    if len(set(ports)) < len(ports):
        raise whole.wrong("files", ports, "ports of different names")


def _check_port(where: str, name: str, fields: object) -> str:
    entry = _Object(where, fields)
    entry.has({*"file port kind bits lanes lane_bits signed frac_bits exp_bias sha256".split()}, {"nan"})
    entry.matches("port", PORT)
    entry.one_of("file", (file_name(name, entry["port"]),))
    entry.one_of("kind", KINDS)
    entry.integer("lanes", 1, WIDEST)
    entry.integer("lane_bits", 1, WIDEST // entry["lanes"])
    entry.one_of("bits", (entry["lanes"] * entry["lane_bits"],))
    for key in ("frac_bits", "exp_bias"):
        entry.integer(key, -FARTHEST, FARTHEST)
    for key in sorted({"signed", "nan"} & entry.fields.keys()):
        entry.one_of(key, (True, False))
    entry.matches("sha256", DIGEST)
    return str(entry["port"])


def file_name(name: str, port: str) -> str:
    """Of a port's words."""
    return f"{name}.{port}.hex"


class _Object:
    """A JSON object, and what is asked of its fields."""

    def __init__(self, where: str, fields: object) -> None:
        self.where = where
        if not isinstance(fields, dict):
            raise FormatError(
                f"The manifest {where} needs objects, got {_short(fields)}. Allowed is what export_readmemh writes. "
                "Export the vectors again."
            )
        self.fields: dict[str, Any] = fields

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def wrong(self, key: str, got: object, allowed: str) -> FormatError:
        """The error of a field."""
        return FormatError(
            f"The manifest {self.where} has no {key}={_short(got)}. Allowed is {allowed}. Export the vectors again."
        )

    def has(self, needed: set[str], possible: Iterable[str] = ()) -> None:
        """These fields are there, and at most some others."""
        if not needed <= self.fields.keys() <= needed | set(possible):
            raise self.wrong("fields", sorted(self.fields), ", ".join(sorted(needed)))

    def one_of(self, key: str, allowed: tuple[object, ...]) -> None:
        """A field has one of some values."""
        if not any(type(self[key]) is type(value) and self[key] == value for value in allowed):
            raise self.wrong(key, self[key], " or ".join(map(repr, allowed)))

    def integer(self, key: str, least: int, most: int) -> None:
        """A field is an integer within bounds."""
        if type(self[key]) is not int or not least <= self[key] <= most:
            raise self.wrong(key, self[key], f"an integer from {least} to {most}")

    def matches(self, key: str, pattern: re.Pattern[str]) -> None:
        """A field is a text of some form."""
        if not isinstance(self[key], str) or not pattern.fullmatch(self[key]):
            raise self.wrong(key, self[key], f"text like {pattern.pattern}")

    def text(self, key: str, *, or_none: bool = False) -> None:
        """A field is a text, or null where that may be."""
        if not (isinstance(self[key], str) or (or_none and self[key] is None)):
            raise self.wrong(key, self[key], "text or null" if or_none else "text")

    def flat(self, key: str) -> None:
        """A field is an object of texts, integers and such."""
        given = self[key]
        if not isinstance(given, dict) or not all(
            isinstance(name, str) and isinstance(said, (str, int, NoneType)) for name, said in given.items()
        ):
            raise self.wrong(key, given, "an object of texts, integers, true, false and null")

    def entries(self, key: str) -> list[object]:
        """The entries of a field that is a list, of one or more."""
        given = self[key]
        if not isinstance(given, list) or not given:
            raise self.wrong(key, given, "a list of one port or more")
        return given


def _short(value: object) -> str:
    """As a message repeats it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
