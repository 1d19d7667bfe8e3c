"""Comparisons that pass, against one torch.equal; and what a mismatch costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from harness import Figure, medians, run
from torch import Tensor

import refnum
from refnum import MismatchError, mx
from refnum.testing import assert_bit_equal, assert_ulp

COUNT = 100_000_000
TARGET, GOAL = 3.0, 1.2  #: times torch.equal, when equal


def _caught(got: Tensor, want: Tensor) -> None:
    try:
        assert_ulp(got, want, ulp=1)
    except MismatchError:
        return
    raise SystemExit("A comparison that has to fail passes.")


def _floats() -> Iterator[Figure]:
    for dtype in (torch.float32, torch.bfloat16):
        got = torch.randn(COUNT, generator=torch.Generator().manual_seed(0)).to(dtype)
        want = got.clone()
        data = f"100M {str(dtype).removeprefix('torch.')}, N(0,1)"
        times = medians(
            {
                "equal": partial(torch.equal, got, want),
                "assert_ulp": partial(assert_ulp, got, want, ulp=1),
                "assert_bit_equal": partial(assert_bit_equal, got, want),
            }
        )
        for name in ("assert_ulp", "assert_bit_equal"):
            yield Figure(f"{name}, equal", data, "torch.equal", times[name] / times["equal"], TARGET, GOAL)
        want[COUNT // 2] += 1
        one = medians({"clone": got.clone, "one": partial(_caught, got, want)})
        yield Figure("assert_ulp, one mismatch", data, "clone", one["one"] / one["clone"])


def _codes() -> Iterator[Figure]:
    codes = torch.randint(0, 256, (COUNT,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    same = codes.clone()
    times = medians(
        {
            "equal": partial(torch.equal, codes, same),
            "codes": partial(assert_bit_equal, codes, same, fmt=refnum.e4m3),
            "packed": partial(assert_bit_equal, codes, same, fmt=refnum.e2m1, packed=True),
        }
    )
    yield Figure("assert_bit_equal, e4m3", "100M bytes", "torch.equal", times["codes"] / times["equal"], TARGET, GOAL)
    packed = times["packed"] / times["equal"]
    yield Figure("assert_bit_equal, packed e2m1", "100M bytes", "torch.equal", packed, TARGET, GOAL)


def _blocks() -> Iterator[Figure]:
    x = torch.randn(1 << 24, generator=torch.Generator().manual_seed(0))
    got, want = (mx.quantize(x, refnum.mxfp4) for _ in range(2))
    times = medians(
        {
            "equal": partial(torch.equal, got.elements, want.elements),
            "blocks": partial(assert_bit_equal, got, want),
        }
    )
    yield Figure(
        "assert_bit_equal, mxfp4", "16M elements", "torch.equal of the bytes", times["blocks"] / times["equal"]
    )


def measure() -> Iterator[Figure]:
    """Every figure."""
    yield from _floats()
    yield from _codes()
    yield from _blocks()


if __name__ == "__main__":
    run("assertions", measure)
