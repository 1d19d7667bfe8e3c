"""Philox4x32-10: the known answers of its authors, the C++ standard's, and Python's integers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from refnum.errors import ContractError, RefnumError, ShapeError
from refnum.mx import philox
from refnum.mx.philox import philox4x32, random_bits

WORD = (1 << 32) - 1
TOP = (1 << 64) - 1
EDGES = (0, 1, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, WORD - 1, WORD)

#: counter, key and block from the known answers of Random123 (DEShawResearch/random123, tests/kat_vectors)
KNOWN = """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
"""


def oracle(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """A block in Python's integers, as the paper tells it: multiply, take high and low words, xor, bump the key."""
    (a, b, c, d), (k, m) = counter, key
    for _ in range(10):
        left, right = divmod(0xD2511F53 * a, 1 << 32), divmod(0xCD9E8D57 * c, 1 << 32)
        a, b, c, d = right[0] ^ b ^ k, right[1], left[0] ^ d ^ m, left[1]
        k, m = (k + 0x9E3779B9) % (1 << 32), (m + 0xBB67AE85) % (1 << 32)
    return a, b, c, d


def words(seed: int, offset: int, count: int) -> list[int]:
    """What `random_bits` promises, from the oracle."""
    result: list[int] = []
    for block in range(-(-count // 4)):
        counter = (offset + block) & TOP
        result += oracle((counter & WORD, counter >> 32, 0, 0), (seed & WORD, seed >> 32))
    return result[:count]


def unsigned(x: Tensor) -> list[int]:
    return (x.to(torch.int64) & WORD).view(-1).tolist()


# ---- blocks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", KNOWN.split("\n")[1:-1])
def test_known_answers(line: str) -> None:
    numbers = [int(word, 16) for word in line.split()]
    counter, key, block = numbers[:4], numbers[4:6], numbers[6:]
    assert oracle(tuple(counter), tuple(key)) == tuple(block)
    assert list(philox4x32(counter, key)) == block
    lanes = [torch.full((3,), word) for word in counter]
    assert [x.tolist() for x in philox4x32(lanes, key)] == [[word] * 3 for word in block]
    assert [x.tolist() for x in philox4x32(lanes, [torch.tensor(word) for word in key])] == [[w] * 3 for w in block]


word = st.one_of(st.sampled_from(EDGES), st.integers(0, WORD))


@settings(deadline=None)
@given(st.lists(st.tuples(word, word, word, word), min_size=1, max_size=8), st.tuples(word, word))
def test_blocks_are_those_of_the_paper(counters: list[tuple[int, ...]], key: tuple[int, int]) -> None:
    lanes = torch.tensor(counters).unbind(-1)
    got = torch.stack(philox4x32(lanes, key), -1)
    assert got.dtype == torch.int64
    assert [tuple(block) for block in got.tolist()] == [oracle(counter, key) for counter in counters]


@pytest.mark.parametrize("multiplier", philox.MULTIPLIERS)
def test_products_of_words_are_exact(multiplier: int) -> None:
    """No int64 overflows on the way: the greatest magnitudes are at the ends."""
    xs = [*EDGES, *(WORD * i // 997 for i in range(997))]
    low, high = philox._product(multiplier, torch.tensor(xs))
    assert low.tolist() == [multiplier * x & WORD for x in xs]
    assert high.tolist() == [multiplier * x >> 32 for x in xs]
    for x in (0, WORD):
        assert abs((x - philox.HALF) * multiplier + philox.HALF) < 1 << 63


# ---- streams ------------------------------------------------------------------------------------------------------


def test_the_known_word_of_the_standard() -> None:
    """The 10000th word of std::philox4x32 with its default seed, [rand.predef] of C++26."""
    assert unsigned(random_bits(20111115, 0, (10000,)))[-1] == 1955073260


long = st.one_of(st.sampled_from((0, 1, WORD, WORD + 1, TOP - 1, TOP)), st.integers(0, TOP))


@settings(deadline=None)
@given(long, long, st.integers(0, 30))
@example(1 << 63, WORD - 2, 30)
@example(TOP, TOP - 2, 30)
def test_words_are_where_the_docstring_says(seed: int, offset: int, count: int) -> None:
    x = random_bits(seed, offset, (count,))
    assert x.dtype == torch.int32
    assert unsigned(x) == words(seed, offset, count)


def test_streams_can_be_cut_anywhere() -> None:
    whole = random_bits(7, 100, (400,))
    for block in (0, 1, 33, 99):
        assert torch.equal(random_bits(7, 100 + block, (4,)), whole[4 * block : 4 * block + 4])
    assert torch.equal(random_bits(7, 100, (397,)), whole[:397])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3, 7), [4, 4], torch.Size([8])])
def test_shapes_are_filled_in_rows(shape: list[int]) -> None:
    x = random_bits(1, 2, shape)
    assert x.shape == torch.Size(shape)
    assert x.is_contiguous()
    assert torch.equal(x.reshape(-1), random_bits(1, 2, (x.numel(),)))


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    want = random_bits(5, WORD - 3, (70,))
    monkeypatch.setattr(philox, "CHUNK", chunk)
    assert torch.equal(random_bits(5, WORD - 3, (70,)), want)


def test_tensors_give_what_their_64_bits_give() -> None:
    for seed, offset in ((3, 4), (TOP, WORD), (1 << 63, TOP - 1)):
        signed = [torch.tensor(x - (x >> 63 << 64)) for x in (seed, offset)]
        assert torch.equal(random_bits(*signed, (23,)), random_bits(seed, offset, (23,)))


def test_settings_of_torch_do_not_matter() -> None:
    want = random_bits(1, 2, (9,))
    before = torch.get_rng_state()
    with torch.device("meta"):
        assert torch.equal(random_bits(1, 2, (9,)), want)
    assert torch.equal(torch.get_rng_state(), before)
    assert random_bits(1, 2, (9,), device="meta").shape == (9,)


def test_bits_are_evenly_spread() -> None:
    """Each of the 32 is set in half of the words: within 5 standard deviations."""
    x = random_bits(11, 0, (1 << 16,))
    for bit in range(32):
        assert abs(int((x >> bit & 1).sum()) - (1 << 15)) < 5 * (1 << 7)


# ---- what is refused ----------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A call that is refused, and what the message says."""

    error: type[RefnumError]
    call: Callable[[], object]
    parts: str  #: what failed | what was got | what is allowed | what to do


# fmt: off
REFUSED = (
    Row(ContractError, lambda: random_bits(-1, 0, (4,)),
        "mx.random_bits has no seed | =-1 | an int from 0 to 2**64 - 1 | Choose seed in that range."),
    Row(ContractError, lambda: random_bits(1 << 64, 0, (4,)),
        "mx.random_bits has no seed | =18446744073709551616 | an int from 0 to 2**64 - 1 | Choose seed in that range."),
    Row(ContractError, lambda: random_bits(0, 1.0, (4,)),
        "mx.random_bits has no offset | =1.0 | an int from 0 to 2**64 - 1 | Choose offset in that range."),
    Row(ContractError, lambda: random_bits(True, 0, (4,)),
        "mx.random_bits has no seed | =True | or a 0-d int64 tensor | Choose seed in that range."),
    Row(ContractError, lambda: random_bits(0, torch.tensor([1]), (4,)),
        "mx.random_bits has no offset | =tensor([1]) | or a 0-d int64 tensor | Choose offset in that range."),
    Row(ContractError, lambda: random_bits(torch.tensor(1.0), 0, (4,)),
        "mx.random_bits has no seed | =tensor(1.) | or a 0-d int64 tensor | Choose seed in that range."),
    Row(ShapeError, lambda: random_bits(0, 0, 4),
        "mx.random_bits has no shape | 4 | a sequence of sizes, ints from 0 on | Pass x.shape"),
    Row(ShapeError, lambda: random_bits(0, 0, (4, -1)),
        "mx.random_bits has no shape | (4, -1) | a sequence of sizes, ints from 0 on | Pass x.shape"),
    Row(ShapeError, lambda: random_bits(0, 0, (2.0,)),
        "mx.random_bits has no shape | (2.0,) | a sequence of sizes, ints from 0 on | Pass x.shape"),
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


fresh_compiler = pytest.mark.usefixtures("_fresh_compiler")


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on the CPU calls g++, which is not installed")
@fresh_compiler
def test_compiled_is_eager_as_the_offset_moves_on() -> None:
    compiled = torch.compile(lambda seed, offset: random_bits(seed, offset, (1003,)), fullgraph=True)
    for seed, offset in ((0, 0), (9, WORD - 100), (-1, -3)):
        operands = torch.tensor(seed), torch.tensor(offset)
        assert torch.equal(compiled(*operands), random_bits(*operands, (1003,)))


@fresh_compiler
def test_ints_are_constants_of_compiled_code() -> None:
    """Dynamo must not take them for sizes that vary: Inductor then counts in float32."""
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda seed, offset: random_bits(seed, offset, (9,)), fullgraph=True, backend=backend)
    for seed, offset in ((1, 2), (3, 4), (5, 6)):
        assert torch.equal(compiled(seed, offset), random_bits(seed, offset, (9,)))
    assert len(graphs) == 3
