"""Between codes and float64: against the definition in ``core``, which both directions must equal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from refnum import Minifloat, Posit
from refnum.core.decode import decode
from refnum.core.pack import pack
from refnum.core.round import encode
from refnum.fast import doubles
from refnum.formats import Format, bfloat16, e4m3, e5m2, float16, float32, float64, tf32
from refnum.testing import cases

POSITS = [Posit(n, es) for n in (2, 3, 8, 17, 31, 32) for es in range(5)]
FLOATS = [float32, float16, bfloat16, tf32, Minifloat(5, 10, bias=40, overflow="inf")]
SERVED: list[Posit | Minifloat] = [*POSITS, *FLOATS]
BOUNDS = (52, 48, 40)
COUNT = 1000
SIGN = -(1 << 63)
INFINITE = 0x7FF << 52


def codes_of(fmt: Format) -> Tensor:
    return torch.cat([cases.patterns(fmt, kind, count=COUNT) for kind in cases.KINDS])


def value_bits(codes: Tensor, fmt: Format) -> Tensor:
    """The patterns of float64 values, by definition."""
    return encode(decode(codes, fmt), float64)


def code_bits(values: Tensor, fmt: Format) -> Tensor:
    """Codes of float64 patterns, by definition, sign-extended."""
    return encode(decode(values, float64), fmt) << (64 - fmt.width) >> (64 - fmt.width)


# ---- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fmt", POSITS, ids=str)
def test_values_are_those_of_the_definition(fmt: Posit) -> None:
    codes = codes_of(fmt)
    got = doubles.values(codes, fmt)
    assert got.dtype == torch.float64
    assert torch.equal(got.view(torch.int64), value_bits(codes, fmt))


@pytest.mark.parametrize("fmt", [Posit(n, es) for n in (16, 17) for es in range(5)], ids=str)
def test_all_values_of_a_format(fmt: Posit) -> None:
    codes = cases.exhaustive(fmt)
    assert torch.equal(doubles.values(codes, fmt).view(torch.int64), value_bits(codes, fmt))


def test_only_the_low_bits_are_read() -> None:
    for fmt in (Posit(20), Posit(32)):
        codes = codes_of(fmt)
        want = doubles.values(codes, fmt).view(torch.int64)
        for more in (1, -3, 0x1234):
            assert torch.equal(doubles.values(codes + (more << fmt.n), fmt).view(torch.int64), want)


# ---- rounding -------------------------------------------------------------------------------------------------------


def estimates(fmt: Posit | Minifloat) -> Tensor:
    """Normal patterns: of edges, ties, and what is next to both; of powers of 2; random ones of every scale."""
    bits = torch.cat([cases.floats(fmt, kind, torch.float64, count=COUNT).view(torch.int64) for kind in cases.KINDS])
    powers = torch.arange(1, 2047) << 52
    hard = torch.cat([bits, powers, powers | SIGN])
    steps = (0, 1, 2, 3, 5, 9, 17, 33, 34, 65, 129, 4097)
    draw = torch.Generator().manual_seed(fmt.width)
    random = torch.randint(-(1 << 63), (1 << 63) - 1, (4 * COUNT,), generator=draw)
    bits = torch.cat([*(hard + sign * step for step in steps for sign in (1, -1)), random])
    size = bits & ~SIGN
    return bits[(size >= 1 << 52) & (size < INFINITE)]


def ends(bits: Tensor, fmt: Posit | Minifloat, units: int) -> tuple[Tensor, Tensor]:
    """Codes, by definition, of what lies so many units of the last place nearer to 0, and farther from it."""
    size, sign = bits & ~SIGN, bits & SIGN
    if isinstance(fmt, Posit):  # what lies outside the range has the code of its end
        size = size.clamp((1023 - fmt.max_scale) << 52, (1023 + fmt.max_scale) << 52)
    return code_bits((size - units).clamp(min=0) | sign, fmt), code_bits((size + units).clamp(max=INFINITE) | sign, fmt)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("fmt", SERVED, ids=str)
def test_what_is_near_is_right(fmt: Posit | Minifloat, bound: int) -> None:
    bits = estimates(fmt)
    codes, away = doubles.rounded(bits.view(torch.float64), fmt)
    assert codes.dtype == torch.int32
    near = away <= doubles.nearness(fmt, bound)
    for wanted in ends(bits, fmt, 1 << (53 - bound)):
        assert torch.equal(codes[near].to(torch.int64), wanted[near])


@pytest.mark.parametrize("fmt", [fmt for fmt in SERVED if fmt.width > 2], ids=str)
def test_places_are_those_of_the_definition(fmt: Posit | Minifloat) -> None:
    """So no more is doubtful than must be."""
    bits = estimates(fmt)
    if isinstance(fmt, Posit):
        size = bits & ~SIGN
        bits = bits[(size >= (1023 - fmt.max_scale) << 52) & (size < (1023 + fmt.max_scale) << 52)]
    wide = pack(decode(bits, float64), fmt, 1)
    fraction = wide.tail.to(torch.float64) * 2.0**-wide.tail_bits
    _, away = doubles.rounded(bits.view(torch.float64), fmt)
    assert (away - torch.minimum(fraction, 1 - fraction)).abs().max() <= 2.0 ** (fmt.width - 55)


def test_doubts_are_there_where_they_must_be() -> None:
    """The tests above would not see it if nothing, or everything, were doubtful."""
    fmt, bound = Posit(32), 49
    codes = torch.arange(0x40000000, 0x40001000)
    ties, exact = value_bits(2 * codes + 1, Posit(33)), value_bits(codes, fmt)
    for distance, doubtful in ((0, True), (16, True), (-16, True), (64, False), (-64, False)):
        _, away = doubles.rounded((ties + distance).view(torch.float64), fmt)
        far = away > doubles.nearness(fmt, bound)
        assert far.all() == far.any() == doubtful
    got, away = doubles.rounded(exact.view(torch.float64), fmt)
    assert torch.equal(got.to(torch.int64), codes)
    assert not away.any()


@pytest.mark.parametrize("fmt", SERVED, ids=str)
def test_special_values(fmt: Posit | Minifloat) -> None:
    nans = [-1, -1 << 52 | 1, INFINITE | 1, ~SIGN]
    bits = torch.tensor([0, SIGN, INFINITE, SIGN | INFINITE, INFINITE - 1, (SIGN | INFINITE) - 1, *nans])
    got, away = doubles.rounded(bits.view(torch.float64), fmt)
    want = code_bits(bits, fmt)
    if isinstance(fmt, Posit):  # infinities are estimates of numbers beyond maxpos
        want[2], want[3] = fmt.maxpos, -fmt.maxpos
    assert torch.equal(got.to(torch.int64), want)
    assert not away.any()


def test_which_formats_are_served() -> None:
    assert all(map(doubles.serves, SERVED))
    saturating = Minifloat(5, 10)
    assert not any(map(doubles.serves, (Posit(33), float64, e4m3, e5m2, saturating, Minifloat(8, 7, bias=1100))))


# ---- anywhere -------------------------------------------------------------------------------------------------------


SLOWLY = [pytest.param(fmt, marks=pytest.mark.slow) for fmt in (Posit(20, 0), float32)]


@pytest.mark.parametrize("fmt", [Posit(32), *SLOWLY], ids=str)
def test_compiled_bits_are_those_of_eager_code(fmt: Posit | Minifloat) -> None:
    torch.compiler.reset()  # else it takes n and es for unknowns
    codes = codes_of(fmt)[:1003] if isinstance(fmt, Posit) else None
    specials = torch.tensor([0, SIGN, INFINITE, SIGN | INFINITE, INFINITE | 1, ~SIGN, -1]).repeat(7)
    y = torch.cat([specials, estimates(fmt)])[:5003].view(torch.float64)

    def function(y: Tensor, codes: Tensor | None) -> tuple[Tensor, ...]:
        read = () if codes is None else (doubles.values(codes, fmt).view(torch.int64),)
        return *doubles.rounded(y, fmt), *read

    got = torch.compile(function, fullgraph=True)(y, codes)
    assert all(map(torch.equal, got, function(y, codes)))


def test_fake_tensors_leave_nothing_behind() -> None:
    fmt = Posit(32)
    y = estimates(fmt)[:1003].view(torch.float64)
    for known in (False, True):
        doubles._kept.cache_clear()
        if known:
            doubles.lines(fmt, "cpu")
        with FakeTensorMode() as mode:
            codes, away = doubles.rounded(mode.from_tensor(y), fmt)
        assert codes.shape == away.shape == y.shape
        assert all(type(each) is Tensor for each in doubles.lines(fmt, "cpu"))
    torch.compiler.reset()
    doubles._kept.cache_clear()
    got = torch.compile(doubles.rounded, fullgraph=True, backend="aot_eager")(y, fmt)
    assert all(type(each) is Tensor for each in doubles.lines(fmt, "cpu"))
    assert all(map(torch.equal, got, doubles.rounded(y, fmt)))


def test_bits_do_not_depend_on_the_state_of_the_thread() -> None:
    posit = Posit(32, 4)
    codes, y = codes_of(posit), estimates(posit).view(torch.float64)

    def results() -> list[Tensor]:
        doubles._kept.cache_clear()
        values = doubles.values(codes, posit).view(torch.int64)
        return [values, *doubles.rounded(y, posit), *doubles.rounded(y, float32)]

    want = results()
    torch.set_flush_denormal(True)
    torch.set_default_dtype(torch.float16)
    try:
        with torch.inference_mode(), torch.autocast("cpu"), torch.device("meta"):
            got = results()
    finally:
        torch.set_flush_denormal(False)
        torch.set_default_dtype(torch.float32)
    assert all(map(torch.equal, got, want))


def test_of_any_shape_and_strides() -> None:
    fmt = Posit(32)
    codes = codes_of(fmt)[:960].view(8, 10, 12).to(torch.int32)
    kept = codes.clone()
    for layout in (codes.mT, codes[..., ::3], codes[:1].expand(8, 10, 12), codes[0, 0, 0], codes[:0]):
        values = doubles.values(layout, fmt)
        assert torch.equal(values.view(torch.int64), value_bits(layout, fmt))
        got, away = doubles.rounded(values, fmt)
        assert torch.equal(got, layout)
        assert not away.any()
    assert torch.equal(codes, kept)
    assert torch.equal(values.view(torch.int64), value_bits(codes[:0], fmt))
