"""Kernels of block formats with one fault each: the comparisons that hold for the right ones tell them."""

from __future__ import annotations

import pytest
import torch
from cuda import bridge, simulate  # before refnum_cuda, which bridge finds
from test_mx_quantizer import values
from torch import Tensor

import refnum
from refnum.boundary import FLOAT_ROWS
from refnum.formats import Block, e4m3, e8m0
from refnum.mx.profiles import PROFILES
from refnum.mx.recipes import recipe
from refnum_cuda import quantizer

HEADERS = ("rn_elements.cuh", "rn_blocks.cuh", "rn_orders.cuh", "rn_eights.cuh")  #: each after those that it includes
LEFT_OUT = {"int8", "e5m2"}  #: elements of kernels that no case runs
NAMES = [kernel.name for kernel in quantizer.OPERATIONS[0].launches if not LEFT_OUT & set(kernel.name.split("_"))]

MUTANTS = {
    "of lines that begin elsewhere": ("WHOLE_NUMBERS = 0x1p23f", "WHOLE_NUMBERS = 0x1p22f"),
    "of a second line that is too steep": ("(1 << BITS) / 2.f, WHOLE", "(1 << BITS) / 1.f, WHOLE"),
    "of a line that is no power of two": ("flat = pair_of(multiply_rn(power, 0.5f))", "flat = pair_of(power)"),
    "of pairs that saturate late": ("64.f + E2M1::TOP / 2.f", "64.5f + E2M1::TOP / 2.f"),
    "of signs in another order": ("x.word[2 * i + 1], 0x7531)", "x.word[2 * i + 1], 0x5731)"),
    "of NaN that is no scale": ("amax >= INF_BITS + (by.infinite != 0) ?", "amax > INF_BITS + 9 ?"),
    "of a least amax left out": ("if (by.least) code", "if (false) code"),
    "of elements in void blocks": ("return care == VOID_BLOCK ? 0 :", "return care > VOID_BLOCK ? 0 :"),
    "of a scale before it is rounded": ("level.inverse_over(scale_value(code))", "level.inverse_over(ratio)"),
    "of a scale that may be subnormal": ("ratio < 0x1p-6f ? 0x1p-6f : ratio", "ratio"),
    "of half a block": ("if (apart >> log_eights) break;", "if (apart >> log_eights || apart > 1) break;"),
    "of blocks that end with a thread": ("lanes * EIGHTS < 1 << log_eights", "false"),
    "of another lane's values": ("i32 first = lane * VECTORS;", "i32 first = (lane ^ 1) * VECTORS;"),
    "of another column": ("tile[(unit * VALUES + k) * SIDE + side]", "tile[(unit * VALUES + k) * SIDE + (side ^ 1)]"),
    "of the last columns left out": ("if (begin + own < x.inner)", "if (begin + own + 8 < x.inner)"),
    "of codes in another order": ("shared, recipe, threshold) << 4 * k", "shared, recipe, threshold) << 4 * (1 - k)"),
}


def source() -> str:
    """quantizer.cu with its headers in it."""
    text = (bridge.CSRC / "quantizer.cu").read_text()
    for name in reversed(HEADERS):
        header = (bridge.CSRC / name).read_text().replace("#pragma once", "")
        text = header + text.replace(f'#include "{name}"\n', "")
    for name in HEADERS:
        text = text.replace(f'#include "{name}"\n', "")
    return text


def cases() -> list[tuple[Tensor, Block, str, str | None, str, int]]:
    """Each way through a kernel."""
    x, bits = values()[:448], values(torch.bfloat16)[:448]
    nvfp4, wide = refnum.nvfp4, Block(refnum.e2m1, e8m0, 64)
    return [
        *((y, fmt, "ocp/v1", None, "nearest_even", -1) for y in (x, bits) for fmt in (refnum.mxfp4, nvfp4)),
        *((y, refnum.mxfp6_e2m3, "ocp/v1", "rceil", "nearest_even", -1) for y in (x, bits)),
        *((y, refnum.mxfp8_e4m3, "torchao/v1", "ceil", "nearest_even", -1) for y in (x, bits)),
        *((y, refnum.mxfp4, "aiter/v2", "rceil", "nearest_even", -1) for y in (x, bits)),
        (x.view(-1, 64), wide, "ocp/v1", None, "nearest_even", -1),
        (x.view(-1, 256), Block(e4m3, e8m0, 256), "ocp/v1", None, "nearest_even", -1),
        *((y, fmt, "ocp/v1", None, "nearest_even", -2) for y in (x, bits[:, :24]) for fmt in (refnum.mxfp4, nvfp4)),
        (x, refnum.mxfp4, "ocp/v1", None, "to_odd", -1),
    ]


def differs(kernels: simulate.Kernels) -> bool:
    """Whether a case tells the kernels from the definition."""
    for i, (x, fmt, profile, scale, rounding, axis) in enumerate(cases()):
        want = quantizer.reference(x, fmt.name, profile, scale, rounding, axis, None, None)
        made = recipe("", fmt, PROFILES[profile], scale, rounding, FLOAT_ROWS[x.dtype])
        got = torch.zeros_like(want)
        kernel, grid, block, shared, *arguments = quantizer.prepared(x, made, axis, None, None, got)
        choice = simulate.CHOICES[i % len(simulate.CHOICES)]
        kernels.run(kernel.name, grid, block, *arguments, shared=shared, choice=choice)
        if not torch.equal(got, want):
            return True
    return False


@pytest.mark.slow
def test_the_right_kernels_are_told_from_nothing() -> None:
    assert not differs(simulate.Kernels(source(), *NAMES))


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_have_other_bits(name: str) -> None:
    right, wrong = MUTANTS[name]
    text = source()
    assert text.count(right) == 1
    assert differs(simulate.Kernels(text.replace(right, wrong), *NAMES))
