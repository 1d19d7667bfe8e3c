"""Codes of 4 and 6 bits in bytes: against Python's integers, with memory as it is and by arithmetic."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from refnum.errors import DTypeError, RefnumError, ShapeError
from refnum.mx import packing
from refnum.mx.packing import pack4, pack6, unpack4, unpack6

Function = Callable[[Tensor], Tensor]


class Pair(NamedTuple):
    """There and back."""

    pack: Function
    unpack: Function
    codes: int  #: so many codes
    bytes: int  #: fill so many bytes
    width: int


PAIRS = {4: Pair(pack4, unpack4, 2, 1, 4), 6: Pair(pack6, unpack6, 4, 3, 6)}


@pytest.fixture(params=["memory", "arithmetic"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "arithmetic":
        monkeypatch.setattr(packing, "in_memory_order", lambda _: False)


#: a test runs twice: with bytes taken as the numbers that they are in memory, and by the definition
both_ways = pytest.mark.usefixtures("_ways")
each_width = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


def stream(codes: list[int], width: int) -> list[int]:
    """Code i in the bits from width * i on of one long integer, written low byte first."""
    number = sum((code & (1 << width) - 1) << width * i for i, code in enumerate(codes))
    return list(number.to_bytes(len(codes) * width // 8, "little"))


def tensor(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)


@both_ways
@each_width
@settings(deadline=None)
@given(st.data())
def test_codes_are_a_little_endian_stream(pair: Pair, data: st.DataObject) -> None:
    count = pair.codes * data.draw(st.integers(0, 12))
    codes = data.draw(st.lists(st.integers(0, 255), min_size=count, max_size=count))
    packed = pair.pack(tensor(codes))
    assert packed.dtype == torch.uint8
    assert packed.tolist() == stream(codes, pair.width)
    assert pair.unpack(packed).tolist() == [code & (1 << pair.width) - 1 for code in codes]


@both_ways
def test_the_even_index_is_in_the_low_nibble() -> None:
    assert pack4(tensor([1, 2])).tolist() == [0x21]
    assert unpack4(tensor([0x21])).tolist() == [1, 2]


@both_ways
@each_width
def test_every_group_of_bytes_holds_other_codes(pair: Pair) -> None:
    """Unpacked and packed again every byte is itself: all bytes alone, and in the place of each neighbour."""
    for place in range(pair.bytes):
        packed = torch.zeros(256, pair.bytes, dtype=torch.uint8)
        packed[:, place] = torch.arange(256).to(torch.uint8)
        codes = pair.unpack(packed)
        assert int(codes.max()) < 1 << pair.width
        assert torch.equal(pair.pack(codes), packed)
        assert torch.equal(codes, tensor([pair.unpack(row).tolist() for row in packed]))


@both_ways
@each_width
def test_only_the_low_bits_are_read(pair: Pair) -> None:
    codes = torch.arange(256).to(torch.uint8)
    assert torch.equal(pair.pack(codes), pair.pack(codes & (1 << pair.width) - 1))
    alone = torch.zeros(256, pair.codes, dtype=torch.uint8)
    for place in range(pair.codes):
        found = alone.clone()
        found[:, place] = codes
        assert torch.equal(pair.unpack(pair.pack(found)), found & (1 << pair.width) - 1)


@both_ways
@each_width
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 24), (24,), (2, 3, 24), (5, 1, 12)])
def test_shapes(pair: Pair, shape: tuple[int, ...]) -> None:
    codes = torch.randint(0, 1 << pair.width, shape, dtype=torch.uint8)
    packed = pair.pack(codes)
    assert packed.shape == (*shape[:-1], shape[-1] * pair.width // 8)
    assert torch.equal(pair.unpack(packed), codes)
    rows = [pair.pack(row) for row in codes.view(-1, shape[-1])] if codes.numel() else []
    assert torch.equal(packed.reshape(len(rows), -1), torch.stack(rows)) if rows else not packed.numel()


@both_ways
@each_width
def test_strides_do_not_matter(pair: Pair) -> None:
    for function in (pair.pack, pair.unpack):
        x = torch.randint(0, 256, (12, 24), dtype=torch.uint8)
        want = function(x.clone())
        buffer = torch.cat([x.new_zeros(1), x.view(-1)])
        for other in (x.mT.contiguous().mT, x.repeat_interleave(2, -1)[:, ::2], buffer[1:].view(12, 24)):
            assert torch.equal(function(other), want)
        assert torch.equal(function(x[:1].expand(12, 24)), want[:1].expand(12, -1))


@each_width
@pytest.mark.parametrize("chunk", [1, 3, 7, 64])
def test_chunks_do_not_matter(pair: Pair, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.randint(0, 1 << pair.width, (3, 40), dtype=torch.uint8)
    want = pair.pack(codes)
    monkeypatch.setattr(packing, "CHUNK", chunk)
    assert torch.equal(pair.pack(codes), want)
    assert torch.equal(pair.unpack(want), codes)


@each_width
def test_the_default_device_does_not_matter(pair: Pair) -> None:
    codes = torch.randint(0, 1 << pair.width, (3, 40), dtype=torch.uint8)
    with torch.device("meta"):
        packed = pair.pack(codes)
        assert packed.device == pair.unpack(packed).device == codes.device


def test_a_big_endian_machine_goes_by_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(4, dtype=torch.uint8)
    assert packing.in_memory_order(x)
    assert not packing.in_memory_order(x.to("meta"))
    monkeypatch.setattr(packing.sys, "byteorder", "big")
    assert not packing.in_memory_order(x)


# ---- what is refused ----------------------------------------------------------------------------------------------

X = torch.zeros(24, dtype=torch.uint8)


class Row(NamedTuple):
    """A call that is refused, and what the message says."""

    error: type[RefnumError]
    call: Callable[[], object]
    parts: str  #: what failed | what was got | what is allowed | what to do


# fmt: off
REFUSED = (
    Row(ShapeError, lambda: pack4(X[:5]),
        "mx.pack4 cannot group codes | of shape (5,) | must be a multiple of 2 | Pad it"),
    Row(ShapeError, lambda: pack6(X[:6]),
        "mx.pack6 cannot group codes | of shape (6,) | must be a multiple of 4 | Pad it"),
    Row(ShapeError, lambda: unpack6(X.view(6, 4)),
        "mx.unpack6 cannot group packed | of shape (6, 4) | must be a multiple of 3 | Pad it"),
    Row(ShapeError, lambda: unpack4(X[0]),
        "mx.unpack4 cannot group packed | of shape () | must be a multiple of 1 | Pad it"),
    Row(DTypeError, lambda: pack4(X.int()),
        "mx.pack4 needs bytes for codes | got torch.int32 | Allowed is torch.uint8. | Use codes.view(torch.uint8)"),
    Row(DTypeError, lambda: unpack4(X.view(torch.float4_e2m1fn_x2)),
        "mx.unpack4 needs bytes for packed | got torch.float4_e2m1fn_x2 | torch.uint8. | Use packed.view(torch.uint8)"),
    Row(DTypeError, lambda: pack6(X.view(torch.int8)),
        "mx.pack6 needs bytes for codes | got torch.int8 | Allowed is torch.uint8. | Use codes.view(torch.uint8)"),
    Row(DTypeError, lambda: unpack6([1, 2, 3]),
        "mx.unpack6 needs | got list | a tensor for packed | Use torch.as_tensor first."),
)
# fmt: on


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.parts)
def test_what_is_refused_and_why(row: Row) -> None:
    with pytest.raises(row.error) as caught:
        row.call()
    message, parts = str(caught.value), row.parts.split(" | ")
    assert len(parts) == 4
    for part in parts:
        assert part in message
    assert message.endswith(".")


# ---- compiled -----------------------------------------------------------------------------------------------------


@pytest.fixture
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed")
@pytest.mark.usefixtures("_fresh_compiler")
@pytest.mark.parametrize("lengths", [(12,), pytest.param((12, 60, 1008), marks=pytest.mark.slow)])
def test_compiled_is_eager(lengths: tuple[int, ...]) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        return pack4(x), unpack4(x), pack6(x), unpack6(x)

    compiled = torch.compile(function, fullgraph=True)
    for length in lengths:
        x = torch.randint(0, 256, (2, length), dtype=torch.uint8)
        assert all(torch.equal(got, want) for got, want in zip(compiled(x), function(x), strict=True))
