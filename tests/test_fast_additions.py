"""Minifloats and DMF from float32 by additions, and formats that begin a row's patterns: against the definition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import refnum
from refnum.boundary import FLOAT_ROWS, SIGNED, container
from refnum.core.decode import decode
from refnum.core.round import encode, rounded_floats
from refnum.fast import additions, prefixes
from refnum.formats import DMF, FixedPoint, Minifloat, bfloat16, e2m1, e4m3, e5m2fnuz, float16, float32, tf32
from refnum.testing import cases

FORMATS: tuple[additions.Addable, ...] = (
    *(DMF(4, 3), DMF(4, 8), DMF(6, 9), DMF(4, 11), DMF(5, 2), DMF(3, 4, bias=4), DMF(2, 8, bias=110)),
    *(float16, e4m3, e2m1, Minifloat(6, 9, overflow="inf"), Minifloat(5, 9, specials="none"), Minifloat(5, 10)),
    *(Minifloat(2, 1, specials="none"), Minifloat(3, 10, bias=116), Minifloat(3, 10, bias=-107, overflow="inf")),
)
#: too long a significand, its own rule for ties, an end beyond float32's, a unit below it, and what is no plain float
OTHERS = (
    *(Minifloat(4, 11), DMF(3, 12), DMF(4, 1), Minifloat(5, 0, specials="none"), tf32, bfloat16),
    *(Minifloat(3, 10, bias=-108), Minifloat(3, 10, bias=117), DMF(2, 8, bias=120)),
    *(e5m2fnuz, Minifloat(3, 2, signed=False), Minifloat(4, 3, overflow="nan"), Minifloat(4, 3, subnormals=False)),
    *(FixedPoint(8, 4), refnum.posit16),
)


def of_every_binade(fmt: additions.Addable) -> Tensor:
    """Of every binade the ends, ties, and 1 ulp about them, both signs; and edges, ties, spaced and random values."""
    fractions = {(place << cut) + ulp for cut in range(9, 23) for place in (0, 1, 2, 3) for ulp in (-1, 0, 1)}
    fields = torch.arange(256, dtype=torch.int32)[:, None] << 23
    bits = (fields + torch.tensor(sorted(f for f in fractions if 0 <= f < 1 << 23), dtype=torch.int32)).view(-1)
    kinds = (cases.floats(fmt, kind, torch.float32, count=300) for kind in cases.KINDS)
    return torch.cat([bits.view(torch.float32), -bits.view(torch.float32), *kinds])


@pytest.mark.parametrize("flush", [False, True], ids=["", "flush denormal"])
@pytest.mark.parametrize("fmt", FORMATS, ids=str)
def test_additions_give_the_bits_of_the_definition(fmt: additions.Addable, flush: bool) -> None:
    x = of_every_binade(fmt)
    moderate = x[x.abs() < 1e4]  # whose sum is finite, so that no NaN is looked for
    for some in (x, moderate):
        bits = some.view(torch.int32).long()
        codes = encode(decode(bits, float32), fmt).to(container(fmt))
        values = rounded_floats(bits, float32, fmt).to(torch.int32)
        assert additions.serves(some, fmt, "nearest_even")
        torch.set_flush_denormal(flush)
        try:
            got = additions.codes(some, fmt, container(fmt)), additions.values(some, fmt)
        finally:
            torch.set_flush_denormal(False)
        assert torch.equal(got[0], codes)
        assert torch.equal(got[1].view(torch.int32), values)


@pytest.mark.parametrize("fmt", OTHERS, ids=str)
def test_what_additions_do_not_serve(fmt: refnum.formats.Scalar) -> None:
    assert not additions.serves(torch.ones(3), fmt, "nearest_even")


def test_additions_serve_eager_float32_to_nearest_even() -> None:
    x = torch.ones(3)
    assert additions.serves(x, e4m3, "nearest_even")
    assert not additions.serves(x, e4m3, "nearest_away")
    assert not additions.serves(x.double(), e4m3, "nearest_even")
    assert not additions.serves(x.to("meta"), e4m3, "nearest_even")


def test_values_of_any_layout() -> None:
    x = of_every_binade(DMF(4, 8))[:30_000].view(3, 100, 100)
    codes, values = refnum.encode(x, DMF(4, 8)), refnum.quantize(x, DMF(4, 8))
    for layout in (
        lambda t: t,
        lambda t: t.transpose(0, 2),
        lambda t: t[:, ::3],
        lambda t: t[1, 2, 3],
        lambda t: t[:0],
    ):
        assert torch.equal(refnum.encode(layout(x), DMF(4, 8)), layout(codes))
        got = refnum.quantize(layout(x), DMF(4, 8)).contiguous()
        assert torch.equal(got.view(torch.int32), layout(values).contiguous().view(torch.int32))


# ---- formats whose codes begin a row's patterns -------------------------------------------------------------------

BEGINNINGS = {
    float32: (tf32, bfloat16, Minifloat(8, 1, overflow="inf"), Minifloat(8, 22, overflow="inf")),
    float16: (Minifloat(5, 2, overflow="inf"), Minifloat(5, 9, overflow="inf")),
    bfloat16: (Minifloat(8, 4, overflow="inf"),),
    refnum.formats.float64: (Minifloat(11, 20, overflow="inf"),),
}
PAIRS = [(row, fmt) for row, formats in BEGINNINGS.items() for fmt in formats]


@pytest.mark.parametrize(("row", "fmt"), PAIRS, ids=str)
def test_beginnings_give_the_bits_of_the_definition(row: Minifloat, fmt: Minifloat) -> None:
    dtype, integer = next(d for d, found in FLOAT_ROWS.items() if found == row), SIGNED[row.width]
    x = torch.cat([cases.floats(fmt, kind, dtype, count=500) for kind in cases.KINDS])
    nan = torch.tensor([row.infinity + payload for payload in (1, 2, (1 << row.mantissa) - 1)]).to(integer)
    bits = torch.cat([x.view(integer), nan, nan | -(1 << (row.width - 1))])
    assert prefixes.serves(fmt, row, "nearest_even")
    codes = prefixes.codes(bits, fmt, row, "nearest_even")
    assert torch.equal(codes.long(), encode(decode(bits.long(), row), fmt))
    values = prefixes.values(bits, fmt, row, "nearest_even").to(integer)
    assert torch.equal(values, rounded_floats(bits.long(), row, fmt).to(integer))


@pytest.mark.parametrize(("row", "fmt"), PAIRS, ids=str)
def test_beginnings_are_read(row: Minifloat, fmt: Minifloat) -> None:
    count = min(fmt.width, 17)
    codes = torch.arange(1 << count) << (fmt.width - count)
    codes = torch.cat([codes, codes + 1, codes - 1])  # also bits above the format's
    want = encode(decode(codes, fmt), row).to(SIGNED[row.width])
    assert torch.equal(prefixes.floats(codes, fmt, row).to(want.dtype), want)
    dtype = next(d for d, found in FLOAT_ROWS.items() if found == row)
    some = codes[::1001]
    assert torch.equal(refnum.decode(some, fmt, dtype=dtype).view(want.dtype), want[::1001])


def test_which_formats_begin_patterns() -> None:
    for fmt in (
        Minifloat(8, 10),
        Minifloat(8, 10, bias=126, overflow="inf"),
        Minifloat(7, 10, overflow="inf"),
        float32,
    ):
        assert not prefixes.begins(fmt, float32)
    assert not prefixes.begins(FixedPoint(8, 4), float32)
    assert not prefixes.serves(tf32, float32, "toward_zero")
