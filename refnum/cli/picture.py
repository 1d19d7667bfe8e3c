"""The demo's picture: how precise each format is along the number line, and what the network makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..formats import Format, Posit
from ..lab.measures import SCALES, decimal_accuracy
from .extras import require

SHOWN = (1e-42, 1e42)  #: of the number line

COLOURS = {"float32": "#9aa0a8", "posit8": "#e08a1e", "posit16": "#16988a", "posit32": "#4250c4"}
INK, SHADE, FAINT = "#24292f", "#b4bac2", "#e4e7eb"
STYLE = {
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "xtick.color": INK,
    "ytick.color": INK,
}


class Bar(NamedTuple):
    """How a format did."""

    fmt: Format
    accuracy: float
    worst: float


def draw(out: Path, bars: Sequence[Bar], numbers: Tensor) -> None:
    """Write the picture. ``numbers`` are the magnitudes that the network computes with.

    Raises
    ------
    MissingExtraError
        When matplotlib is missing.
    """
    matplotlib = require("The picture", "matplotlib", extra="plot")
    figure_module = require("The picture", "matplotlib.figure", extra="plot")
    with matplotlib.rc_context(STYLE):
        figure = figure_module.Figure(figsize=(13, 5), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2.4, 1))
        _draw_number_line(left, [bar.fmt for bar in bars], numbers)
        _draw_bars(right, bars)
        figure.savefig(out, dpi=160)


def _draw_number_line(axes: Any, formats: Sequence[Format], numbers: Tensor) -> None:
    edges = torch.tensor([*SCALES, SCALES.stop], dtype=torch.float64).exp2()
    for fmt in formats:
        accuracy, colour = decimal_accuracy(fmt).clamp(min=-1), COLOURS[fmt.name]
        axes.stairs(accuracy.tolist(), edges.tolist(), baseline=None, color=colour, linewidth=1.8)
        place = (1 if isinstance(fmt, Posit) else 1e25, float(accuracy.max()))  # at the peak, or on the plateau
        axes.annotate(fmt.name, place, (0, 5), textcoords="offset points", ha="center", color=colour, weight="bold")
    # What the network uses, as a hill at the foot of the picture.
    counts = torch.bincount(torch.bucketize(numbers, edges) - 1, minlength=len(SCALES)).double()
    axes.stairs((counts / counts.max()).tolist(), edges.tolist(), color=SHADE, fill=True, label="the network's numbers")
    axes.legend(loc="lower right", bbox_to_anchor=(0.912, 0), frameon=False, fontsize=8, handlelength=1, handleheight=1)
    axes.set(xscale="log", xlim=SHOWN, xlabel="magnitude")
    axes.set(ylim=(0, 9.8), ylabel="decimal accuracy, worst of each binade")
    axes.set_title("Correct decimals along the number line")
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_bars(axes: Any, bars: Sequence[Bar]) -> None:
    names, lengths = [bar.fmt.name for bar in bars], [bar.accuracy for bar in bars]
    axes.barh(names, 1, color=FAINT, height=0.62)  # what all of them would be
    axes.barh(names, lengths, color=[COLOURS[name] for name in names], height=0.62)
    for row, bar in enumerate(bars):
        text = {"y": row, "va": "center", "color": "white"}
        axes.text(x=0.03, s=f"{bar.accuracy:.1%}", weight="bold", size=14, **text)
        axes.text(x=0.38, s=f"logits off by {bar.worst:.2g} at most", size=9, **text)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title("Digits recognised")
