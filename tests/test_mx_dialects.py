"""Three deployed dialects, as their own references were recorded: every array that a profile claims, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import refnum
from refnum import mx
from refnum.formats import Block, e2m1, e4m3, e8m0, mxfp4, mxfp8_e4m3, nvfp4

VECTORS = Path(__file__).parent.parent / "conformance" / "vectors"
with np.load(VECTORS / "mx_dialects.npz") as file:
    RECORDED = {key: file[key] for key in file.files}
with np.load(VECTORS / "mx_inputs.npz") as file:
    INPUTS = {key: file[key] for key in file.files}

TILES = Block(e2m1, e4m3, (16, 16))
SIGNS = 0xD7E8  #: TransformerEngine's


@dataclass(frozen=True)
class Row:
    """What a row of recorded arrays is called here."""

    profile: str
    fmt: Block
    level: str  #: tensor: that of the tensor; row: that of each row; none
    signs: int | None = None  #: of a Hadamard transform of the transposed tensor


ROWS = {
    "te_1x16": Row("te/v1", nvfp4, "tensor"),
    "te_1x16_row": Row("te/v1", nvfp4, "row"),
    "te_1x16_unit": Row("te/v1", nvfp4, "none"),
    "te_16x16": Row("te/v1", TILES, "tensor"),
    "te_16x16_unit": Row("te/v1", TILES, "none"),
    "te_rht": Row("te/v1", nvfp4, "tensor", SIGNS),
    "te_rht_unsigned": Row("te/v1", nvfp4, "tensor", 0),
    # flashinfer without fast math: its tests demand what TransformerEngine does.
    "fi_te": Row("te/v1", nvfp4, "tensor"),
    "fi_te_row": Row("te/v1", nvfp4, "row"),
    "fi_te_unit": Row("te/v1", nvfp4, "none"),
    "fi_dequantize": Row("te/v1", nvfp4, "tensor"),
    "fi_ref16": Row("flashinfer/v1", nvfp4, "tensor"),
    "fi_ref16_unit": Row("flashinfer/v1", nvfp4, "none"),
    "fi_ref32": Row("flashinfer/v1", mxfp4, "none"),
    "fi_mxfp8": Row("flashinfer/v1", mxfp8_e4m3, "none"),
    "ct_nvfp4": Row("compressed_tensors/v1", nvfp4, "tensor"),
    "ct_nvfp4_unit": Row("compressed_tensors/v1", nvfp4, "none"),
    "ct_mxfp4": Row("compressed_tensors/v1", mxfp4, "none"),
    "ct_mxfp8": Row("compressed_tensors/v1", mxfp8_e4m3, "none"),
}

#: what is recorded but not offered, and why
NOT_OFFERED = {
    "4over6": "an option that tries two scales a block and keeps the one with the smaller error",
    "te_pow2": "not deployed, its quantizer fails; and the scale goes by how the processor rounds a logarithm",
    "fi_trace": "documentation that contradicts the kernels",
    "te_sr": "a rounding of scaled values: below",
    "layout/": "an order of scales, no dialect of values: mx.layouts",
    "commit/": "where the references come from",
}

KEYS = [key for key in RECORDED if not any(name in key for name in NOT_OFFERED)]
CASES = sorted({tuple(key.split("/")[:2]) for key in KEYS})


def floats(bits: np.ndarray) -> Tensor:
    if bits.dtype == np.uint16:
        return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.atleast_1d(bits).view(np.int32)).view(torch.float32).reshape(bits.shape)


def recorded(case: tuple[str, str]) -> dict[str, np.ndarray]:
    stem = "/".join(case) + "/"
    return {key.removeprefix(stem): array for key, array in RECORDED.items() if key.startswith(stem)}


def quantized(x: Tensor, row: Row) -> list[mx.Blocks]:
    """The tensor, or each of its rows, with its own tensor scale."""
    parts = list(x) if row.level == "row" else [x]
    scales = [None if row.level == "none" else mx.tensor_scale(part, row.fmt, profile=row.profile) for part in parts]
    return [
        mx.quantize(part, row.fmt, profile=row.profile, tensor_scale=scale, pad=True)
        for part, scale in zip(parts, scales, strict=True)
    ]


def gathered(parts: list[mx.Blocks], count: int, columns: int) -> dict[str, np.ndarray]:
    """What the peers return: codes without what completes a tile, and a scale for every row of a tile."""
    packed = parts[0].fmt.packed
    q = torch.cat([part.elements.reshape(-1, part.elements.shape[-1]) for part in parts])
    s = torch.cat([part.scales.reshape(-1, part.scales.shape[-1]) for part in parts])
    s = s.repeat_interleave(parts[0].fmt.tile[0], 0)
    return {"q": q[:count, : -(-columns // packed)].numpy(), "s": s.numpy()}


def folded(codes: np.ndarray, nan: int) -> np.ndarray:
    """Codes with one NaN of 7 bits, whose sign says nothing."""
    return np.where(codes & 0x7F == nan, nan, codes)


def nan_blocks(x: Tensor, size: int) -> np.ndarray:
    return x.float().unflatten(-1, (-1, size)).isnan().any(-1).numpy()


@pytest.mark.parametrize("case", CASES, ids="/".join)
def test_the_dialect(case: tuple[str, str]) -> None:
    name, row, want = case[0], ROWS[case[1]], recorded(case)
    x = floats(INPUTS[name])
    if row.signs is not None:
        assert_hadamard(x, row, want)
        return
    if case[1] in ("te_1x16_unit", "te_16x16_unit"):
        x = torch.nn.functional.pad(x, (0, 0, 0, 2))
    for suffix, tensor in (("", x), ("_t", x.T)):
        if f"q{suffix}" in want:
            assert_codes(tensor, row, want | {key: want.get(f"{key}{suffix}") for key in ("q", "s")}, case)
    assert_levels(x, row, want)
    assert_values(x, row, want, case)


def assert_codes(x: Tensor, row: Row, want: dict[str, Any], case: tuple[str, str]) -> None:
    """Codes and scales, where they are promised."""
    got, keep = gathered(quantized(x, row), *x.shape), promised(case, x, row.fmt)
    nan = 0x7F if row.fmt.packed == 1 else 0xFF
    np.testing.assert_array_equal(folded(got["q"], nan)[keep["q"]], folded(want["q"], nan)[keep["q"]])
    if want["s"] is None:
        assert_float_scales(got["s"], floats(want["s_f32bits"]), row)
    else:
        nan = 0x7F if row.fmt.scale == e4m3 else 0xFF
        np.testing.assert_array_equal(folded(got["s"], nan)[keep["s"]], folded(want["s"], nan)[keep["s"]])


def assert_float_scales(got: np.ndarray, want: Tensor, row: Row) -> None:
    """Scales that the peer keeps as values: 0 where the byte is 0, and Inf where it is 255."""
    values = refnum.decode(torch.from_numpy(got), row.fmt.scale)
    values[torch.from_numpy(got == 0)] = 0
    if row.fmt.scale == e8m0:
        values[torch.from_numpy(got == 0xFF)] = torch.inf
    assert torch.equal(values.nan_to_num(-1), want.double().nan_to_num(-1))


def promised(case: tuple[str, str], x: Tensor, fmt: Block) -> dict[str, np.ndarray]:
    """Where the peer's codes and scales are promised.

    compressed_tensors goes by what the processor leaves of a NaN: in blocks with NaN of NVFP4 codes are left open, and
    of MX scales, too; so is the code of Inf / Inf.
    """
    columns = -(-x.shape[1] // fmt.tile[1])
    rows = len(x) + -len(x) % fmt.tile[0]
    everything = {"q": np.ones((len(x), -(-x.shape[1] // fmt.packed)), bool), "s": np.ones((rows, columns), bool)}
    if not case[1].startswith("ct"):
        return everything
    size = fmt.tile[1]
    nan = nan_blocks(x, size)
    undefined = np.repeat(nan, size, 1) | (x.float().isinf().numpy() if fmt.scale != e4m3 else False)
    if fmt.packed == 2:
        undefined = undefined[:, ::2] | undefined[:, 1::2]
    return {"q": ~undefined, "s": ~nan if fmt.scale != e4m3 else everything["s"]}


def assert_hadamard(x: Tensor, row: Row, want: dict[str, np.ndarray]) -> None:
    """Columns, completed with zeros to whole groups, transformed and quantized."""
    assert row.signs is not None
    h = mx.hadamard(torch.nn.functional.pad(x, (0, 0, 0, -len(x) % 16)).T, row.signs)
    np.testing.assert_array_equal(h.view(torch.int16).numpy().view(np.uint16), want["h"])
    got = gathered(quantized(h, row), *h.shape)
    np.testing.assert_array_equal(got["q"], want["q_t"])
    np.testing.assert_array_equal(got["s"], want["s_t"])


def assert_levels(x: Tensor, row: Row, want: dict[str, np.ndarray]) -> None:
    """The divisor of a tensor is the recorded one."""
    if "gs_f32bits" in want and row.level == "tensor":
        got = mx.tensor_scale(x, row.fmt, profile=row.profile)
        assert torch.equal(got.reshape(-1), floats(want["gs_f32bits"]).reshape(-1))


def assert_values(x: Tensor, row: Row, want: dict[str, np.ndarray], case: tuple[str, str]) -> None:
    """Values of the blocks. NVFP4 of compressed_tensors is left out: its values are times a rounded quotient."""
    if "dq_f32" in want:  # codes as without fast math, the tensor scale as with it
        (blocks,), (other,) = quantized(x, row), quantized(x, ROWS["fi_ref16"])
        assert torch.equal(other.tensor_scale, floats(want["gs_inverse_f32bits"]))
        got = mx.dequantize(replace(blocks, tensor_scale=other.tensor_scale))
        assert torch.equal(got + 0.0, floats(want["dq_f32"]))  # it has no -0
    if "dq_bf16" in want and case[1].startswith("ct_mx"):
        (blocks,) = quantized(x, row)
        got, expected = mx.dequantize(blocks, torch.bfloat16), floats(want["dq_bf16"])
        keep = ~np.repeat(nan_blocks(x, 32), 32, 1) & x.float().isfinite().numpy()
        assert torch.equal(got[torch.from_numpy(keep)], expected[torch.from_numpy(keep)])


def test_every_row_is_claimed_or_named() -> None:
    rows = {key.split("/")[1] for key in KEYS}
    assert rows == ROWS.keys()
    assert all(any(name in key for key in RECORDED) for name in NOT_OFFERED)


def test_stochastic_rounding_of_transformer_engine() -> None:
    """Its random byte r stands for 16 bits; it goes up in four cases more, where its sum itself rounds up."""
    x = floats(RECORDED["stochastic/te_sr/x_f32bits"])
    inside = x.abs() <= 6
    values = torch.stack([x[inside], torch.full_like(x[inside], 6.0)], -1)  # which make the scale 1
    draws = (255 - torch.arange(256)) << 8 | 255
    fmt = Block(e2m1, e4m3, 2)
    got = mx.quantize(
        values.expand(256, -1, 2), fmt, profile="te", rounding="stochastic", random_bits=draws[:, None, None]
    )
    assert (got.scales == 0x38).all()
    want = mx.unpack4(torch.from_numpy(RECORDED["stochastic/te_sr/q"]))[:, inside]
    zero = x[inside] == 0
    different = (got.codes[..., 0] != want) & ~zero  # it keeps the sign of -0
    assert different.sum() == 4
    assert (want[different] == got.codes[..., 0][different] + 1).all()
