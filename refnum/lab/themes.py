"""The colours of pictures and pages, light and dark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of a picture. Each differs from all others, so that a page can put its own in their place."""

    surface: str  #: what it is drawn on
    ink: str  #: text
    muted: str  #: text and lines of less weight
    faint: str  #: the grid
    series: tuple[str, ...]  #: of what is compared
    scale: tuple[str, str, str]  #: of a map, from the least to the largest


THEMES = {
    "light": Theme(
        surface="#ffffff",
        ink="#1f2328",
        muted="#656d76",
        faint="#e3e6ea",
        series=("#2f55d4", "#d65a00", "#16a085", "#aa31a3", "#5a5220", "#33001f"),
        scale=("#eef3fb", "#5b9bd8", "#0a2f5c"),
    ),
    "dark": Theme(
        surface="#0d1117",
        ink="#e6edf3",
        muted="#9198a1",
        faint="#272d35",
        series=("#6c9bff", "#ff6a3d", "#3fe3a0", "#c487b6", "#f5dc2e", "#dff6ff"),
        scale=("#16202c", "#2f7cc4", "#d8ecff"),
    ),
}
