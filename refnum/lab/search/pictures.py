"""The picture of a search: score against bits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...boundary import check_choice
from ...errors import FormatError
from ..themes import THEMES
from .benches import Path
from .trials import Trial, completed, pareto, score_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..themes import Theme

WALKS = ("greedy", "uniform")  #: methods whose trials are joined
MANY = 200  #: trials beyond which they are a cloud behind the others


def plot(
    trials: Iterable[Trial],
    path: Path | None = None,
    *,
    reference: float | None = None,
    title: str = "Score against bits",
    theme: str = "light",
) -> Figure:
    """Score against bits per weight: a mark a trial, lines where a method walks, and the front.

    >>> from refnum import Posit
    >>> trials = [Trial({"fc": Posit(n)}, n, 1 - 2.0**-n, method="exhaustive") for n in (4, 5, 6)]
    >>> [line.get_label() for line in plot(trials, reference=1.0).axes[0].get_lines()]
    ['front', 'as it is']

    Parameters
    ----------
    trials : iterable of Trial
        Of any methods, in any order. Failed ones are left out.
    path : path, optional
        Where the figure is saved; its ending says how: ``.png``, ``.svg``, ``.pdf``.
    reference : float, optional
        The score of the model as it is: a horizontal line.
    title : str
        The figure's.
    theme : str
        ``light`` or ``dark``.

    Returns
    -------
    matplotlib.figure.Figure
        Each method's trials have a colour and a mark, more than 200 are a grey cloud. Those of ``greedy`` and
        ``uniform`` are joined. The front is that of all trials: the true one if they are exhaustive. Scores below the
        whole front are outside of the picture.

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    FormatError
        When no trial is complete, or they are of more methods than there are colours.
    ContractError
        When there is no such theme.
    """
    from .. import plot as house  # here, for it needs matplotlib

    check_choice("lab.search.plot", "theme", theme, THEMES)
    done = completed(trials)
    methods = list(dict.fromkeys(trial.method for trial in done))
    most = len(THEMES[theme].series)
    if not 1 <= len(methods) <= most:
        raise FormatError(
            f"lab.search.plot needs complete trials of 1 to {most} methods, got {len(done)} of {len(methods)}. Pass "
            "those of a few; the reasons of failed ones are in trial.reason."
        )
    with house._canvas(theme, title, (10, 5.6)) as (axes, colours):
        for method, colour, marker in zip(methods, colours.series, house.MARKERS, strict=False):
            _draw(axes, [trial for trial in done if trial.method == method], colour, marker, colours)
        front = pareto(done)
        axes.step(*_points(front), where="post", color=colours.ink, linewidth=1.6, label="front", zorder=4)
        if reference is not None:
            axes.axhline(reference, color=colours.muted, linewidth=1, linestyle=(0, (4, 3)), label="as it is")
        axes.set(xlabel="bits per weight, scales included", ylabel="score", ylim=_limits(front, reference))
        axes.grid()
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), labelcolor=colours.ink)
    figure: Figure = house._figure(axes)
    if path is not None:
        figure.savefig(path)
    return figure


def _draw(axes: Axes, trials: Sequence[Trial], colour: str, marker: str, colours: Theme) -> None:
    """The trials of a method."""
    style: dict[str, Any] = {"color": colour, "marker": marker, "label": trials[0].method or "trials"}
    if style["label"] in WALKS:
        axes.plot(*_points(sorted(trials, key=lambda trial: trial.bits)), **style, zorder=3)
    elif len(trials) > MANY:
        style |= {"color": colours.muted, "marker": "."}
        axes.scatter(*_points(trials), 12, **style, alpha=0.5, linewidths=0, zorder=1)
    else:
        axes.scatter(*_points(trials), 30, **style, alpha=0.85, linewidths=0, zorder=2)


def _limits(front: Sequence[Trial], reference: float | None) -> tuple[float, float]:
    """Of the scores that are shown: what is below the front has lost."""
    shown = [score_of(front[0]), score_of(front[-1]), *([] if reference is None else [reference])]
    low, high = min(shown), max(shown)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _points(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    return [trial.bits for trial in trials], [score_of(trial) for trial in trials]
