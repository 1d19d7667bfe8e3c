"""The same bits sooner: every fast form against the definition in ``core`` that it must equal."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import refnum
from refnum import Minifloat, Posit
from refnum.boundary import FLOAT_ROWS, SIGNED
from refnum.core.decode import decode
from refnum.core.round import encode, rounded_floats
from refnum.fast import chunks, halves, magic, scans, tables
from refnum.formats import Format, bfloat16, e2m1, e4m3, e5m2, e5m2fnuz, e8m0, float16, float32, float64, keeps
from refnum.testing import cases

ROWS = {row: dtype for dtype, row in FLOAT_ROWS.items()}


def waist(bits: Tensor, row: Minifloat, fmt: Posit) -> list[int]:
    """The bits of the rounded values by definition."""
    return rounded_floats(bits, row, fmt).to(SIGNED[row.width]).tolist()


def float_bits(row: Minifloat, exponents: range, seed: int) -> Tensor:
    """At each exponent, for each bit of the mantissa: that bit and random ones above it, and its neighbours.

    Wherever a posit ends, a midpoint is among them, and so are the floats next to it.
    """
    source = random.Random(seed)
    bits = []
    for field, place in itertools.product(exponents, range(row.mantissa)):
        above = source.getrandbits(row.mantissa) >> (place + 1) << (place + 1)
        head = (source.getrandbits(1) << row.exponent | field) << row.mantissa
        bits += [head | above | 1 << place, (head | above | 1 << place) + 1, (head | above | 1 << place) - 1]
    width = row.width
    return torch.tensor([(x & ((1 << width) - 1)) - (x >> (width - 1) & 1) * (1 << width) for x in bits]).to(
        SIGNED[width]
    )


EVERY_EXPONENT = float_bits(float32, range(256), seed=1)


def exponents_of(fmt: Posit, row: Minifloat, count: int) -> range:
    """Exponent fields from below the least posit to above the largest."""
    assert row.bias is not None
    reach = fmt.max_scale + 3
    low, high = max(0, row.bias - reach), min((1 << row.exponent) - 1, row.bias + reach)
    return range(low, high, max(1, (high - low) // count))


# ---- chunks -------------------------------------------------------------------------------------------------------


def shapes(seed: int) -> Iterator[tuple[torch.Size, int]]:
    source = random.Random(seed)
    yield from ((torch.Size(shape), limit) for shape in ((0,), (1,), (7, 0, 3)) for limit in (1, 5))
    for _ in range(200):
        yield (
            torch.Size(source.choice((1, 2, 3, 5, 8)) for _ in range(source.randint(1, 5))),
            source.choice((1, 2, 7, 30, 1000)),
        )


def test_pieces_hold_every_element_once() -> None:
    for shape, limit in shapes(seed=0):
        seen = torch.zeros(shape, dtype=torch.int64)
        for place in chunks.pieces(shape, limit):
            assert 1 <= seen[place].numel() <= limit or shape.numel() == 0
            seen[place] += 1
        assert bool((seen == 1).all()), (shape, limit)


def test_pieces_are_not_needlessly_small() -> None:
    for shape, limit in shapes(seed=1):
        inner = max((s for s in itertools.accumulate(reversed(shape), lambda a, b: a * b) if s <= limit), default=1)
        sizes = [torch.empty(shape)[place].numel() for place in chunks.pieces(shape, limit)]
        assert not sizes or max(sizes) >= min(inner, shape.numel())


def _layouts(x: Tensor) -> list[Tensor]:
    room = torch.zeros(*x.shape[:-1], 3 * x.shape[-1], dtype=x.dtype)
    room[..., ::3] = x
    return [x, room[..., ::3], x.mT.contiguous().mT, x.permute(2, 0, 1).contiguous().permute(1, 2, 0)]


def test_elementwise_is_the_kernel_on_the_whole() -> None:
    calls: list[int] = []

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        calls.append(a.numel())
        return a * 1000 + b

    a, b = torch.arange(60).view(3, 4, 5), torch.arange(60, 120).view(3, 4, 5)
    want = kernel(a, b).to(torch.int16)
    for x, y in itertools.product(_layouts(a), _layouts(b)):
        for chunk in (1, 4, 5, 7, 59, 60):
            calls.clear()
            got = chunks.elementwise(kernel, x, y, dtype=torch.int16, chunk=chunk)
            assert got.dtype == torch.int16
            assert torch.equal(got, want)
            assert max(calls) <= chunk
            assert sum(calls) == 60
    expanded = a[:1].expand(3, 4, 5)
    got = chunks.elementwise(kernel, expanded, b, dtype=torch.int64, chunk=7)
    assert torch.equal(got, kernel(expanded, b))


def test_elementwise_takes_what_is_short_or_has_no_data_in_one_piece() -> None:
    calls: list[Any] = []

    def kernel(x: Tensor) -> Tensor:
        calls.append(tuple(x.shape))
        return x + 1

    for x in (torch.zeros(()), torch.zeros(0), torch.zeros(2, 3), torch.zeros(9, 9, device="meta")):
        got = chunks.elementwise(kernel, x, dtype=torch.float64, chunk=6)
        assert (got.shape, got.dtype, got.device) == (x.shape, torch.float64, x.device)
    assert calls == [(), (0,), (2, 3), (9, 9)]


# ---- magic: the lane and the integer form -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fmt", "row", "lane"),
    [
        (Posit(25, 0), float32, float32),  # one mantissa bit to drop
        (Posit(26, 0), float32, float64),
        (Posit(27), float32, float32),
        (Posit(28), float32, float64),
        (Posit(29, 4), float32, float64),  # enough bits, but maxpos is beyond float32
        (Posit(17, 3), float32, float32),  # maxpos 2**120
        (Posit(18, 3), float32, float64),  # 2**128
        (Posit(16), float64, float64),
        (Posit(16), float16, float32),
        (Posit(16), bfloat16, float32),
        (Posit(56), float64, float64),
        (Posit(57), float64, None),
        (Posit(64, 0), float32, None),
        (Posit(2), float32, None),  # no regime to speak of
        (Posit(3), float32, float32),
    ],
    ids=str,
)
def test_the_lane_is_the_narrowest_that_serves(fmt: Posit, row: Minifloat, lane: Minifloat | None) -> None:
    assert magic.lane(fmt, row) == lane


def assert_integers_round(bits: Tensor, fmt: Posit, row: Minifloat) -> None:
    """To the bits of the waist, as floats and as codes."""
    assert magic.round_bits(bits, fmt, row).tolist() == waist(bits, row, fmt), fmt
    assert torch.equal(magic.round_codes(bits, fmt, row).long(), encode(decode(bits.long(), row), fmt)), fmt


@pytest.mark.parametrize("es", range(5))
def test_integer_rounding_in_float32(es: int) -> None:
    served = [fmt for n in range(2, 65) if magic.lane(fmt := Posit(n, es), float32) == float32]
    assert len(served) >= 6
    for fmt in served:
        assert_integers_round(EVERY_EXPONENT, fmt, float32)


@pytest.mark.parametrize("es", range(5))
def test_integer_rounding_in_float64(es: int) -> None:
    served = [fmt for n in range(2, 65) if magic.lane(fmt := Posit(n, es), float64) == float64]
    assert len(served) >= 40
    for fmt in served[:: 1 + es % 2]:
        bits = float_bits(float64, exponents_of(fmt, float64, 25), seed=fmt.n)
        assert_integers_round(bits, fmt, float64)


@pytest.mark.parametrize("fmt", [Posit(3), Posit(8), Posit(15, 1), Posit(16), Posit(25, 0), Posit(27)], ids=str)
def test_integer_rounding_of_every_kind_of_case(fmt: Posit) -> None:
    for kind in cases.KINDS:
        assert_integers_round(cases.floats(fmt, kind, torch.float32, count=2000).view(torch.int32), fmt, float32)


@pytest.mark.parametrize(("fmt", "row"), [(Posit(28), float32), (Posit(26, 0), float32), (Posit(57), float64)], ids=str)
def test_one_bit_past_the_lane_it_would_be_wrong(fmt: Posit, row: Minifloat) -> None:
    """The precondition is needed, and the cases here are hard enough to show it."""
    bits = float_bits(row, exponents_of(fmt, row, 60), seed=2)
    assert magic.lane(fmt, row) != row
    assert magic.round_bits(bits, fmt, row).tolist() != waist(bits, row, fmt)


# ---- magic: by pieces ---------------------------------------------------------------------------------------------

PIECE = 32  #: elements of a piece, where a test makes it small

WAYS = ("_by_magic", "_by_magic_and_table", "_by_integers", "_by_table", "rounded_floats")

#: format, dtype -> the ways that serve dense values near 1
SERVED: tuple[tuple[Posit, torch.dtype, set[str]], ...] = (
    (Posit(8), torch.float32, {"_by_table"}),
    (Posit(8, 4), torch.float32, {"_by_table"}),
    (Posit(10), torch.float32, {"_by_table"}),  # 5 fraction bits
    (Posit(11), torch.float32, {"_by_magic"}),
    (Posit(16), torch.float32, {"_by_magic"}),
    (Posit(16), torch.bfloat16, {"_by_magic"}),
    (Posit(20), torch.float16, {"_by_magic"}),
    (Posit(26), torch.float32, {"_by_magic"}),  # two bits to drop
    (Posit(27), torch.float32, {"_by_integers"}),  # one
    (Posit(28), torch.float32, {"_by_magic"}),  # in float64
    (Posit(16, 3), torch.float32, {"_by_magic"}),
    (Posit(32), torch.float32, {"_by_magic"}),
    (Posit(32), torch.float64, {"_by_magic"}),
    (Posit(55), torch.float64, {"_by_magic"}),
    (Posit(56), torch.float64, {"_by_integers"}),
)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often each way was gone."""
    gone: Counter[str] = Counter()

    def spied(name: str) -> Callable[..., Any]:
        original = getattr(magic, name)

        def spy(*args: Any, **kwargs: Any) -> Any:
            gone[name] += 1
            return original(*args, **kwargs)

        return spy

    for name in WAYS:
        monkeypatch.setattr(magic, name, spied(name))
    magic._ways.cache_clear()
    yield gone
    magic._ways.cache_clear()


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(magic, "CHUNK_BYTES", PIECE * 4)


def check(x: Tensor, fmt: Posit) -> None:
    """The public function, which goes by pieces, against the waist, payloads of NaN included."""
    row = FLOAT_ROWS[x.dtype]
    got = refnum.quantize(x, fmt)
    assert (got.dtype, got.shape) == (x.dtype, x.shape)
    want = waist(x.contiguous().view(SIGNED[row.width]), row, fmt)
    assert got.view(SIGNED[row.width]).tolist() == want


def near_one(dtype: torch.dtype, count: int) -> Tensor:
    source = random.Random(count)
    return torch.tensor([source.gauss(0, 1) or 1.0 for _ in range(count)], dtype=torch.float64).to(dtype)


@pytest.mark.parametrize(("fmt", "dtype", "expected"), SERVED, ids=str)
def test_dense_values_go_the_short_way(fmt: Posit, dtype: torch.dtype, expected: set[str], ways: Counter[str]) -> None:
    x = near_one(dtype, 500).clamp(-3, 3)
    x[x.abs() < 0.01] = 1.5
    check(x, fmt)
    assert set(ways) - {"rounded_floats"} == expected


def _mixtures(dtype: torch.dtype) -> dict[str, Tensor]:
    """What makes pieces go different ways; three and a bit of them each."""
    info, count = torch.finfo(dtype), 3 * PIECE + 5
    dense = near_one(dtype, count)
    payloads = {
        torch.float16: 0x7C01,
        torch.bfloat16: 0xFF81 - 0x10000,
        torch.float32: 0x7F800001,
        torch.float64: 0xFFF8 << 48 | 1,
    }
    pattern = payloads[dtype] - (1 << 64 if payloads[dtype] >= 1 << 63 else 0)
    payload = torch.tensor([pattern]).to(SIGNED[info.bits]).view(dtype)

    def with_each(value: Tensor | float, base: Tensor, step: int = PIECE) -> Tensor:
        x = base.clone()
        x[7::step] = value
        x[-1:] = value  # where vectors end, other instructions may do the work
        return x

    zeros = torch.zeros(count, dtype=dtype)
    return {
        "dense": dense,
        "zeros": zeros,
        "negative zeros": -zeros,
        "half zeros": with_each(0.0, dense, 2),
        "half negative zeros": with_each(-0.0, dense, 2),
        "one subnormal among zeros": with_each(info.smallest_normal / 4, zeros),
        "one negative subnormal among zeros": with_each(-info.smallest_normal / 4, zeros),
        "the least subnormal, dense": with_each(info.smallest_normal * info.eps, dense),
        "one huge": with_each(info.max, dense),
        "one tiny": with_each(-info.smallest_normal, dense),
        "one huge among zeros": with_each(-info.max, with_each(0.0, dense, 3)),
        "one Inf": with_each(-float("inf"), dense),
        "one NaN with a payload": with_each(payload, dense),
        "NaN and zeros": with_each(payload, with_each(0.0, dense, 3)),
        "NaN, Inf, subnormals, zeros": with_each(
            payload, with_each(float("inf"), with_each(info.smallest_normal / 2, zeros, 9), 5)
        ),
        "zeros, then dense, then zeros": torch.cat([zeros[:PIECE], dense[:PIECE], zeros[:PIECE], dense]),
        "every scale": dense * torch.exp2(torch.arange(count, dtype=torch.float64) - count / 2).to(dtype),
    }


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("flush", [False, True], ids=["", "flush denormal"])
@pytest.mark.parametrize(("fmt", "dtype", "expected"), SERVED, ids=str)
def test_every_way_gives_the_bits_of_the_waist(fmt: Posit, dtype: torch.dtype, expected: set[str], flush: bool) -> None:
    mixtures = _mixtures(dtype)
    torch.set_flush_denormal(flush)
    try:
        for x in mixtures.values():
            check(x, fmt)
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.usefixtures("small_pieces")
def test_the_mixtures_go_every_way(ways: Counter[str]) -> None:
    for fmt, dtype, _ in SERVED:
        for x in _mixtures(dtype).values():
            check(x, fmt)
    assert set(ways) == set(WAYS)
    assert min(ways.values()) > 50


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("fmt", "dtype", "expected"), SERVED[::3], ids=str)
def test_lengths_at_the_borders_of_pieces(fmt: Posit, dtype: torch.dtype, expected: set[str]) -> None:
    piece = PIECE * 4 // (8 if magic.lane(fmt, FLOAT_ROWS[dtype]) == float64 else 4)
    x = _mixtures(dtype)["half zeros"]
    for length in (0, 1, 2, piece - 1, piece, piece + 1, 2 * piece, 3 * piece + 1):
        check(x[:length], fmt)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(("fmt", "dtype", "expected"), SERVED[::4], ids=str)
def test_layouts_of_pieces(fmt: Posit, dtype: torch.dtype, expected: set[str]) -> None:
    x = _mixtures(dtype)["every scale"][:96].view(4, 3, 8)
    for layout in _layouts(x):
        check(layout, fmt)
    check(x[:1, :1].expand(4, 3, 8), fmt)
    check(x[0, 0, 0], fmt)


@pytest.mark.parametrize("fmt", [fmt for fmt, dtype, _ in SERVED if dtype == torch.float32], ids=str)
@pytest.mark.parametrize("dtype", FLOAT_ROWS, ids=str)
def test_quantize_of_every_kind_of_case(fmt: Posit, dtype: torch.dtype) -> None:
    if not keeps(FLOAT_ROWS[dtype], fmt):
        pytest.skip(f"{dtype} does not keep {fmt}")
    for kind in cases.KINDS:
        check(cases.floats(fmt, kind, dtype, count=1500), fmt)


@pytest.mark.parametrize("row", [float16, bfloat16], ids=str)
def test_quantize_of_every_short_float(row: Minifloat) -> None:
    x = torch.arange(1 << 16).to(torch.int16).view(ROWS[row])
    for fmt in (Posit(6, 1), Posit(20), Posit(24, 1), Posit(8, 0)):
        assert keeps(row, fmt)
        check(x, fmt)


def test_a_subnormal_is_seen_among_zeros() -> None:
    assert float16.infinity is not None
    for pattern in range(-(1 << 15), 1 << 15, 37):
        bits = torch.tensor([0, -(1 << 15), pattern], dtype=torch.int16)
        assert scans.has_subnormal(bits, float16) == (0 < pattern & 0x7FFF < 1 << 10)
    for row in (float32, float64):
        ordinary = torch.tensor([0, 1 << row.mantissa, (1 << (row.width - 1)) - 1], dtype=SIGNED[row.width])
        for sign in (0, -(1 << (row.width - 1))):
            assert not scans.has_subnormal(ordinary | sign, row)
            for subnormal in (1, (1 << row.mantissa) - 1):
                with_one = torch.cat([ordinary, torch.tensor([subnormal | sign], dtype=SIGNED[row.width])])
                assert scans.has_subnormal(with_one, row)


def test_the_tables_index_is_the_upper_half_rounded_to_odd() -> None:
    bits = EVERY_EXPONENT.to(torch.int64) & 0xFFFFFFFF
    want = (bits >> 16) | ((bits & 0xFFFF) != 0)
    memory = torch.empty_like(EVERY_EXPONENT)
    for got in (halves.upper_half(EVERY_EXPONENT), halves.upper_half(EVERY_EXPONENT, memory)):
        assert torch.equal(got.to(torch.int64), want)


def test_other_tensors_go_by_integers(ways: Counter[str]) -> None:
    """Meta tensors and subclasses have nothing to look at."""
    for fmt in (Posit(16), Posit(28)):
        x = torch.empty(5, 3, device="meta")
        got = refnum.quantize(x, fmt)
        assert (got.shape, got.dtype, got.device.type) == (x.shape, x.dtype, "meta")
    assert set(ways) <= {"round_bits", "rounded_floats"}


# ---- tables -------------------------------------------------------------------------------------------------------

TABLED: tuple[Format, ...] = (
    *(Posit(n, es) for n in range(2, 11) for es in range(5)),
    *(Posit(12, 1), Posit(16), Posit(16, 0), Posit(15, 4)),
    *(e2m1, e4m3, e5m2, e5m2fnuz, e8m0, Minifloat(5, 5, specials="fn"), float16, bfloat16),
)


@pytest.mark.parametrize("fmt", TABLED, ids=str)
def test_a_table_decodes_as_the_waist_does(fmt: Format) -> None:
    codes = torch.arange(-(1 << fmt.width), 1 << fmt.width)  # also bits above the format's
    for row in (float32, float64, float16):
        want = encode(decode(codes, fmt), row).to(SIGNED[row.width])
        for container in (torch.int64, torch.int32):
            assert torch.equal(tables.floats(codes.to(container), fmt, row), want)
        if fmt.width <= 8:
            bytes_ = codes[: 1 << fmt.width].to(torch.uint8)
            assert torch.equal(tables.floats(bytes_, fmt, row), want[: 1 << fmt.width])


def test_a_table_takes_any_shape_and_layout() -> None:
    codes = cases.patterns(Posit(8), "random", count=60)[:60].to(torch.int8).view(3, 4, 5)
    want = tables.floats(codes, Posit(8), float32)
    assert want.shape == (3, 4, 5)
    for layout in _layouts(codes):
        assert torch.equal(tables.floats(layout, Posit(8), float32), want)


def test_a_table_serves_where_it_is_shorter_than_the_tensor() -> None:
    codes = torch.zeros(256, dtype=torch.int8)
    assert tables.serves(codes, Posit(8))
    assert not tables.serves(codes[1:], Posit(8))
    assert tables.serves(codes[:4], Posit(2))
    assert not tables.serves(codes, Posit(16))
    assert tables.serves(codes.to(torch.int16).expand(256, 256), Posit(16))
    assert not tables.serves(torch.zeros(1, dtype=torch.int32).expand(1 << 20), Posit(17))
    assert not tables.serves(codes.to("meta"), Posit(8))


@pytest.mark.parametrize("fmt", [Posit(8), e4m3, Posit(16)], ids=str)
def test_decode_gives_the_same_bits_on_either_side_of_the_limit(fmt: Format) -> None:
    codes = torch.arange(1 << fmt.width)
    long = refnum.decode(codes, fmt, dtype=torch.float32)
    short = torch.cat([refnum.decode(half, fmt, dtype=torch.float32) for half in codes.chunk(2)])
    assert tables.serves(codes, fmt)
    assert not tables.serves(codes[:-1], fmt)
    assert torch.equal(long.view(torch.int32), short.view(torch.int32))
