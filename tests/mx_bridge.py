"""Between refnum's tensors and the oracle's integers, for the tests of block formats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from refnum_conformance.oracles import blocks as oracle
from refnum_conformance.oracles.minifloat import Row
from torch import Tensor

from refnum import mx
from refnum.formats import Block, FixedPoint, Minifloat

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def row(fmt: Minifloat) -> Row:
    """The oracle's word for a minifloat."""
    assert fmt.bias is not None
    return Row(fmt.exponent, fmt.mantissa, fmt.bias, fmt.specials, fmt.overflow, fmt.signed, fmt.subnormals)


def block(fmt: Block) -> oracle.Block:
    """The oracle's word for a block format."""
    element = fmt.element
    if isinstance(element, FixedPoint):
        return oracle.Block(oracle.Fixed(element.width, element.fraction, element.symmetric), row(fmt.scale))
    return oracle.Block(row(element), row(fmt.scale))


def values(bits: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """Floats of this dtype, given by the bits of the same numbers, or NaNs, as float32."""
    bits = torch.from_numpy(np.asarray(bits, np.uint32).view(np.int32))
    if dtype == torch.bfloat16:
        return (bits >> 16).to(torch.int16).view(dtype)  # a cast could change NaNs
    return bits.view(torch.float32).to(dtype)


def widened(x: Tensor) -> list[int]:
    """The bits of the same numbers as float32."""
    if x.dtype == torch.bfloat16:
        return ((x.reshape(-1).view(torch.int16).to(torch.int64) << 16) & 0xFFFFFFFF).tolist()
    return (x.reshape(-1).to(torch.float32).view(torch.int32).to(torch.int64) & 0xFFFFFFFF).tolist()


def bits(x: Tensor) -> list[int]:
    """The bits of floats, as unsigned integers."""
    width = 8 * x.dtype.itemsize
    signed = {16: torch.int16, 32: torch.int32, 64: torch.int64}[width]
    return [u % (1 << width) for u in x.reshape(-1).view(signed).tolist()]


def expected(
    x: Tensor,
    fmt: Block,
    *,
    profile: str = "ocp/v1",
    scale: str | None = None,
    rounding: str | None = None,
    random_bits: Tensor | None = None,
    tensor_scale: Tensor | None = None,
) -> tuple[list[int], list[list[int]]]:
    """Scales and codes of the blocks of x [blocks, size], by the oracle."""
    word, size = block(fmt), x.shape[1]
    everything, level = widened(x), None if tensor_scale is None else widened(tensor_scale)[0]
    draws: Sequence[Sequence[int] | None] = [None] * len(x) if random_bits is None else random_bits.tolist()
    found = [
        oracle.quantize(
            everything[i * size : (i + 1) * size],
            word,
            profile,
            scale=scale,
            rounding=rounding,
            random_bits=draws[i],
            tensor_scale=level,
            dtype=NAMES[x.dtype],
        )
        for i in range(len(x))
    ]
    return [code for code, _ in found], [codes for _, codes in found]


def assert_as_oracle(x: Tensor, fmt: Block, **options: Any) -> mx.Blocks:
    """refnum.mx.quantize gives the oracle's bits for x [blocks, size]."""
    got = mx.quantize(x, fmt, **options)
    scales, codes = expected(x, fmt, **options)
    wrong = [
        (hex(widened(x[i].abs().max())[0]), got.scales[i, 0].item(), scale, got.codes[i].tolist(), want, x[i].tolist())
        for i, (scale, want) in enumerate(zip(scales, codes, strict=True))
        if got.scales[i].tolist() != [scale] or got.codes[i].tolist() != want
    ]
    assert not wrong, (
        f"{len(wrong)} of {len(x)} blocks: amax, scale, its right value, codes, right codes, x: {wrong[0]}"
    )
    return got
