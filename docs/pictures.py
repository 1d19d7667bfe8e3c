"""The pictures in docs/images/: plots, and what a browser makes of the report and of the site, light and dark.

    python docs/pictures.py BROWSER SITE

BROWSER is a Chromium that runs without a screen, SITE the folder with the built site and report.html in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from refnum.formats import bfloat16, e4m3, e5m2, float16, float32, posit8, posit16, posit32
from refnum.lab import plot

IMAGES = Path(__file__).parent / "images"
THEMES = {"dark": 0, "light": 1}  #: and the number that Chromium has for it
PAGES = {"report": "report.html", "site": "index.html", "site-contracts": "contracts/index.html"}
SIZE = (1280, 1500)
SECONDS = 120  #: after which a browser is not waiting for anything that will come


def main(browser: str, site: str) -> None:
    """Draw all of them anew."""
    IMAGES.mkdir(exist_ok=True)
    for theme in THEMES:
        for name, figure in _figures(theme).items():
            figure.savefig(IMAGES / f"{name}-{theme}.png", metadata={"Software": None})
        for name, page in PAGES.items():
            _photograph(browser, Path(site, page).resolve(strict=True), theme, IMAGES / f"{name}-{theme}.png")


def _figures(theme: str) -> dict[str, Any]:
    return {
        "number-line": plot.number_line(posit8, e4m3, e5m2, theme=theme),
        "decimal-accuracy": plot.decimal_accuracy(posit8, posit16, posit32, float16, bfloat16, float32, theme=theme),
        "accuracy-against-bits": plot.accuracy_against_bits(theme=theme),
    }


def _photograph(browser: str, page: Path, theme: str, image: Path) -> None:
    """A picture of the beginning of a page, as a reader sees it who likes the theme."""
    image.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        options = [
            *("--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # which root cannot have
            f"--blink-settings=preferredColorScheme={THEMES[theme]}",
            f"--window-size={SIZE[0]},{SIZE[1]}",
            f"--screenshot={image}",
        ]
        done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode or not image.exists():
        raise SystemExit(f"{browser} made no picture of {page}: {done.stderr.strip() or 'it said nothing'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
