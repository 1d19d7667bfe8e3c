"""dequantize: blocks -> values, rounded once."""

from __future__ import annotations

import sys
from functools import lru_cache, partial

import torch
from torch import Tensor

from .. import backend
from ..boundary import FLOAT_ROWS, SIGNED, check_float_dtype, fix_block
from ..core.decode import INFINITE, NAN, Exact, decode, nonzero
from ..core.exact import multiply
from ..core.round import encode
from ..errors import DTypeError
from ..fast import blocks as fast
from ..fast import tables
from ..fast.chunks import elementwise, reinterpret
from ..fast.scans import flushes
from ..formats import Block, Element, Exponent, FixedPoint, Minifloat, Scale, e8m0, float32, float64, unit_scale
from .blocks import Blocks, has_kernels
from .scales import BIAS

CHUNK = 1 << 16  #: elements of a piece
_PAIRS = {
    torch.float16: torch.int32,
    torch.bfloat16: torch.int32,
    torch.float32: torch.int64,
    torch.float64: torch.complex128,
}


def dequantize(blocks: Blocks, dtype: torch.dtype = torch.float32) -> Tensor:
    """Values of blocks: element times scale, times the tensor's scale.

    >>> import refnum
    >>> from refnum import mx
    >>> dequantize(mx.quantize(torch.linspace(-3, 3, 32), refnum.mxfp4))[:4]
    tensor([-3., -3., -3., -2.])

    Parameters
    ----------
    blocks : Blocks
        What `quantize` returns, or made of codes from elsewhere.
    dtype : torch.dtype
        float16, bfloat16, float32 or float64, which holds every value of the formats that have a name, of integers and
        of block floating point.

    Returns
    -------
    Tensor
        Of the blocks' shape.

    Raises
    ------
    DTypeError
        When the argument is not Blocks, or the dtype is none of the four.

    Exactness: correctly rounded, and exact in float64 where that holds the value.
    Rounding: once, to nearest, ties to even.
    Special: a NaN scale or element gives NaN; overflow gives Inf; subnormal results are kept.
    Standard: OCP MX 1.0 section 6.2; what it leaves open, an overflow, is as in IEEE 754.
    Cost: O(numel) time, result + 2 MB.
    """
    if not isinstance(blocks, Blocks):
        raise DTypeError(
            f"mx.dequantize needs Blocks, got {type(blocks).__name__}. Use mx.quantize, or mx.Blocks(elements, scales, "
            "...) for codes from elsewhere."
        )
    fix_block(blocks.fmt)
    check_float_dtype("mx.dequantize", dtype)
    kernel = backend.kernel("mx_dequantize", blocks.elements) if has_kernels(blocks.fmt) else None
    values: Tensor = (kernel or values_of)(blocks, dtype)
    return values


def values_of(blocks: Blocks, dtype: torch.dtype) -> Tensor:
    """`dequantize` of arguments that were checked."""
    if _serves(blocks, dtype):
        return _by_table(blocks, dtype)
    if dtype == torch.float32 and blocks.tensor_scale is None and fast.serves(blocks.fmt):
        return _by_integers(blocks)
    return by_definition(blocks, dtype)


def spread(scales: Tensor, blocks: Blocks) -> Tensor:
    """Each element's scale, in the shape of the blocks' tensor."""
    rows, columns = blocks.fmt.tile
    for axis, size in ((blocks.axis, columns), (-2, rows)):
        if size > 1:
            scales = scales.repeat_interleave(size, axis).narrow(axis, 0, blocks.shape[axis])
    return scales


# ---- the definition ------------------------------------------------------------------------------


def by_definition(blocks: Blocks, dtype: torch.dtype) -> Tensor:
    """The definition of `dequantize`."""
    row, fmt = FLOAT_ROWS[dtype], blocks.fmt
    scales = blocks.scales.view(torch.int32) if fmt.scale == float32 else blocks.scales

    def kernel(codes: Tensor, scales: Tensor) -> Tensor:
        return encode(exact_values(codes, scales, fmt, blocks.tensor_scale), row)

    return elementwise(kernel, blocks.codes, spread(scales, blocks), dtype=SIGNED[row.width]).view(dtype)


def exact_values(codes: Tensor, scales: Tensor, fmt: Block, tensor_scale: Tensor | None) -> Exact:
    """Exact values of elements under scales, each of its own, and a factor of all."""
    value = _times(codes, fmt.element, decode(scales, fmt.scale), fmt.scale.significand_bits)
    if tensor_scale is None:
        return value
    bits = fmt.element.significand_bits + 1 + fmt.scale.significand_bits
    return _product(value, bits, decode(tensor_scale.view(torch.int32), float32), float32.significand_bits)


def _times(codes: Tensor, element: Element, scale: Exact, bits: int) -> Exact:
    return _product(decode(codes, element), element.significand_bits + 1, scale, bits)


def _product(a: Exact, a_bits: int, b: Exact, b_bits: int) -> Exact:
    """a times b; 0 times Inf is NaN."""
    product = multiply(a, b, a_bits, b_bits)
    kind = product.kind
    zero = ~(nonzero(a.significand[0]) & nonzero(b.significand[0]))
    return product._replace(kind=kind | (-(kind & INFINITE) & zero & NAN))


# ---- the same bits sooner: in narrower integers, which torch.compile fuses -----------------------


def _by_integers(blocks: Blocks) -> Tensor:
    kernel = partial(fast.patterns, fmt=blocks.fmt)
    patterns = elementwise(kernel, blocks.codes, spread(blocks.scales, blocks), dtype=torch.int32)
    return reinterpret(patterns, torch.float32)


# ---- and by table --------------------------------------------------------------------------------


def _serves(blocks: Blocks, dtype: torch.dtype) -> bool:
    """Whether a table has the values, or floating-point products are right: rounded once, and nothing flushed."""
    plain = type(blocks.elements) is Tensor and blocks.elements.device.type == "cpu"
    whole = blocks.fmt.tile[1] % blocks.fmt.packed == 0
    if not plain or not whole or torch.compiler.is_compiling() or sys.byteorder != "little":
        return False
    if _tabled(blocks):
        return True
    # float64 holds elements times scales times a factor: that is rounded once, or not at all.
    held = holds_values(float64, blocks.fmt, blocks.tensor_scale is not None)
    return held and dtype in (torch.float32, torch.float64) and not flushes() and _is_read(blocks.fmt.element)


def _tabled(blocks: Blocks) -> bool:
    """Whether elements and scales are codes of at most 8 bits, and there is no other factor."""
    return blocks.fmt.element.width <= 8 and blocks.fmt.scale != float32 and blocks.tensor_scale is None


def _is_read(element: Element) -> bool:
    """Whether `_elements` reads the codes: by table, or as the integers that they are."""
    return element.width <= tables.WIDTH or isinstance(element, FixedPoint)


def holds_values(row: Minifloat, fmt: Block, factor: bool) -> bool:
    """Whether a floating-point row has all scales and values of a format, with a factor of the tensor or without."""
    parts = (fmt.element, fmt.scale, *((float32,) if factor else ()))
    bits = sum(part.significand_bits for part in parts)
    least = [_ends(part)[0] for part in parts]
    most = [_ends(part)[1] + 1 for part in parts]  # two's complement reaches the next power of two
    ranges = min(sum(least), *least) >= unit_scale(row) and max(sum(most), *most) <= row.max_scale
    return bits <= row.significand_bits and ranges


def _ends(part: Element | Scale) -> tuple[int, int]:
    """log2 of the unit of all values, and of the largest one."""
    if isinstance(part, Exponent):
        return part.least, part.largest
    return unit_scale(part), part.max_scale


def _by_table(blocks: Blocks, dtype: torch.dtype) -> Tensor:
    fmt, axis, (rows, columns) = blocks.fmt, blocks.axis, blocks.fmt.tile
    elements, scales = blocks.elements, blocks.scales
    if rows > 1:
        elements = elements.narrow(-2, 0, blocks.shape[-2])
        scales = scales.repeat_interleave(rows, -2).narrow(-2, 0, blocks.shape[-2])
    elements, scales = (x.movedim(axis, -1).contiguous() for x in (elements, scales))
    values = torch.empty(*scales.shape, columns, dtype=dtype, device="cpu")
    flat, shared, codes = values.view(-1, columns), scales.view(-1, 1), elements.view(-1, columns // fmt.packed)
    step = max(1, CHUNK // columns)
    for start in range(0, len(flat), step):
        piece = slice(start, start + step)
        if _tabled(blocks):
            _look_up(codes[piece], shared[piece], fmt.element, fmt.scale, flat[piece])
        else:
            flat[piece] = _products(codes[piece], shared[piece], blocks)
            flat[piece].masked_fill_(flat[piece].isnan(), torch.nan)  # Inf times 0 is one of another pattern
    return values.flatten(-2).narrow(-1, 0, blocks.shape[axis]).movedim(-1, axis).contiguous()


def _products(codes: Tensor, scales: Tensor, blocks: Blocks) -> Tensor:
    """Values in float64, which are still to be rounded."""
    if blocks.fmt.element.width > 8:
        return _wide_products(codes, scales, blocks)
    values = torch.empty(len(codes), blocks.fmt.tile[1], dtype=torch.float64, device="cpu")
    scale: Scale
    if blocks.tensor_scale is None:  # scales are no codes: elements are looked up under the scale 1
        scale, unit, factor = e8m0, torch.full_like(scales, BIAS, dtype=torch.int32), scales
    else:
        scale, unit, factor = blocks.fmt.scale, scales, blocks.tensor_scale
    _look_up(codes, unit, blocks.fmt.element, scale, values)
    return values.mul_(factor.to(torch.float64))


def _wide_products(codes: Tensor, scales: Tensor, blocks: Blocks) -> Tensor:
    values = _elements(codes, blocks.fmt.element)
    if blocks.fmt.scale == float32:
        values.mul_(scales.to(torch.float64))
    else:
        values.mul_(_scale_values(blocks.fmt.scale)[scales.to(torch.int32)])
    return values if blocks.tensor_scale is None else values.mul_(blocks.tensor_scale.to(torch.float64))


def _elements(codes: Tensor, element: Element) -> Tensor:
    """Values of codes of more than 8 bits, in float64."""
    if not isinstance(element, FixedPoint):
        return tables.floats(codes, element, float64).view(torch.float64)
    spare = 32 - element.width
    wide = codes.to(torch.int32) << spare
    integers = wide >> spare if element.signed else codes.to(torch.int32) & element.largest
    return integers.to(torch.float64).mul_(2.0**-element.fraction)


@lru_cache(maxsize=16)
def _scale_values(scale: Scale) -> Tensor:
    """Values of all bytes, in float64."""
    with torch.inference_mode(False):
        codes = torch.arange(256, dtype=torch.int64, device="cpu")
        return encode(decode(codes, scale), float64).view(torch.float64)


def _look_up(codes: Tensor, scales: Tensor, element: Element, scale: Scale, out: Tensor) -> None:
    """Values of stored elements and scales by both codes together; a byte of two elements is looked up as one."""
    table = _table(element, scale, out.dtype)
    index = codes.to(torch.int32).add_(scales.to(torch.int32) << 8)
    torch.index_select(table, 0, index.view(-1), out=out.view(-1).view(table.dtype))


@lru_cache(maxsize=16)
def _table(element: Element, scale: Scale, dtype: torch.dtype) -> Tensor:
    """Values for every scale and byte; of two elements of 4 bits side by side, as one number of twice the width."""
    row = FLOAT_ROWS[dtype]
    with torch.inference_mode(False):
        codes = torch.arange(1 << element.width, dtype=torch.int64, device="cpu")
        scales = decode(torch.arange(256, dtype=torch.int64, device="cpu")[:, None], scale)
        patterns = encode(_times(codes, element, scales, scale.significand_bits), row)
        values = patterns.to(SIGNED[row.width]).view(dtype)
        if element.width != 4:
            return values.repeat(1, 1 << (8 - element.width)).view(-1)
        low, high = values[:, None, :].expand(-1, 16, -1), values[:, :, None].expand(-1, -1, 16)
        return torch.stack([low, high], dim=-1).view(_PAIRS[dtype]).view(-1)
