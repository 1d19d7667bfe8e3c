"""quantize: values rounded to any format, of single values or of blocks, in the dtype they came in."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from . import codec
from .boundary import check_choice
from .fast.scans import is_finite
from .formats import Block, Minifloat, Scalar
from .mx.blocks import Blocks, from_blocks, padded, to_blocks
from .mx.dequantizer import dequantize
from .mx.elements import end_codes
from .mx.quantizer import quantize as quantize_blocks


def quantize(
    x: Tensor,
    fmt: Scalar | Block,
    *,
    rounding: str = "nearest_even",
    random_bits: Tensor | None = None,
    grad: str = "identity",
) -> Tensor:
    """Values rounded to a format, in the dtype they came in: there and back.

    >>> from refnum import Posit, mxfp4
    >>> quantize(torch.tensor([1.1, 1e30, 1e-30, -0.0]), Posit(8))
    tensor([1.1250e+00, 1.6777e+07, 5.9605e-08, 0.0000e+00])
    >>> quantize(torch.linspace(-3, 3, 32), mxfp4)[:5]
    tensor([-3., -3., -3., -2., -2.])

    Parameters
    ----------
    x : Tensor
        float16, bfloat16, float32 or float64; for blocks as `refnum.mx.quantize` takes it.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic, Codebook or Block
        The format. The elements of a block lie along the last axis.
    rounding, random_bits
        As in `encode`; of blocks they concern the elements.
    grad : str
        The gradient passed to x: ``identity``, or ``clipped``, which is 0 where x lies beyond the format's least or
        largest value, or those of its block.

    Raises
    ------
    FormatError
        When a value of x's dtype could round to one that the dtype does not hold.
    DTypeError, ContractError
        As in `encode`.
    ShapeError
        When the random bits do not broadcast to x, or the last axis has no whole number of blocks.

    Exactness: correctly rounded; of blocks as `mx.quantize` and `mx.dequantize` in the profile ocp/v1.
    Rounding: by name, once.
    Special: as `encode`; NaR comes out as the quiet NaN, and a posit has no -0. NaN stays NaN, but for minifloats with
        no NaN code, which give 0. A block with NaN or Inf is all NaN where scales are powers of two, whether they have
        a code for it or not.
    Standard: Posit Standard (2022) 4.1; IEEE 754-2019 section 4.3; OCP MX 1.0 section 6.
    Cost: O(numel) time, result + 5 MB.
    """
    if not isinstance(fmt, Block):
        return codec.quantize(x, fmt, rounding=rounding, random_bits=random_bits, grad=grad)
    check_choice("quantize", "grad", grad, ("identity", "clipped"))
    blocks = quantize_blocks(x, fmt, rounding=rounding, random_bits=random_bits)
    lost = _lost(x.detach(), fmt)
    if x.requires_grad and torch.is_grad_enabled():
        result: Tensor = _Straight.apply(x, blocks, lost, grad)  # type: ignore[no-untyped-call]
        return result
    return _values(blocks, lost, x.dtype)


def _values(blocks: Blocks, lost: Tensor | None, dtype: torch.dtype) -> Tensor:
    values = dequantize(blocks, dtype)
    return values if lost is None else values.masked_fill(lost, torch.nan)


def _lost(x: Tensor, fmt: Block) -> Tensor | None:
    """Whose blocks have NaN or Inf, of which scales that are powers of two without a NaN say nothing; None: none."""
    if not fmt.by_powers or (isinstance(fmt.scale, Minifloat) and fmt.scale.nan is not None):
        return None
    plain = type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling()
    if plain and is_finite(x):
        return None
    whole = to_blocks(padded(x, -1, fmt), -1, fmt)
    lost = whole.isfinite().logical_not().any(-1, keepdim=True).expand(whole.shape)
    return from_blocks(lost, x.shape, -1, fmt)


class _Straight(torch.autograd.Function):
    """Values of blocks, with a straight-through gradient to what they were made of."""

    @staticmethod
    def forward(ctx, x: Tensor, blocks: Blocks, lost: Tensor | None, grad: str) -> Tensor:  # type: ignore[no-untyped-def]
        if grad == "clipped":
            least, largest = (_full(blocks, code, lost, x.dtype) for code in end_codes(blocks.fmt.element))
            ctx.save_for_backward((least <= x.detach()) & (x.detach() <= largest))
        return _values(blocks, lost, x.dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        (upstream,) = grads
        for inside in ctx.saved_tensors:
            upstream = upstream * inside
        return upstream, None, None, None


def _full(blocks: Blocks, code: int, lost: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The values if all elements had one code."""
    packed = code | code << 4 if blocks.fmt.packed == 2 else code
    full = torch.full_like(blocks.elements, 0) + packed
    return _values(replace(blocks, elements=full.to(blocks.elements.dtype)), lost, dtype)
