"""examples/ten_minutes: the script finds the defect in the installed wheel, and its README shows what it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "ten_minutes"
SECONDS = 600  #: as promised


@pytest.mark.slow
def test_ten_minutes(tmp_path: Path) -> None:
    missing = [module for module in ("ml_dtypes", "pytest") if find_spec(module) is None]
    if missing:
        pytest.skip(f"ten_minutes.py needs {', '.join(missing)}, which is not installed")
    command = [sys.executable, str(FOLDER / "ten_minutes.py")]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    (transcript,) = re.findall(r"```text\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert transcript in done.stdout, done.stdout


def test_the_target_is_as_short_as_the_script_says() -> None:
    lines = (FOLDER / "float8_casts.py").read_text(encoding="utf-8").splitlines()
    assert f"which has {len(lines)} lines" in (FOLDER / "ten_minutes.py").read_text(encoding="utf-8")
