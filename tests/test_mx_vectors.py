"""Block formats against what peers were recorded to do: every key of the golden vectors, through the public names."""

from __future__ import annotations

import dataclasses

import mx_bridge
import numpy as np
import pytest
import torch
from refnum_conformance import block_vectors
from refnum_conformance.block_vectors import Case, folded, unpacked

import refnum
from refnum import mx
from refnum.formats import Block, FixedPoint, Minifloat, e8m0

FORMATS: dict[str, Block] = {
    **{name: getattr(refnum, name) for name in block_vectors.FORMATS if name != "mxint4"},
    "mxint4": Block(FixedPoint(4, 2, symmetric=True), e8m0, 32),
}
CASES = list(block_vectors.cases())


def _quantized(case: Case) -> mx.Blocks:
    fmt, peer = FORMATS[case.fmt], case.peer
    two_levels = case.tensor_scale is not None
    return mx.quantize(
        mx_bridge.values(case.x, mx_bridge.DTYPES[case.dtype]),
        fmt,
        profile=peer.profile,
        scale=peer.scale if fmt.scale == e8m0 else None,
        rounding=peer.rounding,
        tensor_scale=mx_bridge.values([case.tensor_scale])[0] if two_levels else None,
    )


@pytest.mark.parametrize("case", [case for case in CASES if case.values is None], ids=str)
def test_codes_and_scales(case: Case) -> None:
    fmt, got = FORMATS[case.fmt], _quantized(case)
    assert got.scales.dtype == got.elements.dtype == torch.uint8
    codes = unpacked(got.elements.numpy()) if fmt.packed == 2 else got.elements.numpy()
    scales, codes = got.scales.numpy().reshape(-1), codes.reshape(-1, fmt.size)
    promised, promised_codes = case.promised, case.promised_codes
    np.testing.assert_array_equal(scales[promised], case.scales[promised])
    np.testing.assert_array_equal(codes[promised_codes], case.codes[promised_codes])


@pytest.mark.parametrize("case", [case for case in CASES if case.values is not None], ids=str)
def test_values(case: Case) -> None:
    got = mx.dequantize(_quantized(case), dtype=mx_bridge.DTYPES[case.values_dtype])
    bits = np.array(mx_bridge.bits(got)).reshape(case.values.shape)[case.promised]
    want, dtype = case.values[case.promised], case.values_dtype
    np.testing.assert_array_equal(folded(bits, dtype), folded(want, dtype))
    if not case.peer.profile.startswith("microxcaling"):
        zeros = folded(want, dtype) == 0
        np.testing.assert_array_equal(bits[zeros], want[zeros])


# Elements ------------------------------------------------------------------------------------------------------------

ELEMENTS = block_vectors.arrays("elements")
IN = mx_bridge.values(ELEMENTS["elem_in_f32bits"])
ROWS: dict[str, Minifloat] = {
    "e2m1": refnum.e2m1,
    "e2m3": refnum.e2m3,
    "e3m2": refnum.e3m2,
    "e4m3fn": refnum.e4m3,
    "e5m2": refnum.e5m2,
    "e4m3fnuz": refnum.e4m3fnuz,
    "e5m2fnuz": refnum.e5m2fnuz,
    "e8m0fnu": refnum.e8m0,
}
#: what a library's cast does beyond the largest value, where it does not saturate
OVERFLOW = {
    "torch/e5m2/enc": "inf",
    "torch/e4m3fnuz/enc": "nan",
    "torch/e5m2fnuz/enc": "nan",
    "ml_dtypes/e4m3fn/enc": "nan",
    "ml_dtypes/e5m2/enc": "inf",
    "gfloat/e4m3fn/enc_nosat_finite": "nan",
    "gfloat/e5m2/enc_nosat_finite": "inf",
}
CASTS = sorted(key for key in ELEMENTS if "/enc" in key)


@pytest.mark.parametrize("key", [key for key in CASTS if "/e8m0fnu/" not in key and "/int8/" not in key])
def test_casts(key: str) -> None:
    library, name, _ = key.split("/")
    fmt = ROWS[name]
    if key in OVERFLOW:
        fmt = dataclasses.replace(fmt, overflow=OVERFLOW[key])
    got, want = refnum.encode(IN, fmt), torch.from_numpy(ELEMENTS[key])
    asked = ~IN.isnan() if library != "gfloat" else IN.isfinite()  # gfloat was asked for finite values alone
    if fmt.nan is not None:  # which NaN differs
        nan = refnum.decode(got, fmt).isnan()
        assert torch.equal(nan[asked], refnum.decode(want, fmt).isnan()[asked])
        asked &= ~nan
    assert torch.equal(got[asked], want[asked])


def test_casts_to_int8() -> None:
    # A 1 beside every value keeps the scale at 1; gfloat's integers go down to -2.
    fmt = Block(FixedPoint(8, 6), e8m0, 2)
    below = IN.abs() < 2
    got = mx.quantize(torch.stack([IN, torch.ones_like(IN)], -1)[below], fmt)
    assert (got.scales == 127).all()
    want = torch.from_numpy(ELEMENTS["gfloat/int8/enc_sat_finite"])[below]
    assert torch.equal(got.elements[:, 0], want)
    symmetric = dataclasses.replace(fmt, element=refnum.mxint8.element)
    got = mx.quantize(torch.stack([IN, torch.ones_like(IN)], -1)[below], symmetric)
    assert torch.equal(got.elements[:, 0], torch.where(want == 0x80, 0x81, want))


DECODED = sorted(key for key in ELEMENTS if key.endswith(("dec_f32bits", "dec_f64")))


@pytest.mark.parametrize("key", DECODED)
def test_values_of_codes(key: str) -> None:
    library, name, kind = key.split("/")
    dtype = torch.float64 if kind == "dec_f64" else torch.float32
    codes = torch.from_numpy(ELEMENTS[f"{library}/{name}/dec_codes"])
    want = ELEMENTS[key].view(np.uint64 if dtype == torch.float64 else np.uint32)
    got = _decoded(name, codes, dtype)
    bits = np.array(mx_bridge.bits(got), want.dtype).reshape(want.shape)
    number = mx_bridge.NAMES[dtype]
    np.testing.assert_array_equal(folded(bits, number), folded(want, number))
    zeros = folded(want, number) == 0
    np.testing.assert_array_equal(bits[zeros], want[zeros])


def _decoded(name: str, codes: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if name == "mxfp4_to_f32":
        return mx.dequantize(_unscaled(codes[:, None], Block(refnum.e2m1, e8m0, 2)), dtype)
    if name == "int8":
        return mx.dequantize(_unscaled(codes[:, None], Block(FixedPoint(8, 6), e8m0, 1)), dtype)
    return refnum.decode(codes, ROWS.get(name, e8m0), dtype=dtype)


def _unscaled(elements: torch.Tensor, fmt: Block) -> mx.Blocks:
    """A block for every row, under the scale 1."""
    scales = torch.full((len(elements), 1), 127, dtype=torch.uint8)
    return mx.Blocks(elements, scales, fmt, torch.Size([len(elements), fmt.size]))


def test_reciprocals_of_scales() -> None:
    codes = torch.from_numpy(ELEMENTS["torchao/e8m0_recip/dec_codes"])
    got = 1 / refnum.decode(codes, e8m0)
    want = mx_bridge.values(ELEMENTS["torchao/e8m0_recip/f32bits"]).to(torch.float64)
    assert torch.equal(got.isnan(), want.isnan())
    assert torch.equal(got[~got.isnan()], want[~want.isnan()])


MICROXCALING = {
    "fp4_e2m1": refnum.mxfp4,
    "fp6_e2m3": refnum.mxfp6_e2m3,
    "fp6_e3m2": refnum.mxfp6_e3m2,
    "fp8_e4m3": refnum.mxfp8_e4m3,
    "fp8_e5m2": refnum.mxfp8_e5m2,
    "int8": refnum.mxint8,
}


@pytest.mark.parametrize("key", sorted(key for key in ELEMENTS if key.startswith("microxcaling")))
def test_elements_of_microxcaling(key: str) -> None:
    # 2**max_scale beside every value keeps the scale at 1; larger values would have another one.
    _, name, rounding, _ = key.split("/")
    element = MICROXCALING[name].element
    power = 2.0**element.max_scale
    below = IN.abs() < 2 * power * (1 - 2.0**-16)
    x = torch.stack([IN, torch.full_like(IN, power)], -1)[below]
    rounding, _, saturates = rounding.partition("_")
    got = mx.quantize(
        x,
        Block(element, e8m0, 2),
        profile="microxcaling/v1",
        rounding=block_vectors.MICROXCALING[rounding].rounding,
    )
    assert (got.scales == 127).all()
    want = mx_bridge.values(ELEMENTS[key])[below]
    if not saturates:
        want = want.clamp(-element.max_value, element.max_value)
    assert torch.equal(mx.dequantize(got)[:, 0], want)  # zeros without sign


def test_every_key_is_tested() -> None:
    elements = {key for key in ELEMENTS if not key.endswith(("dec_codes", "elem_in_f32bits"))}
    others = {key for key in elements if "/e8m0fnu/enc" in key}  # no two casts to E8M0 agree, and refnum has none
    tested = {*CASTS, *DECODED, *(key for key in elements if key.startswith("microxcaling"))} - others
    assert elements - others - tested == {"torchao/e8m0_recip/f32bits"}
    assert len(CASES) == 268
