"""The definition: what it decides, when it stops, and that the fast forms have its bits in every format."""

from __future__ import annotations

import pytest
import torch

import refnum
from refnum import functions
from refnum.errors import RefnumError
from refnum.formats import Format, Minifloat, Posit, bfloat16, float16, float32, posit16, posit32
from refnum.functions import decisions, evaluation
from refnum.functions.decisions import decide
from refnum.functions.rows import FUNCTIONS
from refnum.reals.intervals import Interval

FORMATS = (
    *(
        Posit(n, es)
        for n, es in ((2, 0), (3, 1), (4, 2), (5, 4), (8, 0), (8, 2), (12, 1), (16, 2), (24, 3), (32, 2), (32, 4))
    ),
    *(
        refnum.e2m1,
        refnum.e4m3,
        refnum.e5m2,
        refnum.e4m3fnuz,
        bfloat16,
        float16,
        float32,
        Minifloat(5, 10, overflow="nan"),
    ),
)


def sample(fmt: Format, count: int, seed: int) -> torch.Tensor:
    """Codes: the ends, those around 0 and 1 and powers of 2, and any."""
    every = 1 << fmt.width
    if every <= count:
        return torch.arange(every)
    one = int(refnum.encode(torch.tensor(1.0), fmt))
    near = torch.tensor([0, 1, 2, one - 1, one, one + 1, (every >> 1) - 1, every >> 1, (every >> 1) + 1, every - 1])
    steps = torch.arange(16) * (every >> 4)
    some = torch.randint(0, every, (count - 26,), generator=torch.Generator().manual_seed(seed))
    return torch.cat([near, steps, some])


@pytest.mark.parametrize("fmt", FORMATS, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_fast_forms_have_the_bits_of_the_definition(name: str, fmt: Format) -> None:
    function = FUNCTIONS[name]
    operands = [
        sample(fmt, 64, seed)[torch.randperm(min(64, 1 << fmt.width), generator=torch.Generator().manual_seed(seed))]
        for seed in range(function.values)
    ]
    k = None
    if function.integer:
        degrees = torch.tensor(
            [0, 1, -1, 2, -2, 3, -3, 7, 1000, -1001, (1 << 31) - 1, -(1 << 31), (1 << 63) - 1, -(1 << 63)]
        )
        k = degrees[torch.arange(len(operands[0])) % len(degrees)]
    sources = (fmt,) * function.values
    got = evaluation.evaluate(name, operands, sources, fmt, k).to(torch.int64)
    want = decide(name, operands, sources, fmt, k)
    mask = (1 << fmt.width) - 1
    assert torch.equal(got & mask, want & mask)


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_tanh"])
def test_values_next_to_a_tie_are_decided(name: str) -> None:
    # x less x * e**-132096: the tie itself is an end of every interval.
    tie = torch.tensor([2.0**17 + 3 * 2.0**9]).view(torch.int32)
    assert decide(name, [tie], [float32], bfloat16).tolist() == [0x4801]


def test_exact_ties_go_to_even() -> None:
    # 2**11 - 1 has 11 significant bits: one more than a posit(16,2) of its size, as 2**12 - 1 and 10**7 - 1 have more.
    x = refnum.encode(torch.tensor([11.0, 12.0, 13.0]), posit16)
    want = refnum.encode(2.0 ** torch.tensor([11.0, 12.0, 13.0], dtype=torch.float64) - 1, posit16)
    assert torch.equal(refnum.posit.exp2_minus1(x, posit16), want)
    assert torch.equal(decide("exp2m1", [x], [posit16], posit16).to(torch.int16), want)


def test_what_bits_do_not_decide_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    straddling = lambda *arguments: Interval(-1, 1, 0)  # noqa: E731
    monkeypatch.setitem(decisions.ENCLOSURES, "gelu", straddling)
    with pytest.raises(RefnumError, match=r"gelu of .* is not decided by 65536 bits\. Allowed are .* Please report"):
        decide("gelu", [torch.tensor([0x4000])], [posit16], posit16)


@pytest.mark.parametrize("fmt", [Posit(64), Posit(40, 1), Posit(33, 4), refnum.formats.float64], ids=str)
def test_wide_formats_are_decided(fmt: Format) -> None:
    x = refnum.encode(torch.tensor([0.5, -0.5, 2.0, -3.0, 1e-30, 1e30], dtype=torch.float64), fmt)
    both = functions.tanh(x, fmt)
    assert torch.equal(both, decide("tanh", [x], [fmt], fmt).to(both.dtype))
    near = refnum.posit.to_float(both, fmt, torch.float64) if isinstance(fmt, Posit) else refnum.decode(both, fmt)
    assert torch.allclose(
        near, torch.tanh(torch.tensor([0.5, -0.5, 2.0, -3.0, 1e-30, 1e30], dtype=torch.float64)), rtol=2.0**-25
    )


def test_where_a_bound_does_not_hold_the_definition_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(-64, 64) << 24
    want = refnum.posit.exp(x, posit32)
    monkeypatch.setattr(evaluation, "holds", lambda name, device: False)
    monkeypatch.setattr(evaluation, "ESTIMATES", {})  # nothing may ask them
    assert torch.equal(refnum.posit.exp(x, posit32), want)


def test_far_values_in_float64_are_decided() -> None:
    tiny = 5e-324
    x = torch.tensor([tiny, -tiny, 1e300, -1e300, 0.0, -0.0], dtype=torch.float64)
    flushing = torch.set_flush_denormal(True)
    try:
        got = functions.sin(x, posit32)
        wave = functions.cos(x, posit32)
    finally:
        torch.set_flush_denormal(False)
    assert flushing is not None
    assert got[0] == 2.0**-120
    assert got[1] == -(2.0**-120)
    assert got[4] == 0
    assert wave[0] == 1
