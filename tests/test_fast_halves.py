"""Rounding by table, from the upper halves of floats: against the definition in ``core`` that it must equal."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import refnum
from refnum import Minifloat, Posit
from refnum.boundary import FLOAT_ROWS, SIGNED, container
from refnum.core.decode import decode
from refnum.core.round import RULES, encode
from refnum.fast import halves
from refnum.formats import Format, bfloat16, e2m1, e2m3, e3m2, e4m3, e4m3fnuz, e5m2, e5m2fnuz, float32, keeps
from refnum.testing import cases

ROUNDINGS = tuple(rule for rule in RULES if rule != "stochastic")

SMALL: tuple[Format, ...] = (
    *(e2m1, e2m3, e3m2),
    *(replace(fmt, overflow=overflow) for fmt in (e4m3, e4m3fnuz, e5m2fnuz) for overflow in ("saturate", "nan")),
    *(replace(e5m2, overflow=overflow) for overflow in ("saturate", "inf", "nan")),
    *(Minifloat(3, 4), Minifloat(4, 3, overflow="inf"), Minifloat(4, 3, bias=11, specials="fnuz", overflow="nan")),
    *(Minifloat(4, 4, signed=False), Minifloat(1, 2, specials="none"), Minifloat(8, 0, specials="none")),
    *(Posit(8), Posit(8, 0), Posit(6, 3)),
)
EDGES: tuple[Format, ...] = (
    Minifloat(5, 5, specials="fn"),  # the longest mantissa
    Minifloat(8, 5, overflow="inf"),  # and its least steps, 2**-132
    Minifloat(3, 5, bias=-900, specials="none"),  # beyond all float32
    Minifloat(10, 5, bias=126),  # all float32 are within
    *(Posit(2), Posit(3, 4), Posit(9, 4), Posit(10)),
)
LONG: tuple[Format, ...] = (Minifloat(5, 6, specials="fn"), Minifloat(8, 5, bias=128), Posit(11), Posit(12, 4))

#: every upper half: alone, and with something in the lower one
EVERY_HALF = torch.cat([(torch.arange(1 << 16) << 16 | low).to(torch.int32) for low in (0, 1)])
EVERY_HALF[1 << 16 :] |= EVERY_HALF[1 << 16 :].bitwise_right_shift(16) * 40503 & 0xFFFE


def code_bits(x: Tensor, fmt: Format, rounding: str) -> Tensor:
    """Codes by definition."""
    row = FLOAT_ROWS[x.dtype]
    return encode(decode(x.contiguous().view(SIGNED[row.width]), row), fmt, rounding).to(container(fmt))


def check(x: Tensor, fmt: Format, rounding: str) -> None:
    """The table's codes and values are those of the definition, NaN and -0 included."""
    row, want = FLOAT_ROWS[x.dtype], code_bits(x, fmt, rounding)
    assert torch.equal(halves.codes(x, row, fmt, rounding, container(fmt)), want)
    if keeps(row, fmt):
        got = halves.floats(x, row, fmt, rounding)
        assert got.dtype == x.dtype
        assert torch.equal(got.view(SIGNED[row.width]), encode(decode(want, fmt), row).to(SIGNED[row.width]))


# ---- which formats ------------------------------------------------------------------------------------------------


def test_which_formats_an_upper_half_decides() -> None:
    assert all(map(halves.decided, SMALL + EDGES))
    assert not any(map(halves.decided, LONG))


@pytest.mark.parametrize("fmt", LONG, ids=str)
def test_of_longer_ones_it_does_not(fmt: Format) -> None:
    """The precondition is needed, and the cases here are hard enough to show it."""
    x = EVERY_HALF.view(torch.float32)
    assert not torch.equal(
        halves.codes(x, float32, fmt, "nearest_even", torch.int64), code_bits(x, fmt, "nearest_even")
    )


# ---- the bits of the definition -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("fmt", SMALL + EDGES, ids=str)
def test_of_every_upper_half_of_float32(fmt: Format, rounding: str) -> None:
    check(EVERY_HALF.view(torch.float32), fmt, rounding)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("fmt", [e2m1, e4m3, e5m2, LONG[0], Posit(8), Posit(64), bfloat16], ids=str)
def test_of_every_float_of_16_bits(fmt: Format, dtype: torch.dtype) -> None:
    x = torch.arange(1 << 16).to(torch.int16).view(dtype)
    for rounding in ROUNDINGS:
        check(x, fmt, rounding)


@pytest.mark.parametrize("flush", [False, True], ids=["", "flush denormal"])
@pytest.mark.parametrize("fmt", SMALL + EDGES, ids=str)
def test_of_every_kind_of_case(fmt: Format, flush: bool) -> None:
    floats = [cases.floats(fmt, kind, torch.float32, count=3000) for kind in cases.KINDS]
    halves._codes.cache_clear()
    halves._floats.cache_clear()
    torch.set_flush_denormal(flush)
    try:
        for x, rounding in itertools.product(floats, ROUNDINGS):
            check(x, fmt, rounding)
    finally:
        torch.set_flush_denormal(False)


def test_of_any_layout() -> None:
    x = cases.floats(e4m3, "random", torch.float32, count=960).view(8, 10, 12)
    room = torch.zeros(8, 10, 36)
    room[..., ::3] = x
    for layout in (x, room[..., ::3], x.mT, x.permute(2, 0, 1), x[:1].expand(8, 10, 12), x[0, 0, 0], x[:0]):
        check(layout, e4m3, "nearest_even")


# ---- the public functions -----------------------------------------------------------------------------------------


@pytest.fixture
def gone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each table was looked into."""
    counts: Counter[str] = Counter()

    def spied(name: str) -> Callable[..., Tensor]:
        original = getattr(halves, name)

        def spy(*args: Any) -> Tensor:
            counts[name] += 1
            result: Tensor = original(*args)
            return result

        return spy

    for name in ("codes", "floats"):
        monkeypatch.setattr(halves, name, spied(name))
    return counts


@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
@pytest.mark.parametrize("fmt", [e2m1, e4m3, e5m2fnuz, Posit(8, 1)], ids=str)
def test_bits_are_the_same_on_either_side_of_the_limit(fmt: Format, dtype: torch.dtype, gone: Counter[str]) -> None:
    x = torch.cat([cases.floats(fmt, kind, dtype, count=2000) for kind in cases.KINDS]).repeat(4)[: halves.LEAST]
    for rounding in ROUNDINGS:
        long = refnum.encode(x, fmt, rounding=rounding), refnum.quantize(x, fmt, rounding=rounding)
        short = [
            torch.cat([function(part, fmt, rounding=rounding) for part in x.split(halves.LEAST - 1)])
            for function in (refnum.encode, refnum.quantize)
        ]
        assert torch.equal(long[0], short[0])
        assert long[0].dtype == container(fmt)
        assert torch.equal(long[1].view(SIGNED[dtype.itemsize * 8]), short[1].view(SIGNED[dtype.itemsize * 8]))
    magic = isinstance(fmt, Posit) and dtype == torch.float32  # which quantize to nearest even goes by
    served = dtype != torch.float64
    assert gone == Counter(codes=len(ROUNDINGS) * served, floats=(len(ROUNDINGS) - magic) * served)


def test_what_a_table_does_not_serve(gone: Counter[str]) -> None:
    x = torch.linspace(-3, 3, halves.LEAST)
    assert halves.serves(x, e4m3, "nearest_even")
    assert not halves.serves(x[1:], e4m3, "nearest_even")
    assert not halves.serves(x, e4m3, "stochastic")
    assert not halves.serves(x, Posit(16), "nearest_even")
    assert halves.serves(x.bfloat16(), Posit(16), "nearest_even")
    assert not halves.serves(x.double(), e4m3, "nearest_even")
    assert not halves.serves(x.to("meta"), e4m3, "nearest_even")
    assert not halves.serves(torch.nn.Parameter(x), e4m3, "nearest_even")
    traced = torch.compile(lambda t: refnum.encode(t, e4m3), fullgraph=True, backend="eager")
    assert torch.equal(traced(x), code_bits(x, e4m3, "nearest_even"))
    assert not gone


def test_parameters_views_and_gradients_go_by_table_too(gone: Counter[str]) -> None:
    x = torch.nn.Parameter(torch.linspace(-500, 500, halves.LEAST))
    want = refnum.decode(code_bits(x.detach(), e4m3, "nearest_even"), e4m3, dtype=torch.float32)
    assert torch.equal(refnum.quantize(x, e4m3), want)
    refnum.quantize(x, e4m3, grad="clipped").sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (x.detach().abs() <= 448).float())
    negative = torch._neg_view(x.detach())
    assert torch.equal(refnum.encode(negative, e4m3), code_bits(-x.detach(), e4m3, "nearest_even"))
    assert gone == Counter(codes=1, floats=2)


def test_a_table_made_in_inference_mode_serves_afterwards() -> None:
    halves._floats.cache_clear()
    x = torch.linspace(-3, 3, halves.LEAST)
    with torch.inference_mode():
        inside = refnum.quantize(x, e2m1)
    leaf = x.clone().requires_grad_()
    outside = refnum.quantize(leaf, e2m1)
    outside.sum().backward()
    assert torch.equal(outside.detach(), inside)
