"""Ten minutes, most of them for installing: from nothing to a defect in the current wheel of ml_dtypes, and its cause.

README.md has the commands for a terminal; this script does the same, step by step, and shows what comes out.
"""

import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import torch

import refnum
from refnum.testing import diagnose

HERE = Path(__file__).parent
FORMATS = {"e4m3": refnum.e4m3, "e5m2": refnum.e5m2}
MISMATCH = re.compile(
    r"(minifloat_encode\((?P<bits>0x\w+)\) in (?P<fmt>\w+) .*dtype=float64.*: (?P<got>0x\w+), oracle (?P<right>0x\w+))"
)


def main() -> None:
    """All steps."""
    start = time.monotonic()

    step("What is installed")
    print(f"refnum {refnum.__version__}, ml_dtypes {ml_dtypes.__version__}, torch {torch.__version__}")

    step("The suite, aimed at float8_casts.py, which has 24 lines")
    printed = suite()
    found = MISMATCH.search(printed)
    if found is None:
        print(f"ml_dtypes {ml_dtypes.__version__} rounds everything rightly: its defect is gone.")
        return
    print(summary(printed), found[1], sep="\n")

    step("Who is right? Fractions, which know nothing of refnum's rounding")
    judge(found)

    step("Why? Hypotheses, each tried on every bit")
    explain()

    step("What it does at the end of the range")
    show()

    step("Written down, the defect is expected, and the suite passes until it is gone")
    print(summary(suite("--refnum-xfails", "known.xfails")))
    print(f"\n{time.monotonic() - start:.0f} seconds", file=sys.stderr)


def step(title: str) -> None:
    """A headline."""
    print(f"\n# {title}", flush=True)


def suite(*options: str) -> str:
    """What pytest prints, aimed at the target."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "refnum_conformance", "--refnum-target", "float8_casts"]
    plain = ["-p", "no:cacheprovider", "-o", "addopts=", "--rootdir", ".", "-k", "minifloat_encode", "-rfx"]
    done = subprocess.run([*command, *plain, *options], cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # neither passed nor failed: it could not run
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def summary(printed: str) -> str:
    """How many tests passed, failed, and were expected to fail."""
    counts = re.search(r"(\d+ (?:failed|passed|xfailed).*) in .*s", printed.splitlines()[-1])
    assert counts is not None, printed
    return re.sub(r",? ?\d+ deselected,? ?", "", counts[1])


def judge(found: re.Match[str]) -> None:
    """The distances of both codes from the number, exactly."""
    x = Fraction(float(np.uint64(int(found["bits"], 16)).view(np.float64)))
    for name in ("got", "right"):
        code = torch.tensor([int(found[name], 16)], dtype=torch.uint8)
        value = Fraction(refnum.decode(code, FORMATS[found["fmt"]], dtype=torch.float64).item())
        print(f"{name + ':':<7}{found[name]} is {value}, and {float(abs(value - x)).hex()} away")


def explain() -> None:
    """Numbers a little beside the ties of a format, and the fault that explains all that is wrong with their codes."""
    codes = torch.arange(0x7E, dtype=torch.uint8)
    values = refnum.decode(codes, refnum.e4m3, dtype=torch.float64)
    ties = (values[1:] + values[:-1]) / 2
    x = torch.cat([ties * (1 + sign * 2.0**-k) for k in range(20, 53) for sign in (1, -1)])
    want = refnum.encode(x, refnum.e4m3)
    got = torch.from_numpy(x.numpy().astype(ml_dtypes.float8_e4m3fn).view(np.uint8))
    print(diagnose(got, want, refnum.encode, x, refnum.e4m3))


def show() -> None:
    """A number that is nearer to 57344, the largest, than to anything beyond."""
    x = np.float64(61440) * (1 - 2.0**-50)
    with np.errstate(over="ignore"):
        got = x.astype(ml_dtypes.float8_e5m2)
    right = refnum.quantize(torch.tensor([x], dtype=torch.float64), refnum.e5m2).item()
    print(f"{x} in e5m2: ml_dtypes {got}, right {right}")


if __name__ == "__main__":
    main()
