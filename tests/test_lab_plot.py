"""Plots: what is drawn are the numbers, in colours that every reader can tell apart, whatever matplotlib is set to."""

from __future__ import annotations

import importlib
import itertools
import math
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from refnum import ContractError, DTypeError, FormatError, MissingExtraError, ShapeError, mx
from refnum.formats import (
    FixedPoint,
    Minifloat,
    Posit,
    bfp,
    block_log,
    block_minifloat,
    e2m1,
    e4m3,
    e5m2,
    float16,
    float64,
    mxfp4,
    mxint,
    named,
    nf4,
    nvfp4,
    p3109,
    parse,
    posit8,
    posit16,
    posit64,
)
from refnum.lab import measures
from refnum.testing.dyadics import value

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'refnum[plot]'")
from refnum.lab import plot  # noqa: E402  needs matplotlib
from refnum.lab.themes import THEMES  # noqa: E402

# ---- measures -----------------------------------------------------------------------------------------------------


def _minifloat(fmt: Minifloat) -> set[Fraction]:
    """Finite magnitudes, from the definition."""
    top = 1 << fmt.mantissa
    fields = itertools.product(range(1 << fmt.exponent), range(top))
    values = {
        Fraction(f if e == 0 else top + f) * Fraction(2) ** (max(e, 1) - int(fmt.bias or 0) - fmt.mantissa)
        for e, f in fields
    }
    return {value for value in values if value <= Fraction(fmt.max_value)}


@pytest.mark.parametrize("fmt", [e2m1, e4m3, e5m2], ids=str)
def test_values_are_those_of_the_definition(fmt: Minifloat) -> None:
    want = sorted({sign * value for value in _minifloat(fmt) for sign in (1, -1)})
    assert measures.values(fmt).tolist() == [float(value) for value in want]


@pytest.mark.parametrize("fmt", [Posit(2), Posit(5, 1), posit8, Posit(12, 3)], ids=str)
def test_a_posit_has_every_value_but_nar_once(fmt: Posit) -> None:
    found = measures.values(fmt)
    assert len(found) == 2**fmt.n - 1
    assert torch.equal(found, -found.flip(0))
    assert float(found[-1]) == fmt.max_value


def test_decimal_accuracy_is_gustafsons() -> None:
    values = [2 ** ((k + 0.5) / 512) for k in range(512)]  # between 1 and 2 the step of posit8 is 1/8
    want = min(-math.log10(abs(math.log10(round(8 * x) / 8 / x))) for x in values)
    assert float(measures.decimal_accuracy(posit8, (0,))) == pytest.approx(want)


def test_noise_falls_by_six_decibels_a_bit_where_that_is_so() -> None:
    noises = [measures.signal_to_noise(Minifloat(6, mantissa)) for mantissa in (3, 4, 5, 6)]
    assert np.allclose(np.diff(noises), plot.LIMIT, atol=0.3)
    assert measures.signal_to_noise(nvfp4) > measures.signal_to_noise(mxfp4) > measures.signal_to_noise(e2m1)


NEW = [*map(parse, ("fixed(8,4)", "fixed(4,0,signed=False)", "dmf(4,3)", "log(5)", "log(8,zero_code=False)")), nf4]


@pytest.mark.parametrize("fmt", NEW, ids=str)
def test_values_of_other_formats_are_those_of_the_definition(fmt: Any) -> None:
    want = {value(code, fmt) for code in range(1 << fmt.width)}
    assert measures.values(fmt).tolist() == sorted({float(x) for x in want})


@pytest.mark.parametrize("fmt", [*NEW, mxint(4), bfp(8, 16), block_minifloat(8, 4, 16), block_log(4, 16)], ids=str)
def test_other_formats_are_measured_and_drawn(fmt: Any) -> None:
    assert 0 < measures.signal_to_noise(fmt) < plot.LIMIT * measures.bits(fmt)
    figure = plot.accuracy_against_bits(fmt, mxfp4)
    assert figure.axes[0].get_legend_handles_labels()[1] == list(dict.fromkeys((measures.family(fmt), "blocks")))


def test_scales_in_twos_complement_are_exponents() -> None:
    blocks = mx.quantize(torch.tensor([[2.0**-7] * 16 + [3.0] * 16]), block_minifloat(8, 4, 16))
    assert measures.log2_scales(blocks).tolist() == [[-7.0, 1.0]]


@pytest.mark.parametrize("fmt", plot.COMPARED, ids=str)
def test_nothing_is_better_than_theory_allows(fmt: Any) -> None:
    assert measures.signal_to_noise(fmt) < plot.LIMIT * measures.bits(fmt)


def test_an_error_beside_a_power_of_2_is_in_its_own_binade() -> None:
    below = 2.0**-3 * (1 - 2.0**-53)
    errors = torch.tensor([0.0, below, 2.0**-3, 1.0 - 2.0**-53, 2.0**-80, torch.inf], dtype=torch.float64)
    assert plot._binades(errors).tolist() == [-4, -3, -1, plot.LEAST_ERROR, plot.LARGEST_ERROR]


def test_relative_errors_leave_out_what_is_not_finite() -> None:
    got = torch.tensor([1.0, 1.5, torch.inf, 2.0, -0.0, torch.nan])
    want = torch.tensor([1.0, 1.0, 1.0, torch.inf, 0.0, torch.nan])
    assert measures.relative_errors(got, want).tolist() == [0.0, 0.5, 0.0]
    assert measures.relative_errors(got.bfloat16(), want.double()).tolist() == [0.0, 0.5, 0.0]


def test_scales_lie_as_the_blocks_do() -> None:
    x = torch.ones(3, 64, 5)
    x[2, 32:, 4] = 2**10
    found = measures.log2_scales(mx.quantize(x, mxfp4, axis=1)).reshape(3, 5, 2)
    assert found.unique().tolist() == [-2, 8]
    assert (found == 8).nonzero().tolist() == [[2, 4, 1]]


# ---- figures ------------------------------------------------------------------------------------------------------

ERRORS = {"off": torch.full((8,), 1 + 2**-9), "exact": torch.ones(8)}
FIGURES: dict[str, Callable[..., Any]] = {
    "number_line": lambda **theme: plot.number_line(posit8, e4m3, **theme),
    "linear": lambda **theme: plot.number_line(e2m1, spacing="linear", **theme),
    "decimal_accuracy": lambda **theme: plot.decimal_accuracy(posit16, float16, **theme),
    "accuracy_against_bits": lambda **theme: plot.accuracy_against_bits(e2m1, mxfp4, posit8, **theme),
    "relative_errors": lambda **theme: plot.relative_errors(ERRORS, torch.ones(8), **theme),
    "block_scales": lambda **theme: plot.block_scales(mx.quantize(torch.eye(64), mxfp4), **theme),
}


def pixels(figure: Any) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(72)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


@pytest.mark.parametrize("theme", list(THEMES))
@pytest.mark.parametrize("name", list(FIGURES))
def test_a_figure_is_drawn_in_the_colours_of_its_theme(name: str, theme: str) -> None:
    found = pixels(FIGURES[name](theme=theme))
    corner = found[0, 0]
    assert tuple(corner) == rgb(THEMES[theme].surface)
    wanted = THEMES[theme].scale[0] if name == "block_scales" else THEMES[theme].series[0]
    assert (found == rgb(wanted)).all(-1).any()


@pytest.mark.parametrize("name", list(FIGURES))
def test_settings_of_matplotlib_change_nothing_and_stay(name: str) -> None:
    want = pixels(FIGURES[name]())
    with matplotlib.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9, "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert np.array_equal(pixels(FIGURES[name]()), want)
        assert dict(matplotlib.rcParams) == before


def test_every_value_has_its_tick() -> None:
    axes = plot.number_line(e4m3).axes[0]
    drawn = sorted(float(segment[0, 0]) for ticks in axes.collections[:2] for segment in ticks.get_segments())
    assert drawn == measures.values(e4m3)[127:].log2().tolist()
    tall = [float(segment[0, 0]) for segment in axes.collections[0].get_segments()]
    assert tall == [float(scale) for scale in range(-9, 9)]


def test_the_histogram_counts_every_element() -> None:
    want = torch.ones(8)
    got = torch.tensor([1.0, 1.0, 1 + 2**-9, 1 + 2**-9, 1 - 2**-9, 3.0, 1e30, torch.inf])
    axes = plot.relative_errors({"mine": got}, want).axes[0]
    outline = axes.patches[1]
    assert outline.get_label() == "mine: 28.6 % exact"
    edges, shares = outline.get_data().edges, outline.get_data().values
    found = {int(edge): share * 7 / 100 for edge, share in zip(edges[:-1], shares, strict=True) if share}
    assert found == pytest.approx({-9: 3, 1: 2})  # beyond 2 counts as 2


def test_the_map_shows_the_scales_and_counts_what_has_none() -> None:
    x = torch.ones(4, 96)
    x[1, 40], x[2, :] = torch.nan, 8.0
    axes = plot.block_scales(mx.quantize(x, mxfp4)).axes[0]
    found = axes.get_images()[0].get_array()
    assert found.filled(99).tolist() == [[-2, -2, -2], [-2, 99, -2], [1, 1, 1], [-2, -2, -2]]
    assert axes.get_title(loc="right") == "1 NaN or 0"


# ---- colours ------------------------------------------------------------------------------------------------------

#: linear RGB as readers see it without one kind of cones: Machado, Oliveira and Fernandes (2009), severity 1
READERS = {
    "all cones": np.eye(3),
    "no long": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no medium": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "no short": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])  # of linear sRGB


def linear(colour: str) -> Any:
    c = np.array(rgb(colour)) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(light: Any) -> Any:
    """CIE L*a*b* of linear RGB, in which distances are those that are seen."""
    t = XYZ @ light.clip(0, 1) / (XYZ @ np.ones(3))
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def nearest(series: tuple[str, ...], reader: str) -> float:
    seen = [lab(READERS[reader] @ linear(colour)) for colour in series]
    return min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))


def contrast(a: str, b: str) -> float:
    """As WCAG 2 has it."""
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (a, b))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("theme", list(THEMES))
def test_colour_blind_readers_tell_the_series_apart(theme: str, reader: str) -> None:
    assert nearest(THEMES[theme].series, reader) > 20


def test_that_check_can_fail() -> None:
    assert nearest(("#d62728", "#2ca02c"), "no medium") < 20 < nearest(("#d62728", "#2ca02c"), "all cones")


@pytest.mark.parametrize("theme", list(THEMES))
def test_everything_stands_out_from_the_surface(theme: str) -> None:
    colours = THEMES[theme]
    assert contrast(colours.ink, colours.surface) > 7
    assert contrast(colours.muted, colours.surface) > 4.5
    assert all(contrast(colour, colours.surface) > 3 for colour in colours.series)
    every = (colours.surface, colours.ink, colours.muted, colours.faint, *colours.series, *colours.scale)
    assert len(set(every)) == len(every)


# ---- what is refused ----------------------------------------------------------------------------------------------

ONES = torch.ones(4)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: plot.number_line(posit16),
            FormatError,
            "values lists every value of a format, got posit16 with 2**16.",
        ),
        (lambda: plot.number_line(), FormatError, "number_line compares 1 to 6 formats, got 0."),
        (lambda: plot.decimal_accuracy(*[posit8] * 7), FormatError, "decimal_accuracy compares 1 to 6 formats, got 7."),
        (lambda: plot.decimal_accuracy(mxfp4), FormatError, "needs a format of single values, got mxfp4"),
        (lambda: plot.number_line(posit8, spacing="ln"), ContractError, "log, linear"),
        (lambda: plot.number_line(posit8, theme="sepia"), ContractError, "light, dark"),
        (lambda: plot.relative_errors({"x": ONES.int()}, ONES), DTypeError, "got got of torch.int32. Decode patterns"),
        (lambda: plot.relative_errors({"x": ONES[:3]}, ONES), ShapeError, "of one shape, got (3,) and (4,)."),
        (lambda: plot.relative_errors({"x": ONES * torch.nan}, ONES), ShapeError, "nothing to draw of 'x'"),
        (lambda: plot.block_scales(ONES), DTypeError, "block_scales needs mx.Blocks, got Tensor."),
        (lambda: plot.block_scales(mx.quantize(torch.ones(0, 32), mxfp4)), ShapeError, "got the shape (0, 32)"),
        (lambda: plot.accuracy_against_bits(posit8, float64), FormatError, "got float64, which loses nothing of it."),
        (lambda: plot.accuracy_against_bits(posit8, theme="x"), ContractError, "light, dark"),
    ],
)
def test_what_cannot_be_drawn(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert text in str(raised.value)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "refnum.lab.plot")
    with pytest.raises(MissingExtraError) as raised:
        importlib.import_module("refnum.lab.plot")
    assert str(raised.value).startswith("refnum.lab.plot needs matplotlib, which cannot be imported (")
    assert str(raised.value).endswith("Run: python -m pip install 'refnum[plot]'")


def test_formats_without_a_sign_are_measured_by_magnitudes() -> None:
    signed, unsigned = (FixedPoint(8 + sign, 5, signed=bool(sign)) for sign in (1, 0))
    assert measures.signal_to_noise(unsigned) == pytest.approx(measures.signal_to_noise(signed), abs=0.1)
    assert 20 < measures.signal_to_noise(p3109(8, 4, signed=False)) < 60


def test_every_format_that_can_be_written_can_be_compared() -> None:
    read_only = [fmt for fmt in named().values() if isinstance(fmt, Minifloat) and not fmt.subnormals]
    rows = [fmt for fmt in named().values() if fmt not in (*read_only, float64, posit64)]
    texts = {text.get_text() for text in plot.accuracy_against_bits(*rows).axes[0].texts}
    assert {str(fmt) for fmt in rows} <= texts
