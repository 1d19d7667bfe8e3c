"""The SoftPosit peer: its loops, its slow form without gcc, and what it says about its own limits."""

from __future__ import annotations

import pytest
import torch
from refnum_conformance.peers import softposit
from torch import Tensor

AVAILABLE, REASON = softposit.available()
COMPILED, WHY_NOT = softposit.compiled()

pytestmark = pytest.mark.skipif(not AVAILABLE, reason=REASON)
needs_loops = pytest.mark.skipif(not COMPILED, reason=WHY_NOT)

FORMATS = ((8, 0), (16, 1), (32, 2), (8, 2), (16, 2), (31, 2), (2, 2))
COVERED = [(op, *fmt) for op in softposit.OPERATIONS for fmt in FORMATS if softposit.covers(op, *fmt)]


def _patterns(n: int, seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(1 << (n - 1)), 1 << (n - 1), shape, generator=generator)


def _operands(op: str, n: int) -> tuple[Tensor, ...]:
    match softposit.OPERATIONS[op].loop:
        case "from_double":
            return (torch.tensor([0.0, 1.5, -3e-9, 1e40, torch.inf, torch.nan, 5e-324], dtype=torch.float64),)
        case "from_int":
            return (torch.tensor([0, 1, -7, 1 << 40, -(1 << 62)]),)
        case "dot":
            return tuple(_patterns(n, seed, 5, 7) // 4 for seed in (1, 2))
        case loop:
            count = {"unary": 1, "to_double": 1, "binary": 2, "ternary": 3}[loop]
            return tuple(_patterns(n, seed, 40) for seed in range(count))


def _call(op: str, n: int, es: int) -> Tensor:
    target = (min(n, 13), 2) if op == "convert" else ()
    return getattr(softposit, op)(*_operands(op, n), n, es, *target)


@needs_loops
@pytest.mark.parametrize(("op", "n", "es"), COVERED)
def test_without_gcc_the_results_are_the_same(monkeypatch: pytest.MonkeyPatch, op: str, n: int, es: int) -> None:
    loops = _call(op, n, es)
    monkeypatch.setattr(softposit, "_loops", lambda: (None, "no gcc on the PATH"))
    torch.testing.assert_close(_call(op, n, es), loops, rtol=0, atol=0, equal_nan=True)


def test_without_gcc_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softposit, "_loops", lambda: (None, "no gcc on the PATH"))
    assert "slow: no gcc on the PATH" in softposit.available()[1]
    assert softposit.compiled() == (False, "no gcc on the PATH")
    with pytest.raises(RuntimeError, match="no gcc on the PATH"):
        softposit.loop("add", 16, 2)


@pytest.mark.parametrize(
    ("op", "operands", "fmt", "want"),
    [
        ("add", (0x4000, 0x4000), (16, 2), 0x4800),  # 1 + 1 = 2
        ("sub", (0x4000, 0x4000), (16, 1), 0),
        ("mul", (-0x40, 0x40), (8, 0), -0x40),  # -1 * 1
        ("div", (0x40000000, 0), (32, 2), -0x80000000),  # 1 / 0 is NaR
        ("sqrt", (0x50,), (8, 2), 0x48),  # of 4
        ("fma", (0x4000, 0x4000, -0x4000), (16, 1), 0),
    ],
)
def test_values_worked_out_by_hand(op: str, operands: tuple[int, ...], fmt: tuple[int, int], want: int) -> None:
    assert getattr(softposit, op)(*map(torch.tensor, operands), *fmt).item() == want


@needs_loops
def test_differences_counts_and_finds_the_first() -> None:
    a, b = (_patterns(16, seed, 1000).to(torch.int32) for seed in (3, 4))
    got = softposit.add(a, b, 16, 2).to(torch.int32)
    compare = softposit.differences("add", 16, 2)
    assert compare(a, b, got) == (0, -1)
    got[[17, 400]] += 1
    assert compare(a, b, got) == (2, 17)


@needs_loops
def test_differences_of_encode_reads_float32() -> None:
    x = torch.randn(100, generator=torch.Generator().manual_seed(5))
    got = softposit.encode(x, 8, 2).to(torch.int32)
    compare = softposit.differences("encode", 8, 2)
    assert compare(x, got) == (0, -1)
    got[-1] ^= 1
    assert compare(x, got) == (1, 99)


def test_operands_broadcast_and_may_have_any_strides() -> None:
    a, b = _patterns(16, 6, 4, 6).T, _patterns(16, 7, 4)
    rows = torch.stack([softposit.mul(row.contiguous(), b, 16, 2) for row in a])
    assert torch.equal(softposit.mul(a, b, 16, 2), rows)


def test_only_the_low_bits_are_read() -> None:
    a, b = _patterns(12, 8, 50), _patterns(12, 9, 50)
    assert torch.equal(softposit.add(a + (1 << 12), b - (7 << 12), 12, 2), softposit.add(a, b, 12, 2))


def test_the_matrix_says_where_nothing_is_proved() -> None:
    nothing = (
        *(("fma", 32, 2), ("fma", 16, 2), ("nearest_int", 8, 2), ("next", 16, 2), ("fmm", 16, 2)),
        *(("add", 16, 3), ("add", 64, 2), ("mul", 33, 2)),
    )
    assert not any(softposit.covers(*row) for row in nothing)
    assert not softposit.covers("convert", 16, 2, 32, 2)  # wider
    assert not softposit.covers("convert", 16, 2, 16, 1)  # another es
    assert softposit.covers("convert", 16, 2, 8, 2)


def test_what_no_family_serves_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no posit\(64,2\), only"):
        softposit.add(torch.tensor([1]), torch.tensor([1]), 64, 2)
    with pytest.raises(ValueError, match="narrows within es = 2 only"):
        softposit.convert(torch.tensor([1]), 16, 2, 32, 2)


def test_excluded_products_are_those_of_two_powers_of_two() -> None:
    two_59, two_60 = softposit.encode(torch.tensor([2.0**59, 2.0**60]), 32, 2)[:, None]
    assert softposit.excluded("mul", 32, 2, two_60, -two_59).all()
    assert not softposit.excluded("mul", 32, 2, two_60, two_60).any()
    assert not softposit.excluded("mul", 32, 2, two_60 + 1, two_59).any()
    assert not softposit.excluded("mul", 16, 2, torch.tensor([0x7FFF]), torch.tensor([0x4000])).any()


def test_excluded_dots_are_those_that_leave_the_quire() -> None:
    largest, one = torch.full((3, 200), 0x7F), torch.full((3, 200), 0x40)
    assert softposit.excluded("quire_dot", 8, 0, largest, largest).all()
    assert not softposit.excluded("quire_dot", 8, 0, largest, one).any()
    two_20, two_18 = torch.full((1, 2), 0x7FF0), torch.full((1, 2), 0x7FC0)
    assert softposit.excluded("quire_dot", 16, 1, two_20, two_20).all()
    assert not softposit.excluded("quire_dot", 16, 1, two_18, one[:1, :2] << 8).any()
