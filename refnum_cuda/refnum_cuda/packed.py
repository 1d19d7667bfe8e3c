"""The host's side of csrc/packed.cu: which conversions, sums and products it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ctypes import c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from refnum.boundary import container
from refnum.formats import Format, Minifloat, Posit, float32

from . import launch, parameters

BLOCK = 256
THREADS_SHARE = 16  #: elements, where there are few: so many are read together
BLOCKS_EACH = 16  #: of a multiprocessor, of which it has a third to a half at a time
ALIGNMENT = 16  #: bytes

PARAMETERS = (c_void_p, c_void_p, c_int64, parameters.Format, parameters.Format)
FLOATS = (torch.float32, torch.bfloat16, torch.float16)
HEADS = (torch.float32, torch.bfloat16)  #: whose bits are the upper ones of a float32


# ---- formats -------------------------------------------------------------------------------------


def _by_steps(fmt: Format) -> bool:
    """Whether a posit's values, and the magic numbers for them (rn_steps.cuh), are normal float32 values."""
    fits = isinstance(fmt, Posit) and fmt.n > 2 and fmt.n - 3 - fmt.es <= float32.mantissa - 2
    return fits and fmt.max_scale + float32.mantissa + 1 <= float32.max_scale


def _reached(fmt: Format) -> bool:
    """rn::float32_reaches: whether every posit has a scale of normal float32 values."""
    return isinstance(fmt, Posit) and fmt.n > 2 and fmt.max_scale < float32.max_scale


def _held(fmt: Format) -> bool:
    """rn::float32_holds: whether every posit is a normal float32."""
    return isinstance(fmt, Posit) and _reached(fmt) and fmt.n <= float32.mantissa + 3 + fmt.es


def _held_in_16_bits(fmt: Format) -> bool:
    """The same of posits that need as many."""
    return _held(fmt) and 8 < fmt.width <= 16


def _on_grid(fmt: Format) -> bool:
    """Whether the codes of a minifloat are in order, and the magic numbers for them float32 values."""
    if not isinstance(fmt, Minifloat) or not fmt.subnormals or not 0 < fmt.mantissa <= float32.mantissa - 2:
        return False
    above = fmt.min_scale + (1 << fmt.exponent) + float32.mantissa - fmt.mantissa
    return fmt.overflow != "nan" and fmt.min_scale >= float32.min_scale and above <= float32.max_scale


def _is_head(fmt: Format) -> bool:
    """Whether the codes are the upper bits of a float32."""
    return (
        isinstance(fmt, Minifloat)
        and fmt == Minifloat(8, fmt.mantissa, overflow="inf")
        and 0 < fmt.mantissa < float32.mantissa
    )


# ---- kernels -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a kernel converts."""

    operation: str  #: encode, decode or quantize
    x: torch.dtype | None  #: of floats; None for codes
    x_bits: int
    out_bits: int
    serves: Callable[[Format], bool]  #: of the format that is not a row of floats
    kernel: launch.Kernel


def _kernel(name: str) -> launch.Kernel:
    return launch.Kernel("packed", f"rn_{name}", PARAMETERS)


def _conversions() -> Iterator[Conversion]:
    for dtype in FLOATS:
        name, width = str(dtype).removeprefix("torch."), 8 * dtype.itemsize
        for kind, bits, serves in (
            ("posit", 8, _by_steps),
            ("posit", 16, _by_steps),
            ("posit", 32, _reached),
            ("minifloat", 8, _on_grid),
            ("minifloat", 16, _on_grid),
        ):
            yield Conversion("encode", dtype, width, bits, serves, _kernel(f"encode_{kind}_{name}_{bits}"))
        for kind, serves in (("posit", _by_steps), ("minifloat", _on_grid)) if dtype in HEADS else ():
            yield Conversion("quantize", dtype, width, width, serves, _kernel(f"quantize_{kind}_{name}"))
    yield Conversion("encode", torch.float32, 32, 16, _is_head, _kernel("encode_head_float32_16"))
    yield Conversion("quantize", torch.float32, 32, 32, _is_head, _kernel("quantize_head_float32"))
    for bits in (16, 32, 64):
        yield Conversion("decode", None, 8, bits, lambda fmt: fmt.width <= 8, _kernel(f"decode_table_{bits}"))
    for bits, serves in ((16, _held_in_16_bits), (32, _held)):
        yield Conversion("decode", None, bits, 32, serves, _kernel(f"decode_posit_{bits}"))


CONVERSIONS = tuple(_conversions())


def _sums_round_alike(fmt: Posit) -> bool:
    """Whether a sum of posits rounds as does its float32, as tests find for every pair."""
    return _by_steps(fmt) and fmt.n <= 16


def _products_are_exact(fmt: Posit) -> bool:
    """Whether float32 holds products of posits, with no subnormal one among them."""
    exact = 2 * fmt.significand_bits <= float32.significand_bits and -2 * fmt.max_scale >= float32.min_scale
    return _by_steps(fmt) and exact


SERVES = {"add": _sums_round_alike, "sub": _sums_round_alike, "mul": _products_are_exact}
ARITHMETIC = {
    (name, bits): launch.Kernel("packed", f"rn_{name}_{bits}", (*(c_void_p,) * 3, c_int64, parameters.Posit))
    for name in SERVES
    for bits in (8, 16)
}
KERNELS = (*(each.kernel for each in CONVERSIONS), *ARITHMETIC.values())


@lru_cache(maxsize=256)
def kernel(operation: str, x: torch.dtype, out: torch.dtype, fmt: Format) -> launch.Kernel | None:
    """The kernel that converts elements of a dtype to those of another, to nearest even, if there is one."""
    asked = operation, x if x.is_floating_point else None, 8 * x.itemsize, 8 * out.itemsize
    fitting = (each for each in CONVERSIONS if (each.operation, each.x, each.x_bits, each.out_bits) == asked)
    return next((each.kernel for each in fitting if each.serves(fmt)), None)


def arithmetic(name: str, fmt: Posit, operands: Sequence[Tensor]) -> launch.Kernel | None:
    """The kernel of a function of two posits in containers of the format, if there is one."""
    kernel = ARITHMETIC.get((name, fmt.container_bits))
    contained = all(x.dtype == container(fmt) for x in operands)
    return kernel if kernel and contained and SERVES[name](fmt) else None


def run(kernel: launch.Kernel, operands: Sequence[Tensor], out: Tensor, *formats: Any) -> None:
    """Convert, or add, operands to ``out``, which is contiguous and not empty."""
    operands = [aligned(x) for x in operands]
    processors = torch.cuda.get_device_properties(out.device).multi_processor_count
    grid = min(-(-out.numel() // (BLOCK * THREADS_SHARE)), BLOCKS_EACH * processors), 1, 1
    launch.launch(kernel, grid, (BLOCK, 1, 1), 0, *operands, out, out.numel(), *formats)


def aligned(x: Tensor) -> Tensor:
    """The tensor where its elements follow one another from a multiple of 16 bytes on, else a copy where they do.

    A copy and a kernel here take less time than one that looks for each element.
    """
    plain = x.is_contiguous() and x.data_ptr() % ALIGNMENT == 0
    return x if plain else x.clone(memory_format=torch.contiguous_format)
