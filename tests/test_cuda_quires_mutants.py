"""What the kernels of posit_quire/v1 cannot do without: barriers, and lines of the source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from cuda import bridge
from cuda.quire_products import (  # before refnum_cuda, which it finds
    GPU,
    cancelling,
    multiplied,
    nothing_is_idle,
    patterns,
    the_files,
    wanted,
)
from cuda.simulate import CHOICES, Choice, Kernels
from torch import Tensor

import refnum
from refnum import Posit
from refnum_cuda import quires


def test_no_barrier_of_the_residues_is_idle() -> None:
    fmt, kernels = Posit(8), the_files()["quires"]
    x = patterns(fmt, 1, 40, 100)
    form = quires.ByResidues(x, x, None, torch.empty(1, 40, 40, dtype=torch.int8), fmt, GPU)
    form.spans[:4] = torch.tensor([1024 + 24, 1024 - 20] * 2)  # of small sums, for which four numbers are enough

    def made(choice: Choice) -> Tensor:
        room = torch.zeros(form.count, 128, 128, dtype=torch.int8)
        _, (kernel, _, block, shared, *rest) = form._residues(x, room, 0)
        kernels.run(kernel.name, 1, block, *rest, shared=shared, choice=choice)
        return room

    nothing_is_idle(kernels, 2, made, made(CHOICES[0]))


MUTANTS = {
    "of residues without a sign": ("if (x.sign) high = -high, low = -low;", "if (x.sign) high = -high;"),
    "of residues of lower halves": ("? power[HALF] : 0", "? power[0] : 0"),
    "of quotients cut": ("quotient = 1ull << 31", "quotient = 0"),
    "of NaR in a column": ("sums.a_nar[row] | sums.b_nar[column]", "sums.a_nar[row]"),
    "of a bound that is too low": ("OFFSET + value.scale + (value", "OFFSET + value.scale - 9 + (value"),
    "of a unit that c is not in": ("a_unit < unit(2) - b_unit ? a_unit : unit(2) - b_unit", "a_unit"),
    "of sums without growth": ("bound(0) + bound(1) + scheme.growth", "bound(0) + bound(1) - 24"),
    "of integers cut where they are small": (
        "if (shift < 0) integer >>= -shift, shift = 0;",
        "if (shift < 0) shift = 0;",
    ),
    "of c left out in all rows but the first": (
        "if (c.data) sum.add(parts_at(c, c.place(0",
        "if (c.data && !row) sum.add(parts_at(c, c.place(0",
    ),
    "of the last segment left out": (
        "segment = lane; segment < work.segments;",
        "segment = lane; segment + 1 < work.segments;",
    ),
    "of half a warp": (
        "for (i32 half = 16; half; half /= 2) {\n        Register",
        "for (i32 half = 8; half; half /= 2) {\n        Register",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_have_other_bits(name: str) -> None:
    text, (right, wrong) = (bridge.CSRC / "quires.cu").read_text(), MUTANTS[name]
    assert text.count(right) == 1
    names = sorted({kernel.name for kernel in quires.KERNELS if kernel.stem == "quires"})
    mutant = {**the_files(), "quires": Kernels(text.replace(right, wrong), *names)}

    def cases() -> Iterator[tuple[str, Posit, Tensor, Tensor, Tensor | None]]:
        for fmt, way in itertools.product((Posit(8), Posit(16), Posit(20, 1)), ("residues", "registers")):
            small = patterns(fmt, 5, 6, seed=2) % 3
            yield way, fmt, *cancelling(fmt, 5, 300, 6), None
            yield way, fmt, *cancelling(fmt, 5, 9, 6), patterns(fmt, 5, 6, seed=3)
            one = refnum.encode(torch.ones(5, 8), fmt)
            yield way, fmt, torch.cat([one, -one], 1), one[0, 0].expand(16, 6), small
            nar = patterns(fmt, 8, 6, seed=4)
            nar[:, 2] = fmt.nar
            yield way, fmt, one, nar, None

    assert any(
        not torch.equal(multiplied(mutant, way, a, b, c, fmt), wanted(a, b, c, fmt)) for way, fmt, a, b, c in cases()
    )
