"""The kernels of layouts, as they are, on the CPU and on a GPU, against refnum.mx."""

from __future__ import annotations

from math import prod

import pytest
import torch
from cuda import bridge  # noqa: F401 - before refnum_cuda, which it finds
from cuda.served import PLACES, Serve
from refnum_cuda.serving import Operation
from torch import Tensor

from refnum.mx import LAYOUTS
from refnum.mx.layouts import Plan, _weight, plan_of
from refnum_cuda import launch, layouts

FORTH, BACK = layouts.OPERATIONS


@pytest.fixture(scope="module", name="made", params=PLACES)
def _made(request: pytest.FixtureRequest) -> Serve:
    return Serve(request.param, FORTH, BACK)


@pytest.fixture(name="serve")
def _serve(made: Serve, monkeypatch: pytest.MonkeyPatch) -> Serve:
    if made.device.type == "cpu":
        monkeypatch.setattr(launch, "launch", made.launch)
    return made


@pytest.mark.parametrize("operation", [FORTH, BACK], ids=lambda operation: operation.name)
def test_examples_of_the_self_test_layout(serve: Serve, operation: Operation) -> None:
    for arguments in operation.examples():
        serve.assert_right(operation, *arguments)


def shuffled(serve: Serve, x: Tensor, plan: Plan, pad: int = 0) -> None:
    serve.assert_right(FORTH, x, pad, *plan)
    serve.assert_right(BACK, FORTH.reference(x, pad, *plan), *plan)


def counted(*shape: int) -> Tensor:
    return (torch.arange(prod(shape)) * 40503 >> 7).to(torch.uint8).view(shape)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_of_matrix_units(serve: Serve, name: str) -> None:
    row = LAYOUTS[name]
    for i, sizes in enumerate(((96, 64), (1, 1), (100, 5), (257, 9))):
        tiled = [n if step > 1 else -(-n // 128) * 128 for n, step in zip(sizes, row.multiples, strict=True)]
        x = counted(*((), (2,), (1, 3), ())[i], *tiled)
        shuffled(serve, x, plan_of("", row, x.shape), 0x7F)
    x = counted(128, 256)[:, ::2].mT
    shuffled(serve, x, plan_of("", row, x.shape))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_weights_of_every_width(serve: Serve, dtype: torch.dtype) -> None:
    for rows, columns in ((16, 16), (1, 8), (4, 64)):
        x = torch.arange(48 * 256).to(dtype).view(48, 256)
        shuffled(serve, x, plan_of("", _weight(rows, columns, dtype.itemsize), x.shape))


def test_words_are_no_wider_than_what_is_aligned(serve: Serve) -> None:
    row = LAYOUTS["gfx950_weight"]
    for start in (1, 2, 4, 8, 16):
        x = counted(16 * 64 + 16)[start:][: 16 * 64].view(16, 64)
        shuffled(serve, x, plan_of("", row, x.shape))
        assert layouts._word(plan_of("", row, x.shape), 1, start) == start
    assert layouts._word(plan_of("", LAYOUTS["nvidia_32_4_4"], (128, 6)), 1, 0) == 2
    assert layouts._word(plan_of("", LAYOUTS["gfx950_scale"], (256, 8)), 1, 0) == 1


def test_divisions_without_one() -> None:
    """Next to multiples, where a quotient changes, and at the ends."""
    top = (1 << 31) - 1
    divisors = {
        *range(1, 300),
        *(1 << k for k in range(31)),
        *((1 << k) + d for k in range(2, 30) for d in (-1, 1)),
        top,
    }
    for divisor in divisors:
        row = layouts.Divisor.of(divisor)
        for multiple in (1, 2, 3, 1000, top // divisor // 2, top // divisor):
            for x in (0, 1, divisor * multiple - 1, divisor * multiple, divisor * multiple + 1, top):
                if 0 <= x <= top:
                    assert ((x * row.factor >> 32) + x) >> row.shift == x // divisor
                    assert (x * row.factor >> 32) + x < 1 << 32
