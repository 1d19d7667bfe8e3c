"""Golden vectors: a million words exported, read again and compared, against writing their bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from harness import Figure, medians, run
from torch import Tensor

from refnum.lab.export import Port, export_readmemh, read_readmemh

VECTORS = 1_000_000
EXPORT = 30  #: times what writing the bytes takes


def _codes(bits: int, lanes: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(bits)
    half = 1 << (bits - 1)
    return torch.randint(-half, half, (VECTORS, lanes), generator=generator).to(dtype)


def _ports() -> dict[str, list[Port]]:
    """What is exported, by a name."""
    scale = _codes(8, 1, torch.int64) + 128
    scale.clamp_(max=254)
    dot = [
        *(Port(name, _codes(8, 4, torch.int8), 8, fraction=6) for name in ("ma", "mb")),
        *(Port(name, scale, 8, "scale", signed=False, bias=127) for name in ("ea", "eb")),
        Port("mo", _codes(18, 1, torch.int32), 18, "expected"),
        Port("eo", _codes(10, 1, torch.int32), 10, "expected"),
    ]
    return {
        "mxint_dot: 4 lanes of 8 bits twice, 2 scales, 18 and 10 bits": dot,
        "a posit16 sum: 3 ports of 16 bits": [Port(name, _codes(16, 1, torch.int16), 16) for name in "abc"],
        "32 lanes of 5 bits": [Port("a", _codes(5, 32, torch.int8), 5)],
    }


def _write(folder: Path, texts: dict[str, bytes]) -> None:
    for name, text in texts.items():
        (folder / name).write_bytes(text)


def measure() -> Iterator[Figure]:
    """Each kind of words."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for item, ports in _ports().items():
            manifest = export_readmemh(folder, "vectors", ports)
            texts = {path.name: path.read_bytes() for path in folder.glob("vectors.*.hex")}
            times = medians(
                {
                    "write": partial(_write, folder, texts),
                    "export": partial(export_readmemh, folder, "vectors", ports),
                    "read": partial(read_readmemh, manifest),
                }
            )
            data = f"{VECTORS:,} words, {sum(map(len, texts.values())) / 1e6:.0f} MB"
            yield Figure(f"export {item}", data, "writing the bytes", times["export"] / times["write"], EXPORT)
            yield Figure(f"read {item}", data, "writing the bytes", times["read"] / times["write"])
            for path in folder.iterdir():
                path.unlink()


if __name__ == "__main__":
    run("export", measure)
