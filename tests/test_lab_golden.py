"""Recorded results of MASE, mase-triton and mase-cuda: equal to refnum's, or different as often as is known.

Where a result differs, refnum's is the oracle's, which is asked at every element.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from lab_bridge import Array, differ, floats, format_of, numbers, tensor
from refnum_conformance import mase_vectors
from refnum_conformance.known_deviations import mase
from refnum_conformance.mase_vectors import Case, tiles
from refnum_conformance.oracles import lab, mase_cuda
from refnum_conformance.oracles.minifloat import Row, Special

import refnum
from refnum import mx

ELEMENTWISE = list(mase_vectors.elementwise())


def _values(bits: Array) -> Array:
    return bits.view(np.float32)


@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_numbers(case: Case) -> None:
    x, out = _values(case.x), _values(case.out)
    found = refnum.quantize(tensor(case.x), format_of(case.fmt), rounding=case.rounding).numpy()
    wrong = differ(found, out)
    finite = wrong & np.isfinite(x)
    beyond = finite & (np.abs(x) > np.float32(1e-8))
    assert (finite.sum(), beyond.sum()) == mase.ELEMENTWISE.get(case.tag, (0, 0))
    assert not (case.tag.startswith("integer") and wrong.any())  # NaN and Inf are equal as well

    asked = np.unique([*range(0, len(x), 16), *np.flatnonzero(wrong)[::5]])
    assert not differ(found[asked], _right(case, case.x[asked])).any()


@pytest.mark.slow
@pytest.mark.parametrize("case", ELEMENTWISE, ids=str)
def test_all_numbers_are_the_oracles(case: Case) -> None:
    found = refnum.quantize(tensor(case.x), format_of(case.fmt), rounding=case.rounding).numpy()
    assert not differ(found, _right(case, case.x)).any()


def _right(case: Case, x: Array) -> Array:
    """What the oracle makes of them: NaN stays NaN, but for minifloats, which have a code for it or give 0."""
    found = []
    for number in numbers(x):
        kept = number[1] is Special.NAN and not isinstance(case.fmt, Row)
        found.append(number if kept else lab.decode(lab.encode(number, case.fmt, case.rounding), case.fmt))
    return floats(found, x.shape)


# Blocks --------------------------------------------------------------------------------------------------------------

BLOCKS: dict[str, list[Case]] = {}
for block_case in mase_vectors.blocks():
    BLOCKS.setdefault(block_case.tag, []).append(block_case)
NOWHERE = (0,) * len(mase_vectors.KINDS)


def _found(case: Case) -> Array:
    """[blocks, elements] of what refnum makes of an input."""
    return tiles(refnum.quantize(tensor(case.x), format_of(case.fmt)).numpy(), case.fmt.size)


def _wrong(case: Case, found: Array) -> Array:
    return differ(found, _values(tiles(case.out, case.fmt.size)))


@pytest.mark.parametrize("tag", BLOCKS)
def test_blocks(tag: str) -> None:
    counts = []
    for case in BLOCKS[tag]:
        found = _found(case)
        wrong = _wrong(case, found)
        counts.append(wrong.sum())
        asked = np.unique([*range(0, len(found), 16), *np.flatnonzero(wrong.any(1))[::8]])
        assert not differ(found[asked], _right_blocks(case, asked)).any()
    assert tuple(counts) == mase.BLOCKS.get(tag, NOWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("tag", BLOCKS)
def test_all_blocks_are_the_oracles(tag: str) -> None:
    for case in BLOCKS[tag]:
        found = _found(case)
        assert not differ(found, _right_blocks(case, np.arange(len(found)))).any()


def _right_blocks(case: Case, which: Array) -> Array:
    """What the oracle makes of some blocks."""
    blocks = tiles(case.x, case.fmt.size)[which]
    found = [lab.dequantize(*lab.quantize(numbers(x), case.fmt), case.fmt) for x in blocks]
    return np.array([floats(x, (blocks.shape[1],)) for x in found])


@pytest.mark.parametrize("tag", mase.AGAINST_OCP)
def test_the_rule_of_ocp_differs_where_the_largest_is_a_power_of_two(tag: str) -> None:
    cases = [replace(case, fmt=case.fmt._replace(rule="ocp")) for case in BLOCKS[tag]]
    assert tuple(_wrong(case, _found(case)).sum() for case in cases) == mase.AGAINST_OCP[tag]


@pytest.mark.parametrize("tag", mase.TRITON_SCALES)
def test_scales_of_triton(tag: str) -> None:
    recorded = mase_vectors.arrays("block")
    found = [mx.quantize(tensor(case.x), format_of(case.fmt)).scales.reshape(-1) for case in BLOCKS[tag]]
    scales = [recorded[f"{tag}__{case.kind}__scale_u8"].reshape(-1) for case in BLOCKS[tag]]
    wrong = [(x.numpy() != scale).sum() for x, scale in zip(found, scales, strict=True)]
    assert tuple(wrong) == mase.TRITON_SCALES[tag]


# Pins ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pin", mase.RECORDED, ids=str)
def test_a_pin_was_recorded_and_what_it_calls_right_is_the_oracles_and_refnums(pin: mase.Recorded) -> None:
    case = next(
        case for case in (*ELEMENTWISE, *BLOCKS.get(pin.tag, ())) if (case.tag, case.kind) == (pin.tag, pin.kind)
    )
    size = case.fmt.size if pin.amax else 1
    x, out = (_values(tiles(np.atleast_2d(bits), size)) for bits in (case.x, case.out))
    asked = ~differ(x, np.float32(pin.x))
    if pin.amax:
        asked &= np.abs(x).max(1, keepdims=True) == np.float32(pin.amax)
    assert not differ(out[asked], np.float32(pin.got)).any()

    found = refnum.quantize(tensor(np.atleast_2d(case.x)), format_of(case.fmt), rounding=case.rounding).numpy()
    right = _right_blocks(case, np.flatnonzero(asked.any(1))) if pin.amax else _right(case, case.x)
    for results in (tiles(found, size)[asked], right[asked[asked.any(1)]] if pin.amax else right[asked[:, 0]]):
        assert len(results)
        assert not differ(results, np.float32(pin.right)).any()


# What has no format --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", mase_vectors.KINDS)
def test_integers_under_a_scale_that_is_no_power_of_two(kind: str) -> None:
    x, out = mase_vectors.recorded("scale_integer_w8", kind)
    assert not differ(mase_vectors.scale_integer(_values(x), 8), _values(out)).any()


@pytest.mark.parametrize("tag", mase.HARDWARE)
def test_mxint_of_the_hardware_model(tag: str) -> None:
    p = mase_vectors.parameters("block")[tag]
    size, widths = tuple(p["parallelism"]), (p["q_config"]["width"], p["q_config"]["exponent_width"])
    for kind in mase_vectors.KINDS:
        x, out = mase_vectors.recorded(tag, kind)
        found = mase_vectors.hardware(_values(x), *widths, size).astype(np.float32)
        assert differ(found, _values(tiles(out, size))).sum() == (mase.HARDWARE[tag] if kind == "pow2" else 0)


# mase-cuda -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [16, 32])
@pytest.mark.parametrize("kind", mase_vectors.KINDS)
def test_mase_cuda_packs_as_the_oracle_and_refnum(group: int, kind: str) -> None:
    recorded, stem = mase_vectors.arrays("block"), f"masecuda_mxint8_g{group}__{kind}__"
    want = [recorded[f"{stem}{name}"] for name in ("mant_i8", "scale_u8", "out_bits")]
    x = recorded[f"x_bits__{kind}"]
    packed = [mase_cuda.pack(numbers) for numbers in x.reshape(-1, group).tolist()]
    values = [mase_cuda.unpack(q, scale) << 16 for mantissas, scale in packed for q in mantissas]
    mantissas, scales = (np.array(part) for part in zip(*packed, strict=True))
    for part, right in zip((mantissas.reshape(-1), scales, np.array(values)), want, strict=True):
        assert (part == right).all()

    found = mx.pack_mxint8(tensor(x), group)
    out = mx.unpack_mxint8(*found, group).float().view(torch.int32)
    for part, right in zip((*found, out), (*want[:2], want[2].view(np.int32)), strict=True):
        assert (part.numpy() == right).all()


@pytest.mark.parametrize("kernel", [False, True])
def test_every_integer_under_every_scale(kernel: bool) -> None:
    """What was recorded of the kernel is the oracle's, and refnum is the oracle's everywhere."""
    integers, scales = torch.arange(-128, 128, dtype=torch.int8), torch.arange(256, dtype=torch.uint8)
    found = mx.unpack_mxint8(integers.repeat(256), scales, 256, kernel=kernel).float().reshape(256, 256).numpy()
    way = mase_cuda.kernel if kernel else mase_cuda.unpack
    bits = [[way(q, scale) << 16 for q in range(-128, 128)] for scale in range(256)]
    right = _values(np.array(bits, np.uint32))
    assert not differ(found, right).any()
    assert (np.signbit(found) == np.signbit(right))[:255].all()

    recorded = mase_vectors.arrays("block")
    table = recorded["masecuda_dequant_table__mant_i8_x_scale_u8__bf16_bits"].astype(np.uint32) << 16
    wrong = differ(right[recorded["masecuda_dequant_table__scale_u8"]], _values(table))
    assert wrong.sum() == (0 if kernel else mase.KERNEL)
