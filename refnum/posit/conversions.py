"""Conversions, section 6: between posit formats, and from and to floats, integers and decimal text."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from .. import backend
from ..boundary import (
    INTEGERS,
    SIGNED,
    check_choice,
    check_codes,
    check_float_dtype,
    check_posit,
    check_tensor,
    check_values,
    container,
)
from ..codec import floats_of
from ..core.decode import LIMB, NAN, Exact, decode, nonzero
from ..core.exact import MASK, from_integer
from ..core.pack import pack_integer
from ..core.round import RULES, encode
from ..errors import DTypeError, FormatError
from ..fast.chunks import elementwise
from ..formats import Posit
from ._patterns import checked, in_pieces, on_patterns

WIDTHS = (8, 16, 32, 64)


def convert(bits: Tensor, from_fmt: Posit, to_fmt: Posit) -> Tensor:
    """Patterns of one posit format as patterns of another.

    >>> convert(torch.tensor([0x4000, 0x4001]), Posit(16), Posit(8))
    tensor([64, 64], dtype=torch.int8)

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When an argument is no dense tensor of integers that hold the format.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: NaR gives NaR; the result saturates and is never 0 for a value that is not.
    Standard: Posit Standard (2022) 6.1.
    Cost: O(numel) time, result + 4 MB.
    """
    check_posit("posit.convert", to_fmt)
    (x,) = checked("convert", from_fmt, bits=bits)
    patterns: Tensor = (backend.kernel("posit_convert", x) or converted)(x, from_fmt, to_fmt)
    return patterns


def converted(bits: Tensor, from_fmt: Posit, to_fmt: Posit) -> Tensor:
    """The reference of `convert`, for patterns that were checked."""
    return in_pieces(lambda x: encode(decode(x, from_fmt), to_fmt), (bits,), from_fmt, container(to_fmt))


def to_float(bits: Tensor, fmt: Posit, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values of patterns in a floating-point dtype, rounded once where it does not hold them.

    >>> to_float(torch.tensor([0x40000001]), Posit(32), torch.float32)
    tensor([1.])

    Raises
    ------
    DTypeError
        When the dtype is not float16, bfloat16, float32 or float64.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to even.
    Special: NaR gives the quiet NaN; overflow gives Inf, underflow is gradual.
    Standard: Posit Standard (2022) 6.5.
    Cost: O(numel) time, result + 4 MB.
    """
    check_posit("posit.to_float", fmt)
    check_codes("posit.to_float", "bits", bits, fmt)
    check_float_dtype("posit.to_float", dtype)
    floats: Tensor = (backend.kernel("decode", bits) or floats_of)(bits, fmt, dtype)
    return floats


def to_int(bits: Tensor, fmt: Posit, width: int = 32, signed: bool = True) -> Tensor:
    """Values of patterns as integers of ``width`` bits.

    >>> to_int(torch.tensor([0x44, 0x4A, -0x80]), Posit(8), width=8)  # 1.5, 2.5, NaR
    tensor([   2,    2, -128], dtype=torch.int8)

    Parameters
    ----------
    width : int
        8, 16, 32 or 64.
    signed : bool
        Whether the integers are signed.

    Returns
    -------
    Tensor
        Signed: the integer dtype of that width. Unsigned: uint8 for 8 bits, int32 for 16, int64 for 32; for 64 bits the
        bits in an int64.

    Raises
    ------
    ContractError
        When there is no such width.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even integer.
    Special: NaR and values that round out of range give the bits 10..0, signed or not (unsigned: 2**(width - 1)).
    Standard: Posit Standard (2022) 6.4.
    Cost: O(numel) time, result + 4 MB.
    """
    check_choice("posit.to_int", "width", width, WIDTHS)
    check_choice("posit.to_int", "signed", signed, (True, False))
    dtype = SIGNED[width] if signed else {8: torch.uint8, 16: torch.int32, 32: torch.int64, 64: torch.int64}[width]
    kernel = (_to_signed if signed else _to_unsigned)(width)
    return on_patterns("to_int", kernel, fmt, dtype=dtype, bits=bits)


def _rounded_magnitude(bits: Tensor, fmt: Posit) -> tuple[Exact, Tensor]:
    """The value, and the 64 bits of its magnitude rounded to an integer; right below 2**64."""
    x = decode(bits, fmt)
    wide = pack_integer(x)
    # From 2**61 on there is no fraction, and the integer goes on growing to the left.
    return x, (wide.head + RULES["nearest_even"](wide, None)) << (x.exponent - (LIMB - 1)).clamp(0, 2)


def _to_signed(width: int) -> Callable[[Tensor, Posit], Tensor]:
    def kernel(bits: Tensor, fmt: Posit) -> Tensor:
        x, magnitude = _rounded_magnitude(bits, fmt)
        # -2**(width - 1) is in range and is the sentinel itself.
        out = (x.exponent >= width - 1) | ((magnitude >> (width - 1)) != 0) | (x.kind != 0)
        return torch.where(out, -(1 << (width - 1)), (magnitude ^ x.sign) - x.sign)

    return kernel


def _to_unsigned(width: int) -> Callable[[Tensor, Posit], Tensor]:
    sentinel = 1 << (width - 1) if width < 64 else -(1 << 63)

    def kernel(bits: Tensor, fmt: Posit) -> Tensor:
        x, magnitude = _rounded_magnitude(bits, fmt)
        over = (magnitude >> width) != 0 if width < 64 else torch.zeros_like(magnitude, dtype=torch.bool)
        below = (x.sign != 0) & (magnitude != 0)
        out = (x.exponent >= width) | over | below | (x.kind != 0)
        return torch.where(out, sentinel, magnitude)

    return kernel


def from_int(i: Tensor | int, fmt: Posit, sentinel: bool = True) -> Tensor:
    """Integers as patterns.

    >>> from_int(torch.tensor([3, -128], dtype=torch.int8), Posit(16))
    tensor([ 19456, -32768], dtype=torch.int16)
    >>> from_int(torch.tensor([3, -128], dtype=torch.int8), Posit(16), sentinel=False)
    tensor([ 19456, -27648], dtype=torch.int16)

    Parameters
    ----------
    i : Tensor or int
        uint8, int8, int16, int32 or int64; its dtype is the width. A Python int of any size is taken by value.
    sentinel : bool
        Whether the bits 10..0 of the width mean NaR, as the standard has it. False takes every integer by value (uint8
        images, where 128 is a value).

    Raises
    ------
    FormatError
        When ``fmt`` is no posit format.
    DTypeError
        When ``i`` is neither an int nor a dense tensor of those dtypes.
    ContractError
        When ``sentinel`` is no bool.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: 10..0 gives NaR unless ``sentinel=False``.
    Standard: Posit Standard (2022) 6.4.
    Cost: O(numel) time, result + 4 MB.
    """
    check_posit("posit.from_int", fmt)
    check_choice("posit.from_int", "sentinel", sentinel, (True, False))
    if isinstance(i, int) and not isinstance(i, bool):
        return _encode_fractions([Fraction(i)], fmt)[0]
    check_tensor("posit.from_int", "i", i)
    assert isinstance(i, Tensor)
    if i.dtype not in INTEGERS:
        raise DTypeError(
            f"posit.from_int needs integers for i, got {i.dtype}. "
            "Allowed are uint8, int8, int16, int32, int64 and Python ints. Use refnum.encode for floating-point values."
        )
    nar = 1 << 7 if i.dtype == torch.uint8 else torch.iinfo(i.dtype).min

    def kernel(x: Tensor) -> Tensor:
        x = x.to(torch.int64)
        sign = x >> 63
        kind = ~nonzero(x ^ nar) & NAN if sentinel else torch.zeros_like(x)
        return encode(from_integer((x ^ sign) - sign, sign, kind), fmt)

    return elementwise(kernel, i, dtype=container(fmt))


# ---- decimal text --------------------------------------------------------------------------------

NAR_TEXT = "NaR"
_DECIMAL = re.compile(r"([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d{1,9}))?")
_MOST_DIGITS = 4000  #: of a decimal significand; the longest exact posit has 1,300
_MOST_EXPONENT = 1000  #: beyond 10**+-1000 lies no posit


def to_decimal(bits: Tensor, fmt: Posit) -> Any:
    """Decimal strings that read back the same: values rounded to the fewest digits for which `from_decimal` does so.

    >>> to_decimal(torch.tensor([0x4C, 0x41, -0x80]), Posit(8))
    ['3', '1.1', 'NaR']

    Returns
    -------
    str or nested list of str
        In the shape of ``bits``; a 0-d tensor gives a str.

    Raises
    ------
    DTypeError
        When ``bits`` has no values (meta) or is no tensor of patterns.

    Exactness: the nearest decimal of the fewest digits that reads back the same.
    Rounding: to nearest, ties to even, in decimal.
    Special: NaR is written NaR.
    Standard: Posit Standard (2022) 6.3.
    Cost: O(numel) Python calls.
    """
    check_posit("posit.to_decimal", fmt)
    check_codes("posit.to_decimal", "bits", bits, fmt)
    check_values("posit.to_decimal", "bits", bits)
    patterns = on_patterns("to_decimal", lambda x, fmt: x, fmt, dtype=torch.int64, bits=bits).reshape(-1)
    values = _fractions(patterns, fmt)
    texts: list[str | None] = [NAR_TEXT if value is None else None for value in values]
    waiting = [i for i, text in enumerate(texts) if text is None]
    digits = 1
    while waiting:
        tried = {i: _decimal(values[i], digits) for i in waiting}
        back = _encode_fractions([Fraction(text) for text in tried.values()], fmt).to(torch.int64)
        same = (back == encode(decode(patterns[waiting], fmt), fmt)).tolist()
        texts = [tried.get(i, text) for i, text in enumerate(texts)]
        waiting = [i for i, done in zip(waiting, same, strict=True) if not done]
        digits += 1
    return _nested(texts, list(bits.shape))


def from_decimal(text: Any, fmt: Posit) -> Tensor:
    """Patterns of decimal strings, each rounded once from its exact value.

    >>> from_decimal(["3.14159", "-1e400", "NaR"], Posit(16))
    tensor([ 19601, -32767, -32768], dtype=torch.int16)

    Parameters
    ----------
    text : str or nested list of str
        Digits with an optional sign, point and exponent, or NaR (any case; nan and inf, too).

    Raises
    ------
    FormatError
        When a text is no decimal number or has more than 4,000 digits, lists are ragged, or ``fmt`` is no posit format.
    DTypeError
        When something else than text is found.

    Exactness: correctly rounded.
    Rounding: once, to nearest, ties to the even pattern.
    Special: nan and inf give NaR.
    Standard: Posit Standard (2022) 6.3.
    Cost: O(number of texts) Python calls.
    """
    check_posit("posit.from_decimal", fmt)
    flat, shape = _flattened(text)
    return _encode_fractions([_fraction(t) for t in flat], fmt).reshape(shape)


def _fraction(text: str) -> Fraction | None:
    if text.strip().lower().lstrip("+-") in ("nar", "nan", "inf", "infinity"):
        return None
    parts = _DECIMAL.fullmatch(text.strip())
    if parts is None or not (digits := parts[2] + parts[3]) or len(digits) > _MOST_DIGITS:
        raise FormatError(
            f"posit.from_decimal cannot read {text[:40]!r}. "
            f"Allowed are a sign, up to {_MOST_DIGITS:,} digits with a point, an exponent e+-N, and NaR. Correct it."
        )
    # Beyond every posit the value no longer matters, only its sign and that it is not 0.
    scale = int(parts[4] or 0) - len(parts[3])
    power = max(-_MOST_EXPONENT - len(digits), min(_MOST_EXPONENT, scale))
    return int(parts[1] + digits) * Fraction(10) ** power


def _fractions(patterns: Tensor, fmt: Posit) -> list[Fraction | None]:
    """The exact values of patterns; None is NaR."""
    x = decode(patterns, fmt)
    values: list[Fraction | None] = []
    for sign, significand, exponent, kind in zip(
        x.sign.tolist(), x.significand[0].tolist(), x.exponent.tolist(), x.kind.tolist(), strict=True
    ):
        magnitude = significand * Fraction(2) ** (exponent - (LIMB - 1)) if significand else Fraction(0)
        values.append(None if kind else -magnitude if sign else magnitude)
    return values


def _encode_fractions(values: list[Fraction | None], fmt: Posit) -> Tensor:
    """Patterns of exact values, through the waist."""
    rows = torch.tensor([_exact(value) for value in values], dtype=torch.int64, device="cpu").reshape(-1, 5)
    sign, high, low, exponent, kind = rows.unbind(1)
    return encode(Exact(sign, (high, low), exponent, kind), fmt).to(container(fmt))


def _exact(value: Fraction | None) -> tuple[int, int, int, int, int]:
    """(sign, two limbs, exponent, kind) of one value, what does not fit in the limbs made sticky."""
    if not value:
        return 0, 0, 0, 0, NAN if value is None else 0
    top, bottom = abs(value.numerator), value.denominator
    exponent = top.bit_length() - bottom.bit_length()
    if (top << max(0, -exponent)) < (bottom << max(0, exponent)):
        exponent -= 1
    shift = 2 * LIMB - 1 - exponent
    significand, rest = divmod(top << max(0, shift), bottom << max(0, -shift))
    significand |= rest != 0
    return -(value < 0), significand >> LIMB, significand & MASK, exponent, 0


def _decimal(value: Fraction | None, digits: int) -> str:
    """A value with so many significant digits, as a plain number where that is short."""
    assert value is not None
    rounded = Context(prec=digits).divide(value.numerator, value.denominator)
    text = f"{rounded.normalize(Context(prec=digits)):f}"
    return text if len(text) <= digits + 8 else f"{rounded.normalize(Context(prec=digits)):e}"


def _flattened(text: Any) -> tuple[list[str], list[int]]:
    if isinstance(text, str):
        return [text], []
    if not isinstance(text, (list, tuple)):
        raise DTypeError(
            f"posit.from_decimal needs text, got {type(text).__name__}. "
            "Allowed are a str and nested lists of str. Use refnum.encode for numbers."
        )
    parts = [_flattened(t) for t in text]
    shapes = [shape for _, shape in parts]
    if any(shape != shapes[0] for shape in shapes):
        raise FormatError("posit.from_decimal needs lists of equal lengths, got a ragged nesting. Pad or flatten it.")
    return [t for flat, _ in parts for t in flat], [len(parts), *(shapes[0] if shapes else [])]


def _nested(texts: list[Any], shape: list[int]) -> Any:
    if not shape:
        return texts[0]
    step = len(texts) // shape[0] if shape[0] else 0
    return [_nested(texts[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]
