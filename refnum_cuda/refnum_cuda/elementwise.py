"""The host's side of csrc/elementwise.cu: encode, decode, quantize."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import c_int32
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from refnum import boundary
from refnum.formats import Posit, parse_scalar

from . import launch, parameters
from .parameters import ROUNDINGS, Format, Operand, Result, Shape
from .serving import Operation

WIDEST_POSIT = 32  #: bits
BLOCK, MOST_BLOCKS = 256, 1 << 16

CONVERT, QUANTIZE = (
    launch.Kernel("elementwise", f"rn_{name}", (Operand, Operand, Result, Shape, Format, Format, c_int32))
    for name in ("convert", "quantize")
)


# ---- launches ------------------------------------------------------------------------------------


def _elementwise(
    kernel: launch.Kernel, x: Tensor, dtype: torch.dtype, formats: tuple[str, str], rounding: str, random: Tensor | None
) -> Tensor:
    result = torch.empty(x.shape, dtype=dtype, device=x.device)
    if result.numel() == 0:
        return result
    tensors = (x,) if random is None else (x, random.to(torch.int16).expand(x.shape))  # the low 16 bits are read
    shape, read, alive = parameters.operands(*tensors)
    source, target = map(_format, formats)
    grid = min(-(-result.numel() // BLOCK), MOST_BLOCKS), 1, 1
    launch.launch(
        *(kernel, grid, (BLOCK, 1, 1), 0),
        *(read[0], Operand() if random is None else read[1], parameters.result(result), shape),
        *(source, target, ROUNDINGS[rounding]),
    )
    del alive  # freed memory of a stream is reused on that stream alone, behind the kernel
    return result


@lru_cache(maxsize=256)
def _format(name: str) -> Format:
    return parameters.scalar(parse_scalar(name))


def _encode(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    return _elementwise(CONVERT, x, container(fmt), (_row(x.dtype), fmt), rounding, random_bits)


def _decode(bits: Tensor, fmt: str, dtype: torch.dtype) -> Tensor:
    return _elementwise(CONVERT, bits, dtype, (fmt, _row(dtype)), "nearest_even", None)


def _quantize(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    return _elementwise(QUANTIZE, x, x.dtype, (_row(x.dtype), fmt), rounding, random_bits)


def _row(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def container(fmt: str) -> torch.dtype:
    """The dtype of a format's codes."""
    return boundary.container(parse_scalar(fmt))


def _covers(x: Tensor, fmt: str, *_: Any) -> bool:
    found = parse_scalar(fmt)
    return not isinstance(found, Posit) or found.n <= WIDEST_POSIT


# ---- the reference -------------------------------------------------------------------------------


def _encode_reference(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    from refnum import codec

    return codec.codes_of(x, parse_scalar(fmt), rounding, random_bits)


def _decode_reference(bits: Tensor, fmt: str, dtype: torch.dtype) -> Tensor:
    from refnum import codec

    return codec.floats_of(bits, parse_scalar(fmt), dtype)


def _quantize_reference(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    from refnum import codec

    return codec.rounded(x, parse_scalar(fmt), rounding, random_bits)


# ---- examples ------------------------------------------------------------------------------------

FORMATS = ("posit8", "posit16", "posit(9,1)", "e2m1", "e4m3", "e5m2", "float16", "bfloat16")


def _floats() -> Tensor:
    """float32 of all magnitudes: those with a short fraction, values between two of them, and neighbours of these."""
    steps = torch.arange(-(1 << 31), 1 << 31, 1 << 21, dtype=torch.int64, device="cpu")
    bits = torch.cat([steps, steps + 1, steps + (1 << 20) - 1, steps + (1 << 20), steps + (1 << 20) + 1])
    return bits.to(torch.int32).view(torch.float32)


def _from_floats() -> Iterator[tuple[Any, ...]]:
    x = _floats()
    random = torch.arange(x.numel(), dtype=torch.int64, device="cpu") * 40503
    for fmt in FORMATS:
        yield x, fmt, "nearest_even", None
        yield x, fmt, "stochastic", random
    for rounding in ROUNDINGS.keys() - {"nearest_even", "stochastic"}:
        yield x, "posit16", rounding, None
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        yield x.to(dtype).view(5, -1).mT, "posit8", "nearest_even", None


def _codes() -> Iterator[tuple[Any, ...]]:
    bits = torch.arange(-(1 << 15), 1 << 15, 3, dtype=torch.int64, device="cpu")
    for fmt in ("posit8", "posit16", "e4m3", "e5m2", "e2m1", "bfloat16"):
        yield bits.to(torch.int16), fmt, torch.float32
    yield (bits * 65537).to(torch.int32), "posit32", torch.float64


OPERATIONS = (
    Operation("encode", _encode_reference, _encode, _covers, (CONVERT,), _from_floats),
    Operation("decode", _decode_reference, _decode, _covers, (CONVERT,), _codes),
    Operation("quantize", _quantize_reference, _quantize, _covers, (QUANTIZE,), _from_floats),
)
