"""Posits as float64 values and back: against the definition in ``core`` that both must equal."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from refnum import Posit
from refnum.core.decode import decode
from refnum.core.round import encode
from refnum.fast import doubles
from refnum.formats import bfloat16, float64
from refnum.testing import cases

SERVED = [Posit(n, es) for n in (5, 8, 17, 31, 32) for es in range(5)]
NARROW = [Posit(2), Posit(3, 4), Posit(4, 0)]
BOUNDS = (52, 48, 40)
COUNT = 1000
SIGN = -(1 << 63)
INFINITE = 0x7FF << 52


def patterns(fmt: Posit) -> Tensor:
    return torch.cat([cases.patterns(fmt, kind, count=COUNT) for kind in cases.KINDS])


def value_bits(codes: Tensor, fmt: Posit) -> Tensor:
    """The patterns of float64 values, by definition."""
    return encode(decode(codes, fmt), float64)


def code_bits(values: Tensor, fmt: Posit) -> Tensor:
    """Codes of float64 patterns, by definition."""
    return encode(decode(values, float64), fmt)


def ends(y: Tensor, fmt: Posit, units: int) -> tuple[Tensor, Tensor]:
    """Codes, by definition, of what lies so many units of the last place nearer to 0, and farther from it."""
    bits = y.view(torch.int64)
    size, sign = bits & ~SIGN, bits & SIGN
    least, most = (encode(decode(torch.tensor([code]), fmt), float64) for code in (1, fmt.maxpos))
    size = size.clamp(least, most)
    return code_bits((size - units) | sign, fmt), code_bits((size + units) | sign, fmt)


# ---- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", SERVED + NARROW, ids=str)
def test_values_are_those_of_the_definition(fmt: Posit) -> None:
    codes = patterns(fmt)
    got = doubles.values(codes, fmt)
    assert got.dtype == torch.float64
    assert torch.equal(got.view(torch.int64), value_bits(codes, fmt))


@pytest.mark.parametrize("fmt", [Posit(n, es) for n in (16, 17) for es in range(5)], ids=str)
def test_all_values_of_a_format(fmt: Posit) -> None:
    codes = cases.exhaustive(fmt)
    assert torch.equal(doubles.values(codes, fmt).view(torch.int64), value_bits(codes, fmt))


def test_only_the_low_bits_are_read() -> None:
    for fmt in (Posit(20), Posit(32)):
        codes = patterns(fmt)
        want = doubles.values(codes, fmt).view(torch.int64)
        for more in (1, -3, 0x1234):
            assert torch.equal(doubles.values(codes + (more << fmt.n), fmt).view(torch.int64), want)


def test_what_it_reads_stays_as_it_was() -> None:
    codes = patterns(Posit(32)).to(torch.int32)
    kept, y = codes.clone(), doubles.values(codes, Posit(32))
    doubles.codes(y, Posit(32), 49)
    assert torch.equal(codes, kept)
    assert torch.equal(y.view(torch.int64), value_bits(codes, Posit(32)))


# ---- codes ----------------------------------------------------------------------------------------------------------


def estimates(fmt: Posit) -> Iterator[Tensor]:
    """Values, what lies between them, and what is next to those; numbers of every scale, both ends and beyond."""
    codes = patterns(fmt).clamp(min=fmt.nar + 1)
    exact = value_bits(codes, fmt)
    longer = Posit(fmt.n + 1, fmt.es)
    ties = value_bits(2 * codes + 1, longer)
    inside = torch.cat([exact[exact != 0], ties[(ties & ~SIGN) < INFINITE]])
    for distance in (0, 1, 2, 3, 5, 9, 17, 33, 34, 65, 67, 129, 257, 4097):
        yield inside + distance
        yield inside - distance
    draw = torch.Generator().manual_seed(fmt.n)
    yield torch.randint(1 << 52, INFINITE, (COUNT,), generator=draw)
    yield torch.randint(1 << 52, INFINITE, (COUNT,), generator=draw) | SIGN


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("fmt", SERVED, ids=str)
def test_what_is_not_doubtful_is_right(fmt: Posit, bound: int) -> None:
    units = (1 << (53 - bound)) + 1
    for bits in estimates(fmt):
        y = bits.view(torch.float64)
        got = doubles.codes(y, fmt, bound)
        near, far = ends(y, fmt, units)
        assert got.codes.dtype == torch.int32
        sure = got.doubtful == 0
        assert torch.equal(got.codes[sure].to(torch.int64), near[sure])
        assert torch.equal(near[sure], far[sure])
        # It doubts little more than it must: what the shift drops, the room that D may have in its binade, and one.
        nearer, farther = ends(y, fmt, 2 * units + 6 * (1 << fmt.es))
        assert not (~sure & (nearer == farther)).any()


def test_doubts_are_there_where_they_must_be() -> None:
    """The test above would not see it if nothing, or everything, were doubtful."""
    fmt, bound = Posit(32), 49
    codes = torch.arange(0x40000000, 0x40001000)
    ties, exact = value_bits(2 * codes + 1, Posit(33)), value_bits(codes, fmt)
    for distance, doubtful in ((0, True), (16, True), (-16, True), (64, False), (-64, False)):
        got = doubles.codes((ties + distance).view(torch.float64), fmt, bound)
        assert (got.doubtful != 0).all() == (got.doubtful != 0).any() == doubtful
    got = doubles.codes(exact.view(torch.float64), fmt, bound)
    assert not got.doubtful.any()
    assert torch.equal(got.codes.to(torch.int64), codes)


@pytest.mark.parametrize("fmt", SERVED, ids=str)
def test_what_no_estimate_can_doubt(fmt: Posit) -> None:
    numbers = [0.0, -0.0, math.inf, -math.inf, 1.7e308, -1.7e308, 2.3e-308, -2.3e-308, 1.0, -1.0, math.nan]
    nans = torch.tensor([-1, -1 << 52 | 1, INFINITE | 1, ~SIGN]).view(torch.float64)
    want = [0, 0, fmt.maxpos, -fmt.maxpos, fmt.maxpos, -fmt.maxpos, 1, -1, 1 << (fmt.n - 2), -1 << (fmt.n - 2)]
    codes, doubtful = doubles.codes(torch.cat([torch.tensor(numbers, dtype=torch.float64), nans]), fmt, 47)
    assert codes.tolist() == want + [fmt.nar] * 5
    assert not doubtful.any()


# ---- anywhere -------------------------------------------------------------------------------------------------------


def test_which_formats_are_served() -> None:
    assert all(map(doubles.serves, SERVED))
    assert not any(map(doubles.serves, (*NARROW, Posit(33), bfloat16)))


@pytest.mark.parametrize("fmt", [Posit(32), Posit(20, 0), Posit(31, 4)], ids=str)
def test_compiled_bits_are_those_of_eager_code(fmt: Posit) -> None:
    codes = patterns(fmt)[:1003]
    y = torch.cat([bits[:67] for bits in estimates(fmt)]).view(torch.float64)
    torch.compiler.reset()  # else it takes n and es for unknowns
    compiled = torch.compile(doubles.values, fullgraph=True)
    assert torch.equal(compiled(codes, fmt).view(torch.int64), doubles.values(codes, fmt).view(torch.int64))
    got = torch.compile(doubles.codes, fullgraph=True)(y, fmt, 48)
    assert all(map(torch.equal, got, doubles.codes(y, fmt, 48)))


def test_bits_do_not_depend_on_the_state_of_the_thread() -> None:
    fmt = Posit(32, 4)
    codes, y = patterns(fmt), torch.cat(list(estimates(fmt))).view(torch.float64)
    want = doubles.values(codes, fmt), *doubles.codes(y, fmt, 48)
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float16)
    try:
        with torch.inference_mode(), torch.autocast("cpu"):
            got = doubles.values(codes, fmt), *doubles.codes(y, fmt, 48)
    finally:
        torch.set_flush_denormal(False)
        torch.set_default_dtype(torch.float32)
    assert torch.equal(got[0].view(torch.int64), want[0].view(torch.int64))
    assert all(map(torch.equal, got[1:], want[1:]))


def test_of_any_shape_and_strides() -> None:
    fmt = Posit(32)
    codes = patterns(fmt)[:960].view(8, 10, 12).to(torch.int32)
    for layout in (codes.mT, codes[..., ::3], codes[:1].expand(8, 10, 12), codes[0, 0, 0], codes[:0]):
        got = doubles.values(layout, fmt)
        assert torch.equal(got.view(torch.int64), value_bits(layout, fmt))
        numbers = torch.where(got.isnan(), 0.0, got)
        assert torch.equal(doubles.codes(numbers, fmt, 49).codes, torch.where(got.isnan(), 0, layout))
