"""Contract int/v1: products of integers, exact, and refused where int32 could wrap."""

from __future__ import annotations

import itertools

import pytest
import torch
from float_sums import SETTINGS
from torch import Tensor

from refnum import ContractError, DTypeError
from refnum.sums import integers
from refnum.sums.integers import int_mm

PAIRS = list(itertools.product((torch.int8, torch.uint8), repeat=2))
BOUNDS = {
    (8, torch.int8, torch.int8): 131071,
    (8, torch.uint8, torch.int8): 65793,
    (8, torch.int8, torch.uint8): 65793,
    (8, torch.uint8, torch.uint8): 33025,
    (4, torch.int8, torch.int8): (1 << 25) - 1,
}


def drawn(dtype: torch.dtype, *shape: int, seed: int = 0, ends: bool = False) -> Tensor:
    """Any values, or the ends of the range alone."""
    row, generator = torch.iinfo(dtype), torch.Generator().manual_seed(seed)
    if ends:
        return torch.tensor([row.min, row.max])[torch.randint(0, 2, shape, generator=generator)].to(dtype)
    return torch.randint(row.min, row.max + 1, shape, generator=generator).to(dtype)


def by_integers(a: Tensor, b: Tensor) -> list[list[int]]:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in b.mT.tolist()] for row in a.tolist()]


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_products(left: torch.dtype, right: torch.dtype, ends: bool) -> None:
    for m, k, n in ((1, 1, 1), (3, 0, 2), (2, 257, 3), (3, 515, 1), (2, 1025, 2), (2, 5000, 2)):
        a, b = drawn(left, m, k, ends=ends), drawn(right, k, n, seed=1, ends=ends)
        got = int_mm(a, b, None)
        assert got.dtype == torch.int32
        assert got.tolist() == by_integers(a, b)
        bias = torch.tensor([-7, 1 << 20, 5], dtype=torch.int32)[:n]
        assert torch.equal(int_mm(a, b, bias), got + bias)


@pytest.mark.parametrize(("left", "right"), PAIRS, ids=str)
def test_the_definition(left: torch.dtype, right: torch.dtype) -> None:
    a, b = drawn(left, 5, 70), drawn(right, 70, 6, seed=1)
    sums = torch.zeros(5, 6, dtype=torch.int32)
    integers._add_by_definition(sums, a, b)
    assert sums.tolist() == by_integers(a, b)


def test_subclasses_go_through_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Tensor):
        pass

    monkeypatch.setattr(integers, "_add_by_floats", None)
    a, b = drawn(torch.int8, 5, 70), drawn(torch.uint8, 70, 6, seed=1)
    assert int_mm(a.as_subclass(Other), b, None).tolist() == by_integers(a, b)


@pytest.mark.parametrize("key", BOUNDS, ids=str)
def test_bounds_on_k(key: tuple[int, torch.dtype, torch.dtype]) -> None:
    """The largest K serves, with the largest of all sums; one more is refused, before any work."""
    bits, left, right = key
    largest = {(8, torch.int8): -128, (8, torch.uint8): 255, (4, torch.int8): -8}
    terms = BOUNDS[key]
    a = torch.full((1, 1), largest[bits, left], dtype=left).expand(1, terms)
    b = torch.full((1, 1), largest[bits, right], dtype=right).expand(terms, 1)
    product = largest[bits, left] * largest[bits, right]
    if bits == 8:
        assert int_mm(a, b, None, bits=bits).item() == terms * product
    assert terms * abs(product) < 1 << 31 <= (terms + 1) * abs(product)
    with pytest.raises(ContractError, match=f"K={terms + 1}.*K up to {terms} for"):
        int_mm(a[:, :1].expand(1, terms + 1), b[:1].expand(terms + 1, 1), None, bits=bits)


def test_room_for_the_bias() -> None:
    a, b = torch.full((1, 100), -128, dtype=torch.int8), torch.full((100, 1), -128, dtype=torch.int8)
    room = (1 << 31) - 1 - 100 * (1 << 14)
    for bias in (room, -room, 0):
        assert int_mm(a, b, torch.tensor([bias], dtype=torch.int32)).item() == 100 * (1 << 14) + bias
    for bias in (room + 1, -room - 1, -(1 << 31)):
        with pytest.raises(ContractError, match=f"bias from {bias} to {bias}.*magnitudes up to {room}"):
            int_mm(a, b, torch.tensor([bias], dtype=torch.int32))
    assert int_mm(a[:0], b, torch.empty(0, dtype=torch.int32)[:, None]).shape == (0, 1)


def test_four_bits() -> None:
    values = torch.arange(-8, 8, dtype=torch.int8)
    a, b = values[:, None].expand(16, 3), values[None].expand(3, 16)
    assert int_mm(a, b, None, bits=4).tolist() == by_integers(a, b)
    for wrong in (-9, 8, 127, -128):
        x = torch.full((3, 3), 2, dtype=torch.int8)
        x[1, 2] = wrong
        for name, sides in (("a", (x, b)), ("b", (a, x))):
            with pytest.raises(ContractError, match=rf"values from .* in {name}\. Allowed are -8 to 7\. Clamp"):
                int_mm(*sides, None, bits=4)
        assert int_mm(x, x, None).tolist() == by_integers(x, x)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: int_mm(x.int(), x, None), DTypeError, "no torch.int32 for a. Allowed are int8, uint8. Convert it."),
        (lambda x: int_mm(x, x.float(), None), DTypeError, "no torch.float32 for b. Allowed are int8, uint8."),
        (
            lambda x: int_mm(x, x.byte(), None, bits=4),
            DTypeError,
            "(bits=4) has no torch.uint8 for b. Allowed are int8.",
        ),
        (lambda x: int_mm(x, x, None, bits=5), ContractError, "no bits=5. Choose one of 4, 8."),
        (lambda x: int_mm(x, x, x.float()), DTypeError, "no torch.float32 for bias. Allowed is int32. Convert it."),
        (lambda x: int_mm(x, x, None, torch.int64), DTypeError, "cannot return torch.int64. Allowed is int32"),
    ],
)
def test_what_is_refused(call: object, error: type[Exception], text: str) -> None:
    assert callable(call)
    with pytest.raises(error) as caught:
        call(torch.ones(2, 2, dtype=torch.int8))
    assert text in str(caught.value)


BATCHES = [
    ((3, 4, 5), (3, 5, 2)),
    ((3, 4, 5), (5, 2)),
    ((4, 5), (3, 5, 6)),
    ((2, 1, 4, 5), (3, 5, 2)),
    ((0, 4, 5), (5, 2)),
]


@pytest.mark.parametrize(("left", "right"), BATCHES, ids=str)
@pytest.mark.parametrize("tile", [1, 7, 1 << 18])
def test_batches_and_tiles(
    left: tuple[int, ...], right: tuple[int, ...], tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integers, "TILE", tile)
    a, b = drawn(torch.int8, *left), drawn(torch.uint8, *right, seed=1)
    bias = torch.arange(right[-1], dtype=torch.int32)
    assert torch.equal(int_mm(a, b, bias), (a.long() @ b.long()).int() + bias)
    strided = torch.stack([a, -a], -1)[..., 0], b.mT.contiguous().mT
    assert torch.equal(int_mm(*strided, bias), int_mm(a, b, bias))


@pytest.mark.parametrize("name", SETTINGS)
def test_no_setting_changes_a_bit(name: str) -> None:
    for (left, right), ends in itertools.product(PAIRS, (False, True)):
        a, b = drawn(left, 40, 1500, ends=ends), drawn(right, 1500, 50, seed=1, ends=ends)
        want = int_mm(a, b, None)
        with SETTINGS[name]():
            assert torch.equal(int_mm(a, b, None), want)


def test_without_products_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = drawn(torch.uint8, 40, 1500), drawn(torch.int8, 1500, 50, seed=1)
    want = int_mm(a, b, None)
    monkeypatch.setattr(integers, "multiplies_in_float32", lambda: False)
    assert torch.equal(int_mm(a, b, None), want)
