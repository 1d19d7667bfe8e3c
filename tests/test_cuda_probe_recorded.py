"""What an H100 was seen to do, instruction by instruction: the model has all of its bits, on any machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import torch
from cuda import bridge  # noqa: F401 - finds refnum_cuda
from float_sums import VECTORS, floats_of
from refnum_conformance import gemm_vectors
from refnum_conformance.oracles import tensorcore as oracle
from refnum_cuda.tensorcores.instructions import INSTRUCTIONS, Instruction, Model
from torch import Tensor

from refnum.sums.tensorcore import FORMS, tensorcore_mm
from refnum.testing import assert_bit_equal

HOPPER = Model("hopper")
TILES = gemm_vectors.HOPPER_TILES
SOME, ALL = slice(None, None, TILES), slice(None)  #: one of each family, or all


class Recorded(NamedTuple):
    """Tiles: A [n, 16, K], B [n, 8, K], C and D [n, 16, 8], and the name of each one's family."""

    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor
    families: list[str]


def recorded(instruction: Instruction, tiles: slice) -> Iterator[Recorded]:
    """Of one instruction, and of two after each other."""
    a, b, c = instruction.dtypes
    with np.load(VECTORS / "tensorcores_hopper.npz", allow_pickle=False) as file:
        for steps in (1, 2):
            key = f"hopper.{instruction.name}.K{steps * instruction.terms}"
            of = zip("abcd", (a, b, c, c), strict=True)
            x, y, z, d = (floats_of(file[f"{key}/{part}"][tiles], dtype) for part, dtype in of)
            yield Recorded(x, y.mT.contiguous(), z, d, file["kinds"][file[f"{key}/kind"][tiles]].tolist())


def compared(name: str, tiles: slice) -> int:
    """How many results were compared, by every form; all are the hardware's."""
    instruction, count = INSTRUCTIONS[name], 0
    for case in recorded(instruction, tiles):
        assert_bit_equal(HOPPER(instruction, case.a, case.b, case.c), case.d)
        for form in () if HOPPER.widens(instruction) else FORMS:
            row = HOPPER.row(instruction)
            got = tensorcore_mm(case.a, case.b.mT, case.c, case.d.dtype, instruction=row, form=form)
            assert_bit_equal(got, case.d)
        count += case.d.numel()
    return count


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_model_has_the_bits_of_an_h100(name: str) -> None:
    assert compared(name, SOME) >= 2 * 20 * 16 * 8


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_the_model_has_all_recorded_bits(name: str) -> None:
    assert compared(name, ALL) == 4 * compared(name, SOME)


def by_oracle(case: Recorded, name: str, place: tuple[int, int, int]) -> int:
    """One result, as a pattern."""
    tile, row, column = place
    formats = tuple(str(x.dtype).removeprefix("torch.") for x in (case.a, case.b))
    a, b, c = (codes(x) for x in (case.a[tile, row], case.b[tile, column], case.c[tile, row, column]))
    return oracle.dot(a, b, *c, name, formats)


def codes(x: Tensor) -> list[int]:
    """Patterns."""
    integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32}[x.dtype.itemsize]
    return [code & (1 << 8 * x.dtype.itemsize) - 1 for code in x.contiguous().view(integer).flatten().tolist()]


@pytest.mark.parametrize("every", [pytest.param(97, id="some"), pytest.param(1, id="all", marks=pytest.mark.slow)])
def test_the_oracle_has_the_bits_of_an_h100(every: int) -> None:
    names = [name for name, row in INSTRUCTIONS.items() if not HOPPER.widens(row)]
    for name in names:
        for case in recorded(INSTRUCTIONS[name], SOME):
            places = list(np.ndindex(*case.d.shape))[::every]
            got = [by_oracle(case, HOPPER.row(INSTRUCTIONS[name]).name, place) for place in places]
            assert got == [codes(case.d[place])[0] for place in places], name


def test_families_are_all_recorded() -> None:
    for name in INSTRUCTIONS:
        for case in recorded(INSTRUCTIONS[name], ALL):
            assert len(case.families) == TILES * len(set(case.families)) == len(case.d)


def test_golden_vectors_name_their_contracts() -> None:
    for key, parts in gemm_vectors.hopper():
        instruction = INSTRUCTIONS[key.partition(".")[0]]
        a, b, c = (str(dtype).removeprefix("torch.") for dtype in instruction.dtypes)
        right = {"a_dtype": a, "b_dtype": b, "dtype": c, "bias_dtype": c, "instruction": HOPPER.row(instruction).name}
        assert gemm_vectors.chosen_by(key) == (None if HOPPER.widens(instruction) else right)
        assert len(parts["d"]) % gemm_vectors.HOPPER_TILES == 0
