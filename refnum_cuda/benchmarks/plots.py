"""Draws what the benchmarks wrote, results/<topic>.json, as pictures: ``python refnum_cuda/benchmarks/plots.py``.

A bar is the time of ours as a multiple of a yardstick's, on a logarithmic scale around 1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[1] / "results"
FASTER, SLOWER = "#2a7f62", "#8d99ae"


def main() -> None:
    """Draw every topic."""
    for path in sorted(RESULTS.glob("*.json")):
        record = json.loads(path.read_text())
        if bars := [bar for row in record.get("rows", []) for bar in _bars(row)]:
            _figure(path.stem, record["machine"]["gpu"], bars).savefig(path.with_suffix(".png"), dpi=110)
            print(path.with_suffix(".png").name)


def _bars(row: dict[str, Any]) -> list[tuple[str, float]]:
    return [(f"{row['name']}  /  {name}", ratio) for name, ratio in row["ratios"].items()]


def _figure(topic: str, gpu: str, bars: list[tuple[str, float]]) -> Figure:
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    names, ratios = zip(*bars[::-1], strict=True)
    drawn = axes.barh(names, [ratio - 1 for ratio in ratios], left=1, color=[_color(ratio) for ratio in ratios])
    axes.bar_label(drawn, [f" {ratio:.2g} " for ratio in ratios], fontsize=8)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(ratios) / 4, max(max(ratios), 1) * 1.6)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("time of refnum_cuda as a multiple of the yardstick's (left of 1: faster)")
    axes.set_title(f"{topic}, {gpu}")
    return figure


def _color(ratio: float) -> str:
    return FASTER if ratio <= 1 else SLOWER


if __name__ == "__main__":
    main()
