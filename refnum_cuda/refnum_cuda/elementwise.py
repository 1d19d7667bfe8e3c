"""The host's side of csrc/elementwise.cu: encode, decode, quantize, arithmetic of posits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from ctypes import c_int32
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from refnum import boundary
from refnum.boundary import FLOAT_ROWS
from refnum.formats import Posit, keeps, parse_scalar

from . import launch, packed, parameters
from .parameters import ROUNDINGS, Format, Operand, Result, Shape
from .serving import Operation

WIDEST_POSIT = 32  #: bits
BLOCK, MOST_BLOCKS = 256, 1 << 16

CONVERT, QUANTIZE = (
    launch.Kernel("elementwise", f"rn_{name}", (Operand, Operand, Result, Shape, Format, Format, c_int32))
    for name in ("convert", "quantize")
)
#: functions of posits, and how many they take
ARITHMETIC = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "fma": 3, "fmm": 3}
POSITS = {
    name: launch.Kernel("elementwise", f"rn_posit_{name}", (Operand, Operand, Operand, Result, Shape, parameters.Posit))
    for name in ARITHMETIC
}


# ---- launches ------------------------------------------------------------------------------------


def _converted(
    operation: str,
    x: Tensor,
    dtype: torch.dtype,
    formats: tuple[str, str],
    rounding: str = "nearest_even",
    random: Tensor | None = None,
) -> Tensor:
    result = torch.empty(x.shape, dtype=dtype, device=x.device)
    if result.numel() == 0:
        return result
    source, target = map(_format, formats)
    if rounding == "nearest_even":
        fmt = parse_scalar(formats[0] if operation == "decode" else formats[1])
        if kernel := packed.kernel(operation, x.dtype, dtype, fmt):
            packed.run(kernel, (x,), result, source, target)
            return result
    tensors = (x,) if random is None else (x, random.to(torch.int16).expand(x.shape))  # the low 16 bits are read
    kernel = QUANTIZE if operation == "quantize" else CONVERT
    _launch(kernel, tensors, 2, result, source, target, ROUNDINGS[rounding])
    return result


def _launch(kernel: launch.Kernel, tensors: Sequence[Tensor], slots: int, result: Tensor, *rest: Any) -> None:
    """Launch a kernel whose first parameters are so many operands, the result, which has elements, and the shape."""
    shape, read, alive = parameters.operands(*tensors)
    read += [Operand()] * (slots - len(read))
    grid = min(-(-result.numel() // BLOCK), MOST_BLOCKS), 1, 1
    launch.launch(kernel, grid, (BLOCK, 1, 1), 0, *read, parameters.result(result), shape, *rest)
    del alive  # freed memory of a stream is reused on that stream alone, behind the kernel


@lru_cache(maxsize=256)
def _format(name: str) -> Format:
    return parameters.scalar(parse_scalar(name))


def _encode(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    return _converted("encode", x, container(fmt), (_row(x.dtype), fmt), rounding, random_bits)


def _decode(bits: Tensor, fmt: str, dtype: torch.dtype) -> Tensor:
    return _converted("decode", bits, dtype, (fmt, _row(dtype)))


def _quantize(x: Tensor, fmt: str, rounding: str, random_bits: Tensor | None) -> Tensor:
    return _converted("quantize", x, x.dtype, (_row(x.dtype), fmt), rounding, random_bits)


def _convert(bits: Tensor, from_fmt: str, to_fmt: str) -> Tensor:
    return _converted("convert", bits, container(to_fmt), (from_fmt, to_fmt))


def _row(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def container(fmt: str) -> torch.dtype:
    """The dtype of a format's codes."""
    return boundary.container(parse_scalar(fmt))


def _covers(x: Tensor, fmt: str, *_: Any) -> bool:
    found = parse_scalar(fmt)
    return not isinstance(found, Posit) or found.n <= WIDEST_POSIT


def _convert_covers(bits: Tensor, *formats: str) -> bool:
    return all(_posit(fmt).n <= WIDEST_POSIT for fmt in formats)


def _arithmetic(name: str, *arguments: Any) -> Tensor:
    *tensors, fmt = arguments
    result, record = torch.empty(tensors[0].shape, dtype=container(fmt), device=tensors[0].device), _posit(fmt)
    if result.numel() == 0:
        return result
    if kernel := packed.arithmetic(name, record, tensors):
        packed.run(kernel, tensors, result, parameters.posit(record))
    else:
        _launch(POSITS[name], tensors, 3, result, parameters.posit(record))
    return result


def _arithmetic_covers(*arguments: Any) -> bool:
    return _posit(arguments[-1]).n <= WIDEST_POSIT


def _posit(fmt: str) -> Posit:
    found = parse_scalar(fmt)
    assert isinstance(found, Posit), "posit.* have checked it"
    return found


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


def _convert_reference(bits: Tensor, from_fmt: str, to_fmt: str) -> Tensor:
    from refnum.posit.conversions import converted

    return converted(bits, _posit(from_fmt), _posit(to_fmt))


def _arithmetic_reference(name: str, *arguments: Any) -> Tensor:
    from refnum.posit.arithmetic import by_definition

    *tensors, fmt = arguments
    return by_definition(name, _posit(fmt), *tensors)


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
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        for fmt in ("posit8", "posit16", "posit32", "e4m3"):
            yield x.to(dtype), fmt, "nearest_even", None
        yield x.to(dtype).view(5, -1).mT, "posit8", "nearest_even", None


def _kept() -> Iterator[tuple[Any, ...]]:
    for x, fmt, *rest in _from_floats():
        if keeps(FLOAT_ROWS[x.dtype], parse_scalar(fmt)):
            yield x, fmt, *rest


def _codes() -> Iterator[tuple[Any, ...]]:
    bits = torch.arange(-(1 << 15), 1 << 15, 3, dtype=torch.int64, device="cpu")
    for fmt in ("posit8", "posit16", "e4m3", "e5m2", "e2m1", "bfloat16"):
        yield bits.to(torch.int16), fmt, torch.float32
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for fmt in ("posit8", "e4m3", "e2m1"):
            yield bits.to(torch.uint8), fmt, dtype
    yield (bits * 65537).to(torch.int32), "posit(24,2)", torch.float32
    yield (bits * 65537).to(torch.int32), "posit32", torch.float64


def _patterns(arity: int) -> Iterator[tuple[Any, ...]]:
    """Pairs of all posit8, of posits with few bits set and their neighbours, and of those that nearly cancel."""
    every = torch.arange(-128, 128, dtype=torch.int64, device="cpu")
    for fmt, step in (
        ("posit8", 1),
        ("posit(7,4)", 1),
        ("posit16", 251),
        ("posit32", 16777259),
        ("posit(32,0)", 8388617),
    ):
        a, b = ((every * step).to(container(fmt)) for step in (step, step + (step > 1)))
        operands = a[:, None].expand(256, 256), b.expand(256, 256), -a.roll(3)[:, None].expand(256, 256)
        yield *operands[:arity], fmt
        yield *(a, -a + torch.where(every % 3 == 0, 1, 0).to(a.dtype), -a.roll(1))[:arity], fmt


def _pairs_of_formats() -> Iterator[tuple[Any, ...]]:
    bits = torch.arange(-(1 << 15), 1 << 15, 3, dtype=torch.int64, device="cpu")
    for from_fmt, to_fmt in itertools.permutations(("posit8", "posit16", "posit32", "posit(12,1)", "posit(32,4)"), 2):
        yield (bits * 65539).to(container(from_fmt)), from_fmt, to_fmt


def _arithmetic_row(name: str) -> Operation:
    return Operation(
        f"posit_{name}",
        partial(_arithmetic_reference, name),
        partial(_arithmetic, name),
        _arithmetic_covers,
        (POSITS[name], *packed.KERNELS),
        partial(_patterns, ARITHMETIC[name]),
    )


OPERATIONS = (
    Operation("encode", _encode_reference, _encode, _covers, (CONVERT, *packed.KERNELS), _from_floats),
    Operation("decode", _decode_reference, _decode, _covers, (CONVERT, *packed.KERNELS), _codes),
    Operation("quantize", _quantize_reference, _quantize, _covers, (QUANTIZE, *packed.KERNELS), _kept),
    Operation("posit_convert", _convert_reference, _convert, _convert_covers, (CONVERT,), _pairs_of_formats),
    *map(_arithmetic_row, ARITHMETIC),
)
