"""Products of matrices of residues, as they are, on the CPU and on a GPU: against torch._int_mm."""

from __future__ import annotations

import pytest
import torch
from cuda.places import need_hopper
from cuda.quire_products import Files, nothing_is_idle, run, the_files  # before refnum_cuda, which it finds
from cuda.simulate import CHOICES, Choice, Kernels
from torch import Tensor

from refnum_cuda import launch, modules, quires, residues


@pytest.fixture(scope="module")
def files() -> Files:
    return the_files()


def of_residues(
    files: Files,
    a: Tensor,
    b: Tensor,
    count: int | None,
    before: Tensor | None = None,
    form: residues.Form = quires.FORMS[0],
    choice: Choice = CHOICES[3],
) -> Tensor:
    shape = len(a), a.shape[1], b.shape[1]
    out = torch.full(shape, 5, dtype=torch.uint8) if before is None else before.clone()
    number = None if count is None else torch.tensor([count], dtype=torch.int32)
    run(files, iter([residues.multiplied(a, b, out, number, form, continued=before is not None)]), choice)
    return out


@pytest.mark.parametrize("form", quires.FORMS, ids=lambda form: form.kernel.name)
def test_products_of_residues_are_those_of_torch(files: Files, form: residues.Form) -> None:
    draw, numbers = (
        torch.Generator().manual_seed(2),
        torch.tensor(residues.NUMBERS[:3], dtype=torch.int32)[:, None, None],
    )
    for i, ((m, k, n), low) in enumerate((((128, 384, 128), -128), ((256, 128, 384), 127), ((128, 640, 256), -128))):
        a, b = (torch.randint(low, 128, (3, lines, k), generator=draw).to(torch.int8) for lines in (m, n))
        a[0], b[0] = -128, -128
        want = torch.stack([torch._int_mm(x, y.mT) for x, y in zip(a, b, strict=True)]) % numbers
        got = of_residues(files, a, b, None, form=form, choice=CHOICES[i])
        assert torch.equal(got % numbers, want)
        part = of_residues(files, a, b, 2, form=form, choice=CHOICES[i + 3])
        assert torch.equal(part[:2], got[:2])
        assert part[2].eq(5).all(), "as many as there are to do"
        twice = of_residues(files, a, b, None, got, form)
        assert torch.equal(twice % numbers, 2 * want % numbers)


def test_quotients_by_reciprocals() -> None:
    """What rn_integers.cuh says of them, next to the multiples that are worst."""
    most, moduli = residues.MOST_TERMS * 128 * 128 + 255, residues.moduli()
    for number, reciprocal, finer, offset in zip(
        moduli.number, moduli.reciprocal, moduli.finer, moduli.offset, strict=True
    ):
        assert offset % number == 0
        assert most - 255 <= offset
        assert finer < 1 << 32
        top = (offset + most) // number * number
        for x in {
            base + step for base in (0, number, offset - most, offset, top - number, top) for step in range(-2, 3)
        }:
            if 0 <= x <= offset + most:
                rest = x - (x * finer >> 38) * number
                assert rest % number == x % number
                assert 0 <= rest <= min(number, 255)
        for half in range(number // 2, 1 << 22, number * 97):
            for x in (half - 1, half, half + 1, half + 2):
                for signed in (-x, x):
                    assert -128 <= signed - (signed * reciprocal + (1 << 31) >> 32) * number <= 127


@pytest.mark.slow
def test_the_most_terms_of_the_largest_residues(files: Files) -> None:
    a = torch.full((1, 128, residues.MOST_TERMS), -128, dtype=torch.int8)
    assert of_residues(files, a, a, None).eq(0).all()


@pytest.mark.parametrize(("form", "count"), [(quires.FORMS[0], 3), (quires.FORMS[1], 5)], ids=["warps", "warpgroups"])
def test_no_barrier_commit_or_wait_of_the_products_is_idle(form: residues.Form, count: int) -> None:
    files = {"residues": Kernels.of_file("residues.cu", form.kernel.name)}
    draw = torch.Generator().manual_seed(3)
    a, b = (
        torch.randint(-128, 128, (1, 128, -(-form.terms * 5 // 128) * 128), generator=draw).to(torch.int8)
        for _ in range(2)
    )
    want = (torch._int_mm(a[0], b[0].mT) % 256).to(torch.uint8)[None]
    nothing_is_idle(files["residues"], count, lambda it: of_residues(files, a, b, None, form=form, choice=it), want)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: nox -s cuda, on one")
@pytest.mark.parametrize("form", quires.FORMS, ids=lambda form: form.kernel.name)
def test_a_gpu_multiplies_residues_as_torch_does(form: residues.Form) -> None:
    if form == residues.BY_WARPGROUPS:
        need_hopper()
    draw = torch.Generator(device="cuda").manual_seed(8)
    for m, k, n in ((128, 128, 128), (384, 4096, 640), (128, residues.MOST_TERMS, 128)):
        a, b = (torch.randint(-128, 128, (2, x, k), generator=draw, device="cuda").to(torch.int8) for x in (m, n))
        a[1, :5], b[1, :5] = -128, -128
        out = torch.empty(2, m, n, dtype=torch.uint8, device="cuda")
        assert modules.obstacle(0) is None
        with launch.place(a.device):
            launch.launch(*residues.multiplied(a, b, out, None, form))
        for number, x, y, got in zip(residues.NUMBERS, a, b, out, strict=False):
            assert torch.equal(torch._int_mm(x, y.mT) % number, got.int() % number)
