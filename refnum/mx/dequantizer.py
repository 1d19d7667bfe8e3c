"""dequantize: blocks -> values, rounded once."""

from __future__ import annotations

import sys
from functools import lru_cache

import torch
from torch import Tensor

from ..boundary import FLOAT_ROWS, SIGNED, check_float_dtype
from ..core.decode import INFINITE, NAN, Exact, decode, nonzero
from ..core.exact import multiply
from ..core.round import encode
from ..errors import DTypeError
from ..fast.scans import flushes, is_finite
from ..formats import Element, Format, Minifloat, float32
from .blocks import Blocks

CHUNK = 1 << 16  #: elements of a piece
_PAIRS = {torch.bfloat16: torch.int32, torch.float32: torch.int64, torch.float64: torch.complex128}


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
        float16, bfloat16, float32 or float64, which holds every value of the formats that have a name.

    Returns
    -------
    Tensor
        Of the blocks' shape.

    Raises
    ------
    DTypeError
        When the argument is not Blocks, or the dtype is none of the four.

    Exactness: correctly rounded, and exact in float64 unless a tensor scale is added to float32 scales.
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
    check_float_dtype("mx.dequantize", dtype)
    if _serves(blocks, dtype):
        return _by_table(blocks, dtype)
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
    """The definition of `dequantize`, of all elements at once."""
    row = FLOAT_ROWS[dtype]
    patterns = encode(exact_values(blocks), row)
    return patterns.to(SIGNED[row.width]).view(dtype)


def exact_values(blocks: Blocks) -> Exact:
    """Exact values of blocks, in the shape of their tensor."""
    fmt = blocks.fmt
    scales = blocks.scales.view(torch.int32) if fmt.scale == float32 else blocks.scales
    value = _times(blocks.codes, fmt.element, decode(spread(scales, blocks), fmt.scale), fmt.scale.significand_bits)
    if blocks.tensor_scale is None:
        return value
    bits = fmt.element.significand_bits + 1 + fmt.scale.significand_bits
    return _product(value, bits, decode(blocks.tensor_scale.view(torch.int32), float32), float32.significand_bits)


def _times(codes: Tensor, element: Element, scale: Exact, bits: int) -> Exact:
    return _product(decode(codes, element), element.significand_bits + 1, scale, bits)


def _product(a: Exact, a_bits: int, b: Exact, b_bits: int) -> Exact:
    """a times b; 0 times Inf is NaN."""
    product = multiply(a, b, a_bits, b_bits)
    kind = product.kind
    zero = ~(nonzero(a.significand[0]) & nonzero(b.significand[0]))
    return product._replace(kind=kind | (-(kind & INFINITE) & zero & NAN))


# ---- by table: the same bits sooner --------------------------------------------------------------


def _serves(blocks: Blocks, dtype: torch.dtype) -> bool:
    """Whether floating-point products are right: rounded once, with no subnormal number flushed."""
    plain = type(blocks.elements) is Tensor and blocks.elements.device.type == "cpu"
    whole = blocks.fmt.tile[1] % blocks.fmt.packed == 0
    if not plain or not whole or torch.compiler.is_compiling() or sys.byteorder != "little" or flushes():
        return False
    # Elements times scales are exact, unless scales are float32 or there is a factor more: those are rounded here.
    if blocks.fmt.scale == float32:
        return dtype in (torch.float32, torch.float64) and blocks.tensor_scale is None
    return blocks.tensor_scale is None or dtype in (torch.float32, torch.float64)


def _by_table(blocks: Blocks, dtype: torch.dtype) -> Tensor:
    fmt, axis, (rows, columns) = blocks.fmt, blocks.axis, blocks.fmt.tile
    elements, scales = blocks.elements, blocks.scales
    if rows > 1:
        elements = elements.narrow(-2, 0, blocks.shape[-2])
        scales = scales.repeat_interleave(rows, -2).narrow(-2, 0, blocks.shape[-2])
    elements, scales = (x.movedim(axis, -1).contiguous() for x in (elements, scales))
    wide = _lane(blocks, dtype)
    values = torch.empty(*scales.shape, columns, dtype=dtype, device="cpu")
    flat, shared, codes = values.view(-1, columns), scales.view(-1), elements.view(-1, columns // fmt.packed)
    step = max(1, CHUNK // columns)
    for start in range(0, len(flat), step):
        piece = slice(start, start + step)
        factors = _scale_values(shared[piece], fmt.scale, wide)
        out = flat[piece] if dtype == wide else torch.empty(len(factors), columns, dtype=wide, device="cpu")
        products = _look_up(codes[piece], fmt.element, out).mul_(factors)
        if blocks.tensor_scale is not None:
            products.mul_(blocks.tensor_scale.to(wide))
        if dtype != wide:
            flat[piece] = products
        if not is_finite(products):  # conversions, and Inf times 0, make NaNs of several patterns
            flat[piece].masked_fill_(products.isnan(), torch.nan)
    return values.flatten(-2).narrow(-1, 0, blocks.shape[axis]).movedim(-1, axis).contiguous()


def _lane(blocks: Blocks, dtype: torch.dtype) -> torch.dtype:
    """The dtype to multiply in: it holds all elements and scales, and either the product is rounded only once."""
    if blocks.tensor_scale is not None:
        return torch.float64
    return torch.float32 if dtype == torch.float16 else dtype


def _look_up(codes: Tensor, element: Element, out: Tensor) -> Tensor:
    """Values of stored elements; a byte that holds two is looked up as one."""
    table = _table(element, out.dtype)
    torch.index_select(table, 0, codes.reshape(-1).to(torch.int32), out=out.view(-1).view(table.dtype))
    return out


def _scale_values(codes: Tensor, scale: Minifloat, dtype: torch.dtype) -> Tensor:
    """A column of scales."""
    if codes.dtype == torch.float32:
        return codes.view(-1, 1).to(dtype)
    return _values(scale, dtype).index_select(0, codes.to(torch.int32)).view(-1, 1)


@lru_cache(maxsize=32)
def _values(fmt: Format | Element, dtype: torch.dtype) -> Tensor:
    """The values of all codes of 8 bits, or of as many as there are."""
    row = FLOAT_ROWS[dtype]
    with torch.inference_mode(False):
        codes = torch.arange(1 << fmt.width, dtype=torch.int64, device="cpu")
        return encode(decode(codes, fmt), row).to(SIGNED[row.width]).view(dtype)


@lru_cache(maxsize=32)
def _table(element: Element, dtype: torch.dtype) -> Tensor:
    """Values for every byte; of two elements of 4 bits side by side, as one number of twice the width."""
    values = _values(element, dtype)
    with torch.inference_mode(False):
        if element.width != 4:
            return values.repeat(1 << (8 - element.width))
        low, high = torch.meshgrid(values, values, indexing="xy")
        pairs = torch.stack([low, high], dim=-1)
        return pairs.view(_PAIRS[dtype]).view(-1)
