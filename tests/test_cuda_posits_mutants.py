"""Kernels of posit_mm with something wrong in them: every barrier, and every step of their roundings, is needed."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from cuda import bridge
from cuda.posit_products import (
    LONG,
    MODES,
    NAMES,
    P16,
    binades,
    growing,
    normal,
    patterns_of,
    product,
    reference,
    the_kernels,
)
from cuda.simulate import CHOICES, Choice, Kernels, SimulationError
from torch import Tensor

from refnum import Posit
from refnum.testing import cases


@pytest.mark.parametrize(("mode", "fmt"), [("products", P16), ("posit", P16)], ids=str)
def test_no_barrier_commit_or_wait_is_idle(mode: str, fmt: Posit) -> None:
    kernels = the_kernels()
    a, b = normal(130, 50, 140)
    a[1] = b[:, 1] = 0.0
    # A product for which the tables do not serve, and what it cancels with once it is rounded.
    a[1, 20] = b[20, 1] = 1.5 * 2.0**-25
    a[1, 21], b[21, 1] = -(2.0**-24), 2.0**-24
    want = reference(a, b, fmt, mode)

    def differs(choice: Choice) -> bool:
        try:
            return not torch.equal(product(kernels, a, b, fmt, mode, choice=choice), want)
        except SimulationError:
            return True

    assert not any(map(differs, CHOICES))
    lines = (bridge.CSRC / "rn_packed.cuh").read_text().splitlines()
    place = next(number for number, line in enumerate(lines, 1) if "__syncthreads();  // all of that" in line)
    for number, what in kernels.sites().items():
        if not what.endswith(f"rn_packed.cuh:{place}"):  # without that one threads write anywhere
            assert any(differs(choice._replace(without=number)) for choice in CHOICES), f"nothing needs {what}"


def variant(*changes: tuple[str, str]) -> Kernels:
    """The kernels with some text of their files replaced."""
    text = (bridge.CSRC / "posits.cu").read_text()
    for header in ("rn_packed.cuh", "rn_modes.cuh", "rn_ranges.cuh", "rn_doubles.cuh"):
        first, *rest = text.split(f'#include "{header}"')
        text = first + (bridge.CSRC / header).read_text().replace("#pragma once", "") + "".join(rest)
    for right, wrong in changes:
        assert text.count(right) == 1, right
        text = text.replace(right, wrong)
    return Kernels(text, *NAMES)


def right(kernels: Kernels, mode: str, fmt: Posit, a: Tensor, b: Tensor, c: Tensor | None = None) -> bool:
    """Whether a variant gives the reference's bits."""
    got, want = (each(a, b, fmt, mode, c) for each in (partial(product, kernels), reference))
    return torch.equal(got.contiguous().view(torch.uint8), want.contiguous().view(torch.uint8))


def wrong_modes(kernels: Kernels) -> set[str]:
    """The modes that a variant gets wrong."""
    wrong = set()
    for mode, fmt in itertools.product(MODES, (Posit(8), P16, Posit(24), Posit(27))):
        pairs = [binades(fmt, 16)]
        pairs += [
            [patterns_of(fmt, mode, x) for x in cases.dots(fmt, kind, count=12, length=21)] for kind in cases.KINDS
        ]
        pairs += [normal(70, 37, 40), (growing(fmt)[:, :11], torch.ones(11, 9))]
        for a, b in pairs:
            a, b = (x.float() if mode == "cuposit" else x for x in (a, b))
            b = b.T if a.shape == b.shape else b
            c = torch.ones(a.shape[-2], b.shape[-1], dtype=a.dtype if a.is_floating_point() else torch.int64)
            if not right(kernels, mode, fmt, a, b) or (mode == "posit" and not right(kernels, mode, fmt, a, b, c)):
                wrong.add(mode)
    return wrong if right(kernels, "posit", Posit(32), *LONG) else wrong | {"posit"}


BY_MAGIC, BY_BOUNDS = "within(seen, mode.served())", "within(seen, mode.served_bounded())"


@pytest.mark.slow
def test_no_way_to_add_a_stage_serves_where_it_is_not_taken() -> None:
    """But for the one for all values, which serves alone."""
    assert wrong_modes(variant((BY_MAGIC, "false"))) == set()
    assert wrong_modes(variant((BY_MAGIC, "false"), (BY_BOUNDS, "false"))) == set()
    assert wrong_modes(variant((BY_MAGIC, "true"))) == {*MODES}
    assert wrong_modes(variant((BY_MAGIC, "false"), (BY_BOUNDS, "true"))) == {"products", "posit"}


EXACT = """entry_of(table->magic, multiply_rn(x, y));
        return add_rn(sum, add_rn(fma_rn(x, y, magic), -magic));"""

#: what is wrong: the modes in which it shows, the text, and what stands there instead
MUTANTS = {
    "ties ignore the exponent": ("products posit", "drop == MANTISSA && even", "drop > MANTISSA && even"),
    "ties follow other exponents": ("products posit", "scale % 2 == 0", "scale % 2 != 0"),
    "products are rounded before": ("products", EXACT, EXACT.replace("fma_rn(x, y, ", "add_rn(multiply_rn(x, y), ")),
    "magic without a sign": (
        "products",
        "with_sign(entry_of(table->magic, product), product)",
        "entry_of(table->magic, product)",
    ),
    "no clamp": ("cuposit", "(bits_of(product) & keep) | put", "(bits_of(product) & keep) | (put & 0)"),
    "no need of a clamp": ("cuposit", "return {1 - 4 * (n - 4), 4 * (n - 4) - 1}", "return {-n * FAR, n * FAR}"),
    "errors are dropped": ("posit", "double_of((error > 0) == (near > 0) ? bits + 1 : bits - 1)", "near"),
    "errors of the other sign": ("posit", "(error > 0) == (near > 0)", "(error > 0) != (near > 0)"),
    "sums may grow": ("posit", "now.most + growth + 2", "now.most"),
    "small values are not seen": ("products posit cuposit", "a.least >= b.least && a.most", "a.most"),
    "ends of binades are not told": ("products posit", "of_end == of_others", "of_end != of_others + 1"),
    "no least magnitude": (
        "products posit",
        "largest_magnitude(near, entry_of(least, x))",
        "largest_magnitude(near, 0)",
    ),
    "a binade too many": ("products", "fmt.max_scale() - 3}", "fmt.max_scale()}"),
    "padding without a gap": ("cuposit", "behind = term - x.gap", "behind = term"),
    "the last stage is filled up": ("cuposit", "static_cast<i32>((size.terms - 1) % TERMS) + 1", "TERMS"),
    "sums start from 0": ("posit", "sum = here(start, r, c);", "sum = 0 * here(start, r, c);"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_have_other_bits(name: str) -> None:
    modes, text, wrong = MUTANTS[name]
    assert wrong_modes(variant((text, wrong))) == set(modes.split())
