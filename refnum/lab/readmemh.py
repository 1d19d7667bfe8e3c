"""Vectors of circuits as files: words for ``$readmemh``, and a manifest that says what they hold.

A port of a circuit is a file of words, one a cycle. What is written is read again and compared before it counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError, MismatchError
from . import manifests
from .hexadecimal import Layout
from .manifests import NAME, VALUE, VERSION
from .ports import Port, check_name, check_ports


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """What a manifest and its files hold: ports by their names, and what was said of them all."""

    name: str
    depth: int
    ports: Mapping[str, Port]
    format: Mapping[str, Any]
    rounding: str | None
    overflow: str | None
    value: str = VALUE

    def __getitem__(self, port: str) -> Tensor:
        """The codes of a port: int64 [depth, lanes], or [depth, lanes, limbs] above 64 bits."""
        codes = self.ports[port].codes
        return codes[..., 0] if codes.shape[-1] == 1 else codes


def export_readmemh(
    directory: Path | str,
    name: str,
    ports: Sequence[Port],
    *,
    format: Mapping[str, Any] | None = None,
    rounding: str | None = None,
    overflow: str | None = None,
    value: str = VALUE,
) -> Path:
    """Write vectors for a testbench: ``NAME.PORT.hex`` for each port, and ``NAME.json``; read them again and compare.

    A hex file has one word a line, in lower case, with all its digits, so that ``$readmemh("NAME.PORT.hex", mem)``
    fills a memory of ``bits`` by ``depth``. The manifest has, with sorted keys, ``version``, ``name``, ``depth``,
    ``value``, ``format``, ``rounding``, ``overflow`` and ``files``: for each its ``file``, ``port``, ``kind``,
    ``bits``, ``lanes``, ``lane_bits``, ``signed``, ``frac_bits``, ``exp_bias`` and ``sha256``, and ``nan`` where the
    port has a flag for that.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = export_readmemh(folder, "pair", [Port("a", torch.tensor([[1, -1], [0, -128]]), 8)])
    ...     print((manifest.parent / "pair.a.hex").read_text(), read_readmemh(manifest)["a"].tolist())
    ff01
    8000
     [[1, -1], [0, -128]]

    Parameters
    ----------
    directory : Path or str
        Where the files go; it is made if need be, and files of these names are replaced.
    name : str
        Of the vectors: letters, digits, ``_`` and ``-``.
    ports : sequence of Port
        One or more, of one depth.
    format : mapping, optional
        What the codes are of: texts, numbers, bools and None by any keys.
    rounding, overflow : str, optional
        How expected codes were rounded, and what happened beyond the ends.
    value : str
        What codes mean.

    Returns
    -------
    Path
        Of the manifest.

    Raises
    ------
    FormatError
        When a name is none, ports share one, or the format says more than a flat mapping can.
    ShapeError
        When there is no port, or they are of different depths.
    MismatchError
        When the files read back hold something else.

    Exactness: bit-exact; what was written was read and compared.
    Rounding: none.
    Special: NaN scales are refused by `Port`, unless it has a flag for them.
    Standard: IEEE 1800-2017 section 21.4, ``$readmemh``.
    Cost: O(words) time, 20 MB beside the codes; 1M vectors take less than 30 times what writing their bytes takes.
    """
    check_name("export_readmemh", "name", name, NAME)
    check_ports(ports)
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / f"{name}.json"
    fields = {
        "version": VERSION,
        "name": name,
        "depth": ports[0].depth,
        "value": value,
        "format": dict(format or {}),
        "rounding": rounding,
        "overflow": overflow,
        "files": [_written(folder, name, port) for port in ports],
    }
    manifests.written(manifest, fields)
    found = read_readmemh(manifest)
    for port in ports:
        if not torch.equal(found.ports[port.name].codes, port.codes):
            raise MismatchError(
                f"export_readmemh read other codes from {manifests.file_name(name, port.name)} than it wrote. Allowed "
                "are the same. Look at the disk, and at who else writes there."
            )
    return manifest


def read_readmemh(manifest: Path | str) -> Vectors:
    """The vectors of a manifest, after its fields, and the sizes, digests and digits of its files were checked.

    Parameters
    ----------
    manifest : Path or str
        ``NAME.json``, with the hex files beside it. It may come from anywhere: files elsewhere are not read.

    Returns
    -------
    Vectors
        The ports by name, with the codes that `export_readmemh` was given.

    Raises
    ------
    FormatError
        When the manifest is none, or a file is not the one that it describes.
    NonFiniteError
        When a scale is NaN and the port has no flag for it.

    Exactness: bit-exact.
    Rounding: none.
    Special: as `Port`.
    Standard: IEEE 1800-2017 section 21.4, ``$readmemh``.
    Cost: O(words) time, 20 MB beside the codes.
    """
    path = Path(manifest)
    fields = manifests.read(path)
    depth = fields["depth"]
    ports = {entry["port"]: _read(path.parent, depth, entry) for entry in fields["files"]}
    said = {key: fields[key] for key in ("format", "rounding", "overflow", "value")}
    return Vectors(fields["name"], depth, ports, **said)


# ---- files ---------------------------------------------------------------------------------------


def _written(folder: Path, name: str, port: Port) -> dict[str, object]:
    """Write the words of a port; what the manifest says of them."""
    path = folder / manifests.file_name(name, port.name)
    layout, codes, digest = port.layout, port.codes.numpy(), hashlib.sha256()
    with _own(path).open("wb") as file:
        for start in range(0, port.depth, layout.rows):
            text = layout.text(codes[start : start + layout.rows])
            digest.update(text)
            file.write(text)
    return {
        "file": path.name,
        "port": port.name,
        "kind": port.kind,
        "bits": layout.bits,
        "lanes": port.lanes,
        "lane_bits": port.bits,
        "signed": port.signed,
        "frac_bits": port.fraction,
        "exp_bias": port.bias,
        "sha256": digest.hexdigest(),
        **({"nan": True} if port.nan else {}),
    }


def _read(folder: Path, depth: int, entry: Mapping[str, Any]) -> Port:
    """The port of a file, which is the one that was described."""
    path, layout = folder / entry["file"], Layout(entry["lanes"], entry["lane_bits"], entry["signed"])
    size = path.stat().st_size if path.is_file() else -1
    if size != depth * layout.line:
        got = "no file" if size < 0 else f"{size:,} bytes"
        raise FormatError(
            f"read_readmemh needs {depth * layout.line:,} bytes in {path.name}, {depth} words of {layout.digits} "
            f"digits, got {got}. Allowed is the file that export_readmemh wrote. Export the vectors again."
        )
    codes = np.empty((depth, layout.lanes, layout.limbs), dtype=np.int64)
    digest = hashlib.sha256()
    for start, text in _parts(_own(path), layout):
        digest.update(text)
        rows = layout.codes(text)
        if rows is None:
            raise _fault(path.name, layout, start, text)
        codes[start : start + len(rows)] = rows
    if digest.hexdigest() != entry["sha256"]:
        raise FormatError(
            f"read_readmemh needs a sha256 of {entry['sha256']} of {path.name}, got {digest.hexdigest()}. Allowed is "
            "the file that export_readmemh wrote. Export the vectors again."
        )
    return Port(
        entry["port"],
        torch.from_numpy(codes),
        entry["lane_bits"],
        entry["kind"],
        signed=entry["signed"],
        fraction=entry["frac_bits"],
        bias=entry["exp_bias"],
        nan=entry.get("nan", False),
    )


def _parts(path: Path, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """The lines of a file, some at a time, with the number of the first."""
    with path.open("rb") as file:
        for start in range(0, path.stat().st_size // layout.line, layout.rows):
            yield start, file.read(layout.rows * layout.line)


def _own(path: Path) -> Path:
    """A path that leads to no other file."""
    if path.is_symlink():
        raise FormatError(
            f"Vectors are no links, got {path.name}, which is one. Allowed are files of the folder itself. Remove it."
        )
    return path


def _fault(name: str, layout: Layout, start: int, text: bytes) -> FormatError:
    """Why some lines are not as they should be: the first that is wrong."""
    lines = (text[i : i + layout.line] for i in range(0, len(text), layout.line))
    row, line = next((row, line) for row, line in enumerate(lines, start + 1) if layout.codes(line) is None)
    return FormatError(
        f"read_readmemh needs {layout.digits} hexadecimal digits in lower case for {layout.bits} bits in line {row} of "
        f"{name}, got {line[:40]!r}. Allowed is what export_readmemh writes. Export the vectors again."
    )
