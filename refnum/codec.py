"""encode, decode, quantize: between values and codes, for every scalar format."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import backend
from .boundary import (
    FLOAT_ROWS,
    FORMATS,
    SIGNED,
    broadcast,
    check_choice,
    check_codes,
    check_encodable,
    check_floats,
    check_keeps,
    check_result_dtype,
    check_rounding,
    check_scalar,
    container,
)
from .core import decode as core_decode
from .core import round as core_round
from .errors import ShapeError
from .fast import additions, doubles, halves, integers, logarithms, magic, prefixes, significands, steps, tables
from .fast.chunks import elementwise, reinterpret
from .formats import DMF, Codebook, FixedPoint, Minifloat, Posit, Scalar


def encode(x: Tensor, fmt: Scalar, *, rounding: str = "nearest_even", random_bits: Tensor | None = None) -> Tensor:
    """Codes of floating-point values, rounded once.

    >>> encode(torch.tensor([1.0, -0.75, 3.14159, float("inf")]), Posit(16))
    tensor([ 16384, -15360,  19601, -32768], dtype=torch.int16)

    Parameters
    ----------
    x : Tensor
        float16, bfloat16, float32 or float64 of any shape and strides.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook
        The format.
    rounding : str
        nearest_even, nearest_away, toward_zero, toward_positive, toward_negative, to_odd or stochastic.
    random_bits : Tensor, optional
        Integers that broadcast to x, for ``stochastic`` only: the low 16 bits are read.

    Returns
    -------
    Tensor
        Posits and integers of fixed point that has a sign: sign-extended, in the smallest signed integer dtype. Others:
        uint8 up to 8 bits, else int16, int32 or int64.

    Raises
    ------
    FormatError
        When ``fmt`` is no scalar format, or cannot be written (e8m0).
    DTypeError
        When x is not a dense floating-point tensor.
    ContractError
        When the rounding has no such name, or its random bits are missing or not asked for.
    ShapeError
        When the random bits do not broadcast to x.

    Exactness: correctly rounded.
    Rounding: by name; for posits every rule acts on the dropped bits of the unbounded bit string.
    Special: NaN and Inf give NaR; posits saturate and never round to 0. Others: NaN gives the NaN code, without one
        that of 0, or of what a codebook has nearest to 0; Inf and overflow follow ``fmt.overflow``, and saturate where
        there is none; subnormals are exact, never flushed.
    Standard: Posit Standard (2022) 4.1 and 6.5; IEEE 754-2019 section 4.3.
    Cost: O(numel) time, result + 4 MB.
    """
    check_scalar("encode", fmt)
    check_floats("encode", "x", x)
    check_encodable("encode", fmt)
    check_rounding("encode", rounding, random_bits)
    random = _random_like("encode", x, random_bits)
    codes: Tensor = (_kernel("encode", x, fmt) or codes_of)(x.detach(), fmt, rounding, random)
    return codes


def decode(bits: Tensor, fmt: Scalar, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Exact values of codes.

    >>> decode(torch.tensor([0x4000, 0x7FFF, -0x8000], dtype=torch.int16), Posit(16))
    tensor([1.0000e+00, 7.2058e+16,        nan], dtype=torch.float64)

    Parameters
    ----------
    bits : Tensor
        Integers of any dtype that holds the format; only the low ``fmt.width`` bits are read.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook
        The format.
    dtype : torch.dtype
        A floating-point dtype that holds every value of the format exactly.

    Raises
    ------
    FormatError
        When the dtype cannot hold every value; the message names one that does. `posit.to_float` rounds instead.
    DTypeError
        When ``bits`` is not a dense integer tensor of enough bits.

    Exactness: bit-exact.
    Rounding: none.
    Special: NaR and NaN codes give the quiet NaN (0x7fc00000 in float32); Inf codes give Inf; -0 stays.
    Standard: Posit Standard (2022) 3.3; IEEE 754-2019 section 3.4.
    Cost: O(numel) time, result + 4 MB.
    """
    check_scalar("decode", fmt)
    check_codes("decode", "bits", bits, fmt)
    check_result_dtype("decode", dtype, fmt)
    floats: Tensor = (_kernel("decode", bits, fmt) or floats_of)(bits, fmt, dtype)
    return floats


def quantize(
    x: Tensor,
    fmt: Scalar,
    *,
    rounding: str = "nearest_even",
    random_bits: Tensor | None = None,
    grad: str = "identity",
) -> Tensor:
    """Values rounded to a format, in the dtype they came in: ``decode(encode(x))``.

    >>> quantize(torch.tensor([1.1, 1e30, 1e-30, -0.0]), Posit(8))
    tensor([1.1250e+00, 1.6777e+07, 5.9605e-08, 0.0000e+00])

    Parameters
    ----------
    x : Tensor
        float16, bfloat16, float32 or float64.
    fmt : Posit, Minifloat, FixedPoint, DMF, Logarithmic or Codebook
        The format.
    rounding, random_bits
        As in `encode`.
    grad : str
        The gradient passed to x: ``identity``, or ``clipped``, which is 0 where x lies beyond the format's least or
        largest value.

    Raises
    ------
    FormatError
        When a value of x's dtype could round to one that the dtype does not hold.
    DTypeError, ContractError
        As in `encode`.

    Exactness: correctly rounded.
    Rounding: by name, once.
    Special: as `encode`; NaR comes out as the quiet NaN, and a posit has no -0. NaN stays NaN, but for minifloats with
        no NaN code, which give 0.
    Standard: Posit Standard (2022) 4.1; IEEE 754-2019 section 4.3.
    Cost: O(numel) time, result + 4 MB.
    """
    check_scalar("quantize", fmt)
    check_floats("quantize", "x", x)
    check_encodable("quantize", fmt)
    check_keeps("quantize", x.dtype, fmt)
    check_rounding("quantize", rounding, random_bits)
    check_choice("quantize", "grad", grad, ("identity", "clipped"))
    random = _random_like("quantize", x, random_bits)
    if x.requires_grad and torch.is_grad_enabled():
        result: Tensor = _Quantize.apply(x, fmt, rounding, random, grad)  # type: ignore[no-untyped-call]
        return result
    return _quantized(x.detach(), fmt, rounding, random)


def _quantized(x: Tensor, fmt: Scalar, rounding: str, random: Tensor | None) -> Tensor:
    values: Tensor = (_kernel("quantize", x, fmt) or rounded)(x, fmt, rounding, random)
    return values


class _Quantize(torch.autograd.Function):
    """`quantize` with a straight-through gradient."""

    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, x: Tensor, fmt: Scalar, rounding: str, random: Tensor | None, grad: str
    ) -> Tensor:
        if grad == "clipped":
            ctx.save_for_backward(_within(x.detach(), fmt))
        return _quantized(x.detach(), fmt, rounding, random)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        (upstream,) = grads
        for inside in ctx.saved_tensors:
            upstream = upstream * inside
        return upstream, None, None, None, None


def _kernel(function: str, x: Tensor, fmt: Scalar) -> Callable[..., Tensor] | None:
    """What serves tensors like x instead: kernels know floating-point formats."""
    return backend.kernel(function, x) if isinstance(fmt, FORMATS) else None


def _within(x: Tensor, fmt: Scalar) -> Tensor:
    """Where x lies between the least and the largest value of the format."""
    if isinstance(fmt, FixedPoint):
        least, largest = fmt.least * 2.0**-fmt.fraction, fmt.max_value
    elif isinstance(fmt, Codebook):
        least, largest = fmt.values[0], fmt.values[-1]
    else:
        least, largest = -fmt.max_value, fmt.max_value
    return (least <= x) & (x <= largest)


def _random_like(function: str, x: Tensor, random_bits: Tensor | None) -> Tensor | None:
    if random_bits is None:
        return None
    _, random = broadcast(function, x=x, random_bits=random_bits)
    if random.shape != x.shape:
        raise ShapeError(
            f"{function} needs random_bits that broadcast to x, got x {tuple(x.shape)}, "
            f"random_bits {tuple(random_bits.shape)}. Sizes must be those of x or 1. Reshape them, or expand x first."
        )
    return random


# ---- the reference, for arguments that were checked; random bits have the shape of x -------------

#: twins of the waist for some formats: from patterns to codes where one `serves`, to patterns where it `serves_values`
TWINS = (prefixes, significands, logarithms)


def codes_of(x: Tensor, fmt: Scalar, rounding: str, random: Tensor | None) -> Tensor:
    """Floating-point values as codes, rounded once."""
    x, row = x.resolve_neg(), FLOAT_ROWS[x.dtype]
    if isinstance(fmt, FixedPoint) and integers.rounds(x, fmt, row, rounding):
        return integers.codes(x, fmt, rounding, container(fmt))
    if halves.serves(x, fmt, rounding):
        return halves.codes(x, row, fmt, rounding, container(fmt))
    if rounding == "nearest_even" and isinstance(fmt, Posit) and magic.lane(fmt, row) == row:
        return _from_floats(x, None, lambda bits: magic.round_codes(bits, fmt, row), container(fmt))
    if isinstance(fmt, Codebook) and steps.serves(x, fmt, rounding):
        return steps.codes(x, row, fmt, rounding, container(fmt))
    if isinstance(fmt, (Minifloat, DMF)) and additions.serves(x, fmt, rounding):
        return additions.codes(x, fmt, container(fmt))

    def kernel(bits: Tensor, random: Tensor | None = None) -> Tensor:
        for twin in TWINS:
            if twin.serves(fmt, row, rounding):
                codes: Tensor = twin.codes(bits, fmt, row, rounding)
                return codes
        return core_round.encode(core_decode.decode(bits, row), fmt, rounding, random)

    return _from_floats(x, random, kernel, container(fmt))


def rounded(x: Tensor, fmt: Scalar, rounding: str, random: Tensor | None) -> Tensor:
    """Floating-point values rounded to the format, in their dtype."""
    x, row = x.resolve_neg(), FLOAT_ROWS[x.dtype]
    if x.dtype.itemsize == 2 and halves.serves(x, fmt, rounding):
        return halves.floats(x, row, fmt, rounding)
    if rounding == "nearest_even" and isinstance(fmt, Posit) and (wide := magic.lane(fmt, row)):
        return magic.quantize(x, fmt, row, wide)
    if isinstance(fmt, FixedPoint) and integers.rounds(x, fmt, row, rounding):
        return integers.rounded(x, fmt, rounding)
    if halves.serves(x, fmt, rounding):
        return halves.floats(x, row, fmt, rounding)
    if isinstance(fmt, Codebook) and steps.serves(x, fmt, rounding):
        return steps.floats(x, row, fmt, rounding)
    if isinstance(fmt, (Minifloat, DMF)) and additions.serves(x, fmt, rounding):
        return additions.values(x, fmt)

    def kernel(bits: Tensor, random: Tensor | None = None) -> Tensor:
        for twin in TWINS:
            if twin.serves_values(fmt, row, rounding):
                values: Tensor = twin.values(bits, fmt, row, rounding)
                return values
        return core_round.rounded_floats(bits, row, fmt, rounding, random)

    return reinterpret(_from_floats(x, random, kernel, SIGNED[row.width]), x.dtype)


def _from_floats(x: Tensor, random: Tensor | None, kernel: Callable[..., Tensor], dtype: torch.dtype) -> Tensor:
    bits = reinterpret(x, SIGNED[x.dtype.itemsize * 8])
    return elementwise(kernel, bits, *(() if random is None else (random,)), dtype=dtype)


def floats_of(bits: Tensor, fmt: Scalar, dtype: torch.dtype) -> Tensor:
    """Codes as floating-point values, rounded once where the dtype needs it."""
    row = FLOAT_ROWS[dtype]
    if tables.serves(bits, fmt):
        return tables.floats(bits, fmt, row).view(dtype)
    if isinstance(fmt, Posit) and dtype == torch.float64 and doubles.reads(bits, fmt):
        return elementwise(lambda codes: doubles.values(codes, fmt), bits, dtype=dtype, chunk=doubles.CHUNK)

    if isinstance(fmt, FixedPoint) and integers.serves(fmt, row):
        return elementwise(lambda codes: integers.values(codes, fmt, dtype), bits, dtype=dtype)
    if isinstance(fmt, Minifloat) and prefixes.begins(fmt, row):
        return elementwise(lambda codes: prefixes.floats(codes, fmt, row), bits, dtype=SIGNED[row.width]).view(dtype)

    def kernel(codes: Tensor) -> Tensor:
        return core_round.encode(core_decode.decode(codes, fmt), row)

    return elementwise(kernel, bits, dtype=SIGNED[row.width]).view(dtype)


backend.discover()  # everything that a kernel may serve comes after codec
