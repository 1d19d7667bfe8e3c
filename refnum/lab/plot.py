"""Pictures of formats and of results, as matplotlib figures: ``plot.number_line(e4m3, posit8).savefig("line.svg")``.

Every function takes ``theme="light"`` or ``"dark"``. Colours differ for colour-blind readers, too, and a label stands
beside what it names. Nothing of matplotlib's state is read or changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..boundary import check_choice
from ..errors import DTypeError, FormatError, MissingExtraError, ShapeError
from ..formats import Block, Posit, Scalar, e2m1, e2m3, e3m2, e4m3, e5m2, mxfp4, mxfp8_e4m3, nvfp4
from ..formats import mxfp6_e2m3 as mxfp6
from ..mx import Blocks
from . import measures
from .measures import SCALES
from .themes import THEMES, Theme

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator
except ImportError as error:
    raise MissingExtraError(
        f"refnum.lab.plot needs matplotlib, which cannot be imported ({error}). It comes with the extra 'plot'. "
        "Run: python -m pip install 'refnum[plot]'"
    ) from None

SHOWN = (1e-42, 1e42)  #: of the number line
LEAST_ERROR, LARGEST_ERROR = -52, 1  #: log2 of relative errors beyond which nothing is told apart
LIMIT = 20 * math.log10(2)  #: decibels that a bit can buy of N(0,1), by rate-distortion theory
COMPARED: tuple[Scalar | Block, ...] = (
    *(Posit(n) for n in (6, 8, 10, 12)),
    *(e2m1, e2m3, e3m2, e4m3, e5m2),
    *(mxfp4, nvfp4, mxfp6, mxfp8_e4m3),
)


# The canvas -----------------------------------------------------------------------------------------------------------

MARKERS = "osD^vP"  #: beside the colours


class _Picture(Figure):
    """A figure that is drawn by its theme, not by what matplotlib is set to: ticks are made only then."""

    def __init__(self, theme: Theme, size: tuple[float, float]) -> None:
        with _settings(theme):
            super().__init__(figsize=size, layout="constrained")
        self.theme = theme

    def draw(self, renderer: Any) -> None:
        with _settings(self.theme):
            super().draw(renderer)


@contextmanager
def _canvas(theme: str, title: str, size: tuple[float, float]) -> Iterator[tuple[Axes, Theme]]:
    """Axes in a new figure while matplotlib is set to the theme."""
    figure = _Picture(THEMES[theme], size)
    with _settings(figure.theme):
        axes = figure.subplots()
        axes.set_title(title)
        yield axes, figure.theme


@contextmanager
def _settings(theme: Theme) -> Iterator[None]:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_style(theme))
        yield


def _style(theme: Theme) -> dict[Any, Any]:
    return {
        **dict.fromkeys(("figure.facecolor", "axes.facecolor"), theme.surface),
        **dict.fromkeys(("text.color", "axes.titlecolor"), theme.ink),
        **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), theme.muted),
        **dict.fromkeys(("axes.edgecolor", "grid.color"), theme.faint),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right", "axes.spines.left"), False),
        **dict.fromkeys(("xtick.major.size", "ytick.major.size", "xtick.minor.size"), 0),
        **dict.fromkeys(("figure.constrained_layout.h_pad", "figure.constrained_layout.w_pad"), 0.12),
        "axes.axisbelow": True,
        "axes.titlelocation": "left",
        "axes.titlepad": 14,
        "axes.titlesize": 13,
        "axes.titleweight": "bold",
        "figure.dpi": 120,
        "font.size": 10,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "lines.linewidth": 2,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": "refnum",  # the same file every time
    }


def _check(function: str, theme: object, formats: Sequence[object]) -> None:
    check_choice(function, "theme", theme, THEMES)
    most = len(THEMES["light"].series)
    if not 1 <= len(formats) <= most:
        raise FormatError(f"{function} compares 1 to {most} formats, got {len(formats)}. Draw some in another figure.")


def _power(x: float, _: object) -> str:
    """How an axis names an exponent."""
    return f"$2^{{{x:g}}}$"


def _figure(axes: Axes) -> Figure:
    assert isinstance(axes.figure, Figure)
    return axes.figure


# Formats -------------------------------------------------------------------------------------------------------------


def number_line(*formats: Scalar, spacing: str = "log", theme: str = "light") -> Figure:
    """Where the values of formats lie: a tick a value, taller at the powers of two.

    >>> from refnum.formats import e4m3, e5m2, posit8
    >>> figure = number_line(posit8, e4m3, e5m2)
    >>> [text.get_text() for text in figure.axes[0].texts if "values" in text.get_text()]
    ['127 values', '126 values', '123 values']

    Parameters
    ----------
    *formats : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook
        One to six formats of up to 12 bits; a line each.
    spacing : str
        ``log``: magnitudes by their logarithm, without 0. ``linear``: all values, negative ones to the left.
    theme : str
        ``light`` or ``dark``.

    Raises
    ------
    FormatError
        When a format has more than 12 bits, or is no scalar format; or when there are none, or more than six.
    ContractError
        When there is no such spacing or theme.
    """
    _check("number_line", theme, formats)
    check_choice("number_line", "spacing", spacing, _SPACINGS)
    lines = [measures.values(fmt) for fmt in formats]
    title, label, place = _SPACINGS[spacing]
    with _canvas(theme, title, (10, 1.1 + 0.75 * len(formats))) as (axes, colours):
        for row, (fmt, values, colour) in enumerate(zip(formats, lines, colours.series, strict=False)):
            shown = place(values)
            powers = values.abs().frexp().mantissa[-len(shown) :] == 0.5
            for tall, height in ((powers, 0.3), (~powers, 0.16)):
                x = shown[tall].tolist()
                axes.vlines(x, row - height, row + height, color=colour, linewidth=1.4 if len(shown) < 64 else 1.0)
            axes.hlines(row, float(shown[0]), float(shown[-1]), color=colour, linewidth=0.8)
            beside: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "va": "center", "annotation_clip": False}
            axes.annotate(str(fmt), (-0.015, row), ha="right", color=colour, weight="bold", **beside)
            axes.annotate(f"{len(shown)} values", (1.015, row), ha="left", color=colours.muted, **beside)
        axes.set(ylim=(len(formats) - 0.5, -0.5), yticks=[], xlabel=label)
        axes.grid(axis="x")
        if spacing == "log":
            axes.xaxis.set_major_formatter(FuncFormatter(_power))
            axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 4, 5, 8, 10]))
    return _figure(axes)


#: title, label of the axis, and the places of the values, of which some at the beginning may be left out
_SPACINGS: dict[str, tuple[str, str, Callable[[Tensor], Tensor]]] = {
    "log": ("Positive values", "magnitude", lambda values: values[values > 0].log2()),
    "linear": ("Values", "value", lambda values: values),
}


def decimal_accuracy(*formats: Scalar, theme: str = "light") -> Figure:
    """How many decimals are right along the number line: the worst of each binade, Gustafson's measure.

    >>> from refnum.formats import bfloat16, posit16
    >>> [line.get_label() for line in decimal_accuracy(posit16, bfloat16).axes[0].patches]
    ['posit16', 'bfloat16']

    Parameters
    ----------
    *formats : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook
        One to six.
    theme : str
        ``light`` or ``dark``.

    Raises
    ------
    FormatError
        When a format is no scalar format; or when there are none, or more than six.
    ContractError
        When there is no such theme.
    """
    _check("decimal_accuracy", theme, formats)
    curves = [measures.decimal_accuracy(fmt) for fmt in formats]
    edges = torch.tensor([*SCALES, SCALES.stop], dtype=torch.float64, device="cpu").exp2().tolist()
    with _canvas(theme, "Correct decimals along the number line", (10, 4.6)) as (axes, colours):
        for fmt, curve, colour in zip(formats, curves, colours.series, strict=False):
            heights = curve.nan_to_num(0, 0, 0).clamp(min=0)
            axes.stairs(heights.tolist(), edges, baseline=None, color=colour, linewidth=2, label=str(fmt))
            # A posit is named above its peak, a float behind the end of its plateau.
            x, offset, side = (1.0, (0, 5), "center") if isinstance(fmt, Posit) else (fmt.max_value, (5, -3), "left")
            place: dict[str, Any] = {
                "xytext": offset,
                "textcoords": "offset points",
                "ha": side,
                "annotation_clip": False,
            }
            axes.annotate(str(fmt), (min(x, SHOWN[1]), float(heights.max())), color=colour, weight="bold", **place)
        axes.set(xscale="log", xlim=SHOWN, xlabel="magnitude", ylabel="decimals, worst of each binade")
        axes.set_ylim(0, 1.12 * max(float(curve.nan_to_num(0, 0, 0).max()) for curve in curves))
        axes.grid(axis="y")
    return _figure(axes)


def accuracy_against_bits(*formats: Scalar | Block, theme: str = "light") -> Figure:
    """What a number costs and what it buys: bits, scales included, against decibels of noise under N(0,1).

    >>> from refnum.formats import e2m1, mxfp4, nvfp4, posit8
    >>> figure = accuracy_against_bits(e2m1, mxfp4, nvfp4, posit8)
    >>> figure.axes[0].get_legend_handles_labels()[1]
    ['floats', 'blocks', 'posits']

    Parameters
    ----------
    *formats : Posit, Minifloat, FixedPoint, DMF, Logarithmic, Codebook or Block
        Any number; without any, a choice of common ones.
    theme : str
        ``light`` or ``dark``.

    Raises
    ------
    FormatError
        When something is no format that is written, or holds float64.
    ContractError
        When there is no such theme.
    """
    check_choice("accuracy_against_bits", "theme", theme, THEMES)
    compared = formats or COMPARED
    points = [(measures.family(fmt), measures.bits(fmt), measures.signal_to_noise(fmt), str(fmt)) for fmt in compared]
    if lossless := [name for _, _, decibels, name in points if not math.isfinite(decibels)]:
        raise FormatError(
            f"accuracy_against_bits measures with float64, got {lossless[0]}, which loses nothing of it. Allowed are "
            "formats that round. Leave it out."
        )
    with _canvas(theme, "Accuracy against bits", (10, 5.6)) as (axes, colours):
        end, top = 1.1 * max(point[1] for point in points), 1.15 * max(point[2] for point in points)
        corner = min(end, top / LIMIT)  # where the line leaves the picture
        axes.plot([0, corner], [0, LIMIT * corner], color=colours.muted, linewidth=1, linestyle=(0, (4, 3)))
        place: dict[str, Any] = {"xytext": (-28, -6), "textcoords": "offset points", "ha": "right", "va": "top"}
        axes.annotate("no code of N(0,1) is better", (corner, LIMIT * corner), color=colours.muted, **place)
        for family, colour, marker in zip(dict.fromkeys(p[0] for p in points), colours.series, MARKERS, strict=False):
            across, up, names = zip(*(point[1:] for point in points if point[0] == family), strict=True)
            size = 90 if marker == MARKERS[0] else 40  # so that the first shows round another in its place
            axes.scatter(across, up, size, color=colour, marker=marker, label=family, zorder=3)
            beside: dict[str, Any] = {"textcoords": "offset points", "color": colour, "fontsize": 9, **_BESIDE[family]}
            for x, y, name in zip(across, up, names, strict=True):
                axes.annotate(name, (x, y), **beside)
        axes.set(xlim=(min(point[1] for point in points) - 1, end), xlabel="bits a number, scales included")
        axes.set(ylim=(min(point[2] for point in points) - 6, top), ylabel="signal to noise of N(0,1), dB")
        axes.grid()
        axes.legend(loc="upper left", labelcolor=colours.ink)  # where nothing can be
    return _figure(axes)


#: where a name stands beside its mark, so that names of one size seldom meet
_BESIDE: dict[str, dict[str, Any]] = {
    "posits": {"xytext": (0, 6), "ha": "center", "va": "bottom"},
    "floats": {"xytext": (-8, 0), "ha": "right", "va": "center"},
    "blocks": {"xytext": (8, 0), "ha": "left", "va": "center"},
    "fixed point": {"xytext": (-10, 0), "ha": "right", "va": "center"},
    "logarithms": {"xytext": (8, 0), "ha": "left", "va": "center"},
    "tables": {"xytext": (-8, 0), "ha": "right", "va": "center"},
}


# Results -------------------------------------------------------------------------------------------------------------


def relative_errors(results: Mapping[str, Tensor], want: Tensor, *, theme: str = "light") -> Figure:
    """Histogram of how far results are from the right ones: the share of elements in each binade of relative error.

    Elements that are not finite in both are left out.

    >>> want = torch.linspace(1, 2, 100)
    >>> figure = relative_errors({"half": want.half(), "bfloat16": want.bfloat16()}, want)
    >>> [patch.get_label() for patch in figure.axes[0].patches if patch.get_label()]
    ['half: 2.0 % exact', 'bfloat16: 2.0 % exact']

    Parameters
    ----------
    results : mapping of str to Tensor
        Up to six results by name, of any float dtypes.
    want : Tensor
        The right results, in the same shape.
    theme : str
        ``light`` or ``dark``.

    Raises
    ------
    DTypeError, ShapeError
        When a tensor is not of floats, or a shape differs; or when no element is finite in both.
    ContractError
        When there is no such theme.
    """
    _check("relative_errors", theme, tuple(results))
    found = {name: measures.relative_errors(got, want) for name, got in results.items()}
    if empty := [name for name, errors in found.items() if not errors.numel()]:
        raise ShapeError(
            f"relative_errors has nothing to draw of {empty[0]!r}: no element is finite in it and in want. Allowed are "
            "results with some. Look at the NaNs first, with refnum.testing.assert_bit_equal."
        )
    wrong = {name: _binades(errors) for name, errors in found.items()}
    ends = [int(end) for binades in wrong.values() if len(binades) for end in binades.aminmax()] or [LEAST_ERROR]
    edges = range(min(ends) - 1, max(ends) + 3)
    with _canvas(theme, "Relative error", (10, 4.2)) as (axes, colours):
        for (name, binades), colour in zip(wrong.items(), colours.series, strict=False):
            count = found[name].numel()
            shares = 100 * torch.bincount(binades - edges.start, minlength=len(edges) - 1).double() / count
            label = f"{name}: {100 * (1 - len(binades) / count):.1f} % exact"
            axes.stairs(shares.tolist(), edges, color=colour, fill=True, alpha=0.16)
            axes.stairs(shares.tolist(), edges, color=colour, label=label, linewidth=2)
        axes.set(xlim=(edges[0], edges[-1]), xlabel="|got - want| / |want|", ylabel="% of elements")
        axes.xaxis.set_major_formatter(FuncFormatter(_power))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        axes.grid(axis="y")
        axes.legend(loc="upper left", labelcolor=colours.ink)
    return _figure(axes)


def _binades(errors: Tensor) -> Tensor:
    """The binades of those that are not 0, from their exponents: a logarithm is wrong beside powers of 2."""
    return errors[errors > 0].clamp(2.0**LEAST_ERROR, 2.0**LARGEST_ERROR).frexp().exponent.to(torch.int64) - 1


def block_scales(blocks: Blocks, *, theme: str = "light") -> Figure:
    """Map of the scales of a tensor's blocks, by their logarithm: outliers and dead channels are stripes.

    >>> from refnum import mx, mxfp4
    >>> figure = block_scales(mx.quantize(torch.ones(8, 256), mxfp4))
    >>> figure.axes[0].get_images()[0].get_array().shape
    (8, 8)

    Parameters
    ----------
    blocks : mx.Blocks
        With at least one block. Axes beside that of the blocks are laid one under the other.
    theme : str
        ``light`` or ``dark``.

    Raises
    ------
    DTypeError
        When ``blocks`` is something else.
    ShapeError
        When there is no block.
    ContractError
        When there is no such theme.
    """
    check_choice("block_scales", "theme", theme, THEMES)
    if not isinstance(blocks, Blocks):
        raise DTypeError(f"block_scales needs mx.Blocks, got {type(blocks).__name__}. Pass what mx.quantize returns.")
    if not blocks.scales.numel():
        raise ShapeError(f"block_scales needs a block, got the shape {tuple(blocks.shape)}, which has none. Fill it.")
    exponents = measures.log2_scales(blocks)
    known = exponents.isfinite()
    with _canvas(theme, f"Scales of {blocks.fmt}, {_by(blocks.shape)}", (8, 4.6)) as (axes, colours):
        shades = LinearSegmentedColormap.from_list("scales", colours.scale).with_extremes(bad=colours.series[1])
        image = axes.imshow(
            exponents.where(known, math.nan).numpy(),
            cmap=shades,
            aspect="auto",
            interpolation="nearest",
        )
        without = int((~known).sum())
        axes.set(xlabel=f"blocks of {blocks.fmt.size}", ylabel="row")
        for way in (axes.xaxis, axes.yaxis):
            way.set_major_locator(MaxNLocator(integer=True))
        if without:
            small: dict[str, Any] = {"fontsize": 10, "fontweight": "normal", "loc": "right"}
            axes.set_title(f"{without:,} NaN or 0", color=colours.series[1], **small)
        bar = _figure(axes).colorbar(image, ax=axes, label="scale", format=FuncFormatter(_power))
        bar.locator = MaxNLocator(integer=True)
        bar.outline.set_visible(False)
        bar.update_ticks()
    return _figure(axes)


def _by(shape: torch.Size) -> str:
    return " × ".join(str(size) for size in shape)
