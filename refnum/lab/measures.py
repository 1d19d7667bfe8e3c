"""What the plots show, as numbers: the values of a format, how accurate it is, and where, and how wrong results are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..boundary import check_scalar
from ..codec import decode, quantize
from ..errors import DTypeError, FormatError, ShapeError
from ..formats import DMF, Block, Codebook, Exponent, FixedPoint, Logarithmic, Minifloat, Posit, Scalar
from ..mx import Blocks, dequantize
from ..mx import quantize as mx_quantize

SCALES = range(-150, 150)  #: binades of the number line
SAMPLES = 512  #: values in each binade
WIDEST = 12  #: bits of a format whose values are listed one by one
NORMALS, SEED = 1 << 14, 0  #: numbers from N(0,1) by which formats are compared


def values(fmt: Scalar) -> Tensor:
    """All finite values of a format, each once, in ascending order, as float64.

    >>> from refnum.formats import e2m1
    >>> values(e2m1)[7:].tolist()
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, or has more than 12 bits.
    """
    check_scalar("values", fmt)
    if fmt.width > WIDEST:
        raise FormatError(
            f"values lists every value of a format, got {fmt} with 2**{fmt.width}. Allowed are formats of up to "
            f"{WIDEST} bits. Use decimal_accuracy, which takes any."
        )
    every = decode(torch.arange(1 << fmt.width, dtype=torch.int16, device="cpu"), fmt)
    distinct: Tensor = torch.unique(every[every.isfinite()])  # sorted; -0 is 0
    return distinct


def decimal_accuracy(fmt: Scalar, scales: Sequence[int] = SCALES) -> Tensor:
    """The worst decimal accuracy in each binade of ``scales``: -log10 |log10(rounded / value)|, Gustafson's measure.

    >>> from refnum.formats import posit16
    >>> [round(float(accuracy), 1) for accuracy in decimal_accuracy(posit16, (-40, 0, 40))]
    [1.3, 4.0, 1.0]

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format.
    """
    steps = torch.arange(SAMPLES, dtype=torch.float64, device="cpu").add(0.5) / SAMPLES
    magnitudes = (torch.tensor(scales, dtype=torch.float64, device="cpu")[:, None] + steps).exp2()
    distance = (quantize(magnitudes, fmt) / magnitudes).log10().abs()
    return -distance.amax(1).log10()


def signal_to_noise(fmt: Scalar | Block) -> float:
    """Decibels between numbers from N(0,1) and what rounding them to a format changes; nearest values, ties to even.

    Of formats without a sign, between the magnitudes of such numbers.

    >>> from refnum.formats import e2m1, mxfp4, posit8
    >>> [round(signal_to_noise(fmt), 1) for fmt in (e2m1, mxfp4, posit8)]
    [16.4, 18.8, 31.4]

    Raises
    ------
    FormatError
        When ``fmt`` is no format that is written.
    """
    normal = torch.randn(NORMALS, generator=torch.Generator("cpu").manual_seed(SEED), dtype=torch.float64, device="cpu")
    if not _has_negatives(fmt.element if isinstance(fmt, Block) else fmt):
        normal = normal.abs()
    if isinstance(fmt, Block):
        normal = normal.float()  # what profiles of blocks take
        rounded = dequantize(mx_quantize(normal, fmt))
    else:
        rounded = quantize(normal, fmt)
    noise = (rounded.double() - normal.double()).square().mean()
    return float(10 * (normal.double().square().mean() / noise).log10())


def _has_negatives(fmt: Scalar) -> bool:
    return fmt.values[0] < 0 if isinstance(fmt, Codebook) else getattr(fmt, "signed", True)


def bits(fmt: Scalar | Block) -> float:
    """Bits that one number takes, its share of scales included.

    >>> from refnum.formats import mxfp4, posit8
    >>> bits(posit8), bits(mxfp4)
    (8, 4.25)
    """
    return fmt.bits if isinstance(fmt, Block) else fmt.width


def relative_errors(got: Tensor, want: Tensor) -> Tensor:
    """|got - want| / |want| as float64, 0 where both are 0; only where both are finite, as one dimension.

    >>> relative_errors(torch.tensor([1.5, 0.0, 1.0, torch.nan]), torch.tensor([1.0, 0.0, 0.0, 1.0]))
    tensor([0.5000, 0.0000,    inf], dtype=torch.float64)

    Raises
    ------
    DTypeError
        When a tensor is not of floating point.
    ShapeError
        When the shapes differ.
    """
    for name, x in {"got": got, "want": want}.items():
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise DTypeError(f"relative_errors needs a tensor of floats, got {name} of {kind}. Decode patterns first.")
    if got.shape != want.shape:
        raise ShapeError(
            f"relative_errors needs two tensors of one shape, got {tuple(got.shape)} and {tuple(want.shape)}. "
            "Broadcast one of them first."
        )
    got, want = got.detach().double(), want.detach().double()
    errors = torch.where(got == want, 0.0, (got - want).abs() / want.abs())
    return errors[got.isfinite() & want.isfinite()]


def log2_scales(blocks: Blocks) -> Tensor:
    """log2 of the scale of each block as float64, blocks of one row side by side; NaN for a NaN scale, -inf for 0.

    >>> from refnum import mx, mxfp4
    >>> log2_scales(mx.quantize(torch.tensor([[1.0, 12.0]]).repeat_interleave(32, 1), mxfp4))
    tensor([[-2.,  1.]], dtype=torch.float64)
    """
    scale, codes = blocks.fmt.scale, blocks.scales
    if isinstance(scale, Exponent):
        spare = 64 - scale.width
        found = (codes.to(torch.int64) << spare >> spare).double()
    else:
        found = (codes.double() if codes.is_floating_point() else decode(codes, scale)).log2()
    return found.movedim(blocks.axis, -1).reshape(-1, found.shape[blocks.axis])


#: what a format is compared with
FAMILIES: dict[type[Scalar] | type[Block], str] = {
    Posit: "posits",
    Minifloat: "floats",
    DMF: "floats",
    Block: "blocks",
    FixedPoint: "fixed point",
    Logarithmic: "logarithms",
    Codebook: "tables",
}


def family(fmt: Scalar | Block) -> str:
    """The name of its family.

    >>> from refnum.formats import mxfp4, nf4
    >>> family(nf4), family(mxfp4)
    ('tables', 'blocks')
    """
    return FAMILIES[type(fmt)]
